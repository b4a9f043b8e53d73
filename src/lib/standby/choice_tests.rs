//! The choice over made surveys: the table of what speaks against a node, and what holds for any survey.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::survey::{Answer, Unreachable};
use super::*;
use crate::error::ErrorClass;
use crate::pg::{Lsn, SystemIdentifier, TimelineId};
use crate::server::conninfo::{HostAddress, ServerHost};
use crate::server::{
    ConflictLimit, PrimaryPosition, ReplayPause, ReplicationFacts, ReplicationRole, ReplicationSettings, StandbyFacts,
    WalReceiver, WalSource,
};

const NOW: &str = "2026-11-20T14:30:00Z";
const END: u64 = 1_000_000;

fn identifier(number: u64) -> Option<SystemIdentifier> {
    SystemIdentifier::new(number)
}

fn facts(role: ReplicationRole) -> ReplicationFacts {
    ReplicationFacts {
        version_num: Some(150_000),
        system_identifier: identifier(1),
        timeline: TimelineId::new(2),
        started: "2026-11-01T00:00:00Z".parse().unwrap(),
        now: NOW.parse().unwrap(),
        role,
        followers: Vec::new(),
        settings: ReplicationSettings {
            streaming_conflicts: Some(ConflictLimit::After(Duration::from_secs(30))),
            archive_conflicts: Some(ConflictLimit::After(Duration::from_secs(30))),
            hot_standby_feedback: Some(true),
            full_page_writes: Some(true),
            wal_level: Some("replica".to_owned()),
        },
        connections_left: Some(90),
        senders_left: Some(9),
    }
}

fn primary() -> ReplicationFacts {
    facts(ReplicationRole::Primary { current: Lsn::new(END).unwrap() })
}

/// Primary 0 is the server of [`primary`], every other one another.
fn primary_number(number: i64) -> ReplicationFacts {
    let facts = primary();
    ReplicationFacts { started: facts.started + SignedDuration::from_micros(number), ..facts }
}

/// A standby so many bytes behind, whose last commit is so many seconds old.
fn behind(bytes: u64, seconds: i64) -> ReplicationFacts {
    let now: Timestamp = NOW.parse().unwrap();
    facts(ReplicationRole::Standby(StandbyFacts {
        received: Lsn::new(END - bytes),
        flushed: Lsn::new(END - bytes),
        replayed: Lsn::new(END - bytes),
        last_commit: now.checked_sub(SignedDuration::from_secs(seconds)).ok(),
        pause: Some(ReplayPause::NotPaused),
        apply_delay: Some(Duration::ZERO),
        source: Some(WalSource::Receiver(WalReceiver { is_streaming: Some(true), ..WalReceiver::default() })),
    }))
}

/// The same with something changed.
fn changed(change: impl FnOnce(&mut ReplicationFacts, &mut StandbyFacts)) -> ReplicationFacts {
    let mut facts = behind(0, 0);
    let ReplicationRole::Standby(mut standby) = facts.role.clone() else { unreachable!() };
    change(&mut facts, &mut standby);
    facts.role = ReplicationRole::Standby(standby);
    facts
}

fn probe(name: &str, facts: Option<ReplicationFacts>) -> Probe {
    let server = ServerHost { address: HostAddress::Socket("/run".into()), port: 5432 };
    Probe {
        node: NodeLabel { name: name.to_owned(), zone: None, priority: 0 },
        took: Duration::ZERO,
        outcome: match facts {
            Some(facts) => Ok(Answer { facts, server, database: None, place: 0, earlier: None, readings: Vec::new() }),
            None => Err(Unreachable { problem: "no answer".to_owned(), class: ErrorClass::TimedOut }),
        },
    }
}

fn survey(nodes: Vec<(&str, Option<ReplicationFacts>)>) -> Survey {
    Survey { expected: None, probes: nodes.into_iter().map(|(name, facts)| probe(name, facts)).collect() }
}

fn chosen<'s>(survey: &'s Survey, policy: &Policy) -> Option<&'s str> {
    choose(survey, policy).chosen().map(|index| survey.probes[index].node.name.as_str())
}

fn codes(choice: &Choice, index: usize) -> Vec<&'static str> {
    choice.verdicts[index].reasons.iter().map(Reason::code).collect()
}

/// Rows: what is wrong with the one standby, the codes. The primary is chosen in its place.
#[test]
fn what_speaks_against_a_standby_is_named() {
    let megabyte = Policy { max_lag: Some(1_000), max_lag_time: Some(Duration::from_secs(30)), ..Policy::default() };
    for (standby, expected) in [
        (changed(|facts, _| facts.system_identifier = identifier(2)), &["other_cluster"][..]),
        (changed(|facts, _| facts.system_identifier = None), &["unknown"]),
        (changed(|facts, _| facts.timeline = TimelineId::new(1)), &["other_timeline"]),
        (changed(|facts, _| facts.timeline = None), &["unknown"]),
        (
            changed(|_, standby| standby.replayed = Lsn::new(END + 1)),
            &["ahead_of_primary", "unknown", "no_commit_time"],
        ),
        (changed(|_, standby| standby.pause = Some(ReplayPause::Paused)), &["paused"]),
        (changed(|_, standby| standby.pause = Some(ReplayPause::Requested)), &["paused"]),
        (changed(|_, standby| standby.pause = None), &["unknown"]),
        (changed(|_, standby| standby.apply_delay = Some(Duration::from_secs(1))), &["delayed"]),
        (changed(|_, standby| standby.apply_delay = None), &["unknown"]),
        (changed(|_, standby| standby.replayed = None), &["unknown", "no_commit_time"]),
        (behind(1_001, 5), &["lag_bytes"]),
        (behind(1_001, 31), &["lag_bytes", "lag_time"]),
        (behind(1, 31), &["lag_time"]),
        // A commit of the future: the clocks disagree.
        (behind(1, -5), &["no_commit_time"]),
    ] {
        let mut nodes = survey(vec![("p", Some(primary())), ("s", Some(standby.clone()))]);
        nodes.expected = identifier(1);
        let choice = choose(&nodes, &megabyte);
        assert_eq!(codes(&choice, 1), expected, "{standby:?}");
        assert_eq!(choice.chosen(), Some(0), "{standby:?}");
        let only = Policy { preference: Preference::StandbyOnly, ..megabyte.clone() };
        assert_eq!(choose(&nodes, &only).chosen(), None, "{standby:?}");
    }
}

#[test]
fn without_a_limit_what_is_behind_will_do_and_what_is_unknown_comes_last() {
    let unknown = changed(|_, standby| standby.replayed = None);
    let nodes = survey(vec![("a", Some(unknown)), ("b", Some(behind(5_000, 90))), ("p", Some(primary()))]);
    let choice = choose(&nodes, &Policy::default());
    assert_eq!(choice.ranking, [1, 0, 2]);
    assert_eq!(choice.verdicts[0].lag, ReplicationLag::default());
    assert_eq!(choice.verdicts[1].lag.bytes, Some(5_000));
    assert_eq!(choice.verdicts[1].lag.time, Some(Duration::from_secs(90)));
}

#[test]
fn an_idle_standby_is_not_late_however_old_its_last_commit_is() {
    let nodes = survey(vec![("p", Some(primary())), ("s", Some(behind(0, 86_400)))]);
    let policy = Policy { max_lag_time: Some(Duration::from_secs(1)), ..Policy::default() };
    assert_eq!(chosen(&nodes, &policy), Some("s"));
}

/// A record that the primary writes between its two answers: what is missing is younger than the first.
#[test]
fn who_has_replayed_what_the_primary_had_at_first_lacks_only_what_is_younger() {
    let now: Timestamp = NOW.parse().unwrap();
    let time = |standby: ReplicationFacts, earlier: u64| {
        let mut nodes = survey(vec![("p", Some(primary())), ("s", Some(standby))]);
        let position = PrimaryPosition { lsn: Lsn::new(earlier).unwrap(), now: now - SignedDuration::from_millis(40) };
        nodes.probes[0].outcome.as_mut().unwrap().earlier = Some(position);
        choose(&nodes, &Policy::default()).verdicts[1].lag.time
    };
    let unknown = || {
        let mut facts = behind(300, 0);
        let ReplicationRole::Standby(standby) = &mut facts.role else { unreachable!() };
        standby.last_commit = None;
        facts
    };
    assert_eq!(time(behind(300, 3_600), END - 300), Some(Duration::from_millis(40)));
    assert_eq!(time(unknown(), END - 300), Some(Duration::from_millis(40)));
    assert_eq!(time(behind(300, 3_600), END - 299), Some(Duration::from_secs(3_600)));
    assert_eq!(time(unknown(), END - 299), None);
    assert_eq!(time(behind(300, 0), END - 300), Some(Duration::ZERO));
}

/// A node that is far away answers a second later, and the primary has written a lot meanwhile.
#[test]
fn what_is_written_while_others_are_waited_for_is_no_lag() {
    let now: Timestamp = NOW.parse().unwrap();
    let mut nodes = survey(vec![("p", Some(primary())), ("near", Some(behind(900, 9))), ("far", Some(behind(0, 0)))]);
    let reading = |after, bytes: u64, seconds| Reading {
        after,
        position: PrimaryPosition {
            lsn: Lsn::new(END - bytes).unwrap(),
            now: now - SignedDuration::from_secs(seconds),
        },
    };
    for (index, place) in [(1, 1), (2, 2)] {
        nodes.probes[index].outcome.as_mut().unwrap().place = place;
    }
    // The first was begun before any answer: it understates.
    nodes.probes[0].outcome.as_mut().unwrap().readings =
        vec![reading(0, 950, 3), reading(1, 890, 2), reading(1, 500, 1), reading(2, 0, 0)];
    let choice = choose(&nodes, &Policy { max_lag: Some(10), ..Policy::default() });
    let near = ReplicationLag { bytes: Some(10), time: Some(Duration::from_secs(7)) };
    assert_eq!(choice.verdicts[1].lag, near);
    assert_eq!(choice.verdicts[2].lag, ReplicationLag { bytes: Some(0), time: Some(Duration::ZERO) });
    assert_eq!(choice.ranking, [2, 1, 0]);
    assert_eq!(choice.reference.map(|reference| reference.lsn()), Lsn::new(END));
}

#[test]
fn role_zone_lag_priority_and_name_decide_in_this_order() {
    let decided = |policy: &Policy, change: &dyn Fn(&mut Vec<Probe>)| {
        let mut nodes = survey(vec![("a", Some(behind(10, 1))), ("b", Some(behind(10, 1))), ("c", Some(primary()))]);
        change(&mut nodes.probes);
        let choice = choose(&nodes, policy);
        let first = choice.chosen().map(|index| nodes.probes[index].node.name.clone()).unwrap();
        let loser = if first == "a" { 1 } else { 0 };
        (first, choice.verdicts[loser].reasons.clone())
    };
    let outranked = |by: &str, difference| vec![Reason::Outranked { by: by.to_owned(), difference }];
    let policy = Policy::default();
    assert_eq!(decided(&policy, &|_| {}), ("a".to_owned(), outranked("a", Difference::Name)));
    let by_priority = |probes: &mut Vec<Probe>| probes[1].node.priority = 1;
    assert_eq!(decided(&policy, &by_priority), ("b".to_owned(), outranked("b", Difference::Priority)));
    let by_lag = |probes: &mut Vec<Probe>| {
        probes[0].node.priority = 9;
        probes[1] = probe("b", Some(behind(9, 1)));
    };
    assert_eq!(decided(&policy, &by_lag), ("b".to_owned(), outranked("b", Difference::Lag)));
    let by_zone = |probes: &mut Vec<Probe>| {
        by_lag(probes);
        probes[0].node.zone = Some("here".to_owned());
    };
    let here = Policy { zone: Some("here".to_owned()), ..Policy::default() };
    assert_eq!(decided(&here, &by_zone), ("a".to_owned(), outranked("a", Difference::Zone)));
    let primary = Policy { preference: Preference::Primary, zone: Some("here".to_owned()), ..Policy::default() };
    assert_eq!(decided(&primary, &by_zone), ("c".to_owned(), outranked("c", Difference::Role)));
    let any = Policy { preference: Preference::Any, ..Policy::default() };
    assert_eq!(decided(&any, &|_| {}), ("c".to_owned(), outranked("c", Difference::Lag)));
}

#[test]
fn each_purpose_has_its_own_checks() {
    let judged = |purpose, standby: ReplicationFacts| {
        let nodes = survey(vec![("p", Some(primary())), ("s", Some(standby))]);
        codes(&choose(&nodes, &Policy { purpose, preference: Preference::StandbyOnly, ..Policy::default() }), 1)
    };
    let no_pages = || changed(|facts, _| facts.settings.full_page_writes = Some(false));
    assert_eq!(judged(Purpose::Backup, no_pages()), ["no_full_pages"]);
    assert!(judged(Purpose::Dump, no_pages()).is_empty());
    assert_eq!(judged(Purpose::Backup, changed(|facts, _| facts.settings.full_page_writes = None)), ["unknown"]);
    assert_eq!(judged(Purpose::Backup, changed(|facts, _| facts.senders_left = Some(0))), ["no_sender_left"]);
    let no_feedback = || changed(|facts, _| facts.settings.hot_standby_feedback = Some(false));
    assert_eq!(judged(Purpose::Dump, no_feedback()), ["cancels_queries"]);
    assert!(judged(Purpose::Read, no_feedback()).is_empty());
    let waits = changed(|facts, _| {
        facts.settings.hot_standby_feedback = Some(false);
        facts.settings.streaming_conflicts = Some(ConflictLimit::Never);
    });
    assert!(judged(Purpose::Dump, waits).is_empty());
    let connecting = WalReceiver { is_streaming: Some(false), ..WalReceiver::default() };
    assert_eq!(
        judged(Purpose::Dump, changed(|_, standby| standby.source = Some(WalSource::Receiver(connecting)))),
        ["cancels_queries"]
    );
    // Feedback goes to a sender, and there is none.
    assert_eq!(
        judged(Purpose::Dump, changed(|_, standby| standby.source = Some(WalSource::Archive))),
        ["cancels_queries"]
    );
}

#[test]
fn without_a_primary_the_highest_position_of_the_history_counts_and_the_choice_says_so() {
    let mut received = behind(500, 5);
    let ReplicationRole::Standby(standby) = &mut received.role else { unreachable!() };
    standby.received = Lsn::new(END + 7);
    let other = changed(|facts, standby| {
        facts.timeline = TimelineId::new(1);
        standby.received = Lsn::new(END * 2);
    });
    let nodes = survey(vec![("a", Some(behind(100, 1))), ("b", Some(received)), ("old", Some(other)), ("p", None)]);
    let choice = choose(&nodes, &Policy::default());
    let expected = Reference::HighestReceived { node: "b".to_owned(), lsn: Lsn::new(END + 7).unwrap() };
    assert_eq!(choice.reference, Some(expected));
    assert_eq!((choice.chosen(), choice.verdicts[0].lag.bytes), (Some(0), Some(107)));
    assert_eq!(codes(&choice, 3), ["unreachable"]);
    let refusing = Policy { without_primary: WithoutPrimary::Refuse, ..Policy::default() };
    let refused = choose(&nodes, &refusing);
    assert_eq!((refused.chosen(), refused.trouble.clone()), (None, Some(Trouble::NoPrimary)));
    assert_eq!(codes(&refused, 0), ["nothing_chosen"]);
}

#[test]
fn two_primaries_several_clusters_and_silence_are_trouble() {
    let mut older = primary_number(1);
    older.timeline = TimelineId::new(1);
    let nodes = survey(vec![("z", Some(older)), ("a", Some(primary())), ("s", Some(behind(0, 0)))]);
    let choice = choose(&nodes, &Policy::default());
    assert_eq!(
        choice.trouble.as_ref().unwrap().to_string(),
        "2 nodes are primaries of one cluster: \"a\" on timeline 2, \"z\" on timeline 1"
    );
    assert_eq!((choice.chosen(), choice.reference), (None, None));

    let foreign = changed(|facts, _| facts.system_identifier = identifier(2));
    let mut nodes = survey(vec![("p", Some(primary())), ("f", Some(foreign.clone()))]);
    let choice = choose(&nodes, &Policy::default());
    assert_eq!(choice.trouble.unwrap().to_string(), "the nodes are of several clusters: 1 (\"p\"), 2 (\"f\")");
    nodes.expected = identifier(1);
    assert_eq!(chosen(&nodes, &Policy::default()), Some("p"));
    // More than half of them decide.
    let nodes = survey(vec![("f", Some(foreign)), ("p", Some(primary())), ("s", Some(behind(0, 0)))]);
    assert_eq!(chosen(&nodes, &Policy::default()), Some("s"));

    let silent = survey(vec![("a", None), ("b", None)]);
    assert_eq!(choose(&silent, &Policy::default()).trouble, Some(Trouble::NothingReachable));
}

/// The primary of yesterday comes back while that of today is out of reach: its timeline is the earlier one.
#[test]
fn a_primary_on_an_earlier_timeline_than_a_standby_is_refused_and_named() {
    let later = || Some(changed(|facts, _| facts.timeline = TimelineId::new(3)));
    let nodes = survey(vec![("p", Some(primary())), ("s2", later()), ("s1", later()), ("s", Some(behind(0, 0)))]);
    for preference in [Preference::Standby, Preference::Primary, Preference::StandbyOnly] {
        let choice = choose(&nodes, &Policy { preference, ..Policy::default() });
        assert_eq!(choice.chosen(), None);
        assert_eq!(
            choice.trouble.unwrap().to_string(),
            "the only primary that answers, \"p\", is on an earlier timeline than \"s1\", \"s2\""
        );
    }
    // One of another cluster says nothing about ours.
    let foreign = changed(|facts, _| {
        facts.timeline = TimelineId::new(3);
        facts.system_identifier = identifier(2);
    });
    let nodes = survey(vec![("p", Some(primary())), ("f", Some(foreign)), ("s", Some(behind(0, 0)))]);
    assert_eq!(chosen(&nodes, &Policy::default()), Some("s"));
}

#[test]
fn a_primary_that_is_named_twice_is_one() {
    let mut read_later = primary();
    read_later.role = ReplicationRole::Primary { current: Lsn::new(END + 5).unwrap() };
    let nodes = survey(vec![("vip", Some(read_later)), ("p", Some(primary())), ("s", Some(behind(0, 0)))]);
    let choice = choose(&nodes, &Policy::default());
    assert_eq!((choice.trouble.clone(), choice.chosen()), (None, Some(2)));
    let expected = Some(Lsn::new(END + 5).unwrap());
    assert_eq!(choice.reference.as_ref().map(Reference::lsn), expected, "what was read last");
    let choice = choose(&nodes, &Policy { preference: Preference::Primary, ..Policy::default() });
    assert_eq!(choice.ranking, [1, 0, 2]);
}

#[test]
fn how_a_standby_is_followed_is_found_by_its_slot_or_its_name() {
    let follower = |name: &str, slot: Option<&str>, state: &str| crate::server::Follower {
        application_name: Some(name.to_owned()),
        slot: slot.map(str::to_owned),
        sync_state: Some(state.to_owned()),
        ..crate::server::Follower::default()
    };
    let mut leader = primary();
    leader.followers = vec![
        follower("walreceiver", Some("one"), "sync"),
        follower("walreceiver", None, "async"),
        follower("named", None, "potential"),
    ];
    let state = |slot: Option<&str>, name: &str| {
        let standby = changed(|_, standby| {
            standby.source = Some(WalSource::Receiver(WalReceiver {
                slot: slot.map(str::to_owned),
                application_name: Some(name.to_owned()),
                ..WalReceiver::default()
            }));
        });
        let nodes = survey(vec![("p", Some(leader.clone())), ("s", Some(standby.clone()))]);
        follower_of(&nodes, &standby).and_then(|(by, follower)| Some((by.to_owned(), follower.sync_state.clone()?)))
    };
    assert_eq!(state(Some("one"), "walreceiver"), Some(("p".to_owned(), "sync".to_owned())));
    assert_eq!(state(None, "named"), Some(("p".to_owned(), "potential".to_owned())));
    assert_eq!(state(None, "walreceiver"), None);
}

fn arbitrary_facts() -> impl Strategy<Value = Option<ReplicationFacts>> {
    let lsn = || prop::option::weighted(0.9, END - 2_000..END + 50);
    let pause = prop::option::weighted(
        0.95,
        prop_oneof![
            8 => Just(ReplayPause::NotPaused), 1 => Just(ReplayPause::Paused), 1 => Just(ReplayPause::Requested)
        ],
    );
    let delay = prop::option::weighted(0.95, prop_oneof![8 => Just(0u64), 2 => 1u64..9]);
    let is_primary = (prop::bool::weighted(0.2), 0i64..2);
    let who = (prop::option::weighted(0.9, 1u64..3), prop::option::weighted(0.9, 1u32..4), is_primary);
    let standby = (lsn(), lsn(), prop::option::of(-9i64..90), pause, delay);
    let answer = (who, standby).prop_map(|((identifier, timeline, (is_primary, number)), standby)| {
        let (received, replayed, age, pause, delay) = standby;
        let mut facts = if is_primary { primary_number(number) } else { behind(0, 0) };
        facts.system_identifier = identifier.and_then(SystemIdentifier::new);
        facts.timeline = timeline.and_then(TimelineId::new);
        if let ReplicationRole::Standby(standby) = &mut facts.role {
            standby.received = received.and_then(Lsn::new);
            standby.replayed = replayed.and_then(Lsn::new);
            let now: Timestamp = NOW.parse().unwrap();
            standby.last_commit = age.and_then(|age| now.checked_sub(SignedDuration::from_secs(age)).ok());
            standby.pause = pause;
            standby.apply_delay = delay.map(Duration::from_secs);
        }
        facts
    });
    prop::option::weighted(0.9, answer)
}

fn arbitrary_survey() -> impl Strategy<Value = Survey> {
    let node = (arbitrary_facts(), 0i32..3, prop::option::of(prop_oneof![Just("here"), Just("there")]));
    let nodes = prop::collection::vec(node, 1..8);
    (nodes, prop::option::weighted(0.7, Just(1u64))).prop_map(|(nodes, expected)| {
        let probes = nodes.into_iter().enumerate().map(|(index, (facts, priority, zone))| {
            let node = NodeLabel { name: format!("n{index}"), zone: zone.map(str::to_owned), priority };
            Probe { node, ..probe("", facts) }
        });
        Survey { expected: expected.and_then(SystemIdentifier::new), probes: probes.collect() }
    })
}

fn arbitrary_policy() -> impl Strategy<Value = Policy> {
    let preference = prop_oneof![
        Just(Preference::Standby),
        Just(Preference::Primary),
        Just(Preference::Any),
        Just(Preference::StandbyOnly)
    ];
    let limits = (prop::option::of(0u64..3_000), prop::option::of(0u64..60));
    (limits, preference, prop::bool::ANY, prop::bool::weighted(0.2)).prop_map(
        |((max_lag, seconds), preference, zone, refuse)| Policy {
            max_lag,
            max_lag_time: seconds.map(Duration::from_secs),
            preference,
            zone: zone.then(|| "here".to_owned()),
            purpose: Purpose::Read,
            without_primary: if refuse { WithoutPrimary::Refuse } else { WithoutPrimary::HighestReceived },
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_chosen_node_is_of_the_history_neither_paused_nor_delayed_and_within_known_limits(
        survey in arbitrary_survey(), policy in arbitrary_policy()
    ) {
        let choice = choose(&survey, &policy);
        for index in &choice.ranking {
            let facts = survey.probes[*index].facts().expect("only those that answered");
            prop_assert!(facts.system_identifier.is_some() && facts.system_identifier == choice.system_identifier);
            prop_assert!(facts.timeline.is_some() && facts.timeline == choice.timeline);
            if let Some(expected) = survey.expected {
                prop_assert_eq!(facts.system_identifier, Some(expected));
            }
            let lag = choice.verdicts[*index].lag;
            if let Some(standby) = facts.standby() {
                prop_assert_eq!(standby.pause, Some(ReplayPause::NotPaused));
                prop_assert_eq!(standby.apply_delay, Some(Duration::ZERO));
                // Unknown is not zero.
                prop_assert!(standby.replayed.is_some() || lag == ReplicationLag::default());
                let limit = choice.reference.as_ref().map(Reference::lsn);
                prop_assert!(standby.replayed <= limit);
            } else {
                prop_assert!(policy.preference != Preference::StandbyOnly);
            }
            if let Some(limit) = policy.max_lag {
                prop_assert!(lag.bytes.is_some_and(|bytes| bytes <= limit));
            }
            if let Some(limit) = policy.max_lag_time {
                prop_assert!(lag.time.is_some_and(|time| time <= limit));
            }
        }
        if let Some(timeline) = choice.timeline {
            let ours = survey.probes.iter().filter_map(Probe::facts)
                .filter(|facts| facts.system_identifier == choice.system_identifier);
            let primary = ours.clone().find(|facts| facts.is_primary());
            let latest = ours.filter_map(|facts| facts.timeline).max();
            prop_assert!(latest == Some(timeline) || (primary.is_some() && choice.ranking.is_empty()));
        }
    }

    #[test]
    fn every_node_but_the_chosen_one_has_a_reason(survey in arbitrary_survey(), policy in arbitrary_policy()) {
        let choice = choose(&survey, &policy);
        prop_assert_eq!(choice.verdicts.len(), survey.probes.len());
        for (index, verdict) in choice.verdicts.iter().enumerate() {
            prop_assert_eq!(verdict.reasons.is_empty(), choice.chosen() == Some(index));
        }
        prop_assert!(choice.trouble.is_none() || choice.ranking.is_empty());
    }

    #[test]
    fn the_order_of_the_nodes_changes_nothing(
        survey in arbitrary_survey(), policy in arbitrary_policy(), seed in prop::collection::vec(any::<u32>(), 8)
    ) {
        let names = |survey: &Survey, choice: &Choice| -> Vec<String> {
            choice.ranking.iter().map(|index| survey.probes[*index].node.name.clone()).collect()
        };
        let choice = choose(&survey, &policy);
        let mut order: Vec<usize> = (0..survey.probes.len()).collect();
        order.sort_by_key(|index| seed[*index]);
        let probes = order.iter().map(|index| survey.probes[*index].clone()).collect();
        let shuffled = Survey { probes, ..survey.clone() };
        let other = choose(&shuffled, &policy);
        prop_assert_eq!(names(&survey, &choice), names(&shuffled, &other));
        prop_assert_eq!(&choice.reference, &other.reference);
        prop_assert_eq!(&choice.trouble, &other.trouble);
        for (place, index) in order.iter().enumerate() {
            prop_assert_eq!(&other.verdicts[place], &choice.verdicts[*index]);
        }
    }

    #[test]
    fn whoever_is_ranked_first_lags_least_among_equals(survey in arbitrary_survey()) {
        let policy = Policy { preference: Preference::StandbyOnly, ..Policy::default() };
        let choice = choose(&survey, &policy);
        let lags: Vec<Option<u64>> = choice.ranking.iter().map(|index| choice.verdicts[*index].lag.bytes).collect();
        let sorted = lags.windows(2).all(|pair| match (pair[0], pair[1]) {
            (Some(first), Some(second)) => first <= second,
            (None, Some(_)) => false,
            (_, None) => true,
        });
        prop_assert!(sorted, "{lags:?}");
    }
}
