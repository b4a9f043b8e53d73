//! A cluster's name after pg_upgrade or a rebuild: the backups of the system before are shown, and restored when they
//! are named.

use crate::support::{Ledger, PgVersion, Settled, Site, TestCluster, TestFolder};

/// The site goes on with another system under the same name, as `pgv init --upgraded` says how.
fn upgrade(site: &mut Site, folder: &TestFolder) {
    site.primary.stop();
    let builder = TestCluster::builder(PgVersion::V17, folder).name("upgraded");
    site.primary = builder.line("archive_mode = on").line("wal_level = replica").start();
    let printed = site.init(&["--upgraded"]).success();
    let line = printed.stdout.lines().map(str::trim).find(|line| line.starts_with("archive_command = "));
    let text = std::fs::read_to_string(&site.pgv.config).unwrap();
    let (data, conninfo) = (site.primary.data.display().to_string(), site.primary.conninfo());
    let identifier = site.primary.query("SELECT system_identifier FROM pg_control_system()");
    let values = [("pgdata", data), ("conninfo", conninfo), ("system_identifier", identifier)];
    let changed = text.lines().map(|line| match values.iter().find(|(name, _)| line.starts_with(name)) {
        Some((name, value)) => format!("{name} = \"{value}\"\n"),
        None => format!("{line}\n"),
    });
    let changed: String = changed.collect();
    folder.write("pgv.toml", changed);
    site.primary.configure(&[line.unwrap()]);
    site.primary.reload();
}

#[test]
fn a_backup_from_before_an_upgrade_is_restored_by_its_id() {
    let folder = TestFolder::new("trees");
    let mut site = Site::new(PgVersion::V15, &folder);
    let (ledger, middle) = site.with_history();
    let old = site.backups().pop().unwrap();
    let old_system = site.primary.query("SELECT system_identifier FROM pg_control_system()");
    upgrade(&mut site, &folder);

    // Nothing of the new one is there yet: the way back is named.
    let hint = format!("(PostgreSQL 15, system identifier {old_system}): --backup {old}");
    let refused = site.restore(&folder.join("x"), &["--target-time", &middle.text]).expect_code(1);
    refused.expect_stderr("cluster \"main\" has no backup to restore from").expect_stderr(&hint);
    site.backup(&[]).success();
    let refused = site.restore(&folder.join("x"), &["--target-time", &middle.text]).expect_code(3);
    refused.expect_stderr("lies before the end of the earliest backup").expect_stderr(&hint);
    // Not for what no earlier one could reach either.
    let refused = site.restore(&folder.join("x"), &["--target-time", "2001-01-01 00:00:00+00"]).expect_code(3);
    assert!(!refused.stderr.contains(&old), "{refused}");

    let info = site.pgv.run("pgv", &["info"]).success();
    let new = site.backups().pop().unwrap();
    let at = |text: &str| info.stdout.find(text).unwrap_or_else(|| panic!("no {text}\n{info}"));
    assert!(at(&old_system) < at(&old) && at(&old) < at("PostgreSQL 17") && at("PostgreSQL 17") < at(&new), "{info}");

    let data = folder.join("before");
    let options = ["--backup", &old, "--target-time", &middle.text];
    let restored = site.restore(&data, &options).success();
    let warning = format!("backup {old} is of an earlier system of cluster \"main\": system identifier {old_system}");
    restored.expect_stderr(&warning).expect_stderr("PostgreSQL 15; the newest is ");
    let mut copy = TestCluster::at(PgVersion::V15, &folder, "before-s", &data);
    assert_eq!(copy.start_and_settle(), Settled::Paused, "{}", copy.log());
    Ledger::assert(&copy, &ledger.until(&middle));

    let unknown = site.restore(&folder.join("x"), &["--backup", "20200101T000000Z-00000000"]).expect_code(1);
    unknown.expect_stderr("there is no backup 20200101T000000Z-00000000");
}
