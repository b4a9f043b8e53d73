//! The oracle: a table of which is known, for every row, when, at which LSN and in which transaction it was committed.
//!
//! After a restore to a target the table must hold exactly the rows committed before it: none missing, none more.

use crate::support::TestCluster;

/// A point in time by the server's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Microseconds since 1970, in UTC.
    pub(crate) micros: i64,
    /// `2026-11-20 14:30:00.123456+00`.
    pub(crate) text: String,
}

/// A committed row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LedgerRow {
    pub(crate) id: i64,
    /// The 32-bit transaction id.
    pub(crate) xid: u32,
    /// The commit time that stands in the WAL.
    pub(crate) committed_at: Moment,
    /// The end of the commit record or later, before any later row's commit.
    pub(crate) lsn: String,
}

/// The rows that were committed, in order.
pub(crate) struct Ledger {
    pub(crate) rows: Vec<LedgerRow>,
}

const TIME: &str =
    "(extract(epoch FROM {}) * 1000000)::bigint, to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00'";

impl Ledger {
    /// Creates the table `ledger` in the database `postgres`.
    pub(crate) fn create(cluster: &TestCluster) -> Self {
        cluster.query("CREATE TABLE ledger (id bigint PRIMARY KEY, payload text NOT NULL)");
        Self { rows: Vec::new() }
    }

    /// Commits one row and returns what is known about it.
    pub(crate) fn commit(&mut self, cluster: &TestCluster) -> &LedgerRow {
        let id = self.rows.last().map_or(1, |row| row.id + 1);
        let payload = payload_of("i");
        cluster.query(&format!("INSERT INTO ledger SELECT i, {payload} FROM (SELECT {id} AS i) AS one"));
        let time = TIME.replace("{}", "pg_xact_commit_timestamp(xmin)");
        let sql = format!("SELECT xmin, pg_current_wal_insert_lsn(), {time} FROM ledger WHERE id = {id}");
        let answer = cluster.query(&sql);
        let fields: Vec<&str> = answer.split('|').collect();
        assert_eq!(fields.len(), 4, "{answer}");
        let row = LedgerRow {
            id,
            xid: fields[0].parse().expect("xmin is a number"),
            lsn: fields[1].to_owned(),
            committed_at: Moment { micros: fields[2].parse().expect("a number"), text: fields[3].to_owned() },
        };
        self.rows.push(row);
        self.rows.last().expect("one was pushed")
    }

    /// Commits `count` rows.
    pub(crate) fn commit_many(&mut self, cluster: &TestCluster, count: usize) {
        for _ in 0..count {
            self.commit(cluster);
        }
    }

    /// Writes a row and rolls it back: it must never be seen.
    pub(crate) fn abort(&self, cluster: &TestCluster) {
        cluster.query("BEGIN; INSERT INTO ledger VALUES (-1, 'rolled back'); ROLLBACK");
    }

    /// The ids of all rows.
    pub(crate) fn all(&self) -> Vec<i64> {
        self.ids(|_| true)
    }

    /// The ids that are visible at `moment`, when a commit at exactly that time counts.
    pub(crate) fn until(&self, moment: &Moment) -> Vec<i64> {
        self.ids(|row| row.committed_at.micros <= moment.micros)
    }

    /// The ids that are visible at `moment`, when a commit at exactly that time does not count.
    pub(crate) fn before(&self, moment: &Moment) -> Vec<i64> {
        self.ids(|row| row.committed_at.micros < moment.micros)
    }

    /// The ids up to `row`, and `row` itself.
    pub(crate) fn through(&self, row: &LedgerRow) -> Vec<i64> {
        self.ids(|other| other.id <= row.id)
    }

    fn ids(&self, is_visible: impl Fn(&LedgerRow) -> bool) -> Vec<i64> {
        self.rows.iter().filter(|row| is_visible(row)).map(|row| row.id).collect()
    }

    /// Panics unless the table holds exactly `expected`.
    #[track_caller]
    pub(crate) fn assert(cluster: &TestCluster, expected: &[i64]) {
        if let Err(difference) = Self::compare(cluster, expected) {
            panic!("{difference}\nlog:\n{}", cluster.log());
        }
    }

    /// Says how the table differs from `expected`: missing rows, rows too many, rows with another content.
    pub(crate) fn compare(cluster: &TestCluster, expected: &[i64]) -> Result<(), String> {
        let sql = format!("SELECT id, payload = {} FROM ledger ORDER BY id", payload_of("id"));
        let answer = cluster.query(&sql);
        let mut found = Vec::new();
        let mut changed = Vec::new();
        for line in answer.lines() {
            let (id, is_intact) = line.split_once('|').expect("two columns");
            let id: i64 = id.parse().expect("a number");
            found.push(id);
            if is_intact != "t" {
                changed.push(id);
            }
        }
        let missing: Vec<&i64> = expected.iter().filter(|id| !found.contains(id)).collect();
        let surplus: Vec<&i64> = found.iter().filter(|id| !expected.contains(id)).collect();
        if missing.is_empty() && surplus.is_empty() && changed.is_empty() {
            return Ok(());
        }
        Err(format!("the ledger differs: missing {missing:?}, not expected {surplus:?}, changed {changed:?}"))
    }
}

/// SQL for the content that the row with this id must have.
fn payload_of(id: &str) -> String {
    format!("repeat(md5({id}::text), 4)")
}

impl TestCluster {
    /// The present time by the server's clock: after every commit so far, before every later one.
    pub(crate) fn now(&self) -> Moment {
        let time = TIME.replace("{}", "now");
        let answer = self.query(&format!("SELECT {time} FROM clock_timestamp() AS now"));
        let (micros, text) = answer.split_once('|').expect("two columns");
        Moment { micros: micros.parse().expect("a number"), text: text.to_owned() }
    }
}
