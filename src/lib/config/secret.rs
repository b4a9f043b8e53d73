//! Files that hold passwords must not be readable by others.

use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::ConfigError;

/// Refuses a file that holds a secret and that others could read or could have written.
pub(super) fn check_private(path: &Path, metadata: &Metadata) -> Result<(), ConfigError> {
    let account = rustix::process::geteuid().as_raw();
    check(path, metadata.permissions().mode() & 0o7777, metadata.uid(), account)
}

fn check(path: &Path, mode: u32, owner: u32, account: u32) -> Result<(), ConfigError> {
    if owner != account && owner != 0 {
        return Err(ConfigError::SecretOwner { path: path.to_path_buf(), owner, expected: account });
    }
    if mode & 0o077 != 0 {
        return Err(ConfigError::SecretMode { path: path.to_path_buf(), owner, mode });
    }
    Ok(())
}

/// Whether a connection string or URI holds a password. Errs towards yes.
pub(crate) fn conninfo_holds_password(conninfo: &str) -> bool {
    let lower = conninfo.to_ascii_lowercase();
    let keyword = lower.match_indices("password").any(|(at, word)| {
        let rest = lower.get(at + word.len()..).unwrap_or_default().trim_start();
        rest.starts_with('=')
    });
    let user_part = lower.split_once("://").map(|(_, rest)| rest.split(['/', '?']).next().unwrap_or_default());
    let in_uri = user_part.and_then(|part| part.rsplit_once('@')).is_some_and(|(user, _)| user.contains(':'));
    keyword || in_uri
}

/// Whether the value of a variable is a password or holds one.
pub(super) fn variable_holds_password(name: &str, value: &str) -> bool {
    match name {
        "PGPASSWORD" | "PGSSLPASSWORD" => !value.is_empty(),
        "PGV_CONNINFO" => conninfo_holds_password(value),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_seen_in_connection_strings_and_uris() {
        for conninfo in [
            "host=db password=x",
            "PASSWORD = 'x' host=db",
            "sslpassword=x",
            "postgresql://pgv:x@db/postgres",
            "postgres://pgv:p%40ss@db:5432",
            "postgresql://db/postgres?password=x",
        ] {
            assert!(conninfo_holds_password(conninfo), "{conninfo}");
        }
        for conninfo in [
            "host=db user=pgv",
            "",
            "postgresql://pgv@db:5432/postgres",
            "postgresql://db:5432/postgres?user=a:b",
            "passfile=/home/pgv/.pgpass user=password",
        ] {
            assert!(!conninfo_holds_password(conninfo), "{conninfo}");
        }
    }

    #[test]
    fn only_the_owner_may_read_and_only_the_account_or_root_may_own() {
        let refused = |mode, owner| check(Path::new("/x"), mode, owner, 1000).err().map(|error| error.to_string());
        for (mode, owner) in [(0o600, 1000), (0o400, 1000), (0o600, 0)] {
            assert_eq!(refused(mode, owner), None);
        }
        for mode in [0o640, 0o644, 0o660, 0o604, 0o601] {
            let expected = format!("\"/x\" holds a password and has mode {mode:04o}, expected 0600");
            assert_eq!(refused(mode, 1000), Some(expected));
        }
        let expected = "\"/x\" holds a password and belongs to the account with uid 7, expected 1000 or root";
        assert_eq!(refused(0o600, 7).as_deref(), Some(expected));
    }
}
