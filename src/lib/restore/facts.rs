//! Gathers what a plan is made from: backups, archive, the server that may still run, WAL that only it has.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::choose::BackupFacts;
use super::error::RestoreError;
use super::target_directory::running_server;
use super::wal_coverage::ArchiveFacts;
use crate::error::{Classified, ErrorClass};
use crate::fs;
use crate::pg::{TimelineHistory, TimelineId, WalFileName, WalSegmentHeader, WalSegmentName, WalSegmentSize};
use crate::repository::{ClusterRef, Repository, RepositoryError, WalArchive};

/// LIMIT: segments of a lost server that are named.
const NAMED_SEGMENTS_MAX: usize = 1000;

/// Every listed backup of the cluster.
pub(super) fn backups(repository: &Repository, cluster: &ClusterRef) -> Result<Vec<BackupFacts>, RestoreError> {
    let mut facts = Vec::new();
    for entry in repository.backups(cluster)? {
        let record = match entry.record {
            Ok(record) => Ok(record),
            // What cannot be reached now is no property of the backup.
            Err(error) if error.class() == ErrorClass::Unavailable => return Err(error.into()),
            Err(error) => Err(with_cause(&error)),
        };
        facts.push(BackupFacts { id: entry.id, record });
    }
    Ok(facts)
}

/// What the archive holds of the cluster.
pub(super) fn archive(
    repository: &Repository,
    cluster: &ClusterRef,
    segment_size: WalSegmentSize,
) -> Result<ArchiveFacts, RestoreError> {
    let archive = WalArchive::new(repository, cluster);
    let ranges = archive.ranges(segment_size)?;
    let mut archived_at = BTreeMap::new();
    for range in ranges.values().flatten() {
        if let Some(found) = archive.look_up(&WalFileName::Segment(range.last))? {
            archived_at.insert(range.last, found.created);
        }
    }
    let mut facts = ArchiveFacts {
        segment_size,
        ranges,
        histories: BTreeMap::new(),
        unreadable_histories: BTreeMap::new(),
        archived_at,
    };
    for timeline in archive.histories()? {
        match history(&archive, timeline)? {
            Ok(history) => drop(facts.histories.insert(timeline, history)),
            Err(problem) => drop(facts.unreadable_histories.insert(timeline, problem)),
        }
    }
    Ok(facts)
}

fn history(archive: &WalArchive<'_>, timeline: TimelineId) -> Result<Result<TimelineHistory, String>, RepositoryError> {
    let bytes = match archive.load_text(&WalFileName::TimelineHistory(timeline)) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(Err("its history came and went".to_owned())),
        Err(error) if error.class() == ErrorClass::Corrupt => return Ok(Err(with_cause(&error))),
        Err(error) => return Err(error),
    };
    Ok(TimelineHistory::decode(timeline, &bytes).map_err(|error| error.to_string()))
}

fn with_cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// The data directory of the original on this machine.
#[derive(Debug, Clone, Default)]
pub(super) struct OriginalFacts {
    pub(super) pgdata: Option<PathBuf>,
    pub(super) is_running: bool,
    /// Segments with content that the archive lacks.
    pub(super) unarchived: Vec<WalSegmentName>,
}

/// Looks at the data directory that the configuration names. It is a help, not a condition: what cannot be read there
/// is passed over.
pub(super) fn original(pgdata: Option<&Path>, cluster: &ClusterRef, archive: &ArchiveFacts) -> OriginalFacts {
    let Some(pgdata) = pgdata.and_then(|path| fs::real_path(path).ok()) else { return OriginalFacts::default() };
    let is_running = running_server(&pgdata).ok().flatten().is_some();
    let unarchived = unarchived_segments(&pgdata.join("pg_wal"), cluster, archive);
    OriginalFacts { pgdata: Some(pgdata), is_running, unarchived }
}

/// A segment counts when its first page is its own: PostgreSQL keeps old ones under the names of coming ones.
fn unarchived_segments(pg_wal: &Path, cluster: &ClusterRef, archive: &ArchiveFacts) -> Vec<WalSegmentName> {
    let entries = fs::sorted_entries(pg_wal).unwrap_or_default();
    let names = entries.iter().filter_map(|entry| entry.name.to_str()?.parse::<WalSegmentName>().ok());
    let lacking = names.filter(|name| !archive.contains(name));
    let has_content = |name: &WalSegmentName| {
        let head = fs::read_range(&pg_wal.join(name.to_string()), 0, WalSegmentHeader::LENGTH).unwrap_or_default();
        WalSegmentHeader::decode(&head).is_ok_and(|header| {
            header.system_identifier == cluster.system_identifier && header.check_name(name).is_ok()
        })
    };
    let later = |name: &WalSegmentName| {
        archive.ranges.get(&name.timeline()).is_none_or(|ranges| {
            // Older ones than all that is archived were never meant to be.
            ranges.first().is_none_or(|range| range.first < *name)
        })
    };
    lacking.filter(later).filter(has_content).take(NAMED_SEGMENTS_MAX).collect()
}
