//! Restores that must not happen or that are killed, with real servers: nothing is touched, and nothing half restored
//! ever starts.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::support::crash::tree_of;
use crate::support::{
    Ledger, Outcome, PgVersion, Scene, Settled, Site, TestAccount, TestCluster, TestFolder, run, run_within, wait_until,
};

const MARKER: &str = "pgv-restore.incomplete";

/// How many files there are in a directory and below it.
fn files_in(directory: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    entries.map_while(Result::ok).map(|entry| if entry.path().is_dir() { files_in(&entry.path()) } else { 1 }).sum()
}

/// Tries to start a server in a directory, and says whether it did.
fn starts(folder: &TestFolder, name: &str, data: &Path) -> bool {
    let mut server = TestCluster::at(PgVersion::V15, folder, name, data);
    match server.start_and_settle() {
        Settled::Ended(status) => {
            assert!(!status.success());
            false
        }
        Settled::Open | Settled::Paused => true,
    }
}

/// Each restore goes over what the killed one before it left, tablespaces and all. (`restore_ended` kills from an empty
/// directory, at finer steps, while somebody tries to start it all the time.)
#[test]
fn restores_over_what_killed_ones_left_never_start_and_the_last_is_whole() {
    let folder = TestFolder::new("restore-kill");
    let mut site = Site::new(PgVersion::V15, &folder);
    site.primary.create_tablespace(&folder, "extra");
    site.primary.query("CREATE TABLE in_extra TABLESPACE extra AS SELECT generate_series(1, 20000) AS i");
    let (ledger, _) = site.with_history();
    site.primary.stop();
    let whole = folder.join("whole");
    let spaces = folder.make("whole-spaces").display().to_string();
    site.restore(&whole, &["--tablespace-dir", &spaces]).success();
    let count = files_in(&whole);
    assert!(count > 500);

    let (mut round, mut killed) = (0, 0);
    let (mut data, mut spaces) = (folder.join("data-0"), folder.make("spaces-0").display().to_string());
    for tenths in 0..10 {
        // Killed once about that many files are there, of which the marker is one.
        let files = 1 + count * tenths / 10;
        kill_once(&site, &data, &spaces, files);
        if data.join("global/pg_control").exists() {
            // It was faster: the next one begins in a place of its own.
            round += 1;
            data = folder.join(format!("data-{round}"));
            spaces = folder.make(format!("spaces-{round}")).display().to_string();
            continue;
        }
        killed += 1;
        assert!(!starts(&folder, &format!("killed-{tenths}"), &data), "started after {files} files");
    }
    assert!(killed >= 3, "killed {killed} times only");
    site.restore(&data, &["--tablespace-dir", &spaces]).success();
    let mut copy = TestCluster::at(PgVersion::V15, &folder, "copy", &data);
    assert_eq!(copy.start_and_settle(), Settled::Open, "log:\n{}", copy.log());
    Ledger::assert(&copy, &ledger.all());
    assert_eq!(copy.query("SELECT count(*) FROM in_extra"), "20000");
    assert!(!data.join(MARKER).exists());
}

/// Which file the marker is now: every restore writes its own.
fn marker_inode(data: &Path) -> Option<u64> {
    std::fs::metadata(data.join(MARKER)).ok().map(|metadata| metadata.ino())
}

/// Begins a restore, and kills it when so many files are there; it may end before.
#[track_caller]
fn kill_once(site: &Site, data: &Path, spaces: &str, files: usize) {
    let before = marker_inode(data);
    let text = data.display().to_string();
    let mut command = site.pgv.command("pgv-restore", &["-D", &text, "--tablespace-dir", spaces]);
    let mut restore = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("a restore has come to where it is killed", Duration::from_secs(60), || {
        let has_begun = marker_inode(data).is_some_and(|now| Some(now) != before);
        has_begun && files_in(data) >= files || restore.try_wait().unwrap().is_some()
    });
    restore.kill().unwrap();
    restore.wait().unwrap();
    assert!(data.join(MARKER).exists() || data.join("global/pg_control").exists());
}

/// A refusal that names what it is about and leaves everything as it is.
#[track_caller]
fn refused(outcome: Outcome, words: &str) {
    assert_eq!(outcome.status.code(), Some(3), "{outcome}");
    assert!(outcome.stderr.contains(words), "{outcome}");
}

#[test]
fn unsafe_and_unreachable_restores_are_refused_before_anything_is_touched() {
    let folder = TestFolder::new("restore-refused");
    let site = Site::new(PgVersion::V15, &folder);
    let before_all = site.primary.now();
    let (_, middle) = site.with_history();
    let data = folder.join("new");

    // Over what runs, what is somebody's, what is the repository.
    for options in [&[][..], &["--move-aside"]] {
        refused(site.restore(&site.primary.data, options), "runs in");
        refused(site.restore(&site.pgv.repository.join("new"), options), "it lies in");
        refused(site.restore(&site.primary.data.join("base"), options), "it lies in");
        refused(site.restore(Path::new("/usr/lib/postgresql"), options), "belongs to user id");
        refused(site.restore(Path::new("/usr/new"), options), "not writable");
        refused(site.restore(Path::new("/etc"), options), "directory of the system");
        refused(site.restore(Path::new(&TestAccount::get().name), options), "above it");
    }
    assert_eq!(site.primary.query("SELECT count(*) FROM ledger"), "9");

    // Where no restore can lead.
    refused(site.restore(&data, &["--target-time", &before_all.text]), "before the end of");
    refused(site.restore(&data, &["--target-lsn", "0/10"]), "before the end of");
    refused(site.restore(&data, &["--target-lsn", "F/0"]), "after the end of the archive");
    refused(site.restore(&data, &["--target-timeline", "7"]), "timeline 7 is not in the archive");
    let no_offset = site.restore(&data, &["--target-time", "2026-11-20 14:30:00"]);
    assert_eq!(no_offset.status.code(), Some(2), "{no_offset}");
    assert!(no_offset.stderr.contains("--target-time '2026-11-20 14:30:00.000000+00'"), "{no_offset}");
    let two = site.restore(&data, &["--target-time", &middle.text, "--target-immediate"]);
    assert_eq!(two.status.code(), Some(2), "{two}");
    let unknown = site.restore(&data, &["--backup", "20200101T000000Z-00000000"]);
    assert_eq!(unknown.status.code(), Some(1), "{unknown}");
    let archiving = site.restore(&data, &["--keep-archiving"]);
    refused(archiving, "still answers as a primary");
    // Wherever it is asked for, it is seen in its directory.
    let elsewhere = site.restore(&data, &["--keep-archiving", "-h", "127.0.0.1", "-p", "1"]);
    refused(elsewhere, &format!("still answers as a primary at \"{}\"", site.primary.data.display()));

    // A hole between the backup and its end, and one behind it.
    site.restore(&data, &["--target-time", &middle.text, "--dry-run"]).success();
    let mut segments = site.archived_segments();
    let last = segments.pop().unwrap();
    let hidden = segments.pop().unwrap();
    let aside = folder.join("aside");
    std::fs::rename(&hidden, &aside).unwrap();
    let outcome = site.restore(&data, &[]);
    assert!(last.exists());
    refused(outcome, "segment");
    std::fs::rename(&aside, &hidden).unwrap();
    site.restore(&data, &["--dry-run"]).success();
    assert!(!data.exists(), "a refusal or a dry run touched the directory");
}

/// pgv-restore where the processes of the server cannot be seen.
fn restore_apart(site: &Site, options: &[&str]) -> Outcome {
    let command = site.pgv.command("pgv-restore", options);
    let mut apart = std::process::Command::new("/usr/bin/unshare");
    let account = TestAccount::get();
    apart.env_clear().args(["--pid", "--fork", "--mount-proc", "--", "/usr/bin/setpriv", "--keep-groups"]);
    apart.arg(format!("--reuid={}", account.uid)).arg(format!("--regid={}", account.gid));
    apart.arg("--").arg(command.get_program()).args(command.get_args());
    apart.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?)))).current_dir("/");
    run_within(Duration::from_secs(60), apart)
}

/// A server in a container with the directory has another process number there; one whose `postmaster.pid` a person
/// removed has none at all.
#[test]
fn a_server_that_its_pid_file_does_not_lead_to_is_found_all_the_same() {
    let folder = TestFolder::new("safety-hidden");
    let site = Site::new(PgVersion::V15, &folder);
    site.backup(&[]).success();
    let data = site.primary.data.display().to_string();
    let refused = |outcome: Outcome| drop(outcome.expect_code(3).expect_stderr("a server (process"));
    for option in ["--delta", "--move-aside"] {
        refused(restore_apart(&site, &["-D", &data, option]));
    }
    let other = folder.join("other").display().to_string();
    let old = restore_apart(&site, &["-D", &other, "--wal-from", &data]);
    old.expect_code(3).expect_stderr("a server runs in");
    // Its socket cannot be seen either, as with a /run of its own: what is left is a guess, and told as one.
    let lock = site.primary.socket_folder.join(format!(".s.PGSQL.{}.lock", site.primary.port));
    let hidden = folder.join("hidden.lock");
    std::fs::rename(&lock, &hidden).unwrap();
    let told = restore_apart(&site, &["-D", &data, "--move-aside", "--target-immediate", "--dry-run"]);
    std::fs::rename(&hidden, &lock).unwrap();
    told.success().expect_stderr("which is not seen here, and its server was not shut down");
    std::fs::remove_file(site.primary.data.join("postmaster.pid")).unwrap();
    for option in ["--delta", "--move-aside"] {
        refused(site.restore(&site.primary.data, &[option]));
    }
    assert!(site.primary.data.join("global/pg_control").exists());
}

/// A restore that is killed in its last moment leaves its marker in a cluster that is whole and lives on.
#[test]
fn a_marker_that_was_left_behind_costs_neither_backups_nor_data() {
    let folder = TestFolder::new("restore-left-marker");
    let builder = TestCluster::builder(PgVersion::V15, &folder).initdb("--wal-segsize=1");
    let mut site = Site::of(builder.line("wal_keep_size = '64MB'"), &folder);
    let mut ledger = Ledger::create(&site.primary);
    site.backup(&[]).success();
    let data = site.primary.data.clone();
    let identifier = site.primary.query("SELECT system_identifier FROM pg_control_system()");
    let marker = format!(
        "{{\"restore\":\"x\",\"system_identifier\":\"{identifier}\",\"backup\":\"{}\",\"data_directory\":\"{}\"}}",
        site.backups()[0],
        data.display()
    );
    folder.write(data.join(MARKER), marker);
    for method in ["direct", "stream"] {
        ledger.commit(&site.primary);
        site.backup(&["--method", method]).success();
        let restored = folder.join(method);
        site.restore(&restored, &["--target-immediate"]).success();
        assert!(!restored.join(MARKER).exists(), "{method}");
        let mut copy = TestCluster::at(PgVersion::V15, &folder, method, &restored);
        assert_eq!(copy.start_and_settle(), Settled::Paused, "log:\n{}", copy.log());
        copy.kill();
    }
    // Its server writes what nobody archives; then the directory loses its control file.
    site.primary.configure(&["archive_command = 'false'"]);
    site.primary.reload();
    ledger.commit_many(&site.primary, 3);
    site.primary.kill();
    refused(site.restore(&data, &["--target-immediate"]), "the pgv-restore.incomplete in it may be removed");
    std::fs::remove_file(data.join("global/pg_control")).unwrap();
    let before = tree_of(&data);
    let outcome = site.restore(&data, &["--target-immediate"]);
    assert!(outcome.stderr.contains("--move-aside"), "{outcome}");
    refused(outcome, "a server was started in it since its restore");
    refused(site.restore(&data, &["--target-immediate", "--resume"]), "a server was started in it since its restore");
    assert!(tree_of(&data) == before);
    // Without any trace of the server there is still its WAL.
    std::fs::remove_file(data.join("postmaster.opts")).unwrap();
    let before = tree_of(&data);
    let outcome = site.restore(&data, &["--target-immediate"]);
    assert!(outcome.stderr.contains("It would be deleted."), "{outcome}");
    refused(outcome, "holds 3 commits after the end of the archive");
    assert!(tree_of(&data) == before);
    site.restore(&data, &["--target-immediate", "--archive-only"]).success();
    assert!(data.join("global/pg_control").exists() && !data.join(MARKER).exists());
}

/// The links of a copy that cp made lead to the tablespaces of its original.
#[test]
fn the_tablespaces_of_a_stopped_original_are_not_taken_for_those_of_a_copy() {
    let mut scene = Scene::new(PgVersion::V15, "restore-theirs");
    let space = scene.site.primary.create_tablespace(&scene.folder, "extra");
    scene.site.primary.query("CREATE TABLE in_extra TABLESPACE extra AS SELECT generate_series(1, 20000) AS i");
    scene.commit(2);
    scene.site.backup(&[]).success();
    scene.commit(2);
    scene.site.primary.query("DELETE FROM in_extra WHERE i > 100");
    scene.site.primary.query("VACUUM FULL in_extra");
    scene.site.primary.archive_all();
    scene.site.primary.stop();
    let (data, clone) = (scene.site.primary.data.clone(), scene.folder.join("clone"));
    let mut copy = TestAccount::get().command("cp");
    copy.env_clear().env("PATH", "/usr/bin:/bin").current_dir("/").arg("-a").arg(&data).arg(&clone);
    run(copy).success();
    let before = [&data, &space, &clone].map(|path| tree_of(path));
    let oid = scene.site.primary.data.join("pg_tblspc").read_dir().unwrap().next().unwrap().unwrap().file_name();
    let link = format!("it is a tablespace of the data directory \"{}\" (pg_tblspc/{})", data.display(), oid.display());
    let fresh = scene.folder.join("fresh");
    let rows: &[(&Path, &[&str], &str)] = &[
        (&clone, &["--delta"], &link),
        (&clone, &["--delta", "--target-immediate"], &link),
        (&clone, &["--move-aside"], &link),
        (&fresh, &["--move-aside"], "it is a tablespace of the data directory"),
        (&fresh, &[], "it is not empty"),
    ];
    // By the configuration, and once that names another one, by the backup.
    for pgdata in [&data, &clone] {
        scene.configure_pgdata(pgdata);
        for (place, options, words) in rows {
            let refused = scene.site.restore(place, &[options, &["--archive-only"][..]].concat());
            refused.expect_code(3).expect_stderr(words).expect_stderr(&format!("\"{}\" cannot", space.display()));
        }
        let refused = scene.site.restore(&clone, &["--delta", "--archive-only"]);
        refused.expect_stderr("--tablespace-mapping OLD=NEW").expect_stderr("remove its link");
    }
    assert!(before == [&data, &space, &clone].map(|path| tree_of(path)) && !fresh.exists());
    scene.configure_pgdata(&data);

    // Elsewhere they are the copy's own, and stay so.
    let spaces = scene.folder.make("clone-spaces").display().to_string();
    let rows_of = |server: &TestCluster| server.query("SELECT count(*) FROM in_extra");
    for options in [["--delta", "--archive-only"], ["--delta", "--archive-only"], ["--move-aside", "--archive-only"]] {
        scene.site.restore(&clone, &[&options[..], &["--tablespace-dir", &spaces]].concat()).success();
        assert!(before[..2] == [&data, &space].map(|path| tree_of(path)));
        let mut copy = TestCluster::at(PgVersion::V15, &scene.folder, "clone-server", &clone);
        assert_eq!(copy.start_and_settle(), Settled::Open, "log:\n{}", copy.log());
        Ledger::assert(&copy, &scene.ledger.all());
        assert_eq!(rows_of(&copy), "100");
        copy.stop();
    }
    assert!(before[..2] == [&data, &space].map(|path| tree_of(path)));

    // In the original's own directory they are its own.
    let target = ["--target-immediate", "--archive-only", "--target-action", "promote"];
    for options in [&["--delta"][..], &["--move-aside"]] {
        scene.site.restore(&data, &[options, &target].concat()).success();
        assert_eq!(scene.site.primary.start_and_settle(), Settled::Open, "log:\n{}", scene.site.primary.log());
        assert_eq!(rows_of(&scene.site.primary), "20000");
        scene.site.primary.stop();
    }
    // Of one that is gone, or whose link is, nothing is kept.
    std::fs::remove_file(data.join("pg_tblspc").join(&oid)).unwrap();
    scene.site.restore(&fresh, &[&["--move-aside"][..], &target].concat()).success();
    assert!(starts(&scene.folder, "fresh-server", &fresh));
}
