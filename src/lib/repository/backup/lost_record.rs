//! Backups whose record was lost: all else of them is there, and nothing would tell them from those that were never
//! finished but what is known of the time.
//!
//! A writer stores `root` and `needs` when all data is there, then waits for its WAL, and stores `record` last.

use std::time::Duration;

use jiff::Timestamp;

use super::record::BackupRecord;
use super::{BackupFolder, BackupId};
use crate::repository::error::{Damage, RepositoryError};
use crate::repository::{ClusterRef, Repository, layout};

/// How long nothing of a backup without a record is stored before it is taken for one that is not running, by the store's
/// clock: longer than the slowest writer needs for the largest object.
pub(crate) const SILENT_AFTER: Duration = Duration::from_secs(24 * 3600);

/// What there is of a backup without a record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recordless {
    pub(crate) id: BackupId,
    /// Whether `root` and `needs` are there, behind which nothing but the record comes.
    pub(crate) has_all_else: bool,
    /// Its writer, or somebody who took that for dead, has said that it will not be finished.
    pub(crate) is_given_up: bool,
    /// When the last of its objects was stored, by the store's clock; nothing when that is not known.
    pub(crate) last_stored: Option<Timestamp>,
}

impl Recordless {
    /// Whether it had a record, or would have got one by now. One that a later backup was begun without, and with nothing
    /// heard of it since, was killed before it was listed.
    pub(crate) fn had_record<'a>(
        &self,
        records: impl IntoIterator<Item = &'a BackupRecord> + Clone,
        now: Timestamp,
    ) -> bool {
        if self.is_named(records.clone()) {
            return true;
        }
        let Some(last_stored) = self.last_stored else { return false };
        let is_silent = Duration::try_from(now.duration_since(last_stored)).is_ok_and(|it| it >= SILENT_AFTER);
        let is_passed = records.into_iter().any(|record| record.start_time > last_stored);
        self.has_all_else && !self.is_given_up && is_silent && !is_passed
    }

    /// Whether a record of another backup names it, which only one that was listed is.
    pub(crate) fn is_named<'a>(&self, records: impl IntoIterator<Item = &'a BackupRecord>) -> bool {
        records.into_iter().any(|record| {
            let previous = record.previous.as_ref().map(|previous| previous.id);
            previous == Some(self.id) || record.parents.contains(&self.id)
        })
    }
}

impl BackupFolder {
    /// Whether nothing but the record is to come.
    pub(crate) fn has_all_but_record(&self) -> bool {
        [layout::ROOT, layout::NEEDS].iter().all(|wanted| self.objects.iter().any(|object| object == wanted))
    }
}

impl Repository {
    /// When the last object of a backup was stored, by the store's clock.
    pub(crate) fn last_stored(
        &self,
        cluster: &ClusterRef,
        id: &BackupId,
        folder: &BackupFolder,
    ) -> Result<Option<Timestamp>, RepositoryError> {
        let mut last = None;
        for object in &folder.objects {
            last = last.max(self.stored_time(&self.backup_object_key(cluster, id, object)?)?);
        }
        for key in &self.packs_of(cluster, id)? {
            last = last.max(self.stored_time(key)?);
        }
        Ok(last)
    }

    /// The backups whose record is missing, each with the damage that this is. `records` are those that can be read.
    pub(crate) fn lost_records(
        &self,
        cluster: &ClusterRef,
        records: &[&BackupRecord],
        now: Timestamp,
    ) -> Result<Vec<(BackupId, RepositoryError)>, RepositoryError> {
        let mut lost = Vec::new();
        for (id, folder) in self.backup_folders_readable(cluster)? {
            if !folder.state.is_unfinished() {
                continue;
            }
            let recordless = Recordless {
                id,
                has_all_else: folder.has_all_but_record(),
                is_given_up: folder.state.suspect,
                last_stored: self.last_stored(cluster, &id, &folder)?,
            };
            // Its record may have come, or it may have gone, since its folder was listed.
            if recordless.had_record(records.iter().copied(), now) && self.backup_state(cluster, &id)?.is_unfinished() {
                let problem = match recordless.is_named(records.iter().copied()) {
                    true => "it is missing, while a later backup names it",
                    false => {
                        "it is missing, while all else of the backup is there: it was lost, or the backup was killed before \
                         it was listed"
                    }
                };
                let damage = Damage::Invalid { problem: problem.to_owned() };
                lost.push((id, self.damaged(&self.record_key(cluster, &id)?, damage)));
            }
        }
        Ok(lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::backup::record::PreviousRecord;
    use crate::repository::backup_testing::bare_record;

    fn id(number: u32) -> BackupId {
        format!("20261121T143000Z-{number:08x}").parse().unwrap()
    }

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_record_that_is_to_come_is_told_from_one_that_was_lost() {
        let now = time("2026-11-22T00:00:00Z");
        let record = |start: &str| BackupRecord { start_time: time(start), previous: None, ..bare_record(id(2)) };
        let earlier = record("2026-11-21T20:00:00Z");
        let later = record("2026-11-21T22:30:00Z");
        let mac = crate::codec::ContentDigest::from_bytes([0; 32]);
        let naming = BackupRecord { previous: Some(PreviousRecord { id: id(1), mac }), ..earlier.clone() };
        let recent = Some(time("2026-11-21T22:00:00Z"));
        let old = Some(time("2026-11-20T23:00:00Z"));
        // all else is there, given up, last stored, a listed backup: had it a record?
        for (has_all_else, is_given_up, last_stored, listed, expected) in [
            (true, false, recent, &earlier, false),
            (true, false, old, &record("2026-11-20T20:00:00Z"), true),
            (true, false, recent, &later, false),
            (true, false, old, &later, false),
            (true, true, old, &later, false),
            (false, false, old, &later, false),
            (false, true, recent, &naming, true),
            (true, false, None, &later, false),
        ] {
            let recordless = Recordless { id: id(1), has_all_else, is_given_up, last_stored };
            assert_eq!(recordless.had_record([listed], now), expected, "{recordless:?}");
        }
    }
}
