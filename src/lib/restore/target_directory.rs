//! Whether a directory may be restored into (failures.md B55): what stands there, and what may be done with it.
//!
//! INVARIANT: nothing that pgv did not create itself is ever removed, and nothing that may be in use is renamed.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::fs::{self, FileError, PathKind};
use crate::pg::{ControlFile, SystemIdentifier};
use crate::repository::BackupId;

/// Stands in a directory while it is restored into, and goes last.
pub(super) const MARKER_FILE: &str = "pgv-restore.incomplete";
/// What a new file system brings along.
const LOST_AND_FOUND: &str = "lost+found";
/// How files begin that have no name of their own yet.
const STAGED_PREFIX: &str = ".pgv-staged-";
/// LIMIT: bytes of a marker, of postmaster.pid, and of a control file.
const SMALL_FILE_BYTES_MAX: u64 = 64 << 10;

/// Directories that belong to the system, whatever is in them.
const SYSTEM_DIRECTORIES: [&str; 23] = [
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
    "/var",
    "/var/lib",
    "/var/tmp",
    "/usr/local",
];

/// What the marker says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marker {
    /// Tells this restore from others.
    pub restore: String,
    /// The data directory that it fills.
    pub directory: PathBuf,
    /// The cluster's system identifier.
    pub system_identifier: SystemIdentifier,
    /// The backup.
    pub backup: BackupId,
    /// When it began; shown only.
    pub started: Timestamp,
}

/// What may be done when something is in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OccupiedDirectory {
    /// Nothing.
    #[default]
    Refuse,
    /// A data directory of the same cluster may be renamed.
    MoveAside,
}

/// What stands in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DirectoryState {
    /// There is none; its parent exists.
    Absent,
    /// Nothing, or what a new file system brings along.
    Empty,
    /// What a killed restore left.
    KilledRestore(Box<Marker>),
    /// Something else.
    Occupied {
        /// The system identifier in its control file, when that can be read.
        system_identifier: Option<SystemIdentifier>,
        /// Whether it looks like a data directory or a tablespace.
        looks_like_postgresql: bool,
        /// Whether a restore into it was complete but for its marker.
        has_marker: bool,
    },
}

/// A directory that could be restored into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TargetDirectory {
    /// Its path, without links.
    pub path: PathBuf,
    /// What stands in it.
    pub state: DirectoryState,
    /// Whether a file system is mounted there.
    pub is_mount_point: bool,
    /// A directory that exists on the file system that it will be on.
    pub existing: PathBuf,
    /// That file system.
    pub device: u64,
}

/// What a restore will do with a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "action")]
pub enum DirectoryAction {
    /// Create it.
    Create,
    /// Use it as it is.
    Use,
    /// Remove what a killed restore left.
    Empty,
    /// Rename it, and create it anew.
    MoveAside {
        /// What it will be called.
        to: PathBuf,
    },
}

/// Why a directory must not be restored into.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryProblem {
    /// Its parent is missing.
    #[error("its parent directory \"{}\" does not exist", parent.display())]
    NoParent {
        /// The parent.
        parent: PathBuf,
    },
    /// Something else than a directory.
    #[error("it is not a directory")]
    NotADirectory,
    /// A link that leads nowhere.
    #[error("it is a link to \"{}\", which does not exist", target.display())]
    DanglingLink {
        /// Where it leads.
        target: PathBuf,
    },
    /// A directory of the system, or somebody's home.
    #[error("it belongs to the system or is a home directory")]
    SystemDirectory,
    /// The repository, something in it, or something that holds it.
    #[error("the repository \"{}\" is there", repository.display())]
    Repository {
        /// The repository.
        repository: PathBuf,
    },
    /// Inside of another data directory.
    #[error("it lies in the data directory \"{}\"", outer.display())]
    InsideDataDirectory {
        /// The other one.
        outer: PathBuf,
    },
    /// A server works in it.
    #[error("a server is running in it (PID {pid})")]
    RunningServer {
        /// Its process.
        pid: i32,
    },
    /// It belongs to somebody else.
    #[error("it belongs to the account with uid {owner}, not to {expected}")]
    OtherOwner {
        /// Who owns it.
        owner: u32,
        /// Who runs this.
        expected: u32,
    },
    /// It cannot be written to.
    #[error("\"{}\" cannot be written to", path.display())]
    NotWritable {
        /// The directory.
        path: PathBuf,
    },
    /// It has content.
    #[error("it is not empty")]
    NotEmpty,
    /// It has content that no PostgreSQL wrote.
    #[error("it is not empty and does not look like PostgreSQL's: it is not moved aside either")]
    NotPostgresql,
    /// Another cluster's.
    #[error("it holds the cluster with system identifier {found}, not {expected}")]
    OtherCluster {
        /// Which one it holds.
        found: SystemIdentifier,
        /// Which one is restored.
        expected: SystemIdentifier,
    },
    /// It cannot be renamed.
    #[error("a file system is mounted there, so it cannot be moved aside")]
    MountPoint,
    /// A restore into it was complete.
    #[error("a restore into it was complete but for its marker \"{MARKER_FILE}\"")]
    FinishedRestore,
    /// Two directories of one restore are the same, or one holds the other.
    #[error("it and \"{}\" are the same or one lies in the other", other.display())]
    Nested {
        /// The other one.
        other: PathBuf,
    },
}

/// What the decision depends on beside the directory itself.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Where the repository is, when it is on this machine.
    pub repository: Option<PathBuf>,
    /// The home directory of this account.
    pub home: Option<PathBuf>,
}

/// Looks at a directory without touching it.
pub(super) fn inspect(
    path: &Path,
    around: &Surroundings,
) -> Result<Result<TargetDirectory, DirectoryProblem>, FileError> {
    let path = match resolve(path)? {
        Ok(path) => path,
        Err(problem) => return Ok(Err(problem)),
    };
    if let Some(problem) = forbidden_place(&path, around)? {
        return Ok(Err(problem));
    }
    let parent = path.parent().unwrap_or(&path).to_owned();
    let Some(around_it) = fs::look_at(&parent)? else { return Ok(Err(DirectoryProblem::NoParent { parent })) };
    let Some(facts) = fs::look_at(&path)? else {
        if !around_it.is_writable {
            return Ok(Err(DirectoryProblem::NotWritable { path: parent }));
        }
        let (state, device) = (DirectoryState::Absent, around_it.device);
        return Ok(Ok(TargetDirectory { path, state, is_mount_point: false, existing: parent, device }));
    };
    if facts.kind != PathKind::Directory {
        return Ok(Err(DirectoryProblem::NotADirectory));
    }
    let expected = fs::effective_user();
    if facts.owner != expected {
        return Ok(Err(DirectoryProblem::OtherOwner { owner: facts.owner, expected }));
    }
    if !facts.is_writable {
        return Ok(Err(DirectoryProblem::NotWritable { path }));
    }
    if let Some(pid) = running_server(&path)? {
        return Ok(Err(DirectoryProblem::RunningServer { pid }));
    }
    let state = content_of(&path)?;
    let is_mount_point = facts.device != around_it.device;
    Ok(Ok(TargetDirectory { existing: path.clone(), path, state, is_mount_point, device: facts.device }))
}

/// What may be done with a data directory.
pub(super) fn admit(
    directory: &TargetDirectory,
    expected: SystemIdentifier,
    occupied: OccupiedDirectory,
    now: Timestamp,
) -> Result<DirectoryAction, DirectoryProblem> {
    let (system_identifier, looks_like_postgresql, has_marker) = match &directory.state {
        DirectoryState::Absent => return Ok(DirectoryAction::Create),
        DirectoryState::Empty => return Ok(DirectoryAction::Use),
        DirectoryState::KilledRestore(_) => return Ok(DirectoryAction::Empty),
        DirectoryState::Occupied { system_identifier, looks_like_postgresql, has_marker } => {
            (*system_identifier, *looks_like_postgresql, *has_marker)
        }
    };
    if let Some(found) = system_identifier.filter(|found| *found != expected) {
        return Err(DirectoryProblem::OtherCluster { found, expected });
    }
    match occupied {
        OccupiedDirectory::Refuse if has_marker => Err(DirectoryProblem::FinishedRestore),
        OccupiedDirectory::Refuse => Err(DirectoryProblem::NotEmpty),
        OccupiedDirectory::MoveAside if directory.is_mount_point => Err(DirectoryProblem::MountPoint),
        OccupiedDirectory::MoveAside if !looks_like_postgresql => Err(DirectoryProblem::NotPostgresql),
        OccupiedDirectory::MoveAside => Ok(DirectoryAction::MoveAside { to: aside(&directory.path, now) }),
    }
}

/// Whether two directories are the same or one lies in the other.
pub(super) fn overlap(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

/// The server that works in a data directory, if any. A process of that number that works elsewhere is not it.
pub(super) fn running_server(directory: &Path) -> Result<Option<i32>, FileError> {
    let path = directory.join("postmaster.pid");
    let text = match fs::read_at_most(&path, SMALL_FILE_BYTES_MAX) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    // A single-user server writes its number with a minus sign.
    let first = text.lines().next().unwrap_or_default().trim().trim_start_matches('-');
    let Some(pid) = first.parse::<i32>().ok().filter(|pid| *pid > 0) else { return Ok(None) };
    let Some(process) = rustix::process::Pid::from_raw(pid) else { return Ok(None) };
    match rustix::process::test_kill_process(process) {
        Err(rustix::io::Errno::SRCH) => return Ok(None),
        // One that may not be signalled is alive all the same.
        Ok(()) | Err(_) => {}
    }
    match fs::real_path(Path::new(&format!("/proc/{pid}/cwd"))) {
        Ok(works_in) if works_in != directory => Ok(None),
        _ => Ok(Some(pid)),
    }
}

/// The path without links; its last part need not exist.
fn resolve(path: &Path) -> Result<Result<PathBuf, DirectoryProblem>, FileError> {
    match fs::look_at(path)? {
        Some(facts) if facts.kind == PathKind::Link => match fs::real_path(path) {
            Ok(path) => Ok(Ok(path)),
            Err(error) if error.is_not_found() => {
                Ok(Err(DirectoryProblem::DanglingLink { target: fs::link_target(path)? }))
            }
            Err(error) => Err(error),
        },
        Some(_) => fs::real_path(path).map(Ok),
        None => {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
                return Ok(Err(DirectoryProblem::NotADirectory));
            };
            match fs::real_path(parent) {
                Ok(parent) => Ok(Ok(parent.join(name))),
                Err(error) if error.is_not_found() => Ok(Err(DirectoryProblem::NoParent { parent: parent.to_owned() })),
                Err(error) => Err(error),
            }
        }
    }
}

fn forbidden_place(path: &Path, around: &Surroundings) -> Result<Option<DirectoryProblem>, FileError> {
    let is_home = around.home.as_deref().is_some_and(|home| fs::real_path(home).is_ok_and(|home| home == path));
    if is_home || SYSTEM_DIRECTORIES.iter().any(|system| Path::new(system) == path) {
        return Ok(Some(DirectoryProblem::SystemDirectory));
    }
    if let Some(repository) = &around.repository {
        let real = fs::real_path(repository).unwrap_or_else(|_| repository.clone());
        if overlap(path, &real) {
            return Ok(Some(DirectoryProblem::Repository { repository: repository.clone() }));
        }
    }
    for outer in path.ancestors().skip(1) {
        if fs::look_at(&outer.join("PG_VERSION"))?.is_some_and(|facts| facts.kind == PathKind::File) {
            return Ok(Some(DirectoryProblem::InsideDataDirectory { outer: outer.to_owned() }));
        }
    }
    Ok(None)
}

fn content_of(path: &Path) -> Result<DirectoryState, FileError> {
    let entries = fs::sorted_entries(path)?;
    let names: Vec<&OsStr> = entries.iter().map(|entry| entry.name.as_os_str()).collect();
    // A marker that was being written when its restore was killed has no name yet.
    let is_nothing = |name: &&OsStr| *name == LOST_AND_FOUND || name.to_string_lossy().starts_with(STAGED_PREFIX);
    if names.iter().all(is_nothing) {
        return Ok(DirectoryState::Empty);
    }
    let control = match fs::read_at_most(&path.join(ControlFile::PATH), SMALL_FILE_BYTES_MAX) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(error),
    };
    let marker = if names.contains(&OsStr::new(MARKER_FILE)) { read_marker(path)? } else { None };
    let has_marker = marker.is_some();
    match (marker, &control) {
        (Some(marker), None) => Ok(DirectoryState::KilledRestore(Box::new(marker))),
        (_, control) => {
            let decoded = control.as_ref().and_then(|bytes| ControlFile::decode(bytes).ok());
            let of_server = |name: &&OsStr| {
                matches!(name.to_str(), Some("PG_VERSION" | "base" | "global" | "pg_wal"))
                    || name.to_str().is_some_and(|name| name.starts_with("PG_"))
            };
            let looks_like_postgresql = control.is_some() || names.iter().any(of_server);
            let system_identifier = decoded.map(|control| control.system_identifier);
            Ok(DirectoryState::Occupied { system_identifier, looks_like_postgresql, has_marker })
        }
    }
}

/// The marker; one that was cut short by a crash is none.
fn read_marker(directory: &Path) -> Result<Option<Marker>, FileError> {
    let bytes = fs::read_at_most(&directory.join(MARKER_FILE), SMALL_FILE_BYTES_MAX)?;
    Ok(serde_json::from_slice(&bytes).ok())
}

fn aside(path: &Path, now: Timestamp) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(now.strftime(".pgv-%Y%m%dT%H%M%SZ").to_string());
    path.with_file_name(name)
}
