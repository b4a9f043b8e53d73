//! `pgv info`: what a repository holds, and what that is good for.
//!
//! INVARIANT: nothing is written, and what cannot be read never hides the rest: it becomes a problem in the report.

mod gather;
mod report;

pub(crate) use crate::repository::wal_summary::MISSING_MAX;
pub use gather::{InfoOptions, gather};
pub use report::{
    InfoBackup, InfoCluster, InfoIncomplete, InfoNode, InfoPin, InfoProblem, InfoRange, InfoReport, InfoRepository,
    InfoTimeline, InfoTree, InfoUnfinished, InfoUnreadable, InfoWriter, SCHEMA_VERSION,
};
