//! Which transactions ended around a moment, and what they removed.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde::Serialize;

use super::{Ending, EndingKind, RemovedThing, Search};
use crate::pg::{WalContent, WalRecord};

/// LIMIT: removals of databases and tablespaces that are kept until the commit that ends their transaction: few come
/// between, those of transactions that ran beside it.
const OPEN_REMOVALS_MAX: usize = 100;

/// A commit, and what is gone from it on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListedCommit {
    /// The commit.
    #[serde(flatten)]
    pub ending: Ending,
    /// What its transaction removed: databases and tablespaces, then files of relations.
    pub removed: Vec<RemovedThing>,
}

/// The last commits before a moment, and the first ones from it on, in the order of the log.
#[derive(Debug, Clone)]
pub struct AroundSearch {
    time: Timestamp,
    count: usize,
    before: VecDeque<ListedCommit>,
    from: Vec<ListedCommit>,
    /// The first ones that were seen, whenever they were: what follows a commit at or after the moment counts as after.
    first: Vec<ListedCommit>,
    /// Databases and tablespaces that were removed, with their transactions.
    open: VecDeque<(u32, RemovedThing)>,
}

impl AroundSearch {
    /// Looks for `count` commits on either side of `time`.
    pub fn new(time: Timestamp, count: usize) -> Self {
        Self { time, count, before: VecDeque::new(), from: Vec::new(), first: Vec::new(), open: VecDeque::new() }
    }

    /// The commits, in the order of the log.
    pub fn commits(self) -> Vec<ListedCommit> {
        self.before.into_iter().chain(self.from).collect()
    }

    fn note(&mut self, commit: ListedCommit) {
        if self.first.len() < self.count {
            self.first.push(commit.clone());
        }
        self.take(commit);
    }

    /// Once one commit at or after the moment was seen, all that follow it in the log count as after it, as they do
    /// for recovery.
    fn take(&mut self, commit: ListedCommit) {
        if self.from.is_empty() && commit.ending.time < self.time {
            self.before.push_back(commit);
            if self.before.len() > self.count {
                self.before.pop_front();
            }
        } else if self.from.len() < self.count {
            self.from.push(commit);
        }
    }

    fn open(&mut self, xid: Option<u32>, thing: RemovedThing) {
        self.open.extend(xid.map(|xid| (xid, thing)));
        let surplus = self.open.len().saturating_sub(OPEN_REMOVALS_MAX);
        self.open.drain(..surplus);
    }

    /// Adds what the transaction of a commit had removed before.
    fn close(&self, commit: &mut ListedCommit) {
        let is_own = |(xid, _): &&(u32, RemovedThing)| Some(*xid) == commit.ending.xid;
        let things: Vec<RemovedThing> = self.open.iter().filter(is_own).map(|(_, thing)| thing.clone()).collect();
        commit.removed.splice(..0, things);
    }
}

impl Search for AroundSearch {
    fn see(&mut self, record: &WalRecord) {
        match &record.content {
            WalContent::DropDatabase { oid, .. } => self.open(record.xid, RemovedThing::Database { oid: *oid }),
            WalContent::DropTablespace { oid } => self.open(record.xid, RemovedThing::Tablespace { oid: *oid }),
            _ => {
                if let Some(ending) = Ending::of(record).filter(|ending| ending.kind == EndingKind::Commit) {
                    let removed = RemovedThing::of_commit(record).into_iter().collect();
                    let mut commit = ListedCommit { ending, removed };
                    self.close(&mut commit);
                    self.note(commit);
                }
            }
        }
    }

    fn merge(&mut self, mut later: Self) {
        for commit in later.before.iter_mut().chain(&mut later.from).chain(&mut later.first) {
            self.close(commit);
        }
        // Of what `later` dropped, nothing is needed: before the moment it had later ones, behind it earlier ones.
        let needed: Vec<ListedCommit> = match self.from.is_empty() {
            true => later.before.into_iter().chain(later.from).collect(),
            false => later.first.clone(),
        };
        needed.into_iter().for_each(|commit| self.take(commit));
        let room = self.count.saturating_sub(self.first.len());
        self.first.extend(later.first.into_iter().take(room));
        for (xid, thing) in later.open {
            self.open(Some(xid), thing);
        }
    }

    fn is_decided(&self) -> bool {
        self.from.len() >= self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::{Lsn, TimelineId, TransactionEnd};
    use proptest::prelude::*;

    fn record(number: u64, xid: u32, content: WalContent) -> WalRecord {
        let lsn = |at| Lsn::new(at).unwrap();
        WalRecord {
            lsn: lsn(100 + number * 8),
            end_lsn: lsn(108 + number * 8),
            previous_lsn: None,
            timeline: TimelineId::FIRST,
            xid: Some(xid),
            total_bytes: 8,
            resource_manager: 1,
            info: 0,
            content,
        }
    }

    fn commit(xid: u32, second: i64) -> WalContent {
        WalContent::Commit(TransactionEnd {
            xid: Some(xid),
            prepared: false,
            time: Timestamp::from_second(second).unwrap(),
            subtransactions: 0,
            dropped: Vec::new(),
            dropped_count: 0,
        })
    }

    #[test]
    fn a_commit_has_the_databases_that_its_transaction_removed() {
        let mut search = AroundSearch::new(Timestamp::from_second(5).unwrap(), 3);
        for (number, record) in [
            record(0, 7, WalContent::DropTablespace { oid: 70 }),
            record(1, 8, commit(8, 1)),
            record(2, 7, commit(7, 2)),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(record.lsn.get(), 100 + number as u64 * 8);
            search.see(&record);
        }
        let removed: Vec<Vec<RemovedThing>> = search.commits().into_iter().map(|commit| commit.removed).collect();
        assert_eq!(removed, [vec![], vec![RemovedThing::Tablespace { oid: 70 }]]);
    }

    proptest! {
        /// Also when clocks step, and wherever the removal of a database is cut from its commit: what one search finds,
        /// those of parts find together.
        #[test]
        fn parts_find_what_the_whole_finds(
            steps in prop::collection::vec((0i64..20, 3u32..8, any::<bool>()), 0..40),
            cuts in prop::collection::btree_set(0usize..40, 0..6),
            (moment, count) in (0i64..20, 1usize..6),
        ) {
            let new = || AroundSearch::new(Timestamp::from_second(moment).unwrap(), count);
            let (mut whole, mut merged, mut part) = (new(), new(), new());
            for (number, (second, xid, is_removal)) in steps.iter().enumerate() {
                if cuts.contains(&number) {
                    merged.merge(std::mem::replace(&mut part, new()));
                }
                let content = match is_removal {
                    true => WalContent::DropTablespace { oid: u32::try_from(number).unwrap() },
                    false => commit(*xid, *second),
                };
                let record = record(number as u64, *xid, content);
                whole.see(&record);
                part.see(&record);
            }
            merged.merge(part);
            prop_assert_eq!(merged.commits(), whole.commits());
        }
    }
}
