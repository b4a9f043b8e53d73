//! How many commits there are between two positions.

use super::{Ending, EndingKind, Search};
use crate::pg::{Lsn, WalRecord};

/// Counts the commits whose records end behind one position and begin at another one or before.
///
/// Commits without a transaction number changed no row and do not count.
#[derive(Debug, Clone)]
pub struct CommitCount {
    behind: Lsn,
    until: Option<Lsn>,
    /// How many.
    pub count: u64,
    /// The last one.
    pub last: Option<Ending>,
    /// Where the first record ends that begins at `until` or behind it.
    passed: Option<Lsn>,
}

impl CommitCount {
    /// Counts those that end behind `behind` and begin at `until` or before.
    pub fn new(behind: Lsn, until: Option<Lsn>) -> Self {
        Self { behind, until, count: 0, last: None, passed: None }
    }
}

impl Search for CommitCount {
    fn see(&mut self, record: &WalRecord) {
        if self.until.is_some_and(|until| record.lsn >= until) {
            self.passed.get_or_insert(record.end_lsn);
        }
        if record.end_lsn <= self.behind || self.until.is_some_and(|until| record.lsn > until) {
            return;
        }
        let commit = Ending::of(record).filter(|ending| ending.kind == EndingKind::Commit && ending.xid.is_some());
        if commit.is_some() {
            self.count += 1;
            self.last = commit;
        }
    }

    fn merge(&mut self, later: Self) {
        self.count += later.count;
        self.last = later.last.or(self.last.take());
        self.passed = self.passed.or(later.passed);
    }

    fn is_decided(&self) -> bool {
        false
    }

    fn found_to(&self) -> Option<Lsn> {
        self.passed
    }
}
