//! Which objects are looked at, and what is seen on the way to them: left-overs, and which segments there are.

use std::collections::{BTreeMap, BTreeSet};

use super::Depth;
use super::catalog::Tree;
use super::left_overs::LeftOvers;
use super::objects::{ListedKey, ObjectWork};
use super::report::VerifyLeftOverKind;
use super::sample::Sampler;
use crate::pg::{TimelineId, WalFileName, WalSegmentSize};
use crate::repository::{
    ArchiveFacts, BackupId, BackupPart, ClusterRef, Repository, RepositoryError, StoredObject, WalArchive, WalRange,
};

/// Segments as ranges without holes, by timeline.
pub(super) type Ranges = BTreeMap<TimelineId, Vec<WalRange>>;

/// Chooses what is looked at among the keys, and keeps what is found out on the way.
pub(super) struct Chooser<'a> {
    trees: &'a [Tree],
    needed: BTreeMap<ClusterRef, BTreeSet<(BackupId, u32)>>,
    pub(super) sampler: Sampler,
    pub(super) left_overs: LeftOvers,
    pub(super) ranges: BTreeMap<ClusterRef, Ranges>,
    /// What could not be listed, with the folder that it is, or that was asked for.
    pub(super) errors: Vec<(String, RepositoryError)>,
}

/// The objects of the one backup that is asked for, but its packs.
pub(super) fn of_backup<'t>(
    repository: &'t Repository,
    tree: &'t Tree,
    depth: Depth,
) -> Box<dyn Iterator<Item = ObjectWork> + Send + 't> {
    let mut objects = vec![StoredObject::Identity(tree.cluster.clone())];
    let mut sampler = Sampler::new(depth);
    for backup in &tree.backups {
        let (cluster, record) = (&tree.cluster, &backup.record);
        let parts = [BackupPart::Begin, BackupPart::Record, BackupPart::Root, BackupPart::Needs];
        let documents = record.documents.iter().map(|document| BackupPart::Document(document.name.clone()));
        let part = |part| StoredObject::Backup { cluster: cluster.clone(), backup: record.id, part };
        objects.extend(parts.into_iter().chain(documents).map(part));
        let archive = WalArchive::new(repository, cluster);
        let Ok(facts) = ArchiveFacts::gather(&archive, record.wal_segment_size) else { continue };
        let name = WalFileName::TimelineHistory(record.stop_timeline);
        if record.stop_timeline != TimelineId::FIRST {
            objects.push(StoredObject::Wal { cluster: cluster.clone(), name });
        }
        let Some(path) = facts.history(record.stop_timeline) else { continue };
        for candidates in path.segment_names(record.start_lsn, record.stop_lsn, record.wal_segment_size) {
            let there = candidates.names.into_iter().find(|name| facts.contains(name));
            let wal = |name| StoredObject::Wal { cluster: cluster.clone(), name: WalFileName::Segment(name) };
            objects.extend(there.map(wal));
        }
    }
    let segment_size = tree.segment_size();
    Box::new(objects.into_iter().map(move |object| ObjectWork {
        is_whole: depth != Depth::Quick && (object.segment().is_none() || sampler.takes()),
        object,
        segment_size,
    }))
}

impl<'a> Chooser<'a> {
    pub(super) fn new(trees: &'a [Tree], sampler: Sampler) -> Self {
        let needed = |tree: &Tree| (tree.cluster.clone(), tree.needed_packs().into_keys().collect());
        Self {
            trees,
            needed: trees.iter().map(needed).collect(),
            sampler,
            left_overs: LeftOvers::default(),
            ranges: BTreeMap::new(),
            errors: Vec::new(),
        }
    }

    pub(super) fn choose(&mut self, (prefix, key): ListedKey) -> Option<ObjectWork> {
        let key = match key {
            Ok(key) => key,
            Err(error) => {
                let folder = error.unlistable_folder().unwrap_or(prefix.trim_end_matches('/')).to_owned();
                self.errors.push((folder, error));
                return None;
            }
        };
        let stray = |left_overs: &mut LeftOvers| left_overs.add(VerifyLeftOverKind::Stray, key.to_string());
        let Some(object) = StoredObject::of_key(&key) else {
            stray(&mut self.left_overs);
            return None;
        };
        let tree = object.cluster().and_then(|cluster| self.trees.iter().find(|tree| tree.cluster == *cluster));
        match (&object, tree) {
            (StoredObject::Description, _) => return None,
            (StoredObject::Pack { cluster, backup, ordinal }, Some(tree)) => {
                let needed = self.needed.get(cluster).is_some_and(|needed| needed.contains(&(*backup, *ordinal)));
                match (needed, tree.has_record_of(backup)) {
                    (true, _) => {}
                    // What it needs cannot be known while its record or its table of packs cannot be read.
                    (false, true) if tree.is_unknown(backup) => {
                        return Some(ObjectWork { is_whole: self.sampler.takes(), object, segment_size: None });
                    }
                    (false, true) => self.left_overs.add(VerifyLeftOverKind::UnneededPack, key.to_string()),
                    (false, false) => self.left_overs.of_unfinished(cluster, *backup),
                }
                return None;
            }
            (StoredObject::Backup { cluster, backup, part }, Some(tree)) => {
                if !tree.has_record_of(backup) && *part != BackupPart::Record {
                    self.left_overs.of_unfinished(cluster, *backup);
                    return None;
                }
                let is_known = match part {
                    BackupPart::Document(name) => tree.knows_document(backup, name),
                    _ => true,
                };
                if !is_known {
                    stray(&mut self.left_overs);
                    return None;
                }
            }
            _ => {}
        }
        let segment_size = tree.and_then(Tree::segment_size);
        if let (Some(segment), Some(tree), Some(size)) = (object.segment(), tree, segment_size) {
            let ranges = self.ranges.entry(tree.cluster.clone()).or_default();
            WalRange::extend(ranges.entry(segment.timeline()).or_default(), segment, size);
        }
        let is_content = object.segment().is_some();
        let is_whole = if is_content { self.sampler.takes() } else { self.sampler.reads_anything() };
        Some(ObjectWork { object, is_whole, segment_size })
    }
}

impl Tree {
    /// The size of its segments, as it is registered, else as a backup says.
    pub(super) fn segment_size(&self) -> Option<WalSegmentSize> {
        let of_backup = || self.backups.last().map(|backup| backup.record.wal_segment_size);
        self.identity.as_ref().map(|identity| identity.wal_segment_size).or_else(of_backup)
    }
}
