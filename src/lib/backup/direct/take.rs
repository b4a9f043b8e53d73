//! Takes what was read, in the order of the map: frames into packs, entries into leaves.

use super::pages::Findings;
use super::read::{ReadBatch, ReadEntry, ReadFile, ReadKind, ReadPiece, ReadRun};
use crate::backup::BackupError;
use crate::backup::taken::{CUT_MAX, CutRelation};
use crate::codec::{CompressionLevel, DigestKeys, PageListHasher};
use crate::fs::LiveFacts;
use crate::pg::{DataPath, Lsn};
use crate::repository::{
    BackupWriter, BackupWriterError, Extent, FileEntry, FileKind, FrameMaker, MapWriter, PackError, PackWriter,
    StoredContent, TablespaceRef, add_extent,
};

/// A larger file of which a part was taken.
struct Begun {
    extents: Vec<Extent>,
    pages: PageListHasher,
}

/// What is stored so far.
pub(in crate::backup) struct Taker {
    keys: DigestKeys,
    packs: PackWriter,
    /// Makes the frames of leaves.
    maker: FrameMaker,
    map: MapWriter,
    begun: Option<Begun>,
    findings: Findings,
    /// Relation files that end within a page.
    cut: Vec<CutRelation>,
    /// The tablespaces whose links were taken.
    tablespaces: Vec<TablespaceRef>,
}

impl Taker {
    pub(super) fn new(
        keys: &DigestKeys,
        level: CompressionLevel,
        packs: PackWriter,
        map: MapWriter,
    ) -> Result<Self, BackupError> {
        let maker = FrameMaker::new(level, keys).map_err(PackError::from)?;
        let (begun, findings, cut, tablespaces) = (None, Findings::default(), Vec::new(), Vec::new());
        Ok(Self { keys: keys.clone(), packs, maker, map, begun, findings, cut, tablespaces })
    }

    /// Takes the next piece, and says how many bytes of files were in it.
    pub(super) fn take(&mut self, piece: ReadPiece) -> Result<u64, BackupError> {
        match piece {
            ReadPiece::Batch(batch) => self.take_batch(batch),
            ReadPiece::Run(run) => self.take_run(run),
            ReadPiece::ControlFile(path) => {
                let (packs, maker) = (&mut self.packs, &mut self.maker);
                self.map.leave_room(&path, &mut |leaf: &[u8]| store_leaf(packs, maker, leaf))?;
                Ok(0)
            }
        }
    }

    /// Takes the control file, which comes last.
    pub(super) fn take_control_file(
        &mut self,
        path: &DataPath,
        facts: &LiveFacts,
        content: &[u8],
    ) -> Result<(), BackupError> {
        let extent = self.packs.append(self.maker.shared(content).map_err(PackError::from)?)?;
        let digest = self.keys.plain_digest(content);
        let kind = FileKind::File { bytes: content.len() as u64, digest, extents: vec![extent] };
        let (packs, maker) = (&mut self.packs, &mut self.maker);
        let entry = FileEntry::new(path, facts.mode & 0o777, facts.modified, kind);
        Ok(self.map.fill_room(&entry, &mut |leaf: &[u8]| store_leaf(packs, maker, leaf))?)
    }

    /// Nothing comes any more: stores the last leaf, and begins to make the last pack durable.
    pub(super) fn end(&mut self) -> Result<(), BackupError> {
        let (packs, maker) = (&mut self.packs, &mut self.maker);
        self.map.end(&mut |leaf: &[u8]| store_leaf(packs, maker, leaf))?;
        Ok(self.packs.end()?)
    }

    /// Waits until everything is durable, and stores the root of the map.
    pub(in crate::backup) fn finish(self, backup: &mut BackupWriter) -> Result<StoredContent, BackupWriterError> {
        backup.store_root(self.map, self.packs.finish()?)
    }

    pub(super) fn findings(&self, stop_lsn: Lsn) -> Vec<String> {
        self.findings.lines(stop_lsn)
    }

    pub(in crate::backup) fn cut(&self) -> &[CutRelation] {
        &self.cut
    }

    pub(super) fn tablespaces(&self) -> &[TablespaceRef] {
        &self.tablespaces
    }

    fn take_batch(&mut self, batch: ReadBatch) -> Result<u64, BackupError> {
        let place = match batch.frame {
            Some(frame) => Some(self.packs.append(frame)?),
            None => None,
        };
        let mut taken = 0;
        for ReadEntry { path, facts, kind } in batch.entries {
            let (mut mode, mut modified) = (facts.mode & 0o777, facts.modified);
            let kind = match kind {
                ReadKind::Directory => FileKind::Directory,
                ReadKind::Link { target } => {
                    // As in a backup that the server sends, which tells nothing of links.
                    (mode, modified) = (0o777, jiff::Timestamp::UNIX_EPOCH);
                    self.note_tablespace(&path, &target)?;
                    FileKind::Link { target }
                }
                ReadKind::File(ReadFile { bytes, digest, offset, bad, is_cut }) => {
                    self.findings.add(&path, &bad);
                    self.note_cut(&path, bytes, is_cut);
                    taken += bytes;
                    let extent = place.filter(|_| bytes > 0);
                    let extent = extent.map(|frame| Extent { offset: frame.offset + offset, length: bytes, ..frame });
                    FileKind::File { bytes, digest, extents: extent.into_iter().collect() }
                }
            };
            self.add(&path, FileEntry::new(&path, mode, modified, kind))?;
        }
        Ok(taken)
    }

    fn take_run(&mut self, read: ReadRun) -> Result<u64, BackupError> {
        let ReadRun { run, frames, bad, is_cut } = read;
        let path = &run.file.path;
        self.findings.add(path, &bad);
        self.note_cut(path, run.file.bytes(), is_cut);
        if run.is_first() {
            self.begun = Some(Begun { extents: Vec::new(), pages: self.keys.page_list_hasher() });
        }
        let Some(begun) = &mut self.begun else {
            return Err(BackupError::Internal { what: "a file went on that was not begun" });
        };
        for (frame, pages) in frames {
            pages.iter().for_each(|page| begun.pages.add(page));
            add_extent(&mut begun.extents, self.packs.append(frame)?);
        }
        if run.is_last()
            && let Some(Begun { extents, pages }) = self.begun.take()
        {
            let facts = run.file.file.facts();
            let kind = FileKind::File { bytes: facts.bytes, digest: pages.finish(), extents };
            self.add(path, FileEntry::new(path, facts.mode & 0o777, facts.modified, kind))?;
        }
        Ok(run.length as u64)
    }

    fn note_cut(&mut self, path: &DataPath, bytes: u64, is_cut: bool) {
        if is_cut && self.cut.len() < CUT_MAX {
            self.cut.push(CutRelation { path: path.clone(), bytes });
        }
    }

    fn note_tablespace(&mut self, path: &DataPath, target: &std::path::Path) -> Result<(), BackupError> {
        let digits = String::from_utf8_lossy(path.file_name()).into_owned();
        let oid = digits.parse().map_err(|_| BackupError::Internal { what: "a tablespace has no number" })?;
        self.tablespaces.push(TablespaceRef { oid, path: target.to_owned() });
        Ok(())
    }

    fn add(&mut self, path: &DataPath, entry: FileEntry) -> Result<(), BackupError> {
        let (packs, maker) = (&mut self.packs, &mut self.maker);
        Ok(self.map.add(path, &entry, &mut |leaf: &[u8]| store_leaf(packs, maker, leaf))?)
    }
}

/// Stores a leaf as a frame of its own.
fn store_leaf(packs: &mut PackWriter, maker: &mut FrameMaker, leaf: &[u8]) -> Result<Extent, PackError> {
    packs.append(maker.shared(leaf)?)
}
