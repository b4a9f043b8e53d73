//! `pgv-standby exec`: runs a command against the chosen node, and watches how far that falls behind.
//!
//! INVARIANT: one thread alone waits for the command and signals it, so that a signal never reaches another process
//! that has its number by now. The command is told of the node by variables; a password never is an argument.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rustix::process::{Pid, Signal, getpgrp, kill_process};
use rustix::termios::tcgetpgrp;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use super::context::{Context, Outcome};
use super::signals::ignored_from_the_beginning;
use super::size::bytes_text;
use super::standby::{Look, StandbyArgs, command_of, sleep};
use crate::clock::Deadline;
use crate::config::LogLevel;
use crate::error::{Classified, ErrorClass};
use crate::report::Cancel;
use crate::server::conninfo::HandedOnSettings;
use crate::standby::ProbeError;

/// How long a command that was told to end may take before it is killed.
const KILL_AFTER: Duration = Duration::from_secs(10);
/// Between two looks at the node.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// What shells say of a command that is not there, and of one that cannot be run.
const NOT_FOUND_STATUS: u8 = 127;
const NOT_RUN_STATUS: u8 = 126;

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
    let seen = look.until_chosen(args.policy.wait, context.cancel())?;
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
    let child = match command(program, arguments, &chosen.settings).spawn() {
        Ok(child) => child,
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
    let (status, behind) = wait_for(child, &events);
    ended.cancel();
    let status = status.map_err(|source| ExecError::NotWatched { command: name.clone(), source })?;
    if let (Some(found), Some(limit)) = (behind, args.abort_lag) {
        let error = ExecError::TooFarBehind { command: name, node: chosen.name, found, limit };
        context.printer().error(&error, None);
        return Ok(Outcome::Stopped);
    }
    Ok(Outcome::Command(status_of(status)))
}

/// The command, told where to connect.
fn command(program: &OsStr, arguments: &[OsString], settings: &HandedOnSettings) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
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

/// Waits for the command to end, passes signals on, and ends it when its node is too far behind.
fn wait_for(mut child: Child, events: &Receiver<Event>) -> (std::io::Result<ExitStatus>, Option<u64>) {
    let mut behind = None;
    let mut kill_at: Option<Deadline> = None;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return (Ok(status), behind),
            Ok(None) => {}
            Err(error) => return (Err(error), behind),
        }
        let event = match kill_at {
            None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(deadline) => events.recv_timeout(deadline.remaining()),
        };
        match event {
            Ok(Event::Signal(signal)) if is_for_the_command(signal) => send(&child, signal),
            Ok(Event::Signal(_)) => {}
            Ok(Event::Behind(bytes)) => {
                behind = Some(bytes);
                kill_at = Some(Deadline::after(KILL_AFTER));
                send(&child, SIGTERM);
            }
            Err(_) => {
                // It has gone already, or goes now.
                let _ = child.kill();
                return (child.wait(), behind);
            }
        }
    }
}

/// Whether a signal is to be passed on. What is typed at a terminal reaches the command without us.
fn is_for_the_command(signal: i32) -> bool {
    let typed = signal == SIGINT || signal == SIGQUIT;
    signal != SIGCHLD && !(typed && is_in_foreground())
}

/// Whether this process is in the group that a terminal sends its signals to.
fn is_in_foreground() -> bool {
    let groups = [tcgetpgrp(std::io::stdin()), tcgetpgrp(std::io::stdout()), tcgetpgrp(std::io::stderr())];
    groups.into_iter().any(|group| group.is_ok_and(|group| group == getpgrp()))
}

fn send(child: &Child, signal: i32) {
    let process = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let (Some(process), Some(signal)) = (process, Signal::from_named_raw(signal)) {
        // It was not waited for yet, so the number is its own.
        let _ = kill_process(process, signal);
    }
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

impl Watch {
    fn run(self, sender: &Sender<Event>) {
        let mut was_known = true;
        while sleep(self.interval, &self.ended).is_ok() {
            let Ok(seen) = self.look.once(&self.ended) else { return };
            let nodes = seen.survey.probes.iter().zip(&seen.choice.verdicts);
            let lag =
                nodes.filter(|(probe, _)| probe.node.name == self.node).find_map(|(_, verdict)| verdict.lag.bytes);
            match lag {
                Some(found) if found > self.limit => {
                    let _ = sender.send(Event::Behind(found));
                    return;
                }
                Some(_) => was_known = true,
                None if was_known => {
                    was_known = false;
                    tracing::warn!("it is not known any more how far node \"{}\" is", self.node);
                }
                None => {}
            }
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
