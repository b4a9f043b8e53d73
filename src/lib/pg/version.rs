//! PostgreSQL major versions and what differs between them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A major version that pgv knows, 13 to 18. Unknown versions are refused, never guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct PgMajorVersion(u32);

/// A version that pgv does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("PostgreSQL version \"{version}\" is not supported: this pgv knows 13 to 18")]
pub struct PgVersionError {
    /// What was found.
    pub version: String,
}

impl PgMajorVersion {
    /// The oldest version that pgv knows.
    pub const OLDEST: Self = Self(13);
    /// The newest version that pgv knows.
    pub const NEWEST: Self = Self(18);

    /// The version of that number, when pgv knows it.
    pub fn new(major: u32) -> Result<Self, PgVersionError> {
        if (Self::OLDEST.0..=Self::NEWEST.0).contains(&major) {
            Ok(Self(major))
        } else {
            Err(PgVersionError { version: major.to_string() })
        }
    }

    /// From `server_version_num`, as 150004 for 15.4.
    pub fn from_version_num(version_num: u32) -> Result<Self, PgVersionError> {
        Self::new(version_num / 10_000)
    }

    /// Its number, as 15.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for PgMajorVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl TryFrom<u32> for PgMajorVersion {
    type Error = PgVersionError;

    fn try_from(major: u32) -> Result<Self, Self::Error> {
        Self::new(major)
    }
}

impl From<PgMajorVersion> for u32 {
    fn from(version: PgMajorVersion) -> Self {
        version.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_refused_by_its_number() {
        for major in 13..=18 {
            assert_eq!(PgMajorVersion::from_version_num(major * 10_000 + 4).unwrap().get(), major);
        }
        let refused =
            |version: &str| format!("PostgreSQL version \"{version}\" is not supported: this pgv knows 13 to 18");
        for (number, named) in [(190_000, "19"), (120_022, "12"), (90_624, "9"), (0, "0")] {
            assert_eq!(PgMajorVersion::from_version_num(number).unwrap_err().to_string(), refused(named));
        }
        // As records and identities hold it.
        assert_eq!(serde_json::from_str::<PgMajorVersion>("18").unwrap(), PgMajorVersion::NEWEST);
        let error = serde_json::from_str::<PgMajorVersion>("19").unwrap_err();
        assert!(error.to_string().starts_with(&refused("19")), "{error}");
    }
}
