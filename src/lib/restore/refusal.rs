//! What a refusal tells besides its reason: the nearest that there is instead, and its words.

use jiff::Timestamp;

use crate::pg::{Lsn, RecoveryTarget, TimelineId, WalSegmentName};
use crate::repository::BackupId;
use crate::repository::WalHole;
use crate::wal_search::{Ending, RestorePoint, StopSearch, compared_xid, keep_most_alike};

/// LIMIT: restore points that are kept to be shown.
const RESTORE_POINTS_MAX: usize = 20;

/// A branch of timelines that can be followed, for messages.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Branch {
    /// The timeline at its end.
    pub timeline: TimelineId,
    /// Where it left its parent, if it has one.
    pub forked_at: Option<Lsn>,
    /// Where the archive of it ends.
    pub end_lsn: Option<Lsn>,
    /// When its last segment was archived: no record of it is later.
    pub end_time: Option<Timestamp>,
}

/// A target that the WAL which was read does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotFound {
    /// The timeline of the path that was read.
    pub timeline: TimelineId,
    /// Where reading began.
    pub from: Lsn,
    /// Where the WAL ends.
    pub to: Lsn,
    /// What there is instead.
    pub nearby: Nearby,
}

/// What there is instead of a target, on whichever timeline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nearby {
    /// Where the target lies on another timeline.
    pub elsewhere: Option<Elsewhere>,
    /// The nearest transaction before the target.
    pub before: Option<Nearest>,
    /// The nearest one behind it.
    pub after: Option<Nearest>,
    /// The last restore points, when one was the target, in the order of their times.
    pub restore_points: Vec<NearbyPoint>,
    /// Those whose names differ little from the one that was asked for, the most alike first.
    pub alike: Vec<NearbyPoint>,
    /// The backup from which the target was looked for: its end is a point, too.
    pub backup: Option<BackupId>,
}

/// The nearest transaction on one side of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nearest {
    /// The transaction.
    pub ending: Ending,
    /// The timeline at the end of the path on which it was found.
    pub timeline: TimelineId,
}

/// A restore point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NearbyPoint {
    /// The restore point.
    pub point: RestorePoint,
    /// The timeline at the end of the path on which it was found.
    pub timeline: TimelineId,
}

impl Nearby {
    /// What a search along the path of `timeline` has found instead of `target`.
    pub(super) fn of(target: &RecoveryTarget, timeline: TimelineId, backup: BackupId, search: StopSearch) -> Self {
        let is_named = matches!(target, RecoveryTarget::RestorePoint(_));
        let (before, after) = match target {
            RecoveryTarget::TransactionId(..) => (search.nearest.below, search.nearest.above),
            // A name has no place before it is found.
            RecoveryTarget::RestorePoint(_) => (None, None),
            _ => (search.commit_before, None),
        };
        let nearest = |ending: Option<Ending>| ending.map(|ending| Nearest { ending, timeline });
        let points = |points: Vec<RestorePoint>| {
            points.into_iter().filter(|_| is_named).map(|point| NearbyPoint { point, timeline }).collect()
        };
        Self {
            elsewhere: None,
            before: nearest(before),
            after: nearest(after),
            restore_points: points(search.restore_points),
            alike: points(search.alike),
            backup: Some(backup),
        }
    }

    /// Takes what is nearer in another part of the log.
    pub(super) fn add(&mut self, target: &RecoveryTarget, other: Self) {
        for (own, other) in [(&mut self.before, other.before), (&mut self.after, other.after)] {
            let Some(other) = other else { continue };
            if own.as_ref().is_none_or(|own| distance(target, &other) < distance(target, own)) {
                *own = Some(other);
            }
        }
        take_new(&mut self.restore_points, other.restore_points);
        self.restore_points.sort_by_key(|one| one.point.time);
        let surplus = self.restore_points.len().saturating_sub(RESTORE_POINTS_MAX);
        self.restore_points.drain(..surplus);
        take_new(&mut self.alike, other.alike);
        keep_most_alike(target, &mut self.alike, |one| &one.point);
    }
}

/// How far a transaction is away, on its side of the target.
fn distance(target: &RecoveryTarget, nearest: &Nearest) -> u128 {
    let ending = &nearest.ending;
    match (target, ending.xid) {
        (RecoveryTarget::TransactionId(target, _), Some(xid)) => {
            let between = compared_xid(*target).wrapping_sub(xid);
            u128::from(between.min(between.wrapping_neg()))
        }
        (RecoveryTarget::Time(time, _), _) => time.as_nanosecond().abs_diff(ending.time.as_nanosecond()),
        (RecoveryTarget::Lsn(lsn, _), _) => u128::from(lsn.get().abs_diff(ending.span.lsn.get())),
        _ => u128::MAX,
    }
}

/// A record before a fork lies on several paths, and where backups overlap it was read twice.
fn take_new(own: &mut Vec<NearbyPoint>, other: Vec<NearbyPoint>) {
    for one in other {
        let is_same =
            |known: &NearbyPoint| known.point.span == one.point.span && known.point.timeline == one.point.timeline;
        if !own.iter().any(is_same) {
            own.push(one);
        }
    }
}

/// A point on another timeline than the one that was followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elsewhere {
    /// The timeline to follow.
    pub timeline: TimelineId,
    /// Where the record lies.
    pub lsn: Lsn,
}

pub(super) fn describe_backup(id: &BackupId, was_named: bool, stop_time: Timestamp, stop_lsn: Lsn) -> String {
    let which = if was_named { "" } else { "the earliest backup, " };
    format!("{which}{id}, at {} ({stop_lsn})", time_text(stop_time))
}

pub(super) fn describe_elsewhere(elsewhere: Option<&Elsewhere>) -> String {
    elsewhere.map(|found| format!("; it is on timeline {}, at {}", found.timeline, found.lsn)).unwrap_or_default()
}

pub(super) fn describe_missing(backup: Option<&BackupId>) -> String {
    backup.map_or_else(|| "no backup lies".to_owned(), |id| format!("backup {id} does not lie"))
}

pub(super) fn describe_timeline(
    timeline: TimelineId,
    problem: Option<&str>,
    wal: Option<&(WalSegmentName, WalSegmentName)>,
) -> String {
    match (problem, wal) {
        (Some(problem), _) => format!("the history of timeline {timeline} cannot be read: {problem}"),
        (None, Some((first, last))) => format!(
            "timeline {timeline} cannot be followed: the archive has its WAL, \"{first}\" to \"{last}\", and lacks its \
             history"
        ),
        (None, None) => format!("timeline {timeline} is not in the archive"),
    }
}

pub(super) fn describe_hole(hole: &WalHole) -> String {
    match hole.count {
        1 => format!("WAL segment \"{}\" is missing", hole.first),
        count => format!("{count} WAL segments from \"{}\" to \"{}\" are missing", hole.first, hole.last),
    }
}

/// As PostgreSQL writes and reads it.
pub(super) fn time_text(time: Timestamp) -> String {
    crate::pg::format_target_time(time)
}

pub(super) fn describe_branches(branches: &[Branch]) -> String {
    let one = |branch: &Branch| {
        let forked = branch.forked_at.map(|lsn| format!(" from {lsn} on")).unwrap_or_default();
        let until = branch.end_lsn.map(|lsn| format!(" up to {lsn}")).unwrap_or_default();
        let time = branch.end_time.map(|time| format!(" (archived {})", time_text(time))).unwrap_or_default();
        format!("timeline {}{forked}{until}{time}", branch.timeline)
    };
    branches.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// What helps where a directory cannot be restored into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WayOut {
    /// Nothing that pgv could do.
    None,
    /// Renaming it, or updating it.
    MoveAside,
    /// Another place for the tablespace.
    OtherPlace,
    /// The same, or removing the link of the data directory whose tablespace it is.
    OtherPlaceOrLink,
}
