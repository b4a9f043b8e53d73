//! `pgv-archive %p %f`: stores one WAL file for PostgreSQL's archive_command.
//!
//! INVARIANT: success means that this content, or of a segment all log in it, is stored under this name, completely and
//! durably; of one that was cut off at a fork, under the name of a partial one or of its copy (`cut_off`). Nothing below pg_wal is ever written. What PostgreSQL demands
//! is in its `src/backend/postmaster/pgarch.c`.

mod cut_off;
mod error;
mod histories;
mod source;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::Deadline;
use crate::codec::CompressionLevel;
use crate::fs;
use crate::pg::WalFileName;
use crate::repository::{
    ClusterRef, ClusterSelection, Repository, RepositoryError, SelectedCluster, Stored, WalArchive, WalFileContent,
    Writer, WriterDescription,
};

use cut_off::{CutOff, CutOffFate};
pub use error::ArchiveError;
use histories::Histories;
use source::{Source, SourceContent};

/// What to archive, and where.
pub struct ArchiveOptions {
    /// The WAL file, `%p`.
    pub path: PathBuf,
    /// Its name, `%f`; the last part of the path without it.
    pub name: Option<String>,
    /// Which cluster it may belong to.
    pub selection: ClusterSelection,
    /// The working directory, which PostgreSQL sets to the data directory.
    pub working_directory: PathBuf,
    /// This host's name.
    pub host: String,
    /// The time now, for people.
    pub now: Timestamp,
    /// How hard to compress.
    pub level: CompressionLevel,
    /// The directory of the repository.
    pub repository_path: PathBuf,
    /// Opens the repository.
    pub open_repository: Box<dyn FnOnce() -> Result<Repository, RepositoryError> + Send>,
}

/// What archiving came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveReport {
    /// The file's name.
    pub name: WalFileName,
    /// The cluster that it belongs to.
    pub cluster: ClusterRef,
    /// Whether it was stored now or before; `None` when it was left out, as the warning says.
    pub stored: Option<Stored>,
    /// Its size.
    pub bytes: u64,
    /// What the person should know or mend although PostgreSQL goes on.
    pub warning: Option<String>,
}

/// Archives one file, or gives up when `limit` has passed.
///
/// A store that hangs cannot be interrupted, so the work is done by a thread that is left behind: the caller ends the
/// process. Nothing half-written can count, whenever that is.
pub fn run_within(options: ArchiveOptions, limit: Duration) -> Result<ArchiveReport, ArchiveError> {
    let deadline = Deadline::after(limit);
    let (path, repository) = (options.path.clone(), options.repository_path.clone());
    let (sender, receiver) = mpsc::sync_channel(1);
    let worker = std::thread::Builder::new().name("archive".to_owned()).spawn(move || {
        let _ = sender.send(run(options));
    });
    let worker = worker.map_err(ArchiveError::Thread)?;
    match receiver.recv_timeout(deadline.remaining()) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => Err(ArchiveError::TimedOut { path, repository, limit }),
        Err(mpsc::RecvTimeoutError::Disconnected) => match worker.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => Err(ArchiveError::Thread(std::io::Error::other("it ended without an answer"))),
        },
    }
}

/// Archives one file.
pub fn run(options: ArchiveOptions) -> Result<ArchiveReport, ArchiveError> {
    let data_directory = data_directory(&options.path, &options.working_directory);
    let source = Source::open(&options.path, options.name.as_deref(), &data_directory)?;
    let path = options.path;
    let failed = |source| ArchiveError::Repository { path: path.clone(), source };
    let repository = (options.open_repository)().map_err(failed)?;
    let selected = repository
        .select_cluster_at(&options.selection, source.system_identifier, Some(&options.working_directory))
        .map_err(|source| ArchiveError::Selection { path: path.clone(), source })?;
    source.check_identity(&selected.identity, &repository)?;
    refuse_clone(&path, &repository, &selected, &options.working_directory)?;
    let directory = fs::real_path(&data_directory).unwrap_or(data_directory);
    let writer = Writer::new(&repository, WriterDescription::new(&options.host, &directory, options.now));
    let (mut name, bytes) = (source.name, source.bytes);
    let archive = WalArchive::new(&repository, &selected.cluster);
    let histories = Histories {
        archive: &archive,
        identity: &selected.identity,
        segment: &path,
        data_directory: &directory,
        level: options.level,
        writer: &writer,
    };
    // First, so that no segment is there for long without it.
    let mut warning = histories.store_missing(&name)?;
    if let Some(cut_off) = CutOff::find(&source, &histories)? {
        let fate = cut_off.fate(&archive).map_err(failed)?;
        warning = Some(warning.into_iter().chain([cut_off.warning(fate)]).collect::<Vec<_>>().join("; "));
        if fate != CutOffFate::Partial {
            return Ok(ArchiveReport { name, cluster: selected.cluster, stored: None, bytes, warning });
        }
        name = cut_off.partial();
    }
    // The server knows no more that it was archived, either.
    if source.is_emptied() && archive.load_text(&name).map_err(failed)?.is_some() {
        let stored = Some(Stored::Identical);
        return Ok(ArchiveReport { name, cluster: selected.cluster, stored, bytes, warning });
    }
    let mut content = source.content();
    let content = match &mut content {
        SourceContent::Whole(content) => WalFileContent::Whole(content),
        SourceContent::File(file) => WalFileContent::File(file, bytes),
    };
    let stored = archive.store(&name, content, options.level, &writer).map_err(failed)?;
    Ok(ArchiveReport { name, cluster: selected.cluster, stored: Some(stored), bytes, warning })
}

/// The data directory that the file belongs to: what PostgreSQL runs us in, unless the file lies in another pg_wal.
fn data_directory(path: &Path, working_directory: &Path) -> PathBuf {
    let pg_wal = path.parent().filter(|parent| path.is_absolute() && parent.ends_with("pg_wal"));
    pg_wal.and_then(Path::parent).unwrap_or(working_directory).to_owned()
}

/// A clone must never archive into its original's tree. One on another host whose directory has the same path is not
/// told by it: its first segment that differs from the original's is refused, and so is every backup of it.
fn refuse_clone(
    path: &Path,
    repository: &Repository,
    selected: &SelectedCluster,
    working_directory: &Path,
) -> Result<(), ArchiveError> {
    let Some(pgdata) = &selected.pgdata else { return Ok(()) };
    let here = fs::real_path(working_directory)?;
    match fs::real_path(pgdata) {
        Ok(there) if there == here => Ok(()),
        Err(error) if !error.is_not_found() => Err(error.into()),
        _ => Err(ArchiveError::OtherDirectory {
            path: path.to_owned(),
            store: repository.describe(),
            cluster: selected.cluster.name.clone(),
            pgdata: pgdata.clone(),
            here,
        }),
    }
}
