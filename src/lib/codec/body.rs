//! The body behind a header: a copy of the header in a skippable frame, zstd frames, the seek table.
//!
//! Offsets count from the body's first byte. The copy makes an encrypted body self-describing; readers of format 1,
//! where nothing is encrypted, pass over it: the header itself has the MAC.

use std::io::{ErrorKind, Read};

use super::compression::{CompressionError, CompressionLevel, FrameCompressor};
use super::digest::{ContentDigest, DigestKeys, StoredHasher};
use super::envelope::{EnvelopeError, HEADER_BYTES, ObjectHeader, SKIPPABLE_MAGIC};
use super::seek_table::{FrameEntry, SeekTable, SeekTableError};
use crate::error::{Classified, ErrorClass};

/// A failure to lay out a body.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// The content cannot be read.
    #[error("could not read the content")]
    Read(#[source] std::io::Error),
    /// The header cannot be written.
    #[error("could not write the header")]
    Envelope(#[from] EnvelopeError),
    /// A frame cannot be compressed.
    #[error("could not compress a frame")]
    Compression(#[from] CompressionError),
    /// The seek table cannot be written.
    #[error("could not write the seek table")]
    SeekTable(#[from] SeekTableError),
    /// A frame whose size does not fit the table.
    #[error("a frame is larger than 4 GiB")]
    FrameTooLarge,
}

impl Classified for BodyError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Read(error) => ErrorClass::of_io(error),
            Self::Envelope(error) => error.class(),
            Self::Compression(error) => error.class(),
            Self::SeekTable(error) => error.class(),
            Self::FrameTooLarge => ErrorClass::Internal,
        }
    }
}

/// Where a frame came to lie in its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FramePlace {
    /// Offset of its first stored byte in the body.
    pub offset: u64,
    /// Offset of its first plain byte in the body's plain content.
    pub plain_offset: u64,
}

/// The frame header in front of a header's copy of that many bytes: of a skippable frame.
pub(crate) fn copy_lead(copy_bytes: usize) -> [u8; 8] {
    let length = u32::try_from(copy_bytes).unwrap_or(u32::MAX);
    let mut lead = [0; 8];
    for (to, from) in lead.iter_mut().zip(SKIPPABLE_MAGIC.to_le_bytes().into_iter().chain(length.to_le_bytes())) {
        *to = from;
    }
    lead
}

/// Keeps the account of a body that is written frame by frame.
#[derive(Debug)]
pub struct BodyLayout {
    table: SeekTable,
    stored_bytes: u64,
    plain_bytes: u64,
}

impl BodyLayout {
    /// Begins a body; the bytes returned are its first.
    pub fn begin(header: &ObjectHeader) -> Result<(Self, Vec<u8>), BodyError> {
        let first = first_frame(header)?;
        let mut layout = Self { table: SeekTable::default(), stored_bytes: 0, plain_bytes: 0 };
        layout.add(first.len(), 0)?;
        Ok((layout, first))
    }

    /// Accounts for the next frame and says where it lies.
    pub fn add(&mut self, stored: usize, plain: usize) -> Result<FramePlace, BodyError> {
        let stored_bytes = u32::try_from(stored).map_err(|_| BodyError::FrameTooLarge)?;
        let plain_bytes = u32::try_from(plain).map_err(|_| BodyError::FrameTooLarge)?;
        let place = FramePlace { offset: self.stored_bytes, plain_offset: self.plain_bytes };
        self.table.push(FrameEntry { stored_bytes, plain_bytes });
        self.stored_bytes += u64::from(stored_bytes);
        self.plain_bytes += u64::from(plain_bytes);
        Ok(place)
    }

    /// Stored bytes so far.
    pub fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }

    /// Plain bytes so far.
    pub fn plain_bytes(&self) -> u64 {
        self.plain_bytes
    }

    /// Ends the body; the bytes returned are its last.
    pub fn finish(self) -> Result<Vec<u8>, BodyError> {
        Ok(self.table.encode()?)
    }
}

/// The frame of the header's copy; as long for every header.
fn first_frame(header: &ObjectHeader) -> Result<Vec<u8>, EnvelopeError> {
    let copy = header.encode_copy()?;
    let mut first = Vec::with_capacity(copy.len() + 8);
    first.extend_from_slice(&copy_lead(copy.len()));
    first.extend_from_slice(&copy);
    Ok(first)
}

/// An object of which all that is stored was assembled in memory.
#[derive(Debug)]
pub struct AssembledObject {
    /// Its header, with every field known.
    pub header: ObjectHeader,
    /// The header's bytes.
    pub header_bytes: [u8; HEADER_BYTES],
    /// The body's bytes.
    pub body: Vec<u8>,
    /// The digest of its content, as it stands in the header.
    pub plain_digest: ContentDigest,
}

/// Assembles an object in memory, of content that is read once and of which one frame is in memory at a time. Sizes and
/// digests of `header` are set here, whatever they were.
///
/// `frame_bytes`: plain bytes per frame, at most [`super::MAX_FRAME_PLAIN_BYTES`].
pub fn assemble_object(
    mut header: ObjectHeader,
    plain: &mut dyn Read,
    frame_bytes: usize,
    level: CompressionLevel,
    keys: &DigestKeys,
) -> Result<AssembledObject, BodyError> {
    // Its copy of the header is the right one at the end.
    let (mut layout, mut body) = BodyLayout::begin(&header)?;
    let copy = ..body.len();
    let (mut hasher, mut compressor) = (keys.plain_hasher(), FrameCompressor::new(level)?);
    // One piece of memory for all of it: fresh memory costs the system more than reading into it.
    let mut piece = vec![0; frame_bytes];
    loop {
        let filled = fill(plain, &mut piece).map_err(BodyError::Read)?;
        let Some(piece) = piece.get(..filled).filter(|piece| !piece.is_empty()) else { break };
        hasher.update(piece);
        let frame = compressor.compress(piece)?;
        layout.add(frame.len(), piece.len())?;
        body.extend_from_slice(&frame);
    }
    let plain_digest = hasher.finish();
    (header.plain_bytes, header.plain_digest) = (Some(layout.plain_bytes()), Some(plain_digest));
    body.splice(copy, first_frame(&header)?);
    body.extend_from_slice(&layout.finish()?);
    let mut stored = StoredHasher::default();
    stored.update(&body);
    header.body_bytes = Some(body.len() as u64);
    header.body_digest = Some(stored.finish());
    let header_bytes = header.encode(keys)?;
    Ok(AssembledObject { header, header_bytes, body, plain_digest })
}

/// Fills `piece` from where a reader is, and says how many bytes came: fewer only at the end.
pub(crate) fn fill(from: &mut dyn Read, piece: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = piece.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
