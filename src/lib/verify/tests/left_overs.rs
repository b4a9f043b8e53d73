//! What is no part of anything, and is no damage.

use super::scene::{Scene, options};
use crate::repository::{BackupBegin, BackupId, BackupWriter, PackOptions};
use crate::verify::{Depth, VerifyLeftOverKind, VerifyOptions};

#[test]
fn left_overs_are_told_and_are_no_damage() {
    let (scene, first, _) = Scene::sound();
    let root = scene.root();
    let packs = root.join("main").join(scene.test.cluster.system_identifier.to_string()).join("packs");
    let write = |path: std::path::PathBuf| std::fs::write(path, b"x").unwrap();
    write(root.join("notes.txt"));
    write(root.join("main/what is this"));
    write(root.join(".staging/.pgv-staged-0123"));
    write(packs.join(first.id.to_string()).join("00000099"));
    let id: BackupId = "20261121T143000Z-0000000f".parse().unwrap();
    let begin =
        BackupBegin { id, host: "db9".to_owned(), parents: Vec::new(), began: "2026-11-21T14:30:00Z".parse().unwrap() };
    let test = &scene.test;
    let writer = BackupWriter::begin(&test.repository, &test.cluster, &test.writer, &begin).unwrap();
    let mut stream = writer.packs(PackOptions::default()).unwrap();
    stream.write_frame(b"something").unwrap();
    stream.finish().unwrap();
    let report = scene.verify();
    assert_eq!(report.damaged, []);
    let mut found: Vec<_> = report.left_overs.iter().map(|one| (one.kind, one.object.clone(), one.objects)).collect();
    found.sort_by_key(|(_, object, _)| object.clone());
    let tree = format!("main/{}", scene.test.cluster.system_identifier);
    let expected = [
        (VerifyLeftOverKind::Staged, ".staging/.pgv-staged-0123".to_owned(), 1),
        (
            VerifyLeftOverKind::UnfinishedBackup,
            format!("backup {id} of cluster {}, begun on \"db9\"", scene.test.cluster),
            2,
        ),
        (VerifyLeftOverKind::Stray, "main/what is this".to_owned(), 1),
        (VerifyLeftOverKind::UnneededPack, format!("{tree}/packs/{}/00000099", first.id), 1),
        (VerifyLeftOverKind::Stray, "notes.txt".to_owned(), 1),
    ];
    let mut expected = expected.to_vec();
    expected.sort_by_key(|(_, object, _)| object.clone());
    assert_eq!(found, expected);
}

#[test]
fn a_quick_look_and_a_sample_read_less_and_say_so() {
    let (scene, ..) = Scene::sound();
    let full = scene.verify().read;
    let quick = scene.verify_with(VerifyOptions { depth: Depth::Quick, ..options() });
    assert_eq!(quick.damaged, []);
    assert_eq!(quick.read.objects, full.objects);
    assert!(quick.read.stored_bytes <= 512 * full.objects, "{:?}", quick.read);
    let sample = |percent, seed| {
        let report = scene.verify_with(VerifyOptions { depth: Depth::Sample { percent, seed }, ..options() });
        assert_eq!(report.damaged, []);
        report.read.stored_bytes
    };
    assert!(sample(10.0, 1) < full.stored_bytes);
    assert_eq!(sample(30.0, 7), sample(30.0, 7));
    assert_eq!(sample(100.0, 3), full.stored_bytes);
}

#[test]
fn one_backup_alone_is_looked_at() {
    let (scene, first, second) = Scene::sound();
    let only = |id| scene.verify_with(VerifyOptions { backup: Some(id), ..options() });
    scene.flip(&scene.test.stored("000000010000000000000003"), 8 * 1010);
    let report = only(second.id);
    assert_eq!(report.damaged, []);
    assert!(report.backups.iter().all(|backup| backup.id == second.id && backup.can_be_restored));
    let of_first = format!("backups/{}/", first.id);
    for object in scene.objects().iter().filter(|path| path.to_string_lossy().contains(&of_first)) {
        scene.flip(object, 8 * 100);
    }
    scene.store("00000003.history", b"2\t0/500000\tx\n");
    scene.flip(&scene.test.stored("00000003.history"), 8 * 1010);
    assert_eq!(only(second.id).damaged, []);
    let report = only(first.id);
    assert_eq!(report.damaged.len(), 2, "{:?}", report.damaged); // begin and record
    assert!(!report.backups[0].can_be_restored);
}
