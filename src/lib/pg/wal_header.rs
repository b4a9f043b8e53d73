//! The long page header at the beginning of every WAL segment: `XLogLongPageHeaderData`
//! (`src/include/access/xlog_internal.h`), checked before a file is stored as a segment.
//!
//! INVARIANT: a decoded header has a known server version, a valid segment size and an address that starts a segment.
//! COMPAT: magic numbers 13 to 18; the layout has been the same in all of them.

use super::little_endian::{u16_at, u32_at, u64_at};
use super::lsn::Lsn;
use super::system_identifier::SystemIdentifier;
use super::timeline::TimelineId;
use super::version::PgMajorVersion;
use super::wal_segment::{WalSegmentName, WalSegmentSize, WalSegmentSizeError};
use crate::error::{Classified, ErrorClass};

/// `XLOG_PAGE_MAGIC` and the major version that writes it.
const MAGICS: [(u16, u32); 6] = [(0xD106, 13), (0xD10D, 14), (0xD110, 15), (0xD113, 16), (0xD116, 17), (0xD118, 18)];

/// `XLP_LONG_HEADER`.
const FLAG_LONG_HEADER: u16 = 0x0002;
/// `XLP_ALL_FLAGS`.
const FLAGS_KNOWN: u16 = 0x000F;
/// `XLOG_BLCKSZ` as configure allows it.
const BLOCK_BYTES_MIN: u32 = 1 << 10;
const BLOCK_BYTES_MAX: u32 = 64 << 10;

/// What the first page of a WAL segment says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalSegmentHeader {
    /// The server that wrote it.
    pub major: PgMajorVersion,
    /// The timeline of the first page: an ancestor of the file's when the segment was copied at a fork.
    pub timeline: TimelineId,
    /// The position of the first byte.
    pub page_address: Lsn,
    /// The cluster that wrote it.
    pub system_identifier: SystemIdentifier,
    /// The size of every segment of that cluster.
    pub segment_size: WalSegmentSize,
    /// `XLOG_BLCKSZ`, in bytes.
    pub block_bytes: u32,
}

/// Bytes that do not begin the WAL segment they should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WalHeaderError {
    /// Fewer bytes than the header has.
    #[error("WAL segment header is too short: found {found_bytes} bytes, expected {}", WalSegmentHeader::LENGTH)]
    TooShort {
        /// How many there were.
        found_bytes: usize,
    },
    /// Not the first page of a segment of any version.
    #[error("not a WAL segment: found magic {magic:04X}, expected {}", known_magics())]
    NotWal {
        /// The first two bytes.
        magic: u16,
    },
    /// A version that this pgv does not know.
    #[error("WAL segment of an unsupported PostgreSQL version: found magic {magic:04X}, expected {}", known_magics())]
    UnknownVersion {
        /// The first two bytes.
        magic: u16,
    },
    /// A page from the middle of a segment.
    #[error("not the first page of a WAL segment: found flags {flags:04X}, expected the long header flag 0002")]
    NoLongHeader {
        /// `xlp_info`.
        flags: u16,
    },
    /// Flags that no known version sets.
    #[error("unknown WAL page flags: found {flags:04X}, expected none but {FLAGS_KNOWN:04X}")]
    UnknownFlags {
        /// `xlp_info`.
        flags: u16,
    },
    /// Timeline 0.
    #[error("WAL segment header has timeline 0: expected 1 or later")]
    ZeroTimeline,
    /// System identifier 0.
    #[error("WAL segment header has system identifier 0")]
    ZeroSystemIdentifier,
    /// No valid size of segments.
    #[error("WAL segment header has no valid segment size")]
    SegmentSize(#[source] WalSegmentSizeError),
    /// No valid size of WAL blocks.
    #[error(
        "WAL segment header has block size {found} bytes: expected a power of two from {BLOCK_BYTES_MIN} to \
         {BLOCK_BYTES_MAX}"
    )]
    BlockSize {
        /// `xlp_xlog_blcksz`.
        found: u32,
    },
    /// An address at which no segment starts.
    #[error(
        "WAL segment header has page address {:X}/{:X}: expected a multiple of the segment size, {} bytes, after 0/0",
        found >> 32, found & 0xFFFF_FFFF, segment_size.bytes()
    )]
    Misaligned {
        /// `xlp_pageaddr`.
        found: u64,
        /// The size that the header states.
        segment_size: WalSegmentSize,
    },
    /// The name cannot exist in a cluster with segments of this size.
    #[error("WAL segment \"{name}\" does not exist with segments of {} bytes, the size in its header", segment_size.bytes())]
    NameOutOfRange {
        /// The file's name.
        name: WalSegmentName,
        /// The size that the header states.
        segment_size: WalSegmentSize,
    },
    /// Another part of the log than the name says, as in a recycled or renamed file.
    #[error("WAL segment \"{name}\" has the wrong content: found page address {found}, expected {expected}")]
    WrongAddress {
        /// The file's name.
        name: WalSegmentName,
        /// The header's address.
        found: Lsn,
        /// The name's address.
        expected: Lsn,
    },
    /// A page written on a timeline that began after the one in the name.
    #[error(
        "WAL segment \"{name}\" has the wrong content: found timeline {found}, expected {} or an ancestor of it",
        name.timeline()
    )]
    LaterTimeline {
        /// The file's name.
        name: WalSegmentName,
        /// The header's timeline.
        found: TimelineId,
    },
}

fn known_magics() -> String {
    let texts: Vec<_> = MAGICS.iter().map(|(magic, major)| format!("{magic:04X} ({major})")).collect();
    texts.join(", ")
}

impl Classified for WalHeaderError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::UnknownVersion { .. } => ErrorClass::Unsupported,
            _ => ErrorClass::InvalidInput,
        }
    }
}

impl WalSegmentHeader {
    /// Bytes that must be read to decode it.
    pub const LENGTH: usize = 40;

    /// Reads the header from the first bytes of a segment; more than [`Self::LENGTH`] may be given.
    pub fn decode(bytes: &[u8]) -> Result<Self, WalHeaderError> {
        let too_short = || WalHeaderError::TooShort { found_bytes: bytes.len() };
        if bytes.len() < Self::LENGTH {
            return Err(too_short());
        }
        let major = major_of(u16_at(bytes, 0).ok_or_else(too_short)?)?;
        let flags = u16_at(bytes, 2).ok_or_else(too_short)?;
        let timeline = u32_at(bytes, 4).ok_or_else(too_short)?;
        let page_address = u64_at(bytes, 8).ok_or_else(too_short)?;
        // xlp_rem_len (16..20) and padding (20..24) say nothing about the segment.
        let system_identifier = u64_at(bytes, 24).ok_or_else(too_short)?;
        let segment_bytes = u32_at(bytes, 32).ok_or_else(too_short)?;
        let block_bytes = u32_at(bytes, 36).ok_or_else(too_short)?;

        if flags & !FLAGS_KNOWN != 0 {
            return Err(WalHeaderError::UnknownFlags { flags });
        }
        if flags & FLAG_LONG_HEADER == 0 {
            return Err(WalHeaderError::NoLongHeader { flags });
        }
        let segment_size = WalSegmentSize::new(segment_bytes.into()).map_err(WalHeaderError::SegmentSize)?;
        if !block_bytes.is_power_of_two() || !(BLOCK_BYTES_MIN..=BLOCK_BYTES_MAX).contains(&block_bytes) {
            return Err(WalHeaderError::BlockSize { found: block_bytes });
        }
        let page_address = Lsn::new(page_address)
            .filter(|lsn| lsn.get() % segment_size.bytes() == 0)
            .ok_or(WalHeaderError::Misaligned { found: page_address, segment_size })?;
        Ok(Self {
            major,
            timeline: TimelineId::new(timeline).ok_or(WalHeaderError::ZeroTimeline)?,
            page_address,
            system_identifier: SystemIdentifier::new(system_identifier).ok_or(WalHeaderError::ZeroSystemIdentifier)?,
            segment_size,
            block_bytes,
        })
    }

    /// Whether a file that begins with this header may bear `name` (without `.partial`).
    ///
    /// The first page's timeline may be lower than the name's: at a fork PostgreSQL copies the beginning of the old
    /// timeline's last segment to the new timeline, and leaves the copied pages as they are.
    pub fn check_name(&self, name: &WalSegmentName) -> Result<(), WalHeaderError> {
        let (name, segment_size) = (*name, self.segment_size);
        if name.number(segment_size).is_none() {
            return Err(WalHeaderError::NameOutOfRange { name, segment_size });
        }
        let (found, actual) =
            (self.page_address, WalSegmentName::containing(name.timeline(), self.page_address, segment_size));
        if actual != name {
            return Err(match name.start_lsn(segment_size) {
                Some(expected) => WalHeaderError::WrongAddress { name, found, expected },
                None => WalHeaderError::NameOutOfRange { name, segment_size },
            });
        }
        if self.timeline > name.timeline() {
            return Err(WalHeaderError::LaterTimeline { name, found: self.timeline });
        }
        Ok(())
    }
}

/// `XLOG_PAGE_MAGIC` of a version.
pub(super) fn magic_of(major: PgMajorVersion) -> u16 {
    // Every version that pgv knows is in the table; no page has magic 0.
    MAGICS.iter().find(|(_, known)| *known == major.get()).map_or(0, |(magic, _)| *magic)
}

fn major_of(magic: u16) -> Result<PgMajorVersion, WalHeaderError> {
    let known =
        MAGICS.iter().find(|(known, _)| *known == magic).and_then(|(_, major)| PgMajorVersion::new(*major).ok());
    known.ok_or(match magic >> 8 {
        // Every version so far has a magic of the form D0xx or D1xx.
        0xD0 | 0xD1 => WalHeaderError::UnknownVersion { magic },
        _ => WalHeaderError::NotWal { magic },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAGE_15: &[u8] = include_bytes!("../../../tests/data/postgres-15/wal-first-page");

    fn name(text: &str) -> WalSegmentName {
        WalSegmentName::parse(text).unwrap()
    }

    /// The real header with some bytes replaced.
    fn changed(offset: usize, replacement: &[u8]) -> Vec<u8> {
        let mut bytes = PAGE_15[..WalSegmentHeader::LENGTH].to_vec();
        bytes[offset..offset + replacement.len()].copy_from_slice(replacement);
        bytes
    }

    fn refused(offset: usize, replacement: &[u8]) -> WalHeaderError {
        WalSegmentHeader::decode(&changed(offset, replacement)).unwrap_err()
    }

    #[test]
    fn reads_a_segment_of_a_real_server() {
        let header = WalSegmentHeader::decode(PAGE_15).unwrap();
        let expected = WalSegmentHeader {
            major: PgMajorVersion::new(15).unwrap(),
            timeline: TimelineId::FIRST,
            page_address: "0/1000000".parse().unwrap(),
            system_identifier: "7710426017427491895".parse().unwrap(),
            segment_size: WalSegmentSize::new(16 << 20).unwrap(),
            block_bytes: 8192,
        };
        assert_eq!(header, expected);
        assert_eq!(WalSegmentHeader::decode(&PAGE_15[..WalSegmentHeader::LENGTH]).unwrap(), expected);
        header.check_name(&name("000000010000000000000001")).unwrap();
    }

    #[test]
    fn knows_the_magic_of_every_supported_version() {
        for (magic, major) in [(0xD106u16, 13), (0xD10D, 14), (0xD110, 15), (0xD113, 16), (0xD116, 17), (0xD118, 18)] {
            let header = WalSegmentHeader::decode(&changed(0, &magic.to_le_bytes())).unwrap();
            assert_eq!(header.major.get(), major);
        }
    }

    #[test]
    fn rejects_unknown_versions_by_value() {
        let error = refused(0, &0xD119u16.to_le_bytes());
        assert_eq!(error, WalHeaderError::UnknownVersion { magic: 0xD119 });
        assert_eq!(error.class(), ErrorClass::Unsupported);
        assert!(error.to_string().contains("found magic D119, expected D106 (13), "), "{error}");
        // PostgreSQL 12
        assert_eq!(refused(0, &0xD101u16.to_le_bytes()), WalHeaderError::UnknownVersion { magic: 0xD101 });
    }

    #[test]
    fn rejects_what_is_no_segment() {
        for magic in [0u16, 0xFFFF, 0x10D1] {
            let error = refused(0, &magic.to_le_bytes());
            assert_eq!(error, WalHeaderError::NotWal { magic });
            assert_eq!(error.class(), ErrorClass::InvalidInput);
        }
        for length in [0, 1, WalSegmentHeader::LENGTH - 1] {
            let error = WalSegmentHeader::decode(&PAGE_15[..length]).unwrap_err();
            assert_eq!(error, WalHeaderError::TooShort { found_bytes: length });
        }
    }

    #[test]
    fn rejects_each_damaged_field() {
        assert_eq!(refused(2, &5u16.to_le_bytes()), WalHeaderError::NoLongHeader { flags: 5 });
        assert_eq!(refused(2, &0x12u16.to_le_bytes()), WalHeaderError::UnknownFlags { flags: 0x12 });
        assert_eq!(refused(4, &[0; 4]), WalHeaderError::ZeroTimeline);
        assert_eq!(refused(24, &[0; 8]), WalHeaderError::ZeroSystemIdentifier);
        assert!(matches!(refused(32, &[0; 4]), WalHeaderError::SegmentSize(WalSegmentSizeError { bytes: 0 })));
        for found in [0u32, 512, 8191, 128 << 10] {
            assert_eq!(refused(36, &found.to_le_bytes()), WalHeaderError::BlockSize { found });
        }
        let segment_size = WalSegmentSize::new(16 << 20).unwrap();
        for found in [0u64, 8192, 0x100_2000] {
            assert_eq!(refused(8, &found.to_le_bytes()), WalHeaderError::Misaligned { found, segment_size });
        }
    }

    #[test]
    fn rejects_another_part_of_the_log_under_the_name() {
        let header = WalSegmentHeader::decode(PAGE_15).unwrap();
        let wrong = header.check_name(&name("000000010000000000000002")).unwrap_err();
        assert_eq!(
            wrong.to_string(),
            "WAL segment \"000000010000000000000002\" has the wrong content: found page address 0/1000000, expected \
             0/2000000"
        );
        for text in ["000000010000000000000100", "000000010000000000000000"] {
            let wrong = header.check_name(&name(text)).unwrap_err();
            assert!(matches!(wrong, WalHeaderError::NameOutOfRange { .. }), "{wrong}");
        }
    }

    /// The first page of 000000030000000000000004 of a real server: timelines 2 and 3 both forked in this segment.
    #[test]
    fn accepts_the_copy_that_a_real_fork_made() {
        let page = include_bytes!("../../../tests/data/postgres-15/wal-first-page-after-fork");
        let header = WalSegmentHeader::decode(page).unwrap();
        assert_eq!(header.timeline, TimelineId::FIRST);
        header.check_name(&name("000000030000000000000004")).unwrap();
    }

    #[test]
    fn accepts_a_page_copied_from_an_ancestor_but_not_from_a_later_timeline() {
        let header = WalSegmentHeader::decode(&changed(4, &2u32.to_le_bytes())).unwrap();
        for later in ["000000020000000000000001", "000000030000000000000001", "FFFFFFFF0000000000000001"] {
            header.check_name(&name(later)).unwrap();
        }
        let wrong = header.check_name(&name("000000010000000000000001")).unwrap_err();
        assert!(matches!(wrong, WalHeaderError::LaterTimeline { found, .. } if found.get() == 2), "{wrong}");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = WalSegmentHeader::decode(&bytes);
        }

        #[test]
        fn a_damaged_real_header_never_panics(offset in 0usize..40, byte: u8, digits in "[0-9A-F]{7}1[0-9A-F]{16}") {
            if let Ok(header) = WalSegmentHeader::decode(&changed(offset, &[byte])) {
                let _ = header.check_name(&name(&digits));
            }
        }
    }
}
