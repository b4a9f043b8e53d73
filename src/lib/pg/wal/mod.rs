//! Reading the write-ahead log itself: pages, records and what the records say that matter to a recovery.
//!
//! Pure: bytes in, records out. [`WalReader`] is fed the bytes of consecutive segments in pieces of any size and hands
//! every record whose CRC is right to a closure; [`WalRun`] says what was read and why it ended, and joins the
//! runs of readers that worked side by side. INVARIANT: what is kept of a record is bounded, whatever its length; no
//! byte sequence makes a reader panic.
//!
//! How to read a range of a path: decode the first segment's [`super::WalSegmentHeader`] and make a [`WalFormat`] of it;
//! take the files from [`super::TimelineHistory::segment_names`], in order; start at [`WalStart::Record`] (a backup's start)
//! or [`WalStart::Segment`]; feed until there is no more or [`WalProgress::Done`]; look at [`WalRun::ending`].
//!
//! How to read with several readers: cut the range at segment boundaries; each reader gets the same path, its first
//! segment as start and the next reader's as `until`, and is fed beyond that while it wants [`WalProgress::More`], so a record
//! that crosses the boundary is checked by the reader of its beginning; the other one passes its end over. Then
//! [`WalRun::join`] the runs in order: it checks that each begins where the one before ended, and the link between them.
//!
//! A reader checks every byte of a record and every page header; not the padding between records, nor what follows a
//! switch record in its segment, which PostgreSQL never reads.
//!
//! COMPAT: 13 to 18, little-endian with 8-byte alignment. The rules are those of
//! `src/backend/access/transam/xlogreader.c`.

mod content;
mod content_decoder;
mod extent;
mod fault;
mod page;
mod page_scan;
mod reader;
mod record;
mod run;
mod transaction;

pub use content::{
    Checkpoint, CheckpointKind, CreatedDatabase, DroppedRelation, ParameterChange, RestorePointRecord, TimelineStart,
    TransactionEnd, WalContent,
};
pub use extent::{ExtentSink, WalExtent, WalExtentEnding};
pub use fault::WalFault;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use fuzzing::wal as fuzz_wal;
pub use page::WalFormat;
pub use page_scan::WalPageScan;
pub use reader::{WalProgress, WalReader, WalStart};
pub use record::WalRecord;
pub use run::{WalEnding, WalJoinError, WalRun, WalSpan};

#[cfg(any(test, feature = "fuzzing"))]
mod fuzzing;
#[cfg(any(test, feature = "fuzzing"))]
#[cfg_attr(not(test), allow(dead_code))]
pub(super) mod made;
#[cfg(test)]
mod tests;
