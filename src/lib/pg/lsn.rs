//! A position in the write-ahead log: PostgreSQL's `XLogRecPtr` (`src/include/access/xlogdefs.h`).

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A position in the write-ahead log, in bytes from its beginning.
///
/// Zero is no position in PostgreSQL (`InvalidXLogRecPtr`), hence none here: use `Option<Lsn>`.
/// Written and read as PostgreSQL does: two hexadecimal halves, `16/B374D848`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Lsn(NonZeroU64);

/// A text that is not an LSN.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid LSN \"{text}\": expected two hexadecimal numbers as in \"16/B374D848\"")]
pub struct LsnParseError {
    /// What was given.
    pub text: String,
}

impl Lsn {
    /// The position of that many bytes; `None` for zero.
    pub const fn new(bytes: u64) -> Option<Self> {
        match NonZeroU64::new(bytes) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    /// Bytes from the beginning of the log.
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    /// The position `bytes` later, unless it would not fit.
    pub fn checked_add(self, bytes: u64) -> Option<Self> {
        self.0.checked_add(bytes).map(Self)
    }

    /// The position `bytes` earlier, unless there is none.
    pub fn checked_sub(self, bytes: u64) -> Option<Self> {
        self.get().checked_sub(bytes).and_then(Self::new)
    }

    /// How many bytes this position is after `earlier`; `None` when it is before it.
    pub fn distance_from(self, earlier: Self) -> Option<u64> {
        self.get().checked_sub(earlier.get())
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.get() >> 32, self.get() & 0xFFFF_FFFF)
    }
}

impl FromStr for Lsn {
    type Err = LsnParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || LsnParseError { text: text.to_owned() };
        let half = |digits: &str| {
            let valid = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
            if valid { u64::from_str_radix(digits, 16).ok() } else { None }
        };
        let (high, low) = text.split_once('/').ok_or_else(error)?;
        let (high, low) = (half(high).ok_or_else(error)?, half(low).ok_or_else(error)?);
        Self::new((high << 32) | low).ok_or_else(error)
    }
}

impl TryFrom<String> for Lsn {
    type Error = LsnParseError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Lsn> for String {
    fn from(lsn: Lsn) -> Self {
        lsn.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rejects_what_postgres_would_not_write() {
        for text in ["", "/", "0/0", "16", "16/", "/16", "+1/2", "1/ 2", "123456789/0", "G/1", "1/2/3", "-1/2"] {
            assert!(text.parse::<Lsn>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn measures_distances_one_way() {
        let (early, late) = ("0/100".parse::<Lsn>().unwrap(), "1/100".parse::<Lsn>().unwrap());
        assert_eq!(late.distance_from(early), Some(1 << 32));
        assert_eq!(early.distance_from(late), None);
    }

    proptest! {
        #[test]
        fn prints_what_it_parses(bytes in 1u64..) {
            let lsn = Lsn::new(bytes).unwrap();
            prop_assert_eq!(lsn.to_string().parse::<Lsn>().unwrap(), lsn);
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".*") {
            let _ = text.parse::<Lsn>();
        }
    }
}
