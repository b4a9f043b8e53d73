//! Which backup to start from, and which path of timelines to follow: pure decisions from what was gathered.
//!
//! Without reading WAL, the time of a record is known only by upper bounds (its segment was archived by then), and
//! whether a transaction or restore point exists is not known at all. What is not known is never guessed: a target
//! that could lie on several paths is refused, with the paths.

use jiff::Timestamp;

use super::error::RestoreError;
use super::left_behind::LeftBehind;
use super::paths::{self, Fit, Parting};
use super::unfollowed::{self, Unfollowed};
use crate::pg::{
    Lsn, RecoveryTarget, RecoveryTargetTimeline, TargetBound, TimelineHistory, TimelineId, WalSegmentName,
};
use crate::repository::{ArchiveFacts, WalCoverage, WalHole};
use crate::repository::{BackupId, BackupRecord};

/// What the person asked for.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// Where recovery should stop.
    pub target: RecoveryTarget,
    /// Along which timeline.
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
    /// Whether there is a hole on it, before the target or behind.
    pub has_hole: bool,
    /// What the person should know.
    pub warnings: Vec<String>,
    /// Timelines that went on beside the path.
    pub(super) left_behind: Vec<LeftBehind>,
    /// What the person should know unless the WAL is read.
    pub(super) doubts: Vec<String>,
    /// Where the path parts from others that could be meant.
    pub(super) parting: Option<Parting>,
}

/// A backup and a path, before its WAL is looked at.
pub(super) struct Way {
    pub(super) record: BackupRecord,
    pub(super) path: TimelineHistory,
    pub(super) left_behind: Vec<LeftBehind>,
    pub(super) parting: Option<Parting>,
}

/// Chooses from `backups`.
pub(super) fn choose(
    request: &Request,
    backups: &[BackupRecord],
    archive: &ArchiveFacts,
) -> Result<Choice, RestoreError> {
    let Way { record, path, left_behind, parting } = choose_way(request, backups, archive)?;
    let unfollowed = Unfollowed::beside(&path, request, backups, archive);
    if let (RecoveryTarget::Latest, Some(unfollowed)) = (&request.target, unfollowed) {
        return Err(unfollowed.refusal(archive));
    }
    let warnings = doubts(request, &record, backups, archive);
    let mut unread = Vec::new();
    if let (Some(parting), RecoveryTarget::Lsn(lsn, TargetBound::Inclusive)) = (&parting, &request.target) {
        unread.push(format!(
            "whether a record begins between {lsn} and {}, where the timelines part, is not known; if none does, each \
             timeline gives another one",
            parting.at
        ));
    }
    let fit = Fit { path: &path, record: &record };
    let coverage = wal_to_target(request, &fit, backups, archive, &mut unread);
    let coverage = coverage.map_err(|error| unfollowed::or_on_another(error, unfollowed, archive))?;
    let whole = archive.coverage(&path, record.start_lsn, None);
    let has_hole = coverage.hole.is_some() || whole.hole.is_some();
    Ok(Choice { record, path, coverage, has_hole, warnings, left_behind, doubts: unread, parting })
}

/// Chooses a backup and a path, whatever WAL there is along it.
pub(super) fn choose_way(
    request: &Request,
    backups: &[BackupRecord],
    archive: &ArchiveFacts,
) -> Result<Way, RestoreError> {
    let candidates = candidates(request, backups)?;
    let paths = paths_to_look_at(request, &candidates, archive)?;
    let mut fits = Vec::new();
    for path in &paths {
        let before = candidates.iter().filter(|record| is_on(record, path) && ends_before(record, &request.target));
        if let Some(record) = before.max_by_key(|record| (record.stop_lsn, record.sequence)) {
            fits.push(Fit { path, record });
        }
    }
    if let Some(timeline) = lost_timeline(request, &candidates, archive) {
        return Err(unknown_timeline(timeline, archive));
    }
    if fits.is_empty() {
        return Err(nothing_fits(request, &candidates, &paths));
    }
    let (fit, left_behind, parting) = paths::the_one(&request.target, fits, &candidates, backups, archive)?;
    Ok(Way { record: fit.record.clone(), path: fit.path.clone(), left_behind, parting })
}

/// The backups that may be used: the one that was named, else all in which nothing wrong was found.
fn candidates<'a>(request: &Request, backups: &'a [BackupRecord]) -> Result<Vec<&'a BackupRecord>, RestoreError> {
    let mut found: Vec<&BackupRecord> = match request.backup {
        Some(id) => backups.iter().filter(|record| record.id == id).collect(),
        None => backups.iter().filter(|record| record.findings.is_empty()).collect(),
    };
    found.sort_by_key(|record| (record.sequence, record.id));
    if !found.is_empty() {
        return Ok(found);
    }
    Err(match (request.backup, backups.last()) {
        (Some(id), _) => RestoreError::UnknownBackup { id, known: backups.iter().map(|record| record.id).collect() },
        (None, Some(newest)) => RestoreError::OnlyBackupsWithFindings { newest: newest.id },
        (None, None) => RestoreError::NoBackup { cluster: String::new(), older: None },
    })
}

/// Whether the backup is consistent before the target, as far as that can be known.
pub(super) fn ends_before(record: &BackupRecord, target: &RecoveryTarget) -> bool {
    match target {
        RecoveryTarget::Time(time, TargetBound::Inclusive) => record.stop_time <= *time,
        RecoveryTarget::Time(time, TargetBound::Exclusive) => record.stop_time < *time,
        // An exclusive target at the very end of the backup would stop where it becomes consistent, or before.
        RecoveryTarget::Lsn(lsn, TargetBound::Inclusive) => record.stop_lsn <= *lsn,
        RecoveryTarget::Lsn(lsn, TargetBound::Exclusive) => record.stop_lsn < *lsn,
        RecoveryTarget::Latest
        | RecoveryTarget::Immediate
        | RecoveryTarget::TransactionId(..)
        | RecoveryTarget::RestorePoint(_) => true,
    }
}

/// Whether a path leads through the whole backup.
pub(super) fn is_on(record: &BackupRecord, path: &TimelineHistory) -> bool {
    path.contains(record.start_timeline, record.start_lsn) && path.contains_end(record.stop_timeline, record.stop_lsn)
}

/// The paths on which the target is looked for, oldest timeline first.
fn paths_to_look_at(
    request: &Request,
    candidates: &[&BackupRecord],
    archive: &ArchiveFacts,
) -> Result<Vec<TimelineHistory>, RestoreError> {
    let history = |timeline: TimelineId| archive.history(timeline).ok_or_else(|| unknown_timeline(timeline, archive));
    let newest_before = || candidates.iter().rfind(|record| ends_before(record, &request.target));
    match (request.timeline, &request.target) {
        (RecoveryTargetTimeline::Id(timeline), _) => Ok(vec![history(timeline)?]),
        // As soon as the backup is consistent: on its own timeline.
        (RecoveryTargetTimeline::Current, _) | (RecoveryTargetTimeline::Latest, RecoveryTarget::Immediate) => {
            newest_before().or(candidates.last()).map(|record| history(record.stop_timeline)).into_iter().collect()
        }
        (RecoveryTargetTimeline::Latest, _) => {
            // What cannot be read may be the newest.
            if let Some(timeline) = archive.unreadable_histories.keys().next() {
                return Err(unknown_timeline(*timeline, archive));
            }
            let is_backed_up = |timeline| candidates.iter().any(|record| record.stop_timeline == timeline);
            // A history without a segment leads nowhere that its parents do not lead to.
            let known = archive.timelines().into_iter();
            let known = known.filter(|timeline| archive.has_wal_of(*timeline) || is_backed_up(*timeline));
            Ok(known.filter_map(|timeline| archive.history(timeline)).collect())
        }
    }
}

pub(super) fn unknown_timeline(timeline: TimelineId, archive: &ArchiveFacts) -> RestoreError {
    let problem = archive.unreadable_histories.get(&timeline).cloned();
    let ranges = archive.ranges.get(&timeline);
    let wal = ranges.and_then(|ranges| Some((ranges.first()?.first, ranges.last()?.last)));
    RestoreError::UnknownTimeline { timeline, wal, problem, known: archive.timelines() }
}

/// The timeline of the newest backup that could serve, when its history is not there: it must not be passed over.
fn lost_timeline(request: &Request, candidates: &[&BackupRecord], archive: &ArchiveFacts) -> Option<TimelineId> {
    let is_free = !matches!(request.timeline, RecoveryTargetTimeline::Id(_));
    let newest = candidates.iter().rfind(|record| ends_before(record, &request.target)).filter(|_| is_free)?;
    archive.history(newest.stop_timeline).is_none().then_some(newest.stop_timeline)
}

/// What was found in backups, and what cannot be followed.
fn doubts(request: &Request, chosen: &BackupRecord, backups: &[BackupRecord], archive: &ArchiveFacts) -> Vec<String> {
    let mut doubts = Vec::new();
    if !chosen.findings.is_empty() {
        doubts.push(format!("damage was found in backup {}: {}", chosen.id, chosen.findings.join("; ")));
    }
    let newer = |other: &&BackupRecord| other.sequence > chosen.sequence && !other.findings.is_empty();
    for other in backups.iter().filter(newer).filter(|_| request.backup.is_none()) {
        let id = other.id;
        doubts.push(format!("damage was found in backup {id}, so it is not considered; --backup chooses it"));
    }
    let known = archive.timelines();
    for timeline in archive.ranges.keys().filter(|timeline| !known.contains(timeline)) {
        doubts.push(format!("timeline {timeline} has no history in the archive, so it cannot be followed"));
    }
    doubts
}

/// Why no backup can serve the target.
fn nothing_fits(request: &Request, candidates: &[&BackupRecord], paths: &[TimelineHistory]) -> RestoreError {
    let on_a_path = candidates.iter().filter(|record| paths.iter().any(|path| is_on(record, path)));
    if let Some(earliest) = on_a_path.min_by_key(|record| (record.stop_time, record.sequence)) {
        return RestoreError::TargetBeforeBackup {
            target: request.target.clone(),
            backup: earliest.id,
            was_named: request.backup.is_some(),
            stop_time: earliest.stop_time,
            stop_lsn: earliest.stop_lsn,
            older: None,
        };
    }
    let of_backup = candidates.last().map_or(TimelineId::FIRST, |record| record.stop_timeline);
    let timeline = match request.timeline {
        RecoveryTargetTimeline::Id(timeline) => timeline,
        RecoveryTargetTimeline::Current | RecoveryTargetTimeline::Latest => of_backup,
    };
    RestoreError::NotOnTimeline { timeline, backup: request.backup, of_backup }
}

/// Checks the WAL from the backup to the target.
fn wal_to_target(
    request: &Request,
    Fit { path, record }: &Fit<'_>,
    backups: &[BackupRecord],
    archive: &ArchiveFacts,
    doubts: &mut Vec<String>,
) -> Result<WalCoverage, RestoreError> {
    let target = &request.target;
    let missing = archive.missing_between(path, record.start_lsn, record.stop_lsn, 1);
    if let Some(segment) = missing.first().copied() {
        return Err(RestoreError::BackupWithoutWal { backup: record.id, segment });
    }
    let to = match target {
        RecoveryTarget::Immediate => Some(record.stop_lsn),
        // Recovery stops at a record that begins there or later, so the byte itself is needed.
        RecoveryTarget::Lsn(lsn, _) => lsn.checked_add(1),
        _ => None,
    };
    let mut coverage = archive.coverage(path, record.start_lsn, to);
    if coverage.hole.is_none() && !paths::lies_before_its_own_wal(target, path, backups) {
        coverage.hole = archive.missing_fork_segment(path);
    }
    if coverage.hole.is_none() && to.is_none() {
        coverage.hole = lost_behind(&coverage, path, backups, archive);
    }
    if let Some(hole) = &coverage.hole {
        let proven = paths::lies_before(target, hole.reachable_lsn, path, backups);
        if !proven && !may_lie_before(target, coverage.end_time) {
            return Err(behind_hole(target, hole, &coverage, record, archive));
        }
        if !proven {
            doubts.push(format!(
                "the archive has a hole from \"{}\" to \"{}\"; if the target lies behind it, recovery stops there with \
                 an error",
                hole.first, hole.last
            ));
        }
    } else {
        refuse_behind_archive(target, &coverage, path)?;
    }
    if let RecoveryTarget::Lsn(lsn, _) = target {
        coverage.end_lsn = coverage.end_lsn.min(*lsn);
    }
    doubts.extend(unknown(target, record));
    Ok(coverage)
}

/// WAL that the archive had when a later backup on the path was taken, and has no more: a partial copy of a repository
/// has lost its newest segments, and its records still say that they were there.
fn lost_behind(
    coverage: &WalCoverage,
    path: &TimelineHistory,
    backups: &[BackupRecord],
    archive: &ArchiveFacts,
) -> Option<WalHole> {
    let size = archive.segment_size;
    let on_path = backups.iter().filter(|record| path.contains_end(record.stop_timeline, record.stop_lsn));
    let record = on_path.filter(|record| record.stop_lsn > coverage.end_lsn).max_by_key(|record| record.stop_lsn)?;
    let last = WalSegmentName::containing_previous_byte(record.stop_timeline, record.stop_lsn, size);
    let reached = coverage.last.and_then(|last| last.number(size));
    let number = reached.map_or(coverage.first.number(size), |number| number.checked_add(1))?;
    let first = WalSegmentName::from_number(path.timeline_at(coverage.end_lsn), number, size)?;
    let count = last.number(size)?.saturating_sub(number).saturating_add(1);
    Some(WalHole { first, last, count, reachable_lsn: coverage.end_lsn })
}

fn refuse_behind_archive(
    target: &RecoveryTarget,
    coverage: &WalCoverage,
    path: &TimelineHistory,
) -> Result<(), RestoreError> {
    let (end, timeline) = (coverage.end_lsn, path.timeline());
    match target {
        RecoveryTarget::Lsn(lsn, _) if *lsn >= end => {
            let (target, end_time) = (*lsn, coverage.end_time);
            Err(RestoreError::TargetBehindArchive { target, end, end_time, timeline, nearby: Box::default() })
        }
        RecoveryTarget::Time(time, _) => match coverage.end_time {
            Some(end_time) if paths::is_surely_later(*time, end_time) => {
                let target = *time;
                Err(RestoreError::TimeBehindArchive { target, end_time, end, timeline, nearby: Box::default() })
            }
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Whether a target may lie before a hole, when no record before the hole is later than `bound`.
fn may_lie_before(target: &RecoveryTarget, bound: Option<Timestamp>) -> bool {
    match target {
        RecoveryTarget::Time(time, _) => bound.is_some_and(|bound| *time < bound),
        RecoveryTarget::TransactionId(..) | RecoveryTarget::RestorePoint(_) => true,
        RecoveryTarget::Latest | RecoveryTarget::Immediate | RecoveryTarget::Lsn(..) => false,
    }
}

pub(super) fn behind_hole(
    target: &RecoveryTarget,
    hole: &WalHole,
    coverage: &WalCoverage,
    record: &BackupRecord,
    archive: &ArchiveFacts,
) -> RestoreError {
    // Somewhere behind the beginning of the last segment a record begins; where the last one does is not known.
    let certain = coverage.last.and_then(|last: WalSegmentName| last.start_lsn(archive.segment_size));
    RestoreError::Hole {
        target: target.to_string(),
        hole: hole.clone(),
        reachable_time: coverage.end_time,
        certain_lsn: certain.filter(|lsn: &Lsn| *lsn > record.stop_lsn),
        backup: record.id,
    }
}

/// What cannot be known without reading WAL.
fn unknown(target: &RecoveryTarget, record: &BackupRecord) -> Option<String> {
    match target {
        RecoveryTarget::Time(..) => Some(
            "whether a transaction ended after the target time is found out by recovery; if none did, it ends with an \
             error, and a restore without a target gives the same rows"
                .to_owned(),
        ),
        RecoveryTarget::TransactionId(..) | RecoveryTarget::RestorePoint(_) => {
            let what = match target {
                RecoveryTarget::RestorePoint(_) => "the restore point is in the archive, and was made",
                _ => "the transaction is in the archive, and ended",
            };
            Some(format!(
                "whether {what} after backup {} ended, is found out by recovery, which ends with an error if not; \
                 --backup ID starts from an earlier one",
                record.id
            ))
        }
        RecoveryTarget::Latest | RecoveryTarget::Immediate | RecoveryTarget::Lsn(..) => None,
    }
}
