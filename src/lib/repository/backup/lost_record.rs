//! Backups whose record was lost, alone or with all their folder. Where all else is there, nothing tells them from those
//! that were never finished but what is known of the time.
//!
//! A writer stores `root` and `needs` when all data is there and its WAL is in the archive, and `record` right behind them.

use std::time::Duration;

use jiff::Timestamp;

use super::catalog::BackupObjects;
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

/// What a record is that is not there, and that is not to come either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MissingRecord {
    /// A later backup names this one, or it is the newest and would have got one by now: damage.
    Lost,
    /// All else is there, and a backup that began later does not name this one: it was killed at its last step, or it lost
    /// its record before that one began.
    Unclear,
}

/// The listed backups of a tree.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ListedRecords<'a> {
    /// Their records, as far as they can be read.
    pub(crate) records: &'a [&'a BackupRecord],
    /// When the last of them began, by the store's clock.
    pub(crate) last_began: Option<Timestamp>,
}

impl Recordless {
    /// What became of its record; nothing when that may be to come, or never was.
    pub(crate) fn missing(&self, listed: ListedRecords<'_>, now: Timestamp) -> Option<MissingRecord> {
        if self.is_named(listed) {
            return Some(MissingRecord::Lost);
        }
        let last_stored = self.last_stored?;
        let is_silent = Duration::try_from(now.duration_since(last_stored)).is_ok_and(|it| it >= SILENT_AFTER);
        let is_passed = listed.last_began.is_some_and(|began| began > last_stored);
        let missing = if is_passed { MissingRecord::Unclear } else { MissingRecord::Lost };
        (self.has_all_else && !self.is_given_up && is_silent).then_some(missing)
    }

    /// Whether a record of another backup names it, which only one that was listed is.
    pub(crate) fn is_named(&self, listed: ListedRecords<'_>) -> bool {
        listed.records.iter().any(|record| {
            let previous = record.previous.as_ref().map(|previous| previous.id);
            previous == Some(self.id) || record.parents.contains(&self.id)
        })
    }
}

/// The backups without a record that is not to come.
#[derive(Debug, Default)]
pub(crate) struct MissingRecords {
    /// Those that had one, each with the damage that this is.
    pub(crate) lost: Vec<(BackupId, RepositoryError)>,
    /// Those that had one or were killed at their last step.
    pub(crate) unclear: Vec<BackupId>,
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

    /// Whether the first object of a backup is there, asked for by its name: a listing may be older.
    pub(crate) fn has_begun(&self, cluster: &ClusterRef, id: &BackupId) -> Result<bool, RepositoryError> {
        Ok(self.stored_time(&self.backup_object_key(cluster, id, layout::BEGIN)?)?.is_some())
    }

    /// When the last of these backups began, by the store's clock, which is that of what they are compared with.
    pub(crate) fn last_began(
        &self,
        cluster: &ClusterRef,
        records: &[&BackupRecord],
    ) -> Result<Option<Timestamp>, RepositoryError> {
        let mut last = None;
        for record in records {
            last = last.max(self.stored_time(&self.backup_object_key(cluster, &record.id, layout::BEGIN)?)?);
        }
        Ok(last)
    }

    /// The backups whose record is missing. `records` are those that can be read.
    pub(crate) fn missing_records(
        &self,
        cluster: &ClusterRef,
        records: &[&BackupRecord],
        now: Timestamp,
    ) -> Result<MissingRecords, RepositoryError> {
        // ORDER: a folder is there before packs are.
        let with_packs = self.folders(&layout::packs(cluster))?;
        let mut missing = MissingRecords::default();
        let BackupObjects { backups: mut folders, hidden } = self.backup_objects(cluster)?;
        let is_there = |id: &BackupId| folders.contains_key(id) || hidden.iter().any(|(hidden, _)| hidden == id);
        let with_packs = with_packs.iter().filter_map(|name| name.parse::<BackupId>().ok());
        for id in with_packs.filter(|id| !is_there(id)).collect::<Vec<_>>() {
            // It goes after them, so both may have gone since; or it has come.
            if !self.has_begun(cluster, &id)? && !self.packs_of(cluster, &id)?.is_empty() {
                let problem = "it is missing with all else of the backup, while packs of that are there";
                missing.lost.push((id, self.record_damage(cluster, &id, problem)?));
            }
        }
        folders.retain(|_, folder| folder.state.is_unfinished());
        if folders.is_empty() {
            return Ok(missing);
        }
        let listed = ListedRecords { records, last_began: self.last_began(cluster, records)? };
        for (id, folder) in folders {
            let recordless = Recordless {
                id,
                has_all_else: folder.has_all_but_record(),
                is_given_up: folder.state.suspect,
                last_stored: self.last_stored(cluster, &id, &folder)?,
            };
            let Some(kind) = recordless.missing(listed, now) else { continue };
            // Its record may have come, or it may have gone, since its folder was listed.
            if !self.backup_state(cluster, &id)?.is_unfinished() {
                continue;
            }
            let problem = match (kind, recordless.is_named(listed)) {
                (MissingRecord::Unclear, _) => {
                    missing.unclear.push(id);
                    continue;
                }
                (MissingRecord::Lost, true) => "it is missing, while a later backup names it",
                (MissingRecord::Lost, false) => {
                    "it is missing, while all else of the backup is there: it was lost, or the backup was killed before \
                     it was listed"
                }
            };
            missing.lost.push((id, self.record_damage(cluster, &id, problem)?));
        }
        Ok(missing)
    }

    fn record_damage(
        &self,
        cluster: &ClusterRef,
        id: &BackupId,
        problem: &str,
    ) -> Result<RepositoryError, RepositoryError> {
        Ok(self.damaged(&self.record_key(cluster, id)?, Damage::Invalid { problem: problem.to_owned() }))
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
        // The server's clock decides nothing: it is days ahead of the store's.
        let unnamed = BackupRecord { start_time: time("2026-11-25T00:00:00Z"), ..bare_record(id(2)) };
        let mac = crate::codec::ContentDigest::from_bytes([0; 32]);
        let naming = BackupRecord { previous: Some(PreviousRecord { id: id(1), mac }), ..unnamed.clone() };
        let recent = Some(time("2026-11-21T22:00:00Z"));
        let old = Some(time("2026-11-20T23:00:00Z"));
        let (before, behind) = (Some(time("2026-11-20T20:00:00Z")), Some(time("2026-11-21T22:30:00Z")));
        let (lost, unclear) = (Some(MissingRecord::Lost), Some(MissingRecord::Unclear));
        // all else is there, given up, last stored, a listed backup and when it began: what became of its record?
        for (has_all_else, is_given_up, last_stored, listed, last_began, expected) in [
            (true, false, recent, &unnamed, before, None),
            (true, false, old, &unnamed, before, lost),
            (true, false, old, &unnamed, None, lost),
            (true, false, recent, &unnamed, behind, None),
            (true, false, old, &unnamed, behind, unclear),
            (true, true, old, &unnamed, behind, None),
            (false, false, old, &unnamed, behind, None),
            (false, true, recent, &naming, behind, lost),
            (true, false, None, &unnamed, behind, None),
        ] {
            let recordless = Recordless { id: id(1), has_all_else, is_given_up, last_stored };
            let listed = ListedRecords { records: &[listed], last_began };
            assert_eq!(recordless.missing(listed, now), expected, "{recordless:?}, {last_began:?}");
        }
    }
}
