//! Writing the first configuration file: in the first place where that is possible, never over another one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::InitError;
use crate::clock::Clock;
use crate::error::{Classified as _, ErrorClass};
use crate::fs::{self, FileError, PRIVATE_FILE_MODE, Published, StagedFile};

/// How old a staged file must be that may have a writer elsewhere, before it is taken for abandoned.
const ABANDONED_AFTER: Duration = Duration::from_secs(3600);
/// LIMIT: directories that are made for a configuration file: `~/.config` and `pgv` in it.
const NEW_DIRECTORIES_MAX: usize = 2;

/// A configuration file that was written.
#[derive(Debug)]
pub struct WrittenFile {
    /// Where it is.
    pub path: PathBuf,
    /// Places before it where it could not be written, with the reason.
    pub passed_over: Vec<FileError>,
}

/// Writes `text` to the first of `places` that takes it. Directories are made only when there are several places, which
/// then are the usual ones.
pub fn write_configuration_file(places: &[PathBuf], text: &str) -> Result<WrittenFile, InitError> {
    let mut passed_over = Vec::new();
    let may_make_directories = places.len() > 1;
    for (index, path) in places.iter().enumerate() {
        match write_new(path, text, may_make_directories) {
            Ok(Published::Created) => return Ok(WrittenFile { path: path.clone(), passed_over }),
            Ok(Published::AlreadyPresent) => return Err(InitError::ConfigurationAppeared { path: path.clone() }),
            Err(error) if index + 1 < places.len() && is_no_place(&error) => passed_over.push(error),
            Err(error) => return Err(error.into()),
        }
    }
    Err(InitError::NoPlaceForConfiguration)
}

/// Removes what a run left beside that file that was killed while it wrote it.
pub fn remove_abandoned_beside_configuration(path: &Path, clock: &dyn Clock) {
    if let Ok(limit) = clock.now().checked_sub(ABANDONED_AFTER) {
        fs::remove_abandoned_beside(path, limit);
    }
}

/// Makes sure, before anything is done, that the only place is one.
pub fn check_configuration_places(places: &[PathBuf]) -> Result<(), InitError> {
    match places {
        [] => Err(InitError::NoPlaceForConfiguration),
        [only] => Ok(check_directory(parent_of(only))?),
        _ => Ok(()),
    }
}

fn parent_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

fn check_directory(path: &Path) -> Result<(), FileError> {
    if fs::is_directory(path)? {
        return Ok(());
    }
    Err(FileError::new("find the directory", path, std::io::ErrorKind::NotFound))
}

/// Whether another place may do.
fn is_no_place(error: &FileError) -> bool {
    error.is_not_found() || matches!(error.class(), ErrorClass::PermissionDenied | ErrorClass::ReadOnly)
}

fn write_new(path: &Path, text: &str, may_make_directories: bool) -> Result<Published, FileError> {
    if may_make_directories {
        make_directories(parent_of(path))?;
    } else {
        check_directory(parent_of(path))?;
    }
    let mut file = StagedFile::create_beside(path, PRIVATE_FILE_MODE)?;
    file.write_all(text.as_bytes())?;
    file.publish_new(path)
}

fn make_directories(path: &Path) -> Result<(), FileError> {
    let mut missing = Vec::new();
    for ancestor in path.ancestors() {
        if fs::is_directory(ancestor)? {
            break;
        }
        missing.push(ancestor);
    }
    if missing.len() > NEW_DIRECTORIES_MAX {
        return Err(FileError::new("find the directory", path, std::io::ErrorKind::NotFound));
    }
    missing.iter().rev().try_for_each(|directory| fs::create_directory(directory).map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_first_place_that_takes_it_gets_it() {
        let temp = tempfile::tempdir().unwrap();
        let nowhere = temp.path().join("a/b/c/pgv.toml");
        let home = temp.path().join(".config/pgv/pgv.toml");
        let written = write_configuration_file(&[nowhere.clone(), home.clone()], "x = 1\n").unwrap();
        assert_eq!(written.path, home);
        assert_eq!(written.passed_over.len(), 1);
        assert_eq!(std::fs::read(&home).unwrap(), b"x = 1\n");
        assert_eq!(home.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!temp.path().join("a").exists());
    }

    #[test]
    fn a_file_that_is_there_is_never_replaced() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("pgv.toml");
        std::fs::write(&path, "mine").unwrap();
        let error = write_configuration_file(std::slice::from_ref(&path), "x").unwrap_err();
        assert_eq!(error.class(), ErrorClass::Conflict);
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    }

    #[test]
    fn a_place_that_was_named_must_have_its_directory() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("no/pgv.toml");
        let error = write_configuration_file(&[path], "x").unwrap_err();
        assert!(error.to_string().contains("/no\""), "{error}");
        assert!(!temp.path().join("no").exists());
    }
}
