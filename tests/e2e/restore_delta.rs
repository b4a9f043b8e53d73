//! `pgv-restore --delta`, `--resume` and `--manifest` on real clusters: after work of a server, after kills at any moment.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::crash::{Moments, tree_of};
use crate::support::{
    Ledger, PgVersion, Random, Settled, Site, SmallFileSystem, TestAccount, TestCluster, TestFolder, pg_verifybackup,
    run,
};

const CONTROL_FILE: &str = "global/pg_control";
const MARKER: &str = "pgv-restore.incomplete";

type Tree = BTreeMap<PathBuf, (u32, Vec<u8>)>;

/// What is restored, but for what names the directories themselves.
fn restored(data: &Path, spaces: &Path) -> Tree {
    let mut tree = tree_of(data);
    let own = ["tablespace_map", "backup_manifest", "postgresql.auto.conf"];
    tree.retain(|path, (mode, _)| !own.iter().any(|own| path == Path::new(own)) && *mode != 0o777);
    if spaces.exists() {
        tree.extend(tree_of(spaces).into_iter().map(|(path, what)| (Path::new("spaces").join(path), what)));
    }
    tree
}

#[track_caller]
fn same(found: &Tree, expected: &Tree, what: &str) {
    let differs = |path: &&PathBuf| found.get(*path) != expected.get(*path);
    let different: Vec<_> = found.keys().chain(expected.keys()).filter(differs).take(10).collect();
    assert!(different.is_empty(), "{what}: differs from an undisturbed restore: {different:?}");
}

/// A copy that has lived is made what it was, and lives again; PostgreSQL's own tool agrees each time.
fn a_copy_that_has_lived_is_refreshed(version: PgVersion, method: &str) {
    let folder = TestFolder::new("delta");
    let mut site = Site::new(version, &folder);
    site.primary.create_tablespace(&folder, "extra");
    site.primary.query("CREATE TABLE in_extra TABLESPACE extra AS SELECT generate_series(1, 20000) AS i");
    let (ledger, _) = site.with_history();
    site.backup(&["--method", method]).success();
    site.primary.stop();
    let restore = |name: &str, options: &[&str]| {
        let spaces = folder.make(format!("{name}-spaces")).display().to_string();
        site.restore(&folder.join(name), &[&["--tablespace-dir", &spaces], options].concat())
    };
    restore("reference", &["--jobs", "1"]).success();
    let expected = restored(&folder.join("reference"), &folder.join("reference-spaces"));
    restore("data", &["--manifest"]).success();
    let (data, spaces) = (folder.join("data"), folder.join("data-spaces"));
    same(&restored(&data, &spaces), &expected, "with several threads");
    pg_verifybackup(version, &data, &[]).success();

    let mut copy = TestCluster::at(version, &folder, "copy", &data);
    assert_eq!(copy.start_and_settle(), Settled::Open, "log:\n{}", copy.log());
    for sql in [
        "DROP TABLE in_extra",
        "CREATE TABLE other TABLESPACE extra AS SELECT generate_series(1, 5000) AS i",
        "CREATE TABLE more AS SELECT repeat('x', 100), i FROM generate_series(1, 20000) AS i",
        "CREATE DATABASE stray",
        "VACUUM FULL pg_class",
        "CHECKPOINT",
    ] {
        copy.query(sql);
    }
    copy.stop();
    // Where a restore asks for what it may destroy, it must be told, whatever it is called.
    let stray = data.join(OsStr::from_bytes(b"caf\xe9"));
    fs::write(&stray, "").unwrap();
    let lived = restored(&data, &spaces);
    // What may not be read is replaced.
    let set_mode =
        |mode| fs::set_permissions(data.join("base/1/PG_VERSION"), fs::Permissions::from_mode(mode)).unwrap();
    set_mode(0o000);
    let planned = restore("data", &["--delta", "--archive-only", "--dry-run", "--output", "json"]).success();
    let planned: Value = serde_json::from_str(&planned.stdout).unwrap();
    assert_eq!((&planned["directory_action"], &planned["dry_run"]), (&"update".into(), &true.into()));
    assert!(planned["kept_bytes"].as_u64().unwrap() > 10 << 20 && planned["removed"].as_u64().unwrap() > 10);
    let removed = planned["removed_paths"].as_array().unwrap();
    assert!(removed.iter().any(|path| path == &*stray.to_string_lossy()), "{removed:?}");
    set_mode(0o600);
    same(&restored(&data, &spaces), &lived, "after a dry run");
    set_mode(0o000);
    restore("data", &[]).expect_code(3);
    let done = restore("data", &["--delta", "--archive-only", "--manifest", "--output", "json"]).success();
    let done: Value = serde_json::from_str(&done.stdout).unwrap();
    assert!(done["kept_bytes"].as_u64() >= planned["kept_bytes"].as_u64());
    // The old manifest is replaced.
    assert_eq!(done["removed"].as_u64().map(|count| count + 1), planned["removed"].as_u64());
    same(&restored(&data, &spaces), &expected, "after a delta");
    pg_verifybackup(version, &data, &[]).success();

    let mut copy = TestCluster::at(version, &folder, "copy", &data);
    assert_eq!(copy.start_and_settle(), Settled::Open, "log:\n{}", copy.log());
    Ledger::assert(&copy, &ledger.all());
    assert_eq!(copy.query("SELECT count(*), sum(i) FROM in_extra"), "20000|200010000");
    copy.stop();
    assert!(pg_verifybackup(version, &data, &[]).code() != 0, "a manifest that fits anything");
}

#[test]
fn postgresql_15_is_refreshed_and_verified() {
    a_copy_that_has_lived_is_refreshed(PgVersion::V15, "direct");
}

#[test]
fn postgresql_17_is_refreshed_and_verified() {
    a_copy_that_has_lived_is_refreshed(PgVersion::V17, "stream");
}

/// A small cluster in memory, a backup of it, and where that is restored to.
struct Scene {
    site: Site,
    data: PathBuf,
    spaces: PathBuf,
    folder: TestFolder,
}

impl Scene {
    fn new(name: &str) -> Self {
        let folder = TestFolder::in_memory(name);
        let builder = TestCluster::builder(PgVersion::V15, &folder).initdb("--wal-segsize=1");
        let mut site = Site::of(builder, &folder);
        site.primary.drop_templates();
        site.primary.create_tablespace(&folder, "extra");
        site.primary.query("CREATE TABLE in_extra TABLESPACE extra AS SELECT generate_series(1, 20000) AS i");
        site.backup(&[]).success();
        site.primary.stop();
        let (data, spaces) = (folder.join("data"), folder.join("spaces"));
        Self { site, data, spaces, folder }
    }

    fn command(&self, options: &[&str]) -> Command {
        let (data, spaces) = (self.data.display().to_string(), self.spaces.display().to_string());
        let places = ["-D", &data, "--tablespace-dir", &spaces, "--target-immediate", "--no-prove"];
        self.site.pgv.command("pgv-restore", &[&places, options].concat())
    }

    fn clear(&self) {
        for path in [&self.data, &self.spaces] {
            if path.exists() {
                fs::remove_dir_all(path).unwrap();
            }
        }
        self.folder.make("spaces");
    }

    /// Keeps the restored directories, with a part of what is in them changed.
    fn change(&self, seed: usize) {
        for folder in [&self.data, &self.spaces] {
            for (number, (path, (_, mut content))) in tree_of(folder).into_iter().enumerate() {
                let path = folder.join(path);
                if !path.is_file()
                    || path.is_symlink()
                    || !(number + seed).is_multiple_of(3)
                    || path.ends_with(CONTROL_FILE)
                {
                    continue;
                }
                match (number + seed) % 5 {
                    0 => content.truncate(content.len() / 2),
                    1 => content.extend_from_slice(b"more"),
                    _ => content.iter_mut().step_by(30_000).for_each(|byte| *byte ^= 1),
                }
                fs::write(&path, &content).unwrap();
            }
        }
        let space = fs::read_dir(&self.spaces).unwrap().next().unwrap().unwrap().path();
        for path in [self.data.join("base/extra"), space.join("extra")] {
            self.folder.write(path, "extra");
        }
    }

    /// How long a restore takes, and what it gives.
    fn undisturbed(&self) -> (Duration, Tree) {
        self.clear();
        let begun = Instant::now();
        run(self.command(&[])).success();
        (begun.elapsed(), restored(&self.data, &self.spaces))
    }

    /// Runs a restore and kills it.
    fn killed(&self, options: &[&str], moments: &mut Moments) -> Killed {
        let was_running = moments.kill(self.command(options));
        let (has_marker, has_control) = (self.data.join(MARKER).exists(), self.data.join(CONTROL_FILE).exists());
        Killed { was_running, has_marker, has_control }
    }

    /// Goes on with what was killed, in one way or the other, and compares.
    fn goes_on(&self, killed: Killed, round: u32, expected: &Tree, what: &str) {
        let option = if killed.has_control || round.is_multiple_of(2) { "--delta" } else { "--resume" };
        run(self.command(&[option])).success();
        let what = format!("round {round}: {what}, {killed:?}, then {option}");
        same(&restored(&self.data, &self.spaces), expected, &what);
        assert!(!self.data.join(MARKER).exists(), "{what}");
    }

    /// Kills restores, what goes on with them, and deltas, each so many times, at random moments of their time.
    #[allow(clippy::print_stdout)]
    fn killed_at_moments(&self, count: u32) {
        let seed = Random::seed();
        println!("PGV_TEST_SEED={seed}");
        let (lasts, expected) = self.undisturbed();
        let [mut of_restore, mut of_resume, mut of_delta] =
            [1, 2, 3].map(|kind| Moments::new(seed.wrapping_add(kind), count, lasts));
        let (mut restores, mut resumes, mut deltas, mut between, mut rounds) = (0, 0, 0, 0, 0);
        while restores.min(resumes).min(deltas) < count {
            rounds += 1;
            let tally = format!("{restores} restores, {resumes} resumes, {deltas} deltas were killed, seed {seed}");
            // A slow machine has many killed before they began, or end before they are.
            assert!(rounds <= 20 * count, "{tally}");
            self.clear();
            let mut killed = self.killed(&[], &mut of_restore);
            restores += u32::from(killed.was_running);
            between += u32::from(killed.is_between());
            // What goes on may be killed in its turn, and again.
            for _ in 0..2 {
                if killed.is_between() && resumes < count {
                    killed = self.killed(&["--resume"], &mut of_resume);
                    resumes += u32::from(killed.was_running);
                }
            }
            self.goes_on(killed, rounds, &expected, &format!("a restore; {tally}"));
            if deltas < count {
                // What the restore has left is whole.
                self.change(rounds as usize);
                let killed = self.killed(&["--delta"], &mut of_delta);
                deltas += u32::from(killed.was_running);
                self.goes_on(killed, rounds, &expected, &format!("a delta; {tally}"));
            }
        }
        println!("{rounds} rounds: {restores} restores, {resumes} resumes and {deltas} deltas were killed");
        assert!(between * 2 >= count, "{between} of {rounds} restores were killed in between");
        let mut server = TestCluster::at(PgVersion::V15, &self.folder, "restored", &self.data);
        assert_eq!(server.start_and_settle(), Settled::Paused, "log:\n{}", server.log());
        assert_eq!(server.query("SELECT count(*), sum(i) FROM in_extra"), "20000|200010000");
        server.kill();
    }
}

/// What a killed restore has left.
#[derive(Debug, Clone, Copy)]
struct Killed {
    was_running: bool,
    has_marker: bool,
    has_control: bool,
}

impl Killed {
    /// Whether it was begun, and is no database.
    fn is_between(self) -> bool {
        self.was_running && self.has_marker && !self.has_control
    }
}

#[test]
fn what_is_killed_at_any_moment_goes_on() {
    Scene::new("kill-moments").killed_at_moments(20);
}

#[test]
#[ignore = "slow tier: scripts/test --all"]
fn what_is_killed_at_any_of_many_moments_goes_on() {
    Scene::new("kill-many-moments").killed_at_moments(80);
}

/// A directory on a disk of its own, with what its file system keeps there; and one that may not be listed.
#[test]
fn a_mounted_pg_wal_is_updated_and_what_cannot_be_listed_is_told_before() {
    let scene = Scene::new("delta-mounted");
    let (_, expected) = scene.undisturbed();
    fs::remove_dir_all(scene.data.join("pg_wal")).unwrap();
    let mounted = SmallFileSystem::mount(&scene.folder, "data/pg_wal", 8 << 20);
    let lost = mounted.path().join("lost+found");
    fs::create_dir(&lost).unwrap();
    fs::set_permissions(&lost, fs::Permissions::from_mode(0o700)).unwrap();
    scene.folder.write(mounted.path().join("extra"), "extra");
    // That of an ordinary user, who cannot have another's, is removed.
    let keeps = TestAccount::tests_run_as_root();
    run(scene.command(&["--delta", "--dry-run"])).success();
    run(scene.command(&["--delta"])).success();
    assert_eq!((lost.exists(), mounted.path().join("extra").exists()), (keeps, false));
    let _ = fs::remove_dir(&lost);
    same(&restored(&scene.data, &scene.spaces), &expected, "with a mounted pg_wal");

    let secret = scene.folder.make("data/base/secret");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).unwrap();
    let outcome = run(scene.command(&["--delta"]));
    assert!(!outcome.status.success() && outcome.stderr.contains("base/secret\": Permission denied"), "{outcome}");
    assert!(scene.data.join(CONTROL_FILE).exists() && !scene.data.join(MARKER).exists(), "{outcome}");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o700)).unwrap();
    run(scene.command(&["--delta"])).success();
    same(&restored(&scene.data, &scene.spaces), &expected, "once it may be listed");
}
