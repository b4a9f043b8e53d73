//! What the other objects of a repository say of one that was lost: of `repository.json`, and of an `identity`.
//!
//! INVARIANT: a repository's id counts as said only by a header whose MAC the keys of that very id make: an id that a
//! flipped bit has changed says nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::cluster::ClusterRef;
use super::error::{Damage, RepositoryError};
use super::object_reader::SinkError;
use super::stored_object::StoredObject;
use super::wal::WalArchive;
use super::{Repository, description, layout};
use crate::codec::{DigestKeys, EnvelopeError, HEADER_BYTES, ObjectHeader, RepositoryId, WriterSecret};
use crate::pg::{PgMajorVersion, TimelineId, WalFileName, WalSegmentHeader, WalSegmentName, WalSegmentSize};
use crate::store::{ObjectKey, Store, block_on};

/// Where the id lies in a header.
const ID_AT: usize = 32;
/// LIMIT: headers that are read for the id.
const HEADERS_MAX: usize = 10_000;

/// The ids that objects have, each with the earliest time in their headers.
pub type RepositoryTraces = BTreeMap<RepositoryId, Timestamp>;

/// What an object of a tree says of its cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeTrace {
    /// The object.
    pub object: String,
    /// When it came to be, by the clock of whoever wrote it.
    pub created: Timestamp,
    /// The version of its server.
    pub major_version: PgMajorVersion,
    /// The size of its server's WAL segments.
    pub wal_segment_size: WalSegmentSize,
}

impl Repository {
    /// Opens the repository for who looks whether all is well: damage of `repository.json` that shows by the other
    /// objects alone is told as such.
    pub fn open_to_look(store: Arc<dyn Store>, pinned: Option<RepositoryId>) -> Result<Self, RepositoryError> {
        let opened = Self::open(Arc::clone(&store), pinned);
        let (found, expected) = match &opened {
            Ok(repository) => (Some(repository.id), None),
            Err(RepositoryError::OtherRepository { found, expected, .. }) => (Some(*found), Some(*expected)),
            Err(RepositoryError::NotARepository { .. }) => (None, None),
            Err(_) => return opened,
        };
        // What cannot be looked at is told by who reads it.
        let traces = Self::traces_until(&store, found).unwrap_or_default();
        let is_sound = found.is_some_and(|found| traces.contains_key(&found));
        let other = traces.keys().find(|id| expected.is_none_or(|expected| expected == **id));
        let Some(other) = other.filter(|_| !is_sound) else { return opened };
        let problem = match found {
            Some(found) => format!("it has id {found}, where the other objects have {other}"),
            None => format!("it is missing, where the other objects have id {other}"),
        };
        let key = description::key(store.as_ref())?;
        Err(RepositoryError::Damaged { key, store: store.describe(), damage: Damage::Invalid { problem } })
    }

    /// The ids of the repositories whose objects lie in a store. An object of a newer pgv is an error: who writes a
    /// `repository.json` anew would take that repository for one of this version.
    pub fn traces(store: &Arc<dyn Store>) -> Result<RepositoryTraces, RepositoryError> {
        Self::traces_until(store, None)
    }

    /// The same up to the first object of that repository.
    fn traces_until(store: &Arc<dyn Store>, wanted: Option<RepositoryId>) -> Result<RepositoryTraces, RepositoryError> {
        let nobody = RepositoryId::from_bytes([0; 16]);
        let keys = DigestKeys::of(&WriterSecret::of_unencrypted(&nobody));
        let any = Self { store: Arc::clone(store), id: nobody, keys };
        let mut traces = RepositoryTraces::new();
        let mut left = HEADERS_MAX;
        for name in any.cluster_names()? {
            let (mut keys, mut prefixes) = (Vec::new(), vec![layout::writers(&name)]);
            for system_identifier in any.system_identifiers(&name)? {
                let cluster = ClusterRef { name: name.clone(), system_identifier };
                keys.push(layout::identity(&cluster).map_err(|source| any.invalid_key(source))?);
                prefixes.extend([layout::backups(&cluster), layout::histories(&cluster)]);
            }
            for prefix in prefixes {
                keys.extend(any.page_after(&prefix, "", left)?.keys);
                left = left.saturating_sub(keys.len()).max(1);
            }
            for key in keys {
                if let Some((id, created)) = any.trace(&key)? {
                    traces.entry(id).and_modify(|first| *first = created.min(*first)).or_insert(created);
                    if wanted == Some(id) {
                        return Ok(traces);
                    }
                }
            }
        }
        Ok(traces)
    }

    fn trace(&self, key: &ObjectKey) -> Result<Option<(RepositoryId, Timestamp)>, RepositoryError> {
        if StoredObject::of_key(key).is_none() {
            return Ok(None);
        }
        let bytes = match block_on(self.store.get_range(key, 0, HEADER_BYTES)).map_err(RepositoryError::from) {
            Err(error) if error.is_not_found() => return Ok(None),
            bytes => bytes?,
        };
        let id = bytes.get(ID_AT..).and_then(|rest| rest.first_chunk()).map(|id| RepositoryId::from_bytes(*id));
        let Some(id) = id else { return Ok(None) };
        match ObjectHeader::decode(&bytes, &DigestKeys::of(&WriterSecret::of_unencrypted(&id))) {
            Ok(header) => Ok(Some((header.repository, header.created))),
            Err(source @ (EnvelopeError::NewerFormat { .. } | EnvelopeError::UnknownFeature { .. })) => {
                Err(RepositoryError::NewerObject { key: key.clone(), store: self.describe(), source })
            }
            Err(_) => Ok(None),
        }
    }

    /// What the records of a tree's backups, and the first and last segments of its WAL, say of the cluster. What cannot
    /// be read says nothing.
    pub fn tree_traces(&self, cluster: &ClusterRef) -> Result<Vec<TreeTrace>, RepositoryError> {
        let mut traces = Vec::new();
        for record in self.backups(cluster)?.into_iter().filter_map(|entry| entry.record.ok()) {
            traces.push(TreeTrace {
                object: self.record_key(cluster, &record.id)?.to_string(),
                created: record.start_time,
                major_version: record.major_version,
                wal_segment_size: record.wal_segment_size,
            });
        }
        let mut ends: BTreeMap<TimelineId, (WalSegmentName, WalSegmentName)> = BTreeMap::new();
        self.for_each_readable(&layout::wal_timelines(cluster), &mut |key| {
            if let Some(segment) = StoredObject::of_key(&key).and_then(|object| object.segment()) {
                ends.entry(segment.timeline()).and_modify(|(_, last)| *last = segment).or_insert((segment, segment));
            }
        })?;
        for (first, last) in ends.into_values() {
            traces.extend(self.segment_trace(cluster, first)?);
            traces.extend(self.segment_trace(cluster, last).ok().flatten().filter(|_| first != last));
        }
        Ok(traces)
    }

    fn segment_trace(
        &self,
        cluster: &ClusterRef,
        segment: WalSegmentName,
    ) -> Result<Option<TreeTrace>, RepositoryError> {
        let name = WalFileName::Segment(segment);
        let Ok(Some(reader)) = WalArchive::new(self, cluster).open(&name) else { return Ok(None) };
        let mut beginning = Vec::new();
        // The first frame is the copy of the header.
        let read = reader.read_frames::<std::convert::Infallible>(0..2, &mut |_, plain| {
            beginning.extend_from_slice(plain.get(..WalSegmentHeader::LENGTH).unwrap_or_default());
            Ok(())
        });
        if let Err(SinkError::Repository(_)) = read {
            return Ok(None);
        }
        let header = WalSegmentHeader::decode(&beginning).ok();
        let header = header.filter(|header| header.system_identifier == cluster.system_identifier);
        Ok(header.map(|header| TreeTrace {
            object: name.to_string(),
            created: reader.header().created,
            major_version: header.major,
            wal_segment_size: header.segment_size,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Classified as _, ErrorClass};
    use crate::repository::testing::{self, TestRepository};
    use crate::store::LocalStore;

    fn store(test: &TestRepository) -> Arc<dyn Store> {
        Arc::new(LocalStore::open(&test.root()).unwrap())
    }

    #[test]
    fn an_id_that_no_object_has_is_damage_and_not_another_repository() {
        let test = testing::with_real_cluster();
        test.repository.introduce(&test.cluster.name, &test.writer).unwrap();
        let (id, path) = (test.repository.id(), test.root().join("repository.json"));
        assert_eq!(Repository::traces(&store(&test)).unwrap().into_keys().collect::<Vec<_>>(), [id]);
        for pinned in [None, Some(id)] {
            assert_eq!(Repository::open_to_look(store(&test), pinned).unwrap().id(), id);
        }
        let sound = std::fs::read_to_string(&path).unwrap();
        let other = RepositoryId::from_bytes([7; 16]);
        // Another repository is another one, whatever the configuration remembers.
        let error = Repository::open_to_look(store(&test), Some(other)).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Refused);
        std::fs::write(&path, sound.replace(&id.to_string(), &other.to_string())).unwrap();
        for pinned in [None, Some(id)] {
            let error = Repository::open_to_look(store(&test), pinned).unwrap_err();
            assert_eq!(error.class(), ErrorClass::Corrupt, "{error}");
        }
        std::fs::remove_file(&path).unwrap();
        for pinned in [None, Some(id)] {
            let error = Repository::open_to_look(store(&test), pinned).unwrap_err();
            assert_eq!(error.class(), ErrorClass::Corrupt, "{error}");
        }
    }

    #[test]
    fn a_repository_without_objects_says_nothing() {
        let test = testing::repository();
        assert!(Repository::traces(&store(&test)).unwrap().is_empty());
        assert!(Repository::open_to_look(store(&test), None).is_ok());
        std::fs::remove_file(test.root().join("repository.json")).unwrap();
        let error = Repository::open_to_look(store(&test), None).unwrap_err();
        assert!(matches!(error, RepositoryError::NotARepository { .. }), "{error}");
    }

    #[test]
    fn a_damaged_header_and_one_of_a_newer_pgv_are_told_apart() {
        let test = testing::with_real_cluster();
        let path = test.root().join(layout::identity(&test.cluster).unwrap().as_str());
        let sound = std::fs::read(&path).unwrap();
        let with = |at: usize, byte: u8| {
            let mut bytes = sound.clone();
            bytes[at] = byte;
            std::fs::write(&path, bytes).unwrap();
            Repository::traces(&store(&test))
        };
        assert!(with(ID_AT, !sound[ID_AT]).unwrap().is_empty());
        assert_eq!(with(14, 2).unwrap_err().class(), ErrorClass::Unsupported);
    }
}
