//! What damaged and missing WAL costs: pure.
//!
//! Along each path of timelines, recovery from a backup gets as far as the first segment that is missing or damaged.
//! What lies behind it can be reached again from the next backup that begins behind it and can be restored. A damaged
//! segment stops recovery also where an older timeline has the same part of the log: recovery asks for the newest one
//! first, and gets an error.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::finding::Cost;
use crate::pg::{Lsn, TimelineHistory, TimelineId, WalSegmentName, WalSegmentSize};
use crate::repository::{ArchiveFacts, BackupId, BackupRecord, WalHole};

/// LIMIT: missing segments of one backup that are looked for.
const MISSING_MAX: usize = 1 << 22;

/// What is known of a backup.
#[derive(Debug, Clone)]
pub(super) struct BackupSpan {
    pub(super) id: BackupId,
    pub(super) start_lsn: Lsn,
    pub(super) start_timeline: TimelineId,
    pub(super) stop_lsn: Lsn,
    pub(super) stop_timeline: TimelineId,
    pub(super) stop_time: Timestamp,
    /// Whether it cannot be restored for another reason than its WAL.
    pub(super) is_lost: bool,
}

impl BackupSpan {
    pub(super) fn of(record: &BackupRecord, is_lost: bool) -> Self {
        Self {
            id: record.id,
            start_lsn: record.start_lsn,
            start_timeline: record.start_timeline,
            stop_lsn: record.stop_lsn,
            stop_timeline: record.stop_timeline,
            stop_time: record.stop_time,
            is_lost,
        }
    }

    fn is_on(&self, path: &TimelineHistory) -> bool {
        path.contains(self.start_timeline, self.start_lsn) && path.contains_end(self.stop_timeline, self.stop_lsn)
    }

    fn lost(&self) -> Cost {
        Cost::Backup { backup: self.id, files: None, named_files: Vec::new() }
    }
}

/// Segments without which recovery does not get on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HoleCost {
    pub(super) first: WalSegmentName,
    pub(super) last: WalSegmentName,
    /// How many.
    pub(super) count: u64,
    /// The ones among them that are there and damaged.
    pub(super) damaged: BTreeSet<WalSegmentName>,
    pub(super) costs: Vec<Cost>,
}

/// A path of timelines, and what is left of the WAL along it.
pub(super) struct WalPath<'a> {
    pub(super) path: TimelineHistory,
    /// The archive without what is damaged.
    pub(super) left: ArchiveFacts,
    damaged: &'a BTreeSet<WalSegmentName>,
    /// Where it ends in the archive, what is damaged included.
    end: Option<Lsn>,
    /// The backups on it, in the order of their beginning.
    pub(super) spans: Vec<&'a BackupSpan>,
}

/// Every path that can be followed and leads somewhere.
pub(super) fn paths<'a>(
    facts: &ArchiveFacts,
    damaged: &'a BTreeSet<WalSegmentName>,
    spans: &'a [BackupSpan],
) -> Vec<WalPath<'a>> {
    let leads_somewhere =
        |timeline: &TimelineId| facts.has_wal_of(*timeline) || spans.iter().any(|span| span.stop_timeline == *timeline);
    let path = |timeline: TimelineId| {
        let path = facts.history(timeline)?;
        let mut on_path: Vec<&BackupSpan> = spans.iter().filter(|span| span.is_on(&path)).collect();
        on_path.sort_by_key(|span| (span.start_lsn, span.stop_lsn));
        let left = facts.without(&stopping(&path, damaged, facts.segment_size));
        let end = facts.end_along(&path);
        Some(WalPath { path, left, damaged, end, spans: on_path })
    };
    facts.timelines().into_iter().filter(leads_somewhere).filter_map(path).collect()
}

/// The damaged segments, and those of older timelines that they hide.
fn stopping(
    path: &TimelineHistory,
    damaged: &BTreeSet<WalSegmentName>,
    size: WalSegmentSize,
) -> BTreeSet<WalSegmentName> {
    let mut stopping = damaged.clone();
    for name in damaged {
        let (Some(begin), Some(end)) = (name.start_lsn(size), name.end_lsn(size)) else { continue };
        for candidates in path.segment_names(begin, end, size) {
            if candidates.names.contains(name) {
                stopping.extend(candidates.names.iter().filter(|other| other.timeline() < name.timeline()));
            }
        }
    }
    stopping
}

impl WalPath<'_> {
    /// The holes behind backups, each once, and what each costs along this path.
    pub(super) fn holes(&self) -> Vec<HoleCost> {
        let mut holes: Vec<WalHole> = Vec::new();
        let mut reached: Option<Lsn> = None;
        for span in &self.spans {
            if reached.is_none_or(|reached| span.start_lsn >= reached) {
                let coverage = self.left.coverage(&self.path, span.start_lsn, None);
                reached = Some(coverage.end_lsn);
                let reached = coverage.end_lsn;
                let at_the_fork = || self.left.missing_fork_segment(&self.path);
                let found = coverage.hole.or_else(at_the_fork).or_else(|| self.damaged_end(reached));
                // A backup inside a hole meets the rest of it.
                holes.extend(found.filter(|found| !holes.iter().any(|hole| self.is_in(&found.first, hole))));
            }
            let is_known = |name: &WalSegmentName| holes.iter().any(|hole| self.is_in(name, hole));
            let missing = self.left.missing_between(&self.path, span.start_lsn, span.stop_lsn, MISSING_MAX);
            let missing: Vec<WalSegmentName> = missing.into_iter().filter(|name| !is_known(name)).collect();
            if let (Some(first), Some(last)) = (missing.first(), missing.last()) {
                let reachable_lsn = first.start_lsn(self.size()).unwrap_or(span.start_lsn);
                holes.push(WalHole { first: *first, last: *last, count: missing.len() as u64, reachable_lsn });
            }
        }
        holes.dedup_by_key(|hole| hole.first);
        holes.iter().map(|hole| self.cost_of(hole)).collect()
    }

    /// Damaged segments with which the archive ends: nothing behind them tells of them.
    fn damaged_end(&self, reachable_lsn: Lsn) -> Option<WalHole> {
        let end = self.end.filter(|end| *end > reachable_lsn)?;
        let size = self.size();
        let first = WalSegmentName::containing(self.path.timeline_at(reachable_lsn), reachable_lsn, size);
        let last = WalSegmentName::containing_previous_byte(self.path.timeline(), end, size);
        let count = last.number(size)?.checked_sub(first.number(size)?)?.saturating_add(1);
        Some(WalHole { first, last, count, reachable_lsn })
    }

    /// The targets that are lost when that backup cannot be restored.
    pub(super) fn targets_lost_with(&self, lost: &BackupSpan) -> Option<Cost> {
        if !self.spans.iter().any(|span| span.id == lost.id) {
            return None;
        }
        let reaches = |span: &&&BackupSpan| {
            span.stop_lsn <= lost.stop_lsn
                && self.can_be_restored(span)
                && self.left.coverage(&self.path, span.start_lsn, Some(lost.stop_lsn)).end_lsn >= lost.stop_lsn
        };
        if self.spans.iter().find(reaches).is_some() {
            return None;
        }
        Some(self.targets(lost.stop_lsn, Some(lost.stop_time), lost.stop_lsn))
    }

    fn size(&self) -> WalSegmentSize {
        self.left.segment_size
    }

    fn can_be_restored(&self, span: &BackupSpan) -> bool {
        !span.is_lost && self.left.missing_between(&self.path, span.start_lsn, span.stop_lsn, 1).is_empty()
    }

    fn is_in(&self, name: &WalSegmentName, hole: &WalHole) -> bool {
        let number = |name: &WalSegmentName| name.number(self.size());
        (number(&hole.first)..=number(&hole.last)).contains(&number(name))
    }

    /// Targets behind `after`, up to the first backup behind `behind` that can be restored.
    fn targets(&self, after: Lsn, after_time: Option<Timestamp>, behind: Lsn) -> Cost {
        let is_behind = |span: &&&BackupSpan| span.start_lsn >= behind && self.can_be_restored(span);
        let next = self.spans.iter().filter(is_behind).min_by_key(|span| span.stop_lsn);
        Cost::Targets {
            timeline: self.path.timeline(),
            after_lsn: after,
            after_time,
            before_lsn: next.map(|span| span.stop_lsn),
            before_time: next.map(|span| span.stop_time),
            before_backup: next.map(|span| span.id),
        }
    }

    fn cost_of(&self, hole: &WalHole) -> HoleCost {
        let begin = hole.first.start_lsn(self.size()).unwrap_or(hole.reachable_lsn);
        let end = hole.last.end_lsn(self.size()).unwrap_or(hole.reachable_lsn);
        let inside = self.spans.iter().filter(|span| span.start_lsn < end && span.stop_lsn > begin);
        let mut costs: Vec<Cost> = inside.clone().map(|span| span.lost()).collect();
        let before = self.spans.iter().any(|span| span.stop_lsn <= begin && self.can_be_restored(span));
        let first_inside = inside.min_by_key(|span| span.stop_lsn);
        if before {
            let time = self.left.coverage(&self.path, self.earliest(begin), Some(hole.reachable_lsn)).end_time;
            costs.push(self.targets(hole.reachable_lsn, time, end));
        } else if let Some(span) = first_inside {
            costs.push(self.targets(span.stop_lsn, Some(span.stop_time), end));
        }
        let is_inside = |name: &&WalSegmentName| self.is_in(name, hole) && self.is_candidate(name);
        let damaged = self.damaged.iter().filter(is_inside).copied().collect();
        HoleCost { first: hole.first, last: hole.last, count: hole.count, damaged, costs }
    }

    /// The beginning of the last backup that ends before `begin`.
    fn earliest(&self, begin: Lsn) -> Lsn {
        let before = self.spans.iter().filter(|span| span.stop_lsn <= begin);
        before.map(|span| span.start_lsn).max().unwrap_or(begin)
    }

    /// Whether recovery along this path may ask for a segment.
    fn is_candidate(&self, name: &WalSegmentName) -> bool {
        let (Some(begin), Some(end)) = (name.start_lsn(self.size()), name.end_lsn(self.size())) else { return false };
        self.path.segment_names(begin, end, self.size()).any(|candidates| candidates.names.contains(name))
    }
}
