//! Hints about WAL files that were not archived or not fetched.

use std::error::Error;

use super::configuration::of_file;
use super::repository::{MAKE_ROOM, own_name};
use crate::archive::ArchiveError;
use crate::cli::program::Program;
use crate::cli::typed::Typed;
use crate::error::{Classified, ErrorClass};
use crate::fetch::FetchError;
use crate::repository::RepositoryError;

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
        ArchiveError::Repository { source, .. } if source.class() == ErrorClass::NoSpace => {
            vec![KEPT.to_owned(), MAKE_ROOM.to_owned()]
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
