//! `pgv init` from the data directory of a stopped server.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use pgv::pg::{ControlFile, config_value, parse_config};

use crate::host::Host;
use crate::support::{Outcome, PgVersion, SmallFileSystem, TestCluster};
use crate::wal_host::OTHER_CONTROL_FILE;

/// A host with a data directory made by initdb. `@` is the directory that all is in.
fn host() -> (Host, TestCluster) {
    let host = Host::new("init");
    let cluster = TestCluster::builder(PgVersion::V15, &host.folder).create();
    (host, cluster)
}

const INIT: &str = "pgv init --repo @/repo --pgdata primary";

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

fn system_identifier(data: &Path) -> String {
    ControlFile::decode(&std::fs::read(data.join(ControlFile::PATH)).unwrap()).unwrap().system_identifier.to_string()
}

/// The value of archive_command in the line that was printed, as the server reads it.
fn archive_command(outcome: &Outcome) -> String {
    let lines = outcome.stdout.lines().map(str::trim);
    let lines: Vec<&str> = lines.filter(|line| line.starts_with("archive_command = ")).collect();
    assert_eq!(lines.len(), 1, "{outcome}");
    let entries = parse_config(lines[0].as_bytes()).unwrap();
    String::from_utf8(config_value(&entries, "archive_command").unwrap().to_vec()).unwrap()
}

#[test]
fn the_first_run_creates_everything_and_the_second_says_so() {
    let (host, cluster) = host();
    let identifier = system_identifier(&cluster.data);
    let first = host.sh(INIT).success();
    for text in ["Repository", "created, id", "Cluster \"main\" registered", &identifier, "PostgreSQL 15", "16.0 MiB"] {
        assert!(first.stdout.contains(text), "{text}\n{first}");
    }
    // The control file says which functions a role of few rights needs on that version.
    for line in ["  CREATE ROLE pgv LOGIN REPLICATION;", "pg_catalog.pg_backup_start(text,boolean)"] {
        assert!(first.stdout.contains(line), "{line}\n{first}");
    }
    let (root, config) = (host.folder.join("repo"), host.folder.join(".config/pgv/pgv.toml"));
    assert_eq!((mode(&root), mode(&config), mode(config.parent().unwrap())), (0o700, 0o600, 0o700));
    let text = std::fs::read_to_string(&config).unwrap();
    for line in [
        format!("url = \"{}\"", root.display()),
        "[cluster.main]".to_owned(),
        format!("pgdata = \"{}\"", cluster.data.display()),
        format!("system_identifier = \"{identifier}\""),
    ] {
        assert!(text.contains(&line), "{line}\n{text}");
    }
    assert!(text.contains("\nid = \""), "{text}");

    let second = host.sh(INIT).success();
    assert!(!second.stdout.contains("CREATE ROLE"), "{second}");
    for text in ["is there already", "is registered already, since", "in use", "\"role_sql\" of --output json"] {
        assert!(second.stdout.contains(text), "{text}\n{second}");
    }
    assert!(!second.stdout.contains("needs these lines"), "{second}");
    assert_eq!(std::fs::read_to_string(&config).unwrap(), text);
    // The configuration says all that the options said.
    host.sh("pgv init --pgdata primary").success();
}

#[test]
fn the_printed_archive_command_needs_nothing_of_its_surroundings() {
    let (host, cluster) = host();
    host.folder.make("it's 100% pgv");
    let init = host.sh("pgv init --repo @/repo --pgdata primary --config \"it's 100% pgv/pgv.toml\"").success();
    let command = archive_command(&init);
    assert!(!command.contains("--cluster"), "{command}");
    let segment = "000000010000000000000001";
    let command = command.replace("%%", "\u{1}").replace("%p", &format!("pg_wal/{segment}")).replace("%f", segment);
    let command = command.replace('\u{1}', "%");
    cluster.run_as_server(&command, &[]).success();
    // Again, and from where it does not belong.
    cluster.run_as_server(&command, &[]).success();
    host.sh(&command.replace("pg_wal/", &format!("{}/pg_wal/", cluster.data.display()))).expect_code(13);
    let info = host.sh("pgv info --config \"it's 100% pgv/pgv.toml\" --output json").success();
    let info: serde_json::Value = serde_json::from_str(&info.stdout).unwrap();
    assert_eq!(info["clusters"][0]["trees"][0]["wal"][0]["ranges"][0]["first"], segment);
    assert_eq!(info["clusters"][0]["writers"][0]["directory"], cluster.data.to_str().unwrap());
}

#[test]
fn a_file_of_variables_stays_in_the_archive_command() {
    let (host, _cluster) = host();
    let host = host.file("pgv.env", "PGV_ARCHIVE_TIMEOUT=5s\n").variable("PGV_ENV_FILE", "@/pgv.env");
    let command = archive_command(&host.sh(INIT).success());
    assert!(command.contains(&format!("--env-file {}/pgv.env ", host.folder.path().display())), "{command}");
}

#[test]
fn another_system_identifier_needs_upgraded() {
    let (host, cluster) = host();
    host.sh(INIT).success();
    let old = system_identifier(&cluster.data);
    host.folder.write("primary/global/pg_control", OTHER_CONTROL_FILE);
    let new = system_identifier(&cluster.data);
    let refused = host.sh(INIT).expect_code(3);
    for text in [&old, &new, "--upgraded", "cluster \"main\""] {
        assert!(refused.stderr.contains(text), "{text}\n{refused}");
    }
    let accepted = host.sh(&format!("{INIT} --upgraded")).success();
    // The configuration remembers the old one: it is told, not edited.
    assert!(accepted.stdout.contains("needs these lines"), "{accepted}");
    assert!(accepted.stdout.contains(&format!("  system_identifier = \"{new}\"")), "{accepted}");
    let info = host.sh("pgv info --output json").success();
    let info: serde_json::Value = serde_json::from_str(&info.stdout).unwrap();
    let trees = info["clusters"][0]["trees"].as_array().unwrap();
    let identifiers: Vec<_> = trees.iter().map(|tree| tree["system_identifier"].as_str().unwrap()).collect();
    assert_eq!(identifiers, [old, new]);
}

#[test]
fn a_second_name_for_a_cluster_must_be_asked_for() {
    let (host, _cluster) = host();
    host.sh("pgv init --repo @/repo --pgdata primary --cluster prod").success();
    host.sh("rm -r .config").success();
    host.sh(INIT).expect_code(3).expect_stderr("--cluster prod");
    let copy = host.sh(&format!("{INIT} --cluster copy")).success();
    assert!(copy.stdout.contains("registered as \"prod\""), "{copy}");
}

#[test]
fn a_configuration_in_use_is_never_edited() {
    let (host, cluster) = host();
    let text = "[[repo]]\nurl = \"@/elsewhere\"\n\n[cluster.other]\npgdata = \"/other\"\n";
    let host = host.file("pgv.toml", text).variable("PGV_CONFIG", "@/pgv.toml");
    let before = std::fs::read(host.folder.join("pgv.toml")).unwrap();
    let first = host.sh(&format!("{INIT} --cluster main")).success();
    let here = host.folder.path().display().to_string();
    for line in [
        "[[repo]]",
        &format!("url = \"{here}/repo\""),
        "[cluster.main]",
        &format!("pgdata = \"{}\"", cluster.data.display()),
    ] {
        assert!(first.stdout.contains(&format!("\n  {line}\n")), "{line}\n{first}");
    }
    assert_eq!(std::fs::read(host.folder.join("pgv.toml")).unwrap(), before);
    // With exactly those lines in it, nothing is missing.
    let lines = first.stdout.split("needs these lines:\n\n").nth(1).unwrap().split("\n\n").next().unwrap();
    host.folder.write("pgv.toml", lines);
    let second = host.sh("pgv init --pgdata primary").success();
    assert!(!second.stdout.contains("needs these lines"), "{second}");
}

#[test]
fn what_is_unsafe_or_wrong_is_refused_before_anything_is_created() {
    let (host, _cluster) = host();
    host.folder.make("full");
    host.folder.write("full/letter", "");
    for (options, status, message) in [
        ("--repo @/primary/repo --pgdata primary", 3, "lie in each other"),
        ("--repo @ --pgdata primary", 3, "lie in each other"),
        ("--repo @/full --pgdata primary", 3, "holds \"letter\""),
        ("--repo @/no/repo --pgdata primary", 4, "directory above"),
        ("--repo @/repo --pgdata full", 2, "is not a data directory"),
        ("--repo @/repo --pgdata none", 2, "is not a data directory"),
        ("--repo @/repo --pgdata primary -h db1", 2, "exclude each other"),
        ("--repo @/repo -h @/none", 4, "--pgdata DIR"),
        ("--repo @/repo --pgdata primary --config @/no/pgv.toml", 4, "/no\""),
        ("--pgdata primary", 2, "no repository is configured"),
    ] {
        host.sh(&format!("pgv init {options}")).expect_code(status).expect_stderr(message);
    }
    for path in ["repo", "primary/repo", ".staging", "no", ".config", "full/repository.json"] {
        assert!(!host.folder.join(path).exists(), "{path}");
    }
}

#[test]
fn an_empty_mount_point_never_becomes_the_remembered_repository() {
    let (host, _cluster) = host();
    host.sh(INIT).success();
    host.sh("mv repo away && mkdir repo").success();
    host.sh(INIT).expect_code(4).expect_stderr("Is its file system mounted?");
    assert_eq!(std::fs::read_dir(host.folder.join("repo")).unwrap().count(), 0);
    host.sh("pgv info").expect_code(4).expect_stderr("there is no repository at");
}

#[test]
fn a_full_and_a_read_only_file_system_are_said_so() {
    let (host, _cluster) = host();
    // Room for what a repository keeps in reserve.
    let small = SmallFileSystem::mount(&host.folder, "small", 2 << 20);
    host.sh("head -c 3000000 /dev/zero > small/filler; true").success();
    let init = "pgv init --repo @/small/repo --pgdata primary";
    host.sh(init).expect_code(4).expect_stderr("No space left");
    assert!(!host.folder.join("small/repo/repository.json").exists());
    host.sh("rm small/filler").success();
    small.set_read_only(true);
    host.sh(init).expect_code(4).expect_stderr("Read-only file system");
    small.set_read_only(false);
    host.sh(init).success();
}

#[test]
fn json_is_one_object_with_the_documented_keys() {
    let (host, _cluster) = host();
    let outcome = host.sh(&format!("{INIT} --output json")).success();
    let value: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    let keys = |pointer: &str| {
        let object = value.pointer(pointer).unwrap().as_object().unwrap();
        let mut keys: Vec<&str> = object.keys().map(String::as_str).collect();
        keys.sort_unstable();
        keys.join(" ")
    };
    assert_eq!(keys(""), "cluster configuration repository schema_version server warnings");
    assert_eq!(keys("/repository"), "available_bytes created hard_links id path promises rebuilt url");
    assert_eq!(
        keys("/cluster"),
        "data_directory major_version name registered since source system_identifier wal_segment_bytes"
    );
    assert_eq!(keys("/configuration"), "file lines_to_add written");
    assert_eq!(keys("/server"), "archive_command asked findings in_recovery role role_sql");
    assert_eq!(keys("/server/findings/0"), "action command file found line need reason wanted what");
    assert_eq!(value["schema_version"], 1);
    assert_eq!(value["server"]["findings"][0]["line"], "archive_mode = on");
    assert_eq!(value["server"]["findings"][0]["action"], "restart");
    assert_eq!(value["cluster"]["registered"], "now");
}

/// What a restore has left in postgresql.auto.conf goes before every line of postgresql.conf.
#[test]
fn a_restored_directory_is_told_what_overrides_its_lines() {
    let (host, _cluster) = host();
    host.sh(&format!("{INIT} --cluster main")).success();
    let text = "archive_command = '/usr/local/bin/pgv-archive --config /etc/pgv/pgv.toml %p %f'\narchive_mode = off\n";
    host.folder.write("primary/postgresql.auto.conf", text);
    let copy = host.sh("pgv init --pgdata primary --cluster copy").success().stdout;
    for wanted in [
        "  ALTER SYSTEM SET archive_mode = 'on';",
        "  ALTER SYSTEM SET archive_command = '",
        "\"copy\" and \"main\" have one system identifier",
        " --cluster copy %p %f",
        " --cluster main %p %f",
    ] {
        assert!(copy.contains(wanted), "{wanted}\n{copy}");
    }
}
