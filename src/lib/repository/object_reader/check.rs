//! Reading an object to find out whether all of it is as it was stored, not to use it: also what no reader looks at.

use std::convert::Infallible;

use super::{ObjectReader, SinkError, Window};
use crate::codec::{
    CompressionError, ContentDigest, FrameDecompressor, FrameEntry, HEADER_BYTES, StoredHasher, copy_lead,
};
use crate::repository::error::{Damage, RepositoryError};

/// What is damaged when only the copy of a header is: no reader looks at it while the header is there.
pub(crate) const HEADER_COPY: &str = "copy of the header";

/// Bytes of the frame header in front of the copy.
const LEAD_BYTES: usize = 8;
/// What is copied of a header, and what of that is zero in the copy.
const COPIED: std::ops::Range<usize> = 8..480;
const BODY_BYTES_AT: std::ops::Range<usize> = 64..72;
const BODY_DIGEST_AT: std::ops::Range<usize> = 104..136;

/// Takes the number of a frame and its plain bytes, or what is wrong with it.
pub(crate) type CheckedSink<'a> = dyn FnMut(usize, Result<&[u8], RepositoryError>) + 'a;

impl ObjectReader<'_> {
    /// Reads every stored byte once, hands the plain ones to `sink`, and checks the copy of the header, every frame, and
    /// the digests of content and body.
    pub(crate) fn check_whole(&self, sink: &mut dyn FnMut(&[u8])) -> Result<(), RepositoryError> {
        let (Some(plain_digest), Some(body_digest)) = (self.header.plain_digest, self.header.body_digest) else {
            return Err(self.invalid("its header lacks a digest"));
        };
        let mut plain_hasher = self.repository.keys().plain_hasher();
        let read = self.read_body(body_digest, true, &mut |plain| {
            plain_hasher.update(plain);
            sink(plain);
            Ok::<(), Infallible>(())
        });
        match read {
            Ok(()) => self.check_digest("content", plain_digest, plain_hasher.finish()),
            Err(SinkError::Repository(error)) => Err(error),
            Err(SinkError::Sink(never)) => match never {},
        }
    }

    /// Hands every plain byte to `sink`, as [`Self::read_to`] does, and checks the digest of what is stored instead of
    /// that of the content, which is several times as long. For readers that want to know what is in an object, not for
    /// those that deliver it.
    pub fn read_as_stored<E>(&self, sink: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<(), SinkError<E>> {
        let Some(body_digest) = self.header.body_digest else { return self.read_to(sink) };
        match self.read_body(body_digest, false, sink) {
            // What is damaged may be none of the content: the copy of the header, a checksum. Its own digest decides.
            Err(SinkError::Repository(error)) if error.is_wrong_digest() => self.read_to(&mut |_| Ok(())),
            read => read,
        }
    }

    /// Reads the whole body, and checks the digest of the stored bytes; the copy of the header by itself, too, when that
    /// is to be told apart.
    fn read_body<E>(
        &self,
        body_digest: ContentDigest,
        with_copy: bool,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), SinkError<E>> {
        // The digest of the stored bytes covers the checksums of the frames and what they stand for.
        let set_up = |source: CompressionError| self.not_set_up(source);
        let mut decompressor = FrameDecompressor::without_checksums().map_err(set_up)?;
        let mut hasher = StoredHasher::default();
        let mut window = Window::up_to(self.body_bytes);
        let mut plain = Vec::new();
        let mut offset: u64 = 0;
        for (number, frame) in self.frames().iter().enumerate() {
            let stored = self.stored_frame(&mut window, offset, frame)?;
            hasher.update(&stored);
            if number == 0 {
                if with_copy {
                    self.check_copy(&stored, frame.plain_bytes)?;
                }
            } else {
                let damaged = |source| self.damaged(Damage::Frame { offset, source });
                decompressor.decompress(&stored, u64::from(frame.plain_bytes), &mut plain).map_err(damaged)?;
                sink(&plain).map_err(SinkError::Sink)?;
            }
            offset += u64::from(frame.stored_bytes);
        }
        let table_bytes = usize::try_from(self.body_bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        hasher.update(&self.body_range(offset, table_bytes)?);
        Ok(self.check_digest("body", body_digest, hasher.finish())?)
    }

    /// The copy of the header that begins the body, and that no digest covers in a pack.
    pub(crate) fn check_copy_alone(&self) -> Result<(), RepositoryError> {
        let Some(first) = self.frames().first() else { return Err(self.invalid("it has no copy of its header")) };
        let stored = self.body_range(0, usize::try_from(first.stored_bytes).unwrap_or(usize::MAX))?;
        self.check_copy(&stored, first.plain_bytes)
    }

    /// Decompresses the frames of that range of numbers, which is read at once, and hands over each one's number and
    /// plain bytes, or what is wrong with it. Says how many stored bytes were read.
    pub(crate) fn check_run(
        &self,
        range: std::ops::Range<usize>,
        sink: &mut CheckedSink<'_>,
    ) -> Result<u64, RepositoryError> {
        let stored_bytes =
            |frames: &[FrameEntry]| -> u64 { frames.iter().map(|frame| u64::from(frame.stored_bytes)).sum() };
        let begin = stored_bytes(self.frames().get(..range.start).unwrap_or_default());
        let frames = self.frames().get(range.clone()).unwrap_or_default();
        let length = stored_bytes(frames);
        let bytes = self.body_range(begin, usize::try_from(length).unwrap_or(usize::MAX))?;
        let window = Window { at: begin, bytes, end: begin + length };
        let mut decompressor = self.decompressor()?;
        let mut plain = Vec::new();
        let mut offset = begin;
        for (number, frame) in range.zip(frames) {
            let checked = match window.slice(offset, frame.stored_bytes as usize) {
                None => Err(self.damaged(Damage::Size { expected: begin + length, found: self.body_bytes })),
                Some(stored) => decompressor
                    .decompress(&stored, u64::from(frame.plain_bytes), &mut plain)
                    .map_err(|source| self.damaged(Damage::Frame { offset, source })),
            };
            sink(number, checked.map(|()| plain.as_slice()));
            offset += u64::from(frame.stored_bytes);
        }
        Ok(length)
    }

    fn check_copy(&self, stored: &[u8], plain_bytes: u32) -> Result<(), RepositoryError> {
        // Compared as bytes: a header may have optional bits that this version does not know.
        let mut expected = self.first.get(..HEADER_BYTES).unwrap_or_default().to_vec();
        for unknown_then in [BODY_BYTES_AT, BODY_DIGEST_AT] {
            expected.get_mut(unknown_then).unwrap_or_default().fill(0);
        }
        let expected = expected.get(COPIED).unwrap_or_default();
        let is_framed = plain_bytes == 0 && stored.get(..LEAD_BYTES) == Some(copy_lead(expected.len()).as_slice());
        if is_framed && stored.get(LEAD_BYTES..) == Some(expected) {
            return Ok(());
        }
        Err(self.damaged(Damage::Digest { what: HEADER_COPY }))
    }

    fn invalid(&self, problem: &str) -> RepositoryError {
        self.damaged(Damage::Invalid { problem: problem.to_owned() })
    }
}
