//! What a base backup asks of its server by SQL: what is recorded with it, and what it is judged by.
//!
//! INVARIANT: a setting or checkpoint that a role may not see is `None` or left out, and no error. The rest everybody may
//! see, but for the size, which is only shown.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::sql::{ServerError, SqlClient};
use crate::pg::Lsn;

/// For how long the server works on what is only shown: on a large or busy file system that may be minutes, and behind a
/// lock for ever.
const IN_PASSING_MAX: &str = "10s";

/// A checkpoint as the server's control file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerCheckpoint {
    /// Where its record is.
    pub lsn: Lsn,
    /// Where replay from it begins.
    pub redo_lsn: Lsn,
    /// The next transaction, with its epoch.
    pub next_xid: u64,
    /// In whole seconds.
    pub time: Timestamp,
}

/// A tablespace that a person made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TablespaceFacts {
    /// Its OID.
    pub oid: u32,
    /// Whether it lies in the data directory itself (`allow_in_place_tablespaces`).
    pub is_in_place: bool,
}

impl SqlClient {
    /// The version in its own words.
    pub async fn version_words(&self) -> Result<Option<String>, ServerError> {
        Ok(self.only_text_row("tell its version", "SELECT version()").await?.owned(0))
    }

    /// When it began, in seconds since 1970.
    pub async fn began(&self) -> Result<Option<i64>, ServerError> {
        let query = "SELECT extract(epoch FROM pg_postmaster_start_time())::bigint";
        self.only_text_row("tell when it began", query).await?.parsed(0)
    }

    /// Settings as `SHOW` prints them; those that the role may not see, or the version does not have, are left out.
    pub async fn shown_settings(&self, names: &[&str]) -> Result<BTreeMap<String, String>, ServerError> {
        let list = names.iter().map(|name| format!("('{name}')")).collect::<Vec<_>>().join(", ");
        let query = format!(
            "SELECT n, current_setting(s.name, true) FROM (VALUES {list}) AS v (n) \
             JOIN pg_settings s ON s.name = v.n ORDER BY n"
        );
        Ok(pairs(self.query_text("show its settings", &query).await?))
    }

    /// The versions of collations, which their libraries decide.
    pub async fn collation_versions(&self) -> Result<BTreeMap<String, String>, ServerError> {
        let query = in_passing(
            "SELECT CASE collprovider WHEN 'c' THEN 'libc_collation' ELSE 'icu_collation' END, \
             max(pg_collation_actual_version(oid)) FROM pg_collation \
             WHERE collprovider IN ('c', 'i') AND collencoding IN (-1, 6) GROUP BY 1",
        );
        Ok(pairs(self.query_text("tell the versions of its libraries", &query).await?))
    }

    /// About how many bytes a backup has; `None` when a tablespace is not where it should be.
    pub async fn about_bytes(&self) -> Result<Option<u64>, ServerError> {
        let query = in_passing("SELECT sum(pg_tablespace_size(oid))::bigint FROM pg_tablespace");
        self.only_text_row("tell how large its tablespaces are", &query).await?.parsed(0)
    }

    /// The last checkpoint in its control file.
    pub async fn last_checkpoint(&self) -> Result<Option<ServerCheckpoint>, ServerError> {
        let query = "SELECT checkpoint_lsn, redo_lsn, next_xid, extract(epoch FROM checkpoint_time)::bigint \
                     FROM pg_control_checkpoint()";
        let row = self.text_row_if_allowed("tell its last checkpoint", query).await?;
        Ok(row.and_then(|row| ServerCheckpoint::of_row(&row.values)))
    }

    /// The tablespaces but for its own two.
    pub async fn tablespaces(&self) -> Result<Vec<TablespaceFacts>, ServerError> {
        // The location is that of a link, which a leftover of a crash may lack: then there is an error for all.
        let query = "SELECT oid, pg_tablespace_location(oid) LIKE 'pg_tblspc/%' FROM pg_tablespace \
                     WHERE spcname NOT IN ('pg_default', 'pg_global')";
        let rows = self.query_text("list its tablespaces", query).await?;
        let facts = |row: Vec<Option<String>>| match row.as_slice() {
            [Some(oid), is_in_place] => {
                Some(TablespaceFacts { oid: oid.parse().ok()?, is_in_place: is_in_place.as_deref() == Some("t") })
            }
            _ => None,
        };
        Ok(rows.into_iter().filter_map(facts).collect())
    }
}

impl ServerCheckpoint {
    /// From positions, `epoch:xid` and seconds, as SQL shows them.
    fn of_row(row: &[Option<String>]) -> Option<Self> {
        let [Some(lsn), Some(redo_lsn), Some(next_xid), Some(seconds)] = row else { return None };
        let (epoch, xid) = next_xid.split_once(':')?;
        Some(Self {
            lsn: lsn.parse().ok()?,
            redo_lsn: redo_lsn.parse().ok()?,
            next_xid: u64::from(epoch.parse::<u32>().ok()?) << 32 | u64::from(xid.parse::<u32>().ok()?),
            time: Timestamp::from_second(seconds.parse().ok()?).ok()?,
        })
    }
}

/// The query with the time limit of what is only shown: in a transaction of its own, which is that of all statements sent
/// together, and by the server, so that the session is free for the next question.
fn in_passing(query: &str) -> String {
    format!("SET LOCAL statement_timeout = '{IN_PASSING_MAX}'; {query}")
}

/// Rows of a name and a value; without a value they are left out.
fn pairs(rows: Vec<Vec<Option<String>>>) -> BTreeMap<String, String> {
    let pair = |row: Vec<Option<String>>| match row.as_slice() {
        [Some(name), Some(value)] => Some((name.clone(), value.clone())),
        _ => None,
    };
    rows.into_iter().filter_map(pair).collect()
}
