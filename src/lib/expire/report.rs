//! What `pgv expire` answers, as `--output json` prints it.
//!
//! COMPAT: schema version 1. Fields are added, never renamed or removed, while the version stays the same; absent values
//! are `null`. Times are UTC in RFC 3339, LSNs text as PostgreSQL writes them, system identifiers text, sizes bytes.

use std::fmt;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::Serialize;

use super::error::ExpireError;
use super::plan::{TreePlan, WalKept};
use super::rules::Rules;
use crate::codec::RepositoryId;
use crate::repository::{BackupId, Hold};

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
    /// Whether it was begun to be done, or is a plan alone. What was done, each tree says.
    pub applied: bool,
    /// What becomes of each tree.
    pub trees: Vec<TreePlan>,
    /// How many stored bytes the plan frees in all.
    pub planned_bytes: u64,
    /// How many were freed in all; of a plan alone, how many would be.
    pub freed_bytes: u64,
}

/// What was done of the plan of a tree.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TreeDone {
    /// Whether it came to its end; otherwise the next run goes on.
    pub finished: bool,
    /// The backups that were deleted, those included that were never finished.
    pub backups: Vec<BackupId>,
    /// How many packs were deleted.
    pub packs: u64,
    /// How many files of the WAL archive were deleted.
    pub wal_files: u64,
    /// How many stored bytes were freed.
    pub freed_bytes: u64,
    /// Backups that the plan wants gone, and that stay for now.
    pub held: Vec<HeldBackup>,
    /// Why WAL stays that the plan wants gone.
    pub wal_kept: Option<WalKept>,
}

/// A backup that stays although the plan wants it gone: something came in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct HeldBackup {
    /// Its id.
    pub id: BackupId,
    /// What came in between.
    #[serde(flatten)]
    pub because: HeldBecause,
}

/// What keeps a backup although the plan wants it gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "because", rename_all = "snake_case")]
#[non_exhaustive]
pub enum HeldBecause {
    /// It was pinned.
    Pinned,
    /// It was finished after all.
    Finished,
    /// It is silent and was never finished, and somebody is taking a backup, which may be this one.
    Locked,
    /// A backup that is running may refer to its packs.
    ParentOf {
        /// That one.
        backup: BackupId,
    },
}

impl HeldBackup {
    /// What a hold means; nothing when another run has deleted the backup.
    pub(super) fn of(id: BackupId, hold: Hold) -> Option<Self> {
        let because = match hold {
            Hold::Unmarked => return None,
            Hold::Pinned => HeldBecause::Pinned,
            Hold::Finished => HeldBecause::Finished,
            Hold::ParentOf(backup) => HeldBecause::ParentOf { backup },
        };
        Some(Self { id, because })
    }
}

impl fmt::Display for HeldBackup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, because } = self;
        match because {
            HeldBecause::Pinned => write!(f, "backup {id} stays: it was pinned meanwhile"),
            HeldBecause::Finished => write!(f, "backup {id} stays: it was finished meanwhile"),
            HeldBecause::Locked => {
                write!(f, "backup {id} stays for now: a backup is running, and it may be this one")
            }
            HeldBecause::ParentOf { backup } => {
                write!(f, "backup {id} stays for now: backup {backup} is running and may refer to it")
            }
        }
    }
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

    /// From here on it says what was done, and no more what would be.
    pub(super) fn begin(&mut self) {
        self.applied = true;
        self.freed_bytes = 0;
        self.trees.iter_mut().for_each(|tree| tree.freed_bytes = 0);
    }
}
