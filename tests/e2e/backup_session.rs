//! The connections of a backup: a server that is slow to answer, and that ends the session beside the stream.

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
