//! Which backup to start from, and which path of timelines to follow: pure decisions from what was gathered.
//!
//! Without reading WAL, the time of a record is known only by upper bounds (its segment was archived by then), and
//! whether a transaction or restore point exists is not known at all. INVARIANT: what is not known is never guessed. A
//! target that could lie on several paths is refused, with the paths (failures.md B68): the same transaction number or
//! time can be on each of them, with another content.

use jiff::{Span, Timestamp};

use super::error::{Branch, RestoreError};
use super::paths::{divergence, leaves};
use super::wal_coverage::{ArchiveFacts, WalCoverage, WalHole};
use crate::pg::{Lsn, RecoveryTarget, RecoveryTargetTimeline, TargetBound, TimelineHistory, TimelineId};
use crate::repository::{BackupId, BackupRecord};

/// How far the clocks of the server and of whoever archived may be apart before a time counts as out of reach.
const CLOCK_TOLERANCE_MINUTES: i64 = 5;

/// What the person asked for.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// Where recovery should stop.
    pub target: RecoveryTarget,
    /// Along which timeline; the latest stands for no word about it.
    pub timeline: RecoveryTargetTimeline,
    /// From which backup; the one that fits best when absent.
    pub backup: Option<BackupId>,
}

/// What was chosen.
#[derive(Debug, Clone)]
pub struct Choice {
    /// The backup.
    pub record: BackupRecord,
    /// The path of timelines.
    pub path: TimelineHistory,
    /// The WAL along it.
    pub coverage: WalCoverage,
    /// What the person should know.
    pub warnings: Vec<String>,
}

/// Chooses among `backups`.
pub(super) fn choose(
    request: &Request,
    backups: &[BackupRecord],
    archive: &ArchiveFacts,
) -> Result<Choice, RestoreError> {
    let considered = considered_backups(request, backups)?;
    let candidate = Chooser { request, archive, considered }.decide()?;
    let warnings = warnings(&candidate, request, backups, archive);
    let Candidate { path, record, coverage } = candidate;
    Ok(Choice { record: record.clone(), path, coverage, warnings })
}

/// The backups among which to choose, in the order in which they were taken.
fn considered_backups<'a>(
    request: &Request,
    backups: &'a [BackupRecord],
) -> Result<Vec<&'a BackupRecord>, RestoreError> {
    if let Some(id) = request.backup {
        let found = backups.iter().find(|record| record.id == id);
        return Ok(vec![found.ok_or(RestoreError::UnknownBackup { id: id.to_string() })?]);
    }
    let mut usable: Vec<&BackupRecord> = backups.iter().filter(|record| record.findings.is_empty()).collect();
    usable.sort_by_key(|record| (record.sequence, record.id));
    if usable.is_empty() { Err(RestoreError::NoBackup { cluster: String::new() }) } else { Ok(usable) }
}

/// A path with the backup that would be taken along it.
struct Candidate<'a> {
    path: TimelineHistory,
    record: &'a BackupRecord,
    coverage: WalCoverage,
}

struct Chooser<'a> {
    request: &'a Request,
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
            // Each path has transactions of the same numbers.
            RecoveryTarget::TransactionId(..) | RecoveryTarget::RestorePoint(_) => {
                self.newest_unless(candidates, |_, _| false)?
            }
            RecoveryTarget::Latest | RecoveryTarget::Immediate => self.decide_newest(candidates)?,
        };
        self.check_backup_wal(&chosen)?;
        self.check_hole(&chosen)?;
        Ok(chosen)
    }

    /// The newest fitting backup must not be passed over because its timeline's history is lost.
    fn newest_is_on_no_path(&self, candidates: &[Candidate<'a>]) -> bool {
        let is_free = !matches!(self.request.timeline, RecoveryTargetTimeline::Id(_));
        let newest = self.considered.iter().rev().find(|record| self.fits(record));
        is_free && newest.is_some_and(|newest| !candidates.iter().any(|candidate| lies_on(newest, &candidate.path)))
    }

    /// The paths that may be meant.
    fn paths(&self) -> Result<Vec<TimelineHistory>, RestoreError> {
        let of = |timeline| self.archive.history(timeline).ok_or_else(|| self.unknown_timeline(timeline));
        match self.request.timeline {
            RecoveryTargetTimeline::Id(timeline) => Ok(vec![of(timeline)?]),
            RecoveryTargetTimeline::Latest if self.request.target != RecoveryTarget::Immediate => {
                Ok(leaves(self.archive))
            }
            RecoveryTargetTimeline::Latest | RecoveryTargetTimeline::Current => {
                let newest = self.considered.iter().rev().find(|record| self.fits(record));
                newest.map(|record| of(record.stop_timeline)).into_iter().collect()
            }
        }
    }

    fn fits(&self, record: &BackupRecord) -> bool {
        match &self.request.target {
            RecoveryTarget::Time(time, _) => record.stop_time <= *time,
            // An exclusive target at the very end of the backup would stop before it is consistent.
            RecoveryTarget::Lsn(lsn, TargetBound::Inclusive) => record.stop_lsn <= *lsn,
            RecoveryTarget::Lsn(lsn, TargetBound::Exclusive) => record.stop_lsn < *lsn,
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
                Some(hole) => self.hole(hole, furthest.coverage.end_time),
                None => RestoreError::TargetBehindArchive { target: lsn, end: furthest.coverage.end_lsn, timeline },
            });
        }
        let is_common = |lsn: Lsn, fork: Option<Lsn>| fork.is_some_and(|fork| lsn < fork);
        self.newest_unless(reaching, |one, other| is_common(lsn, divergence(&one.path, &other.path)))
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
        self.newest_unless(reaching, |one, other| {
            divergence(&one.path, &other.path).is_some_and(|fork| self.is_before(time, fork, &one.path))
        })
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
        let record = chosen.record;
        let missing = self.archive.missing_between(&chosen.path, record.start_lsn, record.stop_lsn, 1);
        match missing.first().copied() {
            Some(segment) => Err(RestoreError::BackupWithoutWal { backup: record.id, segment }),
            None => Ok(()),
        }
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
        Err(self.hole(hole, chosen.coverage.end_time))
    }

    fn hole(&self, hole: WalHole, reachable_time: Option<Timestamp>) -> RestoreError {
        RestoreError::Hole { target: self.request.target.to_string(), hole, reachable_time }
    }

    fn refuse_target_before_all(&self) -> Result<(), RestoreError> {
        if self.considered.iter().any(|record| self.fits(record)) {
            return Ok(());
        }
        let first = match &self.request.target {
            RecoveryTarget::Lsn(..) => self.considered.iter().min_by_key(|record| record.stop_lsn),
            _ => self.considered.iter().min_by_key(|record| record.stop_time),
        };
        let Some(record) = first else { return Err(RestoreError::NoBackup { cluster: String::new() }) };
        Err(RestoreError::TargetBeforeBackup {
            target: self.request.target.to_string(),
            backup: record.id,
            stop_time: record.stop_time,
            stop_lsn: record.stop_lsn,
        })
    }

    fn unknown_timeline(&self, timeline: TimelineId) -> RestoreError {
        RestoreError::UnknownTimeline { timeline, known: self.archive.timelines() }
    }

    /// There are fitting backups, but none of them lies on a path that may be followed.
    fn nothing_on_any_path(&self) -> RestoreError {
        if let RecoveryTargetTimeline::Id(timeline) = self.request.timeline {
            return RestoreError::NotOnTimeline { timeline };
        }
        match self.considered.iter().rev().find(|record| self.fits(record)) {
            Some(record) if self.archive.history(record.stop_timeline).is_none() => {
                self.unknown_timeline(record.stop_timeline)
            }
            Some(record) => RestoreError::NotOnTimeline { timeline: record.stop_timeline },
            None => RestoreError::NoBackup { cluster: String::new() },
        }
    }

    fn ambiguous(&self, candidates: &[Candidate<'a>]) -> RestoreError {
        let branch = |candidate: &Candidate<'_>| {
            // An LSN target cut the coverage off; the person wants to see all of it.
            let whole = self.archive.coverage(&candidate.path, candidate.record.start_lsn, None);
            let parent = candidate.path.parents().next_back();
            Branch {
                timeline: candidate.path.timeline(),
                forked_at: parent.and_then(|parent| candidate.path.end_of(parent)),
                end_lsn: Some(whole.end_lsn),
                end_time: whole.end_time,
            }
        };
        let branches = candidates.iter().map(branch).collect();
        RestoreError::AmbiguousTimeline { target: self.request.target.to_string(), branches }
    }
}

/// Whether a whole backup lies on a path.
fn lies_on(record: &BackupRecord, path: &TimelineHistory) -> bool {
    path.contains(record.start_timeline, record.start_lsn) && path.contains_end(record.stop_timeline, record.stop_lsn)
}

/// What the person should know of the choice.
fn warnings(
    chosen: &Candidate<'_>,
    request: &Request,
    backups: &[BackupRecord],
    archive: &ArchiveFacts,
) -> Vec<String> {
    let mut warnings = Vec::new();
    let record = chosen.record;
    if !record.findings.is_empty() {
        warnings.push(format!("damage was found in backup {}: {}", record.id, record.findings.join("; ")));
    }
    let newer = backups.iter().filter(|other| other.sequence > record.sequence && !other.findings.is_empty());
    if request.backup.is_none() {
        warnings.extend(newer.map(|other| {
            format!("damage was found in backup {}, so it is not considered; --backup chooses it", other.id)
        }));
    }
    if let Some(hole) = chosen.coverage.hole.as_ref().filter(|_| request.target != RecoveryTarget::Immediate) {
        warnings.push(format!(
            "the archive has a hole from \"{}\" to \"{}\"; if the target lies behind it, recovery stops there with an error",
            hole.first, hole.last
        ));
    }
    for leaf in leaves(archive).iter().filter(|leaf| leaf.timeline() != chosen.path.timeline()) {
        let (timeline, followed) = (leaf.timeline(), chosen.path.timeline());
        warnings.push(format!(
            "timeline {timeline} has WAL of its own, which timeline {followed} does not lead to; --target-timeline \
             {timeline} follows it"
        ));
    }
    let known = archive.timelines();
    for timeline in archive.ranges.keys().filter(|timeline| !known.contains(timeline)) {
        warnings.push(format!("timeline {timeline} has no history in the archive, so it cannot be followed"));
    }
    warnings.extend(unknowns(&request.target, &chosen.coverage));
    warnings
}

/// What cannot be known without reading WAL.
fn unknowns(target: &RecoveryTarget, coverage: &WalCoverage) -> Vec<String> {
    let text = match target {
        RecoveryTarget::Time(time, _) if coverage.end_time.is_some_and(|end| *time > end) => {
            "the target time is later than everything in the archive, so recovery will end with an error at the end of \
             the archive; use no target at all for the latest state"
        }
        RecoveryTarget::Time(..) => {
            "whether a transaction ended at or after the target time is found out by recovery; if none did, it ends \
             with an error"
        }
        RecoveryTarget::TransactionId(..) => {
            "whether the transaction is in the archive, and ended after the backup, is found out by recovery; --backup \
             chooses an earlier backup"
        }
        RecoveryTarget::RestorePoint(_) => {
            "whether the restore point is in the archive, and was made after the backup, is found out by recovery; \
             --backup chooses an earlier backup"
        }
        RecoveryTarget::Latest | RecoveryTarget::Immediate | RecoveryTarget::Lsn(..) => return Vec::new(),
    };
    vec![text.to_owned()]
}
