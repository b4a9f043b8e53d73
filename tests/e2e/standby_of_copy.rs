//! A restored copy is promoted and takes its original's place; another copy becomes its standby, and follows: over the
//! connection, and from the archive alone. Then they change places.

use std::path::Path;
use std::time::Duration;

use crate::support::{Ledger, PgVersion, Settled, Site, TestCluster, TestFolder, dump, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);
const ROWS: usize = 1000;

struct Scene {
    site: Site,
    folder: TestFolder,
    version: PgVersion,
}

impl Scene {
    #[track_caller]
    fn restored(&self, name: &str, data: &Path, options: &[&str]) -> TestCluster {
        self.site.restore(data, options).success();
        TestCluster::at(self.version, &self.folder, &format!("{name}-server"), data)
    }

    fn standby(&self, name: &str, options: &[&str]) -> TestCluster {
        let data = self.folder.join(name);
        let mut standby = self.restored(name, &data, &[&["--standby"], options].concat());
        standby.start_with(&["wal_retrieve_retry_interval=200ms"]);
        standby
    }
}

/// The rows by number, each in a transaction of its own, with the ends of segments between them.
fn write_rows(primary: &TestCluster, numbers: std::ops::RangeInclusive<usize>) {
    let (first, last) = (numbers.start(), numbers.end());
    primary.query(&format!(
        "DO $$ BEGIN FOR i IN {first}..{last} LOOP INSERT INTO followed VALUES (i, md5(i::text)); COMMIT; \
         IF i % 250 = 0 THEN PERFORM pg_switch_wal(); END IF; END LOOP; END $$"
    ));
}

fn wait_for_rows(server: &TestCluster, name: &str, count: usize) {
    wait_until(&format!("{name} has {count} rows"), PATIENCE, || {
        server.try_query("SELECT count(*) FROM followed").stdout.trim() == count.to_string()
    });
}

fn follows(version: PgVersion) {
    let folder = TestFolder::in_memory("standby-of-copy");
    let mut site = Site::of(TestCluster::builder(version, &folder).initdb("--wal-segsize=1"), &folder);
    let (ledger, middle) = site.with_history();
    let until = ledger.until(&middle);
    site.primary.kill();
    let scene = Scene { site, folder, version };

    // In its original's place, so that it archives.
    let data = scene.site.primary.data.clone();
    let options = ["--move-aside", "--keep-archiving", "--old-primary-is-gone", "--target-time", &middle.text];
    let mut primary = scene.restored("primary", &data, &options);
    assert_eq!(primary.start_and_settle(), Settled::Paused, "log:\n{}", primary.log());
    primary.promote();
    Ledger::assert(&primary, &until);
    let timeline = primary.query("SELECT left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)");
    assert_eq!(timeline, "00000002");
    primary.query("CREATE TABLE followed (id int PRIMARY KEY, text text)");
    write_rows(&primary, 1..=10);
    primary.archive_all();

    let streaming = scene.standby("streaming", &["--primary-conninfo", &primary.conninfo()]);
    let archived = scene.standby("archived", &[]);
    for (standby, name) in [(&streaming, "the streaming one"), (&archived, "the one of the archive")] {
        wait_for_rows(standby, name, 10);
        Ledger::assert(standby, &until);
    }
    wait_until("it streams", PATIENCE, || {
        primary.query("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") == "1"
    });

    write_rows(&primary, 11..=ROWS);
    // What is in no complete segment yet comes over the connection.
    wait_for_rows(&streaming, "the streaming one", ROWS);
    primary.archive_all();
    wait_for_rows(&archived, "the one of the archive", ROWS);
    let expected = dump(&primary);
    assert!(expected.contains(&format!("\n{ROWS}\t")), "the dump holds no rows");
    for (standby, name) in [(&streaming, "the streaming one"), (&archived, "the one of the archive")] {
        assert!(standby.is_in_recovery(), "{name}");
        assert!(dump(standby) == expected, "{name} holds something else");
        let errors: Vec<String> =
            standby.log().lines().filter(|line| line.contains("pgv-fetch: error")).map(str::to_owned).collect();
        assert!(errors.is_empty(), "{name}: {errors:?}");
    }
    assert_eq!(primary.query("SELECT count(*) FROM pg_stat_replication"), "1", "the one of the archive streams");

    // The copy that was promoted becomes a standby itself, of the copy that followed it.
    primary.stop();
    streaming.promote();
    let (data, conninfo) = (data.display().to_string(), streaming.conninfo());
    let options = ["--write", "-D", &data, "--standby", "--primary-conninfo", &conninfo];
    scene.site.pgv.run("pgv-recovery-conf", &options).success();
    primary.start_with(&["wal_retrieve_retry_interval=200ms"]);
    write_rows(&streaming, ROWS + 1..=2 * ROWS);
    wait_for_rows(&primary, "the one that was promoted first", 2 * ROWS);
    assert!(primary.is_in_recovery());
    assert_eq!(streaming.query("SELECT left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)"), "00000003");
    assert!(dump(&primary) == dump(&streaming), "the one that was promoted first holds something else");
}

#[test]
fn copies_of_postgresql_15_follow_a_promoted_copy() {
    follows(PgVersion::V15);
}

#[test]
#[ignore = "slow tier: scripts/test --all"]
fn copies_of_other_versions_follow_a_promoted_copy() {
    for version in [PgVersion::V13, PgVersion::V14, PgVersion::V16, PgVersion::V17, PgVersion::V18] {
        follows(version);
    }
}
