//! What came against what the server says it sent.
//!
//! INVARIANT: every file of the manifest came once, with its size and checksum, and nothing else but WAL.

use super::listing::{Listed, Sums};
use super::{BackupError, describe};
use crate::pg::{ControlFile, DataPath, ManifestError, ManifestSummary, SystemIdentifier};
use crate::repository::FileEntry;
use crate::server::WalPosition;

/// Checks what a manifest says beside its files.
pub(super) fn check_summary(
    manifest: &ManifestSummary,
    system_identifier: SystemIdentifier,
    start: WalPosition,
    stop: WalPosition,
) -> Result<(), BackupError> {
    check_system(manifest, system_identifier)?;
    check_range(manifest, start, stop)
}

/// Compares records in their order.
#[derive(Default)]
pub(super) struct Comparison {
    /// What the manifest lists and did not come yet.
    expected: Option<(DataPath, Sums)>,
    /// The file that came last.
    last: Option<DataPath>,
    has_control_file: bool,
}

impl Comparison {
    /// Takes the next record, and hands out what of it belongs into the map.
    pub(super) fn take(
        &mut self,
        path: DataPath,
        listed: Listed,
    ) -> Result<Option<(DataPath, FileEntry)>, BackupError> {
        match listed {
            Listed::Manifest(sums) => {
                self.has_control_file |= path.as_bytes() == ControlFile::PATH.as_bytes();
                match self.expected.replace((path, sums)) {
                    Some((missing, _)) if self.expects(&missing) => Err(ManifestError::duplicate(&missing).into()),
                    Some((missing, _)) => Err(did_not_come(&missing)),
                    None => Ok(None),
                }
            }
            Listed::File(found, entry) => {
                self.take_file(&path, &found)?;
                Ok(entry.map(|entry| (path, entry)))
            }
            Listed::Other(entry) => match self.expected.take() {
                Some((missing, _)) => Err(did_not_come(&missing)),
                None => Ok(Some((path, entry))),
            },
        }
    }

    fn take_file(&mut self, path: &DataPath, found: &Sums) -> Result<(), BackupError> {
        if self.last.replace(path.clone()).as_ref() == Some(path) {
            return Err(not_as_manifest(path, "it came twice".to_owned()));
        }
        match self.expected.take() {
            Some((expected, sums)) if expected == *path => compare(path, found, &sums),
            Some((missing, _)) => Err(did_not_come(&missing)),
            None if path.starts_with_component("pg_wal") => Ok(()),
            None => Err(not_as_manifest(path, "it came but is not listed".to_owned())),
        }
    }

    fn expects(&self, path: &DataPath) -> bool {
        self.expected.as_ref().is_some_and(|(expected, _)| expected == path)
    }

    /// Nothing comes any more.
    pub(super) fn finish(self) -> Result<(), BackupError> {
        match self.expected {
            Some((missing, _)) => Err(did_not_come(&missing)),
            None if self.has_control_file => Ok(()),
            None => Err(BackupError::DocumentMissing { name: ControlFile::PATH }),
        }
    }
}

fn compare(path: &DataPath, found: &Sums, expected: &Sums) -> Result<(), BackupError> {
    if found.bytes != expected.bytes {
        let problem = format!("{} bytes came where it says {}", found.bytes, expected.bytes);
        return Err(not_as_manifest(path, problem));
    }
    if found.checksum != expected.checksum {
        return Err(not_as_manifest(path, "its checksum differs".to_owned()));
    }
    Ok(())
}

fn check_system(manifest: &ManifestSummary, expected: SystemIdentifier) -> Result<(), BackupError> {
    match manifest.system_identifier().filter(|found| *found != expected) {
        Some(found) => {
            let problem = format!("its system identifier is {found}, the server's {expected}");
            Err(BackupError::ManifestMismatch { problem })
        }
        None => Ok(()),
    }
}

/// The manifest's ranges of WAL must begin and end where the protocol says.
fn check_range(manifest: &ManifestSummary, start: WalPosition, stop: WalPosition) -> Result<(), BackupError> {
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

fn did_not_come(path: &DataPath) -> BackupError {
    not_as_manifest(path, "it did not come".to_owned())
}

fn not_as_manifest(path: &DataPath, problem: String) -> BackupError {
    BackupError::NotAsManifest { path: path.clone(), problem }
}
