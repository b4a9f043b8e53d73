//! Why nothing is deleted.

use std::sync::Arc;

use jiff::Timestamp;

use crate::error::{Classified, ErrorClass};
use crate::pg::{SystemIdentifier, TimelineId};
use crate::repository::{BackupId, ClusterName, RepositoryError};

/// Why nothing is deleted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExpireError {
    /// The repository failed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// No rule says what is to stay.
    #[error("nothing says which backups are to stay")]
    NoRule,
    /// A backup cannot be judged.
    #[error("backup {backup} cannot be judged, so nothing is deleted")]
    Unreadable {
        /// Which one.
        backup: BackupId,
        /// Why.
        #[source]
        source: Box<RepositoryError>,
    },
    /// A folder that is neither a backup nor what is left of one.
    #[error("backup {backup} has neither \"begin\" nor \"record\" and is not being deleted, so nothing is deleted")]
    Unexplained {
        /// Which one.
        backup: BackupId,
    },
    /// A backup that a later one names, so that it was listed, and that has no record.
    #[error("the record of backup {backup} of cluster \"{cluster}\" is missing, so nothing is deleted")]
    LostRecord {
        /// Which one.
        backup: BackupId,
        /// Whose it is.
        cluster: ClusterName,
        /// In which of its trees.
        system_identifier: SystemIdentifier,
    },
    /// Packs of a backup, and nothing that says what it needs.
    #[error(
        "there are {packs} packs of backup {backup}, and not its folder \"{cluster}/{system_identifier}/backups/{backup}\", \
         so nothing is deleted"
    )]
    NoFolder {
        /// Which one.
        backup: BackupId,
        /// How many.
        packs: u64,
        /// A folder beside those of the backups that may be it.
        strange_folder: Option<String>,
        /// Whose it is.
        cluster: ClusterName,
        /// In which of its trees.
        system_identifier: SystemIdentifier,
    },
    /// Packs, and nothing that says whose they are.
    #[error(
        "there are {packs} packs of cluster \"{cluster}\" and not one backup in \"{cluster}/{system_identifier}/backups\", \
         so nothing is deleted"
    )]
    NoFolders {
        /// How many.
        packs: u64,
        /// Whose they are.
        cluster: ClusterName,
        /// In which of its trees.
        system_identifier: SystemIdentifier,
    },
    /// A timeline that nobody knows the way to.
    #[error(
        "there is WAL of timeline {timeline} of cluster \"{cluster}\", and which backups lead there is not known without \
         {}.history, so nothing is deleted{problem}", timeline.to_hex()
    )]
    UnknownTimeline {
        /// Which one.
        timeline: TimelineId,
        /// Whose it is.
        cluster: ClusterName,
        /// What is wrong with its history behind a colon, when there is one.
        problem: String,
    },
    /// Part of the archive cannot be listed.
    #[error("\"{folder}\" cannot be listed, so nothing is deleted")]
    Hidden {
        /// Which folder.
        folder: String,
        /// Why.
        #[source]
        source: Arc<RepositoryError>,
    },
    /// The clock cannot be right.
    #[error("the clock of this host says {now}, which is before {newest}, when backup {backup} ended")]
    ClockBehind {
        /// What it says.
        now: Timestamp,
        /// The newest time in a record.
        newest: Timestamp,
        /// Whose record that is.
        backup: BackupId,
    },
    /// More than a mistake should cost.
    #[error("the plan would delete {count} of the {of} backups of cluster \"{cluster}\"")]
    TooMany {
        /// How many go.
        count: usize,
        /// How many there are.
        of: usize,
        /// Whose they are.
        cluster: ClusterName,
    },
    /// Somebody else changes the repository.
    #[error("backup {backup} changed while it was looked at")]
    Changed {
        /// Which one.
        backup: BackupId,
    },
    /// No such backup.
    #[error("there is no backup {backup} in {store}")]
    UnknownBackup {
        /// Its id.
        backup: BackupId,
        /// Where.
        store: String,
    },
    /// Too late for a pin.
    #[error("backup {backup} is being deleted")]
    IsGone {
        /// Its id.
        backup: BackupId,
    },
    /// A registered cluster without a readable registration.
    #[error("the registration of cluster \"{cluster}\" is missing, so nothing is deleted")]
    NoIdentity {
        /// Its name.
        cluster: ClusterName,
    },
    /// No such cluster.
    #[error("cluster \"{cluster}\" is not registered in {store}")]
    UnknownCluster {
        /// Its name.
        cluster: ClusterName,
        /// Where.
        store: String,
    },
    /// A signal came. What was begun is finished by the next run.
    #[error("ended by a signal; what was begun is finished by the next run")]
    Interrupted,
}

impl Classified for ExpireError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Repository(error) => error.class(),
            Self::NoRule | Self::UnknownCluster { .. } => ErrorClass::Usage,
            Self::Unreadable { source, .. } => match source.class() {
                ErrorClass::NotFound => ErrorClass::Corrupt,
                class => class,
            },
            Self::Hidden { source, .. } => match source.class() {
                ErrorClass::NotFound => ErrorClass::Unavailable,
                class => class,
            },
            Self::Changed { .. } => ErrorClass::Unavailable,
            Self::ClockBehind { .. } | Self::TooMany { .. } | Self::IsGone { .. } => ErrorClass::Refused,
            Self::UnknownBackup { .. } => ErrorClass::NotFound,
            Self::NoIdentity { .. }
            | Self::Unexplained { .. }
            | Self::LostRecord { .. }
            | Self::NoFolder { .. }
            | Self::NoFolders { .. }
            | Self::UnknownTimeline { .. } => ErrorClass::Corrupt,
            Self::Interrupted => ErrorClass::Interrupted,
        }
    }
}
