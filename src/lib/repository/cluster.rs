//! Clusters in a repository: a name that a person chose, and the system identifiers that it has had in its life.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::RepositoryError;
use super::object::ObjectSpec;
use super::writer::Writer;
use super::{Repository, layout};
use crate::codec::ObjectKind;
use crate::pg::{PgMajorVersion, SystemIdentifier, WalSegmentSize};

/// LIMIT: bytes of a cluster's name.
const NAME_BYTES_MAX: usize = 63;

/// The name of a cluster: letters, digits, `_` and `-`, beginning with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterName(String);

/// A text that is no name for a cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid cluster name \"{}\": expected at most 63 letters, digits, \"_\" or \"-\", beginning with a letter or digit", text.escape_debug())]
pub struct ClusterNameError {
    /// What was given.
    pub text: String,
}

impl ClusterName {
    /// The name of that text.
    pub fn parse(text: &str) -> Result<Self, ClusterNameError> {
        let allowed = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
        let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if allowed && begins && text.len() <= NAME_BYTES_MAX && text != layout::KEYS_FOLDER {
            Ok(Self(text.to_owned()))
        } else {
            Err(ClusterNameError { text: text.chars().take(200).collect() })
        }
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ClusterName {
    type Error = ClusterNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<ClusterName> for String {
    fn from(name: ClusterName) -> Self {
        name.0
    }
}

/// One cluster with one system identifier: the owner of a tree in the repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterRef {
    /// Its name.
    pub name: ClusterName,
    /// Its system identifier.
    pub system_identifier: SystemIdentifier,
}

impl fmt::Display for ClusterRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.system_identifier)
    }
}

/// What belongs into a tree: the object `identity`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterIdentity {
    /// The cluster's name when it was registered; the tree's place decides, not this.
    pub cluster: ClusterName,
    /// The system identifier.
    pub system_identifier: SystemIdentifier,
    /// The major version.
    pub major_version: PgMajorVersion,
    /// The size of its WAL segments, in bytes.
    pub wal_segment_size: WalSegmentSize,
    /// When it was registered; shown only, and by which registration trees of one name are ordered.
    pub since: Timestamp,
}

impl Repository {
    /// The names of the clusters, in order.
    pub fn cluster_names(&self) -> Result<Vec<ClusterName>, RepositoryError> {
        let folders = self.folders("")?;
        Ok(folders.iter().filter_map(|folder| ClusterName::parse(folder).ok()).collect())
    }

    /// The system identifiers of the trees that lie below a cluster's name, readable or not.
    pub fn system_identifiers(&self, name: &ClusterName) -> Result<Vec<SystemIdentifier>, RepositoryError> {
        let folders = self.folders(&layout::cluster(name))?;
        Ok(folders.iter().filter_map(|folder| folder.parse().ok()).collect())
    }

    /// The trees of a cluster, oldest registration first. Empty when the name is not registered.
    pub fn identities(&self, name: &ClusterName) -> Result<Vec<ClusterIdentity>, RepositoryError> {
        let mut identities = Vec::new();
        for system_identifier in self.system_identifiers(name)? {
            let cluster = ClusterRef { name: name.clone(), system_identifier };
            identities.extend(self.identity(&cluster)?);
        }
        identities.sort_by_key(|identity: &ClusterIdentity| (identity.since, identity.system_identifier));
        Ok(identities)
    }

    /// The identity of one tree; `None` when it is not registered.
    pub fn identity(&self, cluster: &ClusterRef) -> Result<Option<ClusterIdentity>, RepositoryError> {
        let key = layout::identity(cluster).map_err(|source| self.invalid_key(source))?;
        match self.load_versioned_json(&key, &identity_spec(cluster)) {
            Ok(identity) => Ok(Some(identity)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Registers a cluster. Registering the same one again keeps what is there. The writer need not be one of the
    /// cluster's own host, so it is for the caller to introduce it, or not.
    pub fn register(&self, identity: &ClusterIdentity, writer: &Writer) -> Result<(), RepositoryError> {
        let cluster = ClusterRef { name: identity.cluster.clone(), system_identifier: identity.system_identifier };
        let key = layout::identity(&cluster).map_err(|source| self.invalid_key(source))?;
        self.create_json(&key, &identity_spec(&cluster), identity, writer)?;
        Ok(())
    }
}

fn identity_spec(cluster: &ClusterRef) -> ObjectSpec {
    ObjectSpec {
        kind: ObjectKind::Identity,
        system_identifier: Some(cluster.system_identifier),
        name: layout::identity_name(cluster),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Classified as _, ErrorClass};
    use crate::repository::testing;

    #[test]
    fn names_are_checked() {
        for text in ["", "keys", "a/b", ".a", "-a", "_a", "a b", "ä", "repository.json", &"a".repeat(64)] {
            assert!(ClusterName::parse(text).is_err(), "{text:?}");
        }
        for text in ["a", "main", "15-main", "A_b-9", &"a".repeat(63)] {
            assert!(ClusterName::parse(text).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn an_identity_of_a_newer_server_is_no_damage() {
        let test = testing::repository();
        let cluster =
            ClusterRef { name: test.cluster.name.clone(), system_identifier: SystemIdentifier::new(7).unwrap() };
        let key = layout::identity(&cluster).unwrap();
        let newer = serde_json::json!({ "major_version": 19, "everything": "else" });
        test.repository.create_json(&key, &identity_spec(&cluster), &newer, &test.writer).unwrap();
        let error = test.repository.identity(&cluster).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Unsupported, "{error}");
    }

    #[test]
    fn a_cluster_keeps_its_trees_in_the_order_of_registration() {
        let test = testing::repository();
        assert_eq!(test.repository.identities(&test.cluster.name).unwrap(), []);
        for (number, since) in [(9, "2026-01-01T00:00:00Z"), (5, "2026-02-01T00:00:00Z")] {
            let identity = ClusterIdentity {
                cluster: test.cluster.name.clone(),
                system_identifier: SystemIdentifier::new(number).unwrap(),
                major_version: PgMajorVersion::new(15).unwrap(),
                wal_segment_size: WalSegmentSize::new(16 << 20).unwrap(),
                since: since.parse().unwrap(),
            };
            test.repository.register(&identity, &test.writer).unwrap();
            test.repository.register(&identity, &test.writer).unwrap();
        }
        let found = test.repository.identities(&test.cluster.name).unwrap();
        assert_eq!(found.iter().map(|identity| identity.system_identifier.get()).collect::<Vec<_>>(), [9, 5]);
        assert_eq!(test.repository.cluster_names().unwrap(), std::slice::from_ref(&test.cluster.name));
    }
}
