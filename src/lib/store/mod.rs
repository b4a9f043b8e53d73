//! Keys to bytes: where objects are kept. Knows nothing of PostgreSQL or of what the objects mean.
//!
//! Futures of a store are driven by plain threads ([`block_on`]) and may block the thread that drives them, so a local
//! store needs no runtime; a store that talks to a network brings its own and hands results back. Several threads may
//! use one store at once.

mod key;
mod local;
mod watched;
mod wrapped;

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use jiff::Timestamp;

use crate::error::{Classified, ErrorClass};
use crate::fs::{FileError, Lock, LockKind};

pub use key::{ObjectKey, ObjectKeyError};
pub use local::{LocalStore, StoreProbe};
pub use watched::WatchedStore;
pub use wrapped::{Around, StoreCall, WrappedStore};

/// The answer of a store, when it comes.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// What creating an object came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutOutcome {
    /// The object is stored, completely and durably.
    Created,
    /// An object of that name was there already and was left alone; it is durable. Whether it is the same one is for
    /// the caller to find out.
    AlreadyPresent,
}

/// The body of an object that comes in parts of unknown number.
pub trait PartSource: Send {
    /// The next part; `None` after the last one. May block.
    fn next_part(&mut self) -> Result<Option<Bytes>, PartsAbandoned>;
}

/// The parts will never be complete; the producer knows why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the object was abandoned while it was written")]
pub struct PartsAbandoned;

/// What follows the header of an object.
pub enum ObjectBody<'a> {
    /// All of it.
    Whole(&'a [u8]),
    /// Part by part.
    Parts(&'a mut dyn PartSource),
}

/// Something in a store that is no object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOver {
    /// Its name, escaped where it must be.
    pub name: String,
    /// What it is.
    pub kind: LeftOverKind,
    /// When it was last written, by the store's own clock; not of everything known.
    pub modified: Option<Timestamp>,
}

/// What a [`LeftOver`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftOverKind {
    /// A name that is no key: pgv did not write it.
    ForeignName,
    /// What a writer writes, or has left behind.
    Staged,
}

/// Keeps objects under keys. There are no defaults: a wrapper that forgets a method must not compile.
pub trait Store: Send + Sync {
    /// What to call this store in messages, as a person would write it.
    fn describe(&self) -> String;

    /// Creates an object of `header` and `body`, unless one of that key exists.
    ///
    /// Atomic: a reader sees nothing or all. Durable on return. Never replaces; when several create the same key at
    /// once, one wins. Safe to retry: [`PutOutcome::AlreadyPresent`] may then be the caller's own first try.
    fn put_new<'a>(&'a self, key: &'a ObjectKey, header: &'a [u8], body: ObjectBody<'a>)
    -> StoreFuture<'a, PutOutcome>;

    /// Up to `length` bytes from `offset`; fewer only at the object's end. [`StoreError::NotFound`] only when the
    /// store itself answered and has no such object.
    fn get_range<'a>(&'a self, key: &'a ObjectKey, offset: u64, length: usize) -> StoreFuture<'a, Bytes>;

    /// The object's size in bytes, header included. [`StoreError::NotFound`] as for [`Self::get_range`].
    fn size<'a>(&'a self, key: &'a ObjectKey) -> StoreFuture<'a, u64>;

    /// Keys that begin with `prefix` and sort after `after`, at most `limit`, in the order of their bytes. What is
    /// still being written is never listed. Fewer than `limit` means that there are no more. A folder that cannot be
    /// listed is [`StoreError::Unlistable`], also where others can.
    fn list_after<'a>(&'a self, prefix: &'a str, after: &'a str, limit: usize) -> StoreFuture<'a, Vec<ObjectKey>>;

    /// Deletes an object, durably. `false` when there is none.
    fn delete<'a>(&'a self, key: &'a ObjectKey) -> StoreFuture<'a, bool>;

    /// When the object was created, by the store's own clock.
    fn time_of<'a>(&'a self, key: &'a ObjectKey) -> StoreFuture<'a, Timestamp>;

    /// What lies in the store and is no object, at most `limit`: names that are no keys, which no listing returns, and
    /// what writers have begun or left behind.
    fn left_overs<'a>(&'a self, limit: usize) -> StoreFuture<'a, Vec<LeftOver>>;

    /// Takes away folders below `prefix` in which no objects are left, and says how many, and what killed writers have left
    /// behind, where there is such a thing. No harm to whoever creates objects at the same time.
    fn tidy<'a>(&'a self, prefix: &'a str) -> StoreFuture<'a, u64>;

    /// Keeps some room for those who make room, where a store can be full. Again, it does nothing.
    fn keep_reserve(&self) -> StoreFuture<'_, ()>;

    /// Gives back the room that is kept. `false` when there is none.
    fn give_up_reserve(&self) -> StoreFuture<'_, bool>;

    /// Asks for the one lock that a store has, without waiting. It ends with the value, and with the process that held
    /// it. A help in front of what must be safe without: not every store has one.
    fn lock<'a>(&'a self, kind: LockKind) -> StoreFuture<'a, Lock>;
}

/// Drives a store's future on this plain thread.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    pollster::block_on(future)
}

/// A store that could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store answered: there is no such object.
    #[error("there is no object \"{key}\" in {store}")]
    NotFound {
        /// Which one.
        key: ObjectKey,
        /// Where.
        store: String,
    },
    /// The directory of a local store is not there (any more).
    #[error("there is no repository at \"{root}\"")]
    RootMissing {
        /// Where it should be.
        root: String,
    },
    /// A file operation failed.
    #[error("could not use the repository at \"{root}\"")]
    File {
        /// Where it is.
        root: String,
        /// What failed.
        #[source]
        source: FileError,
    },
    /// What lies below a folder cannot be listed. Whoever wants the rest goes on behind it.
    #[error(transparent)]
    Unlistable(Box<UnlistableFolder>),
    /// Something else than a file stands where an object should be.
    #[error("object \"{key}\" in {store} is {found} where a file should be")]
    NotAFile {
        /// Which one.
        key: ObjectKey,
        /// Where.
        store: String,
        /// What stands there.
        found: &'static str,
    },
    /// The producer of an object's parts gave up; nothing was stored.
    #[error("object \"{key}\" was not stored")]
    Abandoned {
        /// Which one.
        key: ObjectKey,
        /// That it was abandoned.
        #[source]
        source: PartsAbandoned,
    },
    /// A name that an object should get, and that is no valid key.
    #[error("{store} can have no object of such a name")]
    InvalidKey {
        /// Where.
        store: String,
        /// Why it is none.
        #[source]
        source: ObjectKeyError,
    },
}

/// A folder that cannot be listed.
#[derive(Debug, thiserror::Error)]
#[error("could not list \"{folder}\" in {store}")]
pub struct UnlistableFolder {
    /// Which one, as keys name it, without a slash at its end.
    pub folder: String,
    /// Where.
    pub store: String,
    /// What was listed before it.
    pub before: Vec<ObjectKey>,
    /// What failed.
    #[source]
    pub source: FileError,
}

impl Classified for StoreError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NotFound { .. } => ErrorClass::NotFound,
            Self::RootMissing { .. } => ErrorClass::Unavailable,
            Self::File { source, .. } => source.class(),
            Self::Unlistable(folder) => folder.source.class(),
            Self::Abandoned { .. } => ErrorClass::Interrupted,
            Self::NotAFile { .. } => ErrorClass::Corrupt,
            Self::InvalidKey { .. } => ErrorClass::InvalidInput,
        }
    }
}
