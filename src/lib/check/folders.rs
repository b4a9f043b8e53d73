//! The folders of a repository: whose they are, and who may write to them.
//!
//! INVARIANT: the objects themselves are not looked at, and few folders are: those that every writer needs.

use std::path::{Path, PathBuf};

use super::facts::{FolderFacts, RepositoryFacts};
use super::finding::Cause;
use super::probe::cause;
use crate::fs;
use crate::report::Activity;
use crate::repository::{ClusterRef, folders_of};
use crate::store::LocalStore;

/// Folders of segments below the WAL of a cluster: of a timeline, and of a part of that.
const WAL_LEVELS: usize = 2;

/// The directory of an open repository is not there any more.
#[derive(Debug, thiserror::Error)]
#[error("there is nothing at \"{}\"", path.display())]
struct Gone {
    path: PathBuf,
}

/// What is known of the repository's directory.
pub(super) fn repository_facts(path: &Path) -> Result<RepositoryFacts, Cause> {
    let (directory, room) = look_at(path).and_then(|folder| Ok((folder, fs::room_at(path)?))).map_err(cause)?;
    let directory = directory.ok_or_else(|| cause(Gone { path: path.to_owned() }))?;
    Ok(RepositoryFacts { directory, below: Ok(Vec::new()), room })
}

/// What is known of the folders in it that a cluster needs.
pub(super) fn folders_below(path: &Path, cluster: &ClusterRef, activity: &Activity) -> Vec<FolderFacts> {
    let mut below = vec![path.join(LocalStore::STAGING)];
    for folder in folders_of(cluster) {
        let folder_path = path.join(folder.relative);
        let newest = folder.is_wal.then(|| newest_below(&folder_path, activity));
        below.push(folder_path);
        below.extend(newest.into_iter().flatten());
    }
    let looked = below.iter().filter_map(|folder| {
        activity.begin(format!("looking at \"{}\"", folder.display()));
        // None was needed yet, or the folder above may not be entered, which tells of itself.
        look_at(folder).ok().flatten()
    });
    looked.collect()
}

/// Whose a folder is, and who may write to it.
fn look_at(path: &Path) -> Result<Option<FolderFacts>, fs::FileError> {
    // A link to it has neither its owner nor its mode.
    let real = fs::real_path(path).unwrap_or_else(|_| path.to_owned());
    let own = rustix::process::geteuid().as_raw();
    Ok(fs::look_at(&real)?.map(|facts| FolderFacts {
        path: path.to_owned(),
        owner: facts.owner,
        mode: facts.mode,
        is_read_only: own == facts.owner && !facts.is_writable,
    }))
}

/// The folders in which the newest WAL is stored.
fn newest_below(wal: &Path, activity: &Activity) -> Vec<PathBuf> {
    let newest = |folder: &PathBuf| {
        activity.begin(format!("listing \"{}\"", folder.display()));
        let entries = fs::sorted_entries(folder).ok()?;
        Some(folder.join(&entries.into_iter().rfind(|entry| entry.is_directory)?.name))
    };
    std::iter::successors(Some(wal.to_owned()), newest).skip(1).take(WAL_LEVELS).collect()
}
