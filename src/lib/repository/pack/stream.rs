//! Writing packs from one stream of file contents: frames are cut here, compressed by several threads, and put into
//! packs in order.

use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::frame::FrameMaker;
use super::storing::FrameReply;
use super::writer::{PackSeries, PackWriter};
use super::{Extent, FRAME_BYTES, PACK_BYTES, PackError, PackNeed, add_extent};
use crate::codec::{CompressionLevel, ContentDigest, PAGED_FILE_BYTES, PageDigest, PageListHasher, PlainHasher};
use crate::repository::backup::BackupId;
use crate::repository::{ClusterRef, Repository, Writer};

/// LIMIT: frames that wait for each worker, and for all: 12 MiB.
const QUEUED_PER_WORKER: usize = 4;
const QUEUED_MAX: usize = 48;
/// LIMIT: workers that compress what one stream brings; fewer keep up with it.
const WORKERS_MAX: usize = 32;

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

impl PackOptions {
    fn queued(&self) -> usize {
        self.workers.max(1).saturating_mul(QUEUED_PER_WORKER).min(QUEUED_MAX)
    }

    /// A writer of frames that are made elsewhere, of `level` and for `page_bytes`.
    pub(in crate::repository) fn writer(
        &self,
        repository: &Repository,
        cluster: &ClusterRef,
        backup: &BackupId,
        writer: &Writer,
    ) -> PackWriter {
        PackWriter::new(PackSeries {
            repository: repository.clone(),
            cluster: cluster.clone(),
            backup: *backup,
            writer: writer.clone(),
            page_bytes: self.page_bytes,
            pack_bytes: self.pack_bytes,
            queued: self.queued(),
        })
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

/// Writes the content of files into the packs of one backup. Dropped without [`PackStream::finish`], it leaves the
/// pack that is being written unseen.
pub struct PackStream {
    repository: Repository,
    options: PackOptions,
    // ORDER: before the packs, so that threads that wait for a frame hear that none comes.
    jobs: Option<Sender<Job>>,
    workers: Vec<JoinHandle<()>>,
    packs: PackWriter,
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
        let workers = options.workers.clamp(1, WORKERS_MAX);
        let (jobs, queue) = bounded::<Job>(options.queued());
        let worker = |number| {
            let (queue, repository) = (queue.clone(), repository.clone());
            let work = move || compress_jobs(&queue, &repository, options.level);
            std::thread::Builder::new().name(format!("compress-{number}")).spawn(work).map_err(PackError::Thread)
        };
        Ok(Self {
            repository: repository.clone(),
            options,
            jobs: Some(jobs),
            workers: (0..workers).map(worker).collect::<Result<_, _>>()?,
            packs: options.writer(repository, cluster, backup, writer),
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
        let needs = self.packs.finish()?;
        self.jobs = None;
        for worker in self.workers {
            worker.join().map_err(|_| PackError::ThreadDied)?;
        }
        Ok(needs)
    }

    fn note_extent(&mut self, length: u64) {
        let (pack, begin) = self.packs.position();
        add_extent(&mut self.extents, Extent { pack, offset: begin + self.buffer.len() as u64, length });
    }

    fn send_frame(&mut self) -> Result<(), PackError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let plain = std::mem::replace(&mut self.buffer, Vec::with_capacity(FRAME_BYTES));
        let pages = self.digest_pages(&plain);
        let (reply, answer) = bounded(1);
        self.packs.append_promised(answer, plain.len(), pages.len())?;
        let job = Job { plain, pages, reply };
        let queued = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        if queued { Ok(()) } else { Err(self.packs.failure()) }
    }

    /// The digests of a frame's pages, added to those of its file; none in a frame of small files.
    fn digest_pages(&mut self, plain: &[u8]) -> Vec<PageDigest> {
        let Some(FileDigest::Pages(file)) = &mut self.file else { return Vec::new() };
        let page_bytes = usize::try_from(self.options.page_bytes).unwrap_or(usize::MAX).max(1);
        let pages = self.repository.keys().page_digests(plain, page_bytes);
        pages.iter().for_each(|page| file.add(page));
        pages
    }
}

fn compress_jobs(queue: &Receiver<Job>, repository: &Repository, level: CompressionLevel) {
    let mut maker = FrameMaker::new(level, repository.keys()).map_err(Some);
    for job in queue {
        let frame = match maker.as_mut() {
            Ok(maker) => maker.with_pages(&job.plain, &job.pages),
            Err(error) => match error.take() {
                Some(error) => Err(error),
                None => return,
            },
        };
        let _ = job.reply.send(frame); // nobody waits for it when its pack failed
    }
}
