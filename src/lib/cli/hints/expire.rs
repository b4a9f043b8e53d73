//! Hints about what `pgv expire` refuses.

use std::error::Error;

use crate::cli::opening::InUse;
use crate::cli::program::Program;
use crate::cli::typed::Typed;
use crate::error::{Classified as _, ErrorClass};
use crate::expire::ExpireError;
use crate::fs::LockKind;
use crate::repository::BackupId;

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
        ExpireError::Unexplained { .. } => {
            "Put back what was in its folder, from a copy of the repository. Only when nobody can need any of it, move that folder \
             out of the repository."
                .to_owned()
        }
        ExpireError::LostRecord { backup, cluster, system_identifier } => {
            let tree = format!("{cluster}/{system_identifier}");
            format!(
                "Put back \"{tree}/backups/{backup}/record\" from a copy of the repository. Only when nobody can need that \
                 backup, move \"{tree}/backups/{backup}\" and \"{tree}/packs/{backup}\" out of the repository."
            )
        }
        ExpireError::NoFolder { backup, strange_folder, cluster, system_identifier, .. } => {
            of_moved(backup, strange_folder.as_deref(), &format!("{cluster}/{system_identifier}"))
        }
        ExpireError::NoFolders { .. } => {
            "That folder was moved away or lost: put it back, from a copy of the repository if need be. Without it \
             nothing of these packs can be restored."
                .to_owned()
        }
        ExpireError::UnknownTimeline { timeline, cluster, .. } => {
            let name = format!("{}.history", timeline.to_hex());
            let command = typed.program_for(Program::Archive, cluster, &format!("/path/to/pg_wal/{name}"));
            format!(
                "{name} is in pg_wal of a server that was on that timeline: archive it ({command}). Only when nobody is to recover onto that timeline, move its folder of \
                 WAL out of the repository."
            )
        }
        ExpireError::Hidden { .. } => "Run it as the account that owns the repository.".to_owned(),
        ExpireError::ClockBehind { .. } => {
            "Set the clock right (timedatectl), or wait: a wrong clock makes new backups look old.".to_owned()
        }
        ExpireError::TooMany { .. } => "When that is meant, add --allow-many.".to_owned(),
        ExpireError::Changed { .. } => "Run it again.".to_owned(),
        ExpireError::Repository(error) if error.class() == ErrorClass::NoSpace => {
            "It writes a mark before a backup goes, and there was no room for one: free some KiB on that file system beside the \
             repository, or enlarge it, or wait until a running backup has ended, for then WAL may go; and run it again. Never delete files in the repository by hand."
                .to_owned()
        }
        ExpireError::UnknownBackup { .. } => "\"pgv info\" shows the backups that are there.".to_owned(),
        _ => return Vec::new(),
    };
    vec![hint]
}

fn of_moved(backup: &BackupId, strange_folder: Option<&str>, tree: &str) -> String {
    let maybe = strange_folder.map(|name| format!(" \"{tree}/backups/{name}\" may be it.")).unwrap_or_default();
    format!(
        "That folder was moved away or lost: put it back, from a copy of the repository if need be.{maybe} Only when nobody can \
         need that backup, move \"{tree}/packs/{backup}\" out of the repository."
    )
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
