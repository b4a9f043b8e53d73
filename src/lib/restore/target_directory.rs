//! Whether a directory may be restored into. Looked at before anything is touched; nothing is ever deleted but what a
//! killed restore left under our own marker, and what a person named with --delta.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::apart::{Kept, Neighbour};
use super::error::RestoreError;
use super::marker::{MARKER, Marker, killed_restore, read_marker, was_started};
use super::refusal::WayOut;
use crate::fs::{self, DirectoryEntry, PathKind};
use crate::pg::{ControlFile, SystemIdentifier};
use crate::repository::BackupId;
use crate::server::postmaster_of;

/// How files begin that were never given their names.
pub(super) const STAGED_PREFIX: &str = ".pgv-staged-";
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
    /// It is of this cluster: what is right in it stays, the rest becomes what was backed up or goes.
    Update,
    /// A killed restore of this backup left it: what is right in it stays.
    Resume,
}

impl DirectoryAction {
    /// Whether what is there stays where it is right.
    pub(super) fn keeps_content(self) -> bool {
        matches!(self, Self::Update | Self::Resume)
    }
}

/// What may be done with what is in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InTheWay {
    /// Nothing but emptying what a killed restore left.
    Refuse,
    /// It is renamed.
    MoveAside,
    /// What is right stays, if it is of the same cluster.
    Delta,
    /// What is right stays of a killed restore of the same backup.
    Resume,
}

/// What is asked of a directory.
#[derive(Debug, Clone)]
pub(super) struct DirectoryCheck<'a> {
    /// The directory, as an absolute path without links.
    pub path: &'a Path,
    /// The cluster that is restored.
    pub system_identifier: SystemIdentifier,
    /// What it must stay apart from: the repository, other tablespaces, what other servers use.
    pub apart_from: &'a [Neighbour],
    /// The backup that is restored.
    pub backup: BackupId,
    /// What may be done with what is in the way.
    pub in_the_way: InTheWay,
    /// The home directory of this account, which is nobody's data directory.
    pub home: Option<&'a Path>,
    /// What it is for.
    pub role: DirectoryRole<'a>,
}

/// What a directory is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum DirectoryRole<'a> {
    /// The data directory.
    Data,
    /// A tablespace. Its marker proves nothing alone: a restore that was killed in its last moment may have left it in
    /// the tablespace of a whole cluster. It counts when the killed restore of the data directory, whose marker this
    /// is, wrote it.
    Tablespace(Option<&'a Marker>),
    /// A tablespace to which the link of a data directory leads that is updated.
    LinkedTablespace,
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
            return Err(
                self.refused("it is not a directory (links are not followed: name where it leads)", WayOut::None)
            );
        }
        let account = rustix::process::geteuid().as_raw();
        if facts.owner != account {
            let problem = format!("it belongs to user id {}, and this is user id {account}", facts.owner);
            return Err(self.refused(&problem, WayOut::None));
        }
        let entries = fs::sorted_entries(self.path)?;
        let is_staged = |entry: &&DirectoryEntry| entry.name.to_string_lossy().starts_with(STAGED_PREFIX);
        let has_content = entries.iter().any(|entry| entry.name != "lost+found" && !is_staged(&entry));
        if !facts.is_writable {
            return Err(self.refused("it is not writable", WayOut::None));
        }
        if !has_content {
            // A restore may have been killed while it wrote its marker.
            let is_empty = !entries.iter().any(|entry| is_staged(&entry));
            return Ok(if is_empty { DirectoryAction::Fill } else { DirectoryAction::EmptyAndFill });
        }
        let is_mount_point = self.is_mount_point(facts.device)?;
        if let Some(pid) = postmaster_of(self.path)? {
            return Err(RestoreError::ServerRuns { path: self.path.to_owned(), pid });
        }
        match self.left_by_a_killed_restore()? {
            Some(marker) if marker.had_content && self.in_the_way == InTheWay::MoveAside => {}
            Some(marker) => return self.with_killed_restore(&marker),
            None => {}
        }
        self.refuse_other_cluster()?;
        if matches!(self.in_the_way, InTheWay::Delta | InTheWay::MoveAside) {
            self.refuse_neighbours(Kept::Files)?;
        }
        if self.in_the_way == InTheWay::Delta && self.is_of_the_cluster()? {
            return Ok(DirectoryAction::Update);
        }
        if self.in_the_way != InTheWay::MoveAside {
            return Err(self.refused(self.what_is_there(&entries)?, WayOut::MoveAside));
        }
        if is_mount_point {
            return Err(self.refused("it is a mount point, which cannot be renamed; empty it yourself", WayOut::None));
        }
        if !entries.iter().any(|entry| self.is_postgresql(&entry.name)) {
            return Err(
                self.refused("it holds something else than PostgreSQL's files, which is left alone", WayOut::None)
            );
        }
        self.check_parent()?;
        Ok(DirectoryAction::MoveAside)
    }

    /// What is done with a directory that a killed restore left.
    fn with_killed_restore(&self, marker: &Marker) -> Result<DirectoryAction, RestoreError> {
        match self.in_the_way {
            InTheWay::Refuse if marker.had_content => Err(self.refused(
                "a restore with --delta was killed in it; --delta or --resume goes on with it",
                WayOut::MoveAside,
            )),
            InTheWay::Refuse | InTheWay::MoveAside => Ok(DirectoryAction::EmptyAndFill),
            InTheWay::Resume if marker.backup == self.backup => Ok(DirectoryAction::Resume),
            InTheWay::Resume => {
                let (path, found, expected) = (self.path.to_owned(), marker.backup, self.backup);
                Err(RestoreError::OtherBackup { path, found, expected })
            }
            InTheWay::Delta if marker.system_identifier == self.system_identifier => Ok(DirectoryAction::Update),
            InTheWay::Delta => {
                let (expected, found) = (self.system_identifier, marker.system_identifier);
                Err(RestoreError::OtherCluster { path: self.path.to_owned(), expected, found })
            }
        }
    }

    /// Whether the directory is known to be of the cluster; another one's was refused before.
    fn is_of_the_cluster(&self) -> Result<bool, RestoreError> {
        Ok(match self.role {
            DirectoryRole::Data => fs::is_present(&self.path.join(ControlFile::PATH))?,
            DirectoryRole::LinkedTablespace => true,
            DirectoryRole::Tablespace(_) => false,
        })
    }

    fn what_is_there(&self, entries: &[DirectoryEntry]) -> Result<&'static str, RestoreError> {
        let has_marker = entries.iter().any(|entry| entry.name == MARKER) && matches!(self.role, DirectoryRole::Data);
        let has_control_file = has_marker && fs::is_present(&self.path.join(ControlFile::PATH))?;
        if has_marker && !has_control_file && was_started(self.path)? {
            return Ok("it has lost its control file, and a server was started in it since its restore");
        }
        // Killed between the last two steps: it can be started as it is.
        Ok(match (has_control_file, self.in_the_way, self.role) {
            (true, _, _) => {
                "it holds a restore that is complete: it can be started as it is, and the pgv-restore.incomplete in it may \
                 be removed"
            }
            (false, InTheWay::Resume, _) => "it is not empty, and no killed restore left it",
            (false, InTheWay::Delta, DirectoryRole::Data) => "it is not empty, and no control file says whose it is",
            (false, InTheWay::Delta, _) => "it is not empty, and no link of the data directory leads to it",
            (false, _, _) => "it is not empty",
        })
    }

    /// Whether a file system is mounted there: its parent lies on another one.
    fn is_mount_point(&self, device: u64) -> Result<bool, RestoreError> {
        let parent = self.path.parent().unwrap_or(self.path);
        Ok(fs::look_at(parent)?.is_some_and(|above| above.device != device))
    }

    /// Whether a name is one that a server puts there.
    fn is_postgresql(&self, name: &OsStr) -> bool {
        let name = name.to_string_lossy();
        match self.role {
            DirectoryRole::Data => DATA_DIRECTORY_NAMES.contains(&name.as_ref()) || name == MARKER,
            DirectoryRole::Tablespace(_) | DirectoryRole::LinkedTablespace => name.starts_with("PG_") || name == MARKER,
        }
    }

    fn refused(&self, problem: &str, way_out: WayOut) -> RestoreError {
        RestoreError::UnsafeTarget { path: self.path.to_owned(), problem: problem.to_owned(), way_out }
    }

    fn refuse_by_name(&self) -> Result<(), RestoreError> {
        if SYSTEM_DIRECTORIES.iter().any(|system| self.path == Path::new(system)) {
            return Err(self.refused("it is a directory of the system", WayOut::None));
        }
        if self.home.is_some_and(|home| fs::real_path(home).is_ok_and(|home| home == self.path)) {
            return Err(self.refused("it is the home directory of this account", WayOut::None));
        }
        self.refuse_neighbours(Kept::Place)?;
        for above in self.path.ancestors().skip(1) {
            // What may not be looked at is not ours to judge.
            if let Ok(true) = fs::is_present(&above.join("PG_VERSION")) {
                return Err(
                    self.refused(&format!("it lies in the data directory \"{}\"", above.display()), WayOut::None)
                );
            }
        }
        Ok(())
    }

    fn refuse_neighbours(&self, kept: Kept) -> Result<(), RestoreError> {
        for other in self.apart_from.iter().filter(|other| other.kept == kept) {
            let real = fs::real_path(&other.path).unwrap_or_else(|_| other.path.clone());
            let (what, place) = (&other.what, real.display());
            let problem = if self.path == real {
                format!("it is {what}")
            } else if self.path.starts_with(&real) {
                format!("it lies in {what}, \"{place}\"")
            } else if real.starts_with(self.path) {
                format!("it holds {what}, \"{place}\"")
            } else {
                continue;
            };
            let way_out = match (self.role, kept) {
                (DirectoryRole::Data, _) => WayOut::None,
                (_, Kept::Place) => WayOut::OtherPlace,
                (_, Kept::Files) => WayOut::OtherPlaceOrLink,
            };
            return Err(self.refused(&problem, way_out));
        }
        Ok(())
    }

    /// The directory above must be there and take new names.
    fn check_parent(&self) -> Result<(), RestoreError> {
        let parent = self.path.parent().unwrap_or(Path::new("/"));
        match fs::look_at(parent)? {
            Some(facts) if facts.kind == PathKind::Directory && facts.is_writable => Ok(()),
            Some(facts) if facts.kind == PathKind::Directory => Err(self
                .refused(&format!("the directory above it, \"{}\", is not writable", parent.display()), WayOut::None)),
            _ => Err(self.refused(&format!("there is no directory \"{}\" above it", parent.display()), WayOut::None)),
        }
    }

    fn left_by_a_killed_restore(&self) -> Result<Option<Marker>, RestoreError> {
        let marker = match self.role {
            DirectoryRole::Data => return killed_restore(self.path),
            DirectoryRole::Tablespace(None) | DirectoryRole::LinkedTablespace => return Ok(None),
            DirectoryRole::Tablespace(Some(marker)) => marker,
        };
        let is_same = |own: &Marker| own.restore == marker.restore && own.data_directory == marker.data_directory;
        Ok(read_marker(self.path)?.filter(is_same))
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
            Err(_) if self.in_the_way == InTheWay::MoveAside => return Ok(()),
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

/// Whether a restore removes from a data directory whatever it does not write itself, WAL and all.
pub(super) fn is_cleared(path: &Path, in_the_way: InTheWay) -> Result<bool, RestoreError> {
    Ok(match in_the_way {
        InTheWay::Delta => true,
        InTheWay::Refuse | InTheWay::MoveAside => killed_restore(path)?.is_some_and(|marker| !marker.had_content),
        // What another restore began with was looked through then.
        InTheWay::Resume => false,
    })
}

/// Whether a directory that was to be emptied still is what a killed restore left: it has a marker, or not even that,
/// and no control file.
pub(super) fn may_be_emptied(path: &Path) -> Result<bool, RestoreError> {
    if fs::is_present(&path.join(ControlFile::PATH))? {
        return Ok(false);
    }
    let is_ours =
        |entry: &DirectoryEntry| entry.name == "lost+found" || entry.name.to_string_lossy().starts_with(STAGED_PREFIX);
    Ok(match read_marker(path)? {
        Some(marker) => !marker.had_content && !was_started(path)?,
        None => fs::sorted_entries(path)?.iter().all(is_ours),
    })
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
