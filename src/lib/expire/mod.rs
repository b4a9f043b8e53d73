//! `pgv expire`: what retention wants gone, and how it goes without anybody losing what he needs.
//!
//! | step | by |
//! | --- | --- |
//! | read one tree, every record of it | `facts` |
//! | which backups stay, by which rule | `rules` |
//! | what becomes of those without a record | `unfinished` |
//! | which WAL nobody needs | `wal` |
//! | what can no longer be reached | `reach` |
//! | all of that as one value | `plan` |
//! | do it: marks, then what they allow | `apply` |
//! | pins | `pin` |
//!
//! INVARIANT: nothing is deleted that the plan does not name, and nothing that a listed backup, a running one or one that
//! was finished meanwhile needs. A run that was interrupted is finished by the next.

mod apply;
mod error;
mod facts;
mod pin;
mod plan;
mod reach;
mod report;
mod rules;
mod unfinished;
mod wal;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use apply::Executor;
use facts::TreeFacts;
use jiff::Timestamp;

use crate::clock::Clock;
use crate::error::{Classified as _, ErrorClass};
use crate::report::{Cancel, Reporter};
use crate::repository::{ClusterName, Repository, Writer, WriterDescription};

pub use error::ExpireError;
pub use pin::{PinOptions, Pinned, Unpinned, pin, unpin};
pub use plan::{Fate, PacksKept, PlannedBackup, PlannedWal, TreePlan, WalKept};
pub use reach::LostTargets;
pub use report::{ExpireReport, ExpiredRepository, HeldBackup, HeldBecause, SCHEMA_VERSION, TreeDone};
pub use rules::{KeepReason, Rules};
pub use unfinished::PlannedUnfinished;

/// What stands for a data directory in the id of who writes for none.
const NO_DIRECTORY: &str = "unknown";

/// The writer of marks and pins. It never introduces itself: it writes no data of any server, and whoever looks for a
/// second server among the writers must not find it there. What it writes names its host.
fn writer(repository: &Repository, host: &str, now: Timestamp) -> Writer {
    Writer::new(repository, WriterDescription::new(host, Path::new(NO_DIRECTORY), now))
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct ExpireOptions {
    /// The repository's URL, as it was given.
    pub url: String,
    /// Its directory.
    pub path: PathBuf,
    /// The configuration file in use.
    pub configuration_file: Option<PathBuf>,
    /// This host's name.
    pub host: String,
    /// Whose backups.
    pub clusters: Vec<ClusterName>,
    /// What is to stay.
    pub rules: Rules,
}

/// Plans, and changes nothing.
pub fn plan(repository: &Repository, options: &ExpireOptions, clock: &dyn Clock) -> Result<ExpireReport, ExpireError> {
    let ExpireOptions { url, path, configuration_file, rules, .. } = options.clone();
    if rules.is_empty() {
        return Err(ExpireError::NoRule);
    }
    let now = clock.now();
    let mut trees = Vec::new();
    for (cluster, size) in facts::trees_of(repository, &options.clusters)? {
        let facts = TreeFacts::gather(repository, &cluster, size, rules.wal_days.is_some())?;
        let mut tree = plan::plan(&facts, &rules, now)?;
        tree.planned_bytes = apply::planned_bytes(repository, &cluster, &tree)?;
        tree.freed_bytes = tree.planned_bytes;
        trees.push(tree);
    }
    let planned_bytes = trees.iter().map(|tree| tree.planned_bytes).sum();
    Ok(ExpireReport {
        schema_version: SCHEMA_VERSION,
        configuration_file,
        repository: ExpiredRepository { url, path, id: repository.id() },
        rules,
        now,
        applied: false,
        planned_bytes,
        freed_bytes: planned_bytes,
        trees,
    })
}

/// Does what the plan says. The report says what was done, also when that ended early.
pub fn apply(
    repository: &Repository,
    options: &ExpireOptions,
    report: &mut ExpireReport,
    reporter: &dyn Reporter,
    cancel: &Cancel,
) -> Result<(), ExpireError> {
    if let Some(refusal) = report.refusal() {
        return Err(refusal);
    }
    let (host, now) = (options.host.as_str(), report.now);
    let writer = &writer(repository, host, now);
    report.begin();
    let mut full = None;
    for tree in &mut report.trees {
        let cluster = &tree.tree();
        if tree.is_empty() {
            tree.done = Some(TreeDone { finished: true, ..TreeDone::default() });
            repository.tidy(cluster)?;
            continue;
        }
        let size = facts::segment_size(repository, cluster)?;
        let (planned_bytes, done) = (tree.planned_bytes, TreeDone::default());
        let mut executor =
            Executor { repository, cluster, size, writer, host, now, reporter, cancel, planned_bytes, done };
        let outcome = executor.run(tree);
        let done = executor.done;
        tree.freed_bytes = done.freed_bytes;
        report.freed_bytes += done.freed_bytes;
        tree.done = Some(done);
        match outcome {
            // What goes of the other trees makes room for it, the next time.
            Err(error) if error.class() == ErrorClass::NoSpace => {
                full.get_or_insert(error);
            }
            outcome => outcome?,
        }
        repository.tidy(cluster)?;
    }
    if let Some(error) = full {
        return Err(error);
    }
    if !repository.keep_reserve()? {
        reporter.warn("there is no room to keep a reserve for marks: the next run tries again");
    }
    Ok(())
}
