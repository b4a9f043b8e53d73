//! What becomes of backups without a record: pure.
//!
//! INVARIANT: one that had a record stays, for with the record back it restores.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::facts::{TreeFacts, UnfinishedFacts};
use crate::repository::{BackupId, BackupRecord, Recordless, SILENT_AFTER};

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
    /// Whether it goes: it was given up, or is silent for long, nobody refers to it, and its record is not missing.
    pub goes: bool,
}

/// A backup that had a record, which is missing.
#[derive(Debug, Clone, Copy)]
pub(super) struct LostRecord {
    pub(super) backup: BackupId,
    /// Whether a listed backup names it.
    pub(super) is_named: bool,
}

impl LostRecord {
    /// The first of them.
    pub(super) fn first(facts: &TreeFacts, planned: &[PlannedUnfinished]) -> Option<Self> {
        let lost = planned.iter().find(|backup| backup.record_missing)?;
        let is_it = |backup: &&UnfinishedFacts| backup.id == lost.id;
        let is_named =
            facts.unfinished.iter().find(is_it).is_some_and(|backup| recordless(backup).is_named(records(facts)));
        Some(Self { backup: lost.id, is_named })
    }
}

/// What becomes of each.
pub(super) fn planned(facts: &TreeFacts, now: Timestamp) -> Vec<PlannedUnfinished> {
    let planned = |backup: &UnfinishedFacts| {
        let silent = Duration::try_from(now.duration_since(backup.last_stored)).unwrap_or_default();
        let is_parent = facts.unfinished.iter().any(|other| other.parents.contains(&backup.id));
        let is_over = backup.is_given_up || silent >= SILENT_AFTER;
        let record_missing = recordless(backup).had_record(records(facts), now);
        PlannedUnfinished {
            id: backup.id,
            host: backup.host.clone(),
            began: backup.began,
            last_stored: backup.last_stored,
            given_up: backup.is_given_up,
            record_missing,
            goes: is_over && !record_missing && !backup.is_pinned && !is_parent,
        }
    };
    facts.unfinished.iter().map(planned).collect()
}

fn records(facts: &TreeFacts) -> impl Iterator<Item = &BackupRecord> + Clone {
    facts.listed.iter().map(|listed| &listed.record)
}

fn recordless(backup: &UnfinishedFacts) -> Recordless {
    Recordless {
        id: backup.id,
        has_all_else: backup.has_all_else,
        is_given_up: backup.is_given_up,
        last_stored: Some(backup.last_stored),
    }
}
