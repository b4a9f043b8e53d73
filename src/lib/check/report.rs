//! What `pgv check` answers, as values.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::Serialize;

use super::finding::Finding;
use super::metrics::Metric;
use crate::repository::ClusterRef;

/// The whole answer.
#[derive(Debug, Clone)]
pub struct CheckReport {
    /// When it was looked, by this host's clock.
    pub checked_at: Timestamp,
    /// The configuration file in use.
    pub configuration_file: Option<PathBuf>,
    /// The cluster, when it was found.
    pub cluster: Option<ClusterRef>,
    /// The worst of all.
    pub state: CheckState,
    /// One for each thing that was looked at.
    pub checks: Vec<CheckItem>,
    /// Numbers, for monitoring.
    pub metrics: Vec<Metric>,
}

/// One thing that was looked at.
#[derive(Debug, Clone)]
pub struct CheckItem {
    /// What.
    pub check: CheckName,
    /// How it is.
    pub state: CheckState,
    /// What was found.
    pub(crate) finding: Finding,
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
