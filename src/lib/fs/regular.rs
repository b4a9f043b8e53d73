//! Files that must be regular ones: what is not (a named pipe, a device, a directory) is neither waited for nor read.

use std::fs::{File, Metadata, OpenOptions};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use jiff::Timestamp;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::FileError;

/// Why a file could not be used as a regular one.
#[derive(Debug)]
pub enum RegularFileError {
    /// Something else stands there; this is what people call it.
    Other(&'static str),
    /// The operation failed.
    File(FileError),
}

/// Opens a regular file for reading. Does not wait for the other end of a named pipe.
pub fn open_regular(path: &Path) -> Result<File, RegularFileError> {
    let failed = |action, error| RegularFileError::File(FileError::new(action, path, error));
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or_default();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) => {
            // A socket cannot be opened; a file that is leased to another program is waited for.
            let metadata = std::fs::metadata(path);
            metadata.as_ref().map_or(Ok(()), check).map_err(RegularFileError::Other)?;
            if Errno::from_io_error(&error) != Some(Errno::WOULDBLOCK) {
                return Err(failed("open", error));
            }
            File::open(path).map_err(|error| failed("open", error))?
        }
    };
    check(&file.metadata().map_err(|error| failed("look at", error))?).map_err(RegularFileError::Other)?;
    Ok(file)
}

/// The size of a regular file, and when it was last modified by its file system.
pub fn regular_facts(path: &Path) -> Result<(u64, Timestamp), RegularFileError> {
    let failed = |error| RegularFileError::File(FileError::new("look at", path, error));
    let metadata = std::fs::metadata(path).map_err(failed)?;
    check(&metadata).map_err(RegularFileError::Other)?;
    let time = metadata.modified().map_err(failed)?;
    let time = Timestamp::try_from(time).map_err(|_| failed(std::io::ErrorKind::InvalidData.into()))?;
    Ok((metadata.len(), time))
}

fn check(metadata: &Metadata) -> Result<(), &'static str> {
    if metadata.is_file() { Ok(()) } else { Err(kind_of(metadata)) }
}

/// What people call it.
pub(super) fn kind_of(metadata: &Metadata) -> &'static str {
    match metadata.file_type() {
        kind if kind.is_file() => "a regular file",
        kind if kind.is_dir() => "a directory",
        kind if kind.is_fifo() => "a named pipe",
        kind if kind.is_socket() => "a socket",
        kind if kind.is_block_device() || kind.is_char_device() => "a device",
        _ => "no regular file",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &Path) -> [Result<(), &'static str>; 2] {
        let name = |error| match error {
            RegularFileError::Other(name) => name,
            RegularFileError::File(error) => error.action,
        };
        [open_regular(path).map(|_| ()).map_err(name), regular_facts(path).map(|_| ()).map_err(name)]
    }

    #[test]
    fn what_is_no_file_is_named_and_not_waited_for() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        std::fs::write(at("file"), "content").unwrap();
        std::os::unix::fs::symlink("file", at("link")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), 0o600.into()).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        assert_eq!((found(&at("file")), found(&at("link"))), ([Ok(()); 2], [Ok(()); 2]));
        assert_eq!(regular_facts(&at("file")).unwrap().0, 7);
        assert_eq!(found(&at("pipe")), [Err("a named pipe"); 2]);
        assert_eq!(found(&at("socket")), [Err("a socket"); 2]);
        assert_eq!(found(temp.path()), [Err("a directory"); 2]);
        assert_eq!(found(Path::new("/dev/null")), [Err("a device"); 2]);
        assert_eq!(found(&at("absent")), [Err("open"), Err("look at")]);
    }
}
