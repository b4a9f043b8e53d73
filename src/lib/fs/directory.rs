//! Directories: creating them durably, listing them in order, syncing them.

use std::ffi::OsString;
use std::fs::{DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::{FileError, PRIVATE_DIRECTORY_MODE};

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// Its name.
    pub name: OsString,
    /// Whether it is a directory itself (a link to one is not).
    pub is_directory: bool,
    /// Whether it is a link, wherever that leads.
    pub is_link: bool,
}

/// Makes the names in a directory durable.
pub fn sync_directory(path: &Path) -> Result<(), FileError> {
    let failed = |error| FileError::new("sync directory", path, error);
    File::open(path).map_err(failed)?.sync_all().map_err(failed)
}

/// Creates one directory, durably, for its owner alone. `false` when something of that name is there already.
pub fn create_directory(path: &Path) -> Result<bool, FileError> {
    let is_new = create_directory_unsynced(path)?;
    if is_new {
        sync_directory(parent_of(path))?;
    }
    Ok(is_new)
}

fn create_directory_unsynced(path: &Path) -> Result<bool, FileError> {
    match DirBuilder::new().mode(PRIVATE_DIRECTORY_MODE).create(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(FileError::new("create directory", path, error)),
    }
}

/// Creates what is missing of `relative` below `root`; [`sync_directory_chain`] makes it durable. `root` itself must exist
/// and is never created.
pub fn create_directory_chain(root: &Path, relative: &Path) -> Result<(), FileError> {
    let mut path = root.to_owned();
    for component in relative.components() {
        path.push(component);
        create_directory_unsynced(&path)?;
    }
    Ok(())
}

/// Makes the names of all directories of `relative` below `root` durable, whoever created them.
pub fn sync_directory_chain(root: &Path, relative: &Path) -> Result<(), FileError> {
    let mut path = root.to_owned();
    sync_directory(&path)?;
    for component in relative.parent().unwrap_or(Path::new("")).components() {
        path.push(component);
        sync_directory(&path)?;
    }
    Ok(())
}

/// Removes a directory that has nothing in it, not durably. `false` when it has something, or is not there.
pub fn remove_empty_directory(path: &Path) -> Result<bool, FileError> {
    use ErrorKind::{AlreadyExists, DirectoryNotEmpty, NotADirectory, NotFound, ResourceBusy};
    match std::fs::remove_dir(path) {
        Ok(()) => Ok(true),
        // A file system may be mounted on it.
        Err(error)
            if matches!(error.kind(), DirectoryNotEmpty | AlreadyExists | NotFound | NotADirectory | ResourceBusy) =>
        {
            Ok(false)
        }
        Err(error) => Err(FileError::new("remove directory", path, error)),
    }
}

/// Whether there is a directory of that name (a link to one counts). `false` only when the system said so.
pub fn is_directory(path: &Path) -> Result<bool, FileError> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(metadata.is_dir()),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(false),
        Err(error) => Err(FileError::new("look at", path, error)),
    }
}

/// Makes sure that a name below `root` that was not found is absent: that no link on the way to it leads nowhere (to a
/// file system that is not mounted, say) and nothing on the way is a file.
pub fn check_absent(root: &Path, relative: &Path) -> Result<(), FileError> {
    let mut path = root.to_owned();
    let mut names = relative.components().peekable();
    while let Some(name) = names.next() {
        path.push(name);
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) if names.peek().is_some() => {
                return Err(FileError::new("enter directory", &path, ErrorKind::NotADirectory));
            }
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return match std::fs::symlink_metadata(&path) {
                    Ok(link) if link.is_symlink() => Err(FileError::new("follow link", &path, error)),
                    Ok(_) => Ok(()),
                    Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                    Err(error) => Err(FileError::new("look at", &path, error)),
                };
            }
            Err(error) => return Err(FileError::new("look at", &path, error)),
        }
    }
    Ok(())
}

/// The directory that holds `path`; the working directory for a bare name.
pub(crate) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// The names in a directory, sorted by their bytes.
pub fn sorted_entries(path: &Path) -> Result<Vec<DirectoryEntry>, FileError> {
    let failed = |error| FileError::new("list directory", path, error);
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kind = match entry.file_type() {
            // It was removed just now; not every file system has told its kind with its name.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            kind => kind.map_err(failed)?,
        };
        let (is_directory, is_link) = (kind.is_dir(), kind.is_symlink());
        entries.push(DirectoryEntry { name: entry.file_name(), is_directory, is_link });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// Removes a file, durably. `false` when there is none.
pub fn remove_file(path: &Path) -> Result<bool, FileError> {
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(FileError::new("remove", path, error)),
    }
    match sync_directory(parent_of(path)) {
        // It was removed itself meanwhile, as nothing else was in it.
        Err(error) if error.is_not_found() => Ok(true),
        synced => synced.map(|()| true),
    }
}

/// The size of a file system, and what is left of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSystemRoom {
    /// Bytes that an ordinary user can still write.
    pub available_bytes: u64,
    /// Bytes of all of it.
    pub total_bytes: u64,
}

/// The room on the file system that holds `path`.
pub fn room_at(path: &Path) -> Result<FileSystemRoom, FileError> {
    let stat = rustix::fs::statvfs(path).map_err(|error| FileError::new("ask for free space at", path, error))?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Ok(FileSystemRoom { available_bytes: bytes(stat.f_bavail), total_bytes: bytes(stat.f_blocks) })
}

/// Bytes that an ordinary user can still write to the file system that holds `path`.
pub fn available_bytes(path: &Path) -> Result<u64, FileError> {
    Ok(room_at(path)?.available_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn creates_chains_below_an_existing_root_alone() {
        let temp = tempfile::tempdir().unwrap();
        create_directory_chain(temp.path(), Path::new("a/b/c")).unwrap();
        create_directory_chain(temp.path(), Path::new("a/b/c")).unwrap();
        assert!(temp.path().join("a/b/c").is_dir());
        assert!(create_directory_chain(&temp.path().join("absent"), Path::new("a")).is_err());
    }

    #[test]
    fn what_is_hidden_is_not_absent() {
        use std::os::unix::fs::symlink;
        let temp = tempfile::tempdir().unwrap();
        let (root, elsewhere) = (temp.path().join("root"), temp.path().join("elsewhere"));
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::write(root.join("file"), b"").unwrap();
        symlink(&elsewhere, root.join("link")).unwrap();
        let check = |name: &str| check_absent(&root, Path::new(name)).map_err(|error| error.action);
        assert_eq!(["x", "a/x", "a/b/x", "x/y/z", "file"].map(check), [Ok(()); 5]);
        assert_eq!(["link", "link/x", "link/x/y"].map(check), [Err("follow link"); 3]);
        assert_eq!(check("file/x"), Err("enter directory"));
        std::fs::create_dir(&elsewhere).unwrap();
        assert_eq!(["link", "link/x"].map(check), [Ok(()); 2]);
    }

    #[test]
    fn a_bare_name_lies_in_the_working_directory() {
        assert_eq!(parent_of(Path::new("name")), Path::new("."));
        assert_eq!(parent_of(Path::new("a/name")), Path::new("a"));
        assert_eq!(parent_of(Path::new("/name")), Path::new("/"));
    }
}
