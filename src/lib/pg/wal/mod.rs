//! Reading the write-ahead log itself: pages, records and what the records say that matter to a recovery.
//!
//! Pure: bytes in, records out. [`WalReader`] is fed the bytes of consecutive segments in pieces of any size and hands
//! every record whose CRC is right to a closure; [`WalRun`] says what was read and why it ended, and joins the
//! runs of readers that worked side by side. INVARIANT: what is kept of a record is bounded, whatever its length; no
//! byte sequence makes a reader panic.
//!
//! COMPAT: 13 to 18, little-endian with 8-byte alignment. The rules are those of
//! `src/backend/access/transam/xlogreader.c`.

mod content;
mod content_decoder;
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
pub use fault::WalFault;
pub use page::WalFormat;
pub use page_scan::WalPageScan;
pub use reader::{WalProgress, WalReader, WalStart};
pub use record::WalRecord;
pub use run::{WalEnding, WalJoinError, WalRun, WalSpan};

#[cfg(test)]
mod made;
#[cfg(test)]
mod tests;
