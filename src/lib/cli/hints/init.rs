//! Hints about setting up.

use std::error::Error;

use super::super::init::ServerNotAsked;
use crate::cli::typed::Typed;
use crate::init::InitError;
use crate::server::ConnectError;
use crate::store::StoreError;

pub(super) fn hint(error: &(dyn Error + 'static), typed: &Typed) -> Vec<String> {
    if let Some(ServerNotAsked(source)) = error.downcast_ref::<ServerNotAsked>() {
        // One that answers is not stopped.
        if !matches!(**source, ConnectError::Unreachable { .. } | ConnectError::AllFailed { .. }) {
            return Vec::new();
        }
        return vec!["If the server is stopped, name its data directory: --pgdata DIR.".to_owned()];
    }
    let Some(error) = super::find::<InitError>(error) else { return Vec::new() };
    let hint = match error {
        InitError::Repository(error) => return super::repository::hint(error, typed),
        InitError::Store(StoreError::File { source, .. }) if source.action == "create directory" => {
            "The directory above the repository must exist, and this account must be able to write to it.".to_owned()
        }
        InitError::Store(error) => return super::repository::hint(error, typed),
        InitError::NotEmpty { .. } => "Name a directory of its own; pgv creates it.".to_owned(),
        InitError::SeveralRepositories { .. } => {
            "Take out of it what belongs to another repository, or put \"repository.json\" back from a copy.".to_owned()
        }
        InitError::OtherCluster { .. } => {
            "Name the server or data directory that these backups are of, or put \"identity\" back from a copy of the \
             repository."
                .to_owned()
        }
        InitError::InsideDataDirectory { .. } => {
            "Name a directory outside of it, best on another machine's disks.".to_owned()
        }
        InitError::PinnedMissing { .. } => {
            "Is its file system mounted? To begin a new repository there, remove its id from the configuration."
                .to_owned()
        }
        InitError::OtherName { registered, .. } => {
            format!("Use that name: --cluster {registered}. To register a copy, choose its name with --cluster.")
        }
        InitError::Untold { .. } => "Connect as a superuser, or name the data directory: --pgdata DIR.".to_owned(),
        InitError::NoPlaceForConfiguration => "Name one: --config FILE.".to_owned(),
        InitError::ConfigurationAppeared { .. } => "Run pgv init again: it uses that file.".to_owned(),
        _ => return Vec::new(),
    };
    vec![hint]
}
