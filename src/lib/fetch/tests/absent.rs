use std::time::Duration;

use super::super::FetchError;
use super::scene::{HISTORY_OF_1, SEGMENT, Scene, set_age};
use crate::error::{Classified, ErrorClass};
use crate::repository::PackOptions;
use crate::repository::backup_testing::backup;

const HISTORY_OF_1_AND_2: &[u8] = include_bytes!("../../../../tests/data/postgres-15/00000003.history");

/// Rows: what is archived, what is asked for, the class of the answer.
#[test]
fn absence_is_claimed_only_when_nothing_later_is_there() {
    let absent = ErrorClass::NotFound;
    let hole = ErrorClass::Corrupt;
    let rows: [(&[&str], &str, ErrorClass); 27] = [
        (&[], SEGMENT, absent),
        (&["000000010000000000000002"], SEGMENT, absent),
        (&["000000010000000000000004"], SEGMENT, hole),
        (&["0000000100000000000000FF"], SEGMENT, hole),
        (&["0000000100000F0000000000"], SEGMENT, hole),
        // Another timeline is another range.
        (&["000000020000000000000004"], SEGMENT, absent),
        (&["000000010000000000000004"], "000000020000000000000003", absent),
        // What is not whole is not a segment, neither as the answer nor as proof.
        (&["000000010000000000000003.partial"], SEGMENT, absent),
        (&["000000010000000000000004.partial"], SEGMENT, absent),
        (&["000000010000000000000004.partial", "000000010000000000000005"], SEGMENT, hole),
        (&[SEGMENT, "000000010000000000000004"], "000000010000000000000003.partial", absent),
        (&[SEGMENT], "000000010000000000000003.00000028.backup", absent),
        // Where a descendant went through before it forked, everything was archived; from its fork on it need not be.
        (&["00000002.history"], "000000010000000000000001", hole),
        (&["00000002.history"], "0000000100000000000000F0", absent),
        (&["00000002.history"], "000000020000000000000001", absent),
        // Histories.
        (&[], "00000002.history", absent),
        (&[SEGMENT], "00000002.history", absent),
        (&["00000002.history", "000000020000000000000003"], "00000003.history", absent),
        (&["00000003.history:1"], "00000002.history", absent),
        (&["00000003.history:1,2"], "00000002.history", hole),
        (&["000000020000000000000003"], "00000002.history", hole),
        (&["000000020000000000000003.partial"], "00000002.history", absent),
        // The first timeline has none, whatever descends from it.
        (&["000000010000000000000003"], "00000001.history", absent),
        (&["00000002.history"], "00000001.history", absent),
        (&["00000003.history:1,2"], "00000001.history", absent),
        (&["00000003.history:damaged"], "00000001.history", absent),
        (&["00000003.history:damaged"], "00000002.history", hole),
    ];
    for (archived, asked, expected) in rows {
        let scene = Scene::new();
        for name in archived {
            match name.split_once(':') {
                None if name.ends_with(".history") => scene.store(name, HISTORY_OF_1),
                None => scene.store_segment(name),
                Some((name, "1")) => scene.store(name, HISTORY_OF_1),
                Some((name, "1,2")) => scene.store(name, HISTORY_OF_1_AND_2),
                Some((name, _)) => scene.store(name, b"no history at all"),
            }
        }
        let error = scene.fetch(asked).unwrap_err();
        assert_eq!(error.class(), expected, "{archived:?} {asked}: {error:?}");
        let is_about_another = archived.iter().any(|name| name.ends_with(":damaged"));
        assert!(error.to_string().contains(asked) || is_about_another, "{error}");
        assert!(error.to_string().contains("repository \""), "{error}");
        assert_eq!(scene.files_in_pg_wal(), [""; 0]);
    }
}

#[test]
fn a_hole_names_what_is_missing_and_what_is_there() {
    let scene = Scene::new();
    scene.store_segment("000000010000000000000005");
    let error = scene.fetch(SEGMENT).unwrap_err();
    assert!(matches!(error, FetchError::Hole { .. }), "{error:?}");
    let root = scene.repository_root();
    let expected = format!(
        "\"{SEGMENT}\" is missing in repository \"{}\", which has \"000000010000000000000005\"",
        root.display()
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_young_hole_is_in_flight_and_an_old_one_is_not() {
    for (archived, asked) in [
        ("000000010000000000000004", SEGMENT),
        ("000000020000000000000003", "00000002.history"),
        ("00000003.history", "00000002.history"),
    ] {
        let scene = Scene::new();
        if archived.ends_with(".history") {
            scene.store(archived, HISTORY_OF_1_AND_2);
        } else {
            scene.store_segment(archived);
        }
        for (age, expected) in [(0, ErrorClass::Unavailable), (58, ErrorClass::Unavailable), (61, ErrorClass::Corrupt)]
        {
            set_age(&scene.stored(archived), age);
            let error = scene.fetch(asked).unwrap_err();
            assert_eq!(error.class(), expected, "{archived} after {age} s: {error:?}");
        }
        // A store whose clock is ahead.
        let ahead = std::time::SystemTime::now() + Duration::from_secs(500);
        std::fs::File::open(scene.stored(archived)).unwrap().set_modified(ahead).unwrap();
        assert_eq!(scene.fetch(asked).unwrap_err().class(), ErrorClass::Unavailable);
    }
}

#[test]
fn what_is_in_flight_is_waited_for() {
    let scene = std::sync::Arc::new(Scene::new());
    scene.store_segment("000000010000000000000004");
    set_age(&scene.stored("000000010000000000000004"), 1);
    let mut options = scene.options(SEGMENT);
    options.patience = Duration::from_secs(60);
    let open = std::mem::replace(&mut options.open_repository, Box::new(|| unreachable!()));
    let (archiver, calls) = (scene.clone(), std::sync::atomic::AtomicUsize::new(0));
    options.open_repository = Box::new(move || {
        if calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 2 {
            archiver.store_segment(SEGMENT);
        }
        open()
    });
    scene.run(&options).unwrap();
    assert!(scene.destination().exists());
}

/// A partial copy of a repository has lost its newest WAL, and its records still say that it was there.
#[test]
fn what_a_listed_backup_had_is_missing_and_never_absent() {
    let scene = Scene::new();
    assert_eq!(scene.fetch("000000010000000000000001").unwrap_err().class(), ErrorClass::NotFound);
    backup(&scene.test, &std::collections::BTreeMap::new(), PackOptions::default());
    let error = scene.fetch("000000010000000000000001").unwrap_err();
    assert!(matches!(error, FetchError::LostBehindBackup { .. }), "{error:?}");
    assert_eq!(error.class(), ErrorClass::Corrupt);
    // While the WAL of the backup itself is gone, nothing is proven of what comes after it either.
    for asked in ["0000000100000000000000F0", "000000020000000000000001", "00000002.history"] {
        let error = scene.fetch(asked).unwrap_err();
        assert!(matches!(error, FetchError::WalOfBackupLost { .. }), "{asked}: {error:?}");
        assert_eq!(error.class(), ErrorClass::Corrupt);
        let text = error.to_string();
        assert!(text.contains(asked) && text.contains("\"000000010000000000000002\""), "{text}");
    }
    assert_eq!(scene.fetch("00000001.history").unwrap_err().class(), ErrorClass::NotFound);
    scene.store_segment("000000010000000000000002");
    for asked in ["0000000100000000000000F0", "000000020000000000000001", "00000002.history"] {
        assert_eq!(scene.fetch(asked).unwrap_err().class(), ErrorClass::NotFound, "{asked}");
    }
}

/// The newest backup speaks for the archive: the WAL of older ones may have been taken away with intent.
#[test]
fn the_wal_of_the_newest_backup_is_what_must_be_there() {
    let scene = Scene::new();
    scene.store_segment("000000010000000000000002");
    let none = std::collections::BTreeMap::new();
    let first = backup(&scene.test, &none, PackOptions::default());
    let newest = backup(&scene.test, &none, PackOptions::default());
    std::fs::remove_dir_all(scene.repository_root().join("main").join(first.system_identifier.to_string()).join("wal"))
        .unwrap();
    match scene.fetch("0000000100000000000000F0").unwrap_err() {
        FetchError::WalOfBackupLost { backup, .. } => assert_eq!(backup, newest.id),
        error => panic!("{error:?}"),
    }
}
