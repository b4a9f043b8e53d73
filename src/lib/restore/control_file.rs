//! What a restored control file must say before it may become the server's: the server takes all files for what it says.

use std::path::Path;

use super::error::RestoreError;
use super::plan::RestorePlan;
use crate::fs;
use crate::pg::ControlFile;
use crate::repository::ClusterRef;

/// It must be one of this cluster, and of the kind of server that the record says.
pub(super) fn check(path: &Path, plan: &RestorePlan, cluster: &ClusterRef) -> Result<(), RestoreError> {
    let bytes = fs::read_at_most(path, ControlFile::FILE_LENGTH as u64)?;
    let (backup, record) = (plan.record.id, &plan.record);
    let control = ControlFile::decode(&bytes).map_err(|source| RestoreError::RestoredControlFile { backup, source })?;
    for (what, expected, found) in [
        ("system identifier", cluster.system_identifier.get(), control.system_identifier.get()),
        ("major version", record.major_version.get().into(), control.major().get().into()),
        ("block size", record.block_bytes.into(), control.block_bytes.into()),
        ("WAL segment size", record.wal_segment_size.bytes(), control.wal_segment_size.bytes()),
    ] {
        if expected != found {
            return Err(RestoreError::ControlFileDiffers { backup, what, expected, found });
        }
    }
    Ok(())
}
