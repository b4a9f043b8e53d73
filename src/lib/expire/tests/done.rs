//! What is said to have been done is what was done, whatever came in between.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::doing::{Disturbed, Scene};
use crate::expire::{ExpireReport, HeldBackup, HeldBecause, TreeDone, WalKept, apply, pin, plan};
use crate::fs::FileError;
use crate::report::{Cancel, Progress, Reporter, SilentReporter};
use crate::repository::{BackupBegin, BackupId, BackupNote, BackupWriter, PackOptions, Repository};
use crate::store::StoreError;

/// Keeps how far it was said to be.
#[derive(Default)]
struct Heard(Mutex<Vec<Progress>>);

impl Reporter for Heard {
    fn step(&self, _message: &str) {}
    fn warn(&self, _message: &str) {}
    fn progress(&self, progress: &Progress) {
        self.0.lock().unwrap().push(*progress);
    }
}

/// The bytes of all that is no mark.
fn bytes(scene: &Scene) -> u64 {
    let keys = scene.test.repository.list("main/").unwrap();
    let is_data = |key: &str| !["/doubt", "/gone"].iter().any(|mark| key.ends_with(mark));
    let keys = keys.iter().filter(|key| is_data(key.as_str()));
    keys.map(|key| scene.test.repository.stored_bytes(key).unwrap()).sum()
}

fn planned(scene: &Scene, keep: u32) -> ExpireReport {
    plan(&scene.test.repository, &scene.options(keep), &Scene::clock()).unwrap()
}

fn apply_in(repository: &Repository, scene: &Scene, report: &mut ExpireReport) -> bool {
    apply(repository, &scene.options(1), report, &SilentReporter, &Cancel::new()).is_ok()
}

fn done(report: &ExpireReport) -> &TreeDone {
    report.trees[0].done.as_ref().unwrap()
}

#[test]
fn where_nothing_comes_in_between_all_is_freed_that_the_plan_names() {
    let scene = Scene::new();
    let before = bytes(&scene);
    let mut report = planned(&scene, 1);
    assert_eq!((report.applied, report.freed_bytes, &report.trees[0].done), (false, report.planned_bytes, &None));
    let heard = Heard::default();
    apply(&scene.test.repository, &scene.options(1), &mut report, &heard, &Cancel::new()).unwrap();
    assert!(report.applied && done(&report).finished);
    assert_eq!(report.freed_bytes, before - bytes(&scene));
    assert_eq!(report.freed_bytes, report.planned_bytes);
    let gone: BTreeSet<BackupId> = done(&report).backups.iter().copied().collect();
    assert_eq!(gone, scene.backups[..3].iter().map(|record| record.id).collect());
    assert_eq!((done(&report).packs, done(&report).wal_files), (report.trees[0].packs, 16));
    // Progress is in bytes, and ends at their sum.
    let heard = heard.0.into_inner().unwrap();
    assert!(heard.is_sorted_by_key(|progress| progress.done_bytes), "{heard:?}");
    let last = heard.last().unwrap();
    assert_eq!((last.done_bytes, last.total_bytes), (report.planned_bytes, Some(report.planned_bytes)));
}

#[test]
fn what_stays_after_all_is_not_said_to_be_deleted() {
    let scene = Scene::new();
    let mut report = planned(&scene, 1);
    let (pinned, parent) = (scene.backups[1].id, scene.backups[2].id);
    pin(&scene.test.repository, &scene.pinned(1), "just in time", &Scene::clock()).unwrap();
    let (running, _writer) = scene.begin(&[2]).unwrap();
    let before = bytes(&scene);
    assert!(apply_in(&scene.test.repository, &scene, &mut report));
    assert_eq!(done(&report).backups, [scene.backups[0].id]);
    let held = [(pinned, HeldBecause::Pinned), (parent, HeldBecause::ParentOf { backup: running })];
    assert_eq!(done(&report).held, held.map(|(id, because)| HeldBackup { id, because }));
    assert_eq!((&done(&report).wal_kept, done(&report).wal_files), (&Some(WalKept::Locked), 0));
    assert!(report.freed_bytes < report.planned_bytes, "{report:?}");
    assert_eq!(report.freed_bytes, before - bytes(&scene));
    assert!(done(&report).finished);
}

#[test]
fn a_run_that_ends_early_says_how_far_it_came() {
    for changes in [0, 4, 9, 15, 25] {
        let scene = Scene::new();
        let left = AtomicU64::new(changes);
        let repository = Disturbed::repository(&scene, move |_| {
            let left = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            left.map(drop).map_err(|_| StoreError::RootMissing { root: "killed".to_owned() })
        });
        let mut report = planned(&scene, 1);
        let before = bytes(&scene);
        assert!(!apply_in(&repository, &scene, &mut report), "after {changes} changes");
        assert_eq!(report.freed_bytes, before - bytes(&scene), "after {changes} changes");
        assert!(report.applied && !done(&report).finished, "after {changes} changes: {report:?}");
        assert_eq!(report.trees[0].freed_bytes, report.freed_bytes);
    }
}

/// A disk that takes so many marks, and more once something was deleted; and whether it refused one.
fn full_after(scene: &Scene, marks: usize) -> (Repository, Arc<AtomicBool>) {
    let (made, freed) = (Mutex::new(BTreeSet::new()), AtomicBool::new(false));
    let refused = Arc::new(AtomicBool::new(false));
    let says = Arc::clone(&refused);
    let repository = Disturbed::repository(scene, move |key| {
        let mut made = made.lock().unwrap();
        let is_mark = ["/doubt", "/gone"].iter().any(|mark| key.as_str().ends_with(mark));
        // A mark is made once, and deleted at its end.
        if !is_mark || made.contains(key.as_str()) {
            freed.store(true, Ordering::SeqCst);
        } else if made.len() >= marks && !freed.load(Ordering::SeqCst) {
            says.store(true, Ordering::SeqCst);
            let full = FileError::new("write", Path::new("mark"), io::Error::from(io::ErrorKind::StorageFull));
            return Err(StoreError::File { root: "/repo".to_owned(), source: full });
        } else {
            made.insert(key.as_str().to_owned());
        }
        Ok(())
    });
    (repository, refused)
}

/// Of four backups two go, each with two marks; a segment is needed by none.
#[test]
fn without_room_for_a_mark_the_rest_goes_first_and_each_backup_once() {
    for marks in 0..6 {
        let scene = Scene::new();
        let (repository, refused) = full_after(&scene, marks);
        let mut report = planned(&scene, 2);
        assert!(apply_in(&repository, &scene, &mut report), "after {marks} marks: {report:?}");
        assert_eq!(refused.load(Ordering::SeqCst), marks < 4, "after {marks} marks");
        let mut deleted = done(&report).backups.clone();
        deleted.sort();
        let mut expected = [scene.backups[0].id, scene.backups[1].id];
        expected.sort();
        assert_eq!(deleted, expected, "after {marks} marks");
        assert_eq!(scene.all_listed_are_whole(), [scene.backups[2].id, scene.backups[3].id]);
        assert!(scene.expire(2).is_empty(), "after {marks} marks: {:?}", scene.keys());
    }
}

/// A backup that ends on a full disk for another reason: its WAL did not arrive.
#[test]
fn who_finds_no_room_to_say_that_it_ended_makes_some() {
    let scene = Scene::new();
    let (packs, freed) = (Mutex::new(BTreeSet::new()), AtomicBool::new(false));
    let repository = Disturbed::repository(&scene, move |key| {
        let key = key.as_str();
        // A pack is made once, and then deleted.
        if key.contains("/packs/") && !packs.lock().unwrap().insert(key.to_owned()) {
            freed.store(true, Ordering::SeqCst);
        }
        if key.ends_with("/suspect") && !freed.load(Ordering::SeqCst) {
            let full = FileError::new("write", Path::new("mark"), io::Error::from(io::ErrorKind::StorageFull));
            return Err(StoreError::File { root: "/repo".to_owned(), source: full });
        }
        Ok(())
    });
    let set = Scene::clock().0;
    let id = BackupId::generate(set);
    let begin = BackupBegin { id, host: "host-one".to_owned(), parents: Vec::new(), began: set };
    let writer = BackupWriter::begin(&repository, &scene.test.cluster, &scene.test.writer, &begin).unwrap();
    let mut stream = writer.packs(PackOptions::default()).unwrap();
    stream.write_frame(b"something").unwrap();
    stream.finish().unwrap();
    let left = || -> Vec<String> {
        let keys = scene.keys().into_iter().filter(|key| key.contains(&id.to_string()));
        keys.map(|key| key.rsplit('/').next().unwrap().to_owned()).collect()
    };
    assert_eq!(left().len(), 2, "{:?}", left());
    let note = BackupNote { id, host: "host-one".to_owned(), set, reason: "its WAL did not arrive".to_owned() };
    writer.give_up(&note, false).unwrap();
    assert_eq!(left(), ["begin", "suspect"]);
}
