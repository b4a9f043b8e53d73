//! Every kind of recovery target, on one timeline and across several: exactly the rows of it, or a refusal that leaves
//! the directory alone.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::support::{
    Ledger, LedgerRow, Outcome, PgVersion, Scene, Settled, TargetPoints, TestCluster, run, wait_until,
};

const VERSION: PgVersion = PgVersion::V15;
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the commit record of a row begins, between the row before it and its own end.
fn commit_begins(scene: &Scene, before: &LedgerRow, row: &LedgerRow) -> String {
    scene.site.primary.query("CREATE EXTENSION IF NOT EXISTS pg_walinspect");
    scene.site.primary.query(&format!(
        "SELECT start_lsn FROM pg_get_wal_records_info('{}', '{}') WHERE xid = '{}' AND record_type = 'COMMIT'",
        before.lsn, row.lsn, row.xid
    ))
}

fn json(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}\n{outcome}"))
}

/// Beside the running primary, from one backup: each target gives exactly its rows, and stops as it was told.
#[test]
fn every_kind_of_target() {
    let (scene, points) = Scene::with_points(VERSION, "targets");
    let ledger = &scene.ledger;
    let TargetPoints { before, row, .. } = &points;
    let (until, earlier) = (ledger.until(&row.committed_at), ledger.before(&row.committed_at));
    assert_eq!((ledger.through(row), ledger.through(before)), (until, earlier));
    let cases = points.cases(ledger, &commit_begins(&scene, before, row));
    for (number, (options, settled, rows)) in cases.iter().enumerate() {
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let mut copy = scene.recovers(&format!("c{number}"), &options, *settled, rows);
        let auto = std::fs::read_to_string(copy.data.join("postgresql.auto.conf")).unwrap();
        assert_eq!(auto.contains("recovery_target"), *settled == Settled::Paused, "{options:?}: {auto}");
        copy.kill();
    }
    scene.stops_at_its_point(&points);

    // The copy does not archive in its original's place (the original runs on).
    let copy = scene.recovers("latest", &[], Settled::Open, &ledger.all());
    let archived = scene.archived();
    assert_eq!(copy.query("SHOW archive_mode"), "off");
    copy.query("INSERT INTO ledger VALUES (1000, 'of the copy')");
    copy.switch_wal();
    copy.query("CHECKPOINT");
    assert_eq!(copy.query("SELECT archived_count + failed_count FROM pg_stat_archiver"), "0");
    assert_eq!(scene.archived(), archived);
    scene.refused(&["--keep-archiving"], 3, &["the original still answers as a primary", "leave --keep-archiving out"]);
    scene.refused(&["--keep-archiving", "--dry-run"], 3, &["the original still answers as a primary"]);
}

/// What cannot be reached is refused before anything is touched, with the nearest that can be.
#[test]
fn refusals_and_the_plan() {
    let mut scene = Scene::new(VERSION, "refusals");
    scene.commit(2);
    let early = scene.site.primary.now();
    let taken = json(&scene.site.backup(&["--output", "json"]).success());
    let backup = taken["backup"]["id"].as_str().unwrap().to_owned();
    let stop_lsn = taken["backup"]["stop_lsn"].as_str().unwrap().to_owned();
    let mut segments = Vec::new();
    for _ in 0..3 {
        scene.commit(2);
        segments.push(scene.site.primary.archive_all());
    }
    let (middle, last) = (scene.ledger.rows[3].clone(), scene.ledger.rows.last().unwrap().clone());
    let end = scene.site.primary.query("SELECT pg_current_wal_insert_lsn()");

    let before = [format!("lies before the end of the earliest backup, {backup}"), "--target-time '".to_owned()];
    scene.refused(&["--target-time", &early.text], 3, &[&before[0], &before[1]]);
    let nearest = format!("from it: --target-lsn {stop_lsn}");
    scene.refused(&["--target-lsn", "0/500028"], 3, &["lies before the end of the earliest backup", &nearest]);
    let behind = ["lies after the end of the archive at", "Without a target, everything in the archive is restored"];
    let nearest = format!("The nearest before it is the commit of transaction {} at ", last.xid);
    let refused = scene.refused(&["--target-lsn", &end], 3, &[behind[0], behind[1], &nearest]);
    let time = scene.refused(
        &["--target-time", "2100-01-01 00:00:00+00"],
        3,
        &["is later than everything", behind[1], &nearest, &last.committed_at.text],
    );
    let pasted = |outcome: &Outcome| {
        let option = outcome.stderr.split("--target-lsn ").last().unwrap();
        option.split_whitespace().next().unwrap().to_owned()
    };
    assert_eq!(pasted(&refused), pasted(&time));
    scene.recovers("nearest", &["--target-lsn", &pasted(&time)], Settled::Paused, &scene.ledger.all()).kill();
    let unread = scene.refused(&["--target-lsn", &end, "--no-prove"], 3, &behind);
    assert!(!unread.stderr.contains("The nearest before it"), "{unread}");
    scene.refused(&["--target-time", &last.committed_at.text, "--target-xid", "700"], 2, &["cannot be used with"]);
    scene.refused(&["--target-immediate", "--target-exclusive"], 2, &["has no moment just before it"]);
    scene.refused(&["--backup", "yesterday"], 2, &["yesterday"]);
    let unknown = ["there is no backup 20200101T000000Z-00000000", &format!("The newest is {backup}")];
    scene.refused(&["--backup", "20200101T000000Z-00000000"], 1, &unknown);
    scene.refused(&["--target-timeline", "7"], 3, &["timeline 7 is not in the archive", "follows one of these: 1"]);

    // A time without offset: the two lines that may have been meant.
    let data = scene.folder.join("refused");
    let mut command = scene.site.pgv.command("pgv-restore", &["--target-time", "2026-11-20 14:30:00", "-D"]);
    command.arg(&data).env("TZ", "Europe/Berlin");
    run(command)
        .expect_code(2)
        .expect_stderr("If UTC is meant: --target-time '2026-11-20 14:30:00.000000+00'")
        .expect_stderr("If Europe/Berlin is meant: --target-time '2026-11-20 13:30:00.000000+00'");

    the_plan_touches_nothing(&scene, &middle, &backup);

    unproven_the_latest_has_no_target(&scene);

    // A hole on the way, and what lies before it.
    let lost = scene.stored(&segments[1]);
    let away = scene.folder.join("away");
    std::fs::rename(&lost, &away).unwrap();
    let hole = format!("WAL segment \"{}\" is missing", segments[1]);
    for options in [&[] as &[_], &["--target-time", &last.committed_at.text], &["--target-lsn", &last.lsn]] {
        scene.refused(options, 3, &["has a hole on the way", &hole, "can be reached", "Certain to be reached: "]);
    }
    let until = scene.ledger.through(&middle);
    scene.recovers("before-hole", &["--target-lsn", &middle.lsn], Settled::Paused, &until).kill();
    std::fs::rename(&away, &lost).unwrap();

    // A segment that the backup itself needs.
    let start_lsn = taken["backup"]["start_lsn"].as_str().unwrap();
    let needed = scene.site.primary.query(&format!("SELECT pg_walfile_name('{start_lsn}')"));
    std::fs::rename(scene.stored(&needed), &away).unwrap();
    let words = format!("backup {backup} cannot be restored: WAL segment \"{needed}\" is not in the archive");
    scene.refused(&["--target-immediate"], 3, &[&words]);
    std::fs::rename(&away, scene.stored(&needed)).unwrap();

    // Two clusters, and none of them named.
    let other = TestCluster::builder(VERSION, &scene.folder).name("other").start();
    let (repository, conninfo) = (scene.site.pgv.repository.display().to_string(), other.conninfo());
    let arguments = ["init", "--repo", &repository, "--cluster", "second", "-d", &conninfo];
    scene.site.pgv.run("pgv", &arguments).success();
    let mut text = std::fs::read_to_string(&scene.site.pgv.config).unwrap();
    text.push_str(&format!("\n[cluster.second]\npgdata = \"{}\"\n", other.data.display()));
    scene.folder.write("pgv.toml", text);
    let outcome = scene.refused(&["--dry-run"], 2, &["Name one with --cluster"]);
    assert!(outcome.stderr.contains("main") && outcome.stderr.contains("second"), "{outcome}");
    let plan = scene.site.restore(&data, &["--dry-run", "--cluster", "main"]).success();
    assert!(plan.stdout.contains(&backup), "{plan}");
}

/// What no WAL was read for gets no target either: the server goes to the end of what it finds.
fn unproven_the_latest_has_no_target(scene: &Scene) {
    let warning = "warning: nothing is proven, so no target is written";
    let data = scene.folder.join("refused");
    let text = scene.site.restore(&data, &["--no-prove", "--dry-run"]).success().expect_stderr(warning);
    assert!(!text.stdout.contains("last commit") && !text.stdout.contains("ends        with"), "{text}");
    let proven = scene.site.restore(&data, &["--dry-run"]).success();
    assert!(proven.stdout.contains("last commit") && !proven.stderr.contains("nothing is proven"), "{proven}");
    let plan = json(&scene.site.restore(&data, &["--no-prove", "--dry-run", "--output", "json"]).success());
    assert_eq!(plan["proof"], Value::Null, "{plan:#}");
    assert!(plan["warnings"].to_string().contains("nothing is proven"), "{plan:#}");
    assert!(!data.exists());
    let mut copy = scene.recovers("unproven", &["--no-prove"], Settled::Open, &scene.ledger.all());
    assert!(!copy.log().contains("recovery to WAL location"), "log:\n{}", copy.log());
    copy.kill();
    let mut copy = scene.recovers("proven", &[], Settled::Open, &scene.ledger.all());
    assert!(copy.log().contains("recovery to WAL location"), "log:\n{}", copy.log());
    copy.kill();
}

fn the_plan_touches_nothing(scene: &Scene, row: &LedgerRow, backup: &str) {
    let data = scene.folder.join("refused");
    let in_berlin = |options: &[&str]| {
        let mut command = scene.site.pgv.command("pgv-restore", options);
        command.args(["--dry-run", "--target-time", &row.committed_at.text, "-D"]).arg(&data);
        command.env("TZ", "Europe/Berlin");
        run(command).success()
    };
    let text = in_berlin(&[]);
    let utc = row.committed_at.text.trim_end_matches("+00").trim_end_matches('0').to_owned() + "+00";
    for words in
        [backup, "timelines   1\n", "segments, 0000000100000000", "MiB of ", &utc, "Europe/Berlin)", "pauses there"]
    {
        assert!(text.stdout.contains(words), "no {words:?}\n{text}");
    }
    let plan = json(&in_berlin(&["--output", "json"]));
    assert_eq!(plan["dry_run"], true);
    assert_eq!(plan["backup"], backup);
    assert_eq!(plan["timelines"], serde_json::json!([1]));
    assert_eq!(plan["target_time_utc"], row.committed_at.text);
    assert!(plan["target_time_local"].as_str().unwrap().ends_with(" Europe/Berlin"), "{plan}");
    assert_eq!(plan["target_action"], "pause");
    assert_eq!(plan["archiving"], false);
    assert!(plan["wal"]["count"].as_u64().unwrap() >= 3, "{plan}");
    assert!(plan["wal"]["first"].is_string() && plan["wal"]["last"].is_string() && plan["wal"]["end_lsn"].is_string());
    assert!(plan["file_bytes"].as_u64().unwrap() > 1 << 20, "{plan}");
    let room = &plan["room"][0];
    assert!(room["needed_bytes"].as_u64() > plan["file_bytes"].as_u64() && room["available_bytes"].is_u64(), "{plan}");
    assert!(plan.get("next_steps").is_none() && plan.get("took_seconds").is_none(), "{plan}");
    assert!(!data.exists());
}

/// The primary is lost, a standby made by pgv-restore takes its place and archives into the same tree.
#[test]
fn across_a_promotion() {
    let mut scene = Scene::new(VERSION, "promotion");
    scene.commit(2);
    scene.site.backup(&[]).success();
    let on_one = scene.commit(2);
    scene.site.primary.archive_all();
    let archived_on_one = scene.ledger.all();

    let conninfo = scene.site.primary.conninfo();
    let mut standby = scene.restored("standby", &["--standby", "--primary-conninfo", &conninfo]);
    standby.start();
    // Only in the stream: the segment is not complete.
    let streamed = scene.commit(2);
    let arrived = format!("SELECT count(*) FROM ledger WHERE id = {}", streamed.id);
    wait_until("the row is streamed", PATIENCE, || standby.query(&arrived) == "1");
    assert!(standby.is_in_recovery());
    assert_eq!(scene.site.primary.query("SELECT state FROM pg_stat_replication"), "streaming");
    Ledger::assert(&standby, &scene.ledger.all());

    scene.site.primary.kill();
    standby.promote();
    Ledger::assert(&standby, &scene.ledger.all());
    let auto = std::fs::read_to_string(standby.data.join("postgresql.auto.conf")).unwrap();
    assert!(!auto.contains("recovery_target") && !auto.contains("primary_conninfo"), "{auto}");
    assert!(!standby.data.join("standby.signal").exists());
    // It archives only after a person has said that it is the one now.
    standby.wait_for_log("pgv-archive: error");
    scene.configure_pgdata(&standby.data);
    scene.ledger.commit_many(&standby, 2);
    let on_two = scene.ledger.rows.last().unwrap().clone();
    scene.ledger.commit_many(&standby, 2);
    let fork_segment = standby.archive_all();
    assert!(fork_segment.starts_with("00000002"), "{fork_segment}");
    let archived = scene.archived();
    let of_one = fork_segment.replacen("00000002", "00000001", 1);
    assert!(archived.contains("00000002.history") && archived.contains(&format!("{of_one}.partial")), "{archived:?}");
    assert!(!archived.contains(&of_one), "{archived:?}");

    let ledger = &scene.ledger;
    let time = |row: &LedgerRow| row.committed_at.text.clone();
    let xid = on_one.xid.to_string();
    let rows: &[(&str, &[&str], Vec<i64>)] = &[
        ("before", &["--target-xid", &xid], ledger.through(&on_one)),
        ("in-the-first", &["--target-time", &time(&streamed)], ledger.through(&streamed)),
        ("its-lsn", &["--target-lsn", &streamed.lsn], ledger.through(&streamed)),
        ("behind", &["--target-time", &time(&on_two)], ledger.through(&on_two)),
    ];
    for (name, options, rows) in rows {
        scene.recovers(name, options, Settled::Paused, rows).kill();
    }
    // What is left of timeline 1 without the first segment of timeline 2.
    scene.recovers("of-one", &["--target-timeline", "1"], Settled::Open, &archived_on_one).kill();
    stays_on_its_timeline(&scene, &archived_on_one);
    scene.refused(
        &["--target-timeline", "1", "--target-lsn", &streamed.lsn],
        3,
        &["lies after the end of the archive", "on timeline 1"],
    );

    // A backup of timeline 2 brings the history that the archive lacks.
    let mut history = PathBuf::new();
    for place in [scene.tree().join("history/00000002.history"), scene.tree().join("history").join("00000002")] {
        if place.exists() {
            history = place;
        }
    }
    std::fs::remove_file(&history).unwrap();
    scene.site.pgv.run("pgv-basebackup", &["--checkpoint", "fast", "-d", &standby.conninfo()]).success();
    assert!(history.exists(), "the history was not stored");
    scene.ledger.commit_many(&standby, 1);
    standby.archive_all();
    let plan = json(&scene.site.restore(&scene.folder.join("x"), &["--dry-run", "--output", "json"]).success());
    assert_eq!((&plan["timelines"], &plan["mode"]), (&serde_json::json!([1, 2]), &"targeted".into()), "{plan}");
    assert_eq!(plan["wal"]["first"].as_str().unwrap()[..8], *"00000002");
    scene.recovers("from-two", &[], Settled::Open, &scene.ledger.all()).kill();
}

/// A standby that was told its timeline does not leave it, though a later one is archived; nor does a copy whose
/// recovery is written anew.
fn stays_on_its_timeline(scene: &Scene, archived_on_one: &[i64]) {
    let mut standby = scene.restored("stays", &["--standby", "--target-timeline", "1"]);
    standby.start_with(&["wal_retrieve_retry_interval=100ms", "log_min_messages=debug2"]);
    let max = archived_on_one.iter().max().unwrap();
    let arrived = format!("SELECT count(*) FROM ledger WHERE id = {max}");
    wait_until("the end of timeline 1 is replayed", PATIENCE, || standby.query(&arrived) == "1");
    // More than once around the loop in which a standby that follows the latest would find the other.
    let asked = || standby.log().matches("from archive: ").count();
    let before = asked();
    wait_until("it has asked for more several times", PATIENCE, || asked() >= before + 4);
    assert!(standby.is_in_recovery());
    assert_eq!(standby.query("SHOW recovery_target_timeline"), "1");
    Ledger::assert(&standby, archived_on_one);
    standby.stop();

    let data = standby.data.display().to_string();
    let conf =
        |options: &[&str]| scene.site.pgv.run("pgv-recovery-conf", &[&["--write", "-D", &data], options].concat());
    let outcome = conf(&["--target-name", "nowhere"]).success();
    assert!(outcome.stdout.contains("it stays on timeline 1"), "{outcome}");
    let auto = || std::fs::read_to_string(standby.data.join("postgresql.auto.conf")).unwrap();
    assert!(auto().contains("recovery_target_timeline = '1'"), "{}", auto());
    conf(&["--target-timeline", "latest"]).success();
    assert!(auto().contains("recovery_target_timeline = 'latest'"), "{}", auto());
}

/// A first recovery went too far back, was opened and archived; the second goes along the old timeline.
#[test]
fn a_second_attempt() {
    let mut scene = Scene::new(VERSION, "second");
    scene.commit(2);
    scene.site.backup(&[]).success();
    let proven = scene.commit(2);
    scene.site.backup(&[]).success();
    let before = scene.commit(2);
    scene.site.primary.query("SELECT pg_create_restore_point('again')");
    let first_time = scene.commit(1);
    scene.commit(2);
    let second_time = scene.commit(2);
    let last_of_one = scene.commit(2);
    let segment = scene.site.primary.archive_all();
    scene.site.primary.stop();

    let (first, second) = (first_time.committed_at.text.clone(), second_time.committed_at.text.clone());
    let in_place = ["--keep-archiving", "--old-primary-is-gone", "--target-action", "promote", "--target-time", &first];
    let mut copy = scene.restored("first", &in_place);
    scene.configure_pgdata(&copy.data);
    assert_eq!(copy.start_and_settle(), Settled::Open, "log:\n{}", copy.log());
    let mut rows_of_two = scene.ledger.through(&first_time);
    Ledger::assert(&copy, &rows_of_two);
    rows_of_two.push(scene.ledger.commit(&copy).id);
    let at_again = rows_of_two.clone();
    copy.query("SELECT pg_create_restore_point('again')");
    rows_of_two.push(scene.ledger.commit(&copy).id);
    let fork_segment = copy.archive_all();
    assert!(scene.archived().contains("00000002.history"), "{:?}", scene.archived());
    assert_eq!(fork_segment[8..], segment[8..], "the fork lies in the last segment of timeline 1");
    copy.stop();

    let words = [
        "could lie on more than one path of timelines: timeline 1",
        "; timeline 2 from ",
        "If the first server is meant: --target-timeline 1",
        "is meant: --target-timeline 2",
    ];
    let refused = scene.refused(&["--target-time", &second], 3, &words);
    within_the_last_common_record(&scene, &refused, &words, &scene.ledger.through(&first_time));
    between_the_sides_of_a_fork(&scene, &first, &scene.ledger.through(&first_time));
    // A number that one of them alone has is told by reading both.
    let xid = second_time.xid.to_string();
    let dry = scene.site.restore(&scene.folder.join("dry"), &["--target-xid", &xid, "--dry-run"]).success();
    dry.expect_stderr("of 2 paths of timelines that could be meant, only the one of timeline 1 has the target");
    scene.refused(&["--target-xid", &xid, "--no-prove"], 3, &words);
    let rows = scene.ledger.through(&second_time);
    let options = ["--target-time", &second, "--target-timeline", "1"];
    scene.recovers("second", &options, Settled::Paused, &rows).kill();

    // Before the fork, known by its position or by a backup, nobody need be asked.
    let at_first_again = scene.ledger.through(&before);
    let rows = scene.ledger.through(&before);
    scene.recovers("lsn", &["--target-lsn", &before.lsn], Settled::Paused, &rows).kill();
    let rows = scene.ledger.through(&proven);
    scene.recovers("time", &["--target-time", &proven.committed_at.text], Settled::Paused, &rows).kill();
    scene.recovers("latest", &[], Settled::Open, &rows_of_two).kill();
    // They end in the segment of the fork.
    let left = scene.ledger.through(&last_of_one).len() - scene.ledger.through(&first_time).len();
    let dry = scene.site.restore(&scene.folder.join("dry"), &["--dry-run"]).success();
    dry.expect_stderr("timeline 1 went on up to")
        .expect_stderr(&format!(", with {left} commits, after it was left at"));
    a_name_used_twice(&scene, &at_first_again, &at_again);
}

/// By the steps that are printed, and no further: promoted while archiving is off, the server never hands the history of
/// its timeline over, and no backup has been taken that would store it.
#[test]
fn a_copy_that_archives_again_is_followed() {
    let mut scene = Scene::new(VERSION, "again");
    scene.commit(2);
    scene.site.backup(&[]).success();
    scene.commit(2);
    scene.site.primary.archive_all();
    let kept = scene.commit(1);
    scene.commit(2);
    scene.site.primary.archive_all();
    scene.site.primary.stop();

    let options = ["--target-time", &kept.committed_at.text, "--target-action", "promote"];
    let mut copy = scene.recovers("copy", &options, Settled::Open, &scene.ledger.through(&kept));
    scene.configure_pgdata(&copy.data);
    let data = copy.data.to_str().unwrap().to_owned();
    scene.site.pgv.run("pgv-recovery-conf", &["--clear", "--everything", "-D", &data]).success();
    copy.stop();
    assert_eq!(copy.start_and_settle(), Settled::Open, "log:\n{}", copy.log());
    let mut rows = scene.ledger.through(&kept);
    rows.push(scene.ledger.commit(&copy).id);
    let row = scene.ledger.rows.last().unwrap().clone();
    let at_row = rows.clone();
    rows.push(scene.ledger.commit(&copy).id);
    copy.archive_all();
    assert!(scene.archived().contains("00000002.history"), "{:?}", scene.archived());
    assert!(!copy.log().contains("lacks the history"), "{}", copy.log());
    let check = scene.site.pgv.run("pgv", &["check", "--output", "json", "--no-switch", "-d", &copy.conninfo()]);
    let answer = json(&check);
    let history = answer["checks"].as_array().unwrap().iter().find(|check| check["check"] == "history");
    assert_eq!(history.unwrap()["state"], "ok", "{answer:#}");

    // The machine is lost, too.
    copy.kill();
    let history = scene.folder.join("00000002.history");
    std::fs::rename(copy.data.join("pg_wal/00000002.history"), &history).unwrap();
    std::fs::remove_dir_all(&copy.data).unwrap();
    without_its_history(&scene, &row);
    let history = history.to_str().unwrap();
    scene.site.pgv.run("pgv-archive", &["--cluster", "main", history]).success();
    scene.recovers("latest", &[], Settled::Open, &rows).kill();
    let options = ["--target-time", &row.committed_at.text, "--target-timeline", "2"];
    scene.recovers("time", &options, Settled::Paused, &at_row).kill();
}

/// WAL of the second timeline must not be passed over, unless that is what is asked for.
fn without_its_history(scene: &Scene, row: &LedgerRow) {
    std::fs::remove_file(scene.tree().join("history/00000002.history")).unwrap();
    let words = [
        "timeline 2 cannot be followed: the archive has its WAL, \"00000002",
        "and lacks its history",
        "pg_wal/00000002.history",
        "To leave that WAL out, --target-timeline N follows one of these: 1;",
    ];
    let (time, xid) = (row.committed_at.text.as_str(), row.xid.to_string());
    for options in [&[][..], &["--target-time", time], &["--target-xid", &xid], &["--target-timeline", "2"]] {
        scene.refused(options, 3, &words);
        scene.refused(&[options, &["--no-prove"]].concat(), 3, &words);
    }
    // Reading shows that this one lies before.
    let data = scene.folder.join("dry");
    let first = &scene.ledger.rows[2].committed_at.text;
    for options in [&["--target-time", first][..], &["--target-timeline", "1"], &["--target-timeline", "current"]] {
        let dry = scene.site.restore(&data, &[options, &["--dry-run"]].concat()).success();
        dry.expect_stderr("timeline 2 has no history in the archive, so it cannot be followed");
    }
}

/// The first record behind such an LSN is another one on each timeline; what lies before it is the same.
fn within_the_last_common_record(scene: &Scene, refused: &Outcome, words: &[&str], rows: &[i64]) {
    let fork = refused.stderr.split("; timeline 2 from ").nth(1).unwrap().split_whitespace().next().unwrap();
    let (high, low) = fork.split_once('/').unwrap();
    let within = format!("{high}/{:X}", u64::from_str_radix(low, 16).unwrap() - 8);
    scene.refused(&["--target-lsn", &within], 3, words);
    let doubt = "whether a record begins between";
    let data = scene.folder.join("dry");
    scene.site.restore(&data, &["--target-lsn", &within, "--no-prove", "--dry-run"]).success().expect_stderr(doubt);
    scene.recovers("within", &["--target-lsn", &within, "--target-exclusive"], Settled::Paused, rows).kill();
}

/// The next commit of either side is later, so all paths give the same rows: the newest is followed, as by the server.
fn between_the_sides_of_a_fork(scene: &Scene, time: &str, rows: &[i64]) {
    let words =
        "the paths of timelines 1 and 2 give the same commits up to the target; the newest, timeline 2, is followed";
    let answer = scene.site.pgv.run("pgv", &["target", "--target-time", time]).success().expect_stderr(words);
    assert!(answer.stdout.contains("--target-timeline 2"), "{answer}");
    scene.recovers("between", &["--target-time", time], Settled::Paused, rows).kill();
    for timeline in ["1", "2"] {
        let options = ["--target-time", time, "--target-timeline", timeline];
        scene.recovers(&format!("between-{timeline}"), &options, Settled::Paused, rows).kill();
    }
    scene.refused(&["--target-time", time, "--no-prove"], 3, &["could lie on more than one path of timelines"]);
}

/// Recovery stops at the first one; the warning has the options that lead to the other.
fn a_name_used_twice(scene: &Scene, first: &[i64], second: &[i64]) {
    let on_two = ["--target-name", "again", "--target-timeline", "2"];
    let outcome = scene.site.pgv.run("pgv", &[&["target", "--output", "json"], on_two.as_slice()].concat()).success();
    let answer = json(&outcome);
    let points = answer["point"]["proof"]["namesakes"].as_array().unwrap();
    assert_eq!((points.len(), &points[0]["timeline"], &points[1]["timeline"]), (2, &1.into(), &2.into()), "{answer}");
    assert_eq!(points[0]["lsn"], answer["point"]["proof"]["stop"]["lsn"]);
    let (at, other) = (points[0]["lsn"].as_str().unwrap(), points[1]["lsn"].as_str().unwrap());
    let options = format!("--target-lsn {other} --target-timeline 2");
    let words = format!("given to 2 restore points; recovery stops at the first, at {at}, 20");
    outcome.expect_stderr(&words).expect_stderr(&options);
    let data = scene.folder.join("dry");
    let restore = scene.site.restore(&data, &[&["--dry-run"], on_two.as_slice()].concat()).success();
    restore.expect_stderr(&words).expect_stderr(&options);
    scene.recovers("again", &on_two, Settled::Paused, first).kill();
    let options: Vec<&str> = options.split(' ').collect();
    scene.recovers("again-2", &options, Settled::Paused, second).kill();
    // On timeline 1 it is the only one.
    let one = scene.site.pgv.run("pgv", &["target", "--target-name", "again", "--target-timeline", "1"]).success();
    assert!(!one.stderr.contains("restore points"), "{one}");
}
