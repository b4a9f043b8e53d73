//! What a check looks at, as values: gathered by `probe`, judged by `judge`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use super::finding::{Cause, Unreadable, Untried};
use crate::fs::FileSystemRoom;
use crate::pg::{Lsn, TimelineId, WalSegmentName, WalSegmentSize};
use crate::repository::{BackupId, ClusterRef, CostlyHole, Lack};
use crate::server::{FileSetting, ServerHealth, ServerSetting};

/// From when on something is worth a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// The last good backup may be this old.
    pub backup_warning: Duration,
    /// From this age on it is critical.
    pub backup_critical: Duration,
}

/// All that is known of a cluster and its repository.
#[derive(Debug, Clone)]
pub(crate) struct CheckFacts {
    /// This host's clock.
    pub(crate) now: Timestamp,
    pub(crate) configuration_file: Option<PathBuf>,
    /// What is known of the repository, or why nothing is.
    pub(crate) repository: Result<RepositoryFacts, Cause>,
    /// What is known of the cluster's tree in it, or why nothing is.
    pub(crate) tree: Option<Result<TreeFacts, Cause>>,
    /// What is known of the server, or why nothing is.
    pub(crate) server: Result<ServerPart, Cause>,
    pub(crate) trial: Trial,
    pub(crate) thresholds: Thresholds,
}

/// The directory of a repository.
#[derive(Debug, Clone)]
pub(crate) struct RepositoryFacts {
    pub(crate) directory: FolderFacts,
    /// The folders in it that the cluster's writers need, as far as they are there; or why nothing is known of them.
    pub(crate) below: Result<Vec<FolderFacts>, Cause>,
    pub(crate) room: FileSystemRoom,
}

/// A folder of a repository.
#[derive(Debug, Clone)]
pub(crate) struct FolderFacts {
    pub(crate) path: PathBuf,
    pub(crate) owner: u32,
    pub(crate) mode: u32,
    /// Whether it belongs to the account that looks, and that one cannot write to it all the same.
    pub(crate) is_read_only: bool,
}

/// What a repository holds of one cluster.
#[derive(Debug, Clone)]
pub(crate) struct TreeFacts {
    pub(crate) cluster: ClusterRef,
    pub(crate) segment_size: WalSegmentSize,
    /// In the order in which they were taken.
    pub(crate) backups: Vec<BackupFacts>,
    /// What of it cannot be read, and why.
    pub(crate) unreadable: Vec<Unreadable>,
    /// The newest timeline with archived WAL, its last segment, and when that was archived.
    pub(crate) last_segment: Option<(WalSegmentName, Option<Timestamp>)>,
    /// Where the newest timeline ends in the archive.
    pub(crate) end_lsn: Option<Lsn>,
    pub(crate) holes: Vec<CostlyHole>,
    /// Timelines with WAL or backups whose history file is not there.
    pub(crate) missing_histories: Vec<TimelineId>,
    pub(crate) rate: Option<WalRate>,
}

/// A listed backup.
#[derive(Debug, Clone)]
pub(crate) struct BackupFacts {
    pub(crate) id: BackupId,
    pub(crate) stop_time: Timestamp,
    pub(crate) timeline: TimelineId,
    pub(crate) stored_bytes: u64,
    /// Whether something was found to be wrong with the data.
    pub(crate) has_findings: bool,
    /// How many segments that it needs the archive lacks; counted up to a bound.
    pub(crate) missing_wal: usize,
    /// What of it is not in the repository as it was stored.
    pub(crate) lacks: Vec<Lack>,
    /// Whether its table of packs can be read: without it nobody knows which they are.
    pub(crate) are_packs_known: bool,
}

impl BackupFacts {
    /// Whether its packs and its root are there.
    pub(crate) fn is_whole(&self) -> bool {
        self.lacks.is_empty() && self.are_packs_known
    }

    /// Whether it can be restored to a sound database.
    pub(crate) fn is_good(&self) -> bool {
        !self.has_findings && self.missing_wal == 0 && self.is_whole()
    }
}

/// How fast WAL comes, by the last segments of the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WalRate {
    /// Segments that were archived in `span`.
    pub(crate) segments: u64,
    pub(crate) span: Duration,
    /// Bytes that one of them takes in the repository, on average.
    pub(crate) stored_bytes: u64,
}

impl WalRate {
    /// How long `room` lasts when each segment takes `each` bytes of it.
    pub(crate) fn lasts(&self, room: u64, each: u64) -> Option<Duration> {
        let per_second = u128::from(self.segments) * u128::from(each) / u128::from(self.span.as_secs().max(1));
        let seconds = u128::from(room).checked_div(per_second)?;
        Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX)))
    }
}

/// A server that answered.
#[derive(Debug, Clone)]
pub(crate) struct ServerPart {
    /// As messages name it.
    pub(crate) endpoint: String,
    /// Its version in its own words.
    pub(crate) version: String,
    pub(crate) role: String,
    pub(crate) health: ServerHealth,
    /// The settings that matter for archiving and recovery, as far as the role may see them.
    pub(crate) settings: BTreeMap<String, ServerSetting>,
    /// The recovery targets in its files, which no server needs that does not recover.
    pub(crate) left_over_targets: Vec<FileSetting>,
    /// Where its data lies, as far as the role may see that.
    pub(crate) data_directory: Option<PathBuf>,
    /// Its `pg_wal`, when that is on this host.
    pub(crate) wal_directory: Option<(PathBuf, FileSystemRoom)>,
    /// The account that owns its data directory, when that is on this host.
    pub(crate) owner: Option<u32>,
    /// Its data directory, when a restore switched archiving off there.
    pub(crate) switched_off: Option<PathBuf>,
}

impl ServerPart {
    /// Whether its settings say that it archives nothing; what the role may not see says nothing.
    pub(crate) fn is_archiving_off(&self) -> bool {
        let is = |name: &str, value: &str| self.settings.get(name).is_some_and(|setting| setting.value == value);
        let has_library = self.settings.get("archive_library").is_some_and(|setting| !setting.value.is_empty());
        is("archive_mode", "off") || (is("archive_command", "") && !has_library)
    }
}

/// Whether a segment of the server arrives in the archive.
#[derive(Debug, Clone)]
pub(crate) enum Trial {
    /// It was not tried, and why.
    NotMade(Untried),
    /// It arrived.
    Arrived { segment: WalSegmentName, took: Duration },
    /// It did not.
    Missing { segment: WalSegmentName, waited: Duration },
    /// The role may not have the server end one.
    Denied(Cause),
    /// It could not be tried.
    Failed(Cause),
}
