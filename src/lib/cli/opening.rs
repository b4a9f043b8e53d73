//! From settings to what verbs work on: the repository, the selection of a cluster, the connection, the host.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::args::ConnectionArgs;
use super::context::Context;
use super::program::Program;
use super::size::duration_text;
use crate::config::{ClusterSettings, Configuration, LogLevel, RepoSettings};
use crate::error::{Classified, ErrorClass};
use crate::fs::{self, Lock, LockHolder, LockKind};
use crate::repository::{
    ClusterName, ClusterSelection, ConfiguredCluster, Repository, RepositoryError, SelectionError,
};
use crate::server::conninfo::ConninfoError;
use crate::server::{ConnectionOptions, ConnectionSettings, ConnectionSources};
use crate::store::LocalStore;

/// Opens the configured repository.
pub(crate) fn open_repository(settings: &RepoSettings) -> Result<Repository, RepositoryError> {
    Repository::open(Arc::new(LocalStore::open(&settings.path)?), settings.id)
}

/// The same for a verb that looks whether all is well.
pub(crate) fn open_to_look(settings: &RepoSettings) -> Result<(Repository, Arc<LocalStore>), RepositoryError> {
    let store = Arc::new(LocalStore::open(&settings.path)?);
    Ok((Repository::open_to_look(Arc::<LocalStore>::clone(&store), settings.id)?, store))
}

/// Opens the configured repository, and the store that it lies in.
pub(crate) fn open_with_store(settings: &RepoSettings) -> Result<(Repository, Arc<LocalStore>), RepositoryError> {
    let store = Arc::new(LocalStore::open(&settings.path)?);
    Ok((Repository::open(Arc::<LocalStore>::clone(&store), settings.id)?, store))
}

/// Somebody uses the repository in a way that does not go with what was asked for.
#[derive(Debug, thiserror::Error)]
#[error("the repository \"{}\" is in use by {}", path.display(), describe_users(*wanted, holders))]
pub(crate) struct InUse {
    path: PathBuf,
    /// The lock that was not given.
    pub(crate) wanted: LockKind,
    /// Who holds another, as far as that is known.
    pub(crate) holders: Vec<LockHolder>,
}

fn describe_users(wanted: LockKind, holders: &[LockHolder]) -> String {
    let shown: Vec<String> = holders
        .iter()
        .map(|LockHolder { process, program, running }| {
            let running = running.map_or_else(String::new, |running| format!(", for {}", duration_text(running)));
            format!("\"{program}\" (process {process}{running})")
        })
        .collect();
    match (shown.is_empty(), wanted) {
        (false, _) => shown.join(", "),
        (true, LockKind::Exclusive) => "a restore, \"pgv verify\" or another \"pgv expire\"".to_owned(),
        (true, LockKind::Shared) => "\"pgv expire\", which is deleting".to_owned(),
    }
}

impl Classified for InUse {
    fn class(&self) -> ErrorClass {
        ErrorClass::Unavailable
    }
}

/// Keeps those out who read for long or delete. They see each other by a lock on the repository's directory, as far as
/// its file system has such locks; where it has none, whoever runs this is told.
pub(crate) fn lock_out_others(context: &Context) -> Result<Lock, Box<dyn Classified>> {
    lock(context, LockKind::Exclusive)
}

/// Keeps those out who delete.
pub(crate) fn share(context: &Context) -> Result<Lock, Box<dyn Classified>> {
    lock(context, LockKind::Shared)
}

fn lock(context: &Context, kind: LockKind) -> Result<Lock, Box<dyn Classified>> {
    let path = &context.configuration().repo()?.path;
    match fs::lock_directory(path, kind)? {
        Lock::Taken => {
            let holders = fs::lock_holders(path);
            Err(InUse { path: path.clone(), wanted: kind, holders }.into())
        }
        lock => {
            if matches!(lock, Lock::Unsupported) {
                context.printer().message(LogLevel::Warn, &unlocked_text(path, kind));
            }
            Ok(lock)
        }
    }
}

fn unlocked_text(path: &Path, kind: LockKind) -> String {
    let duty = match kind {
        LockKind::Exclusive => {
            "nothing keeps \"pgv expire\" from deleting what a restore or \"pgv verify\" is reading: run it while neither does"
        }
        LockKind::Shared => "nothing keeps \"pgv expire --apply\" from deleting meanwhile: do not run it now",
    };
    format!("the file system of the repository \"{}\" has no locks, so {duty}", path.display())
}

/// The clusters to work on: the one that was named, else the configured ones, else the only one of the repository.
pub(crate) fn clusters(
    configuration: &Configuration,
    repository: &Repository,
) -> Result<Vec<ClusterName>, SelectionError> {
    if let Some(name) = configuration.named_cluster() {
        return Ok(vec![name.clone()]);
    }
    let configured: Vec<ClusterName> = configuration.clusters().keys().cloned().collect();
    if !configured.is_empty() {
        return Ok(configured);
    }
    let names = repository.cluster_names()?;
    match names.len() {
        0 => Err(SelectionError::NoCluster { store: repository.describe() }),
        1 => Ok(names),
        _ => Err(SelectionError::Ambiguous { names: names.iter().map(ToString::to_string).collect() }),
    }
}

/// Which cluster is meant: the one that was named, else the configured ones. One that a variable names keeps the data
/// directory that is configured for it: a copy of a server has its variables, too.
pub(crate) fn selection(configuration: &Configuration) -> ClusterSelection {
    let named = match configuration.named_cluster() {
        Some(name) if configuration.is_cluster_option() => return ClusterSelection::Named(name.clone()),
        Some(_) => configuration.cluster().ok(),
        None => None,
    };
    let configured = |cluster: &ClusterSettings| ConfiguredCluster {
        name: cluster.name.clone(),
        system_identifier: cluster.system_identifier,
        pgdata: cluster.pgdata.clone(),
    };
    ClusterSelection::Configured(match &named {
        Some(cluster) => vec![configured(cluster)],
        None => configuration.clusters().values().map(configured).collect(),
    })
}

/// How to reach the server: options, then the cluster's conninfo, then PG* variables, then PostgreSQL's defaults.
pub(crate) fn connection(
    configuration: &Configuration,
    args: &ConnectionArgs,
    program: Program,
) -> Result<ConnectionSettings, ConninfoError> {
    with_sources(configuration, args, program, ConnectionSettings::resolve)
}

/// What was said of the server as a connection string, without a password; empty when nothing was.
pub(crate) fn connection_said(
    configuration: &Configuration,
    args: &ConnectionArgs,
    program: Program,
) -> Result<String, ConninfoError> {
    with_sources(configuration, args, program, ConnectionSettings::said)
}

fn with_sources<T>(
    configuration: &Configuration,
    args: &ConnectionArgs,
    program: Program,
    use_them: impl FnOnce(&ConnectionSources<'_>) -> T,
) -> T {
    let options = ConnectionOptions {
        host: args.host.clone(),
        port: args.port.clone(),
        user: args.username.clone(),
        dbname: args.dbname.clone(),
    };
    // Without a cluster there is no conninfo of one; who needs a cluster says so.
    let cluster = configuration.cluster().ok();
    let conninfo = cluster.as_ref().and_then(|cluster| cluster.conninfo.as_ref());
    let account = configuration.account();
    use_them(&ConnectionSources {
        options: &options,
        conninfo: conninfo.map(|conninfo| conninfo.expose()),
        variable: &|name| configuration.variable(name).map(str::to_owned),
        os_user: account.name.as_deref(),
        home: account.home.as_deref(),
        application_name: program.name(),
    })
}

/// The working directory: for programs that PostgreSQL runs, the data directory.
pub(crate) fn working_directory() -> PathBuf {
    // One that was removed has no name any more; what is relative is looked for in it all the same.
    std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."))
}

/// This host's name.
pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
