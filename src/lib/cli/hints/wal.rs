//! Hints about WAL files that were not archived or not fetched.

use std::error::Error;
use std::path::Path;

use super::configuration::of_file;
use super::repository::{MAKE_ROOM, own_name};
use crate::archive::ArchiveError;
use crate::cli::program::Program;
use crate::cli::typed::Typed;
use crate::error::{Classified, ErrorClass};
use crate::fetch::FetchError;
use crate::pg::shell_quote;
use crate::repository::{RepositoryError, StoredInConflict};
use crate::store::ObjectKey;

const KEPT: &str = "PostgreSQL keeps the file and tries again; when pg_wal is full, the server stops.";

pub(super) fn hint(error: &(dyn Error + 'static), typed: &Typed) -> Vec<String> {
    if let Some(error) = super::find::<ArchiveError>(error) {
        return of_archive(error, typed);
    }
    super::find::<FetchError>(error).map(|error| of_fetch(error, typed)).unwrap_or_default()
}

fn of_archive(error: &ArchiveError, typed: &Typed) -> Vec<String> {
    match error {
        ArchiveError::SourceMissing { .. } | ArchiveError::Name { .. } | ArchiveError::NoName { .. } => {
            vec!["PostgreSQL runs it in the data directory as: archive_command = 'pgv-archive %p %f'".to_owned()]
        }
        ArchiveError::OtherDirectory { cluster, here, .. } => vec![
            own_name(here, typed),
            format!(
                "If the cluster was moved, set pgdata = \"{}\" in [cluster.{cluster}] of pgv.toml; to archive into it \
                 all the same, name it: pgv-archive --cluster {cluster} %p %f",
                here.display()
            ),
        ],
        ArchiveError::OtherTimeline { data_directory, ours, .. } => vec![
            format!(
                "Two servers were promoted to timeline {}, this one without archiving; one of them needs a name of its own. {KEPT}",
                ours.timeline()
            ),
            own_name(data_directory, typed),
        ],
        ArchiveError::Repository { source, .. } if source.class() == ErrorClass::NoSpace => {
            vec![KEPT.to_owned(), MAKE_ROOM.to_owned()]
        }
        ArchiveError::Repository { path, source: RepositoryError::Conflict { stored: Some(stored), .. } } => {
            match &**stored {
                StoredInConflict::Shorter(key) => of_longer(path, key),
                StoredInConflict::LoneHistory(_) => Vec::new(),
            }
        }
        ArchiveError::Repository { source: RepositoryError::Damaged { .. }, .. } => vec![
            KEPT.to_owned(),
            format!(
                "Move the damaged object out of the repository: the next try stores this file in its place. What else is \
                 damaged: {}",
                typed.verb("verify", "").trim_end()
            ),
        ],
        ArchiveError::File(error) => of_file(error),
        ArchiveError::TimedOut { .. } => vec![format!("The repository does not answer. {KEPT}")],
        _ => Vec::new(),
    }
}

/// The stored one holds a beginning of the same log. A recovery needs a whole segment, and asks for no partial one.
fn of_longer(path: &Path, key: &ObjectKey) -> Vec<String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if !name.ends_with(".partial") {
        return vec![
            "The stored one is a beginning of this one, as a standby had it whose upstream was promoted.".to_owned(),
            format!("Move \"{key}\" out of the repository: the next try stores this file in its place. {KEPT}"),
        ];
    }
    let status = path.with_file_name("archive_status").join(&*name);
    let status = |suffix| shell_quote(&format!("{}.{suffix}", status.display()));
    vec![
        "The stored one is a beginning of this one, as of a server that was promoted earlier. No recovery asks for a \
         .partial file, but this one has WAL that the archive lacks."
            .to_owned(),
        format!(
            "Copy it to a safe place; then, to go on archiving, in the data directory: mv {} {}",
            status("ready"),
            status("done")
        ),
    ]
}

fn of_fetch(error: &FetchError, typed: &Typed) -> Vec<String> {
    match error {
        FetchError::Name { .. } => {
            vec!["PostgreSQL runs it in the data directory as: restore_command = 'pgv-fetch %f %p'".to_owned()]
        }
        FetchError::Hole { name, .. } | FetchError::LostBehindBackup { name, .. } => vec![
            format!(
                "If a server still has it in pg_wal, archive it from there: {}",
                typed.program(Program::Archive, &format!("pg_wal/{name}"))
            ),
            "Else choose a recovery target that lies before it.".to_owned(),
        ],
        FetchError::WalOfBackupLost { .. } => vec![
            "WAL was taken from the repository: put its folder \"wal\" back from a copy. \"pgv info\" shows what is left."
                .to_owned(),
        ],
        FetchError::Stalled { .. } => vec![
            "Is the file system, or the server behind it, down or stopped? Once it answers, start PostgreSQL again if it ended.".to_owned(),
            "What is only slow needs a longer stall_timeout in [fetch] of pgv.toml.".to_owned(),
        ],
        // They show themselves as the file's error, which is then not in the chain by itself.
        FetchError::Destination(error) if error.class() == ErrorClass::NoSpace => {
            of_file(error).into_iter().chain(["Once there is room, start PostgreSQL again if it ended.".to_owned()]).collect()
        }
        FetchError::Destination(error) | FetchError::File(error) => of_file(error),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::WriterDescription;

    #[test]
    fn a_longer_segment_has_a_way_out_that_loses_nothing() {
        let hints = |name: &str| {
            let key = ObjectKey::parse(&format!("main/7/wal/00000001/0000000100000000/{name}")).unwrap();
            let writer = WriterDescription::new("db2", Path::new("/data"), jiff::Timestamp::UNIX_EPOCH);
            let source = RepositoryError::Conflict {
                name: format!("wal/{name}").into(),
                store: "\"/srv/pgv\"".to_owned(),
                ours: Box::new(writer),
                theirs: None,
                stored_at: None,
                stored: Some(Box::new(StoredInConflict::Shorter(key))),
            };
            let error = ArchiveError::Repository { path: Path::new("pg_wal").join(name), source };
            super::super::hints(&error, &Typed::default()).join("\n")
        };
        let whole = hints("000000010000000000000005");
        assert!(
            whole.contains("Move \"main/7/wal/00000001/0000000100000000/000000010000000000000005\" out"),
            "{whole}"
        );
        let partial = hints("000000010000000000000005.partial");
        let status = "pg_wal/archive_status/000000010000000000000005.partial";
        assert!(partial.ends_with(&format!("in the data directory: mv {status}.ready {status}.done")), "{partial}");
        for text in [whole, partial] {
            assert!(!text.contains("name of its own") && !text.contains("--cluster NEW"), "{text}");
        }
    }
}
