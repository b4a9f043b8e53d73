//! Why a WAL file was not fetched.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Classified, ErrorClass};
use crate::fs::FileError;
use crate::pg::{
    ControlFileError, SystemIdentifier, TimelineHistoryError, WalFileName, WalFileNameError, WalHeaderError,
    WalSegmentName,
};
use crate::repository::{BackupId, ClusterRef, RepositoryError, SelectionError};

/// A WAL file that was not fetched. Nothing stands at the destination that did not stand there before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The name is none of a WAL file.
    #[error("could not fetch a WAL file")]
    Name {
        /// What is wrong with the name.
        #[source]
        source: WalFileNameError,
    },
    /// Proven absent: the repository answered, and has nothing that can only come after this file.
    #[error("there is no \"{name}\" of cluster {cluster} in {store}")]
    Absent {
        /// The file.
        name: WalFileName,
        /// The cluster.
        cluster: ClusterRef,
        /// Where.
        store: String,
    },
    /// Missing: a listed backup has WAL that reaches up to it.
    #[error("\"{name}\" is missing in {store}, whose backup {backup} was taken when it or a later one was there")]
    LostBehindBackup {
        /// The file.
        name: WalFileName,
        /// The backup.
        backup: BackupId,
        /// Where.
        store: String,
    },
    /// Nothing is proven: WAL that was there is gone.
    #[error("there is no \"{name}\" in {store}, which has also lost \"{lost}\" of its newest backup {backup}")]
    WalOfBackupLost {
        /// The file.
        name: WalFileName,
        /// The backup.
        backup: BackupId,
        /// The last segment of the backup.
        lost: WalSegmentName,
        /// Where.
        store: String,
    },
    /// Missing: a file that can only come after it is there.
    #[error("\"{name}\" is missing in {store}, which has \"{next}\"")]
    Hole {
        /// The file.
        name: WalFileName,
        /// One that comes after it.
        next: WalFileName,
        /// Where.
        store: String,
    },
    /// Not there yet: a file that can only come after it was stored just now.
    #[error("\"{name}\" has not arrived in {store} yet, which just got \"{next}\"")]
    InFlight {
        /// The file.
        name: WalFileName,
        /// One that comes after it.
        next: WalFileName,
        /// Where.
        store: String,
    },
    /// A file that the repository lists is not there.
    #[error("\"{name}\" is listed in {store} but cannot be found there")]
    Vanished {
        /// The file.
        name: WalFileName,
        /// Where.
        store: String,
    },
    /// A stored history file cannot be read as one.
    #[error("\"{name}\" in {store} is not a timeline history file")]
    History {
        /// The file.
        name: WalFileName,
        /// Where.
        store: String,
        /// What is wrong with it.
        #[source]
        source: TimelineHistoryError,
    },
    /// What is stored is not the segment that its name says.
    #[error("\"{name}\" in {store} is not the WAL segment that its name says")]
    Header {
        /// The file.
        name: WalFileName,
        /// Where.
        store: String,
        /// What is wrong with its header.
        #[source]
        source: WalHeaderError,
    },
    /// What is stored is a segment of another cluster.
    #[error("\"{name}\" in {store} is of a cluster with system identifier {found}, not {expected}")]
    OtherSystem {
        /// The file.
        name: WalFileName,
        /// Where.
        store: String,
        /// The cluster's.
        expected: SystemIdentifier,
        /// The segment's.
        found: SystemIdentifier,
    },
    /// What is stored is not a whole segment.
    #[error("\"{name}\" in {store} has {found} bytes where a segment has {expected}")]
    Size {
        /// The file.
        name: WalFileName,
        /// Where.
        store: String,
        /// The size that its header says.
        expected: u64,
        /// Its size.
        found: u64,
    },
    /// The control file of the data directory cannot be read.
    #[error("could not tell from \"{}\" which cluster this is", path.display())]
    ControlFile {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: ControlFileError,
    },
    /// A file of the data directory could not be read.
    #[error(transparent)]
    File(FileError),
    /// The file could not be put where it should go.
    #[error(transparent)]
    Destination(FileError),
    /// No cluster could be chosen.
    #[error("could not fetch \"{name}\"")]
    Selection {
        /// The file.
        name: WalFileName,
        /// Why.
        #[source]
        source: SelectionError,
    },
    /// Something hangs.
    #[error("could not fetch \"{name}\": nothing moved for {limit:?} while {doing}")]
    Stalled {
        /// The name that was asked for.
        name: String,
        /// What was begun last.
        doing: String,
        /// How long was waited.
        limit: Duration,
    },
    /// No thread could be started.
    #[error("could not start a thread")]
    Thread(#[source] std::io::Error),
    /// The repository failed.
    #[error("could not fetch \"{name}\"")]
    Repository {
        /// The file.
        name: WalFileName,
        /// What failed.
        #[source]
        source: RepositoryError,
    },
}

impl Classified for FetchError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Name { source } => source.class(),
            Self::Absent { .. } => ErrorClass::NotFound,
            Self::Hole { .. }
            | Self::LostBehindBackup { .. }
            | Self::WalOfBackupLost { .. }
            | Self::History { .. }
            | Self::OtherSystem { .. }
            | Self::Size { .. } => ErrorClass::Corrupt,
            Self::InFlight { .. } | Self::Vanished { .. } => ErrorClass::Unavailable,
            Self::Header { source, .. } => match source.class() {
                ErrorClass::Unsupported => ErrorClass::Unsupported,
                _ => ErrorClass::Corrupt,
            },
            // The server writes its control file in place: reading again may help.
            Self::ControlFile { source: ControlFileError::Crc { .. }, .. } => ErrorClass::Unavailable,
            Self::ControlFile { source, .. } => source.class(),
            Self::File(error) => error.class(),
            Self::Destination(error) if error.is_not_found() => ErrorClass::Usage,
            Self::Destination(error) if error.source.kind() == ErrorKind::IsADirectory => ErrorClass::Usage,
            Self::Destination(error) => error.class(),
            Self::Stalled { .. } => ErrorClass::TimedOut,
            Self::Thread(error) => ErrorClass::of_io(error),
            Self::Selection { source, .. } => of_another_object(source.class()),
            Self::Repository { source, .. } => of_another_object(source.class()),
        }
    }
}

/// What is not found here is not the file that was asked for, and proves nothing about it.
fn of_another_object(class: ErrorClass) -> ErrorClass {
    match class {
        ErrorClass::NotFound => ErrorClass::Unavailable,
        other => other,
    }
}
