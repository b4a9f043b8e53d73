//! Hints about settings and files.

use std::error::Error;

use crate::cli::typed::Typed;
use crate::config::{ConfigError, meaning_of};
use crate::fs::FileError;
use crate::pg::shell_quote;

pub(super) fn hint(error: &(dyn Error + 'static), _: &Typed) -> Vec<String> {
    if let Some(error) = super::find::<FileError>(error) {
        return of_file(error);
    }
    let Some(error) = super::find::<ConfigError>(error) else { return Vec::new() };
    let hint = match error {
        ConfigError::UnknownKey { nearest: Some(nearest), .. } => format!("Did you mean \"{nearest}\"?"),
        ConfigError::UnknownKey { nearest: None, .. } => "Every key is listed in docs/configuration.md.".to_owned(),
        ConfigError::InvalidValue { key, .. } => match meaning_of(key) {
            Some(meaning) => format!("\"{key}\" is {meaning}."),
            None => return Vec::new(),
        },
        ConfigError::SecretMode { path, .. } => format!("Run: chmod 0600 {}", shell_quote(&path.to_string_lossy())),
        ConfigError::SecretOwner { path, expected, .. } => {
            format!("Run as root: chown {expected} {}", shell_quote(&path.to_string_lossy()))
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

pub(super) fn of_file(error: &FileError) -> Vec<String> {
    use std::io::ErrorKind;
    let hint = match error.source.kind() {
        ErrorKind::PermissionDenied => {
            let uid = rustix::process::geteuid().as_raw();
            format!("This runs with uid {uid}; \"namei -l {}\" shows who may go there.", error.path.display())
        }
        ErrorKind::StorageFull => format!("\"df -h {}\" shows the room that is left.", error.path.display()),
        ErrorKind::QuotaExceeded => "The quota of this account is used up.".to_owned(),
        ErrorKind::ReadOnlyFilesystem => {
            "The file system is mounted read-only; the kernel log may say that it became so after an error.".to_owned()
        }
        _ => return Vec::new(),
    };
    vec![hint]
}
