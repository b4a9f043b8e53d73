//! pgv-basebackup and a repository that is full, gone, read-only, newer, or another account's: nothing is listed, it says
//! so, and what to do.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::support::{
    Outcome, PgVersion, Pgv, Site, SmallFileSystem, TestAccount, TestCluster, TestFolder, wait_until,
};

const PATIENCE: Duration = Duration::from_secs(60);
const LISTED: &str = "Nothing of this backup is listed.";

/// A site whose repository lies on a small file system.
fn small_site(folder: &TestFolder) -> (Site, SmallFileSystem) {
    let small = SmallFileSystem::mount(folder, "small", 64 << 20);
    let builder = TestCluster::builder(PgVersion::V15, folder).initdb("--wal-segsize=1").line("archive_mode = on");
    let pgv = Pgv { config: folder.join("pgv.toml"), repository: small.path().join("repository") };
    let site = Site { pgv, primary: builder.start() };
    let printed = site.init(&[]).success();
    let line = printed.stdout.lines().map(str::trim).find(|line| line.starts_with("archive_command = ")).unwrap();
    site.primary.configure(&[line]);
    site.primary.reload();
    (site, small)
}

/// A backup that has begun to store data, and takes some seconds more.
fn slow_backup(site: &Site, method: &str) -> Child {
    let options = ["--checkpoint", "fast", "--max-rate", "4MB", "--method", method];
    let mut command = site.pgv.command("pgv-basebackup", &options);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let running = "SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'walsender' \
                   OR query = 'SELECT timeline_id FROM pg_control_checkpoint()'";
    let staging = site.pgv.repository.join(".staging");
    wait_until("data is stored", PATIENCE, || {
        site.primary.query(running) == "t" && fs::read_dir(&staging).is_ok_and(|mut names| names.next().is_some())
    });
    child
}

#[track_caller]
fn ended(child: Child, code: i32, words: &[&str]) {
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    for words in words {
        assert!(stderr.contains(words), "{words}\n{stderr}");
    }
}

/// The disk of the repository becomes full, or it is unmounted, while data is stored.
#[test]
fn a_repository_that_is_lost_on_the_way_leaves_nothing_listed() {
    let folder = TestFolder::new("backup-lost");
    let (site, small) = small_site(&folder);
    let away = small.path().join("away");
    for method in ["stream", "direct"] {
        let child = slow_backup(&site, method);
        let filler = small.fill("filler");
        ended(child, 4, &["No space left on device", "shows the room that is left", "\"pgv expire\" shows", LISTED]);
        fs::remove_file(&filler).unwrap();
        let child = slow_backup(&site, method);
        fs::rename(&site.pgv.repository, &away).unwrap();
        ended(child, 4, &["Is its file system mounted?", LISTED]);
        fs::rename(&away, &site.pgv.repository).unwrap();
        assert_eq!(site.backups(), [""; 0]);
    }
    // Those that met the full disk could leave word that they ended, and go; the others may be running for all one knows.
    let begun = || {
        let trees = fs::read_dir(site.pgv.repository.join("main")).unwrap().map(|tree| tree.unwrap().path());
        let backups = trees.filter_map(|tree| fs::read_dir(tree.join("backups")).ok()).flatten();
        let backups: Vec<PathBuf> = backups.map(|backup| backup.unwrap().path()).collect();
        let given_up = backups.iter().filter(|backup| backup.join("suspect").exists()).count();
        (given_up, backups.len())
    };
    assert_eq!(begun(), (2, 4));
    let info = site.pgv.run("pgv", &["info"]).success().stdout;
    for state in [": given up; begun on ", ": not finished; begun on "] {
        assert_eq!(info.matches(state).count(), 2, "{state}\n{info}");
    }
    site.backup(&[]).success();
    site.pgv.run("pgv", &["expire", "--keep", "1", "--apply"]).success();
    assert_eq!(begun(), (0, 3));
}

/// Rows: how it is before a backup begins, the status, words.
#[test]
fn a_repository_that_cannot_take_a_backup_is_told_with_what_to_do() {
    type Change = fn(&Site, &SmallFileSystem, bool);
    let folder = TestFolder::new("backup-refused");
    let (site, small) = small_site(&folder);
    site.backup(&[]).success();
    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let rows: [(&str, Change, i32, &str, &str); 5] = [
        (
            "unmounted",
            |site, small, undo| {
                let (from, to) = (site.pgv.repository.clone(), small.path().join("away"));
                if undo { fs::rename(to, from).unwrap() } else { fs::rename(from, to).unwrap() }
            },
            4,
            "there is no repository at",
            "Is its file system mounted?",
        ),
        ("read-only", |_, small, undo| small.set_read_only(!undo), 4, "ead-only file system", "is mounted read-only"),
        (
            "not to be written",
            |site, _, undo| mode(&site.pgv.repository.join(".staging"), if undo { 0o700 } else { 0o500 }),
            4,
            "ermission denied",
            "chmod u+rwX",
        ),
        (
            "not to be read",
            |site, _, undo| mode(&site.pgv.repository, if undo { 0o700 } else { 0o000 }),
            4,
            "ermission denied",
            "chmod u+rwX",
        ),
        (
            "newer",
            |site, small, undo| {
                let (path, kept) = (site.pgv.repository.join("repository.json"), small.path().join("kept"));
                if undo {
                    fs::rename(kept, path).unwrap();
                } else {
                    fs::rename(&path, kept).unwrap();
                    fs::write(path, r#"{"format": 2}"#).unwrap();
                    TestAccount::get().take_over(&site.pgv.repository.join("repository.json"));
                }
            },
            3,
            "newer",
            "Install the version of pgv that wrote it",
        ),
    ];
    for (name, change, code, words, hint) in rows {
        change(&site, &small, false);
        let outcomes: Vec<Outcome> = ["stream", "direct"].map(|method| site.backup(&["--method", method])).into();
        change(&site, &small, true);
        for outcome in outcomes {
            assert_eq!(outcome.code(), code, "{name}: {outcome}");
            assert!(outcome.stderr.contains(words) && outcome.stderr.contains(hint), "{name}: {outcome}");
        }
    }
    assert_eq!(site.backups().len(), 1);
}
