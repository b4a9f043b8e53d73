//! `pgv check` of a real server and its repository: all is well, and each planted fault is named.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::support::{
    Outcome, PgVersion, SilentFileSystem, Site, SmallFileSystem, TestAccount, TestCluster, TestFolder, wait_until,
};

const VERSION: PgVersion = PgVersion::V15;

/// The answer as JSON; the status says the same as the answer.
fn check(site: &Site, options: &[&str]) -> Value {
    let switch: &[&str] = if options.contains(&"--no-switch") { &[] } else { &["--archive-timeout", "2s"] };
    let outcome = site.pgv.run("pgv", &[&["check", "--output", "json"], switch, options].concat());
    let answer: Value = serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}\n{outcome}"));
    let expected = i32::from(answer["state"] != "ok");
    outcome.expect_code(expected);
    answer
}

/// State and words of one line.
fn line<'a>(answer: &'a Value, name: &str) -> (&'a str, &'a str) {
    let items = answer["checks"].as_array().unwrap();
    let item = items.iter().find(|item| item["check"] == name).unwrap_or_else(|| panic!("no {name} in {answer:#}"));
    assert_eq!(item["advice"].is_null(), item["state"] == "ok", "{item}");
    (item["state"].as_str().unwrap(), item["found"].as_str().unwrap())
}

#[track_caller]
fn assert_line(answer: &Value, name: &str, state: &str, words: &[&str]) {
    let (found_state, found) = line(answer, name);
    let has_words = words.iter().all(|word| found.contains(word));
    assert!(found_state == state && has_words, "{name}: {found_state}: {found}; expected {state}: {words:?}");
}

/// What is not ok.
fn wrong(answer: &Value) -> Vec<&str> {
    let items = answer["checks"].as_array().unwrap().iter();
    items.filter(|item| item["state"] != "ok").map(|item| item["check"].as_str().unwrap()).collect()
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A site that lacks nothing but a backup.
fn sound_site(folder: &TestFolder) -> Site {
    let lines = ["fsync = on", "archive_timeout = 60s", "max_slot_wal_keep_size = 2MB"];
    let builder = TestCluster::builder(VERSION, folder).initdb("--wal-segsize=1");
    Site::of(lines.into_iter().fold(builder, |builder, line| builder.line(line)), folder)
}

fn command_of(site: &Site) -> String {
    format!("archive_command = '{}'", site.primary.query("SHOW archive_command"))
}

#[test]
fn faults_of_server_and_archive_are_named() {
    // Where there is room, however full the disk of the machine is.
    let folder = TestFolder::in_memory("check");
    let mut site = sound_site(&folder);
    let nothing_yet = check(&site, &[]);
    assert_line(&nothing_yet, "last_backup", "critical", &["there is no backup"]);
    assert_line(&nothing_yet, "archiving", "ok", &["arrived in"]);
    site.backup(&[]).success();

    let well = check(&site, &[]);
    assert_eq!((wrong(&well).len(), &well["state"]), (0, &Value::from("ok")), "{well:#}");
    assert_line(&well, "server", "ok", &["primary"]);
    assert_line(&well, "configuration", "ok", &["pgv.toml"]);
    let text = site.pgv.run("pgv", &["check"]).success();
    assert!(text.stdout.contains("checks are ok") && text.stdout.contains("  ok        last_backup "), "{text}");

    // Old backups, by the thresholds.
    assert_line(&check(&site, &["--no-switch", "--backup-warning", "1ms"]), "last_backup", "warning", &["ago"]);
    let old = check(&site, &["--no-switch", "--backup-warning", "1ms", "--backup-critical", "1ms"]);
    assert_line(&old, "last_backup", "critical", &["ago"]);
    let swapped = ["check", "--no-switch", "--backup-warning", "20d", "--backup-critical", "1d"];
    site.pgv.run("pgv", &swapped).success().expect_stderr("check.backup_warning (20 d) is more than");

    // Settings; one that waits for a restart.
    let command = command_of(&site);
    site.primary.configure(&["full_page_writes = off", "archive_command = 'cp %p /dev/null'", "max_wal_senders = 11"]);
    site.primary.reload();
    let settings = check(&site, &["--no-switch"]);
    let words = ["full_page_writes = 'off'", "archive_command = 'cp", "does not come to this repository"];
    assert_line(&settings, "settings", "critical", &words);
    assert_line(&settings, "settings", "critical", &["max_wal_senders was changed and waits for a restart"]);
    assert_eq!(wrong(&settings), ["settings"]);
    site.primary.configure(&["full_page_writes = on", "max_wal_senders = 10", &command]);
    site.primary.reload();

    // An archive_command that fails: told by the trial, by the archiver, and by what waits.
    let broken = command.replace("--config", "--config /nonexistent --log-level error --env-file");
    site.primary.configure(&[&broken]);
    site.primary.reload();
    let failing = check(&site, &[]);
    assert_line(&failing, "archiving", "critical", &["did not arrive within 2 s"]);
    assert_line(&failing, "pg_wal_room", "warning", &["free at"]);
    // The server counts a failure after its third try.
    let failed = || site.primary.query("SELECT last_failed_time > last_archived_time FROM pg_stat_archiver") == "t";
    wait_until("the server counts a failure", Duration::from_secs(20), failed);
    let counted = check(&site, &["--no-switch"]);
    assert_line(&counted, "archiver", "critical", &["it failed", "has archived nothing since"]);
    let status = site.primary.data.join("pg_wal/archive_status");
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    for entry in std::fs::read_dir(&status).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.extension().is_some_and(|extension| extension == "ready") {
            std::fs::File::options().write(true).open(&entry).unwrap().set_modified(hour_ago).unwrap();
        }
    }
    assert_line(&check(&site, &["--no-switch"]), "waiting_wal", "critical", &["wait", "for 1 h"]);
    site.primary.configure(&[&command]);
    site.primary.reload();
    // The trial itself shows that it works again; what was read before it says nothing of that.
    let outcome = site.pgv.run("pgv", &["check", "--output", "json", "--archive-timeout", "60s"]);
    let mended: Value = serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}\n{outcome}"));
    assert_line(&mended, "archiving", "ok", &["arrived in"]);
    assert_line(&mended, "waiting_wal", "ok", &["nothing waits"]);
    assert_line(&mended, "archiver", "ok", &["and works again"]);
    assert_eq!(mended["state"], "ok", "{mended:#}");

    // A slot whose WAL is gone.
    site.primary.query("SELECT pg_create_physical_replication_slot('forgotten', true)");
    for _ in 0..6 {
        site.primary.archive_all();
    }
    site.primary.query("CHECKPOINT");
    assert_line(&check(&site, &["--no-switch"]), "slots", "warning", &["\"forgotten\" has lost WAL"]);
    site.primary.query("SELECT pg_drop_replication_slot('forgotten')");

    // A role that may see little: unknown, with what it lacks.
    site.primary.query("CREATE ROLE curious LOGIN");
    let curious = check(&site, &["-U", "curious"]);
    assert_line(&curious, "waiting_wal", "unknown", &["may not see"]);
    assert_line(&curious, "archiving", "unknown", &["permission denied"]);

    // One that is made by what "pgv init" prints, and may do no more: all of it.
    let init = site.init(&["--output", "json"]);
    let init: Value = serde_json::from_str(&init.stdout).unwrap_or_else(|error| panic!("{error}\n{init}"));
    for statement in init["server"]["role_sql"].as_array().unwrap() {
        site.primary.query(statement.as_str().unwrap());
    }
    let proposed = check(&site, &["-U", "pgv"]);
    assert_eq!(wrong(&proposed), Vec::<&str>::new(), "{proposed:#}");
    assert_line(&proposed, "archiving", "ok", &["arrived in"]);

    // No server at all: the repository is looked at all the same.
    site.primary.stop();
    let stopped = check(&site, &[]);
    let unseen = ["settings", "archiving", "waiting_wal", "archiver", "pg_wal_room", "slots", "timeline"];
    assert_eq!(wrong(&stopped), [&["server"][..], &unseen].concat(), "{stopped:#}");
    unseen.iter().for_each(|name| assert_line(&stopped, name, "unknown", &[]));
    let plugin = site.pgv.run("pgv", &["check", "--nagios"]).expect_code(2);
    assert!(plugin.stdout.starts_with("PGV CRITICAL - server critical: "), "{plugin}");
    assert_eq!(plugin.stdout.lines().count(), 1, "{plugin}");
}

#[test]
fn faults_of_the_repository_are_named() {
    // Where there is room, however full the disk of the machine is.
    let folder = TestFolder::in_memory("check");
    let site = sound_site(&folder);
    for _ in 0..2 {
        site.backup(&[]).success();
        for _ in 0..3 {
            site.primary.archive_all();
        }
    }
    let looked = || check(&site, &["--no-switch"]);
    assert_eq!(looked()["state"], "ok", "{:#}", looked());

    // Who may read and write it.
    for (bits, state) in [(0o755, "warning"), (0o777, "critical"), (0o750, "ok")] {
        mode(&site.pgv.repository, bits);
        assert_line(&looked(), "repository", state, &[&format!("mode 0{bits:o}")]);
    }
    mode(&site.pgv.repository, 0o700);
    let tree = site.tree();
    let newest = segments(&site).pop().unwrap();
    let newest = newest.parent().unwrap();
    let changed = [(tree.parent().unwrap(), 0o777), (&tree.join("wal"), 0o777), (&tree.join("backups"), 0o770)];
    for (path, bits) in changed.into_iter().chain([(newest, 0o500), (&site.pgv.repository.join(".staging"), 0o500)]) {
        mode(path, bits);
        assert_line(&looked(), "repository", "critical", &[&format!("\"{}\" has mode 0{bits:o}", path.display())]);
        mode(path, 0o700);
    }
    let link = folder.join("link");
    std::os::unix::fs::symlink(&site.pgv.repository, &link).unwrap();
    let behind_link = check(&site, &["--no-switch", "--repo", link.to_str().unwrap()]);
    assert_line(&behind_link, "repository", "ok", &["mode 0700"]);

    // A hole behind each backup: told, and the worse the newer the backup.
    let mut segments = segments(&site);
    let last = segments.pop().unwrap();
    let hidden = folder.join("hidden");
    let backups = site.backups();
    let lost = &segments[segments.len() - 1];
    std::fs::rename(lost, &hidden).unwrap();
    assert_line(&looked(), "holes", "critical", &["missing: ", lost.file_name().unwrap().to_str().unwrap()]);
    std::fs::rename(&hidden, lost).unwrap();
    // Between the first backup's end and the second one's beginning.
    let names: Vec<&str> = segments.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    let info = site.pgv.run("pgv", &["info", "--output", "json"]).success();
    let info: Value = serde_json::from_str(&info.stdout).unwrap();
    let second = info["clusters"][0]["trees"][0]["backups"][1]["start_lsn"].as_str().unwrap();
    let second = site.primary.query(&format!("SELECT pg_walfile_name('{second}')"));
    let number = names.iter().position(|name| *name == second).unwrap();
    let between = &segments[number - 1];
    std::fs::rename(between, &hidden).unwrap();
    assert_line(&looked(), "holes", "warning", &["missing: ", names[number - 1]]);
    std::fs::rename(&hidden, between).unwrap();

    // WAL of a timeline that this server never was on, and without a history.
    let stray = site.tree().join("wal/00000002/0000000200000000");
    std::fs::create_dir_all(&stray).unwrap();
    let name = last.file_name().unwrap().to_str().unwrap().replacen("00000001", "00000002", 1);
    std::fs::copy(&last, stray.join(&name)).unwrap();
    for path in [stray.parent().unwrap(), &stray, &stray.join(&name)] {
        TestAccount::get().take_over(path);
    }
    let told = looked();
    assert_line(&told, "history", "critical", &["00000002.history is not archived"]);
    assert_line(&told, "timeline", "critical", &["the server is on timeline 1, the archive has timeline 2"]);
    std::fs::remove_dir_all(site.tree().join("wal/00000002")).unwrap();

    // A record that cannot be read.
    let record = site.tree().join("backups").join(&backups[1]).join("record");
    let whole = std::fs::read(&record).unwrap();
    let mut damaged = whole.clone();
    damaged[300] ^= 1;
    std::fs::write(&record, damaged).unwrap();
    assert_line(&looked(), "catalog", "critical", &[&backups[1]]);
    std::fs::write(&record, whole).unwrap();

    // A pack of the newest backup that is gone, and one that was cut.
    let pack = site.tree().join("packs").join(&backups[1]).join("00000000");
    std::fs::rename(&pack, &hidden).unwrap();
    let name = format!("{}/00000000", backups[1]);
    for _ in 0..2 {
        let told = looked();
        assert_line(&told, "last_backup", "critical", &[&backups[0], &backups[1], "newer, lacks pack", &name]);
        assert_line(&told, "catalog", "critical", &[&backups[1], &name]);
        std::fs::write(&pack, [0; 4096]).unwrap();
        TestAccount::get().take_over(&pack);
    }
    std::fs::rename(&hidden, &pack).unwrap();

    // Numbers for monitoring: readable for the collector's account, replaced as a whole.
    let metrics = folder.join("pgv.prom");
    let plugin = ["check", "--no-switch", "--nagios", "--metrics", metrics.to_str().unwrap()];
    let well = site.pgv.run("pgv", &plugin).success();
    assert!(well.stdout.starts_with("PGV OK - ") && well.stdout.contains(" | pgv_check_time_seconds="), "{well}");
    assert_eq!(std::fs::metadata(&metrics).unwrap().permissions().mode() & 0o777, 0o644);
    let text = std::fs::read_to_string(&metrics).unwrap();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(series.contains("{cluster=\"main\",system_identifier=\"") && value.parse::<u64>().is_ok(), "{line}");
    }
    assert!(text.contains(",check=\"last_backup\"} 0\n") && text.contains("# TYPE pgv_check_status gauge\n"), "{text}");

    // An archive that hangs: told in time, and the rest as ever.
    site.primary.configure(&["archive_command = 'false'"]);
    site.primary.reload();
    let (wal, away) = (site.tree().join("wal"), folder.join("wal-away"));
    std::fs::rename(&wal, &away).unwrap();
    let silent = SilentFileSystem::mount(&folder, wal.strip_prefix(folder.path()).unwrap().to_str().unwrap());
    let hanging = check(&site, &["--stall-timeout", "2s"]);
    let silence = "the repository does not answer: nothing moved for 2s while reading";
    assert_line(&hanging, "archiving", "unknown", &[silence]);
    assert_line(&hanging, "repository", "critical", &[silence]);
    assert_line(&hanging, "repository_room", "ok", &["free at"]);
    assert_line(&hanging, "server", "ok", &["primary"]);
    drop(silent);
    std::fs::remove_dir(&wal).unwrap();
    std::fs::rename(&away, &wal).unwrap();

    // Of a plugin, every failure is 3: a wrong option, a configuration that is not there.
    let usage = site.pgv.run("pgv", &["check", "--nagios", "--nonsense"]).expect_code(3);
    assert!(usage.stdout.starts_with("PGV UNKNOWN - "), "{usage}");
    site.pgv.run("pgv", &["check", "--nonsense"]).expect_code(2);

    // No repository.
    std::fs::rename(&site.pgv.repository, folder.join("elsewhere")).unwrap();
    let gone = looked();
    assert_line(&gone, "repository", "critical", &["there is no repository at"]);
    // As every program says it.
    let advice = gone["checks"].as_array().unwrap().iter().find(|item| item["check"] == "repository").unwrap();
    assert!(advice["advice"].as_str().unwrap().contains("A new repository is created by \"pgv init\""), "{advice}");
    for name in ["repository_room", "archiving", "last_backup", "catalog", "holes", "history", "timeline"] {
        assert_line(&gone, name, "unknown", &[]);
    }
    site.pgv.run("pgv", &["check", "--no-switch", "--nagios"]).expect_code(2);
}

/// Rooms: of the repository, and of pg_wal.
#[test]
fn file_systems_that_fill_up_are_named() {
    let folder = TestFolder::new("check");
    let for_wal = SmallFileSystem::mount(&folder, "wal", 96 << 20);
    let for_repository = SmallFileSystem::mount(&folder, "store", 96 << 20);
    let wal = for_wal.path().join("pg_wal");
    let builder = TestCluster::builder(VERSION, &folder).initdb("--wal-segsize=1");
    let primary = builder
        .initdb(&format!("--waldir={}", wal.display()))
        .line("archive_mode = on")
        .line("fsync = on")
        .line("archive_timeout = 60s")
        .start();
    let mut pgv = crate::support::Pgv::new(&folder);
    pgv.repository = for_repository.path().join("repository");
    let site = Site { pgv, primary };
    let printed = site.init(&[]).success();
    let line_of = |printed: &Outcome| {
        printed.stdout.lines().map(str::trim).find(|line| line.starts_with("archive_command = ")).unwrap().to_owned()
    };
    site.primary.configure(&[&line_of(&printed)]);
    site.primary.reload();
    site.backup(&[]).success();
    assert_eq!(check(&site, &[])["state"], "ok");

    let fill = |below: &Path, leave: u64| {
        let filler = below.join("filler");
        let room = rustix::fs::statvfs(below).unwrap();
        let bytes = (room.f_bavail * room.f_frsize).saturating_sub(leave);
        std::fs::write(&filler, vec![1; usize::try_from(bytes).unwrap()]).unwrap();
        filler
    };
    let filler = fill(for_wal.path(), 3 << 20);
    assert_line(&check(&site, &["--no-switch"]), "pg_wal_room", "warning", &["MiB free at"]);
    std::fs::remove_file(filler).unwrap();
    let filler = fill(for_repository.path(), 1 << 20);
    let full = check(&site, &["--no-switch"]);
    assert_line(&full, "repository_room", "critical", &["free at"]);
    std::fs::remove_file(filler).unwrap();
    for_repository.set_read_only(true);
    let read_only = check(&site, &["--no-switch"]);
    for_repository.set_read_only(false);
    assert_line(&read_only, "repository_room", "critical", &["cannot be written to"]);
}

/// The archived segments of the first timeline, in order.
fn segments(site: &Site) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in std::fs::read_dir(site.tree().join("wal/00000001")).unwrap() {
        let entries = std::fs::read_dir(folder.unwrap().path()).unwrap().map(|entry| entry.unwrap().path());
        found.extend(entries.filter(|path| path.file_name().unwrap().len() == 24));
    }
    found.sort();
    found
}

/// A server that crashed between the end of its recovery and recovery_end_command keeps its target.
#[test]
fn a_left_over_target_is_named_until_it_is_cleared() {
    let folder = TestFolder::in_memory("check-target");
    let mut site = sound_site(&folder);
    let data = site.primary.data.display().to_string();
    site.backup(&[]).success();
    for line in ["recovery_target_lsn = '0/500'", "recovery_target_timeline = '1'"] {
        site.primary.query(&format!("ALTER SYSTEM SET {line}"));
    }
    site.primary.stop();
    site.primary.start();
    let left = check(&site, &["--no-switch"]);
    let words = ["recovery_target_lsn = '0/500' is left over", "recovery_target_timeline = '1'"];
    assert_line(&left, "settings", "critical", &words);
    assert_eq!(wrong(&left), ["settings"]);
    let advice = left["checks"].as_array().unwrap().iter().find(|item| item["check"] == "settings").unwrap();
    assert!(advice["advice"].as_str().unwrap().ends_with(&format!("--clear -D {data}")), "{advice}");
    site.backup(&[]).success().expect_stderr("recovery_target_lsn = '0/500' is left over in");
    site.pgv.run("pgv-recovery-conf", &["--clear", "-D", &data]).success();
    // The server still has what it was started with; what matters is what is read next.
    assert_eq!(site.primary.query("SHOW recovery_target_lsn"), "0/500");
    assert_line(&check(&site, &["--no-switch"]), "settings", "ok", &[]);
    assert!(!site.backup(&[]).success().stderr.contains("left over"));
}
