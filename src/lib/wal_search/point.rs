//! Points in the log that recovery can stop at, as people and scripts are shown them.

use jiff::Timestamp;
use serde::Serialize;

use crate::pg::{Lsn, TimelineId, TransactionEnd, WalContent, WalRecord};

/// A record's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RecordSpan {
    /// Where it begins: what `recovery_target_lsn` is compared with.
    pub lsn: Lsn,
    /// Where it ends: what `pg_last_wal_replay_lsn()` shows once it is replayed.
    pub end_lsn: Lsn,
}

impl RecordSpan {
    /// The place of that record.
    pub fn of(record: &WalRecord) -> Self {
        Self { lsn: record.lsn, end_lsn: record.end_lsn }
    }
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EndingKind {
    /// It committed.
    Commit,
    /// It was rolled back.
    Abort,
}

/// The end of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ending {
    /// Commit or abort.
    pub kind: EndingKind,
    /// Where its record lies.
    #[serde(flatten)]
    pub span: RecordSpan,
    /// On which timeline.
    pub timeline: TimelineId,
    /// The transaction, as `recovery_target_xid` compares it; none of a commit without a number.
    pub xid: Option<u32>,
    /// When, by the server's clock.
    pub time: Timestamp,
    /// Whether it had been prepared.
    pub prepared: bool,
    /// How many relation files were removed with it.
    pub removed_files: u32,
}

impl Ending {
    /// The end of a transaction that a record is, if it is one.
    pub fn of(record: &WalRecord) -> Option<Self> {
        let (kind, end): (EndingKind, &TransactionEnd) = match &record.content {
            WalContent::Commit(end) => (EndingKind::Commit, end),
            WalContent::Abort(end) => (EndingKind::Abort, end),
            _ => return None,
        };
        Some(Self {
            kind,
            span: RecordSpan::of(record),
            timeline: record.timeline,
            xid: end.xid,
            time: end.time,
            prepared: end.prepared,
            removed_files: end.dropped_count,
        })
    }
}

/// A restore point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestorePoint {
    /// Its name; bytes that are not UTF-8 are shown as U+FFFD.
    pub name: String,
    /// Where its record lies.
    #[serde(flatten)]
    pub span: RecordSpan,
    /// On which timeline.
    pub timeline: TimelineId,
    /// When, by the server's clock.
    pub time: Timestamp,
}

impl RestorePoint {
    /// The restore point that a record is, if it is one.
    pub fn of(record: &WalRecord) -> Option<Self> {
        let WalContent::RestorePoint(point) = &record.content else { return None };
        Some(Self {
            name: String::from_utf8_lossy(&point.name).into_owned(),
            span: RecordSpan::of(record),
            timeline: record.timeline,
            time: point.time,
        })
    }
}
