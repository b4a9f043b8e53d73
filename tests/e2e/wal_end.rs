//! 039_end_of_wal of PostgreSQL's suite: every kind of broken header ends the log where PostgreSQL says that it ends, for
//! the same reason. pg_waldump, which reads by the server's own code, is the oracle.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use pgv::pg::{
    TimelineHistory, WalEnding, WalFault, WalProgress, WalReader, WalRecord, WalRun, WalSegmentHeader, WalStart,
};

use crate::support::{PgVersion, TestCluster, TestFolder, run};

const PAGE: u64 = 8192;
/// `XLP_FIRST_IS_CONTRECORD`.
const CONTINUES: u16 = 1;

/// What is written where in the segment.
type Edits = Vec<(u64, Vec<u8>)>;
/// Name, edits, PostgreSQL's words, the position, what our reader finds, and whether that is a usual end.
type Row = (&'static str, Edits, &'static str, u64, fn(&WalFault) -> bool, bool);

/// A segment with valid WAL up to some place in it, and nothing but zeros behind.
struct Scene {
    version: PgVersion,
    segment: PathBuf,
    whole: Vec<u8>,
    /// Where the next record would begin, in the segment and in the log.
    end: u64,
    end_lsn: u64,
    previous: u64,
    header: WalSegmentHeader,
    /// The transaction log's magic number of this version.
    magic: u16,
    timeline: u32,
    _folder: TestFolder,
}

fn read(bytes: &[u8], header: WalSegmentHeader) -> (Option<WalRecord>, WalRun) {
    let start = WalStart::Segment(header.page_address);
    let mut reader = WalReader::new(header.into(), TimelineHistory::first(), start, None);
    let mut last = None;
    let _: WalProgress = reader.feed(bytes, |record| last = Some(record));
    (last, reader.finish())
}

impl Scene {
    fn new(version: PgVersion) -> Self {
        let folder = TestFolder::in_memory("wal-end");
        let mut cluster = TestCluster::builder(version, &folder).initdb("--wal-segsize=1").start();
        cluster.query("SELECT pg_switch_wal()");
        // Behind the beginning of a page, with much room before the next one.
        cluster.query("SELECT pg_logical_emit_message(false, 'x', repeat('y', 50000))");
        let room = "SELECT 8192 - mod((pg_current_wal_insert_lsn() - '0/0')::bigint, 8192)";
        while cluster.query(room).parse::<u64>().unwrap() < 4000 {
            cluster.query("SELECT pg_logical_emit_message(true, 'x', repeat('y', 1000))");
        }
        let name = cluster.query("SELECT pg_walfile_name(pg_current_wal_insert_lsn())");
        cluster.query("SELECT pg_logical_emit_message(true, 'x', 'flushed')");
        cluster.kill();
        let segment = folder.make("wal").join(&name);
        let mut whole = fs::read(cluster.data.join("pg_wal").join(&name)).unwrap();
        let header = WalSegmentHeader::decode(&whole).unwrap();
        let (last, ending) = read(&whole, header);
        let end_lsn = ending.next_lsn.get();
        let end = end_lsn - header.page_address.get();
        // What a recycled segment holds behind its end is not wanted here.
        whole[usize::try_from(end).unwrap()..].fill(0);
        let magic = u16::from_le_bytes([whole[0], whole[1]]);
        Self {
            version,
            segment,
            whole,
            end,
            end_lsn,
            previous: last.unwrap().lsn.get(),
            header,
            magic,
            timeline: 1,
            _folder: folder,
        }
    }

    /// What pg_waldump complains about, and our reader.
    fn compare(&self, edits: &[(u64, Vec<u8>)]) -> (String, WalFault) {
        fs::write(&self.segment, &self.whole).unwrap();
        let file = fs::OpenOptions::new().write(true).open(&self.segment).unwrap();
        for (offset, bytes) in edits {
            file.write_all_at(bytes, *offset).unwrap();
        }
        crate::support::TestAccount::get().take_over(&self.segment);
        let mut command = crate::support::tool_command(self.version, "pg_waldump");
        command.arg("--quiet").arg(&self.segment);
        let told = run(command).expect_code(1).stderr;
        let (last, ending) = read(&fs::read(&self.segment).unwrap(), self.header);
        assert_eq!(last.unwrap().lsn.get(), self.previous, "{told}");
        assert_eq!(ending.next_lsn.get(), self.end_lsn, "{told}");
        let WalEnding::Fault(fault) = ending.ending else { panic!("{ending:?}: {told}") };
        (told, fault)
    }

    /// The header of a record: length, resource manager, the record before it.
    fn record(&self, length: u32, manager: u8, previous: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(length.to_le_bytes());
        bytes.extend(0u32.to_le_bytes());
        bytes.extend(previous.to_le_bytes());
        bytes.extend([0, manager, 0, 0]);
        bytes.extend(0xDEAD_BEEF_u32.to_le_bytes());
        bytes
    }

    fn next_page(&self) -> u64 {
        (self.end / PAGE + 1) * PAGE
    }

    /// The header of the page behind the end.
    fn page(&self, magic: u16, info: u16, timeline: u32, address: u64, missing: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(magic.to_le_bytes());
        bytes.extend(info.to_le_bytes());
        bytes.extend(timeline.to_le_bytes());
        bytes.extend(address.to_le_bytes());
        bytes.extend(missing.to_le_bytes());
        bytes.extend([0; 4]);
        bytes
    }
}

fn place(lsn: u64) -> String {
    format!("{:X}/{:X}", lsn >> 32, lsn & 0xFFFF_FFFF)
}

/// What PostgreSQL writes of a position: 18 with all digits of its lower half.
fn names(told: &str, lsn: u64) -> bool {
    told.contains(&place(lsn)) || told.contains(&format!("{:X}/{:08X}", lsn >> 32, lsn & 0xFFFF_FFFF))
}

fn broken_headers(version: PgVersion) {
    let scene = Scene::new(version);
    let (end, next, magic, timeline) = (scene.end, scene.next_page(), scene.magic, scene.timeline);
    let page_address = scene.header.page_address.get() + next;
    let in_page = u32::try_from(next - end).unwrap();
    // A record that goes on in the next page, and how much of it there.
    let (long, rest) = (in_page + 100, 100);
    let crossing = (end, scene.record(long, 10, scene.previous));
    let page = |magic, info, timeline, address, missing| {
        vec![crossing.clone(), (next, scene.page(magic, info, timeline, address, missing))]
    };
    let record = |length, manager, previous| vec![(end, scene.record(length, manager, previous))];
    let rows: Vec<Row> = vec![
        ("zeros", vec![], "invalid record length", scene.end_lsn, |f| matches!(f, WalFault::Zeros { .. }), true),
        (
            "short",
            record(23, 10, scene.previous),
            "invalid record length",
            scene.end_lsn,
            |f| matches!(f, WalFault::RecordLength { .. }),
            true,
        ),
        (
            "manager",
            record(100, 100, scene.previous),
            "invalid resource manager ID 100",
            scene.end_lsn,
            |f| matches!(f, WalFault::ResourceManager { .. }),
            true,
        ),
        (
            "previous",
            record(100, 10, 0xDEAD_BEEF),
            "record with incorrect prev-link",
            scene.end_lsn,
            |f| matches!(f, WalFault::PreviousLink { .. }),
            true,
        ),
        (
            "CRC",
            record(100, 10, scene.previous),
            "incorrect resource manager data checksum",
            scene.end_lsn,
            |f| matches!(f, WalFault::Crc { .. }),
            true,
        ),
        (
            "page of zeros",
            vec![crossing.clone()],
            "invalid magic number 0000",
            page_address,
            |f| matches!(f, WalFault::PageMagic { .. }),
            true,
        ),
        (
            "magic",
            page(0x1234, CONTINUES, timeline, page_address, rest),
            "invalid magic number 1234",
            page_address,
            |f| matches!(f, WalFault::PageMagic { .. }),
            false,
        ),
        (
            "flags",
            page(magic, 0x1230, timeline, page_address, rest),
            "invalid info bits 1230",
            page_address,
            |f| matches!(f, WalFault::PageFlags { .. }),
            false,
        ),
        (
            "older page",
            page(magic, CONTINUES, timeline, page_address - (1 << 20), rest),
            "unexpected pageaddr",
            page_address,
            |f| matches!(f, WalFault::PageAddress { .. }),
            true,
        ),
        (
            "later page",
            page(magic, CONTINUES, timeline, page_address + (1 << 20), rest),
            "unexpected pageaddr",
            page_address,
            |f| matches!(f, WalFault::PageAddress { .. }),
            true,
        ),
        (
            "not continued",
            page(magic, 0, timeline, page_address, rest),
            "there is no contrecord flag",
            page_address,
            |f| matches!(f, WalFault::NotContinued { .. }),
            true,
        ),
        (
            "other length",
            page(magic, CONTINUES, timeline, page_address, 123_456),
            "invalid contrecord length",
            page_address,
            |f| matches!(f, WalFault::ContinuationLength { .. }),
            true,
        ),
        (
            "no length",
            page(magic, CONTINUES, timeline, page_address, 0),
            "invalid contrecord length",
            page_address,
            |f| matches!(f, WalFault::ContinuationLength { .. }),
            true,
        ),
        (
            "CRC of two pages",
            page(magic, CONTINUES, timeline, page_address, rest),
            "incorrect resource manager data checksum",
            scene.end_lsn,
            |f| matches!(f, WalFault::Crc { .. }),
            true,
        ),
    ];
    assert_eq!(rows.len(), 14);
    for (name, edits, words, lsn, is_expected, is_end) in rows {
        let (told, fault) = scene.compare(&edits);
        assert!(told.contains(words), "{name}: {told}");
        assert!(is_expected(&fault), "{name}: {fault:?}, where PostgreSQL says {told}");
        // The last good record is told, and the place: the page's position or offset, or the position of the record in it.
        assert!(names(&told, scene.previous), "{name}: {told}");
        let is_named = names(&told, lsn) || names(&told, scene.end_lsn) || told.contains(&format!("offset {next}"));
        assert!(is_named, "{name}: {told}");
        assert_eq!(fault.lsn().get(), lsn, "{name}: {fault}");
        assert_eq!(fault.is_usual_end(), is_end, "{name}: {fault}");
    }
}

#[test]
fn broken_headers_end_the_log_of_15_where_postgresql_says() {
    broken_headers(PgVersion::V15);
}

#[test]
fn broken_headers_end_the_log_of_17_where_postgresql_says() {
    broken_headers(PgVersion::V17);
}

#[test]
#[ignore = "slow tier: scripts/test --all"]
fn broken_headers_end_the_log_of_16_and_18_where_postgresql_says() {
    broken_headers(PgVersion::V16);
    broken_headers(PgVersion::V18);
}
