//! Segments at a fork, as each of several servers hands them over.

use super::scene::Scene;
use crate::error::{Classified, ErrorClass};
use crate::pg::testing::{MADE_NUMBER, MadeEnd, made_segment, segment_size};
use crate::pg::{Lsn, TimelineId, WalSegmentName};
use crate::repository::Stored;

fn name(timeline: u32) -> String {
    WalSegmentName::from_number(TimelineId::new(timeline).unwrap(), MADE_NUMBER, segment_size()).unwrap().to_string()
}

/// That of timeline 4, which left 3 there.
fn history(switch_lsn: Lsn) -> Vec<u8> {
    format!("1\t0/100000\tx\n3\t{switch_lsn}\tno recovery target specified\n").into_bytes()
}

/// Standby d follows c, whose upstream was b; b's promotion ends the stream, and d's walreceiver marks what it has of the
/// segment as ready. Production goes on on timeline 3 and fills the same segment.
#[test]
fn a_segment_that_was_cut_off_at_a_fork_leaves_its_name_free() {
    for is_archived in [false, true] {
        for fill in [0, 7] {
            let scene = Scene::new();
            let (cut, log_end) = made_segment(3, &[7, 8, 9], MadeEnd::Cut, fill);
            scene.write(&name(3), &cut);
            scene.write("00000003.history", b"1\t0/100000\tx\n");
            scene.write("00000004.history", &history(log_end));
            if is_archived {
                scene.archive("00000004.history").unwrap();
                std::fs::remove_file(scene.path("00000004.history")).unwrap();
            }
            // As b stores it, so that its rows are somewhere whatever becomes of the others.
            let partial = format!("{}.partial", name(3));
            let report = scene.archive(&name(3)).unwrap();
            assert_eq!((report.stored, report.name.to_string()), (Some(Stored::Created), partial.clone()));
            let warning = report.warning.unwrap();
            for part in [&name(3), &partial, &format!("where timeline 4 left timeline 3 at {log_end}")] {
                assert!(warning.contains(part), "{warning}");
            }
            assert!(!scene.test.stored(&name(3)).exists());
            assert!(scene.archived(&partial) == cut);
            assert_eq!(scene.archive(&name(3)).unwrap().stored, Some(Stored::Identical));
            scene.write(&partial, &made_segment(3, &[7, 8, 9], MadeEnd::Cut, 3).0);
            assert_eq!(scene.archive(&partial).unwrap().stored, Some(Stored::Identical));
            scene.write(&name(3), &made_segment(3, &[7, 8, 9, 10], MadeEnd::Full, 0).0);
            assert_eq!(scene.archive(&name(3)).unwrap().stored, Some(Stored::Created));
            scene.write(&name(4), &made_segment(3, &[7, 8, 9, 11], MadeEnd::Full, 0).0);
            assert_eq!(scene.archive(&name(4)).unwrap().stored, Some(Stored::Created));
        }
    }
}

#[test]
fn a_segment_that_was_cut_off_at_a_fork_is_left_out_when_its_copy_is_stored() {
    let scene = Scene::new();
    let (cut, log_end) = made_segment(3, &[7, 8, 9], MadeEnd::Cut, 0);
    scene.write("00000003.history", b"1\t0/100000\tx\n");
    scene.write("00000004.history", &history(log_end));
    scene.write(&name(4), &made_segment(3, &[7, 8, 9, 11], MadeEnd::Full, 0).0);
    scene.archive(&name(4)).unwrap();
    scene.write(&name(3), &cut);
    let report = scene.archive(&name(3)).unwrap();
    assert_eq!((report.stored, report.name.to_string()), (None, name(3)));
    let warning = report.warning.unwrap();
    for part in [name(3), name(4), format!("where timeline 4 left timeline 3 at {log_end}")] {
        assert!(warning.contains(&part), "{warning}");
    }
    assert!(!scene.test.stored(&format!("{}.partial", name(3))).exists());
}

/// Only a part of one record came: stored, it would stand in the way of another one's, which has other bytes behind it.
#[test]
fn a_segment_in_which_no_record_ends_is_left_out() {
    let scene = Scene::new();
    let (mut cut, log_end) = made_segment(3, &[7, 8, 9], MadeEnd::Cut, 0);
    cut[60..].fill(0);
    scene.write("00000003.history", b"1\t0/100000\tx\n");
    scene.write("00000004.history", &history(log_end));
    scene.write(&name(3), &cut);
    let report = scene.archive(&name(3)).unwrap();
    assert_eq!(report.stored, None);
    assert!(report.warning.unwrap().contains("no record of the log ends in it"));
}

/// Nothing of the segment's log may be anywhere but in the descendant's copy.
#[test]
fn a_segment_that_may_hold_more_than_its_descendant_is_stored() {
    let (cut, log_end) = made_segment(3, &[7, 8, 9], MadeEnd::Cut, 0);
    let mut damaged = made_segment(3, &[7, 8, 9], MadeEnd::Full, 0).0;
    damaged[4000] ^= 1;
    damaged.truncate(900 << 10);
    damaged.resize(cut.len(), 0);
    let begin = Lsn::new(5 << 20).unwrap();
    let behind = Lsn::new(6 << 20).unwrap().checked_add(1).unwrap();
    let rows = [
        ("no history", cut.clone(), None),
        ("the fork lies before its end", cut.clone(), log_end.checked_sub(8)),
        ("the fork lies before it", cut.clone(), Some(begin)),
        ("the fork lies behind it", cut, Some(behind)),
        ("a switch ends it", made_segment(3, &[7, 8, 9], MadeEnd::Switch, 7).0, Some(log_end)),
        ("it is full", made_segment(3, &[7, 8, 9], MadeEnd::Full, 7).0, Some(log_end)),
        ("it is damaged", damaged, Some(log_end)),
    ];
    for (what, content, fork) in rows {
        let scene = Scene::new();
        scene.write("00000003.history", b"1\t0/100000\tx\n");
        if let Some(fork) = fork {
            scene.write("00000004.history", &history(fork));
        }
        scene.write(&name(3), &content);
        let report = scene.archive(&name(3)).unwrap();
        assert_eq!((report.stored, report.warning), (Some(Stored::Created), None), "{what}");
        assert!(scene.archived(&name(3)) == content, "{what}");
    }
    let (scene, partial) = (Scene::new(), format!("{}.partial", name(3)));
    let (cut, log_end) = made_segment(3, &[7, 8, 9], MadeEnd::Cut, 0);
    scene.write("00000003.history", b"1\t0/100000\tx\n");
    scene.write("00000004.history", &history(log_end));
    scene.write(&partial, &cut);
    assert_eq!(scene.archive(&partial).unwrap().stored, Some(Stored::Created));
}

/// The primary was promoted while it did not archive, to a number that the archive knows from a server that is lost.
#[test]
fn a_segment_of_another_timeline_of_that_number_is_refused() {
    let (ours, theirs) = (&b"1\t0/100000\tx\n"[..], &b"1\t0/200000\tx\n"[..]);
    for name in [name(3), format!("{}.partial", name(3))] {
        let scene = Scene::new();
        scene.write("00000003.history", theirs);
        scene.archive("00000003.history").unwrap();
        scene.write(&name, &made_segment(3, &[7], MadeEnd::Full, 0).0);
        scene.write("00000003.history", ours);
        let error = scene.archive(&name).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Conflict, "{error:?}");
        let text = error.to_string();
        for part in [&name, "that began at 0/200000 of timeline 1, this one at 0/100000 of timeline 1"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!scene.test.stored(&name).exists());
        // The same timeline in other words is the same, and without a history that can be read nothing is known.
        for same in [&b"# copied\n1\t0/200000\tbefore 2000-01-01\n"[..], b"", b"x"] {
            scene.write("00000003.history", same);
            let report = scene.archive(&name).unwrap();
            assert_eq!(report.warning, None);
        }
    }
}
