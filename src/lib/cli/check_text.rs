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
    // What follows from one cause has one line of advice, below the last.
    let nexts = report.checks.iter().skip(1).map(Some).chain([None]);
    for (item, next) in report.checks.iter().zip(nexts) {
        let (state, check) = (item.state.word(), item.check.word());
        let _ = writeln!(text, "  {state:STATE_WIDTH$}  {check:CHECK_WIDTH$}  {}", escaped(&item.found));
        if let Some(advice) = item.advice.as_ref().filter(|_| next.is_none_or(|next| next.advice != item.advice)) {
            let _ = writeln!(text, "  {:STATE_WIDTH$}  {:CHECK_WIDTH$}  -> {}", "", "", escaped(advice));
        }
    }
    let _ = writeln!(text, "\n{}", summary(report));
    text
}

/// One line as monitoring plugins print it: state, what is wrong, and the numbers behind a bar.
pub(crate) fn plugin_line(report: &CheckReport) -> String {
    let mut wrong: Vec<String> = Vec::new();
    for alike in at_least(report, CheckState::Unknown)
        .chunk_by(|one, other| (one.state, &one.found) == (other.state, &other.found))
    {
        let names: Vec<&str> = alike.iter().map(|item| item.check.word()).collect();
        wrong.extend(alike.first().map(|item| format!("{} {}: {}", names.join(", "), item.state.word(), item.found)));
    }
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

/// The worst first.
fn at_least(report: &CheckReport, state: CheckState) -> Vec<&CheckItem> {
    let mut items: Vec<&CheckItem> = report.checks.iter().filter(|item| item.state >= state).collect();
    items.sort_by_key(|item| std::cmp::Reverse(item.state));
    items
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{CheckName, SCHEMA_VERSION};

    #[test]
    fn what_follows_from_one_cause_is_told_in_one_breath() {
        let item = |check, state, found: &str, advice: &str| CheckItem {
            check,
            state,
            found: found.to_owned(),
            advice: Some(advice.to_owned()),
        };
        let report = CheckReport {
            schema_version: SCHEMA_VERSION,
            checked_at: jiff::Timestamp::UNIX_EPOCH,
            configuration_file: None,
            cluster: None,
            state: CheckState::Critical,
            checks: vec![
                item(CheckName::Server, CheckState::Critical, "refused | by it", "Start it."),
                item(CheckName::Settings, CheckState::Unknown, "not looked at", "See the line of server."),
                item(CheckName::Archiving, CheckState::Unknown, "not looked at", "See the line of server."),
                item(CheckName::Holes, CheckState::Warning, "missing", "See."),
            ],
            metrics: Vec::new(),
        };
        let line = "PGV CRITICAL - server critical: refused / by it; holes warning: missing; settings, archiving \
                    unknown: not looked at | \n";
        assert_eq!(plugin_line(&report), line);
        let table = render(&report);
        assert_eq!(table.matches("-> See the line of server.").count(), 1, "{table}");
        assert_eq!(table.matches("unknown   ").count(), 2, "{table}");
    }
}
