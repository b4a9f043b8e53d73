//! Restores that end early, by a signal, a full disk, a damaged or vanished repository: nothing starts, and the same
//! command restores anew.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::crash::tree_of;
use crate::support::{
    Ledger, PgVersion, Settled, Site, SmallFileSystem, TestAccount, TestCluster, TestFolder, wait_until,
};

const PATIENCE: Duration = Duration::from_secs(60);
const MARKER: &str = "pgv-restore.incomplete";
const CONTROL_FILE: &str = "global/pg_control";
/// About 30 MB, so that a restore is not over before it can be disturbed.
const SOME_DATA: &str = "CREATE TABLE bulk AS SELECT g AS id, md5(g::text) || repeat('x', 200) AS filler \
                         FROM generate_series(1, 100000) AS g";

fn begin(site: &Site, data: &Path) -> Child {
    let mut command = site.pgv.command("pgv-restore", &["-D", data.to_str().unwrap()]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Waits until data is being written.
fn wait_for_data(data: &Path) {
    wait_until("files are written", PATIENCE, || data.join("base/1").exists());
}

/// Tries all the time to start the directory. A server may live only once the restore is complete.
fn try_to_start(site: &Site, data: &Path, is_over: &AtomicBool, attempts: &AtomicU32) {
    while !is_over.load(Ordering::SeqCst) {
        let mut postgres = TestAccount::get().command(site.primary.version.tool("postgres"));
        postgres.env_clear().current_dir("/").arg("-D").arg(data).args(["-c", "listen_addresses="]);
        postgres.args(["-c", &format!("unix_socket_directories={}", site.primary.socket_folder.display())]);
        let mut postgres = postgres.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let began = Instant::now();
        let mut status = postgres.try_wait().unwrap();
        while status.is_none() && began.elapsed() < Duration::from_secs(2) {
            std::thread::sleep(Duration::from_millis(2));
            status = postgres.try_wait().unwrap();
        }
        attempts.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(5));
        match status {
            Some(status) => assert!(!status.success()),
            None => {
                let is_complete = data.join(CONTROL_FILE).exists();
                kill_process(Pid::from_child(&postgres), Signal::QUIT).unwrap();
                postgres.wait().unwrap();
                assert!(is_complete, "a server started in a directory that is not restored");
                return;
            }
        }
    }
}

/// The files below a directory that is being written to.
fn count_files(directory: &Path) -> u32 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => count_files(&entry.path()),
            _ => 1,
        })
        .sum()
}

/// A restore may end between the look at its files and the signal: then it is begun again, so often.
const TRIES: u32 = 5;

/// Kills a restore at so many points of its run, each time from the beginning; says how many were before its end.
fn kill_at(site: &Site, data: &Path, files: u32, points: u32) -> u32 {
    for point in 0..points {
        if !(0..TRIES).any(|_| is_killed_at(site, data, files * point / points)) {
            return point;
        }
    }
    points
}

/// Kills a restore that has written so many files; says whether that was before its end.
fn is_killed_at(site: &Site, data: &Path, files: u32) -> bool {
    if data.exists() {
        fs::remove_dir_all(data).unwrap();
    }
    let mut child = begin(site, data);
    while count_files(data) < files && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    if data.join(CONTROL_FILE).exists() {
        return false;
    }
    assert_eq!(output.status.code(), None, "{}", String::from_utf8_lossy(&output.stderr));
    assert!(data.join(MARKER).exists() || count_files(data) == 0, "there are files without a marker");
    true
}

fn killed_restore_never_starts(points: u32) {
    let folder = TestFolder::new("ended-killed");
    let mut site = Site::new(PgVersion::V15, &folder);
    let (ledger, _) = site.with_history();
    site.primary.stop();
    // Where nothing waits for a disk.
    let memory = SmallFileSystem::mount(&folder, "memory", 512 << 20);
    let whole = memory.path().join("whole");
    site.restore(&whole, &[]).success();
    let files = count_files(&whole);

    let data = memory.path().join("killed");
    let (is_over, attempts) = (AtomicBool::new(false), AtomicU32::new(0));
    let killed = std::thread::scope(|scope| {
        let starter = scope.spawn(|| try_to_start(&site, &data, &is_over, &attempts));
        let killed = kill_at(&site, &data, files, points);
        is_over.store(true, Ordering::SeqCst);
        starter.join().unwrap();
        killed
    });
    // The last files come so shortly before the end that a kill at their sight may be too late: on two processors a quarter
    // of all. That no step of a restore may be the last is `crash_restore`'s question.
    assert!(killed * 2 >= points, "only {killed} of {points} points were before the end");
    assert!(attempts.load(Ordering::SeqCst) > points, "too few attempts");
    if !data.join(CONTROL_FILE).exists() {
        assert!(data.join(MARKER).exists());
        site.restore(&data, &[]).success();
        assert!(!data.join(MARKER).exists());
    }
    let mut copy = TestCluster::at(PgVersion::V15, &folder, "copy", &data);
    assert_eq!(copy.start_and_settle(), Settled::Open, "log:\n{}", copy.log());
    Ledger::assert(&copy, &ledger.all());
}

/// From an empty directory each time, while somebody tries to start it all the time: no moment may be one at which a
/// server comes up. (`restore_safety` has restores over what killed ones left.)
#[test]
fn a_killed_restore_never_starts_and_the_same_command_completes() {
    killed_restore_never_starts(12);
}

#[test]
#[ignore = "slow tier: scripts/test --all"]
fn a_killed_restore_never_starts_at_a_hundred_points() {
    killed_restore_never_starts(100);
}

#[test]
fn signals_a_second_restore_and_a_vanished_repository_leave_a_marker() {
    let folder = TestFolder::new("ended-signal");
    let site = Site::new(PgVersion::V15, &folder);
    site.primary.query(SOME_DATA);
    site.with_history();
    let data = folder.join("copy");
    for signal in [Signal::INT, Signal::TERM] {
        if data.exists() {
            fs::remove_dir_all(&data).unwrap();
        }
        let child = begin(&site, &data);
        wait_for_data(&data);
        kill_process(Pid::from_child(&child), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(130), "{stderr}");
        assert!(stderr.contains("the restore was ended by a signal"), "{stderr}");
        assert!(stderr.contains("the same command restores it anew"), "{stderr}");
        assert!(data.join(MARKER).exists() && !data.join(CONTROL_FILE).exists());
        site.restore(&data, &["--dry-run"]).success();
    }

    // One that is still at work keeps others away.
    fs::remove_dir_all(&data).unwrap();
    let first = begin(&site, &data);
    wait_for_data(&data);
    kill_process(Pid::from_child(&first), Signal::STOP).unwrap();
    let second = site.restore(&data, &[]);
    let told = format!("another pgv-restore (process {}) is writing into it", first.id());
    kill_process(Pid::from_child(&first), Signal::CONT).unwrap();
    let output = first.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    second.expect_code(3).expect_stderr(&told);

    let vanished = folder.join("vanished");
    let child = begin(&site, &vanished);
    wait_for_data(&vanished);
    kill_process(Pid::from_child(&child), Signal::STOP).unwrap();
    let away = folder.join("away");
    fs::rename(&site.pgv.repository, &away).unwrap();
    kill_process(Pid::from_child(&child), Signal::CONT).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    fs::rename(&away, &site.pgv.repository).unwrap();
    assert_eq!(output.status.code(), Some(4), "{stderr}");
    assert!(stderr.contains(site.pgv.repository.to_str().unwrap()), "{stderr}");
    assert!(vanished.join(MARKER).exists() && !vanished.join(CONTROL_FILE).exists());
    // Somebody has put something there since.
    let letter = vanished.join("letter");
    fs::write(&letter, "of somebody else").unwrap();
    let planned = site.restore(&vanished, &["--dry-run"]).success();
    assert!(planned.stdout.contains(&format!("removed     \"{}\"\n", letter.display())), "{planned}");
    assert!(letter.exists());
    let done = site.restore(&vanished, &[]).success();
    assert!(done.stdout.contains(", 1 name removed that was of no restore, "), "{done}");
    let warned = format!("1 name that is not of the killed restore is removed with it: \"{}\"", letter.display());
    done.expect_stderr(&warned);
    assert!(!letter.exists());
}

#[test]
fn a_disk_that_is_full_or_read_only_is_told() {
    let folder = TestFolder::new("ended-full");
    let site = Site::new(PgVersion::V15, &folder);
    site.with_history();
    let small = SmallFileSystem::mount(&folder, "small", 12 << 20);
    let data = small.path().join("data");
    site.restore(&data, &[]).expect_code(4).expect_stderr("MiB left, and");
    site.restore(small.path(), &[]).expect_code(4).expect_stderr("MiB left, and");
    assert_eq!(fs::read_dir(small.path()).unwrap().count(), 0);

    // What a killed restore has left makes room, or is kept; here it is not enough.
    folder.make("small/data");
    let id = &site.backups()[0];
    let identifier = site.primary.query("SELECT system_identifier FROM pg_control_system()");
    let marker =
        format!(r#"{{"system_identifier":"{identifier}","backup":"{id}","data_directory":"{}"}}"#, data.display());
    folder.write(Path::new("small/data").join(MARKER), marker);
    for options in [&[][..], &["--resume"], &["--delta"]] {
        let outcome = site.restore(&data, options).expect_code(4).expect_stderr("MiB left, and");
        assert!(outcome.stderr.contains(data.to_str().unwrap()), "{outcome}");
        assert_eq!(fs::read_dir(&data).unwrap().count(), 1, "{options:?}");
    }

    small.set_read_only(true);
    site.restore(&data, &[]).expect_code(3).expect_stderr("it is not writable");
    site.restore(&small.path().join("new"), &[]).expect_code(3).expect_stderr("is not writable");
}

/// There was room for all of it when it began.
#[test]
fn a_disk_that_fills_on_the_way_ends_a_restore_and_the_same_command_completes() {
    let folder = TestFolder::new("ended-fills");
    let site = Site::new(PgVersion::V15, &folder);
    site.primary.query(SOME_DATA);
    let (ledger, _) = site.with_history();
    let small = SmallFileSystem::mount(&folder, "small", 256 << 20);
    let data = small.path().join("data");
    let child = begin(&site, &data);
    wait_for_data(&data);
    kill_process(Pid::from_child(&child), Signal::STOP).unwrap();
    let filler = small.fill("filler");
    kill_process(Pid::from_child(&child), Signal::CONT).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{stderr}");
    for words in ["No space left on device", "hint: \"df -h ", data.to_str().unwrap()] {
        assert!(stderr.contains(words), "{words}\n{stderr}");
    }
    assert!(data.join(MARKER).exists() && !data.join(CONTROL_FILE).exists());
    fs::remove_file(&filler).unwrap();
    site.restore(&data, &[]).success();
    assert!(!data.join(MARKER).exists());
    let mut copy = TestCluster::at(PgVersion::V15, &folder, "copy", &data);
    assert_eq!(copy.start_and_settle(), Settled::Open, "log:\n{}", copy.log());
    Ledger::assert(&copy, &ledger.all());
}

#[test]
fn a_delta_needs_room_only_for_what_is_missing() {
    let folder = TestFolder::new("ended-room");
    let site = Site::of(TestCluster::builder(PgVersion::V15, &folder).initdb("--wal-segsize=1"), &folder);
    site.primary.query("CREATE TABLE filler AS SELECT repeat('x', 1000) FROM generate_series(1, 20000)");
    let table = site.primary.query("SELECT pg_relation_filepath('filler')");
    site.backup(&[]).success();
    let small = SmallFileSystem::mount(&folder, "small", 96 << 20);
    let data = small.path().join("data");
    site.restore(&data, &[]).success();
    // All is right but what a server would have changed, and hardly any room is left.
    let left = rustix::fs::statvfs(small.path()).unwrap();
    let left = usize::try_from(left.f_bavail * left.f_frsize).unwrap();
    fs::write(small.path().join("others"), vec![1; left - (4 << 20)]).unwrap();
    site.restore(&data, &["--delta"]).success();
    // What is missing does not fit; nothing is touched then.
    fs::remove_file(data.join(&table)).unwrap();
    fs::write(small.path().join("more"), vec![1; 20 << 20]).unwrap();
    let before = tree_of(&data);
    site.restore(&data, &["--delta"]).expect_code(4).expect_stderr("MiB left, and");
    assert!(tree_of(&data) == before);
    fs::remove_file(small.path().join("more")).unwrap();
    site.restore(&data, &["--delta"]).success();
    assert!(data.join(&table).exists());
}

/// Changes one bit of what is stored behind an object's header, or changes it back.
fn flip(path: &Path) {
    let mode = fs::metadata(path).unwrap().permissions();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    // Small objects begin with two headers of 512 and 480 bytes, one of which is enough.
    let place = (length / 2).max(992 + (length - 992) / 2);
    let mut byte = [0];
    file.read_exact_at(&mut byte, place).unwrap();
    file.write_all_at(&[byte[0] ^ 1], place).unwrap();
    fs::set_permissions(path, mode).unwrap();
}

#[test]
fn what_is_damaged_is_named_and_nothing_can_be_started() {
    let folder = TestFolder::new("ended-damage");
    let site = Site::new(PgVersion::V15, &folder);
    let (ledger, _) = site.with_history();
    let [id] = site.backups().try_into().unwrap();
    let data = folder.join("copy");
    let backup = format!("backups/{id}");
    let objects: Vec<PathBuf> = ["root", "needs", "record", "documents/backup_label"]
        .iter()
        .map(|name| site.tree().join(&backup).join(name))
        .chain([site.tree().join(format!("packs/{id}/00000000"))])
        .collect();
    for object in &objects {
        flip(object);
        for options in [&[][..], &["--backup", &id]] {
            let outcome = site.restore(&data, options);
            assert_eq!(outcome.code(), 5, "{object:?}\n{outcome}");
            let name = object.strip_prefix(&site.pgv.repository).unwrap().to_str().unwrap();
            assert!(outcome.stderr.contains(name), "{name}\n{outcome}");
            assert!(!data.join(CONTROL_FILE).exists());
        }
        flip(object);
    }
    site.restore(&data, &[]).success();
    let mut copy = TestCluster::at(PgVersion::V15, &folder, "copy-server", &data);
    assert_eq!(copy.start_and_settle(), Settled::Open, "log:\n{}", copy.log());
    Ledger::assert(&copy, &ledger.all());
}
