//! WAL made by hand, for the tests of the reader.

use crate::pg::wal::record::{RM_TRANSACTION, RM_XLOG};
use crate::pg::{
    Lsn, PgMajorVersion, SystemIdentifier, TimelineHistory, TimelineId, WalFault, WalFormat, WalProgress, WalReader,
    WalRecord, WalRun, WalSegmentSize, WalStart,
};

/// A page as every packaged server has it.
pub(super) const PAGE: u64 = 8192;
/// Sizes that `configure --with-wal-blocksize` allows.
pub(super) const PAGES: [u64; 4] = [1024, 4096, PAGE, 32_768];
pub(super) const SEGMENT: u64 = 1 << 20;
pub(super) const START: u64 = 5 * SEGMENT;
/// A resource manager whose content is never looked at: the heap.
pub(super) const HEAP: u8 = 10;

pub(super) fn lsn(position: u64) -> Lsn {
    Lsn::new(position).unwrap()
}

pub(super) fn tli(number: u32) -> TimelineId {
    TimelineId::new(number).unwrap()
}

pub(super) fn format(major: u32) -> WalFormat {
    WalFormat {
        major: PgMajorVersion::new(major).unwrap(),
        system_identifier: SystemIdentifier::new(77).unwrap(),
        segment_size: WalSegmentSize::new(SEGMENT).unwrap(),
        block_bytes: u32::try_from(PAGE).unwrap(),
    }
}

/// Bytes that grow from the beginning of a segment.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) format: WalFormat,
    pub(super) bytes: Vec<u8>,
    pub(super) timeline: u32,
    pub(super) previous: u64,
    /// Where each record begins.
    pub(super) starts: Vec<u64>,
}

impl Made {
    pub(super) fn new(major: u32) -> Self {
        Self::with_pages(major, PAGE)
    }

    /// With pages of so many bytes.
    pub(super) fn with_pages(major: u32, page: u64) -> Self {
        let format = WalFormat { block_bytes: u32::try_from(page).unwrap(), ..format(major) };
        Self { format, bytes: Vec::new(), timeline: 1, previous: START - 100, starts: Vec::new() }
    }

    fn is_at_page(&self) -> bool {
        self.position().is_multiple_of(u64::from(self.format.block_bytes))
    }

    pub(super) fn position(&self) -> u64 {
        START + self.bytes.len() as u64
    }

    /// Where in `bytes` a position is.
    pub(super) fn at(position: u64) -> usize {
        usize::try_from(position - START).unwrap()
    }

    pub(super) fn page_header(&mut self, flags: u16, missing: u32) {
        let position = self.position();
        assert!(self.is_at_page());
        let is_long = position.is_multiple_of(SEGMENT);
        let flags = flags | if is_long { 2 } else { 0 };
        self.bytes.extend(crate::pg::wal_header::magic_of(self.format.major).to_le_bytes());
        self.bytes.extend(flags.to_le_bytes());
        self.bytes.extend(self.timeline.to_le_bytes());
        self.bytes.extend(position.to_le_bytes());
        self.bytes.extend(missing.to_le_bytes());
        self.bytes.extend([0; 4]);
        if is_long {
            self.bytes.extend(self.format.system_identifier.get().to_le_bytes());
            self.bytes.extend(u32::try_from(SEGMENT).unwrap().to_le_bytes());
            self.bytes.extend(self.format.block_bytes.to_le_bytes());
        }
    }

    /// A record as it is without page headers.
    pub(super) fn record_bytes(previous: u64, xid: u32, manager: u8, info: u8, payload: &[u8]) -> Vec<u8> {
        let mut header = Vec::new();
        header.extend(u32::try_from(24 + payload.len()).unwrap().to_le_bytes());
        header.extend(xid.to_le_bytes());
        header.extend(previous.to_le_bytes());
        header.extend([info, manager, 0, 0]);
        let crc = crc32c::crc32c_append(crc32c::crc32c(payload), &header);
        header.extend(crc.to_le_bytes());
        header.extend(payload);
        header
    }

    pub(super) fn pad(&mut self) {
        while !self.position().is_multiple_of(8) {
            self.bytes.push(0);
        }
    }

    /// A record with this payload, main data header included; where it begins.
    pub(super) fn raw(&mut self, xid: u32, manager: u8, info: u8, payload: &[u8]) -> u64 {
        self.pad();
        if self.is_at_page() {
            self.page_header(0, 0);
        }
        let start = self.position();
        let bytes = Self::record_bytes(self.previous, xid, manager, info, payload);
        for (index, byte) in bytes.iter().enumerate() {
            if self.is_at_page() {
                self.page_header(1, u32::try_from(bytes.len() - index).unwrap());
            }
            self.bytes.push(*byte);
        }
        self.previous = start;
        self.starts.push(start);
        start
    }

    /// A record with this main data.
    pub(super) fn record(&mut self, xid: u32, manager: u8, info: u8, data: &[u8]) -> u64 {
        self.raw(xid, manager, info, &with_lead(data))
    }

    /// A commit without anything else.
    pub(super) fn commit(&mut self, xid: u32) -> u64 {
        self.record(xid, RM_TRANSACTION, 0, &[0; 8])
    }

    pub(super) fn switch(&mut self) -> u64 {
        let start = self.raw(0, RM_XLOG, 0x40, &[]);
        let end = self.position().next_multiple_of(SEGMENT);
        self.bytes.resize(Self::at(end), 0);
        start
    }

    /// Zeros to the end of the segment.
    pub(super) fn finish(&mut self) {
        let end = self.position().next_multiple_of(SEGMENT);
        self.bytes.resize(Self::at(end), 0);
    }

    pub(super) fn read(&self) -> (Vec<WalRecord>, WalRun) {
        self.read_on(&TimelineHistory::first(), WalStart::Segment(lsn(START)), None, usize::MAX)
    }

    pub(super) fn read_on(
        &self,
        path: &TimelineHistory,
        start: WalStart,
        until: Option<u64>,
        piece: usize,
    ) -> (Vec<WalRecord>, WalRun) {
        let mut reader = WalReader::new(self.format, path.clone(), start, until.map(lsn));
        let mut records = Vec::new();
        for part in self.bytes[Self::at(reader.position())..].chunks(piece) {
            if reader.feed(part, |record| records.push(record)) == WalProgress::Done {
                break;
            }
        }
        (records, reader.finish())
    }

    /// What the reader finds wrong.
    pub(super) fn fault(&self) -> WalFault {
        match self.read().1.ending {
            crate::pg::WalEnding::Fault(fault) => fault,
            other => panic!("{other:?}"),
        }
    }

    /// The same with other bytes at a position.
    pub(super) fn with(&self, position: u64, bytes: &[u8]) -> Self {
        let mut changed = self.clone();
        changed.bytes[Self::at(position)..Self::at(position) + bytes.len()].copy_from_slice(bytes);
        changed
    }
}

/// The number of a made segment.
#[cfg(test)]
pub(crate) const MADE_NUMBER: u64 = START / SEGMENT;

/// How a made segment ends.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MadeEnd {
    /// Behind its last record.
    Cut,
    /// By a switch record.
    Switch,
    /// With it: there are as many commits as it takes.
    Full,
}

/// A segment of the cluster of `pg::testing` with a commit of each of these transactions, and `fill` behind its end.
/// Also where its log ends.
#[cfg(test)]
pub(crate) fn made_segment(timeline: u32, xids: &[u32], end: MadeEnd, fill: u8) -> (Vec<u8>, Lsn) {
    let control = crate::pg::testing::control_file();
    let mut made = Made::new(control.major().get());
    made.format.system_identifier = control.system_identifier;
    made.timeline = timeline;
    for xid in xids {
        made.commit(*xid);
    }
    let size = Made::at(START + SEGMENT);
    match end {
        MadeEnd::Cut => made.pad(),
        MadeEnd::Switch => _ = made.raw(0, RM_XLOG, 0x40, &[]),
        MadeEnd::Full => {
            let mut xid = 100_000;
            while made.bytes.len() < size {
                made.commit(xid);
                xid += 1;
            }
        }
    }
    let log_end = lsn(made.position());
    made.bytes.resize(size, fill);
    (made.bytes, log_end)
}

/// Main data with the header that says how long it is.
pub(super) fn with_lead(data: &[u8]) -> Vec<u8> {
    let mut payload = match u8::try_from(data.len()) {
        Ok(length) => vec![255, length],
        Err(_) => [&[254], u32::try_from(data.len()).unwrap().to_le_bytes().as_slice()].concat(),
    };
    payload.extend(data);
    payload
}
