//! Where a recovery stops and what it does then (`src/backend/access/transam/xlogrecovery.c`).
//!
//! INVARIANT: one target at most, and inclusive or exclusive only where PostgreSQL has that choice.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use jiff::Timestamp;

use super::target_time::format_target_time;
use super::{Lsn, TimelineId, TimelineIdParseError};
use crate::error::{Classified, ErrorClass};

/// Where a recovery stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecoveryTarget {
    /// At the end of all WAL there is. PostgreSQL cannot tell that end from a hole: give it an LSN where possible.
    Latest,
    /// As soon as the backup is consistent.
    Immediate,
    /// At the last commit or abort up to this time, or before it.
    Time(Timestamp, TargetBound),
    /// At the last record up to this position, or before it.
    Lsn(Lsn, TargetBound),
    /// At the end of this transaction, with it or without.
    TransactionId(TransactionId, TargetBound),
    /// At this restore point.
    RestorePoint(RestorePointName),
}

/// Whether the target itself is still recovered: `recovery_target_inclusive`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TargetBound {
    /// It is.
    #[default]
    Inclusive,
    /// Recovery stops right before it.
    Exclusive,
}

/// What the server does at the target: `recovery_target_action`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecoveryTargetAction {
    /// Waits, readable. COMPAT: without hot standby it shuts down instead.
    Pause,
    /// Opens for writing, on a new timeline.
    Promote,
    /// Stops.
    Shutdown,
}

/// Which timeline a recovery follows: `recovery_target_timeline`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecoveryTargetTimeline {
    /// The newest in the archive that descends from the backup's.
    Latest,
    /// The backup's own.
    Current,
    /// This one.
    Id(TimelineId),
}

/// A transaction number, with the epoch in its upper half when it has one.
///
/// PostgreSQL compares the lower half alone, and for equality: numbers say nothing about the order of commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TransactionId(NonZeroU64);

/// The name of a restore point.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RestorePointName(String);

/// Why a text is no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecoveryTargetError {
    /// Not a decimal number of 64 bits.
    #[error("invalid transaction \"{text}\": expected a decimal number")]
    TransactionId {
        /// What was given.
        text: String,
    },
    /// A number that PostgreSQL gives to no transaction.
    #[error("invalid transaction \"{text}\": 0, 1 and 2 (with any epoch) are never a transaction's number")]
    ReservedTransactionId {
        /// What was given.
        text: String,
    },
    /// A name that no restore point can have.
    #[error("invalid restore point \"{name}\": expected 1 to {RESTORE_POINT_BYTES_MAX} bytes, found {length}")]
    RestorePointLength {
        /// What was given.
        name: String,
        /// Its length in bytes.
        length: usize,
    },
    /// A name that cannot stand in a configuration file.
    #[error("restore point \"{}\" has a control character and cannot be a target", name.escape_debug())]
    RestorePointControl {
        /// What was given.
        name: String,
    },
    /// Neither `latest`, `current` nor a number.
    #[error("invalid target timeline \"{text}\": expected \"latest\", \"current\" or a decimal number")]
    Timeline {
        /// What was given.
        text: String,
        /// Why it is not a number.
        #[source]
        source: TimelineIdParseError,
    },
    /// Not a known action.
    #[error("invalid target action \"{text}\": expected \"pause\", \"promote\" or \"shutdown\"")]
    Action {
        /// What was given.
        text: String,
    },
}

impl Classified for RecoveryTargetError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Usage
    }
}

/// LIMIT: PostgreSQL's `MAXFNAMELEN` without the terminating zero.
const RESTORE_POINT_BYTES_MAX: usize = 63;

impl RecoveryTarget {
    /// Inclusive or exclusive, where PostgreSQL has that choice.
    pub fn bound(&self) -> Option<TargetBound> {
        match self {
            Self::Time(_, bound) | Self::Lsn(_, bound) | Self::TransactionId(_, bound) => Some(*bound),
            Self::Latest | Self::Immediate | Self::RestorePoint(_) => None,
        }
    }
}

impl fmt::Display for RecoveryTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest")?,
            Self::Immediate => f.write_str("immediate")?,
            Self::Time(time, _) => write!(f, "time {}", format_target_time(*time))?,
            Self::Lsn(lsn, _) => write!(f, "LSN {lsn}")?,
            Self::TransactionId(xid, _) => write!(f, "transaction {xid}")?,
            Self::RestorePoint(name) => write!(f, "restore point \"{name}\"")?,
        }
        match self.bound() {
            Some(TargetBound::Exclusive) => f.write_str(" (exclusive)"),
            Some(TargetBound::Inclusive) | None => Ok(()),
        }
    }
}

impl TransactionId {
    /// The lowest number that PostgreSQL gives to a transaction.
    const FIRST_NORMAL: u64 = 3;

    /// The number of 64 bits, as `pg_current_xact_id()` prints it.
    pub fn new(number: u64) -> Option<Self> {
        let normal = number & u64::from(u32::MAX) >= Self::FIRST_NORMAL;
        NonZeroU64::new(number).filter(|_| normal).map(Self)
    }

    /// The whole number.
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for TransactionId {
    type Err = RecoveryTargetError;

    /// COMPAT: PostgreSQL itself reads a leading zero as octal; here it is an error.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let valid = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let plain = valid && (text == "0" || !text.starts_with('0'));
        let number: Option<u64> = if plain { text.parse().ok() } else { None };
        let number = number.ok_or_else(|| RecoveryTargetError::TransactionId { text: text.to_owned() })?;
        Self::new(number).ok_or_else(|| RecoveryTargetError::ReservedTransactionId { text: text.to_owned() })
    }
}

impl RestorePointName {
    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RestorePointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RestorePointName {
    type Err = RecoveryTargetError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let (length, name) = (name.len(), name.to_owned());
        if !(1..=RESTORE_POINT_BYTES_MAX).contains(&length) {
            return Err(RecoveryTargetError::RestorePointLength { name, length });
        }
        if name.contains(char::is_control) {
            return Err(RecoveryTargetError::RestorePointControl { name });
        }
        Ok(Self(name))
    }
}

impl TargetBound {
    /// As `recovery_target_inclusive` says it.
    pub fn setting(self) -> &'static str {
        match self {
            Self::Inclusive => "on",
            Self::Exclusive => "off",
        }
    }
}

impl fmt::Display for RecoveryTargetAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pause => "pause",
            Self::Promote => "promote",
            Self::Shutdown => "shutdown",
        })
    }
}

impl FromStr for RecoveryTargetAction {
    type Err = RecoveryTargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "pause" => Ok(Self::Pause),
            "promote" => Ok(Self::Promote),
            "shutdown" => Ok(Self::Shutdown),
            _ => Err(RecoveryTargetError::Action { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for RecoveryTargetTimeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Current => f.write_str("current"),
            Self::Id(id) => write!(f, "{id}"),
        }
    }
}

impl FromStr for RecoveryTargetTimeline {
    type Err = RecoveryTargetError;

    /// COMPAT: PostgreSQL itself reads a leading zero as octal and `0x` as hexadecimal; here both are errors, since
    /// file names show timelines in hexadecimal with leading zeros.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| match TimelineId::parse_decimal(text) {
            Ok(id) if id.to_string() == text => Ok(Self::Id(id)),
            Ok(_) => Err(TimelineIdParseError { text: text.to_owned() }),
            Err(error) => Err(error),
        };
        match text {
            "latest" => Ok(Self::Latest),
            "current" => Ok(Self::Current),
            _ => number(text).map_err(|source| RecoveryTargetError::Timeline { text: text.to_owned(), source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn transactions_are_plain_numbers() {
        assert_eq!("3".parse::<TransactionId>().unwrap().get(), 3);
        assert_eq!("18446744073709551615".parse::<TransactionId>().unwrap().get(), u64::MAX);
        assert_eq!("4294967299".parse::<TransactionId>().unwrap().to_string(), "4294967299");
        for text in ["", "x", "-1", "+5", " 5", "5 ", "0x10", "010", "1.5", "18446744073709551616"] {
            let error = text.parse::<TransactionId>().unwrap_err();
            assert!(matches!(error, RecoveryTargetError::TransactionId { .. }), "{text}");
        }
        for text in ["0", "1", "2", "4294967296", "4294967298"] {
            let error = text.parse::<TransactionId>().unwrap_err();
            assert!(matches!(error, RecoveryTargetError::ReservedTransactionId { .. }), "{text}");
            assert_eq!(error.class(), ErrorClass::Usage);
        }
    }

    #[test]
    fn restore_points_have_the_names_that_servers_take() {
        for name in ["a", "before the release", "it's 100 %", "\u{e4}\u{f6}", "x".repeat(63).as_str()] {
            assert_eq!(name.parse::<RestorePointName>().unwrap().as_str(), name);
        }
        for name in ["", &"x".repeat(64), &"\u{e4}".repeat(32)] {
            let error = name.parse::<RestorePointName>().unwrap_err();
            assert!(matches!(error, RecoveryTargetError::RestorePointLength { .. }), "{name}");
        }
        for name in ["a\nb", "\t", "a\0"] {
            let error = name.parse::<RestorePointName>().unwrap_err();
            assert!(matches!(error, RecoveryTargetError::RestorePointControl { .. }), "{name}");
        }
    }

    #[test]
    fn timelines_are_decimal() {
        assert_eq!("latest".parse(), Ok(RecoveryTargetTimeline::Latest));
        assert_eq!("current".parse(), Ok(RecoveryTargetTimeline::Current));
        assert_eq!("10".parse(), Ok(RecoveryTargetTimeline::Id(TimelineId::new(10).unwrap())));
        for text in ["", "0", "0000000A", "00000010", "010", "0x10", "A", "Latest", "-1", "4294967296"] {
            let error = text.parse::<RecoveryTargetTimeline>().unwrap_err();
            assert!(matches!(error, RecoveryTargetError::Timeline { .. }), "{text}");
        }
    }

    #[test]
    fn prints_the_words_that_it_reads() {
        for word in ["pause", "promote", "shutdown"] {
            assert_eq!(word.parse::<RecoveryTargetAction>().unwrap().to_string(), word);
        }
        for word in ["", "Pause", "stop"] {
            assert!(matches!(word.parse::<RecoveryTargetAction>(), Err(RecoveryTargetError::Action { .. })));
        }
        for word in ["latest", "current", "1", "4294967295"] {
            assert_eq!(word.parse::<RecoveryTargetTimeline>().unwrap().to_string(), word);
        }
    }

    #[test]
    fn only_some_targets_can_be_exclusive() {
        let time = Timestamp::from_second(0).unwrap();
        let lsn = Lsn::new(16).unwrap();
        let exclusive = RecoveryTarget::Time(time, TargetBound::Exclusive);
        assert_eq!(exclusive.to_string(), "time 1970-01-01 00:00:00.000000+00 (exclusive)");
        assert_eq!(exclusive.bound(), Some(TargetBound::Exclusive));
        assert_eq!(RecoveryTarget::Lsn(lsn, TargetBound::Inclusive).to_string(), "LSN 0/10");
        let named = RecoveryTarget::RestorePoint("a".parse().unwrap());
        for (target, words) in [
            (RecoveryTarget::Latest, "latest"),
            (RecoveryTarget::Immediate, "immediate"),
            (named, "restore point \"a\""),
        ] {
            assert_eq!((target.bound(), target.to_string().as_str()), (None, words));
        }
    }

    proptest! {
        #[test]
        fn prints_what_it_parses(number in any::<u64>(), name in "[^\\p{Cc}]{1,20}") {
            if let Some(xid) = TransactionId::new(number) {
                prop_assert_eq!(xid.to_string().parse::<TransactionId>().unwrap(), xid);
            }
            if let Ok(point) = name.parse::<RestorePointName>() {
                prop_assert_eq!(point.to_string(), name);
            }
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".*") {
            let _ = text.parse::<TransactionId>();
            let _ = text.parse::<RestorePointName>();
            let _ = text.parse::<RecoveryTargetTimeline>();
            let _ = text.parse::<RecoveryTargetAction>();
        }
    }
}
