//! What others on the same host notice of pgv: the priority of its work, and that what it writes goes to the disk all the
//! while, not at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::support::crash::calls_of;
use crate::support::{PgVersion, Site, TestAccount, TestFolder, wait_until};

const VERSION: PgVersion = PgVersion::V15;
const LARGE_BYTES: u64 = 48 << 20;
/// At the end of a file, so much may not have been asked for yet.
const REST_BYTES: u64 = 9 << 20;

/// Niceness and used processor time of a thread.
#[derive(Debug, Clone, Copy)]
struct Thread {
    is_first: bool,
    nice: i64,
    ticks: u64,
}

/// The threads of a process, as the kernel knows them.
fn threads_of(process: u32) -> Vec<Thread> {
    let Ok(entries) = fs::read_dir(format!("/proc/{process}/task")) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let of_path = |path: std::path::PathBuf| {
        let text = fs::read_to_string(path.join("stat")).ok()?;
        // Behind the name, which may hold anything, comes the third field.
        let fields: Vec<&str> = text.rsplit_once(") ")?.1.split_whitespace().collect();
        let number = |field: usize| fields[field - 3].parse::<i64>().unwrap();
        let is_first = path.ends_with(process.to_string());
        Some(Thread { is_first, nice: number(19), ticks: u64::try_from(number(14) + number(15)).unwrap() })
    };
    paths.filter_map(of_path).collect()
}

/// A backup that runs until it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The niceness of all threads of a backup, once some beside the first have worked.
fn niceness(site: &Site, method: &str, options: &[&str]) -> BTreeSet<i64> {
    let arguments = ["--checkpoint", "fast", "--method", method, "--max-rate", "16MB", "--jobs", "2"];
    let mut command = site.pgv.command("pgv-basebackup", &[&arguments, options].concat());
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let backup = Running(child);
    let mut found = Vec::new();
    wait_until("a backup works in several threads", Duration::from_secs(60), || {
        found = threads_of(backup.0.id());
        found.iter().any(|thread| !thread.is_first && thread.ticks > 0) && found.len() > 2
    });
    found.iter().map(|thread| thread.nice).collect()
}

#[test]
fn all_the_work_of_a_backup_has_the_priority_that_was_asked_for() {
    let folder = TestFolder::in_memory("nice");
    let site = Site::new(VERSION, &folder);
    plant_noise(&site);
    // These tests may have one of their own.
    let own = threads_of(std::process::id()).iter().find(|thread| thread.is_first).unwrap().nice;
    for method in ["direct", "stream"] {
        assert_eq!(niceness(&site, method, &[]), BTreeSet::from([own]), "{method}");
        assert_eq!(niceness(&site, method, &["--nice", "7"]), BTreeSet::from([(own + 7).min(19)]), "{method}");
    }
    let text = fs::read_to_string(&site.pgv.config).unwrap() + "\n[backup]\nnice = 5\n";
    fs::write(&site.pgv.config, text).unwrap();
    assert_eq!(niceness(&site, "direct", &[]), BTreeSet::from([(own + 5).min(19)]));
}

/// A large file in the data directory, which does not compress.
fn plant_noise(site: &Site) {
    let path = site.primary.data.join("noise");
    let mut random = fs::File::open("/dev/urandom").unwrap().take(LARGE_BYTES);
    std::io::copy(&mut random, &mut fs::File::create(&path).unwrap()).unwrap();
    TestAccount::get().take_over(&path);
}

/// What was asked of the kernel for a file, in the order of the calls.
#[derive(Debug, Default)]
struct Written {
    /// Begins and ends of the ranges that are to go to the disk, before the first sync.
    early: Vec<(u64, u64)>,
    is_synced: bool,
}

impl Written {
    /// Up to where all of it was asked for, from the beginning on.
    fn early_end(&self) -> u64 {
        let mut ranges = self.early.clone();
        ranges.sort_unstable();
        ranges.iter().fold(0, |end, (begin, until)| if *begin <= end { end.max(*until) } else { end })
    }
}

/// What a traced program did with each file; `syncfs` syncs all of them.
fn written(calls: &[String]) -> BTreeMap<String, Written> {
    let mut files: BTreeMap<String, Written> = BTreeMap::new();
    for call in calls {
        let path = call.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(path, _)| path.to_owned());
        let path = path.unwrap_or_else(|| panic!("no path: {call}"));
        if call.starts_with("syncfs(") {
            files.values_mut().for_each(|file| file.is_synced = true);
            continue;
        }
        let file = files.entry(path).or_default();
        if !call.starts_with("fadvise64(") {
            file.is_synced = true;
        } else if !file.is_synced && call.contains("POSIX_FADV_DONTNEED") {
            let numbers: Vec<u64> = call.split(", ").skip(1).take(2).map(|number| number.parse().unwrap()).collect();
            file.early.push((numbers[0], numbers[0] + numbers[1]));
        }
    }
    files
}

/// What is written goes to the disk before it is synced: the kernel is asked to begin with each part of a large file
/// (`POSIX_FADV_DONTNEED` starts writeback of dirty pages), and what is left for the sync is small.
#[test]
fn what_is_written_goes_to_the_disk_before_the_last_sync() {
    const KINDS: &str = "fadvise64,fsync,fdatasync,syncfs";
    let folder = TestFolder::in_memory("writeback");
    let mut site = Site::new(VERSION, &folder);
    plant_noise(&site);
    let is_early = |calls: &[String], is_it: &dyn Fn(&str) -> bool, what: &str| {
        let files = written(calls);
        let (path, file) =
            files.iter().filter(|(path, _)| is_it(path)).max_by_key(|(_, file)| file.early.len()).unwrap();
        assert!(file.early.len() > 3 && file.is_synced, "{what}: {path}: {file:?}");
        assert!(file.early_end() >= LARGE_BYTES - REST_BYTES, "{what}: {path}: {file:?}");
    };
    for method in ["direct", "stream"] {
        let arguments = ["--checkpoint", "fast", "--method", method];
        let calls = calls_of(&folder, &site.pgv.command("pgv-basebackup", &arguments), KINDS);
        is_early(&calls, &|path| path.contains("/repository/.staging/"), method);
    }
    site.primary.stop();
    let data = folder.join("data");
    let place = data.display().to_string();
    let restore = site.pgv.command("pgv-restore", &["-D", &place, "--target-immediate"]);
    let calls = calls_of(&folder, &restore, KINDS);
    is_early(&calls, &|path| Path::new(path) == data.join("noise"), "restore");
    assert_eq!(fs::metadata(data.join("noise")).unwrap().len(), LARGE_BYTES);
}
