//! Why a copy is refused that could harm its original, or that could not be recovered as a harmless one.

use std::path::PathBuf;

use crate::error::{Classified, ErrorClass};
use crate::pg::Lsn;

/// A copy that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// Replay would use a directory that somebody uses.
    #[error("the WAL creates tablespace {oid} in \"{}\" at {lsn}, and that directory here {problem}", path.display())]
    TablespacePath {
        /// The tablespace.
        oid: u32,
        /// Its directory, which replay uses as it is.
        path: PathBuf,
        /// Where its record lies.
        lsn: Lsn,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Replay of the WAL of an extension needs its library.
    #[error(
        "the WAL has records of an extension (resource manager {manager}), whose library a harmless copy does not load: \
         shared_preload_libraries = '{libraries}'"
    )]
    NeedsLibrary {
        /// The first of the resource managers.
        manager: u8,
        /// The libraries that its original loads.
        libraries: String,
    },
    /// No recovery gets across.
    #[error("no recovery gets across {lsn}: the server was run with wal_level = minimal from there on")]
    MinimalWal {
        /// Where the record lies.
        lsn: Lsn,
    },
}

impl Classified for CopyError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Refused
    }
}
