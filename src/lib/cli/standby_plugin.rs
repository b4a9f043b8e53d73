//! The answer of `pgv-standby --nagios`: one line, from the choice and from the lag of every standby.

use std::time::Duration;

use super::printer::escaped;
use super::size::{bytes_text, duration_text};
use super::standby::Seen;
use crate::check::CheckState;
use crate::standby::{Probe, Reason, Reference, ReplicationLag, StandbyError, Verdict};

/// A lag from which on something is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LagThreshold {
    Bytes(u64),
    Time(Duration),
}

impl LagThreshold {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if let Some(span) = text.parse::<jiff::SignedDuration>().ok().and_then(|span| Duration::try_from(span).ok()) {
            return Ok(Self::Time(span));
        }
        let size = text.parse::<bytesize::ByteSize>().map(|size| Self::Bytes(size.as_u64()));
        size.map_err(|_| "expected a size such as \"16MB\" or a time span such as \"5min\"".to_owned())
    }

    /// Whether a lag has reached it; an unknown one is not known to be below.
    fn is_reached(self, lag: ReplicationLag) -> bool {
        match self {
            Self::Bytes(limit) => lag.bytes.is_none_or(|bytes| bytes >= limit),
            Self::Time(limit) => lag.time.is_none_or(|time| time >= limit),
        }
    }

    /// Whether a warning at this lag would always be critical.
    pub(super) fn is_above(self, critical: Self) -> bool {
        match (self, critical) {
            (Self::Bytes(warn), Self::Bytes(critical)) => warn > critical,
            (Self::Time(warn), Self::Time(critical)) => warn > critical,
            _ => false,
        }
    }

    fn number(self, wanted_bytes: bool) -> String {
        match (self, wanted_bytes) {
            (Self::Bytes(bytes), true) => bytes.to_string(),
            (Self::Time(time), false) => time.as_secs_f64().to_string(),
            _ => String::new(),
        }
    }
}

/// The line, and the state that the status follows.
pub(super) fn answer(seen: &Seen, warn: Option<LagThreshold>, critical: Option<LagThreshold>) -> (String, CheckState) {
    let probes = || seen.survey.probes.iter().zip(&seen.choice.verdicts);
    let judged: Vec<(CheckState, String)> =
        probes().filter_map(|(probe, verdict)| judge(probe, verdict, warn, critical)).collect();
    let chosen = seen.choice.chosen().and_then(|index| seen.survey.probes.get(index));
    let (choice_state, choice) = match chosen {
        Some(probe) => (CheckState::Ok, format!("\"{}\" is chosen", probe.node.name)),
        None => match StandbyError::of(&seen.survey, &seen.choice) {
            // What is wrong with each node follows.
            StandbyError::NoneQualifies { .. } => (CheckState::Critical, "no node qualifies".to_owned()),
            StandbyError::NothingReachable { .. } => (CheckState::Critical, "no node answers".to_owned()),
            error @ StandbyError::Trouble { .. } => (CheckState::Critical, error.to_string()),
        },
    };
    let state = judged.iter().map(|(state, _)| *state).fold(choice_state, CheckState::max);
    let is_primary_missed = matches!(seen.choice.reference, Some(Reference::HighestReceived { .. }));
    let reference = is_primary_missed.then(|| "no primary answers".to_owned());
    let judged = judged.into_iter().map(|(_, text)| text);
    let said: Vec<String> = std::iter::once(choice).chain(reference).chain(judged).collect();
    let numbers: Vec<String> = probes().flat_map(|(probe, verdict)| numbers(probe, verdict, warn, critical)).collect();
    // A bar begins the numbers, wherever it stands.
    let said = escaped(&said.join("; ")).replace('|', "/");
    (format!("PGV STANDBY {} - {said} | {}\n", state.word().to_uppercase(), numbers.join(" ")), state)
}

/// What is wrong with one node, if anything.
fn judge(
    probe: &Probe,
    verdict: &Verdict,
    warn: Option<LagThreshold>,
    critical: Option<LagThreshold>,
) -> Option<(CheckState, String)> {
    let name = &probe.node.name;
    let is_standby = probe.facts().is_some_and(|facts| !facts.is_primary());
    let is_delayed = verdict.reasons.iter().any(|reason| matches!(reason, Reason::Delayed(_)));
    let harmless = |reason: &&Reason| {
        matches!(reason, Reason::Outranked { .. } | Reason::NothingChosen | Reason::Primary | Reason::Delayed(_))
    };
    let wrong: Vec<String> =
        verdict.reasons.iter().filter(|reason| !harmless(reason)).map(ToString::to_string).collect();
    // One that is delayed on purpose lags on purpose.
    if is_standby && !is_delayed {
        for (limit, state) in [(critical, CheckState::Critical), (warn, CheckState::Warning)] {
            if limit.is_some_and(|limit| limit.is_reached(verdict.lag)) {
                let more = wrong.iter().map(|reason| format!(", {reason}")).collect::<String>();
                return Some((state, format!("\"{name}\" lags by {}{more}", lag_text(verdict.lag))));
            }
        }
    }
    (!wrong.is_empty()).then(|| (CheckState::Warning, format!("\"{name}\": {}", wrong.join(", "))))
}

fn lag_text(lag: ReplicationLag) -> String {
    let bytes = lag.bytes.map_or_else(|| "an unknown number of bytes".to_owned(), bytes_text);
    let time = lag.time.map_or_else(|| "an unknown time".to_owned(), duration_text);
    format!("{bytes}, {time}")
}

fn numbers(
    probe: &Probe,
    verdict: &Verdict,
    warn: Option<LagThreshold>,
    critical: Option<LagThreshold>,
) -> Vec<String> {
    if probe.facts().is_none_or(crate::server::ReplicationFacts::is_primary) {
        return Vec::new();
    }
    let limit = |limit: Option<LagThreshold>, bytes| limit.map(|limit| limit.number(bytes)).unwrap_or_default();
    // A quote ends the name of a number, and "=" its label.
    let name = escaped(&probe.node.name).replace(['\'', '=', '|'], "_");
    let bytes = verdict
        .lag
        .bytes
        .map(|lag| format!("'lag_bytes_{name}'={lag}B;{};{}", limit(warn, true), limit(critical, true)));
    let time = verdict.lag.time.map(|lag| {
        format!("'lag_seconds_{name}'={}s;{};{}", lag.as_secs_f64(), limit(warn, false), limit(critical, false))
    });
    bytes.into_iter().chain(time).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_is_a_span_or_a_size() {
        assert_eq!(LagThreshold::parse("5m"), Ok(LagThreshold::Time(Duration::from_secs(300))));
        assert_eq!(LagThreshold::parse("30s"), Ok(LagThreshold::Time(Duration::from_secs(30))));
        assert_eq!(LagThreshold::parse("16MB"), Ok(LagThreshold::Bytes(16_000_000)));
        assert_eq!(LagThreshold::parse("4096"), Ok(LagThreshold::Bytes(4096)));
        assert!(LagThreshold::parse("much").is_err());
    }

    #[test]
    fn an_unknown_lag_is_not_below_any_threshold() {
        let known = ReplicationLag { bytes: Some(9), time: None };
        assert!(!LagThreshold::Bytes(10).is_reached(known));
        assert!(LagThreshold::Bytes(9).is_reached(known));
        assert!(LagThreshold::Time(Duration::from_secs(1)).is_reached(known));
        assert!(LagThreshold::Bytes(10).is_reached(ReplicationLag::default()));
    }
}
