//! `pgv expire`: the command line of retention.

use std::path::Path;

use clap::Parser;

use super::args::{CommonArgs, OutputArgs, OutputFormat};
use super::context::{Context, Outcome, VerbArgs};
use super::printer::json_answer;
use super::program::Verb;
use super::{expire_text, opening};
use crate::clock::SystemClock;
use crate::config::Overrides;
use crate::error::Classified;
use crate::expire::{self, ExpireOptions, Rules};

/// Shows which backups and WAL retention wants gone; deletes them with --apply
#[derive(Debug, Clone, Parser)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExpireArgs {
    /// Do what the plan says
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) apply: bool,

    /// Show the plan alone; so it is without --apply
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Keep so many good backups, the newest
    #[arg(long, value_name = "COUNT")]
    pub(crate) keep: Option<String>,

    /// Keep every moment of so many days reachable
    #[arg(long, value_name = "DAYS")]
    pub(crate) keep_days: Option<String>,

    /// Keep the WAL of so many days even when no backup needs it
    #[arg(long, value_name = "DAYS")]
    pub(crate) wal_days: Option<String>,

    /// Let a backup that no rule keeps stay for so long all the same; it goes at once without
    #[arg(long, value_name = "DURATION")]
    pub(crate) grace: Option<String>,

    /// Go on although more than half of the backups would be deleted
    #[arg(long)]
    pub(crate) allow_many: bool,

    #[command(flatten)]
    pub(crate) output: OutputArgs,

    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

const EXAMPLES: &str = "\
Examples:
  pgv expire                                                 the plan, by [retention] of pgv.toml
  pgv expire --apply                                         do it
  pgv expire --keep 3 --keep-days 14                         another plan
  pgv expire --cluster main --output json

A backup stays when any rule keeps it. The newest good one stays always, and so does what was pinned.

Exit status: 0 shown, or done; 2 usage or configuration, or no rule; 3 refused: the clock is
wrong, or more than half of the backups would go; 4 not reachable, or a restore is running; 5 a
record is damaged, or a history or folder that tells what is needed is missing; 130 ended by a signal.";

impl VerbArgs for ExpireArgs {
    const VERB: Verb = Verb::Expire;

    fn common(&self) -> Option<&CommonArgs> {
        Some(&self.common)
    }

    fn overrides(&self) -> Overrides {
        let mut overrides = self.common.overrides();
        overrides.set("retention.keep", "--keep", self.keep.as_deref());
        overrides.set("retention.keep_days", "--keep-days", self.keep_days.as_deref());
        overrides.set("retention.wal_days", "--wal-days", self.wal_days.as_deref());
        overrides.set("retention.grace", "--grace", self.grace.as_deref());
        overrides
    }

    fn writes(&self) -> bool {
        self.apply
    }

    fn run(self, context: &Context) -> Result<Outcome, Box<dyn Classified>> {
        run(self, context)
    }
}

/// Runs the verb.
pub(crate) fn run(args: ExpireArgs, context: &Context) -> Result<Outcome, Box<dyn Classified>> {
    let configuration = context.configuration();
    let repo = configuration.repo()?;
    let repository = opening::open_repository(repo)?;
    let settings = configuration.retention();
    let rules = Rules {
        keep: settings.keep,
        keep_days: settings.keep_days,
        wal_days: settings.wal_days,
        grace: settings.grace.unwrap_or_default(),
        allow_many: args.allow_many,
    };
    let options = ExpireOptions {
        url: repo.url.clone(),
        path: repo.path.clone(),
        configuration_file: configuration.source().map(Path::to_owned),
        host: opening::host_name(),
        clusters: opening::clusters(configuration, &repository)?,
        rules,
    };
    let lease = if args.apply { Some(opening::lock_out_others(context)?) } else { None };
    let mut report = expire::plan(&repository, &options, &SystemClock)?;
    let refusal = report.refusal();
    let is_text = args.output.output == OutputFormat::Text;
    if is_text {
        context.printer().answer(&expire_text::render(&report, args.apply))?;
    }
    let done = match refusal {
        Some(refusal) => Err(refusal),
        None if args.apply => {
            let reporter = context.reporter();
            expire::apply(&repository, &options, &mut report, &reporter, context.cancel())
        }
        None => Ok(()),
    };
    drop(lease);
    let answered = match is_text {
        true if report.applied => context.printer().answer(&expire_text::done(&report)),
        true => Ok(()),
        false => json_answer(&report).and_then(|answer| context.printer().answer(&answer)),
    };
    done?;
    answered?;
    Ok(Outcome::Done)
}
