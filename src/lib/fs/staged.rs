//! A file that is written under a name nobody looks at, and shown under its own name only once it is durable.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{Advice, AtFlags, CWD, RenameFlags};
use rustix::io::Errno;

use super::abandoned::{lock_staged, name_of_locked, name_of_unlocked};
use super::directory::parent_of;
use super::{FileError, HeldDirectory, PRIVATE_FILE_MODE, sync_directory};

/// How often a staged file may be taken for an abandoned one in the moment before it is locked.
const LOCK_TRIES: u32 = 8;
/// How much is written before the kernel is asked to begin writing it back, so that the last sync is short.
const WRITEBACK_BYTES: u64 = 8 << 20;

/// What publishing came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// The file stands under its name, durably.
    Created,
    /// Something stood there already; it was left alone, and its directory was synced.
    AlreadyPresent,
}

/// A file being written. Dropped without being published, it is removed; left behind by a writer that was killed, it is
/// removed by [`super::remove_abandoned_beside`].
#[derive(Debug)]
pub struct StagedFile {
    file: File,
    path: PathBuf,
    written: u64,
    written_back: u64,
}

impl StagedFile {
    /// Creates a staged file with a random name in `directory`, for its owner alone.
    pub fn create_in(directory: &Path) -> Result<Self, FileError> {
        Self::create(directory, PRIVATE_FILE_MODE)
    }

    /// Creates a staged file beside `target`, to be published under that name.
    pub fn create_beside(target: &Path, mode: u32) -> Result<Self, FileError> {
        Self::create(parent_of(target), mode)
    }

    fn create(directory: &Path, mode: u32) -> Result<Self, FileError> {
        for _ in 0..LOCK_TRIES {
            let Some(name) = name_of_locked(directory) else { break };
            let staged = Self::create_as(directory.join(name), mode)?;
            match lock_staged(&staged.file) {
                Some(true) => return Ok(staged),
                // Dropped, it is removed.
                Some(false) => {}
                None => break,
            }
        }
        Self::create_as(directory.join(name_of_unlocked()), mode)
    }

    fn create_as(path: PathBuf, mode: u32) -> Result<Self, FileError> {
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path);
        let file = file.map_err(|error| FileError::new("create", &path, error))?;
        Ok(Self { file, path, written: 0, written_back: 0 })
    }

    /// Appends bytes, and has the kernel begin to write them back every few megabytes.
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.file.write_all(bytes).map_err(|error| FileError::new("write", &self.path, error))?;
        self.written += bytes.len() as u64;
        if self.written - self.written_back >= WRITEBACK_BYTES {
            // Starts writeback of dirty pages, and drops clean ones: those that it was started for the last time.
            self.forget(self.written_back.saturating_sub(WRITEBACK_BYTES), self.written);
            self.written_back = self.written;
        }
        Ok(())
    }

    /// Keeps a range out of the page cache, which others need. A file system that cannot does no harm.
    fn forget(&self, begin: u64, end: u64) {
        if let Some(length) = std::num::NonZeroU64::new(end.saturating_sub(begin)) {
            let _ = rustix::fs::fadvise(&self.file, begin, Some(length), Advice::DontNeed);
        }
    }

    /// When it was last written, by the clock of its file system.
    pub fn modified(&self) -> Result<Timestamp, FileError> {
        super::modified(&self.path)
    }

    /// Bytes written so far.
    pub fn written_bytes(&self) -> u64 {
        self.written
    }

    /// Shows the file under `target` unless something stands there. The directory of `target` must be on the same
    /// file system.
    pub fn publish_new(self, target: &Path) -> Result<Published, FileError> {
        let Some(name) = target.file_name() else {
            return Err(FileError::new("link", target, ErrorKind::InvalidInput));
        };
        self.publish_in(&HeldDirectory::open(parent_of(target))?, name)
    }

    /// Shows the file under `name` in `directory` unless something stands there. When the directory was removed
    /// meanwhile, this fails, and another try, in a new one, may do.
    ///
    /// DURABILITY: the data is synced before the name appears, the directory before this returns; also when something
    /// stood there already, so that the caller may rely on what it finds.
    pub fn publish_in(&self, directory: &HeldDirectory, name: &OsStr) -> Result<Published, FileError> {
        self.sync()?;
        let outcome = match rustix::fs::linkat(CWD, &self.path, directory.descriptor(), name, AtFlags::empty()) {
            Ok(()) => Published::Created,
            Err(Errno::EXIST) if self.stands_in(directory, name) => Published::Created,
            Err(Errno::EXIST) => Published::AlreadyPresent,
            Err(error) if lacks_links(&error.into()) => self.rename_without_replacing(directory, name)?,
            Err(error) => return Err(FileError::new("link", &directory.path().join(name), error)),
        };
        directory.sync()?;
        Ok(outcome)
    }

    /// Whether it has that name already: over NFS a link whose answer was lost is made again, and found there.
    fn stands_in(&self, directory: &HeldDirectory, name: &OsStr) -> bool {
        let there = rustix::fs::statat(directory.descriptor(), name, AtFlags::SYMLINK_NOFOLLOW);
        let (Ok(ours), Ok(there)) = (rustix::fs::fstat(&self.file), there) else { return false };
        (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)
    }

    /// Puts the file in the place of `target`, atomically and durably.
    pub fn replace(self, target: &Path) -> Result<(), FileError> {
        self.sync()?;
        self.rename(target)?;
        sync_directory(parent_of(target))
    }

    /// Puts the file in the place of `target`, atomically; the caller (PostgreSQL, for a restored WAL file) makes it
    /// durable.
    pub fn replace_without_sync(self, target: &Path) -> Result<(), FileError> {
        self.rename(target)
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn sync(&self) -> Result<(), FileError> {
        self.file.sync_all().map_err(|error| FileError::new("sync", &self.path, error))?;
        if self.written_back > 0 {
            self.forget(self.written_back.saturating_sub(WRITEBACK_BYTES), self.written);
        }
        Ok(())
    }

    fn rename(&self, target: &Path) -> Result<(), FileError> {
        std::fs::rename(&self.path, target).map_err(|error| FileError::new("rename to", target, error))
    }

    fn rename_without_replacing(&self, directory: &HeldDirectory, name: &OsStr) -> Result<Published, FileError> {
        match rustix::fs::renameat_with(CWD, &self.path, directory.descriptor(), name, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(Published::Created),
            Err(Errno::EXIST) => Ok(Published::AlreadyPresent),
            Err(error) => Err(FileError::new("create without replacing", &directory.path().join(name), error)),
        }
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        // Best effort: a staged file that stays behind is never read, and the next writer removes it.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Whether files in `directory` can have second names. Without that, [`StagedFile::publish_new`] renames instead, which
/// takes a system that can do so without replacing.
pub fn has_hard_links(directory: &Path) -> Result<bool, FileError> {
    let staged = StagedFile::create_in(directory)?;
    // It is the same file, under the same lock: whoever finds it after us knows whether we are gone.
    let second = directory.join(name_of_locked(directory).unwrap_or_else(name_of_unlocked));
    match std::fs::hard_link(&staged.path, &second) {
        Ok(()) => {
            std::fs::remove_file(&second).map(|()| true).map_err(|error| FileError::new("remove", &second, error))
        }
        Err(error) if lacks_links(&error) => Ok(false),
        Err(error) => Err(FileError::new("link", &second, error)),
    }
}

/// Whether a file system has no hard links (the answers of Linux and of FUSE and CIFS drivers).
fn lacks_links(error: &std::io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn staged(directory: &Path, content: &[u8]) -> StagedFile {
        let mut file = StagedFile::create_in(directory).unwrap();
        file.write_all(content).unwrap();
        file
    }

    #[test]
    fn publish_new_never_replaces() {
        let temp = tempfile::tempdir().unwrap();
        let target = temp.path().join("target");
        assert_eq!(staged(temp.path(), b"one").publish_new(&target).unwrap(), Published::Created);
        assert_eq!(staged(temp.path(), b"two").publish_new(&target).unwrap(), Published::AlreadyPresent);
        assert_eq!(std::fs::read(&target).unwrap(), b"one");
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 1, "staged files stay behind");
    }

    /// Over NFS the link may be made and its answer lost: the system asks again, and hears that it is there.
    #[test]
    fn a_link_whose_answer_was_lost_is_its_own() {
        let temp = tempfile::tempdir().unwrap();
        let target = temp.path().join("target");
        let file = staged(temp.path(), b"one");
        std::fs::hard_link(file.path(), &target).unwrap();
        assert_eq!(file.publish_new(&target).unwrap(), Published::Created);
        assert_eq!(std::fs::read(&target).unwrap(), b"one");
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 1);
    }

    #[test]
    fn rename_without_replacing_never_replaces() {
        let temp = tempfile::tempdir().unwrap();
        let target = temp.path().join("target");
        let directory = HeldDirectory::open(temp.path()).unwrap();
        let name = target.file_name().unwrap();
        let rename = |content| staged(temp.path(), content).rename_without_replacing(&directory, name).unwrap();
        assert_eq!(rename(b"one"), Published::Created);
        assert_eq!(rename(b"two"), Published::AlreadyPresent);
        assert_eq!(std::fs::read(&target).unwrap(), b"one");
    }

    #[test]
    fn replace_replaces_and_drop_removes() {
        let temp = tempfile::tempdir().unwrap();
        let target = temp.path().join("target");
        staged(temp.path(), b"one").replace(&target).unwrap();
        staged(temp.path(), b"two").replace(&target).unwrap();
        drop(staged(temp.path(), b"three"));
        assert_eq!(std::fs::read(&target).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 1);
    }

    #[test]
    fn trying_links_leaves_nothing() {
        let temp = tempfile::tempdir().unwrap();
        assert!(has_hard_links(temp.path()).unwrap());
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
        assert!(has_hard_links(&temp.path().join("absent")).is_err());
    }

    #[test]
    fn files_are_for_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let temp = tempfile::tempdir().unwrap();
        let target = temp.path().join("target");
        staged(temp.path(), b"x").publish_new(&target).unwrap();
        assert_eq!(std::fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
