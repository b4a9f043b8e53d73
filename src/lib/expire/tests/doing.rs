//! Doing it, with every call of the store failing in turn: whatever the step, what is listed is whole, and the next run
//! finishes.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::FixedClock;
use crate::codec::CompressionLevel;
use crate::error::Classified as _;
use crate::expire::{
    ExpireError, ExpireOptions, ExpireReport, HeldBackup, HeldBecause, PinOptions, Pinned, Rules, Unpinned, apply, pin,
    plan, unpin,
};
use crate::fs::LockKind;
use crate::pg::testing::{segment_size, wal_segment};
use crate::pg::{Lsn, TimelineId, WalFileName, WalSegmentName};
use crate::report::{Cancel, CollectingReporter, SilentReporter};
use crate::repository::testing::{self, TestRepository};
use crate::repository::{
    BackupBegin, BackupId, BackupMark, BackupNote, BackupRecord, BackupWriter, BackupWriterError, FileKind,
    PackOptions, Repository, RepositoryError, WalArchive, WalFileContent, backup_testing,
};
use crate::store::{Around, LocalStore, ObjectKey, StoreCall, StoreError, StoreFuture, WrappedStore};

/// Something that happens before each call that creates or deletes; when it fails, the call is not done.
pub(super) struct Disturbed<F>(F);

impl<F: Fn(&ObjectKey) -> Result<(), StoreError> + Send + Sync + 'static> Disturbed<F> {
    pub(super) fn repository(scene: &Scene, before: F) -> Repository {
        let store = Arc::new(LocalStore::open(&scene.test.root()).unwrap());
        Repository::open(Arc::new(WrappedStore::new(store, Self(before))), None).unwrap()
    }
}

impl<F: Fn(&ObjectKey) -> Result<(), StoreError> + Send + Sync> Around for Disturbed<F> {
    fn around<'a, T: Send + 'a>(&'a self, call: StoreCall<'a>, answer: StoreFuture<'a, T>) -> StoreFuture<'a, T> {
        let (StoreCall::Create(key) | StoreCall::Delete(key)) = call else { return answer };
        Box::pin(async move {
            (self.0)(key)?;
            answer.await
        })
    }
}

fn files(seed: u8) -> BTreeMap<String, Vec<u8>> {
    (0..4).map(|number| (format!("base/{number}"), vec![seed ^ number; 40_000 * usize::from(number + 1)])).collect()
}

fn place(record: &mut BackupRecord, number: u64) {
    let start = number * segment_size().bytes();
    (record.start_lsn, record.stop_lsn) = (Lsn::new(start + 0x28).unwrap(), Lsn::new(start + 0x100).unwrap());
    record.wal_segment_size = segment_size();
}

/// Three backups, the second and third with packs of those before, and WAL from segment 2 to 12.
pub(super) struct Scene {
    pub(super) test: TestRepository,
    pub(super) backups: Vec<BackupRecord>,
}

impl Scene {
    pub(super) fn new() -> Self {
        let test = testing::with_real_cluster_in_memory();
        let archive = WalArchive::new(&test.repository, &test.cluster);
        for number in 2..=12 {
            let name = WalSegmentName::from_number(TimelineId::FIRST, number, segment_size()).unwrap();
            let content = wal_segment(&name.to_string(), 0);
            let store = |name: &str, content: &[u8]| {
                let name = WalFileName::parse(name).unwrap();
                archive.store(&name, WalFileContent::Whole(content), CompressionLevel::DEFAULT, &test.writer).unwrap();
            };
            store(&name.to_string(), &content);
            store(&format!("{name}.00000028.backup"), b"a note");
        }
        let small = PackOptions { pack_bytes: 100_000, ..PackOptions::default() };
        let first = backup_testing::backup_with(&test, &files(1), small, |record| place(record, 3));
        let change = |_: &crate::pg::DataPath, _: &mut crate::repository::FileEntry| {};
        let second = backup_testing::backup_referring_to_with(&test, &first, change, |record| place(record, 5));
        let third = backup_testing::backup_with(&test, &files(3), small, |record| place(record, 8));
        let fourth = backup_testing::backup_with(&test, &files(4), small, |record| place(record, 10));
        Self { test, backups: vec![first, second, third, fourth] }
    }

    pub(super) fn options(&self, keep: u32) -> ExpireOptions {
        ExpireOptions {
            url: "/repo".to_owned(),
            path: "/repo".into(),
            configuration_file: None,
            host: "host-one".to_owned(),
            clusters: vec![self.test.cluster.name.clone()],
            rules: Rules { keep: NonZeroU32::new(keep), allow_many: true, ..Rules::default() },
        }
    }

    pub(super) fn clock() -> FixedClock {
        FixedClock("2027-01-01T00:00:00Z".parse().unwrap())
    }

    pub(super) fn expire_in(&self, repository: &Repository, keep: u32) -> Result<ExpireReport, ExpireError> {
        let options = self.options(keep);
        let mut report = plan(repository, &options, &Self::clock())?;
        apply(repository, &options, &mut report, &SilentReporter, &Cancel::new())?;
        Ok(report)
    }

    pub(super) fn expire(&self, keep: u32) -> ExpireReport {
        self.expire_in(&self.test.repository, keep).unwrap()
    }

    /// Every byte of every listed backup, and every segment from its start on; the ids of those backups.
    pub(super) fn all_listed_are_whole(&self) -> Vec<BackupId> {
        let Self { test, .. } = self;
        let mut ids = Vec::new();
        for entry in test.repository.backups(&test.cluster).unwrap() {
            let record = entry.record.unwrap();
            ids.push(record.id);
            let map = test.repository.file_map(&test.cluster, &record).unwrap();
            let read = map.for_each(&mut |path, file| {
                if let FileKind::File { extents, .. } = &file.kind {
                    for extent in extents {
                        let range = extent.offset..extent.offset + extent.length;
                        let bytes = map.open_pack(extent.pack)?.read_range(range, u64::MAX)?;
                        assert_eq!(bytes.len() as u64, extent.length, "{path}");
                    }
                }
                Ok::<(), RepositoryError>(())
            });
            read.unwrap_or_else(|error| panic!("{}: {error:?}", record.id));
            for document in &record.documents {
                test.repository.document(&test.cluster, &record.id, document).unwrap();
            }
            let lacking = self.lacks_wal_from(record.start_lsn.get() / segment_size().bytes());
            assert!(lacking.is_empty(), "{} lacks {lacking:?}", record.id);
        }
        ids
    }

    /// The segments from this one on that are not in the archive.
    pub(super) fn lacks_wal_from(&self, first: u64) -> Vec<WalSegmentName> {
        let archive = WalArchive::new(&self.test.repository, &self.test.cluster);
        let names =
            (first..=12).map(|number| WalSegmentName::from_number(TimelineId::FIRST, number, segment_size()).unwrap());
        names.filter(|name| archive.look_up(&WalFileName::Segment(*name)).unwrap().is_none()).collect()
    }

    pub(super) fn keys(&self) -> Vec<String> {
        let keys = self.test.repository.list("main/").unwrap();
        let keys = keys.iter().map(|key| key.as_str().to_owned());
        keys.filter(|key| !key.contains("/writers/")).collect()
    }

    /// Whether anything in the repository is named after a backup.
    pub(super) fn has_any_of(&self, backup: usize) -> bool {
        self.keys().iter().any(|key| key.contains(&self.backups[backup].id.to_string()))
    }

    pub(super) fn pinned(&self, backup: usize) -> PinOptions {
        let clusters = vec![self.test.cluster.name.clone()];
        PinOptions { clusters, backup: self.backups[backup].id, host: "host-one".to_owned() }
    }

    pub(super) fn begin(&self, parents: &[usize]) -> Result<(BackupId, BackupWriter), BackupWriterError> {
        let began: Timestamp = "2026-12-31T00:00:00Z".parse().unwrap();
        let id = BackupId::generate(began);
        let parents = parents.iter().map(|parent| self.backups[*parent].id).collect();
        let begin = BackupBegin { id, host: "host-one".to_owned(), parents, began };
        BackupWriter::begin(&self.test.repository, &self.test.cluster, &self.test.writer, &begin)
            .map(|writer| (id, writer))
    }

    /// Takes a backup of nothing that begins in a segment.
    pub(super) fn take(&self, segment: u64) -> BackupId {
        let (id, mut writer) = self.begin(&[]).unwrap();
        let packs = writer.packs(PackOptions::default()).unwrap();
        let content = writer.store_map(Vec::new(), packs).unwrap();
        let mut record = backup_testing::record(&self.test, id, &writer, &content);
        place(&mut record, segment);
        writer.finish(&record).unwrap();
        id
    }

    pub(super) fn mark(&self, id: BackupId, mark: BackupMark) {
        let note = BackupNote { id, host: "other".to_owned(), set: Scene::clock().0, reason: "test".to_owned() };
        self.test.repository.mark_backup(&self.test.cluster, mark, &note, &self.test.writer).unwrap();
    }
}

#[test]
fn what_goes_is_gone_and_what_stays_is_whole() {
    let scene = Scene::new();
    let before = scene.keys().len();
    let planned = plan(&scene.test.repository, &scene.options(3), &Scene::clock()).unwrap();
    assert_eq!(scene.keys().len(), before, "a plan changes nothing");
    let report = scene.expire(3);
    assert_eq!((report.applied, planned.applied), (true, false));
    assert_eq!(scene.all_listed_are_whole(), scene.backups[1..].iter().map(|record| record.id).collect::<Vec<_>>());
    // The second lies in the packs of the first, which outlive it.
    let first = scene.backups[0].id.to_string();
    assert!(scene.keys().iter().any(|key| key.contains(&format!("packs/{first}/"))));
    let keys = scene.keys();
    let of_first: Vec<&String> = keys.iter().filter(|key| key.contains(&format!("backups/{first}/"))).collect();
    assert!(matches!(of_first.as_slice(), [gone] if gone.ends_with("/gone")), "{of_first:?}");
    assert!(scene.expire(3).is_empty(), "as long as it is needed");
    let report = scene.expire(2);
    assert!(!scene.has_any_of(0) && !scene.has_any_of(1), "{:?}", scene.keys());
    assert_eq!(scene.all_listed_are_whole().len(), 2);
    assert!(report.freed_bytes > 0);
    assert!(!scene.keys().iter().any(|key| key.contains("000000010000000000000007")), "nor its notes");
    assert!(scene.expire(2).is_empty(), "nothing is left to do");
}

#[test]
fn killed_before_each_change_it_leaves_whole_backups_and_the_next_run_finishes() {
    let mut deaths = 0;
    for left in 0.. {
        let scene = Scene::new();
        let changes = AtomicU64::new(left);
        let repository = Disturbed::repository(&scene, move |_| {
            let left = changes.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            left.map(drop).map_err(|_| StoreError::RootMissing { root: "killed".to_owned() })
        });
        let outcome = scene.expire_in(&repository, 2);
        let listed = scene.all_listed_are_whole();
        assert!(listed.len() >= 2 && listed.contains(&scene.backups[3].id), "after {left} changes: {listed:?}");
        if outcome.is_ok() {
            break;
        }
        deaths += 1;
        scene.expire(2);
        assert_eq!(scene.all_listed_are_whole(), [scene.backups[2].id, scene.backups[3].id]);
        assert!(!scene.has_any_of(0) && !scene.has_any_of(1), "after {left} changes: {:?}", scene.keys());
        assert!(scene.expire(2).is_empty(), "after {left} changes");
    }
    assert!(deaths > 25, "only {deaths} changes");
}

#[test]
fn a_pin_keeps_a_backup_until_it_is_taken_away() {
    let scene = Scene::new();
    let repository = &scene.test.repository;
    let writers = || repository.writer_ids(&scene.test.cluster.name).unwrap();
    let before = writers();
    let of_first = scene.pinned(0);
    assert_eq!(
        pin(repository, &of_first, "for the auditors", &Scene::clock()).unwrap(),
        Pinned::Now { is_marked: false }
    );
    assert_eq!(pin(repository, &of_first, "again", &Scene::clock()).unwrap(), Pinned::Before);
    scene.expire(1);
    assert_eq!(scene.all_listed_are_whole(), [scene.backups[0].id, scene.backups[3].id]);
    assert_eq!(unpin(repository, &of_first).unwrap(), Unpinned::Now { is_marked: false });
    assert_eq!(unpin(repository, &of_first).unwrap(), Unpinned::Never);
    scene.expire(1);
    assert!(!scene.has_any_of(0));
    let error = pin(repository, &of_first, "late", &Scene::clock()).unwrap_err();
    assert_eq!(error.class(), crate::error::ErrorClass::NotFound, "{error}");
    assert_eq!(writers(), before, "neither is a server that writes here");
}

#[test]
fn a_pin_that_comes_behind_the_plan_is_seen() {
    let scene = Scene::new();
    let options = scene.options(1);
    let mut report = plan(&scene.test.repository, &options, &Scene::clock()).unwrap();
    pin(&scene.test.repository, &scene.pinned(1), "just in time", &Scene::clock()).unwrap();
    let reporter = CollectingReporter::default();
    apply(&scene.test.repository, &options, &mut report, &reporter, &Cancel::new()).unwrap();
    assert_eq!(scene.all_listed_are_whole(), [scene.backups[1].id, scene.backups[3].id]);
    assert!(reporter.lines().iter().any(|line| line.contains("it was pinned meanwhile")), "{:?}", reporter.lines());
    // Its mark was set before, and stays.
    let unpinned = unpin(&scene.test.repository, &scene.pinned(1)).unwrap();
    assert_eq!(unpinned, Unpinned::Now { is_marked: true });
}

#[test]
fn nothing_goes_on_which_a_running_backup_may_build() {
    let scene = Scene::new();
    let options = scene.options(1);
    let mut report = plan(&scene.test.repository, &options, &Scene::clock()).unwrap();
    // It begins behind the plan, on the second, which lies in the packs of the first.
    let (id, writer) = scene.begin(&[1]).unwrap();
    apply(&scene.test.repository, &options, &mut report, &SilentReporter, &Cancel::new()).unwrap();
    assert_eq!(scene.all_listed_are_whole(), [scene.backups[1].id, scene.backups[3].id]);
    assert!(scene.keys().iter().any(|key| key.ends_with("000000010000000000000002")), "WAL stays");
    // What is doubted is no parent.
    let Err(error) = scene.begin(&[1]) else { panic!("not refused") };
    assert!(matches!(error, BackupWriterError::ParentGoes { parent } if parent == scene.backups[1].id), "{error}");
    drop(writer);
    assert!(scene.keys().iter().any(|key| key.contains(&id.to_string())));
}

/// Takes a backup as one of a standby is taken, whose last restartpoint is long ago: it begins in segment 3, and is given
/// up when its WAL is not in the archive.
fn back_up_from_segment_3(scene: &Scene) {
    let (id, mut writer) = loop {
        match scene.begin(&[]) {
            Ok(begun) => break begun,
            Err(BackupWriterError::WalGoes) => std::thread::sleep(Duration::from_millis(1)),
            Err(error) => panic!("{error}"),
        }
    };
    if !scene.lacks_wal_from(3).is_empty() {
        return;
    }
    let packs = writer.packs(PackOptions::default()).unwrap();
    let content = writer.store_map(Vec::new(), packs).unwrap();
    let mut record = backup_testing::record(&scene.test, id, &writer, &content);
    place(&mut record, 3);
    writer.finish(&record).unwrap();
}

#[test]
fn a_backup_that_begins_and_ends_while_wal_is_deleted_has_its_wal() {
    let scene = Arc::new(Scene::new());
    let backup = Arc::new(Mutex::new(None));
    let repository = Disturbed::repository(&scene, {
        let (scene, backup) = (scene.clone(), backup.clone());
        move |key| {
            let mut backup = backup.lock().unwrap();
            if key.as_str().contains("/wal/") && backup.is_none() {
                let (done, is_done) = std::sync::mpsc::channel();
                let scene = scene.clone();
                *backup = Some(std::thread::spawn(move || {
                    back_up_from_segment_3(&scene);
                    let _ = done.send(());
                }));
                let _ = is_done.recv_timeout(Duration::from_secs(1));
            }
            Ok(())
        }
    });
    scene.expire_in(&repository, 1).unwrap();
    let backup = backup.lock().unwrap().take();
    backup.expect("WAL was deleted").join().unwrap();
    assert!(scene.all_listed_are_whole().contains(&scene.backups[3].id));
}

#[test]
fn no_backup_begins_while_wal_is_deleted_and_none_is_deleted_while_one_is_running() {
    let scene = Scene::new();
    let lock = scene.test.repository.lock(LockKind::Exclusive).unwrap();
    let before = scene.keys();
    let Err(error) = scene.begin(&[]) else { panic!("not refused") };
    assert!(matches!(error, BackupWriterError::WalGoes), "{error}");
    assert_eq!(scene.keys(), before);
    drop(lock);
    let (id, writer) = scene.begin(&[]).unwrap();
    // Even one whose begin nobody can see.
    let key = scene.test.repository.backup_object_key(&scene.test.cluster, &id, "begin").unwrap();
    scene.test.repository.delete_object(&key).unwrap();
    let options = scene.options(1);
    let mut report = plan(&scene.test.repository, &options, &Scene::clock()).unwrap();
    let reporter = CollectingReporter::default();
    apply(&scene.test.repository, &options, &mut report, &reporter, &Cancel::new()).unwrap();
    assert_eq!(scene.lacks_wal_from(2), []);
    assert!(reporter.lines().iter().any(|line| line.contains("WAL stays for now")), "{:?}", reporter.lines());
    drop(writer);
    scene.expire(1);
    assert_eq!(scene.lacks_wal_from(2).len(), 8);
}

/// The clock of expire's host is weeks ahead of the store's.
#[test]
fn a_clock_that_is_ahead_takes_no_running_backup_for_dead() {
    let scene = Scene::new();
    let (id, mut writer) = scene.begin(&[]).unwrap();
    let planned = plan(&scene.test.repository, &scene.options(4), &Scene::clock()).unwrap();
    assert!(!planned.is_empty(), "it is not taken for dead");
    let report = scene.expire(4);
    let held = &report.trees[0].done.as_ref().unwrap().held;
    assert_eq!(held.as_slice(), [HeldBackup { id, because: HeldBecause::Locked }]);
    let packs = writer.packs(PackOptions::default()).unwrap();
    let content = writer.store_map(Vec::new(), packs).unwrap();
    let mut record = backup_testing::record(&scene.test, id, &writer, &content);
    place(&mut record, 11);
    writer.finish(&record).unwrap();
    drop(writer);
    assert!(scene.all_listed_are_whole().contains(&id));
    // One that was killed has no lock.
    let (killed, writer) = scene.begin(&[]).unwrap();
    drop(writer);
    scene.expire(5);
    assert!(!scene.keys().iter().any(|key| key.contains(&killed.to_string())));
}

#[test]
fn a_backup_that_was_given_up_is_never_reported_as_taken() {
    let scene = Scene::new();
    for marks in [&[BackupMark::Suspect][..], &[BackupMark::Suspect, BackupMark::Gone]] {
        let (id, writer) = scene.begin(&[]).unwrap();
        let packs = writer.packs(PackOptions::default()).unwrap();
        let mut writer = writer;
        let content = writer.store_map(Vec::new(), packs).unwrap();
        for mark in marks {
            scene.mark(id, *mark);
        }
        let mut record = backup_testing::record(&scene.test, id, &writer, &content);
        place(&mut record, 11);
        let error = writer.finish(&record).unwrap_err();
        assert!(matches!(error, BackupWriterError::GivenUp { backup } if backup == id), "{error}");
        let is_listed = scene.test.repository.backups(&scene.test.cluster).unwrap().iter().any(|one| one.id == id);
        assert_eq!(is_listed, marks.len() == 1);
    }
    scene.expire(4);
    scene.all_listed_are_whole();
}

/// Whatever of it is lost, the newest one that is whole stays, and what is left of the newest.
#[test]
fn a_backup_that_is_not_whole_is_never_the_last_good_one() {
    fn cut(path: &std::path::Path) {
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    }
    let remove = |path: &std::path::Path| std::fs::remove_file(path).unwrap();
    type Lose<'a> = &'a dyn Fn(&std::path::Path);
    let losses: [(&str, &str, Lose<'_>); 3] =
        [("packs", "00000000", &remove), ("packs", "00000001", &cut), ("backups", "root", &remove)];
    for (folder, object, lose) in losses {
        let scene = Scene::new();
        let tree = scene.test.root().join(format!("main/{}", scene.test.cluster.system_identifier));
        let newest = scene.backups[3].id;
        lose(&tree.join(folder).join(newest.to_string()).join(object));
        let report = scene.expire(1);
        assert_eq!(report.trees[0].backups[3].lacks.len(), 1, "{object}: {report:?}");
        let listed = scene.test.repository.backups(&scene.test.cluster).unwrap();
        let listed: Vec<BackupId> = listed.iter().map(|entry| entry.id).collect();
        assert_eq!(listed, [scene.backups[2].id, newest], "{object}");
        assert!(scene.has_any_of(3) && scene.lacks_wal_from(8).is_empty(), "{object}");
    }
}

/// The folders of backups are not there: their packs are all that is left, or were never anything else.
#[test]
fn packs_whose_folders_are_away_are_not_taken_for_strays() {
    let scene = Scene::new();
    let tree = scene.test.root().join(format!("main/{}", scene.test.cluster.system_identifier));
    let (backups, before) = (tree.join("backups"), scene.keys());
    let of_third = |folder: &str| tree.join(folder).join(scene.backups[2].id.to_string());
    std::fs::rename(&backups, tree.join("away")).unwrap();
    let error = scene.expire_in(&scene.test.repository, 5).unwrap_err();
    assert!(matches!(error, ExpireError::NoFolders { .. }), "{error}");
    assert_eq!(error.class(), crate::error::ErrorClass::Corrupt);
    std::fs::rename(tree.join("away"), &backups).unwrap();
    // One that has another name now.
    let renamed = of_third("backups").with_extension("bak");
    std::fs::rename(of_third("backups"), &renamed).unwrap();
    let error = scene.expire_in(&scene.test.repository, 5).unwrap_err();
    let name = renamed.file_name().unwrap().to_str().unwrap();
    let ExpireError::NoFolder { strange_folder, .. } = &error else { panic!("{error}") };
    assert_eq!(strange_folder.as_deref(), Some(name), "{error}");
    std::fs::rename(renamed, of_third("backups")).unwrap();
    // One without begin, record and gone is no deletion that was killed.
    for object in ["begin", "record"] {
        std::fs::rename(of_third("backups").join(object), tree.join(object)).unwrap();
    }
    let error = scene.expire_in(&scene.test.repository, 1).unwrap_err();
    assert!(matches!(error, ExpireError::Unexplained { backup } if backup == scene.backups[2].id), "{error}");
    for object in ["begin", "record"] {
        std::fs::rename(tree.join(object), of_third("backups").join(object)).unwrap();
    }
    assert_eq!(scene.keys(), before);
    scene.all_listed_are_whole();
}

/// As when two expires delete one backup, and the one that is late marks it once more.
#[test]
fn a_mark_behind_the_back_of_a_deletion_is_taken_away() {
    let scene = Scene::new();
    scene.expire(3);
    scene.mark(scene.backups[2].id, BackupMark::Doubt);
    scene.expire(1);
    scene.mark(scene.backups[2].id, BackupMark::Doubt);
    scene.expire(1);
    assert!(!scene.has_any_of(2));
    assert_eq!(scene.all_listed_are_whole(), [scene.backups[3].id]);
}

#[test]
fn nothing_is_deleted_that_cannot_be_judged() {
    let damage = [("record", "cannot be judged"), ("needs", "cannot be judged"), ("begin", "cannot be judged")];
    for (object, message) in damage {
        let scene = Scene::new();
        let path = scene
            .test
            .root()
            .join(format!("main/{}/backups/{}/{object}", scene.test.cluster.system_identifier, scene.backups[3].id));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[1005] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let before = scene.keys();
        let error = scene.expire_in(&scene.test.repository, 1).unwrap_err();
        assert!(error.to_string().contains(message), "{object}: {error}");
        assert_eq!(error.class(), crate::error::ErrorClass::Corrupt, "{object}: {error}");
        std::fs::remove_file(&path).unwrap();
        if object != "record" {
            let error = scene.expire_in(&scene.test.repository, 1).unwrap_err();
            assert_eq!(error.class(), crate::error::ErrorClass::Corrupt, "{object} is missing: {error}");
        }
        assert_eq!(scene.keys().len() + 1, before.len(), "{object}");
    }
}
