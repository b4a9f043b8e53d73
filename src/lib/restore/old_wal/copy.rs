//! Copies what recovery needs of the old pg_wal into the restored one, and what is complete into the archive.
//!
//! ORDER: the copies first, each with the digest of what was checked; then the archive gets the copies, which nobody
//! else writes to. All that before the restored directory can start.

use std::path::{Path, PathBuf};

use super::super::error::RestoreError;
use super::{OldSegment, OldWalError, OldWalUse};
use crate::codec::CompressionLevel;
use crate::error::chain;
use crate::fs::{self, Tree};
use crate::pg::{WalFileName, WalSegmentName};
use crate::report::{Cancel, Reporter};
use crate::repository::{
    ClusterRef, Repository, RepositoryError, WalArchive, WalFileContent, Writer, WriterDescription,
};

/// The folder of WAL in a data directory.
const PG_WAL: &str = "pg_wal";
/// LIMIT: bytes that are copied at once.
const PIECE_BYTES: usize = 1 << 20;

/// Where it is copied to, and how it is stored.
pub(in super::super) struct OldWalCopy<'a> {
    pub(in super::super) repository: &'a Repository,
    pub(in super::super) cluster: &'a ClusterRef,
    pub(in super::super) what: &'a OldWalUse,
    /// Where the folder is now: it may have been moved aside with the directory.
    pub(in super::super) folder: PathBuf,
    pub(in super::super) data: &'a Tree,
    pub(in super::super) file_mode: u32,
    pub(in super::super) level: CompressionLevel,
    pub(in super::super) host: &'a str,
    pub(in super::super) now: jiff::Timestamp,
    pub(in super::super) reporter: &'a dyn Reporter,
    pub(in super::super) cancel: &'a Cancel,
}

impl OldWalCopy<'_> {
    pub(in super::super) fn run(&self) -> Result<(), RestoreError> {
        self.data.create_directory(Path::new(PG_WAL), fs::PRIVATE_DIRECTORY_MODE)?;
        for segment in &self.what.segments {
            self.reporter.step(&format!("copying {} from \"{}\"", segment.file, self.folder.display()));
            self.copy(segment)?;
        }
        for (timeline, text) in &self.what.history_texts {
            let name = WalFileName::TimelineHistory(*timeline);
            self.data.create_file_with(&place(&name), self.file_mode, text)?;
        }
        self.store_all()
    }

    fn copy(&self, segment: &OldSegment) -> Result<(), RestoreError> {
        let from = self.folder.join(&segment.file);
        let relative = place(&WalFileName::Segment(segment.name));
        let source = fs::open_for_reading(&from)?;
        let target = self.data.create_file(&relative, self.file_mode)?;
        let mut hasher = self.repository.keys().plain_hasher();
        let mut offset = 0;
        loop {
            if self.cancel.is_cancelled() {
                return Err(RestoreError::Cancelled { path: self.data.path().to_owned() });
            }
            let piece = fs::read_range_of(&source, &from, offset, PIECE_BYTES)?;
            if piece.is_empty() {
                break;
            }
            hasher.update(&piece);
            self.data.write_at(&target, &relative, offset, &piece)?;
            offset += piece.len() as u64;
        }
        if hasher.finish() == segment.digest { Ok(()) } else { Err(OldWalError::Changed { path: from }.into()) }
    }

    /// Histories first, as a server archives them.
    fn store_all(&self) -> Result<(), RestoreError> {
        let writer = Writer::new(self.repository, WriterDescription::new(self.host, &self.what.folder, self.now));
        let archive = WalArchive::new(self.repository, self.cluster);
        for (timeline, text) in &self.what.history_texts {
            let name = WalFileName::TimelineHistory(*timeline);
            if let Err(error) = archive.store(&name, WalFileContent::Whole(text), self.level, &writer) {
                self.reporter.warn(&format!("{name} was not stored in the archive: {}", chain(&error)));
            }
        }
        for segment in self.what.segments.iter().filter(|segment| segment.complete) {
            if self.cancel.is_cancelled() {
                return Err(RestoreError::Cancelled { path: self.data.path().to_owned() });
            }
            match self.store(&archive, &segment.name, &writer)? {
                Ok(()) => {}
                // Recovery asks the archive first, and would get other WAL than was proven.
                Err(source @ RepositoryError::Conflict { .. }) => {
                    return Err(OldWalError::ArchivedMeanwhile { segment: segment.name, source }.into());
                }
                Err(source) if segment.fills_hole => {
                    return Err(OldWalError::NotStored { segment: segment.name, source }.into());
                }
                Err(error) => self.reporter.warn(&format!(
                    "WAL segment {} was not stored in the archive, and recovery takes it from pg_wal: {}",
                    segment.name,
                    chain(&error)
                )),
            }
        }
        Ok(())
    }

    /// Stores the copy, which was checked.
    fn store(
        &self,
        archive: &WalArchive<'_>,
        name: &WalSegmentName,
        writer: &Writer,
    ) -> Result<Result<(), RepositoryError>, RestoreError> {
        let name = WalFileName::Segment(*name);
        let path = self.data.path().join(place(&name));
        let mut file = self.data.open_file(&place(&name))?;
        let bytes = fs::bytes_of(&file, &path)?;
        let stored = archive.store(&name, WalFileContent::File(&mut file, bytes), self.level, writer);
        Ok(stored.map(|_| ()))
    }
}

fn place(name: &WalFileName) -> PathBuf {
    Path::new(PG_WAL).join(name.to_string())
}
