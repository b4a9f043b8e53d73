//! Everything that the library reads out of a repository, as one text: what a golden repository is compared with.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use pgv::pg::WalFileName;
use pgv::repository::{ClusterRef, FileKind, FileMap, Repository, RepositoryError, WalArchive};
use pgv::store::LocalStore;
use sha2::{Digest as _, Sha256};

use crate::fixture::SYSTEM;

/// Opens a repository.
pub(crate) fn open(root: &Path) -> Result<Repository, RepositoryError> {
    Repository::open(Arc::new(LocalStore::open(root).unwrap()), None)
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// Every cluster, writer, WAL file and backup, each content with its size and SHA-256.
pub(crate) fn listing(repository: &Repository) -> Result<String, RepositoryError> {
    let mut text = format!("repository {}\n", repository.id());
    for name in repository.cluster_names()? {
        for (id, writer) in repository.writers(&name)? {
            writeln!(text, "writer {id} {writer}, since {}", writer.since).unwrap();
        }
        for identity in repository.identities(&name)? {
            let (major, size) = (identity.major_version, identity.wal_segment_size);
            writeln!(text, "cluster {name} {SYSTEM} {major} {} {}", u64::from(size), identity.since).unwrap();
            let cluster = ClusterRef { name: name.clone(), system_identifier: identity.system_identifier };
            list_wal(repository, &cluster, &mut text)?;
            list_backups(repository, &cluster, &mut text)?;
        }
    }
    Ok(text)
}

fn list_wal(repository: &Repository, cluster: &ClusterRef, text: &mut String) -> Result<(), RepositoryError> {
    let archive = WalArchive::new(repository, cluster);
    for folder in ["wal", "history"] {
        for key in repository.list(&format!("{cluster_name}/{SYSTEM}/{folder}/", cluster_name = cluster.name))? {
            let name = WalFileName::parse(key.file_name()).unwrap();
            let mut content = Vec::new();
            let read = archive.open(&name)?.unwrap().read_to(&mut |bytes| {
                content.extend_from_slice(bytes);
                Ok::<(), ()>(())
            });
            match read {
                Ok(()) => writeln!(text, "wal {name} {} {}", content.len(), sha256(&content)).unwrap(),
                Err(pgv::repository::SinkError::Repository(error)) => return Err(error),
                Err(pgv::repository::SinkError::Sink(())) => unreachable!("the sink takes everything"),
            }
        }
    }
    Ok(())
}

fn list_backups(repository: &Repository, cluster: &ClusterRef, text: &mut String) -> Result<(), RepositoryError> {
    for entry in repository.backups(cluster)? {
        let record = entry.record?;
        writeln!(text, "backup {} {}", record.id, serde_json::to_string(&record).unwrap()).unwrap();
        for document in &record.documents {
            let content = repository.document(cluster, &record.id, document)?;
            writeln!(text, "  document {} {} {}", document.name, content.len(), sha256(&content)).unwrap();
        }
        let map = repository.file_map(cluster, &record)?;
        map.for_each::<RepositoryError>(&mut |path, entry| {
            let what = match &entry.kind {
                FileKind::Directory => "directory".to_owned(),
                FileKind::Link { target } => format!("link to {}", target.display()),
                FileKind::File { extents, .. } => {
                    let content = read_file(&map, extents)?;
                    format!("file {} {}", content.len(), sha256(&content))
                }
            };
            writeln!(text, "  {path} {:o} {} {what}", entry.mode, entry.modified).unwrap();
            Ok(())
        })?;
    }
    Ok(())
}

/// The content of a file, by its extents.
pub(crate) fn read_file(map: &FileMap<'_>, extents: &[pgv::repository::Extent]) -> Result<Vec<u8>, RepositoryError> {
    let mut content = Vec::new();
    for extent in extents {
        let range = extent.offset..extent.offset + extent.length;
        content.extend(map.open_pack(extent.pack)?.read_range(range, u64::MAX)?);
    }
    Ok(content)
}
