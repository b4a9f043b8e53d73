//! Moves what the server sends to the thread that digests it.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::BackupError;
use super::content::{Content, StreamedContent};
use crate::report::{Cancel, Progress, Reporter};
use crate::repository::{PackStream, Repository};
use crate::server::{BackupTablespace, BaseBackup, BaseBackupEvent};

/// LIMIT: messages of the server, of about 32 KiB each, that wait to be digested.
const QUEUED_MESSAGES: usize = 256;
/// How often a silent server is left to see whether a signal came.
const CANCEL_POLL: Duration = Duration::from_millis(200);

/// What the digesting thread gets.
enum Message {
    Archive { name: String },
    Data(Bytes),
    Manifest,
    End,
}

/// Streams the whole backup; returns once the server has said where it ends.
pub(super) async fn run(
    base_backup: &mut BaseBackup<'_>,
    repository: &Repository,
    packs: PackStream,
    cancel: &Cancel,
    reporter: &dyn Reporter,
) -> Result<StreamedContent, BackupError> {
    let tablespaces = base_backup.tablespaces().to_vec();
    let total_bytes = estimate(&tablespaces);
    let content = Content::new(repository, packs, &tablespaces)?;
    let (sender, receiver) = mpsc::channel(QUEUED_MESSAGES);
    let thread = std::thread::Builder::new().name("content".to_owned()).spawn(move || digest(content, receiver));
    let thread = thread.map_err(BackupError::Thread)?;
    let forwarded = forward(base_backup, &sender, cancel, reporter, total_bytes).await;
    drop(sender);
    // What the digesting thread found is why it takes no more, so it comes first.
    let content = thread.join().map_err(|_| BackupError::ThreadDied)?;
    match (forwarded, content) {
        (Ok(()), content) => content,
        (Err(BackupError::ThreadDied), Err(error)) => Err(error),
        (Err(error), _) => Err(error),
    }
}

async fn forward(
    base_backup: &mut BaseBackup<'_>,
    sender: &mpsc::Sender<Message>,
    cancel: &Cancel,
    reporter: &dyn Reporter,
    total_bytes: Option<u64>,
) -> Result<(), BackupError> {
    let mut done_bytes = 0;
    loop {
        if cancel.is_cancelled() {
            return Err(BackupError::Cancelled);
        }
        let Ok(event) = tokio::time::timeout(CANCEL_POLL, base_backup.next_event()).await else { continue };
        let message = match event? {
            None => Message::End,
            Some(BaseBackupEvent::ArchiveBegin { name, .. }) => {
                Message::Archive { name: String::from_utf8_lossy(&name).into_owned() }
            }
            Some(BaseBackupEvent::ManifestBegin) => Message::Manifest,
            Some(BaseBackupEvent::Data(bytes)) => {
                done_bytes += bytes.len() as u64;
                reporter.progress(&Progress { phase: "backing up", done_bytes, total_bytes });
                Message::Data(bytes)
            }
            Some(BaseBackupEvent::Progress(_)) => continue,
            Some(BaseBackupEvent::Notice(notice)) => {
                reporter.warn(&format!("server: {notice}"));
                continue;
            }
        };
        let is_end = matches!(message, Message::End);
        send(sender, message, cancel).await?;
        if is_end {
            return Ok(());
        }
    }
}

/// Hands a message on. A store that has stalled must not keep a signal from being seen.
async fn send(sender: &mpsc::Sender<Message>, message: Message, cancel: &Cancel) -> Result<(), BackupError> {
    let mut permit = std::pin::pin!(sender.reserve());
    loop {
        match tokio::time::timeout(CANCEL_POLL, permit.as_mut()).await {
            Ok(Ok(permit)) => {
                permit.send(message);
                return Ok(());
            }
            Ok(Err(_)) => return Err(BackupError::ThreadDied),
            Err(_) if cancel.is_cancelled() => return Err(BackupError::Cancelled),
            Err(_) => {}
        }
    }
}

fn digest(mut content: Content, mut receiver: mpsc::Receiver<Message>) -> Result<StreamedContent, BackupError> {
    while let Some(message) = receiver.blocking_recv() {
        match message {
            Message::Archive { name } => content.begin_archive(&name)?,
            Message::Data(bytes) => content.data(&bytes)?,
            Message::Manifest => content.begin_manifest()?,
            Message::End => return content.finish(),
        }
    }
    Err(BackupError::ThreadDied)
}

fn estimate(tablespaces: &[BackupTablespace]) -> Option<u64> {
    tablespaces.iter().try_fold(0u64, |sum, one| one.estimated_kib?.checked_mul(1024)?.checked_add(sum))
}
