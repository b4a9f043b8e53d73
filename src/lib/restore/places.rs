//! Which directory a file of the backup is written to, and under which name.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::fs::Tree;
use crate::pg::{ControlFile, DataPath};

/// What a directory that was moved aside has behind its name, and before the time.
pub(super) const MOVED_ASIDE: &str = ".pgv-";
/// Where the control file waits until everything else is durable.
pub(super) const STAGED_CONTROL_FILE: &str = "global/pg_control.pgv-staged";
/// The directories that are filled.
pub(super) struct Places {
    pub(super) data: Tree,
    pub(super) tablespaces: BTreeMap<u32, Tree>,
    /// Where the control file is, or waits.
    pub(super) control_file: &'static str,
}

impl Places {
    pub(super) fn all(&self) -> impl Iterator<Item = &Tree> {
        self.tablespaces.values().chain([&self.data])
    }

    /// The directory and the path in it: what lies in a tablespace is written there, not through its link.
    pub(super) fn place_of(&self, path: &DataPath) -> (&Tree, PathBuf) {
        self.place_of_bytes(path.as_bytes())
    }

    /// The same of a path that was found, whatever is in it.
    pub(super) fn place_of_bytes(&self, path: &[u8]) -> (&Tree, PathBuf) {
        let whole = Path::new(OsStr::from_bytes(path));
        let mut components = whole.components();
        let is_tablespace = components.next().is_some_and(|first| first.as_os_str() == "pg_tblspc");
        let oid = components.next().and_then(|oid| oid.as_os_str().to_str()).and_then(|oid| oid.parse::<u32>().ok());
        let below = components.as_path();
        if let (true, Some(oid), false) = (is_tablespace, oid, below.as_os_str().is_empty())
            && let Some(tree) = self.tablespaces.get(&oid)
        {
            return (tree, below.to_owned());
        }
        if path == ControlFile::PATH.as_bytes() {
            return (&self.data, PathBuf::from(self.control_file));
        }
        (&self.data, whole.to_owned())
    }
}
