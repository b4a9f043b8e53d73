//! Recoveries of real servers with what pgv-recovery-conf writes, and what is left when they end.

use std::path::Path;
use std::time::Duration;

use crate::support::{
    Ledger, Outcome, PgVersion, Settled, Site, TestCluster, TestFolder, pg_basebackup, run_within, wait_until,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A primary that archives, a base backup of it, rows, a restore point, rows, everything archived.
struct Scene {
    site: Site,
    ledger: Ledger,
    rows_at_point: Vec<i64>,
    version: PgVersion,
    folder: TestFolder,
}

impl Scene {
    fn new(version: PgVersion, name: &str) -> Self {
        let folder = TestFolder::new(name);
        let site = Site::new(version, &folder);
        let mut ledger = Ledger::create(&site.primary);
        ledger.commit_many(&site.primary, 2);
        pg_basebackup(&site.primary, &folder.join("copy"), &["--checkpoint=fast"]).success();
        ledger.commit_many(&site.primary, 2);
        let rows_at_point = ledger.all();
        site.primary.query("SELECT pg_create_restore_point('before the release')");
        ledger.commit_many(&site.primary, 2);
        site.primary.archive_all();
        Self { site, ledger, rows_at_point, version, folder }
    }

    fn copy(&self) -> TestCluster {
        TestCluster::at(self.version, &self.folder, "c", &self.folder.join("copy"))
    }

    #[track_caller]
    fn conf(&self, options: &[&str]) -> Outcome {
        let data = self.folder.join("copy").display().to_string();
        self.site.pgv.run("pgv-recovery-conf", &[&["-D", &data], options].concat())
    }
}

fn auto_text(data: &Path) -> String {
    std::fs::read_to_string(data.join("postgresql.auto.conf")).unwrap()
}

/// A server opens only after its `recovery_end_command` has ended.
#[track_caller]
fn assert_cleared(copy: &TestCluster) {
    let text = auto_text(&copy.data);
    assert!(!text.contains("recovery") && !text.contains("restore_command"), "{text}");
    assert!(text.contains("archive_mode = 'off'"), "{text}");
    for signal in ["recovery.signal", "standby.signal"] {
        assert!(!copy.data.join(signal).exists(), "{signal}");
    }
    assert!(!copy.log().contains("pgv-recovery-conf: error"), "{}", copy.log());
}

fn recovers_to_a_restore_point_and_clears(version: PgVersion) {
    let scene = Scene::new(version, "conf-point");
    let mut copy = scene.copy();
    copy.configure(&["recovery_end_command = 'grep -c recovery_target postgresql.auto.conf > end.txt; ls *.signal'"]);
    scene.conf(&["--write", "--target-name", "before the release"]).success();
    assert_eq!(copy.start_and_settle(), Settled::Paused);
    Ledger::assert(&copy, &scene.rows_at_point);

    // Before it has ended nothing is taken away from it, nor is it given anything else.
    scene.conf(&["--write", "--target-immediate"]).expect_code(3).expect_stderr("a server runs");
    scene.conf(&["--clear"]).expect_code(3).expect_stderr("recovery has not ended");

    copy.promote();
    assert_cleared(&copy);
    // The server's own command ran after ours.
    assert_eq!(std::fs::read_to_string(copy.data.join("end.txt")).unwrap(), "0\n");
    Ledger::assert(&copy, &scene.rows_at_point);
    copy.stop();
    copy.start();
    assert_eq!(copy.query("SHOW archive_mode"), "off");
    assert_eq!(copy.query("SHOW recovery_target_name"), "");

    // By hand while the server runs, and again.
    scene.conf(&["--clear", "--everything"]).success();
    assert!(!auto_text(&copy.data).contains("archive_mode"));
    let again = scene.conf(&["--clear", "--everything"]).success();
    assert!(again.stdout.ends_with(": nothing\n"), "{again}");
}

#[test]
fn postgresql_15_recovers_to_a_restore_point_and_clears() {
    recovers_to_a_restore_point_and_clears(PgVersion::V15);
}

#[test]
fn postgresql_17_recovers_to_a_restore_point_and_clears() {
    recovers_to_a_restore_point_and_clears(PgVersion::V17);
}

/// A standby of a server that has recovered: with what `--clear` left, and with the target that it took away.
#[test]
fn a_target_that_was_cleared_does_not_promote_a_later_standby() {
    let scene = Scene::new(PgVersion::V15, "conf-later");
    let mut copy = scene.copy();
    scene.conf(&["--write", "--target-immediate", "--target-action", "promote"]).success();
    let with_target = auto_text(&copy.data);
    assert_eq!(copy.start_and_settle(), Settled::Open);
    assert_cleared(&copy);

    let primary_conninfo = format!("primary_conninfo={}", copy.conninfo());
    let settings = ["restore_command=", "recovery_end_command=", &primary_conninfo];
    let standby = |name: &str| {
        let data = scene.folder.join(name);
        pg_basebackup(&copy, &data, &["--checkpoint=fast"]).success();
        scene.folder.write(format!("{name}/standby.signal"), "");
        TestCluster::at(PgVersion::V15, &scene.folder, &format!("c-{name}"), &data)
    };
    let mut later = standby("later");
    later.start_with(&settings);
    let new_row = |id: u32| {
        copy.query(&format!("INSERT INTO ledger VALUES ({id}, 'new')"));
        format!("SELECT count(*) FROM ledger WHERE id = {id}")
    };
    let arrived = new_row(1001);
    wait_until("the new row arrives", PATIENCE, || later.query(&arrived) == "1");
    assert!(later.is_in_recovery());

    // The proof that this test can fail.
    let mut promoted = standby("promoted");
    scene.folder.write("promoted/postgresql.auto.conf", with_target);
    promoted.start_with(&settings);
    new_row(1002);
    wait_until("the left-over target promotes it", PATIENCE, || !promoted.is_in_recovery());
}

#[test]
fn a_standby_streams_and_is_cleared_when_it_is_promoted() {
    let mut scene = Scene::new(PgVersion::V15, "conf-standby");
    let mut copy = scene.copy();
    scene.site.primary.query("SELECT pg_create_physical_replication_slot('copy')");
    let conninfo = scene.site.primary.conninfo();
    let options = ["--write", "--standby", "--primary-conninfo", &conninfo, "--primary-slot-name", "copy"];
    scene.conf(&options).success();
    assert!(!auto_text(&copy.data).contains("archive_mode"), "a standby keeps archiving as it was");
    copy.start_with(&["archive_mode=off"]);
    let row = scene.ledger.commit(&scene.site.primary).id.to_string();
    wait_until("the new row arrives", PATIENCE, || copy.query("SELECT max(id) FROM ledger") == row);
    assert!(copy.is_in_recovery());
    assert_eq!(scene.site.primary.query("SELECT active FROM pg_replication_slots"), "t");
    copy.promote();
    assert!(!auto_text(&copy.data).contains("primary_conninfo"));
    assert!(!copy.data.join("standby.signal").exists());
}

/// A server that crashes when it has ended its recovery and cleared nothing yet: the signal file is gone, so that it
/// starts as an ordinary one, where it was.
#[test]
fn a_crash_before_the_clear_is_no_second_recovery() {
    let scene = Scene::new(PgVersion::V15, "conf-crash");
    let mut copy = scene.copy();
    scene.conf(&["--write", "--target-name", "before the release", "--target-action", "promote"]).success();
    let slow = auto_text(&copy.data) + "recovery_end_command = 'touch begun; sleep 600'\n";
    scene.folder.write("copy/postgresql.auto.conf", slow);
    copy.launch(&[]);
    wait_until("recovery_end_command runs", PATIENCE, || copy.data.join("begun").exists());
    assert!(!copy.data.join("recovery.signal").exists());
    copy.kill();

    assert_eq!(copy.start_and_settle(), Settled::Open);
    Ledger::assert(&copy, &scene.rows_at_point);
    assert_eq!(copy.query("SELECT timeline_id FROM pg_control_checkpoint()"), "2");
    assert!(auto_text(&copy.data).contains("recovery_target_name"));
    scene.conf(&["--clear"]).success();
    assert!(!auto_text(&copy.data).contains("recovery_target"));
}

/// A copy that was opened goes on from there: a target behind it is refused, and one that was written all the same, by
/// hand or by an older pgv, is taken out again with its signal file.
#[test]
fn a_copy_that_was_opened_gets_no_earlier_target() {
    let scene = Scene::new(PgVersion::V15, "conf-opened");
    let mut copy = scene.copy();
    scene.conf(&["--write", "--target-name", "before the release", "--target-action", "promote"]).success();
    let with_target = auto_text(&copy.data);
    assert_eq!(copy.start_and_settle(), Settled::Open);
    copy.query("INSERT INTO ledger VALUES (2001, 'since')");
    copy.stop();
    let opened = auto_text(&copy.data);
    let refused = |options: &[&str]| {
        let outcome = scene.conf(options).expect_code(3);
        let outcome = outcome.expect_stderr("was opened for writing (pg_control says \"shut down\"");
        assert_eq!(auto_text(&copy.data), opened);
        assert!(!copy.data.join("recovery.signal").exists());
        outcome.stderr.clone()
    };
    for options in [&["--target-name", "before the release"] as &[_], &["--target-time", "2026-11-20 14:30:00+00"]] {
        let said = refused(&[&["--write"], options].concat());
        assert!(said.contains(" -D ") && said.contains(" --delta --target-"), "{said}");
    }
    // Nor without the marks of a copy, by the time alone.
    scene.conf(&["--clear", "--everything"]).success();
    scene
        .conf(&["--write", "--target-time", "2026-11-20 14:30:00+00"])
        .expect_code(3)
        .expect_stderr("--delta --target-time");

    // What was written all the same: it comes out again, with its signal file.
    let write = || {
        scene.folder.write("copy/postgresql.auto.conf", &with_target);
        scene.folder.write("copy/recovery.signal", "");
    };
    write();
    let cleared = scene.conf(&["--clear"]).success();
    assert!(cleared.stdout.contains("recovery.signal: the server starts as it was"), "{cleared}");
    assert!(!copy.data.join("recovery.signal").exists() && !auto_text(&copy.data).contains("recovery_target"));
    // Once PostgreSQL has begun with it, pg_control is that of any recovery: the person decides.
    write();
    assert!(matches!(copy.start_and_settle(), Settled::Ended(_)), "log:\n{}", copy.log());
    let remove = format!("rm {}", copy.data.join("recovery.signal").display());
    scene.conf(&["--clear"]).expect_code(3).expect_stderr("recovery has not ended").expect_stderr(&remove);
    std::fs::remove_file(copy.data.join("recovery.signal")).unwrap();
    scene.conf(&["--clear"]).success();
    assert_eq!(copy.start_and_settle(), Settled::Open, "log:\n{}", copy.log());
    assert_eq!(copy.query("SELECT count(*) FROM ledger WHERE id = 2001"), "1");
}

/// `--clear` must never stop the server: no status above 125, whatever it meets and whoever asks it to end.
#[test]
fn clear_never_has_a_status_that_stops_the_server() {
    let folder = TestFolder::new("conf-status");
    let cluster = TestCluster::builder(PgVersion::V15, &folder).create();
    let program = crate::support::program("pgv-recovery-conf").display().to_string();
    let clear = format!("{program} --clear -D .");
    let control = cluster.data.join("global/pg_control");
    let away = folder.join("pg_control");
    cluster.run_as_server(&clear, &[]).success();
    cluster.run_as_server(&clear, &[("PGV_CONFIG", "/nonexistent"), ("PGV_REPO", "nonsense")]).success();
    for (line, code) in [
        ("--clear -D /nonexistent", 3),
        ("--clear -D . --nonsense", 2),
        ("--clear", 2),
        ("--clear -D . --target-immediate", 2),
    ] {
        cluster.run_as_server(&format!("{program} {line}"), &[]).expect_code(code);
    }
    std::fs::rename(&control, &away).unwrap();
    cluster.run_as_server(&clear, &[]).expect_code(3).expect_stderr("there is no \"global/pg_control\" in it");
    std::fs::rename(&away, &control).unwrap();
    std::fs::write(cluster.data.join("PG_VERSION"), "12\n").unwrap();
    cluster.run_as_server(&clear, &[]).expect_code(3).expect_stderr("\"12\" is not supported");
    std::fs::write(cluster.data.join("PG_VERSION"), "15\n").unwrap();
    std::fs::rename(cluster.data.join("postgresql.auto.conf"), &away).unwrap();
    folder.make("primary/postgresql.auto.conf");
    cluster.run_as_server(&clear, &[]).expect_code(3).expect_stderr("postgresql.auto.conf");
}

/// The writes of a full or read-only file system: a message, a status, and the old file.
#[test]
fn a_full_file_system_leaves_the_old_file() {
    use crate::support::SmallFileSystem;
    let folder = TestFolder::new("conf-full");
    let small = SmallFileSystem::mount(&folder, "small", 64 * 1024);
    folder.make("small/global");
    folder.write("small/global/pg_control", "");
    folder.write("small/PG_VERSION", "15\n");
    let old = "recovery_target = 'immediate'\n".to_owned() + &"# a comment that stays\n".repeat(1500);
    folder.write("small/postgresql.auto.conf", &old);
    let clear = || {
        let mut command = crate::support::TestAccount::get().command(crate::support::program("pgv-recovery-conf"));
        command.env_clear().args(["--clear", "-D"]).arg(small.path());
        run_within(PATIENCE, command)
    };
    clear().expect_code(4).expect_stderr("No space left on device");
    assert_eq!(auto_text(small.path()), old);
    let left: Vec<_> = std::fs::read_dir(small.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "{left:?}");
    small.set_read_only(true);
    clear().expect_code(4).expect_stderr("Read-only file system");
    small.set_read_only(false);
    assert_eq!(auto_text(small.path()), old);
}
