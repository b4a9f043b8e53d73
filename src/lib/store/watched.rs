//! A store whose every call is known to a watchdog, before it begins and when it answers.

use std::sync::Arc;

use super::wrapped::{Around, StoreCall, WrappedStore};
use super::{Store, StoreFuture};
use crate::report::Activity;

/// Says in an [`Activity`] what it asks of the store below it.
pub type WatchedStore = WrappedStore<Watch>;

/// What a [`WatchedStore`] does around each call.
pub struct Watch {
    store: String,
    activity: Activity,
}

impl WatchedStore {
    /// Watches `store`.
    pub fn watching(store: Arc<dyn Store>, activity: Activity) -> Self {
        let watch = Watch { store: store.describe(), activity };
        Self::new(store, watch)
    }
}

impl Around for Watch {
    fn around<'a, T: Send + 'a>(&'a self, call: StoreCall<'a>, answer: StoreFuture<'a, T>) -> StoreFuture<'a, T> {
        Box::pin(async move {
            self.activity.begin(format!("{call} in {}", self.store));
            let answer = answer.await;
            self.activity.advance();
            answer
        })
    }
}
