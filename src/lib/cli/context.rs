//! What a verb gets from the command line, and what it gives back.

use std::cell::OnceCell;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::args::{OutputArgs, OutputFormat};
use super::printer::{OutputError, Printer, json_answer};
use super::program::{Program, Verb};
use super::terminal_reporter::TerminalReporter;
use super::typed::Typed;
use crate::config::{Configuration, Overrides};
use crate::error::Classified;
use crate::report::Cancel;

/// What was typed.
#[derive(Debug)]
pub(crate) struct Invocation {
    /// Whose name and exit statuses apply.
    pub(crate) program: Program,
    /// What is to be done; `None` when the front door must find out.
    pub(crate) verb: Option<Verb>,
    /// The name of the executable as it was typed.
    pub(crate) executable: OsString,
    /// The verb as it was typed behind `pgv`.
    pub(crate) typed_verb: Option<OsString>,
    /// What follows.
    pub(crate) arguments: Vec<OsString>,
    /// Where pgv-fetch puts its file, once the arguments are understood.
    pub(crate) destination: OnceCell<PathBuf>,
}

impl Invocation {
    /// Finds the verb among the words of the command line.
    pub(crate) fn new(program: Program, words: impl IntoIterator<Item = OsString>) -> Self {
        let mut words = words.into_iter();
        let executable = words.next().unwrap_or_else(|| program.name().into());
        let mut arguments: Vec<OsString> = words.collect();
        let mut invocation = Self {
            program,
            verb: program.verb(),
            executable,
            typed_verb: None,
            arguments: Vec::new(),
            destination: OnceCell::new(),
        };
        let first = arguments.first().and_then(|word| word.to_str());
        if let (Program::Pgv, Some(verb)) = (program, first.and_then(Verb::of_name)) {
            invocation.program = verb.program();
            invocation.verb = Some(verb);
            invocation.typed_verb = Some(arguments.remove(0));
        }
        invocation.arguments = arguments;
        invocation
    }

    /// The command as a person types it, for usage lines and hints: `pgv-archive`, `pgv archive`.
    pub(crate) fn command_name(&self) -> String {
        match &self.typed_verb {
            Some(verb) => format!("pgv {}", verb.to_string_lossy()),
            None => self.program.name().to_owned(),
        }
    }

    /// Whether it shall answer as a monitoring plugin, with the statuses of one.
    pub(crate) fn is_plugin(&self) -> bool {
        matches!(self.verb, Some(Verb::Check | Verb::Standby)) && self.own_words().any(|word| word == "--nagios")
    }

    /// Whether it is to run a command of somebody else.
    pub(crate) fn is_exec(&self) -> bool {
        self.verb == Some(Verb::Standby) && self.own_words().any(|word| word == "exec")
    }

    /// The arguments that are ours: a command may follow.
    fn own_words(&self) -> impl Iterator<Item = &OsString> {
        self.arguments.iter().take_while(|word| *word != "--")
    }

    /// Every word, from the executable on.
    pub(crate) fn words(&self) -> impl Iterator<Item = &OsString> {
        std::iter::once(&self.executable).chain(&self.typed_verb).chain(&self.arguments)
    }
}

/// What a verb may use beside its arguments.
#[derive(Debug)]
pub(crate) struct Context {
    configuration: Configuration,
    printer: Printer,
    typed: &'static Typed,
    cancel: Cancel,
}

impl Context {
    pub(crate) fn new(configuration: Configuration, printer: Printer, typed: &'static Typed, cancel: Cancel) -> Self {
        Self { configuration, printer, typed, cancel }
    }

    /// How a person types our commands here.
    pub(crate) fn typed(&self) -> &Typed {
        self.typed
    }

    /// The resolved settings.
    pub(crate) fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// Where answers are printed.
    pub(crate) fn printer(&self) -> &Printer {
        &self.printer
    }

    /// Prints the answer of a verb in the form that was asked for.
    pub(crate) fn answer(
        &self,
        form: &OutputArgs,
        report: &impl serde::Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<(), OutputError> {
        self.printer.answer(&match form.output {
            OutputFormat::Text => text(),
            OutputFormat::Json => json_answer(report)?,
        })
    }

    /// Whether a signal asked for the end.
    pub(crate) fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// Something that shows steps and progress to whoever runs this.
    pub(crate) fn reporter(&self) -> TerminalReporter {
        TerminalReporter::new(self.printer)
    }
}

/// How a verb ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// What was asked for is done.
    Done,
    /// The question was answered, with no.
    NegativeAnswer,
    /// A monitoring plugin has this status.
    Plugin(u8),
    /// A command of somebody else ended with this status.
    Command(u8),
    /// A command of somebody else was stopped by us.
    Stopped,
}

/// Whether a verb reads the configuration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NeedsConfiguration {
    /// It does; a file that was named must exist.
    Yes,
    /// A file that was named may be absent: the verb will write it.
    MayWriteIt,
    /// It reads no file, only the command line and the environment.
    No,
}

/// The arguments of a verb, and how the frame treats them.
pub(crate) trait VerbArgs: clap::Parser {
    const VERB: Verb;

    /// The common options, if the verb has them.
    fn common(&self) -> Option<&super::args::CommonArgs> {
        None
    }

    /// What was given on the command line and is also a setting: the common options, and those of a verb that says so.
    fn overrides(&self) -> Overrides {
        self.common().map_or_else(Overrides::new, super::args::CommonArgs::overrides)
    }

    /// Whether the configuration file is read: with the common options, unless a verb says otherwise.
    fn needs_configuration(&self) -> NeedsConfiguration {
        if self.common().is_some() { NeedsConfiguration::Yes } else { NeedsConfiguration::No }
    }

    /// Whether it writes, and therefore refuses to run as root.
    fn writes(&self) -> bool;

    /// Where pgv-fetch puts its file.
    fn destination(&self) -> Option<&Path> {
        None
    }

    /// Does it.
    fn run(self, context: &Context) -> Result<Outcome, Box<dyn Classified>>;
}

impl<E: Classified + 'static> From<E> for Box<dyn Classified> {
    fn from(error: E) -> Self {
        Box::new(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invocation(program: Program, words: &[&str]) -> Invocation {
        Invocation::new(program, words.iter().map(OsString::from))
    }

    #[test]
    fn a_verb_behind_pgv_is_its_program() {
        let typed = invocation(Program::Pgv, &["pgv", "archive", "pg_wal/x", "x"]);
        assert_eq!((typed.program, typed.verb), (Program::Archive, Some(Verb::Archive)));
        assert_eq!(typed.arguments, ["pg_wal/x", "x"]);
        assert_eq!(typed.command_name(), "pgv archive");
        assert_eq!(typed.words().count(), 4);
    }

    #[test]
    fn a_program_takes_all_its_words() {
        let typed = invocation(Program::Archive, &["/usr/bin/pgv-archive", "archive"]);
        assert_eq!((typed.program, typed.verb), (Program::Archive, Some(Verb::Archive)));
        assert_eq!(typed.arguments, ["archive"]);
        assert_eq!(typed.command_name(), "pgv-archive");
    }

    #[test]
    fn other_names_are_left_to_the_front_door() {
        for words in [&["pgv"] as &[_], &["pgv", "--help"], &["pgv", "receive"], &[]] {
            assert_eq!(invocation(Program::Pgv, words).verb, None, "{words:?}");
        }
    }
}
