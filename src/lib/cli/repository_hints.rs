//! What a person can do about a repository that did not do what it was asked.

use std::error::Error;

use super::root_guard::shell_quoted;
use crate::error::{Classified, ErrorClass};
use crate::repository::{RepositoryError, SelectionError, WriterDescription};
use crate::store::StoreError;

const IS_IT_MOUNTED: &str = "Is its file system mounted? Only \"pgv init\" creates a repository, so nothing was written to an empty mount point.";

/// The hints for this error alone.
pub(super) fn of(error: &(dyn Error + 'static)) -> Option<Vec<String>> {
    if let Some(error) = error.downcast_ref::<SelectionError>() {
        return Some(of_selection(error));
    }
    if let Some(error) = error.downcast_ref::<RepositoryError>() {
        return Some(of_repository(error));
    }
    error.downcast_ref::<StoreError>().map(of_store)
}

fn of_selection(error: &SelectionError) -> Vec<String> {
    let hint = match error {
        // It shows itself as the repository's error, so it is not in the chain by itself.
        SelectionError::Repository(error) => return of_repository(error),
        SelectionError::UnknownSystem { .. } | SelectionError::NoCluster { .. } => {
            "Register the cluster: pgv init --cluster NAME"
        }
        SelectionError::Ambiguous { .. } => "Name one with --cluster or PGV_CLUSTER.",
    };
    vec![hint.to_owned()]
}

fn of_repository(error: &RepositoryError) -> Vec<String> {
    let hint = match error {
        RepositoryError::Store(error) => return of_store(error),
        RepositoryError::Conflict { ours, theirs, .. } => return of_conflict(ours, theirs.as_deref()),
        RepositoryError::NotARepository { .. } => IS_IT_MOUNTED.to_owned(),
        RepositoryError::OtherRepository { .. } => {
            "If the repository was replaced on purpose, change id in [[repo]] of pgv.toml, or PGV_REPO_ID.".to_owned()
        }
        RepositoryError::NewerFormat { .. }
        | RepositoryError::UnknownFeature { .. }
        | RepositoryError::NewerObject { .. } => {
            format!("Install the pgv that wrote it, or a newer one; this is pgv {}.", env!("CARGO_PKG_VERSION"))
        }
        RepositoryError::UnknownCluster { cluster, .. } => format!("Register it: pgv init --cluster {cluster}"),
        RepositoryError::OtherSystem { cluster, .. } => {
            return vec![
                format!("After pg_upgrade or a rebuild: pgv init --cluster {cluster} --upgraded"),
                "Another cluster needs a name of its own: pgv init --cluster OTHER".to_owned(),
            ];
        }
        _ => return Vec::new(),
    };
    vec![hint]
}

fn of_store(error: &StoreError) -> Vec<String> {
    let hint = match error {
        StoreError::RootMissing { .. } => IS_IT_MOUNTED.to_owned(),
        StoreError::File { root, source } => match source.class() {
            ErrorClass::NoSpace => format!("The file system of \"{root}\" is full: make room there."),
            ErrorClass::ReadOnly => format!("The file system of \"{root}\" is mounted read-only."),
            ErrorClass::PermissionDenied => {
                let uid = rustix::process::geteuid().as_raw();
                let root = shell_quoted(root.as_ref());
                format!(
                    "Everything in it must belong to the account that runs this. Run as root: chown -R {uid} {root}"
                )
            }
            _ => return Vec::new(),
        },
        _ => return Vec::new(),
    };
    vec![hint]
}

fn of_conflict(ours: &WriterDescription, theirs: Option<&WriterDescription>) -> Vec<String> {
    let is_same = theirs.is_some_and(|theirs| theirs.host == ours.host && theirs.directory == ours.directory);
    let situation = match theirs {
        Some(_) if is_same => format!(
            "This server ({ours}) stored another content under this name before: it was restored or copied back \
             without a new timeline. What is stored stays as it is."
        ),
        Some(theirs) => format!(
            "Two servers archive as one: this one is {ours}, the stored file is of {theirs}. What is stored stays as \
             it is."
        ),
        None => format!("This server is {ours}; who stored the other content is not known. It stays as it is."),
    };
    vec![situation, own_name(&ours.directory)]
}

/// How a copy of a server is archiving again in a minute.
pub(super) fn own_name(data_directory: &std::path::Path) -> String {
    format!(
        "If this server is a copy (a clone, a restored or a test server), give it a name of its own: pgv init --cluster \
         OTHER -D {}; then set archive_command = 'pgv-archive --cluster OTHER %p %f' and run SELECT pg_reload_conf(). \
         Or set archive_mode = off and restart it.",
        shell_quoted(data_directory.as_os_str())
    )
}
