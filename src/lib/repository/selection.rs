//! Which cluster's tree a WAL file or a data directory belongs to.

use std::path::{Path, PathBuf};

use super::Repository;
use super::cluster::{ClusterIdentity, ClusterName, ClusterRef};
use super::error::RepositoryError;
use crate::error::{Classified, ErrorClass};
use crate::fs;
use crate::pg::SystemIdentifier;

/// A cluster as the configuration has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfiguredCluster {
    /// Its name.
    pub name: ClusterName,
    /// Its system identifier, when the configuration remembers it.
    pub system_identifier: Option<SystemIdentifier>,
    /// Its data directory, when the configuration names it.
    pub pgdata: Option<PathBuf>,
}

/// What the person or the configuration said about which cluster is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterSelection {
    /// `--cluster NAME`.
    Named(ClusterName),
    /// The clusters of the configuration; when there are none, those of the repository are searched.
    Configured(Vec<ConfiguredCluster>),
}

/// The cluster that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectedCluster {
    /// Its name and system identifier.
    pub cluster: ClusterRef,
    /// What is registered of it.
    pub identity: ClusterIdentity,
    /// The data directory that the configuration names for it; never given when it was named by `--cluster`.
    pub pgdata: Option<PathBuf>,
}

/// No cluster could be chosen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelectionError {
    /// The repository failed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// Nothing is registered with this system identifier.
    #[error("no cluster with system identifier {system_identifier} is registered in {store}")]
    UnknownSystem {
        /// Which one.
        system_identifier: SystemIdentifier,
        /// Where.
        store: String,
    },
    /// Several clusters, and nothing tells which one is meant.
    #[error("which cluster is meant: {}?", names.join(", "))]
    Ambiguous {
        /// The names that it could be.
        names: Vec<String>,
    },
    /// Nothing is registered.
    #[error("no cluster is registered in {store}")]
    NoCluster {
        /// Where.
        store: String,
    },
}

impl Classified for SelectionError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Repository(error) => error.class(),
            Self::UnknownSystem { .. } => ErrorClass::Refused,
            Self::Ambiguous { .. } | Self::NoCluster { .. } => ErrorClass::Usage,
        }
    }
}

impl Repository {
    /// Finds the cluster that is meant. `system_identifier` is what the file or directory at hand says, when it says
    /// anything; without it, the newest tree of the cluster is taken.
    pub fn select_cluster(
        &self,
        selection: &ClusterSelection,
        system_identifier: Option<SystemIdentifier>,
    ) -> Result<SelectedCluster, SelectionError> {
        self.select_cluster_at(selection, system_identifier, None)
    }

    /// The same for a program that runs in the data directory `here`: of several clusters with one system identifier,
    /// as a server and its copy have, it is the one whose data directory that is.
    pub fn select_cluster_at(
        &self,
        selection: &ClusterSelection,
        system_identifier: Option<SystemIdentifier>,
        here: Option<&Path>,
    ) -> Result<SelectedCluster, SelectionError> {
        match selection {
            ClusterSelection::Named(name) => self.select_named(name, system_identifier, None),
            ClusterSelection::Configured(clusters) => self.select_configured(clusters, system_identifier, here),
        }
    }

    /// The other trees of a cluster's name, newest registration first: before pg_upgrade or a rebuild it had others.
    pub fn other_trees(&self, selected: &SelectedCluster) -> Result<Vec<SelectedCluster>, RepositoryError> {
        let name = &selected.cluster.name;
        let mut identities = self.identities(name)?;
        identities.retain(|identity| identity.system_identifier != selected.cluster.system_identifier);
        let tree = |identity: ClusterIdentity| {
            let cluster = ClusterRef { name: name.clone(), system_identifier: identity.system_identifier };
            SelectedCluster { cluster, identity, pgdata: None }
        };
        Ok(identities.into_iter().rev().map(tree).collect())
    }

    fn select_configured(
        &self,
        clusters: &[ConfiguredCluster],
        system_identifier: Option<SystemIdentifier>,
        here: Option<&Path>,
    ) -> Result<SelectedCluster, SelectionError> {
        if clusters.is_empty() {
            return self.select_among(self.cluster_names()?, system_identifier);
        }
        if let [cluster] = clusters {
            return self.select_named(&cluster.name, system_identifier, cluster.pgdata.clone());
        }
        let Some(wanted) = system_identifier else {
            return Err(ambiguous(clusters));
        };
        let matching = self.of_system(clusters, wanted)?;
        let chosen = match matching.as_slice() {
            [] => return Err(SelectionError::UnknownSystem { system_identifier: wanted, store: self.describe() }),
            [one] => *one,
            several => match several.iter().filter(|cluster| is_at(cluster, here)).collect::<Vec<_>>().as_slice() {
                [one] => **one,
                // Any of them would be a guess, and a wrong one ends a recovery early or mixes two archives.
                _ => return Err(ambiguous(several.iter().copied())),
            },
        };
        self.select_named(&chosen.name, system_identifier, chosen.pgdata.clone())
    }

    /// The configured clusters of this system: those that the configuration remembers as such, and those that are
    /// registered as such while it remembers nothing, or another one, of them.
    fn of_system<'a>(
        &self,
        clusters: &'a [ConfiguredCluster],
        wanted: SystemIdentifier,
    ) -> Result<Vec<&'a ConfiguredCluster>, SelectionError> {
        let is_remembered = clusters.iter().any(|cluster| cluster.system_identifier == Some(wanted));
        let mut matching = Vec::new();
        for cluster in clusters {
            let is_match = match cluster.system_identifier {
                Some(remembered) if remembered == wanted => true,
                // Before pg_upgrade it was another one.
                Some(_) if is_remembered => false,
                _ => {
                    let named = ClusterRef { name: cluster.name.clone(), system_identifier: wanted };
                    self.identity(&named)?.is_some()
                }
            };
            if is_match {
                matching.push(cluster);
            }
        }
        Ok(matching)
    }

    /// The one of these names that has the system identifier; without one, the only name.
    fn select_among(
        &self,
        names: Vec<ClusterName>,
        system_identifier: Option<SystemIdentifier>,
    ) -> Result<SelectedCluster, SelectionError> {
        if let [name] = names.as_slice() {
            return self.select_named(name, system_identifier, None);
        }
        let store = self.describe();
        let Some(wanted) = system_identifier else {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            return Err(if names.is_empty() {
                SelectionError::NoCluster { store }
            } else {
                SelectionError::Ambiguous { names }
            });
        };
        let mut found = Vec::new();
        for name in names {
            let cluster = ClusterRef { name, system_identifier: wanted };
            found.extend(self.identity(&cluster)?.map(|identity| SelectedCluster { cluster, identity, pgdata: None }));
        }
        match found.len() {
            0 => Err(SelectionError::UnknownSystem { system_identifier: wanted, store }),
            1 => found.pop().ok_or(SelectionError::NoCluster { store }),
            _ => {
                Err(SelectionError::Ambiguous { names: found.iter().map(|one| one.cluster.name.to_string()).collect() })
            }
        }
    }

    fn select_named(
        &self,
        name: &ClusterName,
        system_identifier: Option<SystemIdentifier>,
        pgdata: Option<PathBuf>,
    ) -> Result<SelectedCluster, SelectionError> {
        if let Some(system_identifier) = system_identifier {
            let cluster = ClusterRef { name: name.clone(), system_identifier };
            if let Some(identity) = self.identity(&cluster)? {
                return Ok(SelectedCluster { cluster, identity, pgdata });
            }
        }
        let mut identities = self.identities(name)?;
        let store = self.describe();
        match (identities.pop(), system_identifier) {
            (None, _) => Err(RepositoryError::UnknownCluster { cluster: name.to_string(), store }.into()),
            (Some(newest), None) => {
                let cluster = ClusterRef { name: name.clone(), system_identifier: newest.system_identifier };
                Ok(SelectedCluster { cluster, identity: newest, pgdata })
            }
            (Some(newest), Some(found)) => {
                identities.push(newest);
                let registered = identities.iter().map(|identity| identity.system_identifier).collect();
                Err(RepositoryError::OtherSystem { cluster: name.to_string(), store, registered, found }.into())
            }
        }
    }
}

/// Whether the cluster's data directory is this one, whatever links lead there.
fn is_at(cluster: &ConfiguredCluster, here: Option<&Path>) -> bool {
    let real = |path: &Path| fs::real_path(path).ok();
    let there = cluster.pgdata.as_deref().and_then(real);
    there.is_some() && there == here.and_then(real)
}

fn ambiguous<'a>(clusters: impl IntoIterator<Item = &'a ConfiguredCluster>) -> SelectionError {
    SelectionError::Ambiguous { names: clusters.into_iter().map(|cluster| cluster.name.to_string()).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::{PgMajorVersion, WalSegmentSize};
    use crate::repository::testing::{self, TestRepository};

    fn name(text: &str) -> ClusterName {
        ClusterName::parse(text).unwrap()
    }

    fn id(number: u64) -> Option<SystemIdentifier> {
        SystemIdentifier::new(number)
    }

    fn with_clusters(clusters: &[(&str, u64)]) -> TestRepository {
        let test = testing::repository();
        for (number, (cluster, system)) in clusters.iter().enumerate() {
            let identity = ClusterIdentity {
                cluster: name(cluster),
                system_identifier: id(*system).unwrap(),
                major_version: PgMajorVersion::new(15).unwrap(),
                wal_segment_size: WalSegmentSize::new(16 << 20).unwrap(),
                since: jiff::Timestamp::from_second(number as i64).unwrap(),
            };
            test.repository.register(&identity, &test.writer).unwrap();
        }
        test
    }

    fn configured(clusters: &[(&str, Option<u64>)]) -> ClusterSelection {
        let cluster = |(text, number): &(&str, Option<u64>)| ConfiguredCluster {
            name: name(text),
            system_identifier: number.and_then(id),
            pgdata: Some(format!("/data/{text}").into()),
        };
        ClusterSelection::Configured(clusters.iter().map(cluster).collect())
    }

    #[test]
    fn the_other_trees_of_a_name_come_newest_first() {
        let test = with_clusters(&[("a", 5), ("a", 9), ("b", 7), ("a", 3)]);
        let newest = test.repository.select_cluster(&ClusterSelection::Named(name("a")), None).unwrap();
        assert_eq!(newest.cluster.system_identifier.get(), 3);
        let others = test.repository.other_trees(&newest).unwrap();
        let numbers: Vec<u64> = others.iter().map(|tree| tree.cluster.system_identifier.get()).collect();
        assert_eq!(numbers, [9, 5]);
        assert!(others.iter().all(|tree| tree.cluster.name == name("a")));
    }

    /// Rows: what is registered, the selection, what the file says, the cluster chosen (name, system) or the class.
    #[test]
    fn chooses_by_name_configuration_and_system_identifier() {
        let named = |text| ClusterSelection::Named(name(text));
        let two: &[(&str, u64)] = &[("a", 1), ("b", 2)];
        let upgraded: &[(&str, u64)] = &[("a", 1), ("a", 2)];
        let copied: &[(&str, u64)] = &[("a", 1), ("b", 1)];
        type Row<'a> =
            (&'a [(&'a str, u64)], ClusterSelection, Option<SystemIdentifier>, Result<(&'a str, u64), ErrorClass>);
        let rows: Vec<Row> = vec![
            (two, named("a"), id(1), Ok(("a", 1))),
            (two, named("a"), id(2), Err(ErrorClass::Refused)),
            (two, named("c"), id(2), Err(ErrorClass::Usage)),
            (two, named("b"), None, Ok(("b", 2))),
            (two, configured(&[]), id(2), Ok(("b", 2))),
            (two, configured(&[]), id(3), Err(ErrorClass::Refused)),
            (two, configured(&[]), None, Err(ErrorClass::Usage)),
            (two, configured(&[("a", None), ("b", None)]), id(2), Ok(("b", 2))),
            (two, configured(&[("a", None), ("b", None)]), id(3), Err(ErrorClass::Refused)),
            (two, configured(&[("a", None)]), id(2), Err(ErrorClass::Refused)),
            (two, configured(&[("a", Some(1))]), id(2), Err(ErrorClass::Refused)),
            (two, configured(&[("a", Some(1)), ("b", Some(2))]), id(2), Ok(("b", 2))),
            (copied, configured(&[("a", Some(1)), ("b", Some(1))]), id(1), Err(ErrorClass::Usage)),
            (copied, configured(&[("a", None), ("b", Some(1))]), id(1), Err(ErrorClass::Usage)),
            (copied, configured(&[("a", None), ("b", None)]), id(1), Err(ErrorClass::Usage)),
            (copied, configured(&[]), id(1), Err(ErrorClass::Usage)),
            (copied, configured(&[("b", Some(1))]), id(1), Ok(("b", 1))),
            (upgraded, configured(&[("a", None)]), id(1), Ok(("a", 1))),
            (upgraded, configured(&[("a", Some(1))]), id(2), Ok(("a", 2))),
            (upgraded, configured(&[("a", None)]), None, Ok(("a", 2))),
            (&[], configured(&[]), id(1), Err(ErrorClass::Refused)),
            (&[], configured(&[]), None, Err(ErrorClass::Usage)),
        ];
        for (number, (registered, selection, system, expected)) in rows.into_iter().enumerate() {
            let test = with_clusters(registered);
            let found = test.repository.select_cluster(&selection, system);
            let found = found.map(|one| (one.cluster.name.to_string(), one.cluster.system_identifier.get()));
            let expected = expected.map(|(name, system)| (name.to_owned(), system));
            assert_eq!(found.map_err(|error| error.class()), expected, "row {number}");
        }
    }

    /// A server and its copy have one system identifier: where the program runs says which one it is, or nothing does.
    #[test]
    fn of_one_system_the_one_that_runs_here_is_chosen() {
        let test = with_clusters(&[("copy", 1), ("main", 1)]);
        let temp = tempfile::tempdir().unwrap();
        let folder = |text: &str| {
            let path = temp.path().join(text);
            std::fs::create_dir_all(&path).unwrap();
            path
        };
        let link = temp.path().join("link");
        std::os::unix::fs::symlink(folder("main"), &link).unwrap();
        let cluster = |text: &str, pgdata: PathBuf| ConfiguredCluster {
            name: name(text),
            system_identifier: id(1),
            pgdata: Some(pgdata),
        };
        let selection = ClusterSelection::Configured(vec![cluster("copy", folder("copy")), cluster("main", link)]);
        let at = |here: &Path| test.repository.select_cluster_at(&selection, id(1), Some(here));
        for (here, expected) in [("main", "main"), ("copy", "copy")] {
            let found = at(&folder(here)).unwrap();
            assert_eq!((found.cluster.name.to_string(), found.pgdata.is_some()), (expected.to_owned(), true));
        }
        for here in [folder("other"), temp.path().join("absent")] {
            let error = at(&here).unwrap_err();
            assert!(matches!(&error, SelectionError::Ambiguous { names } if names == &["copy", "main"]), "{error}");
        }
        assert!(test.repository.select_cluster(&selection, id(1)).is_err());
    }
}
