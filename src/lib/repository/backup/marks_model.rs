//! Every order of the steps of two writers and two expirers: what the protocol of `marks` promises, tried out.
//!
//! The state is the set of objects in a store that answers at once and shows what was created (read after write, list
//! after write), and where each actor is. What an actor has sent may be stored at any later time (a late write). A crash
//! is that nobody goes on with an actor, and every state in which nobody does is among the states. Decisions are those
//! of `marks`, not copies.

use std::collections::{BTreeMap, HashSet};
use std::sync::LazyLock;

use super::BackupId;
use super::marks::{BackupState, Hold, hold_of};

/// The backups: an old one, which retention wants gone; one that refers to the old one's pack; one that refers to both.
const OLD: usize = 0;
const FIRST: usize = 1;
const SECOND: usize = 2;
const BACKUPS: usize = 3;

const PARENTS: [&[usize]; BACKUPS] = [&[], &[OLD], &[OLD, FIRST]];

static IDS: LazyLock<[BackupId; BACKUPS]> = LazyLock::new(|| {
    ["20261121T000000Z-00000000", "20261121T000000Z-00000001", "20261121T000000Z-00000002"]
        .map(|id| id.parse().unwrap())
});

static PARENT_IDS: LazyLock<[Vec<BackupId>; BACKUPS]> =
    LazyLock::new(|| PARENTS.map(|parents| parents.iter().map(|parent| id(*parent)).collect()));

fn id(backup: usize) -> BackupId {
    IDS[backup]
}

fn parents_of(id: BackupId) -> &'static [BackupId] {
    IDS.iter().position(|known| *known == id).map_or(&[], |backup| &PARENT_IDS[backup])
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Object {
    Begin(usize),
    Record(usize),
    Doubt(usize),
    Suspect(usize),
    Gone(usize),
    Pack(usize),
}

/// Where a writer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Writing {
    Begin,
    ReadParents,
    Pack,
    Record,
    ReadOwn,
    Succeeded,
    Failed,
}

/// Where an expirer is with the backup that it wants gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Expiring {
    Choose,
    /// The mark was set; all marks are read next.
    Read(usize),
    SetGone(usize),
    /// What nobody needs is found out next.
    FindPacks(usize),
    /// These packs go, bit by bit; then the rest.
    DeletePacks(usize, u8),
    DeleteRecord(usize),
    DeleteBegin(usize),
    DeleteMarks(usize),
    DeleteGone(usize),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    states: [BackupState; BACKUPS],
    /// Bit by bit, the packs that are there.
    packs: u8,
    writers: [Writing; 2],
    expirers: [Expiring; 2],
    /// What was sent and is not stored yet, by actor; its sender waits for it.
    in_flight: [Option<Object>; 4],
    succeeded: u8,
}

impl State {
    fn first() -> Self {
        let listed = BackupState { begin: true, record: true, ..BackupState::default() };
        Self {
            states: [listed, BackupState::default(), BackupState::default()],
            packs: 1 << OLD,
            writers: [Writing::Begin; 2],
            expirers: [Expiring::Choose; 2],
            in_flight: [None; 4],
            succeeded: 0,
        }
    }

    fn store(&mut self, object: Object) {
        match object {
            Object::Begin(of) => self.states[of].begin = true,
            Object::Record(of) => self.states[of].record = true,
            Object::Doubt(of) => self.states[of].doubt = true,
            Object::Suspect(of) => self.states[of].suspect = true,
            Object::Gone(of) => self.states[of].gone = true,
            Object::Pack(of) => self.packs |= 1 << of,
        }
    }

    fn as_map(&self) -> BTreeMap<BackupId, BackupState> {
        (0..BACKUPS).map(|backup| (id(backup), self.states[backup])).collect()
    }

    /// The packs that a backup may refer to.
    fn packs_of(backup: usize) -> u8 {
        PARENTS[backup].iter().fold(1 << backup, |packs, parent| packs | 1 << parent)
    }

    /// The packs that no listed backup and no parent of an unfinished one needs, and that are `of`'s own.
    fn unneeded(&self, of: usize) -> u8 {
        let mut needed = 0;
        for (backup, state) in self.states.iter().enumerate() {
            if state.is_listed() {
                needed |= Self::packs_of(backup);
            }
            if state.is_unfinished() {
                needed |= PARENTS[backup].iter().fold(0, |packs, parent| packs | Self::packs_of(*parent));
            }
        }
        (1 << of) & !needed
    }

    /// Every state that one step leads to.
    fn next(&self) -> Vec<Self> {
        let mut found = Vec::new();
        for actor in 0..4 {
            if let Some(object) = self.in_flight[actor] {
                let mut next = self.clone();
                next.in_flight[actor] = None;
                next.store(object);
                found.push(next);
            } else {
                match actor {
                    0 | 1 => found.extend(self.write(actor)),
                    _ => found.extend(self.expire(actor)),
                }
            }
        }
        found
    }

    /// A writer that waits for nothing takes its next step.
    fn write(&self, actor: usize) -> Option<Self> {
        let backup = if actor == 0 { FIRST } else { SECOND };
        let mut next = self.clone();
        let send = |next: &mut Self, object, then| {
            next.in_flight[actor] = Some(object);
            next.writers[actor] = then;
        };
        match self.writers[actor] {
            Writing::Begin => send(&mut next, Object::Begin(backup), Writing::ReadParents),
            Writing::ReadParents => {
                let usable = PARENTS[backup].iter().all(|parent| self.states[*parent].may_be_parent());
                next.writers[actor] = if usable { Writing::Pack } else { Writing::Failed };
            }
            Writing::Pack => send(&mut next, Object::Pack(backup), Writing::Record),
            Writing::Record => send(&mut next, Object::Record(backup), Writing::ReadOwn),
            Writing::ReadOwn => {
                let succeeds = self.states[backup].is_own_success();
                next.writers[actor] = if succeeds { Writing::Succeeded } else { Writing::Failed };
                next.succeeded |= u8::from(succeeds) << backup;
            }
            Writing::Succeeded | Writing::Failed => return None,
        }
        Some(next)
    }

    /// An expirer that waits for nothing takes a next step; with whom it begins is open.
    fn expire(&self, actor: usize) -> Vec<Self> {
        let at = |expiring| {
            let mut next = self.clone();
            next.expirers[actor - 2] = expiring;
            next
        };
        let send = |object, then| {
            let mut next = at(then);
            next.in_flight[actor] = Some(object);
            next
        };
        match self.expirers[actor - 2] {
            // Retention wants the old one gone, and takes everything that is not finished for silent.
            Expiring::Choose => (0..BACKUPS)
                .filter_map(|backup| {
                    let state = self.states[backup];
                    match state {
                        _ if state.gone => Some(at(Expiring::FindPacks(backup))),
                        _ if state.is_listed() && backup == OLD => {
                            Some(send(Object::Doubt(backup), Expiring::Read(backup)))
                        }
                        _ if state.is_unfinished() => Some(send(Object::Suspect(backup), Expiring::Read(backup))),
                        _ => None,
                    }
                })
                .collect(),
            Expiring::Read(backup) => {
                match hold_of(id(backup), &self.as_map(), parents_of) {
                    None => vec![at(Expiring::SetGone(backup))],
                    // Deleted by the other one meanwhile, marks and all.
                    Some(Hold::Unmarked | Hold::Pinned | Hold::Finished | Hold::ParentOf(_)) => {
                        vec![at(Expiring::Choose)]
                    }
                }
            }
            Expiring::SetGone(backup) => vec![send(Object::Gone(backup), Expiring::FindPacks(backup))],
            Expiring::FindPacks(backup) => vec![at(Expiring::DeletePacks(backup, self.unneeded(backup)))],
            Expiring::DeletePacks(backup, packs) => {
                let mut next = at(Expiring::DeleteRecord(backup));
                next.packs &= !packs;
                vec![next]
            }
            Expiring::DeleteRecord(backup) => {
                let mut next = at(Expiring::DeleteBegin(backup));
                next.states[backup].record = false;
                vec![next]
            }
            Expiring::DeleteBegin(backup) => {
                let mut next = at(Expiring::DeleteMarks(backup));
                next.states[backup].begin = false;
                vec![next]
            }
            Expiring::DeleteMarks(backup) => {
                let mut next = at(Expiring::DeleteGone(backup));
                (next.states[backup].doubt, next.states[backup].suspect) = (false, false);
                vec![next]
            }
            // As long as a pack of it is there, its folder says whose that is.
            Expiring::DeleteGone(backup) => {
                let mut next = at(Expiring::Choose);
                next.states[backup].gone = self.packs & (1 << backup) != 0;
                vec![next]
            }
        }
    }

    /// What must be so in every state.
    fn check(&self) {
        let has_folder = self.states[OLD].begin || self.states[OLD].gone;
        assert!(has_folder || self.packs & (1 << OLD) == 0, "the old one's pack has no folder: {self:?}");
        for (backup, state) in self.states.iter().enumerate() {
            if state.is_listed() {
                let needed = Self::packs_of(backup);
                assert_eq!(self.packs & needed, needed, "backup {backup} is listed without all its packs: {self:?}");
            }
            if self.succeeded & (1 << backup) != 0 {
                assert!(state.is_listed(), "backup {backup} was reported to be complete and is not listed: {self:?}");
            }
        }
    }
}

#[test]
fn whatever_the_order_a_listed_backup_has_all_its_packs() {
    let mut seen = HashSet::from([State::first()]);
    let mut waiting = vec![State::first()];
    let (mut with_child, mut old_gone) = (0u64, 0u64);
    while let Some(state) = waiting.pop() {
        state.check();
        with_child += u64::from(state.succeeded != 0);
        old_gone += u64::from(state.packs & (1 << OLD) == 0);
        for next in state.next() {
            if seen.insert(next.clone()) {
                waiting.push(next);
            }
        }
    }
    assert!(with_child > 1000 && old_gone > 1000, "{with_child} {old_gone} of {}", seen.len());
}
