//! What a server says of how it archives: its archiver, the WAL that waits, its slots. And the one thing that is asked
//! of it: to end a segment, so that it has something to archive.
//!
//! INVARIANT: what a role may not see is `None`; only a broken connection or answer is an error. 13 and later.

use jiff::Timestamp;

use super::sql::{ServerError, SqlClient};
use super::text_row::{TextRow, utc};
use crate::pg::{Lsn, TimelineId};

/// How a server archives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerHealth {
    /// Its clock.
    pub now: Timestamp,
    /// Whether it is a standby or recovers.
    pub in_recovery: bool,
    /// The timeline that it writes, or replays; that of its last checkpoint when it recovers.
    pub timeline: Option<TimelineId>,
    /// Where its WAL ends; of a standby, where its replay is.
    pub end_lsn: Option<Lsn>,
    /// What its archiver has done.
    pub archiver: ArchiverFacts,
    /// What waits to be archived.
    pub waiting: Option<WaitingWal>,
    /// Its replication slots.
    pub slots: Vec<SlotFacts>,
}

/// `pg_stat_archiver`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ArchiverFacts {
    /// The last file that was archived.
    pub last_archived: Option<String>,
    /// When.
    pub last_archived_at: Option<Timestamp>,
    /// How often it failed since the statistics were reset.
    pub failures: u64,
    /// The file of the last failure.
    pub last_failed: Option<String>,
    /// When.
    pub last_failed_at: Option<Timestamp>,
}

/// The `.ready` files of `pg_wal/archive_status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitingWal {
    /// How many.
    pub count: u64,
    /// When the oldest was made.
    pub oldest: Option<Timestamp>,
}

/// A replication slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotFacts {
    /// Its name.
    pub name: String,
    /// Whether somebody uses it now.
    pub active: bool,
    /// WAL that it keeps, in bytes; `None` when it keeps none.
    pub kept_bytes: Option<u64>,
    /// `reserved`, `extended`, `unreserved` or `lost`, when the server says.
    pub wal_status: Option<String>,
}

impl ArchiverFacts {
    /// Whether the last that it tried failed.
    pub fn fails(&self) -> bool {
        self.last_failed_at.is_some_and(|failed| self.last_archived_at.is_none_or(|archived| failed > archived))
    }
}

impl SqlClient {
    /// How the server archives.
    pub async fn health(&self) -> Result<ServerHealth, ServerError> {
        const ACTION: &str = "tell how far its WAL is";
        let sql = format!(
            "SELECT {}, pg_is_in_recovery(), \
             CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, \
             CASE WHEN NOT pg_is_in_recovery() THEN left(pg_walfile_name(pg_current_wal_lsn()), 8) END",
            utc("clock_timestamp()")
        );
        let row = self.only_text_row(ACTION, &sql).await?;
        let in_recovery = row.text(1) == Some("t");
        let timeline = match row.text(3) {
            Some(text) => Some(TimelineId::parse_hex(text).map_err(|_| self.invalid(ACTION, text.to_owned()))?),
            None => self.checkpoint_timeline().await?,
        };
        Ok(ServerHealth {
            now: row.time(0)?.ok_or_else(|| self.invalid(ACTION, "no time".to_owned()))?,
            in_recovery,
            timeline,
            end_lsn: row.parsed(2)?,
            archiver: self.archiver().await?,
            waiting: self.waiting_wal().await?,
            slots: self.slots().await?,
        })
    }

    /// Ends the present segment, after writing something into it: one without content would not be ended. Says where
    /// it ends and on which timeline.
    pub async fn switch_wal(&self) -> Result<(Lsn, TimelineId), ServerError> {
        const ACTION: &str = "switch to another WAL segment";
        // Of several commands in one query the last row is the last command's.
        let sql = "SELECT pg_logical_emit_message(false, 'pgv', 'check'); \
                   WITH switched AS MATERIALIZED (SELECT pg_switch_wal() AS lsn) \
                   SELECT lsn, left(pg_walfile_name(lsn), 8) FROM switched";
        let none = TextRow { client: self, action: ACTION, values: Vec::new() };
        let row = self.text_rows(ACTION, sql).await?.pop().unwrap_or(none);
        let missing = || self.invalid(ACTION, "no position".to_owned());
        let timeline = TimelineId::parse_hex(row.text(1).unwrap_or_default()).map_err(|_| missing())?;
        Ok((row.parsed(0)?.ok_or_else(missing)?, timeline))
    }

    async fn checkpoint_timeline(&self) -> Result<Option<TimelineId>, ServerError> {
        const ACTION: &str = "tell its timeline";
        let sql = "SELECT timeline_id FROM pg_control_checkpoint()";
        let row = self.text_row_if_allowed(ACTION, sql).await?;
        row.map_or(Ok(None), |row| Ok(row.parsed::<u32>(0)?.and_then(TimelineId::new)))
    }

    /// What its archiver has done.
    pub async fn archiver(&self) -> Result<ArchiverFacts, ServerError> {
        const ACTION: &str = "tell what its archiver does";
        let sql = format!(
            "SELECT last_archived_wal, {}, failed_count, last_failed_wal, {} FROM pg_stat_archiver",
            utc("last_archived_time"),
            utc("last_failed_time")
        );
        let row = self.only_text_row(ACTION, &sql).await?;
        Ok(ArchiverFacts {
            last_archived: row.text(0).map(str::to_owned),
            last_archived_at: row.time(1)?,
            failures: row.parsed(2)?.unwrap_or_default(),
            last_failed: row.text(3).map(str::to_owned),
            last_failed_at: row.time(4)?,
        })
    }

    /// What waits to be archived; none where the role may not see that.
    pub async fn waiting_wal(&self) -> Result<Option<WaitingWal>, ServerError> {
        const ACTION: &str = "list what waits to be archived";
        let sql = format!(
            "SELECT count(*), {} FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'",
            utc("min(modification)")
        );
        let Some(row) = self.text_row_if_allowed(ACTION, &sql).await? else { return Ok(None) };
        Ok(Some(WaitingWal { count: row.parsed(0)?.unwrap_or_default(), oldest: row.time(1)? }))
    }

    async fn slots(&self) -> Result<Vec<SlotFacts>, ServerError> {
        const ACTION: &str = "list its replication slots";
        let sql = "SELECT slot_name, active, wal_status, greatest(0, pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() \
                   THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, restart_lsn))::bigint \
                   FROM pg_replication_slots ORDER BY slot_name";
        let rows = self.text_rows(ACTION, sql).await?;
        rows.into_iter()
            .map(|row| {
                Ok(SlotFacts {
                    name: row.text(0).unwrap_or_default().to_owned(),
                    active: row.text(1) == Some("t"),
                    wal_status: row.text(2).map(str::to_owned),
                    kept_bytes: row.parsed(3)?,
                })
            })
            .collect()
    }
}
