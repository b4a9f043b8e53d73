//! Hints about setting up.

use std::error::Error;

use crate::cli::init::ServerNotAsked;
use crate::init::InitError;
use crate::repository::RepositoryError;
use crate::store::StoreError;

pub(super) fn hint(error: &(dyn Error + 'static)) -> Vec<String> {
    if let Some(error) = super::find::<InitError>(error) {
        return of_init(error);
    }
    if super::find::<ServerNotAsked>(error).is_some() {
        return vec!["If the server is stopped, name its data directory: --pgdata DIR.".to_owned()];
    }
    Vec::new()
}

fn of_init(error: &InitError) -> Vec<String> {
    let hint = match error {
        InitError::Repository(RepositoryError::OtherSystem { cluster, .. }) => {
            format!("After pg_upgrade or a rebuild, accept the new one: pgv init --cluster {cluster} --upgraded")
        }
        InitError::Repository(RepositoryError::OtherRepository { .. }) => {
            "Another repository is mounted there, or the configuration is out of date.".to_owned()
        }
        InitError::Store(StoreError::File { source, .. }) if source.action == "create directory" => {
            format!("The directory above it must exist and belong to this account: {}", source.path.display())
        }
        InitError::NotEmpty { .. } => "Name a directory of its own; pgv creates it.".to_owned(),
        InitError::InsideDataDirectory { .. } => {
            "Name a directory outside of it, best on another machine's disks.".to_owned()
        }
        InitError::PinnedMissing { .. } => {
            "Is it mounted? To begin a new repository there, remove the id from the configuration.".to_owned()
        }
        InitError::OtherName { registered, .. } => format!(
            "Use that name: --cluster {registered}. A copy that archives on its own needs a repository of its own."
        ),
        InitError::Untold { .. } => "Connect as a superuser, or name the data directory: --pgdata DIR.".to_owned(),
        InitError::NoPlaceForConfiguration => "Name one: --config FILE.".to_owned(),
        InitError::ConfigurationAppeared { .. } => "Run pgv init again: it uses that file.".to_owned(),
        _ => return Vec::new(),
    };
    vec![hint]
}
