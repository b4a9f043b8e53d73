//! Making a frame: digest and compress a piece of plain content, wherever that is done.

use super::frame_digest;
use crate::codec::{CompressionError, CompressionLevel, ContentDigest, DigestKeys, FrameCompressor, PageDigest};

/// A frame that can be put into any pack.
#[derive(Debug)]
pub struct Frame {
    pub(super) stored: Vec<u8>,
    pub(super) plain_bytes: usize,
    pub(super) digest: ContentDigest,
    pub(super) page_hashes: Vec<u64>,
}

impl Frame {
    /// How many plain bytes it holds.
    pub fn plain_bytes(&self) -> u64 {
        self.plain_bytes as u64
    }
}

/// Makes frames; keep one per thread.
pub struct FrameMaker {
    compressor: FrameCompressor,
    keys: DigestKeys,
}

impl FrameMaker {
    /// For frames of this level.
    pub fn new(level: CompressionLevel, keys: &DigestKeys) -> Result<Self, CompressionError> {
        Ok(Self { compressor: FrameCompressor::new(level)?, keys: keys.clone() })
    }

    /// A frame of small files, or of anything else that is not handled by pages.
    pub fn shared(&mut self, plain: &[u8]) -> Result<Frame, CompressionError> {
        self.with_pages(plain, &[])
    }

    /// A frame of a file that is handled by pages, and the digests of these.
    pub fn paged(&mut self, plain: &[u8], page_bytes: usize) -> Result<(Frame, Vec<PageDigest>), CompressionError> {
        let pages = self.keys.page_digests(plain, page_bytes);
        Ok((self.with_pages(plain, &pages)?, pages))
    }

    /// A frame whose pages, if it has any, were digested already.
    pub(super) fn with_pages(&mut self, plain: &[u8], pages: &[PageDigest]) -> Result<Frame, CompressionError> {
        Ok(Frame {
            stored: self.compressor.compress(plain)?,
            plain_bytes: plain.len(),
            digest: frame_digest(&self.keys, plain, pages),
            page_hashes: pages.iter().map(PageDigest::hash).collect(),
        })
    }
}
