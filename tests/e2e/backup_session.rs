//! The connections of a backup: a server that is slow to answer, that ends the session beside the stream, and that lacks
//! the history of its timeline.

use std::fs;
use std::time::Duration;

use crate::support::{PgVersion, Site, TestFolder, run_within, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);

/// Some terabytes on a busy file system, or a lock: what is only shown must not keep a backup from being taken.
#[test]
fn what_a_backup_can_do_without_is_not_waited_for() {
    let folder = TestFolder::new("session-slow");
    let site = Site::new(PgVersion::V15, &folder);
    for (name, argument, result) in
        [("pg_tablespace_size", "oid", "bigint"), ("pg_collation_actual_version", "oid", "text")]
    {
        site.primary.query(&format!("ALTER FUNCTION pg_catalog.{name}({argument}) RENAME TO quick_{name}"));
        site.primary.query(&format!(
            "CREATE FUNCTION pg_catalog.{name}({argument}) RETURNS {result} LANGUAGE plpgsql \
             AS 'BEGIN PERFORM pg_sleep(3600); RETURN 1; END'"
        ));
    }
    let backup = site.pgv.command("pgv-basebackup", &["--checkpoint", "fast", "--method", "direct"]);
    run_within(PATIENCE, backup).success();
    let running = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pgv%'";
    assert_eq!(site.primary.query(running), "0", "a question that nobody waits for still runs");
}

/// An administrator, or `idle_session_timeout` of a role.
#[test]
fn a_stream_goes_on_when_the_session_beside_it_is_ended() {
    let folder = TestFolder::new("session-ended");
    let site = Site::new(PgVersion::V15, &folder);
    std::thread::scope(|scope| {
        let backup = scope.spawn(|| site.backup(&["--max-rate", "4MB"]));
        let phase = "SELECT phase FROM pg_stat_progress_basebackup";
        wait_until("data is sent", PATIENCE, || site.primary.query(phase) == "streaming database files");
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                   WHERE application_name = 'pgv-basebackup' AND backend_type = 'client backend'";
        assert_eq!(site.primary.query(end), "1");
        backup.join().unwrap().success();
    });
    assert_eq!(site.backups().len(), 1);
}

/// PostgreSQL itself needs the file only when a standby follows.
#[test]
fn a_server_without_the_history_of_its_timeline_is_told_how_to_get_it() {
    let folder = TestFolder::new("session-history");
    let mut site = Site::new(PgVersion::V15, &folder);
    site.primary.stop();
    fs::write(site.primary.data.join("standby.signal"), "").unwrap();
    site.primary.start();
    site.primary.promote();
    site.primary.archive_all();
    let history = site.primary.data.join("pg_wal/00000002.history");
    for method in ["stream", "direct"] {
        fs::remove_file(&history).unwrap();
        let refused = site.backup(&["--method", method]).expect_code(4);
        let refused = refused.expect_stderr("has no history of its timeline 2");
        let line =
            refused.stderr.lines().find(|line| line.contains("pgv-fetch")).unwrap_or_else(|| panic!("{refused}"));
        assert!(line.contains("00000002.history"), "{refused}");
        let words = ["00000002.history", "pg_wal/00000002.history"];
        site.pgv.run_in(&site.primary.data, "pgv-fetch", &words).success();
        site.backup(&["--method", method]).success();
    }
}
