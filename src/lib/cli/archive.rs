//! `pgv-archive`: the command line of the archiver. PostgreSQL runs it as `archive_command`.
//!
//! INVARIANT: it starts no runtime, says nothing on success but what is to be mended, and never exits above 125.

use std::path::PathBuf;

use clap::Parser;

use super::args::CommonArgs;
use super::context::{Context, Outcome, VerbArgs};
use super::opening;
use super::program::Verb;
use crate::archive::{self, ArchiveOptions};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{LogLevel, Overrides};
use crate::error::Classified;
use crate::repository::Stored;

/// Stores one WAL file in the repository, durably and for ever under its name
#[derive(Debug, Clone, Parser)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ArchiveArgs {
    /// The file to store, %p of archive_command
    #[arg(value_name = "PATH")]
    pub(crate) path: PathBuf,

    /// The name to store it under, %f of archive_command [default: the last part of PATH]
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// Give up after this long; below 60 s
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub(crate) timeout: Option<String>,

    /// zstd level, 1 to 19
    #[arg(long, value_name = "LEVEL")]
    pub(crate) compression_level: Option<String>,

    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

const EXAMPLES: &str = "\
Examples:
  archive_command = 'pgv-archive %p %f'                      in postgresql.conf
  archive_command = 'pgv-archive --cluster main %p %f'       the cluster named
  pgv-archive pg_wal/000000010000000000000003                by hand, from the data directory

Exit status: 0 the file is stored and durable; 10 to 23 it is not, one number for each cause. It
is never above 125.";

impl VerbArgs for ArchiveArgs {
    const VERB: Verb = Verb::Archive;

    fn common(&self) -> Option<&CommonArgs> {
        Some(&self.common)
    }

    fn overrides(&self) -> Overrides {
        let mut overrides = self.common.overrides();
        overrides.set("archive.timeout", "--timeout", self.timeout.as_deref());
        overrides.set("archive.compression_level", "--compression-level", self.compression_level.as_deref());
        overrides
    }

    fn writes(&self) -> bool {
        true
    }

    fn run(self, context: &Context) -> Result<Outcome, Box<dyn Classified>> {
        run(self, context)
    }
}

/// Runs the verb.
pub(crate) fn run(args: ArchiveArgs, context: &Context) -> Result<Outcome, Box<dyn Classified>> {
    let configuration = context.configuration();
    let settings = configuration.archive();
    let repository = configuration.repo()?.clone();
    let options = ArchiveOptions {
        path: args.path,
        name: args.name,
        selection: opening::selection(configuration),
        working_directory: opening::working_directory(),
        host: opening::host_name(),
        now: SystemClock.now(),
        level: settings.compression_level,
        repository_path: repository.path.clone(),
        open_repository: Box::new(move || opening::open_repository(&repository)),
    };
    let report = archive::run_within(options, settings.timeout)?;
    if let Some(warning) = &report.warning {
        context.printer().message(LogLevel::Warn, warning);
    }
    let what = match report.stored {
        Some(Stored::Created) => "stored",
        Some(Stored::Identical) => "already stored",
        None => "left out",
    };
    let message = format!("{what} \"{}\" of cluster {}, {} bytes", report.name, report.cluster, report.bytes);
    context.printer().message(LogLevel::Debug, &message);
    Ok(Outcome::Done)
}
