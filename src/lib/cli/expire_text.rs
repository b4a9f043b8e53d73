//! The answer of `pgv expire` in words.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::printer::escaped;
use super::size::{bytes_text, utc_second_text};
use super::table::table;
use crate::expire::{
    ExpireReport, Fate, KeepReason, LostTargets, PlannedBackup, PlannedUnfinished, Rules, TreePlan, WalKept,
};

/// WAL ranges and lost targets that are named of one tree.
const NAMED_MAX: usize = 20;

/// The plan in words.
pub(crate) fn render(report: &ExpireReport, applies: bool) -> String {
    let mut text = String::new();
    let path = escaped(&report.repository.path.to_string_lossy());
    let _ = writeln!(text, "Repository \"{path}\", id {}", report.repository.id);
    let _ = writeln!(text, "Kept: {}. Times are UTC.", rules_text(&report.rules));
    report.trees.iter().for_each(|tree| describe(&mut text, tree));
    text.push('\n');
    if report.is_empty() {
        text.push_str("Nothing is to be deleted.\n");
    } else {
        let what = if applies { "" } else { "; --apply does it" };
        let _ = writeln!(text, "{} would be freed{what}.", bytes_text(report.freed_bytes));
    }
    text
}

/// What was done in words.
pub(crate) fn done(report: &ExpireReport) -> String {
    if report.is_empty() { String::new() } else { format!("Deleted; {} were freed.\n", bytes_text(report.freed_bytes)) }
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
    tree.unfinished.iter().for_each(|backup| unfinished(text, backup));
    for id in &tree.being_deleted {
        let _ = writeln!(text, "  {id}: its deletion was begun before, and is finished");
    }
    wal(text, tree);
    for lost in tree.lost_targets.iter().take(NAMED_MAX) {
        let _ = writeln!(text, "  No longer reachable: {}", lost_text(lost));
    }
    let more = tree.lost_targets.len().saturating_sub(NAMED_MAX);
    if more > 0 {
        let _ = writeln!(text, "  and {more} more stretches that are no longer reachable (--output json)");
    }
    if !tree.is_empty() {
        let _ = writeln!(text, "  {} in {} packs and other objects", bytes_text(tree.freed_bytes), tree.packs);
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
    let fate = if backup.goes { "GOES" } else { "stays" };
    let _ = writeln!(
        text,
        "  {} is not finished, begun on \"{}\" at {}; last stored to at {}: {fate}",
        backup.id,
        escaped(&backup.host),
        utc_second_text(backup.began),
        utc_second_text(backup.last_stored)
    );
}

fn wal(text: &mut String, tree: &TreePlan) {
    match &tree.wal_kept {
        Some(WalKept::Running { backup }) => {
            let _ = writeln!(text, "  WAL stays: backup {backup} is running, or died less than a day ago");
        }
        Some(WalKept::NoBackup) => text.push_str("  WAL stays: without a good backup nothing says what is old\n"),
        _ => {}
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
