//! A directory that is held open, so that it is told from another one that has its name by now.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::FileError;

/// An open directory. INVARIANT: nothing is created in it once it was removed, also when another one has its name.
#[derive(Debug)]
pub struct HeldDirectory {
    descriptor: OwnedFd,
    path: PathBuf,
}

impl HeldDirectory {
    /// Opens a directory, or the one that a link leads to.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptor = rustix::fs::open(path, flags, Mode::empty());
        let descriptor = descriptor.map_err(|error| FileError::new("open directory", path, error))?;
        Ok(Self { descriptor, path: path.to_owned() })
    }

    /// Whether there is anything in it besides directories.
    pub fn has_files(&self) -> Result<bool, FileError> {
        let failed = |error: Errno| FileError::new("list directory", &self.path, error);
        for entry in Dir::read_from(&self.descriptor).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // Of what kind it is, not every file system tells: then it may be a directory.
            if !matches!(entry.file_type(), FileType::Directory | FileType::Unknown) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// Makes the names in it durable.
    pub(super) fn sync(&self) -> Result<(), FileError> {
        rustix::fs::fsync(&self.descriptor).map_err(|error| FileError::new("sync directory", &self.path, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::{Published, StagedFile};

    #[test]
    fn nothing_is_created_in_a_directory_that_was_removed() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("directory");
        std::fs::create_dir(&path).unwrap();
        let held = HeldDirectory::open(&path).unwrap();
        std::fs::remove_dir(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        let staged = StagedFile::create_in(temp.path()).unwrap();
        let error = staged.publish_in(&held, "file".as_ref()).unwrap_err();
        assert!(error.is_not_found(), "{error}");
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0);
        let held = HeldDirectory::open(&path).unwrap();
        assert_eq!(staged.publish_in(&held, "file".as_ref()).unwrap(), Published::Created);
    }

    #[test]
    fn directories_are_no_files() {
        let temp = tempfile::tempdir().unwrap();
        let has_files = || HeldDirectory::open(temp.path()).unwrap().has_files().unwrap();
        assert!(!has_files());
        std::fs::create_dir(temp.path().join("below")).unwrap();
        assert!(!has_files());
        std::fs::write(temp.path().join("file"), "").unwrap();
        assert!(has_files());
        assert!(HeldDirectory::open(&temp.path().join("file")).is_err());
    }
}
