//! What a server's set-up lacks, as a value: what, where, and what it takes.

use std::path::PathBuf;

use serde::Serialize;

/// Something that the set-up of a server lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The setting or right, as `archive_mode`, `role right`.
    pub what: String,
    /// What it is now; absent when that is not known.
    pub found: Option<String>,
    /// What it should be.
    pub wanted: String,
    /// How much it matters.
    pub need: Need,
    /// Why, as a clause.
    pub reason: String,
    /// The line to put into `file`; absent when it stands there already, or when a file is not what it takes.
    pub line: Option<String>,
    /// The file that the line belongs into; absent when the role may not see which that is.
    pub file: Option<PathBuf>,
    /// The command to run instead of writing a line: SQL, or a shell command for `command`.
    pub command: Option<String>,
    /// What makes it come into force.
    pub action: FindingAction,
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// Archiving or backups do not work without it.
    Required,
    /// They work, and are worth less.
    Advised,
    /// A choice with a price: nothing is missing without it.
    Optional,
}

/// What makes a change come into force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingAction {
    /// A restart of the server.
    Restart,
    /// A reload of its configuration.
    Reload,
    /// The SQL command alone.
    Sql,
    /// A shell command while the server is stopped.
    Offline,
    /// Another option in the command that starts the server, which goes before its files; and a restart.
    StartOption,
    /// Another place for a file.
    Move,
    /// The command, which gives a restored copy back what was switched off, and a restart of the server.
    GiveBack,
    /// The line, in the configuration of pgv, in place of the one that is there.
    Configuration,
}
