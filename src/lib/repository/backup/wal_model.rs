//! Every order of the steps of two backups of standbys and two expirers: no listed backup lacks the WAL that it begins
//! with, as long as the store has locks. A standby's backup begins at its last restartpoint, so that it may need WAL that
//! no earlier backup needed and that is being deleted.
//!
//! An actor may stop for good before any step; its lock ends with it then.

use std::collections::HashSet;

use super::marks::BackupState;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Writing {
    Lock,
    Begin,
    /// It looks whether its WAL is in the archive.
    Look,
    Record,
    ReadOwn,
    /// It ended, one way or the other.
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Deleting {
    Choose,
    /// It takes this backup for dead.
    GiveUp(usize),
    TakeAway(usize),
    /// It has the lock, if there are any, and looks who is running and what is listed.
    Look,
    Delete,
    Unlock,
    Dead,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    has_locks: bool,
    backups: [BackupState; 2],
    has_wal: bool,
    writers: [Writing; 2],
    deleters: [Deleting; 2],
    shared: [bool; 2],
    exclusive: Option<usize>,
}

impl State {
    fn first(has_locks: bool) -> Self {
        Self {
            has_locks,
            backups: [BackupState::default(); 2],
            has_wal: true,
            writers: [Writing::Lock; 2],
            deleters: [Deleting::Choose; 2],
            shared: [false; 2],
            exclusive: None,
        }
    }

    fn next(&self) -> Vec<Self> {
        let mut found = Vec::new();
        for actor in 0..2 {
            found.extend(self.write(actor));
            found.extend(self.delete(actor));
            let mut stopped = self.clone();
            (stopped.writers[actor], stopped.shared[actor]) = (Writing::Over, false);
            found.push(stopped);
            let mut stopped = self.clone();
            stopped.deleters[actor] = Deleting::Dead;
            stopped.exclusive = stopped.exclusive.filter(|holder| *holder != actor);
            found.push(stopped);
        }
        found
    }

    fn write(&self, actor: usize) -> Option<Self> {
        let mut next = self.clone();
        let backup = &mut next.backups[actor];
        next.writers[actor] = match self.writers[actor] {
            // It waits.
            Writing::Lock if self.has_locks && self.exclusive.is_some() => return None,
            Writing::Lock => {
                next.shared[actor] = self.has_locks;
                Writing::Begin
            }
            Writing::Begin => {
                backup.begin = true;
                Writing::Look
            }
            Writing::Look if self.has_wal => Writing::Record,
            Writing::Look => Writing::Over,
            Writing::Record => {
                backup.record = true;
                Writing::ReadOwn
            }
            Writing::ReadOwn => {
                if !backup.is_listed() {
                    backup.record = false;
                }
                Writing::Over
            }
            Writing::Over => return None,
        };
        if next.writers[actor] == Writing::Over {
            next.shared[actor] = false;
        }
        Some(next)
    }

    fn delete(&self, actor: usize) -> Vec<Self> {
        let at = |deleting| {
            let mut next = self.clone();
            next.deleters[actor] = deleting;
            next
        };
        match self.deleters[actor] {
            Deleting::Choose => {
                let silent = (0..2).filter(|backup| self.backups[*backup].is_unfinished());
                let mut found: Vec<Self> = silent
                    .map(|backup| {
                        let mut next = at(Deleting::GiveUp(backup));
                        next.backups[backup].suspect = true;
                        next
                    })
                    .collect();
                if !self.has_locks || (self.exclusive.is_none() && self.shared == [false; 2]) {
                    let mut next = at(Deleting::Look);
                    next.exclusive = self.has_locks.then_some(actor);
                    found.push(next);
                }
                found
            }
            Deleting::GiveUp(backup) => {
                let is_held = self.backups[backup].record;
                let mut next = at(if is_held { Deleting::Choose } else { Deleting::TakeAway(backup) });
                next.backups[backup].gone |= !is_held;
                vec![next]
            }
            Deleting::TakeAway(backup) => {
                let mut next = at(Deleting::Choose);
                next.backups[backup] = BackupState::default();
                vec![next]
            }
            Deleting::Look => {
                let is_needed = self.backups.iter().any(|state| state.is_unfinished() || state.is_listed());
                vec![at(if is_needed { Deleting::Unlock } else { Deleting::Delete })]
            }
            Deleting::Delete => {
                let mut next = at(Deleting::Unlock);
                next.has_wal = false;
                vec![next]
            }
            Deleting::Unlock => {
                let mut next = at(Deleting::Choose);
                next.exclusive = None;
                vec![next]
            }
            Deleting::Dead => Vec::new(),
        }
    }

    fn is_sound(&self) -> bool {
        self.has_wal || !self.backups.iter().any(|state| state.is_listed())
    }
}

/// Every state that can be reached.
fn all(has_locks: bool) -> HashSet<State> {
    let mut seen = HashSet::from([State::first(has_locks)]);
    let mut waiting = vec![State::first(has_locks)];
    while let Some(state) = waiting.pop() {
        for next in state.next() {
            if seen.insert(next.clone()) {
                waiting.push(next);
            }
        }
    }
    seen
}

#[test]
fn whatever_the_order_a_listed_backup_has_its_wal() {
    let states = all(true);
    let unsound = states.iter().find(|state| !state.is_sound());
    assert_eq!(unsound, None);
    let listed = states.iter().filter(|state| state.backups.iter().any(|backup| backup.is_listed())).count();
    let deleted = states.iter().filter(|state| !state.has_wal).count();
    assert!(listed > 100 && deleted > 100, "{listed} {deleted} of {}", states.len());
}

#[test]
fn without_locks_one_order_loses_wal() {
    assert!(all(false).iter().any(|state| !state.is_sound()));
}
