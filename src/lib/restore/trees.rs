//! The trees of a cluster's name: one for each system identifier that it has had. The newest is meant, unless a backup
//! of an earlier one is named; pg_upgrade and a rebuild leave those restorable.

use super::choose::ends_before;
use super::error::RestoreError;
use super::{BackupChoice, PointQuery};
use crate::pg::{PgMajorVersion, RecoveryTarget, SystemIdentifier};
use crate::repository::{BackupId, BackupRecord, SelectedCluster};

/// A backup in another tree of the cluster's name, which could serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OlderBackup {
    /// Its id.
    pub id: BackupId,
    /// The system identifier of its tree.
    pub system_identifier: SystemIdentifier,
    /// The major version of its server.
    pub version: PgMajorVersion,
}

/// The tree that holds the backup that was named, with a warning when it is not the newest.
pub(super) fn tree_of_backup(
    query: &PointQuery<'_>,
    newest: SelectedCluster,
) -> Result<(SelectedCluster, Option<String>), RestoreError> {
    let BackupChoice::Id(wanted) = query.backup else { return Ok((newest, None)) };
    let repository = &query.repository;
    let holds = |tree: &SelectedCluster| {
        let listed = repository.backups(&tree.cluster)?;
        Ok::<_, RestoreError>(listed.iter().any(|entry| entry.id == wanted))
    };
    if holds(&newest)? {
        return Ok((newest, None));
    }
    for tree in repository.other_trees(&newest)? {
        if holds(&tree)? {
            let warning = format!(
                "backup {wanted} is of an earlier system of cluster \"{}\": system identifier {}, PostgreSQL {}; the \
                 newest is {}, PostgreSQL {}",
                tree.cluster.name,
                tree.cluster.system_identifier,
                tree.identity.major_version,
                newest.cluster.system_identifier,
                newest.identity.major_version
            );
            return Ok((tree, Some(warning)));
        }
    }
    Ok((newest, None))
}

/// The error, with what an earlier tree has when the newest one has nothing that early.
pub(super) fn with_older_backup(
    mut error: RestoreError,
    query: &PointQuery<'_>,
    newest: &SelectedCluster,
) -> RestoreError {
    match &mut error {
        RestoreError::NoBackup { cluster, older } => {
            *cluster = newest.cluster.name.to_string();
            *older = older_backup(query, newest).map(Box::new);
        }
        // Positions of two systems cannot be compared.
        RestoreError::TargetBeforeBackup { was_named: false, target: RecoveryTarget::Time(..), older, .. } => {
            *older = older_backup(query, newest).map(Box::new);
        }
        _ => {}
    }
    error
}

/// The newest backup of an earlier tree that could serve. It is advice: what cannot be read does not count.
fn older_backup(query: &PointQuery<'_>, newest: &SelectedCluster) -> Option<OlderBackup> {
    let fits = |record: &BackupRecord| record.findings.is_empty() && ends_before(record, query.target);
    query.repository.other_trees(newest).ok()?.into_iter().find_map(|tree| {
        let listed = query.repository.backups(&tree.cluster).ok()?;
        let record = listed.into_iter().filter_map(|entry| entry.record.ok()).rfind(fits)?;
        let (id, version) = (record.id, record.major_version);
        Some(OlderBackup { id, system_identifier: tree.cluster.system_identifier, version })
    })
}
