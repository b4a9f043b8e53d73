//! Looking at a repository in which others write and delete meanwhile.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::*;
use crate::codec::CompressionLevel;
use crate::error::chain;
use crate::pg::Lsn;
use crate::pg::testing::{segment_size, wal_segment};
use crate::repository::testing::{TestRepository, with_real_cluster_in_memory};
use crate::repository::{
    BackupMark, BackupNote, BackupRecord, ClusterSelection, PackOptions, WalFileContent, backup_testing,
};
use crate::store::{Around, LocalStore, StoreCall, StoreFuture, WrappedStore};

/// Something that happens once, before the first call that it waits for.
struct Meanwhile<F> {
    /// What the call names.
    before: &'static str,
    happens: Arc<Mutex<Option<F>>>,
}

impl<F: FnOnce() + Send> Around for Meanwhile<F> {
    fn around<'a, T: Send + 'a>(&'a self, call: StoreCall<'a>, answer: StoreFuture<'a, T>) -> StoreFuture<'a, T> {
        let called = match call {
            StoreCall::Read(key) | StoreCall::Size(key) => key.as_str(),
            StoreCall::List(prefix) => prefix,
            _ => return answer,
        };
        let is_awaited = called.contains(self.before);
        let happens = if is_awaited { self.happens.lock().unwrap().take() } else { None };
        happens.into_iter().for_each(|happens| happens());
        answer
    }
}

/// Stores the segments that a backup needs, and takes it.
fn back_up(test: &TestRepository, number: u64) -> BackupRecord {
    let archive = WalArchive::new(&test.repository, &test.cluster);
    for number in [number, number + 1] {
        let name = WalSegmentName::from_number(TimelineId::FIRST, number, segment_size()).unwrap();
        let content = wal_segment(&name.to_string(), 0);
        let file = WalFileName::Segment(name);
        archive.store(&file, WalFileContent::Whole(&content), CompressionLevel::DEFAULT, &test.writer).unwrap();
    }
    let files = BTreeMap::from([("base/1".to_owned(), vec![1; 8192])]);
    backup_testing::backup_with(test, &files, PackOptions::default(), |record| {
        let start = number * segment_size().bytes();
        (record.start_lsn, record.stop_lsn) = (Lsn::new(start + 0x28).unwrap(), Lsn::new(start + 0x100).unwrap());
        record.wal_segment_size = segment_size();
    })
}

/// As `pgv expire` deletes a backup and its WAL.
fn expire(test: &TestRepository, backup: &BackupRecord) {
    let note = BackupNote { id: backup.id, host: "one".to_owned(), set: backup.stop_time, reason: "test".to_owned() };
    test.repository.mark_backup(&test.cluster, BackupMark::Gone, &note, &test.writer).unwrap();
    test.repository.delete_object(&test.repository.record_key(&test.cluster, &backup.id).unwrap()).unwrap();
    test.repository.delete_object(&test.repository.pack_key(&test.cluster, &backup.id, 0).unwrap()).unwrap();
    let segment = WalSegmentName::containing(TimelineId::FIRST, backup.start_lsn, segment_size());
    let key = test.repository.wal_key(&test.cluster, &WalFileName::Segment(segment)).unwrap();
    test.repository.delete_object(&key).unwrap();
}

/// What is seen of the tree while that happens.
fn seen(test: &TestRepository, before: &'static str, happens: impl FnOnce() + Send + 'static) -> TreeFacts {
    let happens = Arc::new(Mutex::new(Some(happens)));
    let meanwhile = Meanwhile { before, happens: happens.clone() };
    let store = WrappedStore::new(Arc::new(LocalStore::open(&test.root()).unwrap()), meanwhile);
    let repository = Repository::open(Arc::new(store), None).unwrap();
    let selection = ClusterSelection::Named(test.cluster.name.clone());
    let selected = test.repository.select_cluster(&selection, None).unwrap();
    let seen = tree(&repository, &selected, None).unwrap();
    assert!(happens.lock().unwrap().is_none(), "{before} was never called");
    seen
}

/// Backups by what they lack.
fn missing(seen: &TreeFacts) -> Vec<(BackupId, usize)> {
    seen.backups.iter().map(|backup| (backup.id, backup.missing_wal)).collect()
}

#[test]
fn what_is_deleted_while_it_is_looked_at_is_no_fault() {
    for before in ["/record", "/begin", "/needs", "/packs/", "/wal/", "/history"] {
        let test = Arc::new(with_real_cluster_in_memory());
        let (old, new) = (back_up(&test, 2), back_up(&test, 5));
        let deleting = test.clone();
        let seen = seen(&test, before, move || expire(&deleting, &old));
        assert!(seen.unreadable.is_empty(), "before {before}: {seen:?}");
        assert_eq!(missing(&seen), [(new.id, 0)], "before {before}");
    }
}

#[test]
fn what_is_finished_while_it_is_looked_at_lacks_nothing() {
    for before in ["/backups/", "/wal/"] {
        let test = Arc::new(with_real_cluster_in_memory());
        back_up(&test, 2);
        let writing = test.clone();
        let seen = seen(&test, before, move || drop(back_up(&writing, 5)));
        assert!(missing(&seen).iter().all(|(_, missing)| *missing == 0), "before {before}: {seen:?}");
    }
}

/// Whoever is to mend it must know what is wrong with it.
#[test]
fn a_folder_that_cannot_be_listed_is_named_with_the_cause() {
    let test = Arc::new(with_real_cluster_in_memory());
    let backup = back_up(&test, 2);
    let segment = WalFileName::Segment(WalSegmentName::containing(TimelineId::FIRST, backup.start_lsn, segment_size()));
    let path = test.root().join(test.repository.wal_key(&test.cluster, &segment).unwrap().as_str());
    let folder = path.parent().unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    std::os::unix::fs::symlink("nowhere", folder).unwrap();
    let seen = seen(&test, "/wal/", || {});
    let [Unreadable::Folder(cause)] = &seen.unreadable[..] else { panic!("{seen:?}") };
    let (text, name) = (chain(cause), folder.file_name().unwrap().to_str().unwrap());
    assert!(text.starts_with("could not list \"") && text.contains(name) && cause.source().is_some(), "{text}");
}

#[test]
fn what_is_damaged_stays_a_fault() {
    let test = Arc::new(with_real_cluster_in_memory());
    let (old, _) = (back_up(&test, 2), back_up(&test, 5));
    let path = test.root().join(test.repository.record_key(&test.cluster, &old.id).unwrap().as_str());
    std::fs::write(path, b"nothing of ours").unwrap();
    let seen = seen(&test, "/wal/", || {});
    assert!(matches!(&seen.unreadable[..], [Unreadable::Backup { id, .. }] if *id == old.id), "{seen:?}");
}

/// A record alone is no backup: what it needs must be there, too.
#[test]
fn a_backup_without_its_packs_or_its_root_is_not_good() {
    for lost in ["packs/{id}/00000000", "backups/{id}/root", "backups/{id}/needs"] {
        let test = Arc::new(with_real_cluster_in_memory());
        let (old, new) = (back_up(&test, 2), back_up(&test, 5));
        let tree = test.root().join(format!("main/{}", test.cluster.system_identifier));
        std::fs::remove_file(tree.join(lost.replace("{id}", &new.id.to_string()))).unwrap();
        let seen = seen(&test, "/wal/", || {});
        let good: Vec<BackupId> =
            seen.backups.iter().filter(|backup| backup.is_good()).map(|backup| backup.id).collect();
        assert_eq!(good, [old.id], "{lost}: {seen:?}");
        let told = match &seen.unreadable[..] {
            [Unreadable::NotWhole { id, .. }] => !lost.ends_with("needs") && *id == new.id,
            [Unreadable::Backup { id, .. }] => lost.ends_with("needs") && *id == new.id,
            _ => false,
        };
        assert!(told, "{lost}: {seen:?}");
    }
}

#[test]
fn a_backup_that_lost_its_record_alone_is_told() {
    let test = Arc::new(with_real_cluster_in_memory());
    let (old, new) = (back_up(&test, 2), back_up(&test, 5));
    let tree = test.root().join(format!("main/{}", test.cluster.system_identifier));
    std::fs::remove_file(tree.join(format!("backups/{}/record", new.id))).unwrap();
    let a_day_ago = std::time::SystemTime::now() - Duration::from_secs(25 * 3600);
    for folder in ["backups", "packs"].map(|folder| tree.join(folder)) {
        for path in walk(&folder) {
            std::fs::File::open(path).unwrap().set_modified(a_day_ago).unwrap();
        }
    }
    let seen = seen(&test, "/wal/", || {});
    assert!(seen.backups.iter().map(|backup| backup.id).eq([old.id]), "{seen:?}");
    let [Unreadable::Backup { id, cause }] = &seen.unreadable[..] else { panic!("{seen:?}") };
    assert!(*id == new.id && chain(cause).contains("record\"") && chain(cause).contains("it is missing"), "{seen:?}");
}

/// Every file below a folder.
fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}
