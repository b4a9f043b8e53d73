//! The part of the reader between page headers: records, whole or in pieces.

use super::{OpenRecord, Phase, Then, WalReader};
use crate::pg::little_endian::u32_at;
use crate::pg::wal::content::WalContent;
use crate::pg::wal::content_decoder::ContentDecoder;
use crate::pg::wal::fault::WalFault;
use crate::pg::wal::record::{HEADER_BYTES, RecordHeader, WalRecord, checked_length};
use crate::pg::wal::run::{WalEnding, WalSpan};
use crate::pg::{Lsn, TimelineId};

/// Records begin at multiples of this: `MAXIMUM_ALIGNOF`.
const ALIGNMENT: u64 = 8;

impl WalReader {
    /// Takes bytes of the present page that follow its header, and says how many.
    pub(super) fn take_content(&mut self, bytes: &[u8], sink: &mut impl FnMut(WalRecord)) -> Result<usize, WalFault> {
        match &mut self.phase {
            Phase::Between => self.take_records(bytes, sink),
            Phase::Continuation { left } => {
                let (taken, part) = part_of(bytes, *left);
                *left -= part;
                if *left == 0 {
                    let end = self.position.saturating_add(taken.len() as u64);
                    self.expect_record(end);
                }
                Ok(taken.len())
            }
            Phase::Header { start, bytes: header, filled } => {
                let start = *start;
                let (taken, _) = bytes.split_at((HEADER_BYTES - *filled).min(bytes.len()));
                if let Some(space) = header.get_mut(*filled..*filled + taken.len()) {
                    space.copy_from_slice(taken);
                }
                *filled += taken.len();
                if *filled >= 4 {
                    checked_length(u32_at(header, 0).unwrap_or(0), start)?;
                }
                if *filled == HEADER_BYTES {
                    let header = RecordHeader::decode(header);
                    let end = self.position.saturating_add(taken.len() as u64);
                    self.open(start, header, end, sink)?;
                }
                Ok(taken.len())
            }
            Phase::Rest(open) => {
                let (taken, part) = part_of(bytes, open.left);
                open.take(taken, part);
                if open.left == 0 {
                    let end = self.position.saturating_add(taken.len() as u64);
                    self.close(end, sink)?;
                }
                Ok(taken.len())
            }
            Phase::Pass { .. } | Phase::FirstPage | Phase::PageOf { .. } => Ok(bytes.len()),
        }
    }

    /// Takes as many whole records as there are, and the beginning of the next.
    fn take_records(&mut self, bytes: &[u8], sink: &mut impl FnMut(WalRecord)) -> Result<usize, WalFault> {
        let mut taken = 0;
        while matches!(self.phase, Phase::Between) && !self.ended {
            let position = self.position.saturating_add(taken as u64);
            let padding = position.wrapping_neg() % ALIGNMENT;
            taken = (taken + usize::try_from(padding).unwrap_or(0)).min(bytes.len());
            let Some(left) = bytes.get(taken..).filter(|left| !left.is_empty()) else { break };
            let start = Lsn::new(position.saturating_add(padding)).unwrap_or(self.run.next_lsn);
            let Some((header, rest)) = left.split_first_chunk::<HEADER_BYTES>() else {
                self.phase = Phase::Header { start, bytes: [0; HEADER_BYTES], filled: 0 };
                break;
            };
            let header = RecordHeader::decode(header);
            taken += HEADER_BYTES;
            let end = start.get().saturating_add(HEADER_BYTES as u64);
            let rest_bytes = usize::try_from(header.rest_bytes()).unwrap_or(usize::MAX);
            let Some(rest) = rest.get(..rest_bytes) else {
                self.open(start, header, end, sink)?;
                break;
            };
            header.check(start, self.run.last.map(|last| last.lsn), self.format.major)?;
            header.check_crc(start, crc32c::crc32c(rest))?;
            taken += rest.len();
            let end = end.saturating_add(rest.len() as u64);
            // Most records say nothing of interest: nothing is made and moved for them.
            match ContentDecoder::of(&header, self.format.major) {
                None => self.hand_out(start, &header, WalContent::Other, end, sink)?,
                Some(mut decoder) => {
                    decoder.feed(rest);
                    self.hand_out(start, &header, decoder.content_of(start, &header)?, end, sink)?;
                }
            }
        }
        Ok(taken)
    }

    /// With a header read whose record is not there as a whole.
    fn open(
        &mut self,
        start: Lsn,
        header: RecordHeader,
        end: u64,
        sink: &mut impl FnMut(WalRecord),
    ) -> Result<(), WalFault> {
        header.check(start, self.run.last.map(|last| last.lsn), self.format.major)?;
        let content = ContentDecoder::of(&header, self.format.major);
        let left = header.rest_bytes();
        self.phase = Phase::Rest(Box::new(OpenRecord { start, header, left, crc: 0, content }));
        if left == 0 { self.close(end, sink) } else { Ok(()) }
    }

    /// With the last byte of an open record read.
    fn close(&mut self, end: u64, sink: &mut impl FnMut(WalRecord)) -> Result<(), WalFault> {
        match std::mem::replace(&mut self.phase, Phase::Between) {
            Phase::Rest(open) => {
                let OpenRecord { start, header, crc, content, .. } = *open;
                header.check_crc(start, crc)?;
                let content = match content {
                    Some(decoder) => decoder.content_of(start, &header)?,
                    None => WalContent::Other,
                };
                self.hand_out(start, &header, content, end, sink)
            }
            other => {
                self.phase = other;
                Ok(())
            }
        }
    }

    /// With all of a record read and its CRC right.
    fn hand_out(
        &mut self,
        start: Lsn,
        header: &RecordHeader,
        content: WalContent,
        end: u64,
        sink: &mut impl FnMut(WalRecord),
    ) -> Result<(), WalFault> {
        let out_of_range = WalFault::OutOfRange { record: start };
        let unit = if header.is_switch() { self.format.segment() } else { ALIGNMENT };
        let end = end.checked_next_multiple_of(unit).and_then(Lsn::new).ok_or(out_of_range)?;
        let previous_lsn = Lsn::new(header.previous);
        if self.run.first_lsn.is_none() {
            (self.run.first_lsn, self.run.previous_lsn) = (Some(start), previous_lsn);
        }
        self.run.records += 1;
        self.run.last = Some(WalSpan { lsn: start, end_lsn: end });
        sink(WalRecord {
            lsn: start,
            end_lsn: end,
            previous_lsn,
            timeline: self.timeline_of(start),
            xid: Some(header.xid).filter(|xid| *xid != 0),
            total_bytes: header.total_bytes,
            resource_manager: header.resource_manager,
            info: header.info,
            content,
        });
        self.expect_record(end.get());
        if header.is_switch() {
            self.phase = Phase::Pass { to: end.get(), then: Then::Between };
        }
        Ok(())
    }

    /// The next record begins after `end`; ends the run when that is another's.
    pub(super) fn expect_record(&mut self, end: u64) {
        self.phase = Phase::Between;
        let start = self.format.record_start(end.checked_next_multiple_of(ALIGNMENT).unwrap_or(u64::MAX));
        if let Some(start) = Lsn::new(start) {
            self.run.next_lsn = start;
        }
        if self.until.is_some_and(|until| self.run.next_lsn >= until) {
            self.stop(WalEnding::Complete);
        }
    }

    fn timeline_of(&self, lsn: Lsn) -> TimelineId {
        self.page_timeline.unwrap_or_else(|| self.path.timeline_at(lsn))
    }
}

impl ContentDecoder {
    /// What a record says of which all was fed, or that it is not laid out as it should be.
    fn content_of(self, record: Lsn, header: &RecordHeader) -> Result<WalContent, WalFault> {
        let RecordHeader { resource_manager, info, .. } = *header;
        self.finish().ok_or(WalFault::Content { record, resource_manager, info })
    }
}

impl OpenRecord {
    fn take(&mut self, bytes: &[u8], count: u32) {
        self.crc = crc32c::crc32c_append(self.crc, bytes);
        if let Some(content) = &mut self.content {
            content.feed(bytes);
        }
        self.left -= count;
    }
}

/// The first bytes, at most `limit`, and how many.
fn part_of(bytes: &[u8], limit: u32) -> (&[u8], u32) {
    let count = u32::try_from(bytes.len()).unwrap_or(u32::MAX).min(limit);
    let part = bytes.get(..usize::try_from(count).unwrap_or(usize::MAX)).unwrap_or_default();
    (part, count)
}
