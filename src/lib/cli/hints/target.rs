//! Hints about recovery targets.

use std::error::Error;

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

use crate::cli::size::local_zone;
use crate::cli::typed::Typed;
use crate::pg::{TargetTimeError, format_target_time};

pub(super) fn hint(error: &(dyn Error + 'static), _: &Typed) -> Vec<String> {
    match super::find::<TargetTimeError>(error) {
        Some(TargetTimeError::MissingOffset { civil, .. }) => readings(*civil, &local_zone()),
        Some(TargetTimeError::Abbreviation { .. }) => {
            vec!["Write an offset (+00) or a region (Europe/Berlin) instead.".to_owned()]
        }
        Some(TargetTimeError::ClockChange { readings: (first, second), .. }) => {
            [first, second].map(|time| format!("Write --target-time '{}'.", format_target_time(*time))).to_vec()
        }
        _ => Vec::new(),
    }
}

/// The lines that the person may have meant: a clock in UTC, or one of this machine, which may have shown it twice.
fn readings(civil: DateTime, zone: &TimeZone) -> Vec<String> {
    let line = |what: &str, offset: Offset| {
        let time = offset.to_timestamp(civil).ok()?;
        Some(format!("If {what} is meant: --target-time '{}'", format_target_time(time)))
    };
    let utc = line("UTC", Offset::UTC);
    let name = zone.iana_name().unwrap_or("the time of this machine");
    if *zone == TimeZone::UTC || name == "UTC" || name == "Etc/UTC" {
        return utc.into_iter().collect();
    }
    let here = match zone.to_ambiguous_timestamp(civil).offset() {
        AmbiguousOffset::Unambiguous { offset } => vec![line(name, offset)],
        AmbiguousOffset::Fold { before, after } => vec![
            line(&format!("{name} before the clocks were set back"), before),
            line(&format!("{name} after the clocks were set back"), after),
        ],
        AmbiguousOffset::Gap { .. } => {
            vec![Some(format!("In {name} there was no such time: the clocks were set forward over it."))]
        }
    };
    utc.into_iter().chain(here.into_iter().flatten()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_without_offset_gets_the_two_lines_that_may_be_meant() {
        let civil = jiff::civil::date(2026, 11, 20).at(14, 30, 0, 0);
        assert_eq!(
            readings(civil, &TimeZone::get("Europe/Berlin").unwrap()),
            [
                "If UTC is meant: --target-time '2026-11-20 14:30:00.000000+00'",
                "If Europe/Berlin is meant: --target-time '2026-11-20 13:30:00.000000+00'",
            ]
        );
        assert_eq!(readings(civil, &TimeZone::UTC).len(), 1);
    }

    #[test]
    fn a_time_that_came_twice_or_never_is_said_to() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        assert_eq!(
            readings(jiff::civil::date(2026, 10, 25).at(2, 30, 0, 0), &berlin),
            [
                "If UTC is meant: --target-time '2026-10-25 02:30:00.000000+00'",
                "If Europe/Berlin before the clocks were set back is meant: --target-time '2026-10-25 00:30:00.000000+00'",
                "If Europe/Berlin after the clocks were set back is meant: --target-time '2026-10-25 01:30:00.000000+00'",
            ]
        );
        assert_eq!(
            readings(jiff::civil::date(2026, 3, 29).at(2, 30, 0, 0), &berlin),
            [
                "If UTC is meant: --target-time '2026-03-29 02:30:00.000000+00'",
                "In Europe/Berlin there was no such time: the clocks were set forward over it.",
            ]
        );
    }
}
