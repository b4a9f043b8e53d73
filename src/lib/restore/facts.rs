//! Looks for WAL on this machine that the archive lacks.

use std::path::Path;

use crate::fs::{self, FileError};
use crate::pg::{SystemIdentifier, WalSegmentHeader, WalSegmentName};
use crate::repository::ArchiveFacts;

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
