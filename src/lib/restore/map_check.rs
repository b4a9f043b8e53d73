//! What the map of a backup may not hold, whoever wrote it.
//!
//! INVARIANT: no link of a restored data directory leads anywhere but to where the person put a tablespace of the
//! backup, and no file of the map stands for one that a restore writes itself.

use super::error::RestoreError;
use crate::pg::DataPath;
use crate::repository::{BackupRecord, FileKind};

/// Files of which a server that starts believes everything: only the documents of the backup become these.
const WRITTEN_BY_US: [&[u8]; 2] = [b"backup_label", b"tablespace_map"];

/// Checks one entry of the map.
pub(super) fn check(record: &BackupRecord, path: &DataPath, kind: &FileKind) -> Result<(), RestoreError> {
    let refused = |problem| Err(RestoreError::UnsafeEntry { backup: record.id, path: path.clone(), problem });
    let place = path.as_bytes();
    if matches!(kind, FileKind::Link { .. }) {
        let is_of = |oid: u32| place == format!("pg_tblspc/{oid}").as_bytes();
        if !record.tablespaces.iter().any(|tablespace| is_of(tablespace.oid)) {
            return refused("a link that is not one of its tablespaces'");
        }
    } else if WRITTEN_BY_US.contains(&place) {
        return refused("an entry where a document of the backup belongs");
    }
    Ok(())
}
