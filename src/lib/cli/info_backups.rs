//! The backups in the answer of `pgv info`: a row for each, and below the table what many have in common said once.

use std::fmt::{self, Write as _};
use std::time::Duration;

use super::printer::escaped;
use super::size::{bytes_text, duration_text, utc_second_text};
use super::table::table;
use crate::info::{InfoBackup, InfoTree, MISSING_MAX};

/// Backups that are named where several have something in common; of more their number is told.
const NAMED_BACKUPS_MAX: usize = 3;
/// Findings that are told of one backup.
const FINDINGS_MAX: usize = 3;
/// Unreadable and unfinished backups that are told one by one.
const OTHERS_MAX: usize = 10;

/// What is known of the backups of a tree.
pub(super) fn describe(text: &mut String, tree: &InfoTree) {
    if tree.backups.is_empty() {
        text.push_str("\n No backups. \"pgv backup\" takes one.\n");
    } else {
        text.push_str("\n Backups\n");
        let header = ["id", "ended", "TLI", "start LSN", "stop LSN", "data", "stored"];
        text.push_str(&table(&header, tree.backups.iter().map(row)));
        describe_methods(text, &tree.backups);
        describe_labels(text, &tree.backups);
        tree.backups.iter().for_each(|backup| describe_problems(text, backup));
    }
    describe_others(text, tree);
}

fn row(backup: &InfoBackup) -> Vec<String> {
    vec![
        backup.id.to_string(),
        utc_second_text(backup.stop_time),
        backup.timeline.get().to_string(),
        backup.start_lsn.to_string(),
        backup.stop_lsn.to_string(),
        bytes_text(backup.sizes.file_bytes),
        bytes_text(backup.sizes.stored_bytes),
    ]
}

/// The backups that are alike, in the order of the first of each sort.
fn alike(backups: &[InfoBackup], sort: impl Fn(&InfoBackup) -> String) -> Vec<(String, Vec<&InfoBackup>)> {
    let mut sorts: Vec<(String, Vec<&InfoBackup>)> = Vec::new();
    for backup in backups {
        let of_it = sort(backup);
        match sorts.iter_mut().find(|(known, _)| *known == of_it) {
            Some((_, members)) => members.push(backup),
            None => sorts.push((of_it, vec![backup])),
        }
    }
    sorts
}

/// Which backups, when they are not all.
fn which(members: &[&InfoBackup], all: usize) -> String {
    match members.len() {
        count if count == all => {
            if all == 1 {
                String::new()
            } else {
                format!("all {all}: ")
            }
        }
        count if count > NAMED_BACKUPS_MAX => format!("{count} of {all}: "),
        _ => members.iter().map(|backup| backup.id.to_string()).collect::<Vec<_>>().join(", ") + ": ",
    }
}

/// How they were taken, from where, and how long that took.
fn describe_methods(text: &mut String, backups: &[InfoBackup]) {
    let method = |backup: &InfoBackup| {
        let standby = if backup.node.is_standby { " (a standby)" } else { "" };
        format!("{} from {}, port {}{standby}", backup.method, escaped(&backup.node.host), backup.node.port)
    };
    for (method, members) in alike(backups, method) {
        let took = |backup: &&InfoBackup| {
            Duration::try_from(backup.stop_time.duration_since(backup.start_time)).unwrap_or_default()
        };
        let shortest = duration_text(members.iter().map(took).min().unwrap_or_default());
        let longest = duration_text(members.iter().map(took).max().unwrap_or_default());
        let span = if shortest == longest { shortest } else { format!("{shortest} to {longest}") };
        let _ = writeln!(text, "  {}{method}, in {span}", which(&members, backups.len()));
    }
}

fn describe_labels(text: &mut String, backups: &[InfoBackup]) {
    for (label, members) in alike(backups, |backup| backup.label.clone()) {
        if !label.is_empty() {
            let _ = writeln!(text, "  {}label \"{}\"", which(&members, backups.len()), escaped(&label));
        }
    }
}

/// What keeps a backup from being restored.
fn describe_missing(text: &mut String, backup: &InfoBackup, things: &str, missing: &[impl fmt::Display]) {
    let Some(first) = missing.first() else { return };
    let count = missing.len();
    let more = if count >= MISSING_MAX { " or more" } else { "" };
    let are = if count == 1 { "is" } else { "are" };
    let _ = writeln!(
        text,
        "  {}: CANNOT BE RESTORED: {count}{more} of {things} {are} missing, the first is {first}",
        backup.id
    );
}

/// Whatever is wrong with a backup.
fn describe_problems(text: &mut String, backup: &InfoBackup) {
    describe_missing(text, backup, "its WAL segments", &backup.missing_wal);
    describe_missing(text, backup, "the packs that it needs", &backup.missing_packs);
    for pin in backup.pins.iter().take(FINDINGS_MAX) {
        let _ = writeln!(text, "  {}: pinned: {}", backup.id, escaped(&pin.reason));
    }
    if backup.is_expiring {
        let _ = writeln!(text, "  {}: marked by retention; a later \"pgv expire --apply\" deletes it", backup.id);
    }
    for finding in backup.findings.iter().take(FINDINGS_MAX) {
        let _ = writeln!(text, "  {}: finding: {}", backup.id, escaped(finding));
    }
    if backup.findings.len() > FINDINGS_MAX {
        let more = backup.findings.len() - FINDINGS_MAX;
        let _ = writeln!(text, "  {}: and {more} more findings (--output json)", backup.id);
    }
}

/// Backups that are no row of the table.
fn describe_others(text: &mut String, tree: &InfoTree) {
    for unreadable in tree.unreadable_backups.iter().take(OTHERS_MAX) {
        let _ = writeln!(text, "  {}: its record cannot be read, see below", unreadable.id);
    }
    for unfinished in tree.unfinished_backups.iter().take(OTHERS_MAX) {
        let state = match (unfinished.record_missing, unfinished.record_unclear, unfinished.given_up) {
            (true, _, _) => "its record is missing, see below",
            (false, true, _) => "whole but for its record: it was killed at its last step, or its record was lost",
            (false, false, true) => "given up",
            (false, false, false) => "not finished",
        };
        let _ = write!(text, "  {}: {state}", unfinished.id);
        if let (Some(host), Some(began)) = (&unfinished.host, unfinished.began) {
            let _ = write!(text, "; begun on \"{}\" at {}", escaped(host), utc_second_text(began));
        }
        if unfinished.given_up {
            text.push_str("; \"pgv expire --apply\" takes it away");
        } else if unfinished.record_unclear {
            text.push_str("; with the record back it restores, and \"pgv expire\" holds it for 7 days");
        }
        text.push('\n');
    }
    for id in tree.being_deleted.iter().take(OTHERS_MAX) {
        let _ = writeln!(text, "  {id}: being deleted; the next \"pgv expire --apply\" finishes it");
    }
    for (count, what) in
        [(tree.unreadable_backups.len(), "cannot be read"), (tree.unfinished_backups.len(), "are not finished")]
    {
        if count > OTHERS_MAX {
            let _ = writeln!(text, "  and {} more backups that {what} (--output json)", count - OTHERS_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::info::InfoNode;
    use crate::pg::{Lsn, PgMajorVersion, SystemIdentifier, TimelineId};
    use crate::repository::{BackupMethod, BackupSizes};

    fn backup(number: u32) -> InfoBackup {
        let start_time: jiff::Timestamp = "2026-11-21T00:00:00Z".parse().unwrap();
        InfoBackup {
            id: format!("20261121T000000Z-{number:08x}").parse().unwrap(),
            start_lsn: Lsn::new(0x200_0028).unwrap(),
            stop_lsn: Lsn::new(0x200_0100).unwrap(),
            start_time,
            stop_time: start_time + Duration::from_secs(u64::from(number)),
            timeline: TimelineId::FIRST,
            start_timeline: TimelineId::FIRST,
            sizes: BackupSizes::default(),
            method: BackupMethod::Stream,
            label: String::new(),
            node: InfoNode { host: "db1".to_owned(), port: 5432, is_standby: false },
            major_version: PgMajorVersion::new(15).unwrap(),
            parents: Vec::new(),
            findings: Vec::new(),
            pins: Vec::new(),
            is_expiring: false,
            missing_wal: Vec::new(),
            missing_packs: Vec::new(),
            wal_until: None,
        }
    }

    /// The lines below the table.
    fn below(backups: Vec<InfoBackup>) -> Vec<String> {
        let rows = backups.len();
        let tree = InfoTree {
            system_identifier: SystemIdentifier::new(7).unwrap(),
            major_version: None,
            wal_segment_bytes: None,
            since: None,
            backups,
            unreadable_backups: Vec::new(),
            unfinished_backups: Vec::new(),
            being_deleted: Vec::new(),
            wal: Vec::new(),
            history_files: Vec::new(),
        };
        let mut text = String::new();
        describe(&mut text, &tree);
        text.lines().skip(rows + 3).map(str::to_owned).collect()
    }

    #[test]
    fn one_backup_is_said_in_one_line() {
        let mut one = backup(90);
        one.label = "nightly".to_owned();
        assert_eq!(below(vec![one]), ["  stream from db1, port 5432, in 1 min 30 s", "  label \"nightly\""]);
    }

    #[test]
    fn a_hundred_backups_have_a_row_each_and_few_lines() {
        let mut backups: Vec<InfoBackup> = (1..=100).map(backup).collect();
        assert_eq!(below(backups.clone()), ["  all 100: stream from db1, port 5432, in 1 s to 1 min 40 s"]);
        (backups[6].node.host, backups[6].node.is_standby) = ("db2".to_owned(), true);
        backups[9].label = "before the upgrade".to_owned();
        backups[20].findings = (0..9).map(|number| format!("page {number} has a wrong checksum")).collect();
        let lines = below(backups);
        let expected = [
            "  99 of 100: stream from db1, port 5432, in 1 s to 1 min 40 s",
            "  20261121T000000Z-00000007: stream from db2, port 5432 (a standby), in 7 s",
            "  20261121T000000Z-0000000a: label \"before the upgrade\"",
            "  20261121T000000Z-00000015: finding: page 0 has a wrong checksum",
        ];
        assert_eq!(lines[..4], expected);
        assert_eq!(lines[4..].len(), 3, "{lines:?}");
        assert!(lines[6].ends_with("and 6 more findings (--output json)"), "{lines:?}");
    }

    #[test]
    fn what_keeps_a_backup_from_being_restored_is_said_of_each() {
        let mut lost = backup(1);
        lost.missing_wal = vec![crate::pg::WalSegmentName::parse("000000010000000000000002").unwrap()];
        lost.missing_packs = vec!["20261120T000000Z-00000001/00000000".to_owned()];
        let lines = below(vec![lost, backup(2)]);
        let expected =
            "  20261121T000000Z-00000001: CANNOT BE RESTORED: 1 of its WAL segments is missing, the first is";
        assert!(lines.iter().any(|line| line.starts_with(expected)), "{lines:?}");
        let packs = "1 of the packs that it needs is missing, the first is 20261120T000000Z-00000001/00000000";
        assert!(lines.iter().any(|line| line.ends_with(packs)), "{lines:?}");
        let mut all = backup(1);
        all.missing_packs = vec!["20261120T000000Z-00000001/00000000".to_owned(); MISSING_MAX];
        let lines = below(vec![all, backup(2)]);
        assert!(lines.iter().any(|line| line.contains(": 100 or more of the packs ")), "{lines:?}");
    }
}
