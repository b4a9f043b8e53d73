//! `pgv-recovery-conf`: the command line of the generator of recovery configuration.
//!
//! INVARIANT: `--clear` reads no configuration: PostgreSQL runs it as `recovery_end_command` at the end of a recovery,
//! and nothing that became of pgv.toml since may keep the targets in place.

use std::path::PathBuf;

use clap::Parser;

use super::args::CommonArgs;
use super::context::{Context, NeedsConfiguration, Outcome, VerbArgs};
use super::program::Verb;
use super::recovery_args::{StandbyArgs, TargetArgs};
use crate::config::Overrides;
use crate::error::Classified;

/// Prints or writes the recovery configuration for a target or a standby
#[derive(Debug, Clone, Parser)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RecoveryConfArgs {
    /// Data directory, for --write and --clear
    #[arg(short = 'D', long, value_name = "DIR")]
    pub(crate) pgdata: Option<PathBuf>,

    /// Write the settings and the signal file into DIR instead of printing them
    #[arg(long, requires = "pgdata")]
    pub(crate) write: bool,

    /// Remove from DIR what was written for a recovery, and only that
    #[arg(long, requires = "pgdata", conflicts_with_all = ["write", "target", "standby", "target_timeline"])]
    pub(crate) clear: bool,

    #[command(flatten)]
    pub(crate) target: TargetArgs,

    #[command(flatten)]
    pub(crate) standby: StandbyArgs,

    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

const EXAMPLES: &str = "\
Examples:
  pgv-recovery-conf --target-time '2026-11-20 14:30:00+00'   print the lines
  pgv-recovery-conf --write -D DIR --target-name before_upgrade
  pgv-recovery-conf --write -D DIR --standby --primary-conninfo 'host=db1 user=replicator'
  pgv-recovery-conf --clear -D DIR                           what recovery_end_command runs

Exit status: 0 done; 2 usage or configuration; 3 refused; 4 not reachable, no room or no
permission; 5 damaged data; 70 a defect of pgv.";

impl VerbArgs for RecoveryConfArgs {
    const VERB: Verb = Verb::RecoveryConf;

    fn common(&self) -> Option<&CommonArgs> {
        Some(&self.common)
    }

    fn overrides(&self) -> Overrides {
        self.common.overrides()
    }

    fn needs_configuration(&self) -> NeedsConfiguration {
        if self.clear { NeedsConfiguration::No } else { NeedsConfiguration::Yes }
    }

    fn writes(&self) -> bool {
        self.write || self.clear
    }

    fn run(self, context: &Context) -> Result<Outcome, Box<dyn Classified>> {
        run(self, context)
    }
}

/// Runs the verb.
pub(crate) fn run(_args: RecoveryConfArgs, context: &Context) -> Result<Outcome, Box<dyn Classified>> {
    recovery_conf_is_not_built_yet(context)
}

fn recovery_conf_is_not_built_yet(_context: &Context) -> Result<Outcome, Box<dyn Classified>> {
    Err(super::usage::UsageError::not_built_yet(Verb::RecoveryConf).into())
}
