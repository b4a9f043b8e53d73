//! Hints about backups that were not taken as they were meant, or in which something is wrong.

use std::error::Error;

use crate::backup::{BackupError, IncompleteError, MarkedBackup};
use crate::cli::typed::Typed;

pub(super) fn hint(error: &(dyn Error + 'static), _typed: &Typed) -> Vec<String> {
    if super::find::<MarkedBackup>(error).is_some() {
        return vec![
            "The damage is in the server's own files: look at its disks and memory, and with pg_amcheck at its tables."
                .to_owned(),
            "pgv-restore takes a marked backup only when --backup names it: earlier backups and the WAL are what is whole."
                .to_owned(),
        ];
    }
    if let Some(error) = super::find::<IncompleteError>(error) {
        return vec![of_incomplete(error)];
    }
    match super::find::<BackupError>(error) {
        Some(BackupError::Begun(_)) => vec!["Nothing of this backup is listed.".to_owned()],
        Some(BackupError::Recording(_)) => vec!["\"pgv info\" shows whether it is listed all the same.".to_owned()],
        Some(BackupError::Path(_)) => vec![
            "PostgreSQL gives no file such a name: move it out of the data directory, since no backup of pgv can hold it."
                .to_owned(),
        ],
        Some(BackupError::NotArchived { of_standby: false, .. }) => vec![
            "Why archive_command fails is in the server's log; pg_stat_archiver counts it, and \"pgv check\" tries it out."
                .to_owned(),
        ],
        Some(BackupError::NotDirect { .. } | BackupError::OtherDirectory { .. }) => {
            vec!["The server sends its files with --method stream; --method auto takes what is possible.".to_owned()]
        }
        _ => Vec::new(),
    }
}

fn of_incomplete(error: &IncompleteError) -> String {
    match error {
        IncompleteError::Moved { .. } => {
            "Stop the server and move what is behind the link back into its place; on another disk, data belongs into a \
             tablespace (CREATE TABLESPACE), and only pg_wal may be a link."
        }
        IncompleteError::Unsent { .. } => {
            "On the server's own host, --method direct reads it; or move what is in it to another tablespace."
        }
        IncompleteError::NoTablespace { .. } => "Is its file system mounted?",
        IncompleteError::Part { .. } => {
            "Is it a link in the server's data directory? No base backup follows those; the server's log may say more."
        }
    }
    .to_owned()
}
