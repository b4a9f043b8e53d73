//! What `pgv check` answers, as `--output json` prints it.
//!
//! COMPAT: schema version 1. Fields and checks are added, never renamed or removed, while the version stays the same.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::Serialize;

use crate::repository::ClusterRef;

/// The version of this schema.
pub const SCHEMA_VERSION: u32 = 1;

/// The whole answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// Version of this schema: 1.
    pub schema_version: u32,
    /// When it was looked, by this host's clock.
    pub checked_at: Timestamp,
    /// The configuration file in use.
    pub configuration_file: Option<PathBuf>,
    /// The cluster, when it was found; as `main/7312345678901234567`.
    pub cluster: Option<String>,
    /// The worst of all.
    pub state: CheckState,
    /// One for each thing that was looked at.
    pub checks: Vec<CheckItem>,
    /// Numbers, for monitoring.
    pub metrics: Vec<Metric>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckItem {
    /// What.
    pub check: CheckName,
    /// How it is.
    pub state: CheckState,
    /// What was found, as a clause.
    pub found: String,
    /// What to do; absent when all is well.
    pub advice: Option<String>,
}

/// How something is; the later the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckState {
    /// As it should be.
    Ok,
    /// It could not be looked at.
    Unknown,
    /// It should be mended soon.
    Warning,
    /// Data or service is at risk.
    Critical,
}

impl CheckState {
    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// The exit status of a monitoring plugin: 0, 1 warning, 2 critical, 3 unknown.
    pub const fn plugin_status(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Warning => 1,
            Self::Critical => 2,
            Self::Unknown => 3,
        }
    }
}

macro_rules! names {
    ($($(#[$doc:meta])* $variant:ident = $word:literal),+ $(,)?) => {
        /// What is looked at.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
        pub enum CheckName {
            $($(#[$doc])* #[serde(rename = $word)] $variant),+
        }

        impl CheckName {
            /// Its word, the same in tables, JSON and metrics.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }
    };
}

names! {
    /// Which configuration file is in use.
    Configuration = "configuration",
    /// Whether the repository is there, and who may read and write it.
    Repository = "repository",
    /// How long the repository's file system lasts.
    RepositoryRoom = "repository_room",
    /// Whether the server answers.
    Server = "server",
    /// Settings that break archiving or recovery.
    Settings = "settings",
    /// Whether a segment of the server arrives in the archive.
    Archiving = "archiving",
    /// WAL that waits to be archived.
    WaitingWal = "waiting_wal",
    /// What the server's archiver says.
    Archiver = "archiver",
    /// How long the file system of `pg_wal` lasts.
    WalRoom = "pg_wal_room",
    /// Replication slots, which keep WAL.
    Slots = "slots",
    /// How old the last good backup is.
    LastBackup = "last_backup",
    /// Whether the records of the backups can be read.
    Catalog = "catalog",
    /// Holes in the archived WAL.
    Holes = "holes",
    /// Histories of timelines.
    History = "history",
    /// Whether server, archive and newest backup are on one timeline.
    Timeline = "timeline",
}

/// A number, as Prometheus' text format has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Metric {
    /// Its name; the unit is its last word.
    pub name: &'static str,
    /// What it means.
    #[serde(skip)]
    pub help: &'static str,
    /// A label beside the cluster's.
    pub label: Option<(&'static str, String)>,
    /// The value.
    pub value: u64,
}

/// The cluster as the report names it.
pub(super) fn cluster_text(cluster: &ClusterRef) -> String {
    format!("{}/{}", cluster.name, cluster.system_identifier)
}
