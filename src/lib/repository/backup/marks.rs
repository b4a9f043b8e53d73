//! By which marks backups are deleted safely, and the pins that keep them: `docs/repository-format.md`, part 12. Pure.
//!
//! INVARIANT: whoever writes a mark (a writer its `begin` or `record`, an expirer `doubt` or `suspect`, a person a pin)
//! reads the marks of the others only then, so that of two at once at least one sees the other. No clock, no lock and no
//! conditional write is needed for that; `marks_model` tries every order of the steps.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::BackupId;
use crate::codec::ObjectKind;
use crate::repository::{BackupPart, layout};

/// A step on the way to a backup's deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BackupMark {
    /// Retention wants it gone. It is listed, and no later backup may refer to its packs.
    Doubt,
    /// It was never finished and is silent. It must not be finished any more.
    Suspect,
    /// It is being deleted, and does not count.
    Gone,
}

impl BackupMark {
    const ALL: [Self; 3] = [Self::Doubt, Self::Suspect, Self::Gone];

    /// Its name among the objects of its backup.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Doubt => layout::DOUBT,
            Self::Suspect => layout::SUSPECT,
            Self::Gone => layout::GONE,
        }
    }

    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mark| mark.name() == name)
    }

    pub(crate) const fn kind(self) -> ObjectKind {
        match self {
            Self::Doubt => ObjectKind::Doubt,
            Self::Suspect => ObjectKind::Suspect,
            Self::Gone => ObjectKind::Gone,
        }
    }
}

/// The order in which the objects of a backup are deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DeletionStep {
    /// It is not listed from here on.
    Record,
    /// What it holds; its packs go with that.
    Content,
    /// After all that it announces.
    Begin,
    /// Why it goes.
    Mark,
    /// What kept it for a while.
    Pin,
    /// Behind everything: until here, the next run goes on.
    Gone,
}

impl DeletionStep {
    /// Whether it holds something, and is no mark: those say that it goes, and take no room to speak of.
    pub(crate) fn is_data(self) -> bool {
        !matches!(self, Self::Mark | Self::Gone)
    }

    /// With what an object goes.
    pub(crate) fn of(object: &str) -> Self {
        match BackupPart::of_name(object) {
            Some(BackupPart::Record) => Self::Record,
            Some(BackupPart::Begin) => Self::Begin,
            Some(BackupPart::Mark(BackupMark::Gone)) => Self::Gone,
            Some(BackupPart::Mark(BackupMark::Doubt | BackupMark::Suspect)) => Self::Mark,
            Some(BackupPart::Pin(_)) => Self::Pin,
            Some(BackupPart::Root | BackupPart::Needs | BackupPart::Document(_)) => Self::Content,
            // What no version of ours is known to store there.
            None => Self::Content,
        }
    }
}

/// What a mark or a pin holds; shown, never decided by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupNote {
    /// The backup.
    pub id: BackupId,
    /// The host that it was set on.
    pub host: String,
    /// When, by that host's clock.
    pub set: Timestamp,
    /// Why.
    pub reason: String,
}

/// What there is of a backup, by the names of its objects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct BackupState {
    pub(crate) begin: bool,
    pub(crate) record: bool,
    pub(crate) doubt: bool,
    pub(crate) suspect: bool,
    pub(crate) gone: bool,
    pub(crate) pinned: bool,
}

impl BackupState {
    /// Takes in one more of its objects.
    pub(crate) fn add(&mut self, object: &str) {
        match (object, BackupMark::of_name(object)) {
            (layout::BEGIN, _) => self.begin = true,
            (layout::RECORD, _) => self.record = true,
            (_, Some(BackupMark::Doubt)) => self.doubt = true,
            (_, Some(BackupMark::Suspect)) => self.suspect = true,
            (_, Some(BackupMark::Gone)) => self.gone = true,
            _ => self.pinned |= object.starts_with(&layout::pin("")),
        }
    }

    /// Whether it counts as a backup.
    pub(crate) const fn is_listed(self) -> bool {
        self.begin && self.record && !self.gone
    }

    /// Whether it is being taken, or was given up.
    pub(crate) const fn is_unfinished(self) -> bool {
        self.begin && !self.record && !self.gone
    }

    /// Whether a new backup may refer to its packs.
    pub(crate) const fn may_be_parent(self) -> bool {
        self.is_listed() && !self.doubt && !self.suspect
    }

    /// Whether the writer that has just stored its record succeeded.
    pub(crate) const fn is_own_success(self) -> bool {
        self.is_listed() && !self.suspect
    }
}

/// What keeps a backup that carries `doubt` or `suspect` from going now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// It is not marked, so nobody was told to keep away from it.
    Unmarked,
    /// Somebody pinned it.
    Pinned,
    /// It was finished after it was taken for dead: it stays as it is until retention wants it gone.
    Finished,
    /// This unfinished backup may refer to its packs.
    ParentOf(BackupId),
}

/// Whether `gone` may be set: the question after its mark was set and all marks were read again.
pub(crate) fn hold_of<'a>(
    id: BackupId,
    states: &BTreeMap<BackupId, BackupState>,
    parents: impl Fn(BackupId) -> &'a [BackupId],
) -> Option<Hold> {
    let state = states.get(&id).copied().unwrap_or_default();
    if !state.doubt && !state.suspect {
        return Some(Hold::Unmarked);
    }
    if state.pinned {
        return Some(Hold::Pinned);
    }
    if state.record && !state.doubt {
        return Some(Hold::Finished);
    }
    let is_child = |(other, state): &(&BackupId, &BackupState)| {
        **other != id && state.is_unfinished() && parents(**other).contains(&id)
    };
    states.iter().find(is_child).map(|(child, _)| Hold::ParentOf(*child))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_a_backup_goes_first_and_what_says_that_it_goes_last() {
        let mut objects = ["gone", "pins/1a2b", "suspect", "doubt", "begin", "documents/a", "needs", "root", "record"];
        objects.sort_by_key(|object| DeletionStep::of(object));
        let documents = ["documents/a", "needs", "root"];
        assert_eq!(
            objects,
            ["record", documents[0], documents[1], documents[2], "begin", "suspect", "doubt", "pins/1a2b", "gone"]
        );
        assert_eq!(DeletionStep::of("of a later version"), DeletionStep::Content);
    }
}
