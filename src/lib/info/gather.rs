//! Reads a repository's catalog, item by item.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::report::{
    InfoBackup, InfoCluster, InfoNode, InfoPin, InfoProblem, InfoRange, InfoReport, InfoRepository, InfoTimeline,
    InfoTree, InfoUnfinished, InfoUnreadable, InfoWriter, SCHEMA_VERSION,
};
use crate::clock::{Clock as _, SystemClock};
use crate::error::{Classified, ErrorClass, chain};
use crate::pg::{TimelineHistory, TimelineId, WalFileName, WalSegmentName, WalSegmentSize};
use crate::repository::{
    ArchiveFacts, BackupId, BackupRecord, BackupSpan, ClusterIdentity, ClusterName, ClusterRef, Lack, LackSearch,
    ListedWal, MissingRecords, Repository, RepositoryError, WalArchive, pack_name, wal_summary,
};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct InfoOptions {
    /// The repository's URL, as it was given.
    pub url: String,
    /// Its directory.
    pub path: PathBuf,
    /// The configuration file in use.
    pub configuration_file: Option<PathBuf>,
    /// The only cluster that is asked for.
    pub cluster: Option<ClusterName>,
}

/// Looks at everything that is asked for. Only a repository that cannot be listed at all is an error.
pub fn gather(repository: &Repository, options: InfoOptions) -> Result<InfoReport, RepositoryError> {
    let InfoOptions { url, path, configuration_file, cluster } = options;
    let mut names = repository.cluster_names()?;
    names.retain(|name| cluster.as_ref().is_none_or(|wanted| wanted == name));
    let mut gatherer = Gatherer { repository, problems: Vec::new() };
    let clusters: Vec<InfoCluster> = names.into_iter().map(|name| gatherer.cluster(name)).collect();
    Ok(InfoReport {
        schema_version: SCHEMA_VERSION,
        configuration_file,
        repository: InfoRepository { url, path, id: repository.id() },
        clusters,
        problems: gatherer.problems,
    })
}

struct Gatherer<'a> {
    repository: &'a Repository,
    problems: Vec<InfoProblem>,
}

impl Gatherer<'_> {
    /// The value, or a problem in its place.
    fn noted<T, E: Classified>(&mut self, object: impl FnOnce() -> String, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.note(object(), &error)).ok()
    }

    fn note(&mut self, object: String, error: &dyn Classified) {
        self.problems.push(InfoProblem { object, reason: chain(error), class: error.class() });
    }

    fn cluster(&mut self, name: ClusterName) -> InfoCluster {
        let object = || format!("cluster \"{name}\"");
        let identifiers = self.noted(object, self.repository.system_identifiers(&name)).unwrap_or_default();
        let trees =
            identifiers.into_iter().map(|system_identifier| ClusterRef { name: name.clone(), system_identifier });
        let mut trees: Vec<InfoTree> = trees.map(|cluster| self.tree(&cluster)).collect();
        trees.sort_by_key(|tree| (tree.since, tree.system_identifier));
        let writers = self.writers(&name);
        InfoCluster { name, trees, writers }
    }

    fn writers(&mut self, name: &ClusterName) -> Vec<InfoWriter> {
        let ids = self.repository.writer_ids(name);
        let ids = self.noted(|| format!("writers of cluster \"{name}\""), ids).unwrap_or_default();
        let mut writers = Vec::new();
        for id in ids {
            let description = self.repository.writer(name, &id);
            let description = self.noted(|| format!("writer \"{id}\" of cluster \"{name}\""), description).flatten();
            writers.extend(description.map(|writer| InfoWriter {
                id,
                host: writer.host,
                directory: writer.directory,
                since: writer.since,
            }));
        }
        writers.sort_by_key(|writer| (writer.since, writer.id));
        writers
    }

    fn tree(&mut self, cluster: &ClusterRef) -> InfoTree {
        let object = || format!("registration of cluster {cluster}");
        let identity: Option<Option<ClusterIdentity>> = self.noted(object, self.repository.identity(cluster));
        if identity == Some(None) {
            let reason = "it is missing, so nothing of this cluster can be restored, fetched or archived; \"pgv init\" on its server's host writes it anew"
                .to_owned();
            self.problems.push(InfoProblem { object: object(), reason, class: ErrorClass::Corrupt });
        }
        let identity = identity.flatten();
        let mut tree = InfoTree {
            system_identifier: cluster.system_identifier,
            major_version: identity.as_ref().map(|identity| identity.major_version),
            wal_segment_bytes: None,
            since: identity.as_ref().map(|identity| identity.since),
            backups: Vec::new(),
            unreadable_backups: Vec::new(),
            unfinished_backups: Vec::new(),
            being_deleted: Vec::new(),
            wal: Vec::new(),
            history_files: Vec::new(),
        };
        let records = self.backups(cluster, &mut tree);
        let missing_packs = self.missing_packs(cluster, &records);
        let described = |wal: Option<&ArchiveFacts>| {
            let mut backups: Vec<InfoBackup> = records.iter().map(|record| backup_of(record, wal)).collect();
            for (backup, missing) in backups.iter_mut().zip(&missing_packs) {
                backup.missing_packs.clone_from(missing);
            }
            backups
        };
        self.unfinished(cluster, &records, &mut tree);
        let from_backup = || records.last().map(|record| record.wal_segment_size);
        let size = identity.map(|identity| identity.wal_segment_size).or_else(from_backup);
        tree.wal_segment_bytes = size.map(WalSegmentSize::bytes);
        let Some(facts) = size.and_then(|size| self.wal(cluster, size, &mut tree)) else {
            tree.backups = described(None);
            self.marks(cluster, &mut tree);
            return tree;
        };
        let spans: Vec<BackupSpan> = records.iter().map(BackupSpan::of).collect();
        for timeline in &mut tree.wal {
            timeline.holes = wal_summary::holes(&facts, timeline.timeline, &spans);
        }
        tree.backups = described(Some(&facts));
        self.marks(cluster, &mut tree);
        tree
    }

    /// Pins, and what retention has begun.
    fn marks(&mut self, cluster: &ClusterRef, tree: &mut InfoTree) {
        // What cannot be listed was told when the backups were.
        let folders = self.repository.backup_folders(cluster).unwrap_or_default();
        for (id, folder) in &folders {
            // Of one that was deleted, packs may be left that others need.
            let packs = || self.repository.packs_of(cluster, id).is_ok_and(|packs| !packs.is_empty());
            if folder.state.gone && !(folder.has_gone_alone() && packs()) {
                tree.being_deleted.push(*id);
            }
            let Some(backup) = tree.backups.iter_mut().find(|backup| backup.id == *id) else { continue };
            backup.is_expiring = folder.state.doubt;
            let pins = self.noted(|| format!("pins of backup \"{id}\""), self.repository.pins(cluster, id, folder));
            for (name, pin) in pins.unwrap_or_default() {
                let pin = self.noted(|| format!("\"{name}\" of backup \"{id}\""), pin);
                backup.pins.extend(pin.map(|pin| InfoPin { reason: pin.reason, host: pin.host, set: pin.set }));
            }
        }
    }

    /// The records of the backups that can be read; the others go to the tree.
    fn backups(&mut self, cluster: &ClusterRef, tree: &mut InfoTree) -> Vec<BackupRecord> {
        let entries = self.repository.backups(cluster);
        let entries = self.noted(|| format!("backups of cluster {cluster}"), entries).unwrap_or_default();
        let mut records = Vec::new();
        for entry in entries {
            match entry.record {
                Ok(record) => records.push(record),
                Err(error) => {
                    self.note(format!("backup \"{}\"", entry.id), &error);
                    tree.unreadable_backups.push(InfoUnreadable { id: entry.id, reason: chain(&error) });
                }
            }
        }
        let begins = self.repository.begin_problems(cluster);
        for (id, error) in self.noted(|| format!("backups of cluster {cluster}"), begins).unwrap_or_default() {
            self.note(format!("begin of backup \"{id}\""), &error);
        }
        records
    }

    /// For each backup the packs that it needs and that are not there as they were stored. What else it lacks is a problem.
    fn missing_packs(&mut self, cluster: &ClusterRef, records: &[BackupRecord]) -> Vec<Vec<String>> {
        let mut search = LackSearch::new(self.repository, cluster);
        let mut told = BTreeSet::new();
        let mut of_all = Vec::new();
        for record in records {
            let object = || format!("table of packs of backup \"{}\"", record.id);
            let needs = self.noted_of_backup(cluster, record, object, self.repository.backup_needs(cluster, record));
            let object = || format!("packs of backup \"{}\"", record.id);
            let lacks = needs.and_then(|needs| self.noted(object, search.with_needs(record, &needs)));
            let mut lacks = lacks.unwrap_or_default();
            if !lacks.is_empty() && self.is_gone(cluster, record) {
                lacks.clear();
            }
            for lack in &lacks {
                self.note_lack(record.id, lack, &mut told);
            }
            let packs = lacks.iter().filter_map(Lack::pack).map(|(backup, ordinal)| pack_name(backup, ordinal));
            of_all.push(packs.take(wal_summary::MISSING_MAX).collect());
        }
        of_all
    }

    /// What a backup lacks and what no list of missing packs says; each pack once, however many backups need it.
    fn note_lack(&mut self, id: BackupId, lack: &Lack, told: &mut BTreeSet<(BackupId, u32)>) {
        let (object, reason) = match lack {
            Lack::Pack { .. } => return,
            Lack::Root => {
                (format!("root of backup \"{id}\""), "it is missing, while the backup has a record".to_owned())
            }
            Lack::PackSize { backup, ordinal, expected, found } => {
                if told.len() >= wal_summary::MISSING_MAX || !told.insert((*backup, *ordinal)) {
                    return;
                }
                let name = pack_name(*backup, *ordinal);
                (format!("pack \"{name}\""), format!("it has {found} bytes where {expected} were stored"))
            }
        };
        self.problems.push(InfoProblem { object, reason, class: ErrorClass::Corrupt });
    }

    /// As [`Self::noted`], but for what was deleted since its backup was listed. What a listed backup lacks is damage.
    fn noted_of_backup<T>(
        &mut self,
        cluster: &ClusterRef,
        record: &BackupRecord,
        object: impl FnOnce() -> String,
        result: Result<T, RepositoryError>,
    ) -> Option<T> {
        match result {
            Err(error) if error.is_not_found() => {
                if !self.is_gone(cluster, record) {
                    let (object, reason) = (object(), chain(&error));
                    self.problems.push(InfoProblem { object, reason, class: ErrorClass::Corrupt });
                }
                None
            }
            result => self.noted(object, result),
        }
    }

    /// Whether a backup was deleted since it was listed: its record goes before all else.
    fn is_gone(&self, cluster: &ClusterRef, record: &BackupRecord) -> bool {
        self.repository.record(cluster, &record.id).is_err_and(|error| error.is_not_found())
    }

    fn unfinished(&mut self, cluster: &ClusterRef, records: &[BackupRecord], tree: &mut InfoTree) {
        let records: Vec<&BackupRecord> = records.iter().collect();
        let missing = self.repository.missing_records(cluster, &records, SystemClock.now());
        let missing = self.noted(|| format!("unfinished backups of cluster {cluster}"), missing);
        let MissingRecords { lost, unclear } = missing.unwrap_or_default();
        for (id, error) in &lost {
            self.note(format!("record of backup \"{id}\""), error);
        }
        let unfinished = self.repository.unfinished_backups(cluster);
        for backup in self.noted(|| format!("backups of cluster {cluster}"), unfinished).unwrap_or_default() {
            let (id, given_up) = (backup.id, backup.is_given_up);
            let record_missing = lost.iter().any(|(lost, _)| *lost == id);
            let record_unclear = unclear.contains(&id);
            let unfinished =
                InfoUnfinished { id, given_up, record_missing, record_unclear, host: None, began: None, reason: None };
            tree.unfinished_backups.push(match backup.begin {
                Ok(begin) => InfoUnfinished { host: Some(begin.host), began: Some(begin.began), ..unfinished },
                Err(error) => {
                    self.note(format!("unfinished backup \"{id}\""), &error);
                    InfoUnfinished { reason: Some(chain(&error)), ..unfinished }
                }
            });
        }
    }

    /// The archived WAL, for the tree and for judging backups by.
    fn wal(&mut self, cluster: &ClusterRef, size: WalSegmentSize, tree: &mut InfoTree) -> Option<ArchiveFacts> {
        let archive = WalArchive::new(self.repository, cluster);
        let ListedWal { ranges, unlisted } =
            self.noted(|| format!("WAL of cluster {cluster}"), archive.listed(size))?;
        for folder in &unlisted {
            self.note(format!("WAL in \"{}\"", folder.folder), folder.error.as_ref());
        }
        let named = self.noted(|| format!("timeline histories of cluster {cluster}"), archive.histories());
        tree.history_files = named.unwrap_or_default();
        let mut histories = BTreeMap::new();
        for timeline in &tree.history_files {
            if let Some(history) = self.history(&archive, *timeline) {
                histories.insert(*timeline, history);
            }
        }
        for (timeline, ranges) in &ranges {
            let mut shown = Vec::new();
            for range in ranges {
                shown.push(InfoRange {
                    first: range.first,
                    last: range.last,
                    count: range.count,
                    first_archived_at: self.archived_at(&archive, range.first),
                    last_archived_at: self.archived_at(&archive, range.last),
                });
            }
            tree.wal.push(InfoTimeline { timeline: *timeline, ranges: shown, holes: Vec::new() });
        }
        // What could not be read is among the problems; times are shown, not compared.
        let (unreadable_histories, archived_at) = (BTreeMap::new(), BTreeMap::new());
        Some(ArchiveFacts { segment_size: size, ranges, unlisted, histories, unreadable_histories, archived_at })
    }

    fn archived_at(&mut self, archive: &WalArchive<'_>, segment: WalSegmentName) -> Option<jiff::Timestamp> {
        let time = archive.stored_at(&WalFileName::Segment(segment));
        self.noted(|| format!("WAL segment \"{segment}\""), time)
    }

    fn history(&mut self, archive: &WalArchive<'_>, timeline: TimelineId) -> Option<TimelineHistory> {
        let name = WalFileName::TimelineHistory(timeline);
        let bytes = self.noted(|| format!("\"{name}\""), archive.load_text(&name)).flatten()?;
        let history = TimelineHistory::decode(timeline, &bytes);
        self.noted(|| format!("\"{name}\""), history)
    }
}

fn backup_of(record: &BackupRecord, wal: Option<&ArchiveFacts>) -> InfoBackup {
    let span = BackupSpan::of(record);
    let missing_wal = wal.map(|wal| wal_summary::missing(wal, &span)).unwrap_or_default();
    let wal_until = wal.filter(|_| missing_wal.is_empty()).and_then(|wal| wal_summary::until(wal, &span));
    InfoBackup {
        id: record.id,
        start_lsn: record.start_lsn,
        stop_lsn: record.stop_lsn,
        start_time: record.start_time,
        stop_time: record.stop_time,
        timeline: record.stop_timeline,
        start_timeline: record.start_timeline,
        sizes: record.sizes.clone(),
        method: record.method,
        label: record.label.clone(),
        node: InfoNode { host: record.node.host.clone(), port: record.node.port, is_standby: record.node.is_standby },
        major_version: record.major_version,
        parents: record.parents.clone(),
        findings: record.findings.clone(),
        pins: Vec::new(),
        is_expiring: false,
        missing_wal,
        missing_packs: Vec::new(),
        wal_until,
    }
}

#[cfg(test)]
mod tests;
