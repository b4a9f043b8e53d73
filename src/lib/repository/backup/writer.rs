//! Storing a backup: begin, packs and documents, map, record. What is not finished is not listed.

use serde::Serialize;

use super::BackupId;
use super::file_map::FileEntry;
use super::map_writer::MapWriter;
use super::marks::{BackupMark, BackupNote};
use super::record::{BackupBegin, BackupNeeds, BackupRecord, BackupSizes, DocumentKind, DocumentRef, PreviousRecord};
use crate::codec::{CompressionLevel, ContentDigest, ObjectKind};
use crate::error::{Classified, ErrorClass};
use crate::fs::{Lock, LockKind};
use crate::pg::DataPath;
use crate::repository::file_object::ReadSeek;
use crate::repository::layout;
use crate::repository::object::ObjectSpec;
use crate::repository::pack::{PackError, PackNeed, PackOptions, PackStream, PackWriter};
use crate::repository::{ClusterRef, Repository, RepositoryError, Writer};
use crate::store::{ObjectKey, PutOutcome};

/// A backup that could not be stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupWriterError {
    /// The repository failed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// A pack could not be written.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// An object of this backup is there already.
    #[error("object \"{key}\" is there already")]
    AlreadyPresent {
        /// Its key.
        key: ObjectKey,
    },
    /// A backup that it may refer to is about to be deleted, or is gone.
    #[error("backup {parent} is about to be deleted, so no backup can build on it")]
    ParentGoes {
        /// Which one.
        parent: BackupId,
    },
    /// It was silent for so long that it was taken for dead.
    #[error("backup {backup} was given up by \"pgv expire\", to which it looked dead")]
    GivenUp {
        /// Which one.
        backup: BackupId,
    },
    /// WAL is being deleted just now, and a backup that begins meanwhile may need it. It may begin in a moment.
    #[error("\"pgv expire\" is deleting WAL, and no backup can begin meanwhile")]
    WalGoes,
    /// Two entries of one path.
    #[error("there are two files \"{path}\"")]
    DuplicatePath {
        /// The path.
        path: DataPath,
    },
    /// An entry that comes after a later one: a bug of ours.
    #[error("internal error: file \"{path}\" is out of order")]
    Order {
        /// The path.
        path: DataPath,
    },
    /// Room was left for an entry, and another one was to be left room for, or it never came: a bug of ours.
    #[error("internal error: there is an empty place at file \"{path}\"")]
    Room {
        /// The path.
        path: DataPath,
    },
    /// An entry that no room was left for: a bug of ours.
    #[error("internal error: there is no place for a file that comes last")]
    NoRoom,
    /// An entry that is too long for a leaf.
    #[error("the entry of \"{path}\" is too long")]
    EntryTooLong {
        /// The path.
        path: DataPath,
    },
    /// An entry could not be written as text.
    #[error("could not write the entry of \"{path}\"")]
    Text {
        /// The path.
        path: DataPath,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl Classified for BackupWriterError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Repository(error) => error.class(),
            Self::Pack(error) => error.class(),
            Self::AlreadyPresent { .. } => ErrorClass::Conflict,
            Self::ParentGoes { .. } | Self::GivenUp { .. } | Self::WalGoes => ErrorClass::Unavailable,
            Self::DuplicatePath { .. } | Self::EntryTooLong { .. } => ErrorClass::InvalidInput,
            Self::Order { .. } | Self::Room { .. } | Self::NoRoom | Self::Text { .. } => ErrorClass::Internal,
        }
    }
}

/// Stores the objects of one backup.
pub struct BackupWriter {
    repository: Repository,
    cluster: ClusterRef,
    writer: Writer,
    id: BackupId,
    sequence: u64,
    previous: Option<PreviousRecord>,
    /// Of the backup before it.
    previous_sizes: Option<BackupSizes>,
    documents: Vec<DocumentRef>,
    /// All WAL stays where it is until the backup has ended.
    _wal_stays: Lock,
}

/// What became of the map and the packs.
#[derive(Debug)]
pub struct StoredContent {
    /// Digest of `root`.
    pub root_digest: ContentDigest,
    /// Digest of `needs`.
    pub needs_digest: ContentDigest,
    /// Sums over its files, and the bytes of all packs as stored.
    pub sizes: BackupSizes,
}

impl BackupWriter {
    /// Announces a backup.
    pub fn begin(
        repository: &Repository,
        cluster: &ClusterRef,
        writer: &Writer,
        begin: &BackupBegin,
    ) -> Result<Self, BackupWriterError> {
        // ORDER: whoever deletes WAL sees this begin, or has done with it before this looks at any WAL.
        let wal_stays = match repository.lock(LockKind::Shared)? {
            Lock::Taken => return Err(BackupWriterError::WalGoes),
            lock => lock,
        };
        repository.introduce(&cluster.name, writer)?;
        let newest = repository.newest_record(cluster)?;
        let this = Self {
            repository: repository.clone(),
            cluster: cluster.clone(),
            writer: writer.clone(),
            id: begin.id,
            sequence: newest.as_ref().map_or(1, |(record, _)| record.sequence.saturating_add(1)),
            previous_sizes: newest.as_ref().map(|(record, _)| record.sizes.clone()),
            previous: newest.map(|(record, mac)| PreviousRecord { id: record.id, mac }),
            documents: Vec::new(),
            _wal_stays: wal_stays,
        };
        this.create(layout::BEGIN, ObjectKind::Begin, begin)?;
        // ORDER: an expirer that set a mark before sees this begin, or this reads the mark.
        for parent in &begin.parents {
            if !repository.backup_state(cluster, parent)?.may_be_parent() {
                return Err(BackupWriterError::ParentGoes { parent: *parent });
            }
        }
        Ok(this)
    }

    /// The backup.
    pub fn id(&self) -> BackupId {
        self.id
    }

    /// Its place among the backups.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The record before it.
    pub fn previous(&self) -> Option<&PreviousRecord> {
        self.previous.as_ref()
    }

    /// What was in the backup before it.
    pub fn previous_sizes(&self) -> Option<&BackupSizes> {
        self.previous_sizes.as_ref()
    }

    /// Documents stored so far.
    pub fn documents(&self) -> &[DocumentRef] {
        &self.documents
    }

    /// Begins its packs, for frames that are made elsewhere.
    pub fn pack_writer(&self, options: PackOptions) -> PackWriter {
        options.writer(&self.repository, &self.cluster, &self.id, &self.writer)
    }

    /// Begins its map.
    pub fn map(&self) -> MapWriter {
        MapWriter::new(&self.repository)
    }

    /// Begins its packs.
    pub fn packs(&self, options: PackOptions) -> Result<PackStream, BackupWriterError> {
        Ok(PackStream::new(&self.repository, &self.cluster, &self.id, &self.writer, options)?)
    }

    /// Stores a document of the server.
    pub fn store_document(
        &mut self,
        kind: DocumentKind,
        name: &str,
        path: Option<std::path::PathBuf>,
        content: &[u8],
    ) -> Result<(), BackupWriterError> {
        let object = layout::document(name);
        let (key, spec) = self.place(&object, ObjectKind::Document)?;
        let (outcome, digest) = self.repository.create_object(&key, &spec, content, &self.writer)?;
        let digest = created(key, outcome, digest)?;
        self.documents.push(DocumentRef { kind, name: name.to_owned(), path, bytes: content.len() as u64, digest });
        Ok(())
    }

    /// Stores a document of the server that lies in a file.
    pub fn store_document_file(
        &mut self,
        kind: DocumentKind,
        name: &str,
        file: &mut (dyn ReadSeek + Send),
    ) -> Result<(), BackupWriterError> {
        let object = layout::document(name);
        let (key, spec) = self.place(&object, ObjectKind::Document)?;
        let level = CompressionLevel::DEFAULT;
        let stored = self.repository.create_object_of_file(&key, &spec, (file, None), level, &self.writer)?;
        let digest = created(key, stored.outcome, stored.plain_digest)?;
        self.documents.push(DocumentRef { kind, name: name.to_owned(), path: None, bytes: stored.plain_bytes, digest });
        Ok(())
    }

    /// Stores the map of these entries, which need not be sorted, and ends the packs.
    pub fn store_map(
        &mut self,
        mut entries: Vec<(DataPath, FileEntry)>,
        mut packs: PackStream,
    ) -> Result<StoredContent, BackupWriterError> {
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut map = self.map();
        let store = &mut |leaf: &[u8]| packs.write_frame(leaf);
        for (path, entry) in &entries {
            map.add(path, entry, store)?;
        }
        map.end(store)?;
        self.store_root(map, packs.finish()?)
    }

    /// Stores the root of a map that was ended, and the table of the packs, which were finished.
    pub fn store_root(&mut self, map: MapWriter, mut needs: Vec<PackNeed>) -> Result<StoredContent, BackupWriterError> {
        let stored_bytes = needs.iter().map(|need| need.body_bytes).sum();
        let sizes = BackupSizes { stored_bytes, ..map.sizes().clone() };
        let root = map.into_root(&mut needs);
        let root_digest = self.create(layout::ROOT, ObjectKind::Root, &root)?;
        let needs_digest = self.create(layout::NEEDS, ObjectKind::Needs, &BackupNeeds { packs: needs })?;
        Ok(StoredContent { root_digest, needs_digest, sizes })
    }

    /// Says that no record will ever come, so that nobody waits for it: whoever deletes need not. With `frees_room`, or
    /// where there is no room to say it, its packs go at once; nobody else knows them.
    pub fn give_up(self, note: &BackupNote, frees_room: bool) -> Result<(), BackupWriterError> {
        if frees_room {
            self.free_packs()?;
        }
        let mark = || self.repository.mark_backup(&self.cluster, BackupMark::Suspect, note, &self.writer);
        match mark() {
            Err(error) if error.class() == ErrorClass::NoSpace && !frees_room => {
                self.free_packs()?;
                Ok(mark()?)
            }
            marked => Ok(marked?),
        }
    }

    fn free_packs(&self) -> Result<(), BackupWriterError> {
        for key in self.repository.packs_of(&self.cluster, &self.id)? {
            self.repository.delete_object(&key)?;
        }
        Ok(())
    }

    /// Stores the record: from here on, the backup exists, unless it was taken for dead and given up meanwhile.
    pub fn finish(&self, record: &BackupRecord) -> Result<(), BackupWriterError> {
        self.create(layout::RECORD, ObjectKind::Record, record)?;
        // ORDER: an expirer that set a mark before sees this record, or this reads the mark.
        let state = self.repository.backup_state(&self.cluster, &self.id)?;
        if state.is_own_success() {
            return Ok(());
        }
        if !state.is_listed() {
            // Nobody has ever seen it: this very call has created it. Left there, it would look like damage.
            let (key, _) = self.place(layout::RECORD, ObjectKind::Record)?;
            self.repository.delete_object(&key)?;
        }
        Err(BackupWriterError::GivenUp { backup: self.id })
    }

    fn place(&self, object: &str, kind: ObjectKind) -> Result<(ObjectKey, ObjectSpec), BackupWriterError> {
        Ok(self.repository.backup_object(&self.cluster, &self.id, object, kind)?)
    }

    fn create<T: Serialize>(
        &self,
        object: &str,
        kind: ObjectKind,
        value: &T,
    ) -> Result<ContentDigest, BackupWriterError> {
        let (key, spec) = self.place(object, kind)?;
        let (outcome, digest) = self.repository.create_json(&key, &spec, value, &self.writer)?;
        created(key, outcome, digest)
    }
}

impl Repository {
    pub(crate) fn backup_object(
        &self,
        cluster: &ClusterRef,
        id: &BackupId,
        object: &str,
        kind: ObjectKind,
    ) -> Result<(ObjectKey, ObjectSpec), RepositoryError> {
        let key = layout::backup_object(cluster, id, object).map_err(|source| self.invalid_key(source))?;
        let name = layout::backup_object_name(id, object);
        Ok((key, ObjectSpec { kind, system_identifier: Some(cluster.system_identifier), name }))
    }
}

fn created(key: ObjectKey, outcome: PutOutcome, digest: ContentDigest) -> Result<ContentDigest, BackupWriterError> {
    match outcome {
        PutOutcome::Created => Ok(digest),
        PutOutcome::AlreadyPresent => Err(BackupWriterError::AlreadyPresent { key }),
    }
}
