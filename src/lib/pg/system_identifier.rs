//! The number that initdb gives to a cluster: `ControlFileData.system_identifier` (`src/include/catalog/pg_control.h`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A cluster's system identifier; compared before any byte is stored or restored.
///
/// Shown, and serialised, in decimal as text: it does not fit the numbers of JSON readers that use doubles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SystemIdentifier(u64);

/// A text that is not a system identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid system identifier \"{text}\"")]
pub struct SystemIdentifierParseError {
    /// What was given.
    pub text: String,
}

impl SystemIdentifier {
    /// The identifier of that number; `None` for zero, which initdb never gives.
    pub const fn new(number: u64) -> Option<Self> {
        if number == 0 { None } else { Some(Self(number)) }
    }

    /// Its number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for SystemIdentifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for SystemIdentifier {
    type Err = SystemIdentifierParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let valid = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let number = if valid { text.parse::<u64>().ok() } else { None };
        number.and_then(Self::new).ok_or_else(|| SystemIdentifierParseError { text: text.to_owned() })
    }
}

impl TryFrom<String> for SystemIdentifier {
    type Error = SystemIdentifierParseError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<SystemIdentifier> for String {
    fn from(identifier: SystemIdentifier) -> Self {
        identifier.to_string()
    }
}
