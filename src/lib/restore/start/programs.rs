//! Where the programs of a server's version are on this machine.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::StartError;
use crate::pg::PgMajorVersion;

/// Where Debian's packages and PostgreSQL's own for other systems have the programs of a version.
const USUAL_FOLDERS: [(&str, &str); 2] = [("/usr/lib/postgresql/", "/bin"), ("/usr/pgsql-", "/bin")];

/// The programs of the server's version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerPrograms {
    folder: PathBuf,
}

impl ServerPrograms {
    /// Looks for them: in the directory that was named and nowhere else, or in the usual places, then in those of PATH.
    pub fn find(major: PgMajorVersion, named: Option<&Path>, path: &[PathBuf]) -> Result<Self, StartError> {
        let number = major.get();
        let folders: Vec<PathBuf> = match named {
            Some(named) => vec![named.to_owned()],
            None => {
                let usual =
                    USUAL_FOLDERS.iter().map(|(before, behind)| PathBuf::from(format!("{before}{number}{behind}")));
                usual.chain(path.iter().filter(|folder| folder.is_absolute()).cloned()).collect()
            }
        };
        let mut others = Vec::new();
        for folder in folders {
            match version_in(&folder) {
                Some(found) if found == number => return Ok(Self { folder }),
                Some(found) => others.push((folder, found)),
                None => {}
            }
        }
        Err(StartError::NoPrograms { major, named: named.map(Path::to_owned), others })
    }

    /// The path of one of them.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Variables that may hold a password.
const SECRET_VARIABLES: [&str; 3] = ["PGPASSWORD", "PGSSLPASSWORD", "PGV_CONNINFO"];

/// One of the programs, without our passwords: a server keeps its variables for as long as it runs.
pub(super) fn command(path: &Path) -> Command {
    let mut command = Command::new(path);
    for name in SECRET_VARIABLES {
        command.env_remove(name);
    }
    command
}

/// The major version of the server there, if it can be run.
fn version_in(folder: &Path) -> Option<u32> {
    let mut command = command(&folder.join("postgres"));
    let output = command.arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    // Without the one that starts it, it is of no use.
    let starts =
        self::command(&folder.join("pg_ctl")).arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output();
    starts.is_ok_and(|output| output.status.success()).then_some(())?;
    major_of(&String::from_utf8_lossy(&output.stdout))
}

/// The major version in `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
fn major_of(text: &str) -> Option<u32> {
    let version = text.split_once("(PostgreSQL) ")?.1;
    let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn versions_are_read_as_servers_write_them() {
        for (text, major) in [
            ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", Some(15)),
            ("postgres (PostgreSQL) 18beta1\n", Some(18)),
            ("postgres (PostgreSQL) 17.10\n", Some(17)),
            ("postgres (PostgreSQL) devel\n", None),
            ("mysqld 8\n", None),
            ("", None),
        ] {
            assert_eq!(major_of(text), major, "{text:?}");
        }
    }

    fn install(folder: &Path, version: &str) {
        std::fs::create_dir_all(folder).unwrap();
        for name in ["postgres", "pg_ctl"] {
            let path = folder.join(name);
            std::fs::write(&path, format!("#!/bin/sh\necho '{name} (PostgreSQL) {version}'\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    #[test]
    fn only_programs_of_the_very_version_will_do() {
        let temp = tempfile::tempdir().unwrap();
        let [old, new, none] = ["old", "new", "none"].map(|name| temp.path().join(name));
        // No machine has this one.
        let major = PgMajorVersion::new(13).unwrap();
        install(&old, "9.6.1");
        install(&new, "13.99");
        let path = [none.clone(), old.clone(), new.clone()];
        let found = ServerPrograms::find(major, None, &path).unwrap();
        assert!(found.path("pg_ctl").ends_with("bin/pg_ctl") || found.path("pg_ctl") == new.join("pg_ctl"));
        let error = ServerPrograms::find(major, Some(&old), &path).unwrap_err().to_string();
        assert!(error.contains("13") && error.contains("old") && error.contains("PostgreSQL 9"), "{error}");
        std::fs::remove_file(new.join("pg_ctl")).unwrap();
        assert!(ServerPrograms::find(major, Some(&new), &path).is_err());
        assert!(ServerPrograms::find(major, Some(&none), &path).is_err());
    }
}
