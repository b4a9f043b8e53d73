//! Ten thousand random histories: nothing that anybody needs is ever in the plan, and the rules keep what they promise.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use jiff::{Span, Timestamp};

use super::history::{History, SIZE, day, id};
use super::oracle::Path;
use crate::expire::error::ExpireError;
use crate::expire::facts::TreeFacts;
use crate::expire::plan::{Fate, TreePlan, plan};
use crate::expire::rules::Rules;
use crate::pg::WalFileName;
use crate::repository::SILENT_AFTER;
use crate::repository::{BackupId, BackupRecord};

const HISTORIES: u64 = 10_000;

/// A small generator whose whole state is its seed.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn of<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        if items.is_empty() { None } else { items.get(self.below(items.len() as u64) as usize) }
    }
}

/// A history by chance, with the timelines whose histories cannot be read and those whose histories are missing.
fn by_chance(chance: &mut Chance) -> (History, Vec<u32>, Vec<u32>) {
    let mut history = History::new();
    for _ in 0..5 + chance.below(30) {
        let timelines: Vec<u32> = history.heads.keys().copied().collect();
        // Mostly the newest, as servers do.
        let newest = *timelines.last().unwrap();
        let timeline = if chance.one_in(4) { *chance.of(&timelines).unwrap() } else { newest };
        match chance.below(13) {
            0..=3 => history.write(timeline, chance.below(4 * SIZE)),
            4..=8 => backup_by_chance(&mut history, chance, timeline),
            9 => {
                let head = history.heads[&timeline];
                let at = head.saturating_sub(chance.below(6) * SIZE / 2).max(SIZE + 1);
                history.fork(timeline, at);
            }
            10 => history.lose(chance.next() as usize),
            11 => lose_pack_by_chance(&mut history, chance),
            // The clock steps, now and then back.
            _ => {
                let hours = chance.below(24 * 12) as i64 - if chance.one_in(5) { 48 } else { 0 };
                history.now = history.now.checked_add(Span::new().hours(hours)).unwrap();
            }
        }
    }
    // A standby is promoted by mistake, and its primary goes on.
    if chance.one_in(6) {
        let newest = *history.lines.keys().max().unwrap();
        history.fork(newest, history.heads[&newest]);
        for _ in 0..=chance.below(3) {
            history.now = history.now.checked_add(Span::new().hours(24 * 3 + chance.below(24 * 4) as i64)).unwrap();
            backup_by_chance(&mut history, chance, newest);
        }
    }
    // The host of a timeline has a clock that is behind.
    if chance.one_in(6) {
        let timelines: Vec<u32> = history.lines.keys().copied().collect();
        let behind = Span::new().hours(chance.below(24 * 40) as i64);
        history.clocks_behind.insert(*chance.of(&timelines).unwrap(), behind);
    }
    for _ in 0..chance.below(3) {
        let parents: Vec<BackupId> = history.facts.listed.iter().map(|backup| backup.record.id).collect();
        let parents: Vec<BackupId> = chance.of(&parents).copied().filter(|_| chance.one_in(2)).into_iter().collect();
        let silent = if chance.one_in(3) { Duration::ZERO } else { SILENT_AFTER * 2 };
        history.sequence += 1;
        history.unfinished(history.sequence, &parents, history.now.checked_sub(silent).unwrap());
        history.facts.packs.insert(id(history.sequence), vec![0, 1]);
    }
    if chance.one_in(3) {
        history.sequence += 1;
        history.facts.gone.insert(id(history.sequence));
        history.facts.packs.insert(id(history.sequence), vec![0, 1, 2]);
    }
    // The folder of a backup is moved away.
    if chance.one_in(6) && !history.facts.listed.is_empty() {
        let away = chance.below(history.facts.listed.len() as u64) as usize;
        let id = history.facts.listed.remove(away).record.id;
        history.facts.unfinished.iter_mut().for_each(|running| running.parents.retain(|parent| *parent != id));
    }
    let forked: Vec<u32> = history.lines.keys().copied().filter(|timeline| *timeline > 1).collect();
    let unreadable = chance.of(&forked).copied().filter(|_| chance.one_in(12)).into_iter().collect();
    let missing = chance.of(&forked).copied().filter(|_| chance.one_in(8)).into_iter().collect();
    (history, unreadable, missing)
}

fn backup_by_chance(history: &mut History, chance: &mut Chance, timeline: u32) {
    let number = history.sequence + 1;
    let mut packs: Vec<(u64, u32)> = (0..=chance.below(2) as u32).map(|ordinal| (number, ordinal)).collect();
    // Packs of earlier backups, and through those, of backups that are there no more.
    let earlier: Vec<(u64, u32)> = (1..number).flat_map(|backup| [(backup, 0), (backup, 1)]).collect();
    for _ in 0..chance.below(3) {
        packs.extend(chance.of(&earlier).copied());
    }
    history.backup(timeline, chance.below(2), &packs);
    let last = history.facts.listed.last_mut().unwrap();
    if chance.one_in(6) {
        last.record.findings.push("a page has a wrong checksum".to_owned());
    }
    if chance.one_in(8) {
        last.pins.push("by hand".to_owned());
    }
    if chance.one_in(8) {
        last.doubted = Some(history.now);
    }
}

/// Mostly of the newest backup, for that counts.
fn lose_pack_by_chance(history: &mut History, chance: &mut Chance) {
    let newest = history.sequence;
    let backup = if newest == 0 || chance.one_in(2) { newest } else { 1 + chance.below(newest) };
    let left = chance.one_in(2).then(|| chance.below(500));
    history.lose_pack(id(backup), chance.below(2) as u32, left);
}

fn rules_by_chance(chance: &mut Chance) -> Rules {
    let keep = NonZeroU32::new(chance.below(5) as u32);
    let keep_days = (chance.one_in(2) || keep.is_none()).then(|| 1 + chance.below(40) as u32);
    let wal_days = chance.one_in(4).then(|| 1 + chance.below(20) as u32);
    let grace = Duration::from_secs(if chance.one_in(4) { 86_400 } else { 0 });
    Rules { keep, keep_days, wal_days, grace, allow_many: true }
}

/// What was seen over all histories, so that the test is known to have tested something.
#[derive(Default, Debug)]
struct Seen {
    backups: u64,
    wal: u64,
    packs: u64,
    shared_packs_kept: u64,
    behind_clocks: u64,
    branches: u64,
    lost_targets: u64,
    without_packs: u64,
    strays: u64,
    unknown_timelines: u64,
    given_up: u64,
}

#[test]
fn nothing_needed_is_ever_in_the_plan() {
    let mut seen = Seen::default();
    for seed in 0..HISTORIES {
        let mut chance = Chance(seed);
        let (history, unreadable, missing) = by_chance(&mut chance);
        let rules = rules_by_chance(&mut chance);
        let facts = history.facts(&unreadable, &missing);
        let newest = facts.listed.iter().map(|backup| backup.record.stop_time).max();
        match plan(&facts, &rules, history.now) {
            Err(ExpireError::ClockBehind { .. }) => {
                assert!(newest.is_some_and(|newest| newest > history.now), "seed {seed}");
                seen.behind_clocks += 1;
            }
            Err(error) => panic!("seed {seed}: {error}"),
            Ok(planned) => {
                assert!(newest.is_none_or(|newest| newest <= history.now), "seed {seed}");
                let checked = Checked { seed, history: &history, facts: &facts, plan: &planned, rules: &rules };
                let unknown = [unreadable, missing].concat();
                checked.refusal(&unknown, &mut seen);
                checked.wal(&unknown);
                checked.packs(&mut seen);
                checked.rules(&mut seen);
                checked.moments(&mut seen);
                seen.backups += planned.going.backups.len() as u64;
                seen.wal += planned.going.wal.len() as u64;
                seen.packs += planned.going.packs.len() as u64;
                seen.without_packs += u64::from(facts.listed.last().is_some_and(|newest| !newest.lacks.is_empty()));
                seen.branches += u64::from(history.lines.len() > 2);
            }
        }
    }
    let Seen {
        backups,
        wal,
        packs,
        shared_packs_kept,
        behind_clocks,
        branches,
        lost_targets,
        without_packs,
        strays,
        unknown_timelines,
        given_up,
    } = seen;
    for count in [
        backups,
        wal,
        packs,
        shared_packs_kept,
        behind_clocks,
        branches,
        lost_targets,
        without_packs,
        strays,
        unknown_timelines,
        given_up,
    ] {
        assert!(count > 150, "{seen:?}");
    }
}

struct Checked<'a> {
    seed: u64,
    history: &'a History,
    facts: &'a TreeFacts,
    plan: &'a TreePlan,
    rules: &'a Rules,
}

impl Checked<'_> {
    fn fate(&self, id: &BackupId) -> &Fate {
        &self.plan.backups.iter().find(|backup| backup.id == *id).unwrap().fate
    }

    fn staying(&self) -> Vec<&BackupRecord> {
        let all = self.facts.listed.iter().map(|backup| &backup.record);
        all.filter(|record| *self.fate(&record.id) != Fate::Goes).collect()
    }

    /// The paths that can be followed, by the oracle.
    fn paths(&self, unknown: &[u32]) -> Vec<(u32, Path)> {
        let known = self.history.lines.iter().filter(|(timeline, _)| !unknown.contains(timeline));
        known.map(|(timeline, lines)| (*timeline, Path::of(*timeline, lines))).collect()
    }

    /// Where it is not known which backups lead to WAL that is there, nothing is done of what is planned.
    fn refusal(&self, unknown: &[u32], seen: &mut Seen) {
        let is_unknown = |name: &WalFileName| matches!(name, WalFileName::Segment(segment) if unknown.contains(&segment.timeline().get()));
        let is_expected = self.facts.wal.iter().any(is_unknown);
        let refusal = self.plan.refusal(self.rules);
        let is_refused = matches!(refusal, Some(ExpireError::UnknownTimeline { .. }));
        let has_folders = !self.facts.strays.has_no_folders && self.facts.strays.packs.is_empty();
        assert!(!has_folders || is_refused == is_expected, "seed {}: {refusal:?}", self.seed);
        seen.unknown_timelines += u64::from(is_refused);
    }

    fn wal(&self, unknown: &[u32]) {
        let going: BTreeSet<&WalFileName> = self.plan.going.wal.iter().collect();
        let end = self.history.heads.values().max().unwrap() + SIZE;
        for record in self.staying() {
            for (timeline, path) in self.paths(unknown).iter().filter(|(_, path)| path.leads_through(record)) {
                for file in path.files(record.start_lsn, end) {
                    let text = format!("seed {}: {file} for {} on {timeline}", self.seed, record.id);
                    assert!(!going.contains(&WalFileName::Segment(file)), "{text}");
                    assert!(!going.contains(&WalFileName::Partial(file)), "{text}.partial");
                }
            }
        }
        for name in going {
            assert!(!matches!(name, WalFileName::TimelineHistory(_)), "seed {}: {name}", self.seed);
            if let Some(days) = self.rules.wal_days {
                let since = self.history.now.checked_sub(Duration::from_secs(86_400) * days).unwrap();
                assert!(self.facts.wal_times[name] < since, "seed {}: {name} is recent", self.seed);
            }
        }
        let running = self.plan.unfinished.iter().any(|backup| !backup.goes);
        assert!(!running || self.plan.going.wal.is_empty(), "seed {}: WAL goes beside a backup", self.seed);
    }

    fn packs(&self, seen: &mut Seen) {
        let going: BTreeSet<(BackupId, u32)> = self.plan.going.packs.iter().copied().collect();
        for id in self.facts.strays.packs.keys() {
            let goes = going.iter().any(|(backup, _)| backup == id);
            assert!(!goes, "seed {}: packs of {id} without a folder", self.seed);
            assert!(self.plan.refusal(self.rules).is_some(), "seed {}: packs of {id} without a folder", self.seed);
            seen.strays += 1;
        }
        let gone = |id: &BackupId| self.plan.going.backups.contains(id) || self.facts.gone.contains(id);
        for backup in &self.facts.listed {
            let id = backup.record.id;
            for need in backup.needs.packs.iter().filter(|_| *self.fate(&id) != Fate::Goes) {
                assert!(!going.contains(&(need.backup, need.ordinal)), "seed {}: a pack of {id}", self.seed);
                seen.shared_packs_kept += u64::from(gone(&need.backup));
            }
        }
        for running in &self.facts.unfinished {
            let goes = self.plan.going.unfinished.contains(&running.id);
            assert_eq!(going.contains(&(running.id, 0)), goes, "seed {}: a pack of {}", self.seed, running.id);
            for parent in running.parents.iter() {
                assert_ne!(*self.fate(parent), Fate::Goes, "seed {}: {} builds on {parent}", self.seed, running.id);
            }
        }
    }

    /// A backup is good when its data, its packs and its own WAL are whole.
    fn is_good(&self, record: &BackupRecord) -> bool {
        let known = self.facts.archive.history(record.stop_timeline).is_some();
        let lines = &self.history.lines[&record.stop_timeline.get()];
        let path = Path::of(record.stop_timeline.get(), lines);
        let there = |number: u64| {
            let last = (record.stop_lsn.get() - 1).min(number * SIZE + SIZE - 1);
            let usable = path.whole_up_to(last);
            self.facts.wal.iter().any(|name| matches!(name, WalFileName::Segment(name) if usable.contains(name)))
        };
        let numbers = record.start_lsn.get() / SIZE..=(record.stop_lsn.get() - 1) / SIZE;
        let is_sound = record.findings.is_empty() && self.history.has_packs_of(&record.id);
        known && is_sound && path.leads_through(record) && numbers.into_iter().all(there)
    }

    fn rules(&self, seen: &mut Seen) {
        let seed = self.seed;
        let stays = |id: &BackupId| matches!(self.fate(id), Fate::Stays { .. });
        let good: Vec<&BackupRecord> =
            self.facts.listed.iter().map(|backup| &backup.record).filter(|record| self.is_good(record)).collect();
        if let Some(last) = good.last() {
            assert!(stays(&last.id), "seed {seed}: {} is the last good one", last.id);
        }
        self.newest_timeline(&good, seen);
        assert!(!good.is_empty() || self.plan.going.backups.is_empty(), "seed {seed}: there is no good one");
        let kept = self.rules.keep.map_or(0, NonZeroU32::get) as usize;
        for record in good.iter().rev().take(kept) {
            assert!(stays(&record.id), "seed {seed}: {} is one of the {kept} newest", record.id);
        }
        for backup in self.facts.listed.iter().filter(|backup| !backup.pins.is_empty()) {
            assert!(stays(&backup.record.id), "seed {seed}: {} is pinned", backup.record.id);
        }
        for backup in &self.facts.listed {
            let waits = self.rules.grace.is_zero() || backup.doubted.is_some();
            assert!(waits || *self.fate(&backup.record.id) != Fate::Goes, "seed {seed}: without any grace");
        }
    }

    /// The last time that anything of a timeline was archived: a segment of its own, else its history.
    fn last_sign_of(&self, timeline: u32) -> Option<Timestamp> {
        let segments = self.history.segments.iter().filter(|(name, _)| name.timeline().get() == timeline);
        let last = segments.max_by_key(|(name, _)| **name).map(|(_, time)| *time);
        last.or_else(|| self.history.facts.history_times.get(&crate::pg::TimelineId::new(timeline)?).copied())
    }

    /// Of the newest timeline of which there was a sign in the week before the last good backup, or the last sign of all, or
    /// that has a backup of its own, the best stays.
    fn newest_timeline(&self, good: &[&BackupRecord], seen: &mut Seen) {
        let Some(last) = good.last() else { return };
        for timeline in self.facts.archive.timelines().into_iter().rev().map(|timeline| timeline.get()) {
            let path = Path::of(timeline, &self.history.lines[&timeline]);
            let on_path = good.iter().filter(|record| path.leads_through(record));
            let Some(best) = on_path.max_by_key(|record| (record.stop_lsn, record.sequence)) else { continue };
            let week_before = last.stop_time.checked_sub(Duration::from_secs(7 * 86_400)).unwrap();
            let sign = self.last_sign_of(timeline);
            let is_last = self.history.lines.keys().all(|other| self.last_sign_of(*other) <= sign);
            let is_alive = is_last || sign.is_none_or(|time| time >= week_before);
            if is_alive || best.stop_timeline.get() == timeline {
                let stays = matches!(self.fate(&best.id), Fate::Stays { .. });
                assert!(stays, "seed {}: {} leads to the newest timeline {timeline}", self.seed, best.id);
                return;
            }
            seen.given_up += u64::from(best.id != last.id);
        }
    }

    /// Every moment of the days is reached as before, and what is no longer reached elsewhere is told.
    fn moments(&self, seen: &mut Seen) {
        let times: BTreeSet<Timestamp> = self.facts.listed.iter().map(|backup| backup.record.stop_time).collect();
        let since = self.rules.keep_days.map(|days| {
            let since = self.history.now.checked_sub(Duration::from_secs(86_400) * days).unwrap();
            since.max(day(-1000))
        });
        for (timeline, history) in self
            .facts
            .archive
            .timelines()
            .into_iter()
            .filter_map(|timeline| Some((timeline, self.facts.archive.history(timeline)?)))
        {
            let has_own = self.history.segments.keys().any(|name| name.timeline() == timeline);
            let is_first = timeline == crate::pg::TimelineId::FIRST;
            let end = match has_own || is_first {
                true => self.facts.archive.end_time_along(&history),
                false => self.last_sign_of(timeline.get()),
            };
            let is_live = end.is_none_or(|end| Some(end) >= since);
            let path = Path::of(timeline.get(), &self.history.lines[&timeline.get()]);
            let on_path = |record: &&&BackupRecord| path.leads_through(record) && self.is_good(record);
            let all: Vec<&BackupRecord> = self.facts.listed.iter().map(|backup| &backup.record).collect();
            let staying = self.staying();
            for time in times.iter().copied().chain(since).filter(|time| since.is_some_and(|since| *time >= since)) {
                let best = |records: &[&BackupRecord]| {
                    let before = records.iter().filter(on_path).filter(|record| record.stop_time <= time);
                    before.map(|record| record.stop_lsn).max()
                };
                if is_live && best(&all).is_some() {
                    assert!(best(&staying).is_some(), "seed {}: {time} on timeline {timeline}", self.seed);
                }
            }
            // The first moment of the timeline that is reached today.
            let first = |records: &[&BackupRecord]| records.iter().filter(on_path).map(|record| record.stop_lsn).min();
            let own_begin = path_begin(&history);
            if let Some(before) = first(&all).filter(|before| *before > own_begin && first(&staying) != Some(*before)) {
                let told = self.plan.lost_targets.iter().find(|lost| lost.timeline == timeline);
                let told = told.unwrap_or_else(|| panic!("seed {}: timeline {timeline} from {before}", self.seed));
                assert!(told.from_lsn <= before, "seed {}: {told:?} for {before}", self.seed);
                seen.lost_targets += 1;
            }
        }
        assert!(self.plan.lost_targets.is_empty() || !self.plan.going.backups.is_empty());
    }
}

/// Where the own part of a path begins.
fn path_begin(path: &crate::pg::TimelineHistory) -> crate::pg::Lsn {
    let fork = path.parents().next_back().and_then(|parent| path.end_of(parent));
    fork.unwrap_or(crate::pg::Lsn::new(1).unwrap())
}
