//! What the scan finds, cut into pieces of work: each is read, digested and compressed by one thread.

use std::path::PathBuf;
use std::sync::Arc;

use crate::backup::BackupError;
use crate::fs::{LiveDirectory, LiveFacts, LiveFile};
use crate::pg::DataPath;

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
    /// A file of at most one frame, in this directory; not opened yet.
    File {
        directory: Arc<LiveDirectory>,
    },
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
