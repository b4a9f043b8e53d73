//! Hints about recovery targets.

use std::error::Error;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

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

/// The two lines that the person may have meant: a clock in UTC, or one of this machine.
fn readings(civil: DateTime, zone: &TimeZone) -> Vec<String> {
    let line = |what: &str, zone: &TimeZone| {
        let time = civil.to_zoned(zone.clone()).ok()?.timestamp();
        Some(format!("If {what} is meant: --target-time '{}'", format_target_time(time)))
    };
    let name = zone.iana_name().unwrap_or("the time of this machine");
    let here = (*zone != TimeZone::UTC && name != "UTC" && name != "Etc/UTC").then(|| line(name, zone)).flatten();
    line("UTC", &TimeZone::UTC).into_iter().chain(here).collect()
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
}
