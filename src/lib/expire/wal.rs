//! Which WAL nobody needs: pure.
//!
//! INVARIANT: a kept backup needs every segment from its start on along every path of timelines that leads through it,
//! the older copies of a segment in which a path forks included. Of a timeline whose history is not known nothing goes.

use std::collections::BTreeMap;

use super::facts::TreeFacts;
use super::rules::is_on;
use crate::pg::{TimelineHistory, TimelineId, WalFileName, WalSegmentName};
use crate::repository::BackupRecord;

/// What is needed of each timeline: numbers of segments, from the first to the last; to the end when there is no last.
#[derive(Debug, Default)]
struct Needed {
    ranges: BTreeMap<TimelineId, Vec<(u64, Option<u64>)>>,
    /// From here on, everything of every timeline.
    of_all: Option<u64>,
}

impl Needed {
    fn add(&mut self, timeline: TimelineId, first: u64, last: Option<u64>) {
        self.ranges.entry(timeline).or_default().push((first, last));
    }

    fn contains(&self, timeline: TimelineId, number: u64) -> bool {
        let is_in = |(first, last): &(u64, Option<u64>)| *first <= number && last.is_none_or(|last| number <= last);
        self.of_all.is_some_and(|first| first <= number)
            || self.ranges.get(&timeline).is_some_and(|ranges| ranges.iter().any(is_in))
    }
}

/// The files of the archive that no kept backup needs, oldest of each timeline first. Without a kept backup there are
/// none: then nothing says what is old.
pub(super) fn unneeded(
    facts: &TreeFacts,
    kept: &[&BackupRecord],
    is_recent: impl Fn(&WalFileName) -> bool,
) -> Vec<WalFileName> {
    if kept.is_empty() {
        return Vec::new();
    }
    let needed = needed(facts, kept);
    let mut names: Vec<WalFileName> = facts
        .wal
        .iter()
        .filter(|name| {
            let Some(segment) = segment_of(name) else { return false };
            let Some(number) = segment.number(facts.archive.segment_size) else { return false };
            let is_known = facts.archive.history(segment.timeline()).is_some();
            is_known && !needed.contains(segment.timeline(), number) && !is_recent(name)
        })
        .copied()
        .collect();
    names.sort_by_key(|name| (segment_of(name), name.to_string()));
    names
}

/// The segment that a file is, is a part of, or is a note about.
pub(super) fn segment_of(name: &WalFileName) -> Option<WalSegmentName> {
    match name {
        WalFileName::Segment(segment) | WalFileName::Partial(segment) | WalFileName::BackupHistory { segment, .. } => {
            Some(*segment)
        }
        WalFileName::TimelineHistory(_) => None,
    }
}

fn needed(facts: &TreeFacts, kept: &[&BackupRecord]) -> Needed {
    let archive = &facts.archive;
    let size = archive.segment_size;
    let paths: Vec<TimelineHistory> =
        archive.timelines().into_iter().filter_map(|timeline| archive.history(timeline)).collect();
    let mut needed = Needed::default();
    for record in kept {
        let first = record.start_lsn.get() / size.bytes();
        let own = archive.history(record.stop_timeline).filter(|path| is_on(record, path));
        if own.is_none() || !archive.unreadable_histories.is_empty() {
            needed.of_all = Some(needed.of_all.map_or(first, |known| known.min(first)));
        }
        for path in paths.iter().filter(|path| is_on(record, path)) {
            for parent in path.parents() {
                let last = path.end_of(parent).map(|end| end.get() / size.bytes());
                needed.add(parent, first, last);
            }
            needed.add(path.timeline(), first, None);
        }
    }
    needed
}
