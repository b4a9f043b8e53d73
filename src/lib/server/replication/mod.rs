//! What a server says of its part in replication: which cluster and timeline it is on, how far it is, what it follows
//! and who follows it.
//!
//! INVARIANT: what a role may not see is `None`, never zero; only a broken connection or answer is an error. 13 and
//! later; `pg_monitor` sees all of it, any role sees all that decides a lag.

mod facts;

use std::collections::BTreeMap;

use futures_util::future::{try_join, try_join4};

pub use facts::{
    ConflictLimit, Follower, PrimaryPosition, ReplayPause, ReplicationFacts, ReplicationRole, ReplicationSettings,
    StandbyFacts, WalReceiver, WalSource,
};

use super::conninfo::application_name_in;
use super::sql::{ServerError, SqlClient};
use super::text_row::{TextRow, utc};
use crate::pg::{Lsn, TimelineId};

/// The first version that tells a pause that was asked for from one that has begun.
const PAUSE_STATE_SINCE: u32 = 140_000;

/// The settings that [`ReplicationSettings`] and [`ReplicationFacts`] are made of.
const SETTINGS: [&str; 12] = [
    "recovery_min_apply_delay",
    "max_standby_streaming_delay",
    "max_standby_archive_delay",
    "hot_standby_feedback",
    "hot_standby",
    "full_page_writes",
    "wal_level",
    "restore_command",
    "max_connections",
    "max_wal_senders",
    "superuser_reserved_connections",
    "reserved_connections",
];

impl SqlClient {
    /// What the server says of its part in replication. All questions are asked at once: they take one round trip.
    pub async fn replication_facts(&self) -> Result<ReplicationFacts, ServerError> {
        let identity = try_join(self.system_identifier(), self.checkpoint());
        let neighbours = try_join4(self.receiver(), self.recovery_timeline(), self.followers(), self.backends());
        let server = try_join(self.replication_position(), self.setting_texts());
        let (server, (identity, neighbours)) = try_join(server, try_join(identity, neighbours)).await?;
        let (position, texts) = server;
        let (system_identifier, checkpoint) = identity;
        let (receiver, recovery_timeline, followers, backends) = neighbours;
        let text = |name: &str| texts.get(name).map(String::as_str);
        let number = |name: &str| text(name).and_then(|text| text.parse::<u32>().ok());
        let received_timeline = receiver.as_ref().and_then(|receiver| receiver.timeline);
        let known = [received_timeline, recovery_timeline, checkpoint.timeline];
        let (timeline, role) = match position.current {
            Some(current) => (position.timeline, ReplicationRole::Primary { current }),
            // A server only ever goes on to later timelines, and these three know of that at different times.
            None => {
                let standby = position.standby(receiver, &texts);
                (known.into_iter().flatten().max(), ReplicationRole::Standby(standby))
            }
        };
        let reserved = ["superuser_reserved_connections", "reserved_connections"].map(|name| number(name).unwrap_or(0));
        let left = |most: Option<u32>, used: Option<u32>| Some(most?.saturating_sub(used?));
        let senders = u32::try_from(followers.len()).ok();
        Ok(ReplicationFacts {
            version_num: self.version_num(),
            system_identifier,
            timeline,
            started: position.started,
            now: position.now,
            role,
            settings: ReplicationSettings {
                streaming_conflicts: text("max_standby_streaming_delay").and_then(ConflictLimit::of_setting),
                archive_conflicts: text("max_standby_archive_delay").and_then(ConflictLimit::of_setting),
                hot_standby_feedback: text("hot_standby_feedback").map(|value| value == "on"),
                full_page_writes: match position.current {
                    Some(_) => text("full_page_writes").map(|value| value == "on"),
                    // What counts is what the primary wrote, not what this server would write.
                    None => checkpoint.full_page_writes,
                },
                wal_level: text("wal_level").map(str::to_owned),
            },
            connections_left: left(number("max_connections"), backends)
                .map(|left| left.saturating_sub(reserved.iter().sum())),
            senders_left: left(number("max_wal_senders"), senders),
            followers,
        })
    }

    /// Where the WAL of a primary ends, and its clock then; `None` when it is no primary any more.
    pub async fn primary_position(&self) -> Result<Option<PrimaryPosition>, ServerError> {
        const ACTION: &str = "tell its current WAL position";
        // ORDER: the clock after the position, so that the age of what is missing is never understated.
        let sql = format!(
            "SELECT CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_lsn() END, {}",
            utc("clock_timestamp()")
        );
        let row = self.only_text_row(ACTION, &sql).await?;
        let now = row.time(1)?.ok_or_else(|| self.invalid(ACTION, "no time"))?;
        Ok(row.parsed(0)?.map(|lsn| PrimaryPosition { lsn, now }))
    }

    async fn replication_position(&self) -> Result<Position, ServerError> {
        const ACTION: &str = "tell how far its WAL is";
        let paused = match self.version_num() {
            // COMPAT: 13 knows only whether a pause was asked for.
            Some(version) if version < PAUSE_STATE_SINCE => {
                "CASE WHEN pg_is_wal_replay_paused() THEN 'pause requested' ELSE 'not paused' END"
            }
            _ => "pg_get_wal_replay_pause_state()",
        };
        let in_recovery = |value: &str| format!("CASE WHEN pg_is_in_recovery() THEN {value} END");
        let of_primary = |value: &str| format!("CASE WHEN NOT pg_is_in_recovery() THEN {value} END");
        // ORDER: the time of the last commit before the position, which is then not behind it.
        let columns = [
            utc("clock_timestamp()"),
            of_primary("pg_current_wal_lsn()"),
            of_primary("left(pg_walfile_name(pg_current_wal_lsn()), 8)"),
            in_recovery(&utc("pg_last_xact_replay_timestamp()")),
            in_recovery("pg_last_wal_receive_lsn()"),
            in_recovery("pg_last_wal_replay_lsn()"),
            in_recovery(paused),
            utc("pg_postmaster_start_time()"),
        ];
        let row = self.only_text_row(ACTION, &format!("SELECT {}", columns.join(", "))).await?;
        let timeline = row.text(2).map(TimelineId::parse_hex).transpose();
        let no_time = || self.invalid(ACTION, "no time");
        Ok(Position {
            started: row.time(7)?.ok_or_else(no_time)?,
            now: row.time(0)?.ok_or_else(no_time)?,
            current: row.parsed(1)?,
            timeline: timeline.map_err(|error| self.invalid(ACTION, error.to_string()))?,
            last_commit: row.time(3)?,
            flushed: row.parsed(4)?,
            replayed: row.parsed(5)?,
            pause: row.text(6).map(ReplayPause::of_state),
        })
    }

    async fn checkpoint(&self) -> Result<Checkpoint, ServerError> {
        const ACTION: &str = "tell its last checkpoint";
        let sql = "SELECT timeline_id, full_page_writes FROM pg_control_checkpoint()";
        let Some(row) = self.text_row_if_allowed(ACTION, sql).await? else { return Ok(Checkpoint::default()) };
        Ok(Checkpoint { timeline: timeline(&row, 0)?, full_page_writes: row.text(1).map(|value| value == "t") })
    }

    async fn recovery_timeline(&self) -> Result<Option<TimelineId>, ServerError> {
        const ACTION: &str = "tell the timeline of its recovery";
        let sql = "SELECT min_recovery_end_timeline FROM pg_control_recovery()";
        self.text_row_if_allowed(ACTION, sql).await?.map_or(Ok(None), |row| timeline(&row, 0))
    }

    async fn receiver(&self) -> Result<Option<WalReceiver>, ServerError> {
        const ACTION: &str = "tell what its WAL receiver does";
        let sql = "SELECT status, received_tli, written_lsn, slot_name, sender_host, sender_port, conninfo \
                   FROM pg_stat_wal_receiver WHERE pid IS NOT NULL";
        let rows = self.text_rows(ACTION, sql).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let port = row.owned(5).map(|port| format!(", port {port}")).unwrap_or_default();
        Ok(Some(WalReceiver {
            is_streaming: row.text(0).map(|status| status == "streaming"),
            timeline: timeline(row, 1)?,
            written: lsn(row, 2)?,
            slot: row.owned(3),
            sender: row.text(4).map(|host| format!("\"{host}\"{port}")),
            application_name: row.text(6).and_then(application_name_in),
        }))
    }

    async fn followers(&self) -> Result<Vec<Follower>, ServerError> {
        const ACTION: &str = "list who follows it";
        let sql = "SELECT r.application_name, r.client_addr, r.state, r.sync_state, r.replay_lsn, s.slot_name, \
                   s.wal_status FROM pg_stat_replication r LEFT JOIN pg_replication_slots s ON s.active_pid = r.pid \
                   ORDER BY r.pid";
        let rows = self.text_rows(ACTION, sql).await?;
        rows.iter()
            .map(|row| {
                Ok(Follower {
                    application_name: row.owned(0),
                    address: row.owned(1),
                    state: row.owned(2),
                    sync_state: row.owned(3),
                    replayed: lsn(row, 4)?,
                    slot: row.owned(5),
                    slot_wal_status: row.owned(6),
                })
            })
            .collect()
    }

    /// How many connections to databases there are.
    async fn backends(&self) -> Result<Option<u32>, ServerError> {
        const ACTION: &str = "count its connections";
        let row = self.text_row_if_allowed(ACTION, "SELECT sum(numbackends) FROM pg_stat_database").await?;
        row.map_or(Ok(None), |row| row.parsed(0))
    }

    /// The settings as they are shown in `pg_settings`, without units.
    async fn setting_texts(&self) -> Result<BTreeMap<String, String>, ServerError> {
        const ACTION: &str = "show its settings";
        let names = SETTINGS.map(|name| format!("'{name}'")).join(", ");
        let rows =
            self.text_rows(ACTION, &format!("SELECT name, setting FROM pg_settings WHERE name IN ({names})")).await?;
        Ok(rows.iter().filter_map(|row| Some((row.owned(0)?, row.owned(1)?))).collect())
    }
}

/// An LSN; PostgreSQL writes "none" as zero in some places.
fn lsn(row: &TextRow<'_>, column: usize) -> Result<Option<Lsn>, ServerError> {
    if row.text(column) == Some("0/0") { Ok(None) } else { row.parsed(column) }
}

/// A timeline; zero says that there is none.
fn timeline(row: &TextRow<'_>, column: usize) -> Result<Option<TimelineId>, ServerError> {
    Ok(row.parsed::<u32>(column)?.and_then(TimelineId::new))
}

/// What everybody may see.
struct Position {
    started: jiff::Timestamp,
    now: jiff::Timestamp,
    /// Of a primary.
    current: Option<Lsn>,
    timeline: Option<TimelineId>,
    /// Of a standby.
    last_commit: Option<jiff::Timestamp>,
    flushed: Option<Lsn>,
    replayed: Option<Lsn>,
    pause: Option<ReplayPause>,
}

/// What the control file says.
#[derive(Default)]
struct Checkpoint {
    timeline: Option<TimelineId>,
    full_page_writes: Option<bool>,
}

impl Position {
    fn standby(&self, receiver: Option<WalReceiver>, settings: &BTreeMap<String, String>) -> StandbyFacts {
        let text = |name: &str| settings.get(name).map(String::as_str);
        let delay = text("recovery_min_apply_delay").and_then(|delay| delay.parse().ok());
        StandbyFacts {
            received: receiver.as_ref().and_then(|receiver| receiver.written).max(self.flushed),
            flushed: self.flushed,
            replayed: self.replayed,
            last_commit: self.last_commit,
            pause: self.pause,
            apply_delay: delay.map(std::time::Duration::from_millis),
            source: match (receiver, text("restore_command")) {
                (Some(receiver), _) => Some(WalSource::Receiver(receiver)),
                (None, Some("")) => Some(WalSource::Nothing),
                (None, Some(_)) => Some(WalSource::Archive),
                (None, None) => None,
            },
        }
    }
}
