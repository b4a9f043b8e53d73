//! Hints about backups that were not taken as they were meant, or in which something is wrong.

use std::error::Error;

use crate::backup::{BackupError, MarkedBackup};
use crate::cli::typed::Typed;
use crate::error::{Classified as _, ErrorClass};

pub(super) fn hint(error: &(dyn Error + 'static), _typed: &Typed) -> Vec<String> {
    if super::find::<MarkedBackup>(error).is_some() {
        return vec![
            "The damage is in the server's own files: look at its disks and memory, and with pg_amcheck at its tables."
                .to_owned(),
            "pgv-restore takes a marked backup only when --backup names it: earlier backups and the WAL are what is whole."
                .to_owned(),
        ];
    }
    match super::find::<BackupError>(error) {
        Some(BackupError::NotDirect { .. } | BackupError::OtherDirectory { .. }) => {
            vec!["The server sends its files with --method stream; --method auto takes what is possible.".to_owned()]
        }
        Some(error @ (BackupError::NoRoom { .. } | BackupError::Spill(_))) if error.class() == ErrorClass::NoSpace => {
            vec![
                "The names of all files are sorted in a file without a name in the repository's folder .staging, and no \
                 setting moves it: make room on its file system. \"pgv expire\" shows which backups and WAL may go."
                    .to_owned(),
            ]
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::FileError;

    #[test]
    fn a_full_disk_is_told_with_the_place_that_is_full() {
        let spill = |kind: std::io::ErrorKind| {
            BackupError::Spill(FileError::new("sort in", "/backups/.staging".as_ref(), kind))
        };
        let no_room = BackupError::NoRoom { path: "/backups/.staging".into(), files: 7, needed: 2800, available: 12 };
        for error in [no_room, spill(std::io::ErrorKind::StorageFull)] {
            assert_eq!(error.class(), ErrorClass::NoSpace);
            let hints = hint(&error, &Typed::default());
            assert!(hints.concat().contains("make room on its file system"), "{error}: {hints:?}");
        }
        assert!(hint(&spill(std::io::ErrorKind::PermissionDenied), &Typed::default()).is_empty());
    }
}
