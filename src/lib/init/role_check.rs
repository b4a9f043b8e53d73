//! What a role needs for backups and for `pgv check`, and no more.

use std::path::Path;

use super::finding::{Finding, FindingAction, Need};
use super::server_state::ServerState;
use crate::server::{CHECK_FUNCTIONS, RoleRights, backup_functions, grant_execute};

/// The role that is proposed.
pub(super) const PROPOSED_ROLE: &str = "pgv";

const READ_FILES: &str = "it stores the configuration files outside the data directory with each backup; \
                          it also lets the role read every file that the server can";

const BEGIN_BACKUPS: &str = "it reads the files itself when the data directory is on its host, which is faster";

const CHECK: &str = "pgv check sees what waits to be archived, and ends a WAL segment to see it arrive";

/// One right: what it is for, and how it is given.
struct Right {
    held: bool,
    what: &'static str,
    need: Need,
    reason: &'static str,
    sql: String,
}

/// The rights that the role lacks, and whether the replication protocol lets it in.
pub(super) fn assess(state: &ServerState) -> Vec<Finding> {
    let Some(rights) = &state.rights else { return Vec::new() };
    let mut findings: Vec<Finding> = Vec::new();
    if !rights.superuser {
        let lacking = needed(rights, state).into_iter().filter(|right| !right.held);
        findings.extend(lacking.map(|right| Finding {
            what: "role right".to_owned(),
            found: Some("missing".to_owned()),
            wanted: right.what.to_owned(),
            need: right.need,
            reason: right.reason.to_owned(),
            line: None,
            file: None,
            command: Some(right.sql),
            action: FindingAction::Sql,
        }));
    }
    findings.extend(state.replication_refused.as_ref().map(|refusal| Finding {
        what: "replication connection".to_owned(),
        found: Some(refusal.clone()),
        wanted: format!("role \"{}\" may connect for replication", rights.role),
        need: Need::Required,
        reason: "base backups are taken over the replication protocol".to_owned(),
        line: Some(hba_line(&rights.role, state.client_address.as_deref())),
        file: state.hba_file.clone(),
        command: None,
        action: FindingAction::Reload,
    }));
    findings
}

/// SQL that makes a role with the rights that backups and `pgv check` need and no others; none when there is no need for
/// one. There may be of a server that was not asked.
pub fn create_role_sql(state: &ServerState) -> Vec<String> {
    let has_enough = state.rights.as_ref().is_some_and(|rights| !rights.superuser);
    if has_enough || state.has_proposed_role {
        return Vec::new();
    }
    let nothing = RoleRights {
        role: PROPOSED_ROLE.to_owned(),
        superuser: false,
        // CREATE ROLE gives it.
        replication: true,
        read_all_settings: false,
        read_server_files: false,
        read_binary_file: false,
        begin_backups: false,
        list_waiting_wal: false,
        switch_wal: false,
    };
    let mut lines = vec![format!("CREATE ROLE {PROPOSED_ROLE} LOGIN REPLICATION;")];
    for right in needed(&nothing, state) {
        match right.need {
            Need::Required => {}
            Need::Advised => lines.push(format!("-- advised: {}", right.reason)),
            Need::Optional => lines.push(format!("-- optional: {}", right.reason)),
        }
        if !right.held {
            lines.push(right.sql);
        }
    }
    lines
}

fn needed(rights: &RoleRights, state: &ServerState) -> Vec<Right> {
    use Need::{Advised, Optional, Required};
    let role = identifier(&rights.role);
    let right = |held, what, need, reason, sql| Right { held, what, need, reason, sql };
    let mut needed = vec![
        right(
            rights.replication,
            "REPLICATION",
            Required,
            "base backups are taken over the replication protocol",
            format!("ALTER ROLE {role} REPLICATION;"),
        ),
        right(
            rights.read_all_settings,
            "pg_read_all_settings",
            Required,
            "backups keep the settings that a restore needs",
            format!("GRANT pg_read_all_settings TO {role};"),
        ),
    ];
    let held = rights.list_waiting_wal && rights.switch_wal;
    needed.push(right(held, "pgv check", Advised, CHECK, grant_execute(&CHECK_FUNCTIONS, &role)));
    let sql = grant_execute(&backup_functions(state.version.get() * 10_000), &role);
    needed.push(right(rights.begin_backups, "direct backups", Optional, BEGIN_BACKUPS, sql));
    if has_configuration_outside(state) {
        let may_read = grant_execute(&["pg_read_binary_file(text, bigint, bigint, boolean)"], &role);
        let held = rights.reads_files();
        let sql = format!("GRANT pg_read_server_files TO {role}; {may_read}");
        needed.push(right(held, "pg_read_server_files", Optional, READ_FILES, sql));
    }
    needed
}

/// Whether a configuration file lies where a base backup does not find it, as on Debian.
fn has_configuration_outside(state: &ServerState) -> bool {
    let Some(data_directory) = state.data_directory.as_deref() else { return false };
    let outside = |path: &Path| path.is_absolute() && !path.starts_with(data_directory);
    [&state.config_file, &state.hba_file, &state.ident_file].into_iter().flatten().any(|path| outside(path))
}

/// The line of pg_hba.conf that lets a role in.
fn hba_line(role: &str, client_address: Option<&str>) -> String {
    let role = identifier(role);
    match client_address {
        None => format!("local replication {role} scram-sha-256"),
        Some(address) => {
            let bits = if address.contains(':') { 128 } else { 32 };
            format!("host replication {role} {address}/{bits} scram-sha-256")
        }
    }
}

/// A name as SQL and pg_hba.conf read it back.
fn identifier(name: &str) -> String {
    // Quotes also keep words such as "all" and "user" from meaning something else.
    if name == PROPOSED_ROLE { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}
