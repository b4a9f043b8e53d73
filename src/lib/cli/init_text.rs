//! The answer of `pgv init` in words.
//!
//! INVARIANT: what belongs into a file or into psql stands on lines of its own, indented, and can be copied as it
//! stands; nothing else of the answer looks like it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use super::printer::escaped;
use super::size::bytes_text;
use super::table::table;
use crate::init::{Finding, FindingAction, InitReport, Need, Registered};

/// Characters of a value in the table; the whole value stands below it.
const VALUE_CHARS_MAX: usize = 24;

/// The answer in words.
pub(crate) fn render(report: &InitReport) -> String {
    let mut text = String::new();
    what_was_done(&mut text, report);
    if let Some(lines) = &report.configuration.lines_to_add {
        let file = quoted(&report.configuration.file);
        let _ =
            write!(text, "\nThe configuration file {file} is in use and was not changed. It needs these lines:\n\n");
        indented(&mut text, lines);
    }
    what_is_missing(&mut text, report);
    for warning in &report.warnings {
        let _ = write!(text, "\nNote: {}\n", escaped(warning));
    }
    text
}

fn what_was_done(text: &mut String, report: &InitReport) {
    let (repository, cluster) = (&report.repository, &report.cluster);
    let state = match (repository.created, repository.rebuilt) {
        (true, _) => "created",
        (false, true) => "has its \"repository.json\" again, written anew as its other objects say",
        (false, false) => "is there already",
    };
    let _ = writeln!(text, "Repository {} {state}, id {}.", quoted(&repository.path), repository.id);
    let room = bytes_text(repository.available_bytes);
    let links = if repository.hard_links { "hard links" } else { "renames, for want of hard links" };
    let _ = writeln!(
        text,
        "  Tried: a second writer cannot replace a file (by {links}); files and directories can be synced."
    );
    let _ = writeln!(text, "  Room: {room} left on its file system.");
    let state = match cluster.registered {
        Registered::Now => "registered".to_owned(),
        Registered::Before => format!("is registered already, since {:.0}", cluster.since),
        Registered::Upgraded => "registered beside its earlier ones".to_owned(),
        Registered::Rebuilt => "has its \"identity\" again, written anew; its backups and WAL agree with it".to_owned(),
    };
    let _ = writeln!(
        text,
        "Cluster \"{}\" {state}: system identifier {}, PostgreSQL {}, WAL segments of {}.",
        cluster.name,
        cluster.system_identifier,
        cluster.major_version,
        bytes_text(cluster.wal_segment_bytes)
    );
    if let Some(directory) = &cluster.data_directory {
        let _ = writeln!(text, "  Data directory: {}.", quoted(directory));
    }
    let state = if report.configuration.written { "written" } else { "in use" };
    let _ = writeln!(text, "Configuration file {} {state}.", quoted(&report.configuration.file));
}

fn what_is_missing(text: &mut String, report: &InitReport) {
    let server = &report.server;
    let findings = &server.findings;
    let (optional, missing): (Vec<&Finding>, _) = findings.iter().partition(|one| one.need == Need::Optional);
    match (server.asked, missing.is_empty()) {
        (true, true) => text.push_str("\nThe server is set up: nothing is missing.\n"),
        (false, true) => text.push_str("\nThe server was not asked; nothing seems to be missing.\n"),
        (true, false) => text.push_str("\nWhat the server still lacks:\n\n"),
        (false, false) => {
            text.push_str("\nThe server was not asked. It needs this, unless its configuration has it already:\n\n")
        }
    }
    if !missing.is_empty() {
        text.push_str(&overview(&missing));
    }
    if !optional.is_empty() {
        text.push_str("\nIt may have besides, as you like:\n\n");
        text.push_str(&overview(&optional));
    }
    first_of_all(text, findings);
    // Apart: whoever copies what is needed does not take what is not.
    lines_by_file(text, &missing, "Put");
    sql(text, &missing, "Run");
    other_commands(text, findings);
    lines_by_file(text, &optional, "If you like, put");
    sql(text, &optional, "If you like, run");
    smaller_role(text, report);
}

/// The SQL of a role that may do no more than backups need; once, when the cluster is registered.
fn smaller_role(text: &mut String, report: &InitReport) {
    const NEED_LESS: &str = "A role of its own, in SQL, in the database that it will\nconnect to (postgres):";
    let server = &report.server;
    if server.role_sql.is_empty() {
        return;
    }
    let superuser = server.role.as_deref().map(|role| format!("\"{}\"", escaped(role)));
    let is_first = !matches!(report.cluster.registered, Registered::Before | Registered::Rebuilt);
    let _ = match (&superuser, is_first) {
        (Some(role), true) => {
            write!(text, "\nRole {role} is a superuser, and backups need less. {NEED_LESS}\n\n")
        }
        (None, true) => write!(text, "\nBackups need a role, and no superuser. {NEED_LESS}\n\n"),
        // It was offered before.
        (Some(role), false) => write!(
            text,
            "\nBackups run as the superuser {role}. The SQL of a role with less is in \"role_sql\" of --output json.\n"
        ),
        (None, false) => {
            text.push_str("\nThe SQL of a role for backups is in \"role_sql\" of --output json.\n");
            Ok(())
        }
    };
    if is_first {
        server.role_sql.iter().for_each(|line| indented(text, line));
    }
}

fn overview(findings: &[&Finding]) -> String {
    let row = |finding: &&Finding| {
        let need = match finding.need {
            Need::Required => "required",
            Need::Advised => "advised",
            Need::Optional => "optional",
        };
        let takes = match finding.action {
            FindingAction::Restart => "restart",
            FindingAction::Reload => "reload",
            FindingAction::Sql => "SQL",
            FindingAction::Offline => "stopped server",
            FindingAction::StartOption => "start command",
            FindingAction::Move => "shorter paths",
            FindingAction::GiveBack => "command, restart",
            FindingAction::Configuration => "pgv's own file",
        };
        let found = finding.found.as_deref().unwrap_or("(unknown)");
        let found = if found.is_empty() { "(empty)" } else { found };
        let wanted = if finding.wanted.is_empty() { "(empty)" } else { &finding.wanted };
        vec![finding.what.clone(), shortened(found), shortened(wanted), takes.to_owned(), need.to_owned()]
    };
    table(&["setting", "now", "wanted", "takes", ""], findings.iter().map(row))
}

/// The lines for configuration files, together by file.
fn lines_by_file(text: &mut String, findings: &[&Finding], put: &str) {
    let mut by_file: BTreeMap<Option<&Path>, Vec<&Finding>> = BTreeMap::new();
    let is_line = |finding: &&&Finding| {
        finding.line.is_some() && finding.command.is_none() && finding.action != FindingAction::Configuration
    };
    for finding in findings.iter().filter(is_line) {
        by_file.entry(finding.file.as_deref()).or_default().push(finding);
    }
    for (file, findings) in by_file {
        let file = file.map_or("postgresql.conf (its place is not shown to this role)".to_owned(), quoted);
        let restart = findings.iter().any(|finding| finding.action == FindingAction::Restart);
        let then = if restart { "restart the server" } else { "reload the server (SELECT pg_reload_conf();)" };
        let _ = write!(text, "\n{put} into {file}, then {then}:\n\n");
        for finding in findings {
            let _ = writeln!(text, "  # {}: {}", finding.what, escaped(&finding.reason));
            indented(text, finding.line.as_deref().unwrap_or_default());
        }
    }
}

/// The commands for psql.
fn sql(text: &mut String, findings: &[&Finding], run: &str) {
    let commands: Vec<&&Finding> = findings
        .iter()
        .filter(|finding| {
            finding.command.is_some() && !matches!(finding.action, FindingAction::Offline | FindingAction::GiveBack)
        })
        .collect();
    if commands.is_empty() {
        return;
    }
    let restart = commands.iter().any(|finding| finding.action == FindingAction::Restart);
    let reload = commands.iter().any(|finding| finding.action == FindingAction::Reload);
    let then = match (restart, reload) {
        (true, _) => ", then restart the server",
        (false, true) => ", then reload it (SELECT pg_reload_conf();)",
        (false, false) => "",
    };
    let _ = write!(text, "\n{run} in SQL, as a superuser, in the database that pgv connects to{then}:\n\n");
    for finding in commands {
        let _ = writeln!(text, "  -- {}: {}", finding.what, escaped(&finding.reason));
        indented(text, finding.command.as_deref().unwrap_or_default());
    }
}

/// What goes before every line for the server.
fn first_of_all(text: &mut String, findings: &[Finding]) {
    for finding in findings {
        let reason = escaped(&finding.reason);
        match (finding.action, &finding.command, &finding.line) {
            (FindingAction::GiveBack, Some(command), _) => {
                let _ = write!(text, "\nFirst ({reason}):\n\n");
                indented(text, command);
            }
            (FindingAction::Configuration, _, Some(line)) => {
                let file = finding.file.as_deref().map_or("the configuration file".to_owned(), quoted);
                let _ = write!(text, "\nPut into {file}, in place of its {} ({reason}):\n\n", finding.what);
                indented(text, line);
            }
            _ => {}
        }
    }
}

/// What is neither a line nor SQL.
fn other_commands(text: &mut String, findings: &[Finding]) {
    for finding in findings {
        let what = &finding.what;
        match finding.action {
            FindingAction::Offline => {
                let _ = write!(text, "\nWhile the server is stopped ({what}: {}):\n\n", escaped(&finding.reason));
                indented(text, finding.command.as_deref().unwrap_or_default());
            }
            FindingAction::StartOption | FindingAction::Move => {
                let _ = write!(text, "\n{what}: {}.\n", escaped(&finding.reason));
            }
            _ if finding.line.is_none() && finding.command.is_none() => {
                let file = finding.file.as_deref().map_or("its file".to_owned(), quoted);
                let how = if finding.action == FindingAction::Restart { "restart" } else { "reload" };
                let _ = write!(text, "\n{what}: the line stands in {file}; {how} the server.\n");
            }
            _ => {}
        }
    }
}

fn indented(text: &mut String, lines: &str) {
    for line in lines.lines() {
        let line = escaped(line);
        let _ = if line.is_empty() { writeln!(text) } else { writeln!(text, "  {line}") };
    }
}

fn quoted(path: &Path) -> String {
    format!("\"{}\"", escaped(&path.to_string_lossy()))
}

fn shortened(value: &str) -> String {
    let value = escaped(value);
    match value.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{}...", value.get(..end).unwrap_or_default()),
        None => value,
    }
}
