//! Where a database that is dropped was marked as invalid: from there on nobody can connect to it, though its files are
//! all there. `dropdb` in `src/backend/commands/dbcommands.c` writes that mark in place (`XLOG_HEAP_INPLACE`), outside of
//! any transaction, as the last thing before it deletes the row; minor releases before August 2023 did not.

use std::collections::BTreeMap;

use crate::pg::{Lsn, WalRecord};

const HEAP_RESOURCE_MANAGER: u8 = 10;
const HEAP_OPERATION: u8 = 0x70;
const HEAP_INPLACE: u8 = 0x70;
/// LIMIT: records between the mark and the first record of its transaction, which others write. On a release without
/// the mark, what is taken for it is at most so far away.
const NEAR: u64 = 64;
/// LIMIT: transactions that are remembered; the ones with the lowest numbers are forgotten first.
const TRANSACTIONS_MAX: usize = 10_000;

/// The marks in a part of the log.
#[derive(Debug, Clone, Default)]
pub(super) struct Invalidations {
    /// How many records were seen.
    records: u64,
    /// The last change in place without a transaction: the how manieth record, and where.
    last: Option<(u64, Lsn)>,
    transactions: BTreeMap<u32, Begun>,
}

/// A transaction that was seen.
#[derive(Debug, Clone, Copy, Default)]
struct Begun {
    /// Which of the records was its first one.
    first_record: u64,
    /// The change in place shortly before that.
    near: Option<Lsn>,
    /// The last change in place under its own number.
    own: Option<Lsn>,
}

impl Invalidations {
    pub(super) fn see(&mut self, record: &WalRecord) {
        self.records += 1;
        let is_in_place =
            record.resource_manager == HEAP_RESOURCE_MANAGER && record.info & HEAP_OPERATION == HEAP_INPLACE;
        match record.xid {
            Some(xid) => {
                let (first_record, near) = (self.records, self.near(self.records));
                let begun = self.transactions.entry(xid).or_insert(Begun { first_record, near, own: None });
                if is_in_place {
                    begun.own = Some(record.lsn);
                }
                if self.transactions.len() > TRANSACTIONS_MAX {
                    self.transactions.pop_first();
                }
            }
            None if is_in_place => self.last = Some((self.records, record.lsn)),
            None => {}
        }
    }

    /// The last change in place, if it lies shortly before that record.
    fn near(&self, record: u64) -> Option<Lsn> {
        self.last.filter(|(number, _)| record.saturating_sub(*number) <= NEAR).map(|(_, lsn)| lsn)
    }

    /// Where a database was marked that this transaction removes, as far as this part knows.
    pub(super) fn before(&self, xid: Option<u32>) -> Option<Lsn> {
        let begun = self.transactions.get(&xid?)?;
        begun.own.or(begun.near)
    }

    /// The same for a removal in the part that follows.
    pub(super) fn before_later(&self, later: &Self, xid: Option<u32>) -> Option<Lsn> {
        let xid = xid?;
        let begun = self.joined(xid, *later.transactions.get(&xid)?);
        begun.own.or(begun.near)
    }

    /// What both parts know of a transaction that the later one has seen.
    fn joined(&self, xid: u32, later: Begun) -> Begun {
        match self.transactions.get(&xid) {
            Some(begun) => Begun { own: later.own.or(begun.own), ..*begun },
            None => {
                let first_record = self.records + later.first_record;
                Begun { first_record, near: later.near.or(self.near(first_record)), own: later.own }
            }
        }
    }

    pub(super) fn merge(&mut self, later: Self) {
        let joined = later.transactions.iter().map(|(xid, begun)| (*xid, self.joined(*xid, *begun)));
        let joined: Vec<(u32, Begun)> = joined.collect();
        self.transactions.extend(joined);
        while self.transactions.len() > TRANSACTIONS_MAX {
            self.transactions.pop_first();
        }
        self.last = later.last.map(|(number, lsn)| (self.records + number, lsn)).or(self.last);
        self.records += later.records;
    }
}
