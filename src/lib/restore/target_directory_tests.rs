//! Directories that may and may not be restored into (failures.md B55), one row each.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::apart::Neighbour;
use super::error::RestoreError;
use super::marker::{MARKER, Marker, killed_restore};
use super::target_directory::{
    DirectoryAction, DirectoryCheck, DirectoryRole, InTheWay, absolute, is_cleared, may_be_emptied,
};
use super::testing;
use crate::pg::SystemIdentifier;

/// Directories of one test; every one of them is canonical.
struct Scene {
    _temp: tempfile::TempDir,
    root: PathBuf,
}

fn ours() -> SystemIdentifier {
    SystemIdentifier::new(7_000_000_000_000_000_001).unwrap()
}

impl Scene {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(temp.path()).unwrap();
        for folder in ["repository/main", "home", "empty", "new-file-system/lost+found", "outer/base", "full/stuff"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        std::fs::write(root.join("outer/PG_VERSION"), "15\n").unwrap();
        std::fs::write(root.join("file"), "").unwrap();
        symlink(root.join("empty"), root.join("link")).unwrap();
        symlink(root.join("nowhere"), root.join("dangling")).unwrap();
        Self { _temp: temp, root }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// A data directory with these files.
    fn with(&self, name: &str, files: &[(&str, &[u8])]) -> PathBuf {
        let path = self.at(name);
        for (file, content) in files {
            std::fs::create_dir_all(path.join(file).parent().unwrap()).unwrap();
            std::fs::write(path.join(file), content).unwrap();
        }
        path
    }

    fn decide(&self, path: &Path, move_aside: bool, role: DirectoryRole<'_>) -> Result<DirectoryAction, RestoreError> {
        let (repository, home) = (self.at("repository"), self.at("home"));
        let path = absolute(path, &self.root);
        let check = DirectoryCheck {
            path: &path,
            system_identifier: ours(),
            apart_from: &[Neighbour::new(&repository, "the repository")],
            backup: testing::id(1),
            in_the_way: if move_aside { InTheWay::MoveAside } else { InTheWay::Refuse },
            home: Some(&home),
            role,
        };
        check.decide()
    }

    /// The action or the text of the refusal, without and with `--move-aside`.
    fn both(&self, path: &Path) -> [Result<DirectoryAction, String>; 2] {
        [false, true]
            .map(|move_aside| self.decide(path, move_aside, DirectoryRole::Data).map_err(|error| error.to_string()))
    }

    #[track_caller]
    fn refuses(&self, path: impl AsRef<Path>, words: &str) {
        for (found, flag) in self.both(path.as_ref()).into_iter().zip(["", " --move-aside"]) {
            let text = found.expect_err(&format!("{}{flag} is accepted", path.as_ref().display()));
            assert!(text.contains(words), "{}{flag}: {text}", path.as_ref().display());
        }
    }
}

fn control_file(system_identifier: u64) -> Vec<u8> {
    testing::control_file(SystemIdentifier::new(system_identifier).unwrap())
}

fn marker(restore: &str, data_directory: &Path) -> Marker {
    Marker {
        restore: restore.to_owned(),
        system_identifier: ours(),
        backup: testing::id(1),
        data_directory: data_directory.to_owned(),
        had_content: false,
    }
}

fn marker_text(restore: &str, data_directory: &Path) -> Vec<u8> {
    serde_json::to_vec(&marker(restore, data_directory)).unwrap()
}

#[test]
fn what_is_empty_absent_or_new_is_filled() {
    let scene = Scene::new();
    for (name, action) in [
        ("empty", DirectoryAction::Fill),
        ("absent", DirectoryAction::Create),
        ("new-file-system", DirectoryAction::Fill),
    ] {
        assert_eq!(scene.both(&scene.at(name)), [Ok(action), Ok(action)], "{name}");
    }
}

#[test]
fn unsafe_targets_are_refused_with_and_without_move_aside() {
    let scene = Scene::new();
    for system in ["/", "/etc", "/usr", "/var/lib", "/home", "/tmp"] {
        scene.refuses(system, "system");
    }
    let nested = scene.at("repository/main");
    scene.refuses(scene.at("repository"), "it is the repository");
    scene.refuses(nested, "it lies in");
    scene.refuses(&scene.root, "it holds the repository");
    scene.refuses(scene.at("repository/new"), "it lies in");
    scene.refuses(scene.at("home"), "home directory");
    scene.refuses(scene.at("outer/base"), "it lies in the data directory");
    scene.refuses(scene.at("outer/new"), "it lies in the data directory");
    scene.refuses(scene.at("file"), "not a directory");
    scene.refuses(scene.at("link"), "not a directory");
    scene.refuses(scene.at("dangling"), "not a directory");
    scene.refuses(scene.at("no/parent"), "there is no directory");
    scene.refuses(scene.at("file/below"), "there is no directory");
    let foreign = scene.with("foreign", &[("PG_VERSION", b"15\n"), ("global/pg_control", &control_file(5))]);
    scene.refuses(foreign, "another cluster");
    let pid = format!("{}\n", std::process::id());
    let running = scene.with("running", &[("PG_VERSION", b"15\n"), ("postmaster.pid", pid.as_bytes())]);
    // A process of that number that works elsewhere is no server of this directory.
    assert!(scene.both(&running)[1].is_ok());
    let mut server = std::process::Command::new("sleep").arg("60").current_dir(&running).spawn().unwrap();
    std::fs::write(running.join("postmaster.pid"), format!("{}\n", server.id())).unwrap();
    scene.refuses(&running, "runs in");
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(scene.both(&running)[1].is_ok());
}

#[test]
fn only_postgresql_s_own_directories_are_moved_aside() {
    let scene = Scene::new();
    let same = control_file(ours().get());
    type Row<'a> = (&'a str, Vec<(&'a str, &'a [u8])>, Option<&'a str>);
    let rows: [Row<'_>; 5] = [
        ("same", vec![("PG_VERSION", b"15\n"), ("global/pg_control", &same)], None),
        ("damaged", vec![("global/pg_control", b"garbage")], None),
        ("lost-control", vec![("PG_VERSION", b"15\n"), ("base/1/2", b"x")], None),
        ("documents", vec![("thesis.txt", b"x")], Some("something else than PostgreSQL's files")),
        ("hidden", vec![(".profile", b"x")], Some("something else than PostgreSQL's files")),
    ];
    for (name, files, problem) in rows {
        let path = scene.with(name, &files);
        let [without, with] = scene.both(&path);
        assert!(without.is_err(), "{name}");
        match problem {
            None => assert_eq!(with, Ok(DirectoryAction::MoveAside), "{name}"),
            Some(words) => assert!(with.unwrap_err().contains(words), "{name}"),
        }
    }
}

#[test]
fn a_killed_restore_is_emptied_and_a_whole_cluster_never() {
    let scene = Scene::new();
    let text = marker_text("one", &scene.at("killed"));
    let killed = scene.with("killed", &[(MARKER, &text), ("base/1/2", b"x"), ("global/pg_control.pgv-staged", b"x")]);
    assert_eq!(scene.both(&killed), [Ok(DirectoryAction::EmptyAndFill), Ok(DirectoryAction::EmptyAndFill)]);
    assert_eq!(killed_restore(&killed).unwrap(), Some(marker("one", &killed)));
    // Killed between the control file's name and the marker's end: it can be started, and is somebody's.
    std::fs::write(killed.join("global/pg_control"), control_file(ours().get())).unwrap();
    assert_eq!(killed_restore(&killed).unwrap(), None);
    assert!(scene.both(&killed)[0].is_err());
    assert_eq!(scene.both(&killed)[1], Ok(DirectoryAction::MoveAside));
    let staged = scene.with("staged", &[(".pgv-staged-0123", b"{")]);
    assert_eq!(scene.both(&staged)[0], Ok(DirectoryAction::EmptyAndFill));
    let torn = scene.with("torn", &[(MARKER, b"{\"restore\": "), ("notes.txt", b"x")]);
    assert!(scene.both(&torn)[0].is_err());
}

/// The marker was left behind in a cluster that was whole, and its server ran on until the control file was lost.
#[test]
fn where_a_server_was_started_nothing_is_emptied() {
    let scene = Scene::new();
    let text = marker_text("one", &scene.at("lived"));
    let lived = scene.with("lived", &[(MARKER, &text), ("base/1/2", b"x"), ("pg_wal/000000010000000000000009", b"x")]);
    let cleared = || [InTheWay::Refuse, InTheWay::MoveAside].map(|in_the_way| is_cleared(&lived, in_the_way).unwrap());
    assert_eq!((cleared(), may_be_emptied(&lived).unwrap()), ([true; 2], true));
    std::fs::write(lived.join("postmaster.opts"), "/usr/lib/postgresql/15/bin/postgres\n").unwrap();
    let [without, with] = scene.both(&lived);
    assert!(without.unwrap_err().contains("a server was started in it"));
    assert_eq!(with, Ok(DirectoryAction::MoveAside));
    assert_eq!(killed_restore(&lived).unwrap(), None);
    assert_eq!((cleared(), may_be_emptied(&lived).unwrap()), ([false; 2], false));
    // With --delta a restore begins where a server was started, and goes on there; it is never emptied.
    let begun = Marker { had_content: true, ..marker("one", &lived) };
    std::fs::write(lived.join(MARKER), serde_json::to_vec(&begun).unwrap()).unwrap();
    assert_eq!(killed_restore(&lived).unwrap(), Some(begun));
    assert!(scene.both(&lived)[0].as_ref().unwrap_err().contains("--delta or --resume goes on"));
    assert!(!may_be_emptied(&lived).unwrap() && is_cleared(&lived, InTheWay::Delta).unwrap());
}

#[test]
fn a_tablespace_is_emptied_only_for_the_restore_that_began_it() {
    let scene = Scene::new();
    let data = scene.at("data");
    let space = scene.with("space", &[(MARKER, &marker_text("one", &data)), ("PG_15_202209061/1/2", b"x")]);
    let decide = |killed: Option<&Marker>, move_aside| {
        scene.decide(&space, move_aside, DirectoryRole::Tablespace(killed)).map_err(|error| error.to_string())
    };
    assert_eq!(decide(Some(&marker("one", &data)), false), Ok(DirectoryAction::EmptyAndFill));
    // The marker was left behind by a restore that was killed after its cluster was whole.
    for killed in [None, Some(marker("two", &data)), Some(marker("one", &scene.at("other")))] {
        assert!(decide(killed.as_ref(), false).unwrap_err().contains("not empty"), "{killed:?}");
        assert_eq!(decide(killed.as_ref(), true), Ok(DirectoryAction::MoveAside));
    }
    std::fs::remove_dir_all(space.join("PG_15_202209061")).unwrap();
    std::fs::write(space.join("notes.txt"), "x").unwrap();
    std::fs::remove_file(space.join(MARKER)).unwrap();
    assert!(decide(None, true).unwrap_err().contains("something else"));
}
