//! What a person can do about a repository that did not do what it was asked.

use std::error::Error;

use crate::error::{Classified, ErrorClass};
use crate::pg::shell_quote;
use crate::repository::{RepositoryError, SelectionError, WriterDescription};
use crate::store::StoreError;

const IS_IT_MOUNTED: &str = "Is its file system mounted? Only \"pgv init\" creates a repository, so nothing was written to an empty mount point.";

/// The hints for this error alone.
pub(super) fn hint(error: &(dyn Error + 'static)) -> Vec<String> {
    if let Some(error) = super::find::<SelectionError>(error) {
        return of_selection(error);
    }
    if let Some(error) = super::find::<RepositoryError>(error) {
        return of_repository(error);
    }
    super::find::<StoreError>(error).map(of_store).unwrap_or_default()
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
                let root = shell_quote(root);
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
        shell_quote(&data_directory.to_string_lossy())
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_conflict_shows_both_writers_and_the_way_out() {
        let writer = |host| WriterDescription::new(host, Path::new("/data"), jiff::Timestamp::UNIX_EPOCH);
        let error = RepositoryError::Conflict {
            name: "wal/000000010000000000000001".to_owned(),
            store: "\"/srv/pgv\"".to_owned(),
            ours: Box::new(writer("db2")),
            theirs: Some(Box::new(writer("db1"))),
            stored_at: None,
        };
        let hints = crate::cli::hints::hints(&error);
        let expected = "this one is host \"db2\", directory \"/data\", the stored file is of host \"db1\"";
        assert!(hints[0].contains(expected), "{hints:?}");
        assert!(hints[1].contains("pgv init --cluster OTHER"));
    }

    #[test]
    fn a_missing_repository_asks_whether_it_is_mounted_however_deep_it_hides() {
        let missing = || RepositoryError::Store(StoreError::RootMissing { root: "/srv/pgv".to_owned() });
        assert_eq!(crate::cli::hints::hints(&missing()), [IS_IT_MOUNTED]);
        assert_eq!(crate::cli::hints::hints(&SelectionError::Repository(missing())), [IS_IT_MOUNTED]);
    }
}
