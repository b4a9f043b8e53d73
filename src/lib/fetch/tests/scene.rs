//! A data directory in recovery, a repository, and what was archived into it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::super::{FetchError, FetchOptions, FetchReport, run};
use crate::clock::SystemClock;
use crate::codec::CompressionLevel;
use crate::pg::{WalFileName, testing};
use crate::report::SilentReporter;
use crate::repository::testing::{TestRepository, with_real_cluster};
use crate::repository::{ClusterSelection, Repository, WalArchive, WalFileContent};
use crate::store::LocalStore;

pub(super) const SEGMENT: &str = "000000010000000000000003";
pub(super) const HISTORY_OF_1: &[u8] = b"1\t0/3000000\tno recovery target specified\n";

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
        let test = with_real_cluster();
        Self { temp, data, test }
    }

    pub(super) fn pg_wal(&self) -> PathBuf {
        self.data.join("pg_wal")
    }

    pub(super) fn control_file(&self) -> PathBuf {
        self.data.join("global/pg_control")
    }

    pub(super) fn destination(&self) -> PathBuf {
        self.pg_wal().join("RECOVERYXLOG")
    }

    pub(super) fn repository_root(&self) -> PathBuf {
        self.test.root()
    }

    /// Archives without the checks of pgv-archive; as if an hour ago.
    pub(super) fn store(&self, name: &str, content: &[u8]) {
        let archive = WalArchive::new(&self.test.repository, &self.test.cluster);
        let file = WalFileName::parse(name).unwrap();
        archive.store(&file, WalFileContent::Whole(content), CompressionLevel::DEFAULT, &self.test.writer).unwrap();
        set_age(&self.stored(name), 3600);
    }

    pub(super) fn store_segment(&self, name: &str) {
        self.store(name, &testing::wal_segment(&name[..24], 0));
    }

    pub(super) fn stored(&self, name: &str) -> PathBuf {
        self.test.stored(name)
    }

    /// Options without patience.
    pub(super) fn options(&self, name: &str) -> FetchOptions {
        let root = self.repository_root();
        FetchOptions {
            name: name.to_owned(),
            destination: self.destination(),
            selection: ClusterSelection::Configured(Vec::new()),
            working_directory: self.data.clone(),
            patience: Duration::ZERO,
            clock: Box::new(SystemClock),
            repository: "the repository".to_owned(),
            open_repository: Box::new(move || Repository::open(Arc::new(LocalStore::open(&root)?), None)),
        }
    }

    pub(super) fn run(&self, options: &FetchOptions) -> Result<FetchReport, FetchError> {
        run(options, &SilentReporter)
    }

    pub(super) fn fetch(&self, name: &str) -> Result<FetchReport, FetchError> {
        self.run(&self.options(name))
    }

    pub(super) fn files_in_pg_wal(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.pg_wal()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

pub(super) fn set_age(path: &Path, seconds: u64) {
    let file = std::fs::File::open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
}
