//! What kind of failure each [`BackupError`] is.

use super::BackupError;
use crate::error::{Classified, ErrorClass};
use crate::pg::{DataPathError, DataPathProblem, ManifestError};

impl Classified for BackupError {
    /// Never the class of a negative answer: a backup that was not taken is a failure, whatever was missing for it.
    fn class(&self) -> ErrorClass {
        match self.own_class() {
            ErrorClass::NotFound => ErrorClass::Unavailable,
            class => class,
        }
    }
}

impl BackupError {
    fn own_class(&self) -> ErrorClass {
        match self {
            Self::Connect(error) => error.class(),
            Self::Server(error) => error.class(),
            Self::Replication(error) => error.class(),
            Self::Selection(error) => error.class(),
            Self::Repository(error) => error.class(),
            Self::Begun(error) => error.own_class(),
            Self::Writer(error) | Self::Recording(error) => error.class(),
            Self::Pack(error) => error.class(),
            Self::File(error) | Self::Spill(error) => error.class(),
            Self::NoRoom { .. } => ErrorClass::NoSpace,
            Self::Manifest(ManifestError::Read(error)) => ErrorClass::of_io(error),
            Self::ControlFile(error) => error.class(),
            Self::Session(error) => error.class(),
            Self::Incomplete(error) => error.class(),
            Self::NoControlFile { .. } | Self::StartNotArchived { .. } | Self::NoHistory { .. } => {
                ErrorClass::Unavailable
            }
            Self::Thread(error) => ErrorClass::of_io(error),
            Self::Version(_) | Self::BlockSize { .. } => ErrorClass::Unsupported,
            Self::TwoServers { .. }
            | Self::OtherVersion { .. }
            | Self::TablespaceName { .. }
            | Self::TooManyEntries { .. }
            | Self::NotDirect { .. }
            | Self::OtherDirectory { .. }
            | Self::OtherKind { .. }
            | Self::OtherTablespace { .. }
            | Self::OtherServersWal { .. }
            | Self::OtherServersHistory { .. } => ErrorClass::Refused,
            // A file of a person's, which no archive of the server would make up.
            Self::Path(DataPathError { problem: DataPathProblem::Backslash, .. }) => ErrorClass::Refused,
            Self::Archive { .. }
            | Self::ArchiveContent { .. }
            | Self::Path(_)
            | Self::DocumentTooLarge { .. }
            | Self::DocumentMissing { .. }
            | Self::Manifest(_)
            | Self::Label(_)
            | Self::TablespaceMap(_)
            | Self::LabelStart { .. }
            | Self::NotAsManifest { .. }
            | Self::ManifestMismatch { .. }
            | Self::History { .. }
            | Self::StopBeforeStart { .. } => ErrorClass::Corrupt,
            Self::NotArchived { .. } => ErrorClass::TimedOut,
            Self::Cancelled => ErrorClass::Interrupted,
            Self::Internal { .. } => ErrorClass::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::RepositoryError;
    use crate::store::{ObjectKey, StoreError};

    #[test]
    fn what_is_missing_for_a_backup_is_no_negative_answer() {
        let key = ObjectKey::parse("main/identity").unwrap();
        let absent = RepositoryError::Store(StoreError::NotFound { key, store: "repository".to_owned() });
        assert_eq!(absent.class(), ErrorClass::NotFound);
        assert_eq!(BackupError::from(absent).class(), ErrorClass::Unavailable);
    }
}
