//! `pgv verify` of what a real server archived and pgv-basebackup took.

use std::path::Path;

use serde_json::Value;

use crate::support::{Ledger, Outcome, PgVersion, Settled, Site, TestCluster, TestFolder};

const VERSION: PgVersion = PgVersion::V15;

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    // behind the header and its copy, which nobody needs
    let middle = (bytes.len() / 2).max(1020);
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

fn answer(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}\n{outcome}"))
}

#[test]
fn a_real_repository_is_sound_and_damage_is_named_with_its_cost() {
    let folder = TestFolder::new("verify");
    let site = Site::of(TestCluster::builder(VERSION, &folder).initdb("--wal-segsize=1"), &folder);
    let (mut ledger, middle) = site.with_history();
    let until = ledger.until(&middle);
    for _ in 0..4 {
        ledger.commit_many(&site.primary, 3);
        site.primary.archive_all();
    }
    let before_second = site.archived_segments().len();
    site.backup(&[]).success();
    ledger.commit_many(&site.primary, 3);
    site.primary.archive_all();

    for options in [&[] as &[&str], &["--wal-records"], &["--quick"], &["--sample", "5%"], &["-j", "1"]] {
        let outcome = site.pgv.run("pgv", &[&["verify"], options].concat()).success();
        assert!(outcome.stdout.contains("All 2 backups can be restored"), "{outcome}");
        assert!(outcome.stdout.contains("damaged") && !outcome.stdout.contains("Damaged"), "{outcome}");
    }
    let json = answer(&site.pgv.run("pgv", &["verify", "--wal-records", "--output", "json"]).success());
    assert_eq!(json["schema_version"], 1);
    assert_eq!(json["damaged"].as_array().unwrap().len(), 0);
    assert!(json["read"]["wal_records"].as_u64().unwrap() > 50, "{json}");

    // A byte in the last segment before the second backup: recovery from the first one ends there.
    let backups = site.backups();
    let damaged = site.archived_segments()[before_second - 1].clone();
    flip(&damaged);
    let name = damaged.file_name().unwrap().to_str().unwrap();
    let outcome = site.pgv.run("pgv", &["verify"]).expect_code(5).expect_stderr("damaged or missing");
    let lost = outcome.stdout.lines().find(|line| line.contains("are lost")).unwrap_or_else(|| panic!("{outcome}"));
    assert!(outcome.stdout.contains(name) && lost.contains("targets on timeline 1 between"), "{outcome}");
    assert!(lost.contains(&format!("backup {} serves", backups[1])), "{outcome}");
    let json = answer(&site.pgv.run("pgv", &["verify", "--output", "json"]).expect_code(5));
    assert_eq!(json["damaged"].as_array().unwrap().len(), 1, "{json}");
    let cost = &json["damaged"][0]["costs"][0];
    assert_eq!((cost["kind"].as_str(), cost["before_backup"].as_str()), (Some("targets"), Some(backups[1].as_str())));
    assert!(json["backups"].as_array().unwrap().iter().all(|backup| backup["can_be_restored"] == true), "{json}");

    // What lies before the damage is restored as before.
    let data = folder.join("before");
    site.restore(&data, &["--target-time", &middle.text]).success();
    let mut copy = TestCluster::at(VERSION, &folder, "before-s", &data);
    let found = copy.start_and_settle();
    assert!(!matches!(found, Settled::Ended(_)), "{}", copy.log());
    Ledger::assert(&copy, &until);
}

/// Its digests are right, for it was archived as it is: only who reads the log finds it.
#[test]
fn a_segment_that_was_damaged_before_it_was_archived_is_found_in_the_records() {
    let folder = TestFolder::new("verify");
    let site = Site::of(TestCluster::builder(VERSION, &folder).initdb("--wal-segsize=1"), &folder);
    site.with_history();
    let last = site.archived_segments().last().unwrap().clone();
    let name = last.file_name().unwrap().to_str().unwrap().to_owned();
    let plain = folder.join(&name);
    site.pgv.run("pgv-fetch", &[&name, plain.to_str().unwrap()]).success();
    let mut bytes = std::fs::read(&plain).unwrap();
    bytes[200] ^= 1; // in the first record but for headers
    std::fs::write(&plain, bytes).unwrap();
    std::fs::remove_file(&last).unwrap();
    site.pgv.run_in(&site.primary.data, "pgv-archive", &[plain.to_str().unwrap(), &name]).success();
    site.pgv.run("pgv", &["verify"]).success();
    let outcome = site.pgv.run("pgv", &["verify", "--wal-records"]).expect_code(5);
    let words = [&name, "was damaged before it was archived", "targets on timeline 1 after", "are lost"];
    assert!(words.iter().all(|words| outcome.stdout.contains(*words)), "{outcome}");
}

/// Permission lost, or a begin: what is readable is looked at, shown and restored; what is not is named.
#[test]
fn what_cannot_be_read_is_named_and_stands_before_nothing_else() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = TestFolder::new("verify");
    let site = Site::of(TestCluster::builder(VERSION, &folder).initdb("--wal-segsize=1"), &folder);
    let (ledger, middle) = site.with_history();
    site.backup(&[]).success();
    site.primary.archive_all();
    let backups = site.backups();
    let mode = |path: &Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let newest = site.tree().join("backups").join(&backups[1]);
    let wal = site.tree().join("wal/00000001");
    let history = site.tree().join("history");
    for (hidden, wholes) in [(&newest, 1), (&wal, 0), (&history, 2)] {
        if !hidden.exists() {
            continue;
        }
        mode(hidden, 0o000);
        let name = hidden.strip_prefix(&site.pgv.repository).unwrap().display().to_string();
        let verified = site.pgv.run("pgv", &["verify"]).expect_code(4).expect_stderr("not readable");
        assert!(verified.stdout.contains(&format!("  {name}\n")), "{verified}");
        assert!(verified.stdout.contains("Permission denied") && !verified.stdout.contains("missing:"), "{verified}");
        let json = answer(&site.pgv.run("pgv", &["verify", "--output", "json"]).expect_code(4));
        let restorable = |backup: &&Value| backup["can_be_restored"] == true;
        assert_eq!(json["backups"].as_array().unwrap().iter().filter(restorable).count(), wholes, "{name}\n{json}");
        let info = site.pgv.run("pgv", &["info"]).expect_code(4);
        assert!(info.stdout.contains(&backups[0]) && info.stdout.contains("Permission denied"), "{info}");
        assert!(!info.stdout.contains("CANNOT") && !info.stdout.contains("HOLE"), "{info}");
        mode(hidden, 0o700);
    }

    // The newest backup has lost its begin, or cannot be listed: the one before it serves, and the plan says so.
    mode(&newest, 0o000);
    let data = folder.join("one");
    let restored = site.restore(&data, &["--target-time", &middle.text]).success();
    restored.expect_stderr(&format!("backup {} cannot be read, so it is not considered", backups[1]));
    mode(&newest, 0o700);
    site.restore(&folder.join("none"), &["--dry-run"]).success();
    mode(&wal, 0o000);
    site.restore(&folder.join("none"), &[]).expect_code(4).expect_stderr("Permission denied");
    mode(&wal, 0o700);
    std::fs::remove_file(newest.join("begin")).unwrap();
    let planned = site.restore(&folder.join("none"), &["--dry-run"]).success();
    assert!(planned.stdout.contains(&backups[0]), "{planned}");
    planned.expect_stderr(&format!("backup {} is not listed", backups[1]));
    let named = site.restore(&folder.join("none"), &["--backup", &backups[1]]).expect_code(5);
    named.expect_stderr("/begin\"").expect_stderr("is missing, while the backup has a record");

    let mut copy = TestCluster::at(VERSION, &folder, "one-s", &data);
    let found = copy.start_and_settle();
    assert!(!matches!(found, Settled::Ended(_)), "{}", copy.log());
    Ledger::assert(&copy, &ledger.until(&middle));
}

/// What only an object of the newest backup was lost for is restored from the one before; without the registration nothing is.
#[test]
fn lost_objects_are_told_with_the_way_that_is_left() {
    let folder = TestFolder::new("verify-lost");
    let site = Site::of(TestCluster::builder(VERSION, &folder).initdb("--wal-segsize=1"), &folder);
    let (mut ledger, _) = site.with_history();
    site.backup(&[]).success();
    ledger.commit_many(&site.primary, 2);
    site.primary.archive_all();
    let backups = site.backups();
    let of_newest = site.tree().join("backups").join(&backups[1]);
    let packs = site.tree().join("packs").join(&backups[1]);
    let pack = std::fs::read_dir(&packs).unwrap().map(|entry| entry.unwrap().path()).min().unwrap();
    for (number, lost) in [of_newest.join("needs"), pack].into_iter().enumerate() {
        let away = folder.join("away");
        std::fs::rename(&lost, &away).unwrap();
        let data = folder.join(format!("copy-{number}"));
        let refused = site.restore(&data, &[]).expect_code(5);
        let refused = refused.expect_stderr(&format!("backup {} cannot be read", backups[1]));
        refused.expect_stderr(&format!("--backup {}\n", backups[0]));
        site.restore(&data, &["--backup", &backups[0]]).success();
        let mut copy = TestCluster::at(VERSION, &folder, &format!("copy-{number}-s"), &data);
        assert_eq!(copy.start_and_settle(), Settled::Open, "log:\n{}", copy.log());
        Ledger::assert(&copy, &ledger.all());
        copy.kill();
        std::fs::rename(&away, &lost).unwrap();
    }

    let backup = "A base backup taken now";
    flip(site.archived_segments().last().unwrap());
    site.pgv.run("pgv", &["verify"]).expect_code(5).expect_stderr(backup);
    std::fs::remove_file(site.tree().join("identity")).unwrap();
    let info = site.pgv.run("pgv", &["info"]).expect_code(5);
    assert!(info.to_string().contains("it is missing, so nothing of this cluster can be restored"), "{info}");
    assert!(info.stdout.contains(&backups[1]), "{info}");
    let verified = site.pgv.run("pgv", &["verify"]).expect_code(5);
    assert!(!verified.stderr.contains(backup) && verified.stderr.contains("put back from a copy"), "{verified}");
}
