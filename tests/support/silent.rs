//! A file system that never answers, as an NFS server that went away or a FUSE program that was stopped.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::support::TestFolder;

/// A FUSE mount whose program reads no request. Unmounted when dropped, which ends all waiting for it.
///
/// Needs the right to mount, as [`super::SmallFileSystem`] does, and /dev/fuse.
pub(crate) struct SilentFileSystem {
    path: PathBuf,
    connection: Option<File>,
}

impl SilentFileSystem {
    /// Mounts it at `name` below `folder`.
    pub(crate) fn mount(folder: &TestFolder, name: &str) -> Self {
        let path = folder.make(name);
        let connection = File::options().read(true).write(true).open("/dev/fuse");
        let connection = connection.unwrap_or_else(|error| panic!("could not open /dev/fuse: {error}"));
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let fd = connection.as_raw_fd();
        let options = format!("fd={fd},rootmode=40000,user_id={uid},group_id={gid},allow_other");
        let options = CString::new(options).expect("there is no zero byte in it");
        if let Err(error) = mount("pgv-test", &path, "fuse", MountFlags::empty(), Some(options.as_c_str())) {
            panic!(
                "could not mount a silent file system at {path:?}: {error}; this test needs the right to mount: run \
                 scripts/test as root, or as an ordinary user on a kernel that allows user namespaces"
            );
        }
        Self { path, connection: Some(connection) }
    }
}

impl Drop for SilentFileSystem {
    fn drop(&mut self) {
        self.connection = None;
        if let Err(error) = unmount(&self.path, UnmountFlags::DETACH) {
            eprintln!("could not unmount {}: {error}", self.path.display());
        }
    }
}
