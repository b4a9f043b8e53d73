//! A host with a data directory, a repository and a configuration, and shells as PostgreSQL starts them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pgv::clock::SystemClock;
use pgv::pg::{ControlFile, WalSegmentName};
use pgv::repository::{ClusterIdentity, ClusterName, Repository, RepositoryDescription, Writer, WriterDescription};
use pgv::store::LocalStore;

use crate::support::{Outcome, TestAccount, TestFolder, program, run};

pub(crate) const SEGMENT: &str = "000000010000000000000003";
pub(crate) const NEXT: &str = "000000010000000000000004";

const CONTROL_FILE: &[u8] = include_bytes!("../data/postgres-13/pg_control");
pub(crate) const OTHER_CONTROL_FILE: &[u8] = include_bytes!("../data/postgres-15/pg_control");
const FIRST_PAGE: &[u8] = include_bytes!("../data/postgres-13/wal-first-page");

/// Segments of 1 MiB of a real cluster of PostgreSQL 13: their first page, then bytes of `fill`.
pub(crate) fn segment(name: &str, fill: u8) -> Vec<u8> {
    segment_of(CONTROL_FILE, FIRST_PAGE, name, fill)
}

/// The same of the cluster that this control file and first page are of.
pub(crate) fn segment_of(control_file: &[u8], first_page: &[u8], name: &str, fill: u8) -> Vec<u8> {
    let size = ControlFile::decode(control_file).unwrap().wal_segment_size;
    let start = WalSegmentName::parse(name).unwrap().start_lsn(size).unwrap();
    let mut bytes = first_page.to_vec();
    bytes[8..16].copy_from_slice(&start.get().to_le_bytes());
    bytes.resize(usize::try_from(size.bytes()).unwrap(), fill);
    bytes
}

pub(crate) struct WalHost {
    pub(crate) folder: TestFolder,
    pub(crate) data: PathBuf,
    pub(crate) repository: PathBuf,
    tree: PathBuf,
}

impl WalHost {
    /// The cluster is registered as "main", and configured with its data directory.
    pub(crate) fn new(name: &str) -> Self {
        let folder = TestFolder::new(name);
        let repository = folder.join("repository");
        Self::with_repository(folder, repository)
    }

    /// The same with a repository elsewhere.
    pub(crate) fn with_repository(folder: TestFolder, root: PathBuf) -> Self {
        Self::of_cluster(CONTROL_FILE, folder, root)
    }

    /// The same of the cluster that this control file is of.
    pub(crate) fn of_cluster(control_file: &[u8], folder: TestFolder, root: PathBuf) -> Self {
        let data = folder.make("data");
        folder.make("data/pg_wal");
        folder.make("data/global");
        folder.write("data/global/pg_control", control_file);
        let control = ControlFile::decode(control_file).unwrap();
        let store = Arc::new(LocalStore::create(&root).unwrap());
        let (repository, _) = Repository::create(store, &RepositoryDescription::new(&SystemClock)).unwrap();
        let since = "2026-11-21T00:00:00Z".parse().unwrap();
        let identity = ClusterIdentity {
            cluster: ClusterName::parse("main").unwrap(),
            system_identifier: control.system_identifier,
            major_version: control.major(),
            wal_segment_size: control.wal_segment_size,
            since,
        };
        let writer = Writer::new(&repository, WriterDescription::new("db1", &data, since));
        repository.register(&identity, &writer).unwrap();
        take_over(&root);
        let tree = root.join("main").join(control.system_identifier.to_string());
        let host = Self { folder, data, repository: root, tree };
        host.configure(&host.data);
        host
    }

    /// Writes a configuration in which the cluster has its data directory at `pgdata`.
    pub(crate) fn configure(&self, pgdata: &Path) {
        let (repository, pgdata) = (self.repository.display(), pgdata.display());
        let text = format!("[[repo]]\nurl = \"{repository}\"\n\n[cluster.main]\npgdata = \"{pgdata}\"\n");
        self.folder.write("pgv.toml", text);
    }

    /// The same with a second cluster of the same system identifier, "copy".
    pub(crate) fn configure_both(&self, main: &Path, copy: &Path) {
        let system = ControlFile::decode(CONTROL_FILE).unwrap().system_identifier;
        let mut text = format!("[[repo]]\nurl = \"{}\"\n", self.repository.display());
        for (name, pgdata) in [("copy", copy), ("main", main)] {
            let pgdata = pgdata.display();
            text += &format!("[cluster.{name}]\npgdata = \"{pgdata}\"\nsystem_identifier = \"{system}\"\n");
        }
        self.folder.write("pgv.toml", text);
    }

    /// Registers the cluster under another name, too.
    pub(crate) fn register(&self, name: &str) {
        let repository = Repository::open(Arc::new(LocalStore::open(&self.repository).unwrap()), None).unwrap();
        let mut identities = repository.identities(&ClusterName::parse("main").unwrap()).unwrap();
        let identity = ClusterIdentity { cluster: ClusterName::parse(name).unwrap(), ..identities.remove(0) };
        let writer = Writer::new(&repository, WriterDescription::new("db1", &self.data, identity.since));
        repository.register(&identity, &writer).unwrap();
        take_over(&self.repository);
    }

    /// A WAL file that waits in pg_wal.
    pub(crate) fn write(&self, name: &str, content: &[u8]) {
        self.folder.write(Path::new("data/pg_wal").join(name), content);
    }

    /// A line in a shell as PostgreSQL starts it: in the data directory, umask 077, and no variable at all. `PROGRAM`
    /// stands for the absolute path of that program and its configuration.
    pub(crate) fn shell(&self, line: &str) -> Command {
        let mut command = TestAccount::get().command("/bin/sh");
        let config = self.folder.join("pgv.toml");
        let mut line = line.to_owned();
        for name in ["pgv-archive", "pgv-fetch", "pgv-recovery-conf"] {
            let absolute = format!("{} --config {}", program(name).display(), config.display());
            line = line.replace(&name.replace("pgv-", "").to_uppercase(), &absolute);
        }
        command.env_clear().current_dir(&self.data).args(["-c", &format!("umask 077\n{line}")]);
        command
    }

    #[track_caller]
    pub(crate) fn sh(&self, line: &str) -> Outcome {
        run(self.shell(line))
    }

    /// As archive_command.
    #[track_caller]
    pub(crate) fn archive(&self, name: &str) -> Outcome {
        self.sh(&format!("ARCHIVE pg_wal/{name} {name}"))
    }

    /// As restore_command.
    #[track_caller]
    pub(crate) fn fetch(&self, name: &str) -> Outcome {
        self.sh(&format!("FETCH --timeout 100ms {name} pg_wal/RECOVERYXLOG"))
    }

    pub(crate) fn fetched(&self) -> PathBuf {
        self.data.join("pg_wal/RECOVERYXLOG")
    }

    /// Archives a segment, as if an hour ago, and takes it from pg_wal.
    pub(crate) fn archived(&self, name: &str) {
        self.write(name, &segment(name, 0));
        self.archive(name).success();
        fs::remove_file(self.data.join("pg_wal").join(name)).unwrap();
        let hour_ago = SystemTime::now() - Duration::from_secs(3600);
        fs::File::open(self.stored(name)).unwrap().set_modified(hour_ago).unwrap();
    }

    /// Where the repository keeps a segment.
    pub(crate) fn stored(&self, name: &str) -> PathBuf {
        self.tree.join("wal").join(&name[..8]).join(&name[..16]).join(name)
    }

    pub(crate) fn tree(&self) -> &Path {
        &self.tree
    }
}

/// Gives a file or folder and all below it to the account that runs the programs.
fn take_over(path: &Path) {
    TestAccount::get().take_over(path);
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| take_over(&entry.unwrap().path()));
    }
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Everything below `path` with its permission bits.
pub(crate) fn modes(path: &Path) -> Vec<(PathBuf, u32)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        found.push((path.clone(), fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777));
        if path.is_dir() {
            found.extend(modes(&path));
        }
    }
    found
}
