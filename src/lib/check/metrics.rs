//! The numbers of a check, and their file for Prometheus' textfile collector.

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::facts::CheckFacts;
use super::finding::{Finding, ServerFinding, StorageFinding};
use super::judge::age;
use super::report::{CheckItem, CheckReport};
use crate::fs::{FileError, replace_file};
use crate::report::{Activity, ActivityState};
use crate::watchdog::watched;

/// The collector runs as another account.
const FILE_MODE: u32 = 0o644;
/// How often it is looked whether the file is written.
const LOOK_EVERY: Duration = Duration::from_millis(50);

macro_rules! metric_names {
    ($($variant:ident = $name:literal, $help:literal;)+) => {
        /// What a number is. Its name ends with its unit, and a counter's with `total`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
        pub enum MetricName {
            $(#[doc = $help] #[serde(rename = $name)] $variant),+
        }

        impl MetricName {
            /// All there are.
            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name, the same for Prometheus, plugins and in JSON.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),+
                }
            }

            /// What it means, a sentence.
            pub const fn help(self) -> &'static str {
                match self {
                    $(Self::$variant => $help),+
                }
            }
        }
    };
}

metric_names! {
    Status = "pgv_check_status", "0 ok, 1 warning, 2 critical, 3 unknown; one for each check.";
    Time = "pgv_check_time_seconds", "When this was looked at, as a Unix time.";
    RepositoryAvailable = "pgv_repository_available_bytes", "Free on the file system of the repository.";
    RepositoryFull = "pgv_repository_full_seconds", "Until the file system of the repository is full at the present rate.";
    Backups = "pgv_backups", "Listed backups.";
    LastBackupAge = "pgv_last_backup_age_seconds", "Since the end of the last good backup.";
    ArchiveHoles = "pgv_archive_holes", "Holes in the archived WAL.";
    LastArchivedAge = "pgv_last_archived_age_seconds", "Since the last WAL segment was stored.";
    WaitingFiles = "pgv_waiting_wal_files", "WAL files that wait to be archived.";
    WaitingAge = "pgv_waiting_wal_age_seconds", "Age of the oldest WAL file that waits to be archived.";
    ArchiverFailures = "pgv_archiver_failures_total", "Failures of archive_command since the statistics were reset.";
    WalAvailable = "pgv_wal_available_bytes", "Free on the file system of pg_wal.";
    WalFull = "pgv_wal_full_seconds", "Until the file system of pg_wal is full at the present rate, if no WAL leaves it.";
    SlotKept = "pgv_slot_kept_bytes", "WAL that a replication slot keeps; one for each slot.";
}

/// A number for monitoring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Metric {
    /// What it is.
    pub name: MetricName,
    /// A label beside the cluster's.
    pub label: Option<(&'static str, String)>,
    /// The value.
    pub value: u64,
}

/// All numbers that are known.
pub(crate) fn of(facts: &CheckFacts, checks: &[CheckItem]) -> Vec<Metric> {
    let mut metrics: Vec<Metric> = checks
        .iter()
        .map(|item| Metric {
            name: MetricName::Status,
            label: Some(("check", item.check.word().to_owned())),
            value: u64::from(item.state.plugin_status()),
        })
        .collect();
    let mut add = |name, value| metrics.push(Metric { name, label: None, value });
    let time = u64::try_from(facts.now.as_second()).unwrap_or_default();
    add(MetricName::Time, time);
    if let Ok(repository) = &facts.repository {
        let available = repository.room.available_bytes;
        add(MetricName::RepositoryAvailable, available);
    }
    if let Some(Ok(tree)) = &facts.tree {
        add(MetricName::Backups, tree.backups.len() as u64);
        if let Some(good) = tree.backups.iter().rev().find(|backup| backup.is_good()) {
            let seconds = age(facts.now, good.stop_time).as_secs();
            add(MetricName::LastBackupAge, seconds);
        }
        add(MetricName::ArchiveHoles, tree.holes.len() as u64);
        if let Some(archived) = tree.last_segment.and_then(|(_, archived)| archived) {
            let seconds = age(facts.now, archived).as_secs();
            add(MetricName::LastArchivedAge, seconds);
        }
    }
    if let Ok(server) = &facts.server {
        if let Some(waiting) = server.health.waiting {
            add(MetricName::WaitingFiles, waiting.count);
            let oldest = waiting.oldest.map(|time| age(server.health.now, time).as_secs()).unwrap_or_default();
            add(MetricName::WaitingAge, oldest);
        }
        add(MetricName::ArchiverFailures, server.health.archiver.failures);
        if let Some((_, room)) = &server.wal_directory {
            add(MetricName::WalAvailable, room.available_bytes);
        }
        metrics.extend(server.health.slots.iter().map(|slot| Metric {
            name: MetricName::SlotKept,
            label: Some(("slot", slot.name.clone())),
            value: slot.kept_bytes.unwrap_or_default(),
        }));
    }
    metrics.extend(until_full(checks));
    metrics
}

/// How long file systems last, where a rate is known.
fn until_full(checks: &[CheckItem]) -> impl Iterator<Item = Metric> {
    checks.iter().filter_map(|item| {
        let (name, lasts) = match &item.finding {
            Finding::Storage(StorageFinding::Room { lasts, .. }) => (MetricName::RepositoryFull, lasts),
            Finding::Server(ServerFinding::WalRoom { lasts, .. }) => (MetricName::WalFull, lasts),
            _ => return None,
        };
        Some(Metric { name, label: None, value: lasts.as_ref()?.as_secs() })
    })
}

/// The text of the file.
pub fn metrics_file(report: &CheckReport) -> String {
    let mut text = String::new();
    let mut last = None;
    for metric in &report.metrics {
        let name = metric.name.word();
        if last.replace(name) != Some(name) {
            let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
            let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}", metric.name.help());
        }
        let cluster = report.cluster.iter().flat_map(|cluster| {
            [("cluster", cluster.name.to_string()), ("system_identifier", cluster.system_identifier.to_string())]
        });
        let labels: Vec<String> = cluster.chain(metric.label.clone()).map(label).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(text, "{name}{labels} {}", metric.value);
    }
    text
}

/// Puts the numbers into a file, atomically: the collector never reads half of it. A file system that takes longer than
/// `limit` is left to a thread: the caller ends the process.
pub fn write_metrics(path: &Path, report: &CheckReport, limit: Duration) -> Result<(), FileError> {
    let (file, text) = (path.to_owned(), metrics_file(report));
    let give_up = |_: &ActivityState, still: Duration| (still >= limit).then_some(());
    let write = move || replace_file(&file, text.as_bytes(), FILE_MODE);
    match watched("metrics", &Activity::default(), LOOK_EVERY.min(limit), give_up, write) {
        Ok(Ok(written)) => written,
        Ok(Err(())) => Err(FileError::new("write", path, io::Error::from(io::ErrorKind::TimedOut))),
        Err(error) => Err(FileError::new("start a thread for", path, error)),
    }
}

/// As the text format wants it: backslash, quote and line feed escaped.
fn label((name, value): (&str, String)) -> String {
    let value = value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n");
    format!("{name}=\"{value}\"")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::check::{CheckName, CheckState};

    #[test]
    fn rooms_are_told_where_a_rate_is_known() {
        let (path, available_bytes) = (PathBuf::from("/srv"), 1);
        let lasts = Some(Duration::from_secs(7200));
        let item = |check, finding| CheckItem { check, state: CheckState::Ok, finding };
        let repository = |lasts| {
            let room = StorageFinding::Room { path: path.clone(), available_bytes, lasts, is_backup_too_large: false };
            item(CheckName::RepositoryRoom, room.into())
        };
        let wal = ServerFinding::WalRoom { path: path.clone(), available_bytes, lasts, is_piling_up: false };
        let numbers =
            |items: &[CheckItem]| until_full(items).map(|metric| (metric.name, metric.value)).collect::<Vec<_>>();
        assert_eq!(
            numbers(&[repository(lasts), item(CheckName::WalRoom, wal.into())]),
            [(MetricName::RepositoryFull, 7200), (MetricName::WalFull, 7200)]
        );
        assert_eq!(numbers(&[repository(None)]), []);
    }

    #[test]
    fn all_are_told_with_what_they_mean() {
        let document = include_str!("../../../docs/json.md");
        let (_, below) = document.split_once("| metric | what it says |").unwrap();
        let rows: Vec<&str> = below.lines().skip(2).take_while(|line| line.starts_with('|')).collect();
        let told = |metric: &MetricName| format!("| `{}` | {} |", metric.word(), metric.help().trim_end_matches('.'));
        assert_eq!(rows, MetricName::ALL.iter().map(told).collect::<Vec<_>>());
    }
}
