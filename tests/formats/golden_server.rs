//! A golden repository that a real server of 15 and pgv's programs wrote, with the WAL that it needs and no hole: every
//! build from now on finds it whole, restores it, and the server starts on what was restored.
//!
//! Made once, small: segments of 1 MiB, one database, no template.

use std::path::{Path, PathBuf};

use crate::golden::{copy_tree, data};
use crate::support::{Ledger, PgVersion, Pgv, Settled, TestAccount, TestCluster, TestFolder, pg_amcheck, pg_checksums};

const VERSION: PgVersion = PgVersion::V15;
/// Rows in the ledger when the backup ended, at the restore point, and at the end.
const ROWS: (usize, usize, usize) = (3, 6, 9);
const POINT: &str = "golden";

fn golden() -> PathBuf {
    data().join("format-v1-server/repository")
}

/// A place like that of the server which is lost, with the golden repository in it.
fn site(folder: &TestFolder) -> Pgv {
    let pgv = Pgv::new(folder);
    copy_tree(&golden(), &pgv.repository);
    std::fs::create_dir(pgv.repository.join(".staging")).unwrap();
    take_over(&pgv.repository);
    let path = pgv.repository.display();
    folder.write("pgv.toml", format!("[[repo]]\nurl = \"{path}\"\n\n[cluster.main]\n"));
    pgv
}

fn take_over(path: &Path) {
    TestAccount::get().take_over(path);
    if path.is_dir() {
        std::fs::read_dir(path).unwrap().for_each(|entry| take_over(&entry.unwrap().path()));
    }
}

/// Restored up to there and started, the server has these rows.
fn comes_back(pgv: &Pgv, folder: &TestFolder, name: &str, target: &[&str], rows: usize) {
    let restored = folder.join(name);
    let directory = restored.display().to_string();
    pgv.run("pgv-restore", &[&["-D", &directory], target].concat()).success();
    let mut copy = TestCluster::at(VERSION, folder, &format!("{name}-s"), &restored);
    let found = copy.start_and_settle();
    assert!(!matches!(found, Settled::Ended(_)), "{}", copy.log());
    let ids: Vec<i64> = (1..=rows as i64).collect();
    Ledger::assert(&copy, &ids);
    if copy.is_in_recovery() {
        copy.promote();
    }
    pg_amcheck(&copy).success();
    copy.stop();
    pg_checksums(VERSION, &restored).success();
}

#[test]
fn the_golden_repository_of_a_server_is_whole_and_comes_back() {
    let folder = TestFolder::in_memory("golden");
    let pgv = site(&folder);
    let verified = pgv.run("pgv", &["verify", "--wal-records"]).success();
    for words in ["The backup can be restored", "nothing is damaged"] {
        assert!(verified.stdout.contains(words), "{verified}");
    }
    assert!(!verified.stdout.contains("Left over"), "{verified}");
    pgv.run("pgv", &["info"]).success();
    comes_back(&pgv, &folder, "start", &["--target-immediate"], ROWS.0);
    comes_back(&pgv, &folder, "point", &["--target-name", POINT], ROWS.1);
    comes_back(&pgv, &folder, "latest", &[], ROWS.2);
}

/// Kept only when PGV_GOLDEN_SERVER names a folder that does not exist; else it is written and thrown away.
#[test]
#[ignore = "slow tier: scripts/test --all"]
fn a_golden_repository_of_a_server_can_be_written() {
    let folder = TestFolder::new("golden");
    let primary = TestCluster::builder(VERSION, &folder).initdb("--wal-segsize=1").line("archive_mode = on").start();
    for template in ["template0", "template1"] {
        primary.query(&format!("ALTER DATABASE {template} IS_TEMPLATE false"));
        primary.query(&format!("DROP DATABASE {template}"));
    }
    let pgv = Pgv::new(&folder);
    let repository = pgv.repository.display().to_string();
    let init = ["init", "--repo", &repository, "--cluster", "main", "-d", &primary.conninfo(), "--output", "json"];
    let answer: serde_json::Value = serde_json::from_str(&pgv.run("pgv", &init).success().stdout).unwrap();
    let command = answer["server"]["archive_command"].as_str().unwrap().replace('\'', "''");
    primary.configure(&[&format!("archive_command = '{command}'")]);
    primary.reload();
    let mut ledger = Ledger::create(&primary);
    ledger.commit_many(&primary, ROWS.0);
    pgv.run("pgv-basebackup", &["--checkpoint", "fast"]).success();
    ledger.commit_many(&primary, ROWS.1 - ROWS.0);
    primary.query(&format!("SELECT pg_create_restore_point('{POINT}')"));
    ledger.commit_many(&primary, ROWS.2 - ROWS.1);
    primary.archive_all();
    pgv.run("pgv", &["verify", "--wal-records"]).success();
    if let Some(kept) = std::env::var_os("PGV_GOLDEN_SERVER") {
        let kept = Path::new(&kept);
        std::fs::create_dir(kept).unwrap();
        copy_tree(&pgv.repository, &kept.join("repository"));
        std::fs::remove_dir(kept.join("repository/.staging")).unwrap();
    }
}
