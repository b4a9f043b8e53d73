//! WAL on this machine of which nobody can say whether commits are in it: it is not there, or cannot be reached.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::super::error::RestoreError;
use super::beside::paths_beside;
use super::owner::{Owner, is_all_archived};
use super::unarchived::Unarchived;
use super::{OldWal, OldWalError};
use crate::pg::{Lsn, TimelineId};
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
        old: &OldWal,
        known: &ArchiveFacts,
    ) -> Result<Option<OldWalError>, OldWalError> {
        let is_removed = self.is_removed(place);
        if let Some(unreached) = self.unreached(old, known, is_removed) {
            return Ok(Some(unreached));
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
