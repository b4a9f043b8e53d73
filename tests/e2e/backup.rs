//! Base backups of real servers: what is stored, what is refused, and what is left when one ends early.

use std::fs;
use std::process::Child;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{PgVersion, Site, TestAccount, TestCluster, TestFolder, run, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);

/// About 30 MB, so that a backup is not over before it can be disturbed.
const SOME_DATA: &str = "CREATE TABLE bulk AS SELECT g AS id, md5(g::text) || repeat('x', 200) AS filler \
                         FROM generate_series(1, 100000) AS g";

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn begin_slow_backup(site: &Site) -> Child {
    let mut command = site.pgv.command("pgv-basebackup", &["--checkpoint", "fast", "--max-rate", "2MB"]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    command.spawn().unwrap()
}

fn is_staging(site: &Site) -> bool {
    fs::read_dir(site.pgv.repository.join(".staging")).unwrap().next().is_some()
}

/// Waits until a pack is being written. Archived WAL is staged at the same place, but before the server sends data.
fn wait_for_data(site: &Site) {
    let sending = "SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'backup'";
    wait_until("the server sends data", PATIENCE, || site.primary.query(sending) == "t");
    wait_until("a pack is being written", PATIENCE, || is_staging(site));
}

fn backup_is_stored(version: PgVersion) {
    let folder = TestFolder::new("backup-stored");
    let site = Site::new(version, &folder);
    site.primary.query(SOME_DATA);
    site.primary.create_tablespace(&folder, "apart");
    site.primary.query("CREATE TABLE elsewhere TABLESPACE apart AS SELECT generate_series(1, 1000)");
    let before = site.primary.query("SELECT clock_timestamp()");
    let answer = json(&site.backup(&["--label", "it's Monday", "--output", "json"]).success().stdout);
    let backup = &answer["backup"];
    assert_eq!(backup["label"], "it's Monday");
    assert_eq!(backup["method"], "stream");
    assert_eq!(backup["major_version"], version.number());
    assert_eq!(backup["tablespaces"].as_array().unwrap().len(), 1);
    assert_eq!(backup["server"]["settings"]["data_directory"], site.primary.data.to_str().unwrap());
    for name in ["shared_preload_libraries", "session_preload_libraries", "local_preload_libraries"] {
        assert_eq!(backup["server"]["settings"][name], "", "{backup}");
    }
    let libraries = &backup["server"]["libraries"];
    // those of 16 to 18 are built without ICU
    let icu = (version <= PgVersion::V15).then_some(("icu", "."));
    for (name, words) in [("os", " "), ("libc", "version 2.")].into_iter().chain(icu) {
        assert!(libraries[name].as_str().unwrap_or_default().contains(words), "{name}: {libraries}");
    }
    let positions = format!(
        "SELECT '{}'::pg_lsn < '{}'::pg_lsn AND '{}'::pg_lsn <= pg_current_wal_lsn() \
         AND '{}'::timestamptz >= '{before}' AND '{}'::timestamptz <= clock_timestamp()",
        backup["start_lsn"].as_str().unwrap(),
        backup["stop_lsn"].as_str().unwrap(),
        backup["stop_lsn"].as_str().unwrap(),
        backup["start_time"].as_str().unwrap(),
        backup["stop_time"].as_str().unwrap(),
    );
    assert_eq!(site.primary.query(&positions), "t");
    assert_eq!(site.backups(), [backup["id"].as_str().unwrap()]);
}

#[test]
fn a_backup_of_postgresql_15_is_stored() {
    backup_is_stored(PgVersion::V15);
}

#[test]
fn a_backup_of_postgresql_17_is_stored() {
    backup_is_stored(PgVersion::V17);
}

/// The older form of the command, with everything that can be asked for.
#[test]
#[ignore = "slow tier: scripts/test --all"]
fn backups_of_postgresql_13_and_14_are_stored() {
    for version in [PgVersion::V13, PgVersion::V14] {
        backup_is_stored(version);
        let folder = TestFolder::new("backup-older");
        let site = Site::new(version, &folder);
        site.backup(&["--max-rate", "20MB"]).success();
        site.pgv.run("pgv-basebackup", &["--checkpoint", "spread", "--label", "x' FAST"]).success();
        assert_eq!(site.backups().len(), 2);
    }
}

#[test]
fn two_backups_at_once_are_both_stored() {
    let folder = TestFolder::new("backup-twice");
    let site = Site::new(PgVersion::V15, &folder);
    let both: Vec<_> = std::thread::scope(|scope| {
        let both = ["direct", "stream"].map(|method| {
            let site = &site;
            scope.spawn(move || site.backup(&["--method", method]))
        });
        both.map(|one| one.join().unwrap()).into()
    });
    for outcome in both {
        outcome.success();
    }
    assert_eq!(site.backups().len(), 2);
}

#[test]
fn a_broken_archive_command_is_told_before_data_is_read() {
    let folder = TestFolder::new("backup-no-archive");
    let site = Site::new(PgVersion::V15, &folder);
    site.primary.configure(&["archive_command = 'false'"]);
    site.primary.reload();
    site.primary.query(SOME_DATA);
    let outcome = site.backup(&["--archive-timeout", "2s"]).expect_code(4);
    let outcome = outcome.expect_stderr("did not arrive in the archive within 2 s: archiving does not work");
    assert!(outcome.elapsed < Duration::from_secs(20), "{outcome}");
    assert_eq!(site.backups(), [""; 0]);
    assert!(!site.tree().join("packs").exists(), "data was stored");
}

/// Nothing was written since the backup before, so all WAL is there when the next one looks.
#[test]
fn an_archive_command_that_broke_since_the_last_backup_is_told_as_soon() {
    let folder = TestFolder::new("backup-broke");
    let site = Site::new(PgVersion::V15, &folder);
    site.primary.query(SOME_DATA);
    site.backup(&[]).success();
    let size = || fs::read_dir(site.tree().join("packs")).unwrap().count();
    let before = size();
    site.primary.configure(&["archive_command = 'false'"]);
    site.primary.reload();
    // At first nothing has failed yet; then it is told before the checkpoint, which may take minutes.
    for (method, has_failed) in [("stream", false), ("direct", true), ("stream", true)] {
        let outcome = site.backup(&["--archive-timeout", "3s", "--method", method]).expect_code(4);
        let outcome = outcome.expect_stderr("did not arrive in the archive within 3 s: archiving does not work");
        let outcome = outcome.expect_stderr("the server's archiver has failed").expect_stderr("pg_stat_archiver");
        let before = outcome.stderr.split("waiting for the server's checkpoint").next().unwrap();
        assert_eq!(before.contains("the server's archiver has failed"), has_failed, "{outcome}");
    }
    assert_eq!((site.backups().len(), size()), (1, before), "data was stored");
}

/// Ended by a signal or by the server, a backup leaves nothing that is listed, says so, and does not keep the next one
/// from success.
#[test]
fn a_backup_that_ends_early_is_not_listed() {
    let folder = TestFolder::new("backup-ended");
    let site = Site::new(PgVersion::V15, &folder);
    site.primary.query(SOME_DATA);
    type Disturb = fn(&Site, &Child);
    const BY_SIGNAL: &[&str] = &["was ended by a signal; nothing of it is listed"];
    // One that waits for a client which is not reading just then goes without a word (`ProcessClientWriteInterrupt`).
    const BY_SERVER: &[&str] =
        &["terminating connection due to administrator command", "the server closed the connection unexpectedly"];
    let rows: &[(&str, Option<i32>, &[&str], Disturb)] = &[
        ("SIGINT", Some(130), BY_SIGNAL, |_, child| {
            kill_process(Pid::from_child(child), Signal::INT).unwrap();
        }),
        ("SIGTERM", Some(130), BY_SIGNAL, |_, child| {
            kill_process(Pid::from_child(child), Signal::TERM).unwrap();
        }),
        ("SIGKILL", None, &[""], |_, child| kill_process(Pid::from_child(child), Signal::KILL).unwrap()),
        ("walsender", Some(4), BY_SERVER, |site, _| {
            let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_replication WHERE state = 'backup'";
            assert_eq!(site.primary.query(sql), "t");
        }),
    ];
    for (name, status, words, disturb) in rows {
        let child = begin_slow_backup(&site);
        wait_for_data(&site);
        disturb(&site, &child);
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), *status, "{name}: {stderr}");
        assert!(words.iter().any(|words| stderr.contains(words)), "{name}: {stderr}");
        assert_eq!(site.backups(), [""; 0], "{name}");
        let senders = "SELECT count(*) FROM pg_stat_replication";
        wait_until("the server has noticed", PATIENCE, || site.primary.query(senders) == "0");
        if *name == "SIGKILL" {
            for left_over in fs::read_dir(site.pgv.repository.join(".staging")).unwrap() {
                fs::remove_file(left_over.unwrap().path()).unwrap();
            }
        }
        // WAL that is just being archived is there for a moment
        wait_until("nothing is left behind", PATIENCE, || !is_staging(&site));
    }
    site.backup(&[]).success();
    assert_eq!(site.backups().len(), 1);
}

#[test]
fn who_may_not_is_told_what_is_missing() {
    let folder = TestFolder::new("backup-rights");
    let site = Site::new(PgVersion::V15, &folder);
    site.primary.query("CREATE ROLE plain LOGIN");
    let outcome = site.pgv.run("pgv-basebackup", &["-U", "plain", "--checkpoint", "fast"]);
    let outcome = outcome.expect_code(4).expect_stderr("must be superuser or replication role to start walsender");
    outcome.expect_stderr("prints the SQL of a role that may do what backups need");
    let wrong_port = site.pgv.run("pgv-basebackup", &["-p", "1"]);
    wrong_port.expect_code(4).expect_stderr(".s.PGSQL.1");
    assert_eq!(site.backups(), [""; 0]);
}

/// A server of another cluster than the one that is named is refused before anything is stored.
#[test]
fn another_cluster_is_refused() {
    let folder = TestFolder::new("backup-other");
    let site = Site::new(PgVersion::V15, &folder);
    let other = TestCluster::builder(PgVersion::V15, &folder).name("other").start();
    let conninfo = other.conninfo();
    let outcome = site.pgv.run("pgv-basebackup", &["--cluster", "main", "-d", &conninfo]).expect_code(3);
    outcome.expect_stderr("is registered with system identifier");
    assert!(!site.tree().join("backups").exists());
}

/// A tablespace whose files the server does not send must not be missing from a backup that looks complete.
#[test]
fn a_tablespace_that_is_not_sent_is_no_silent_loss() {
    let folder = TestFolder::new("backup-in-place");
    let site = Site::new(PgVersion::V15, &folder);
    site.primary.configure(&["allow_in_place_tablespaces = on"]);
    site.primary.reload();
    site.primary.query("CREATE TABLESPACE inside LOCATION ''");
    site.primary.query("CREATE TABLE in_it TABLESPACE inside AS SELECT generate_series(1, 1000)");
    let outcome = site.backup(&[]).expect_code(3);
    outcome.expect_stderr("the backup would be incomplete");
    assert_eq!(site.backups(), [""; 0]);
}

/// A location that the record cannot name is refused before anything is sent, not when everything was.
#[test]
fn a_tablespace_whose_location_is_not_utf8_is_refused_at_once() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = TestFolder::new("backup-latin1");
    let site = Site::new(PgVersion::V15, &folder);
    let parent = folder.make("spaces");
    let path = parent.join(std::ffi::OsStr::from_bytes(b"caf\xe9"));
    let mut mkdir = TestAccount::get().command("mkdir");
    mkdir.arg("-m").arg("700").arg(&path);
    run(mkdir).success();
    site.primary.query("CREATE DATABASE bytes ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
    site.primary.query_in("bytes", &format!("CREATE TABLESPACE latin1 LOCATION E'{}/caf\\xe9'", parent.display()));
    let outcome = site.backup(&[]).expect_code(3);
    let outcome = outcome.expect_stderr("caf\\xe9\", which is not UTF-8, so the backup could not name it");
    assert_eq!(site.backups(), [""; 0]);
    assert!(!site.tree().join("packs").exists(), "data was stored\n{outcome}");
}
