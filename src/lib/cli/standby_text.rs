//! The answer of `pgv-standby` in words: the table, and the chosen node as lines for a shell.

use std::fmt::Write as _;
use std::time::Duration;

use super::printer::escaped;
use super::size::{bytes_text, duration_text};
use super::standby::Seen;
use super::table::table;
use crate::pg::shell_quote;
use crate::server::conninfo::HandedOnSettings;
use crate::server::{ReplicationFacts, WalSource};
use crate::standby::{Probe, Reference, ReplicationLag, Survey, Verdict, follower_of};

const HEADER: [&str; 6] = ["node", "role", "lag", "source", "sync", "verdict"];

/// The table, what lag is measured against, and what was chosen.
pub(super) fn render(seen: &Seen) -> String {
    let chosen = seen.choice.chosen();
    let nodes = seen.survey.probes.iter().zip(&seen.choice.verdicts).enumerate();
    let rows = nodes.map(|(index, (probe, verdict))| row(&seen.survey, probe, verdict, chosen == Some(index)));
    let mut text = table(&HEADER, rows);
    let _ = writeln!(text);
    match &seen.choice.reference {
        Some(Reference::Primary { node, lsn, .. }) => {
            let _ = writeln!(text, "Lag is measured against the primary \"{}\" at {lsn}.", escaped(node));
        }
        Some(Reference::HighestReceived { node, lsn }) => {
            let _ = writeln!(
                text,
                "No primary answers. Lag is measured against the highest position received, that of \"{}\" at {lsn}:\n\
                 what the primary wrote after that is not counted.",
                escaped(node)
            );
        }
        None => {}
    }
    match chosen.and_then(|index| seen.survey.probes.get(index)) {
        Some(probe) => {
            let _ = writeln!(text, "Chosen: {}", escaped(&probe.node.name));
        }
        None => {
            let _ = match &seen.choice.trouble {
                None => writeln!(text, "No node qualifies."),
                Some(trouble) => writeln!(text, "Nothing chosen: {}.", escaped(&trouble.to_string())),
            };
        }
    }
    text
}

fn row(survey: &Survey, probe: &Probe, verdict: &Verdict, is_chosen: bool) -> Vec<String> {
    let reasons: Vec<String> = verdict.reasons.iter().map(|reason| escaped(&reason.to_string())).collect();
    let judged = if is_chosen { "chosen".to_owned() } else { reasons.join("; ") };
    let zone = probe.node.zone.as_ref().map(|zone| format!(" ({zone})")).unwrap_or_default();
    let name = escaped(&format!("{}{zone}", probe.node.name));
    let Some(facts) = probe.facts() else {
        let unknown = || "-".to_owned();
        return vec![name, unknown(), unknown(), unknown(), unknown(), judged];
    };
    let role = if facts.is_primary() { "primary" } else { "standby" };
    let followed = follower_of(survey, facts).and_then(|(_, follower)| follower.sync_state.clone());
    let sync = followed.unwrap_or_else(|| "-".to_owned());
    vec![name, role.to_owned(), lag_text(facts, verdict.lag), source_text(facts), escaped(&sync), judged]
}

fn lag_text(facts: &ReplicationFacts, lag: ReplicationLag) -> String {
    if facts.is_primary() {
        return "-".to_owned();
    }
    match (lag.bytes, lag.time) {
        (None, _) => "unknown".to_owned(),
        (Some(0), _) => "0 B".to_owned(),
        (Some(bytes), Some(time)) => format!("{}, {}", bytes_text(bytes), short_span(time)),
        (Some(bytes), None) => format!("{}, unknown", bytes_text(bytes)),
    }
}

/// A span that is not called nothing when it is less than a second.
fn short_span(span: Duration) -> String {
    if span < Duration::from_secs(2) { format!("{} ms", span.as_millis()) } else { duration_text(span) }
}

fn source_text(facts: &ReplicationFacts) -> String {
    match facts.standby().map(|standby| standby.source.as_ref().map(WalSource::code)) {
        None => "-".to_owned(),
        Some(source) => source.unwrap_or("unknown").to_owned(),
    }
}

/// Lines for a shell: what must not be left from before, and where to connect.
pub(super) fn shell_lines(settings: &HandedOnSettings) -> String {
    let variables = settings.variables();
    let stale = HandedOnSettings::choosing_variables().filter(|name| variables.iter().all(|(set, _)| set != name));
    let mut text = format!("unset {}\n", stale.collect::<Vec<_>>().join(" "));
    for (name, value) in variables {
        let _ = writeln!(text, "export {name}={}", shell_quote(value));
    }
    text
}
