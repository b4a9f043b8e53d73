//! Timelines that went on after the one that is restored had left them: what is lost with them.
//!
//! INVARIANT: of WAL that is read nothing is said only where all of it was read and there is no commit in it.

use super::decision::Proving;
use super::error::RestoreError;
use crate::error::{Classified as _, ErrorClass};
use crate::pg::{Lsn, TimelineHistory, WalSegmentName, WalSegmentSize};
use crate::report::{Cancel, Reporter};
use crate::wal_search::{CommitCount, WalSearch, WalSource};

/// A timeline that went on after another one had left it.
#[derive(Debug, Clone)]
pub(super) struct LeftBehind {
    pub(super) path: TimelineHistory,
    /// Where it was left.
    pub(super) left_at: Lsn,
    /// Where it ends in the archive.
    pub(super) end: Lsn,
    /// Whether it surely went on. The segment in which it was left may have been filled by a record that was never
    /// complete.
    pub(super) is_sure: bool,
}

impl LeftBehind {
    /// What to say of it, and of its commits where they were counted.
    pub(super) fn warning(&self, commits: Option<u64>) -> String {
        let Self { path, left_at, end, is_sure } = self;
        let timeline = path.timeline();
        let went_on = if *is_sure || commits.is_some() { "went on" } else { "may have gone on" };
        let with = match commits {
            None => String::new(),
            Some(1) => ", with 1 commit,".to_owned(),
            Some(count) => format!(", with {count} commits,"),
        };
        format!(
            "timeline {timeline} {went_on} up to {end}{with} after it was left at {left_at}; that is not restored \
             (--target-timeline {timeline} would)"
        )
    }

    /// What to say of it where its WAL is not read.
    pub(super) fn unread_warning(&self) -> Option<String> {
        self.is_sure.then(|| self.warning(None))
    }

    /// How many commits it has since; none when not all of it could be read.
    fn commits(
        &self,
        source: &dyn WalSource,
        size: WalSegmentSize,
        threads: usize,
        (reporter, cancel): (&dyn Reporter, &Cancel),
    ) -> Result<Option<u64>, RestoreError> {
        let Self { path, left_at, end, .. } = self;
        let Some(from) = WalSegmentName::containing(path.timeline(), *left_at, size).start_lsn(size) else {
            return Ok(None);
        };
        let found = WalSearch::new(source, path, (from, *end), size, threads)
            .and_then(|search| search.run(|| CommitCount::new(*left_at, None), reporter, cancel));
        match found {
            // To the end of the log: a record that is not complete there is no commit.
            Ok(found) => Ok(Some(found.search.count)),
            Err(error) if error.class() == ErrorClass::Interrupted => Err(error.into()),
            // It is not needed, so that it cannot be read keeps nobody from restoring.
            Err(_) => Ok(None),
        }
    }
}

/// What to say of timelines that were left behind: nothing of one that has no commit since.
pub(super) fn left_behind_warnings(
    left: &[LeftBehind],
    proving: Proving,
    (source, size): (&dyn WalSource, WalSegmentSize),
    watching: (&dyn Reporter, &Cancel),
) -> Result<Vec<String>, RestoreError> {
    let mut warnings = Vec::new();
    for one in left {
        warnings.extend(match proving {
            Proving::Read { threads } => match one.commits(source, size, threads, watching)? {
                Some(0) => None,
                commits => Some(one.warning(commits)),
            },
            Proving::Skip => one.unread_warning(),
        });
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use super::*;
    use crate::pg::{TimelineId, WalSegmentHeader};
    use crate::report::SilentReporter;
    use crate::wal_search::{SegmentSink, SegmentStanding, WalSearchError};

    /// Segments of a first timeline, in memory.
    struct Held(BTreeMap<WalSegmentName, Vec<u8>>);

    impl WalSource for Held {
        fn read(&self, name: &WalSegmentName, sink: &mut SegmentSink<'_>) -> Result<bool, WalSearchError> {
            Ok(self.0.get(name).map(|bytes| sink(bytes)).is_some())
        }

        fn standing(&self, _: &WalSegmentName) -> SegmentStanding {
            SegmentStanding::Archived
        }

        fn archived_at(&self, _: &WalSegmentName) -> Result<Option<jiff::Timestamp>, WalSearchError> {
            Ok(None)
        }
    }

    /// What a server archived before it died in the middle of a record: there is nothing behind the fork but that.
    #[test]
    fn a_record_that_is_not_complete_is_no_commit() {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/postgres-15/wal");
        let mut held = Held(BTreeMap::new());
        for number in 7..=11 {
            let name = WalSegmentName::parse(&format!("{:024X}", (1_u128 << 64) + number)).unwrap();
            let file = std::fs::File::open(folder.join(format!("{name}.zst"))).unwrap();
            held.0.insert(name, zstd::decode_all(file).unwrap());
        }
        let size = WalSegmentHeader::decode(held.0.values().next().unwrap()).unwrap().segment_size;
        let (path, watching) = (TimelineHistory::first(), (&SilentReporter as &dyn Reporter, &Cancel::new()));
        let (mut filled, mut with_commits) = (0, 0);
        while let Some((last, _)) = held.0.last_key_value() {
            let (from, end) = (last.start_lsn(size).unwrap(), last.end_lsn(size).unwrap());
            assert_eq!(last.timeline(), TimelineId::FIRST);
            let read = WalSearch::new(&held, &path, (from, end), size, 1).unwrap();
            let run = read.run(|| CommitCount::new(from, None), watching.0, watching.1).unwrap().run;
            let left = |left_at| LeftBehind { path: path.clone(), left_at, end, is_sure: false };
            let commits = |left_at| left(left_at).commits(&held, size, 1, watching).unwrap();
            if run.records > 0 && run.next_lsn < end {
                filled += 1;
                assert_eq!(commits(run.next_lsn), Some(0), "{last}");
                with_commits += commits(run.first_lsn.unwrap()).unwrap();
            }
            held.0.pop_last();
        }
        assert!(filled > 0 && with_commits > 0, "{filled} {with_commits}");
    }
}
