//! What kind of failure each error of a restore is, which decides its exit status.

use super::error::RestoreError;
use crate::error::{Classified, ErrorClass};

impl Classified for RestoreError {
    fn class(&self) -> ErrorClass {
        match self {
            // What is not there is damage: absence is said by the variants below.
            Self::Repository(error) if error.class() == ErrorClass::NotFound => ErrorClass::Corrupt,
            Self::Repository(error) => error.class(),
            Self::Selection(error) => error.class(),
            Self::File(error) => error.class(),
            Self::OldWal(error) => error.class(),
            Self::Copy(error) => error.class(),
            Self::NoBackup { .. } | Self::UnknownBackup { .. } => ErrorClass::NotFound,
            Self::UnreadableBackup { older: Some(_), .. } => ErrorClass::Corrupt,
            Self::UnreadableBackup { source, .. } => source.class(),
            Self::UnlistedWal { source, .. } => source.class(),
            Self::TargetBeforeBackup { .. }
            | Self::TargetBehindArchive { .. }
            | Self::TimeBehindArchive { .. }
            | Self::OnlyBackupsWithFindings { .. }
            | Self::NotOnTimeline { .. }
            | Self::UnknownTimeline { .. }
            | Self::AmbiguousTimeline { .. }
            | Self::BackupWithoutWal { .. }
            | Self::TargetNotFound { .. }
            | Self::StopBeforeBackupEnd { .. }
            | Self::Hole { .. }
            | Self::UnsafeTarget { .. }
            | Self::ServerRuns { .. }
            | Self::OtherCluster { .. }
            | Self::OtherBackup { .. }
            | Self::OriginalIsAlive { .. } => ErrorClass::Refused,
            Self::NoRoom { .. } => ErrorClass::NoSpace,
            // A segment that is not there is a hole on the way.
            Self::WalSearch(error) if error.class() == ErrorClass::NotFound => ErrorClass::Corrupt,
            Self::WalSearch(error) => error.class(),
            Self::UnknownTablespace { .. } | Self::TablespaceMappedTwice { .. } => ErrorClass::Usage,
            Self::Version { .. } => ErrorClass::Unsupported,
            Self::Settings(error) => error.class(),
            Self::ControlFile { source, .. } => source.class(),
            Self::WalEndsBeforeBackup { .. }
            | Self::WrongContent { .. }
            | Self::NoDocument { .. }
            | Self::TablespaceMap { .. }
            | Self::StrayTablespace { .. }
            | Self::UnsafeEntry { .. }
            | Self::RestoredControlFile { .. }
            | Self::ControlFileDiffers { .. } => ErrorClass::Corrupt,
            Self::Spill { .. } => ErrorClass::Internal,
            Self::Thread(error) => ErrorClass::of_io(error),
            // The same command may do it later.
            Self::GivenUp { .. } => ErrorClass::Unavailable,
            Self::CancelledBefore | Self::Cancelled { .. } => ErrorClass::Interrupted,
        }
    }
}
