//! `pgv-restore`: the command line of the restore.

use std::path::PathBuf;

use clap::Parser;

use super::args::{CommonArgs, OutputArgs};
use super::context::{Context, NeedsConfiguration, Outcome, VerbArgs};
use super::program::Verb;
use super::recovery_args::{StandbyArgs, TablespaceMapping, TargetArgs};
use crate::config::Overrides;
use crate::error::Classified;

/// Restores a cluster as of a moment, and prepares its recovery
#[derive(Debug, Clone, Parser)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RestoreArgs {
    /// Directory to restore into: empty or absent, or with --move-aside any other
    #[arg(short = 'D', long, value_name = "DIR")]
    pub(crate) pgdata: PathBuf,

    /// Backup to start from: its id, or latest [default: the one that fits the target]
    #[arg(long, value_name = "ID")]
    pub(crate) backup: Option<String>,

    /// Restore the tablespace at OLD to NEW; may be given several times
    #[arg(short = 'T', long, value_name = "OLD=NEW", value_parser = TablespaceMapping::parse)]
    pub(crate) tablespace_mapping: Vec<TablespaceMapping>,

    /// Restore every other tablespace to a directory of its own below this one
    #[arg(long, value_name = "DIR")]
    pub(crate) tablespace_dir: Option<PathBuf>,

    /// Show the plan and touch nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,

    /// Rename the directory and tablespaces that are in the way; nothing is deleted
    #[arg(long)]
    pub(crate) move_aside: bool,

    /// Leave archiving on in the restored cluster
    #[arg(long)]
    pub(crate) keep_archiving: bool,

    /// Confirms that the original will never run again; for --keep-archiving
    #[arg(long, requires = "keep_archiving")]
    pub(crate) old_primary_is_gone: bool,

    #[command(flatten)]
    pub(crate) output: OutputArgs,

    #[command(flatten)]
    pub(crate) target: TargetArgs,

    #[command(flatten)]
    pub(crate) standby: StandbyArgs,

    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

const EXAMPLES: &str = "\
Examples:
  pgv-restore -D /srv/restored --target-time '2026-11-20 14:30:00+00' --dry-run
  pgv-restore -D /srv/restored --target-time '2026-11-20 14:30:00 Europe/Berlin'
  pgv-restore -D /var/lib/postgresql/15/main --move-aside    in place, up to the latest
  pgv-restore -D DIR --backup latest --target-immediate      the backup alone
  pgv-restore -D DIR --standby --primary-conninfo 'host=db1 user=replicator'

Exit status: 0 restored; 1 no such backup; 2 usage or configuration; 3 refused, nothing was
touched; 4 not reachable, no room or no permission; 5 damaged data; 70 a defect of pgv; 130 ended
by a signal.";

impl VerbArgs for RestoreArgs {
    const VERB: Verb = Verb::Restore;

    fn common(&self) -> Option<&CommonArgs> {
        Some(&self.common)
    }

    fn overrides(&self) -> Overrides {
        let mut overrides = self.common.overrides();
        let tablespace_dir = self.tablespace_dir.as_ref().map(|dir| dir.to_string_lossy());
        overrides.set("restore.tablespace_dir", "--tablespace-dir", tablespace_dir.as_deref());
        overrides
    }

    fn needs_configuration(&self) -> NeedsConfiguration {
        NeedsConfiguration::Yes
    }

    fn writes(&self) -> bool {
        !self.dry_run
    }

    fn run(self, context: &Context) -> Result<Outcome, Box<dyn Classified>> {
        run(self, context)
    }
}

/// Runs the verb.
pub(crate) fn run(_args: RestoreArgs, context: &Context) -> Result<Outcome, Box<dyn Classified>> {
    restore_is_not_built_yet(context)
}

fn restore_is_not_built_yet(_context: &Context) -> Result<Outcome, Box<dyn Classified>> {
    Err(super::usage::UsageError::not_built_yet(Verb::Restore).into())
}
