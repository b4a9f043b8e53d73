//! Reading a pack to find out whether all of it is as it was stored.

use std::ops::Range;

use super::PackReader;
use crate::codec::PageDigest;
use crate::repository::error::{Damage, RepositoryError};
use crate::repository::object_reader::ObjectReader;
use crate::repository::pack::{PackNeed, pack_key, pack_spec};
use crate::repository::{ClusterRef, Repository};

/// A frame whose digest was checked.
pub(crate) struct CheckedFrame<'a> {
    /// Its plain bytes.
    pub(crate) plain: &'a [u8],
    /// The digests of its pages, when it holds part of a file that is handled by pages.
    pub(crate) pages: Vec<PageDigest>,
}

impl PackReader<'_> {
    /// Checks of a pack what is known without reading any frame.
    pub(crate) fn check_sizes(
        repository: &Repository,
        cluster: &ClusterRef,
        need: &PackNeed,
    ) -> Result<(), RepositoryError> {
        let key = pack_key(repository, cluster, &need.backup, need.ordinal)?;
        let object = ObjectReader::open(repository, &key, &pack_spec(cluster, &need.backup, need.ordinal))?;
        if object.body_bytes() != need.body_bytes {
            return Err(object.damaged(Damage::Size { expected: need.body_bytes, found: object.body_bytes() }));
        }
        object.check_copy_alone()
    }

    /// Checks what opening does not look at: the copy of the header, the offsets in the index, the plain size in `needs`.
    pub(crate) fn check_frame_of_reference(&self, need: &PackNeed) -> Result<(), RepositoryError> {
        self.object.check_copy_alone()?;
        let entries = self.object.frames();
        let mut offset = entries.first().map_or(0, |copy| u64::from(copy.stored_bytes));
        for (number, frame) in self.index.frames.iter().enumerate() {
            if frame.offset != offset {
                let problem = format!("its index says {} of frame {number}, which is at {offset}", frame.offset);
                return Err(self.object.damaged(Damage::Invalid { problem }));
            }
            offset += u64::from(frame.stored_bytes);
        }
        let found = self.plain_bytes();
        if found != need.plain_bytes {
            return Err(self.object.damaged(Damage::Size { expected: need.plain_bytes, found }));
        }
        Ok(())
    }

    /// Bytes of its plain content, without the index.
    pub(crate) fn plain_bytes(&self) -> u64 {
        self.offsets.last().copied().unwrap_or_default()
    }

    /// Plain offset of a frame; of the end for the number after the last.
    pub(crate) fn offset_of(&self, frame: usize) -> u64 {
        self.offsets.get(frame).copied().unwrap_or_else(|| self.plain_bytes())
    }

    /// What these bytes are as that frame, when they are what it holds.
    pub(crate) fn recognise<'f>(&self, frame: usize, plain: &'f [u8]) -> Option<CheckedFrame<'f>> {
        self.pages_as_indexed(frame, plain).map(|pages| CheckedFrame { plain, pages })
    }

    /// Reads these frames at once and hands over each one's number and what it holds, or what is wrong with it. Says how
    /// many stored bytes were read.
    pub(crate) fn check_frames(
        &self,
        frames: Range<usize>,
        sink: &mut dyn FnMut(usize, Result<CheckedFrame<'_>, RepositoryError>),
    ) -> Result<u64, RepositoryError> {
        // The body's first entry is the copy of the header.
        self.object.check_run(frames.start + 1..frames.end + 1, &mut |entry, plain| {
            let frame = entry.saturating_sub(1);
            let checked = plain.and_then(|plain| match self.pages_as_indexed(frame, plain) {
                Some(pages) => Ok(CheckedFrame { plain, pages }),
                None => Err(self.object.damaged(Damage::Digest { what: "frame" })),
            });
            sink(frame, checked);
        })
    }
}
