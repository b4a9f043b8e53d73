//! A data directory with files to archive, and a repository.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::{ArchiveError, ArchiveOptions, ArchiveReport, run};
use crate::codec::CompressionLevel;
use crate::pg::{WalFileName, testing};
use crate::repository::testing::{TestRepository, with_real_cluster};
use crate::repository::{ClusterSelection, ConfiguredCluster, Repository, WalArchive};
use crate::store::LocalStore;

pub(super) const SEGMENT: &str = "000000010000000000000003";
pub(super) const HISTORY_OF_1: &[u8] = b"1\t0/3000000\tno recovery target specified\n";
pub(super) const BACKUP_HISTORY: &[u8] = b"START WAL LOCATION: 0/300028 (file 000000010000000000000003)\n";

pub(super) struct Scene {
    pub(super) temp: tempfile::TempDir,
    pub(super) data: PathBuf,
    pub(super) test: TestRepository,
}

impl Scene {
    pub(super) fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let data = temp.path().join("data");
        std::fs::create_dir_all(data.join("pg_wal")).unwrap();
        std::fs::create_dir_all(data.join("global")).unwrap();
        std::fs::write(data.join("global/pg_control"), testing::CONTROL_FILE).unwrap();
        Self { temp, data, test: with_real_cluster() }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.data.join("pg_wal").join(name)
    }

    pub(super) fn write(&self, name: &str, content: &[u8]) {
        std::fs::write(self.path(name), content).unwrap();
    }

    pub(super) fn control_file(&self) -> PathBuf {
        self.data.join("global/pg_control")
    }

    /// A configuration in which the cluster has its data directory at `pgdata`.
    pub(super) fn configured(&self, pgdata: &Path) -> ClusterSelection {
        ClusterSelection::Configured(vec![ConfiguredCluster {
            name: self.test.cluster.name.clone(),
            system_identifier: None,
            pgdata: Some(pgdata.to_owned()),
        }])
    }

    pub(super) fn options(&self, name: &str) -> ArchiveOptions {
        let root = self.test.root();
        ArchiveOptions {
            path: self.path(name),
            name: Some(name.to_owned()),
            selection: self.configured(&self.data),
            working_directory: self.data.clone(),
            host: "host-two".to_owned(),
            now: "2026-11-21T12:00:00Z".parse().unwrap(),
            level: CompressionLevel::DEFAULT,
            repository_path: root.clone(),
            open_repository: Box::new(move || Repository::open(Arc::new(LocalStore::open(&root)?), None)),
        }
    }

    pub(super) fn run(&self, options: ArchiveOptions) -> Result<ArchiveReport, ArchiveError> {
        run(options)
    }

    pub(super) fn archive(&self, name: &str) -> Result<ArchiveReport, ArchiveError> {
        run(self.options(name))
    }

    /// The content that the archive has, every check made.
    pub(super) fn archived(&self, name: &str) -> Vec<u8> {
        let archive = WalArchive::new(&self.test.repository, &self.test.cluster);
        let reader = archive.open(&WalFileName::parse(name).unwrap()).unwrap().expect("it is archived");
        let mut content = Vec::new();
        let read = reader.read_to(&mut |bytes| {
            content.extend_from_slice(bytes);
            Ok::<(), ()>(())
        });
        read.unwrap();
        content
    }

    pub(super) fn files_in_staging(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.test.root().join(".staging")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }
}
