//! `pgv-basebackup`: the command line of the base backup.

use clap::Parser;

use super::args::{CommonArgs, ConnectionArgs, OutputArgs};
use super::context::{Context, NeedsConfiguration, Outcome, VerbArgs};
use super::program::Verb;
use crate::config::{CheckpointMode, Overrides};
use crate::error::Classified;

/// Takes a base backup of a running server into the repository
#[derive(Debug, Clone, Parser)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BackupArgs {
    /// How the server makes the checkpoint that the backup starts from
    #[arg(short = 'c', long, value_name = "MODE")]
    pub(crate) checkpoint: Option<CheckpointMode>,

    /// Label of the backup, written into its backup_label
    #[arg(short = 'l', long, value_name = "LABEL")]
    pub(crate) label: Option<String>,

    /// Most bytes a second to ask the server for, such as 50MB
    #[arg(short = 'r', long, value_name = "RATE")]
    pub(crate) max_rate: Option<String>,

    /// How long to wait for WAL to arrive in the archive, counted from the last one that did
    #[arg(long, value_name = "DURATION")]
    pub(crate) archive_timeout: Option<String>,

    /// zstd level, 1 to 19
    #[arg(long, value_name = "LEVEL")]
    pub(crate) compression_level: Option<String>,

    /// Compression workers [default: one for each processor]
    #[arg(short = 'j', long, value_name = "COUNT")]
    pub(crate) jobs: Option<String>,

    #[command(flatten)]
    pub(crate) output: OutputArgs,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,

    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

const EXAMPLES: &str = "\
Examples:
  pgv-basebackup                                             of the one configured cluster
  pgv-basebackup --checkpoint fast --max-rate 50MB           start at once, spare the server's disks
  pgv-basebackup --repo /srv/pgv --cluster main -h db1 -U pgv
  pgv-basebackup -d 'host=db1 user=pgv sslmode=verify-full'

Exit status: 0 the backup is complete and listed; 2 usage or configuration; 3 refused; 4 not
reachable, no room, no permission or too slow; 5 damaged data; 70 a defect of pgv; 130 ended by a
signal.";

impl VerbArgs for BackupArgs {
    const VERB: Verb = Verb::Backup;

    fn common(&self) -> Option<&CommonArgs> {
        Some(&self.common)
    }

    fn overrides(&self) -> Overrides {
        let mut overrides = self.common.overrides();
        overrides.set("backup.checkpoint", "--checkpoint", self.checkpoint.map(CheckpointMode::as_str));
        overrides.set("backup.label", "--label", self.label.as_deref());
        overrides.set("backup.max_rate", "--max-rate", self.max_rate.as_deref());
        overrides.set("backup.archive_timeout", "--archive-timeout", self.archive_timeout.as_deref());
        overrides.set("backup.compression_level", "--compression-level", self.compression_level.as_deref());
        overrides.set("backup.jobs", "--jobs", self.jobs.as_deref());
        overrides
    }

    fn needs_configuration(&self) -> NeedsConfiguration {
        NeedsConfiguration::Yes
    }

    fn writes(&self) -> bool {
        true
    }

    fn run(self, context: &Context) -> Result<Outcome, Box<dyn Classified>> {
        run(self, context)
    }
}

/// Runs the verb.
pub(crate) fn run(_args: BackupArgs, context: &Context) -> Result<Outcome, Box<dyn Classified>> {
    backup_is_not_built_yet(context)
}

fn backup_is_not_built_yet(_context: &Context) -> Result<Outcome, Box<dyn Classified>> {
    Err(super::usage::UsageError::not_built_yet(Verb::Backup).into())
}
