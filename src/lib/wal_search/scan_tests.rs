//! However the log is cut and however many threads read it, the findings are the same: on what real servers wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::*;
use crate::pg::{RecoveryTarget, TargetBound, TimelineId, WalFault, WalRecord};
use crate::report::SilentReporter;
use crate::wal_search::{AroundSearch, DropSearch, SegmentSink, SegmentStanding, StopSearch};

/// Segments in memory.
struct Held {
    segments: BTreeMap<WalSegmentName, Vec<u8>>,
    path: TimelineHistory,
    size: WalSegmentSize,
    /// Segments that turn out as damaged once they were read to their end.
    damaged: BTreeSet<WalSegmentName>,
    standing: SegmentStanding,
}

impl WalSource for Held {
    fn archived_at(&self, _: &WalSegmentName) -> Result<Option<jiff::Timestamp>, WalSearchError> {
        Ok(None)
    }

    fn standing(&self, _: &WalSegmentName) -> SegmentStanding {
        self.standing
    }

    fn read(&self, name: &WalSegmentName, sink: &mut SegmentSink<'_>) -> Result<bool, WalSearchError> {
        let Some(bytes) = self.segments.get(name) else { return Ok(false) };
        let is_broken = bytes.chunks(100_000).try_for_each(sink).is_break();
        if !is_broken && self.damaged.contains(name) {
            return Err(WalSearchError::Missing { segment: *name });
        }
        Ok(true)
    }
}

/// Every record, as it came.
#[derive(Debug, Default, PartialEq)]
struct All(Vec<WalRecord>);

impl Search for All {
    fn see(&mut self, record: &WalRecord) {
        self.0.push(record.clone());
    }

    fn merge(&mut self, later: Self) {
        self.0.extend(later.0);
    }

    fn is_decided(&self) -> bool {
        false
    }
}

impl Held {
    /// What a server of that version wrote on two timelines (tests/data).
    fn fixture(version: u32) -> Self {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/postgres-{version}/wal"));
        let mut segments = BTreeMap::new();
        let unpacked = |path: &PathBuf| zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap();
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().trim_end_matches(".zst").to_owned();
            if let Ok(name) = WalSegmentName::parse(&name) {
                segments.insert(name, unpacked(&path));
            }
        }
        let history = unpacked(&folder.join("00000002.history.zst"));
        let path = TimelineHistory::decode(TimelineId::new(2).unwrap(), &history).unwrap();
        let size = WalSegmentHeader::decode(segments.values().next().unwrap()).unwrap().segment_size;
        let mut held = Self { segments, path, size, damaged: BTreeSet::new(), standing: SegmentStanding::Archived };
        // The server was still writing the last one.
        let error = held.search(held.first_record(), 1, RUN_BYTES, All::default).err();
        let Some(WalSearchError::Fault { segment, source: WalFault::Zeros { record } }) = error else {
            panic!("{error:?}")
        };
        held.segments.get_mut(&segment).unwrap().truncate(usize::try_from(record.get() % size.bytes()).unwrap());
        held
    }

    fn start(&self) -> Lsn {
        self.segments.keys().next().unwrap().start_lsn(self.size).unwrap()
    }

    fn end(&self) -> Lsn {
        self.segments.keys().filter_map(|name| name.end_lsn(self.size)).max().unwrap()
    }

    fn search<S: Search>(
        &self,
        from: Lsn,
        threads: usize,
        run_bytes: u64,
        new: impl Fn() -> S + Sync,
    ) -> Result<Found<S>, WalSearchError> {
        let search = WalSearch::new(self, &self.path, (from, self.end()), self.size, threads).unwrap();
        search.in_runs_of(run_bytes).run(new, &SilentReporter, &Cancel::new())
    }

    /// Where the first record begins, found by reading from the first page on.
    fn first_record(&self) -> Lsn {
        let name = *self.segments.keys().next().unwrap();
        let header = WalSegmentHeader::decode(&self.segments[&name]).unwrap();
        let start = WalStart::Segment(self.start());
        let mut reader = WalReader::new(WalFormat::from(header), self.path.clone(), start, None);
        let mut first = None;
        let _ = reader.feed(&self.segments[&name], |record| {
            first.get_or_insert(record.lsn);
        });
        first.unwrap()
    }
}

const VERSIONS: [u32; 6] = [13, 14, 15, 16, 17, 18];
const CUTS: [(usize, u64); 6] = [(1, 1), (2, 1), (5, 1), (2, 2 << 20), (5, 3 << 20), (5, 1 << 30)];

#[test]
fn records_are_the_same_however_the_log_is_cut() {
    for version in VERSIONS {
        let held = Held::fixture(version);
        let from = held.first_record();
        let whole = held.search(from, 1, RUN_BYTES, All::default).unwrap();
        let records = &whole.search.0;
        let crossing = |record: &&WalRecord| record.lsn.get() >> 20 < (record.end_lsn.get() >> 20).saturating_sub(1);
        assert!(records.iter().any(|record| crossing(&record)), "{version}: no record lies in three segments");
        assert_eq!(whole.run.records, records.len() as u64);
        for (threads, run_bytes) in CUTS {
            let found = held.search(from, threads, run_bytes, All::default).unwrap();
            assert!(found.search == whole.search, "version {version}, {threads} threads, {run_bytes} bytes");
            assert_eq!((found.run.records, found.run.next_lsn), (whole.run.records, whole.run.next_lsn));
        }
    }
}

#[test]
fn findings_are_the_same_however_the_log_is_cut() {
    for version in VERSIONS {
        let held = Held::fixture(version);
        let from = held.first_record();
        let records = held.search(from, 1, RUN_BYTES, All::default).unwrap().search.0;
        let middle = &records[records.len() / 2];
        let endings: Vec<_> = records.iter().filter_map(crate::wal_search::Ending::of).collect();
        let time = endings[endings.len() / 2].time;
        let targets = [
            RecoveryTarget::Latest,
            RecoveryTarget::Lsn(middle.lsn, TargetBound::Exclusive),
            RecoveryTarget::Time(time, TargetBound::Inclusive),
            RecoveryTarget::RestorePoint("late".parse().unwrap()),
            RecoveryTarget::RestorePoint("two".parse().unwrap()),
        ];
        for (threads, run_bytes) in CUTS {
            let what = format!("version {version}, {threads} threads, {run_bytes} bytes");
            for target in &targets {
                let stop = |threads, run_bytes| {
                    let found =
                        held.search(from, threads, run_bytes, || StopSearch::new(target.clone())).unwrap().search;
                    (found.stop, found.last_record, found.commit_before, found.commit_after)
                };
                assert_eq!(stop(threads, run_bytes), stop(1, RUN_BYTES), "{what}, {target}");
            }
            let drops = |threads, run_bytes| held.search(from, threads, run_bytes, DropSearch::default).unwrap();
            assert!(!drops(1, RUN_BYTES).search.removals.is_empty());
            assert_eq!(drops(threads, run_bytes).search.removals, drops(1, RUN_BYTES).search.removals, "{what}");
            for count in [1, 2, 5] {
                let around = |threads, run_bytes| {
                    held.search(from, threads, run_bytes, || AroundSearch::new(time, count)).unwrap().search.commits()
                };
                assert_eq!(around(threads, run_bytes), around(1, RUN_BYTES), "{what}");
            }
        }
    }
}

/// A name may be used again, so all is read; what is damaged behind the first one keeps nobody from it.
#[test]
fn damage_behind_a_restore_point_does_not_matter() {
    let mut held = Held::fixture(15);
    let from = held.first_record();
    let records = held.search(from, 1, RUN_BYTES, All::default).unwrap().search.0;
    let point = records.iter().find_map(crate::wal_search::RestorePoint::of).unwrap();
    let target = RecoveryTarget::RestorePoint(point.name.parse().unwrap());
    let behind: Vec<WalSegmentName> =
        held.segments.keys().copied().filter(|name| name.start_lsn(held.size) > Some(point.span.end_lsn)).collect();
    // The last but one is on timeline 1, from which the path has turned.
    let lost = behind[behind.len() - 3];
    held.segments.remove(&lost);
    for (threads, run_bytes) in CUTS {
        let found = held.search(from, threads, run_bytes, || StopSearch::new(target.clone())).unwrap().search;
        assert_eq!(found.stop.unwrap().span, point.span);
        let absent = RecoveryTarget::RestorePoint("absent".parse().unwrap());
        let error = held.search(from, threads, run_bytes, || StopSearch::new(absent.clone())).err();
        assert!(matches!(error, Some(WalSearchError::Missing { segment }) if segment == lost), "{error:?}");
    }
}

/// A point counts when every segment up to the end of its record was read whole, and no segment behind it matters.
#[test]
fn a_point_is_proven_by_what_leads_to_it_alone() {
    let mut held = Held::fixture(15);
    let from = held.first_record();
    let records = held.search(from, 1, RUN_BYTES, All::default).unwrap().search.0;
    let segment = |lsn: Lsn| lsn.get() / held.size.bytes();
    let crossing = |record: &&WalRecord| segment(record.lsn) != segment(Lsn::new(record.end_lsn.get() - 1).unwrap());
    let on_path = |name: &WalSegmentName| {
        let number = name.number(held.size).unwrap();
        held.path
            .segment_names(from, held.end(), held.size)
            .any(|one| one.number == number && one.names.first() == Some(name))
    };
    let names: Vec<WalSegmentName> = held.segments.keys().copied().filter(on_path).collect();
    let crossing: Vec<WalRecord> = records.iter().filter(crossing).cloned().collect();
    assert!(!crossing.is_empty(), "no record lies in two segments");
    let others = records.iter().step_by(records.len() / 12).cloned();
    for record in crossing.into_iter().chain(others) {
        let commit = crate::wal_search::Ending::of(&record);
        let mut targets = vec![
            RecoveryTarget::Lsn(record.lsn, TargetBound::Inclusive),
            RecoveryTarget::Lsn(record.lsn, TargetBound::Exclusive),
        ];
        targets.extend(commit.map(|ending| RecoveryTarget::Time(ending.time, TargetBound::Exclusive)));
        for name in &names {
            held.damaged = BTreeSet::from([*name]);
            let is_behind = name.start_lsn(held.size).unwrap() >= record.end_lsn;
            for ((threads, run_bytes), target) in
                CUTS.iter().flat_map(|cut| targets.iter().map(move |target| (*cut, target)))
            {
                let found = held.search(from, threads, run_bytes, || StopSearch::new(target.clone()));
                let what = format!("{target}, {name} damaged, {threads} threads, {run_bytes} bytes");
                match found {
                    Ok(found) => assert!(is_behind && found.search.stop.unwrap().span.lsn == record.lsn, "{what}"),
                    Err(error) => assert!(!is_behind, "{what}: {error}"),
                }
            }
        }
    }
}

/// A bit flipped anywhere, a segment lost: an error of the same place, however it is read.
#[test]
fn damage_is_found_however_the_log_is_cut() {
    let mut held = Held::fixture(15);
    let from = held.first_record();
    let names: Vec<WalSegmentName> = held.segments.keys().copied().collect();
    for name in &names[1..names.len() - 2] {
        let whole = held.segments[name].clone();
        let Some(bytes) = held.segments.get_mut(name) else { continue };
        // Within the first record behind the header, or what is left of the one before.
        bytes[100] ^= 1;
        for (threads, run_bytes) in CUTS {
            let error = held.search(from, threads, run_bytes, All::default).err();
            assert!(matches!(error, Some(WalSearchError::Fault { .. })), "{name}, {threads}, {run_bytes}: {error:?}");
        }
        held.segments.remove(name);
        for (threads, run_bytes) in CUTS {
            let error = held.search(from, threads, run_bytes, All::default).err();
            assert!(matches!(error, Some(WalSearchError::Missing { segment }) if segment == *name), "{error:?}");
        }
        held.segments.insert(*name, whole);
    }
}

/// A segment that was recycled holds pages of the segment that it was: of an earlier position, of a later one when that
/// belonged to a timeline that was left, or of the same one then.
#[test]
fn the_log_ends_where_the_pages_of_a_recycled_segment_begin() {
    const PAGE: usize = 8192;
    let mut held = Held::fixture(15);
    let size = held.size;
    // The first segment, as if it were of the fifth timeline.
    let timeline = TimelineId::new(5).unwrap();
    held.path = TimelineHistory::decode(timeline, b"1\t0/1000\tx\n").unwrap();
    let (last, mut whole) = held.segments.pop_first().unwrap();
    let last = last.with_timeline(timeline);
    whole.chunks_mut(PAGE).for_each(|page| page[4..8].copy_from_slice(&timeline.get().to_le_bytes()));
    held.segments = BTreeMap::from([(last, whole.clone())]);
    let (start, from) = (last.start_lsn(size).unwrap(), held.first_record());
    // Of the page behind the first record.
    let number = usize::try_from(from.get() - start.get()).unwrap() / PAGE + 1;
    let address = start.get() + (number * PAGE) as u64;
    let searched = |held: &Held| held.search(from, 2, RUN_BYTES, All::default).map(|found| found.run.next_lsn.get());
    // What stands in the headers of the pages from there on, or of that one alone: timeline, and how far off.
    let mut ends = |standing, timeline: u32, off: i64, is_alone: bool| {
        let mut bytes = whole.clone();
        let pages = bytes.chunks_mut(PAGE).zip((start.get()..).step_by(PAGE)).skip(number);
        for (page, address) in pages.take(if is_alone { 1 } else { usize::MAX }).filter(|(page, _)| page.len() >= 16) {
            page[4..8].copy_from_slice(&timeline.to_le_bytes());
            page[8..16].copy_from_slice(&address.checked_add_signed(off).unwrap().to_le_bytes());
        }
        held.segments.insert(last, bytes);
        held.standing = standing;
        searched(&held)
    };
    let (own, segment) =
        (last.timeline().get(), i64::try_from(last.end_lsn(size).unwrap().get() - start.get()).unwrap());
    for (timeline, off) in [(own, -segment), (own, segment), (own - 1, 0), (own - 1, segment)] {
        let end = ends(SegmentStanding::LastLeft, timeline, off, false).unwrap();
        assert!(end <= address && end > start.get(), "timeline {timeline}, {off}: {end:X}");
        let alone = ends(SegmentStanding::LastLeft, timeline, off, true);
        assert!(matches!(alone, Err(WalSearchError::OldFault { pages_behind: Some(1..), .. })), "{alone:?}");
        let followed = ends(SegmentStanding::Left, timeline, off, false);
        assert!(matches!(followed, Err(WalSearchError::OldFault { pages_behind: None, .. })), "{followed:?}");
        let archived = ends(SegmentStanding::Archived, timeline, off, false);
        assert!(matches!(archived, Err(WalSearchError::Fault { .. })), "{archived:?}");
    }
    // Nothing is recycled that was not written yet.
    let later = ends(SegmentStanding::LastLeft, own + 1, 0, false);
    assert!(matches!(later, Err(WalSearchError::OldFault { pages_behind: Some(0), .. })), "{later:?}");
}

/// Two servers were promoted to one number, and the path is that of the other one: its beginning is not the end of the log.
#[test]
fn a_segment_that_never_comes_to_its_timeline_is_not_the_end() {
    const PAGE: u64 = 8192;
    let mut held = Held::fixture(15);
    let (first, bytes) = held.segments.pop_first().unwrap();
    held.segments = BTreeMap::from([(first, bytes)]);
    let from = held.first_record();
    let left_at = Lsn::new(from.get() + 1).unwrap();
    let timeline = TimelineId::new(5).unwrap();
    held.path = TimelineHistory::decode(timeline, format!("1\t{left_at}\tx\n").as_bytes()).unwrap();
    let (_, bytes) = held.segments.pop_first().unwrap();
    held.segments.insert(first.with_timeline(timeline), bytes);
    held.standing = SegmentStanding::LastLeft;
    let error = held.search(from, 2, RUN_BYTES, All::default).err();
    let behind = Lsn::new((left_at.get() / PAGE + 1) * PAGE).unwrap();
    assert!(
        matches!(&error, Some(WalSearchError::OldFault { source: WalFault::PageTimeline { page, .. }, .. }) if *page == behind),
        "{error:?}"
    );
}

/// A server reads ahead as many segments as hold its fill of records: here few are in each.
#[test]
fn trouble_behind_the_stop_counts_however_many_segments_lie_between() {
    let mut held = Held::fixture(15);
    let from = held.first_record();
    let records = held.search(from, 1, RUN_BYTES, All::default).unwrap().search.0;
    let stop = records.iter().find_map(crate::wal_search::Ending::of).unwrap();
    let target = RecoveryTarget::Time(stop.time, TargetBound::Exclusive);
    let behind = held.path.segment_names(stop.span.end_lsn, held.end(), held.size).skip(1);
    let behind: Vec<WalSegmentName> = behind.filter_map(|one| one.names.first().copied()).collect();
    let mut tried = 0;
    for name in behind {
        let Some(bytes) = held.segments.remove(&name) else { continue };
        for (threads, run_bytes) in CUTS {
            let found = held.search(from, threads, run_bytes, || StopSearch::new(target.clone())).unwrap();
            assert_eq!(found.search.stop.unwrap().span, stop.span);
            assert!(found.ends_in_trouble, "{name}, {threads} threads, {run_bytes} bytes");
        }
        held.segments.insert(name, bytes);
        tried += 1;
    }
    assert!(tried > 2, "{tried}");
}

/// What lies behind more records than a server reads ahead is no trouble to it.
#[test]
fn reading_ahead_ends_by_records_or_by_bytes() {
    let lsn = |bytes| Lsn::new(bytes).unwrap();
    let run = |records, to| WalRun {
        records,
        first_lsn: None,
        previous_lsn: None,
        last: None,
        next_lsn: lsn(to),
        ending: WalEnding::OutOfInput { incomplete: None },
    };
    let ends = |seen: &[(Option<u64>, u64, u64)]| {
        let mut read_ahead = ReadAhead::default();
        for (found, records, to) in seen {
            read_ahead.see(found.map(lsn), &run(*records, *to));
        }
        read_ahead.is_over()
    };
    assert!(!ends(&[(None, 1_000_000, 1 << 40)]));
    assert!(!ends(&[(Some(1 << 20), 1_000_000, 1 << 24)]), "what the piece of the stop holds may lie before it");
    assert!(!ends(&[(Some(1 << 20), 10, 1 << 24), (Some(1 << 20), 9 + READ_AHEAD_RECORDS, 1 << 25)]));
    assert!(ends(&[(Some(1 << 20), 10, 1 << 24), (Some(1 << 20), 10 + READ_AHEAD_RECORDS, 1 << 25)]));
    assert!(ends(&[(Some(1 << 20), 10, 1 << 24), (Some(1 << 20), 11, (1 << 20) + READ_AHEAD_BYTES_MAX + 1)]));
}

#[derive(Default)]
struct Recorder(std::sync::Mutex<Vec<Progress>>);

impl Reporter for Recorder {
    fn step(&self, _: &str) {}

    fn warn(&self, _: &str) {}

    fn progress(&self, progress: &Progress) {
        self.0.lock().unwrap().push(*progress);
    }
}

#[test]
fn each_run_of_segments_is_told() {
    let held = Held::fixture(15);
    let from = held.first_record();
    let recorder = Recorder::default();
    let search = WalSearch::new(&held, &held.path, (from, held.end()), held.size, 2).unwrap().in_runs_of(1);
    let found = search.run(All::default, &recorder, &Cancel::new()).unwrap();
    let told = recorder.0.into_inner().unwrap();
    assert!(told.len() > 5, "{told:?}");
    assert!(told.iter().all(|one| one.phase == "reading WAL" && one.total_bytes == held.end().distance_from(from)));
    assert!(told.windows(2).all(|two| two[0].done_bytes <= two[1].done_bytes) && told[0].done_bytes > 0);
    assert_eq!(told.last().unwrap().done_bytes, found.run.next_lsn.distance_from(from).unwrap());
}
