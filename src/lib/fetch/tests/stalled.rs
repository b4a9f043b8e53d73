use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use super::super::{FetchError, FetchOptions, run_within};
use super::scene::{SEGMENT, Scene};
use crate::clock::{Stopwatch, wait};
use crate::error::{Classified, ErrorClass};
use crate::report::SilentReporter;
use crate::repository::Repository;
use crate::store::{Around, LocalStore, StoreCall, StoreFuture, WrappedStore};

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

/// Takes its time for each answer.
struct Slow;

const EACH: Duration = Duration::from_millis(400);

impl Around for Slow {
    fn around<'a, T: Send + 'a>(&'a self, _: StoreCall<'a>, answer: StoreFuture<'a, T>) -> StoreFuture<'a, T> {
        wait(EACH);
        answer
    }
}

#[test]
fn what_is_slow_is_left_its_time() {
    let scene = Scene::new();
    scene.store_segment(SEGMENT);
    let root = scene.repository_root();
    let options = FetchOptions {
        open_repository: Box::new(move || {
            Repository::open(Arc::new(WrappedStore::new(Arc::new(LocalStore::open(&root)?), Slow)), None)
        }),
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
