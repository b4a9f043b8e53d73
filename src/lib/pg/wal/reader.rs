//! The reader itself: takes bytes, follows pages, and hands out records.
//!
//! The rules are those of `XLogDecodeNextRecord` and `ValidXLogRecord` (`src/backend/access/transam/xlogreader.c`).
//! INVARIANT: a record is handed out only when it is complete, its CRC is right, and it is linked to the one before it.

mod records;

use super::content_decoder::ContentDecoder;
use super::fault::WalFault;
use super::page::{LONG_HEADER_BYTES, PageBeginning, WalFormat};
use super::record::{HEADER_BYTES, RecordHeader, WalRecord};
use super::run::{WalEnding, WalRun};
use crate::pg::little_endian::u32_at;
use crate::pg::{Lsn, TimelineHistory, TimelineId};

/// Where a reader begins. Its first byte is in both cases that of the segment in which this lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WalStart {
    /// At the first record that begins in this segment, given by its first position; the end of one that began before is
    /// passed over.
    Segment(Lsn),
    /// At the record that begins here; what precedes it in the segment is not looked at.
    Record(Lsn),
}

/// Whether a reader needs more bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum WalProgress {
    /// It does.
    More,
    /// It has ended; [`WalReader::finish`] says why. Further bytes are ignored.
    Done,
}

/// Reads the WAL of one path of timelines, front to back.
///
/// LIMIT: keeps one record header, one page header and at most some tens of kilobytes of a record's content.
#[derive(Debug)]
pub struct WalReader {
    format: WalFormat,
    path: TimelineHistory,
    /// Records that begin here or later are another's.
    until: Option<Lsn>,
    /// Of the next byte.
    position: u64,
    /// Content bytes left in the present page; zero when its header comes next.
    page_left: usize,
    page_header: [u8; LONG_HEADER_BYTES],
    page_header_filled: usize,
    /// The timeline of the whole page, unless one ends in it.
    page_timeline: Option<TimelineId>,
    phase: Phase,
    run: WalRun,
    ended: bool,
}

/// What the next bytes are.
#[derive(Debug)]
enum Phase {
    /// Not looked at up to this position, a page's header included.
    Pass { to: u64, then: Then },
    /// A page on which anything may begin or go on.
    FirstPage,
    /// The page of the first record.
    PageOf { record: u64 },
    /// The rest of a record that began before the run.
    Continuation { left: u32 },
    /// A record or the padding before it.
    Between,
    /// A record's header, of which not all was there at once.
    Header { start: Lsn, bytes: [u8; HEADER_BYTES], filled: usize },
    /// What follows the header.
    Rest(Box<OpenRecord>),
}

#[derive(Debug, Clone, Copy)]
enum Then {
    PageOf { record: u64 },
    Between,
}

/// A record whose header was read.
#[derive(Debug)]
struct OpenRecord {
    start: Lsn,
    header: RecordHeader,
    left: u32,
    crc: u32,
    content: Option<ContentDecoder>,
}

impl WalReader {
    /// A reader that begins at `start` and follows `path`. With `until`, the start of a segment, it ends when the next
    /// record begins there or later: it has then been fed beyond `until` when a record crosses that position.
    pub fn new(format: WalFormat, path: TimelineHistory, start: WalStart, until: Option<Lsn>) -> Self {
        let (lsn, phase) = match start {
            WalStart::Segment(lsn) => (lsn, Phase::FirstPage),
            WalStart::Record(lsn) => {
                let record = lsn.get();
                let page = record - record % format.block();
                (lsn, Phase::Pass { to: page, then: Then::PageOf { record } })
            }
        };
        let position = lsn.get() - lsn.get() % format.segment();
        let next_lsn = match start {
            WalStart::Segment(_) => Lsn::new(format.record_start(position)).unwrap_or(lsn),
            WalStart::Record(_) => lsn,
        };
        let (previous_lsn, ending) = (None, WalEnding::OutOfInput { incomplete: None });
        let run = WalRun { records: 0, first_lsn: None, previous_lsn, last: None, next_lsn, ending };
        Self {
            format,
            path,
            until,
            position,
            page_left: 0,
            page_header: [0; LONG_HEADER_BYTES],
            page_header_filled: 0,
            page_timeline: None,
            phase,
            run,
            ended: false,
        }
    }

    /// Where the next byte fed must come from.
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// Takes the next bytes and hands each record that ends in them to `sink`, in order.
    pub fn feed(&mut self, mut bytes: &[u8], mut sink: impl FnMut(WalRecord)) -> WalProgress {
        while !self.ended && !bytes.is_empty() {
            match self.step(bytes, &mut sink) {
                Ok(taken) => {
                    bytes = bytes.get(taken..).unwrap_or_default();
                    let Some(position) = self.position.checked_add(taken as u64) else {
                        self.stop(WalEnding::Fault(WalFault::OutOfRange { record: self.run.next_lsn }));
                        break;
                    };
                    self.position = position;
                }
                Err(fault) => self.stop(WalEnding::Fault(fault)),
            }
        }
        if self.ended { WalProgress::Done } else { WalProgress::More }
    }

    /// What was read.
    pub fn finish(mut self) -> WalRun {
        if !self.ended {
            let incomplete = match &self.phase {
                Phase::Header { start, .. } => Some(*start),
                Phase::Rest(open) => Some(open.start),
                Phase::Continuation { .. } => Some(self.run.next_lsn),
                _ if self.page_header_filled > 0 => Some(self.run.next_lsn),
                _ => None,
            };
            self.run.ending = WalEnding::OutOfInput { incomplete };
        }
        self.run
    }

    fn stop(&mut self, ending: WalEnding) {
        self.run.ending = ending;
        self.ended = true;
    }

    /// Takes some of `bytes`, which are not empty, and says how many; none only when the phase has changed.
    fn step(&mut self, bytes: &[u8], sink: &mut impl FnMut(WalRecord)) -> Result<usize, WalFault> {
        if let Phase::Pass { to, then } = self.phase {
            return Ok(self.pass(bytes, to, then));
        }
        if self.page_left == 0 {
            return self.take_page_header(bytes);
        }
        let content = bytes.get(..self.page_left.min(bytes.len())).unwrap_or_default();
        let taken = self.take_content(content, sink)?;
        self.page_left = self.page_left.saturating_sub(taken);
        Ok(taken)
    }

    fn pass(&mut self, bytes: &[u8], to: u64, then: Then) -> usize {
        let left = to.saturating_sub(self.position);
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        if taken as u64 == left {
            self.phase = match then {
                Then::PageOf { record } => Phase::PageOf { record },
                Then::Between => Phase::Between,
            };
            let in_page = to % self.format.block();
            let content = if in_page == 0 { 0 } else { self.format.block() - in_page };
            self.page_left = usize::try_from(content).unwrap_or(0);
        }
        taken
    }

    fn take_page_header(&mut self, bytes: &[u8]) -> Result<usize, WalFault> {
        let page = self.position.saturating_sub(self.page_header_filled as u64);
        let header_bytes = self.format.header_bytes(page);
        let wanted = header_bytes.saturating_sub(self.page_header_filled);
        let taken = bytes.get(..wanted.min(bytes.len())).unwrap_or_default();
        if let Some(space) = self.page_header.get_mut(self.page_header_filled..self.page_header_filled + taken.len()) {
            space.copy_from_slice(taken);
        }
        self.page_header_filled += taken.len();
        if self.page_header_filled == header_bytes {
            self.page_header_filled = 0;
            let page = Lsn::new(page).ok_or(WalFault::OutOfRange { record: self.run.next_lsn })?;
            self.enter_page(page, header_bytes)?;
        }
        Ok(taken.len())
    }

    /// With the page's header read: whether what goes on or begins there is what must.
    fn enter_page(&mut self, page: Lsn, header_bytes: usize) -> Result<(), WalFault> {
        let beginning = self.format.check_page(&self.page_header, page, &self.path)?;
        let content = self.format.block().saturating_sub(header_bytes as u64);
        self.page_left = usize::try_from(content).unwrap_or(0);
        let last_byte = page.checked_add(self.format.block() - 1).unwrap_or(page);
        let timeline = self.path.timeline_at(page);
        self.page_timeline = Some(timeline).filter(|timeline| self.path.timeline_at(last_byte) == *timeline);

        let is_continued = matches!(beginning, PageBeginning::Continuation(_));
        match self.phase {
            Phase::Pass { .. } => {}
            Phase::FirstPage => match beginning {
                PageBeginning::Continuation(0) => {
                    return Err(WalFault::ContinuationLength { page, found: 0, expected: 1 });
                }
                PageBeginning::Continuation(left) => self.phase = Phase::Continuation { left },
                PageBeginning::Record | PageBeginning::Overwrite => self.expect_record(page.get()),
            },
            Phase::PageOf { record } => {
                let first = page.get().saturating_add(header_bytes as u64);
                if record > first {
                    self.phase = Phase::Pass { to: record, then: Then::Between };
                } else if is_continued {
                    return Err(WalFault::UnexpectedContinuation { page });
                } else {
                    self.expect_record(page.get());
                }
            }
            Phase::Between if is_continued => return Err(WalFault::UnexpectedContinuation { page }),
            Phase::Between => {}
            Phase::Continuation { .. } | Phase::Header { .. } | Phase::Rest(_) => {
                return self.continue_record(page, beginning);
            }
        }
        Ok(())
    }

    fn continue_record(&mut self, page: Lsn, beginning: PageBeginning) -> Result<(), WalFault> {
        let expected = match &self.phase {
            Phase::Continuation { left } => *left,
            Phase::Header { bytes, filled, .. } => {
                u32_at(bytes, 0).unwrap_or(0).saturating_sub(u32::try_from(*filled).unwrap_or(0))
            }
            Phase::Rest(open) => open.left,
            _ => 0,
        };
        match beginning {
            PageBeginning::Continuation(found) if found == expected => Ok(()),
            PageBeginning::Continuation(found) => Err(WalFault::ContinuationLength { page, found, expected }),
            PageBeginning::Record => Err(WalFault::NotContinued { page, record: self.run.next_lsn }),
            // The server crashed before the record was complete, and wrote this page after that.
            PageBeginning::Overwrite => {
                self.expect_record(page.get());
                Ok(())
            }
        }
    }
}
