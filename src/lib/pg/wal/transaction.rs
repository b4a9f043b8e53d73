//! Commit and abort records: `xl_xact_commit`, `xl_xact_abort` (`src/include/access/xact.h`), read as
//! `ParseCommitRecord` of `src/backend/access/rmgrdesc/xactdesc.c` does, but as a stream: a commit of a million
//! subtransactions needs no more memory than any other.
//!
//! COMPAT: 13 and 14 have no dropped statistics; their items grew in 18.

use super::content::{DroppedRelation, TransactionEnd, time_of};
use crate::pg::PgMajorVersion;
use crate::pg::little_endian::{i64_at, u32_at};

/// `XLOG_XACT_HAS_INFO`.
const HAS_INFO: u8 = 0x80;

/// The flags of `xinfo` that say which sections there are, in the order of the sections.
const HAS_DATABASE: u32 = 1 << 0;
const HAS_SUBTRANSACTIONS: u32 = 1 << 1;
const HAS_RELATIONS: u32 = 1 << 2;
const HAS_DROPPED_STATISTICS: u32 = 1 << 8;
const HAS_INVALIDATIONS: u32 = 1 << 3;
const HAS_PREPARED: u32 = 1 << 4;

/// `sizeof(SharedInvalidationMessage)`.
const INVALIDATION_BYTES: u64 = 16;
const DATABASE_BYTES: u64 = 8;
const RELATION_BYTES: usize = 12;

/// What is read next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    Time,
    Flags,
    Database,
    Subtransactions,
    Relations,
    Relation {
        left: u32,
    },
    Statistics,
    Invalidations,
    Prepared,
    /// Global identifier, replication origin: nothing of interest.
    Rest,
}

/// A commit or abort record being read.
#[derive(Debug, Clone)]
pub(super) struct TransactionScan {
    major: PgMajorVersion,
    has_flags: bool,
    flags: u32,
    section: Section,
    /// The number or struct being read.
    field: [u8; RELATION_BYTES],
    filled: usize,
    /// Bytes to pass over before the next section.
    skip: u64,
    end: TransactionEnd,
}

impl TransactionScan {
    /// For a record with this `xl_info` and `xl_xid`.
    pub(super) fn new(info: u8, xid: u32, prepared: bool, major: PgMajorVersion) -> Self {
        let time = time_of(0);
        let xid = Some(xid).filter(|xid| *xid != 0 && !prepared);
        Self {
            major,
            has_flags: info & HAS_INFO != 0,
            flags: 0,
            section: Section::Time,
            field: [0; RELATION_BYTES],
            filled: 0,
            skip: 0,
            end: TransactionEnd { xid, prepared, time, subtransactions: 0, dropped: Vec::new(), dropped_count: 0 },
        }
    }

    /// Takes the next bytes of the main data.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && (self.skip > 0 || self.section != Section::Rest) {
            if self.skip > 0 {
                let passed = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
                self.skip -= passed as u64;
                bytes = bytes.get(passed..).unwrap_or_default();
                continue;
            }
            let wanted = self.section.field_bytes();
            let (taken, rest) = bytes.split_at((wanted - self.filled).min(bytes.len()));
            if let Some(space) = self.field.get_mut(self.filled..self.filled + taken.len()) {
                space.copy_from_slice(taken);
            }
            (self.filled, bytes) = (self.filled + taken.len(), rest);
            if self.filled == wanted {
                self.filled = 0;
                self.take_field();
            }
        }
    }

    /// How the transaction ended; none when the record is too short for what it says of itself.
    pub(super) fn finish(self) -> Option<TransactionEnd> {
        let is_whole = self.section == Section::Rest && self.skip == 0;
        // Without the prepared transaction's number a record of one says nothing.
        (is_whole && (self.end.xid.is_some() || !self.end.prepared)).then_some(self.end)
    }

    fn take_field(&mut self) {
        let number = u32_at(&self.field, 0).unwrap_or(0);
        let mut next = self.section.after();
        match self.section {
            Section::Time => self.end.time = time_of(i64_at(&self.field, 0).unwrap_or(0)),
            Section::Flags => self.flags = number,
            Section::Database => self.skip = DATABASE_BYTES - 4,
            Section::Subtransactions => {
                self.end.subtransactions = number;
                self.skip = u64::from(number) * 4;
            }
            Section::Relations => {
                self.end.dropped_count = number;
                next = Section::Relation { left: number };
            }
            Section::Relation { left } => {
                self.take_relation();
                next = Section::Relation { left: left.saturating_sub(1) };
            }
            Section::Statistics => self.skip = u64::from(number) * if self.major.get() >= 18 { 16 } else { 12 },
            Section::Invalidations => self.skip = u64::from(number) * INVALIDATION_BYTES,
            Section::Prepared => self.end.xid = Some(number).filter(|xid| *xid != 0),
            Section::Rest => {}
        }
        while !self.has(next) {
            next = next.after();
        }
        self.section = next;
    }

    fn take_relation(&mut self) {
        let field = |offset| u32_at(&self.field, offset).unwrap_or(0);
        let database_oid = Some(field(4)).filter(|oid| *oid != 0);
        let relation = DroppedRelation { tablespace_oid: field(0), database_oid, file_number: field(8) };
        if self.end.dropped.len() < TransactionEnd::DROPPED_MAX {
            self.end.dropped.push(relation);
        }
    }

    fn has(&self, section: Section) -> bool {
        let flagged = |flag| self.flags & flag != 0;
        match section {
            Section::Time | Section::Rest => true,
            Section::Flags => self.has_flags,
            Section::Database => flagged(HAS_DATABASE),
            Section::Subtransactions => flagged(HAS_SUBTRANSACTIONS),
            Section::Relations => flagged(HAS_RELATIONS),
            Section::Relation { left } => left > 0,
            Section::Statistics => flagged(HAS_DROPPED_STATISTICS) && self.major.get() >= 15,
            Section::Invalidations => flagged(HAS_INVALIDATIONS),
            Section::Prepared => flagged(HAS_PREPARED),
        }
    }
}

impl Section {
    /// How many bytes of it are read at once.
    const fn field_bytes(self) -> usize {
        match self {
            Self::Time => 8,
            Self::Relation { .. } => RELATION_BYTES,
            _ => 4,
        }
    }

    /// What may follow it.
    const fn after(self) -> Self {
        match self {
            Self::Time => Self::Flags,
            Self::Flags => Self::Database,
            Self::Database => Self::Subtransactions,
            Self::Subtransactions => Self::Relations,
            Self::Relations | Self::Relation { .. } => Self::Statistics,
            Self::Statistics => Self::Invalidations,
            Self::Invalidations => Self::Prepared,
            Self::Prepared | Self::Rest => Self::Rest,
        }
    }
}
