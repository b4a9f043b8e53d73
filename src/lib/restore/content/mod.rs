//! The content of a backup: its packs are read, each frame once, and written where the map says.
//!
//! ```text
//! map, in the order of paths ─> directories, links, empty files; pieces ─> sorted by pack and place
//!   ─> runs of frames ─> threads: read, decompress, check, write ─> digests of whole files
//! ```
//!
//! Memory has a bound however many files there are: pieces are sorted outside memory, and at most a few runs for each
//! thread are on their way.

mod assembly;
mod fill;
mod piece;
mod present;
mod runs;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::RestoreError;
use super::manifest::ManifestWriter;
use super::map_check;
use super::marker::MARKER;
use super::places::Places;
use super::plan::RestorePlan;
use crate::codec::FileHasher;
use crate::fs::{PathKind, Sorter, Tree};
use crate::parallel;
use crate::pg::DataPath;
use crate::report::{Cancel, Reporter};
use crate::repository::{Extent, FileEntry, FileKind, FileMap, Repository};
use assembly::Assembly;
use piece::{Piece, Standing, Target};
use present::Present;
pub(super) use present::{FoundNames, is_of_other_major};
use runs::Runs;

/// LIMIT: threads; each holds a run and what becomes of it.
const THREADS_MAX: usize = 32;

/// What is written, and where to.
pub(super) struct Content<'a> {
    repository: &'a Repository,
    plan: &'a RestorePlan,
    map: &'a FileMap<'a>,
    places: &'a Places,
    reporter: &'a dyn Reporter,
    cancel: &'a Cancel,
    /// Threads that read and write.
    jobs: usize,
    touch: Touch<'a>,
    /// What notes the checksum of each file, when that is asked for.
    manifest: Option<&'a ManifestWriter<'a>>,
}

/// Whether anything is changed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Touch<'a> {
    /// What differs is made that of the backup.
    Everything,
    /// What differs is counted; what is too long for memory is sorted in that directory.
    Nothing(&'a Tree),
}

/// What became of the files of a backup, or would become of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContentReport {
    /// Bytes of files, each checked.
    pub checked_bytes: u64,
    /// Those that were there already.
    pub kept_bytes: u64,
    /// What was in the directories and not in the backup: how many names, those in removed directories not counted.
    pub removed: u64,
    /// The first of them.
    pub removed_paths: Vec<PathBuf>,
}

impl ContentReport {
    /// With what was removed before.
    pub(super) fn with_removed(mut self, mut before: Self) -> Self {
        self.removed += before.removed;
        before.removed_paths.append(&mut self.removed_paths);
        before.removed_paths.truncate(TOLD_MAX);
        Self { removed_paths: before.removed_paths, ..self }
    }
}

/// LIMIT: names of what is removed that are told.
const TOLD_MAX: usize = 1000;

/// What the walk through the map has found.
struct Walked<'c> {
    pieces: Sorter<'c>,
    present: Present,
    files: u64,
    /// Those without content, which were created at once.
    empty: u64,
}

impl<'a> Content<'a> {
    pub(super) fn new(
        (repository, map): (&'a Repository, &'a FileMap<'a>),
        (plan, places): (&'a RestorePlan, &'a Places),
        (reporter, cancel): (&'a dyn Reporter, &'a Cancel),
        jobs: usize,
        touch: Touch<'a>,
    ) -> Self {
        Self { repository, plan, map, places, reporter, cancel, jobs: jobs.min(THREADS_MAX), touch, manifest: None }
    }

    /// With a manifest that notes every file.
    pub(super) fn with_manifest(self, manifest: Option<&'a ManifestWriter<'a>>) -> Self {
        Self { manifest, ..self }
    }

    /// Makes the directories what the map says, or finds out what there is to do.
    pub(super) fn run(&self) -> Result<ContentReport, RestoreError> {
        let Walked { pieces, present, files, empty } = self.walk()?;
        let mut assembly = Assembly::new(self, empty);
        let work = |run: Result<runs::Run<'_>, RestoreError>, _: &_| match self.touch {
            Touch::Everything => self.fill(run?),
            Touch::Nothing(_) => self.compare(run?),
        };
        let runs = Runs::new(self, pieces.finish()?);
        let failed =
            parallel::in_order(self.jobs, runs, work, |filled| match filled.and_then(|filled| assembly.take(filled)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(error),
            });
        if let Some(error) = failed.map_err(RestoreError::Thread)? {
            return Err(error);
        }
        let (checked_bytes, kept_bytes) = match self.touch {
            Touch::Everything => assembly.finish(files)?,
            Touch::Nothing(_) => assembly.counted(),
        };
        let (removed, removed_paths) = present.removed();
        Ok(ContentReport { checked_bytes, kept_bytes, removed, removed_paths })
    }

    /// Room that sorting takes on the disk, for so many extents of files with so many bytes of paths.
    pub(super) fn spilled_bytes(extents: u64, record_bytes: u64) -> u64 {
        Sorter::spilled_bytes(extents, record_bytes)
    }

    /// Bytes of what is sorted for one extent of the file with that path.
    pub(super) fn record_bytes(path: &DataPath) -> u64 {
        Target::piece_bytes(path)
    }

    /// Creates directories, links, empty files and those that come in several pieces; the map is sorted, so parents come
    /// first. Collects the pieces, and removes what the map does not have.
    fn walk(&self) -> Result<Walked<'_>, RestoreError> {
        let (pieces, present) = (Sorter::new(self.scratch()), self.look_around()?);
        let mut walked = Walked { pieces, present, files: 0, empty: 0 };
        self.each_entry(&mut |path, entry| {
            map_check::check(&self.plan.record, &path, &entry.kind)?;
            let standing = self.standing_at(&path, &mut walked.present)?;
            match &entry.kind {
                FileKind::Directory => self.prepare_directory(&path, &entry, standing, &mut walked.present),
                FileKind::Link { target } => self.prepare_link(&path, target, standing, &mut walked.present),
                FileKind::File { extents, .. } => self.prepare_file((&path, &entry), extents, standing, &mut walked),
            }
        })?;
        self.remove_rest(&mut walked.present)?;
        Ok(walked)
    }

    /// Hands over what the map has, but for the marker that a restore, killed in its last moment, left in the directory
    /// that was backed up.
    fn each_entry(
        &self,
        each: &mut dyn FnMut(DataPath, FileEntry) -> Result<(), RestoreError>,
    ) -> Result<(), RestoreError> {
        self.map.for_each(&mut |path, entry| {
            self.cancelled()?;
            let is_file = matches!(entry.kind, FileKind::File { .. });
            if is_file && path.as_bytes() == MARKER.as_bytes() { Ok(()) } else { each(path, entry) }
        })
    }

    fn prepare_directory(
        &self,
        path: &DataPath,
        entry: &FileEntry,
        standing: Option<PathKind>,
        present: &mut Present,
    ) -> Result<(), RestoreError> {
        let (tree, relative) = self.places.place_of(path);
        let mode = entry.mode & self.plan.mode_mask | 0o700;
        match standing {
            Some(PathKind::Directory) => return self.touch(|| Ok(tree.adopt_directory(&relative, mode)?)),
            Some(other) => self.remove_other(path, other, present)?,
            None => {}
        }
        self.touch(|| {
            // COMPAT: servers do not send the directory of a tablespace that lies in the data directory.
            for above in relative.ancestors().skip(1).collect::<Vec<_>>().into_iter().rev().skip(1) {
                tree.create_directory(above, self.plan.directory_mode)?;
            }
            if !relative.as_os_str().is_empty() {
                tree.create_directory(&relative, mode)?;
            }
            Ok(())
        })
    }

    fn prepare_link(
        &self,
        path: &DataPath,
        target: &Path,
        standing: Option<PathKind>,
        present: &mut Present,
    ) -> Result<(), RestoreError> {
        let tree = &self.places.data;
        let oid = path.file_name();
        let plan = self.plan.tablespaces.iter().find(|plan| plan.oid.to_string().as_bytes() == oid);
        let target = plan.map_or(target, |plan| &plan.path);
        match standing {
            Some(PathKind::Link) if tree.link_target(path.to_path())? == target => return Ok(()),
            Some(other) => self.remove_other(path, other, present)?,
            None => {}
        }
        self.touch(|| Ok(tree.create_link(path.to_path(), target)?))
    }

    fn prepare_file(
        &self,
        (path, entry): (&DataPath, &FileEntry),
        extents: &[Extent],
        standing: Option<PathKind>,
        walked: &mut Walked<'_>,
    ) -> Result<(), RestoreError> {
        let FileKind::File { bytes, digest, .. } = &entry.kind else { return Ok(()) };
        let number = walked.files;
        walked.files += 1;
        let extents: Vec<&Extent> = extents.iter().filter(|extent| extent.length > 0).collect();
        let mode = entry.mode & self.plan.mode_mask | 0o600;
        let (modified, standing_now) = (entry.modified.as_second(), Standing::Nothing);
        let (path_now, bytes, digest) = (path.clone(), *bytes, *digest);
        let mut target = Target { number, path: path_now, bytes, digest, mode, modified, standing: standing_now };
        if self.adopts(&target, standing)? {
            target.standing = Standing::Old;
        } else {
            if let Some(other) = standing {
                self.remove_other(path, other, &mut walked.present)?;
            }
            if extents.len() != 1 {
                target.standing = Standing::Created;
                self.touch(|| self.create(&target).map(drop))?;
            }
        }
        if extents.is_empty() {
            walked.empty += 1;
            let is_right = self.hasher(&target).finish() == digest;
            return if is_right { self.note(&target, 0) } else { Err(fill::wrong(&target)) };
        }
        let target = Arc::new(target);
        let mut offset = 0;
        for extent in extents {
            let from = extent.offset..extent.offset.saturating_add(extent.length);
            let piece = Piece { pack: extent.pack, from, target: Arc::clone(&target), offset };
            walked.pieces.push(&piece.encode())?;
            offset += extent.length;
        }
        Ok(())
    }

    /// Whether what stands in the place of a file becomes that file, by writing what differs.
    fn adopts(&self, target: &Target, standing: Option<PathKind>) -> Result<bool, RestoreError> {
        let (tree, relative) = self.places.place_of(&target.path);
        match (standing, self.touch) {
            (Some(PathKind::File), Touch::Everything) => Ok(tree.adopt(&relative, target.mode, target.bytes)?),
            (Some(PathKind::File), Touch::Nothing(_)) => Ok(tree.would_adopt(&relative)?),
            _ => Ok(false),
        }
    }

    /// Notes a file whose digest was right.
    fn note(&self, target: &Target, crc: u32) -> Result<(), RestoreError> {
        match self.manifest {
            Some(manifest) => manifest.note(&target.path, target.bytes, target.modified, crc),
            None => Ok(()),
        }
    }

    /// A checksum that goes on with these bytes, when one is asked for.
    fn crc(&self, crc: u32, bytes: &[u8]) -> u32 {
        if self.manifest.is_some() { crc32c::crc32c_append(crc, bytes) } else { crc }
    }

    /// A checksum that goes on with so many bytes of which the checksum is known, when one is asked for.
    fn combined_crc(&self, crc: u32, (next, length): (u32, u64)) -> u32 {
        match usize::try_from(length) {
            Ok(length) if self.manifest.is_some() => crc32c::crc32c_combine(crc, next, length),
            _ => crc,
        }
    }

    fn touches(&self) -> bool {
        matches!(self.touch, Touch::Everything)
    }

    /// Where what is too long for memory is sorted.
    fn scratch(&self) -> &'a Tree {
        match self.touch {
            Touch::Everything => &self.places.data,
            Touch::Nothing(scratch) => scratch,
        }
    }

    fn touch(&self, change: impl FnOnce() -> Result<(), RestoreError>) -> Result<(), RestoreError> {
        if self.touches() { change() } else { Ok(()) }
    }

    fn create(&self, target: &Target) -> Result<std::fs::File, RestoreError> {
        let (tree, relative) = self.places.place_of(&target.path);
        let file = tree.create_file(&relative, target.mode)?;
        if target.bytes > 0 {
            tree.preallocate(&file, &relative, target.bytes)?;
        }
        Ok(file)
    }

    /// Opens a file that several runs go into, and creates it when this is its only piece.
    fn open_large(&self, target: &Target) -> Result<std::fs::File, RestoreError> {
        if target.standing == Standing::Nothing { self.create(target) } else { self.open_standing(target) }
    }

    /// Opens a file that is there.
    fn open_standing(&self, target: &Target) -> Result<std::fs::File, RestoreError> {
        let (tree, relative) = self.places.place_of(&target.path);
        Ok(match self.touch {
            Touch::Everything => tree.open_file(&relative)?,
            Touch::Nothing(_) => tree.open_to_read(&relative)?,
        })
    }

    fn hasher(&self, target: &Target) -> FileHasher {
        FileHasher::new(self.repository.keys(), target.bytes, self.plan.record.block_bytes)
    }

    fn cancelled(&self) -> Result<(), RestoreError> {
        if self.cancel.is_cancelled() {
            return Err(RestoreError::Cancelled { path: self.plan.directory.clone() });
        }
        Ok(())
    }
}
