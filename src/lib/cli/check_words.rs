//! What `pgv check` found, in words: a clause of what it is, and sentences of what to do about it.

mod server;
mod tree;

use std::error::Error;
use std::path::Path;

use super::hints::hints;
use super::size::{bytes_text, duration_text};
use super::typed::Typed;
use crate::check::{Cause, CheckItem, CheckName, CheckState, Finding, OpenTo, StorageFinding};
use crate::error::chain;
use crate::pg::shell_quote;
use crate::repository::{RepositoryError, SelectionError};
use server::{of_archiving, of_server};
use tree::{of_timeline, of_tree};

/// What is said of a finding.
pub(super) struct Words {
    pub(super) found: String,
    /// Absent when there is nothing to do.
    pub(super) advice: Option<String>,
}

impl Words {
    fn of(found: impl Into<String>) -> Self {
        Self { found: found.into(), advice: None }
    }

    fn then(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }
}

/// Of a line of the answer.
pub(super) fn words(item: &CheckItem, typed: &Typed) -> Words {
    let words = match &item.finding {
        Finding::NotLookedAt(cause) => Words::of("not looked at").then(see(*cause)),
        Finding::NothingArchived => Words::of("no WAL is archived yet").then(see(CheckName::Archiving)),
        Finding::Storage(finding) => of_storage(finding, typed),
        Finding::Server(finding) => of_server(finding, typed),
        Finding::Archiving(finding) => of_archiving(finding, typed),
        Finding::Tree(finding) => of_tree(finding),
        Finding::Timeline(finding) => of_timeline(*finding),
    };
    // The same may be well or not, by how much of it there is.
    Words { advice: words.advice.filter(|_| item.state != CheckState::Ok), ..words }
}

/// What stands for advice where another line tells the cause.
fn see(cause: CheckName) -> String {
    format!("See the line of {}.", cause.word())
}

/// The hints of all programs; and here, where a server was asked, it may be the wrong one.
fn hints_of(error: &(dyn Error + 'static), typed: &Typed) -> Vec<String> {
    let mut found = hints(error, typed);
    if let Some(
        SelectionError::UnknownSystem { .. } | SelectionError::Repository(RepositoryError::OtherSystem { .. }),
    ) = error.downcast_ref()
    {
        found.push("If this server is not the one that is meant: -h, -p or -d reach another.".to_owned());
    }
    found
}

/// The hints about an error, else this.
fn hints_or(cause: &Cause, typed: &Typed, otherwise: &str) -> String {
    let hints = hints_of(cause.as_ref(), typed);
    if hints.is_empty() { otherwise.to_owned() } else { hints.join(" ") }
}

fn of_storage(finding: &StorageFinding, typed: &Typed) -> Words {
    match finding {
        StorageFinding::Configuration(path) => Words::of(format!("\"{}\" is in use", path.display())),
        StorageFinding::NoConfiguration => Words::of("no configuration file is in use")
            .then("What pgv-archive is told here by options it is not told by the server: run pgv init."),
        StorageFinding::Unopened(cause) => {
            let advice = hints_or(cause, typed, "Is the file system mounted, and may this account read it?");
            Words::of(chain(cause)).then(format!("Nothing in it was looked at. {advice}"))
        }
        StorageFinding::Unread(cause) => {
            Words::of(chain(cause)).then(hints_or(cause, typed, "pgv info and pgv verify say what can still be read."))
        }
        StorageFinding::OtherOwner { path, owner, server } => {
            Words::of(format!("\"{}\" belongs to user {owner}, the data directory to user {server}", path.display()))
                .then(of_owner(path, *owner, *server))
        }
        StorageFinding::FolderOwner { path, owner, repository } => {
            let chown = format!("As root: chown -R {repository} {}", shell_quote(&path.to_string_lossy()));
            Words::of(format!("\"{}\" belongs to user {owner}, the repository to user {repository}", path.display()))
                .then(chown)
        }
        StorageFinding::FolderClosed { path, mode, is_by_mode } => {
            let quoted = shell_quote(&path.to_string_lossy());
            let (path, chmod) = (path.display(), format!("chmod u+rwx {quoted}"));
            let found = format!("\"{path}\" has mode {mode:04o}: its owner cannot write to it");
            Words::of(found).then(if *is_by_mode { &chmod } else { "Is its file system mounted read-only?" })
        }
        StorageFinding::Repository { path, mode, open_to } => of_mode(path, *mode, *open_to),
        StorageFinding::ReadOnly { path } => {
            Words::of(format!("\"{}\" cannot be written to by its owner", path.display()))
                .then("Is its file system mounted read-only?")
        }
        StorageFinding::Room { path, available_bytes, lasts, is_backup_too_large } => {
            let lasts = lasts.map_or_else(String::new, |lasts| {
                format!(", full in {} at the present rate, if nothing expires", duration_text(lasts))
            });
            let too_large =
                if *is_backup_too_large { "; another backup as large as the last one does not fit" } else { "" };
            Words::of(format!("{}{lasts}{too_large}", free_at(*available_bytes, path)))
                .then("When it is full, archiving stops and pg_wal grows. pgv expire shows what can go; or enlarge it.")
        }
    }
}

fn free_at(available_bytes: u64, path: &Path) -> String {
    format!("{} free at \"{}\"", bytes_text(available_bytes), path.display())
}

/// A repository that another ordinary account keeps may be in good use.
fn of_owner(path: &Path, owner: u32, server: u32) -> String {
    let chown = format!("chown -R {server} {}", shell_quote(&path.to_string_lossy()));
    match owner {
        0 => format!("The server runs pgv-archive as its own account: {chown}"),
        owner => format!(
            "The server runs pgv-archive as its own account: give it a repository of its own (pgv init), unless nothing of \
             user {owner} uses this one; then as root: {chown}"
        ),
    }
}

fn of_mode(path: &Path, mode: u32, open_to: OpenTo) -> Words {
    let chmod = |change: &str| format!("chmod -R {change} {}", shell_quote(&path.to_string_lossy()));
    let path = path.display();
    match open_to {
        OpenTo::Few => Words::of(format!("\"{path}\", mode {mode:04o}")),
        OpenTo::Readers => Words::of(format!(
            "\"{path}\" has mode {mode:04o}: every account may read it, and it is as confidential as the database"
        ))
        .then(chmod("o-rwx")),
        OpenTo::Writers => Words::of(format!("\"{path}\" has mode {mode:04o}: other accounts may write to it"))
            .then(chmod("go-w,o-rwx")),
    }
}

#[cfg(test)]
mod tests;
