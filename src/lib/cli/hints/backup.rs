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
