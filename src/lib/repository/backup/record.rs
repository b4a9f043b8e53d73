//! The documents of a backup that are JSON: `begin`, `needs` and `record`.
//!
//! Readers ignore fields that they do not know and refuse required features that they do not know.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::BackupId;
use crate::codec::ContentDigest;
use crate::pg::{Lsn, PgMajorVersion, SystemIdentifier, TimelineId, WalSegmentSize};
use crate::repository::ClusterName;
use crate::repository::pack::PackNeed;

/// The object `begin`: a backup is being taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupBegin {
    /// The backup.
    pub id: BackupId,
    /// The host that takes it.
    pub host: String,
    /// Every backup whose packs it may refer to.
    pub parents: Vec<BackupId>,
    /// When it began, by that host's clock; shown only.
    pub began: Timestamp,
}

/// The object `needs`: the table of packs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupNeeds {
    /// The packs, each under its own number.
    pub packs: Vec<PackNeed>,
}

/// How a backup was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackupMethod {
    /// Over the replication protocol.
    Stream,
    /// By reading files on the database host.
    Direct,
}

impl std::fmt::Display for BackupMethod {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Stream => "stream",
            Self::Direct => "direct",
        })
    }
}

/// The server that a backup was taken from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDescription {
    /// Host or socket directory, as connected to.
    pub host: String,
    /// Port, as connected to.
    pub port: u16,
    /// Whether it was a standby.
    pub is_standby: bool,
}

/// Sums over a backup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupSizes {
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Bytes of all regular files.
    pub file_bytes: u64,
    /// Bytes that this backup added to the repository.
    pub stored_bytes: u64,
}

/// What a stored document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DocumentKind {
    /// `backup_label`
    BackupLabel,
    /// `tablespace_map`
    TablespaceMap,
    /// The server's `backup_manifest`, byte for byte.
    BackupManifest,
    /// A configuration file that lies outside the data directory, or behind a link in it.
    Configuration,
}

/// A document that is stored with a backup, as `documents/<name>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentRef {
    /// What it is.
    pub kind: DocumentKind,
    /// Its name in the repository.
    pub name: String,
    /// Where it was on the server, when it is a configuration file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Its size.
    pub bytes: u64,
    /// Keyed digest of its content.
    pub digest: ContentDigest,
}

/// A tablespace outside the data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TablespaceRef {
    /// Its OID, the name of its link in `pg_tblspc`.
    pub oid: u32,
    /// Where it was on the server.
    pub path: PathBuf,
}

/// What a restore wants to know of the server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerDescription {
    /// `SELECT version()`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Values of settings at the time of the backup, in `SHOW`'s spelling.
    pub settings: BTreeMap<String, String>,
    /// Operating system, libc and ICU, as far as they were told.
    pub libraries: BTreeMap<String, String>,
}

/// The record before this one: records form a chain that shows when one was taken away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousRecord {
    /// The backup.
    pub id: BackupId,
    /// The MAC in its record's header.
    pub mac: ContentDigest,
}

/// The object `record`: it makes the backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupRecord {
    /// Names of features that a reader must know; none exist in format 1.
    #[serde(default)]
    pub required_features: Vec<String>,
    /// The backup.
    pub id: BackupId,
    /// One more than the largest when it began; orders backups.
    pub sequence: u64,
    /// The record before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<PreviousRecord>,
    /// Backups whose packs it may refer to.
    pub parents: Vec<BackupId>,
    /// The cluster's name when it was taken.
    pub cluster: ClusterName,
    /// The cluster's system identifier.
    pub system_identifier: SystemIdentifier,
    /// How it was taken.
    pub method: BackupMethod,
    /// Its label.
    pub label: String,
    /// The server it was taken from.
    pub node: NodeDescription,
    /// Major version of the server.
    pub major_version: PgMajorVersion,
    /// `server_version_num`
    pub version_num: u32,
    /// The version of pgv that took it.
    pub pgv_version: String,
    /// Where replay begins: the redo position of its checkpoint.
    pub start_lsn: Lsn,
    /// The timeline at its beginning.
    pub start_timeline: TimelineId,
    /// Where it is consistent.
    pub stop_lsn: Lsn,
    /// The timeline at its end.
    pub stop_timeline: TimelineId,
    /// When it began, by the server's clock.
    pub start_time: Timestamp,
    /// When it ended, by the server's clock.
    pub stop_time: Timestamp,
    /// Size of the cluster's WAL segments, in bytes.
    pub wal_segment_size: WalSegmentSize,
    /// Size of the cluster's pages, in bytes.
    pub block_bytes: u32,
    /// Whether the cluster has data checksums.
    pub data_checksums: bool,
    /// Sums.
    pub sizes: BackupSizes,
    /// Digest of the object `root`.
    pub root_digest: ContentDigest,
    /// Digest of the object `needs`.
    pub needs_digest: ContentDigest,
    /// Documents stored with it.
    pub documents: Vec<DocumentRef>,
    /// Tablespaces outside the data directory.
    pub tablespaces: Vec<TablespaceRef>,
    /// What a restore wants to know of the server.
    pub server: ServerDescription,
    /// What was found to be wrong with the data; a backup with findings is never the last good one.
    pub findings: Vec<String>,
}

impl BackupRecord {
    /// The value of a setting at the time of the backup.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.server.settings.get(name).map(String::as_str)
    }
}
