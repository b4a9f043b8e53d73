//! The thread of one pack: takes its frames in order, hands them to the store, ends with index and seek table.

use bytes::Bytes;
use crossbeam_channel::Receiver;

use super::frame::Frame;
use super::{IndexFrame, PackError, PackIndex, PackNeed};
use crate::codec::{BodyError, BodyLayout, CompressionError, CompressionLevel, FrameCompressor, ObjectHeader};
use crate::repository::Repository;
use crate::repository::error::RepositoryError;
use crate::store::{ObjectBody, ObjectKey, PartSource, PartsAbandoned, PutOutcome, block_on};

/// A frame as it comes from a worker.
pub(super) type FrameReply = Result<Frame, CompressionError>;

/// What a pack's thread gets, in order.
pub(super) enum PackMessage {
    Frame(Frame),
    /// A frame that is still being made.
    Promise(Receiver<FrameReply>),
    End,
}

/// The thread of one pack.
pub(super) fn store_pack(
    repository: &Repository,
    key: &ObjectKey,
    header: &ObjectHeader,
    queue: Receiver<PackMessage>,
    page_bytes: u32,
    need: PackNeed,
) -> Result<PackNeed, PackError> {
    let header_bytes = header.encode(repository.keys()).map_err(BodyError::from)?;
    let (layout, first) = BodyLayout::begin(header)?;
    let mut parts = PackParts {
        first: Some(first),
        layout: Some(layout),
        index: PackIndex { page_bytes, frames: Vec::new() },
        queue,
        repository,
        need,
        failed: None,
    };
    let put = block_on(repository.store().put_new(key, &header_bytes, ObjectBody::Parts(&mut parts)));
    match (put, parts.failed) {
        (_, Some(error)) => Err(error),
        (Ok(PutOutcome::Created), None) => Ok(parts.need),
        (Ok(PutOutcome::AlreadyPresent), None) => Err(PackError::AlreadyPresent { key: key.clone() }),
        (Err(error), None) => Err(RepositoryError::from(error).into()),
    }
}

/// The body of a pack, as its frames come.
struct PackParts<'a> {
    first: Option<Vec<u8>>,
    layout: Option<BodyLayout>,
    index: PackIndex,
    queue: Receiver<PackMessage>,
    repository: &'a Repository,
    need: PackNeed,
    failed: Option<PackError>,
}

impl PackParts<'_> {
    fn part(&mut self) -> Result<Option<Bytes>, PackError> {
        let part = self.next_bytes()?;
        if let Some(part) = &part {
            self.need.body_bytes += part.len() as u64;
        }
        Ok(part.map(Bytes::from))
    }

    fn next_bytes(&mut self) -> Result<Option<Vec<u8>>, PackError> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        let Some(layout) = self.layout.as_mut() else { return Ok(None) };
        let frame = match self.queue.recv() {
            Ok(PackMessage::Frame(frame)) => frame,
            Ok(PackMessage::Promise(reply)) => reply.recv().map_err(|_| PackError::ThreadDied)??,
            Ok(PackMessage::End) => return self.last_part().map(Some),
            Err(_) => return Err(PackError::Abandoned(PartsAbandoned)),
        };
        let place = layout.add(frame.stored.len(), frame.plain_bytes)?;
        let bytes = |length: usize| u32::try_from(length).map_err(|_| PackError::Body(BodyError::FrameTooLarge));
        self.need.plain_bytes += frame.plain_bytes as u64;
        self.index.frames.push(IndexFrame {
            offset: place.offset,
            stored_bytes: bytes(frame.stored.len())?,
            plain_bytes: bytes(frame.plain_bytes)?,
            digest: frame.digest,
            page_hashes: frame.page_hashes,
        });
        Ok(Some(frame.stored))
    }

    /// The index frame and the seek table.
    fn last_part(&mut self) -> Result<Vec<u8>, PackError> {
        let Some(mut layout) = self.layout.take() else { return Ok(Vec::new()) };
        let plain = self.index.encode();
        let mut last = FrameCompressor::new(CompressionLevel::DEFAULT)?.compress(&plain)?;
        layout.add(last.len(), plain.len())?;
        last.extend_from_slice(&layout.finish()?);
        self.need.index_digest = self.repository.keys().plain_digest(&plain);
        Ok(last)
    }
}

impl PartSource for PackParts<'_> {
    fn next_part(&mut self) -> Result<Option<Bytes>, PartsAbandoned> {
        self.part().map_err(|error| {
            self.failed = Some(error);
            PartsAbandoned
        })
    }
}
