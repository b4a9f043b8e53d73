//! `--delta` and `--resume`: what is right stays untouched, what differs is mended, what does not belong goes, nothing
//! outside is touched, and whatever is ended early cannot start and goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use super::executor_tests::{SPACE_OID, Scene, StopAt};
use super::marker::MARKER;
use super::{ContentReport, DirectoryAction, InTheWay, RestoreError, testing};
use crate::clock::SystemClock;
use crate::error::{Classified, ErrorClass};
use crate::pg::{BackupManifest, ControlFile, ManifestChecksum, ManifestChecksumAlgorithm, SystemIdentifier};
use crate::report::{Cancel, CollectingReporter, Progress, Reporter, SilentReporter};

impl Scene {
    fn restored(&self, name: &str) -> PathBuf {
        let data = self.at(name);
        self.restore(&data, &Cancel::new(), &SilentReporter).unwrap();
        data
    }

    fn keeping(
        &self,
        data: &Path,
        in_the_way: InTheWay,
        jobs: usize,
        cancel: &Cancel,
        reporter: &dyn Reporter,
    ) -> Result<ContentReport, RestoreError> {
        let mut options = self.options(data);
        (options.in_the_way, options.jobs) = (in_the_way, jobs);
        let planned = super::plan(&options, &SilentReporter, &Cancel::new())?;
        Ok(super::run(&options, planned, &SystemClock, reporter, cancel)?.content)
    }

    fn delta(&self, data: &Path) -> Result<ContentReport, RestoreError> {
        self.keeping(data, InTheWay::Delta, 3, &Cancel::new(), &SilentReporter)
    }

    fn dry(&self, data: &Path) -> ContentReport {
        self.dry_as(data, InTheWay::Delta, &SilentReporter)
    }

    fn dry_as(&self, data: &Path, in_the_way: InTheWay, reporter: &dyn Reporter) -> ContentReport {
        let mut options = self.options(data);
        options.in_the_way = in_the_way;
        // As /tmp may be.
        options.scratch = self.at("link-to-scratch");
        let _ = symlink(self.at(""), &options.scratch);
        let planned = super::plan(&options, &SilentReporter, &Cancel::new()).unwrap();
        super::compare(&options, &planned, reporter, &Cancel::new()).unwrap().unwrap()
    }

    fn file_bytes(&self) -> u64 {
        self.files.values().map(|content| content.len() as u64).sum()
    }
}

fn mode_of(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

/// What tells whether a file was written to or replaced.
fn traces(data: &Path) -> BTreeMap<PathBuf, (u64, i64, i64, u64)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![data.to_owned(), data.with_extension("space")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let facts = std::fs::symlink_metadata(&path).unwrap();
            if facts.is_dir() {
                folders.push(path);
            } else {
                found.insert(path, (facts.ino(), facts.mtime(), facts.mtime_nsec(), facts.size()));
            }
        }
    }
    found
}

/// Does to a restored cluster what can be done to one.
fn damage(data: &Path, outside: &Path) {
    let space = data.with_extension("space");
    std::fs::create_dir(outside).unwrap();
    std::fs::write(outside.join("theirs"), "theirs").unwrap();
    let write = |name: &str, content: &[u8]| std::fs::write(data.join(name), content).unwrap();
    let mut large = std::fs::read(data.join("base/1/1")).unwrap();
    large[300_000] ^= 1;
    write("base/1/1", &large);
    write("base/1/3", &large[..1000]);
    write("pg_xact/0000", &[&std::fs::read(data.join("pg_xact/0000")).unwrap()[..], b"more"].concat());
    std::fs::remove_file(data.join("PG_VERSION")).unwrap();
    std::fs::remove_file(data.join("base/1/2")).unwrap();
    symlink(outside.join("theirs"), data.join("base/1/2")).unwrap();
    // Another name of somebody's file must not be written to.
    std::fs::remove_file(data.join("pg_hba.conf")).unwrap();
    std::fs::hard_link(outside.join("theirs"), data.join("pg_hba.conf")).unwrap();
    std::fs::remove_file(data.join("postgresql.conf")).unwrap();
    std::fs::create_dir(data.join("postgresql.conf")).unwrap();
    std::fs::write(data.join("postgresql.conf/inside"), "").unwrap();
    for name in ["base/1/999", "base/1.x", "base/1-x", "pg_wal/000000010000000000000009", "zz", "not\\ours"] {
        write(name, b"extra");
    }
    std::fs::create_dir_all(data.join("base/5/deep")).unwrap();
    write("base/5/deep/file", b"extra");
    symlink(outside, data.join("base/6")).unwrap();
    symlink(outside, data.join("pg_tblspc/77777")).unwrap();
    std::fs::remove_dir(data.join("pg_wal/archive_status")).unwrap();
    symlink(outside, data.join("pg_wal/archive_status")).unwrap();
    std::fs::set_permissions(data.join("base/1"), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(data.join("base/1/4"), std::fs::Permissions::from_mode(0o444)).unwrap();
    std::fs::write(space.join("PG_15_202209061/5/8"), "extra").unwrap();
    std::fs::write(space.join("stray"), "extra").unwrap();
    std::fs::create_dir(space.join("PG_14_202107181")).unwrap();
    std::fs::write(space.join("PG_14_202107181/1"), "theirs").unwrap();
    for (name, mode) in [("PG_14_202107181", 0o700), ("PG_14_202107181/1", 0o600)] {
        std::fs::set_permissions(space.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }
}

#[test]
fn whatever_was_done_to_a_cluster_a_delta_mends() {
    for jobs in [1, 4] {
        let scene = Scene::new();
        let data = scene.restored("data");
        let (outside, space) = (scene.at("outside"), data.with_extension("space"));
        damage(&data, &outside);
        let said = CollectingReporter::default();
        let done = scene.keeping(&data, InTheWay::Delta, jobs, &Cancel::new(), &said).unwrap();
        scene.assert_restored(&data);
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1, "nothing is written through a link");
        assert_eq!(std::fs::read(outside.join("theirs")).unwrap(), b"theirs");
        for gone in ["base/1/999", "base/1.x", "base/1-x", "zz", "not\\ours", "base/5", "base/6", "pg_tblspc/77777"] {
            assert!(std::fs::symlink_metadata(data.join(gone)).is_err(), "{gone}");
        }
        assert_eq!(std::fs::read_dir(data.join("pg_wal")).unwrap().count(), 1);
        assert!(std::fs::symlink_metadata(data.join("pg_wal/archive_status")).unwrap().is_dir());
        assert_eq!((mode_of(&data.join("base/1")), mode_of(&data.join("base/1/4"))), (0o700, 0o600));
        assert!(!space.join("stray").exists() && !space.join("PG_15_202209061/5/8").exists());
        assert_eq!(std::fs::read(space.join("PG_14_202107181/1")).unwrap(), b"theirs");
        let lines = said.lines().join("\n");
        assert!(lines.contains("PG_14_202107181\" is not of this server and stays"), "{lines}");
        assert!(lines.contains("pg_tblspc/77777\" was a link"), "{lines}");
        // A directory where a file belongs goes with what is in it.
        assert!(done.removed_paths.contains(&data.join("postgresql.conf")), "{:?}", done.removed_paths);
        assert_eq!(done.checked_bytes, scene.file_bytes());
        assert!(done.kept_bytes > 1_000_000 && done.kept_bytes < scene.file_bytes(), "{done:?}");
    }
}

/// In the order of paths, what begins like a directory's name stands between the directory and what is in it.
#[test]
fn directories_beside_those_that_are_gone_are_gone_too() {
    let scene = Scene::new();
    let data = scene.restored("data");
    for folder in
        ["xlog/a/b", "xlog.old/a", "xlog.old-/c", "xlog-1", "xlog +/d", "base/1/2/a", "base/1/2.x", "base/1/2-/z"]
    {
        let path = data.join(folder);
        if folder.starts_with("base/1/2/") {
            // A directory where a file belongs.
            std::fs::remove_file(data.join("base/1/2")).unwrap();
        }
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("file"), "extra").unwrap();
    }
    let before = traces(&data);
    let compared = scene.dry(&data);
    assert_eq!(traces(&data), before);
    let done = scene.delta(&data).unwrap();
    scene.assert_restored(&data);
    assert_eq!((done.removed, done.removed_paths), (compared.removed, compared.removed_paths.clone()));
    let is_extra = |path: &&PathBuf| ["xlog", "base/1/2"].iter().any(|name| path.to_str().unwrap().contains(name));
    assert_eq!(compared.removed_paths.iter().filter(is_extra).count(), 8, "{:?}", compared.removed_paths);
    let mut left = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(!left.any(|name| name.to_str().unwrap().starts_with("xlog")));
}

#[test]
fn a_delta_with_nothing_to_do_writes_nothing() {
    let scene = Scene::new();
    let data = scene.restored("data");
    let before = traces(&data);
    let done = scene.delta(&data).unwrap();
    scene.assert_restored(&data);
    let after = traces(&data);
    // Those that a restore writes itself.
    let own = ["postgresql.auto.conf", "backup_label", "recovery.signal", "tablespace_map", "standby.signal"];
    for name in scene.files.keys().filter(|name| !own.contains(&name.as_str())) {
        let path = match name.strip_prefix(&format!("pg_tblspc/{SPACE_OID}/")) {
            Some(below) => data.with_extension("space").join(below),
            None => data.join(name),
        };
        assert_eq!(before[&path], after[&path], "{name}");
    }
    let own_bytes = scene.files["postgresql.auto.conf"].len() as u64;
    assert_eq!((done.checked_bytes, done.kept_bytes), (scene.file_bytes(), scene.file_bytes() - own_bytes));
}

#[test]
fn only_what_differs_is_written_and_read() {
    let scene = Scene::new();
    let data = scene.restored("data");
    let mut large = std::fs::read(data.join("base/1/1")).unwrap();
    large[300_000] ^= 1;
    std::fs::write(data.join("base/1/1"), &large).unwrap();
    let own_bytes = scene.files["postgresql.auto.conf"].len() as u64;
    assert_eq!(scene.delta(&data).unwrap().kept_bytes, scene.file_bytes() - own_bytes - 8192);
    scene.assert_restored(&data);
}

#[test]
fn a_dry_run_tells_and_touches_nothing() {
    let scene = Scene::new();
    let data = scene.restored("data");
    damage(&data, &scene.at("outside"));
    let before = traces(&data);
    let compared = scene.dry(&data);
    assert_eq!(traces(&data), before);
    assert!(data.join(ControlFile::PATH).exists() && !data.join(MARKER).exists());
    for name in ["zz", "base/5", "base/6", "not\\ours"] {
        assert!(compared.removed_paths.contains(&data.join(name)), "{name}: {compared:?}");
    }
    assert!(compared.removed_paths.contains(&data.with_extension("space").join("stray")));
    assert_eq!(compared.checked_bytes, scene.file_bytes());
    let done = scene.delta(&data).unwrap();
    assert_eq!((done.removed, done.removed_paths), (compared.removed, compared.removed_paths));
    assert!(compared.kept_bytes <= done.kept_bytes, "a frame of which one file differs counts as missing");
}

/// What has another name, too, may be somebody else's: a delta replaces it, and a dry run knows.
#[test]
fn a_dry_run_keeps_nothing_that_a_delta_replaces() {
    let scene = Scene::new();
    let data = scene.restored("data");
    let kept = |report: ContentReport| report.kept_bytes;
    let (dry, done) = (kept(scene.dry(&data)), kept(scene.delta(&data).unwrap()));
    let name = format!("pg_tblspc/{SPACE_OID}/PG_15_202209061/5/7");
    std::fs::hard_link(data.join(&name), scene.at("other-name")).unwrap();
    let replaced = scene.files[&name].len() as u64;
    assert_eq!(kept(scene.dry(&data)), dry - replaced);
    assert_eq!(kept(scene.delta(&data).unwrap()), done - replaced);
    scene.assert_restored(&data);
}

/// Notes the nameless files that this process has open.
struct Nameless(Mutex<BTreeSet<PathBuf>>);

impl Reporter for Nameless {
    fn step(&self, _message: &str) {}
    fn warn(&self, _message: &str) {}
    fn progress(&self, _progress: &Progress) {
        let open = std::fs::read_dir("/proc/self/fd").unwrap();
        let paths = open.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
        self.0.lock().unwrap().extend(paths.filter(|path| path.to_string_lossy().ends_with(" (deleted)")));
    }
}

/// Names that are too long for memory are sorted, but not in the directory that is only looked at.
#[test]
fn a_dry_run_sorts_elsewhere() {
    let scene = Scene::new();
    let data = scene.restored("data");
    let deep = ["a", "b", "c", "d"].iter().fold(data.join("base"), |path, name| path.join(name.repeat(240)));
    std::fs::create_dir_all(&deep).unwrap();
    for number in 0..18_000 {
        std::fs::write(deep.join(number.to_string()), "").unwrap();
    }
    let nameless = Nameless(Mutex::default());
    let compared = scene.dry_as(&data, InTheWay::Delta, &nameless);
    assert!(compared.removed_paths.contains(&data.join("base").join("a".repeat(240))), "{compared:?}");
    let found = nameless.0.into_inner().unwrap();
    let root = scene.at("");
    assert!(found.iter().any(|path| path.parent() == Some(root.as_path())), "nothing was sorted: {found:?}");
    assert!(!found.iter().any(|path| path.starts_with(&data)), "{found:?}");
}

/// Whoever puts something into the directory of a killed restore is told that it goes, too.
#[test]
fn what_is_not_of_a_killed_restore_is_counted_and_named() {
    let scene = Scene::new();
    let (data, space) = (scene.at("data"), scene.at("data").with_extension("space"));
    let is_under_way = |at: &u64| {
        let cancel = Cancel::new();
        let reporter = StopAt { words: AtomicU64::new(0), at: *at, cancel: cancel.clone() };
        scene.restore(&data, &cancel, &reporter).unwrap_err();
        data.join("base/1/1").exists()
    };
    assert!((1..20).any(|at| is_under_way(&at)));
    let silent = |in_the_way| scene.dry_as(&data, in_the_way, &SilentReporter);
    assert_eq!(silent(InTheWay::Refuse).removed, 0);
    std::fs::create_dir(data.join("mydocs")).unwrap();
    let others = [data.join("base/1/999"), data.join("mydocs"), space.join("PG_14_202107181"), data.join("zz")];
    for path in others.iter().chain([&data.join("mydocs/letter")]).filter(|path| !path.exists()) {
        std::fs::write(path, "theirs").unwrap();
    }
    let planned = silent(InTheWay::Refuse);
    assert_eq!((planned.removed, planned.removed_paths.as_slice()), (4, others.as_slice()));
    assert!(others.iter().all(|path| path.exists()), "a dry run removes nothing");
    // Of a backup that retention has taken since, nobody knows what it had.
    let gone = "20200101T000000Z-00000000";
    for marker in [data.join(MARKER), space.join(MARKER)] {
        let mut value: serde_json::Value = serde_json::from_slice(&std::fs::read(&marker).unwrap()).unwrap();
        value["backup"] = gone.into();
        std::fs::write(&marker, value.to_string()).unwrap();
    }
    let said = CollectingReporter::default();
    assert_eq!(scene.dry_as(&data, InTheWay::Refuse, &said).removed, 4);
    let is_told = |line: &String| line.contains(&format!("was of backup {gone}, of which no list of files"));
    assert!(said.lines().iter().any(is_told), "{:?}", said.lines());
    let said = CollectingReporter::default();
    let done = scene.keeping(&data, InTheWay::Refuse, 2, &Cancel::new(), &said).unwrap();
    scene.assert_restored(&data);
    assert_eq!((done.removed, done.removed_paths), (planned.removed, planned.removed_paths));
    let warned = said.lines().into_iter().find(|line| line.contains("4 names that are not of the killed restore"));
    assert!(others.iter().all(|path| warned.as_ref().unwrap().contains(path.to_str().unwrap())), "{warned:?}");
}

#[test]
fn only_the_same_cluster_at_rest_is_updated() {
    let scene = Scene::new();
    let refused = |data: &Path, words: &str| {
        let before = traces(data);
        let error = scene.delta(data).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Refused, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(traces(data), before);
    };
    let data = scene.restored("data");
    let other = SystemIdentifier::new(scene.test.cluster.system_identifier.get() + 1).unwrap();
    let ours = std::fs::read(data.join(ControlFile::PATH)).unwrap();
    std::fs::write(data.join(ControlFile::PATH), testing::control_file(other)).unwrap();
    refused(&data, "holds another cluster");
    std::fs::remove_file(data.join(ControlFile::PATH)).unwrap();
    refused(&data, "no control file says whose it is");
    std::fs::write(data.join(ControlFile::PATH), ours).unwrap();
    let mut server = std::process::Command::new("sleep").arg("60").current_dir(&data).spawn().unwrap();
    std::fs::write(data.join("postmaster.pid"), format!("{}\n", server.id())).unwrap();
    refused(&data, "a server (process");
    server.kill().unwrap();
    server.wait().unwrap();
    let link = data.join(format!("pg_tblspc/{SPACE_OID}"));
    std::fs::remove_file(&link).unwrap();
    refused(&data, "no link of the data directory leads to it");
    symlink(data.with_extension("space"), &link).unwrap();
    scene.delta(&data).unwrap();
    scene.assert_restored(&data);
}

/// A copy's links lead where its original's do.
#[test]
fn tablespaces_of_a_stopped_original_are_kept_and_empty_places_filled() {
    let scene = Scene::new();
    let original = scene.restored("original");
    let (space, copy) = (original.with_extension("space"), scene.at("copy"));
    let with = |data: &Path, in_the_way| {
        let mut options = scene.options(data);
        (options.in_the_way, options.pgdata, options.archive_only) = (in_the_way, Some(original.clone()), true);
        options.tablespaces.mapping[0].1.clone_from(&space);
        options
    };
    let planned = |data: &Path, in_the_way| super::plan(&with(data, in_the_way), &SilentReporter, &Cancel::new());
    let decided = |data: &Path, in_the_way| planned(data, in_the_way).map(|(_, plan)| plan.tablespaces[0].action);
    let refused = |data: &Path, in_the_way| {
        let error = decided(data, in_the_way).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Refused);
        error.to_string()
    };
    std::fs::create_dir_all(copy.join("global")).unwrap();
    std::fs::create_dir(copy.join("pg_tblspc")).unwrap();
    for name in ["PG_VERSION", ControlFile::PATH] {
        std::fs::copy(original.join(name), copy.join(name)).unwrap();
    }
    symlink(&space, copy.join(format!("pg_tblspc/{SPACE_OID}"))).unwrap();
    let words = format!("a tablespace of the data directory \"{}\" (pg_tblspc/{SPACE_OID})", original.display());
    for in_the_way in [InTheWay::Delta, InTheWay::MoveAside] {
        let told = refused(&copy, in_the_way);
        assert!(told.contains(&words), "{in_the_way:?}: {told}");
    }
    let fresh = scene.at("fresh");
    assert!(refused(&fresh, InTheWay::Refuse).contains("it is not empty"));
    assert_eq!(decided(&original, InTheWay::Delta).unwrap(), DirectoryAction::Update);
    assert_eq!(decided(&original, InTheWay::MoveAside).unwrap(), DirectoryAction::MoveAside);

    // After pg_upgrade, the new cluster has its files beside those of the old one, whose delta leaves them alone.
    let ours = std::fs::read(original.join(ControlFile::PATH)).unwrap();
    let other = SystemIdentifier::new(scene.test.cluster.system_identifier.get() + 1).unwrap();
    std::fs::write(original.join(ControlFile::PATH), testing::control_file(other)).unwrap();
    assert_eq!(decided(&copy, InTheWay::Delta).unwrap(), DirectoryAction::Update);
    assert!(refused(&copy, InTheWay::MoveAside).contains(&words));
    std::fs::write(original.join(ControlFile::PATH), ours).unwrap();

    // What its link leads to may be new and empty, and what a killed restore left there is that restore's.
    std::fs::remove_dir_all(&space).unwrap();
    assert_eq!(decided(&fresh, InTheWay::MoveAside).unwrap(), DirectoryAction::Create);
    std::fs::create_dir(&space).unwrap();
    assert_eq!(decided(&fresh, InTheWay::MoveAside).unwrap(), DirectoryAction::Fill);
    let is_under_way = |at: &u64| {
        let cancel = Cancel::new();
        let reporter = StopAt { words: AtomicU64::new(0), at: *at, cancel: cancel.clone() };
        let options = with(&fresh, InTheWay::Refuse);
        let planned = super::plan(&options, &SilentReporter, &Cancel::new()).unwrap();
        super::run(&options, planned, &SystemClock, &reporter, &cancel).unwrap_err();
        space.join(MARKER).exists() && fresh.join("base/1/1").exists()
    };
    assert!((1..20).any(|at| is_under_way(&at)));
    for (in_the_way, action) in [
        (InTheWay::Refuse, DirectoryAction::EmptyAndFill),
        (InTheWay::MoveAside, DirectoryAction::EmptyAndFill),
        (InTheWay::Delta, DirectoryAction::Update),
        (InTheWay::Resume, DirectoryAction::Resume),
    ] {
        assert_eq!(decided(&fresh, in_the_way).unwrap(), action, "{in_the_way:?}");
    }
}

/// Stopped at every word, a delta goes on as a delta, as a resumed restore, or is begun anew.
#[test]
fn what_was_stopped_anywhere_cannot_start_and_goes_on() {
    let scene = Scene::new();
    let mut stopped = 0;
    for (at, first) in (0..60).flat_map(|at| [(at, InTheWay::Delta), (at, InTheWay::Refuse)]) {
        let data = scene.at("data");
        for path in [&data, &data.with_extension("space"), &scene.at("outside")] {
            let _ = std::fs::remove_dir_all(path);
        }
        if first == InTheWay::Delta {
            scene.restored("data");
            damage(&data, &scene.at("outside"));
        }
        let cancel = Cancel::new();
        let reporter = StopAt { words: AtomicU64::new(0), at, cancel: cancel.clone() };
        let Err(error) = scene.keeping(&data, first, 2, &cancel, &reporter) else { continue };
        assert_eq!(error.class(), ErrorClass::Interrupted, "{at}: {error}");
        stopped += 1;
        assert!(!data.join(ControlFile::PATH).exists(), "{at}");
        let again = [InTheWay::Resume, InTheWay::Delta, InTheWay::Refuse][stopped % 3];
        let mut options = scene.options(&data);
        options.in_the_way = again;
        if (first, again) == (InTheWay::Delta, InTheWay::Refuse) {
            // There may be more in it than what a restore puts there.
            let error = super::plan(&options, &SilentReporter, &Cancel::new()).unwrap_err();
            assert!(error.to_string().contains("--delta or --resume goes on with it"), "{error}");
            continue;
        }
        let (_, plan) = super::plan(&options, &SilentReporter, &Cancel::new()).unwrap();
        let expected = match again {
            InTheWay::Resume => DirectoryAction::Resume,
            InTheWay::Delta => DirectoryAction::Update,
            _ => DirectoryAction::EmptyAndFill,
        };
        assert_eq!((plan.directory_action, plan.tablespaces[0].action), (expected, expected), "{at}");
        scene.keeping(&data, again, 2, &Cancel::new(), &SilentReporter).unwrap();
        scene.assert_restored(&data);
    }
    assert!(stopped >= 12, "stopped at {stopped} points only");
}

#[test]
fn only_the_same_backup_is_resumed() {
    let scene = Scene::new();
    let data = scene.at("data");
    // Where nothing was begun, there is nothing to go on with.
    scene.keeping(&data, InTheWay::Resume, 2, &Cancel::new(), &SilentReporter).unwrap();
    let error = scene.keeping(&data, InTheWay::Resume, 2, &Cancel::new(), &SilentReporter).unwrap_err();
    assert!(error.to_string().contains("no killed restore left it"), "{error}");
    let marker = format!(
        "{{\"restore\":\"x\",\"system_identifier\":{},\"backup\":\"{}\",\"data_directory\":\"{}\"}}",
        serde_json::to_string(&scene.test.cluster.system_identifier).unwrap(),
        testing::id(9),
        data.display()
    );
    std::fs::write(data.join(MARKER), &marker).unwrap();
    std::fs::write(data.with_extension("space").join(MARKER), &marker).unwrap();
    std::fs::remove_file(data.join(ControlFile::PATH)).unwrap();
    let error = scene.keeping(&data, InTheWay::Resume, 2, &Cancel::new(), &SilentReporter).unwrap_err();
    assert!(matches!(error, RestoreError::OtherBackup { .. }), "{error}");
    assert_eq!(error.class(), ErrorClass::Refused);
    scene.delta(&data).unwrap();
    scene.assert_restored(&data);
}

/// The manifest lists every file that `pg_verifybackup` looks at, as it is on the disk, and no other.
fn assert_manifest(data: &Path) {
    let manifest = BackupManifest::parse(&std::fs::read(data.join("backup_manifest")).unwrap()).unwrap();
    let mut listed: BTreeMap<String, u64> = BTreeMap::new();
    for file in manifest.files() {
        let name = file.path.to_text().unwrap();
        let content = std::fs::read(data.join(name)).unwrap();
        let mut hasher = ManifestChecksum::hasher(ManifestChecksumAlgorithm::Crc32c);
        hasher.update(&content);
        assert_eq!(file.checksum, Some(hasher.finish()), "{name}");
        listed.insert(name.to_owned(), content.len() as u64);
    }
    let is_ignored = |name: &str| {
        let ignored = ["backup_manifest", "pg_wal", "postgresql.auto.conf", "recovery.signal", "standby.signal"];
        ignored.contains(&name.split('/').next().unwrap()) || name.contains("PG_14_")
    };
    let space = data.with_extension("space");
    let found = traces(data).into_iter().filter(|(path, _)| !path.is_symlink()).map(|(path, facts)| {
        let name = match path.strip_prefix(&space) {
            Ok(below) => format!("pg_tblspc/{SPACE_OID}/{}", below.display()),
            Err(_) => path.strip_prefix(data).unwrap().display().to_string(),
        };
        (name, facts.3)
    });
    let found: BTreeMap<String, u64> = found.filter(|(name, _)| !is_ignored(name)).collect();
    assert_eq!(listed, found);
}

#[test]
fn a_manifest_says_what_is_on_the_disk() {
    for jobs in [1, 4] {
        let scene = Scene::new();
        let data = scene.at("data");
        let restore = |in_the_way| {
            let mut options = scene.options(&data);
            (options.in_the_way, options.jobs, options.manifest) = (in_the_way, jobs, true);
            let planned = super::plan(&options, &SilentReporter, &Cancel::new()).unwrap();
            super::run(&options, planned, &SystemClock, &SilentReporter, &Cancel::new()).unwrap();
        };
        restore(InTheWay::Refuse);
        scene.assert_restored(&data);
        assert_manifest(&data);
        damage(&data, &scene.at("outside"));
        restore(InTheWay::Delta);
        scene.assert_restored(&data);
        assert_manifest(&data);
    }
}
