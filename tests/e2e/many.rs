//! More files than memory would hold: backups by both methods, all ways to restore them, and the check of what is stored.

use std::fs;
use std::io::Read as _;
use std::process::Stdio;

use crate::support::{PgVersion, Pgv, Site, TestAccount, TestFolder, peak_kib, pg_verifybackup};

/// What each may use, whatever is in the data directory: with two threads, and with as many as there may be.
const FEW: Threads = Threads { jobs: "2", limit_kib: 112 << 10 };
const MANY: Threads = Threads { jobs: "256", limit_kib: 192 << 10 };
const FILES: usize = 300_000;
const DIRECTORIES: usize = 3000;
/// What does not compress fills queues.
const NOISE_BYTES: u64 = 384 << 20;

#[derive(Clone, Copy)]
struct Threads {
    jobs: &'static str,
    limit_kib: u64,
}

#[track_caller]
#[allow(clippy::print_stdout)]
fn is_bounded(pgv: &Pgv, threads: Threads, program: &str, words: &[&str]) {
    let words = [words, &["--jobs", threads.jobs]].concat();
    let began = std::time::Instant::now();
    let peak = peak_kib(pgv.command(program, &words).stdout(Stdio::null()).stderr(Stdio::null()));
    println!("{program} {}: {peak} KiB, {:?}", words.join(" "), began.elapsed());
    assert!(peak > 0 && peak < threads.limit_kib, "{program} {words:?}: {peak} KiB");
}

/// Files of some bytes in one directory, directories of one file each, and a large one.
fn plant(site: &Site) {
    let account = TestAccount::get();
    let write = |path: std::path::PathBuf, number: usize| {
        fs::write(&path, format!("{number} {}", "x".repeat(number % 200))).unwrap();
        account.take_over(&path);
    };
    for name in ["many", "directories"] {
        let folder = site.primary.data.join(name);
        fs::create_dir(&folder).unwrap();
        account.take_over(&folder);
    }
    for number in 0..FILES {
        write(site.primary.data.join(format!("many/a_file_with_a_name_of_some_length_{number}")), number);
    }
    for number in 0..DIRECTORIES {
        let folder = site.primary.data.join(format!("directories/{number}"));
        fs::create_dir(&folder).unwrap();
        account.take_over(&folder);
        write(folder.join("file"), number);
    }
    let noise = site.primary.data.join("noise");
    let mut random = fs::File::open("/dev/urandom").unwrap().take(NOISE_BYTES);
    std::io::copy(&mut random, &mut fs::File::create(&noise).unwrap()).unwrap();
    account.take_over(&noise);
}

#[test]
#[ignore = "slow tier: scripts/test --all"]
fn memory_does_not_grow_with_the_files() {
    let folder = TestFolder::new("many-files");
    let mut site = Site::new(PgVersion::V15, &folder);
    site.backup(&[]).success();
    plant(&site);
    for method in ["direct", "stream"] {
        for threads in [FEW, MANY] {
            is_bounded(&site.pgv, threads, "pgv-basebackup", &["--checkpoint", "fast", "--method", method]);
        }
    }
    let staging = fs::read_dir(site.pgv.repository.join(".staging")).unwrap();
    assert_eq!(staging.count(), 0, "something stays behind");
    for threads in [FEW, MANY] {
        is_bounded(&site.pgv, threads, "pgv", &["verify"]);
    }
    let backups = site.backups();
    assert_eq!(backups.len(), 5);
    site.primary.stop();
    let data = folder.join("data");
    let place = data.display().to_string();
    let restore = |backup: &str, threads, options: &[&str]| {
        let words = ["-D", &place, "--backup", backup, "--target-immediate", "--no-prove"];
        is_bounded(&site.pgv, threads, "pgv-restore", &[&words, options].concat());
    };
    restore(&backups[1], FEW, &["--manifest"]);
    restore(&backups[1], MANY, &["--delta", "--manifest"]);
    restore(&backups[1], FEW, &["--delta", "--dry-run"]);
    assert_eq!(fs::read_dir(data.join("many")).unwrap().count(), FILES);
    pg_verifybackup(PgVersion::V15, &data, &[]).success();
    fs::remove_dir_all(&data).unwrap();
    restore(&backups[4], MANY, &["--manifest"]);
    pg_verifybackup(PgVersion::V15, &data, &[]).success();
    // It knows nothing of them.
    restore(&backups[0], FEW, &["--delta"]);
    assert!(!data.join("many").exists() && !data.join("directories").exists());
}
