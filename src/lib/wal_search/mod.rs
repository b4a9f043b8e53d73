//! Searching the log itself: where recovery to a target stops, and which transactions ended when.
//!
//! The WAL along a path of timelines is cut into runs of segments, which several threads read side by side, digests and
//! CRCs checked on the way. Each thread keeps of its run only what the [`Search`] wants; the findings are merged in the
//! order of the log, and the runs are joined, so that nothing between them goes unread.

mod around;
mod commits;
mod drops;
mod error;
mod invalidated;
mod late;
mod on_the_way;
mod point;
mod scan;
mod source;
mod stop;

use crate::pg::{Lsn, WalRecord};

pub use around::{AroundSearch, ListedCommit};
pub use commits::CommitCount;
pub use drops::{DropSearch, RelationFiles, Removal, RemovedThing};
pub use error::WalSearchError;
pub use late::{FartherWal, LateCommits};
pub use on_the_way::{CreatedTablespace, OnTheWay};
pub use point::{Ending, EndingKind, RecordSpan, RestorePoint};
pub use scan::{Found, WalSearch};
pub use source::{ArchivedSegments, SegmentSink, SegmentStanding, WalSource};
pub use stop::{ClockStep, NearestTransactions, Stop, StopRecord, StopSearch, StopSide};
pub(crate) use stop::{compared_xid, keep_most_alike};

/// What is looked for in the log.
///
/// INVARIANT: of records cut into parts, each seen by a search of its own, the searches merged in order know what one
/// search that saw all of them knows.
pub trait Search: Send {
    /// Takes the next record.
    fn see(&mut self, record: &WalRecord);

    /// Takes what a search of the records that follow found.
    fn merge(&mut self, later: Self);

    /// Whether later records change nothing any more.
    fn is_decided(&self) -> bool;

    /// Where the record ends that was looked for, once it is found: what cannot be read from there on does not matter.
    fn found_to(&self) -> Option<Lsn> {
        None
    }
}
