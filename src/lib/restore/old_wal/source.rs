//! Segments from the archive, and from the old pg_wal where the archive lacks them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use super::OldWal;
use crate::codec::ContentDigest;
use crate::fs;
use crate::pg::WalSegmentName;
use crate::repository::{Repository, WalArchive};
use crate::wal_search::{ArchivedSegments, SegmentSink, SegmentStanding, WalSearchError, WalSource};

/// LIMIT: bytes that are read at once.
const PIECE_BYTES: usize = 1 << 20;

/// Reads segments as recovery will find them: of each name the archive's, else the one that was left.
pub(in super::super) struct CombinedSegments<'a> {
    archive: ArchivedSegments<'a>,
    repository: &'a Repository,
    /// The first one that has a segment counts.
    olds: Vec<&'a OldWal>,
    /// Of every segment of the folder that was read to its end: what is copied later must give the same.
    digests: Mutex<BTreeMap<WalSegmentName, ContentDigest>>,
}

impl<'a> CombinedSegments<'a> {
    pub(in super::super) fn new(
        repository: &'a Repository,
        archive: WalArchive<'a>,
        olds: impl IntoIterator<Item = &'a OldWal>,
    ) -> Self {
        let olds = olds.into_iter().collect();
        Self { archive: ArchivedSegments(archive), repository, olds, digests: Mutex::default() }
    }

    /// The folder that gives a segment which the archive lacks.
    fn old_with(&self, name: &WalSegmentName) -> Option<(&'a OldWal, PathBuf)> {
        self.olds.iter().find_map(|old| Some((*old, old.path_of(name)?)))
    }

    /// The digest of a segment of the folder, as it was when it was read.
    pub(super) fn digest_of(&self, name: &WalSegmentName) -> Result<Option<ContentDigest>, WalSearchError> {
        let known = || self.digests.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied();
        if let (None, Some((_, path))) = (known(), self.old_with(name)) {
            self.read_file(name, &path, &mut |_| ControlFlow::Continue(()))?;
        }
        Ok(known())
    }

    fn read_file(&self, name: &WalSegmentName, path: &Path, sink: &mut SegmentSink<'_>) -> Result<(), WalSearchError> {
        let mut hasher = self.repository.keys().plain_hasher();
        let read = for_each_piece(path, &mut |piece| {
            hasher.update(piece);
            sink(piece)
        });
        if read?.is_continue() {
            let mut digests = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
            // The first reading counts: what comes later must be the same.
            digests.entry(*name).or_insert_with(|| hasher.finish());
        }
        Ok(())
    }
}

/// Reads a file in pieces, until `sink` breaks.
pub(super) fn for_each_piece(path: &Path, sink: &mut SegmentSink<'_>) -> Result<ControlFlow<()>, fs::FileError> {
    let file = fs::open_for_reading(path)?;
    let mut offset = 0;
    loop {
        let piece = fs::read_range_of(&file, path, offset, PIECE_BYTES)?;
        if piece.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        offset += piece.len() as u64;
        if sink(&piece).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
}

impl WalSource for CombinedSegments<'_> {
    fn read(&self, name: &WalSegmentName, sink: &mut SegmentSink<'_>) -> Result<bool, WalSearchError> {
        // The folder was asked only for what the archive lacks.
        let Some((_, path)) = self.old_with(name) else { return self.archive.read(name, sink) };
        self.read_file(name, &path, sink)?;
        Ok(true)
    }

    fn standing(&self, segment: &WalSegmentName) -> SegmentStanding {
        match self.old_with(segment) {
            None => SegmentStanding::Archived,
            Some((old, _)) if old.is_last(segment) => SegmentStanding::LastLeft,
            Some(_) => SegmentStanding::Left,
        }
    }

    fn archived_at(&self, segment: &WalSegmentName) -> Result<Option<Timestamp>, WalSearchError> {
        self.archive.archived_at(segment)
    }
}
