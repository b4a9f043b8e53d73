//! `pgv-restore` and `pgv-basebackup` killed at their steps: no server starts on half a restore, the same command makes
//! it whole, and a backup is listed only when it can be restored.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::crash::{Step, fail_at, kill_before, put_back, spread, steps_of, tree_of};
use crate::support::{Ledger, PgVersion, Settled, Site, TestCluster, TestFolder, pg_verifybackup, run};

const VERSION: PgVersion = PgVersion::V15;
const CONTROL_FILE: &str = "global/pg_control";
/// The calls that there are hundreds of: those that write the files of the backup.
const MANY: [&str; 3] = ["openat", "pwrite64", "write"];

type Tree = BTreeMap<PathBuf, (u32, Vec<u8>)>;

/// A dead primary with a tablespace, of which a part was never archived, and where it is restored to.
struct Scene {
    site: Site,
    ledger: Ledger,
    data: PathBuf,
    spaces: PathBuf,
    /// The repository as it is put back before every kill: a restore archives what it finds in the old pg_wal.
    pristine: PathBuf,
    folder: TestFolder,
}

impl Scene {
    fn new(name: &str) -> Self {
        let folder = TestFolder::in_memory(name);
        let builder = TestCluster::builder(VERSION, &folder).initdb("--wal-segsize=1").line("wal_keep_size = '64MB'");
        let mut site = Site::of(builder, &folder);
        site.primary.drop_templates();
        site.primary.create_tablespace(&folder, "extra");
        site.primary.query("CREATE TABLE in_extra TABLESPACE extra AS SELECT generate_series(1, 20000) AS i");
        let (mut ledger, _) = site.with_history();
        site.primary.configure(&["archive_command = 'false'"]);
        site.primary.reload();
        for _ in 0..2 {
            ledger.commit_many(&site.primary, 2);
            site.primary.switch_wal();
        }
        ledger.commit_many(&site.primary, 2);
        site.primary.kill();
        let (data, spaces) = (folder.join("data"), folder.make("spaces"));
        let scene = Self { site, ledger, data, spaces, pristine: folder.join("pristine"), folder };
        put_back(&scene.site.pgv.repository, &scene.pristine);
        scene
    }

    fn command(&self, options: &[&str]) -> Command {
        let (data, spaces) = (self.data.display().to_string(), self.spaces.display().to_string());
        let old = self.site.primary.data.display().to_string();
        // In one thread, the steps have an order.
        let places = ["-D", &data, "--tablespace-dir", &spaces, "--wal-from", &old, "--jobs", "1"];
        self.site.pgv.command("pgv-restore", &[&places, options].concat())
    }

    /// As before the first restore.
    fn clear(&self) {
        put_back(&self.pristine, &self.site.pgv.repository);
        for path in [&self.data, &self.spaces] {
            if path.exists() {
                fs::remove_dir_all(path).unwrap();
            }
        }
        self.folder.make("spaces");
        for path in self.moved_aside() {
            fs::remove_dir_all(path).unwrap();
        }
    }

    fn moved_aside(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("data.pgv-")).collect()
    }

    /// What is restored, but for the segments of the old pg_wal: those that a killed restore archived come from there.
    fn restored(&self) -> Tree {
        let mut tree = tree_of(&self.data);
        tree.retain(|path, _| !path.starts_with("pg_wal/") || path.ends_with("archive_status"));
        tree.extend(tree_of(&self.spaces).into_iter().map(|(path, what)| (Path::new("spaces").join(path), what)));
        tree
    }

    /// A server in the directory has everything.
    fn assert_content(&self, server: &mut TestCluster) {
        assert_eq!(server.start_and_settle(), Settled::Open, "log:\n{}", server.log());
        Ledger::assert(server, &self.ledger.all());
        assert_eq!(server.query("SELECT count(*), sum(i) FROM in_extra"), "20000|200010000");
        server.kill();
    }

    /// Kills before each of the steps; how often it was killed before there was a control file. With `--move-aside`
    /// the directory holds another cluster before.
    fn killed_at(&self, steps: &[Step], options: &[&str], expected: &Tree) -> usize {
        let command = self.command(options);
        let moves = options.contains(&"--move-aside");
        let other = tree_of(&self.site.primary.data);
        let mut server = TestCluster::at(VERSION, &self.folder, "restored", &self.data);
        let mut incomplete = 0;
        for (number, step) in steps.iter().enumerate() {
            self.clear();
            if moves {
                put_back(&self.site.primary.data, &self.data);
            }
            let ended = kill_before(step, &command);
            assert!(ended.is_none(), "not {step}\n{}", ended.unwrap());
            let aside = self.moved_aside();
            let is_old = moves && aside.is_empty();
            if is_old || moves {
                let there = aside.first().unwrap_or(&self.data);
                same(&tree_of(there), &other, step);
            }
            if !is_old && self.data.join(CONTROL_FILE).exists() {
                self.check_complete(&mut server, options, expected, step);
                continue;
            }
            incomplete += 1;
            if !is_old {
                server.launch(&[]);
                let status = server.wait_for_end();
                assert!(!status.success(), "{step}: a server started\n{}", server.log());
                assert!(!self.data.join(CONTROL_FILE).exists(), "{step}");
            }
            // Begun anew or gone on with, what comes of it is the same.
            let again: &[&str] = if !moves && number % 2 == 1 { &["--resume"] } else { options };
            run(self.command(again)).success();
            same(&self.restored(), expected, step);
            self.moved_aside().iter().for_each(|path| same(&tree_of(path), &other, step));
            assert_eq!(self.moved_aside().len(), usize::from(moves), "{step}");
            run(self.site.pgv.command("pgv", &["verify", "--quick"])).success();
        }
        incomplete
    }

    /// Killed when all was done but for our marker: the same command says so, and a server has everything.
    fn check_complete(&self, server: &mut TestCluster, options: &[&str], expected: &Tree, step: &Step) {
        let mut found = self.restored();
        found.retain(|path, _| !path.ends_with("pgv-restore.incomplete"));
        same(&found, expected, step);
        if !options.contains(&"--move-aside") {
            let has_marker = self.data.join("pgv-restore.incomplete").exists();
            let words = if has_marker { "it holds a restore that is complete" } else { "it is not empty" };
            run(self.command(options)).expect_code(3).expect_stderr(words);
        }
        self.assert_content(server);
    }

    /// A whole restore, checked by PostgreSQL, and its steps.
    fn reference(&self) -> (Tree, Vec<Step>) {
        self.clear();
        let steps = steps_of(&self.folder, &self.command(&[]));
        let tree = self.restored();
        let extra = ["postgresql.auto.conf", "recovery.signal", "tablespace_map", "backup_manifest", "pg_wal"];
        let options: Vec<String> = extra.iter().map(|name| format!("--ignore={name}")).collect();
        pg_verifybackup(VERSION, &self.data, &options.iter().map(String::as_str).collect::<Vec<_>>()).success();
        let mut server = TestCluster::at(VERSION, &self.folder, "reference", &self.data);
        self.assert_content(&mut server);
        (tree, steps)
    }
}

#[track_caller]
fn same(found: &Tree, expected: &Tree, step: &Step) {
    let differs = |path: &&PathBuf| found.get(*path) != expected.get(*path);
    let different: Vec<_> = found.keys().chain(expected.keys()).filter(differs).take(10).collect();
    assert!(different.is_empty(), "{step}: differs from a restore that was not killed: {different:?}");
}

/// The last steps, in which a directory becomes a database, one by one, and some of those before.
#[test]
fn a_restore_is_nothing_or_whole_at_a_spread_of_steps() {
    let scene = Scene::new("kill-restore");
    let (tree, steps) = scene.reference();
    let syncing = steps.iter().position(|step| step.call == "syncfs").unwrap();
    let chosen = [spread(&steps[..syncing], 12), steps[syncing..].to_vec()].concat();
    let incomplete = scene.killed_at(&chosen, &[], &tree);
    assert!(incomplete >= 13 && incomplete < chosen.len(), "{incomplete} of {}", chosen.len());
}

#[test]
#[ignore = "slow tier: scripts/test --all"]
fn a_restore_is_nothing_or_whole_at_every_step() {
    let scene = Scene::new("kill-restore-all");
    let (tree, steps) = scene.reference();
    let incomplete = scene.killed_at(&steps, &[], &tree);
    assert!(incomplete > 500 && incomplete < steps.len(), "{incomplete} of {}", steps.len());
}

/// What was there before is there afterwards, under the one name or the other.
#[test]
#[ignore = "slow tier: scripts/test --all"]
fn what_is_moved_aside_is_whole_at_every_step() {
    let scene = Scene::new("kill-aside");
    let (tree, _) = scene.reference();
    scene.clear();
    put_back(&scene.site.primary.data, &scene.data);
    let steps = steps_of(&scene.folder, &scene.command(&["--move-aside"]));
    let renamed = steps.iter().position(|step| step.call.starts_with("rename")).unwrap();
    let is_chosen =
        |(number, step): &(usize, Step)| number.abs_diff(renamed) < 20 || !MANY.contains(&step.call.as_str());
    let chosen: Vec<Step> = steps.into_iter().enumerate().filter(is_chosen).map(|(_, step)| step).collect();
    let incomplete = scene.killed_at(&chosen, &["--move-aside"], &tree);
    assert!(incomplete > 50 && incomplete < chosen.len(), "{incomplete} of {}", chosen.len());
}

/// What is not written or synced is no restore: a call that fails is told, and the same command makes it whole.
#[test]
#[ignore = "slow tier: scripts/test --all"]
fn an_error_at_any_step_is_no_restore() {
    let scene = Scene::new("fail-restore");
    let (tree, steps) = scene.reference();
    let command = scene.command(&[]);
    let mut server = TestCluster::at(VERSION, &scene.folder, "restored", &scene.data);
    let rare: Vec<Step> = steps.iter().filter(|step| !MANY.contains(&step.call.as_str())).cloned().collect();
    let chosen = [spread(&steps, 60), rare].concat();
    let mut failed = 0;
    for (number, step) in chosen.iter().filter(|step| step.call != "exit_group").enumerate() {
        let error = ["EIO", "ENOSPC", "EROFS"][number % 3];
        scene.clear();
        let outcome = fail_at(step, error, &command);
        if outcome.status.success() {
            same(&scene.restored(), &tree, step);
            continue;
        }
        failed += 1;
        assert!(outcome.stderr.contains("error: ") || outcome.code() == 127, "{error} {step}\n{outcome}");
        if !scene.data.join(CONTROL_FILE).exists() {
            server.launch(&[]);
            assert!(!server.wait_for_end().success(), "{error} {step}: a server started\n{}", server.log());
            run(scene.command(&[])).success();
            same(&scene.restored(), &tree, step);
        } else {
            scene.check_complete(&mut server, &[], &tree, step);
        }
    }
    assert!(failed > 50, "{failed} of {}", chosen.len());
}
