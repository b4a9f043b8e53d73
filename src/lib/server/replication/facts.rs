//! What there is to know of a server's part in replication, as values.

use std::time::Duration;

use jiff::Timestamp;

use crate::pg::{Lsn, SystemIdentifier, TimelineId};

/// What a server says of its part in replication. What its role may not see is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicationFacts {
    /// As `server_version_num` writes it, 150004 for 15.4.
    pub version_num: Option<u32>,
    /// Which cluster it is.
    pub system_identifier: Option<SystemIdentifier>,
    /// The timeline that it writes or replays: of a standby, the latest that it is known to have gone on to.
    pub timeline: Option<TimelineId>,
    /// When it was started, by its clock: to the microsecond, so no two servers share it.
    pub started: Timestamp,
    /// Its clock.
    pub now: Timestamp,
    /// Whether it writes or replays, and how far it is.
    pub role: ReplicationRole,
    /// Who receives WAL from it, base backups and `pg_receivewal` included.
    pub followers: Vec<Follower>,
    /// Settings that matter for whoever reads from it.
    pub settings: ReplicationSettings,
    /// Connections that ordinary roles may still open, about.
    pub connections_left: Option<u32>,
    /// Replication connections that may still be opened, about.
    pub senders_left: Option<u32>,
}

/// What a server does with WAL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplicationRole {
    /// It writes.
    Primary {
        /// Up to where it had written.
        current: Lsn,
    },
    /// It replays what another one wrote.
    Standby(StandbyFacts),
}

/// How far a standby is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StandbyFacts {
    /// What has arrived over a connection since it was started; nothing of what comes from an archive.
    pub received: Option<Lsn>,
    /// The part of that which is durable.
    pub flushed: Option<Lsn>,
    /// The end of the last record that was replayed.
    pub replayed: Option<Lsn>,
    /// The time of the last commit or abort that was replayed since it was started, by the clock of who wrote it.
    pub last_commit: Option<Timestamp>,
    /// Whether replay is paused.
    pub pause: Option<ReplayPause>,
    /// For how long it holds commits back on purpose (`recovery_min_apply_delay`).
    pub apply_delay: Option<Duration>,
    /// Where its WAL comes from.
    pub source: Option<WalSource>,
}

/// Whether replay is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayPause {
    /// It goes on.
    NotPaused,
    /// It will be soon, or is already.
    Requested,
    /// It is.
    Paused,
}

/// Where a standby's WAL comes from now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WalSource {
    /// From another server.
    Receiver(WalReceiver),
    /// From an archive, by `restore_command`.
    Archive,
    /// From nowhere: no WAL receiver runs, and there is no `restore_command`.
    Nothing,
}

/// The WAL receiver of a standby.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WalReceiver {
    /// Whether it streams; otherwise it connects, or waits.
    pub is_streaming: Option<bool>,
    /// The timeline that it receives.
    pub timeline: Option<TimelineId>,
    /// Up to where it has written.
    pub written: Option<Lsn>,
    /// Its slot at the sender.
    pub slot: Option<String>,
    /// The sender's host and port.
    pub sender: Option<String>,
    /// What it calls itself.
    pub application_name: Option<String>,
}

/// Somebody who receives WAL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Follower {
    /// What it calls itself.
    pub application_name: Option<String>,
    /// Its address; `None` over a local socket, too.
    pub address: Option<String>,
    /// `streaming`, `catchup`, `backup`, ...
    pub state: Option<String>,
    /// `async`, `potential`, `sync` or `quorum`.
    pub sync_state: Option<String>,
    /// Up to where it says that it has replayed.
    pub replayed: Option<Lsn>,
    /// Its slot.
    pub slot: Option<String>,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub slot_wal_status: Option<String>,
}

/// Settings that matter for whoever reads from a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplicationSettings {
    /// How long replay of streamed WAL waits for queries (`max_standby_streaming_delay`).
    pub streaming_conflicts: Option<ConflictLimit>,
    /// How long replay of archived WAL waits for queries (`max_standby_archive_delay`).
    pub archive_conflicts: Option<ConflictLimit>,
    /// Whether the standby asks its sender to keep the rows that its queries see.
    pub hot_standby_feedback: Option<bool>,
    /// Whether the WAL holds whole pages: of a standby, by the last checkpoint that it has replayed.
    pub full_page_writes: Option<bool>,
    /// `minimal`, `replica` or `logical`.
    pub wal_level: Option<String>,
}

/// How long replay waits before it cancels queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConflictLimit {
    /// For ever: queries hold replay.
    Never,
    /// Then they are cancelled.
    After(Duration),
}

/// Where the WAL of a primary ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrimaryPosition {
    /// The position.
    pub lsn: Lsn,
    /// Its clock, read after the position.
    pub now: Timestamp,
}

impl ReplayPause {
    /// From the words of `pg_get_wal_replay_pause_state`.
    pub(super) fn of_state(state: &str) -> Self {
        match state {
            "not paused" => Self::NotPaused,
            "paused" => Self::Paused,
            _ => Self::Requested,
        }
    }
}

impl WalSource {
    /// The word for programs: `streaming`, `connecting`, `receiver` when its state may not be seen, `archive`,
    /// `nothing`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Receiver(WalReceiver { is_streaming: Some(true), .. }) => "streaming",
            Self::Receiver(WalReceiver { is_streaming: Some(false), .. }) => "connecting",
            Self::Receiver(WalReceiver { is_streaming: None, .. }) => "receiver",
            Self::Archive => "archive",
            Self::Nothing => "nothing",
        }
    }
}

impl ConflictLimit {
    /// From a setting in milliseconds.
    pub(super) fn of_setting(text: &str) -> Option<Self> {
        let milliseconds: i64 = text.parse().ok()?;
        Some(u64::try_from(milliseconds).map_or(Self::Never, |limit| Self::After(Duration::from_millis(limit))))
    }
}

impl StandbyFacts {
    /// The furthest position that this standby is known to have: received or replayed.
    pub fn furthest(&self) -> Option<Lsn> {
        self.received.max(self.flushed).max(self.replayed)
    }

    /// Its WAL receiver.
    pub fn receiver(&self) -> Option<&WalReceiver> {
        match &self.source {
            Some(WalSource::Receiver(receiver)) => Some(receiver),
            _ => None,
        }
    }
}

impl ReplicationFacts {
    /// The facts of a standby; `None` for a primary.
    pub fn standby(&self) -> Option<&StandbyFacts> {
        match &self.role {
            ReplicationRole::Standby(standby) => Some(standby),
            ReplicationRole::Primary { .. } => None,
        }
    }

    /// Whether it writes.
    pub fn is_primary(&self) -> bool {
        self.standby().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_to_go_on_is_paused_or_will_be() {
        for (state, pause) in [
            ("not paused", ReplayPause::NotPaused),
            ("pause requested", ReplayPause::Requested),
            ("paused", ReplayPause::Paused),
            ("a state of 25", ReplayPause::Requested),
        ] {
            assert_eq!(ReplayPause::of_state(state), pause);
        }
    }

    #[test]
    fn a_negative_limit_is_none() {
        assert_eq!(ConflictLimit::of_setting("-1"), Some(ConflictLimit::Never));
        assert_eq!(ConflictLimit::of_setting("30000"), Some(ConflictLimit::After(Duration::from_secs(30))));
        assert_eq!(ConflictLimit::of_setting("0"), Some(ConflictLimit::After(Duration::ZERO)));
        assert_eq!(ConflictLimit::of_setting(""), None);
    }

    #[test]
    fn the_furthest_position_is_that_of_replay_when_wal_comes_from_an_archive() {
        let lsn = |bytes| Lsn::new(bytes);
        let standby = StandbyFacts { received: None, flushed: lsn(5), replayed: lsn(9), ..StandbyFacts::default() };
        assert_eq!(standby.furthest(), lsn(9));
        assert_eq!(StandbyFacts::default().furthest(), None);
    }
}
