//! The one error of file operations: what was tried, on which path, and what the system said.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Classified, ErrorClass};

/// A file operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("could not {action} \"{}\"", path.display())]
pub struct FileError {
    /// What was tried, as a verb: "open", "sync directory".
    pub action: &'static str,
    /// On which path.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

impl FileError {
    /// Binds an action and a path to what the system said.
    pub fn new(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self { action, path: path.to_owned(), source: source.into() }
    }

    /// Whether the system said that there is no such name (or none can be, since a parent is no directory).
    pub fn is_not_found(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
    }
}

impl Classified for FileError {
    fn class(&self) -> ErrorClass {
        ErrorClass::of_io(&self.source)
    }
}
