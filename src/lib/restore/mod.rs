//! `pgv-restore`: chooses the backup for a target, shows the plan, restores, and prepares the recovery.
//!
//! | file | for |
//! | --- | --- |
//! | `choose`, `wal_coverage` | which backup, which timelines, which WAL: decided without I/O |
//! | `facts`, `content`, `original` | what is known before anything is touched |
//! | `target_directory`, `tablespaces` | where it may go |
//! | `configuration` | what the restored server is told |
//! | `plan` | all of that as one value |
//! | `executor`, `files` | carry it out |
//!
//! INVARIANT: nothing is touched before the whole plan stands, and what is half restored never starts.

mod choose;
mod configuration;
mod content;
mod error;
mod executor;
mod facts;
mod files;
mod options;
mod original;
mod plan;
mod tablespaces;
mod target_directory;
mod target_time;
mod wal_coverage;

#[cfg(test)]
mod choose_tests;
#[cfg(test)]
mod executor_tests;
#[cfg(test)]
pub(crate) mod testing;

use std::path::PathBuf;
use std::time::Duration;

use crate::clock::{Clock, Stopwatch};
use crate::fs;
use crate::pg::{PgMajorVersion, RecoveryTarget};
use crate::report::{Cancel, Reporter};
use crate::repository::{Repository, SelectedCluster};

pub use choose::{BackupChoice, ChoiceNote, TimelinePath};
pub use configuration::{CodeSetting, ConfigurationSource};
pub use error::RestoreError;
pub use options::{ArchivingChoice, RecoveryCommands, RequestedTarget, RestoreOptions, StandbyOptions};
pub use plan::{PlannedDirectory, PlannedTablespace, RestorePlan, RestoreWarning, Room};
pub use target_directory::{DirectoryAction, DirectoryProblem, OccupiedDirectory, Surroundings};
pub use wal_coverage::{WalCoverage, WalHole};

/// What a restore did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestoreReport {
    /// Files written.
    pub files: u64,
    /// Bytes of these files.
    pub bytes: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// Makes the plan; touches nothing.
pub fn plan(
    repository: &Repository,
    selected: &SelectedCluster,
    options: &RestoreOptions,
    clock: &dyn Clock,
) -> Result<RestorePlan, RestoreError> {
    let cluster = &selected.cluster;
    if options.directory.to_str().is_none() {
        return Err(RestoreError::UnwritablePath { path: options.directory.clone() });
    }
    let backups = facts::backups(repository, cluster)?;
    let target = match &options.target {
        RequestedTarget::Known(target) => target.clone(),
        RequestedTarget::Time(text, bound) => RecoveryTarget::Time(target_time::read(text, &backups)?, *bound),
    };
    let archive = facts::archive(repository, cluster, selected.identity.wal_segment_size)?;
    let request = choose::ChoiceRequest { target: target.clone(), timeline: options.timeline, backup: options.backup };
    let choice = choose::choose(&request, &backups, &archive)?;
    let directories = plan::Directories::inspect(options, &choice.record)?;
    let content = content::gather(repository, cluster, &choice.record)?;
    if let ArchivingChoice::Keep { originals } = &options.archiving {
        original::refuse_running_original(originals, cluster.system_identifier)?;
    }
    let original = facts::original(options.configured_pgdata.as_deref(), cluster, &archive);
    let pg_ctl = pg_ctl_of(choice.record.major_version);
    let inputs = plan::PlanInputs { cluster, target, choice, content, directories, original, pg_ctl, now: clock.now() };
    plan::plan(options, inputs)
}

/// Carries a plan out.
pub fn execute(
    repository: &Repository,
    plan: &RestorePlan,
    clock: &dyn Clock,
    cancel: &Cancel,
    reporter: &dyn Reporter,
) -> Result<RestoreReport, RestoreError> {
    let watch = Stopwatch::start();
    let executor = executor::Executor { repository, plan, clock, cancel, reporter };
    let written = executor.run()?;
    Ok(RestoreReport { files: written.files, bytes: written.bytes, elapsed: watch.elapsed() })
}

/// The `pg_ctl` of a major version on this machine, where packages put it; else the one of the PATH.
fn pg_ctl_of(major: PgMajorVersion) -> PathBuf {
    let places = [format!("/usr/lib/postgresql/{major}/bin/pg_ctl"), format!("/usr/pgsql-{major}/bin/pg_ctl")];
    let found = places.into_iter().map(PathBuf::from).find(|path| matches!(fs::look_at(path), Ok(Some(_))));
    found.unwrap_or_else(|| PathBuf::from("pg_ctl"))
}
