//! `pgv-fetch`: the command line of the fetcher. PostgreSQL runs it as `restore_command`.
//!
//! INVARIANT: exit status 1 is said only for a WAL file that is proven absent.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Parser;
use serde_json::{Map, json};

use super::args::CommonArgs;
use super::context::{Context, Outcome, VerbArgs};
use super::opening;
use super::printer::Printer;
use super::program::Verb;
use crate::clock::SystemClock;
use crate::config::{LogFormat, LogLevel, Overrides};
use crate::error::Classified;
use crate::fetch::{self, FetchError, FetchOptions};
use crate::pg::{TimelineId, WalFileName};

/// Hands one WAL file back from the repository, its digest checked
#[derive(Debug, Clone, Parser)]
#[command(after_help = EXAMPLES)]
pub(crate) struct FetchArgs {
    /// The name of the WAL file, %f of restore_command
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    /// Where to put it, %p of restore_command
    #[arg(value_name = "PATH")]
    pub(crate) path: PathBuf,

    /// How long to try again what may pass, such as a repository that does not answer
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub(crate) timeout: Option<String>,

    /// Give up when nothing has moved for this long
    #[arg(long, value_name = "DURATION")]
    pub(crate) stall_timeout: Option<String>,

    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

const EXAMPLES: &str = "\
Examples:
  restore_command = 'pgv-fetch %f %p'                        with one cluster configured
  restore_command = 'pgv-fetch --cluster main %f %p'         the cluster named
  pgv-fetch 000000010000000000000003 /tmp/segment            by hand

Exit status: 0 the file is there; 1 the repository proves that it has none of that name. Anything
else is 210 to 223 while recovery.signal stands without standby.signal, so that PostgreSQL stops
instead of promoting early, and 110 to 123 otherwise, so that a standby goes on; one number for
each cause.";

impl VerbArgs for FetchArgs {
    const VERB: Verb = Verb::Fetch;

    fn common(&self) -> Option<&CommonArgs> {
        Some(&self.common)
    }

    fn overrides(&self) -> Overrides {
        let mut overrides = self.common.overrides();
        overrides.set("fetch.timeout", "--timeout", self.timeout.as_deref());
        overrides.set("fetch.stall_timeout", "--stall-timeout", self.stall_timeout.as_deref());
        overrides
    }

    fn writes(&self) -> bool {
        true
    }

    fn destination(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn run(self, context: &Context) -> Result<Outcome, Box<dyn Classified>> {
        run(self, context)
    }
}

/// Runs the verb.
pub(crate) fn run(args: FetchArgs, context: &Context) -> Result<Outcome, Box<dyn Classified>> {
    let configuration = context.configuration();
    let repository = configuration.repo()?.clone();
    let options = FetchOptions {
        name: args.name,
        destination: args.path,
        selection: opening::selection(configuration),
        working_directory: opening::working_directory(),
        patience: configuration.fetch().timeout,
        clock: Box::new(SystemClock),
        repository: format!("repository \"{}\"", repository.path.display()),
        open_repository: Box::new(move || opening::open_repository(&repository)),
    };
    let report = match fetch::run_within(options, Arc::new(context.reporter()), configuration.fetch().stall_timeout) {
        Err(absent @ FetchError::Absent { .. }) => {
            // Every recovery asks for some files that never were: an answer, not an error.
            say_absent(context.printer(), &absent);
            return Ok(Outcome::NegativeAnswer);
        }
        fetched => fetched?,
    };
    let message = format!("fetched \"{}\" of cluster {}, {} bytes", report.name, report.cluster, report.bytes);
    context.printer().message(LogLevel::Debug, &message);
    Ok(Outcome::Done)
}

/// For programs with the class and status that an error would have.
fn say_absent(printer: &Printer, absent: &FetchError) {
    let mut fields = Map::new();
    if printer.format() == LogFormat::Json {
        fields.insert("class".to_owned(), json!(format!("{:?}", absent.class())));
        fields.insert("exit_status".to_owned(), json!(1));
    }
    // PostgreSQL asks for the history of the first timeline at every promotion from there, and it never was.
    let never_was = WalFileName::TimelineHistory(TimelineId::FIRST);
    let is_known = matches!(absent, FetchError::Absent { name, .. } if *name == never_was);
    let level = if is_known { LogLevel::Debug } else { LogLevel::Info };
    printer.event(level, &absent.to_string(), fields);
}
