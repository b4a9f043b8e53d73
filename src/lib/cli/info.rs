//! `pgv info`, also `pgv list`: the command line of the overview.

use clap::Parser;

use super::args::{CommonArgs, OutputArgs};
use super::context::{Context, NeedsConfiguration, Outcome, VerbArgs};
use super::program::Verb;
use crate::config::Overrides;
use crate::error::Classified;

/// Shows what the repository holds: backups, WAL ranges and holes, writers
#[derive(Debug, Clone, Parser)]
#[command(after_help = EXAMPLES)]
pub(crate) struct InfoArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,

    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

const EXAMPLES: &str = "\
Examples:
  pgv info                                                   every cluster of the configured repository
  pgv info --cluster main --output json
  pgv info --repo /srv/pgv                                   without a configuration file

Exit status: 0 shown; 1 no such cluster; 2 usage or configuration; 4 not reachable; 5 damaged data.";

impl VerbArgs for InfoArgs {
    const VERB: Verb = Verb::Info;

    fn common(&self) -> Option<&CommonArgs> {
        Some(&self.common)
    }

    fn overrides(&self) -> Overrides {
        self.common.overrides()
    }

    fn needs_configuration(&self) -> NeedsConfiguration {
        NeedsConfiguration::Yes
    }

    fn writes(&self) -> bool {
        false
    }

    fn run(self, context: &Context) -> Result<Outcome, Box<dyn Classified>> {
        run(self, context)
    }
}

/// Runs the verb.
pub(crate) fn run(_args: InfoArgs, context: &Context) -> Result<Outcome, Box<dyn Classified>> {
    info_is_not_built_yet(context)
}

fn info_is_not_built_yet(_context: &Context) -> Result<Outcome, Box<dyn Classified>> {
    Err(super::usage::UsageError::not_built_yet(Verb::Info).into())
}
