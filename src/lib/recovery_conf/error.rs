//! Why a data directory does not get or lose its recovery configuration.

use std::path::PathBuf;

use crate::error::{Classified, ErrorClass};
use crate::fs::FileError;
use crate::pg::{
    DatabaseState, LongCommandError, Lsn, PgVersionError, RecoverySettingsError, RecoveryTarget, TimelineId,
};

/// Why recovery configuration cannot be written or cleared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoveryConfError {
    /// A file that every data directory has is missing.
    #[error("\"{}\" is no data directory: there is no \"{missing}\" in it", path.display())]
    NoDataDirectory {
        /// The directory.
        path: PathBuf,
        /// What it should hold.
        missing: &'static str,
    },
    /// Of a version that pgv does not know.
    #[error("data directory \"{}\" is not for this pgv", path.display())]
    Version {
        /// The directory.
        path: PathBuf,
        /// Which version.
        #[source]
        source: PgVersionError,
    },
    /// Files that this account wrote there the server could not read.
    #[error("data directory \"{}\" belongs to user {owner}, and this is user {account}", path.display())]
    Owner {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who runs this.
        account: u32,
    },
    /// A server reads its files only when it starts, and rewrites them.
    #[error("a server runs in data directory \"{}\" (process {pid})", path.display())]
    ServerRuns {
        /// The directory.
        path: PathBuf,
        /// The server's process.
        pid: i32,
    },
    /// PostgreSQL 12 and later does not start with it.
    #[error("\"{}\" exists, and PostgreSQL 12 and later does not start with it", path.display())]
    RecoveryConf {
        /// The file.
        path: PathBuf,
    },
    /// What would be cleared is still needed.
    #[error("\"{}\" exists: recovery has not ended, and still needs its settings", path.display())]
    SignalFile {
        /// The file.
        path: PathBuf,
    },
    /// A server never goes back to where it has been.
    #[error(
        "data directory \"{}\" was opened for writing (pg_control says \"{state}\"; checkpoint at {lsn} on timeline \
         {timeline}): no server goes back in it (target: {target})", path.display()
    )]
    Opened {
        /// The directory.
        path: PathBuf,
        /// What its control file says of it.
        state: DatabaseState,
        /// Where recovery would begin.
        lsn: Lsn,
        /// On which timeline.
        timeline: TimelineId,
        /// What was asked for.
        target: RecoveryTarget,
    },
    /// What it would do to a server that was opened nobody knows but who wrote it.
    #[error("\"{}\" exists in a directory that was opened for writing, and pgv has no settings there that go with it", path.display())]
    ForeignSignalFile {
        /// The file.
        path: PathBuf,
    },
    /// With ours before it the user's command is too long.
    #[error(transparent)]
    LongCommand(#[from] LongCommandError),
    /// Settings that no file can hold.
    #[error(transparent)]
    Settings(#[from] RecoverySettingsError),
    /// The system refused.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Classified for RecoveryConfError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NoDataDirectory { .. }
            | Self::ServerRuns { .. }
            | Self::RecoveryConf { .. }
            | Self::SignalFile { .. }
            | Self::Opened { .. }
            | Self::ForeignSignalFile { .. } => ErrorClass::Refused,
            Self::Version { .. } => ErrorClass::Unsupported,
            Self::Owner { .. } => ErrorClass::PermissionDenied,
            Self::LongCommand(error) => error.class(),
            Self::Settings(error) => error.class(),
            Self::File(error) => error.class(),
        }
    }
}
