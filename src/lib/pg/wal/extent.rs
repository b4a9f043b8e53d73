//! How much of one segment is log, read without what lies before and behind it.
//!
//! Servers that hold the same log need not hold the same segment: what lies behind a switch record, and behind the
//! place where a stream ended, is what was in the file before. The path of timelines is the one that the pages say, for
//! at a fork those of the older timeline are copied as they are.

use std::ops::ControlFlow;

use super::content::WalContent;
use super::page::{LONG_HEADER_BYTES, WalFormat};
use super::page_scan::{PageHeaders, WalPageScan};
use super::reader::{WalProgress, WalReader, WalStart};
use super::record::HEADER_BYTES;
use super::run::WalEnding;
use crate::pg::{Lsn, TimelineHistory, TimelineId, WalSegmentHeader, WalSegmentName};

/// How much of a segment is log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalExtent {
    /// Bytes up to the end of the last record that is complete; 0 when none ends in the segment.
    pub log_bytes: u64,
    /// Why there is no more.
    pub ending: WalExtentEnding,
}

/// Why there is no more log in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WalExtentEnding {
    /// The segment is full.
    Full,
    /// A switch record: the log goes on in the next segment.
    Switch,
    /// The log stops, and no valid page follows: as it was cut off, or as it is still being written.
    Early,
    /// It cannot be read from there on, and it is not proven that nothing follows.
    Unclear,
}

/// Takes bytes of a segment, pages that are whole but for the last one, until it breaks.
pub type ExtentSink<'a> = dyn FnMut(&[u8]) -> ControlFlow<()> + 'a;

impl WalExtent {
    /// Reads a segment of that name; `None` when its beginning is no such segment's. `pass` hands over its bytes from
    /// the first one on, until it is told to break, every time that it is called.
    pub fn read<E>(
        name: &WalSegmentName,
        mut pass: impl FnMut(&mut ExtentSink<'_>) -> Result<(), E>,
    ) -> Result<Option<Self>, E> {
        let mut beginning = Vec::with_capacity(WalSegmentHeader::LENGTH);
        pass(&mut |bytes| {
            let wanted = WalSegmentHeader::LENGTH.saturating_sub(beginning.len());
            beginning.extend_from_slice(bytes.get(..wanted).unwrap_or(bytes));
            if beginning.len() < WalSegmentHeader::LENGTH { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        let Ok(header) = WalSegmentHeader::decode(&beginning) else { return Ok(None) };
        if header.check_name(name).is_err() {
            return Ok(None);
        }
        let (format, start) = (WalFormat::from(header), header.page_address);
        let mut timelines = PageTimelines::new(format, start, name.timeline());
        if header.timeline != name.timeline() {
            pass(&mut |bytes| timelines.feed(bytes))?;
        }
        let mut reader = ExtentReader::new(format, start, timelines.path());
        pass(&mut |bytes| reader.feed(bytes))?;
        Ok(Some(reader.finish()))
    }
}

/// The timelines of a segment's pages, up to the first page that does not belong there.
struct PageTimelines {
    headers: PageHeaders,
    /// That of the file's name: none of its pages is of a later one.
    last: TimelineId,
    /// Each with its first page.
    found: Vec<(TimelineId, Lsn)>,
    is_over: bool,
}

impl PageTimelines {
    fn new(format: WalFormat, start: Lsn, last: TimelineId) -> Self {
        Self { headers: PageHeaders::new(format, start), last, found: Vec::new(), is_over: false }
    }

    fn feed(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        let Self { headers, last, found, is_over } = self;
        headers.feed(bytes, |format, header, page| {
            let before = found.last().map(|(timeline, _)| *timeline);
            match format.check_place(header, page).ok().and_then(TimelineId::new) {
                Some(timeline) if !*is_over && timeline <= *last && before.is_none_or(|before| before <= timeline) => {
                    if before != Some(timeline) {
                        found.push((timeline, page));
                    }
                }
                _ => *is_over = true,
            }
        });
        if *is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// A path that has these pages.
    fn path(&self) -> TimelineHistory {
        let last = self.found.last().map_or(self.last, |(timeline, _)| *timeline);
        let left = self.found.iter().zip(self.found.iter().skip(1));
        let text: String = left.map(|((timeline, _), (_, page))| format!("{timeline}\t{page}\n")).collect();
        TimelineHistory::parse(last, &text).unwrap_or_else(|_| TimelineHistory::without_parents(last))
    }
}

struct ExtentReader {
    format: WalFormat,
    start: Lsn,
    path: TimelineHistory,
    reader: WalReader,
    is_switched: bool,
    /// What follows the place where reading ended.
    behind: Option<WalPageScan>,
}

impl ExtentReader {
    fn new(format: WalFormat, start: Lsn, path: TimelineHistory) -> Self {
        let reader = WalReader::new(format, path.clone(), WalStart::Segment(start), None);
        Self { format, start, path, reader, is_switched: false, behind: None }
    }

    fn feed(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        if let Some(scan) = &mut self.behind {
            scan.feed(bytes);
            return ControlFlow::Continue(());
        }
        let (before, is_switched) = (self.reader.position(), &mut self.is_switched);
        let progress = self.reader.feed(bytes, |record| *is_switched = record.content == WalContent::Switch);
        if progress == WalProgress::Done {
            let position = self.reader.position();
            let read = usize::try_from(position.saturating_sub(before)).unwrap_or(usize::MAX);
            let from = Lsn::new(position).unwrap_or(self.start);
            let mut scan = WalPageScan::new(self.format, self.path.clone(), from);
            scan.feed(bytes.get(read..).unwrap_or_default());
            self.behind = Some(scan);
        }
        if self.is_switched { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn finish(self) -> WalExtent {
        let Self { format, start, reader, is_switched, behind, .. } = self;
        let (segment, read_to) = (format.segment(), reader.position());
        let run = reader.finish();
        let pages_behind = behind.map_or(0, |scan| scan.valid_pages());
        let ending = match run.ending {
            _ if is_switched => WalExtentEnding::Switch,
            WalEnding::Fault(fault) if fault.is_usual_end() && pages_behind == 0 => WalExtentEnding::Early,
            WalEnding::OutOfInput { .. } if read_to - start.get() >= segment => WalExtentEnding::Full,
            _ => WalExtentEnding::Unclear,
        };
        let log_end = match run.last {
            _ if ending == WalExtentEnding::Full => start.get().saturating_add(segment),
            Some(last) if is_switched => end_of_switch(&format, last.lsn),
            Some(last) => last.end_lsn.get(),
            // The end of a record that began before.
            None if run.next_lsn.get() > format.record_start(start.get()) => run.next_lsn.get(),
            None => start.get(),
        };
        WalExtent { log_bytes: log_end.saturating_sub(start.get()).min(segment), ending }
    }
}

/// Where a switch record ends, which is nothing but its header, itself.
fn end_of_switch(format: &WalFormat, lsn: Lsn) -> u64 {
    let page_left = format.block() - lsn.get() % format.block();
    let end = lsn.get().saturating_add(HEADER_BYTES as u64);
    if page_left >= HEADER_BYTES as u64 {
        return end;
    }
    let next_page = lsn.get().saturating_add(page_left);
    end.saturating_add(format.header_bytes(next_page) as u64)
}

impl WalFormat {
    /// Whether the page at `page`, which begins with these bytes, is one of a segment of that timeline.
    pub fn has_page(&self, bytes: &[u8], page: Lsn, timeline: TimelineId) -> bool {
        let Some(bytes) = bytes.get(..LONG_HEADER_BYTES) else { return false };
        self.check_place(bytes, page).is_ok_and(|found| found <= timeline.get())
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::{Made, PAGE, SEGMENT, START, tli};
    use super::super::record::RM_XLOG;
    use super::*;

    fn extent(timeline: u32, bytes: &[u8]) -> Option<WalExtent> {
        let name = WalSegmentName::from_number(tli(timeline), START / SEGMENT, Made::new(15).format.segment_size);
        let mut found = Vec::new();
        for piece in [1000, 1 << 17, usize::MAX] {
            let read = WalExtent::read(&name.unwrap(), |sink| {
                for part in bytes.chunks(piece) {
                    if sink(part).is_break() {
                        break;
                    }
                }
                Ok::<(), ()>(())
            });
            found.push(read.unwrap());
        }
        assert!(found.iter().all(|one| *one == found[0]), "{found:?}");
        found[0]
    }

    fn with_commits(count: u32) -> Made {
        let mut made = Made::new(15);
        (0..count).for_each(|xid| _ = made.commit(700 + xid));
        made.pad();
        made
    }

    fn ended(log_bytes: usize, ending: WalExtentEnding) -> Option<WalExtent> {
        Some(WalExtent { log_bytes: log_bytes as u64, ending })
    }

    /// The bytes, and others behind them.
    fn filled(made: &Made, fill: u8) -> Vec<u8> {
        let mut bytes = made.bytes.clone();
        bytes.resize(SEGMENT as usize, fill);
        bytes
    }

    #[test]
    fn the_log_ends_behind_its_last_record_whatever_follows() {
        for count in [1, 10, 2000] {
            let mut made = with_commits(count);
            let end = made.bytes.len();
            for fill in [0, 7, 255] {
                assert_eq!(extent(1, &filled(&made, fill)), ended(end, WalExtentEnding::Early), "{count} {fill}");
            }
            made.raw(0, RM_XLOG, 0x40, &[]);
            for fill in [0, 7, 255] {
                let found = extent(1, &filled(&made, fill));
                assert_eq!(found, ended(made.bytes.len(), WalExtentEnding::Switch), "{count} {fill}");
            }
        }
    }

    #[test]
    fn a_switch_record_that_crosses_a_page_ends_on_the_next() {
        for left in [8, 16] {
            let mut made = with_commits(3);
            let room = usize::try_from(PAGE).unwrap() - left - made.bytes.len() % usize::try_from(PAGE).unwrap();
            made.raw(0, super::super::made::HEAP, 0, &vec![1; room - 24]);
            made.raw(0, RM_XLOG, 0x40, &[]);
            let found = extent(1, &filled(&made, 7));
            assert_eq!(found, ended(made.bytes.len(), WalExtentEnding::Switch), "{left}");
            assert_eq!(made.bytes.len() % usize::try_from(PAGE).unwrap(), 24 + 24 - left);
        }
    }

    #[test]
    fn a_full_segment_is_log_to_its_end() {
        let made = with_commits(40_000);
        let size = usize::try_from(SEGMENT).unwrap();
        assert!(made.bytes.len() > size);
        assert_eq!(extent(1, &made.bytes[..size]), ended(size, WalExtentEnding::Full));
        assert_eq!(extent(1, &made.bytes[..size - 1]).unwrap().ending, WalExtentEnding::Unclear);
    }

    #[test]
    fn what_is_followed_by_valid_pages_is_not_the_end() {
        let made = with_commits(2000);
        let mut bytes = filled(&made, 0);
        bytes[made.bytes.len() / 2] ^= 1;
        assert_eq!(extent(1, &bytes).unwrap().ending, WalExtentEnding::Unclear);
    }

    #[test]
    fn an_unfinished_record_is_no_log() {
        let mut made = with_commits(5);
        let end = made.bytes.len();
        made.raw(0, super::super::made::HEAP, 0, &vec![1; 30_000]);
        for cut in [end + 10, end + 100, end + 9000, made.bytes.len() - 1] {
            let mut bytes = made.bytes[..cut].to_vec();
            bytes.resize(SEGMENT as usize, 0);
            assert_eq!(extent(1, &bytes), ended(end, WalExtentEnding::Early), "{cut}");
        }
        let mut begun = Made::new(15);
        begun.page_header(1, 30_000);
        assert_eq!(extent(1, &filled(&begun, 0)), ended(0, WalExtentEnding::Early));
    }

    /// The page of the fork is copied, and goes on under its old header.
    #[test]
    fn pages_of_older_timelines_belong_to_a_segment() {
        let mut made = with_commits(1000);
        made.timeline = 3;
        (0..1000).for_each(|xid| _ = made.commit(9000 + xid));
        made.pad();
        let end = made.bytes.len();
        assert_eq!(extent(3, &filled(&made, 7)), ended(end, WalExtentEnding::Early));
        assert_eq!(extent(4, &filled(&made, 7)), ended(end, WalExtentEnding::Early));
        assert_eq!(extent(1, &filled(&made, 7)).unwrap().ending, WalExtentEnding::Unclear);
    }

    #[test]
    fn what_is_no_segment_has_no_log() {
        for bytes in [vec![], vec![0; 1 << 20], b"one".to_vec()] {
            assert_eq!(extent(1, &bytes), None);
        }
        let mut other = with_commits(1);
        other.bytes[8] ^= 1;
        assert_eq!(extent(1, &filled(&other, 0)), None);
    }
}
