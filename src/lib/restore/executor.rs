//! Carries a plan out.
//!
//! ORDER: marker, directories and tablespace links, files with every digest checked, settings, signal file,
//! tablespace_map and backup_label, the segments of the old pg_wal (the complete ones also into the archive: when all
//! else is there), sync of everything, the rename of `global/pg_control`, and last the marker goes.
//! INVARIANT: without `global/pg_control` no server starts, so a restore that ends early never becomes a database.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::control_file;
use super::error::RestoreError;
use super::file_writer::{FileWriter, Piece, Target};
use super::harmless::CopyConfiguration;
use super::map_check;
use super::old_wal::OldWalCopy;
use super::places::{MOVED_ASIDE, Places, STAGED_CONTROL_FILE};
use super::plan::RestorePlan;
use super::settings::{self, PreparedSettings};
use super::tablespaces::tablespace_map;
use super::target_directory::{DirectoryAction, MARKER, Marker, is_empty, may_be_emptied};
use crate::clock::Clock;
use crate::codec::CompressionLevel;
use crate::error::{Classified, ErrorClass};
use crate::fs::{self, Tree};
use crate::pg::ControlFile;
use crate::report::{Cancel, Reporter};
use crate::repository::{
    ClusterRef, DocumentKind, FileEntry, FileKind, FileMap, Repository, RepositoryError, SinkError,
};
use crate::server::running_postmaster;

/// What is needed to carry a plan out.
pub(super) struct Executor<'a> {
    pub(super) repository: &'a Repository,
    pub(super) cluster: &'a ClusterRef,
    pub(super) plan: &'a RestorePlan,
    pub(super) settings: &'a PreparedSettings,
    pub(super) host: &'a str,
    pub(super) level: CompressionLevel,
    pub(super) clock: &'a dyn Clock,
    pub(super) reporter: &'a dyn Reporter,
    pub(super) cancel: &'a Cancel,
}

impl Executor<'_> {
    /// Also says what the settings of the copy are.
    pub(super) fn run(&self) -> Result<CopyConfiguration, RestoreError> {
        if self.cancel.is_cancelled() {
            return Err(RestoreError::CancelledBefore);
        }
        let mut begun = Begun::default();
        self.carry_out(&mut begun).map_err(|error| {
            for (from, to) in &begun.moved {
                let (from, to) = (from.display(), to.display());
                self.reporter.warn(&format!("what was \"{from}\" is \"{to}\" now, with all that was in it"));
            }
            // INVARIANT: "refused" says that nothing was touched (docs/exit-statuses.md).
            match error.class() {
                ErrorClass::Refused | ErrorClass::Conflict | ErrorClass::InvalidInput | ErrorClass::Unsupported
                    if begun.is_touched =>
                {
                    RestoreError::GivenUp { path: self.plan.directory.clone(), source: Box::new(error) }
                }
                _ => error,
            }
        })
    }

    fn carry_out(&self, begun: &mut Begun) -> Result<CopyConfiguration, RestoreError> {
        let (data, aside) = self.prepare(&self.plan.directory, self.plan.directory_action, begun)?;
        let mut trees = BTreeMap::new();
        for tablespace in &self.plan.tablespaces {
            trees.insert(tablespace.oid, self.prepare(&tablespace.path, tablespace.action, begun)?.0);
        }
        let places = Places { data, tablespaces: trees };
        let map = self.repository.file_map(self.cluster, &self.plan.record)?;
        let targets = self.create_everything(&map, &places)?;
        self.write_content(&map, &targets, &places)?;
        control_file::check(&places.data.path().join(STAGED_CONTROL_FILE), self.plan, self.cluster)?;
        self.cancelled()?;
        let written = settings::write(&places.data, self.repository, self.cluster, self.plan, self.settings)?;
        for warning in &written.warnings {
            self.reporter.warn(warning);
        }
        self.write_documents(&places)?;
        self.copy_old_wal(&places, aside.as_deref())?;
        self.reporter.step("making everything durable");
        for tree in places.all() {
            tree.sync_everything()?;
        }
        self.cancelled()?;
        places.data.rename_durably(Path::new(STAGED_CONTROL_FILE), Path::new(ControlFile::PATH))?;
        // ORDER: while there is no control file, every directory has its marker, so that the same command can begin anew.
        for tree in places.all() {
            tree.remove_file_durably(Path::new(MARKER))?;
        }
        Ok(written.settings)
    }

    /// The old pg_wal may have been renamed with the directory in which it lies.
    fn copy_old_wal(&self, places: &Places, aside: Option<&Path>) -> Result<(), RestoreError> {
        let Some(what) = &self.plan.old_wal else { return Ok(()) };
        let moved = aside.and_then(|aside| Some(aside.join(what.folder.strip_prefix(&self.plan.directory).ok()?)));
        let copy = OldWalCopy {
            repository: self.repository,
            cluster: self.cluster,
            what,
            folder: moved.unwrap_or_else(|| what.folder.clone()),
            data: &places.data,
            file_mode: fs::PRIVATE_FILE_MODE | (0o040 & self.plan.mode_mask),
            level: self.level,
            host: self.host,
            now: self.clock.now(),
            reporter: self.reporter,
            cancel: self.cancel,
        };
        copy.run()
    }

    fn cancelled(&self) -> Result<(), RestoreError> {
        if self.cancel.is_cancelled() {
            return Err(RestoreError::Cancelled { path: self.plan.directory.clone() });
        }
        Ok(())
    }

    /// Makes an empty directory with our marker in it; also says what the one in the way is called now.
    fn prepare(
        &self,
        path: &Path,
        action: DirectoryAction,
        begun: &mut Begun,
    ) -> Result<(Tree, Option<PathBuf>), RestoreError> {
        let mut moved_to = None;
        match action {
            DirectoryAction::MoveAside => {
                let aside = aside(path, self.clock);
                // The plan was made some time ago.
                if let Some(pid) = running_postmaster(path)? {
                    return Err(RestoreError::ServerRuns { path: path.to_owned(), pid });
                }
                self.reporter.step(&format!("renaming \"{}\" to \"{}\"", path.display(), aside.display()));
                fs::rename_aside(path, &aside)?;
                begun.is_touched = true;
                begun.moved.push((path.to_owned(), aside.clone()));
                fs::create_directory(path)?;
                moved_to = Some(aside);
            }
            DirectoryAction::Create => {
                fs::create_directory(path)?;
            }
            DirectoryAction::Fill | DirectoryAction::EmptyAndFill => {}
        }
        let tree = Tree::open(path)?;
        self.hold(&tree, action)?;
        begun.is_touched = true;
        if action == DirectoryAction::EmptyAndFill {
            self.reporter.step(&format!("removing what a killed restore left in \"{}\"", path.display()));
            tree.remove_content(&[MARKER.as_ref(), "lost+found".as_ref()])?;
        }
        let marker = Marker {
            restore: self.plan.restore_id.clone(),
            system_identifier: self.cluster.system_identifier,
            backup: self.plan.record.id,
            data_directory: self.plan.directory.clone(),
        };
        let text = serde_json::to_vec_pretty(&marker).unwrap_or_default();
        fs::replace_file(&path.join(MARKER), &text, fs::PRIVATE_FILE_MODE)?;
        // From here on it is marked as ours; who came in since it was looked at is noticed.
        let is_ours = |entry: &fs::DirectoryEntry| entry.name == MARKER || entry.name == "lost+found";
        if !fs::sorted_entries(path)?.iter().all(is_ours) {
            let problem = "something else came into it meanwhile".to_owned();
            return Err(RestoreError::UnsafeTarget { path: path.to_owned(), problem, move_aside_helps: false });
        }
        tree.set_mode(self.plan.directory_mode)?;
        Ok((tree, moved_to))
    }

    /// The plan was made some time ago: holds the directory against other restores, and looks again.
    fn hold(&self, tree: &Tree, action: DirectoryAction) -> Result<(), RestoreError> {
        let path = tree.path();
        let refused = |problem: &str| {
            let (path, problem) = (path.to_owned(), problem.to_owned());
            Err(RestoreError::UnsafeTarget { path, problem, move_aside_helps: false })
        };
        if !tree.lock()? {
            return refused("another pgv-restore is writing into it");
        }
        let is_as_planned = match action {
            DirectoryAction::EmptyAndFill => may_be_emptied(path)?,
            DirectoryAction::Fill | DirectoryAction::Create | DirectoryAction::MoveAside => {
                is_empty(&fs::sorted_entries(path)?)
            }
        };
        if is_as_planned { Ok(()) } else { refused("somebody else has just written into it") }
    }

    /// Creates directories, links and empty files; the map is sorted, so parents come first.
    fn create_everything(&self, map: &FileMap<'_>, places: &Places) -> Result<Vec<(Target, FileEntry)>, RestoreError> {
        let mut targets = Vec::new();
        map.for_each(&mut |path, entry| {
            self.cancelled()?;
            map_check::check(&self.plan.record, &path, &entry.kind)?;
            let (tree, relative) = places.place_of(&path);
            let mode = entry.mode & self.plan.mode_mask;
            match &entry.kind {
                FileKind::Directory => {
                    // COMPAT: servers do not send the directory of a tablespace that lies in the data directory.
                    for above in relative.ancestors().skip(1).collect::<Vec<_>>().into_iter().rev().skip(1) {
                        tree.create_directory(above, self.plan.directory_mode)?;
                    }
                    if !relative.as_os_str().is_empty() {
                        tree.create_directory(&relative, mode | 0o700)?;
                    }
                }
                FileKind::Link { target } => {
                    let oid = path.file_name();
                    let plan = self.plan.tablespaces.iter().find(|plan| plan.oid.to_string().as_bytes() == oid);
                    tree.create_link(path.to_path(), plan.map_or(target, |plan| &plan.path))?;
                }
                FileKind::File { bytes, digest, .. } => {
                    let target = Target { path, bytes: *bytes, digest: *digest, mode: mode | 0o600 };
                    targets.push((target, entry));
                }
            }
            Ok::<(), RestoreError>(())
        })?;
        Ok(targets)
    }

    /// Reads each pack once, in order, and writes what is in it where it belongs.
    fn write_content(
        &self,
        map: &FileMap<'_>,
        targets: &[(Target, FileEntry)],
        places: &Places,
    ) -> Result<(), RestoreError> {
        let mut packs: BTreeMap<u32, Vec<Piece>> = BTreeMap::new();
        let mut writer = FileWriter::new(self, places, targets);
        for (number, (target, entry)) in targets.iter().enumerate() {
            let mut offset = 0;
            if let FileKind::File { extents, .. } = &entry.kind {
                for extent in extents {
                    let from = extent.offset..extent.offset.saturating_add(extent.length);
                    packs.entry(extent.pack).or_default().push(Piece { from, file: number, offset });
                    offset += extent.length;
                }
            }
            if target.bytes == 0 {
                writer.create(number)?;
                writer.finish(number)?;
            }
        }
        for (number, mut pieces) in packs {
            pieces.sort_by_key(|piece| (piece.from.start, piece.file));
            let pack = map.open_pack(number)?;
            let mut first = 0;
            let ranges: Vec<_> = pieces.iter().map(|piece| piece.from.clone()).collect();
            let read = pack.read_frames_of(ranges, &mut |at, plain| {
                self.cancelled()?;
                let end = at + plain.len() as u64;
                // Pieces that ended before this frame are done; they are sorted by their beginning.
                while pieces.get(first).is_some_and(|piece| piece.from.end <= at) {
                    first += 1;
                }
                for piece in pieces.iter().skip(first).take_while(|piece| piece.from.start < end) {
                    writer.write(piece, at, plain)?;
                }
                Ok(())
            });
            match read {
                Ok(()) => {}
                Err(SinkError::Repository(error)) => return Err(error.into()),
                Err(SinkError::Sink(error)) => return Err(error),
            }
        }
        writer.finish_all()
    }

    /// The label decides where recovery begins; the manifest is kept for pg_verifybackup.
    fn write_documents(&self, places: &Places) -> Result<(), RestoreError> {
        let backup = self.plan.record.id;
        let mut has_label = false;
        for document in &self.plan.record.documents {
            let load =
                || -> Result<Vec<u8>, RepositoryError> { self.repository.document(self.cluster, &backup, document) };
            let (name, content) = match document.kind {
                DocumentKind::BackupLabel => {
                    has_label = true;
                    ("backup_label", load()?)
                }
                DocumentKind::TablespaceMap => {
                    ("tablespace_map", tablespace_map(backup, &load()?, &self.plan.tablespaces)?)
                }
                DocumentKind::BackupManifest => ("backup_manifest", load()?),
                DocumentKind::Configuration => continue,
            };
            let mode = fs::PRIVATE_FILE_MODE | (0o040 & self.plan.mode_mask);
            places.data.create_file_with(Path::new(name), mode, &content)?;
        }
        if has_label { Ok(()) } else { Err(RestoreError::NoDocument { backup, document: "backup_label" }) }
    }
}

/// What was done before a restore ended early.
#[derive(Default)]
struct Begun {
    is_touched: bool,
    /// What was renamed, and what to.
    moved: Vec<(PathBuf, PathBuf)>,
}

/// The name that a directory in the way gets.
fn aside(path: &Path, clock: &dyn Clock) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!("{MOVED_ASIDE}{}", clock.now().strftime("%Y%m%dT%H%M%SZ")));
    path.with_file_name(name)
}

#[cfg(test)]
#[path = "extents_tests.rs"]
mod tests;
