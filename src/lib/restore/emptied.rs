//! What goes with what a killed restore left: somebody may have put things there since. Whatever neither its backup has
//! nor a restore writes is counted and named.

use std::collections::BTreeMap;

use super::content::{Content, ContentReport, Touch};
use super::error::RestoreError;
use super::places::{Places, STAGED_CONTROL_FILE};
use super::plan::RestorePlan;
use super::target_directory::DirectoryAction;
use crate::error::{Classified as _, ErrorClass};
use crate::fs::Tree;
use crate::report::{Cancel, Reporter};
use crate::repository::{BackupId, ClusterRef, FileMap, Repository};

/// LIMIT: names in the warning.
const NAMED_MAX: usize = 10;

/// What else stands in the directories that are emptied. What is too long for memory is sorted in `scratch`, else in the
/// data directory.
pub(super) fn others(
    (repository, cluster): (&Repository, &ClusterRef),
    plan: &RestorePlan,
    (reporter, cancel): (&dyn Reporter, &Cancel),
    scratch: Option<&Tree>,
) -> Result<ContentReport, RestoreError> {
    if plan.directory_action != DirectoryAction::EmptyAndFill {
        return Ok(ContentReport::default());
    }
    let mut tablespaces = BTreeMap::new();
    for tablespace in plan.tablespaces.iter().filter(|one| one.action == DirectoryAction::EmptyAndFill) {
        tablespaces.insert(tablespace.oid, Tree::open(&tablespace.path)?);
    }
    let places = Places { data: Tree::open(&plan.directory)?, tablespaces, control_file: STAGED_CONTROL_FILE };
    let scratch = scratch.unwrap_or(&places.data);
    let compared = |map: &FileMap<'_>| -> Result<ContentReport, RestoreError> {
        let content = Content::new((repository, map), (plan, &places), (reporter, cancel), 1, Touch::Nothing(scratch));
        let (removed, removed_paths) = content.others()?;
        Ok(ContentReport { removed, removed_paths, ..ContentReport::default() })
    };
    // Its backup may be another one, and that may be gone by now.
    if let Some(id) = plan.killed_backup.filter(|id| *id != plan.record.id) {
        match map_of(repository, cluster, &id).and_then(|map| compared(&map)) {
            Err(error) if error.class() == ErrorClass::Interrupted => return Err(error),
            Ok(found) => return Ok(found),
            Err(_) => reporter.warn(&format!(
                "the killed restore was of backup {id}, of which no list of files can be read: those that backup {} \
                 lacks count as not of it",
                plan.record.id
            )),
        }
    }
    compared(&repository.file_map(cluster, &plan.record)?)
}

fn map_of<'a>(
    repository: &'a Repository,
    cluster: &'a ClusterRef,
    backup: &BackupId,
) -> Result<FileMap<'a>, RestoreError> {
    Ok(repository.file_map(cluster, &repository.record(cluster, backup)?)?)
}

/// What a person must know of it.
pub(super) fn warning(others: &ContentReport) -> Option<String> {
    let named: Vec<String> =
        others.removed_paths.iter().take(NAMED_MAX).map(|path| format!("\"{}\"", path.display())).collect();
    let more = match others.removed.saturating_sub(named.len() as u64) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let (noun, is) = if others.removed == 1 { ("name", "is") } else { ("names", "are") };
    (others.removed > 0).then(|| {
        let count = others.removed;
        format!("{count} {noun} that {is} not of the killed restore {is} removed with it: {}{more}", named.join(", "))
    })
}
