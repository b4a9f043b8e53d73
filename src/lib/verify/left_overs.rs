//! What is no part of any backup or archive. It is told, and it is no damage.

use std::collections::BTreeMap;

use super::catalog::Tree;
use super::report::{VerifyLeftOver, VerifyLeftOverKind};
use crate::repository::{BackupId, ClusterRef, Repository, RepositoryError};
use crate::store::{LeftOverKind, StoreError, block_on};

/// LIMIT: left-overs that are named; the others are counted.
const NAMED_MAX: usize = 1000;

/// What was met that nothing explains.
#[derive(Debug, Default)]
pub(super) struct LeftOvers {
    named: Vec<VerifyLeftOver>,
    more: u64,
    /// Objects of backups without a record.
    unfinished: BTreeMap<(ClusterRef, BackupId), u64>,
}

impl LeftOvers {
    /// Something that nothing explains.
    pub(super) fn add(&mut self, kind: VerifyLeftOverKind, object: String) {
        self.push(VerifyLeftOver { kind, object, since: None, objects: 1 });
    }

    /// An object of a backup without a record.
    pub(super) fn of_unfinished(&mut self, cluster: &ClusterRef, backup: BackupId) {
        *self.unfinished.entry((cluster.clone(), backup)).or_default() += 1;
    }

    fn push(&mut self, left_over: VerifyLeftOver) {
        if self.named.len() < NAMED_MAX {
            self.named.push(left_over);
        } else {
            self.more += 1;
        }
    }

    /// All of them, with those that the store tells of, and why it could not. Only a store that is gone is an error.
    pub(super) fn finish(
        mut self,
        repository: &Repository,
        trees: &[Tree],
        with_store: bool,
    ) -> Result<(Vec<VerifyLeftOver>, u64, Option<RepositoryError>), RepositoryError> {
        for ((cluster, backup), objects) in std::mem::take(&mut self.unfinished) {
            let tree = trees.iter().find(|tree| tree.cluster == cluster);
            let unfinished = tree.and_then(|tree| tree.unfinished.get(&backup));
            if unfinished.is_some_and(|unfinished| unfinished.record_missing) {
                continue;
            }
            let host = unfinished.and_then(|unfinished| unfinished.host.as_ref());
            let object = match host {
                Some(host) => format!("backup {backup} of cluster {cluster}, begun on \"{host}\""),
                None => format!("backup {backup} of cluster {cluster}"),
            };
            let since = unfinished.and_then(|unfinished| unfinished.began);
            let kind = match unfinished.is_some_and(|unfinished| unfinished.record_unclear) {
                true => VerifyLeftOverKind::RecordlessBackup,
                false => VerifyLeftOverKind::UnfinishedBackup,
            };
            self.push(VerifyLeftOver { kind, object, since, objects });
        }
        let mut problem = None;
        if with_store {
            let found = match block_on(repository.store().left_overs(NAMED_MAX)) {
                Err(error @ StoreError::RootMissing { .. }) => return Err(error.into()),
                Err(error) => {
                    problem = Some(error.into());
                    Vec::new()
                }
                Ok(found) => found,
            };
            for left_over in found {
                let kind = match left_over.kind {
                    LeftOverKind::ForeignName => VerifyLeftOverKind::Stray,
                    LeftOverKind::Staged => VerifyLeftOverKind::Staged,
                };
                let (object, since) = (left_over.name, left_over.modified);
                self.push(VerifyLeftOver { kind, object, since, objects: 1 });
            }
        }
        Ok((self.named, self.more, problem))
    }
}
