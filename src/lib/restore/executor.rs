//! Carries a plan out.
//!
//! ORDER: marker, directories and tablespace links, files with every digest checked, settings, signal file,
//! tablespace_map and backup_label, the segments of the old pg_wal (the complete ones also into the archive: when all
//! else is there), sync of everything, the rename of `global/pg_control`, and last the marker goes.
//! INVARIANT: without `global/pg_control` no server starts, so a restore that ends early never becomes a database.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::content::{Content, ContentReport, Touch, is_of_other_major};
use super::control_file;
use super::emptied;
use super::error::RestoreError;
use super::harmless::CopyConfiguration;
use super::manifest::{MANIFEST, ManifestWriter};
use super::marker::{MARKER, Marker};
use super::old_wal::OldWalCopy;
use super::places::{MOVED_ASIDE, Places, STAGED_CONTROL_FILE};
use super::plan::RestorePlan;
use super::refusal::WayOut;
use super::settings::{self, PreparedSettings};
use super::tablespaces::tablespace_map;
use super::target_directory::{DirectoryAction, is_empty, may_be_emptied};
use crate::clock::Clock;
use crate::codec::CompressionLevel;
use crate::error::{Classified, ErrorClass};
use crate::fs::{self, Tree};
use crate::pg::{ControlFile, RestoredArchiving};
use crate::report::{Cancel, Reporter};
use crate::repository::{ClusterRef, DocumentKind, DocumentRef, Repository, RepositoryError, SinkError};
use crate::server::postmaster_of;

/// What is needed to carry a plan out.
pub(super) struct Executor<'a> {
    pub(super) repository: &'a Repository,
    pub(super) cluster: &'a ClusterRef,
    pub(super) plan: &'a RestorePlan,
    pub(super) settings: &'a PreparedSettings,
    pub(super) host: &'a str,
    pub(super) level: CompressionLevel,
    /// Threads that read and write.
    pub(super) jobs: usize,
    /// Whether a manifest of what is restored is written.
    pub(super) manifest: bool,
    pub(super) clock: &'a dyn Clock,
    pub(super) reporter: &'a dyn Reporter,
    pub(super) cancel: &'a Cancel,
}

impl Executor<'_> {
    pub(super) fn run(&self) -> Result<Restored, RestoreError> {
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

    fn carry_out(&self, begun: &mut Begun) -> Result<Restored, RestoreError> {
        let others = emptied::others((self.repository, self.cluster), self.plan, (self.reporter, self.cancel), None)?;
        if let Some(warning) = emptied::warning(&others) {
            self.reporter.warn(&warning);
        }
        self.list_what_is_kept()?;
        let (data, aside) = self.prepare(&self.plan.directory, self.plan.directory_action, begun)?;
        let mut trees = BTreeMap::new();
        for tablespace in &self.plan.tablespaces {
            trees.insert(tablespace.oid, self.prepare(&tablespace.path, tablespace.action, begun)?.0);
        }
        let places = Places { data, tablespaces: trees, control_file: STAGED_CONTROL_FILE };
        // ORDER: every directory has its marker before the control file goes, so that what is killed from then on is known
        // for what it is, and no server starts on it.
        if self.plan.directory_action.keeps_content() {
            self.withdraw_control_file(&places.data)?;
        }
        let map = self.repository.file_map(self.cluster, &self.plan.record)?;
        let (from, to, said) = ((self.repository, &map), (self.plan, &places), (self.reporter, self.cancel));
        let manifest =
            self.manifest.then(|| ManifestWriter::create(self.plan, self.cluster, &places.data)).transpose()?;
        let content = Content::new(from, to, said, self.jobs, Touch::Everything);
        let content = content.with_manifest(manifest.as_ref()).run()?.with_removed(others);
        control_file::check(&places.data.path().join(STAGED_CONTROL_FILE), self.plan, self.cluster)?;
        self.cancelled()?;
        let written = settings::write(&places.data, self.repository, self.cluster, self.plan, self.settings)?;
        for warning in &written.warnings {
            self.reporter.warn(warning);
        }
        self.write_documents(&places)?;
        if let Some(manifest) = manifest {
            manifest.finish()?;
        }
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
        Ok(Restored { settings: written.settings, content })
    }

    /// What may not be listed is told before anything is touched: behind that, nothing can be started.
    fn list_what_is_kept(&self) -> Result<(), RestoreError> {
        let tablespaces = self.plan.tablespaces.iter().map(|one| (&one.path, one.action, true));
        for (path, action, is_tablespace) in
            [(&self.plan.directory, self.plan.directory_action, false)].into_iter().chain(tablespaces)
        {
            if !action.keeps_content() {
                continue;
            }
            let mut is_skipped = |name: &OsStr| {
                name == "lost+found" || (is_tablespace && is_of_other_major(name, self.plan.record.major_version))
            };
            Tree::open(path)?.list(&mut is_skipped, &mut |_, _| match self.cancel.is_cancelled() {
                true => Err(RestoreError::CancelledBefore),
                false => Ok(()),
            })?;
        }
        Ok(())
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
            archives: self.settings.archiving == RestoredArchiving::Unchanged,
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
                if let Some(pid) = postmaster_of(path)? {
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
            DirectoryAction::Fill
            | DirectoryAction::EmptyAndFill
            | DirectoryAction::Update
            | DirectoryAction::Resume => {}
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
            had_content: self.plan.had_content,
        };
        let text = serde_json::to_vec_pretty(&marker).unwrap_or_default();
        fs::replace_file(&path.join(MARKER), &text, fs::PRIVATE_FILE_MODE)?;
        // From here on it is marked as ours; who came in since it was looked at is noticed.
        let is_ours = |entry: &fs::DirectoryEntry| entry.name == MARKER || entry.name == "lost+found";
        if !action.keeps_content() && !fs::sorted_entries(path)?.iter().all(is_ours) {
            let problem = "something else came into it meanwhile".to_owned();
            return Err(RestoreError::UnsafeTarget { path: path.to_owned(), problem, way_out: WayOut::None });
        }
        tree.set_mode(self.plan.directory_mode)?;
        Ok((tree, moved_to))
    }

    /// Takes the control file its name, if it has it: from here on no server starts.
    fn withdraw_control_file(&self, data: &Tree) -> Result<(), RestoreError> {
        if fs::is_present(&data.path().join(ControlFile::PATH))? {
            self.reporter.step("taking the control file its name: no server starts here until all is done");
            data.rename_durably(Path::new(ControlFile::PATH), Path::new(STAGED_CONTROL_FILE))?;
            // One that came in between has read it, and needs it.
            if let Some(pid) = postmaster_of(data.path())? {
                data.rename_durably(Path::new(STAGED_CONTROL_FILE), Path::new(ControlFile::PATH))?;
                return Err(RestoreError::ServerRuns { path: data.path().to_owned(), pid });
            }
        }
        Ok(())
    }

    /// The plan was made some time ago: holds the directory against other restores, and looks again.
    fn hold(&self, tree: &Tree, action: DirectoryAction) -> Result<(), RestoreError> {
        let path = tree.path();
        let refused = |problem: &str| {
            let (path, problem) = (path.to_owned(), problem.to_owned());
            Err(RestoreError::UnsafeTarget { path, problem, way_out: WayOut::None })
        };
        if !tree.lock()? {
            let process = fs::lock_holders(path).first().map(|holder| format!(" (process {})", holder.process));
            return refused(&format!("another pgv-restore{} is writing into it", process.unwrap_or_default()));
        }
        let is_as_planned = match action {
            DirectoryAction::EmptyAndFill => may_be_emptied(path)?,
            DirectoryAction::Update | DirectoryAction::Resume => match postmaster_of(path)? {
                None => true,
                Some(pid) => return Err(RestoreError::ServerRuns { path: path.to_owned(), pid }),
            },
            DirectoryAction::Fill | DirectoryAction::Create | DirectoryAction::MoveAside => {
                is_empty(&fs::sorted_entries(path)?)
            }
        };
        if is_as_planned { Ok(()) } else { refused("somebody else has just written into it") }
    }

    /// The label decides where recovery begins; the manifest is kept for pg_verifybackup.
    fn write_documents(&self, places: &Places) -> Result<(), RestoreError> {
        let backup = self.plan.record.id;
        let mut has_label = false;
        let mode = fs::PRIVATE_FILE_MODE | (0o040 & self.plan.mode_mask);
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
                DocumentKind::BackupManifest if self.manifest => continue,
                DocumentKind::BackupManifest => {
                    self.copy_manifest(document, &places.data, mode)?;
                    continue;
                }
                DocumentKind::Configuration => continue,
            };
            places.data.create_file_with(Path::new(name), mode, &content)?;
        }
        if has_label { Ok(()) } else { Err(RestoreError::NoDocument { backup, document: "backup_label" }) }
    }

    /// The manifest of the server may be as long as its list of files: it is copied in pieces.
    fn copy_manifest(&self, document: &DocumentRef, data: &Tree, mode: u32) -> Result<(), RestoreError> {
        let name = Path::new(MANIFEST);
        let file = data.create_file(name, mode)?;
        let mut written = 0;
        let copied = self.repository.read_document(self.cluster, &self.plan.record.id, document, &mut |piece| {
            data.write_at(&file, name, written, piece)?;
            written += piece.len() as u64;
            Ok(())
        });
        copied.map_err(|error| match error {
            SinkError::Repository(error) => error.into(),
            SinkError::Sink(error) => error,
        })
    }
}

/// What was restored.
pub(super) struct Restored {
    /// The settings of the copy.
    pub(super) settings: CopyConfiguration,
    /// What became of the files of the backup.
    pub(super) content: ContentReport,
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
