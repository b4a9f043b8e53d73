//! A timeline whose WAL is archived and whose history is not: it cannot be followed, and must not be passed over.
//!
//! Where it left its parent is not known. It is taken to be in the first segment that is archived of it: segments are
//! archived in order, and the server begins a timeline with a copy of the segment in which it leaves the parent.

use super::choose::{Request, unknown_timeline};
use super::error::RestoreError;
use super::paths;
use super::proof::Proof;
use crate::pg::{Lsn, RecoveryTarget, RecoveryTargetTimeline, TimelineHistory, TimelineId};
use crate::repository::{ArchiveFacts, BackupRecord};

/// A timeline on which the target may lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unfollowed {
    pub(super) timeline: TimelineId,
    /// Where the first segment of it begins that is archived: what lies before is the same on its parent.
    pub(super) begins: Lsn,
}

impl Unfollowed {
    /// The one that begins first of those that are newer than the path, unless the person has named a timeline, or the target is known to lie
    /// before.
    pub(super) fn beside(
        path: &TimelineHistory,
        request: &Request,
        backups: &[BackupRecord],
        archive: &ArchiveFacts,
    ) -> Option<Self> {
        if request.timeline != RecoveryTargetTimeline::Latest || request.target == RecoveryTarget::Immediate {
            return None;
        }
        let unknown = archive.ranges.iter().filter(|(timeline, _)| archive.history(**timeline).is_none());
        let newer = unknown.filter(|(timeline, _)| **timeline > path.timeline()).filter_map(|(timeline, ranges)| {
            let begins = ranges.first()?.first.start_lsn(archive.segment_size)?;
            Some(Self { timeline: *timeline, begins })
        });
        let may_hold = |one: &Self| !paths::lies_before(&request.target, one.begins, path, backups);
        newer.filter(may_hold).min_by_key(|one| one.begins)
    }

    /// Whether the WAL that was read shows that the target lies before it.
    pub(super) fn begins_behind(&self, proof: &Proof) -> bool {
        proof.stop.as_ref().is_some_and(|stop| stop.span.lsn < self.begins)
    }

    /// The refusal.
    pub(super) fn refusal(&self, archive: &ArchiveFacts) -> RestoreError {
        unknown_timeline(self.timeline, archive)
    }
}

/// What to say of a target that the path does not have: it may lie on a timeline that cannot be followed.
pub(super) fn or_on_another(
    error: RestoreError,
    unfollowed: Option<Unfollowed>,
    archive: &ArchiveFacts,
) -> RestoreError {
    match (&error, unfollowed) {
        (
            RestoreError::TargetBehindArchive { .. }
            | RestoreError::TimeBehindArchive { .. }
            | RestoreError::TargetNotFound { .. },
            Some(unfollowed),
        ) => unfollowed.refusal(archive),
        _ => error,
    }
}
