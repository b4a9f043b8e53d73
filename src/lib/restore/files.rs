//! Writes the content of files as it comes out of the packs, and proves each file by its digest.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::path::Path;

use super::content::{Piece, PieceList, PlannedFile, flatten};
use super::error::RestoreError;
use crate::codec::PlainHasher;
use crate::fs::{FileError, Tree, read_range_of};
use crate::repository::{BackupId, PackReader, Repository};

/// LIMIT: files that are held open.
const OPEN_FILES_MAX: usize = 128;
/// LIMIT: files whose digest is being made; those beyond are read again at the end.
const HASHED_FILES_MAX: usize = 1024;
/// How much is read at once when a file is read again.
const READ_BYTES: usize = 1 << 20;

/// How much of a file was proven.
enum Proof {
    /// Its first bytes were seen in order, this many of them.
    Hashing(Box<PlainHasher>, u64),
    /// Its parts came in another order: it is read again.
    ReadAgain,
}

/// Writes files of one restore.
pub(super) struct FileWriter<'a> {
    repository: &'a Repository,
    trees: &'a [Tree],
    backup: &'a BackupId,
    pieces: &'a PieceList,
    open: BTreeMap<usize, File>,
    /// Order in which the open files were opened.
    opened: VecDeque<usize>,
    created: Vec<bool>,
    proofs: BTreeMap<usize, Proof>,
    done_bytes: u64,
}

impl<'a> FileWriter<'a> {
    pub(super) fn new(
        repository: &'a Repository,
        trees: &'a [Tree],
        backup: &'a BackupId,
        pieces: &'a PieceList,
    ) -> Self {
        Self {
            repository,
            trees,
            backup,
            pieces,
            open: BTreeMap::new(),
            opened: VecDeque::new(),
            created: vec![false; pieces.files.len()],
            proofs: BTreeMap::new(),
            done_bytes: 0,
        }
    }

    pub(super) fn create_empty_files(&mut self) -> Result<(), RestoreError> {
        for (number, file) in self.pieces.files.iter().enumerate().filter(|(_, file)| file.bytes == 0) {
            self.tree(file)?.create_file(&file.relative, file.mode)?;
            self.mark_created(number);
            let digest = self.repository.keys().plain_digest(b"");
            self.compare(file, digest)?;
        }
        Ok(())
    }

    /// Writes the parts that lie in one pack, sorted by where they lie.
    pub(super) fn write_pack(
        &mut self,
        pack: &PackReader<'_>,
        pieces: &[Piece],
        after_frame: &mut dyn FnMut(u64) -> Result<(), RestoreError>,
    ) -> Result<(), RestoreError> {
        let ranges = pieces.iter().map(|piece| piece.offset..piece.offset.saturating_add(piece.length));
        // Parts may overlap: several files may share what a pack holds once.
        let mut rest = pieces;
        let read = pack.read_frames_of(ranges, &mut |frame_offset, plain| {
            let frame_end = frame_offset.saturating_add(plain.len() as u64);
            while let Some((first, others)) = rest.split_first()
                && first.offset.saturating_add(first.length) <= frame_offset
            {
                rest = others;
            }
            for piece in rest.iter().take_while(|piece| piece.offset < frame_end) {
                let from = piece.offset.max(frame_offset);
                let to = piece.offset.saturating_add(piece.length).min(frame_end);
                if from < to {
                    let bytes = slice(plain, from - frame_offset, to - frame_offset);
                    self.write(piece.file, piece.file_offset + (from - piece.offset), bytes)?;
                }
            }
            after_frame(self.done_bytes)
        });
        read.map_err(flatten)
    }

    /// Reads again what could not be proven while it was written.
    pub(super) fn finish(mut self, poll: &dyn Fn() -> Result<(), RestoreError>) -> Result<(), RestoreError> {
        self.open.clear();
        let proofs = std::mem::take(&mut self.proofs);
        for (number, proof) in proofs {
            poll()?;
            let Some(file) = self.pieces.files.get(number) else { continue };
            match proof {
                Proof::Hashing(hasher, seen) if seen == file.bytes => self.compare(file, hasher.finish())?,
                Proof::Hashing(..) | Proof::ReadAgain => self.read_again(file)?,
            }
        }
        // INVARIANT: a file without any part is an empty one, which was created before.
        match self.created.iter().position(|created| !created).and_then(|number| self.pieces.files.get(number)) {
            Some(file) => Err(self.wrong(file)),
            None => Ok(()),
        }
    }

    fn write(&mut self, number: usize, offset: u64, bytes: &[u8]) -> Result<(), RestoreError> {
        let Some(file) = self.pieces.files.get(number) else { return Ok(()) };
        self.open_file(number, file)?;
        if let Some(handle) = self.open.get(&number) {
            self.tree(file)?.write_at(handle, &file.relative, offset, bytes)?;
        }
        self.done_bytes += bytes.len() as u64;
        self.prove(number, file, offset, bytes)
    }

    fn open_file(&mut self, number: usize, file: &PlannedFile) -> Result<(), RestoreError> {
        if self.open.contains_key(&number) {
            return Ok(());
        }
        if self.open.len() >= OPEN_FILES_MAX
            && let Some(oldest) = self.opened.pop_front()
        {
            self.open.remove(&oldest);
        }
        let tree = self.tree(file)?;
        let is_created = self.created.get(number).copied().unwrap_or_default();
        let handle =
            if is_created { tree.open_file(&file.relative)? } else { tree.create_file(&file.relative, file.mode)? };
        self.mark_created(number);
        self.open.insert(number, handle);
        self.opened.push_back(number);
        Ok(())
    }

    /// Digests a part if it comes in order; a file that is complete is compared and closed.
    fn prove(&mut self, number: usize, file: &PlannedFile, offset: u64, bytes: &[u8]) -> Result<(), RestoreError> {
        let may_begin = offset == 0 && self.proofs.len() < HASHED_FILES_MAX;
        let begin = || match may_begin {
            true => Proof::Hashing(Box::new(self.repository.keys().plain_hasher()), 0),
            false => Proof::ReadAgain,
        };
        let proof = self.proofs.entry(number).or_insert_with(begin);
        let is_complete = match proof {
            Proof::Hashing(hasher, seen) if *seen == offset => {
                hasher.update(bytes);
                *seen += bytes.len() as u64;
                *seen == file.bytes
            }
            Proof::Hashing(..) => {
                *proof = Proof::ReadAgain;
                false
            }
            Proof::ReadAgain => false,
        };
        if is_complete && let Some(Proof::Hashing(hasher, _)) = self.proofs.remove(&number) {
            self.compare(file, hasher.finish())?;
            self.open.remove(&number);
            self.opened.retain(|opened| *opened != number);
        }
        Ok(())
    }

    fn read_again(&self, file: &PlannedFile) -> Result<(), RestoreError> {
        let tree = self.tree(file)?;
        let handle = tree.open_file(&file.relative)?;
        let path = tree.path().join(&file.relative);
        let mut hasher = self.repository.keys().plain_hasher();
        let mut offset = 0;
        loop {
            let bytes = read_range_of(&handle, &path, offset, READ_BYTES)?;
            hasher.update(&bytes);
            offset += bytes.len() as u64;
            if bytes.len() < READ_BYTES {
                break;
            }
        }
        self.compare(file, hasher.finish())
    }

    fn compare(&self, file: &PlannedFile, found: crate::codec::ContentDigest) -> Result<(), RestoreError> {
        if file.digest == found { Ok(()) } else { Err(self.wrong(file)) }
    }

    fn wrong(&self, file: &PlannedFile) -> RestoreError {
        RestoreError::FileDigest { backup: *self.backup, path: file.path.clone() }
    }

    fn mark_created(&mut self, number: usize) {
        if let Some(created) = self.created.get_mut(number) {
            *created = true;
        }
    }

    fn tree(&self, file: &PlannedFile) -> Result<&'a Tree, RestoreError> {
        let missing = || FileError::new("open", Path::new(&file.relative), std::io::ErrorKind::NotFound);
        self.trees.get(file.tree).ok_or_else(|| missing().into())
    }
}

/// Part of a frame; the bounds come from offsets within it.
fn slice(plain: &[u8], from: u64, to: u64) -> &[u8] {
    let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
    plain.get(at(from)..at(to)).unwrap_or_default()
}
