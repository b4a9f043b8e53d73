//! Where everything lies: the only place that builds keys.

use super::backup::BackupId;
use super::cluster::{ClusterName, ClusterRef};
use crate::codec::{ObjectKind, WriterId};
use crate::pg::{TimelineId, WalFileName, WalSegmentName};
use crate::store::{ObjectKey, ObjectKeyError};

/// The object that makes a store a repository.
pub(crate) const DESCRIPTION: &str = "repository.json";
/// Folder of wrapped keys; no cluster may be called so.
pub(crate) const KEYS_FOLDER: &str = "keys";

/// Objects of a backup.
pub(crate) const BEGIN: &str = "begin";
pub(crate) const ROOT: &str = "root";
pub(crate) const NEEDS: &str = "needs";
pub(crate) const RECORD: &str = "record";
/// The mark of a backup that is being deleted.
pub(crate) const GONE: &str = "gone";
/// The mark of a backup that retention wants gone.
pub(crate) const DOUBT: &str = "doubt";
/// The mark of a backup that was never finished and is silent.
pub(crate) const SUSPECT: &str = "suspect";

pub(crate) fn description() -> Result<ObjectKey, ObjectKeyError> {
    ObjectKey::parse(DESCRIPTION)
}

/// Everything of one cluster, with whatever system identifier.
pub(crate) fn cluster(name: &ClusterName) -> String {
    format!("{name}/")
}

pub(crate) fn writers(name: &ClusterName) -> String {
    format!("{}writers/", cluster(name))
}

pub(crate) fn writer(cluster: &ClusterName, id: &WriterId) -> Result<ObjectKey, ObjectKeyError> {
    ObjectKey::parse(&format!("{}{id}", writers(cluster)))
}

pub(crate) fn writer_name(id: &WriterId) -> String {
    format!("writer/{id}")
}

pub(crate) fn identity(cluster: &ClusterRef) -> Result<ObjectKey, ObjectKeyError> {
    ObjectKey::parse(&format!("{}identity", tree(cluster)))
}

pub(crate) fn identity_name(cluster: &ClusterRef) -> String {
    format!("identity/{}", cluster.system_identifier)
}

/// Everything of one cluster with one system identifier.
pub(crate) fn tree(of: &ClusterRef) -> String {
    format!("{}{}/", cluster(&of.name), of.system_identifier)
}

pub(crate) fn wal(cluster: &ClusterRef, name: &WalFileName) -> Result<ObjectKey, ObjectKeyError> {
    match name {
        WalFileName::TimelineHistory(_) => ObjectKey::parse(&format!("{}{name}", histories(cluster))),
        WalFileName::Segment(segment) | WalFileName::Partial(segment) | WalFileName::BackupHistory { segment, .. } => {
            ObjectKey::parse(&format!("{}{name}", wal_folder(cluster, segment)))
        }
    }
}

pub(crate) fn histories(cluster: &ClusterRef) -> String {
    format!("{}history/", tree(cluster))
}

pub(crate) fn wal_timelines(cluster: &ClusterRef) -> String {
    format!("{}wal/", tree(cluster))
}

pub(crate) fn wal_timeline(cluster: &ClusterRef, timeline: TimelineId) -> String {
    format!("{}{}/", wal_timelines(cluster), timeline.to_hex())
}

fn wal_folder(cluster: &ClusterRef, segment: &WalSegmentName) -> String {
    format!("{}{}/", wal_timeline(cluster, segment.timeline()), segment.directory_part())
}

pub(crate) fn wal_name(name: &WalFileName) -> String {
    format!("wal/{name}")
}

pub(crate) fn wal_kind(name: &WalFileName) -> ObjectKind {
    match name {
        WalFileName::Segment(_) => ObjectKind::WalSegment,
        WalFileName::Partial(_) => ObjectKind::WalPartial,
        WalFileName::BackupHistory { .. } => ObjectKind::BackupHistory,
        WalFileName::TimelineHistory(_) => ObjectKind::TimelineHistory,
    }
}

pub(crate) fn backups(cluster: &ClusterRef) -> String {
    format!("{}backups/", tree(cluster))
}

/// A folder that the writers of a cluster need.
pub(crate) struct NeededFolder {
    /// Its path in the store.
    pub(crate) relative: String,
    /// Whether it is that of the WAL.
    pub(crate) is_wal: bool,
}

/// The folders that the writers of a cluster need, from the outermost on.
pub(crate) fn folders_of(of: &ClusterRef) -> Vec<NeededFolder> {
    let wal = wal_timelines(of);
    let folders = [cluster(&of.name), writers(&of.name), tree(of), histories(of), wal.clone(), backups(of), packs(of)];
    let needed =
        |folder: String| NeededFolder { is_wal: folder == wal, relative: folder.trim_end_matches('/').to_owned() };
    folders.into_iter().map(needed).collect()
}

/// What to call a document among the objects of its backup.
pub(crate) fn document(name: &str) -> String {
    format!("documents/{name}")
}

/// What to call a pin among the objects of its backup.
pub(crate) fn pin(name: &str) -> String {
    format!("pins/{name}")
}

/// Everything of one backup but its packs.
pub(crate) fn backup(cluster: &ClusterRef, backup: &BackupId) -> String {
    format!("{}{backup}/", backups(cluster))
}

/// An object of a backup: [`BEGIN`], [`ROOT`], [`NEEDS`], [`RECORD`], a mark, a [`document`] or a [`pin`].
pub(crate) fn backup_object(
    cluster: &ClusterRef,
    backup: &BackupId,
    object: &str,
) -> Result<ObjectKey, ObjectKeyError> {
    ObjectKey::parse(&format!("{}{object}", self::backup(cluster, backup)))
}

pub(crate) fn backup_object_name(backup: &BackupId, object: &str) -> String {
    format!("backup/{backup}/{object}")
}

/// The packs of all backups.
pub(crate) fn packs(cluster: &ClusterRef) -> String {
    format!("{}packs/", tree(cluster))
}

pub(crate) fn pack(cluster: &ClusterRef, backup: &BackupId, ordinal: u32) -> Result<ObjectKey, ObjectKeyError> {
    ObjectKey::parse(&format!("{}{backup}/{ordinal:08}", packs(cluster)))
}

pub(crate) fn pack_name(backup: &BackupId, ordinal: u32) -> String {
    format!("pack/{backup}/{ordinal:08}")
}
