//! Programs that write refuse to run as root: what they left behind the server's account could not read or replace.

use super::context::Invocation;
use super::typed::switch_to;
use crate::config::{account_name, holds_password};
use crate::error::{Classified, ErrorClass};
use crate::pg::shell_quote;

/// The account of servers, when nothing says another.
const USUAL_ACCOUNT: &str = "postgres";

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
pub(crate) fn refuse_root(invocation: &Invocation, with_sudo: bool) -> Result<(), RootRefused> {
    if rustix::process::geteuid().is_root() { Err(refusal(invocation, with_sudo)) } else { Ok(()) }
}

fn refusal(invocation: &Invocation, with_sudo: bool) -> RootRefused {
    let words: Vec<String> = invocation.words().map(|word| shown(&word.to_string_lossy())).collect();
    let account = owner_of_directory(invocation).unwrap_or_else(|| USUAL_ACCOUNT.to_owned());
    let line = format!("{}{}", switch_to(&account, with_sudo), words.join(" "));
    RootRefused { command: invocation.command_name(), line }
}

/// Whose the data directory is that was named, when it is there and not root's.
fn owner_of_directory(invocation: &Invocation) -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    let mut words = invocation.arguments.iter();
    words.find(|word| *word == "-D" || *word == "--pgdata")?;
    let owner = std::path::Path::new(words.next()?).metadata().ok()?.uid();
    account_name(owner).filter(|_| owner != 0)
}

/// A word as a shell reads it back; a password is not repeated.
fn shown(word: &str) -> String {
    if holds_password(word) { "...".to_owned() } else { shell_quote(word) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::program::Program;
    use std::ffi::OsString;

    #[test]
    fn the_line_can_be_typed_as_it_stands() {
        let words = ["pgv", "restore", "-D", "/srv/a b", "--target-time", "it's", ""];
        let refused = refusal(&Invocation::new(Program::Pgv, words.iter().map(OsString::from)), false);
        assert_eq!(
            refused.command_line(),
            r"runuser -u postgres -- pgv restore -D '/srv/a b' --target-time 'it'\''s' ''"
        );
        assert_eq!(refused.to_string(), "\"pgv restore\" does not run as root");
    }

    #[test]
    fn a_password_is_not_repeated() {
        let words = ["pgv-basebackup", "-d", "host=db password=canary"].map(OsString::from);
        let refused = refusal(&Invocation::new(Program::BaseBackup, words), false);
        assert_eq!(refused.command_line(), "runuser -u postgres -- pgv-basebackup -d ...");
    }
}
