//! Reads the WAL along a path in several threads.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Search, SegmentStanding, WalSearchError, WalSource};
use crate::parallel;
use crate::pg::{
    Lsn, PgMajorVersion, SegmentCandidates, TimelineHistory, TimelineId, WalEnding, WalFault, WalFormat, WalPageScan,
    WalProgress, WalReader, WalRun, WalSegmentHeader, WalSegmentName, WalSegmentSize, WalStart,
};
use crate::report::{Cancel, Progress, Reporter};

/// How many bytes one thread reads at a stretch: the record that crosses their end is read from what follows, whose
/// first frame is decompressed twice.
const RUN_BYTES: u64 = 64 << 20;

/// How many records a server of 15 and later reads ahead of the one that it replays, at most: `wal_decode_buffer_size` is
/// 512 kB, and each takes more than 64 bytes of it. They may lie in many segments, when little is in each.
const READ_AHEAD_RECORDS: u64 = 8192;
/// LIMIT: bytes of WAL behind what was found in which so many are looked for.
const READ_AHEAD_BYTES_MAX: u64 = 1 << 30;

/// What is read, and how.
pub struct WalSearch<'a> {
    source: &'a dyn WalSource,
    path: &'a TimelineHistory,
    format: WalFormat,
    from: Lsn,
    to: Lsn,
    threads: usize,
    run_bytes: u64,
}

/// What was found.
#[derive(Debug)]
pub struct Found<S> {
    /// The findings.
    pub search: S,
    /// What was read of the log: up to its end, or up to where the search was decided.
    pub run: WalRun,
    /// Whether something that cannot be read lies behind what was found, so near that a server reads it ahead.
    pub ends_in_trouble: bool,
}

/// How much was read behind what was found.
#[derive(Default)]
struct ReadAhead {
    /// Where it was found, and how many records were read by the end of the piece in which that was.
    found: Option<(Lsn, u64)>,
    records: u64,
    bytes: u64,
}

impl ReadAhead {
    /// Takes note of what was read so far.
    fn see(&mut self, found_to: Option<Lsn>, run: &WalRun) {
        let Some(to) = found_to else { return };
        let (to, before) = *self.found.get_or_insert((to, run.records));
        self.records = run.records.saturating_sub(before);
        self.bytes = run.next_lsn.distance_from(to).unwrap_or_default();
    }

    /// Whether no server reads farther ahead.
    fn is_over(&self) -> bool {
        self.found.is_some() && (self.records >= READ_AHEAD_RECORDS || self.bytes > READ_AHEAD_BYTES_MAX)
    }
}

/// Part of the log that one thread reads.
struct Piece {
    start: WalStart,
    /// Where the next piece begins; none of the last one.
    until: Option<Lsn>,
}

/// A piece that was read, up to its end or to where it cannot be read.
struct ReadPiece<S> {
    start: Lsn,
    /// Where the next piece begins; none of the last one.
    until: Option<Lsn>,
    search: S,
    run: WalRun,
    /// The segment in which reading ended; none when nothing could be read.
    last: Option<WalSegmentName>,
    /// Whether the log ends in it.
    is_end: bool,
    trouble: Option<Trouble>,
}

/// Why reading ended early.
struct Trouble {
    /// What lies before is read and checked; of what lies behind nothing is known.
    at: Lsn,
    error: WalSearchError,
}

impl<'a> WalSearch<'a> {
    /// Reads along `path`, in so many threads. At `from` the first record begins; or it is the beginning of a segment,
    /// whose first record is then the first. `to` is where the WAL that is there ends: the end of a segment.
    pub fn new(
        source: &'a dyn WalSource,
        path: &'a TimelineHistory,
        (from, to): (Lsn, Lsn),
        size: WalSegmentSize,
        threads: usize,
    ) -> Result<Self, WalSearchError> {
        let format = Self::format(source, path, from, size)?;
        Ok(Self { source, path, format, from, to, threads, run_bytes: RUN_BYTES })
    }

    /// The same, where each thread reads so many bytes at a stretch; one segment at least.
    pub fn in_runs_of(self, run_bytes: u64) -> Self {
        Self { run_bytes, ..self }
    }

    /// The version of the server that wrote the WAL.
    pub fn major(&self) -> PgMajorVersion {
        self.format.major
    }

    /// What all WAL of this cluster has in common, from the segment that holds `from`.
    pub fn format(
        source: &dyn WalSource,
        path: &TimelineHistory,
        from: Lsn,
        size: WalSegmentSize,
    ) -> Result<WalFormat, WalSearchError> {
        let after = from.checked_add(1).unwrap_or(from);
        let Some(candidates) = path.segment_names(from, after, size).next() else {
            return Err(missing(path, from, size));
        };
        let mut beginning = Vec::new();
        let found = source.read_any(&candidates, &mut |bytes| {
            beginning.extend_from_slice(bytes.get(..WalSegmentHeader::LENGTH).unwrap_or(bytes));
            if beginning.len() < WalSegmentHeader::LENGTH { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        let segment = found.ok_or_else(|| missing(path, from, size))?;
        let header =
            WalSegmentHeader::decode(&beginning).map_err(|source| WalSearchError::Header { segment, source })?;
        if header.segment_size != size {
            let (expected, found) = (size, header.segment_size);
            return Err(WalSearchError::OtherSegmentSize { segment, expected, found });
        }
        Ok(WalFormat::from(header))
    }

    /// Searches from the first record to the end, or until the search is decided.
    pub fn run<S: Search>(
        &self,
        new: impl Fn() -> S + Sync,
        reporter: &dyn Reporter,
        cancel: &Cancel,
    ) -> Result<Found<S>, WalSearchError> {
        let (found, ended) = self.run_to_trouble(new, reporter, cancel);
        ended?;
        found.ok_or(WalSearchError::Cancelled)
    }

    /// The same, and also what was found before the log cannot be read.
    pub fn run_to_trouble<S: Search>(
        &self,
        new: impl Fn() -> S + Sync,
        reporter: &dyn Reporter,
        cancel: &Cancel,
    ) -> (Option<Found<S>>, Result<(), WalSearchError>) {
        let total_bytes = self.to.distance_from(self.from);
        let mut found: Option<Found<S>> = None;
        let mut read_ahead = ReadAhead::default();
        let read = |piece: Piece, is_over: &AtomicBool| self.read(&piece, new(), is_over, cancel);
        let broken = parallel::in_order(self.threads, self.pieces().into_iter(), read, |read| {
            let piece = match read {
                Ok(piece) => piece,
                Err(error) => return ControlFlow::Break(Err(error)),
            };
            let (until, is_end) = (piece.until, piece.is_end);
            let trouble = Found::add(&mut found, piece);
            let found_to = found.as_ref().and_then(|found| found.search.found_to());
            if let Some(found) = &found {
                read_ahead.see(found_to, &found.run);
            }
            if let Some(Trouble { at, error }) = trouble {
                let is_enough = found_to.is_some_and(|to| to <= at);
                if let Some(found) = &mut found {
                    found.ends_in_trouble = !read_ahead.is_over();
                }
                return ControlFlow::Break(if is_enough { Ok(()) } else { Err(error) });
            }
            let Some(found) = &found else { return ControlFlow::Continue(()) };
            let done_bytes = found.run.next_lsn.distance_from(self.from).unwrap_or_default();
            reporter.progress(&Progress { phase: "reading WAL", done_bytes, total_bytes });
            // A record that goes on behind a piece counts once the segment that holds its end was read whole; and what
            // servers read ahead of it is to be known, too.
            let is_whole = until.is_none_or(|until| found_to.is_none_or(|to| to <= until));
            let is_checked = is_whole && (until.is_none() || found_to.is_none() || read_ahead.is_over());
            let is_over = is_end || (is_checked && found.search.is_decided());
            if is_over { ControlFlow::Break(Ok(())) } else { ControlFlow::Continue(()) }
        });
        let ended = broken.map_err(WalSearchError::Thread).and_then(|broken| broken.unwrap_or(Ok(())));
        (found, ended)
    }

    fn pieces(&self) -> Vec<Piece> {
        let segment = self.format.segment_size.bytes();
        let run_bytes = (self.run_bytes / segment).max(1) * segment;
        // No record begins at the beginning of a segment: a page header does.
        let start = match self.from.get() % segment {
            0 => WalStart::Segment(self.from),
            _ => WalStart::Record(self.from),
        };
        let mut pieces = vec![Piece { start, until: None }];
        let first_boundary = (self.from.get() / run_bytes + 1) * run_bytes;
        let mut boundary = Lsn::new(first_boundary);
        while let Some(start) = boundary.filter(|start| *start < self.to) {
            if let Some(before) = pieces.last_mut() {
                before.until = Some(start);
            }
            pieces.push(Piece { start: WalStart::Segment(start), until: None });
            boundary = start.checked_add(run_bytes);
        }
        pieces
    }

    fn read<S: Search>(
        &self,
        piece: &Piece,
        mut search: S,
        is_over: &AtomicBool,
        cancel: &Cancel,
    ) -> Result<ReadPiece<S>, WalSearchError> {
        let (WalStart::Record(from) | WalStart::Segment(from)) = piece.start;
        let size = self.format.segment_size;
        let mut reader = WalReader::new(self.format, self.path.clone(), piece.start, piece.until);
        let (mut last, mut trouble) = (None, None);
        let mut is_done = false;
        for candidates in self.path.segment_names(from, self.to, size) {
            // What lies in the piece is read to its end, so that its digest is checked, also behind the last record.
            let start = candidates.number.saturating_mul(size.bytes());
            let is_own = piece.until.is_none_or(|until| start < until.get());
            let was_done = is_done;
            if was_done && !is_own {
                break;
            }
            let mut is_broken = false;
            let read = self.source.read_any(&candidates, &mut |bytes| {
                is_broken = is_over.load(Ordering::Relaxed) || cancel.is_cancelled();
                if !is_done {
                    is_done = reader.feed(bytes, |record| search.see(&record)) == WalProgress::Done;
                }
                if is_broken || (is_done && !is_own) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            if is_broken {
                return Err(WalSearchError::Cancelled);
            }
            match read.and_then(|segment| segment.ok_or_else(|| absent(&candidates, self.path, from, size))) {
                Ok(segment) if was_done => debug_assert!(last.is_some(), "{segment} follows nothing"),
                Ok(segment) => last = Some(segment),
                Err(error) => {
                    trouble = Some(Trouble { at: Lsn::new(start).map_or(from, |start| start.max(from)), error });
                    break;
                }
            }
        }
        if last.is_none() && trouble.is_none() {
            trouble = Some(Trouble { at: from, error: missing(self.path, from, size) });
        }
        let position = reader.position();
        let mut run = reader.finish();
        let mut is_end = false;
        if let (WalEnding::Fault(fault), Some(segment), None) = (&run.ending, &last, &trouble) {
            let judged = self.judge(fault, segment, position, run.last.map(|last| last.lsn));
            trouble = judged.err().map(|error| Trouble { at: run.next_lsn, error });
            is_end = true;
        }
        if is_end || trouble.is_some() {
            run.ending = WalEnding::OutOfInput { incomplete: None };
        }
        Ok(ReadPiece { start: from, until: piece.until, search, run, last, is_end, trouble })
    }

    /// Whether a fault is the end of the log, or damage. Reading had come to `position`.
    fn judge(
        &self,
        fault: &WalFault,
        segment: &WalSegmentName,
        position: u64,
        last_record: Option<Lsn>,
    ) -> Result<(), WalSearchError> {
        let (segment, source) = (*segment, fault.clone());
        // A path may lead on from there along another timeline.
        let is_last = segment.end_lsn(self.format.segment_size).is_none_or(|end| end >= self.to);
        let pages_behind = match self.source.standing(&segment) {
            SegmentStanding::Archived => return Err(WalSearchError::Fault { segment, source }),
            SegmentStanding::LastLeft if is_last => Some(self.valid_pages_behind(&segment, position)?),
            SegmentStanding::Left | SegmentStanding::LastLeft => None,
        };
        if pages_behind == Some(0) && self.may_end(&segment, fault)? {
            return Ok(());
        }
        Err(WalSearchError::OldFault { segment, pages_behind, last_record, source })
    }

    /// Whether the log of a segment may end like that. Pages of a timeline that was left lie behind those of the new one
    /// where the file was recycled; where a timeline begins, zeros follow on what was copied (`XLogFileCopy`).
    fn may_end(&self, segment: &WalSegmentName, fault: &WalFault) -> Result<bool, WalSearchError> {
        match fault {
            WalFault::PageTimeline { expected, .. } => {
                Ok(fault.is_usual_end() && self.first_timeline(segment)? == Some(*expected))
            }
            _ => Ok(fault.is_usual_end()),
        }
    }

    /// That of its first page.
    fn first_timeline(&self, segment: &WalSegmentName) -> Result<Option<TimelineId>, WalSearchError> {
        let mut beginning = Vec::with_capacity(WalSegmentHeader::LENGTH);
        self.source.read(segment, &mut |bytes| {
            let wanted = WalSegmentHeader::LENGTH.saturating_sub(beginning.len());
            beginning.extend_from_slice(bytes.get(..wanted).unwrap_or(bytes));
            if beginning.len() < WalSegmentHeader::LENGTH { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(WalSegmentHeader::decode(&beginning).ok().map(|header| header.timeline))
    }

    fn valid_pages_behind(&self, segment: &WalSegmentName, position: u64) -> Result<u64, WalSearchError> {
        let size = self.format.segment_size;
        let (Some(number), Some(start)) = (segment.number(size), Lsn::new(position)) else { return Ok(0) };
        let mut passed = position.saturating_sub(number.saturating_mul(size.bytes()));
        let mut scan = WalPageScan::new(self.format, self.path.clone(), start);
        self.source.read(segment, &mut |bytes| {
            let skipped = usize::try_from(passed).unwrap_or(usize::MAX).min(bytes.len());
            passed -= skipped as u64;
            scan.feed(bytes.get(skipped..).unwrap_or_default());
            ControlFlow::Continue(())
        })?;
        Ok(scan.valid_pages())
    }
}

impl<S: Search> Found<S> {
    /// Adds the next piece, as far as it was read, and says why it goes no further.
    fn add(found: &mut Option<Self>, piece: ReadPiece<S>) -> Option<Trouble> {
        let ReadPiece { start, search, run, last, trouble, .. } = piece;
        let Some(segment) = last else { return trouble };
        match found {
            None => *found = Some(Self { search, run, ends_in_trouble: false }),
            Some(earlier) => match earlier.run.clone().join(run) {
                Ok(joined) => {
                    earlier.run = joined;
                    earlier.search.merge(search);
                }
                Err(source) => {
                    return Some(Trouble { at: start, error: WalSearchError::Join { segment, source } });
                }
            },
        }
        trouble
    }
}

fn absent(candidates: &SegmentCandidates, path: &TimelineHistory, from: Lsn, size: WalSegmentSize) -> WalSearchError {
    match candidates.names.first() {
        Some(segment) => WalSearchError::Missing { segment: *segment },
        None => missing(path, from, size),
    }
}

fn missing(path: &TimelineHistory, lsn: Lsn, size: WalSegmentSize) -> WalSearchError {
    WalSearchError::Missing { segment: WalSegmentName::containing(path.timeline_at(lsn), lsn, size) }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
