//! `pgv-basebackup`: takes a base backup of a running server over the replication protocol.
//!
//! INVARIANT: the record is written last, once every file was checked against the server's manifest and the WAL from
//! start to stop is in the archive and proven to be this server's. Whatever ends the run before, nothing is listed.
//!
//! One plain thread talks to the server and the repository in turn; while data streams, it takes the archives apart,
//! digests the files and cuts them into frames, and the pack writer's threads compress and store them.

mod archived;
mod content;
mod description;
mod error;
mod manifest_check;
mod own_wal;
mod session;
mod stream;

use std::path::Path;
use std::time::Duration;

use crate::clock::Clock;
use crate::codec::CompressionLevel;
use crate::pg::{Lsn, PgMajorVersion, TimelineId};
use crate::report::{Cancel, Reporter};
use crate::repository::{
    BackupBegin, BackupId, BackupMethod, BackupRecord, BackupWriter, ClusterRef, ClusterSelection, DocumentKind,
    NodeDescription, PackOptions, Repository, SelectedCluster, WalArchive, Writer, WriterDescription,
};
use crate::server::{CheckpointMode, ConnectionSettings, WalPosition};

use archived::ArchiveWait;
use content::StreamedContent;
use description::Description;
pub use error::BackupError;
use own_wal::{Expected, OwnWal};
use session::ServerSession;

/// The directory of a writer that takes backups of a server on another host: no path, so nothing is ever restored there.
const UNKNOWN_DIRECTORY: &str = "unknown";
/// A standby cannot end a segment before it is full; its primary does once `archive_timeout` has passed.
const STANDBY_TIMEOUT_MIN: Duration = Duration::from_secs(300);
/// How long after it was ended a segment may take to the archive: the archiver's own patience, and the way to the standby.
const STANDBY_TIMEOUT_MARGIN: Duration = Duration::from_secs(120);

/// What to back up, from where, and how.
pub struct BackupOptions {
    /// How to reach the server.
    pub connection: ConnectionSettings,
    /// Where to store the backup.
    pub repository: Repository,
    /// Which cluster the server must be.
    pub selection: ClusterSelection,
    /// This host's name.
    pub host: String,
    /// The backup's label.
    pub label: String,
    /// How the checkpoint at its beginning is made.
    pub checkpoint: CheckpointMode,
    /// Upper bound of the rate at which the server sends, in KiB a second.
    pub max_rate_kib: Option<u32>,
    /// How long to wait for WAL to arrive in the archive, counted from the last that did; for a standby's, longer.
    pub archive_timeout: Duration,
    /// How hard to compress.
    pub level: CompressionLevel,
    /// How many threads compress.
    pub workers: usize,
}

/// A backup that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupReport {
    /// The cluster.
    pub cluster: ClusterRef,
    /// What was recorded of it.
    pub record: BackupRecord,
    /// How long it took.
    pub took: Duration,
}

/// Takes a backup.
pub fn run(
    options: &BackupOptions,
    clock: &dyn Clock,
    reporter: &dyn Reporter,
    cancel: &Cancel,
) -> Result<BackupReport, BackupError> {
    let watch = crate::clock::Stopwatch::start();
    let mut session = ServerSession::connect(&options.connection, cancel.clone(), reporter)?;
    let server = session.identify()?;
    let selected = options.repository.select_cluster(&options.selection, Some(server.system_identifier))?;
    check_identity(&selected, server.major_version)?;
    let description = Description::gather(&mut session, server.system_identifier, reporter)?;
    // A restore trusts the directories of this host's writers, so none is named that is not proven to be here.
    let directory = description.local_directory.proven().unwrap_or(Path::new(UNKNOWN_DIRECTORY)).to_owned();
    let now = clock.now();
    let writer = Writer::new(&options.repository, WriterDescription::new(&options.host, &directory, now));
    let begin =
        BackupBegin { id: BackupId::generate(now), host: options.host.clone(), parents: Vec::new(), began: now };
    let mut backup = BackupWriter::begin(&options.repository, &selected.cluster, &writer, &begin)?;
    let archive_timeout = match server.is_standby {
        true => timeout_of_standby(options.archive_timeout, session.archive_timeout()?),
        false => options.archive_timeout,
    };
    let source = Source {
        selected: &selected,
        writer: &writer,
        block_bytes: description.block_bytes,
        is_standby: server.is_standby,
        archive_timeout,
    };
    let streamed = stream_content(options, &mut session, &source, &backup, reporter)?;
    let record = store(&mut session, &selected, &server, description, streamed, &mut backup, options, reporter)?;
    session.close();
    backup.finish(&record)?;
    Ok(BackupReport { cluster: selected.cluster, record, took: watch.elapsed() })
}

/// What is backed up, and as whom.
struct Source<'a> {
    selected: &'a SelectedCluster,
    writer: &'a Writer,
    /// Size of the server's pages.
    block_bytes: u32,
    is_standby: bool,
    /// How long to wait for each segment.
    archive_timeout: Duration,
}

/// What the stream came to.
struct Streamed {
    content: StreamedContent,
    start: WalPosition,
    stop: WalPosition,
    start_time: jiff::Timestamp,
    stop_time: jiff::Timestamp,
}

fn stream_content(
    options: &BackupOptions,
    session: &mut ServerSession<'_>,
    source: &Source<'_>,
    backup: &BackupWriter,
    reporter: &dyn Reporter,
) -> Result<Streamed, BackupError> {
    let Source { selected, writer, block_bytes, .. } = source;
    let wait = ArchiveWait {
        archive: WalArchive::new(&options.repository, &selected.cluster),
        size: selected.identity.wal_segment_size,
        timeout: source.archive_timeout,
        of_standby: source.is_standby,
        cancel: session.cancel().clone(),
    };
    let start_time = session.now()?;
    let spread = "waiting for the server's checkpoint, which may take minutes; --checkpoint fast hurries it";
    reporter.step(match options.checkpoint {
        CheckpointMode::Spread => spread,
        CheckpointMode::Fast => "waiting for the server's checkpoint",
    });
    let packs = backup.packs(PackOptions {
        level: options.level,
        workers: options.workers,
        page_bytes: *block_bytes,
        ..PackOptions::default()
    })?;
    let mut last_checkpoint = None;
    let (content, start, stop) = session.stream(options, packs, reporter, &mut |session, start| {
        let history = session.archive_history(&wait.archive, start.timeline, writer, options.level)?;
        last_checkpoint = session.last_checkpoint()?;
        wait.for_segment_before(start.lsn, &history, reporter)
    })?;
    let stop_time = session.now()?;
    let history = session.archive_history(&wait.archive, stop.timeline, writer, options.level)?;
    wait.for_range(start.lsn, stop.lsn, &history, reporter)?;
    let label = &content.backup_label;
    let expected = Expected::of_label(label, start.lsn, stop.lsn, last_checkpoint, source.is_standby)?;
    let own_wal = OwnWal {
        archive: &wait.archive,
        history: &history,
        size: wait.size,
        server: session.server_text(),
        cancel: &wait.cancel,
    };
    own_wal.check(&expected)?;
    Ok(Streamed { content, start, stop, start_time, stop_time })
}

/// Stores documents and map, and puts the record together.
#[expect(clippy::too_many_arguments, reason = "everything that a record says comes together here, once")]
fn store(
    session: &mut ServerSession<'_>,
    selected: &SelectedCluster,
    server: &session::ServerIdentity,
    description: Description,
    streamed: Streamed,
    backup: &mut BackupWriter,
    options: &BackupOptions,
    reporter: &dyn Reporter,
) -> Result<BackupRecord, BackupError> {
    let Streamed { content, start, stop, start_time, stop_time } = streamed;
    manifest_check::check(&content, server.system_identifier, start, stop)?;
    session.check_cancel()?;
    reporter.step("storing the file map");
    backup.store_document(DocumentKind::BackupLabel, "backup_label", None, &content.backup_label)?;
    if let Some(map) = &content.tablespace_map {
        backup.store_document(DocumentKind::TablespaceMap, "tablespace_map", None, map)?;
    }
    backup.store_document(DocumentKind::BackupManifest, "backup_manifest", None, &content.manifest)?;
    for (number, (path, bytes)) in description.outside_files.iter().enumerate() {
        let name = format!("configuration-{number:03}");
        backup.store_document(DocumentKind::Configuration, &name, Some(path.clone()), bytes)?;
    }
    let (tablespaces, mut sizes) = (content.tablespaces.clone(), content.sizes());
    let stored = backup.store_map(content.entries, content.packs)?;
    sizes.stored_bytes = stored.pack_bytes;
    Ok(BackupRecord {
        required_features: Vec::new(),
        id: backup.id(),
        sequence: backup.sequence(),
        previous: backup.previous().cloned(),
        parents: Vec::new(),
        cluster: selected.cluster.name.clone(),
        system_identifier: server.system_identifier,
        method: BackupMethod::Stream,
        label: options.label.clone(),
        node: NodeDescription { host: session.host(), port: session.port(), is_standby: server.is_standby },
        major_version: server.major_version,
        version_num: server.version_num,
        pgv_version: env!("CARGO_PKG_VERSION").to_owned(),
        start_lsn: start.lsn,
        start_timeline: start.timeline,
        stop_lsn: stop.lsn,
        stop_timeline: stop.timeline,
        start_time,
        stop_time,
        wal_segment_size: selected.identity.wal_segment_size,
        block_bytes: description.block_bytes,
        data_checksums: description.data_checksums,
        sizes,
        root_digest: stored.root_digest,
        needs_digest: stored.needs_digest,
        documents: backup.documents().to_vec(),
        tablespaces,
        server: description.server,
        findings: Vec::new(),
    })
}

fn check_identity(selected: &SelectedCluster, found: PgMajorVersion) -> Result<(), BackupError> {
    let expected = selected.identity.major_version;
    if expected == found {
        return Ok(());
    }
    Err(BackupError::OtherVersion { cluster: selected.cluster.name.clone(), expected, found })
}

/// How long the WAL of a standby may take: what was asked for, or what its primary needs to end a segment, if that is
/// longer. The standby's own `archive_timeout` stands for the primary's, which cannot be asked.
fn timeout_of_standby(asked: Duration, archive_timeout: Option<Duration>) -> Duration {
    let of_primary = archive_timeout.unwrap_or_default().saturating_add(STANDBY_TIMEOUT_MARGIN);
    asked.max(of_primary).max(STANDBY_TIMEOUT_MIN)
}

/// Positions as messages show them.
fn describe(lsn: Lsn, timeline: TimelineId) -> String {
    format!("{lsn} on timeline {timeline}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standby_s_wal_is_waited_for_as_long_as_its_primary_may_take() {
        let seconds = Duration::from_secs;
        for (asked, archive_timeout, expected) in
            [(60, None, 300), (60, Some(60), 300), (60, Some(600), 720), (900, Some(60), 900), (60, Some(0), 300)]
        {
            let found = timeout_of_standby(seconds(asked), archive_timeout.map(seconds));
            assert_eq!(found, seconds(expected), "{asked} {archive_timeout:?}");
        }
    }
}
