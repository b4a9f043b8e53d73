//! Carries a plan out.
//!
//! ORDER: the marker comes first and goes last; `global/pg_control` gets its name when everything else is durable.
//! Without it no server starts, so that a restore that was killed anywhere can never be mistaken for a database.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::content::{PieceList, PlannedFile, tablespace_of};
use super::error::RestoreError;
use super::files::FileWriter;
use super::plan::RestorePlan;
use super::tablespaces::tablespace_map;
use super::target_directory::{DirectoryAction, MARKER_FILE, Marker};
use crate::clock::Clock;
use crate::fs::{self, StagedFile, Tree};
use crate::pg::{ControlFile, DataPath};
use crate::report::{Cancel, Reporter};
use crate::repository::{FileEntry, FileKind, Repository};

/// The control file's name until everything else is durable.
const STAGED_CONTROL_FILE: &str = "global/pg_control.pgv-staged";
/// Files of a backup that are not restored: they are written anew, or belong to a server that ran.
const LEFT_OUT: [&[u8]; 8] = [
    b"backup_label",
    b"tablespace_map",
    b"backup_manifest",
    b"postgresql.auto.conf",
    b"recovery.signal",
    b"standby.signal",
    b"postmaster.pid",
    MARKER_FILE.as_bytes(),
];

/// What an executor works with.
pub(super) struct Executor<'a> {
    pub(super) repository: &'a Repository,
    pub(super) plan: &'a RestorePlan,
    pub(super) clock: &'a dyn Clock,
    pub(super) cancel: &'a Cancel,
    pub(super) reporter: &'a dyn Reporter,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

impl Executor<'_> {
    pub(super) fn run(&self) -> Result<Written, RestoreError> {
        let directories = self.plan.all_directories();
        self.poll()?;
        self.make_room()?;
        self.step("marking the directory as unfinished")?;
        let marker = self.marker();
        let text = serde_json::to_vec_pretty(&marker).map_err(RestoreError::Marker)?;
        let mut trees = Vec::new();
        for (path, _) in &directories {
            trees.push(self.take_possession(path, &text)?);
        }
        let Some(data) = trees.first() else { return Err(RestoreError::Cancelled) };

        let pieces = self.create_tree(&trees)?;
        self.step("writing files")?;
        let written = self.write_files(&trees, &pieces)?;
        self.step("writing settings")?;
        self.write_settings(data)?;
        self.step("making everything durable")?;
        for tree in &trees {
            tree.sync_everything()?;
        }
        self.step("ending")?;
        // ORDER: a tablespace that still has a marker is emptied by the next restore. That must never happen to one
        // whose cluster has its control file.
        for tree in trees.iter().skip(1) {
            tree.remove_file_durably(Path::new(MARKER_FILE))?;
        }
        self.poll()?;
        data.sync_file(Path::new(STAGED_CONTROL_FILE))?;
        data.rename_durably(Path::new(STAGED_CONTROL_FILE), Path::new(ControlFile::PATH))?;
        data.remove_file_durably(Path::new(MARKER_FILE))?;
        Ok(written)
    }

    fn poll(&self) -> Result<(), RestoreError> {
        if self.cancel.is_cancelled() { Err(RestoreError::Cancelled) } else { Ok(()) }
    }

    fn step(&self, message: &str) -> Result<(), RestoreError> {
        self.reporter.step(message);
        self.poll()
    }

    fn marker(&self) -> Marker {
        Marker {
            restore: uuid::Uuid::new_v4().simple().to_string(),
            directory: self.plan.directory.path.clone(),
            system_identifier: self.plan.cluster.system_identifier,
            backup: self.plan.record.id,
            started: self.clock.now(),
        }
    }

    /// Renames what is in the way, removes what a killed restore left, and creates what is missing.
    fn make_room(&self) -> Result<(), RestoreError> {
        for (path, action) in self.plan.all_directories() {
            match action {
                DirectoryAction::Use => {}
                DirectoryAction::Create => self.create(path)?,
                DirectoryAction::MoveAside { to } => {
                    self.reporter.step(&format!("renaming \"{}\" to \"{}\"", path.display(), to.display()));
                    fs::rename_aside(path, to)?;
                    self.create(path)?;
                }
                // ORDER: the marker of the data directory goes last, or the rest would look like somebody's.
                DirectoryAction::Empty => {
                    self.reporter.step(&format!("emptying \"{}\" of a killed restore", path.display()));
                    let tree = Tree::open(path)?;
                    tree.remove_content(&[OsStr::new(MARKER_FILE), OsStr::new("lost+found")])?;
                    if *path != self.plan.directory.path {
                        tree.remove_file_durably(Path::new(MARKER_FILE))?;
                    }
                }
            }
        }
        if self.plan.directory.action == DirectoryAction::Empty {
            Tree::open(&self.plan.directory.path)?.remove_file_durably(Path::new(MARKER_FILE))?;
        }
        Ok(())
    }

    fn create(&self, path: &Path) -> Result<(), RestoreError> {
        if let Some(parent) = self.plan.tablespace_parents.iter().find(|parent| path.starts_with(parent)) {
            fs::create_directory(parent)?;
        }
        if fs::create_directory(path)? {
            return Ok(());
        }
        Err(RestoreError::DirectoryChanged { directory: path.to_owned() })
    }

    /// From here on the directory is marked as ours. Who else came in between is noticed.
    fn take_possession(&self, path: &Path, marker: &[u8]) -> Result<Tree, RestoreError> {
        let tree = Tree::open(path)?;
        tree.set_mode(if self.plan.group_access { 0o750 } else { 0o700 })?;
        let mut staged = StagedFile::create_in(path)?;
        staged.write_all(marker)?;
        let published = staged.publish_new(&path.join(MARKER_FILE))?;
        let expected = |name: &OsStr| {
            name == MARKER_FILE || name == "lost+found" || name.to_string_lossy().starts_with(".pgv-staged-")
        };
        let entries = fs::sorted_entries(path)?;
        if published != fs::Published::Created || !entries.iter().all(|entry| expected(&entry.name)) {
            return Err(RestoreError::DirectoryChanged { directory: path.to_owned() });
        }
        Ok(tree)
    }

    /// Creates every directory and every empty file, and lists the parts of all others.
    fn create_tree(&self, trees: &[Tree]) -> Result<PieceList, RestoreError> {
        let record = &self.plan.record;
        let map = self.repository.file_map(&self.plan.cluster, record)?;
        let mut pieces = PieceList::default();
        let mut known: BTreeSet<(usize, PathBuf)> = BTreeSet::new();
        let ours: BTreeSet<&Path> = self.plan.configuration.files.iter().map(|(path, _)| path.as_path()).collect();
        map.for_each(&mut |path: DataPath, entry: FileEntry| {
            let in_tablespace = tablespace_of(&path, record);
            let (tree, relative) = match &in_tablespace {
                Some((oid, Some(below))) => (self.plan.tree_of(*oid), below.to_path()),
                // The entry of the tablespace itself becomes a link.
                Some((_, None)) => return Ok(()),
                None => (Some(0), path.to_path()),
            };
            if LEFT_OUT.contains(&path.as_bytes()) || ours.contains(relative) {
                return Ok(());
            }
            let (Some(number), Some(target)) = (tree, tree.and_then(|tree| trees.get(tree))) else {
                return Err(RestoreError::Incomplete { backup: record.id, what: "place for a tablespace" });
            };
            match entry.kind {
                FileKind::Directory => {
                    self.create_parents(target, number, relative, &mut known)?;
                    target.create_directory(relative, self.directory_mode(entry.mode))?;
                    known.insert((number, relative.to_owned()));
                }
                FileKind::Link { .. } => {
                    return Err(RestoreError::Incomplete { backup: record.id, what: "tablespace for a link in it" });
                }
                FileKind::File { bytes, digest, extents } => {
                    self.create_parents(target, number, relative, &mut known)?;
                    let is_control = number == 0 && path.as_bytes() == ControlFile::PATH.as_bytes();
                    let relative = if is_control { PathBuf::from(STAGED_CONTROL_FILE) } else { relative.to_owned() };
                    let mode = self.file_mode(entry.mode);
                    pieces.add(PlannedFile { path, tree: number, relative, mode, bytes, digest }, &extents);
                }
            }
            Ok(())
        })?;
        for name in ["pg_tblspc", "pg_wal", "pg_wal/archive_status"] {
            if let Some(data) = trees.first() {
                data.create_directory(Path::new(name), self.directory_mode(0o750))?;
            }
        }
        pieces.sort();
        Ok(pieces)
    }

    /// Servers name every directory; a map need not.
    fn create_parents(
        &self,
        tree: &Tree,
        number: usize,
        relative: &Path,
        known: &mut BTreeSet<(usize, PathBuf)>,
    ) -> Result<(), RestoreError> {
        let parents = relative.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty());
        let missing: Vec<&Path> =
            parents.take_while(|parent| !known.contains(&(number, (*parent).to_owned()))).collect();
        for parent in missing.into_iter().rev() {
            tree.create_directory(parent, self.directory_mode(0o750))?;
            known.insert((number, parent.to_owned()));
        }
        Ok(())
    }

    fn write_files(&self, trees: &[Tree], pieces: &PieceList) -> Result<Written, RestoreError> {
        let mut writer = FileWriter::new(self.repository, trees, &self.plan.record.id, pieces);
        let total_bytes = pieces.files.iter().map(|file| file.bytes).sum();
        writer.create_empty_files()?;
        let map = self.repository.file_map(&self.plan.cluster, &self.plan.record)?;
        for of_pack in pieces.by_pack() {
            let Some(first) = of_pack.first() else { continue };
            let pack = map.open_pack(first.pack)?;
            writer.write_pack(&pack, of_pack, &mut |done_bytes| {
                self.reporter.progress(&crate::report::Progress {
                    phase: "restoring",
                    done_bytes,
                    total_bytes: Some(total_bytes),
                });
                self.poll()
            })?;
        }
        self.step("checking files that were written in parts")?;
        writer.finish(&|| self.poll())?;
        Ok(Written { files: pieces.files.len() as u64, bytes: total_bytes })
    }

    /// Everything that makes the files a cluster that recovers; but for the control file's name.
    fn write_settings(&self, data: &Tree) -> Result<(), RestoreError> {
        let (plan, mode) = (self.plan, self.file_mode(0o640));
        let write = |name: &Path, content: &[u8]| data.create_file_with(name, mode, content);
        let places: Vec<(u32, PathBuf)> =
            plan.tablespaces.iter().map(|tablespace| (tablespace.oid, tablespace.path.clone())).collect();
        for (oid, directory) in &places {
            data.create_link(&Path::new("pg_tblspc").join(oid.to_string()), directory)?;
        }
        if !places.is_empty() {
            write(Path::new("tablespace_map"), &tablespace_map(&places))?;
        }
        for folder in &plan.configuration.folders {
            data.create_directory(folder, self.directory_mode(0o750))?;
        }
        for (path, content) in &plan.configuration.files {
            write(path, content)?;
        }
        // It may hold a password: never for the group.
        data.create_file_with(Path::new("postgresql.auto.conf"), 0o600, &plan.configuration.auto_conf)?;
        if let Some(manifest) = &plan.manifest {
            write(Path::new("backup_manifest"), manifest)?;
        }
        write(Path::new(plan.mode.signal_file()), b"")?;
        write(Path::new("backup_label"), &plan.backup_label)?;
        Ok(())
    }

    /// INVARIANT: never looser than the server allows: the owner alone, or the group may read.
    fn file_mode(&self, mode: u32) -> u32 {
        if self.plan.group_access { (mode & 0o040) | 0o600 } else { 0o600 }
    }

    fn directory_mode(&self, mode: u32) -> u32 {
        if self.plan.group_access { (mode & 0o050) | 0o700 } else { 0o700 }
    }
}
