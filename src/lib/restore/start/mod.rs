//! `pgv-restore --start`: starts what was restored, waits for the end of its recovery, and compares that with the proof.
//!
//! INVARIANT: the server is started by the command that a person would paste, except that its messages are English, and
//! nothing is ended but the program that starts it: what runs, runs on, whatever we find.

mod error;
mod expected;
mod log;
mod programs;
mod watch;

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::plan::RestorePlan;
use crate::clock::Stopwatch;
use crate::pg::{Lsn, escape_in_double_quotes, is_touched_in_double_quotes, shell_quote};
use crate::report::{Cancel, Reporter};
use crate::server::{ConnectionSettings, PostmasterFile};

pub use error::{Difference, StartError};
pub use expected::{Comparison, Expected};
pub use log::{LogExcerpt, LoggedCause};
pub use programs::ServerPrograms;

use log::LogMark;
use watch::{Seen, Watch};

/// In which language the server writes its log, which we read.
const LANGUAGE: (&str, &str) = ("lc_messages", "C");
/// How long `pg_ctl` may wait, in seconds: we decide when it is enough.
const LAUNCHER_SECONDS: &str = "31536000";

/// A restored server that is to be started.
#[derive(Debug, Clone)]
pub struct ServerStart {
    /// The programs of its version.
    pub programs: ServerPrograms,
    /// Settings for its command line.
    pub settings: Vec<(String, String)>,
    /// What it writes before it knows where its log goes.
    pub log: PathBuf,
    /// As whom to ask it; the host is found out.
    pub connection: ConnectionSettings,
    /// How long to wait.
    pub limit: Option<Duration>,
}

/// What a recovery came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Settled {
    /// It is paused at its target, open for reading.
    Paused,
    /// It is open for writing.
    Opened,
    /// It has stopped at its target.
    ShutDown,
    /// It is consistent, open for reading, and follows.
    Follows,
}

/// A recovery that was watched to its end.
#[derive(Debug, Clone)]
pub struct StartReport {
    /// What it came to.
    pub settled: Settled,
    /// The server, unless it has stopped.
    pub server: Option<PostmasterFile>,
    /// Where recovery must end.
    pub expected: Option<Expected>,
    /// Where it ended: the end of the last record that was replayed.
    pub replayed: Option<Lsn>,
    /// The last commit or abort that was replayed.
    pub last_ending: Option<Timestamp>,
    /// How they compare.
    pub comparison: Comparison,
    /// How long it took from the start on.
    pub took: Duration,
    /// What the server's log says.
    pub excerpt: LogExcerpt,
}

impl StartReport {
    /// The error that it is when recovery ended elsewhere than it must.
    pub fn difference(&self, plan: &RestorePlan) -> Option<StartError> {
        let expected = self.expected.filter(|_| self.comparison.differs())?;
        let difference = Difference {
            expected,
            replayed: self.replayed,
            comparison: self.comparison,
            last_ending: self.last_ending,
            last_proven: plan.proof.as_ref().and_then(|proof| proof.commit_before.as_ref()).map(|commit| commit.time),
            cause: self.excerpt.cause,
        };
        Some(StartError::EndedElsewhere { directory: plan.directory.clone(), difference: Box::new(difference) })
    }
}

/// Starts a server that was restored by this plan, and waits until its recovery is over.
pub fn start(
    plan: &RestorePlan,
    server: &ServerStart,
    reporter: &dyn Reporter,
    cancel: &Cancel,
) -> Result<StartReport, StartError> {
    let watch = Stopwatch::start();
    let mark = LogMark::of(&server.log, &plan.directory);
    reporter.step(&format!("starting the server; its log is \"{}\"", server.log.display()));
    let launcher = launch(&plan.directory, server)?;
    let mut watching = Watch::new(plan, server, &mark, launcher)?;
    let settled = watching.run(reporter, cancel);
    watching.close();
    let (settled, seen) = settled?;
    let excerpt = mark.excerpt(&plan.directory);
    let expected = Expected::of(plan);
    let comparison = match settled {
        Settled::ShutDown => Comparison::of_stopped(expected, seen.replayed, seen.stopped_at_target),
        _ => Comparison::of(expected, seen.replayed),
    };
    let last_ending = last_ending(plan, comparison, &seen);
    Ok(StartReport {
        settled,
        server: seen.server.filter(|_| settled != Settled::ShutDown),
        expected,
        replayed: seen.replayed,
        last_ending,
        comparison,
        took: watch.elapsed(),
        excerpt,
    })
}

/// What the server says of its last transaction. Where it stopped behind the record at a position that was asked for, it
/// does not count that one: what was proven does.
fn last_ending(plan: &RestorePlan, comparison: Comparison, seen: &Seen) -> Option<Timestamp> {
    let proof = plan.proof.as_ref().filter(|_| comparison == Comparison::AsProven);
    let of_proof = proof.and_then(|proof| {
        let commit = proof.commit_before.as_ref()?;
        (seen.replayed == Some(commit.span.end_lsn)).then_some(commit.time)
    });
    of_proof.or(seen.last_ending)
}

/// The command of `pg_ctl` that starts or restarts a server, for a shell: as a person pastes it.
pub fn pg_ctl_command(
    pg_ctl: &str,
    (directory, log): (&Path, &Path),
    settings: &[(String, String)],
    action: &str,
) -> String {
    let options = server_options(settings).map(|options| format!(" -o {}", shell_quote(&options))).unwrap_or_default();
    let log = shell_quote(&log_option(&log.display().to_string()));
    format!("{}{options} -l {log} {action}", pg_ctl_in(pg_ctl, directory))
}

/// `pg_ctl` with the data directory that it is to start a server in. It hands what `-D` says to a shell in double quotes,
/// and what `PGDATA` says to the server alone.
pub fn pg_ctl_in(pg_ctl: &str, directory: &Path) -> String {
    let directory = directory.display().to_string();
    match is_touched_in_double_quotes(&directory) {
        true => format!("env PGDATA={} {pg_ctl}", shell_quote(&directory)),
        false => format!("{pg_ctl} -D {}", shell_quote(&directory)),
    }
}

/// The path of the log, which `pg_ctl` hands to a shell in double quotes, too.
fn log_option(log: &str) -> String {
    escape_in_double_quotes(log)
}

/// The settings as options of the server; `pg_ctl` hands them to a shell.
fn server_options(settings: &[(String, String)]) -> Option<String> {
    let settings: Vec<String> =
        settings.iter().map(|(name, value)| format!("-c {}", shell_quote(&format!("{name}={value}")))).collect();
    (!settings.is_empty()).then(|| settings.join(" "))
}

/// Runs `pg_ctl`, which stays until the server takes connections or has ended.
fn launch(directory: &Path, server: &ServerStart) -> Result<Child, StartError> {
    let program = server.programs.path("pg_ctl");
    let mut command = programs::command(&program);
    match is_touched_in_double_quotes(&directory.to_string_lossy()) {
        true => command.env("PGDATA", directory),
        false => command.arg("-D").arg(directory),
    };
    let language = (LANGUAGE.0.to_owned(), LANGUAGE.1.to_owned());
    let settings: Vec<(String, String)> = server.settings.iter().cloned().chain([language]).collect();
    if let Some(options) = server_options(&settings) {
        command.arg("-o").arg(options);
    }
    let log = match server.log.to_str() {
        Some(log) => log_option(log).into(),
        None => server.log.clone().into_os_string(),
    };
    command.arg("-l").arg(log).args(["-w", "-t", LAUNCHER_SECONDS, "start"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // On Ctrl-C it would stop the server, and so it must not hear of it.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.spawn().map_err(|source| StartError::NotRun { program, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_are_quoted_for_both_shells() {
        let settings =
            [("hba_file".to_owned(), "/it's/pg_hba.conf".to_owned()), ("port".to_owned(), "5433".to_owned())];
        assert_eq!(server_options(&settings).unwrap(), r"-c 'hba_file=/it'\''s/pg_hba.conf' -c 'port=5433'");
        assert_eq!(server_options(&[]), None);
        let started = |directory: &str, settings: &[(String, String)]| {
            let log = format!("{directory}.log");
            pg_ctl_command("pg_ctl", (Path::new(directory), Path::new(&log)), settings, "start")
        };
        assert_eq!(started("/srv/a b", &[]), "pg_ctl -D '/srv/a b' -l '/srv/a b.log' start");
        let port = r"pg_ctl -D '/srv/a b' -o '-c '\''port=5433'\''' -l '/srv/a b.log' start";
        assert_eq!(started("/srv/a b", &settings[1..]), port);
        assert_eq!(started("/srv/$a", &[]), r"env PGDATA='/srv/$a' pg_ctl -l '/srv/\$a.log' start");
    }
}
