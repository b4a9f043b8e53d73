//! Whole trees from an open directory on: what is in them, removing it, syncing it. No link is followed.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{FileError, PathKind};

/// Hands over the names in an open directory as they are listed, without `.` and `..`.
fn each_name(
    directory: &OwnedFd,
    path: &Path,
    each: &mut dyn FnMut(&OsStr) -> Result<(), FileError>,
) -> Result<(), FileError> {
    let failed = |error: Errno| FileError::new("list directory", path, error);
    for entry in Dir::read_from(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            each(name)?;
        }
    }
    Ok(())
}

fn subdirectory(directory: &OwnedFd, name: &OsStr, path: &Path) -> Result<Option<OwnedFd>, FileError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(error) => Err(FileError::new("open directory", path, error)),
    }
}

/// Whether it is what a file system keeps for itself where it is mounted, which may be on any directory of a tree.
fn is_of_file_system(directory: &OwnedFd, name: &OsStr) -> bool {
    let account = rustix::process::geteuid().as_raw();
    name == "lost+found"
        && rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory && stat.st_uid != account)
}

/// LIMIT: how often a directory is listed until nothing is left in it; somebody may go on putting things there.
const REMOVAL_PASSES_MAX: usize = 1000;

/// Removes all but the names to keep. Where something comes into it again and again, that stays: whoever removes the directory
/// itself, or looks at what is left, is told.
pub(super) fn remove_below(directory: &OwnedFd, path: &Path, keep: &[&OsStr]) -> Result<(), FileError> {
    // What is removed while a directory is listed may move what was not listed yet to where it is passed over.
    for _ in 0..REMOVAL_PASSES_MAX {
        let mut has_removed = false;
        each_name(directory, path, &mut |name| {
            if keep.contains(&name) {
                return Ok(());
            }
            has_removed = true;
            remove_entry(directory, name, &path.join(name))
        })?;
        if !has_removed {
            break;
        }
    }
    Ok(())
}

pub(super) fn remove_entry(directory: &OwnedFd, name: &OsStr, path: &Path) -> Result<(), FileError> {
    let flags = match subdirectory(directory, name, path)? {
        Some(below) => {
            remove_below(&below, path, &[])?;
            AtFlags::REMOVEDIR
        }
        None => AtFlags::empty(),
    };
    rustix::fs::unlinkat(directory, name, flags).map_err(|error| FileError::new("remove", path, error))
}

pub(super) fn list_below<E: From<FileError>>(
    directory: &OwnedFd,
    path: &Path,
    relative: &Path,
    is_skipped: &mut dyn FnMut(&OsStr) -> bool,
    each: &mut dyn FnMut(&Path, PathKind) -> Result<(), E>,
) -> Result<(), E> {
    let failed = |error: Errno| FileError::new("list directory", path, error);
    let mut below = Vec::new();
    for entry in Dir::read_from(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." || is_skipped(name) || is_of_file_system(directory, name) {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => {
                let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
                FileType::from_raw_mode(stat.map_err(failed)?.st_mode)
            }
            kind => kind,
        };
        let kind = match kind {
            FileType::Directory => PathKind::Directory,
            FileType::RegularFile => PathKind::File,
            FileType::Symlink => PathKind::Link,
            _ => PathKind::Other,
        };
        if kind == PathKind::Directory {
            below.push(name.to_owned());
        }
        each(&relative.join(name), kind)?;
    }
    for name in below {
        let child = path.join(&name);
        if let Some(directory) = subdirectory(directory, &name, &child)? {
            list_below(&directory, &child, &relative.join(&name), &mut |_| false, each)?;
        }
    }
    Ok(())
}

pub(super) fn sync_below(directory: &OwnedFd, path: &Path) -> Result<(), FileError> {
    each_name(directory, path, &mut |name| {
        if is_of_file_system(directory, name) {
            return Ok(());
        }
        let child = path.join(name);
        if let Some(below) = subdirectory(directory, name, &child)? {
            return sync_below(&below, &child);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(directory, name, flags, Mode::empty()).and_then(rustix::fs::fsync) {
            Ok(()) | Err(Errno::LOOP) => Ok(()),
            Err(error) => Err(FileError::new("sync", &child, error)),
        }
    })?;
    rustix::fs::fsync(directory).map_err(|error| FileError::new("sync directory", path, error))
}
