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
    /// The first ones that were seen, whenever they were: what follows a commit at or after the moment counts as after.
    first: Vec<Ending>,
}

impl AroundSearch {
    /// Looks for `count` commits on either side of `time`.
    pub fn new(time: Timestamp, count: usize) -> Self {
        Self { time, count, before: VecDeque::new(), from: Vec::new(), first: Vec::new() }
    }

    /// The commits, in the order of the log.
    pub fn commits(self) -> Vec<Ending> {
        self.before.into_iter().chain(self.from).collect()
    }

    fn note(&mut self, ending: Ending) {
        if self.first.len() < self.count {
            self.first.push(ending.clone());
        }
        self.take(ending);
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
            self.note(ending);
        }
    }

    fn merge(&mut self, later: Self) {
        // Of what `later` dropped, nothing is needed: before the moment it had later ones, behind it earlier ones.
        let needed: Vec<Ending> = match self.from.is_empty() {
            true => later.before.into_iter().chain(later.from).collect(),
            false => later.first.clone(),
        };
        needed.into_iter().for_each(|ending| self.take(ending));
        let room = self.count.saturating_sub(self.first.len());
        self.first.extend(later.first.into_iter().take(room));
    }

    fn is_decided(&self) -> bool {
        self.from.len() >= self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::{Lsn, TimelineId};
    use crate::wal_search::RecordSpan;
    use proptest::prelude::*;

    fn commit(number: u64, second: i64) -> Ending {
        let lsn = |at| Lsn::new(at).unwrap();
        let span = RecordSpan { lsn: lsn(100 + number * 8), end_lsn: lsn(108 + number * 8) };
        Ending {
            kind: EndingKind::Commit,
            span,
            timeline: TimelineId::new(1).unwrap(),
            xid: None,
            time: Timestamp::from_second(second).unwrap(),
            prepared: false,
            removed_files: 0,
        }
    }

    proptest! {
        /// Also when clocks step: what one search finds, those of parts find together.
        #[test]
        fn parts_find_what_the_whole_finds(
            seconds in prop::collection::vec(0i64..20, 0..40),
            cuts in prop::collection::btree_set(0usize..40, 0..6),
            (moment, count) in (0i64..20, 1usize..6),
        ) {
            let new = || AroundSearch::new(Timestamp::from_second(moment).unwrap(), count);
            let (mut whole, mut merged, mut part) = (new(), new(), new());
            for (number, second) in seconds.iter().enumerate() {
                if cuts.contains(&number) {
                    merged.merge(std::mem::replace(&mut part, new()));
                }
                let ending = commit(number as u64, *second);
                whole.note(ending.clone());
                part.note(ending);
            }
            merged.merge(part);
            prop_assert_eq!(merged.commits(), whole.commits());
        }
    }
}
