//! The file map of a backup: every file, directory and link, and where its content lies.
//!
//! Two levels. *Leaves* are frames in packs, at most [`LEAF_BYTES`] of JSON, one entry a line, sorted by the bytes of
//! their paths. The *root* names each leaf with the first path in it.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::record::BackupNeeds;
use crate::codec::{ContentDigest, MAX_FRAME_PLAIN_BYTES};
use crate::pg::DataPath;
use crate::repository::error::{Damage, RepositoryError};
use crate::repository::pack::{Extent, PackReader};
use crate::repository::{ClusterRef, Repository};
use crate::store::ObjectKey;

/// A leaf is ended once it has this many bytes.
pub(crate) const LEAF_BYTES: usize = 1 << 20;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum FileKind {
    /// A regular file.
    File {
        /// Its size in bytes.
        bytes: u64,
        /// Keyed digest of its content.
        digest: ContentDigest,
        /// Where its content lies, in order.
        extents: Vec<Extent>,
    },
    /// A directory.
    Directory,
    /// A link; only those in `pg_tblspc` are taken.
    Link {
        /// Where it points to.
        target: PathBuf,
    },
}

/// One file, directory or link of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ReadEntry")]
pub struct FileEntry {
    /// Its path below the data directory, when it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// Its path as hexadecimal digits, when it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    /// Its permission bits.
    pub mode: u32,
    /// When it was last modified, in whole seconds.
    pub modified: Timestamp,
    /// What it is, and its content.
    #[serde(flatten)]
    pub kind: FileKind,
}

impl FileEntry {
    /// An entry for that path.
    pub fn new(path: &DataPath, mode: u32, modified: Timestamp, kind: FileKind) -> Self {
        let text = path.to_text().map(str::to_owned);
        let path_hex = if text.is_none() { Some(path.to_hex()) } else { None };
        Self { path: text, path_hex, mode, modified, kind }
    }

    /// Its path; `None` when a damaged map has none that stays below the data directory.
    pub fn path(&self) -> Option<DataPath> {
        match (&self.path, &self.path_hex) {
            (Some(text), None) => DataPath::parse(text.as_bytes()).ok(),
            (None, Some(hex)) => DataPath::parse_hex(hex).ok(),
            _ => None,
        }
    }
}

/// An entry as it is read: all fields side by side, since there are millions of them, and serde would put together what it
/// does not know the kind of yet.
#[derive(Deserialize)]
struct ReadEntry {
    path: Option<String>,
    path_hex: Option<String>,
    mode: u32,
    modified: Timestamp,
    kind: ReadKind,
    bytes: Option<u64>,
    digest: Option<ContentDigest>,
    extents: Option<Vec<Extent>>,
    target: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum ReadKind {
    File,
    Directory,
    Link,
}

impl TryFrom<ReadEntry> for FileEntry {
    type Error = String;

    fn try_from(read: ReadEntry) -> Result<Self, String> {
        fn need<T>(field: Option<T>, name: &str) -> Result<T, String> {
            field.ok_or_else(|| format!("missing field `{name}`"))
        }
        let kind = match read.kind {
            ReadKind::Directory => FileKind::Directory,
            ReadKind::Link => FileKind::Link { target: need(read.target, "target")? },
            ReadKind::File => FileKind::File {
                bytes: need(read.bytes, "bytes")?,
                digest: need(read.digest, "digest")?,
                extents: need(read.extents, "extents")?,
            },
        };
        let ReadEntry { path, path_hex, mode, modified, .. } = read;
        Ok(Self { path, path_hex, mode, modified, kind })
    }
}

/// A leaf as the root names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeafRef {
    /// The first path in it, escaped; for people.
    pub first: String,
    /// Where it lies.
    pub place: Extent,
    /// Keyed digest of its bytes.
    pub digest: ContentDigest,
}

/// The object `root`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapRoot {
    /// The leaves, in the order of their paths.
    pub leaves: Vec<LeafRef>,
    /// How many entries they have.
    pub entries: u64,
}

/// A file map that can be read leaf by leaf.
#[derive(Debug)]
pub struct FileMap<'a> {
    repository: &'a Repository,
    cluster: &'a ClusterRef,
    root_key: ObjectKey,
    root: MapRoot,
    needs: BackupNeeds,
}

impl<'a> FileMap<'a> {
    pub(super) fn new(
        repository: &'a Repository,
        cluster: &'a ClusterRef,
        root_key: ObjectKey,
        root: MapRoot,
        needs: BackupNeeds,
    ) -> Self {
        Self { repository, cluster, root_key, root, needs }
    }

    /// The packs that its extents name.
    pub fn needs(&self) -> &BackupNeeds {
        &self.needs
    }

    /// Hands over every entry with its path, in the order of paths, one leaf in memory at a time.
    pub fn for_each<E: From<RepositoryError>>(
        &self,
        each: &mut dyn FnMut(DataPath, FileEntry) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut open: Option<(u32, PackReader<'_>)> = None;
        let mut last: Option<DataPath> = None;
        let mut count = 0;
        for leaf in &self.root.leaves {
            let reader = match open.take() {
                Some((number, reader)) if number == leaf.place.pack => reader,
                _ => self.open_pack(leaf.place.pack)?,
            };
            let end = leaf.place.offset.saturating_add(leaf.place.length);
            let bytes = reader.read_range(leaf.place.offset..end, MAX_FRAME_PLAIN_BYTES as u64)?;
            open = Some((leaf.place.pack, reader));
            if self.repository.keys().plain_digest(&bytes) != leaf.digest {
                return Err(self.damaged(Damage::Digest { what: "leaf" }).into());
            }
            for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let (path, entry) = self.entry(line, last.as_ref())?;
                count += 1;
                last = Some(path.clone());
                each(path, entry)?;
            }
        }
        if count != self.root.entries {
            let problem = format!("its leaves have {count} entries where it says {}", self.root.entries);
            return Err(self.damaged(Damage::Invalid { problem }).into());
        }
        Ok(())
    }

    /// Opens the pack of that number.
    pub fn open_pack(&self, number: u32) -> Result<PackReader<'a>, RepositoryError> {
        let need = self.needs.packs.iter().find(|need| need.number == number).ok_or_else(|| {
            let problem = format!("it refers to pack {number}, which is not in the table of packs");
            self.damaged(Damage::Invalid { problem })
        })?;
        PackReader::open(self.repository, self.cluster, need)
    }

    fn entry(&self, line: &[u8], last: Option<&DataPath>) -> Result<(DataPath, FileEntry), RepositoryError> {
        let entry: FileEntry = serde_json::from_slice(line).map_err(|error| self.damaged(Damage::Text(error)))?;
        let invalid = |problem: String| self.damaged(Damage::Invalid { problem });
        let path = entry.path().ok_or_else(|| invalid("an entry has no valid path".to_owned()))?;
        if last.is_some_and(|last| *last >= path) {
            return Err(invalid(format!("the entry \"{path}\" is out of order")));
        }
        if let FileKind::File { bytes, extents, .. } = &entry.kind {
            let sum = extents.iter().try_fold(0u64, |sum, extent| sum.checked_add(extent.length));
            if sum != Some(*bytes) {
                return Err(invalid(format!("the parts of \"{path}\" do not add up to its {bytes} bytes")));
            }
        }
        Ok((path, entry))
    }

    fn damaged(&self, damage: Damage) -> RepositoryError {
        self.repository.damaged(&self.root_key, damage)
    }
}
