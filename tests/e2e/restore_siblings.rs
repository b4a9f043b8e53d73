//! Two promotions from the same timeline: neither of the new ones comes from the other, and both have transactions of the
//! same numbers, and commits before and behind the same times.

use serde_json::{Value, json};

use crate::support::{Ledger, LedgerRow, PgVersion, Scene, Settled, Site, TestCluster, TestFolder};

const VERSION: PgVersion = PgVersion::V15;
const AMBIGUOUS: &str = "could lie on more than one path of timelines";

/// What came of a recovery along timeline 1 that took the original's place.
struct Branch {
    /// The rows of its own, in order.
    own: Vec<LedgerRow>,
    /// The ids of those of timeline 1 that it has.
    common: Vec<i64>,
    /// Taken of it behind its second row.
    backup: String,
}

impl Branch {
    /// Recovers along timeline 1 up to that row, goes on, and is stopped.
    fn new(scene: &mut Scene, name: &str, from: &LedgerRow) -> Self {
        let in_place = ["--keep-archiving", "--old-primary-is-gone", "--target-action", "promote"];
        let target = ["--target-timeline", "1", "--target-time", &from.committed_at.text];
        let mut server = scene.restored(name, &[in_place.as_slice(), &target].concat());
        scene.configure_pgdata(&server.data);
        assert_eq!(server.start_and_settle(), Settled::Open, "log:\n{}", server.log());
        // PostgreSQL asks for it at every promotion: there is none, whatever came from timeline 1 a moment ago.
        let log = server.log();
        let about_first = log.lines().filter(|line| line.contains("00000001.history")).collect::<Vec<_>>();
        assert_eq!(about_first, [""; 0], "log:\n{log}");
        let common = scene.ledger.through(from);
        Ledger::assert(&server, &common);
        let first = scene.ledger.rows.len();
        scene.ledger.commit_many(&server, 2);
        let conninfo = server.conninfo();
        let taken = ["--checkpoint", "fast", "--output", "json", "-d", &conninfo];
        let taken = scene.site.pgv.run("pgv-basebackup", &taken).success();
        let taken: Value = serde_json::from_str(&taken.stdout).unwrap();
        scene.ledger.commit_many(&server, 4);
        server.archive_all();
        server.stop();
        let backup = taken["backup"]["id"].as_str().unwrap().to_owned();
        Self { own: scene.ledger.rows[first..].to_vec(), common, backup }
    }

    /// Its rows up to that one of its own.
    fn through(&self, row: &LedgerRow) -> Vec<i64> {
        let own = self.own.iter().map(|one| one.id).filter(|id| *id <= row.id);
        self.common.iter().copied().chain(own).collect()
    }

    fn all(&self) -> Vec<i64> {
        self.through(self.own.last().unwrap())
    }
}

/// The plan of a restore.
fn plan(scene: &Scene, options: &[&str]) -> Value {
    let data = scene.folder.join("planned");
    let planned = scene.site.restore(&data, &[&["--dry-run", "--output", "json"], options].concat()).success();
    serde_json::from_str(&planned.stdout).unwrap()
}

fn recovers(scene: &Scene, name: &str, options: &[&str], settled: Settled, rows: &[i64]) {
    let mut copy: TestCluster = scene.recovers(name, options, settled, rows);
    copy.kill();
}

#[test]
fn of_two_siblings_each_is_reached_and_none_is_guessed() {
    let folder = TestFolder::in_memory("siblings");
    let site = Site::of(TestCluster::builder(VERSION, &folder).initdb("--wal-segsize=1"), &folder);
    site.primary.drop_templates();
    let ledger = Ledger::create(&site.primary);
    let mut scene = Scene { site, ledger, folder };
    scene.commit(2);
    let taken = scene.site.backup(&["--output", "json"]).success();
    let taken: Value = serde_json::from_str(&taken.stdout).unwrap();
    let first_backup = taken["backup"]["id"].as_str().unwrap().to_owned();
    let to_two = scene.commit(2);
    let between = scene.commit(1);
    let to_three = scene.commit(1);
    let last_of_one = scene.commit(2);
    scene.site.primary.archive_all();
    scene.site.primary.stop();
    let two = Branch::new(&mut scene, "two", &to_two);
    let three = Branch::new(&mut scene, "three", &to_three);
    assert_eq!(two.common.len() + 2, three.common.len());

    // Both come from timeline 1, and the archive has all of all three.
    let archived = scene.archived();
    assert!(archived.contains("00000002.history") && archived.contains("00000003.history"), "{archived:?}");
    let info = scene.site.pgv.run("pgv", &["info", "--output", "json"]).success();
    let info: Value = serde_json::from_str(&info.stdout).unwrap();
    let tree = &info["clusters"][0]["trees"][0];
    assert_eq!(tree["history_files"], json!([2, 3]));
    let wal: Vec<_> = tree["wal"].as_array().unwrap().iter().map(|one| (&one["timeline"], &one["holes"])).collect();
    assert_eq!(wal, [(&json!(1), &json!([])), (&json!(2), &json!([])), (&json!(3), &json!([]))]);
    let of_backups = tree["backups"].as_array().unwrap().iter().map(|one| (&one["id"], &one["timeline"]));
    let expected =
        [(&json!(first_backup), &json!(1)), (&json!(two.backup), &json!(2)), (&json!(three.backup), &json!(3))];
    assert_eq!(of_backups.collect::<Vec<_>>(), expected);

    // A time of timeline 2 lies on the path of timeline 3, too: behind its fork, before its first commit.
    let (row_of_two, row_of_three) = (two.own[1].clone(), three.own[1].clone());
    let (of_two, of_three) = (["--target-timeline", "2"], ["--target-timeline", "3"]);
    let at_two = ["--target-time", &row_of_two.committed_at.text];
    let at_three = ["--target-time", &row_of_three.committed_at.text];
    let chosen = ["--target-timeline 2", "--target-timeline 3"];
    scene.refused(&at_two, 3, &[AMBIGUOUS, chosen[0], chosen[1]]);
    scene.site.pgv.run("pgv", &[&["target"], at_two.as_slice()].concat()).expect_code(3).expect_stderr(AMBIGUOUS);
    // Behind the fork of timeline 2, and before that of timeline 3.
    scene.refused(&["--target-time", &between.committed_at.text], 3, &[AMBIGUOUS, chosen[0], chosen[1]]);
    // Later than all of the others, a time is on one alone.
    let planned = plan(&scene, &at_three);
    assert_eq!((&planned["timelines"], &planned["backup"]), (&json!([1, 3]), &json!(first_backup)), "{planned:#}");

    // A number that two transactions have, one on either side.
    let has = |branch: &Branch, xid: u32| branch.own.iter().any(|row| row.xid == xid);
    let shared = two.own.iter().find(|row| has(&three, row.xid)).expect("numbers go on from the fork").xid;
    let at_xid = ["--target-xid", &shared.to_string()];
    scene.refused(&at_xid, 3, &[AMBIGUOUS, chosen[0], chosen[1]]);
    for (branch, options, timeline) in [(&two, of_two, 2), (&three, of_three, 3)] {
        let row = branch.own.iter().find(|row| row.xid == shared).unwrap();
        let stop = &scene.proof(&[at_xid.as_slice(), &options].concat())["stop"];
        let found = (&stop["what"]["ending"]["timeline"], &stop["what"]["ending"]["xid"]);
        assert_eq!(found, (&json!(timeline), &json!(shared)), "{stop:#}");
        // By the server's own stamp of that row.
        let time: jiff::Timestamp = stop["what"]["ending"]["time"].as_str().unwrap().parse().unwrap();
        assert_eq!(time.as_microsecond(), row.committed_at.micros, "{stop:#}");
    }

    // A time before either backup of theirs, and everything, each with what is its own.
    let options = [at_two.as_slice(), &of_two].concat();
    assert_eq!(plan(&scene, &options)["timelines"], json!([1, 2]));
    recovers(&scene, "at-two", &options, Settled::Paused, &two.through(&row_of_two));
    let options = [at_three.as_slice(), &of_three].concat();
    recovers(&scene, "at-three", &options, Settled::Paused, &three.through(&row_of_three));
    // On the other side, the same time is before its first row.
    let beside = plan(&scene, &[at_two.as_slice(), &of_three].concat());
    assert_eq!((&beside["timelines"], &beside["backup"]), (&json!([1, 3]), &json!(first_backup)), "{beside:#}");
    let commits = (&beside["proof"]["commit_before"]["xid"], &beside["proof"]["commit_after"]["xid"]);
    assert_eq!(commits, (&json!(to_three.xid), &json!(three.own[0].xid)), "{beside:#}");

    for (timeline, backup, rows) in [("2", &two.backup, two.all()), ("3", &three.backup, three.all())] {
        let options = ["--target-timeline", timeline];
        assert_eq!(plan(&scene, &options)["backup"], json!(backup));
        recovers(&scene, &format!("latest-{timeline}"), &options, Settled::Open, &rows);
    }
    let latest_of_one = plan(&scene, &["--target-timeline", "1"]);
    assert_eq!((&latest_of_one["timelines"], &latest_of_one["backup"]), (&json!([1]), &json!(first_backup)));
    assert_eq!(latest_of_one["proof"]["commit_before"]["xid"], json!(last_of_one.xid), "{latest_of_one:#}");
    // The newest of all is no answer: neither comes from the other.
    scene.refused(&[], 3, &[AMBIGUOUS, chosen[0], chosen[1]]);
    // A backup of the one is no way to the other.
    let other = [of_three.as_slice(), &["--backup", &two.backup]].concat();
    scene.refused(&other, 3, &[&two.backup]);
    scene.site.pgv.run("pgv", &["verify", "--wal-records"]).success();
}
