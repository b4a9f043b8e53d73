//! Why a WAL file was not archived.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Classified, ErrorClass};
use crate::fs::FileError;
use crate::pg::{
    ControlFileError, PgMajorVersion, TimelineHistory, TimelineHistoryError, WalFileNameError, WalHeaderError,
    WalSegmentSize,
};
use crate::repository::{ClusterName, RepositoryError, SelectionError};

/// A WAL file that was not archived. PostgreSQL keeps it and tries again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The path has no file name.
    #[error("\"{}\" names no file", path.display())]
    NoName {
        /// The path.
        path: PathBuf,
    },
    /// The name is none of a WAL file.
    #[error("could not archive \"{}\"", path.display())]
    Name {
        /// The path.
        path: PathBuf,
        /// What is wrong with the name.
        #[source]
        source: WalFileNameError,
    },
    /// The file to archive is not there.
    #[error("there is no file \"{}\" to archive", path.display())]
    SourceMissing {
        /// Its path.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is not the segment that its name says.
    #[error("\"{}\" is not the WAL segment that its name says", path.display())]
    Header {
        /// Its path.
        path: PathBuf,
        /// What is wrong with its header.
        #[source]
        source: WalHeaderError,
    },
    /// The file is not a whole segment.
    #[error("\"{}\" has {found} bytes where a segment has {expected}", path.display())]
    Size {
        /// Its path.
        path: PathBuf,
        /// The size that its header says.
        expected: u64,
        /// Its size.
        found: u64,
    },
    /// The history file cannot be read as one.
    #[error("\"{}\" is not a timeline history file", path.display())]
    History {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: TimelineHistoryError,
    },
    /// A `.backup` or `.history` file that cannot be one.
    #[error("\"{}\" is not the file that its name says: {problem}", path.display())]
    Text {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
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
    /// The file changed while it was read.
    #[error("\"{}\" changed while it was read", path.display())]
    Changed {
        /// Its path.
        path: PathBuf,
    },
    /// No cluster could be chosen.
    #[error("could not archive \"{}\"", path.display())]
    Selection {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: SelectionError,
    },
    /// The segment is of another major version than the registered one.
    #[error("\"{}\" is WAL of PostgreSQL {found} where cluster \"{cluster}\" is registered with {expected} in {store}", path.display())]
    OtherVersion {
        /// Its path.
        path: PathBuf,
        /// The repository.
        store: String,
        /// The cluster.
        cluster: ClusterName,
        /// The registered version.
        expected: PgMajorVersion,
        /// The segment's version.
        found: PgMajorVersion,
    },
    /// The segment has another size than the registered one.
    #[error("\"{}\" is a segment of {} bytes where cluster \"{cluster}\" is registered with {} in {store}", path.display(), found.bytes(), expected.bytes())]
    OtherSegmentSize {
        /// Its path.
        path: PathBuf,
        /// The repository.
        store: String,
        /// The cluster.
        cluster: ClusterName,
        /// The registered size.
        expected: WalSegmentSize,
        /// The segment's size.
        found: WalSegmentSize,
    },
    /// This is another data directory than the cluster's.
    #[error("could not archive \"{}\" in {store}: cluster \"{cluster}\" has its data directory at \"{}\", but this is \"{}\"", path.display(), pgdata.display(), here.display())]
    OtherDirectory {
        /// The path of the file.
        path: PathBuf,
        /// The repository.
        store: String,
        /// The cluster.
        cluster: ClusterName,
        /// The data directory in the configuration.
        pgdata: PathBuf,
        /// The directory that this runs in.
        here: PathBuf,
    },
    /// The archive has another timeline of that number.
    #[error(
        "\"{}\" is of another timeline {} than the one in the archive: that began {}, this one {}",
        path.display(), ours.timeline(), archived.origin(), ours.origin()
    )]
    OtherTimeline {
        /// Its path.
        path: PathBuf,
        /// The data directory.
        data_directory: PathBuf,
        /// The history beside it.
        ours: Box<TimelineHistory>,
        /// The archived one.
        archived: Box<TimelineHistory>,
    },
    /// The repository failed.
    #[error("could not archive \"{}\"", path.display())]
    Repository {
        /// Its path.
        path: PathBuf,
        /// What failed.
        #[source]
        source: RepositoryError,
    },
    /// Not done in time.
    #[error("\"{}\" was not stored in repository \"{}\" within {} s", path.display(), repository.display(), limit.as_secs())]
    TimedOut {
        /// Its path.
        path: PathBuf,
        /// The directory of the repository.
        repository: PathBuf,
        /// How long was waited.
        limit: Duration,
    },
    /// No thread could be started.
    #[error("could not start a thread")]
    Thread(#[source] std::io::Error),
}

impl Classified for ArchiveError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NoName { .. } => ErrorClass::Usage,
            Self::Name { .. } | Self::Size { .. } | Self::History { .. } | Self::Text { .. } | Self::Changed { .. } => {
                ErrorClass::InvalidInput
            }
            Self::Header { source, .. } => source.class(),
            // The server writes its control file in place: reading again may help.
            Self::ControlFile { source: ControlFileError::Crc { .. }, .. } => ErrorClass::Unavailable,
            Self::ControlFile { source, .. } => source.class(),
            Self::SourceMissing { .. } => ErrorClass::NotFound,
            Self::File(error) => error.class(),
            Self::Selection { source, .. } => of_another_object(source.class()),
            Self::OtherVersion { .. } | Self::OtherSegmentSize { .. } | Self::OtherDirectory { .. } => {
                ErrorClass::Refused
            }
            Self::OtherTimeline { .. } => ErrorClass::Conflict,
            Self::Repository { source, .. } => of_another_object(source.class()),
            Self::TimedOut { .. } => ErrorClass::TimedOut,
            Self::Thread(error) => ErrorClass::of_io(error),
        }
    }
}

/// What is not found in the repository is something else than the file to archive.
fn of_another_object(class: ErrorClass) -> ErrorClass {
    match class {
        ErrorClass::NotFound => ErrorClass::Corrupt,
        other => other,
    }
}
