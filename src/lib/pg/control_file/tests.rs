//! Control files of real servers, against what the servers themselves said of them.

use super::*;
use proptest::prelude::*;

const FILE_13: &[u8] = include_bytes!("../../../../tests/data/postgres-13/pg_control");
const FILE_14: &[u8] = include_bytes!("../../../../tests/data/postgres-14/pg_control");
const FILE_15: &[u8] = include_bytes!("../../../../tests/data/postgres-15/pg_control");
const FILE_16: &[u8] = include_bytes!("../../../../tests/data/postgres-16/pg_control");
const FILE_17: &[u8] = include_bytes!("../../../../tests/data/postgres-17/pg_control");
const FILE_18: &[u8] = include_bytes!("../../../../tests/data/postgres-18/pg_control");
const STANDBY_15: &[u8] = include_bytes!("../../../../tests/data/postgres-15/pg_control-standby");
const RECOVERING_15: &[u8] = include_bytes!("../../../../tests/data/postgres-15/pg_control-in-recovery");

/// What the server that wrote the file says of it: pg_control_system(), pg_control_checkpoint(),
/// pg_control_init() and, for 15, 17 and 18, pg_controldata.
struct Expected {
    file: &'static [u8],
    major: u32,
    control_version: u32,
    catalog_version: u32,
    system_identifier: &'static str,
    checkpoint: &'static str,
    redo: &'static str,
    /// `extract(epoch from checkpoint_time)`.
    checkpoint_second: i64,
    segment_mib: u64,
    checksums: bool,
    wal_level: WalLevel,
    max_wal_senders: u32,
}

#[rustfmt::skip]
const EXPECTED: [Expected; 6] = [
    Expected {
        file: FILE_13, major: 13, control_version: 1300, catalog_version: 202_007_201,
        system_identifier: "7710426007093033949", checkpoint: "0/937658", redo: "0/937620",
        checkpoint_second: 1_795_223_450, segment_mib: 1, checksums: true,
        wal_level: WalLevel::Replica, max_wal_senders: 313,
    },
    Expected {
        file: FILE_14, major: 14, control_version: 1300, catalog_version: 202_107_181,
        system_identifier: "7710426011928366090", checkpoint: "0/4711A58", redo: "0/4711A58",
        checkpoint_second: 1_795_223_451, segment_mib: 64, checksums: false,
        wal_level: WalLevel::Minimal, max_wal_senders: 0,
    },
    Expected {
        file: FILE_15, major: 15, control_version: 1300, catalog_version: 202_209_061,
        system_identifier: "7710426017427491895", checkpoint: "0/1769078", redo: "0/1769040",
        checkpoint_second: 1_795_223_452, segment_mib: 16, checksums: true,
        wal_level: WalLevel::Replica, max_wal_senders: 315,
    },
    Expected {
        file: FILE_16, major: 16, control_version: 1300, catalog_version: 202_307_071,
        system_identifier: "7710426022203145317", checkpoint: "0/94A480", redo: "0/94A448",
        checkpoint_second: 1_795_223_454, segment_mib: 2, checksums: true,
        wal_level: WalLevel::Logical, max_wal_senders: 316,
    },
    Expected {
        file: FILE_17, major: 17, control_version: 1700, catalog_version: 202_406_281,
        system_identifier: "7710426026984938641", checkpoint: "0/16EC438", redo: "0/16EC3E0",
        checkpoint_second: 1_795_223_455, segment_mib: 16, checksums: true,
        wal_level: WalLevel::Replica, max_wal_senders: 317,
    },
    Expected {
        file: FILE_18, major: 18, control_version: 1800, catalog_version: 202_506_291,
        system_identifier: "7710426031598091455", checkpoint: "0/24D6688", redo: "0/24D6630",
        checkpoint_second: 1_795_223_456, segment_mib: 32, checksums: false,
        wal_level: WalLevel::Replica, max_wal_senders: 318,
    },
];

fn lsn(text: &str) -> Lsn {
    text.parse().unwrap()
}

#[test]
fn reads_what_each_server_wrote() {
    for expected in &EXPECTED {
        let file = ControlFile::decode(expected.file).unwrap();
        let major = expected.major;
        assert_eq!(expected.file.len(), ControlFile::FILE_LENGTH);
        let checkpoint = ControlCheckpoint {
            lsn: lsn(expected.checkpoint),
            redo_lsn: lsn(expected.redo),
            timeline: TimelineId::FIRST,
            previous_timeline: TimelineId::FIRST,
            full_page_writes: true,
            time: Timestamp::from_second(expected.checkpoint_second).unwrap(),
        };
        // The settings were made to carry the version's number.
        let settings = ControlSettings {
            wal_level: expected.wal_level,
            max_connections: 100 + major,
            max_worker_processes: 200 + major,
            max_wal_senders: expected.max_wal_senders,
            max_prepared_xacts: 400 + major,
            max_locks_per_xact: 500 + major,
        };
        let wanted = ControlFile {
            major: PgMajorVersion::new(major).unwrap(),
            system_identifier: expected.system_identifier.parse().unwrap(),
            control_version: expected.control_version,
            catalog_version: expected.catalog_version,
            state: DatabaseState::InProduction,
            modified: checkpoint.time,
            checkpoint,
            min_recovery_point: None,
            backup_start_lsn: None,
            backup_end_lsn: None,
            backup_end_required: false,
            settings,
            block_bytes: 8192,
            relation_segment_blocks: 131_072,
            wal_block_bytes: 8192,
            wal_segment_size: WalSegmentSize::new(expected.segment_mib << 20).unwrap(),
            data_checksum_version: NonZeroU32::new(u32::from(expected.checksums)),
        };
        assert_eq!(file, wanted, "PostgreSQL {major}");
        assert_eq!(file.major().get(), major);
    }
}

#[test]
fn agrees_with_the_first_wal_page_of_the_same_cluster() {
    for (page, expected) in [
        include_bytes!("../../../../tests/data/postgres-13/wal-first-page").as_slice(),
        include_bytes!("../../../../tests/data/postgres-14/wal-first-page"),
        include_bytes!("../../../../tests/data/postgres-15/wal-first-page"),
        include_bytes!("../../../../tests/data/postgres-16/wal-first-page"),
        include_bytes!("../../../../tests/data/postgres-17/wal-first-page"),
        include_bytes!("../../../../tests/data/postgres-18/wal-first-page"),
    ]
    .into_iter()
    .zip(&EXPECTED)
    {
        let file = ControlFile::decode(expected.file).unwrap();
        let header = super::super::WalSegmentHeader::decode(page).unwrap();
        assert_eq!(header.major, file.major());
        assert_eq!(header.system_identifier, file.system_identifier);
        assert_eq!(header.segment_size, file.wal_segment_size);
        assert_eq!(header.block_bytes, file.wal_block_bytes);
        assert_eq!(header.timeline, file.checkpoint.timeline);
    }
}

/// As pg_controldata of 15 shows it: a backup from a standby, recovered up to its second segment.
#[test]
fn reads_an_unfinished_recovery() {
    let file = ControlFile::decode(RECOVERING_15).unwrap();
    assert_eq!(file.state, DatabaseState::InArchiveRecovery);
    let point = RecoveryPoint { lsn: lsn("0/140000D8"), timeline: TimelineId::FIRST };
    assert_eq!(file.min_recovery_point, Some(point));
    assert_eq!(file.backup_start_lsn, Some(lsn("0/12000028")));
    assert_eq!(file.backup_end_lsn, Some(lsn("0/140000D8")));
    assert!(file.backup_end_required);
}

#[test]
fn reads_a_stopped_standby() {
    let file = ControlFile::decode(STANDBY_15).unwrap();
    assert_eq!(file.state, DatabaseState::ShutDownInRecovery);
    let point = RecoveryPoint { lsn: lsn("0/4000000"), timeline: TimelineId::FIRST };
    assert_eq!(file.min_recovery_point, Some(point));
    assert_eq!((file.backup_start_lsn, file.backup_end_lsn), (None, None));
    assert!(!file.backup_end_required);
}

/// A real file with some bytes replaced and the CRC made right again.
fn changed(file: &[u8], crc_offset: usize, offset: usize, replacement: &[u8]) -> Vec<u8> {
    let mut bytes = file.to_vec();
    bytes[offset..offset + replacement.len()].copy_from_slice(replacement);
    let crc = crc32c::crc32c(&bytes[..crc_offset]);
    bytes[crc_offset..crc_offset + 4].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn refused(offset: usize, replacement: &[u8]) -> ControlFileError {
    ControlFile::decode(&changed(FILE_15, 288, offset, replacement)).unwrap_err()
}

#[test]
fn every_flipped_bit_is_noticed() {
    for (file, crc_end) in [(FILE_15, 292), (FILE_18, 296)] {
        for bit in 0..crc_end * 8 {
            let mut bytes = file.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(ControlFile::decode(&bytes).is_err(), "bit {bit}");
        }
    }
}

#[test]
fn a_torn_file_is_corrupt() {
    let mut bytes = FILE_15.to_vec();
    bytes[32] ^= 1;
    let error = ControlFile::decode(&bytes).unwrap_err();
    assert!(matches!(error, ControlFileError::Crc { .. }), "{error}");
    assert_eq!(error.class(), ErrorClass::Corrupt);
}

#[test]
fn rejects_short_files() {
    for length in 0..296 {
        let error = ControlFile::decode(&FILE_18[..length]).unwrap_err();
        assert!(matches!(error, ControlFileError::TooShort { .. }), "{length}: {error}");
    }
    assert!(ControlFile::decode(&FILE_18[..296]).is_ok());
    assert!(ControlFile::decode(&FILE_15[..292]).is_ok());
}

#[test]
fn rejects_other_layouts_by_value() {
    for found in [0u32, 1, 0x1405_0000, u32::MAX] {
        let error = refused(8, &found.to_le_bytes());
        assert_eq!(error, ControlFileError::NotControlFile { found });
        assert_eq!(error.class(), ErrorClass::InvalidInput);
    }
    for found in [942u32, 1201, 1301, 1900] {
        let error = refused(8, &found.to_le_bytes());
        assert_eq!(error, ControlFileError::UnknownControlVersion { found });
        assert_eq!(error.class(), ErrorClass::Unsupported);
    }
}

#[test]
fn rejects_other_builds_by_value() {
    // A preview of 15, and the catalog of 17 in the layout of 15.
    for found in [202_206_291u32, 202_406_281] {
        let error = refused(12, &found.to_le_bytes());
        assert_eq!(error, ControlFileError::UnknownCatalogVersion { control_version: 1300, found });
        assert_eq!(error.class(), ErrorClass::Unsupported);
        assert!(error.to_string().contains("expected 202007201 (13), 202107181 (14), "), "{error}");
    }
    let bytes = changed(FILE_18, 292, 12, &202_209_061u32.to_le_bytes());
    let error = ControlFile::decode(&bytes).unwrap_err();
    assert_eq!(error, ControlFileError::UnknownCatalogVersion { control_version: 1800, found: 202_209_061 });
}

#[test]
fn rejects_other_architectures() {
    for (offset, replacement) in [(204, 4u32.to_le_bytes().to_vec()), (208, 1_234_567.5f64.to_le_bytes().to_vec())] {
        let error = refused(offset, &replacement);
        assert!(matches!(error, ControlFileError::Architecture { .. }), "{error}");
        assert_eq!(error.class(), ErrorClass::Unsupported);
    }
}

#[test]
fn rejects_each_field_that_no_server_writes() {
    for (offset, replacement, expected) in [
        (0, vec![0; 8], "system_identifier"),
        (16, vec![7, 0, 0, 0], "state"),
        (24, vec![0xFF; 7], "time"),
        (32, vec![0; 8], "checkPoint"),
        (40, vec![0; 8], "checkPointCopy.redo"),
        (48, vec![0; 4], "checkPointCopy.ThisTimeLineID"),
        (52, vec![0; 4], "checkPointCopy.PrevTimeLineID"),
        (56, vec![2], "checkPointCopy.fullPageWrites"),
        (104, vec![0xFF; 7], "checkPointCopy.time"),
        (136, vec![1], "minRecoveryPointTLI"),
        (168, vec![9], "backupEndRequired"),
        (172, vec![3], "wal_level"),
        (180, vec![0xFF; 4], "MaxConnections"),
        (184, vec![0xFF; 4], "max_worker_processes"),
        (188, vec![0xFF; 4], "max_wal_senders"),
        (192, vec![0xFF; 4], "max_prepared_xacts"),
        (196, vec![0xFF; 4], "max_locks_per_xact"),
        (216, vec![0, 0, 1], "blcksz"),
        (220, vec![0; 4], "relseg_size"),
        (224, vec![1], "xlog_blcksz"),
    ] {
        let error = refused(offset, &replacement);
        assert!(matches!(error, ControlFileError::InvalidField { field, .. } if field == expected), "{error}");
        assert_eq!(error.class(), ErrorClass::Corrupt);
    }
    assert!(matches!(refused(228, &[1]), ControlFileError::SegmentSize(WalSegmentSizeError { .. })));
}

#[test]
fn knows_every_state_of_a_cluster() {
    let words = [
        "starting up",
        "shut down",
        "shut down in recovery",
        "shutting down",
        "in crash recovery",
        "in archive recovery",
        "in production",
    ];
    for (number, word) in (0u8..).zip(words) {
        let file = ControlFile::decode(&changed(FILE_15, 288, 16, &[number])).unwrap();
        assert_eq!(file.state.to_string(), word);
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = ControlFile::decode(&bytes);
    }

    #[test]
    fn arbitrary_fields_never_panic(offset in 0usize..280, replacement in proptest::collection::vec(any::<u8>(), 1..8)) {
        let _ = ControlFile::decode(&changed(FILE_15, 288, offset, &replacement));
    }
}
