//! Command lines that were not understood.

use std::error::Error as _;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::config::holds_password;
use crate::error::{Classified, ErrorClass};
use crate::nearest::nearest;

/// Why a command line cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct UsageError {
    message: String,
    hints: Vec<String>,
}

impl UsageError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hints: Vec::new() }
    }

    /// Adds a full sentence that says what to do.
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// A name that is none of `names`; hints at the nearest one.
    pub(crate) fn unknown(what: &str, name: &str, names: &[&str]) -> Self {
        let error = Self::new(format!("unknown {what} \"{name}\""));
        match nearest(name, names.iter().copied()) {
            Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
            None => error.with_hint(format!("There are: {}.", names.join(", "))),
        }
    }

    /// What clap found, in the words of the other messages.
    pub(crate) fn of_clap(error: &clap::Error, command: &str) -> Self {
        let message = message_of(error);
        let mut usage = Self::new(if holds_password(&message) {
            "invalid argument, not shown because it may hold a password".to_owned()
        } else {
            message
        });
        for kind in [ContextKind::SuggestedArg, ContextKind::SuggestedValue, ContextKind::SuggestedSubcommand] {
            if let Some(near) = error.get(kind).and_then(first_value) {
                usage = usage.with_hint(format!("Did you mean \"{near}\"?"));
            }
        }
        usage.with_hint(format!("Try \"{command} --help\" for more information."))
    }

    /// What to do about it.
    pub(crate) fn hints(&self) -> &[String] {
        &self.hints
    }
}

impl Classified for UsageError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Usage
    }
}

fn first_value(value: &ContextValue) -> Option<String> {
    match value {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => texts.first().cloned(),
        _ => None,
    }
}

/// What is wrong, made from the parts of the error: clap's own text quotes with apostrophes, which the words that were
/// typed and the reasons may hold too.
fn message_of(error: &clap::Error) -> String {
    let part = |kind| error.get(kind).and_then(first_value);
    let (option, value) = (part(ContextKind::InvalidArg), part(ContextKind::InvalidValue));
    match (error.kind(), option, value) {
        (ErrorKind::UnknownArgument, Some(word), _) => format!("unexpected argument \"{word}\" found"),
        (ErrorKind::InvalidValue, Some(option), Some(value)) if value.is_empty() => {
            format!("a value is required for \"{option}\" but none was supplied")
        }
        (ErrorKind::InvalidValue | ErrorKind::ValueValidation, Some(option), Some(value)) => {
            let reason = error.source().map(|reason| format!(": {reason}")).unwrap_or_default();
            let choices = match error.get(ContextKind::ValidValue) {
                Some(ContextValue::Strings(choices)) if !choices.is_empty() => {
                    format!(": expected {}", choices.join(", "))
                }
                _ => String::new(),
            };
            format!("invalid value \"{value}\" for \"{option}\"{reason}{choices}")
        }
        (ErrorKind::ArgumentConflict, Some(option), _) => match part(ContextKind::PriorArg) {
            Some(other) if other == option => format!("the argument \"{option}\" cannot be used multiple times"),
            Some(other) => format!("the argument \"{option}\" cannot be used with \"{other}\""),
            None => format!("the argument \"{option}\" cannot be used with one of the others"),
        },
        _ => quoted(&error.render().to_string()),
    }
}

/// clap's own text on one line: what it says without a word of the person's in it.
fn quoted(text: &str) -> String {
    let first = text.trim().split("\n\n").next().unwrap_or_default();
    let message = first.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    message.strip_prefix("error: ").unwrap_or(&message).replace('\'', "\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::program::{Program, program_command};

    fn of(program: Program, words: &[&str]) -> UsageError {
        let error = program_command(program).try_get_matches_from(words).unwrap_err();
        UsageError::of_clap(&error, program.name())
    }

    #[test]
    fn an_unknown_option_names_the_nearest() {
        let error = of(Program::Restore, &["pgv-restore", "-D", "/x", "--target-tim", "now"]);
        assert_eq!(error.to_string(), "unexpected argument \"--target-tim\" found");
        assert_eq!(error.hints()[0], "Did you mean \"--target-time\"?");
        assert_eq!(error.hints()[1], "Try \"pgv-restore --help\" for more information.");
    }

    #[test]
    fn what_is_missing_is_named_on_one_line() {
        let error = of(Program::Fetch, &["pgv-fetch"]);
        assert_eq!(error.to_string(), "the following required arguments were not provided: <NAME> <PATH>");
    }

    #[test]
    fn a_password_that_went_astray_is_not_repeated() {
        let error = of(Program::Archive, &["pgv-archive", "a", "b", "password=canary"]);
        assert!(!error.to_string().contains("canary"), "{error}");
    }

    #[test]
    fn two_targets_are_refused() {
        let words = ["pgv-restore", "-D", "/x", "--target-time", "now", "--target-xid", "7"];
        let error = of(Program::Restore, &words);
        assert!(error.to_string().contains("cannot be used with \"--target-xid"), "{error}");
    }

    #[test]
    fn apostrophes_stay_apostrophes() {
        let error = of(Program::Restore, &["pgv-restore", "-D", "/x", "--target-lsn", "it's"]);
        assert!(error.to_string().starts_with("invalid value \"it's\" for \"--target-lsn <LSN>\": "), "{error}");
        let error = of(Program::Restore, &["pgv-restore", "-D", "/x", "can't"]);
        assert_eq!(error.to_string(), "unexpected argument \"can't\" found");
        let error = of(Program::Restore, &["pgv-restore", "-D", "/x", "--output", "it's\n\nx"]);
        assert_eq!(error.to_string(), "invalid value \"it's\n\nx\" for \"--output <FORMAT>\": expected text, json");
    }

    #[test]
    fn what_cannot_stand_together_is_named() {
        let error = of(Program::Restore, &["pgv-restore", "-D", "/x", "-D", "/y"]);
        assert_eq!(error.to_string(), "the argument \"--pgdata <DIR>\" cannot be used multiple times");
        let error = of(Program::Restore, &["pgv-restore", "-D"]);
        assert_eq!(error.to_string(), "a value is required for \"--pgdata <DIR>\" but none was supplied");
    }

    #[test]
    fn a_negative_value_is_a_value_and_told_what_it_should_be() {
        for (option, value) in
            [("--target-xid", "-1"), ("--target-timeline", "-1"), ("--target-lsn", "-0/5"), ("--target-timeline", "-x")]
        {
            let error = of(Program::Restore, &["pgv-restore", "-D", "/x", option, value]).to_string();
            assert!(error.starts_with(&format!("invalid value \"{value}\" for \"{option} <")), "{error}");
            assert!(error.contains(">\": ") && error.contains("expected"), "{error}");
        }
        for (program, option, value) in [
            (Program::Restore, "--target-time", "-1 hour"),
            (Program::Restore, "--cluster", "-1"),
            (Program::BaseBackup, "-p", "-1"),
            (Program::BaseBackup, "--max-rate", "-5M"),
            (Program::BaseBackup, "--jobs", "-1"),
            (Program::BaseBackup, "--archive-timeout", "-1s"),
        ] {
            let words = [program.name(), option, value, "-D", "/x"];
            let words = if program == Program::Restore { &words as &[_] } else { words.get(..3).unwrap() };
            assert!(program_command(program).try_get_matches_from(words).is_ok(), "{words:?}");
        }
    }
}
