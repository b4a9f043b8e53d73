//! The only reader of the system time.
//!
//! Wall-clock times are shown and stored, never decided by; deadlines and rates use [`Deadline`], which is monotonic.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// Where the present time comes from; a fixed one in tests.
pub trait Clock: Send + Sync {
    /// The wall-clock time now.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A clock that stands still.
#[cfg(test)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct FixedClock(pub(crate) Timestamp);

#[cfg(test)]
impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        self.0
    }
}

/// A point in monotonic time after which an operation gives up.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    started: Instant,
    limit: Duration,
}

impl Deadline {
    /// A deadline `limit` from now.
    pub fn after(limit: Duration) -> Self {
        Self { started: Instant::now(), limit }
    }

    /// What is left, zero once passed.
    pub fn remaining(&self) -> Duration {
        self.limit.saturating_sub(self.started.elapsed())
    }

    /// Whether it has passed.
    pub fn has_passed(&self) -> bool {
        self.remaining().is_zero()
    }

    /// The whole span, for messages.
    pub fn limit(&self) -> Duration {
        self.limit
    }
}

/// Measures how long something took.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts measuring.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Waits on this plain thread. A signal that ends the process ends the wait.
pub fn wait(span: Duration) {
    let waiting = Stopwatch::start();
    while let Some(left) = span.checked_sub(waiting.elapsed()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}
