//! Judges what is known of a server: a pure function from its state to what it lacks.

use std::path::PathBuf;

use super::archive_command::ArchiveCommand;
use super::finding::{Finding, FindingAction, Need};
use super::role_check;
use super::server_state::{AUTO_CONF, ServerState};
use crate::pg::quote_config_value;
use crate::pg::setting_value::{is_archiving, is_enough_wal, is_on, is_positive, runs_pgv_archive};

/// One setting and what is expected of it.
struct Expectation<'a> {
    name: &'static str,
    wanted: &'a str,
    action: FindingAction,
    need: Need,
    reason: &'a str,
    accepts: &'a dyn Fn(&str) -> bool,
}

/// What the server lacks: what is required first, then in the order of the work.
pub fn assess(state: &ServerState, command: &ArchiveCommand) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        expectations(state, command.as_str()).iter().filter_map(|expected| judge(state, expected)).collect();
    findings.extend(too_long(state, command));
    findings.extend(checksums(state));
    findings.extend(role_check::assess(state));
    findings.sort_by_key(|finding| finding.need);
    findings
}

fn expectations<'a>(state: &ServerState, command: &'a str) -> Vec<Expectation<'a>> {
    use FindingAction::{Reload, Restart};
    use Need::{Advised, Optional, Required};
    let expect =
        |name, wanted, action, need, reason, accepts| Expectation { name, wanted, action, need, reason, accepts };
    let own_command: &dyn Fn(&str) -> bool = &runs_pgv_archive;
    let mut expectations = vec![
        expect("wal_level", "replica", Restart, Required, "recovery cannot cross WAL of level minimal", &is_enough_wal),
        expect("archive_mode", "on", Restart, Required, "the server archives nothing without it", &is_archiving),
        expect("archive_command", command, Reload, Required, "it stores each WAL file in the repository", own_command),
        expect("max_wal_senders", "10", Restart, Required, "a base backup takes one of them", &is_positive),
        expect("archive_timeout", "60s", Reload, Advised, AN_IDLE_SERVER, &is_positive),
        expect("full_page_writes", "on", Reload, Advised, "without it, backups of standbys fail", &is_on),
    ];
    if state.version.get() >= 15 {
        let reason = "with a library set, the server does not run archive_command";
        expectations.push(expect("archive_library", "", Reload, Required, reason, &str::is_empty));
    }
    if state.version.get() >= 17 {
        expectations.push(expect("summarize_wal", "on", Reload, Optional, SUMMARIES, &is_on));
    }
    expectations
}

const AN_IDLE_SERVER: &str = "without it, what was last committed reaches the repository only when a segment is full";

const SUMMARIES: &str = "nothing in pgv uses it yet; pg_basebackup --incremental needs it";

/// Whether the value in force will do, and the one in the files too, for that is what the next restart brings.
fn judge(state: &ServerState, expected: &Expectation<'_>) -> Option<Finding> {
    let setting = state.settings.get(expected.name);
    let written = state.written.get(expected.name);
    let in_force = setting.map(|setting| (expected.accepts)(&setting.value));
    let in_files = written.map(|written| (expected.accepts)(&written.value));
    let is_option = setting.is_some_and(|setting| setting.source == "command line");
    let base = Finding {
        what: expected.name.to_owned(),
        found: setting.map(|setting| setting.value.clone()).or_else(|| written.map(|written| written.value.clone())),
        wanted: expected.wanted.to_owned(),
        need: expected.need,
        reason: expected.reason.to_owned(),
        line: None,
        file: None,
        command: None,
        action: expected.action,
    };
    match (in_force, in_files) {
        (Some(true), None) | (Some(true) | None, Some(true)) => differs(state, expected, base),
        (Some(false), _) if is_option => {
            Some(Finding { action: FindingAction::StartOption, reason: OPTION_WINS.to_owned(), ..base })
        }
        (_, Some(true)) => {
            let file = written.map(|written| written.file.clone());
            // What is not shown because archiving is off comes into force together with it.
            let waits = in_force == Some(false);
            waits.then(|| Finding { reason: "the line is written and not yet in force".to_owned(), file, ..base })
        }
        (Some(true), Some(false)) => {
            let found = written.map(|written| format!("{} in \"{}\"", written.value, written.file.display()));
            let reason = "the server's files say otherwise than what is in force".to_owned();
            Some(with_line(state, expected, Finding { found, reason, ..base }))
        }
        // The setting does not exist in this version, or its default is fine, or nobody told us.
        (None, None) if !is_unknown(state, expected.name) => None,
        _ => Some(with_line(state, expected, base)),
    }
}

const OPTION_WINS: &str = "it is set in the command that starts the server, which goes before its files";

/// Whether nothing is known of a setting whose default will not do.
fn is_unknown(state: &ServerState, name: &str) -> bool {
    let asked = state.rights.is_some();
    match name {
        "archive_command" => true,
        "archive_mode" | "archive_timeout" => !asked,
        _ => false,
    }
}

/// pgv-archive runs, but not in the way that needs nothing of its surroundings.
fn differs(state: &ServerState, expected: &Expectation<'_>, base: Finding) -> Option<Finding> {
    let is_command = expected.name == "archive_command";
    let differs = is_command && base.found.as_deref() != Some(expected.wanted);
    let reason = "it runs pgv-archive in a way of its own; this line needs nothing of its surroundings".to_owned();
    differs.then(|| with_line(state, expected, Finding { need: Need::Advised, reason, ..base }))
}

/// Adds the line and the file; or SQL, where ALTER SYSTEM had the last word.
fn with_line(state: &ServerState, expected: &Expectation<'_>, base: Finding) -> Finding {
    let setting = state.settings.get(expected.name);
    let written = state.written.get(expected.name).map(|written| written.file.clone());
    let set_in: Option<PathBuf> = written.or_else(|| setting.and_then(|setting| setting.source_file.clone()));
    // A command has been checked to be quotable, and the other values are ours.
    let value = quote_config_value(expected.name, expected.wanted).unwrap_or_default();
    let plain = expected.wanted.bytes().all(|byte| byte.is_ascii_alphanumeric()) && !expected.wanted.is_empty();
    let shown = if plain { expected.wanted } else { &value };
    let line = Some(format!("{} = {shown}", expected.name));
    match set_in {
        Some(file) if file.ends_with(AUTO_CONF) => {
            let command = Some(format!("ALTER SYSTEM SET {} = {};", expected.name, sql_quoted(expected.wanted)));
            Finding { line, file: Some(file), command, ..base }
        }
        Some(file) => Finding { line, file: Some(file), ..base },
        None => Finding { line, file: state.config_file.clone(), ..base },
    }
}

/// A text as SQL reads it back, whatever `standard_conforming_strings` is.
pub(super) fn sql_quoted(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", quoted.replace('\\', r"\\")) } else { format!("'{quoted}'") }
}

fn too_long(state: &ServerState, command: &ArchiveCommand) -> Option<Finding> {
    command.is_too_long_for(state.version).then(|| Finding {
        what: "archive_command".to_owned(),
        found: Some(format!("{} bytes with path and name put in", command.expanded_bytes())),
        wanted: format!("at most {} bytes", super::ARCHIVE_COMMAND_BYTES_MAX),
        need: Need::Required,
        reason: format!("PostgreSQL {} cuts longer commands without a word", state.version),
        line: None,
        file: None,
        command: None,
        action: FindingAction::Move,
    })
}

fn checksums(state: &ServerState) -> Option<Finding> {
    let directory = state.data_directory.as_ref().map_or("DIR".into(), |path| path.to_string_lossy());
    (state.data_checksums == Some(false)).then(|| Finding {
        what: "data_checksums".to_owned(),
        found: Some("off".to_owned()),
        wanted: "on".to_owned(),
        need: Need::Advised,
        reason: "without them nobody can tell a page that the disk has changed".to_owned(),
        line: None,
        file: None,
        command: Some(format!("pg_checksums --enable -D {}", crate::pg::shell_quote(&directory))),
        action: FindingAction::Offline,
    })
}

#[cfg(test)]
mod tests;
