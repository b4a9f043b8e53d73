//! Why the settings cannot be used.

use std::path::PathBuf;

use super::value::{Origin, ValueError};
use crate::error::{Classified, ErrorClass};
use crate::fs::FileError;

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file that was named is not there.
    #[error("{what} \"{}\" does not exist ({named_by})", path.display())]
    NoFile {
        /// What it should have been.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// Who named it.
        named_by: Origin,
    },
    /// A file cannot be read.
    #[error("could not read the {what}")]
    Read {
        /// What it is.
        what: &'static str,
        /// Why.
        #[source]
        source: FileError,
    },
    /// Something that is no file: it could be waited for without end.
    #[error("{what} \"{}\" is {found}, expected a regular file", path.display())]
    NotRegular {
        /// What it should have been.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// What people call it.
        found: &'static str,
    },
    /// A file is not text.
    #[error("\"{}\" is not UTF-8", path.display())]
    NotUtf8 {
        /// Its path.
        path: PathBuf,
    },
    /// A variable is not text.
    #[error("environment variable \"{name}\" is not UTF-8")]
    VariableNotUtf8 {
        /// Its name.
        name: String,
    },
    /// A file does not follow its grammar.
    #[error("{origin}: {message}")]
    Syntax {
        /// Where.
        origin: Origin,
        /// What is wrong there.
        message: String,
    },
    /// A key that no setting has.
    #[error("{origin}: unknown key \"{key}\"")]
    UnknownKey {
        /// Where.
        origin: Origin,
        /// The key as it was written, with its table.
        key: String,
        /// The key that was meant, most likely.
        nearest: Option<String>,
    },
    /// A key that a table must have.
    #[error("{origin}: \"{key}\" is missing")]
    MissingKey {
        /// Where the table begins.
        origin: Origin,
        /// The key with its table.
        key: String,
    },
    /// A value of another type.
    #[error("{origin}: \"{key}\" is {found}, expected {expected}")]
    WrongType {
        /// Where.
        origin: Origin,
        /// The key with its table.
        key: String,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A value that its setting does not take.
    #[error("{origin}: invalid value \"{}\" for \"{key}\"", text.escape_debug())]
    InvalidValue {
        /// Where.
        origin: Origin,
        /// The key with its table.
        key: String,
        /// The value.
        text: String,
        /// What it should be.
        #[source]
        source: Box<ValueError>,
    },
    /// Something that is planned.
    #[error("{origin}: not supported yet: {what}")]
    NotSupportedYet {
        /// Where.
        origin: Origin,
        /// What.
        what: &'static str,
    },
    /// A file that holds a password can be read by others.
    #[error("\"{}\" holds a password and has mode {mode:04o}, expected 0600", path.display())]
    SecretMode {
        /// Its path.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file that holds a password belongs to another account.
    #[error("\"{}\" holds a password and belongs to the account with uid {owner}, expected {expected} or root", path.display())]
    SecretOwner {
        /// Its path.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who should.
        expected: u32,
    },
    /// No repository was named anywhere.
    #[error("no repository is configured")]
    NoRepository,
    /// No cluster was named, and none is configured.
    #[error("no cluster is configured")]
    NoCluster,
    /// No cluster was named, and several are configured.
    #[error("several clusters are configured and none was named: {}", names.join(", "))]
    SeveralClusters {
        /// The configured ones.
        names: Vec<String>,
    },
}

impl Classified for ConfigError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Read { source, .. } => match source.class() {
                // pgv-fetch says "proven absent" for this class: never for a file of settings.
                ErrorClass::NotFound => ErrorClass::Usage,
                class => class,
            },
            _ => ErrorClass::Usage,
        }
    }
}
