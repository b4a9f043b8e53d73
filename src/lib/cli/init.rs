//! `pgv init`: the command line of the set-up.

use std::path::PathBuf;

use clap::Parser;

use super::args::{CommonArgs, ConnectionArgs, OutputArgs};
use super::context::{Context, NeedsConfiguration, Outcome, VerbArgs};
use super::program::Verb;
use crate::config::Overrides;
use crate::error::Classified;

/// Creates a repository, registers a cluster in it, and says what the server still lacks
#[derive(Debug, Clone, Parser)]
#[command(after_help = EXAMPLES)]
pub(crate) struct InitArgs {
    /// Read the cluster from this data directory instead of from the server; for a stopped one
    #[arg(short = 'D', long, value_name = "DIR")]
    pub(crate) pgdata: Option<PathBuf>,

    /// Accept another system identifier under the same name, after pg_upgrade or a rebuild
    #[arg(long)]
    pub(crate) upgraded: bool,

    #[command(flatten)]
    pub(crate) output: OutputArgs,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,

    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

const EXAMPLES: &str = "\
Examples:
  pgv init --repo /srv/pgv --cluster main                    from the local server
  pgv init --repo /srv/pgv --cluster main -h db1 -U postgres
  pgv init --repo /srv/pgv --cluster main -D /var/lib/postgresql/15/main
  pgv init --cluster main --upgraded                         after pg_upgrade

The configuration file is written when none is in use yet. Run it as the account that owns the
data directory: runuser -u postgres -- pgv init ...";

impl VerbArgs for InitArgs {
    const VERB: Verb = Verb::Init;

    fn common(&self) -> Option<&CommonArgs> {
        Some(&self.common)
    }

    fn overrides(&self) -> Overrides {
        self.common.overrides()
    }

    fn needs_configuration(&self) -> NeedsConfiguration {
        NeedsConfiguration::MayWriteIt
    }

    fn writes(&self) -> bool {
        true
    }

    fn run(self, context: &Context) -> Result<Outcome, Box<dyn Classified>> {
        run(self, context)
    }
}

/// Runs the verb.
pub(crate) fn run(_args: InitArgs, context: &Context) -> Result<Outcome, Box<dyn Classified>> {
    init_is_not_built_yet(context)
}

fn init_is_not_built_yet(_context: &Context) -> Result<Outcome, Box<dyn Classified>> {
    Err(super::usage::UsageError::not_built_yet(Verb::Init).into())
}
