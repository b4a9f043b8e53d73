//! What a promotion left in the archive: the last segment of the old timeline, named `.partial`.
//!
//! No recovery asks for such a file, and mostly none needs it: the first segment of the new timeline begins with a copy
//! of what is in it. When that one was never archived, the commits in it are nowhere else.

use jiff::Timestamp;

use super::super::error::RestoreError;
use super::OldWalError;
use super::unarchived::Unarchived;
use crate::error::{Classified as _, ErrorClass, chain};
use crate::pg::{Lsn, WalFileName, WalSegmentName};
use crate::repository::{ArchiveFacts, WalArchive};
use crate::wal_search::{
    ArchivedSegments, CommitCount, SegmentSink, SegmentStanding, WalSearch, WalSearchError, WalSource,
};

/// The archive, with the partial segment under its full name.
struct WithPartial<'a> {
    archive: ArchivedSegments<'a>,
    partial: WalSegmentName,
}

impl WalSource for WithPartial<'_> {
    fn read(&self, name: &WalSegmentName, sink: &mut SegmentSink<'_>) -> Result<bool, WalSearchError> {
        match *name == self.partial {
            true => self.archive.read_file(&WalFileName::Partial(*name), sink),
            false => self.archive.read(name, sink),
        }
    }

    fn standing(&self, segment: &WalSegmentName) -> SegmentStanding {
        if *segment == self.partial { SegmentStanding::LastLeft } else { self.archive.standing(segment) }
    }

    fn archived_at(&self, segment: &WalSegmentName) -> Result<Option<Timestamp>, WalSearchError> {
        self.archive.archived_at(segment)
    }
}

impl Unarchived<'_> {
    /// Refuses to leave out the commits of a partial segment right behind the end of the archive, or says so. Recovery to
    /// another target than the latest has proven that it is reached without them.
    pub(super) fn check_partial(&self) -> Result<Option<String>, RestoreError> {
        if !self.is_latest {
            return Ok(None);
        }
        let (archive, end) = (WalArchive::new(self.repository, &self.decision.selected.cluster), self.end());
        let Some(partial) = self.partial_at(&archive, end)? else { return Ok(None) };
        let refusal = match self.commits_in(archive, partial, end) {
            Ok(CommitCount { last: None, .. }) => return Ok(None),
            Ok(CommitCount { count, last: Some(last), .. }) => {
                OldWalError::InPartial { partial, commits: count, last: Box::new(last), archived_end: end }
            }
            Err(error) if error.class() == ErrorClass::Interrupted => return Err(error),
            Err(source) => OldWalError::PartialUnjudged { partial, source: Box::new(source) },
        };
        match (self.archive_only, is_copied(partial, &self.decision.facts)) {
            (true, _) => Ok(Some(format!("{}; it is left out, as --archive-only says", chain(&refusal)))),
            (false, true) => {
                Ok(Some(format!("{}; a later timeline, which is not meant, has it, too", chain(&refusal))))
            }
            (false, false) => Err(refusal.into()),
        }
    }

    /// Where the WAL ends that is there, and what was named with it.
    fn end(&self) -> Lsn {
        let choice = &self.decision.choice;
        self.decision.facts.coverage(&choice.path, choice.record.start_lsn, None).end_lsn
    }

    /// The partial segment that begins or goes on where the others end.
    fn partial_at(&self, archive: &WalArchive<'_>, end: Lsn) -> Result<Option<WalSegmentName>, RestoreError> {
        let (path, facts) = (&self.decision.choice.path, &self.decision.facts);
        let Some(behind) = end.checked_add(1) else { return Ok(None) };
        for name in path.segment_names(end, behind, facts.segment_size).flat_map(|candidates| candidates.names) {
            if archive.has(&WalFileName::Partial(name))? {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    fn commits_in(
        &self,
        archive: WalArchive<'_>,
        partial: WalSegmentName,
        end: Lsn,
    ) -> Result<CommitCount, RestoreError> {
        let (choice, size) = (&self.decision.choice, self.decision.facts.segment_size);
        let start = choice.record.start_lsn;
        // The record that crosses the end is read from its beginning.
        let last = self.decision.facts.coverage(&choice.path, start, None).last;
        let from = last.and_then(|last| last.start_lsn(size)).map_or(start, |last| last.max(start));
        let to = partial.end_lsn(size).unwrap_or(end);
        let source = WithPartial { archive: ArchivedSegments(archive), partial };
        let search = WalSearch::new(&source, &choice.path, (from, to), size, self.threads)?;
        let read = search.run(|| CommitCount::new(end, None), self.reporter, self.cancel)?;
        Ok(read.search)
    }
}

/// Whether a timeline that left this one inside that segment has it, beginning with a copy: then the commits were left
/// out by who named another timeline.
fn is_copied(partial: WalSegmentName, facts: &ArchiveFacts) -> bool {
    let size = facts.segment_size;
    let (Some(number), Some(start), Some(end)) = (partial.number(size), partial.start_lsn(size), partial.end_lsn(size))
    else {
        return false;
    };
    facts.ranges.keys().filter(|timeline| **timeline > partial.timeline()).any(|timeline| {
        let left_at = facts.history(*timeline).and_then(|path| path.end_of(partial.timeline()));
        left_at.is_some_and(|left_at| start < left_at && left_at <= end)
            && WalSegmentName::from_number(*timeline, number, size).is_some_and(|name| facts.contains(&name))
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{archive, size, tli};
    use super::*;

    /// Timeline 1 was promoted to 3 in segment 5, of which the archive may have nothing of timeline 3 yet.
    #[test]
    fn only_the_timeline_that_came_from_it_in_that_segment_has_a_copy() {
        let partial = WalSegmentName::from_number(tli(1), 5, size()).unwrap();
        let on_one = (1, 1, 4, "2026-11-20T10:00:00Z");
        let on = |timeline, first| (timeline, first, 9, "2026-11-20T12:00:00Z");
        let inside = (3, "1\t0/5800000\tx\n");
        // Each as the timelines with where they left timeline 1, and whether one has a copy.
        let rows: &[(&str, &[_], &[_], bool)] = &[
            ("promoted inside", &[on_one, on(3, 5)], &[inside], true),
            ("not archived yet", &[on_one, on(3, 6)], &[inside], false),
            ("left long before", &[on_one, on(2, 3)], &[(2, "1\t0/3800000\tx\n"), inside], false),
            ("left at its beginning", &[on_one, on(2, 5)], &[(2, "1\t0/5000000\tx\n")], false),
            ("left at its end", &[on_one, on(2, 5)], &[(2, "1\t0/6000000\tx\n")], true),
            ("left behind it", &[on_one, on(2, 5)], &[(2, "1\t0/6000001\tx\n")], false),
            ("promoted twice inside", &[on_one, on(4, 5)], &[(4, "1\t0/5800000\tx\n3\t0/5900000\tx\n")], true),
            ("from another one", &[on_one, on(4, 5)], &[(4, "1\t0/3800000\tx\n2\t0/5900000\tx\n")], false),
            ("without history", &[on_one, on(3, 5)], &[], false),
        ];
        for (what, ranges, histories, expected) in rows {
            assert_eq!(is_copied(partial, &archive(ranges, histories)), *expected, "{what}");
        }
    }
}
