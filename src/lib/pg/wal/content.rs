//! What records say that matters to a recovery; everything else is [`WalContent::Other`].

use jiff::{SignedDuration, Timestamp};

use crate::pg::{Lsn, TimelineId};

/// The content of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WalContent {
    /// A transaction committed, also by `COMMIT PREPARED`. (`PREPARE TRANSACTION` itself ends nothing.)
    Commit(TransactionEnd),
    /// A transaction was rolled back, also by `ROLLBACK PREPARED`. Only those that wrote something have a record.
    Abort(TransactionEnd),
    /// `pg_create_restore_point()`.
    RestorePoint(RestorePointRecord),
    /// A checkpoint.
    Checkpoint(Checkpoint),
    /// Where a checkpoint's replay begins. COMPAT: from 17 on; before, nothing stands there.
    CheckpointRedo,
    /// The end of a recovery without a checkpoint: the first record of a timeline.
    EndOfRecovery(TimelineStart),
    /// `pg_switch_wal()`, or `archive_timeout`: the rest of the segment is not used.
    Switch,
    /// The end of a backup taken from a primary, by where it began.
    BackupEnd {
        /// Where the backup began: the position in its label.
        start_lsn: Option<Lsn>,
    },
    /// Settings that a recovering server must not set lower (contract A3.10) were changed.
    ParameterChange(ParameterChange),
    /// `full_page_writes` was switched on or off.
    FullPageWrites(bool),
    /// The record that began there was never finished: a crash fell in between.
    OverwrittenRecord {
        /// Where it began.
        lsn: Option<Lsn>,
    },
    /// `CREATE TABLESPACE`.
    CreateTablespace {
        /// Its OID.
        oid: u32,
        /// Its directory, in the server's encoding; replay creates the link to just this path (contract A3.12).
        path: Box<[u8]>,
    },
    /// `DROP TABLESPACE`.
    DropTablespace {
        /// Its OID.
        oid: u32,
    },
    /// `CREATE DATABASE`, or its move to another tablespace.
    CreateDatabase(CreatedDatabase),
    /// `DROP DATABASE`, or its move to another tablespace: the directory goes at replay of this record, before the
    /// commit that follows.
    DropDatabase {
        /// Its OID.
        oid: u32,
        /// The OIDs of the tablespaces in which its files are removed. LIMIT: the first thousand or so.
        tablespaces: Vec<u32>,
    },
    /// Nothing of the above.
    Other,
}

/// How a transaction ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionEnd {
    /// The transaction as `recovery_target_xid` compares it: for `COMMIT PREPARED` and `ROLLBACK PREPARED` the prepared
    /// one, else the record's own.
    pub xid: Option<u32>,
    /// Whether it had been prepared before.
    pub prepared: bool,
    /// By the server's clock, to the microsecond; what `recovery_target_time` is compared with. A time that is out of
    /// range becomes the nearest one.
    pub time: Timestamp,
    /// How many subtransactions ended with it.
    pub subtransactions: u32,
    /// Relation files that are removed with it: `DROP`, `TRUNCATE`, rewritten tables; for an abort, what it had created.
    /// LIMIT: the first [`TransactionEnd::DROPPED_MAX`].
    pub dropped: Vec<DroppedRelation>,
    /// How many there are in all.
    pub dropped_count: u32,
}

impl TransactionEnd {
    /// LIMIT: how many relation files are named.
    pub const DROPPED_MAX: usize = 4096;
}

/// A relation all of whose files are removed: `RelFileLocator`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DroppedRelation {
    /// OID of its tablespace.
    pub tablespace_oid: u32,
    /// OID of its database; none for a shared relation.
    pub database_oid: Option<u32>,
    /// Its file number, `pg_class.relfilenode`.
    pub file_number: u32,
}

/// A restore point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestorePointRecord {
    /// Its name, in the server's encoding.
    pub name: Box<[u8]>,
    /// When it was made, by the server's clock.
    pub time: Timestamp,
}

/// A checkpoint. Only what has the same place in all versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Of which kind.
    pub kind: CheckpointKind,
    /// Where replay from it begins.
    pub redo_lsn: Option<Lsn>,
    /// The timeline it was made on.
    pub timeline: TimelineId,
    /// The timeline before that, when this is the first record of one; else the same.
    pub previous_timeline: TimelineId,
    /// The next transaction, with its epoch in the upper half.
    pub next_xid: u64,
    /// When it began, by the server's clock, in whole seconds.
    pub time: Timestamp,
}

/// Kinds of checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CheckpointKind {
    /// While the server was open.
    Online,
    /// At the end of the server's run, or of its recovery.
    Shutdown,
}

/// The beginning of a timeline: `xl_end_of_recovery`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimelineStart {
    /// When, by the server's clock.
    pub time: Timestamp,
    /// The new timeline.
    pub timeline: TimelineId,
    /// The one that was left; the same after a crash recovery.
    pub previous_timeline: TimelineId,
}

/// Settings as of this record on: `xl_parameter_change`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParameterChange {
    /// `max_connections`.
    pub max_connections: u32,
    /// `max_worker_processes`.
    pub max_worker_processes: u32,
    /// `max_wal_senders`.
    pub max_wal_senders: u32,
    /// `max_prepared_transactions`.
    pub max_prepared_xacts: u32,
    /// `max_locks_per_transaction`.
    pub max_locks_per_xact: u32,
    /// `wal_level`: recovery cannot cross `minimal` (contract A3.11).
    pub wal_level: crate::pg::WalLevel,
    /// `wal_log_hints`.
    pub wal_log_hints: bool,
    /// `track_commit_timestamp`.
    pub track_commit_timestamp: bool,
}

/// A database that was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CreatedDatabase {
    /// Its OID.
    pub oid: u32,
    /// OID of the tablespace.
    pub tablespace_oid: u32,
    /// OIDs of the database and tablespace whose files replay copies; none when their content is in the WAL.
    /// COMPAT: always there in 13 and 14.
    pub copied_from: Option<(u32, u32)>,
}

/// From the Unix epoch to that of `TimestampTz`, 2000-01-01.
const POSTGRES_EPOCH_SECONDS: i64 = 946_684_800;

/// A `TimestampTz`, or the nearest time that can be told.
pub(super) fn time_of(microseconds: i64) -> Timestamp {
    let epoch = Timestamp::constant(POSTGRES_EPOCH_SECONDS, 0);
    let nearest = if microseconds < 0 { Timestamp::MIN } else { Timestamp::MAX };
    epoch.checked_add(SignedDuration::from_micros(microseconds)).unwrap_or(nearest)
}

/// A `pg_time_t`, or the nearest time that can be told.
pub(super) fn time_of_seconds(seconds: i64) -> Timestamp {
    let nearest = if seconds < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_second(seconds).unwrap_or(nearest)
}
