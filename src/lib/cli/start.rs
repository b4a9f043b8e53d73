//! `pgv-restore --start`: its options, and what it says.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::args::ConnectionArgs;
use super::context::Context;
use super::copy_server::CopyServer;
use super::opening;
use super::printer::field;
use super::program::Program;
use super::proof_text::precise_text;
use super::size::duration_text;
use crate::error::{Classified, chain};
use crate::report::Reporter;
use crate::restore::RestorePlan;
use crate::restore::start::{
    self, Comparison, LogExcerpt, LoggedCause, ServerPrograms, ServerStart, Settled, StartError, StartReport,
};
use crate::server::ConnectionSettings;

/// LIMIT: starts, each with another port.
const STARTS_MAX: usize = 3;

/// Whether and how the restored server is started.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Start")]
pub(crate) struct StartArgs {
    /// Start the server, wait for the end of recovery, and compare that with the proof
    #[arg(long)]
    pub(crate) start: bool,

    /// Directory of the server's programs [default: that of its version on Debian, else PATH]
    #[arg(long, value_name = "DIR")]
    pub(crate) pg_bindir: Option<PathBuf>,

    /// Stop waiting after this time; the server runs on [default: wait to the end]
    #[arg(long, value_name = "SPAN", requires = "start", value_parser = parse_span)]
    pub(crate) start_timeout: Option<Duration>,
}

fn parse_span(text: &str) -> Result<Duration, String> {
    let span = text.parse::<jiff::SignedDuration>().ok().and_then(|span| Duration::try_from(span).ok());
    span.filter(|span| !span.is_zero())
        .ok_or_else(|| "expected a time span with a unit, such as \"50s\" or \"2h\"".to_owned())
}

/// A start that was asked for, and that is possible here.
#[derive(Debug, Clone)]
pub(super) struct Starter {
    programs: ServerPrograms,
    connection: ConnectionSettings,
    limit: Option<Duration>,
}

/// What became of a start.
#[derive(Debug)]
pub(super) enum Started {
    /// Recovery was watched to its end.
    Settled(StartReport),
    /// It was not.
    Failed(StartError),
}

impl Starter {
    /// Finds out what is needed; refuses before anything is touched. `None` when no start was asked for.
    pub(super) fn find(
        args: &StartArgs,
        plan: &RestorePlan,
        connection: &ConnectionArgs,
        context: &Context,
    ) -> Result<Option<Self>, Box<dyn Classified>> {
        if !args.start {
            return Ok(None);
        }
        let configuration = context.configuration();
        let path: Vec<PathBuf> = std::env::split_paths(configuration.variable("PATH").unwrap_or_default()).collect();
        let named = configuration.restore().pg_bindir.as_deref();
        let programs = ServerPrograms::find(plan.record.major_version, named, &path)?;
        let connection = opening::connection(configuration, connection, Program::Restore)?;
        Ok(Some(Self { programs, connection, limit: args.start_timeout }))
    }

    /// Where the programs are.
    pub(super) fn programs(&self) -> &ServerPrograms {
        &self.programs
    }

    /// Starts what was restored, and waits. When somebody took its port meanwhile, another one is found.
    pub(super) fn run(
        &self,
        plan: &RestorePlan,
        command_line: &[(String, String)],
        server: &mut CopyServer,
        reporter: &dyn Reporter,
        context: &Context,
    ) -> Started {
        let (mut tries, mut failed_ports) = (STARTS_MAX, Vec::new());
        let started = loop {
            tries -= 1;
            match start::start(plan, &self.start_of(server), reporter, context.cancel()) {
                Ok(report) => {
                    server.started(&report);
                    break Started::Settled(report);
                }
                Err(error) if tries > 0 && error.cause() == Some(LoggedCause::AddressInUse) => {
                    reporter.step("somebody else has taken its port or socket: looking for another one");
                    failed_ports.extend(server.port);
                    *server = CopyServer::of(plan, command_line, Some(&self.programs), &failed_ports);
                }
                Err(error) => break Started::Failed(error),
            }
        };
        for line in started.excerpt().iter().flat_map(|excerpt| &excerpt.lines) {
            reporter.warn(&format!("the server's log: {line}"));
        }
        started
    }

    fn start_of(&self, server: &CopyServer) -> ServerStart {
        ServerStart {
            programs: self.programs.clone(),
            settings: server.settings.clone(),
            log: server.log.clone(),
            connection: self.connection.clone(),
            limit: self.limit,
        }
    }
}

impl Started {
    /// What the server's log says of an error.
    fn excerpt(&self) -> Option<&LogExcerpt> {
        match self {
            Self::Failed(error) => error.excerpt(),
            Self::Settled(report) => Some(&report.excerpt).filter(|_| report.comparison.differs()),
        }
    }

    /// The error that ends the run, when there is one.
    pub(super) fn into_error(self, plan: &RestorePlan) -> Option<StartError> {
        match self {
            Self::Failed(error) => Some(error),
            Self::Settled(report) => report.difference(plan),
        }
    }

    /// For people; nothing when it failed, since the error says that.
    pub(super) fn text(&self, server: &CopyServer) -> String {
        let Self::Settled(report) = self else { return String::new() };
        let took = duration_text(report.took);
        let at = report.replayed.map(|lsn| format!(" at {lsn}")).unwrap_or_default();
        let state = match report.settled {
            Settled::Paused => format!("paused{at}, open for reading"),
            Settled::Opened => format!("ended{at}, open for writing"),
            Settled::ShutDown => "ended, and the server has stopped".to_owned(),
            Settled::Follows => format!("consistent{at}, open for reading, and goes on"),
        };
        let last = report.last_ending.map(|time| format!(", transactions up to {}", precise_text(time)));
        let mut text = format!("recovery: {state}{}; {took} since the start\n", last.unwrap_or_default());
        text.push_str(&format!("compared: {}\n", compared_text(report)));
        if let Some(file) = &report.server {
            text.push_str(&format!(
                "server: process {}, port {}, log \"{}\"\n",
                file.pid,
                file.port.map_or_else(|| "unknown".to_owned(), |port| port.to_string()),
                server.log.display()
            ));
        }
        text
    }
}

fn compared_text(report: &StartReport) -> String {
    let expected = report.expected.map(|expected| expected.lsn().to_string()).unwrap_or_default();
    match report.comparison {
        Comparison::AsProven if report.replayed == report.expected.map(start::Expected::lsn) => {
            format!("it ended exactly where the proof says, at {expected}")
        }
        Comparison::AsProven => format!("it is behind the end of the backup, {expected}"),
        Comparison::StoppedAtTarget => {
            "the server says that it stopped at its target; a stopped one tells no position".to_owned()
        }
        Comparison::NothingProven => "nothing, since nothing was proven (--no-prove)".to_owned(),
        Comparison::Short(bytes) => format!("it ended {bytes} bytes of WAL before {expected}, where it must end"),
        Comparison::Beyond(bytes) => format!("it went {bytes} bytes of WAL beyond {expected}, where it must end"),
        Comparison::Unknown => format!("it cannot be told where it ended; by the proof that is {expected}"),
    }
}

/// The start, for programs; fields are only ever added.
#[derive(Debug, Default, Serialize)]
pub(super) struct JsonStart {
    /// The command that starts the server.
    command: String,
    port: Option<u16>,
    socket_directory: Option<PathBuf>,
    log: PathBuf,
    /// `paused`, `opened`, `shut_down`, `follows`; null when it was not started or did not get there.
    settled: Option<Settled>,
    pid: Option<i32>,
    /// Where recovery must end by the proof.
    expected_lsn: Option<String>,
    replayed_lsn: Option<String>,
    last_transaction_time: Option<String>,
    /// `as_proven`, `short`, `beyond`, `stopped_at_target`, `nothing_proven`, `unknown`.
    comparison: Option<&'static str>,
    difference_bytes: Option<u64>,
    took_seconds: Option<f64>,
    error: Option<String>,
}

impl JsonStart {
    /// What would be started.
    pub(super) fn planned(server: &CopyServer) -> Self {
        Self {
            command: server.start_command(),
            port: server.port,
            socket_directory: server.socket_directory.clone(),
            log: server.log.clone(),
            ..Self::default()
        }
    }

    /// What became of it.
    pub(super) fn done(server: &CopyServer, started: &Started) -> Self {
        let planned = Self::planned(server);
        let report = match started {
            Started::Settled(report) => report,
            Started::Failed(error) => return Self { error: Some(chain(error)), ..planned },
        };
        let (comparison, difference_bytes) = match report.comparison {
            Comparison::AsProven => ("as_proven", Some(0)),
            Comparison::Short(bytes) => ("short", Some(bytes)),
            Comparison::Beyond(bytes) => ("beyond", Some(bytes)),
            Comparison::StoppedAtTarget => ("stopped_at_target", None),
            Comparison::NothingProven => ("nothing_proven", None),
            Comparison::Unknown => ("unknown", None),
        };
        Self {
            settled: Some(report.settled),
            pid: report.server.as_ref().map(|file| file.pid),
            expected_lsn: report.expected.map(|expected| expected.lsn().to_string()),
            replayed_lsn: report.replayed.map(|lsn| lsn.to_string()),
            last_transaction_time: report.last_ending.map(precise_text),
            comparison: Some(comparison),
            difference_bytes,
            took_seconds: Some(report.took.as_secs_f64()),
            ..planned
        }
    }
}

/// A line of the plan: what would be started.
pub(super) fn plan_line(server: &CopyServer) -> String {
    let port = server.port.map(|port| format!(" at port {port}")).unwrap_or_default();
    field("start", &format!("the server is started{port}, with its log in \"{}\"", server.log.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_a_unit() {
        assert_eq!(parse_span("90s").unwrap(), Duration::from_secs(90));
        assert_eq!(parse_span("2h").unwrap(), Duration::from_secs(7200));
        for text in ["", "90", "0s", "-5s", "soon"] {
            assert!(parse_span(text).is_err(), "{text:?}");
        }
    }
}
