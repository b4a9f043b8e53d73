//! `pgv pin` and `pgv unpin`: a backup that somebody wants to keep, whatever retention says.
//!
//! A pin is an object of a new name each time, so nothing is ever stored twice under one name; taking pins away is
//! deleting them. ORDER: the pin is stored first, and what became of the backup is read then.

use super::error::ExpireError;
use super::facts::trees_of;
use crate::clock::Clock;
use crate::repository::{BackupId, BackupNote, ClusterName, ClusterRef, Repository};

/// Which backup.
#[derive(Debug, Clone)]
pub struct PinOptions {
    /// Whose backup it may be.
    pub clusters: Vec<ClusterName>,
    /// Its id.
    pub backup: BackupId,
    /// This host's name.
    pub host: String,
}

/// What pinning came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pinned {
    /// It is pinned now.
    Now {
        /// Whether retention has marked it before. A run that read the pins just before this one was set may be about to
        /// delete it still, unless a lock keeps such a run out.
        is_marked: bool,
    },
    /// It was pinned already, and nothing was done.
    Before,
}

/// What unpinning came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unpinned {
    /// It was pinned, and is no more.
    Now {
        /// Whether retention has marked it before: then it goes with the first run that finds no rule for it.
        is_marked: bool,
    },
    /// It was not pinned.
    Never,
}

/// Keeps a backup from being deleted.
pub fn pin(
    repository: &Repository,
    options: &PinOptions,
    reason: &str,
    clock: &dyn Clock,
) -> Result<Pinned, ExpireError> {
    let Found { cluster, pins, .. } = find(repository, options)?;
    if !pins.is_empty() {
        return Ok(Pinned::Before);
    }
    let now = clock.now();
    let writer = super::writer(repository, &options.host, now);
    let note = BackupNote { id: options.backup, host: options.host.clone(), set: now, reason: reason.to_owned() };
    repository.pin_backup(&cluster, &note, &writer)?;
    let state = repository.backup_state(&cluster, &options.backup)?;
    match state.is_listed() {
        true => Ok(Pinned::Now { is_marked: state.doubt }),
        false => Err(ExpireError::IsGone { backup: options.backup }),
    }
}

/// Takes every pin of a backup away.
pub fn unpin(repository: &Repository, options: &PinOptions) -> Result<Unpinned, ExpireError> {
    let Found { cluster, pins, is_marked } = find(repository, options)?;
    for name in &pins {
        repository.delete_object(&repository.backup_object_key(&cluster, &options.backup, name)?)?;
    }
    Ok(if pins.is_empty() { Unpinned::Never } else { Unpinned::Now { is_marked } })
}

/// A listed backup.
struct Found {
    cluster: ClusterRef,
    /// The names of its pins.
    pins: Vec<String>,
    is_marked: bool,
}

fn find(repository: &Repository, options: &PinOptions) -> Result<Found, ExpireError> {
    for (cluster, _) in trees_of(repository, &options.clusters)? {
        let folders = repository.backup_folders(&cluster)?;
        match folders.get(&options.backup) {
            Some(folder) if folder.state.gone => return Err(ExpireError::IsGone { backup: options.backup }),
            Some(folder) if folder.state.is_listed() => {
                let pins = repository.pins(&cluster, &options.backup, folder)?;
                let pins = pins.into_iter().map(|(name, _)| name).collect();
                return Ok(Found { cluster, pins, is_marked: folder.state.doubt });
            }
            _ => {}
        }
    }
    Err(ExpireError::UnknownBackup { backup: options.backup, store: repository.describe() })
}
