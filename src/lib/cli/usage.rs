//! Command lines that were not understood.

use clap::error::{ContextKind, ContextValue};

use crate::config::{holds_password, nearest};
use crate::error::{Classified, ErrorClass};

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
        let text = error.render().to_string();
        let mut paragraphs = text.trim().split("\n\n");
        let first = paragraphs.next().unwrap_or_default();
        let message: Vec<&str> = first.lines().map(str::trim).collect();
        let message = message.join(" ");
        let message = message.strip_prefix("error: ").unwrap_or(&message);
        let mut usage = Self::new(if holds_password(message) {
            "invalid argument, not shown because it may hold a password".to_owned()
        } else {
            quoted(message)
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

/// clap quotes with single quotes, PostgreSQL with double ones.
fn quoted(message: &str) -> String {
    message.replace('\'', "\"")
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
}
