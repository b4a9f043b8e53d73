//! What to do after a restore: numbered steps, each with the command that does it where it is pasted.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use super::copy_server::CopyServer;
use super::program::Program;
use super::proof_text::target_options;
use super::typed::Typed;
use crate::fs::real_path;
use crate::pg::{
    PgMajorVersion, RecoveryMode, RecoveryTarget, RecoveryTargetAction, RecoveryTargetTimeline, RestoredArchiving,
    shell_quote,
};
use crate::restore::start::Settled;
use crate::restore::{RestoreOptions, RestorePlan, RestoreReport};

/// One thing to do next, and the command for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct NextStep {
    /// What it is for.
    pub(super) what: String,
    /// The command, to be pasted.
    pub(super) command: String,
}

/// What to do next.
pub(super) fn next_steps(
    report: &RestoreReport,
    options: &RestoreOptions,
    server: &CopyServer,
    typed: &Typed,
) -> Vec<NextStep> {
    let plan = &report.plan;
    let step = |what: &str, command: String| NextStep { what: what.to_owned(), command };
    let psql = |sql: &str| typed.other(&format!("{} -c {}", server.psql_command(), shell_quote(sql)));
    let mut steps = Vec::new();
    let stops = plan.action == RecoveryTargetAction::Shutdown && plan.target != RecoveryTarget::Latest;
    if stops && server.settled == Some(Settled::ShutDown) {
        // It was started, and would stop again.
    } else if !server.is_running() {
        let start = typed.other(&server.start_command());
        steps.push(step("Start it (its log is beside the data directory):", start));
    }
    if plan.mode == RecoveryMode::Standby {
        steps.push(step("Watch it follow:", psql("SELECT pg_last_wal_replay_lsn(), pg_last_xact_replay_timestamp()")));
        steps.push(step("When it is to replace the primary, which must be gone:", psql("SELECT pg_promote()")));
        let line = format!("pgdata = \"{}\"", plan.directory.display());
        steps.push(step("So that it can archive then, in the configuration of pgv on its host:", line));
        return steps;
    }
    if plan.action == RecoveryTargetAction::Pause && plan.target != RecoveryTarget::Latest {
        let state = pause_state(plan.record.major_version);
        let sql = format!("SELECT {state}, pg_last_xact_replay_timestamp()");
        steps.push(step("Look: once it is paused at the target, it can be read:", psql(&sql)));
        steps.extend(other_moments(plan, options, server, typed));
        steps.push(step("Right? Open it for writing, on a new timeline:", psql("SELECT pg_promote()")));
    } else if stops {
        steps.push(step(
            "It stops at the target, again whenever it is started. Once it has stopped, let it open there:",
            opened_at_target(plan, options, server, typed),
        ));
    } else if server.settled != Some(Settled::Opened) {
        steps.push(step("Wait until it has opened:", psql("SELECT pg_is_in_recovery()")));
    }
    steps.extend(of_settings(report, options, server, typed));
    let options = format!("{} --checkpoint fast", server.connection_options());
    let what = "Once it archives, take a backup of it soon:";
    steps.push(step(what, typed.program(Program::BaseBackup, options.trim_start())));
    steps
}

/// What gives back what was switched off.
fn of_settings(report: &RestoreReport, options: &RestoreOptions, server: &CopyServer, typed: &Typed) -> Vec<NextStep> {
    let plan = &report.plan;
    let clear =
        |what: &str| typed.program_alone(Program::RecoveryConf, &format!("--clear --{what} -D {}", directory(plan)));
    let step = |what: &str, command: String| NextStep { what: what.to_owned(), command };
    let mut steps = Vec::new();
    let is_harmless = !plan.copy.trust.is_kept();
    if is_harmless && report.settings.needs_giving_back() {
        let what =
            "If it needs settings that were switched off: give them back, then restart it; it still does not archive:";
        steps.push(step(what, clear("trust-config")));
    }
    if options.settings.archiving == RestoredArchiving::Off {
        let what = match is_harmless {
            true => {
                "If it takes its original's place: let it archive and do all that its configuration says, then restart it:"
            }
            false => "If it takes its original's place: let it archive again, then restart it:",
        };
        steps.push(step(what, clear("everything")));
        let is_configured = options.pgdata.as_ref().is_none_or(|pgdata| {
            *pgdata == plan.directory || real_path(pgdata).is_ok_and(|real| real == plan.directory)
        });
        if !is_configured {
            let line = format!("pgdata = \"{}\"", plan.directory.display());
            steps.push(step("So that pgv-archive serves it there, in the configuration of pgv:", line));
        }
    }
    if !steps.is_empty() {
        steps.push(step("To restart it:", typed.other(&server.restart_command())));
    }
    steps
}

/// What tells whether replay is paused. COMPAT: 13 knows only that it was told to, by its target too.
fn pause_state(major: PgMajorVersion) -> &'static str {
    if major.get() >= 14 { "pg_get_wal_replay_pause_state()" } else { "pg_is_wal_replay_paused()" }
}

/// Names the target once more with another action, and starts.
fn opened_at_target(plan: &RestorePlan, options: &RestoreOptions, server: &CopyServer, typed: &Typed) -> String {
    let target = target_options(&plan.target);
    let mut open = format!("--write -D {} {target} --target-action promote", directory(plan));
    if options.settings.archiving == RestoredArchiving::Unchanged {
        open.push_str(" --keep-archiving");
    }
    format!("{} && {}", typed.program(Program::RecoveryConf, &open), typed.other(&server.start_command()))
}

/// To a later moment replay goes on from where it is; to an earlier one no server goes back.
fn other_moments(plan: &RestorePlan, options: &RestoreOptions, server: &CopyServer, typed: &Typed) -> [NextStep; 2] {
    let stop = typed.other(&server.stop_command());
    let mut later = format!("--write -D {} --target-time 'LATER'", directory(plan));
    if options.settings.archiving == RestoredArchiving::Unchanged {
        later.push_str(" --keep-archiving");
    }
    let mut earlier = format!("-D {} --move-aside --target-time 'EARLIER'", directory(plan));
    if let RecoveryTargetTimeline::Id(timeline) = options.timeline {
        let _ = write!(earlier, " --target-timeline {timeline}");
    }
    for tablespace in plan.tablespaces.iter().filter(|tablespace| tablespace.path != tablespace.original) {
        let escaped = |path: &Path| path.display().to_string().replace('=', r"\=");
        let mapping = format!("{}={}", escaped(&tablespace.original), escaped(&tablespace.path));
        let _ = write!(earlier, " -T {}", shell_quote(&mapping));
    }
    let later = typed.program(Program::RecoveryConf, &later);
    let earlier = typed.program(Program::Restore, &earlier);
    let (how, start) = match server.is_running() {
        true => ("start it again", format!(" && {}", typed.other(&server.start_command()))),
        false => ("start it again as in step 1", String::new()),
    };
    [
        NextStep {
            what: format!("Too early? Name a later moment, and {how}; it goes on:"),
            command: format!("{stop} && {later}{start}"),
        },
        NextStep {
            what: "Too late? It cannot go back: restore once more:".to_owned(),
            command: format!("{stop} && {earlier}"),
        },
    ]
}

fn directory(plan: &RestorePlan) -> String {
    shell_quote(&plan.directory.display().to_string())
}
