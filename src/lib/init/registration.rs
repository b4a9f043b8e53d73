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
use crate::pg::{PgMajorVersion, WalSegmentSize};
use crate::repository::{
    ClusterIdentity, ClusterName, ClusterRef, Repository, RepositoryDescription, RepositoryError, TreeTrace, Writer,
    WriterDescription,
};
use crate::store::{LocalStore, Store, StoreProbe};

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
    /// Its registration was lost, and was written anew, as its backups and its WAL say.
    Rebuilt,
}

/// A repository in which the cluster is registered.
#[derive(Debug)]
pub struct Registration {
    /// The repository.
    pub repository: Repository,
    /// Whether it was created now.
    pub created: bool,
    /// Whether its `repository.json` was lost, and was written anew, as its other objects say.
    pub rebuilt: bool,
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
    let place = examine(root)?;
    match (&place, options.pinned) {
        (Place::Free, Some(id)) => return Err(InitError::PinnedMissing { root: root.to_owned(), id }),
        (Place::Lost(lost), Some(expected)) if lost.id != expected => {
            let store = LocalStore::open(root)?.describe();
            return Err(RepositoryError::OtherRepository { store, expected, found: lost.id }.into());
        }
        _ => {}
    }
    let store = LocalStore::create(root)?;
    let probe = store.probe()?;
    let store = Arc::new(store);
    let rebuilt = matches!(place, Place::Lost(_));
    let (repository, created) = match place {
        Place::Repository => (Repository::open(store, options.pinned)?, false),
        Place::Free => Repository::create(store, &RepositoryDescription::new(options.clock))?,
        Place::Lost(description) => (Repository::create(store, &description)?.0, false),
    };
    // Without room for it, retention tries again.
    repository.keep_reserve()?;
    let other_names = other_names(&repository, options)?;
    let (registered, since) = register_cluster(&repository, options, &other_names)?;
    Ok(Registration { repository, created, rebuilt, probe, registered, since, other_names })
}

/// What a directory is before it becomes a repository.
enum Place {
    Repository,
    /// Nothing is in it, or nothing to speak of.
    Free,
    /// A repository without its `repository.json`, of which the other objects say all that it said.
    Lost(RepositoryDescription),
}

/// What the directory is. One with anything else in it is refused.
fn examine(root: &Path) -> Result<Place, InitError> {
    let entries = match fs::sorted_entries(root) {
        Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => return Ok(Place::Free),
        entries => entries?,
    };
    if entries.iter().any(|entry| entry.name == RepositoryDescription::NAME) {
        return Ok(Place::Repository);
    }
    match entries.iter().find(|entry| HARMLESS_NAMES.iter().all(|name| entry.name != *name)) {
        None => Ok(Place::Free),
        Some(entry) => match lost_description(root)? {
            Some(description) => Ok(Place::Lost(description)),
            None => {
                let found = entry.name.to_string_lossy().into_owned();
                Err(InitError::NotEmpty { root: root.to_owned(), found })
            }
        },
    }
}

/// What `repository.json` must have said; nothing where no other object says it, or they differ.
fn lost_description(root: &Path) -> Result<Option<RepositoryDescription>, InitError> {
    // A directory of something else has no place for what is being written.
    let Ok(store) = LocalStore::open(root) else { return Ok(None) };
    let store: Arc<dyn Store> = Arc::new(store);
    let traces = Repository::traces(&store)?;
    match traces.iter().collect::<Vec<_>>().as_slice() {
        [] => Ok(None),
        [(id, created)] => Ok(Some(RepositoryDescription::of_traces(**id, **created))),
        [(one, _), (other, _), ..] => {
            Err(InitError::SeveralRepositories { root: root.to_owned(), one: **one, other: **other })
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
    let traces = traces(repository, options)?;
    if traces.is_empty() && !trees.is_empty() && !options.upgraded {
        let registered = trees.iter().map(|tree| tree.system_identifier).collect();
        let (cluster, store) = (name.to_string(), repository.describe());
        return Err(RepositoryError::OtherSystem { cluster, store, registered, found: facts.system_identifier }.into());
    }
    if let Some(registered) = other_names.first().filter(|_| !options.name_given && traces.is_empty()) {
        let (name, registered, store) = (name.clone(), registered.clone(), repository.describe());
        let system_identifier = facts.system_identifier;
        return Err(InitError::OtherName { name, registered, system_identifier, store });
    }
    let now = options.clock.now();
    // By it the newest tree of a name is known, which this one shall be, whatever this host's clock says.
    let newest = trees.iter().map(|tree| tree.since).max();
    let after_newest = newest.and_then(|newest| newest.checked_add(SignedDuration::from_secs(1)).ok());
    // One that was lost was there before all that lies in its tree.
    let since = traces.iter().map(|trace| trace.created).min();
    let since = since.unwrap_or_else(|| after_newest.map_or(now, |after| now.max(after)));
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
    let registered = match (traces.is_empty(), trees.is_empty()) {
        (false, _) => Registered::Rebuilt,
        (true, true) => Registered::Now,
        (true, false) => Registered::Upgraded,
    };
    Ok((registered, since))
}

/// What lies in the cluster's tree, whose identity is not there, and agrees with the cluster; nothing in one that is new.
fn traces(repository: &Repository, options: &RegistrationOptions<'_>) -> Result<Vec<TreeTrace>, InitError> {
    let (name, facts) = (options.name.clone(), options.facts);
    let cluster = ClusterRef { name, system_identifier: facts.system_identifier };
    let traces = repository.tree_traces(&cluster)?;
    let (version, size) = (facts.state.version, facts.wal_segment_size);
    let differs = |trace: &&TreeTrace| trace.major_version != version || trace.wal_segment_size != size;
    if let Some(trace) = traces.iter().find(differs) {
        let what = |version: PgMajorVersion, size: WalSegmentSize| {
            format!("PostgreSQL {version} with WAL segments of {} bytes", size.bytes())
        };
        return Err(InitError::OtherCluster {
            cluster,
            object: trace.object.clone(),
            stored: what(trace.major_version, trace.wal_segment_size),
            found: what(version, size),
        });
    }
    Ok(traces)
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
