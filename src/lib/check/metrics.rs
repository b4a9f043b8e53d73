//! The numbers of a check, and their file for Prometheus' textfile collector.

use std::fmt::Write as _;
use std::path::Path;

use super::facts::CheckFacts;
use super::judge::age;
use super::report::{CheckItem, CheckReport, Metric};
use crate::fs::{FileError, replace_file};

/// The collector runs as another account.
const FILE_MODE: u32 = 0o644;

/// All numbers that are known.
pub(super) fn of(facts: &CheckFacts, checks: &[CheckItem]) -> Vec<Metric> {
    let mut metrics: Vec<Metric> = checks
        .iter()
        .map(|item| Metric {
            name: "pgv_check_status",
            help: "0 ok, 1 warning, 2 critical, 3 unknown.",
            label: Some(("check", item.check.word().to_owned())),
            value: u64::from(item.state.plugin_status()),
        })
        .collect();
    let mut add = |name, help, value| metrics.push(Metric { name, help, label: None, value });
    let time = u64::try_from(facts.now.as_second()).unwrap_or_default();
    add("pgv_check_time_seconds", "When this was looked at, as a Unix time.", time);
    if let Ok(repository) = &facts.repository {
        let available = repository.room.available_bytes;
        add("pgv_repository_available_bytes", "Free on the file system of the repository.", available);
    }
    if let Some(Ok(tree)) = &facts.tree {
        add("pgv_backups", "Listed backups.", tree.backups.len() as u64);
        if let Some(good) = tree.backups.iter().rev().find(|backup| backup.is_good()) {
            let seconds = age(facts.now, good.stop_time).as_secs();
            add("pgv_last_backup_age_seconds", "Since the end of the last good backup.", seconds);
        }
        add("pgv_archive_holes", "Holes in the archived WAL.", tree.holes.len() as u64);
        if let Some(archived) = tree.last_segment.and_then(|(_, archived)| archived) {
            let seconds = age(facts.now, archived).as_secs();
            add("pgv_last_archived_age_seconds", "Since the last WAL segment was stored.", seconds);
        }
    }
    if let Ok(server) = &facts.server {
        if let Some(waiting) = server.health.waiting {
            add("pgv_waiting_wal_files", "WAL files that wait to be archived.", waiting.count);
            let oldest = waiting.oldest.map(|time| age(server.health.now, time).as_secs()).unwrap_or_default();
            add("pgv_waiting_wal_age_seconds", "Age of the oldest of them.", oldest);
        }
        add(
            "pgv_archiver_failures_total",
            "Failures since the statistics were reset.",
            server.health.archiver.failures,
        );
        if let Some((_, room)) = &server.wal_directory {
            add("pgv_wal_available_bytes", "Free on the file system of pg_wal.", room.available_bytes);
        }
        metrics.extend(server.health.slots.iter().map(|slot| Metric {
            name: "pgv_slot_kept_bytes",
            help: "WAL that a replication slot keeps.",
            label: Some(("slot", slot.name.clone())),
            value: slot.kept_bytes.unwrap_or_default(),
        }));
    }
    metrics
}

/// The text of the file.
pub fn metrics_file(report: &CheckReport) -> String {
    let mut text = String::new();
    let mut last = "";
    for metric in &report.metrics {
        if metric.name != last {
            let kind = if metric.name.ends_with("_total") { "counter" } else { "gauge" };
            let _ = writeln!(text, "# HELP {} {}\n# TYPE {} {kind}", metric.name, metric.help, metric.name);
            last = metric.name;
        }
        let cluster = report.cluster.as_deref().and_then(|cluster| cluster.split_once('/'));
        let cluster = cluster.map(|(name, identifier)| vec![("cluster", name), ("system_identifier", identifier)]);
        let own = metric.label.as_ref().map(|(name, value)| (*name, value.as_str()));
        let labels: Vec<String> = cluster.into_iter().flatten().chain(own).map(label).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(text, "{}{labels} {}", metric.name, metric.value);
    }
    text
}

/// Puts the numbers into a file, atomically: the collector never reads half of it.
pub fn write_metrics(path: &Path, report: &CheckReport) -> Result<(), FileError> {
    replace_file(path, metrics_file(report).as_bytes(), FILE_MODE)
}

/// As the text format wants it: backslash, quote and line feed escaped.
fn label((name, value): (&str, &str)) -> String {
    let value = value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n");
    format!("{name}=\"{value}\"")
}
