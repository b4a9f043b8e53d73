//! `pgv-standby exec`: runs a command against the chosen node, and watches how far that falls behind.
//!
//! INVARIANT: one thread alone waits for the command and signals it, so that a signal never reaches another process
//! that has its number by now. The command is told of the node by variables; a password never is an argument.
//!
//! At a terminal the command stays in our process group, so that it may read from there and gets what is typed. Where
//! there is none it leads a group of its own, which signals are sent to: what a shell has started ends with it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rustix::process::{Pid, Signal, getpgrp, kill_process, kill_process_group};
use rustix::termios::tcgetpgrp;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use super::context::{Context, Outcome};
use super::exit_status::STOPPED;
use super::signals::ignored_from_the_beginning;
use super::size::bytes_text;
use super::standby::{Look, Seen, StandbyArgs, command_of, sleep};
use crate::clock::Deadline;
use crate::config::LogLevel;
use crate::error::{Classified, ErrorClass, chain};
use crate::fs;
use crate::report::Cancel;
use crate::server::conninfo::HandedOnSettings;
use crate::standby::{ProbeError, Reference};

/// How long a command that was told to end may take before it is killed.
const KILL_AFTER: Duration = Duration::from_secs(10);
/// After how long a command is looked at without a signal: who started us may have blocked the one that says it ended.
const LOOK_AT_COMMAND: Duration = Duration::from_secs(1);
/// Between two looks at the node.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// What shells say of a command that is not there, and of one that cannot be run.
const NOT_FOUND_STATUS: u8 = 127;
const NOT_RUN_STATUS: u8 = 126;

/// The terminal of whoever opens it.
const TERMINAL: &str = "/dev/tty";

/// Signals that the command gets, too.
const PASSED_ON: [i32; 6] = [SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2];

/// Why a command did not run to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExecError {
    #[error("could not run \"{command}\"")]
    NotRun {
        command: String,
        #[source]
        source: std::io::Error,
    },
    #[error("could not watch \"{command}\"")]
    NotWatched {
        command: String,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "\"{command}\" was stopped: node \"{node}\" lags by {}, more than the {} of --abort-lag",
        bytes_text(*found),
        bytes_text(*limit)
    )]
    TooFarBehind { command: String, node: String, found: u64, limit: u64 },
}

impl Classified for ExecError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NotRun { .. } => ErrorClass::Usage,
            Self::NotWatched { source, .. } => ErrorClass::of_io(source),
            Self::TooFarBehind { .. } => ErrorClass::Unavailable,
        }
    }
}

/// What the thread that waits for the command is told.
#[derive(Debug)]
enum Event {
    Signal(i32),
    /// The node is so many bytes behind.
    Behind(u64),
}

/// Chooses, and runs the command.
pub(super) fn run(args: &StandbyArgs, look: Look, context: &Context) -> Result<Outcome, Box<dyn Classified>> {
    let (program, arguments) = command_of(args)?;
    let seen = look.until_chosen(args.policy.wait, context)?;
    let chosen = seen.chosen(&look.known)?;
    let name = program.to_string_lossy().into_owned();
    context.printer().message(LogLevel::Info, &format!("\"{name}\" runs against node \"{}\"", chosen.name));
    for lost in chosen.settings.lost_in_variables() {
        let message = format!("connection option \"{lost}\" has no variable: \"{name}\" is not told of it");
        context.printer().message(LogLevel::Warn, &message);
    }
    // ORDER: from here on signals are the command's; one that came before ends us.
    let (sender, events) = bounded(16);
    listen(sender.clone()).map_err(|source| ExecError::NotWatched { command: name.clone(), source })?;
    if context.cancel().is_cancelled() {
        return Err(ProbeError::Cancelled.into());
    }
    let group = if terminal().is_some() { Group::Ours } else { Group::Own };
    let running = match command(program, arguments, &chosen.settings, group).spawn() {
        Ok(child) => Running { child, group },
        Err(source) => {
            let is_absent = source.kind() == std::io::ErrorKind::NotFound;
            let status = if is_absent { NOT_FOUND_STATUS } else { NOT_RUN_STATUS };
            context.printer().error(&ExecError::NotRun { command: name, source }, Some(status));
            return Ok(Outcome::Command(status));
        }
    };
    let ended = Cancel::new();
    if let Some(limit) = args.abort_lag {
        let watch = Watch {
            look,
            node: chosen.name.clone(),
            limit,
            interval: args.interval.unwrap_or(LOOK_INTERVAL),
            ended: ended.clone(),
        };
        thread::spawn(move || watch.run(&sender));
    }
    let (status, behind) = wait_for(running, &events);
    ended.cancel();
    let status = status.map_err(|source| ExecError::NotWatched { command: name.clone(), source })?;
    if let (Some(found), Some(limit)) = (behind, args.abort_lag) {
        let error = ExecError::TooFarBehind { command: name, node: chosen.name, found, limit };
        context.printer().error(&error, Some(STOPPED));
        return Ok(Outcome::Stopped);
    }
    Ok(Outcome::Command(status_of(status)))
}

/// The command, told where to connect.
fn command(program: &OsStr, arguments: &[OsString], settings: &HandedOnSettings, group: Group) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    if group == Group::Own {
        command.process_group(0);
    }
    for name in HandedOnSettings::choosing_variables() {
        command.env_remove(name);
    }
    command.envs(settings.variables());
    // Whoever can see the variables of the command can see those of this process, too.
    if let Some(password) = settings.password() {
        command.env("PGPASSWORD", OsStr::from_bytes(password.expose()));
    }
    command
}

/// Hands every signal on as an event.
fn listen(sender: Sender<Event>) -> Result<(), std::io::Error> {
    let ignored = ignored_from_the_beginning();
    let passed_on = PASSED_ON.into_iter().filter(|signal| !ignored.contains(signal));
    let mut signals = Signals::new(passed_on.chain([SIGCHLD]))?;
    thread::spawn(move || {
        for signal in &mut signals {
            if sender.send(Event::Signal(signal)).is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// The process group that a command is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    /// This process's: a terminal sends to both what is typed.
    Ours,
    /// One that it leads.
    Own,
}

/// A command that runs.
struct Running {
    child: Child,
    group: Group,
}

/// Waits for the command to end, passes signals on, and ends it when its node is too far behind.
fn wait_for(mut running: Running, events: &Receiver<Event>) -> (std::io::Result<ExitStatus>, Option<u64>) {
    let mut behind = None;
    let mut kill_at: Option<Deadline> = None;
    loop {
        let patience = kill_at.map_or(LOOK_AT_COMMAND, |deadline| deadline.remaining().min(LOOK_AT_COMMAND));
        let event = events.recv_timeout(patience);
        // ORDER: a command that has ended by now was not stopped by what comes now.
        match running.child.try_wait() {
            Ok(Some(status)) => return (Ok(status), behind),
            Ok(None) => {}
            Err(error) => return (Err(error), behind),
        }
        match event {
            Ok(Event::Signal(signal)) if running.is_sent(signal) => running.send(signal),
            Ok(Event::Signal(_)) => {}
            Ok(Event::Behind(bytes)) => {
                behind = Some(bytes);
                kill_at = Some(Deadline::after(KILL_AFTER));
                running.send(SIGTERM);
            }
            Err(RecvTimeoutError::Timeout) if kill_at.is_none_or(|deadline| !deadline.has_passed()) => {}
            Err(_) => {
                tracing::warn!("the command did not end within {} s of SIGTERM, and is killed", KILL_AFTER.as_secs());
                running.send(SIGKILL);
                return (running.child.wait(), behind);
            }
        }
    }
}

impl Running {
    /// Whether a signal is to be passed on. What is typed at a terminal reaches a command of our group without us.
    fn is_sent(&self, signal: i32) -> bool {
        let typed = signal == SIGINT || signal == SIGQUIT;
        signal != SIGCHLD && !(typed && self.group == Group::Ours && is_in_foreground())
    }

    /// INVARIANT: it was not waited for yet, so its number, which is that of its group, is its own.
    fn send(&self, signal: i32) {
        let process = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let (Some(process), Some(signal)) = (process, Signal::from_named_raw(signal)) {
            // Whoever has gone meanwhile needs no signal.
            let _ = match self.group {
                Group::Own => kill_process_group(process, signal),
                Group::Ours => kill_process(process, signal),
            };
        }
    }
}

/// The terminal of this process, wherever its standard input and output lead.
fn terminal() -> Option<File> {
    fs::open_for_reading(Path::new(TERMINAL)).ok()
}

/// Whether this process is in the group that a terminal sends its signals to.
fn is_in_foreground() -> bool {
    terminal().is_some_and(|terminal| tcgetpgrp(terminal).is_ok_and(|group| group == getpgrp()))
}

/// As a shell tells it: 128 + n of one that signal n ended.
fn status_of(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// The look at the node while the command runs.
struct Watch {
    look: Look,
    node: String,
    limit: u64,
    interval: Duration,
    ended: Cancel,
}

/// What a look at the node showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    /// It is so many bytes behind the primary.
    Known(u64),
    /// Behind the highest position that any node has: no primary answers.
    WithoutPrimary(u64),
    /// It does not answer, or is of another history now.
    Unknown,
}

impl Watch {
    fn run(self, sender: &Sender<Event>) {
        let mut before = Sight::Known(0);
        while sleep(self.interval, &self.ended).is_ok() {
            let sight = match self.look.once(&self.ended) {
                Ok(seen) => self.sight(&seen),
                Err(ProbeError::Cancelled) => return,
                Err(error) => {
                    tracing::warn!("could not ask how far node \"{}\" is: {}", self.node, chain(&error));
                    continue;
                }
            };
            self.tell(before, sight);
            before = sight;
            match sight {
                Sight::Known(found) | Sight::WithoutPrimary(found) if found > self.limit => {
                    let (node, lag) = (&self.node, bytes_text(found));
                    tracing::warn!("node \"{node}\" lags by {lag}: the command is told to end");
                    let _ = sender.send(Event::Behind(found));
                    return;
                }
                _ => {}
            }
        }
    }

    fn sight(&self, seen: &Seen) -> Sight {
        let nodes = seen.survey.probes.iter().zip(&seen.choice.verdicts);
        let lag = nodes.filter(|(probe, _)| probe.node.name == self.node).find_map(|(_, verdict)| verdict.lag.bytes);
        match (lag, &seen.choice.reference) {
            (Some(lag), Some(Reference::Primary { .. })) => Sight::Known(lag),
            (Some(lag), _) => Sight::WithoutPrimary(lag),
            (None, _) => Sight::Unknown,
        }
    }

    /// Says what has changed.
    fn tell(&self, before: Sight, sight: Sight) {
        let node = &self.node;
        match (before, sight) {
            (Sight::Known(_), Sight::Known(_)) | (Sight::Unknown, Sight::Unknown) => {}
            (Sight::WithoutPrimary(_), Sight::WithoutPrimary(_)) => {}
            (_, Sight::Unknown) => tracing::warn!("it is not known any more how far node \"{node}\" is"),
            (_, Sight::WithoutPrimary(_)) => {
                tracing::warn!("no primary answers: what it wrote last is not counted in the lag of node \"{node}\"");
            }
            (_, Sight::Known(_)) => tracing::info!("it is known again how far node \"{node}\" is"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_that_of_a_shell() {
        for (raw, status) in [(0, 0), (3 << 8, 3), (255 << 8, 255), (15, 143), (9, 137)] {
            assert_eq!(status_of(ExitStatus::from_raw(raw)), status);
        }
    }
}
