//! Which backup to start from, and which timelines to follow: decided from facts alone.
//!
//! INVARIANT: what is chosen can only be wrong in a way that the server tells: every doubt about *which history* is
//! meant is refused with the possible ones (failures.md B68), and what only the WAL can tell is noted.

use jiff::{Span, Timestamp};
use serde::Serialize;

use super::error::RestoreError;
use super::wal_coverage::{ArchiveFacts, WalCoverage, WalHole};
use crate::pg::{Lsn, RecoveryTarget, RecoveryTargetTimeline, TimelineHistory, TimelineId};
use crate::repository::{BackupId, BackupRecord};

/// How far the clocks of the server and of whoever archived may be apart before a time counts as out of reach.
const CLOCK_TOLERANCE_MINUTES: i64 = 5;

/// A listed backup, as far as it can be read.
#[derive(Debug, Clone)]
pub(super) struct BackupFacts {
    /// Its id.
    pub id: BackupId,
    /// Its record, or why it cannot be read.
    pub record: Result<BackupRecord, String>,
}

/// Which backup the person wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BackupChoice {
    /// The newest one that fits the target.
    #[default]
    Fitting,
    /// The newest one, which must fit the target.
    Latest,
    /// This one, which must fit the target.
    Id(BackupId),
}

/// What the person asked for.
#[derive(Debug, Clone)]
pub(super) struct ChoiceRequest {
    /// Where to stop.
    pub target: RecoveryTarget,
    /// Which timeline to follow, if that was said.
    pub timeline: Option<RecoveryTargetTimeline>,
    /// Which backup to start from.
    pub backup: BackupChoice,
}

/// A history that could be followed, for the person to choose among.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TimelinePath {
    /// The timeline at its end.
    pub timeline: TimelineId,
    /// Each timeline on it, oldest first, and where it was left.
    pub stretches: Vec<(TimelineId, Option<Lsn>)>,
    /// The backup that a restore along it would start from.
    pub backup: BackupId,
    /// When that backup ended.
    pub backup_stop_time: Timestamp,
    /// Where the archive ends along it.
    pub end_lsn: Lsn,
    /// Upper bound of the times in the archive along it.
    pub end_time: Option<Timestamp>,
}

/// A fact about the choice that the person should see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "note")]
pub enum ChoiceNote {
    /// A newer backup was passed over because its record cannot be read.
    UnreadableBackup {
        /// Which one.
        backup: BackupId,
        /// Why.
        problem: String,
    },
    /// A newer backup was passed over because of what was found in it.
    BackupWithFindings {
        /// Which one.
        backup: BackupId,
    },
    /// The backup that was named has findings.
    ChosenBackupHasFindings {
        /// What was found.
        findings: Vec<String>,
    },
    /// Only the WAL can tell whether the target exists.
    TargetNotProven,
    /// The time is later than everything that was archived so far.
    TimeAfterArchive {
        /// Upper bound of the times in the archive.
        end_time: Timestamp,
    },
    /// There is a hole after which recovery cannot go; the target may lie before it.
    HoleAfterwards {
        /// The hole.
        hole: WalHole,
    },
    /// Another timeline has WAL of its own that this restore does not follow.
    OtherTimeline {
        /// Which one.
        timeline: TimelineId,
    },
    /// A timeline cannot be followed since its history is not in the archive or cannot be read.
    TimelineWithoutHistory {
        /// Which one.
        timeline: TimelineId,
    },
}

/// What was chosen.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    /// The backup.
    pub record: BackupRecord,
    /// The timelines.
    pub path: TimelineHistory,
    /// The WAL along them, from the backup's beginning on.
    pub coverage: WalCoverage,
    /// What the person should see.
    pub notes: Vec<ChoiceNote>,
}

/// Chooses backup and timelines.
pub(super) fn choose(
    request: &ChoiceRequest,
    backups: &[BackupFacts],
    archive: &ArchiveFacts,
) -> Result<Choice, RestoreError> {
    let considered = considered_backups(request, backups)?;
    let chooser = Chooser { request, archive, considered };
    let candidate = chooser.decide()?;
    let mut notes = backup_notes(&candidate.record, request, backups);
    let (record, coverage) = (candidate.record, candidate.coverage);
    if let RecoveryTarget::Time(..) | RecoveryTarget::TransactionId(..) | RecoveryTarget::RestorePoint(_) =
        request.target
    {
        notes.push(ChoiceNote::TargetNotProven);
    }
    if let (RecoveryTarget::Time(time, _), Some(end_time)) = (&request.target, coverage.end_time)
        && *time > end_time
    {
        notes.push(ChoiceNote::TimeAfterArchive { end_time });
    }
    if let Some(hole) = coverage.hole.clone().filter(|_| request.target != RecoveryTarget::Immediate) {
        notes.push(ChoiceNote::HoleAfterwards { hole });
    }
    let left_out = leaves(archive).into_iter().map(|leaf| leaf.timeline());
    let left_out = left_out.filter(|timeline| candidate.path.timeline() != *timeline);
    notes.extend(left_out.map(|timeline| ChoiceNote::OtherTimeline { timeline }));
    let known = archive.timelines();
    let unknown = archive.ranges.keys().filter(|timeline| !known.contains(timeline));
    notes.extend(unknown.map(|timeline| ChoiceNote::TimelineWithoutHistory { timeline: *timeline }));
    Ok(Choice { record: record.clone(), path: candidate.path, coverage, notes })
}

/// The backups among which to choose, in the order in which they were taken.
fn considered_backups<'a>(
    request: &ChoiceRequest,
    backups: &'a [BackupFacts],
) -> Result<Vec<&'a BackupRecord>, RestoreError> {
    if let BackupChoice::Id(id) = request.backup {
        let found = backups.iter().find(|backup| backup.id == id).ok_or(RestoreError::UnknownBackup { id })?;
        let unreadable = |problem: &String| RestoreError::BackupUnreadable { id, problem: problem.clone() };
        return Ok(vec![found.record.as_ref().map_err(unreadable)?]);
    }
    let readable = backups.iter().filter_map(|backup| backup.record.as_ref().ok());
    let mut usable: Vec<&BackupRecord> = readable.filter(|record| record.findings.is_empty()).collect();
    usable.sort_by_key(|record| (record.sequence, record.id));
    if usable.is_empty() {
        return Err(RestoreError::NoBackup { unusable: backups.iter().map(|backup| backup.id).collect() });
    }
    if request.backup == BackupChoice::Latest {
        usable.drain(..usable.len() - 1);
    }
    Ok(usable)
}

fn backup_notes(chosen: &BackupRecord, request: &ChoiceRequest, backups: &[BackupFacts]) -> Vec<ChoiceNote> {
    let mut notes = Vec::new();
    if !chosen.findings.is_empty() {
        notes.push(ChoiceNote::ChosenBackupHasFindings { findings: chosen.findings.clone() });
    }
    if matches!(request.backup, BackupChoice::Id(_)) {
        return notes;
    }
    for backup in backups {
        match &backup.record {
            Err(problem) => {
                notes.push(ChoiceNote::UnreadableBackup { backup: backup.id, problem: problem.clone() });
            }
            Ok(record) if record.sequence > chosen.sequence && !record.findings.is_empty() => {
                notes.push(ChoiceNote::BackupWithFindings { backup: backup.id });
            }
            Ok(_) => {}
        }
    }
    notes
}

/// A path with the backup that would be taken along it.
struct Candidate<'a> {
    path: TimelineHistory,
    record: &'a BackupRecord,
    coverage: WalCoverage,
}

struct Chooser<'a> {
    request: &'a ChoiceRequest,
    archive: &'a ArchiveFacts,
    considered: Vec<&'a BackupRecord>,
}

impl<'a> Chooser<'a> {
    fn decide(&self) -> Result<Candidate<'a>, RestoreError> {
        self.refuse_target_before_all()?;
        let candidates: Vec<Candidate<'a>> =
            self.paths()?.into_iter().filter_map(|path| self.candidate(path)).collect();
        if candidates.is_empty() || self.newest_is_on_no_path(&candidates) {
            return Err(self.nothing_on_any_path());
        }
        let chosen = match &self.request.target {
            RecoveryTarget::Lsn(lsn, _) => self.decide_lsn(*lsn, candidates)?,
            RecoveryTarget::Time(time, _) => self.decide_time(*time, candidates)?,
            _ => self.decide_newest(candidates)?,
        };
        self.check_backup_wal(&chosen)?;
        self.check_hole(&chosen)?;
        Ok(chosen)
    }

    /// The newest fitting backup must not be passed over because its timeline's history is lost.
    fn newest_is_on_no_path(&self, candidates: &[Candidate<'a>]) -> bool {
        let is_free = !matches!(self.request.timeline, Some(RecoveryTargetTimeline::Id(_)));
        let newest = self.considered.iter().rev().find(|record| self.fits(record));
        is_free && newest.is_some_and(|newest| !candidates.iter().any(|candidate| lies_on(newest, &candidate.path)))
    }

    /// The paths that may be meant.
    fn paths(&self) -> Result<Vec<TimelineHistory>, RestoreError> {
        let follows_backup = self.request.timeline == Some(RecoveryTargetTimeline::Current)
            || (self.request.timeline.is_none() && self.request.target == RecoveryTarget::Immediate);
        let of = |timeline| self.archive.history(timeline).ok_or_else(|| self.no_history(timeline));
        match self.request.timeline {
            Some(RecoveryTargetTimeline::Id(timeline)) => Ok(vec![of(timeline)?]),
            _ if follows_backup => {
                let newest = self.considered.iter().rev().find(|record| self.fits(record));
                let timeline = newest.map(|record| record.stop_timeline);
                timeline.map(|timeline| of(timeline).map(|path| vec![path])).unwrap_or_else(|| Ok(Vec::new()))
            }
            _ => Ok(leaves(self.archive)),
        }
    }

    fn fits(&self, record: &BackupRecord) -> bool {
        match &self.request.target {
            RecoveryTarget::Time(time, _) => record.stop_time <= *time,
            RecoveryTarget::Lsn(lsn, _) => record.stop_lsn <= *lsn,
            _ => true,
        }
    }

    /// A path with the newest fitting backup on it.
    fn candidate(&self, path: TimelineHistory) -> Option<Candidate<'a>> {
        let record = self.considered.iter().rev().find(|record| self.fits(record) && lies_on(record, &path))?;
        let to = match &self.request.target {
            RecoveryTarget::Lsn(lsn, _) => lsn.checked_add(1),
            RecoveryTarget::Immediate => Some(record.stop_lsn),
            _ => None,
        };
        let coverage = self.archive.coverage(&path, record.start_lsn, to);
        Some(Candidate { path, record, coverage })
    }

    fn decide_lsn(&self, lsn: Lsn, candidates: Vec<Candidate<'a>>) -> Result<Candidate<'a>, RestoreError> {
        let (reaching, others): (Vec<_>, Vec<_>) =
            candidates.into_iter().partition(|candidate| candidate.coverage.end_lsn > lsn);
        if reaching.is_empty() {
            let furthest = others.into_iter().max_by_key(|candidate| candidate.coverage.end_lsn);
            let Some(furthest) = furthest else { return Err(self.nothing_on_any_path()) };
            let timeline = furthest.path.timeline();
            return Err(match furthest.coverage.hole {
                Some(hole) => RestoreError::Hole { timeline, hole, reachable_time: furthest.coverage.end_time },
                None => RestoreError::LsnPastArchive { target: lsn, end: furthest.coverage.end_lsn, timeline },
            });
        }
        self.newest_unless(reaching, |one, other| lsn < divergence(&one.path, &other.path))
    }

    fn decide_time(&self, time: Timestamp, candidates: Vec<Candidate<'a>>) -> Result<Candidate<'a>, RestoreError> {
        let tolerance = Span::new().minutes(CLOCK_TOLERANCE_MINUTES);
        let may_reach = |candidate: &Candidate<'_>| {
            let latest = candidate.coverage.end_time.and_then(|end| end.checked_add(tolerance).ok());
            latest.is_none_or(|latest| time <= latest)
        };
        let (reaching, others): (Vec<_>, Vec<_>) = candidates.into_iter().partition(may_reach);
        if reaching.is_empty() {
            // Not archived yet perhaps: then it can only be on the newest path.
            return self.decide_newest(others);
        }
        self.newest_unless(reaching, |one, other| self.is_before(time, divergence(&one.path, &other.path), &one.path))
    }

    /// Whether that time was surely over when WAL had come to `lsn`: a backup that ended before `lsn` ended later.
    fn is_before(&self, time: Timestamp, lsn: Lsn, path: &TimelineHistory) -> bool {
        let proofs = self.considered.iter().filter(|record| record.stop_lsn <= lsn && lies_on(record, path));
        proofs.map(|record| record.stop_time).any(|stop_time| time < stop_time)
    }

    /// The newest of paths that are the same up to the target; refused when one of them is not.
    fn newest_unless(
        &self,
        mut candidates: Vec<Candidate<'a>>,
        is_same: impl Fn(&Candidate<'a>, &Candidate<'a>) -> bool,
    ) -> Result<Candidate<'a>, RestoreError> {
        candidates.sort_by_key(|candidate| candidate.path.timeline());
        let Some(newest) = candidates.pop() else { return Err(self.nothing_on_any_path()) };
        if candidates.iter().all(|other| is_same(&newest, other)) {
            return Ok(newest);
        }
        candidates.push(newest);
        Err(self.ambiguous(&candidates))
    }

    /// The one path that no other one continues. The newest backup must lie on it: otherwise somebody went on along
    /// another one.
    fn decide_newest(&self, candidates: Vec<Candidate<'a>>) -> Result<Candidate<'a>, RestoreError> {
        let was_left = |timeline: TimelineId| {
            let others = candidates.iter().filter(|other| other.path.timeline() != timeline);
            others.into_iter().any(|other| other.path.parents().any(|parent| parent == timeline))
        };
        let tips = candidates.iter().filter(|candidate| !was_left(candidate.path.timeline())).count();
        let newest_backup = candidates.iter().max_by_key(|candidate| candidate.record.sequence);
        let newest_is_on_tip = newest_backup.is_some_and(|candidate| {
            let on_tip = |tip: &&Candidate<'_>| !was_left(tip.path.timeline());
            candidates.iter().filter(on_tip).all(|tip| tip.record.sequence >= candidate.record.sequence)
        });
        if tips != 1 || !newest_is_on_tip {
            return Err(self.ambiguous(&candidates));
        }
        let kept: Vec<bool> = candidates.iter().map(|candidate| !was_left(candidate.path.timeline())).collect();
        let mut tips = candidates.into_iter().zip(kept).filter(|(_, is_tip)| *is_tip).map(|(candidate, _)| candidate);
        tips.next().ok_or_else(|| self.nothing_on_any_path())
    }

    fn check_backup_wal(&self, chosen: &Candidate<'a>) -> Result<(), RestoreError> {
        const SHOWN: usize = 5;
        let record = chosen.record;
        let missing = self.archive.missing_between(&chosen.path, record.start_lsn, record.stop_lsn, SHOWN);
        if missing.is_empty() {
            return Ok(());
        }
        Err(RestoreError::BackupWalMissing { backup: record.id, missing, earlier: self.earlier(record) })
    }

    /// A hole before the target ends the recovery there, however much comes after it.
    fn check_hole(&self, chosen: &Candidate<'a>) -> Result<(), RestoreError> {
        let Some(hole) = chosen.coverage.hole.clone() else { return Ok(()) };
        let is_beyond = match &self.request.target {
            RecoveryTarget::Latest => true,
            // Everything before the hole is older than the time at which it was archived.
            RecoveryTarget::Time(time, _) => chosen.coverage.end_time.is_none_or(|end| *time > end),
            RecoveryTarget::Lsn(lsn, _) => *lsn >= hole.reachable_lsn,
            RecoveryTarget::Immediate | RecoveryTarget::TransactionId(..) | RecoveryTarget::RestorePoint(_) => false,
        };
        if !is_beyond {
            return Ok(());
        }
        let (timeline, reachable_time) = (chosen.path.timeline(), chosen.coverage.end_time);
        Err(RestoreError::Hole { timeline, hole, reachable_time })
    }

    fn refuse_target_before_all(&self) -> Result<(), RestoreError> {
        if self.considered.iter().any(|record| self.fits(record)) {
            return Ok(());
        }
        let first = match &self.request.target {
            RecoveryTarget::Lsn(..) => self.considered.iter().min_by_key(|record| record.stop_lsn),
            _ => self.considered.iter().min_by_key(|record| record.stop_time),
        };
        let Some(record) = first else { return Err(RestoreError::NoBackup { unusable: Vec::new() }) };
        Err(RestoreError::TargetBeforeBackup {
            target: Box::new(self.request.target.clone()),
            backup: record.id,
            stop_lsn: record.stop_lsn,
            stop_time: record.stop_time,
            was_named: self.request.backup != BackupChoice::Fitting,
        })
    }

    fn earlier(&self, than: &BackupRecord) -> Option<BackupId> {
        self.considered.iter().rev().find(|record| record.sequence < than.sequence).map(|record| record.id)
    }

    fn no_history(&self, timeline: TimelineId) -> RestoreError {
        let problem = self.archive.unreadable_histories.get(&timeline).cloned();
        RestoreError::NoHistory { timeline, problem, known: self.archive.timelines() }
    }

    /// There are fitting backups, but none of them lies on a path that may be followed.
    fn nothing_on_any_path(&self) -> RestoreError {
        let fitting = self.considered.iter().rev().find(|record| self.fits(record));
        match (fitting, self.request.timeline) {
            (Some(record), Some(RecoveryTargetTimeline::Id(timeline))) => {
                RestoreError::BackupNotOnTimeline { backup: record.id, on: record.stop_timeline, timeline }
            }
            (Some(record), _) if self.archive.history(record.stop_timeline).is_none() => {
                self.no_history(record.stop_timeline)
            }
            (Some(record), _) => RestoreError::BackupNotOnTimeline {
                backup: record.id,
                on: record.stop_timeline,
                timeline: record.stop_timeline,
            },
            (None, _) => RestoreError::NoBackup { unusable: Vec::new() },
        }
    }

    fn ambiguous(&self, candidates: &[Candidate<'a>]) -> RestoreError {
        let path = |candidate: &Candidate<'_>| {
            // An LSN target cut the coverage off; the person wants to see all of it.
            let whole = self.archive.coverage(&candidate.path, candidate.record.start_lsn, None);
            TimelinePath {
                timeline: candidate.path.timeline(),
                stretches: stretches(&candidate.path),
                backup: candidate.record.id,
                backup_stop_time: candidate.record.stop_time,
                end_lsn: whole.end_lsn,
                end_time: whole.end_time,
            }
        };
        let target = Box::new(self.request.target.clone());
        RestoreError::AmbiguousTimeline { target, paths: candidates.iter().map(path).collect() }
    }
}

/// Whether a whole backup lies on a path.
fn lies_on(record: &BackupRecord, path: &TimelineHistory) -> bool {
    path.contains(record.start_timeline, record.start_lsn) && path.contains_end(record.stop_timeline, record.stop_lsn)
}

/// The paths that have something of their own at their end: a timeline that was left with all its WAL on the path of
/// another one is only part of that one.
fn leaves(archive: &ArchiveFacts) -> Vec<TimelineHistory> {
    let paths: Vec<TimelineHistory> = archive.timelines().into_iter().filter_map(|one| archive.history(one)).collect();
    let is_part_of = |path: &TimelineHistory, other: &TimelineHistory| {
        let timeline = path.timeline();
        let archived = archive.end_of(timeline);
        other.timeline() != timeline
            && other.end_of(timeline).is_some_and(|left_at| archived.is_none_or(|end| end <= left_at))
    };
    let is_leaf = |path: &&TimelineHistory| !paths.iter().any(|other| is_part_of(path, other));
    paths.iter().filter(is_leaf).cloned().collect()
}

/// Each timeline of which a path has at least a byte, and where it was left.
pub(super) fn stretches(path: &TimelineHistory) -> Vec<(TimelineId, Option<Lsn>)> {
    let mut found: Vec<(TimelineId, Option<Lsn>)> = Vec::new();
    for timeline in path.parents() {
        let end = path.end_of(timeline);
        let begin = found.last().and_then(|(_, end)| *end);
        if end > begin {
            found.push((timeline, end));
        }
    }
    found.push((path.timeline(), None));
    found
}

/// The first position at which two paths differ.
fn divergence(one: &TimelineHistory, other: &TimelineHistory) -> Lsn {
    const END: Lsn = match Lsn::new(u64::MAX) {
        Some(lsn) => lsn,
        None => unreachable!(),
    };
    let mut common: Option<Lsn> = None;
    for ((timeline, end), (other_timeline, other_end)) in stretches(one).into_iter().zip(stretches(other)) {
        if timeline != other_timeline {
            break;
        }
        let shorter = end.unwrap_or(END).min(other_end.unwrap_or(END));
        common = Some(shorter);
        if end != other_end {
            break;
        }
    }
    // Without a common beginning they differ from the first byte on.
    common.unwrap_or(Lsn::new(1).unwrap_or(END))
}
