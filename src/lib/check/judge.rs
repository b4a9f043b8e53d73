//! Judges what was found: a pure function from facts to one line for each thing.

mod backups;
mod server;
mod storage;

use std::time::Duration;

use jiff::Timestamp;

use super::facts::CheckFacts;
use super::report::{CheckItem, CheckName, CheckState};
use crate::pg::WalSegmentSize;

pub(super) use server::setting_names;

/// One line for each thing, in the order in which a person would look. INVARIANT: always the same ones; what was not
/// seen is unknown, so that nobody who watches a line takes its silence for health.
pub(super) fn judge(facts: &CheckFacts) -> Vec<CheckItem> {
    let mut items = vec![storage::configuration(facts), storage::repository(facts), storage::repository_room(facts)];
    items.extend(server::all(facts));
    items.extend(backups::all(facts));
    items.sort_by_key(|item| item.check);
    items
}

fn ok(check: CheckName, found: impl Into<String>) -> CheckItem {
    CheckItem { check, state: CheckState::Ok, found: found.into(), advice: None }
}

fn unknown(check: CheckName, found: impl Into<String>, advice: impl Into<String>) -> CheckItem {
    CheckItem { check, state: CheckState::Unknown, found: found.into(), advice: Some(advice.into()) }
}

const NOT_LOOKED_AT: &str = "not looked at";

/// What stands for advice where another line tells the cause.
fn see(cause: CheckName) -> String {
    format!("See the line of {}.", cause.word())
}

/// What could not be looked at, because of what another line tells.
fn unseen(checks: &[CheckName], cause: CheckName) -> Vec<CheckItem> {
    checks.iter().map(|check| unknown(*check, NOT_LOOKED_AT, see(cause))).collect()
}

fn warning(check: CheckName, found: impl Into<String>, advice: impl Into<String>) -> CheckItem {
    CheckItem { check, state: CheckState::Warning, found: found.into(), advice: Some(advice.into()) }
}

fn critical(check: CheckName, found: impl Into<String>, advice: impl Into<String>) -> CheckItem {
    CheckItem { check, state: CheckState::Critical, found: found.into(), advice: Some(advice.into()) }
}

/// Less is little whatever the rate, which may rise: room for so many segments.
const LOW_ROOM_SEGMENTS: u64 = 64;

fn low_room(size: WalSegmentSize) -> u64 {
    LOW_ROOM_SEGMENTS * size.bytes()
}

/// How long ago something was; nothing, when that lies ahead.
pub(super) fn age(now: Timestamp, time: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(time)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
