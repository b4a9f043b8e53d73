//! The answer of `pgv verify` in words, for a hundred columns.

use std::fmt::Write as _;
use std::time::Duration;

use super::printer::escaped;
use super::size::{bytes_text, duration_text, utc_second_text};
use crate::verify::{Cost, Finding, VerifyLeftOver, VerifyLeftOverKind, VerifyReport};

/// Left-overs of one kind that are named.
const NAMED_LEFT_OVERS_MAX: usize = 10;
/// Damaged objects that are named, those that cost something first.
const NAMED_FINDINGS_MAX: usize = 100;
/// Lost backups that are named at the end; each is named where it is lost.
const NAMED_BACKUPS_MAX: usize = 10;

/// The answer in words.
pub(crate) fn render(report: &VerifyReport) -> String {
    let mut text = String::new();
    let path = escaped(&report.repository.path.to_string_lossy());
    let _ = writeln!(text, "Repository \"{path}\", id {}", report.repository.id);
    text.push_str("Times are UTC.\n");
    if !report.damaged.is_empty() {
        text.push_str("\nDamaged, missing or not readable\n");
    }
    let mut damaged: Vec<&Finding> = report.damaged.iter().collect();
    damaged.sort_by_key(|finding| finding.costs.iter().map(weight).min().unwrap_or(u8::MAX));
    damaged.iter().take(NAMED_FINDINGS_MAX).for_each(|finding| describe(&mut text, finding));
    let more = damaged.len().saturating_sub(NAMED_FINDINGS_MAX) as u64;
    if more + report.more_damaged > 0 {
        let listed = if more > 0 { " (--output json)" } else { "" };
        let _ = writeln!(text, "  and {} more objects{listed}", more + report.more_damaged);
    }
    left_overs(&mut text, report);
    backups(&mut text, report);
    text.push('\n');
    text.push_str(&last_line(report));
    text
}

fn describe(text: &mut String, finding: &Finding) {
    let _ = write!(text, "  {}\n    {}", escaped(&finding.object), escaped(&finding.problem));
    if finding.further > 0 {
        let _ = write!(text, "; and {} more in it", finding.further);
    }
    text.push('\n');
    for cost in &finding.costs {
        let _ = writeln!(text, "    -> {}", escaped(&cost_text(cost)));
    }
}

/// What costs most comes first.
fn weight(cost: &Cost) -> u8 {
    match cost {
        Cost::Cluster => 0,
        Cost::Backup { .. } => 1,
        Cost::Timeline { .. } | Cost::Targets { .. } => 2,
        Cost::Unlisted { .. } | Cost::Unknown => 3,
        Cost::Nothing { .. } => 4,
    }
}

fn cost_text(cost: &Cost) -> String {
    match cost {
        Cost::Backup { backup, files, named_files } => {
            let mut text = format!("backup {backup} cannot be restored");
            if let Some(files) = files {
                let what = if *files == 1 { "file is" } else { "files are" };
                let _ = write!(text, ": {files} {what} lost: {}", named_files.join(", "));
                if *files > named_files.len() as u64 {
                    text.push_str(", ...");
                }
            }
            text
        }
        Cost::Targets { timeline, after_lsn, after_time, before_lsn, before_time, before_backup } => {
            let after = match after_time {
                Some(time) => format!("{after_lsn} (at the latest {})", utc_second_text(*time)),
                None => after_lsn.to_string(),
            };
            match (before_lsn, before_backup) {
                (Some(lsn), Some(backup)) => {
                    let time = before_time.map(|time| format!(" ({})", utc_second_text(time))).unwrap_or_default();
                    format!(
                        "targets on timeline {timeline} between {after} and {lsn}{time} are lost; from there on backup {backup} serves"
                    )
                }
                _ => format!("targets on timeline {timeline} after {after} are lost"),
            }
        }
        Cost::Timeline { timeline } => format!("timeline {timeline} cannot be followed: all targets on it are lost"),
        Cost::Unlisted { backup } => {
            format!("backup {backup} is not listed, so it is never chosen; put back, the object brings it back")
        }
        Cost::Cluster => {
            "nothing of this cluster can be restored, fetched or archived until the object is put back, or \"pgv init\" on its server's \
             host has written it anew"
                .to_owned()
        }
        Cost::Unknown => "what this costs cannot be said until it can be read".to_owned(),
        Cost::Nothing { reason } => format!("nothing is lost: {reason}"),
    }
}

fn left_overs(text: &mut String, report: &VerifyReport) {
    if report.left_overs.is_empty() {
        return;
    }
    text.push_str("\nLeft over (no damage)\n");
    for (kind, what) in [
        (VerifyLeftOverKind::Stray, "not a file of pgv"),
        (VerifyLeftOverKind::UnfinishedBackup, "not finished: running, or given up"),
        (
            VerifyLeftOverKind::RecordlessBackup,
            "whole but for its record: killed at its last step, or its record was lost",
        ),
        (VerifyLeftOverKind::UnneededPack, "a pack that no backup needs"),
        (VerifyLeftOverKind::Staged, "being written, or left behind by a writer"),
    ] {
        let of_kind: Vec<&VerifyLeftOver> = report.left_overs.iter().filter(|one| one.kind == kind).collect();
        for left_over in of_kind.iter().take(NAMED_LEFT_OVERS_MAX) {
            let _ = write!(text, "  {}: {what}", escaped(&left_over.object));
            if left_over.objects > 1 {
                let _ = write!(text, ", {} objects", left_over.objects);
            }
            if let Some(since) = left_over.since {
                let _ = write!(text, ", since {}", utc_second_text(since));
            }
            text.push('\n');
        }
        if of_kind.len() > NAMED_LEFT_OVERS_MAX {
            let _ = writeln!(text, "  and {} more: {what}", of_kind.len() - NAMED_LEFT_OVERS_MAX);
        }
    }
    if report.more_left_overs > 0 {
        let _ = writeln!(text, "  and {} more objects", report.more_left_overs);
    }
}

fn backups(text: &mut String, report: &VerifyReport) {
    let lost: Vec<String> =
        report.backups.iter().filter(|backup| !backup.can_be_restored).map(|backup| backup.id.to_string()).collect();
    let (count, lost_count) = (report.backups.len(), lost.len());
    let more = lost_count.saturating_sub(NAMED_BACKUPS_MAX);
    let mut lost = lost.iter().take(NAMED_BACKUPS_MAX).cloned().collect::<Vec<_>>().join(", ");
    if more > 0 {
        let _ = write!(lost, " and {more} more");
    }
    let _ = match (count, lost_count) {
        (0, _) => writeln!(text, "\nThere is no backup."),
        (1, 1) => writeln!(text, "\nThe backup CANNOT BE RESTORED: {lost}"),
        (1, 0) => writeln!(text, "\nThe backup can be restored, by all that was read."),
        (_, 0) => writeln!(text, "\nAll {count} backups can be restored, by all that was read."),
        _ if count == lost_count => writeln!(text, "\nNone of the {count} backups can be restored: {lost}"),
        _ => writeln!(text, "\nOf {count} backups {lost_count} CANNOT BE RESTORED: {lost}"),
    };
}

/// What was read, and how fast.
fn last_line(report: &VerifyReport) -> String {
    let (read, scope) = (&report.read, &report.scope);
    let objects = if read.objects == 1 { "object" } else { "objects" };
    let mut text = format!("Read {} of {} {objects}", bytes_text(read.stored_bytes), read.objects);
    match (scope.depth, scope.sample_percent, scope.seed) {
        ("quick", ..) => text.push_str(", headers and seek tables alone"),
        ("sample", Some(percent), Some(seed)) => {
            let _ = write!(text, ", {percent} % of the content (--seed {seed})");
        }
        _ => {}
    }
    if scope.wal_records {
        let _ = write!(text, ", {} WAL records", read.wal_records);
    }
    let elapsed = Duration::try_from_secs_f64(read.seconds).unwrap_or_default();
    let _ = write!(text, " in {}", duration_text(elapsed));
    let rate = u128::from(read.stored_bytes) * 1000 / elapsed.as_millis().max(1);
    if elapsed >= Duration::from_secs(1) {
        let _ = write!(text, ", {}/s", bytes_text(u64::try_from(rate).unwrap_or(u64::MAX)));
    }
    let verdict = match (report.damaged.len() as u64 + report.more_damaged, scope.depth) {
        (0, "full") => "nothing is damaged".to_owned(),
        (0, _) => "nothing damaged was found".to_owned(),
        (1, _) => "1 object is damaged, missing or not readable".to_owned(),
        (count, _) => format!("{count} objects are damaged, missing or not readable"),
    };
    let _ = writeln!(text, ": {verdict}.");
    text
}
