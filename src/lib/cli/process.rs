//! What happens around every run: mask, panics, exit status.
//!
//! INVARIANT: whatever happens inside, clap's own 2 and Rust's own 101 included, the status comes from the one table.

use std::backtrace::Backtrace;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::context::Invocation;
use super::exit_status::{Ending, exit_status};
use super::opening;
use super::printer::Printer;
use super::program::Program;
use super::signals;
use crate::check::CheckState;
use crate::config::{Environment, LogFormat, LogLevel};
use crate::error::{Classified, ErrorClass};
use crate::fetch::recovery_mode;

/// `%p` of restore_command, as PostgreSQL has it since version 8.
const USUAL_DESTINATION: &str = "pg_wal/RECOVERYXLOG";

/// Runs a program of this package: all that its `main` does.
pub fn main(program: Program) -> ExitCode {
    let invocation = Invocation::new(program, std::env::args_os());
    // ORDER: before all that takes time, since a signal that finds no handler ends the program as the system likes.
    let cancel = signals::arrange(&invocation);
    // What is stored is as secret as the database; what the command of another writes is not our business.
    if program != Program::Standby {
        rustix::process::umask(0o077.into());
    }
    let environment = Environment::from_process();
    let printer = early_printer(&invocation, &environment);
    set_hook(Box::new(move |panic| report_panic(&printer, panic)));
    ExitCode::from(supervise(&invocation, || super::front_door::run(&invocation, environment, cancel, &printer)))
}

/// Runs it, come what may, and gives the exit status.
fn supervise(invocation: &Invocation, run: impl FnOnce() -> Ending) -> u8 {
    let ending = catch_unwind(AssertUnwindSafe(run)).unwrap_or(Ending::Failed(ErrorClass::Internal));
    status_of(invocation, ending)
}

/// The exit status of this run.
pub(crate) fn status_of(invocation: &Invocation, ending: Ending) -> u8 {
    if invocation.is_plugin() && matches!(ending, Ending::Failed(_)) {
        return CheckState::Unknown.plugin_status();
    }
    exit_status(invocation.program, ending, || {
        // Not understood arguments still name the destination last.
        let destination = invocation.destination.get().map(PathBuf::as_path);
        let destination = destination.or_else(|| invocation.arguments.last().map(Path::new));
        recovery_mode(destination.unwrap_or(Path::new(USUAL_DESTINATION)), &opening::working_directory())
    })
}

/// A defect of pgv itself.
#[derive(Debug, thiserror::Error)]
#[error("internal error at {place}: {message}")]
struct Defect {
    place: String,
    message: String,
}

impl Classified for Defect {
    fn class(&self) -> ErrorClass {
        ErrorClass::Internal
    }
}

fn report_panic(printer: &Printer, panic: &PanicHookInfo<'_>) {
    let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let message = text.unwrap_or("no message").to_owned();
    printer.error(&Defect { place, message }, None);
    if tracing::enabled!(tracing::Level::DEBUG) {
        for line in Backtrace::force_capture().to_string().lines() {
            tracing::debug!("{line}");
        }
    }
}

/// For what must be said before the settings are known: the form as flags and environment have it.
fn early_printer(invocation: &Invocation, environment: &Environment) -> Printer {
    let mut words = invocation.arguments.iter().filter_map(|word| word.to_str());
    let mut wanted = environment.get("PGV_LOG_FORMAT").map(str::to_owned);
    while let Some(word) = words.next() {
        if let Some(format) = word.strip_prefix("--log-format=") {
            wanted = Some(format.to_owned());
        } else if word == "--log-format" {
            wanted = words.next().map(str::to_owned);
        }
    }
    let format = wanted.and_then(|text| text.parse().ok()).unwrap_or(LogFormat::Text);
    Printer::new(invocation.program, format, LogLevel::Info)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    fn invocation(program: Program, words: &[&str]) -> Invocation {
        Invocation::new(program, std::iter::once(program.name()).chain(words.iter().copied()).map(OsString::from))
    }

    #[test]
    fn a_panic_is_a_status_of_the_table() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("pg_wal")).unwrap();
        std::fs::write(folder.path().join("recovery.signal"), "").unwrap();
        let destination = folder.path().join("pg_wal/RECOVERYXLOG");
        let words = ["000000010000000000000001", destination.to_str().unwrap()];
        for (program, words, status) in [
            (Program::Archive, &words as &[_], 23),
            (Program::Fetch, &words, 223),
            (Program::Fetch, &[], 123),
            (Program::Pgv, &["fetch", "x", words[1]], 223),
            (Program::Pgv, &["archive"], 23),
            (Program::Restore, &[], 70),
        ] {
            let run = || std::panic::resume_unwind(Box::new("a defect"));
            assert_eq!(supervise(&invocation(program, words), run), status, "{program:?} {words:?}");
        }
    }
}
