//! What happened in the log that backups lead to: for people who look for the point to go back to.

use jiff::Timestamp;

use super::choose::{self, Request, is_on};
use super::decision::{PointQuery, gather};
use super::error::RestoreError;
use super::old_wal::CombinedSegments;
use super::refusal::describe_hole;
use crate::pg::{Lsn, RecoveryTarget, TimelineHistory};
use crate::report::{Cancel, Reporter};
use crate::repository::{BackupId, BackupRecord, ClusterRef, WalArchive, WalHole};
use crate::wal_search::{Search, WalSearch};

/// What was found along a path.
#[derive(Debug)]
pub struct Listing<S> {
    /// The cluster.
    pub cluster: ClusterRef,
    /// The path of timelines that was read.
    pub path: TimelineHistory,
    /// Where reading began: at the beginning of a backup.
    pub from: Lsn,
    /// Where it ended.
    pub to: Lsn,
    /// What was found.
    pub search: S,
    /// What the person should know.
    pub warnings: Vec<String>,
}

/// From where the log is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListFrom {
    /// From the earliest backup of the path on.
    Earliest,
    /// From the newest backup on that ended before this time; from the earliest when none did.
    Before(Timestamp),
}

/// Reads the WAL along the path that `query` chooses, from a backup on, and looks for something in it. The target of
/// the query is not looked at. Behind a hole it goes on with the next backup, and says so.
pub fn list<S: Search>(
    query: &PointQuery<'_>,
    from: ListFrom,
    new: impl Fn() -> S + Sync,
    reporter: &dyn Reporter,
    cancel: &Cancel,
) -> Result<Listing<S>, RestoreError> {
    let gathered = gather(query)?;
    let request = Request { target: RecoveryTarget::Latest, timeline: query.timeline, backup: gathered.backup };
    let way = choose::choose_way(&request, &gathered.backups, &gathered.facts)?;
    let is_named = |record: &&BackupRecord| gathered.backup.is_none_or(|id| record.id == id);
    let mut on_path: Vec<&BackupRecord> =
        gathered.backups.iter().filter(|record| is_on(record, &way.path)).filter(is_named).collect();
    on_path.sort_by_key(|record| (record.start_lsn, record.sequence));
    let before = |time: Timestamp| on_path.iter().rfind(|record| record.stop_time <= time);
    let record = match from {
        ListFrom::Earliest => on_path.first(),
        ListFrom::Before(time) => before(time).or(on_path.first()),
    };
    let start = record.map_or(way.record.start_lsn, |record| record.start_lsn);
    let archive = WalArchive::new(query.repository, &gathered.selected.cluster);
    let source = CombinedSegments::new(query.repository, archive, gathered.old.as_ref());
    let (size, facts) = (gathered.facts.segment_size, &gathered.facts);
    let mut warnings = gathered.warnings;
    warnings.extend(way.warnings);
    let (mut from, mut to, mut found) = (start, start, None::<S>);
    loop {
        let coverage = facts.coverage(&way.path, from, None);
        if coverage.end_lsn > from {
            let search = WalSearch::new(&source, &way.path, (from, coverage.end_lsn), size, query.proving.threads())?;
            let stretch = search.run(&new, reporter, cancel)?;
            to = stretch.run.next_lsn;
            match &mut found {
                None => found = Some(stretch.search),
                Some(earlier) => earlier.merge(stretch.search),
            }
        }
        if found.as_ref().is_some_and(Search::is_decided) {
            break;
        }
        let Some(hole) = coverage.hole else { break };
        let next = on_path.iter().find(|record| record.start_lsn > from && record.start_lsn >= hole.reachable_lsn);
        warnings.push(hole_text(&hole, next.map(|record| record.id)));
        match next {
            Some(record) => from = record.start_lsn,
            None => break,
        }
    }
    let search = found.unwrap_or_else(new);
    Ok(Listing { cluster: gathered.selected.cluster, path: way.path, from: start, to, search, warnings })
}

/// What a hole keeps from being listed.
fn hole_text(hole: &WalHole, next: Option<BackupId>) -> String {
    let what = describe_hole(hole);
    match next {
        Some(backup) => {
            format!("{what}: nothing is listed from {} to the start of backup {backup}", hole.reachable_lsn)
        }
        None => format!("{what}: nothing is listed from {} on", hole.reachable_lsn),
    }
}
