//! WAL on this machine of which nobody can say whether commits are in it: it is not there, or cannot be reached.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::super::decision::Decision;
use super::super::error::RestoreError;
use super::beside::paths_beside;
use super::owner::{Owner, is_all_archived, is_all_read};
use super::unarchived::Unarchived;
use super::{OldWal, OldWalError};
use crate::pg::{ControlFile, Lsn, TimelineId, WalSegmentName};
use crate::repository::{ArchiveFacts, WalHole};

impl Unarchived<'_> {
    /// Whether a data directory without any WAL must have had some that the archive lacks.
    pub(super) fn lacks_its_wal(&self, place: &Path, known: &ArchiveFacts) -> Result<bool, OldWalError> {
        // Who names a folder says where it is.
        if self.decision.old.is_some() {
            return Ok(false);
        }
        let Owner::Server(control) = Owner::of(place, &self.decision.selected.identity)? else { return Ok(false) };
        let Some(control) = control else { return Ok(true) };
        let (timeline, lsn) = (control.checkpoint.timeline, control.checkpoint.lsn);
        Ok(self.is_meant(timeline, lsn, known, self.is_removed(place)) && !is_all_archived(&control, known))
    }

    /// Why some of the WAL there that counts cannot be read; none when all of it was.
    pub(super) fn unread(
        &self,
        (place, foreign): (&Path, Option<OldWalError>),
        (old, end): (&OldWal, Lsn),
        known: &ArchiveFacts,
    ) -> Result<Option<OldWalError>, OldWalError> {
        let is_removed = self.is_removed(place);
        if let Some(unreached) = self.unreached(old, known, is_removed) {
            return Ok(Some(unreached));
        }
        if let Some(early) = self.ends_early(place, (old, end), is_removed)? {
            return Ok(Some(early));
        }
        // A server writes no other cluster's WAL: something else is where its own was, or was put there besides.
        match foreign {
            Some(foreign) => match Owner::of(place, &self.decision.selected.identity)? {
                Owner::Server(_) => Ok(Some(foreign)),
                Owner::Nobody => Ok(None),
            },
            None => Ok(None),
        }
    }

    /// What the control file of a server says of WAL that is neither there nor in the archive: the log seems to end, and
    /// went on. Along the path that is followed, it can be read up to `end`.
    pub(super) fn ends_early(
        &self,
        place: &Path,
        (old, end): (&OldWal, Lsn),
        is_removed: bool,
    ) -> Result<Option<OldWalError>, OldWalError> {
        let Decision { choice, facts, selected, .. } = self.decision;
        let Owner::Server(Some(control)) = Owner::of(place, &selected.identity)? else { return Ok(None) };
        let with_old = old.added_to(facts);
        // Of what the archive has, every byte was checked as it came; of the files of a folder, what was read.
        let is_followed = choice.path.contains(control.checkpoint.timeline, control.checkpoint.lsn);
        let was_read = match is_followed {
            true => is_all_read(&control, end, facts.segment_size) || is_all_archived(&control, &self.archived()),
            false => is_all_archived(&control, &with_old),
        };
        if was_read {
            return Ok(None);
        }
        let facts = with_old;
        let is_lost = |(timeline, lsn): &(TimelineId, Lsn)| {
            let own = WalSegmentName::containing(*timeline, *lsn, facts.segment_size);
            let is_followed = choice.path.contains(*timeline, *lsn);
            // Of a directory that was left long ago, the backup has it all, and its WAL may have gone.
            if is_followed && *lsn < choice.record.stop_lsn {
                return false;
            }
            let path = if is_followed { Some(choice.path.clone()) } else { facts.history(*timeline) };
            let behind = lsn.checked_add(1).unwrap_or(*lsn);
            let names = path.iter().flat_map(|path| path.segment_names(*lsn, behind, facts.segment_size));
            let mut names = names.flat_map(|candidates| candidates.names).chain([own]);
            let is_there = names.any(|name| facts.contains(&name));
            // Of a segment that is there, what the log ends before was not written, or cannot be read.
            let is_behind_end = is_followed && old.segments.contains_key(&own) && end <= *lsn;
            !is_there || is_behind_end
        };
        let lost = last_written(&control).into_iter().filter(is_lost);
        let lost = lost.filter(|(timeline, lsn)| self.is_meant(*timeline, *lsn, &facts, is_removed)).max();
        Ok(lost.map(|(timeline, lsn)| OldWalError::EndsEarly {
            path: place.join(ControlFile::PATH),
            segment: WalSegmentName::containing(timeline, lsn, facts.segment_size),
            lsn,
        }))
    }

    /// What the archive has, without the folder that was named.
    fn archived(&self) -> ArchiveFacts {
        let Decision { facts, old: named, .. } = self.decision;
        match named {
            Some(named) => facts.without(&named.segments.keys().copied().collect()),
            None => facts.clone(),
        }
    }

    /// The first segment that lies behind one that is missing, or of whose timeline nothing is known.
    fn unreached(&self, old: &OldWal, known: &ArchiveFacts, is_removed: bool) -> Option<OldWalError> {
        let choice = &self.decision.choice;
        let facts = old.added_to(known);
        let followed = (choice.path.clone(), choice.record.start_lsn);
        let paths = [followed].into_iter().chain(self.other_paths(old, &facts, is_removed));
        let holes: BTreeMap<TimelineId, WalHole> = paths
            .filter_map(|(path, start)| Some((path.timeline(), facts.coverage(&path, start, None).hole?)))
            .collect();
        let unreached = old.segments.keys().find_map(|name| {
            let (path, start) = (old.path_of(name)?, old.start_of(name)?);
            let missing = holes.get(&name.timeline()).filter(|hole| hole.reachable_lsn <= start)?.first;
            Some(OldWalError::Unreached { path, missing })
        });
        unreached.or_else(|| self.without_history(old, &facts, is_removed))
    }

    /// The first segment of whose timeline neither archive nor folder have the history.
    pub(super) fn without_history(&self, old: &OldWal, facts: &ArchiveFacts, is_removed: bool) -> Option<OldWalError> {
        old.segments.keys().find_map(|name| {
            let (path, timeline, end) = (old.path_of(name)?, name.timeline(), name.end_lsn(old.segment_size)?);
            let is_lost = facts.history(timeline).is_none() && self.is_meant(timeline, end, facts, is_removed);
            is_lost.then_some(OldWalError::NoHistory { path, timeline })
        })
    }

    /// Whether WAL of that timeline counts, which reaches `until` at least.
    fn is_meant(&self, timeline: TimelineId, until: Lsn, facts: &ArchiveFacts, is_removed: bool) -> bool {
        let choice = &self.decision.choice;
        if is_removed || timeline == choice.path.timeline() {
            return true;
        }
        let Some(which) = self.which_paths(is_removed) else { return false };
        match facts.history(timeline) {
            Some(_) => {
                !paths_beside((&choice.path, &choice.record), &BTreeSet::from([timeline]), facts, which).is_empty()
            }
            // It may have left the path behind the backup, unless the path came from it.
            None => until > choice.record.stop_lsn && !choice.path.parents().any(|parent| parent == timeline),
        }
    }
}

/// Bytes of the log that a server must have had on its disk before it wrote its control file: the record of its last
/// checkpoint, and the last one that a page of its data depends on.
fn last_written(control: &ControlFile) -> Vec<(TimelineId, Lsn)> {
    let recovered = control.min_recovery_point;
    let recovered = recovered.and_then(|point| Some((point.timeline, point.lsn.checked_sub(1)?)));
    [(control.checkpoint.timeline, control.checkpoint.lsn)].into_iter().chain(recovered).collect()
}

impl OldWal {
    /// What to say of a timeline that cannot be followed since its history is not there: of one that the folder alone has,
    /// the archive is not said to have it.
    pub(in super::super) fn of_its_timeline(&self, error: RestoreError, archived: &ArchiveFacts) -> RestoreError {
        let RestoreError::UnknownTimeline { timeline, wal: Some((first, _)), problem: None, .. } = &error else {
            return error;
        };
        match self.path_of(first).filter(|_| !archived.has_wal_of(*timeline)) {
            Some(path) => {
                let source = Box::new(OldWalError::NoHistory { path, timeline: *timeline }.into());
                OldWalError::Unjudged { path: self.folder.clone(), is_removed: false, source }.into()
            }
            None => error,
        }
    }
}
