//! Writes the content of packs into the files of a directory that is being restored.
//!
//! INVARIANT: a file counts as written only when the digest of all of it is right.

use std::collections::BTreeMap;
use std::fs::File;

use super::error::RestoreError;
use super::executor::Executor;
use super::places::Places;
use crate::codec::{ContentDigest, FileHasher};
use crate::fs;
use crate::pg::DataPath;
use crate::report::Progress;
use crate::repository::FileEntry;

/// LIMIT: files that are open at once.
const OPEN_FILES_MAX: usize = 64;

/// A file that is written to.
struct OpenFile {
    file: File,
    hasher: FileHasher,
    /// How much was written in order; what comes out of order is digested at the end.
    in_order: u64,
}

/// Part of a pack's content and where it belongs.
pub(super) struct Piece {
    pub(super) from: std::ops::Range<u64>,
    pub(super) file: usize,
    pub(super) offset: u64,
}

/// A file of the map.
pub(super) struct Target {
    pub(super) path: DataPath,
    pub(super) bytes: u64,
    pub(super) digest: ContentDigest,
    pub(super) mode: u32,
}

/// Writes pieces into files, a few of them open at once.
pub(super) struct FileWriter<'a> {
    executor: &'a Executor<'a>,
    places: &'a Places,
    targets: &'a [(Target, FileEntry)],
    open: BTreeMap<usize, OpenFile>,
    written: BTreeMap<usize, u64>,
    done_bytes: u64,
}

impl<'a> FileWriter<'a> {
    pub(super) fn new(executor: &'a Executor<'a>, places: &'a Places, targets: &'a [(Target, FileEntry)]) -> Self {
        Self { executor, places, targets, open: BTreeMap::new(), written: BTreeMap::new(), done_bytes: 0 }
    }

    fn target(&self, number: usize) -> Option<&'a Target> {
        self.targets.get(number).map(|(target, _)| target)
    }

    fn hasher(&self, target: &Target) -> FileHasher {
        FileHasher::new(self.executor.repository.keys(), target.bytes, self.executor.plan.record.block_bytes)
    }

    pub(super) fn create(&mut self, number: usize) -> Result<(), RestoreError> {
        let Some(target) = self.target(number) else { return Ok(()) };
        let (tree, relative) = self.places.place_of(&target.path);
        let file = tree.create_file(&relative, target.mode)?;
        let hasher = self.hasher(target);
        self.open.insert(number, OpenFile { file, hasher, in_order: 0 });
        Ok(())
    }

    pub(super) fn write(&mut self, piece: &Piece, at: u64, plain: &[u8]) -> Result<(), RestoreError> {
        let Some(target) = self.target(piece.file) else { return Ok(()) };
        let (tree, relative) = self.places.place_of(&target.path);
        let from = piece.from.start.max(at);
        let to = piece.from.end.min(at + plain.len() as u64);
        let part = index(from - at).zip(index(to.saturating_sub(at))).and_then(|(from, to)| plain.get(from..to));
        let Some(part) = part.filter(|part| !part.is_empty()) else { return Ok(()) };
        let offset = piece.offset + (from - piece.from.start);
        if !self.open.contains_key(&piece.file) {
            if self.written.contains_key(&piece.file) {
                let file = tree.open_file(&relative)?;
                let hasher = self.hasher(target);
                // What was written before is digested again at the end.
                self.open.insert(piece.file, OpenFile { file, hasher, in_order: u64::MAX });
            } else {
                self.create(piece.file)?;
            }
        }
        let Some(open) = self.open.get_mut(&piece.file) else { return Ok(()) };
        tree.write_at(&open.file, &relative, offset, part)?;
        if open.in_order == offset {
            open.hasher.update(part);
            open.in_order += part.len() as u64;
        } else {
            open.in_order = u64::MAX;
        }
        let written = self.written.entry(piece.file).or_default();
        *written += part.len() as u64;
        let is_complete = *written >= target.bytes;
        self.done_bytes += part.len() as u64;
        let total_bytes = Some(self.executor.plan.file_bytes);
        self.executor.reporter.progress(&Progress { phase: "restoring", done_bytes: self.done_bytes, total_bytes });
        if is_complete {
            self.finish(piece.file)?;
        } else if self.open.len() > OPEN_FILES_MAX {
            self.open.pop_first();
        }
        Ok(())
    }

    /// Checks the digest of a whole file and closes it.
    pub(super) fn finish(&mut self, number: usize) -> Result<(), RestoreError> {
        let (Some(target), Some(open)) = (self.target(number), self.open.remove(&number)) else { return Ok(()) };
        let digest = if open.in_order == target.bytes { open.hasher.finish() } else { self.read_back(target)? };
        self.written.insert(number, u64::MAX);
        if digest == target.digest { Ok(()) } else { Err(RestoreError::WrongContent { path: target.path.clone() }) }
    }

    pub(super) fn finish_all(mut self) -> Result<(), RestoreError> {
        for (number, (target, _)) in self.targets.iter().enumerate() {
            if self.written.get(&number) != Some(&u64::MAX) {
                return Err(RestoreError::WrongContent { path: target.path.clone() });
            }
        }
        self.open.clear();
        Ok(())
    }

    fn read_back(&self, target: &Target) -> Result<ContentDigest, RestoreError> {
        const PIECE_BYTES: usize = 1 << 20;
        let (tree, relative) = self.places.place_of(&target.path);
        let path = tree.path().join(relative);
        let mut hasher = self.hasher(target);
        let mut offset = 0;
        loop {
            let piece = fs::read_range(&path, offset, PIECE_BYTES)?;
            hasher.update(&piece);
            offset += piece.len() as u64;
            if piece.len() < PIECE_BYTES {
                return Ok(hasher.finish());
            }
        }
    }
}

fn index(offset: u64) -> Option<usize> {
    usize::try_from(offset).ok()
}
