//! The index frame at the end of a pack: where each frame lies, its digest, and a hash of each page.
//!
//! ```text
//! 0   "PGVPIX", version u16
//! 8   page bytes u32, frame count u32
//! 16  for each frame: offset in the body u64, stored bytes u32, plain bytes u32, digest [32],
//!     page count u32, for each page its hash u64
//! ```
//!
//! All numbers are little-endian. Frames without pages have page count 0.

use crate::codec::ContentDigest;
use crate::error::{Classified, ErrorClass};

const MAGIC: &[u8; 6] = b"PGVPIX";
const VERSION: u16 = 1;

/// One frame of a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexFrame {
    /// Offset of its first stored byte in the body.
    pub offset: u64,
    /// Bytes as stored.
    pub stored_bytes: u32,
    /// Bytes that it holds.
    pub plain_bytes: u32,
    /// Keyed digest of its plain bytes.
    pub digest: ContentDigest,
    /// Keyed hashes of its pages, when it holds part of a file that is handled by pages.
    pub page_hashes: Vec<u64>,
}

/// An index frame that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PackIndexError {
    /// It is damaged.
    #[error("the pack's index {problem}")]
    Invalid {
        /// In which way.
        problem: &'static str,
    },
    /// Written by a newer pgv.
    #[error("the pack's index has version {found}; this pgv knows {VERSION}")]
    NewerVersion {
        /// Its version.
        found: u16,
    },
}

impl Classified for PackIndexError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Invalid { .. } => ErrorClass::Corrupt,
            Self::NewerVersion { .. } => ErrorClass::Unsupported,
        }
    }
}

/// What an index frame says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackIndex {
    /// Size of the pages that are hashed.
    pub page_bytes: u32,
    /// The frames, in order.
    pub frames: Vec<IndexFrame>,
}

impl PackIndex {
    /// Bytes that a frame takes, without its pages.
    pub(super) const FRAME_BYTES: usize = 52;
    /// Bytes that a page takes.
    pub(super) const PAGE_BYTES: usize = 8;

    /// The index frame's plain bytes.
    pub fn encode(&self) -> Vec<u8> {
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
        let mut bytes = Vec::new();
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.page_bytes.to_le_bytes());
        bytes.extend_from_slice(&count(self.frames.len()));
        for frame in &self.frames {
            bytes.extend_from_slice(&frame.offset.to_le_bytes());
            bytes.extend_from_slice(&frame.stored_bytes.to_le_bytes());
            bytes.extend_from_slice(&frame.plain_bytes.to_le_bytes());
            bytes.extend_from_slice(frame.digest.as_bytes());
            bytes.extend_from_slice(&count(frame.page_hashes.len()));
            for hash in &frame.page_hashes {
                bytes.extend_from_slice(&hash.to_le_bytes());
            }
        }
        bytes
    }

    /// Reads an index frame.
    pub fn decode(bytes: &[u8]) -> Result<Self, PackIndexError> {
        let mut cursor = Cursor(bytes);
        if cursor.take::<6>()? != *MAGIC {
            return Err(PackIndexError::Invalid { problem: "does not begin like one" });
        }
        match u16::from_le_bytes(cursor.take()?) {
            VERSION => {}
            0 => return Err(PackIndexError::Invalid { problem: "has version 0" }),
            found => return Err(PackIndexError::NewerVersion { found }),
        }
        let page_bytes = u32::from_le_bytes(cursor.take()?);
        let count = u32::from_le_bytes(cursor.take()?);
        let mut frames = Vec::new();
        for _ in 0..count {
            let offset = u64::from_le_bytes(cursor.take()?);
            let stored_bytes = u32::from_le_bytes(cursor.take()?);
            let plain_bytes = u32::from_le_bytes(cursor.take()?);
            let digest = ContentDigest::from_bytes(cursor.take()?);
            let pages = u32::from_le_bytes(cursor.take()?);
            let mut page_hashes = Vec::new();
            for _ in 0..pages {
                page_hashes.push(u64::from_le_bytes(cursor.take()?));
            }
            frames.push(IndexFrame { offset, stored_bytes, plain_bytes, digest, page_hashes });
        }
        if cursor.0.is_empty() {
            Ok(Self { page_bytes, frames })
        } else {
            Err(PackIndexError::Invalid { problem: "has bytes left over" })
        }
    }
}

struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], PackIndexError> {
        let cut = PackIndexError::Invalid { problem: "is cut off" };
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(cut)?;
        self.0 = rest;
        Ok(*field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_newer_index_is_told_from_a_damaged_one() {
        let bytes = PackIndex { page_bytes: 8192, frames: Vec::new() }.encode();
        let with_version = |version: u8| {
            let mut bytes = bytes.clone();
            bytes[6] = version;
            PackIndex::decode(&bytes).unwrap_err()
        };
        assert_eq!(with_version(2), PackIndexError::NewerVersion { found: 2 });
        assert_eq!(with_version(2).class(), ErrorClass::Unsupported);
        assert_eq!(with_version(0).class(), ErrorClass::Corrupt);
    }

    proptest! {
        #[test]
        fn reads_what_it_writes(
            frames in prop::collection::vec((any::<u64>(), any::<u32>(), any::<[u8; 32]>(), prop::collection::vec(any::<u64>(), 0..5)), 0..9),
            cut in any::<prop::sample::Index>(),
        ) {
            let frames = frames.into_iter().map(|(offset, bytes, digest, page_hashes)| IndexFrame {
                offset, stored_bytes: bytes, plain_bytes: !bytes, digest: ContentDigest::from_bytes(digest), page_hashes,
            }).collect();
            let index = PackIndex { page_bytes: 8192, frames };
            let bytes = index.encode();
            prop_assert_eq!(PackIndex::decode(&bytes).unwrap(), index);
            prop_assert!(PackIndex::decode(&bytes[..cut.index(bytes.len())]).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..99)) {
            let mut with_magic = b"PGVPIX\x01\0".to_vec();
            with_magic.extend(&bytes);
            let _ = (PackIndex::decode(&bytes), PackIndex::decode(&with_magic));
        }
    }
}
