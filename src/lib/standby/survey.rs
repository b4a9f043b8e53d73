//! What the nodes of a cluster answered, all at about one time.
//!
//! INVARIANT: the last position of a primary was read after every standby answered, or had its time to.

use std::time::Duration;

use super::NodeLabel;
use crate::error::ErrorClass;
use crate::pg::SystemIdentifier;
use crate::server::conninfo::ServerHost;
use crate::server::{PrimaryPosition, ReplicationFacts};

/// What came of asking all nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// The cluster that is meant, when that is known beforehand.
    pub expected: Option<SystemIdentifier>,
    /// One for each node, in the order in which they were named.
    pub probes: Vec<Probe>,
}

/// What came of asking one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Which node.
    pub node: NodeLabel,
    /// How long it took to answer, or to fail.
    pub took: Duration,
    /// Its answer.
    pub outcome: Result<Answer, Unreachable>,
}

/// The answer of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What it said.
    pub facts: ReplicationFacts,
    /// Where it was reached.
    pub server: ServerHost,
    /// The database that it was asked in: who named none may have got another one than libpq would take.
    pub database: Option<String>,
    /// How many standbys had answered when this one had, itself included; 0 of a primary.
    pub place: usize,
    /// Where its WAL ended when it was asked first, of a primary; its clock was read before that.
    pub earlier: Option<PrimaryPosition>,
    /// Where its WAL ended when it was asked again and again, of a primary.
    pub readings: Vec<Reading>,
}

/// A position of a primary that was read while standbys answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// How many standbys had answered before it was begun.
    pub after: usize,
    /// The position.
    pub position: PrimaryPosition,
}

/// Why a node gave no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreachable {
    /// In words, with all causes.
    pub problem: String,
    /// What kind of failure it is.
    pub class: ErrorClass,
}

impl Survey {
    /// Whether anybody answered.
    pub fn is_anybody_there(&self) -> bool {
        self.probes.iter().any(|probe| probe.outcome.is_ok())
    }
}

impl Probe {
    /// What the node said, if it did.
    pub fn facts(&self) -> Option<&ReplicationFacts> {
        self.outcome.as_ref().ok().map(|answer| &answer.facts)
    }
}
