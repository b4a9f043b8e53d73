//! Waiting for WAL to arrive in the archive.

use std::time::Duration;

use super::BackupError;
use crate::clock::{Deadline, wait};
use crate::pg::{Lsn, TimelineHistory, WalFileName, WalSegmentName, WalSegmentSize};
use crate::report::{Cancel, Reporter};
use crate::repository::WalArchive;

/// How long after the first look at the archive the second comes; the pause doubles from look to look.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest pause between two looks.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// After how long a person is told what is waited for.
const SAY_AFTER: Duration = Duration::from_secs(3);

/// Waits for segments.
pub(super) struct ArchiveWait<'a> {
    pub(super) archive: WalArchive<'a>,
    pub(super) size: WalSegmentSize,
    /// Counted from the last segment that arrived.
    pub(super) timeout: Duration,
    pub(super) cancel: Cancel,
}

impl ArchiveWait<'_> {
    /// Waits for the segment before the one that the backup starts in. A primary has just switched to a new segment, so a
    /// working archive_command stores the one before within moments. A standby starts from its last restartpoint, whose
    /// segment its primary has left, or will leave when it is full or `archive_timeout` has passed.
    pub(super) fn for_segment_before(
        &self,
        start: Lsn,
        history: &TimelineHistory,
        reporter: &dyn Reporter,
    ) -> Result<(), BackupError> {
        let own = WalSegmentName::containing(history.timeline(), start, self.size);
        let Some(before) = own.previous(self.size).filter(|name| name.start_lsn(self.size).is_some()) else {
            return Ok(());
        };
        let names: Vec<WalSegmentName> =
            std::iter::once(before).chain(history.parents().map(|timeline| before.with_timeline(timeline))).collect();
        self.for_any(&names, true, reporter, || Ok(self.archive.next_stored(&before)?.is_some()))
    }

    /// Waits for every segment from `start` to `stop`.
    pub(super) fn for_range(
        &self,
        start: Lsn,
        stop: Lsn,
        history: &TimelineHistory,
        reporter: &dyn Reporter,
    ) -> Result<(), BackupError> {
        if stop < start {
            return Err(BackupError::StopBeforeStart { start, stop });
        }
        for candidates in history.segment_names(start, stop, self.size) {
            self.for_any(&candidates.names, false, reporter, || Ok(false))?;
        }
        Ok(())
    }

    /// Waits until one of these segments is there, or something else proves that the archive works.
    fn for_any(
        &self,
        names: &[WalSegmentName],
        before_data: bool,
        reporter: &dyn Reporter,
        otherwise: impl Fn() -> Result<bool, BackupError>,
    ) -> Result<(), BackupError> {
        let Some(segment) = names.first().copied() else { return Ok(()) };
        let deadline = Deadline::after(self.timeout);
        let mut quiet = Some(Deadline::after(SAY_AFTER));
        let mut pause = FIRST_PAUSE;
        loop {
            for name in names {
                if self.archive.look_up(&WalFileName::Segment(*name))?.is_some() {
                    return Ok(());
                }
            }
            if otherwise()? {
                return Ok(());
            }
            if self.cancel.is_cancelled() {
                return Err(BackupError::Cancelled);
            }
            if deadline.has_passed() {
                return Err(BackupError::NotArchived { segment, timeout: self.timeout, before_data });
            }
            if quiet.as_ref().is_some_and(Deadline::has_passed) {
                quiet = None;
                reporter.step(&format!("waiting for WAL segment {segment} to arrive in the archive"));
            }
            wait(pause.min(deadline.remaining()));
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}
