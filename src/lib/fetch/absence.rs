//! Whether a file that the archive does not have was never there: only then may recovery end.
//!
//! PostgreSQL archives the segments of a timeline in order and a timeline's history before its segments, so a file is
//! missing, not absent, when one that can only come after it is there, or when a listed backup is known to have had it.
//! Where the WAL of the newest backup itself is gone, other WAL is gone too, and nothing is proven of any file.

use std::time::Duration;

use super::FetchError;
use crate::clock::Clock;
use crate::pg::{TimelineHistory, TimelineId, WalFileName, WalSegmentName, WalSegmentSize};
use crate::repository::{LostWal, RepositoryError, WalArchive};

/// The archiver's deadline, and room for clocks that differ: what is younger may have overtaken what is missing.
const IN_FLIGHT: Duration = Duration::from_secs(60);

/// Why the archive has no file of that name: absent, or a hole.
pub(super) fn why_missing(
    archive: &WalArchive<'_>,
    store: &str,
    name: &WalFileName,
    segment_size: WalSegmentSize,
    clock: &dyn Clock,
) -> FetchError {
    if *name == WalFileName::TimelineHistory(TimelineId::FIRST) {
        // PostgreSQL asks for it at a promotion, and nothing ever wrote it.
        let (cluster, store) = (archive.cluster().clone(), store.to_owned());
        return FetchError::Absent { name: *name, cluster, store };
    }
    let question = Question { archive, store, name: *name, segment_size, clock };
    question.answer().unwrap_or_else(|error| error)
}

struct Question<'a> {
    archive: &'a WalArchive<'a>,
    store: &'a str,
    name: WalFileName,
    segment_size: WalSegmentSize,
    clock: &'a dyn Clock,
}

impl Question<'_> {
    fn answer(&self) -> Result<FetchError, FetchError> {
        let (name, store) = (self.name, self.store.to_owned());
        let successors = self.successors()?;
        let Some(first) = successors.first().copied() else {
            let segment = name.segment().filter(|_| matches!(name, WalFileName::Segment(_)));
            let lost = self.archive.lost_wal(segment.as_ref(), self.segment_size);
            match lost.map_err(|source| self.failed(source))? {
                Some(LostWal::BehindBackup(backup)) => {
                    return Ok(FetchError::LostBehindBackup { name, backup, store });
                }
                Some(LostWal::OfNewestBackup(backup, lost)) => {
                    return Ok(FetchError::WalOfBackupLost { name, backup, lost, store });
                }
                None => {}
            }
            let cluster = self.archive.cluster().clone();
            return Ok(FetchError::Absent { name, cluster, store });
        };
        // ORDER: looked for again after its successor was seen, it must be there unless it is a hole.
        if self.archive.look_up(&name).map_err(|source| self.failed(source))?.is_some() {
            return Ok(FetchError::InFlight { name, next: first, store });
        }
        for next in successors {
            let stored_at = self.archive.stored_at(&next).map_err(|source| self.failed(source))?;
            let age = self.clock.now().duration_since(stored_at);
            if Duration::try_from(age).is_ok_and(|age| age >= IN_FLIGHT) {
                return Ok(FetchError::Hole { name, next, store });
            }
        }
        Ok(FetchError::InFlight { name, next: first, store })
    }

    /// Stored files that can only have been archived after this one.
    fn successors(&self) -> Result<Vec<WalFileName>, FetchError> {
        match self.name {
            WalFileName::Segment(segment) => {
                let mut successors = self.descendants(segment.timeline(), |history| {
                    // What a descendant went through before it forked was archived; the segment of the fork need not be.
                    let left_at = history.end_of(segment.timeline());
                    let end = segment.end_lsn(self.segment_size);
                    left_at.zip(end).is_some_and(|(left_at, end)| end <= left_at)
                })?;
                successors.extend(self.next_segment(&segment)?);
                Ok(successors)
            }
            WalFileName::TimelineHistory(timeline) => {
                let mut successors = self.descendants(timeline, |_| true)?;
                let start = WalSegmentName::from_number(timeline, 0, self.segment_size);
                if let Some(start) = start {
                    successors.extend(self.next_segment(&start)?);
                }
                Ok(successors)
            }
            WalFileName::Partial(_) | WalFileName::BackupHistory { .. } => Ok(Vec::new()),
        }
    }

    fn next_segment(&self, segment: &WalSegmentName) -> Result<Option<WalFileName>, FetchError> {
        let next = self.archive.next_stored(segment).map_err(|source| self.failed(source))?;
        Ok(next.map(WalFileName::Segment))
    }

    /// The histories that name `timeline` as an ancestor, as far as they are wanted.
    fn descendants(
        &self,
        timeline: TimelineId,
        is_wanted: impl Fn(&TimelineHistory) -> bool,
    ) -> Result<Vec<WalFileName>, FetchError> {
        let histories = self.archive.histories().map_err(|source| self.failed(source))?;
        let mut descendants = Vec::new();
        for later in histories.into_iter().filter(|later| *later > timeline) {
            let (name, store) = (WalFileName::TimelineHistory(later), self.store.to_owned());
            let text = self.archive.load_text(&name).map_err(|source| self.failed(source))?;
            let Some(text) = text else { return Err(FetchError::Vanished { name, store }) };
            let history =
                TimelineHistory::decode(later, &text).map_err(|source| FetchError::History { name, store, source })?;
            if history.parents().any(|parent| parent == timeline) && is_wanted(&history) {
                descendants.push(name);
            }
        }
        Ok(descendants)
    }

    fn failed(&self, source: RepositoryError) -> FetchError {
        FetchError::Repository { name: self.name, source }
    }
}
