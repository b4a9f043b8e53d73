//! Whether a directory may be restored into. Looked at before anything is touched; nothing is ever deleted but what a
//! killed restore left under our own marker.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::RestoreError;
use crate::fs::{self, DirectoryEntry, PathFacts, PathKind};
use crate::pg::{ControlFile, SystemIdentifier};
use crate::repository::BackupId;
use crate::server::running_postmaster;

/// The file that says that a restore began here and did not end.
pub const MARKER: &str = "pgv-restore.incomplete";
/// LIMIT: bytes of the marker.
const MARKER_BYTES_MAX: u64 = 64 << 10;
/// Directories of the system that are never a data directory, nor is anything that holds them.
const SYSTEM_DIRECTORIES: &[&str] = &[
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/home",
    "/lib",
    "/lib64",
    "/media",
    "/mnt",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/usr/local",
    "/var",
    "/var/lib",
    "/var/lib/postgresql",
    "/var/tmp",
];

/// Names by which a data directory is known, also one of which only a part is left.
const DATA_DIRECTORY_NAMES: &[&str] = &["PG_VERSION", "base", "global", "pg_wal"];

/// What a marker says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marker {
    /// The cluster that is being restored.
    pub system_identifier: SystemIdentifier,
    /// The backup.
    pub backup: BackupId,
    /// The directory itself, or the data directory that this tablespace belongs to.
    pub data_directory: PathBuf,
}

/// What will be done with what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DirectoryAction {
    /// It is not there and will be created.
    Create,
    /// It is empty (but for lost+found) and will be filled.
    Fill,
    /// A killed restore left it; it will be emptied and filled.
    EmptyAndFill,
    /// It will be renamed, and a new one created.
    MoveAside,
}

/// What the directory becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DirectoryRole {
    /// A data directory.
    DataDirectory,
    /// The place of a tablespace.
    Tablespace,
}

/// A directory that another one must not be, hold, or lie in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Neighbour {
    /// Where it is.
    pub path: PathBuf,
    /// What it is, for messages.
    pub what: String,
}

impl Neighbour {
    pub(super) fn new(path: &Path, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), what: what.into() }
    }
}

/// What is asked of a directory.
#[derive(Debug, Clone)]
pub(super) struct DirectoryCheck<'a> {
    /// The directory, as an absolute path without links.
    pub path: &'a Path,
    /// What it becomes.
    pub role: DirectoryRole,
    /// The cluster that is restored.
    pub system_identifier: SystemIdentifier,
    /// What it must stay apart from: the repository, other tablespaces, what running servers use.
    pub apart_from: &'a [Neighbour],
    /// Whether what is in the way may be renamed.
    pub move_aside: bool,
}

impl DirectoryCheck<'_> {
    /// Decides what to do with the directory, or refuses it.
    pub(super) fn decide(&self) -> Result<DirectoryAction, RestoreError> {
        self.refuse_by_name()?;
        let facts = match fs::look_at(self.path)? {
            None => {
                self.check_parent()?;
                return Ok(DirectoryAction::Create);
            }
            Some(facts) => facts,
        };
        if facts.kind != PathKind::Directory {
            return Err(self.refused("it is not a directory (links are not followed: name where it leads)", false));
        }
        let account = rustix::process::geteuid().as_raw();
        if facts.owner != account {
            let problem = format!("it belongs to user id {}, and this is user id {account}", facts.owner);
            return Err(self.refused(&problem, false));
        }
        if !facts.is_writable {
            return Err(self.refused("it is not writable", false));
        }
        let entries = fs::sorted_entries(self.path)?;
        if is_empty(&entries) {
            return Ok(DirectoryAction::Fill);
        }
        if let Some(pid) = running_postmaster(self.path)? {
            return Err(RestoreError::ServerRuns { path: self.path.to_owned(), pid });
        }
        if is_left_by_a_killed_restore(self.path)? {
            return Ok(DirectoryAction::EmptyAndFill);
        }
        self.refuse_other_cluster()?;
        if !self.move_aside {
            return Err(self.refused(self.what_is_there(&entries)?, true));
        }
        self.refuse_unmovable(&facts, &entries)?;
        Ok(DirectoryAction::MoveAside)
    }

    fn what_is_there(&self, entries: &[DirectoryEntry]) -> Result<&'static str, RestoreError> {
        let is_complete = entries.iter().any(|entry| entry.name == MARKER)
            && self.role == DirectoryRole::DataDirectory
            && fs::is_present(&self.path.join(ControlFile::PATH))?;
        // Killed between the last two steps: it can be started as it is.
        Ok(if is_complete { "it holds a restore that is complete" } else { "it is not empty" })
    }

    /// Only what looks like a directory of a server is renamed: never a home directory or one that holds others.
    fn refuse_unmovable(&self, facts: &PathFacts, entries: &[DirectoryEntry]) -> Result<(), RestoreError> {
        self.check_parent()?;
        let parent = fs::look_at(self.path.parent().unwrap_or(Path::new("/")))?;
        let is_mounted = parent.is_some_and(|parent| parent.device != facts.device);
        if is_mounted || entries.iter().any(|entry| entry.name == "lost+found") {
            return Err(self.refused("it is a mount point, which cannot be renamed; empty it yourself", false));
        }
        let is_ours = match self.role {
            DirectoryRole::DataDirectory => {
                entries.iter().any(|entry| DATA_DIRECTORY_NAMES.iter().any(|name| entry.name == *name))
            }
            DirectoryRole::Tablespace => {
                entries.iter().all(|entry| entry.name.as_encoded_bytes().starts_with(b"PG_") || entry.name == MARKER)
            }
        };
        if is_ours {
            return Ok(());
        }
        let what = match self.role {
            DirectoryRole::DataDirectory => "a data directory",
            DirectoryRole::Tablespace => "a tablespace",
        };
        let problem = format!("what is in it does not look like {what}, so it is not renamed; move it away yourself");
        Err(self.refused(&problem, false))
    }

    fn refused(&self, problem: &str, move_aside_helps: bool) -> RestoreError {
        RestoreError::UnsafeTarget { path: self.path.to_owned(), problem: problem.to_owned(), move_aside_helps }
    }

    fn refuse_by_name(&self) -> Result<(), RestoreError> {
        if SYSTEM_DIRECTORIES.iter().any(|system| self.path == Path::new(system)) {
            return Err(self.refused("it is a directory of the system", false));
        }
        for other in self.apart_from {
            let real = fs::real_path(&other.path).unwrap_or_else(|_| other.path.clone());
            let relation = if self.path == real {
                "it is"
            } else if self.path.starts_with(&real) {
                "it lies in"
            } else if real.starts_with(self.path) {
                "it holds"
            } else {
                continue;
            };
            return Err(self.refused(&format!("{relation} {}, \"{}\"", other.what, real.display()), false));
        }
        for above in self.path.ancestors().skip(1) {
            // What may not be looked at is not ours to judge.
            if let Ok(true) = fs::is_present(&above.join("PG_VERSION")) {
                return Err(self.refused(&format!("it lies in the data directory \"{}\"", above.display()), false));
            }
        }
        Ok(())
    }

    /// The directory above must be there and take new names.
    fn check_parent(&self) -> Result<(), RestoreError> {
        let parent = self.path.parent().unwrap_or(Path::new("/"));
        match fs::look_at(parent)? {
            Some(facts) if facts.kind == PathKind::Directory && facts.is_writable => Ok(()),
            Some(facts) if facts.kind == PathKind::Directory => {
                Err(self.refused(&format!("the directory above it, \"{}\", is not writable", parent.display()), false))
            }
            _ => Err(self.refused(&format!("there is no directory \"{}\" above it", parent.display()), false)),
        }
    }

    fn refuse_other_cluster(&self) -> Result<(), RestoreError> {
        let path = self.path.join(ControlFile::PATH);
        let bytes = match fs::read_at_most(&path, ControlFile::FILE_LENGTH as u64) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let control = match ControlFile::decode(&bytes) {
            Ok(control) => control,
            // What cannot be read is moved aside, not judged.
            Err(_) if self.move_aside => return Ok(()),
            Err(source) => return Err(RestoreError::ControlFile { path, source }),
        };
        if control.system_identifier == self.system_identifier {
            return Ok(());
        }
        let (expected, found) = (self.system_identifier, control.system_identifier);
        Err(RestoreError::OtherCluster { path: self.path.to_owned(), expected, found })
    }
}

/// Whether nothing is in a directory but what a file system puts there itself.
pub(super) fn is_empty(entries: &[DirectoryEntry]) -> bool {
    entries.iter().all(|entry| entry.name == "lost+found")
}

/// Whether a directory holds only what a killed restore left: it may be emptied.
pub(super) fn is_left_by_a_killed_restore(path: &Path) -> Result<bool, RestoreError> {
    // With a control file it could be started, and is somebody's.
    if fs::is_present(&path.join(ControlFile::PATH))? {
        return Ok(false);
    }
    let marker = path.join(MARKER);
    let Some(facts) = fs::look_at(&marker)? else { return Ok(false) };
    if facts.kind != PathKind::File {
        return Ok(false);
    }
    let text = fs::read_at_most(&marker, MARKER_BYTES_MAX)?;
    if serde_json::from_slice::<Marker>(&text).is_ok() {
        return Ok(true);
    }
    // A crash can cut it off, and then nothing else was written yet: it is made durable before anything else.
    let others = fs::sorted_entries(path)?.into_iter().filter(|entry| entry.name != MARKER).collect::<Vec<_>>();
    Ok(is_empty(&others))
}

/// The path without links and relative parts, whether or not its last part exists.
pub(super) fn absolute(path: &Path, working_directory: &Path) -> PathBuf {
    let joined = working_directory.join(path);
    if let Ok(real) = fs::real_path(&joined)
        && !matches!(fs::look_at(&joined), Ok(Some(facts)) if facts.kind == PathKind::Link)
    {
        return real;
    }
    match (joined.parent().map(fs::real_path), joined.file_name()) {
        (Some(Ok(parent)), Some(name)) => parent.join(name),
        _ => joined,
    }
}

#[cfg(test)]
#[path = "target_directory_tests.rs"]
mod tests;
