//! What is thought of the nodes: the values that the choice comes to.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::{Reading, Reason};
use crate::pg::{Lsn, SystemIdentifier, TimelineId};
use crate::server::PrimaryPosition;

/// How far a node is behind. Unknown is not zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReplicationLag {
    /// Bytes of WAL that it has not replayed.
    pub bytes: Option<u64>,
    /// Zero when nothing is missing; else how old what is missing may be at most: since the last commit that it has
    /// replayed, or since the primary was asked first, when it has replayed all that was written until then.
    pub time: Option<Duration>,
}

/// What lag is measured against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// The primary's position.
    Primary {
        /// Its name.
        node: String,
        /// The position.
        lsn: Lsn,
        /// Its clock then.
        now: Timestamp,
        /// Where it was when it was asked first.
        earlier: Option<PrimaryPosition>,
        /// Where it was meanwhile.
        readings: Vec<Reading>,
    },
    /// No primary answers: the highest position that any node of this history has.
    HighestReceived {
        /// Whose it is.
        node: String,
        /// The position.
        lsn: Lsn,
    },
}

/// Why nothing can be chosen, whatever the nodes are like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// Nobody answered.
    NothingReachable,
    /// Several servers of one cluster take writes.
    TwoPrimaries {
        /// Their names, and the timelines that they write.
        nodes: Vec<(String, Option<TimelineId>)>,
    },
    /// The only primary that answers is on an earlier timeline than others: one of them was promoted since.
    OldPrimary {
        /// Its name.
        node: String,
        /// Those on a later timeline.
        later: Vec<String>,
    },
    /// The nodes are of several clusters, and nothing says which one is meant.
    SeveralClusters {
        /// The clusters, and the nodes of each.
        clusters: BTreeMap<SystemIdentifier, Vec<String>>,
    },
    /// No primary answers, and without one nothing shall be chosen.
    NoPrimary,
}

/// What is thought of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// How far it is behind, when it is of the right history.
    pub lag: ReplicationLag,
    /// Whether it will do.
    pub qualifies: bool,
    /// Why it was not chosen; none for the chosen one.
    pub reasons: Vec<Reason>,
}

/// What is thought of all nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// The cluster that is meant.
    pub system_identifier: Option<SystemIdentifier>,
    /// The timeline in use.
    pub timeline: Option<TimelineId>,
    /// What lag is measured against.
    pub reference: Option<Reference>,
    /// Why nothing is chosen whatever the nodes are like.
    pub trouble: Option<Trouble>,
    /// The nodes that will do, by their place in the survey, the best first; empty when there is trouble.
    pub ranking: Vec<usize>,
    /// One for each node, in the order of the survey.
    pub verdicts: Vec<Verdict>,
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let named = |nodes: &[String]| nodes.iter().map(|node| format!("\"{node}\"")).collect::<Vec<_>>().join(", ");
        match self {
            Self::NothingReachable => f.write_str("no node answers"),
            Self::TwoPrimaries { nodes } => {
                let each = nodes.iter().map(|(node, timeline)| match timeline {
                    Some(timeline) => format!("\"{node}\" on timeline {timeline}"),
                    None => format!("\"{node}\""),
                });
                let each = each.collect::<Vec<_>>().join(", ");
                write!(f, "{} nodes are primaries of one cluster: {each}", nodes.len())
            }
            Self::OldPrimary { node, later } => {
                write!(f, "the only primary that answers, \"{node}\", is on an earlier timeline than {}", named(later))
            }
            Self::SeveralClusters { clusters } => {
                let each = clusters.iter().map(|(identifier, nodes)| format!("{identifier} ({})", named(nodes)));
                write!(f, "the nodes are of several clusters: {}", each.collect::<Vec<_>>().join(", "))
            }
            Self::NoPrimary => f.write_str("no primary answers, and none is chosen without one"),
        }
    }
}

impl Choice {
    /// The chosen node, by its place in the survey.
    pub fn chosen(&self) -> Option<usize> {
        self.ranking.first().copied()
    }
}

impl Reference {
    /// The position for a node that answered at that place: the first that was read after it did. What the primary
    /// wrote while others were waited for is not its lag.
    pub(super) fn lsn_after(&self, place: usize) -> Lsn {
        self.reading_after(place).map_or(self.lsn(), |position| position.lsn)
    }

    /// The first position of a primary that was read after the node of that place answered.
    pub(super) fn reading_after(&self, place: usize) -> Option<PrimaryPosition> {
        match self {
            Self::Primary { readings, .. } => {
                readings.iter().find(|reading| reading.after >= place).map(|reading| reading.position)
            }
            Self::HighestReceived { .. } => None,
        }
    }

    /// The position; of a primary, the last one that was read.
    pub fn lsn(&self) -> Lsn {
        match self {
            Self::Primary { lsn, .. } | Self::HighestReceived { lsn, .. } => *lsn,
        }
    }

    /// The node whose position it is.
    pub fn node(&self) -> &str {
        match self {
            Self::Primary { node, .. } | Self::HighestReceived { node, .. } => node,
        }
    }
}
