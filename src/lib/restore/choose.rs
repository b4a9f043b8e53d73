//! Which backup to start from, and which path of timelines to follow: pure decisions from what was gathered.
//!
//! Without reading WAL, the time of a record is known only by upper bounds (its segment was archived by then), and
//! whether a transaction or restore point exists is not known at all. What is not known is never guessed: a target
//! that could lie on several paths is refused, with the paths.

use super::error::{Branch, RestoreError};
use super::wal_coverage::{ArchiveFacts, WalCoverage};
use crate::pg::{
    Lsn, RecoveryTarget, RecoveryTargetTimeline, TargetBound, TimelineHistory, TimelineId, WalSegmentName,
};
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
    /// What the person should know.
    pub warnings: Vec<String>,
}

/// Chooses from `backups`, which are in the order of their sequence.
pub(super) fn choose(
    request: &Request,
    backups: &[BackupRecord],
    archive: &ArchiveFacts,
) -> Result<Choice, RestoreError> {
    let target = request.target.to_string();
    let candidates: Vec<&BackupRecord> = match request.backup {
        Some(id) => backups.iter().filter(|record| record.id == id).collect(),
        None => backups.iter().filter(|record| record.findings.is_empty()).collect(),
    };
    let Some(earliest) = candidates.first() else {
        return Err(match request.backup {
            Some(id) => RestoreError::UnknownBackup { id: id.to_string() },
            None => RestoreError::NoBackup { cluster: String::new() },
        });
    };
    let mut refusal = None;
    for record in candidates.iter().rev().filter(|record| ends_before(record, &request.target)) {
        match path_for(request, record, archive, backups) {
            Ok(path) => return with_wal(request, record, path, archive),
            // An earlier backup may lie on the path.
            Err(error @ RestoreError::NotOnTimeline { .. }) => refusal = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(refusal.unwrap_or(RestoreError::TargetBeforeBackup {
        target,
        backup: earliest.id,
        stop_time: earliest.stop_time,
        stop_lsn: earliest.stop_lsn,
    }))
}

/// Whether the backup is consistent before the target, as far as that can be known.
fn ends_before(record: &BackupRecord, target: &RecoveryTarget) -> bool {
    match target {
        RecoveryTarget::Time(time, _) => record.stop_time <= *time,
        // An exclusive target at the very end of the backup would stop before it is consistent.
        RecoveryTarget::Lsn(lsn, TargetBound::Inclusive) => record.stop_lsn <= *lsn,
        RecoveryTarget::Lsn(lsn, TargetBound::Exclusive) => record.stop_lsn < *lsn,
        RecoveryTarget::Latest
        | RecoveryTarget::Immediate
        | RecoveryTarget::TransactionId(..)
        | RecoveryTarget::RestorePoint(_) => true,
    }
}

fn path_for(
    request: &Request,
    record: &BackupRecord,
    archive: &ArchiveFacts,
    backups: &[BackupRecord],
) -> Result<TimelineHistory, RestoreError> {
    let on_path = |path: &TimelineHistory| {
        path.contains(record.start_timeline, record.start_lsn)
            && path.contains_end(record.stop_timeline, record.stop_lsn)
    };
    let history = |timeline| {
        archive.history(timeline).ok_or_else(|| RestoreError::UnknownTimeline { timeline, known: archive.timelines() })
    };
    match request.timeline {
        RecoveryTargetTimeline::Id(timeline) => {
            let path = history(timeline)?;
            if on_path(&path) { Ok(path) } else { Err(RestoreError::NotOnTimeline { timeline }) }
        }
        RecoveryTargetTimeline::Current => history(record.stop_timeline),
        RecoveryTargetTimeline::Latest if request.target == RecoveryTarget::Immediate => history(record.stop_timeline),
        RecoveryTargetTimeline::Latest => {
            let paths: Vec<TimelineHistory> = archive
                .timelines()
                .into_iter()
                .filter_map(|timeline| archive.history(timeline))
                .filter(on_path)
                .collect();
            newest_path(request, record, paths, archive, backups)
        }
    }
}

/// The one path that the target can lie on.
fn newest_path(
    request: &Request,
    record: &BackupRecord,
    paths: Vec<TimelineHistory>,
    archive: &ArchiveFacts,
    backups: &[BackupRecord],
) -> Result<TimelineHistory, RestoreError> {
    let is_parent = |timeline: TimelineId| paths.iter().any(|path| path.parents().any(|parent| parent == timeline));
    let leaves: Vec<&TimelineHistory> = paths.iter().filter(|path| !is_parent(path.timeline())).collect();
    let newest =
        leaves.last().copied().cloned().ok_or(RestoreError::NotOnTimeline { timeline: record.stop_timeline })?;
    let mut possible: Vec<&TimelineHistory> = match &request.target {
        // What an old primary wrote after it was replaced is not what anybody means by the latest.
        RecoveryTarget::Latest => leaves.clone(),
        _ => paths.iter().filter(|path| leaves.contains(path) || goes_on(path, &paths, archive)).collect(),
    };
    possible.retain(|path| may_reach(&request.target, path, archive));
    let Some(first_fork) = first_fork(&possible) else { return Ok(possible.pop().cloned().unwrap_or(newest)) };
    if lies_before(&request.target, first_fork, backups) {
        return Ok(newest);
    }
    match possible.as_slice() {
        [] => Ok(newest),
        [only] => Ok((*only).clone()),
        several => Err(RestoreError::AmbiguousTimeline {
            target: request.target.to_string(),
            branches: several.iter().map(|path| branch(path, archive)).collect(),
        }),
    }
}

/// Whether the archive of a timeline goes on behind the place where another one left it.
fn goes_on(path: &TimelineHistory, paths: &[TimelineHistory], archive: &ArchiveFacts) -> bool {
    let left_at = paths.iter().filter_map(|child| child.end_of(path.timeline())).min();
    let own_end = archive.ranges.get(&path.timeline()).and_then(|ranges| ranges.last()).map(|range| range.last);
    match (left_at, own_end) {
        (Some(left_at), Some(own_end)) => {
            // The segment in which it was left counts for both.
            own_end > WalSegmentName::containing(path.timeline(), left_at, archive.segment_size)
        }
        _ => false,
    }
}

/// Whether a path can hold the target, as far as that is known without reading WAL.
fn may_reach(target: &RecoveryTarget, path: &TimelineHistory, archive: &ArchiveFacts) -> bool {
    match target {
        RecoveryTarget::Lsn(lsn, _) => archive.end_along(path).is_some_and(|end| *lsn <= end),
        _ => true,
    }
}

/// The first position at which these paths part.
fn first_fork(paths: &[&TimelineHistory]) -> Option<Lsn> {
    let mut forks = Vec::new();
    for (number, path) in paths.iter().enumerate() {
        for other in paths.iter().skip(number + 1) {
            forks.extend(parting(path, other));
        }
    }
    forks.into_iter().min()
}

/// Where two paths part: the earlier of the ends that their last common timeline has on them.
fn parting(one: &TimelineHistory, other: &TimelineHistory) -> Option<Lsn> {
    let all = |path: &TimelineHistory| path.parents().chain([path.timeline()]).collect::<Vec<_>>();
    let theirs = all(other);
    let common = all(one).into_iter().rfind(|timeline| theirs.contains(timeline))?;
    one.end_of(common).into_iter().chain(other.end_of(common)).min()
}

/// Whether the target is known to lie before that position, which all paths have in common.
fn lies_before(target: &RecoveryTarget, fork: Lsn, backups: &[BackupRecord]) -> bool {
    match target {
        RecoveryTarget::Lsn(lsn, _) => *lsn <= fork,
        // A backup that ended before the fork and after the time proves that the fork is later.
        RecoveryTarget::Time(time, _) => {
            backups.iter().any(|record| record.stop_lsn <= fork && record.stop_time >= *time)
        }
        _ => false,
    }
}

fn branch(path: &TimelineHistory, archive: &ArchiveFacts) -> Branch {
    let last = archive.ranges.get(&path.timeline()).and_then(|ranges| ranges.last()).map(|range| range.last);
    let parent = path.parents().next_back();
    Branch {
        timeline: path.timeline(),
        forked_at: parent.and_then(|parent| path.end_of(parent)),
        end_lsn: archive.end_along(path),
        end_time: last.and_then(|last| archive.archived_at.get(&last).copied()),
    }
}

/// Checks the WAL from the backup to the target.
fn with_wal(
    request: &Request,
    record: &BackupRecord,
    path: TimelineHistory,
    archive: &ArchiveFacts,
) -> Result<Choice, RestoreError> {
    let target = request.target.to_string();
    let missing = archive.missing_between(&path, record.start_lsn, record.stop_lsn, 1);
    if let Some(segment) = missing.first().copied() {
        return Err(RestoreError::BackupWithoutWal { backup: record.id, segment });
    }
    let to = match &request.target {
        RecoveryTarget::Immediate => Some(record.stop_lsn),
        RecoveryTarget::Lsn(lsn, _) => Some(*lsn),
        _ => None,
    };
    let coverage = archive.coverage(&path, record.start_lsn, to);
    let mut warnings = Vec::new();
    if let Some(hole) = &coverage.hole {
        // Whether a time lies before the hole is known only when everything before it is older.
        let is_before = match &request.target {
            RecoveryTarget::Time(time, _) => coverage.end_time.is_some_and(|end| *time < end),
            RecoveryTarget::TransactionId(..) | RecoveryTarget::RestorePoint(_) => true,
            _ => false,
        };
        if !is_before {
            let reachable_time = coverage.end_time;
            return Err(RestoreError::Hole { target, hole: hole.clone(), reachable_time });
        }
        warnings.push(format!(
            "the archive has a hole from \"{}\" to \"{}\"; if the target lies behind it, recovery stops there with an error",
            hole.first, hole.last
        ));
    } else if let RecoveryTarget::Lsn(lsn, _) = &request.target
        && *lsn > coverage.end_lsn
    {
        return Err(RestoreError::TargetBehindArchive {
            target: *lsn,
            end: coverage.end_lsn,
            timeline: path.timeline(),
        });
    }
    warnings.extend(unknowns(&request.target, &coverage));
    Ok(Choice { record: record.clone(), path, coverage, warnings })
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
