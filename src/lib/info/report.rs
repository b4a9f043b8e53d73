//! What `pgv info` answers, as `--output json` prints it.
//!
//! COMPAT: schema version 1. Fields are added, never renamed or removed, while the version stays the same; absent values
//! are `null`. Times are UTC in RFC 3339, LSNs text as PostgreSQL writes them, system identifiers text, sizes bytes.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::Serialize;

use crate::codec::{RepositoryId, WriterId};
use crate::error::{Classified, ErrorClass};
use crate::pg::{Lsn, PgMajorVersion, SystemIdentifier, TimelineId, WalSegmentName};
use crate::repository::{BackupId, BackupMethod, BackupSizes, ClusterName, CostlyHole};

/// The version of this schema.
pub const SCHEMA_VERSION: u32 = 1;

/// The whole answer.
#[derive(Debug, Clone, Serialize)]
pub struct InfoReport {
    /// Version of this schema: 1.
    pub schema_version: u32,
    /// The configuration file in use.
    pub configuration_file: Option<PathBuf>,
    /// The repository.
    pub repository: InfoRepository,
    /// Its clusters, by name; only the one that was asked for, when one was.
    pub clusters: Vec<InfoCluster>,
    /// What could not be read. The rest is complete all the same.
    pub problems: Vec<InfoProblem>,
}

/// The repository.
#[derive(Debug, Clone, Serialize)]
pub struct InfoRepository {
    /// Where it is, as it was given.
    pub url: String,
    /// The directory.
    pub path: PathBuf,
    /// Its id: 32 hexadecimal digits.
    pub id: RepositoryId,
}

/// A cluster.
#[derive(Debug, Clone, Serialize)]
pub struct InfoCluster {
    /// Its name.
    pub name: ClusterName,
    /// One for each system identifier that it has had, oldest first.
    pub trees: Vec<InfoTree>,
    /// Who writes or wrote for it.
    pub writers: Vec<InfoWriter>,
}

/// A cluster with one system identifier.
#[derive(Debug, Clone, Serialize)]
pub struct InfoTree {
    /// The system identifier.
    pub system_identifier: SystemIdentifier,
    /// Its major version, as 15; unknown when its registration cannot be read.
    pub major_version: Option<PgMajorVersion>,
    /// The size of its WAL segments; as above, else from a backup.
    pub wal_segment_bytes: Option<u64>,
    /// When it was registered.
    pub since: Option<Timestamp>,
    /// The backups, in the order in which they were taken.
    pub backups: Vec<InfoBackup>,
    /// Backups whose record cannot be read.
    pub unreadable_backups: Vec<InfoUnreadable>,
    /// Backups that were begun and have no record: running, or given up.
    pub unfinished_backups: Vec<InfoUnfinished>,
    /// Backups whose deletion was begun; the next `pgv expire --apply` finishes it.
    pub being_deleted: Vec<BackupId>,
    /// The archived WAL, by timeline.
    pub wal: Vec<InfoTimeline>,
    /// The timelines whose history file is archived.
    pub history_files: Vec<TimelineId>,
}

/// A backup.
#[derive(Debug, Clone, Serialize)]
pub struct InfoBackup {
    /// Its id.
    pub id: BackupId,
    /// Where replay begins.
    pub start_lsn: Lsn,
    /// Where it is consistent: the earliest point that it can be restored to.
    pub stop_lsn: Lsn,
    /// When it began, by the server's clock.
    pub start_time: Timestamp,
    /// When it ended, by the server's clock.
    pub stop_time: Timestamp,
    /// The timeline at its end.
    pub timeline: TimelineId,
    /// The timeline at its beginning.
    pub start_timeline: TimelineId,
    /// `files`, `directories`, `file_bytes` (of the cluster), `stored_bytes` (added to the repository).
    pub sizes: BackupSizes,
    /// `stream` or `direct`: how it was taken.
    pub method: BackupMethod,
    /// Its label.
    pub label: String,
    /// The server it was taken from.
    pub node: InfoNode,
    /// Major version of the server.
    pub major_version: PgMajorVersion,
    /// Backups whose packs it refers to.
    pub parents: Vec<BackupId>,
    /// What was found to be wrong with the data.
    pub findings: Vec<String>,
    /// What keeps it from being deleted by retention.
    pub pins: Vec<InfoPin>,
    /// Whether retention has marked it: it is listed, and goes with a later `pgv expire --apply`.
    pub is_expiring: bool,
    /// Segments between its start and stop that the archive lacks: with any, it cannot be restored. At most 100.
    pub missing_wal: Vec<WalSegmentName>,
    /// Packs that it needs, its own and those of its parents, and that are not there as they were stored: with any, it cannot be restored. At
    /// most 100.
    pub missing_packs: Vec<String>,
    /// The last segment that follows without a hole on its own timeline; absent when its own WAL is incomplete.
    pub wal_until: Option<WalSegmentName>,
}

/// The server that a backup was taken from.
#[derive(Debug, Clone, Serialize)]
pub struct InfoNode {
    /// Host or socket directory, as connected to.
    pub host: String,
    /// Port, as connected to.
    pub port: u16,
    /// Whether it was a standby.
    pub is_standby: bool,
}

/// A pin of a backup.
#[derive(Debug, Clone, Serialize)]
pub struct InfoPin {
    /// Why it was pinned.
    pub reason: String,
    /// On which host.
    pub host: String,
    /// When, by that host's clock.
    pub set: Timestamp,
}

/// A backup whose record cannot be read.
#[derive(Debug, Clone, Serialize)]
pub struct InfoUnreadable {
    /// Its id.
    pub id: BackupId,
    /// Why.
    pub reason: String,
}

/// A backup that was begun and has no record.
#[derive(Debug, Clone, Serialize)]
pub struct InfoUnfinished {
    /// Its id.
    pub id: BackupId,
    /// Whether it will not be finished: it has failed, or was silent for long.
    pub given_up: bool,
    /// Whether it had a record that is missing: damage, which is among the problems, too.
    pub record_missing: bool,
    /// Whether it is whole but for its record, and was killed at its last step or lost it: no damage that is known of.
    pub record_unclear: bool,
    /// The host that takes it.
    pub host: Option<String>,
    /// When it began, by that host's clock.
    pub began: Option<Timestamp>,
    /// Why how it began cannot be read.
    pub reason: Option<String>,
}

/// The archived WAL of a timeline.
#[derive(Debug, Clone, Serialize)]
pub struct InfoTimeline {
    /// The timeline.
    pub timeline: TimelineId,
    /// The segments, as ranges without holes, in order.
    pub ranges: Vec<InfoRange>,
    /// What lies between the ranges.
    pub holes: Vec<CostlyHole>,
}

/// Segments without a hole between them.
#[derive(Debug, Clone, Serialize)]
pub struct InfoRange {
    /// The first segment.
    pub first: WalSegmentName,
    /// The last segment.
    pub last: WalSegmentName,
    /// How many there are.
    pub count: u64,
    /// When the first one was archived, by the store's clock.
    pub first_archived_at: Option<Timestamp>,
    /// When the last one was archived, by the store's clock.
    pub last_archived_at: Option<Timestamp>,
}

/// Who writes for a cluster.
#[derive(Debug, Clone, Serialize)]
pub struct InfoWriter {
    /// Its id, as objects' headers name it.
    pub id: WriterId,
    /// The host's name.
    pub host: String,
    /// The data directory.
    pub directory: PathBuf,
    /// When it first wrote, by its own clock.
    pub since: Timestamp,
}

/// Something that could not be read.
#[derive(Debug, Clone, Serialize)]
pub struct InfoProblem {
    /// What it is about, as `cluster "main"`, `backup "..."`.
    pub object: String,
    /// Why, with all causes.
    pub reason: String,
    /// The kind of failure.
    #[serde(skip)]
    pub class: ErrorClass,
}

/// The answer was given, and is not complete.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{count} of the things in the repository could not be read; see the answer")]
pub struct InfoIncomplete {
    count: usize,
    class: ErrorClass,
}

impl Classified for InfoIncomplete {
    fn class(&self) -> ErrorClass {
        self.class
    }
}

impl InfoReport {
    /// An error when not everything could be read; damage goes before everything else.
    pub fn incomplete(&self) -> Option<InfoIncomplete> {
        let damaged = self.problems.iter().find(|problem| problem.class == ErrorClass::Corrupt);
        let worst = damaged.or(self.problems.first())?;
        Some(InfoIncomplete { count: self.problems.len(), class: worst.class })
    }
}
