//! Where segments are read from.

use std::ops::ControlFlow;

use super::WalSearchError;
use crate::pg::{SegmentCandidates, WalFileName, WalSegmentName};
use crate::repository::{SinkError, WalArchive};

/// Takes the bytes of a segment, until it breaks.
pub type SegmentSink<'a> = dyn FnMut(&[u8]) -> ControlFlow<()> + 'a;

/// Gives the bytes of segments, to several threads at once.
pub trait WalSource: Sync {
    /// Hands the bytes of the first of these segments that is there to `sink`, in order, until it breaks. Says which
    /// one it was; `None` when none of them is there.
    ///
    /// What was handed over counts only when this returns without error, and, after a break, not as checked.
    fn read(
        &self,
        candidates: &SegmentCandidates,
        sink: &mut SegmentSink<'_>,
    ) -> Result<Option<WalSegmentName>, WalSearchError>;

    /// What a fault in that segment means.
    fn standing(&self, segment: &WalSegmentName) -> SegmentStanding;
}

/// What is known of a segment besides its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentStanding {
    /// It was archived as complete: whatever is wrong with it is damage.
    Archived,
    /// A server left it, and a later one: it is complete, too.
    Left,
    /// It is the last one that a server left: the log may end in it.
    LastLeft,
}

/// The segments of an archive, each checked against its digest.
pub struct ArchivedSegments<'a>(pub WalArchive<'a>);

/// The sink has enough.
struct Enough;

impl WalSource for ArchivedSegments<'_> {
    fn read(
        &self,
        candidates: &SegmentCandidates,
        sink: &mut SegmentSink<'_>,
    ) -> Result<Option<WalSegmentName>, WalSearchError> {
        for name in &candidates.names {
            let Some(reader) = self.0.open(&WalFileName::Segment(*name))? else { continue };
            let read = reader.read_as_stored(&mut |bytes| match sink(bytes) {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(()) => Err(Enough),
            });
            return match read {
                Ok(()) | Err(SinkError::Sink(Enough)) => Ok(Some(*name)),
                Err(SinkError::Repository(error)) => Err(error.into()),
            };
        }
        Ok(None)
    }

    fn standing(&self, _: &WalSegmentName) -> SegmentStanding {
        SegmentStanding::Archived
    }
}
