//! `pgv-restore`: restores a cluster as of a moment, and prepares its recovery.
//!
//! First everything is looked at and decided ([`RestorePlan`]), and refused where it is not safe; then the plan is
//! carried out. INVARIANT: nothing is touched before the plan stands, nothing is deleted that is not ours, and a
//! restore that ends early leaves a directory that no server starts in.

mod choose;
mod configuration;
mod error;
mod executor;
mod facts;
mod includes;
mod original;
mod paths;
mod places;
mod plan;
mod settings;
mod tablespaces;
mod target_directory;
mod trees;

#[cfg(test)]
mod branch_tests;
#[cfg(test)]
mod choose_tests;
#[cfg(test)]
mod executor_tests;
#[cfg(test)]
mod target_directory_tests;
#[cfg(test)]
mod testing;

use std::path::PathBuf;
use std::time::Duration;

use crate::clock::{Clock, Stopwatch};
use crate::pg::{
    RecoveryMode, RecoveryTarget, RecoveryTargetAction, RecoveryTargetTimeline, RestoredArchiving, WalSegmentName,
};
use crate::report::{Cancel, Reporter};
use crate::repository::{ArchiveFacts, BackupId, BackupRecord, ClusterRef, ClusterSelection, Repository, WalArchive};
use crate::server::ConnectionSettings;

pub use crate::repository::{WalCoverage, WalHole};
pub use configuration::{ConfigurationPlace, OUTSIDE_FOLDER};
pub use error::{Branch, RestoreError};
pub use plan::{RestorePlan, Room};
pub use settings::PreparedSettings;
pub use tablespaces::{TablespaceChoice, TablespacePlan};
pub use target_directory::{DirectoryAction, MARKER};
pub use trees::OlderBackup;

use choose::Request;
use executor::Executor;
use plan::Destination;

/// LIMIT: names of segments in one warning.
const NAMED_SEGMENTS_MAX: usize = 5;

/// Which backup is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupChoice {
    /// The one that fits the target best.
    Fitting,
    /// The newest.
    Newest,
    /// This one.
    Id(BackupId),
}

/// What to restore, where to, and up to which moment.
pub struct RestoreOptions {
    /// The repository.
    pub repository: Repository,
    /// Its directory, which must stay apart.
    pub repository_root: Option<PathBuf>,
    /// The home directory of this account, which must not be restored over.
    pub home: Option<PathBuf>,
    /// Which cluster.
    pub selection: ClusterSelection,
    /// From which backup.
    pub backup: BackupChoice,
    /// Into which directory.
    pub directory: PathBuf,
    /// The working directory, for relative paths.
    pub working_directory: PathBuf,
    /// Where tablespaces go.
    pub tablespaces: TablespaceChoice,
    /// Whether what is in the way may be renamed.
    pub move_aside: bool,
    /// What it becomes.
    pub mode: RecoveryMode,
    /// Where recovery stops.
    pub target: RecoveryTarget,
    /// What happens there.
    pub action: RecoveryTargetAction,
    /// Along which timeline.
    pub timeline: RecoveryTargetTimeline,
    /// Commands and choices for the settings.
    pub settings: PreparedSettings,
    /// The data directory of the configured cluster, which may hold WAL that the archive lacks.
    pub pgdata: Option<PathBuf>,
    /// Where the original would answer; asked when the copy is to archive in its place.
    pub original: Option<ConnectionSettings>,
}

/// What was restored.
#[derive(Debug)]
pub struct RestoreReport {
    /// The cluster.
    pub cluster: ClusterRef,
    /// The plan that was carried out.
    pub plan: RestorePlan,
    /// Where the configuration lies.
    pub configuration: ConfigurationPlace,
    /// What in the restored configuration runs code.
    pub running_code: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

/// Looks at everything and decides; touches nothing.
pub fn plan(options: &RestoreOptions) -> Result<(ClusterRef, RestorePlan), RestoreError> {
    let newest = options.repository.select_cluster(&options.selection, None)?;
    let (selected, other_tree) = trees::tree_of_backup(options, newest)?;
    let cluster = selected.cluster.clone();
    let archive = WalArchive::new(&options.repository, &cluster);
    let facts = ArchiveFacts::gather(&archive, selected.identity.wal_segment_size)?;
    let (backups, mut warnings) = readable_backups(options, &cluster)?;
    warnings.extend(other_tree);
    let backup = match options.backup {
        BackupChoice::Fitting => None,
        // One in which something wrong was found is never the last good one.
        BackupChoice::Newest => backups.iter().rfind(|record| record.findings.is_empty()).map(|record| record.id),
        BackupChoice::Id(id) => Some(id),
    };
    let request = Request { target: options.target.clone(), timeline: options.timeline, backup };
    let mut choice = choose::choose(&request, &backups, &facts)
        .map_err(|error| trees::with_older_backup(error, options, &selected))?;
    warnings.append(&mut choice.warnings);
    let directory = target_directory::absolute(&options.directory, &options.working_directory);
    warnings.extend(unarchived_wal(options, &cluster, &directory, &facts));
    warnings.extend(other_pgdata(options, &directory));
    for (timeline, problem) in &facts.unreadable_histories {
        warnings
            .push(format!("the history of timeline {timeline} cannot be read ({problem}), so it is not considered"));
    }
    choice.warnings = warnings;
    let destination = Destination {
        directory: &directory,
        tablespaces: &options.tablespaces,
        move_aside: options.move_aside,
        repository_root: options.repository_root.clone(),
        home: options.home.as_deref(),
        pgdata: options.pgdata.clone(),
    };
    let what = (options.mode, options.target.clone(), options.action);
    if let (Some(original), RestoredArchiving::Unchanged, RecoveryMode::Targeted) =
        (&options.original, options.settings.archiving, options.mode)
    {
        original::refuse_living(original, cluster.system_identifier)?;
    }
    let mut plan = RestorePlan::new(&options.repository, &cluster, &destination, choice, what)?;
    if options.timeline != RecoveryTargetTimeline::Latest {
        // A standby that was told which one stays on it.
        plan.target_timeline = RecoveryTargetTimeline::Id(plan.path.timeline());
    }
    Ok((cluster, plan))
}

/// Carries a plan out.
pub fn run(
    options: &RestoreOptions,
    (cluster, plan): (ClusterRef, RestorePlan),
    clock: &dyn Clock,
    reporter: &dyn Reporter,
    cancel: &Cancel,
) -> Result<RestoreReport, RestoreError> {
    let watch = Stopwatch::start();
    let executor = Executor {
        repository: &options.repository,
        cluster: &cluster,
        plan: &plan,
        settings: &options.settings,
        clock,
        reporter,
        cancel,
    };
    executor.run()?;
    let configuration = ConfigurationPlace::of(&plan);
    let running_code = configuration::running_code(&plan, options.settings.archiving);
    Ok(RestoreReport { cluster, plan, configuration, running_code, took: watch.elapsed() })
}

/// The records that can be read, and warnings about those that cannot.
fn readable_backups(
    options: &RestoreOptions,
    cluster: &ClusterRef,
) -> Result<(Vec<BackupRecord>, Vec<String>), RestoreError> {
    let mut readable = Vec::new();
    let mut warnings = Vec::new();
    let mut unreadable = None;
    for entry in options.repository.backups(cluster)? {
        match entry.record {
            Ok(record) => readable.push(record),
            Err(source) if options.backup == BackupChoice::Id(entry.id) => {
                return Err(RestoreError::UnreadableBackup { id: entry.id, source: Box::new(source) });
            }
            Err(error) => {
                warnings.push(format!("backup {} cannot be read, so it is not considered: {error}", entry.id));
                unreadable = Some(RestoreError::UnreadableBackup { id: entry.id, source: Box::new(error) });
            }
        }
    }
    // Damage is not absence.
    if let (true, Some(error)) = (readable.is_empty(), unreadable) {
        return Err(error);
    }
    Ok((readable, warnings))
}

/// pgv-archive refuses every directory but the configured one.
fn other_pgdata(options: &RestoreOptions, directory: &std::path::Path) -> Option<String> {
    let pgdata = options.pgdata.as_deref()?;
    let is_other = pgdata != directory && crate::fs::real_path(pgdata).ok().as_deref() != Some(directory);
    (options.settings.archiving == RestoredArchiving::Unchanged && is_other).then(|| {
        format!(
            "pgv-archive will refuse the restored server, which is not the configured one: before it archives, set \
             pgdata = \"{}\" in the cluster's configuration (now \"{}\")",
            directory.display(),
            pgdata.display()
        )
    })
}

/// WAL on this machine that the archive lacks would be lost to this restore.
fn unarchived_wal(
    options: &RestoreOptions,
    cluster: &ClusterRef,
    directory: &std::path::Path,
    facts: &ArchiveFacts,
) -> Vec<String> {
    let mut places = vec![directory.to_owned()];
    places.extend(options.pgdata.clone());
    places.dedup();
    let mut warnings = Vec::new();
    for place in places {
        let folder = place.join("pg_wal");
        let folder = folder.display();
        // Advice must never keep anybody from restoring.
        match facts::unarchived_segments(&place, cluster.system_identifier, facts) {
            Err(error) => warnings.push(format!("could not look for WAL in \"{folder}\": {}", error.source)),
            Ok(missing) if missing.is_empty() => {}
            Ok(missing) => {
                let named: Vec<String> =
                    missing.iter().take(NAMED_SEGMENTS_MAX).map(WalSegmentName::to_string).collect();
                let more = missing.len().saturating_sub(named.len());
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                warnings.push(format!(
                    "\"{folder}\" holds WAL that the archive lacks, and this restore will not replay it: {}{more}",
                    named.join(", ")
                ));
            }
        }
    }
    warnings
}
