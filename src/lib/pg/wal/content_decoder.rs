//! From the bytes of a record to what it says: the few kinds that matter, of four resource managers.
//!
//! COMPAT: the header in front of the data is that of `DecodeXLogRecord` (`src/backend/access/transam/xlogreader.c`);
//! the records read here never refer to data blocks. Operations are those of `src/include/catalog/pg_control.h`,
//! `access/xact.h`, `commands/tablespace.h` and `commands/dbcommands_xlog.h`, the last of which 15 numbered anew.

use super::content::{
    Checkpoint, CheckpointKind, CreatedDatabase, ParameterChange, RestorePointRecord, TimelineStart, WalContent,
    time_of, time_of_seconds,
};
use super::record::{RM_DATABASE, RM_TABLESPACE, RM_TRANSACTION, RM_XLOG, RecordHeader};
use super::transaction::TransactionScan;
use crate::pg::little_endian::{i64_at, u8_at, u32_at, u64_at};
use crate::pg::{Lsn, PgMajorVersion, TimelineId, WalLevel};

/// LIMIT: how much is kept of a record that is not a commit or abort; the longest field is a path of 1024 bytes.
const KEPT_BYTES_MAX: usize = 4096;

/// `XLR_BLOCK_ID_DATA_SHORT` and its kin.
const SHORT_DATA: u8 = 255;
const LONG_DATA: u8 = 254;
const ORIGIN: u8 = 253;
/// COMPAT: from 14 on.
const TOP_LEVEL_XID: u8 = 252;

/// A kind of record whose content is of interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Checkpoint(CheckpointKind),
    CheckpointRedo,
    Switch,
    BackupEnd,
    ParameterChange,
    RestorePoint,
    FullPageWrites,
    EndOfRecovery,
    OverwrittenRecord,
    Commit,
    Abort,
    CreateTablespace,
    DropTablespace,
    CopyDatabase,
    LogDatabase,
    DropDatabase,
}

impl Kind {
    fn of(header: &RecordHeader, major: PgMajorVersion) -> Option<Self> {
        Some(match (header.resource_manager, header.operation()) {
            (RM_XLOG, 0x00) => Self::Checkpoint(CheckpointKind::Shutdown),
            (RM_XLOG, 0x10) => Self::Checkpoint(CheckpointKind::Online),
            (RM_XLOG, 0x40) => Self::Switch,
            (RM_XLOG, 0x50) => Self::BackupEnd,
            (RM_XLOG, 0x60) => Self::ParameterChange,
            (RM_XLOG, 0x70) => Self::RestorePoint,
            (RM_XLOG, 0x80) => Self::FullPageWrites,
            (RM_XLOG, 0x90) => Self::EndOfRecovery,
            (RM_XLOG, 0xD0) => Self::OverwrittenRecord,
            (RM_XLOG, 0xE0) if major.get() >= 17 => Self::CheckpointRedo,
            (RM_TRANSACTION, _) => match header.info & 0x70 {
                0x00 | 0x30 => Self::Commit,
                0x20 | 0x40 => Self::Abort,
                _ => return None,
            },
            (RM_TABLESPACE, 0x00) => Self::CreateTablespace,
            (RM_TABLESPACE, 0x10) => Self::DropTablespace,
            (RM_DATABASE, 0x00) => Self::CopyDatabase,
            (RM_DATABASE, 0x10) if major.get() >= 15 => Self::LogDatabase,
            (RM_DATABASE, 0x10) => Self::DropDatabase,
            (RM_DATABASE, 0x20) if major.get() >= 15 => Self::DropDatabase,
            _ => return None,
        })
    }
}

/// Where in the header of the data the decoder is.
#[derive(Debug, Clone, Copy)]
enum Lead {
    Id,
    Number { is_length: bool, left: u32, shift: u32, value: u32 },
    Data { length: u32 },
    Invalid,
}

/// What is done with the data.
#[derive(Debug, Clone)]
enum Data {
    Keep(Vec<u8>),
    Transaction(TransactionScan),
}

/// A record of interest whose bytes come in pieces.
#[derive(Debug, Clone)]
pub(super) struct ContentDecoder {
    kind: Kind,
    major: PgMajorVersion,
    lead: Lead,
    data: Data,
    data_bytes: u64,
}

impl ContentDecoder {
    /// For records of interest; none for all others.
    pub(super) fn of(header: &RecordHeader, major: PgMajorVersion) -> Option<Self> {
        let kind = Kind::of(header, major)?;
        let prepared = matches!(header.info & 0x70, 0x30 | 0x40);
        let data = match kind {
            Kind::Commit | Kind::Abort => {
                Data::Transaction(TransactionScan::new(header.info, header.xid, prepared, major))
            }
            _ => Data::Keep(Vec::new()),
        };
        Some(Self { kind, major, lead: Lead::Id, data, data_bytes: 0 })
    }

    /// Takes the next of the bytes that follow the record's header.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while !matches!(self.lead, Lead::Data { .. }) {
            let Some((byte, rest)) = bytes.split_first() else { return };
            bytes = rest;
            self.lead = self.lead.with(*byte, self.major);
        }
        self.data_bytes += bytes.len() as u64;
        match &mut self.data {
            Data::Transaction(scan) => scan.feed(bytes),
            Data::Keep(kept) => {
                let room = KEPT_BYTES_MAX.saturating_sub(kept.len()).min(bytes.len());
                kept.extend_from_slice(bytes.get(..room).unwrap_or_default());
            }
        }
    }

    /// What the record says; none when it is not laid out as it should be.
    pub(super) fn finish(self) -> Option<WalContent> {
        let length = match self.lead {
            Lead::Data { length } => u64::from(length),
            // A record without any data: a switch.
            Lead::Id => 0,
            Lead::Number { .. } | Lead::Invalid => return None,
        };
        if length != self.data_bytes {
            return None;
        }
        let kept = match self.data {
            Data::Keep(kept) => kept,
            Data::Transaction(scan) if self.kind == Kind::Commit => return scan.finish().map(WalContent::Commit),
            Data::Transaction(scan) => return scan.finish().map(WalContent::Abort),
        };
        match self.kind {
            Kind::CreateTablespace | Kind::DropTablespace => decode_tablespace(self.kind, &kept),
            Kind::CopyDatabase | Kind::LogDatabase | Kind::DropDatabase => decode_database(self.kind, &kept),
            _ => decode_log(self.kind, &kept),
        }
    }
}

impl Lead {
    /// After the next byte.
    const fn with(self, byte: u8, major: PgMajorVersion) -> Self {
        match self {
            Self::Id => match byte {
                SHORT_DATA => Self::Number { is_length: true, left: 1, shift: 0, value: 0 },
                LONG_DATA => Self::Number { is_length: true, left: 4, shift: 0, value: 0 },
                ORIGIN => Self::Number { is_length: false, left: 2, shift: 0, value: 0 },
                TOP_LEVEL_XID if major.get() >= 14 => Self::Number { is_length: false, left: 4, shift: 0, value: 0 },
                _ => Self::Invalid,
            },
            Self::Number { is_length, left, shift, value } => {
                let value = value | ((byte as u32) << shift);
                match (left, is_length) {
                    (1, true) => Self::Data { length: value },
                    (1, false) => Self::Id,
                    _ => Self::Number { is_length, left: left - 1, shift: shift + 8, value },
                }
            }
            Self::Data { .. } | Self::Invalid => Self::Invalid,
        }
    }
}

fn timeline_at(data: &[u8], offset: usize) -> Option<TimelineId> {
    TimelineId::new(u32_at(data, offset)?)
}

/// Text that a zero byte ends.
fn text_at(data: &[u8], offset: usize) -> Option<Box<[u8]>> {
    let text = data.get(offset..)?;
    let end = text.iter().position(|byte| *byte == 0)?;
    text.get(..end).map(Box::from)
}

fn decode_log(kind: Kind, data: &[u8]) -> Option<WalContent> {
    Some(match kind {
        Kind::Checkpoint(kind) => WalContent::Checkpoint(Checkpoint {
            kind,
            redo_lsn: Lsn::new(u64_at(data, 0)?),
            timeline: timeline_at(data, 8)?,
            previous_timeline: timeline_at(data, 12)?,
            next_xid: u64_at(data, 24)?,
            time: time_of_seconds(i64_at(data, 64)?),
        }),
        Kind::CheckpointRedo => WalContent::CheckpointRedo,
        Kind::Switch => WalContent::Switch,
        Kind::BackupEnd => WalContent::BackupEnd { start_lsn: Lsn::new(u64_at(data, 0)?) },
        Kind::ParameterChange => WalContent::ParameterChange(ParameterChange {
            max_connections: u32_at(data, 0)?,
            max_worker_processes: u32_at(data, 4)?,
            max_wal_senders: u32_at(data, 8)?,
            max_prepared_xacts: u32_at(data, 12)?,
            max_locks_per_xact: u32_at(data, 16)?,
            wal_level: WalLevel::from_number(u32_at(data, 20)?)?,
            wal_log_hints: u8_at(data, 24)? != 0,
            track_commit_timestamp: u8_at(data, 25)? != 0,
        }),
        Kind::RestorePoint => {
            WalContent::RestorePoint(RestorePointRecord { name: text_at(data, 8)?, time: time_of(i64_at(data, 0)?) })
        }
        Kind::FullPageWrites => WalContent::FullPageWrites(u8_at(data, 0)? != 0),
        Kind::EndOfRecovery => WalContent::EndOfRecovery(TimelineStart {
            time: time_of(i64_at(data, 0)?),
            timeline: timeline_at(data, 8)?,
            previous_timeline: timeline_at(data, 12)?,
        }),
        Kind::OverwrittenRecord => WalContent::OverwrittenRecord { lsn: Lsn::new(u64_at(data, 0)?) },
        _ => return None,
    })
}

fn decode_tablespace(kind: Kind, data: &[u8]) -> Option<WalContent> {
    let oid = u32_at(data, 0)?;
    Some(match kind {
        Kind::CreateTablespace => WalContent::CreateTablespace { oid, path: text_at(data, 4)? },
        _ => WalContent::DropTablespace { oid },
    })
}

fn decode_database(kind: Kind, data: &[u8]) -> Option<WalContent> {
    let oid = u32_at(data, 0)?;
    Some(match kind {
        Kind::DropDatabase => {
            let count = usize::try_from(u32_at(data, 4)?).unwrap_or(usize::MAX);
            let tablespaces: Vec<u32> =
                data.get(8..)?.chunks_exact(4).take(count).filter_map(|oid| u32_at(oid, 0)).collect();
            if tablespaces.len() < count && data.len() < KEPT_BYTES_MAX {
                return None;
            }
            WalContent::DropDatabase { oid, tablespaces }
        }
        _ => {
            let copied_from = match kind {
                Kind::CopyDatabase => Some((u32_at(data, 8)?, u32_at(data, 12)?)),
                _ => None,
            };
            WalContent::CreateDatabase(CreatedDatabase { oid, tablespace_oid: u32_at(data, 4)?, copied_from })
        }
    })
}
