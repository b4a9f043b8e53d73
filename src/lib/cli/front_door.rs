//! From words to a verb: the frame that reads arguments and settings, and runs the verb with them.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};

use super::args::CommonArgs;
use super::context::{Context, Invocation, NeedsConfiguration, Outcome, VerbArgs};
use super::exit_status::Ending;
use super::printer::Printer;
use super::program::{Program, Verb, front_door_command};
use super::typed::Typed;
use super::usage::UsageError;
use super::{
    archive, backup, check, completions, expire, fetch, info, init, man, pin, recovery_conf, restore, standby, target,
    verify,
};
use super::{check_text, logging, process, root_guard};
use crate::config::{ConfigurationFile, Environment, LoadOptions, LogLevel, load};
use crate::error::{Classified, ErrorClass, chain};
use crate::report::Cancel;

/// Runs what was typed, and prints why it failed.
pub(crate) fn run(invocation: &Invocation, environment: Environment, cancel: Cancel, early: &Printer) -> Ending {
    let mut printer = *early;
    let result = match invocation.verb {
        None => front_door(invocation, &environment, &printer),
        Some(Verb::Init) => execute::<init::InitArgs>(invocation, environment, cancel, &mut printer),
        Some(Verb::Archive) => execute::<archive::ArchiveArgs>(invocation, environment, cancel, &mut printer),
        Some(Verb::Fetch) => execute::<fetch::FetchArgs>(invocation, environment, cancel, &mut printer),
        Some(Verb::Backup) => execute::<backup::BackupArgs>(invocation, environment, cancel, &mut printer),
        Some(Verb::Restore) => execute::<restore::RestoreArgs>(invocation, environment, cancel, &mut printer),
        Some(Verb::RecoveryConf) => {
            execute::<recovery_conf::RecoveryConfArgs>(invocation, environment, cancel, &mut printer)
        }
        Some(Verb::Standby) => execute::<standby::StandbyArgs>(invocation, environment, cancel, &mut printer),
        Some(Verb::Info) => execute::<info::InfoArgs>(invocation, environment, cancel, &mut printer),
        Some(Verb::Check) => execute::<check::CheckArgs>(invocation, environment, cancel, &mut printer),
        Some(Verb::Verify) => execute::<verify::VerifyArgs>(invocation, environment, cancel, &mut printer),
        Some(Verb::Expire) => execute::<expire::ExpireArgs>(invocation, environment, cancel, &mut printer),
        Some(Verb::Pin) => execute::<pin::PinArgs>(invocation, environment, cancel, &mut printer),
        Some(Verb::Unpin) => execute::<pin::UnpinArgs>(invocation, environment, cancel, &mut printer),
        Some(Verb::Target) => execute::<target::TargetQueryArgs>(invocation, environment, cancel, &mut printer),
        Some(Verb::Completions) => {
            execute::<completions::CompletionsArgs>(invocation, environment, cancel, &mut printer)
        }
        Some(Verb::Man) => execute::<man::ManArgs>(invocation, environment, cancel, &mut printer),
    };
    match result {
        Ok(outcome) => Ending::Finished(outcome),
        Err(error) => {
            let ending = Ending::Failed(error.class());
            printer.error(&*error, Some(process::status_of(invocation, ending)));
            if invocation.is_plugin() {
                // Monitoring shows what is on stdout, and nothing else.
                let _ = printer.answer(&check_text::plugin_failure(&chain(&*error)));
            }
            ending
        }
    }
}

/// Reads the arguments and settings of a verb and runs it. `printer` becomes the one that was asked for.
fn execute<A: VerbArgs>(
    invocation: &Invocation,
    environment: Environment,
    cancel: Cancel,
    printer: &mut Printer,
) -> Result<Outcome, Box<dyn Classified>> {
    let name = invocation.command_name();
    let words = std::iter::once(OsString::from(&name)).chain(invocation.arguments.iter().cloned());
    let command = A::VERB.command().name(invocation.program.name()).bin_name(&name);
    let args = match command.try_get_matches_from(words).and_then(|mut matches| A::from_arg_matches_mut(&mut matches)) {
        Ok(args) => args,
        Err(error) => return help_or_usage_error(&error, &name, printer),
    };
    if let Some(destination) = args.destination() {
        // Empty until here: this is the only call.
        let _ = invocation.destination.set(destination.to_path_buf());
    }

    let common = args.common();
    let configuration = load(LoadOptions {
        file: match args.needs_configuration() {
            NeedsConfiguration::Yes => ConfigurationFile::Read,
            NeedsConfiguration::MayWriteIt => ConfigurationFile::ReadIfPresent,
            NeedsConfiguration::No => ConfigurationFile::Ignore,
        },
        config: common.and_then(|common| common.config.clone()),
        env_file: common.and_then(|common| common.env_file.clone()),
        overrides: args.overrides(),
        environment,
    })?;
    let level = configuration.log().level.unwrap_or(default_level(invocation.program));
    // The printer may speak until the very end, so this is never freed.
    let typed: &'static Typed = Box::leak(Box::new(Typed::of(&configuration)));
    *printer = Printer::new(invocation.program, configuration.log().format, level).with_typed(typed);
    logging::start(*printer);
    for warning in configuration.warnings() {
        printer.message(LogLevel::Warn, warning);
    }
    if args.writes() && !common.is_some_and(|common: &CommonArgs| common.allow_root) {
        root_guard::refuse_root(invocation, configuration.variable("SUDO_USER").is_some())?;
    }
    args.run(&Context::new(configuration, *printer, typed, cancel))
}

/// The server's log gets one line for each WAL file that fails or is absent, and none for the others.
fn default_level(program: Program) -> LogLevel {
    match program {
        Program::Archive => LogLevel::Warn,
        Program::Pgv | Program::Fetch | Program::BaseBackup | Program::Restore => LogLevel::Info,
        Program::RecoveryConf | Program::Standby => LogLevel::Info,
    }
}

fn help_or_usage_error(error: &clap::Error, command: &str, printer: &Printer) -> Result<Outcome, Box<dyn Classified>> {
    use clap::error::ErrorKind;
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            printer.answer(&error.render().to_string())?;
            Ok(Outcome::Done)
        }
        _ => Err(UsageError::of_clap(error, command).into()),
    }
}

/// `pgv` with no verb of its own behind it: help, version, or the program `pgv-NAME`.
fn front_door(
    invocation: &Invocation,
    environment: &Environment,
    printer: &Printer,
) -> Result<Outcome, Box<dyn Classified>> {
    let Some(first) = invocation.arguments.first() else {
        let names: Vec<&str> = Verb::ALL.into_iter().map(Verb::name).collect();
        let usage = UsageError::new("no verb was given").with_hint(format!("The verbs are {}.", names.join(", ")));
        return Err(usage.with_hint("Try \"pgv --help\" for more information.").into());
    };
    let is_option = first.to_string_lossy().starts_with('-');
    if !is_option && first != "help" {
        return Err(run_external(first, invocation, environment));
    }
    // "help VERB" reads as "VERB --help".
    let (help, rest): (Vec<_>, Vec<_>) = invocation.arguments.iter().partition(|word| *word == "help");
    let asked = help.first().map(|_| OsString::from("--help"));
    let words = std::iter::once(OsString::from("pgv")).chain(rest.into_iter().cloned()).chain(asked);
    match front_door_command().try_get_matches_from(words) {
        Err(error) if error.kind() == clap::error::ErrorKind::UnknownArgument => {
            let usage = UsageError::of_clap(&error, "pgv");
            Err(usage.with_hint("Options come after the verb: \"pgv VERB [OPTIONS]\".").into())
        }
        Err(error) => help_or_usage_error(&error, "pgv", printer),
        Ok(_) => Err(UsageError::new("the verb must come first").into()),
    }
}

/// Why another program could not be run in place of this one.
#[derive(Debug, thiserror::Error)]
#[error("could not run \"{}\"", path.display())]
struct ExecError {
    path: PathBuf,
    #[source]
    source: std::io::Error,
}

impl Classified for ExecError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Usage
    }
}

/// Becomes the program `pgv-NAME`; returns only when there is none.
fn run_external(name: &OsString, invocation: &Invocation, environment: &Environment) -> Box<dyn Classified> {
    let shown = name.to_string_lossy();
    let known =
        Verb::ALL.into_iter().flat_map(|verb| std::iter::once(verb.name()).chain(verb.aliases().iter().copied()));
    let known: Vec<&str> = known.collect();
    let valid = shown.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let Some(path) = Some(&shown).filter(|_| valid).and_then(|name| find_program(&format!("pgv-{name}"), environment))
    else {
        let error = UsageError::unknown("verb", &shown, &known);
        return error.with_hint(format!("There is no program \"pgv-{shown}\" either.")).into();
    };
    let source = std::process::Command::new(&path).args(invocation.arguments.iter().skip(1)).exec();
    ExecError { path, source }.into()
}

/// Finds a program beside the running one, else in PATH.
fn find_program(name: &str, environment: &Environment) -> Option<PathBuf> {
    let executable = std::env::current_exe().ok();
    let beside = executable.as_deref().and_then(Path::parent).map(Path::to_path_buf);
    let path = environment.get("PATH").unwrap_or_default();
    let folders = beside.into_iter().chain(std::env::split_paths(path).filter(|folder| folder.is_absolute()));
    folders.map(|folder| folder.join(name)).find(|candidate| is_executable(candidate))
}

pub(super) fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}
