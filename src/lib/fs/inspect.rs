//! What stands at a path, without touching it and without following a link.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::Access;
use rustix::io::Errno;

use super::FileError;

/// What the system counts the room of files in, whatever their file system does.
const BLOCK_BYTES: u64 = 512;

/// What kind of thing stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link, wherever it leads.
    Link,
    /// A device, socket or pipe.
    Other,
}

/// What the system says about a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathFacts {
    /// What it is.
    pub kind: PathKind,
    /// The account that owns it.
    pub owner: u32,
    /// Its permission bits.
    pub mode: u32,
    /// The file system it lies on.
    pub device: u64,
    /// Whether the account of this process may write to it and enter it: for a directory, create names in it.
    pub is_writable: bool,
}

/// What stands at a path; `None` when the system says that nothing does.
pub fn look_at(path: &Path) -> Result<Option<PathFacts>, FileError> {
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(FileError::new("look at", path, error)),
    };
    let kind = match metadata.file_type() {
        kind if kind.is_dir() => PathKind::Directory,
        kind if kind.is_file() => PathKind::File,
        kind if kind.is_symlink() => PathKind::Link,
        _ => PathKind::Other,
    };
    let is_writable = match rustix::fs::access(path, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => true,
        Err(Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::NOENT | Errno::LOOP) => false,
        Err(error) => return Err(FileError::new("look at", path, error)),
    };
    let mode = metadata.mode() & 0o7777;
    Ok(Some(PathFacts { kind, owner: metadata.uid(), mode, device: metadata.dev(), is_writable }))
}

/// Where a link leads, as it is written in it.
pub fn link_target(path: &Path) -> Result<PathBuf, FileError> {
    std::fs::read_link(path).map_err(|error| FileError::new("read link", path, error))
}

/// Gives a path another name beside it, durably. Fails when something of that name is there.
pub fn rename_aside(from: &Path, to: &Path) -> Result<(), FileError> {
    let here = rustix::fs::CWD;
    let renamed = rustix::fs::renameat_with(here, from, here, to, rustix::fs::RenameFlags::NOREPLACE);
    renamed.map_err(|error| FileError::new("rename", from, error))?;
    super::sync_directory(super::directory::parent_of(to))
}

/// What stands in a directory and below.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RoomBelow {
    /// Bytes of the files: the room that they take or their lengths, whichever is more.
    pub file_bytes: u64,
    /// How many names there are.
    pub names: u64,
    /// Bytes of their paths from that directory on.
    pub path_bytes: u64,
}

/// What stands in a directory and below. What may not be listed has nothing in it. No link is followed.
pub fn room_below(path: &Path) -> Result<RoomBelow, FileError> {
    let mut room = RoomBelow::default();
    add_below(path, 0, &mut room)?;
    Ok(room)
}

fn add_below(path: &Path, above_bytes: u64, room: &mut RoomBelow) -> Result<(), FileError> {
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::NotFound) => return Ok(()),
        Err(error) => return Err(FileError::new("list directory", path, error)),
    };
    for entry in entries {
        let entry = entry.map_err(|error| FileError::new("list directory", path, error))?;
        let path_bytes = above_bytes + entry.file_name().len() as u64;
        room.names += 1;
        room.path_bytes = room.path_bytes.saturating_add(path_bytes);
        let file_bytes = match std::fs::symlink_metadata(entry.path()) {
            Ok(metadata) if metadata.is_dir() => {
                add_below(&entry.path(), path_bytes + 1, room)?;
                0
            }
            Ok(metadata) if metadata.is_file() => metadata.len().max(metadata.blocks().saturating_mul(BLOCK_BYTES)),
            Ok(_) => 0,
            Err(error) if error.kind() == ErrorKind::NotFound => 0,
            Err(error) => return Err(FileError::new("look at", &entry.path(), error)),
        };
        room.file_bytes = room.file_bytes.saturating_add(file_bytes);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_that_of_files_and_of_holes_in_them() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        assert_eq!(room_below(&at("absent")).unwrap(), RoomBelow::default());
        std::fs::create_dir_all(at("a/b")).unwrap();
        std::fs::write(at("a/b/file"), vec![1; 100_000]).unwrap();
        std::fs::File::create(at("a/hole")).unwrap().set_len(5 << 20).unwrap();
        std::os::unix::fs::symlink(at("a"), at("link")).unwrap();
        let found = room_below(temp.path()).unwrap();
        assert!((100_000 + (5 << 20)..250_000 + (5 << 20)).contains(&found.file_bytes), "{found:?}");
        let names = ["a", "a/b", "a/b/file", "a/hole", "link"];
        let path_bytes = names.iter().map(|name| name.len() as u64).sum();
        assert_eq!((found.names, found.path_bytes), (names.len() as u64, path_bytes));
    }

    #[test]
    fn links_are_seen_as_links_and_nothing_as_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        std::fs::write(at("file"), "").unwrap();
        std::os::unix::fs::symlink("file", at("link")).unwrap();
        let kind = |path: &Path| look_at(path).unwrap().map(|facts| facts.kind);
        assert_eq!(kind(temp.path()), Some(PathKind::Directory));
        assert_eq!(kind(&at("file")), Some(PathKind::File));
        assert_eq!(kind(&at("link")), Some(PathKind::Link));
        assert_eq!(kind(Path::new("/dev/null")), Some(PathKind::Other));
        assert_eq!((kind(&at("absent")), kind(&at("file/below"))), (None, None));
        assert_eq!(link_target(&at("link")).unwrap(), Path::new("file"));
        assert!(look_at(temp.path()).unwrap().unwrap().is_writable);
    }

    #[test]
    fn renaming_aside_never_replaces() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        std::fs::create_dir(at("old")).unwrap();
        std::fs::create_dir(at("taken")).unwrap();
        assert!(rename_aside(&at("old"), &at("taken")).is_err());
        rename_aside(&at("old"), &at("new")).unwrap();
        assert_eq!(look_at(&at("old")).unwrap(), None);
    }
}
