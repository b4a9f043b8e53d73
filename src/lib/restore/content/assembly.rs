//! Puts the digests of files together whose parts come from several runs.
//!
//! INVARIANT: a file counts as restored only when the digest of all of it is right. What does not come in order, or not
//! while there is room to remember it, is read back at the end.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::Content;
use super::fill::{Filled, FilledPart, wrong};
use super::piece::Target;
use crate::codec::FileHasher;
use crate::fs::{self, Sorter};
use crate::parallel;
use crate::report::Progress;
use crate::restore::error::RestoreError;

/// LIMIT: files whose digests are put together at the same time.
const OPEN_DIGESTS_MAX: usize = 4096;
/// How much of a file is read back at once.
const READ_BYTES: usize = 1 << 20;

/// The files that were written, as far as they were.
pub(super) struct Assembly<'a, 'c> {
    content: &'c Content<'a>,
    begun: HashMap<u64, Begun>,
    read_back: Sorter<'c>,
    /// Files whose digests were right.
    files: u64,
    written: u64,
    kept: u64,
}

struct Begun {
    target: Arc<Target>,
    hasher: FileHasher,
    /// All before it was added.
    end: u64,
    crc: u32,
}

impl<'a, 'c> Assembly<'a, 'c> {
    /// `files` were right before anything of a pack was read: they are empty.
    pub(super) fn new(content: &'c Content<'a>, files: u64) -> Self {
        let read_back = Sorter::new(content.scratch());
        Self { content, begun: HashMap::new(), read_back, files, written: 0, kept: 0 }
    }

    /// Takes what came of the next run.
    pub(super) fn take(&mut self, filled: Filled) -> Result<(), RestoreError> {
        self.files += filled.whole.len() as u64;
        for (target, crc) in &filled.whole {
            self.content.note(target, *crc)?;
        }
        for part in filled.parts {
            self.take_part(part)?;
        }
        self.written += filled.bytes;
        self.kept += filled.kept;
        let (done_bytes, total_bytes) = (self.written + self.kept, Some(self.content.plan.file_bytes));
        let phase = if self.content.touches() { "restoring" } else { "comparing" };
        self.content.reporter.progress(&Progress { phase, done_bytes, total_bytes });
        self.content.cancelled()
    }

    fn take_part(&mut self, part: FilledPart) -> Result<(), RestoreError> {
        let number = part.target.number;
        if part.offset == 0 && self.begun.len() < OPEN_DIGESTS_MAX {
            let hasher = self.content.hasher(&part.target);
            self.begun.insert(number, Begun { target: Arc::clone(&part.target), hasher, end: 0, crc: 0 });
        }
        let Some(begun) = self.begun.get_mut(&number).filter(|begun| begun.end == part.offset) else {
            return self.read_back_later(&part.target);
        };
        if !part.sums.iter().all(|sum| sum.add_to(&mut begun.hasher)) {
            return Err(wrong(&part.target));
        }
        begun.end += part.length;
        begun.crc = self.content.combined_crc(begun.crc, (part.crc, part.length));
        if begun.end >= part.target.bytes
            && let Some(begun) = self.begun.remove(&number)
        {
            if begun.hasher.finish() != part.target.digest {
                return Err(wrong(&part.target));
            }
            self.content.note(&part.target, begun.crc)?;
            self.files += 1;
        }
        Ok(())
    }

    fn read_back_later(&mut self, target: &Target) -> Result<(), RestoreError> {
        let mut record = Vec::new();
        target.encode(&mut record);
        Ok(self.read_back.push(&record)?)
    }

    /// How many bytes were looked at, and how many of them are right.
    pub(super) fn counted(&self) -> (u64, u64) {
        (self.written + self.kept, self.kept)
    }

    /// Reads back what could not be put together. Says how many bytes were checked, all of `files`, and how many of them
    /// were there already.
    pub(super) fn finish(mut self, files: u64) -> Result<(u64, u64), RestoreError> {
        for begun in std::mem::take(&mut self.begun).into_values() {
            self.read_back_later(&begun.target)?;
        }
        let content = self.content;
        let mut last = None;
        let lost = || RestoreError::Spill { path: content.plan.directory.clone() };
        let targets = self.read_back.finish()?.filter_map(|record| {
            let record = match record {
                Ok(record) => record,
                Err(error) => return Some(Err(error.into())),
            };
            let Some(target) = Target::from_record(&record) else { return Some(Err(lost())) };
            let is_new = last.replace(target.number) != Some(target.number);
            is_new.then_some(Ok(target))
        });
        let read = |target: Result<Target, RestoreError>, _: &_| content.read_back(&target?);
        let failed = parallel::in_order(content.jobs, targets, read, |outcome| match outcome {
            Ok(()) => {
                self.files += 1;
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        });
        match failed.map_err(RestoreError::Thread)? {
            Some(error) => Err(error),
            // A file of which no piece came: a defect of ours.
            None if self.files != files => Err(lost()),
            None => Ok((self.written + self.kept, self.kept)),
        }
    }
}

impl Content<'_> {
    /// Checks a file by what is in it now.
    fn read_back(&self, target: &Target) -> Result<(), RestoreError> {
        let (tree, relative) = self.places.place_of(&target.path);
        let (file, path) = (tree.open_file(&relative)?, tree.path().join(&relative));
        let mut hasher = self.hasher(target);
        let (mut offset, mut crc) = (0, 0);
        loop {
            self.cancelled()?;
            let piece = fs::read_range_of(&file, &path, offset, READ_BYTES)?;
            hasher.update(&piece);
            crc = self.crc(crc, &piece);
            offset += piece.len() as u64;
            if piece.len() < READ_BYTES {
                break;
            }
        }
        let is_right = offset == target.bytes && hasher.finish() == target.digest;
        if is_right { self.note(target, crc) } else { Err(wrong(target)) }
    }
}
