//! What pgv-restore says: the plan, the last words, and both for programs.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde::Serialize;

use super::size::{bytes_text, local_text, local_zone, utc_and_local_text};
use crate::pg::{
    RecoveryMode, RecoveryTarget, RecoveryTargetAction, RecoveryTargetTimeline, RestoredArchiving, format_target_time,
    shell_quote,
};
use crate::repository::ClusterRef;
use crate::restore::{DirectoryAction, RestoreOptions, RestorePlan, RestoreReport, Room, TablespacePlan, WalCoverage};

/// LIMIT: ports that are tried for a copy beside its original.
const PORTS_TRIED: usize = 100;
/// Where Debian's packages have the programs of a version.
const DEBIAN_PROGRAMS: &str = "/usr/lib/postgresql";

/// The plan, for people.
pub(super) fn plan_text(cluster: &ClusterRef, plan: &RestorePlan, options: &RestoreOptions) -> String {
    let record = &plan.record;
    let mut text = format!(
        "Restore of cluster {cluster} (PostgreSQL {}) into \"{}\", {}\n",
        record.major_version,
        plan.directory.display(),
        action_text(plan.directory_action),
    );
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<11} {value}");
    };
    line("backup", format!("{}, {}, consistent at {}", record.id, record.label, record.stop_lsn));
    line("", time_text(record.stop_time));
    line("target", target_text(plan));
    line("timelines", timelines_text(plan));
    line("WAL", wal_text(&plan.coverage));
    for tablespace in &plan.tablespaces {
        let TablespacePlan { oid, original, path, action } = tablespace;
        let (original, path) = (original.display(), path.display());
        line("tablespace", format!("{oid}, \"{original}\" to \"{path}\", {}", action_text(*action)));
    }
    for Room { path, needed_bytes, available_bytes } in &plan.room {
        let (needed, available) = (bytes_text(*needed_bytes), bytes_text(*available_bytes));
        line("room", format!("{needed} of {available} left at \"{}\"", path.display()));
    }
    line("archiving", archiving_text(plan, options).to_owned());
    text
}

fn action_text(action: DirectoryAction) -> &'static str {
    match action {
        DirectoryAction::Create => "which is created",
        DirectoryAction::Fill => "which is empty",
        DirectoryAction::EmptyAndFill => "which a killed restore left and which is emptied",
        DirectoryAction::MoveAside => "whose present content is renamed",
    }
}

fn target_text(plan: &RestorePlan) -> String {
    let action = match plan.action {
        RecoveryTargetAction::Pause => "pauses there, open for reading",
        RecoveryTargetAction::Promote => "opens there",
        RecoveryTargetAction::Shutdown => "stops there",
    };
    match (&plan.target, plan.mode) {
        (_, RecoveryMode::Standby) => match plan.target_timeline {
            RecoveryTargetTimeline::Id(timeline) => {
                format!("none: it becomes a standby that stays on timeline {timeline}, also when its primary leaves it")
            }
            _ => "none: it becomes a standby".to_owned(),
        },
        (RecoveryTarget::Latest, _) => "latest: everything that is archived, then it opens".to_owned(),
        (RecoveryTarget::Time(time, bound), _) => {
            let bound = if *bound == crate::pg::TargetBound::Exclusive { ", exclusive" } else { "" };
            format!("time {}{bound}; {action}", time_text(*time))
        }
        (target, _) => format!("{target}; {action}"),
    }
}

fn timelines_text(plan: &RestorePlan) -> String {
    let parents = plan.path.parents().map(|timeline| timeline.to_string());
    parents.chain([plan.path.timeline().to_string()]).collect::<Vec<_>>().join(", then ")
}

fn wal_text(coverage: &WalCoverage) -> String {
    let last = coverage.last.unwrap_or(coverage.first);
    let until = coverage.end_time.map(|time| format!(", archived {}", time_text(time))).unwrap_or_default();
    let end = coverage.end_lsn;
    match coverage.count {
        1 => format!("segment {last}, up to {end}{until}"),
        count => format!("{count} segments, {} to {last}, up to {end}{until}", coverage.first),
    }
}

fn archiving_text(plan: &RestorePlan, options: &RestoreOptions) -> &'static str {
    match (plan.mode, options.settings.archiving) {
        (RecoveryMode::Standby, _) => "as it was",
        (RecoveryMode::Targeted, RestoredArchiving::Off) => "off in the copy; --keep-archiving leaves it on",
        (RecoveryMode::Targeted, RestoredArchiving::Unchanged) => "on: the copy takes its original's place",
    }
}

/// One thing to do next, and the command for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct NextStep {
    /// What it is for.
    pub(super) what: String,
    /// The command, to be pasted.
    pub(super) command: String,
}

/// The last words, for people.
pub(super) fn report_text(report: &RestoreReport, options: &RestoreOptions) -> String {
    let plan = &report.plan;
    let mut text = format!(
        "restored backup {} into \"{}\": {}, every byte checked, {:.1} s\ntarget: {}\n",
        plan.record.id,
        plan.directory.display(),
        bytes_text(plan.file_bytes),
        report.took.as_secs_f64(),
        target_text(plan),
    );
    text.push_str("\nNext:\n");
    for (number, step) in next_steps(report, options).iter().enumerate() {
        let _ = writeln!(text, "  {}. {}\n       {}", number + 1, step.what, step.command);
    }
    text
}

/// What to do next.
pub(super) fn next_steps(report: &RestoreReport, options: &RestoreOptions) -> Vec<NextStep> {
    let plan = &report.plan;
    let step = |what: &str, command: String| NextStep { what: what.to_owned(), command };
    let psql = |sql: &str| format!("{} -c {}", psql_command(plan), shell_quote(sql));
    let mut steps = vec![step("Start it (its log is beside the data directory):", start_command(report))];
    if plan.mode == RecoveryMode::Standby {
        steps.push(step("Watch it follow:", psql("SELECT pg_last_wal_replay_lsn(), pg_last_xact_replay_timestamp()")));
        steps.push(step("When it is to replace the primary, which must be gone:", psql("SELECT pg_promote()")));
        let line = format!("pgdata = \"{}\"", plan.directory.display());
        steps.push(step("So that it can archive then, in the configuration of pgv on its host:", line));
        return steps;
    }
    if plan.action == RecoveryTargetAction::Pause && plan.target != RecoveryTarget::Latest {
        let sql = "SELECT pg_get_wal_replay_pause_state(), pg_last_xact_replay_timestamp()";
        steps.push(step("Look: once it is paused at the target, it can be read:", psql(sql)));
        let directory = shell_quote(&plan.directory.display().to_string());
        let again = format!("pgv-restore -D {directory} --move-aside --target-time '...'");
        steps.push(step("Is it the wrong moment? Stop it, and restore another one:", again));
        steps.push(step("Open it for writing, on a new timeline:", psql("SELECT pg_promote()")));
    } else {
        steps.push(step("Wait until it has opened:", psql("SELECT pg_is_in_recovery()")));
    }
    if options.settings.archiving == RestoredArchiving::Off {
        let directory = shell_quote(&plan.directory.display().to_string());
        let everything = format!("pgv-recovery-conf --clear --everything -D {directory}");
        steps.push(step("If it takes its original's place: let it archive again, then restart it:", everything));
    }
    steps.push(step("Take a backup of it soon:", "pgv-basebackup --checkpoint fast".to_owned()));
    steps
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
    let program = program(plan, "pg_ctl");
    format!("{program} -D {}{options} -l {} start", quoted(&plan.directory), quoted(Path::new(&log)))
}

fn psql_command(plan: &RestorePlan) -> String {
    let setting = |name| plan.record.setting(name);
    let mut command = program(plan, "psql");
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

/// A program of the server's version, where Debian has it, else by its name alone.
fn program(plan: &RestorePlan, name: &str) -> String {
    let debian = Path::new(DEBIAN_PROGRAMS).join(plan.record.major_version.to_string()).join("bin").join(name);
    if super::front_door::is_executable(&debian) { debian.display().to_string() } else { name.to_owned() }
}

/// The plan, for programs; fields are only ever added.
#[derive(Serialize)]
struct JsonPlan<'a> {
    schema_version: u32,
    /// Whether nothing was touched.
    dry_run: bool,
    cluster: String,
    system_identifier: String,
    directory: &'a Path,
    directory_action: DirectoryAction,
    backup: String,
    backup_stop_lsn: String,
    backup_stop_time: String,
    /// `targeted` or `standby`.
    mode: &'static str,
    target: String,
    /// The target as a time, as PostgreSQL reads it.
    #[serde(skip_serializing_if = "Option::is_none")]
    target_time_utc: Option<String>,
    /// The same in the zone of this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    target_time_local: Option<String>,
    target_action: String,
    /// Whether the copy archives.
    archiving: bool,
    timelines: Vec<u32>,
    /// `recovery_target_timeline`: a number or `latest`.
    target_timeline: String,
    wal: &'a WalCoverage,
    tablespaces: &'a [TablespacePlan],
    file_bytes: u64,
    room: &'a [Room],
    warnings: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    took_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_steps: Option<Vec<NextStep>>,
}

fn json(cluster: &ClusterRef, plan: &RestorePlan, options: &RestoreOptions, report: Option<&RestoreReport>) -> String {
    let target_time = match &plan.target {
        RecoveryTarget::Time(time, _) => Some(*time),
        _ => None,
    };
    let timelines = plan.path.parents().chain([plan.path.timeline()]).map(|timeline| timeline.get()).collect();
    let answer = JsonPlan {
        schema_version: 1,
        dry_run: report.is_none(),
        cluster: cluster.name.to_string(),
        system_identifier: cluster.system_identifier.to_string(),
        directory: &plan.directory,
        directory_action: plan.directory_action,
        backup: plan.record.id.to_string(),
        backup_stop_lsn: plan.record.stop_lsn.to_string(),
        backup_stop_time: plan.record.stop_time.to_string(),
        mode: match plan.mode {
            RecoveryMode::Targeted => "targeted",
            RecoveryMode::Standby => "standby",
        },
        target: plan.target.to_string(),
        target_time_utc: target_time.map(format_target_time),
        target_time_local: target_time.map(|time| local_text(time, &local_zone())),
        target_action: plan.action.to_string(),
        archiving: options.settings.archiving == RestoredArchiving::Unchanged,
        timelines,
        target_timeline: plan.target_timeline.to_string(),
        wal: &plan.coverage,
        tablespaces: &plan.tablespaces,
        file_bytes: plan.file_bytes,
        room: &plan.room,
        warnings: &plan.warnings,
        took_seconds: report.map(|report| report.took.as_secs_f64()),
        next_steps: report.map(|report| next_steps(report, options)),
    };
    serde_json::to_string_pretty(&answer).unwrap_or_default() + "\n"
}

/// The plan, for programs.
pub(super) fn plan_json(cluster: &ClusterRef, plan: &RestorePlan, options: &RestoreOptions) -> String {
    json(cluster, plan, options, None)
}

/// What was restored, for programs.
pub(super) fn report_json(report: &RestoreReport, options: &RestoreOptions) -> String {
    json(&report.cluster, &report.plan, options, Some(report))
}

fn time_text(time: jiff::Timestamp) -> String {
    utc_and_local_text(time, &local_zone())
}
