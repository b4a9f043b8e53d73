//! Why a node was not chosen, as data; the words for people and the codes for programs.

use std::fmt;
use std::time::Duration;

use crate::pg::{Lsn, SystemIdentifier, TimelineId};

/// Why a node was not chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It gave no answer.
    Unreachable(String),
    /// It belongs to another cluster.
    OtherCluster {
        /// Its own.
        found: SystemIdentifier,
        /// The one that is meant.
        expected: SystemIdentifier,
    },
    /// Something that decides is not known: the role may not see it.
    Unknown(&'static str),
    /// It is on another timeline.
    OtherTimeline {
        /// Its own.
        found: TimelineId,
        /// The one in use.
        expected: TimelineId,
    },
    /// It has replayed what the primary has not written.
    AheadOfPrimary {
        /// Its position.
        found: Lsn,
        /// That of the primary.
        primary: Lsn,
    },
    /// Replay is paused, or will be.
    Paused,
    /// It holds commits back on purpose.
    Delayed(Duration),
    /// It is the primary, and only standbys were asked for.
    Primary,
    /// Too many bytes are missing.
    LagBytes {
        /// How many.
        found: u64,
        /// At most.
        limit: u64,
    },
    /// What is missing is too old.
    LagTime {
        /// How old the last commit is.
        found: Duration,
        /// At most.
        limit: Duration,
    },
    /// It has replayed no commit since it was started, or clocks disagree: how old what is missing is, is not known.
    NoCommitTime,
    /// A base backup of it could not be used: the WAL holds no whole pages.
    NoFullPages,
    /// Its WAL holds too little for a base backup.
    MinimalWal,
    /// It takes no more replication connections.
    NoSenderLeft,
    /// Long queries are cancelled there.
    CancelsQueries {
        /// By which setting.
        setting: &'static str,
        /// After how long.
        after: Duration,
    },
    /// It would do, and another one comes first.
    Outranked {
        /// Which one.
        by: String,
        /// In what.
        difference: Difference,
    },
    /// It would do, and nothing is chosen at all.
    NothingChosen,
}

/// What puts one node before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// Standby or primary.
    Role,
    /// The preferred zone.
    Zone,
    /// Less lag.
    Lag,
    /// The higher priority.
    Priority,
    /// The earlier name.
    Name,
}

impl Reason {
    /// The word for programs; never changes.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::OtherCluster { .. } => "other_cluster",
            Self::Unknown(_) => "unknown",
            Self::OtherTimeline { .. } => "other_timeline",
            Self::AheadOfPrimary { .. } => "ahead_of_primary",
            Self::Paused => "paused",
            Self::Delayed(_) => "delayed",
            Self::Primary => "primary",
            Self::LagBytes { .. } => "lag_bytes",
            Self::LagTime { .. } => "lag_time",
            Self::NoCommitTime => "no_commit_time",
            Self::NoFullPages => "no_full_pages",
            Self::MinimalWal => "minimal_wal",
            Self::NoSenderLeft => "no_sender_left",
            Self::CancelsQueries { .. } => "cancels_queries",
            Self::Outranked { .. } => "outranked",
            Self::NothingChosen => "nothing_chosen",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(problem) => f.write_str(problem),
            Self::OtherCluster { found, expected } => {
                write!(f, "belongs to another cluster: system identifier {found}, expected {expected}")
            }
            Self::Unknown(what) => write!(f, "the role may not see {what}"),
            Self::OtherTimeline { found, expected } => write!(f, "is on timeline {found}, expected {expected}"),
            Self::AheadOfPrimary { found, primary } => {
                write!(f, "has replayed up to {found}, and its primary has written up to {primary} only")
            }
            Self::Paused => f.write_str("replay is paused"),
            Self::Delayed(delay) => write!(f, "delays replay by {} on purpose", span(*delay)),
            Self::Primary => f.write_str("is the primary, and only a standby will do"),
            Self::LagBytes { found, limit } => write!(f, "lags by {found} bytes, at most {limit} allowed"),
            Self::LagTime { found, limit } => {
                write!(f, "replayed its last commit {} ago, at most {} allowed", span(*found), span(*limit))
            }
            Self::NoCommitTime => f.write_str("is behind, and it is not known since when"),
            Self::NoFullPages => f.write_str("the WAL holds no full pages (full_page_writes is off)"),
            Self::MinimalWal => f.write_str("wal_level is minimal"),
            Self::NoSenderLeft => f.write_str("takes no more replication connections (max_wal_senders)"),
            Self::CancelsQueries { setting, after } => {
                write!(f, "cancels queries that hold replay for {} ({setting})", span(*after))
            }
            Self::Outranked { by, difference } => write!(f, "would do; \"{by}\" {difference}"),
            Self::NothingChosen => f.write_str("would do, and nothing is chosen"),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Role => "has the preferred role",
            Self::Zone => "is in the preferred zone",
            Self::Lag => "lags less",
            Self::Priority => "has a higher priority",
            Self::Name => "comes first by name",
        })
    }
}

/// A span with a unit: whole seconds where it is long.
fn span(span: Duration) -> String {
    match span.as_millis() {
        milliseconds if milliseconds < 10_000 && milliseconds % 1000 != 0 => format!("{milliseconds} ms"),
        _ => format!("{} s", span.as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_said_with_both_numbers() {
        for (reason, text) in [
            (Reason::LagBytes { found: 2_000_000, limit: 1_000_000 }, "lags by 2000000 bytes, at most 1000000 allowed"),
            (
                Reason::LagTime { found: Duration::from_millis(45_300), limit: Duration::from_millis(1500) },
                "replayed its last commit 45 s ago, at most 1500 ms allowed",
            ),
            (Reason::Delayed(Duration::from_secs(3600)), "delays replay by 3600 s on purpose"),
            (Reason::Outranked { by: "s1".to_owned(), difference: Difference::Lag }, "would do; \"s1\" lags less"),
            (Reason::Unknown("its timeline"), "the role may not see its timeline"),
        ] {
            assert_eq!(reason.to_string(), text);
        }
    }
}
