//! Several paths of timelines that could be meant: reading the WAL of each tells whether they differ at all.
//!
//! INVARIANT: a path is chosen only when every other one was read and does not have the target, or gives the same commits.

use super::choose::{Choice, is_on};
use super::decision::Decider;
use super::error::RestoreError;
use super::proof::{Proof, Searched};
use super::refusal::Branch;
use crate::pg::{RecoveryMode, TimelineId};
use crate::repository::BackupRecord;
use crate::wal_search::Ending;

impl Decider<'_> {
    /// The one path that has the target, or the newest of those that give the same commits, as recovery would follow it.
    pub(super) fn tell_apart(&self, target: String, branches: Vec<Branch>) -> Result<(Choice, Proof), RestoreError> {
        // What a standby will have replayed when it is asked is not known: nothing can be compared.
        if self.mode == RecoveryMode::Standby {
            return Err(RestoreError::AmbiguousTimeline { target, branches });
        }
        let mut proven: Vec<(Choice, Proof)> = Vec::new();
        let (mut refused, mut may_be_hidden) = (None::<RestoreError>, false);
        for branch in &branches {
            match self.on_timeline(branch.timeline) {
                Ok(found) => proven.push(found),
                Err(error) if is_about_the_target(&error) => {
                    may_be_hidden |= matches!(error, RestoreError::Hole { .. });
                    refused = Some(match refused {
                        Some(earlier) => self.joined(earlier, error),
                        None => error,
                    });
                }
                Err(error) => return Err(error),
            }
        }
        let is_told = !may_be_hidden && self.give_the_same(&proven)?;
        let timelines: Vec<TimelineId> = proven.iter().map(|(choice, _)| choice.path.timeline()).collect();
        match (proven.pop(), refused) {
            (Some((mut choice, proof)), _) if is_told => {
                choice.warnings.push(told_text(branches.len(), &timelines, choice.path.timeline()));
                Ok((choice, proof))
            }
            (None, Some(error)) => {
                let read: Vec<TimelineId> = branches.iter().map(|branch| branch.timeline).collect();
                Err(self.with_neighbours(error, &read))
            }
            _ => Err(RestoreError::AmbiguousTimeline { target, branches }),
        }
    }

    /// Whether recovery along each path gives the same commits: where the last one of each is the same record, all that
    /// lies before it is the same, too.
    fn give_the_same(&self, proven: &[(Choice, Proof)]) -> Result<bool, RestoreError> {
        let records = proven.iter().map(|(choice, _)| &choice.record);
        let Some(oldest) = records.min_by_key(|record| (record.stop_lsn, record.sequence)) else { return Ok(false) };
        let mut last_commits = Vec::new();
        for found in proven {
            last_commits.push(self.last_commit(found, oldest)?);
        }
        Ok(last_commits.iter().all(Option::is_some) && last_commits.windows(2).all(|two| two.first() == two.last()))
    }

    /// The last commit that is recovered, as far as it lies behind the beginning of `oldest`; none when that is not known.
    fn last_commit(
        &self,
        (choice, proof): &(Choice, Proof),
        oldest: &BackupRecord,
    ) -> Result<Option<Option<Ending>>, RestoreError> {
        if proof.commit_before.is_some() || choice.record.id == oldest.id {
            return Ok(Some(proof.commit_before.clone()));
        }
        if !is_on(oldest, &choice.path) {
            return Ok(None);
        }
        // Its own backup holds all commits, so the last one lies before that.
        Ok(match self.prover.stop(&self.request.target, &choice.path, oldest)? {
            Searched::Proven(earlier) if earlier.stop == proof.stop => Some(earlier.commit_before),
            _ => None,
        })
    }
}

fn told_text(count: usize, timelines: &[TimelineId], chosen: TimelineId) -> String {
    if timelines.len() < 2 {
        return format!(
            "of {count} paths of timelines that could be meant, only the one of timeline {chosen} has the target"
        );
    }
    let names: Vec<String> = timelines.iter().map(ToString::to_string).collect();
    format!(
        "the paths of timelines {} give the same commits up to the target; the newest, timeline {chosen}, is followed",
        names.join(" and ")
    )
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

#[cfg(test)]
mod tests {
    use super::super::choose::Request;
    use super::super::proof::Prover;
    use super::super::testing::{archive, record};
    use super::*;
    use crate::pg::{RecoveryTarget, RecoveryTargetTimeline, WalSegmentName};
    use crate::report::{Cancel, SilentReporter};
    use crate::wal_search::{SegmentSink, SegmentStanding, WalSearchError, WalSource};

    struct Unread;

    impl WalSource for Unread {
        fn read(&self, _: &WalSegmentName, _: &mut SegmentSink<'_>) -> Result<bool, WalSearchError> {
            panic!("nothing tells the paths apart, so nothing need be read")
        }

        fn archived_at(&self, _: &WalSegmentName) -> Result<Option<jiff::Timestamp>, WalSearchError> {
            panic!("nothing tells the paths apart, so nothing need be asked")
        }

        fn standing(&self, _: &WalSegmentName) -> SegmentStanding {
            SegmentStanding::Archived
        }
    }

    #[test]
    fn a_standby_of_two_ends_is_refused() {
        let at = "2026-11-20T12:00:00Z";
        let fork = [(2, "1\t0/5100000\tx\n"), (3, "1\t0/5200000\tx\n")];
        let facts = archive(&[(1, 1, 4, at), (2, 5, 6, at), (3, 5, 9, at)], &fork);
        let backups = [record(1, (1, "0/2000028"), (1, "0/2000100"), "2026-11-20T08:00:00Z")];
        let request =
            Request { target: RecoveryTarget::Latest, timeline: RecoveryTargetTimeline::Latest, backup: None };
        let cancel = Cancel::new();
        let prover = Prover {
            source: &Unread,
            facts: &facts,
            archived: None,
            threads: 1,
            reporter: &SilentReporter,
            cancel: &cancel,
        };
        let mode = RecoveryMode::Standby;
        let decider = Decider { request: &request, backups: &backups, facts: &facts, mode, prover };
        let Err(RestoreError::AmbiguousTimeline { branches, .. }) = decider.decide() else { panic!("not refused") };
        let timelines: Vec<u32> = branches.iter().map(|branch| branch.timeline.get()).collect();
        assert_eq!(timelines, [2, 3]);
    }
}
