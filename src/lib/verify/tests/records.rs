//! Records against what they refer to, each in one way that is wrong though every digest is right.

use super::scene::{Scene, about, place};
use crate::codec::ContentDigest;
use crate::repository::{BackupId, BackupRecord, backup_testing};
use crate::verify::VerifyLeftOverKind;

/// A sound repository with one more backup, of which the record says something else.
fn with_record(change: impl FnOnce(&mut BackupRecord)) -> (Scene, BackupId, BackupId) {
    let (scene, first, _) = Scene::sound();
    let record = backup_testing::backup_referring_to_with(
        &scene.test,
        &first,
        |_, _| {},
        |record| {
            place(record, 1, 9);
            change(record);
        },
    );
    (scene, first.id, record.id)
}

fn other_digest() -> ContentDigest {
    ContentDigest::from_bytes([7; 32])
}

#[test]
fn sums_of_the_map_are_held_against_the_record() {
    for change in [(|record| record.sizes.files += 1) as fn(&mut BackupRecord), |record| record.sizes.file_bytes += 1] {
        let (scene, _, id) = with_record(change);
        let report = scene.verify();
        let finding = about(&report, &format!("file map of backup {id}"));
        assert!(finding.problem.contains("where the record says"), "{finding:?}");
        assert_eq!(report.damaged.len(), 1, "{:#?}", report.damaged);
    }
}

#[test]
fn documents_are_held_against_the_record() {
    for (change, problem) in [
        (
            (|record| record.documents[0].digest = other_digest()) as fn(&mut BackupRecord),
            "its digest is not the one in the record",
        ),
        (|record| record.documents[0].bytes += 1, "its size is not the one in the record"),
        (|record| record.documents[0].name = "absent".to_owned(), "it is missing"),
    ] {
        let (scene, _, id) = with_record(change);
        let report = scene.verify();
        let finding = about(&report, &format!("backups/{id}/documents/"));
        assert_eq!(finding.problem, problem);
        assert!(report.backups.iter().any(|backup| backup.id == id && !backup.can_be_restored));
    }
}

#[test]
fn packs_are_of_parents_and_records_follow_each_other() {
    let (scene, first, id) = with_record(|record| record.parents.clear());
    let report = scene.verify();
    let finding = about(&report, &format!("backups/{id}/needs"));
    assert_eq!(finding.problem, format!("it needs a pack of backup {first}, which is not among its parents"));

    let (scene, _, id) = with_record(|record| {
        record.previous.as_mut().unwrap().mac = other_digest();
    });
    let report = scene.verify();
    let previous = report.backups.iter().rev().nth(1).unwrap().id;
    let finding = about(&report, &format!("backups/{previous}/record"));
    assert_eq!(finding.problem, format!("it is not the record that backup {id} was taken after"));
}

#[test]
fn a_segment_of_another_size_is_found() {
    let scene = Scene::empty();
    scene.archive(1, 2..=4);
    scene.store("000000010000000000000005", b"not a segment");
    let report = scene.verify();
    assert_eq!(about(&report, "05").problem, "it holds 13 bytes where a segment has 1048576");
}

#[test]
fn a_document_that_no_record_names_is_left_over() {
    let (scene, first, _) = Scene::sound();
    let system_identifier = scene.test.cluster.system_identifier;
    let folder = scene.root().join(format!("main/{system_identifier}/backups/{}/documents", first.id));
    std::fs::copy(folder.join("backup_label"), folder.join("other")).unwrap();
    let report = scene.verify();
    assert_eq!(report.damaged, []);
    let found: Vec<_> =
        report.left_overs.iter().map(|one| (one.kind, one.object.ends_with("documents/other"))).collect();
    assert_eq!(found, [(VerifyLeftOverKind::Stray, true)]);
}
