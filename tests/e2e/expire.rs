//! `pgv expire` on repositories of real servers: what stays restores, what goes is gone, whatever comes in between.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::support::crash::{Step, fail_at, file_calls_of, kill_before, put_back, spread, steps_of, tree_of};
use crate::support::{
    Ledger, Outcome, PgVersion, Settled, Site, SmallFileSystem, TestAccount, TestCluster, TestFolder, run, wait_until,
};

const VERSION: PgVersion = PgVersion::V15;

/// A server with small segments that takes `backups` backups, with rows and archived segments between them.
fn site(folder: &TestFolder, backups: usize) -> (Site, Ledger) {
    let site = Site::of(TestCluster::builder(VERSION, folder).initdb("--wal-segsize=1"), folder);
    site.primary.drop_templates();
    let mut ledger = Ledger::create(&site.primary);
    for _ in 0..backups {
        site.backup(&[]).success();
        ledger.commit_many(&site.primary, 2);
        site.primary.archive_all();
    }
    (site, ledger)
}

fn expire(site: &Site, options: &[&str]) -> Outcome {
    site.pgv.run("pgv", &[&["expire"], options].concat())
}

fn answer(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}\n{outcome}"))
}

/// The names of all archived segments.
fn segments(site: &Site) -> Vec<String> {
    let mut found = Vec::new();
    for folder in fs::read_dir(site.tree().join("wal/00000001")).unwrap() {
        let names = fs::read_dir(folder.unwrap().path()).unwrap().map(|entry| entry.unwrap().file_name());
        found.extend(names.map(|name| name.into_string().unwrap()));
    }
    found.sort();
    found
}

/// Packs of a backup were stored two days ago, if any are there.
fn age_packs_of(site: &Site, backup: &str) {
    let long_ago = SystemTime::now() - Duration::from_secs(2 * 86_400);
    for pack in fs::read_dir(site.tree().join("packs").join(backup)).into_iter().flatten() {
        fs::File::options().write(true).open(pack.unwrap().path()).unwrap().set_modified(long_ago).unwrap();
    }
}

/// The folders of the repository in which nothing is.
fn empty_folders(site: &Site) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![site.pgv.repository.join("main")]);
    while let Some(folder) = folders.pop() {
        let entries: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        if entries.is_empty() {
            found.push(folder);
        }
        folders.extend(entries.into_iter().filter(|path| path.is_dir()));
    }
    found
}

/// Restores a backup up to the latest and compares every row.
fn restores(site: &Site, folder: &TestFolder, id: &str, ledger: &Ledger) {
    let data = folder.join(format!("copy-{id}"));
    site.restore(&data, &["--backup", id]).success();
    let mut copy = TestCluster::at(VERSION, folder, &format!("c{}", &id[20..]), &data);
    assert_eq!(copy.start_and_settle(), Settled::Open, "{}", copy.log());
    Ledger::assert(&copy, &ledger.all());
    copy.stop();
    drop(copy);
    fs::remove_dir_all(data).unwrap();
}

/// Marks are written before a backup goes: what takes none makes room for them.
#[test]
fn a_repository_without_any_room_can_be_emptied() {
    let folder = TestFolder::new("expire-full");
    let small = SmallFileSystem::mount(&folder, "repository", 128 << 20);
    let (site, ledger) = site(&folder, 2);
    let newest = site.backups().pop().unwrap();
    let filler = small.fill("filler");
    // WAL and packs that need no mark make room for those that do.
    let reserve = site.pgv.repository.join(".reserve");
    fs::remove_file(&reserve).unwrap();
    small.fill("filler-of-the-reserve");
    let done = expire(&site, &["--keep", "1", "--apply"]).success();
    assert!(done.stderr.contains("what goes without them goes first"), "{done}");
    assert_eq!(site.backups(), [newest.as_str()]);
    restores(&site, &folder, &newest, &ledger);

    // With nothing that could go without one, there is the reserve.
    assert_eq!(fs::metadata(&reserve).unwrap().len(), 1 << 20, "it is put back");
    let remove = |name: &str| fs::remove_file(small.path().join(name)).unwrap();
    remove("filler-of-the-reserve");
    fs::remove_file(filler).unwrap();
    site.backup(&[]).success();
    let newest = site.backups().pop().unwrap();
    let filler = small.fill("filler");
    expire(&site, &["--keep", "1", "--apply"]).success();
    assert_eq!(site.backups(), [newest.as_str()]);
    assert!(reserve.exists(), "it is put back");
    restores(&site, &folder, &newest, &ledger);

    // Without that, it is said what helps.
    fs::remove_file(filler).unwrap();
    site.backup(&[]).success();
    let backups = site.backups();
    fs::remove_file(&reserve).unwrap();
    small.fill("filler");
    let refused = expire(&site, &["--keep", "1", "--apply"]).expect_code(4);
    assert!(refused.stderr.contains("writes a mark before a backup goes"), "{refused}");
    assert_eq!(site.backups(), backups);
}

/// Of two at once one deletes and the other one is told so, or finds nothing left to do; nothing is half gone.
#[test]
fn two_at_once_do_not_disturb_each_other() {
    let folder = TestFolder::new("expire-twice");
    let (site, ledger) = site(&folder, 5);
    let newest = site.backups().pop().unwrap();
    let run_one = || expire(&site, &["--keep", "1", "--apply", "--allow-many"]);
    let outcomes = std::thread::scope(|threads| {
        let others = [threads.spawn(run_one), threads.spawn(run_one)];
        others.map(|one| one.join().unwrap())
    });
    let mut codes = outcomes.each_ref().map(Outcome::code);
    codes.sort_unstable();
    assert_eq!(codes[0], 0, "{}\n{}", outcomes[0], outcomes[1]);
    if codes[1] != 0 {
        let told = outcomes.iter().find(|outcome| outcome.code() != 0).unwrap();
        assert_eq!(told.code(), 4, "{told}");
        assert!(told.stderr.contains("error: "), "{told}");
    }
    assert_eq!(site.backups(), std::slice::from_ref(&newest));
    let verified = site.pgv.run("pgv", &["verify", "--output", "json"]).success();
    let verified: Value = serde_json::from_str(&verified.stdout).unwrap();
    assert_eq!((&verified["damaged"], &verified["left_overs"]), (&Value::Array(vec![]), &Value::Array(vec![])));
    restores(&site, &folder, &newest, &ledger);
}

#[test]
fn what_retention_keeps_restores_and_the_rest_is_gone() {
    let folder = TestFolder::new("expire");
    let (site, ledger) = site(&folder, 4);
    let backups = site.backups();
    let before = segments(&site);

    expire(&site, &[]).expect_code(2).expect_stderr("nothing says which backups are to stay");
    let refused = expire(&site, &["--keep", "1", "--apply"]).expect_code(3).expect_stderr("3 of the 4 backups");
    assert!(refused.stdout.contains("GOES"), "{refused}");
    let refused = expire(&site, &["--keep", "1"]).expect_code(3);
    assert!(!refused.stdout.contains("--apply does it"), "{refused}");
    let plan = expire(&site, &["--keep", "2"]).success();
    for text in [
        "no rule keeps it",
        "keep: the newest",
        "the last good one",
        "WAL GOES",
        "No longer reachable",
        "--apply does it",
    ] {
        assert!(plan.stdout.contains(text), "{text}\n{plan}");
    }
    let json = answer(&expire(&site, &["--keep", "2", "--output", "json"]).success());
    assert_eq!((&json["schema_version"], &json["applied"]), (&1.into(), &false.into()));
    let fates: Vec<&str> =
        json["trees"][0]["backups"].as_array().unwrap().iter().map(|one| one["fate"].as_str().unwrap()).collect();
    assert_eq!(fates, ["goes", "goes", "stays", "stays"]);
    assert_eq!((site.backups(), segments(&site)), (backups.clone(), before.clone()), "a plan changes nothing");

    site.pgv.run("pgv", &["pin", &backups[1], "--reason", "for the auditors"]).success();
    let info = site.pgv.run("pgv", &["info"]).success();
    assert!(info.stdout.contains(&format!("{}: pinned: for the auditors", backups[1])), "{info}");
    let applied = expire(&site, &["--keep", "2", "--apply"]).success();
    assert!(applied.stdout.contains("pinned: for the auditors") && applied.stdout.contains("were freed"), "{applied}");
    assert_eq!(site.backups(), backups[1..]);
    site.pgv.run("pgv", &["unpin", &backups[1]]).success();
    expire(&site, &["--keep", "2", "--apply"]).success();
    assert_eq!(site.backups(), backups[2..]);
    assert_eq!(empty_folders(&site), Vec::<PathBuf>::new());
    let left = segments(&site);
    assert!(left.len() < before.len() && before.ends_with(&left), "{left:?} of {before:?}");
    assert!(expire(&site, &["--keep", "2"]).success().stdout.contains("Nothing is to be deleted."));

    let verified = site.pgv.run("pgv", &["verify", "--wal-records"]).success();
    assert!(verified.stdout.contains("All 2 backups can be restored"), "{verified}");
    assert!(!verified.stdout.contains("Left over"), "{verified}");
    site.pgv.run("pgv", &["info"]).success();
    restores(&site, &folder, &backups[2], &ledger);
    site.pgv.run("pgv", &["pin", &backups[0]]).expect_code(1).expect_stderr("there is no backup");
}

#[test]
fn a_damaged_record_is_refused_and_rules_come_from_the_file() {
    let folder = TestFolder::new("expire-refused");
    let (site, _) = site(&folder, 2);
    let backups = site.backups();
    let record = site.tree().join("backups").join(&backups[0]).join("record");
    let sound = fs::read(&record).unwrap();
    let mut bytes = sound.clone();
    bytes[1100] ^= 1;
    fs::write(&record, bytes).unwrap();
    expire(&site, &["--keep", "1", "--apply"]).expect_code(5).expect_stderr("cannot be judged, so nothing is deleted");
    assert_eq!(site.backups().len(), 2);
    fs::write(&record, sound).unwrap();
    let hidden = site.tree().join("wal/00000001");
    fs::set_permissions(&hidden, fs::Permissions::from_mode(0o000)).unwrap();
    expire(&site, &["--keep", "1", "--apply"])
        .expect_code(4)
        .expect_stderr("cannot be listed, so nothing is deleted: could not list")
        .expect_stderr("Permission denied")
        .expect_stderr("hint: Run it as the account that owns the repository.");
    fs::set_permissions(&hidden, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(site.backups().len(), 2);
    let lines = ["[retention]", "keep = 1", ""];
    let config = fs::read_to_string(&site.pgv.config).unwrap() + &lines.join("\n");
    fs::write(&site.pgv.config, config).unwrap();
    let plan = expire(&site, &[]).success();
    assert!(plan.stdout.contains("Kept: the newest good backup"), "{plan}");
    expire(&site, &["--apply"]).success();
    assert_eq!(site.backups(), backups[1..]);
}

/// A record alone is no backup: without its packs the newest one is not what the others go for.
#[test]
fn a_backup_without_its_packs_is_not_the_last_good_one() {
    let folder = TestFolder::new("expire-packs");
    let (site, ledger) = site(&folder, 3);
    let backups = site.backups();
    let pack = site.tree().join("packs").join(&backups[2]).join("00000000");
    fs::rename(&pack, folder.join("away")).unwrap();
    let plan = expire(&site, &["--keep", "1"]).success();
    for text in [&format!("{} is not good: it lacks pack {}/00000000", backups[2], backups[2]), "not good, and newer"] {
        assert!(plan.stdout.contains(text), "{text}\n{plan}");
    }
    expire(&site, &["--keep", "1", "--apply"]).success();
    assert_eq!(site.backups(), backups[1..]);
    restores(&site, &folder, &backups[1], &ledger);
    // What is left of it serves again once the pack is back, in its folder, which was empty and is gone.
    fs::create_dir_all(pack.parent().unwrap()).unwrap();
    TestAccount::get().take_over(pack.parent().unwrap());
    fs::rename(folder.join("away"), &pack).unwrap();
    restores(&site, &folder, &backups[2], &ledger);
}

/// What somebody has moved away for a while is there when he brings it back.
#[test]
fn packs_of_folders_that_were_moved_away_stay() {
    let folder = TestFolder::new("expire-moved");
    let (site, ledger) = site(&folder, 2);
    let backups = site.backups();
    let (all, away) = (site.tree().join("backups"), folder.join("away"));
    fs::rename(&all, &away).unwrap();
    expire(&site, &["--keep", "5", "--apply"])
        .expect_code(5)
        .expect_stderr("not one backup in \"main/")
        .expect_stderr("put it back");
    fs::rename(&away, &all).unwrap();
    let one = all.join(&backups[0]);
    fs::rename(&one, &away).unwrap();
    age_packs_of(&site, &backups[0]);
    expire(&site, &["--keep", "5", "--apply"])
        .expect_code(5)
        .expect_stderr(&format!("packs of backup {}, and not its folder \"main/", backups[0]))
        .expect_stderr("move \"main/");
    fs::rename(&away, one.with_extension("bak")).unwrap();
    let renamed = expire(&site, &["--keep", "5", "--apply"]).expect_code(5);
    assert!(renamed.stderr.contains(&format!("/backups/{}.bak\" may be it.", backups[0])), "{renamed}");
    assert!(renamed.stdout.contains(&format!("\"backups/{}.bak\" is no name of a backup", backups[0])), "{renamed}");
    fs::rename(one.with_extension("bak"), &one).unwrap();
    restores(&site, &folder, &backups[0], &ledger);
}

/// All that was stored of backups was stored so many days earlier, in the same order.
fn age_backups(site: &Site, days: u64) {
    let mut folders = vec![site.tree().join("backups"), site.tree().join("packs")];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                let file = fs::File::options().write(true).open(&path).unwrap();
                let stored = file.metadata().unwrap().modified().unwrap();
                file.set_modified(stored - Duration::from_secs(days * 86_400)).unwrap();
            }
        }
    }
}

/// A few KiB are lost, and put back once somebody has looked: until then no pack and no segment goes.
#[test]
fn backups_that_lost_their_records_are_there_when_those_come_back() {
    let folder = TestFolder::new("expire-records");
    let (site, mut ledger) = site(&folder, 3);
    let backups = site.backups();
    age_backups(&site, 2);
    let record = |id: &str| site.tree().join("backups").join(id).join("record");
    let away = |id: &str| folder.join(format!("record-of-{id}"));
    backups.iter().for_each(|id| fs::rename(record(id), away(id)).unwrap());
    // The server may archive something meanwhile.
    let stored = || (tree_of(&site.tree().join("backups")), tree_of(&site.tree().join("packs")));
    let (before, wal) = (stored(), segments(&site));
    let has_wal = |wal: &[String]| wal.iter().all(|name| segments(&site).contains(name));
    site.pgv.run("pgv", &["info"]).expect_code(5);
    let held = expire(&site, &["--keep", "1", "--allow-many", "--apply"]).success();
    assert_eq!(held.stdout.matches("stays, so that its record can be put back").count(), 3, "{held}");
    assert!(stored() == before && has_wal(&wal), "something went");

    // Behind the next one nothing tells them from backups that were killed.
    site.backup(&[]).success();
    ledger.commit_many(&site.primary, 2);
    site.primary.archive_all();
    let (before, wal) = (stored(), segments(&site));
    for words in [&["info"][..], &["verify"]] {
        let told = site.pgv.run("pgv", words).success();
        assert_eq!(told.stdout.matches("whole but for its record").count(), 3, "{told}");
    }
    let held = expire(&site, &["--keep", "1", "--apply"]).success();
    assert_eq!(held.stdout.matches(", so that its record can be put back").count(), 3, "{held}");
    assert!(stored() == before && has_wal(&wal), "{held}");
    fs::rename(away(&backups[0]), record(&backups[0])).unwrap();
    restores(&site, &folder, &backups[0], &ledger);

    // Six days later they go; that more go than are listed is no matter of course.
    fs::rename(record(&backups[0]), away(&backups[0])).unwrap();
    age_backups(&site, 6);
    expire(&site, &["--keep", "1", "--apply"]).expect_code(3).expect_stderr("3 of the 4 backups");
    expire(&site, &["--keep", "1", "--allow-many", "--apply"]).success();
    let newest = site.backups().pop().unwrap();
    assert_eq!(fs::read_dir(site.tree().join("packs")).unwrap().count(), 1);
    restores(&site, &folder, &newest, &ledger);
}

/// Every file below a directory, with its mode and its content.
type Tree = BTreeMap<PathBuf, (u32, Vec<u8>)>;

/// What a restore up to the latest gives: the directory, byte by byte, and the WAL behind it, which was read and proven.
#[derive(Debug, PartialEq)]
struct Restored {
    tree: Tree,
    wal: Value,
    proof: Value,
}

impl Restored {
    #[track_caller]
    fn assert_is(&self, expected: &Self, what: &str) {
        let paths = self.tree.keys().chain(expected.tree.keys());
        let different: Vec<_> =
            paths.filter(|path| self.tree.get(*path) != expected.tree.get(*path)).take(10).collect();
        assert!(different.is_empty(), "{what} restores to something else: {different:?}");
        assert_eq!((&self.wal, &self.proof), (&expected.wal, &expected.proof), "{what}");
    }
}

/// A site whose repository is put back before each step.
struct Scene {
    site: Site,
    ledger: Ledger,
    /// What each backup gives while nothing was deleted.
    whole: BTreeMap<String, Restored>,
    folder: TestFolder,
}

impl Scene {
    fn new(name: &str) -> Self {
        let folder = TestFolder::in_memory(name);
        let (site, ledger) = site(&folder, 3);
        put_back(&site.pgv.repository, &folder.join("saved"));
        let mut scene = Self { site, ledger, whole: BTreeMap::new(), folder };
        scene.whole = scene.site.backups().into_iter().map(|id| (id.clone(), scene.restored(&id))).collect();
        assert_eq!(scene.whole.len(), 3);
        scene
    }

    fn command(&self) -> Command {
        self.site.pgv.command("pgv", &["expire", "--keep", "1", "--allow-many", "--apply"])
    }

    /// Restores a backup; the directory is removed.
    fn restored(&self, id: &str) -> Restored {
        let data = self.folder.join("copy");
        let told = answer(&self.site.restore(&data, &["--backup", id, "--output", "json"]).success());
        let tree = tree_of(&data);
        assert!(tree.len() > 300 && told["proof"]["records"].as_u64() > Some(10), "{told:#}");
        fs::remove_dir_all(data).unwrap();
        Restored { tree, wal: told["wal"].clone(), proof: told["proof"].clone() }
    }

    /// The ids of all backups that are listed.
    fn listed(&self) -> Vec<String> {
        self.site.pgv.run("pgv", &["info"]).success();
        let info = answer(&self.site.pgv.run("pgv", &["info", "--output", "json"]).success());
        let listed = info["clusters"][0]["trees"][0]["backups"].as_array().unwrap();
        listed.iter().map(|backup| backup["id"].as_str().unwrap().to_owned()).collect()
    }

    /// Kills before each of the steps; then everything that is listed restores, byte by byte. After every so many steps a
    /// server is started, too, on the oldest, which needs the most WAL.
    #[allow(clippy::print_stdout)]
    fn killed_at(&self, steps: &[Step], start_every: usize) {
        let newest = self.site.backups().pop().unwrap();
        let (mut killed, mut compared, mut of_before) = (0, 0, Tree::new());
        for (number, step) in steps.iter().enumerate() {
            put_back(&self.folder.join("saved"), &self.site.pgv.repository);
            killed += usize::from(kill_before(step, &self.command()).is_none());
            // Everything that is listed is whole, and the next run finishes.
            let verified = self.site.pgv.run("pgv", &["verify"]);
            assert_eq!(verified.code(), 0, "{step}\n{verified}");
            let listed = self.listed();
            assert!(!listed.is_empty(), "{step}");
            // Of a repository that is the same to the last byte, all was restored at the step before.
            let repository = tree_of(&self.site.pgv.repository);
            if repository != of_before {
                for id in &listed {
                    compared += 1;
                    self.restored(id).assert_is(&self.whole[id], &format!("{step}: {id}"));
                }
                of_before = repository;
            }
            if number.is_multiple_of(start_every) {
                restores(&self.site, &self.folder, &listed[0], &self.ledger);
            }
            run(self.command()).success();
            let plan = self.site.pgv.run("pgv", &["expire", "--keep", "1"]).success();
            assert!(plan.stdout.contains("Nothing is to be deleted."), "{step}\n{plan}");
            assert_eq!(self.site.backups(), std::slice::from_ref(&newest), "{step}");
            let verified = self.site.pgv.run("pgv", &["verify"]).success();
            assert!(!verified.stdout.contains("Left over"), "{step}\n{verified}");
            assert_eq!(empty_folders(&self.site), Vec::<PathBuf>::new(), "{step}");
        }
        println!("{killed} killed of {} steps, {compared} restores", steps.len());
        assert!(killed * 10 >= steps.len() * 8, "{killed} killed of {}", steps.len());
        assert!(compared > 5, "only {compared} restores");
    }
}

#[test]
fn killed_at_its_steps_it_leaves_whole_backups_and_the_next_run_finishes() {
    let scene = Scene::new("kill-expire");
    let steps = steps_of(&scene.folder, &scene.command());
    let changes: Vec<Step> =
        steps.into_iter().filter(|step| matches!(step.call.as_str(), "unlink" | "unlinkat" | "linkat")).collect();
    assert!(changes.len() > 30, "{}", changes.len());
    scene.killed_at(&spread(&changes, 10), 4);
}

#[test]
#[ignore = "slow tier: scripts/test --all"]
fn killed_at_each_step_it_leaves_whole_backups_and_the_next_run_finishes() {
    let scene = Scene::new("kill-expire-all");
    let steps = steps_of(&scene.folder, &scene.command());
    assert!(steps.len() >= 100, "{}", steps.len());
    scene.killed_at(&steps, 25);
}

#[test]
fn a_backup_loses_nothing_to_an_expire_beside_it() {
    let folder = TestFolder::in_memory("expire-beside");
    let (site, mut ledger) = site(&folder, 1);
    let is_over = AtomicBool::new(false);
    let runs = std::thread::scope(|scope| {
        let (site, is_over) = (&site, &is_over);
        let expiring = scope.spawn(move || {
            let mut runs = 0;
            while !is_over.load(Ordering::SeqCst) {
                expire(site, &["--keep", "2", "--allow-many", "--apply"]).success();
                runs += 1;
            }
            runs
        });
        for method in ["stream", "direct"].repeat(3) {
            site.backup(&["--method", method]).success();
            ledger.commit_many(&site.primary, 2);
        }
        is_over.store(true, Ordering::SeqCst);
        expiring.join().unwrap()
    });
    assert!(runs > 6, "only {runs} runs of expire");
    assert_eq!(site.primary.query("SELECT failed_count FROM pg_stat_archiver"), "0");
    site.primary.archive_all();
    expire(&site, &["--keep", "2", "--apply"]).success();
    assert_eq!(site.backups().len(), 2);
    let verified = site.pgv.run("pgv", &["verify"]).success();
    assert!(verified.stdout.contains("All 2 backups can be restored"), "{verified}");
    for id in site.backups() {
        restores(&site, &folder, &id, &ledger);
    }
}

/// Somebody who holds a lock on a directory for so many seconds.
fn hold(directory: &Path, kind: &str, seconds: &str) -> Child {
    let account = TestAccount::get();
    let mut holder = account.command("/usr/bin/flock");
    holder.args(["--no-fork", kind, "--nonblock"]).arg(directory).args(["sleep", seconds]);
    let holder = holder.spawn().unwrap();
    // Asking for the lock may take it from the one who comes: who has it is the next program.
    let name = format!("/proc/{}/comm", holder.id());
    let is_held = || fs::read_to_string(&name).is_ok_and(|name| name == "sleep\n");
    wait_until("the lock is held", Duration::from_secs(20), is_held);
    holder
}

#[test]
fn a_backup_waits_while_wal_is_deleted() {
    let folder = TestFolder::new("expire-waits");
    let (site, _) = site(&folder, 1);
    let mut holder = hold(&site.pgv.repository.join(".staging"), "--exclusive", "600");
    let mut backup = site.pgv.command("pgv-basebackup", &["--checkpoint", "fast"]);
    let mut backup = backup.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(backup.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("waiting for \"pgv expire\", which is deleting WAL")), "it did not wait");
    assert_eq!(site.backups().len(), 1);
    holder.kill().unwrap();
    holder.wait().unwrap();
    let rest: Vec<String> = lines.collect();
    assert!(backup.wait().unwrap().success(), "{rest:?}");
    assert_eq!(site.backups().len(), 2);
}

#[test]
fn a_restore_keeps_expire_away() {
    let folder = TestFolder::new("expire-restore");
    let (site, _) = site(&folder, 2);
    let mut holder = hold(&site.pgv.repository, "--shared", "60");
    expire(&site, &["--keep", "1", "--apply"])
        .expect_code(4)
        .expect_stderr("is in use by \"sleep\" (process ")
        .expect_stderr("Nothing was deleted.");
    expire(&site, &["--keep", "1"]).success();
    holder.kill().unwrap();
    holder.wait().unwrap();
}

/// A file system without locks, as flock(2) tells of one.
#[test]
fn where_there_are_no_locks_it_is_told() {
    let folder = TestFolder::new("expire-unlocked");
    let (site, _) = site(&folder, 1);
    let told = |words: &[&str]| {
        let command = site.pgv.command("pgv", words);
        let first = |call: &Step| call.call == "flock" && call.line.contains("LOCK_NB");
        let calls = file_calls_of(&folder, &command);
        let lock = calls.iter().find(|call| first(call)).unwrap_or_else(|| panic!("no lock in {words:?}"));
        fail_at(lock, "EOPNOTSUPP", &command).success()
    };
    told(&["expire", "--keep", "1", "--apply"]).expect_stderr("has no locks, so nothing keeps \"pgv expire\" from");
    told(&["verify", "--quick"]).expect_stderr("has no locks, so nothing keeps \"pgv expire --apply\" from");
}
