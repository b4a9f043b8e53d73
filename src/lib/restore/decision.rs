//! From which backup, along which timelines, and to which record: decided, and unless told otherwise proven, before
//! anything is touched.

use std::path::Path;

use super::BackupChoice;
use super::choose::{self, Choice, Request, is_on};
use super::error::RestoreError;
use super::harmless::CopyError;
use super::old_wal::{CombinedSegments, Gain, OldWal, OldWalUse, Reach, find_use};
use super::proof::{Proof, Prover, Searched, is_behind};
use super::refusal::{Elsewhere, NotFound};
use super::trees;
use crate::pg::{RecoveryMode, RecoveryTarget, RecoveryTargetTimeline, TimelineId, WalSegmentName};
use crate::report::{Cancel, Reporter};
use crate::repository::ArchiveFacts;
use crate::repository::{
    BackupId, BackupRecord, ClusterRef, ClusterSelection, Repository, SelectedCluster, WalArchive,
};

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
    /// What is needed of the old pg_wal, when one was named.
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
        Proving::Skip => choose::choose(&request, &backups, &facts).map(|mut choice| {
            let doubts = std::mem::take(&mut choice.doubts);
            choice.warnings.extend(doubts);
            (choice, None)
        }),
        Proving::Read { threads } => {
            let prover = Prover { source: &source, facts: &facts, threads, reporter, cancel };
            let decider = Decider { request: &request, backups: &backups, facts: &facts, mode: query.mode, prover };
            decider.decide().map(|(choice, proof)| (choice, Some(proof)))
        }
    };
    let decided =
        decided.and_then(|(choice, proof)| match proof.as_ref().and_then(|one| one.on_the_way.minimal_from) {
            Some(span) => Err(CopyError::MinimalWal { lsn: span.lsn }.into()),
            None => Ok((choice, proof)),
        });
    let (mut choice, proof) = decided.map_err(|error| trees::with_older_backup(error, query, &selected))?;
    warnings.append(&mut choice.warnings);
    warnings.extend(proof.iter().flat_map(clock_warnings));
    choice.warnings = warnings;
    let threads = query.proving.threads();
    let old_wal = match &old {
        Some(old) => {
            let gain = Gain { old, source: &source, archived: &archived, facts: &facts, threads };
            let reach = reach_of(&choice, proof.as_ref());
            Some(find_use(&gain, (&choice.path, &choice.record), reach, reporter, cancel)?)
        }
        None => None,
    };
    let last_archived = archived.coverage(&choice.path, choice.record.start_lsn, None).last;
    Ok(Decision { selected, facts, last_archived, choice, proof, old_wal })
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
                return Err(RestoreError::UnreadableBackup { id: entry.id, source: Box::new(source) });
            }
            Err(error) => {
                warnings.push(format!("backup {} cannot be read, so it is not considered: {error}", entry.id));
                unreadable = Some(RestoreError::UnreadableBackup { id: entry.id, source: Box::new(error) });
            }
        }
    }
    // Damage is not absence.
    if let (true, Some(error)) = (readable.is_empty(), unreadable) {
        return Err(error);
    }
    Ok((readable, warnings))
}

/// A clock that went back changes which transactions a time includes.
fn clock_warnings(proof: &Proof) -> impl Iterator<Item = String> + '_ {
    proof.clock_steps.iter().map(|step| {
        format!(
            "the server's clock went back at {}, from {} to {}: recovery to a time stops at the first transaction that \
             is later than it, whatever follows",
            step.to.span.lsn, step.from.time, step.to.time
        )
    })
}

/// Decides with the WAL at hand.
struct Decider<'a> {
    request: &'a Request,
    backups: &'a [BackupRecord],
    facts: &'a ArchiveFacts,
    mode: RecoveryMode,
    prover: Prover<'a>,
}

impl Decider<'_> {
    fn decide(&self) -> Result<(Choice, Proof), RestoreError> {
        match choose::choose(self.request, self.backups, self.facts) {
            Ok(choice) => self.prove(choice, true),
            Err(RestoreError::AmbiguousTimeline { target, branches }) => {
                let mut proven: Vec<(Choice, Proof)> = Vec::new();
                let mut refused = None;
                for branch in &branches {
                    match self.on_timeline(branch.timeline) {
                        Ok(found) => proven.push(found),
                        Err(error) if is_about_the_target(&error) => refused = Some(error),
                        Err(error) => return Err(error),
                    }
                }
                proven.dedup_by(|later, earlier| is_same_point(&later.1, &earlier.1));
                match (proven.pop(), proven.is_empty(), refused) {
                    (Some((mut choice, proof)), true, _) => {
                        let timeline = choice.path.timeline();
                        choice.warnings.push(format!(
                            "of {} paths of timelines that could be meant, only the one of timeline {timeline} has the \
                             target",
                            branches.len()
                        ));
                        Ok((choice, proof))
                    }
                    (None, _, Some(error)) => Err(error),
                    _ => Err(RestoreError::AmbiguousTimeline { target, branches }),
                }
            }
            Err(error) => Err(error),
        }
    }

    fn on_timeline(&self, timeline: TimelineId) -> Result<(Choice, Proof), RestoreError> {
        let timeline = RecoveryTargetTimeline::Id(timeline);
        let request = Request { timeline, ..self.request.clone() };
        self.prove(choose::choose(&request, self.backups, self.facts)?, false)
    }

    /// Proves the target along the path of `choice`, from its backup or, where that is too late, from an earlier one.
    fn prove(&self, choice: Choice, look_elsewhere: bool) -> Result<(Choice, Proof), RestoreError> {
        let target = &self.request.target;
        if self.mode == RecoveryMode::Standby || *target == RecoveryTarget::Immediate {
            let proof = self.prover.backup(&choice.path, &choice.record)?;
            return Ok((choice, proof));
        }
        match self.prover.stop(target, &choice.path, &choice.record)? {
            Searched::Proven(proof) => Ok((choice, *proof)),
            Searched::BeforeEndOf(stop) => match self.with_earlier(&choice)? {
                Some(found) => Ok(found),
                None => Err(RestoreError::StopBeforeBackupEnd {
                    target: target.to_string(),
                    backup: choice.record.id,
                    stop_lsn: choice.record.stop_lsn,
                    found: stop.span.lsn,
                }),
            },
            Searched::NotThere(not_found) => {
                let is_named = matches!(target, RecoveryTarget::TransactionId(..) | RecoveryTarget::RestorePoint(_));
                if is_named && let Some(found) = self.with_earlier(&choice)? {
                    return Ok(found);
                }
                if let Some(hole) = &choice.coverage.hole {
                    return Err(choose::behind_hole(target, hole, &choice.coverage, &choice.record, self.facts));
                }
                Err(self.refuse(&choice, *not_found, look_elsewhere))
            }
        }
    }

    /// The target is looked for from the earliest backup of the path on; the newest that ended before it serves.
    fn with_earlier(&self, choice: &Choice) -> Result<Option<(Choice, Proof)>, RestoreError> {
        if self.request.backup.is_some() {
            return Ok(None);
        }
        let usable = |record: &&BackupRecord| {
            record.findings.is_empty() && is_on(record, &choice.path) && record.stop_lsn < choice.record.stop_lsn
        };
        let mut earlier: Vec<&BackupRecord> = self.backups.iter().filter(usable).collect();
        earlier.sort_by_key(|record| (record.stop_lsn, record.sequence));
        let Some(earliest) = earlier.first() else { return Ok(None) };
        let Searched::Proven(proof) = self.prover.stop(&self.request.target, &choice.path, earliest)? else {
            return Ok(None);
        };
        let serves = |record: &&&BackupRecord| proof.stop.as_ref().is_some_and(|stop| is_behind(stop, record));
        let Some(record) = earlier.iter().rfind(serves) else { return Ok(None) };
        let request = Request {
            backup: Some(record.id),
            timeline: RecoveryTargetTimeline::Id(choice.path.timeline()),
            target: self.request.target.clone(),
        };
        let earlier = choose::choose(&request, self.backups, self.facts)?;
        Ok(Some((earlier, *proof)))
    }

    /// Why there is no such point, with where it lies if it lies on another timeline.
    fn refuse(&self, choice: &Choice, mut not_found: NotFound, look_elsewhere: bool) -> RestoreError {
        if look_elsewhere {
            let own = choice.path.timeline();
            for timeline in self.facts.timelines().into_iter().filter(|timeline| *timeline != own) {
                // It is advice: a timeline that cannot be read has no say.
                if let Ok((_, Proof { stop: Some(stop), .. })) = self.on_timeline(timeline) {
                    not_found.elsewhere = Some(Elsewhere { timeline, lsn: stop.span.lsn });
                    break;
                }
            }
        }
        RestoreError::TargetNotFound { target: self.request.target.clone(), not_found: Box::new(not_found) }
    }
}

/// Whether an error says that a branch does not hold the target, rather than that it could not be looked at.
fn is_about_the_target(error: &RestoreError) -> bool {
    matches!(
        error,
        RestoreError::TargetNotFound { .. }
            | RestoreError::StopBeforeBackupEnd { .. }
            | RestoreError::TargetBeforeBackup { .. }
            | RestoreError::TargetBehindArchive { .. }
            | RestoreError::TimeBehindArchive { .. }
            | RestoreError::NotOnTimeline { .. }
            | RestoreError::Hole { .. }
    )
}

/// Whether two branches give the same rows: they stop at the same record, and have the same last one.
fn is_same_point(one: &Proof, other: &Proof) -> bool {
    one.stop == other.stop && one.last_record == other.last_record && one.commit_before == other.commit_before
}
