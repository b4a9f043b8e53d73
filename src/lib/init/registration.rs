//! Creating the repository and registering a cluster in it.
//!
//! ORDER: the directory, then the proof that it keeps a store's promises, then `repository.json`, then the identity: a
//! file system that cannot be relied on never becomes a repository.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::InitError;
use super::facts::ClusterFacts;
use crate::clock::Clock;
use crate::codec::RepositoryId;
use crate::fs;
use crate::repository::{
    ClusterIdentity, ClusterName, ClusterRef, Repository, RepositoryDescription, RepositoryError, Writer,
    WriterDescription,
};
use crate::store::{LocalStore, StoreProbe};

/// What may be in a directory that becomes a repository: a file system's own folder, and what we make first.
const HARMLESS_NAMES: [&str; 2] = ["lost+found", LocalStore::STAGING];

/// What to register where.
pub struct RegistrationOptions<'a> {
    /// The repository's directory.
    pub root: &'a Path,
    /// The id that the configuration remembers.
    pub pinned: Option<RepositoryId>,
    /// The cluster's name.
    pub name: &'a ClusterName,
    /// Whether somebody chose that name for this very run: then it may be a second one for a copy of a cluster.
    pub name_given: bool,
    /// What is known of the cluster.
    pub facts: &'a ClusterFacts,
    /// Whether another system identifier under that name is accepted.
    pub upgraded: bool,
    /// This host's name.
    pub host: &'a str,
    /// The time, for people.
    pub clock: &'a dyn Clock,
}

/// What registering came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Registered {
    /// The cluster is new here.
    Now,
    /// It was registered already.
    Before,
    /// It was registered beside another system identifier of its name.
    Upgraded,
}

/// A repository in which the cluster is registered.
#[derive(Debug)]
pub struct Registration {
    /// The repository.
    pub repository: Repository,
    /// Whether it was created now.
    pub created: bool,
    /// What was found out about its file system.
    pub probe: StoreProbe,
    /// What registering came to.
    pub registered: Registered,
    /// When the cluster was registered.
    pub since: Timestamp,
    /// Other names under which the same system identifier is registered.
    pub other_names: Vec<ClusterName>,
}

/// Creates the repository unless it is one, tries its promises, and registers the cluster unless it is.
pub fn register(options: &RegistrationOptions<'_>) -> Result<Registration, InitError> {
    let root = options.root;
    if let Some(pgdata) = &options.facts.local_data_directory {
        refuse_nesting(root, pgdata)?;
    }
    let is_repository = examine(root)?;
    if let Some(id) = options.pinned.filter(|_| !is_repository) {
        return Err(InitError::PinnedMissing { root: root.to_owned(), id });
    }
    let store = LocalStore::create(root)?;
    let probe = store.probe()?;
    let store = Arc::new(store);
    let (repository, created) = if is_repository {
        (Repository::open(store, options.pinned)?, false)
    } else {
        Repository::create(store, &RepositoryDescription::new(options.clock))?
    };
    // Without room for it, retention tries again.
    repository.keep_reserve()?;
    let other_names = other_names(&repository, options)?;
    let (registered, since) = register_cluster(&repository, options, &other_names)?;
    Ok(Registration { repository, created, probe, registered, since, other_names })
}

/// Whether the directory is a repository. One with anything else in it is refused.
fn examine(root: &Path) -> Result<bool, InitError> {
    let entries = match fs::sorted_entries(root) {
        Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        entries => entries?,
    };
    if entries.iter().any(|entry| entry.name == RepositoryDescription::NAME) {
        return Ok(true);
    }
    match entries.iter().find(|entry| HARMLESS_NAMES.iter().all(|name| entry.name != *name)) {
        None => Ok(false),
        Some(entry) => {
            let found = entry.name.to_string_lossy().into_owned();
            Err(InitError::NotEmpty { root: root.to_owned(), found })
        }
    }
}

/// Backups must not lie in what they are backups of, nor the other way round.
fn refuse_nesting(root: &Path, pgdata: &Path) -> Result<(), InitError> {
    let real = real_place(root);
    let pgdata = fs::real_path(pgdata).unwrap_or_else(|_| pgdata.to_owned());
    if real.starts_with(&pgdata) || pgdata.starts_with(&real) {
        return Err(InitError::InsideDataDirectory { root: root.to_owned(), pgdata });
    }
    Ok(())
}

/// The real path of what may not exist yet; its parent must.
fn real_place(path: &Path) -> PathBuf {
    if let Ok(real) = fs::real_path(path) {
        return real;
    }
    match (path.parent().map(fs::real_path), path.file_name()) {
        (Some(Ok(parent)), Some(name)) => parent.join(name),
        _ => path.to_owned(),
    }
}

fn register_cluster(
    repository: &Repository,
    options: &RegistrationOptions<'_>,
    other_names: &[ClusterName],
) -> Result<(Registered, Timestamp), InitError> {
    let (name, facts) = (options.name, options.facts);
    let trees = repository.identities(name)?;
    if let Some(known) = trees.iter().find(|tree| tree.system_identifier == facts.system_identifier) {
        return Ok((Registered::Before, known.since));
    }
    if !trees.is_empty() && !options.upgraded {
        let registered = trees.iter().map(|tree| tree.system_identifier).collect();
        let (cluster, store) = (name.to_string(), repository.describe());
        return Err(RepositoryError::OtherSystem { cluster, store, registered, found: facts.system_identifier }.into());
    }
    if let Some(registered) = other_names.first().filter(|_| !options.name_given) {
        let (name, registered, store) = (name.clone(), registered.clone(), repository.describe());
        let system_identifier = facts.system_identifier;
        return Err(InitError::OtherName { name, registered, system_identifier, store });
    }
    let now = options.clock.now();
    // By it the newest tree of a name is known, which this one shall be, whatever this host's clock says.
    let newest = trees.iter().map(|tree| tree.since).max();
    let after_newest = newest.and_then(|newest| newest.checked_add(SignedDuration::from_secs(1)).ok());
    let since = after_newest.map_or(now, |after| now.max(after));
    let identity = ClusterIdentity {
        cluster: name.clone(),
        system_identifier: facts.system_identifier,
        major_version: facts.state.version,
        wal_segment_size: facts.wal_segment_size,
        since,
    };
    // A cluster of another host has no data directory here, and this host may never write for it again.
    let local = facts.local_data_directory.as_deref();
    let directory = local.unwrap_or(Path::new("/"));
    let writer = Writer::new(repository, WriterDescription::new(options.host, directory, now));
    if local.is_some() {
        repository.introduce(name, &writer)?;
    }
    repository.register(&identity, &writer)?;
    Ok((if trees.is_empty() { Registered::Now } else { Registered::Upgraded }, since))
}

/// Other names of the same cluster: those of copies, which have its system identifier.
fn other_names(repository: &Repository, options: &RegistrationOptions<'_>) -> Result<Vec<ClusterName>, InitError> {
    let system_identifier = options.facts.system_identifier;
    let mut names = Vec::new();
    for name in repository.cluster_names()?.into_iter().filter(|name| name != options.name) {
        let cluster = ClusterRef { name, system_identifier };
        if repository.identity(&cluster)?.is_some() {
            names.push(cluster.name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
