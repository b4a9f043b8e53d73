//! A small file system that can be filled.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{TestAccount, TestFolder, run};

/// A tmpfs mounted below a test's folder, unmounted when dropped. Only root can mount it.
pub(crate) struct SmallFileSystem {
    path: PathBuf,
}

impl SmallFileSystem {
    /// Mounts `size_bytes` at `name` below `folder`, owned by the test account.
    pub(crate) fn mount(folder: &TestFolder, name: &str, size_bytes: u64) -> Self {
        assert!(
            TestAccount::tests_run_as_root(),
            "this test mounts a small file system, which needs root: run scripts/test as root"
        );
        let path = folder.make(name);
        let account = TestAccount::get();
        let options = format!("size={size_bytes},mode=0700,uid={},gid={}", account.uid, account.gid);
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &options, "pgv-test"]).arg(&path);
        run(command).success();
        Self { path }
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it read-only, or writable again.
    pub(crate) fn set_read_only(&self, is_read_only: bool) {
        let mut command = Command::new("mount");
        command.args(["-o", if is_read_only { "remount,ro" } else { "remount,rw" }]).arg(&self.path);
        run(command).success();
    }
}

impl Drop for SmallFileSystem {
    fn drop(&mut self) {
        let mut command = Command::new("umount");
        command.arg("--lazy").arg(&self.path);
        run(command);
    }
}
