//! What a person can do about an error: the only place where advice is written.
//!
//! Errors carry data, not advice; a hint is made here from the data of any error in the chain. Full sentences.

use std::error::Error;

use super::init::ServerNotAsked;
use super::root_guard::{RootRefused, shell_quoted};
use super::usage::UsageError;
use crate::config::{ConfigError, meaning_of};
use crate::init::InitError;
use crate::repository::RepositoryError;
use crate::store::StoreError;

/// The hints for an error and everything that caused it, outermost first, none twice.
pub(crate) fn hints(error: &(dyn Error + 'static)) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        for hint in hints_of_one(error) {
            if !found.contains(&hint) {
                found.push(hint);
            }
        }
        next = error.source();
    }
    found
}

fn hints_of_one(error: &(dyn Error + 'static)) -> Vec<String> {
    if let Some(error) = error.downcast_ref::<UsageError>() {
        return error.hints().to_vec();
    }
    if let Some(error) = error.downcast_ref::<RootRefused>() {
        return vec![
            format!("Run it as the account that owns the data directory: {}", error.command_line()),
            "To run it as root all the same, add --allow-root.".to_owned(),
        ];
    }
    if let Some(error) = error.downcast_ref::<InitError>() {
        return of_init(error);
    }
    if error.is::<ServerNotAsked>() {
        return vec!["If the server is stopped, name its data directory: --pgdata DIR.".to_owned()];
    }
    error.downcast_ref::<ConfigError>().map(of_configuration).unwrap_or_default()
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

fn of_configuration(error: &ConfigError) -> Vec<String> {
    let hint = match error {
        ConfigError::UnknownKey { nearest: Some(nearest), .. } => format!("Did you mean \"{nearest}\"?"),
        ConfigError::UnknownKey { nearest: None, .. } => "Every key is listed in docs/configuration.md.".to_owned(),
        ConfigError::InvalidValue { key, .. } => match meaning_of(key) {
            Some(meaning) => format!("\"{key}\" is {meaning}."),
            None => return Vec::new(),
        },
        ConfigError::SecretMode { path, .. } => {
            format!("Run: chmod 0600 {}", shell_quoted(path.as_os_str()))
        }
        ConfigError::SecretOwner { path, expected, .. } => {
            format!("Run as root: chown {expected} {}", shell_quoted(path.as_os_str()))
        }
        ConfigError::NoRepository => {
            "Name one with --repo, PGV_REPO or [[repo]] in pgv.toml; \"pgv init\" creates it.".to_owned()
        }
        ConfigError::NoCluster => {
            "Name one with --cluster, PGV_CLUSTER or [cluster.NAME] in pgv.toml; \"pgv init\" registers it.".to_owned()
        }
        ConfigError::SeveralClusters { .. } => "Name one with --cluster or PGV_CLUSTER.".to_owned(),
        _ => return Vec::new(),
    };
    vec![hint]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] UsageError);

    #[test]
    fn the_whole_chain_is_asked() {
        let inner = UsageError::new("inner").with_hint("Do this.").with_hint("Do this.");
        assert_eq!(hints(&Outer(inner)), ["Do this."]);
        assert!(hints(&std::io::Error::other("x")).is_empty());
    }
}
