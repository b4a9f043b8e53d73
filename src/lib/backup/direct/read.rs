//! Reading one piece: its bytes, the checksums of its pages, digests and frames. Done by several threads.
//!
//! INVARIANT: a larger file has the size that it had when it was opened, a small one of a relation at most the size that it
//! had when it was found; what the server adds meanwhile is in its WAL. Another small file is as it was at one moment.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use super::pages::{BadPage, PageCheck};
use super::piece::{LargeFile, Piece, Planned, PlannedKind, Run};
use super::rate::RateLimit;
use crate::backup::BackupError;
use crate::backup::taken::is_within_page;
use crate::codec::{CompressionLevel, ContentDigest, DigestKeys, PAGED_FILE_BYTES, PageDigest};
use crate::fs::{LiveFacts, LiveFile};
use crate::pg::DataPath;
use crate::report::Cancel;
use crate::repository::{FRAME_BYTES, Frame, FrameMaker, PackError};

/// What was read.
pub(super) enum ReadPiece {
    Batch(ReadBatch),
    Run(ReadRun),
    /// The place of `global/pg_control`.
    ControlFile(DataPath),
}

pub(super) struct ReadBatch {
    pub(super) entries: Vec<ReadEntry>,
    /// What is in the files; none when nothing is.
    pub(super) frame: Option<Frame>,
}

pub(super) struct ReadEntry {
    pub(super) path: DataPath,
    pub(super) facts: LiveFacts,
    pub(super) kind: ReadKind,
}

pub(super) enum ReadKind {
    Directory,
    Link { target: std::path::PathBuf },
    File(ReadFile),
}

pub(super) struct ReadFile {
    pub(super) bytes: u64,
    pub(super) digest: ContentDigest,
    /// Where its content begins in the frame.
    pub(super) offset: u64,
    pub(super) bad: Vec<BadPage>,
    /// Whether it is one of a relation and ends within a page.
    pub(super) is_cut: bool,
}

pub(super) struct ReadRun {
    pub(super) run: Run,
    pub(super) frames: Vec<(Frame, Vec<PageDigest>)>,
    pub(super) bad: Vec<BadPage>,
    pub(super) is_cut: bool,
}

/// Reads pieces; shared by the threads that do.
pub(super) struct Reader<'a> {
    pub(super) keys: DigestKeys,
    pub(super) level: CompressionLevel,
    pub(super) page_bytes: usize,
    /// How checksums are verified; none when the cluster has none.
    pub(super) pages: Option<PageCheck>,
    pub(super) rate: Option<RateLimit>,
    pub(super) cancel: &'a Cancel,
    /// What threads use that read at present, or did.
    pub(super) tools: Mutex<Vec<Tools>>,
}

/// What a thread reads with.
pub(super) struct Tools {
    maker: FrameMaker,
    buffer: Vec<u8>,
}

impl Reader<'_> {
    pub(super) fn read(&self, piece: Piece, is_over: &AtomicBool) -> Result<ReadPiece, BackupError> {
        match piece {
            Piece::Failed(error) => Err(error),
            Piece::ControlFile(path) => Ok(ReadPiece::ControlFile(path)),
            Piece::Batch(planned) => {
                let bytes = planned.iter().map(Planned::content_bytes).sum();
                self.wait(bytes, is_over);
                self.with_tools(|tools| self.read_batch(planned, tools)).map(ReadPiece::Batch)
            }
            Piece::Run(run) => {
                self.wait(run.length as u64, is_over);
                self.with_tools(|tools| self.read_run(run, tools)).map(ReadPiece::Run)
            }
        }
    }

    fn wait(&self, bytes: u64, is_over: &AtomicBool) {
        if let Some(rate) = &self.rate {
            rate.wait_for(bytes, is_over, self.cancel);
        }
    }

    fn with_tools<T>(&self, work: impl FnOnce(&mut Tools) -> Result<T, BackupError>) -> Result<T, BackupError> {
        let idle = self.tools.lock().ok().and_then(|mut tools| tools.pop());
        let mut tools = match idle {
            Some(tools) => tools,
            None => {
                let maker = FrameMaker::new(self.level, &self.keys).map_err(PackError::from)?;
                Tools { maker, buffer: Vec::new() }
            }
        };
        let done = work(&mut tools);
        if let Ok(mut idle) = self.tools.lock() {
            idle.push(tools);
        }
        done
    }

    fn read_batch(&self, planned: Vec<Planned>, tools: &mut Tools) -> Result<ReadBatch, BackupError> {
        let Tools { maker, buffer } = tools;
        buffer.clear();
        let mut entries = Vec::with_capacity(planned.len());
        for Planned { path, facts, kind } in planned {
            let (facts, kind) = match kind {
                PlannedKind::Directory => (facts, ReadKind::Directory),
                PlannedKind::Link { target } => (facts, ReadKind::Link { target }),
                PlannedKind::RelationFile { directory } => {
                    // It has gone since it was found.
                    let name = std::os::unix::ffi::OsStrExt::from_bytes(path.file_name());
                    let Some(file) = directory.file(name)? else { continue };
                    let read = self.read_small(&path, &file, facts.bytes, buffer)?;
                    (file.facts(), ReadKind::File(read))
                }
                PlannedKind::OpenFile(file) => {
                    // One that was written anew in place is taken with what it has now.
                    let now_bytes = Some(file.bytes_now()?).filter(|bytes| *bytes <= PAGED_FILE_BYTES);
                    let read = self.read_small(&path, &file, now_bytes.unwrap_or(facts.bytes), buffer)?;
                    (facts, ReadKind::File(read))
                }
            };
            entries.push(ReadEntry { path, facts, kind });
        }
        let frame = match buffer.is_empty() {
            true => None,
            false => Some(maker.shared(buffer).map_err(PackError::from)?),
        };
        Ok(ReadBatch { entries, frame })
    }

    /// Appends what is in the file now: at most so many bytes, less when it was cut short since.
    fn read_small(
        &self,
        path: &DataPath,
        file: &LiveFile,
        bytes: u64,
        buffer: &mut Vec<u8>,
    ) -> Result<ReadFile, BackupError> {
        let begin = buffer.len();
        let length = usize::try_from(bytes).unwrap_or(FRAME_BYTES).min(FRAME_BYTES);
        buffer.resize(begin + length, 0);
        let read = file.read_at(0, buffer.get_mut(begin..).unwrap_or_default(), FRAME_BYTES)?;
        buffer.truncate(begin + read);
        let content = buffer.get_mut(begin..).unwrap_or_default();
        let bad = self.check_pages(path, file, 0, content)?;
        let digest = self.keys.plain_digest(content);
        let is_cut = self.is_cut(path, file, read as u64)?;
        Ok(ReadFile { bytes: read as u64, digest, offset: begin as u64, bad, is_cut })
    }

    fn read_run(&self, run: Run, tools: &mut Tools) -> Result<ReadRun, BackupError> {
        let Tools { maker, buffer } = tools;
        let LargeFile { path, file } = &*run.file;
        buffer.resize(run.length, 0);
        let read = file.read_at(run.offset, buffer, FRAME_BYTES)?;
        // A file that was cut short since it was opened ends with zeros, as in a backup that the server sends. The cut
        // is in the WAL: replay makes it again, and takes pages of zeros for pages that are not there.
        buffer.get_mut(read..).unwrap_or_default().fill(0);
        let bad = self.check_pages(path, file, run.offset, buffer)?;
        let make = |plain: &[u8]| maker.paged(plain, self.page_bytes).map_err(PackError::from);
        let frames = buffer.chunks(FRAME_BYTES).map(make).collect::<Result<_, _>>()?;
        let is_cut = run.is_last() && self.is_cut(path, file, run.file.bytes())?;
        Ok(ReadRun { run, frames, bad, is_cut })
    }

    /// Whether a relation's file ends within a page, and has not been growing: then it may look like that for a moment.
    fn is_cut(&self, path: &DataPath, file: &LiveFile, bytes: u64) -> Result<bool, BackupError> {
        let is_within = is_within_page(path, bytes, self.page_bytes as u64);
        Ok(is_within && file.bytes_now()? == bytes)
    }

    fn check_pages(
        &self,
        path: &DataPath,
        file: &LiveFile,
        offset: u64,
        content: &mut [u8],
    ) -> Result<Vec<BadPage>, BackupError> {
        match &self.pages {
            Some(pages) => Ok(pages.check(path, file, offset, content)?),
            None => Ok(Vec::new()),
        }
    }
}

impl Planned {
    fn content_bytes(&self) -> u64 {
        match self.kind {
            PlannedKind::RelationFile { .. } | PlannedKind::OpenFile(_) => self.facts.bytes,
            PlannedKind::Directory | PlannedKind::Link { .. } => 0,
        }
    }
}
