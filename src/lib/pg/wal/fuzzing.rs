//! WAL, for [`crate::fuzzing`]: raw bytes as pages, and records with right CRCs whose content is arbitrary.

use super::made::{Made, START};
use super::{WalEnding, WalExtent, WalPageScan, WalProgress, WalReader, WalStart};
use crate::fuzz_check::{seen, split_choice, split_piece};
use crate::pg::{Lsn, PgMajorVersion, TimelineHistory, TimelineId, WalSegmentHeader, WalSegmentName};

/// The first byte chooses the version and whether the bytes are pages or records, the second the size of pieces.
pub(crate) fn wal(data: &[u8]) {
    let (choice, rest) = split_choice(data);
    let (piece, mut rest) = split_choice(rest);
    let versions = PgMajorVersion::OLDEST.get()..=PgMajorVersion::NEWEST.get();
    let major = versions.clone().nth(usize::from(choice) % versions.count()).expect("one of them");
    let mut made = Made::new(major);
    match choice >> 6 {
        0 => {
            made.bytes.extend_from_slice(rest);
            // Real WAL says of which cluster it is, and where it begins.
            if let Ok(header) = WalSegmentHeader::decode(rest) {
                let start = header.page_address;
                made.format = header.into();
                return read(&made, start, usize::from(piece) * 37 + 1);
            }
        }
        1 => {
            // A right header, so that what is behind it is reached.
            made.page_header(0, 0);
            made.bytes.extend_from_slice(rest);
        }
        _ => records(&mut made, &mut rest, choice >> 6 == 3),
    }
    read(&made, Lsn::new(START).expect("a position"), usize::from(piece) * 37 + 1);
}

/// Records, each of resource manager, information, xid and main data; `raw` ones without the header of the data.
fn records(made: &mut Made, rest: &mut &[u8], raw: bool) {
    while let Some((&[manager, info, xid], after)) = rest.split_first_chunk::<3>() {
        *rest = after;
        let content = split_piece(rest);
        // The six managers that are looked into come often.
        let manager = if manager & 0x80 == 0 { [0, 1, 2, 4, 5, 10][usize::from(manager % 6)] } else { manager & 0x7f };
        if raw {
            made.raw(u32::from(xid), manager, info, content);
        } else {
            made.record(u32::from(xid), manager, info, content);
        }
    }
    made.pad();
    made.bytes.extend([0; 64]);
}

fn read(made: &Made, start: Lsn, piece: usize) {
    let path = TimelineHistory::first();
    let mut reader = WalReader::new(made.format, path.clone(), WalStart::Segment(start), None);
    let mut last = None;
    for part in made.bytes.chunks(piece) {
        let progress = reader.feed(part, |record| {
            assert!(last.is_none_or(|last| last < record.lsn), "records come in order");
            last = Some(record.lsn);
        });
        if progress == WalProgress::Done {
            break;
        }
    }
    let run = reader.finish();
    if let WalEnding::Fault(fault) = &run.ending {
        seen(fault);
    }
    let mut scan = WalPageScan::new(made.format, path, start);
    made.bytes.chunks(piece).for_each(|part| scan.feed(part));
    assert!(scan.valid_pages() <= made.bytes.len() as u64 / u64::from(made.format.block_bytes) + 1);
    // Files and frames are read in whole pages.
    let block = (made.format.block_bytes as usize).max(1);
    let extents = [piece.div_ceil(block) * block, usize::MAX].map(|piece| extent(made, start, piece));
    assert_eq!(extents[0], extents[1], "the size of pieces does not matter");
}

/// How much of it is log, as a segment of the third timeline.
fn extent(made: &Made, start: Lsn, piece: usize) -> Option<WalExtent> {
    let size = made.format.segment_size;
    let name = WalSegmentName::from_number(TimelineId::new(3)?, start.get() / size.bytes(), size)?;
    let read = WalExtent::read(&name, |sink| {
        let _ = made.bytes.chunks(piece).all(|part| sink(part).is_continue());
        Ok::<(), std::convert::Infallible>(())
    });
    let extent = match read {
        Ok(extent) => extent?,
        Err(never) => match never {},
    };
    assert!(extent.log_bytes <= size.bytes(), "{extent:?}");
    Some(extent)
}
