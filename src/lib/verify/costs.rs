//! From what is damaged to what that costs: gives each finding about a tree its costs.

use std::collections::{BTreeMap, BTreeSet};

use super::catalog::Tree;
use super::finding::{Cost, Findings, Subject};
use super::wal_costs::{BackupSpan, HoleCost, paths};
use crate::error::ErrorClass;
use crate::pg::{TimelineId, WalFileName, WalSegmentName};
use crate::repository::{ArchiveFacts, BackupId, BackupPart, StoredObject};

/// Which files of which backups are lost with which pack.
pub(super) type LostWithPacks = BTreeMap<(BackupId, u32), Vec<Cost>>;

/// What is known of a tree once everything was looked at.
pub(super) struct Judged<'a> {
    pub(super) tree: &'a Tree,
    /// Absent when no segment size is known.
    pub(super) archive: Option<&'a ArchiveFacts>,
    pub(super) lost_with_packs: &'a LostWithPacks,
    /// Whether the archive is looked at behind the backups' own WAL.
    pub(super) with_targets: bool,
}

impl Judged<'_> {
    /// Adds what is missing, and the costs of all. The backups that cannot be restored are returned.
    pub(super) fn judge(&self, findings: &mut Findings) -> BTreeSet<BackupId> {
        self.missing_histories(findings);
        let cluster = &self.tree.cluster;
        let mut lost = self.lost_without_wal(findings);
        let spans: Vec<BackupSpan> = self
            .tree
            .backups
            .iter()
            .map(|backup| BackupSpan::of(&backup.record, lost.contains(&backup.record.id)))
            .collect();
        let damaged = findings.damaged_segments(cluster);
        let mut of_segments: BTreeMap<WalSegmentName, Vec<Cost>> = BTreeMap::new();
        let mut with_backups: BTreeMap<BackupId, Vec<Cost>> = BTreeMap::new();
        if let Some(archive) = self.archive {
            let paths = paths(archive, &damaged, &spans);
            let mut missing: BTreeMap<WalSegmentName, (HoleCost, bool)> = BTreeMap::new();
            for hole in paths.iter().flat_map(|path| path.holes()) {
                let costs: Vec<Cost> = hole.costs.iter().filter(|cost| self.is_asked_for(cost)).cloned().collect();
                lost.extend(hole.costs.iter().filter_map(lost_backup));
                if costs.is_empty() && !self.with_targets {
                    continue;
                }
                for segment in &hole.damaged {
                    add_new(of_segments.entry(*segment).or_default(), costs.clone());
                }
                if (hole.damaged.len() as u64) < hole.count {
                    let known =
                        missing.entry(hole.first).or_insert_with(|| (HoleCost { costs: Vec::new(), ..hole }, true));
                    add_new(&mut known.0.costs, costs);
                }
            }
            for (hole, _) in missing.into_values() {
                self.add_missing(findings, hole);
            }
            if self.with_targets {
                for span in spans.iter().filter(|span| span.is_lost) {
                    let costs = paths.iter().filter_map(|path| path.targets_lost_with(span)).collect();
                    add_new(with_backups.entry(span.id).or_default(), costs);
                }
            }
        }
        for finding in findings.of_tree(cluster) {
            let mut costs = self.direct_costs(&finding.subject, &of_segments);
            let backups: Vec<BackupId> = costs.iter().filter_map(lost_backup).collect();
            for backup in backups {
                add_new(&mut costs, with_backups.get(&backup).cloned().unwrap_or_default());
            }
            if finding.costs.is_empty() || costs != [Cost::Unknown] {
                add_new(&mut finding.costs, costs);
            }
            if finding.subject == Subject::Identity {
                // Nothing of the tree can be chosen; what else is lost was judged without that.
                lost.extend(self.tree.backups.iter().map(|backup| backup.record.id));
            }
        }
        lost
    }

    fn is_asked_for(&self, cost: &Cost) -> bool {
        self.with_targets || matches!(cost, Cost::Backup { .. })
    }

    /// Backups that cannot be restored whatever WAL there is.
    fn lost_without_wal(&self, findings: &mut Findings) -> BTreeSet<BackupId> {
        let mut lost: BTreeSet<BackupId> = self.tree.unreadable.iter().copied().collect();
        let mut timelines = BTreeSet::new();
        for finding in findings.of_tree(&self.tree.cluster) {
            match &finding.subject {
                Subject::BackupPart(backup) => {
                    lost.insert(*backup);
                }
                Subject::History(timeline) => {
                    timelines.insert(*timeline);
                }
                _ => {}
            }
        }
        lost.extend(self.lost_with_packs.values().flatten().filter_map(lost_backup));
        let on_lost = self.tree.backups.iter().filter(|backup| timelines.contains(&backup.record.stop_timeline));
        lost.extend(on_lost.map(|backup| backup.record.id));
        lost
    }

    fn direct_costs(&self, subject: &Subject, of_segments: &BTreeMap<WalSegmentName, Vec<Cost>>) -> Vec<Cost> {
        let lost = |backup: BackupId| Cost::Backup { backup, files: None, named_files: Vec::new() };
        match subject {
            Subject::Identity => vec![Cost::Cluster],
            Subject::Spare(reason) => vec![Cost::Nothing { reason }],
            Subject::Begin(backup) if self.tree.has_record_of(backup) => {
                vec![Cost::Nothing { reason: "a restore does not read it" }]
            }
            Subject::Begin(backup) if self.tree.unfinished.contains_key(backup) => {
                vec![Cost::Nothing { reason: "the backup was never finished" }]
            }
            Subject::Begin(backup) => vec![Cost::Unlisted { backup: *backup }],
            Subject::BackupPart(backup) => vec![lost(*backup)],
            Subject::Pack(pack) => match self.lost_with_packs.get(&(pack.backup, pack.ordinal)) {
                Some(costs) if !costs.is_empty() => costs.clone(),
                _ if self.tree.is_unknown(&pack.backup) => vec![lost(pack.backup)],
                _ => vec![Cost::Nothing { reason: "no file of a backup lies in the damaged part" }],
            },
            Subject::Segment(segment) => match of_segments.get(segment) {
                Some(costs) if !costs.is_empty() => costs.clone(),
                _ => vec![Cost::Nothing { reason: "no backup depends on it" }],
            },
            Subject::History(timeline) => {
                let backups = self.tree.backups.iter().map(|backup| &backup.record);
                let on_it = backups.filter(|record| record.stop_timeline == *timeline);
                std::iter::once(Cost::Timeline { timeline: *timeline })
                    .chain(on_it.map(|record| lost(record.id)))
                    .collect()
            }
            Subject::MissingSegments => Vec::new(),
            Subject::Folder => vec![Cost::Unknown],
        }
    }

    /// A timeline can be followed only with its history.
    fn missing_histories(&self, findings: &mut Findings) {
        let Some(archive) = self.archive else { return };
        let of_backups = self.tree.backups.iter().map(|backup| backup.record.stop_timeline);
        let archived = archive.ranges.keys().copied().filter(|_| self.with_targets);
        let needed: BTreeSet<TimelineId> = archived.chain(of_backups).collect();
        let is_needed = |timeline: &TimelineId| self.with_targets || needed.contains(timeline);
        for timeline in needed.iter().copied() {
            let is_known = archive.history(timeline).is_some() || archive.unreadable_histories.contains_key(&timeline);
            if !is_known {
                let name = WalFileName::TimelineHistory(timeline);
                let object = StoredObject::Wal { cluster: self.tree.cluster.clone(), name };
                let problem = "it is missing, while there are segments or backups of its timeline".to_owned();
                if self.is_told(findings, &object) {
                    continue;
                }
                findings.add(&object, problem, ErrorClass::Corrupt);
            }
        }
        for (timeline, problem) in archive.unreadable_histories.iter().filter(|(timeline, _)| is_needed(timeline)) {
            let name = WalFileName::TimelineHistory(*timeline);
            let object = StoredObject::Wal { cluster: self.tree.cluster.clone(), name };
            if !self.is_told(findings, &object) {
                findings.add(&object, problem.clone(), ErrorClass::Corrupt);
            }
        }
    }

    /// Whether it is known already what is wrong with an object or with the folder that it lies in.
    fn is_told(&self, findings: &mut Findings, object: &StoredObject) -> bool {
        object.key().is_ok_and(|key| findings.covering(&self.tree.cluster, key.as_str()).is_some())
    }

    fn add_missing(&self, findings: &mut Findings, hole: HoleCost) {
        let (first, last) = (hole.first, hole.last);
        // What cannot be listed is not missing.
        let unlisted = self.archive.and_then(|archive| {
            archive.unlisted_around(&first).or_else(|| archive.unlisted_around(&last)).map(|unlisted| &unlisted.folder)
        });
        if let Some(finding) = unlisted.and_then(|folder| findings.covering(&self.tree.cluster, folder)) {
            return add_new(&mut finding.costs, hole.costs);
        }
        let name = match hole.count {
            1 => format!("WAL segment {first}"),
            _ => format!("WAL segments {first} to {last}"),
        };
        let problem = match (hole.count, hole.damaged.len()) {
            (1, _) => "it is missing".to_owned(),
            (count, 0) => format!("{count} of them are missing"),
            (count, damaged) => format!("{} of them are missing, {damaged} damaged", count - damaged as u64),
        };
        let cluster = &self.tree.cluster;
        findings.add_named(cluster, name.clone(), problem, ErrorClass::Corrupt, Subject::MissingSegments);
        if let Some(finding) = findings.of_tree(cluster).find(|finding| finding.object == name) {
            finding.costs = hole.costs;
        }
    }
}

fn lost_backup(cost: &Cost) -> Option<BackupId> {
    match cost {
        Cost::Backup { backup, .. } => Some(*backup),
        _ => None,
    }
}

/// Adds what is not there yet; a backup counts once, whatever files of it are lost.
fn add_new(costs: &mut Vec<Cost>, more: Vec<Cost>) {
    for cost in more {
        let is_known = costs.iter().any(|known| match lost_backup(&cost) {
            Some(backup) => lost_backup(known) == Some(backup),
            None => *known == cost,
        });
        if !is_known {
            costs.push(cost);
        }
    }
}

/// The object of a backup that holds its map.
pub(super) fn map_of(tree: &Tree, backup: BackupId) -> StoredObject {
    StoredObject::Backup { cluster: tree.cluster.clone(), backup, part: BackupPart::Root }
}
