//! Reading packs back: the index against the digest in `needs`, each frame against the index.

mod check;

pub(crate) use check::CheckedFrame;

use std::ops::Range;

use super::{PackIndex, PackIndexError, PackNeed, frame_digest, pack_key, pack_spec};
use crate::codec::{MAX_FRAME_PLAIN_BYTES, PageDigest};
use crate::repository::error::{Damage, RepositoryError};
use crate::repository::object_reader::{ObjectReader, SinkError};
use crate::repository::{ClusterRef, Repository};

/// Takes the plain offset of a frame in its pack, and its plain bytes.
pub type PlainSink<'a, E> = dyn FnMut(u64, &[u8]) -> Result<(), E> + 'a;

/// A pack whose index was read and checked.
#[derive(Debug)]
pub struct PackReader<'a> {
    repository: &'a Repository,
    object: ObjectReader<'a>,
    index: PackIndex,
    /// Plain offset of each frame, and of the end.
    offsets: Vec<u64>,
}

impl<'a> PackReader<'a> {
    /// Opens a pack that a backup needs.
    pub fn open(repository: &'a Repository, cluster: &ClusterRef, need: &PackNeed) -> Result<Self, RepositoryError> {
        let key = pack_key(repository, cluster, &need.backup, need.ordinal)?;
        let object = ObjectReader::open(repository, &key, &pack_spec(cluster, &need.backup, need.ordinal))?;
        let invalid = |problem: &str| object.damaged(Damage::Invalid { problem: problem.to_owned() });
        if object.body_bytes() != need.body_bytes {
            return Err(object.damaged(Damage::Size { expected: need.body_bytes, found: object.body_bytes() }));
        }
        let last = object.frames().len().checked_sub(1).ok_or_else(|| invalid("it has no frames"))?;
        let mut bytes = Vec::with_capacity(MAX_FRAME_PLAIN_BYTES.min(1 << 20));
        collect(object.read_frames(last..last + 1, &mut |_, plain| {
            bytes.extend_from_slice(plain);
            Ok(())
        }))?;
        object.check_digest("index", need.index_digest, repository.keys().plain_digest(&bytes))?;
        let index = PackIndex::decode(&bytes).map_err(|error| match error {
            PackIndexError::NewerVersion { found } => RepositoryError::UnknownFeature {
                object: key.to_string(),
                store: repository.describe(),
                feature: format!("pack index version {found}"),
            },
            damaged => invalid(&damaged.to_string()),
        })?;
        // Behind the copy of the header come the frames of the index, then the index itself.
        let listed = object.frames().iter().skip(1).take(last.saturating_sub(1));
        let fits = listed.clone().count() == index.frames.len()
            && listed.zip(&index.frames).all(|(entry, frame)| {
                (entry.stored_bytes, entry.plain_bytes) == (frame.stored_bytes, frame.plain_bytes)
            });
        if !fits {
            return Err(invalid("its index does not fit its seek table"));
        }
        let mut offsets = vec![0];
        let mut offset = 0;
        for frame in &index.frames {
            offset += u64::from(frame.plain_bytes);
            offsets.push(offset);
        }
        Ok(Self { repository, object, index, offsets })
    }

    /// Its index.
    pub fn index(&self) -> &PackIndex {
        &self.index
    }

    /// Reads every frame that touches one of these ranges of the plain content, each frame once, in order, and hands
    /// over its plain offset and bytes once its digest was checked. `ranges` must be sorted by their beginning.
    pub fn read_frames_of<E>(
        &self,
        ranges: impl IntoIterator<Item = Range<u64>>,
        sink: &mut PlainSink<'_, E>,
    ) -> Result<(), SinkError<E>> {
        let mut next_frame = 0;
        let mut pending: Option<Range<usize>> = None;
        for range in ranges.into_iter().filter(|range| !range.is_empty()) {
            let frames = self.frames_of(&range)?;
            let frames = frames.start.max(next_frame)..frames.end;
            next_frame = next_frame.max(frames.end);
            if frames.is_empty() {
                continue;
            }
            pending = match pending {
                Some(run) if run.end == frames.start => Some(run.start..frames.end),
                Some(run) => {
                    self.read_run(run, sink)?;
                    Some(frames)
                }
                None => Some(frames),
            };
        }
        pending.map_or(Ok(()), |run| self.read_run(run, sink))
    }

    /// Reads one range of the plain content, at most `limit` bytes long, into memory.
    pub fn read_range(&self, range: Range<u64>, limit: u64) -> Result<Vec<u8>, RepositoryError> {
        let length = range.end.saturating_sub(range.start);
        if length > limit {
            let problem = format!("a part of {length} bytes is referred to where at most {limit} are expected");
            return Err(self.object.damaged(Damage::Invalid { problem }));
        }
        let mut bytes = Vec::new();
        collect(self.read_frames_of([range.clone()], &mut |offset, plain| {
            let from = usize::try_from(range.start.saturating_sub(offset)).unwrap_or(usize::MAX);
            let to = usize::try_from(range.end.saturating_sub(offset)).unwrap_or(usize::MAX).min(plain.len());
            bytes.extend_from_slice(plain.get(from..to).unwrap_or_default());
            Ok(())
        }))?;
        Ok(bytes)
    }

    /// The frames that hold this range of the plain content.
    pub(crate) fn frames_of(&self, range: &Range<u64>) -> Result<Range<usize>, RepositoryError> {
        let end = self.offsets.last().copied().unwrap_or_default();
        if range.end > end {
            let problem = format!("a part up to byte {} is referred to, but it holds {end}", range.end);
            return Err(self.object.damaged(Damage::Invalid { problem }));
        }
        let first = self.offsets.partition_point(|offset| *offset <= range.start).saturating_sub(1);
        let after_last = self.offsets.partition_point(|offset| *offset < range.end);
        Ok(first..after_last)
    }

    /// The digests of a frame's pages, when its bytes are those that the index speaks of.
    fn pages_as_indexed(&self, frame: usize, plain: &[u8]) -> Option<Vec<PageDigest>> {
        let indexed = self.index.frames.get(frame)?;
        let page_bytes = usize::try_from(self.index.page_bytes).unwrap_or(usize::MAX);
        let keys = self.repository.keys();
        let pages: Vec<PageDigest> = match indexed.page_hashes.is_empty() {
            true => Vec::new(),
            false => keys.page_digests(plain, page_bytes),
        };
        let is_as_indexed = frame_digest(keys, plain, &pages) == indexed.digest
            && pages.iter().map(PageDigest::hash).eq(indexed.page_hashes.iter().copied());
        is_as_indexed.then_some(pages)
    }

    fn read_run<E>(&self, run: Range<usize>, sink: &mut PlainSink<'_, E>) -> Result<(), SinkError<E>> {
        // The body's first entry is the copy of the header.
        let entries = run.start + 1..run.end + 1;
        let read = self.object.read_frames(entries, &mut |entry, plain| {
            let frame = entry.saturating_sub(1);
            if self.pages_as_indexed(frame, plain).is_none() {
                return Err(SinkError::Repository(self.object.damaged(Damage::Digest { what: "frame" })));
            }
            let offset = self.offsets.get(frame).copied().unwrap_or_default();
            sink(offset, plain).map_err(SinkError::Sink)
        });
        match read {
            Ok(()) => Ok(()),
            Err(SinkError::Repository(error) | SinkError::Sink(SinkError::Repository(error))) => Err(error.into()),
            Err(SinkError::Sink(SinkError::Sink(error))) => Err(SinkError::Sink(error)),
        }
    }
}

/// For sinks that cannot fail.
fn collect(read: Result<(), SinkError<std::convert::Infallible>>) -> Result<(), RepositoryError> {
    match read {
        Ok(()) => Ok(()),
        Err(SinkError::Repository(error)) => Err(error),
        Err(SinkError::Sink(never)) => match never {},
    }
}
