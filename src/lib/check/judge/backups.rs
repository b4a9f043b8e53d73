//! What the repository holds of the cluster: its backups, its WAL, its histories.

use super::{age, critical, ok, see, unknown, unseen, warning};
use crate::check::facts::{CheckFacts, TreeFacts};
use crate::check::report::{CheckItem, CheckName};
use crate::report::duration_text;
use crate::repository::CostlyHole;

/// Things of one kind that are named.
const NAMED_MAX: usize = 3;
const NOTHING_ARCHIVED: &str = "no WAL is archived yet";

pub(super) fn all(facts: &CheckFacts) -> Vec<CheckItem> {
    let Some(Ok(tree)) = &facts.tree else {
        let unseen_checks =
            [CheckName::LastBackup, CheckName::Catalog, CheckName::Holes, CheckName::History, CheckName::Timeline];
        return unseen(&unseen_checks, CheckName::Repository);
    };
    vec![last_backup(facts, tree), catalog(tree), holes(tree), history(tree), timeline(facts, tree)]
}

fn last_backup(facts: &CheckFacts, tree: &TreeFacts) -> CheckItem {
    let check = CheckName::LastBackup;
    let Some(newest) = tree.backups.last() else {
        return critical(check, "there is no backup", "Nothing can be restored. Take one: pgv-basebackup");
    };
    let Some(good) = tree.backups.iter().rev().find(|backup| backup.is_good()) else {
        let advice = "No backup can be restored to a sound database. pgv verify says more; take one: pgv-basebackup";
        return critical(check, format!("none of {} backups is good", tree.backups.len()), advice);
    };
    let old = age(facts.now, good.stop_time);
    let mut found = format!("{} ended {} ago", good.id, duration_text(old));
    if good.id != newest.id {
        let what = if newest.has_findings { "has damaged pages" } else { "lacks WAL" };
        found = format!("{found}; {}, newer, {what}", newest.id);
    }
    let advice = "Is its timer running? systemctl list-timers 'pgv-*', or take one now: pgv-basebackup";
    if old >= facts.thresholds.backup_critical {
        critical(check, found, advice)
    } else if old >= facts.thresholds.backup_warning {
        warning(check, found, advice)
    } else if good.id != newest.id {
        warning(check, found, "pgv info and pgv verify say what is wrong with it.")
    } else {
        ok(check, found)
    }
}

fn catalog(tree: &TreeFacts) -> CheckItem {
    if tree.unreadable.is_empty() {
        let count = tree.backups.len();
        return ok(
            CheckName::Catalog,
            format!("{count} backup{} listed, all readable", if count == 1 { "" } else { "s" }),
        );
    }
    let found = some_of(&tree.unreadable, "; ");
    critical(CheckName::Catalog, found, "pgv verify says what is damaged and what that costs.")
}

fn holes(tree: &TreeFacts) -> CheckItem {
    let check = CheckName::Holes;
    if tree.last_segment.is_none() {
        return unknown(check, NOTHING_ARCHIVED, see(CheckName::Archiving));
    }
    if tree.holes.is_empty() {
        return ok(check, "the archived WAL has none");
    }
    let texts: Vec<String> = tree.holes.iter().map(hole_text).collect();
    let found = format!("missing: {}", some_of(&texts, ", "));
    let newest = tree.backups.last().map(|backup| backup.id);
    let concerns =
        |id| tree.holes.iter().any(|hole| hole.inside_backups.contains(&id) || hole.ends_recovery_of.contains(&id));
    if newest.is_some_and(concerns) {
        let advice = "Recovery from the newest backup ends there. Archive them if a pg_wal still has them \
                      (pgv-restore --wal-from), and take a new backup now: pgv-basebackup";
        return critical(check, found, advice);
    }
    if tree.backups.iter().any(|backup| concerns(backup.id)) {
        let advice =
            "Recovery from older backups ends there; the newest backup is not concerned. pgv info has the list.";
        return warning(check, found, advice);
    }
    ok(check, format!("{found}; no backup is concerned"))
}

fn hole_text(hole: &CostlyHole) -> String {
    match hole.count {
        1 => hole.first.to_string(),
        count => format!("{} to {} ({count})", hole.first, hole.last),
    }
}

fn history(tree: &TreeFacts) -> CheckItem {
    if !tree.missing_histories.is_empty() {
        let names: Vec<String> =
            tree.missing_histories.iter().map(|timeline| format!("{}.history", timeline.to_hex())).collect();
        let advice = "Recovery does not find its way onto that timeline. The file is in pg_wal of a server that was on \
                      it: run pgv-archive with its path there.";
        return critical(CheckName::History, format!("{} is not archived", some_of(&names, ", ")), advice);
    }
    if tree.last_segment.is_none() && tree.backups.is_empty() {
        return unknown(CheckName::History, NOTHING_ARCHIVED, see(CheckName::Archiving));
    }
    ok(CheckName::History, "every timeline has its history")
}

fn timeline(facts: &CheckFacts, tree: &TreeFacts) -> CheckItem {
    let check = CheckName::Timeline;
    let archived = tree.last_segment.map(|(segment, _)| segment.timeline());
    let of_server = facts.server.as_ref().ok().and_then(|server| server.health.timeline);
    let of_backup = tree.backups.last().map(|backup| backup.timeline);
    if let (Some(server), Some(archived)) = (of_server, archived)
        && archived > server
    {
        let found = format!("the server is on timeline {server}, the archive has timeline {archived}");
        let advice = "Another server writes into this archive, or this one is an old primary. Which one should it be?";
        return critical(check, found, advice);
    }
    let crossing = "Recovery has to cross the promotion. Take a backup of the new primary: pgv-basebackup";
    match (of_server, archived, of_backup) {
        (Some(server), archived, Some(backup)) if backup != server && archived.is_none_or(|last| last < server) => {
            warning(
                check,
                format!(
                    "the newest backup is of timeline {backup}, the server is on {server}, and nothing of that is archived"
                ),
                crossing,
            )
        }
        (Some(server), Some(archived), _) if archived < server => warning(
            check,
            format!("the server is on timeline {server}, of which nothing is archived"),
            "Does the new primary archive? The lines above say what its archiver does.",
        ),
        (Some(server), Some(_), Some(backup)) if backup != server => warning(
            check,
            format!("the newest backup is of timeline {backup}, the server and its WAL of {server}"),
            crossing,
        ),
        (Some(server), Some(_), _) => ok(check, format!("all is on timeline {server}")),
        (None, Some(archived), Some(backup)) if archived != backup => warning(
            check,
            format!("the newest backup is of timeline {backup}, the archived WAL of {archived}"),
            crossing,
        ),
        (None, Some(archived), _) => {
            let found = format!("the archive is on timeline {archived}, that of the server is not known");
            unknown(check, found, see(CheckName::Server))
        }
        (_, None, _) => unknown(check, NOTHING_ARCHIVED, see(CheckName::Archiving)),
    }
}

fn some_of(texts: &[String], separator: &str) -> String {
    let named: Vec<&str> = texts.iter().take(NAMED_MAX).map(String::as_str).collect();
    let more = texts.len().saturating_sub(NAMED_MAX);
    let rest = if more > 0 { format!("{separator}and {more} more") } else { String::new() };
    named.join(separator) + &rest
}
