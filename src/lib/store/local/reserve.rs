//! Room in the file system of a store, kept for when there is none.

use std::iter::repeat_with;
use std::path::Path;

use super::STAGING;
use crate::fs::{self, FileError, StagedFile};

/// The file; no key begins with a dot, and no listing returns it.
const NAME: &str = ".reserve";
/// For the marks of more than a hundred backups, of one or two blocks each.
const BYTES: usize = 1 << 20;

/// Keeps it, unless it is kept.
pub(super) fn keep(root: &Path) -> Result<(), FileError> {
    let path = root.join(NAME);
    if fs::is_present(&path)? {
        return Ok(());
    }
    let mut staged = StagedFile::create_in(&root.join(STAGING))?;
    // Random, so that it takes its room on a file system that compresses, too.
    let bytes: Vec<u8> = repeat_with(|| uuid::Uuid::new_v4().into_bytes()).take(BYTES / 16).flatten().collect();
    staged.write_all(&bytes)?;
    staged.publish_new(&path).map(drop)
}

/// Gives it back; `false` when none was kept.
pub(super) fn give_up(root: &Path) -> Result<bool, FileError> {
    fs::remove_file(&root.join(NAME))
}
