//! Waiting for a server without missing a signal.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::report::Cancel;

/// How often a wait looks whether a signal came.
const CANCEL_POLL: Duration = Duration::from_millis(200);

/// Drives a future to its end; `None` when a signal asked for the end before. The runtime needs its time driver.
pub fn drive<T>(runtime: &Runtime, cancel: &Cancel, future: impl Future<Output = T>) -> Option<T> {
    runtime.block_on(unless_cancelled(cancel, future))
}

/// Waits for a future; `None` when a signal asked for the end before. What comes within a moment is taken even so: after a
/// signal, a session can still be ended in good order.
pub async fn unless_cancelled<T>(cancel: &Cancel, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    loop {
        match tokio::time::timeout(CANCEL_POLL, future.as_mut()).await {
            Ok(answer) => return Some(answer),
            Err(_) if cancel.is_cancelled() => return None,
            Err(_) => {}
        }
    }
}
