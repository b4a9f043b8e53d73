//! Which backup and which timelines are chosen, as tables with decoys.

use super::choose::{Request, choose};
use super::error::RestoreError;
use super::testing::{archive, id, lsn, record, time, tli};
use super::unfollowed::Unfollowed;
use crate::error::{Classified, ErrorClass};
use crate::pg::{RecoveryTarget, RecoveryTargetTimeline, TargetBound};
use crate::repository::ArchiveFacts;
use crate::repository::BackupRecord;

/// Names a variant, for tables.
fn name(error: &RestoreError) -> &'static str {
    match error {
        RestoreError::NoBackup { .. } => "no backup",
        RestoreError::UnknownBackup { .. } => "unknown backup",
        RestoreError::TargetBeforeBackup { .. } => "before",
        RestoreError::TargetBehindArchive { .. } | RestoreError::TimeBehindArchive { .. } => "past",
        RestoreError::Hole { .. } => "hole",
        RestoreError::BackupWithoutWal { .. } => "backup wal",
        RestoreError::AmbiguousTimeline { .. } => "ambiguous",
        RestoreError::UnknownTimeline { .. } => "no history",
        RestoreError::NotOnTimeline { .. } => "not on timeline",
        _ => "other",
    }
}

fn target(text: &str) -> RecoveryTarget {
    use TargetBound::Inclusive;
    match text.split_once(' ') {
        None if text == "latest" => RecoveryTarget::Latest,
        None if text == "immediate" => RecoveryTarget::Immediate,
        Some(("lsn", at)) => RecoveryTarget::Lsn(lsn(at), Inclusive),
        Some(("xid", xid)) => RecoveryTarget::TransactionId(xid.parse().unwrap(), Inclusive),
        Some(("name", name)) => RecoveryTarget::RestorePoint(name.parse().unwrap()),
        Some(("at", hour)) => RecoveryTarget::Time(time(&format!("2026-11-20T{hour}:00Z")), Inclusive),
        _ => panic!("{text}"),
    }
}

fn request(text: &str) -> Request {
    Request { target: target(text), timeline: RecoveryTargetTimeline::Latest, backup: None }
}

/// The backup's number and the timeline, or which error.
fn chosen(request: &Request, backups: &[BackupRecord], archive: &ArchiveFacts) -> Result<(u64, u32), &'static str> {
    let choice = choose(request, backups, archive).map_err(|error| name(&error))?;
    Ok((choice.record.sequence, choice.path.timeline().get()))
}

fn warned(warnings: &[String], text: &str) -> bool {
    warnings.iter().any(|warning| warning.contains(text))
}

/// Backups of segments 2, 5 and 9 of timeline 1, which ended at 10, 11 and 13 o'clock.
fn three() -> Vec<BackupRecord> {
    vec![
        record(1, (1, "0/2000028"), (1, "0/2000100"), "2026-11-20T10:00:00Z"),
        record(2, (1, "0/5000028"), (1, "0/5000100"), "2026-11-20T11:00:00Z"),
        record(3, (1, "0/9000028"), (1, "0/9000100"), "2026-11-20T13:00:00Z"),
    ]
}

#[test]
fn the_newest_backup_that_ended_before_the_target_is_taken() {
    let archive = archive(&[(1, 1, 12, "2026-11-20T14:00:00Z")], &[]);
    for (text, expected) in [
        ("latest", Ok((3, 1))),
        ("immediate", Ok((3, 1))),
        ("xid 700", Ok((3, 1))),
        ("name before", Ok((3, 1))),
        ("at 13:30", Ok((3, 1))),
        ("at 13:00", Ok((3, 1))),
        ("at 12:59", Ok((2, 1))),
        ("at 11:00", Ok((2, 1))),
        ("at 10:00", Ok((1, 1))),
        ("at 09:59", Err("before")),
        ("at 14:05", Ok((3, 1))),
        ("at 14:06", Err("past")),
        ("lsn 0/9000100", Ok((3, 1))),
        ("lsn 0/90000FF", Ok((2, 1))),
        ("lsn 0/2000100", Ok((1, 1))),
        ("lsn 0/20000FF", Err("before")),
        ("lsn 0/CFFFFFF", Ok((3, 1))),
        ("lsn 0/D000000", Err("past")),
    ] {
        assert_eq!(chosen(&request(text), &three(), &archive), expected, "{text}");
    }
}

#[test]
fn the_order_of_backups_is_their_sequence_and_decoys_are_passed_over() {
    let archive = archive(&[(1, 1, 12, "2026-11-20T14:00:00Z")], &[]);
    let mut backups = three();
    backups.reverse();
    assert_eq!(chosen(&request("latest"), &backups, &archive), Ok((3, 1)));
    // One with findings, newer.
    let mut with_findings = record(4, (1, "0/A000028"), (1, "0/A000100"), "2026-11-20T13:10:00Z");
    with_findings.findings = vec!["a page".to_owned()];
    backups.push(with_findings);
    let choice = choose(&request("latest"), &backups, &archive).unwrap();
    assert_eq!((choice.record.sequence, warned(&choice.warnings, "damage was found in backup")), (3, true));
    // Named, the one with findings is taken, and says so.
    let named = |number, text: &str| Request { backup: Some(id(number)), ..request(text) };
    let choice = choose(&named(4, "latest"), &backups, &archive).unwrap();
    assert!(warned(&choice.warnings, "a page"));
    for (number, text, expected) in [
        (1, "at 12:00", Ok((1, 1))),
        (2, "at 10:30", Err("before")),
        (2, "lsn 0/5000001", Err("before")),
        (3, "at 12:00", Err("before")),
        (9, "latest", Err("unknown backup")),
    ] {
        assert_eq!(chosen(&named(number, text), &backups, &archive), expected, "{number} {text}");
    }
}

#[test]
fn nothing_to_restore_is_a_negative_answer() {
    let archive = archive(&[], &[]);
    let error = choose(&request("latest"), &[], &archive).unwrap_err();
    assert_eq!((name(&error), error.class()), ("no backup", ErrorClass::NotFound));
}

#[test]
fn holes_are_refused_where_they_are_in_the_way() {
    let holed = archive(&[(1, 1, 6, "2026-11-20T11:30:00Z"), (1, 8, 12, "2026-11-20T14:00:00Z")], &[]);
    let old: Vec<BackupRecord> = three().into_iter().take(2).collect();
    for (text, expected) in [
        ("latest", Err("hole")),
        ("at 11:20", Ok((2, 1))),
        ("at 11:31", Err("hole")),
        ("lsn 0/6FFFFFF", Ok((2, 1))),
        ("lsn 0/7000000", Err("hole")),
        ("lsn 0/8000000", Err("hole")),
        ("xid 700", Ok((2, 1))),
        ("immediate", Ok((2, 1))),
    ] {
        assert_eq!(chosen(&request(text), &old, &holed), expected, "{text}");
    }
    let Err(RestoreError::Hole { hole, reachable_time, .. }) = choose(&request("latest"), &old, &holed) else {
        panic!("no hole");
    };
    assert_eq!((hole.first.to_string(), hole.count), ("000000010000000000000007".to_owned(), 1));
    assert_eq!((hole.reachable_lsn, reachable_time), (lsn("0/7000000"), Some(time("2026-11-20T11:30:00Z"))));
    let choice = choose(&request("at 11:20"), &old, &holed).unwrap();
    assert!(warned(&choice.doubts, "hole from \"000000010000000000000007\""));
    // A backup after the hole does not care.
    assert_eq!(chosen(&request("latest"), &three(), &holed), Ok((3, 1)));
}

#[test]
fn a_backup_needs_its_own_wal() {
    let archive = archive(&[(1, 3, 8, "2026-11-20T14:00:00Z")], &[]);
    for text in ["latest", "immediate", "at 13:30"] {
        assert_eq!(chosen(&request(text), &three(), &archive), Err("backup wal"), "{text}");
    }
}

#[test]
fn a_promotion_is_followed_and_points_before_the_fork_stay_reachable() {
    // Segment 10 exists on timeline 2 alone: the old primary died in it.
    let archive = archive(
        &[(1, 1, 9, "2026-11-20T13:30:00Z"), (2, 10, 12, "2026-11-20T15:00:00Z")],
        &[(2, "1\t0/A800000\tno recovery target specified\n")],
    );
    for (text, expected) in [
        ("latest", Ok((3, 2))),
        ("at 13:10", Ok((3, 2))),
        ("at 14:50", Ok((3, 2))),
        ("lsn 0/A700000", Ok((3, 2))),
        ("lsn 0/9000200", Ok((3, 2))),
        ("lsn 0/CFFFFFF", Ok((3, 2))),
        ("lsn 0/D000000", Err("past")),
        ("immediate", Ok((3, 1))),
    ] {
        assert_eq!(chosen(&request(text), &three(), &archive), expected, "{text}");
    }
    let on = |timeline, text: &str| Request { timeline, ..request(text) };
    let number = |number| RecoveryTargetTimeline::Id(tli(number));
    assert_eq!(chosen(&on(number(1), "latest"), &three(), &archive), Ok((3, 1)));
    assert_eq!(chosen(&on(RecoveryTargetTimeline::Current, "latest"), &three(), &archive), Ok((3, 1)));
    assert_eq!(chosen(&on(RecoveryTargetTimeline::Latest, "latest"), &three(), &archive), Ok((3, 2)));
    assert_eq!(chosen(&on(number(7), "latest"), &three(), &archive), Err("no history"));
    assert_eq!(chosen(&on(number(1), "lsn 0/A000001"), &three(), &archive), Err("past"));
}

#[test]
fn a_first_recovery_leaves_two_paths_and_only_what_is_the_same_on_both_is_taken() {
    // A recovery to 12:00 (0/7000000) made timeline 2; timeline 1 had gone on to segment 12.
    let archive = archive(
        &[(1, 1, 12, "2026-11-20T14:00:00Z"), (2, 7, 9, "2026-11-20T16:00:00Z")],
        &[(2, "1\t0/7000000\tbefore 2026-11-20 12:00:01\n")],
    );
    let mut backups: Vec<BackupRecord> = three().into_iter().take(2).collect();
    for (text, expected) in [
        ("latest", Ok((2, 2))),
        ("xid 700", Err("ambiguous")),
        ("lsn 0/6000000", Ok((2, 2))),
        ("lsn 0/8000000", Err("ambiguous")),
        ("lsn 0/B000000", Ok((2, 1))),
        ("at 11:30", Err("ambiguous")),
        ("at 13:00", Err("ambiguous")),
        // Before a backup that ended before the fork: surely common.
        ("at 10:59", Ok((1, 2))),
        // Later than all that timeline 1 has.
        ("at 15:00", Ok((2, 2))),
    ] {
        assert_eq!(chosen(&request(text), &backups, &archive), expected, "{text}");
    }
    let one = Request { timeline: RecoveryTargetTimeline::Id(tli(1)), ..request("at 13:00") };
    assert_eq!(chosen(&one, &backups, &archive), Ok((2, 1)));
    let Err(RestoreError::AmbiguousTimeline { branches, .. }) = choose(&request("at 13:00"), &backups, &archive) else {
        panic!("not ambiguous");
    };
    assert_eq!(branches.iter().map(|branch| branch.timeline.get()).collect::<Vec<_>>(), [1, 2]);
    // A backup on the branch that was left is newer than all others: which history is meant?
    backups.push(record(3, (1, "0/9000028"), (1, "0/9000100"), "2026-11-20T13:00:00Z"));
    assert_eq!(chosen(&request("latest"), &backups, &archive), Err("ambiguous"));
    // One on the new timeline settles it.
    backups.push(record(4, (2, "0/8000028"), (2, "0/8000100"), "2026-11-20T15:30:00Z"));
    assert_eq!(chosen(&request("latest"), &backups, &archive), Ok((4, 2)));
    assert_eq!(chosen(&request("immediate"), &backups, &archive), Ok((4, 2)));
}

#[test]
fn two_branches_are_refused_and_a_stray_history_too() {
    let archive = archive(
        &[(1, 1, 9, "2026-11-20T13:30:00Z"), (2, 10, 12, "2026-11-20T15:00:00Z"), (3, 10, 14, "2026-11-20T17:00:00Z")],
        &[(2, "1\t0/A000000\tx\n"), (3, "1\t0/A000000\tx\n")],
    );
    for (text, expected) in [
        ("latest", Err("ambiguous")),
        ("name x", Err("ambiguous")),
        ("at 14:00", Err("ambiguous")),
        ("at 16:00", Ok((3, 3))),
        ("at 10:30", Ok((1, 3))),
        ("lsn 0/9000200", Ok((3, 3))),
        ("lsn 0/B000000", Err("ambiguous")),
        ("lsn 0/D000001", Ok((3, 3))),
        ("immediate", Ok((3, 1))),
    ] {
        assert_eq!(chosen(&request(text), &three(), &archive), expected, "{text}");
    }
    // A clone's history that forks before the newest backup (contract A3.6).
    let stray = super::testing::archive(
        &[(1, 1, 12, "2026-11-20T14:00:00Z"), (2, 4, 4, "2026-11-20T12:00:00Z")],
        &[(2, "1\t0/4000000\tx\n")],
    );
    assert_eq!(chosen(&request("latest"), &three(), &stray), Err("ambiguous"));
}

#[test]
fn a_backup_whose_timeline_has_no_history_is_not_passed_over() {
    let archive = archive(&[(1, 1, 9, "2026-11-20T13:30:00Z"), (2, 10, 12, "2026-11-20T15:00:00Z")], &[]);
    let mut backups = three();
    backups.push(record(4, (2, "0/B000028"), (2, "0/B000100"), "2026-11-20T14:30:00Z"));
    assert_eq!(chosen(&request("latest"), &backups, &archive), Err("no history"));
    let choice = choose(&request("at 13:10"), &backups, &archive).unwrap();
    let without = warned(&choice.warnings, "timeline 2 has no history");
    assert_eq!((choice.record.sequence, without), (3, true));
}

/// A copy that was promoted while archiving was off: its WAL is archived, and its history never was.
#[test]
fn wal_whose_timeline_has_no_history_is_not_passed_over() {
    let archive = archive(&[(1, 1, 9, "2026-11-20T13:30:00Z"), (2, 8, 12, "2026-11-20T15:00:00Z")], &[]);
    let two: Vec<BackupRecord> = three().into_iter().take(2).collect();
    for (text, expected) in [
        ("latest", Err("no history")),
        // Behind all that timeline 1 has.
        ("at 14:30", Err("no history")),
        ("lsn 0/B000000", Err("no history")),
        // Reading tells whether these lie before it.
        ("at 11:30", Ok((2, 1))),
        ("lsn 0/8000000", Ok((2, 1))),
        ("xid 700", Ok((2, 1))),
        ("immediate", Ok((2, 1))),
    ] {
        assert_eq!(chosen(&request(text), &two, &archive), expected, "{text}");
    }
    for timeline in [RecoveryTargetTimeline::Id(tli(1)), RecoveryTargetTimeline::Current] {
        let named = |text| chosen(&Request { timeline, ..request(text) }, &two, &archive);
        assert_eq!((named("latest"), named("at 14:30")), (Ok((2, 1)), Err("past")));
    }
    let refused = choose(&request("latest"), &two, &archive).unwrap_err();
    assert_eq!(refused.class(), ErrorClass::Refused);
    let text = "timeline 2 cannot be followed: the archive has its WAL, \"000000020000000000000008\" to \
                \"00000002000000000000000C\", and lacks its history";
    assert_eq!(refused.to_string(), text);
    let begins = |text| {
        let request = request(text);
        let choice = choose(&request, &two, &archive).unwrap();
        Unfollowed::beside(&choice.path, &request, &two, &archive).map(|one| (one.timeline.get(), one.begins))
    };
    let it = Some((2, lsn("0/8000000")));
    assert_eq!((begins("at 11:30"), begins("lsn 0/8000000"), begins("xid 700")), (it, it, it));
    // Proven to lie before it: by its position, or by a backup that ended after it and before that one.
    assert_eq!((begins("lsn 0/7FFFFFF"), begins("at 10:30"), begins("immediate")), (None, None, None));
}

/// The newest WAL is lost, and the record of a later backup says that it was there.
#[test]
fn what_a_later_backup_had_is_a_hole_too() {
    let cut = archive(&[(1, 1, 6, "2026-11-20T11:30:00Z")], &[]);
    let mut from_the_second = request("latest");
    from_the_second.backup = Some(id(2));
    let Err(RestoreError::Hole { hole, .. }) = choose(&from_the_second, &three(), &cut) else { panic!("no hole") };
    let names = (hole.first.to_string(), hole.last.to_string(), hole.count);
    assert_eq!(names, ("000000010000000000000007".to_owned(), "000000010000000000000009".to_owned(), 3));
    let two: Vec<BackupRecord> = three().into_iter().take(2).collect();
    assert_eq!(chosen(&from_the_second, &two, &cut), Ok((2, 1)));
    assert_eq!(chosen(&request("immediate"), &two, &cut), Ok((2, 1)));
}
