//! What to do when a data directory does not get or lose its recovery configuration.

use std::error::Error;
use std::path::Path;

use crate::cli::program::Program;
use crate::cli::proof_text::target_options;
use crate::cli::typed::Typed;
use crate::pg::{RecoveryMode, RecoveryTarget, shell_quote};
use crate::recovery_conf::RecoveryConfError;

pub(super) fn hint(error: &(dyn Error + 'static), typed: &Typed) -> Vec<String> {
    let Some(error) = super::find::<RecoveryConfError>(error) else { return Vec::new() };
    let hint = match error {
        RecoveryConfError::NoDataDirectory { .. } => {
            "Name the directory that holds PG_VERSION and global (SHOW data_directory). A restore that was cut short \
             leaves one without global/pg_control: run pgv-restore again."
                .to_owned()
        }
        RecoveryConfError::Owner { path, owner, .. } => super::as_owner(&path.to_string_lossy(), *owner),
        RecoveryConfError::ServerRuns { path, .. } => {
            format!("Stop it first: {}", typed.pg_ctl(path, "stop"))
        }
        RecoveryConfError::RecoveryConf { .. } => {
            "It is of PostgreSQL 11 or earlier: keep what you need of it elsewhere, and remove it.".to_owned()
        }
        RecoveryConfError::SignalFile { path } => return of_signal_file(path, typed),
        RecoveryConfError::Opened { path, target, .. } => return of_opened(path, target, typed),
        RecoveryConfError::ForeignSignalFile { path } => {
            format!("If no recovery is to begin there: {}", removal(path, typed))
        }
        RecoveryConfError::LongCommand(_) => {
            "Put the recovery_end_command that you have into a script with a short path.".to_owned()
        }
        RecoveryConfError::File(error) => return super::configuration::hint(error, typed),
        _ => return Vec::new(),
    };
    vec![hint]
}

fn removal(path: &Path, typed: &Typed) -> String {
    let remove = typed.other(&format!("rm {}", shell_quote(&path.to_string_lossy())));
    format!("{remove}; then the same command again.")
}

fn of_signal_file(path: &Path, typed: &Typed) -> Vec<String> {
    let usual = "The server removes it when recovery ends, and clears the settings then. For another target, write that with \
                 --write.";
    let is_targeted = path.ends_with(RecoveryMode::Targeted.signal_file());
    let in_vain = is_targeted.then(|| {
        format!("If that never ends, since the server had been opened before it was written: {}", removal(path, typed))
    });
    [usual.to_owned()].into_iter().chain(in_vain).collect()
}

/// No server goes back: what it wrote since must go, or the target must be reached elsewhere.
fn of_opened(path: &Path, target: &RecoveryTarget, typed: &Typed) -> Vec<String> {
    let target = target_options(target);
    let restore = format!("-D {} --delta {target}", shell_quote(&path.to_string_lossy()));
    vec![
        format!(
            "Restore once more: {}  (-D OTHER without --delta leaves this directory as it is.)",
            typed.program(Program::Restore, restore.trim_end())
        ),
        "To have it follow a primary instead: --standby.".to_owned(),
    ]
}
