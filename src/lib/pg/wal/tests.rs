use proptest::prelude::*;

use super::made::{HEAP, Made, PAGE, PAGES, SEGMENT, START, format, lsn, tli, with_lead};
use super::record::{RM_DATABASE, RM_TABLESPACE, RM_TRANSACTION, RM_XLOG};
use super::*;
use crate::pg::{SystemIdentifier, TimelineHistory, WalSegmentSize};

/// Three segments: small records, ones over pages, one over a whole segment, and a switch.
fn sample() -> Made {
    sample_with_pages(PAGE)
}

fn sample_with_pages(page: u64) -> Made {
    let mut made = Made::with_pages(15, page);
    for xid in 700..900 {
        made.record(xid, HEAP, 0, &vec![7; usize::try_from(xid * 13 % 3000).unwrap()]);
        made.commit(xid);
    }
    made.record(900, HEAP, 0, &vec![8; usize::try_from(2 * SEGMENT).unwrap()]);
    made.commit(900);
    made.switch();
    made.commit(901);
    made
}

fn contents(made: &Made) -> Vec<WalContent> {
    let (records, run) = made.read();
    assert_eq!(run.ending, WalEnding::OutOfInput { incomplete: None });
    records.into_iter().map(|record| record.content).collect()
}

fn only_content(major: u32, manager: u8, info: u8, data: &[u8]) -> WalContent {
    let mut made = Made::new(major);
    made.record(9, manager, info, data);
    contents(&made).remove(0)
}

#[test]
fn records_are_read_whatever_pages_and_segments_they_cross() {
    PAGES.into_iter().for_each(reads_records_of_pages_of);
}

fn reads_records_of_pages_of(page: u64) {
    let made = sample_with_pages(page);
    let (records, run) = made.read();
    assert_eq!(records.iter().map(|record| record.lsn.get()).collect::<Vec<_>>(), made.starts);
    assert_eq!((run.records, run.first_lsn), (records.len() as u64, Some(lsn(START + 40))));
    assert_eq!(run.previous_lsn, Some(lsn(START - 100)));
    assert!(records.windows(2).all(|pair| pair[1].previous_lsn == Some(pair[0].lsn)));
    let last = records.last().unwrap();
    assert_eq!(run.last, Some(WalSpan { lsn: last.lsn, end_lsn: last.end_lsn }));
    assert_eq!(run.next_lsn, last.end_lsn);
    let switch = &records[records.len() - 2];
    assert_eq!((&switch.content, switch.end_lsn.get() % SEGMENT), (&WalContent::Switch, 0));
    for piece in [1, 5, 24, 8192, 262_144] {
        let again = made.read_on(&TimelineHistory::first(), WalStart::Segment(lsn(START)), None, piece);
        assert_eq!(again, (records.clone(), run.clone()), "pieces of {piece}");
    }
}

#[test]
fn a_record_may_end_with_a_page_and_its_header_may_cross_one() {
    for (left, page) in (0..10).flat_map(|left| PAGES.map(|page| (left, page))) {
        let mut made = Made::with_pages(17, page);
        // so many bytes are left in the page for the next record, a multiple of 8
        made.record(1, HEAP, 0, &vec![1; usize::try_from(page - 40 - 24 - 5 - left * 8).unwrap()]);
        made.commit(2);
        made.commit(3);
        for piece in [1, 8192] {
            let (records, _) = made.read_on(&TimelineHistory::first(), WalStart::Segment(lsn(START)), None, piece);
            assert_eq!(records.iter().map(|record| record.lsn.get()).collect::<Vec<_>>(), made.starts);
            assert_eq!(records[0].end_lsn.get(), START + page - left * 8);
        }
    }
}

#[test]
fn each_fault_of_a_page_is_told() {
    PAGES.into_iter().for_each(tells_faults_of_pages_of);
}

fn tells_faults_of_pages_of(page_bytes: u64) {
    let made = sample_with_pages(page_bytes);
    let second = lsn(START + page_bytes);
    let page = lsn(START);
    let at = |offset: u64, bytes: &[u8]| made.with(START + page_bytes + offset, bytes).fault();
    let first = |offset: u64, bytes: &[u8]| made.with(START + offset, bytes).fault();
    assert_eq!(first(0, &[0, 0]), WalFault::PageMagic { page, found: 0, expected: 0xD110 });
    assert_eq!(at(0, &[0x13]), WalFault::PageMagic { page: second, found: 0xD113, expected: 0xD110 });
    assert_eq!(at(2, &[0x11]), WalFault::PageFlags { page: second, found: 0x11 });
    assert_eq!(at(2, &[3]), WalFault::PageFlags { page: second, found: 3 });
    assert_eq!(first(2, &[0]), WalFault::PageFlags { page, found: 0 });
    assert_eq!(at(4, &[2]), WalFault::PageTimeline { page: second, found: 2, expected: tli(1) });
    assert_eq!(at(8, &[0, 0]), WalFault::PageAddress { page: second, found: START });
    let expected = SystemIdentifier::new(77).unwrap();
    assert_eq!(first(24, &[78]), WalFault::PageSystem { page, found: 78, expected });
    let block_bytes = u32::try_from(page_bytes).unwrap();
    let sizes = |segment_bytes, found| WalFault::PageSizes {
        page,
        segment_bytes,
        block_bytes: found,
        expected_segment_size: WalSegmentSize::new(SEGMENT).unwrap(),
        expected_block_bytes: block_bytes,
    };
    assert_eq!(first(34, &[0x20]), sizes(2 << 20, block_bytes));
    assert_eq!(first(36, &65_536u32.to_le_bytes()), sizes(1 << 20, 65_536));
}

#[test]
fn each_fault_of_a_continuation_is_told() {
    let mut made = Made::new(15);
    let record = lsn(made.record(1, HEAP, 0, &[1; 10_000]));
    let page = lsn(START + PAGE);
    let missing = u32::try_from(10_000 + 5 + 24 - (PAGE - 40)).unwrap();
    let at = |offset: u64, bytes: &[u8]| made.with(START + PAGE + offset, bytes).fault();
    assert_eq!(at(2, &[0]), WalFault::NotContinued { page, record });
    let found = missing + 1;
    assert_eq!(at(16, &found.to_le_bytes()), WalFault::ContinuationLength { page, found, expected: missing });
    // after a record that ends before the page does
    let mut made = Made::new(15);
    made.record(1, HEAP, 0, &vec![1; usize::try_from(PAGE - 40 - 24 - 5).unwrap()]);
    made.commit(2);
    assert_eq!(made.with(START + PAGE + 2, &[1]).fault(), WalFault::UnexpectedContinuation { page });
    let first = made.with(START + 2, &[3]).fault();
    assert_eq!(first, WalFault::ContinuationLength { page: lsn(START), found: 0, expected: 1 });
}

#[test]
fn each_fault_of_a_record_is_told() {
    let mut made = Made::new(14);
    let (first, second) = (made.commit(1), made.commit(2));
    let record = lsn(second);
    let at = |offset: u64, bytes: &[u8]| made.with(second + offset, bytes).fault();
    for found in [1, 23, 0x4000_0000, u32::MAX] {
        assert_eq!(at(0, &found.to_le_bytes()), WalFault::RecordLength { record, found });
    }
    assert_eq!(at(0, &[0; 4]), WalFault::Zeros { record });
    let expected = Some(lsn(first));
    assert_eq!(at(8, &3u64.to_le_bytes()), WalFault::PreviousLink { record, found: 3, expected });
    assert_eq!(at(17, &[22]), WalFault::ResourceManager { record, found: 22 });
    // COMPAT: extensions have resource managers from 15 on
    assert_eq!(at(17, &[128]), WalFault::ResourceManager { record, found: 128 });
    for offset in [4, 16, 20, 24, 33] {
        let fault = at(offset, &[0x5A]);
        assert!(matches!(fault, WalFault::Crc { record: found, .. } if found == record), "{offset}: {fault}");
    }
    assert_eq!(made.with(second, &[0; 4]).read().1.records, 1);
    let later = made.with(first + 8, &first.to_le_bytes()).fault();
    assert_eq!(later, WalFault::PreviousLink { record: lsn(first), found: first, expected: None });
}

#[test]
fn resource_managers_of_extensions_are_known_from_15_on() {
    let mut made = Made::new(15);
    made.record(1, 128, 0, b"x");
    made.record(1, 127, 0, b"x");
    assert_eq!(made.fault(), WalFault::ResourceManager { record: lsn(made.starts[1]), found: 127 });
    assert_eq!(made.read().1.records, 1);
}

#[test]
fn a_right_crc_over_a_wrong_layout_is_a_fault() {
    for (manager, info, payload) in [
        (RM_TRANSACTION, 0u8, with_lead(&[0; 7])),
        (RM_TRANSACTION, 0x80, with_lead(&[0; 8])),
        (RM_TRANSACTION, 0x30, with_lead(&[0; 8])),
        (RM_TRANSACTION, 0, vec![255, 9, 0, 0, 0, 0, 0, 0, 0, 0]),
        (RM_TRANSACTION, 0, vec![0, 8, 0, 0, 0, 0, 0, 0, 0, 0]),
        (RM_XLOG, 0x70, with_lead(&[b'x'; 20])),
        (RM_XLOG, 0x00, with_lead(&[0; 88])),
        (RM_XLOG, 0x60, with_lead(&[9; 28])),
        (RM_DATABASE, 0x20, with_lead(&[1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0])),
        (RM_TABLESPACE, 0x00, with_lead(&[1, 0, 0])),
    ] {
        let mut made = Made::new(15);
        let record = lsn(made.raw(5, manager, info, &payload));
        assert_eq!(made.fault(), WalFault::Content { record, resource_manager: manager, info });
        assert_eq!(made.read().0, []);
    }
}

#[test]
fn the_end_of_a_log_and_damage_look_as_they_are() {
    let mut made = sample();
    made.pad();
    let end = made.position();
    made.finish();
    assert_eq!(made.fault(), WalFault::Zeros { record: lsn(end) });
    assert!(made.fault().is_usual_end());
}

#[test]
fn pages_behind_the_end_are_told_from_pages_of_an_older_position() {
    PAGES.into_iter().for_each(tells_pages_apart_of);
}

fn tells_pages_apart_of(page: u64) {
    // a segment that was recycled: pages of an older position
    let mut recycled = Made::with_pages(15, page);
    while recycled.position() < START + 3 * SEGMENT {
        recycled.record(1, HEAP, 0, &[1; 800]);
    }
    let mut old = Made::with_pages(15, page);
    old.commit(5);
    let boundary = Made::at(START + SEGMENT);
    old.bytes.resize(Made::at(START + page), 0);
    old.bytes.extend_from_slice(&recycled.bytes[Made::at(START + 2 * page)..boundary]);
    assert!(matches!(old.fault(), WalFault::Zeros { .. }));
    let mut scan = WalPageScan::new(old.format, TimelineHistory::first(), lsn(START + page));
    scan.feed(&old.bytes[Made::at(START + page)..]);
    assert_eq!((scan.valid_pages(), scan.last_valid()), (0, None));
    // a bit that flipped in the middle: valid pages follow
    let damaged = recycled.with(START + page / 2 + 100, &[0xFF]);
    let (_, run) = damaged.read();
    assert!(matches!(run.ending, WalEnding::Fault(WalFault::Crc { .. })));
    for piece in [1, 1000, usize::MAX] {
        let mut scan = WalPageScan::new(damaged.format, TimelineHistory::first(), run.next_lsn);
        damaged.bytes[Made::at(run.next_lsn.get())..].chunks(piece).for_each(|part| scan.feed(part));
        assert_eq!(scan.valid_pages(), 3 * SEGMENT / page, "pieces of {piece}");
        assert_eq!(scan.last_valid(), Some(lsn(START + 3 * SEGMENT)));
    }
}

/// A crash left the first part of a record; after it the server went on in the next page.
#[test]
fn a_record_that_a_crash_broke_off_is_passed_over() {
    for cut in [PAGE, SEGMENT] {
        let mut made = Made::new(14);
        made.commit(1);
        made.record(2, HEAP, 0, &vec![1; Made::at(START + cut - cut / PAGE * 24) - 400]);
        let last = made.previous;
        let aborted = made.record(3, HEAP, 0, &[2; 30_000]);
        made.bytes.truncate(Made::at(START + cut));
        (made.previous, made.starts) = (last, Vec::new());
        made.page_header(8, 0);
        made.record(0, RM_XLOG, 0xD0, &[aborted.to_le_bytes(), [0; 8]].concat());
        made.commit(4);
        let (records, run) = made.read();
        assert_eq!(run.ending, WalEnding::OutOfInput { incomplete: None });
        assert_eq!(records[2].content, WalContent::OverwrittenRecord { lsn: Some(lsn(aborted)) });
        assert_eq!(records[2].previous_lsn, Some(records[1].lsn));
        if cut == SEGMENT {
            let path = TimelineHistory::first();
            let boundary = START + SEGMENT;
            let (_, before) = made.read_on(&path, WalStart::Segment(lsn(START)), Some(boundary), usize::MAX);
            let (_, after) = made.read_on(&path, WalStart::Segment(lsn(boundary)), None, usize::MAX);
            assert_eq!(before.join(after).unwrap(), run);
        }
    }
}

#[test]
fn a_path_over_a_fork_takes_each_page_of_its_timeline() {
    let mut made = Made::new(16);
    made.commit(1);
    let fork = made.position();
    made.commit(2);
    made.record(3, HEAP, 0, &[1; 9000]);
    made.timeline = 2;
    made.bytes[Made::at(START + PAGE) + 4] = 2;
    made.record(4, HEAP, 0, &[1; 9000]);
    let path = TimelineHistory::parse(tli(2), &format!("1\t{}\tno reason\n", lsn(fork))).unwrap();
    let (records, run) = made.read_on(&path, WalStart::Segment(lsn(START)), None, usize::MAX);
    assert_eq!(run.ending, WalEnding::OutOfInput { incomplete: None });
    assert_eq!(records.iter().map(|record| record.timeline.get()).collect::<Vec<_>>(), [1, 2, 2, 2]);
    let (_, other) = made.read_on(&TimelineHistory::first(), WalStart::Segment(lsn(START)), None, usize::MAX);
    let page = lsn(START + PAGE);
    assert_eq!(other.ending, WalEnding::Fault(WalFault::PageTimeline { page, found: 2, expected: tli(1) }));
    assert_eq!(other.records, 2);
}

#[test]
fn runs_that_do_not_meet_are_refused() {
    let made = sample();
    let path = TimelineHistory::first();
    let run = |start: u64, until: Option<u64>| made.read_on(&path, WalStart::Segment(lsn(start)), until, usize::MAX).1;
    let boundaries: Vec<u64> = (0..4).map(|number| START + number * SEGMENT).collect();
    let parts: Vec<WalRun> = (0..4).map(|index| run(boundaries[index], boundaries.get(index + 1).copied())).collect();
    assert!(parts.iter().any(|part| part.records == 0), "a record covers a whole segment");
    let whole = parts.iter().cloned().reduce(|before, after| before.join(after).unwrap()).unwrap();
    assert_eq!(whole, run(START, None));

    let [first, second, third, last] = parts.try_into().unwrap();
    assert!(matches!(first.clone().join(last.clone()), Err(WalJoinError::Position { .. })));
    assert_eq!(last.clone().join(first.clone()), Err(WalJoinError::Ended { at: last.next_lsn }));
    let joined = first.join(second).unwrap().join(third).unwrap();
    let strange = WalRun { previous_lsn: Some(lsn(START + 40)), ..last };
    assert!(matches!(joined.join(strange), Err(WalJoinError::PreviousLink { .. })));
}

#[test]
fn reading_from_a_record_ignores_what_precedes_it() {
    let made = sample();
    let path = TimelineHistory::first();
    for (index, start) in made.starts.iter().enumerate().step_by(11) {
        let mut damaged = made.clone();
        let segment = Made::at(start - start % SEGMENT);
        let page = Made::at(start - start % PAGE);
        damaged.bytes[segment..page].fill(0xEE);
        let (records, run) = damaged.read_on(&path, WalStart::Record(lsn(*start)), None, 4096);
        assert_eq!(records.iter().map(|record| record.lsn.get()).collect::<Vec<_>>(), made.starts[index..]);
        assert_eq!(run.ending, WalEnding::OutOfInput { incomplete: None });
    }
}

#[test]
fn an_input_that_ends_within_a_record_says_which() {
    let mut made = Made::new(18);
    made.commit(1);
    let start = made.commit(2);
    for cut in [1, 4, 23, 24, 33] {
        let mut cut_off = made.clone();
        cut_off.bytes.truncate(Made::at(start) + cut);
        let (records, run) = cut_off.read();
        assert_eq!((records.len(), run.next_lsn), (1, lsn(start)));
        assert_eq!(run.ending, WalEnding::OutOfInput { incomplete: Some(lsn(start)) }, "after {cut} bytes");
    }
}

fn commit_data(flags: u32, sections: &[&[u8]]) -> Vec<u8> {
    [&5_000_000i64.to_le_bytes()[..], &flags.to_le_bytes(), &sections.concat()].concat()
}

fn words(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

#[test]
fn every_section_of_a_commit_is_passed_or_read() {
    let all = 0b1_1111 | 1 << 8 | 1 << 5 | 1 << 7;
    for (major, statistics) in [(15, 3), (17, 3), (18, 4)] {
        let data = commit_data(
            all,
            &[
                &words(&[5, 1663]),
                &words(&[3, 21, 22, 23]),
                &words(&[2, 1663, 5, 900, 1664, 0, 901]),
                &words(&vec![1; 1 + statistics]),
                &words(&[1, 9, 9, 9, 9]),
                &words(&[4711]),
                b"name\0",
                &[0; 16],
            ],
        );
        let WalContent::Commit(end) = only_content(major, RM_TRANSACTION, 0xB0, &data) else { panic!() };
        assert_eq!((end.xid, end.prepared, end.subtransactions, end.dropped_count), (Some(4711), true, 3, 2));
        assert_eq!(end.time, "2000-01-01T00:00:05Z".parse().unwrap());
        let relation =
            |tablespace_oid, database_oid, file_number| DroppedRelation { tablespace_oid, database_oid, file_number };
        assert_eq!(end.dropped, [relation(1663, Some(5), 900), relation(1664, None, 901)]);
    }
    // COMPAT: 13 and 14 have no statistics, whatever the flag says
    let data = commit_data(1 << 4 | 1 << 8, &[&words(&[4711])]);
    let WalContent::Abort(end) = only_content(14, RM_TRANSACTION, 0xC0, &data) else { panic!() };
    assert_eq!(end.xid, Some(4711));
}

#[test]
fn a_commit_of_a_million_files_keeps_a_few() {
    let count = 1_000_000u32;
    let relations: Vec<u8> = (0..count).flat_map(|number| words(&[1663, 5, number])).collect();
    let data = commit_data(1 << 2 | 1 << 4, &[&words(&[count]), &relations, &words(&[4711])]);
    let WalContent::Commit(end) = only_content(13, RM_TRANSACTION, 0xB0, &data) else { panic!() };
    assert_eq!((end.dropped_count, end.dropped.len(), end.xid), (count, TransactionEnd::DROPPED_MAX, Some(4711)));
}

#[test]
fn times_out_of_range_become_the_nearest() {
    for (microseconds, expected) in [(i64::MIN, jiff::Timestamp::MIN), (i64::MAX, jiff::Timestamp::MAX)] {
        let WalContent::Commit(end) = only_content(15, RM_TRANSACTION, 0, &microseconds.to_le_bytes()) else {
            panic!()
        };
        assert_eq!(end.time, expected);
    }
}

#[test]
fn operations_are_those_of_the_version() {
    let drop = words(&[7, 2, 1663, 1700]);
    let dropped = WalContent::DropDatabase { oid: 7, tablespaces: vec![1663, 1700] };
    assert_eq!(only_content(14, RM_DATABASE, 0x10, &drop), dropped);
    assert_eq!(only_content(15, RM_DATABASE, 0x20, &drop), dropped);
    let copied = CreatedDatabase { oid: 7, tablespace_oid: 1663, copied_from: Some((1, 1664)) };
    for major in [13, 18] {
        assert_eq!(
            only_content(major, RM_DATABASE, 0, &words(&[7, 1663, 1, 1664])),
            WalContent::CreateDatabase(copied)
        );
    }
    let logged = CreatedDatabase { copied_from: None, ..copied };
    assert_eq!(only_content(15, RM_DATABASE, 0x10, &words(&[7, 1663])), WalContent::CreateDatabase(logged));
    assert_eq!(only_content(16, RM_XLOG, 0xE0, b"1234"), WalContent::Other);
    assert_eq!(only_content(17, RM_XLOG, 0xE0, b"1234"), WalContent::CheckpointRedo);
    let backup_end = WalContent::BackupEnd { start_lsn: Some(lsn(START)) };
    assert_eq!(only_content(13, RM_XLOG, 0x50, &START.to_le_bytes()), backup_end);
    assert_eq!(only_content(13, RM_XLOG, 0x80, &[1]), WalContent::FullPageWrites(true));
    assert_eq!(only_content(13, RM_XLOG, 0x20, &[1]), WalContent::Other);
}

#[test]
fn an_origin_and_a_top_level_transaction_may_precede_the_data() {
    let lead = [&[253, 1, 0, 252, 9, 0, 0, 0][..], &with_lead(&[0; 8])].concat();
    for (major, is_read) in [(13, false), (14, true), (18, true)] {
        let mut made = Made::new(major);
        made.raw(9, RM_TRANSACTION, 0, &lead);
        assert_eq!(made.read().1.records == 1, is_read, "COMPAT: version {major}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Damage anywhere in a record is found before the record is handed out.
    #[test]
    fn only_records_that_were_written_are_handed_out(
        index in 0usize..sample().bytes.len(), bit in 0u8..8, piece in 1usize..100_000,
    ) {
        let made = sample();
        let (expected, _) = made.read();
        let mut damaged = made;
        damaged.bytes[index] ^= 1 << bit;
        let (found, run) = damaged.read_on(&TimelineHistory::first(), WalStart::Segment(lsn(START)), None, piece);
        prop_assert_eq!(&expected[..found.len()], &found[..]);
        let position = START + index as u64;
        // either it was found, or it lies where nothing is written: padding, the rest after a switch
        if found.len() < expected.len() {
            let is_seen = matches!(run.ending, WalEnding::Fault(_) | WalEnding::OutOfInput { incomplete: Some(_) });
            prop_assert!(is_seen, "{:?}", run);
            prop_assert!(run.next_lsn.get() <= position + 40);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..20_000), start in 1u64.., at_record: bool, major in 13u32..=18,
    ) {
        let start = if at_record { WalStart::Record(lsn(start)) } else { WalStart::Segment(lsn(start)) };
        let mut reader = WalReader::new(format(major), TimelineHistory::first(), start, None);
        let _ = reader.feed(&bytes, |_| {});
        let _ = reader.finish();
        let mut scan = WalPageScan::new(format(major), TimelineHistory::first(), lsn(u64::MAX - 10_000));
        scan.feed(&bytes);
    }

    /// With right CRCs: whatever a record holds, in pieces or not, it is read alike and never panics.
    #[test]
    fn arbitrary_content_never_panics(
        manager in 0u8..22, info: u8, payload in proptest::collection::vec(any::<u8>(), 0..300), lead: bool,
        major in 13u32..=18, piece in 1usize..100,
    ) {
        let mut made = Made::new(major);
        if lead { made.record(9, manager, info, &payload) } else { made.raw(9, manager, info, &payload) };
        made.commit(10);
        let whole = made.read();
        let again = made.read_on(&TimelineHistory::first(), WalStart::Segment(lsn(START)), None, piece);
        prop_assert_eq!(whole, again);
    }
}
