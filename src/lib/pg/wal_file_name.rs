//! The names of the files that PostgreSQL archives and asks for: the only parser of them.
//!
//! INVARIANT: a name prints as exactly the text it was read from. The rules are those of
//! `src/include/access/xlog_internal.h` (`IsXLogFileName`, `IsPartialXLogFileName`, `IsBackupHistoryFileName`,
//! `IsTLHistoryFileName`), with timeline 0 refused besides.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::excerpt::excerpt;
use super::timeline::TimelineId;
use super::wal_segment::WalSegmentName;
use crate::error::{Classified, ErrorClass};

const PARTIAL_SUFFIX: &str = ".partial";
const BACKUP_SUFFIX: &str = ".backup";
const HISTORY_SUFFIX: &str = ".history";

/// The name of a file of the WAL archive, one of four kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum WalFileName {
    /// A whole WAL segment.
    Segment(WalSegmentName),
    /// The last, unfinished segment of a timeline that ended by a promotion.
    Partial(WalSegmentName),
    /// The note that a base backup leaves in the archive.
    BackupHistory {
        /// The segment in which the backup started.
        segment: WalSegmentName,
        /// The byte of that segment at which it started.
        offset: u32,
    },
    /// The ancestors of a timeline.
    TimelineHistory(TimelineId),
}

/// A text that is not such a name. The texts are shortened and escaped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WalFileNameError {
    /// None of the four forms.
    #[error(
        "invalid WAL file name \"{text}\": expected 24 upper-case hexadecimal digits, alone or with \".partial\" or \
         \".XXXXXXXX.backup\", or \"XXXXXXXX.history\""
    )]
    UnknownForm {
        /// What was given.
        text: String,
    },
    /// A form that is right, on a timeline that cannot be.
    #[error("invalid WAL file name \"{text}\": timeline 0 does not exist, expected 1 or later")]
    ZeroTimeline {
        /// What was given.
        text: String,
    },
    /// The name of another kind of file where a whole segment's is needed.
    #[error("\"{text}\" does not name a whole WAL segment: expected 24 upper-case hexadecimal digits")]
    NotASegment {
        /// What was given.
        text: String,
    },
}

impl WalFileNameError {
    pub(super) fn not_a_segment(text: &str) -> Self {
        Self::NotASegment { text: excerpt(text) }
    }
}

impl Classified for WalFileNameError {
    fn class(&self) -> ErrorClass {
        ErrorClass::InvalidInput
    }
}

/// Exactly eight upper-case hexadecimal digits.
fn parse_hex8(digits: &str) -> Option<u32> {
    let valid = digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b));
    if valid { u32::from_str_radix(digits, 16).ok() } else { None }
}

/// The three numbers of a segment's 24 digits.
fn parse_hex24(digits: &str) -> Option<[u32; 3]> {
    if digits.len() != WalSegmentName::LENGTH {
        return None;
    }
    Some([parse_hex8(digits.get(..8)?)?, parse_hex8(digits.get(8..16)?)?, parse_hex8(digits.get(16..)?)?])
}

impl WalFileName {
    /// Reads a name as PostgreSQL writes it, and nothing else.
    pub fn parse(text: &str) -> Result<Self, WalFileNameError> {
        let unknown = || WalFileNameError::UnknownForm { text: excerpt(text) };
        let timeline =
            |number| TimelineId::new(number).ok_or_else(|| WalFileNameError::ZeroTimeline { text: excerpt(text) });
        let segment = |digits| {
            let [tli, log, segment] = parse_hex24(digits).ok_or_else(unknown)?;
            Ok(WalSegmentName::from_parts(timeline(tli)?, log, segment))
        };
        if let Some(digits) = text.strip_suffix(HISTORY_SUFFIX) {
            Ok(Self::TimelineHistory(timeline(parse_hex8(digits).ok_or_else(unknown)?)?))
        } else if let Some(digits) = text.strip_suffix(PARTIAL_SUFFIX) {
            Ok(Self::Partial(segment(digits)?))
        } else if let Some(stem) = text.strip_suffix(BACKUP_SUFFIX) {
            let (digits, offset) = stem.split_once('.').ok_or_else(unknown)?;
            let offset = parse_hex8(offset).ok_or_else(unknown)?;
            Ok(Self::BackupHistory { segment: segment(digits)?, offset })
        } else {
            Ok(Self::Segment(segment(text)?))
        }
    }

    /// The timeline in its first eight digits.
    pub const fn timeline(self) -> TimelineId {
        match self {
            Self::Segment(segment) | Self::Partial(segment) | Self::BackupHistory { segment, .. } => segment.timeline(),
            Self::TimelineHistory(timeline) => timeline,
        }
    }

    /// The segment in its first 24 digits; a history file has none.
    pub const fn segment(self) -> Option<WalSegmentName> {
        match self {
            Self::Segment(segment) | Self::Partial(segment) | Self::BackupHistory { segment, .. } => Some(segment),
            Self::TimelineHistory(_) => None,
        }
    }
}

impl fmt::Display for WalFileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment(segment) => write!(f, "{segment}"),
            Self::Partial(segment) => write!(f, "{segment}{PARTIAL_SUFFIX}"),
            Self::BackupHistory { segment, offset } => write!(f, "{segment}.{offset:08X}{BACKUP_SUFFIX}"),
            Self::TimelineHistory(timeline) => write!(f, "{:08X}{HISTORY_SUFFIX}", timeline.get()),
        }
    }
}

impl FromStr for WalFileName {
    type Err = WalFileNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl TryFrom<String> for WalFileName {
    type Error = WalFileNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<WalFileName> for String {
    fn from(name: WalFileName) -> Self {
        name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_the_four_kinds() {
        let segment = WalSegmentName::parse("0000000A00000016000000B3").unwrap();
        let timeline = TimelineId::new(10).unwrap();
        for (text, expected) in [
            ("0000000A00000016000000B3", WalFileName::Segment(segment)),
            ("0000000A00000016000000B3.partial", WalFileName::Partial(segment)),
            ("0000000A00000016000000B3.0000BEEF.backup", WalFileName::BackupHistory { segment, offset: 0xBEEF }),
            ("0000000A.history", WalFileName::TimelineHistory(timeline)),
        ] {
            let name = WalFileName::parse(text).unwrap();
            assert_eq!(name, expected);
            assert_eq!(name.to_string(), text);
            assert_eq!(name.timeline(), timeline);
        }
        assert_eq!(WalFileName::TimelineHistory(timeline).segment(), None);
        assert_eq!(WalFileName::Partial(segment).segment(), Some(segment));
    }

    #[test]
    fn rejects_every_other_form() {
        for text in [
            "",
            "0000000A00000016000000b3",
            "0000000a.history",
            "0000000A00000016000000B",
            "0000000A00000016000000B30",
            "0000000A00000016000000:3",
            "0000000A00000016000000B3 ",
            " 0000000A00000016000000B3",
            "0000000A00000016000000B3\n",
            "+000000A00000016000000B3",
            "0000000A00000016000000B3.PARTIAL",
            "0000000A00000016000000B3.partial.partial",
            "0000000A00000016000000B3.partia",
            "0000000A00000016000000B3.",
            "0000000A00000016000000B3.backup",
            "0000000A00000016000000B3.0000BEE.backup",
            "0000000A00000016000000B3.0000beef.backup",
            "0000000A00000016000000B3.0000BEEF.backup.partial",
            "0000000A00000016000000B3.0000BEEF",
            "0000000A00000016000000B3.history",
            "000000A.history",
            "00000000A.history",
            ".history",
            ".partial",
            ".backup",
            "0000000A.history.gz",
            "0000000A00000016000000B3.gz",
            "archive_status",
            "pg_wal/0000000A00000016000000B3",
            "0000000A0000001600000\u{e9}3",
            "\u{ff10}000000A.history",
        ] {
            assert!(matches!(WalFileName::parse(text), Err(WalFileNameError::UnknownForm { .. })), "{text:?}");
        }
    }

    #[test]
    fn rejects_timeline_0() {
        for text in ["00000000.history", "000000000000000000000001", "000000000000000000000001.partial"] {
            assert_eq!(WalFileName::parse(text), Err(WalFileNameError::ZeroTimeline { text: text.to_owned() }));
        }
    }

    #[test]
    fn errors_show_a_bounded_escaped_text() {
        let error = WalFileName::parse(&format!("a\n{}", "b".repeat(5000))).unwrap_err().to_string();
        assert!(error.contains("\"a\\nbbb"), "{error}");
        assert!(error.len() < 400, "{error}");
        assert!(!error.contains('\n'));
    }

    #[test]
    fn is_text_in_json() {
        let name: WalFileName = serde_json::from_str("\"00000002.history\"").unwrap();
        assert_eq!(serde_json::to_string(&name).unwrap(), "\"00000002.history\"");
        assert!(serde_json::from_str::<WalFileName>("\"2.history\"").is_err());
    }

    proptest! {
        #[test]
        fn prints_what_it_parses(digits in "[0-9A-F]{24}", offset in "[0-9A-F]{8}", suffix in 0..4) {
            prop_assume!(!digits.starts_with("00000000"));
            let text = match suffix {
                0 => digits,
                1 => format!("{digits}.partial"),
                2 => format!("{digits}.{offset}.backup"),
                _ => format!("{}.history", &digits[..8]),
            };
            prop_assert_eq!(WalFileName::parse(&text).unwrap().to_string(), text);
        }

        #[test]
        fn whatever_parses_prints_the_same(text in "[0-9A-Fa-f]{0,26}(\\.[0-9A-Fa-f]{7,9})?(\\.partial|\\.backup|\\.history)?|.*") {
            if let Ok(name) = WalFileName::parse(&text) {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }
}
