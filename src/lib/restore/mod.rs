//! `pgv-restore`: restores a cluster as of a moment, and prepares its recovery.
//!
//! First everything is looked at and decided ([`RestorePlan`]), and refused where it is not safe; then the plan is
//! carried out. INVARIANT: nothing is touched before the plan stands, nothing is deleted that is not ours, and a
//! restore that ends early leaves a directory that no server starts in.

mod apart;
mod branches;
mod choose;
mod configuration;
mod content;
mod control_file;
mod decision;
mod emptied;
mod error;
mod error_class;
mod executor;
mod harmless;
mod includes;
mod left_behind;
mod listing;
mod manifest;
mod map_check;
mod marker;
mod neighbours;
mod old_wal;
mod older;
mod original;
mod paths;
mod places;
mod plan;
mod proof;
mod proof_warnings;
mod refusal;
mod settings;
pub mod start;
mod tablespaces;
mod target_directory;
mod text_order;
mod trees;
mod unfollowed;

#[cfg(test)]
mod branch_tests;
#[cfg(test)]
mod choose_tests;
#[cfg(test)]
mod delta_tests;
#[cfg(test)]
mod executor_tests;
#[cfg(test)]
mod hidden_tests;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod target_directory_tests;
#[cfg(test)]
mod testing;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::{Clock, Stopwatch};
use crate::codec::CompressionLevel;
use crate::fs::Tree;
use crate::pg::{
    ControlFile, RecoveryMode, RecoveryTarget, RecoveryTargetAction, RecoveryTargetTimeline, RestoredArchiving,
};
use crate::report::{Cancel, Reporter};
use crate::repository::{BackupId, ClusterRef, ClusterSelection, Repository};
use crate::server::{ConnectionSettings, host_library_versions, unseen_postmaster};

pub use crate::repository::{WalCoverage, WalHole};
pub use choose::Choice;
pub use configuration::{ConfigurationPlace, OUTSIDE_FOLDER};
pub use content::ContentReport;
pub use decision::{Decision, PointQuery, Proving, decide};
pub use error::RestoreError;
pub use harmless::{ConfigTrust, CopyConfiguration, CopyError, CopyPlan};
pub use listing::{ListFrom, Listing, list};
pub use marker::MARKER;
pub use old_wal::{OldSegment, OldWalError, OldWalUse, unarchived_commits, warn_of_unarchived};
pub use plan::{RestorePlan, Room};
pub use proof::Proof;
pub use refusal::{Branch, Elsewhere, Nearby, NearbyPoint, Nearest, NotFound, WayOut};
pub use settings::PreparedSettings;
pub use tablespaces::{TablespaceChoice, TablespacePlan};
pub use target_directory::{DirectoryAction, InTheWay};
pub use trees::OlderBackup;

use content::{Content, Touch};
use executor::{Executor, Restored};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use marker::fuzz_marker;
use old_wal::{Unarchived, check_unarchived, last_moved_aside, room_warning};
use older::Chosen;
use places::Places;
use plan::Destination;

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
    /// Directories that replay of CREATE TABLESPACE may use though they are not empty.
    pub allowed_tablespace_paths: Vec<PathBuf>,
    /// Whether the copy does what its configuration says.
    pub trust_config: bool,
    /// What may be done with what is in the way.
    pub in_the_way: InTheWay,
    /// What it becomes.
    pub mode: RecoveryMode,
    /// Where recovery stops.
    pub target: RecoveryTarget,
    /// What happens there.
    pub action: RecoveryTargetAction,
    /// Along which timeline.
    pub timeline: RecoveryTargetTimeline,
    /// Whether the target is looked for in the WAL.
    pub proving: Proving,
    /// Commands and choices for the settings.
    pub settings: PreparedSettings,
    /// A pg_wal, or a data directory, whose WAL counts where the archive lacks it.
    pub wal_from: Option<PathBuf>,
    /// Whether commits on this machine that the archive lacks may be left out of a restore to the latest.
    pub archive_only: bool,
    /// This host's name, for what is stored in the archive.
    pub host: String,
    /// How hard that is compressed.
    pub level: CompressionLevel,
    /// Threads that read packs and write files.
    pub jobs: usize,
    /// Whether a `backup_manifest` of what is restored is written.
    pub manifest: bool,
    /// Where [`compare`] sorts what is too long for memory.
    pub scratch: PathBuf,
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
    /// Its settings that run code or reach out, and those that are set for recovery.
    pub settings: CopyConfiguration,
    /// What became of the files of the backup.
    pub content: ContentReport,
    /// How long it took.
    pub took: Duration,
}

/// Looks at everything and decides; touches nothing.
pub fn plan(
    options: &RestoreOptions,
    reporter: &dyn Reporter,
    cancel: &Cancel,
) -> Result<(ClusterRef, RestorePlan), RestoreError> {
    let query = PointQuery {
        repository: &options.repository,
        selection: &options.selection,
        backup: options.backup,
        mode: options.mode,
        target: &options.target,
        timeline: options.timeline,
        proving: options.proving,
        wal_from: options.wal_from.as_deref(),
    };
    let directory = target_directory::absolute(&options.directory, &options.working_directory);
    let places: Vec<&Path> = [directory.as_path()].into_iter().chain(options.pgdata.as_deref()).collect();
    let decision = decision::decide(&query, reporter, cancel)
        .inspect_err(|error| warn_of_unarchived(error, &query, &places, (reporter, cancel)))?;
    let unarchived = left_out(options, &decision, (&directory, &places), (reporter, cancel))?;
    let Decision { selected, mut choice, proof, old_wal, last_archived, .. } = decision;
    let cluster = selected.cluster;
    choice.warnings.extend(unarchived);
    if options.mode == RecoveryMode::Targeted && options.target == RecoveryTarget::Latest && proof.is_none() {
        let without = "nothing is proven, so no target is written: the server recovers to the first WAL file that the \
                       repository does not have, be it the end of the archive or a hole, and opens there";
        choice.warnings.push(without.to_owned());
    }
    choice.warnings.extend(other_pgdata(options, &directory));
    let destination = Destination {
        directory: &directory,
        tablespaces: &options.tablespaces,
        in_the_way: options.in_the_way,
        repository_root: options.repository_root.clone(),
        home: options.home.as_deref(),
        pgdata: options.pgdata.clone(),
        old_wal_bytes: old_wal
            .as_ref()
            .map_or(0, |old| (old.segments.len() as u64).saturating_mul(selected.identity.wal_segment_size.bytes())),
    };
    if let (Some(original), RestoredArchiving::Unchanged, RecoveryMode::Targeted) =
        (&options.original, options.settings.archiving, options.mode)
    {
        let pgdata = options.pgdata.as_deref().filter(|pgdata| *pgdata != directory);
        pgdata.map_or(Ok(()), |pgdata| original::refuse_running(pgdata, cluster.system_identifier))?;
        choice.warnings.extend(original::refuse_living(original, cluster.system_identifier)?);
    }
    let mut plan = plan_of(options, &cluster, &destination, choice)?;
    if let Some(old) = &old_wal {
        refuse_removed(old, &plan)?;
    }
    if let (Some(old), Some(root)) = (&old_wal, &options.repository_root) {
        plan.warnings.extend(room_warning(old, selected.identity.wal_segment_size, root)?);
    }
    plan.warnings.extend(unseen_server(&plan)?);
    plan.warnings.extend(text_order::warning(&plan.record.server, &host_library_versions()));
    plan.proof = proof;
    plan.old_wal = old_wal;
    let (copy, about_copy) = harmless::plan(options, &cluster, &plan, last_archived)?;
    plan.copy = copy;
    plan.warnings.extend(about_copy);
    if options.timeline != RecoveryTargetTimeline::Latest {
        // A standby that was told which one stays on it.
        plan.target_timeline = RecoveryTargetTimeline::Id(plan.path.timeline());
    }
    Ok((cluster, plan))
}

/// The old pg_wal must outlive what the restore does to its directory.
fn refuse_removed(old: &OldWalUse, plan: &RestorePlan) -> Result<(), RestoreError> {
    if !old.folder.starts_with(&plan.directory) {
        return Ok(());
    }
    let path = old.folder.clone();
    match plan.directory_action {
        DirectoryAction::EmptyAndFill | DirectoryAction::Resume => {
            let moved = last_moved_aside(&plan.directory);
            Err(OldWalError::InKilledRestore { path, moved }.into())
        }
        DirectoryAction::Update => Err(OldWalError::InUpdated { path }.into()),
        // Nothing is changed there: the directory was not there, or it is renamed.
        DirectoryAction::MoveAside | DirectoryAction::Create | DirectoryAction::Fill => Ok(()),
    }
}

/// Decides where everything goes; where the backup is not whole, an older one is named.
fn plan_of(
    options: &RestoreOptions,
    cluster: &ClusterRef,
    destination: &Destination<'_>,
    choice: Choice,
) -> Result<RestorePlan, RestoreError> {
    let (record, path) = (choice.record.clone(), choice.path.clone());
    let what = (options.mode, options.target.clone(), options.action);
    RestorePlan::new(&options.repository, cluster, destination, choice, what).map_err(|error| {
        Chosen { repository: &options.repository, cluster, record: &record, path: &path }.with_older(error)
    })
}

/// WAL on this machine that this restore will not replay; refused where commits would be lost unsaid.
fn left_out(
    options: &RestoreOptions,
    decision: &Decision,
    (directory, places): (&Path, &[&Path]),
    (reporter, cancel): (&dyn Reporter, &Cancel),
) -> Result<Vec<String>, RestoreError> {
    let asked = Unarchived {
        repository: &options.repository,
        decision,
        is_latest: options.mode == RecoveryMode::Targeted && options.target == RecoveryTarget::Latest,
        is_any_timeline: options.timeline == RecoveryTargetTimeline::Latest,
        removed: target_directory::is_cleared(directory, options.in_the_way)?.then_some(directory),
        archive_only: options.archive_only,
        threads: options.proving.threads(),
        reporter,
        cancel,
    };
    check_unarchived(&asked, places)
}

/// Looks at what stands in the directories, and what a plan that keeps some of it, or empties them, would do; touches
/// nothing. `None` for other plans.
pub fn compare(
    options: &RestoreOptions,
    (cluster, plan): &(ClusterRef, RestorePlan),
    reporter: &dyn Reporter,
    cancel: &Cancel,
) -> Result<Option<ContentReport>, RestoreError> {
    let is_emptied = plan.directory_action == DirectoryAction::EmptyAndFill;
    if !is_emptied && !plan.directory_action.keeps_content() {
        return Ok(None);
    }
    let scratch = Tree::open_through_links(&options.scratch)?;
    if is_emptied {
        return emptied::others((&options.repository, cluster), plan, (reporter, cancel), Some(&scratch)).map(Some);
    }
    let data = Tree::open(&plan.directory)?;
    let mut tablespaces = BTreeMap::new();
    for tablespace in plan.tablespaces.iter().filter(|tablespace| tablespace.action.keeps_content()) {
        tablespaces.insert(tablespace.oid, Tree::open(&tablespace.path)?);
    }
    let is_killed = marker::killed_restore(&plan.directory)?.is_some();
    let control_file = if is_killed { places::STAGED_CONTROL_FILE } else { ControlFile::PATH };
    let places = Places { data, tablespaces, control_file };
    let map = options.repository.file_map(cluster, &plan.record)?;
    let from = (&options.repository, &map);
    Content::new(from, (plan, &places), (reporter, cancel), options.jobs, Touch::Nothing(&scratch)).run().map(Some)
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
        host: &options.host,
        level: options.level,
        jobs: options.jobs,
        manifest: options.manifest,
        clock,
        reporter,
        cancel,
    };
    let (record, path) = (&plan.record, &plan.path);
    let chosen = Chosen { repository: &options.repository, cluster: &cluster, record, path };
    let Restored { settings, content } = executor.run().map_err(|error| chosen.with_older(error))?;
    let configuration = ConfigurationPlace::of(&plan);
    Ok(RestoreReport { cluster, plan, configuration, settings, content, took: watch.elapsed() })
}

/// Of a server whose files are renamed or replaced it is only known that it does not run where that can be seen.
fn unseen_server(plan: &RestorePlan) -> Result<Option<String>, RestoreError> {
    if !matches!(plan.directory_action, DirectoryAction::MoveAside | DirectoryAction::Update) {
        return Ok(None);
    }
    Ok(unseen_postmaster(&plan.directory)?.map(|process| {
        format!(
            "\"{}/postmaster.pid\" names process {process}, which is not seen here, and its server was not shut down: it \
             crashed, or it runs where this cannot see it, in a container or on another host; make sure that it is gone",
            plan.directory.display()
        )
    }))
}

/// pgv-archive refuses every directory but the configured one.
fn other_pgdata(options: &RestoreOptions, directory: &Path) -> Option<String> {
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
