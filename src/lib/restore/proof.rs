//! The proof of a target: the WAL from the backup on is read, every digest, CRC and link checked, until the very record
//! is found at which recovery will stop.

use super::error::RestoreError;
use super::refusal::{Nearby, NotFound};
use crate::pg::{Lsn, RecoveryTarget, TimelineHistory, WalSegmentName};
use crate::report::{Cancel, Reporter};
use crate::repository::ArchiveFacts;
use crate::repository::BackupRecord;
use crate::wal_search::{
    ClockStep, Ending, FartherWal, Found, LateCommits, OnTheWay, RecordSpan, RestorePoint, Stop, StopSearch, StopSide,
    WalSearch, WalSearchError, WalSource,
};

/// What was proven of a target, by reading WAL.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Proof {
    /// The record at which recovery stops; none when it goes on to the end of the archive, or to the end of the backup.
    pub stop: Option<Stop>,
    /// The last record that is recovered.
    pub last_record: RecordSpan,
    /// The last commit that is recovered, if there is one behind the beginning of the backup.
    pub commit_before: Option<Ending>,
    /// The first commit that is not, if there is one.
    pub commit_after: Option<Ending>,
    /// The restore points of the name that was asked for, when it was used more than once: the first of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namesakes: Vec<RestorePoint>,
    /// How many there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namesake_count: Option<u64>,
    /// Where the server's clock went back on the way.
    pub clock_steps: Vec<ClockStep>,
    /// The commits behind the stop whose time the target includes, when the clock went back there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late_commits: Option<LateCommits>,
    /// What recovery meets on its way.
    pub on_the_way: OnTheWay,
    /// How many records were read.
    pub records: u64,
    /// Whether WAL that cannot be read follows, near enough for a server that reads ahead.
    #[serde(skip)]
    pub(super) ends_in_trouble: bool,
    /// What was read behind the end of the archive, when an old pg_wal was read with it.
    #[serde(skip)]
    pub(super) gain: Option<ReadGain>,
}

/// What the reading for a proof has shown of the WAL behind the end of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReadGain {
    /// Where reading began.
    pub(super) from: Lsn,
    /// How many commits are recovered from there.
    pub(super) commits: u64,
    /// The last one.
    pub(super) last_commit: Option<Ending>,
    /// How far the WAL was read, every CRC checked.
    pub(super) end_lsn: Lsn,
}

/// Reads the archive, and the old pg_wal where there is one.
pub(super) struct Prover<'a> {
    pub(super) source: &'a dyn WalSource,
    pub(super) facts: &'a ArchiveFacts,
    /// What the archive alone holds, when an old pg_wal is read with it.
    pub(super) archived: Option<&'a ArchiveFacts>,
    pub(super) threads: usize,
    pub(super) reporter: &'a dyn Reporter,
    pub(super) cancel: &'a Cancel,
}

impl Prover<'_> {
    /// Looks for `target` along `path` from the beginning of a backup to the first hole, or to the end of the segment
    /// that holds the byte before `to`.
    pub(super) fn search(
        &self,
        target: &RecoveryTarget,
        path: &TimelineHistory,
        record: &BackupRecord,
        to: Option<Lsn>,
    ) -> Result<Found<StopSearch>, RestoreError> {
        let size = self.facts.segment_size;
        let archived = self.facts.coverage(path, record.start_lsn, None).end_lsn;
        let bound = to.and_then(|to| WalSegmentName::containing_previous_byte(path.timeline(), to, size).end_lsn(size));
        let to = bound.map_or(archived, |bound| bound.min(archived));
        let search = WalSearch::new(self.source, path, (record.start_lsn, to), size, self.threads)?;
        if search.major() != record.major_version {
            let segment = WalSegmentName::containing(path.timeline(), record.start_lsn, size);
            let (expected, found) = (record.major_version, search.major());
            return Err(WalSearchError::OtherVersion { segment, expected, found }.into());
        }
        let archived_end = self.archived.map(|archived| archived.coverage(path, record.start_lsn, None).end_lsn);
        let new = || StopSearch::new(target.clone()).counting_behind(archived_end);
        Ok(search.run(new, self.reporter, self.cancel)?)
    }

    /// Proves that the WAL is whole up to the end of the backup.
    pub(super) fn backup(&self, path: &TimelineHistory, record: &BackupRecord) -> Result<Proof, RestoreError> {
        let found = self.search(&RecoveryTarget::Latest, path, record, Some(record.stop_lsn))?;
        if found.run.next_lsn < record.stop_lsn {
            return Err(RestoreError::WalEndsBeforeBackup { backup: record.id, end: found.run.next_lsn });
        }
        let mut proof = proof_of(found, record);
        // What lies behind the end of the backup is not what was asked for.
        (proof.commit_before, proof.commit_after) = (None, None);
        proof.on_the_way = proof.on_the_way.before(record.stop_lsn);
        Ok(proof)
    }

    /// Proves where recovery to `target` from that backup stops; `None` when the target was not found.
    pub(super) fn stop(
        &self,
        target: &RecoveryTarget,
        path: &TimelineHistory,
        record: &BackupRecord,
    ) -> Result<Searched, RestoreError> {
        let mut found = self.search(target, path, record, None)?;
        if found.run.next_lsn < record.stop_lsn && found.search.stop.is_none() {
            return Err(RestoreError::WalEndsBeforeBackup { backup: record.id, end: found.run.next_lsn });
        }
        if found.search.stop.as_ref().is_some_and(|stop| is_behind(stop, record)) {
            self.look_farther(target, path, &mut found)?;
        }
        Ok(match &found.search.stop {
            Some(stop) if is_behind(stop, record) => Searched::Proven(Box::new(proof_of(found, record))),
            Some(stop) => Searched::BeforeEndOf(Box::new(stop.clone())),
            None if *target == RecoveryTarget::Latest => Searched::Proven(Box::new(proof_of(found, record))),
            None => Searched::NotThere(Box::new(not_found(target, path, record, found))),
        })
    }

    /// Behind a stop at a time: commits that the target includes, beyond what was read.
    fn look_farther(
        &self,
        target: &RecoveryTarget,
        path: &TimelineHistory,
        found: &mut Found<StopSearch>,
    ) -> Result<(), RestoreError> {
        let RecoveryTarget::Time(time, bound) = target else { return Ok(()) };
        let from = found.run.next_lsn;
        let to = self.facts.coverage(path, from, None).end_lsn;
        let farther = FartherWal { source: self.source, path, size: self.facts.segment_size, threads: self.threads };
        let late = farther.late_commits((from, to), (*time, *bound), self.reporter, self.cancel)?;
        found.search.add_late(&late);
        Ok(())
    }
}

/// What a search for a target came to.
pub(super) enum Searched {
    /// Recovery stops there.
    Proven(Box<Proof>),
    /// Recovery would stop before the backup is consistent.
    BeforeEndOf(Box<Stop>),
    /// There is no such point.
    NotThere(Box<NotFound>),
}

/// Whether a recovery from that backup is consistent when it stops there.
pub(super) fn is_behind(stop: &Stop, record: &BackupRecord) -> bool {
    match stop.side {
        StopSide::Before => stop.span.lsn >= record.stop_lsn,
        StopSide::After => stop.span.end_lsn >= record.stop_lsn,
    }
}

fn proof_of(found: Found<StopSearch>, record: &BackupRecord) -> Proof {
    let Found { search, run, ends_in_trouble } = found;
    // The first record of a backup's WAL is read in any case: a run without one is refused before.
    let nothing = RecordSpan { lsn: record.start_lsn, end_lsn: record.start_lsn };
    let late_commits = search.late_commits().cloned();
    let gain = search.gained.map(|gained| ReadGain {
        from: record.start_lsn,
        commits: gained.count,
        last_commit: gained.last,
        end_lsn: run.next_lsn,
    });
    Proof {
        gain,
        late_commits,
        stop: search.stop,
        last_record: search.last_record.unwrap_or(nothing),
        commit_before: search.commit_before,
        commit_after: search.commit_after,
        namesake_count: (search.namesake_count > 1).then_some(search.namesake_count),
        namesakes: if search.namesake_count > 1 { search.namesakes } else { Vec::new() },
        clock_steps: search.clock_steps,
        on_the_way: search.on_the_way,
        records: run.records,
        ends_in_trouble,
    }
}

fn not_found(
    target: &RecoveryTarget,
    path: &TimelineHistory,
    record: &BackupRecord,
    found: Found<StopSearch>,
) -> NotFound {
    let Found { search, run, .. } = found;
    let timeline = path.timeline();
    let nearby = Nearby::of(target, timeline, record.id, search);
    NotFound { timeline, from: record.start_lsn, to: run.next_lsn, nearby }
}
