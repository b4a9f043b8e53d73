//! Looks at the archive, and at WAL on this machine that the archive lacks.

use std::collections::BTreeMap;
use std::path::Path;

use super::wal_coverage::ArchiveFacts;
use crate::fs::{self, FileError};
use crate::pg::{SystemIdentifier, TimelineHistory, WalFileName, WalSegmentHeader, WalSegmentName, WalSegmentSize};
use crate::repository::{RepositoryError, WalArchive};

/// Gathers what the archive holds.
pub(super) fn archive_facts(archive: &WalArchive<'_>, size: WalSegmentSize) -> Result<ArchiveFacts, RepositoryError> {
    let ranges = archive.ranges(size)?;
    let mut facts = ArchiveFacts {
        segment_size: size,
        ranges,
        histories: BTreeMap::new(),
        unreadable_histories: BTreeMap::new(),
        archived_at: BTreeMap::new(),
    };
    for timeline in archive.histories()? {
        let read = match archive.load_text(&WalFileName::TimelineHistory(timeline)) {
            Ok(Some(text)) => TimelineHistory::decode(timeline, &text).map_err(|error| error.to_string()),
            Ok(None) => continue,
            Err(error) => Err(error.to_string()),
        };
        match read {
            Ok(history) => drop(facts.histories.insert(timeline, history)),
            Err(problem) => drop(facts.unreadable_histories.insert(timeline, problem)),
        }
    }
    for range in facts.ranges.values().flatten() {
        // An unreadable header is found when the segment is needed; here it only bounds times.
        if let Ok(Some(archived)) = archive.look_up(&WalFileName::Segment(range.last)) {
            facts.archived_at.insert(range.last, archived.created);
        }
    }
    Ok(facts)
}

/// Segments in `pgdata` that hold WAL of this cluster and that the archive lacks, in order.
pub(super) fn unarchived_segments(
    pgdata: &Path,
    system_identifier: SystemIdentifier,
    archive: &ArchiveFacts,
) -> Result<Vec<WalSegmentName>, FileError> {
    let folder = pgdata.join("pg_wal");
    if !fs::is_directory(&folder)? {
        return Ok(Vec::new());
    }
    let mut missing = Vec::new();
    for entry in fs::sorted_entries(&folder)? {
        let Some(name) = entry.name.to_str().and_then(|name| WalSegmentName::parse(name).ok()) else { continue };
        if archive.contains(&name) {
            continue;
        }
        let beginning = match fs::read_range(&folder.join(&entry.name), 0, WalSegmentHeader::LENGTH) {
            // A running server recycles segments while we look.
            Err(error) if error.is_not_found() => continue,
            other => other?,
        };
        // A recycled segment has a name of the future and a header of the past.
        let is_used = WalSegmentHeader::decode(&beginning)
            .is_ok_and(|header| header.system_identifier == system_identifier && header.check_name(&name).is_ok());
        if is_used {
            missing.push(name);
        }
    }
    Ok(missing)
}
