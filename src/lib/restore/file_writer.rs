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
    digested: Digested,
}

/// How much of a file was digested while it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Digested {
    /// All of it so far: this many bytes, written in order.
    UpTo(u64),
    /// Something came out of order, or the file was closed in between: it is read back at the end.
    ReadBack,
}

/// How far a file has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    /// This many bytes, in whatever order.
    Bytes(u64),
    /// All, and its digest is right.
    Checked,
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
    written: BTreeMap<usize, Written>,
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
        self.open.insert(number, OpenFile { file, hasher, digested: Digested::UpTo(0) });
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
                self.open.insert(piece.file, OpenFile { file, hasher, digested: Digested::ReadBack });
            } else {
                self.create(piece.file)?;
            }
        }
        let Some(open) = self.open.get_mut(&piece.file) else { return Ok(()) };
        tree.write_at(&open.file, &relative, offset, part)?;
        let length = part.len() as u64;
        open.digested = if open.digested == Digested::UpTo(offset) {
            open.hasher.update(part);
            Digested::UpTo(offset + length)
        } else {
            Digested::ReadBack
        };
        let written = match self.written.get(&piece.file) {
            Some(Written::Bytes(before)) => before + length,
            None => length,
            // Extents that overlap: a map that is not ours.
            Some(Written::Checked) => return Err(RestoreError::WrongContent { path: target.path.clone() }),
        };
        self.written.insert(piece.file, Written::Bytes(written));
        let is_complete = written >= target.bytes;
        self.done_bytes += length;
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
        let digest = match open.digested {
            Digested::UpTo(bytes) if bytes == target.bytes => open.hasher.finish(),
            Digested::UpTo(_) | Digested::ReadBack => self.read_back(target)?,
        };
        if digest != target.digest {
            return Err(RestoreError::WrongContent { path: target.path.clone() });
        }
        self.written.insert(number, Written::Checked);
        Ok(())
    }

    pub(super) fn finish_all(mut self) -> Result<(), RestoreError> {
        for (number, (target, _)) in self.targets.iter().enumerate() {
            if self.written.get(&number) != Some(&Written::Checked) {
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
