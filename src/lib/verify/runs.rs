//! Cuts packs into runs of frames that are read at once, each with the parts of files that lie in it.
//!
//! INVARIANT: each frame that is read is in one run, with every part of a file in it; only a frame with more parts than a
//! run may have is in several, each with some of them. A part that lies in several runs is in each, in their order.

use std::ops::Range;
use std::sync::Arc;

use super::VerifyError;
use super::family::Family;
use super::pieces::{Piece, SortedPieces};
use super::sample::Sampler;
use crate::parallel;
use crate::repository::{ClusterRef, PackReader, Repository, RepositoryError};

/// How large a run may be: it is ended once it has so many frames, stored bytes, plain ones, or parts of files. Those are
/// held until all of it is read, and the leaves of maps are large and compress well.
#[derive(Debug, Clone, Copy)]
pub(super) struct RunLimits {
    frames: usize,
    stored_bytes: u64,
    plain_bytes: u64,
    pieces: usize,
}

impl RunLimits {
    /// LIMIT: memory of all threads, and of what waits for them.
    pub(super) fn of(threads: usize) -> Self {
        let threads_then = threads.max(1) as u64;
        Self {
            frames: 32,
            stored_bytes: ((16 << 20) / threads_then).min(4 << 20),
            plain_bytes: ((32 << 20) / threads_then).min(8 << 20),
            // 88 bytes each.
            pieces: (1 << 17) / (threads.max(1) * (1 + parallel::AHEAD_PER_THREAD)),
        }
    }
}

/// What a thread does.
pub(super) enum PackWork<'a> {
    /// The pack as a whole was looked at; with what is wrong with it.
    Opened { pack: u32, bytes: u64, problem: Option<RepositoryError> },
    /// Frames to read.
    Run(Run<'a>),
    /// There is no more to do.
    Failed(VerifyError),
}

/// Frames that are read at once.
pub(super) struct Run<'a> {
    pub(super) reader: Arc<PackReader<'a>>,
    pub(super) pack: u32,
    pub(super) frames: Range<usize>,
    /// The parts of files in it.
    pub(super) pieces: Vec<Piece>,
    /// A frame that was read before, with other parts of files: it has very many.
    pub(super) is_again: bool,
}

/// Opens the packs of a family one after the other and cuts them into runs.
pub(super) struct PackRuns<'a> {
    repository: &'a Repository,
    cluster: &'a ClusterRef,
    family: &'a Family,
    /// What of the packs belongs to which files.
    pieces: SortedPieces,
    sampler: Sampler,
    is_quick: bool,
    limits: RunLimits,
    next_pack: u32,
    open: Option<OpenPack<'a>>,
    /// Whether the sample has the run that was cut last.
    takes_run: bool,
}

/// A pack that is being cut.
struct OpenPack<'a> {
    reader: Arc<PackReader<'a>>,
    pack: u32,
    next: usize,
    /// Pieces of which something is still to come.
    begun: Vec<Piece>,
    /// Whether the next frame was in a run before, which could not take all pieces in it.
    is_again: bool,
}

impl<'a> OpenPack<'a> {
    fn next_run(&mut self, limits: RunLimits, sorted: &mut SortedPieces) -> Result<Option<Run<'a>>, VerifyError> {
        let frames = &self.reader.index().frames;
        let (begin, is_again) = (self.next, self.is_again);
        if begin >= frames.len() {
            return Ok(None);
        }
        // What was begun is in the run that read this frame first.
        let mut pieces = if is_again { Vec::new() } else { std::mem::take(&mut self.begun) };
        let (many, too_many) = (pieces.len() + limits.pieces / 2, pieces.len() + limits.pieces.max(1));
        let (mut stored, mut plain) = (0, 0);
        for frame in frames.iter().skip(begin).take(limits.frames) {
            let end = self.reader.offset_of(self.next + 1);
            while pieces.len() < too_many
                && let Some(piece) = sorted.next_below(self.pack, end)?
            {
                pieces.push(piece);
            }
            self.is_again = pieces.len() >= too_many;
            if self.is_again {
                break;
            }
            self.next += 1;
            stored += u64::from(frame.stored_bytes);
            plain += u64::from(frame.plain_bytes);
            if is_again || stored >= limits.stored_bytes || plain >= limits.plain_bytes || pieces.len() >= many {
                break;
            }
        }
        let frames = begin..self.next + usize::from(self.is_again);
        let end = self.reader.offset_of(frames.end);
        self.begun.extend(pieces.iter().filter(|piece| piece.end() > end));
        Ok(Some(Run { reader: Arc::clone(&self.reader), pack: self.pack, frames, pieces, is_again }))
    }
}

impl<'a> PackRuns<'a> {
    pub(super) fn new(
        (repository, cluster): (&'a Repository, &'a ClusterRef),
        (family, pieces): (&'a Family, SortedPieces),
        (sampler, is_quick): (Sampler, bool),
        limits: RunLimits,
    ) -> Self {
        let (next_pack, open, takes_run) = (0, None, false);
        Self { repository, cluster, family, pieces, sampler, is_quick, limits, next_pack, open, takes_run }
    }

    fn next_run(&mut self) -> Result<Option<Run<'a>>, VerifyError> {
        let Some(open) = &mut self.open else { return Ok(None) };
        while let Some(run) = open.next_run(self.limits, &mut self.pieces)? {
            if !run.is_again {
                self.takes_run = self.sampler.takes();
            }
            if self.takes_run {
                return Ok(Some(run));
            }
        }
        self.open = None;
        Ok(None)
    }
}

impl<'a> Iterator for PackRuns<'a> {
    type Item = PackWork<'a>;

    fn next(&mut self) -> Option<PackWork<'a>> {
        match self.next_run() {
            Ok(Some(run)) => return Some(PackWork::Run(run)),
            Ok(None) => {}
            Err(error) => {
                self.open = None;
                self.next_pack = u32::MAX;
                return Some(PackWork::Failed(error));
            }
        }
        let pack = self.next_pack;
        let need = self.family.packs.get(pack as usize)?;
        self.next_pack += 1;
        if self.is_quick {
            let problem = PackReader::check_sizes(self.repository, self.cluster, need).err();
            return Some(PackWork::Opened { pack, bytes: 0, problem });
        }
        let opened = PackReader::open(self.repository, self.cluster, need);
        Some(match opened {
            Err(error) => PackWork::Opened { pack, bytes: 0, problem: Some(error) },
            Ok(reader) => {
                let problem = reader.check_frame_of_reference(need).err();
                let content: u64 = reader.index().frames.iter().map(|frame| u64::from(frame.stored_bytes)).sum();
                let reader = Arc::new(reader);
                self.open = Some(OpenPack { reader, pack, next: 0, begun: Vec::new(), is_again: false });
                PackWork::Opened { pack, bytes: need.body_bytes.saturating_sub(content), problem }
            }
        })
    }
}
