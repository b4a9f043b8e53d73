//! A server archives with pgv-archive, and recovers with pgv-fetch: the whole of it, or loudly not at all.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pgv::clock::SystemClock;
use pgv::pg::ControlFile;
use pgv::repository::{ClusterIdentity, ClusterName, Repository, RepositoryDescription, Writer, WriterDescription};
use pgv::store::LocalStore;

use crate::support::{
    Ledger, PgVersion, Pgv, Settled, SilentFileSystem, TestAccount, TestCluster, TestFolder, pg_basebackup, program,
    run, wait_until,
};

const VERSION: PgVersion = PgVersion::V15;
const PATIENCE: Duration = Duration::from_secs(60);

struct Scene {
    folder: TestFolder,
    pgv: Pgv,
    tree: PathBuf,
    ledger: Ledger,
    /// Segments after the backup, in order, each with rows in it.
    segments: Vec<String>,
    primary: TestCluster,
}

/// A base backup by hand, and four segments with rows after it.
fn scene(name: &str) -> Scene {
    let folder = TestFolder::new(name);
    let pgv = Pgv::new(&folder);
    let archive_command = format!("{} --config {} %p %f", program("pgv-archive").display(), pgv.config.display());
    let builder = TestCluster::builder(VERSION, &folder).initdb("--wal-segsize=1").archive_command(&archive_command);
    let mut primary = builder.create();
    let tree = register(&folder, &pgv, &primary.data);
    primary.start();
    let mut ledger = Ledger::create(&primary);
    ledger.commit_many(&primary, 2);
    pg_basebackup(&primary, &folder.join("backup"), &[]).success();
    let segments = (0..4)
        .map(|_| {
            ledger.commit_many(&primary, 2);
            primary.archive_all()
        })
        .collect();
    Scene { folder, pgv, tree, ledger, segments, primary }
}

/// Creates the repository with the cluster in it, and the configuration.
fn register(folder: &TestFolder, pgv: &Pgv, data: &Path) -> PathBuf {
    let control = ControlFile::decode(&fs::read(data.join(ControlFile::PATH)).unwrap()).unwrap();
    let store = Arc::new(LocalStore::create(&pgv.repository).unwrap());
    let (repository, _) = Repository::create(store, &RepositoryDescription::new(&SystemClock)).unwrap();
    let since = "2026-11-21T00:00:00Z".parse().unwrap();
    let identity = ClusterIdentity {
        cluster: ClusterName::parse("main").unwrap(),
        system_identifier: control.system_identifier,
        major_version: control.major(),
        wal_segment_size: control.wal_segment_size,
        since,
    };
    repository.register(&identity, &Writer::new(&repository, WriterDescription::new("db1", data, since))).unwrap();
    take_over(&pgv.repository);
    let (url, pgdata) = (pgv.repository.display(), data.display());
    folder.write("pgv.toml", format!("[[repo]]\nurl = \"{url}\"\n[cluster.main]\npgdata = \"{pgdata}\"\n"));
    pgv.repository.join("main").join(control.system_identifier.to_string())
}

fn take_over(path: &Path) {
    TestAccount::get().take_over(path);
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| take_over(&entry.unwrap().path()));
    }
}

impl Scene {
    fn restore_command(&self) -> String {
        let (fetch, config) = (program("pgv-fetch"), &self.pgv.config);
        format!("{} --config {} --timeout 1s --stall-timeout 2s %f %p", fetch.display(), config.display())
    }

    /// A copy of the backup that recovers to the end of the archive when it is started.
    fn copy(&self, name: &str, signal: &str, restore_command: &str) -> TestCluster {
        let data = self.folder.join(name);
        let mut command = TestAccount::get().command("cp");
        command.arg("-a").arg(self.folder.join("backup")).arg(&data);
        run(command).success();
        self.folder.write(format!("{name}/{signal}"), "");
        let text = format!("restore_command = '{}'\narchive_mode = off\n", restore_command.replace('\'', "''"));
        self.folder.write(format!("{name}/postgresql.auto.conf"), text);
        TestCluster::at(VERSION, &self.folder, &format!("c-{name}"), &data)
    }

    fn stored(&self, segment: &str) -> PathBuf {
        self.tree.join("wal").join(&segment[..8]).join(&segment[..16]).join(segment)
    }

    fn away(&self) -> PathBuf {
        self.folder.join("away")
    }
}

/// It ended by itself, and another start can go on: nothing was promoted.
#[track_caller]
fn stopped(copy: &mut TestCluster, says: &str) {
    let settled = copy.start_and_settle();
    assert!(matches!(settled, Settled::Ended(_)), "{settled:?}\nlog:\n{}", copy.log());
    assert!(copy.log().contains(says), "the log does not say {says:?}:\n{}", copy.log());
    assert!(copy.data.join("recovery.signal").exists(), "recovery has ended");
    let control = ControlFile::decode(&fs::read(copy.data.join(ControlFile::PATH)).unwrap()).unwrap();
    assert_eq!(control.checkpoint.timeline.get(), 1, "it was promoted");
}

#[track_caller]
fn recovers_everything(scene: &Scene, copy: &mut TestCluster) {
    assert_eq!(copy.start_and_settle(), Settled::Open, "log:\n{}", copy.log());
    Ledger::assert(copy, &scene.ledger.all());
}

#[test]
fn recovery_ends_where_the_archive_is_proven_to_end() {
    let scene = scene("wal-whole");
    let mut copy = scene.copy("copy", "recovery.signal", &scene.restore_command());
    recovers_everything(&scene, &mut copy);
    // What is absent because nothing was ever there is no error.
    assert!(!copy.log().contains("pgv-fetch: error"), "{}", copy.log());
    assert!(scene.primary.log().lines().all(|line| !line.contains("pgv-archive:")), "{}", scene.primary.log());
}

/// The repository goes away when the second of four segments is asked for.
#[test]
fn an_outage_of_the_repository_never_promotes() {
    let scene = scene("wal-outage");
    let (repository, away) = (scene.pgv.repository.display(), scene.away());
    let outage = format!("if [ %f = {} ]; then mv {repository} {}; fi; ", scene.segments[1], away.display());
    let command = format!("{outage}{}", scene.restore_command());
    let mut copy = scene.copy("copy", "recovery.signal", &command);
    stopped(&mut copy, "there is no repository at");
    // Back again, recovery goes on where it stopped.
    fs::rename(&away, &scene.pgv.repository).unwrap();
    let plain = format!("restore_command = '{}'\narchive_mode = off\n", scene.restore_command());
    scene.folder.write("copy/postgresql.auto.conf", plain);
    recovers_everything(&scene, &mut copy);
}

/// A repository that hangs holds a recovery only as long as it was told to wait.
#[test]
fn a_repository_that_hangs_never_promotes() {
    let scene = scene("wal-hang");
    let main = scene.pgv.repository.join("main");
    fs::rename(&main, scene.away()).unwrap();
    let silent = SilentFileSystem::mount(&scene.folder, "repository/main");
    let mut copy = scene.copy("copy", "recovery.signal", &scene.restore_command());
    stopped(&mut copy, "nothing moved for 2s while reading object");
    drop(silent);
    fs::rename(scene.away(), &main).unwrap();
    recovers_everything(&scene, &mut copy);
}

/// Without its folder of WAL, a repository looks like one of a cluster that has not archived yet, but for its backups.
#[test]
fn an_archive_that_was_lost_as_a_whole_never_promotes() {
    let scene = scene("wal-lost");
    let conninfo = scene.primary.conninfo();
    scene.pgv.run("pgv-basebackup", &["-d", &conninfo, "--checkpoint", "fast"]).success();
    fs::rename(scene.tree.join("wal"), scene.away()).unwrap();
    let mut copy = scene.copy("copy", "recovery.signal", &scene.restore_command());
    stopped(&mut copy, "which has also lost");
    fs::rename(scene.away(), scene.tree.join("wal")).unwrap();
    recovers_everything(&scene, &mut copy);
}

#[test]
fn a_hole_and_a_damaged_segment_never_promote() {
    let scene = scene("wal-hole");
    let lost = scene.stored(&scene.segments[1]);
    let whole = fs::read(&lost).unwrap();
    for segment in &scene.segments {
        let old = SystemTime::now() - Duration::from_secs(3600);
        fs::File::open(scene.stored(segment)).unwrap().set_modified(old).unwrap();
    }
    fs::rename(&lost, scene.away()).unwrap();
    let mut copy = scene.copy("hole", "recovery.signal", &scene.restore_command());
    stopped(&mut copy, "is missing in repository");
    assert!(copy.log().contains("hint: If a server still has it in pg_wal"), "{}", copy.log());

    let mut damaged = whole.clone();
    // Within the last compressed frame, before the seek table.
    let at = damaged.len() - 50;
    damaged[at] ^= 1;
    fs::rename(scene.away(), &lost).unwrap();
    fs::write(&lost, damaged).unwrap();
    stopped(&mut copy, "is damaged");

    fs::write(&lost, whole).unwrap();
    recovers_everything(&scene, &mut copy);
}

/// A standby goes on through an outage, and catches up.
#[test]
fn a_standby_waits_for_the_repository_to_come_back() {
    let scene = scene("wal-standby");
    fs::rename(&scene.pgv.repository, scene.away()).unwrap();
    let mut standby = scene.copy("copy", "standby.signal", &scene.restore_command());
    standby.launch(&["wal_retrieve_retry_interval=200ms"]);
    standby.wait_for_log("there is no repository at");
    assert_eq!(standby.ended(), None, "log:\n{}", standby.log());
    fs::rename(scene.away(), &scene.pgv.repository).unwrap();
    let expected = scene.ledger.all();
    let caught_up = || {
        let rows = standby.try_query("SELECT count(*) FROM ledger").stdout;
        rows.trim() == expected.len().to_string()
    };
    wait_until("the standby has caught up", PATIENCE, caught_up);
    assert!(standby.is_in_recovery());
    Ledger::assert(&standby, &expected);
}

/// Archiving stops while the repository is away and loses nothing; a fast shutdown does not hang on it.
#[test]
fn an_outage_stops_archiving_and_loses_nothing() {
    let mut scene = scene("wal-archive-outage");
    fs::rename(&scene.pgv.repository, scene.away()).unwrap();
    scene.ledger.commit_many(&scene.primary, 2);
    let segment = scene.primary.switch_wal();
    wait_until("the failure is counted", PATIENCE, || {
        scene.primary.query("SELECT failed_count > 0 FROM pg_stat_archiver") == "t"
    });
    assert!(scene.primary.log().contains("hint: Is its file system mounted?"), "{}", scene.primary.log());
    assert!(!scene.pgv.repository.exists(), "something was made where the repository was");
    fs::rename(scene.away(), &scene.pgv.repository).unwrap();
    scene.primary.wait_for_archived(&segment);
    let mut copy = scene.copy("copy", "recovery.signal", &scene.restore_command());
    recovers_everything(&scene, &mut copy);
    scene.primary.stop();
}
