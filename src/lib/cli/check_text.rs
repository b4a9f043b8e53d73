//! The answer of `pgv check`: a table for people, a line for monitoring, and JSON for programs.

use std::fmt::Write as _;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::Serialize;

use super::check_words::{Words, words};
use super::printer::escaped;
use super::size::utc_text;
use super::typed::Typed;
use crate::check::{CheckName, CheckReport, CheckState, Metric};

/// The version of the JSON. COMPAT: fields and checks are added, never renamed or removed, while it stays the same.
const SCHEMA_VERSION: u32 = 1;

/// The whole answer, as `--output json` prints it.
#[derive(Debug, Serialize)]
pub(crate) struct CheckAnswer {
    schema_version: u32,
    checked_at: Timestamp,
    configuration_file: Option<PathBuf>,
    /// As `main/7312345678901234567`.
    cluster: Option<String>,
    state: CheckState,
    checks: Vec<CheckLine>,
    metrics: Vec<Metric>,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct CheckLine {
    check: CheckName,
    state: CheckState,
    /// What was found, as a clause.
    found: String,
    /// What to do; null when all is well.
    advice: Option<String>,
}

impl CheckAnswer {
    /// That of a report, with commands as they are typed here.
    pub(crate) fn of(report: &CheckReport, typed: &Typed) -> Self {
        let lines = report.checks.iter().map(|item| {
            let Words { found, advice } = words(item, typed);
            CheckLine { check: item.check, state: item.state, found, advice }
        });
        let cluster = report.cluster.as_ref().map(|cluster| format!("{}/{}", cluster.name, cluster.system_identifier));
        Self {
            schema_version: SCHEMA_VERSION,
            checked_at: report.checked_at,
            configuration_file: report.configuration_file.clone(),
            cluster,
            state: report.state,
            checks: lines.collect(),
            metrics: report.metrics.clone(),
        }
    }
}

/// The columns of the table: the longest state and the longest check.
const STATE_WIDTH: usize = 8;
const CHECK_WIDTH: usize = 15;

/// The answer in words.
pub(crate) fn render(answer: &CheckAnswer) -> String {
    let mut text = String::new();
    let cluster = answer.cluster.as_deref().unwrap_or("unknown");
    let _ = writeln!(text, "Cluster {}, {}\n", escaped(cluster), utc_text(answer.checked_at));
    // What follows from one cause has one line of advice, below the last.
    let nexts = answer.checks.iter().skip(1).map(Some).chain([None]);
    for (item, next) in answer.checks.iter().zip(nexts) {
        let (state, check) = (item.state.word(), item.check.word());
        let _ = writeln!(text, "  {state:STATE_WIDTH$}  {check:CHECK_WIDTH$}  {}", escaped(&item.found));
        if let Some(advice) = item.advice.as_ref().filter(|_| next.is_none_or(|next| next.advice != item.advice)) {
            let _ = writeln!(text, "  {:STATE_WIDTH$}  {:CHECK_WIDTH$}  -> {}", "", "", escaped(advice));
        }
    }
    let _ = writeln!(text, "\n{}", summary(answer));
    text
}

/// One line as monitoring plugins print it: state, what is wrong, and the numbers behind a bar.
pub(crate) fn plugin_line(answer: &CheckAnswer) -> String {
    let mut wrong: Vec<String> = Vec::new();
    for alike in at_least(answer, CheckState::Unknown)
        .chunk_by(|one, other| (one.state, &one.found) == (other.state, &other.found))
    {
        let names: Vec<&str> = alike.iter().map(|item| item.check.word()).collect();
        wrong.extend(alike.first().map(|item| format!("{} {}: {}", names.join(", "), item.state.word(), item.found)));
    }
    let what = if wrong.is_empty() { summary(answer) } else { wrong.join("; ") };
    // A bar begins the numbers, wherever it stands.
    let what = escaped(&what).replace('|', "/");
    let numbers: Vec<String> = answer
        .metrics
        .iter()
        .filter(|metric| metric.label.is_none())
        .map(|metric| format!("{}={}", metric.name.word(), metric.value))
        .collect();
    format!("PGV {} - {what} | {}\n", answer.state.word().to_uppercase(), numbers.join(" "))
}

/// The line of a plugin that could not look.
pub(crate) fn plugin_failure(message: &str) -> String {
    format!("PGV UNKNOWN - {}\n", escaped(message).replace('|', "/"))
}

/// The worst first.
fn at_least(answer: &CheckAnswer, state: CheckState) -> Vec<&CheckLine> {
    let mut items: Vec<&CheckLine> = answer.checks.iter().filter(|item| item.state >= state).collect();
    items.sort_by_key(|item| std::cmp::Reverse(item.state));
    items
}

fn summary(answer: &CheckAnswer) -> String {
    let count = |state| answer.checks.iter().filter(|item| item.state == state).count();
    let parts = [CheckState::Critical, CheckState::Warning, CheckState::Unknown]
        .into_iter()
        .map(|state| (state, count(state)))
        .filter(|(_, count)| *count > 0)
        .map(|(state, count)| format!("{count} {}", state.word()));
    let parts: Vec<String> = parts.collect();
    if parts.is_empty() { format!("All {} checks are ok.", answer.checks.len()) } else { parts.join(", ") + "." }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_from_one_cause_is_told_in_one_breath() {
        let item = |check, state, found: &str, advice: &str| CheckLine {
            check,
            state,
            found: found.to_owned(),
            advice: Some(advice.to_owned()),
        };
        let answer = CheckAnswer {
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
        assert_eq!(plugin_line(&answer), line);
        let table = render(&answer);
        assert_eq!(table.matches("-> See the line of server.").count(), 1, "{table}");
        assert_eq!(table.matches("unknown   ").count(), 2, "{table}");
    }
}
