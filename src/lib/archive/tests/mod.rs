//! `archive::run` on a local repository with segments that real servers began.

mod failures;
mod forks;
mod races;
mod scene;

use std::time::Duration;

use scene::{BACKUP_HISTORY, HISTORY_OF_1, SEGMENT, Scene};

use super::{ArchiveError, ArchiveOptions, run_within};
use crate::pg::testing::wal_segment;
use crate::pg::{PgMajorVersion, WalFileName, WalSegmentSize};
use crate::repository::{ClusterIdentity, ClusterName, ClusterRef, ClusterSelection, Stored, WalArchive};

#[test]
fn every_kind_of_file_is_stored_once_and_identical_again_is_a_success() {
    let scene = Scene::new();
    for (name, content) in [
        (SEGMENT, wal_segment(SEGMENT, 1)),
        ("000000010000000000000003.partial", wal_segment(SEGMENT, 2)),
        ("000000010000000000000003.00000028.backup", BACKUP_HISTORY.to_vec()),
        ("00000002.history", HISTORY_OF_1.to_vec()),
    ] {
        scene.write(name, &content);
        for expected in [Stored::Created, Stored::Identical, Stored::Identical] {
            let report = scene.archive(name).unwrap();
            assert_eq!(report.stored, Some(expected), "{name}");
            assert_eq!((report.name.to_string(), report.bytes), (name.to_owned(), content.len() as u64));
            assert!(scene.archived(name) == content, "{name}");
        }
    }
    assert_eq!(scene.files_in_staging(), [""; 0]);
}

/// The server does not sync a `.backup` file: after a crash of the system it may hand over an empty one, which must not
/// hold up the segments behind it.
#[test]
fn a_backup_history_file_that_a_crash_emptied_is_stored() {
    let scene = Scene::new();
    for (name, content) in [
        ("000000010000000000000003.00000028.backup", &[] as &[u8]),
        ("000000010000000000000004.00000028.backup", &[0; 300]),
    ] {
        scene.write(name, content);
        assert_eq!(scene.archive(name).unwrap().stored, Some(Stored::Created), "{name}");
        assert_eq!(scene.archived(name), content, "{name}");
    }
}

/// Neither the file nor that it was archived survives the crash.
#[test]
fn a_backup_history_file_that_a_crash_emptied_is_a_success_when_the_whole_one_is_stored() {
    let scene = Scene::new();
    let name = "000000010000000000000003.00000028.backup";
    scene.write(name, BACKUP_HISTORY);
    assert_eq!(scene.archive(name).unwrap().stored, Some(Stored::Created));
    for emptied in [&[][..], &[0; 300]] {
        scene.write(name, emptied);
        assert_eq!(scene.archive(name).unwrap().stored, Some(Stored::Identical));
        assert_eq!(scene.archived(name), BACKUP_HISTORY);
    }
    let mut damaged = std::fs::read(scene.test.stored(name)).unwrap();
    let last = damaged.len() - 30;
    damaged[last] ^= 1;
    std::fs::write(scene.test.stored(name), damaged).unwrap();
    assert!(scene.archive(name).is_err());
}

/// What servers of each version wrote, with another timeline in the name than at the start.
#[test]
fn a_backup_history_file_in_every_form_of_a_position_is_stored() {
    let scene = Scene::new();
    for (name, line) in [
        ("000000010000000200000003.00000028.backup", "START WAL LOCATION: 2/300028 (file 000000010000000200000003)"),
        ("000000010000000200000004.00000028.backup", "START WAL LOCATION: 2/00400028 (file 000000010000000200000004)"),
        ("0000000200000002000000FF.00FFFFD8.backup", "START WAL LOCATION: 2/FFFFFFD8 (file 0000000100000002000000FF)"),
    ] {
        scene.write(name, format!("{line}\nSTOP WAL LOCATION: 2/500000 (file x)\n").as_bytes());
        assert_eq!(scene.archive(name).unwrap().stored, Some(Stored::Created), "{name}");
    }
}

/// `%f` may differ from the last part of `%p`; without it that part is the name.
#[test]
fn the_name_is_the_one_that_postgresql_gives() {
    let scene = Scene::new();
    scene.write("RECOVERYXLOG", &wal_segment(SEGMENT, 1));
    let mut options = scene.options("RECOVERYXLOG");
    options.name = Some(SEGMENT.to_owned());
    assert_eq!(scene.run(options).unwrap().name.to_string(), SEGMENT);
    scene.write("000000010000000000000004", &wal_segment("000000010000000000000004", 1));
    let mut options = scene.options("000000010000000000000004");
    options.name = None;
    assert_eq!(scene.run(options).unwrap().name.to_string(), "000000010000000000000004");
}

/// A promotion copies the beginning of the old timeline's segment: its first page keeps the old timeline.
#[test]
fn the_first_segment_of_a_new_timeline_is_stored() {
    let scene = Scene::new();
    let name = "000000020000000000000003";
    scene.write(name, &wal_segment(name, 1));
    assert_eq!(scene.archive(name).unwrap().stored, Some(Stored::Created));
}

/// A server that was promoted while archiving was off never hands its history over.
#[test]
fn a_history_that_the_archive_lacks_goes_before_the_first_segment() {
    let (two, three, four) = ("00000002.history", "00000003.history", "00000004.history");
    let of_three = [HISTORY_OF_1, b"2\t0/4000000\tno recovery target specified\n"].concat();
    let of_four = [of_three.as_slice(), b"3\t0/5000000\tno recovery target specified\n"].concat();
    for name in ["000000040000000000000005", "000000040000000000000005.partial"] {
        let scene = Scene::new();
        scene.write(name, &wal_segment("000000040000000000000005", 1));
        // That of the second timeline is nowhere.
        scene.write(three, &of_three);
        scene.write(four, &of_four);
        let report = scene.archive(name).unwrap();
        assert_eq!((report.stored, report.warning), (Some(Stored::Created), None), "{name}");
        assert_eq!((scene.archived(three), scene.archived(four)), (of_three.clone(), of_four.clone()));
        assert!(!scene.test.stored(two).exists());
        assert_eq!(scene.archive(four).unwrap().stored, Some(Stored::Identical));
        // What is archived is not looked at again.
        scene.write(four, b"");
        assert_eq!(scene.archive(name).unwrap().warning, None);
    }
}

#[test]
fn a_history_that_cannot_be_used_is_told_and_holds_no_segment_up() {
    let name = "000000020000000000000003";
    for (content, words) in [
        (None, "there is no file \""),
        (Some(&b"x"[..]), "is not a timeline history file"),
        (Some(b""), "is not a timeline history file"),
    ] {
        let scene = Scene::new();
        scene.write(name, &wal_segment(name, 1));
        if let Some(content) = content {
            scene.write("00000002.history", content);
        }
        for expected in [Stored::Created, Stored::Identical] {
            let report = scene.archive(name).unwrap();
            let warning = report.warning.unwrap();
            assert_eq!(report.stored, Some(expected), "{warning}");
            for part in
                ["lacks the history of timeline 2", name, words, "pgv-archive --cluster main PATH/00000002.history"]
            {
                assert!(warning.contains(part), "{warning}");
            }
        }
        assert!(!scene.test.stored("00000002.history").exists());
        scene.write("00000002.history", HISTORY_OF_1);
        assert_eq!(scene.archive(name).unwrap().warning, None);
        assert_eq!(scene.archived("00000002.history"), HISTORY_OF_1);
    }
}

/// Larger than what is held in memory, a segment is read as it is stored.
#[test]
fn a_large_segment_is_stored() {
    let scene = Scene::new();
    let bytes = 32u64 << 20;
    let cluster = ClusterRef { name: ClusterName::parse("large").unwrap(), ..scene.test.cluster.clone() };
    let identity = ClusterIdentity {
        cluster: cluster.name.clone(),
        system_identifier: cluster.system_identifier,
        major_version: PgMajorVersion::new(13).unwrap(),
        wal_segment_size: WalSegmentSize::new(bytes).unwrap(),
        since: "2026-11-21T00:00:00Z".parse().unwrap(),
    };
    scene.test.repository.register(&identity, &scene.test.writer).unwrap();
    let mut beginning = wal_segment(SEGMENT, 1);
    beginning[8..16].copy_from_slice(&(3 * bytes).to_le_bytes());
    beginning[32..36].copy_from_slice(&u32::try_from(bytes).unwrap().to_le_bytes());
    scene.write(SEGMENT, &beginning);
    std::fs::File::options().write(true).open(scene.path(SEGMENT)).unwrap().set_len(bytes).unwrap();
    for expected in [Stored::Created, Stored::Identical] {
        let selection = ClusterSelection::Named(cluster.name.clone());
        let report = scene.run(ArchiveOptions { selection, ..scene.options(SEGMENT) }).unwrap();
        assert_eq!((report.stored, report.bytes), (Some(expected), bytes));
    }
    let archive = WalArchive::new(&scene.test.repository, &cluster);
    let archived = archive.look_up(&WalFileName::parse(SEGMENT).unwrap()).unwrap().unwrap();
    assert_eq!(archived.plain_bytes, bytes);
}

#[test]
fn a_clone_is_refused_unless_it_names_the_cluster() {
    let scene = Scene::new();
    scene.write(SEGMENT, &wal_segment(SEGMENT, 1));
    let elsewhere = scene.temp.path().join("production");
    std::fs::create_dir(&elsewhere).unwrap();
    for pgdata in [elsewhere, scene.temp.path().join("absent")] {
        let refused = scene.run(ArchiveOptions { selection: scene.configured(&pgdata), ..scene.options(SEGMENT) });
        let error = refused.unwrap_err();
        assert!(matches!(&error, ArchiveError::OtherDirectory { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(pgdata.to_str().unwrap()) && text.contains(scene.data.to_str().unwrap()), "{text}");
    }
    assert!(!scene.test.stored(SEGMENT).exists());
    // By real path: a link to the data directory is the data directory.
    let link = scene.temp.path().join("link");
    std::os::unix::fs::symlink(&scene.data, &link).unwrap();
    for selection in [scene.configured(&link), ClusterSelection::Named(ClusterName::parse("main").unwrap())] {
        scene.run(ArchiveOptions { selection, ..scene.options(SEGMENT) }).unwrap();
    }
}

#[test]
fn a_store_that_hangs_is_given_up_in_time() {
    let scene = Scene::new();
    scene.write(SEGMENT, &wal_segment(SEGMENT, 1));
    let (_hold, wait) = std::sync::mpsc::channel::<()>();
    let options = ArchiveOptions {
        open_repository: Box::new(move || {
            let _ = wait.recv();
            unreachable!("the test holds the other end")
        }),
        ..scene.options(SEGMENT)
    };
    let error = run_within(options, Duration::from_millis(50)).unwrap_err();
    assert!(matches!(error, ArchiveError::TimedOut { .. }), "{error:?}");
    assert!(run_within(scene.options(SEGMENT), Duration::from_secs(50)).is_ok());
}

#[test]
fn a_defect_in_the_worker_reaches_the_caller() {
    let scene = Scene::new();
    scene.write(SEGMENT, &wal_segment(SEGMENT, 1));
    let options =
        ArchiveOptions { open_repository: Box::new(|| panic!("a defect for the test")), ..scene.options(SEGMENT) };
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = run_within(options, Duration::from_secs(50));
    }));
    assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"a defect for the test"));
}
