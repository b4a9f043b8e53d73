//! Takes what the server sends apart, as it comes.
//!
//! One thread reads the connection and digests what it read, so that one buffer serves the whole stream and nobody is
//! woken for each message; compressing and storing are done by the threads of [`PackStream`].

use std::sync::atomic::{AtomicBool, Ordering};

use super::content::{Content, StreamedContent};
use super::description::Description;
use super::needed_wal::NeededWal;
use super::session::{ServerIdentity, ServerSession};
use super::streamed::{Storage, StreamedFiles};
use super::taken::{Taken, TakenContent};
use super::whole::Arrived;
use super::{BackupError, BackupOptions, manifest_check, whole};
use crate::report::{Cancel, Progress, Reporter};
use crate::repository::{BackupMethod, BackupWriter, PackOptions};
use crate::server::{BackupTablespace, BaseBackup, BaseBackupEvent, ServerMessage, unless_cancelled};

/// LIMIT: findings of one backup; the server itself tells at most five of each file.
const FINDINGS_MAX: usize = 100;

/// Takes a backup from its start to its stop.
pub(super) fn take(
    options: &BackupOptions,
    session: &mut ServerSession<'_>,
    server: &ServerIdentity,
    needed: &mut NeededWal<'_>,
    backup: &BackupWriter,
    description: &Description,
    reporter: &dyn Reporter,
) -> Result<Taken, BackupError> {
    let page_bytes = description.block_bytes;
    let packs = PackOptions { level: options.level, workers: options.workers, page_bytes, ..PackOptions::default() };
    let arrived = Arrived::new(page_bytes).awaiting(description.configuration.awaited());
    let storage = Storage::new(&options.scratch, backup.packs(packs)?, backup.previous_sizes(), arrived)?;
    let start_time = session.now()?;
    let data_began = needed.data_began;
    let (content, start, stop) = session.stream(options, storage, data_began, reporter, &mut |session, start| {
        needed.before_data(session, start, start_time, reporter)
    })?;
    let stop_time = session.now()?;
    needed.at_end(session, (start, stop), &content.backup_label, reporter)?;
    let Storage { packs, mut listing, manifest, arrived } = content.storage;
    let (summary, manifest) = manifest.read(&mut listing, session.cancel())?;
    manifest_check::check_summary(&summary, server.system_identifier, start, stop)?;
    Ok(Taken {
        method: BackupMethod::Stream,
        start,
        stop,
        start_time,
        stop_time,
        backup_label: content.backup_label,
        tablespace_map: content.tablespace_map,
        manifest: Some(manifest),
        tablespaces: content.tablespaces,
        findings: content.findings,
        content: TakenContent::Streamed(Box::new(StreamedFiles { packs, listing: listing.finish()?, arrived })),
    })
}

/// Streams the whole backup; returns once the server has said where it ends. `data_began` is set before any of it is
/// stored.
pub(super) async fn run<'t>(
    base_backup: &mut BaseBackup<'_>,
    storage: Storage<'t>,
    data_began: &AtomicBool,
    cancel: &Cancel,
    reporter: &dyn Reporter,
) -> Result<StreamedContent<'t>, BackupError> {
    let tablespaces = base_backup.tablespaces().to_vec();
    let total_bytes = estimate(&tablespaces);
    let mut content = Content::new(storage, &tablespaces, base_backup.marks_ends_of_archives())?;
    let mut done_bytes = 0;
    let mut told = Vec::new();
    loop {
        match next_event(base_backup, cancel).await? {
            None => {
                let findings = base_backup.bad_pages().map(|end| findings(told, end)).unwrap_or_default();
                return Ok(StreamedContent { findings, ..content.finish()? });
            }
            Some(BaseBackupEvent::ArchiveBegin { name, .. }) => {
                content.begin_archive(&String::from_utf8_lossy(&name))?;
            }
            Some(BaseBackupEvent::ManifestBegin) => content.begin_manifest()?,
            Some(BaseBackupEvent::Data(bytes)) => {
                data_began.store(true, Ordering::SeqCst);
                done_bytes += bytes.len() as u64;
                reporter.progress(&Progress { phase: "backing up", done_bytes, total_bytes });
                content.data(&bytes)?;
            }
            Some(BaseBackupEvent::Progress(_)) => {}
            Some(BaseBackupEvent::Notice(notice)) => {
                whole::check_notice(&notice, &tablespaces)?;
                reporter.warn(&format!("server: {notice}"));
                if told.len() < FINDINGS_MAX && !whole::is_of_directory(&notice) {
                    told.push(notice.message);
                }
            }
        }
    }
}

/// What the server said of each page while it read them, else what it said at the end.
fn findings(told: Vec<String>, end: &ServerMessage) -> Vec<String> {
    if told.is_empty() { vec![end.message.clone()] } else { told }
}

/// Waits for one event to its end, unless a signal comes: at the end of a backup it takes several messages.
async fn next_event(base_backup: &mut BaseBackup<'_>, cancel: &Cancel) -> Result<Option<BaseBackupEvent>, BackupError> {
    // A server that goes on sending would never be waited for.
    if cancel.is_cancelled() {
        return Err(BackupError::Cancelled);
    }
    Ok(unless_cancelled(cancel, base_backup.next_event()).await.ok_or(BackupError::Cancelled)??)
}

fn estimate(tablespaces: &[BackupTablespace]) -> Option<u64> {
    tablespaces.iter().try_fold(0u64, |sum, one| one.estimated_kib?.checked_mul(1024)?.checked_add(sum))
}
