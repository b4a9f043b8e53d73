//! From ranges of segments to what they mean for backups: pure.

use std::collections::BTreeMap;

use super::report::InfoHole;
use crate::pg::{Lsn, SegmentCandidates, TimelineHistory, TimelineId, WalSegmentName, WalSegmentSize};
use crate::repository::{BackupId, UnlistedWal, WalRange};

/// LIMIT: missing segments that are named for one backup.
const MISSING_MAX: usize = 100;
/// LIMIT: segments of one backup that are looked for; no backup takes this many.
const SEGMENTS_MAX: usize = 1 << 22;

/// What the archive holds, as far as restoring needs it.
pub(super) struct WalSummary {
    pub(super) size: WalSegmentSize,
    pub(super) ranges: BTreeMap<TimelineId, Vec<WalRange>>,
    /// Folders that cannot be listed: what belongs there is neither there nor missing.
    pub(super) unlisted: Vec<UnlistedWal>,
    pub(super) histories: BTreeMap<TimelineId, TimelineHistory>,
}

/// The WAL that a backup needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct BackupSpan {
    pub(super) id: BackupId,
    pub(super) start: Lsn,
    pub(super) stop: Lsn,
    pub(super) timeline: TimelineId,
}

impl WalSummary {
    /// The segments that a backup needs to become consistent and that are not there.
    pub(super) fn missing(&self, span: &BackupSpan) -> Vec<WalSegmentName> {
        let name = |number| WalSegmentName::from_number(span.timeline, number, self.size);
        // Without its history a timeline is looked at as if it had no ancestors.
        let alone = TimelineHistory::first();
        let path = self.histories.get(&span.timeline);
        let needed = path.unwrap_or(&alone).segment_names(span.start, span.stop, self.size).take(SEGMENTS_MAX);
        let is_there = |candidates: &SegmentCandidates| match path {
            Some(_) => candidates.names.iter().any(|name| self.may_hold(name)),
            None => name(candidates.number).is_some_and(|name| self.may_hold(&name)),
        };
        let missing = needed.filter(|candidates| !is_there(candidates));
        missing.filter_map(|candidates| name(candidates.number)).take(MISSING_MAX).collect()
    }

    /// The last segment that follows a backup's end without a hole on its own timeline.
    pub(super) fn until(&self, span: &BackupSpan) -> Option<WalSegmentName> {
        let last = WalSegmentName::containing_previous_byte(span.timeline, span.stop, self.size);
        self.range_of(&last).map(|range| range.last)
    }

    /// What lies between the ranges of a timeline, and which backups that concerns.
    pub(super) fn holes(&self, timeline: TimelineId, backups: &[BackupSpan]) -> Vec<InfoHole> {
        let ranges = self.ranges.get(&timeline).map(Vec::as_slice).unwrap_or_default();
        let path = self.histories.get(&timeline);
        let leads_there = |backup: &&BackupSpan| match path {
            Some(path) => path.contains_end(backup.timeline, backup.stop),
            None => backup.timeline == timeline,
        };
        let on_path: Vec<&BackupSpan> = backups.iter().filter(leads_there).collect();
        let pairs = ranges.iter().zip(ranges.iter().skip(1));
        pairs.filter_map(|(before, after)| self.hole(before, after, &on_path)).collect()
    }

    fn hole(&self, before: &WalRange, after: &WalRange, backups: &[&BackupSpan]) -> Option<InfoHole> {
        let (first, last) = (before.last.next(self.size)?, after.first.previous(self.size)?);
        let count = last.number(self.size)?.checked_sub(first.number(self.size)?)? + 1;
        if self.is_unlisted(&first) || self.is_unlisted(&last) {
            return None;
        }
        let (begin, end) = (first.start_lsn(self.size)?, last.end_lsn(self.size)?);
        let (mut inside_backups, mut ends_recovery_of) = (Vec::new(), Vec::new());
        for backup in backups {
            if backup.stop <= begin {
                ends_recovery_of.push(backup.id);
            } else if backup.start < end {
                inside_backups.push(backup.id);
            }
        }
        Some(InfoHole { first, last, count, inside_backups, ends_recovery_of })
    }

    fn may_hold(&self, name: &WalSegmentName) -> bool {
        self.range_of(name).is_some() || self.is_unlisted(name)
    }

    fn is_unlisted(&self, name: &WalSegmentName) -> bool {
        self.unlisted.iter().any(|unlisted| unlisted.may_hold(name))
    }

    fn range_of(&self, name: &WalSegmentName) -> Option<&WalRange> {
        let ranges = self.ranges.get(&name.timeline())?;
        let behind = ranges.partition_point(|range| range.first <= *name);
        let range = ranges.get(behind.checked_sub(1)?)?;
        (*name <= range.last).then_some(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 16 << 20;

    fn size() -> WalSegmentSize {
        WalSegmentSize::new(SIZE).unwrap()
    }

    fn timeline(number: u32) -> TimelineId {
        TimelineId::new(number).unwrap()
    }

    fn segment(on: u32, number: u64) -> WalSegmentName {
        WalSegmentName::from_number(timeline(on), number, size()).unwrap()
    }

    fn summary(ranges: &[(u32, u64, u64)], history_of_2: Option<&str>) -> WalSummary {
        let mut summary =
            WalSummary { size: size(), ranges: BTreeMap::new(), unlisted: Vec::new(), histories: BTreeMap::new() };
        for (on, first, last) in ranges {
            let (first_name, last_name) = (segment(*on, *first), segment(*on, *last));
            let range =
                WalRange { timeline: timeline(*on), first: first_name, last: last_name, count: last - first + 1 };
            summary.ranges.entry(timeline(*on)).or_default().push(range);
        }
        if let Some(text) = history_of_2 {
            summary.histories.insert(timeline(2), TimelineHistory::parse(timeline(2), text).unwrap());
        }
        summary
    }

    fn span(on: u32, start: u64, stop: u64) -> BackupSpan {
        let (start, stop) = (Lsn::new(start).unwrap(), Lsn::new(stop).unwrap());
        let id = "20261121T000000Z-00000001".parse().unwrap();
        BackupSpan { id, start, stop, timeline: timeline(on) }
    }

    #[test]
    fn a_backup_is_complete_when_every_segment_from_start_to_stop_is_there() {
        let wal = summary(&[(1, 2, 4), (1, 7, 9)], None);
        let at = |number: u64| number * SIZE + 0x28;
        for (start, stop, missing, until) in [
            (at(2), at(3), vec![], Some(4)),
            // Stopping at a boundary needs nothing of what begins there.
            (at(4), 5 * SIZE, vec![], Some(4)),
            (at(4), 5 * SIZE + 1, vec![5], None),
            (at(4), at(8), vec![5, 6], Some(9)),
            (at(1), at(2), vec![1], Some(4)),
        ] {
            let span = span(1, start, stop);
            let missing: Vec<_> = missing.into_iter().map(|number| segment(1, number)).collect();
            assert_eq!(wal.missing(&span), missing, "{start:X} {stop:X}");
            assert_eq!(wal.until(&span), until.map(|number| segment(1, number)), "{start:X} {stop:X}");
        }
        assert_eq!(wal.missing(&span(1, at(2), u64::MAX)).len(), MISSING_MAX);
    }

    #[test]
    fn a_hole_inside_a_backup_is_told_from_one_after_it() {
        let wal = summary(&[(1, 2, 4), (1, 7, 9)], None);
        let at = |number: u64| number * SIZE + 0x28;
        for (start, stop, inside, after) in [
            (at(2), at(3), 0, 1),
            (at(2), 5 * SIZE, 0, 1),
            (at(4), at(5), 1, 0),
            (at(6), at(8), 1, 0),
            (at(8), at(9), 0, 0),
        ] {
            let holes = wal.holes(timeline(1), &[span(1, start, stop)]);
            assert_eq!((holes[0].first, holes[0].last, holes[0].count), (segment(1, 5), segment(1, 6), 2));
            assert_eq!((holes[0].inside_backups.len(), holes[0].ends_recovery_of.len()), (inside, after));
        }
    }

    #[test]
    fn histories_tell_whose_recovery_a_hole_ends() {
        // Timeline 2 forks from 1 in segment 4.
        let history = format!("1\t0/{:X}\tno recovery target specified\n", 4 * SIZE + 0x100);
        let wal = summary(&[(1, 2, 6), (2, 4, 5), (2, 7, 8)], Some(&history));
        let before_fork = span(1, 2 * SIZE + 0x28, 3 * SIZE);
        let after_fork = span(1, 5 * SIZE + 0x28, 6 * SIZE);
        let holes = wal.holes(timeline(2), &[before_fork, after_fork]);
        assert_eq!((holes.len(), holes[0].ends_recovery_of.len()), (1, 1));
        // A backup that began before a promotion and ended after it.
        assert_eq!(wal.missing(&span(2, 3 * SIZE + 0x28, 5 * SIZE)), []);
        // Without the history its beginning is not known to be there.
        assert_eq!(summary(&[(1, 2, 6), (2, 4, 5)], None).missing(&span(2, 3 * SIZE + 0x28, 5 * SIZE)).len(), 1);
    }
}
