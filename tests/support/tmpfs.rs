//! A small file system that can be filled.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};

use crate::support::{TestAccount, TestFolder};

/// A tmpfs mounted below a test's folder, unmounted when dropped.
///
/// Needs the right to mount: that of root, or of the namespace that scripts/test makes for an ordinary user.
pub(crate) struct SmallFileSystem {
    path: PathBuf,
}

impl SmallFileSystem {
    /// Mounts `size_bytes` at `name` below `folder`, owned by the test account.
    pub(crate) fn mount(folder: &TestFolder, name: &str, size_bytes: u64) -> Self {
        let path = folder.make(name);
        let account = TestAccount::get();
        let options = format!("size={size_bytes},mode=0700,uid={},gid={}", account.uid, account.gid);
        let options = CString::new(options).expect("there is no zero byte in it");
        if let Err(error) = mount("pgv-test", &path, "tmpfs", MountFlags::empty(), Some(options.as_c_str())) {
            panic!(
                "could not mount a small file system at {path:?}: {error}; this test needs the right to mount: run \
                 scripts/test as root, or as an ordinary user on a kernel that allows user namespaces"
            );
        }
        Self { path }
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file of that name until nothing more fits.
    pub(crate) fn fill(&self, name: &str) -> PathBuf {
        let path = self.path.join(name);
        let mut file = std::fs::File::create(&path).expect("a file can be created");
        let mut bytes = 1 << 20;
        while bytes >= 1 {
            if std::io::Write::write_all(&mut file, &vec![7; bytes]).is_err() {
                bytes /= 16;
            }
        }
        path
    }

    /// Makes it read-only, or writable again.
    pub(crate) fn set_read_only(&self, is_read_only: bool) {
        let flags = if is_read_only { MountFlags::RDONLY } else { MountFlags::empty() };
        mount_remount(&self.path, flags, c"").expect("a file system that was mounted can be mounted again");
    }
}

impl Drop for SmallFileSystem {
    fn drop(&mut self) {
        if let Err(error) = unmount(&self.path, UnmountFlags::DETACH) {
            eprintln!("could not unmount {}: {error}", self.path.display());
        }
    }
}
