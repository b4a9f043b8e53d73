//! The last commit of a path: the nearest point before a target that lies behind the end of the archive.

use super::choose::{self, Request};
use super::decision::Decider;
use super::error::RestoreError;
use super::proof::Prover;
use crate::error::{Classified, ErrorClass};
use crate::pg::{Lsn, RecoveryTargetTimeline, TimelineHistory, TimelineId};
use crate::wal_search::{CommitCount, Ending, WalSearch};

impl Decider<'_> {
    /// Adds it to the refusal of such a target. It is advice: where it cannot be read, the refusal says nothing of it.
    pub(super) fn with_last_commit(&self, mut error: RestoreError) -> RestoreError {
        let (RestoreError::TargetBehindArchive { end, timeline, last_commit, .. }
        | RestoreError::TimeBehindArchive { end, timeline, last_commit, .. }) = &mut error
        else {
            return error;
        };
        match self.last_commit_before(*end, *timeline) {
            Ok(found) => *last_commit = found.map(Box::new),
            Err(interrupted) if interrupted.class() == ErrorClass::Interrupted => return interrupted,
            Err(_) => {}
        }
        error
    }

    /// Reads from the end on backwards: the last segment, then twice as many, and so on to the beginning of the backup.
    fn last_commit_before(&self, end: Lsn, timeline: TimelineId) -> Result<Option<Ending>, RestoreError> {
        let request = Request { timeline: RecoveryTargetTimeline::Id(timeline), ..self.request.clone() };
        let way = choose::choose_way(&request, self.backups, self.facts)?;
        let (start, segment) = (way.record.start_lsn, self.facts.segment_size.bytes());
        let mut length = segment;
        loop {
            let from = end.get().saturating_sub(length);
            let from = Lsn::new(from - from % segment).map_or(start, |from| from.max(start));
            let found = self.prover.last_commit(&way.path, from, end)?;
            if found.is_some() || from == start {
                return Ok(found);
            }
            length = length.saturating_mul(2);
        }
    }
}

impl Prover<'_> {
    fn last_commit(&self, path: &TimelineHistory, from: Lsn, to: Lsn) -> Result<Option<Ending>, RestoreError> {
        let search = WalSearch::new(self.source, path, (from, to), self.facts.segment_size, self.threads)?;
        let found = search.run(|| CommitCount::new(from, None), self.reporter, self.cancel)?;
        Ok(found.search.last)
    }
}
