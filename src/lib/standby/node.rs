//! The servers of a cluster, as they are told apart.

use crate::error::{Classified, ErrorClass};
use crate::server::ConnectionSettings;
use crate::server::conninfo::HandedOnSettings;

/// LIMIT: nodes of one cluster.
pub const NODES_MAX: usize = 64;

/// What a node is called, and what is known of it beforehand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeLabel {
    /// Its name, which no other node has.
    pub name: String,
    /// Where it stands, as a word of its administrator.
    pub zone: Option<String>,
    /// Of several with the same lag the one with the highest is chosen.
    pub priority: i32,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is called.
    pub label: NodeLabel,
    /// How it is reached.
    pub connection: ConnectionSettings,
    /// The same for another program.
    pub handed_on: HandedOnSettings,
}

/// Nodes that cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// There is none.
    #[error("no node is known")]
    None,
    /// There are too many.
    #[error("{found} nodes are named, {NODES_MAX} at most can be asked")]
    TooMany {
        /// How many.
        found: usize,
    },
    /// Two have one name.
    #[error("two nodes are named \"{name}\"")]
    SameName {
        /// The name.
        name: String,
    },
    /// A name that would not be one in a table.
    #[error("invalid name of a node \"{}\": expected a word without blanks", name.escape_debug())]
    Name {
        /// What was given.
        name: String,
    },
    /// A connection string that leads to several servers.
    #[error("node \"{name}\" names {found} hosts: a node is one server")]
    SeveralHosts {
        /// The node.
        name: String,
        /// How many.
        found: usize,
    },
}

impl Classified for NodeError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Usage
    }
}

/// At least one node, each with a name of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nodes(Vec<Node>);

impl Nodes {
    /// Checks them.
    pub fn new(nodes: Vec<Node>) -> Result<Self, NodeError> {
        if nodes.is_empty() {
            return Err(NodeError::None);
        }
        if nodes.len() > NODES_MAX {
            return Err(NodeError::TooMany { found: nodes.len() });
        }
        for (index, node) in nodes.iter().enumerate() {
            let name = node.label.name.clone();
            let is_word = |c: char| !c.is_control() && !c.is_whitespace();
            if name.is_empty() || !name.chars().all(is_word) {
                return Err(NodeError::Name { name });
            }
            if nodes.iter().take(index).any(|other| other.label.name == name) {
                return Err(NodeError::SameName { name });
            }
            if node.handed_on.host_count() > 1 {
                return Err(NodeError::SeveralHosts { name, found: node.handed_on.host_count() });
            }
        }
        Ok(Self(nodes))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Node> {
        self.0.iter()
    }

    /// The one of that name.
    pub fn named(&self, name: &str) -> Option<&Node> {
        self.0.iter().find(|node| node.label.name == name)
    }
}
