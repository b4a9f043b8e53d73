//! What to do after a restore: numbered steps, each with the command that does it where it is pasted.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde::Serialize;

use super::program::Program;
use super::typed::{Typed, server_program};
use crate::pg::{
    PgMajorVersion, RecoveryMode, RecoveryTarget, RecoveryTargetAction, RecoveryTargetTimeline, RestoredArchiving,
    shell_quote,
};
use crate::restore::{RestoreOptions, RestorePlan, RestoreReport};

/// LIMIT: ports that are tried for a copy beside its original.
const PORTS_TRIED: usize = 100;

/// One thing to do next, and the command for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct NextStep {
    /// What it is for.
    pub(super) what: String,
    /// The command, to be pasted.
    pub(super) command: String,
}

/// What to do next.
pub(super) fn next_steps(report: &RestoreReport, options: &RestoreOptions, typed: &Typed) -> Vec<NextStep> {
    let plan = &report.plan;
    let step = |what: &str, command: String| NextStep { what: what.to_owned(), command };
    let psql = |sql: &str| typed.other(&format!("{} -c {}", psql_command(plan), shell_quote(sql)));
    let start = typed.other(&start_command(report));
    let mut steps = vec![step("Start it (its log is beside the data directory):", start)];
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
        steps.extend(other_moments(plan, options, typed));
        steps.push(step("Right? Open it for writing, on a new timeline:", psql("SELECT pg_promote()")));
    } else {
        steps.push(step("Wait until it has opened:", psql("SELECT pg_is_in_recovery()")));
    }
    if options.settings.archiving == RestoredArchiving::Off {
        let arguments = format!("--clear --everything -D {}", directory(plan));
        let command = typed.program_alone(Program::RecoveryConf, &arguments);
        steps.push(step("If it takes its original's place: let it archive again, then restart it:", command));
    }
    steps.push(step("Take a backup of it soon:", typed.program(Program::BaseBackup, "--checkpoint fast")));
    steps
}

/// What tells whether replay is paused. COMPAT: 13 knows only that it was told to, by its target too.
fn pause_state(major: PgMajorVersion) -> &'static str {
    if major.get() >= 14 { "pg_get_wal_replay_pause_state()" } else { "pg_is_wal_replay_paused()" }
}

/// To a later moment replay goes on from where it is; to an earlier one no server goes back.
fn other_moments(plan: &RestorePlan, options: &RestoreOptions, typed: &Typed) -> [NextStep; 2] {
    let stop =
        format!("{} -D {} stop", server_program(Some(plan.record.major_version.get()), "pg_ctl"), directory(plan));
    let stop = typed.other(&stop);
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
    [
        NextStep {
            what: "Too early? Name a later moment, and start it again as in step 1; it goes on:".to_owned(),
            command: format!("{stop} && {later}"),
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

/// The command that starts the restored server, whatever its configuration says about other directories.
fn start_command(report: &RestoreReport) -> String {
    let plan = &report.plan;
    let quoted = |path: &Path| shell_quote(&path.display().to_string());
    let mut log = plan.directory.clone().into_os_string();
    log.push(".log");
    let setting = |(name, value): &(String, String)| format!("-c {}", shell_quote(&format!("{name}={value}")));
    let mut command_line = report.configuration.command_line.clone();
    if let Some(port) = other_port(plan) {
        command_line.retain(|(name, _)| name != "port");
        command_line.push(("port".to_owned(), port.to_string()));
    }
    let settings: Vec<String> = command_line.iter().map(setting).collect();
    let options = if settings.is_empty() { String::new() } else { format!(" -o {}", shell_quote(&settings.join(" "))) };
    let program = server_program(Some(plan.record.major_version.get()), "pg_ctl");
    format!("{program} -D {}{options} -l {} start", quoted(&plan.directory), quoted(Path::new(&log)))
}

fn psql_command(plan: &RestorePlan) -> String {
    let setting = |name| plan.record.setting(name);
    let mut command = server_program(Some(plan.record.major_version.get()), "psql");
    let socket = setting("unix_socket_directories").and_then(|list| list.split(',').next()).map(str::trim);
    if let Some(socket) = socket.filter(|socket| !socket.is_empty()) {
        let _ = write!(command, " -h {}", shell_quote(socket));
    }
    let port = other_port(plan).map(|port| port.to_string());
    if let Some(port) = port.as_deref().or(setting("port")) {
        let _ = write!(command, " -p {port}");
    }
    command + " -d postgres"
}

/// A free port, when somebody else, the original most likely, answers at the recorded one: the copy could not start
/// there, and what is meant for it would go to the other server.
fn other_port(plan: &RestorePlan) -> Option<u16> {
    let recorded: u16 = plan.record.setting("port")?.parse().ok()?;
    let folders: Vec<&str> =
        plan.record.setting("unix_socket_directories").unwrap_or_default().split(',').map(str::trim).collect();
    let is_used = |port: u16| {
        let socket = |folder: &&str| UnixStream::connect(Path::new(folder).join(format!(".s.PGSQL.{port}"))).is_ok();
        folders.iter().filter(|folder| !folder.is_empty()).any(socket)
            || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
    };
    if !is_used(recorded) {
        return None;
    }
    (recorded.checked_add(1)?..=u16::MAX).take(PORTS_TRIED).find(|port| !is_used(*port))
}
