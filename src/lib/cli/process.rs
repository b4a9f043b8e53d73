//! What happens around every run: mask, panics, exit status.
//!
//! INVARIANT: whatever happens inside, clap's own 2 and Rust's own 101 included, the status comes from the one table.

use std::backtrace::Backtrace;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::context::Invocation;
use super::exit_status::{Ending, FetchSituation, exit_status};
use super::printer::Printer;
use super::program::Program;
use crate::config::{Environment, LogFormat, LogLevel};
use crate::error::{Classified, ErrorClass};

/// Runs a program of this package: all that its `main` does.
pub fn main(program: Program) -> ExitCode {
    // What is stored is as secret as the database.
    rustix::process::umask(0o077.into());
    let invocation = Invocation::new(program, std::env::args_os());
    let environment = Environment::from_process();
    let printer = early_printer(&invocation, &environment);
    set_hook(Box::new(move |panic| report_panic(&printer, panic)));
    let run = || super::front_door::run(&invocation, environment, &printer);
    let ending = match catch_unwind(AssertUnwindSafe(run)) {
        Ok(ending) => ending,
        Err(_) => Ending::Failed(ErrorClass::Internal),
    };
    ExitCode::from(status_of(&invocation, ending))
}

/// The exit status of this run.
pub(crate) fn status_of(invocation: &Invocation, ending: Ending) -> u8 {
    exit_status(invocation.program, ending, || {
        // Not understood arguments still name the destination last.
        let destination = invocation.destination.get().map(PathBuf::as_path);
        let destination = destination.or_else(|| invocation.arguments.last().map(Path::new));
        FetchSituation::detect(destination, Path::new("."))
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
