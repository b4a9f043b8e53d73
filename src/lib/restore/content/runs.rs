//! Cuts sorted pieces into runs: frames of a pack that lie side by side and are read at once, with all that they hold.
//!
//! INVARIANT: each frame that a piece touches is in exactly one run, and a run has every piece that touches it.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use super::Content;
use super::piece::{Piece, Standing};
use crate::fs::Sorted;
use crate::repository::PackReader;
use crate::restore::error::RestoreError;

/// LIMIT: plain bytes of a run, and of the runs of all threads, one each; one frame more at most.
const RUN_BYTES: u64 = 1 << 20;
const RUNS_BYTES: u64 = 16 << 20;
/// LIMIT: pieces of a run for each thread; one frame more at most. Each has some 300 bytes, and up to three runs a thread
/// are on their way.
const RUNS_PIECES: usize = 1 << 16;

/// Frames of a pack that are read at once.
pub(super) struct Run<'a> {
    pub(super) pack: Arc<PackReader<'a>>,
    pub(super) frames: Range<usize>,
    pub(super) parts: Vec<Part>,
}

/// A piece of which a run holds at least a part.
#[derive(Clone)]
pub(super) struct Part {
    pub(super) piece: Piece,
    /// The open file, when more than this run goes into it.
    pub(super) file: Option<Arc<File>>,
}

/// The runs of sorted pieces.
pub(super) struct Runs<'a, 'c> {
    content: &'c Content<'a>,
    pieces: Sorted,
    next: Option<Piece>,
    pack: Option<(u32, Arc<PackReader<'a>>)>,
    /// Pieces of which something is still to come, and everything before it was cut.
    begun: Vec<Part>,
    is_over: bool,
}

impl<'a, 'c> Runs<'a, 'c> {
    pub(super) fn new(content: &'c Content<'a>, pieces: Sorted) -> Self {
        Self { content, pieces, next: None, pack: None, begun: Vec::new(), is_over: false }
    }

    /// The next piece, when it lies in that pack and begins before that offset.
    fn take_below(&mut self, pack: u32, offset: u64) -> Result<Option<Piece>, RestoreError> {
        if self.next.is_none() {
            let Some(record) = self.pieces.next() else { return Ok(None) };
            let lost = || RestoreError::Spill { path: self.content.plan.directory.clone() };
            self.next = Some(Piece::decode(&record?).ok_or_else(lost)?);
        }
        Ok(self.next.take_if(|piece| piece.pack == pack && piece.from.start < offset))
    }

    fn next_run(&mut self) -> Result<Option<Run<'a>>, RestoreError> {
        self.content.cancelled()?;
        if self.begun.is_empty() && !self.begin()? {
            return Ok(None);
        }
        let Some((number, pack)) = self.pack.clone() else { return Ok(None) };
        let Some(first) = self.begun.iter().map(|part| part.piece.from.start).min() else { return Ok(None) };
        let first = pack.frames_of(&(first..first.saturating_add(1)))?.start;
        let mut frames = first..first;
        let mut needed = self.begun.iter().map(|part| part.piece.from.end).max().unwrap_or_default();
        let threads = self.content.jobs.max(1);
        let (most_bytes, most_pieces) = ((RUNS_BYTES / threads as u64).min(RUN_BYTES), RUNS_PIECES / threads);
        let has_room = |frames: &Range<usize>, pieces: usize| {
            let bytes = pack.offset_of(frames.end).saturating_sub(pack.offset_of(first));
            bytes < most_bytes && (frames.is_empty() || pieces < most_pieces)
        };
        while has_room(&frames, self.begun.len()) {
            let (begin, end) = (pack.offset_of(frames.end), pack.offset_of(frames.end + 1));
            let mut is_touched = needed > begin;
            while let Some(piece) = self.take_below(number, end)? {
                pack.frames_of(&piece.from)?;
                is_touched = true;
                needed = needed.max(piece.from.end);
                self.begun.push(Part { piece, file: None });
            }
            if !is_touched || begin == end {
                break;
            }
            frames.end += 1;
        }
        self.cut(pack, frames).map(Some)
    }

    /// Begins with the next piece, and its pack; `false` at the end.
    fn begin(&mut self) -> Result<bool, RestoreError> {
        let _ = self.take_below(0, 0)?;
        let Some(piece) = self.next.take() else { return Ok(false) };
        if self.pack.as_ref().is_none_or(|(number, _)| *number != piece.pack) {
            self.pack = Some((piece.pack, Arc::new(self.content.map.open_pack(piece.pack)?)));
        }
        if let Some((_, pack)) = &self.pack {
            pack.frames_of(&piece.from)?;
        }
        self.begun.push(Part { piece, file: None });
        Ok(true)
    }

    /// The run of these frames; what goes on behind them stays begun.
    fn cut(&mut self, pack: Arc<PackReader<'a>>, frames: Range<usize>) -> Result<Run<'a>, RestoreError> {
        let end = pack.offset_of(frames.end);
        let goes_on = |part: &&mut Part| part.piece.from.end > end && part.file.is_none();
        // What is only compared is not created.
        let is_there = |part: &&mut Part| self.content.touches() || part.piece.target.standing == Standing::Old;
        for part in self.begun.iter_mut().filter(goes_on).filter(is_there) {
            part.file = Some(Arc::new(self.content.open_large(&part.piece.target)?));
        }
        let parts = self.begun.clone();
        self.begun.retain(|part| part.piece.from.end > end);
        for part in &mut self.begun {
            let done = end.saturating_sub(part.piece.from.start);
            part.piece.from.start = end;
            part.piece.offset += done;
        }
        Ok(Run { pack, frames, parts })
    }
}

impl<'a> Iterator for Runs<'a, '_> {
    type Item = Result<Run<'a>, RestoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let run = self.next_run().transpose();
        self.is_over = !matches!(run, Some(Ok(_)));
        run
    }
}

impl Part {
    /// Whether nothing of the file lies elsewhere.
    pub(super) fn is_whole_file(&self) -> bool {
        let length = self.piece.from.end - self.piece.from.start;
        self.file.is_none() && self.piece.offset == 0 && length == self.piece.target.bytes
    }

    /// Whether its file is created with it.
    pub(super) fn creates(&self) -> bool {
        self.file.is_none() && self.piece.target.standing == Standing::Nothing
    }
}
