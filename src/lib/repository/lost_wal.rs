//! What the records of backups prove of WAL that is not there.

use super::backup::{BackupId, BackupRecord};
use super::error::RepositoryError;
use super::wal::WalArchive;
use crate::pg::{WalFileName, WalSegmentName, WalSegmentSize};

/// WAL that was in the archive once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostWal {
    /// What was looked for: this backup's own WAL reaches up to it or beyond.
    BehindBackup(BackupId),
    /// The segment in which the newest backup ends; so other WAL is gone, too, and no absence is proven.
    OfNewestBackup(BackupId, WalSegmentName),
}

impl WalArchive<'_> {
    /// What the listed backups prove to be lost when no file follows one that is not there: a record is stored only when
    /// its WAL is. Records that cannot be read prove nothing.
    pub fn lost_wal(
        &self,
        segment: Option<&WalSegmentName>,
        size: WalSegmentSize,
    ) -> Result<Option<LostWal>, RepositoryError> {
        let records = self.backup_records()?;
        if let Some(backup) = segment.and_then(|segment| backup_behind(&records, segment, size)) {
            return Ok(Some(LostWal::BehindBackup(backup)));
        }
        let newest = records.last().map(|newest| self.end_without_wal(newest)).transpose()?.flatten();
        Ok(newest.map(|(backup, last)| LostWal::OfNewestBackup(backup, last)))
    }

    /// A backup, when the segment in which it ends is gone: what is expired is never the WAL of a listed backup.
    fn end_without_wal(&self, backup: &BackupRecord) -> Result<Option<(BackupId, WalSegmentName)>, RepositoryError> {
        let size = backup.wal_segment_size;
        let last = WalSegmentName::containing_previous_byte(backup.stop_timeline, backup.stop_lsn, size);
        // What was written before a fork may be there on a parent alone.
        let timelines = self.timelines()?.into_iter().filter(|timeline| *timeline < backup.stop_timeline);
        for timeline in std::iter::once(backup.stop_timeline).chain(timelines) {
            if self.look_up(&WalFileName::Segment(last.with_timeline(timeline)))?.is_some() {
                return Ok(None);
            }
        }
        Ok(Some((backup.id, last)))
    }
}

/// A backup whose own WAL reaches up to or beyond that segment.
fn backup_behind(records: &[BackupRecord], segment: &WalSegmentName, size: WalSegmentSize) -> Option<BackupId> {
    let number = segment.number(size)?;
    let reaches = |record: &&BackupRecord| {
        let last = WalSegmentName::containing_previous_byte(record.stop_timeline, record.stop_lsn, size);
        record.stop_timeline == segment.timeline() && last.number(size).is_some_and(|last| number <= last)
    };
    records.iter().find(reaches).map(|record| record.id)
}
