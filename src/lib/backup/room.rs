//! Whether there is room for the list of a backup's files where that is sorted, before the server is asked for them.

use std::fmt;

use super::BackupError;
use crate::fs::{self, Tree};

/// From which files it follows how much room their list takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListedFiles {
    /// Those of the last backup: so many, directories included.
    OfLastBackup(u64),
    /// Those of directories with very many, as they were counted now.
    OfHugeDirectories,
}

impl fmt::Display for ListedFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OfLastBackup(count) => write!(f, "the last backup had {count} files and directories"),
            Self::OfHugeDirectories => f.write_str("a directory with very many files is sorted there"),
        }
    }
}

/// Refuses to begin where `needed` bytes, which follow from these files, are not left in the directory of scratch files.
pub(super) fn check_room(scratch: &Tree, needed: u64, files: ListedFiles) -> Result<(), BackupError> {
    let available = fs::available_bytes(scratch.path())?;
    if needed <= available {
        return Ok(());
    }
    Err(BackupError::NoRoom { path: scratch.path().to_owned(), files, needed, available })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Classified as _, ErrorClass};

    #[test]
    fn a_list_that_does_not_fit_is_refused_with_why() {
        let temp = tempfile::tempdir().unwrap();
        let scratch = Tree::open(temp.path()).unwrap();
        for (files, why) in [
            (ListedFiles::OfLastBackup(7), ": the last backup had 7 files and directories"),
            (ListedFiles::OfHugeDirectories, ": a directory with very many files is sorted there"),
        ] {
            check_room(&scratch, 1, files).unwrap();
            let error = check_room(&scratch, u64::MAX, files).unwrap_err();
            assert_eq!(error.class(), ErrorClass::NoSpace);
            assert!(error.to_string().ends_with(why), "{error}");
        }
    }
}
