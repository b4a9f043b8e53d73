//! Which of several paths of timelines a target lies on, or that it cannot be told.
//!
//! INVARIANT: a path is chosen silently only when every other one leads to the same rows or cannot hold the target.

use jiff::{Span, Timestamp};

use super::error::RestoreError;
use super::left_behind::LeftBehind;
use super::refusal::Branch;
use crate::pg::{Lsn, RecoveryTarget, TargetBound, TimelineHistory, TimelineId, WalSegmentName};
use crate::repository::ArchiveFacts;
use crate::repository::BackupRecord;

/// How far the clocks of the server and of whoever archived may be apart before a time counts as out of reach.
const CLOCK_TOLERANCE_MINUTES: i64 = 5;

/// Whether a commit at that time cannot be in WAL that was archived by then.
pub(super) fn is_surely_later(time: Timestamp, archived: Timestamp) -> bool {
    archived.checked_add(Span::new().minutes(CLOCK_TOLERANCE_MINUTES)).is_ok_and(|latest| time > latest)
}

/// A path, and the backup on it that fits the target best.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fit<'a> {
    pub path: &'a TimelineHistory,
    pub record: &'a BackupRecord,
}

/// Where a path parts from others that could be meant: the target is said to lie before.
#[derive(Debug, Clone)]
pub(super) struct Parting {
    pub at: Lsn,
    pub branches: Vec<Branch>,
}

/// The one of `fits` (not empty, oldest timeline first) that the target can lie on, with what is left behind, and where it parts
/// from the others.
pub(super) fn the_one<'a>(
    target: &RecoveryTarget,
    mut fits: Vec<Fit<'a>>,
    candidates: &[&BackupRecord],
    backups: &[BackupRecord],
    archive: &ArchiveFacts,
) -> Result<(Fit<'a>, Vec<LeftBehind>, Option<Parting>), RestoreError> {
    let mut left_behind = Vec::new();
    if *target == RecoveryTarget::Latest {
        let all = fits.clone();
        fits = latest(&all, candidates);
        let kept: Vec<TimelineId> = fits.iter().map(|fit| fit.path.timeline()).collect();
        let left = all.iter().filter(|fit| !kept.contains(&fit.path.timeline()));
        left_behind.extend(left.filter_map(|fit| left_behind_by(fit.path, &fits, archive)));
    } else {
        let all = fits.clone();
        fits.retain(|fit| !all.iter().any(|other| holds_all_of(other.path, fit.path, archive)));
        let reaching: Vec<Fit<'_>> = fits.iter().copied().filter(|fit| may_reach(target, fit.path, archive)).collect();
        if !reaching.is_empty() {
            fits = reaching;
        }
    }
    let paths: Vec<&TimelineHistory> = fits.iter().map(|fit| fit.path).collect();
    let fork = first_fork(&paths);
    let is_told = fork.is_none_or(|fork| paths.iter().any(|path| lies_before(target, fork, path, backups)));
    let branches = paths.into_iter().map(|path| branch(path, archive)).collect();
    match fits.last() {
        Some(newest) if is_told => Ok((*newest, left_behind, fork.map(|at| Parting { at, branches }))),
        _ => Err(RestoreError::AmbiguousTimeline { target: target.to_string(), branches }),
    }
}

/// What may be meant by the latest: the timelines that no other one came from. What an old primary wrote after it was
/// replaced is not, unless the newest backup of all was taken there.
fn latest<'a>(fits: &[Fit<'a>], candidates: &[&BackupRecord]) -> Vec<Fit<'a>> {
    let is_parent = |timeline: TimelineId| fits.iter().any(|fit| fit.path.parents().any(|parent| parent == timeline));
    let newest = candidates.iter().max_by_key(|record| record.sequence).map(|record| record.id);
    let is_leaf = |fit: &Fit<'_>| !is_parent(fit.path.timeline());
    let newest_is_on_a_leaf = fits.iter().any(|fit| is_leaf(fit) && Some(fit.record.id) == newest);
    let kept = fits.iter().filter(|fit| is_leaf(fit) || (!newest_is_on_a_leaf && Some(fit.record.id) == newest));
    kept.copied().collect()
}

/// A timeline that went on after those that are kept had left it, or may have: its whole segment of the fork is archived.
fn left_behind_by(path: &TimelineHistory, kept: &[Fit<'_>], archive: &ArchiveFacts) -> Option<LeftBehind> {
    let timeline = path.timeline();
    let left_at = kept.iter().filter_map(|fit| fit.path.end_of(timeline)).max()?;
    let end = archive.end_of(timeline)?;
    let own_last = archive.last_segment(timeline)?;
    let left_in = WalSegmentName::containing(timeline, left_at, archive.segment_size);
    (own_last >= left_in).then(|| LeftBehind { path: path.clone(), left_at, end, is_sure: own_last > left_in })
}

/// Whether everything that the archive has of `part` also lies on `whole`, a path through it.
fn holds_all_of(whole: &TimelineHistory, part: &TimelineHistory, archive: &ArchiveFacts) -> bool {
    let Some(left_at) = whole.end_of(part.timeline()) else { return false };
    // The whole segment in which it was left is archived only when the old timeline went on in it.
    archive
        .last_segment(part.timeline())
        .is_none_or(|last| last < WalSegmentName::containing(part.timeline(), left_at, archive.segment_size))
}

/// Whether a path can hold the target, as far as that is known without reading WAL.
fn may_reach(target: &RecoveryTarget, path: &TimelineHistory, archive: &ArchiveFacts) -> bool {
    match target {
        RecoveryTarget::Lsn(lsn, _) => archive.end_along(path).is_some_and(|end| *lsn < end),
        RecoveryTarget::Time(time, _) => archive.end_time_along(path).is_none_or(|end| !is_surely_later(*time, end)),
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
pub(super) fn parting(one: &TimelineHistory, other: &TimelineHistory) -> Option<Lsn> {
    let all = |path: &TimelineHistory| path.parents().chain([path.timeline()]).collect::<Vec<_>>();
    let theirs = all(other);
    let common = all(one).into_iter().rfind(|timeline| theirs.contains(timeline))?;
    one.end_of(common).into_iter().chain(other.end_of(common)).min()
}

/// Whether the target is known to lie before that position of a path.
pub(super) fn lies_before(
    target: &RecoveryTarget,
    position: Lsn,
    path: &TimelineHistory,
    backups: &[BackupRecord],
) -> bool {
    match target {
        // The record at the position itself belongs to an inclusive target, and is another one on each path.
        RecoveryTarget::Lsn(lsn, TargetBound::Inclusive) => *lsn < position,
        RecoveryTarget::Lsn(lsn, TargetBound::Exclusive) => *lsn <= position,
        // A backup that ended before the position and after the time proves that the position is later.
        RecoveryTarget::Time(time, _) => backups.iter().any(|record| {
            record.stop_lsn <= position
                && record.stop_time > *time
                && path.contains_end(record.stop_timeline, record.stop_lsn)
        }),
        _ => false,
    }
}

/// Whether the target is known to need no WAL of the path's last timeline.
pub(super) fn lies_before_its_own_wal(
    target: &RecoveryTarget,
    path: &TimelineHistory,
    backups: &[BackupRecord],
) -> bool {
    let fork = path.parents().next_back().and_then(|parent| path.end_of(parent));
    *target == RecoveryTarget::Immediate || fork.is_none_or(|fork| lies_before(target, fork, path, backups))
}

fn branch(path: &TimelineHistory, archive: &ArchiveFacts) -> Branch {
    let parent = path.parents().next_back();
    Branch {
        timeline: path.timeline(),
        forked_at: parent.and_then(|parent| path.end_of(parent)),
        end_lsn: archive.end_along(path),
        end_time: archive.end_time_along(path),
    }
}
