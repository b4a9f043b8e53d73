//! Which paths of timelines there are, and where they part.

use super::wal_coverage::ArchiveFacts;
use crate::pg::{Lsn, TimelineHistory, TimelineId};

/// The paths that have something of their own at their end: a timeline that was left with all its WAL on the path of
/// another one is only part of that one.
pub(super) fn leaves(archive: &ArchiveFacts) -> Vec<TimelineHistory> {
    let paths: Vec<TimelineHistory> = archive.timelines().into_iter().filter_map(|one| archive.history(one)).collect();
    let is_part_of = |path: &TimelineHistory, other: &TimelineHistory| {
        let timeline = path.timeline();
        let archived = archive.end_of(timeline);
        other.timeline() != timeline
            && other.end_of(timeline).is_some_and(|left_at| archived.is_none_or(|end| end <= left_at))
    };
    let is_leaf = |path: &&TimelineHistory| !paths.iter().any(|other| is_part_of(path, other));
    paths.iter().filter(is_leaf).cloned().collect()
}

/// Each timeline of which a path has at least a byte, and where it was left.
fn stretches(path: &TimelineHistory) -> Vec<(TimelineId, Option<Lsn>)> {
    let mut found: Vec<(TimelineId, Option<Lsn>)> = Vec::new();
    for timeline in path.parents() {
        let end = path.end_of(timeline);
        let begin = found.last().and_then(|(_, end)| *end);
        if end > begin {
            found.push((timeline, end));
        }
    }
    found.push((path.timeline(), None));
    found
}

/// Where two paths part; `None` when nothing is common to both.
pub(super) fn divergence(one: &TimelineHistory, other: &TimelineHistory) -> Option<Lsn> {
    let mut common: Option<Lsn> = None;
    for ((timeline, end), (other_timeline, other_end)) in stretches(one).into_iter().zip(stretches(other)) {
        if timeline != other_timeline {
            break;
        }
        common = end.into_iter().chain(other_end).min();
        if end != other_end {
            break;
        }
    }
    common
}
