//! The time that a person typed.

use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::choose::BackupFacts;
use super::error::RestoreError;
use crate::pg::{TargetTimeError, parse_target_time};

/// Reads a time. One without offset or region is refused with what it may mean: by the clocks of the server as the
/// newest backup knows them, and in UTC.
pub(super) fn read(text: &str, backups: &[BackupFacts]) -> Result<Timestamp, RestoreError> {
    let zones = jiff::tz::db();
    parse_target_time(text, zones).map_err(|error| match &error {
        TargetTimeError::MissingOffset { civil, .. } => {
            let mut readings: Vec<(String, Timestamp)> = Vec::new();
            for name in server_zones(backups).into_iter().chain(["UTC".to_owned()]) {
                let moment = zone(&name, zones).and_then(|zone| zone.to_timestamp(*civil).ok());
                let is_new = !readings.iter().any(|(known, _)| *known == name);
                readings.extend(moment.filter(|_| is_new).map(|moment| (name, moment)));
            }
            RestoreError::TimeWithoutOffset { readings, source: error }
        }
        _ => RestoreError::Time(error),
    })
}

/// The zones that the server logs and shows times in.
fn server_zones(backups: &[BackupFacts]) -> Vec<String> {
    let newest = backups.iter().filter_map(|backup| backup.record.as_ref().ok()).max_by_key(|record| record.sequence);
    let names = newest.map(|record| ["log_timezone", "TimeZone"].map(|name| record.setting(name)));
    let mut zones: Vec<String> = names.into_iter().flatten().flatten().map(str::to_owned).collect();
    zones.dedup();
    zones
}

fn zone(name: &str, zones: &TimeZoneDatabase) -> Option<TimeZone> {
    match name {
        "UTC" | "Etc/UTC" | "GMT" => Some(TimeZone::UTC),
        _ => zones.get(name).ok(),
    }
}
