//! What there is instead of a target that is refused: on its own path, and on every other timeline.

use super::choose::{self, Request};
use super::decision::Decider;
use super::error::RestoreError;
use super::proof::{Proof, Prover};
use super::refusal::{Elsewhere, Nearby, Nearest};
use crate::error::{Classified, ErrorClass};
use crate::pg::{Lsn, RecoveryTargetTimeline, TimelineHistory, TimelineId};
use crate::repository::BackupId;
use crate::wal_search::{CommitCount, Ending, WalSearch};

impl Decider<'_> {
    /// Adds to a refusal where the target lies if it lies on another timeline, and what is nearer there than on its own.
    /// Those in `read` were looked at before.
    pub(super) fn with_neighbours(&self, mut error: RestoreError, read: &[TimelineId]) -> RestoreError {
        let Some((own, _)) = nearby_of(&mut error) else { return error };
        let is_other = |timeline: &TimelineId| *timeline != own && !read.contains(timeline);
        for timeline in self.facts.timelines().into_iter().filter(is_other) {
            let other = match self.on_timeline(timeline) {
                Ok((_, Proof { stop: Some(stop), .. })) => {
                    let lsn = stop.span.lsn;
                    Nearby { elsewhere: Some(Elsewhere { timeline, lsn }), ..Nearby::default() }
                }
                Err(interrupted) if interrupted.class() == ErrorClass::Interrupted => return interrupted,
                // It is advice: a timeline that cannot be read has no say.
                Err(mut refused) => match nearby_of(&mut refused) {
                    Some((_, nearby)) => std::mem::take(nearby),
                    None => continue,
                },
                Ok(_) => continue,
            };
            let is_there = other.elsewhere.is_some();
            self.add(&mut error, other);
            if is_there {
                break;
            }
        }
        error
    }

    /// The later of two refusals of the same target, with what is near it on either path.
    pub(super) fn joined(&self, mut earlier: RestoreError, mut later: RestoreError) -> RestoreError {
        if let Some((_, nearby)) = nearby_of(&mut earlier) {
            self.add(&mut later, std::mem::take(nearby));
        }
        later
    }

    fn add(&self, error: &mut RestoreError, other: Nearby) {
        if let Some((_, nearby)) = nearby_of(error) {
            nearby.elsewhere = nearby.elsewhere.or(other.elsewhere);
            nearby.add(&self.request.target, other);
        }
    }

    /// Adds to the refusal of a target behind the archive the last commit of its path. It is advice: where it cannot be
    /// read, the refusal says nothing of it.
    pub(super) fn with_last_commit(&self, mut error: RestoreError) -> RestoreError {
        let (RestoreError::TargetBehindArchive { end, timeline, nearby, .. }
        | RestoreError::TimeBehindArchive { end, timeline, nearby, .. }) = &mut error
        else {
            return error;
        };
        match self.last_commit_before(*end, *timeline) {
            Ok((backup, found)) => {
                nearby.backup = Some(backup);
                nearby.before = found.map(|ending| Nearest { ending, timeline: *timeline });
            }
            Err(interrupted) if interrupted.class() == ErrorClass::Interrupted => return interrupted,
            Err(_) => {}
        }
        error
    }

    /// Reads from the end on backwards: the last segment, then twice as many, and so on to the beginning of the backup.
    fn last_commit_before(&self, end: Lsn, timeline: TimelineId) -> Result<(BackupId, Option<Ending>), RestoreError> {
        let request = Request { timeline: RecoveryTargetTimeline::Id(timeline), ..self.request.clone() };
        let way = choose::choose_way(&request, self.backups, self.facts)?;
        let (start, segment) = (way.record.start_lsn, self.facts.segment_size.bytes());
        let mut length = segment;
        loop {
            let from = end.get().saturating_sub(length);
            let from = Lsn::new(from - from % segment).map_or(start, |from| from.max(start));
            let found = self.prover.last_commit(&way.path, from, end)?;
            if found.is_some() || from == start {
                return Ok((way.record.id, found));
            }
            length = length.saturating_mul(2);
        }
    }
}

/// The timeline along which a target was looked for, and what there is instead.
fn nearby_of(error: &mut RestoreError) -> Option<(TimelineId, &mut Nearby)> {
    match error {
        RestoreError::TargetNotFound { not_found, .. } => Some((not_found.timeline, &mut not_found.nearby)),
        RestoreError::TargetBehindArchive { timeline, nearby, .. }
        | RestoreError::TimeBehindArchive { timeline, nearby, .. } => Some((*timeline, nearby)),
        _ => None,
    }
}

impl Prover<'_> {
    fn last_commit(&self, path: &TimelineHistory, from: Lsn, to: Lsn) -> Result<Option<Ending>, RestoreError> {
        let search = WalSearch::new(self.source, path, (from, to), self.facts.segment_size, self.threads)?;
        let found = search.run(|| CommitCount::new(from, None), self.reporter, self.cancel)?;
        Ok(found.search.last)
    }
}
