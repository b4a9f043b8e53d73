//! A store with something around each of its calls, written once for all of them.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use super::{LeftOver, ObjectBody, ObjectKey, PutOutcome, Store, StoreFuture};
use crate::fs::{Lock, LockKind};

/// What a store is asked for. Displayed as what it is doing then: `reading object "K"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreCall<'a> {
    /// [`Store::put_new`].
    Create(&'a ObjectKey),
    /// [`Store::get_range`].
    Read(&'a ObjectKey),
    /// [`Store::size`].
    Size(&'a ObjectKey),
    /// [`Store::time_of`].
    Time(&'a ObjectKey),
    /// [`Store::delete`].
    Delete(&'a ObjectKey),
    /// [`Store::list_after`], of this prefix.
    List(&'a str),
    /// [`Store::tidy`], of this prefix.
    Tidy(&'a str),
    /// [`Store::left_overs`].
    LeftOvers,
    /// [`Store::keep_reserve`] and [`Store::give_up_reserve`].
    Reserve,
    /// [`Store::lock`].
    Lock,
}

impl fmt::Display for StoreCall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(key) => write!(f, "creating object \"{key}\""),
            Self::Read(key) => write!(f, "reading object \"{key}\""),
            Self::Size(key) | Self::Time(key) => write!(f, "looking at object \"{key}\""),
            Self::Delete(key) => write!(f, "deleting object \"{key}\""),
            Self::List(prefix) => write!(f, "listing \"{prefix}\""),
            Self::Tidy(prefix) => write!(f, "tidying up \"{prefix}\""),
            Self::LeftOvers => f.write_str("looking for left-overs"),
            Self::Reserve => f.write_str("looking after the reserve"),
            Self::Lock => f.write_str("locking"),
        }
    }
}

/// Something around the calls of a store.
pub trait Around: Send + Sync {
    /// What the store answers to `call`: `answer`, which has not begun, or something in its place.
    fn around<'a, T: Send + 'a>(&'a self, call: StoreCall<'a>, answer: StoreFuture<'a, T>) -> StoreFuture<'a, T>;
}

/// A store with `A` around each call.
pub struct WrappedStore<A> {
    store: Arc<dyn Store>,
    around: A,
}

impl<A: Around> WrappedStore<A> {
    /// Puts `around` around the calls of `store`.
    pub fn new(store: Arc<dyn Store>, around: A) -> Self {
        Self { store, around }
    }
}

impl<A: Around> Store for WrappedStore<A> {
    fn describe(&self) -> String {
        self.store.describe()
    }

    fn put_new<'a>(
        &'a self,
        key: &'a ObjectKey,
        header: &'a [u8],
        body: ObjectBody<'a>,
    ) -> StoreFuture<'a, PutOutcome> {
        self.around.around(StoreCall::Create(key), self.store.put_new(key, header, body))
    }

    fn get_range<'a>(&'a self, key: &'a ObjectKey, offset: u64, length: usize) -> StoreFuture<'a, Bytes> {
        self.around.around(StoreCall::Read(key), self.store.get_range(key, offset, length))
    }

    fn size<'a>(&'a self, key: &'a ObjectKey) -> StoreFuture<'a, u64> {
        self.around.around(StoreCall::Size(key), self.store.size(key))
    }

    fn list_after<'a>(&'a self, prefix: &'a str, after: &'a str, limit: usize) -> StoreFuture<'a, Vec<ObjectKey>> {
        self.around.around(StoreCall::List(prefix), self.store.list_after(prefix, after, limit))
    }

    fn delete<'a>(&'a self, key: &'a ObjectKey) -> StoreFuture<'a, bool> {
        self.around.around(StoreCall::Delete(key), self.store.delete(key))
    }

    fn time_of<'a>(&'a self, key: &'a ObjectKey) -> StoreFuture<'a, Timestamp> {
        self.around.around(StoreCall::Time(key), self.store.time_of(key))
    }

    fn left_overs<'a>(&'a self, limit: usize) -> StoreFuture<'a, Vec<LeftOver>> {
        self.around.around(StoreCall::LeftOvers, self.store.left_overs(limit))
    }

    fn tidy<'a>(&'a self, prefix: &'a str) -> StoreFuture<'a, u64> {
        self.around.around(StoreCall::Tidy(prefix), self.store.tidy(prefix))
    }

    fn keep_reserve(&self) -> StoreFuture<'_, ()> {
        self.around.around(StoreCall::Reserve, self.store.keep_reserve())
    }

    fn give_up_reserve(&self) -> StoreFuture<'_, bool> {
        self.around.around(StoreCall::Reserve, self.store.give_up_reserve())
    }

    fn lock<'a>(&'a self, kind: LockKind) -> StoreFuture<'a, Lock> {
        self.around.around(StoreCall::Lock, self.store.lock(kind))
    }
}
