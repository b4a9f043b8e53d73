//! `pgv check`: one look at a cluster and its repository, and what to do about what is wrong.
//!
//! INVARIANT: whatever cannot be looked at becomes a line of the answer; a check that fails is not an error. Facts are
//! gathered first, then judged by pure functions.

mod facts;
mod judge;
mod metrics;
mod probe;
mod report;
mod tree;

pub use facts::{Problem, Thresholds};
pub use metrics::{metrics_file, write_metrics};
pub use probe::{CheckError, CheckOptions, check};
pub use report::{CheckItem, CheckName, CheckReport, CheckState, Metric, SCHEMA_VERSION};
