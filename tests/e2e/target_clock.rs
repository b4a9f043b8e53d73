//! Times at which clocks are changed, and a clock that went back: a real server's commits get other stamps in its WAL
//! before it is archived. PostgreSQL replays them as its own, so that both the proof and the restored server are held
//! against the list of stamps.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};
use pgv::pg::{WalContent, WalRecord};
use serde_json::Value;

use crate::support::{PgVersion, Settled, Site, TestCluster, TestFolder, run};
use crate::wal_reader::read;

const VERSION: PgVersion = PgVersion::V15;
/// Changes of an hour on either half of the globe, and of half an hour.
const ZONES: [&str; 3] = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"];
const PAGE_BYTES: u64 = 8192;
/// 2000-01-01 in microseconds since 1970.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

/// When a commit was, by a clock on the wall.
#[derive(Debug, Clone)]
struct Planted {
    time: Timestamp,
    zone: &'static str,
}

impl Planted {
    /// Without the offset where the clock on the wall says it all.
    fn spelled(&self) -> String {
        let zoned = self.time.to_zoned(zone(self.zone));
        match zone(self.zone).to_ambiguous_zoned(zoned.datetime()).is_ambiguous() {
            true => zoned.to_string(),
            false => self.on_the_wall(),
        }
    }

    fn on_the_wall(&self) -> String {
        format!("{} {}", self.time.to_zoned(zone(self.zone)).strftime("%Y-%m-%d %H:%M:%S%.6f"), self.zone)
    }
}

/// Around the next two changes in each zone; then the clock goes back by a minute and a half, and on.
fn plan(now: Timestamp) -> Vec<Planted> {
    let mut planted = Vec::new();
    for name in ZONES {
        // The first one may be too near: a backup must end before.
        let zone = zone(name);
        let changes = zone.following(now + SignedDuration::from_hours(24)).map(|change| change.timestamp()).take(2);
        for change in changes {
            let minutes = SignedDuration::from_mins;
            let around = [-minutes(20), -SignedDuration::from_micros(1), SignedDuration::ZERO, minutes(20)];
            planted.extend(around.map(|distance| Planted { time: change + distance, zone: name }));
        }
    }
    planted.sort_by_key(|one| one.time);
    let last = planted.last().unwrap().clone();
    let after = |seconds| Planted { time: last.time + SignedDuration::from_secs(seconds), ..last };
    planted.extend([after(-90), after(600)]);
    planted
}

struct Scene {
    site: Site,
    planted: Vec<Planted>,
    xids: Vec<u32>,
    folder: TestFolder,
}

/// What makes the clock of a program go ahead: built by the compiler that pgv's own libraries need.
fn later_clock(folder: &TestFolder) -> PathBuf {
    let library = folder.join("later_clock.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/later_clock.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source);
    run(compiler).success();
    library
}

/// Gives a record of a commit another time, as its server would have written it.
fn stamp(segment: &mut [u8], record: &WalRecord, time: Timestamp) {
    let at = record.lsn.get() % segment.len() as u64;
    assert!(at % PAGE_BYTES + u64::from(record.total_bytes) <= PAGE_BYTES, "it goes on in the next page");
    let at = usize::try_from(at).unwrap();
    let record = &mut segment[at..at + record.total_bytes as usize];
    // a header of 24 bytes, then that of the content, which is short and begins with the time
    assert_eq!(record[24], 255);
    record[26..34].copy_from_slice(&(time.as_microsecond() - POSTGRES_EPOCH).to_le_bytes());
    let sum = crc32c::crc32c_append(crc32c::crc32c(&record[24..]), &record[..20]);
    record[20..24].copy_from_slice(&sum.to_le_bytes());
}

impl Scene {
    fn new() -> Self {
        let folder = TestFolder::in_memory("clock");
        let builder = TestCluster::builder(VERSION, &folder).initdb("--wal-segsize=1").line("autovacuum = off");
        let mut site = Site::of(builder, &folder);
        let planted = plan(Timestamp::now());
        site.primary.query("CREATE TABLE planted (id int)");
        site.backup(&[]).success();
        // so that no page of it goes to the log once more
        site.primary.query("INSERT INTO planted VALUES (-1)");
        let segment = site.primary.archive_all();
        let tree = site.tree();
        site.primary.query(&format!(
            "DO $$ BEGIN FOR i IN 0..{} LOOP INSERT INTO planted VALUES (i); COMMIT; END LOOP; END $$",
            planted.len() - 1
        ));
        let name = site.primary.archive_all();
        assert!(name > segment);
        site.primary.stop_immediately();
        // What was archived goes, and comes again with other times.
        let stored = tree.join("wal").join(&name[..8]).join(&name[..16]).join(&name);
        fs::remove_file(&stored).unwrap();
        let path = site.primary.data.join("pg_wal").join(&name);
        let (_, records, _) = read(std::slice::from_ref(&path));
        let of_rows = |record: &&WalRecord| matches!(&record.content, WalContent::Commit(end) if end.xid.is_some());
        let commits: Vec<&WalRecord> = records.iter().filter(of_rows).collect();
        assert_eq!(commits.len(), planted.len());
        let mut bytes = fs::read(&path).unwrap();
        for (record, planted) in commits.iter().zip(&planted) {
            stamp(&mut bytes, record, planted.time);
        }
        fs::write(&path, bytes).unwrap();
        // It is archived when the clock is there: no record is later than its segment.
        let latest = planted.iter().map(|one| one.time).max().unwrap();
        let later = latest.duration_since(Timestamp::now()).as_secs() + 60;
        let mut archive = site.pgv.command("pgv-archive", &["--cluster", "main", &path.display().to_string(), &name]);
        archive.env("LD_PRELOAD", later_clock(&folder)).env("LATER_SECONDS", later.to_string());
        run(archive).success();
        assert!(stored.exists());
        let xid = |record: &&WalRecord| match &record.content {
            WalContent::Commit(end) => end.xid.unwrap(),
            _ => unreachable!(),
        };
        let xids = commits.iter().map(xid).collect();
        Self { site, planted, xids, folder }
    }

    /// The first commit that is not recovered, by contract A3.3.
    fn first_lost(&self, time: Timestamp, is_exclusive: bool) -> Option<usize> {
        self.planted.iter().position(|one| one.time > time || (is_exclusive && one.time == time))
    }

    fn options(time: &str, is_exclusive: bool) -> Vec<String> {
        let exclusive = is_exclusive.then(|| "--target-exclusive".to_owned());
        ["--target-time".to_owned(), time.to_owned()].into_iter().chain(exclusive).collect()
    }

    fn proof(&self, options: &[String]) -> Value {
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let found = self.site.pgv.run("pgv", &[&["target", "--output", "json"], options.as_slice()].concat()).success();
        serde_json::from_str(&found.stdout).unwrap()
    }

    /// The restored server has the rows of the commits before that one, and no other.
    fn is_restored_before(&self, lost: usize, options: &[String]) {
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let data = self.folder.join(format!("copy-{lost}"));
        self.site.restore(&data, &options).success();
        let mut copy = TestCluster::at(VERSION, &self.folder, &format!("copy-{lost}-s"), &data);
        assert_eq!(copy.start_and_settle(), Settled::Paused, "{options:?}\nlog:\n{}", copy.log());
        let rows = copy.query("SELECT string_agg(id::text, ',' ORDER BY id) FROM planted WHERE id >= 0");
        let expected: Vec<String> = (0..lost).map(|id| id.to_string()).collect();
        assert_eq!(rows, expected.join(","), "{options:?}");
        copy.kill();
    }
}

#[test]
fn times_at_changes_of_the_clock_are_the_moments_that_were_meant() {
    let scene = Scene::new();
    let mut restored = Vec::new();
    for (number, one) in scene.planted.iter().enumerate() {
        let is_exclusive = number % 2 == 0;
        let options = Scene::options(&one.spelled(), is_exclusive);
        let Some(lost) = scene.first_lost(one.time, is_exclusive) else { continue };
        let answer = scene.proof(&options);
        let proof = &answer["point"]["proof"];
        assert_eq!(proof["stop"]["what"]["ending"]["xid"], scene.xids[lost], "{options:?}: {answer}");
        assert_eq!(proof["stop"]["side"], "before", "{options:?}");
        let before = lost.checked_sub(1).map_or(Value::Null, |before| scene.xids[before].into());
        if before != Value::Null {
            assert_eq!(proof["commit_before"]["xid"], before, "{options:?}");
        }
        // One of each zone, in an hour that comes twice.
        if options[1].contains('[') && !restored.contains(&one.zone) {
            restored.push(one.zone);
            scene.is_restored_before(lost, &options);
            // By the clock on the wall alone, nobody knows which one.
            let refused = scene.site.pgv.run("pgv", &["target", "--target-time", &one.on_the_wall()]);
            refused.expect_code(2).expect_stderr("came twice in region");
        }
    }
    assert_eq!(restored.len(), ZONES.len(), "{restored:?}");
    for name in ZONES {
        let skipped = skipped_in(name);
        let refused = scene.site.pgv.run("pgv", &["target", "--target-time", &skipped]);
        refused.expect_code(2).expect_stderr("region");
    }

    // The clock went back between the last but one and the one before.
    let [.., at_last, at_step, at_end] = scene.planted.as_slice() else { panic!() };
    assert!(at_step.time < at_last.time);
    let count = scene.planted.len();
    let options = Scene::options(&at_end.spelled(), true);
    let answer = scene.proof(&options);
    let steps = answer["point"]["proof"]["clock_steps"].as_array().unwrap();
    let found: Vec<(&Value, &Value)> = steps.iter().map(|step| (&step["from"]["xid"], &step["to"]["xid"])).collect();
    let [last, step] = [count - 3, count - 2].map(|number| Value::from(scene.xids[number]));
    assert_eq!(found, [(&last, &step)], "{answer}");
    let words = "the server's clock went back at ";
    let warned = |answer: &Value| {
        answer["warnings"].as_array().unwrap().iter().any(|line| line.as_str().unwrap().starts_with(words))
    };
    assert!(warned(&answer), "{answer}");
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let told = scene.site.pgv.run("pgv", &[&["target"], options.as_slice()].concat()).success();
    assert!(told.to_string().contains(words), "{told}");
    let directory = scene.folder.join("planned").display().to_string();
    let planned = [&["-D", &directory, "--dry-run"], options.as_slice()].concat();
    let told = scene.site.pgv.run("pgv-restore", &planned).success();
    assert!(told.to_string().contains(words), "{told}");
    // Recovery stops at the first one that is later, and does not get to the one that the clock gave an earlier time then.
    let between = at_last.time - SignedDuration::from_secs(30);
    let early = scene.proof(&Scene::options(&format!("{between}"), false));
    let proof = &early["point"]["proof"];
    assert_eq!(proof["stop"]["what"]["ending"]["xid"], last, "{early}");
    let late = &proof["late_commits"];
    assert_eq!((&late["count"], &late["first"]["xid"], &late["last"]["xid"]), (&1.into(), &step, &step), "{early}");
    assert!(!warned(&early), "{early}");
    let words = "the server's clock went back behind the point at which recovery stops: 1 commit";
    let between = between.to_string();
    let early = ["-D", &directory, "--dry-run", "--target-time", &between];
    for told in
        [scene.site.pgv.run("pgv-restore", &early), scene.site.pgv.run("pgv", &["target", "--target-time", &between])]
    {
        assert!(told.success().stderr.contains(words), "no {words:?}");
    }
    // Before it, and after all, none is.
    for time in [at_last.time - SignedDuration::from_secs(120), at_last.time + SignedDuration::from_secs(300)] {
        let answer = scene.proof(&Scene::options(&time.to_string(), false));
        assert_eq!(answer["point"]["proof"]["late_commits"], Value::Null, "{answer}");
    }
    let options: Vec<String> = options.iter().map(ToString::to_string).collect();
    scene.is_restored_before(count - 1, &options);
}

/// A time that the clock on the wall of a zone never shows.
fn skipped_in(name: &str) -> String {
    let zone = zone(name);
    let changes = zone.following(Timestamp::now());
    let instants = changes.map(|change| change.timestamp()).take(2);
    let forward = instants.filter(|at| {
        let offset = |at: Timestamp| Zoned::new(at, zone.clone()).offset();
        offset(*at).seconds() > offset(*at - SignedDuration::from_micros(1)).seconds()
    });
    let at = forward.last().expect("one of two changes goes forward");
    let before = Zoned::new(at - SignedDuration::from_micros(1), zone.clone()).datetime();
    let skipped = before + SignedDuration::from_mins(5);
    format!("{} {name}", skipped.strftime("%Y-%m-%d %H:%M:%S"))
}

/// The clock is set back when more than a GiB has been written behind the stop, which is not read: the segment that was
/// archived then says so.
#[test]
#[ignore = "slow tier: scripts/test --all"]
fn a_clock_that_was_set_back_far_behind_the_stop_is_told() {
    let folder = TestFolder::in_memory("clock-far");
    let builder = TestCluster::builder(VERSION, &folder).initdb("--wal-segsize=64").line("autovacuum = off");
    let mut site = Site::of(builder.line("max_wal_size = 256MB").line("wal_keep_size = 256MB"), &folder);
    let tree = site.tree();
    site.primary.query("CREATE TABLE planted (id int)");
    site.backup(&[]).success();
    site.primary.query("INSERT INTO planted VALUES (0)");
    let target = site.primary.now();
    site.primary.query("INSERT INTO planted VALUES (1)");
    for _ in 0..20 {
        site.primary.query("SELECT pg_logical_emit_message(false, 'filler', repeat('x', 64000000))");
    }
    site.primary.archive_all();
    site.primary.query("INSERT INTO planted VALUES (2)");
    let xid = site.primary.query("SELECT xmin FROM planted WHERE id = 2");
    let name = site.primary.archive_all();
    site.primary.query("INSERT INTO planted VALUES (3)");
    site.primary.archive_all();
    let path = site.primary.data.join("pg_wal").join(&name);
    let mut bytes = fs::read(&path).unwrap();
    site.primary.stop_immediately();
    let found = || {
        let options = ["target", "--output", "json", "--target-time", &target.text];
        let found = site.pgv.run("pgv", &options).success();
        let found: Value = serde_json::from_str(&found.stdout).unwrap();
        found["point"]["proof"]["late_commits"].clone()
    };
    assert_eq!(found(), Value::Null);

    let (_, records, _) = read(std::slice::from_ref(&path));
    let is_it = |record: &&WalRecord| match &record.content {
        WalContent::Commit(end) => end.xid.is_some_and(|one| one.to_string() == xid),
        _ => false,
    };
    let hour = 3600;
    let time = Timestamp::from_microsecond(target.micros).unwrap() - SignedDuration::from_secs(hour);
    stamp(&mut bytes, records.iter().find(is_it).unwrap(), time);
    fs::write(&path, bytes).unwrap();
    fs::remove_file(tree.join("wal").join(&name[..8]).join(&name[..16]).join(&name)).unwrap();
    let mut archive = site.pgv.command("pgv-archive", &["--cluster", "main", &path.display().to_string(), &name]);
    archive.env("LD_PRELOAD", later_clock(&folder)).env("LATER_SECONDS", (-hour).to_string());
    run(archive).success();
    let late = found();
    let xid: Value = serde_json::from_str(&xid).unwrap();
    assert_eq!((&late["count"], &late["first"]["xid"], &late["last"]["xid"]), (&1.into(), &xid, &xid), "{late}");
}
