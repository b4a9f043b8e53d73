//! Why a repository could not be set up or a cluster not be registered.

use std::path::PathBuf;

use crate::codec::RepositoryId;
use crate::error::{Classified, ErrorClass};
use crate::fs::FileError;
use crate::pg::{ConfigValueError, PgVersionError, SystemIdentifier, WalSegmentSizeError};
use crate::repository::{ClusterName, ClusterRef, RepositoryError};
use crate::server::{ControlFileReadError, ServerError};
use crate::store::StoreError;

/// Why `pgv init` stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// The repository failed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The server did not tell.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// What should be a data directory is none.
    #[error("\"{}\" is not a data directory: it has no \"global/pg_control\"", path.display())]
    NoDataDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// The control file cannot be used.
    #[error(transparent)]
    ControlFile(#[from] ControlFileReadError),
    /// The role may not see what a registration needs.
    #[error("server {server} did not tell its {what}")]
    Untold {
        /// Which server.
        server: String,
        /// What.
        what: &'static str,
    },
    /// A server that pgv does not know.
    #[error("server {server} cannot be registered")]
    Version {
        /// Which server.
        server: String,
        /// Its version.
        #[source]
        source: PgVersionError,
    },
    /// A segment size that no server has.
    #[error("server {server} cannot be registered")]
    SegmentSize {
        /// Which server.
        server: String,
        /// Its size of segments.
        #[source]
        source: WalSegmentSizeError,
    },
    /// The directory holds something else.
    #[error("directory \"{}\" is not empty and not a repository: it holds \"{found}\"", root.display())]
    NotEmpty {
        /// The directory.
        root: PathBuf,
        /// One of the names in it.
        found: String,
    },
    /// What lies there is of more than one repository.
    #[error(
        "directory \"{}\" has no \"repository.json\", and holds objects of two repositories, {one} and {other}",
        root.display()
    )]
    SeveralRepositories {
        /// The directory.
        root: PathBuf,
        /// One of them.
        one: RepositoryId,
        /// Another one.
        other: RepositoryId,
    },
    /// The identity was lost, and what lies in the tree is of another kind of cluster.
    #[error("cluster {cluster} has no \"identity\", and its \"{object}\" is of {stored}, while this is {found}")]
    OtherCluster {
        /// The cluster.
        cluster: ClusterRef,
        /// The object that says so.
        object: String,
        /// What it says.
        stored: String,
        /// What there is.
        found: String,
    },
    /// Backups would go down with what they are backups of.
    #[error("repository \"{}\" and data directory \"{}\" lie in each other", root.display(), pgdata.display())]
    InsideDataDirectory {
        /// Where the repository should be.
        root: PathBuf,
        /// The data directory.
        pgdata: PathBuf,
    },
    /// The configuration remembers a repository that is not there.
    #[error("there is no repository at \"{}\", where the configuration has the one with id {id}", root.display())]
    PinnedMissing {
        /// Where it should be.
        root: PathBuf,
        /// Which one.
        id: RepositoryId,
    },
    /// One cluster under two names, which nobody asked for: the archive finds clusters by their system identifier.
    #[error(
        "the cluster with system identifier {system_identifier} is registered in {store} as \"{registered}\", not \"{name}\""
    )]
    OtherName {
        /// The name that was given.
        name: ClusterName,
        /// The name that it has.
        registered: ClusterName,
        /// The cluster.
        system_identifier: SystemIdentifier,
        /// Where.
        store: String,
    },
    /// A path that neither a configuration file nor a command can hold.
    #[error("{what} \"{}\" is not UTF-8", path.display())]
    NotText {
        /// What it is.
        what: &'static str,
        /// The path.
        path: PathBuf,
    },
    /// The archive command cannot stand in a configuration file.
    #[error("could not write down the archive command")]
    Command(#[source] ConfigValueError),
    /// Nobody said where the configuration file should be, and there is no usual place.
    #[error("there is no place for the configuration file: the account has no home directory")]
    NoPlaceForConfiguration,
    /// Somebody else wrote it meanwhile.
    #[error("configuration file \"{}\" appeared while pgv was about to write it", path.display())]
    ConfigurationAppeared {
        /// The file.
        path: PathBuf,
    },
}

impl Classified for InitError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Repository(error) => error.class(),
            Self::Store(error) => error.class(),
            Self::File(error) => error.class(),
            Self::Server(error) => error.class(),
            Self::ControlFile(error) => error.class(),
            Self::NoDataDirectory { .. } | Self::NotText { .. } | Self::Command(_) => ErrorClass::Usage,
            Self::NoPlaceForConfiguration => ErrorClass::Usage,
            Self::Untold { .. } => ErrorClass::PermissionDenied,
            Self::Version { .. } | Self::SegmentSize { .. } => ErrorClass::Unsupported,
            Self::NotEmpty { .. }
            | Self::InsideDataDirectory { .. }
            | Self::OtherName { .. }
            | Self::SeveralRepositories { .. }
            | Self::OtherCluster { .. } => ErrorClass::Refused,
            Self::PinnedMissing { .. } => ErrorClass::Unavailable,
            Self::ConfigurationAppeared { .. } => ErrorClass::Conflict,
        }
    }
}
