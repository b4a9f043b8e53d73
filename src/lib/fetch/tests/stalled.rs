use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use super::super::{FetchError, FetchOptions, run_within};
use super::scene::{SEGMENT, Scene};
use crate::clock::{Stopwatch, wait};
use crate::error::{Classified, ErrorClass};
use crate::report::SilentReporter;
use crate::repository::Repository;
use crate::store::{LocalStore, ObjectBody, ObjectKey, PutOutcome, Store, StoreFuture};

#[test]
fn what_hangs_is_given_up_and_named() {
    let scene = Scene::new();
    scene.store_segment(SEGMENT);
    let (_hold, hang) = channel::<()>();
    let options = FetchOptions {
        open_repository: Box::new(move || {
            let _ = hang.recv();
            unreachable!("the test holds the other end")
        }),
        ..scene.options(SEGMENT)
    };
    let error = run_within(options, Arc::new(SilentReporter), Duration::from_millis(100)).unwrap_err();
    assert_eq!(error.class(), ErrorClass::TimedOut);
    let expected = format!("could not fetch \"{SEGMENT}\": nothing moved for 100ms while opening the repository");
    assert_eq!(error.to_string(), expected);
    assert!(!scene.destination().exists());
    run_within(scene.options(SEGMENT), Arc::new(SilentReporter), Duration::from_secs(60)).unwrap();
}

/// What may pass is tried again, however short the time is that nothing may move.
#[test]
fn waiting_between_tries_is_no_stall() {
    let scene = Scene::new();
    std::fs::rename(scene.repository_root(), scene.test.temp.path().join("away")).unwrap();
    let options = FetchOptions { patience: Duration::from_secs(1), ..scene.options(SEGMENT) };
    let error = run_within(options, Arc::new(SilentReporter), Duration::from_millis(400)).unwrap_err();
    assert!(matches!(error, FetchError::Repository { .. }), "{error:?}");
}

/// A store that takes its time for each answer.
struct Slow(LocalStore);

const EACH: Duration = Duration::from_millis(150);

impl Store for Slow {
    fn describe(&self) -> String {
        self.0.describe()
    }

    fn put_new<'a>(
        &'a self,
        key: &'a ObjectKey,
        header: &'a [u8],
        body: ObjectBody<'a>,
    ) -> StoreFuture<'a, PutOutcome> {
        self.0.put_new(key, header, body)
    }

    fn get_range<'a>(&'a self, key: &'a ObjectKey, offset: u64, length: usize) -> StoreFuture<'a, Bytes> {
        wait(EACH);
        self.0.get_range(key, offset, length)
    }

    fn size<'a>(&'a self, key: &'a ObjectKey) -> StoreFuture<'a, u64> {
        wait(EACH);
        self.0.size(key)
    }

    fn list_after<'a>(&'a self, prefix: &'a str, after: &'a str, limit: usize) -> StoreFuture<'a, Vec<ObjectKey>> {
        wait(EACH);
        self.0.list_after(prefix, after, limit)
    }

    fn delete<'a>(&'a self, key: &'a ObjectKey) -> StoreFuture<'a, bool> {
        self.0.delete(key)
    }

    fn time_of<'a>(&'a self, key: &'a ObjectKey) -> StoreFuture<'a, Timestamp> {
        self.0.time_of(key)
    }

    fn left_overs<'a>(&'a self, limit: usize) -> StoreFuture<'a, Vec<crate::store::LeftOver>> {
        self.0.left_overs(limit)
    }

    fn tidy<'a>(&'a self, prefix: &'a str) -> StoreFuture<'a, u64> {
        self.0.tidy(prefix)
    }

    fn lock<'a>(&'a self, kind: crate::fs::LockKind) -> StoreFuture<'a, crate::fs::Lock> {
        self.0.lock(kind)
    }
}

#[test]
fn what_is_slow_is_left_its_time() {
    let scene = Scene::new();
    scene.store_segment(SEGMENT);
    let root = scene.repository_root();
    let options = FetchOptions {
        open_repository: Box::new(move || Repository::open(Arc::new(Slow(LocalStore::open(&root)?)), None)),
        ..scene.options(SEGMENT)
    };
    let (limit, taken) = (EACH * 3, Stopwatch::start());
    run_within(options, Arc::new(SilentReporter), limit).unwrap();
    assert!(taken.elapsed() > limit, "{:?} proves nothing", taken.elapsed());
}

#[test]
fn a_defect_in_the_worker_reaches_the_caller() {
    let scene = Scene::new();
    let options =
        FetchOptions { open_repository: Box::new(|| panic!("a defect for the test")), ..scene.options(SEGMENT) };
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = run_within(options, Arc::new(SilentReporter), Duration::from_secs(60));
    }));
    assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"a defect for the test"));
}
