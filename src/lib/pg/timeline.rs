//! Timeline numbers: PostgreSQL's `TimeLineID` (`src/include/access/xlogdefs.h`).

use std::fmt;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

/// A timeline number. Hexadecimal in file names, decimal in history files and settings: there is one parser for
/// each, and none that guesses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TimelineId(NonZeroU32);

/// A text that is not a timeline number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid timeline \"{text}\"")]
pub struct TimelineIdParseError {
    /// What was given.
    pub text: String,
}

impl TimelineId {
    /// The timeline that every cluster starts on.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// The timeline of that number; `None` for zero.
    pub const fn new(number: u32) -> Option<Self> {
        match NonZeroU32::new(number) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    /// Its number.
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    /// The next number, unless this is the last one.
    pub fn checked_next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }

    /// The eight upper-case hexadecimal digits of file names.
    pub fn to_hex(self) -> String {
        format!("{:08X}", self.get())
    }

    /// Reads the eight upper-case hexadecimal digits of file names.
    pub fn parse_hex(digits: &str) -> Result<Self, TimelineIdParseError> {
        let valid = digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b));
        let number = if valid { u32::from_str_radix(digits, 16).ok() } else { None };
        number.and_then(Self::new).ok_or_else(|| TimelineIdParseError { text: digits.to_owned() })
    }

    /// Reads the decimal digits of history files and settings.
    pub fn parse_decimal(digits: &str) -> Result<Self, TimelineIdParseError> {
        let valid = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let number = if valid { digits.parse::<u32>().ok() } else { None };
        number.and_then(Self::new).ok_or_else(|| TimelineIdParseError { text: digits.to_owned() })
    }
}

impl fmt::Display for TimelineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_in_names_decimal_elsewhere() {
        for number in [1, 9, 10, 15, 16, 255, 1 << 31, u32::MAX] {
            let timeline = TimelineId::new(number).unwrap();
            assert_eq!(TimelineId::parse_hex(&timeline.to_hex()).unwrap(), timeline);
            assert_eq!(TimelineId::parse_decimal(&timeline.to_string()).unwrap(), timeline);
        }
        assert_eq!(TimelineId::parse_hex("00000010").unwrap().get(), 16);
        assert_eq!(TimelineId::parse_decimal("00000010").unwrap().get(), 10);
    }

    #[test]
    fn rejects_anything_else() {
        for text in ["", "0", "00000000", "0000000a", "0000000G", "000000010", "+0000001", "4294967296"] {
            assert!(TimelineId::parse_hex(text).is_err(), "{text:?}");
        }
        for text in ["", "0", "A", "-1", "+1", " 1", "4294967296"] {
            assert!(TimelineId::parse_decimal(text).is_err(), "{text:?}");
        }
    }
}
