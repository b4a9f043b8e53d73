//! Copies what recovery needs of the old pg_wal into the restored one, and what is complete into the archive.
//!
//! ORDER: the copies first, each with the digest of what was checked; then the archive gets the copies, which nobody
//! else writes to. All that before the restored directory can start.
//! INVARIANT: the archive gets them in the order in which a server archives. Where one cannot be stored, none behind it is:
//! pgv-fetch takes what is missing before a stored one for a hole, and recovery asks it before it looks into pg_wal.

use std::path::{Path, PathBuf};

use super::super::error::RestoreError;
use super::{OldSegment, OldWalError, OldWalUse, PG_WAL};
use crate::codec::CompressionLevel;
use crate::error::chain;
use crate::fs::{self, FileError, Tree};
use crate::pg::{WalFileName, WalSegmentSize};
use crate::report::{Cancel, Reporter};
use crate::repository::{
    ClusterRef, Repository, RepositoryError, WalArchive, WalFileContent, Writer, WriterDescription,
};

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
    /// Whether the copy archives when it opens.
    pub(in super::super) archives: bool,
}

impl OldWalCopy<'_> {
    pub(in super::super) fn run(&self) -> Result<(), RestoreError> {
        self.data.create_directory(Path::new(PG_WAL), fs::PRIVATE_DIRECTORY_MODE)?;
        for segment in &self.what.segments {
            self.reporter.step(&format!("copying {} from \"{}\"", segment.file, self.folder.display()));
            self.copy(segment)?;
            if !segment.complete && !self.archives {
                self.keep_from_archive(&WalFileName::Segment(segment.name))?;
            }
        }
        for (timeline, text) in &self.what.history_texts {
            let name = WalFileName::TimelineHistory(*timeline);
            self.data.create_file_with(&place(&name), self.file_mode, text)?;
        }
        self.store_all()
    }

    /// A server that opens while it archives gives the last segment its partial name. One that does not would archive it
    /// under its full name, once it archives again, as if it were complete (`XLogArchiveCheckDone`).
    fn keep_from_archive(&self, name: &WalFileName) -> Result<(), RestoreError> {
        let folder = Path::new(PG_WAL).join("archive_status");
        self.data.create_directory(&folder, fs::PRIVATE_DIRECTORY_MODE)?;
        Ok(self.data.create_file_with(&folder.join(format!("{name}.done")), self.file_mode, b"")?)
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

    /// A history before the segments of its timeline, and behind those of the earlier ones.
    fn store_all(&self) -> Result<(), RestoreError> {
        let writer = Writer::new(self.repository, WriterDescription::new(self.host, &self.what.folder, self.now));
        let archive = WalArchive::new(self.repository, self.cluster);
        let files = self.what.files_to_store();
        for (at, (name, _)) in files.iter().enumerate() {
            if self.cancel.is_cancelled() {
                return Err(RestoreError::Cancelled { path: self.data.path().to_owned() });
            }
            match (self.store(&archive, name, &writer)?, name.segment()) {
                (Ok(()), _) => {}
                // Recovery asks the archive first, and would get other WAL than was proven.
                (Err(source @ RepositoryError::Conflict { .. }), Some(segment)) => {
                    return Err(OldWalError::ArchivedMeanwhile { segment, source }.into());
                }
                (Err(source @ RepositoryError::Conflict { .. }), None) => return Err(source.into()),
                (Err(source), _) => return self.stopped_at(name, files.get(at..).unwrap_or_default(), source),
            }
        }
        Ok(())
    }

    /// What is left is not stored, and recovery takes it from pg_wal; unless the archive has WAL behind it.
    fn stopped_at(
        &self,
        name: &WalFileName,
        left: &[(WalFileName, Option<&OldSegment>)],
        source: RepositoryError,
    ) -> Result<(), RestoreError> {
        if let Some(segment) = left.iter().find_map(|(_, segment)| segment.filter(|segment| segment.fills_hole)) {
            return Err(OldWalError::NotStored { segment: segment.name, source }.into());
        }
        let what = match left.len().saturating_sub(1) {
            0 => format!("{name} was not stored in the archive, and recovery takes it"),
            1 => format!("{name} and the WAL file behind it were not stored in the archive, and recovery takes them"),
            more => {
                format!("{name} and {more} WAL files behind it were not stored in the archive, and recovery takes them")
            }
        };
        self.reporter.warn(&format!("{what} from pg_wal: {}", chain(&source)));
        Ok(())
    }

    /// Stores the copy, which was checked.
    fn store(
        &self,
        archive: &WalArchive<'_>,
        name: &WalFileName,
        writer: &Writer,
    ) -> Result<Result<(), RepositoryError>, RestoreError> {
        let path = self.data.path().join(place(name));
        let mut file = self.data.open_file(&place(name))?;
        let bytes = fs::bytes_of(&file, &path)?;
        let stored = archive.store(name, WalFileContent::File(&mut file, bytes), self.level, writer);
        Ok(stored.map(|_| ()))
    }
}

/// Whether the archive may have too little room for what it gets, which is not known before it is compressed.
pub(in super::super) fn room_warning(
    what: &OldWalUse,
    size: WalSegmentSize,
    repository: &Path,
) -> Result<Option<String>, FileError> {
    let stored: Vec<&OldSegment> = what.segments.iter().filter(|segment| segment.complete).collect();
    let needed = (stored.len() as u64).saturating_mul(size.bytes());
    if stored.is_empty() {
        return Ok(None);
    }
    let available = fs::available_bytes(repository)?;
    let left = match stored.iter().any(|segment| segment.fills_hole) {
        true => "what fills a hole must fit, and recovery takes what does not fit of the rest from pg_wal",
        false => "recovery takes what does not fit from pg_wal",
    };
    Ok((needed > available).then(|| {
        format!(
            "the file system of the repository has {} MiB left, and up to {} MiB of WAL from \"{}\" are stored there: {left}",
            available >> 20,
            needed.div_ceil(1 << 20),
            what.folder.display(),
        )
    }))
}

impl OldWalUse {
    /// What the archive gets, in the order in which a server archives it.
    fn files_to_store(&self) -> Vec<(WalFileName, Option<&OldSegment>)> {
        let histories = self.histories.iter().map(|timeline| (WalFileName::TimelineHistory(*timeline), None));
        let segments = self.segments.iter().filter(|segment| segment.complete);
        let segments = segments.map(|segment| (WalFileName::Segment(segment.name), Some(segment)));
        let mut files: Vec<_> = histories.chain(segments).collect();
        // Segments of one timeline are in order already.
        files.sort_by_key(|(name, segment)| (name.timeline(), segment.is_some()));
        files
    }
}

fn place(name: &WalFileName) -> PathBuf {
    Path::new(PG_WAL).join(name.to_string())
}
