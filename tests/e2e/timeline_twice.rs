//! Two standbys that were promoted apart from each other, both to timeline 2: what the archive knows of one says nothing
//! of the other.

use std::time::Duration;

use crate::support::{
    Ledger, PgVersion, Settled, Site, TestAccount, TestCluster, TestFolder, pg_basebackup, wait_until,
};

const VERSION: PgVersion = PgVersion::V15;

fn standby(site: &Site, folder: &TestFolder, name: &str) -> TestCluster {
    pg_basebackup(&site.primary, &folder.join(name), &["--wal-method=fetch"]).success();
    folder.write(format!("{name}/standby.signal"), "");
    let conninfo = site.primary.conninfo().replace('\'', "''");
    folder.write(
        format!("{name}/postgresql.auto.conf"),
        format!("primary_conninfo = '{conninfo}'\narchive_mode = off\n"),
    );
    let mut standby = TestCluster::at(VERSION, folder, &format!("{name}-server"), &folder.join(name));
    standby.start();
    standby
}

#[track_caller]
fn has_rows(server: &TestCluster, ledger: &Ledger) {
    let count = ledger.all().len().to_string();
    let counted = || server.try_query("SELECT count(*) FROM ledger").stdout.trim() == count;
    wait_until("it has followed", Duration::from_secs(60), counted);
}

/// The first one's history is archived, and the second one dies with commits that nobody else has.
#[test]
fn the_log_of_a_namesake_is_not_read_along_the_archived_history() {
    let folder = TestFolder::in_memory("timeline-twice");
    let builder = TestCluster::builder(VERSION, &folder).initdb("--wal-segsize=1").line("autovacuum = off");
    let mut site = Site::of(builder.line("wal_keep_size = 64MB"), &folder);
    let mut ledger = Ledger::create(&site.primary);
    site.backup(&[]).success();
    let (mut first, mut second) = (standby(&site, &folder, "first"), standby(&site, &folder, "second"));
    ledger.commit_many(&site.primary, 2);
    site.primary.archive_all();
    site.primary.configure(&["archive_command = 'false'"]);
    site.primary.reload();
    ledger.commit_many(&site.primary, 1);
    [&first, &second].into_iter().for_each(|standby| has_rows(standby, &ledger));
    first.promote();
    let history = first.data.join("pg_wal/00000002.history").display().to_string();
    site.pgv.run_in(&first.data, "pgv-archive", &["--cluster", "main", &history]).success();
    first.kill();
    // Behind the page on which the first one left it.
    site.primary.query("SELECT pg_logical_emit_message(false, 'test', repeat('x', 20000))");
    ledger.commit_many(&site.primary, 5);
    has_rows(&second, &ledger);
    site.primary.kill();
    std::fs::remove_dir_all(&site.primary.data).unwrap();
    second.promote();
    second.kill();

    let (new, from) = (folder.join("new"), second.data.display().to_string());
    let refused = site.restore(&new, &["--wal-from", &from]);
    assert_eq!(refused.status.code(), Some(3), "{refused}");
    let words = "is of another timeline 2 than the one in the archive: that began at ";
    assert!(refused.stderr.contains(words), "{refused}");
    assert!(!new.exists());

    // As the hint says.
    assert!(refused.stderr.contains("without \"00000002*\""), "{refused}");
    let copy = folder.make("copy");
    for entry in std::fs::read_dir(second.data.join("pg_wal")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_file() && !name.starts_with("00000002") {
            std::fs::copy(&path, copy.join(name)).unwrap();
            TestAccount::get().take_over(&copy.join(name));
        }
    }
    let from = copy.display().to_string();
    let restored = site.restore(&new, &["--wal-from", &from, "--target-timeline", "1"]);
    assert_eq!(restored.status.code(), Some(0), "{restored}");
    let mut server = TestCluster::at(VERSION, &folder, "new-server", &new);
    assert_eq!(server.start_and_settle(), Settled::Open, "log:\n{}", server.log());
    Ledger::assert(&server, &ledger.all());
}
