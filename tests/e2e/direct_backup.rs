//! Direct backups of a server that is hard at work, and ones that are killed: what comes back is what there was, and no
//! sound page is ever called a bad one.

use std::fs;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::support::crash::Moments;
use crate::support::{
    Ledger, PgVersion, Random, Settled, Site, TestAccount, TestCluster, TestFolder, dump, pg_amcheck, pg_checksums,
    run, wait_until,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A direct backup without any finding; its record.
#[track_caller]
fn backed_up(site: &Site, options: &[&str]) -> Value {
    let taken = site.backup(&[&["--method", "direct", "--output", "json"], options].concat()).success();
    assert!(!taken.stderr.contains("checksum"), "{taken}");
    let answer: Value = serde_json::from_str(&taken.stdout).unwrap();
    assert_eq!(answer["backup"]["method"], "direct");
    assert_eq!(answer["backup"]["findings"].as_array().map(Vec::len), Some(0), "{answer}");
    answer["backup"].clone()
}

/// A copy at that position, from that backup, that takes writes.
#[track_caller]
fn copy_at(site: &Site, folder: &TestFolder, name: &str, backup: &str, lsn: &str) -> TestCluster {
    let data = folder.join(name);
    let spaces = format!("--tablespace-dir={}", folder.make(format!("{name}.spaces")).display());
    let target = ["--backup", backup, "--target-lsn", lsn, "--target-action", "promote", &spaces];
    site.restore(&data, &target).success();
    let mut copy = TestCluster::at(site.primary.version, folder, &format!("{name}.server"), &data);
    assert_eq!(copy.start_and_settle(), Settled::Open, "log:\n{}", copy.log());
    copy
}

/// What PostgreSQL's own tools find in a copy, which is stopped and removed.
fn is_sound(mut copy: TestCluster) {
    // the package of 16 has no amcheck, and 13's checks no tables
    if ![PgVersion::V13, PgVersion::V16].contains(&copy.version) {
        pg_amcheck(&copy).success();
    }
    copy.stop();
    // of 13 and 14 there is no such tool, and that of 15 looks for its own directory in a tablespace
    if copy.version >= PgVersion::V15 || fs::read_dir(copy.data.join("pg_tblspc")).unwrap().next().is_none() {
        pg_checksums(copy.version, &copy.data).success();
    }
    fs::remove_dir_all(&copy.data).unwrap();
}

fn contents(server: &TestCluster) -> String {
    // each copy has its tablespaces elsewhere
    dump(server).lines().filter(|line| !line.starts_with("CREATE TABLESPACE")).collect::<Vec<_>>().join("\n")
}

/// pgbench at work until it is dropped.
struct Pgbench(Child);

impl Pgbench {
    fn start(server: &TestCluster) -> Self {
        let options = ["-i", "-q", "-s", "2", "postgres"];
        run({
            let mut command = client_of_15(server, TestAccount::get().command(PgVersion::V15.tool("pgbench")));
            command.args(options);
            command
        })
        .success();
        let pgbench = TestAccount::get().command_that_dies_with_us("KILL", PgVersion::V15.tool("pgbench"));
        let mut command = client_of_15(server, pgbench);
        command.args(["-n", "-c", "4", "-T", "3600", "-R", "400", "postgres"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Pgbench {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn client_of_15(server: &TestCluster, mut command: std::process::Command) -> std::process::Command {
    command.env_clear().env("LC_ALL", "C").current_dir("/");
    command.arg("-h").arg(&server.socket_folder).args(["-p", &server.port.to_string(), "-U", "postgres"]);
    command
}

/// Each transaction of pgbench adds the same to three sums, and notes it.
const SUMS: &str = "SELECT count(DISTINCT sum) FROM (SELECT sum(abalance) FROM pgbench_accounts UNION ALL \
     SELECT sum(tbalance) FROM pgbench_tellers UNION ALL SELECT sum(bbalance) FROM pgbench_branches UNION ALL \
     SELECT coalesce(sum(delta), 0) FROM pgbench_history) AS sums";

/// One after the other, each restored and brought to where the next ledger row was, is the same as what the first
/// backup, which the server sent, becomes at that point.
fn while_pgbench_runs(version: PgVersion, rounds: usize) {
    let folder = TestFolder::in_memory(&format!("direct-pgbench-{}", version.number()));
    let site = Site::new(version, &folder);
    let mut ledger = Ledger::create(&site.primary);
    let _pgbench = Pgbench::start(&site.primary);
    site.backup(&["--method", "stream"]).success();
    let first = site.backups().remove(0);
    for round in 0..rounds {
        let stop = AtomicBool::new(false);
        let backup = std::thread::scope(|threads| {
            let writer = threads.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    ledger.commit(&site.primary);
                }
            });
            let backup = backed_up(&site, &[]);
            stop.store(true, Ordering::Relaxed);
            writer.join().unwrap();
            backup
        });
        let row = ledger.commit(&site.primary).clone();
        // of what has come since, nothing may be seen
        ledger.commit(&site.primary);
        site.primary.archive_all();
        let id = backup["id"].as_str().unwrap();
        let copy = copy_at(&site, &folder, &format!("direct-{round}"), id, &row.lsn);
        Ledger::assert(&copy, &ledger.through(&row));
        assert_eq!(copy.query(SUMS), "1");
        let mut other = copy_at(&site, &folder, &format!("stream-{round}"), &first, &row.lsn);
        assert!(contents(&copy) == contents(&other), "round {round}: the copies differ");
        other.stop();
        fs::remove_dir_all(&other.data).unwrap();
        is_sound(copy);
    }
}

#[test]
fn direct_backups_of_15_while_pgbench_runs() {
    while_pgbench_runs(PgVersion::V15, 1);
}

#[test]
#[ignore = "slow tier: scripts/test --all"]
fn many_direct_backups_while_pgbench_runs() {
    for (version, rounds) in [(PgVersion::V13, 2), (PgVersion::V15, 6), (PgVersion::V17, 2), (PgVersion::V18, 3)] {
        while_pgbench_runs(version, rounds);
    }
}

/// Relations and databases that come, shrink, are rewritten, move between tablespaces and go, while both kinds of
/// backup are taken in turn.
fn while_everything_moves(version: PgVersion, backups: usize) {
    let folder = TestFolder::in_memory(&format!("direct-moving-{}", version.number()));
    let site = Site::new(version, &folder);
    let server = &site.primary;
    server.create_tablespace(&folder, "apart");
    server.query("CREATE TABLE kept AS SELECT g AS id, md5(g::text) AS t FROM generate_series(1, 50000) AS g");
    server.query("CREATE INDEX ON kept (t)");
    let strategies: &[&str] = match version {
        // before 15 there was one
        PgVersion::V13 | PgVersion::V14 => &[""],
        _ => &["STRATEGY wal_log", "STRATEGY file_copy"],
    };
    let round = |number: usize| {
        for (kind, strategy) in strategies.iter().enumerate() {
            let name = format!("of_{kind}_{number}");
            server.query(&format!("CREATE DATABASE {name} TEMPLATE template0 {strategy}"));
            let other_database = format!("of_{kind}_{}", number.wrapping_sub(1));
            server.query(&format!("DROP DATABASE IF EXISTS {other_database}"));
        }
        let table = format!("t{}", number % 3);
        for sql in [
            format!("DROP TABLE IF EXISTS {table}"),
            format!("CREATE TABLE {table} AS SELECT g AS id, repeat('x', 500) AS t FROM generate_series(1, 2000) AS g"),
            format!("CREATE UNLOGGED TABLE u{number} AS SELECT generate_series(1, 1000) AS id"),
            format!("CREATE INDEX ON {table} (id)"),
            format!("ALTER TABLE {table} SET TABLESPACE apart"),
            format!("DELETE FROM {table} WHERE id > 100"),
            format!("VACUUM {table}"),
            format!("ALTER TABLE {table} SET TABLESPACE pg_default"),
            format!("ALTER TABLE kept SET TABLESPACE {}", ["apart", "pg_default"][number % 2]),
            "UPDATE kept SET t = md5(t) WHERE id % 10 = 0".to_owned(),
            (if number.is_multiple_of(3) { "VACUUM FULL kept" } else { "VACUUM kept" }).to_owned(),
            format!("TRUNCATE t{}", (number + 1) % 3),
            format!("DROP TABLE u{number}"),
        ] {
            // of the first rounds, some tables are not there yet
            if !sql.starts_with("TRUNCATE") || number > 1 {
                server.query(&sql);
            }
        }
    };
    let is_done = AtomicBool::new(false);
    let taken: Vec<String> = std::thread::scope(|threads| {
        let worker = threads.spawn(|| (0..).take_while(|_| !is_done.load(Ordering::Relaxed)).map(round).count());
        let taken = (0..backups).map(|number| match number % 2 {
            0 => backed_up(&site, &["--max-rate", "20MB"])["id"].as_str().unwrap().to_owned(),
            _ => {
                site.backup(&["--method", "stream", "--max-rate", "20MB"]).success();
                site.backups().pop().unwrap()
            }
        });
        let taken = taken.collect();
        is_done.store(true, Ordering::Relaxed);
        assert!(worker.join().unwrap() >= 1);
        taken
    });
    server.query("CREATE TABLE last AS SELECT 1 AS x");
    let end = server.query("SELECT pg_current_wal_insert_lsn()");
    let expected = contents(server);
    server.archive_all();
    for (number, id) in taken.iter().enumerate() {
        let copy = copy_at(&site, &folder, &format!("copy-{number}"), id, &end);
        assert!(contents(&copy) == expected, "{version:?} {number}: the copy holds something else");
        is_sound(copy);
    }
}

#[test]
fn a_direct_backup_of_15_while_everything_moves() {
    while_everything_moves(PgVersion::V15, 1);
}

#[test]
#[ignore = "slow tier: scripts/test --all"]
fn backups_by_both_methods_while_everything_moves() {
    for version in [PgVersion::V13, PgVersion::V15, PgVersion::V17, PgVersion::V18] {
        while_everything_moves(version, 2);
    }
}

/// A table whose first file is all but empty, in a file with a hole: it grows into its second file while it is read.
#[test]
#[ignore = "slow tier: scripts/test --all"]
fn a_relation_grows_into_its_next_file() {
    let folder = TestFolder::new("direct-segment");
    let mut site = Site::new(PgVersion::V15, &folder);
    site.primary.query("CREATE TABLE large (id int, t text) WITH (autovacuum_enabled = off)");
    site.primary.query("INSERT INTO large VALUES (0, 'first')");
    let file = site.primary.data.join(site.primary.query("SELECT pg_relation_filepath('large')"));
    site.primary.stop();
    // pages of zeros: new ones, as a server leaves them that crashed while it extended the table
    fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(1 << 30).unwrap();
    site.primary.start();
    let second = file.with_file_name(format!("{}.1", file.file_name().unwrap().to_str().unwrap()));
    let options = ["--checkpoint", "fast", "--method", "direct", "--max-rate", "200MB"];
    let mut child = site.pgv.command("pgv-basebackup", &options).stderr(Stdio::piped()).spawn().unwrap();
    let mut rounds = 0;
    while child.try_wait().unwrap().is_none() {
        let rows = "SELECT g, repeat('y', 1000) FROM generate_series(1, 1000) AS g";
        site.primary.query(&format!("INSERT INTO large {rows}"));
        rounds += 1;
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(second.metadata().unwrap().len() > 1 << 20 && rounds > 1, "{rounds}");
    let end = site.primary.query("SELECT pg_current_wal_insert_lsn()");
    let question = "SELECT count(*), sum(id), sum(length(t)), pg_relation_size('large') FROM large";
    let expected = site.primary.query(question);
    site.primary.query("SELECT txid_current()");
    site.primary.archive_all();
    let copy = copy_at(&site, &folder, "copy", &site.backups()[0], &end);
    assert_eq!(copy.query(question), expected);
    is_sound(copy);
}

/// Killed at random moments, a backup is listed whole or not at all, and the next is as if nothing had been.
#[allow(clippy::print_stdout)]
fn killed(method: &str, times: u32) {
    let folder = TestFolder::in_memory(&format!("{method}-kill"));
    let site = Site::new(PgVersion::V15, &folder);
    let mut ledger = Ledger::create(&site.primary);
    ledger.commit_many(&site.primary, 3);
    let noise = "SELECT string_agg(md5((g * 100 + h)::text), '') AS t FROM generate_series(1, 4000) AS g, \
                 generate_series(1, 60) AS h GROUP BY g";
    site.primary.query(&format!("CREATE TABLE noise AS {noise}"));
    let arguments = ["--checkpoint", "fast", "--method", method];
    let took = site.backup(&arguments[2..]).success().elapsed;
    let seed = Random::seed();
    println!("PGV_TEST_SEED={seed}");
    let mut moments = Moments::new(seed, times, took);
    let (mut killed, mut begun) = (0, 0);
    while killed < times {
        begun += 1;
        assert!(begun <= times * 3, "{killed} of {begun} were killed");
        let before = site.backups();
        killed += u32::from(moments.kill(site.pgv.command("pgv-basebackup", &arguments)));
        let new = site.backups().into_iter().filter(|id| !before.contains(id)).count();
        assert!(new <= 1);
        site.pgv.run("pgv", &["verify", "--quick"]).success();
    }
    site.pgv.run("pgv", &["verify"]).success();
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('client backend', 'walsender')";
    wait_until("the server has noticed", PATIENCE, || site.primary.query(sessions) == "1");
    let row = ledger.commit(&site.primary).clone();
    let backup = backed_up(&site, &[]);
    let end = ledger.commit(&site.primary).lsn.clone();
    ledger.commit(&site.primary);
    site.primary.archive_all();
    let copy = copy_at(&site, &folder, "copy", backup["id"].as_str().unwrap(), &end);
    assert!(ledger.through(&row).len() < 5);
    Ledger::assert(&copy, &[1, 2, 3, 4, 5]);
    is_sound(copy);
}

#[test]
fn a_direct_backup_that_is_killed_is_listed_whole_or_not() {
    killed("direct", 20);
}

#[test]
#[ignore = "slow tier: scripts/test --all"]
fn a_hundred_more_backups_that_are_killed() {
    killed("direct", 80);
    killed("stream", 20);
}
