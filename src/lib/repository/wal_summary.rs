//! What the archived WAL means for backups and for recovery along each timeline: pure. Which segments a recovery would
//! look for, and which of them are there, is said by [`ArchiveFacts`], as for a restore.

use serde::Serialize;

use super::backup::{BackupId, BackupRecord};
use super::wal_coverage::{ArchiveFacts, WalHole};
use crate::pg::{Lsn, TimelineHistory, TimelineId, WalSegmentName};

/// LIMIT: what is missing for one backup, segments or packs, that is named; there may be more.
pub(crate) const MISSING_MAX: usize = 100;

/// The WAL that a backup needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BackupSpan {
    pub(crate) id: BackupId,
    pub(crate) start: Lsn,
    pub(crate) stop: Lsn,
    pub(crate) timeline: TimelineId,
}

impl BackupSpan {
    /// That of a recorded backup.
    pub(crate) fn of(record: &BackupRecord) -> Self {
        Self { id: record.id, start: record.start_lsn, stop: record.stop_lsn, timeline: record.stop_timeline }
    }
}

/// Segments that are missing although later ones are there, and what that costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CostlyHole {
    /// The first missing segment.
    pub first: WalSegmentName,
    /// The last missing segment.
    pub last: WalSegmentName,
    /// How many are missing.
    pub count: u64,
    /// Backups that need them to become consistent: these cannot be restored.
    pub inside_backups: Vec<BackupId>,
    /// Backups whose recovery along this timeline cannot go beyond the hole.
    pub ends_recovery_of: Vec<BackupId>,
}

/// Without its history a timeline is looked at as if it had no parents.
fn path_to(wal: &ArchiveFacts, timeline: TimelineId) -> TimelineHistory {
    wal.history(timeline).unwrap_or_else(|| TimelineHistory::without_parents(timeline))
}

/// The segments that a backup needs to become consistent and that are not there.
pub(crate) fn missing(wal: &ArchiveFacts, span: &BackupSpan) -> Vec<WalSegmentName> {
    let mut missing = wal.missing_between(&path_to(wal, span.timeline), span.start, span.stop, MISSING_MAX);
    missing.retain(|name| wal.unlisted_around(name).is_none());
    missing
}

/// The last segment that follows a backup's end without a hole on its own timeline.
pub(crate) fn until(wal: &ArchiveFacts, span: &BackupSpan) -> Option<WalSegmentName> {
    let last = WalSegmentName::containing_previous_byte(span.timeline, span.stop, wal.segment_size);
    wal.range_of(&last).map(|range| range.last)
}

/// What is missing on the way to a timeline's last segment, and which backups that concerns. What its parents lack
/// before their own last segments is told of them.
pub(crate) fn holes(wal: &ArchiveFacts, timeline: TimelineId, backups: &[BackupSpan]) -> Vec<CostlyHole> {
    let path = path_to(wal, timeline);
    let on_path: Vec<&BackupSpan> =
        backups.iter().filter(|backup| path.contains_end(backup.timeline, backup.stop)).collect();
    let mut holes = Vec::new();
    let mut from = beginning(wal, &path);
    while let Some(begin) = from {
        let Some(hole) = wal.coverage(&path, begin, None).hole else { break };
        from = hole.last.end_lsn(wal.segment_size);
        // What cannot be listed is not known to be missing.
        let is_known = [&hole.first, &hole.last].into_iter().all(|name| wal.unlisted_around(name).is_none());
        holes.extend(from.filter(|_| is_known).map(|end| told(&hole, end, &on_path)));
    }
    holes
}

/// Where a timeline's own part of the path begins in the archive: where that of its parents ends, or with its first
/// segment, which has a copy of what its parent wrote there before the fork.
fn beginning(wal: &ArchiveFacts, path: &TimelineHistory) -> Option<Lsn> {
    let size = wal.segment_size;
    let own = wal.ranges.get(&path.timeline())?.first()?.first.start_lsn(size)?;
    let of_parents = path.parents().filter_map(|parent| {
        let left_at = path.end_of(parent)?;
        let mut ranges = wal.ranges.get(&parent)?.iter();
        let used = ranges.rfind(|range| range.first.start_lsn(size).is_some_and(|start| start < left_at))?;
        Some(used.last.end_lsn(size)?.min(left_at))
    });
    Some(of_parents.max().map_or(own, |end| end.min(own)))
}

fn told(hole: &WalHole, end: Lsn, backups: &[&BackupSpan]) -> CostlyHole {
    let WalHole { first, last, count, reachable_lsn } = *hole;
    let (mut inside_backups, mut ends_recovery_of) = (Vec::new(), Vec::new());
    for backup in backups {
        if backup.stop <= reachable_lsn {
            ends_recovery_of.push(backup.id);
        } else if backup.start < end {
            inside_backups.push(backup.id);
        }
    }
    CostlyHole { first, last, count, inside_backups, ends_recovery_of }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::pg::WalSegmentSize;
    use crate::repository::WalRange;

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

    fn summary(ranges: &[(u32, u64, u64)], history_of_2: Option<&str>) -> ArchiveFacts {
        let mut summary = ArchiveFacts {
            segment_size: size(),
            ranges: BTreeMap::new(),
            unlisted: Vec::new(),
            histories: BTreeMap::new(),
            unreadable_histories: BTreeMap::new(),
            archived_at: BTreeMap::new(),
        };
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
        for (start, stop, absent, last) in [
            (at(2), at(3), vec![], Some(4)),
            // Stopping at a boundary needs nothing of what begins there.
            (at(4), 5 * SIZE, vec![], Some(4)),
            (at(4), 5 * SIZE + 1, vec![5], None),
            (at(4), at(8), vec![5, 6], Some(9)),
            (at(1), at(2), vec![1], Some(4)),
        ] {
            let span = span(1, start, stop);
            let expected: Vec<_> = absent.into_iter().map(|number| segment(1, number)).collect();
            assert_eq!(missing(&wal, &span), expected, "{start:X} {stop:X}");
            assert_eq!(until(&wal, &span), last.map(|number| segment(1, number)), "{start:X} {stop:X}");
        }
        assert_eq!(missing(&wal, &span(1, at(2), u64::MAX)).len(), MISSING_MAX);
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
            let found = holes(&wal, timeline(1), &[span(1, start, stop)]);
            assert_eq!((found[0].first, found[0].last, found[0].count), (segment(1, 5), segment(1, 6), 2));
            assert_eq!((found[0].inside_backups.len(), found[0].ends_recovery_of.len()), (inside, after));
        }
    }

    #[test]
    fn histories_tell_whose_recovery_a_hole_ends() {
        // Timeline 2 forks from 1 in segment 4.
        let history = format!("1\t0/{:X}\tno recovery target specified\n", 4 * SIZE + 0x100);
        let wal = summary(&[(1, 2, 6), (2, 4, 5), (2, 7, 8)], Some(&history));
        let before_fork = span(1, 2 * SIZE + 0x28, 3 * SIZE);
        let after_fork = span(1, 5 * SIZE + 0x28, 6 * SIZE);
        let found = holes(&wal, timeline(2), &[before_fork, after_fork]);
        assert_eq!((found.len(), found[0].ends_recovery_of.len()), (1, 1));
        // A backup that began before a promotion and ended after it.
        assert_eq!(missing(&wal, &span(2, 3 * SIZE + 0x28, 5 * SIZE)), []);
        // Without the history its beginning is not known to be there.
        let unknown = summary(&[(1, 2, 6), (2, 4, 5)], None);
        assert_eq!(missing(&unknown, &span(2, 3 * SIZE + 0x28, 5 * SIZE)).len(), 1);
    }
    #[test]
    fn a_hole_at_a_fork_is_seen_whichever_timeline_lacks_it() {
        // Timeline 2 forks from 1 in segment 4.
        let history = format!("1\t0/{:X}\tno recovery target specified\n", 4 * SIZE + 0x100);
        let before_fork = span(1, 2 * SIZE + 0x28, 3 * SIZE);
        let in_fork = span(1, 2 * SIZE + 0x28, 4 * SIZE + 0x80);
        type Rows<'a> = &'a [(u32, u64, u64)];
        let rows: [(Rows<'_>, Rows<'_>); 9] = [
            // The parent went on; recovery would follow it beyond the fork.
            (&[(1, 2, 4), (2, 6, 8)], &[(2, 4, 5)]),
            (&[(1, 2, 9), (2, 5, 8)], &[(2, 4, 4)]),
            (&[(1, 2, 3), (2, 5, 8)], &[(2, 4, 4)]),
            // The parent's last segment before the fork is not there, either.
            (&[(1, 2, 2), (2, 6, 8)], &[(1, 3, 3), (2, 4, 5)]),
            (&[(1, 2, 2), (2, 4, 8)], &[(1, 3, 3)]),
            // Two on the new timeline.
            (&[(1, 2, 4), (2, 5, 5), (2, 8, 8)], &[(2, 4, 4), (2, 6, 7)]),
            // Whole: the parent's segment of the fork is not needed.
            (&[(1, 2, 3), (2, 4, 8)], &[]),
            (&[(1, 2, 4), (2, 4, 8)], &[]),
            (&[(2, 6, 8)], &[]),
        ];
        for (ranges, expected) in rows {
            let wal = summary(ranges, Some(&history));
            let found = holes(&wal, timeline(2), &[before_fork, in_fork]);
            let missing: Vec<_> = found.iter().flat_map(|hole| [hole.first, hole.last]).collect();
            // Along the path they are one hole, named as recovery would look for them.
            let expected_ends: Vec<_> = match expected {
                [(1, first, _), (2, _, last)] => vec![segment(1, *first), segment(2, *last)],
                _ => {
                    expected.iter().flat_map(|(on, first, last)| [segment(*on, *first), segment(*on, *last)]).collect()
                }
            };
            assert_eq!(missing, expected_ends, "{ranges:?}");
            assert_eq!(holes(&wal, timeline(1), &[before_fork]).len(), 0, "{ranges:?}");
        }
        let wal = summary(&[(1, 2, 4), (2, 6, 8)], Some(&history));
        let found = holes(&wal, timeline(2), &[before_fork, in_fork]);
        assert_eq!((found[0].inside_backups.len(), found[0].ends_recovery_of.len()), (0, 2));
    }

    /// An archive of years: this is looked at by a person who waits.
    #[test]
    fn many_segments_and_timelines_are_looked_at_once() {
        let many = 100_000;
        let wal = summary(
            &[(1, 1, many), (2, many, many + 1000)],
            Some(&format!("1\t{}\tx\n", Lsn::new(many * SIZE + 1).unwrap())),
        );
        let backups: Vec<_> = (1..many).step_by(100).map(|at| span(1, at * SIZE + 0x28, (at + 1) * SIZE)).collect();
        let watch = std::time::Instant::now();
        assert_eq!(holes(&wal, timeline(1), &backups).len() + holes(&wal, timeline(2), &backups).len(), 0);
        assert!(backups.iter().all(|backup| missing(&wal, backup).is_empty() && until(&wal, backup).is_some()));
        assert!(watch.elapsed() < std::time::Duration::from_secs(5), "{:?}", watch.elapsed());
    }
}
