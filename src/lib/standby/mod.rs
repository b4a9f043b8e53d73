//! Which server of a cluster to read from: all are asked at once how far they are, and a pure function chooses.
//!
//! INVARIANT: what is not known is never taken for good. A server of another cluster or timeline, one whose replay is
//! paused or delayed on purpose, and one that does not say so, is never chosen; two primaries are an error.
//!
//! `node` is what is asked, `probe` asks, `survey` is what came of it; `choice` judges it by a `policy`: a `verdict` with a
//! `reason` for every node that was not chosen; `report` is all of it for programs.

mod choice;
#[cfg(test)]
mod choice_tests;
mod error;
mod node;
mod policy;
mod probe;
mod reason;
mod report;
mod survey;
mod verdict;

pub use choice::choose;
pub use error::StandbyError;
pub use node::{NODES_MAX, Node, NodeError, NodeLabel, Nodes};
pub use policy::{Policy, Preference, Purpose, WithoutPrimary};
pub use probe::{ProbeError, survey};
pub use reason::{Difference, Reason};
pub use report::{SCHEMA_VERSION, StandbyReport, follower_of};
pub use survey::{Answer, Probe, Reading, Survey, Unreachable};
pub use verdict::{Choice, Reference, ReplicationLag, Trouble, Verdict};
