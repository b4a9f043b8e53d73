//! The WAL reader on what real servers of all versions wrote (tests/data), with what the servers and their pg_waldump
//! said of it. Needs no server.

use std::collections::BTreeMap;
use std::path::PathBuf;

use pgv::pg::{
    Lsn, TimelineHistory, TimelineId, WalContent, WalEnding, WalFault, WalFormat, WalProgress, WalReader, WalRecord,
    WalRun, WalSegmentHeader, WalSegmentName, WalStart,
};

use crate::support::{as_dumped, parse_dump, relation_path, unpacked};

const VERSIONS: [u32; 6] = [13, 14, 15, 16, 17, 18];

/// The WAL of one version in tests/data.
struct Fixture {
    folder: PathBuf,
    format: WalFormat,
    /// By name.
    segments: BTreeMap<WalSegmentName, Vec<u8>>,
    /// `word -> rest of the line`, in order.
    facts: Vec<(String, String)>,
}

impl Fixture {
    fn open(version: u32) -> Self {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/postgres-{version}/wal"));
        let mut segments = BTreeMap::new();
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().trim_end_matches(".zst").to_owned();
            if let Ok(name) = WalSegmentName::parse(&name) {
                segments.insert(name, unpacked(&path));
            }
        }
        let header = WalSegmentHeader::decode(segments.values().next().unwrap()).unwrap();
        assert_eq!(header.major.get(), version);
        let text = std::fs::read_to_string(folder.join("facts.txt")).unwrap();
        let facts = text.lines().map(|line| line.split_once(' ').unwrap());
        let facts = facts.map(|(word, rest)| (word.to_owned(), rest.to_owned())).collect();
        Self { folder, format: header.into(), segments, facts }
    }

    fn facts<'a>(&'a self, word: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.facts.iter().filter(move |(found, _)| found == word).map(|(_, rest)| rest.as_str())
    }

    fn dump(&self, name: &str) -> Option<String> {
        let path = self.folder.join(name);
        path.exists().then(|| String::from_utf8(unpacked(&path)).unwrap())
    }

    fn start(&self) -> Lsn {
        self.segments.keys().next().unwrap().start_lsn(self.format.segment_size).unwrap()
    }

    fn history_of_2(&self) -> TimelineHistory {
        let bytes = unpacked(&self.folder.join("00000002.history.zst"));
        TimelineHistory::decode(TimelineId::new(2).unwrap(), &bytes).unwrap()
    }

    /// The segments along a path, from the first on.
    fn along(&self, path: &TimelineHistory) -> Vec<(Lsn, &[u8])> {
        let end = self.segments.keys().map(|name| name.end_lsn(self.format.segment_size).unwrap()).max().unwrap();
        let planned = path.segment_names(self.start(), end, self.format.segment_size);
        let found = planned.map(|segment| {
            let name = segment.names.iter().find(|name| self.segments.contains_key(name)).unwrap();
            (name.start_lsn(self.format.segment_size).unwrap(), self.segments[name].as_slice())
        });
        found.collect()
    }
}

/// Reads all of `segments` in pieces of that many bytes.
fn read(fixture: &Fixture, path: &TimelineHistory, piece: usize) -> (Vec<WalRecord>, WalRun) {
    let mut reader = WalReader::new(fixture.format, path.clone(), WalStart::Segment(fixture.start()), None);
    let mut records = Vec::new();
    'all: for (_, bytes) in fixture.along(path) {
        for part in bytes.chunks(piece) {
            if reader.feed(part, |record| records.push(record)) == WalProgress::Done {
                break 'all;
            }
        }
    }
    (records, reader.finish())
}

#[test]
fn every_record_is_the_one_that_pg_waldump_shows() {
    for version in VERSIONS {
        let fixture = Fixture::open(version);
        let Some(dump) = fixture.dump("waldump.txt.zst") else {
            // pg_waldump of 13 and 14 is in no package: see what their servers said, below
            assert!(version < 15);
            continue;
        };
        let (records, run) = read(&fixture, &TimelineHistory::first(), 256 << 10);
        let found: Vec<_> = records.iter().map(|record| as_dumped(record, fixture.format.major)).collect();
        let expected = parse_dump(&dump);
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found, expected, "version {version}");
        }
        assert_eq!(found.len(), expected.len(), "version {version}");
        assert!(matches!(run.ending, WalEnding::Fault(WalFault::Zeros { .. })), "{run:?}");
        assert_eq!(run.records, expected.len() as u64);
        let told = |text: &str| found.iter().filter(|record| record.description.starts_with(text)).count();
        for text in
            ["COMMIT 2", "COMMIT_PREPARED", "ABORT 2", "ABORT_PREPARED", "RESTORE_POINT early", "CHECKPOINT_ONLINE"]
        {
            assert!(told(text) > 0, "version {version}: no {text}");
        }
        for text in
            ["SWITCH", "PARAMETER_CHANGE", "FPW_CHANGE false", "CREATE_FILE_COPY", "DROP dir", "CREATE 1", "DROP 1"]
        {
            assert!(told(text) > 0, "version {version}: no {text}");
        }
    }
}

#[test]
fn the_path_over_a_promotion_is_read() {
    for version in VERSIONS {
        let fixture = Fixture::open(version);
        let path = fixture.history_of_2();
        let fork = path.end_of(TimelineId::FIRST).unwrap();
        let (records, run) = read(&fixture, &path, 256 << 10);
        assert!(matches!(run.ending, WalEnding::Fault(WalFault::Zeros { .. })), "{run:?}");
        let (old, new): (Vec<_>, Vec<_>) = records.iter().partition(|record| record.lsn < fork);
        assert!(old.iter().all(|record| record.timeline == TimelineId::FIRST));
        assert!(new.iter().all(|record| record.timeline.get() == 2));
        let WalContent::EndOfRecovery(start) = &new[0].content else { panic!("{:?}", new[0]) };
        assert_eq!((start.previous_timeline, start.timeline.get(), new[0].lsn), (TimelineId::FIRST, 2, fork));
        let dropped = restore_points(&records);
        assert_eq!(dropped.last().unwrap().0, "two");
        if let Some(dump) = fixture.dump("waldump-2.txt.zst") {
            let last: Vec<_> = records.iter().map(|record| as_dumped(record, fixture.format.major)).collect();
            let expected = parse_dump(&dump);
            assert_eq!(&last[last.len() - expected.len()..], expected.as_slice());
        }
    }
}

fn restore_points(records: &[WalRecord]) -> Vec<(String, Lsn)> {
    let points = records.iter().filter_map(|record| match &record.content {
        WalContent::RestorePoint(point) => Some((String::from_utf8(point.name.to_vec()).unwrap(), record.end_lsn)),
        _ => None,
    });
    points.collect()
}

/// The oracle of 13 and 14, and another one of the later versions: what the servers said while they wrote it.
#[test]
fn the_records_say_what_the_servers_said() {
    for version in VERSIONS {
        let fixture = Fixture::open(version);
        let (records, _) = read(&fixture, &TimelineHistory::first(), 256 << 10);
        let points: Vec<String> = restore_points(&records).iter().map(|(name, end)| format!("{name} {end}")).collect();
        let expected = fixture.facts("restore-point").filter(|point| !point.starts_with("two"));
        assert_eq!(points, expected.collect::<Vec<_>>(), "version {version}");

        let mut commits = BTreeMap::new();
        let mut dropped = Vec::new();
        for record in &records {
            if let WalContent::Commit(end) = &record.content {
                let time = end.time.strftime("%Y-%m-%d %H:%M:%S.%6f").to_string();
                assert!(commits.insert(end.xid.unwrap(), (time, end.subtransactions)).is_none());
                dropped.extend(end.dropped.iter().map(|relation| relation_path(relation, fixture.format.major)));
                assert_eq!(end.dropped_count as usize, end.dropped.len());
            }
        }
        check_commits(&fixture, commits);
        for path in fixture.facts("dropped") {
            assert!(dropped.iter().any(|found| found == path), "version {version}: {path} was not dropped");
        }
        let tablespace = records.iter().find_map(|record| match &record.content {
            WalContent::CreateTablespace { oid, path } => Some(format!("{oid} {}", String::from_utf8_lossy(path))),
            _ => None,
        });
        assert_eq!(tablespace.as_deref(), fixture.facts("tablespace").next());
        let gone: u32 = fixture.facts("database").next().unwrap().parse().unwrap();
        let is_created =
            |record: &WalRecord| matches!(&record.content, WalContent::CreateDatabase(new) if new.oid == gone);
        assert_eq!(records.iter().filter(|record| is_created(record)).count(), 1);
        let is_dropped = |record: &WalRecord| matches!(&record.content, WalContent::DropDatabase { oid, tablespaces } if *oid == gone && *tablespaces == [1663]);
        assert_eq!(records.iter().filter(|record| is_dropped(record)).count(), 1);
        // nothing was written after the last checkpoint's record but what that asks for
        let end: Lsn = fixture.facts("end").next().unwrap().parse().unwrap();
        assert_eq!(records.last().unwrap().end_lsn, end, "version {version}");
    }
}

/// Each transaction that committed has a record or is the subtransaction of one that has; no other has.
fn check_commits(fixture: &Fixture, commits: BTreeMap<u32, (String, u32)>) {
    let version = fixture.format.major;
    let mut left = commits.clone();
    let mut subtransactions = 0;
    for line in fixture.facts("xid") {
        let (xid, time) = line.split_once(' ').unwrap();
        match (time, left.remove(&xid.parse().unwrap())) {
            ("none", found) => assert_eq!(found, None, "version {version}: transaction {xid}"),
            (time, Some((found, _))) => assert_eq!(found, time, "version {version}: transaction {xid}"),
            (time, None) => {
                assert!(commits.values().any(|(found, subs)| found == time && *subs > 0), "transaction {xid}");
                subtransactions += 1;
            }
        }
    }
    assert_eq!(subtransactions, commits.values().map(|(_, count)| count).sum::<u32>());
    // the one that asked, and what came after
    assert!(left.len() < 5, "{left:?}");
}

#[test]
fn the_size_of_the_pieces_does_not_matter() {
    for version in [14, 18] {
        let fixture = Fixture::open(version);
        for path in [TimelineHistory::first(), fixture.history_of_2()] {
            let whole = read(&fixture, &path, usize::MAX);
            for piece in [7, 24, 8191, 8192, 1 << 20] {
                assert_eq!(read(&fixture, &path, piece), whole, "pieces of {piece}");
            }
        }
    }
}

/// Readers that know nothing of each other: one for each segment, with the following ones when a record goes on.
#[test]
fn joined_runs_are_the_whole() {
    for version in VERSIONS {
        let fixture = Fixture::open(version);
        for path in [TimelineHistory::first(), fixture.history_of_2()] {
            let (records, whole) = read(&fixture, &path, usize::MAX);
            let segments = fixture.along(&path);
            let mut joined: Option<WalRun> = None;
            let mut all = Vec::new();
            for (number, (start, _)) in segments.iter().enumerate() {
                let until = segments.get(number + 1).map(|(start, _)| *start);
                let mut reader = WalReader::new(fixture.format, path.clone(), WalStart::Segment(*start), until);
                for (_, bytes) in &segments[number..] {
                    if reader.feed(bytes, |record| all.push(record)) == WalProgress::Done {
                        break;
                    }
                }
                let run = reader.finish();
                joined = Some(match joined {
                    Some(before) => before.join(run).unwrap(),
                    None => run,
                });
            }
            assert_eq!(joined, Some(whole));
            assert_eq!(all, records);
        }
    }
}

/// From each record on: the same records follow.
#[test]
fn reading_can_begin_at_any_record() {
    let fixture = Fixture::open(15);
    let path = TimelineHistory::first();
    let (records, whole) = read(&fixture, &path, usize::MAX);
    let segments = fixture.along(&path);
    for index in (0..records.len()).step_by(37) {
        let start = records[index].lsn;
        let mut reader = WalReader::new(fixture.format, path.clone(), WalStart::Record(start), None);
        let mut found = Vec::new();
        for (_, bytes) in segments.iter().skip_while(|(segment, _)| segment.get() + (1 << 20) <= start.get()) {
            if reader.feed(bytes, |record| found.push(record)) == WalProgress::Done {
                break;
            }
        }
        assert_eq!(found, records[index..]);
        let run = reader.finish();
        assert_eq!((run.last, run.next_lsn, run.ending), (whole.last, whole.next_lsn, whole.ending.clone()));
    }
}

/// A generator that needs no seed from outside: the same flips in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }
}

/// Bits that flip in real WAL: nothing but what was written comes out, and what was hit does not.
#[test]
fn a_flipped_bit_never_brings_out_another_record() {
    const FLIPS: usize = 150;
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    for version in VERSIONS {
        let fixture = Fixture::open(version);
        let path = TimelineHistory::first();
        let (records, _) = read(&fixture, &path, usize::MAX);
        let bytes: Vec<u8> = fixture.along(&path).iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
        let mut found_faults = 0;
        for _ in 0..FLIPS {
            let victim = &records[random.below(records.len())];
            let length =
                usize::try_from(victim.end_lsn.get().min(victim.lsn.get() + 20_000) - victim.lsn.get()).unwrap();
            let position = victim.lsn.get() + random.below(length) as u64;
            let mut damaged = bytes.clone();
            let index = usize::try_from(position - fixture.start().get()).unwrap();
            damaged[index] ^= 1 << random.below(8);
            let mut reader = WalReader::new(fixture.format, path.clone(), WalStart::Segment(fixture.start()), None);
            let mut found = Vec::new();
            let _ = reader.feed(&damaged, |record| found.push(record));
            let run = reader.finish();
            assert!(records.starts_with(&found), "version {version}, byte {index}: another record");
            if found.len() < records.len() {
                assert!(run.next_lsn.get() <= position, "version {version}, byte {index}: {run:?}");
                found_faults += 1;
            }
        }
        // what is not found lies in padding, or after a switch record
        assert!(found_faults > FLIPS * 9 / 10, "version {version}: {found_faults} of {FLIPS}");
    }
}
