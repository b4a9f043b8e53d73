use std::collections::BTreeMap;
use std::path::Path;

use super::super::super::testing::{size, time, tli};
use super::*;
use crate::pg::{PgMajorVersion, SystemIdentifier};
use crate::repository::ArchiveFacts;
use crate::repository::ClusterName;

const CLUSTER: u64 = 7_000_000_000_000_000_001;

fn identity() -> ClusterIdentity {
    ClusterIdentity {
        cluster: ClusterName::parse("main").unwrap(),
        system_identifier: SystemIdentifier::new(CLUSTER).unwrap(),
        major_version: PgMajorVersion::new(15).unwrap(),
        wal_segment_size: size(),
        since: time("2026-11-20T14:30:00Z"),
    }
}

fn name(timeline: u32, number: u64) -> WalSegmentName {
    WalSegmentName::from_number(tli(timeline), number, size()).unwrap()
}

/// The archive has these segments of timeline 1.
fn archive(ranges: &[(u64, u64)]) -> ArchiveFacts {
    let range = |(first, last): &(u64, u64)| WalRange {
        timeline: tli(1),
        first: name(1, *first),
        last: name(1, *last),
        count: last - first + 1,
    };
    ArchiveFacts {
        segment_size: size(),
        ranges: BTreeMap::from([(tli(1), ranges.iter().map(range).collect())]),
        histories: BTreeMap::new(),
        unreadable_histories: BTreeMap::new(),
        unlisted: Vec::new(),
        archived_at: BTreeMap::new(),
    }
}

/// The first page of a segment of PostgreSQL 15, and zeros.
fn segment(number: u64, system_identifier: u64, magic: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&magic.to_le_bytes());
    bytes.extend_from_slice(&2_u16.to_le_bytes());
    bytes.extend_from_slice(&1_u32.to_le_bytes());
    bytes.extend_from_slice(&(number * size().bytes()).to_le_bytes());
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&system_identifier.to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(size().bytes()).unwrap().to_le_bytes());
    bytes.extend_from_slice(&8192_u32.to_le_bytes());
    bytes.resize(16 << 20, 0);
    bytes
}

fn own(number: u64) -> Vec<u8> {
    segment(number, CLUSTER, 0xD110)
}

/// A data directory with these files in its pg_wal.
fn data(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let temp = tempfile::tempdir().unwrap();
    std::fs::create_dir(temp.path().join("pg_wal")).unwrap();
    for (name, content) in files {
        std::fs::write(temp.path().join("pg_wal").join(name), content).unwrap();
    }
    temp
}

fn opened(directory: &Path, facts: &ArchiveFacts) -> Result<OldWal, OldWalError> {
    OldWal::open(directory, &identity(), facts)
}

const FIVE: &str = "000000010000000000000005";
const SIX: &str = "000000010000000000000006";
const SEVEN: &str = "000000010000000000000007";

#[test]
fn what_the_archive_lacks_counts_when_it_is_what_its_name_says() {
    let temp = data(&[
        ("000000010000000000000004", b"the archive has it: not even looked at"),
        (FIVE, &own(5)),
        (SIX, &own(6)),
        // Recycled, never written, and no segments.
        (SEVEN, &own(2)),
        ("000000010000000000000008", &[0; 16]),
        ("000000010000000000000005.00000028.backup", b""),
        ("xlogtemp.17", b""),
    ]);
    let facts = archive(&[(1, 4)]);
    for place in [temp.path().to_owned(), temp.path().join("pg_wal")] {
        let old = opened(&place, &facts).unwrap();
        assert_eq!(old.segments.keys().copied().collect::<Vec<_>>(), [name(1, 5), name(1, 6)]);
        assert!(!old.is_last(&name(1, 5)) && old.is_last(&name(1, 6)));
        assert!(old.unused_path(&name(1, 7)).is_some() && old.unused_path(&name(1, 6)).is_none());
        let both = old.added_to(&facts);
        assert_eq!(both.ranges[&tli(1)], archive(&[(1, 6)]).ranges[&tli(1)]);
    }
}

#[test]
fn holes_are_filled_and_an_archived_successor_makes_a_segment_complete() {
    let temp = data(&[(FIVE, &own(5)), (SEVEN, &own(7))]);
    let facts = archive(&[(1, 4), (6, 6), (9, 9)]);
    let old = opened(temp.path(), &facts).unwrap();
    assert_eq!(old.added_to(&facts).ranges[&tli(1)], archive(&[(1, 7), (9, 9)]).ranges[&tli(1)]);
    assert!(!old.is_last(&name(1, 7)));
}

#[test]
fn a_partial_segment_counts_where_there_is_no_whole_one() {
    let five = format!("{FIVE}.partial");
    let six = format!("{SIX}.partial");
    let temp = data(&[(FIVE, &own(5)), (&five, &own(5)), (&six, &own(6))]);
    let old = opened(temp.path(), &archive(&[(1, 4)])).unwrap();
    assert_eq!(old.path_of(&name(1, 5)).unwrap().file_name().unwrap(), FIVE);
    assert_eq!(old.path_of(&name(1, 6)).unwrap().file_name().unwrap(), six.as_str());
}

#[test]
fn histories_count_where_the_archive_lacks_them() {
    let text = b"1\t0/5000100\tno recovery target specified\n";
    let temp = data(&[(FIVE, &own(5)), ("00000002.history", text), ("00000003.history", b"")]);
    let mut facts = archive(&[(1, 4)]);
    assert!(matches!(opened(temp.path(), &facts), Err(OldWalError::History { .. })));
    // One that the archive has is not looked at.
    facts.unreadable_histories.insert(tli(3), "damaged".to_owned());
    let old = opened(temp.path(), &facts).unwrap();
    assert_eq!(old.added_to(&facts).history(tli(2)).unwrap().timeline(), tli(2));
    assert_eq!(old.histories[&tli(2)].text, text);
}

/// A promoted server recycles what recovery had fetched of the old timeline: a segment of its future may begin with the
/// very address that its name says, on the old timeline.
#[test]
fn a_segment_that_was_recycled_across_a_fork_does_not_count() {
    let mut of_two = own(6);
    of_two[4] = 2;
    let files: [(&str, &[u8]); 4] = [
        ("00000002.history", b"1\t0/5000100\tbefore 2026-11-20 10:00:00+00\n"),
        ("000000020000000000000005", &own(5)),
        ("000000020000000000000006", &of_two),
        ("000000020000000000000007", &own(7)),
    ];
    let temp = data(&files);
    let facts = archive(&[(1, 4)]);
    let old = opened(temp.path(), &facts).unwrap();
    assert_eq!(old.segments.keys().copied().collect::<Vec<_>>(), [name(2, 5), name(2, 6)]);
    assert!(old.is_last(&name(2, 6)) && old.unused_path(&name(2, 7)).is_some());
    // Without its history nobody knows.
    let without = data(&files[1..]);
    assert_eq!(opened(without.path(), &facts).unwrap().segments.len(), 3);
}

/// Two servers were promoted to one number: along the archived history, the segments of the other one lead nowhere.
#[test]
fn segments_of_another_timeline_of_that_number_do_not_count() {
    let mut of_two = own(6);
    of_two[4] = 2;
    let archived = TimelineHistory::decode(tli(2), b"1\t0/5000100\tx\n").unwrap();
    let mut facts = archive(&[(1, 4)]);
    facts.histories.insert(tli(2), archived);
    for (text, is_other) in
        [(&b"1\t0/5000200\tx\n"[..], true), (b"# a copy\n1\t0/5000100\tin other words\n", false), (b"", false)]
    {
        let files: [(&str, &[u8]); 3] =
            [(FIVE, &own(5)), ("00000002.history", text), ("000000020000000000000006", &of_two)];
        let temp = data(&files);
        let opened = opened(temp.path(), &facts);
        assert_eq!(matches!(opened, Err(OldWalError::OtherTimeline { .. })), is_other, "{opened:?}");
        let looked = OldWal::look(temp.path(), &identity(), &facts).unwrap();
        let expected: &[WalSegmentName] = if is_other { &[name(1, 5)] } else { &[name(1, 5), name(2, 6)] };
        assert_eq!(looked.segments.keys().copied().collect::<Vec<_>>(), expected);
    }
}

#[test]
fn what_does_not_belong_is_refused() {
    let facts = archive(&[(1, 4)]);
    let refused = |content: &[u8]| opened(data(&[(FIVE, content)]).path(), &facts).unwrap_err();
    assert!(matches!(refused(&segment(5, CLUSTER + 1, 0xD110)), OldWalError::OtherCluster { .. }));
    assert!(matches!(refused(&segment(5, CLUSTER, 0xD116)), OldWalError::OtherVersion { .. }));
    assert!(matches!(refused(own(5).get(..100_000).unwrap()), OldWalError::Size { found: 100_000, .. }));
    assert!(matches!(opened(data(&[]).path(), &facts), Err(OldWalError::NoWal { .. })));
    let absent = tempfile::tempdir().unwrap().path().join("absent");
    assert!(matches!(opened(&absent, &facts), Err(OldWalError::File(error)) if error.is_not_found()));
}
