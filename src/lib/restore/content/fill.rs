//! What a thread does with a run: reads its frames, checks each one's digest, and writes the pieces where they belong.
//!
//! INVARIANT: nothing is digested twice: a file's digest is made of the digests of the pages that its frames were checked
//! by, wherever its pages lie as the frame's do.

use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::Content;
use super::piece::{Standing, Target};
use super::runs::{Part, Run};
use crate::codec::{FileHasher, PAGED_FILE_BYTES, PageDigest};
use crate::fs::{self, Tree};
use crate::repository::{CheckedFrame, RepositoryError};
use crate::restore::error::RestoreError;

/// Files and parts of this many bytes are sent on their way to the disk at once; what is smaller waits for the sync.
const WRITEBACK_BYTES: u64 = 256 << 10;

/// Where something differs, so much is written.
const COMPARED_BYTES: usize = 8 << 10;

/// What came of a run.
#[derive(Default)]
pub(super) struct Filled {
    /// Bytes that were written.
    pub(super) bytes: u64,
    /// Bytes that were there already.
    pub(super) kept: u64,
    /// Files of which all was in it, with their checksums; their digests were right.
    pub(super) whole: Vec<(Arc<Target>, u32)>,
    /// Parts of others, in the order of the pack.
    pub(super) parts: Vec<FilledPart>,
}

/// Part of a file that was written, and what its digest is made of.
pub(super) struct FilledPart {
    pub(super) target: Arc<Target>,
    pub(super) offset: u64,
    pub(super) length: u64,
    /// The CRC-32C of its bytes, when that is asked for.
    pub(super) crc: u32,
    pub(super) sums: Vec<Sum>,
}

/// What a digest is made of.
pub(super) enum Sum {
    /// The digests of pages, when they lie in a frame as in the file.
    Pages(Vec<PageDigest>),
    /// The bytes themselves, of files without pages that lie in two runs.
    Bytes(Vec<u8>),
}

impl Sum {
    /// Adds it to the digest of its file.
    #[must_use]
    pub(super) fn add_to(&self, hasher: &mut FileHasher) -> bool {
        match self {
            Self::Pages(pages) => hasher.add_pages(pages),
            Self::Bytes(bytes) => {
                hasher.update(bytes);
                true
            }
        }
    }
}

/// A part that is being written.
struct OpenPart<'a> {
    part: Part,
    tree: &'a Tree,
    relative: PathBuf,
    file: Arc<File>,
    /// What of the file was taken.
    read: Range<u64>,
    /// Bytes of it that were written.
    written: u64,
    crc: u32,
    digest: PartDigest,
}

enum PartDigest {
    /// Of a file that is all in this run.
    Whole(Box<FileHasher>),
    Sums(Vec<Sum>),
}

/// Part of a frame, and where it belongs in a file.
struct Place<'f> {
    bytes: &'f [u8],
    /// Where it begins in the frame.
    in_frame: u64,
    /// Where it begins in the file.
    offset: u64,
}

impl Content<'_> {
    /// Reads a run and writes what is in it; what is there already is neither read nor written.
    pub(super) fn fill(&self, run: Run<'_>) -> Result<Filled, RestoreError> {
        let mut filling = Filling { content: self, run: &run, open: Vec::new(), filled: Filled::default() };
        filling.open.resize_with(run.parts.len(), || None);
        let mut missing = run.frames.start;
        for number in run.frames.clone() {
            if let Some(plain) = filling.standing(number)? {
                filling.fetch(missing..number)?;
                missing = number + 1;
                if let Some(frame) = run.pack.recognise(number, &plain) {
                    filling.take(number, &frame, true)?;
                }
            }
        }
        filling.fetch(missing..run.frames.end)?;
        let Filling { open, mut filled, .. } = filling;
        for open in open.into_iter().flatten() {
            open.finish(&mut filled)?;
        }
        Ok(filled)
    }

    /// How much of a run is there already; nothing is written.
    pub(super) fn compare(&self, run: Run<'_>) -> Result<Filled, RestoreError> {
        let mut filling = Filling { content: self, run: &run, open: Vec::new(), filled: Filled::default() };
        filling.open.resize_with(run.parts.len(), || None);
        for number in run.frames.clone() {
            let is_right = filling.standing(number)?.is_some();
            let (at, end) = (run.pack.offset_of(number), run.pack.offset_of(number + 1));
            for part in &run.parts {
                let bytes = part.piece.from.end.min(end).saturating_sub(part.piece.from.start.max(at));
                let sum = if is_right { &mut filling.filled.kept } else { &mut filling.filled.bytes };
                *sum += bytes;
            }
        }
        Ok(filling.filled)
    }

    fn open_part(&self, part: Part) -> Result<OpenPart<'_>, RestoreError> {
        let target = &part.piece.target;
        let (tree, relative) = self.places.place_of(&target.path);
        let file = match &part.file {
            Some(file) => Arc::clone(file),
            None if part.creates() => Arc::new(tree.create_file(&relative, target.mode)?),
            None => Arc::new(self.open_standing(target)?),
        };
        let digest = match part.is_whole_file() {
            true => PartDigest::Whole(Box::new(self.hasher(target))),
            false => PartDigest::Sums(Vec::new()),
        };
        let read = part.piece.offset..part.piece.offset;
        Ok(OpenPart { part, tree, relative, file, read, written: 0, crc: 0, digest })
    }
}

/// A run that is being filled.
struct Filling<'f, 'a> {
    content: &'f Content<'a>,
    run: &'f Run<'a>,
    /// For each part of the run.
    open: Vec<Option<OpenPart<'f>>>,
    filled: Filled,
}

impl<'f, 'a> Filling<'f, 'a> {
    /// What stands in the files where a frame belongs, when that is what the frame holds.
    fn standing(&mut self, number: usize) -> Result<Option<Vec<u8>>, RestoreError> {
        let (at, end) = (self.run.pack.offset_of(number), self.run.pack.offset_of(number + 1));
        let mut plain = Vec::new();
        for (index, part) in self.run.parts.iter().enumerate() {
            let (from, to) = (part.piece.from.start.max(at), part.piece.from.end.min(end));
            if from >= to {
                continue;
            }
            // What several files have, or none, is fetched.
            if part.piece.target.standing != Standing::Old || from != at + plain.len() as u64 {
                return Ok(None);
            }
            let offset = part.piece.offset + (from - part.piece.from.start);
            let Some(open) = self.open(index)? else { return Ok(None) };
            let standing = open.standing(offset, usize::try_from(to - from).unwrap_or(usize::MAX))?;
            plain.extend_from_slice(&standing);
        }
        let is_right = at + plain.len() as u64 == end && self.run.pack.recognise(number, &plain).is_some();
        Ok(is_right.then_some(plain))
    }

    fn open(&mut self, index: usize) -> Result<Option<&mut OpenPart<'f>>, RestoreError> {
        let (Some(open), Some(part)) = (self.open.get_mut(index), self.run.parts.get(index)) else { return Ok(None) };
        if open.is_none() {
            *open = Some(self.content.open_part(part.clone())?);
        }
        Ok(open.as_mut())
    }

    /// Reads frames from the repository.
    fn fetch(&mut self, frames: Range<usize>) -> Result<(), RestoreError> {
        if frames.is_empty() {
            return Ok(());
        }
        let mut failed = None;
        self.run.pack.check_frames(frames, &mut |number, frame: Result<CheckedFrame<'_>, RepositoryError>| {
            if failed.is_none() {
                let taken = frame.map_err(RestoreError::from).and_then(|frame| self.take(number, &frame, false));
                failed = taken.err();
            }
        })?;
        failed.map_or(Ok(()), Err)
    }

    /// Puts a frame where it belongs, unless it stands there, and notes what digests are made of.
    fn take(&mut self, number: usize, frame: &CheckedFrame<'_>, stands: bool) -> Result<(), RestoreError> {
        let (content, run) = (self.content, self.run);
        let at = run.pack.offset_of(number);
        let page_bytes = Some(run.pack.index().page_bytes).filter(|bytes| *bytes == content.plan.record.block_bytes);
        for (index, part) in run.parts.iter().enumerate() {
            let Some(place) = part.place_in(at, frame.plain) else { continue };
            let Some(open) = self.open(index)? else { continue };
            let length = place.bytes.len() as u64;
            let written = if stands { 0 } else { open.write(&place)? };
            open.crc = content.crc(open.crc, place.bytes);
            open.add(&place, frame, page_bytes)?;
            self.filled.bytes += written;
            self.filled.kept += length - written.min(length);
        }
        Ok(())
    }
}

impl Part {
    /// What of a frame at that offset of the pack belongs to it.
    fn place_in<'f>(&self, at: u64, plain: &'f [u8]) -> Option<Place<'f>> {
        let from = self.piece.from.start.max(at);
        let to = self.piece.from.end.min(at + plain.len() as u64);
        let range = usize::try_from(from - at).ok()?..usize::try_from(to.checked_sub(at)?).ok()?;
        let bytes = plain.get(range).filter(|bytes| !bytes.is_empty())?;
        Some(Place { bytes, in_frame: from - at, offset: self.piece.offset + (from - self.piece.from.start) })
    }
}

impl OpenPart<'_> {
    /// What of the file is there; less when it ends before.
    fn standing(&self, offset: u64, length: usize) -> Result<Vec<u8>, RestoreError> {
        Ok(fs::read_range_of(&self.file, &self.tree.path().join(&self.relative), offset, length)?)
    }

    /// Writes what is not there already. Says how many bytes that were.
    fn write(&mut self, place: &Place<'_>) -> Result<u64, RestoreError> {
        let standing = match self.part.piece.target.standing {
            Standing::Old => self.standing(place.offset, place.bytes.len())?,
            Standing::Nothing | Standing::Created => Vec::new(),
        };
        let mut written = 0;
        for range in differing(&standing, place.bytes) {
            let bytes = place.bytes.get(range.clone()).unwrap_or_default();
            self.tree.write_at(&self.file, &self.relative, place.offset + range.start as u64, bytes)?;
            written += bytes.len() as u64;
        }
        self.written += written;
        Ok(written)
    }

    /// Notes what the digest of the file is made of.
    fn add(
        &mut self,
        place: &Place<'_>,
        frame: &CheckedFrame<'_>,
        page_bytes: Option<u32>,
    ) -> Result<(), RestoreError> {
        self.read.end = place.offset + place.bytes.len() as u64;
        let pages = page_bytes.and_then(|bytes| pages_of(place, frame, &self.part.piece.target, u64::from(bytes)));
        let added = match (&mut self.digest, pages) {
            (PartDigest::Whole(hasher), Some(pages)) => hasher.add_pages(pages),
            (PartDigest::Whole(hasher), None) => {
                hasher.update(place.bytes);
                true
            }
            (PartDigest::Sums(sums), Some(pages)) => {
                sums.push(Sum::Pages(pages.to_vec()));
                true
            }
            (PartDigest::Sums(sums), None) => {
                sums.push(Sum::Bytes(place.bytes.to_vec()));
                true
            }
        };
        if added { Ok(()) } else { Err(wrong(&self.part.piece.target)) }
    }

    fn finish(self, filled: &mut Filled) -> Result<(), RestoreError> {
        let target = self.part.piece.target;
        let (offset, length) = (self.read.start, self.read.end - self.read.start);
        if self.written >= WRITEBACK_BYTES {
            self.tree.start_writeback(&self.file, offset, length);
        }
        match self.digest {
            PartDigest::Whole(hasher) => {
                if hasher.finish() != target.digest {
                    return Err(wrong(&target));
                }
                filled.whole.push((target, self.crc));
            }
            PartDigest::Sums(sums) => {
                filled.parts.push(FilledPart { target, offset, length, crc: self.crc, sums });
            }
        }
        Ok(())
    }
}

/// What of these bytes does not stand there, in whole steps: all of it when anything but these bytes' length does.
fn differing(standing: &[u8], bytes: &[u8]) -> Vec<Range<usize>> {
    let whole = 0..bytes.len();
    if standing.len() != bytes.len() {
        return vec![whole];
    }
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let steps = standing.chunks(COMPARED_BYTES).zip(bytes.chunks(COMPARED_BYTES));
    for (number, (_, step)) in steps.enumerate().filter(|(_, (standing, step))| standing != step) {
        let range = number * COMPARED_BYTES..number * COMPARED_BYTES + step.len();
        match ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => ranges.push(range),
        }
    }
    ranges
}

/// The digests of the pages of that part of a frame, when these are the pages of the file, too.
fn pages_of<'f>(
    place: &Place<'_>,
    frame: &'f CheckedFrame<'_>,
    target: &Target,
    page_bytes: u64,
) -> Option<&'f [PageDigest]> {
    if target.bytes <= PAGED_FILE_BYTES || page_bytes == 0 {
        return None;
    }
    let (from, length) = (place.in_frame, place.bytes.len() as u64);
    let ends_both = from + length == frame.plain.len() as u64 && place.offset + length == target.bytes;
    let is_cut_as_the_file = from.is_multiple_of(page_bytes)
        && place.offset.is_multiple_of(page_bytes)
        && (length.is_multiple_of(page_bytes) || ends_both);
    if !is_cut_as_the_file {
        return None;
    }
    let first = usize::try_from(from / page_bytes).ok()?;
    let count = usize::try_from(length.div_ceil(page_bytes)).ok()?;
    frame.pages.get(first..first + count)
}

/// A file that is not as it was backed up.
pub(super) fn wrong(target: &Target) -> RestoreError {
    RestoreError::WrongContent { path: target.path.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_found_by_steps() {
        let standing = vec![1; 5 * COMPARED_BYTES + 7];
        let mut bytes = standing.clone();
        assert_eq!(differing(&standing, &bytes), []);
        for at in [COMPARED_BYTES, 3 * COMPARED_BYTES - 1, 5 * COMPARED_BYTES + 6] {
            bytes[at] = 2;
        }
        let step = COMPARED_BYTES;
        assert_eq!(differing(&standing, &bytes), [step..3 * step, 5 * step..5 * step + 7]);
        let whole = 0..bytes.len();
        assert_eq!(differing(&standing[1..], &bytes), [whole]);
    }
}
