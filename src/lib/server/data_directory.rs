//! What the files of a data directory on this host say, when the server is not asked or must be believed.

use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::Endpoint;
use crate::clock;
use crate::error::{Classified, ErrorClass};
use crate::fs::{self, FileError};
use crate::pg::{ControlFile, ControlFileError, SystemIdentifier};

/// How often a control file is read again that a server was writing, and how long that is apart
/// (`src/common/controldata_utils.c`).
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(10);

/// A control file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlFileReadError {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It cannot be believed.
    #[error("could not use \"{}\"", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: ControlFileError,
    },
}

impl Classified for ControlFileReadError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::File(error) => error.class(),
            Self::Invalid { source, .. } => source.class(),
        }
    }
}

/// The control file of a data directory; `None` when it has none. Its server may be writing it.
pub fn read_control_file(data_directory: &Path) -> Result<Option<ControlFile>, ControlFileReadError> {
    Ok(read_control_file_bytes(data_directory)?.map(|(_, control)| control))
}

/// The same, with the bytes that it was read from.
pub fn read_control_file_bytes(data_directory: &Path) -> Result<Option<(Vec<u8>, ControlFile)>, ControlFileReadError> {
    let path = data_directory.join(ControlFile::PATH);
    read_until_believed(&path, &mut || fs::read_at_most(&path, ControlFile::FILE_LENGTH as u64))
}

fn read_until_believed(
    path: &Path,
    read: &mut dyn FnMut() -> Result<Vec<u8>, FileError>,
) -> Result<Option<(Vec<u8>, ControlFile)>, ControlFileReadError> {
    let mut tries = TRIES;
    let mut last = None;
    loop {
        let bytes = match read() {
            Err(error) if error.is_not_found() => return Ok(None),
            bytes => bytes?,
        };
        tries -= 1;
        match ControlFile::decode(&bytes) {
            Ok(control) => return Ok(Some((bytes, control))),
            // It may have been half written; damage stays the same.
            Err(error @ ControlFileError::Crc { .. }) if tries > 0 && last.as_ref() != Some(&error) => {
                last = Some(error);
            }
            Err(source) => return Err(ControlFileReadError::Invalid { path: path.to_owned(), source }),
        }
        clock::wait(PAUSE);
    }
}

/// Where a server's data directory is, seen from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalDirectory {
    /// On this host, by this real path: the control file there is that cluster's.
    Proven(PathBuf),
    /// There may be one at this path, and it is not ours to read.
    Unreadable(PathBuf),
    /// Not on this host, or unknown.
    Elsewhere,
}

impl LocalDirectory {
    /// Compares what the server that answered at `endpoint` says with this host. A loopback address alone says little:
    /// it may lead into a container or, by a tunnel, to another host.
    pub fn find(endpoint: &Endpoint, told: Option<&Path>, system_identifier: SystemIdentifier) -> Self {
        match told.filter(|_| endpoint.host.address.is_loopback()) {
            Some(path) => Self::at(path, system_identifier),
            None => Self::Elsewhere,
        }
    }

    /// Whether a server that answered at `endpoint` seems to run on this host, though its address proves nothing: by the
    /// host's own name, as a rule. Only an address of this host can be bound.
    pub fn is_here(endpoint: &Endpoint) -> bool {
        let is_own = |address: IpAddr| UdpSocket::bind((address, 0)).is_ok();
        endpoint.host.address.is_loopback() || endpoint.address.is_some_and(is_own)
    }

    /// What is at this path of this host, of the cluster with this system identifier.
    pub fn at(path: &Path, system_identifier: SystemIdentifier) -> Self {
        match read_control_file(path) {
            Ok(Some(control)) if control.system_identifier == system_identifier => match fs::real_path(path) {
                Ok(real) => Self::Proven(real),
                Err(_) => Self::Unreadable(path.to_owned()),
            },
            Ok(_) => Self::Elsewhere,
            Err(_) => Self::Unreadable(path.to_owned()),
        }
    }

    /// The directory, when it is proven to be the server's.
    pub fn proven(&self) -> Option<&Path> {
        match self {
            Self::Proven(path) => Some(path),
            Self::Unreadable(_) | Self::Elsewhere => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTROL_15: &[u8] = include_bytes!("../../../tests/data/postgres-15/pg_control");

    fn data_directory(control: &[u8]) -> tempfile::TempDir {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("global")).unwrap();
        std::fs::write(temp.path().join(ControlFile::PATH), control).unwrap();
        temp
    }

    #[test]
    fn only_the_cluster_s_own_directory_is_the_server_s() {
        let temp = data_directory(CONTROL_15);
        let own = ControlFile::decode(CONTROL_15).unwrap().system_identifier;
        let link = temp.path().join("link");
        std::os::unix::fs::symlink(temp.path(), &link).unwrap();
        let real = temp.path().canonicalize().unwrap();
        assert_eq!(LocalDirectory::at(&link, own), LocalDirectory::Proven(real));
        let other = SystemIdentifier::new(own.get() + 1).unwrap();
        assert_eq!(LocalDirectory::at(&link, other), LocalDirectory::Elsewhere);
        assert_eq!(LocalDirectory::at(&temp.path().join("absent"), own), LocalDirectory::Elsewhere);
    }

    /// Its server writes it while it is read.
    #[test]
    fn what_is_half_written_is_read_again() {
        let mut reads = 0;
        let mut half_written = |whole_at: u8| {
            reads = 0;
            read_until_believed(Path::new("pg_control"), &mut || {
                let mut bytes = CONTROL_15.to_vec();
                reads += 1;
                if reads < whole_at {
                    bytes[20] ^= reads;
                }
                Ok(bytes)
            })
        };
        for whole_at in [1, 2, 3, 10] {
            let (bytes, control) = half_written(whole_at).unwrap().unwrap();
            assert_eq!(bytes, CONTROL_15);
            assert_eq!(control, ControlFile::decode(CONTROL_15).unwrap());
        }
        assert_eq!(half_written(11).unwrap_err().class(), ErrorClass::Corrupt, "it is never whole");
    }

    #[test]
    fn damage_stays_and_ends_the_tries() {
        let mut torn = CONTROL_15.to_vec();
        torn[20] ^= 1;
        let temp = data_directory(&torn);
        let error = read_control_file(temp.path()).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Corrupt, "{error}");
        assert_eq!(read_control_file(&temp.path().join("absent")).unwrap(), None);
    }
}
