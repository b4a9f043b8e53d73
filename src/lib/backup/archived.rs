//! Waiting for WAL to arrive in the archive.

use std::time::Duration;

use super::{BackupError, SAY_AFTER};
use crate::clock::{Deadline, wait};
use crate::pg::{Lsn, TimelineHistory, WalFileName, WalSegmentName, WalSegmentSize};
use crate::report::{Cancel, Reporter};
use crate::repository::WalArchive;

/// How long after the first look at the archive the second comes; the pause doubles from look to look.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest pause between two looks.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How long a segment may come after one that is behind it: archivers go by the order of names.
const PASSED_START_MAX: Duration = Duration::from_secs(10);

/// Waits for segments.
pub(super) struct ArchiveWait<'a> {
    pub(super) archive: WalArchive<'a>,
    pub(super) size: WalSegmentSize,
    /// Counted from the last segment that arrived.
    pub(super) timeout: Duration,
    /// Whether a standby is backed up: its primary archives.
    pub(super) of_standby: bool,
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
        match self.segments_before(start, history).as_slice() {
            [] => {}
            names @ [before, ..] => {
                self.for_any(names, true, reporter, || Ok(self.archive.next_stored(before)?.is_some()))?;
            }
        }
        if self.of_standby { self.refuse_passed_start(start, history) } else { Ok(()) }
    }

    /// The segment that a standby's backup starts in comes before all later ones. Where later ones are there, and it is not, it
    /// was deleted, as what no backup needs is, or never archived: all data would be read in vain.
    fn refuse_passed_start(&self, start: Lsn, history: &TimelineHistory) -> Result<(), BackupError> {
        let own = WalSegmentName::containing(history.timeline(), start, self.size);
        let names: Vec<WalSegmentName> =
            std::iter::once(own).chain(history.parents().map(|timeline| own.with_timeline(timeline))).collect();
        let deadline = Deadline::after(PASSED_START_MAX.min(self.timeout));
        while let Some(later) = self.archive.next_stored(&own)? {
            if self.has_any(&names)? {
                break;
            }
            if self.cancel.is_cancelled() {
                return Err(BackupError::Cancelled);
            }
            if deadline.has_passed() {
                return Err(BackupError::StartNotArchived { segment: own, later });
            }
            wait(LONGEST_PAUSE.min(deadline.remaining()));
        }
        Ok(())
    }

    /// Whether that segment is there at this moment.
    pub(super) fn has_segment_before(&self, start: Lsn, history: &TimelineHistory) -> Result<bool, BackupError> {
        self.has_any(&self.segments_before(start, history))
    }

    /// Waits for the segment that the backup starts in, which was ended early so that something is archived.
    pub(super) fn for_segment_of(
        &self,
        start: Lsn,
        history: &TimelineHistory,
        reporter: &dyn Reporter,
    ) -> Result<(), BackupError> {
        let own = WalSegmentName::containing(history.timeline(), start, self.size);
        self.for_any(&[own], true, reporter, || Ok(false))
    }

    /// What the segment before the start may be called; nothing where there is none.
    fn segments_before(&self, start: Lsn, history: &TimelineHistory) -> Vec<WalSegmentName> {
        let own = WalSegmentName::containing(history.timeline(), start, self.size);
        match own.previous(self.size).filter(|name| name.start_lsn(self.size).is_some()) {
            Some(before) => {
                let of_parents = history.parents().map(|timeline| before.with_timeline(timeline));
                std::iter::once(before).chain(of_parents).collect()
            }
            None => Vec::new(),
        }
    }

    fn has_any(&self, names: &[WalSegmentName]) -> Result<bool, BackupError> {
        for name in names {
            if self.archive.look_up(&WalFileName::Segment(*name))?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
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
            if self.has_any(names)? || otherwise()? {
                return Ok(());
            }
            if self.cancel.is_cancelled() {
                return Err(BackupError::Cancelled);
            }
            if deadline.has_passed() {
                let (timeout, of_standby) = (self.timeout, self.of_standby);
                return Err(BackupError::NotArchived { segment, timeout, before_data, of_standby });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::CompressionLevel;
    use crate::error::{Classified as _, ErrorClass};
    use crate::pg::TimelineId;
    use crate::report::CollectingReporter;
    use crate::repository::WalFileContent;
    use crate::repository::testing::{self, TestRepository};

    const SIZE: u64 = 16 << 20;

    fn size() -> WalSegmentSize {
        WalSegmentSize::new(SIZE).unwrap()
    }

    fn wait_for(test: &TestRepository, of_standby: bool) -> ArchiveWait<'_> {
        let archive = WalArchive::new(&test.repository, &test.cluster);
        let timeout = Duration::from_millis(30);
        ArchiveWait { archive, size: size(), timeout, of_standby, cancel: Cancel::new() }
    }

    fn lsn(segment: u64) -> Lsn {
        Lsn::new(segment * SIZE + 0x28).unwrap()
    }

    fn store(test: &TestRepository, number: u64) {
        let name = WalFileName::Segment(WalSegmentName::from_number(TimelineId::FIRST, number, size()).unwrap());
        let archive = WalArchive::new(&test.repository, &test.cluster);
        archive.store(&name, WalFileContent::Whole(b"x"), CompressionLevel::DEFAULT, &test.writer).unwrap();
    }

    #[test]
    fn wal_that_never_comes_ends_a_backup_with_who_has_to_archive_it() {
        let test = testing::repository_in_memory();
        let (history, reporter) = (TimelineHistory::first(), CollectingReporter::default());
        for (of_standby, before, behind) in [
            (false, "archiving does not work", "the backup cannot be used without it"),
            (true, "the primary of this standby has to archive it", "the primary of this standby has to archive it"),
        ] {
            let wait = wait_for(&test, of_standby);
            let error = wait.for_segment_before(lsn(5), &history, &reporter).unwrap_err();
            let name = "000000010000000000000004";
            assert_eq!(
                error.to_string(),
                format!("WAL segment \"{name}\" did not arrive in the archive within 0 s: {before}")
            );
            assert_eq!(error.class(), ErrorClass::TimedOut);
            let error = wait.for_range(lsn(5), lsn(6), &history, &reporter).unwrap_err();
            assert!(error.to_string().ends_with(behind), "{error}");
        }
    }

    /// The archive of a standby may begin at its restartpoint, and goes on while it is backed up.
    #[test]
    fn a_later_segment_proves_that_the_archive_works() {
        let test = testing::repository_in_memory();
        let (history, reporter) = (TimelineHistory::first(), CollectingReporter::default());
        let wait = wait_for(&test, true);
        store(&test, 5);
        wait.for_segment_before(lsn(5), &history, &reporter).unwrap();
        // Of the backup's own segments each is needed.
        let error = wait.for_range(lsn(5), lsn(6), &history, &reporter).unwrap_err();
        assert!(error.to_string().contains("\"000000010000000000000006\""), "{error}");
        store(&test, 6);
        wait.for_range(lsn(5), lsn(6), &history, &reporter).unwrap();
    }

    /// What a standby's backup starts in was deleted, and a restartpoint is far behind: nothing is read for it.
    #[test]
    fn a_start_that_the_archive_has_passed_is_refused_before_data() {
        let test = testing::repository_in_memory();
        let (history, reporter) = (TimelineHistory::first(), CollectingReporter::default());
        let standby = wait_for(&test, true);
        for number in [7, 8] {
            store(&test, number);
        }
        let error = standby.for_segment_before(lsn(5), &history, &reporter).unwrap_err();
        let (own, later) = ("\"000000010000000000000005\"", "\"000000010000000000000007\"");
        assert!(error.to_string().contains(own) && error.to_string().contains(later), "{error}");
        assert_eq!(error.class(), ErrorClass::Unavailable);
        // A primary's is the one that it is writing.
        wait_for(&test, false).for_segment_before(lsn(5), &history, &reporter).unwrap();
        store(&test, 5);
        standby.for_segment_before(lsn(5), &history, &reporter).unwrap();
    }

    #[test]
    fn a_signal_ends_the_wait() {
        let test = testing::repository_in_memory();
        let wait = wait_for(&test, false);
        wait.cancel.cancel();
        let error = wait.for_range(lsn(5), lsn(6), &TimelineHistory::first(), &CollectingReporter::default());
        assert!(matches!(error, Err(BackupError::Cancelled)), "{error:?}");
    }
}
