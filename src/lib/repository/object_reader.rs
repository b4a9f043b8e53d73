//! Reading an object back frame by frame, in bounded memory, with every check.

mod check;

pub(crate) use check::HEADER_COPY;

use bytes::Bytes;

use super::Repository;
use super::error::{Damage, RepositoryError};
use super::object::ObjectSpec;
use crate::codec::{
    CompressionError, ContentDigest, FrameDecompressor, FrameEntry, HEADER_BYTES, MAX_FRAME_PLAIN_BYTES, ObjectHeader,
    SeekTable,
};
use crate::store::{ObjectKey, block_on};

/// What is read at once, at least: enough for every small object.
const FIRST_READ_BYTES: usize = 64 * 1024;
/// How much of the stored body is read at once.
const READ_BYTES: usize = 4 << 20;
/// LIMIT: stored bytes of a frame: what zstd makes of the largest one at worst, and room for its header.
const FRAME_STORED_BYTES_MAX: usize = MAX_FRAME_PLAIN_BYTES + MAX_FRAME_PLAIN_BYTES / 128 + 1024;

/// Takes a frame's number and its plain bytes.
pub(crate) type FrameSink<'a, E> = dyn FnMut(usize, &[u8]) -> Result<(), E> + 'a;

/// Reading failed, or what was read could not be put where it should go.
#[derive(Debug)]
pub enum SinkError<E> {
    /// Reading failed.
    Repository(RepositoryError),
    /// The sink failed.
    Sink(E),
}

impl<E> From<RepositoryError> for SinkError<E> {
    fn from(error: RepositoryError) -> Self {
        Self::Repository(error)
    }
}

/// An object whose header and seek table were read and fit each other.
#[derive(Debug)]
pub struct ObjectReader<'a> {
    repository: &'a Repository,
    key: ObjectKey,
    header: ObjectHeader,
    table: SeekTable,
    body_bytes: u64,
    first: Bytes,
}

impl<'a> ObjectReader<'a> {
    /// Opens an object that must be the one that `spec` says.
    pub fn open(repository: &'a Repository, key: &ObjectKey, spec: &ObjectSpec) -> Result<Self, RepositoryError> {
        let store = repository.store();
        let first = block_on(store.get_range(key, 0, FIRST_READ_BYTES))?;
        let header = repository.checked_header(key, spec, &first)?;
        let object_bytes = if first.len() < FIRST_READ_BYTES { first.len() as u64 } else { block_on(store.size(key))? };
        let body_bytes = object_bytes.saturating_sub(HEADER_BYTES as u64);
        if let Some(expected) = header.body_bytes.filter(|expected| *expected != body_bytes) {
            return Err(repository.damaged(key, Damage::Size { expected, found: body_bytes }));
        }
        let mut reader = Self { repository, key: key.clone(), header, table: SeekTable::default(), body_bytes, first };
        reader.table = reader.read_table(body_bytes)?;
        Ok(reader)
    }

    /// What the header says.
    pub fn header(&self) -> &ObjectHeader {
        &self.header
    }

    /// Its frames, in order. The first one is the copy of the header.
    pub fn frames(&self) -> &[FrameEntry] {
        self.table.entries()
    }

    /// Bytes of its body as stored.
    pub fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// How many plain bytes it holds, by its seek table.
    pub fn plain_bytes(&self) -> u64 {
        self.table.plain_bytes()
    }

    /// Hands every plain byte to `sink`, in order. The digest is known only at the end: what was handed over counts
    /// only when this returns without error.
    pub fn read_to<E>(&self, sink: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<(), SinkError<E>> {
        let expected = self.header.plain_digest.ok_or_else(|| {
            let problem = "its header has no digest of its content".to_owned();
            self.repository.damaged(&self.key, Damage::Invalid { problem })
        })?;
        let mut hasher = self.repository.keys().plain_hasher();
        self.read_frames(0..self.table.entries().len(), &mut |_, plain| {
            hasher.update(plain);
            sink(plain)
        })?;
        self.check_digest("content", expected, hasher.finish())?;
        Ok(())
    }

    pub(crate) fn check_digest(
        &self,
        what: &'static str,
        expected: ContentDigest,
        found: ContentDigest,
    ) -> Result<(), RepositoryError> {
        if expected == found { Ok(()) } else { Err(self.damaged(Damage::Digest { what })) }
    }

    pub(crate) fn damaged(&self, damage: Damage) -> RepositoryError {
        self.repository.damaged(&self.key, damage)
    }

    /// Decompresses the frames of that range of numbers, in order. Only zstd's own checksum is checked here: a digest
    /// is for the caller.
    pub(crate) fn read_frames<E>(
        &self,
        range: std::ops::Range<usize>,
        sink: &mut FrameSink<'_, E>,
    ) -> Result<(), SinkError<E>> {
        let mut decompressor = self.decompressor()?;
        let mut plain = Vec::new();
        let mut offset: u64 = self.frames().iter().take(range.start).map(|frame| u64::from(frame.stored_bytes)).sum();
        let selected = self.frames().iter().enumerate().skip(range.start).take(range.len());
        let mut window =
            Window::up_to(offset + selected.clone().map(|(_, frame)| u64::from(frame.stored_bytes)).sum::<u64>());
        for (number, frame) in selected {
            if frame.plain_bytes > 0 {
                let stored = self.stored_frame(&mut window, offset, frame)?;
                decompressor
                    .decompress(&stored, u64::from(frame.plain_bytes), &mut plain)
                    .map_err(|source| self.damaged(Damage::Frame { offset, source }))?;
                sink(number, &plain).map_err(SinkError::Sink)?;
            }
            offset += u64::from(frame.stored_bytes);
        }
        Ok(())
    }

    fn decompressor(&self) -> Result<FrameDecompressor, RepositoryError> {
        FrameDecompressor::new().map_err(|source| self.not_set_up(source))
    }

    fn not_set_up(&self, source: CompressionError) -> RepositoryError {
        RepositoryError::Decompression { name: self.header.name.clone(), source }
    }

    fn stored_frame(&self, window: &mut Window, offset: u64, frame: &FrameEntry) -> Result<Bytes, RepositoryError> {
        let length = frame.stored_bytes as usize;
        if let Some(bytes) = window.slice(offset, length) {
            return Ok(bytes);
        }
        window.at = offset;
        let wanted = usize::try_from(window.end.saturating_sub(offset)).unwrap_or(usize::MAX);
        window.bytes = self.body_range(offset, wanted.min(READ_BYTES).max(length))?;
        window.slice(offset, length).ok_or_else(|| {
            self.damaged(Damage::Size { expected: offset + length as u64, found: offset + window.bytes.len() as u64 })
        })
    }

    /// A range of the body, from memory when the first read got it.
    fn body_range(&self, offset: u64, length: usize) -> Result<Bytes, RepositoryError> {
        let from = offset + HEADER_BYTES as u64;
        if let Ok(start) = usize::try_from(from) {
            let is_whole_object = self.first.len() < FIRST_READ_BYTES;
            let end = start.saturating_add(length);
            if is_whole_object || end <= self.first.len() {
                let end = end.min(self.first.len());
                return Ok(self.first.slice(start.min(end)..end));
            }
        }
        Ok(block_on(self.repository.store().get_range(&self.key, from, length))?)
    }

    fn read_table(&self, body_bytes: u64) -> Result<SeekTable, RepositoryError> {
        let invalid = |error| self.damaged(Damage::SeekTable(error));
        let cut = || self.damaged(Damage::Size { expected: SeekTable::FOOTER_BYTES as u64, found: body_bytes });
        let footer_at = body_bytes.checked_sub(SeekTable::FOOTER_BYTES as u64).ok_or_else(cut)?;
        let table_bytes =
            SeekTable::encoded_bytes(&self.body_range(footer_at, SeekTable::FOOTER_BYTES)?).map_err(invalid)?;
        let table_at = body_bytes.checked_sub(table_bytes as u64).ok_or_else(cut)?;
        let table = SeekTable::decode(&self.body_range(table_at, table_bytes)?).map_err(invalid)?;
        if let Some(frame) = table.entries().iter().find(|frame| frame.stored_bytes as usize > FRAME_STORED_BYTES_MAX) {
            let problem = format!("it has a frame of {} stored bytes", frame.stored_bytes);
            return Err(self.damaged(Damage::Invalid { problem }));
        }
        if table.stored_bytes() != table_at {
            return Err(self.damaged(Damage::Size { expected: table.stored_bytes(), found: table_at }));
        }
        if let Some(expected) = self.header.plain_bytes.filter(|expected| *expected != table.plain_bytes()) {
            return Err(self.damaged(Damage::Size { expected, found: table.plain_bytes() }));
        }
        Ok(table)
    }
}

/// What was last read of the stored body.
struct Window {
    at: u64,
    bytes: Bytes,
    /// Where what is wanted ends: nothing is read ahead behind it.
    end: u64,
}

impl Window {
    fn up_to(end: u64) -> Self {
        Self { at: 0, bytes: Bytes::new(), end }
    }

    fn slice(&self, offset: u64, length: usize) -> Option<Bytes> {
        let start = usize::try_from(offset.checked_sub(self.at)?).ok()?;
        let end = start.checked_add(length)?;
        (end <= self.bytes.len()).then(|| self.bytes.slice(start..end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::ObjectKind;
    use crate::error::{Classified, ErrorClass};
    use crate::repository::testing::{self, TestRepository};
    use proptest::prelude::*;

    fn spec(name: &str) -> ObjectSpec {
        ObjectSpec { kind: ObjectKind::Document, system_identifier: None, name: name.to_owned() }
    }

    fn key() -> ObjectKey {
        ObjectKey::parse("main/object").unwrap()
    }

    fn stored(plain: &[u8]) -> TestRepository {
        let test = testing::repository();
        test.repository.create_object(&key(), &spec("o"), plain, &test.writer).unwrap();
        test
    }

    /// Bytes that compress badly, so that objects of several reads and frames come into being.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 0x9E37_79B9_7F4A_7C15u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        std::iter::repeat_with(&mut next).flatten().take(length).collect()
    }

    #[test]
    fn objects_of_every_size_come_back() {
        for size in [0, 1, 1000, 63_000, 64 * 1024, 65_000, 1 << 20, (1 << 20) + 1, 9 << 20] {
            let plain = noise(size);
            let test = stored(&plain);
            assert!(test.repository.load_object(&key(), &spec("o"), u64::MAX).unwrap() == plain, "{size}");
            if size > 0 {
                assert!(test.repository.load_object(&key(), &spec("o"), size as u64 - 1).is_err(), "{size}");
            }
        }
    }

    #[test]
    fn an_object_under_a_wrong_name_is_refused() {
        let test = stored(b"content");
        let error = test.repository.load_object(&key(), &spec("other"), 100).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Corrupt);
        let wrong_kind = ObjectSpec { kind: ObjectKind::Record, ..spec("o") };
        assert!(test.repository.load_object(&key(), &wrong_kind, 100).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn damage_is_never_delivered(size in 0usize..200_000, at: prop::sample::Index, how in 0..3) {
            let plain = noise(size);
            let test = stored(&plain);
            let path = test.temp.path().join("repo/main/object");
            let mut bytes = std::fs::read(&path).unwrap();
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] ^= 0x10,
                1 => bytes.truncate(at),
                _ => bytes.insert(at, 0),
            }
            std::fs::write(&path, bytes).unwrap();
            let mut as_stored = Vec::new();
            let read = ObjectReader::open(&test.repository, &key(), &spec("o")).is_ok_and(|reader| {
                let take = &mut |bytes: &[u8]| {
                    as_stored.extend_from_slice(bytes);
                    Ok::<(), std::convert::Infallible>(())
                };
                reader.read_as_stored(take).is_ok()
            });
            prop_assert!(!read || as_stored == plain);
            match test.repository.load_object(&key(), &spec("o"), u64::MAX) {
                Ok(read) => prop_assert!(read == plain),
                Err(error) => prop_assert_eq!(error.class() == ErrorClass::Corrupt || error.class() == ErrorClass::Unsupported, true),
            }
        }
    }
}
