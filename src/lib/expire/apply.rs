//! Carries a plan out.
//!
//! ORDER: marks (`doubt` or `suspect`); all marks read again; `gone`; then, of each backup that is gone, its record, the
//! packs that nobody needs, its documents and tables, `begin`, the other marks and pins, `gone` last; then packs that
//! belong to no backup; then WAL. Whatever the step at which a run ends, every listed backup is whole, and the next run
//! finds `gone` and goes on.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::error::ExpireError;
use super::facts::{self, TreeFacts};
use super::plan::{Going, TreePlan};
use super::wal;
use crate::fs::{Lock, LockKind};
use crate::pg::{WalFileName, WalSegmentSize};
use crate::report::{Cancel, Progress, Reporter};
use crate::repository::{
    BackupId, BackupMark, BackupNote, BackupRecord, BackupState, ClusterRef, Hold, Repository, Writer, hold_of,
};

/// LIMIT: WAL files that are deleted before it is asked again who is running. No backup can begin meanwhile.
const WAL_BETWEEN_LOOKS: usize = 64;
const DELETING: &str = "deleting";

/// The WAL that nobody needs as long as the marks of all backups are these.
#[derive(Default)]
struct UnneededWal {
    states: Option<BTreeMap<BackupId, BackupState>>,
    names: BTreeSet<WalFileName>,
}

/// What is needed to delete.
pub(super) struct Executor<'a> {
    pub(super) repository: &'a Repository,
    pub(super) cluster: &'a ClusterRef,
    pub(super) size: WalSegmentSize,
    pub(super) writer: &'a Writer,
    pub(super) host: &'a str,
    pub(super) now: Timestamp,
    pub(super) reporter: &'a dyn Reporter,
    pub(super) cancel: &'a Cancel,
}

impl Executor<'_> {
    /// Does what the plan says, as far as it is still right.
    pub(super) fn run(&self, planned: &TreePlan) -> Result<(), ExpireError> {
        let going = &planned.going;
        for id in going.backups.iter().chain(&going.doubted) {
            self.mark(BackupMark::Doubt, *id, "no rule of retention keeps it")?;
        }
        // A backup holds its lock until it ends, whatever a clock says of how long it is silent. One that has said itself that
        // it will not be finished is marked already.
        let silent = &going.unfinished;
        if !silent.is_empty() && matches!(self.repository.lock(LockKind::Exclusive)?, Lock::Taken) {
            self.reporter.warn("a backup is running: what was never finished stays for now");
        } else {
            silent
                .iter()
                .try_for_each(|id| self.mark(BackupMark::Suspect, *id, "it was never finished, and is silent"))?;
        }
        self.set_gone(going)?;
        // What was finished meanwhile may need packs and WAL, and what was pinned meanwhile stays.
        let facts = self.gather()?;
        for id in &facts.gone {
            self.delete_backup(&facts, *id)?;
        }
        self.delete_strays(&facts, going)?;
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
    fn set_gone(&self, going: &Going) -> Result<(), ExpireError> {
        let (states, parents) = facts::marks(self.repository, self.cluster)?;
        for id in going.backups.iter().chain(&going.unfinished) {
            let parents_of = |id: BackupId| parents.get(&id).map_or(&[][..], Vec::as_slice);
            match hold_of(*id, &states, parents_of) {
                None => self.mark(BackupMark::Gone, *id, "it is being deleted")?,
                // Another run has deleted it.
                Some(Hold::Unmarked) => {}
                Some(hold) => self.reporter.warn(&held_text(*id, hold)),
            }
        }
        Ok(())
    }

    fn delete_backup(&self, facts: &TreeFacts, id: BackupId) -> Result<(), ExpireError> {
        self.reporter.step(&format!("deleting backup {id}"));
        let folders = self.repository.backup_folders(self.cluster)?;
        let Some(folder) = folders.get(&id) else { return Ok(()) };
        let needed = facts.needed_packs(|_| true);
        let key = |object: &str| self.repository.backup_object_key(self.cluster, &id, object);
        self.delete(&key("record")?)?;
        for ordinal in facts.packs.get(&id).into_iter().flatten() {
            if !needed.contains(&(id, *ordinal)) {
                self.delete(&self.repository.pack_key(self.cluster, &id, *ordinal)?)?;
            }
        }
        let mut objects = folder.objects.clone();
        objects.sort_by_key(|object| rank(object));
        for object in &objects {
            self.delete(&key(object)?)?;
        }
        Ok(())
    }

    /// Packs of backups that are there no more, as far as the plan names them.
    fn delete_strays(&self, facts: &TreeFacts, going: &Going) -> Result<(), ExpireError> {
        let needed = facts.needed_packs(|_| true);
        let lives = |id: &BackupId| {
            facts.listed.iter().any(|backup| backup.record.id == *id)
                || facts.unfinished.iter().any(|backup| backup.id == *id)
        };
        for (id, ordinal) in going.packs.iter().filter(|pack| !needed.contains(pack) && !lives(&pack.0)) {
            self.delete(&self.repository.pack_key(self.cluster, id, *ordinal)?)?;
        }
        Ok(())
    }

    /// Deletes the oldest first. Whether a backup has begun or was finished is asked again and again: that one may need
    /// some of it, for one of a standby begins where its last restartpoint was.
    fn delete_wal(&self, names: &[WalFileName]) -> Result<(), ExpireError> {
        let total = names.len() as u64;
        let mut done = 0;
        let mut unneeded = UnneededWal::default();
        for some in names.chunks(WAL_BETWEEN_LOOKS) {
            let Some(lock) = self.lock_and_look(&mut unneeded)? else {
                self.reporter.warn("a backup is running: WAL stays for now");
                return Ok(());
            };
            for name in some.iter().filter(|name| unneeded.names.contains(name)) {
                self.delete(&self.repository.wal_key(self.cluster, name)?)?;
                done += 1;
                self.reporter.progress(&Progress { phase: DELETING, done_bytes: done, total_bytes: Some(total) });
            }
            drop(lock);
        }
        Ok(())
    }

    /// Keeps backups from beginning, and looks what has begun and was finished until then. Nothing while one is running.
    fn lock_and_look(&self, unneeded: &mut UnneededWal) -> Result<Option<Lock>, ExpireError> {
        loop {
            let lock = self.repository.lock(LockKind::Exclusive)?;
            if matches!(lock, Lock::Taken) {
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
    fn unneeded_wal(&self) -> Result<BTreeSet<WalFileName>, ExpireError> {
        let facts = self.gather()?;
        if let Some(running) = facts.unfinished.first() {
            self.reporter
                .warn(&format!("backup {} is running, or died less than a day ago: WAL stays for now", running.id));
            return Ok(BTreeSet::new());
        }
        let records: Vec<&BackupRecord> = facts.listed.iter().map(|backup| &backup.record).collect();
        Ok(wal::unneeded(&facts, &records, |_| false).into_iter().collect())
    }

    fn delete(&self, key: &crate::store::ObjectKey) -> Result<(), ExpireError> {
        self.check_cancel()?;
        Ok(self.repository.delete_object(key)?)
    }

    fn check_cancel(&self) -> Result<(), ExpireError> {
        if self.cancel.is_cancelled() { Err(ExpireError::Interrupted) } else { Ok(()) }
    }
}

/// What goes in which order: `begin` after all that it announces, `gone` behind everything.
fn rank(object: &str) -> u8 {
    match object {
        "record" => 0,
        "begin" => 2,
        "doubt" | "suspect" => 3,
        "gone" => 5,
        pin if pin.starts_with("pins/") => 4,
        _ => 1,
    }
}

fn held_text(id: BackupId, hold: Hold) -> String {
    match hold {
        Hold::Unmarked => format!("backup {id} is there no more"),
        Hold::Pinned => format!("backup {id} stays: it was pinned meanwhile"),
        Hold::Finished => format!("backup {id} stays: it was finished meanwhile"),
        Hold::ParentOf(child) => format!("backup {id} stays for now: backup {child} is running and may refer to it"),
    }
}
