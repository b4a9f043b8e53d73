//! Which backups stay, and by which rule: pure.
//!
//! INVARIANT: whatever the rules say, the newest good backup stays, and the newest good one that leads to the newest
//! timeline that was not given up; and nothing goes where there is no good one. Good is a backup without findings that lacks none of its
//! packs and whose own WAL is in the archive. Order is that of the records' sequence, not of any clock.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::facts::{ListedBackup, TreeFacts};
use crate::pg::{TimelineHistory, TimelineId};
use crate::repository::{BackupId, BackupRecord};

const DAY: Duration = Duration::from_secs(86_400);
/// How long a timeline may be silent that is in use: an idle server, an archiver that fails, clocks that differ.
const SILENT_TIMELINE: Duration = Duration::from_secs(7 * 86_400);

/// What is to stay. A backup stays when any rule says so.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Rules {
    /// So many good backups, the newest.
    pub keep: Option<NonZeroU32>,
    /// What is needed to reach every moment of so many days.
    pub keep_days: Option<u32>,
    /// All WAL that was archived in so many days, needed by a backup or not.
    pub wal_days: Option<u32>,
    /// How long a backup that no rule keeps stays all the same, from the first run on that found it so.
    #[serde(skip)]
    pub grace: Duration,
    /// Whether more than half of the backups may go at once.
    #[serde(skip)]
    pub allow_many: bool,
}

impl Rules {
    /// Whether any rule keeps backups.
    pub(super) fn is_empty(&self) -> bool {
        self.keep.is_none() && self.keep_days.is_none()
    }
}

/// Why a backup stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "rule", rename_all = "snake_case")]
#[non_exhaustive]
pub enum KeepReason {
    /// `keep`: it is one of the newest good ones.
    Keep {
        /// The newest is 1.
        position: u32,
    },
    /// It is not good, and newer than the oldest that `keep` counts.
    AmongKept,
    /// `keep_days`: it ended in those days.
    KeepDays,
    /// `keep_days`: it reaches back to the beginning of those days.
    BeforeKeepDays {
        /// Along the path of this timeline.
        timeline: TimelineId,
    },
    /// It is the newest good one.
    LastGood,
    /// It is the newest good one on the path of the newest timeline that was not given up: after a recovery to before later
    /// backups, those lead elsewhere.
    NewestTimeline {
        /// That timeline.
        timeline: TimelineId,
    },
    /// There is no good one.
    NoneGood,
    /// Somebody pinned it.
    Pinned {
        /// Why.
        reason: String,
    },
    /// A running backup may refer to its packs.
    ParentOf {
        /// That backup.
        backup: BackupId,
    },
}

/// The beginning of so many days before `now`.
pub(super) fn days_before(now: Timestamp, days: u32) -> Timestamp {
    now.checked_sub(DAY.saturating_mul(days)).unwrap_or(Timestamp::MIN)
}

/// Whether a path leads through the whole backup.
pub(super) fn is_on(record: &BackupRecord, path: &TimelineHistory) -> bool {
    path.contains(record.start_timeline, record.start_lsn) && path.contains_end(record.stop_timeline, record.stop_lsn)
}

/// Whether nothing is known to be wrong with a backup.
pub(super) fn is_good(facts: &TreeFacts, ListedBackup { record, lacks, .. }: &ListedBackup) -> bool {
    let Some(path) = facts.archive.history(record.stop_timeline) else { return false };
    let has_wal = facts.archive.missing_between(&path, record.start_lsn, record.stop_lsn, 1).is_empty();
    record.findings.is_empty() && lacks.is_empty() && has_wal && is_on(record, &path)
}

/// Why each backup stays that does.
pub(super) fn kept(facts: &TreeFacts, rules: &Rules, now: Timestamp) -> BTreeMap<BackupId, Vec<KeepReason>> {
    let mut reasons: BTreeMap<BackupId, Vec<KeepReason>> = BTreeMap::new();
    let mut keep = |id: BackupId, reason: KeepReason| {
        let known = reasons.entry(id).or_default();
        if !known.contains(&reason) {
            known.push(reason);
        }
    };
    let good: Vec<&BackupRecord> =
        facts.listed.iter().filter(|backup| is_good(facts, backup)).map(|backup| &backup.record).collect();
    match good.last() {
        Some(last) => keep(last.id, KeepReason::LastGood),
        None => facts.listed.iter().for_each(|backup| keep(backup.record.id, KeepReason::NoneGood)),
    }
    if let Some((timeline, record)) = newest_timeline(facts, &good) {
        keep(record.id, KeepReason::NewestTimeline { timeline });
    }
    if let Some(count) = rules.keep {
        let counted = (1..=count.get()).zip(good.iter().rev());
        let counted: Vec<(u32, &&BackupRecord)> = counted.collect();
        let is_full = counted.len() == usize::try_from(count.get()).unwrap_or(usize::MAX);
        let oldest = counted.last().filter(|_| is_full).map_or(0, |(_, record)| record.sequence);
        let is_counted: BTreeSet<BackupId> = counted.iter().map(|(_, record)| record.id).collect();
        for (position, record) in counted {
            keep(record.id, KeepReason::Keep { position });
        }
        let newer = facts.listed.iter().map(|backup| &backup.record).filter(|record| record.sequence >= oldest);
        for record in newer.filter(|record| !is_counted.contains(&record.id)) {
            keep(record.id, KeepReason::AmongKept);
        }
    }
    if let Some(days) = rules.keep_days {
        let cutoff = days_before(now, days);
        for backup in facts.listed.iter().filter(|backup| backup.record.stop_time >= cutoff) {
            keep(backup.record.id, KeepReason::KeepDays);
        }
        for (timeline, record) in before(facts, &good, cutoff) {
            keep(record.id, KeepReason::BeforeKeepDays { timeline });
        }
    }
    for ListedBackup { record, pins, .. } in &facts.listed {
        for reason in pins {
            keep(record.id, KeepReason::Pinned { reason: reason.clone() });
        }
    }
    for running in &facts.unfinished {
        for parent in &running.parents {
            keep(*parent, KeepReason::ParentOf { backup: running.id });
        }
    }
    reasons.retain(|id, _| facts.listed.iter().any(|backup| backup.record.id == *id));
    reasons
}

/// The newest timeline that was not given up and the good backup that leads farthest along it; nothing when that is the
/// newest of all anyway.
fn newest_timeline<'a>(facts: &TreeFacts, good: &[&'a BackupRecord]) -> Option<(TimelineId, &'a BackupRecord)> {
    let last = good.last()?;
    for timeline in facts.archive.timelines().into_iter().rev() {
        let Some(path) = facts.archive.history(timeline) else { continue };
        let on_path = good.iter().filter(|record| is_on(record, &path));
        let Some(newest) = on_path.max_by_key(|record| (record.stop_lsn, record.sequence)) else { continue };
        if newest.stop_timeline == timeline || !is_given_up(facts, &path, last) {
            return (newest.id != last.id).then_some((timeline, *newest));
        }
    }
    None
}

/// Whether nothing of a timeline came for a week before another one was backed up, and something of another one since: the
/// server that began it is no more. Where nothing is known of when it was written, it was.
fn is_given_up(facts: &TreeFacts, path: &TimelineHistory, last: &BackupRecord) -> bool {
    let since = last.stop_time.checked_sub(SILENT_TIMELINE).unwrap_or(Timestamp::MIN);
    let is_silent = facts.last_written(path).is_some_and(|written| written < since);
    is_silent && !facts.was_stored_last(path.timeline())
}

/// On each path that was still written after `cutoff`, the backup from which that moment is reached. Where nothing is
/// known of when a path was written, it was.
fn before<'a>(facts: &TreeFacts, good: &[&'a BackupRecord], cutoff: Timestamp) -> Vec<(TimelineId, &'a BackupRecord)> {
    let archive = &facts.archive;
    let paths = archive.timelines().into_iter().filter_map(|timeline| archive.history(timeline));
    let mut found = Vec::new();
    for path in paths.filter(|path| facts.last_written(path).is_none_or(|end| end >= cutoff)) {
        let earlier = good.iter().filter(|record| is_on(record, &path) && record.stop_time < cutoff);
        let newest = earlier.max_by_key(|record| (record.stop_lsn, record.sequence));
        found.extend(newest.map(|record| (path.timeline(), *record)));
    }
    found
}
