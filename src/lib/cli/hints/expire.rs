//! Hints about what `pgv expire` refuses.

use std::error::Error;

use crate::cli::opening::InUse;
use crate::cli::typed::Typed;
use crate::expire::ExpireError;
use crate::fs::LockKind;

pub(super) fn hint(error: &(dyn Error + 'static), typed: &Typed) -> Vec<String> {
    if let Some(error) = super::find::<InUse>(error) {
        return vec![of_use(error)];
    }
    let Some(error) = super::find::<ExpireError>(error) else { return Vec::new() };
    let hint = match error {
        ExpireError::NoRule => {
            "Say what is to stay: keep = N (backups) or keep_days = N in [retention] of pgv.toml, or --keep, --keep-days."
                .to_owned()
        }
        ExpireError::Unreadable { backup, .. } => format!(
            "What it needs cannot be known, and would be lost. What is wrong with it: {}",
            typed.verb("verify", &format!("--backup {backup}"))
        ),
        ExpireError::Hidden { .. } => "Run it as the account that owns the repository.".to_owned(),
        ExpireError::ClockBehind { .. } => {
            "Set the clock right (timedatectl), or wait: a wrong clock makes new backups look old.".to_owned()
        }
        ExpireError::TooMany { .. } => "When that is meant, add --allow-many.".to_owned(),
        ExpireError::Changed { .. } => "Run it again.".to_owned(),
        ExpireError::UnknownBackup { .. } => "\"pgv info\" shows the backups that are there.".to_owned(),
        _ => return Vec::new(),
    };
    vec![hint]
}

fn of_use(error: &InUse) -> String {
    let wait = match error.wanted {
        LockKind::Exclusive => {
            "Nothing was deleted. Run it again when that has ended; the next run by a timer does the same."
        }
        LockKind::Shared => {
            "Run it again in a while: what \"pgv expire\" deletes must not be read or pinned meanwhile."
        }
    };
    match error.holders.is_empty() {
        true => format!("{wait} Who it is cannot be seen here: it runs on another host, or in a container."),
        false => wait.to_owned(),
    }
}
