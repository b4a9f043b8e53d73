//! A directory that is filled with the files of somebody else's tree: nothing ever leaves it.
//!
//! INVARIANT: every name is looked up from the directory's own descriptor, one component at a time, and no link is
//! followed; files and links are created where nothing stands.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{Access, Advice, AtFlags, FallocateFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::below::{list_below, remove_below, remove_entry, sync_below};
use super::{FileError, PRIVATE_FILE_MODE, PathKind, staged_name};

/// COMPAT: since this kernel, `syncfs` reports what could not be written since the descriptor was opened.
const SYNCFS_REPORTS_ERRORS: (u32, u32) = (5, 8);

/// LIMIT: directories that are kept open for the next file in them.
const OPEN_DIRECTORIES_MAX: usize = 8;

/// An open directory and everything below it. Several threads may work in it.
#[derive(Debug)]
pub struct Tree {
    root: Arc<OwnedFd>,
    path: PathBuf,
    /// Its file system.
    device: u64,
    /// A directory of each other file system that is mounted in it and was looked into: all that is written goes through
    /// one.
    mounted: Mutex<Vec<(u64, Arc<OwnedFd>)>>,
    /// The directories that were last looked up, the latest first: files come sorted by their paths, to several threads.
    last: Mutex<Vec<(PathBuf, Arc<OwnedFd>)>>,
}

impl Tree {
    /// Opens a directory that exists and is not a link.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty());
        let root = root.map_err(|error| FileError::new("open directory", path, error))?;
        let device = rustix::fs::fstat(&root).map_err(|error| FileError::new("look at", path, error))?.st_dev;
        let (root, path) = (Arc::new(root), path.to_owned());
        Ok(Self { root, path, device, mounted: Mutex::default(), last: Mutex::default() })
    }

    /// Opens the directory to which a path leads, which may be a link: on some systems that for temporary files is one.
    pub fn open_through_links(path: &Path) -> Result<Self, FileError> {
        Self::open(&super::real_path(path)?)
    }

    /// Its path, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps others away who ask in the same way, as long as this tree is open. `false` when somebody else was first.
    pub fn lock(&self) -> Result<bool, FileError> {
        match rustix::fs::flock(&self.root, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            // COMPAT: a file system without locks, or one that locks only what is open for writing.
            Err(Errno::NOTSUP | Errno::NOLCK | Errno::NOSYS | Errno::INVAL | Errno::BADF) => Ok(true),
            Err(error) => Err(FileError::new("lock", &self.path, error)),
        }
    }

    /// Sets the permission bits of the directory itself.
    pub fn set_mode(&self, mode: u32) -> Result<(), FileError> {
        let set = rustix::fs::fchmod(&self.root, Mode::from_raw_mode(mode));
        set.map_err(|error| FileError::new("set the mode of", &self.path, error))
    }

    /// Creates a directory, whose parent must exist. `false` when there is one already.
    pub fn create_directory(&self, relative: &Path, mode: u32) -> Result<bool, FileError> {
        let (parent, name) = self.parent_of(relative)?;
        match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(mode)) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                self.directory(relative)?;
                return Ok(false);
            }
            Err(error) => return Err(self.failed("create directory", relative, error)),
        }
        // The umask took bits away that were asked for.
        self.change_mode(&parent, name, relative, mode)?;
        Ok(true)
    }

    /// Creates a file for writing.
    pub fn create_file(&self, relative: &Path, mode: u32) -> Result<File, FileError> {
        let (parent, name) = self.parent_of(relative)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(mode & 0o700));
        let file = file.map_err(|error| self.failed("create", relative, error))?;
        if mode & 0o077 != 0 {
            let set = rustix::fs::fchmod(&file, Mode::from_raw_mode(mode));
            set.map_err(|error| self.failed("set the mode of", relative, error))?;
        }
        Ok(File::from(file))
    }

    /// A file for reading and writing that has no name: it ends with its descriptor, however this process ends.
    pub fn nameless_file(&self) -> Result<File, FileError> {
        let (flags, mode) = (OFlags::RDWR | OFlags::CLOEXEC, Mode::from_raw_mode(PRIVATE_FILE_MODE));
        match rustix::fs::openat(&self.root, ".", flags | OFlags::TMPFILE, mode) {
            Ok(file) => return Ok(File::from(file)),
            // COMPAT: file systems and kernels without such files.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {}
            Err(error) => return Err(self.failed("create a file in", Path::new(""), error)),
        }
        let name = PathBuf::from(staged_name(&self.path));
        let file = self.create_file(&name, PRIVATE_FILE_MODE)?;
        match rustix::fs::unlinkat(&self.root, &name, AtFlags::empty()) {
            // Who tidies up may have taken it for one that was left behind.
            Ok(()) | Err(Errno::NOENT) => Ok(file),
            Err(error) => Err(self.failed("remove", &name, error)),
        }
    }

    /// Asks for the room of a file that was just created, where the file system can: it then lies in one piece, and
    /// what does not fit is known at once.
    pub fn preallocate(&self, file: &File, relative: &Path, bytes: u64) -> Result<(), FileError> {
        loop {
            match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(self.failed("get room for", relative, error)),
            }
        }
    }

    /// Starts writing to the disk what was written to a file, so that little is left for the sync at the end. No
    /// promise: only a sync makes anything durable, or says that it is not.
    pub fn start_writeback(&self, file: &File, offset: u64, bytes: u64) {
        // Starts writeback of dirty pages and drops clean ones; a file system that cannot does no harm.
        let _ = rustix::fs::fadvise(file, offset, std::num::NonZeroU64::new(bytes), Advice::DontNeed);
    }

    /// Creates a small file with this content.
    pub fn create_file_with(&self, relative: &Path, mode: u32, content: &[u8]) -> Result<(), FileError> {
        let file = self.create_file(relative, mode)?;
        self.write_at(&file, relative, 0, content)
    }

    /// Opens a file that was created before, for reading and writing.
    pub fn open_file(&self, relative: &Path) -> Result<File, FileError> {
        let (parent, name) = self.parent_of(relative)?;
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&parent, name, flags, Mode::empty());
        file.map(File::from).map_err(|error| self.failed("open", relative, error))
    }

    /// Writes bytes at an offset of a file that was opened here.
    pub fn write_at(&self, file: &File, relative: &Path, offset: u64, bytes: &[u8]) -> Result<(), FileError> {
        use std::os::unix::fs::FileExt as _;
        file.write_all_at(bytes, offset).map_err(|error| FileError::new("write", &self.path.join(relative), error))
    }

    /// Creates a symbolic link to `target`.
    pub fn create_link(&self, relative: &Path, target: &Path) -> Result<(), FileError> {
        let (parent, name) = self.parent_of(relative)?;
        let created = rustix::fs::symlinkat(target, &parent, name);
        created.map_err(|error| self.failed("create link", relative, error))
    }

    /// Gives a file another name in the same directory, and makes that durable.
    pub fn rename_durably(&self, from: &Path, to: &Path) -> Result<(), FileError> {
        let (parent, old_name) = self.parent_of(from)?;
        let (_, new_name) = self.parent_of(to)?;
        let renamed = rustix::fs::renameat(&parent, old_name, &parent, new_name);
        renamed.map_err(|error| self.failed("rename to", to, error))?;
        rustix::fs::fsync(&parent).map_err(|error| self.failed("sync the directory of", to, error))
    }

    /// Removes a file, durably. `false` when there is none.
    pub fn remove_file_durably(&self, relative: &Path) -> Result<bool, FileError> {
        let (parent, name) = self.parent_of(relative)?;
        match rustix::fs::unlinkat(&parent, name, AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(self.failed("remove", relative, error)),
        }
        rustix::fs::fsync(&parent).map_err(|error| self.failed("sync the directory of", relative, error))?;
        Ok(true)
    }

    /// Opens a file for reading alone.
    pub fn open_to_read(&self, relative: &Path) -> Result<File, FileError> {
        let (parent, name) = self.parent_of(relative)?;
        // What is a pipe by now must not be waited for.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&parent, name, flags, Mode::empty());
        file.map(File::from).map_err(|error| self.failed("open", relative, error))
    }

    /// Gives a file that stands there this mode and length, each only when it has another. `false` when it is not a
    /// regular file that this account may write and that has no other name: it must not be written to.
    pub fn adopt(&self, relative: &Path, mode: u32, bytes: u64) -> Result<bool, FileError> {
        let (parent, name) = self.parent_of(relative)?;
        // Mostly it is as it should be, and this account's to write, which is known without opening it.
        if let Ok(stat) = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)
            && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            && (stat.st_nlink, stat.st_uid) == (1, rustix::process::geteuid().as_raw())
            && (stat.st_mode & 0o7777, u64::try_from(stat.st_size)) == (mode, Ok(bytes))
            && mode & PRIVATE_FILE_MODE == PRIVATE_FILE_MODE
        {
            return Ok(true);
        }
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&parent, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::ACCESS | Errno::PERM | Errno::LOOP | Errno::ISDIR | Errno::NXIO | Errno::TXTBSY) => {
                return Ok(false);
            }
            Err(error) => return Err(self.failed("open", relative, error)),
        };
        let stat = rustix::fs::fstat(&file).map_err(|error| self.failed("look at", relative, error))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_nlink != 1 {
            return Ok(false);
        }
        if stat.st_mode & 0o7777 != mode {
            let set = rustix::fs::fchmod(&file, Mode::from_raw_mode(mode));
            set.map_err(|error| self.failed("set the mode of", relative, error))?;
        }
        if u64::try_from(stat.st_size) != Ok(bytes) {
            let set = rustix::fs::ftruncate(&file, bytes);
            set.map_err(|error| self.failed("set the length of", relative, error))?;
        }
        Ok(true)
    }

    /// Whether a file that stands there would be adopted; nothing is touched.
    pub fn would_adopt(&self, relative: &Path) -> Result<bool, FileError> {
        let (parent, name) = self.parent_of(relative)?;
        let stat = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW);
        let stat = stat.map_err(|error| self.failed("look at", relative, error))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_nlink != 1 {
            return Ok(false);
        }
        match rustix::fs::accessat(&parent, name, Access::READ_OK | Access::WRITE_OK, AtFlags::empty()) {
            // Of a file system that is mounted read-only what is right is still right.
            Ok(()) | Err(Errno::ROFS) => Ok(true),
            Err(Errno::ACCESS | Errno::PERM | Errno::TXTBSY) => Ok(false),
            Err(error) => Err(self.failed("look at", relative, error)),
        }
    }

    /// Gives a directory that stands there this mode, when it has another.
    pub fn adopt_directory(&self, relative: &Path, mode: u32) -> Result<(), FileError> {
        let directory = self.directory(relative)?;
        let stat = rustix::fs::fstat(&directory).map_err(|error| self.failed("look at", relative, error))?;
        if stat.st_mode & 0o7777 != mode {
            let set = rustix::fs::fchmod(&directory, Mode::from_raw_mode(mode));
            set.map_err(|error| self.failed("set the mode of", relative, error))?;
        }
        Ok(())
    }

    /// Where a link leads, as it is written in it.
    pub fn link_target(&self, relative: &Path) -> Result<PathBuf, FileError> {
        use std::os::unix::ffi::OsStringExt as _;
        let (parent, name) = self.parent_of(relative)?;
        let target = rustix::fs::readlinkat(&parent, name, Vec::new());
        let target = target.map_err(|error| self.failed("read link", relative, error))?;
        Ok(PathBuf::from(std::ffi::OsString::from_vec(target.into_bytes())))
    }

    /// Removes what stands there, a directory with all that is in it. Links are removed, never followed.
    pub fn remove(&self, relative: &Path) -> Result<(), FileError> {
        self.forget_directories();
        let (parent, name) = self.parent_of(relative)?;
        remove_entry(&parent, name, &self.path.join(relative))
    }

    /// Names everything in it, in no order, links not followed; what `is_skipped` of the names in the directory itself is
    /// left out with all that is in it. So is a `lost+found` of another account, wherever it is.
    pub fn list<E: From<FileError>>(
        &self,
        is_skipped: &mut dyn FnMut(&OsStr) -> bool,
        each: &mut dyn FnMut(&Path, PathKind) -> Result<(), E>,
    ) -> Result<(), E> {
        list_below(&self.root, &self.path, Path::new(""), is_skipped, each)
    }

    /// Makes one file and the directory that holds it durable.
    pub fn sync_file(&self, relative: &Path) -> Result<(), FileError> {
        let (parent, _) = self.parent_of(relative)?;
        let file = self.open_file(relative)?;
        file.sync_all().map_err(|error| FileError::new("sync", &self.path.join(relative), error))?;
        rustix::fs::fsync(&parent).map_err(|error| self.failed("sync the directory of", relative, error))
    }

    /// Makes everything in it durable.
    ///
    /// DURABILITY: where the kernel reports it, through the file systems as a whole, its own and those mounted in it: what
    /// could not be written since this tree was opened fails here. Else file by file, directory by directory.
    pub fn sync_everything(&self) -> Result<(), FileError> {
        if kernel_version() < SYNCFS_REPORTS_ERRORS {
            return sync_below(&self.root, &self.path);
        }
        let mounted = self.mounted.lock().unwrap_or_else(PoisonError::into_inner);
        for directory in [&self.root].into_iter().chain(mounted.iter().map(|(_, directory)| directory)) {
            let synced = rustix::fs::syncfs(directory);
            synced.map_err(|error| FileError::new("sync the file system of", &self.path, error))?;
        }
        Ok(())
    }

    /// Takes note of the file system of a directory in it.
    fn note_device(&self, relative: &Path, directory: &Arc<OwnedFd>) -> Result<(), FileError> {
        let device = rustix::fs::fstat(directory).map_err(|error| self.failed("look at", relative, error))?.st_dev;
        if device != self.device {
            let mut mounted = self.mounted.lock().unwrap_or_else(PoisonError::into_inner);
            if !mounted.iter().any(|(known, _)| *known == device) {
                mounted.push((device, Arc::clone(directory)));
            }
        }
        Ok(())
    }

    /// Removes everything in it except the entries of these names. Links are removed, never followed.
    pub fn remove_content(&self, keep: &[&OsStr]) -> Result<(), FileError> {
        self.forget_directories();
        remove_below(&self.root, &self.path, keep)
    }

    /// After something was removed or renamed: what is open may have another name or none.
    fn forget_directories(&self) {
        if let Ok(mut last) = self.last.lock() {
            last.clear();
        }
    }

    fn directory(&self, relative: &Path) -> Result<Arc<OwnedFd>, FileError> {
        if relative.as_os_str().is_empty() {
            return Ok(Arc::clone(&self.root));
        }
        if let Ok(last) = self.last.lock()
            && let Some((_, directory)) = last.iter().find(|(path, _)| path == relative)
        {
            return Ok(Arc::clone(directory));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut directory = Arc::clone(&self.root);
        for component in relative.components() {
            // INVARIANT: a path with anything but plain names leads nowhere.
            let Component::Normal(name) = component else {
                return Err(self.failed("open directory", relative, Errno::INVAL));
            };
            let opened = rustix::fs::openat(directory.as_fd(), name, flags, Mode::empty());
            directory = Arc::new(opened.map_err(|error| self.failed("open directory", relative, error))?);
        }
        self.note_device(relative, &directory)?;
        if let Ok(mut last) = self.last.lock() {
            last.insert(0, (relative.to_owned(), Arc::clone(&directory)));
            last.truncate(OPEN_DIRECTORIES_MAX);
        }
        Ok(directory)
    }

    fn parent_of<'a>(&self, relative: &'a Path) -> Result<(Arc<OwnedFd>, &'a OsStr), FileError> {
        let name = relative.file_name().ok_or_else(|| self.failed("look at", relative, Errno::INVAL))?;
        let parent = relative.parent().unwrap_or(Path::new(""));
        Ok((self.directory(parent)?, name))
    }

    fn change_mode(&self, parent: &OwnedFd, name: &OsStr, relative: &Path, mode: u32) -> Result<(), FileError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(parent, name, flags, Mode::empty());
        let set = directory.and_then(|directory| rustix::fs::fchmod(directory, Mode::from_raw_mode(mode)));
        set.map_err(|error| self.failed("set the mode of", relative, error))
    }

    fn failed(&self, action: &'static str, relative: &Path, error: Errno) -> FileError {
        FileError::new(action, &self.path.join(relative), error)
    }
}

/// The first two numbers of the kernel's release; zeros when it has none, as for a very old one.
fn kernel_version() -> (u32, u32) {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|digits| digits.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn mode_of(path: &Path) -> u32 {
        std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn fills_a_directory_with_the_modes_that_were_asked_for() {
        let temp = tempfile::tempdir().unwrap();
        let tree = Tree::open(temp.path()).unwrap();
        assert!(tree.create_directory(Path::new("base"), 0o750).unwrap());
        assert!(!tree.create_directory(Path::new("base"), 0o750).unwrap());
        tree.create_file_with(Path::new("base/a"), 0o640, b"abc").unwrap();
        let file = tree.open_file(Path::new("base/a")).unwrap();
        tree.write_at(&file, Path::new("base/a"), 1, b"XYZ").unwrap();
        tree.create_link(Path::new("link"), Path::new("/nowhere")).unwrap();
        tree.sync_file(Path::new("base/a")).unwrap();
        tree.sync_everything().unwrap();
        sync_below(&tree.root, temp.path()).unwrap();
        assert_eq!(std::fs::read(temp.path().join("base/a")).unwrap(), b"aXYZ");
        assert_eq!((mode_of(&temp.path().join("base")), mode_of(&temp.path().join("base/a"))), (0o750, 0o640));
        tree.rename_durably(Path::new("base/a"), Path::new("base/b")).unwrap();
        assert!(tree.remove_file_durably(Path::new("base/b")).unwrap());
        assert!(!tree.remove_file_durably(Path::new("base/b")).unwrap());
        assert!(kernel_version() > (2, 0));
    }

    #[test]
    fn planted_links_and_files_are_not_followed_or_overwritten() {
        let temp = tempfile::tempdir().unwrap();
        let outside = temp.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("file"), "kept").unwrap();
        let root = temp.path().join("root");
        std::fs::create_dir(&root).unwrap();
        std::os::unix::fs::symlink(&outside, root.join("base")).unwrap();
        std::os::unix::fs::symlink(outside.join("file"), root.join("PG_VERSION")).unwrap();
        std::os::unix::fs::symlink(&root, temp.path().join("alias")).unwrap();
        let tree = Tree::open(&root).unwrap();
        assert!(tree.create_file(Path::new("base/x"), 0o600).is_err());
        assert!(tree.create_directory(Path::new("base"), 0o700).is_err());
        assert!(tree.create_file(Path::new("PG_VERSION"), 0o600).is_err());
        assert!(tree.open_file(Path::new("PG_VERSION")).is_err());
        assert!(tree.create_file(Path::new("../x"), 0o600).is_err());
        assert!(tree.create_file(Path::new("/tmp/x"), 0o600).is_err());
        assert!(Tree::open(&temp.path().join("alias")).is_err());
        tree.remove_content(&[]).unwrap();
        assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);
        assert_eq!(std::fs::read(outside.join("file")).unwrap(), b"kept");
    }

    #[test]
    fn files_that_stand_are_adopted_when_nobody_else_is_meant() {
        let temp = tempfile::tempdir().unwrap();
        let tree = Tree::open(temp.path()).unwrap();
        tree.create_directory(Path::new("base"), 0o700).unwrap();
        for name in ["base/a", "base/b", "base/c"] {
            tree.create_file_with(Path::new(name), 0o644, b"abcdef").unwrap();
        }
        std::fs::hard_link(temp.path().join("base/c"), temp.path().join("base/d")).unwrap();
        std::os::unix::fs::symlink(temp.path().join("base/b"), temp.path().join("base/e")).unwrap();
        let would = |name: &str| tree.would_adopt(Path::new(name)).unwrap();
        assert!(would("base/a") && !would("base/c") && !would("base/e") && !would("base"));
        let adopted = |name: &str, bytes| tree.adopt(Path::new(name), 0o600, bytes).unwrap();
        assert!(adopted("base/a", 3) && adopted("base/b", 8));
        assert!(!adopted("base/c", 6) && !adopted("base/e", 6) && !adopted("base", 6));
        assert_eq!(std::fs::read(temp.path().join("base/a")).unwrap(), b"abc");
        assert_eq!(std::fs::read(temp.path().join("base/b")).unwrap(), b"abcdef\0\0");
        assert_eq!(mode_of(&temp.path().join("base/a")), 0o600);
        assert_eq!(mode_of(&temp.path().join("base/c")), 0o644);
        tree.adopt_directory(Path::new("base"), 0o750).unwrap();
        assert_eq!(mode_of(&temp.path().join("base")), 0o750);
        assert_eq!(tree.link_target(Path::new("base/e")).unwrap(), temp.path().join("base/b"));

        let mut found = Vec::new();
        let each = &mut |path: &Path, kind| {
            found.push((path.display().to_string(), kind));
            Ok::<(), FileError>(())
        };
        tree.list(&mut |name| name == "skipped", each).unwrap();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(found.len(), 6);
        assert_eq!(found[0], ("base".to_owned(), PathKind::Directory));
        assert_eq!(found[5], ("base/e".to_owned(), PathKind::Link));
        tree.remove(Path::new("base/e")).unwrap();
        tree.remove(Path::new("base")).unwrap();
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
    }

    #[test]
    fn file_systems_that_are_mounted_in_it_are_noted_once() {
        let tree = Tree::open(Path::new("/")).unwrap();
        let mounted = || tree.mounted.lock().unwrap().iter().map(|(device, _)| *device).collect::<Vec<_>>();
        tree.open_to_read(Path::new("etc/passwd")).unwrap();
        assert_eq!(mounted(), Vec::<u64>::new());
        for name in ["proc/version", "proc/sys/kernel/ostype", "proc/self/../version"] {
            let _ = tree.open_to_read(Path::new(name));
        }
        assert_eq!(mounted(), [rustix::fs::stat("/proc").unwrap().st_dev]);
    }

    /// Root owns that of a file system that was just made; an ordinary user cannot make one.
    #[test]
    fn what_a_mounted_file_system_keeps_for_itself_is_not_listed() {
        let temp = tempfile::tempdir().unwrap();
        let tree = Tree::open(temp.path()).unwrap();
        for folder in ["pg_wal/lost+found/x", "base/lost+found"] {
            std::fs::create_dir_all(temp.path().join(folder)).unwrap();
        }
        std::fs::write(temp.path().join("lost+found"), "a file").unwrap();
        let listed = || {
            let mut found = Vec::new();
            let each = &mut |path: &Path, _| {
                found.push(path.display().to_string());
                Ok::<(), FileError>(())
            };
            tree.list(&mut |_| false, each).unwrap();
            found.sort();
            found
        };
        let all = ["base", "base/lost+found", "lost+found", "pg_wal", "pg_wal/lost+found", "pg_wal/lost+found/x"];
        assert_eq!(listed(), all);
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(temp.path().join("pg_wal/lost+found"), Some(12_345), None).unwrap();
            assert_eq!(listed(), all[..4]);
        }
    }

    #[test]
    fn one_at_a_time_has_the_lock() {
        let temp = tempfile::tempdir().unwrap();
        let (first, second) = (Tree::open(temp.path()).unwrap(), Tree::open(temp.path()).unwrap());
        assert!(first.lock().unwrap() && first.lock().unwrap());
        assert!(!second.lock().unwrap());
        drop(first);
        assert!(second.lock().unwrap());
    }

    #[test]
    fn what_shall_be_kept_stays() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(temp.path().join("a/b/c")).unwrap();
        for name in ["marker", "x", "a/b/c/d"] {
            std::fs::write(temp.path().join(name), "").unwrap();
        }
        // More than the system lists at once.
        for number in 0..3000 {
            std::fs::write(temp.path().join(format!("a/b/a_name_of_some_length_{number}")), "").unwrap();
        }
        Tree::open(temp.path()).unwrap().remove_content(&[OsStr::new("marker")]).unwrap();
        let left: Vec<_> = std::fs::read_dir(temp.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["marker"]);
    }
}
