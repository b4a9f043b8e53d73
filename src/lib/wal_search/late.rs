//! A clock that was set back: commits that a time includes, behind the record at which recovery to that time stops.

use std::ops::Range;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{Ending, EndingKind, Search, WalSearch, WalSearchError, WalSource};
use crate::error::{Classified as _, ErrorClass};
use crate::pg::{Lsn, SegmentCandidates, TargetBound, TimelineHistory, WalRecord, WalSegmentSize};
use crate::report::{Cancel, Reporter};

/// How far apart the stamps of transactions that end at the same time may be: each is taken before its record is
/// written, and others come between.
const STAMP_TOLERANCE: SignedDuration = SignedDuration::from_secs(1);
/// LIMIT: bytes of WAL behind a stop at a time in which such commits are looked for: some seconds of reading.
pub(super) const LATE_BYTES_MAX: u64 = 1 << 30;
/// LIMIT: segments farther on whose headers are read, on a local disk in a second or so. Of more, every second one or
/// fewer.
const LOOKS_MAX: u64 = 20_000;

/// Commits behind the stop whose time the target includes, and which recovery does not get to. Those without a
/// transaction number changed no row and do not count.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LateCommits {
    /// How many.
    pub count: u64,
    /// The first one.
    pub first: Option<Ending>,
    /// The last one.
    pub last: Option<Ending>,
    #[serde(skip)]
    earliest: Option<Timestamp>,
}

impl LateCommits {
    /// Takes the next one.
    pub(crate) fn see(&mut self, ending: &Ending) {
        self.count += 1;
        self.first.get_or_insert_with(|| ending.clone());
        self.last = Some(ending.clone());
        self.earliest = Some(self.earliest.map_or(ending.time, |earliest| earliest.min(ending.time)));
    }

    /// Takes those that follow.
    pub(super) fn merge(&mut self, later: &Self) {
        self.count += later.count;
        self.first = self.first.take().or_else(|| later.first.clone());
        self.last = later.last.clone().or(self.last.take());
        self.earliest = self.earliest.into_iter().chain(later.earliest).min();
    }

    /// Whether the clock went back between the stop and one of them: stamps alone do not differ so much.
    pub(super) fn are_behind_a_step(&self, stop: &Ending) -> bool {
        self.earliest.is_some_and(|earliest| is_step_back(stop.time, earliest))
    }
}

/// The WAL farther behind a stop at a time than it is read.
///
/// No record is later than the moment at which its segment was archived, by the clock of the server's host. So a clock
/// that was set back far enough, for long enough, shows in the headers of segments, and those alone need be read.
pub struct FartherWal<'a> {
    /// Where it is read from.
    pub source: &'a dyn WalSource,
    /// Along which timelines.
    pub path: &'a TimelineHistory,
    /// The size of its segments.
    pub size: WalSegmentSize,
    /// In how many threads it is read.
    pub threads: usize,
}

impl FartherWal<'_> {
    /// The commits between two positions that the target includes, in segments that were archived by its time, and in
    /// those next to them; up to what is damaged or missing, which no recovery gets across.
    pub fn late_commits(
        &self,
        (from, to): (Lsn, Lsn),
        (time, bound): (Timestamp, TargetBound),
        reporter: &dyn Reporter,
        cancel: &Cancel,
    ) -> Result<LateCommits, WalSearchError> {
        let mut late = LateCommits::default();
        let mut room = LATE_BYTES_MAX;
        for Range { start, end } in self.archived_by(time, (from, to), LOOKS_MAX, cancel)? {
            if room == 0 {
                break;
            }
            let end = start.checked_add(room).map_or(end, |limit| limit.min(end));
            room -= end.distance_from(start).unwrap_or_default().min(room);
            let search = match WalSearch::new(self.source, self.path, (start, end), self.size, self.threads) {
                Err(error) if is_no_way_on(&error) => break,
                search => search?,
            };
            let new = || IncludedSearch { time, bound, included: LateCommits::default() };
            let (found, ended) = search.run_to_trouble(new, reporter, cancel);
            late.merge(&found.map(|found| found.search.included).unwrap_or_default());
            match ended {
                Err(error) if is_no_way_on(&error) => break,
                ended => ended?,
            }
        }
        Ok(late)
    }

    /// Where the segments lie that were archived by that time: whole ones, but for the beginning at `from`.
    fn archived_by(
        &self,
        time: Timestamp,
        (from, to): (Lsn, Lsn),
        looks_max: u64,
        cancel: &Cancel,
    ) -> Result<Vec<Range<Lsn>>, WalSearchError> {
        let size = self.size.bytes();
        let count = to.get().saturating_sub(from.get()).div_ceil(size);
        let step = count.div_ceil(looks_max).max(1);
        let mut found: Vec<Range<Lsn>> = Vec::new();
        let looked_at = self.path.segment_names(from, to, self.size);
        for candidates in looked_at.step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
            if cancel.is_cancelled() {
                return Err(WalSearchError::Cancelled);
            }
            let archived = match self.archived_at(&candidates) {
                Err(error) if is_no_way_on(&error) => break,
                archived => archived?,
            };
            if archived.is_none_or(|archived| archived > time) {
                continue;
            }
            // The neighbours that were not looked at, and the one in which the clock gets past the time again.
            let first = candidates.number.saturating_sub(step - 1).saturating_mul(size);
            let end = candidates.number.saturating_add(step + 1).saturating_mul(size);
            let start = Lsn::new(first).map_or(from, |first| first.max(from));
            let end = Lsn::new(end).map_or(to, |end| end.min(to));
            match found.last_mut().filter(|last| start <= last.end) {
                Some(last) => last.end = end,
                None => found.push(start..end),
            }
        }
        Ok(found)
    }

    fn archived_at(&self, candidates: &SegmentCandidates) -> Result<Option<Timestamp>, WalSearchError> {
        for name in &candidates.names {
            if let Some(archived) = self.source.archived_at(name)? {
                return Ok(Some(archived));
            }
        }
        Ok(None)
    }
}

/// Whether recovery ends there, whatever lies behind.
fn is_no_way_on(error: &WalSearchError) -> bool {
    matches!(error.class(), ErrorClass::Corrupt | ErrorClass::NotFound)
}

/// All commits whose time a target includes.
struct IncludedSearch {
    time: Timestamp,
    bound: TargetBound,
    included: LateCommits,
}

impl Search for IncludedSearch {
    fn see(&mut self, record: &WalRecord) {
        let Some(ending) = Ending::of(record) else { return };
        if ending.kind == EndingKind::Commit && ending.xid.is_some() && includes(self.time, self.bound, &ending) {
            self.included.see(&ending);
        }
    }

    fn merge(&mut self, later: Self) {
        self.included.merge(&later.included);
    }

    fn is_decided(&self) -> bool {
        false
    }
}

/// Whether a target at a time includes the end of a transaction, by PostgreSQL's rule.
pub(super) fn includes(time: Timestamp, bound: TargetBound, ending: &Ending) -> bool {
    match bound {
        TargetBound::Inclusive => ending.time <= time,
        TargetBound::Exclusive => ending.time < time,
    }
}

/// Whether a clock went back between two ends of transactions.
pub(super) fn is_step_back(from: Timestamp, to: Timestamp) -> bool {
    to.duration_until(from) > STAMP_TOLERANCE
}

#[cfg(test)]
#[path = "late_tests.rs"]
mod tests;
