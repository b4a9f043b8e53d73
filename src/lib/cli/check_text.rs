//! The answer of `pgv check` in words: a table for people, a line for monitoring.

use std::fmt::Write as _;

use super::printer::escaped;
use super::size::utc_text;
use crate::check::{CheckItem, CheckReport, CheckState};

/// The columns of the table: the longest state and the longest check.
const STATE_WIDTH: usize = 8;
const CHECK_WIDTH: usize = 15;

/// The answer in words.
pub(crate) fn render(report: &CheckReport) -> String {
    let mut text = String::new();
    let cluster = report.cluster.as_deref().unwrap_or("unknown");
    let _ = writeln!(text, "Cluster {}, {}\n", escaped(cluster), utc_text(report.checked_at));
    for item in &report.checks {
        let (state, check) = (item.state.word(), item.check.word());
        let _ = writeln!(text, "  {state:STATE_WIDTH$}  {check:CHECK_WIDTH$}  {}", escaped(&item.found));
        if let Some(advice) = &item.advice {
            let _ = writeln!(text, "  {:STATE_WIDTH$}  {:CHECK_WIDTH$}  -> {}", "", "", escaped(advice));
        }
    }
    let _ = writeln!(text, "\n{}", summary(report));
    text
}

/// One line as monitoring plugins print it: state, what is wrong, and the numbers behind a bar.
pub(crate) fn plugin_line(report: &CheckReport) -> String {
    let wrong: Vec<String> = at_least(report, CheckState::Unknown)
        .map(|item| format!("{} {}: {}", item.check.word(), item.state.word(), item.found))
        .collect();
    let what = if wrong.is_empty() { summary(report) } else { wrong.join("; ") };
    // A bar begins the numbers, wherever it stands.
    let what = escaped(&what).replace('|', "/");
    let numbers: Vec<String> = report
        .metrics
        .iter()
        .filter(|metric| metric.label.is_none())
        .map(|metric| format!("{}={}", metric.name, metric.value))
        .collect();
    format!("PGV {} - {what} | {}\n", report.state.word().to_uppercase(), numbers.join(" "))
}

/// The line of a plugin that could not look.
pub(crate) fn plugin_failure(message: &str) -> String {
    format!("PGV UNKNOWN - {}\n", escaped(message).replace('|', "/"))
}

fn at_least(report: &CheckReport, state: CheckState) -> impl Iterator<Item = &CheckItem> {
    let mut items: Vec<&CheckItem> = report.checks.iter().filter(|item| item.state >= state).collect();
    items.sort_by_key(|item| std::cmp::Reverse(item.state));
    items.into_iter()
}

fn summary(report: &CheckReport) -> String {
    let count = |state| report.checks.iter().filter(|item| item.state == state).count();
    let parts = [CheckState::Critical, CheckState::Warning, CheckState::Unknown]
        .into_iter()
        .map(|state| (state, count(state)))
        .filter(|(_, count)| *count > 0)
        .map(|(state, count)| format!("{count} {}", state.word()));
    let parts: Vec<String> = parts.collect();
    if parts.is_empty() { format!("All {} checks are ok.", report.checks.len()) } else { parts.join(", ") + "." }
}
