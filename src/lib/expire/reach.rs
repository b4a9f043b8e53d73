//! What can no longer be reached once backups are gone: pure.
//!
//! Along each path of timelines, a backup reaches from where it is consistent to the first hole of the archive behind it.

use jiff::Timestamp;
use serde::Serialize;

use super::facts::TreeFacts;
use super::rules::{is_good, is_on};
use crate::pg::{Lsn, TimelineHistory, TimelineId};
use crate::repository::{BackupId, BackupRecord};

/// Targets that are lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LostTargets {
    /// On this timeline.
    pub timeline: TimelineId,
    /// From here on.
    pub from_lsn: Lsn,
    /// When that was, by the server's clock.
    pub from_time: Option<Timestamp>,
    /// Up to here.
    pub to_lsn: Lsn,
    /// When that was, by the server's clock; where nothing of the timeline is left, at the latest.
    pub to_time: Option<Timestamp>,
    /// The backup from which on targets are reached again; nothing when none are.
    pub then: Option<BackupId>,
}

/// What one backup reaches along a path.
struct Stretch<'a> {
    record: &'a BackupRecord,
    to: Lsn,
    to_time: Option<Timestamp>,
}

/// The targets that are reached today and will not be.
pub(super) fn lost(facts: &TreeFacts, is_kept: impl Fn(&BackupId) -> bool) -> Vec<LostTargets> {
    let mut lost = Vec::new();
    for timeline in facts.archive.timelines() {
        if let Some(path) = facts.archive.history(timeline) {
            lost.extend(lost_along(facts, &path, &is_kept));
        }
    }
    lost
}

fn lost_along(facts: &TreeFacts, path: &TimelineHistory, is_kept: &impl Fn(&BackupId) -> bool) -> Vec<LostTargets> {
    let fork = path.parents().next_back().and_then(|parent| path.end_of(parent));
    let mut stretches: Vec<Stretch<'_>> = Vec::new();
    for backup in &facts.listed {
        let record = &backup.record;
        if is_on(record, path) && is_good(facts, backup) {
            let coverage = facts.archive.coverage(path, record.start_lsn, None);
            let to = coverage.end_lsn.max(record.stop_lsn);
            stretches.push(Stretch { record, to, to_time: coverage.end_time });
        }
    }
    stretches.sort_by_key(|stretch| (stretch.record.stop_lsn, stretch.record.sequence));
    // Where the next kept one begins to reach, targets are lost no more.
    let kept: Vec<&Stretch<'_>> = stretches.iter().filter(|stretch| is_kept(&stretch.record.id)).collect();
    let is_kept_at = |lsn: Lsn| kept.iter().filter(|one| one.record.stop_lsn <= lsn).map(|one| one.to).max();
    let mut lost: Vec<LostTargets> = Vec::new();
    for gone in stretches.iter().filter(|stretch| !is_kept(&stretch.record.id)) {
        let stop = gone.record.stop_lsn;
        let told = stop.max(fork.unwrap_or(stop)).max(lost.last().map_or(stop, |earlier| earlier.to_lsn));
        let from = told.max(is_kept_at(told).unwrap_or(told));
        let next = kept.iter().find(|one| one.record.stop_lsn > from);
        let to = next.map_or(gone.to, |next| next.record.stop_lsn.min(gone.to));
        if from < to {
            let is_own_begin = from == stop;
            let then = next.filter(|next| next.record.stop_lsn == to);
            let to_time = then.map_or(gone.to_time, |next| Some(next.record.stop_time));
            let from_time = is_own_begin.then_some(gone.record.stop_time);
            let then = then.map(|next| next.record.id);
            lost.push(LostTargets { timeline: path.timeline(), from_lsn: from, from_time, to_lsn: to, to_time, then });
        }
    }
    merged(lost)
}

/// Stretches that touch are one.
fn merged(lost: Vec<LostTargets>) -> Vec<LostTargets> {
    let mut merged: Vec<LostTargets> = Vec::new();
    for one in lost {
        match merged.last_mut() {
            Some(last) if last.to_lsn == one.from_lsn && last.then.is_none() => {
                (last.to_lsn, last.to_time, last.then) = (one.to_lsn, one.to_time, one.then);
            }
            _ => merged.push(one),
        }
    }
    merged
}
