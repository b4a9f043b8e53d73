//! Every version of PostgreSQL, from `pgv init` to a copy that takes writes; 15 and 17 are everywhere else too.
//!
//! One path in the fast tier. Every kind of target, promotion and standbys are in `versions_complete`.

use std::path::Path;

use serde_json::Value;

use crate::support::{
    Ledger, Moment, PgVersion, Settled, Site, TestCluster, TestFolder, dump, pg_amcheck, pg_checksums, pg_verifybackup,
};

/// What PostgreSQL's own tool says of a directory before it is started.
fn verified(version: PgVersion, data: &Path) {
    let extra = ["postgresql.auto.conf", "recovery.signal", "tablespace_map", "backup_manifest"];
    let options: Vec<String> = extra.iter().map(|name| format!("--ignore={name}")).collect();
    pg_verifybackup(version, data, &options.iter().map(String::as_str).collect::<Vec<_>>()).success();
}

/// The SQL that the next steps tell a person to run; each must exist in the version.
fn printed_sql(restored: &Value) -> Vec<String> {
    let steps = restored["next_steps"].as_array().unwrap();
    let commands = steps.iter().map(|step| step["command"].as_str().unwrap());
    let sql = |command: &str| Some(command.split_once("-c 'SELECT ")?.1.split_once('\'')?.0.to_owned());
    commands.filter_map(sql).map(|sql| format!("SELECT {sql}")).collect()
}

/// What `pgv verify` says of all that the version wrote, every record of its WAL included.
fn is_sound(site: &Site) {
    let sound = site.pgv.run("pgv", &["verify", "--wal-records", "--output", "json"]).success();
    let report: Value = serde_json::from_str(&sound.stdout).unwrap();
    assert_eq!(report["damaged"].as_array().map(Vec::len), Some(0), "{report}");
    assert!(report["read"]["wal_records"].as_u64().unwrap() > 20, "{report}");
}

/// Before which record recovery to that moment stops, by `pgv target`; the last commit before it is the ledger's.
fn proven_stop(site: &Site, ledger: &Ledger, moment: &Moment) -> String {
    let options = ["target", "--target-time", &moment.text, "--output", "json"];
    let answer: Value = serde_json::from_str(&site.pgv.run("pgv", &options).success().stdout).unwrap();
    let proof = &answer["point"]["proof"];
    let until = ledger.until(moment);
    let last = ledger.rows.iter().rfind(|row| until.contains(&row.id)).unwrap();
    assert_eq!(proof["commit_before"]["xid"], last.xid, "{proof}");
    proof["stop"]["lsn"].as_str().unwrap_or_else(|| panic!("{proof}")).to_owned()
}

/// Backup with a tablespace, rows, a time between them, the disaster, the time again, promotion.
fn comes_back(version: PgVersion) {
    let folder = TestFolder::new(&format!("version-{}", version.number()));
    let mut site = Site::new(version, &folder);
    let space = site.primary.create_tablespace(&folder, "apart");
    site.primary.query("CREATE TABLE elsewhere TABLESPACE apart AS SELECT generate_series(1, 1000) AS i");
    let (ledger, middle) = site.with_history();
    let until = ledger.until(&middle);
    assert!(until.len() < ledger.all().len() && until.len() > 3);
    is_sound(&site);
    site.primary.stop();
    let stop = proven_stop(&site, &ledger, &middle);

    let data = folder.join("copy");
    let mapping = format!("{}={}", space.display(), folder.join("apart-copy").display());
    let options = ["--target-time", &middle.text, "-T", &mapping, "--output", "json"];
    let restored: Value = serde_json::from_str(&site.restore(&data, &options).success().stdout).unwrap();
    verified(version, &data);
    let mut copy = TestCluster::at(version, &folder, "copy-server", &data);
    assert_eq!(copy.start_and_settle(), Settled::Paused, "log:\n{}", copy.log());
    Ledger::assert(&copy, &until);
    assert_eq!(copy.query(&format!("SELECT pg_last_wal_replay_lsn() <= '{stop}'::pg_lsn")), "t");
    assert_eq!(copy.query("SELECT count(*), sum(i) FROM elsewhere"), "1000|500500");

    let sql = printed_sql(&restored);
    assert!(sql.len() >= 2, "{restored}");
    for sql in sql.iter().filter(|sql| !sql.contains("pg_promote")) {
        assert!(!copy.query(sql).is_empty(), "{sql}");
    }
    copy.promote();
    Ledger::assert(&copy, &until);
    assert_eq!(copy.query("SHOW archive_mode"), "off");
    copy.query("INSERT INTO ledger VALUES (1000, 'of the copy')");
    let auto = std::fs::read_to_string(data.join("postgresql.auto.conf")).unwrap();
    assert!(!auto.contains("recovery_target"), "targets survive recovery:\n{auto}");
    // pg_checksums of another version, which is what 13 and 14 have, does not find their folder in a tablespace
    copy.query("DROP TABLE elsewhere");
    copy.query("DROP TABLESPACE apart");
    copy.stop();
    pg_checksums(version, &data).success();
}

#[test]
fn postgresql_13_comes_back() {
    comes_back(PgVersion::V13);
}

#[test]
fn postgresql_14_comes_back() {
    comes_back(PgVersion::V14);
}

#[test]
fn postgresql_16_comes_back() {
    comes_back(PgVersion::V16);
}

#[test]
fn postgresql_18_comes_back() {
    comes_back(PgVersion::V18);
}

/// Without a target everything comes back, as SQL the same, with its indexes.
fn everything_comes_back(version: PgVersion) {
    let folder = TestFolder::new(&format!("version-{}-all", version.number()));
    let mut site = Site::new(version, &folder);
    let (ledger, _) = site.with_history();
    let before = dump(&site.primary);
    site.primary.stop();
    let data = folder.join("copy");
    site.restore(&data, &[]).success();
    let mut copy = TestCluster::at(version, &folder, "copy-server", &data);
    assert_eq!(copy.start_and_settle(), Settled::Open, "log:\n{}", copy.log());
    Ledger::assert(&copy, &ledger.all());
    assert_eq!(dump(&copy), before);
    // the package of 16 has no amcheck, and 13's checks no tables
    if ![PgVersion::V13, PgVersion::V16].contains(&version) {
        pg_amcheck(&copy).success();
    }
    copy.stop();
    pg_checksums(version, &data).success();
}

#[test]
#[ignore = "slow tier: scripts/test --all"]
fn everything_comes_back_on_every_version() {
    PgVersion::ALL.into_iter().for_each(everything_comes_back);
}

/// Archive, proof and restore with segments of another size than 16 MB; those of 1 MB are in `restore_targets`.
fn comes_back_with_segments_of(megabytes: u32) {
    let folder = TestFolder::new(&format!("segments-{megabytes}"));
    let size = format!("--wal-segsize={megabytes}");
    // sparse segments, and none kept for later: a gigabyte each is enough
    let builder = TestCluster::builder(PgVersion::V15, &folder).initdb(&size);
    let builder = builder.line("wal_init_zero = off").line("wal_recycle = off");
    let mut site = Site::of(builder, &folder);
    let (ledger, middle) = site.with_history();
    assert_eq!(site.primary.query("SELECT setting FROM pg_settings WHERE name = 'wal_segment_size'"), {
        (megabytes << 20).to_string()
    });
    is_sound(&site);
    site.primary.stop();
    let target = ["--target-time", &middle.text];
    let until = ledger.until(&middle);
    let stop = proven_stop(&site, &ledger, &middle);

    let data = folder.join("copy");
    site.restore(&data, &target).success();
    verified(PgVersion::V15, &data);
    let mut copy = TestCluster::at(PgVersion::V15, &folder, "copy-server", &data);
    assert_eq!(copy.start_and_settle(), Settled::Paused, "log:\n{}", copy.log());
    Ledger::assert(&copy, &until);
    assert_eq!(copy.query(&format!("SELECT pg_last_wal_replay_lsn() <= '{stop}'::pg_lsn")), "t");
    copy.promote();
    Ledger::assert(&copy, &until);
}

#[test]
fn segments_of_64_megabytes() {
    comes_back_with_segments_of(64);
}

#[test]
#[ignore = "slow tier: scripts/test --all"]
fn segments_of_a_gigabyte() {
    comes_back_with_segments_of(1024);
}
