//! Golden repositories: written once by the code of their version, never edited, read back in full for ever.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use pgv::repository::FORMAT;

use crate::fixture::{self, FIRST, SECOND};
use crate::listing::{listing, open, sha256};

/// Where tablespaces of the golden repositories were.
pub(crate) const TABLESPACE: &str = "/srv/space";

pub(crate) fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

/// A copy of a golden repository, with the folder that version control cannot keep empty.
pub(crate) fn copy(version: u32, to: &Path) -> PathBuf {
    let root = to.join("repository");
    copy_tree(&data().join(format!("format-v{version}/repository")), &root);
    std::fs::create_dir(root.join(".staging")).unwrap();
    root
}

pub(crate) fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}

#[test]
fn there_is_a_golden_repository_of_every_format_that_can_be_read() {
    let golden: BTreeSet<String> = std::fs::read_dir(data())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_prefix("format-v").map(str::to_owned))
        .collect();
    // One with every kind of entry of a backup, one with marks and pins, and one of a real server.
    let kinds = |version: u32| ["", "-marks", "-server"].map(|kind| format!("{version}{kind}"));
    let expected = (1..=FORMAT).flat_map(kinds);
    assert_eq!(golden, expected.collect());
}

#[test]
fn golden_repositories_are_read_in_full() {
    for version in 1..=FORMAT {
        let temp = tempfile::tempdir().unwrap();
        let repository = open(&copy(version, temp.path())).unwrap();
        let expected = std::fs::read_to_string(data().join(format!("format-v{version}/listing.txt"))).unwrap();
        assert_eq!(listing(&repository).unwrap(), expected, "format {version}");
    }
}

/// What the fixture puts in is what the library reads out, with nothing lost or made up.
#[test]
fn what_was_written_is_read_back() {
    let temp = tempfile::tempdir().unwrap();
    let space = Path::new(TABLESPACE);
    let fixture = fixture::write(&temp.path().join("repository"), space);
    let text = listing(&fixture.repository).unwrap();
    for (name, content) in fixture::wal_files() {
        let line = format!("wal {name} {} {}\n", content.len(), sha256(&content));
        assert_eq!(text.matches(&line).count(), 1, "{line}");
    }
    for backup in [FIRST, SECOND] {
        let rest = text.split_once(&format!("backup {backup} ")).unwrap().1;
        let part = rest.split_once("\nbackup ").map_or(rest, |(part, _)| part);
        let content = fixture::content(backup, space);
        assert_eq!(part.lines().filter(|line| line.starts_with("  ")).count(), content.len() + 4);
        for (path, content) in content {
            let end = match content {
                fixture::Content::Directory => "directory".to_owned(),
                fixture::Content::Link(target) => format!("link to {}", target.display()),
                fixture::Content::File(bytes) => format!("file {} {}", bytes.len(), sha256(&bytes)),
            };
            let found = part.lines().any(|line| line.starts_with(&format!("  {path} ")) && line.ends_with(&end));
            assert!(found, "{path} {end}");
        }
    }
}

/// The folder is golden only when a person keeps it, for a new format: PGV_GOLDEN_FOLDER names where, and must not
/// exist. Golden repositories are never written again.
#[test]
fn a_golden_repository_can_be_written() {
    let temp = tempfile::tempdir().unwrap();
    let folder = std::env::var_os("PGV_GOLDEN_FOLDER").map_or_else(|| temp.path().join("golden"), PathBuf::from);
    std::fs::create_dir(&folder).unwrap();
    let fixture = fixture::write(&folder.join("repository"), Path::new(TABLESPACE));
    std::fs::write(folder.join("listing.txt"), listing(&fixture.repository).unwrap()).unwrap();
    std::fs::remove_dir(folder.join("repository/.staging")).unwrap();
}
