//! Which backups there are. What cannot be read is listed as such and does not hide the rest.

use std::collections::BTreeMap;

use super::BackupId;
use super::file_map::{FileMap, MapRoot};
use super::marks::{BackupState, DeletionStep};
use super::record::{BackupBegin, BackupNeeds, BackupRecord, DocumentRef};
use crate::codec::{ContentDigest, HEADER_BYTES, ObjectKind};
use crate::repository::error::{Damage, RepositoryError};
use crate::repository::object::WHOLE_BYTES_MAX;
use crate::repository::object_reader::{ObjectReader, SinkError};
use crate::repository::{ClusterRef, Repository, Unlistable, layout};
use crate::store::block_on;

/// Bytes of the MAC at the end of a header.
const MAC_BYTES: usize = 32;

/// A listed backup.
#[derive(Debug)]
pub struct BackupEntry {
    /// Its id.
    pub id: BackupId,
    /// Its record, or why it cannot be read.
    pub record: Result<BackupRecord, RepositoryError>,
}

/// A backup that was begun and has no record: running, or given up.
#[derive(Debug)]
pub struct UnfinishedBackup {
    /// Its id.
    pub id: BackupId,
    /// Whether it was said, by itself or by `pgv expire`, that it will not be finished.
    pub is_given_up: bool,
    /// How it began, or why that cannot be read.
    pub begin: Result<BackupBegin, RepositoryError>,
}

/// The objects of one backup.
#[derive(Debug, Default)]
pub(crate) struct BackupFolder {
    /// What their names say of it.
    pub(crate) state: BackupState,
    /// Their names.
    pub(crate) objects: Vec<String>,
}

impl BackupFolder {
    /// Whether nothing is in it but the mark that it is being deleted, which stays as long as a pack of the backup does.
    pub(crate) fn has_gone_alone(&self) -> bool {
        self.state.gone && self.objects.iter().all(|object| DeletionStep::of(object) == DeletionStep::Gone)
    }

    /// Whether nothing is in it but marks and pins, as where one came behind the back of a deletion.
    pub(crate) fn has_notes_alone(&self) -> bool {
        self.objects.iter().all(|object| {
            matches!(DeletionStep::of(object), DeletionStep::Mark | DeletionStep::Pin | DeletionStep::Gone)
        })
    }
}

/// What lies below the backups of a tree.
pub(super) struct BackupObjects {
    /// The objects of each.
    pub(super) backups: BTreeMap<BackupId, BackupFolder>,
    /// Backups whose objects cannot be listed. They count as listed: nothing says that they are not.
    pub(super) hidden: Vec<(BackupId, RepositoryError)>,
}

impl Repository {
    /// Every backup of a tree, in the order in which they were taken; those whose record cannot be read come last.
    pub fn backups(&self, cluster: &ClusterRef) -> Result<Vec<BackupEntry>, RepositoryError> {
        let BackupObjects { backups, hidden } = self.backup_objects(cluster)?;
        let mut entries: Vec<BackupEntry> =
            hidden.into_iter().map(|(id, error)| BackupEntry { id, record: Err(error) }).collect();
        for (id, objects) in backups {
            if objects.state.is_listed() {
                entries.push(BackupEntry { id, record: self.record(cluster, &id) });
            }
        }
        entries.sort_by_key(|entry| (entry.record.as_ref().map_or(u64::MAX, |record| record.sequence), entry.id));
        Ok(entries)
    }

    /// Whatever there is of each backup. A backup that cannot be listed is an error: who asks deletes.
    pub(crate) fn backup_folders(
        &self,
        cluster: &ClusterRef,
    ) -> Result<BTreeMap<BackupId, BackupFolder>, RepositoryError> {
        let BackupObjects { backups, hidden } = self.backup_objects(cluster)?;
        match hidden.into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(backups),
        }
    }

    /// How a backup began.
    pub(crate) fn backup_begin(&self, cluster: &ClusterRef, id: &BackupId) -> Result<BackupBegin, RepositoryError> {
        let (key, spec) = self.backup_object(cluster, id, layout::BEGIN, ObjectKind::Begin)?;
        self.load_json(&key, &spec)
    }

    /// Every backup that was begun, has no record and is not being deleted.
    pub fn unfinished_backups(&self, cluster: &ClusterRef) -> Result<Vec<UnfinishedBackup>, RepositoryError> {
        let mut unfinished = Vec::new();
        for (id, objects) in self.backup_objects(cluster)?.backups {
            if objects.state.is_unfinished() {
                let is_given_up = objects.state.suspect;
                unfinished.push(UnfinishedBackup { id, is_given_up, begin: self.backup_begin(cluster, &id) });
            }
        }
        Ok(unfinished)
    }

    /// What is wrong with the begins of backups that have a record. Without a begin a backup is not listed.
    pub fn begin_problems(&self, cluster: &ClusterRef) -> Result<Vec<(BackupId, RepositoryError)>, RepositoryError> {
        let mut problems = Vec::new();
        for (id, objects) in self.backup_objects(cluster)?.backups {
            if objects.state.record && !objects.state.gone {
                let (key, spec) = self.backup_object(cluster, &id, layout::BEGIN, ObjectKind::Begin)?;
                let loaded = self.load_json::<BackupBegin>(&key, &spec).map(|_| ());
                let gone = || self.begin_is_gone(&key);
                let loaded = loaded.map_err(|error| if error.is_not_found() { gone() } else { error });
                problems.extend(loaded.err().map(|error| (id, error)));
            }
        }
        Ok(problems)
    }

    /// Backups that are not listed because their begin is gone, while they have a record.
    pub(crate) fn backups_without_begin(
        &self,
        cluster: &ClusterRef,
    ) -> Result<Vec<(BackupId, RepositoryError)>, RepositoryError> {
        let mut problems = Vec::new();
        for (id, objects) in self.backup_objects(cluster)?.backups {
            if objects.state.record && !objects.state.begin && !objects.state.gone {
                let (key, _) = self.backup_object(cluster, &id, layout::BEGIN, ObjectKind::Begin)?;
                problems.push((id, self.begin_is_gone(&key)));
            }
        }
        Ok(problems)
    }

    fn begin_is_gone(&self, key: &crate::store::ObjectKey) -> RepositoryError {
        self.damaged(key, Damage::Invalid { problem: "it is missing, while the backup has a record".to_owned() })
    }

    /// The record of a backup.
    pub fn record(&self, cluster: &ClusterRef, id: &BackupId) -> Result<BackupRecord, RepositoryError> {
        let (key, spec) = self.backup_object(cluster, id, layout::RECORD, ObjectKind::Record)?;
        let record: BackupRecord = self.load_versioned_json(&key, &spec)?;
        if record.id != *id || record.system_identifier != cluster.system_identifier {
            let problem = format!("it is the record of {} of another place", record.id);
            return Err(self.damaged(&key, Damage::Invalid { problem }));
        }
        Ok(record)
    }

    /// The file map of a backup, checked against its record.
    pub fn file_map<'a>(
        &'a self,
        cluster: &'a ClusterRef,
        record: &BackupRecord,
    ) -> Result<FileMap<'a>, RepositoryError> {
        let (key, spec) = self.backup_object(cluster, &record.id, layout::ROOT, ObjectKind::Root)?;
        let root: MapRoot = self.load_checked_json(&key, &spec, record.root_digest)?;
        let needs = self.backup_needs(cluster, record)?;
        Ok(FileMap::new(self, cluster, key, root, needs))
    }

    /// The table of packs of a backup, checked against its record.
    pub(crate) fn backup_needs(
        &self,
        cluster: &ClusterRef,
        record: &BackupRecord,
    ) -> Result<BackupNeeds, RepositoryError> {
        let (key, spec) = self.backup_object(cluster, &record.id, layout::NEEDS, ObjectKind::Needs)?;
        self.load_checked_json(&key, &spec, record.needs_digest)
    }

    /// A document that was stored with a backup, checked against its record.
    pub fn document(
        &self,
        cluster: &ClusterRef,
        backup: &BackupId,
        document: &DocumentRef,
    ) -> Result<Vec<u8>, RepositoryError> {
        let object = layout::document(&document.name);
        let (key, spec) = self.backup_object(cluster, backup, &object, ObjectKind::Document)?;
        let content = self.load_object(&key, &spec, WHOLE_BYTES_MAX.min(document.bytes))?;
        if self.keys().plain_digest(&content) != document.digest {
            return Err(self.damaged(&key, Damage::Digest { what: "content" }));
        }
        Ok(content)
    }

    /// Hands over a document that was stored with a backup, however long it is. What was handed over counts only when this
    /// returns without error.
    pub fn read_document<E>(
        &self,
        cluster: &ClusterRef,
        backup: &BackupId,
        document: &DocumentRef,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), SinkError<E>> {
        let object = layout::document(&document.name);
        let (key, spec) = self.backup_object(cluster, backup, &object, ObjectKind::Document)?;
        let reader = ObjectReader::open(self, &key, &spec)?;
        if reader.header().plain_digest != Some(document.digest) {
            return Err(self.damaged(&key, Damage::Digest { what: "content" }).into());
        }
        reader.read_to(sink)
    }

    /// The newest readable record, and the MAC of its header.
    pub(super) fn newest_record(
        &self,
        cluster: &ClusterRef,
    ) -> Result<Option<(BackupRecord, ContentDigest)>, RepositoryError> {
        let newest = self.backups(cluster)?.into_iter().filter_map(|entry| entry.record.ok()).next_back();
        let Some(record) = newest else { return Ok(None) };
        let mac = self.record_mac(cluster, &record.id)?;
        Ok(Some((record, mac)))
    }

    /// The MAC in the header of a record.
    pub(crate) fn record_mac(&self, cluster: &ClusterRef, id: &BackupId) -> Result<ContentDigest, RepositoryError> {
        let (key, _) = self.backup_object(cluster, id, layout::RECORD, ObjectKind::Record)?;
        let mac_at = (HEADER_BYTES - MAC_BYTES) as u64;
        let bytes = block_on(self.store().get_range(&key, mac_at, MAC_BYTES))?;
        let found = bytes.len() as u64;
        let mac: [u8; MAC_BYTES] = bytes
            .as_ref()
            .try_into()
            .map_err(|_| self.damaged(&key, Damage::Size { expected: MAC_BYTES as u64, found }))?;
        Ok(ContentDigest::from_bytes(mac))
    }

    fn load_checked_json<T: serde::de::DeserializeOwned>(
        &self,
        key: &crate::store::ObjectKey,
        spec: &crate::repository::object::ObjectSpec,
        digest: ContentDigest,
    ) -> Result<T, RepositoryError> {
        let text = self.load_object(key, spec, WHOLE_BYTES_MAX)?;
        if self.keys().plain_digest(&text) != digest {
            return Err(self.damaged(key, Damage::Digest { what: "content" }));
        }
        serde_json::from_slice(&text).map_err(|error| self.damaged(key, Damage::Text(error)))
    }

    /// The names of the objects directly below each backup.
    pub(super) fn backup_objects(&self, cluster: &ClusterRef) -> Result<BackupObjects, RepositoryError> {
        let prefix = layout::backups(cluster);
        let mut backups: BTreeMap<BackupId, BackupFolder> = BTreeMap::new();
        let (keys, unlistable) = self.list_readable(&prefix)?;
        for key in keys {
            let rest = key.as_str().strip_prefix(&prefix).unwrap_or_default();
            if let Some((id, object)) = rest.split_once('/')
                && let Ok(id) = id.parse::<BackupId>()
            {
                let folder = backups.entry(id).or_default();
                folder.state.add(object);
                folder.objects.push(object.to_owned());
            }
        }
        // What cannot be listed below a backup is told by who wants to read it.
        let of_backup = |folder: Unlistable| {
            let id = folder.folder.strip_prefix(&prefix)?.parse().ok()?;
            Some((id, folder.error))
        };
        Ok(BackupObjects { backups, hidden: unlistable.into_iter().filter_map(of_backup).collect() })
    }
}
