//! What happened in the log that backups lead to: for people who look for the point to go back to.

use jiff::Timestamp;

use super::choose::{self, Request, is_on};
use super::decision::{PointQuery, gather};
use super::error::RestoreError;
use super::old_wal::CombinedSegments;
use crate::pg::{Lsn, RecoveryTarget, TimelineHistory};
use crate::report::{Cancel, Reporter};
use crate::repository::{BackupRecord, ClusterRef, WalArchive};
use crate::wal_search::{RUN_BYTES, Search, WalSearch};

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
/// the query is not looked at.
pub fn list<S: Search>(
    query: &PointQuery<'_>,
    from: ListFrom,
    new: impl Fn() -> S + Sync,
    reporter: &dyn Reporter,
    cancel: &Cancel,
) -> Result<Listing<S>, RestoreError> {
    let gathered = gather(query)?;
    let request = Request { target: RecoveryTarget::Latest, timeline: query.timeline, backup: gathered.backup };
    let choice = choose::choose(&request, &gathered.backups, &gathered.facts)?;
    let is_named = |record: &&BackupRecord| gathered.backup.is_none_or(|id| record.id == id);
    let mut on_path: Vec<&BackupRecord> =
        gathered.backups.iter().filter(|record| is_on(record, &choice.path)).filter(is_named).collect();
    on_path.sort_by_key(|record| (record.start_lsn, record.sequence));
    let before = |time: Timestamp| on_path.iter().rfind(|record| record.stop_time <= time);
    let record = match from {
        ListFrom::Earliest => on_path.first(),
        ListFrom::Before(time) => before(time).or(on_path.first()),
    };
    let record = record.map_or(&choice.record, |record| *record);
    let archive = WalArchive::new(query.repository, &gathered.selected.cluster);
    let source = CombinedSegments::new(query.repository, archive, gathered.old.as_ref());
    let (size, start) = (gathered.facts.segment_size, record.start_lsn);
    let search = WalSearch {
        source: &source,
        path: &choice.path,
        format: WalSearch::format(&source, &choice.path, start, size)?,
        from: start,
        to: gathered.facts.coverage(&choice.path, start, None).end_lsn,
        threads: query.proving.threads(),
        run_bytes: RUN_BYTES,
    };
    let found = search.run(new, reporter, cancel)?;
    let mut warnings = gathered.warnings;
    warnings.extend(choice.warnings);
    Ok(Listing {
        cluster: gathered.selected.cluster,
        path: choice.path,
        from: start,
        to: found.run.next_lsn,
        search: found.search,
        warnings,
    })
}
