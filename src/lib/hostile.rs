//! Names that lead elsewhere or break what reads them, and a tree that must stay as it is, for tests of every place
//! where a name from outside comes in (failures.md D8).

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

/// What must become of a name where a path below a data directory is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is no path below a directory.
    Refused,
    /// It looks evil and is a plain name.
    Harmless,
}

/// The names. `DECOY` stands for the absolute path of [`Decoy::path`].
pub(crate) const NAMES: &[(&[u8], Fate)] = {
    use Fate::{Harmless, Refused};
    &[
        (b"", Refused),
        (b"/", Refused),
        (b"//", Refused),
        (b"/planted", Refused),
        (b"DECOY/planted", Refused),
        (b"DECOY/file", Refused),
        (b"//DECOY/file", Refused),
        (b".", Refused),
        (b"..", Refused),
        (b"./planted", Refused),
        (b"../planted", Refused),
        (b"../decoy/planted", Refused),
        (b"../../decoy/planted", Refused),
        (b"../decoy/file", Refused),
        (b"base/..", Refused),
        (b"base/../../decoy/planted", Refused),
        (b"base/../../decoy/file", Refused),
        (b"base/./1", Refused),
        (b"base//1", Refused),
        (b"base/1/", Refused),
        (b"base/1/..", Refused),
        (b"pg_wal/../../decoy/file", Refused),
        (b"pg_tblspc/..", Refused),
        (b"pg_tblspc/../../decoy/file", Refused),
        (b"pg_tblspc/16400/../../decoy/file", Refused),
        (b"pg_tblspc/16400/../../../decoy/planted", Refused),
        (b"..\\decoy\\planted", Refused),
        (b"base\\..\\..\\planted", Refused),
        (b"C:\\planted", Refused),
        (b"\\\\host\\share", Refused),
        (b"a\0b", Refused),
        (b"\0", Refused),
        (b"../decoy/file\0.txt", Refused),
        (b"harmless\0/../../decoy/file", Refused),
        (b"\xff/../\xfe", Refused),
        (b"...", Harmless),
        (b"..x/y", Harmless),
        (b".. /planted", Harmless),
        (b" ../planted", Harmless),
        (b"~/.ssh/authorized_keys", Harmless),
        (b"$HOME/planted", Harmless),
        (b"$(touch planted)", Harmless),
        (b"`id`;rm -rf x", Harmless),
        (b"-rf", Harmless),
        (b"--target=x", Harmless),
        (b"%2e%2e/planted", Harmless),
        (b"..%2fplanted", Harmless),
        (b"\xe2\x80\xae\xe2\x80\x8bplanted", Harmless),
        (b"..\xe2\x88\x95planted", Harmless),
        (b"caf\xe9", Harmless),
        (b"\xc0\xae\xc0\xae/planted", Harmless),
        (b"line\nbreak", Harmless),
        (b"\x1b[2J\x1b]0;x\x07", Harmless),
        (b"a'b\"c", Harmless),
        (b"con", Harmless),
        (b"file:///planted", Refused),
    ]
};

/// A tree beside the folder that may be written to.
pub(crate) struct Decoy {
    beside: PathBuf,
    before: BTreeMap<PathBuf, String>,
}

impl Decoy {
    /// Makes a decoy in `beside`, and remembers everything in there.
    pub(crate) fn new(beside: &Path) -> Self {
        let decoy = beside.join("decoy");
        std::fs::create_dir_all(decoy.join("folder")).unwrap();
        std::fs::write(decoy.join("file"), "kept").unwrap();
        std::fs::write(decoy.join("folder/file"), "kept too").unwrap();
        symlink(decoy.join("file"), decoy.join("link")).unwrap();
        Self { beside: beside.to_owned(), before: look(beside, &|_| false) }
    }

    /// The decoy itself, an absolute path.
    pub(crate) fn path(&self) -> PathBuf {
        self.beside.join("decoy")
    }

    /// A name of the table with the place of this decoy in it.
    pub(crate) fn name(&self, name: &[u8]) -> Vec<u8> {
        match name.windows(5).position(|part| part == b"DECOY") {
            Some(at) => [&name[..at], self.path().as_os_str().as_bytes(), &name[at + 5..]].concat(),
            None => name.to_vec(),
        }
    }

    /// Nothing beside `allowed` has come, gone or changed.
    pub(crate) fn assert_untouched(&self, allowed: &[&str], case: &dyn std::fmt::Debug) {
        let is_allowed = |path: &Path| allowed.iter().any(|name| path.starts_with(self.beside.join(name)));
        let mut before = self.before.clone();
        before.retain(|path, _| !is_allowed(path));
        assert_eq!(look(&self.beside, &is_allowed), before, "{case:?}");
    }
}

/// Everything below a folder, but for what is to be passed over.
fn look(folder: &Path, passed_over: &dyn Fn(&Path) -> bool) -> BTreeMap<PathBuf, String> {
    let mut seen = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if passed_over(&path) {
            continue;
        }
        let facts = std::fs::symlink_metadata(&path).unwrap();
        let content = if facts.is_symlink() {
            std::fs::read_link(&path).unwrap().display().to_string()
        } else if facts.is_file() {
            String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned()
        } else {
            seen.extend(look(&path, passed_over));
            String::new()
        };
        let (mode, links, device) = (facts.mode(), facts.nlink(), facts.rdev());
        seen.insert(path, format!("{mode:o} {links} {device} {content}"));
    }
    seen
}

#[test]
fn a_change_beside_the_folder_is_noticed() {
    let changes: [fn(&Path); 5] = [
        |decoy| std::fs::write(decoy.join("file"), "other").unwrap(),
        |decoy| std::fs::write(decoy.join("planted"), "").unwrap(),
        |decoy| std::fs::remove_file(decoy.join("link")).unwrap(),
        |decoy| std::fs::hard_link(decoy.join("file"), decoy.join("../allowed")).unwrap(),
        |decoy| drop(symlink("/", decoy.join("folder/x"))),
    ];
    for change in changes {
        let temp = tempfile::tempdir().unwrap();
        let decoy = Decoy::new(temp.path());
        std::fs::write(temp.path().join("allowed-not"), "").unwrap();
        std::fs::remove_file(temp.path().join("allowed-not")).unwrap();
        decoy.assert_untouched(&["allowed"], &"nothing yet");
        change(&decoy.path());
        let noticed =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| decoy.assert_untouched(&["allowed"], &"")));
        assert!(noticed.is_err());
    }
}
