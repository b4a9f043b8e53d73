use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use super::super::{ArchiveError, ArchiveOptions};
use super::scene::{BACKUP_HISTORY, HISTORY_OF_1, SEGMENT, Scene};
use crate::codec::RepositoryId;
use crate::error::{Classified, ErrorClass, chain};
use crate::fs::FileError;
use crate::pg::testing::{OTHER_CONTROL_FILE, wal_segment};
use crate::repository::{ClusterName, ClusterSelection, Repository};
use crate::store::{LocalStore, ObjectBody, ObjectKey, PutOutcome, Store, StoreError, StoreFuture};

const HISTORY: &str = "00000002.history";
const BACKUP: &str = "000000010000000000000003.00000028.backup";

fn overwrite(path: &Path, content: impl AsRef<[u8]>) {
    assert!(path.exists(), "{path:?}");
    std::fs::write(path, content).unwrap();
}

fn replace_by_file(path: &Path) {
    std::fs::rename(path, path.with_extension("aside")).unwrap();
    std::fs::write(path, b"").unwrap();
}

/// A segment of which some bytes are others.
fn changed(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut segment = wal_segment(SEGMENT, 0);
    segment[at..at + bytes.len()].copy_from_slice(bytes);
    segment
}

struct Row {
    what: &'static str,
    /// Prepares a scene in which the three files of good content wait in pg_wal.
    mutilate: fn(&Scene),
    name: &'static str,
    class: ErrorClass,
    says: &'static str,
}

const fn row(
    what: &'static str,
    mutilate: fn(&Scene),
    name: &'static str,
    class: ErrorClass,
    says: &'static str,
) -> Row {
    Row { what, mutilate, name, class, says }
}

const SOURCES: [Row; 23] = [
    row(
        "missing source",
        |scene| std::fs::remove_file(scene.path(SEGMENT)).unwrap(),
        SEGMENT,
        ErrorClass::NotFound,
        "there is no file",
    ),
    row("name of a directory", |_| {}, "../pg_wal", ErrorClass::InvalidInput, "invalid WAL file name"),
    row("path without a name", |_| {}, "..", ErrorClass::Usage, "names no file"),
    row("other file", |_| {}, "archive_status", ErrorClass::InvalidInput, "invalid WAL file name \"archive_status\""),
    row(
        "cut short",
        |scene| scene.write(SEGMENT, &wal_segment(SEGMENT, 0)[..1 << 19]),
        SEGMENT,
        ErrorClass::InvalidInput,
        "has 524288 bytes where a segment has 1048576",
    ),
    row(
        "one byte too long",
        |scene| scene.write(SEGMENT, &[wal_segment(SEGMENT, 0), vec![0]].concat()),
        SEGMENT,
        ErrorClass::InvalidInput,
        "has 1048577 bytes where a segment has 1048576",
    ),
    row("empty", |scene| scene.write(SEGMENT, b""), SEGMENT, ErrorClass::InvalidInput, "header is too short"),
    row(
        "zeros",
        |scene| scene.write(SEGMENT, &vec![0; 1 << 20]),
        SEGMENT,
        ErrorClass::InvalidInput,
        "not a WAL segment",
    ),
    row(
        "recycled",
        |scene| scene.write(SEGMENT, &wal_segment("000000010000000000000004", 0)),
        SEGMENT,
        ErrorClass::InvalidInput,
        "found page address 0/400000, expected 0/300000",
    ),
    row(
        "recycled, partial",
        |scene| scene.write("000000010000000000000003.partial", &wal_segment("000000010000000000000004", 0)),
        "000000010000000000000003.partial",
        ErrorClass::InvalidInput,
        "found page address 0/400000, expected 0/300000",
    ),
    row(
        "version that pgv does not know",
        |scene| scene.write(SEGMENT, &changed(0, &[0x25, 0xD1])),
        SEGMENT,
        ErrorClass::Unsupported,
        "unsupported PostgreSQL version",
    ),
    row(
        "other cluster",
        |scene| scene.write(SEGMENT, &changed(24, &[1, 2, 3])),
        SEGMENT,
        ErrorClass::Refused,
        "cluster \"main\" in repository",
    ),
    row(
        "other major version",
        |scene| scene.write(SEGMENT, &changed(0, &[0x10, 0xD1])),
        SEGMENT,
        ErrorClass::Refused,
        "is WAL of PostgreSQL 15 where cluster \"main\" is registered with 13",
    ),
    row(
        "other segment size",
        |scene| {
            let mut segment = changed(32, &(2u32 << 20).to_le_bytes());
            segment[8..16].copy_from_slice(&(6u64 << 20).to_le_bytes());
            segment.resize(2 << 20, 0);
            scene.write(SEGMENT, &segment);
        },
        SEGMENT,
        ErrorClass::Refused,
        "is a segment of 2097152 bytes where cluster \"main\" is registered with 1048576",
    ),
    row(
        "no history",
        |scene| scene.write(HISTORY, &[0; 40]),
        HISTORY,
        ErrorClass::InvalidInput,
        "is not a timeline history file",
    ),
    row(
        "no backup history",
        |scene| scene.write(BACKUP, b"STOP"),
        BACKUP,
        ErrorClass::InvalidInput,
        "does not begin with the start location in its name",
    ),
    row(
        "backup history of another segment",
        |scene| scene.write(BACKUP, b"START WAL LOCATION: 0/400028 (file 000000010000000000000004)\n"),
        BACKUP,
        ErrorClass::InvalidInput,
        "does not begin with the start location in its name",
    ),
    row(
        "backup history of another position",
        |scene| scene.write(BACKUP, b"START WAL LOCATION: 0/300060 (file 000000010000000000000003)\n"),
        BACKUP,
        ErrorClass::InvalidInput,
        "does not begin with the start location in its name",
    ),
    row("empty history", |scene| scene.write(HISTORY, b""), HISTORY, ErrorClass::InvalidInput, "names no parent"),
    row(
        "history of blanks and comments",
        |scene| scene.write(HISTORY, b"# nothing\n\n"),
        HISTORY,
        ErrorClass::InvalidInput,
        "names no parent",
    ),
    row(
        "history of senseless text",
        |scene| scene.write(HISTORY, b"hello\n"),
        HISTORY,
        ErrorClass::InvalidInput,
        "does not begin with a timeline number",
    ),
    row(
        "empty history of the first timeline",
        |scene| scene.write("00000001.history", b""),
        "00000001.history",
        ErrorClass::InvalidInput,
        "the first timeline has no history",
    ),
    row(
        "history of the first timeline",
        |scene| scene.write("00000001.history", HISTORY_OF_1),
        "00000001.history",
        ErrorClass::InvalidInput,
        "the first timeline has no history",
    ),
];

const REPOSITORIES: [Row; 14] = [
    row(
        "unmounted: nothing there",
        |scene| std::fs::rename(scene.test.root(), scene.temp.path().join("away")).unwrap(),
        SEGMENT,
        ErrorClass::Unavailable,
        "there is no repository at",
    ),
    row(
        "unmounted: an empty mount point",
        |scene| {
            std::fs::rename(scene.test.root(), scene.temp.path().join("away")).unwrap();
            std::fs::create_dir(scene.test.root()).unwrap();
        },
        SEGMENT,
        ErrorClass::Unavailable,
        "there is no repository at",
    ),
    row("a file", |scene| replace_by_file(&scene.test.root()), SEGMENT, ErrorClass::Unavailable, "no repository at"),
    row(
        "its folder of WAL cannot be written",
        |scene| {
            let tree = scene.test.root().join("main").join(scene.test.cluster.system_identifier.to_string());
            std::fs::write(tree.join("wal"), b"").unwrap();
        },
        SEGMENT,
        ErrorClass::Unavailable,
        "could not create directory",
    ),
    row(
        "no repository.json",
        |scene| std::fs::remove_file(scene.test.root().join("repository.json")).unwrap(),
        SEGMENT,
        ErrorClass::Unavailable,
        "is not a repository",
    ),
    row(
        "newer format",
        |scene| overwrite(&scene.test.root().join("repository.json"), r#"{"format": 2, "else": 1}"#),
        SEGMENT,
        ErrorClass::Unsupported,
        "has format 2; this pgv knows format 1",
    ),
    row(
        "damaged repository.json",
        |scene| overwrite(&scene.test.root().join("repository.json"), "{"),
        SEGMENT,
        ErrorClass::Corrupt,
        "object \"repository.json\" in repository",
    ),
    row(
        "another content under the name",
        |scene| {
            scene.archive(SEGMENT).unwrap();
            scene.write(SEGMENT, &wal_segment(SEGMENT, 7));
        },
        SEGMENT,
        ErrorClass::Conflict,
        "with different content by host \"host-two\", directory",
    ),
    row(
        "another history under the name",
        |scene| {
            scene.archive(HISTORY).unwrap();
            scene.write(HISTORY, b"1\t0/3000001\tno recovery target specified\n");
        },
        HISTORY,
        ErrorClass::Conflict,
        "with different content by host \"host-two\", directory",
    ),
    row(
        "the stored header is damaged",
        |scene| {
            scene.archive(SEGMENT).unwrap();
            let mut bytes = std::fs::read(scene.test.stored(SEGMENT)).unwrap();
            bytes[80] ^= 1;
            std::fs::write(scene.test.stored(SEGMENT), bytes).unwrap();
        },
        SEGMENT,
        ErrorClass::Corrupt,
        "is damaged: invalid header",
    ),
    row(
        "the stored object is cut short",
        |scene| {
            scene.archive(SEGMENT).unwrap();
            let bytes = std::fs::read(scene.test.stored(SEGMENT)).unwrap();
            std::fs::write(scene.test.stored(SEGMENT), &bytes[..bytes.len() - 1]).unwrap();
        },
        SEGMENT,
        ErrorClass::Corrupt,
        "bytes where its header says",
    ),
    row(
        "the data directory of another cluster",
        |scene| overwrite(&scene.control_file(), OTHER_CONTROL_FILE),
        HISTORY,
        ErrorClass::Refused,
        "is registered with system identifier",
    ),
    row(
        "a damaged control file",
        |scene| {
            let mut bytes = std::fs::read(scene.control_file()).unwrap();
            bytes[40] ^= 1;
            overwrite(&scene.control_file(), bytes);
        },
        BACKUP,
        ErrorClass::Unavailable,
        "could not tell from",
    ),
    row(
        "not registered",
        |scene| {
            let tree = scene.test.root().join("main").join(scene.test.cluster.system_identifier.to_string());
            std::fs::remove_file(tree.join("identity")).unwrap();
        },
        SEGMENT,
        ErrorClass::Usage,
        "cluster \"main\" is not registered in repository",
    ),
];

#[test]
fn every_failure_has_its_class_and_stores_nothing() {
    for Row { what, mutilate, name, class, says } in SOURCES.into_iter().chain(REPOSITORIES) {
        let scene = Scene::new();
        scene.write(SEGMENT, &wal_segment(SEGMENT, 0));
        scene.write(HISTORY, HISTORY_OF_1);
        scene.write(BACKUP, BACKUP_HISTORY);
        mutilate(&scene);
        let before = snapshot(scene.test.temp.path());
        let options = ArchiveOptions { name: None, ..scene.options(name) };
        let error = scene.run(options).unwrap_err();
        let text = chain(&error);
        assert_eq!(error.class(), class, "{what}: {text}");
        assert!(text.contains(says), "{what}: {text}");
        if !matches!(error, ArchiveError::NoName { .. }) {
            let object = scene.path(name).file_name().unwrap().to_str().unwrap().to_owned();
            assert!(text.contains(&object) || text.contains("pg_control"), "{what}: {text}");
        }
        let mut after = snapshot(scene.test.temp.path());
        after.retain(|path| !path.contains("/writers"));
        let before: Vec<_> = before.into_iter().filter(|path| !path.contains("/writers")).collect();
        assert_eq!(after, before, "{what}");
    }
}

/// Every file below `root`.
fn snapshot(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(snapshot(&path));
        } else {
            found.push(format!("{} {}", path.display(), path.metadata().unwrap().len()));
        }
    }
    found.sort();
    found
}

#[test]
fn another_repository_than_the_configured_one_is_refused() {
    let scene = Scene::new();
    scene.write(SEGMENT, &wal_segment(SEGMENT, 0));
    let root = scene.test.root();
    let pinned = Some(RepositoryId::from_bytes([7; 16]));
    let options = ArchiveOptions {
        open_repository: Box::new(move || Repository::open(Arc::new(LocalStore::open(&root)?), pinned)),
        ..scene.options(SEGMENT)
    };
    assert_eq!(scene.run(options).unwrap_err().class(), ErrorClass::Refused);
}

#[test]
fn an_unknown_cluster_name_is_a_usage_error() {
    let scene = Scene::new();
    scene.write(SEGMENT, &wal_segment(SEGMENT, 0));
    let selection = ClusterSelection::Named(ClusterName::parse("other").unwrap());
    let error = scene.run(ArchiveOptions { selection, ..scene.options(SEGMENT) }).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Usage);
}

/// A store whose every write fails as a file system does.
struct Failing {
    store: LocalStore,
    kind: ErrorKind,
}

impl Store for Failing {
    fn describe(&self) -> String {
        self.store.describe()
    }

    fn put_new<'a>(&'a self, key: &'a ObjectKey, _: &'a [u8], _: ObjectBody<'a>) -> StoreFuture<'a, PutOutcome> {
        let root = self.store.root().display().to_string();
        let source = FileError::new("write", Path::new(key.as_str()), self.kind);
        Box::pin(async move { Err(StoreError::File { root, source }) })
    }

    fn get_range<'a>(&'a self, key: &'a ObjectKey, offset: u64, length: usize) -> StoreFuture<'a, Bytes> {
        self.store.get_range(key, offset, length)
    }

    fn size<'a>(&'a self, key: &'a ObjectKey) -> StoreFuture<'a, u64> {
        self.store.size(key)
    }

    fn list_after<'a>(&'a self, prefix: &'a str, after: &'a str, limit: usize) -> StoreFuture<'a, Vec<ObjectKey>> {
        self.store.list_after(prefix, after, limit)
    }

    fn delete<'a>(&'a self, key: &'a ObjectKey) -> StoreFuture<'a, bool> {
        self.store.delete(key)
    }

    fn time_of<'a>(&'a self, key: &'a ObjectKey) -> StoreFuture<'a, Timestamp> {
        self.store.time_of(key)
    }

    fn left_overs<'a>(&'a self, limit: usize) -> StoreFuture<'a, Vec<crate::store::LeftOver>> {
        self.store.left_overs(limit)
    }

    fn tidy<'a>(&'a self, prefix: &'a str) -> StoreFuture<'a, u64> {
        self.store.tidy(prefix)
    }

    fn lock<'a>(&'a self, kind: crate::fs::LockKind) -> StoreFuture<'a, crate::fs::Lock> {
        self.store.lock(kind)
    }
}

#[test]
fn what_the_file_system_says_decides_the_class() {
    let scene = Scene::new();
    scene.write(SEGMENT, &wal_segment(SEGMENT, 0));
    for (kind, class) in [
        (ErrorKind::StorageFull, ErrorClass::NoSpace),
        (ErrorKind::QuotaExceeded, ErrorClass::NoSpace),
        (ErrorKind::ReadOnlyFilesystem, ErrorClass::ReadOnly),
        (ErrorKind::PermissionDenied, ErrorClass::PermissionDenied),
        (ErrorKind::TimedOut, ErrorClass::TimedOut),
        (ErrorKind::NotFound, ErrorClass::Unavailable),
        (ErrorKind::Other, ErrorClass::Unavailable),
    ] {
        let store = Arc::new(Failing { store: LocalStore::open(&scene.test.root()).unwrap(), kind });
        let options = ArchiveOptions {
            open_repository: Box::new(move || Repository::open(store, None)),
            ..scene.options(SEGMENT)
        };
        let error = scene.run(options).unwrap_err();
        assert_eq!(error.class(), class, "{kind:?}");
        let text = chain(&error);
        for part in [SEGMENT, scene.test.root().to_str().unwrap()] {
            assert!(text.contains(part), "{text}");
        }
    }
}
