//! Hints about backups that were not taken as they were meant, or in which something is wrong.

use std::error::Error;

use crate::backup::{BackupError, IncompleteError, MarkedBackup};
use crate::cli::program::Program;
use crate::cli::typed::Typed;
use crate::error::{Classified as _, ErrorClass};
use crate::pg::WalFileName;

pub(super) fn hint(error: &(dyn Error + 'static), typed: &Typed) -> Vec<String> {
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
        Some(BackupError::File(error)) if error.class() == ErrorClass::PermissionDenied => vec![
            "A file of the server's belongs to its account (chown, chmod); one that is none of the server's can be moved out \
             of the data directory."
                .to_owned(),
        ],
        Some(BackupError::NotArchived { of_standby: false, .. }) => vec![
            "Why archive_command fails is in the server's log; pg_stat_archiver counts it, and \"pgv check\" tries it out."
                .to_owned(),
        ],
        Some(BackupError::StartNotArchived { .. }) => vec![
            "A standby's backup begins at its last restartpoint: CHECKPOINT on the primary, and once that is replayed, \
             CHECKPOINT on the standby, make a later one."
                .to_owned(),
        ],
        Some(BackupError::NoHistory { timeline, .. }) => {
            let name = WalFileName::TimelineHistory(*timeline);
            let fetch = typed.program(Program::Fetch, &format!("{name} pg_wal/{name}"));
            vec![format!("Fetch it from the archive, in the data directory of the server and as its account: {fetch}")]
        }
        Some(
            BackupError::NotDirect { .. }
            | BackupError::OtherDirectory { .. }
            | BackupError::OtherKind { .. }
            | BackupError::OtherTablespace { .. },
        ) => {
            vec!["The server sends its files with --method stream; --method auto takes what is possible.".to_owned()]
        }
        Some(error @ (BackupError::NoRoom { .. } | BackupError::Spill(_))) if error.class() == ErrorClass::NoSpace => {
            vec![
                "The names of all files are sorted in a file without a name in the repository's folder .staging, and no \
                 setting moves it: make room on its file system. \"pgv expire\" shows which backups and WAL may go."
                    .to_owned(),
            ]
        }
        Some(error @ (BackupError::Repository(_) | BackupError::Writer(_) | BackupError::Pack(_)))
            if error.class() == ErrorClass::NoSpace =>
        {
            vec![super::repository::MAKE_ROOM.to_owned()]
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::ListedFiles;
    use crate::fs::FileError;
    use crate::pg::TimelineId;

    #[test]
    fn a_file_that_may_not_be_read_is_told_with_what_to_do() {
        let closed = FileError::new("open", "/data/base/5/1".as_ref(), std::io::ErrorKind::PermissionDenied);
        let error = BackupError::Begun(Box::new(BackupError::File(closed)));
        let hints = crate::cli::hints::hints(&error, &Typed::default()).join("\n");
        for words in
            ["can be moved out of the data directory", "namei -l /data/base/5/1", "Nothing of this backup is listed"]
        {
            assert!(hints.contains(words), "{words}: {hints}");
        }
    }

    #[test]
    fn what_a_server_lacks_is_told_with_what_brings_it() {
        let timeline = TimelineId::new(2).unwrap();
        let lost = FileError::new("open", "/data/pg_wal/00000002.history".as_ref(), std::io::ErrorKind::NotFound);
        let source = Box::new(BackupError::File(lost));
        let hints = hint(&BackupError::NoHistory { server: "db1".to_owned(), timeline, source }, &Typed::default());
        assert!(hints[0].ends_with("pgv-fetch 00000002.history pg_wal/00000002.history"), "{hints:?}");
        let [segment, later] = ["000000010000000000000005", "000000010000000000000007"]
            .map(|name| crate::pg::WalSegmentName::parse(name).unwrap());
        let hints = hint(&BackupError::StartNotArchived { segment, later }, &Typed::default());
        assert!(hints[0].contains("CHECKPOINT on the standby"), "{hints:?}");
    }

    #[test]
    fn a_full_disk_is_told_with_the_place_that_is_full() {
        let spill = |kind: std::io::ErrorKind| {
            BackupError::Spill(FileError::new("sort in", "/backups/.staging".as_ref(), kind))
        };
        let no_room = BackupError::NoRoom {
            path: "/backups/.staging".into(),
            files: ListedFiles::OfLastBackup(7),
            needed: 2800,
            available: 12,
        };
        for error in [no_room, spill(std::io::ErrorKind::StorageFull)] {
            assert_eq!(error.class(), ErrorClass::NoSpace);
            let hints = hint(&error, &Typed::default());
            assert!(hints.concat().contains("make room on its file system"), "{error}: {hints:?}");
        }
        assert!(hint(&spill(std::io::ErrorKind::PermissionDenied), &Typed::default()).is_empty());
    }
}
