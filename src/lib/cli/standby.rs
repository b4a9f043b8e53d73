//! `pgv-standby`: the command line of the choice of a node to read from.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use super::args::{CommonArgs, ConnectionArgs};
use super::context::{Context, Outcome, VerbArgs};
use super::printer::json_answer;
use super::program::{Program, Verb};
use super::size::duration_text;
use super::standby_nodes::KnownNodes;
use super::standby_plugin::{self, LagThreshold};
use super::usage::UsageError;
use super::{standby_exec, standby_text};
use crate::clock::{Clock as _, Deadline, SystemClock, wait};
use crate::config::LogLevel;
use crate::error::{Classified, chain};
use crate::report::Cancel;
use crate::standby::{
    Choice, Policy, Preference, ProbeError, Purpose, StandbyError, StandbyReport, Survey, WithoutPrimary, choose,
    survey,
};

/// Between two looks of `--wait`.
const WAIT_INTERVAL: Duration = Duration::from_secs(1);
/// How long this sleeps before it looks whether a signal came.
const CANCEL_POLL: Duration = Duration::from_millis(100);

/// Chooses the server of a cluster to read from, by how far each is behind; runs a command against it
#[derive(Debug, Clone, Parser)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StandbyArgs {
    /// "exec" runs COMMAND with PGHOST, PGPORT, PGUSER and PGDATABASE set to the chosen node
    #[arg(value_name = "exec", value_enum, hide_possible_values = true)]
    pub(crate) action: Option<Action>,

    /// The command to run, behind --
    #[arg(value_name = "COMMAND", last = true, requires = "action")]
    pub(crate) command: Vec<OsString>,

    #[command(flatten)]
    pub(crate) policy: PolicyArgs,

    /// Form of the answer on stdout
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t, conflicts_with_all = ["action", "nagios"])]
    pub(crate) output: StandbyOutput,

    /// Show the table again and again, until a signal ends it
    #[arg(long, conflicts_with_all = ["action", "nagios", "wait", "output"])]
    pub(crate) watch: bool,

    /// Time between two looks of --watch, and of exec --abort-lag [default: 2s, 5s]
    #[arg(long, value_name = "SPAN", value_parser = parse_span)]
    pub(crate) interval: Option<Duration>,

    /// Answer as a plugin of Nagios or Icinga: one line, and status 0, 1 warning, 2 critical or 3 unknown
    #[arg(long, conflicts_with = "action")]
    pub(crate) nagios: bool,

    /// Lag of any standby from which on there is a warning: a size or a span
    #[arg(long, value_name = "LAG", requires = "nagios", value_parser = LagThreshold::parse)]
    pub(crate) warn: Option<LagThreshold>,

    /// Lag of any standby from which on it is critical
    #[arg(long, value_name = "LAG", requires = "nagios", value_parser = LagThreshold::parse)]
    pub(crate) critical: Option<LagThreshold>,

    /// Stop the command of exec when its node falls so far behind (status 124)
    #[arg(long, value_name = "SIZE", requires = "action", value_parser = parse_size)]
    pub(crate) abort_lag: Option<u64>,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,

    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// What to do with the choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Action {
    Exec,
}

/// Form of the answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum StandbyOutput {
    /// A table for people
    #[default]
    Text,
    /// For programs, with a stable schema
    Json,
    /// The chosen node as a connection string, without password
    Conninfo,
    /// The chosen node as lines for a shell, without password
    Env,
}

/// Which nodes there are, and which will do.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Choice")]
pub(crate) struct PolicyArgs {
    /// A node, in place of the configured ones; repeat it for each
    #[arg(long = "node", value_name = "NAME=CONNINFO")]
    pub(crate) nodes: Vec<String>,

    /// Most WAL that may be missing, such as 1MB
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) max_lag: Option<u64>,

    /// Greatest age of the last replayed commit while something is missing, such as 30s
    #[arg(long, value_name = "SPAN", value_parser = parse_span)]
    pub(crate) max_lag_time: Option<Duration>,

    /// Which role comes first
    #[arg(long, value_name = "ROLE", value_enum, default_value_t)]
    pub(crate) prefer: PreferChoice,

    /// The zone whose nodes come first
    #[arg(long, value_name = "ZONE")]
    pub(crate) prefer_zone: Option<String>,

    /// What will be done there: each purpose has its own checks
    #[arg(long = "for", value_name = "PURPOSE", value_enum, default_value_t)]
    pub(crate) purpose: PurposeChoice,

    /// Choose nothing while no primary answers
    #[arg(long)]
    pub(crate) require_primary: bool,

    /// How long a node may take to answer
    #[arg(long, value_name = "SPAN", default_value = "3s", value_parser = parse_span)]
    pub(crate) deadline: Duration,

    /// Ask again until a node qualifies, for so long
    #[arg(long, value_name = "SPAN", value_parser = parse_span)]
    pub(crate) wait: Option<Duration>,
}

/// Whether standbys come before the primary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum PreferChoice {
    /// Standbys; the primary when none will do
    #[default]
    Standby,
    /// The primary; standbys when it will not do
    Primary,
    /// All alike, by lag
    Any,
    /// Standbys, never the primary
    StandbyOnly,
}

/// What will be done with the node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum PurposeChoice {
    /// Queries
    #[default]
    Read,
    /// A long dump, which must not be cancelled
    Dump,
    /// A base backup
    Backup,
}

const EXAMPLES: &str = "\
Examples:
  pgv-standby                                    every node, how far it is, and the choice
  pgv-standby --node a='host=db1 user=mon' --node b='host=db2 user=mon'
  pgv-standby -d 'host=db1,db2,db3 user=mon' --prefer standby-only --output conninfo
  pgv-standby exec --max-lag 1MB -- pg_dump -Fc -f app.dump app
  pgv-standby exec --for dump --max-lag-time 30s --wait 10min --abort-lag 1GB -- pg_dump app
  pgv-standby --nagios --warn 16MB --critical 5min

Exit status: 0 chosen; 1 no node qualifies; 2 usage or configuration; 3 two primaries, an old primary
that answers alone, several clusters, or no primary with --require-primary; 4 no node answers; 130 ended
by a signal. exec: that of the command (128 + n when signal n ended it); 124 stopped by --abort-lag;
126, 127 it could not be run. With --nagios: 0 ok; 1 warning; 2 critical; 3 unknown.";

impl VerbArgs for StandbyArgs {
    const VERB: Verb = Verb::Standby;

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

impl PolicyArgs {
    /// As the choice takes it.
    pub(crate) fn policy(&self) -> Policy {
        Policy {
            max_lag: self.max_lag,
            max_lag_time: self.max_lag_time,
            preference: match self.prefer {
                PreferChoice::Standby => Preference::Standby,
                PreferChoice::Primary => Preference::Primary,
                PreferChoice::Any => Preference::Any,
                PreferChoice::StandbyOnly => Preference::StandbyOnly,
            },
            zone: self.prefer_zone.clone(),
            purpose: match self.purpose {
                PurposeChoice::Read => Purpose::Read,
                PurposeChoice::Dump => Purpose::Dump,
                PurposeChoice::Backup => Purpose::Backup,
            },
            without_primary: match self.require_primary {
                true => WithoutPrimary::Refuse,
                false => WithoutPrimary::HighestReceived,
            },
        }
    }
}

/// Runs the verb.
fn run(args: &StandbyArgs, context: &Context) -> Result<Outcome, Box<dyn Classified>> {
    if let (Some(warn), Some(critical)) = (args.warn, args.critical)
        && warn.is_above(critical)
    {
        return Err(UsageError::new("--warn is above --critical, so that it would never be reached").into());
    }
    let known = KnownNodes::find(context.configuration(), &args.policy.nodes, &args.connection, Program::Standby)?;
    let look = Look { known, policy: args.policy.policy(), deadline: args.policy.deadline };
    if args.action.is_some() {
        return standby_exec::run(args, look, context);
    }
    if args.watch {
        return watch(&look, args.interval, context);
    }
    let seen = look.until_chosen(args.policy.wait, context)?;
    if args.nagios {
        let (line, state) = standby_plugin::answer(&seen, args.warn, args.critical);
        context.printer().answer(&line)?;
        return Ok(Outcome::Plugin(state.plugin_status()));
    }
    let chosen = seen.chosen(&look.known);
    match (args.output, &chosen) {
        (StandbyOutput::Text, _) => context.printer().answer(&standby_text::render(&seen))?,
        (StandbyOutput::Json, _) => {
            let report = StandbyReport::new(&seen.survey, &seen.choice, SystemClock.now());
            context.printer().answer(&json_answer(&report)?)?;
        }
        (StandbyOutput::Conninfo, Ok(chosen)) => {
            context.printer().answer(&format!("{}\n", chosen.settings.conninfo()))?
        }
        (StandbyOutput::Env, Ok(chosen)) => context.printer().answer(&standby_text::shell_lines(&chosen.settings))?,
        (StandbyOutput::Conninfo, Err(_)) => {}
        // Else "eval" of nothing would be a success, and what follows would go to the server of before.
        (StandbyOutput::Env, Err(_)) => context.printer().answer("(exit 1)\n")?,
    }
    match chosen {
        Ok(_) => Ok(Outcome::Done),
        // The table has said it.
        Err(StandbyError::NoneQualifies { .. }) if args.output == StandbyOutput::Text => Ok(Outcome::NegativeAnswer),
        Err(error) => Err(error.into()),
    }
}

/// Shows the table again and again, as long as somebody reads it.
fn watch(look: &Look, interval: Option<Duration>, context: &Context) -> Result<Outcome, Box<dyn Classified>> {
    let interval = interval.unwrap_or(Duration::from_secs(2));
    let clear = if std::io::stdout().is_terminal() { "\x1b[H\x1b[2J" } else { "" };
    loop {
        let seen = match look.once(context.cancel()) {
            Err(ProbeError::Cancelled) => return Ok(Outcome::Done),
            seen => seen?,
        };
        let now = super::size::utc_text(SystemClock.now());
        let is_read = context.printer().show(&format!("{clear}{now}\n{}\n", standby_text::render(&seen)))?;
        if !is_read || sleep(interval, context.cancel()).is_err() {
            return Ok(Outcome::Done);
        }
    }
}

/// Sleeps, unless a signal comes.
pub(super) fn sleep(span: Duration, cancel: &Cancel) -> Result<(), ProbeError> {
    let deadline = Deadline::after(span);
    while !deadline.has_passed() {
        if cancel.is_cancelled() {
            return Err(ProbeError::Cancelled);
        }
        wait(deadline.remaining().min(CANCEL_POLL));
    }
    Ok(())
}

/// All that a look at the nodes needs.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) known: KnownNodes,
    pub(super) policy: Policy,
    pub(super) deadline: Duration,
}

/// What a look saw.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) survey: Survey,
    pub(super) choice: Choice,
}

/// The chosen node.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) name: String,
    /// How another program reaches it.
    pub(super) settings: crate::server::conninfo::HandedOnSettings,
}

impl Look {
    /// Asks all nodes once.
    pub(super) fn once(&self, cancel: &Cancel) -> Result<Seen, ProbeError> {
        let survey = survey(&self.known.nodes, self.known.expected, self.deadline, cancel)?;
        let choice = choose(&survey, &self.policy);
        Ok(Seen { survey, choice })
    }

    /// Asks all nodes until one qualifies, or nothing can mend it, or the time is over.
    pub(super) fn until_chosen(&self, limit: Option<Duration>, context: &Context) -> Result<Seen, ProbeError> {
        let deadline = Deadline::after(limit.unwrap_or_default());
        let mut is_told = false;
        loop {
            let seen = self.once(context.cancel())?;
            let Some(why) = seen.chosen(&self.known).err().filter(StandbyError::may_pass) else { return Ok(seen) };
            if deadline.has_passed() {
                return Ok(seen);
            }
            if !is_told {
                is_told = true;
                let message = format!("{}; asked again for {}", chain(&why), duration_text(deadline.limit()));
                context.printer().message(LogLevel::Info, &message);
            }
            sleep(WAIT_INTERVAL.min(deadline.remaining()), context.cancel())?;
        }
    }
}

impl Seen {
    /// The chosen node, or why there is none.
    pub(super) fn chosen(&self, known: &KnownNodes) -> Result<Chosen, StandbyError> {
        let nothing = || StandbyError::of(&self.survey, &self.choice);
        let probe = self.choice.chosen().and_then(|index| self.survey.probes.get(index)).ok_or_else(nothing)?;
        let (Some(node), Ok(answer)) = (known.nodes.named(&probe.node.name), &probe.outcome) else {
            return Err(nothing());
        };
        let connection = &node.connection;
        let database = answer.database.as_ref().unwrap_or(&connection.dbname);
        let settings = node.handed_on.of_server(&answer.server, &connection.user, database);
        Ok(Chosen { name: probe.node.name.clone(), settings })
    }
}

fn parse_span(text: &str) -> Result<Duration, String> {
    let span = text.parse::<jiff::SignedDuration>().ok().and_then(|span| Duration::try_from(span).ok());
    let span = span.filter(|span| !span.is_zero());
    span.ok_or_else(|| "expected a time span with a unit, such as \"50s\" or \"2min\"".to_owned())
}

pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let size = text.parse::<bytesize::ByteSize>().map(|size| size.as_u64());
    size.map_err(|_| "expected a number of bytes, such as \"1MB\"".to_owned())
}

/// A command that exec needs.
pub(super) fn command_of(args: &StandbyArgs) -> Result<(&OsString, &[OsString]), UsageError> {
    let hint = "Put it behind \"--\": pgv-standby exec --max-lag 1MB -- pg_dump app";
    args.command.split_first().ok_or_else(|| UsageError::new("exec needs a command").with_hint(hint))
}
