//! `pgv target`: where a recovery would stop, and which points there are.

use clap::Parser;
use jiff::Timestamp;

use super::args::{CommonArgs, OutputArgs};
use super::context::{Context, Outcome, VerbArgs};
use super::opening;
use super::program::Verb;
use super::recovery_args::{ProvingArgs, TargetArgs, backup_choice};
use super::target_text::{self, Along, Shown};
use crate::error::Classified;
use crate::pg::{RecoveryMode, parse_target_time};
use crate::report::Reporter;
use crate::restore::{self, ListFrom, PointQuery, RestoreError};
use crate::wal_search::{AroundSearch, DropSearch};

/// Commits that --around lists on either side when nobody says how many.
const DEFAULT_COUNT: usize = 20;

/// Finds the point to recover to by reading the archived WAL; touches nothing
#[derive(Debug, Clone, Parser)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TargetQueryArgs {
    /// List the commits before and after this time instead
    #[arg(long, value_name = "TIME", conflicts_with_all = ["target", "drops", "no_prove"])]
    pub(crate) around: Option<String>,

    /// How many commits --around lists on either side [default: 20]
    #[arg(long, value_name = "N", requires = "around")]
    pub(crate) count: Option<usize>,

    /// List what removed tables, indexes, databases or tablespaces instead
    #[arg(long, conflicts_with_all = ["target", "no_prove"])]
    pub(crate) drops: bool,

    /// Backup to start from: its id, or latest [default: the one that fits]
    #[arg(long, value_name = "ID")]
    pub(crate) backup: Option<String>,

    #[command(flatten)]
    pub(crate) proving: ProvingArgs,

    #[command(flatten)]
    pub(crate) output: OutputArgs,

    #[command(flatten)]
    pub(crate) target: TargetArgs,

    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

const EXAMPLES: &str = "\
Examples:
  pgv target --target-time '2026-11-20 14:30:00+00'          where would recovery stop?
  pgv target --around '2026-11-20 14:30:00+00' --count 5     which transactions were there?
  pgv target --drops                                         who dropped the table, and when?
  pgv target                                                 up to where can we recover?
Each point is shown with the options of pgv-restore that lead to it.

Exit status: 0 found; 1 no such backup; 2 usage or configuration; 3 no such point; 4 not
reachable; 5 damaged data; 130 ended by a signal.";

impl VerbArgs for TargetQueryArgs {
    const VERB: Verb = Verb::Target;

    fn common(&self) -> Option<&CommonArgs> {
        Some(&self.common)
    }

    fn writes(&self) -> bool {
        false
    }

    fn run(self, context: &Context) -> Result<Outcome, Box<dyn Classified>> {
        run(&self, context)
    }
}

/// What is asked for.
enum Question {
    Target,
    Around(Timestamp, usize),
    Drops,
}

/// Runs the verb.
pub(crate) fn run(args: &TargetQueryArgs, context: &Context) -> Result<Outcome, Box<dyn Classified>> {
    let target = args.target.target()?;
    let question = match (&args.around, args.drops) {
        (Some(text), _) => {
            Question::Around(parse_target_time(text, jiff::tz::db())?, args.count.unwrap_or(DEFAULT_COUNT))
        }
        (None, true) => Question::Drops,
        (None, false) => Question::Target,
    };
    let configuration = context.configuration();
    let repository = opening::open_repository(configuration.repo()?)?;
    let selection = opening::selection(configuration);
    let query = PointQuery {
        repository: &repository,
        selection: &selection,
        backup: backup_choice(args.backup.as_deref())?,
        mode: RecoveryMode::Targeted,
        target: &target,
        timeline: args.target.timeline(),
        proving: args.proving.proving(),
        wal_from: args.proving.wal_from.as_deref(),
    };
    let along = Along { is_named: args.target.target_timeline.is_some() };
    let reporter = context.reporter();
    let shown = match question {
        Question::Target => {
            let pgdata = configuration.cluster().ok().and_then(|cluster| cluster.pgdata);
            let watched: (&dyn Reporter, _) = (&reporter, context.cancel());
            let places: Vec<_> = pgdata.as_deref().into_iter().collect();
            let mut decision = restore::decide(&query, watched.0, watched.1)
                .inspect_err(|error| restore::warn_of_unarchived(error, &query, &places, watched))?;
            let left = restore::unarchived_commits(&query, &decision, &places, watched)?;
            decision.choice.warnings.extend(left);
            Shown::point(&decision, &target)
        }
        Question::Around(time, count) => {
            let new = || AroundSearch::new(time, count);
            let listing = restore::list(&query, ListFrom::Before(time), new, &reporter, context.cancel())?;
            Shown::commits(listing, time, along)
        }
        Question::Drops => {
            let listing = restore::list(&query, ListFrom::Earliest, DropSearch::default, &reporter, context.cancel())?;
            Shown::removals(listing, along)
        }
    };
    for warning in &shown.warnings {
        reporter.warn(warning);
    }
    drop(reporter);
    context.answer(&args.output, &shown, || target_text::text(&shown))?;
    match shown.damage {
        Some(damage) => Err(RestoreError::from(damage).into()),
        None => Ok(Outcome::Done),
    }
}
