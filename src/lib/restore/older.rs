//! Which older backup serves when the one that was chosen turns out not to be whole.

use super::choose::is_on;
use super::error::RestoreError;
use crate::error::{Classified as _, ErrorClass};
use crate::pg::TimelineHistory;
use crate::repository::{
    ArchiveFacts, BackupId, BackupRecord, ClusterRef, LackSearch, Repository, RepositoryError, StoredObject, WalArchive,
};
use crate::store::StoreError;

/// A repository, and a backup in it that is restored along a path.
#[derive(Clone, Copy)]
pub(super) struct Chosen<'a> {
    pub(super) repository: &'a Repository,
    pub(super) cluster: &'a ClusterRef,
    pub(super) record: &'a BackupRecord,
    pub(super) path: &'a TimelineHistory,
}

impl Chosen<'_> {
    /// The error with the newest older backup that is whole, when it says that this one is not and there is one.
    pub(super) fn with_older(self, error: RestoreError) -> RestoreError {
        match error {
            RestoreError::Repository(source) => match damaged_in(&source).and_then(|damaged| self.older(damaged)) {
                Some(older) => {
                    let (id, source) = (self.record.id, Box::new(source));
                    RestoreError::UnreadableBackup { id, older: Some(older), source }
                }
                None => RestoreError::Repository(source),
            },
            error => error,
        }
    }

    /// The newest whole backup before this one from which the WAL leads up to it. What cannot be looked at does not serve.
    fn older(self, damaged: Option<(BackupId, u32)>) -> Option<BackupId> {
        let archive = WalArchive::new(self.repository, self.cluster);
        let facts = ArchiveFacts::gather(&archive, self.record.wal_segment_size).ok()?;
        let listed = self.repository.backups(self.cluster).ok()?;
        let mut older: Vec<BackupRecord> = listed.into_iter().filter_map(|entry| entry.record.ok()).collect();
        older.retain(|record| {
            record.stop_lsn < self.record.stop_lsn && record.findings.is_empty() && is_on(record, self.path)
        });
        older.sort_by_key(|record| std::cmp::Reverse((record.stop_lsn, record.sequence)));
        let leads_on = |record: &BackupRecord| {
            facts.coverage(self.path, record.start_lsn, Some(self.record.stop_lsn)).hole.is_none()
        };
        older.into_iter().find(|record| leads_on(record) && self.is_whole(record, damaged)).map(|record| record.id)
    }

    /// Whether all that it needs is there, and not what is known to be damaged; what is in the packs is not read.
    fn is_whole(self, record: &BackupRecord, damaged: Option<(BackupId, u32)>) -> bool {
        let needs = match self.repository.file_map(self.cluster, record) {
            Ok(_) => self.repository.backup_needs(self.cluster, record),
            Err(error) => Err(error),
        };
        needs.is_ok_and(|needs| {
            let has_damaged = needs.packs.iter().any(|need| damaged == Some((need.backup, need.ordinal)));
            let lacks = LackSearch::new(self.repository, self.cluster).with_needs(record, &needs);
            !has_damaged && lacks.is_ok_and(|lacks| lacks.is_empty())
        })
    }
}

/// The pack that is damaged or gone, or that it is another object of a backup; none where it is no such object.
fn damaged_in(error: &RepositoryError) -> Option<Option<(BackupId, u32)>> {
    let key = match error {
        RepositoryError::Damaged { key, .. } | RepositoryError::Store(StoreError::NotFound { key, .. }) => key,
        error => return (error.class() == ErrorClass::Corrupt).then_some(None),
    };
    match StoredObject::of_key(key)? {
        StoredObject::Pack { backup, ordinal, .. } => Some(Some((backup, ordinal))),
        StoredObject::Backup { .. } => Some(None),
        _ => None,
    }
}
