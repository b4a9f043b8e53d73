//! Timeline history files: the path of timelines that leads to one of them, and which WAL segments lie along it.
//!
//! The reader is as strict as `readTimeLineHistory` (`src/backend/access/transam/timeline.c`), and stricter where
//! that one takes damage for an empty file. INVARIANT: the path covers every position exactly once.

use std::ops::RangeInclusive;

use super::excerpt::excerpt;
use super::lsn::Lsn;
use super::timeline::TimelineId;
use super::wal_segment::{WalSegmentName, WalSegmentSize};
use crate::error::{Classified, ErrorClass};

/// LIMIT: bytes of a line that PostgreSQL reads at once (`MAXPGPATH` less newline and NUL); it takes the rest for
/// another line.
const LINE_BYTES_MAX: usize = 1022;

/// One line of a history file: a timeline was left for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimelineHistoryEntry {
    /// The timeline that was left.
    pub timeline: TimelineId,
    /// Where: its bytes before this position were kept.
    pub switch_lsn: Lsn,
}

/// The ancestors of a timeline, and where the path to it left each of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelineHistory {
    timeline: TimelineId,
    entries: Vec<TimelineHistoryEntry>,
    /// Where the path leaves the timeline of each entry for good; never falling.
    ends: Vec<Lsn>,
}

/// The files that can serve one segment of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentCandidates {
    /// How many segments precede it in the log.
    pub number: u64,
    /// Newest timeline first, as recovery prefers them. Each holds all that is needed; any one of them is enough.
    pub names: Vec<WalSegmentName>,
}

/// A text that is no history of its timeline.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimelineHistoryError {
    /// More than any server writes.
    #[error(
        "timeline history is too long: found {found_bytes} bytes, expected at most {}",
        TimelineHistory::LENGTH_MAX
    )]
    TooLong {
        /// Its size.
        found_bytes: usize,
    },
    /// More than PostgreSQL reads as one line.
    #[error(
        "line {line} of timeline history is too long: found {found_bytes} bytes, expected at most {LINE_BYTES_MAX}"
    )]
    LineTooLong {
        /// Counted from 1.
        line: usize,
        /// Its size.
        found_bytes: usize,
    },
    /// A NUL byte, as a file system leaves after a crash.
    #[error("line {line} of timeline history contains a NUL byte: expected text")]
    NulByte {
        /// Counted from 1.
        line: usize,
    },
    /// No number of a timeline where one must be.
    #[error("line {line} of timeline history does not begin with a timeline number: found \"{text}\"")]
    InvalidTimeline {
        /// Counted from 1.
        line: usize,
        /// The line.
        text: String,
    },
    /// No position after the timeline.
    #[error("line {line} of timeline history has no switch position after the timeline number: found \"{text}\"")]
    InvalidSwitchPoint {
        /// Counted from 1.
        line: usize,
        /// The line.
        text: String,
    },
    /// Parents out of order.
    #[error("line {line} of timeline history is out of order: found timeline {found}, expected one after {previous}")]
    NotAscending {
        /// Counted from 1.
        line: usize,
        /// This line's timeline.
        found: TimelineId,
        /// The timeline of the line before.
        previous: TimelineId,
    },
    /// A parent that is the timeline itself or came after it.
    #[error("timeline history has parent {parent}: expected only timelines before {timeline}")]
    ParentNotLower {
        /// Whose history it is.
        timeline: TimelineId,
        /// The last parent.
        parent: TimelineId,
    },
    /// Nothing in the history of a timeline that must have come from another.
    #[error("timeline history names no parent: expected at least one before {timeline}")]
    NoParent {
        /// Whose history it is.
        timeline: TimelineId,
    },
}

impl Classified for TimelineHistoryError {
    fn class(&self) -> ErrorClass {
        ErrorClass::InvalidInput
    }
}

impl TimelineHistory {
    /// LIMIT: bytes of a history file; each line has about fifty.
    pub const LENGTH_MAX: usize = 4 << 20;

    /// The history of the first timeline, which has no file and no parents.
    pub fn first() -> Self {
        Self { timeline: TimelineId::FIRST, entries: Vec::new(), ends: Vec::new() }
    }

    /// A timeline whose history is not known, looked at as if it had no parents.
    pub fn without_parents(timeline: TimelineId) -> Self {
        Self { timeline, ..Self::first() }
    }

    /// Reads the history of `timeline`.
    pub fn parse(timeline: TimelineId, text: &str) -> Result<Self, TimelineHistoryError> {
        Self::decode(timeline, text.as_bytes())
    }

    /// Reads the history of `timeline` from a file whose reasons may be in any encoding.
    pub fn decode(timeline: TimelineId, bytes: &[u8]) -> Result<Self, TimelineHistoryError> {
        if bytes.len() > Self::LENGTH_MAX {
            return Err(TimelineHistoryError::TooLong { found_bytes: bytes.len() });
        }
        let mut entries: Vec<TimelineHistoryEntry> = Vec::new();
        for (line, bytes) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
            let Some(entry) = decode_line(line, bytes)? else { continue };
            match entries.last() {
                Some(last) if entry.timeline <= last.timeline => {
                    let (found, previous) = (entry.timeline, last.timeline);
                    return Err(TimelineHistoryError::NotAscending { line, found, previous });
                }
                _ => entries.push(entry),
            }
        }
        match entries.last() {
            Some(last) if last.timeline >= timeline => {
                Err(TimelineHistoryError::ParentNotLower { timeline, parent: last.timeline })
            }
            None if timeline != TimelineId::FIRST => Err(TimelineHistoryError::NoParent { timeline }),
            _ => Ok(Self { timeline, ends: ends_of(&entries), entries }),
        }
    }

    /// Whose history it is.
    pub const fn timeline(&self) -> TimelineId {
        self.timeline
    }

    /// The lines of the file, oldest first. Their positions may fall: see [`Self::end_of`].
    pub fn entries(&self) -> &[TimelineHistoryEntry] {
        &self.entries
    }

    /// The ancestors, oldest first.
    pub fn parents(&self) -> impl DoubleEndedIterator<Item = TimelineId> + '_ {
        self.entries.iter().map(|entry| entry.timeline)
    }

    /// Where it left its parent, where that left its own, and so on, for people: `at 0/3000000 of timeline 1`.
    pub fn origin(&self) -> String {
        let left = |entry: &TimelineHistoryEntry| format!("at {} of timeline {}", entry.switch_lsn, entry.timeline);
        self.entries.iter().rev().map(left).collect::<Vec<_>>().join(", that ")
    }

    /// Where the path leaves an ancestor for good; `None` for the timeline itself and for one that is not on the path.
    ///
    /// It can be before the switch position in the file. A recovery along timeline 2 to a point before 2 forked from 1
    /// gives timeline 3 the parents 1 (as in 2's history) and 2 (at that earlier point): nothing of 2 is on 3's path.
    pub fn end_of(&self, timeline: TimelineId) -> Option<Lsn> {
        let position = self.entries.iter().position(|entry| entry.timeline == timeline)?;
        self.ends.get(position).copied()
    }

    /// The timeline on which the byte at `lsn` was written.
    pub fn timeline_at(&self, lsn: Lsn) -> TimelineId {
        self.timeline_of_byte(lsn.get())
    }

    /// Whether the byte at `lsn` of that timeline is on the path.
    pub fn contains(&self, timeline: TimelineId, lsn: Lsn) -> bool {
        self.timeline_at(lsn) == timeline
    }

    /// Whether what was written on that timeline just before `lsn` is on the path: the question for a stop position.
    pub fn contains_end(&self, timeline: TimelineId, lsn: Lsn) -> bool {
        self.timeline_of_byte(lsn.get() - 1) == timeline
    }

    fn timeline_of_byte(&self, position: u64) -> TimelineId {
        let mut left = self.entries.iter().zip(&self.ends);
        left.find(|(_, end)| position < end.get()).map_or(self.timeline, |(entry, _)| entry.timeline)
    }

    /// The segments that must be read from `from` up to, but not including, `to` along the path, in order; none when
    /// `to` is before `from`. Lazy: a position from outside may be far away.
    ///
    /// A segment in which a fork lies exists on both timelines, or only on the newer one, into whose first segment the
    /// older one's bytes before the fork were copied. So there can be several files for a segment; one that ends at its
    /// fork before `to` is not among them. Recovery looks for them in this order (`XLogFileReadAnyTLI`).
    pub fn segment_names(
        &self,
        from: Lsn,
        to: Lsn,
        size: WalSegmentSize,
    ) -> impl Iterator<Item = SegmentCandidates> + '_ {
        let first = from.get() / size.bytes();
        let last = (to.get() - 1) / size.bytes();
        let numbers: RangeInclusive<u64> = if from < to { first..=last } else { RangeInclusive::new(1, 0) };
        numbers.map(move |number| {
            let segment_end = (number + 1).saturating_mul(size.bytes());
            let needed_end = segment_end.min(to.get());
            let timelines = self.timelines_with(number, needed_end, size);
            let names = timelines.filter_map(|timeline| WalSegmentName::from_number(timeline, number, size)).collect();
            SegmentCandidates { number, names }
        })
    }

    /// The timelines, newest first, on which segment `number` can exist and agrees with the path up to `needed_end`.
    fn timelines_with(
        &self,
        number: u64,
        needed_end: u64,
        size: WalSegmentSize,
    ) -> impl Iterator<Item = TimelineId> + '_ {
        // Where a timeline's first file lies is said by the switch position in the file, not by the path's.
        let begins = std::iter::once(None).chain(self.entries.iter().map(|entry| Some(entry.switch_lsn)));
        let ends = self.ends.iter().copied().map(Some).chain(std::iter::once(None));
        let timelines = self.parents().chain(std::iter::once(self.timeline));
        let mut found: Vec<TimelineId> = begins
            .zip(ends)
            .zip(timelines)
            .filter(|((begin, end), _)| {
                begin.is_none_or(|begin| begin.get() / size.bytes() <= number)
                    && end.is_none_or(|end| end.get() >= needed_end)
            })
            .map(|(_, timeline)| timeline)
            .collect();
        found.reverse();
        found.into_iter()
    }
}

/// For each entry, the least switch position from it on.
fn ends_of(entries: &[TimelineHistoryEntry]) -> Vec<Lsn> {
    let mut ends: Vec<Lsn> = Vec::with_capacity(entries.len());
    for entry in entries.iter().rev() {
        ends.push(ends.last().map_or(entry.switch_lsn, |later| entry.switch_lsn.min(*later)));
    }
    ends.reverse();
    ends
}

/// `isspace` of the C locale.
const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0B | 0x0C | b'\r')
}

/// The entry of a line; `None` for a blank one and for a comment.
fn decode_line(line: usize, bytes: &[u8]) -> Result<Option<TimelineHistoryEntry>, TimelineHistoryError> {
    if bytes.len() > LINE_BYTES_MAX {
        return Err(TimelineHistoryError::LineTooLong { line, found_bytes: bytes.len() });
    }
    if bytes.contains(&0) {
        return Err(TimelineHistoryError::NulByte { line });
    }
    let mut fields = bytes.split(|byte| is_space(*byte)).filter(|field| !field.is_empty());
    let Some(first) = fields.next().filter(|field| !field.starts_with(b"#")) else {
        return Ok(None);
    };
    let text = || excerpt(&String::from_utf8_lossy(bytes));
    let timeline = std::str::from_utf8(first).ok().and_then(|digits| TimelineId::parse_decimal(digits).ok());
    let timeline = timeline.ok_or_else(|| TimelineHistoryError::InvalidTimeline { line, text: text() })?;
    let switch_lsn = fields.next().and_then(|field| std::str::from_utf8(field).ok()).and_then(|lsn| lsn.parse().ok());
    let switch_lsn = switch_lsn.ok_or_else(|| TimelineHistoryError::InvalidSwitchPoint { line, text: text() })?;
    // The rest is a reason for people to read.
    Ok(Some(TimelineHistoryEntry { timeline, switch_lsn }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tli(number: u32) -> TimelineId {
        TimelineId::new(number).unwrap()
    }

    fn lsn(text: &str) -> Lsn {
        text.parse().unwrap()
    }

    fn size_mib(mib: u64) -> WalSegmentSize {
        WalSegmentSize::new(mib << 20).unwrap()
    }

    fn history(timeline: u32, text: &str) -> TimelineHistory {
        TimelineHistory::parse(tli(timeline), text).unwrap()
    }

    fn refused(timeline: u32, text: &str) -> TimelineHistoryError {
        TimelineHistory::parse(tli(timeline), text).unwrap_err()
    }

    /// The candidates of each segment, each as its timelines: `4: 3 2, 5: 3`.
    fn planned(history: &TimelineHistory, from: &str, to: &str, size: WalSegmentSize) -> String {
        let segments = history.segment_names(lsn(from), lsn(to), size);
        let texts = segments.map(|segment| {
            assert!(segment.names.iter().all(|name| name.number(size) == Some(segment.number)));
            let timelines: Vec<_> = segment.names.iter().map(|name| name.timeline().to_string()).collect();
            format!("{:X}: {}", segment.number, timelines.join(" "))
        });
        texts.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn the_first_timeline_needs_no_file() {
        let first = TimelineHistory::first();
        assert_eq!(first, history(1, ""));
        assert_eq!(first.parents().count(), 0);
        assert_eq!(first.timeline_at(lsn("0/1")), tli(1));
        assert_eq!(first.end_of(tli(1)), None);
        assert_eq!(planned(&first, "0/1FFFFFF", "0/3000000", size_mib(16)), "1: 1, 2: 1");
    }

    #[test]
    fn reads_lines_as_postgres_does() {
        let text = "# by hand\n\n \t\r\n1\t0/3000000\tno recovery target specified\n\n  9 1/0000002A\r\n\
                    10\t1/FF\tat restore point \"x\ty\"\n   # end";
        let read = history(16, text);
        let entries: Vec<_> = read.entries().iter().map(|e| (e.timeline.get(), e.switch_lsn.to_string())).collect();
        assert_eq!(entries, [(1, "0/3000000".to_owned()), (9, "1/2A".to_owned()), (10, "1/FF".to_owned())]);
        assert_eq!(read.parents().map(TimelineId::get).collect::<Vec<_>>(), [1, 9, 10]);
        assert_eq!(read.timeline(), tli(16));
    }

    #[test]
    fn a_reason_may_be_in_any_encoding() {
        let read = TimelineHistory::decode(tli(2), b"1\t0/3000000\tat restore point \"caf\xE9\"\n").unwrap();
        assert_eq!(read.entries().len(), 1);
    }

    #[test]
    fn rejects_each_fault() {
        use TimelineHistoryError as E;
        for text in
            ["x\t0/1\t", "-1\t0/1", "+1\t0/1", "0\t0/1", "4294967296\t0/1", "0/3000000\t1", "1\u{e9}\t0/1", "A\t0/1"]
        {
            assert!(matches!(refused(5, text), E::InvalidTimeline { line: 1, .. }), "{text:?}");
        }
        for text in
            ["1", "1\t", "1\treason", "1\t0/0\t", "1\t0/G", "1\t-0/1", "1\t0/1,", "1\t16\t0/1", "1\t123456789/0"]
        {
            assert!(matches!(refused(5, text), E::InvalidSwitchPoint { line: 1, .. }), "{text:?}");
        }
        assert_eq!(refused(5, "1\t0/1\n\n1\t0/2\n"), E::NotAscending { line: 3, found: tli(1), previous: tli(1) });
        assert_eq!(refused(5, "3\t0/1\n2\t0/2\n"), E::NotAscending { line: 2, found: tli(2), previous: tli(3) });
        assert_eq!(refused(2, "1\t0/1\n2\t0/2\n"), E::ParentNotLower { timeline: tli(2), parent: tli(2) });
        assert_eq!(refused(1, "1\t0/1\n"), E::ParentNotLower { timeline: tli(1), parent: tli(1) });
        for text in ["", "\n\n", "# nothing"] {
            assert_eq!(refused(2, text), E::NoParent { timeline: tli(2) });
        }
        assert_eq!(refused(2, "1\t0/1\t\n\0\0\0"), E::NulByte { line: 2 });
        let long = format!("1\t0/1\t{}\n", "x".repeat(2000));
        assert_eq!(refused(2, &long), E::LineTooLong { line: 1, found_bytes: 2006 });
        let found_bytes = TimelineHistory::LENGTH_MAX + 1;
        assert_eq!(refused(2, &"\n".repeat(found_bytes)), E::TooLong { found_bytes });
    }

    #[test]
    fn messages_show_the_line_escaped() {
        assert_eq!(
            refused(2, "\n1\tx\u{1b}y").to_string(),
            "line 2 of timeline history has no switch position after the timeline number: found \"1\\tx\\u{1b}y\""
        );
        assert_eq!(refused(2, "").class(), ErrorClass::InvalidInput);
    }

    #[test]
    fn each_position_belongs_to_one_timeline() {
        let read = history(5, "1\t0/3000000\n2\t0/5000000\n");
        for (position, timeline) in [
            ("0/1", 1),
            ("0/2FFFFFF", 1),
            ("0/3000000", 2),
            ("0/4FFFFFF", 2),
            ("0/5000000", 5),
            ("FFFFFFFF/FFFFFFFF", 5),
        ] {
            assert_eq!(read.timeline_at(lsn(position)), tli(timeline), "{position}");
            assert!(read.contains(tli(timeline), lsn(position)));
        }
        assert!(!read.contains(tli(1), lsn("0/3000000")));
        assert!(read.contains_end(tli(1), lsn("0/3000000")));
        assert!(!read.contains_end(tli(1), lsn("0/3000001")));
        assert!(!read.contains(tli(3), lsn("0/3000000")));
        assert_eq!(read.end_of(tli(1)), Some(lsn("0/3000000")));
        assert_eq!(read.end_of(tli(2)), Some(lsn("0/5000000")));
        assert_eq!(read.end_of(tli(5)), None);
        assert_eq!(read.end_of(tli(3)), None);
    }

    #[test]
    fn a_fork_within_a_segment_prefers_the_newer_copy() {
        let read = history(2, "1\t0/3800000\n");
        // Past the fork the older copy is of no use.
        assert_eq!(planned(&read, "0/2000028", "0/5000000", size_mib(16)), "2: 1, 3: 2, 4: 2");
        // A target before the fork can be reached in either (contract A3.8).
        assert_eq!(planned(&read, "0/2000028", "0/3700000", size_mib(16)), "2: 1, 3: 2 1");
        assert_eq!(planned(&read, "0/2000028", "0/3800000", size_mib(16)), "2: 1, 3: 2 1");
        assert_eq!(planned(&read, "0/2000028", "0/3800001", size_mib(16)), "2: 1, 3: 2");
    }

    #[test]
    fn a_fork_between_segments_makes_no_copy() {
        let read = history(2, "1\t0/3000000\n");
        assert_eq!(planned(&read, "0/1000000", "0/4000000", size_mib(16)), "1: 1, 2: 1, 3: 2");
        assert_eq!(planned(&read, "0/2000000", "0/3000000", size_mib(16)), "2: 1");
    }

    #[test]
    fn several_forks_in_one_segment() {
        let read = history(4, "1\t0/3100000\n2\t0/3200000\n3\t0/4000000\n");
        assert_eq!(planned(&read, "0/2000028", "0/3080000", size_mib(16)), "2: 1, 3: 3 2 1");
        assert_eq!(planned(&read, "0/2000028", "0/3180000", size_mib(16)), "2: 1, 3: 3 2");
        assert_eq!(planned(&read, "0/2000028", "0/5000000", size_mib(16)), "2: 1, 3: 3, 4: 4");
        assert_eq!(planned(&read, "0/2000028", "0/3380000", size_mib(1)), {
            let below: Vec<_> = (0x20..0x31).map(|number| format!("{number:X}: 1")).collect();
            format!("{}, 31: 2, 32: 3, 33: 3", below.join(", "))
        });
    }

    #[test]
    fn an_empty_or_inverted_range_needs_nothing() {
        let read = history(2, "1\t0/3000000\n");
        assert_eq!(planned(&read, "0/3000000", "0/3000000", size_mib(16)), "");
        assert_eq!(planned(&read, "0/3000000", "0/1", size_mib(16)), "");
    }

    #[test]
    fn a_far_position_costs_nothing_until_it_is_asked_for() {
        let read = history(2, "1\t0/3000000\n");
        let far = lsn("FFFFFFFF/FFFFFFFF");
        let first = read.segment_names(lsn("0/1"), far, size_mib(1)).next().unwrap();
        assert_eq!((first.number, first.names.len()), (0, 1));
        let last = read.segment_names(lsn("FFFFFFFF/FFFFFFF0"), far, size_mib(1)).last().unwrap();
        assert_eq!(last.names.first().unwrap().to_string(), "00000002FFFFFFFF00000FFF");
    }

    /// The files of a real server: a recovery to restore point "late" made timeline 2; one along timeline 2 to the
    /// earlier restore point "early" then made timeline 3, and asked for segment 4 on timeline 2, segment 3 on 1.
    #[test]
    fn reads_the_history_of_a_second_recovery_to_an_earlier_point() {
        let second = include_bytes!("../../../tests/data/postgres-15/00000002.history");
        let third = include_bytes!("../../../tests/data/postgres-15/00000003.history");
        let second = TimelineHistory::decode(tli(2), second).unwrap();
        assert_eq!(second.end_of(tli(1)), Some(lsn("0/4000F80")));
        assert_eq!(planned(&second, "0/3000000", "0/4000EB0", size_mib(16)), "3: 1, 4: 2 1");

        let third = TimelineHistory::decode(tli(3), third).unwrap();
        let switches: Vec<_> = third.entries().iter().map(|entry| entry.switch_lsn).collect();
        assert_eq!(switches, [lsn("0/4000F80"), lsn("0/4000EB0")]);
        assert_eq!(third.end_of(tli(1)), Some(lsn("0/4000EB0")));
        assert_eq!(third.timeline_at(lsn("0/4000EAF")), tli(1));
        assert_eq!(third.timeline_at(lsn("0/4000EB0")), tli(3));
        assert_eq!(third.timeline_at(lsn("0/4000F80")), tli(3));
        assert_eq!(planned(&third, "0/3000000", "0/4000EB0", size_mib(16)), "3: 1, 4: 3 2 1");
        assert_eq!(planned(&third, "0/3000000", "0/5000001", size_mib(16)), "3: 1, 4: 3, 5: 3");
    }

    prop_compose! {
        /// A history with switch positions that rise or fall, as the server may write it.
        fn any_history()(
            parents in proptest::collection::btree_set(1u32..40, 1..6),
            switches in proptest::collection::vec(1u64..(40 << 20), 6),
        ) -> TimelineHistory {
            let lines: Vec<_> = parents.iter().zip(&switches)
                .map(|(parent, switch)| format!("{parent}\t{}\treason\n", Lsn::new(*switch).unwrap())).collect();
            history(40, &lines.join("\n"))
        }
    }

    proptest! {
        /// The rule of `tliOfPointInHistory`, which reads the file's positions newest first.
        #[test]
        fn the_path_is_the_one_of_postgres(history in any_history(), position in 1u64..(41 << 20)) {
            let lsn = Lsn::new(position).unwrap();
            let begins = std::iter::once(None).chain(history.entries().iter().map(|entry| Some(entry.switch_lsn)));
            let ends = history.entries().iter().map(|entry| Some(entry.switch_lsn)).chain(std::iter::once(None));
            let timelines = history.parents().chain(std::iter::once(history.timeline()));
            let spans: Vec<_> = begins.zip(ends).zip(timelines).collect();
            let expected = spans.iter().rev()
                .find(|((begin, end), _)| begin.is_none_or(|begin| begin <= lsn) && end.is_none_or(|end| lsn < end))
                .map(|(_, timeline)| *timeline);
            prop_assert_eq!(Some(history.timeline_at(lsn)), expected);
        }

        /// The newest candidate is the file that the timeline of the last needed byte can be read from.
        #[test]
        fn every_segment_has_a_candidate(history in any_history(), from in 1u64..(41 << 20), to in 1u64..(41 << 20)) {
            let (from, to, size) = (Lsn::new(from).unwrap(), Lsn::new(to).unwrap(), size_mib(1));
            let segments: Vec<_> = history.segment_names(from, to, size).collect();
            prop_assert_eq!(segments.is_empty(), from >= to);
            for segment in &segments {
                let end = ((segment.number + 1) * size.bytes()).min(to.get());
                let owner = history.timeline_at(Lsn::new(end - 1).unwrap_or(from));
                prop_assert!(segment.names.iter().any(|name| name.timeline() == owner));
                prop_assert!(segment.names.is_sorted_by(|newer, older| newer.timeline() > older.timeline()));
            }
            if let (Some(first), Some(last)) = (segments.first(), segments.last()) {
                prop_assert_eq!(first.number, from.get() / size.bytes());
                prop_assert_eq!(last.number, (to.get() - 1) / size.bytes());
                prop_assert_eq!(segments.len() as u64, last.number - first.number + 1);
            }
        }

        #[test]
        fn arbitrary_text_never_panics(timeline in 1u32.., text in "(?s)([0-9]{0,3}[\t #]?[0-9A-F/]{0,9}[\t\n ]?.?){0,8}|(?s).*") {
            let _ = TimelineHistory::parse(tli(timeline), &text);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = TimelineHistory::decode(tli(9), &bytes);
        }
    }
}
