//! What `pgv init` answers, as `--output json` prints it.
//!
//! COMPAT: schema version 1. Fields are added, never renamed or removed, while the version stays the same; absent
//! values are `null`.

use std::path::PathBuf;

use serde::Serialize;

use super::facts::FactSource;
use super::finding::Finding;
use super::registration::Registered;
use crate::codec::RepositoryId;
use crate::pg::{PgMajorVersion, SystemIdentifier};
use crate::repository::ClusterName;

/// The whole answer.
#[derive(Debug, Clone, Serialize)]
pub struct InitReport {
    /// Version of this schema: 1.
    pub schema_version: u32,
    /// The repository.
    pub repository: InitRepository,
    /// The cluster.
    pub cluster: InitCluster,
    /// The configuration file.
    pub configuration: InitConfiguration,
    /// The server's set-up.
    pub server: InitServer,
    /// What should be looked at, as sentences.
    pub warnings: Vec<String>,
}

/// The repository.
#[derive(Debug, Clone, Serialize)]
pub struct InitRepository {
    /// Where it is, as it was given.
    pub url: String,
    /// The directory.
    pub path: PathBuf,
    /// Its id: 32 hexadecimal digits.
    pub id: RepositoryId,
    /// Whether it was created now.
    pub created: bool,
    /// Whether its `repository.json` was missing, and was written anew, as its other objects say.
    pub rebuilt: bool,
    /// The promises that were tried and held: `create_only` (a second writer cannot replace a file) and `sync` (files and
    /// directories can be made durable). What does not hold is an error.
    pub promises: Vec<&'static str>,
    /// Whether objects are published by hard links; else by renames that do not replace.
    pub hard_links: bool,
    /// Bytes that can still be written to its file system.
    pub available_bytes: u64,
}

/// The cluster.
#[derive(Debug, Clone, Serialize)]
pub struct InitCluster {
    /// Its name.
    pub name: ClusterName,
    /// Its system identifier, in decimal, as text.
    pub system_identifier: SystemIdentifier,
    /// Its major version, as 15.
    pub major_version: PgMajorVersion,
    /// The size of its WAL segments.
    pub wal_segment_bytes: u64,
    /// Its data directory, when that is on this host.
    pub data_directory: Option<PathBuf>,
    /// `now`, `before`, `upgraded` or `rebuilt`: what registering came to.
    pub registered: Registered,
    /// When it was registered.
    pub since: jiff::Timestamp,
    /// `server` or `control_file`: where this was learnt.
    pub source: FactSource,
}

/// The configuration file.
#[derive(Debug, Clone, Serialize)]
pub struct InitConfiguration {
    /// The one in use.
    pub file: PathBuf,
    /// Whether it was written now.
    pub written: bool,
    /// What it lacks, as lines of TOML: they must be added, or replace those of the same key.
    pub lines_to_add: Option<String>,
}

/// The server's set-up.
#[derive(Debug, Clone, Serialize)]
pub struct InitServer {
    /// Whether it was asked. Otherwise only its control file is known, and lines may stand in its files already.
    pub asked: bool,
    /// Whether it is a standby or recovers.
    pub in_recovery: bool,
    /// The role that it was asked as.
    pub role: Option<String>,
    /// The value that `archive_command` should have.
    pub archive_command: String,
    /// What it lacks; nothing when all is well.
    pub findings: Vec<Finding>,
    /// SQL that makes a role with the rights that backups need and no others, when it was asked as a superuser or not at
    /// all.
    pub role_sql: Vec<String>,
}
