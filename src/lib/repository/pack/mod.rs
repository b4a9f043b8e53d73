//! Packs: the content of many files, one after the other, cut into frames.
//!
//! The plain content of a pack is a plain sequence of bytes, so that an *extent* (pack, offset, length) names any part
//! of a file, and `zstd -d | dd` gets it back. A file of more than [`PAGED_FILE_BYTES`](crate::codec::PAGED_FILE_BYTES)
//! begins and ends at a frame; smaller ones share frames. The last frame is the index.

mod error;
mod frame;
mod index;
mod reader;
mod storing;
mod stream;
mod writer;

use serde::{Deserialize, Serialize};

use super::backup::BackupId;
use super::layout;
use super::object::ObjectSpec;
use super::{ClusterRef, Repository, RepositoryError};
use crate::codec::{ContentDigest, DigestKeys, ObjectKind, PageDigest};
use crate::store::ObjectKey;

pub use error::PackError;
pub use frame::{Frame, FrameMaker};
pub use index::{IndexFrame, PackIndex, PackIndexError};
pub(crate) use reader::CheckedFrame;
pub use reader::{PackReader, PlainSink};
pub use stream::{PackOptions, PackStream, StoredFile};
pub use writer::PackWriter;

/// Plain bytes of a full frame: 32 pages of 8 KiB.
pub(crate) const FRAME_BYTES: usize = 256 * 1024;
/// A pack is ended once it holds this many plain bytes.
pub(crate) const PACK_BYTES: u64 = 1 << 30;
/// A pack is ended once its index has this many bytes, so that it fits one frame: half of what one may hold.
pub(crate) const PACK_INDEX_BYTES: usize = crate::codec::MAX_FRAME_PLAIN_BYTES / 2;
/// A pack is ended once it has this many frames.
pub(crate) const PACK_FRAMES: usize = 1 << 14;

/// Part of a pack's plain content. Written as `[pack, offset, length]`; the pack is a number of the table `needs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "(u32, u64, u64)", into = "(u32, u64, u64)")]
pub struct Extent {
    /// Number of the pack in the backup's table of packs.
    pub pack: u32,
    /// Offset in the pack's plain content.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
}

impl From<(u32, u64, u64)> for Extent {
    fn from((pack, offset, length): (u32, u64, u64)) -> Self {
        Self { pack, offset, length }
    }
}

impl From<Extent> for (u32, u64, u64) {
    fn from(extent: Extent) -> Self {
        (extent.pack, extent.offset, extent.length)
    }
}

/// Adds a part of a file behind those that it has; one that follows its last directly becomes part of that.
pub(crate) fn add_extent(extents: &mut Vec<Extent>, next: Extent) {
    match extents.last_mut() {
        Some(last) if last.pack == next.pack && last.offset + last.length == next.offset => last.length += next.length,
        _ => extents.push(next),
    }
}

/// A pack that a backup needs: its own, or one of an earlier backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackNeed {
    /// The number by which extents name it. It stays the same when a later backup needs the pack too.
    pub number: u32,
    /// The backup that wrote it.
    pub backup: BackupId,
    /// Which of that backup's packs it is.
    pub ordinal: u32,
    /// Bytes of its body as stored.
    pub body_bytes: u64,
    /// Bytes of its plain content, without the index.
    pub plain_bytes: u64,
    /// Digest of the index frame's plain bytes.
    pub index_digest: ContentDigest,
    /// How many of its plain bytes this backup refers to.
    pub live_bytes: u64,
}

fn pack_key(
    repository: &Repository,
    cluster: &ClusterRef,
    backup: &BackupId,
    ordinal: u32,
) -> Result<ObjectKey, RepositoryError> {
    layout::pack(cluster, backup, ordinal).map_err(|source| repository.invalid_key(source))
}

fn pack_spec(cluster: &ClusterRef, backup: &BackupId, ordinal: u32) -> ObjectSpec {
    ObjectSpec {
        kind: ObjectKind::Pack,
        system_identifier: Some(cluster.system_identifier),
        name: layout::pack_name(backup, ordinal),
    }
}

/// The digest of a frame: of its pages' digests when it is part of a file that is handled by pages, else of its bytes.
fn frame_digest(keys: &DigestKeys, plain: &[u8], pages: &[PageDigest]) -> ContentDigest {
    if pages.is_empty() {
        return keys.plain_digest(plain);
    }
    let mut list = keys.page_list_hasher();
    pages.iter().for_each(|page| list.add(page));
    list.finish()
}
