//! Timelines that went on after the one that is restored had left them: what is lost with them.
//!
//! INVARIANT: nothing is said only where all of it was read and there is no commit in it.

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
}

impl LeftBehind {
    /// What to say of it, and of its commits where they were counted.
    pub(super) fn warning(&self, commits: Option<u64>) -> String {
        let Self { path, left_at, end } = self;
        let timeline = path.timeline();
        let with = match commits {
            None => String::new(),
            Some(1) => ", with 1 commit,".to_owned(),
            Some(count) => format!(", with {count} commits,"),
        };
        format!(
            "timeline {timeline} went on up to {end}{with} after it was left at {left_at}; that is not restored \
             (--target-timeline {timeline} would)"
        )
    }

    /// How many commits it has since; none when not all of it could be read.
    fn commits(
        &self,
        source: &dyn WalSource,
        size: WalSegmentSize,
        threads: usize,
        (reporter, cancel): (&dyn Reporter, &Cancel),
    ) -> Result<Option<u64>, RestoreError> {
        let Self { path, left_at, end } = self;
        let Some(from) = WalSegmentName::containing(path.timeline(), *left_at, size).start_lsn(size) else {
            return Ok(None);
        };
        let found = WalSearch::new(source, path, (from, *end), size, threads)
            .and_then(|search| search.run(|| CommitCount::new(*left_at, None), reporter, cancel));
        match found {
            Ok(found) if found.search.count > 0 || found.run.next_lsn >= *end => Ok(Some(found.search.count)),
            Ok(_) => Ok(None),
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
        let commits = match proving {
            Proving::Read { threads } => one.commits(source, size, threads, watching)?,
            Proving::Skip => None,
        };
        if commits != Some(0) {
            warnings.push(one.warning(commits));
        }
    }
    Ok(warnings)
}
