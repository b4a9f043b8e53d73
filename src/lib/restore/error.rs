//! Why a restore was refused or failed.

use std::path::PathBuf;

use jiff::Timestamp;

use super::choose::TimelinePath;
use super::target_directory::DirectoryProblem;
use super::wal_coverage::WalHole;
use crate::error::{Classified, ErrorClass};
use crate::fs::FileError;
use crate::pg::{DataPath, Lsn, RecoverySettingsError, RecoveryTarget, TargetTimeError, TimelineId, WalSegmentName};
use crate::repository::{BackupId, RepositoryError};

/// A restore that was refused or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The repository failed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The settings cannot be written.
    #[error(transparent)]
    Settings(#[from] RecoverySettingsError),
    /// The target time cannot be understood.
    #[error("invalid target time")]
    Time(#[source] TargetTimeError),
    /// The target time does not say where the clock hangs.
    #[error("invalid target time")]
    TimeWithoutOffset {
        /// What it may mean: the zone, and the same time in it.
        readings: Vec<(String, Timestamp)>,
        /// What is missing.
        #[source]
        source: TargetTimeError,
    },
    /// There is no backup that can be restored.
    #[error("there is no backup to restore{}", those_that(unusable))]
    NoBackup {
        /// Those that are there and cannot be used.
        unusable: Vec<BackupId>,
    },
    /// No backup of that id.
    #[error("there is no backup \"{id}\"")]
    UnknownBackup {
        /// The id.
        id: BackupId,
    },
    /// The record of the backup that was named cannot be read.
    #[error("backup \"{id}\" cannot be restored: {problem}")]
    BackupUnreadable {
        /// The backup.
        id: BackupId,
        /// Why.
        problem: String,
    },
    /// No backup ended before the target.
    #[error(
        "target {target} is before the end of {} \"{backup}\", which is consistent from LSN {stop_lsn}, {stop_time} on",
        if *was_named { "backup" } else { "the first usable backup" }
    )]
    TargetBeforeBackup {
        /// The target.
        target: Box<RecoveryTarget>,
        /// The backup.
        backup: BackupId,
        /// Where it ended.
        stop_lsn: Lsn,
        /// When it ended.
        stop_time: Timestamp,
        /// Whether the person chose it.
        was_named: bool,
    },
    /// The target has not been archived.
    #[error("target LSN {target} is not in the archive, which ends at {end} on timeline {timeline}")]
    LsnPastArchive {
        /// The target.
        target: Lsn,
        /// Where the archive ends.
        end: Lsn,
        /// On which path.
        timeline: TimelineId,
    },
    /// WAL is missing on the way to the target.
    #[error(
        "the archive has a hole on the way along timeline {timeline}: {} missing, \"{}\" to \"{}\"",
        segments(hole.count), hole.first, hole.last
    )]
    Hole {
        /// On which path.
        timeline: TimelineId,
        /// The hole.
        hole: WalHole,
        /// Upper bound of the times before it.
        reachable_time: Option<Timestamp>,
    },
    /// WAL that the backup itself needs is missing.
    #[error(
        "backup \"{backup}\" cannot be made consistent: WAL segment \"{}\" is not in the archive",
        first_of(missing)
    )]
    BackupWalMissing {
        /// The backup.
        backup: BackupId,
        /// The first missing segments.
        missing: Vec<WalSegmentName>,
        /// An earlier backup.
        earlier: Option<BackupId>,
    },
    /// Several histories could be meant.
    #[error("target {target} could lie on more than one timeline: {}", timelines(paths))]
    AmbiguousTimeline {
        /// The target.
        target: Box<RecoveryTarget>,
        /// The possible ones.
        paths: Vec<TimelinePath>,
    },
    /// A timeline cannot be followed.
    #[error("timeline {timeline} cannot be followed: {}", problem.as_deref().unwrap_or("its history is not in the archive"))]
    NoHistory {
        /// Which one.
        timeline: TimelineId,
        /// Why its history cannot be read, when it is there.
        problem: Option<String>,
        /// Those that can be followed.
        known: Vec<TimelineId>,
    },
    /// The backup is not on the path that was asked for.
    #[error("backup \"{backup}\" is on timeline {on} and not on the way to timeline {timeline}")]
    BackupNotOnTimeline {
        /// The newest fitting backup.
        backup: BackupId,
        /// Its timeline.
        on: TimelineId,
        /// The one that was asked for.
        timeline: TimelineId,
    },
    /// A directory must not be restored into.
    #[error("cannot restore into \"{}\"", directory.display())]
    UnsafeDirectory {
        /// The directory.
        directory: PathBuf,
        /// Why.
        #[source]
        problem: DirectoryProblem,
    },
    /// A tablespace cannot be restored where it should be.
    #[error("cannot restore tablespace {oid} to \"{}\"", directory.display())]
    UnsafeTablespace {
        /// The tablespace.
        oid: u32,
        /// The directory.
        directory: PathBuf,
        /// Why.
        #[source]
        problem: DirectoryProblem,
    },
    /// A mapping that maps nothing.
    #[error("backup \"{backup}\" has no tablespace at \"{}\"", old.display())]
    UnknownTablespace {
        /// The backup.
        backup: BackupId,
        /// What was to be mapped.
        old: PathBuf,
        /// Where its tablespaces are.
        known: Vec<PathBuf>,
    },
    /// A file system is too small.
    #[error("no room on the file system of \"{}\": {needed} bytes are needed, {available} are free", directory.display())]
    NoRoom {
        /// A directory on it.
        directory: PathBuf,
        /// Bytes that will be written.
        needed: u64,
        /// Bytes that are free.
        available: u64,
    },
    /// The original still runs, so the copy must not archive.
    #[error("the original cluster still runs as a primary at {server}")]
    OriginalIsRunning {
        /// Where.
        server: String,
    },
    /// The backup lacks something without which no restore may be made.
    #[error("backup \"{backup}\" has no {what}")]
    Incomplete {
        /// The backup.
        backup: BackupId,
        /// What it lacks.
        what: &'static str,
    },
    /// What was written is not what was backed up.
    #[error("file \"{path}\" of backup \"{backup}\" does not match its digest")]
    FileDigest {
        /// The backup.
        backup: BackupId,
        /// The file.
        path: DataPath,
    },
    /// Something else appeared in the directory while it was restored into.
    #[error("something else came into \"{}\" meanwhile", directory.display())]
    DirectoryChanged {
        /// The directory.
        directory: PathBuf,
    },
    /// A document could not be written as text.
    #[error("could not write the marker of an unfinished restore")]
    Marker(#[source] serde_json::Error),
    /// A path that a file of the server cannot name.
    #[error("path \"{}\" cannot stand in a file of the server", path.display())]
    UnwritablePath {
        /// The path.
        path: PathBuf,
    },
    /// Somebody asked for the end.
    #[error("the restore was given up; the directory cannot be started, and the next restore begins anew")]
    Cancelled,
}

impl Classified for RestoreError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Repository(error) => error.class(),
            Self::File(error) => error.class(),
            Self::Settings(error) => error.class(),
            Self::Time(error) | Self::TimeWithoutOffset { source: error, .. } => error.class(),
            Self::NoBackup { .. } | Self::UnknownBackup { .. } => ErrorClass::NotFound,
            Self::BackupUnreadable { .. } | Self::Incomplete { .. } | Self::FileDigest { .. } => ErrorClass::Corrupt,
            Self::UnknownTablespace { .. } | Self::UnwritablePath { .. } => ErrorClass::Usage,
            Self::NoRoom { .. } => ErrorClass::NoSpace,
            Self::Marker(_) => ErrorClass::Internal,
            Self::Cancelled => ErrorClass::Interrupted,
            Self::TargetBeforeBackup { .. }
            | Self::LsnPastArchive { .. }
            | Self::Hole { .. }
            | Self::BackupWalMissing { .. }
            | Self::AmbiguousTimeline { .. }
            | Self::NoHistory { .. }
            | Self::BackupNotOnTimeline { .. }
            | Self::UnsafeDirectory { .. }
            | Self::UnsafeTablespace { .. }
            | Self::OriginalIsRunning { .. }
            | Self::DirectoryChanged { .. } => ErrorClass::Refused,
        }
    }
}

fn those_that(unusable: &[BackupId]) -> String {
    match unusable {
        [] => String::new(),
        ids => {
            let ids: Vec<String> = ids.iter().map(|id| format!("\"{id}\"")).collect();
            format!(": {} cannot be read or has findings", ids.join(", "))
        }
    }
}

fn segments(count: u64) -> String {
    if count == 1 { "1 segment is".to_owned() } else { format!("{count} segments are") }
}

fn first_of(missing: &[WalSegmentName]) -> String {
    missing.first().map(ToString::to_string).unwrap_or_default()
}

fn timelines(paths: &[TimelinePath]) -> String {
    paths.iter().map(|path| path.timeline.to_string()).collect::<Vec<_>>().join(", ")
}
