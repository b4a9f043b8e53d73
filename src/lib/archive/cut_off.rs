//! A segment that ends where its timeline was left, handed over under its full name.
//!
//! With `archive_mode = always` a standby whose upstream is promoted marks the last segment of the old timeline as ready
//! however little of it was received (`WalReceiverMain`), while another server may still fill it. Stored under its name,
//! it would hold up that server for ever. It is stored as the partial one that it is, as a promoted server does it
//! (`CleanupAfterArchiveRecovery`), unless the copy with which the next timeline begins is stored, or it holds nothing.
//!
//! INVARIANT: what it holds is in the archive before anybody is told that it is. Whatever is not known to be cut off is
//! stored under its name.

use super::histories::Histories;
use super::source::Source;
use crate::fs::FileError;
use crate::pg::{Lsn, TimelineId, WalExtent, WalExtentEnding, WalFileName, WalSegmentName};
use crate::repository::{RepositoryError, WalArchive};

/// Where the timeline of such a segment was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CutOff {
    segment: WalSegmentName,
    descendant: TimelineId,
    switch_lsn: Lsn,
    /// Whether no record of the log ends in it.
    is_empty: bool,
}

/// What becomes of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CutOffFate {
    /// It holds nothing.
    Empty,
    /// All of it is in the archive.
    Copied,
    /// It is stored as a partial one.
    Partial,
}

impl CutOff {
    /// Looks whether a segment is one, when its last page is none of it.
    pub(super) fn find(source: &Source, histories: &Histories<'_>) -> Result<Option<Self>, FileError> {
        let WalFileName::Segment(segment) = source.name else { return Ok(None) };
        let Some(extent) = source.extent_unless_full()? else { return Ok(None) };
        let size = histories.identity.wal_segment_size;
        let (Some(start), Some(end)) = (segment.start_lsn(size), segment.end_lsn(size)) else { return Ok(None) };
        let Some(log_end) = log_end(extent, start) else { return Ok(None) };
        let left = histories.known_after(segment.timeline()).into_iter().find_map(|history| {
            let switch_lsn = history.end_of(segment.timeline())?;
            let is_copied = log_end.is_none_or(|log_end| log_end <= switch_lsn);
            (switch_lsn <= end && is_copied).then_some((history.timeline(), switch_lsn))
        });
        let is_empty = log_end.is_none();
        Ok(left.map(|(descendant, switch_lsn)| Self { segment, descendant, switch_lsn, is_empty }))
    }

    /// The first segment of the timeline that left its own there, which begins with a copy of it.
    fn copy(&self) -> WalFileName {
        WalFileName::Segment(self.segment.with_timeline(self.descendant))
    }

    /// What is to be done with it.
    pub(super) fn fate(&self, archive: &WalArchive<'_>) -> Result<CutOffFate, RepositoryError> {
        Ok(match self.is_empty {
            true => CutOffFate::Empty,
            false if archive.has(&self.copy())? => CutOffFate::Copied,
            false => CutOffFate::Partial,
        })
    }

    /// As what it is stored.
    pub(super) fn partial(&self) -> WalFileName {
        WalFileName::Partial(self.segment)
    }

    /// What a person should know.
    pub(super) fn warning(&self, fate: CutOffFate) -> String {
        let Self { segment, descendant, switch_lsn, .. } = self;
        let done = match fate {
            CutOffFate::Empty => "was not stored: no record of the log ends in it".to_owned(),
            CutOffFate::Copied => format!("was not stored: all that it holds is in \"{}\"", self.copy()),
            CutOffFate::Partial => format!("is stored as \"{}\"", self.partial()),
        };
        format!(
            "\"{segment}\" {done}; it ends early, where timeline {descendant} left timeline {} at {switch_lsn}",
            segment.timeline()
        )
    }
}

/// Where the log in a segment ends that ends early, if any of it is in there at all; `None` for any other.
fn log_end(extent: WalExtent, start: Lsn) -> Option<Option<Lsn>> {
    match extent {
        WalExtent { ending: WalExtentEnding::Early, log_bytes: 0 } => Some(None),
        WalExtent { ending: WalExtentEnding::Early, log_bytes } => Some(Some(start.checked_add(log_bytes)?)),
        _ => None,
    }
}
