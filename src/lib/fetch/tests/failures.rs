use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::super::{FetchError, FetchOptions, run};
use super::scene::{SEGMENT, Scene};
use crate::error::{Classified, ErrorClass, chain};
use crate::pg::testing::{OTHER_CONTROL_FILE, wal_segment};
use crate::report::CollectingReporter;
use crate::repository::{ClusterName, ClusterSelection, Repository, RepositoryError};
use crate::store::{Around, LocalStore, ObjectKey, StoreCall, StoreError, StoreFuture, WrappedStore};

type Mutilation = fn(&Scene);

fn overwrite(path: &Path, content: impl AsRef<[u8]>) {
    assert!(path.exists(), "{path:?}");
    std::fs::write(path, content).unwrap();
}

fn replace_by_file(path: &Path) {
    std::fs::rename(path, path.with_extension("aside")).unwrap();
    std::fs::write(path, b"").unwrap();
}

/// Leaves a link that leads nowhere.
fn hide(path: &Path) {
    let aside = path.with_extension("aside");
    std::fs::rename(path, &aside).unwrap();
    std::os::unix::fs::symlink(path.with_extension("unmounted"), path).unwrap();
}

fn wal(scene: &Scene) -> PathBuf {
    let tree = scene.repository_root().join("main").join(scene.test.cluster.system_identifier.to_string());
    tree.join("wal")
}

fn store_under(scene: &Scene, name: &str, content_of: &str) {
    scene.store(name, &wal_segment(content_of, 0));
}

/// Rows: what is done to a scene with [`SEGMENT`] archived, what is asked for, the class, what the error says.
#[test]
fn every_failure_has_its_class_and_delivers_nothing() {
    let rows: [(Mutilation, &str, ErrorClass, &str); 23] = [
        (|_| {}, "pg_wal", ErrorClass::InvalidInput, "invalid WAL file name \"pg_wal\""),
        (|_| {}, "00000001000000000000000a", ErrorClass::InvalidInput, "invalid WAL file name"),
        // The repository is not there.
        (
            |scene| std::fs::rename(scene.repository_root(), scene.test.temp.path().join("away")).unwrap(),
            SEGMENT,
            ErrorClass::Unavailable,
            "there is no repository at",
        ),
        (
            |scene| {
                std::fs::rename(scene.repository_root(), scene.test.temp.path().join("away")).unwrap();
                std::fs::create_dir(scene.repository_root()).unwrap();
            },
            SEGMENT,
            ErrorClass::Unavailable,
            "there is no repository at",
        ),
        (|scene| replace_by_file(&scene.repository_root()), SEGMENT, ErrorClass::Unavailable, "there is no repository"),
        (
            |scene| std::fs::remove_file(scene.repository_root().join("repository.json")).unwrap(),
            SEGMENT,
            ErrorClass::Unavailable,
            "is not a repository",
        ),
        // It is there, and not what it should be.
        (
            |scene| overwrite(&scene.repository_root().join("repository.json"), r#"{"format": 2}"#),
            SEGMENT,
            ErrorClass::Unsupported,
            "has format 2; this pgv knows format 1",
        ),
        (
            |scene| overwrite(&scene.repository_root().join("repository.json"), "{"),
            SEGMENT,
            ErrorClass::Corrupt,
            "object \"repository.json\" in repository",
        ),
        (
            |scene| {
                let tree = scene.repository_root().join("main").join(scene.test.cluster.system_identifier.to_string());
                std::fs::remove_file(tree.join("identity")).unwrap();
            },
            SEGMENT,
            ErrorClass::Usage,
            "cluster \"main\" is not registered",
        ),
        // A part of it is not mounted, or hidden by something else.
        (|scene| hide(&wal(scene)), "000000010000000000000004", ErrorClass::Unavailable, "could not follow link"),
        (|scene| hide(&wal(scene)), "00000002.history", ErrorClass::Unavailable, "could not follow link"),
        (
            |scene| hide(&wal(scene).join("00000001")),
            "000000010000000000000004",
            ErrorClass::Unavailable,
            "could not follow link",
        ),
        (|scene| replace_by_file(&wal(scene)), SEGMENT, ErrorClass::Unavailable, "could not enter directory"),
        // The cluster is another one.
        (
            |scene| overwrite(&scene.control_file(), OTHER_CONTROL_FILE),
            SEGMENT,
            ErrorClass::Refused,
            "is registered with system identifier",
        ),
        (
            |scene| {
                let mut bytes = std::fs::read(scene.control_file()).unwrap();
                bytes[40] ^= 1;
                overwrite(&scene.control_file(), bytes);
            },
            SEGMENT,
            ErrorClass::Unavailable,
            "was being written",
        ),
        (
            |scene| overwrite(&scene.control_file(), b"short"),
            SEGMENT,
            ErrorClass::InvalidInput,
            "control file is too short",
        ),
        // What is stored is not what its name says.
        (
            |scene| store_under(scene, "000000010000000000000004", SEGMENT),
            "000000010000000000000004",
            ErrorClass::Corrupt,
            "found page address 0/300000, expected 0/400000",
        ),
        (
            |scene| scene.store("000000010000000000000004", &wal_segment("000000010000000000000004", 0)[..1 << 19]),
            "000000010000000000000004",
            ErrorClass::Corrupt,
            "has 524288 bytes where a segment has 1048576",
        ),
        (
            |scene| scene.store("000000010000000000000004", b""),
            "000000010000000000000004",
            ErrorClass::Corrupt,
            "header is too short",
        ),
        (
            |scene| {
                let mut foreign = wal_segment("000000010000000000000004", 0);
                foreign[24] ^= 1;
                scene.store("000000010000000000000004", &foreign);
            },
            "000000010000000000000004",
            ErrorClass::Corrupt,
            "is of a cluster with system identifier",
        ),
        (
            |scene| {
                let stored = scene.stored(SEGMENT);
                let other = scene.stored("000000010000000000000004");
                std::fs::copy(stored, other).unwrap();
            },
            "000000010000000000000004",
            ErrorClass::Corrupt,
            "it is \"wal/000000010000000000000003\" where \"wal/000000010000000000000004\" should be",
        ),
        // The destination cannot be written.
        (|scene| replace_by_file(&scene.pg_wal()), SEGMENT, ErrorClass::Usage, "could not create"),
        (|scene| std::fs::create_dir(scene.destination()).unwrap(), SEGMENT, ErrorClass::Usage, "could not rename to"),
    ];
    for (number, (mutilate, asked, class, text)) in rows.into_iter().enumerate() {
        let scene = Scene::new();
        scene.store_segment(SEGMENT);
        mutilate(&scene);
        let error = scene.fetch(asked).unwrap_err();
        assert_eq!(error.class(), class, "row {number}: {}", chain(&error));
        assert!(chain(&error).contains(text), "row {number}: {}", chain(&error));
        assert!(!scene.destination().is_file(), "row {number}");
    }
}

#[test]
fn an_unknown_cluster_name_is_a_usage_error() {
    let scene = Scene::new();
    scene.store_segment(SEGMENT);
    let options = FetchOptions {
        selection: ClusterSelection::Named(ClusterName::parse("other").unwrap()),
        ..scene.options(SEGMENT)
    };
    assert_eq!(scene.run(&options).unwrap_err().class(), ErrorClass::Usage);
}

#[test]
fn a_flipped_bit_is_never_delivered() {
    let scene = Scene::new();
    scene.store_segment(SEGMENT);
    let (path, whole) = (scene.stored(SEGMENT), wal_segment(SEGMENT, 0));
    let stored = std::fs::read(&path).unwrap();
    let mut refused = 0;
    for at in (0..stored.len()).step_by(13).chain(stored.len() - 30..stored.len()) {
        let mut damaged = stored.clone();
        damaged[at] ^= 1 << (at % 8);
        std::fs::write(&path, &damaged).unwrap();
        match scene.fetch(SEGMENT) {
            Ok(_) => assert!(std::fs::read(scene.destination()).unwrap() == whole, "byte {at}"),
            Err(error) => {
                refused += 1;
                let class = error.class();
                assert!(matches!(class, ErrorClass::Corrupt | ErrorClass::Unsupported), "byte {at}: {error:?}");
                assert_eq!(scene.files_in_pg_wal(), [""; 0], "byte {at}");
            }
        }
        let _ = std::fs::remove_file(scene.destination());
    }
    assert!(refused > 50, "only {refused} refused");
}

#[test]
fn what_stood_at_the_destination_stays_when_fetching_fails() {
    let scene = Scene::new();
    store_under(&scene, "000000010000000000000004", SEGMENT);
    std::fs::write(scene.destination(), b"before").unwrap();
    scene.fetch("000000010000000000000004").unwrap_err();
    assert_eq!(std::fs::read(scene.destination()).unwrap(), b"before");
    assert_eq!(scene.files_in_pg_wal(), ["RECOVERYXLOG"]);
}

/// Makes opening fail with `error` for the first `failures` times; counts the calls.
fn failing_at_first(options: &mut FetchOptions, failures: usize, error: fn() -> RepositoryError) -> Arc<AtomicUsize> {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = calls.clone();
    let open = std::mem::replace(&mut options.open_repository, Box::new(|| unreachable!()));
    options.open_repository =
        Box::new(move || if counter.fetch_add(1, Ordering::SeqCst) < failures { Err(error()) } else { open() });
    calls
}

fn unmounted() -> RepositoryError {
    StoreError::RootMissing { root: "/srv/pgv".to_owned() }.into()
}

fn newer() -> RepositoryError {
    RepositoryError::NewerFormat { store: "repository \"/srv/pgv\"".to_owned(), found: 9, known: 1 }
}

#[test]
fn only_what_may_pass_is_tried_again_and_not_for_ever() {
    let scene = Scene::new();
    scene.store_segment(SEGMENT);
    let patient = || FetchOptions { patience: Duration::from_secs(60), ..scene.options(SEGMENT) };

    let mut options = patient();
    let (calls, reporter) = (failing_at_first(&mut options, 2, unmounted), CollectingReporter::default());
    run(&options, &reporter).unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 3);
    let lines = reporter.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let expected =
        format!("warning: could not fetch \"{SEGMENT}\": there is no repository at \"/srv/pgv\"; trying again");
    assert!(lines[0].starts_with(&expected), "{lines:?}");

    let mut options = patient();
    let calls = failing_at_first(&mut options, 2, newer);
    assert_eq!(scene.run(&options).unwrap_err().class(), ErrorClass::Unsupported);
    assert_eq!(calls.load(Ordering::SeqCst), 1);

    let mut options = FetchOptions { patience: Duration::from_millis(250), ..scene.options(SEGMENT) };
    let calls = failing_at_first(&mut options, usize::MAX, unmounted);
    assert_eq!(scene.run(&options).unwrap_err().class(), ErrorClass::Unavailable);
    assert!(
        (2..=3).contains(&calls.load(Ordering::SeqCst)),
        "{} calls in 250 ms with pauses of 100 and 150 ms",
        calls.load(Ordering::SeqCst)
    );
}

/// Says once, at the n-th call, that there is no such object.
struct Forgetful {
    calls: AtomicUsize,
    forgets: usize,
    forgotten: Arc<Mutex<Option<ObjectKey>>>,
}

impl Around for Forgetful {
    fn around<'a, T: Send + 'a>(&'a self, call: StoreCall<'a>, answer: StoreFuture<'a, T>) -> StoreFuture<'a, T> {
        let key = match call {
            StoreCall::Create(_) | StoreCall::Delete(_) => panic!("pgv-fetch changes the repository: {call}"),
            StoreCall::Read(key) | StoreCall::Size(key) | StoreCall::Time(key) => key.clone(),
            StoreCall::List(prefix) => {
                ObjectKey::parse(prefix.trim_end_matches('/')).unwrap_or_else(|_| ObjectKey::parse("root").unwrap())
            }
            StoreCall::Tidy(_) | StoreCall::LeftOvers | StoreCall::Reserve | StoreCall::Lock => return answer,
        };
        if self.calls.fetch_add(1, Ordering::SeqCst) != self.forgets {
            return answer;
        }
        *self.forgotten.lock().unwrap() = Some(key.clone());
        Box::pin(async move { Err(StoreError::NotFound { key, store: "the store".to_owned() }) })
    }
}

/// Every answer of the store in turn becomes "no such object". Later files are stored, so none of that may end recovery.
#[test]
fn an_object_that_is_not_found_never_proves_absence_of_another() {
    let history = include_bytes!("../../../../tests/data/postgres-15/00000003.history");
    for asked in [SEGMENT, "000000010000000000000006", "00000002.history"] {
        let scene = Scene::new();
        scene.store_segment(SEGMENT);
        scene.store_segment("000000010000000000000007");
        scene.store("00000003.history", history);
        let mut forgets = 0;
        loop {
            let forgotten = Arc::new(Mutex::new(None));
            let around = Forgetful { calls: AtomicUsize::new(0), forgets, forgotten: forgotten.clone() };
            let inner = Arc::new(LocalStore::open(&scene.repository_root()).unwrap());
            let store = Arc::new(WrappedStore::new(inner, around));
            let options = FetchOptions {
                open_repository: Box::new(move || Repository::open(store.clone(), None)),
                ..scene.options(asked)
            };
            let result = scene.run(&options);
            let Some(forgotten) = forgotten.lock().unwrap().clone() else { break };
            let class = result.as_ref().err().map(Classified::class);
            assert_ne!(class, Some(ErrorClass::NotFound), "{asked}: call {forgets}, {forgotten}: {result:?}");
            if forgotten.file_name() == SEGMENT {
                // It was there when it was looked for again.
                assert_eq!(class, Some(ErrorClass::Unavailable), "{asked}: call {forgets}: {result:?}");
            }
            forgets += 1;
        }
        assert!(forgets >= 3, "{asked}: only {forgets} calls of the store");
    }
}

#[test]
fn errors_name_object_repository_and_cause() {
    let scene = Scene::new();
    scene.store_segment(SEGMENT);
    let mut bytes = std::fs::read(scene.stored(SEGMENT)).unwrap();
    bytes[300] ^= 1;
    std::fs::write(scene.stored(SEGMENT), bytes).unwrap();
    let error: FetchError = scene.fetch(SEGMENT).unwrap_err();
    let text = chain(&error);
    for part in [SEGMENT, "is damaged: invalid header", scene.repository_root().to_str().unwrap()] {
        assert!(text.contains(part), "{text}");
    }
}
