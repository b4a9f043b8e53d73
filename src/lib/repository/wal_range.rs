//! What is archived of a timeline, as ranges without holes.

use crate::pg::{TimelineId, WalSegmentName, WalSegmentSize};

/// Segments of one timeline without a hole between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalRange {
    /// The timeline.
    pub timeline: TimelineId,
    /// The first segment.
    pub first: WalSegmentName,
    /// The last segment.
    pub last: WalSegmentName,
    /// How many there are.
    pub count: u64,
}

impl WalRange {
    /// Adds the next segment of a timeline to the ranges of those before it.
    pub(crate) fn extend(ranges: &mut Vec<Self>, segment: WalSegmentName, size: WalSegmentSize) {
        match ranges.last_mut() {
            Some(range) if range.last.next(size) == Some(segment) => {
                range.last = segment;
                range.count += 1;
            }
            _ => ranges.push(Self { timeline: segment.timeline(), first: segment, last: segment, count: 1 }),
        }
    }
}
