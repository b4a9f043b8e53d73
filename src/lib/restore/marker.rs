//! The file by which a directory is known in which a restore began and did not end.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::RestoreError;
use crate::fs::{self, PathKind};
use crate::pg::{ControlFile, SystemIdentifier};
use crate::repository::BackupId;

/// The file that says that a restore began here and did not end.
pub const MARKER: &str = crate::pg::RESTORE_MARKER;
/// LIMIT: bytes of the marker.
const MARKER_BYTES_MAX: u64 = 64 << 10;

/// What a marker says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marker {
    /// Tells this restore from every other one; the same in all its directories.
    #[serde(default)]
    pub restore: String,
    /// The cluster that is being restored.
    pub system_identifier: SystemIdentifier,
    /// The backup.
    pub backup: BackupId,
    /// The directory itself, or the data directory that this tablespace belongs to.
    pub data_directory: PathBuf,
    /// Whether other things than those of a restore were in it: it is never emptied.
    #[serde(default)]
    pub had_content: bool,
}

/// What a server writes when it starts, before which it looks for its control file. No backup holds it.
const STARTED: &str = "postmaster.opts";

/// The marker of a killed restore into a data directory. With a control file it could be started, and is somebody's; so is
/// one in which a server was started, whatever became of its control file since, but for what a --delta began with.
pub(super) fn killed_restore(data_directory: &Path) -> Result<Option<Marker>, RestoreError> {
    if fs::is_present(&data_directory.join(ControlFile::PATH))? {
        return Ok(None);
    }
    let was_started = was_started(data_directory)?;
    Ok(read_marker(data_directory)?.filter(|marker| marker.had_content || !was_started))
}

/// Whether a server was started in a data directory.
pub(super) fn was_started(data_directory: &Path) -> Result<bool, RestoreError> {
    Ok(fs::is_present(&data_directory.join(STARTED))?)
}

/// The marker in a directory, if there is one.
pub(super) fn read_marker(directory: &Path) -> Result<Option<Marker>, RestoreError> {
    let path = directory.join(MARKER);
    match fs::look_at(&path)? {
        Some(facts) if facts.kind == PathKind::File => {}
        _ => return Ok(None),
    }
    match fs::read_at_most(&path, MARKER_BYTES_MAX) {
        Ok(text) => Ok(serde_json::from_slice(&text).ok()),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn fuzz_marker(text: &[u8]) {
    let _ = serde_json::from_slice::<Marker>(text);
}
