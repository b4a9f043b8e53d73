//! Judges what was found: a pure function from facts to one line for each thing.

mod backups;
mod server;
mod storage;

use std::time::Duration;

use jiff::Timestamp;

use super::facts::CheckFacts;
use super::finding::Finding;
use super::report::{CheckItem, CheckName, CheckState};
use crate::pg::WalSegmentSize;

pub(super) use server::setting_names;

/// One line for each thing, in the order in which a person would look. INVARIANT: always the same ones; what was not
/// seen is unknown, so that nobody who watches a line takes its silence for health.
pub(crate) fn judge(facts: &CheckFacts) -> Vec<CheckItem> {
    let mut items = vec![storage::configuration(facts), storage::repository(facts), storage::repository_room(facts)];
    items.extend(server::all(facts));
    items.extend(backups::all(facts));
    items.sort_by_key(|item| item.check);
    items
}

fn item(check: CheckName, state: CheckState, finding: impl Into<Finding>) -> CheckItem {
    CheckItem { check, state, finding: finding.into() }
}

fn ok(check: CheckName, finding: impl Into<Finding>) -> CheckItem {
    item(check, CheckState::Ok, finding)
}

fn unknown(check: CheckName, finding: impl Into<Finding>) -> CheckItem {
    item(check, CheckState::Unknown, finding)
}

fn warning(check: CheckName, finding: impl Into<Finding>) -> CheckItem {
    item(check, CheckState::Warning, finding)
}

fn critical(check: CheckName, finding: impl Into<Finding>) -> CheckItem {
    item(check, CheckState::Critical, finding)
}

/// What could not be looked at, because of what another line tells.
fn unseen(checks: &[CheckName], cause: CheckName) -> Vec<CheckItem> {
    checks.iter().map(|check| unknown(*check, Finding::NotLookedAt(cause))).collect()
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
