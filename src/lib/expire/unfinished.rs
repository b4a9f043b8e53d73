//! What becomes of backups without a record: pure.
//!
//! INVARIANT: one that had a record stays, and one that may have had stays for days: with the record back it restores.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::facts::{TreeFacts, UnfinishedFacts};
use super::plan::WalKept;
use crate::repository::{BackupId, BackupRecord, ListedRecords, MissingRecord, Recordless, SILENT_AFTER};

/// How long a backup stays that was killed at its last step or lost its record, from its last object on.
const HELD_FOR: Duration = Duration::from_secs(7 * 86_400);

/// A backup that was begun and has no record.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedUnfinished {
    /// Its id.
    pub id: BackupId,
    /// The host that took it.
    pub host: String,
    /// When it began, by that host's clock.
    pub began: Timestamp,
    /// When the last of its objects was stored, by the store's clock.
    pub last_stored: Timestamp,
    /// Whether it will never be finished: its writer has said so, or an earlier run took it for dead.
    pub given_up: bool,
    /// Whether it had a record that is missing: damage, and no left-over.
    pub record_missing: bool,
    /// Whether it is whole but for its record, and was killed at its last step or lost it.
    pub record_unclear: bool,
    /// Of such a one, how long it stays, so that its record can be put back.
    pub stays_until: Option<Timestamp>,
    /// Whether it goes: it was given up, or is silent for long, nobody refers to it, and its record is not missing.
    pub goes: bool,
}

impl PlannedUnfinished {
    /// Why no WAL goes while it is there: what it needs of that is not known.
    pub(super) fn keeps_wal(&self) -> WalKept {
        match self.record_missing || self.record_unclear {
            true => WalKept::Recordless { backup: self.id },
            false => WalKept::Running { backup: self.id },
        }
    }
}

/// The first backup without a record that a listed backup names: it had one.
pub(super) fn lost_record(facts: &TreeFacts) -> Option<BackupId> {
    let records = records(facts);
    let listed = ListedRecords { records: &records, last_began: facts.last_began };
    facts.unfinished.iter().find(|backup| recordless(backup).is_named(listed)).map(|backup| backup.id)
}

/// What becomes of each.
pub(super) fn planned(facts: &TreeFacts, now: Timestamp) -> Vec<PlannedUnfinished> {
    let records = records(facts);
    let listed = ListedRecords { records: &records, last_began: facts.last_began };
    let planned = |backup: &UnfinishedFacts| {
        let silent = Duration::try_from(now.duration_since(backup.last_stored)).unwrap_or_default();
        let is_parent = facts.unfinished.iter().any(|other| other.parents.contains(&backup.id));
        let missing = recordless(backup).missing(listed, now);
        let is_over = match missing {
            Some(MissingRecord::Lost) => false,
            Some(MissingRecord::Unclear) => silent >= HELD_FOR,
            None => backup.is_given_up || silent >= SILENT_AFTER,
        };
        let record_unclear = missing == Some(MissingRecord::Unclear);
        PlannedUnfinished {
            id: backup.id,
            host: backup.host.clone(),
            began: backup.began,
            last_stored: backup.last_stored,
            given_up: backup.is_given_up,
            record_missing: missing == Some(MissingRecord::Lost),
            record_unclear,
            stays_until: record_unclear.then(|| backup.last_stored.checked_add(HELD_FOR).ok()).flatten(),
            goes: is_over && !backup.is_pinned && !is_parent,
        }
    };
    facts.unfinished.iter().map(planned).collect()
}

fn records(facts: &TreeFacts) -> Vec<&BackupRecord> {
    facts.listed.iter().map(|listed| &listed.record).collect()
}

fn recordless(backup: &UnfinishedFacts) -> Recordless {
    Recordless {
        id: backup.id,
        has_all_else: backup.has_all_else,
        is_given_up: backup.is_given_up,
        last_stored: Some(backup.last_stored),
    }
}
