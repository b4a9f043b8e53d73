//! A backup that failed, and whether another server may do better.

use super::BackupError;

/// A backup that failed.
#[derive(Debug)]
pub struct FailedBackup {
    /// Why.
    pub error: BackupError,
    /// Whether any data of it was stored, or may have been.
    pub data_began: bool,
}

impl FailedBackup {
    /// Whether another server may do better: this one failed, before any data was stored.
    pub fn another_may_do(&self) -> bool {
        !self.data_began && self.error.is_of_the_server()
    }
}

impl BackupError {
    /// Whether it is this server that failed, and not what would fail with any other: the repository, this host, a
    /// signal.
    fn is_of_the_server(&self) -> bool {
        if let Self::Begun(error) = self {
            return error.is_of_the_server();
        }
        !matches!(
            self,
            Self::Cancelled
                | Self::Repository(_)
                | Self::Selection(_)
                | Self::Writer(_)
                | Self::Pack(_)
                | Self::File(_)
                | Self::Thread(_)
                | Self::Spill(_)
                | Self::NoRoom { .. }
                | Self::Recording(_)
                | Self::Internal { .. }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_server_is_asked_only_for_what_the_server_did_and_before_any_data() {
        let another = |error: BackupError, data_began| FailedBackup { error, data_began }.another_may_do();
        let of_the_server = || BackupError::NotDirect { problem: "it is elsewhere".to_owned() };
        assert!(another(of_the_server(), false));
        assert!(another(BackupError::Begun(Box::new(of_the_server())), false));
        assert!(!another(BackupError::Begun(Box::new(of_the_server())), true));
        assert!(!another(BackupError::Cancelled, false));
        assert!(!another(BackupError::Begun(Box::new(BackupError::Internal { what: "a defect" })), false));
    }
}
