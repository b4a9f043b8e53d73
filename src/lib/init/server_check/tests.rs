use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::init::{PendingSetting, create_role_sql};
use crate::pg::PgMajorVersion;
use crate::server::{RoleRights, ServerSetting};

const CONFIG: &str = "/etc/postgresql/15/main/postgresql.conf";
const COMMAND: &str = "/usr/bin/pgv-archive --config /etc/pgv/pgv.toml %p %f";

fn command() -> ArchiveCommand {
    ArchiveCommand::new(Path::new("/usr/bin/pgv-archive"), Some(Path::new("/etc/pgv/pgv.toml")), None, None).unwrap()
}

fn setting(value: &str) -> ServerSetting {
    ServerSetting {
        value: value.to_owned(),
        unit: None,
        context: "sighup".to_owned(),
        source: "configuration file".to_owned(),
        source_file: Some(CONFIG.into()),
        source_line: Some(1),
        pending_restart: false,
    }
}

fn rights(role: &str, superuser: bool) -> RoleRights {
    RoleRights {
        role: role.to_owned(),
        superuser,
        replication: superuser,
        read_all_settings: superuser,
        read_server_files: superuser,
        read_binary_file: superuser,
        begin_backups: superuser,
        list_waiting_wal: superuser,
        switch_wal: superuser,
    }
}

/// A server of that version of which nothing is to be said.
fn good(version: u32) -> ServerState {
    let mut settings = BTreeMap::new();
    for (name, value) in [
        ("wal_level", "replica"),
        ("archive_mode", "on"),
        ("archive_command", COMMAND),
        ("archive_library", ""),
        ("archive_timeout", "60"),
        ("max_wal_senders", "10"),
        ("full_page_writes", "on"),
        ("summarize_wal", "on"),
    ] {
        settings.insert(name.to_owned(), setting(value));
    }
    ServerState {
        version: PgMajorVersion::new(version).unwrap(),
        in_recovery: false,
        data_directory: Some("/var/lib/postgresql/15/main".into()),
        config_file: Some(CONFIG.into()),
        hba_file: Some("/etc/postgresql/15/main/pg_hba.conf".into()),
        ident_file: None,
        data_checksums: Some(true),
        settings,
        written: BTreeMap::new(),
        rights: Some(rights("postgres", true)),
        replication_refused: None,
        client_address: None,
        has_proposed_role: false,
    }
}

/// Every finding as `what: found -> line or command @ file (action, need)`.
fn found(state: &ServerState) -> Vec<String> {
    let line = |finding: &Finding| {
        let Finding { what, found, line, file, command, action, need, .. } = finding;
        let found = found.as_deref().unwrap_or("?");
        let does = command.as_deref().or(line.as_deref()).unwrap_or("-");
        let file = file.as_ref().map_or("-".to_owned(), |file| file.display().to_string());
        format!("{what}: {found} -> {does} @ {file} ({action:?}, {need:?})")
    };
    assess(state, &command()).iter().map(line).collect()
}

#[test]
fn a_good_server_has_no_findings() {
    for version in 13..=18 {
        assert_eq!(found(&good(version)), Vec::<String>::new());
    }
}

#[test]
fn each_setting_has_its_line_file_and_action() {
    let quoted = format!("archive_command = '{COMMAND}'");
    let command_line = format!("{quoted} @ {CONFIG} (Reload, Required)");
    for (name, value, expected) in [
        ("wal_level", "minimal", format!("minimal -> wal_level = replica @ {CONFIG} (Restart, Required)")),
        ("archive_mode", "off", format!("off -> archive_mode = on @ {CONFIG} (Restart, Required)")),
        ("archive_command", "", format!(" -> {command_line}")),
        ("archive_command", "cp %p /x/%f", format!("cp %p /x/%f -> {command_line}")),
        ("archive_command", "/opt/pgv-archiver", format!("/opt/pgv-archiver -> {command_line}")),
        ("archive_command", "pgv-archive %p %f", format!("pgv-archive %p %f -> {quoted} @ {CONFIG} (Reload, Advised)")),
        (
            "archive_library",
            "basic_archive",
            format!("basic_archive -> archive_library = '' @ {CONFIG} (Reload, Required)"),
        ),
        ("archive_timeout", "0", format!("0 -> archive_timeout = 60s @ {CONFIG} (Reload, Advised)")),
        ("max_wal_senders", "0", format!("0 -> max_wal_senders = 10 @ {CONFIG} (Restart, Required)")),
        ("full_page_writes", "off", format!("off -> full_page_writes = on @ {CONFIG} (Reload, Advised)")),
        ("summarize_wal", "off", format!("off -> summarize_wal = on @ {CONFIG} (Reload, Optional)")),
    ] {
        let mut state = good(17);
        state.settings.insert(name.to_owned(), setting(value));
        assert_eq!(found(&state), [format!("{name}: {expected}")]);
    }
    for (name, value) in [("wal_level", "logical"), ("archive_mode", "always"), ("archive_timeout", "300")] {
        let mut state = good(17);
        state.settings.insert(name.to_owned(), setting(value));
        assert_eq!(found(&state), Vec::<String>::new(), "{name} = {value}");
    }
}

#[test]
fn settings_that_a_version_lacks_are_not_asked_for() {
    for (name, value, since) in [("archive_library", "x", 15), ("summarize_wal", "off", 17)] {
        for version in 13..=18 {
            let mut state = good(version);
            state.settings.insert(name.to_owned(), setting(value));
            assert_eq!(found(&state).len(), usize::from(version >= since), "{name} {version}");
        }
    }
}

#[test]
fn the_file_is_the_one_that_has_the_last_word() {
    let mut state = good(15);
    let in_file = |file: &str| ServerSetting { source_file: Some(file.into()), ..setting("off") };
    state.settings.insert("archive_mode".to_owned(), in_file("/etc/postgresql/15/main/conf.d/a.conf"));
    assert_eq!(
        found(&state),
        ["archive_mode: off -> archive_mode = on @ /etc/postgresql/15/main/conf.d/a.conf (Restart, Required)"]
    );
    state.settings.insert("archive_mode".to_owned(), in_file("/data/postgresql.auto.conf"));
    assert_eq!(
        found(&state),
        ["archive_mode: off -> ALTER SYSTEM SET archive_mode = 'on'; @ /data/postgresql.auto.conf (Restart, Required)"]
    );
    // A default, or a role that may not see the source.
    let unseen = ServerSetting { source_file: None, ..setting("off") };
    state.settings.insert("archive_mode".to_owned(), unseen.clone());
    assert_eq!(found(&state), [format!("archive_mode: off -> archive_mode = on @ {CONFIG} (Restart, Required)")]);
    state.config_file = None;
    assert_eq!(found(&state), ["archive_mode: off -> archive_mode = on @ - (Restart, Required)"]);
    let option = ServerSetting { source: "command line".to_owned(), ..unseen };
    state.settings.insert("archive_mode".to_owned(), option);
    assert_eq!(found(&state), ["archive_mode: off -> - @ - (StartOption, Required)"]);
}

#[test]
fn what_is_written_and_waits_is_told_from_what_is_missing() {
    let mut state = good(15);
    let written = |value: &str| PendingSetting { value: value.to_owned(), file: CONFIG.into() };
    state.settings.insert("archive_mode".to_owned(), setting("off"));
    // Not shown while archiving is off.
    state.settings.remove("archive_command");
    state.written.insert("archive_mode".to_owned(), written("yes"));
    state.written.insert("archive_command".to_owned(), written(COMMAND));
    assert_eq!(found(&state), [format!("archive_mode: off -> - @ {CONFIG} (Restart, Required)")]);
    state.written.insert("archive_command".to_owned(), written("cp %p /x"));
    let line = format!("archive_command = '{COMMAND}'");
    assert_eq!(found(&state)[1], format!("archive_command: cp %p /x -> {line} @ {CONFIG} (Reload, Required)"));
    // In force now, and gone after the next restart.
    let mut state = good(15);
    state.written.insert("wal_level".to_owned(), written("minimal"));
    assert_eq!(
        found(&state),
        [format!("wal_level: minimal in \"{CONFIG}\" -> wal_level = replica @ {CONFIG} (Restart, Required)")]
    );
}

#[test]
fn a_server_that_was_not_asked_needs_the_lines_that_have_no_good_default() {
    let mut state = good(17);
    state.rights = None;
    state.settings.retain(|name, _| ["wal_level", "max_wal_senders", "full_page_writes"].contains(&name.as_str()));
    let names: Vec<String> = assess(&state, &command()).into_iter().map(|finding| finding.what).collect();
    assert_eq!(names, ["archive_mode", "archive_command", "archive_timeout"]);
}

#[test]
fn checksums_and_long_commands_are_told() {
    let mut state = good(15);
    state.data_checksums = Some(false);
    assert_eq!(
        found(&state),
        ["data_checksums: off -> pg_checksums --enable -D /var/lib/postgresql/15/main @ - (Offline, Advised)"]
    );
    let long = format!("/{}/pgv-archive", "x".repeat(1000));
    let command = ArchiveCommand::new(Path::new(&long), None, None, None).unwrap();
    let mut state = good(15);
    state.settings.insert("archive_command".to_owned(), setting(command.as_str()));
    let findings = assess(&state, &command);
    assert_eq!((findings.len(), findings[0].action), (1, FindingAction::Move));
    state.version = PgMajorVersion::new(16).unwrap();
    assert_eq!(assess(&state, &command), []);
}

#[test]
fn a_role_is_given_what_it_lacks_and_no_more() {
    let mut state = good(15);
    state.rights = Some(rights("back\"up", false));
    let commands = |state: &ServerState| -> Vec<String> {
        assess(state, &command()).into_iter().filter_map(|finding| finding.command).collect()
    };
    assert_eq!(
        commands(&state),
        [
            "ALTER ROLE \"back\"\"up\" REPLICATION;",
            "GRANT pg_read_all_settings TO \"back\"\"up\";",
            "GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_archive_statusdir(), pg_catalog.pg_switch_wal() TO \
             \"back\"\"up\";",
            "GRANT EXECUTE ON FUNCTION pg_catalog.pg_backup_start(text,boolean), pg_catalog.pg_backup_stop(boolean) TO \
             \"back\"\"up\";",
            "GRANT pg_read_server_files TO \"back\"\"up\"; GRANT EXECUTE ON FUNCTION \
             pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean) TO \"back\"\"up\";",
        ]
    );
    // With all configuration inside the data directory there is no need for files.
    state.config_file = Some("/var/lib/postgresql/15/main/postgresql.conf".into());
    state.hba_file = Some("/var/lib/postgresql/15/main/pg_hba.conf".into());
    assert_eq!(commands(&state).len(), 4);
}

#[test]
fn a_superuser_is_offered_a_smaller_role_once() {
    let mut state = good(15);
    let sql = create_role_sql(&state);
    // Of a server that is not asked, the version is known all the same.
    assert_eq!(create_role_sql(&ServerState { rights: None, ..state.clone() }), sql);
    assert_eq!(sql[0], "CREATE ROLE pgv LOGIN REPLICATION;");
    assert!(!sql.iter().any(|line| line.starts_with("ALTER ROLE")), "{sql:?}");
    assert!(sql.iter().any(|line| line.starts_with("-- optional")), "{sql:?}");
    state.has_proposed_role = true;
    assert_eq!(create_role_sql(&state), Vec::<String>::new());
    state.has_proposed_role = false;
    state.rights = Some(rights("backup", false));
    assert_eq!(create_role_sql(&state), Vec::<String>::new());
}

#[test]
fn a_refused_replication_connection_names_the_line_for_pg_hba() {
    let mut state = good(15);
    state.replication_refused = Some("FATAL: no pg_hba.conf entry".to_owned());
    for (address, line) in [
        (None, "local replication \"postgres\" scram-sha-256"),
        (Some("10.0.0.7"), "host replication \"postgres\" 10.0.0.7/32 scram-sha-256"),
        (Some("::1"), "host replication \"postgres\" ::1/128 scram-sha-256"),
    ] {
        state.client_address = address.map(str::to_owned);
        let findings = assess(&state, &command());
        assert_eq!(findings[0].line.as_deref(), Some(line));
        assert_eq!(findings[0].file, state.hba_file);
    }
}
