//! `pgv-fetch %f %p`: hands one WAL file back for PostgreSQL's restore_command.
//!
//! INVARIANT: a file stands at the destination only after every check, and the class NotFound is said only for a file
//! that is proven absent: PostgreSQL takes that for the end of the archive and promotes. What it does with each exit
//! status is in its `src/backend/access/transam/xlogarchive.c`.

mod absence;
mod delivery;
mod error;
mod recovery_mode;
#[cfg(test)]
mod tests;
mod watchdog;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::{Clock, Deadline, wait};
use crate::error::{Classified, ErrorClass, chain};
use crate::fs;
use crate::pg::{SystemIdentifier, WalFileName};
use crate::report::{Activity, Reporter};
use crate::repository::{ClusterRef, ClusterSelection, Repository, RepositoryError, WalArchive};
use crate::server::{ControlFileReadError, read_control_file};

pub use error::FetchError;
pub use recovery_mode::{RecoveryMode, recovery_mode};
pub use watchdog::run_within;

/// How long pgv-fetch tries again by default: long enough for a repository that is restarted, short enough for a
/// standby that could stream meanwhile.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The pause after the first failure; it doubles up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Staged files beside the destination that are older than this were left behind by a killed pgv-fetch, where locks do
/// not tell.
const ABANDONED_AFTER: Duration = Duration::from_secs(3600);

/// What to fetch, and where to put it.
pub struct FetchOptions {
    /// The name of the file, `%f`.
    pub name: String,
    /// Where to put it, `%p`.
    pub destination: PathBuf,
    /// Which cluster it may belong to.
    pub selection: ClusterSelection,
    /// The working directory, which PostgreSQL sets to the data directory.
    pub working_directory: PathBuf,
    /// How long a failure that may pass is tried again.
    pub patience: Duration,
    /// Tells how old a stored file is.
    pub clock: Box<dyn Clock>,
    /// What to call the repository in messages before it is open.
    pub repository: String,
    /// Opens the repository; called again for each try.
    pub open_repository: Box<dyn Fn() -> Result<Repository, RepositoryError> + Send>,
}

/// What was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchReport {
    /// The file's name.
    pub name: WalFileName,
    /// The cluster that it belongs to.
    pub cluster: ClusterRef,
    /// Its size.
    pub bytes: u64,
}

/// Fetches one file. What may pass is tried again until the patience is over, everything else fails at once.
pub fn run(options: &FetchOptions, reporter: &dyn Reporter) -> Result<FetchReport, FetchError> {
    run_watched(options, reporter, &Activity::default(), PAUSE_MAX)
}

/// The same, with a pause that is no longer than `pause_max`.
fn run_watched(
    options: &FetchOptions,
    reporter: &dyn Reporter,
    activity: &Activity,
    pause_max: Duration,
) -> Result<FetchReport, FetchError> {
    let name = WalFileName::parse(&options.name).map_err(|source| FetchError::Name { source })?;
    let fetched = fetch_patiently(options, &name, reporter, activity, pause_max);
    if let Ok(limit) = options.clock.now().checked_sub(ABANDONED_AFTER) {
        fs::remove_abandoned_beside(&options.destination, limit);
    }
    fetched
}

fn fetch_patiently(
    options: &FetchOptions,
    name: &WalFileName,
    reporter: &dyn Reporter,
    activity: &Activity,
    pause_max: Duration,
) -> Result<FetchReport, FetchError> {
    let deadline = Deadline::after(options.patience);
    let pause_max = PAUSE_MAX.min(pause_max);
    let mut pause = PAUSE_FIRST.min(pause_max);
    let mut is_first = true;
    loop {
        match fetch(options, name, activity) {
            Err(error) if may_pass(error.class()) && !deadline.has_passed() => {
                if std::mem::take(&mut is_first) {
                    let left = deadline.remaining().as_secs();
                    reporter.warn(&format!("{}; trying again for up to {left} s", chain(&error)));
                }
                activity.begin("waiting to try again".to_owned());
                wait(pause.min(deadline.remaining()));
                pause = (pause * 2).min(pause_max);
            }
            ended => return ended,
        }
    }
}

fn may_pass(class: ErrorClass) -> bool {
    matches!(class, ErrorClass::Unavailable | ErrorClass::TimedOut)
}

/// One try.
fn fetch(options: &FetchOptions, name: &WalFileName, activity: &Activity) -> Result<FetchReport, FetchError> {
    let failed = |source| FetchError::Repository { name: *name, source };
    activity.begin("reading the control file of the data directory".to_owned());
    let system_identifier = local_system_identifier(options)?;
    activity.begin(format!("opening {}", options.repository));
    let repository = (options.open_repository)().map_err(failed)?.watched(activity.clone());
    let selected = repository
        // Whose data directory this is does not tell whose WAL it recovers: a copy begins with its original's.
        .select_cluster(&options.selection, system_identifier)
        .map_err(|source| FetchError::Selection { name: *name, source })?;
    let archive = WalArchive::new(&repository, &selected.cluster);
    let Some(reader) = archive.open(name).map_err(failed)? else {
        let segment_size = selected.identity.wal_segment_size;
        return Err(absence::why_missing(&archive, &repository.describe(), name, segment_size, options.clock.as_ref()));
    };
    let delivery = delivery::Delivery {
        store: &repository.describe(),
        name,
        cluster: &selected.cluster,
        destination: &options.destination,
        activity,
    };
    let bytes = delivery.deliver(&reader)?;
    Ok(FetchReport { name: *name, cluster: selected.cluster, bytes })
}

/// The data directory that `destination` lies below, when it lies in its pg_wal.
fn data_directory(destination: &Path, working_directory: &Path) -> Option<PathBuf> {
    // By name alone: pg_wal may be a link that leads elsewhere.
    let pg_wal = working_directory.join(destination).parent()?.to_owned();
    pg_wal.parent().map(Path::to_owned)
}

/// The system identifier of the cluster that asks; `None` when nothing here is a data directory.
fn local_system_identifier(options: &FetchOptions) -> Result<Option<SystemIdentifier>, FetchError> {
    let beside = data_directory(&options.destination, &options.working_directory);
    for directory in beside.iter().chain([&options.working_directory]) {
        match read_control_file(directory) {
            Ok(None) => {}
            Ok(Some(control)) => return Ok(Some(control.system_identifier)),
            Err(ControlFileReadError::Invalid { path, source }) => {
                return Err(FetchError::ControlFile { path, source });
            }
            Err(ControlFileReadError::File(error)) => return Err(FetchError::File(error)),
        }
    }
    Ok(None)
}
