//! What happened in the log that backups lead to: for people who look for the point to go back to.

use jiff::Timestamp;

use super::choose::{self, Request, is_on};
use super::decision::{PointQuery, gather};
use super::error::RestoreError;
use super::left_behind::LeftBehind;
use super::old_wal::CombinedSegments;
use super::refusal::describe_hole;
use crate::error::{Classified as _, ErrorClass};
use crate::pg::{Lsn, RecoveryTarget, TimelineHistory, WalSegmentSize};
use crate::report::{Cancel, Reporter};
use crate::repository::{ArchiveFacts, BackupId, BackupRecord, ClusterRef, WalArchive, WalHole};
use crate::wal_search::{Search, WalSearch, WalSearchError};

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
    /// What could not be read, in the order of the log: behind each, it goes on with the next backup.
    pub damage: Vec<WalSearchError>,
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
/// the query is not looked at. Behind a hole or damage it goes on with the next backup, and says so.
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
    let mut warnings = gathered.warnings;
    warnings.extend(way.left_behind.iter().filter_map(LeftBehind::unread_warning));
    let stretches = Stretches {
        source: &source,
        path: &way.path,
        facts: &gathered.facts,
        backups: &on_path,
        threads: query.proving.threads(),
    };
    let read = stretches.read(start, &new, reporter, cancel)?;
    warnings.extend(read.gaps);
    let (search, to, damage) = (read.search.unwrap_or_else(new), read.to, read.damage);
    Ok(Listing { cluster: gathered.selected.cluster, path: way.path, from: start, to, search, warnings, damage })
}

/// The log along a path, from backups on.
struct Stretches<'a> {
    source: &'a CombinedSegments<'a>,
    path: &'a TimelineHistory,
    facts: &'a ArchiveFacts,
    /// Those on the path, in the order of their beginning.
    backups: &'a [&'a BackupRecord],
    threads: usize,
}

/// What was read.
struct Stretch<S> {
    /// What was found; none when nothing was read.
    search: Option<S>,
    /// Where reading ended.
    to: Lsn,
    /// What is not listed, and why.
    gaps: Vec<String>,
    damage: Vec<WalSearchError>,
}

/// What is not listed.
struct Gap {
    what: String,
    from: Lsn,
    /// A backup that begins there or later leads on.
    to: Lsn,
}

impl Stretches<'_> {
    fn read<S: Search>(
        &self,
        mut from: Lsn,
        new: impl Fn() -> S + Sync,
        reporter: &dyn Reporter,
        cancel: &Cancel,
    ) -> Result<Stretch<S>, RestoreError> {
        let mut read = Stretch { search: None::<S>, to: from, gaps: Vec::new(), damage: Vec::new() };
        let size = self.facts.segment_size;
        loop {
            let coverage = self.facts.coverage(self.path, from, None);
            let mut gap = coverage.hole.as_ref().map(Gap::of_hole);
            let mut damage = None;
            if coverage.end_lsn > from {
                let search = WalSearch::new(self.source, self.path, (from, coverage.end_lsn), size, self.threads);
                let (found, ended) = match search {
                    Ok(search) => search.run_to_trouble(&new, reporter, cancel),
                    Err(error) => (None, Err(error)),
                };
                read.to = found.as_ref().map_or(from, |found| found.run.next_lsn);
                read.add(found.map(|found| found.search));
                if let Err(error) = ended {
                    if error.class() != ErrorClass::Corrupt {
                        return Err(error.into());
                    }
                    gap = Some(Gap::of_damage(&error, read.to, size));
                    damage = Some(error);
                }
            }
            let Some(gap) = gap.filter(|_| !read.search.as_ref().is_some_and(Search::is_decided)) else { break };
            read.damage.extend(damage);
            let next = self.backups.iter().find(|record| record.start_lsn > from && record.start_lsn >= gap.to);
            read.gaps.push(gap.text(next.map(|record| record.id)));
            match next {
                Some(record) => from = record.start_lsn,
                None => break,
            }
        }
        Ok(read)
    }
}

impl<S: Search> Stretch<S> {
    fn add(&mut self, later: Option<S>) {
        match (&mut self.search, later) {
            (Some(earlier), Some(later)) => earlier.merge(later),
            (None, later) => self.search = later,
            (Some(_), None) => {}
        }
    }
}

impl Gap {
    fn of_hole(hole: &WalHole) -> Self {
        Self { what: describe_hole(hole), from: hole.reachable_lsn, to: hole.reachable_lsn }
    }

    /// Where it lies in a segment that is not known, it is behind what was read.
    fn of_damage(error: &WalSearchError, read_to: Lsn, size: WalSegmentSize) -> Self {
        let segment = error.segment();
        let what = segment.map_or_else(|| "WAL".to_owned(), |segment| format!("WAL segment \"{segment}\""));
        let end = segment.and_then(|segment| segment.end_lsn(size)).unwrap_or(read_to);
        Self { what: format!("{what} cannot be read"), from: read_to, to: end.max(read_to) }
    }

    /// What it keeps from being listed.
    fn text(&self, next: Option<BackupId>) -> String {
        let Self { what, from, .. } = self;
        match next {
            Some(backup) => format!("{what}: nothing is listed from {from} to the start of backup {backup}"),
            None => format!("{what}: nothing is listed from {from} on"),
        }
    }
}
