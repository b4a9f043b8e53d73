//! From which backup, along which timelines, and to which record: decided, and unless told otherwise proven, before
//! anything is touched.

use std::path::Path;
use std::sync::Arc;

use super::BackupChoice;
use super::choose::{self, Choice, Request, is_on};
use super::error::RestoreError;
use super::harmless::CopyError;
use super::left_behind::left_behind_warnings;
use super::old_wal::{CombinedSegments, Gain, OldWal, OldWalUse, Reach, find_use};
use super::proof::{Proof, Prover, Searched, is_behind};
use super::proof_warnings::proof_warnings;
use super::refusal::{Nearby, NotFound};
use super::trees;
use super::unfollowed::{Unfollowed, or_on_another};
use crate::error::{Classified, ErrorClass};
use crate::pg::{Lsn, RecoveryMode, RecoveryTarget, RecoveryTargetTimeline, TimelineId, WalSegmentName};
use crate::report::{Cancel, Reporter};
use crate::repository::{ArchiveFacts, BackupId, BackupRecord, ClusterRef, ClusterSelection};
use crate::repository::{Repository, SelectedCluster, UnlistedWal, WalArchive};
use crate::wal_search::StopSide;

/// Whether the target is looked for in the WAL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proving {
    /// It is, by so many threads.
    Read {
        /// How many.
        threads: usize,
    },
    /// It is not: only the names and times of what is archived decide.
    Skip,
}

impl Proving {
    /// How many threads read what must be read in any case.
    pub(super) fn threads(self) -> usize {
        match self {
            Self::Read { threads } => threads,
            Self::Skip => 1,
        }
    }
}

/// A point that is asked for.
pub struct PointQuery<'a> {
    /// The repository.
    pub repository: &'a Repository,
    /// Which cluster.
    pub selection: &'a ClusterSelection,
    /// From which backup.
    pub backup: BackupChoice,
    /// What it becomes.
    pub mode: RecoveryMode,
    /// Where recovery should stop.
    pub target: &'a RecoveryTarget,
    /// Along which timeline.
    pub timeline: RecoveryTargetTimeline,
    /// Whether WAL is read.
    pub proving: Proving,
    /// A pg_wal, or a data directory, whose WAL counts where the archive lacks it.
    pub wal_from: Option<&'a Path>,
}

/// How a point is reached.
pub struct Decision {
    /// The cluster, and the tree of it that holds the backup.
    pub selected: SelectedCluster,
    /// What the archive holds, and the old pg_wal that was named.
    pub(super) facts: ArchiveFacts,
    /// The last segment of the path that is archived.
    pub(super) last_archived: Option<WalSegmentName>,
    /// Backup, path and WAL.
    pub choice: Choice,
    /// What reading the WAL has shown; none when it was not read.
    pub proof: Option<Proof>,
    /// The old pg_wal, when one was named.
    pub(super) old: Option<OldWal>,
    /// What is needed of it.
    pub old_wal: Option<OldWalUse>,
}

/// What a decision is made from.
pub(super) struct Gathered {
    pub(super) selected: SelectedCluster,
    /// What the archive holds.
    pub(super) archived: ArchiveFacts,
    /// The old pg_wal, when one was named.
    pub(super) old: Option<OldWal>,
    /// What both hold together.
    pub(super) facts: ArchiveFacts,
    /// The records that can be read.
    pub(super) backups: Vec<BackupRecord>,
    /// The backup that is meant, unless the one that fits.
    pub(super) backup: Option<BackupId>,
    pub(super) warnings: Vec<String>,
}

/// Looks at the archive and the backups.
pub(super) fn gather(query: &PointQuery<'_>) -> Result<Gathered, RestoreError> {
    let newest = query.repository.select_cluster(query.selection, None)?;
    let (selected, other_tree) = trees::tree_of_backup(query, newest)?;
    let archive = WalArchive::new(query.repository, &selected.cluster);
    let archived = ArchiveFacts::gather(&archive, selected.identity.wal_segment_size)?;
    let old = query.wal_from.map(|directory| OldWal::open(directory, &selected.identity, &archived)).transpose()?;
    let facts = old.as_ref().map_or_else(|| archived.clone(), |old| old.added_to(&archived));
    let (backups, mut warnings) = readable_backups(query, &selected.cluster)?;
    warnings.extend(other_tree);
    for (timeline, problem) in &facts.unreadable_histories {
        warnings
            .push(format!("the history of timeline {timeline} cannot be read ({problem}), so it is not considered"));
    }
    for unlisted in &facts.unlisted {
        let (folder, problem) = (&unlisted.folder, &unlisted.error);
        let why = std::error::Error::source(problem).map(|cause| format!(" ({cause})")).unwrap_or_default();
        warnings.push(format!("the WAL in \"{folder}\" cannot be listed{why}, so nothing in it is considered"));
    }
    let backup = match query.backup {
        BackupChoice::Fitting => None,
        // One in which something wrong was found is never the last good one.
        BackupChoice::Newest => backups.iter().rfind(|record| record.findings.is_empty()).map(|record| record.id),
        BackupChoice::Id(id) => Some(id),
    };
    Ok(Gathered { selected, archived, old, facts, backups, backup, warnings })
}

/// Decides how a point is reached.
pub fn decide(query: &PointQuery<'_>, reporter: &dyn Reporter, cancel: &Cancel) -> Result<Decision, RestoreError> {
    let Gathered { selected, archived, old, facts, backups, backup, mut warnings } = gather(query)?;
    let archive = WalArchive::new(query.repository, &selected.cluster);
    let source = CombinedSegments::new(query.repository, archive, old.as_ref());
    let request = Request { target: query.target.clone(), timeline: query.timeline, backup };
    let decided = match query.proving {
        Proving::Skip => choose::choose(&request, &backups, &facts).and_then(|mut choice| {
            if let Some(unfollowed) = Unfollowed::beside(&choice.path, &request, &backups, &facts) {
                return Err(unfollowed.refusal(&facts));
            }
            choice.warnings.append(&mut choice.doubts);
            Ok((choice, None))
        }),
        Proving::Read { threads } => {
            let archived = old.as_ref().map(|_| &archived);
            let prover = Prover { source: &source, facts: &facts, archived, threads, reporter, cancel };
            let decider = Decider { request: &request, backups: &backups, facts: &facts, mode: query.mode, prover };
            decider.decide().map(|(choice, proof)| (choice, Some(proof)))
        }
    };
    let decided =
        decided.and_then(|(choice, proof)| match proof.as_ref().and_then(|one| one.on_the_way.minimal_from) {
            Some(span) => Err(CopyError::MinimalWal { lsn: span.lsn }.into()),
            None => Ok((choice, proof)),
        });
    let of_folder = |error| old.iter().fold(error, |error, old| old.of_its_timeline(error, &archived));
    let decided = decided.map_err(|error| of_folder(may_be_unlisted(error, &facts)));
    let (mut choice, proof) = decided.map_err(|error| trees::with_older_backup(error, query, &selected))?;
    // A server that reads ahead would meet it, and end.
    choice.has_hole |= proof.as_ref().is_some_and(|proof| proof.ends_in_trouble);
    warnings.append(&mut choice.warnings);
    let read = (&source as _, facts.segment_size);
    warnings.extend(left_behind_warnings(&choice.left_behind, query.proving, read, (reporter, cancel))?);
    warnings.extend(proof.iter().flat_map(|proof| proof_warnings(proof, choice.path.timeline())));
    choice.warnings = warnings;
    let old_wal = match &old {
        Some(old) => {
            let threads = query.proving.threads();
            let gain = Gain { old, source: &source, archived: &archived, facts: &facts, behind: None, threads };
            let reach = reach_of(&choice, proof.as_ref());
            let read = proof.as_ref().and_then(|proof| proof.gain.as_ref());
            Some(find_use(&gain, (&choice.path, choice.record.start_lsn), reach, read, (reporter, cancel))?)
        }
        None => None,
    };
    let last_archived = archived.coverage(&choice.path, choice.record.start_lsn, None).last;
    Ok(Decision { selected, facts, last_archived, choice, proof, old, old_wal })
}

/// What cannot be listed is not missing.
pub(super) fn may_be_unlisted(error: RestoreError, facts: &ArchiveFacts) -> RestoreError {
    let segment = match &error {
        RestoreError::Hole { hole, .. } => hole.first,
        RestoreError::BackupWithoutWal { segment, .. } => *segment,
        _ => return error,
    };
    // What an older timeline has would do as well.
    let number = segment.number(facts.segment_size);
    let around = |unlisted: &&UnlistedWal| {
        let of_timeline =
            number.and_then(|number| WalSegmentName::from_number(unlisted.timeline, number, facts.segment_size));
        of_timeline.is_some_and(|name| unlisted.may_hold(&name))
    };
    match facts.unlisted.iter().find(around) {
        Some(unlisted) => RestoreError::UnlistedWal { segment, source: Arc::clone(&unlisted.error) },
        None => error,
    }
}

/// How much WAL is needed: all there is when it was not read for the target.
fn reach_of(choice: &Choice, proof: Option<&Proof>) -> Reach {
    match proof {
        Some(proof) => Reach {
            // Recovery reads the record at which it stops, also when it stops before it.
            end: Some(proof.stop.as_ref().map_or(proof.last_record.end_lsn, |stop| stop.span.end_lsn)),
            last_record: Some(proof.last_record.lsn),
        },
        None => Reach { end: Some(choice.coverage.end_lsn), last_record: None },
    }
}

/// The records that can be read, and warnings about those that cannot.
fn readable_backups(
    query: &PointQuery<'_>,
    cluster: &ClusterRef,
) -> Result<(Vec<BackupRecord>, Vec<String>), RestoreError> {
    let mut readable = Vec::new();
    let mut warnings = Vec::new();
    let mut unreadable = None;
    for entry in query.repository.backups(cluster)? {
        match entry.record {
            Ok(record) => readable.push(record),
            Err(source) if query.backup == BackupChoice::Id(entry.id) => {
                return Err(RestoreError::UnreadableBackup { id: entry.id, older: None, source: Box::new(source) });
            }
            Err(error) => {
                warnings.push(format!("backup {} cannot be read, so it is not considered: {error}", entry.id));
                unreadable =
                    Some(RestoreError::UnreadableBackup { id: entry.id, older: None, source: Box::new(error) });
            }
        }
    }
    for (id, error) in query.repository.backups_without_begin(cluster)? {
        let source = Box::new(error);
        if query.backup == BackupChoice::Id(id) {
            return Err(RestoreError::UnreadableBackup { id, older: None, source });
        }
        warnings.push(format!(
            "backup {id} is not listed, so it is not considered: its object \"begin\" is missing; put back from a copy of \
             the repository, it counts again"
        ));
        unreadable = unreadable.or(Some(RestoreError::UnreadableBackup { id, older: None, source }));
    }
    // Damage is not absence.
    if let (true, Some(error)) = (readable.is_empty(), unreadable) {
        return Err(error);
    }
    Ok((readable, warnings))
}

/// Whether the stop record is recovered, and begins at that position or behind it.
fn recovers_behind(proof: &Proof, position: Lsn) -> bool {
    proof.stop.as_ref().is_some_and(|stop| stop.side == StopSide::After && stop.span.lsn >= position)
}

/// Decides with the WAL at hand.
pub(super) struct Decider<'a> {
    pub(super) request: &'a Request,
    pub(super) backups: &'a [BackupRecord],
    pub(super) facts: &'a ArchiveFacts,
    pub(super) mode: RecoveryMode,
    pub(super) prover: Prover<'a>,
}

impl Decider<'_> {
    pub(super) fn decide(&self) -> Result<(Choice, Proof), RestoreError> {
        let (choice, proof) = self.decide_among_known()?;
        match Unfollowed::beside(&choice.path, self.request, self.backups, self.facts) {
            Some(unfollowed) if !unfollowed.begins_behind(&proof) => Err(unfollowed.refusal(self.facts)),
            _ => Ok((choice, proof)),
        }
    }

    fn decide_among_known(&self) -> Result<(Choice, Proof), RestoreError> {
        match choose::choose(self.request, self.backups, self.facts) {
            Ok(choice) => {
                let parting = choice.parting.clone();
                let unfollowed = Unfollowed::beside(&choice.path, self.request, self.backups, self.facts);
                let proven = self.prove(choice).map_err(|error| or_on_another(error, unfollowed, self.facts));
                let (choice, proof) = proven.map_err(|error| self.with_neighbours(error, &[]))?;
                match parting.filter(|parting| recovers_behind(&proof, parting.at)) {
                    // An LSN within the last record before the fork: the next record is another one on each path.
                    Some(parting) => self.tell_apart(self.request.target.to_string(), parting.branches),
                    None => Ok((choice, proof)),
                }
            }
            Err(RestoreError::AmbiguousTimeline { target, branches }) => self.tell_apart(target, branches),
            Err(error) => Err(self.with_neighbours(self.with_last_commit(error), &[])),
        }
    }

    pub(super) fn on_timeline(&self, timeline: TimelineId) -> Result<(Choice, Proof), RestoreError> {
        let timeline = RecoveryTargetTimeline::Id(timeline);
        let request = Request { timeline, ..self.request.clone() };
        let choice = choose::choose(&request, self.backups, self.facts);
        self.prove(choice.map_err(|error| self.with_last_commit(error))?)
    }

    /// Proves the target along the path of `choice`, from its backup or, where that is too late, from an earlier one.
    fn prove(&self, choice: Choice) -> Result<(Choice, Proof), RestoreError> {
        let target = &self.request.target;
        if self.mode == RecoveryMode::Standby || *target == RecoveryTarget::Immediate {
            let proof = self.prover.backup(&choice.path, &choice.record)?;
            return Ok((choice, proof));
        }
        match self.prover.stop(target, &choice.path, &choice.record)? {
            Searched::Proven(proof) => Ok((choice, *proof)),
            Searched::BeforeEndOf(stop) => match self.with_earlier(&choice, None)? {
                Some(found) => Ok(found),
                None => Err(RestoreError::StopBeforeBackupEnd {
                    target: target.to_string(),
                    backup: choice.record.id,
                    stop_lsn: choice.record.stop_lsn,
                    found: stop.span.lsn,
                }),
            },
            Searched::NotThere(mut not_found) => {
                let is_named = matches!(target, RecoveryTarget::TransactionId(..) | RecoveryTarget::RestorePoint(_));
                if is_named && let Some(found) = self.with_earlier(&choice, Some(&mut not_found))? {
                    return Ok(found);
                }
                if let Some(hole) = &choice.coverage.hole {
                    return Err(choose::behind_hole(target, hole, &choice.coverage, &choice.record, self.facts));
                }
                Err(RestoreError::TargetNotFound { target: target.clone(), not_found })
            }
        }
    }

    /// The target is looked for from the earlier backups of the path, the newest of them first, each up to where the
    /// search before it began. A stretch that cannot be read is passed over, and told when the target is nowhere else.
    /// What they have instead goes to `not_found`.
    fn with_earlier(
        &self,
        choice: &Choice,
        mut not_found: Option<&mut NotFound>,
    ) -> Result<Option<(Choice, Proof)>, RestoreError> {
        if self.request.backup.is_some() {
            return Ok(None);
        }
        let usable = |record: &&BackupRecord| {
            record.findings.is_empty() && is_on(record, &choice.path) && record.stop_lsn < choice.record.stop_lsn
        };
        let mut earlier: Vec<&BackupRecord> = self.backups.iter().filter(usable).collect();
        earlier.sort_by_key(|record| std::cmp::Reverse((record.stop_lsn, record.sequence)));
        let mut until = choice.record.stop_lsn;
        let mut unread = None;
        for record in earlier {
            match self.search_from(choice, record, until, not_found.as_deref_mut()) {
                Ok(Some(found)) => return Ok(Some(found)),
                Ok(None) => {}
                Err(error) if error.class() == ErrorClass::Interrupted => return Err(error),
                Err(error) => drop(unread.get_or_insert(error)),
            }
            until = record.stop_lsn;
        }
        unread.map_or(Ok(None), Err)
    }

    /// Looks for the target from one earlier backup to `until`.
    fn search_from(
        &self,
        choice: &Choice,
        record: &BackupRecord,
        until: Lsn,
        not_found: Option<&mut NotFound>,
    ) -> Result<Option<(Choice, Proof)>, RestoreError> {
        let target = &self.request.target;
        // A record that begins before `until` may end in the next segment.
        let to = until.checked_add(self.facts.segment_size.bytes()).unwrap_or(until);
        let found = self.prover.search(target, &choice.path, record, Some(to))?;
        match &found.search.stop {
            Some(stop) if is_behind(stop, record) => {}
            Some(_) => return Ok(None),
            None => {
                if let Some(not_found) = not_found {
                    not_found.from = not_found.from.min(record.start_lsn);
                    let nearby = Nearby::of(target, not_found.timeline, record.id, found.search);
                    not_found.nearby.add(target, nearby);
                }
                let coverage = self.facts.coverage(&choice.path, record.start_lsn, Some(until));
                return match &coverage.hole {
                    Some(hole) => Err(choose::behind_hole(target, hole, &coverage, record, self.facts)),
                    None => Ok(None),
                };
            }
        }
        let request = Request {
            backup: Some(record.id),
            timeline: RecoveryTargetTimeline::Id(choice.path.timeline()),
            target: target.clone(),
        };
        let earlier = choose::choose(&request, self.backups, self.facts)?;
        // Once more without an end: what follows the point is to be told, too.
        match self.prover.stop(target, &earlier.path, record)? {
            Searched::Proven(proof) => Ok(Some((earlier, *proof))),
            Searched::BeforeEndOf(_) | Searched::NotThere(_) => Ok(None),
        }
    }
}
