//! What a listed backup lacks: its root, or packs that it needs. The one notion of that for all who ask which backups are
//! good.
//!
//! Names and sizes tell; no content is read. INVARIANT: a backup that lacks anything cannot be restored; one that lacks
//! nothing may still be damaged inside, which `pgv verify` finds.

use std::collections::BTreeMap;
use std::fmt;

use super::BackupId;
use super::record::{BackupNeeds, BackupRecord};
use crate::codec::HEADER_BYTES;
use crate::repository::error::RepositoryError;
use crate::repository::pack::PackNeed;
use crate::repository::{ClusterRef, Repository, layout};
use crate::store::{ObjectKey, block_on};

/// Something without which a backup cannot be restored, and that is not in the repository as it was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// The root of its file map.
    Root,
    /// A pack that is not there.
    Pack {
        /// The backup that wrote it.
        backup: BackupId,
        /// Which of that backup's packs it is.
        ordinal: u32,
    },
    /// A pack of another size than it was stored with.
    PackSize {
        /// The backup that wrote it.
        backup: BackupId,
        /// Which of that backup's packs it is.
        ordinal: u32,
        /// The size it should have.
        expected: u64,
        /// The size it has.
        found: u64,
    },
}

impl Lack {
    /// The pack that it is about.
    pub fn pack(&self) -> Option<(BackupId, u32)> {
        match self {
            Self::Root => None,
            Self::Pack { backup, ordinal } | Self::PackSize { backup, ordinal, .. } => Some((*backup, *ordinal)),
        }
    }

    /// What is wrong with a pack of which so many bytes are stored, if there is one.
    pub(crate) fn of_pack(need: &PackNeed, stored: Option<u64>) -> Option<Self> {
        let (backup, ordinal) = (need.backup, need.ordinal);
        let expected = need.body_bytes.saturating_add(HEADER_BYTES as u64);
        match stored {
            None => Some(Self::Pack { backup, ordinal }),
            Some(found) if found != expected => Some(Self::PackSize { backup, ordinal, expected, found }),
            Some(_) => None,
        }
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => write!(f, "its root"),
            Self::Pack { backup, ordinal } => write!(f, "pack {}", pack_name(*backup, *ordinal)),
            Self::PackSize { backup, ordinal, expected, found } => {
                write!(f, "pack {}, of which {found} of {expected} bytes are there", pack_name(*backup, *ordinal))
            }
        }
    }
}

/// How answers name a pack: as it lies below the packs of its cluster.
pub(crate) fn pack_name(backup: BackupId, ordinal: u32) -> String {
    format!("{backup}/{ordinal:08}")
}

/// Looks for what backups of a tree lack. Each pack is looked for once, however many need it.
pub(crate) struct LackSearch<'a> {
    repository: &'a Repository,
    cluster: &'a ClusterRef,
    stored: BTreeMap<(BackupId, u32), Option<u64>>,
}

impl<'a> LackSearch<'a> {
    pub(crate) fn new(repository: &'a Repository, cluster: &'a ClusterRef) -> Self {
        Self { repository, cluster, stored: BTreeMap::new() }
    }

    /// What a backup lacks. Without its table of packs nobody knows what it needs: that is an error.
    pub(crate) fn of(&mut self, record: &BackupRecord) -> Result<Vec<Lack>, RepositoryError> {
        let needs = self.repository.backup_needs(self.cluster, record)?;
        self.with_needs(record, &needs)
    }

    /// The same, where its table of packs was read.
    pub(crate) fn with_needs(
        &mut self,
        record: &BackupRecord,
        needs: &BackupNeeds,
    ) -> Result<Vec<Lack>, RepositoryError> {
        let root = self.repository.backup_object_key(self.cluster, &record.id, layout::ROOT)?;
        let mut lacks = Vec::new();
        if self.stored(&root)?.is_none() {
            lacks.push(Lack::Root);
        }
        for need in &needs.packs {
            lacks.extend(Lack::of_pack(need, self.stored_pack(need)?));
        }
        Ok(lacks)
    }

    fn stored_pack(&mut self, need: &PackNeed) -> Result<Option<u64>, RepositoryError> {
        let name = (need.backup, need.ordinal);
        if let Some(known) = self.stored.get(&name) {
            return Ok(*known);
        }
        let stored = self.stored(&self.repository.pack_key(self.cluster, &need.backup, need.ordinal)?)?;
        self.stored.insert(name, stored);
        Ok(stored)
    }

    fn stored(&self, key: &ObjectKey) -> Result<Option<u64>, RepositoryError> {
        match block_on(self.repository.store().size(key)).map_err(RepositoryError::from) {
            Ok(size) => Ok(Some(size)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}
