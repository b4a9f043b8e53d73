//! Names of backups.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Bytes of an id: `20261121T143000Z-1a2b3c4d`.
const ID_BYTES: usize = 25;

/// The name of a backup: the time of its beginning, for people, and a random part, for uniqueness. Order among backups
/// is the order of their records' sequence numbers, not of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BackupId([u8; ID_BYTES]);

/// A text that is no backup id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid backup id \"{}\": expected one as in \"20261121T143000Z-1a2b3c4d\"", text.escape_debug())]
pub struct BackupIdError {
    /// What was given, shortened.
    pub text: String,
}

impl BackupId {
    /// A new id for a backup that begins at `now`.
    pub fn generate(now: Timestamp) -> Self {
        let random = uuid::Uuid::new_v4().as_fields().0;
        let text = format!("{}-{random:08x}", now.strftime("%Y%m%dT%H%M%SZ"));
        // Years of more than four digits do not come.
        text.parse().unwrap_or(Self(*b"99991231T235959Z-00000000"))
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for BackupId {
    type Err = BackupIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = |(position, byte): (usize, &u8)| match position {
            8 => *byte == b'T',
            15 => *byte == b'Z',
            16 => *byte == b'-',
            0..=14 => byte.is_ascii_digit(),
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(byte),
        };
        let bytes: Option<[u8; ID_BYTES]> = text.as_bytes().try_into().ok();
        bytes
            .filter(|bytes| bytes.iter().enumerate().all(fits))
            .map(Self)
            .ok_or_else(|| BackupIdError { text: text.chars().take(80).collect() })
    }
}

impl TryFrom<String> for BackupId {
    type Error = BackupIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<BackupId> for String {
    fn from(id: BackupId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_are_unique_and_sort_by_time() {
        let at = |text: &str| BackupId::generate(text.parse().unwrap());
        let early = at("2026-11-21T14:30:00Z");
        assert!(early.to_string().starts_with("20261121T143000Z-"));
        assert_ne!(early, at("2026-11-21T14:30:00Z"));
        assert!(early < at("2026-11-21T14:30:01Z"));
        assert_eq!(early.to_string().parse::<BackupId>().unwrap(), early);
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in ".{0,40}") {
            let _ = text.parse::<BackupId>();
        }
    }
}
