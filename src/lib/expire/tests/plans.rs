//! Plans for histories made by hand.

use std::num::NonZeroU32;
use std::time::Duration;

use jiff::Span;

use super::history::{History, SIZE, day, id};
use crate::expire::error::ExpireError;
use crate::expire::plan::{Fate, TreePlan, WalKept, plan};
use crate::expire::rules::{KeepReason, Rules};
use crate::pg::TimelineId;

fn keep(count: u32) -> Rules {
    Rules { keep: NonZeroU32::new(count), ..Rules::default() }
}

/// A backup a day on one timeline, the first on day 1.
fn daily(count: u64) -> History {
    let mut history = History::new();
    for number in 1..=count {
        history.now = day(number as i64);
        history.backup(1, 0, &[(number, 0)]);
        history.write(1, 3 * SIZE);
    }
    history
}

fn planned(history: &History, rules: &Rules) -> TreePlan {
    plan(&history.facts(&[], &[]), rules, history.now).unwrap()
}

/// The numbers of the backups that go.
fn going(plan: &TreePlan) -> Vec<u64> {
    (1..100).filter(|number| plan.going.backups.contains(&id(*number))).collect()
}

#[test]
fn the_newest_stay_and_with_them_their_wal() {
    let history = daily(5);
    let plan = planned(&history, &keep(2));
    assert_eq!(going(&plan), [1, 2, 3]);
    let start = history.facts.listed[3].record.start_lsn.get() / SIZE;
    let wal: Vec<String> = plan.wal.iter().map(|range| format!("{} {}", range.first, range.last)).collect();
    let last = super::history::segment(1, start - 1);
    assert_eq!(wal, [format!("000000010000000000000001 {last}")]);
    let lost: Vec<_> = plan.lost_targets.iter().map(|lost| (lost.from_time, lost.to_time, lost.then)).collect();
    assert_eq!(lost, [(Some(day(1)), Some(day(4)), Some(id(4)))]);
}

#[test]
fn any_rule_keeps_a_backup() {
    let history = daily(9);
    // The days begin within day 5: what reaches back there is the backup of day 5 itself, so it stays, too.
    let days = |days| Rules { keep_days: Some(days), ..Rules::default() };
    assert_eq!(going(&planned(&history, &days(4))), [1, 2, 3]);
    assert_eq!(going(&planned(&history, &Rules { keep: NonZeroU32::new(2), ..days(1) })), [1, 2, 3, 4, 5, 6]);
    assert_eq!(going(&planned(&history, &keep(100))), [0; 0]);
    assert!(matches!(plan(&history.facts(&[], &[]), &Rules::default(), history.now), Err(ExpireError::NoRule)));
}

#[test]
fn what_is_not_good_does_not_count_and_goes_with_what_is_around_it() {
    let mut history = daily(5);
    history.facts.listed[4].record.findings.push("damage".to_owned());
    history.facts.listed[2].record.findings.push("damage".to_owned());
    let plan = planned(&history, &keep(1));
    assert_eq!(going(&plan), [1, 2, 3], "the last good one is the fourth; the fifth is newer");
    for backup in &mut history.facts.listed {
        backup.record.findings.push("damage".to_owned());
    }
    let plan = planned(&history, &keep(1));
    assert_eq!(going(&plan), [0; 0], "none is good, so none goes");
    assert_eq!((plan.wal_kept, plan.going.wal), (Some(WalKept::NoBackup), Vec::new()));
}

#[test]
fn a_backup_that_lacks_a_pack_is_not_good() {
    for left in [None, Some(4096)] {
        let mut history = daily(5);
        history.lose_pack(id(5), 0, left);
        let plan = planned(&history, &keep(1));
        assert_eq!(going(&plan), [1, 2, 3], "the last good one is the fourth; the fifth is newer");
        assert_eq!((plan.backups[3].lacks.len(), plan.backups[4].lacks.len()), (0, 1), "{left:?}");
        (1..5).for_each(|backup| history.lose_pack(id(backup), 0, left));
        let plan = planned(&history, &keep(1));
        assert_eq!((going(&plan), plan.wal_kept), (vec![], Some(WalKept::NoBackup)), "{left:?}");
    }
}

#[test]
fn the_newest_timeline_keeps_a_backup_that_leads_to_it() {
    let mut history = daily(3);
    // A recovery to between the first backup and the second: the newer two lead elsewhere.
    let at = history.facts.listed[1].record.start_lsn.get() - SIZE;
    let live = history.fork(1, at);
    history.write(live, 5 * SIZE);
    let plan = planned(&history, &keep(1));
    assert_eq!(going(&plan), [2]);
    let timeline = TimelineId::new(live).unwrap();
    assert_eq!(plan.backups[0].fate, Fate::Stays { reasons: vec![KeepReason::NewestTimeline { timeline }] });
    assert!(!plan.wal.iter().any(|range| range.timeline == timeline), "{:?}", plan.wal);
    // With a backup of its own the old one is not needed any more.
    history.now = day(4);
    history.backup(live, 0, &[(4, 0)]);
    assert_eq!(going(&planned(&history, &keep(1))), [1, 2, 3]);
}

/// A standby is promoted by mistake and thrown away, while its primary goes on.
#[test]
fn a_timeline_that_was_given_up_keeps_no_backup() {
    for own_wal in [0, 2 * SIZE] {
        let mut history = daily(1);
        let given_up = history.fork(1, history.heads[&1] - SIZE);
        history.write(given_up, own_wal);
        let plans = [8, 9].map(|number| {
            history.now = day(number as i64);
            history.backup(1, 0, &[(number, 0)]);
            history.write(1, 3 * SIZE);
            going(&planned(&history, &keep(1)))
        });
        // Nobody knows before a week has passed: it may be idle, its archiving may fail, and clocks differ.
        assert_eq!(plans, [vec![], vec![1, 2]], "{own_wal}");
        let moment = history.now;
        history.now = day(20);
        history.write(1, 3 * SIZE);
        assert_eq!(going(&planned(&history, &Rules { keep_days: Some(1), ..Rules::default() })), [1, 2], "{own_wal}");
        // A recovery to the same place is no mistake, though none of its WAL is archived yet.
        history.now = moment;
        history.fork(1, history.facts.listed[1].record.start_lsn.get() - SIZE);
        assert_eq!(going(&planned(&history, &keep(1))), [2], "{own_wal}");
    }
}

/// The clock of the restored host is a month behind; the store's is right.
#[test]
fn a_timeline_whose_host_has_a_wrong_clock_was_not_given_up() {
    for own_wal in [0, 2 * SIZE] {
        let mut history = daily(2);
        let live = history.fork(1, history.facts.listed[1].record.start_lsn.get() - SIZE);
        history.clocks_behind.insert(live, Span::new().hours(24 * 30));
        history.write(live, own_wal);
        assert_eq!(going(&planned(&history, &keep(1))), [0; 0], "{own_wal}");
    }
}

/// The server of the timeline before was thrown away after its last backup; by the clock of that, which is ahead, the
/// timeline behind is silent for weeks.
#[test]
fn the_timeline_that_was_stored_last_was_not_given_up() {
    let mut history = daily(2);
    history.facts.listed[1].record.stop_time = day(30);
    let live = history.fork(1, history.facts.listed[1].record.start_lsn.get() - SIZE);
    history.now = day(3);
    history.write(live, 2 * SIZE);
    history.now = day(31);
    assert_eq!(going(&planned(&history, &keep(1))), [0; 0]);
}

#[test]
fn pins_and_running_backups_keep_what_they_need() {
    let mut history = daily(5);
    history.facts.listed[0].pins.push("for the auditors".to_owned());
    assert_eq!(going(&planned(&history, &keep(1))), [2, 3, 4]);
    assert!(planned(&history, &keep(1)).going.wal.is_empty(), "the pinned one needs all WAL from its start on");
    history.facts.listed[0].pins.clear();
    history.unfinished(9, &[id(2)], history.now);
    let plan = planned(&history, &keep(1));
    assert_eq!(going(&plan), [1, 3, 4]);
    assert_eq!((plan.wal_kept, plan.going.wal), (Some(WalKept::Running { backup: id(9) }), Vec::new()));
}

#[test]
fn a_silent_backup_goes_after_a_day_with_its_packs() {
    let mut history = daily(3);
    history.unfinished(9, &[], history.now - Duration::from_secs(86_399));
    history.facts.packs.insert(id(9), vec![0, 1]);
    assert_eq!(planned(&history, &keep(9)).going.unfinished, []);
    history.facts.unfinished[0].last_stored = history.now - Duration::from_secs(86_400);
    let plan = planned(&history, &keep(9));
    assert_eq!((plan.going.unfinished, plan.going.packs), (vec![id(9)], vec![(id(9), 0), (id(9), 1)]));
}

#[test]
fn a_backup_whose_writer_gave_it_up_goes_at_once_and_holds_no_wal() {
    let mut history = daily(3);
    history.unfinished(9, &[], history.now);
    assert!(planned(&history, &keep(1)).going.wal.is_empty());
    history.facts.unfinished[0].is_given_up = true;
    let plan = planned(&history, &keep(1));
    assert_eq!((plan.wal_kept, plan.going.unfinished), (None, vec![id(9)]));
    assert!(!plan.going.wal.is_empty());
    history.facts.unfinished[0].is_pinned = true;
    assert_eq!(planned(&history, &keep(1)).going.unfinished, []);
}

#[test]
fn packs_that_others_need_outlive_their_backup() {
    let mut history = daily(1);
    history.now = day(2);
    history.backup(1, 0, &[(1, 0), (2, 0)]);
    history.facts.packs.insert(id(1), vec![0, 1]);
    let plan = planned(&history, &keep(1));
    assert_eq!((going(&plan), plan.going.packs), (vec![1], vec![(id(1), 1)]));
    // Its folder says whose that pack is, which goes with the last backup that needs it.
    history.facts.listed.remove(0);
    history.facts.packs.insert(id(1), vec![0]);
    history.facts.gone.insert(id(1));
    history.facts.emptied.insert(id(1));
    let plan = planned(&history, &keep(1));
    assert_eq!((plan.going.packs, plan.being_deleted), (vec![], vec![]));
    history.now = day(3);
    history.backup(1, 0, &[(3, 0)]);
    let plan = planned(&history, &keep(1));
    assert_eq!((plan.going.packs, plan.being_deleted), (vec![(id(1), 0), (id(2), 0)], vec![id(1)]));
}

#[test]
fn packs_without_a_folder_stay() {
    let mut history = daily(3);
    history.facts.packs.insert(id(9), vec![0, 1]);
    for folder in [None, Some("20261101T000000Z-00000009.bak".to_owned())] {
        history.facts.strays.strange_folders.extend(folder.clone());
        let plan = planned(&history, &keep(2));
        assert_eq!((plan.packs, plan.packs_kept.as_ref().unwrap().count), (1, 2));
        let Some(ExpireError::NoFolder { packs: 2, strange_folder, backup, .. }) = plan.refusal(&keep(2)) else {
            panic!("{plan:?}");
        };
        assert_eq!((backup, strange_folder), (id(9), folder));
    }
    // Without any folder all of them may have been moved.
    history.facts.listed.clear();
    let refusal = planned(&history, &keep(3)).refusal(&keep(3)).unwrap();
    assert!(matches!(refusal, ExpireError::NoFolders { packs: 5, .. }), "{refusal}");
    history.facts.packs.clear();
    assert!(planned(&history, &keep(3)).refusal(&keep(3)).is_none(), "nothing is there");
}

#[test]
fn nothing_goes_while_the_way_to_a_timeline_is_not_known() {
    let mut history = daily(2);
    let live = history.fork(1, history.facts.listed[1].record.start_lsn.get() - SIZE);
    history.write(live, 5 * SIZE);
    let timeline = TimelineId::new(live).unwrap();
    for (unreadable, missing) in [(vec![], vec![live]), (vec![live], vec![])] {
        let refusal = plan_of(&history, &unreadable, &missing).refusal(&keep(1)).unwrap();
        assert!(matches!(&refusal, ExpireError::UnknownTimeline { timeline: it, .. } if *it == timeline), "{refusal}");
        assert!(refusal.to_string().contains("00000002.history"), "{refusal}");
    }
    assert!(plan_of(&history, &[], &[]).refusal(&keep(1)).is_none());
}

#[test]
fn grace_is_counted_from_the_mark() {
    let mut history = daily(3);
    let rules = Rules { grace: Duration::from_secs(3600), ..keep(2) };
    let plan = planned(&history, &rules);
    assert_eq!((going(&plan), plan.going.doubted), (vec![], vec![id(1)]));
    history.facts.listed[0].doubted = Some(history.now);
    history.now += Duration::from_secs(3599);
    let until = history.facts.listed[0].doubted.unwrap() + Duration::from_secs(3600);
    assert_eq!(planned(&history, &rules).backups[0].fate, Fate::Waits { until: Some(until) });
    history.now += Duration::from_secs(1);
    assert_eq!(going(&planned(&history, &rules)), [1]);
}

#[test]
fn the_grace_is_given_once() {
    let mut history = daily(3);
    let rules = Rules { grace: Duration::from_secs(3600), ..keep(2) };
    assert_eq!(planned(&history, &rules).backups[0].marked_at, None);
    let marked = history.now;
    history.facts.listed[0].doubted = Some(marked);
    history.facts.listed[0].pins.push("for the auditors".to_owned());
    history.now += Duration::from_secs(7200);
    let pinned = planned(&history, &rules);
    assert!(matches!(pinned.backups[0].fate, Fate::Stays { .. }), "{pinned:?}");
    assert_eq!(pinned.backups[0].marked_at, Some(marked), "whoever reads the plan is told");
    history.facts.listed[0].pins.clear();
    assert_eq!(going(&planned(&history, &rules)), [1]);
}

#[test]
fn more_than_half_and_a_clock_that_is_behind_are_refused() {
    let mut history = daily(4);
    assert!(planned(&history, &keep(2)).refusal(&keep(2)).is_none(), "half of them may go");
    let refusal = planned(&history, &keep(1)).refusal(&keep(1)).unwrap();
    assert!(matches!(refusal, ExpireError::TooMany { count: 3, of: 4, .. }), "{refusal}");
    let allowed = Rules { allow_many: true, ..keep(1) };
    assert!(planned(&history, &allowed).refusal(&allowed).is_none());
    history.now = day(3);
    let error = plan(&history.facts(&[], &[]), &keep(3), history.now).unwrap_err();
    assert!(matches!(error, ExpireError::ClockBehind { backup, .. } if backup == id(4)), "{error}");
}

#[test]
fn a_branch_that_no_backup_reaches_goes_and_one_that_a_backup_reaches_stays() {
    let mut history = daily(2);
    let at = history.heads[&1];
    history.write(1, 4 * SIZE);
    // Timeline 2 leaves timeline 1 before the second backup; timeline 3, the newest, behind it.
    let early = history.fork(1, SIZE + SIZE / 2);
    history.write(early, 3 * SIZE);
    let live = history.fork(1, at);
    history.write(live, 5 * SIZE);
    let plan = planned(&history, &keep(1));
    let on = |timeline: u32| plan.wal.iter().any(|range| range.timeline.get() == timeline);
    assert!(on(1) && !on(live) && on(early), "{:?}", plan.wal);
    // What cannot be followed is not judged.
    let unknown = plan_of(&history, &[early], &[]);
    assert!(!unknown.wal.iter().any(|range| range.timeline.get() == early), "{:?}", unknown.wal);
    let missing = plan_of(&history, &[], &[early]);
    assert!(!missing.wal.iter().any(|range| range.timeline.get() == early), "{:?}", missing.wal);
}

fn plan_of(history: &History, unreadable: &[u32], missing: &[u32]) -> TreePlan {
    plan(&history.facts(unreadable, missing), &keep(1), history.now).unwrap()
}
