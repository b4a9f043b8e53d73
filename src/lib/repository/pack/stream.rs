//! Writing packs: one stream of file contents in, frames compressed by several threads, packs stored in order.
//!
//! Frames are cut by the caller's thread, compressed by workers, and put back in order by one thread per pack, which
//! hands them to the store. Every queue is bounded. A pack's last sync happens while the next one is being filled.

use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::storing::{CompressedFrame, FrameReply, PackMessage, store_pack};
use super::{
    Extent, FRAME_BYTES, PACK_BYTES, PACK_FRAMES, PACK_INDEX_BYTES, PackError, PackIndex, PackNeed, frame_digest,
    pack_key, pack_spec,
};
use crate::codec::{
    CompressionLevel, ContentDigest, FrameCompressor, PAGED_FILE_BYTES, PageDigest, PageListHasher, PlainHasher,
};
use crate::repository::backup::BackupId;
use crate::repository::{ClusterRef, Repository, Writer};

/// LIMIT: frames that wait for each worker.
const QUEUED_PER_WORKER: usize = 4;
/// LIMIT: packs that are being ended while the next one is filled.
const ENDING_PACKS_MAX: usize = 1;

/// How packs are written.
#[derive(Debug, Clone, Copy)]
pub struct PackOptions {
    /// How hard to compress.
    pub level: CompressionLevel,
    /// How many threads compress.
    pub workers: usize,
    /// Size of the pages that are hashed.
    pub page_bytes: u32,
    /// A pack is ended once it holds this many plain bytes.
    pub pack_bytes: u64,
}

impl Default for PackOptions {
    fn default() -> Self {
        Self { level: CompressionLevel::DEFAULT, workers: 2, page_bytes: 8192, pack_bytes: PACK_BYTES }
    }
}

struct Job {
    plain: Vec<u8>,
    /// The digests of its pages, when it is part of a file that is handled by pages.
    pages: Vec<PageDigest>,
    reply: Sender<FrameReply>,
}

/// A file whose content was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// Where its content lies.
    pub extents: Vec<Extent>,
    /// The digest of its content.
    pub digest: ContentDigest,
}

/// Digests the file that is being written.
enum FileDigest {
    Whole(PlainHasher),
    /// From the pages of its frames, as they are cut.
    Pages(PageListHasher),
}

struct OpenPack {
    messages: Sender<PackMessage>,
    thread: JoinHandle<Result<PackNeed, PackError>>,
    frames: usize,
    /// Bytes of its index so far.
    index_bytes: usize,
}

/// Writes the content of files into the packs of one backup. Dropped without [`PackStream::finish`], it leaves the
/// pack that is being written unseen.
pub struct PackStream {
    repository: Repository,
    cluster: ClusterRef,
    backup: BackupId,
    writer: Writer,
    options: PackOptions,
    jobs: Option<Sender<Job>>,
    workers: Vec<JoinHandle<()>>,
    current: Option<OpenPack>,
    ending: Vec<JoinHandle<Result<PackNeed, PackError>>>,
    done: Vec<PackNeed>,
    next_ordinal: u32,
    /// Plain bytes that were sent to the current pack.
    sent_bytes: u64,
    buffer: Vec<u8>,
    /// The file that was begun.
    file: Option<FileDigest>,
    extents: Vec<Extent>,
}

impl PackStream {
    /// Begins the packs of a backup; its number 0 is the first.
    pub fn new(
        repository: &Repository,
        cluster: &ClusterRef,
        backup: &BackupId,
        writer: &Writer,
        options: PackOptions,
    ) -> Result<Self, PackError> {
        let workers = options.workers.max(1);
        let (jobs, queue) = bounded::<Job>(workers * QUEUED_PER_WORKER);
        let worker = |number| {
            let (queue, repository) = (queue.clone(), repository.clone());
            let work = move || compress_jobs(&queue, &repository, options.level);
            std::thread::Builder::new().name(format!("compress-{number}")).spawn(work).map_err(PackError::Thread)
        };
        Ok(Self {
            repository: repository.clone(),
            cluster: cluster.clone(),
            backup: *backup,
            writer: writer.clone(),
            options,
            jobs: Some(jobs),
            workers: (0..workers).map(worker).collect::<Result<_, _>>()?,
            current: None,
            ending: Vec::new(),
            done: Vec::new(),
            next_ordinal: 0,
            sent_bytes: 0,
            buffer: Vec::with_capacity(FRAME_BYTES),
            file: None,
            extents: Vec::new(),
        })
    }

    /// Begins a file of that many bytes.
    pub fn begin_file(&mut self, bytes: u64) -> Result<(), PackError> {
        let keys = self.repository.keys();
        let file = if bytes > PAGED_FILE_BYTES {
            FileDigest::Pages(keys.page_list_hasher())
        } else {
            FileDigest::Whole(keys.plain_hasher())
        };
        if matches!(file, FileDigest::Pages(_)) {
            self.send_frame()?;
        }
        self.file = Some(file);
        Ok(())
    }

    /// Adds to the file that was begun.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), PackError> {
        if let Some(FileDigest::Whole(hasher)) = &mut self.file {
            hasher.update(bytes);
        }
        while !bytes.is_empty() {
            let room = FRAME_BYTES.saturating_sub(self.buffer.len());
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.note_extent(now.len() as u64);
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() >= FRAME_BYTES {
                self.send_frame()?;
            }
        }
        Ok(())
    }

    /// Ends the file that was begun, and says where its content lies and what its digest is.
    pub fn end_file(&mut self) -> Result<StoredFile, PackError> {
        if matches!(self.file, Some(FileDigest::Pages(_))) {
            self.send_frame()?;
        }
        let digest = match self.file.take() {
            Some(FileDigest::Whole(hasher)) => hasher.finish(),
            Some(FileDigest::Pages(pages)) => pages.finish(),
            None => return Err(PackError::NoFile),
        };
        Ok(StoredFile { extents: std::mem::take(&mut self.extents), digest })
    }

    /// Stores `bytes`, at most a frame's limit, as a frame of its own.
    pub fn write_frame(&mut self, bytes: &[u8]) -> Result<Extent, PackError> {
        self.send_frame()?;
        self.note_extent(bytes.len() as u64);
        self.buffer.extend_from_slice(bytes);
        self.send_frame()?;
        let extents = std::mem::take(&mut self.extents);
        extents.into_iter().next().ok_or(PackError::NoFile)
    }

    /// Ends the last pack, and returns the table of all of them, durable.
    pub fn finish(mut self) -> Result<Vec<PackNeed>, PackError> {
        self.send_frame()?;
        self.end_pack()?;
        while !self.ending.is_empty() {
            self.join_oldest()?;
        }
        self.jobs = None;
        for worker in self.workers.drain(..) {
            worker.join().map_err(|_| PackError::ThreadDied)?;
        }
        Ok(std::mem::take(&mut self.done))
    }

    fn note_extent(&mut self, length: u64) {
        let (pack, offset) = (self.next_ordinal, self.sent_bytes + self.buffer.len() as u64);
        match self.extents.last_mut() {
            Some(last) if last.pack == pack && last.offset + last.length == offset => last.length += length,
            _ => self.extents.push(Extent { pack, offset, length }),
        }
    }

    fn send_frame(&mut self) -> Result<(), PackError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        if self.current.is_none() {
            self.begin_pack()?;
        }
        let plain = std::mem::replace(&mut self.buffer, Vec::with_capacity(FRAME_BYTES));
        let pages = self.digest_pages(&plain);
        self.sent_bytes += plain.len() as u64;
        let (reply, answer) = bounded(1);
        let Some(pack) = self.current.as_mut() else { return Err(PackError::ThreadDied) };
        pack.frames += 1;
        pack.index_bytes += PackIndex::FRAME_BYTES + pages.len() * PackIndex::PAGE_BYTES;
        let index_is_full = pack.frames >= PACK_FRAMES || pack.index_bytes >= PACK_INDEX_BYTES;
        let pack_is_full = self.sent_bytes >= self.options.pack_bytes || index_is_full;
        let sent = pack.messages.send(PackMessage::Frame(answer)).is_ok();
        let job = Job { plain, pages, reply };
        let queued = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        if !sent || !queued {
            return Err(self.failure());
        }
        if pack_is_full { self.end_pack() } else { Ok(()) }
    }

    /// The digests of a frame's pages, added to those of its file; none in a frame of small files.
    fn digest_pages(&mut self, plain: &[u8]) -> Vec<PageDigest> {
        let Some(FileDigest::Pages(file)) = &mut self.file else { return Vec::new() };
        let page_bytes = usize::try_from(self.options.page_bytes).unwrap_or(usize::MAX).max(1);
        let pages = plain.chunks(page_bytes).map(|page| self.repository.keys().page_digest(page)).collect::<Vec<_>>();
        pages.iter().for_each(|page| file.add(page));
        pages
    }

    fn begin_pack(&mut self) -> Result<(), PackError> {
        let ordinal = self.next_ordinal;
        let key = pack_key(&self.repository, &self.cluster, &self.backup, ordinal)?;
        let header = self.repository.new_header(&pack_spec(&self.cluster, &self.backup, ordinal), &self.writer);
        let (messages, queue) = bounded(self.workers.len() * QUEUED_PER_WORKER);
        let (repository, page_bytes) = (self.repository.clone(), self.options.page_bytes);
        let need = PackNeed {
            number: ordinal,
            backup: self.backup,
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
    fn failure(&mut self) -> PackError {
        match self.current.take().map(|pack| pack.thread.join()) {
            Some(Ok(Err(error))) => error,
            _ => PackError::ThreadDied,
        }
    }
}

impl Drop for PackStream {
    fn drop(&mut self) {
        // Without `End`, the pack's thread abandons its object; wait so that nothing of it is left when we return.
        self.jobs = None;
        if let Some(OpenPack { messages, thread, .. }) = self.current.take() {
            drop(messages);
            let _ = thread.join();
        }
        for thread in self.ending.drain(..) {
            let _ = thread.join();
        }
    }
}

fn compress_jobs(queue: &Receiver<Job>, repository: &Repository, level: CompressionLevel) {
    let mut compressor = FrameCompressor::new(level).map_err(Some);
    for job in queue {
        let frame = match compressor.as_mut() {
            Ok(compressor) => compressor.compress(&job.plain).map(|stored| CompressedFrame {
                stored,
                plain_bytes: job.plain.len(),
                digest: frame_digest(repository.keys(), &job.plain, &job.pages),
                page_hashes: job.pages.iter().map(PageDigest::hash).collect(),
            }),
            Err(error) => match error.take() {
                Some(error) => Err(error),
                None => return,
            },
        };
        let _ = job.reply.send(frame); // nobody waits for it when its pack failed
    }
}
