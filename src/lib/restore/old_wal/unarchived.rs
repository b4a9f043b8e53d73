//! WAL on this machine that the archive lacks and that nobody asked for: would commits be lost?

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::super::choose::is_on;
use super::super::decision::{Decision, PointQuery, Proving, decide};
use super::super::error::RestoreError;
use super::super::marker::killed_restore;
use super::super::original::refuse_running as refuse_running_original;
use super::super::paths::parting;
use super::beside::{WhichPaths, paths_beside};
use super::folder::refuse_running;
use super::moved::{moved_aside, real_places, unseen_text};
use super::{CombinedSegments, Gain, OldWal, OldWalError, OldWalUse, PG_WAL, Reach, find_use};
use crate::error::{Classified, ErrorClass, chain};
use crate::fs::{self, FileError};
use crate::pg::{Lsn, RecoveryTarget, RecoveryTargetTimeline, TimelineHistory, TimelineId};
use crate::report::{Cancel, Reporter};
use crate::repository::{ArchiveFacts, Repository, WalArchive};

/// What is asked.
pub(in super::super) struct Unarchived<'a> {
    pub(in super::super) repository: &'a Repository,
    pub(in super::super) decision: &'a Decision,
    /// Whether the latest is meant.
    pub(in super::super) is_latest: bool,
    /// Whether nobody said along which timeline.
    pub(in super::super) is_any_timeline: bool,
    /// The directory from which everything is removed that does not belong to the backup.
    pub(in super::super) removed: Option<&'a Path>,
    /// Whether the archive alone is meant.
    pub(in super::super) archive_only: bool,
    pub(in super::super) threads: usize,
    pub(in super::super) reporter: &'a dyn Reporter,
    pub(in super::super) cancel: &'a Cancel,
}

/// Warns of WAL in these data directories that this restore will not replay. A restore to the latest is refused when
/// commits are in it, unless the person said that the archive alone is meant; a server that runs will archive them yet.
pub(in super::super) fn check_unarchived(asked: &Unarchived<'_>, named: &[&Path]) -> Result<Vec<String>, RestoreError> {
    let mut warnings: Vec<String> = asked.check_partial()?.into_iter().collect();
    warnings.extend(asked.left_out_of_named()?);
    for place in real_places(named) {
        warnings.extend(asked.warning_of(&place, true)?);
        match moved_aside(&place) {
            // Of what lies there for long, commits alone matter.
            Ok(moved) => {
                for place in moved {
                    warnings.extend(asked.warning_of(&place, false)?);
                }
            }
            Err(error) => warnings.push(unseen_text(&error)),
        }
    }
    Ok(warnings)
}

/// For who asks up to where there is WAL: the commits in these data directories, in one that was moved aside from
/// there, or in a partial segment of the archive, for which pgv-restore refuses to restore the latest.
pub fn unarchived_commits(
    query: &PointQuery<'_>,
    decision: &Decision,
    places: &[&Path],
    (reporter, cancel): (&dyn Reporter, &Cancel),
) -> Result<Vec<String>, RestoreError> {
    if *query.target != RecoveryTarget::Latest {
        return Ok(Vec::new());
    }
    Unarchived::of_latest(query, decision, (reporter, cancel))
        .told(places, "; pgv-restore refuses to leave that out unless --archive-only says so")
}

/// Warns who is refused a target that the archive does not have of the WAL in these data directories, or in one that was
/// moved aside from there, that may have it.
pub fn warn_of_unarchived(
    error: &RestoreError,
    query: &PointQuery<'_>,
    places: &[&Path],
    (reporter, cancel): (&dyn Reporter, &Cancel),
) {
    let is_not_there = matches!(
        error,
        RestoreError::TargetNotFound { .. }
            | RestoreError::TargetBehindArchive { .. }
            | RestoreError::TimeBehindArchive { .. }
    );
    // Up to its end, the archive was read just now.
    let latest = PointQuery { target: &RecoveryTarget::Latest, proving: Proving::Skip, ..*query };
    let Some(Ok(decision)) = is_not_there.then(|| decide(&latest, reporter, cancel)) else { return };
    for place in real_places(places) {
        // One that cannot be looked at is told of below.
        if let Err(RestoreError::OriginalIsAlive { server }) =
            refuse_running_original(&place, decision.selected.cluster.system_identifier)
        {
            reporter.warn(&format!(
                "the original runs in {server}: SELECT pg_switch_wal(); there archives what it has written so far; then try \
                 again"
            ));
        }
    }
    // The refusal is what counts.
    match Unarchived::of_latest(query, &decision, (reporter, cancel)).told(places, "") {
        Ok(warnings) => warnings.iter().for_each(|warning| reporter.warn(warning)),
        Err(error) if error.class() == ErrorClass::Interrupted => {}
        Err(error) => reporter.warn(&format!("could not look for WAL on this machine: {}", chain(&error))),
    }
}

impl<'a> Unarchived<'a> {
    /// For who asks up to where there is WAL, and removes nothing.
    fn of_latest(
        query: &PointQuery<'a>,
        decision: &'a Decision,
        (reporter, cancel): (&'a dyn Reporter, &'a Cancel),
    ) -> Self {
        Self {
            repository: query.repository,
            decision,
            is_latest: true,
            is_any_timeline: query.timeline == RecoveryTargetTimeline::Latest,
            removed: None,
            archive_only: false,
            threads: query.proving.threads(),
            reporter,
            cancel,
        }
    }
}

impl Unarchived<'_> {
    /// What would be refused, and what reads it, as words.
    fn told(&self, named: &[&Path], and_then: &str) -> Result<Vec<String>, RestoreError> {
        let mut warnings = Vec::new();
        match self.check_partial() {
            Ok(warning) => warnings.extend(warning),
            Err(RestoreError::OldWal(
                refusal @ (OldWalError::InPartial { .. } | OldWalError::PartialUnjudged { .. }),
            )) => warnings.push(format!("{}{and_then}", chain(&refusal))),
            Err(error) => return Err(error),
        }
        let mut places = real_places(named);
        let moved: Result<Vec<_>, FileError> = places.iter().map(|place| moved_aside(place)).collect();
        match moved {
            Ok(moved) => places.extend(moved.into_iter().flatten()),
            Err(error) => warnings.push(unseen_text(&error)),
        }
        for place in places {
            match self.warning_of(&place, false) {
                Ok(warning) => warnings.extend(warning),
                Err(RestoreError::OldWal(refusal @ OldWalError::Unarchived { .. })) => {
                    warnings.push(format!("{}{and_then}: --wal-from \"{}\" reads it", chain(&refusal), place.display()))
                }
                Err(RestoreError::OldWal(refusal @ OldWalError::Unjudged { .. })) => {
                    warnings.push(format!("{}{and_then}", chain(&refusal)))
                }
                Err(error) => return Err(error),
            }
        }
        Ok(warnings)
    }

    /// WAL of the folder that was named which no path leads to, or that its server had written and that is not there.
    fn left_out_of_named(&self) -> Result<Option<String>, RestoreError> {
        let Decision { old: Some(named), old_wal, choice, facts, .. } = self.decision else { return Ok(None) };
        let data = named.folder.parent().filter(|_| named.folder.ends_with(PG_WAL) && self.is_latest);
        let end = old_wal.as_ref().map_or(choice.record.stop_lsn, |used| used.end_lsn);
        if let Some(data) = data
            && let Some(early) = self.ends_early(data, (named, end), false)?
        {
            let refusal = OldWalError::NamedEndsEarly { early: Box::new(early), end_lsn: end };
            return match self.archive_only {
                true => Ok(Some(format!("{refusal}; what lay behind that is left out, as --archive-only says"))),
                false => Err(refusal.into()),
            };
        }
        match self.without_history(named, facts, false).filter(|_| self.is_latest) {
            Some(why) => refused_or_told((named.folder.clone(), false), why.into(), self.archive_only),
            None => Ok(None),
        }
    }

    /// What is not refused is told `with_segments` alone, where commits are in it, or where that cannot be told.
    fn warning_of(&self, place: &Path, with_segments: bool) -> Result<Option<String>, RestoreError> {
        let folder = place.join(PG_WAL);
        let Decision { selected, facts, old: named, .. } = self.decision;
        let counts = self.counts_commits(place, &folder);
        // What ends in the last segment of the folder that was named may go on in the same segment elsewhere.
        let known = match named {
            Some(named) if !is_copy(place)? => facts.without(&named.last_segments()),
            _ => facts.clone(),
        };
        let looked = match fs::is_directory(&folder) {
            Ok(true) => OldWal::look(place, &selected.identity, &known),
            Ok(false) => Err(OldWalError::NoFolder { path: folder.clone() }),
            Err(error) => Err(error.into()),
        };
        let mut old = match looked {
            Ok(old) => old,
            Err(error) if error.is_nothing() => {
                return match counts.then(|| self.lacks_its_wal(place, &known)) {
                    Some(Ok(true)) => self.unjudged(place, error.into()),
                    Some(Err(unseen)) => self.unjudged(place, unseen.into()),
                    Some(Ok(false)) | None => Ok(None),
                };
            }
            Err(error) if counts => return self.unjudged(place, error.into()),
            // Advice about segments must never keep anybody from restoring; only commits do.
            Err(error) => {
                return Ok(Some(format!("could not look for WAL in \"{}\": {}", folder.display(), chain(&error))));
            }
        };
        if named.as_ref().is_some_and(|named| named.folder == old.folder) {
            return Ok(None);
        }
        match counts {
            true => self.warning_of_commits(place, &mut old, &known),
            false if with_segments => self.told_of_segments(place, &mut old, &known),
            false => Ok(None),
        }
    }

    fn unjudged(&self, place: &Path, source: RestoreError) -> Result<Option<String>, RestoreError> {
        let (path, is_removed) = (place.join(PG_WAL), self.is_removed(place));
        refused_or_told((path, is_removed), source, self.archive_only)
    }

    /// Whether commits count: for a restore to the latest, or one that removes them, in a folder whose server does not
    /// archive them yet.
    fn counts_commits(&self, place: &Path, folder: &Path) -> bool {
        let is_running = matches!(refuse_running(place, folder), Err(OldWalError::ServerRuns { .. }));
        (self.is_removed(place) || self.is_latest) && !is_running
    }

    /// Whether what does not belong to the backup is removed there, and its WAL with it, whatever the target.
    pub(super) fn is_removed(&self, place: &Path) -> bool {
        self.removed.is_some_and(|removed| removed == place || fs::real_path(removed).is_ok_and(|real| real == place))
    }

    /// Refuses to lose commits, or WAL in which some may be; or says what is lost.
    fn warning_of_commits(
        &self,
        place: &Path,
        old: &mut OldWal,
        known: &ArchiveFacts,
    ) -> Result<Option<String>, RestoreError> {
        let is_removed = self.is_removed(place);
        let (lost, end) = match self.lost_in(old, known, is_removed) {
            Ok(found) => found,
            Err(error) => return self.unjudged(place, error),
        };
        let OldWalUse { commits, archived_end, last_commit: Some(last), .. } = lost else {
            let foreign = old.foreign.take();
            return match self.unread((place, foreign), (old, end), known) {
                Ok(Some(why)) | Err(why) => self.unjudged(place, why.into()),
                Ok(None) => Ok(None),
            };
        };
        let Decision { choice, old: named, .. } = self.decision;
        let refusal = OldWalError::Unarchived {
            path: place.join(PG_WAL),
            beside: named.as_ref().map(|named| named.folder.clone()),
            commits,
            timeline: (!choice.path.contains(last.timeline, last.span.lsn)).then_some(last.timeline),
            last: Box::new(last),
            archived_end,
            is_removed,
        };
        match self.archive_only {
            true => Ok(Some(format!("{refusal}; they are left out, as --archive-only says"))),
            false => Err(refusal.into()),
        }
    }

    /// What the WAL there would add to what is `known`, along the path that is followed or along another one: that which
    /// adds most. With it, where the log ends along the path that is followed.
    pub(super) fn lost_in(
        &self,
        old: &OldWal,
        known: &ArchiveFacts,
        is_removed: bool,
    ) -> Result<(OldWalUse, Lsn), RestoreError> {
        let Decision { selected, choice, old: named, old_wal, .. } = self.decision;
        let archive = WalArchive::new(self.repository, &selected.cluster);
        let source = CombinedSegments::new(self.repository, archive, [old].into_iter().chain(named));
        let threads = self.threads;
        let with_old = old.added_to(known);
        let added = |path: &TimelineHistory, start: Lsn, behind: Option<Lsn>| {
            let gain = Gain { old, source: &source, archived: known, facts: &with_old, behind, threads };
            let reach = Reach { end: None, last_record: None };
            find_use(&gain, (path, start), reach, None, (self.reporter, self.cancel))
        };
        let start = choice.record.start_lsn;
        let behind = old_wal.as_ref().map(|used| used.end_lsn);
        let mut most = added(&choice.path, start, behind)?;
        let end = behind.map_or(most.end_lsn, |behind| behind.max(most.end_lsn));
        let reached = known.coverage(&choice.path, start, None).end_lsn;
        let reached = behind.map_or(reached, |behind| behind.max(reached));
        for (path, start) in self.other_paths(old, &with_old, is_removed) {
            // What lies before the paths part is not lost on either.
            let shared = parting(&choice.path, &path).map_or(start, |at| at.min(reached));
            let behind = known.coverage(&path, start, None).end_lsn.max(shared);
            let other = added(&path, start, Some(behind))?;
            if other.commits > most.commits {
                most = other;
            }
        }
        Ok((most, end))
    }

    /// The other paths on which the folder has WAL that counts, and from where on it is read.
    pub(super) fn other_paths(
        &self,
        old: &OldWal,
        facts: &ArchiveFacts,
        is_removed: bool,
    ) -> Vec<(TimelineHistory, Lsn)> {
        let choice = &self.decision.choice;
        let Some(which) = self.which_paths(is_removed) else { return Vec::new() };
        let own: BTreeSet<TimelineId> = old.segments.keys().map(|segment| segment.timeline()).collect();
        let paths = paths_beside((&choice.path, &choice.record), &own, facts, which).into_iter();
        let start_of = |path: &TimelineHistory| match is_on(&choice.record, path) {
            true => Some(choice.record.start_lsn),
            false => old.start_of(old.segments.keys().find(|segment| segment.timeline() == path.timeline())?),
        };
        paths.filter_map(|path| start_of(&path).map(|start| (path, start))).collect()
    }

    /// Which paths count beside the one that is followed.
    pub(super) fn which_paths(&self, is_removed: bool) -> Option<WhichPaths> {
        match (is_removed, self.is_any_timeline) {
            (true, _) => Some(WhichPaths::All),
            (false, true) => Some(WhichPaths::Meant),
            (false, false) => None,
        }
    }
}

/// Whether a killed restore left it, which has copied from the folder that was named: no server wrote there.
fn is_copy(place: &Path) -> Result<bool, RestoreError> {
    Ok(killed_restore(place)?.is_some_and(|marker| !marker.had_content))
}

/// Nobody can say whether commits are lost: that is refused, or told when the archive alone is meant. A signal ends the
/// restore in any case.
fn refused_or_told(
    (path, is_removed): (PathBuf, bool),
    source: RestoreError,
    archive_only: bool,
) -> Result<Option<String>, RestoreError> {
    if source.class() == ErrorClass::Interrupted {
        return Err(source);
    }
    let refusal = OldWalError::Unjudged { path, is_removed, source: Box::new(source) };
    match archive_only {
        true => Ok(Some(format!("{}; it is left out, as --archive-only says", chain(&refusal)))),
        false => Err(refusal.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_neither_a_refusal_nor_a_reason_to_go_on() {
        let folder = || PathBuf::from("/data/pg_wal");
        let judged = |error: RestoreError, archive_only| refused_or_told((folder(), false), error, archive_only);
        for archive_only in [false, true] {
            let error = judged(RestoreError::Cancelled { path: folder() }, archive_only).unwrap_err();
            assert_eq!(error.class(), ErrorClass::Interrupted);
        }
        let changed = || OldWalError::Changed { path: folder() }.into();
        assert_eq!(judged(changed(), false).unwrap_err().class(), ErrorClass::Refused);
        let told = judged(changed(), true).unwrap().unwrap();
        assert!(told.contains("it cannot be told whether") && told.contains("has changed since"), "{told}");
    }
}
