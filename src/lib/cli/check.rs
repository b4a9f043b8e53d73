//! `pgv check`: the command line of the look at a cluster and its repository.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;

use super::args::{CommonArgs, OutputFormat, ServerVerbArgs};
use super::check_text::CheckAnswer;
use super::context::{Context, Outcome, VerbArgs};
use super::printer::json_answer;
use super::program::{Program, Verb};
use super::{check_text, opening};
use crate::check::{Cause, CheckOptions, CheckState, Thresholds, check, write_metrics};
use crate::clock::SystemClock;
use crate::config::Overrides;
use crate::error::{Classified, chain};
use crate::report::{Reporter as _, duration_text};

/// Says whether backups and archiving of a cluster work, and what to do where they do not
#[derive(Debug, Clone, Parser)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CheckArgs {
    /// Only look: do not have the server end a WAL segment to see whether it arrives
    #[arg(long)]
    pub(crate) no_switch: bool,

    /// How long a segment may take to the archive [default: 60s]
    #[arg(long, value_name = "DURATION", conflicts_with = "no_switch", allow_hyphen_values = true)]
    pub(crate) archive_timeout: Option<String>,

    /// How long the server or the repository may leave a question without an answer [default: 30s]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub(crate) stall_timeout: Option<String>,

    /// Age of the last good backup from which on there is a warning [default: 8d]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub(crate) backup_warning: Option<String>,

    /// Age of the last good backup from which on it is critical [default: 15d]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub(crate) backup_critical: Option<String>,

    /// Answer as a plugin of Nagios or Icinga: one line, and status 0, 1 warning, 2 critical or 3 unknown
    #[arg(long, conflicts_with = "output")]
    pub(crate) nagios: bool,

    /// Also write the numbers to this file, for the textfile collector of Prometheus' node exporter
    #[arg(long, value_name = "FILE")]
    pub(crate) metrics: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) shared: ServerVerbArgs,
}

const EXAMPLES: &str = "\
Examples:
  pgv check                                                  once by hand, after pgv init
  pgv check --no-switch                                      look only: write nothing to the WAL
  pgv check --nagios                                         one line and a plugin's statuses
  pgv check --metrics /var/lib/prometheus/node-exporter/pgv.prom
  pgv check --backup-warning 26h --output json

Exit status: 0 all is well; 1 something is not, see the table; 2 usage or configuration; 4 the
file of --metrics cannot be written; 130 ended by a signal. With --nagios: 0 ok; 1 warning; 2
critical; 3 unknown.";

impl VerbArgs for CheckArgs {
    const VERB: Verb = Verb::Check;

    fn common(&self) -> Option<&CommonArgs> {
        Some(&self.shared.common)
    }

    fn overrides(&self) -> Overrides {
        let mut overrides = self.shared.common.overrides();
        overrides.set("check.backup_warning", "--backup-warning", self.backup_warning.as_deref());
        overrides.set("check.backup_critical", "--backup-critical", self.backup_critical.as_deref());
        overrides.set("check.archive_timeout", "--archive-timeout", self.archive_timeout.as_deref());
        overrides.set("check.stall_timeout", "--stall-timeout", self.stall_timeout.as_deref());
        overrides
    }

    fn writes(&self) -> bool {
        false
    }

    fn run(self, context: &Context) -> Result<Outcome, Box<dyn Classified>> {
        run(self, context)
    }
}

/// Runs the verb.
pub(crate) fn run(args: CheckArgs, context: &Context) -> Result<Outcome, Box<dyn Classified>> {
    let configuration = context.configuration();
    let repo = configuration.repo()?.clone();
    let repository_path = repo.path.clone();
    let settings = configuration.check();
    let switch: Option<Duration> = (!args.no_switch).then_some(settings.archive_timeout);
    let connection = opening::connection(configuration, &args.shared.connection, Program::Pgv);
    let options = CheckOptions {
        open_repository: Box::new(move || opening::open_repository(&repo)),
        repository_path,
        selection: opening::selection(configuration),
        connection: connection.map_err(|error| -> Cause { Arc::new(error) }),
        configuration_file: configuration.source().map(Path::to_owned),
        switch,
        stall_timeout: settings.stall_timeout,
        thresholds: Thresholds { backup_warning: settings.backup_warning, backup_critical: settings.backup_critical },
    };
    let reporter = context.reporter();
    if settings.backup_warning > settings.backup_critical {
        reporter.warn(&format!(
            "check.backup_warning ({}) is more than check.backup_critical ({}): an old backup is critical at once",
            duration_text(settings.backup_warning),
            duration_text(settings.backup_critical)
        ));
    }
    let report = check(options, &SystemClock, &reporter, context.cancel())?;
    drop(reporter);
    let answer = CheckAnswer::of(&report, context.typed());
    let text = match args.shared.output.output {
        _ if args.nagios => check_text::plugin_line(&answer),
        OutputFormat::Text => check_text::render(&answer),
        OutputFormat::Json => json_answer(&answer)?,
    };
    let written = args.metrics.as_deref().map_or(Ok(()), |path| write_metrics(path, &report, settings.stall_timeout));
    if args.nagios && report.state == CheckState::Ok {
        // A plugin says one line: that its numbers are lost, unless there is worse to say.
        written?;
        context.printer().answer(&text)?;
        return Ok(Outcome::Plugin(report.state.plugin_status()));
    }
    context.printer().answer(&text)?;
    match written {
        Err(error) if args.nagios => context.reporter().warn(&chain(&error)),
        written => written?,
    }
    Ok(match report.state {
        state if args.nagios => Outcome::Plugin(state.plugin_status()),
        CheckState::Ok => Outcome::Done,
        CheckState::Unknown | CheckState::Warning | CheckState::Critical => Outcome::NegativeAnswer,
    })
}
