//! Directories in which WAL may lie that nobody named: those that earlier restores moved aside.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::super::places::MOVED_ASIDE;
use super::PG_WAL;
use crate::error::chain;
use crate::fs::{self, FileError};

/// Where links lead: what was moved aside stands beside the directory itself, and what was named twice is one.
pub(super) fn real_places(named: &[&Path]) -> BTreeSet<PathBuf> {
    named.iter().map(|place| fs::real_path(place).unwrap_or_else(|_| (*place).to_owned())).collect()
}

pub(super) fn unseen_text(error: &FileError) -> String {
    format!("could not look for what was moved aside: {}", chain(error))
}

/// What the last restore renamed that stood in a data directory, or in that of a pg_wal.
pub(in super::super) fn last_moved_aside(directory: &Path) -> Option<PathBuf> {
    let data = if directory.ends_with(PG_WAL) { directory.parent()? } else { directory };
    let place = fs::real_path(data).unwrap_or_else(|_| data.to_owned());
    moved_aside(&place).ok()?.pop()
}

/// What earlier restores renamed that stood there.
pub(super) fn moved_aside(place: &Path) -> Result<Vec<PathBuf>, FileError> {
    let (Some(folder), Some(name)) = (place.parent(), place.file_name()) else { return Ok(Vec::new()) };
    if !fs::is_directory(folder)? {
        return Ok(Vec::new());
    }
    let prefix = [name.as_encoded_bytes(), MOVED_ASIDE.as_bytes()].concat();
    let mut entries = fs::sorted_entries(folder)?;
    entries.retain(|entry| entry.name.as_encoded_bytes().starts_with(&prefix));
    Ok(entries.into_iter().map(|entry| folder.join(entry.name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_moved_aside_is_found_behind_a_link() {
        let temp = tempfile::tempdir().unwrap();
        let root = fs::real_path(temp.path()).unwrap();
        let [data, moved, link] = ["data", "data.pgv-20261121T143000Z", "link"].map(|name| root.join(name));
        for directory in [&data, &moved] {
            std::fs::create_dir(directory).unwrap();
        }
        std::os::unix::fs::symlink("data", &link).unwrap();
        let places = real_places(&[&data, &link, &root.join("absent")]);
        assert_eq!(places, BTreeSet::from([root.join("absent"), data.clone()]));
        assert_eq!(moved_aside(&data).unwrap(), std::slice::from_ref(&moved));
        for named in [data.clone(), data.join("pg_wal"), link] {
            assert_eq!(last_moved_aside(&named), Some(moved.clone()));
        }
        std::fs::remove_dir(&data).unwrap();
        assert_eq!(last_moved_aside(&data), Some(moved.clone()));
        assert_eq!(last_moved_aside(&moved), None);
    }
}
