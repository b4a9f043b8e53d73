//! How fast files may be read.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::clock::{Stopwatch, wait};
use crate::report::Cancel;

/// How long a reader waits before it looks whether it is still wanted.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Keeps several readers together under a rate. Who comes after a pause may not make up for it.
pub(super) struct RateLimit {
    bytes_per_second: u64,
    watch: Stopwatch,
    /// When all that was asked for so far may have been read.
    free_at: Mutex<Duration>,
}

impl RateLimit {
    pub(super) fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), watch: Stopwatch::start(), free_at: Mutex::default() }
    }

    /// Waits until `bytes` more may be read, or nobody wants them any more.
    pub(super) fn wait_for(&self, bytes: u64, is_over: &AtomicBool, cancel: &Cancel) {
        let microseconds = u128::from(bytes) * 1_000_000 / u128::from(self.bytes_per_second);
        let span = Duration::from_micros(u64::try_from(microseconds).unwrap_or(u64::MAX));
        let begin = {
            let Ok(mut free_at) = self.free_at.lock() else { return };
            let begin = self.watch.elapsed().max(*free_at);
            *free_at = begin.saturating_add(span);
            begin
        };
        while let Some(left) = begin.checked_sub(self.watch.elapsed()).filter(|left| !left.is_zero()) {
            if is_over.load(Ordering::Relaxed) || cancel.is_cancelled() {
                return;
            }
            wait(left.min(LOOK_EVERY));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_together_keep_the_rate_until_nobody_wants_more() {
        let (limit, watch) = (RateLimit::new(1_000_000), Stopwatch::start());
        let (over, cancel) = (AtomicBool::new(false), Cancel::new());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..5).for_each(|_| limit.wait_for(10_000, &over, &cancel)));
            }
        });
        // The last of 20 waits for the 19 before it.
        let took = watch.elapsed();
        assert!(took >= Duration::from_millis(190), "{took:?}");
        limit.wait_for(60_000_000, &over, &cancel);
        over.store(true, Ordering::SeqCst);
        limit.wait_for(1, &over, &cancel);
        assert!(watch.elapsed() < Duration::from_secs(30));
    }
}
