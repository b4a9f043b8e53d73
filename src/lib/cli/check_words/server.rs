//! Of the server, and of the way of its WAL into the archive.

use std::path::Path;

use super::{Words, free_at, hints_or};
use crate::check::{
    ArchiverFailure, ArchivingFinding, Behind, Broken, ServerFinding, SettingFinding, SlotFlaw, Untried,
};
use crate::cli::program::Program;
use crate::cli::size::{bytes_text, duration_text};
use crate::cli::typed::Typed;
use crate::error::chain;
use crate::pg::{TARGET_TIMELINE_SETTING, shell_quote};
use crate::server::{CHECK_FUNCTIONS, FileSetting, SlotFacts, grant_execute};

const SEE_LOG: &str = "The server's log has what pgv-archive said; pg_stat_archiver the last failure.";

pub(super) fn of_server(finding: &ServerFinding, typed: &Typed) -> Words {
    match finding {
        ServerFinding::Unreachable(cause) => {
            Words::of(chain(cause)).then(hints_or(cause, typed, "Is it running, and is the connection right?"))
        }
        ServerFinding::Answers { endpoint, version, in_recovery } => {
            let role = if *in_recovery { "standby" } else { "primary" };
            Words::of(format!("{endpoint}, PostgreSQL {version}, {role}"))
        }
        ServerFinding::Settings(found) if found.is_empty() => Words::of("none breaks archiving or recovery"),
        ServerFinding::Settings(found) => {
            Words::of(found.iter().map(setting_text).collect::<Vec<_>>().join("; ")).then(setting_advice(found, typed))
        }
        ServerFinding::WalDirectoryUnseen => Words::of("where pg_wal is cannot be seen from here")
            .then("Run pgv check on the database host, with a role that has pg_read_all_settings."),
        ServerFinding::WalRoom { path, available_bytes, lasts, is_piling_up } => {
            let lasts = match (lasts.map(duration_text), is_piling_up) {
                (Some(lasts), true) => format!(", full in {lasts} at the present rate: WAL is not leaving it"),
                (None, true) => ": WAL is not leaving it".to_owned(),
                (Some(lasts), false) => format!(", enough for {lasts} if archiving stopped"),
                (None, false) => String::new(),
            };
            Words::of(free_at(*available_bytes, path) + &lasts).then(
                "A full pg_wal stops the server. Mend archiving, drop unused slots, or enlarge the file system; never \
                 remove files from pg_wal by hand.",
            )
        }
        ServerFinding::Slots(slots) if slots.is_empty() => Words::of("there are none"),
        ServerFinding::Slots(slots) => Words::of(slots.iter().map(slot_text).collect::<Vec<_>>().join("; ")),
        ServerFinding::WrongSlots(wrong) => {
            let joined = |text: fn(&SlotFacts, SlotFlaw) -> String, separator: &str| {
                wrong.iter().map(|(slot, flaw)| text(slot, *flaw)).collect::<Vec<_>>().join(separator)
            };
            Words::of(joined(flaw_text, "; ")).then(joined(slot_advice, " "))
        }
    }
}

fn setting_text(finding: &SettingFinding) -> String {
    let (name, value, what) = match finding {
        SettingFinding::Waits { name } => return format!("{name} was changed and waits for a restart"),
        SettingFinding::SwitchedOff { directory } => {
            return format!("a restore switched archiving off in \"{}\"", directory.display());
        }
        SettingFinding::LeftOver { setting: FileSetting { name, value, file }, .. } => {
            let what = match name.as_str() {
                TARGET_TIMELINE_SETTING => "a standby made of this server follows that timeline alone",
                _ => "the next recovery of this server, or of a standby made of it, stops there",
            };
            return format!("{name} = '{value}' is left over in \"{}\": {what}", file.display());
        }
        SettingFinding::Breaks { name, value, what } => (name, value, what),
    };
    let what = match what {
        Broken::Recovery => "recovery cannot cross its WAL",
        Broken::CrashSafety => "a crash of the host damages the database and its WAL",
        Broken::Archiving => "nothing is archived",
        Broken::ArchiveCommand => "archive_command is not run",
        Broken::ThisRepository => "WAL does not come to this repository",
        Broken::StreamedBackups => "no base backup can be streamed",
        Broken::TornPages => "pages torn by a crash stay so; backups of standbys fail",
        Broken::LastCommits => "what was committed last waits until a segment is full",
        Broken::DamageNoticed => "pages that the disk changed are not noticed",
    };
    format!("{name} = '{value}': {what}")
}

fn setting_advice(found: &[SettingFinding], typed: &Typed) -> String {
    // That takes out left-over targets, too.
    let switched_off = found.iter().find_map(|finding| match finding {
        SettingFinding::SwitchedOff { directory } => Some(directory),
        SettingFinding::Breaks { .. } | SettingFinding::Waits { .. } | SettingFinding::LeftOver { .. } => None,
    });
    if let Some(directory) = switched_off {
        return give_back(directory, typed);
    }
    let (mut breaks_crash_safety, mut is_for_init) = (false, false);
    let mut parts: Vec<String> = Vec::new();
    for finding in found {
        match finding {
            SettingFinding::Breaks { what: Broken::CrashSafety, .. } => breaks_crash_safety = true,
            // Checksums cannot be had by a line in a file.
            SettingFinding::Waits { .. }
            | SettingFinding::SwitchedOff { .. }
            | SettingFinding::Breaks { what: Broken::DamageNoticed, .. } => {}
            SettingFinding::Breaks { .. } => is_for_init = true,
            SettingFinding::LeftOver { setting, data_directory } => {
                let advice = left_over_advice(setting, data_directory.as_deref(), typed);
                if !parts.contains(&advice) {
                    parts.push(advice);
                }
            }
        }
    }
    if breaks_crash_safety {
        parts.push("ALTER SYSTEM SET fsync = on; SELECT pg_reload_conf();".to_owned());
    }
    if is_for_init {
        parts
            .push("pgv init prints each line, the file that it belongs in, and whether it takes a restart.".to_owned());
    } else if parts.is_empty() {
        parts.push("Restart the server when that suits.".to_owned());
    }
    parts.join(" ")
}

/// pgv-recovery-conf touches no other file than that of ALTER SYSTEM.
fn left_over_advice(setting: &FileSetting, data_directory: Option<&Path>, typed: &Typed) -> String {
    if !setting.file.ends_with("postgresql.auto.conf") {
        return format!("Take {} out of \"{}\".", setting.name, setting.file.display());
    }
    let directory = data_directory.or(setting.file.parent()).unwrap_or(Path::new("DIR"));
    let clear = format!("--clear -D {}", shell_quote(&directory.to_string_lossy()));
    format!("Take it out: {}", typed.program_alone(Program::RecoveryConf, &clear))
}

fn slot_text(slot: &SlotFacts) -> String {
    let use_text = if slot.active { "in use" } else { "not in use" };
    // The server keeps as much as max_wal_size for itself, too.
    let extended = if slot.wal_status.as_deref() == Some("extended") { ", more than max_wal_size" } else { "" };
    format!("\"{}\" ({use_text}) keeps {}{extended}", slot.name, bytes_text(slot.kept_bytes.unwrap_or_default()))
}

fn flaw_text(slot: &SlotFacts, flaw: SlotFlaw) -> String {
    match flaw {
        SlotFlaw::Lost => format!("\"{}\" has lost WAL that it should keep", slot.name),
        SlotFlaw::KeepsMoreThanRoom => format!("{}, more than the file system has left", slot_text(slot)),
        SlotFlaw::MayLose => format!("{}, and may lose it at the next checkpoint", slot_text(slot)),
        SlotFlaw::KeepsMuch => slot_text(slot),
    }
}

fn slot_advice(slot: &SlotFacts, flaw: SlotFlaw) -> String {
    let name = &slot.name;
    let drop = format!("SELECT pg_drop_replication_slot('{name}');");
    match flaw {
        SlotFlaw::Lost => format!("Who used \"{name}\" must be made anew: {drop}"),
        _ if slot.active => {
            format!("Who uses \"{name}\" does not keep up or is stuck: pg_stat_replication has its host and its state.")
        }
        SlotFlaw::MayLose => {
            format!("Start who uses \"{name}\", or raise max_slot_wal_keep_size; if nobody will: {drop}")
        }
        SlotFlaw::KeepsMuch | SlotFlaw::KeepsMoreThanRoom => format!("If nobody will use \"{name}\" any more: {drop}"),
    }
}

pub(super) fn of_archiving(finding: &ArchivingFinding, typed: &Typed) -> Words {
    match finding {
        ArchivingFinding::Arrived { segment, took } => {
            Words::of(format!("segment {segment} arrived in {}.{} s", took.as_secs(), took.subsec_millis() / 100))
        }
        ArchivingFinding::Missing { segment, waited } => {
            Words::of(format!("segment {segment} did not arrive within {} s", waited.as_secs())).then(SEE_LOG)
        }
        ArchivingFinding::Denied { cause, role } => {
            Words::of(chain(cause)).then(format!("{} or look only, with --no-switch", grant(role)))
        }
        ArchivingFinding::Failed(cause) => {
            Words::of(chain(cause)).then(hints_or(cause, typed, "Try again, or look only, with --no-switch."))
        }
        ArchivingFinding::Untried { why, behind } => untried(*why, *behind),
        ArchivingFinding::SwitchedOff { directory } => {
            Words::of("the server archives nothing, so it was not asked to end a segment")
                .then(give_back(directory, typed))
        }
        ArchivingFinding::WaitingUnseen { role } => Words::of("the role may not see what waits").then(grant(role)),
        ArchivingFinding::Waiting { count: 0, .. } => Words::of("nothing waits to be archived"),
        ArchivingFinding::Waiting { count, oldest } => {
            let oldest = duration_text(*oldest);
            let one = || format!("1 file waits, for {oldest}");
            Words::of(if *count == 1 { one() } else { format!("{count} files wait, the oldest for {oldest}") })
                .then("Is the archiver failing (see there), or is the repository slower than the WAL comes?")
        }
        ArchivingFinding::ArchiverFails(failure) => {
            Words::of(format!("{}, and has archived nothing since", failure_text(failure)))
                .then("The server's log says why, with pgv-archive's own words; docs/exit-statuses.md has each status.")
        }
        ArchivingFinding::Archived { ago, failed } => {
            let before = failed
                .as_ref()
                .map_or_else(String::new, |failed| format!("; {}, and works again", failure_text(failed)));
            Words::of(format!("last archived {} ago{before}", duration_text(*ago)))
        }
        ArchivingFinding::ArchiverIdle => Words::of("a standby, whose archiver has nothing to do"),
        ArchivingFinding::ArchivedTrial => Words::of("it has archived that segment alone"),
        ArchivingFinding::ArchiverUntried => {
            Words::of("it has archived nothing and failed at nothing since its statistics were reset")
                .then("Without --no-switch, pgv check gives it a segment to archive.")
        }
    }
}

/// What a restore switched off comes back by this alone.
fn give_back(directory: &Path, typed: &Typed) -> String {
    let clear = format!("--clear --everything -D {}", shell_quote(&directory.to_string_lossy()));
    let clear = typed.program_alone(Program::RecoveryConf, &clear);
    format!("If this copy takes its original's place: {clear}; then restart it.")
}

/// Without a trial: how far the archive is behind the server.
fn untried(why: Untried, behind: Behind) -> Words {
    let why = match why {
        Untried::NotAsked => "not tried",
        Untried::Standby => "a standby ends no segments; check its primary, too",
        Untried::ArchivingOff => {
            return Words::of("the server archives nothing, so it was not asked to end a segment").then(
                "Set archiving up: pgv init prints it. What pgv-restore has switched off in a copy that takes over comes back \
                 with pgv-recovery-conf --clear --everything -D DIR, and a restart.",
            );
        }
    };
    match behind {
        Behind::ArchiveUnread => Words::of(why).then("What is archived cannot be read: see the line of repository."),
        Behind::NothingArchived => {
            Words::of(format!("{why}; no WAL is archived")).then("Is archive_command set? pgv init prints it.")
        }
        Behind::ServerUnknown => Words::of(format!("{why}; the server does not say where its WAL ends"))
            .then("A standby says so once it has replayed something."),
        Behind::Bytes { bytes, stored } => {
            let stored =
                stored.map_or_else(String::new, |stored| format!(", last stored {} ago", duration_text(stored)));
            Words::of(format!("{why}; the archive ends {} behind the server{stored}", bytes_text(bytes))).then(SEE_LOG)
        }
    }
}

/// The SQL that `pgv init` prints, too.
fn grant(role: &str) -> String {
    grant_execute(&CHECK_FUNCTIONS, &format!("\"{}\"", role.replace('"', "\"\"")))
}

fn failure_text(failure: &ArchiverFailure) -> String {
    let file = failure.file.as_deref().unwrap_or("an unknown file");
    format!("it failed {} ago at {file}", duration_text(failure.ago))
}
