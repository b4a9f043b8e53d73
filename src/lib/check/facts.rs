//! What a check looks at, as values: gathered by `probe`, judged by `judge`.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use crate::error::chain;
use crate::fs::FileSystemRoom;
use crate::pg::{Lsn, TimelineId, WalSegmentName, WalSegmentSize};
use crate::repository::{BackupId, ClusterRef, CostlyHole};
use crate::server::{ServerHealth, ServerSetting};

/// From when on something is worth a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// The last good backup may be this old.
    pub backup_warning: Duration,
    /// From this age on it is critical.
    pub backup_critical: Duration,
}

/// Why something could not be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// In words, with every cause.
    pub text: String,
    /// What a person can do about it, as whichever program meets that error says it.
    pub hints: Vec<String>,
}

impl Problem {
    /// An error as a check tells it.
    pub fn new(error: &(dyn Error + 'static), hints: Vec<String>) -> Self {
        Self { text: chain(error), hints }
    }

    /// The hints, else this.
    pub(super) fn advice(&self, otherwise: &str) -> String {
        if self.hints.is_empty() { otherwise.to_owned() } else { self.hints.join(" ") }
    }
}

/// All that is known of a cluster and its repository.
#[derive(Debug, Clone)]
pub(super) struct CheckFacts {
    /// This host's clock.
    pub(super) now: Timestamp,
    pub(super) configuration_file: Option<PathBuf>,
    /// What is known of the repository, or why nothing is.
    pub(super) repository: Result<RepositoryFacts, Problem>,
    /// What is known of the cluster's tree in it, or why nothing is.
    pub(super) tree: Option<Result<TreeFacts, Problem>>,
    /// What is known of the server, or why nothing is.
    pub(super) server: Result<ServerPart, Problem>,
    pub(super) trial: Trial,
    pub(super) thresholds: Thresholds,
}

/// The directory of a repository.
#[derive(Debug, Clone)]
pub(super) struct RepositoryFacts {
    pub(super) path: PathBuf,
    pub(super) owner: u32,
    pub(super) mode: u32,
    /// Whether it belongs to the account that looks, and that one cannot write to it all the same.
    pub(super) is_read_only: bool,
    pub(super) room: FileSystemRoom,
}

/// What a repository holds of one cluster.
#[derive(Debug, Clone)]
pub(super) struct TreeFacts {
    pub(super) cluster: ClusterRef,
    pub(super) segment_size: WalSegmentSize,
    /// In the order in which they were taken.
    pub(super) backups: Vec<BackupFacts>,
    /// Objects of backups, or folders, that cannot be read, and why.
    pub(super) unreadable: Vec<String>,
    /// The newest timeline with archived WAL, its last segment, and when that was archived.
    pub(super) last_segment: Option<(WalSegmentName, Option<Timestamp>)>,
    /// Where the newest timeline ends in the archive.
    pub(super) end_lsn: Option<Lsn>,
    pub(super) holes: Vec<CostlyHole>,
    /// Timelines with WAL or backups whose history file is not there.
    pub(super) missing_histories: Vec<TimelineId>,
    pub(super) rate: Option<WalRate>,
}

/// A listed backup.
#[derive(Debug, Clone)]
pub(super) struct BackupFacts {
    pub(super) id: BackupId,
    pub(super) stop_time: Timestamp,
    pub(super) timeline: TimelineId,
    pub(super) stored_bytes: u64,
    /// Whether something was found to be wrong with the data.
    pub(super) has_findings: bool,
    /// How many segments that it needs the archive lacks; counted up to a bound.
    pub(super) missing_wal: usize,
}

impl BackupFacts {
    /// Whether it can be restored to a sound database.
    pub(super) fn is_good(&self) -> bool {
        !self.has_findings && self.missing_wal == 0
    }
}

/// How fast WAL comes, by the last segments of the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WalRate {
    /// Segments that were archived in `span`.
    pub(super) segments: u64,
    pub(super) span: Duration,
    /// Bytes that one of them takes in the repository, on average.
    pub(super) stored_bytes: u64,
}

impl WalRate {
    /// How long `room` lasts when each segment takes `each` bytes of it.
    pub(super) fn lasts(&self, room: u64, each: u64) -> Option<Duration> {
        let per_second = u128::from(self.segments) * u128::from(each) / u128::from(self.span.as_secs().max(1));
        let seconds = u128::from(room).checked_div(per_second)?;
        Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX)))
    }
}

/// A server that answered.
#[derive(Debug, Clone)]
pub(super) struct ServerPart {
    /// As messages name it.
    pub(super) endpoint: String,
    /// Its version in its own words.
    pub(super) version: String,
    pub(super) role: String,
    pub(super) health: ServerHealth,
    /// The settings that matter for archiving and recovery, as far as the role may see them.
    pub(super) settings: BTreeMap<String, ServerSetting>,
    /// Its `pg_wal`, when that is on this host.
    pub(super) wal_directory: Option<(PathBuf, FileSystemRoom)>,
    /// The account that owns its data directory, when that is on this host.
    pub(super) owner: Option<u32>,
}

/// Whether a segment of the server arrives in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trial {
    /// It was not tried, and why.
    NotMade(&'static str),
    /// It arrived.
    Arrived { segment: WalSegmentName, took: Duration },
    /// It did not.
    Missing { segment: WalSegmentName, waited: Duration },
    /// It could not be tried.
    Failed { problem: String, is_permission_denied: bool },
}
