//! `pgv check`: one look at a cluster and its repository, and what to do about what is wrong.
//!
//! INVARIANT: whatever cannot be looked at becomes a line of the answer; a check that fails is not an error. Facts are
//! gathered first, then judged by pure functions.

mod asked;
mod facts;
mod finding;
mod folders;
mod judge;
mod metrics;
mod probe;
mod report;
mod tree;

pub use asked::OpenRepository;
pub(crate) use asked::SilentRepository;
pub use facts::Thresholds;
#[cfg(test)]
pub(crate) use facts::{BackupFacts, CheckFacts, FolderFacts, RepositoryFacts, ServerPart, TreeFacts, Trial, WalRate};
pub use finding::Cause;
pub(crate) use finding::{
    ArchiverFailure, ArchivingFinding, Behind, Broken, Concern, Finding, Flaw, OpenTo, ServerFinding, SettingFinding,
    SlotFlaw, StorageFinding, TimelineFinding, TreeFinding, Unreadable, Untried,
};
#[cfg(test)]
pub(crate) use judge::judge;
#[cfg(test)]
pub(crate) use metrics::of as numbers;
pub use metrics::{Metric, MetricName, metrics_file, write_metrics};
pub use probe::{CheckError, CheckOptions, check};
pub use report::{CheckItem, CheckName, CheckReport, CheckState};
