//! Which WAL the archive has along a path of timelines: how far it reaches, and where the first hole is.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use super::error::RepositoryError;
use super::wal::{ListedWal, UnlistedWal, WalArchive};
use super::wal_range::WalRange;
use crate::pg::{Lsn, SegmentCandidates, TimelineHistory, TimelineId, WalFileName, WalSegmentName, WalSegmentSize};

/// What the archive holds of one cluster.
#[derive(Debug, Clone)]
pub(crate) struct ArchiveFacts {
    /// The size of its segments.
    pub segment_size: WalSegmentSize,
    /// Segments as ranges without holes, by timeline.
    pub ranges: BTreeMap<TimelineId, Vec<WalRange>>,
    /// The histories that can be read. The first timeline has none and is always there.
    pub histories: BTreeMap<TimelineId, TimelineHistory>,
    /// Why the others cannot be read.
    pub unreadable_histories: BTreeMap<TimelineId, String>,
    /// Folders of segments that cannot be listed: what belongs there counts as archived and missing.
    pub unlisted: Vec<UnlistedWal>,
    /// When the last segment of each range was archived, by the writer's clock; shown, and an upper bound of the times
    /// of what is in it.
    pub archived_at: BTreeMap<WalSegmentName, Timestamp>,
}

/// Segments that are missing although later ones are there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WalHole {
    /// The first missing segment, by the name it has on the newest timeline that could hold it.
    pub first: WalSegmentName,
    /// The last missing one.
    pub last: WalSegmentName,
    /// How many.
    pub count: u64,
    /// The position at which WAL ends before it.
    pub reachable_lsn: Lsn,
}

/// The WAL along a path, from one position on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WalCoverage {
    /// The first segment.
    pub first: WalSegmentName,
    /// The last one that is reached without a hole; `None` when even the first is missing.
    pub last: Option<WalSegmentName>,
    /// How many are reached without a hole.
    pub count: u64,
    /// The position at which the WAL ends that is reached without a hole.
    pub end_lsn: Lsn,
    /// Upper bound of the times in it, when it is known.
    pub end_time: Option<Timestamp>,
    /// The first hole.
    pub hole: Option<WalHole>,
}

impl ArchiveFacts {
    /// Gathers what the archive holds.
    pub(crate) fn gather(archive: &WalArchive<'_>, size: WalSegmentSize) -> Result<Self, RepositoryError> {
        let ListedWal { ranges, unlisted } = archive.listed(size)?;
        Self::with_ranges(archive, size, ranges, unlisted)
    }

    /// The same, when it is known which segments there are.
    pub(crate) fn with_ranges(
        archive: &WalArchive<'_>,
        size: WalSegmentSize,
        ranges: BTreeMap<TimelineId, Vec<WalRange>>,
        unlisted: Vec<UnlistedWal>,
    ) -> Result<Self, RepositoryError> {
        Ok(Self::with_histories(archive, size, ranges, unlisted, archive.histories()?))
    }

    /// The same, when it is known which histories there are, too.
    pub(crate) fn with_histories(
        archive: &WalArchive<'_>,
        size: WalSegmentSize,
        ranges: BTreeMap<TimelineId, Vec<WalRange>>,
        unlisted: Vec<UnlistedWal>,
        histories: Vec<TimelineId>,
    ) -> Self {
        let mut facts = Self {
            segment_size: size,
            ranges,
            histories: BTreeMap::new(),
            unreadable_histories: BTreeMap::new(),
            unlisted,
            archived_at: BTreeMap::new(),
        };
        for timeline in histories {
            let read = match archive.load_text(&WalFileName::TimelineHistory(timeline)) {
                Ok(Some(text)) => TimelineHistory::decode(timeline, &text).map_err(|error| error.to_string()),
                Ok(None) => continue,
                Err(error) => Err(error.to_string()),
            };
            match read {
                Ok(history) => drop(facts.histories.insert(timeline, history)),
                Err(problem) => drop(facts.unreadable_histories.insert(timeline, problem)),
            }
        }
        for range in facts.ranges.values().flatten() {
            // An unreadable header is found when the segment is needed; here it only bounds times.
            if let Ok(Some(archived)) = archive.look_up(&WalFileName::Segment(range.last)) {
                facts.archived_at.insert(range.last, archived.created);
            }
        }
        facts.give_spans();
        facts
    }

    /// Of a whole timeline that cannot be listed one segment is known to belong there: that in which it begins.
    fn give_spans(&mut self) {
        for unlisted in self.unlisted.iter_mut().filter(|unlisted| unlisted.span.is_none()) {
            let timeline = unlisted.timeline;
            let fork = self.histories.get(&timeline).and_then(|path| path.end_of(path.parents().next_back()?));
            let first = match fork {
                Some(lsn) => Some(WalSegmentName::containing(timeline, lsn, self.segment_size)),
                None => WalSegmentName::from_number(timeline, 1, self.segment_size),
            };
            unlisted.span = first.map(|first| (first, first));
        }
    }

    /// The folder in which a missing segment may lie.
    pub(crate) fn unlisted_around(&self, name: &WalSegmentName) -> Option<&UnlistedWal> {
        self.unlisted.iter().find(|unlisted| unlisted.may_hold(name))
    }

    /// Whether there are segments of a timeline, as far as that can be known.
    pub(crate) fn has_wal_of(&self, timeline: TimelineId) -> bool {
        self.ranges.contains_key(&timeline) || self.unlisted.iter().any(|unlisted| unlisted.timeline == timeline)
    }

    /// What it would hold without these segments.
    pub(crate) fn without(&self, gone: &BTreeSet<WalSegmentName>) -> Self {
        let size = self.segment_size;
        let mut left = self.clone();
        for name in gone {
            let Some(ranges) = left.ranges.get_mut(&name.timeline()) else { continue };
            let Some(at) = ranges.iter().position(|range| range.first <= *name && *name <= range.last) else {
                continue;
            };
            let range = ranges.remove(at);
            let mut parts = Vec::new();
            for (first, last) in [(Some(range.first), name.previous(size)), (name.next(size), Some(range.last))] {
                let (Some(first), Some(last)) = (first, last) else { continue };
                let count = last.number(size).zip(first.number(size)).and_then(|(last, first)| last.checked_sub(first));
                parts.extend(count.map(|count| WalRange { timeline: range.timeline, first, last, count: count + 1 }));
            }
            ranges.splice(at..at, parts);
            if ranges.is_empty() {
                left.ranges.remove(&name.timeline());
            }
        }
        left
    }

    /// The history of a timeline; `None` when it is not in the archive.
    pub(crate) fn history(&self, timeline: TimelineId) -> Option<TimelineHistory> {
        if timeline == TimelineId::FIRST {
            return Some(TimelineHistory::first());
        }
        self.histories.get(&timeline).cloned()
    }

    /// Every timeline that can be followed, oldest first.
    pub(crate) fn timelines(&self) -> Vec<TimelineId> {
        let mut timelines: Vec<TimelineId> = self.histories.keys().copied().collect();
        if !timelines.contains(&TimelineId::FIRST) {
            timelines.insert(0, TimelineId::FIRST);
        }
        timelines
    }

    /// Whether a segment is in the archive.
    pub(crate) fn contains(&self, name: &WalSegmentName) -> bool {
        self.range_of(name).is_some()
    }

    /// The range in which a segment lies that is in the archive.
    pub(crate) fn range_of(&self, name: &WalSegmentName) -> Option<&WalRange> {
        let ranges = self.ranges.get(&name.timeline())?;
        let after = ranges.partition_point(|range| range.first <= *name);
        let range = ranges.get(after.checked_sub(1)?)?;
        (range.last >= *name).then_some(range)
    }

    /// The last segment of that timeline in the archive, listed or not.
    pub(crate) fn last_segment(&self, timeline: TimelineId) -> Option<WalSegmentName> {
        let listed = self.ranges.get(&timeline).and_then(|ranges| ranges.last()).map(|range| range.last);
        let unlisted = self.unlisted.iter().filter(|unlisted| unlisted.timeline == timeline);
        unlisted.filter_map(|unlisted| Some(unlisted.span?.1)).chain(listed).max()
    }

    /// The position after the last byte of that timeline in the archive; `None` when there is no segment of it.
    pub(crate) fn end_of(&self, timeline: TimelineId) -> Option<Lsn> {
        self.last_segment(timeline)?.end_lsn(self.segment_size)
    }

    /// No record of the path in the archive is later than this.
    pub(crate) fn end_time_along(&self, path: &TimelineHistory) -> Option<Timestamp> {
        let timelines = [path.timeline()].into_iter().chain(path.parents().rev());
        let mut last = timelines.filter_map(|timeline| {
            let archived = self.last_segment(timeline)?;
            let left_in = path.end_of(timeline).map(|end| WalSegmentName::containing(timeline, end, self.segment_size));
            Some(left_in.map_or(archived, |left_in| left_in.min(archived)))
        });
        self.upper_bound(&last.next()?)
    }

    /// The first segment of the path's own timeline when the archive lacks it but has the one of its parent, which
    /// went on: recovery would take that one instead and follow the parent behind the fork (`XLogFileReadAnyTLI`).
    pub(crate) fn missing_fork_segment(&self, path: &TimelineHistory) -> Option<WalHole> {
        let parent = path.parents().next_back()?;
        let reachable_lsn = path.end_of(parent)?;
        let first = WalSegmentName::containing(path.timeline(), reachable_lsn, self.segment_size);
        let of_parent = WalSegmentName::containing(parent, reachable_lsn, self.segment_size);
        let is_replaced = !self.contains(&first) && self.contains(&of_parent);
        is_replaced.then_some(WalHole { first, last: first, count: 1, reachable_lsn })
    }

    /// Where the archive ends along a path, holes or not.
    pub(crate) fn end_along(&self, path: &TimelineHistory) -> Option<Lsn> {
        let ends = path.parents().chain([path.timeline()]).filter_map(|timeline| {
            let archived = self.end_of(timeline)?;
            Some(path.end_of(timeline).map_or(archived, |left_at| left_at.min(archived)))
        });
        ends.max()
    }

    /// The WAL along `path` from `from` on, or up to `to`.
    pub(crate) fn coverage(&self, path: &TimelineHistory, from: Lsn, to: Option<Lsn>) -> WalCoverage {
        let size = self.segment_size;
        let first = WalSegmentName::containing(path.timeline_at(from), from, size);
        let mut coverage = WalCoverage { first, last: None, count: 0, end_lsn: from, end_time: None, hole: None };
        let end = self.end_along(path).map(|end| to.map_or(end, |to| to.min(end)));
        let Some(end) = end.filter(|end| *end > from) else { return coverage };
        let mut missing: Option<WalHole> = None;
        for candidates in path.segment_names(from, end, size) {
            let found = candidates.names.iter().find(|name| self.contains(name));
            match (found, &mut missing) {
                (Some(name), None) => coverage.reach(*name, self.upper_bound(name), end, size),
                (Some(_), Some(_)) => break,
                (None, hole) => extend_hole(hole, &candidates, coverage.end_lsn),
            }
        }
        coverage.hole = missing;
        coverage
    }

    /// The segments from `from` to `to` of which no file is there, in order; at most `limit`.
    pub(crate) fn missing_between(
        &self,
        path: &TimelineHistory,
        from: Lsn,
        to: Lsn,
        limit: usize,
    ) -> Vec<WalSegmentName> {
        let missing = path.segment_names(from, to, self.segment_size).filter_map(|candidates| {
            let is_there = candidates.names.iter().any(|name| self.contains(name));
            if is_there { None } else { Some(shown_name(&candidates, path, self.segment_size)) }
        });
        missing.take(limit).flatten().collect()
    }

    /// No record in the segment is later than this: it was archived by then, or a later one of its range was.
    fn upper_bound(&self, name: &WalSegmentName) -> Option<Timestamp> {
        let (last, time) = self.archived_at.range(name..).next()?;
        (last.timeline() == name.timeline()).then_some(*time)
    }
}

impl WalCoverage {
    fn reach(&mut self, name: WalSegmentName, time: Option<Timestamp>, limit: Lsn, size: WalSegmentSize) {
        self.last = Some(name);
        self.count += 1;
        self.end_lsn = name.end_lsn(size).map_or(limit, |end| end.min(limit));
        self.end_time = time;
    }
}

fn extend_hole(hole: &mut Option<WalHole>, candidates: &SegmentCandidates, reachable: Lsn) {
    let Some(name) = candidates.names.first().copied() else { return };
    match hole {
        Some(hole) => {
            hole.last = name;
            hole.count += 1;
        }
        None => *hole = Some(WalHole { first: name, last: name, count: 1, reachable_lsn: reachable }),
    }
}

/// The name under which people will look for a missing segment.
fn shown_name(candidates: &SegmentCandidates, path: &TimelineHistory, size: WalSegmentSize) -> Option<WalSegmentName> {
    let newest = candidates.names.first().copied();
    newest.or_else(|| WalSegmentName::from_number(path.timeline(), candidates.number, size))
}
