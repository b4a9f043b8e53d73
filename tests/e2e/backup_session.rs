//! The connections of a backup: a server that is slow to answer.

use std::time::Duration;

use crate::support::{PgVersion, Site, TestFolder, run_within};

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
