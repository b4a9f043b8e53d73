//! The old pg_wal: WAL that a data directory still has and the archive lacks (`--wal-from`).
//!
//! A server that died had acknowledged commits whose segment was not archived yet. Such segments are read, checked and
//! counted like archived ones; what recovery needs of them is copied into the restored pg_wal, from where PostgreSQL
//! takes a segment that restore_command does not have (`XLogFileReadAnyTLI` in
//! `src/backend/access/transam/xlogrecovery.c`: archive first, then pg_wal, newest timeline first).
//!
//! INVARIANT: of a name that the archive has, the archive's segment counts, whatever the folder holds, as in recovery.
//! INVARIANT: no byte reaches the restored pg_wal or the archive whose CRCs were not checked in this run: the digest of
//! what was read is compared with that of what is copied.
//! INVARIANT: the archive gets complete segments alone: those behind whose last byte the log goes on. The last one, in
//! which the log ends, is complete for nobody: it has its full name in the restored pg_wal, where recovery looks for
//! it, and none in the archive. (A copy that archives stores it as `.partial` itself when it opens:
//! `CleanupAfterArchiveRecovery` in `src/backend/access/transam/xlog.c`.)

mod beside;
mod copy;
mod error;
mod folder;
mod gain;
mod left_out;
mod moved;
mod owner;
mod partials;
mod source;
mod unarchived;
mod unread;

pub use error::OldWalError;
pub use gain::{OldSegment, OldWalUse};
pub use unarchived::{unarchived_commits, warn_of_unarchived};

pub(super) use copy::{OldWalCopy, room_warning};
pub(super) use folder::OldWal;
pub(super) use gain::{Gain, Reach, find_use};
pub(super) use moved::last_moved_aside;
pub(super) use source::CombinedSegments;
pub(super) use unarchived::{Unarchived, check_unarchived};

/// The folder of WAL in a data directory.
const PG_WAL: &str = "pg_wal";
