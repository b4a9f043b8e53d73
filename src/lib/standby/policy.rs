//! What is asked of a node that is to be read from.

use std::time::Duration;

/// Which nodes will do, and which of them comes first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// Most bytes of WAL that may be missing.
    pub max_lag: Option<u64>,
    /// Greatest age of the last commit while something is missing.
    pub max_lag_time: Option<Duration>,
    /// Whether standbys come before the primary.
    pub preference: Preference,
    /// The zone whose nodes come first.
    pub zone: Option<String>,
    /// What will be done there.
    pub purpose: Purpose,
    /// What to do when no primary answers.
    pub without_primary: WithoutPrimary,
}

/// Whether standbys come before the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Preference {
    /// Standbys first; the primary when none will do.
    #[default]
    Standby,
    /// The primary first; standbys when it will not do.
    Primary,
    /// All alike.
    Any,
    /// Standbys, and never the primary.
    StandbyOnly,
}

/// What will be done with the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Purpose {
    /// Queries.
    #[default]
    Read,
    /// Queries of hours, which must not be cancelled.
    Dump,
    /// A base backup.
    Backup,
}

/// What to do when no primary answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WithoutPrimary {
    /// Measure against the highest position that any node has received.
    #[default]
    HighestReceived,
    /// Choose nothing.
    Refuse,
}
