//! Reading whole small files and ranges of large ones.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;

use super::FileError;

/// Opens a file for reading.
pub fn open_for_reading(path: &Path) -> Result<File, FileError> {
    File::open(path).map_err(|error| FileError::new("open", path, error))
}

/// Reads a whole file of at most `limit` bytes; a longer one is an error (`FileTooLarge`), read no further.
pub fn read_at_most(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let file = open_for_reading(path)?;
    let mut bytes = Vec::new();
    let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|error| FileError::new("read", path, error))?;
    if bytes.len() as u64 > limit {
        return Err(FileError::new("read", path, std::io::ErrorKind::FileTooLarge));
    }
    Ok(bytes)
}

/// Reads up to `length` bytes from `offset`: fewer only when the file ends before.
pub fn read_range(path: &Path, offset: u64, length: usize) -> Result<Vec<u8>, FileError> {
    read_range_of(&open_for_reading(path)?, path, offset, length)
}

/// Reads up to `length` bytes from `offset` of an open file: fewer only when the file ends before.
pub fn read_range_of(file: &File, path: &Path, offset: u64, length: usize) -> Result<Vec<u8>, FileError> {
    // Nothing is written into the room twice: these are most of the bytes that a program reads.
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let at = offset.saturating_add(bytes.len() as u64);
        match rustix::io::pread(file, spare_capacity(&mut bytes), at) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(FileError::new("read", path, error)),
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// Fills `bytes` from `offset` of an open file, and says how many came: fewer only when the file ends before.
pub fn read_into(file: &File, path: &Path, offset: u64, bytes: &mut [u8]) -> Result<usize, FileError> {
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset.saturating_add(filled as u64)) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(FileError::new("read", path, error)),
        }
    }
    Ok(filled)
}

/// Whether there is something of that name (a dangling link is nothing). `false` only when the system said so.
pub fn is_present(path: &Path) -> Result<bool, FileError> {
    match file_bytes(path) {
        Ok(_) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

/// The size of a file.
pub fn file_bytes(path: &Path) -> Result<u64, FileError> {
    let metadata = std::fs::metadata(path).map_err(|error| FileError::new("look at", path, error))?;
    Ok(metadata.len())
}

/// The size of an open file.
pub fn bytes_of(file: &File, path: &Path) -> Result<u64, FileError> {
    let metadata = file.metadata().map_err(|error| FileError::new("look at", path, error))?;
    Ok(metadata.len())
}

/// The path without links and relative parts.
pub fn real_path(path: &Path) -> Result<PathBuf, FileError> {
    std::fs::canonicalize(path).map_err(|error| FileError::new("look at", path, error))
}

/// When a file was last modified, by its file system.
pub fn modified(path: &Path) -> Result<Timestamp, FileError> {
    let failed = |error| FileError::new("look at", path, error);
    let time = std::fs::metadata(path).and_then(|metadata| metadata.modified()).map_err(failed)?;
    Timestamp::try_from(time).map_err(|_| failed(std::io::ErrorKind::InvalidData.into()))
}
