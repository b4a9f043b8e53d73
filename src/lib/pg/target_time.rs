//! The moment a person names for a recovery, and how it is told to PostgreSQL.
//!
//! INVARIANT: a text has one reading or none. Without an offset PostgreSQL takes the restored server's zone, and it
//! knows abbreviations that mean different places (`src/backend/utils/adt/datetime.c`): neither is ever guessed here,
//! and what is written for PostgreSQL is UTC with `+00`.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone, TimeZoneDatabase};

use crate::error::{Classified, ErrorClass};

/// Why a text names no moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetTimeError {
    /// Not in the form of a time.
    #[error(
        "invalid time \"{text}\": expected as in \"2026-11-20 14:30:00+00\" or \"2026-11-20 14:30:00 Europe/Berlin\""
    )]
    Malformed {
        /// What was given.
        text: String,
    },
    /// More digits after the point than PostgreSQL keeps.
    #[error("time \"{text}\" has more than 6 digits after the point: PostgreSQL counts in microseconds")]
    TooFine {
        /// What was given.
        text: String,
    },
    /// A day or time of day that does not exist.
    #[error("no such date or time of day: \"{text}\"")]
    NoSuchTime {
        /// What was given.
        text: String,
    },
    /// It does not say where this clock hangs.
    #[error("time \"{text}\" has neither an offset from UTC nor a region")]
    MissingOffset {
        /// What was given.
        text: String,
        /// What a clock on the wall showed, so that the possible meanings can be shown.
        civil: DateTime,
    },
    /// An abbreviation of a time zone.
    #[error("time \"{text}\" has abbreviation \"{name}\", which means different zones to different people")]
    Abbreviation {
        /// What was given.
        text: String,
        /// The abbreviation.
        name: String,
    },
    /// A region that the time zone database of this machine does not have.
    #[error("time \"{text}\" has region \"{name}\", which is not in this machine's time zone database")]
    UnknownRegion {
        /// What was given.
        text: String,
        /// The region.
        name: String,
    },
    /// Offset and region contradict each other.
    #[error("time \"{text}\" has an offset that region \"{region}\" does not have then")]
    OffsetNotInRegion {
        /// What was given.
        text: String,
        /// The region.
        region: String,
    },
    /// The clocks of the region were set forward over this time, or back over it.
    #[error("time \"{text}\" {} in region \"{region}\": it may mean {} or {}", change.words(),
        format_target_time(readings.0), format_target_time(readings.1))]
    ClockChange {
        /// What was given.
        text: String,
        /// The region.
        region: String,
        /// Forward or back.
        change: ClockChange,
        /// The moments by the offset before and by the offset after the change.
        readings: (Timestamp, Timestamp),
    },
}

/// What the clocks of a region did at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockChange {
    /// They were set forward: the time was skipped.
    Skipped,
    /// They were set back: the time came twice.
    Repeated,
}

impl ClockChange {
    fn words(self) -> &'static str {
        match self {
            Self::Skipped => "was skipped",
            Self::Repeated => "came twice",
        }
    }
}

impl Classified for TargetTimeError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Usage
    }
}

/// Reads a moment: `2026-11-20 14:30:00.123456` or with `T` between, seconds and fraction optional, then `Z`, an
/// offset as `+01`, `+0100` or `+01:00`, ` UTC`, or a region as ` Europe/Berlin` or `[Europe/Berlin]`, which may also
/// follow an offset.
pub fn parse_target_time(text: &str, zones: &TimeZoneDatabase) -> Result<Timestamp, TargetTimeError> {
    let malformed = || TargetTimeError::Malformed { text: text.to_owned() };
    let no_such_time = || TargetTimeError::NoSuchTime { text: text.to_owned() };
    if text.split_once('.').is_some_and(|(_, rest)| rest.bytes().take_while(u8::is_ascii_digit).count() > 6) {
        return Err(TargetTimeError::TooFine { text: text.to_owned() });
    }
    let mut cursor = Cursor(text.trim_matches(' '));
    let fields = cursor.civil().ok_or_else(malformed)?;
    let civil = fields.to_civil().ok_or_else(no_such_time)?;
    let offset = cursor.offset().ok_or_else(malformed)?;
    let zone = cursor.zone().ok_or_else(malformed)?;
    match (offset, zone) {
        (None, None) => Err(TargetTimeError::MissingOffset { text: text.to_owned(), civil }),
        (Some(offset), None) => offset.to_timestamp(civil).map_err(|_| no_such_time()),
        (offset, Some(name)) => {
            let zone = find_zone(text, name, zones)?;
            in_zone(text, civil, offset, name, &zone).ok_or_else(no_such_time)?
        }
    }
}

/// A moment as PostgreSQL reads it without regard to any zone: UTC, with microseconds and `+00`.
pub fn format_target_time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S%.6f+00").to_string()
}

fn find_zone(text: &str, name: &str, zones: &TimeZoneDatabase) -> Result<TimeZone, TargetTimeError> {
    if ["UTC", "GMT", "Z"].iter().any(|utc| name.eq_ignore_ascii_case(utc)) {
        return Ok(TimeZone::UTC);
    }
    let (text, name) = (text.to_owned(), name.to_owned());
    if !name.contains('/') {
        return Err(TargetTimeError::Abbreviation { text, name });
    }
    zones.get(&name).map_err(|_| TargetTimeError::UnknownRegion { text, name })
}

/// The moment when clocks of the zone showed `civil`; `None` when it is beyond all calendars.
fn in_zone(
    text: &str,
    civil: DateTime,
    offset: Option<Offset>,
    region: &str,
    zone: &TimeZone,
) -> Option<Result<Timestamp, TargetTimeError>> {
    let (text, region) = (text.to_owned(), region.to_owned());
    let at = |offset: Offset| offset.to_timestamp(civil).ok();
    let (before, after, change) = match (zone.to_ambiguous_timestamp(civil).offset(), offset) {
        (AmbiguousOffset::Unambiguous { offset }, None) => return at(offset).map(Ok),
        (AmbiguousOffset::Unambiguous { offset }, Some(stated)) if offset == stated => return at(offset).map(Ok),
        (AmbiguousOffset::Fold { before, after }, Some(stated)) if before == stated || after == stated => {
            return at(stated).map(Ok);
        }
        (_, Some(_)) => return Some(Err(TargetTimeError::OffsetNotInRegion { text, region })),
        (AmbiguousOffset::Gap { before, after }, None) => (before, after, ClockChange::Skipped),
        (AmbiguousOffset::Fold { before, after }, None) => (before, after, ClockChange::Repeated),
    };
    let readings = (at(before)?, at(after)?);
    Some(Err(TargetTimeError::ClockChange { text, region, change, readings }))
}

/// Takes a text apart from its beginning; every method gives `None` for a wrong form.
struct Cursor<'a>(&'a str);

/// The fields of a date and a time of day, within the digits they were written with.
struct CivilFields {
    year: i16,
    month: i8,
    day: i8,
    hour: i8,
    minute: i8,
    second: i8,
    nanosecond: i32,
}

impl CivilFields {
    fn to_civil(&self) -> Option<DateTime> {
        let Self { year, month, day, hour, minute, second, nanosecond } = *self;
        let possible = year >= 1;
        possible.then(|| DateTime::new(year, month, day, hour, minute, second, nanosecond).ok()).flatten()
    }
}

impl<'a> Cursor<'a> {
    fn take(&mut self, separator: &[char]) -> Option<()> {
        self.0 = self.0.strip_prefix(separator)?;
        Some(())
    }

    /// A number of exactly that many digits.
    fn digits<T: TryFrom<u32>>(&mut self, count: usize) -> Option<T> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        let all_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
        let number: u32 = if all_digits { digits.parse().ok()? } else { return None };
        self.0 = rest;
        number.try_into().ok()
    }

    fn civil(&mut self) -> Option<CivilFields> {
        let year = self.digits(4)?;
        self.take(&['-'])?;
        let month = self.digits(2)?;
        self.take(&['-'])?;
        let day = self.digits(2)?;
        self.take(&[' ', 'T', 't'])?;
        let hour = self.digits(2)?;
        self.take(&[':'])?;
        let minute = self.digits(2)?;
        let (mut second, mut nanosecond) = (0, 0);
        if self.take(&[':']).is_some() {
            second = self.digits(2)?;
            if self.take(&['.']).is_some() {
                nanosecond = self.fraction()?;
            }
        }
        Some(CivilFields { year, month, day, hour, minute, second, nanosecond })
    }

    /// One to six digits after the point, in nanoseconds.
    fn fraction(&mut self) -> Option<i32> {
        let count = self.0.bytes().take_while(u8::is_ascii_digit).count();
        let missing = 9u32.checked_sub(u32::try_from(count).ok()?)?;
        if !(1..=6).contains(&count) {
            return None;
        }
        self.digits::<i32>(count)?.checked_mul(10i32.checked_pow(missing)?)
    }

    /// `Z` or an offset, perhaps after a blank; none when something else follows.
    fn offset(&mut self) -> Option<Option<Offset>> {
        let start = self.0;
        let _ = self.take(&[' ']);
        if matches!(self.0, "Z" | "z") || self.0.starts_with("Z[") || self.0.starts_with("z[") {
            self.take(&['Z', 'z'])?;
            return Some(Some(Offset::UTC));
        }
        let sign = match self.0.chars().next() {
            Some('+') => 1,
            Some('-') => -1,
            _ => {
                self.0 = start;
                return Some(None);
            }
        };
        self.take(&['+', '-'])?;
        let hours: i32 = self.digits(2)?;
        let has_minutes = self.take(&[':']).is_some() || self.0.starts_with(|c: char| c.is_ascii_digit());
        let minutes: i32 = if has_minutes { self.digits(2)? } else { 0 };
        // LIMIT: what PostgreSQL takes as an offset.
        let possible = hours <= 15 && minutes <= 59;
        let seconds = sign * (hours * 3600 + minutes * 60);
        possible.then(|| Offset::from_seconds(seconds).ok()).flatten().map(Some)
    }

    /// The name of a region or zone, which ends the text; none when nothing is left.
    fn zone(&mut self) -> Option<Option<&'a str>> {
        if self.0.is_empty() {
            return Some(None);
        }
        let bracketed = self.0.trim_start_matches(' ').strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let name = match bracketed {
            Some(name) => name,
            None => self.0.strip_prefix(' ').unwrap_or(self.0),
        };
        let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '+');
        let valid = name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(named);
        valid.then_some(Some(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Timestamp, TargetTimeError> {
        parse_target_time(text, jiff::tz::db())
    }

    fn formatted(text: &str) -> String {
        format_target_time(parse(text).unwrap_or_else(|error| panic!("{error}")))
    }

    #[test]
    fn reads_every_form_of_one_moment() {
        for text in [
            "2026-11-20 14:30:00+00",
            "2026-11-20 14:30+00",
            "2026-11-20 14:30:00.0+00",
            "2026-11-20 14:30:00.000000 +00:00",
            "2026-11-20T14:30:00Z",
            "2026-11-20t14:30:00z",
            "2026-11-20 14:30:00 Z",
            "2026-11-20 14:30:00Z[UTC]",
            "2026-11-20 14:30:00 UTC",
            "2026-11-20 14:30:00 utc",
            "2026-11-20 14:30:00UTC",
            "2026-11-20 14:30:00 GMT",
            "2026-11-20 14:30:00[UTC]",
            "2026-11-20 15:30:00+01",
            "2026-11-20 15:30:00+0100",
            "2026-11-20 15:30:00+01:00",
            "2026-11-20 20:00:00+05:30",
            "2026-11-20 06:30:00-08",
            "2026-11-20 15:30:00 Europe/Berlin",
            "2026-11-20 15:30:00 europe/berlin",
            "2026-11-20 15:30:00[Europe/Berlin]",
            "2026-11-20 15:30:00 [Europe/Berlin]",
            "2026-11-20 15:30:00+01[Europe/Berlin]",
            "2026-11-20 15:30:00+01 Europe/Berlin",
            "2026-11-20 09:30:00 America/New_York",
            "2026-11-20 14:30:00 Etc/UTC",
            "  2026-11-20 14:30:00+00 ",
        ] {
            assert_eq!(formatted(text), "2026-11-20 14:30:00.000000+00", "{text}");
        }
        assert_eq!(formatted("2026-12-31 23:59:59.123456-00:30"), "2027-01-01 00:29:59.123456+00");
        assert_eq!(formatted("2026-07-01 12:00:00.5 Europe/Berlin"), "2026-07-01 10:00:00.500000+00");
        assert_eq!(formatted("2024-02-29 00:00:00+15:59"), "2024-02-28 08:01:00.000000+00");
    }

    #[test]
    fn says_that_a_fraction_is_too_fine() {
        let error = parse("2026-11-20 14:30:00.1234567+00").unwrap_err();
        assert!(matches!(error, TargetTimeError::TooFine { .. }), "{error}");
    }

    #[test]
    fn asks_which_clock_was_meant() {
        for text in ["2026-11-20 14:30:00", "2026-11-20T14:30:00", "2026-11-20 14:30", " 2026-11-20 14:30:00 "] {
            match parse(text).unwrap_err() {
                TargetTimeError::MissingOffset { civil, .. } => {
                    assert_eq!(civil, jiff::civil::date(2026, 11, 20).at(14, 30, 0, 0));
                }
                other => panic!("{text}: {other}"),
            }
        }
    }

    #[test]
    fn refuses_abbreviations_and_unknown_regions() {
        for name in ["CET", "CEST", "EST", "PST", "IST", "BST", "AM", "pm", "EST5EDT", "UTC+2", "GMT-3", "Berlin", "a"]
        {
            let text = format!("2026-11-20 14:30:00 {name}");
            match parse(&text).unwrap_err() {
                TargetTimeError::Abbreviation { name: found, .. } => assert_eq!(found, name),
                other => panic!("{text}: {other}"),
            }
        }
        for name in ["Europe/Nowhere", "Mars/Olympus", "Europe/"] {
            let error = parse(&format!("2026-11-20 14:30:00 {name}")).unwrap_err();
            assert!(matches!(error, TargetTimeError::UnknownRegion { .. }), "{name}");
            assert_eq!(error.class(), ErrorClass::Usage);
        }
    }

    #[test]
    fn refuses_other_forms() {
        for text in [
            "",
            "now",
            "yesterday",
            "2026-11-20",
            "2026-11-20 +00",
            "2026-11-20 14+00",
            "2026-11-20 14:30:0+00",
            "2026-11-20  14:30:00+00",
            "2026-11-20 14:30:00.+00",
            "2026-11-20 14:30:00,5+00",
            "2026-11-20 2:30:00+00",
            "20-11-2026 14:30:00+00",
            "11/20/2026 14:30:00+00",
            "+2026-11-20 14:30:00+00",
            "12026-11-20 14:30:00+00",
            "2026-11-20 14:30:00+0",
            "2026-11-20 14:30:00+16",
            "2026-11-20 14:30:00+01:60",
            "2026-11-20 14:30:00+01:0",
            "2026-11-20 14:30:00+01:00:00",
            "2026-11-20 14:30:00++01",
            "2026-11-20 14:30:00+00 +00",
            "2026-11-20 14:30:00  UTC",
            "2026-11-20 14:30:00[UTC",
            "2026-11-20 14:30:00[]",
            "2026-11-20 14:30:00 ../../etc/passwd",
            "2026-11-20 14:30:00 /etc/localtime",
            "2026-11-20 14:30:00 \u{661}",
            "\u{662}026-11-20 14:30:00+00",
            "2026-11-20 14:30:00 UTC now",
        ] {
            assert!(matches!(parse(text).unwrap_err(), TargetTimeError::Malformed { .. }), "{text}");
        }
        for text in [
            "2026-02-29 14:30:00+00",
            "2026-13-01 14:30:00+00",
            "2026-00-01 14:30:00+00",
            "0000-01-01 14:30:00+00",
            "2026-11-20 24:00:00+00",
            "2026-11-20 14:60:00+00",
            "2026-11-20 14:30:60+00",
            "9999-12-31 23:59:59-15",
        ] {
            assert!(matches!(parse(text).unwrap_err(), TargetTimeError::NoSuchTime { .. }), "{text}");
        }
    }

    #[test]
    fn refuses_times_that_a_clock_change_skipped_or_repeated() {
        let error = |text: &str| parse(text).unwrap_err();
        let readings = |first: &str, second: &str| (parse(first).unwrap(), parse(second).unwrap());
        let skipped = "2026-03-29 02:30:00 Europe/Berlin";
        assert_eq!(
            error(skipped),
            TargetTimeError::ClockChange {
                text: skipped.to_owned(),
                region: "Europe/Berlin".to_owned(),
                change: ClockChange::Skipped,
                readings: readings("2026-03-29 01:30:00Z", "2026-03-29 00:30:00Z"),
            }
        );
        let repeated = "2026-10-25 02:30:00 Europe/Berlin";
        assert_eq!(
            error(repeated).to_string(),
            "time \"2026-10-25 02:30:00 Europe/Berlin\" came twice in region \"Europe/Berlin\": it may mean \
             2026-10-25 00:30:00.000000+00 or 2026-10-25 01:30:00.000000+00"
        );
        assert_eq!(formatted("2026-10-25 02:30:00+02[Europe/Berlin]"), "2026-10-25 00:30:00.000000+00");
        assert_eq!(formatted("2026-10-25 02:30:00+01[Europe/Berlin]"), "2026-10-25 01:30:00.000000+00");
        assert_eq!(formatted("2026-10-25 03:00:00 Europe/Berlin"), "2026-10-25 02:00:00.000000+00");
        for text in [
            "2026-10-25 02:30:00+03[Europe/Berlin]",
            "2026-03-29 02:30:00+01[Europe/Berlin]",
            "2026-07-01 12:00:00+01[Europe/Berlin]",
            "2026-07-01 12:00:00+01[UTC]",
        ] {
            assert!(matches!(error(text), TargetTimeError::OffsetNotInRegion { .. }), "{text}");
        }
    }

    proptest! {
        #[test]
        fn prints_what_it_parses(microseconds in -62_000_000_000_000_000i64..253_000_000_000_000_000) {
            let time = Timestamp::from_microsecond(microseconds).unwrap();
            prop_assert_eq!(parse(&format_target_time(time)).unwrap(), time);
        }

        #[test]
        fn an_offset_shifts_and_nothing_else(seconds in 0i64..4_000_000_000, minutes in -959i32..=959) {
            let offset = Offset::from_seconds(minutes * 60).unwrap();
            let time = Timestamp::from_second(seconds).unwrap();
            let sign = if minutes < 0 { '-' } else { '+' };
            let (hours, rest) = (minutes.abs() / 60, minutes.abs() % 60);
            let text = format!("{}{sign}{hours:02}:{rest:02}", offset.to_datetime(time).strftime("%Y-%m-%d %H:%M:%S"));
            prop_assert_eq!(parse(&text).unwrap(), time);
        }

        #[test]
        fn regions_agree_with_the_time_zone_database(seconds in 0i64..4_000_000_000, region in 0usize..5) {
            let name = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC"][region];
            let time = Timestamp::from_second(seconds).unwrap();
            let zoned = time.in_tz(name).unwrap();
            let text = format!("{}[{name}]", zoned.strftime("%Y-%m-%d %H:%M:%S"));
            match parse(&text) {
                Ok(parsed) => prop_assert_eq!(parsed, time),
                Err(TargetTimeError::ClockChange { readings, change, .. }) => {
                    prop_assert_eq!(change, ClockChange::Repeated);
                    prop_assert!(readings.0 == time || readings.1 == time);
                }
                Err(other) => prop_assert!(false, "{}", other),
            }
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".*", tail in "[-+ :.0-9TZ\\[\\]A-Za-z/]{0,20}") {
            let _ = parse(&text);
            let _ = parse(&format!("2026-11-20 14:30:00{tail}"));
        }
    }
}
