//! Histories of a tree made by hand or by chance: timelines, WAL, backups, pins, marks, packs, clocks that step.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{Span, Timestamp};

use crate::codec::{ContentDigest, HEADER_BYTES};
use crate::expire::facts::{ListedBackup, Strays, TreeFacts, UnfinishedFacts};
use crate::pg::{Lsn, SystemIdentifier, TimelineHistory, TimelineId, WalFileName, WalSegmentName, WalSegmentSize};
use crate::repository::backup_testing::bare_record;
use crate::repository::{
    ArchiveFacts, BackupId, BackupNeeds, BackupRecord, ClusterName, ClusterRef, Lack, PackNeed, WalRange,
};

pub(super) const SIZE: u64 = 1 << 20;

pub(super) fn size() -> WalSegmentSize {
    WalSegmentSize::new(SIZE).unwrap()
}

pub(super) fn tli(number: u32) -> TimelineId {
    TimelineId::new(number).unwrap()
}

pub(super) fn segment(timeline: u32, number: u64) -> WalSegmentName {
    WalSegmentName::from_number(tli(timeline), number, size()).unwrap()
}

pub(super) fn id(number: u64) -> BackupId {
    format!("20261101T000000Z-{number:08x}").parse().unwrap()
}

pub(super) fn day(number: i64) -> Timestamp {
    let first: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    first.checked_add(Span::new().hours(number * 24)).unwrap()
}

/// A record of a backup from byte `start` to byte `stop`.
pub(super) fn record(sequence: u64, timeline: u32, start: u64, stop: u64, stop_time: Timestamp) -> BackupRecord {
    BackupRecord {
        sequence,
        system_identifier: SystemIdentifier::new(7).unwrap(),
        start_lsn: Lsn::new(start).unwrap(),
        start_timeline: tli(timeline),
        stop_lsn: Lsn::new(stop).unwrap(),
        stop_timeline: tli(timeline),
        start_time: stop_time,
        stop_time,
        wal_segment_size: size(),
        ..bare_record(id(sequence))
    }
}

pub(super) fn listed(record: BackupRecord, packs: &[(u64, u32)]) -> ListedBackup {
    let need = |(number, (backup, ordinal)): (u32, &(u64, u32))| PackNeed {
        number,
        backup: id(*backup),
        ordinal: *ordinal,
        body_bytes: 1,
        plain_bytes: 1,
        index_digest: ContentDigest::from_bytes([0; 32]),
        live_bytes: 1,
    };
    let needs = BackupNeeds { packs: (0..).zip(packs).map(need).collect() };
    ListedBackup { record, needs, pins: Vec::new(), doubted: None, lacks: Vec::new() }
}

/// A tree while it grows.
pub(super) struct History {
    pub(super) facts: TreeFacts,
    /// The lines of each timeline's history file.
    pub(super) lines: BTreeMap<u32, Vec<(u32, u64)>>,
    /// The next byte of each timeline.
    pub(super) heads: BTreeMap<u32, u64>,
    pub(super) segments: BTreeMap<WalSegmentName, Timestamp>,
    /// By how much the clock of the host is behind that archives a timeline.
    pub(super) clocks_behind: BTreeMap<u32, Span>,
    /// Packs that lie there no more, or were cut.
    lost_packs: BTreeMap<(BackupId, u32), Option<u64>>,
    pub(super) now: Timestamp,
    pub(super) sequence: u64,
}

impl History {
    pub(super) fn new() -> Self {
        let archive = ArchiveFacts {
            segment_size: size(),
            ranges: BTreeMap::new(),
            histories: BTreeMap::new(),
            unreadable_histories: BTreeMap::new(),
            unlisted: Vec::new(),
            archived_at: BTreeMap::new(),
        };
        let cluster = ClusterRef {
            name: ClusterName::parse("main").unwrap(),
            system_identifier: SystemIdentifier::new(7).unwrap(),
        };
        let facts = TreeFacts {
            cluster,
            listed: Vec::new(),
            unfinished: Vec::new(),
            last_began: None,
            gone: BTreeSet::new(),
            emptied: BTreeSet::new(),
            packs: BTreeMap::new(),
            strays: Strays::default(),
            archive,
            history_times: BTreeMap::new(),
            last_stored: BTreeMap::new(),
            wal: Vec::new(),
            wal_times: BTreeMap::new(),
        };
        Self {
            facts,
            lines: BTreeMap::from([(1, Vec::new())]),
            heads: BTreeMap::from([(1, SIZE + 0x28)]),
            segments: BTreeMap::new(),
            clocks_behind: BTreeMap::new(),
            lost_packs: BTreeMap::new(),
            now: day(0),
            sequence: 0,
        }
    }

    /// The server writes so many bytes on a timeline; what is whole is archived.
    pub(super) fn write(&mut self, timeline: u32, bytes: u64) {
        let head = self.heads[&timeline];
        let first = head / SIZE;
        let last = (head + bytes) / SIZE;
        for number in first..last {
            self.segments.insert(segment(timeline, number), self.now);
        }
        self.heads.insert(timeline, head + bytes);
    }

    /// A backup at the head of a timeline, whose WAL is archived with it.
    pub(super) fn backup(&mut self, timeline: u32, spans: u64, packs: &[(u64, u32)]) -> BackupId {
        let start = self.heads[&timeline] + 0x28;
        let stop = start + 0x100 + spans * SIZE;
        self.heads.insert(timeline, start);
        self.write(timeline, stop + SIZE - start);
        self.sequence += 1;
        let record = record(self.sequence, timeline, start, stop, self.now);
        for (backup, ordinal) in packs {
            let ordinals = self.facts.packs.entry(id(*backup)).or_default();
            if !ordinals.contains(ordinal) {
                ordinals.push(*ordinal);
            }
        }
        self.facts.listed.push(listed(record, packs));
        id(self.sequence)
    }

    /// A recovery along `parent` to that byte ends on a new timeline.
    pub(super) fn fork(&mut self, parent: u32, at: u64) -> u32 {
        let new = self.lines.keys().max().unwrap() + 1;
        let mut lines = self.lines[&parent].clone();
        lines.push((parent, at));
        self.lines.insert(new, lines);
        self.heads.insert(new, at);
        self.facts.history_times.insert(tli(new), self.now);
        new
    }

    pub(super) fn unfinished(&mut self, number: u64, parents: &[BackupId], last_stored: Timestamp) {
        self.facts.unfinished.push(UnfinishedFacts {
            has_all_else: false,
            id: id(number),
            host: "db1".to_owned(),
            began: last_stored,
            parents: parents.to_vec(),
            last_stored,
            is_pinned: false,
            is_given_up: false,
        });
    }

    /// Loses a segment.
    pub(super) fn lose(&mut self, at: usize) {
        if let Some(name) = self.segments.keys().nth(at % self.segments.len().max(1)).copied() {
            self.segments.remove(&name);
        }
    }

    /// Loses a pack, or all of it but so many bytes.
    pub(super) fn lose_pack(&mut self, backup: BackupId, ordinal: u32, left: Option<u64>) {
        self.lost_packs.insert((backup, ordinal), left);
    }

    /// Whether all packs that a backup needs are there as they were stored.
    pub(super) fn has_packs_of(&self, backup: &BackupId) -> bool {
        let listed = self.facts.listed.iter().filter(|listed| listed.record.id == *backup);
        let mut packs = listed.flat_map(|listed| &listed.needs.packs).map(|need| (need.backup, need.ordinal));
        packs.all(|pack| !self.lost_packs.contains_key(&pack))
    }

    fn by_clock_of(&self, timeline: TimelineId, time: Timestamp) -> Timestamp {
        self.clocks_behind.get(&timeline.get()).map_or(time, |behind| time.checked_sub(*behind).unwrap())
    }

    /// The tree as it is now; `unreadable` and `missing` histories cannot be followed.
    pub(super) fn facts(&self, unreadable: &[u32], missing: &[u32]) -> TreeFacts {
        let mut facts = self.facts.clone();
        for ((backup, ordinal), _) in self.lost_packs.iter().filter(|(_, left)| left.is_none()) {
            let ordinals = facts.packs.entry(*backup).or_default();
            ordinals.retain(|there| there != ordinal);
        }
        facts.packs.retain(|_, ordinals| !ordinals.is_empty());
        let listed: Vec<BackupId> = facts.listed.iter().map(|backup| backup.record.id).collect();
        let unfinished: Vec<BackupId> = facts.unfinished.iter().map(|backup| backup.id).collect();
        let has_folder = |id: &BackupId| listed.contains(id) || unfinished.contains(id) || facts.gone.contains(id);
        for (id, ordinals) in facts.packs.iter().filter(|(id, _)| !has_folder(id)) {
            facts.strays.packs.insert(*id, ordinals.len() as u64);
        }
        facts.strays.has_no_folders = listed.is_empty() && unfinished.is_empty() && facts.gone.is_empty();
        for backup in &mut facts.listed {
            for need in &backup.needs.packs {
                let whole = Some(need.body_bytes + HEADER_BYTES as u64);
                let stored = self.lost_packs.get(&(need.backup, need.ordinal)).copied().unwrap_or(whole);
                backup.lacks.extend(Lack::of_pack(need, stored));
            }
        }
        let mut ranges: BTreeMap<TimelineId, Vec<WalRange>> = BTreeMap::new();
        for name in self.segments.keys() {
            WalRange::extend(ranges.entry(name.timeline()).or_default(), *name, size());
        }
        for range in ranges.values().flatten() {
            let stored = self.segments[&range.last];
            facts.archive.archived_at.insert(range.last, self.by_clock_of(range.last.timeline(), stored));
        }
        for (timeline, time) in &mut facts.history_times {
            *time = self.by_clock_of(*timeline, *time);
        }
        facts.last_stored = self.facts.history_times.clone();
        facts.last_stored.extend(ranges.values().flatten().map(|range| (range.timeline, self.segments[&range.last])));
        facts.archive.ranges = ranges;
        for (timeline, lines) in self.lines.iter().filter(|(timeline, _)| **timeline > 1) {
            let text: String =
                lines.iter().map(|(parent, at)| format!("{parent}\t{}\tx\n", Lsn::new(*at).unwrap())).collect();
            if unreadable.contains(timeline) {
                facts.archive.unreadable_histories.insert(tli(*timeline), "damaged".to_owned());
            } else if !missing.contains(timeline) {
                let history = TimelineHistory::parse(tli(*timeline), &text).unwrap();
                facts.archive.histories.insert(tli(*timeline), history);
            }
        }
        for (name, time) in &self.segments {
            let names = [name.to_string(), format!("{name}.00000028.backup"), format!("{name}.partial")];
            for name in names {
                let name = WalFileName::parse(&name).unwrap();
                facts.wal_times.insert(name, *time);
                facts.wal.push(name);
            }
        }
        facts
    }
}
