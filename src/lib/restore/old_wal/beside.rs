//! On which paths, beside the one that a restore follows, commits count that the archive lacks.

use std::collections::BTreeSet;

use super::super::choose::is_on;
use crate::pg::{TimelineHistory, TimelineId};
use crate::repository::{ArchiveFacts, BackupRecord};

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WhichPaths {
    /// Every one: its WAL is removed.
    All,
    /// Those that may be meant by the latest: neither person nor backup has ruled them out, as they lead through the backup
    /// that was chosen, and nothing that is known came from them. What an old primary wrote after it was replaced is not.
    Meant,
}

/// The paths of the timelines `own`, of which there is WAL that the archive lacks, beside the one that is followed. `facts`
/// are those of archive and folder together.
pub(super) fn paths_beside(
    (followed, record): (&TimelineHistory, &BackupRecord),
    own: &BTreeSet<TimelineId>,
    facts: &ArchiveFacts,
    which: WhichPaths,
) -> Vec<TimelineHistory> {
    let others = own.iter().filter(|timeline| **timeline != followed.timeline());
    let paths: Vec<TimelineHistory> = others.filter_map(|timeline| facts.history(*timeline)).collect();
    let is_parent = |timeline: TimelineId| {
        [followed].into_iter().chain(&paths).any(|path| path.parents().any(|parent| parent == timeline))
    };
    let is_meant = |path: &&TimelineHistory| match which {
        WhichPaths::All => true,
        WhichPaths::Meant => is_on(record, path) && !is_parent(path.timeline()),
    };
    paths.iter().filter(is_meant).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{archive, record};
    use super::*;

    fn beside(followed: u32, own: &[u32], which: WhichPaths) -> Vec<u32> {
        let at = "2026-11-20T12:00:00Z";
        // 2 and 3 from 1; 4 from 2; 5 from before the end of the backup; of 6 there is no history.
        let forks = [
            (2, "1\t0/5100000\tx\n"),
            (3, "1\t0/5200000\tx\n"),
            (4, "1\t0/5100000\tx\n2\t0/6100000\tx\n"),
            (5, "1\t0/2000080\tx\n"),
        ];
        let facts = archive(&[(1, 1, 5, at), (2, 5, 6, at), (3, 5, 9, at), (4, 6, 7, at)], &forks);
        let backup = record(1, (1, "0/2000028"), (1, "0/2000100"), "2026-11-20T08:00:00Z");
        let timeline = |number: &u32| TimelineId::new(*number).unwrap();
        let followed = facts.history(timeline(&followed)).unwrap();
        let own = own.iter().map(timeline).collect();
        let paths = paths_beside((&followed, &backup), &own, &facts, which);
        paths.iter().map(|path| path.timeline().get()).collect()
    }

    #[test]
    fn what_may_be_meant_by_the_latest_leads_on_from_the_backup() {
        use WhichPaths::{All, Meant};
        for (followed, own, meant) in [
            (1, &[1, 2][..], &[2][..]),
            // An old primary that was replaced.
            (2, &[1, 2], &[]),
            (4, &[1, 2], &[]),
            // Two that came from the same one.
            (2, &[3], &[3]),
            (1, &[2, 3], &[2, 3]),
            // The way to the newest leads through the other.
            (1, &[2, 4], &[4]),
            // A later backup was taken elsewhere; where it leads to is not known.
            (1, &[5, 6], &[]),
        ] {
            assert_eq!(beside(followed, own, Meant), meant, "{followed}, {own:?}");
            let known = own.iter().copied().filter(|timeline| *timeline != followed && *timeline != 6);
            assert_eq!(beside(followed, own, All), known.collect::<Vec<_>>(), "{followed}, {own:?}");
        }
    }
}
