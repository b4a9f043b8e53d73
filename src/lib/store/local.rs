//! Objects as files below a directory of this machine (or a mounted one).
//!
//! INVARIANT: only [`LocalStore::create`] makes the root; an unmounted one is an error, never an empty store. Objects
//! are staged in `<root>/.staging`, which no key can name and no listing returns.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use super::{LeftOver, ObjectBody, ObjectKey, PutOutcome, Store, StoreError, StoreFuture, UnlistableFolder};
use crate::fs::{
    self, DirectoryEntry, FileError, HeldDirectory, Lock, LockKind, Published, RegularFileError, StagedFile, Tree,
};

mod left_overs;
mod listing;
mod probe;
mod reserve;

use listing::Listing;
pub use probe::StoreProbe;

const STAGING: &str = LocalStore::STAGING;
/// How often the folder of a new object may be removed by those who tidy up before that is an error.
const PUBLISH_TRIES_MAX: usize = 16;
/// What a file system has at its root.
const LOST_AND_FOUND: &str = "lost+found";
/// A staged file to which nothing was added for so long has no writer, wherever that was.
const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 3600);

/// A store in a local directory.
#[derive(Debug, Clone)]
pub struct LocalStore {
    root: PathBuf,
}

impl LocalStore {
    /// The folder of what is being written; it is no object's, and there is no store without it.
    pub const STAGING: &str = ".staging";

    /// The store at `root`, which must have been created.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let store = Self { root: root.to_owned() };
        store.check_root()?;
        Ok(store)
    }

    /// Creates a store at `root`, or opens the one that is there. The directory above `root` must exist.
    pub fn create(root: &Path) -> Result<Self, StoreError> {
        let store = Self { root: root.to_owned() };
        let created = fs::create_directory(root).and_then(|_| fs::create_directory(&root.join(STAGING)));
        // Not "there is no repository": that is why it is created.
        created.map_err(|error| store.file_error(error))?;
        Ok(store)
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Its directory for files without a name, which end with the program that works with them.
    pub fn scratch(&self) -> Result<Tree, StoreError> {
        Tree::open(&self.root.join(STAGING)).map_err(|error| self.failed(error))
    }

    fn path_of(&self, key: &ObjectKey) -> PathBuf {
        self.root.join(key.as_str())
    }

    fn root_missing(&self) -> StoreError {
        StoreError::RootMissing { root: self.root.display().to_string() }
    }

    fn failed(&self, source: FileError) -> StoreError {
        // A missing name inside a store whose root has gone says nothing about the name.
        match self.check_root() {
            Err(missing @ StoreError::RootMissing { .. }) if source.is_not_found() => missing,
            _ => self.file_error(source),
        }
    }

    fn file_error(&self, source: FileError) -> StoreError {
        StoreError::File { root: self.root.display().to_string(), source }
    }

    /// Tells an object that is absent from one that cannot be looked for, and from what is none.
    fn read_failed(&self, key: &ObjectKey, error: RegularFileError) -> StoreError {
        let source = match error {
            RegularFileError::Other(found) => {
                return StoreError::NotAFile { key: key.clone(), store: self.describe(), found };
            }
            RegularFileError::File(source) => source,
        };
        if !source.is_not_found() || self.check_root().is_err() {
            return self.failed(source);
        }
        match fs::check_absent(&self.root, Path::new(key.as_str())) {
            Ok(()) => StoreError::NotFound { key: key.clone(), store: self.describe() },
            Err(hidden) => self.file_error(hidden),
        }
    }

    /// Makes sure that what is mounted here is the store.
    fn check_root(&self) -> Result<(), StoreError> {
        match fs::is_directory(&self.root.join(STAGING)) {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.root_missing()),
            Err(error) => Err(self.file_error(error)),
        }
    }

    fn put(&self, key: &ObjectKey, header: &[u8], body: ObjectBody<'_>) -> Result<PutOutcome, StoreError> {
        let failed = |error| self.failed(error);
        let staging = self.root.join(STAGING);
        let mut staged = StagedFile::create_in(&staging).map_err(failed)?;
        remove_abandoned(&staging, &staged);
        staged.write_all(header).map_err(failed)?;
        match body {
            ObjectBody::Whole(bytes) => staged.write_all(bytes).map_err(failed)?,
            ObjectBody::Parts(source) => {
                let abandoned = |source| StoreError::Abandoned { key: key.clone(), source };
                while let Some(part) = source.next_part().map_err(abandoned)? {
                    staged.write_all(&part).map_err(failed)?;
                }
            }
        }
        let mut tries = 1..PUBLISH_TRIES_MAX;
        let published = loop {
            match self.publish(&staged, key) {
                // Its folder was empty, and somebody has removed it.
                Err(error) if is_gone(&error) && tries.next().is_some() => {}
                published => break published.map_err(failed)?,
            }
        };
        match published {
            Published::Created => Ok(PutOutcome::Created),
            Published::AlreadyPresent => Ok(PutOutcome::AlreadyPresent),
        }
    }

    fn publish(&self, staged: &StagedFile, key: &ObjectKey) -> Result<Published, FileError> {
        let (parent, name) = key.as_str().rsplit_once('/').unwrap_or(("", key.as_str()));
        let parent = Path::new(parent);
        fs::create_directory_chain(&self.root, parent)?;
        let directory = HeldDirectory::open(&self.root.join(parent))?;
        // DURABILITY: whoever makes these directories may be killed before their names are durable. The first object in
        // a directory makes sure of that before it appears, so that the others need not.
        if !directory.has_files()? {
            fs::sync_directory_chain(&self.root, parent)?;
        }
        staged.publish_in(&directory, OsStr::new(name))
    }

    /// Removes the folders below one in which nothing is; says how many. Those that cannot be looked into stay.
    fn remove_empty(&self, folder: &Path) -> u64 {
        let Ok(entries) = fs::sorted_entries(folder) else { return 0 };
        let is_folder = |entry: &DirectoryEntry| {
            let is_key = entry.name.to_str().is_some_and(|name| ObjectKey::parse(name).is_ok());
            entry.is_directory && is_key && entry.name != LOST_AND_FOUND
        };
        let mut removed = 0;
        for entry in entries.iter().filter(|entry| is_folder(entry)) {
            let below = folder.join(&entry.name);
            removed += self.remove_empty(&below);
            removed += u64::from(fs::remove_empty_directory(&below).unwrap_or(false));
        }
        removed
    }

    fn remove(&self, key: &ObjectKey) -> Result<bool, StoreError> {
        let path = self.path_of(key);
        if fs::remove_file(&path).map_err(|error| self.failed(error))? {
            return Ok(true);
        }
        self.check_root()?;
        let failed = |error| self.failed(error);
        fs::check_absent(&self.root, Path::new(key.as_str())).map_err(failed)?;
        // DURABILITY: whoever removed it may have been killed before that was durable.
        match path.parent().map(fs::sync_directory) {
            Some(Err(error)) if !error.is_not_found() => Err(failed(error)),
            _ => Ok(false),
        }
    }

    fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<ObjectKey>, StoreError> {
        let mut found = Vec::new();
        // The deepest directory that every such key lies in.
        let directory = prefix.rsplit_once('/').map_or("", |(directory, _)| directory);
        let listing = Listing { store: self, prefix, after, limit };
        match listing.visit(directory, &mut found) {
            Err(StoreError::Unlistable(folder)) => {
                Err(StoreError::Unlistable(Box::new(UnlistableFolder { before: found, ..*folder })))
            }
            listed => listed.map(|()| found),
        }
    }

    /// What is below a folder cannot be listed; of the root that is said as of every other use of it.
    fn unlistable(&self, folder: &str, source: FileError) -> StoreError {
        match self.check_root() {
            Ok(()) if !folder.is_empty() => {
                let (folder, store, before) = (folder.to_owned(), self.describe(), Vec::new());
                StoreError::Unlistable(Box::new(UnlistableFolder { folder, store, before, source }))
            }
            _ => self.failed(source),
        }
    }
}

/// Whether something on the way was removed just now; over the network the system may call that stale.
fn is_gone(error: &FileError) -> bool {
    matches!(error.source.kind(), ErrorKind::NotFound | ErrorKind::StaleNetworkFileHandle)
}

/// Removes what writers left behind that were killed: a store must not fill up with it. Ages are told by the clock of
/// the file system, which has just given `staged` its time; the clock of this host may be another.
fn remove_abandoned(staging: &Path, staged: &StagedFile) {
    if let Some(limit) = staged.modified().ok().and_then(|now| now.checked_sub(ABANDONED_AFTER).ok()) {
        fs::remove_abandoned_beside(&staging.join("any"), limit);
    }
}

impl Store for LocalStore {
    fn describe(&self) -> String {
        format!("repository \"{}\"", self.root.display())
    }

    fn put_new<'a>(
        &'a self,
        key: &'a ObjectKey,
        header: &'a [u8],
        body: ObjectBody<'a>,
    ) -> StoreFuture<'a, PutOutcome> {
        Box::pin(async move { self.put(key, header, body) })
    }

    fn get_range<'a>(&'a self, key: &'a ObjectKey, offset: u64, length: usize) -> StoreFuture<'a, Bytes> {
        let read = move || {
            let path = self.path_of(key);
            let bytes = fs::read_range_of(&fs::open_regular(&path)?, &path, offset, length);
            bytes.map(Bytes::from).map_err(RegularFileError::File)
        };
        Box::pin(async move { read().map_err(|error| self.read_failed(key, error)) })
    }

    fn size<'a>(&'a self, key: &'a ObjectKey) -> StoreFuture<'a, u64> {
        let facts = move || fs::regular_facts(&self.path_of(key));
        Box::pin(async move { facts().map(|(bytes, _)| bytes).map_err(|error| self.read_failed(key, error)) })
    }

    fn list_after<'a>(&'a self, prefix: &'a str, after: &'a str, limit: usize) -> StoreFuture<'a, Vec<ObjectKey>> {
        Box::pin(async move { self.list(prefix, after, limit) })
    }

    fn delete<'a>(&'a self, key: &'a ObjectKey) -> StoreFuture<'a, bool> {
        Box::pin(async move { self.remove(key) })
    }

    fn time_of<'a>(&'a self, key: &'a ObjectKey) -> StoreFuture<'a, Timestamp> {
        let facts = move || fs::regular_facts(&self.path_of(key));
        Box::pin(async move { facts().map(|(_, modified)| modified).map_err(|error| self.read_failed(key, error)) })
    }

    fn left_overs<'a>(&'a self, limit: usize) -> StoreFuture<'a, Vec<LeftOver>> {
        Box::pin(async move { left_overs::find(&self.root, limit).map_err(|error| self.failed(error)) })
    }

    fn tidy<'a>(&'a self, prefix: &'a str) -> StoreFuture<'a, u64> {
        let tidy = move || {
            let staging = self.root.join(STAGING);
            let staged = StagedFile::create_in(&staging).map_err(|error| self.failed(error))?;
            remove_abandoned(&staging, &staged);
            Ok(self.remove_empty(&self.root.join(prefix)))
        };
        Box::pin(async move { tidy() })
    }

    fn keep_reserve(&self) -> StoreFuture<'_, ()> {
        Box::pin(async move { reserve::keep(&self.root).map_err(|error| self.failed(error)) })
    }

    fn give_up_reserve(&self) -> StoreFuture<'_, bool> {
        Box::pin(async move { reserve::give_up(&self.root).map_err(|error| self.failed(error)) })
    }

    fn lock<'a>(&'a self, kind: LockKind) -> StoreFuture<'a, Lock> {
        // Not the root: that is locked by those who read for long.
        let staging = self.root.join(STAGING);
        Box::pin(async move { fs::lock_directory(&staging, kind).map_err(|error| self.failed(error)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Classified, ErrorClass};
    use crate::store::{PartSource, PartsAbandoned, block_on};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn store() -> (tempfile::TempDir, LocalStore) {
        let temp = tempfile::tempdir().unwrap();
        let store = LocalStore::create(&temp.path().join("repo")).unwrap();
        (temp, store)
    }

    fn key(text: &str) -> ObjectKey {
        ObjectKey::parse(text).unwrap()
    }

    fn put(store: &LocalStore, name: &str, body: &[u8]) -> Result<PutOutcome, StoreError> {
        block_on(store.put_new(&key(name), b"head", ObjectBody::Whole(body)))
    }

    #[test]
    fn put_new_never_replaces_and_ranges_end_at_the_end() {
        let (_temp, store) = store();
        assert_eq!(put(&store, "a/b/c", b"one").unwrap(), PutOutcome::Created);
        assert_eq!(put(&store, "a/b/c", b"two").unwrap(), PutOutcome::AlreadyPresent);
        assert_eq!(block_on(store.size(&key("a/b/c"))).unwrap(), 7);
        for (offset, length, expected) in [(0, 100, "headone"), (4, 3, "one"), (6, 9, "e"), (7, 1, ""), (99, 1, "")] {
            assert_eq!(block_on(store.get_range(&key("a/b/c"), offset, length)).unwrap(), expected);
        }
        assert!(block_on(store.delete(&key("a/b/c"))).unwrap());
        assert!(!block_on(store.delete(&key("a/b/c"))).unwrap());
    }

    #[test]
    fn what_is_removed_from_nowhere_is_not_absent() {
        let (temp, store) = store();
        assert!(!block_on(store.delete(&key("a/b"))).unwrap());
        std::fs::rename(store.root(), temp.path().join("elsewhere")).unwrap();
        let error = block_on(store.delete(&key("a/b"))).unwrap_err();
        assert!(matches!(error, StoreError::RootMissing { .. }), "{error}");
    }

    #[test]
    fn a_reserve_is_kept_once_and_is_no_object() {
        let (_temp, store) = store();
        assert!(!block_on(store.give_up_reserve()).unwrap());
        for _ in 0..2 {
            block_on(store.keep_reserve()).unwrap();
        }
        assert_eq!(std::fs::metadata(store.root().join(".reserve")).unwrap().len(), 1 << 20);
        assert_eq!(block_on(store.list_after("", "", 10)).unwrap(), []);
        assert_eq!(block_on(store.left_overs(10)).unwrap(), []);
        assert!(block_on(store.give_up_reserve()).unwrap());
        assert!(!block_on(store.give_up_reserve()).unwrap());
    }

    struct Abandoning(u32);

    impl PartSource for Abandoning {
        fn next_part(&mut self) -> Result<Option<Bytes>, PartsAbandoned> {
            self.0 += 1;
            if self.0 < 3 { Ok(Some(Bytes::from_static(b"part"))) } else { Err(PartsAbandoned) }
        }
    }

    #[test]
    fn an_abandoned_object_leaves_nothing() {
        let (_temp, store) = store();
        let stored = block_on(store.put_new(&key("a"), b"", ObjectBody::Parts(&mut Abandoning(0))));
        assert!(matches!(stored, Err(StoreError::Abandoned { .. })));
        assert_eq!(block_on(store.list_after("", "", 10)).unwrap(), []);
        assert_eq!(std::fs::read_dir(store.root().join(STAGING)).unwrap().count(), 0);
    }

    #[test]
    fn absent_is_told_from_unmounted() {
        let (temp, store) = store();
        let absent = block_on(store.get_range(&key("a"), 0, 1)).unwrap_err();
        assert_eq!(absent.class(), ErrorClass::NotFound);
        assert_eq!(block_on(store.list_after("a/", "", 10)).unwrap(), []);
        std::fs::rename(store.root(), temp.path().join("elsewhere")).unwrap();
        std::fs::create_dir(store.root()).unwrap();
        for error in [
            block_on(store.get_range(&key("a"), 0, 1)).unwrap_err(),
            block_on(store.size(&key("a"))).unwrap_err(),
            block_on(store.time_of(&key("a"))).unwrap_err(),
            block_on(store.list_after("a/", "", 10)).unwrap_err(),
            put(&store, "a", b"").unwrap_err(),
            LocalStore::open(store.root()).unwrap_err(),
        ] {
            assert_eq!(error.class(), ErrorClass::Unavailable);
            assert!(error.to_string().contains("there is no repository"), "{error}");
        }
        assert_eq!(
            std::fs::read_dir(store.root()).unwrap().count(),
            0,
            "something was written to the empty mount point"
        );
    }

    #[test]
    fn absent_is_told_from_hidden() {
        let (temp, store) = store();
        put(&store, "file", b"").unwrap();
        std::os::unix::fs::symlink(temp.path().join("unmounted"), store.root().join("link")).unwrap();
        for name in ["link/a", "link/a/b", "file/a"] {
            let errors = [
                block_on(store.get_range(&key(name), 0, 1)).unwrap_err(),
                block_on(store.size(&key(name))).unwrap_err(),
                block_on(store.time_of(&key(name))).unwrap_err(),
            ];
            assert_eq!(errors.map(|error| error.class()), [ErrorClass::Unavailable; 3], "{name}");
        }
        for prefix in ["link/", "link/a/b", ""] {
            let error = block_on(store.list_after(prefix, "", 10)).unwrap_err();
            assert_eq!(error.class(), ErrorClass::Unavailable, "{prefix:?}");
        }
        // What the link does not lead to can be listed.
        assert_eq!(block_on(store.list_after("fi", "", 10)).unwrap(), [key("file")]);
        assert_eq!(block_on(store.list_after("file/", "", 10)).unwrap(), []);
        // Mounted again, it is part of the store.
        std::fs::create_dir(temp.path().join("unmounted")).unwrap();
        put(&store, "link/a", b"").unwrap();
        for prefix in ["", "link/", "l"] {
            assert_eq!(block_on(store.list_after(prefix, "file", 10)).unwrap(), [key("link/a")]);
        }
    }

    #[test]
    fn what_cannot_be_listed_is_named_with_what_lies_before_it() {
        let (temp, store) = store();
        for name in ["a/x", "c/y/z", "d", "d0/x", "e/x"] {
            put(&store, name, b"").unwrap();
        }
        // Later in the order of keys than it would be in the order of names.
        for name in ["c/hidden", "d-hidden"] {
            std::os::unix::fs::symlink(temp.path().join("unmounted"), store.root().join(name)).unwrap();
        }
        let listed = |after: &str, limit| match block_on(store.list_after("", after, limit)) {
            Ok(keys) => (keys.iter().map(ToString::to_string).collect(), None),
            Err(StoreError::Unlistable(hidden)) => {
                (hidden.before.iter().map(ToString::to_string).collect::<Vec<_>>(), Some(hidden.folder))
            }
            Err(error) => panic!("{error}"),
        };
        let hidden = |folder: &str| Some(folder.to_owned());
        let keys = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(listed("", 10), (keys(&["a/x"]), hidden("c/hidden")));
        assert_eq!(listed("", 1), (keys(&["a/x"]), None));
        assert_eq!(listed("c/hidden/~", 10), (keys(&["c/y/z", "d"]), hidden("d-hidden")));
        assert_eq!(listed("d-hidden/~", 10), (keys(&["d0/x", "e/x"]), None));
        assert_eq!(listed("d-hidden/~", 1), (keys(&["d0/x"]), None));
        // Who wants nothing of it does not meet it.
        assert_eq!(block_on(store.list_after("c/y", "", 10)).unwrap(), [key("c/y/z")]);
    }

    #[test]
    fn what_is_no_file_is_neither_read_nor_absent() {
        let (_temp, store) = store();
        std::fs::create_dir_all(store.root().join("a/directory")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, store.root().join("a/pipe"), 0o600.into()).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(store.root().join("a/socket")).unwrap();
        std::os::unix::fs::symlink("/dev/null", store.root().join("a/link")).unwrap();
        for (name, found) in [
            ("a/pipe", "a named pipe"),
            ("a/socket", "a socket"),
            ("a/directory", "a directory"),
            ("a/link", "a device"),
        ] {
            let errors = [
                block_on(store.get_range(&key(name), 0, 1)).unwrap_err(),
                block_on(store.size(&key(name))).unwrap_err(),
                block_on(store.time_of(&key(name))).unwrap_err(),
            ];
            for error in errors {
                assert_eq!(error.class(), ErrorClass::Corrupt, "{name}");
                let root = store.root().display();
                let expected = format!("object \"{name}\" in repository \"{root}\" is {found} where a file should be");
                assert_eq!(error.to_string(), expected);
            }
            assert_eq!(put(&store, name, b"").unwrap(), PutOutcome::AlreadyPresent);
        }
    }

    #[test]
    fn racing_writers_have_one_winner() {
        let (_temp, store) = store();
        for round in 0..50 {
            let name = format!("race/{round}");
            let outcomes: Vec<_> = std::thread::scope(|scope| {
                let writer = |body: &'static [u8]| {
                    scope.spawn({
                        let (store, name) = (&store, &name);
                        move || put(store, name, body).unwrap()
                    })
                };
                let (a, b) = (writer(b"a"), writer(b"b"));
                vec![a.join().unwrap(), b.join().unwrap()]
            });
            assert_eq!(outcomes.iter().filter(|outcome| **outcome == PutOutcome::Created).count(), 1);
        }
    }

    #[test]
    fn folders_in_which_nothing_is_go() {
        let (temp, store) = store();
        for name in ["a/b/c/one", "a/b/d/two", "a/three", "b/c/four"] {
            put(&store, name, b"").unwrap();
        }
        for name in ["a/b/c/one", "a/b/d/two", "b/c/four"] {
            block_on(store.delete(&key(name))).unwrap();
        }
        let elsewhere = temp.path().join("elsewhere");
        std::fs::create_dir(&elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, store.root().join("a/link")).unwrap();
        for name in [".hidden", "lost+found", "n\u{f6} key"] {
            std::fs::create_dir(store.root().join("a").join(name)).unwrap();
        }
        assert_eq!(block_on(store.tidy("a/")).unwrap(), 3);
        assert!(store.root().join("b/c").is_dir() && elsewhere.is_dir());
        assert_eq!(block_on(store.list_after("", "", 10)).unwrap(), [key("a/three")]);
        assert_eq!(std::fs::read_dir(store.root().join("a")).unwrap().count(), 5);
        assert_eq!(block_on(store.tidy("a/")).unwrap(), 0);
        assert_eq!(block_on(store.tidy("none/")).unwrap(), 0);
        let staging = store.root().join(STAGING);
        std::fs::write(staging.join(fs::staged_name(&staging)), "of a writer that was killed").unwrap();
        block_on(store.tidy("")).unwrap();
        assert_eq!(std::fs::read_dir(staging).unwrap().count(), 0);
    }

    #[test]
    fn writers_never_fail_beside_those_who_tidy_up() {
        // On a busy disk each sync takes longer than the tidier waits, who comes once in a long while in earnest.
        let temp = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let store = LocalStore::create(&temp.path().join("repo")).unwrap();
        let is_over = std::sync::atomic::AtomicBool::new(false);
        let removed = std::thread::scope(|scope| {
            let tidy = || {
                let mut removed = 0;
                while !is_over.load(std::sync::atomic::Ordering::SeqCst) {
                    removed += block_on(store.tidy("")).unwrap();
                    std::thread::sleep(Duration::from_millis(1));
                }
                removed
            };
            let tidier = scope.spawn(tidy);
            let write = |writer: &'static str| {
                for number in 0..400 {
                    let name = format!("a/b/{}/{writer}", number % 7);
                    assert_eq!(put(&store, &name, b"x").unwrap(), PutOutcome::Created, "{name}");
                    assert_eq!(block_on(store.size(&key(&name))).unwrap(), 5);
                    assert!(block_on(store.delete(&key(&name))).unwrap());
                }
            };
            let writers = ["one", "two"].map(|writer| scope.spawn(move || write(writer)));
            let written = writers.map(|writer| writer.join());
            is_over.store(true, std::sync::atomic::Ordering::SeqCst);
            written.into_iter().for_each(Result::unwrap);
            tidier.join().unwrap()
        });
        assert!(removed > 10, "{removed}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        /// The oracle is a sorted set of the same keys.
        #[test]
        fn lists_in_key_order_from_any_point(
            names in prop::collection::btree_set("[ab-]{1,2}(/[a0.-]{1,2}x){0,2}", 0..20),
            prefix in "[ab-]{0,2}/?", after in "[ab-]{0,2}(/[a0]x)?", limit in 1usize..6,
        ) {
            let (_temp, store) = store();
            let mut stored = BTreeSet::new();
            for name in names {
                if ObjectKey::parse(&name).is_ok() && put(&store, &name, b"").is_ok() {
                    stored.insert(name);
                }
            }
            let expected: Vec<_> = stored.iter()
                .filter(|name| name.starts_with(&prefix) && name.as_str() > after.as_str())
                .take(limit).cloned().collect();
            let listed = block_on(store.list_after(&prefix, &after, limit)).unwrap();
            prop_assert_eq!(listed.iter().map(|key| key.as_str().to_owned()).collect::<Vec<_>>(), expected);
        }
    }
}
