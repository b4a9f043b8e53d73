//! Whether a directory may be restored into. Looked at before anything is touched; nothing is ever deleted but what a
//! killed restore left under our own marker.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::RestoreError;
use crate::fs::{self, PathKind};
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

/// What is asked of a directory.
#[derive(Debug, Clone)]
pub(super) struct DirectoryCheck<'a> {
    /// The directory, as an absolute path.
    pub path: &'a Path,
    /// The cluster that is restored.
    pub system_identifier: SystemIdentifier,
    /// The directories that it must not be, hold, or lie in: the repository, other tablespaces.
    pub apart_from: &'a [PathBuf],
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
        let entries = fs::sorted_entries(self.path)?;
        let has_content = entries.iter().any(|entry| entry.name != "lost+found");
        if !facts.is_writable {
            return Err(self.refused("it is not writable", false));
        }
        if !has_content {
            return Ok(DirectoryAction::Fill);
        }
        if let Some(pid) = running_postmaster(self.path)? {
            return Err(RestoreError::ServerRuns { path: self.path.to_owned(), pid });
        }
        if self.is_left_by_a_killed_restore()? {
            return Ok(DirectoryAction::EmptyAndFill);
        }
        self.refuse_other_cluster()?;
        if entries.iter().any(|entry| entry.name == "lost+found") && self.move_aside {
            return Err(self.refused("it is a mount point, which cannot be renamed; empty it yourself", false));
        }
        if self.move_aside {
            self.check_parent()?;
            return Ok(DirectoryAction::MoveAside);
        }
        Err(self.refused("it is not empty", true))
    }

    fn refused(&self, problem: &str, move_aside_helps: bool) -> RestoreError {
        RestoreError::UnsafeTarget { path: self.path.to_owned(), problem: problem.to_owned(), move_aside_helps }
    }

    fn refuse_by_name(&self) -> Result<(), RestoreError> {
        if SYSTEM_DIRECTORIES.iter().any(|system| self.path == Path::new(system)) {
            return Err(self.refused("it is a directory of the system", false));
        }
        for other in self.apart_from {
            let other = fs::real_path(other).unwrap_or_else(|_| other.clone());
            if self.path.starts_with(&other) {
                return Err(self.refused(&format!("it lies in \"{}\"", other.display()), false));
            }
            if other.starts_with(self.path) {
                return Err(self.refused(&format!("\"{}\" lies in it", other.display()), false));
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

    fn is_left_by_a_killed_restore(&self) -> Result<bool, RestoreError> {
        // With a control file it could be started, and is somebody's.
        if fs::is_present(&self.path.join(ControlFile::PATH))? {
            return Ok(false);
        }
        let text = match fs::read_at_most(&self.path.join(MARKER), MARKER_BYTES_MAX) {
            Ok(text) => text,
            Err(error) if error.is_not_found() => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        // A marker that was cut off by a crash is a marker all the same: it is written before anything else.
        Ok(serde_json::from_slice::<Marker>(&text).is_ok() || text.is_empty())
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
