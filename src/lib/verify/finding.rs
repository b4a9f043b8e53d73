//! What is wrong with an object, and what that costs: pure values.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use jiff::Timestamp;
use serde::Serialize;

use super::catalog::Tree;
use crate::error::{Classified, ErrorClass, chain};
use crate::fs::FileError;
use crate::pg::{Lsn, SystemIdentifier, TimelineId, WalSegmentName};
use crate::repository::{BackupId, BackupPart, ClusterName, ClusterRef, RepositoryError, StoredObject};
use crate::store::StoreError;

/// LIMIT: damaged objects that are kept with all that is known of them; the others are counted.
const FINDINGS_MAX: usize = 10_000;

/// An object that is damaged, missing or cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The cluster that it belongs to.
    pub cluster: Option<ClusterName>,
    /// That cluster's system identifier.
    pub system_identifier: Option<SystemIdentifier>,
    /// Its key, or for what is missing the name that it should have.
    pub object: String,
    /// What is wrong with it; the first thing that was found.
    pub problem: String,
    /// How many more things are wrong with it.
    pub further: u64,
    /// What that costs.
    pub costs: Vec<Cost>,
    /// The kind of failure.
    #[serde(skip)]
    pub class: ErrorClass,
    /// What it is, for finding out the cost.
    #[serde(skip)]
    pub(super) subject: Subject,
}

/// What damage costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Cost {
    /// A backup cannot be restored.
    Backup {
        /// Which one.
        backup: BackupId,
        /// How many of its files are lost, when it is files that are lost.
        files: Option<u64>,
        /// Some of them.
        named_files: Vec<String>,
    },
    /// Targets that cannot be reached.
    Targets {
        /// Along this timeline.
        timeline: TimelineId,
        /// Recovery gets as far as here.
        after_lsn: Lsn,
        /// The WAL before that was archived by then, so nothing in it is later.
        after_time: Option<Timestamp>,
        /// From here on targets can be reached again; to the end of the archive when absent.
        before_lsn: Option<Lsn>,
        /// The time of that, by the server's clock.
        before_time: Option<Timestamp>,
        /// The backup that makes it possible.
        before_backup: Option<BackupId>,
    },
    /// A timeline cannot be followed: no target on it can be reached.
    Timeline {
        /// Which one.
        timeline: TimelineId,
    },
    /// A backup is not listed, so it is never chosen.
    Unlisted {
        /// Which one.
        backup: BackupId,
    },
    /// Nothing of the cluster can be chosen until the object is put back.
    Cluster,
    /// It is not known what, while it cannot be read.
    Unknown,
    /// Nothing that a restore needs.
    Nothing {
        /// Why not.
        reason: &'static str,
    },
}

/// What a damaged object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    /// Without it the cluster is not known.
    Identity,
    /// Nothing depends on it.
    Spare(&'static str),
    Segment(WalSegmentName),
    History(TimelineId),
    /// Without it the backup is not listed.
    Begin(BackupId),
    /// Without it the backup cannot be restored.
    BackupPart(BackupId),
    Pack(PackDamage),
    /// Segments that should be there.
    MissingSegments,
    /// Something that was not looked at further.
    Folder,
}

/// What of a pack is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PackDamage {
    pub(super) backup: BackupId,
    pub(super) ordinal: u32,
    /// Parts of its plain content; none when all of it is lost.
    pub(super) ranges: Option<Vec<Range<u64>>>,
}

impl Subject {
    /// What an object is to those who depend on it.
    pub(super) fn of(object: &StoredObject) -> Self {
        match object {
            StoredObject::Description => Self::Folder,
            StoredObject::Writer { .. } => Self::Spare("it says who wrote, for people"),
            StoredObject::Identity(_) => Self::Identity,
            StoredObject::Wal { name, .. } => match name {
                crate::pg::WalFileName::Segment(segment) => Self::Segment(*segment),
                crate::pg::WalFileName::TimelineHistory(timeline) => Self::History(*timeline),
                crate::pg::WalFileName::Partial(_) => Self::Spare("no recovery asks for it"),
                crate::pg::WalFileName::BackupHistory { .. } => Self::Spare("it is a note for people"),
            },
            StoredObject::Backup { backup, part, .. } => match part {
                BackupPart::Begin => Self::Begin(*backup),
                BackupPart::Document(name) if name == "backup_manifest" => {
                    Self::Spare("a restore does not need the server's manifest")
                }
                BackupPart::Mark(_) => Self::Spare("it is a step of the backup's deletion"),
                BackupPart::Pin(_) => Self::Spare("it keeps the backup from being deleted, read or not"),
                _ => Self::BackupPart(*backup),
            },
            StoredObject::Pack { backup, ordinal, .. } => {
                Self::Pack(PackDamage { backup: *backup, ordinal: *ordinal, ranges: None })
            }
        }
    }
}

/// What was found, one entry for each object.
#[derive(Debug, Default)]
pub(super) struct Findings {
    by_object: BTreeMap<(Option<ClusterRef>, String), Finding>,
    /// Damaged objects beyond the limit.
    pub(super) more: u64,
    /// The segments among them, which still decide what can be reached.
    unnamed_segments: BTreeMap<ClusterRef, BTreeSet<WalSegmentName>>,
}

impl Findings {
    /// Something is wrong with an object.
    pub(super) fn add(&mut self, object: &StoredObject, problem: String, class: ErrorClass) {
        let name = object.key().map_or_else(|error| error.text, |key| key.to_string());
        let cluster = match object {
            StoredObject::Writer { cluster, .. } => (Some(cluster.clone()), None),
            _ => (object.cluster().map(|cluster| cluster.name.clone()), object.cluster().cloned()),
        };
        self.insert(cluster.0, cluster.1, name, problem, class, Subject::of(object));
    }

    /// Something is wrong with an object where no reader looks: what it holds is whole.
    pub(super) fn add_spare(&mut self, object: &StoredObject, problem: String, class: ErrorClass) {
        let name = object.key().map_or_else(|error| error.text, |key| key.to_string());
        let tree = object.cluster().cloned();
        let cluster = match object {
            StoredObject::Writer { cluster, .. } => Some(cluster.clone()),
            _ => tree.as_ref().map(|tree| tree.name.clone()),
        };
        self.insert(cluster, tree, name, problem, class, Subject::Spare("what it holds is whole"));
    }

    /// An object could not be read as it should be.
    pub(super) fn add_error(&mut self, object: &StoredObject, error: &RepositoryError) {
        self.add(object, problem_of(error), class_of(error));
    }

    /// Something else is wrong with a tree.
    pub(super) fn add_named(
        &mut self,
        cluster: &ClusterRef,
        name: String,
        problem: String,
        class: ErrorClass,
        subject: Subject,
    ) {
        self.insert(Some(cluster.name.clone()), Some(cluster.clone()), name, problem, class, subject);
    }

    /// A folder cannot be listed. The tree that it belongs to is returned.
    pub(super) fn add_folder<'t>(
        &mut self,
        trees: &'t [Tree],
        folder: &str,
        error: &RepositoryError,
    ) -> Option<&'t Tree> {
        let of_tree = |tree: &&Tree| {
            let place = format!("{}/{}/", tree.cluster.name, tree.cluster.system_identifier);
            format!("{folder}/").starts_with(&place)
        };
        let tree = trees.iter().find(of_tree);
        let cluster = tree.map(|tree| tree.cluster.clone());
        let name = match &cluster {
            Some(cluster) => Some(cluster.name.clone()),
            None => ClusterName::parse(folder.split('/').next().unwrap_or_default()).ok(),
        };
        self.insert(name, cluster, folder.to_owned(), problem_of(error), class_of(error), Subject::Folder);
        tree
    }

    /// Whether an object is damaged itself, or lies in a folder that cannot be listed.
    pub(super) fn covering<'a>(&'a mut self, cluster: &'a ClusterRef, key: &str) -> Option<&'a mut Finding> {
        let covers = |finding: &&mut Finding| {
            let is_above = || key.strip_prefix(&finding.object).is_some_and(|below| below.starts_with('/'));
            finding.object == key || finding.subject == Subject::Folder && is_above()
        };
        self.of_tree(cluster).find(covers)
    }

    fn insert(
        &mut self,
        name: Option<ClusterName>,
        cluster: Option<ClusterRef>,
        object: String,
        problem: String,
        class: ErrorClass,
        subject: Subject,
    ) {
        let key = (cluster.clone(), object.clone());
        if let Some(known) = self.by_object.get_mut(&key) {
            // Asked of twice, an object gives the same answer.
            known.further += u64::from(known.problem != problem);
            known.subject.widen(subject);
            return;
        }
        // What decides whether a backup can be restored is always kept: there is no more of it than of backups.
        let decides = matches!(
            subject,
            Subject::Identity | Subject::History(_) | Subject::Begin(_) | Subject::BackupPart(_) | Subject::Folder
        );
        if self.by_object.len() >= FINDINGS_MAX && !decides {
            if let (Some(cluster), Subject::Segment(segment)) = (cluster, subject) {
                self.unnamed_segments.entry(cluster).or_default().insert(segment);
            }
            self.more += 1;
            return;
        }
        // What belongs to a tree is judged with it.
        let costs = match (&cluster, &subject) {
            (Some(_), _) => Vec::new(),
            (None, Subject::Spare(reason)) => vec![Cost::Nothing { reason }],
            // No key begins with a dot.
            (None, Subject::Folder) if object.starts_with('.') => {
                vec![Cost::Nothing { reason: "what is being written lies there, and nothing that is stored" }]
            }
            (None, _) => vec![Cost::Unknown],
        };
        let system_identifier = cluster.map(|cluster| cluster.system_identifier);
        let finding = Finding { cluster: name, system_identifier, object, problem, further: 0, costs, class, subject };
        self.by_object.insert(key, finding);
    }

    /// The findings about a tree.
    pub(super) fn of_tree<'a>(&'a mut self, cluster: &'a ClusterRef) -> impl Iterator<Item = &'a mut Finding> {
        let of_it = move |((of, _), _): &(&(Option<ClusterRef>, String), &mut Finding)| of.as_ref() == Some(cluster);
        self.by_object.iter_mut().filter(of_it).map(|(_, finding)| finding)
    }

    /// Leaves out what concerns other trees and other backups.
    pub(super) fn keep_about(&mut self, backup: BackupId, clusters: &[&ClusterRef]) {
        self.by_object.retain(|(cluster, _), finding| {
            let of_other = match &finding.subject {
                Subject::BackupPart(about) | Subject::Begin(about) => *about != backup,
                Subject::Spare(_) => !finding.object.contains(&backup.to_string()),
                _ => false,
            };
            cluster.as_ref().is_some_and(|cluster| clusters.contains(&cluster)) && !of_other
        });
    }

    /// The segments of a tree that are damaged.
    pub(super) fn damaged_segments(&mut self, cluster: &ClusterRef) -> BTreeSet<WalSegmentName> {
        let segment = |finding: &mut Finding| match finding.subject {
            Subject::Segment(segment) => Some(segment),
            _ => None,
        };
        let unnamed = self.unnamed_segments.get(cluster).cloned().unwrap_or_default();
        self.of_tree(cluster).filter_map(segment).chain(unnamed).collect()
    }

    /// Whether a backup is known to be lost but for its packs.
    pub(super) fn has_lost(&mut self, cluster: &ClusterRef, backup: &BackupId) -> bool {
        self.of_tree(cluster).any(|finding| finding.subject == Subject::BackupPart(*backup))
    }

    /// All of them, by their names.
    pub(super) fn into_list(self) -> Vec<Finding> {
        self.by_object.into_values().collect()
    }
}

impl Subject {
    /// Adds the damage that is found later in the same object.
    fn widen(&mut self, other: Self) {
        if matches!(self, Self::Spare(_)) {
            *self = other;
            return;
        }
        if let (Self::Pack(known), Self::Pack(more)) = (self, other) {
            match (&mut known.ranges, more.ranges) {
                (Some(ranges), Some(more)) => ranges.extend(more),
                _ => known.ranges = None,
            }
        }
    }
}

/// An error and its causes, without the name of the object, which stands beside it.
pub(super) fn problem_of(error: &RepositoryError) -> String {
    match error {
        RepositoryError::Damaged { damage, .. } => chain(damage),
        RepositoryError::Store(StoreError::Unlistable(hidden)) => {
            let FileError { action, source, .. } = &hidden.source;
            format!("what is in this folder cannot be listed: could not {action}: {source}")
        }
        RepositoryError::Store(StoreError::File { source, .. }) => chain(source),
        RepositoryError::Store(_) if error.is_not_found() => "it is missing".to_owned(),
        _ => chain(error),
    }
}

/// The class of something that must be there and is not.
fn class_of(error: &RepositoryError) -> ErrorClass {
    if error.is_not_found() { ErrorClass::Corrupt } else { error.class() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::{WalFileName, WalSegmentSize};

    #[test]
    fn what_decides_is_kept_behind_the_limit() {
        let tree = |name: &str| ClusterRef {
            name: ClusterName::parse(name).unwrap(),
            system_identifier: "7000000000000000001".parse().unwrap(),
        };
        let (many, other) = (tree("many"), tree("other"));
        let mut findings = Findings::default();
        let count = FINDINGS_MAX as u64 + 5;
        for number in 1..=count {
            let size = WalSegmentSize::new(1 << 20).unwrap();
            let name = WalSegmentName::from_number(TimelineId::FIRST, number, size).unwrap();
            let object = StoredObject::Wal { cluster: many.clone(), name: WalFileName::Segment(name) };
            findings.add(&object, "damaged".to_owned(), ErrorClass::Corrupt);
        }
        let backup: BackupId = "20261121T071526Z-fee516e1".parse().unwrap();
        let lost = Subject::BackupPart(backup);
        findings.add_named(&other, "root".to_owned(), "damaged".to_owned(), ErrorClass::Corrupt, lost);
        assert!(findings.has_lost(&other, &backup));
        assert_eq!(findings.damaged_segments(&many).len() as u64, count);
        assert_eq!((findings.more, findings.by_object.len()), (5, FINDINGS_MAX + 1));
    }
}
