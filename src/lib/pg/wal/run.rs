//! What one reader read, and how the runs of readers that worked side by side become one.

use super::fault::WalFault;
use crate::error::{Classified, ErrorClass};
use crate::pg::Lsn;

/// A record's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalSpan {
    /// Where it begins.
    pub lsn: Lsn,
    /// Where it ends, rounded up; the end of the segment for a switch.
    pub end_lsn: Lsn,
}

/// Why a reader stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WalEnding {
    /// The record at `next_lsn` of the run belongs to the next run.
    Complete,
    /// No more bytes were fed. All that were are valid so far.
    OutOfInput {
        /// Where the record or page begins of which only a part was fed; none when the input ended between records.
        incomplete: Option<Lsn>,
    },
    /// What follows is not valid WAL.
    Fault(WalFault),
}

/// What a reader read: all records that begin in its range, complete and with the right CRC, each linked to the one
/// before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalRun {
    /// How many records.
    pub records: u64,
    /// Where the first one begins; none when there was none.
    pub first_lsn: Option<Lsn>,
    /// Where the record before the first one must begin, by the first one's link; none at the start of a cluster.
    pub previous_lsn: Option<Lsn>,
    /// The last complete record. Its `lsn` is what *latest* needs as a target (contract C2.5).
    pub last: Option<WalSpan>,
    /// Where the next record would begin.
    pub next_lsn: Lsn,
    /// Why reading ended there.
    pub ending: WalEnding,
}

/// Two runs that are no continuous WAL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WalJoinError {
    /// The earlier run ended for another reason than that the later one begins.
    #[error("WAL ends at {at}, before the next part of it")]
    Ended {
        /// Where the next record would begin.
        at: Lsn,
    },
    /// The first record of the later run is not where the last one of the earlier run ends.
    #[error("WAL record at {found} does not follow: expected one at {expected}")]
    Position {
        /// Where the later run's first record begins.
        found: Lsn,
        /// Where it must begin.
        expected: Lsn,
    },
    /// The first record of the later run follows another record.
    #[error("WAL record at {record} follows another record than the one before it, at {expected}")]
    PreviousLink {
        /// Where the later run's first record begins.
        record: Lsn,
        /// The record it is linked to; none for none.
        found: Option<Lsn>,
        /// The earlier run's last record.
        expected: Lsn,
    },
}

impl Classified for WalJoinError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Corrupt
    }
}

impl WalRun {
    /// The two as one, when `later` begins where this run ended.
    ///
    /// Runs must be joined in order, oldest first: a record may be longer than a whole run, which then has none, and
    /// takes its place from the ones before it.
    pub fn join(self, later: Self) -> Result<Self, WalJoinError> {
        if self.ending != WalEnding::Complete {
            return Err(WalJoinError::Ended { at: self.next_lsn });
        }
        let (Some(first), Some(_)) = (later.first_lsn, later.last) else {
            // Nothing began in it. When the last record went beyond it, that was read by the earlier run.
            return match (self.next_lsn.cmp(&later.next_lsn), &later.ending) {
                (std::cmp::Ordering::Equal, _) => Ok(Self { ending: later.ending, ..self }),
                (_, WalEnding::Fault(_) | WalEnding::OutOfInput { .. }) => Ok(Self { ending: later.ending, ..self }),
                _ => Err(WalJoinError::Position { found: later.next_lsn, expected: self.next_lsn }),
            };
        };
        if first != self.next_lsn {
            return Err(WalJoinError::Position { found: first, expected: self.next_lsn });
        }
        if let Some(last) = self.last.filter(|last| later.previous_lsn != Some(last.lsn)) {
            let (record, found) = (first, later.previous_lsn);
            return Err(WalJoinError::PreviousLink { record, found, expected: last.lsn });
        }
        Ok(Self {
            records: self.records + later.records,
            first_lsn: self.first_lsn.or(later.first_lsn),
            previous_lsn: if self.first_lsn.is_some() { self.previous_lsn } else { later.previous_lsn },
            ..later
        })
    }
}
