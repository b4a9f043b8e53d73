//! The recipe against real servers: a database with a tablespace, backed up and archived by pgv's programs, comes back
//! as of a moment with bash, tail, zstd and dd alone.

use std::path::PathBuf;

use crate::document;
use crate::support::{
    Ledger, Moment, PgVersion, Pgv, Settled, TestAccount, TestCluster, TestFolder, pg_amcheck, pg_checksums,
    pg_verifybackup, run_within,
};

struct Scene {
    pgv: Pgv,
    ledger: Ledger,
    moment: Moment,
    space: PathBuf,
}

/// A backup, rows before and after it, and a moment in the middle; the server is gone at the end.
fn lose_a_server(version: PgVersion, folder: &TestFolder) -> Scene {
    let pgv = Pgv::new(folder);
    let mut primary = TestCluster::builder(version, folder).line("archive_mode = on").start();
    let repository = pgv.repository.display().to_string();
    let init = ["init", "--repo", &repository, "-d", &primary.conninfo(), "--output", "json"];
    let answer: serde_json::Value = serde_json::from_str(&pgv.run("pgv", &init).success().stdout).unwrap();
    let command = answer["server"]["archive_command"].as_str().unwrap().replace('\'', "''");
    primary.configure(&[&format!("archive_command = '{command}'")]);
    primary.reload();
    let mut ledger = Ledger::create(&primary);
    let space = primary.create_tablespace(folder, "space");
    primary.query("CREATE TABLE elsewhere TABLESPACE space AS SELECT generate_series(1, 30000) AS i");
    ledger.commit_many(&primary, 3);
    pgv.run("pgv-basebackup", &["--checkpoint", "fast"]).success();
    ledger.commit_many(&primary, 3);
    let moment = primary.now();
    ledger.commit_many(&primary, 3);
    primary.archive_all();
    primary.stop_immediately();
    std::fs::remove_dir_all(&primary.data).unwrap();
    std::fs::remove_dir_all(&space).unwrap();
    Scene { pgv, ledger, moment, space }
}

/// The only name in a folder, or the only one that is a number.
fn only_entry(folder: PathBuf, is_wanted: impl Fn(&str) -> bool) -> PathBuf {
    let names = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let wanted: Vec<String> = names.filter(|name| is_wanted(name)).collect();
    assert_eq!(wanted.len(), 1, "{wanted:?}");
    folder.join(&wanted[0])
}

fn comes_back_without_pgv(version: PgVersion) {
    let folder = TestFolder::new("by-hand");
    let scene = lose_a_server(version, &folder);
    let tree = only_entry(scene.pgv.repository.join("main"), |name| name.bytes().all(|byte| byte.is_ascii_digit()));
    let backup = only_entry(tree.join("backups"), |_| true);
    let segment = only_entry(tree.join("wal/00000001/0000000100000000"), |name| name == "000000010000000000000002");
    let out = folder.make("out");
    let mut bash = TestAccount::get().command("/bin/bash");
    bash.env_clear().env("PATH", "/usr/bin:/bin").current_dir(&out);
    bash.env("TREE", &tree).env("BACKUP", backup.file_name().unwrap()).env("SEGMENT", segment.file_name().unwrap());
    bash.env("FILE", "PG_VERSION").env("OUT", &out);
    bash.args(["-eu", "-c", &document::blocks(&document::text(), "sh recipe").concat()]);
    run_within(std::time::Duration::from_secs(180), bash).success();

    let data = out.join("data");
    let manifest = zstd::decode_all(std::fs::File::open(backup.join("documents/backup_manifest")).unwrap()).unwrap();
    folder.write("out/data/backup_manifest", manifest);
    pg_verifybackup(version, &data, &[]).success();
    assert_eq!(std::fs::read_dir(&scene.space).unwrap().count(), 1, "the tablespace is where it was");

    let settings = format!(
        "archive_mode = off\nrestore_command = '{} %f %p'\nrecovery_target_time = '{}'\n",
        out.join("get-wal").display(),
        scene.moment.text
    );
    folder.write("out/data/postgresql.auto.conf", settings);
    folder.write("out/data/recovery.signal", "");
    let mut copy = TestCluster::at(version, &folder, "copy", &data);
    assert_eq!(copy.start_and_settle(), Settled::Paused);
    let expected = scene.ledger.until(&scene.moment);
    assert_eq!(expected, [1, 2, 3, 4, 5, 6]);
    Ledger::assert(&copy, &expected);
    copy.promote();
    assert_eq!(copy.query("SELECT count(*) FROM elsewhere"), "30000");
    pg_amcheck(&copy).success();
    copy.stop();
    pg_checksums(version, &data).success();
}

#[test]
fn a_database_of_15_comes_back_without_pgv() {
    comes_back_without_pgv(PgVersion::V15);
}

#[test]
fn a_database_of_17_comes_back_without_pgv() {
    comes_back_without_pgv(PgVersion::V17);
}
