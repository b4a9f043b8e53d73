//! The configuration, the repository and its room.

use std::time::Duration;

use super::{critical, low_room, ok, unknown, warning};
use crate::check::facts::{CheckFacts, FolderFacts, TreeFacts};
use crate::check::finding::{Finding, OpenTo, StorageFinding};
use crate::check::report::{CheckItem, CheckName};

/// A repository that is full sooner than this is critical: nobody may be there before tomorrow.
const REPOSITORY_CRITICAL: Duration = Duration::from_secs(86_400);
/// A weekend.
const REPOSITORY_WARNING: Duration = Duration::from_secs(3 * 86_400);
/// Where no rate is known: percent of the file system.
const CRITICAL_PERCENT: u64 = 2;
const WARNING_PERCENT: u64 = 10;

pub(super) fn configuration(facts: &CheckFacts) -> CheckItem {
    match &facts.configuration_file {
        Some(path) => ok(CheckName::Configuration, StorageFinding::Configuration(path.clone())),
        None => warning(CheckName::Configuration, StorageFinding::NoConfiguration),
    }
}

pub(super) fn repository(facts: &CheckFacts) -> CheckItem {
    let check = CheckName::Repository;
    let repository = match &facts.repository {
        Ok(repository) => repository,
        Err(cause) => return critical(check, StorageFinding::Unopened(cause.clone())),
    };
    if let Some(Err(cause)) = &facts.tree {
        return critical(check, StorageFinding::Unread(cause.clone()));
    }
    let below = match &repository.below {
        Ok(below) => below,
        Err(cause) => return critical(check, StorageFinding::Unread(cause.clone())),
    };
    let FolderFacts { path, owner, mode, .. } = repository.directory.clone();
    let of_server = facts.server.as_ref().ok().and_then(|server| server.owner);
    if let Some(server) = of_server.filter(|of_server| *of_server != owner) {
        return critical(check, StorageFinding::OtherOwner { path, owner, server });
    }
    if mode & 0o022 != 0 {
        critical(check, StorageFinding::Repository { path, mode, open_to: OpenTo::Writers })
    } else if let Some(wrong) = below.iter().find_map(|folder| wrong_folder(folder, &repository.directory)) {
        critical(check, wrong)
    } else if mode & 0o007 != 0 {
        warning(check, StorageFinding::Repository { path, mode, open_to: OpenTo::Readers })
    } else {
        ok(check, StorageFinding::Repository { path, mode, open_to: OpenTo::Few })
    }
}

/// What keeps the owner of a repository from a folder in it, or lets others write there. Who may read is for the
/// directory above all.
fn wrong_folder(folder: &FolderFacts, repository: &FolderFacts) -> Option<StorageFinding> {
    let FolderFacts { path, owner, mode, is_read_only } = folder.clone();
    let is_by_mode = mode & 0o700 != 0o700;
    if owner != repository.owner {
        Some(StorageFinding::FolderOwner { path, owner, repository: repository.owner })
    } else if mode & 0o022 != 0 {
        Some(StorageFinding::Repository { path, mode, open_to: OpenTo::Writers })
    } else if is_by_mode || (is_read_only && !repository.is_read_only) {
        Some(StorageFinding::FolderClosed { path, mode, is_by_mode })
    } else {
        None
    }
}

/// A file system that is read-only, full, or will be soon.
pub(super) fn repository_room(facts: &CheckFacts) -> CheckItem {
    let check = CheckName::RepositoryRoom;
    let Ok(repository) = &facts.repository else {
        return unknown(check, Finding::NotLookedAt(CheckName::Repository));
    };
    let path = repository.directory.path.clone();
    if repository.directory.is_read_only {
        return critical(check, StorageFinding::ReadOnly { path });
    }
    let available_bytes = repository.room.available_bytes;
    let tree = facts.tree.as_ref().and_then(|tree| tree.as_ref().ok());
    let lasts = tree.and_then(|tree| lasts(tree, available_bytes));
    let percent = available_bytes.saturating_mul(100) / repository.room.total_bytes.max(1);
    let less = |limit| tree.and_then(|tree| tree.rate).is_none() && percent < limit;
    let sooner = |limit| lasts.is_some_and(|lasts| lasts < limit);
    let last = tree.and_then(|tree| tree.backups.last()).map(|backup| backup.stored_bytes);
    let is_full_soon = sooner(REPOSITORY_CRITICAL) || less(CRITICAL_PERCENT);
    let is_backup_too_large = !is_full_soon && last.is_some_and(|bytes| available_bytes < bytes);
    let is_low = tree.is_some_and(|tree| available_bytes < low_room(tree.segment_size));
    let room = StorageFinding::Room { path, available_bytes, lasts, is_backup_too_large };
    if is_full_soon || is_backup_too_large {
        critical(check, room)
    } else if sooner(REPOSITORY_WARNING) || less(WARNING_PERCENT) || is_low {
        warning(check, room)
    } else {
        ok(check, room)
    }
}

/// How long the room lasts: WAL at its present rate, and a backup as often as until now.
fn lasts(tree: &TreeFacts, available: u64) -> Option<Duration> {
    let rate = tree.rate?;
    let of_wal =
        u128::from(rate.segments) * u128::from(rate.stored_bytes) * 3600 / u128::from(rate.span.as_secs().max(1));
    let of_backups = match tree.backups.as_slice() {
        [first, .., last] => {
            let stored: u64 = tree.backups.iter().skip(1).map(|backup| backup.stored_bytes).sum();
            let hours = super::age(last.stop_time, first.stop_time).as_secs() / 3600;
            // Backups within an hour say nothing of how often one is taken.
            stored.checked_div(hours).unwrap_or_default()
        }
        _ => 0,
    };
    let seconds = (u128::from(available) * 3600).checked_div(of_wal + u128::from(of_backups))?;
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX)))
}
