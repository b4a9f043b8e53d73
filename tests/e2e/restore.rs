//! Restores of real servers: exactly the rows of the moment that was asked for, on PostgreSQL 15 and 17.

use std::path::Path;

use crate::support::{
    Ledger, PgVersion, Settled, Site, TestCluster, TestFolder, dump, pg_amcheck, pg_checksums, pg_verifybackup,
};

/// Starts what was restored into `data` and waits until it has opened or paused.
fn started(site: &Site, folder: &TestFolder, data: &Path, expected: Settled) -> TestCluster {
    let name = data.file_name().unwrap().to_str().unwrap().to_owned() + "-server";
    let mut copy = TestCluster::at(site.primary.version, folder, &name, data);
    assert_eq!(copy.start_and_settle(), expected, "log:\n{}", copy.log());
    copy
}

/// What PostgreSQL's own tools say of a directory before it is started.
fn verified(version: PgVersion, data: &Path) {
    let extra = ["postgresql.auto.conf", "recovery.signal", "standby.signal", "tablespace_map", "backup_manifest"];
    let options: Vec<String> = extra.iter().map(|name| format!("--ignore={name}")).collect();
    let mut options: Vec<&str> = options.iter().map(String::as_str).collect();
    options.push("--no-parse-wal");
    pg_verifybackup(version, data, &options).success();
}

fn latest_and_a_time(version: PgVersion) {
    let folder = TestFolder::new("restore-time");
    let mut site = Site::new(version, &folder);
    let (ledger, middle) = site.with_history();
    let (all, until) = (ledger.all(), ledger.until(&middle));
    assert!(until.len() < all.len() && until.len() > 3);
    let before = dump(&site.primary);
    site.primary.stop();

    let latest = folder.join("latest");
    site.restore(&latest, &[]).success();
    verified(version, &latest);
    let mut copy = started(&site, &folder, &latest, Settled::Open);
    Ledger::assert(&copy, &all);
    assert_eq!(dump(&copy), before);
    assert_eq!(copy.query("SHOW archive_mode"), "off");
    let auto = std::fs::read_to_string(latest.join("postgresql.auto.conf")).unwrap();
    assert!(!auto.contains("recovery_target"), "targets survive recovery:\n{auto}");
    pg_amcheck(&copy).success();
    copy.stop();
    pg_checksums(version, &latest).success();

    let at_time = folder.join("at-time");
    let target = middle.text.clone();
    site.restore(&at_time, &["--target-time", &target]).success();
    let copy = started(&site, &folder, &at_time, Settled::Paused);
    Ledger::assert(&copy, &until);
    copy.promote();
    Ledger::assert(&copy, &until);
}

#[test]
fn postgresql_15_comes_back_as_of_the_latest_and_of_a_time() {
    latest_and_a_time(PgVersion::V15);
}

#[test]
fn postgresql_17_comes_back_as_of_the_latest_and_of_a_time() {
    latest_and_a_time(PgVersion::V17);
}
