//! Every kind of target, promotion across a timeline, and standbys, on every version of PostgreSQL: exactly the rows of
//! it, on a copy that PostgreSQL itself recovered.

use std::time::Duration;

use crate::support::{Ledger, LedgerRow, PgVersion, Scene, Settled, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);

/// Beside the running primary, from one backup.
fn every_kind_of_target(version: PgVersion) {
    let (scene, points) = Scene::with_points(version, "targets");
    let (ledger, row) = (&scene.ledger, &points.row);
    let (time, xid) = (row.committed_at.text.as_str(), row.xid.to_string());

    // Where the commit record begins is what our own reader says; PostgreSQL then stops there, or does not.
    let proof = scene.proof(&["--target-xid", &xid]);
    assert_eq!(proof["commit_before"]["xid"], row.xid, "{proof}");
    assert_eq!(proof["commit_before"]["time"].as_str().map(without_zone), Some(without_zone(time)), "{proof}");
    let commit_begins = proof["commit_before"]["lsn"].as_str().unwrap_or_else(|| panic!("{proof}"));

    let mut cases = points.cases(ledger, commit_begins);
    cases.push((Vec::new(), Settled::Open, ledger.all()));
    for (number, (options, settled, rows)) in cases.iter().enumerate() {
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let mut copy = scene.recovers(&format!("c{number}"), &options, *settled, rows);
        let auto = || std::fs::read_to_string(copy.data.join("postgresql.auto.conf")).unwrap();
        assert_eq!(auto().contains("recovery_target"), *settled == Settled::Paused, "{options:?}: {}", auto());
        if *settled == Settled::Paused {
            copy.promote();
            Ledger::assert(&copy, rows);
            assert!(!auto().contains("recovery_target"), "{options:?}: {}", auto());
        }
        // The next start is no recovery any more.
        copy.stop();
        assert_eq!(copy.start_and_settle(), Settled::Open, "log:\n{}", copy.log());
        Ledger::assert(&copy, rows);
        copy.kill();
    }

    scene.stops_at_its_point(&points);
}

/// `2026-11-20 14:30:00.123456` of a time in UTC, however it is written.
fn without_zone(time: &str) -> String {
    let text = time.replace('T', " ").trim_end_matches("+00").trim_end_matches('Z').to_owned();
    let (seconds, fraction) = text.split_once('.').unwrap_or((&text, ""));
    format!("{seconds}.{fraction:0<6}")
}

/// A standby made by pgv-restore follows, is promoted when the primary is gone, archives, is restored from; what was
/// only in the stream is not lost.
fn standby_and_promotion(version: PgVersion) {
    let mut scene = Scene::new(version, "standby");
    scene.commit(2);
    scene.site.backup(&[]).success();
    let on_one = scene.commit(2);
    scene.site.primary.archive_all();
    let archived_on_one = scene.ledger.all();

    // From the archive alone first, then over the connection too.
    let mut alone = scene.restored("alone", &["--standby"]);
    alone.start();
    let has = |row: &LedgerRow| format!("SELECT count(*) FROM ledger WHERE id = {}", row.id);
    let arrived = has(&on_one);
    wait_until("the archive is replayed", PATIENCE, || alone.query(&arrived) == "1");
    assert!(alone.is_in_recovery());
    let conninfo = scene.site.primary.conninfo();
    let mut standby = scene.restored("standby", &["--standby", "--primary-conninfo", &conninfo]);
    standby.start();
    let streamed = scene.commit(2);
    let arrived = has(&streamed);
    wait_until("the row is streamed", PATIENCE, || standby.query(&arrived) == "1");
    assert!(standby.is_in_recovery());

    scene.site.primary.kill();
    standby.promote();
    Ledger::assert(&standby, &scene.ledger.all());
    let auto = std::fs::read_to_string(standby.data.join("postgresql.auto.conf")).unwrap();
    assert!(!auto.contains("recovery_target") && !auto.contains("primary_conninfo"), "{auto}");
    assert!(!standby.data.join("standby.signal").exists());
    scene.configure_pgdata(&standby.data);
    scene.ledger.commit_many(&standby, 2);
    let on_two = scene.ledger.rows.last().unwrap().clone();
    scene.ledger.commit_many(&standby, 1);
    let fork_segment = standby.archive_all();
    assert!(fork_segment.starts_with("00000002"), "{fork_segment}");

    // The other standby follows to the new timeline by the archive alone, and a copy of it is promoted.
    let last = scene.ledger.rows.last().unwrap().clone();
    let arrived = has(&last);
    wait_until("the other standby has followed", PATIENCE, || alone.query(&arrived) == "1");
    Ledger::assert(&alone, &scene.ledger.all());
    alone.kill();

    let time = |row: &LedgerRow| row.committed_at.text.clone();
    let ledger = &scene.ledger;
    let xid = on_one.xid.to_string();
    let rows: &[(&str, &[&str], Settled, Vec<i64>)] = &[
        ("before", &["--target-xid", &xid], Settled::Paused, ledger.through(&on_one)),
        ("in-the-first", &["--target-time", &time(&streamed)], Settled::Paused, ledger.through(&streamed)),
        ("behind", &["--target-time", &time(&on_two)], Settled::Paused, ledger.through(&on_two)),
        ("latest", &[], Settled::Open, ledger.all()),
        ("of-one", &["--target-timeline", "1"], Settled::Open, archived_on_one),
    ];
    for (name, options, settled, rows) in rows {
        scene.recovers(name, options, *settled, rows).kill();
    }

    // A backup of the new timeline, by its new primary, and from it the latest.
    let backup = ["--checkpoint", "fast", "-d", &standby.conninfo()];
    scene.site.pgv.run("pgv-basebackup", &backup).success();
    scene.ledger.commit_many(&standby, 1);
    standby.archive_all();
    scene.recovers("from-two", &[], Settled::Open, &scene.ledger.all()).kill();
}

#[test]
#[ignore = "slow tier: scripts/test --all"]
fn every_target_on_13_and_14() {
    [PgVersion::V13, PgVersion::V14].into_iter().for_each(every_kind_of_target);
}

#[test]
#[ignore = "slow tier: scripts/test --all"]
fn every_target_on_16_to_18() {
    [PgVersion::V16, PgVersion::V17, PgVersion::V18].into_iter().for_each(every_kind_of_target);
}

#[test]
#[ignore = "slow tier: scripts/test --all"]
fn standbys_and_timelines_on_13_and_14() {
    [PgVersion::V13, PgVersion::V14].into_iter().for_each(standby_and_promotion);
}

#[test]
#[ignore = "slow tier: scripts/test --all"]
fn standbys_and_timelines_on_16_to_18() {
    [PgVersion::V16, PgVersion::V17, PgVersion::V18].into_iter().for_each(standby_and_promotion);
}

/// A backup that a standby sends, or whose files are read, while the primary writes and archives; a copy of it is the
/// primary's rows.
fn backup_from_a_standby(version: PgVersion, method: &str) {
    let mut scene = Scene::new(version, &format!("{method}-of-standby"));
    scene.commit(2);
    scene.site.backup(&[]).success();
    let conninfo = scene.site.primary.conninfo();
    let mut standby = scene.restored("standby", &["--standby", "--primary-conninfo", &conninfo]);
    standby.start();
    let last = scene.commit(2);
    let arrived = format!("SELECT count(*) FROM ledger WHERE id = {}", last.id);
    wait_until("the row is streamed", PATIENCE, || standby.query(&arrived) == "1");
    // A standby begins at its last restart point, which the primary's checkpoints are for.
    scene.site.primary.query("CHECKPOINT");

    let conninfo = standby.conninfo();
    let options = ["--checkpoint", "fast", "--method", method, "--output", "json", "-d", &conninfo];
    let taken = std::thread::scope(|scope| {
        let backup = scope.spawn(|| scene.site.pgv.run("pgv-basebackup", &options));
        // Nobody switches WAL for a standby but its primary.
        while !backup.is_finished() {
            scene.site.primary.query("SELECT pg_create_restore_point('awake'); SELECT pg_switch_wal()");
            std::thread::sleep(Duration::from_millis(200));
        }
        backup.join().unwrap()
    });
    let taken: serde_json::Value = serde_json::from_str(&taken.success().stdout).unwrap();
    let id = taken["backup"]["id"].as_str().unwrap();
    assert_eq!((&taken["backup"]["method"], &taken["backup"]["node"]["is_standby"]), (&method.into(), &true.into()));
    scene.commit(2);
    scene.site.primary.archive_all();
    standby.kill();
    scene.site.primary.stop();
    scene.recovers("copy", &["--backup", id], Settled::Open, &scene.ledger.all()).kill();
    let target = ["--backup", id, "--target-immediate"];
    scene.recovers("immediate", &target, Settled::Paused, &scene.ledger.through(&last)).kill();
}

#[test]
fn a_standby_of_postgresql_13_sends_a_backup() {
    backup_from_a_standby(PgVersion::V13, "stream");
}

#[test]
fn the_files_of_a_standby_of_postgresql_15_are_read() {
    backup_from_a_standby(PgVersion::V15, "direct");
}

#[test]
#[ignore = "slow tier: scripts/test --all"]
fn standbys_of_14_to_18_send_backups() {
    PgVersion::ALL.into_iter().skip(1).for_each(|version| backup_from_a_standby(version, "stream"));
}

#[test]
#[ignore = "slow tier: scripts/test --all"]
fn the_files_of_standbys_of_all_versions_are_read() {
    PgVersion::ALL.into_iter().for_each(|version| backup_from_a_standby(version, "direct"));
}
