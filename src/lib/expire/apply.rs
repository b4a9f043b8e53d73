//! Carries a plan out.
//!
//! ORDER: marks (`doubt` or `suspect`); all marks read again; `gone`; then, of each backup that is gone, its record, the
//! packs that nobody needs, its documents and tables, `begin`, the other marks and pins, `gone` last, and only once no pack
//! of it is left; then WAL. Without room for a mark the repository's reserve is given up for
//! them, and when that is not enough, what needs none is deleted before them. Whatever the step at
//! which a run ends, every listed backup is whole, and the next run finds `gone` and goes on.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::error::ExpireError;
use super::facts::{self, TreeFacts};
use super::plan::{Going, TreePlan, WalKept};
use super::report::{HeldBackup, HeldBecause, TreeDone};
use super::unfinished::{self, PlannedUnfinished};
use super::wal;
use crate::error::{Classified as _, ErrorClass};
use crate::fs::{Lock, LockKind};
use crate::pg::{WalFileName, WalSegmentSize};
use crate::report::{Cancel, Progress, Reporter};
use crate::repository::{
    BackupId, BackupMark, BackupNote, BackupRecord, BackupState, ClusterRef, DeletionStep, Hold, Repository, Writer,
    hold_of,
};
use crate::store::ObjectKey;

/// LIMIT: WAL files that are deleted before it is asked again who is running. No backup can begin meanwhile.
const WAL_BETWEEN_LOOKS: usize = 64;
const DELETING: &str = "deleting";

/// The WAL that nobody needs as long as the marks of all backups are these.
#[derive(Default)]
struct UnneededWal {
    states: Option<BTreeMap<BackupId, BackupState>>,
    names: BTreeSet<WalFileName>,
}

/// Deletes of one tree.
pub(super) struct Executor<'a> {
    pub(super) repository: &'a Repository,
    pub(super) cluster: &'a ClusterRef,
    pub(super) size: WalSegmentSize,
    pub(super) writer: &'a Writer,
    pub(super) host: &'a str,
    pub(super) now: Timestamp,
    pub(super) reporter: &'a dyn Reporter,
    pub(super) cancel: &'a Cancel,
    /// What the plan frees.
    pub(super) planned_bytes: u64,
    /// What was done so far, whatever becomes of the rest.
    pub(super) done: TreeDone,
}

impl Executor<'_> {
    /// Does what the plan says, as far as it is still right.
    pub(super) fn run(&mut self, planned: &TreePlan) -> Result<(), ExpireError> {
        let outcome = self.mark_and_delete(&planned.going);
        self.done.held.iter().for_each(|held| self.reporter.warn(&held.to_string()));
        outcome
    }

    fn mark_and_delete(&mut self, going: &Going) -> Result<(), ExpireError> {
        let mut marked = self.set_marks(going);
        if is_no_space(&marked) && self.repository.give_up_reserve()? {
            self.reporter.step("making room for marks with the reserve of the repository");
            marked = self.set_marks(going);
        }
        match marked {
            Err(error) if error.class() == ErrorClass::NoSpace => {
                self.reporter.warn("there is no room for marks: what goes without them goes first");
                // Like a run of which the plan names no backup; what was marked in time goes.
                self.delete_going(going)?;
                if self.done.freed_bytes == 0 {
                    return Err(error);
                }
                self.done.held.clear();
                self.set_marks(going)?;
            }
            marked => marked?,
        }
        self.delete_going(going)?;
        self.done.finished = true;
        Ok(())
    }

    /// From here on no new backup builds on what goes; what is gone is listed no more.
    fn set_marks(&mut self, going: &Going) -> Result<(), ExpireError> {
        let is_left = |id: &&BackupId| !self.done.backups.contains(id);
        for id in going.backups.iter().chain(&going.doubted).filter(is_left) {
            self.mark(BackupMark::Doubt, *id, "no rule of retention keeps it")?;
        }
        // A backup holds its lock until it ends, whatever a clock says of how long it is silent. One that has said itself
        // that it will not be finished is marked already.
        let silent = &going.unfinished;
        if silent.is_empty() || !matches!(self.repository.lock(LockKind::Exclusive)?, Lock::Taken) {
            for id in silent.iter().filter(is_left) {
                self.mark(BackupMark::Suspect, *id, "it was never finished, and is silent")?;
            }
        }
        self.set_gone(going)
    }

    /// Deletes what is marked, and what needs no mark.
    fn delete_going(&mut self, going: &Going) -> Result<(), ExpireError> {
        // What was finished meanwhile may need packs and WAL, and what was pinned meanwhile stays.
        let facts = self.gather()?;
        for id in &facts.gone {
            self.delete_backup(&facts, *id)?;
        }
        self.delete_wal(&going.wal)
    }

    fn gather(&self) -> Result<TreeFacts, ExpireError> {
        TreeFacts::gather(self.repository, self.cluster, self.size, false)
    }

    fn mark(&self, mark: BackupMark, id: BackupId, reason: &str) -> Result<(), ExpireError> {
        self.check_cancel()?;
        let note = BackupNote { id, host: self.host.to_owned(), set: self.now, reason: reason.to_owned() };
        Ok(self.repository.mark_backup(self.cluster, mark, &note, self.writer)?)
    }

    /// `gone` for each backup that nothing holds after its mark was set.
    fn set_gone(&mut self, going: &Going) -> Result<(), ExpireError> {
        let (states, parents) = facts::marks(self.repository, self.cluster)?;
        for id in going.backups.iter().chain(&going.unfinished) {
            if self.done.backups.contains(id) {
                continue;
            }
            let parents_of = |id: BackupId| parents.get(&id).map_or(&[][..], Vec::as_slice);
            match hold_of(*id, &states, parents_of) {
                None => self.mark(BackupMark::Gone, *id, "it is being deleted")?,
                // Its mark was left out, since a backup is running.
                Some(Hold::Unmarked) if states.get(id).copied().is_some_and(BackupState::is_unfinished) => {
                    self.hold(Some(HeldBackup { id: *id, because: HeldBecause::Locked }));
                }
                Some(hold) => self.hold(HeldBackup::of(*id, hold)),
            }
        }
        Ok(())
    }

    /// Notes that a backup stays; nothing where another run has deleted it.
    fn hold(&mut self, held: Option<HeldBackup>) {
        self.done.held.extend(held);
    }

    fn delete_backup(&mut self, facts: &TreeFacts, id: BackupId) -> Result<(), ExpireError> {
        self.reporter.step(&format!("deleting backup {id}"));
        let folders = self.repository.backup_folders(self.cluster)?;
        let Some(folder) = folders.get(&id) else { return Ok(()) };
        let needed = facts.needed_packs(|_| true);
        // Whether or not it was listed a moment ago.
        self.free(&self.repository.record_key(self.cluster, &id)?)?;
        for ordinal in facts.packs.get(&id).into_iter().flatten() {
            if !needed.contains(&(id, *ordinal)) {
                self.delete_pack(id, *ordinal)?;
            }
        }
        // ORDER: as long as a pack of it is there, the folder says whose that is.
        let is_left = facts.packs.get(&id).into_iter().flatten().any(|ordinal| needed.contains(&(id, *ordinal)));
        if is_left && folder.has_gone_alone() {
            return Ok(());
        }
        let mut objects = folder.objects.clone();
        objects.retain(|object| !is_left || DeletionStep::of(object) != DeletionStep::Gone);
        objects.sort_by_key(|object| DeletionStep::of(object));
        for object in &objects {
            let key = self.repository.backup_object_key(self.cluster, &id, object)?;
            match DeletionStep::of(object).is_data() {
                true => self.free(&key)?,
                false => self.delete(&key)?,
            };
        }
        if !self.done.backups.contains(&id) {
            self.done.backups.push(id);
        }
        Ok(())
    }

    fn delete_pack(&mut self, id: BackupId, ordinal: u32) -> Result<(), ExpireError> {
        let was_there = self.free(&self.repository.pack_key(self.cluster, &id, ordinal)?)?;
        self.done.packs += u64::from(was_there);
        Ok(())
    }

    /// Deletes the oldest first. Whether a backup has begun or was finished is asked again and again: that one may need
    /// some of it, for one of a standby begins where its last restartpoint was.
    fn delete_wal(&mut self, names: &[WalFileName]) -> Result<(), ExpireError> {
        let mut unneeded = UnneededWal::default();
        for some in names.chunks(WAL_BETWEEN_LOOKS) {
            let Some(lock) = self.lock_and_look(&mut unneeded)? else { return Ok(()) };
            for name in some.iter().filter(|name| unneeded.names.contains(name)) {
                let was_there = self.free(&self.repository.wal_key(self.cluster, name)?)?;
                self.done.wal_files += u64::from(was_there);
            }
            drop(lock);
        }
        Ok(())
    }

    /// Keeps backups from beginning, and looks what has begun and was finished until then. Nothing while one is running.
    fn lock_and_look(&mut self, unneeded: &mut UnneededWal) -> Result<Option<Lock>, ExpireError> {
        loop {
            let lock = self.repository.lock(LockKind::Exclusive)?;
            if matches!(lock, Lock::Taken) {
                self.keep_wal(WalKept::Locked, "a backup is running");
                return Ok(None);
            }
            let (states, _) = facts::marks(self.repository, self.cluster)?;
            if unneeded.states.as_ref() == Some(&states) {
                return Ok(Some(lock));
            }
            // ORDER: reading everything takes its time, so nobody is kept waiting; what counts is that the marks are still
            // the same under the lock.
            drop(lock);
            *unneeded = UnneededWal { names: self.unneeded_wal()?, states: Some(states) };
        }
    }

    /// What no listed backup needs now; nothing while one is running, for where that one begins is not known.
    fn unneeded_wal(&mut self) -> Result<BTreeSet<WalFileName>, ExpireError> {
        let facts = self.gather()?;
        if let Some(kept) = unfinished::planned(&facts, self.now).first().map(PlannedUnfinished::keeps_wal) {
            let why = match &kept {
                WalKept::Recordless { backup } => format!("backup {backup} is whole but for its record, and needs WAL"),
                WalKept::Running { backup } => format!("backup {backup} is running, or died less than a day ago"),
                _ => "a backup is not finished".to_owned(),
            };
            self.keep_wal(kept, &why);
            return Ok(BTreeSet::new());
        }
        self.done.wal_kept = None;
        let records: Vec<&BackupRecord> = facts.listed.iter().map(|backup| &backup.record).collect();
        Ok(wal::unneeded(&facts, &records, |_| false).into_iter().collect())
    }

    fn keep_wal(&mut self, because: WalKept, why: &str) {
        self.reporter.warn(&format!("{why}: WAL stays for now"));
        self.done.wal_kept = Some(because);
    }

    /// Deletes what takes room, and counts that as freed; says whether it was there.
    fn free(&mut self, key: &ObjectKey) -> Result<bool, ExpireError> {
        let bytes = self.repository.stored_bytes(key)?;
        let was_there = self.delete(key)?;
        self.done.freed_bytes += if was_there { bytes } else { 0 };
        let (done_bytes, total_bytes) = (self.done.freed_bytes, Some(self.planned_bytes));
        self.reporter.progress(&Progress { phase: DELETING, done_bytes, total_bytes });
        Ok(was_there)
    }

    fn delete(&self, key: &ObjectKey) -> Result<bool, ExpireError> {
        self.check_cancel()?;
        Ok(self.repository.delete_object(key)?)
    }

    fn check_cancel(&self) -> Result<(), ExpireError> {
        if self.cancel.is_cancelled() { Err(ExpireError::Interrupted) } else { Ok(()) }
    }
}

fn is_no_space(outcome: &Result<(), ExpireError>) -> bool {
    outcome.as_ref().is_err_and(|error| error.class() == ErrorClass::NoSpace)
}

/// The stored bytes of all that goes by a plan.
pub(super) fn planned_bytes(
    repository: &Repository,
    cluster: &ClusterRef,
    tree: &TreePlan,
) -> Result<u64, ExpireError> {
    let going = &tree.going;
    let mut bytes = 0;
    for (backup, ordinal) in &going.packs {
        bytes += repository.stored_bytes(&repository.pack_key(cluster, backup, *ordinal)?)?;
    }
    for name in &going.wal {
        bytes += repository.stored_bytes(&repository.wal_key(cluster, name)?)?;
    }
    let folders = repository.backup_folders(cluster)?;
    for id in going.backups.iter().chain(&going.unfinished).chain(&tree.being_deleted) {
        let objects = folders.get(id).map(|folder| folder.objects.as_slice()).unwrap_or_default();
        for object in objects.iter().filter(|object| DeletionStep::of(object).is_data()) {
            bytes += repository.stored_bytes(&repository.backup_object_key(cluster, id, object)?)?;
        }
    }
    Ok(bytes)
}
