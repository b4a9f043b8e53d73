//! Where the tablespaces go.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::error::RestoreError;
use super::target_directory::{DirectoryAction, DirectoryCheck, DirectoryRole, Marker};
use crate::pg::{SystemIdentifier, TablespaceMap, TablespaceMapEntry};
use crate::repository::{BackupRecord, TablespaceRef};

/// Where the person wants tablespaces.
#[derive(Debug, Clone, Default)]
pub struct TablespaceChoice {
    /// Old and new places.
    pub mapping: Vec<(PathBuf, PathBuf)>,
    /// Every other one goes into a directory of its own, named by its OID, below this one.
    pub directory: Option<PathBuf>,
}

/// A tablespace and where it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TablespacePlan {
    /// Its OID.
    pub oid: u32,
    /// Where it was.
    pub original: PathBuf,
    /// Where it will be.
    pub path: PathBuf,
    /// What will be done with what is there.
    pub action: DirectoryAction,
}

impl TablespaceChoice {
    /// Decides for every tablespace of a backup, and refuses what is in the way.
    pub(super) fn plan(
        &self,
        record: &BackupRecord,
        system_identifier: SystemIdentifier,
        apart_from: &[PathBuf],
        (move_aside, home): (bool, Option<&Path>),
        killed: Option<&Marker>,
    ) -> Result<Vec<TablespacePlan>, RestoreError> {
        let known = || record.tablespaces.iter().map(|tablespace| tablespace.path.clone()).collect();
        if let Some((old, _)) =
            self.mapping.iter().find(|(old, _)| record.tablespaces.iter().all(|one| one.path != *old))
        {
            return Err(RestoreError::UnknownTablespace { path: old.clone(), known: known() });
        }
        let mut apart_from = apart_from.to_vec();
        let mut plans = Vec::new();
        for tablespace in &record.tablespaces {
            let path = self.place_of(tablespace);
            let role = DirectoryRole::Tablespace(killed);
            let apart_from_now = apart_from.as_slice();
            let check =
                DirectoryCheck { path: &path, system_identifier, apart_from: apart_from_now, move_aside, home, role };
            let action = check.decide()?;
            apart_from.push(path.clone());
            plans.push(TablespacePlan { oid: tablespace.oid, original: tablespace.path.clone(), path, action });
        }
        Ok(plans)
    }

    fn place_of(&self, tablespace: &TablespaceRef) -> PathBuf {
        if let Some((_, new)) = self.mapping.iter().find(|(old, _)| *old == tablespace.path) {
            return new.clone();
        }
        match &self.directory {
            Some(directory) => directory.join(tablespace.oid.to_string()),
            None => tablespace.path.clone(),
        }
    }
}

/// The `tablespace_map` from which the server makes the links when it starts: with the new places.
pub(super) fn tablespace_map(
    stored: &[u8],
    plans: &[TablespacePlan],
) -> Result<Vec<u8>, crate::pg::TablespaceMapError> {
    let map = TablespaceMap::parse(stored)?;
    let moved = |entry: &TablespaceMapEntry| {
        let plan = plans.iter().find(|plan| plan.oid == entry.oid);
        let path = plan.map_or_else(|| entry.path.clone(), |plan| path_bytes(&plan.path));
        TablespaceMapEntry { oid: entry.oid, path }
    };
    Ok(TablespaceMap::new(map.entries().iter().map(moved).collect())?.to_bytes())
}

fn path_bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}
