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
    /// Where the last record of all begins that was seen.
    pub last_record: Option<Lsn>,
}

impl CommitCount {
    /// Counts those that end behind `behind` and begin at `until` or before.
    pub fn new(behind: Lsn, until: Option<Lsn>) -> Self {
        Self { behind, until, count: 0, last: None, last_record: None }
    }
}

impl Search for CommitCount {
    fn see(&mut self, record: &WalRecord) {
        self.last_record = Some(record.lsn);
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
        self.last_record = later.last_record.or(self.last_record);
    }

    fn is_decided(&self) -> bool {
        false
    }

    /// What lies behind the last position that counts may be damaged.
    fn is_found(&self) -> bool {
        self.until.zip(self.last_record).is_some_and(|(until, seen)| seen >= until)
    }
}
