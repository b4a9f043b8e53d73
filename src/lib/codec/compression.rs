//! zstd frames of bounded size, each with its plain size and checksum, so that any plain tool reads them.

use crate::error::{Classified, ErrorClass};

/// LIMIT: no frame holds more plain bytes than this; a reader refuses a larger one before it allocates.
pub const MAX_FRAME_PLAIN_BYTES: usize = 4 * 1024 * 1024;

/// A zstd level that pgv offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompressionLevel(i32);

impl CompressionLevel {
    /// What is used when nobody says anything: nearly as small as the higher ones on PostgreSQL's data, and fastest.
    pub const DEFAULT: Self = Self(1);

    /// The level of that number, 1 to 19.
    pub fn new(level: i32) -> Option<Self> {
        (1..=19).contains(&level).then_some(Self(level))
    }

    /// Its number.
    pub const fn get(self) -> i32 {
        self.0
    }
}

/// A failure to compress or decompress a frame.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompressionError {
    /// A frame of more plain bytes than a reader accepts.
    #[error("a frame of {bytes} bytes is larger than the limit of {MAX_FRAME_PLAIN_BYTES} bytes")]
    TooLarge {
        /// Its plain size.
        bytes: u64,
    },
    /// libzstd got no memory.
    #[error("could not set zstd up")]
    SetUp(#[source] std::io::Error),
    /// libzstd could not compress.
    #[error("could not compress")]
    Compress(#[source] std::io::Error),
    /// The frame is damaged.
    #[error("could not decompress a zstd frame")]
    Decompress(#[source] std::io::Error),
    /// The frame decompressed to another size than its table says.
    #[error("a zstd frame holds {found} bytes where its table says {expected}")]
    WrongSize {
        /// What the table says.
        expected: u64,
        /// What came out.
        found: u64,
    },
}

impl Classified for CompressionError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::SetUp(_) => ErrorClass::Unavailable,
            Self::Compress(_) => ErrorClass::Internal,
            Self::TooLarge { .. } | Self::Decompress(_) | Self::WrongSize { .. } => ErrorClass::Corrupt,
        }
    }
}

/// Compresses one frame at a time; keep one per thread.
pub struct FrameCompressor {
    inner: zstd::bulk::Compressor<'static>,
}

impl FrameCompressor {
    /// A compressor of that level.
    pub fn new(level: CompressionLevel) -> Result<Self, CompressionError> {
        let mut inner = zstd::bulk::Compressor::new(level.get()).map_err(CompressionError::SetUp)?;
        inner.include_checksum(true).map_err(CompressionError::SetUp)?;
        inner.include_contentsize(true).map_err(CompressionError::SetUp)?;
        Ok(Self { inner })
    }

    /// Compresses `plain` into one frame with checksum and content size.
    pub fn compress(&mut self, plain: &[u8]) -> Result<Vec<u8>, CompressionError> {
        if plain.len() > MAX_FRAME_PLAIN_BYTES {
            return Err(CompressionError::TooLarge { bytes: plain.len() as u64 });
        }
        self.inner.compress(plain).map_err(CompressionError::Compress)
    }
}

/// Decompresses one frame at a time; keep one per thread.
pub struct FrameDecompressor {
    inner: zstd::bulk::Decompressor<'static>,
}

impl FrameDecompressor {
    /// A decompressor.
    pub fn new() -> Result<Self, CompressionError> {
        let inner = zstd::bulk::Decompressor::new().map_err(CompressionError::SetUp)?;
        Ok(Self { inner })
    }

    /// A decompressor that leaves the checksums of frames unchecked, for those who check a digest of the stored bytes.
    pub fn without_checksums() -> Result<Self, CompressionError> {
        let Self { mut inner } = Self::new()?;
        let ignore = zstd::zstd_safe::DParameter::ForceIgnoreChecksum(true);
        inner.set_parameter(ignore).map_err(CompressionError::SetUp)?;
        Ok(Self { inner })
    }

    /// Decompresses one frame that must hold exactly `plain_bytes` bytes, replacing the content of `into`.
    pub fn decompress(&mut self, stored: &[u8], plain_bytes: u64, into: &mut Vec<u8>) -> Result<(), CompressionError> {
        let size = usize::try_from(plain_bytes)
            .ok()
            .filter(|size| *size <= MAX_FRAME_PLAIN_BYTES)
            .ok_or(CompressionError::TooLarge { bytes: plain_bytes })?;
        into.clear();
        into.reserve(size);
        self.inner.decompress_to_buffer(stored, into).map_err(CompressionError::Decompress)?;
        if into.len() != size {
            return Err(CompressionError::WrongSize { expected: plain_bytes, found: into.len() as u64 });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restores_what_it_compressed_and_refuses_the_rest() {
        let plain: Vec<u8> = (0..100_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        let frame = FrameCompressor::new(CompressionLevel::DEFAULT).unwrap().compress(&plain).unwrap();
        let mut decompressor = FrameDecompressor::new().unwrap();
        let mut out = Vec::new();
        decompressor.decompress(&frame, plain.len() as u64, &mut out).unwrap();
        assert_eq!(out, plain);

        let one_more = decompressor.decompress(&frame, plain.len() as u64 + 1, &mut out);
        assert!(matches!(one_more, Err(CompressionError::WrongSize { .. })));
        assert!(decompressor.decompress(&frame, u64::MAX, &mut out).is_err());
        assert!(decompressor.decompress(&frame[..frame.len() - 1], plain.len() as u64, &mut out).is_err());
        let mut wrong_checksum = frame.clone();
        *wrong_checksum.last_mut().unwrap() ^= 1;
        assert!(decompressor.decompress(&wrong_checksum, plain.len() as u64, &mut out).is_err());
        let mut trusting = FrameDecompressor::without_checksums().unwrap();
        trusting.decompress(&wrong_checksum, plain.len() as u64, &mut out).unwrap();
        assert_eq!(out, plain);
        for position in (0..frame.len()).step_by(997) {
            let mut damaged = frame.clone();
            damaged[position] ^= 1;
            let result = decompressor.decompress(&damaged, plain.len() as u64, &mut out);
            assert!(result.is_err() || out == plain, "flipped bit at {position} went unnoticed");
        }
    }
}
