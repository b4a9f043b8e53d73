//! What `pgv expire` answers, as `--output json` prints it.
//!
//! COMPAT: schema version 1. Fields are added, never renamed or removed, while the version stays the same; absent values
//! are `null`. Times are UTC in RFC 3339, LSNs text as PostgreSQL writes them, system identifiers text, sizes bytes.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::Serialize;

use super::error::ExpireError;
use super::plan::TreePlan;
use super::rules::Rules;
use crate::codec::RepositoryId;

/// The version of this schema.
pub const SCHEMA_VERSION: u32 = 1;

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
