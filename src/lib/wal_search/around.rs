//! Which transactions ended around a moment.

use std::collections::VecDeque;

use jiff::Timestamp;

use super::{Ending, EndingKind, Search};
use crate::pg::WalRecord;

/// The last commits before a moment, and the first ones from it on, in the order of the log.
#[derive(Debug, Clone)]
pub struct AroundSearch {
    time: Timestamp,
    count: usize,
    before: VecDeque<Ending>,
    from: Vec<Ending>,
}

impl AroundSearch {
    /// Looks for `count` commits on either side of `time`.
    pub fn new(time: Timestamp, count: usize) -> Self {
        Self { time, count, before: VecDeque::new(), from: Vec::new() }
    }

    /// The commits, in the order of the log.
    pub fn commits(self) -> Vec<Ending> {
        self.before.into_iter().chain(self.from).collect()
    }

    /// Once one commit at or after the moment was seen, all that follow it in the log count as after it, as they do
    /// for recovery.
    fn take(&mut self, ending: Ending) {
        if self.from.is_empty() && ending.time < self.time {
            self.before.push_back(ending);
            if self.before.len() > self.count {
                self.before.pop_front();
            }
        } else if self.from.len() < self.count {
            self.from.push(ending);
        }
    }
}

impl Search for AroundSearch {
    fn see(&mut self, record: &WalRecord) {
        if let Some(ending) = Ending::of(record).filter(|ending| ending.kind == EndingKind::Commit) {
            self.take(ending);
        }
    }

    fn merge(&mut self, later: Self) {
        // What `later` dropped would be dropped here too: it had more of its kind nearer to the moment.
        later.before.into_iter().chain(later.from).for_each(|ending| self.take(ending));
    }

    fn is_decided(&self) -> bool {
        self.from.len() >= self.count
    }
}
