//! Why the bytes at a position are not the WAL that belongs there.

use crate::error::{Classified, ErrorClass};
use crate::pg::{Lsn, SystemIdentifier, TimelineId, WalSegmentSize};

/// What a reader found instead of valid WAL. Whether it is damage or the end of the log depends on what should be
/// there: see [`WalFault::is_usual_end`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WalFault {
    /// The page is of no version, zero for instance.
    #[error("WAL page at {page} has magic {found:04X}: expected {expected:04X}")]
    PageMagic {
        /// Where the page begins.
        page: Lsn,
        /// `xlp_magic`.
        found: u16,
        /// That of the version.
        expected: u16,
    },
    /// Unknown flags, or a long header where none belongs, or none where one belongs.
    #[error("WAL page at {page} has invalid flags {found:04X}")]
    PageFlags {
        /// Where the page begins.
        page: Lsn,
        /// `xlp_info`.
        found: u16,
    },
    /// A page of another position, as in a recycled segment.
    #[error("WAL page at {page} has address {:X}/{:X}", found >> 32, found & 0xFFFF_FFFF)]
    PageAddress {
        /// Where the page begins.
        page: Lsn,
        /// `xlp_pageaddr`.
        found: u64,
    },
    /// A page of another timeline than the one that the path takes there.
    #[error("WAL page at {page} is of timeline {found}: expected {expected}")]
    PageTimeline {
        /// Where the page begins.
        page: Lsn,
        /// `xlp_tli`.
        found: u32,
        /// The timeline of the path.
        expected: TimelineId,
    },
    /// A page of another cluster.
    #[error("WAL page at {page} is of system identifier {found}: expected {expected}")]
    PageSystem {
        /// Where the page begins.
        page: Lsn,
        /// `xlp_sysid`.
        found: u64,
        /// The cluster's.
        expected: SystemIdentifier,
    },
    /// Other sizes than those of the cluster.
    #[error(
        "WAL page at {page} has segment size {segment_bytes} and block size {block_bytes}: expected {} and \
         {expected_block_bytes}", expected_segment_size.bytes()
    )]
    PageSizes {
        /// Where the page begins.
        page: Lsn,
        /// `xlp_seg_size`.
        segment_bytes: u32,
        /// `xlp_xlog_blcksz`.
        block_bytes: u32,
        /// The cluster's segment size.
        expected_segment_size: WalSegmentSize,
        /// The cluster's WAL block size.
        expected_block_bytes: u32,
    },
    /// A record goes on in a page that does not say so.
    #[error("WAL page at {page} does not continue the record at {record}")]
    NotContinued {
        /// Where the page begins.
        page: Lsn,
        /// Where the record begins.
        record: Lsn,
    },
    /// A page that continues a record which had ended.
    #[error("WAL page at {page} continues a record where one must begin")]
    UnexpectedContinuation {
        /// Where the page begins.
        page: Lsn,
    },
    /// A page that continues a record of another length.
    #[error("WAL page at {page} continues a record by {found} bytes: expected {expected}")]
    ContinuationLength {
        /// Where the page begins.
        page: Lsn,
        /// `xlp_rem_len`.
        found: u32,
        /// What is missing of the record.
        expected: u32,
    },
    /// Zeros where a record must begin.
    #[error("no WAL record at {record}: found zeros")]
    Zeros {
        /// Where it must begin.
        record: Lsn,
    },
    /// A length that no record has.
    #[error("WAL record at {record} has invalid length {found}")]
    RecordLength {
        /// Where it begins.
        record: Lsn,
        /// `xl_tot_len`.
        found: u32,
    },
    /// A resource manager that the version does not have.
    #[error("WAL record at {record} has invalid resource manager {found}")]
    ResourceManager {
        /// Where it begins.
        record: Lsn,
        /// `xl_rmid`.
        found: u8,
    },
    /// A record that follows another one than the one before it.
    #[error(
        "WAL record at {record} has previous record {:X}/{:X}: expected {}",
        found >> 32, found & 0xFFFF_FFFF,
        expected.map_or_else(|| "an earlier position".to_owned(), |lsn| lsn.to_string())
    )]
    PreviousLink {
        /// Where it begins.
        record: Lsn,
        /// `xl_prev`.
        found: u64,
        /// The record before it; none when that is not known.
        expected: Option<Lsn>,
    },
    /// Other bytes than were written.
    #[error("WAL record at {record} has CRC {expected:08X} but its bytes give {found:08X}")]
    Crc {
        /// Where it begins.
        record: Lsn,
        /// Computed from the bytes.
        found: u32,
        /// `xl_crc`.
        expected: u32,
    },
    /// A record whose CRC is right but which is not laid out as in this version.
    #[error("WAL record at {record} of resource manager {resource_manager} with info {info:02X} cannot be interpreted")]
    Content {
        /// Where it begins.
        record: Lsn,
        /// `xl_rmid`.
        resource_manager: u8,
        /// `xl_info`.
        info: u8,
    },
    /// A position beyond the end of the log's address space.
    #[error("WAL ends at {record}: there are no later positions")]
    OutOfRange {
        /// Where the next record would begin.
        record: Lsn,
    },
}

impl Classified for WalFault {
    fn class(&self) -> ErrorClass {
        ErrorClass::Corrupt
    }
}

impl WalFault {
    /// Where the page or record begins that is at fault.
    pub const fn lsn(&self) -> Lsn {
        match self {
            Self::PageMagic { page, .. }
            | Self::PageFlags { page, .. }
            | Self::PageAddress { page, .. }
            | Self::PageTimeline { page, .. }
            | Self::PageSystem { page, .. }
            | Self::PageSizes { page, .. }
            | Self::NotContinued { page, .. }
            | Self::UnexpectedContinuation { page }
            | Self::ContinuationLength { page, .. } => *page,
            Self::Zeros { record }
            | Self::RecordLength { record, .. }
            | Self::ResourceManager { record, .. }
            | Self::PreviousLink { record, .. }
            | Self::Crc { record, .. }
            | Self::Content { record, .. }
            | Self::OutOfRange { record } => *record,
        }
    }

    /// Whether the log of a server that stopped or crashed may end like this: in zeros, in the remains of a recycled
    /// segment, or in a record that was not written to its end.
    ///
    /// It is no proof: a flipped bit gives several of the same. In a segment that was archived as complete each of them
    /// is damage; in the last segment of a pg_wal it is the end unless valid pages follow ([`super::WalPageScan`]).
    pub fn is_usual_end(&self) -> bool {
        match self {
            Self::PageMagic { found, .. } => *found == 0,
            // Segments of a timeline that was left are recycled, too, whatever lay behind the place where it was left.
            Self::PageTimeline { found, expected, .. } => *found < expected.get(),
            Self::PageAddress { .. }
            | Self::Zeros { .. }
            | Self::Crc { .. }
            | Self::RecordLength { .. }
            | Self::ResourceManager { .. }
            | Self::PreviousLink { .. }
            | Self::NotContinued { .. }
            | Self::ContinuationLength { .. } => true,
            _ => false,
        }
    }
}
