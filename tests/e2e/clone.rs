//! A copy of a server has its identity and its configuration: its backups must not be listed beside the original's.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::support::{PgVersion, Site, TestAccount, TestCluster, TestFolder, run};

fn copy_directory(from: &Path, to: &Path) {
    let mut copy = TestAccount::get().command("cp");
    copy.arg("-a").arg(from).arg(to);
    run(copy).success();
}

/// Both begin at the same positions, as idle servers do, and even the names of their segments are the same.
#[test]
fn a_backup_whose_archived_wal_is_the_original_s_is_refused() {
    let folder = TestFolder::new("backup-clone");
    let mut site = Site::new(PgVersion::V15, &folder);
    site.primary.stop();
    let data = folder.join("clone");
    copy_directory(&site.primary.data, &data);
    let mut clone = TestCluster::at(PgVersion::V15, &folder, "clone-server", &data);
    site.primary.start();
    clone.start();
    site.backup(&[]).success();
    site.primary.query("CREATE TABLE later AS SELECT generate_series(1, 1000)");
    site.primary.archive_all();
    // Of idle servers, only the times of their checkpoints differ, which are whole seconds.
    std::thread::sleep(Duration::from_millis(1100));
    let conninfo = clone.conninfo();
    let options = ["--checkpoint", "fast", "--archive-timeout", "5s", "-d", &conninfo];
    let outcome = site.pgv.run("pgv-basebackup", &options).expect_code(3);
    let outcome = outcome.expect_stderr("the archived WAL is not that of server");
    outcome.expect_stderr(&format!("(stored by host \"{}\", directory \"{}\")", host(), site.primary.data.display()));
    assert_eq!(site.backups().len(), 1, "the clone's backup is listed");

    // Both are promoted to a second timeline, each to its own.
    clone.query("CREATE TABLE own AS SELECT generate_series(1, 300000)");
    for server in [&mut site.primary, &mut clone] {
        server.stop();
        fs::write(server.data.join("standby.signal"), "").unwrap();
        server.start();
        server.promote();
        server.query("CHECKPOINT");
    }
    site.backup(&[]).success();
    let outcome = site.pgv.run("pgv-basebackup", &options).expect_code(3);
    outcome.expect_stderr("the archived history of timeline 2").expect_stderr("is not that of server");
    assert_eq!(site.backups().len(), 2, "the clone's backup is listed");
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Makes a server end its timeline and begin the next.
fn promote(server: &mut TestCluster) {
    server.stop();
    fs::write(server.data.join("standby.signal"), "").unwrap();
    server.start();
    server.promote();
}

/// A history in the archive counts for every standby that reads it, and its name is taken for ever.
#[test]
fn a_backup_of_a_promoted_copy_that_fails_leaves_no_history_in_the_archive() {
    let folder = TestFolder::new("backup-clone-history");
    let mut site = Site::new(PgVersion::V15, &folder);
    site.primary.stop();
    let data = folder.join("clone");
    copy_directory(&site.primary.data, &data);
    let mut clone = TestCluster::at(PgVersion::V15, &folder, "clone-server", &data);
    clone.configure(&["archive_mode = off"]);
    site.primary.start();
    clone.start();
    promote(&mut clone);
    let history = site.tree().join("history/00000002.history");
    let conninfo = clone.conninfo();
    for method in ["stream", "direct"] {
        let options = ["--archive-timeout", "2s", "--method", method, "-d", &conninfo];
        site.backup(&options).expect_code(4).expect_stderr("did not arrive in the archive");
        assert!(!history.exists(), "{method}: the copy's history is in the archive of its original");
    }
    site.primary.query("CREATE TABLE later AS SELECT generate_series(1, 1000)");
    promote(&mut site.primary);
    site.backup(&[]).success();
    let stored = site.pgv.run("pgv-fetch", &["00000002.history", folder.join("fetched").to_str().unwrap()]);
    stored.success();
    let own = fs::read(site.primary.data.join("pg_wal/00000002.history")).unwrap();
    assert_eq!(fs::read(folder.join("fetched")).unwrap(), own);
}

/// A server that never archived its history has it stored by the first backup that is proven to be its own.
#[test]
fn a_backup_that_is_proven_stores_the_history_of_its_timeline() {
    let folder = TestFolder::new("backup-own-history");
    let mut site = Site::new(PgVersion::V15, &folder);
    promote(&mut site.primary);
    site.primary.archive_all();
    let history = site.tree().join("history/00000002.history");
    for method in ["stream", "direct"] {
        fs::remove_file(&history).unwrap();
        site.backup(&["--method", method]).success();
        assert!(history.exists(), "{method}: the history is not in the archive");
    }
}
