//! Where the tablespaces go.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::apart::Neighbour;
use super::error::RestoreError;
use super::marker::Marker;
use super::target_directory::{DirectoryAction, DirectoryCheck, DirectoryRole, InTheWay, absolute};
use crate::fs::{self, PathKind};
use crate::pg::{SystemIdentifier, TablespaceMap, TablespaceMapEntry};
use crate::repository::{BackupId, BackupRecord, TablespaceRef};

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
    /// Decides for every tablespace of a backup, and refuses what is in the way. `updated` is the data directory, when
    /// it keeps what is right in it.
    pub(super) fn plan(
        &self,
        record: &BackupRecord,
        system_identifier: SystemIdentifier,
        apart_from: &[Neighbour],
        (in_the_way, home): (InTheWay, Option<&Path>),
        killed: Option<&Marker>,
        updated: Option<&Path>,
    ) -> Result<Vec<TablespacePlan>, RestoreError> {
        self.check_mapping(record)?;
        let mut apart_from = apart_from.to_vec();
        let mut plans = Vec::new();
        for tablespace in &record.tablespaces {
            let place = self.place_of(tablespace);
            let real = absolute(&place, Path::new("/"));
            let is_linked = updated.is_some_and(|data| leads_to(data, tablespace.oid, &real));
            let role = match is_linked && killed.is_none() {
                true => DirectoryRole::LinkedTablespace,
                false => DirectoryRole::Tablespace(killed),
            };
            let check = DirectoryCheck {
                path: &real,
                system_identifier,
                apart_from: apart_from.as_slice(),
                backup: record.id,
                in_the_way,
                home,
                role,
            };
            let action = check.decide()?;
            let TablespaceRef { oid, path: original } = tablespace.clone();
            apart_from.push(Neighbour::new(&real, format!("the place of tablespace {oid}")));
            // In its old place it keeps the name by which the server knows it.
            let path = if place == original { original.clone() } else { real };
            plans.push(TablespacePlan { oid, original, path, action });
        }
        Ok(plans)
    }

    fn check_mapping(&self, record: &BackupRecord) -> Result<(), RestoreError> {
        for (number, (old, _)) in self.mapping.iter().enumerate() {
            if record.tablespaces.iter().all(|one| one.path != *old) {
                let known = record.tablespaces.iter().map(|tablespace| tablespace.path.clone()).collect();
                return Err(RestoreError::UnknownTablespace { path: old.clone(), known });
            }
            if self.mapping.iter().take(number).any(|(earlier, _)| earlier == old) {
                return Err(RestoreError::TablespaceMappedTwice { path: old.clone() });
            }
        }
        Ok(())
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

/// Whether the link of a tablespace in a data directory leads to that directory.
fn leads_to(data_directory: &Path, oid: u32, real: &Path) -> bool {
    let link = data_directory.join("pg_tblspc").join(oid.to_string());
    let is_link = matches!(fs::look_at(&link), Ok(Some(facts)) if facts.kind == PathKind::Link);
    is_link && fs::real_path(&link).is_ok_and(|target| target == real)
}

/// The `tablespace_map` from which the server makes the links when it starts: with the new places.
///
/// INVARIANT: it names the tablespaces of the backup alone: the server follows every line.
pub(super) fn tablespace_map(
    backup: BackupId,
    stored: &[u8],
    plans: &[TablespacePlan],
) -> Result<Vec<u8>, RestoreError> {
    let invalid = |source| RestoreError::TablespaceMap { backup, source };
    let map = TablespaceMap::parse(stored).map_err(invalid)?;
    let moved = |entry: &TablespaceMapEntry| match plans.iter().find(|plan| plan.oid == entry.oid) {
        Some(plan) => Ok(TablespaceMapEntry { oid: entry.oid, path: path_bytes(&plan.path) }),
        None if entry.is_in_place() => Ok(entry.clone()),
        None => Err(RestoreError::StrayTablespace { backup, oid: entry.oid }),
    };
    let entries = map.entries().iter().map(moved).collect::<Result<_, _>>()?;
    Ok(TablespaceMap::new(entries).map_err(invalid)?.to_bytes())
}

fn path_bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}
