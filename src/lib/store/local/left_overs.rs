//! What lies in the directory of a store and is no object.

use std::path::Path;

use super::STAGING;
use crate::fs::{self, FileError};
use crate::store::{LeftOver, LeftOverKind, ObjectKey};

/// Looks through the whole tree; at most `limit` are found. One folder's names are in memory at a time, and those above.
pub(super) fn find(root: &Path, limit: usize) -> Result<Vec<LeftOver>, FileError> {
    let mut found = Vec::new();
    for entry in fs::sorted_entries(&root.join(STAGING))? {
        if found.len() < limit {
            found.push(left_over(root, Path::new(STAGING).join(&entry.name).as_path(), LeftOverKind::Staged));
        }
    }
    visit(root, Path::new(""), limit, &mut found)?;
    Ok(found)
}

fn visit(root: &Path, folder: &Path, limit: usize, found: &mut Vec<LeftOver>) -> Result<(), FileError> {
    for entry in fs::sorted_entries(&root.join(folder))? {
        let path = folder.join(&entry.name);
        let is_hidden = entry.name.as_encoded_bytes().starts_with(b".") || entry.name == "lost+found";
        if found.len() >= limit {
            return Ok(());
        }
        match entry.name.to_str().map(ObjectKey::parse) {
            _ if is_hidden => {}
            Some(Ok(_)) if entry.is_directory => match visit(root, &path, limit, found) {
                // What cannot be listed is told by who wants to read it.
                Ok(()) | Err(_) => {}
            },
            Some(Ok(_)) => {}
            _ => found.push(left_over(root, &path, LeftOverKind::ForeignName)),
        }
    }
    Ok(())
}

fn left_over(root: &Path, path: &Path, kind: LeftOverKind) -> LeftOver {
    let name = path.to_string_lossy().escape_debug().to_string();
    LeftOver { name, kind, modified: fs::modified(&root.join(path)).ok() }
}
