//! Commits of a clock that was set back, in WAL that is read for them alone: on what a real server wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Mutex;

use super::*;
use crate::pg::{TimelineId, WalSegmentName};
use crate::report::SilentReporter;
use crate::wal_search::{SegmentSink, SegmentStanding};

/// Segments in memory, and when each was archived.
struct Held {
    segments: BTreeMap<WalSegmentName, Vec<u8>>,
    archived_at: BTreeMap<WalSegmentName, Timestamp>,
    read: Mutex<BTreeSet<u64>>,
}

impl WalSource for Held {
    fn read(&self, name: &WalSegmentName, sink: &mut SegmentSink<'_>) -> Result<bool, WalSearchError> {
        let Some(bytes) = self.segments.get(name) else { return Ok(false) };
        self.read.lock().unwrap().insert(name.number(size()).unwrap());
        let _: ControlFlow<()> = bytes.chunks(100_000).try_for_each(sink);
        Ok(true)
    }

    fn standing(&self, _: &WalSegmentName) -> SegmentStanding {
        SegmentStanding::Archived
    }

    fn archived_at(&self, segment: &WalSegmentName) -> Result<Option<Timestamp>, WalSearchError> {
        Ok(self.archived_at.get(segment).copied())
    }
}

const FIRST: u64 = 7;
const END: u64 = 12;

fn size() -> WalSegmentSize {
    WalSegmentSize::new(1 << 20).unwrap()
}

fn name(number: u64) -> WalSegmentName {
    WalSegmentName::from_number(TimelineId::FIRST, number, size()).unwrap()
}

fn start_of(number: u64) -> Lsn {
    Lsn::new(number * size().bytes()).unwrap()
}

impl Held {
    /// The whole segments of timeline 1 (tests/data).
    fn new() -> Self {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/postgres-15/wal");
        let unpacked = |number: u64| {
            let file = std::fs::File::open(folder.join(format!("{}.zst", name(number)))).unwrap();
            (name(number), zstd::decode_all(file).unwrap())
        };
        let segments = (FIRST..END).map(unpacked).collect();
        Self { segments, archived_at: BTreeMap::new(), read: Mutex::default() }
    }

    /// The same, where those segments were archived at that time.
    fn archived(mut self, numbers: &[u64], at: Timestamp) -> Self {
        self.archived_at = numbers.iter().map(|number| (name(*number), at)).collect();
        self
    }

    fn farther<'a>(&'a self, path: &'a TimelineHistory) -> FartherWal<'a> {
        FartherWal { source: self, path, size: size(), threads: 2 }
    }

    /// What is found of a target at that time, and which segments were read.
    fn find(&self, from: Lsn, time: Timestamp) -> (LateCommits, Vec<u64>) {
        let path = TimelineHistory::first();
        self.read.lock().unwrap().clear();
        let target = (time, TargetBound::Inclusive);
        let farther = self.farther(&path);
        let late = farther.late_commits((from, start_of(END)), target, &SilentReporter, &Cancel::new()).unwrap();
        (late, self.read.lock().unwrap().iter().copied().collect())
    }

    /// All commits from there on, each with its segment.
    fn commits(&self, from: u64, until: u64) -> Vec<Ending> {
        struct All(Vec<Ending>);
        impl Search for All {
            fn see(&mut self, record: &WalRecord) {
                self.0.extend(Ending::of(record).filter(|one| one.kind == EndingKind::Commit && one.xid.is_some()));
            }
            fn merge(&mut self, later: Self) {
                self.0.extend(later.0);
            }
            fn is_decided(&self) -> bool {
                false
            }
        }
        let path = TimelineHistory::first();
        let search = WalSearch::new(self, &path, (start_of(from), start_of(until)), size(), 1).unwrap();
        search.run(|| All(Vec::new()), &SilentReporter, &Cancel::new()).unwrap().search.0
    }
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn the_segments_that_were_archived_by_the_time_are_read_and_no_others() {
    let (late_time, early) = (time("2100-01-01T00:00:00Z"), time("2020-01-01T00:00:00Z"));
    // Nobody knows when, or all were archived later.
    assert_eq!(Held::new().find(start_of(FIRST), late_time), (LateCommits::default(), Vec::new()));
    let held = Held::new().archived(&[7, 8, 9, 10, 11], late_time);
    assert_eq!(held.find(start_of(FIRST), early), (LateCommits::default(), Vec::new()));
    for (numbers, read) in
        [(&[9][..], 9..11), (&[8, 9], 8..11), (&[11], 11..12), (&[7], 7..9), (&[7, 8, 9, 10, 11], 7..12)]
    {
        let held = Held::new().archived(numbers, early);
        let (late, found) = held.find(start_of(FIRST), late_time);
        assert_eq!(found, read.clone().collect::<Vec<_>>(), "{numbers:?}");
        let expected = held.commits(read.start, read.end);
        assert!(!expected.is_empty(), "{numbers:?}");
        assert_eq!((late.count, &late.first), (expected.len() as u64, &expected.first().cloned()), "{numbers:?}");
        assert_eq!(late.last.as_ref(), expected.last(), "{numbers:?}");
    }
}

#[test]
fn commits_that_are_later_do_not_count_wherever_they_lie() {
    let held = Held::new();
    let commits = held.commits(FIRST, END);
    let middle = commits[commits.len() / 2].time;
    let held = held.archived(&[7, 8, 9, 10, 11], middle);
    let (late, _) = held.find(start_of(FIRST), middle);
    assert_eq!(late.count, commits.iter().filter(|one| one.time <= middle).count() as u64);
    assert!(late.count > 0 && late.count < commits.len() as u64);
}

/// What was read up to some record is not read again.
#[test]
fn it_goes_on_where_reading_ended() {
    let held = Held::new().archived(&[7, 8, 9, 10, 11], time("2020-01-01T00:00:00Z"));
    let commits = held.commits(FIRST, END);
    let middle = &commits[commits.len() / 2];
    let (late, _) = held.find(middle.span.end_lsn, time("2100-01-01T00:00:00Z"));
    let behind = commits.iter().filter(|one| one.span.lsn >= middle.span.end_lsn).count();
    assert_eq!(late.count, behind as u64);
}

#[test]
fn of_many_segments_some_are_looked_at_and_what_lies_between_is_read() {
    let held = Held::new().archived(&[10], time("2020-01-01T00:00:00Z"));
    let path = TimelineHistory::first();
    let whole = (start_of(FIRST), start_of(END));
    let found = |looks_max| {
        held.farther(&path).archived_by(time("2100-01-01T00:00:00Z"), whole, looks_max, &Cancel::new()).unwrap()
    };
    // Every third one: 7 and 10. Every second one: 7, 9 and 11.
    assert_eq!(found(2), [start_of(8)..start_of(END)]);
    assert_eq!(found(3), []);
    assert_eq!(found(5), [start_of(10)..start_of(END)]);
}
