//! `pgv check`: the command line of the look at a cluster and its repository.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;

use super::args::{CommonArgs, OutputFormat, ServerVerbArgs};
use super::context::{Context, Outcome, VerbArgs};
use super::hints::hints;
use super::printer::json_answer;
use super::program::{Program, Verb};
use super::typed::Typed;
use super::{check_text, opening};
use crate::check::{CheckOptions, CheckState, Problem, Thresholds, check, write_metrics};
use crate::clock::SystemClock;
use crate::config::Overrides;
use crate::error::{Classified, chain};
use crate::report::{Reporter as _, duration_text};
use crate::repository::{RepositoryError, SelectionError};

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
    let repo = configuration.repo()?;
    let settings = configuration.check();
    let switch: Option<Duration> = (!args.no_switch).then_some(settings.archive_timeout);
    let hints = |error: &(dyn Error + 'static)| hints_of(error, context.typed());
    let connection = opening::connection(configuration, &args.shared.connection, Program::Pgv);
    let options = CheckOptions {
        repository: opening::open_repository(repo).map_err(|error| Problem::new(&error, hints(&error))),
        repository_path: repo.path.clone(),
        selection: opening::selection(configuration),
        connection: connection.map_err(|error| Problem::new(&error, hints(&error))),
        configuration_file: configuration.source().map(Path::to_owned),
        switch,
        thresholds: Thresholds { backup_warning: settings.backup_warning, backup_critical: settings.backup_critical },
        hints: &hints,
    };
    let reporter = context.reporter();
    if settings.backup_warning > settings.backup_critical {
        reporter.warn(&format!(
            "check.backup_warning ({}) is more than check.backup_critical ({}): an old backup is critical at once",
            duration_text(settings.backup_warning),
            duration_text(settings.backup_critical)
        ));
    }
    let report = check(&options, &SystemClock, &reporter, context.cancel())?;
    drop(reporter);
    let text = match args.shared.output.output {
        _ if args.nagios => check_text::plugin_line(&report),
        OutputFormat::Text => check_text::render(&report),
        OutputFormat::Json => json_answer(&report)?,
    };
    let written = args.metrics.as_deref().map_or(Ok(()), |path| write_metrics(path, &report));
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

/// The hints of all programs; and here, where a server was asked, it may be the wrong one.
fn hints_of(error: &(dyn Error + 'static), typed: &Typed) -> Vec<String> {
    let mut found = hints(error, typed);
    if let Some(
        SelectionError::UnknownSystem { .. } | SelectionError::Repository(RepositoryError::OtherSystem { .. }),
    ) = error.downcast_ref()
    {
        found.push("If this server is not the one that is meant: -h, -p or -d reach another.".to_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::SystemIdentifier;

    #[test]
    fn a_server_of_another_cluster_may_be_the_wrong_one() {
        let error = SelectionError::Repository(RepositoryError::OtherSystem {
            cluster: "main".to_owned(),
            store: "\"/srv/pgv\"".to_owned(),
            registered: Vec::new(),
            found: SystemIdentifier::new(7).unwrap(),
        });
        let hints = hints_of(&error, &Typed::default());
        assert!(hints[0].ends_with("pgv init --cluster main --upgraded"), "{hints:?}");
        assert!(hints[1].contains("-h, -p or -d"), "{hints:?}");
    }
}
