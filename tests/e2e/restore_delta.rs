//! `pgv-restore --delta`, `--resume` and `--manifest` on real clusters: after work of a server, after kills at any moment.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::support::crash::tree_of;
use crate::support::{Ledger, PgVersion, Settled, Site, TestCluster, TestFolder, pg_verifybackup, run};

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

    /// Kills restores and deltas at moments that are spread over their time, and goes on with them.
    fn killed_at_moments(&self, count: u32) {
        let begun = Instant::now();
        self.clear();
        run(self.command(&[])).success();
        let (lasts, expected) = (begun.elapsed(), restored(&self.data, &self.spaces));
        let mut incomplete = 0;
        for number in 0..count {
            let is_delta = number % 2 == 1;
            if is_delta {
                // What the round before has left is whole.
                self.change(number as usize);
            } else {
                self.clear();
            }
            let options: &[&str] = if is_delta { &["--delta"] } else { &[] };
            let mut killed = self.command(options);
            let mut child = killed.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(lasts * (number + 1) / count);
            let _ = child.kill();
            child.wait().unwrap();
            let (has_control, has_marker) = (self.data.join(CONTROL_FILE).exists(), self.data.join(MARKER).exists());
            let what = format!("killed at {} of {count}, control file {has_control}, marker {has_marker}", number + 1);
            incomplete += u32::from(has_marker && !has_control);
            let again = match (has_control, number % 4) {
                (true, _) => "--delta",
                (false, 0 | 1) => "--resume",
                (false, _) => "--delta",
            };
            run(self.command(&[again])).success();
            same(&restored(&self.data, &self.spaces), &expected, &what);
            assert!(!self.data.join(MARKER).exists(), "{what}");
        }
        assert!(incomplete * 4 >= count, "{incomplete} of {count} were killed in between");
        let mut server = TestCluster::at(PgVersion::V15, &self.folder, "restored", &self.data);
        assert_eq!(server.start_and_settle(), Settled::Paused, "log:\n{}", server.log());
        assert_eq!(server.query("SELECT count(*), sum(i) FROM in_extra"), "20000|200010000");
        server.kill();
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
