//! What can be wrong with connection settings. Messages name keys and positions, never the values of a connection
//! string, which may hold a password.

use std::path::PathBuf;

use crate::error::{Classified, ErrorClass};

/// Connection settings that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConninfoError {
    /// A keyword without a value.
    #[error("missing \"=\" after the keyword at byte {position} of the connection string")]
    MissingEquals {
        /// Where the keyword begins, from 0.
        position: usize,
    },
    /// A quoted value without its end.
    #[error("unterminated quoted value of \"{keyword}\" at byte {position} of the connection string")]
    UnterminatedQuote {
        /// Where the keyword begins, from 0.
        position: usize,
        /// Whose value it is.
        keyword: String,
    },
    /// A URI that does not follow the rules.
    #[error("invalid connection URI: {problem}")]
    InvalidUri {
        /// What is wrong, without the offending text.
        problem: &'static str,
    },
    /// A keyword that libpq does not know either.
    #[error("unknown connection option \"{keyword}\"")]
    UnknownKeyword {
        /// What was given.
        keyword: String,
    },
    /// A keyword of libpq that pgv does not honour.
    #[error("connection option \"{keyword}\" is not supported: {reason}")]
    UnsupportedKeyword {
        /// The keyword.
        keyword: &'static str,
        /// Why, and what to do instead.
        reason: &'static str,
    },
    /// A value outside what the keyword allows.
    #[error("invalid value \"{value}\" for connection option \"{keyword}\": expected {expected}")]
    InvalidValue {
        /// The keyword.
        keyword: &'static str,
        /// What was given; never a password.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// A key that is none; it is not shown.
    #[error("invalid value for connection option \"{keyword}\": expected 32 bytes in base64")]
    InvalidKey {
        /// The keyword.
        keyword: &'static str,
    },
    /// An option that means nothing without another.
    #[error("connection option \"{keyword}\" needs \"{missing}\" beside it")]
    Incomplete {
        /// The one that was given.
        keyword: &'static str,
        /// The one that was not.
        missing: &'static str,
    },
    /// A service file that could not be read.
    #[error("could not read service file \"{}\": {kind}", path.display())]
    ServiceFileUnreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        kind: std::io::ErrorKind,
    },
    /// A service file that libpq would not take either. Nothing of the line is shown.
    #[error("invalid service file \"{}\", line {line}: {problem}", path.display())]
    InvalidServiceFile {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        problem: &'static str,
    },
    /// No service file defines that service.
    #[error("service \"{name}\" is not defined in {}", shown(looked_at))]
    UnknownService {
        /// The service.
        name: String,
        /// The files that exist and were read.
        looked_at: Vec<PathBuf>,
    },
    /// Lists of hosts, addresses and ports that do not match.
    #[error("connection options name {found} values of \"{keyword}\" for {expected} hosts")]
    ListLength {
        /// Which list.
        keyword: &'static str,
        /// How long it is.
        found: usize,
        /// How many hosts there are.
        expected: usize,
    },
    /// More hosts than anybody means.
    #[error("connection options name {found} hosts, more than {limit}")]
    TooManyHosts {
        /// How many were given.
        found: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// Two options that exclude each other.
    #[error("connection option \"{keyword}\" cannot be combined with \"{with}\"")]
    Contradiction {
        /// The one.
        keyword: String,
        /// The other.
        with: &'static str,
    },
    /// Nobody said as whom to connect.
    #[error("no user name to connect as: it is not given and the account of this process has no name")]
    NoUser,
    /// A zero byte, which the protocol cannot carry.
    #[error("the value of connection option \"{keyword}\" holds a zero byte")]
    ZeroByte {
        /// The keyword.
        keyword: &'static str,
    },
    /// The database host directory is not absolute.
    #[error("socket directory \"{}\" is not an absolute path", path.display())]
    RelativeSocketDirectory {
        /// What was given.
        path: PathBuf,
    },
}

fn shown(paths: &[PathBuf]) -> String {
    if paths.is_empty() {
        return "any service file: none was found".to_owned();
    }
    paths.iter().map(|path| format!("\"{}\"", path.display())).collect::<Vec<_>>().join(" or ")
}

impl Classified for ConninfoError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Usage
    }
}
