//! The server: its settings, its archiver, what waits, its slots, and the room for its WAL.

use std::time::Duration;

use super::{age, critical, low_room, ok, unknown, unseen, warning};
use crate::check::facts::{CheckFacts, ServerPart, Trial};
use crate::check::report::{CheckItem, CheckName, CheckState};
use crate::pg::setting_value::{is_archiving, is_enough_wal, is_on, is_positive, runs_pgv_archive};
use crate::report::{bytes_text, duration_text};
use crate::server::{CHECK_FUNCTIONS, grant_execute};

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
/// Where no rate is known: percent of the file system.
const WAL_ROOM_PERCENT: u64 = 5;
/// An unused slot that keeps more was forgotten.
const SLOT_WARNING: u64 = 1 << 30;
/// An archive this many segments behind is behind, whatever the server says.
const BEHIND_SEGMENTS: u64 = 3;

pub(super) fn all(facts: &CheckFacts) -> Vec<CheckItem> {
    let server = match &facts.server {
        Ok(server) => server,
        Err(problem) => {
            let advice = problem.advice("Is it running, and is the connection right?");
            let unseen_checks = [
                CheckName::Settings,
                CheckName::Archiving,
                CheckName::WaitingWal,
                CheckName::Archiver,
                CheckName::WalRoom,
                CheckName::Slots,
            ];
            let mut items = unseen(&unseen_checks, CheckName::Server);
            items.push(critical(CheckName::Server, problem.text.as_str(), advice));
            return items;
        }
    };
    let role = if server.health.in_recovery { "standby" } else { "primary" };
    vec![
        ok(CheckName::Server, format!("{}, PostgreSQL {}, {role}", server.endpoint, server.version)),
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
    problem: &'static str,
    state: CheckState,
    /// Whether it matters on a standby before that is promoted.
    of_standby: bool,
}

const RULES: [Rule; 9] = [
    rule("wal_level", is_enough_wal, "recovery cannot cross its WAL", CheckState::Critical, true),
    rule("fsync", is_on, "a crash of the host damages the database and its WAL", CheckState::Critical, true),
    rule("archive_mode", is_archiving, "nothing is archived", CheckState::Critical, false),
    rule("archive_library", str::is_empty, "archive_command is not run", CheckState::Critical, false),
    rule("archive_command", is_ours, "WAL does not come to this repository", CheckState::Critical, false),
    rule("max_wal_senders", is_positive, "no base backup can be streamed", CheckState::Warning, true),
    rule(
        "full_page_writes",
        is_on,
        "pages torn by a crash stay so; backups of standbys fail",
        CheckState::Warning,
        true,
    ),
    rule(
        "archive_timeout",
        is_positive,
        "what was committed last waits until a segment is full",
        CheckState::Warning,
        false,
    ),
    rule("data_checksums", is_on, "pages that the disk changed are not noticed", CheckState::Ok, true),
];

const fn rule(
    name: &'static str,
    accepts: fn(&str) -> bool,
    problem: &'static str,
    state: CheckState,
    of_standby: bool,
) -> Rule {
    Rule { name, accepts, problem, state, of_standby }
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
                notes.push(format!("{} was changed and waits for a restart", rule.name));
                state = state.max(CheckState::Warning);
            }
            continue;
        }
        let text = format!("{} = '{}': {}", rule.name, setting.value, rule.problem);
        if rule.state == CheckState::Ok {
            notes.push(text)
        } else {
            problems.push(text)
        }
        state = state.max(rule.state);
    }
    problems.extend(notes);
    let found = if problems.is_empty() { "none breaks archiving or recovery".to_owned() } else { problems.join("; ") };
    let advice = "pgv init prints each line, the file that it belongs in, and whether it takes a restart.";
    let advice = (state != CheckState::Ok).then(|| advice.to_owned());
    CheckItem { check: CheckName::Settings, state, found, advice }
}

fn archiving(facts: &CheckFacts, server: &ServerPart) -> CheckItem {
    let check = CheckName::Archiving;
    match &facts.trial {
        Trial::Arrived { segment, took } => {
            ok(check, format!("segment {segment} arrived in {}.{} s", took.as_secs(), took.subsec_millis() / 100))
        }
        Trial::Missing { segment, waited } => {
            let found = format!("segment {segment} did not arrive within {} s", waited.as_secs());
            critical(check, found, "The server's log has what pgv-archive said; pg_stat_archiver the last failure.")
        }
        Trial::Failed { problem, is_permission_denied: true } => {
            unknown(check, problem.clone(), format!("{} or look only, with --no-switch", grant(server)))
        }
        Trial::Failed { problem, .. } => unknown(check, problem.clone(), "Try again, or look only, with --no-switch."),
        Trial::NotMade(why) => behind(facts, server, why),
    }
}

/// The SQL that `pgv init` prints, too.
fn grant(server: &ServerPart) -> String {
    grant_execute(&CHECK_FUNCTIONS, &format!("\"{}\"", server.role.replace('"', "\"\"")))
}

/// Without a trial: how far the archive is behind the server.
fn behind(facts: &CheckFacts, server: &ServerPart, why: &str) -> CheckItem {
    let check = CheckName::Archiving;
    let tree = facts.tree.as_ref().and_then(|tree| tree.as_ref().ok());
    let Some(tree) = tree else {
        return unknown(check, why, "What is archived cannot be read: see the line of repository.");
    };
    let Some(archive_end) = tree.end_lsn else {
        return critical(check, format!("{why}; no WAL is archived"), "Is archive_command set? pgv init prints it.");
    };
    let Some(server_end) = server.health.end_lsn else {
        let found = format!("{why}; the server does not say where its WAL ends");
        return unknown(check, found, "A standby says so once it has replayed something.");
    };
    let bytes = server_end.distance_from(archive_end).unwrap_or_default();
    let last = tree.last_segment.and_then(|(_, archived)| archived);
    let stored =
        last.map_or_else(String::new, |time| format!(", last stored {} ago", duration_text(age(facts.now, time))));
    let found = format!("{why}; the archive ends {} behind the server{stored}", bytes_text(bytes));
    let is_old = last.is_none_or(|time| age(facts.now, time) > WAITING_WARNING);
    if bytes > BEHIND_SEGMENTS * tree.segment_size.bytes() && is_old {
        return critical(
            check,
            found,
            "The server's log has what pgv-archive said; pg_stat_archiver the last failure.",
        );
    }
    ok(check, found)
}

fn archiver(facts: &CheckFacts, server: &ServerPart) -> CheckItem {
    let check = CheckName::Archiver;
    let archiver = &server.health.archiver;
    let ago = |time| duration_text(age(server.health.now, time));
    let failed = archiver.last_failed_at.map(|time| {
        format!("it failed {} ago at {}", ago(time), archiver.last_failed.as_deref().unwrap_or("an unknown file"))
    });
    // What was archived after the failure mended it; a trial that arrived did, too.
    let is_mended = archiver.last_archived_at > archiver.last_failed_at
        || matches!((&facts.trial, archiver.last_failed_at), (Trial::Arrived { .. }, Some(time))
            if age(server.health.now, time) > Duration::from_secs(60));
    match (failed, archiver.last_archived_at) {
        (Some(failed), _) if !is_mended => {
            let advice =
                "The server's log says why, with pgv-archive's own words; docs/exit-statuses.md has each status.";
            critical(check, format!("{failed}, and has archived nothing since"), advice)
        }
        (failed, Some(time)) => {
            let before = failed.map_or_else(String::new, |failed| format!("; {failed}, and works again"));
            ok(check, format!("last archived {} ago{before}", ago(time)))
        }
        // Only one of archive_mode = always would.
        (_, None) if server.health.in_recovery => ok(check, "a standby, whose archiver has nothing to do"),
        (_, None) if matches!(facts.trial, Trial::Arrived { .. }) => ok(check, "it has archived that segment alone"),
        (_, None) => {
            let found = "it has archived nothing and failed at nothing since its statistics were reset";
            unknown(check, found, "Without --no-switch, pgv check gives it a segment to archive.")
        }
    }
}

fn waiting(server: &ServerPart) -> CheckItem {
    let check = CheckName::WaitingWal;
    let Some(waiting) = server.health.waiting else {
        return unknown(check, "the role may not see what waits", grant(server));
    };
    let oldest = waiting.oldest.map(|time| age(server.health.now, time)).unwrap_or_default();
    if waiting.count == 0 {
        return ok(check, "nothing waits to be archived");
    }
    let found = format!("{} files wait, the oldest for {}", waiting.count, duration_text(oldest));
    let advice = "Is the archiver failing (see there), or is the repository slower than the WAL comes?";
    if oldest >= WAITING_CRITICAL || waiting.count >= WAITING_COUNT_CRITICAL {
        critical(check, found, advice)
    } else if oldest >= WAITING_WARNING || waiting.count >= WAITING_COUNT_WARNING {
        warning(check, found, advice)
    } else {
        ok(check, found)
    }
}

/// Whether WAL piles up now.
fn is_piling_up(facts: &CheckFacts, server: &ServerPart) -> bool {
    let is_bad = |item: &CheckItem| item.state >= CheckState::Warning;
    is_bad(&archiver(facts, server)) || is_bad(&waiting(server)) || matches!(facts.trial, Trial::Missing { .. })
}

fn wal_room(facts: &CheckFacts, server: &ServerPart) -> CheckItem {
    let check = CheckName::WalRoom;
    let Some((path, room)) = &server.wal_directory else {
        let advice = "Run pgv check on the database host, with a role that has pg_read_all_settings.";
        return unknown(check, "where pg_wal is cannot be seen from here", advice);
    };
    let tree = facts.tree.as_ref().and_then(|tree| tree.as_ref().ok());
    let lasts = tree.and_then(|tree| tree.rate?.lasts(room.available_bytes, tree.segment_size.bytes()));
    let free = format!("{} free at \"{}\"", bytes_text(room.available_bytes), path.display());
    let is_piling_up = is_piling_up(facts, server);
    let found = match lasts {
        Some(lasts) if is_piling_up => {
            format!("{free}, full in {} at the present rate: WAL is not leaving it", duration_text(lasts))
        }
        Some(lasts) => format!("{free}, enough for {} if archiving stopped", duration_text(lasts)),
        None => free,
    };
    let advice = "A full pg_wal stops the server. Mend archiving, drop unused slots, or enlarge the file system; \
                  never remove files from pg_wal by hand.";
    let percent = room.available_bytes.saturating_mul(100) / room.total_bytes.max(1);
    let sooner = |limit| lasts.is_some_and(|lasts| lasts < limit);
    let has_rate = tree.is_some_and(|tree| tree.rate.is_some());
    let is_low = tree.is_some_and(|tree| room.available_bytes < low_room(tree.segment_size))
        || (!has_rate && percent < WAL_ROOM_PERCENT);
    let is_full = tree.is_some_and(|tree| room.available_bytes < tree.segment_size.bytes());
    if is_full || (is_piling_up && (sooner(WAL_ROOM_CRITICAL) || is_low)) {
        critical(check, found, advice)
    } else if is_piling_up || sooner(WAL_ROOM_WARNING) || is_low {
        warning(check, found, advice)
    } else {
        ok(check, found)
    }
}

fn slots(server: &ServerPart) -> CheckItem {
    let check = CheckName::Slots;
    let slots = &server.health.slots;
    let status = |slot: &&crate::server::SlotFacts, word: &str| slot.wal_status.as_deref() == Some(word);
    let describe = |slot: &crate::server::SlotFacts| {
        let use_text = if slot.active { "in use" } else { "not in use" };
        format!("\"{}\" ({use_text}) keeps {}", slot.name, bytes_text(slot.kept_bytes.unwrap_or_default()))
    };
    if let Some(lost) = slots.iter().find(|slot| status(slot, "lost")) {
        let advice = format!("Who used it must be made anew. SELECT pg_drop_replication_slot('{}');", lost.name);
        return warning(check, format!("\"{}\" has lost WAL that it should keep", lost.name), advice);
    }
    let largest = slots.iter().max_by_key(|slot| (!slot.active, slot.kept_bytes));
    let Some(largest) = largest else { return ok(check, "there are none") };
    let kept = largest.kept_bytes.unwrap_or_default();
    let room = server.wal_directory.as_ref().map(|(_, room)| room.available_bytes);
    let advice = format!("If nobody will use it any more: SELECT pg_drop_replication_slot('{}');", largest.name);
    let found = describe(largest);
    if room.is_some_and(|room| kept > room) && !largest.active {
        return critical(check, format!("{found}, more than the file system has left"), advice);
    }
    if kept > SLOT_WARNING && !largest.active {
        return warning(check, found, advice);
    }
    let all: Vec<String> = slots.iter().map(describe).collect();
    ok(check, all.join("; "))
}
