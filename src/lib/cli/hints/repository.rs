//! Hints about repositories and the clusters in them.

use std::error::Error;
use std::path::Path;

use crate::cli::typed::Typed;
use crate::error::{Classified as _, ErrorClass};
use crate::pg::shell_quote;
use crate::repository::{RepositoryError, SelectionError, WriterDescription};
use crate::store::StoreError;

const MOUNTED: &str = "Is its file system mounted? A new repository is created by \"pgv init\" and nothing else.";

pub(super) fn hint(error: &(dyn Error + 'static), typed: &Typed) -> Vec<String> {
    if let Some(error) = super::find::<SelectionError>(error) {
        return of_selection(error, typed);
    }
    if let Some(error) = super::find::<RepositoryError>(error) {
        return of_repository(error, typed);
    }
    super::find::<StoreError>(error).map(of_store).unwrap_or_default()
}

fn of_store(error: &StoreError) -> Vec<String> {
    match error {
        StoreError::RootMissing { .. } => vec![MOUNTED.to_owned()],
        StoreError::NotAFile { .. } => vec![
            "pgv did not put it there: take it away, and put the file back from a copy of the repository.".to_owned(),
        ],
        StoreError::File { root, source } if source.class() == ErrorClass::PermissionDenied => {
            let uid = rustix::process::geteuid().as_raw();
            vec![format!(
                "Everything in a repository must belong to the account that writes it. Run as root: chown -R {uid} {}",
                shell_quote(root)
            )]
        }
        _ => Vec::new(),
    }
}

fn of_selection(error: &SelectionError, typed: &Typed) -> Vec<String> {
    let hint = match error {
        SelectionError::Repository(error) => return of_repository(error, typed),
        SelectionError::UnknownSystem { .. } => {
            "\"pgv init --cluster NAME\" registers this cluster; --upgraded when NAME had another system identifier \
             before."
        }
        SelectionError::Ambiguous { .. } => {
            "Name it with --cluster or PGV_CLUSTER: in archive_command the one whose data directory this is, for a copy \
             has a name of its own; in restore_command the one that the backup is of."
        }
        SelectionError::NoCluster { .. } => "\"pgv init --cluster NAME\" registers one.",
    };
    vec![hint.to_owned()]
}

fn of_repository(error: &RepositoryError, typed: &Typed) -> Vec<String> {
    let hint = match error {
        RepositoryError::Store(error) => return of_store(error),
        RepositoryError::Conflict { ours, theirs, .. } => return of_conflict(ours, theirs.as_deref(), typed),
        RepositoryError::NotARepository { .. } => MOUNTED.to_owned(),
        RepositoryError::OtherRepository { .. } => {
            "If another repository is meant now, correct url and id of [[repo]] in pgv.toml.".to_owned()
        }
        RepositoryError::NewerFormat { .. }
        | RepositoryError::UnknownFeature { .. }
        | RepositoryError::NewerObject { .. } => "Install the version of pgv that wrote it, or a newer one.".to_owned(),
        RepositoryError::OtherSystem { cluster, .. } => {
            format!("After pg_upgrade or a rebuild: {}", typed.verb("init", &format!("--cluster {cluster} --upgraded")))
        }
        RepositoryError::UnknownCluster { cluster, .. } => {
            format!("\"pgv init --cluster {cluster}\" registers it; \"pgv info\" shows the ones that are there.")
        }
        _ => return Vec::new(),
    };
    vec![hint]
}

/// Both writers, and how to be archiving again at once.
fn of_conflict(ours: &WriterDescription, theirs: Option<&WriterDescription>, typed: &Typed) -> Vec<String> {
    let stored_by = theirs.map(|theirs| format!("It was stored by {theirs}; this is {ours}."));
    let same = theirs.is_some_and(|theirs| theirs.host == ours.host && theirs.directory == ours.directory);
    let situation = if same {
        "This directory was restored or rolled back and writes its history anew under the old names."
    } else {
        "Two servers write under one name; the one that is not the original needs a name of its own."
    };
    stored_by.into_iter().chain([situation.to_owned(), own_name(&ours.directory, typed)]).collect()
}

/// How a copy of a server is archiving again in a minute.
pub(super) fn own_name(data_directory: &Path, typed: &Typed) -> String {
    format!(
        "To archive this one under another name: {}, then --cluster NEW in its archive_command, then SELECT \
         pg_reload_conf(). To archive it nowhere: archive_mode = off, then restart it.",
        typed.verb("init", &format!("--cluster NEW -D {}", shell_quote(&data_directory.to_string_lossy())))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let hints = crate::cli::hints::hints(&error, &Typed::default());
        assert_eq!(
            hints[0],
            "It was stored by host \"db1\", directory \"/data\"; this is host \"db2\", directory \"/data\"."
        );
        assert!(hints[1].starts_with("Two servers write under one name"));
        assert!(hints[2].contains("pgv init --cluster NEW -D /data, then --cluster NEW"));
    }

    #[test]
    fn a_missing_repository_asks_whether_it_is_mounted_however_deep_it_hides() {
        let missing = || RepositoryError::Store(StoreError::RootMissing { root: "/srv/pgv".to_owned() });
        assert_eq!(crate::cli::hints::hints(&missing(), &Typed::default()), [MOUNTED]);
        assert_eq!(crate::cli::hints::hints(&SelectionError::Repository(missing()), &Typed::default()), [MOUNTED]);
    }
}
