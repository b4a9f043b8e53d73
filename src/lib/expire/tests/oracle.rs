//! What backups need, found out byte by byte and without any of the code that plans: the way of `readTimeLineHistory`,
//! `tliOfPointInHistory` and `XLogFileReadAnyTLI`.

use std::collections::BTreeSet;

use super::history::{SIZE, segment};
use crate::pg::{Lsn, TimelineId, WalSegmentName};
use crate::repository::BackupRecord;

/// A timeline's part of a path: from its first byte up to its end.
#[derive(Debug, Clone, Copy)]
struct Part {
    timeline: u32,
    begin: u64,
    end: u64,
}

/// A path, newest timeline first, from the lines of its history file.
pub(super) struct Path(Vec<Part>);

impl Path {
    pub(super) fn of(timeline: u32, lines: &[(u32, u64)]) -> Self {
        let mut parts = Vec::new();
        let mut begin = 0;
        for (parent, at) in lines {
            parts.push(Part { timeline: *parent, begin, end: *at });
            begin = *at;
        }
        parts.push(Part { timeline, begin, end: u64::MAX });
        parts.reverse();
        Self(parts)
    }

    /// On which timeline a byte was written.
    fn owner(&self, byte: u64) -> Option<u32> {
        self.0.iter().find(|part| part.begin <= byte && byte < part.end).map(|part| part.timeline)
    }

    /// Whether anything of a timeline is on the path: one that was left before it began is not.
    fn has(&self, part: &Part) -> bool {
        self.owner(part.begin) == Some(part.timeline)
    }

    pub(super) fn leads_through(&self, record: &BackupRecord) -> bool {
        let owns = |lsn: u64, timeline: TimelineId| self.owner(lsn) == Some(timeline.get());
        owns(record.start_lsn.get(), record.start_timeline) && owns(record.stop_lsn.get() - 1, record.stop_timeline)
    }

    /// The files any of which has all of a segment up to that byte.
    pub(super) fn whole_up_to(&self, byte: u64) -> BTreeSet<WalSegmentName> {
        let number = byte / SIZE;
        let owner = self.owner(byte).into_iter();
        // Timelines that begin behind the byte, in its segment, have a copy of it.
        let copies = self.0.iter().filter(|part| part.begin / SIZE == number && part.begin > byte && self.has(part));
        owner.chain(copies.map(|part| part.timeline)).map(|timeline| segment(timeline, number)).collect()
    }

    /// The files that a recovery from `start` to any target up to `end` may read.
    pub(super) fn files(&self, start: Lsn, end: u64) -> BTreeSet<WalSegmentName> {
        let mut files = BTreeSet::new();
        for number in start.get() / SIZE..=end / SIZE {
            // Every byte at which anything can change, and some between.
            let first = (number * SIZE).max(start.get());
            let edges = self.0.iter().flat_map(|part| [part.begin, part.end.saturating_sub(1)]);
            let within = [first, number * SIZE + SIZE / 3, number * SIZE + SIZE - 1];
            let bytes = edges.chain(within).filter(|byte| *byte >= first && byte / SIZE == number);
            for byte in bytes {
                if let Some(owner) = self.owner(byte) {
                    files.insert(segment(owner, number));
                }
            }
            // A timeline that begins in the segment has a copy of what its parents wrote there.
            for part in self.0.iter().filter(|part| part.begin / SIZE == number && self.has(part)) {
                files.insert(segment(part.timeline, number));
            }
        }
        files
    }
}
