//! Why the log could not be searched.

use crate::error::{Classified, ErrorClass};
use crate::fs::FileError;
use crate::pg::{Lsn, PgMajorVersion, WalFault, WalHeaderError, WalJoinError, WalSegmentName, WalSegmentSize};
use crate::repository::{RepositoryError, StoredObject};

/// The log could not be searched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalSearchError {
    /// The archive could not be read, or is damaged.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// A file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A segment that must be there is not.
    #[error("WAL segment {segment} is neither in the archive nor among the files that were given")]
    Missing {
        /// The segment.
        segment: WalSegmentName,
    },
    /// A segment does not begin as one of this cluster must.
    #[error("WAL segment {segment} is not what its name says")]
    Header {
        /// The segment.
        segment: WalSegmentName,
        /// What is wrong with it.
        source: WalHeaderError,
    },
    /// A segment of another size than the cluster's.
    #[error("WAL segment {segment} says that segments have {} bytes, where the cluster is registered with {}", found.bytes(), expected.bytes())]
    OtherSegmentSize {
        /// The segment.
        segment: WalSegmentName,
        /// The registered size.
        expected: WalSegmentSize,
        /// The size in its header.
        found: WalSegmentSize,
    },
    /// A segment that another version wrote.
    #[error("WAL segment {segment} is of PostgreSQL {found}, and the backup is of {expected}")]
    OtherVersion {
        /// The segment.
        segment: WalSegmentName,
        /// The version of what is searched for.
        expected: PgMajorVersion,
        /// The version in its header.
        found: PgMajorVersion,
    },
    /// A segment whose stored bytes are as they were archived holds no valid WAL: it was damaged before.
    #[error("WAL segment {segment} was damaged before it was archived")]
    Fault {
        /// The segment in which the damage lies.
        segment: WalSegmentName,
        /// The damage.
        source: WalFault,
    },
    /// A segment that a server left holds no valid WAL where it must.
    #[error("WAL segment {segment} of the old pg_wal is damaged: {}", follows_text(*pages_behind))]
    OldFault {
        /// The segment in which the damage lies.
        segment: WalSegmentName,
        /// How many valid pages follow in it; none when a whole segment does.
        pages_behind: Option<u64>,
        /// Where the last valid record before it begins, if one was read beside it.
        last_record: Option<Lsn>,
        /// The damage.
        source: WalFault,
    },
    /// Two segments do not follow each other.
    #[error("WAL segment {segment} does not follow the one before it")]
    Join {
        /// The later one.
        segment: WalSegmentName,
        /// How they part.
        source: WalJoinError,
    },
    /// A thread could not be started.
    #[error("could not start a thread")]
    Thread(#[source] std::io::Error),
    /// A signal came.
    #[error("interrupted while reading WAL; nothing was changed")]
    Cancelled,
}

impl WalSearchError {
    /// The segment that cannot be read, where that is known.
    pub(crate) fn segment(&self) -> Option<WalSegmentName> {
        match self {
            Self::Missing { segment }
            | Self::Header { segment, .. }
            | Self::OtherSegmentSize { segment, .. }
            | Self::OtherVersion { segment, .. }
            | Self::Fault { segment, .. }
            | Self::OldFault { segment, .. }
            | Self::Join { segment, .. } => Some(*segment),
            Self::Repository(RepositoryError::Damaged { key, .. }) => {
                StoredObject::of_key(key).and_then(|object| object.segment())
            }
            Self::Repository(_) | Self::File(_) | Self::Thread(_) | Self::Cancelled => None,
        }
    }
}

impl Classified for WalSearchError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Repository(error) => error.class(),
            Self::File(error) => error.class(),
            Self::Missing { .. } => ErrorClass::NotFound,
            Self::Header { .. }
            | Self::OtherSegmentSize { .. }
            | Self::OtherVersion { .. }
            | Self::Fault { .. }
            | Self::OldFault { .. }
            | Self::Join { .. } => ErrorClass::Corrupt,
            Self::Thread(error) => ErrorClass::of_io(error),
            Self::Cancelled => ErrorClass::Interrupted,
        }
    }
}

fn follows_text(pages_behind: Option<u64>) -> String {
    match pages_behind {
        None => "the log goes on in a later segment".to_owned(),
        Some(0) => "the log does not end like this".to_owned(),
        Some(1) => "a valid page follows, so the log does not end there".to_owned(),
        Some(pages) => format!("{pages} valid pages follow, so the log does not end there"),
    }
}
