//! `fetch::run` on a local repository with segments that real servers began.

mod absent;
mod failures;
mod recovery_mode;
mod scene;
mod stalled;

use scene::{HISTORY_OF_1, SEGMENT, Scene};

use crate::pg::testing::wal_segment;

#[test]
fn every_kind_of_file_comes_back_whole() {
    let scene = Scene::new();
    for (name, content) in [
        (SEGMENT, wal_segment(SEGMENT, 1)),
        ("000000010000000000000004.partial", wal_segment("000000010000000000000004", 2)),
        ("000000010000000000000003.00000028.backup", b"START WAL LOCATION: 0/3000028\n".to_vec()),
        ("00000002.history", HISTORY_OF_1.to_vec()),
    ] {
        scene.store(name, &content);
        let report = scene.fetch(name).unwrap();
        assert_eq!((report.name.to_string(), report.bytes), (name.to_owned(), content.len() as u64));
        assert!(std::fs::read(scene.destination()).unwrap() == content, "{name}");
        assert_eq!(scene.files_in_pg_wal(), ["RECOVERYXLOG"]);
    }
}

/// PostgreSQL says `pg_wal/RECOVERYXLOG` and runs us in the data directory: what is relative is relative to that.
#[test]
fn the_cluster_is_found_from_the_data_directory() {
    let scene = Scene::new();
    scene.store(SEGMENT, &wal_segment(SEGMENT, 1));
    let mut options = scene.options(SEGMENT);
    options.working_directory = "/".into();
    scene.run(&options).unwrap();
    // Nothing here is a data directory: the only cluster is taken.
    options.destination = scene.temp.path().join("by-hand");
    scene.run(&options).unwrap();
    // The working directory is asked when the destination lies elsewhere.
    options.working_directory = scene.data.clone();
    std::fs::write(scene.control_file(), crate::pg::testing::OTHER_CONTROL_FILE).unwrap();
    scene.run(&options).unwrap_err();
}

#[test]
fn left_over_staged_files_of_a_killed_fetch_are_removed() {
    let scene = Scene::new();
    let (old, young) = (scene.pg_wal().join(".pgv-staged-old"), scene.pg_wal().join(".pgv-staged-young"));
    for (path, age) in [(&old, 3700), (&young, 3500)] {
        std::fs::write(path, b"").unwrap();
        scene::set_age(path, age);
    }
    scene.fetch(SEGMENT).unwrap_err();
    assert_eq!(scene.files_in_pg_wal(), [".pgv-staged-young"]);
}
