//! The account that the process runs as: its name and home directory.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::Environment;
use crate::fs::read_at_most;

/// LIMIT: bytes of /etc/passwd that are read.
const PASSWD_BYTES_MAX: u64 = 16 << 20;

/// An account of the operating system.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Account {
    /// Its user id.
    pub uid: u32,
    /// Its name; unknown when /etc/passwd does not list it.
    pub name: Option<String>,
    /// Its home directory: HOME, else what /etc/passwd says.
    pub home: Option<PathBuf>,
}

impl Account {
    /// The account of this process. /etc/passwd is asked because `env -i` leaves neither HOME nor USER.
    pub(super) fn of_process(environment: &Environment) -> Self {
        let uid = rustix::process::geteuid().as_raw();
        let passwd = read_at_most(Path::new("/etc/passwd"), PASSWD_BYTES_MAX).unwrap_or_default();
        Self::resolve(uid, environment.get("HOME"), &passwd)
    }

    fn resolve(uid: u32, home: Option<&str>, passwd: &[u8]) -> Self {
        let entry = passwd.split(|byte| *byte == b'\n').find_map(|line| entry_of(line, uid));
        let (name, listed_home) = entry.map_or((None, None), |(name, home)| (Some(name), Some(home)));
        let own_home = home.map(PathBuf::from).filter(|home| home.is_absolute());
        Self { uid, name, home: own_home.or(listed_home.filter(|home| home.is_absolute())) }
    }
}

/// The name of an account, by /etc/passwd.
pub(crate) fn account_name(uid: u32) -> Option<String> {
    let passwd = read_at_most(Path::new("/etc/passwd"), PASSWD_BYTES_MAX).ok()?;
    passwd.split(|byte| *byte == b'\n').find_map(|line| entry_of(line, uid)).map(|(name, _)| name)
}

/// Name and home directory, when the line is about that user: `name:password:uid:gid:comment:home:shell`.
fn entry_of(line: &[u8], uid: u32) -> Option<(String, PathBuf)> {
    let mut fields = line.split(|byte| *byte == b':');
    let name = str::from_utf8(fields.next()?).ok()?;
    let listed: u32 = str::from_utf8(fields.nth(1)?).ok()?.parse().ok()?;
    let home = fields.nth(2)?;
    (listed == uid).then(|| (name.to_owned(), PathBuf::from(OsStr::from_bytes(home))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/bash\nbroken\n::\n+nis\n\xff:x:9:9::/x:\n\
        postgres:x:101:104:PostgreSQL administrator,,,:/var/lib/postgresql:/bin/bash\nrelative:x:5:5::home:/bin/sh";

    fn resolved(uid: u32, home: Option<&str>) -> (Option<String>, Option<PathBuf>) {
        let account = Account::resolve(uid, home, PASSWD);
        (account.name, account.home)
    }

    #[test]
    fn home_comes_from_the_variable_and_else_from_the_list() {
        let postgres = Some("postgres".to_owned());
        assert_eq!(resolved(101, None), (postgres.clone(), Some(PathBuf::from("/var/lib/postgresql"))));
        assert_eq!(resolved(101, Some("/tmp/h")), (postgres.clone(), Some(PathBuf::from("/tmp/h"))));
        assert_eq!(resolved(101, Some("")), (postgres, Some(PathBuf::from("/var/lib/postgresql"))));
        assert_eq!(resolved(7, None), (None, None));
        assert_eq!(resolved(5, None), (Some("relative".to_owned()), None));
    }
}
