//! What goes and what stays: decided from what was read, without reading or writing anything.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::error::ExpireError;
use super::facts::{ListedBackup, TreeFacts};
use super::reach::{self, LostTargets};
use super::report::TreeDone;
use super::rules::{self, KeepReason, Rules};
use super::unfinished::{self, PlannedUnfinished};
use super::wal;
use crate::pg::{Lsn, SystemIdentifier, TimelineId, WalFileName, WalSegmentName};
use crate::repository::{BackupId, BackupRecord, ClusterName, ClusterRef};

/// LIMIT: things that a backup lacks and that are named.
const LACKS_MAX: usize = 100;

/// What becomes of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "fate", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fate {
    /// It stays.
    Stays {
        /// Why: every rule that keeps it.
        reasons: Vec<KeepReason>,
    },
    /// No rule keeps it; it goes later.
    Waits {
        /// Not before this time; unknown until it was marked.
        until: Option<Timestamp>,
    },
    /// No rule keeps it; it goes.
    Goes,
}

/// A listed backup.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedBackup {
    /// Its id.
    pub id: BackupId,
    /// When it ended, by the server's clock.
    pub stop_time: Timestamp,
    /// The timeline on which it ended.
    pub timeline: TimelineId,
    /// Where it is consistent.
    pub stop_lsn: Lsn,
    /// What was found to be wrong with the data.
    pub findings: u64,
    /// What of it is not in the repository as it was stored, at most 100 of that: with any it cannot be restored.
    pub lacks: Vec<String>,
    /// When retention first found no rule that keeps it, by the store's clock; `None` while it never did. The grace counts
    /// from then on, whether or not a rule or a pin has kept it since: its mark is never taken back.
    pub marked_at: Option<Timestamp>,
    /// What becomes of it.
    #[serde(flatten)]
    pub fate: Fate,
}

/// WAL that goes, of one timeline, without a hole.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedWal {
    /// The timeline.
    pub timeline: TimelineId,
    /// The first segment.
    pub first: WalSegmentName,
    /// The last segment.
    pub last: WalSegmentName,
    /// How many files: segments, partial ones, and notes of backups.
    pub files: u64,
}

/// What becomes of one tree: a cluster with one system identifier.
#[derive(Debug, Clone, Serialize)]
pub struct TreePlan {
    /// The cluster.
    pub cluster: ClusterName,
    /// Its system identifier.
    pub system_identifier: SystemIdentifier,
    /// The listed backups, in the order in which they were taken.
    pub backups: Vec<PlannedBackup>,
    /// Backups without a record.
    pub unfinished: Vec<PlannedUnfinished>,
    /// Backups whose deletion was begun by an earlier run; it is finished.
    pub being_deleted: Vec<BackupId>,
    /// How many packs go.
    pub packs: u64,
    /// Packs of backups of which no folder is there; nothing when there are none.
    pub packs_kept: Option<PacksKept>,
    /// WAL that goes.
    pub wal: Vec<PlannedWal>,
    /// Why no WAL goes, when something keeps all of it.
    pub wal_kept: Option<WalKept>,
    /// What can no longer be reached.
    pub lost_targets: Vec<LostTargets>,
    /// How many stored bytes the plan frees.
    pub planned_bytes: u64,
    /// How many were freed; of a plan alone, how many would be.
    pub freed_bytes: u64,
    /// What was done; nothing before it was begun.
    pub done: Option<TreeDone>,
    #[serde(skip)]
    pub(super) going: Going,
    #[serde(skip)]
    pub(super) doubts: Doubts,
}

/// Packs of backups of which no folder is there, and that stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PacksKept {
    /// How many.
    pub count: u64,
    /// Folders among those of the backups that no backup is called by, any of which may be theirs.
    pub strange_folders: Vec<String>,
}

/// What makes the whole tree one that cannot be judged.
#[derive(Debug, Clone, Default)]
pub(super) struct Doubts {
    /// So many packs are there, and not one folder of a backup.
    pub(super) packs_without_folders: Option<u64>,
    /// So many packs of this backup are there, and its folder is not; a folder that may be it.
    pub(super) moved: Option<(BackupId, u64, Option<String>)>,
    /// A backup whose record is missing, and which a later one names.
    pub(super) lost_record: Option<BackupId>,
    /// There is WAL of this timeline, and its history cannot be read: why not, when it is there.
    pub(super) unknown_timeline: Option<(TimelineId, Option<String>)>,
}

impl Doubts {
    fn of(facts: &TreeFacts) -> Self {
        let is_unknown = |timeline: &&TimelineId| facts.archive.history(**timeline).is_none();
        let unknown = facts.archive.ranges.keys().find(is_unknown).copied();
        let problem = |timeline| facts.archive.unreadable_histories.get(&timeline).cloned();
        let packs = facts.packs.values().map(|ordinals| ordinals.len() as u64).sum();
        Self {
            packs_without_folders: (facts.strays.has_no_folders && packs > 0).then_some(packs),
            moved: facts.strays.packs.first_key_value().map(|(id, packs)| {
                let strange = facts.strays.strange_folders.iter();
                (*id, *packs, strange.max_by_key(|folder| folder.starts_with(&id.to_string())).cloned())
            }),
            lost_record: unfinished::lost_record(facts),
            unknown_timeline: unknown.map(|timeline| (timeline, problem(timeline))),
        }
    }

    fn refusal(&self, tree: &ClusterRef) -> Option<ExpireError> {
        let (cluster, system_identifier) = (tree.name.clone(), tree.system_identifier);
        if let Some(packs) = self.packs_without_folders {
            return Some(ExpireError::NoFolders { packs, cluster, system_identifier });
        }
        if let Some((backup, packs, strange_folder)) = self.moved.clone() {
            return Some(ExpireError::NoFolder { backup, packs, strange_folder, cluster, system_identifier });
        }
        if let Some(backup) = self.lost_record {
            return Some(ExpireError::LostRecord { backup, cluster, system_identifier });
        }
        let (timeline, problem) = self.unknown_timeline.clone()?;
        Some(ExpireError::UnknownTimeline {
            timeline,
            cluster,
            problem: problem.map_or_else(String::new, |why| format!(": {why}")),
        })
    }
}

/// Why all WAL stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "because", rename_all = "snake_case")]
#[non_exhaustive]
pub enum WalKept {
    /// A backup is running, and where it begins is not known.
    Running {
        /// Which one.
        backup: BackupId,
    },
    /// A backup is whole but for its record, and restores with that: where it begins is not known.
    Recordless {
        /// Which one.
        backup: BackupId,
    },
    /// Somebody is taking a backup, of which nothing was to be seen yet.
    Locked,
    /// There is no good backup, so nothing says what is old.
    NoBackup,
    /// Packs of a backup are there and its folder is not, which may have been moved away: what WAL it needs is not known.
    Moved {
        /// Which one.
        backup: BackupId,
    },
}

/// The names of all that goes.
#[derive(Debug, Clone, Default)]
pub(super) struct Going {
    pub(super) backups: Vec<BackupId>,
    /// Backups that get their mark and stay for the grace.
    pub(super) doubted: Vec<BackupId>,
    pub(super) unfinished: Vec<BackupId>,
    pub(super) packs: Vec<(BackupId, u32)>,
    pub(super) wal: Vec<WalFileName>,
}

impl TreePlan {
    /// The tree.
    pub fn tree(&self) -> ClusterRef {
        ClusterRef { name: self.cluster.clone(), system_identifier: self.system_identifier }
    }

    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        let going = &self.going;
        going.backups.is_empty()
            && going.doubted.is_empty()
            && going.unfinished.is_empty()
            && self.being_deleted.is_empty()
            && going.packs.is_empty()
            && going.wal.is_empty()
    }

    /// Why this plan is not carried out.
    pub fn refusal(&self, rules: &Rules) -> Option<ExpireError> {
        if let Some(doubt) = self.doubts.refusal(&self.tree()) {
            return Some(doubt);
        }
        let listed = self.backups.len();
        let count = self.going.backups.len() + self.going.doubted.len();
        // One killed backup is nothing unusual beside a single listed one; that many have lost their record is.
        let unclear = self.unfinished.iter().filter(|backup| backup.record_unclear && backup.goes).count();
        let all = [(count, listed), (unclear, listed + unclear)];
        let too_many = all.into_iter().find(|(count, of)| count * 2 > *of && !rules.allow_many);
        too_many.map(|(count, of)| ExpireError::TooMany { count, of, cluster: self.cluster.clone() })
    }
}

/// Decides about one tree.
pub(super) fn plan(facts: &TreeFacts, rules: &Rules, now: Timestamp) -> Result<TreePlan, ExpireError> {
    if rules.is_empty() {
        return Err(ExpireError::NoRule);
    }
    check_clock(facts, now)?;
    let mut kept = rules::kept(facts, rules, now);
    let mut backups = Vec::new();
    let mut going = Going::default();
    for backup in &facts.listed {
        let record = &backup.record;
        let fate = match kept.remove(&record.id) {
            Some(reasons) => Fate::Stays { reasons },
            None => fate_of_unkept(backup.doubted, rules.grace, now),
        };
        match fate {
            Fate::Goes => going.backups.push(record.id),
            Fate::Waits { until: None } => going.doubted.push(record.id),
            Fate::Stays { .. } | Fate::Waits { .. } => {}
        }
        backups.push(planned(backup, fate));
    }
    let unfinished = unfinished::planned(facts, now);
    going.unfinished = unfinished.iter().filter(|backup| backup.goes).map(|backup| backup.id).collect();
    let gone: BTreeSet<BackupId> = going.backups.iter().copied().collect();
    let stays = |id: &BackupId| !gone.contains(id);
    going.packs = packs(facts, &gone, &going.unfinished);
    let staying = || facts.listed.iter().filter(|backup| stays(&backup.record.id));
    let records: Vec<&BackupRecord> = staying().map(|backup| &backup.record).collect();
    let doubts = Doubts::of(facts);
    let wal_kept = wal_kept(&unfinished, staying().any(|backup| rules::is_good(facts, backup)));
    let moved = facts.strays.packs.keys().next();
    let wal_kept = wal_kept.or(moved.map(|backup| WalKept::Moved { backup: *backup }));
    if wal_kept.is_none() {
        let since = rules.wal_days.map(|days| rules::days_before(now, days));
        // What has no time was stored just now.
        let is_recent =
            |name: &WalFileName| since.is_some_and(|since| facts.wal_times.get(name).is_none_or(|time| *time >= since));
        going.wal = wal::unneeded(facts, &records, is_recent);
    }
    Ok(TreePlan {
        cluster: facts.cluster.name.clone(),
        system_identifier: facts.cluster.system_identifier,
        backups,
        unfinished,
        being_deleted: being_deleted(facts, &going.packs),
        packs: going.packs.len() as u64,
        packs_kept: moved.is_some().then(|| PacksKept {
            count: facts.strays.packs.values().sum(),
            strange_folders: facts.strays.strange_folders.clone(),
        }),
        wal: shown(&going.wal, facts),
        wal_kept,
        lost_targets: reach::lost(facts, stays),
        planned_bytes: 0,
        freed_bytes: 0,
        done: None,
        going,
        doubts,
    })
}

fn planned(ListedBackup { record, doubted, lacks, .. }: &ListedBackup, fate: Fate) -> PlannedBackup {
    PlannedBackup {
        id: record.id,
        stop_time: record.stop_time,
        timeline: record.stop_timeline,
        stop_lsn: record.stop_lsn,
        findings: record.findings.len() as u64,
        lacks: lacks.iter().take(LACKS_MAX).map(ToString::to_string).collect(),
        marked_at: *doubted,
        fate,
    }
}

/// A clock that is behind what was stored by it decides nothing.
fn check_clock(facts: &TreeFacts, now: Timestamp) -> Result<(), ExpireError> {
    let newest = facts.listed.iter().map(|backup| &backup.record).max_by_key(|record| record.stop_time);
    match newest {
        Some(record) if record.stop_time > now => {
            Err(ExpireError::ClockBehind { now, newest: record.stop_time, backup: record.id })
        }
        _ => Ok(()),
    }
}

fn fate_of_unkept(doubted: Option<Timestamp>, grace: Duration, now: Timestamp) -> Fate {
    let until = doubted.and_then(|since| since.checked_add(grace).ok());
    match until {
        _ if grace.is_zero() => Fate::Goes,
        Some(until) if until <= now => Fate::Goes,
        until => Fate::Waits { until },
    }
}

/// Those whose deletion an earlier run began and this one finishes: of the others nothing is left but packs that are needed.
fn being_deleted(facts: &TreeFacts, going: &[(BackupId, u32)]) -> Vec<BackupId> {
    let is_done = |id: &BackupId| facts.emptied.contains(id) && !going.iter().any(|(backup, _)| backup == id);
    facts.gone.iter().copied().filter(|id| !is_done(id)).collect()
}

/// The packs that nobody needs of those that were written by backups that go, or that were deleted before.
fn packs(facts: &TreeFacts, gone: &BTreeSet<BackupId>, unfinished: &[BackupId]) -> Vec<(BackupId, u32)> {
    let needed = facts.needed_packs(|id| !gone.contains(id));
    let lives = |id: &BackupId| {
        let is_listed = facts.listed.iter().any(|backup| backup.record.id == *id) && !gone.contains(id);
        let is_running = facts.unfinished.iter().any(|backup| backup.id == *id) && !unfinished.contains(id);
        is_listed || is_running
    };
    let is_moved = |id: &BackupId| facts.strays.packs.contains_key(id);
    let all = facts.packs.iter().filter(|(backup, _)| !lives(backup) && !is_moved(backup));
    let all = all.flat_map(|(backup, ordinals)| ordinals.iter().map(|ordinal| (*backup, *ordinal)));
    all.filter(|pack| !needed.contains(pack)).collect()
}

/// A running backup needs WAL from a position that it does not tell.
fn wal_kept(unfinished: &[PlannedUnfinished], is_any_good: bool) -> Option<WalKept> {
    match unfinished.iter().find(|backup| !backup.goes) {
        Some(backup) => Some(backup.keeps_wal()),
        None => (!is_any_good).then_some(WalKept::NoBackup),
    }
}

fn shown(names: &[WalFileName], facts: &TreeFacts) -> Vec<PlannedWal> {
    let mut shown: Vec<PlannedWal> = Vec::new();
    let size = facts.archive.segment_size;
    for segment in names.iter().filter_map(wal::segment_of) {
        match shown.last_mut() {
            Some(last) if last.last == segment || last.last.next(size) == Some(segment) => {
                last.last = segment;
                last.files += 1;
            }
            _ => shown.push(PlannedWal { timeline: segment.timeline(), first: segment, last: segment, files: 1 }),
        }
    }
    shown
}
