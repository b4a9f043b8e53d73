//! What a restore stays apart from: the repository, and what other servers need, whether they run or not.

use std::path::{Path, PathBuf};

use crate::fs;
use crate::server::postmaster_of;

/// A directory that another one must not be, hold, or lie in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Neighbour {
    /// Where it is.
    pub path: PathBuf,
    /// What it is, for messages.
    pub what: String,
    /// What is kept of it.
    pub kept: Kept,
}

/// What is kept of a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// It and its place: nothing is written there.
    Place,
    /// Its files, which are neither renamed nor changed. Where there are none, or a killed restore of ours left them, its
    /// place may be taken.
    Files,
}

impl Neighbour {
    pub(super) fn new(path: &Path, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), what: what.into(), kept: Kept::Place }
    }
}

/// What a server uses that runs in one of these data directories: nothing of it may be written to or renamed.
pub(super) fn used_by_running_servers(data_directories: &[PathBuf]) -> Vec<Neighbour> {
    let mut used = Vec::new();
    for directory in data_directories {
        // A directory that may not be looked at belongs to another account, and so does what its server uses.
        let Ok(Some(pid)) = postmaster_of(directory) else { continue };
        used.push(Neighbour::new(directory, format!("the data directory of a running server (process {pid})")));
        let links = directory.join("pg_tblspc");
        for entry in fs::sorted_entries(&links).unwrap_or_default().iter().filter(|entry| entry.is_link) {
            if let Ok(target) = fs::link_target(&links.join(&entry.name)) {
                used.push(Neighbour::new(&target, format!("a tablespace of a running server (process {pid})")));
            }
        }
    }
    used
}

/// The tablespaces to which the links of these data directories lead, whether or not a server runs there: one that is
/// stopped needs them, too. That a link leads to a directory does not say whose it is, since a copy of a data directory
/// has the same links.
pub(super) fn linked_from(data_directories: &[PathBuf]) -> Vec<Neighbour> {
    let mut linked = Vec::new();
    for directory in data_directories {
        let links = directory.join("pg_tblspc");
        for entry in fs::sorted_entries(&links).unwrap_or_default().iter().filter(|entry| entry.is_link) {
            // What is not there needs no care.
            let Ok(path) = fs::real_path(&links.join(&entry.name)) else { continue };
            let (data, link) = (directory.display(), entry.name.display());
            let what = format!("a tablespace of the data directory \"{data}\" (pg_tblspc/{link})");
            linked.push(Neighbour { kept: Kept::Files, ..Neighbour::new(&path, what) });
        }
    }
    linked
}
