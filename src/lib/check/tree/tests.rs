//! Looking at a repository in which others write and delete meanwhile.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::*;
use crate::codec::CompressionLevel;
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
    for before in ["/record", "/begin", "/wal/", "/history"] {
        let test = Arc::new(with_real_cluster_in_memory());
        let (old, new) = (back_up(&test, 2), back_up(&test, 5));
        let deleting = test.clone();
        let seen = seen(&test, before, move || expire(&deleting, &old));
        assert_eq!(seen.unreadable, Vec::<String>::new(), "before {before}");
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

#[test]
fn what_is_damaged_stays_a_fault() {
    let test = Arc::new(with_real_cluster_in_memory());
    let (old, _) = (back_up(&test, 2), back_up(&test, 5));
    let path = test.root().join(test.repository.record_key(&test.cluster, &old.id).unwrap().as_str());
    std::fs::write(path, b"nothing of ours").unwrap();
    let seen = seen(&test, "/wal/", || {});
    assert!(seen.unreadable.len() == 1 && seen.unreadable[0].contains(&old.id.to_string()), "{seen:?}");
}
