//! Writing packs: finished frames in, in order; each pack stored by a thread of its own.
//!
//! Where a frame lies is known when it is put in line, before it is compressed or stored. Queues are bounded. A pack's
//! last sync happens while the next one is being filled.

use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::frame::Frame;
use super::storing::{FrameReply, PackMessage, store_pack};
use super::{Extent, PACK_FRAMES, PACK_INDEX_BYTES, PackError, PackIndex, PackNeed, pack_key, pack_spec};
use crate::codec::ContentDigest;
use crate::repository::backup::BackupId;
use crate::repository::{ClusterRef, Repository, Writer};

/// LIMIT: packs that are being ended while the next one is filled.
const ENDING_PACKS_MAX: usize = 1;

/// Whose packs they are, and how they are cut.
#[derive(Clone)]
pub(super) struct PackSeries {
    pub(super) repository: Repository,
    pub(super) cluster: ClusterRef,
    pub(super) backup: BackupId,
    pub(super) writer: Writer,
    pub(super) page_bytes: u32,
    pub(super) pack_bytes: u64,
    /// LIMIT: frames that wait to be stored.
    pub(super) queued: usize,
}

struct OpenPack {
    messages: Sender<PackMessage>,
    thread: JoinHandle<Result<PackNeed, PackError>>,
    frames: usize,
    /// Bytes of its index so far.
    index_bytes: usize,
}

/// Writes frames into the packs of one backup, the first of which has number 0. Dropped without
/// [`PackWriter::finish`], it leaves the pack that is being written unseen.
pub struct PackWriter {
    series: PackSeries,
    current: Option<OpenPack>,
    ending: Vec<JoinHandle<Result<PackNeed, PackError>>>,
    done: Vec<PackNeed>,
    next_ordinal: u32,
    /// Plain bytes that were put into the current pack.
    sent_bytes: u64,
}

impl PackWriter {
    pub(super) fn new(series: PackSeries) -> Self {
        Self { series, current: None, ending: Vec::new(), done: Vec::new(), next_ordinal: 0, sent_bytes: 0 }
    }

    /// The pack in which the next frame will lie, and its offset there.
    pub(super) fn position(&self) -> (u32, u64) {
        (self.next_ordinal, self.sent_bytes)
    }

    /// Puts a frame in line, and says where it lies.
    pub fn append(&mut self, frame: Frame) -> Result<Extent, PackError> {
        let (plain_bytes, pages) = (frame.plain_bytes, frame.page_hashes.len());
        self.put(PackMessage::Frame(frame), plain_bytes, pages)
    }

    /// Puts a frame in line that is still being made.
    pub(super) fn append_promised(
        &mut self,
        frame: Receiver<FrameReply>,
        plain_bytes: usize,
        pages: usize,
    ) -> Result<Extent, PackError> {
        self.put(PackMessage::Promise(frame), plain_bytes, pages)
    }

    fn put(&mut self, message: PackMessage, plain_bytes: usize, pages: usize) -> Result<Extent, PackError> {
        if self.current.is_none() {
            self.begin_pack()?;
        }
        let Some(pack) = self.current.as_mut() else { return Err(PackError::ThreadDied) };
        let (number, offset) = (self.next_ordinal, self.sent_bytes);
        self.sent_bytes += plain_bytes as u64;
        pack.frames += 1;
        pack.index_bytes += PackIndex::FRAME_BYTES + pages * PackIndex::PAGE_BYTES;
        let index_is_full = pack.frames >= PACK_FRAMES || pack.index_bytes >= PACK_INDEX_BYTES;
        let is_full = self.sent_bytes >= self.series.pack_bytes || index_is_full;
        if pack.messages.send(message).is_err() {
            return Err(self.failure());
        }
        if is_full {
            self.end_pack()?;
        }
        Ok(Extent { pack: number, offset, length: plain_bytes as u64 })
    }

    /// Ends the last pack, and returns the table of all of them, durable.
    pub fn finish(mut self) -> Result<Vec<PackNeed>, PackError> {
        self.end_pack()?;
        while !self.ending.is_empty() {
            self.join_oldest()?;
        }
        Ok(std::mem::take(&mut self.done))
    }

    fn begin_pack(&mut self) -> Result<(), PackError> {
        let ordinal = self.next_ordinal;
        let PackSeries { repository, cluster, backup, writer, page_bytes, queued, .. } = self.series.clone();
        let key = pack_key(&repository, &cluster, &backup, ordinal)?;
        let header = repository.new_header(&pack_spec(&cluster, &backup, ordinal), &writer);
        let (messages, queue) = bounded(queued);
        let need = PackNeed {
            number: ordinal,
            backup,
            ordinal,
            body_bytes: 0,
            plain_bytes: 0,
            index_digest: ContentDigest::from_bytes([0; 32]),
            live_bytes: 0,
        };
        let work = move || store_pack(&repository, &key, &header, queue, page_bytes, need);
        let thread = std::thread::Builder::new().name(format!("pack-{ordinal}")).spawn(work);
        self.current =
            Some(OpenPack { messages, thread: thread.map_err(PackError::Thread)?, frames: 0, index_bytes: 0 });
        Ok(())
    }

    fn end_pack(&mut self) -> Result<(), PackError> {
        let Some(pack) = self.current.take() else { return Ok(()) };
        let _ = pack.messages.send(PackMessage::End); // a pack that failed is told by its thread
        self.ending.push(pack.thread);
        self.next_ordinal += 1;
        self.sent_bytes = 0;
        while self.ending.len() > ENDING_PACKS_MAX {
            self.join_oldest()?;
        }
        Ok(())
    }

    fn join_oldest(&mut self) -> Result<(), PackError> {
        let need = self.ending.remove(0).join().map_err(|_| PackError::ThreadDied)??;
        self.done.push(need);
        Ok(())
    }

    /// Why the current pack's thread takes no more frames.
    pub(super) fn failure(&mut self) -> PackError {
        match self.current.take().map(|pack| pack.thread.join()) {
            Some(Ok(Err(error))) => error,
            _ => PackError::ThreadDied,
        }
    }
}

impl Drop for PackWriter {
    fn drop(&mut self) {
        // Without `End`, the pack's thread abandons its object; wait so that nothing of it is left when we return.
        if let Some(OpenPack { messages, thread, .. }) = self.current.take() {
            drop(messages);
            let _ = thread.join();
        }
        for thread in self.ending.drain(..) {
            let _ = thread.join();
        }
    }
}
