//! The content of packs: each frame against the index, and the digest of each file against the frames, in one pass.
//!
//! Several threads read runs of frames ([`Run`]). A file that lies in one run is proven by the thread that
//! reads it. Of a file that lies in several runs, the threads hand on the digests of its pages (or its few bytes), and
//! [`FileProofs`] puts them together in the order of the packs. A file whose parts do not come in that order, or do not
//! lie on page boundaries, is read again by itself: format 1 allows it and no writer of it does so.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use super::VerifyError;
use super::family::Family;
use super::finding::problem_of;
use super::pieces::{FileFacts, FileId, Piece};
use super::runs::{PackWork, Run};
use crate::codec::{ContentDigest, FileHasher, PAGED_FILE_BYTES, PageDigest, PageListHasher, PlainHasher};
use crate::error::{Classified, ErrorClass};
use crate::repository::{ClusterRef, Damage, HEADER_COPY, PackReader, Repository, RepositoryError, SinkError};

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct PackResult {
    pub(super) pack: u32,
    /// Stored bytes that were read.
    pub(super) bytes: u64,
    pub(super) is_opened: bool,
    /// The pack as a whole.
    pub(super) problem: Option<(String, ErrorClass)>,
    /// Whether that lies where no reader looks.
    pub(super) is_content_whole: bool,
    /// Parts of its plain content.
    pub(super) damaged: Vec<(Range<u64>, String, ErrorClass)>,
    pub(super) proofs: Vec<Proof>,
    pub(super) failed: Option<VerifyError>,
}

/// What a run says about a file of which it holds a part.
#[derive(Debug)]
pub(super) enum Proof {
    /// It is not what its digest says.
    Wrong(FileId),
    /// This part of it is in a damaged frame, and others are not.
    Lost(FileId),
    /// Its parts cannot be put together from frames.
    Again(FileId),
    /// The pages of a part, which begins here in the file.
    Pages { file: FileFacts, at: u64, bytes: u64, pages: Vec<PageDigest> },
    /// The bytes of a part of a file that is not handled by pages.
    Bytes { file: FileFacts, at: u64, bytes: Vec<u8> },
}

/// Does one piece of work.
pub(super) fn check(repository: &Repository, family: &Family, work: PackWork<'_>) -> PackResult {
    match work {
        PackWork::Failed(error) => PackResult { failed: Some(error), ..PackResult::default() },
        PackWork::Opened { pack, bytes, problem } => {
            let of_copy = |error: &RepositoryError| {
                matches!(error, RepositoryError::Damaged { damage: Damage::Digest { what: HEADER_COPY }, .. })
            };
            let is_content_whole = problem.as_ref().is_some_and(of_copy);
            let problem = problem.map(|error| {
                let class = if error.is_not_found() { ErrorClass::Corrupt } else { error.class() };
                (problem_of(&error), class)
            });
            PackResult { pack, bytes, is_opened: true, problem, is_content_whole, ..PackResult::default() }
        }
        PackWork::Run(run) => check_run(repository, family, run),
    }
}

/// A frame of a run, as far as files need it.
struct Frame {
    at: Range<u64>,
    /// The digests of its pages.
    pages: Vec<PageDigest>,
    /// Its bytes, when it is not handled by pages.
    plain: Vec<u8>,
    is_damaged: bool,
}

fn check_run(repository: &Repository, family: &Family, run: Run<'_>) -> PackResult {
    let Run { reader, pack, frames, pieces, is_again } = run;
    let mut result = PackResult { pack, ..PackResult::default() };
    let mut held = Vec::with_capacity(frames.len());
    let whole = reader.offset_of(frames.start)..reader.offset_of(frames.end);
    let read = reader.check_frames(frames, &mut |number, frame| {
        let at = reader.offset_of(number)..reader.offset_of(number + 1);
        held.push(match frame {
            Ok(frame) => {
                let plain = if frame.pages.is_empty() { frame.plain.to_vec() } else { Vec::new() };
                Frame { at, pages: frame.pages, plain, is_damaged: false }
            }
            Err(error) => {
                result.damaged.push((at.clone(), problem_of(&error), error.class()));
                Frame { at, pages: Vec::new(), plain: Vec::new(), is_damaged: true }
            }
        });
    });
    match read {
        Ok(bytes) => result.bytes = bytes,
        Err(error) => {
            result.damaged.push((whole.clone(), problem_of(&error), error.class()));
            held.push(Frame { at: whole.clone(), pages: Vec::new(), plain: Vec::new(), is_damaged: true });
        }
    }
    if is_again {
        // It was told when it was read first.
        (result.bytes, result.damaged) = (0, Vec::new());
    }
    for piece in &pieces {
        let part = piece.offset.max(whole.start)..piece.end().min(whole.end);
        let page_bytes = reader.index().page_bytes;
        let begun = Part { piece, part, page_bytes };
        result.proofs.extend(begun.prove(repository, family, &held));
    }
    result
}

/// What a run holds of a piece.
struct Part<'a> {
    piece: &'a Piece,
    part: Range<u64>,
    page_bytes: u32,
}

impl Part<'_> {
    fn prove(&self, repository: &Repository, family: &Family, frames: &[Frame]) -> Option<Proof> {
        let facts = self.piece.file;
        let file = facts.id;
        let touched = frames.iter().filter(|frame| frame.at.start < self.part.end && self.part.start < frame.at.end);
        let at = self.piece.at + (self.part.start - self.piece.offset);
        let length = self.part.end - self.part.start;
        let is_all = length == facts.bytes;
        if touched.clone().any(|frame| frame.is_damaged) {
            // Of what is lost as a whole nothing else will come.
            return (!is_all).then_some(Proof::Lost(file));
        }
        if facts.bytes > PAGED_FILE_BYTES {
            let page_bytes = u64::from(self.page_bytes.max(1));
            let mut list = repository.keys().page_list_hasher();
            let mut pages = Vec::new();
            for frame in touched {
                let is_own = self.part.start <= frame.at.start && frame.at.end <= self.part.end;
                let begins = at + (frame.at.start.saturating_sub(self.part.start));
                if !is_own
                    || frame.pages.is_empty()
                    || !begins.is_multiple_of(page_bytes)
                    || self.page_bytes != family.page_bytes
                {
                    return Some(Proof::Again(file));
                }
                if is_all {
                    frame.pages.iter().for_each(|page| list.add(page));
                } else {
                    pages.extend_from_slice(&frame.pages);
                }
            }
            return match is_all {
                true => (list.finish() != facts.digest).then_some(Proof::Wrong(file)),
                false => Some(Proof::Pages { file: facts, at, bytes: length, pages }),
            };
        }
        let mut hasher = repository.keys().plain_hasher();
        let mut bytes = Vec::new();
        for frame in touched {
            let from = usize::try_from(self.part.start.saturating_sub(frame.at.start)).unwrap_or(usize::MAX);
            let to = usize::try_from(self.part.end.min(frame.at.end).saturating_sub(frame.at.start));
            let Some(slice) = frame.plain.get(from..to.unwrap_or(usize::MAX)) else { return Some(Proof::Again(file)) };
            if is_all { hasher.update(slice) } else { bytes.extend_from_slice(slice) }
        }
        match is_all {
            true => (hasher.finish() != facts.digest).then_some(Proof::Wrong(file)),
            false => Some(Proof::Bytes { file: facts, at, bytes }),
        }
    }
}

/// Files that lie in several runs.
#[derive(Default)]
pub(super) struct FileProofs {
    open: HashMap<FileId, OpenFile>,
    lost: BTreeSet<FileId>,
    pub(super) again: BTreeSet<FileId>,
    /// Files whose frames are right and whose digest is another one.
    pub(super) wrong: BTreeSet<FileId>,
}

struct OpenFile {
    next: u64,
    hasher: Hasher,
}

enum Hasher {
    Pages(PageListHasher),
    Bytes(PlainHasher),
}

impl FileProofs {
    /// Takes what a run says, in the order of the packs.
    pub(super) fn take(&mut self, repository: &Repository, proof: Proof) {
        let (facts, at, bytes) = match &proof {
            Proof::Wrong(file) => {
                self.wrong.insert(*file);
                return;
            }
            Proof::Again(file) => return self.leave(*file),
            Proof::Lost(file) => {
                self.open.remove(file);
                self.again.remove(file);
                self.lost.insert(*file);
                return;
            }
            Proof::Pages { file, at, bytes, .. } => (*file, *at, *bytes),
            Proof::Bytes { file, at, bytes } => (*file, *at, bytes.len() as u64),
        };
        let file = facts.id;
        if self.lost.contains(&file) || self.again.contains(&file) {
            return;
        }
        let new = || match &proof {
            Proof::Bytes { .. } => OpenFile { next: 0, hasher: Hasher::Bytes(repository.keys().plain_hasher()) },
            _ => OpenFile { next: 0, hasher: Hasher::Pages(repository.keys().page_list_hasher()) },
        };
        let open = self.open.entry(file).or_insert_with(new);
        if open.next != at {
            return self.leave(file);
        }
        match (&mut open.hasher, &proof) {
            (Hasher::Pages(list), Proof::Pages { pages, .. }) => pages.iter().for_each(|page| list.add(page)),
            (Hasher::Bytes(hasher), Proof::Bytes { bytes, .. }) => hasher.update(bytes),
            _ => return self.leave(file),
        }
        open.next += bytes;
        if open.next == facts.bytes {
            let found = match &open.hasher {
                Hasher::Pages(list) => list.finish(),
                Hasher::Bytes(hasher) => hasher.finish(),
            };
            self.open.remove(&file);
            if found != facts.digest {
                self.wrong.insert(file);
            }
        }
    }

    /// Files of which not every part came, though none is lost.
    pub(super) fn end(&mut self) {
        let incomplete: Vec<FileId> = self.open.drain().map(|(file, _)| file).collect();
        incomplete.into_iter().for_each(|file| self.leave(file));
    }

    fn leave(&mut self, file: FileId) {
        self.open.remove(&file);
        if !self.lost.contains(&file) {
            self.again.insert(file);
        }
    }
}

/// The digest of a file, read by itself in the order of its parts.
pub(super) fn digest_again(
    repository: &Repository,
    cluster: &ClusterRef,
    family: &Family,
    parts: &BTreeMap<u64, Piece>,
    bytes: u64,
) -> Result<ContentDigest, RepositoryError> {
    let mut hasher = FileHasher::new(repository.keys(), bytes, family.page_bytes);
    for piece in parts.values() {
        let Some(need) = family.packs.get(piece.pack as usize) else { continue };
        let reader = PackReader::open(repository, cluster, need)?;
        let range = piece.offset..piece.offset.saturating_add(piece.length);
        let read = reader.read_frames_of([range.clone()], &mut |offset, plain| {
            let from = usize::try_from(range.start.saturating_sub(offset)).unwrap_or(usize::MAX);
            let to = usize::try_from(range.end.saturating_sub(offset)).unwrap_or(usize::MAX).min(plain.len());
            hasher.update(plain.get(from..to).unwrap_or_default());
            Ok::<(), std::convert::Infallible>(())
        });
        match read {
            Ok(()) => {}
            Err(SinkError::Repository(error)) => return Err(error),
            Err(SinkError::Sink(never)) => match never {},
        }
    }
    Ok(hasher.finish())
}
