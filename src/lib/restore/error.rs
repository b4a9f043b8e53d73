//! Why nothing was restored.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use super::harmless::CopyError;
use super::old_wal::OldWalError;
use super::refusal::{
    Branch, Nearby, NotFound, WayOut, describe_backup, describe_branches, describe_elsewhere, describe_hole,
    describe_missing, describe_timeline, time_text,
};
use super::trees::OlderBackup;
use crate::fs::FileError;
use crate::pg::{
    ControlFileError, DataPath, Lsn, PgMajorVersion, RecoverySettingsError, RecoveryTarget, SystemIdentifier,
    TablespaceMapError, TimelineId, WalSegmentName,
};
use crate::repository::{BackupId, RepositoryError, SelectionError, WalHole};
use crate::wal_search::WalSearchError;

/// A restore that was refused or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The repository failed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// No cluster could be chosen.
    #[error(transparent)]
    Selection(#[from] SelectionError),
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The copy could harm its original, or not be recovered.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// The old pg_wal is refused, or needed.
    #[error(transparent)]
    OldWal(#[from] OldWalError),
    /// There is no backup to start from.
    #[error("cluster \"{cluster}\" has no backup to restore from")]
    NoBackup {
        /// The cluster.
        cluster: String,
        /// One of an earlier system of that name.
        older: Option<Box<OlderBackup>>,
    },
    /// No such backup.
    #[error("there is no backup {id}")]
    UnknownBackup {
        /// Its id.
        id: BackupId,
        /// The ones that there are, in their order.
        known: Vec<BackupId>,
    },
    /// Something wrong was found in every backup.
    #[error("every backup has findings; the newest is {newest}")]
    OnlyBackupsWithFindings {
        /// The newest.
        newest: BackupId,
    },
    /// A backup that was named or chosen cannot be read.
    #[error("backup {id} cannot be read")]
    UnreadableBackup {
        /// Which one.
        id: BackupId,
        /// An older one that can.
        older: Option<BackupId>,
        /// Why.
        #[source]
        source: Box<RepositoryError>,
    },
    /// The target lies before the end of every backup that could serve it.
    #[error("the target {target} lies before the end of {}", describe_backup(backup, *was_named, *stop_time, *stop_lsn))]
    TargetBeforeBackup {
        /// The target.
        target: RecoveryTarget,
        /// The earliest backup that could have served.
        backup: BackupId,
        /// Whether it was asked for by its id.
        was_named: bool,
        /// When it ended.
        stop_time: Timestamp,
        /// Where it ended.
        stop_lsn: Lsn,
        /// One of an earlier system of the cluster's name that could serve.
        older: Option<Box<OlderBackup>>,
    },
    /// The target lies behind the end of the archive.
    #[error(
        "the target LSN {target} lies after the end of the archive at {end} on timeline {timeline}{}",
        describe_elsewhere(nearby.elsewhere.as_ref())
    )]
    TargetBehindArchive {
        /// The target.
        target: Lsn,
        /// Where the archive ends.
        end: Lsn,
        /// No record in it is later than this.
        end_time: Option<Timestamp>,
        /// On which timeline.
        timeline: TimelineId,
        /// What there is instead, when the WAL was read.
        nearby: Box<Nearby>,
    },
    /// The target time is later than everything in the archive.
    #[error(
        "the target time {} is later than everything in the archive, which ends at {end} on timeline {timeline}, \
         archived {}{}", time_text(*target), time_text(*end_time), describe_elsewhere(nearby.elsewhere.as_ref())
    )]
    TimeBehindArchive {
        /// The target.
        target: Timestamp,
        /// When its last segment was archived.
        end_time: Timestamp,
        /// Where the archive ends.
        end: Lsn,
        /// On which timeline.
        timeline: TimelineId,
        /// What there is instead, when the WAL was read.
        nearby: Box<Nearby>,
    },
    /// The WAL has no such point.
    #[error(
        "the target {target} is not in the archive: WAL was read from {} to {} on timeline {}{}",
        not_found.from, not_found.to, not_found.timeline, describe_elsewhere(not_found.nearby.elsewhere.as_ref())
    )]
    TargetNotFound {
        /// The target.
        target: RecoveryTarget,
        /// What there is instead.
        not_found: Box<NotFound>,
    },
    /// Recovery to the target would stop before the backup is consistent.
    #[error(
        "recovery to the target {target} would stop at {found}, before backup {backup} is consistent, at {stop_lsn}"
    )]
    StopBeforeBackupEnd {
        /// The target, in words.
        target: String,
        /// The backup.
        backup: BackupId,
        /// Where it is consistent.
        stop_lsn: Lsn,
        /// The record that recovery would stop at.
        found: Lsn,
    },
    /// The WAL that a backup needs ends before the backup does.
    #[error("backup {backup} cannot be restored: its WAL ends at {end}")]
    WalEndsBeforeBackup {
        /// The backup.
        backup: BackupId,
        /// Where the next record would begin.
        end: Lsn,
    },
    /// The WAL could not be read.
    #[error(transparent)]
    WalSearch(#[from] WalSearchError),
    /// No backup lies on the timeline that was asked for.
    #[error("{} on the path of timeline {timeline}", describe_missing(backup.as_ref()))]
    NotOnTimeline {
        /// The timeline.
        timeline: TimelineId,
        /// The backup that was asked for by its id.
        backup: Option<BackupId>,
        /// The timeline of that one, or of the newest.
        of_backup: TimelineId,
    },
    /// The timeline that was asked for is not in the archive, or its history cannot be read.
    #[error("{}", describe_timeline(*timeline, problem.as_deref(), wal.as_ref()))]
    UnknownTimeline {
        /// The timeline.
        timeline: TimelineId,
        /// Its first and last segment in the archive.
        wal: Option<(WalSegmentName, WalSegmentName)>,
        /// Why its history cannot be read, if it is there.
        problem: Option<String>,
        /// The ones that are.
        known: Vec<TimelineId>,
    },
    /// The target could lie on more than one path of timelines.
    #[error("the target {target} could lie on more than one path of timelines: {}", describe_branches(branches))]
    AmbiguousTimeline {
        /// The target, in words.
        target: String,
        /// The paths.
        branches: Vec<Branch>,
    },
    /// WAL that the backup itself needs is not in the archive.
    #[error("backup {backup} cannot be restored: WAL segment \"{segment}\" is not in the archive")]
    BackupWithoutWal {
        /// The backup.
        backup: BackupId,
        /// The first missing segment.
        segment: WalSegmentName,
    },
    /// WAL on the way to the target is not in the archive.
    #[error("the archive has a hole on the way to the target {target}: {}", describe_hole(hole))]
    Hole {
        /// The target, in words.
        target: String,
        /// What is missing.
        hole: WalHole,
        /// No record before the hole is later than this.
        reachable_time: Option<Timestamp>,
        /// A position before the hole, as late as is certain without reading WAL, that recovery can stop at; `None`
        /// when there is none behind the backup.
        certain_lsn: Option<Lsn>,
        /// The backup before the hole.
        backup: BackupId,
    },
    /// WAL that is needed may be in the archive, in a folder that cannot be listed.
    #[error("WAL from \"{segment}\" on is needed, and it cannot be said whether it is in the archive")]
    UnlistedWal {
        /// The first such segment.
        segment: WalSegmentName,
        /// Why not.
        #[source]
        source: Arc<RepositoryError>,
    },
    /// The directory cannot be restored into.
    #[error("\"{}\" cannot be restored into: {problem}", path.display())]
    UnsafeTarget {
        /// Which one.
        path: PathBuf,
        /// Why not.
        problem: String,
        /// What helps.
        way_out: WayOut,
    },
    /// A server runs in it.
    #[error("a server (process {pid}) runs in \"{}\"", path.display())]
    ServerRuns {
        /// Where.
        path: PathBuf,
        /// Its process.
        pid: i32,
    },
    /// Another cluster lies there.
    #[error("\"{}\" holds another cluster: system identifier {found}, not {expected}", path.display())]
    OtherCluster {
        /// Where.
        path: PathBuf,
        /// The cluster that is restored.
        expected: SystemIdentifier,
        /// The cluster that is there.
        found: SystemIdentifier,
    },
    /// A killed restore of another backup lies there.
    #[error("\"{}\" was being restored from backup {found}, and this is a restore of {expected}", path.display())]
    OtherBackup {
        /// Where.
        path: PathBuf,
        /// The backup of the killed restore.
        found: BackupId,
        /// The backup of this one.
        expected: BackupId,
    },
    /// A file system is too small.
    #[error("the file system of \"{}\" has {} MiB left, and {} MiB are needed", path.display(), available >> 20, needed.div_ceil(1 << 20))]
    NoRoom {
        /// Where.
        path: PathBuf,
        /// What is needed.
        needed: u64,
        /// What is left.
        available: u64,
    },
    /// A tablespace mapping that names none.
    #[error("no tablespace of the backup lies at \"{}\"", path.display())]
    UnknownTablespace {
        /// What was given.
        path: PathBuf,
        /// The ones that there are.
        known: Vec<PathBuf>,
    },
    /// A tablespace that was mapped twice.
    #[error("the tablespace at \"{}\" is mapped twice", path.display())]
    TablespaceMappedTwice {
        /// Where it was.
        path: PathBuf,
    },
    /// The original still answers as a primary.
    #[error("the original still answers as a primary at {server}, so the copy must not archive in its place")]
    OriginalIsAlive {
        /// Where it answers.
        server: String,
    },
    /// The content of a file is not what was backed up.
    #[error("\"{path}\" was not restored as it was backed up")]
    WrongContent {
        /// Which file.
        path: DataPath,
    },
    /// A document of the backup is missing.
    #[error("backup {backup} has no {document}")]
    NoDocument {
        /// The backup.
        backup: BackupId,
        /// Which one.
        document: &'static str,
    },
    /// The tablespace map of the backup cannot be used.
    #[error("the tablespace_map of backup {backup} is invalid")]
    TablespaceMap {
        /// The backup.
        backup: BackupId,
        /// Why.
        #[source]
        source: TablespaceMapError,
    },
    /// The tablespace map names a tablespace that the backup does not have.
    #[error("the tablespace_map of backup {backup} names tablespace {oid}, which is none of its tablespaces")]
    StrayTablespace {
        /// The backup.
        backup: BackupId,
        /// The tablespace.
        oid: u32,
    },
    /// The file map holds what no backup has.
    #[error("the file map of backup {backup} holds \"{path}\", {problem}")]
    UnsafeEntry {
        /// The backup.
        backup: BackupId,
        /// The entry.
        path: DataPath,
        /// What it is.
        problem: &'static str,
    },
    /// The settings cannot be written.
    #[error("the recovery settings cannot be written")]
    Settings(#[from] RecoverySettingsError),
    /// A control file that is there cannot be read.
    #[error("\"{}\" cannot be read", path.display())]
    ControlFile {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: ControlFileError,
    },
    /// The restored control file is none.
    #[error("the control file of backup {backup} is invalid")]
    RestoredControlFile {
        /// The backup.
        backup: BackupId,
        /// Why.
        #[source]
        source: ControlFileError,
    },
    /// The restored control file is that of another kind of server than the record says.
    #[error("the control file of backup {backup} has {what} {found}, its record {expected}")]
    ControlFileDiffers {
        /// The backup.
        backup: BackupId,
        /// What differs.
        what: &'static str,
        /// What the record says.
        expected: u64,
        /// What the control file says.
        found: u64,
    },
    /// The version cannot do what was asked for.
    #[error("PostgreSQL {version} cannot do this: {problem}")]
    Version {
        /// The version.
        version: PgMajorVersion,
        /// Why not.
        problem: &'static str,
    },
    /// What was sorted on the disk, or counted, is not what it was: a defect of ours, or of the disk.
    #[error("internal error: the list of files that are restored into \"{}\" has changed meanwhile", path.display())]
    Spill {
        /// What is being restored.
        path: PathBuf,
    },
    /// No thread could be started.
    #[error("could not start a thread")]
    Thread(#[source] std::io::Error),
    /// Refused when something was touched already, which "refused" alone denies.
    #[error("the restore into \"{}\" was given up after it had begun", path.display())]
    GivenUp {
        /// What was being restored.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<RestoreError>,
    },
    /// A signal came in time.
    #[error("the restore was ended by a signal before it began; nothing was touched")]
    CancelledBefore,
    /// A signal came.
    #[error("the restore was ended by a signal; \"{}\" cannot be started, and the same command restores it anew, with --resume it goes on", path.display())]
    Cancelled {
        /// What was being restored.
        path: PathBuf,
    },
}
