//! The direct method: reads the files of the data directory on this host, while the server is in backup mode.
//!
//! INVARIANT: files are read between start and stop of the backup, `global/pg_control` after all others.
//!
//! One thread walks through the directory, several read pieces, verify and digest pages and compress frames, and the
//! caller's takes the results in order and hands them to the threads that store packs. Every queue has a bound, and so
//! has what is in memory, whatever the number of files.

mod before;
mod pages;
mod piece;
mod rate;
mod read;
mod same_server;
mod scan;
mod session;
mod steps;
mod take;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Mutex;

use super::BackupError;
use crate::codec::CompressionLevel;
use crate::fs::{Links, LiveDirectory, Tree};
use crate::pg::{BackupScope, ControlFile, DataPath, Lsn};
use crate::report::{Cancel, Progress, Reporter};
use crate::repository::{BackupWriter, PackOptions, Repository};
use crate::server::read_control_file_bytes;

use pages::PageCheck;
use piece::PieceLimits;
use rate::RateLimit;
use read::Reader;
use scan::Scan;
pub(super) use session::DirectBackup;
use steps::Sorting;
pub(super) use take::Taker;

/// LIMIT: threads that read and compress; each has some MiB.
const THREADS_MAX: usize = 64;

/// What to read, and how.
pub(super) struct DirectOptions<'a> {
    pub(super) data_directory: &'a Path,
    pub(super) repository: &'a Repository,
    pub(super) scratch: &'a Tree,
    pub(super) level: CompressionLevel,
    pub(super) workers: usize,
    /// Whether the cluster has data checksums.
    pub(super) checksums: bool,
    /// Pages with this LSN or a later one have changed since the backup began.
    pub(super) start_lsn: Lsn,
    pub(super) max_rate_bytes: Option<u64>,
    /// Links in `pg_tblspc` that lead nowhere, and are none of a tablespace.
    pub(super) left_over: BTreeSet<DataPath>,
    /// About how much there is.
    pub(super) total_bytes: Option<u64>,
    pub(super) cancel: &'a Cancel,
    pub(super) reporter: &'a dyn Reporter,
}

/// Reads and stores everything, and hands over the control file that was stored, too. `look` is called now and then, and
/// ends the work with an error of its own.
pub(super) fn run(
    options: &DirectOptions<'_>,
    backup: &BackupWriter,
    look: &mut dyn FnMut() -> Result<(), BackupError>,
) -> Result<(Taker, ControlFile), BackupError> {
    let control = control_file(options.data_directory)?.1;
    let scope = BackupScope::of(&control);
    let threads = options.workers.clamp(1, THREADS_MAX);
    let limits = PieceLimits::of(threads);
    let sorting = Sorting::new(options.scratch);
    let (directory, left_over) = (options.data_directory, &options.left_over);
    let scan = Scan::new(directory, scope.clone(), limits, left_over, sorting, options.reporter)?;
    let page_bytes = usize::try_from(control.block_bytes).unwrap_or(usize::MAX);
    let keys = options.repository.keys();
    let reader = Reader {
        keys: keys.clone(),
        level: options.level,
        page_bytes,
        pages: options.checksums.then_some(PageCheck { scope, start_lsn: options.start_lsn, page_bytes }),
        rate: options.max_rate_bytes.map(RateLimit::new),
        cancel: options.cancel,
        tools: Mutex::default(),
    };
    let packs = backup.pack_writer(PackOptions {
        level: options.level,
        workers: threads,
        page_bytes: control.block_bytes,
        ..PackOptions::default()
    });
    let mut taker = Taker::new(keys, options.level, packs, backup.map())?;
    let mut done_bytes = 0;
    let mut take = |piece| -> Result<(), BackupError> {
        done_bytes += taker.take(piece?)?;
        options.reporter.progress(&Progress { phase: "backing up", done_bytes, total_bytes: options.total_bytes });
        if options.cancel.is_cancelled() {
            return Err(BackupError::Cancelled);
        }
        look()
    };
    let end = crate::parallel::in_order(
        threads,
        scan,
        |piece, is_over| reader.read(piece, is_over),
        |piece| match take(piece) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        },
    );
    if let Some(error) = end.map_err(BackupError::Thread)? {
        return Err(error);
    }
    let control = take_control_file(options.data_directory, &mut taker)?;
    Ok((taker, control))
}

/// A standby's control file says until where its files are to be replayed, so it is read when all others were.
fn take_control_file(data_directory: &Path, taker: &mut Taker) -> Result<ControlFile, BackupError> {
    let path = DataPath::parse(ControlFile::PATH.as_bytes())?;
    let global = LiveDirectory::open(data_directory)?.directory("global".as_ref(), Links::Refuse)?;
    let facts = match global {
        Some(global) => global.facts("pg_control".as_ref())?,
        None => None,
    };
    let facts = facts.ok_or(BackupError::NoControlFile { directory: data_directory.to_owned() })?;
    let (content, control) = control_file(data_directory)?;
    taker.take_control_file(&path, &facts, &content)?;
    taker.end()?;
    Ok(control)
}

fn control_file(data_directory: &Path) -> Result<(Vec<u8>, ControlFile), BackupError> {
    let read = read_control_file_bytes(data_directory)?;
    read.ok_or_else(|| BackupError::NoControlFile { directory: data_directory.to_owned() })
}

#[cfg(test)]
mod tests;
