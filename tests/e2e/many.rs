//! More files than memory would hold: backups by both methods, and all ways to restore them.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{PgVersion, Pgv, Site, TestAccount, TestFolder, pg_verifybackup};

/// What a backup or restore may use, whatever is in it.
const MEMORY_KIB: u64 = 192 << 10;
const FILES: usize = 300_000;

/// Runs it to its end; the most memory that it had.
fn peak_kib(mut command: Command) -> u64 {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let high = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        peak = peak.max(high.unwrap_or(0));
        if let Some(ended) = child.try_wait().unwrap() {
            assert!(ended.success(), "{command:?}: {ended}");
            return peak;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[track_caller]
#[allow(clippy::print_stdout)]
fn is_bounded(pgv: &Pgv, program: &str, words: &[&str]) {
    let peak = peak_kib(pgv.command(program, words));
    println!("{program} {}: {peak} KiB", words.join(" "));
    assert!(peak > 0 && peak < MEMORY_KIB, "{program} {words:?}: {peak} KiB");
}

#[test]
#[ignore = "slow tier: scripts/test --all"]
fn memory_does_not_grow_with_the_files() {
    let folder = TestFolder::new("many-files");
    let mut site = Site::new(PgVersion::V15, &folder);
    let many = site.primary.data.join("many");
    fs::create_dir(&many).unwrap();
    TestAccount::get().take_over(&many);
    for number in 0..FILES {
        let path = many.join(format!("a_file_with_a_name_of_some_length_{number}"));
        fs::write(&path, format!("{number} {}", "x".repeat(number % 200))).unwrap();
        TestAccount::get().take_over(&path);
    }
    for method in ["direct", "stream"] {
        is_bounded(&site.pgv, "pgv-basebackup", &["--checkpoint", "fast", "--method", method]);
    }
    let staging = fs::read_dir(site.pgv.repository.join(".staging")).unwrap();
    assert_eq!(staging.count(), 0, "something stays behind");
    let backups = site.backups();
    assert_eq!(backups.len(), 2);
    site.primary.stop();
    let all_ways: &[&[&str]] = &[&[], &["--delta"], &["--delta", "--dry-run"]];
    for (backup, ways) in backups.iter().zip([all_ways, &[&[]]]) {
        let data = folder.join("data");
        let place = data.display().to_string();
        let words = ["-D", &place, "--backup", backup, "--target-immediate", "--no-prove", "--manifest"];
        for options in ways {
            is_bounded(&site.pgv, "pgv-restore", &[&words[..], options].concat());
        }
        assert_eq!(fs::read_dir(data.join("many")).unwrap().count(), FILES);
        pg_verifybackup(PgVersion::V15, &data, &[]).success();
        fs::remove_dir_all(&data).unwrap();
    }
}
