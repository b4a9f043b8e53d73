//! Sizes, times and tables as people read them.

use std::time::Duration;

use bytesize::ByteSize;
use jiff::tz::TimeZone;
use jiff::{RoundMode, Timestamp, TimestampRound, Unit};

/// A number of bytes in the largest binary unit that leaves something before the point: `1.2 GiB`.
pub(crate) fn bytes_text(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

/// A span in its two largest units: `1 h 5 min`.
pub(crate) fn duration_text(span: Duration) -> String {
    let seconds = span.as_secs();
    let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let mut left = seconds;
    let mut parts = Vec::new();
    for (length, name) in units {
        let count = left / length;
        left %= length;
        if count > 0 {
            parts.push(format!("{count} {name}"));
        } else if !parts.is_empty() {
            break;
        }
    }
    parts.truncate(2);
    if parts.is_empty() { "0 s".to_owned() } else { parts.join(" ") }
}

/// A time in UTC, as PostgreSQL writes and reads it: `2026-11-20 14:30:00+00`.
pub(crate) fn utc_text(time: Timestamp) -> String {
    format!("{}+00", without_zone(time, &TimeZone::UTC))
}

/// The same to the second, for tables: never before that time, so that what is restorable from it on can be restored to
/// what is shown.
pub(crate) fn utc_second_text(time: Timestamp) -> String {
    let whole = TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Ceil);
    utc_text(time.round(whole).unwrap_or(time))
}

/// The same to the minute, where there is no room for more: `2026-11-20 14:30`.
pub(crate) fn utc_minute_text(time: Timestamp) -> String {
    time.strftime("%F %H:%M").to_string()
}

/// A time in UTC and in the zone of the reader, unless that is the same: `... (2026-11-20 15:30:00 Europe/Berlin)`.
pub(crate) fn utc_and_local_text(time: Timestamp, zone: &TimeZone) -> String {
    if time.to_zoned(zone.clone()).offset().is_zero() {
        return utc_text(time);
    }
    format!("{} ({})", utc_text(time), local_text(time, zone))
}

/// A time in that zone, with the zone's name: `2026-11-20 15:30:00 Europe/Berlin`.
pub(crate) fn local_text(time: Timestamp, zone: &TimeZone) -> String {
    let offset = time.to_zoned(zone.clone()).offset();
    let name = zone.iana_name().map_or_else(|| offset.to_string(), str::to_owned);
    format!("{} {name}", without_zone(time, zone))
}

/// The zone of whoever reads the answer.
pub(crate) fn local_zone() -> TimeZone {
    TimeZone::system()
}

fn without_zone(time: Timestamp, zone: &TimeZone) -> String {
    let civil = time.to_zoned(zone.clone()).datetime();
    let date_and_second = civil.strftime("%F %T").to_string();
    match civil.subsec_nanosecond() {
        0 => date_and_second,
        nanoseconds => format!("{date_and_second}.{:06}", nanoseconds / 1000).trim_end_matches('0').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_one_unit() {
        for (bytes, text) in [(0, "0 B"), (1023, "1023 B"), (16 << 20, "16.0 MiB"), (1_288_490_189, "1.2 GiB")] {
            assert_eq!(bytes_text(bytes), text);
        }
    }

    #[test]
    fn spans_have_two_units_at_most() {
        let cases = [(0, "0 s"), (59, "59 s"), (90, "1 min 30 s"), (3600, "1 h"), (3605, "1 h"), (90_061, "1 d 1 h")];
        for (seconds, text) in cases {
            assert_eq!(duration_text(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn times_are_shown_in_utc_and_in_the_zone_of_the_reader() {
        let time: Timestamp = "2026-11-20T14:30:00Z".parse().unwrap();
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        assert_eq!(utc_text(time), "2026-11-20 14:30:00+00");
        assert_eq!(utc_and_local_text(time, &TimeZone::UTC), "2026-11-20 14:30:00+00");
        assert_eq!(utc_and_local_text(time, &berlin), "2026-11-20 14:30:00+00 (2026-11-20 15:30:00 Europe/Berlin)");
        let fixed = TimeZone::fixed(jiff::tz::offset(-5));
        assert_eq!(utc_and_local_text(time, &fixed), "2026-11-20 14:30:00+00 (2026-11-20 09:30:00 -05)");
        let fraction: Timestamp = "2026-11-20T14:30:00.120Z".parse().unwrap();
        assert_eq!(utc_text(fraction), "2026-11-20 14:30:00.12+00");
    }

    /// A backup can be restored from its end on, and not to the beginning of the second in which that was.
    #[test]
    fn a_time_in_a_table_is_never_before_its_moment() {
        for (time, text) in [
            ("2026-11-20T14:30:00Z", "2026-11-20 14:30:00+00"),
            ("2026-11-20T14:30:00.000001Z", "2026-11-20 14:30:01+00"),
            ("2026-12-31T23:59:59.9Z", "2027-01-01 00:00:00+00"),
        ] {
            assert_eq!(utc_second_text(time.parse().unwrap()), text);
        }
    }
}
