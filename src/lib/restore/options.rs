//! What a restore is told, resolved.

use std::path::PathBuf;

use super::choose::BackupChoice;
use super::target_directory::{OccupiedDirectory, Surroundings};
use crate::pg::{RecoveryTarget, RecoveryTargetAction, RecoveryTargetTimeline, TargetBound};
use crate::server::ConnectionSettings;

/// Everything that was asked for.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// Where to restore into; absolute.
    pub directory: PathBuf,
    /// Which backup to start from.
    pub backup: BackupChoice,
    /// Where to stop.
    pub target: RequestedTarget,
    /// Which timeline to follow.
    pub timeline: Option<RecoveryTargetTimeline>,
    /// What the server does at the target.
    pub action: Option<RecoveryTargetAction>,
    /// It becomes a standby instead.
    pub standby: Option<StandbyOptions>,
    /// Tablespaces by where they were, and where they go.
    pub tablespace_mappings: Vec<(PathBuf, PathBuf)>,
    /// Where every other tablespace gets a directory of its own.
    pub tablespace_dir: Option<PathBuf>,
    /// What may be done with what is in the way.
    pub occupied: OccupiedDirectory,
    /// Whether the restored cluster archives.
    pub archiving: ArchivingChoice,
    /// The commands that the restored server will run.
    pub commands: RecoveryCommands,
    /// The data directory that the configuration names for this cluster.
    pub configured_pgdata: Option<PathBuf>,
    /// What must not be restored over.
    pub surroundings: Surroundings,
}

/// Where to stop, as far as it could be understood without the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestedTarget {
    /// Understood.
    Known(RecoveryTarget),
    /// A time as it was typed: when it lacks an offset, the backup knows the server's zone.
    Time(String, TargetBound),
}

/// Of a standby.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StandbyOptions {
    /// How it connects to its primary; may hold a password.
    pub primary_conninfo: Option<String>,
    /// The slot that it uses there.
    pub primary_slot_name: Option<String>,
}

/// Whether the restored cluster archives.
#[derive(Debug, Clone, Default)]
pub enum ArchivingChoice {
    /// It does not.
    #[default]
    Off,
    /// As its original does; refused while that one answers as a primary at one of these.
    Keep {
        /// Where it may answer, unless it is said to be gone for good.
        originals: Vec<ConnectionSettings>,
    },
}

/// The commands that the restored server will run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryCommands {
    /// The words of `restore_command` without the file names: absolute, and all that pgv-fetch needs.
    pub fetch: Vec<String>,
    /// The absolute path of pgv-recovery-conf.
    pub recovery_conf: String,
}
