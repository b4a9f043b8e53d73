//! Hints about restored servers that were not started, or whose recovery went wrong.

use std::error::Error;
use std::path::Path;

use crate::cli::typed::Typed;
use crate::restore::start::{Comparison, LoggedCause, StartError};

pub(super) fn hint(error: &(dyn Error + 'static), typed: &Typed) -> Vec<String> {
    match super::find::<StartError>(error) {
        Some(error) => of_start(error, typed),
        None => Vec::new(),
    }
}

fn of_start(error: &StartError, typed: &Typed) -> Vec<String> {
    let stop = |directory: &Path| format!("To stop it: {}", typed.pg_ctl(directory, "stop"));
    match error {
        StartError::NoPrograms { named: Some(_), .. } => {
            vec!["--pg-bindir and restore.pg_bindir name the directory of postgres and pg_ctl.".to_owned()]
        }
        StartError::NoPrograms { major, .. } => vec![
            format!(
                "Install the server of PostgreSQL {major}, or name the directory of postgres and pg_ctl: --pg-bindir DIR"
            ),
            "Nothing was touched. Without --start, no server is needed here.".to_owned(),
        ],
        StartError::Ended { excerpt, log, .. } => {
            let mut hints: Vec<String> = excerpt.cause.map(|cause| of_cause(cause).to_owned()).into_iter().collect();
            hints.push(format!(
                "The whole log is \"{}\". What was restored is whole; once the cause is mended, start it as in step 1.",
                log.display()
            ));
            hints
        }
        StartError::TimedOut { directory, .. } | StartError::Interrupted { directory, .. } => vec![stop(directory)],
        StartError::NotLetIn { directory, .. } => vec![
            "It was asked as the role of the configured conninfo, of PGUSER, or of this account.".to_owned(),
            stop(directory),
        ],
        StartError::EndedElsewhere { directory, difference } => {
            let mut hints: Vec<String> = difference.cause.map(|cause| of_cause(cause).to_owned()).into_iter().collect();
            if difference.comparison != Comparison::Unknown {
                hints.push("This is not the database that was proven: do not put it to use.".to_owned());
            }
            hints.push(stop(directory));
            hints
        }
        _ => Vec::new(),
    }
}

fn of_cause(cause: LoggedCause) -> &'static str {
    match cause {
        LoggedCause::WalEnded => {
            "The restore_command said that a segment does not exist which was read before: look into the repository with \
             \"pgv info\"."
        }
        LoggedCause::FetchFailed => "A segment could not be fetched; the lines of pgv-fetch say why.",
        LoggedCause::SettingTooLow => {
            "Raise the settings that the log names in the restored configuration to the values of the original."
        }
        LoggedCause::AddressInUse => "Somebody else has its port or socket; the next run finds a free one.",
        LoggedCause::LibraryMissing => {
            "Install the library that the log names, or take it out of shared_preload_libraries in the restored \
             configuration."
        }
        LoggedCause::ResourceManagerMissing => {
            "Its WAL needs a library that a harmless copy does not load: let it, with pgv-recovery-conf --clear --trust-config \
             -D DIR, and start it again."
        }
        LoggedCause::NoSpace => "A file system is full.",
    }
}
