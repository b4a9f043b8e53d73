//! What `pgv verify` answers, as `--output json` prints it.
//!
//! COMPAT: schema version 1. Fields are added, never renamed or removed, while the version stays the same; absent values
//! are `null`. Times are UTC in RFC 3339, LSNs text as PostgreSQL writes them, system identifiers text, sizes bytes.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::Serialize;

use super::finding::{Cost, Finding};
use crate::codec::RepositoryId;
use crate::error::{Classified, ErrorClass};
use crate::pg::SystemIdentifier;
use crate::repository::{BackupId, ClusterName};

/// The version of this schema.
pub const SCHEMA_VERSION: u32 = 1;

/// The whole answer.
#[derive(Debug, Clone, Serialize)]
pub struct VerifyReport {
    /// Version of this schema: 1.
    pub schema_version: u32,
    /// The configuration file in use.
    pub configuration_file: Option<PathBuf>,
    /// The repository.
    pub repository: VerifiedRepository,
    /// How much was looked at.
    pub scope: VerifyScope,
    /// What was read.
    pub read: VerifyRead,
    /// The listed backups, by cluster, in the order in which they were taken.
    pub backups: Vec<VerifiedBackup>,
    /// What is damaged, missing or cannot be read, and what each costs.
    pub damaged: Vec<Finding>,
    /// How many more objects are damaged than are named.
    pub more_damaged: u64,
    /// What is no part of any backup or archive: no damage.
    pub left_overs: Vec<VerifyLeftOver>,
    /// How many more left-overs there are than are named.
    pub more_left_overs: u64,
}

/// The repository.
#[derive(Debug, Clone, Serialize)]
pub struct VerifiedRepository {
    /// Where it is, as it was given.
    pub url: String,
    /// The directory.
    pub path: PathBuf,
    /// Its id: 32 hexadecimal digits.
    pub id: RepositoryId,
}

/// How much was looked at.
#[derive(Debug, Clone, Serialize)]
pub struct VerifyScope {
    /// `full`, `sample` or `quick`.
    pub depth: &'static str,
    /// Percent of the content that was to be read, when a sample was.
    pub sample_percent: Option<f64>,
    /// Which sample.
    pub seed: Option<u64>,
    /// The only cluster that was looked at.
    pub cluster: Option<ClusterName>,
    /// The only backup that was looked at.
    pub backup: Option<BackupId>,
    /// Whether the records of the WAL were read.
    pub wal_records: bool,
}

/// What was read.
#[derive(Debug, Clone, Default, Serialize)]
pub struct VerifyRead {
    /// Objects that were looked at.
    pub objects: u64,
    /// Of those, the ones that were read from their first byte to their last.
    pub whole_objects: u64,
    /// Stored bytes that were read.
    pub stored_bytes: u64,
    /// Records of WAL that were read.
    pub wal_records: u64,
    /// How long it took.
    pub seconds: f64,
}

/// A listed backup.
#[derive(Debug, Clone, Serialize)]
pub struct VerifiedBackup {
    /// Its cluster.
    pub cluster: ClusterName,
    /// That cluster's system identifier.
    pub system_identifier: SystemIdentifier,
    /// Its id.
    pub id: BackupId,
    /// Whether nothing was found that keeps it from being restored.
    pub can_be_restored: bool,
}

/// What a left-over is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VerifyLeftOverKind {
    /// A name that no rule of the repository's layout makes.
    Stray,
    /// A backup without a record: running, or given up.
    UnfinishedBackup,
    /// A backup that is whole but for its record: it was killed at its last step, or its record was lost.
    RecordlessBackup,
    /// A pack that no backup needs.
    UnneededPack,
    /// What a writer writes, or has left behind.
    Staged,
}

/// Something that is no part of any backup or archive.
#[derive(Debug, Clone, Serialize)]
pub struct VerifyLeftOver {
    /// What it is.
    pub kind: VerifyLeftOverKind,
    /// Its name: a key, a file, or a backup's id.
    pub object: String,
    /// When it was begun or last written.
    pub since: Option<Timestamp>,
    /// How many objects there are of it.
    pub objects: u64,
}

/// The answer was given, and something is damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}; see the answer", describe(*count, *class))]
pub struct VerifyFailed {
    count: u64,
    class: ErrorClass,
    loses_cluster: bool,
}

impl VerifyFailed {
    /// Whether nothing of a cluster can be archived, so that no backup helps.
    pub(crate) const fn loses_cluster(&self) -> bool {
        self.loses_cluster
    }
}

fn describe(count: u64, class: ErrorClass) -> String {
    let what = match class {
        ErrorClass::Corrupt => "damaged or missing",
        ErrorClass::Unsupported => "written by a newer pgv",
        _ => "not readable",
    };
    match count {
        1 => format!("an object in the repository is {what}"),
        _ => format!("{count} objects in the repository are {what}"),
    }
}

impl Classified for VerifyFailed {
    fn class(&self) -> ErrorClass {
        self.class
    }
}

impl VerifyReport {
    /// An error when not everything is as it should be; damage goes before everything else.
    pub fn failure(&self) -> Option<VerifyFailed> {
        let damaged = self.damaged.iter().find(|finding| finding.class == ErrorClass::Corrupt);
        let worst = damaged.or(self.damaged.first())?;
        let loses_cluster = self.damaged.iter().any(|finding| finding.costs.contains(&Cost::Cluster));
        let count = self.damaged.len() as u64 + self.more_damaged;
        Some(VerifyFailed { count, class: worst.class, loses_cluster })
    }
}
