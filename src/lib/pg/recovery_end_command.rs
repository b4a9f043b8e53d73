//! `recovery_end_command`: what takes the recovery configuration out again, and whatever the user wants beside it.

use std::string::FromUtf8Error;

use super::command_text::{CommandWord, command_text};
use super::config_text::{ConfigEntry, config_value, parse_config};
use super::recovery_settings::{ClearScope, clear_recovery_settings};
use crate::error::{Classified, ErrorClass};

/// What the command is told; PostgreSQL runs it in the data directory.
const ARGUMENTS: [&str; 3] = ["--clear", "-D", "."];
/// The name of the program.
const PROGRAM: &str = "pgv-recovery-conf";
/// LIMIT: PostgreSQL before 16 puts the command together in `MAXPGPATH` bytes
/// (`src/backend/access/transam/xlogarchive.c`, `ExecuteRecoveryCommand`).
const COMMAND_BYTES_MAX: usize = 1023;
/// Makes 1 of the shell's 127 when the program is gone: above 125 would stop the server instead of opening it.
const GUARD: &str = "|| false";
/// `%r` becomes the name of a segment.
const PLACEHOLDER_GROWS_BYTES: usize = 24 - 2;

/// A command that PostgreSQL before 16 would cut without a word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("recovery_end_command has {length} bytes, and PostgreSQL before 16 cuts it after {COMMAND_BYTES_MAX}")]
pub struct LongCommandError {
    /// Its length.
    pub length: usize,
}

impl Classified for LongCommandError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Usage
    }
}

/// The command that clears the settings; `program` is the absolute path of pgv-recovery-conf.
pub fn recovery_end_command(program: &str) -> String {
    let words: Vec<_> = std::iter::once(program).chain(ARGUMENTS).map(CommandWord::Text).collect();
    format!("{} {GUARD}", command_text(&words))
}

/// Ours, and after it the one that was there, if that is not ours of an earlier time.
///
/// The user's command runs whatever becomes of ours; ours fails with a line of its own in the server's log.
pub fn chained_end_command(ours: &str, existing: Option<&str>) -> Result<String, LongCommandError> {
    let command = match existing.and_then(without_ours) {
        Some(theirs) => format!("{ours}; {theirs}"),
        None => ours.to_owned(),
    };
    let length = command.len().saturating_add(command.matches("%r").count() * PLACEHOLDER_GROWS_BYTES);
    if length > COMMAND_BYTES_MAX {
        return Err(LongCommandError { length });
    }
    Ok(command)
}

/// The command that would run without ours, by the text of `postgresql.auto.conf` and the entries of the other files.
pub fn end_command_of(auto_text: &[u8], main_entries: &[ConfigEntry]) -> Option<Result<String, FromUtf8Error>> {
    // What was emptied so that the copy is harmless stays empty.
    let cleared = clear_recovery_settings(auto_text, ClearScope::Recovery);
    let own_entries = parse_config(&cleared).unwrap_or_default();
    let value = |entries| config_value(entries, "recovery_end_command");
    value(&own_entries).or_else(|| value(main_entries)).map(|value| String::from_utf8(value.to_vec()))
}

/// What is left of a command without ours at its beginning; of an earlier installation, too.
fn without_ours(command: &str) -> Option<&str> {
    let command = command.trim();
    let arguments = format!(" {}", ARGUMENTS.join(" "));
    let rest = command.split_once(&arguments).and_then(|(program, rest)| {
        let program = program.trim_end_matches('\'');
        let is_ours = program.ends_with(&format!("/{PROGRAM}")) && !program.contains(['\n', ';', '&', '|']);
        is_ours.then(|| {
            let rest = rest.trim_start();
            rest.strip_prefix(GUARD).map_or(rest, str::trim_start)
        })
    });
    let theirs = match rest {
        Some("") => "",
        Some(rest) => rest.strip_prefix(';').map_or(command, str::trim_start),
        None => command,
    };
    (!theirs.is_empty()).then_some(theirs)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "/usr/bin/pgv-recovery-conf --clear -D . || false";

    #[test]
    fn is_quoted_for_shell_and_percent() {
        assert_eq!(recovery_end_command("/usr/bin/pgv-recovery-conf"), OURS);
        assert_eq!(
            recovery_end_command("/opt/it's 100%/pgv-recovery-conf"),
            r"'/opt/it'\''s 100%%/pgv-recovery-conf' --clear -D . || false"
        );
    }

    #[test]
    fn what_the_user_had_runs_after_it_and_ours_never_twice() {
        for (existing, wanted) in [
            (None, OURS.to_owned()),
            (Some(""), OURS.to_owned()),
            (Some("notify %r"), format!("{OURS}; notify %r")),
            (Some(OURS), OURS.to_owned()),
            (Some("'/old place/pgv-recovery-conf' --clear -D ."), OURS.to_owned()),
            (Some("/old/pgv-recovery-conf --clear -D .; a; b"), format!("{OURS}; a; b")),
            (Some("/old/pgv-recovery-conf --clear -D . || false; a"), format!("{OURS}; a")),
            (Some("a; /old/pgv-recovery-conf --clear -D ."), format!("{OURS}; a; /old/pgv-recovery-conf --clear -D .")),
            (Some("/bin/other --clear -D ."), format!("{OURS}; /bin/other --clear -D .")),
            (Some("/old/pgv-recovery-conf --clear -D ./x"), format!("{OURS}; /old/pgv-recovery-conf --clear -D ./x")),
        ] {
            assert_eq!(chained_end_command(OURS, existing).unwrap(), wanted);
        }
    }

    #[test]
    fn what_an_old_server_would_cut_is_refused() {
        let fits = "x".repeat(COMMAND_BYTES_MAX - OURS.len() - 2);
        assert!(chained_end_command(OURS, Some(&fits)).is_ok());
        let error = chained_end_command(OURS, Some(&format!("{fits}x"))).unwrap_err();
        assert_eq!((error.length, error.class()), (1024, ErrorClass::Usage));
        assert!(chained_end_command(OURS, Some(&fits.replacen("xx", "%r", 1))).is_err());
    }
}
