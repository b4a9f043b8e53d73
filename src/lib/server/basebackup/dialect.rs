//! Which form of `BASE_BACKUP` a server speaks, and what the older one leaves to be inferred.
//!
//! Up to 14 (`src/backend/replication/basebackup.c`) archives have no names: the n-th copy is that of the n-th
//! tablespace, the data directory last, and one more is the manifest.

use bytes::Bytes;

use super::{BackupTablespace, BaseBackupEvent};
use crate::pg::PgMajorVersion;

/// The first version of the newer form.
const MESSAGES_SINCE: u32 = 15;

/// A form of the command and of its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// 13 and 14: one copy for each archive and one for the manifest, each of plain bytes.
    Copies,
    /// 15 and later: one copy of typed messages.
    Messages,
}

impl Dialect {
    pub(super) fn of(major: PgMajorVersion) -> Self {
        if major.get() >= MESSAGES_SINCE { Self::Messages } else { Self::Copies }
    }
}

/// Says what is wrong with a list of tablespaces by which copies are to be told apart.
pub(super) fn check_order(tablespaces: &[BackupTablespace]) -> Result<(), &'static str> {
    let Some((data_directory, others)) = tablespaces.split_last() else { return Err("there is none") };
    if data_directory.oid.is_some() || data_directory.location.is_some() {
        return Err("the last is not the data directory");
    }
    if others.iter().any(|tablespace| tablespace.oid.is_none() || tablespace.location.is_none()) {
        return Err("one before the last has no number or no location");
    }
    Ok(())
}

/// The event that the newer form has a message for, with the name that it would have.
pub(super) fn archive_begin(tablespace: &BackupTablespace) -> BaseBackupEvent {
    let name = match tablespace.oid {
        Some(oid) => Bytes::from(format!("{oid}.tar")),
        None => Bytes::from_static(b"base.tar"),
    };
    BaseBackupEvent::ArchiveBegin { name, tablespace_path: tablespace.location.clone().unwrap_or_default() }
}
