//! The WAL that a backup cannot be restored without: it must arrive in the archive, and be this server's.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use jiff::Timestamp;

use super::archived::ArchiveWait;
use super::history::ServerHistory;
use super::own_wal::{Expected, OwnWal};
use super::session::ServerSession;
use super::{BackupError, BackupOptions};
use crate::codec::CompressionLevel;
use crate::pg::{TimelineHistory, format_target_time};
use crate::report::Reporter;
use crate::repository::{SelectedCluster, WalArchive, Writer};
use crate::server::{ArchiverFacts, ServerCheckpoint, WalPosition};

/// Looks after the WAL of one backup: before its data is read, and when it has ended.
pub(super) struct NeededWal<'a> {
    wait: ArchiveWait<'a>,
    writer: &'a Writer,
    level: CompressionLevel,
    is_standby: bool,
    /// The checkpoint that the server had last once the backup had begun.
    last_checkpoint: Option<ServerCheckpoint>,
    /// To be set when data is about to be stored.
    pub(super) data_began: &'a AtomicBool,
}

impl<'a> NeededWal<'a> {
    pub(super) fn new(
        options: &'a BackupOptions,
        selected: &'a SelectedCluster,
        writer: &'a Writer,
        session: &ServerSession<'_>,
        is_standby: bool,
        timeout: Duration,
        data_began: &'a AtomicBool,
    ) -> Self {
        let wait = ArchiveWait {
            archive: WalArchive::new(&options.repository, &selected.cluster),
            size: selected.identity.wal_segment_size,
            timeout,
            of_standby: is_standby,
            cancel: session.cancel().clone(),
        };
        Self { wait, writer, level: options.level, is_standby, last_checkpoint: None, data_began }
    }

    /// Before the server is asked for its checkpoint, which may take minutes: says that archiving fails, if it does. The
    /// refusal comes when it is proven: it may be mended meanwhile.
    pub(super) fn before_checkpoint(
        &self,
        session: &mut ServerSession<'_>,
        reporter: &dyn Reporter,
    ) -> Result<(), BackupError> {
        if self.is_standby {
            return Ok(());
        }
        let archiver = session.sql(async |sql| sql.archiver().await)?;
        if archiver.fails()
            && let Some(failures) = failures_text(&archiver)
        {
            reporter.warn(&format!("{failures}; unless that is mended, this backup fails"));
        }
        Ok(())
    }

    /// Once the start is known and nothing was read yet: makes sure that archiving works.
    pub(super) fn before_data(
        &mut self,
        session: &mut ServerSession<'_>,
        start: WalPosition,
        began: Timestamp,
        reporter: &dyn Reporter,
    ) -> Result<(), BackupError> {
        let ServerHistory { history, .. } = ServerHistory::load(session, &self.wait.archive, start.timeline)?;
        self.last_checkpoint = session.last_checkpoint()?;
        let waited = if !self.is_standby && self.wait.has_segment_before(start.lsn, &history)? {
            self.prove_archiving(session, start, began, &history, reporter)
        } else {
            self.wait.for_segment_before(start.lsn, &history, reporter)
        };
        self.tell_failures(session, waited, reporter)
    }

    /// What is there already says nothing of an archive_command that was changed since: one more segment is ended, where
    /// the role may do that, unless the archiver has just stored one.
    fn prove_archiving(
        &self,
        session: &mut ServerSession<'_>,
        start: WalPosition,
        began: Timestamp,
        history: &TimelineHistory,
        reporter: &dyn Reporter,
    ) -> Result<(), BackupError> {
        let archiver = session.sql(async |sql| sql.archiver().await)?;
        if !archiver.fails() && archiver.last_archived_at.is_some_and(|archived| archived >= began) {
            return Ok(());
        }
        let was_ended = session.sql(async |sql| match sql.switch_wal().await {
            Err(error) if error.is_permission_denied() => Ok(false),
            ended => ended.map(|_| true),
        })?;
        if was_ended {
            return self.wait.for_segment_of(start.lsn, history, reporter);
        }
        if archiver.fails()
            && let Some(failures) = failures_text(&archiver)
        {
            reporter.warn(&format!(
                "{failures}; this role may not end a segment, so the end of the backup shows whether WAL arrives"
            ));
        }
        Ok(())
    }

    /// The server knows more about WAL that does not come than that it does not.
    fn tell_failures(
        &self,
        session: &mut ServerSession<'_>,
        waited: Result<(), BackupError>,
        reporter: &dyn Reporter,
    ) -> Result<(), BackupError> {
        if let Err(BackupError::NotArchived { of_standby: false, .. }) = waited
            && let Ok(archiver) = session.sql(async |sql| sql.archiver().await)
            && let Some(failures) = failures_text(&archiver)
        {
            reporter.warn(&failures);
        }
        waited
    }

    /// Waits for all of it, and refuses that of another server; the history of its timeline is archived then, too.
    pub(super) fn at_end(
        &self,
        session: &mut ServerSession<'_>,
        (start, stop): (WalPosition, WalPosition),
        label: &[u8],
        reporter: &dyn Reporter,
    ) -> Result<(), BackupError> {
        let own = ServerHistory::load(session, &self.wait.archive, stop.timeline)?;
        let waited = self.wait.for_range(start.lsn, stop.lsn, &own.history, reporter);
        self.tell_failures(session, waited, reporter)?;
        let expected = Expected::of_label(label, start.lsn, stop.lsn, self.last_checkpoint.clone(), self.is_standby)?;
        let own_wal = OwnWal {
            archive: &self.wait.archive,
            history: &own.history,
            size: self.wait.size,
            server: session.server_text(),
            cancel: &self.wait.cancel,
        };
        own_wal.check(&expected)?;
        // ORDER: before the record, since a restore of the backup needs it.
        own.store_missing(&self.wait.archive, self.level, self.writer)
    }
}

fn failures_text(archiver: &ArchiverFacts) -> Option<String> {
    let ArchiverFacts { failures, last_failed: Some(name), last_failed_at: Some(at), .. } = archiver else {
        return None;
    };
    let at = format_target_time(*at);
    Some(format!("the server's archiver has failed {failures} times, last at {at} with \"{name}\""))
}
