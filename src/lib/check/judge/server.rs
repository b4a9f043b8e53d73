//! The server: its settings, its archiver, what waits, its slots, and the room for its WAL.

use std::cmp::Reverse;
use std::time::Duration;

use super::{age, critical, item, low_room, ok, unknown, unseen, warning};
use crate::check::facts::{CheckFacts, ServerPart, TreeFacts, Trial};
use crate::check::finding::{
    ArchiverFailure, ArchivingFinding, Behind, Broken, ServerFinding, SettingFinding, SlotFlaw, Untried,
};
use crate::check::report::{CheckItem, CheckName, CheckState};
use crate::pg::setting_value::{is_archiving, is_enough_wal, is_on, is_positive, runs_pgv_archive};
use crate::server::SlotFacts;

/// WAL that waits this long is not being archived, or too slowly.
const WAITING_WARNING: Duration = Duration::from_secs(300);
const WAITING_CRITICAL: Duration = Duration::from_secs(1800);
/// So many segments at once are a burst; more are a backlog.
const WAITING_COUNT_WARNING: u64 = 32;
const WAITING_COUNT_CRITICAL: u64 = 512;
/// While nothing is archived, `pg_wal` must last until somebody comes.
const WAL_ROOM_CRITICAL: Duration = Duration::from_secs(4 * 3600);
/// While all is well, it should outlast a short outage of the repository.
const WAL_ROOM_WARNING: Duration = Duration::from_secs(3600);
/// What was written within less says nothing of a rate.
const UNARCHIVED_SPAN_MIN: Duration = Duration::from_secs(60);
/// Where no rate is known: percent of the file system.
const WAL_ROOM_PERCENT: u64 = 5;
/// A slot that keeps more was forgotten, or who uses it does not keep up.
const SLOT_WARNING: u64 = 1 << 30;
/// An archive this many segments behind is behind, whatever the server says.
const BEHIND_SEGMENTS: u64 = 3;

pub(super) fn all(facts: &CheckFacts) -> Vec<CheckItem> {
    let server = match &facts.server {
        Ok(server) => server,
        Err(cause) => {
            let unseen_checks = [
                CheckName::Settings,
                CheckName::Archiving,
                CheckName::WaitingWal,
                CheckName::Archiver,
                CheckName::WalRoom,
                CheckName::Slots,
            ];
            let mut items = unseen(&unseen_checks, CheckName::Server);
            items.push(critical(CheckName::Server, ServerFinding::Unreachable(cause.clone())));
            return items;
        }
    };
    let answers = ServerFinding::Answers {
        endpoint: server.endpoint.clone(),
        version: server.version.clone(),
        in_recovery: server.health.in_recovery,
    };
    vec![
        ok(CheckName::Server, answers),
        settings(server),
        archiving(facts, server),
        waiting(server),
        archiver(facts, server),
        wal_room(facts, server),
        slots(server),
    ]
}

/// What a setting breaks, and what it takes to change it.
struct Rule {
    name: &'static str,
    accepts: fn(&str) -> bool,
    breaks: Broken,
    state: CheckState,
    /// Whether it matters on a standby before that is promoted.
    of_standby: bool,
}

const RULES: [Rule; 9] = [
    rule("wal_level", is_enough_wal, Broken::Recovery, CheckState::Critical, true),
    rule("fsync", is_on, Broken::CrashSafety, CheckState::Critical, true),
    rule("archive_mode", is_archiving, Broken::Archiving, CheckState::Critical, false),
    rule("archive_library", str::is_empty, Broken::ArchiveCommand, CheckState::Critical, false),
    rule("archive_command", is_ours, Broken::ThisRepository, CheckState::Critical, false),
    rule("max_wal_senders", is_positive, Broken::StreamedBackups, CheckState::Warning, true),
    rule("full_page_writes", is_on, Broken::TornPages, CheckState::Warning, true),
    rule("archive_timeout", is_positive, Broken::LastCommits, CheckState::Warning, false),
    rule("data_checksums", is_on, Broken::DamageNoticed, CheckState::Ok, true),
];

const fn rule(
    name: &'static str,
    accepts: fn(&str) -> bool,
    breaks: Broken,
    state: CheckState,
    of_standby: bool,
) -> Rule {
    Rule { name, accepts, breaks, state, of_standby }
}

/// The settings that are judged.
pub(in crate::check) fn setting_names() -> [&'static str; 9] {
    RULES.each_ref().map(|rule| rule.name)
}

/// Servers show no command while they do not archive, which is told of `archive_mode`.
fn is_ours(value: &str) -> bool {
    value == "(disabled)" || runs_pgv_archive(value)
}

fn settings(server: &ServerPart) -> CheckItem {
    let mut state = CheckState::Ok;
    let mut problems = Vec::new();
    let mut notes = Vec::new();
    for rule in RULES.iter().filter(|rule| rule.of_standby || !server.health.in_recovery) {
        let Some(setting) = server.settings.get(rule.name) else { continue };
        if (rule.accepts)(&setting.value) {
            if setting.pending_restart {
                notes.push(SettingFinding::Waits { name: rule.name });
                state = state.max(CheckState::Warning);
            }
            continue;
        }
        let breaks = SettingFinding::Breaks { name: rule.name, value: setting.value.clone(), what: rule.breaks };
        if rule.state == CheckState::Ok {
            notes.push(breaks)
        } else {
            problems.push(breaks)
        }
        state = state.max(rule.state);
    }
    for setting in &server.left_over_targets {
        let data_directory = server.data_directory.clone();
        problems.push(SettingFinding::LeftOver { setting: setting.clone(), data_directory });
        state = CheckState::Critical;
    }
    problems.extend(notes);
    if let Some(directory) = server.switched_off.clone().filter(|_| !server.health.in_recovery) {
        problems.push(SettingFinding::SwitchedOff { directory });
        state = state.max(CheckState::Warning);
    }
    item(CheckName::Settings, state, ServerFinding::Settings(problems))
}

fn archiving(facts: &CheckFacts, server: &ServerPart) -> CheckItem {
    use ArchivingFinding::{Arrived, Denied, Failed, Missing};
    let check = CheckName::Archiving;
    match &facts.trial {
        Trial::Arrived { segment, took } => ok(check, Arrived { segment: *segment, took: *took }),
        Trial::Missing { segment, waited } => critical(check, Missing { segment: *segment, waited: *waited }),
        Trial::Denied(cause) => unknown(check, Denied { cause: cause.clone(), role: server.role.clone() }),
        Trial::Failed(cause) => unknown(check, Failed(cause.clone())),
        Trial::NotMade(why @ Untried::ArchivingOff) => {
            if let Some(directory) = server.switched_off.clone() {
                return critical(check, ArchivingFinding::SwitchedOff { directory });
            }
            CheckItem { state: CheckState::Critical, ..untried(facts, server, *why) }
        }
        Trial::NotMade(why) => untried(facts, server, *why),
    }
}

/// Without a trial: how far the archive is behind the server.
fn untried(facts: &CheckFacts, server: &ServerPart, why: Untried) -> CheckItem {
    let check = CheckName::Archiving;
    let finding = |behind| ArchivingFinding::Untried { why, behind };
    let tree = facts.tree.as_ref().and_then(|tree| tree.as_ref().ok());
    let Some(tree) = tree else { return unknown(check, finding(Behind::ArchiveUnread)) };
    let Some(archive_end) = tree.end_lsn else { return critical(check, finding(Behind::NothingArchived)) };
    let Some(server_end) = server.health.end_lsn else { return unknown(check, finding(Behind::ServerUnknown)) };
    let bytes = server_end.distance_from(archive_end).unwrap_or_default();
    let stored = tree.last_segment.and_then(|(_, archived)| archived).map(|time| age(facts.now, time));
    let is_old = stored.is_none_or(|stored| stored > WAITING_WARNING);
    if bytes > BEHIND_SEGMENTS * tree.segment_size.bytes() && is_old {
        return critical(check, finding(Behind::Bytes { bytes, stored }));
    }
    ok(check, finding(Behind::Bytes { bytes, stored }))
}

fn archiver(facts: &CheckFacts, server: &ServerPart) -> CheckItem {
    let check = CheckName::Archiver;
    let archiver = &server.health.archiver;
    let ago = |time| age(server.health.now, time);
    let failed =
        archiver.last_failed_at.map(|time| ArchiverFailure { ago: ago(time), file: archiver.last_failed.clone() });
    // What was archived after the failure mended it; a trial that arrived did, too.
    let has_arrived = matches!(facts.trial, Trial::Arrived { .. });
    let is_mended = archiver.last_archived_at > archiver.last_failed_at
        || (has_arrived && failed.as_ref().is_some_and(|failed| failed.ago > Duration::from_secs(60)));
    match (failed, archiver.last_archived_at) {
        (Some(failed), _) if !is_mended => critical(check, ArchivingFinding::ArchiverFails(failed)),
        (failed, Some(time)) => ok(check, ArchivingFinding::Archived { ago: ago(time), failed }),
        // Only one of archive_mode = always would.
        (_, None) if server.health.in_recovery => ok(check, ArchivingFinding::ArchiverIdle),
        (_, None) if has_arrived => ok(check, ArchivingFinding::ArchivedTrial),
        (_, None) => unknown(check, ArchivingFinding::ArchiverUntried),
    }
}

fn waiting(server: &ServerPart) -> CheckItem {
    let check = CheckName::WaitingWal;
    let Some(waiting) = server.health.waiting else {
        return unknown(check, ArchivingFinding::WaitingUnseen { role: server.role.clone() });
    };
    let count = waiting.count;
    let oldest = waiting.oldest.map(|time| age(server.health.now, time)).unwrap_or_default();
    let finding = ArchivingFinding::Waiting { count, oldest };
    if count == 0 {
        ok(check, finding)
    } else if oldest >= WAITING_CRITICAL || count >= WAITING_COUNT_CRITICAL {
        critical(check, finding)
    } else if oldest >= WAITING_WARNING || count >= WAITING_COUNT_WARNING {
        warning(check, finding)
    } else {
        ok(check, finding)
    }
}

/// Whether WAL piles up now.
fn is_piling_up(facts: &CheckFacts, server: &ServerPart) -> bool {
    let is_bad = |item: &CheckItem| item.state >= CheckState::Warning;
    is_bad(&archiver(facts, server)) || is_bad(&waiting(server)) || matches!(facts.trial, Trial::Missing { .. })
}

/// How long so much room lasts in `pg_wal`: at the rate of what was archived, or of what should have been since.
fn lasts(facts: &CheckFacts, server: &ServerPart, tree: &TreeFacts, available_bytes: u64) -> Option<Duration> {
    let archived = tree.rate.and_then(|rate| rate.lasts(available_bytes, tree.segment_size.bytes()));
    let seconds = unarchived(facts, server, tree).and_then(|(bytes, span)| {
        let seconds = (u128::from(available_bytes) * u128::from(span.as_secs())).checked_div(u128::from(bytes))?;
        Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX)))
    });
    archived.into_iter().chain(seconds).min()
}

/// How much the server wrote since the archive got its last, and in how long. None while that is just now and the
/// archiver does not fail: what waits is then being archived.
fn unarchived(facts: &CheckFacts, server: &ServerPart, tree: &TreeFacts) -> Option<(u64, Duration)> {
    let bytes = server.health.end_lsn?.distance_from(tree.end_lsn?)?;
    let stored = age(facts.now, tree.last_segment?.1?);
    let stands_still = stored >= UNARCHIVED_SPAN_MIN || server.health.archiver.fails();
    stands_still.then(|| (bytes, stored.max(UNARCHIVED_SPAN_MIN)))
}

fn wal_room(facts: &CheckFacts, server: &ServerPart) -> CheckItem {
    let check = CheckName::WalRoom;
    let Some((path, room)) = &server.wal_directory else {
        return unknown(check, ServerFinding::WalDirectoryUnseen);
    };
    let tree = facts.tree.as_ref().and_then(|tree| tree.as_ref().ok());
    let available_bytes = room.available_bytes;
    let lasts = tree.and_then(|tree| lasts(facts, server, tree, available_bytes));
    let is_piling_up = is_piling_up(facts, server);
    let percent = available_bytes.saturating_mul(100) / room.total_bytes.max(1);
    let sooner = |limit| lasts.is_some_and(|lasts| lasts < limit);
    let has_rate = tree.is_some_and(|tree| tree.rate.is_some());
    let is_low = tree.is_some_and(|tree| available_bytes < low_room(tree.segment_size))
        || (!has_rate && percent < WAL_ROOM_PERCENT);
    let is_full = tree.is_some_and(|tree| available_bytes < tree.segment_size.bytes());
    let finding = ServerFinding::WalRoom { path: path.clone(), available_bytes, lasts, is_piling_up };
    if is_full || (is_piling_up && (sooner(WAL_ROOM_CRITICAL) || is_low)) {
        critical(check, finding)
    } else if is_piling_up || sooner(WAL_ROOM_WARNING) || is_low {
        warning(check, finding)
    } else {
        ok(check, finding)
    }
}

fn slots(server: &ServerPart) -> CheckItem {
    let check = CheckName::Slots;
    let slots = &server.health.slots;
    let room = server.wal_directory.as_ref().map(|(_, room)| room.available_bytes);
    let flaws = slots.iter().filter_map(|slot| Some((slot.clone(), slot_flaw(slot, room)?)));
    let mut wrong: Vec<(SlotFacts, SlotFlaw)> = flaws.collect();
    wrong.sort_by_key(|(_, flaw)| Reverse(*flaw));
    match wrong.first() {
        None => ok(check, ServerFinding::Slots(slots.clone())),
        Some((_, SlotFlaw::KeepsMoreThanRoom)) => critical(check, ServerFinding::WrongSlots(wrong)),
        Some(_) => warning(check, ServerFinding::WrongSlots(wrong)),
    }
}

/// Who uses a slot may be stuck: that it is in use is no excuse.
fn slot_flaw(slot: &SlotFacts, room: Option<u64>) -> Option<SlotFlaw> {
    let kept = slot.kept_bytes.unwrap_or_default();
    match slot.wal_status.as_deref() {
        Some("lost") => Some(SlotFlaw::Lost),
        _ if room.is_some_and(|room| kept > room) => Some(SlotFlaw::KeepsMoreThanRoom),
        Some("unreserved") => Some(SlotFlaw::MayLose),
        _ => (kept > SLOT_WARNING).then_some(SlotFlaw::KeepsMuch),
    }
}
