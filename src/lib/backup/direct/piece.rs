//! What the scan finds, cut into pieces of work: each is read, digested and compressed by one thread.

use std::path::PathBuf;
use std::sync::Arc;

use crate::backup::BackupError;
use crate::fs::{LiveDirectory, LiveFacts, LiveFile};
use crate::pg::DataPath;
use crate::repository::FRAME_BYTES;

/// LIMIT: how much of a larger file is read as one piece.
const RUN_BYTES: usize = 4 * FRAME_BYTES;
/// LIMIT: bytes of all pieces that are read or wait to be taken; with many threads, pieces are smaller.
const PIECES_BYTES: usize = 64 << 20;
/// Pieces for each thread that are read, or wait to be taken.
const PIECES_PER_THREAD: usize = 4;
/// LIMIT: entries of one piece, of which many files are empty, and of all.
const BATCH_ENTRIES: std::ops::RangeInclusive<usize> = 250..=1000;
const ENTRIES_MAX: usize = 128_000;
/// LIMIT: files, and directories of files, that one piece keeps open, and all do.
const BATCH_OPEN: std::ops::RangeInclusive<usize> = 1..=16;
const OPEN_MAX: usize = 640;

/// How large a piece may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct PieceLimits {
    /// How much of a larger file it is.
    pub(super) run_bytes: usize,
    /// Entries of a batch.
    pub(super) batch_entries: usize,
    /// How many files of a batch are open, and how often one comes from another directory than the one before.
    pub(super) batch_open: usize,
}

impl PieceLimits {
    /// The more threads there are, the smaller.
    pub(super) fn of(threads: usize) -> Self {
        let pieces = threads.max(1) * PIECES_PER_THREAD;
        let within =
            |all: usize, range: std::ops::RangeInclusive<usize>| (all / pieces).clamp(*range.start(), *range.end());
        Self {
            run_bytes: within(PIECES_BYTES, FRAME_BYTES..=RUN_BYTES) / FRAME_BYTES * FRAME_BYTES,
            batch_entries: within(ENTRIES_MAX, BATCH_ENTRIES),
            batch_open: within(OPEN_MAX, BATCH_OPEN),
        }
    }
}

/// A piece of work. In the order of the map, and so are the entries in it.
#[derive(Debug)]
pub(super) enum Piece {
    /// Entries that have no content, and small files that share a frame.
    Batch(Vec<Planned>),
    /// Some frames of a larger file.
    Run(Run),
    /// The place of `global/pg_control`, which is read last.
    ControlFile(DataPath),
    /// The scan ended here.
    Failed(BackupError),
}

/// An entry that was seen.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) path: DataPath,
    pub(super) facts: LiveFacts,
    pub(super) kind: PlannedKind,
}

#[derive(Debug)]
pub(super) enum PlannedKind {
    Directory,
    Link {
        target: PathBuf,
    },
    /// A small file of a relation, in this directory; not opened yet. That it is cut, grows or goes is in the WAL.
    RelationFile {
        directory: Arc<LiveDirectory>,
    },
    /// Another small file, opened when it was found: the server and people put new ones in the place of old ones, and
    /// what is read must be one of them, whole.
    OpenFile(LiveFile),
}

/// A file of several frames, opened when it was found.
#[derive(Debug)]
pub(super) struct LargeFile {
    pub(super) path: DataPath,
    pub(super) file: LiveFile,
}

impl LargeFile {
    /// How much of it is taken: what it had when it was opened.
    pub(super) fn bytes(&self) -> u64 {
        self.file.facts().bytes
    }
}

/// A part of it, from a boundary of frames to another or to its end.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) file: Arc<LargeFile>,
    pub(super) offset: u64,
    pub(super) length: usize,
}

impl Run {
    pub(super) fn is_first(&self) -> bool {
        self.offset == 0
    }

    pub(super) fn is_last(&self) -> bool {
        self.offset.saturating_add(self.length as u64) >= self.file.bytes()
    }
}
