//! What removed relation files or databases.

use serde::Serialize;

use super::invalidated::Invalidations;
use super::{Ending, EndingKind, RecordSpan, Search};
use crate::pg::{DroppedRelation, Lsn, TimelineId, WalContent, WalRecord};

/// LIMIT: removals that are listed; the last ones, since an incident is recent.
const LISTED_MAX: usize = 100_000;

/// Something that was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Removal {
    /// Where the record lies that removes it.
    #[serde(flatten)]
    pub span: RecordSpan,
    /// On which timeline.
    pub timeline: TimelineId,
    /// The transaction.
    pub xid: Option<u32>,
    /// When, by the server's clock: the commit's, or of a database the one of the commit that followed, once seen.
    pub time: Option<jiff::Timestamp>,
    /// Where recovery must stop, exclusive, for it to be whole: the record itself, but of a database the one that marks
    /// it as invalid.
    pub whole_until: Lsn,
    /// What.
    pub what: RemovedThing,
}

/// What was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RemovedThing {
    /// Files of relations, at the commit: `DROP`, `TRUNCATE`, or a rewritten table.
    RelationFiles {
        /// How many.
        count: u32,
        /// The first of them: tablespace, database, file number.
        first: Vec<RelationFiles>,
    },
    /// A database, at its own record: it is gone before the commit, so that only an LSN leads to before it.
    Database {
        /// Its OID.
        oid: u32,
    },
    /// A tablespace, at its own record.
    Tablespace {
        /// Its OID.
        oid: u32,
    },
}

impl RemovedThing {
    /// The files of relations that are gone with a commit.
    pub(super) fn of_commit(record: &WalRecord) -> Option<Self> {
        let WalContent::Commit(end) = &record.content else { return None };
        let first = end.dropped.iter().take(NAMED_FILES_MAX).map(RelationFiles::from).collect();
        (end.dropped_count > 0).then_some(Self::RelationFiles { count: end.dropped_count, first })
    }
}

/// A relation whose files were removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RelationFiles {
    /// OID of its tablespace.
    pub tablespace_oid: u32,
    /// OID of its database; none of a shared one.
    pub database_oid: Option<u32>,
    /// Its file number, `pg_class.relfilenode`.
    pub file_number: u32,
}

/// LIMIT: files that are named for one commit.
const NAMED_FILES_MAX: usize = 8;

impl From<&DroppedRelation> for RelationFiles {
    fn from(dropped: &DroppedRelation) -> Self {
        Self {
            tablespace_oid: dropped.tablespace_oid,
            database_oid: dropped.database_oid,
            file_number: dropped.file_number,
        }
    }
}

/// LIMIT: commits of a part of the log that are kept for databases whose record stands in the part before.
const FIRST_COMMITS_MAX: usize = 1000;

/// Everything that was removed, in the order of the log.
#[derive(Debug, Clone, Default)]
pub struct DropSearch {
    /// The removals.
    pub removals: Vec<Removal>,
    /// The first commits that were seen.
    first_commits: Vec<(u32, jiff::Timestamp)>,
    invalidations: Invalidations,
}

impl DropSearch {
    fn remove(&mut self, record: &WalRecord, xid: Option<u32>, time: Option<jiff::Timestamp>, what: RemovedThing) {
        let span = RecordSpan::of(record);
        let whole_until = match what {
            RemovedThing::Database { .. } => self.invalidations.before(xid).unwrap_or(span.lsn),
            RemovedThing::RelationFiles { .. } | RemovedThing::Tablespace { .. } => span.lsn,
        };
        self.removals.push(Removal { span, timeline: record.timeline, xid, time, whole_until, what });
        let surplus = self.removals.len().saturating_sub(LISTED_MAX);
        self.removals.drain(..surplus);
    }

    /// The commit that ended a transaction tells when it removed a database.
    fn date(&mut self, xid: u32, time: jiff::Timestamp) {
        // Few stand between a removal and its commit: those of transactions that ran beside it.
        for removal in self.removals.iter_mut().rev().take(FIRST_COMMITS_MAX) {
            if removal.time.is_none() && removal.xid == Some(xid) {
                removal.time = Some(time);
            }
        }
    }

    fn commit(&mut self, record: &WalRecord, ending: &Ending) {
        if let Some(xid) = ending.xid {
            self.date(xid, ending.time);
            if self.first_commits.len() < FIRST_COMMITS_MAX {
                self.first_commits.push((xid, ending.time));
            }
        }
        if let Some(what) = RemovedThing::of_commit(record) {
            self.remove(record, ending.xid, Some(ending.time), what);
        }
    }
}

impl Search for DropSearch {
    fn see(&mut self, record: &WalRecord) {
        self.invalidations.see(record);
        match &record.content {
            WalContent::DropDatabase { oid, .. } => {
                self.remove(record, record.xid, None, RemovedThing::Database { oid: *oid });
            }
            WalContent::DropTablespace { oid } => {
                self.remove(record, record.xid, None, RemovedThing::Tablespace { oid: *oid });
            }
            _ => {
                if let Some(ending) = Ending::of(record).filter(|ending| ending.kind == EndingKind::Commit) {
                    self.commit(record, &ending);
                }
            }
        }
    }

    fn merge(&mut self, mut later: Self) {
        for removal in &mut later.removals {
            if let RemovedThing::Database { .. } = removal.what
                && let Some(before) = self.invalidations.before_later(&later.invalidations, removal.xid)
            {
                removal.whole_until = before;
            }
        }
        self.invalidations.merge(later.invalidations);
        for (xid, time) in &later.first_commits {
            self.date(*xid, *time);
        }
        let room = FIRST_COMMITS_MAX.saturating_sub(self.first_commits.len());
        self.first_commits.extend(later.first_commits.into_iter().take(room));
        self.removals.extend(later.removals);
        let surplus = self.removals.len().saturating_sub(LISTED_MAX);
        self.removals.drain(..surplus);
    }

    fn is_decided(&self) -> bool {
        false
    }
}
