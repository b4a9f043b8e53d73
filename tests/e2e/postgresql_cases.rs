//! The cases of PostgreSQL's own recovery and backup suites that concern archive, fetch, backup and restore, written anew
//! with pgv in the place of cp and pg_basebackup. Which of them is tested where: tests/e2e/README.md.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::crash::tree_of;
use crate::support::{
    Ledger, PgVersion, Settled, Site, TestCluster, TestFolder, dump, pg_amcheck, pg_basebackup, program, wait_until,
};

const VERSION: PgVersion = PgVersion::V15;
const PATIENCE: Duration = Duration::from_secs(60);

fn builder(folder: &TestFolder) -> crate::support::Builder<'_> {
    TestCluster::builder(VERSION, folder).initdb("--wal-segsize=1").line("wal_keep_size = '64MB'")
}

fn site(folder: &TestFolder) -> Site {
    Site::of(builder(folder), folder)
}

/// A copy that was restored with these options, not started.
#[track_caller]
fn copy(site: &Site, folder: &TestFolder, name: &str, options: &[&str]) -> TestCluster {
    let data = folder.join(name);
    site.restore(&data, options).success();
    TestCluster::at(VERSION, folder, &format!("{name}-server"), &data)
}

#[track_caller]
fn settles(copy: &mut TestCluster, expected: Settled) {
    assert_eq!(copy.start_and_settle(), expected, "log:\n{}", copy.log());
}

/// 010_pg_basebackup, 014_unlogged_reinit: the files of a restored copy are those of PostgreSQL's own backup.
fn the_files_are_those_of_pg_basebackup(initdb: &str) {
    let folder = TestFolder::in_memory("cases-files");
    let site = Site::of(builder(&folder).initdb(initdb), &folder);
    let server = &site.primary;
    let space = server.create_tablespace(&folder, "apart");
    server.query("CREATE UNLOGGED TABLE plain (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, t text)");
    server.query("CREATE UNLOGGED TABLE spaced (id int PRIMARY KEY) TABLESPACE apart");
    server.query("INSERT INTO plain (t) SELECT 'x' FROM generate_series(1, 1000)");
    server.query("INSERT INTO spaced SELECT generate_series(1, 1000)");
    server.query("SELECT pg_create_physical_replication_slot('unused')");
    let database = server.query("SELECT oid FROM pg_database WHERE datname = 'postgres'");
    let junk = [
        "backup_label",
        "backup_manifest",
        "tablespace_map",
        "postgresql.auto.conf.tmp",
        "current_logfiles.tmp",
        ".DS_Store",
        "postmaster.opts",
        "global/pg_internal.init",
        "global/pg_internal.init.123",
        &format!("base/{database}/t9999_123"),
        &format!("base/{database}/t9999_123_fsm"),
        &format!("base/{database}/t9999_123.1"),
        "pg_stat_tmp/junk",
        "pg_notify/junk",
        "pg_serial/junk",
        "pg_snapshots/junk",
        "pg_subtrans/junk",
        "pg_dynshmem/junk",
        "pg_replslot/junk",
        "base/pgsql_tmp/pgsql_tmp123.1",
        "pgsql_tmp123",
    ];
    let makes_folder = folder.make("primary/base/pgsql_tmp");
    for name in junk {
        if !server.data.join(name).exists() {
            folder.write(format!("primary/{name}"), "DONOTCOPY");
        }
    }
    folder.write("primary/of-a-person", "copied");
    let mapping = |to: &str| format!("{}={}", space.display(), folder.join(to).display());
    let theirs = folder.join("theirs");
    pg_basebackup(server, &theirs, &["-T", &mapping("theirs-space")]).success();
    site.backup(&[]).success();
    let mut ours = copy(&site, &folder, "ours", &["-T", &mapping("ours-space")]);
    let files = |data: &Path, space: &str| {
        let mut tree = tree_of(data);
        tree.extend(tree_of(&folder.join(space)).into_iter().map(|(path, what)| (Path::new("space").join(path), what)));
        tree.into_iter().map(|(path, (mode, _))| (path, mode)).collect::<BTreeMap<PathBuf, u32>>()
    };
    let (mut found, mut expected) = (files(&ours.data, "ours-space"), files(&theirs, "theirs-space"));
    // Of ours alone: recovery, and the map, which plain pg_basebackup needs not.
    for name in ["recovery.signal", "tablespace_map"] {
        assert!(found.remove(Path::new(name)).is_some(), "{name}");
        expected.remove(Path::new(name));
    }
    // A link has no mode of its own.
    found.retain(|path, _| !path.starts_with("pg_tblspc/") || path.ends_with("pg_tblspc"));
    expected.retain(|path, _| !path.starts_with("pg_tblspc/") || path.ends_with("pg_tblspc"));
    let differences: Vec<_> = found.iter().filter(|(path, mode)| expected.get(*path) != Some(mode)).collect();
    let missing: Vec<_> = expected.keys().filter(|path| !found.contains_key(*path)).collect();
    assert!(differences.is_empty() && missing.is_empty(), "ours: {differences:?}, theirs alone: {missing:?}");
    assert!(found.contains_key(Path::new("of-a-person")) && !found.contains_key(Path::new("postmaster.opts")));
    drop(makes_folder);

    site.primary.archive_all();
    settles(&mut ours, Settled::Open);
    assert_eq!(ours.query("SELECT (SELECT count(*) FROM plain), (SELECT count(*) FROM spaced)"), "0|0");
    assert_eq!(ours.query("INSERT INTO plain (t) VALUES ('y') RETURNING id"), "1");
    assert_eq!(ours.query("INSERT INTO spaced VALUES (1) RETURNING id"), "1");
    assert_eq!(ours.query("SELECT count(*) FROM pg_replication_slots"), "0");
}

#[test]
fn the_files_of_a_copy_are_those_that_postgresql_backs_up() {
    the_files_are_those_of_pg_basebackup("--data-checksums");
}

#[test]
#[ignore = "slow tier: scripts/test --all"]
fn the_modes_of_a_copy_are_those_of_a_cluster_with_group_access() {
    the_files_are_those_of_pg_basebackup("--allow-group-access");
}

/// 009_twophase, 023_pitr_prepared_xact: a transaction that is prepared at the target can be ended afterwards.
#[test]
fn a_prepared_transaction_outlives_a_restore_between_its_two_ends() {
    let folder = TestFolder::in_memory("cases-prepared");
    let site = Site::of(builder(&folder).line("max_prepared_transactions = 5"), &folder);
    let server = &site.primary;
    server.query("CREATE TABLE t (id int)");
    server.query("BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'before the backup'");
    site.backup(&[]).success();
    server.query("BEGIN; INSERT INTO t VALUES (2); PREPARE TRANSACTION 'after it'");
    server.query("SELECT pg_create_restore_point('between')");
    server.query("COMMIT PREPARED 'before the backup'");
    server.query("ROLLBACK PREPARED 'after it'");
    server.archive_all();

    let mut between = copy(&site, &folder, "between", &["--target-name", "between"]);
    settles(&mut between, Settled::Paused);
    assert_eq!(between.query("SELECT count(*) FROM t"), "0");
    between.promote();
    let prepared = "SELECT string_agg(gid, ', ' ORDER BY gid) FROM pg_prepared_xacts";
    assert_eq!(between.query(prepared), "after it, before the backup");
    between.query("COMMIT PREPARED 'after it'");
    between.kill();
    between.start();
    assert_eq!(between.query(prepared), "before the backup");
    between.query("ROLLBACK PREPARED 'before the backup'");
    assert_eq!(between.query("SELECT id FROM t"), "2");
    between.kill();

    let mut latest = copy(&site, &folder, "latest", &[]);
    settles(&mut latest, Settled::Open);
    assert_eq!(latest.query("SELECT id FROM t"), "1");
    assert_eq!(latest.query(prepared), "");
}

/// 002_archiving: what a standby and a promotion leave behind, and the commands that run on the way.
#[test]
fn nothing_stays_behind_in_pg_wal_and_the_commands_run() {
    let folder = TestFolder::in_memory("cases-archiving");
    let site = site(&folder);
    let (ledger, _) = site.with_history();
    let mut first = copy(&site, &folder, "first", &["--standby"]);
    let marks = folder.make("marks").display().to_string();
    let cleanup = format!("archive_cleanup_command=touch {marks}/cleaned-%r");
    first.start_with(&[&cleanup, "wal_retrieve_retry_interval=100ms"]);
    let count = ledger.all().len().to_string();
    wait_until("the archive is replayed", PATIENCE, || first.query("SELECT count(*) FROM ledger") == count);
    site.primary.query("CHECKPOINT");
    site.primary.archive_all();
    wait_until("a restart point cleans up", PATIENCE, || {
        first.try_query("CHECKPOINT");
        fs::read_dir(folder.join("marks")).unwrap().count() > 0
    });
    first.promote();
    let names = |data: &Path| -> Vec<String> {
        let entries = fs::read_dir(data.join("pg_wal")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    };
    let wal = names(&first.data);
    let is_foreign = |name: &&String| name.starts_with("RECOVERY") || name.starts_with(".pgv");
    assert_eq!(wal.iter().filter(is_foreign).count(), 0, "{wal:?}");
    assert!(wal.contains(&"00000002.history".to_owned()), "{wal:?}");
    // Its history reaches the archive, by hand, and from there the next one.
    let history = first.data.join("pg_wal/00000002.history").display().to_string();
    site.pgv.run_in(&site.primary.data, "pgv-archive", &[&history, "00000002.history"]).expect_code(0);
    let mut second = copy(&site, &folder, "second", &["--standby"]);
    second.start_with(&["recovery_end_command=false", "wal_retrieve_retry_interval=100ms"]);
    wait_until("the second one has it", PATIENCE, || names(&second.data).contains(&"00000002.history".to_owned()));
    second.promote();
    let wal = names(&second.data);
    assert_eq!(wal.iter().filter(is_foreign).count(), 0, "{wal:?}");
    assert!(second.log().contains("WARNING:  recovery_end_command"), "{}", second.log());
    Ledger::assert(&second, &ledger.all());
}

/// 020_archive_status: a failure leaves its mark, over a crash too, and the archiver's counts name the file.
#[test]
fn what_could_not_be_archived_is_waiting_after_a_crash() {
    let folder = TestFolder::in_memory("cases-status");
    let mut site = site(&folder);
    let text = fs::read_to_string(&site.pgv.config).unwrap();
    folder.write("pgv.toml", format!("nonsense = 1\n{text}"));
    let mut ledger = Ledger::create(&site.primary);
    ledger.commit_many(&site.primary, 2);
    let segment = site.primary.switch_wal();
    let failed = format!("SELECT failed_count > 0 AND last_failed_wal = '{segment}' FROM pg_stat_archiver");
    wait_until("the failure is counted", PATIENCE, || site.primary.query(&failed) == "t");
    let status = |end: &str| site.primary.data.join(format!("pg_wal/archive_status/{segment}.{end}"));
    assert!(status("ready").exists() && !status("done").exists());
    let (ready, done) = (status("ready"), status("done"));
    site.primary.kill();
    site.primary.start();
    assert!(ready.exists() && !done.exists(), "log:\n{}", site.primary.log());
    folder.write("pgv.toml", text);
    site.primary.wait_for_archived(&segment);
    let archived = format!("SELECT last_archived_wal >= '{segment}' FROM pg_stat_archiver");
    wait_until("the success is counted", PATIENCE, || site.primary.query(&archived) == "t");
    assert!(!ready.exists());
    let label = "x".repeat(1025);
    let refused = site.backup(&["--label", &label]);
    assert!(!refused.status.success() && refused.stderr.contains("label"), "{refused}");
    assert_eq!(site.backups(), [""; 0]);
}

/// 024_archive_recovery: WAL that was written with wal_level=minimal cannot be crossed, and that is said beforehand.
#[test]
fn wal_of_the_level_minimal_is_refused_before_anything_is_touched() {
    let folder = TestFolder::in_memory("cases-minimal");
    let mut site = site(&folder);
    let (mut ledger, _) = site.with_history();
    let before = ledger.rows.last().unwrap().clone();
    let last_before = ledger.commit(&site.primary).clone();
    site.primary.stop();
    let minimal = ["archive_mode=off", "wal_level=minimal", "max_wal_senders=0"];
    site.primary.start_with(&minimal);
    ledger.commit_many(&site.primary, 2);
    site.primary.stop();
    site.primary.start();
    ledger.commit_many(&site.primary, 2);
    site.primary.archive_all();

    let data = folder.join("copy");
    let xid = ledger.rows.last().unwrap().xid.to_string();
    for options in [&[] as &[&str], &["--target-xid", &xid]] {
        let refused = site.restore(&data, options).expect_code(3);
        assert!(refused.stderr.contains("wal_level = minimal"), "{refused}");
        assert!(!data.exists());
    }
    // What was committed before can be had, and what PostgreSQL would have said is not made up.
    let hint = site.restore(&data, &["--dry-run"]).stderr;
    let lsn = hint.split_once("--target-lsn ").unwrap().1.split(' ').next().unwrap();
    let mut just_before = copy(&site, &folder, "just-before", &["--target-lsn", lsn, "--target-exclusive"]);
    settles(&mut just_before, Settled::Paused);
    Ledger::assert(&just_before, &ledger.through(&last_before));
    just_before.kill();
    let until = ledger.through(&before);
    let xid = before.xid.to_string();
    let mut earlier = copy(&site, &folder, "earlier", &["--target-xid", &xid]);
    settles(&mut earlier, Settled::Paused);
    Ledger::assert(&earlier, &until);
    let mut unproven = copy(&site, &folder, "unproven", &["--no-prove"]);
    let settled = unproven.start_and_settle();
    assert!(matches!(settled, Settled::Ended(_)), "{settled:?}");
    assert!(unproven.log().contains("wal_level=minimal"), "{}", unproven.log());
    // A new backup is behind it.
    site.backup(&[]).success();
    site.primary.archive_all();
    let mut later = copy(&site, &folder, "later", &[]);
    settles(&mut later, Settled::Open);
    Ledger::assert(&later, &ledger.all());
}

/// 025_stuck_on_old_timeline: the archive has histories alone, the WAL comes over the connection.
#[test]
fn a_standby_follows_to_a_timeline_of_which_the_archive_has_the_history_alone() {
    let folder = TestFolder::in_memory("cases-history");
    let mut site = site(&folder);
    let (mut ledger, _) = site.with_history();
    let conninfo = site.primary.conninfo();
    let mut first = copy(&site, &folder, "first", &["--standby", "--primary-conninfo", &conninfo]);
    let archive = format!(
        "archive_command=case %f in *.history) {} --config {} --timeout 5s %p %f;; esac",
        program("pgv-archive").display(),
        site.pgv.config.display()
    );
    first.start_with(&[&archive]);
    let followed = first.conninfo();
    let mut second = copy(&site, &folder, "second", &["--standby", "--primary-conninfo", &followed]);
    second.start_with(&["wal_retrieve_retry_interval=100ms"]);
    let caught_up = |server: &TestCluster, ledger: &Ledger| {
        let count = ledger.all().len().to_string();
        wait_until("it has followed", PATIENCE, || {
            server.try_query("SELECT count(*) FROM ledger").stdout.trim() == count
        });
    };
    ledger.commit_many(&site.primary, 1);
    caught_up(&first, &ledger);
    caught_up(&second, &ledger);
    site.primary.kill();
    // The new primary is the registered one now.
    let text = fs::read_to_string(&site.pgv.config).unwrap();
    let old = site.primary.data.display().to_string();
    folder.write("pgv.toml", text.replace(&old, &first.data.display().to_string()));
    first.promote();
    ledger.commit_many(&first, 3);
    caught_up(&second, &ledger);
    assert!(second.is_in_recovery());
    wait_until("it streams on the new timeline", PATIENCE, || {
        second.query("SELECT received_tli FROM pg_stat_wal_receiver") == "2"
    });
    assert!(!second.log().contains("pgv-fetch: error"), "{}", second.log());
    assert_eq!(second.ended(), None);
}

/// 026_overwrite_contrecord: a record of which a crash left the beginning only is passed, by the proof and by replay.
#[test]
fn a_record_that_a_crash_left_unfinished_is_passed() {
    let folder = TestFolder::in_memory("cases-contrecord");
    let mut site = site(&folder);
    let (mut ledger, _) = site.with_history();
    site.primary.configure(&["archive_command = 'false'"]);
    site.primary.reload();
    site.primary.query("CHECKPOINT");
    let current = site.primary.query("SELECT pg_walfile_name(pg_current_wal_insert_lsn())");
    site.primary.query("SELECT pg_logical_emit_message(true, 'x', repeat('y', 3000000))");
    site.primary.kill();
    for entry in fs::read_dir(site.primary.data.join("pg_wal")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.len() == 24 && name > current {
            fs::remove_file(&path).unwrap();
            let _ = fs::remove_file(site.primary.data.join(format!("pg_wal/archive_status/{name}.ready")));
        }
    }
    let line = format!("{} --config {} %p %f", program("pgv-archive").display(), site.pgv.config.display());
    site.primary.start_with(&[&format!("archive_command={line}")]);
    ledger.commit_many(&site.primary, 2);
    site.primary.archive_all();
    let restored = site.restore(&folder.join("copy"), &[]).success();
    assert!(restored.stdout.contains("timelines   1") || restored.stderr.contains("timelines   1"), "{restored}");
    let mut latest = TestCluster::at(VERSION, &folder, "copy-server", &folder.join("copy"));
    settles(&mut latest, Settled::Open);
    Ledger::assert(&latest, &ledger.all());
    assert!(latest.log().contains("successfully skipped missing contrecord"), "{}", latest.log());
    let standby = {
        let mut standby = copy(&site, &folder, "standby", &["--standby"]);
        standby.start_with(&["wal_retrieve_retry_interval=100ms"]);
        standby
    };
    let count = ledger.all().len().to_string();
    wait_until("the standby passes it", PATIENCE, || standby.query("SELECT count(*) FROM ledger") == count);
    site.pgv.run("pgv", &["verify", "--wal-records"]).success();
}

/// 033_replay_tsp_drops: tablespaces and databases that come and go behind the backup do not stop replay.
#[test]
fn tablespaces_that_are_dropped_on_the_way_are_replayed() {
    let folder = TestFolder::in_memory("cases-tablespaces");
    let site = site(&folder);
    let (mut ledger, _) = site.with_history();
    let server = &site.primary;
    for (number, strategy) in ["wal_log", "file_copy"].iter().enumerate() {
        let space = format!("space{number}");
        server.create_tablespace(&folder, &space);
        server.query(&format!("CREATE DATABASE in_it TABLESPACE {space} STRATEGY {strategy}"));
        server.query_in("in_it", "CREATE TABLE t AS SELECT generate_series(1, 100)");
        server.query("CHECKPOINT");
        server.query(&format!("CREATE DATABASE copied TEMPLATE in_it STRATEGY {strategy}"));
        server.query("ALTER DATABASE copied SET TABLESPACE pg_default");
        server.query("DROP DATABASE in_it");
        server.query("DROP DATABASE copied");
        server.query(&format!("DROP TABLESPACE {space}"));
    }
    ledger.commit_many(server, 2);
    server.archive_all();
    let expected = dump(server);
    let mut copy = copy(&site, &folder, "copy", &[]);
    settles(&mut copy, Settled::Open);
    Ledger::assert(&copy, &ledger.all());
    assert!(dump(&copy) == expected, "the copy holds something else");
}

/// 008_fsm_truncation, 018_wal_optimize, 032_relfilenode_reuse, 034_create_database, 036_truncated_dropped: a backup
/// while relations and databases come, shrink, are rewritten and go.
fn a_backup_while_everything_moves(version: PgVersion) {
    let folder = TestFolder::in_memory("cases-moving");
    let site = Site::of(TestCluster::builder(version, &folder).initdb("--wal-segsize=1"), &folder);
    let server = &site.primary;
    server.query("CREATE DATABASE work");
    server.query_in("work", "CREATE TABLE kept AS SELECT g AS id, md5(g::text) AS t FROM generate_series(1, 50000) g");
    server.query_in("work", "CREATE INDEX ON kept (t)");
    let round = |number: u32| {
        for strategy in ["wal_log", "file_copy"] {
            let name = format!("of_{strategy}_{number}");
            server.query(&format!("CREATE DATABASE {name} TEMPLATE template0 STRATEGY {strategy}"));
            server.query_in(&name, "CREATE TABLE t AS SELECT generate_series(1, 500) AS id");
            if number.is_multiple_of(2) {
                server.query(&format!("DROP DATABASE {name}"));
            }
        }
        let table = format!("t{number}");
        server.query_in(
            "work",
            &format!(
                "BEGIN; CREATE TABLE {table} (id int); INSERT INTO {table} SELECT generate_series(1, 3000); \
             TRUNCATE {table}; INSERT INTO {table} SELECT generate_series(1, 2000); SAVEPOINT s; \
             ALTER TABLE {table} ALTER id TYPE bigint; ROLLBACK TO s; CREATE INDEX ON {table} (id); COMMIT"
            ),
        );
        server.query_in("work", &format!("DELETE FROM {table} WHERE id > 100"));
        server.query_in("work", &format!("VACUUM {table}"));
        server.query_in("work", "UPDATE kept SET t = md5(t) WHERE id % 10 = 0");
        server.query_in("work", if number.is_multiple_of(3) { "VACUUM FULL kept" } else { "VACUUM kept" });
        if number % 2 == 1 {
            server.query_in("work", &format!("TRUNCATE {table}"));
        }
        if number % 4 == 3 {
            server.query_in("work", &format!("DROP TABLE {table}"));
        }
    };
    let is_done = std::sync::atomic::AtomicBool::new(false);
    let rounds = std::thread::scope(|threads| {
        let worker = threads.spawn(|| {
            let mut number = 0;
            while !is_done.load(std::sync::atomic::Ordering::Relaxed) || number < 4 {
                round(number);
                number += 1;
            }
            number
        });
        site.backup(&["--max-rate", "10MB"]).success();
        is_done.store(true, std::sync::atomic::Ordering::Relaxed);
        worker.join().unwrap()
    });
    assert!(rounds >= 4, "{rounds}");
    round(rounds);
    server.archive_all();
    let expected = dump(server);
    let data = folder.join("copy");
    site.restore(&data, &[]).success();
    let mut copy = TestCluster::at(version, &folder, "copy-server", &data);
    settles(&mut copy, Settled::Open);
    assert!(dump(&copy) == expected, "the copy holds something else");
    pg_amcheck(&copy).success();
}

#[test]
fn a_backup_of_postgresql_15_while_everything_moves() {
    a_backup_while_everything_moves(PgVersion::V15);
}

#[test]
#[ignore = "slow tier: scripts/test --all"]
fn a_backup_of_postgresql_17_while_everything_moves() {
    a_backup_while_everything_moves(PgVersion::V17);
}

/// 045_archive_restartpoint: many small segments with a checkpoint in each; restart points keep up.
#[test]
#[ignore = "slow tier: scripts/test --all"]
fn a_standby_keeps_up_with_hundreds_of_segments() {
    let folder = TestFolder::in_memory("cases-restartpoints");
    let site = site(&folder);
    site.with_history();
    site.primary.query("CREATE TABLE many (id int)");
    let mut last = String::new();
    for number in 0..320 {
        site.primary.query(&format!("INSERT INTO many VALUES ({number})"));
        site.primary.query("CHECKPOINT");
        last = site.primary.switch_wal();
    }
    site.primary.wait_for_archived(&last);
    let mut standby = copy(&site, &folder, "standby", &["--standby"]);
    standby.start_with(&[
        "wal_retrieve_retry_interval=100ms",
        "checkpoint_timeout=30s",
        "wal_keep_size=0",
        "max_wal_size=2MB",
    ]);
    let has_all = || standby.try_query("SELECT count(*) FROM many").stdout.trim() == "320";
    wait_until("everything is replayed", PATIENCE * 3, has_all);
    standby.query("CHECKPOINT");
    let redo = standby.query("SELECT redo_wal_file FROM pg_control_checkpoint()");
    assert!(redo.as_str() > "0000000100000000000000F0", "{redo}");
    let kept = fs::read_dir(standby.data.join("pg_wal")).unwrap().count();
    assert!(kept < 40, "{kept} files in pg_wal: nothing was recycled");
}
