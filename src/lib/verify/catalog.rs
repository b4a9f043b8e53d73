//! What there should be: the trees, their backups and what each backup refers to. What cannot be read becomes a finding.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::finding::{Findings, Subject, problem_of};
use super::{VerifyError, VerifyOptions};
use crate::clock::{Clock as _, SystemClock};
use crate::codec::ContentDigest;
use crate::error::{Classified, ErrorClass, chain};
use crate::pg::TimelineId;
use crate::repository::{
    BackupId, BackupNeeds, BackupPart, BackupRecord, ClusterIdentity, ClusterName, ClusterRef, MissingRecords,
    PackNeed, Repository, RepositoryError, StoredObject, Unlistable, UnlistedWal,
};

/// A cluster with one system identifier.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) cluster: ClusterRef,
    pub(super) identity: Option<ClusterIdentity>,
    /// In the order in which they were taken.
    pub(super) backups: Vec<ListedBackup>,
    /// Listed backups whose record cannot be read.
    pub(super) unreadable: Vec<BackupId>,
    pub(super) unfinished: BTreeMap<BackupId, Unfinished>,
}

/// A backup whose record was read.
#[derive(Debug)]
pub(super) struct ListedBackup {
    pub(super) record: BackupRecord,
    pub(super) needs: Option<BackupNeeds>,
}

impl ListedBackup {
    /// Whether it needs a pack.
    pub(super) fn has_pack(&self, pack: &PackNeed) -> bool {
        let mut packs = self.needs.iter().flat_map(|needs| &needs.packs);
        packs.any(|need| (need.backup, need.ordinal) == (pack.backup, pack.ordinal))
    }
}

/// A backup without a record.
#[derive(Debug, Default)]
pub(super) struct Unfinished {
    pub(super) host: Option<String>,
    pub(super) began: Option<Timestamp>,
    /// Whether it had a record: then it is damaged, and no left-over.
    pub(super) record_missing: bool,
    /// Whether it is whole but for its record, and was killed at its last step or lost it.
    pub(super) record_unclear: bool,
}

impl Tree {
    /// Whether a backup has a record, readable or not.
    pub(super) fn has_record_of(&self, backup: &BackupId) -> bool {
        self.unreadable.contains(backup) || self.backups.iter().any(|known| known.record.id == *backup)
    }

    /// Whether it cannot be known which packs a listed backup needs.
    pub(super) fn is_unknown(&self, backup: &BackupId) -> bool {
        let known = self.backups.iter().find(|known| known.record.id == *backup);
        known.is_none_or(|known| known.needs.is_none())
    }

    /// Whether a backup's record names a document; true when it cannot be read.
    pub(super) fn knows_document(&self, backup: &BackupId, name: &str) -> bool {
        let known = self.backups.iter().find(|known| known.record.id == *backup);
        known.is_none_or(|known| known.record.documents.iter().any(|document| document.name == name))
    }

    /// What a folder that cannot be listed may hold of the WAL.
    pub(super) fn unlisted_wal(&self, folder: &str, error: RepositoryError) -> Vec<UnlistedWal> {
        let place = format!("{}/{}/wal", self.cluster.name, self.cluster.system_identifier);
        let Some(below) = folder.strip_prefix(&place) else { return Vec::new() };
        let hidden = Unlistable { folder: folder.to_owned(), error };
        if !below.is_empty() {
            let size = self.segment_size();
            return size
                .and_then(|size| UnlistedWal::of(below.trim_start_matches('/'), hidden, size))
                .into_iter()
                .collect();
        }
        let timelines: BTreeSet<TimelineId> = self
            .backups
            .iter()
            .flat_map(|backup| [backup.record.start_timeline, backup.record.stop_timeline])
            .collect();
        UnlistedWal::of_timelines(timelines, hidden)
    }

    /// Every pack that some backup needs, as the first of them says.
    pub(super) fn needed_packs(&self) -> BTreeMap<(BackupId, u32), &PackNeed> {
        let mut first = BTreeMap::new();
        for need in self.backups.iter().filter_map(|backup| backup.needs.as_ref()).flat_map(|needs| &needs.packs) {
            first.entry((need.backup, need.ordinal)).or_insert(need);
        }
        first
    }
}

/// Looks at everything that is asked for.
pub(super) fn gather(
    repository: &Repository,
    options: &VerifyOptions,
    findings: &mut Findings,
) -> Result<Vec<Tree>, VerifyError> {
    let mut names = repository.cluster_names()?;
    names.retain(|name| options.cluster.as_ref().is_none_or(|wanted| wanted == name));
    if let (Some(cluster), true) = (&options.cluster, names.is_empty()) {
        return Err(VerifyError::UnknownCluster { cluster: cluster.clone(), store: repository.describe() });
    }
    let mut trees = Vec::new();
    for name in names {
        let system_identifiers =
            repository.system_identifiers(&name).or_else(|error| match error.unlistable_folder() {
                // Whoever lists all objects meets it again, and tells.
                Some(folder) if options.backup.is_none() => {
                    findings.add_folder(&[], folder, &error);
                    Ok(Vec::new())
                }
                _ => Err(error),
            })?;
        for system_identifier in system_identifiers {
            let cluster = ClusterRef { name: name.clone(), system_identifier };
            trees.push(Gatherer { repository, findings, cluster: &cluster }.tree());
        }
    }
    if let Some(wanted) = options.backup {
        trees.retain(|tree| tree.has_record_of(&wanted));
        for tree in &mut trees {
            tree.backups.retain(|backup| backup.record.id == wanted);
            tree.unreadable.retain(|backup| *backup == wanted);
            tree.unfinished.clear();
        }
        findings.keep_about(wanted, &trees.iter().map(|tree| &tree.cluster).collect::<Vec<_>>());
        if trees.is_empty() {
            return Err(VerifyError::UnknownBackup { backup: wanted, store: repository.describe() });
        }
    }
    Ok(trees)
}

/// The names of the clusters that are looked at.
pub(super) fn names(trees: &[Tree]) -> Vec<ClusterName> {
    let mut names: Vec<ClusterName> = trees.iter().map(|tree| tree.cluster.name.clone()).collect();
    names.dedup();
    names
}

struct Gatherer<'a> {
    repository: &'a Repository,
    findings: &'a mut Findings,
    cluster: &'a ClusterRef,
}

impl Gatherer<'_> {
    fn tree(&mut self) -> Tree {
        let cluster = self.cluster.clone();
        let identity = match self.repository.identity(&cluster) {
            Ok(Some(identity)) => Some(identity),
            Ok(None) => {
                let problem = "it is missing, while there are other objects of this cluster".to_owned();
                self.findings.add(&StoredObject::Identity(cluster.clone()), problem, ErrorClass::Corrupt);
                None
            }
            Err(error) => {
                self.findings.add_error(&StoredObject::Identity(cluster.clone()), &error);
                None
            }
        };
        let mut tree =
            Tree { cluster, identity, backups: Vec::new(), unreadable: Vec::new(), unfinished: BTreeMap::new() };
        if let Err(error) = self.backups(&mut tree) {
            match error.unlistable_folder() {
                Some(folder) => drop(self.findings.add_folder(std::slice::from_ref(&tree), folder, &error)),
                None => {
                    let (name, problem) = (format!("backups of cluster {}", self.cluster), chain(&error));
                    self.findings.add_named(self.cluster, name, problem, error.class(), Subject::Folder);
                }
            }
        }
        tree
    }

    fn backups(&mut self, tree: &mut Tree) -> Result<(), RepositoryError> {
        for entry in self.repository.backups(self.cluster)? {
            match entry.record {
                Ok(record) => tree.backups.push(self.backup(record)),
                Err(error) => {
                    match error.unlistable_folder() {
                        Some(folder) => {
                            let (name, subject) = (folder.to_owned(), Subject::BackupPart(entry.id));
                            self.findings.add_named(self.cluster, name, problem_of(&error), error.class(), subject);
                        }
                        None => self.findings.add_error(&self.part(&entry.id, BackupPart::Record), &error),
                    }
                    tree.unreadable.push(entry.id);
                }
            }
        }
        for (id, error) in self.repository.begin_problems(self.cluster)? {
            self.findings.add_error(&self.part(&id, BackupPart::Begin), &error);
        }
        for backup in self.repository.unfinished_backups(self.cluster)? {
            let unfinished = backup.begin.map_or_else(
                |_| Unfinished::default(),
                |begin| Unfinished { host: Some(begin.host), began: Some(begin.began), ..Unfinished::default() },
            );
            tree.unfinished.insert(backup.id, unfinished);
        }
        self.chain_of_records(tree);
        let records: Vec<&BackupRecord> = tree.backups.iter().map(|backup| &backup.record).collect();
        let MissingRecords { lost, unclear } =
            self.repository.missing_records(self.cluster, &records, SystemClock.now())?;
        for id in unclear {
            tree.unfinished.entry(id).or_default().record_unclear = true;
        }
        for (id, error) in lost {
            let is_told =
                tree.backups.iter().any(|backup| backup.record.previous.as_ref().is_some_and(|it| it.id == id));
            if !is_told {
                self.findings.add_error(&self.part(&id, BackupPart::Record), &error);
            }
            tree.unfinished.entry(id).or_default().record_missing = true;
        }
        self.agreement_on_packs(tree);
        Ok(())
    }

    /// What a record says of the objects of its backup, against what their headers say.
    fn backup(&mut self, record: BackupRecord) -> ListedBackup {
        self.referred(&record, BackupPart::Root, record.root_digest, None);
        self.referred(&record, BackupPart::Needs, record.needs_digest, None);
        for document in &record.documents {
            let part = BackupPart::Document(document.name.clone());
            self.referred(&record, part, document.digest, Some(document.bytes));
        }
        let needs = match self.repository.backup_needs(self.cluster, &record) {
            Ok(needs) => Some(needs),
            Err(error) => {
                self.findings.add_error(&self.part(&record.id, BackupPart::Needs), &error);
                None
            }
        };
        for need in needs.iter().flat_map(|needs| &needs.packs) {
            if need.backup != record.id && !record.parents.contains(&need.backup) {
                let problem = format!("it needs a pack of backup {}, which is not among its parents", need.backup);
                self.findings.add(&self.part(&record.id, BackupPart::Needs), problem, ErrorClass::Corrupt);
            }
        }
        ListedBackup { record, needs }
    }

    fn referred(&mut self, record: &BackupRecord, part: BackupPart, digest: ContentDigest, bytes: Option<u64>) {
        let object = self.part(&record.id, part);
        let (Ok(key), Some(spec)) = (object.key(), object.spec()) else {
            let problem = "its name in the record is no name".to_owned();
            return self.findings.add(&object, problem, ErrorClass::Corrupt);
        };
        match self.repository.stored_header(&key, &spec) {
            Ok(Some(header)) if header.plain_digest != Some(digest) => {
                let problem = "its digest is not the one in the record".to_owned();
                self.findings.add(&object, problem, ErrorClass::Corrupt);
            }
            Ok(Some(header)) if bytes.is_some() && header.plain_bytes != bytes => {
                let problem = "its size is not the one in the record".to_owned();
                self.findings.add(&object, problem, ErrorClass::Corrupt);
            }
            Ok(Some(_)) => {}
            Ok(None) => self.findings.add(&object, "it is missing".to_owned(), ErrorClass::Corrupt),
            Err(error) => self.findings.add_error(&object, &error),
        }
    }

    /// Records name the one before them: one that was put in another's place is found.
    fn chain_of_records(&mut self, tree: &Tree) {
        for backup in &tree.backups {
            let Some(previous) = &backup.record.previous else { continue };
            if tree.unfinished.contains_key(&previous.id) {
                let problem = format!("it is missing, and was there when backup {} was taken", backup.record.id);
                self.findings.add(&self.part(&previous.id, BackupPart::Record), problem, ErrorClass::Corrupt);
            }
            if !tree.backups.iter().any(|other| other.record.id == previous.id) {
                continue;
            }
            let found = self.repository.record_mac(self.cluster, &previous.id);
            if found.is_ok_and(|mac| mac != previous.mac) {
                let problem = format!("it is not the record that backup {} was taken after", backup.record.id);
                self.findings.add(&self.part(&previous.id, BackupPart::Record), problem, ErrorClass::Corrupt);
            }
        }
    }

    /// Backups that share a pack must say the same of it.
    fn agreement_on_packs(&mut self, tree: &Tree) {
        let facts = |need: &PackNeed| (need.body_bytes, need.plain_bytes, need.index_digest);
        let known = tree.needed_packs();
        for backup in &tree.backups {
            for need in backup.needs.iter().flat_map(|needs| &needs.packs) {
                let first = known.get(&(need.backup, need.ordinal));
                if first.is_some_and(|first| facts(first) != facts(need)) {
                    let problem =
                        format!("it says of pack {} of backup {} what others do not", need.ordinal, need.backup);
                    let object = self.part(&backup.record.id, BackupPart::Needs);
                    self.findings.add(&object, problem, ErrorClass::Corrupt);
                }
            }
        }
    }

    fn part(&self, backup: &BackupId, part: BackupPart) -> StoredObject {
        StoredObject::Backup { cluster: self.cluster.clone(), backup: *backup, part }
    }
}
