//! What is kept where, and in which format: layout, objects, WAL archive, packs, file maps, backup records.
//!
//! The normative text is `docs/repository-format.md`. INVARIANT: nothing read from a store is handed on before its
//! digest was checked, and every object is created once and never changed.
//!
//! Calls block: use them from plain threads.

mod backup;
mod cluster;
mod description;
mod error;
mod file_object;
#[cfg(test)]
mod hostile_tests;
mod layout;
mod lost_wal;
mod object;
mod object_reader;
mod pack;
mod selection;
mod stored_object;
mod traces;
mod wal;
mod wal_coverage;
mod wal_range;
pub(crate) mod wal_summary;
mod writer;

use std::sync::Arc;

use crate::codec::{DigestKeys, RepositoryId, WriterSecret};
use crate::report::Activity;
use crate::store::{ObjectKey, Store, StoreError, WatchedStore, block_on};

#[cfg(test)]
pub(crate) use backup::testing as backup_testing;
pub use backup::{
    BackupBegin, BackupEntry, BackupId, BackupIdError, BackupMark, BackupMethod, BackupNeeds, BackupNote, BackupRecord,
    BackupSizes, BackupWriter, BackupWriterError, DocumentKind, DocumentRef, FileEntry, FileKind, FileMap, Lack,
    MapRoot, MapWriter, NodeDescription, PreviousRecord, ServerDescription, StoredContent, TablespaceRef,
    UnfinishedBackup,
};
pub(crate) use backup::{
    BackupFolder, BackupState, DeletionStep, Hold, LackSearch, ListedRecords, MissingRecord, MissingRecords,
    Recordless, SILENT_AFTER, hold_of, pack_name,
};
pub use cluster::{ClusterIdentity, ClusterName, ClusterNameError, ClusterRef};
pub use description::{FORMAT, RepositoryDescription};
pub use error::{Damage, RepositoryError, StoredInConflict};
pub use file_object::ReadSeek;
pub(crate) use layout::folders_of;
pub use lost_wal::LostWal;
pub use object::{ObjectSpec, Stored};
pub(crate) use object_reader::HEADER_COPY;
pub use object_reader::{ObjectReader, SinkError};
pub(crate) use pack::CheckedFrame;
pub use pack::{
    Extent, Frame, FrameMaker, IndexFrame, PackError, PackIndex, PackIndexError, PackNeed, PackOptions, PackReader,
    PackStream, PackWriter, PlainSink, StoredFile,
};
pub(crate) use pack::{FRAME_BYTES, add_extent};
pub use selection::{ClusterSelection, ConfiguredCluster, SelectedCluster, SelectionError};
pub(crate) use stored_object::{BackupPart, StoredObject};
pub use traces::{RepositoryTraces, TreeTrace};
pub use wal::{ArchivedWal, WalArchive, WalFileContent};
pub(crate) use wal::{ListedWal, UnlistedWal};

pub(crate) use wal_coverage::ArchiveFacts;
pub use wal_coverage::{WalCoverage, WalHole};
pub use wal_range::WalRange;
pub(crate) use wal_summary::BackupSpan;
pub use wal_summary::CostlyHole;
pub use writer::{Writer, WriterDescription};

/// LIMIT: keys asked for in one listing call.
const LISTING_PAGE: usize = 10_000;

/// An open repository.
#[derive(Clone)]
pub struct Repository {
    store: Arc<dyn Store>,
    id: RepositoryId,
    keys: DigestKeys,
}

impl Repository {
    /// Opens the repository in `store`. `pinned` is the id that the configuration remembers.
    pub fn open(store: Arc<dyn Store>, pinned: Option<RepositoryId>) -> Result<Self, RepositoryError> {
        let description = description::load(store.as_ref())?;
        if let Some(expected) = pinned.filter(|expected| *expected != description.id) {
            return Err(RepositoryError::OtherRepository { store: store.describe(), expected, found: description.id });
        }
        let keys = DigestKeys::of(&WriterSecret::of_unencrypted(&description.id));
        Ok(Self { store, id: description.id, keys })
    }

    /// Makes the store a repository, unless it is one; then it is opened. `true` when it was created now.
    pub fn create(store: Arc<dyn Store>, new: &RepositoryDescription) -> Result<(Self, bool), RepositoryError> {
        let created = description::create(store.as_ref(), new)?;
        Ok((Self::open(store, None)?, created))
    }

    /// The same repository; a watchdog knows what is asked of its store.
    pub fn watched(self, activity: Activity) -> Self {
        Self { store: Arc::new(WatchedStore::watching(self.store, activity)), ..self }
    }

    /// Its id.
    pub fn id(&self) -> RepositoryId {
        self.id
    }

    /// The keys of its digests.
    pub fn keys(&self) -> &DigestKeys {
        &self.keys
    }

    /// Where its objects are.
    pub fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }

    /// What to call it in messages.
    pub fn describe(&self) -> String {
        self.store.describe()
    }

    /// Every key below `prefix`, in order.
    pub fn list(&self, prefix: &str) -> Result<Vec<ObjectKey>, RepositoryError> {
        let mut keys: Vec<ObjectKey> = Vec::new();
        loop {
            let after = keys.last().map_or(String::new(), |key| key.as_str().to_owned());
            let page = block_on(self.store.list_after(prefix, &after, LISTING_PAGE))?;
            let is_last = page.len() < LISTING_PAGE;
            keys.extend(page);
            if is_last {
                return Ok(keys);
            }
        }
    }

    /// Every key below `prefix` that can be listed, in order, and the folders below it that cannot be. That `prefix`
    /// itself cannot be listed is an error.
    pub(crate) fn list_readable(&self, prefix: &str) -> Result<(Vec<ObjectKey>, Vec<Unlistable>), RepositoryError> {
        let mut keys = Vec::new();
        let hidden = self.for_each_readable(prefix, &mut |key| keys.push(key))?;
        Ok((keys, hidden))
    }

    /// The same, of any number of keys, which are handed out page by page.
    pub(crate) fn for_each_readable(
        &self,
        prefix: &str,
        take: &mut dyn FnMut(ObjectKey),
    ) -> Result<Vec<Unlistable>, RepositoryError> {
        let mut hidden = Vec::new();
        let mut after = String::new();
        loop {
            let page = self.page_after(prefix, &after, LISTING_PAGE)?;
            page.keys.into_iter().for_each(&mut *take);
            match page.next {
                Some((_, Some(folder))) if hidden.len() >= HIDDEN_FOLDERS_MAX => return Err(folder.error),
                Some((next, folder)) => {
                    after = next;
                    hidden.extend(folder);
                }
                None => return Ok(hidden),
            }
        }
    }

    /// Keys below `prefix` that sort after `after`, about `limit` of them. A folder below it that cannot be listed ends
    /// the page.
    pub(crate) fn page_after(&self, prefix: &str, after: &str, limit: usize) -> Result<KeyPage, RepositoryError> {
        match block_on(self.store.list_after(prefix, after, limit)) {
            Ok(keys) => {
                let last = keys.last().filter(|_| keys.len() >= limit);
                let next = last.map(|key| (key.as_str().to_owned(), None));
                Ok(KeyPage { keys, next })
            }
            // ORDER: what is behind everything that this folder may hold.
            Err(StoreError::Unlistable(mut hidden))
                if hidden.folder.strip_prefix(prefix).is_some_and(|below| !below.is_empty()) =>
            {
                let (keys, folder) = (std::mem::take(&mut hidden.before), hidden.folder.clone());
                let next = format!("{folder}/~");
                let hidden = Unlistable { folder, error: StoreError::Unlistable(hidden).into() };
                Ok(KeyPage { keys, next: Some((next, Some(hidden))) })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The first key below `prefix` that sorts after `after`.
    pub(crate) fn first_after(&self, prefix: &str, after: &str) -> Result<Option<ObjectKey>, RepositoryError> {
        Ok(block_on(self.store.list_after(prefix, after, 1))?.into_iter().next())
    }

    /// The names of the folders directly below `prefix`, in order, found without listing what is in them. One that
    /// cannot be listed is there, too.
    pub(crate) fn folders(&self, prefix: &str) -> Result<Vec<String>, RepositoryError> {
        let mut folders = Vec::new();
        let mut after = String::new();
        loop {
            let KeyPage { keys, next } = self.page_after(prefix, &after, 1)?;
            let (name, is_folder) = match (keys.into_iter().next(), next) {
                (Some(key), _) => (key.to_string(), false),
                (None, Some((_, Some(hidden)))) => (hidden.folder, true),
                (None, _) => return Ok(folders),
            };
            let rest = name.strip_prefix(prefix).unwrap_or_default();
            after = match rest.split_once('/').map(|(folder, _)| folder).or(is_folder.then_some(rest)) {
                Some(folder) => {
                    folders.push(folder.to_owned());
                    // No key has a byte above '~', so this sorts behind everything in the folder.
                    format!("{prefix}{folder}/~")
                }
                None => name,
            };
        }
    }
}

/// LIMIT: folders that are passed over in one listing. Links that lead round in circles make any number of them.
pub(crate) const HIDDEN_FOLDERS_MAX: usize = 100;

/// A folder whose content cannot be listed.
#[derive(Debug)]
pub(crate) struct Unlistable {
    /// Which one, as keys name it, without a slash at its end.
    pub(crate) folder: String,
    /// Why.
    pub(crate) error: RepositoryError,
}

/// Some keys, in order.
#[derive(Debug)]
pub(crate) struct KeyPage {
    pub(crate) keys: Vec<ObjectKey>,
    /// What to go on after, and the folder that is passed over there; nothing at the end.
    pub(crate) next: Option<(String, Option<Unlistable>)>,
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Repository({}, {})", self.id, self.describe())
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! A repository in a temporary directory, for unit tests.

    use super::*;
    use crate::clock::SystemClock;
    use crate::pg::testing as real;
    use crate::pg::{SystemIdentifier, WalFileName};
    use crate::store::LocalStore;

    pub(crate) struct TestRepository {
        pub(crate) temp: tempfile::TempDir,
        pub(crate) repository: Repository,
        pub(crate) cluster: ClusterRef,
        pub(crate) writer: Writer,
    }

    impl TestRepository {
        pub(crate) fn scratch(&self) -> crate::fs::Tree {
            LocalStore::open(&self.temp.path().join("repo")).unwrap().scratch().unwrap()
        }
    }

    pub(crate) fn repository() -> TestRepository {
        repository_in(tempfile::tempdir().unwrap())
    }

    /// One where hundreds of cases do not wait for a disk; in the usual place where there is none such.
    pub(crate) fn repository_in_memory() -> TestRepository {
        repository_in(tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap())
    }

    fn repository_in(temp: tempfile::TempDir) -> TestRepository {
        let store = Arc::new(LocalStore::create(&temp.path().join("repo")).unwrap());
        let (repository, created) = Repository::create(store, &RepositoryDescription::new(&SystemClock)).unwrap();
        assert!(created);
        let cluster = ClusterRef {
            name: ClusterName::parse("main").unwrap(),
            system_identifier: SystemIdentifier::new(7_000_000_000_000_000_001).unwrap(),
        };
        let writer = writer(&repository, "/data/one");
        TestRepository { temp, repository, cluster, writer }
    }

    /// A repository in which the cluster of `pg::testing` is registered as "main".
    pub(crate) fn with_real_cluster() -> TestRepository {
        with_real_cluster_in(repository())
    }

    /// The same in memory.
    pub(crate) fn with_real_cluster_in_memory() -> TestRepository {
        with_real_cluster_in(repository_in_memory())
    }

    fn with_real_cluster_in(mut test: TestRepository) -> TestRepository {
        test.cluster.system_identifier = real::system_identifier();
        let identity = ClusterIdentity {
            cluster: test.cluster.name.clone(),
            system_identifier: test.cluster.system_identifier,
            major_version: real::control_file().major(),
            wal_segment_size: real::segment_size(),
            since: "2026-11-21T00:00:00Z".parse().unwrap(),
        };
        test.repository.register(&identity, &test.writer).unwrap();
        test
    }

    impl TestRepository {
        /// Where it is.
        pub(crate) fn root(&self) -> std::path::PathBuf {
            self.temp.path().join("repo")
        }

        /// Where it keeps a WAL file of its cluster.
        pub(crate) fn stored(&self, name: &str) -> std::path::PathBuf {
            let key = layout::wal(&self.cluster, &WalFileName::parse(name).unwrap()).unwrap();
            self.root().join(key.as_str())
        }
    }

    pub(crate) fn writer(repository: &Repository, directory: &str) -> Writer {
        let description = WriterDescription::new(
            "host-one",
            std::path::Path::new(directory),
            "2026-11-21T00:00:00Z".parse().unwrap(),
        );
        Writer::new(repository, description)
    }
}
