//! The recipe of docs/repository-format.md part 1, run by bash as it stands there, against a repository that the
//! library wrote. The backup is the one whose content lies in an earlier backup's packs as well.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Command, Output};

use crate::document;
use crate::fixture::{self, Content, SECOND, SYSTEM};

struct Recovered {
    temp: tempfile::TempDir,
    stdout: String,
}

/// The variables that the recipe asks for, by name.
fn variables(root: &Path, out: &Path) -> BTreeMap<String, String> {
    let pairs = [
        ("TREE", root.join("main").join(SYSTEM).display().to_string()),
        ("BACKUP", SECOND.to_owned()),
        ("SEGMENT", "000000010000000100000000".to_owned()),
        ("FILE", "base/5/16384".to_owned()),
        ("OUT", out.display().to_string()),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value)).into()
}

fn bash(script: &str, directory: &Path, variables: &BTreeMap<String, String>) -> Output {
    let mut command = Command::new("/bin/bash");
    command.env_clear().env("PATH", "/usr/bin:/bin").envs(variables).current_dir(directory);
    command.args(["-eu", "-c", script]).output().unwrap()
}

fn recover() -> Recovered {
    let temp = tempfile::tempdir().unwrap();
    let (root, out, space) = (temp.path().join("repository"), temp.path().join("out"), temp.path().join("space"));
    fixture::write(&root, &space);
    std::fs::create_dir(&out).unwrap();
    let script = document::blocks(&document::text(), "sh recipe").concat();
    let output = bash(&script, temp.path(), &variables(&root, &out));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{stderr}", output.status);
    assert_eq!(stderr, "", "the recipe is silent when all is well");
    Recovered { temp, stdout: String::from_utf8(output.stdout).unwrap() }
}

fn wal(name: &str) -> Vec<u8> {
    fixture::wal_files().into_iter().find(|(known, _)| *known == name).unwrap().1
}

#[test]
fn the_recipe_needs_the_variables_that_it_names_and_no_others() {
    let text = document::text();
    let named = document::blocks(&text, "sh variables").concat();
    let named: Vec<&str> = named.lines().map(|line| line.split_once('=').unwrap().0).collect();
    let known = variables(Path::new("/"), Path::new("/"));
    assert_eq!(
        known.keys().map(String::as_str).collect::<std::collections::BTreeSet<_>>(),
        named.into_iter().collect()
    );
    // With -u, bash would have ended at any other.
    assert!(document::blocks(&text, "sh recipe").len() >= 5);
}

#[test]
fn the_recipe_gets_a_wal_segment_and_a_relation_file_back() {
    let recovered = recover();
    let out = recovered.temp.path().join("out");
    assert!(std::fs::read(out.join("000000010000000100000000")).unwrap() == wal("000000010000000100000000"));
    let content = fixture::content(SECOND, Path::new(""));
    let (_, expected) = content.iter().find(|(path, _)| path.as_bytes() == b"base/5/16384").unwrap();
    assert!(*expected == Content::File(std::fs::read(out.join("16384")).unwrap()));
    assert!(recovered.stdout.contains("\"start_lsn\": \"0/3000028\""), "{}", recovered.stdout);
}

#[test]
fn the_recipe_gets_a_whole_data_directory_with_tablespaces_back() {
    let recovered = recover();
    let (data, space) = (recovered.temp.path().join("out/data"), recovered.temp.path().join("space"));
    let mut expected: BTreeMap<Vec<u8>, Content> = fixture::content(SECOND, &space)
        .into_iter()
        .map(|(path, content)| (path.as_bytes().to_vec(), content))
        .collect();
    let documents = fixture::documents(&space).into_iter();
    expected.extend(documents.take(2).map(|(_, name, _, bytes)| (name.as_bytes().to_vec(), Content::File(bytes))));
    let mut found = BTreeMap::new();
    collect(&data, b"", &mut found);
    collect(&data.join("pg_tblspc/16400"), b"pg_tblspc/16400/", &mut found);
    assert!(found == expected, "found {:?}, expected {:?}", found.keys(), expected.keys());
}

fn collect(folder: &Path, prefix: &[u8], into: &mut BTreeMap<Vec<u8>, Content>) {
    use std::os::unix::fs::PermissionsExt as _;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = [prefix, path.file_name().unwrap().as_bytes()].concat();
        let metadata = path.symlink_metadata().unwrap();
        let mode = metadata.permissions().mode() & 0o777;
        let content = if metadata.is_symlink() {
            Content::Link(std::fs::read_link(&path).unwrap())
        } else if metadata.is_dir() {
            assert_eq!(mode, 0o700, "{path:?}");
            collect(&path, &[&name, b"/".as_slice()].concat(), into);
            Content::Directory
        } else {
            Content::File(std::fs::read(&path).unwrap())
        };
        into.insert(name, content);
    }
}

/// As restore_command, the script must say 1 for a file that is not there, and above 125 when it cannot tell.
#[test]
fn the_script_that_the_recipe_writes_serves_as_restore_command() {
    let recovered = recover();
    let folder = recovered.temp.path();
    let get = |name: &str| {
        let status = Command::new(folder.join("out/get-wal")).args([name, "RECOVERYXLOG"]).current_dir(folder).status();
        (status.unwrap().code().unwrap(), std::fs::read(folder.join("RECOVERYXLOG")).ok())
    };
    for name in ["000000010000000000000003", "00000002.history"] {
        assert!(get(name) == (0, Some(wal(name))), "{name}");
    }
    assert_eq!(get("000000010000000000000004").0, 1);
    assert_eq!(get("00000003.history").0, 1);
    let damaged =
        folder.join(format!("repository/main/{SYSTEM}/wal/00000001/0000000100000000/000000010000000000000003"));
    let bytes = std::fs::read(&damaged).unwrap();
    std::fs::write(&damaged, &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(get("000000010000000000000003").0, 200);
    std::fs::rename(folder.join("repository"), folder.join("unmounted")).unwrap();
    assert_eq!(get("000000010000000000000004").0, 200);
}
