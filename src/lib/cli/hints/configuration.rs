//! Hints about settings and files.

use std::error::Error;
use std::path::Path;

use crate::cli::typed::Typed;
use crate::config::{ConfigError, meaning_of};
use crate::fs::FileError;
use crate::pg::shell_quote;

/// What the names of files begin with that are being written.
const STAGED_PREFIX: &str = ".pgv-staged-";

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
        ConfigError::SecretMode { path, owner, .. } => of_secret_mode(path, *owner),
        // The programs of the account that owns it may need it as it is.
        ConfigError::SecretOwner { path, owner, .. } => {
            return vec![
                super::as_owner(&path.to_string_lossy(), *owner),
                "Or give this account a file of its own: --config, --env-file.".to_owned(),
            ];
        }
        ConfigError::NoFile { what: "configuration file", .. } => {
            "\"pgv init --repo DIR --cluster NAME\" writes it, beside a repository.".to_owned()
        }
        ConfigError::NotRegular { .. } => {
            "Pipes are not read, <(...) of a shell neither: write the settings into a file.".to_owned()
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

/// What is root's could not be read any more.
fn of_secret_mode(path: &Path, owner: u32) -> String {
    let account = rustix::process::geteuid().as_raw();
    let path = shell_quote(&path.to_string_lossy());
    match owner == account {
        true => format!("Run: chmod 0600 {path}"),
        false => format!("Run as root: chown {account} {path} && chmod 0600 {path}"),
    }
}

/// The path, or for a file that was being written under a name of ours the directory: the file is gone again.
fn lasting(path: &Path) -> &Path {
    let is_staged = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with(STAGED_PREFIX);
    match path.parent() {
        Some(directory) if path.file_name().is_some_and(is_staged) => directory,
        _ => path,
    }
}

pub(super) fn of_file(error: &FileError) -> Vec<String> {
    use std::io::ErrorKind;
    let hint = match error.source.kind() {
        ErrorKind::PermissionDenied => {
            let uid = rustix::process::geteuid().as_raw();
            format!("This runs with uid {uid}; \"namei -l {}\" shows who may go there.", error.path.display())
        }
        ErrorKind::StorageFull => format!("\"df -h {}\" shows the room that is left.", lasting(&error.path).display()),
        ErrorKind::FileTooLarge => {
            "A limit on the size of files is in force (ulimit -f, LimitFSIZE of a unit), or the file system has one."
                .to_owned()
        }
        ErrorKind::CrossesDevices => {
            "It cannot be renamed within its directory, as on some overlays, and was not changed: move it away yourself, \
             or name another directory."
                .to_owned()
        }
        ErrorKind::QuotaExceeded => "The quota of this account is used up.".to_owned(),
        ErrorKind::ReadOnlyFilesystem => {
            "The file system is mounted read-only; the kernel log may say that it became so after an error.".to_owned()
        }
        _ => return Vec::new(),
    };
    vec![hint]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_a_password_is_not_taken_from_its_owner() {
        let error = ConfigError::SecretOwner { path: "/etc/pgv/pgv.env".into(), owner: 2, expected: 1000 };
        let hints = hint(&error, &Typed::default());
        let name = crate::config::account_name(2).unwrap();
        assert_eq!(hints[0], format!("Run it as the owner of /etc/pgv/pgv.env: runuser -u {name} -- ..."));
        assert!(!hints.concat().contains("chown"), "{hints:?}");
    }

    #[test]
    fn a_file_with_a_password_stays_readable_once_its_mode_is_right() {
        let account = rustix::process::geteuid().as_raw();
        let hint = |owner| hint(&ConfigError::SecretMode { path: "/x".into(), owner, mode: 0o640 }, &Typed::default());
        assert_eq!(hint(account), ["Run: chmod 0600 /x"]);
        assert_eq!(hint(account ^ 1), [format!("Run as root: chown {account} /x && chmod 0600 /x")]);
    }

    #[test]
    fn a_file_that_was_being_written_is_not_named() {
        let full = |path: &str| {
            of_file(&FileError::new("write", Path::new(path), std::io::Error::from(std::io::ErrorKind::StorageFull)))
        };
        assert_eq!(full("/srv/a/.pgv-staged-1x"), ["\"df -h /srv/a\" shows the room that is left."]);
        assert_eq!(full("/srv/a/pack"), ["\"df -h /srv/a/pack\" shows the room that is left."]);
    }
}
