//! Finds a password in libpq's password file (`passwordFromFile` in `src/interfaces/libpq/fe-connect.c`).
//!
//! INVARIANT: a file that others may read is not used, and no part of the file gets into a message.

use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::super::secret::Secret;
use crate::fs::{RegularFileError, open_regular};

/// LIMIT: the size of a password file.
const MAX_PASSFILE_BYTES: u64 = 1024 * 1024;

/// Whose password is wanted.
#[derive(Debug, Clone)]
pub(crate) struct PasswordQuery<'a> {
    /// The names that the host may have in the file.
    pub(crate) hosts: &'a [String],
    pub(crate) port: u16,
    /// The names that the database may have in the file.
    pub(crate) databases: &'a [String],
    pub(crate) user: &'a str,
}

/// Why a password file was not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PasswordFileProblem {
    /// Group or others have access to it.
    #[error("password file \"{}\" has mode {mode:04o}: group and others must have no access", path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is a directory, a device or a named pipe.
    #[error("password file \"{}\" is not a plain file", path.display())]
    NotPlain {
        /// The file.
        path: PathBuf,
    },
    /// It could not be read.
    #[error("could not read password file \"{}\": {kind}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        kind: ErrorKind,
    },
    /// It is larger than any password file.
    #[error("password file \"{}\" is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The largest size that is read.
        limit: u64,
    },
}

/// The password that the file has for this login; `None` when there is no file or no such line.
pub(crate) fn look_up_password(path: &Path, query: &PasswordQuery<'_>) -> Result<Option<Secret>, PasswordFileProblem> {
    let path_buf = || path.to_owned();
    let unreadable = |error: std::io::Error| PasswordFileProblem::Unreadable { path: path_buf(), kind: error.kind() };
    // A named pipe that nobody writes into would be waited for, beyond every deadline.
    let file = match open_regular(path) {
        Ok(file) => file,
        Err(RegularFileError::Other(_)) => return Err(PasswordFileProblem::NotPlain { path: path_buf() }),
        Err(RegularFileError::File(error)) if error.is_not_found() => return Ok(None),
        Err(RegularFileError::File(error)) => return Err(unreadable(error.source)),
    };
    let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(PasswordFileProblem::Mode { path: path_buf(), mode });
    }
    let mut content = Zeroizing::new(Vec::new());
    file.take(MAX_PASSFILE_BYTES + 1).read_to_end(&mut content).map_err(unreadable)?;
    if u64::try_from(content.len()).unwrap_or(u64::MAX) > MAX_PASSFILE_BYTES {
        return Err(PasswordFileProblem::TooLarge { path: path_buf(), limit: MAX_PASSFILE_BYTES });
    }
    Ok(find_password(&content, query))
}

/// The password of the first line that matches.
fn find_password(content: &[u8], query: &PasswordQuery<'_>) -> Option<Secret> {
    content.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).find_map(|line| {
        if line.is_empty() || line.first() == Some(&b'#') {
            return None;
        }
        password_of_line(line, query)
    })
}

fn password_of_line(line: &[u8], query: &PasswordQuery<'_>) -> Option<Secret> {
    let rest = matching_field(line, |field| query.hosts.iter().any(|host| field == host.as_bytes()))?;
    let rest = matching_field(rest, |field| field == query.port.to_string().as_bytes())?;
    let rest = matching_field(rest, |field| query.databases.iter().any(|name| field == name.as_bytes()))?;
    let rest = matching_field(rest, |field| field == query.user.as_bytes())?;
    // The password ends with the line or at a bare colon; a backslash stands for the byte after it.
    let mut password = Zeroizing::new(Vec::new());
    let mut bytes = rest.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => password.push(*bytes.next().unwrap_or(&b'\\')),
            b':' => break,
            byte => password.push(*byte),
        }
    }
    Some(Secret::new(password.as_slice())).filter(|secret| !secret.expose().is_empty())
}

/// What follows the first field, when that is `*` or matches once its escapes are undone.
fn matching_field(line: &[u8], matches: impl Fn(&[u8]) -> bool) -> Option<&[u8]> {
    let mut field = Vec::new();
    let mut position = 0;
    loop {
        match line.get(position)? {
            b':' => break,
            b'\\' if position + 1 < line.len() => {
                field.push(*line.get(position + 1)?);
                position += 2;
            }
            byte => {
                field.push(*byte);
                position += 1;
            }
        }
    }
    let wildcard = line.get(..position) == Some(b"*");
    if wildcard || matches(&field) { line.get(position + 1..) } else { None }
}

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn fuzz(content: &[u8]) {
    let hosts = ["localhost".to_owned()];
    let databases = ["app".to_owned()];
    let query = PasswordQuery { hosts: &hosts, port: 5432, databases: &databases, user: "tester" };
    if let Some(password) = find_password(content, &query) {
        assert!(!password.expose().is_empty() && password.expose().len() < content.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    fn find(content: &str, host: &str, port: u16, database: &str, user: &str) -> Option<Vec<u8>> {
        let (hosts, databases) = ([host.to_owned()], [database.to_owned()]);
        let query = PasswordQuery { hosts: &hosts, port, databases: &databases, user };
        find_password(content.as_bytes(), &query).map(|secret| secret.expose().to_vec())
    }

    #[test]
    fn finds_the_first_matching_line() {
        let content = "# comment\n\nother:5432:d:u:wrong\nh:5432:d:u:first\r\nh:5432:d:u:second\n*:*:*:*:any\n";
        for (host, port, database, user, password) in [
            ("h", 5432, "d", "u", "first"),
            ("other", 5432, "d", "u", "wrong"),
            ("h", 5433, "d", "u", "any"),
            ("h", 5432, "x", "u", "any"),
            ("h", 5432, "d", "x", "any"),
            ("*", 5432, "d", "u", "any"),
        ] {
            let found = find(content, host, port, database, user);
            assert_eq!(found.as_deref(), Some(password.as_bytes()), "{host}:{port}:{database}:{user}");
        }
        assert_eq!(find("h:5432:d:u:p", "h", 5432, "d", "other"), None);
    }

    #[test]
    fn undoes_escapes_in_fields_and_password() {
        assert_eq!(find(r"\:\:1:1:d:u:p", "::1", 1, "d", "u").as_deref(), Some(&b"p"[..]));
        assert_eq!(find("::1:1:d:u:p", "::1", 1, "d", "u"), None);
        assert_eq!(find(r"h:1:d\\e:u:p", "h", 1, r"d\e", "u").as_deref(), Some(&b"p"[..]));
        assert_eq!(find(r"\*:1:d:u:p", "h", 1, "d", "u"), None);
        assert_eq!(find(r"h:1:d:u:a\:b\\c", "h", 1, "d", "u").as_deref(), Some(&br"a:b\c"[..]));
        assert_eq!(find("h:1:d:u:a:b", "h", 1, "d", "u").as_deref(), Some(&b"a"[..]));
        assert_eq!(find(r"h:1:d:u:a\", "h", 1, "d", "u").as_deref(), Some(&br"a\"[..]));
        for broken in ["", "h", "h:1", "h:1:d", "h:1:d:u", "h:1:d:u:", r"h\", ":::::"] {
            assert_eq!(find(broken, "h", 1, "d", "u"), None, "{broken:?}");
        }
    }

    #[test]
    fn a_file_that_others_may_read_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passfile");
        fs::write(&path, "*:*:*:*:p\n").unwrap();
        let (hosts, databases) = (["h".to_owned()], ["d".to_owned()]);
        let query = PasswordQuery { hosts: &hosts, port: 1, databases: &databases, user: "u" };
        for (mode, usable) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o610, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            match look_up_password(&path, &query) {
                Ok(found) => assert!(usable && found == Some(Secret::new("p")), "{mode:o}"),
                Err(problem) => {
                    assert_eq!((usable, problem), (false, PasswordFileProblem::Mode { path: path.clone(), mode }))
                }
            }
        }
        assert_eq!(look_up_password(&directory.path().join("absent"), &query), Ok(None));
        let pipe = directory.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o600.into()).unwrap();
        for path in [directory.path(), &pipe] {
            assert!(matches!(look_up_password(path, &query), Err(PasswordFileProblem::NotPlain { .. })));
        }
    }

    proptest! {
        #[test]
        fn arbitrary_content_never_panics(content in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (hosts, databases) = (["h".to_owned()], ["d".to_owned()]);
            let query = PasswordQuery { hosts: &hosts, port: 1, databases: &databases, user: "u" };
            let _ = find_password(&content, &query);
        }

        #[test]
        fn escaped_fields_come_back(fields in proptest::collection::vec("[^\n\r\0]{1,12}", 3)) {
            let escape = |field: &str| field.replace('\\', r"\\").replace(':', r"\:");
            let [host, user, password] = fields.as_slice() else { unreachable!() };
            let line = format!("{}:1:d:{}:{}", escape(host), escape(user), escape(password));
            prop_assume!(!line.starts_with('#'));
            prop_assert_eq!(find(&line, host, 1, "d", user), Some(password.as_bytes().to_vec()));
        }
    }
}
