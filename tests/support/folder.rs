//! A work directory of one test, owned by the test account, removed at the end unless the test fails.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::support::TestAccount;

/// The work directory. Its path is short enough for the Unix-domain sockets that lie in it.
pub(crate) struct TestFolder {
    path: PathBuf,
}

impl TestFolder {
    /// A new directory, mode 0700; `name` makes it recognisable when it stays behind.
    pub(crate) fn new(name: &str) -> Self {
        Self::below(&std::env::temp_dir(), name)
    }

    /// The same in memory, for tests that restore many times over: a disk waits for every sync of every file.
    pub(crate) fn in_memory(name: &str) -> Self {
        Self::below(Path::new("/dev/shm"), name)
    }

    fn below(parent: &Path, name: &str) -> Self {
        let path = tempfile::Builder::new()
            .prefix(&format!("pgv-{name}-"))
            .rand_bytes(6)
            .tempdir_in(parent)
            .unwrap_or_else(|error| panic!("{parent:?} takes no new directory: {error}"))
            .keep();
        let path = path.canonicalize().expect("the new directory exists");
        let account = TestAccount::get();
        account.take_over(&path);
        set_mode(&path, 0o700);
        assert!(
            account.can_execute(&path),
            "{path:?} cannot be reached by {}; set TMPDIR to a directory that everybody can enter",
            account.name
        );
        Self { path }
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A path below it; nothing is created.
    pub(crate) fn join(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.path.join(relative)
    }

    /// A directory below it, created with mode 0700 and owned by the account; fine when it exists.
    pub(crate) fn make(&self, relative: impl AsRef<Path>) -> PathBuf {
        let path = self.join(relative);
        if !path.exists() {
            std::fs::create_dir(&path).unwrap_or_else(|error| panic!("could not create {path:?}: {error}"));
            TestAccount::get().take_over(&path);
            set_mode(&path, 0o700);
        }
        path
    }

    /// A file below it with this content, mode 0600, owned by the account.
    pub(crate) fn write(&self, relative: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(relative);
        std::fs::write(&path, content).unwrap_or_else(|error| panic!("could not write {path:?}: {error}"));
        TestAccount::get().take_over(&path);
        set_mode(&path, 0o600);
        path
    }
}

impl Drop for TestFolder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the work directory is kept: {}", self.path.display());
        } else if let Err(error) = std::fs::remove_dir_all(&self.path) {
            eprintln!("could not remove {}: {error}", self.path.display());
        }
    }
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .unwrap_or_else(|error| panic!("could not set the mode of {path:?}: {error}"));
}
