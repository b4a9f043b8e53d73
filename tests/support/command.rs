//! Runs a command to its end within a deadline and keeps what it said.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::support::wait::{PATIENCE, holds_within};

/// How a command ended and what it said.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    /// The command, for messages.
    pub(crate) line: String,
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) elapsed: Duration,
}

impl Outcome {
    /// The exit status; panics when a signal ended the command.
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("ended by signal {:?}\n{self}", self.status.signal()))
    }

    /// Itself when the exit status is 0, else panics with all that was said.
    #[track_caller]
    pub(crate) fn success(self) -> Self {
        assert!(self.status.success(), "failed\n{self}");
        self
    }

    /// Itself when the exit status is `code`, else panics with all that was said.
    #[track_caller]
    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert!(self.status.code() == Some(code), "expected exit status {code}\n{self}");
        self
    }

    /// Itself when standard error contains `text`.
    #[track_caller]
    pub(crate) fn expect_stderr(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "standard error does not contain {text:?}\n{self}");
        self
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "command: {}\n{}, after {:?}\n", self.line, self.status, self.elapsed)?;
        write!(f, "standard output:\n{}\nstandard error:\n{}", self.stdout, self.stderr)
    }
}

/// Runs `command` to its end; panics when that takes longer than the tests' patience.
#[track_caller]
pub(crate) fn run(command: Command) -> Outcome {
    run_within(PATIENCE, command)
}

/// Runs `command` to its end; kills it and panics when that takes longer than `limit`.
///
/// Output goes through files, not pipes: a helper that the command leaves behind cannot block the test.
#[track_caller]
pub(crate) fn run_within(limit: Duration, mut command: Command) -> Outcome {
    let line = describe(&command);
    let mut stdout = tempfile::tempfile().expect("a temporary file");
    let mut stderr = tempfile::tempfile().expect("a temporary file");
    command.stdin(Stdio::null()).stdout(stdout.try_clone().unwrap()).stderr(stderr.try_clone().unwrap());
    let started = Instant::now();
    let mut child = command.spawn().unwrap_or_else(|error| panic!("could not run {line}: {error}"));
    let mut status = None;
    let ended = holds_within(limit, || {
        status = child.try_wait().expect("a child can be waited for");
        status.is_some()
    });
    if !ended {
        child.kill().expect("a child can be killed");
        status = Some(child.wait().expect("a child can be waited for"));
    }
    let elapsed = started.elapsed();
    let status = status.expect("it has ended");
    let outcome = Outcome { line, status, stdout: text(&mut stdout), stderr: text(&mut stderr), elapsed };
    assert!(ended, "killed after {limit:?}\n{outcome}");
    outcome
}

fn text(file: &mut File) -> String {
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("a temporary file can be read");
    String::from_utf8_lossy(&bytes).into_owned()
}

fn describe(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        let _ = write!(line, " {}", argument.to_string_lossy());
    }
    line
}
