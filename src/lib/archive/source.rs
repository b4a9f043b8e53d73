//! The file to archive: what its name says, what its content says, and whether the two agree.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::ArchiveError;
use crate::fs;
use crate::pg::{
    Lsn, SystemIdentifier, TimelineHistory, TimelineId, WalExtent, WalFileName, WalFormat, WalSegmentHeader,
    WalSegmentName,
};
use crate::repository::{ClusterIdentity, Repository};
use crate::server::{ControlFileReadError, read_control_file};

/// LIMIT: bytes of a `.history` or `.backup` file.
const TEXT_BYTES_MAX: u64 = 1 << 20;

/// Segments have at least so many bytes, and a power of two of them.
const SEGMENT_BYTES_MIN: u64 = 1 << 20;

/// How much of a segment is read at once.
const PIECE_BYTES: usize = 1 << 20;

/// A file that is what its name says, as far as its beginning tells.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    file: File,
    /// Its name.
    pub(super) name: WalFileName,
    /// Its size.
    pub(super) bytes: u64,
    /// The system identifier that it, or its data directory, has.
    pub(super) system_identifier: Option<SystemIdentifier>,
    header: Option<WalSegmentHeader>,
    /// What was read already, of a `.history` or `.backup` file.
    text: Option<Vec<u8>>,
}

/// What was read of it.
pub(super) enum SourceContent {
    /// All of it.
    Whole(Vec<u8>),
    /// It is read as it is stored.
    File(File),
}

impl Source {
    pub(super) fn open(path: &Path, name: Option<&str>, data_directory: &Path) -> Result<Self, ArchiveError> {
        let own_name = path.file_name().ok_or_else(|| ArchiveError::NoName { path: path.to_owned() })?;
        let text = name.map_or_else(|| own_name.to_string_lossy().into_owned(), str::to_owned);
        let name = WalFileName::parse(&text).map_err(|source| ArchiveError::Name { path: path.to_owned(), source })?;
        let file = match fs::open_for_reading(path) {
            Err(error) if error.is_not_found() => return Err(ArchiveError::SourceMissing { path: path.to_owned() }),
            other => other?,
        };
        let bytes = fs::bytes_of(&file, path)?;
        let mut source =
            Self { path: path.to_owned(), file, name, bytes, system_identifier: None, header: None, text: None };
        match name {
            WalFileName::Segment(_) | WalFileName::Partial(_) => source.check_segment()?,
            WalFileName::BackupHistory { .. } | WalFileName::TimelineHistory(_) => {
                source.check_text()?;
                source.system_identifier = read_system_identifier(data_directory)?;
            }
        }
        Ok(source)
    }

    /// Its header must be the one of the segment that its name says, and its size a whole segment's.
    fn check_segment(&mut self) -> Result<(), ArchiveError> {
        let invalid = |source| ArchiveError::Header { path: self.path.clone(), source };
        let beginning = fs::read_range_of(&self.file, &self.path, 0, WalSegmentHeader::LENGTH)?;
        let header = WalSegmentHeader::decode(&beginning).map_err(invalid)?;
        if let Some(segment) = self.name.segment() {
            header.check_name(&segment).map_err(invalid)?;
        }
        let expected = header.segment_size.bytes();
        if self.bytes != expected {
            return Err(ArchiveError::Size { path: self.path.clone(), expected, found: self.bytes });
        }
        self.system_identifier = Some(header.system_identifier);
        self.header = Some(header);
        Ok(())
    }

    /// What is stored is what was checked: the file is read once.
    fn check_text(&mut self) -> Result<(), ArchiveError> {
        let path = self.path.clone();
        let problem = |problem| ArchiveError::Text { path: path.clone(), problem };
        if self.bytes > TEXT_BYTES_MAX {
            return Err(problem("it is larger than 1 MiB"));
        }
        let content = self.read_whole()?;
        match self.name {
            // It comes from no other timeline, so the server has none to write (`writeTimeLineHistory`).
            WalFileName::TimelineHistory(TimelineId::FIRST) => {
                return Err(problem("the first timeline has no history"));
            }
            WalFileName::TimelineHistory(timeline) => {
                let parsed = TimelineHistory::decode(timeline, &content);
                parsed.map_err(|source| ArchiveError::History { path: path.clone(), source })?;
            }
            _ if is_unsynced(&content) || begins_as_named(&content, &self.name) => {}
            _ => return Err(problem("it does not begin with the start location in its name")),
        }
        self.text = Some(content);
        Ok(())
    }

    /// What is registered of the cluster must fit the segment's header.
    pub(super) fn check_identity(
        &self,
        identity: &ClusterIdentity,
        repository: &Repository,
    ) -> Result<(), ArchiveError> {
        let Some(header) = &self.header else { return Ok(()) };
        let (path, store, cluster) = (self.path.clone(), repository.describe(), identity.cluster.clone());
        if header.major != identity.major_version {
            let (expected, found) = (identity.major_version, header.major);
            return Err(ArchiveError::OtherVersion { path, store, cluster, expected, found });
        }
        if header.segment_size != identity.wal_segment_size {
            let (expected, found) = (identity.wal_segment_size, header.segment_size);
            return Err(ArchiveError::OtherSegmentSize { path, store, cluster, expected, found });
        }
        Ok(())
    }

    /// Whether it is a `.backup` file that a crash of the system has emptied.
    pub(super) fn is_emptied(&self) -> bool {
        matches!(self.name, WalFileName::BackupHistory { .. }) && self.text.as_deref().is_some_and(is_unsynced)
    }

    /// How much of a segment is log. It is read only when its last page does not belong to it: with that, it is full.
    pub(super) fn extent_unless_full(&self) -> Result<Option<WalExtent>, fs::FileError> {
        let (Some(header), Some(segment)) = (self.header, self.name.segment()) else { return Ok(None) };
        let last = self.bytes.saturating_sub(header.block_bytes.into());
        let beginning = fs::read_range_of(&self.file, &self.path, last, WalSegmentHeader::LENGTH)?;
        let has_page = |page| WalFormat::from(header).has_page(&beginning, page, segment.timeline());
        if header.page_address.checked_add(last).is_none_or(has_page) {
            return Ok(None);
        }
        WalExtent::read(&segment, |sink| {
            let mut offset = 0;
            loop {
                let piece = fs::read_range_of(&self.file, &self.path, offset, PIECE_BYTES)?;
                if piece.is_empty() || sink(&piece).is_break() {
                    return Ok(());
                }
                offset += piece.len() as u64;
            }
        })
    }

    /// What is to be stored.
    pub(super) fn content(self) -> SourceContent {
        match self.text {
            Some(text) => SourceContent::Whole(text),
            None => SourceContent::File(self.file),
        }
    }

    /// Its size must be the same at the end.
    fn read_whole(&mut self) -> Result<Vec<u8>, ArchiveError> {
        let mut content = Vec::with_capacity(usize::try_from(self.bytes).unwrap_or_default());
        let read = Read::take(&mut self.file, self.bytes.saturating_add(1)).read_to_end(&mut content);
        read.map_err(|error| fs::FileError::new("read", &self.path, error))?;
        if content.len() as u64 != self.bytes || fs::bytes_of(&self.file, &self.path)? != self.bytes {
            return Err(ArchiveError::Changed { path: self.path.clone() });
        }
        Ok(content)
    }
}

/// Whether it has no content, as a crash of the system can leave a `.backup` file: the server does not sync it
/// (`do_pg_backup_stop`), nobody needs it for a recovery, and refused it would hold up all that comes after it.
fn is_unsynced(content: &[u8]) -> bool {
    content.iter().all(|byte| *byte == 0)
}

/// Whether the first line of a `.backup` file says what its name says (`build_backup_content`). The timelines are not
/// compared, and of the position only what does not depend on the segment size.
fn begins_as_named(content: &[u8], name: &WalFileName) -> bool {
    let WalFileName::BackupHistory { offset, .. } = name else { return false };
    let name = name.to_string();
    let line = content.split(|byte| *byte == b'\n').next().and_then(|line| std::str::from_utf8(line).ok());
    let start =
        line.and_then(|line| line.strip_prefix("START WAL LOCATION: ")?.strip_suffix(')')?.split_once(" (file "));
    let Some((lsn, file)) = start else { return false };
    let position = lsn.parse::<Lsn>().map(Lsn::get);
    let of_name = u64::from(*offset) % SEGMENT_BYTES_MIN;
    let is_there = position.is_ok_and(|position| position % SEGMENT_BYTES_MIN == of_name);
    is_there && file.len() == WalSegmentName::LENGTH && file.get(8..) == name.get(8..WalSegmentName::LENGTH)
}

/// The system identifier of a data directory; `None` when it has no control file.
fn read_system_identifier(data_directory: &Path) -> Result<Option<SystemIdentifier>, ArchiveError> {
    match read_control_file(data_directory) {
        Ok(control) => Ok(control.map(|control| control.system_identifier)),
        Err(ControlFileReadError::Invalid { path, source }) => Err(ArchiveError::ControlFile { path, source }),
        Err(ControlFileReadError::File(error)) => Err(error.into()),
    }
}
