//! Standbys that archive everything that they receive, into the archive of their primary: `archive_mode = always`.

use std::time::Duration;

use crate::support::{Ledger, PgVersion, Settled, Site, TestCluster, TestFolder, pg_basebackup, program, wait_until};

const VERSION: PgVersion = PgVersion::V15;
const PATIENCE: Duration = Duration::from_secs(60);

/// A standby that streams from `upstream`.
fn standby(site: &Site, folder: &TestFolder, name: &str, upstream: &TestCluster) -> TestCluster {
    pg_basebackup(&site.primary, &folder.join(name), &["--wal-method=fetch"]).success();
    folder.write(format!("{name}/standby.signal"), "");
    let (archive, config) = (program("pgv-archive"), site.pgv.config.display());
    let lines = [
        format!("primary_conninfo = '{}'", upstream.conninfo().replace('\'', "''")),
        "archive_mode = always".to_owned(),
        format!("archive_command = '{} --config {config} --cluster main %p %f'", archive.display()),
        "wal_retrieve_retry_interval = 100ms".to_owned(),
        "wal_keep_size = 0".to_owned(),
    ];
    folder.write(format!("{name}/postgresql.auto.conf"), lines.join("\n") + "\n");
    let mut standby = TestCluster::at(VERSION, folder, &format!("{name}-server"), &folder.join(name));
    standby.start();
    standby
}

#[track_caller]
fn has_rows(server: &TestCluster, ledger: &Ledger) {
    let count = ledger.all().len().to_string();
    wait_until("it has followed", PATIENCE, || server.try_query("SELECT count(*) FROM ledger").stdout.trim() == count);
}

/// Nothing waits to be archived, and something was.
#[track_caller]
fn has_archived(server: &TestCluster) {
    let marks = || -> Vec<String> {
        let entries = std::fs::read_dir(server.data.join("pg_wal/archive_status")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    };
    let is_waiting = || marks().iter().any(|name| name.ends_with(".ready"));
    wait_until(&format!("nothing waits in {}", server.data.display()), PATIENCE, || !is_waiting());
    assert!(marks().iter().any(|name| name.ends_with(".done")), "{:?}", marks());
}

/// p feeds c, which feeds d; then c is promoted, which leaves d with a part of a segment that p fills.
#[test]
fn a_cascade_archives_and_a_promotion_in_it_holds_nobody_up() {
    let folder = TestFolder::in_memory("archive-always");
    let builder = TestCluster::builder(VERSION, &folder).initdb("--wal-segsize=1").line("wal_keep_size = 64MB");
    let site = Site::of(builder, &folder);
    let primary = &site.primary;
    let mut ledger = Ledger::create(primary);
    ledger.commit_many(primary, 3);
    site.backup(&[]).success();
    let first = standby(&site, &folder, "first", primary);
    let second = standby(&site, &folder, "second", &first);
    // Behind a switch a segment that was used before holds what was in it.
    for _ in 0..4 {
        for _ in 0..3 {
            ledger.commit_many(primary, 2);
            primary.query("SELECT pg_logical_emit_message(true, 'x', repeat(md5(random()::text), 8000))");
            primary.archive_all();
        }
        primary.query("CHECKPOINT");
        ledger.commit_many(primary, 1);
        primary.archive_all();
        [&first, &second].into_iter().for_each(|standby| {
            has_rows(standby, &ledger);
            standby.query("CHECKPOINT");
        });
    }
    [&first, &second].into_iter().for_each(has_archived);

    ledger.commit_many(primary, 2);
    has_rows(&second, &ledger);
    first.promote();
    first.query("CREATE TABLE elsewhere (n int)");
    wait_until("it follows to the new timeline", PATIENCE, || {
        second.try_query("SELECT received_tli FROM pg_stat_wal_receiver").stdout.trim() == "2"
    });
    first.archive_all();
    [&first, &second].into_iter().for_each(has_archived);
    assert!(second.log().contains("it ends early, where timeline 2 left timeline 1"), "{}", second.log());

    ledger.commit_many(primary, 3);
    primary.archive_all();
    site.restore(&folder.join("copy"), &["--target-timeline", "1"]).success();
    let mut copy = TestCluster::at(VERSION, &folder, "copy-server", &folder.join("copy"));
    assert_eq!(copy.start_and_settle(), Settled::Open, "log:\n{}", copy.log());
    Ledger::assert(&copy, &ledger.all());
}
