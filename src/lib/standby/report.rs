//! A survey and its choice as a stable schema: fields are only ever added.

use jiff::Timestamp;
use serde::Serialize;

use super::{Choice, Probe, Reason, Reference, Survey, Trouble, Verdict};
use crate::pg::Lsn;
use crate::server::conninfo::HostAddress;
use crate::server::{ConflictLimit, Follower, ReplayPause, ReplicationFacts, ReplicationRole, StandbyFacts, WalSource};

/// Version of the schema; grows when something changes its meaning.
pub const SCHEMA_VERSION: u32 = 1;

/// What was found and chosen. Null is "not known", wherever it stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StandbyReport {
    schema_version: u32,
    probed_at: Timestamp,
    /// The name of the chosen node.
    chosen: Option<String>,
    system_identifier: Option<String>,
    timeline: Option<u32>,
    reference: Option<JsonReference>,
    trouble: Option<JsonTrouble>,
    nodes: Vec<JsonNode>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct JsonReference {
    /// `primary`, or `highest_received` when no primary answers.
    kind: &'static str,
    node: String,
    lsn: Lsn,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct JsonTrouble {
    /// `nothing_reachable`, `two_primaries`, `old_primary`, `several_clusters` or `no_primary`.
    kind: &'static str,
    message: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct JsonReason {
    code: &'static str,
    message: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
struct JsonNode {
    name: String,
    zone: Option<String>,
    priority: i32,
    /// A host name, an address or a socket directory.
    host: Option<String>,
    port: Option<u16>,
    reachable: bool,
    probe_seconds: f64,
    qualifies: bool,
    /// From 1; null when it does not qualify.
    rank: Option<usize>,
    reasons: Vec<JsonReason>,
    lag_bytes: Option<u64>,
    lag_seconds: Option<f64>,
    /// `primary` or `standby`.
    role: Option<&'static str>,
    version: Option<u32>,
    system_identifier: Option<String>,
    timeline: Option<u32>,
    clock: Option<Timestamp>,
    current_lsn: Option<Lsn>,
    received_lsn: Option<Lsn>,
    flushed_lsn: Option<Lsn>,
    replayed_lsn: Option<Lsn>,
    last_commit_time: Option<Timestamp>,
    /// `no`, `requested` or `paused`.
    paused: Option<&'static str>,
    apply_delay_seconds: Option<f64>,
    /// `streaming`, `connecting`, `receiver` when its state may not be seen, `archive` or `nothing`.
    source: Option<&'static str>,
    sender: Option<String>,
    /// As the node that it follows sees it.
    followed: Option<JsonFollower>,
    /// Seconds; -1 is "never".
    max_standby_streaming_delay_seconds: Option<f64>,
    max_standby_archive_delay_seconds: Option<f64>,
    hot_standby_feedback: Option<bool>,
    full_page_writes: Option<bool>,
    wal_level: Option<String>,
    connections_left: Option<u32>,
    senders_left: Option<u32>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
struct JsonFollower {
    by: String,
    state: Option<String>,
    sync_state: Option<String>,
    slot: Option<String>,
    slot_wal_status: Option<String>,
    replayed_lsn: Option<Lsn>,
}

impl StandbyReport {
    /// Of a survey at that time.
    pub fn new(survey: &Survey, choice: &Choice, probed_at: Timestamp) -> Self {
        let nodes = survey.probes.iter().zip(&choice.verdicts).enumerate();
        Self {
            schema_version: SCHEMA_VERSION,
            probed_at,
            chosen: choice.chosen().and_then(|index| survey.probes.get(index)).map(|probe| probe.node.name.clone()),
            system_identifier: choice.system_identifier.map(|identifier| identifier.to_string()),
            timeline: choice.timeline.map(crate::pg::TimelineId::get),
            reference: choice.reference.as_ref().map(|reference| JsonReference {
                kind: match reference {
                    Reference::Primary { .. } => "primary",
                    Reference::HighestReceived { .. } => "highest_received",
                },
                node: reference.node().to_owned(),
                lsn: reference.lsn(),
            }),
            trouble: choice.trouble.as_ref().map(|trouble| JsonTrouble {
                kind: match trouble {
                    Trouble::NothingReachable => "nothing_reachable",
                    Trouble::TwoPrimaries { .. } => "two_primaries",
                    Trouble::OldPrimary { .. } => "old_primary",
                    Trouble::SeveralClusters { .. } => "several_clusters",
                    Trouble::NoPrimary => "no_primary",
                },
                message: trouble.to_string(),
            }),
            nodes: nodes
                .map(|(index, (probe, verdict))| {
                    let rank = choice.ranking.iter().position(|ranked| *ranked == index).map(|place| place + 1);
                    JsonNode { rank, ..node(survey, probe, verdict) }
                })
                .collect(),
        }
    }
}

fn node(survey: &Survey, probe: &Probe, verdict: &Verdict) -> JsonNode {
    let reason = |reason: &Reason| JsonReason { code: reason.code(), message: reason.to_string() };
    let judged = JsonNode {
        name: probe.node.name.clone(),
        zone: probe.node.zone.clone(),
        priority: probe.node.priority,
        reachable: probe.outcome.is_ok(),
        probe_seconds: probe.took.as_secs_f64(),
        qualifies: verdict.qualifies,
        reasons: verdict.reasons.iter().map(reason).collect(),
        lag_bytes: verdict.lag.bytes,
        lag_seconds: verdict.lag.time.map(|lag| lag.as_secs_f64()),
        ..JsonNode::default()
    };
    let Ok(answer) = &probe.outcome else { return judged };
    let facts = &answer.facts;
    let limit = |limit: ConflictLimit| match limit {
        ConflictLimit::Never => -1.0,
        ConflictLimit::After(after) => after.as_secs_f64(),
    };
    let answered = JsonNode {
        host: Some(match &answer.server.address {
            HostAddress::Socket(directory) => directory.to_string_lossy().into_owned(),
            HostAddress::Tcp { name, .. } => name.clone(),
        }),
        port: Some(answer.server.port),
        version: facts.version_num,
        system_identifier: facts.system_identifier.map(|identifier| identifier.to_string()),
        timeline: facts.timeline.map(crate::pg::TimelineId::get),
        clock: Some(facts.now),
        followed: follower_of(survey, facts).map(|(by, follower)| JsonFollower {
            by: by.to_owned(),
            state: follower.state.clone(),
            sync_state: follower.sync_state.clone(),
            slot: follower.slot.clone(),
            slot_wal_status: follower.slot_wal_status.clone(),
            replayed_lsn: follower.replayed,
        }),
        max_standby_streaming_delay_seconds: facts.settings.streaming_conflicts.map(limit),
        max_standby_archive_delay_seconds: facts.settings.archive_conflicts.map(limit),
        hot_standby_feedback: facts.settings.hot_standby_feedback,
        full_page_writes: facts.settings.full_page_writes,
        wal_level: facts.settings.wal_level.clone(),
        connections_left: facts.connections_left,
        senders_left: facts.senders_left,
        ..judged
    };
    match &facts.role {
        ReplicationRole::Primary { current } => {
            JsonNode { role: Some("primary"), current_lsn: Some(*current), ..answered }
        }
        ReplicationRole::Standby(standby) => of_standby(standby, answered),
    }
}

fn of_standby(standby: &StandbyFacts, node: JsonNode) -> JsonNode {
    JsonNode {
        role: Some("standby"),
        received_lsn: standby.received,
        flushed_lsn: standby.flushed,
        replayed_lsn: standby.replayed,
        last_commit_time: standby.last_commit,
        paused: standby.pause.map(|pause| match pause {
            ReplayPause::NotPaused => "no",
            ReplayPause::Requested => "requested",
            ReplayPause::Paused => "paused",
        }),
        apply_delay_seconds: standby.apply_delay.map(|delay| delay.as_secs_f64()),
        source: standby.source.as_ref().map(WalSource::code),
        sender: standby.receiver().and_then(|receiver| receiver.sender.clone()),
        ..node
    }
}

/// How the node that a standby follows sees it: by its slot, else by its name where that is the only one.
pub fn follower_of<'s>(survey: &'s Survey, facts: &ReplicationFacts) -> Option<(&'s str, &'s Follower)> {
    let receiver = facts.standby()?.receiver()?;
    let same_cluster = survey.probes.iter().filter_map(|probe| Some((probe, probe.facts()?)));
    let same_cluster = same_cluster.filter(|(_, other)| other.system_identifier == facts.system_identifier);
    let followers: Vec<(&str, &Follower)> = same_cluster
        .flat_map(|(probe, other)| other.followers.iter().map(|follower| (probe.node.name.as_str(), follower)))
        .collect();
    let only = |is_it: &dyn Fn(&Follower) -> bool| {
        let mut found = followers.iter().filter(|(_, follower)| is_it(follower));
        found.next().filter(|_| found.next().is_none()).copied()
    };
    let by_slot = receiver.slot.as_ref().and_then(|slot| only(&|follower| follower.slot.as_ref() == Some(slot)));
    let name = receiver.application_name.as_ref();
    by_slot.or_else(|| name.and_then(|name| only(&|follower| follower.application_name.as_ref() == Some(name))))
}

#[cfg(test)]
mod tests {
    /// Whoever reads the JSON finds each word that it may meet.
    #[test]
    fn every_code_is_documented() {
        let document = include_str!("../../../docs/json.md");
        let section = document.split("\n## ").find(|section| section.starts_with("pgv-standby\n")).unwrap();
        let mut codes = 0;
        for source in [include_str!("report.rs"), include_str!("reason.rs")] {
            let arms = source.lines().filter_map(|line| line.trim().strip_suffix("\",")?.split_once(" => \""));
            // Sentences are for people.
            for (variant, code) in arms.filter(|(_, code)| !code.contains(' ')) {
                assert!(section.contains(&format!("`{code}`")), "{variant} is \"{code}\", which docs/json.md has not");
                codes += 1;
            }
        }
        assert!(codes > 20, "{codes}");
    }
}
