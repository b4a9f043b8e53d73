//! The header of a WAL record: `XLogRecord` (`src/include/access/xlogrecord.h`), and what a reader hands out.

use super::content::WalContent;
use super::fault::WalFault;
use crate::pg::little_endian::{u8_at, u32_at, u64_at};
use crate::pg::{Lsn, PgMajorVersion, TimelineId};

/// `SizeOfXLogRecord`.
pub(super) const HEADER_BYTES: usize = 24;
/// How much of the header its own CRC covers.
const CRC_OFFSET: usize = 20;
/// LIMIT: `MaxAllocSize`, which no record exceeds (`XLogRecordMaxSize` of 16 and later is a little less).
const RECORD_BYTES_MAX: u32 = 0x3FFF_FFFF;
/// `RM_MAX_ID` of the built-in resource managers, in all of 13 to 18.
const RESOURCE_MANAGER_MAX: u8 = 21;
/// `RM_MIN_CUSTOM_ID`. COMPAT: from 15 on extensions may have resource managers.
const RESOURCE_MANAGER_CUSTOM_MIN: u8 = 128;
/// The server's bits of `xl_info`; the resource manager's are the others.
const INFO_OF_SERVER: u8 = 0x0F;

pub(super) const RM_XLOG: u8 = 0;
pub(super) const RM_TRANSACTION: u8 = 1;
pub(super) const RM_DATABASE: u8 = 4;
pub(super) const RM_TABLESPACE: u8 = 5;

/// `XLOG_SWITCH`.
const XLOG_SWITCH: u8 = 0x40;

/// A complete record whose CRC is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalRecord {
    /// Where it begins: the position that `recovery_target_lsn` is compared with.
    pub lsn: Lsn,
    /// Where it ends, rounded up as PostgreSQL does: what `pg_last_wal_replay_lsn()` shows after it. The end of the
    /// segment for a switch.
    pub end_lsn: Lsn,
    /// Where the record before it begins; none for the first record of a cluster.
    pub previous_lsn: Option<Lsn>,
    /// The timeline that the path takes at `lsn`.
    pub timeline: TimelineId,
    /// `xl_xid`: the transaction or subtransaction that wrote it. A commit or abort of a prepared transaction has that
    /// one's in its content.
    pub xid: Option<u32>,
    /// `xl_tot_len`: bytes of the record without page headers and padding.
    pub total_bytes: u32,
    /// `xl_rmid`.
    pub resource_manager: u8,
    /// `xl_info`.
    pub info: u8,
    /// What it says, when that matters to a recovery.
    pub content: WalContent,
}

/// The header of a record, not yet proven by the CRC.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecordHeader {
    pub(super) total_bytes: u32,
    pub(super) xid: u32,
    pub(super) previous: u64,
    pub(super) info: u8,
    pub(super) resource_manager: u8,
    crc: u32,
    bytes: [u8; HEADER_BYTES],
}

/// The length in the first four bytes of a record, when a record can have it.
pub(super) fn checked_length(found: u32, record: Lsn) -> Result<u32, WalFault> {
    match found {
        0 => Err(WalFault::Zeros { record }),
        24..=RECORD_BYTES_MAX => Ok(found),
        _ => Err(WalFault::RecordLength { record, found }),
    }
}

impl RecordHeader {
    pub(super) fn decode(bytes: &[u8; HEADER_BYTES]) -> Self {
        // No read is out of bounds.
        Self {
            total_bytes: u32_at(bytes, 0).unwrap_or(0),
            xid: u32_at(bytes, 4).unwrap_or(0),
            previous: u64_at(bytes, 8).unwrap_or(0),
            info: u8_at(bytes, 16).unwrap_or(0),
            resource_manager: u8_at(bytes, 17).unwrap_or(0),
            crc: u32_at(bytes, CRC_OFFSET).unwrap_or(0),
            bytes: *bytes,
        }
    }

    /// The checks of `ValidXLogRecordHeader`; `expected` is the record before it when that was read.
    pub(super) fn check(&self, record: Lsn, expected: Option<Lsn>, major: PgMajorVersion) -> Result<(), WalFault> {
        checked_length(self.total_bytes, record)?;
        let is_known = self.resource_manager <= RESOURCE_MANAGER_MAX
            || (self.resource_manager >= RESOURCE_MANAGER_CUSTOM_MIN && major.get() >= 15);
        if !is_known {
            return Err(WalFault::ResourceManager { record, found: self.resource_manager });
        }
        let is_linked = match expected {
            Some(expected) => self.previous == expected.get(),
            None => self.previous < record.get(),
        };
        if is_linked { Ok(()) } else { Err(WalFault::PreviousLink { record, found: self.previous, expected }) }
    }

    /// Whether the CRC is that of the record; `rest` is the CRC of all that follows the header.
    pub(super) fn check_crc(&self, record: Lsn, rest: u32) -> Result<(), WalFault> {
        let covered = self.bytes.get(..CRC_OFFSET).unwrap_or_default();
        let (found, expected) = (crc32c::crc32c_append(rest, covered), self.crc);
        if found == expected { Ok(()) } else { Err(WalFault::Crc { record, found, expected }) }
    }

    /// The resource manager's bits of `xl_info`.
    pub(super) const fn operation(&self) -> u8 {
        self.info & !INFO_OF_SERVER
    }

    /// Whether it is a switch record, after which the rest of the segment is not used.
    pub(super) const fn is_switch(&self) -> bool {
        self.resource_manager == RM_XLOG && self.operation() == XLOG_SWITCH
    }

    /// Bytes that follow the header.
    pub(super) const fn rest_bytes(&self) -> u32 {
        self.total_bytes.saturating_sub(24)
    }
}
