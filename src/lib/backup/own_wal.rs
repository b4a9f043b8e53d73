//! Whether the archived WAL of a backup is that of the server it was taken from.
//!
//! A copy of a server has its system identifier, and often its configuration: the archive then holds segments of the
//! names that the copy's backup needs, and other content. INVARIANT: a backup is listed only when the archive has the
//! checkpoint that it begins with, as the server tells it, and on a primary the record that it ends with.

use super::BackupError;
use crate::pg::{
    BackupLabel, Checkpoint, Lsn, TimelineHistory, WalContent, WalFileName, WalRecord, WalSegmentName, WalSegmentSize,
};
use crate::report::{Cancel, SilentReporter};
use crate::repository::WalArchive;
use crate::server::ServerCheckpoint;
use crate::wal_search::{ArchivedSegments, Search, WalSearch, WalSearchError};

/// `XLOG_BACKUP_END` is shorter, page headers included: it begins at most so many bytes before the stop position.
const BACKUP_END_BYTES_MAX: u64 = 256;

/// What the archived WAL must hold.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    pub(super) start_lsn: Lsn,
    pub(super) stop_lsn: Lsn,
    /// Where the record of the checkpoint is, by the backup label.
    pub(super) checkpoint_lsn: Lsn,
    /// The checkpoint that the server had last once the backup had begun; none when the role may not see it.
    pub(super) last_checkpoint: Option<ServerCheckpoint>,
    /// A backup of a standby leaves no record of its end.
    pub(super) is_standby: bool,
}

impl Expected {
    /// What a backup with this label must find.
    pub(super) fn of_label(
        label: &[u8],
        start_lsn: Lsn,
        stop_lsn: Lsn,
        last_checkpoint: Option<ServerCheckpoint>,
        is_standby: bool,
    ) -> Result<Self, BackupError> {
        let label = BackupLabel::parse(label)?;
        if label.start_lsn != start_lsn {
            return Err(BackupError::LabelStart { found: label.start_lsn, expected: start_lsn });
        }
        Ok(Self { start_lsn, stop_lsn, checkpoint_lsn: label.checkpoint_lsn, last_checkpoint, is_standby })
    }
}

/// Compares the archived WAL with what the server said.
pub(super) struct OwnWal<'a> {
    pub(super) archive: &'a WalArchive<'a>,
    pub(super) history: &'a TimelineHistory,
    pub(super) size: WalSegmentSize,
    /// The server, as messages name it.
    pub(super) server: String,
    pub(super) cancel: &'a Cancel,
}

impl OwnWal<'_> {
    /// Refuses WAL of another server.
    pub(super) fn check(&self, expected: &Expected) -> Result<(), BackupError> {
        let first = self.checkpoint_at(expected.checkpoint_lsn, expected.stop_lsn)?;
        if first.redo_lsn != Some(expected.start_lsn) {
            let found = lsn_text(first.redo_lsn);
            let problem = format!("its checkpoint begins replay at {found}, the server's at {}", expected.start_lsn);
            return Err(self.other(expected.checkpoint_lsn, problem, None));
        }
        if let Some(last) = expected.last_checkpoint.as_ref().filter(|last| last.lsn < expected.stop_lsn) {
            let found = self.checkpoint_at(last.lsn, expected.stop_lsn)?;
            if !is_same(&found, last, expected.is_standby) {
                let problem = format!(
                    "its checkpoint is of {} with next transaction {}, the server's of {} with {}",
                    found.time, found.next_xid, last.time, last.next_xid
                );
                return Err(self.other(last.lsn, problem, None));
            }
        }
        if !expected.is_standby {
            self.check_end(expected)?;
        }
        Ok(())
    }

    fn checkpoint_at(&self, lsn: Lsn, stop: Lsn) -> Result<Checkpoint, BackupError> {
        match self
            .search(lsn, stop, || RecordAt { lsn, found: None, is_past: false })?
            .found
            .map(|record| record.content)
        {
            Some(WalContent::Checkpoint(checkpoint)) => Ok(checkpoint),
            _ => Err(self.other(lsn, "it has no checkpoint there".to_owned(), None)),
        }
    }

    /// The record of the end lies just before the stop position.
    fn check_end(&self, expected: &Expected) -> Result<(), BackupError> {
        let (start, stop) = (expected.start_lsn, expected.stop_lsn);
        let from = stop.get().saturating_sub(BACKUP_END_BYTES_MAX);
        let segment = Lsn::new(from - from % self.size.bytes()).filter(|segment| *segment > start);
        let from = segment.unwrap_or(expected.checkpoint_lsn);
        if self.search(from, stop, || BackupEnd { start, stop, is_found: false, is_past: false })?.is_found {
            return Ok(());
        }
        Err(self.other(stop, format!("no backup that began at {start} ends there"), None))
    }

    fn search<S: Search>(&self, from: Lsn, stop: Lsn, new: impl Fn() -> S + Sync) -> Result<S, BackupError> {
        let source = ArchivedSegments(self.archive.clone());
        let refused = |error| match error {
            WalSearchError::Repository(error) => BackupError::Repository(error),
            WalSearchError::Thread(error) => BackupError::Thread(error),
            WalSearchError::Cancelled => BackupError::Cancelled,
            error => self.other(from, "it has no such records there".to_owned(), Some(Box::new(error))),
        };
        let last = WalSegmentName::containing_previous_byte(self.history.timeline(), stop, self.size);
        let to = last.end_lsn(self.size).unwrap_or(stop);
        let search = WalSearch::new(&source, self.history, (from, to), self.size, 1).map_err(refused)?;
        // One segment at a time: what is looked for is in the first, or begins there.
        Ok(search.in_runs_of(1).run(new, &SilentReporter, self.cancel).map_err(refused)?.search)
    }

    fn other(&self, lsn: Lsn, problem: String, source: Option<Box<WalSearchError>>) -> BackupError {
        let timeline = self.history.timeline_at(lsn);
        let segment = WalSegmentName::containing(timeline, lsn, self.size);
        // Who it was is a help, not a condition.
        let stored_by = self.archive.stored_by(&WalFileName::Segment(segment)).ok().flatten().map(Box::new);
        BackupError::OtherServersWal { server: self.server.clone(), segment, lsn, problem, stored_by, source }
    }
}

/// Whether the archived checkpoint is the one that the server has in its control file. A standby notes the next transaction
/// of every checkpoint that it replays there (`xlog_redo`), while all else stays that of its restartpoint.
fn is_same(archived: &Checkpoint, last: &ServerCheckpoint, is_standby: bool) -> bool {
    archived.redo_lsn == Some(last.redo_lsn)
        && (is_standby || archived.next_xid == last.next_xid)
        && archived.time.as_second() == last.time.as_second()
}

fn lsn_text(lsn: Option<Lsn>) -> String {
    lsn.map_or_else(|| "no position".to_owned(), |lsn| lsn.to_string())
}

/// The record that begins at a position, which is the first that is read.
struct RecordAt {
    lsn: Lsn,
    found: Option<WalRecord>,
    is_past: bool,
}

impl Search for RecordAt {
    fn see(&mut self, record: &WalRecord) {
        if record.lsn == self.lsn {
            self.found = Some(record.clone());
        }
        self.is_past = true;
    }

    fn merge(&mut self, later: Self) {
        self.found = self.found.take().or(later.found);
        self.is_past |= later.is_past;
    }

    fn is_decided(&self) -> bool {
        self.is_past
    }
}

/// The record with which the backup that began at `start` ends.
struct BackupEnd {
    start: Lsn,
    stop: Lsn,
    is_found: bool,
    is_past: bool,
}

impl Search for BackupEnd {
    fn see(&mut self, record: &WalRecord) {
        if record.lsn >= self.stop {
            self.is_past = true;
        } else if record.content == (WalContent::BackupEnd { start_lsn: Some(self.start) }) {
            self.is_found = true;
        }
    }

    fn merge(&mut self, later: Self) {
        self.is_found |= later.is_found;
        self.is_past |= later.is_past;
    }

    fn is_decided(&self) -> bool {
        self.is_found || self.is_past
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::pg::{CheckpointKind, TimelineId};

    /// A restartpoint while a spread checkpoint of the primary is replayed.
    #[test]
    fn the_next_transaction_tells_primaries_apart_and_not_standbys() {
        let (lsn, time) = (Lsn::new(0x300_0028).unwrap(), Timestamp::from_second(1_700_000_000).unwrap());
        let archived = Checkpoint {
            kind: CheckpointKind::Online,
            redo_lsn: Some(lsn),
            timeline: TimelineId::FIRST,
            previous_timeline: TimelineId::FIRST,
            next_xid: 700,
            time,
        };
        let last = |next_xid, seconds| ServerCheckpoint {
            lsn,
            redo_lsn: lsn,
            next_xid,
            time: Timestamp::from_second(time.as_second() + seconds).unwrap(),
        };
        for (next_xid, seconds, of_primary, of_standby) in
            [(700, 0, true, true), (701, 0, false, true), (700, 1, false, false)]
        {
            let last = last(next_xid, seconds);
            let found = (is_same(&archived, &last, false), is_same(&archived, &last, true));
            assert_eq!(found, (of_primary, of_standby), "{next_xid} {seconds}");
        }
    }
}
