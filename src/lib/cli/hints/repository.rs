//! Hints about repositories and the clusters in them.

use std::error::Error;
use std::path::{Path, PathBuf};

use crate::cli::typed::Typed;
use crate::error::{Classified as _, ErrorClass};
use crate::fs;
use crate::pg::shell_quote;
use crate::repository::{RepositoryError, SelectionError, StoredInConflict, StoredObject, WriterDescription};
use crate::store::{ObjectKey, StoreError};

const MOUNTED: &str = "Is its file system mounted? A new repository is created by \"pgv init\" and nothing else.";

/// What makes room in a repository.
pub(super) const MAKE_ROOM: &str =
    "\"pgv expire\" shows which backups and WAL may go; delete no file of the repository by hand.";

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
            vec![Denied::look(root, &source.path).words()]
        }
        _ => Vec::new(),
    }
}

/// Who was refused what in a repository. Of one that another account keeps, the advice must never be to take it away.
#[derive(Debug)]
struct Denied<'a> {
    root: &'a str,
    account: u32,
    /// Whose the repository is, where that can be seen.
    owner: Option<u32>,
    /// What there is of the path that was refused, and whose it is.
    place: Option<(PathBuf, u32)>,
}

impl<'a> Denied<'a> {
    fn look(root: &'a str, refused: &Path) -> Self {
        let owner_of = |path: &Path| fs::look_at(path).ok().flatten().map(|facts| facts.owner);
        let mut above = refused.ancestors().take_while(|above| above.starts_with(root));
        Self {
            root,
            account: rustix::process::geteuid().as_raw(),
            owner: fs::real_path(Path::new(root)).ok().and_then(|real| owner_of(&real)),
            place: above.find_map(|path| Some((path.to_owned(), owner_of(path)?))),
        }
    }

    fn words(&self) -> String {
        let Self { root, account, owner, place } = self;
        let root = shell_quote(root);
        let chown = format!("chown -R {account} {root}");
        match (*owner, place) {
            (None, _) => "Run it as the account that owns the repository.".to_owned(),
            (Some(owner), Some((place, of_place))) if owner == *account && of_place == account => {
                let place = shell_quote(&place.to_string_lossy());
                format!("It belongs to this account, whose rights were taken away: chmod u+rwX {place}")
            }
            (Some(owner), _) if owner == *account => {
                format!("Everything in a repository must belong to the account that writes it. Run as root: {chown}")
            }
            (Some(0), _) => format!(
                "It belongs to root, and must belong to the account whose server archives into it. If that is this \
                 account (user {account}), run as root: {chown}"
            ),
            (Some(owner), _) => super::as_owner(self.root, owner),
        }
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
        // What to do about a longer one is said of its file.
        RepositoryError::Conflict { ours, theirs, stored, .. } => {
            let mut hints = of_conflict(ours, theirs.as_deref(), typed);
            match stored.as_deref() {
                Some(StoredInConflict::Shorter(_)) => hints.clear(),
                Some(StoredInConflict::LoneHistory(key)) => hints.push(of_lone_history(key)),
                None => {}
            }
            return hints;
        }
        RepositoryError::NotARepository { .. } => MOUNTED.to_owned(),
        RepositoryError::OtherRepository { .. } => {
            "If another repository is meant now, correct url and id of [[repo]] in pgv.toml; if not, \"pgv verify\" says \
             whether \"repository.json\" is damaged."
                .to_owned()
        }
        RepositoryError::NewerFormat { .. } => {
            "Install the version of pgv that wrote it, or a newer one. If none ever wrote there, \"repository.json\" is \
             damaged: docs/pitr.md says how to get it back."
                .to_owned()
        }
        RepositoryError::Damaged { key, .. } => match StoredObject::of_key(key) {
            Some(StoredObject::Description) => anew(key, &typed.verb("init", "")),
            Some(StoredObject::Identity(cluster)) => {
                anew(key, &typed.verb("init", &format!("--cluster {}", cluster.name)))
            }
            _ => return Vec::new(),
        },
        RepositoryError::UnknownFeature { .. }
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

/// How an object comes back of which the others say all that it said.
fn anew(key: &ObjectKey, init: &str) -> String {
    format!(
        "If \"{key}\" is still there, move it out of the repository; then \"{}\", on the server's host, writes it anew.",
        init.trim_end()
    )
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

/// A history without WAL may have come from a server that was never meant to archive here.
fn of_lone_history(stored: &ObjectKey) -> String {
    format!(
        "The archive has no WAL of the timeline of that history. When no server is on it, move object \"{stored}\" out of \
         the repository: the next try stores this one in its place."
    )
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
        let error = |lone_history: Option<&str>| RepositoryError::Conflict {
            name: "wal/000000010000000000000001".into(),
            store: "\"/srv/pgv\"".to_owned(),
            ours: Box::new(writer("db2")),
            theirs: Some(Box::new(writer("db1"))),
            stored_at: None,
            stored: lone_history.map(|key| Box::new(StoredInConflict::LoneHistory(ObjectKey::parse(key).unwrap()))),
        };
        let hints_of = |error| crate::cli::hints::hints(&error, &Typed::default());
        let hints = hints_of(error(None));
        assert_eq!(hints.len(), 3);
        let of_lone = hints_of(error(Some("main/7/history/00000002.history")));
        assert_eq!(of_lone[..3], hints);
        assert!(of_lone[3].contains("move object \"main/7/history/00000002.history\" out"), "{of_lone:?}");
        assert_eq!(
            hints[0],
            "It was stored by host \"db1\", directory \"/data\"; this is host \"db2\", directory \"/data\"."
        );
        assert!(hints[1].starts_with("Two servers write under one name"));
        assert!(hints[2].contains("pgv init --cluster NEW -D /data, then --cluster NEW"));
    }

    #[test]
    fn a_repository_is_never_taken_from_the_account_that_keeps_it() {
        let (unknown, ours, root) = (u32::MAX - 7, 1000, 0);
        let words = |owner: Option<u32>, of_place: Option<u32>| {
            let place = of_place.map(|owner| (PathBuf::from("/srv/it's/.staging"), owner));
            Denied { root: "/srv/it's", account: ours, owner, place }.words()
        };
        let chown = r"chown -R 1000 '/srv/it'\''s'";
        let left_over = words(Some(ours), Some(root));
        assert!(left_over.ends_with(&format!("Run as root: {chown}")), "{left_over}");
        let of_root = words(Some(root), Some(root));
        assert!(of_root.contains(&format!("If that is this account (user 1000), run as root: {chown}")), "{of_root}");
        let taken = words(Some(ours), Some(ours));
        assert!(taken.ends_with(r"chmod u+rwX '/srv/it'\''s/.staging'"), "{taken}");
        let name = crate::config::account_name(2).unwrap();
        let named = words(Some(2), Some(2));
        assert_eq!(named, format!(r"Run it as the owner of '/srv/it'\''s': runuser -u {name} -- ..."));
        for others in [named, words(Some(unknown), None), words(Some(unknown), Some(ours)), words(None, Some(ours))] {
            assert!(others.starts_with("Run it as ") && !others.contains("chown"), "{others}");
        }
    }

    #[test]
    fn the_owner_of_a_repository_is_that_of_the_directory_behind_a_link() {
        let temp = tempfile::tempdir().unwrap();
        let link = temp.path().join("link");
        std::os::unix::fs::symlink("/", &link).unwrap();
        let denied = Denied::look(link.to_str().unwrap(), &link.join("no/such/thing"));
        assert_eq!(denied.owner, Some(0), "{denied:?}");
    }

    #[test]
    fn a_missing_repository_asks_whether_it_is_mounted_however_deep_it_hides() {
        let missing = || RepositoryError::Store(StoreError::RootMissing { root: "/srv/pgv".to_owned() });
        assert_eq!(crate::cli::hints::hints(&missing(), &Typed::default()), [MOUNTED]);
        assert_eq!(crate::cli::hints::hints(&SelectionError::Repository(missing()), &Typed::default()), [MOUNTED]);
    }
}
