//! What came of a stream and what its manifest lists, as records that are sorted outside memory.
//!
//! INVARIANT: records come back in the order of their paths; of one path, what the manifest says comes first, then files
//! that came, then directories and links.

use jiff::Timestamp;

use super::BackupError;
use crate::codec::ContentDigest;
use crate::fs::{FileError, Sorted, Sorter};
use crate::pg::{DataPath, ManifestChecksum, ManifestFile};
use crate::repository::{Extent, FileEntry, FileKind};

/// What is read back is what was written.
const LOST: BackupError = BackupError::Internal { what: "a sorted record was changed" };

/// Size and checksum of a file, as the manifest states them or as they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) bytes: u64,
    /// Its bytes; empty when none is stated. Each algorithm's have another length.
    pub(super) checksum: Vec<u8>,
}

/// A record of one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Listed {
    /// The manifest lists it as a file.
    Manifest(Sums),
    /// A file came; a document has no entry in the map.
    File(Sums, Option<FileEntry>),
    /// A directory or link came.
    Other(FileEntry),
}

/// Takes them in any order.
pub(super) struct Listing<'t> {
    sorter: Sorter<'t>,
    record: Vec<u8>,
    came: usize,
}

/// All of them, in their order.
pub(super) struct SortedListing(Sorted);

impl<'t> Listing<'t> {
    pub(super) fn new(sorter: Sorter<'t>) -> Self {
        Self { sorter, record: Vec::new(), came: 0 }
    }

    /// How many files, directories and links came.
    pub(super) fn came(&self) -> usize {
        self.came
    }

    /// Adds a file that came.
    pub(super) fn add_file(
        &mut self,
        path: &DataPath,
        bytes: u64,
        checksum: &ManifestChecksum,
        entry: Option<FileEntry>,
    ) -> Result<(), BackupError> {
        self.came += 1;
        self.add(path, &Listed::File(Sums { bytes, checksum: checksum.as_bytes().to_vec() }, entry))
    }

    /// Adds a directory or link.
    pub(super) fn add_other(&mut self, path: &DataPath, entry: FileEntry) -> Result<(), BackupError> {
        self.came += 1;
        self.add(path, &Listed::Other(entry))
    }

    /// Adds a file of the manifest.
    pub(super) fn add_expected(&mut self, file: &ManifestFile) -> Result<(), BackupError> {
        let checksum = file.checksum.as_ref().map(|checksum| checksum.as_bytes().to_vec()).unwrap_or_default();
        self.add(&file.path, &Listed::Manifest(Sums { bytes: file.size_bytes, checksum }))
    }

    fn add(&mut self, path: &DataPath, listed: &Listed) -> Result<(), BackupError> {
        self.record.clear();
        listed.encode(path, &mut self.record);
        self.sorter.push(&self.record).map_err(BackupError::Spill)
    }

    /// Nothing comes any more.
    pub(super) fn finish(self) -> Result<SortedListing, BackupError> {
        Ok(SortedListing(self.sorter.finish().map_err(BackupError::Spill)?))
    }
}

impl Iterator for SortedListing {
    type Item = Result<(DataPath, Listed), BackupError>;

    fn next(&mut self) -> Option<Self::Item> {
        let read =
            |record: Result<Vec<u8>, FileError>| Listed::decode(&record.map_err(BackupError::Spill)?).ok_or(LOST);
        self.0.next().map(read)
    }
}

impl Listed {
    /// Ordered as paths are: the zero behind a path, which has none, is less than what may follow it.
    fn encode(&self, path: &DataPath, record: &mut Vec<u8>) {
        record.extend_from_slice(path.as_bytes());
        record.push(0);
        match self {
            Self::Manifest(sums) => {
                record.push(b'0');
                sums.encode(record);
            }
            Self::File(sums, entry) => {
                record.push(b'1');
                sums.encode(record);
                encode_entry(entry.as_ref(), record);
            }
            Self::Other(entry) => {
                record.push(b'2');
                encode_entry(Some(entry), record);
            }
        }
    }

    fn decode(record: &[u8]) -> Option<(DataPath, Self)> {
        let end = record.iter().position(|byte| *byte == 0)?;
        let (path, rest) = record.split_at_checked(end)?;
        let path = DataPath::parse(path).ok()?;
        let mut fields = Fields(rest.get(1..)?);
        let listed = match fields.take()? {
            [b'0'] => Self::Manifest(Sums::decode(&mut fields)?),
            [b'1'] => Self::File(Sums::decode(&mut fields)?, fields.entry(&path)?),
            [b'2'] => Self::Other(fields.entry(&path)??),
            _ => return None,
        };
        fields.0.is_empty().then_some((path, listed))
    }
}

impl Sums {
    fn encode(&self, record: &mut Vec<u8>) {
        record.extend_from_slice(&self.bytes.to_le_bytes());
        encode_bytes(&self.checksum, record);
    }

    fn decode(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self { bytes: fields.number()?, checksum: fields.bytes()?.to_vec() })
    }
}

fn encode_bytes(bytes: &[u8], record: &mut Vec<u8>) {
    record.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    record.extend_from_slice(bytes);
}

fn encode_entry(entry: Option<&FileEntry>, record: &mut Vec<u8>) {
    let Some(entry) = entry else { return record.push(b'-') };
    record.push(match entry.kind {
        FileKind::File { .. } => b'f',
        FileKind::Directory => b'd',
        FileKind::Link { .. } => b'l',
    });
    record.extend_from_slice(&entry.mode.to_le_bytes());
    record.extend_from_slice(&entry.modified.as_second().to_le_bytes());
    match &entry.kind {
        FileKind::File { bytes, digest, extents } => {
            record.extend_from_slice(&bytes.to_le_bytes());
            record.extend_from_slice(digest.as_bytes());
            for extent in extents {
                record.extend_from_slice(&extent.pack.to_le_bytes());
                record.extend_from_slice(&extent.offset.to_le_bytes());
                record.extend_from_slice(&extent.length.to_le_bytes());
            }
        }
        FileKind::Directory => {}
        FileKind::Link { target } => record.extend_from_slice(target.as_os_str().as_encoded_bytes()),
    }
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// The rest of a record; `Some(None)` when it says that there is no entry.
    fn entry(&mut self, path: &DataPath) -> Option<Option<FileEntry>> {
        use std::os::unix::ffi::OsStrExt as _;
        let [kind] = self.take()?;
        if kind == b'-' {
            return Some(None);
        }
        let mode = u32::from_le_bytes(self.take()?);
        let modified = Timestamp::from_second(i64::from_le_bytes(self.take()?)).ok()?;
        let kind = match kind {
            b'f' => {
                let (bytes, digest) = (self.number()?, ContentDigest::from_bytes(self.take()?));
                let mut extents = Vec::new();
                while !self.0.is_empty() {
                    let pack = u32::from_le_bytes(self.take()?);
                    extents.push(Extent { pack, offset: self.number()?, length: self.number()? });
                }
                FileKind::File { bytes, digest, extents }
            }
            b'd' => FileKind::Directory,
            b'l' => FileKind::Link { target: std::ffi::OsStr::from_bytes(self.rest()).into() },
            _ => return None,
        };
        Some(Some(FileEntry::new(path, mode, modified, kind)))
    }
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
