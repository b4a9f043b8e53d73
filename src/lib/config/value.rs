//! One value of one setting: where it was said, and how its text is read.

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;

use crate::codec::{CompressionLevel, RepositoryId};
use crate::pg::SystemIdentifier;
use crate::repository::ClusterName;

/// A text that somebody gave a setting.
#[derive(Debug, Clone)]
pub(super) struct Value {
    pub(super) text: String,
    pub(super) origin: Origin,
}

/// Where a value was said; ordered by nothing, shown in messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// On the command line.
    Flag(&'static str),
    /// In the environment.
    Variable(&'static str),
    /// In a file, on this line.
    File {
        /// The file.
        path: PathBuf,
        /// Counted from one.
        line: usize,
    },
    /// Nowhere.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "option \"{flag}\""),
            Self::Variable(name) => write!(f, "environment variable \"{name}\""),
            Self::File { path, line } => write!(f, "\"{}\" line {line}", path.display()),
            Self::Default => f.write_str("built-in default"),
        }
    }
}

/// Why a text is no value for its setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// Not a time span.
    #[error("expected a time span with a unit, such as \"50s\" or \"2min\"")]
    Duration,
    /// A time span that is too long or zero.
    #[error("expected more than zero and less than {limit_seconds} s")]
    DurationRange {
        /// The limit.
        limit_seconds: u64,
    },
    /// Not a number in its range.
    #[error("expected a number from {least} to {most}")]
    Number {
        /// The least that is accepted.
        least: u64,
        /// The most that is accepted.
        most: u64,
    },
    /// Not a number of bytes in its range.
    #[error("expected a number of bytes from {least} to {most}, such as \"50MB\"")]
    Bytes {
        /// The least that is accepted.
        least: &'static str,
        /// The most that is accepted.
        most: &'static str,
    },
    /// Not an absolute path.
    #[error("expected an absolute path")]
    NotAbsolute,
    /// Longer than PostgreSQL takes, or of more than one line.
    #[error("expected one line of at most {limit} bytes")]
    Label {
        /// The most bytes.
        limit: usize,
    },
    /// None of the words.
    #[error(transparent)]
    Choice(#[from] super::ChoiceError),
    /// Not a system identifier.
    #[error("expected the decimal number that pg_controldata shows")]
    SystemIdentifier,
    /// Not a repository id.
    #[error("expected 32 lower-case hexadecimal digits")]
    RepositoryId,
    /// Not a cluster name.
    #[error(
        "expected at most 63 letters, digits, \"_\" or \"-\", beginning with a letter or digit; \"keys\" is reserved"
    )]
    ClusterName,
    /// Not the name or zone of a node.
    #[error("expected 1 to 63 characters, none of them a blank")]
    NodeWord,
    /// Not a place for a repository.
    #[error(transparent)]
    Repository(#[from] super::RepoUrlError),
}

/// LIMIT: bytes of a backup's label (`MAXPGPATH`, `src/include/pg_config_manual.h`).
const LABEL_BYTES_MAX: usize = 1024;

/// A time span longer than nothing and shorter than `limit`.
pub(super) fn duration_below(limit: Duration) -> impl Fn(&str) -> Result<Duration, ValueError> {
    move |text| {
        let span: jiff::SignedDuration = text.parse().map_err(|_| ValueError::Duration)?;
        let duration = Duration::try_from(span).ok().filter(|span| !span.is_zero() && *span < limit);
        duration.ok_or(ValueError::DurationRange { limit_seconds: limit.as_secs() })
    }
}

/// A duration that may be given in days, which are 24 hours each.
pub(super) fn age_below(limit: Duration) -> impl Fn(&str) -> Result<Duration, ValueError> {
    move |text| {
        let days = text.trim().strip_suffix('d').and_then(|days| days.trim().parse::<u64>().ok());
        match days.and_then(|days| days.checked_mul(24)) {
            Some(hours) => duration_below(limit)(&format!("{hours}h")),
            None => duration_below(limit)(text),
        }
    }
}

pub(super) fn cluster_name(text: &str) -> Result<ClusterName, ValueError> {
    ClusterName::parse(text).map_err(|_| ValueError::ClusterName)
}

pub(super) fn system_identifier(text: &str) -> Result<SystemIdentifier, ValueError> {
    text.parse().map_err(|_| ValueError::SystemIdentifier)
}

pub(super) fn repository_id(text: &str) -> Result<RepositoryId, ValueError> {
    text.parse().map_err(|_| ValueError::RepositoryId)
}

pub(super) fn compression_level(text: &str) -> Result<CompressionLevel, ValueError> {
    let level = text.parse().ok().and_then(CompressionLevel::new);
    level.ok_or(ValueError::Number { least: 1, most: 19 })
}

pub(super) fn jobs(text: &str) -> Result<NonZeroUsize, ValueError> {
    let count = text.parse().ok().filter(|count: &NonZeroUsize| count.get() <= 256);
    count.ok_or(ValueError::Number { least: 1, most: 256 })
}

/// Only root may go below zero.
pub(super) fn nice(text: &str) -> Result<i32, ValueError> {
    let number = text.parse().ok().filter(|number| (0..=19).contains(number));
    number.ok_or(ValueError::Number { least: 0, most: 19 })
}

/// LIMIT: a hundred years.
const DAYS_MAX: u32 = 36_525;

pub(super) fn days(text: &str) -> Result<u32, ValueError> {
    let days = text.parse().ok().filter(|days| (1..=DAYS_MAX).contains(days));
    days.ok_or(ValueError::Number { least: 1, most: DAYS_MAX.into() })
}

pub(super) fn keep(text: &str) -> Result<NonZeroU32, ValueError> {
    let count = text.parse().ok().filter(|count: &NonZeroU32| count.get() <= 100_000);
    count.ok_or(ValueError::Number { least: 1, most: 100_000 })
}

/// The range is that of `BASE_BACKUP`'s `MAX_RATE` (`src/include/backup/basebackup.h`).
pub(super) fn max_rate(text: &str) -> Result<u64, ValueError> {
    let rate = text.parse::<ByteSize>().ok().map(|rate| rate.as_u64());
    let rate = rate.filter(|rate| (32 << 10..=1 << 30).contains(rate));
    rate.ok_or(ValueError::Bytes { least: "32 KiB", most: "1 GiB" })
}

pub(super) fn label(text: &str) -> Result<String, ValueError> {
    let fits = text.len() <= LABEL_BYTES_MAX && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned()).ok_or(ValueError::Label { limit: LABEL_BYTES_MAX })
}

/// The name or the zone of a node: what fits into a column of a table.
pub(super) fn node_word(text: &str) -> Result<String, ValueError> {
    let is_word = |c: char| !c.is_control() && !c.is_whitespace();
    let fits = (1..=63).contains(&text.chars().count()) && text.chars().all(is_word);
    fits.then(|| text.to_owned()).ok_or(ValueError::NodeWord)
}

/// Of a node: a higher number comes first.
pub(super) fn priority(text: &str) -> Result<i32, ValueError> {
    let number = text.parse().ok().filter(|number| (0..=1000).contains(number));
    number.ok_or(ValueError::Number { least: 0, most: 1000 })
}

pub(super) fn absolute_path(text: &str) -> Result<PathBuf, ValueError> {
    let path = Path::new(text);
    path.is_absolute().then(|| path.to_path_buf()).ok_or(ValueError::NotAbsolute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_need_a_unit_and_stay_below_their_limit() {
        let parse = duration_below(Duration::from_secs(60));
        for (text, milliseconds) in
            [("50s", 50_000), ("500ms", 500), ("59.5s", 59_500), ("50 seconds", 50_000), ("PT5S", 5_000)]
        {
            assert_eq!(parse(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["50", "", "s", "fast"] {
            assert_eq!(parse(text), Err(ValueError::Duration), "{text}");
        }
        for text in ["60s", "1min", "0s", "-5s", "2h"] {
            assert_eq!(parse(text), Err(ValueError::DurationRange { limit_seconds: 60 }), "{text}");
        }
    }

    #[test]
    fn ages_may_be_days() {
        let parse = age_below(Duration::from_secs(100 * 86_400));
        for (text, hours) in [("8d", 192), (" 1 d", 24), ("26h", 26), ("99d", 2376)] {
            assert_eq!(parse(text), Ok(Duration::from_secs(hours * 3600)), "{text}");
        }
        assert!(["", "d", "0d", "100d", "-1d", "8", "99999999999999999999d"].iter().all(|text| parse(text).is_err()));
    }

    #[test]
    fn rates_keep_to_what_the_server_takes() {
        for (text, bytes) in [("50MB", 50_000_000), ("32KiB", 32_768), ("1GiB", 1 << 30), ("65536", 65_536)] {
            assert_eq!(max_rate(text), Ok(bytes), "{text}");
        }
        for text in ["", "fast", "31KiB", "2GiB", "-1MB"] {
            assert!(max_rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_labels_and_paths_are_checked() {
        assert_eq!(compression_level("19").unwrap().get(), 19);
        assert!(["0", "20", "x", ""].iter().all(|text| compression_level(text).is_err()));
        assert_eq!(jobs("8").unwrap().get(), 8);
        assert_eq!((nice("0"), nice("19")), (Ok(0), Ok(19)));
        assert!(["20", "-1", ""].iter().all(|text| nice(text).is_err()));
        assert!(["0", "257", "-1"].iter().all(|text| jobs(text).is_err()));
        assert_eq!((keep("3").unwrap().get(), days("14")), (3, Ok(14)));
        assert!(["0", "-1", "100001", "1.5", ""].iter().all(|text| keep(text).is_err()));
        assert!(["0", "-1", "36526", "14d"].iter().all(|text| days(text).is_err()));
        assert!(label("weekly, full").is_ok());
        assert!(label("two\nlines").is_err() && label(&"x".repeat(1025)).is_err());
        assert!(absolute_path("/srv").is_ok() && absolute_path("srv").is_err() && absolute_path("").is_err());
    }
}
