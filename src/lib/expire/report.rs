//! What `pgv expire` answers, as `--output json` prints it, and the two steps to it: the plan, and doing it.
//!
//! COMPAT: schema version 1. Fields are added, never renamed or removed, while the version stays the same; absent values
//! are `null`. Times are UTC in RFC 3339, LSNs text as PostgreSQL writes them, system identifiers text, sizes bytes.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use super::apply::Executor;
use super::error::ExpireError;
use super::facts::TreeFacts;
use super::plan::{self, TreePlan};
use super::rules::Rules;
use crate::clock::Clock;
use crate::codec::RepositoryId;
use crate::pg::WalSegmentSize;
use crate::report::{Cancel, Reporter};
use crate::repository::{ClusterName, ClusterRef, Repository, RepositoryError, Writer, WriterDescription};

/// The version of this schema.
pub const SCHEMA_VERSION: u32 = 1;

/// What a writer is called that writes for no data directory.
pub(super) const NO_DIRECTORY: &str = "unknown";

/// What is asked for.
#[derive(Debug, Clone)]
pub struct ExpireOptions {
    /// The repository's URL, as it was given.
    pub url: String,
    /// Its directory.
    pub path: PathBuf,
    /// The configuration file in use.
    pub configuration_file: Option<PathBuf>,
    /// This host's name.
    pub host: String,
    /// Whose backups.
    pub clusters: Vec<ClusterName>,
    /// What is to stay.
    pub rules: Rules,
}

/// The whole answer.
#[derive(Debug, Clone, Serialize)]
pub struct ExpireReport {
    /// Version of this schema: 1.
    pub schema_version: u32,
    /// The configuration file in use.
    pub configuration_file: Option<PathBuf>,
    /// The repository.
    pub repository: ExpiredRepository,
    /// What is to stay.
    pub rules: Rules,
    /// The time by which it was decided.
    pub now: Timestamp,
    /// Whether it was done, or is a plan alone.
    pub applied: bool,
    /// What becomes of each tree.
    pub trees: Vec<TreePlan>,
    /// How many stored bytes are freed in all.
    pub freed_bytes: u64,
}

/// The repository.
#[derive(Debug, Clone, Serialize)]
pub struct ExpiredRepository {
    /// Where it is, as it was given.
    pub url: String,
    /// The directory.
    pub path: PathBuf,
    /// Its id: 32 hexadecimal digits.
    pub id: RepositoryId,
}

impl ExpireReport {
    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.trees.iter().all(TreePlan::is_empty)
    }

    /// Why this plan is not carried out.
    pub fn refusal(&self) -> Option<ExpireError> {
        self.trees.iter().find_map(|tree| tree.refusal(&self.rules))
    }
}

/// Plans, and changes nothing.
pub fn plan(repository: &Repository, options: &ExpireOptions, clock: &dyn Clock) -> Result<ExpireReport, ExpireError> {
    let ExpireOptions { url, path, configuration_file, rules, .. } = options.clone();
    if rules.is_empty() {
        return Err(ExpireError::NoRule);
    }
    let now = clock.now();
    let mut trees = Vec::new();
    for (cluster, size) in trees_of(repository, &options.clusters)? {
        let facts = TreeFacts::gather(repository, &cluster, size, rules.wal_days.is_some())?;
        let mut tree = plan::plan(&facts, &rules, now)?;
        tree.freed_bytes = freed(repository, &cluster, &tree)?;
        trees.push(tree);
    }
    Ok(ExpireReport {
        schema_version: SCHEMA_VERSION,
        configuration_file,
        repository: ExpiredRepository { url, path, id: repository.id() },
        rules,
        now,
        applied: false,
        freed_bytes: trees.iter().map(|tree| tree.freed_bytes).sum(),
        trees,
    })
}

/// Does what the plan says.
pub fn apply(
    repository: &Repository,
    options: &ExpireOptions,
    report: &mut ExpireReport,
    reporter: &dyn Reporter,
    cancel: &Cancel,
) -> Result<(), ExpireError> {
    if let Some(refusal) = report.refusal() {
        return Err(refusal);
    }
    let description = WriterDescription::new(&options.host, Path::new(NO_DIRECTORY), report.now);
    let writer = Writer::new(repository, description);
    for tree in &report.trees {
        let cluster = tree.tree();
        if tree.is_empty() {
            repository.tidy(&cluster)?;
            continue;
        }
        repository.introduce(&cluster.name, &writer)?;
        let size = segment_size(repository, &cluster)?;
        let (host, now, writer) = (options.host.as_str(), report.now, &writer);
        let executor = Executor { repository, cluster: &cluster, size, writer, host, now, reporter, cancel };
        executor.run(tree)?;
        repository.tidy(&cluster)?;
    }
    report.applied = true;
    Ok(())
}

/// Every tree of these clusters, with the size of its segments.
pub(super) fn trees_of(
    repository: &Repository,
    clusters: &[ClusterName],
) -> Result<Vec<(ClusterRef, WalSegmentSize)>, ExpireError> {
    let mut trees = Vec::new();
    for name in clusters {
        let identifiers = repository.system_identifiers(name)?;
        if identifiers.is_empty() {
            return Err(ExpireError::UnknownCluster { cluster: name.clone(), store: repository.describe() });
        }
        for system_identifier in identifiers {
            let cluster = ClusterRef { name: name.clone(), system_identifier };
            let size = segment_size(repository, &cluster)?;
            trees.push((cluster, size));
        }
    }
    Ok(trees)
}

fn segment_size(repository: &Repository, cluster: &ClusterRef) -> Result<WalSegmentSize, ExpireError> {
    let identity = repository.identity(cluster)?;
    identity
        .map(|identity| identity.wal_segment_size)
        .ok_or_else(|| ExpireError::NoIdentity { cluster: cluster.name.clone() })
}

/// The stored bytes of all that goes.
fn freed(repository: &Repository, cluster: &ClusterRef, tree: &TreePlan) -> Result<u64, RepositoryError> {
    let going = &tree.going;
    let mut bytes = 0;
    for (backup, ordinal) in &going.packs {
        bytes += repository.stored_bytes(&repository.pack_key(cluster, backup, *ordinal)?)?;
    }
    for name in &going.wal {
        bytes += repository.stored_bytes(&repository.wal_key(cluster, name)?)?;
    }
    let folders = repository.backup_folders(cluster)?;
    for id in going.backups.iter().chain(&going.unfinished).chain(&tree.being_deleted) {
        for object in folders.get(id).map(|folder| folder.objects.as_slice()).unwrap_or_default() {
            bytes += repository.stored_bytes(&repository.backup_object_key(cluster, id, object)?)?;
        }
    }
    Ok(bytes)
}
