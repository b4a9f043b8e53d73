//! Finds the settings of a service in a service file (`parseServiceInfo` and `parseServiceFile` in
//! `src/interfaces/libpq/fe-connect.c`).
//!
//! The file that was named is asked first, else the one in the home directory, then the one of the system. A file is
//! lines `keyword=value` below `[service]`, without quotes, blanks around "=" or escapes. Nothing of a line is shown
//! in a message: it may hold a password.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::ConninfoError;
use super::text::Pair;
use crate::fs::read_at_most;

/// LIMIT: the size of a service file.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// LIMIT: the length of a line, which is libpq's.
const MAX_LINE_BYTES: usize = 1023;

/// Where packages look when `PGSYSCONFDIR` is not set: Debian's and Red Hat's.
const SYSTEM_DIRECTORIES: [&str; 2] = ["/etc/postgresql-common", "/etc/sysconfig/pgsql"];

/// The files that may define a service.
pub(super) struct ServiceFiles {
    /// Must exist.
    pub(super) named: Option<PathBuf>,
    /// Are passed over when they do not exist, in this order.
    pub(super) usual: Vec<PathBuf>,
}

impl ServiceFiles {
    /// By what was named, the home directory, and the value of `PGSYSCONFDIR`.
    pub(super) fn find(named: Option<&str>, home: Option<&Path>, system: Option<&str>) -> Self {
        let named = named.map(PathBuf::from);
        let in_home = home.filter(|_| named.is_none()).map(|home| home.join(".pg_service.conf"));
        let directories: Vec<&str> = system.map_or_else(|| SYSTEM_DIRECTORIES.to_vec(), |directory| vec![directory]);
        let system = directories.iter().map(|directory| Path::new(directory).join("pg_service.conf"));
        Self { named, usual: in_home.into_iter().chain(system).collect() }
    }

    /// The settings of a service, in the order of the file: of several mentions of a keyword the first counts.
    pub(super) fn look_up(&self, service: &str) -> Result<Vec<Pair>, ConninfoError> {
        let mut looked_at = Vec::new();
        for path in self.named.iter().chain(&self.usual) {
            let content = match read_at_most(path, MAX_FILE_BYTES).map(Zeroizing::new) {
                Ok(content) => content,
                Err(error) if error.is_not_found() && self.named.as_ref() != Some(path) => continue,
                Err(error) => return Err(unreadable(path, error.source.kind())),
            };
            if let Some(pairs) = settings_of(&content, service, path)? {
                return Ok(pairs);
            }
            looked_at.push(path.clone());
        }
        Err(ConninfoError::UnknownService { name: service.to_owned(), looked_at })
    }
}

fn unreadable(path: &Path, kind: ErrorKind) -> ConninfoError {
    ConninfoError::ServiceFileUnreadable { path: path.to_owned(), kind }
}

/// The lines below the first heading of that name; `None` without one.
fn settings_of(content: &[u8], service: &str, path: &Path) -> Result<Option<Vec<Pair>>, ConninfoError> {
    let heading = format!("[{service}]");
    let mut found: Option<Vec<Pair>> = None;
    for (number, line) in content.split(|byte| *byte == b'\n').enumerate() {
        let invalid = |problem| ConninfoError::InvalidServiceFile { path: path.to_owned(), line: number + 1, problem };
        if line.len() >= MAX_LINE_BYTES {
            return Err(invalid("it is too long"));
        }
        let line = line.trim_ascii();
        if line.starts_with(b"[") {
            if found.is_some() {
                break;
            }
            // What follows the bracket does not count.
            if line.starts_with(heading.as_bytes()) {
                found = Some(Vec::new());
            }
            continue;
        }
        let Some(pairs) = found.as_mut().filter(|_| !line.is_empty() && !line.starts_with(b"#")) else { continue };
        if line.starts_with(b"ldap") {
            return Err(invalid("pgv does not look services up by LDAP"));
        }
        let text = std::str::from_utf8(line).map_err(|_| invalid("it is not UTF-8"))?;
        let (keyword, value) = text.split_once('=').ok_or_else(|| invalid("it has no \"=\""))?;
        if matches!(keyword, "service" | "servicefile") {
            return Err(invalid("a service cannot name another"));
        }
        pairs.push((keyword.to_owned(), value.to_owned()));
    }
    Ok(found)
}

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn fuzz(content: &[u8]) -> Result<(), ConninfoError> {
    settings_of(content, "app", Path::new("/etc/pg_service.conf")).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    fn read(content: &str, service: &str) -> Result<Option<Vec<Pair>>, ConninfoError> {
        settings_of(content.as_bytes(), service, Path::new("/etc/f"))
    }

    #[test]
    fn lines_below_the_heading_are_read_as_libpq_reads_them() {
        let content = "# comment\nhost=before\n[other]\nhost=other\n\n  [prod] trailing\r\n  host=a b \n#x\nport=1\n\
                       password='q'=\n[prod]\nhost=second\n";
        let expected = [("host", "a b"), ("port", "1"), ("password", "'q'=")];
        let expected: Vec<Pair> =
            expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        assert_eq!(read(content, "prod").unwrap(), Some(expected));
        assert_eq!(read("[empty]", "empty").unwrap(), Some(Vec::new()));
        for absent in ["pro", "production", "PROD", ""] {
            assert_eq!(read(content, absent).unwrap(), None, "{absent}");
        }
    }

    #[test]
    fn broken_lines_are_named_by_number_and_not_shown() {
        for (content, line, problem) in [
            ("[p]\ncanary\n", 2, "it has no \"=\""),
            ("[p]\nhost=a\nservice=canary\n", 3, "a service cannot name another"),
            ("[p]\nservicefile=canary\n", 2, "a service cannot name another"),
            ("[p]\nldap://canary/x?y?z\n", 2, "pgv does not look services up by LDAP"),
            (&format!("#{}\n[p]\n", "canary".repeat(200)), 1, "it is too long"),
        ] {
            let error = read(content, "p").unwrap_err();
            assert!(!error.to_string().contains("canary"));
            assert_eq!(error, ConninfoError::InvalidServiceFile { path: PathBuf::from("/etc/f"), line, problem });
        }
        // A broken line of another service is nobody's business.
        assert_eq!(read("[q]\nbroken\n[p]\n[r]\nbroken", "p").unwrap(), Some(Vec::new()));
    }

    #[test]
    fn the_file_that_was_named_hides_the_one_at_home_and_not_that_of_the_system() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &str| {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let named = write("named", "[a]\nhost=named\n");
        write("home/.pg_service.conf", "[a]\nhost=home\n[b]\nhost=home\n");
        write("system/pg_service.conf", "[a]\nhost=system\n[b]\nhost=system\n[c]\nhost=system\n");
        let (home, system) = (directory.path().join("home"), directory.path().join("system"));
        let look_up = |named: Option<&str>, service: &str| {
            let files = ServiceFiles::find(named, Some(&home), system.to_str());
            files.look_up(service).map(|pairs| pairs.first().unwrap().1.clone())
        };
        for (file, service, host) in [
            (None, "a", "home"),
            (None, "b", "home"),
            (None, "c", "system"),
            (Some(named.as_str()), "a", "named"),
            (Some(&named), "b", "system"),
        ] {
            assert_eq!(look_up(file, service).unwrap(), host, "{file:?} {service}");
        }
        let error = look_up(None, "d").unwrap_err();
        assert!(matches!(&error, ConninfoError::UnknownService { looked_at, .. } if looked_at.len() == 2), "{error}");
        assert!(matches!(look_up(Some("/no/file"), "a"), Err(ConninfoError::ServiceFileUnreadable { .. })));
        let nowhere = ServiceFiles::find(None, None, Some("/no/directory")).look_up("a").unwrap_err();
        assert_eq!(nowhere.to_string(), "service \"a\" is not defined in any service file: none was found");
    }

    proptest! {
        #[test]
        fn arbitrary_content_never_panics(content in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = settings_of(&[b"[p]\n", content.as_slice()].concat(), "p", Path::new("/f"));
        }
    }
}
