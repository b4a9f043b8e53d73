//! The headers of WAL pages: `XLogPageHeaderData` and `XLogLongPageHeaderData`
//! (`src/include/access/xlog_internal.h`), checked as `XLogReaderValidatePageHeader` does.

use super::fault::WalFault;
use crate::pg::little_endian::{u16_at, u32_at, u64_at};
use crate::pg::wal_header::magic_of;
use crate::pg::{Lsn, PgMajorVersion, SystemIdentifier, TimelineHistory, WalSegmentHeader, WalSegmentSize};

/// Bytes of the header of a page that does not begin a segment.
pub(super) const SHORT_HEADER_BYTES: usize = 24;
/// Bytes of the header of the first page of a segment.
pub(super) const LONG_HEADER_BYTES: usize = WalSegmentHeader::LENGTH;

/// `XLP_FIRST_IS_CONTRECORD`.
const CONTINUES_RECORD: u16 = 0x0001;
/// `XLP_LONG_HEADER`.
const LONG_HEADER: u16 = 0x0002;
/// `XLP_FIRST_IS_OVERWRITE_CONTRECORD`. COMPAT: minor versions of 13 and 14 from 13.5 and 14.1 on.
const OVERWRITES_RECORD: u16 = 0x0008;
/// `XLP_ALL_FLAGS`.
const KNOWN_FLAGS: u16 = 0x000F;

/// What is the same in all WAL of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalFormat {
    /// The server that writes it.
    pub major: PgMajorVersion,
    /// The cluster.
    pub system_identifier: SystemIdentifier,
    /// The size of its segments.
    pub segment_size: WalSegmentSize,
    /// `XLOG_BLCKSZ`: bytes of a page, a power of two.
    pub block_bytes: u32,
}

impl From<WalSegmentHeader> for WalFormat {
    /// The format of the WAL that a segment with this header is of.
    fn from(header: WalSegmentHeader) -> Self {
        let WalSegmentHeader { major, system_identifier, segment_size, block_bytes, .. } = header;
        Self { major, system_identifier, segment_size, block_bytes }
    }
}

/// What a page's header says of its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PageBeginning {
    /// A record begins.
    Record,
    /// A record that began before is continued: so much of it is missing.
    Continuation(u32),
    /// A record begins; the one that the page before was broken off in was never finished.
    Overwrite,
}

impl WalFormat {
    pub(super) fn block(&self) -> u64 {
        u64::from(self.block_bytes)
    }

    pub(super) fn segment(&self) -> u64 {
        self.segment_size.bytes()
    }

    /// Bytes of the header of the page that begins at `page`.
    pub(super) fn header_bytes(&self, page: u64) -> usize {
        if page.is_multiple_of(self.segment()) { LONG_HEADER_BYTES } else { SHORT_HEADER_BYTES }
    }

    /// Where the record after one that ended at `end` (aligned) begins; the end itself unless a page begins there.
    pub(super) fn record_start(&self, end: u64) -> u64 {
        if end.is_multiple_of(self.block()) { end.saturating_add(self.header_bytes(end) as u64) } else { end }
    }

    /// Whether the header of the page at `page`, of [`Self::header_bytes`] bytes or more, is the one that belongs there
    /// on this path of timelines.
    pub(super) fn check_page(
        &self,
        bytes: &[u8],
        page: Lsn,
        path: &TimelineHistory,
    ) -> Result<PageBeginning, WalFault> {
        let (found, expected) = (self.check_place(bytes, page)?, path.timeline_at(page));
        if found != expected.get() {
            return Err(WalFault::PageTimeline { page, found, expected });
        }
        let flags = u16_at(bytes, 2).unwrap_or(0);
        Ok(match u32_at(bytes, 16).unwrap_or(0) {
            _ if flags & OVERWRITES_RECORD != 0 => PageBeginning::Overwrite,
            missing if flags & CONTINUES_RECORD != 0 => PageBeginning::Continuation(missing),
            _ => PageBeginning::Record,
        })
    }

    /// The same on any timeline: the one that the header says.
    pub(super) fn check_place(&self, bytes: &[u8], page: Lsn) -> Result<u32, WalFault> {
        // Every read is within the header: the caller gives all of it.
        let (found, expected) = (u16_at(bytes, 0).unwrap_or(0), magic_of(self.major));
        if found != expected {
            return Err(WalFault::PageMagic { page, found, expected });
        }
        let flags = u16_at(bytes, 2).unwrap_or(0);
        let is_long = self.header_bytes(page.get()) == LONG_HEADER_BYTES;
        if flags & !KNOWN_FLAGS != 0 || (flags & LONG_HEADER != 0) != is_long {
            return Err(WalFault::PageFlags { page, found: flags });
        }
        if is_long {
            self.check_long(bytes, page)?;
        }
        let address = u64_at(bytes, 8).unwrap_or(0);
        if address != page.get() {
            return Err(WalFault::PageAddress { page, found: address });
        }
        Ok(u32_at(bytes, 4).unwrap_or(0))
    }

    fn check_long(&self, bytes: &[u8], page: Lsn) -> Result<(), WalFault> {
        let found = u64_at(bytes, 24).unwrap_or(0);
        if found != self.system_identifier.get() {
            return Err(WalFault::PageSystem { page, found, expected: self.system_identifier });
        }
        let (segment_bytes, block_bytes) = (u32_at(bytes, 32).unwrap_or(0), u32_at(bytes, 36).unwrap_or(0));
        if u64::from(segment_bytes) != self.segment() || block_bytes != self.block_bytes {
            return Err(WalFault::PageSizes {
                page,
                segment_bytes,
                block_bytes,
                expected_segment_size: self.segment_size,
                expected_block_bytes: self.block_bytes,
            });
        }
        Ok(())
    }
}
