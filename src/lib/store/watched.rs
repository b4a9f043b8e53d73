//! A store whose every call is known to a watchdog, before it begins and when it answers.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use super::{LeftOver, ObjectBody, ObjectKey, PutOutcome, Store, StoreFuture};
use crate::fs::{Lock, LockKind};
use crate::report::Activity;

/// Says in an [`Activity`] what it asks of the store below it.
pub struct WatchedStore {
    store: Arc<dyn Store>,
    activity: Activity,
}

impl WatchedStore {
    /// Watches `store`.
    pub fn new(store: Arc<dyn Store>, activity: Activity) -> Self {
        Self { store, activity }
    }

    fn watched<'a, T: 'a>(&'a self, doing: String, call: StoreFuture<'a, T>) -> StoreFuture<'a, T> {
        Box::pin(async move {
            self.activity.begin(doing);
            let answer = call.await;
            self.activity.advance();
            answer
        })
    }

    fn of_object(&self, verb: &str, key: &ObjectKey) -> String {
        format!("{verb} object \"{key}\" in {}", self.describe())
    }
}

impl Store for WatchedStore {
    fn describe(&self) -> String {
        self.store.describe()
    }

    fn put_new<'a>(
        &'a self,
        key: &'a ObjectKey,
        header: &'a [u8],
        body: ObjectBody<'a>,
    ) -> StoreFuture<'a, PutOutcome> {
        self.watched(self.of_object("creating", key), self.store.put_new(key, header, body))
    }

    fn get_range<'a>(&'a self, key: &'a ObjectKey, offset: u64, length: usize) -> StoreFuture<'a, Bytes> {
        self.watched(self.of_object("reading", key), self.store.get_range(key, offset, length))
    }

    fn size<'a>(&'a self, key: &'a ObjectKey) -> StoreFuture<'a, u64> {
        self.watched(self.of_object("looking at", key), self.store.size(key))
    }

    fn list_after<'a>(&'a self, prefix: &'a str, after: &'a str, limit: usize) -> StoreFuture<'a, Vec<ObjectKey>> {
        let doing = format!("listing \"{prefix}\" in {}", self.describe());
        self.watched(doing, self.store.list_after(prefix, after, limit))
    }

    fn delete<'a>(&'a self, key: &'a ObjectKey) -> StoreFuture<'a, bool> {
        self.watched(self.of_object("deleting", key), self.store.delete(key))
    }

    fn time_of<'a>(&'a self, key: &'a ObjectKey) -> StoreFuture<'a, Timestamp> {
        self.watched(self.of_object("looking at", key), self.store.time_of(key))
    }

    fn left_overs<'a>(&'a self, limit: usize) -> StoreFuture<'a, Vec<LeftOver>> {
        self.watched(format!("looking for left-overs in {}", self.describe()), self.store.left_overs(limit))
    }

    fn tidy<'a>(&'a self, prefix: &'a str) -> StoreFuture<'a, u64> {
        self.watched(format!("tidying up \"{prefix}\" in {}", self.describe()), self.store.tidy(prefix))
    }

    fn lock<'a>(&'a self, kind: LockKind) -> StoreFuture<'a, Lock> {
        self.watched(format!("locking {}", self.describe()), self.store.lock(kind))
    }
}
