//! Objects of files that are too large for memory.
//!
//! INVARIANT: such a file is read three times, for its digest, for size and digest of what is stored, and to be stored;
//! what is stored is what the first pass has seen, and the same as of content in memory.

use std::io::{Read, Seek, SeekFrom};

use bytes::Bytes;

use super::Repository;
use super::error::RepositoryError;
use super::object::{OBJECT_FRAME_BYTES, ObjectSpec};
use super::writer::Writer;
use crate::codec::{
    BodyError, BodyLayout, CompressionLevel, ContentDigest, FrameCompressor, ObjectHeader, PlainHasher, StoredHasher,
    fill,
};
use crate::store::{ObjectBody, ObjectKey, PartSource, PartsAbandoned, PutOutcome, block_on};

/// Something that can be read again from its beginning.
pub trait ReadSeek: Read + Seek {}

impl<T: Read + Seek> ReadSeek for T {}

/// What creating such an object came to.
pub(crate) struct FileObject {
    pub(crate) outcome: PutOutcome,
    pub(crate) header: ObjectHeader,
    /// Of what is in the file.
    pub(crate) plain_bytes: u64,
    pub(crate) plain_digest: ContentDigest,
}

impl Repository {
    /// Creates an object of what is in a file, of which the size may be known, unless one of that key exists.
    pub(crate) fn create_object_of_file(
        &self,
        key: &ObjectKey,
        spec: &ObjectSpec,
        (file, expected_bytes): (&mut (dyn ReadSeek + Send), Option<u64>),
        level: CompressionLevel,
        writer: &Writer,
    ) -> Result<FileObject, RepositoryError> {
        let read_failed = |source| RepositoryError::ReadSource { name: spec.name.clone(), source };
        let mut header = self.new_header(spec, writer);
        let plain_digest = self.digest_file(file).map_err(read_failed)?;
        let plain_bytes = file.stream_position().map_err(read_failed)?;
        if expected_bytes.is_some_and(|expected| expected != plain_bytes) {
            return Err(RepositoryError::SourceChanged { name: spec.name.clone() });
        }
        (header.plain_digest, header.plain_bytes) = (Some(plain_digest), Some(plain_bytes));
        // The second pass counts and digests what the third one will store.
        let assemble = |source| RepositoryError::Assemble { name: spec.name.clone(), source };
        let mut stored = StoredHasher::default();
        let mut body_bytes = 0;
        file.seek(SeekFrom::Start(0)).map_err(read_failed)?;
        let mut parts = FileParts::begin(&header, file, level, self).map_err(assemble)?;
        while let Some(part) = parts.next_part().map_err(|PartsAbandoned| parts.failure(spec))? {
            stored.update(&part);
            body_bytes += part.len() as u64;
        }
        header.body_bytes = Some(body_bytes);
        header.body_digest = Some(stored.finish());
        let header_bytes = header.encode(&self.keys).map_err(|error| assemble(error.into()))?;
        file.seek(SeekFrom::Start(0)).map_err(read_failed)?;
        let mut parts = FileParts::begin(&header, file, level, self).map_err(assemble)?;
        let put = block_on(self.store.put_new(key, &header_bytes, ObjectBody::Parts(&mut parts)));
        match put {
            Ok(outcome) => Ok(FileObject { outcome, header, plain_bytes, plain_digest }),
            Err(_) if parts.failed.is_some() => Err(parts.failure(spec)),
            Err(error) => Err(error.into()),
        }
    }

    fn digest_file(&self, file: &mut (dyn ReadSeek + Send)) -> std::io::Result<ContentDigest> {
        let mut hasher = self.keys.plain_hasher();
        let mut piece = vec![0; OBJECT_FRAME_BYTES];
        file.seek(SeekFrom::Start(0))?;
        loop {
            let filled = fill(file, &mut piece)?;
            match piece.get(..filled) {
                Some(filled) if !filled.is_empty() => hasher.update(filled),
                _ => return Ok(hasher.finish()),
            }
        }
    }
}

/// The body of an object, compressed from a file as it is asked for.
struct FileParts<'a> {
    first: Option<Vec<u8>>,
    layout: Option<BodyLayout>,
    compressor: FrameCompressor,
    piece: Vec<u8>,
    file: &'a mut (dyn ReadSeek + Send),
    hasher: PlainHasher,
    expected: Option<ContentDigest>,
    failed: Option<PartFailure>,
}

/// Why a file's parts were abandoned.
enum PartFailure {
    Read(std::io::Error),
    Body(BodyError),
    Changed,
}

impl<'a> FileParts<'a> {
    fn begin(
        header: &ObjectHeader,
        file: &'a mut (dyn ReadSeek + Send),
        level: CompressionLevel,
        repository: &Repository,
    ) -> Result<Self, BodyError> {
        let (layout, first) = BodyLayout::begin(header)?;
        Ok(Self {
            first: Some(first),
            layout: Some(layout),
            compressor: FrameCompressor::new(level)?,
            piece: vec![0; OBJECT_FRAME_BYTES],
            file,
            hasher: repository.keys().plain_hasher(),
            expected: header.plain_digest,
            failed: None,
        })
    }

    fn failure(&mut self, spec: &ObjectSpec) -> RepositoryError {
        let name = spec.name.clone();
        match self.failed.take() {
            Some(PartFailure::Read(source)) => RepositoryError::ReadSource { name, source },
            Some(PartFailure::Body(source)) => RepositoryError::Assemble { name, source },
            Some(PartFailure::Changed) | None => RepositoryError::SourceChanged { name },
        }
    }

    fn part(&mut self) -> Result<Option<Bytes>, PartFailure> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first.into()));
        }
        let filled = fill(self.file, &mut self.piece).map_err(PartFailure::Read)?;
        let Some(layout) = self.layout.as_mut() else { return Ok(None) };
        if let Some(plain) = self.piece.get(..filled).filter(|plain| !plain.is_empty()) {
            self.hasher.update(plain);
            let frame = self.compressor.compress(plain).map_err(|error| PartFailure::Body(error.into()))?;
            layout.add(frame.len(), plain.len()).map_err(PartFailure::Body)?;
            return Ok(Some(frame.into()));
        }
        if self.expected != Some(self.hasher.finish()) {
            return Err(PartFailure::Changed);
        }
        let last = self.layout.take().map(BodyLayout::finish).transpose().map_err(PartFailure::Body)?;
        Ok(last.map(Bytes::from))
    }
}

impl PartSource for FileParts<'_> {
    fn next_part(&mut self) -> Result<Option<Bytes>, PartsAbandoned> {
        self.part().map_err(|failure| {
            self.failed = Some(failure);
            PartsAbandoned
        })
    }
}
