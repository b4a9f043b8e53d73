//! The choice: a pure function of what the nodes said.
//!
//! INVARIANT: the order in which nodes are named does not matter. What is not known is never zero, and never good.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::{
    Choice, Difference, Policy, Preference, Probe, Purpose, Reason, Reference, ReplicationLag, Survey, Trouble,
    Verdict, WithoutPrimary,
};
use crate::pg::{Lsn, SystemIdentifier, TimelineId};
use crate::server::{ConflictLimit, ReplayPause, ReplicationFacts, ReplicationRole, StandbyFacts, WalSource};

/// Judges every node, and ranks those that will do.
pub fn choose(survey: &Survey, policy: &Policy) -> Choice {
    let (system_identifier, trouble) = match cluster_of(survey) {
        Ok(system_identifier) => (system_identifier, None),
        Err(trouble) => (None, Some(trouble)),
    };
    let members: Vec<Member<'_>> = survey
        .probes
        .iter()
        .filter_map(|probe| Some((probe, probe.facts()?)))
        .filter(|(_, facts)| system_identifier.is_some() && facts.system_identifier == system_identifier)
        .collect();
    let primaries = primaries(&members);
    let trouble = trouble.or_else(|| contradiction(&members, &primaries));
    let timeline = match primaries.as_slice() {
        [(_, facts)] => facts.timeline,
        _ => members.iter().filter_map(|(_, facts)| facts.timeline).max(),
    };
    let reference = reference(&members, &primaries, timeline);
    let is_missed = policy.without_primary == WithoutPrimary::Refuse && primaries.is_empty();
    let trouble = trouble.or_else(|| is_missed.then_some(Trouble::NoPrimary));
    let scene = Scene { policy, system_identifier, timeline, reference: reference.as_ref() };
    let mut verdicts: Vec<Verdict> = survey.probes.iter().map(|probe| scene.judge(probe)).collect();
    let ranking = if trouble.is_some() { Vec::new() } else { scene.rank(survey, &verdicts) };
    scene.tell_outranked(survey, &ranking, &mut verdicts);
    Choice { system_identifier, timeline, reference, trouble, ranking, verdicts }
}

/// A node of the cluster that is meant, and what it said.
type Member<'s> = (&'s Probe, &'s ReplicationFacts);

/// Which cluster is meant: the one that is known beforehand, else that of more than half of the nodes that say theirs.
fn cluster_of(survey: &Survey) -> Result<Option<SystemIdentifier>, Trouble> {
    if !survey.is_anybody_there() {
        return Err(Trouble::NothingReachable);
    }
    if survey.expected.is_some() {
        return Ok(survey.expected);
    }
    let mut clusters: BTreeMap<SystemIdentifier, Vec<String>> = BTreeMap::new();
    for probe in &survey.probes {
        if let Some(identifier) = probe.facts().and_then(|facts| facts.system_identifier) {
            clusters.entry(identifier).or_default().push(probe.node.name.clone());
        }
    }
    let told: usize = clusters.values().map(Vec::len).sum();
    if let Some((identifier, _)) = clusters.iter().find(|(_, nodes)| nodes.len() * 2 > told) {
        return Ok(Some(*identifier));
    }
    if clusters.is_empty() {
        return Ok(None);
    }
    clusters.values_mut().for_each(|nodes| nodes.sort());
    Err(Trouble::SeveralClusters { clusters })
}

/// The primaries, each once: a server that was named twice is one.
fn primaries<'s>(members: &[Member<'s>]) -> Vec<Member<'s>> {
    let mut primaries: Vec<(Lsn, Member<'s>)> = members
        .iter()
        .filter_map(|member| match member.1.role {
            ReplicationRole::Primary { current } => Some((current, *member)),
            ReplicationRole::Standby(_) => None,
        })
        .collect();
    // What was read last of a server counts.
    primaries.sort_by_key(|(current, (probe, facts))| (facts.started, Reverse(*current), &probe.node.name));
    primaries.dedup_by_key(|(_, (_, facts))| facts.started);
    primaries.into_iter().map(|(_, member)| member).collect()
}

/// What cannot be true of one cluster: two primaries, or a standby on a later timeline than the only one.
fn contradiction(members: &[Member<'_>], primaries: &[Member<'_>]) -> Option<Trouble> {
    let (probe, facts) = match primaries {
        [] => return None,
        [only] => only,
        several => {
            let mut nodes: Vec<_> =
                several.iter().map(|(probe, facts)| (probe.node.name.clone(), facts.timeline)).collect();
            nodes.sort();
            return Some(Trouble::TwoPrimaries { nodes });
        }
    };
    let is_later = |(_, other): &&Member<'_>| facts.timeline.is_some() && other.timeline > facts.timeline;
    let mut later: Vec<_> = members.iter().filter(is_later).map(|(probe, _)| probe.node.name.clone()).collect();
    later.sort();
    (!later.is_empty()).then(|| Trouble::OldPrimary { node: probe.node.name.clone(), later })
}

/// The primary's position, else the highest one that any node on the timeline has.
fn reference(members: &[Member<'_>], primaries: &[Member<'_>], timeline: Option<TimelineId>) -> Option<Reference> {
    match primaries {
        [] => {}
        [(probe, facts)] => {
            let ReplicationRole::Primary { current: lsn } = facts.role else { return None };
            let answer = probe.outcome.as_ref().ok();
            let earlier = answer.and_then(|answer| answer.earlier);
            let readings = answer.map(|answer| answer.readings.clone()).unwrap_or_default();
            return Some(Reference::Primary { node: probe.node.name.clone(), lsn, now: facts.now, earlier, readings });
        }
        _ => return None,
    }
    let on_timeline = members.iter().filter(|(_, facts)| timeline.is_some() && facts.timeline == timeline);
    let furthest = on_timeline.filter_map(|(probe, facts)| Some((facts.standby()?.furthest()?, &probe.node.name)));
    let highest = furthest.max_by_key(|(lsn, name)| (*lsn, Reverse(*name)))?;
    Some(Reference::HighestReceived { node: highest.1.clone(), lsn: highest.0 })
}

/// All that a node is judged by.
struct Scene<'a> {
    policy: &'a Policy,
    system_identifier: Option<SystemIdentifier>,
    timeline: Option<TimelineId>,
    reference: Option<&'a Reference>,
}

impl Scene<'_> {
    fn judge(&self, probe: &Probe) -> Verdict {
        let (facts, place) = match &probe.outcome {
            Ok(answer) => (&answer.facts, answer.place),
            Err(unreachable) => {
                let reasons = vec![Reason::Unreachable(unreachable.problem.clone())];
                return Verdict { reasons, ..Verdict::default() };
            }
        };
        if let Some(reason) = self.other_history(facts) {
            return Verdict { reasons: vec![reason], ..Verdict::default() };
        }
        let lag = self.lag(facts, place);
        let mut reasons = Vec::new();
        match &facts.role {
            ReplicationRole::Primary { .. } if self.policy.preference == Preference::StandbyOnly => {
                reasons.push(Reason::Primary);
            }
            ReplicationRole::Primary { .. } => {}
            ReplicationRole::Standby(standby) => {
                reasons.extend(self.ahead(standby, place).into_iter().chain(held_back(standby)))
            }
        }
        reasons.extend(self.unfit(facts));
        reasons.extend(self.too_far(lag));
        Verdict { lag, qualifies: reasons.is_empty(), reasons }
    }

    /// What makes a node no part of the history that is meant.
    fn other_history(&self, facts: &ReplicationFacts) -> Option<Reason> {
        let Some(found) = facts.system_identifier else { return Some(Reason::Unknown("its system identifier")) };
        match self.system_identifier {
            Some(expected) if expected != found => return Some(Reason::OtherCluster { found, expected }),
            Some(_) => {}
            None => return Some(Reason::NothingChosen),
        }
        match (facts.timeline, self.timeline) {
            (Some(found), Some(expected)) if found == expected => None,
            (Some(found), Some(expected)) => Some(Reason::OtherTimeline { found, expected }),
            _ => Some(Reason::Unknown("its timeline")),
        }
    }

    fn lag(&self, facts: &ReplicationFacts, place: usize) -> ReplicationLag {
        let standby = match &facts.role {
            ReplicationRole::Primary { .. } => {
                return ReplicationLag { bytes: Some(0), time: Some(Duration::ZERO) };
            }
            ReplicationRole::Standby(standby) => standby,
        };
        let (Some(reference), Some(replayed)) = (self.reference, standby.replayed) else {
            return ReplicationLag::default();
        };
        let Some(bytes) = reference.lsn_after(place).distance_from(replayed) else {
            return ReplicationLag::default();
        };
        let (now, earlier) = match reference {
            Reference::Primary { now, earlier, .. } => {
                (reference.reading_after(place).map_or(*now, |reading| reading.now), *earlier)
            }
            Reference::HighestReceived { .. } => (facts.now, None),
        };
        // Clocks that disagree tell nothing.
        let since = |time: Timestamp| Duration::try_from(now.duration_since(time)).ok();
        let by_commit = standby.last_commit.and_then(since);
        // Whoever has all that was written until then lacks only what is younger: so a record that is written just now
        // does not make an idle server as late as its last commit is old.
        let by_position = earlier.filter(|earlier| replayed >= earlier.lsn).and_then(|earlier| since(earlier.now));
        let time = match bytes {
            0 => Some(Duration::ZERO),
            _ => by_commit.into_iter().chain(by_position).min(),
        };
        ReplicationLag { bytes: Some(bytes), time }
    }

    /// A standby cannot have replayed what its primary, which was asked later, has not written: that is another history.
    fn ahead(&self, standby: &StandbyFacts, place: usize) -> Option<Reason> {
        let (found, primary) = (standby.replayed?, self.reference?.lsn_after(place));
        (found > primary).then_some(Reason::AheadOfPrimary { found, primary })
    }

    /// What speaks against the purpose.
    fn unfit(&self, facts: &ReplicationFacts) -> Vec<Reason> {
        match self.policy.purpose {
            Purpose::Read => Vec::new(),
            Purpose::Dump => facts.standby().and_then(|standby| cancels(facts, standby)).into_iter().collect(),
            Purpose::Backup => {
                let settings = &facts.settings;
                let pages = match (facts.is_primary(), settings.full_page_writes) {
                    // A primary turns them on for the backup.
                    (true, _) | (false, Some(true)) => None,
                    (false, Some(false)) => Some(Reason::NoFullPages),
                    (false, None) => Some(Reason::Unknown("whether the WAL holds full pages")),
                };
                let minimal = settings.wal_level.as_deref() == Some("minimal");
                let level = minimal.then_some(Reason::MinimalWal);
                let senders = (facts.senders_left == Some(0)).then_some(Reason::NoSenderLeft);
                [pages, level, senders].into_iter().flatten().collect()
            }
        }
    }

    /// What speaks against the lag.
    fn too_far(&self, lag: ReplicationLag) -> Vec<Reason> {
        let bytes = self.policy.max_lag.and_then(|limit| match lag.bytes {
            Some(found) => (found > limit).then_some(Reason::LagBytes { found, limit }),
            None => Some(Reason::Unknown("how far it is")),
        });
        let time = self.policy.max_lag_time.and_then(|limit| match lag.time {
            Some(found) => (found > limit).then_some(Reason::LagTime { found, limit }),
            None => Some(Reason::NoCommitTime),
        });
        bytes.into_iter().chain(time).collect()
    }

    fn rank(&self, survey: &Survey, verdicts: &[Verdict]) -> Vec<usize> {
        let all = survey.probes.iter().zip(verdicts).enumerate();
        let qualified = all.filter(|(_, (_, verdict))| verdict.qualifies);
        let mut ranked: Vec<_> =
            qualified.map(|(index, (probe, verdict))| (self.order(probe, verdict), index)).collect();
        ranked.sort();
        ranked.into_iter().map(|(_, index)| index).collect()
    }

    fn order<'p>(&self, probe: &'p Probe, verdict: &Verdict) -> Order<'p> {
        let is_primary = probe.facts().is_some_and(ReplicationFacts::is_primary);
        Order {
            other_role: match self.policy.preference {
                Preference::Standby | Preference::StandbyOnly => is_primary,
                Preference::Primary => !is_primary,
                Preference::Any => false,
            },
            other_zone: self.policy.zone.is_some() && probe.node.zone != self.policy.zone,
            lag: (verdict.lag.bytes.is_none(), verdict.lag.bytes),
            priority: Reverse(probe.node.priority),
            name: &probe.node.name,
        }
    }

    /// Says of every node that would do why it is not the chosen one.
    fn tell_outranked(&self, survey: &Survey, ranking: &[usize], verdicts: &mut [Verdict]) {
        let chosen = ranking.first().and_then(|first| Some((*first, survey.probes.get(*first)?)));
        let best = chosen.and_then(|(first, probe)| Some((first, probe, self.order(probe, verdicts.get(first)?))));
        for (index, (probe, verdict)) in survey.probes.iter().zip(verdicts).enumerate() {
            match &best {
                _ if !verdict.qualifies => {}
                None => verdict.reasons.push(Reason::NothingChosen),
                Some((first, _, _)) if *first == index => {}
                Some((_, by, order)) => {
                    let difference = order.difference(&self.order(probe, verdict));
                    verdict.reasons.push(Reason::Outranked { by: by.node.name.clone(), difference });
                }
            }
        }
    }
}

/// What decides between nodes that will do; less is better.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Order<'a> {
    other_role: bool,
    other_zone: bool,
    lag: (bool, Option<u64>),
    priority: Reverse<i32>,
    name: &'a str,
}

impl Order<'_> {
    fn difference(&self, other: &Self) -> Difference {
        if self.other_role != other.other_role {
            Difference::Role
        } else if self.other_zone != other.other_zone {
            Difference::Zone
        } else if self.lag != other.lag {
            Difference::Lag
        } else if self.priority != other.priority {
            Difference::Priority
        } else {
            Difference::Name
        }
    }
}

/// What holds the replay of a standby back on purpose.
fn held_back(standby: &StandbyFacts) -> Vec<Reason> {
    let pause = match standby.pause {
        Some(ReplayPause::NotPaused) => None,
        Some(ReplayPause::Requested | ReplayPause::Paused) => Some(Reason::Paused),
        None => Some(Reason::Unknown("whether replay is paused")),
    };
    let delay = match standby.apply_delay {
        Some(Duration::ZERO) => None,
        Some(delay) => Some(Reason::Delayed(delay)),
        None => Some(Reason::Unknown("whether replay is delayed")),
    };
    pause.into_iter().chain(delay).collect()
}

/// Whether replay cancels long queries: feedback protects them while WAL is streamed, and only then.
fn cancels(facts: &ReplicationFacts, standby: &StandbyFacts) -> Option<Reason> {
    let settings = &facts.settings;
    let (limit, setting) = match &standby.source {
        Some(WalSource::Receiver(receiver))
            if settings.hot_standby_feedback == Some(true) && receiver.is_streaming != Some(false) =>
        {
            return None;
        }
        Some(WalSource::Receiver(_)) => (settings.streaming_conflicts, "max_standby_streaming_delay"),
        _ => (settings.archive_conflicts, "max_standby_archive_delay"),
    };
    match limit {
        Some(ConflictLimit::Never) => None,
        Some(ConflictLimit::After(after)) => Some(Reason::CancelsQueries { setting, after }),
        None => Some(Reason::Unknown("whether queries are cancelled")),
    }
}
