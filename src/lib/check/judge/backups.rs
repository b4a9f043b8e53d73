//! What the repository holds of the cluster: its backups, its WAL, its histories.

use super::{age, critical, ok, unknown, unseen, warning};
use crate::check::facts::{BackupFacts, CheckFacts, TreeFacts};
use crate::check::finding::{Concern, Finding, Flaw, TimelineFinding, TreeFinding};
use crate::check::report::{CheckItem, CheckName};
use crate::repository::BackupId;

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
    let Some(newest) = tree.backups.last() else { return critical(check, TreeFinding::NoBackup) };
    let Some(good) = tree.backups.iter().rev().find(|backup| backup.is_good()) else {
        return critical(check, TreeFinding::NoneGood { count: tree.backups.len(), newest: flawed(newest) });
    };
    let age = age(facts.now, good.stop_time);
    let flaw = (good.id != newest.id).then(|| flawed(newest));
    let last = |is_old| TreeFinding::LastGood { id: good.id, age, is_old, newest: flaw.clone() };
    if age >= facts.thresholds.backup_critical {
        critical(check, last(true))
    } else if !newest.is_whole() {
        critical(check, last(false))
    } else if age >= facts.thresholds.backup_warning {
        warning(check, last(true))
    } else if flaw.is_some() {
        warning(check, last(false))
    } else {
        ok(check, last(false))
    }
}

/// Why a backup is not good: what weighs most.
fn flawed(backup: &BackupFacts) -> (BackupId, Flaw) {
    let flaw = match backup {
        BackupFacts { are_packs_known: false, .. } => Flaw::PacksUnknown,
        BackupFacts { lacks, .. } if !lacks.is_empty() => Flaw::NotWhole(lacks.clone()),
        BackupFacts { has_findings: true, .. } => Flaw::DamagedPages,
        _ => Flaw::LacksWal,
    };
    (backup.id, flaw)
}

fn catalog(tree: &TreeFacts) -> CheckItem {
    if tree.unreadable.is_empty() {
        return ok(CheckName::Catalog, TreeFinding::Catalog { count: tree.backups.len() });
    }
    critical(CheckName::Catalog, TreeFinding::Unreadable(tree.unreadable.clone()))
}

fn holes(tree: &TreeFacts) -> CheckItem {
    let check = CheckName::Holes;
    if tree.last_segment.is_none() {
        return unknown(check, Finding::NothingArchived);
    }
    let newest = tree.backups.last().map(|backup| backup.id);
    let concerns =
        |id| tree.holes.iter().any(|hole| hole.inside_backups.contains(&id) || hole.ends_recovery_of.contains(&id));
    let holes = |concern| TreeFinding::Holes { holes: tree.holes.clone(), concern };
    if newest.is_some_and(concerns) {
        critical(check, holes(Concern::NewestBackup))
    } else if tree.backups.iter().any(|backup| concerns(backup.id)) {
        warning(check, holes(Concern::OlderBackups))
    } else {
        ok(check, holes(Concern::Nothing))
    }
}

fn history(tree: &TreeFacts) -> CheckItem {
    if !tree.missing_histories.is_empty() {
        return critical(CheckName::History, TreeFinding::MissingHistories(tree.missing_histories.clone()));
    }
    if tree.last_segment.is_none() && tree.backups.is_empty() {
        return unknown(CheckName::History, Finding::NothingArchived);
    }
    ok(CheckName::History, TreeFinding::Histories)
}

fn timeline(facts: &CheckFacts, tree: &TreeFacts) -> CheckItem {
    use TimelineFinding::{
        ArchiveAhead, BackupBehind, BackupBehindArchive, BackupBehindUnarchived, One, ServerUnknown, Unarchived,
    };
    let check = CheckName::Timeline;
    let archived = tree.last_segment.map(|(segment, _)| segment.timeline());
    let of_server = facts.server.as_ref().ok().and_then(|server| server.health.timeline);
    let of_backup = tree.backups.last().map(|backup| backup.timeline);
    match (of_server, archived, of_backup) {
        (Some(server), Some(archive), _) if archive > server => critical(check, ArchiveAhead { server, archive }),
        (Some(server), archive, Some(backup)) if backup != server && archive.is_none_or(|last| last < server) => {
            warning(check, BackupBehindUnarchived { server, backup })
        }
        (Some(server), Some(archive), _) if archive < server => warning(check, Unarchived { server }),
        (Some(server), Some(_), Some(backup)) if backup != server => warning(check, BackupBehind { server, backup }),
        (Some(server), Some(_), _) => ok(check, One(server)),
        (None, Some(archive), Some(backup)) if archive != backup => {
            warning(check, BackupBehindArchive { archive, backup })
        }
        (None, Some(archive), _) => unknown(check, ServerUnknown { archive }),
        (_, None, _) => unknown(check, Finding::NothingArchived),
    }
}
