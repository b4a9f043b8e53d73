//! What pgv-restore says: the plan, the last words, and both for programs.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use super::copy_server::CopyServer;
use super::copy_text::{self, JsonConfiguration};
use super::printer::{OutputError, escaped, field, json_answer};
use super::proof_text;
use super::restore_steps::{NextStep, next_steps};
use super::size::{bytes_text, local_text, local_zone, utc_and_local_text};
use super::start::{JsonStart, Started, plan_line};
use super::typed::Typed;
use crate::pg::{
    RecoveryMode, RecoveryTarget, RecoveryTargetAction, RecoveryTargetTimeline, RestoredArchiving, format_target_time,
};
use crate::repository::ClusterRef;
use crate::restore::{
    ContentReport, DirectoryAction, OldWalUse, Proof, RestoreOptions, RestorePlan, RestoreReport, Room, TablespacePlan,
    WalCoverage,
};

/// The plan, for people; with the server that is to be started.
pub(super) fn plan_text(
    cluster: &ClusterRef,
    plan: &RestorePlan,
    options: &RestoreOptions,
    server: Option<&CopyServer>,
) -> String {
    let record = &plan.record;
    let mut text = format!(
        "Restore of cluster {cluster} (PostgreSQL {}) into \"{}\", {}\n",
        record.major_version,
        escaped(&plan.directory.display().to_string()),
        action_text(plan.directory_action),
    );
    let mut line = |name: &str, value: String| text.push_str(&field(name, &value));
    line("backup", format!("{}, consistent at {}", record.id, record.stop_lsn));
    line("", time_text(record.stop_time));
    if !record.label.is_empty() {
        line("", format!("label \"{}\"", record.label));
    }
    line("target", target_text(plan));
    for (name, value) in plan.proof.iter().flat_map(|proof| proof_text::lines(proof, &plan.target)) {
        line(name, value);
    }
    line("timelines", timelines_text(plan));
    line("WAL", wal_text(&plan.coverage));
    for (name, value) in plan.old_wal.iter().flat_map(proof_text::old_wal_lines) {
        line(name, value);
    }
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
    for (name, value) in copy_text::lines(plan.copy.trust, &plan.copy.settings) {
        line(name, value);
    }
    text + &server.map(plan_line).unwrap_or_default()
}

fn action_text(action: DirectoryAction) -> &'static str {
    match action {
        DirectoryAction::Create => "which is created",
        DirectoryAction::Fill => "which is empty",
        DirectoryAction::EmptyAndFill => {
            "which a killed restore left and which is emptied (--resume keeps what is right)"
        }
        DirectoryAction::MoveAside => "whose present content is renamed",
        DirectoryAction::Update => "which keeps what is right; what is not in the backup is removed",
        DirectoryAction::Resume => "which a killed restore left and which keeps what is right",
    }
}

/// What a restore that keeps what is right, or empties directories, would do, for people.
pub(super) fn compared_text(action: DirectoryAction, compared: &ContentReport) -> String {
    let missing = compared.checked_bytes.saturating_sub(compared.kept_bytes);
    let right = format!("{} of {}", bytes_text(compared.kept_bytes), bytes_text(compared.checked_bytes));
    let mut text = match action {
        DirectoryAction::EmptyAndFill => String::new(),
        _ => field("kept", &format!("{right} are right by their digests; {} are written", bytes_text(missing))),
    };
    for path in &compared.removed_paths {
        text.push_str(&field("removed", &format!("\"{}\"", path.display())));
    }
    let more = compared.removed.saturating_sub(compared.removed_paths.len() as u64);
    if more > 0 {
        text.push_str(&field("removed", &format!("{more} more")));
    }
    text
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
        (RecoveryTarget::Latest, _) if plan.old_wal.is_some() => {
            "latest: everything that is archived or in the old pg_wal, then it opens".to_owned()
        }
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

/// What was kept and removed, where anything could be.
fn kept_text(report: &RestoreReport) -> String {
    let ContentReport { kept_bytes, removed, .. } = report.content;
    match report.plan.directory_action {
        DirectoryAction::Update | DirectoryAction::Resume => {
            format!(", {} were right already, {removed} names removed", bytes_text(kept_bytes))
        }
        DirectoryAction::EmptyAndFill if removed == 1 => ", 1 name removed that was of no restore".to_owned(),
        DirectoryAction::EmptyAndFill if removed > 0 => format!(", {removed} names removed that were of no restore"),
        _ => String::new(),
    }
}

/// A restore that was carried out, with its server.
pub(super) struct Done<'a> {
    pub(super) report: &'a RestoreReport,
    pub(super) server: &'a CopyServer,
    /// What became of its start, when that was asked for.
    pub(super) started: Option<&'a Started>,
}

/// The last words, for people.
pub(super) fn report_text(done: &Done<'_>, options: &RestoreOptions, typed: &Typed) -> String {
    let Done { report, server, started } = done;
    let plan = &report.plan;
    let mut text = format!(
        "restored backup {} into \"{}\": {}, every byte checked ({} bytes){}, {:.1} s\ntarget: {}\n",
        plan.record.id,
        escaped(&plan.directory.display().to_string()),
        bytes_text(report.content.checked_bytes),
        report.content.checked_bytes,
        kept_text(report),
        report.took.as_secs_f64(),
        escaped(&target_text(plan)),
    );
    text.push_str(&copy_text::last_words(plan.copy.trust, &report.settings));
    text.push_str(&started.map(|started| started.text(server)).unwrap_or_default());
    text.push_str("\nNext:\n");
    for (number, step) in next_steps(report, options, server, typed).iter().enumerate() {
        let _ = writeln!(text, "  {}. {}\n       {}", number + 1, step.what, step.command);
    }
    text
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
    backup_label: &'a str,
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
    /// What becomes of its settings that run code or reach out, and which are raised for recovery.
    configuration: JsonConfiguration<'a>,
    timelines: Vec<u32>,
    /// `recovery_target_timeline`: a number or `latest`.
    target_timeline: String,
    wal: &'a WalCoverage,
    /// What reading the WAL has shown; null when it was not read.
    proof: Option<&'a Proof>,
    /// What is needed of the old pg_wal; null without --wal-from.
    old_wal: Option<&'a OldWalUse>,
    tablespaces: &'a [TablespacePlan],
    file_bytes: u64,
    room: &'a [Room],
    warnings: &'a [String],
    /// Bytes of files that were checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    checked_bytes: Option<u64>,
    /// Those that were there already; of a dry run, those that are.
    #[serde(skip_serializing_if = "Option::is_none")]
    kept_bytes: Option<u64>,
    /// How many names were, or would be, removed that are not in the backup, and the first of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    removed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    removed_paths: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    took_seconds: Option<f64>,
    /// The start of the server, when that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<JsonStart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_steps: Option<Vec<NextStep>>,
}

fn json(
    cluster: &ClusterRef,
    plan: &RestorePlan,
    options: &RestoreOptions,
    start: Option<JsonStart>,
    content: Option<ContentReport>,
    done: Option<(&Done<'_>, &Typed)>,
) -> Result<String, OutputError> {
    let target_time = match &plan.target {
        RecoveryTarget::Time(time, _) => Some(*time),
        _ => None,
    };
    // Where directories are emptied, only the run itself compares anything.
    let compared =
        content.as_ref().filter(|_| done.is_some() || plan.directory_action != DirectoryAction::EmptyAndFill);
    let (checked_bytes, kept_bytes) = compared.map(|content| (content.checked_bytes, content.kept_bytes)).unzip();
    let timelines = plan.path.parents().chain([plan.path.timeline()]).map(|timeline| timeline.get()).collect();
    let answer = JsonPlan {
        schema_version: 1,
        dry_run: done.is_none(),
        cluster: cluster.name.to_string(),
        system_identifier: cluster.system_identifier.to_string(),
        directory: &plan.directory,
        directory_action: plan.directory_action,
        backup: plan.record.id.to_string(),
        backup_label: &plan.record.label,
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
        configuration: JsonConfiguration::new(
            plan.copy.trust,
            done.map_or(&plan.copy.settings, |(done, _)| &done.report.settings),
        ),
        timelines,
        target_timeline: plan.target_timeline.to_string(),
        wal: &plan.coverage,
        proof: plan.proof.as_ref(),
        old_wal: plan.old_wal.as_ref(),
        tablespaces: &plan.tablespaces,
        file_bytes: plan.file_bytes,
        room: &plan.room,
        warnings: &plan.warnings,
        checked_bytes,
        kept_bytes,
        removed: content.as_ref().map(|content| content.removed),
        // What somebody else put there may have any name.
        removed_paths: content
            .map(|content| content.removed_paths.iter().map(|path| path.display().to_string()).collect()),
        took_seconds: done.map(|(done, _)| done.report.took.as_secs_f64()),
        start,
        next_steps: done.map(|(done, typed)| next_steps(done.report, options, done.server, typed)),
    };
    json_answer(&answer)
}

/// The plan, for programs.
pub(super) fn plan_json(
    cluster: &ClusterRef,
    plan: &RestorePlan,
    options: &RestoreOptions,
    server: Option<&CopyServer>,
    compared: Option<ContentReport>,
) -> Result<String, OutputError> {
    json(cluster, plan, options, server.map(JsonStart::planned), compared, None)
}

/// What was restored, for programs.
pub(super) fn report_json(done: &Done<'_>, options: &RestoreOptions, typed: &Typed) -> Result<String, OutputError> {
    let start = done.started.map(|started| JsonStart::done(done.server, started));
    let content = Some(done.report.content.clone());
    json(&done.report.cluster, &done.report.plan, options, start, content, Some((done, typed)))
}

fn time_text(time: jiff::Timestamp) -> String {
    utc_and_local_text(time, &local_zone())
}
