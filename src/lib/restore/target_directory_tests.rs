use std::os::unix::fs::symlink;

use super::*;
use crate::pg::testing as real;

const OTHER_CLUSTER: &[u8] = real::OTHER_CONTROL_FILE;

fn check(
    path: &Path,
    role: DirectoryRole,
    apart_from: &[Neighbour],
    move_aside: bool,
) -> Result<DirectoryAction, String> {
    let system_identifier = real::system_identifier();
    let check = DirectoryCheck { path, role, system_identifier, apart_from, move_aside };
    check.decide().map_err(|error| error.to_string())
}

fn decide(path: &Path, move_aside: bool) -> Result<DirectoryAction, String> {
    check(path, DirectoryRole::DataDirectory, &[], move_aside)
}

/// A directory with these files; a name that ends with a slash is a directory.
fn directory(root: &Path, name: &str, files: &[(&str, &[u8])]) -> PathBuf {
    let path = root.join(name);
    std::fs::create_dir_all(&path).unwrap();
    for (file, content) in files {
        let place = path.join(file);
        std::fs::create_dir_all(if file.ends_with('/') { &place } else { place.parent().unwrap() }).unwrap();
        if !file.ends_with('/') {
            std::fs::write(place, content).unwrap();
        }
    }
    path
}

fn marker(root: &Path) -> Vec<u8> {
    let system_identifier = real::system_identifier();
    let backup = BackupId::generate(jiff::Timestamp::UNIX_EPOCH);
    serde_json::to_vec(&Marker { system_identifier, backup, data_directory: root.to_owned() }).unwrap()
}

#[test]
fn what_may_be_done_with_what_is_there() {
    use DirectoryAction::{Create, EmptyAndFill, Fill, MoveAside};
    const CONTROL: &str = "global/pg_control";
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().canonicalize().unwrap();
    let marker = marker(&root);
    let marker = marker.as_slice();
    let half = &marker[..marker.len() / 2];
    type Row<'a> =
        (&'a str, &'a [(&'a str, &'a [u8])], Result<DirectoryAction, &'a str>, Result<DirectoryAction, &'a str>);
    let rows: &[Row<'_>] = &[
        ("empty", &[], Ok(Fill), Ok(Fill)),
        ("mounted", &[("lost+found/", b"")], Ok(Fill), Ok(Fill)),
        ("files", &[("a", b"")], Err("it is not empty"), Err("does not look like a data directory")),
        ("holds-others", &[("main/PG_VERSION", b"15")], Err("it is not empty"), Err("does not look like")),
        ("same", &[(CONTROL, real::CONTROL_FILE)], Err("it is not empty"), Ok(MoveAside)),
        ("partly-removed", &[("base/1/1259", b"")], Err("it is not empty"), Ok(MoveAside)),
        ("other", &[(CONTROL, OTHER_CLUSTER)], Err("holds another cluster"), Err("holds another cluster")),
        ("torn", &[(CONTROL, b"x")], Err("cannot be read"), Ok(MoveAside)),
        ("killed", &[(MARKER, marker), ("base/1/1259", b"")], Ok(EmptyAndFill), Ok(EmptyAndFill)),
        ("killed-mounted", &[(MARKER, marker), ("lost+found/", b"")], Ok(EmptyAndFill), Ok(EmptyAndFill)),
        ("killed-at-once", &[(MARKER, b"")], Ok(EmptyAndFill), Ok(EmptyAndFill)),
        ("torn-marker", &[(MARKER, half)], Ok(EmptyAndFill), Ok(EmptyAndFill)),
        ("foreign-marker", &[(MARKER, half), ("base/1", b"")], Err("it is not empty"), Ok(MoveAside)),
        ("done", &[(MARKER, marker), (CONTROL, real::CONTROL_FILE)], Err("a restore that is complete"), Ok(MoveAside)),
        ("mounted-data", &[("lost+found/", b""), ("base/1", b"")], Err("it is not empty"), Err("it is a mount point")),
    ];
    for (name, files, plain, aside) in rows {
        let path = directory(&root, name, files);
        for (move_aside, expected) in [(false, plain), (true, aside)] {
            match (decide(&path, move_aside), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, *expected, "{name} {move_aside}"),
                (Err(found), Err(expected)) => assert!(found.contains(expected), "{name} {move_aside}: {found}"),
                (found, _) => panic!("{name} {move_aside}: {found:?}"),
            }
        }
    }
    assert_eq!(decide(&root.join("absent"), false), Ok(Create));
    assert!(decide(&root.join("absent/below"), false).unwrap_err().contains("there is no directory"));
    assert!(decide(&root.join("files/a"), true).unwrap_err().contains("it is not a directory"));
    assert!(decide(&root.join("files/a/below"), true).unwrap_err().contains("there is no directory"));
}

#[test]
fn links_are_named_and_not_followed() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().canonicalize().unwrap();
    let target = directory(&root, "target", &[]);
    symlink(&target, root.join("link")).unwrap();
    symlink(root.join("nothing"), root.join("dangling")).unwrap();
    let killed = directory(&root, "killed", &[("base/1", b"")]);
    symlink(directory(&root, "elsewhere", &[]).join("file"), killed.join(MARKER)).unwrap();
    std::fs::write(root.join("elsewhere/file"), marker(&root)).unwrap();
    for name in ["link", "dangling"] {
        let path = absolute(Path::new(name), &root);
        assert_eq!(path, root.join(name));
        assert!(decide(&path, true).unwrap_err().contains("links are not followed"), "{name}");
    }
    assert_eq!(absolute(Path::new("link/below"), &root), target.join("below"));
    // A marker that leads elsewhere is not ours.
    assert!(decide(&killed, false).unwrap_err().contains("it is not empty"));
}

#[test]
fn directories_of_the_system_and_of_others_are_refused() {
    for name in SYSTEM_DIRECTORIES {
        assert!(decide(Path::new(name), true).unwrap_err().contains("a directory of the system"), "{name}");
    }
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().canonicalize().unwrap();
    let repository = directory(&root, "store/repository", &[]);
    let cluster = directory(&root, "cluster", &[("PG_VERSION", b"15"), ("base/", b"")]);
    symlink(&repository, root.join("alias")).unwrap();
    let apart = [Neighbour::new(&root.join("alias"), "the repository")];
    let rows = [
        (repository.clone(), "it is the repository"),
        (repository.join("below"), "it lies in the repository"),
        (root.join("store"), "it holds the repository"),
        (cluster.join("base"), "it lies in the data directory"),
        (cluster.join("base/deep/er"), "it lies in the data directory"),
    ];
    for (path, words) in rows {
        for role in [DirectoryRole::DataDirectory, DirectoryRole::Tablespace] {
            let found = check(&path, role, &apart, true).unwrap_err();
            assert!(found.contains(words), "{path:?}: {found}");
        }
    }
    assert_eq!(
        check(&root.join("store-of-mine"), DirectoryRole::DataDirectory, &apart, true),
        Ok(DirectoryAction::Create)
    );
}

#[test]
fn a_tablespace_is_known_by_its_versions() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().canonicalize().unwrap();
    let aside = |path: &Path| check(path, DirectoryRole::Tablespace, &[], true);
    assert_eq!(aside(&directory(&root, "one", &[("PG_15_202209061/5/1", b"")])), Ok(DirectoryAction::MoveAside));
    let mixed = directory(&root, "two", &[("PG_15_202209061/5/1", b""), ("photos/1", b"")]);
    assert!(aside(&mixed).unwrap_err().contains("does not look like a tablespace"));
}

#[test]
fn a_directory_that_a_server_works_in_is_refused_however() {
    let temp = tempfile::tempdir().unwrap();
    let path = directory(&temp.path().canonicalize().unwrap(), "data", &[("global/pg_control", real::CONTROL_FILE)]);

    let mut server = std::process::Command::new("sleep").arg("60").current_dir(&path).spawn().unwrap();
    std::fs::write(path.join("postmaster.pid"), format!("{}\n", server.id())).unwrap();
    let found = [false, true].map(|move_aside| decide(&path, move_aside).unwrap_err());
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(found.iter().all(|words| words.contains("a server (process")), "{found:?}");
    assert_eq!(decide(&path, true), Ok(DirectoryAction::MoveAside));
}
