//! Who writes: each object's header names its writer, and `<cluster>/writers/<id>` says what that is.

use std::fmt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::cluster::ClusterName;
use super::error::RepositoryError;
use super::object::ObjectSpec;
use super::{Repository, layout};
use crate::codec::{ObjectKind, WriterId};
use crate::error::{Classified, ErrorClass};
use crate::store::block_on;

/// What a writer id stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriterDescription {
    /// The host's name.
    pub host: String,
    /// The data directory that it writes for, as a real path; what is not text in it is replaced.
    pub directory: PathBuf,
    /// When it first wrote; shown only.
    pub since: Timestamp,
}

impl WriterDescription {
    /// A writer on `host` for `directory`.
    pub fn new(host: &str, directory: &Path, since: Timestamp) -> Self {
        Self { host: host.to_owned(), directory: directory.to_string_lossy().into_owned().into(), since }
    }
}

impl fmt::Display for WriterDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host \"{}\", directory \"{}\"", self.host, self.directory.display())
    }
}

/// A writer of this repository.
#[derive(Debug, Clone)]
pub struct Writer {
    id: WriterId,
    description: WriterDescription,
}

impl Writer {
    /// The writer of that description. Its id follows from host and directory, so a program needs no memory of it.
    pub fn new(repository: &Repository, description: WriterDescription) -> Self {
        let mut hasher = repository.keys().plain_hasher();
        hasher.update(b"writer\0");
        hasher.update(description.host.as_bytes());
        hasher.update(b"\0");
        hasher.update(description.directory.as_os_str().as_encoded_bytes());
        let digest = hasher.finish();
        let mut id = [0; WriterId::BYTES];
        for (to, from) in id.iter_mut().zip(digest.as_bytes()) {
            *to = *from;
        }
        Self { id: WriterId::from_bytes(id), description }
    }

    /// Its id.
    pub fn id(&self) -> WriterId {
        self.id
    }

    /// What it stands for.
    pub fn description(&self) -> &WriterDescription {
        &self.description
    }
}

impl Repository {
    /// Stores what a writer's id stands for, unless it is known.
    pub fn introduce(&self, cluster: &ClusterName, writer: &Writer) -> Result<(), RepositoryError> {
        let key = layout::writer(cluster, &writer.id).map_err(|source| self.invalid_key(source))?;
        match block_on(self.store.size(&key)) {
            Ok(_) => Ok(()),
            Err(error) if error.class() == ErrorClass::NotFound => {
                self.create_json(&key, &writer_spec(&writer.id), &writer.description, writer)?;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What a writer's id stands for; `None` when it is not known.
    pub fn writer(&self, cluster: &ClusterName, id: &WriterId) -> Result<Option<WriterDescription>, RepositoryError> {
        let key = layout::writer(cluster, id).map_err(|source| self.invalid_key(source))?;
        match self.load_json(&key, &writer_spec(id)) {
            Ok(description) => Ok(Some(description)),
            Err(error) if error.class() == ErrorClass::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The ids of the writers that introduced themselves, readable or not.
    pub fn writer_ids(&self, cluster: &ClusterName) -> Result<Vec<WriterId>, RepositoryError> {
        let keys = self.list(&layout::writers(cluster))?;
        Ok(keys.iter().filter_map(|key| key.file_name().parse().ok()).collect())
    }

    /// Every writer of a cluster that introduced itself.
    pub fn writers(&self, cluster: &ClusterName) -> Result<Vec<(WriterId, WriterDescription)>, RepositoryError> {
        let mut writers = Vec::new();
        for id in self.writer_ids(cluster)? {
            writers.extend(self.writer(cluster, &id)?.map(|description| (id, description)));
        }
        Ok(writers)
    }
}

fn writer_spec(id: &WriterId) -> ObjectSpec {
    ObjectSpec { kind: ObjectKind::Writer, system_identifier: None, name: layout::writer_name(id) }
}

#[cfg(test)]
mod tests {
    use crate::repository::testing;

    #[test]
    fn writers_are_known_by_host_and_directory() {
        let test = testing::repository();
        let other = testing::writer(&test.repository, "/data/two");
        assert_ne!(test.writer.id(), other.id());
        for writer in [&test.writer, &other, &test.writer] {
            test.repository.introduce(&test.cluster.name, writer).unwrap();
        }
        let known = test.repository.writer(&test.cluster.name, &other.id()).unwrap().unwrap();
        assert_eq!(&known, other.description());
        assert_eq!(test.repository.writers(&test.cluster.name).unwrap().len(), 2);
    }
}
