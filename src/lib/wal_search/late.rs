//! A clock that was set back: commits that a time includes, behind the record at which recovery to that time stops.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::Ending;
use crate::pg::TargetBound;

/// How far apart the stamps of transactions that end at the same time may be: each is taken before its record is
/// written, and others come between.
const STAMP_TOLERANCE: SignedDuration = SignedDuration::from_secs(1);
/// LIMIT: bytes of WAL behind a stop at a time in which such commits are looked for: some seconds of reading.
pub(super) const LATE_BYTES_MAX: u64 = 1 << 30;

/// Commits behind the stop whose time the target includes, and which recovery does not get to. Those without a
/// transaction number changed no row and do not count.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LateCommits {
    /// How many.
    pub count: u64,
    /// The first one.
    pub first: Option<Ending>,
    /// The last one.
    pub last: Option<Ending>,
    #[serde(skip)]
    earliest: Option<Timestamp>,
}

impl LateCommits {
    /// Takes the next one.
    pub(crate) fn see(&mut self, ending: &Ending) {
        self.count += 1;
        self.first.get_or_insert_with(|| ending.clone());
        self.last = Some(ending.clone());
        self.earliest = Some(self.earliest.map_or(ending.time, |earliest| earliest.min(ending.time)));
    }

    /// Takes those that follow.
    pub(super) fn merge(&mut self, later: &Self) {
        self.count += later.count;
        self.first = self.first.take().or_else(|| later.first.clone());
        self.last = later.last.clone().or(self.last.take());
        self.earliest = self.earliest.into_iter().chain(later.earliest).min();
    }

    /// Whether the clock went back between the stop and one of them: stamps alone do not differ so much.
    pub(super) fn are_behind_a_step(&self, stop: &Ending) -> bool {
        self.earliest.is_some_and(|earliest| is_step_back(stop.time, earliest))
    }
}

/// Whether a target at a time includes the end of a transaction, by PostgreSQL's rule.
pub(super) fn includes(time: Timestamp, bound: TargetBound, ending: &Ending) -> bool {
    match bound {
        TargetBound::Inclusive => ending.time <= time,
        TargetBound::Exclusive => ending.time < time,
    }
}

/// Whether a clock went back between two ends of transactions.
pub(super) fn is_step_back(from: Timestamp, to: Timestamp) -> bool {
    to.duration_until(from) > STAMP_TOLERANCE
}
