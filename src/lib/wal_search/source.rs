//! Where segments are read from.

use std::ops::ControlFlow;

use jiff::Timestamp;

use super::WalSearchError;
use crate::pg::{SegmentCandidates, WalFileName, WalSegmentName};
use crate::repository::{SinkError, WalArchive};

/// Takes the bytes of a segment, until it breaks.
pub type SegmentSink<'a> = dyn FnMut(&[u8]) -> ControlFlow<()> + 'a;

/// Gives the bytes of segments, to several threads at once.
pub trait WalSource: Sync {
    /// Hands the bytes of a segment to `sink`, in order, until it breaks. `false` when it is not there.
    ///
    /// What was handed over counts only when this returns without error, and, after a break, not as checked.
    fn read(&self, name: &WalSegmentName, sink: &mut SegmentSink<'_>) -> Result<bool, WalSearchError>;

    /// Does so with the first of these segments that is there, and says which one it was.
    fn read_any(
        &self,
        candidates: &SegmentCandidates,
        sink: &mut SegmentSink<'_>,
    ) -> Result<Option<WalSegmentName>, WalSearchError> {
        for name in &candidates.names {
            if self.read(name, sink)? {
                return Ok(Some(*name));
            }
        }
        Ok(None)
    }

    /// What a fault in that segment means.
    fn standing(&self, segment: &WalSegmentName) -> SegmentStanding;

    /// When it was archived: no record in it is later. `None` when it was not, or nobody knows.
    fn archived_at(&self, segment: &WalSegmentName) -> Result<Option<Timestamp>, WalSearchError>;
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

impl ArchivedSegments<'_> {
    /// Hands the bytes of a file to `sink`, as [`WalSource::read`] does those of a segment.
    pub(crate) fn read_file(&self, name: &WalFileName, sink: &mut SegmentSink<'_>) -> Result<bool, WalSearchError> {
        let Some(reader) = self.0.open(name)? else { return Ok(false) };
        let read = reader.read_as_stored(&mut |bytes| match sink(bytes) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Enough),
        });
        match read {
            Ok(()) | Err(SinkError::Sink(Enough)) => Ok(true),
            Err(SinkError::Repository(error)) => Err(error.into()),
        }
    }
}

impl WalSource for ArchivedSegments<'_> {
    fn read(&self, name: &WalSegmentName, sink: &mut SegmentSink<'_>) -> Result<bool, WalSearchError> {
        self.read_file(&WalFileName::Segment(*name), sink)
    }

    fn standing(&self, _: &WalSegmentName) -> SegmentStanding {
        SegmentStanding::Archived
    }

    fn archived_at(&self, segment: &WalSegmentName) -> Result<Option<Timestamp>, WalSearchError> {
        Ok(self.0.look_up(&WalFileName::Segment(*segment))?.map(|archived| archived.created))
    }
}
