//! Waiting for conditions: the only place where tests sleep.

use std::time::{Duration, Instant};

/// How long a test waits for a server or a program unless it says otherwise.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// Polls until `condition` holds; panics with `what` after `limit`.
pub(crate) fn wait_until(what: &str, limit: Duration, condition: impl FnMut() -> bool) {
    assert!(holds_within(limit, condition), "gave up waiting until {what} after {limit:?}");
}

/// Polls until `condition` holds; false after `limit`.
pub(crate) fn holds_within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if started.elapsed() >= limit {
            return false;
        }
        std::thread::sleep(POLL);
    }
}
