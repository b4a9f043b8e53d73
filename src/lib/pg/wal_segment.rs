//! WAL segments: their size and their names, and the positions between which each lies.
//!
//! INVARIANT: the size is always an argument; nothing here assumes 16 MiB. The arithmetic is that of
//! `src/include/access/xlog_internal.h` (`XLByteToSeg`, `XLByteToPrevSeg`, `XLogFileName`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::lsn::Lsn;
use super::timeline::TimelineId;
use super::wal_file_name::{WalFileName, WalFileNameError};
use crate::error::{Classified, ErrorClass};

/// The size of every WAL segment of a cluster, chosen by initdb: a power of two from 1 MiB to 1 GiB.
///
/// Serialised as its number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct WalSegmentSize(u32);

/// A number that is no size of WAL segments.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid WAL segment size {bytes} bytes: expected a power of two from 1048576 to 1073741824")]
pub struct WalSegmentSizeError {
    /// What was given.
    pub bytes: u64,
}

impl Classified for WalSegmentSizeError {
    fn class(&self) -> ErrorClass {
        ErrorClass::InvalidInput
    }
}

impl WalSegmentSize {
    const MIN_BYTES: u32 = 1 << 20;
    const MAX_BYTES: u32 = 1 << 30;

    /// The size of that many bytes.
    pub fn new(bytes: u64) -> Result<Self, WalSegmentSizeError> {
        match u32::try_from(bytes) {
            Ok(size) if size.is_power_of_two() && (Self::MIN_BYTES..=Self::MAX_BYTES).contains(&size) => Ok(Self(size)),
            _ => Err(WalSegmentSizeError { bytes }),
        }
    }

    /// Its number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0 as u64
    }

    /// How many segments share the first sixteen digits of their names: 4 GiB of log.
    pub const fn segments_per_log(self) -> u64 {
        (1 << 32) / self.bytes()
    }
}

impl TryFrom<u64> for WalSegmentSize {
    type Error = WalSegmentSizeError;

    fn try_from(bytes: u64) -> Result<Self, Self::Error> {
        Self::new(bytes)
    }
}

impl From<WalSegmentSize> for u64 {
    fn from(size: WalSegmentSize) -> Self {
        size.bytes()
    }
}

/// The name of a whole WAL segment: 24 upper-case hexadecimal digits, eight each for timeline, log and segment.
///
/// Ordered by timeline, then by position. A name alone does not know its position: that takes the segment size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WalSegmentName {
    timeline: TimelineId,
    log: u32,
    segment: u32,
}

impl WalSegmentName {
    /// Digits of a name.
    pub const LENGTH: usize = 24;

    /// Reads a segment's name; any other file name of the archive is refused.
    pub fn parse(text: &str) -> Result<Self, WalFileNameError> {
        match WalFileName::parse(text)? {
            WalFileName::Segment(name) => Ok(name),
            _ => Err(WalFileNameError::not_a_segment(text)),
        }
    }

    /// For the one parser of names, which has checked the digits.
    pub(super) const fn from_parts(timeline: TimelineId, log: u32, segment: u32) -> Self {
        Self { timeline, log, segment }
    }

    /// The segment of that number; `None` when no name can hold it.
    pub fn from_number(timeline: TimelineId, number: u64, size: WalSegmentSize) -> Option<Self> {
        let log = u32::try_from(number / size.segments_per_log()).ok()?;
        let segment = u32::try_from(number % size.segments_per_log()).ok()?;
        Some(Self { timeline, log, segment })
    }

    /// The segment in which the byte at `lsn` lies.
    pub fn containing(timeline: TimelineId, lsn: Lsn, size: WalSegmentSize) -> Self {
        Self::containing_byte(timeline, lsn.get(), size)
    }

    /// The segment in which the byte before `lsn` lies: the last one needed to read up to `lsn`.
    pub fn containing_previous_byte(timeline: TimelineId, lsn: Lsn, size: WalSegmentSize) -> Self {
        Self::containing_byte(timeline, lsn.get() - 1, size)
    }

    fn containing_byte(timeline: TimelineId, position: u64, size: WalSegmentSize) -> Self {
        let [a, b, c, d, e, f, g, h] = position.to_be_bytes();
        let (log, offset) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
        Self { timeline, log, segment: offset / size.0 }
    }

    /// The timeline it was written on, or for which it was copied at a fork.
    pub const fn timeline(self) -> TimelineId {
        self.timeline
    }

    /// The same part of the log on another timeline.
    pub const fn with_timeline(self, timeline: TimelineId) -> Self {
        Self { timeline, ..self }
    }

    /// How many segments precede it in the log; `None` when its last digits are out of range for this size.
    pub fn number(self, size: WalSegmentSize) -> Option<u64> {
        let segment = u64::from(self.segment);
        (segment < size.segments_per_log()).then(|| u64::from(self.log) * size.segments_per_log() + segment)
    }

    /// Its first position; `None` for the very first segment, which PostgreSQL never writes, and for a name out of
    /// range.
    pub fn start_lsn(self, size: WalSegmentSize) -> Option<Lsn> {
        // No overflow: the greatest number times the size is 2^64 less one segment.
        Lsn::new(self.number(size)? * size.bytes())
    }

    /// The position after its last byte; `None` for the very last segment and for a name out of range.
    pub fn end_lsn(self, size: WalSegmentSize) -> Option<Lsn> {
        Lsn::new((self.number(size)? + 1).checked_mul(size.bytes())?)
    }

    /// The one after it on the same timeline.
    pub fn next(self, size: WalSegmentSize) -> Option<Self> {
        Self::from_number(self.timeline, self.number(size)? + 1, size)
    }

    /// The one before it on the same timeline.
    pub fn previous(self, size: WalSegmentSize) -> Option<Self> {
        Self::from_number(self.timeline, self.number(size)?.checked_sub(1)?, size)
    }

    /// The first sixteen digits, shared by the segments of 4 GiB of log: the folder it is kept in.
    pub fn directory_part(self) -> String {
        format!("{:08X}{:08X}", self.timeline.get(), self.log)
    }
}

impl fmt::Display for WalSegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08X}{:08X}{:08X}", self.timeline.get(), self.log, self.segment)
    }
}

impl FromStr for WalSegmentName {
    type Err = WalFileNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl TryFrom<String> for WalSegmentName {
    type Error = WalFileNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<WalSegmentName> for String {
    fn from(name: WalSegmentName) -> Self {
        name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    fn size(mib: u64) -> WalSegmentSize {
        WalSegmentSize::new(mib * MIB).unwrap()
    }

    fn lsn(text: &str) -> Lsn {
        text.parse().unwrap()
    }

    #[test]
    fn sizes_are_powers_of_two_from_1_mib_to_1_gib() {
        for mib in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024] {
            assert_eq!(size(mib).bytes(), mib * MIB);
            assert_eq!(size(mib).segments_per_log() * mib, 4096);
        }
        for bytes in [0, 1, 512 << 10, MIB - 1, MIB + 1, 3 * MIB, 16 * MIB + 8, 2 << 30, 1 << 32, 1 << 52, u64::MAX] {
            assert_eq!(WalSegmentSize::new(bytes), Err(WalSegmentSizeError { bytes }));
        }
    }

    #[test]
    fn size_is_a_number_in_json() {
        assert_eq!(serde_json::to_string(&size(16)).unwrap(), "16777216");
        assert_eq!(serde_json::from_str::<WalSegmentSize>("1048576").unwrap(), size(1));
        assert!(serde_json::from_str::<WalSegmentSize>("1048577").is_err());
    }

    /// As `pg_walfile_name('16/B374D848')` answered in clusters with these sizes.
    #[test]
    fn names_positions_as_postgres_does() {
        let first = TimelineId::FIRST;
        let named = |text: &str, mib| WalSegmentName::containing(first, lsn(text), size(mib)).to_string();
        assert_eq!(named("16/B374D848", 1), "000000010000001600000B37");
        assert_eq!(named("16/B374D848", 2), "00000001000000160000059B");
        assert_eq!(named("16/B374D848", 16), "0000000100000016000000B3");
        assert_eq!(named("16/B374D848", 32), "000000010000001600000059");
        assert_eq!(named("16/B374D848", 64), "00000001000000160000002C");
    }

    #[test]
    fn a_segment_holds_its_first_byte_and_not_its_end() {
        let named = |text: &str| WalSegmentName::containing(TimelineId::FIRST, lsn(text), size(16)).to_string();
        assert_eq!(named("0/FFFFFF"), "000000010000000000000000");
        assert_eq!(named("0/1000000"), "000000010000000000000001");
        assert_eq!(named("0/1FFFFFF"), "000000010000000000000001");
        assert_eq!(named("FFFFFFFF/FFFFFFFF"), "00000001FFFFFFFF000000FF");
    }

    #[test]
    fn a_stop_position_on_a_boundary_needs_the_segment_before() {
        let previous =
            |text: &str, mib| WalSegmentName::containing_previous_byte(TimelineId::FIRST, lsn(text), size(mib));
        assert_eq!(previous("0/2000000", 16).to_string(), "000000010000000000000001");
        assert_eq!(previous("0/2000001", 16).to_string(), "000000010000000000000002");
        assert_eq!(previous("1/0", 16).to_string(), "0000000100000000000000FF");
        assert_eq!(previous("0/1", 16).to_string(), "000000010000000000000000");
    }

    #[test]
    fn the_ends_of_the_log_have_no_neighbour() {
        let first = WalSegmentName::parse("000000010000000000000000").unwrap();
        assert_eq!(first.number(size(16)), Some(0));
        assert_eq!(first.start_lsn(size(16)), None);
        assert_eq!(first.end_lsn(size(16)), Some(lsn("0/1000000")));
        assert_eq!(first.previous(size(16)), None);
        let last = WalSegmentName::parse("00000001FFFFFFFF000000FF").unwrap();
        assert_eq!(last.start_lsn(size(16)), Some(lsn("FFFFFFFF/FF000000")));
        assert_eq!(last.end_lsn(size(16)), None);
        assert_eq!(last.next(size(16)), None);
        assert_eq!(WalSegmentName::from_number(TimelineId::FIRST, u64::MAX, size(16)), None);
    }

    #[test]
    fn a_name_out_of_range_for_the_size_has_no_position() {
        let name = WalSegmentName::parse("000000010000000000000100").unwrap();
        assert_eq!(name.number(size(16)), None);
        assert_eq!(name.start_lsn(size(16)), None);
        assert_eq!(name.end_lsn(size(16)), None);
        assert_eq!(name.next(size(16)), None);
        assert_eq!(name.previous(size(16)), None);
        assert_eq!(name.number(size(1)), Some(0x100));
    }

    #[test]
    fn only_whole_segments_are_segment_names() {
        for text in ["000000010000000000000001.partial", "00000002.history", "000000010000000000000001.00000028.backup"]
        {
            assert!(matches!(WalSegmentName::parse(text), Err(WalFileNameError::NotASegment { .. })), "{text}");
        }
    }

    #[test]
    fn orders_by_timeline_then_position() {
        let names = ["0000000100000001000000FF", "000000010000000200000000", "000000020000000000000001"];
        let parsed: Vec<_> = names.iter().map(|text| WalSegmentName::parse(text).unwrap()).collect();
        assert!(parsed.is_sorted());
    }

    #[test]
    fn is_kept_in_the_folder_of_its_first_sixteen_digits() {
        let name = WalSegmentName::parse("0000000A00000016000000B3").unwrap();
        assert_eq!(name.directory_part(), "0000000A00000016");
        assert_eq!(name.with_timeline(TimelineId::FIRST).to_string(), "0000000100000016000000B3");
    }

    prop_compose! {
        fn any_size()(power in 20u32..=30) -> WalSegmentSize { WalSegmentSize::new(1 << power).unwrap() }
    }

    prop_compose! {
        fn any_timeline()(number in 1u32..) -> TimelineId { TimelineId::new(number).unwrap() }
    }

    proptest! {
        #[test]
        fn a_position_lies_in_the_segment_that_contains_it(position in 1u64.., timeline in any_timeline(), size in any_size()) {
            let lsn = Lsn::new(position).unwrap();
            let name = WalSegmentName::containing(timeline, lsn, size);
            prop_assert_eq!(name.number(size), Some(position / size.bytes()));
            prop_assert!(name.start_lsn(size).is_none_or(|start| start <= lsn));
            prop_assert!(name.end_lsn(size).is_none_or(|end| lsn < end));
            let before = WalSegmentName::containing_previous_byte(timeline, lsn, size);
            let expected = if position % size.bytes() == 0 { name.previous(size).unwrap() } else { name };
            prop_assert_eq!(before, expected);
        }

        #[test]
        fn numbers_and_names_correspond(number in 0u64..(1 << 34), timeline in any_timeline(), size in any_size()) {
            if let Some(name) = WalSegmentName::from_number(timeline, number, size) {
                prop_assert_eq!(name.number(size), Some(number));
                prop_assert_eq!(WalSegmentName::parse(&name.to_string()).unwrap(), name);
                prop_assert!(name.next(size).is_none_or(|next| next.previous(size) == Some(name) && next > name));
                prop_assert!(name.end_lsn(size) == name.next(size).and_then(|next| next.start_lsn(size)));
            } else {
                prop_assert!(number / size.segments_per_log() > u64::from(u32::MAX));
            }
        }
    }
}
