//! `--wal-records`: segments that are read for their records are checked like all others, and counted once.

use std::path::PathBuf;

use super::scene::{Scene, about, files, options, place};
use crate::pg::{Lsn, PgMajorVersion, TimelineId, WalSegmentHeader, WalSegmentName};
use crate::repository::testing;
use crate::repository::{ClusterIdentity, PackOptions, backup_testing};
use crate::verify::{VerifyOptions, VerifyReport};

/// A segment that a real server wrote.
fn real(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/postgres-15/wal");
    zstd::decode_all(std::fs::File::open(folder.join(format!("{name}.zst"))).unwrap()).unwrap()
}

/// What a real server wrote, the backup at the beginning of its WAL and one at the beginning of segment 9; and a segment
/// before them that no backup needs.
fn scene() -> Scene {
    let names: Vec<String> = (7..=11).map(|number| format!("0000000100000000{number:016X}")).map(short).collect();
    let header = WalSegmentHeader::decode(&real(&names[0])).unwrap();
    let mut test = testing::repository();
    test.cluster.system_identifier = header.system_identifier;
    let identity = ClusterIdentity {
        cluster: test.cluster.name.clone(),
        system_identifier: header.system_identifier,
        major_version: PgMajorVersion::new(15).unwrap(),
        wal_segment_size: header.segment_size,
        since: "2026-11-21T00:00:00Z".parse().unwrap(),
    };
    test.repository.register(&identity, &test.writer).unwrap();
    let scene = Scene { test };
    for name in &names {
        scene.store(name, &real(name));
    }
    let lonely = WalSegmentName::from_number(TimelineId::FIRST, 2, header.segment_size).unwrap().to_string();
    scene.store(&lonely, &vec![0; usize::try_from(header.segment_size.bytes()).unwrap()]);
    for number in [7, 9] {
        let start = Lsn::new(number * header.segment_size.bytes()).unwrap();
        backup_testing::backup_with(&scene.test, &files(), PackOptions::default(), |record| {
            place(record, 1, number);
            record.wal_segment_size = header.segment_size;
            record.major_version = PgMajorVersion::new(15).unwrap();
            record.start_lsn = start;
        });
    }
    scene
}

fn short(name: String) -> String {
    name[..16].to_owned() + &name[24..]
}

fn with_records(scene: &Scene) -> VerifyReport {
    scene.verify_with(VerifyOptions { wal_records: true, ..options() })
}

#[test]
fn what_is_read_for_its_records_is_checked_and_counted_once() {
    let scene = scene();
    let (plain, report) = (scene.verify(), with_records(&scene));
    assert_eq!((&plain.damaged, &report.damaged), (&Vec::new(), &Vec::new()));
    assert!(plain.read.wal_records == 0 && report.read.wal_records > 500, "{}", report.read.wal_records);
    let counts = |report: &VerifyReport| (report.read.objects, report.read.whole_objects, report.read.stored_bytes);
    assert_eq!(counts(&plain), counts(&report));
}

/// Wherever a segment lies, and whatever is damaged in it.
#[test]
fn damage_in_segments_is_told_as_without_reading_records() {
    for name in ["02", "07", "08", "09", "0B"] {
        let scene = scene();
        let path = scene.test.stored(&format!("0000000100000000000000{name}"));
        let whole = std::fs::read(&path).unwrap();
        let records = with_records(&scene).read.wal_records;
        // The header; its copy, which costs nothing; content; the seek table.
        for at in [100, 600, whole.len() / 2 + 300, whole.len() - 3] {
            scene.flip(&path, at * 8);
            let (plain, report) = (scene.verify(), with_records(&scene));
            assert_eq!(plain.damaged, report.damaged, "{name}, byte {at}");
            assert_eq!(about(&report, name).further, 0);
            let is_harmless = at == 600 || name == "02";
            assert_eq!(report.read.wal_records == records, is_harmless, "{name}, byte {at}");
            std::fs::write(&path, &whole).unwrap();
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(scene.verify().damaged, with_records(&scene).damaged, "{name} is missing");
    }
}

/// Of one backup alone, records are read up to where it is consistent: what was damaged before it was archived is told up to
/// there, and not behind, be it in the same segment.
#[test]
fn of_one_backup_records_are_read_up_to_its_end() {
    for (name, at, is_needed) in [("07", 0x80, true), ("07", 0x8_0000, false), ("08", 0x8_0000, false)] {
        let scene = scene();
        let name = format!("0000000100000000000000{name}");
        let mut content = real(&name);
        content[at] ^= 1;
        std::fs::remove_file(scene.test.stored(&name)).unwrap();
        scene.store(&name, &content);
        let whole = with_records(&scene);
        assert!(about(&whole, &name).problem.contains("was damaged before it was archived"), "{:?}", whole.damaged);
        let backup = whole.backups.first().map(|backup| backup.id);
        let report = scene.verify_with(VerifyOptions { backup, wal_records: true, ..options() });
        assert_eq!(report.damaged.len(), usize::from(is_needed), "{name}, byte {at}: {:#?}", report.damaged);
        assert!(report.read.wal_records < whole.read.wal_records, "{}", report.read.wal_records);
        assert!(is_needed || report.read.wal_records > 0);
    }
}
