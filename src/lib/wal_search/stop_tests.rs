//! Stops in logs of made-up records; that PostgreSQL stops there too is shown end to end.

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::pg::{Lsn, RestorePointRecord, TimelineId, TransactionEnd, WalContent};

fn seconds(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + seconds).unwrap()
}

fn lsn(number: u64) -> Lsn {
    Lsn::new(0x100_0000 + number * 64).unwrap()
}

fn record(number: u64, content: WalContent) -> WalRecord {
    WalRecord {
        lsn: lsn(number),
        end_lsn: lsn(number + 1),
        previous_lsn: Some(lsn(number.saturating_sub(1))),
        timeline: TimelineId::FIRST,
        xid: None,
        total_bytes: 64,
        resource_manager: 1,
        info: 0,
        content,
    }
}

fn end(xid: u32, at: i64) -> TransactionEnd {
    TransactionEnd {
        xid: Some(xid),
        prepared: false,
        time: seconds(at),
        subtransactions: 0,
        dropped: Vec::new(),
        dropped_count: 0,
    }
}

fn point(name: &str, at: i64) -> WalContent {
    WalContent::RestorePoint(RestorePointRecord { name: name.as_bytes().into(), time: seconds(at) })
}

/// The records with their places.
fn log(contents: Vec<WalContent>) -> Vec<WalRecord> {
    (0..).zip(contents).map(|(number, content)| record(number, content)).collect()
}

fn search(target: &RecoveryTarget, records: &[WalRecord]) -> StopSearch {
    let mut search = StopSearch::new(target.clone());
    records.iter().for_each(|record| search.see(record));
    search
}

fn time_target(at: i64, bound: TargetBound) -> RecoveryTarget {
    RecoveryTarget::Time(seconds(at), bound)
}

fn xid_target(xid: u64, bound: TargetBound) -> RecoveryTarget {
    RecoveryTarget::TransactionId(TransactionId::new(xid).unwrap(), bound)
}

/// Commits of 10, 11 and 13 at 100, 110 and 130 s, the abort of 12 at 120 s, a restore point before the last.
fn sample() -> Vec<WalRecord> {
    log(vec![
        WalContent::Other,
        WalContent::Commit(end(10, 100)),
        WalContent::Commit(end(11, 110)),
        WalContent::Abort(end(12, 120)),
        point("p", 125),
        WalContent::Commit(end(13, 130)),
        WalContent::Other,
    ])
}

#[test]
fn stops_where_the_server_does() {
    use StopSide::{After, Before};
    use TargetBound::{Exclusive, Inclusive};
    for (target, stop, last, before, after) in [
        (time_target(105, Inclusive), Some((Before, 2)), 1, Some(10), Some(11)),
        (time_target(110, Inclusive), Some((Before, 3)), 2, Some(11), Some(13)),
        (time_target(110, Exclusive), Some((Before, 2)), 1, Some(10), Some(11)),
        // An abort stops recovery as a commit does.
        (time_target(119, Inclusive), Some((Before, 3)), 2, Some(11), Some(13)),
        (time_target(130, Inclusive), None, 6, Some(13), None),
        (time_target(130, Exclusive), Some((Before, 5)), 4, Some(11), Some(13)),
        (xid_target(11, Inclusive), Some((After, 2)), 2, Some(11), Some(13)),
        (xid_target(11, Exclusive), Some((Before, 2)), 1, Some(10), Some(11)),
        (xid_target(12, Inclusive), Some((After, 3)), 3, Some(11), Some(13)),
        // The server compares the lower half alone.
        (xid_target((5 << 32) + 10, Inclusive), Some((After, 1)), 1, Some(10), Some(11)),
        (xid_target(14, Inclusive), None, 6, Some(13), None),
        (RecoveryTarget::RestorePoint("p".parse().unwrap()), Some((After, 4)), 4, Some(11), Some(13)),
        (RecoveryTarget::RestorePoint("q".parse().unwrap()), None, 6, Some(13), None),
        (RecoveryTarget::Lsn(lsn(3), Inclusive), Some((After, 3)), 3, Some(11), Some(13)),
        (RecoveryTarget::Lsn(lsn(3), Exclusive), Some((Before, 3)), 2, Some(11), Some(13)),
        // Between two records: the next one.
        (RecoveryTarget::Lsn(lsn(3).checked_add(1).unwrap(), Inclusive), Some((After, 4)), 4, Some(11), Some(13)),
        (RecoveryTarget::Lsn(lsn(7), Inclusive), None, 6, Some(13), None),
        (RecoveryTarget::Latest, None, 6, Some(13), None),
    ] {
        let found = search(&target, &sample());
        let place = found.stop.as_ref().map(|stop| (stop.side, stop.span.lsn));
        assert_eq!(place, stop.map(|(side, number)| (side, lsn(number))), "{target}");
        assert_eq!(found.last_record.unwrap().lsn, lsn(last), "{target}");
        let xid = |ending: &Option<Ending>| ending.as_ref().and_then(|ending| ending.xid);
        assert_eq!((xid(&found.commit_before), xid(&found.commit_after)), (before, after), "{target}");
    }
}

#[test]
fn the_neighbours_of_a_transaction_that_is_not_there_are_told() {
    let near = search(&xid_target(9, TargetBound::Inclusive), &sample()).nearest;
    assert_eq!((near.below, near.above.unwrap().xid), (None, Some(10)));
    let contents = [4_294_967_290, 4_294_967_295, 5, 9].map(|xid| WalContent::Commit(end(xid, 1)));
    let near = search(&xid_target(3, TargetBound::Inclusive), &log(contents.to_vec())).nearest;
    assert_eq!((near.below.unwrap().xid, near.above.unwrap().xid), (Some(4_294_967_295), Some(5)));
}

#[test]
fn every_restore_point_of_the_name_is_told_and_no_other() {
    let points = ["p", "q", "p", "p"].iter().zip(100..).map(|(name, at)| point(name, at));
    let found = search(&RecoveryTarget::RestorePoint("p".parse().unwrap()), &log(points.collect()));
    let places: Vec<Lsn> = found.namesakes.iter().map(|point| point.span.lsn).collect();
    assert_eq!((places, found.namesake_count), (vec![lsn(0), lsn(2), lsn(3)], 3));
    assert_eq!(found.stop.unwrap().span.lsn, lsn(0));
    let many = (0..50).map(|at| point("p", at)).collect();
    let found = search(&RecoveryTarget::RestorePoint("p".parse().unwrap()), &log(many));
    assert_eq!((found.namesakes.len(), found.namesake_count), (SHOWN_MAX, 50));
    assert_eq!(search(&RecoveryTarget::Latest, &sample()).namesake_count, 0);
}

#[test]
fn names_like_the_one_that_is_not_there_are_told_wherever_they_stand() {
    let names = ["release-41", "before-relaese", "x", "release-4", "releas", "reelase"];
    let few = names.iter().map(|name| point(name, 1));
    let many = (0..50).map(|at| point(&format!("nightly {at}"), at));
    let found = search(&RecoveryTarget::RestorePoint("release".parse().unwrap()), &log(few.chain(many).collect()));
    let alike: Vec<&str> = found.alike.iter().map(|point| point.name.as_str()).collect();
    assert_eq!(alike, ["releas", "reelase", "release-4"]);
    assert_eq!(found.restore_points.len(), SHOWN_MAX);
    assert!(search(&RecoveryTarget::Latest, &sample()).alike.is_empty());
}

#[test]
fn others_of_a_name_are_looked_for_so_far_and_no_further() {
    let target = RecoveryTarget::RestorePoint("p".parse().unwrap());
    for (bytes, is_decided) in [(NAMESAKE_BYTES_MAX, false), (NAMESAKE_BYTES_MAX + 8, true)] {
        let mut records = log(vec![point("p", 1), WalContent::Other]);
        records[1].end_lsn = records[0].end_lsn.checked_add(bytes).unwrap();
        assert_eq!(search(&target, &records).is_decided(), is_decided, "{bytes}");
        // Until it is found, it is looked for everywhere.
        assert!(!search(&target, &records[1..]).is_decided());
    }
}

#[test]
fn a_clock_that_went_back_is_told_once() {
    let times = [100, 101, 50, 51, 52, 102];
    let contents = times.iter().zip(10..).map(|(at, xid)| WalContent::Commit(end(xid, *at))).collect();
    let found = search(&RecoveryTarget::Latest, &log(contents));
    let [step] = found.clock_steps.as_slice() else { panic!("{:?}", found.clock_steps) };
    assert_eq!((step.from.xid, step.to.xid), (Some(11), Some(12)));
}

/// Commits that a time includes lie behind the stop once the clock was set back there.
#[test]
fn commits_that_the_clock_stamped_too_early_are_told() {
    use TargetBound::{Exclusive, Inclusive};
    let times = [100, 110, 200, 130, 131, 105, 210];
    let contents: Vec<_> = times.iter().zip(10..).map(|(at, xid)| WalContent::Commit(end(xid, *at))).collect();
    for (at, bound, expected) in [
        (130, Inclusive, Some((2, 13, 15))),
        (130, Exclusive, Some((1, 15, 15))),
        (104, Inclusive, None),
        (105, Inclusive, Some((1, 15, 15))),
        (199, Inclusive, Some((3, 13, 15))),
        (200, Inclusive, None),
    ] {
        let found = search(&time_target(at, bound), &log(contents.clone()));
        let xid = |ending: &Option<Ending>| ending.as_ref().and_then(|ending| ending.xid).unwrap();
        let late = found.late_commits().map(|late| (late.count, xid(&late.first), xid(&late.last)));
        assert_eq!(late, expected, "{at} {bound:?}");
    }
    // An abort stops recovery, too; but neither it nor a commit without a number is lost.
    let mut unnumbered = end(1, 50);
    unnumbered.xid = None;
    let aborted = vec![
        WalContent::Abort(end(10, 100)),
        WalContent::Abort(end(11, 60)),
        WalContent::Commit(unnumbered),
        WalContent::Commit(end(12, 70)),
    ];
    let late = search(&time_target(80, Inclusive), &log(aborted)).late_commits().cloned().unwrap();
    assert_eq!((late.count, late.first.unwrap().xid), (1, Some(12)));
}

/// Transactions that end at the same time get stamps that differ a little.
#[test]
fn stamps_that_differ_a_little_are_no_step_of_the_clock() {
    let contents = |later| vec![WalContent::Commit(end(10, 101)), WalContent::Commit(end(11, later))];
    let target = time_target(100, TargetBound::Inclusive);
    assert_eq!(search(&target, &log(contents(100))).late_commits(), None);
    assert_eq!(search(&target, &log(contents(99))).late_commits().unwrap().count, 1);
}

#[test]
fn late_commits_are_looked_for_so_far_and_no_further() {
    let target = time_target(50, TargetBound::Inclusive);
    for (bytes, is_decided) in [(LATE_BYTES_MAX, false), (LATE_BYTES_MAX + 8, true)] {
        let mut records = log(vec![WalContent::Commit(end(10, 100)), WalContent::Other]);
        records[1].end_lsn = records[0].end_lsn.checked_add(bytes).unwrap();
        assert_eq!(search(&target, &records).is_decided(), is_decided, "{bytes}");
        // Until it is found, it is looked for everywhere.
        assert!(!search(&target, &records[1..]).is_decided());
    }
}

fn content() -> impl Strategy<Value = WalContent> {
    let ending = (3u32..30, -40i64..40).prop_map(|(xid, jitter)| (xid, jitter));
    prop_oneof![
        Just(WalContent::Other),
        ending.clone().prop_map(|(xid, at)| WalContent::Commit(end(xid, at))),
        ending.prop_map(|(xid, at)| WalContent::Abort(end(xid, at))),
        ("[a-d]", -40i64..40).prop_map(|(name, at)| point(&name, at)),
    ]
}

fn target() -> impl Strategy<Value = RecoveryTarget> {
    let bound = prop_oneof![Just(TargetBound::Inclusive), Just(TargetBound::Exclusive)];
    prop_oneof![
        Just(RecoveryTarget::Latest),
        (-45i64..45, bound.clone()).prop_map(|(at, bound)| time_target(at, bound)),
        (3u64..32, bound.clone()).prop_map(|(xid, bound)| xid_target(xid, bound)),
        (0u64..45, bound).prop_map(|(number, bound)| RecoveryTarget::Lsn(lsn(number), bound)),
        "[a-e]".prop_map(|name| RecoveryTarget::RestorePoint(name.parse().unwrap())),
    ]
}

proptest! {
    #[test]
    fn parts_searched_on_their_own_give_what_the_whole_gives(
        contents in prop::collection::vec(content(), 0..40),
        target in target(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let records = log(contents);
        let behind = Some(lsn(10));
        let search = |target: &RecoveryTarget, records: &[WalRecord]| {
            let mut search = StopSearch::new(target.clone()).counting_behind(behind);
            records.iter().for_each(|record| search.see(record));
            search
        };
        let whole = search(&target, &records);
        // As one counts who knows the last record that is recovered.
        let mut counted = CommitCount::new(lsn(10), whole.last_record.map(|last| last.lsn));
        let last = whole.last_record.map(|last| last.lsn);
        records.iter().filter(|record| Some(record.lsn) <= last).for_each(|record| counted.see(record));
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(records.len() + 1)).collect();
        ends.push(records.len());
        ends.sort_unstable();
        let mut merged = StopSearch::new(target.clone()).counting_behind(behind);
        let mut from = 0;
        for end in ends {
            let was_decided = merged.is_decided();
            let before = format!("{:?}", (&merged.stop, &merged.commit_before, &merged.commit_after, merged.last_record));
            merged.merge(search(&target, &records[from..end]));
            let after = format!("{:?}", (&merged.stop, &merged.commit_before, &merged.commit_after, merged.last_record));
            prop_assert!(!was_decided || before == after, "a decided search changed");
            from = end;
        }
        prop_assert_eq!(&merged.stop, &whole.stop);
        prop_assert_eq!(&merged.commit_before, &whole.commit_before);
        prop_assert_eq!(&merged.commit_after, &whole.commit_after);
        prop_assert_eq!(merged.last_record, whole.last_record);
        prop_assert_eq!(&merged.restore_points, &whole.restore_points);
        prop_assert_eq!(&merged.alike, &whole.alike);
        prop_assert_eq!((&merged.namesakes, merged.namesake_count), (&whole.namesakes, whole.namesake_count));
        let gained = |search: &StopSearch| search.gained.as_ref().map(|gained| (gained.count, gained.last.clone()));
        prop_assert_eq!(gained(&merged), Some((counted.count, counted.last)));
        prop_assert_eq!(gained(&whole), gained(&merged));
        prop_assert_eq!(&merged.nearest, &whole.nearest);
        prop_assert_eq!(merged.late_commits(), whole.late_commits());
        prop_assert_eq!(merged.clock_steps.is_empty(), whole.clock_steps.is_empty());
    }
}

fn change(max_connections: u32, wal_level: crate::pg::WalLevel) -> WalContent {
    WalContent::ParameterChange(crate::pg::ParameterChange {
        max_connections,
        max_worker_processes: 8,
        max_wal_senders: 10,
        max_prepared_xacts: 0,
        max_locks_per_xact: 64,
        wal_level,
        wal_log_hints: false,
        track_commit_timestamp: false,
    })
}

/// What lies behind the stop is not on the way, wherever the log is cut.
#[test]
fn what_is_on_the_way_is_known_up_to_the_stop() {
    use crate::pg::WalLevel::{Minimal, Replica};
    let tablespace = |oid, path: &str| WalContent::CreateTablespace { oid, path: path.as_bytes().into() };
    let mut records = log(vec![
        tablespace(1, "/a"),
        tablespace(2, ""),
        change(300, Replica),
        tablespace(3, "/a"),
        change(200, Replica),
        tablespace(4, "/b"),
        point("here", 0),
        tablespace(5, "/c"),
        change(900, Minimal),
        WalContent::Other,
    ]);
    records[3].resource_manager = 128;
    records[9].resource_manager = 200;
    let target = RecoveryTarget::RestorePoint("here".parse().unwrap());
    for cut in 0..=records.len() {
        let (first, second) = records.split_at(cut);
        let mut search = search(&target, first);
        search.merge(super::tests::search(&target, second));
        let way = &search.on_the_way;
        let created: Vec<_> = way.created_tablespaces.iter().map(|one| (one.oid, one.path.to_str().unwrap())).collect();
        assert_eq!(created, [(1, "/a"), (4, "/b")], "cut at {cut}");
        let WalContent::ParameterChange(highest) = &records[2].content else { unreachable!() };
        assert_eq!(way.needs, Some(crate::pg::ReplayNeeds::from(highest)), "cut at {cut}");
        assert_eq!(way.minimal_from, None, "cut at {cut}");
        assert_eq!(way.resource_managers.iter().copied().collect::<Vec<_>>(), [128], "cut at {cut}");
    }
    let all = search(&RecoveryTarget::Latest, &records).on_the_way;
    assert_eq!((all.created_tablespaces.len(), all.minimal_from.map(|span| span.lsn)), (3, Some(lsn(8))));
    assert_eq!(all.before(lsn(7)).created_tablespaces.len(), 2);
}
