//! What came against what the server says it sent.

use std::collections::BTreeMap;

use super::content::{StreamedContent, StreamedFile, control_file_path};
use super::{BackupError, describe};
use crate::pg::{BackupManifest, DataPath, SystemIdentifier};
use crate::server::WalPosition;

/// Every file of the manifest must have come, with its size and checksum, and nothing else.
pub(super) fn check(
    content: &StreamedContent,
    system_identifier: SystemIdentifier,
    start: WalPosition,
    stop: WalPosition,
) -> Result<(), BackupError> {
    let manifest = BackupManifest::parse(&content.manifest)?;
    check_system(&manifest, system_identifier)?;
    check_range(&manifest, start, stop)?;
    let mut streamed: BTreeMap<&DataPath, &StreamedFile> = BTreeMap::new();
    for file in &content.files {
        if streamed.insert(&file.path, file).is_some() {
            return Err(not_as_manifest(&file.path, "it came twice".to_owned()));
        }
    }
    for expected in manifest.files() {
        let Some(found) = streamed.remove(&expected.path) else {
            return Err(not_as_manifest(&expected.path, "it did not come".to_owned()));
        };
        if found.bytes != expected.size_bytes {
            let problem = format!("{} bytes came where it says {}", found.bytes, expected.size_bytes);
            return Err(not_as_manifest(&expected.path, problem));
        }
        if expected.checksum.as_ref() != Some(&found.checksum) {
            return Err(not_as_manifest(&expected.path, "its checksum differs".to_owned()));
        }
    }
    if let Some(path) = streamed.keys().find(|path| !path.starts_with_component("pg_wal")) {
        return Err(not_as_manifest(path, "it came but is not listed".to_owned()));
    }
    if manifest.file(&control_file_path()?).is_none() {
        return Err(BackupError::DocumentMissing { name: "global/pg_control" });
    }
    Ok(())
}

fn check_system(manifest: &BackupManifest, expected: SystemIdentifier) -> Result<(), BackupError> {
    match manifest.system_identifier().filter(|found| *found != expected) {
        Some(found) => {
            let problem = format!("its system identifier is {found}, the server's {expected}");
            Err(BackupError::ManifestMismatch { problem })
        }
        None => Ok(()),
    }
}

/// The manifest's ranges of WAL must begin and end where the protocol says.
fn check_range(manifest: &BackupManifest, start: WalPosition, stop: WalPosition) -> Result<(), BackupError> {
    let ranges = manifest.wal_ranges();
    let begins = ranges.iter().any(|range| range.timeline == start.timeline && range.start_lsn == start.lsn);
    let ends = ranges.iter().any(|range| range.timeline == stop.timeline && range.end_lsn == stop.lsn);
    if begins && ends {
        return Ok(());
    }
    let (start, stop) = (describe(start.lsn, start.timeline), describe(stop.lsn, stop.timeline));
    let problem = format!("its WAL ranges do not lead from {start} to {stop}");
    Err(BackupError::ManifestMismatch { problem })
}

fn not_as_manifest(path: &DataPath, problem: String) -> BackupError {
    BackupError::NotAsManifest { path: path.clone(), problem }
}
