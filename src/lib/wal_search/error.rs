//! Why the log could not be searched.

use crate::error::{Classified, ErrorClass};
use crate::fs::FileError;
use crate::pg::{Lsn, WalFault, WalHeaderError, WalJoinError, WalSegmentName};
use crate::repository::RepositoryError;

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

impl Classified for WalSearchError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Repository(error) => error.class(),
            Self::File(error) => error.class(),
            Self::Missing { .. } => ErrorClass::NotFound,
            Self::Header { .. } | Self::Fault { .. } | Self::OldFault { .. } | Self::Join { .. } => ErrorClass::Corrupt,
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
