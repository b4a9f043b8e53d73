//! Programs that write refuse to run as root: what they left behind the server's account could not read or replace.

use std::ffi::OsStr;

use super::context::Invocation;
use crate::error::{Classified, ErrorClass};

/// Refused because the account is root.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{command}\" does not run as root")]
pub(crate) struct RootRefused {
    command: String,
    line: String,
}

impl RootRefused {
    /// The line to type instead.
    pub(crate) fn command_line(&self) -> &str {
        &self.line
    }
}

impl Classified for RootRefused {
    fn class(&self) -> ErrorClass {
        ErrorClass::Refused
    }
}

/// Refuses if the process runs as root.
pub(crate) fn refuse_root(invocation: &Invocation) -> Result<(), RootRefused> {
    if rustix::process::geteuid().is_root() { Err(refusal(invocation)) } else { Ok(()) }
}

fn refusal(invocation: &Invocation) -> RootRefused {
    let words: Vec<String> = invocation.words().map(|word| shell_quoted(word)).collect();
    RootRefused { command: invocation.command_name(), line: format!("runuser -u postgres -- {}", words.join(" ")) }
}

/// A word as a shell reads it back.
pub(crate) fn shell_quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::program::Program;
    use std::ffi::OsString;

    #[test]
    fn the_line_can_be_typed_as_it_stands() {
        let words = ["pgv", "restore", "-D", "/srv/a b", "--target-time", "it's", ""];
        let refused = refusal(&Invocation::new(Program::Pgv, words.iter().map(OsString::from)));
        assert_eq!(
            refused.command_line(),
            r"runuser -u postgres -- pgv restore -D '/srv/a b' --target-time 'it'\''s' ''"
        );
        assert_eq!(refused.to_string(), "\"pgv restore\" does not run as root");
    }

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        for word in ["plain", "a b", "$HOME", "`x`", "a'b\"c", "x;y", "*", "", "\\", "é"] {
            let script = format!("printf %s {}", shell_quoted(OsStr::new(word)));
            let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), word);
        }
    }
}
