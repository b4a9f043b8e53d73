//! The configuration, the repository and its room.

use std::time::Duration;

use super::{NOT_LOOKED_AT, critical, low_room, ok, see, unknown, warning};
use crate::check::facts::{CheckFacts, RepositoryFacts, TreeFacts};
use crate::check::report::{CheckItem, CheckName};
use crate::pg::shell_quote;
use crate::report::{bytes_text, duration_text};

/// A repository that is full sooner than this is critical: nobody may be there before tomorrow.
const REPOSITORY_CRITICAL: Duration = Duration::from_secs(86_400);
/// A weekend.
const REPOSITORY_WARNING: Duration = Duration::from_secs(3 * 86_400);
/// Where no rate is known: percent of the file system.
const CRITICAL_PERCENT: u64 = 2;
const WARNING_PERCENT: u64 = 10;

pub(super) fn configuration(facts: &CheckFacts) -> CheckItem {
    match &facts.configuration_file {
        Some(path) => ok(CheckName::Configuration, format!("\"{}\" is in use", path.display())),
        None => warning(
            CheckName::Configuration,
            "no configuration file is in use",
            "What pgv-archive is told here by options it is not told by the server: run pgv init.",
        ),
    }
}

pub(super) fn repository(facts: &CheckFacts) -> CheckItem {
    let repository = match &facts.repository {
        Ok(repository) => repository,
        Err(problem) => {
            let advice = problem.advice("Is the file system mounted, and may this account read it?");
            let advice = format!("Nothing in it was looked at. {advice}");
            return critical(CheckName::Repository, problem.text.as_str(), advice);
        }
    };
    if let Some(Err(problem)) = &facts.tree {
        let advice = problem.advice("pgv info and pgv verify say what can still be read.");
        return critical(CheckName::Repository, problem.text.as_str(), advice);
    }
    let path = repository.path.display();
    let owner = facts.server.as_ref().ok().and_then(|server| server.owner);
    if let Some(server) = owner.filter(|owner| *owner != repository.owner) {
        let found = format!("\"{path}\" belongs to user {}, the data directory to user {server}", repository.owner);
        return critical(CheckName::Repository, found, of_owner(repository, server));
    }
    modes(repository).unwrap_or_else(|| ok(CheckName::Repository, format!("\"{path}\", mode {:04o}", repository.mode)))
}

/// A repository that another ordinary account keeps may be in good use.
fn of_owner(repository: &RepositoryFacts, server: u32) -> String {
    let chown = format!("chown -R {server} {}", shell_quote(&repository.path.to_string_lossy()));
    match repository.owner {
        0 => format!("The server runs pgv-archive as its own account: {chown}"),
        owner => format!(
            "The server runs pgv-archive as its own account: give it a repository of its own (pgv init), unless nothing of \
             user {owner} uses this one; then as root: {chown}"
        ),
    }
}

fn modes(repository: &RepositoryFacts) -> Option<CheckItem> {
    let path = repository.path.display();
    let advice = |what: &str| format!("chmod -R {what} {}", shell_quote(&repository.path.to_string_lossy()));
    let found = |who: &str| format!("\"{path}\" has mode {:04o}: {who}", repository.mode);
    if repository.mode & 0o022 != 0 {
        return Some(critical(CheckName::Repository, found("other accounts may write to it"), advice("go-w,o-rwx")));
    }
    if repository.mode & 0o007 != 0 {
        let readable = found("every account may read it, and it is as confidential as the database");
        return Some(warning(CheckName::Repository, readable, advice("o-rwx")));
    }
    None
}

/// A file system that is read-only, full, or will be soon.
pub(super) fn repository_room(facts: &CheckFacts) -> CheckItem {
    let check = CheckName::RepositoryRoom;
    let Ok(repository) = &facts.repository else {
        return unknown(check, NOT_LOOKED_AT, see(CheckName::Repository));
    };
    let available = repository.room.available_bytes;
    let tree = facts.tree.as_ref().and_then(|tree| tree.as_ref().ok());
    let path = repository.path.display();
    let free = format!("{} free at \"{path}\"", bytes_text(available));
    let advice = "When it is full, archiving stops and pg_wal grows. pgv expire shows what can go; or enlarge it.";
    let lasts = tree.and_then(|tree| lasts(tree, available));
    let found = match lasts {
        Some(lasts) => format!("{free}, full in {} at the present rate, if nothing expires", duration_text(lasts)),
        None => free,
    };
    if repository.is_read_only {
        let problem = format!("\"{path}\" cannot be written to by its owner");
        return critical(check, problem, "Is its file system mounted read-only?");
    }
    let percent = available.saturating_mul(100) / repository.room.total_bytes.max(1);
    let less = |limit| tree.and_then(|tree| tree.rate).is_none() && percent < limit;
    let sooner = |limit| lasts.is_some_and(|lasts| lasts < limit);
    if sooner(REPOSITORY_CRITICAL) || less(CRITICAL_PERCENT) {
        return critical(check, found, advice);
    }
    let last = tree.and_then(|tree| tree.backups.last()).map(|backup| backup.stored_bytes);
    if last.is_some_and(|bytes| available < bytes) {
        let found = format!("{found}; another backup as large as the last one does not fit");
        return critical(check, found, advice);
    }
    let is_low = tree.is_some_and(|tree| available < low_room(tree.segment_size));
    if sooner(REPOSITORY_WARNING) || less(WARNING_PERCENT) || is_low {
        return warning(check, found, advice);
    }
    ok(check, found)
}

/// How long the room lasts: WAL at its present rate, and a backup as often as until now.
fn lasts(tree: &TreeFacts, available: u64) -> Option<Duration> {
    let rate = tree.rate?;
    let of_wal =
        u128::from(rate.segments) * u128::from(rate.stored_bytes) * 3600 / u128::from(rate.span.as_secs().max(1));
    let of_backups = match tree.backups.as_slice() {
        [first, .., last] => {
            let stored: u64 = tree.backups.iter().skip(1).map(|backup| backup.stored_bytes).sum();
            let hours = super::age(last.stop_time, first.stop_time).as_secs() / 3600;
            // Backups within an hour say nothing of how often one is taken.
            stored.checked_div(hours).unwrap_or_default()
        }
        _ => 0,
    };
    let hours = u128::from(available).checked_div(of_wal + u128::from(of_backups))?;
    Some(Duration::from_secs(u64::try_from(hours * 3600).unwrap_or(u64::MAX)))
}
