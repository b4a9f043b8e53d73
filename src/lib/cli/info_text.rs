//! The answer of `pgv info` in words, for a hundred columns.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::info_backups;
use super::printer::escaped;
use super::size::{bytes_text, utc_minute_text, utc_second_text};
use super::table::table;
use crate::info::{InfoCluster, InfoReport, InfoTimeline, InfoTree};
use crate::pg::WalSegmentName;
use crate::repository::{BackupId, ClusterName, CostlyHole};

/// Backups that are named for one hole.
const NAMED_BACKUPS_MAX: usize = 3;

/// The answer in words. `asked` is the only cluster that was asked for.
pub(crate) fn render(report: &InfoReport, asked: Option<&ClusterName>) -> String {
    let mut text = String::new();
    let path = escaped(&report.repository.path.to_string_lossy());
    let _ = writeln!(text, "Repository \"{path}\", id {}", report.repository.id);
    let _ = match &report.configuration_file {
        Some(file) => writeln!(text, "Configuration file \"{}\"", escaped(&file.to_string_lossy())),
        None => writeln!(text, "No configuration file in use"),
    };
    text.push_str("Times are UTC.\n");
    if report.clusters.is_empty() {
        let _ = match asked {
            Some(name) => writeln!(text, "\nCluster \"{name}\" is not registered."),
            None => writeln!(text, "\nNo cluster is registered."),
        };
    }
    report.clusters.iter().for_each(|cluster| describe_cluster(&mut text, cluster));
    if !report.problems.is_empty() {
        text.push_str("\nNot readable\n");
    }
    for problem in &report.problems {
        let _ = writeln!(text, "  {}: {}", escaped(&problem.object), escaped(&problem.reason));
    }
    text
}

fn describe_cluster(text: &mut String, cluster: &InfoCluster) {
    for tree in &cluster.trees {
        let _ = write!(text, "\nCluster \"{}\", system identifier {}", cluster.name, tree.system_identifier);
        if let Some(version) = tree.major_version {
            let _ = write!(text, ", PostgreSQL {version}");
        }
        if let Some(bytes) = tree.wal_segment_bytes {
            let _ = write!(text, ", WAL segments of {}", bytes_text(bytes));
        }
        text.push('\n');
        info_backups::describe(text, tree);
        describe_wal(text, tree);
    }
    if cluster.trees.is_empty() {
        let _ = writeln!(text, "\nCluster \"{}\" has no readable registration.", cluster.name);
    }
    if !cluster.writers.is_empty() {
        text.push_str("\n Written by\n");
        let rows = cluster.writers.iter().map(|writer| {
            vec![escaped(&writer.host), escaped(&writer.directory.to_string_lossy()), utc_second_text(writer.since)]
        });
        text.push_str(&table(&["host", "directory", "since"], rows));
    }
}

fn describe_wal(text: &mut String, tree: &InfoTree) {
    if tree.wal.is_empty() {
        text.push_str("\n No WAL is archived.\n");
        return;
    }
    text.push_str("\n WAL\n");
    let header = ["first", "last", "segments", "archived from", "to"];
    text.push_str(&table(&header, tree.wal.iter().flat_map(range_rows)));
    for hole in tree.wal.iter().flat_map(|timeline| &timeline.holes) {
        describe_hole(text, hole);
    }
    let histories: Vec<String> = tree.history_files.iter().map(|timeline| timeline.get().to_string()).collect();
    if !histories.is_empty() {
        let _ = writeln!(text, "  History files of timelines {}", histories.join(", "));
    }
}

fn range_rows(timeline: &InfoTimeline) -> impl Iterator<Item = Vec<String>> {
    // To the minute: with seconds, the row would be longer than a hundred columns.
    let time = move |time: Option<Timestamp>| time.map_or("?".to_owned(), utc_minute_text);
    timeline.ranges.iter().map(move |range| {
        vec![
            range.first.to_string(),
            range.last.to_string(),
            range.count.to_string(),
            time(range.first_archived_at),
            time(range.last_archived_at),
        ]
    })
}

fn describe_hole(text: &mut String, hole: &CostlyHole) {
    let what = if hole.count == 1 { "segment is" } else { "segments are" };
    let _ = writeln!(text, "  HOLE: {} {what} missing: {}", hole.count, span_text(hole.first, hole.last));
    if !hole.inside_backups.is_empty() {
        let _ = writeln!(text, "    cannot be restored: {}", ids_text(&hole.inside_backups));
    }
    if !hole.ends_recovery_of.is_empty() {
        let _ = writeln!(text, "    recovery ends there from: {}", ids_text(&hole.ends_recovery_of));
    }
    if hole.inside_backups.is_empty() && hole.ends_recovery_of.is_empty() {
        text.push_str("    no backup depends on it\n");
    }
}

fn span_text(first: WalSegmentName, last: WalSegmentName) -> String {
    if first == last { first.to_string() } else { format!("{first} to {last}") }
}

fn ids_text(ids: &[BackupId]) -> String {
    let named: Vec<String> = ids.iter().take(NAMED_BACKUPS_MAX).map(ToString::to_string).collect();
    let more = ids.len().saturating_sub(NAMED_BACKUPS_MAX);
    if more == 0 { named.join(", ") } else { format!("{} and {more} more", named.join(", ")) }
}
