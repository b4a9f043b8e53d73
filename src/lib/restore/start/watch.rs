//! Watches a recovery from outside: the server's lock file and processes, SQL as soon as it answers, and the control
//! file when it has ended.

use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

use jiff::Timestamp;
use tokio::runtime::Runtime;

use super::error::StartError;
use super::expected::{Expected, done_of};
use super::log::LogMark;
use super::{ServerStart, Settled};
use crate::clock::{Deadline, Stopwatch, wait};
use crate::fs;
use crate::pg::{ControlFile, DatabaseState, Lsn, RecoveryMode, WalSegmentName};
use crate::report::{Cancel, Progress, Reporter};
use crate::restore::RestorePlan;
use crate::server::conninfo::{ChannelBindingMode, HostAddress, ServerHost, TargetSession};
use crate::server::{
    ConnectionSettings, PostmasterFile, PostmasterStatus, RecoveryState, SqlClient, running_postmaster,
};

/// How often to look.
const INTERVAL: Duration = Duration::from_millis(200);
/// How often a server is asked that refused us: each time it writes a line into its log.
const REFUSED_INTERVAL: Duration = Duration::from_secs(2);
/// How long it may refuse us while nothing is seen to be replayed.
const REFUSED_PATIENCE: Duration = Duration::from_secs(30);
/// How long one connection or answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// LIMIT: bytes of a list of processes, or of a command line.
const PROCESS_TEXT_MAX: u64 = 1 << 20;
/// How often a control file is read that was being written.
const CONTROL_FILE_READS: usize = 5;
/// What a server writes that stops at its target.
const STOPPED_AT_TARGET: &str = "shutdown at recovery target";

/// What can be seen of a recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    /// It cannot be asked yet.
    Unanswered,
    /// It said so itself.
    Answered(RecoveryState),
    /// It recovers, and takes no connections meanwhile.
    ReplayingOnly,
    /// No server runs any more; what it was doing.
    Ended(DatabaseState),
}

/// What was seen until the end.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) server: Option<PostmasterFile>,
    pub(super) replayed: Option<Lsn>,
    pub(super) last_ending: Option<Timestamp>,
    pub(super) stopped_at_target: bool,
}

/// A recovery that is watched.
pub(super) struct Watch<'a> {
    plan: &'a RestorePlan,
    server: &'a ServerStart,
    mark: &'a LogMark,
    runtime: Runtime,
    launcher: Option<Child>,
    client: Option<SqlClient>,
    refused: Option<Refused>,
    /// The segment that is being replayed, by the title of the process.
    segment: Option<Lsn>,
    seen: Seen,
}

/// A server that does not let us in.
struct Refused {
    since: Stopwatch,
    last: Stopwatch,
    segment: Option<Lsn>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(
        plan: &'a RestorePlan,
        server: &'a ServerStart,
        mark: &'a LogMark,
        launcher: Child,
    ) -> Result<Self, StartError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(StartError::Runtime)?;
        let (launcher, seen) = (Some(launcher), Seen::default());
        Ok(Self { plan, server, mark, runtime, launcher, client: None, refused: None, segment: None, seen })
    }

    /// Looks until recovery has come to something.
    pub(super) fn run(&mut self, reporter: &dyn Reporter, cancel: &Cancel) -> Result<(Settled, Seen), StartError> {
        let deadline = self.server.limit.map(Deadline::after);
        let directory = || self.plan.directory.clone();
        loop {
            let sight = self.look()?;
            if let Sight::Answered(state) = sight {
                self.seen.replayed = state.replayed_lsn;
                self.seen.last_ending = state.last_ending;
            }
            self.report(reporter);
            if let Some(settled) = settled(self.plan.mode, sight) {
                return Ok((settled, self.seen.clone()));
            }
            let replayed = self.seen.replayed.or(self.segment);
            if let Sight::Ended(_) = sight {
                let (log, excerpt) = (self.server.log.clone(), self.mark.excerpt(&self.plan.directory));
                return Err(StartError::Ended { directory: directory(), log, replayed, excerpt });
            }
            if cancel.is_cancelled() {
                return Err(StartError::Interrupted { directory: directory(), replayed });
            }
            if let Some(limit) = deadline.filter(Deadline::has_passed).map(|deadline| deadline.limit()) {
                return Err(StartError::TimedOut { directory: directory(), limit, replayed });
            }
            wait(INTERVAL);
        }
    }

    /// Says good-bye to the server, and ends the program that started it if it still waits.
    pub(super) fn close(mut self) {
        if let Some(client) = self.client.take() {
            self.runtime.block_on(client.close());
        }
        if let Some(mut launcher) = self.launcher.take() {
            // It has started the server in a session of its own.
            let _ = launcher.kill();
            let _ = launcher.wait();
        }
    }

    fn look(&mut self) -> Result<Sight, StartError> {
        // ORDER: whoever sees it end after that sees a server that was not started, or its end.
        let is_launched = self.is_launched();
        let directory = &self.plan.directory;
        let runs = match running_postmaster(directory) {
            Ok(runs) => runs.is_some(),
            // The file may be there without its content for a moment.
            Err(_) if !is_launched => true,
            Err(error) => return Err(error.into()),
        };
        if !runs {
            return if is_launched { self.ended() } else { Ok(Sight::Unanswered) };
        }
        let Some(file) = PostmasterFile::read(directory)? else { return Ok(Sight::Unanswered) };
        let status = file.status;
        self.segment =
            segment_of(file.pid).and_then(|name| name.start_lsn(self.plan.record.wal_segment_size)).or(self.segment);
        self.seen.server = Some(file);
        match status {
            PostmasterStatus::Ready => self.ask(),
            PostmasterStatus::Starting => Ok(Sight::Unanswered),
            PostmasterStatus::ReplayingOnly => Ok(Sight::ReplayingOnly),
        }
    }

    /// Whether the program that starts the server has done its part.
    fn is_launched(&mut self) -> bool {
        if let Some(launcher) = &mut self.launcher
            && let Ok(Some(_)) = launcher.try_wait()
        {
            self.launcher = None;
        }
        self.launcher.is_none()
    }

    /// Asks a server that takes connections.
    fn ask(&mut self) -> Result<Sight, StartError> {
        let Some(client) = self.client.take() else { return self.connect() };
        match self.runtime.block_on(client.recovery_state()) {
            Ok(state) => {
                self.client = Some(client);
                Ok(Sight::Answered(state))
            }
            // It is on its way to another state: the next look tells.
            Err(_) => Ok(Sight::Unanswered),
        }
    }

    fn connect(&mut self) -> Result<Sight, StartError> {
        if self.refused.as_ref().is_some_and(|refused| refused.last.elapsed() < REFUSED_INTERVAL) {
            return Ok(Sight::Unanswered);
        }
        let Some(settings) = self.seen.server.as_ref().and_then(|file| self.settings(file)) else {
            return Ok(Sight::Unanswered);
        };
        match self.runtime.block_on(SqlClient::connect(&settings)) {
            Ok(mut client) => {
                client.set_query_timeout(ANSWER_LIMIT);
                self.refused = None;
                self.client = Some(client);
            }
            Err(source) => {
                let is_new = self.refused.as_ref().is_none_or(|refused| refused.segment != self.segment);
                let since =
                    self.refused.take().filter(|_| !is_new).map_or_else(Stopwatch::start, |refused| refused.since);
                if since.elapsed() >= REFUSED_PATIENCE {
                    return Err(StartError::NotLetIn { directory: self.plan.directory.clone(), source });
                }
                self.refused = Some(Refused { since, last: Stopwatch::start(), segment: self.segment });
            }
        }
        Ok(Sight::Unanswered)
    }

    /// As whom we ask, at the place that the server itself has written down.
    fn settings(&self, file: &PostmasterFile) -> Option<ConnectionSettings> {
        let address = match (&file.socket_directory, &file.address) {
            (Some(directory), _) => HostAddress::Socket(self.plan.directory.join(directory)),
            (None, Some(address)) => HostAddress::Tcp { name: reachable(address), address: None },
            (None, None) => return None,
        };
        Some(ConnectionSettings {
            hosts: vec![ServerHost { address, port: file.port? }],
            connect_timeout: Some(ANSWER_LIMIT),
            channel_binding: ChannelBindingMode::Prefer,
            target_session: TargetSession::Any,
            options: None,
            ..self.server.connection.clone()
        })
    }

    /// What a server that has ended was doing.
    fn ended(&mut self) -> Result<Sight, StartError> {
        let path = self.plan.directory.join(ControlFile::PATH);
        let control = (1..CONTROL_FILE_READS)
            .find_map(|_| ControlFile::decode(&fs::read_range(&path, 0, ControlFile::FILE_LENGTH).ok()?).ok());
        let control = match control {
            Some(control) => control,
            None => ControlFile::decode(&fs::read_range(&path, 0, ControlFile::FILE_LENGTH)?)
                .map_err(|source| StartError::ControlFile { directory: self.plan.directory.clone(), source })?,
        };
        if control.state == DatabaseState::ShutDownInRecovery {
            self.seen.stopped_at_target = self.mark.says(&self.plan.directory, STOPPED_AT_TARGET);
            self.seen.replayed = self.seen.replayed.max(control.min_recovery_point.map(|point| point.lsn));
        }
        Ok(Sight::Ended(control.state))
    }

    fn report(&self, reporter: &dyn Reporter) {
        let Some(at) = self.seen.replayed.or(self.segment) else { return };
        let from = self.plan.record.start_lsn;
        let to = Expected::of(self.plan).map_or(self.plan.coverage.end_lsn, Expected::lsn);
        let (done_bytes, total_bytes) = done_of(from, Some(at), to);
        let time = self.seen.last_ending.map(crate::pg::format_target_time);
        reporter.whereabouts(&match time {
            Some(time) => format!("at {at}, commits up to {time}"),
            None => format!("at {at}"),
        });
        reporter.progress(&Progress { phase: "replaying", done_bytes, total_bytes: Some(total_bytes) });
    }
}

/// What a recovery has come to, if it has.
fn settled(mode: RecoveryMode, sight: Sight) -> Option<Settled> {
    match (sight, mode) {
        (Sight::Answered(state), _) if !state.in_recovery => Some(Settled::Opened),
        // Without hot standby it never says whether it is consistent.
        (Sight::Answered(_) | Sight::ReplayingOnly, RecoveryMode::Standby) => Some(Settled::Follows),
        (Sight::Answered(state), RecoveryMode::Targeted) => state.is_paused.then_some(Settled::Paused),
        (Sight::Ended(DatabaseState::ShutDownInRecovery), RecoveryMode::Targeted) => Some(Settled::ShutDown),
        (Sight::Ended(_) | Sight::Unanswered | Sight::ReplayingOnly, _) => None,
    }
}

/// An address of `listen_addresses` to connect to.
fn reachable(address: &str) -> String {
    match address {
        "*" | "0.0.0.0" => "127.0.0.1".to_owned(),
        "::" => "::1".to_owned(),
        address => address.to_owned(),
    }
}

/// The segment that a server replays or waits for, by the titles of its processes.
fn segment_of(postmaster: i32) -> Option<WalSegmentName> {
    let read = |path: String| {
        let bytes = fs::read_at_most(&PathBuf::from(path), PROCESS_TEXT_MAX).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let children = read(format!("/proc/{postmaster}/task/{postmaster}/children"));
    children.split_whitespace().find_map(|child| segment_in(&read(format!("/proc/{child}/cmdline"))))
}

fn segment_in(title: &str) -> Option<WalSegmentName> {
    let title = title.trim_end_matches(['\0', ' ']);
    let (_, what) = title.split_once("startup ")?;
    let name = what.strip_prefix("recovering ").or_else(|| what.strip_prefix("waiting for "))?;
    WalSegmentName::parse(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(in_recovery: bool, is_paused: bool) -> Sight {
        Sight::Answered(RecoveryState { in_recovery, is_paused, replayed_lsn: None, last_ending: None })
    }

    #[test]
    fn the_wait_ends_when_recovery_has_come_to_something() {
        use RecoveryMode::{Standby, Targeted};
        for (mode, sight, expected) in [
            (Targeted, Sight::Unanswered, None),
            (Targeted, state(true, false), None),
            (Targeted, state(true, true), Some(Settled::Paused)),
            (Targeted, state(false, false), Some(Settled::Opened)),
            (Targeted, Sight::Ended(DatabaseState::ShutDownInRecovery), Some(Settled::ShutDown)),
            (Targeted, Sight::Ended(DatabaseState::InArchiveRecovery), None),
            (Targeted, Sight::Ended(DatabaseState::InProduction), None),
            (Standby, state(true, false), Some(Settled::Follows)),
            (Targeted, Sight::ReplayingOnly, None),
            (Standby, Sight::ReplayingOnly, Some(Settled::Follows)),
            (Standby, Sight::Unanswered, None),
            (Standby, Sight::Ended(DatabaseState::ShutDownInRecovery), None),
        ] {
            assert_eq!(settled(mode, sight), expected, "{mode:?} {sight:?}");
        }
    }

    #[test]
    fn titles_of_processes_tell_the_segment() {
        let name = "000000010000000000000003";
        for title in [
            format!("postgres: startup recovering {name}\0\0"),
            format!("postgres: main: startup waiting for {name}   "),
        ] {
            assert_eq!(segment_in(&title).unwrap().to_string(), name, "{title:?}");
        }
        for title in ["postgres: startup ", "postgres: checkpointer", "", "postgres: startup recovering x"] {
            assert_eq!(segment_in(title), None, "{title:?}");
        }
    }

    #[test]
    fn every_address_means_the_loopback_one() {
        assert_eq!(reachable("*"), "127.0.0.1");
        assert_eq!(reachable("::"), "::1");
        assert_eq!(reachable("db1"), "db1");
    }
}
