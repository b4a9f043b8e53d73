//! The only place that writes to stdout and stderr.
//!
//! INVARIANT: a message is one line, written by one call, with control characters escaped: what a server, a file
//! name or a person sent can neither forge a line nor drive the terminal.

use std::io::{IsTerminal as _, Write as _};

use serde_json::{Map, Value, json};

use super::hints::hints;
use super::program::Program;
use super::typed::Typed;
use crate::clock::{Clock as _, SystemClock};
use crate::config::{LogFormat, LogLevel};
use crate::error::{Classified, ErrorClass, chain};

/// Writes messages in the form and from the level that were asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    program: Program,
    format: LogFormat,
    level: LogLevel,
    typed: Option<&'static Typed>,
}

/// Why an answer could not be written.
#[derive(Debug, thiserror::Error)]
#[error("could not write to standard output")]
pub(crate) struct OutputError {
    #[source]
    source: std::io::Error,
}

impl Classified for OutputError {
    fn class(&self) -> ErrorClass {
        ErrorClass::of_io(&self.source)
    }
}

/// What was asked for is done, and only the report of it is lost.
#[derive(Debug, thiserror::Error)]
#[error("the {complete} is complete, only its report is lost")]
pub(crate) struct ReportError {
    complete: &'static str,
    #[source]
    source: OutputError,
}

impl Classified for ReportError {
    fn class(&self) -> ErrorClass {
        self.source.class()
    }
}

impl Printer {
    pub(crate) fn new(program: Program, format: LogFormat, level: LogLevel) -> Self {
        Self { program, format, level, typed: None }
    }

    /// The same, which knows how commands are typed here.
    pub(crate) fn with_typed(self, typed: &'static Typed) -> Self {
        Self { typed: Some(typed), ..self }
    }

    pub(crate) fn format(&self) -> LogFormat {
        self.format
    }

    pub(crate) fn level(&self) -> LogLevel {
        self.level
    }

    /// Writes an answer to stdout. A reader that has gone away is not an error.
    pub(crate) fn answer(&self, text: &str) -> Result<(), OutputError> {
        let mut stdout = std::io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            written => written.map_err(|source| OutputError { source }),
        }
    }

    /// The same for the report of a work that is complete, whatever becomes of the report.
    pub(crate) fn report(&self, text: Result<String, OutputError>, complete: &'static str) -> Result<(), ReportError> {
        let answered = text.and_then(|text| self.answer(&text));
        answered.map_err(|source| ReportError { complete, source })
    }

    /// Writes an error with its causes and hints.
    pub(crate) fn error(&self, error: &(dyn Classified + 'static), status: Option<u8>) {
        let lines = self.error_lines(error, status);
        let is_red = self.format == LogFormat::Text && wants_colour();
        write_stderr(&if is_red { first_line_in_red(&lines) } else { lines });
    }

    /// Writes a message, if its level is asked for.
    pub(crate) fn message(&self, level: LogLevel, message: &str) {
        self.event(level, message, Map::new());
    }

    /// Writes a message with further data, if its level is asked for.
    pub(crate) fn event(&self, level: LogLevel, message: &str, fields: Map<String, Value>) {
        if level <= self.level {
            write_stderr(&self.event_line(level, message, fields));
        }
    }

    fn error_lines(&self, error: &(dyn Classified + 'static), status: Option<u8>) -> String {
        let hints = hints(error, self.typed.unwrap_or(&Typed::default()));
        let message = chain(error);
        match self.format {
            LogFormat::Text => {
                let mut lines = self.text_line("error: ", &message);
                for hint in hints {
                    lines.push_str(&self.text_line("hint: ", &hint));
                }
                lines
            }
            LogFormat::Json => {
                let mut fields = Map::new();
                fields.insert("class".to_owned(), json!(format!("{:?}", error.class())));
                fields.insert("hints".to_owned(), json!(hints));
                if let Some(status) = status {
                    fields.insert("exit_status".to_owned(), json!(status));
                }
                self.event_line(LogLevel::Error, &message, fields)
            }
        }
    }

    fn event_line(&self, level: LogLevel, message: &str, fields: Map<String, Value>) -> String {
        match self.format {
            LogFormat::Text => {
                let prefix = match level {
                    LogLevel::Error => "error: ",
                    LogLevel::Warn => "warning: ",
                    LogLevel::Info => "",
                    LogLevel::Debug => "debug: ",
                    LogLevel::Trace => "trace: ",
                };
                let fields: String = fields.iter().map(|(name, value)| format!(" {name}={value}")).collect();
                self.text_line(prefix, &format!("{message}{fields}"))
            }
            LogFormat::Json => {
                let mut line = Map::new();
                line.insert("time".to_owned(), json!(SystemClock.now().to_string()));
                line.insert("level".to_owned(), json!(level.as_str()));
                line.insert("program".to_owned(), json!(self.program.name()));
                line.insert("message".to_owned(), json!(message));
                line.extend(fields);
                format!("{}\n", Value::Object(line))
            }
        }
    }

    fn text_line(&self, prefix: &str, message: &str) -> String {
        format!("{}: {prefix}{}\n", self.program.name(), escaped(message))
    }
}

/// A value as the answer of `--output json`.
pub(crate) fn json_answer(value: &impl serde::Serialize) -> Result<String, OutputError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| OutputError { source: error.into() })?;
    Ok(format!("{text}\n"))
}

/// Text without control characters, so that nobody's file name can drive the terminal.
pub(crate) fn escaped(message: &str) -> String {
    let mut text = String::with_capacity(message.len());
    for c in message.chars() {
        match c {
            _ if c.is_control() => text.extend(c.escape_default()),
            _ => text.push(c),
        }
    }
    text
}

/// A line of an answer: a word and what it says. INVARIANT: one line, whatever is in the value: labels, paths, settings
/// and the names of restore points come from elsewhere, and must not look like lines of ours.
pub(crate) fn field(word: &str, value: &str) -> String {
    format!("  {word:<11} {}\n", escaped(value))
}

/// Whether colours are seen and wanted: on a terminal that knows them, unless NO_COLOR says otherwise.
fn wants_colour() -> bool {
    let variable = |name| std::env::var_os(name).unwrap_or_default();
    std::io::stderr().is_terminal() && variable("NO_COLOR").is_empty() && variable("TERM") != "dumb"
}

fn first_line_in_red(lines: &str) -> String {
    let (first, rest) = lines.split_once('\n').unwrap_or((lines, ""));
    format!("\x1b[1;31m{first}\x1b[0m\n{rest}")
}

/// Writes whole lines to stderr in one call. Nobody can be told when that fails.
fn write_stderr(lines: &str) {
    let _ = std::io::stderr().lock().write_all(lines.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_one_line_whatever_is_in_it() {
        assert_eq!(field("target", "latest"), "  target      latest\n");
        let forged = field("", "label \"x\"\n  archiving   off\u{1b}[2J\"");
        assert_eq!(forged, "              label \"x\"\\n  archiving   off\\u{1b}[2J\"\n");
    }
    use crate::cli::usage::UsageError;

    #[derive(Debug, thiserror::Error)]
    #[error("could not open \"a\nb\"")]
    struct Outer(#[source] UsageError);

    impl Classified for Outer {
        fn class(&self) -> ErrorClass {
            ErrorClass::Usage
        }
    }

    fn printer(format: LogFormat) -> Printer {
        Printer::new(Program::Archive, format, LogLevel::Info)
    }

    #[test]
    fn the_chain_is_one_line_and_hints_follow() {
        let error = Outer(UsageError::new("permission denied").with_hint("Do this."));
        assert_eq!(
            printer(LogFormat::Text).error_lines(&error, Some(18)),
            "pgv-archive: error: could not open \"a\\nb\": permission denied\npgv-archive: hint: Do this.\n"
        );
    }

    #[test]
    fn an_error_is_red_and_its_hints_are_not() {
        assert_eq!(first_line_in_red("error: a\nhint: b\n"), "\x1b[1;31merror: a\x1b[0m\nhint: b\n");
    }

    #[test]
    fn json_errors_are_one_object_a_line() {
        let error = Outer(UsageError::new("permission denied").with_hint("Do this."));
        let lines = printer(LogFormat::Json).error_lines(&error, Some(18));
        assert_eq!(lines.lines().count(), 1);
        let value: Value = serde_json::from_str(&lines).unwrap();
        assert_eq!(value["message"], "could not open \"a\nb\": permission denied");
        assert_eq!(value["level"], "error");
        assert_eq!(value["class"], "Usage");
        assert_eq!(value["exit_status"], 18);
        assert_eq!(value["hints"], json!(["Do this."]));
        assert!(value["time"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    }

    #[test]
    fn what_others_send_cannot_drive_the_terminal() {
        assert_eq!(escaped("a\u{1b}[31mb\rc\u{9b}d é"), "a\\u{1b}[31mb\\rc\\u{9b}d é");
    }
}
