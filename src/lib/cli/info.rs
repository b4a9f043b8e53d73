//! `pgv info`, also `pgv list`: the command line of the overview.

use std::path::Path;

use clap::Parser;

use super::args::{CommonArgs, OutputArgs};
use super::context::{Context, Outcome, VerbArgs};
use super::program::Verb;
use super::{info_text, opening};
use crate::error::Classified;
use crate::info::{InfoOptions, gather};

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

    fn writes(&self) -> bool {
        false
    }

    fn run(self, context: &Context) -> Result<Outcome, Box<dyn Classified>> {
        let configuration = context.configuration();
        let repo = configuration.repo()?;
        let (repository, _) = opening::open_to_look(repo)?;
        let cluster = configuration.named_cluster().cloned();
        let report = gather(
            &repository,
            InfoOptions {
                url: repo.url.clone(),
                path: repo.path.clone(),
                configuration_file: configuration.source().map(Path::to_owned),
                cluster: cluster.clone(),
            },
        )?;
        context.answer(&self.output, &report, || info_text::render(&report, cluster.as_ref()))?;
        match report.incomplete() {
            Some(incomplete) => Err(incomplete.into()),
            None if cluster.is_some() && report.clusters.is_empty() => Ok(Outcome::NegativeAnswer),
            None => Ok(Outcome::Done),
        }
    }
}
