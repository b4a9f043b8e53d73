//! Records and archives made by hand, for unit tests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::{BackupChoice, InTheWay, PreparedSettings, Proving, RestoreOptions, TablespaceChoice};
use crate::codec::CompressionLevel;
use crate::pg::{
    Lsn, PgMajorVersion, RecoveryMode, RecoveryTarget, RecoveryTargetAction, RecoveryTargetTimeline, RestoredArchiving,
    SystemIdentifier, TimelineHistory, TimelineId, WalFileName, WalSegmentName, WalSegmentSize,
};
use crate::repository::backup_testing::bare_record;
use crate::repository::testing::TestRepository;
use crate::repository::{
    ArchiveFacts, BackupId, BackupRecord, ClusterIdentity, ClusterSelection, WalArchive, WalFileContent, WalRange,
};

pub(crate) fn tli(number: u32) -> TimelineId {
    TimelineId::new(number).unwrap()
}

pub(crate) fn lsn(text: &str) -> Lsn {
    text.parse().unwrap()
}

pub(crate) fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn size() -> WalSegmentSize {
    WalSegmentSize::new(16 << 20).unwrap()
}

/// The id of the backup of that number.
pub(crate) fn id(number: u64) -> BackupId {
    format!("20261120T000000Z-{number:08x}").parse().unwrap()
}

pub(crate) fn record(sequence: u64, start: (u32, &str), stop: (u32, &str), stop_time: &str) -> BackupRecord {
    BackupRecord {
        sequence,
        start_lsn: lsn(start.1),
        start_timeline: tli(start.0),
        stop_lsn: lsn(stop.1),
        stop_timeline: tli(stop.0),
        start_time: time(stop_time),
        stop_time: time(stop_time),
        wal_segment_size: size(),
        ..bare_record(id(sequence))
    }
}

/// An archive: for each timeline its ranges as numbers of segments with the time at which the last one was archived;
/// and the histories.
pub(super) fn archive(ranges: &[(u32, u64, u64, &str)], histories: &[(u32, &str)]) -> ArchiveFacts {
    let mut facts = ArchiveFacts {
        segment_size: size(),
        ranges: BTreeMap::new(),
        histories: BTreeMap::new(),
        unreadable_histories: BTreeMap::new(),
        unlisted: Vec::new(),
        archived_at: BTreeMap::new(),
    };
    for (timeline, first, last, archived) in ranges {
        let name = |number| WalSegmentName::from_number(tli(*timeline), number, size()).unwrap();
        let range =
            WalRange { timeline: tli(*timeline), first: name(*first), last: name(*last), count: last - first + 1 };
        facts.ranges.entry(tli(*timeline)).or_default().push(range);
        facts.archived_at.insert(name(*last), time(archived));
    }
    for (timeline, text) in histories {
        let history = TimelineHistory::parse(tli(*timeline), text).unwrap();
        facts.histories.insert(tli(*timeline), history);
    }
    facts
}

/// Registers the cluster, and archives the first segments of its first timeline; their WAL has no records.
pub(crate) fn archive_wal(test: &TestRepository) {
    let identity = ClusterIdentity {
        cluster: test.cluster.name.clone(),
        system_identifier: test.cluster.system_identifier,
        major_version: PgMajorVersion::new(15).unwrap(),
        wal_segment_size: size(),
        since: time("2026-11-20T00:00:00Z"),
    };
    test.repository.register(&identity, &test.writer).unwrap();
    let archive = WalArchive::new(&test.repository, &test.cluster);
    for number in 1..=3 {
        let name = WalFileName::Segment(WalSegmentName::from_number(TimelineId::FIRST, number, size()).unwrap());
        archive.store(&name, WalFileContent::Whole(b"x"), CompressionLevel::DEFAULT, &test.writer).unwrap();
    }
}

/// A restore of the latest, unproven, into `data`.
pub(crate) fn options(test: &TestRepository, data: &Path) -> RestoreOptions {
    RestoreOptions {
        repository: test.repository.clone(),
        repository_root: Some(std::fs::canonicalize(test.temp.path()).unwrap().join("repo")),
        home: None,
        selection: ClusterSelection::Named(test.cluster.name.clone()),
        backup: BackupChoice::Fitting,
        directory: data.to_owned(),
        working_directory: PathBuf::from("/"),
        tablespaces: TablespaceChoice { mapping: Vec::new(), directory: None },
        allowed_tablespace_paths: Vec::new(),
        trust_config: false,
        in_the_way: InTheWay::Refuse,
        jobs: 2,
        manifest: false,
        scratch: test.temp.path().to_owned(),
        mode: RecoveryMode::Targeted,
        target: RecoveryTarget::Latest,
        action: RecoveryTargetAction::Promote,
        timeline: RecoveryTargetTimeline::Latest,
        proving: Proving::Skip,
        settings: PreparedSettings {
            restore_command: "pgv-fetch %f %p".to_owned(),
            recovery_end_command: crate::pg::recovery_end_command("/usr/bin/pgv-recovery-conf"),
            primary_conninfo: None,
            primary_slot_name: None,
            archiving: RestoredArchiving::Off,
        },
        wal_from: None,
        archive_only: false,
        host: "test".to_owned(),
        level: CompressionLevel::DEFAULT,
        pgdata: None,
        original: None,
    }
}

/// The control file of a real server, with another system identifier.
pub(crate) fn control_file(system_identifier: SystemIdentifier) -> Vec<u8> {
    const CRC_OFFSET: usize = 288;
    let mut bytes = include_bytes!("../../../tests/data/postgres-15/pg_control").to_vec();
    bytes[..8].copy_from_slice(&system_identifier.get().to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..CRC_OFFSET]);
    bytes[CRC_OFFSET..CRC_OFFSET + 4].copy_from_slice(&crc.to_le_bytes());
    bytes
}
