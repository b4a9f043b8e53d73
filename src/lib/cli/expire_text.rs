//! The answer of `pgv expire` in words.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::printer::escaped;
use super::size::{bytes_text, utc_second_text};
use super::table::table;
use crate::error::chain;
use crate::expire::{
    ExpireReport, Fate, KeepReason, LostTargets, PacksKept, PlannedBackup, PlannedUnfinished, Rules, TreePlan, WalKept,
};

/// WAL ranges and lost targets that are named of one tree.
const NAMED_MAX: usize = 20;

/// The plan in words.
pub(crate) fn render(report: &ExpireReport, applies: bool) -> String {
    let mut text = String::new();
    let path = escaped(&report.repository.path.to_string_lossy());
    let _ = writeln!(text, "Repository \"{path}\", id {}", report.repository.id);
    let _ = writeln!(text, "Kept: {}. Times are UTC.", rules_text(&report.rules));
    let refusal = report.refusal();
    if let Some(refusal) = &refusal {
        let _ = writeln!(
            text,
            "\nREFUSED: nothing is deleted while this stands: {}.\nWhat follows is what would go without it.",
            escaped(&chain(refusal))
        );
    }
    report.trees.iter().for_each(|tree| describe(&mut text, tree));
    text.push('\n');
    if report.is_empty() {
        text.push_str("Nothing is to be deleted.\n");
    } else {
        let what = match (&refusal, applies) {
            (Some(_), _) => ", were it not refused",
            (None, true) => "",
            (None, false) => "; --apply does it",
        };
        let _ = writeln!(text, "{} would be freed{what}.", bytes_text(report.planned_bytes));
    }
    text
}

/// What was done in words.
pub(crate) fn done(report: &ExpireReport) -> String {
    let (freed, planned) = (bytes_text(report.freed_bytes), bytes_text(report.planned_bytes));
    let is_finished = report.trees.iter().all(|tree| tree.done.as_ref().is_some_and(|done| done.finished));
    if report.is_empty() {
        String::new()
    } else if !is_finished {
        format!("Ended early: {freed} of {planned} were freed. The next run goes on.\n")
    } else if report.freed_bytes == report.planned_bytes {
        format!("Deleted; {freed} were freed.\n")
    } else {
        format!("Deleted; {freed} of {planned} were freed, the rest stays for now: something came in between.\n")
    }
}

fn rules_text(rules: &Rules) -> String {
    let keep = rules.keep.map(|keep| match keep.get() {
        1 => "the newest good backup".to_owned(),
        count => format!("the {count} newest good backups"),
    });
    let days = rules.keep_days.map(|days| format!("what reaches every moment of {days} d"));
    let wal = rules.wal_days.map(|days| format!("the WAL of {days} d"));
    let pinned = Some("what is pinned".to_owned());
    [keep, days, wal, pinned].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn describe(text: &mut String, tree: &TreePlan) {
    let _ = writeln!(text, "\nCluster \"{}\", system identifier {}", tree.cluster, tree.system_identifier);
    if tree.backups.is_empty() {
        text.push_str("  No backups.\n");
    } else {
        let header = ["id", "ended", "TLI", "stop LSN", "", "why"];
        text.push_str(&table(&header, tree.backups.iter().map(row)));
    }
    tree.backups.iter().for_each(|backup| not_whole(text, backup));
    tree.backups.iter().for_each(|backup| kept_again(text, backup));
    tree.unfinished.iter().for_each(|backup| unfinished(text, backup));
    for id in &tree.being_deleted {
        let _ = writeln!(text, "  {id}: its deletion was begun before, and is finished");
    }
    packs_kept(text, tree);
    wal(text, tree);
    for lost in tree.lost_targets.iter().take(NAMED_MAX) {
        let _ = writeln!(text, "  No longer reachable: {}", lost_text(lost));
    }
    let more = tree.lost_targets.len().saturating_sub(NAMED_MAX);
    if more > 0 {
        let _ = writeln!(text, "  and {more} more stretches that are no longer reachable (--output json)");
    }
    if !tree.is_empty() {
        let _ = writeln!(text, "  {} in {} packs and other objects", bytes_text(tree.planned_bytes), tree.packs);
    }
}

fn row(backup: &PlannedBackup) -> Vec<String> {
    let (fate, why) = match &backup.fate {
        Fate::Stays { reasons } => ("stays", reasons.iter().map(reason_text).collect::<Vec<_>>().join("; ")),
        Fate::Waits { until: Some(until) } => {
            ("waits", format!("no rule keeps it; goes after {}", utc_second_text(*until)))
        }
        Fate::Waits { until: None } => {
            ("waits", "no rule keeps it; is marked now, and goes after the grace".to_owned())
        }
        Fate::Goes if !backup.lacks.is_empty() => ("GOES", "no rule keeps it; it is not whole".to_owned()),
        Fate::Goes if backup.findings > 0 => ("GOES", "no rule keeps it; it has findings".to_owned()),
        Fate::Goes => ("GOES", "no rule keeps it".to_owned()),
    };
    vec![
        backup.id.to_string(),
        utc_second_text(backup.stop_time),
        backup.timeline.to_string(),
        backup.stop_lsn.to_string(),
        fate.to_owned(),
        why,
    ]
}

/// What is not there of it, so that whoever may bring it back looks for it before the backup goes.
fn not_whole(text: &mut String, backup: &PlannedBackup) {
    let Some(first) = backup.lacks.first() else { return };
    let more = match backup.lacks.len() - 1 {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    let _ = writeln!(text, "  {} is not good: it lacks {first}{more}", backup.id);
}

/// A mark is never taken back, so the grace is given once.
fn kept_again(text: &mut String, backup: &PlannedBackup) {
    if let (Fate::Stays { .. }, Some(marked)) = (&backup.fate, backup.marked_at) {
        let _ = writeln!(
            text,
            "  {} was marked at {}, when no rule kept it: when none does again, it goes without another grace",
            backup.id,
            utc_second_text(marked)
        );
    }
}

fn reason_text(reason: &KeepReason) -> String {
    match reason {
        KeepReason::Keep { position: 1 } => "keep: the newest".to_owned(),
        KeepReason::Keep { position } => format!("keep: number {position} from the newest"),
        KeepReason::AmongKept => "keep: not good, and newer than what is counted".to_owned(),
        KeepReason::KeepDays => "keep_days".to_owned(),
        KeepReason::BeforeKeepDays { timeline } => format!("keep_days: where they begin on timeline {timeline}"),
        KeepReason::LastGood => "the last good one".to_owned(),
        KeepReason::NewestTimeline { timeline } => format!("the newest that leads to timeline {timeline}"),
        KeepReason::NoneGood => "there is no good one".to_owned(),
        KeepReason::Pinned { reason } => format!("pinned: {}", escaped(reason)),
        KeepReason::ParentOf { backup } => format!("backup {backup} is running and may refer to it"),
    }
}

fn unfinished(text: &mut String, backup: &PlannedUnfinished) {
    let fate = match (backup.goes, backup.stays_until) {
        (true, _) => "GOES".to_owned(),
        (false, Some(until)) => format!("stays until {}, so that its record can be put back", utc_second_text(until)),
        (false, None) if backup.record_missing => "stays, so that its record can be put back".to_owned(),
        (false, None) => "stays".to_owned(),
    };
    let state = match (backup.record_missing, backup.record_unclear, backup.given_up) {
        (true, _, _) | (_, true, _) => {
            "is whole but for its record (it was killed at its last step, or its record was lost)"
        }
        (false, false, true) => "was given up",
        (false, false, false) => "is not finished",
    };
    let _ = writeln!(
        text,
        "  {} {state}, begun on \"{}\" at {}; last stored to at {}: {fate}",
        backup.id,
        escaped(&backup.host),
        utc_second_text(backup.began),
        utc_second_text(backup.last_stored)
    );
}

fn packs_kept(text: &mut String, tree: &TreePlan) {
    let Some(PacksKept { count, strange_folders }) = &tree.packs_kept else { return };
    let folder = strange_folders
        .first()
        .map(|folder| format!(": \"backups/{}\" is no name of a backup, and may be theirs", escaped(folder)));
    let _ = writeln!(text, "  {count} packs of backups of which no folder is there stay{}", folder.unwrap_or_default());
}

fn wal(text: &mut String, tree: &TreePlan) {
    match &tree.wal_kept {
        Some(WalKept::Running { backup }) => {
            let _ = writeln!(text, "  WAL stays: backup {backup} is running, or died less than a day ago");
        }
        Some(WalKept::Recordless { backup }) => {
            let _ = writeln!(text, "  WAL stays: backup {backup} is whole but for its record, and restores with that");
        }
        Some(WalKept::Locked) => text.push_str("  WAL stays: a backup is running\n"),
        Some(WalKept::NoBackup) => text.push_str("  WAL stays: without a good backup nothing says what is old\n"),
        Some(WalKept::Moved { backup }) => {
            let _ = writeln!(text, "  WAL stays: packs of backup {backup} are there, and its folder is not");
        }
        None => {}
    }
    for range in tree.wal.iter().take(NAMED_MAX) {
        let files = if range.files == 1 { "file" } else { "files" };
        let span = if range.first == range.last {
            range.first.to_string()
        } else {
            format!("{} to {}", range.first, range.last)
        };
        let _ = writeln!(text, "  WAL GOES: {span}, {} {files}: no backup that stays needs it", range.files);
    }
    let more = tree.wal.len().saturating_sub(NAMED_MAX);
    if more > 0 {
        let _ = writeln!(text, "  and {more} more ranges of WAL (--output json)");
    }
}

fn lost_text(lost: &LostTargets) -> String {
    let at = |lsn: crate::pg::Lsn, time: Option<Timestamp>| match time {
        Some(time) => format!("{} ({lsn})", utc_second_text(time)),
        None => lsn.to_string(),
    };
    let then = lost.then.map(|backup| format!("; from there on backup {backup} serves")).unwrap_or_default();
    format!(
        "timeline {} from {} to {}{then}",
        lost.timeline,
        at(lost.from_lsn, lost.from_time),
        at(lost.to_lsn, lost.to_time)
    )
}
