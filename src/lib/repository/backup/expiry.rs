//! What deleting backups needs of a repository: marks and pins, what there is of each backup, and taking objects away.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::marks::{BackupMark, BackupNote, BackupState};
use super::{BackupFolder, BackupId};
use crate::codec::ObjectKind;
use crate::error::{Classified as _, ErrorClass};
use crate::fs::{Lock, LockKind};
use crate::pg::WalFileName;
use crate::repository::cluster::ClusterRef;
use crate::repository::error::RepositoryError;
use crate::repository::stored_object::StoredObject;
use crate::repository::{Repository, Writer, layout};
use crate::store::{ObjectKey, block_on};

/// A pin by its name among the objects of its backup.
pub(crate) type NamedPin = (String, Result<BackupNote, RepositoryError>);

impl Repository {
    /// What the names of a backup's objects say of it now.
    pub(crate) fn backup_state(&self, cluster: &ClusterRef, id: &BackupId) -> Result<BackupState, RepositoryError> {
        let prefix = layout::backup(cluster, id);
        let mut state = BackupState::default();
        for key in self.list(&prefix)? {
            state.add(key.as_str().strip_prefix(&prefix).unwrap_or_default());
        }
        Ok(state)
    }

    /// Sets a mark; one that is there already stays as it is.
    pub(crate) fn mark_backup(
        &self,
        cluster: &ClusterRef,
        mark: BackupMark,
        note: &BackupNote,
        writer: &Writer,
    ) -> Result<(), RepositoryError> {
        let (key, spec) = self.backup_object(cluster, &note.id, mark.name(), mark.kind())?;
        self.create_json(&key, &spec, note, writer).map(drop)
    }

    /// When the store says that a mark was set.
    pub(crate) fn marked_at(
        &self,
        cluster: &ClusterRef,
        id: &BackupId,
        mark: BackupMark,
    ) -> Result<Timestamp, RepositoryError> {
        let (key, _) = self.backup_object(cluster, id, mark.name(), mark.kind())?;
        Ok(block_on(self.store().time_of(&key))?)
    }

    /// Pins a backup under a new name of its own: a pin that was taken away never comes back.
    pub(crate) fn pin_backup(
        &self,
        cluster: &ClusterRef,
        note: &BackupNote,
        writer: &Writer,
    ) -> Result<(), RepositoryError> {
        let name = format!("{:08x}", uuid::Uuid::new_v4().as_fields().0);
        let (key, spec) = self.backup_object(cluster, &note.id, &layout::pin(&name), ObjectKind::Pin)?;
        self.create_json(&key, &spec, note, writer).map(drop)
    }

    /// The pins of a backup by name, each readable or not: either way it holds.
    pub(crate) fn pins(
        &self,
        cluster: &ClusterRef,
        id: &BackupId,
        folder: &BackupFolder,
    ) -> Result<Vec<NamedPin>, RepositoryError> {
        let mut pins = Vec::new();
        for object in folder.objects.iter().filter(|object| object.starts_with(&layout::pin(""))) {
            let (key, spec) = self.backup_object(cluster, id, object, ObjectKind::Pin)?;
            pins.push((object.clone(), self.load_json(&key, &spec)));
        }
        Ok(pins)
    }

    /// The packs that lie in the repository, by the backup that wrote them.
    pub(crate) fn stored_packs(&self, cluster: &ClusterRef) -> Result<BTreeMap<BackupId, Vec<u32>>, RepositoryError> {
        let mut packs: BTreeMap<BackupId, Vec<u32>> = BTreeMap::new();
        for key in self.list(&layout::packs(cluster))? {
            if let Some(StoredObject::Pack { backup, ordinal, .. }) = StoredObject::of_key(&key) {
                packs.entry(backup).or_default().push(ordinal);
            }
        }
        Ok(packs)
    }

    /// Folders among those of the backups that no backup is called by.
    pub(crate) fn strange_backup_folders(&self, cluster: &ClusterRef) -> Result<Vec<String>, RepositoryError> {
        let mut names = self.folders(&layout::backups(cluster))?;
        names.retain(|name| name.parse::<BackupId>().is_err());
        Ok(names)
    }

    /// Where the packs lie that a backup has written so far.
    pub(crate) fn packs_of(&self, cluster: &ClusterRef, id: &BackupId) -> Result<Vec<ObjectKey>, RepositoryError> {
        self.list(&format!("{}{id}/", layout::packs(cluster)))
    }

    /// Every file of the WAL archive, in the order of keys; histories are no part of it.
    pub(crate) fn stored_wal(&self, cluster: &ClusterRef) -> Result<Vec<WalFileName>, RepositoryError> {
        let names = self.list(&layout::wal_timelines(cluster))?.into_iter().filter_map(|key| {
            let Some(StoredObject::Wal { name, .. }) = StoredObject::of_key(&key) else { return None };
            Some(name)
        });
        Ok(names.filter(|name| !matches!(name, WalFileName::TimelineHistory(_))).collect())
    }

    /// Where an object of a backup lies.
    pub(crate) fn backup_object_key(
        &self,
        cluster: &ClusterRef,
        id: &BackupId,
        object: &str,
    ) -> Result<ObjectKey, RepositoryError> {
        layout::backup_object(cluster, id, object).map_err(|source| self.invalid_key(source))
    }

    /// Where the record of a backup lies.
    pub(crate) fn record_key(&self, cluster: &ClusterRef, id: &BackupId) -> Result<ObjectKey, RepositoryError> {
        self.backup_object_key(cluster, id, layout::RECORD)
    }

    /// Where a pack lies.
    pub(crate) fn pack_key(
        &self,
        cluster: &ClusterRef,
        backup: &BackupId,
        ordinal: u32,
    ) -> Result<ObjectKey, RepositoryError> {
        layout::pack(cluster, backup, ordinal).map_err(|source| self.invalid_key(source))
    }

    /// Where a file of the WAL archive lies.
    pub(crate) fn wal_key(&self, cluster: &ClusterRef, name: &WalFileName) -> Result<ObjectKey, RepositoryError> {
        layout::wal(cluster, name).map_err(|source| self.invalid_key(source))
    }

    /// The size of an object as it is stored; nothing when there is none.
    pub(crate) fn stored_bytes(&self, key: &ObjectKey) -> Result<u64, RepositoryError> {
        match block_on(self.store().size(key)).map_err(RepositoryError::from) {
            Err(error) if error.is_not_found() => Ok(0),
            size => size,
        }
    }

    /// When an object was stored, by the store's clock; nothing when there is none.
    pub(crate) fn stored_time(&self, key: &ObjectKey) -> Result<Option<Timestamp>, RepositoryError> {
        match block_on(self.store().time_of(key)).map_err(RepositoryError::from) {
            Ok(time) => Ok(Some(time)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes folders away in which nothing of a cluster lies any more.
    pub(crate) fn tidy(&self, cluster: &ClusterRef) -> Result<u64, RepositoryError> {
        Ok(block_on(self.store().tidy(&layout::tree(cluster)))?)
    }

    /// Keeps some room for the marks of retention, unless it is kept; `false` when there is none.
    pub(crate) fn keep_reserve(&self) -> Result<bool, RepositoryError> {
        match block_on(self.store().keep_reserve()) {
            Ok(()) => Ok(true),
            Err(error) if error.class() == ErrorClass::NoSpace => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives that room back; `false` when there is none.
    pub(crate) fn give_up_reserve(&self) -> Result<bool, RepositoryError> {
        Ok(block_on(self.store().give_up_reserve())?)
    }

    /// Asks for the lock between those who take backups, who share it, and who deletes WAL.
    pub(crate) fn lock(&self, kind: LockKind) -> Result<Lock, RepositoryError> {
        Ok(block_on(self.store().lock(kind))?)
    }

    /// Takes an object away, durably, and says whether it was there.
    pub(crate) fn delete_object(&self, key: &ObjectKey) -> Result<bool, RepositoryError> {
        Ok(block_on(self.store().delete(key))?)
    }
}
