//! What there is to decide about: one tree of a repository, read once, every record of it. What cannot be read is an
//! error: nobody deletes what he cannot judge.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::error::ExpireError;
use crate::pg::{TimelineHistory, TimelineId, WalFileName, WalSegmentSize};
use crate::repository::{
    ArchiveFacts, BackupFolder, BackupId, BackupMark, BackupNeeds, BackupRecord, BackupState, ClusterName, ClusterRef,
    Lack, LackSearch, Repository, RepositoryError, WalArchive,
};

/// A tree.
#[derive(Debug, Clone)]
pub(super) struct TreeFacts {
    pub(super) cluster: ClusterRef,
    /// The listed backups, in the order in which they were taken.
    pub(super) listed: Vec<ListedBackup>,
    /// What was begun, has no record and is not being deleted.
    pub(super) unfinished: Vec<UnfinishedFacts>,
    /// When the last listed backup began, by the store's clock; read only when there is one without a record.
    pub(super) last_began: Option<Timestamp>,
    /// What is being deleted since an earlier run.
    pub(super) gone: BTreeSet<BackupId>,
    /// Of these, those of which nothing is left but packs, which others needed when it was deleted.
    pub(super) emptied: BTreeSet<BackupId>,
    /// The packs that lie there, by the backup that wrote them.
    pub(super) packs: BTreeMap<BackupId, Vec<u32>>,
    /// Of these, those of which no folder is there.
    pub(super) strays: Strays,
    pub(super) archive: ArchiveFacts,
    /// When the history of each timeline was archived, by the writer's clock: its server was promoted then.
    pub(super) history_times: BTreeMap<TimelineId, Timestamp>,
    /// When the last segment of each timeline was stored, by the store's clock; of one without any, its history.
    pub(super) last_stored: BTreeMap<TimelineId, Timestamp>,
    /// Every file of the archive but the histories.
    pub(super) wal: Vec<WalFileName>,
    /// When each was stored, by the store's clock; read only when a rule asks for it.
    pub(super) wal_times: BTreeMap<WalFileName, Timestamp>,
}

/// A backup whose record was read.
#[derive(Debug, Clone)]
pub(super) struct ListedBackup {
    pub(super) record: BackupRecord,
    pub(super) needs: BackupNeeds,
    /// Why it was pinned, once for each pin.
    pub(super) pins: Vec<String>,
    /// Since when retention wants it gone, by the store's clock.
    pub(super) doubted: Option<Timestamp>,
    /// What of it is not in the repository as it was stored.
    pub(super) lacks: Vec<Lack>,
}

/// Packs that no folder of a backup explains: one is there before its packs are, and goes after them.
#[derive(Debug, Clone, Default)]
pub(super) struct Strays {
    /// How many there are of each backup of which no folder is there.
    pub(super) packs: BTreeMap<BackupId, u64>,
    /// Folders among those of the backups that no backup is called by: one of them may be theirs.
    pub(super) strange_folders: Vec<String>,
    /// Whether not one folder of a backup is there.
    pub(super) has_no_folders: bool,
}

impl Strays {
    fn gather(
        repository: &Repository,
        cluster: &ClusterRef,
        packs: &BTreeMap<BackupId, Vec<u32>>,
        folders: &BTreeMap<BackupId, BackupFolder>,
    ) -> Result<Self, RepositoryError> {
        let mut strays = Self { has_no_folders: folders.is_empty(), ..Self::default() };
        for id in packs.keys().filter(|id| !folders.contains_key(id)) {
            if repository.has_begun(cluster, id)? {
                continue;
            }
            // ORDER: another run may have taken them away, and their folder behind them, since they were listed.
            let left = repository.packs_of(cluster, id)?.len() as u64;
            if left > 0 {
                strays.packs.insert(*id, left);
            }
        }
        if !strays.packs.is_empty() {
            strays.strange_folders = repository.strange_backup_folders(cluster)?;
        }
        Ok(strays)
    }
}

/// A backup without a record.
#[derive(Debug, Clone)]
pub(super) struct UnfinishedFacts {
    pub(super) id: BackupId,
    pub(super) host: String,
    pub(super) began: Timestamp,
    pub(super) parents: Vec<BackupId>,
    /// When the last of its objects was stored, by the store's clock.
    pub(super) last_stored: Timestamp,
    pub(super) is_pinned: bool,
    /// Its writer has said that it ended, or an earlier run took it for dead: it will never be finished.
    pub(super) is_given_up: bool,
    /// Whether nothing but the record is to come.
    pub(super) has_all_else: bool,
}

impl TreeFacts {
    /// Reads a tree. `with_wal_times` asks for the time of every file of the archive.
    pub(super) fn gather(
        repository: &Repository,
        cluster: &ClusterRef,
        size: WalSegmentSize,
        with_wal_times: bool,
    ) -> Result<Self, ExpireError> {
        // ORDER: a pack that lies here was announced before, so whose it is, is seen.
        let packs = repository.stored_packs(cluster)?;
        let archive = WalArchive::new(repository, cluster);
        let facts = ArchiveFacts::gather(&archive, size)?;
        if let Some(hidden) = facts.unlisted.first() {
            return Err(ExpireError::Hidden { folder: hidden.folder.clone(), source: hidden.error.clone() });
        }
        let mut history_times = BTreeMap::new();
        for timeline in facts.histories.keys() {
            let history = archive.look_up(&WalFileName::TimelineHistory(*timeline))?;
            history_times.extend(history.map(|history| (*timeline, history.created)));
        }
        let last_stored = last_stored(repository, cluster, &facts)?;
        let wal = repository.stored_wal(cluster)?;
        let mut wal_times = BTreeMap::new();
        for name in wal.iter().filter(|_| with_wal_times) {
            let time = repository.stored_time(&repository.wal_key(cluster, name)?)?;
            wal_times.extend(time.map(|time| (*name, time)));
        }
        let folders = repository.backup_folders(cluster)?;
        let strays = Strays::gather(repository, cluster, &packs, &folders)?;
        let is_emptied = |(id, folder): &(&BackupId, &BackupFolder)| folder.has_gone_alone() && packs.contains_key(id);
        let emptied = folders.iter().filter(is_emptied).map(|(id, _)| *id).collect();
        let (listed, unfinished, gone) = backups(repository, cluster, folders, &packs)?;
        let records: Vec<&BackupRecord> = listed.iter().map(|backup| &backup.record).collect();
        let last_began = if unfinished.is_empty() { None } else { repository.last_began(cluster, &records)? };
        Ok(Self {
            cluster: cluster.clone(),
            listed,
            unfinished,
            last_began,
            gone,
            emptied,
            packs,
            strays,
            archive: facts,
            history_times,
            last_stored,
            wal,
            wal_times,
        })
    }

    /// When the path of a timeline was last written, at the latest: of one without WAL of its own, when it began. The clock
    /// of its host may be behind, so the store's counts, too.
    pub(super) fn last_written(&self, path: &TimelineHistory) -> Option<Timestamp> {
        let began = self.history_times.get(&path.timeline()).copied();
        let written = match self.archive.last_segment(path.timeline()) {
            Some(_) => self.archive.end_time_along(path),
            None => began.or_else(|| self.archive.end_time_along(path)),
        };
        written.max(self.last_stored.get(&path.timeline()).copied())
    }

    /// Whether nothing of any other timeline was stored after the last of this one.
    pub(super) fn was_stored_last(&self, timeline: TimelineId) -> bool {
        let stored = self.last_stored.get(&timeline);
        stored.is_some() && stored == self.last_stored.values().max()
    }

    /// The packs that some backup needs. Those of the backups on which a running one builds are among them, for such a
    /// backup is listed.
    pub(super) fn needed_packs(&self, is_kept: impl Fn(&BackupId) -> bool) -> BTreeSet<(BackupId, u32)> {
        let kept = self.listed.iter().filter(|backup| is_kept(&backup.record.id));
        kept.flat_map(|backup| &backup.needs.packs).map(|need| (need.backup, need.ordinal)).collect()
    }
}

/// Every tree of these clusters, with the size of its segments.
pub(super) fn trees_of(
    repository: &Repository,
    clusters: &[ClusterName],
) -> Result<Vec<(ClusterRef, WalSegmentSize)>, ExpireError> {
    let mut trees = Vec::new();
    for name in clusters {
        let identifiers = repository.system_identifiers(name)?;
        if identifiers.is_empty() {
            return Err(ExpireError::UnknownCluster { cluster: name.clone(), store: repository.describe() });
        }
        for system_identifier in identifiers {
            let cluster = ClusterRef { name: name.clone(), system_identifier };
            let size = segment_size(repository, &cluster)?;
            trees.push((cluster, size));
        }
    }
    Ok(trees)
}

pub(super) fn segment_size(repository: &Repository, cluster: &ClusterRef) -> Result<WalSegmentSize, ExpireError> {
    let identity = repository.identity(cluster)?;
    identity
        .map(|identity| identity.wal_segment_size)
        .ok_or_else(|| ExpireError::NoIdentity { cluster: cluster.name.clone() })
}

fn last_stored(
    repository: &Repository,
    cluster: &ClusterRef,
    archive: &ArchiveFacts,
) -> Result<BTreeMap<TimelineId, Timestamp>, RepositoryError> {
    let mut times = BTreeMap::new();
    for timeline in archive.ranges.keys().chain(archive.histories.keys()) {
        let segment = archive.last_segment(*timeline).map(WalFileName::Segment);
        let name = segment.unwrap_or(WalFileName::TimelineHistory(*timeline));
        let stored = repository.stored_time(&repository.wal_key(cluster, &name)?)?;
        times.extend(stored.map(|stored| (*timeline, stored)));
    }
    Ok(times)
}

type Backups = (Vec<ListedBackup>, Vec<UnfinishedFacts>, BTreeSet<BackupId>);

fn backups(
    repository: &Repository,
    cluster: &ClusterRef,
    folders: BTreeMap<BackupId, BackupFolder>,
    packs: &BTreeMap<BackupId, Vec<u32>>,
) -> Result<Backups, ExpireError> {
    let unreadable = |id: BackupId| move |source| ExpireError::Unreadable { backup: id, source: Box::new(source) };
    let (mut listed, mut unfinished, mut gone) = (Vec::new(), Vec::new(), BTreeSet::new());
    let mut search = LackSearch::new(repository, cluster);
    for (id, folder) in folders {
        match folder.state {
            state if state.gone => {
                gone.insert(id);
            }
            state if state.is_listed() => {
                // How it began is not needed, but damage there is damage, and a person should look first.
                repository.backup_begin(cluster, &id).map_err(unreadable(id))?;
                let backup = listed_backup(repository, cluster, id, &folder, &mut search);
                listed.push(backup.map_err(unreadable(id))?);
            }
            state if state.is_unfinished() => {
                unfinished.push(unfinished_backup(repository, cluster, id, &folder).map_err(unreadable(id))?);
            }
            state if state.record => {
                let error = repository.backup_begin(cluster, &id).err();
                return Err(error.map_or(ExpireError::Changed { backup: id }, unreadable(id)));
            }
            // A mark or pin that was set behind the back of its deletion.
            _ if folder.has_notes_alone() && !packs.contains_key(&id) => {
                gone.insert(id);
            }
            // `gone` goes behind everything, so this is no deletion that was killed.
            _ => return Err(ExpireError::Unexplained { backup: id }),
        }
    }
    listed.sort_by_key(|backup| (backup.record.sequence, backup.record.id));
    Ok((listed, unfinished, gone))
}

fn listed_backup(
    repository: &Repository,
    cluster: &ClusterRef,
    id: BackupId,
    folder: &BackupFolder,
    search: &mut LackSearch<'_>,
) -> Result<ListedBackup, RepositoryError> {
    let record = repository.record(cluster, &id)?;
    let needs = repository.backup_needs(cluster, &record)?;
    let lacks = search.with_needs(&record, &needs)?;
    let pins = repository.pins(cluster, &id, folder)?;
    let pins = pins.into_iter().map(|(_, note)| note.map_or_else(|error| error.to_string(), |note| note.reason));
    let doubted = match folder.state.doubt {
        true => Some(repository.marked_at(cluster, &id, BackupMark::Doubt)?),
        false => None,
    };
    Ok(ListedBackup { record, needs, pins: pins.collect(), doubted, lacks })
}

fn unfinished_backup(
    repository: &Repository,
    cluster: &ClusterRef,
    id: BackupId,
    folder: &BackupFolder,
) -> Result<UnfinishedFacts, RepositoryError> {
    let begin = repository.backup_begin(cluster, &id)?;
    let last_stored = repository.last_stored(cluster, &id, folder)?;
    Ok(UnfinishedFacts {
        id,
        host: begin.host,
        began: begin.began,
        parents: begin.parents,
        last_stored: last_stored.unwrap_or(begin.began),
        is_pinned: folder.state.pinned,
        is_given_up: folder.state.suspect,
        has_all_else: folder.has_all_but_record(),
    })
}

/// On which backups each unfinished one builds.
pub(super) type Parents = BTreeMap<BackupId, Vec<BackupId>>;

/// The marks of all backups, and on which each unfinished one builds: read again after a mark was set.
pub(super) fn marks(
    repository: &Repository,
    cluster: &ClusterRef,
) -> Result<(BTreeMap<BackupId, BackupState>, Parents), ExpireError> {
    let (mut states, mut parents) = (BTreeMap::new(), BTreeMap::new());
    for (id, folder) in repository.backup_folders(cluster)? {
        if folder.state.is_unfinished() {
            let unreadable = |source| ExpireError::Unreadable { backup: id, source: Box::new(source) };
            parents.insert(id, repository.backup_begin(cluster, &id).map_err(unreadable)?.parents);
        }
        states.insert(id, folder.state);
    }
    Ok((states, parents))
}
