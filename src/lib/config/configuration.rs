//! The resolved settings, as values of their own types.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Account, BackupMethodChoice, CheckpointMode, ConfigError, Environment, LogFormat, LogLevel};
use crate::codec::{CompressionLevel, RepositoryId};
use crate::pg::SystemIdentifier;
use crate::repository::ClusterName;

/// Every setting, validated.
#[derive(Debug, Clone)]
pub struct Configuration {
    pub(super) source: Option<PathBuf>,
    pub(super) is_usual_file: bool,
    pub(super) new_files: Vec<PathBuf>,
    pub(super) repo: Option<RepoSettings>,
    pub(super) clusters: BTreeMap<ClusterName, ClusterSettings>,
    pub(super) selected: Option<ClusterName>,
    pub(super) is_cluster_option: bool,
    pub(super) command_options: Vec<(&'static str, OsString)>,
    pub(super) archive: ArchiveSettings,
    pub(super) fetch: FetchSettings,
    pub(super) backup: BackupSettings,
    pub(super) check: CheckSettings,
    pub(super) restore: RestoreSettings,
    pub(super) retention: RetentionSettings,
    pub(super) log: LogSettings,
    pub(super) account: Account,
    pub(super) variables: Environment,
    pub(super) warnings: Vec<String>,
}

/// Where the repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoSettings {
    /// As it was written.
    pub url: String,
    /// The local directory.
    pub path: PathBuf,
    /// The id that it must have.
    pub id: Option<RepositoryId>,
}

/// What is known of a cluster on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterSettings {
    /// Its name in the repository.
    pub name: ClusterName,
    /// Its data directory.
    pub pgdata: Option<PathBuf>,
    /// How to connect to its server.
    pub conninfo: Option<Conninfo>,
    /// Its system identifier.
    pub system_identifier: Option<SystemIdentifier>,
    /// Its servers, in the order of the file.
    pub nodes: Vec<NodeSettings>,
}

/// One server of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSettings {
    /// What it is called.
    pub name: String,
    /// How to connect to it.
    pub conninfo: Conninfo,
    /// Where it stands.
    pub zone: Option<String>,
    /// Of several with the same lag the one with the highest is chosen.
    pub priority: i32,
}

impl ClusterSettings {
    /// A cluster of which only the name is known.
    pub fn named(name: ClusterName) -> Self {
        Self { name, pgdata: None, conninfo: None, system_identifier: None, nodes: Vec::new() }
    }
}

/// A connection string or URI; it may hold a password, and `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Conninfo(String);

impl Conninfo {
    pub(super) fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, with its password.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Conninfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Conninfo(...)")
    }
}

/// `[archive]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveSettings {
    /// When to give up; less than 60 s.
    pub timeout: Duration,
    /// zstd level of WAL.
    pub compression_level: CompressionLevel,
}

/// `[fetch]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchSettings {
    /// How long what may pass is tried again.
    pub timeout: Duration,
    /// How long nothing may move.
    pub stall_timeout: Duration,
}

/// `[backup]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupSettings {
    /// How the server makes the first checkpoint.
    pub checkpoint: CheckpointMode,
    /// How the files are read.
    pub method: BackupMethodChoice,
    /// Most bytes a second to read or to ask the server for.
    pub max_rate: Option<u64>,
    /// How long to wait for WAL, from the last one that arrived.
    pub archive_timeout: Duration,
    /// zstd level.
    pub compression_level: CompressionLevel,
    /// Workers that compress and read; one for each processor when absent.
    pub jobs: Option<NonZeroUsize>,
    /// The niceness of the process.
    pub nice: i32,
    /// The label.
    pub label: Option<String>,
}

/// `[check]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckSettings {
    /// Age of the last good backup that is worth a warning.
    pub backup_warning: Duration,
    /// Age of the last good backup that is critical.
    pub backup_critical: Duration,
    /// How long a segment may take to the archive.
    pub archive_timeout: Duration,
    /// How long a question may stay without an answer.
    pub stall_timeout: Duration,
}

/// `[restore]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RestoreSettings {
    /// Where tablespaces go that are not mapped.
    pub tablespace_dir: Option<PathBuf>,
    /// Where the programs of servers are.
    pub pg_bindir: Option<PathBuf>,
}

/// `[retention]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RetentionSettings {
    /// How many good backups stay.
    pub keep: Option<NonZeroU32>,
    /// Of how many days every moment stays reachable.
    pub keep_days: Option<u32>,
    /// Of how many days WAL stays that no backup needs.
    pub wal_days: Option<u32>,
    /// How long a backup stays that no rule keeps.
    pub grace: Option<Duration>,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// The least severe level; the program's own when absent.
    pub level: Option<LogLevel>,
    /// Form of the messages.
    pub format: LogFormat,
}

impl Configuration {
    /// The configuration file in use.
    pub fn source(&self) -> Option<&Path> {
        self.source.as_deref()
    }

    /// Whether that file was found in its usual place: who runs a command as this account need not name it.
    pub fn is_usual_file(&self) -> bool {
        self.is_usual_file
    }

    /// The options, with absolute paths, by which a program finds these settings of repository and cluster wherever it
    /// runs and without any variable: for commands that the server runs.
    pub fn command_options(&self) -> &[(&'static str, OsString)] {
        &self.command_options
    }

    /// Where a configuration file would be looked for although none is there, in order: `pgv init` writes the first
    /// that it can.
    pub fn new_files(&self) -> &[PathBuf] {
        &self.new_files
    }

    /// The repository; an error when none is configured.
    pub fn repo(&self) -> Result<&RepoSettings, ConfigError> {
        self.repo.as_ref().ok_or(ConfigError::NoRepository)
    }

    /// The clusters of this host by name.
    pub fn clusters(&self) -> &BTreeMap<ClusterName, ClusterSettings> {
        &self.clusters
    }

    /// The cluster that was named by `--cluster` or `PGV_CLUSTER`. It need not be configured.
    pub fn named_cluster(&self) -> Option<&ClusterName> {
        self.selected.as_ref()
    }

    /// Whether `--cluster` named it, and no variable: who says so on the command line means this very directory, too.
    pub fn is_cluster_option(&self) -> bool {
        self.is_cluster_option
    }

    /// The cluster to work on: the one that was named, else the only one that is configured.
    ///
    /// One that was named and is not configured is known by its name alone; whether it exists, the repository says.
    pub fn cluster(&self) -> Result<ClusterSettings, ConfigError> {
        if let Some(name) = &self.selected {
            let configured = self.clusters.get(name).cloned();
            return Ok(configured.unwrap_or_else(|| ClusterSettings::named(name.clone())));
        }
        let mut clusters = self.clusters.values();
        match (clusters.next(), clusters.next()) {
            (None, _) => Err(ConfigError::NoCluster),
            (Some(only), None) => Ok(only.clone()),
            (Some(_), Some(_)) => {
                let names = self.clusters.keys().map(ToString::to_string).collect();
                Err(ConfigError::SeveralClusters { names })
            }
        }
    }

    /// The configured clusters of that system identifier, for pgv-archive and pgv-fetch: a cluster that was moved or
    /// renamed may be there twice.
    pub fn clusters_by_system_identifier(&self, identifier: SystemIdentifier) -> Vec<&ClusterSettings> {
        self.clusters.values().filter(|cluster| cluster.system_identifier == Some(identifier)).collect()
    }

    /// `[archive]`
    pub fn archive(&self) -> &ArchiveSettings {
        &self.archive
    }

    /// `[fetch]`
    pub fn fetch(&self) -> &FetchSettings {
        &self.fetch
    }

    /// `[backup]`
    pub fn backup(&self) -> &BackupSettings {
        &self.backup
    }

    /// `[check]`
    pub fn check(&self) -> &CheckSettings {
        &self.check
    }

    /// `[restore]`
    pub fn restore(&self) -> &RestoreSettings {
        &self.restore
    }

    /// `[retention]`
    pub fn retention(&self) -> &RetentionSettings {
        &self.retention
    }

    /// `[log]`
    pub fn log(&self) -> &LogSettings {
        &self.log
    }

    /// The account that this process runs as.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// A variable of the environment or, when it is not there, of the file of variables: `PGHOST` and the like.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name)
    }

    /// What should be mended although the settings can be used.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}
