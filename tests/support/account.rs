//! The ordinary account that servers and programs run as: PostgreSQL refuses root, and so does what writes in pgv.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::OnceLock;

/// Who runs servers and programs: this process itself, or `postgres` (else `nobody`) when this process is root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TestAccount {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    switches: bool,
}

impl TestAccount {
    /// The one account of this test run.
    pub(crate) fn get() -> &'static Self {
        static ACCOUNT: OnceLock<TestAccount> = OnceLock::new();
        ACCOUNT.get_or_init(|| {
            let own = rustix::process::geteuid();
            let accounts = std::fs::read_to_string("/etc/passwd").expect("/etc/passwd is readable");
            let account = if own.is_root() {
                ["postgres", "nobody"].iter().find_map(|name| find(&accounts, |found| found.name == *name))
            } else {
                find(&accounts, |found| found.uid == own.as_raw())
            };
            let account = account.expect("/etc/passwd lists this account, or postgres or nobody when this is root");
            Self { switches: own.is_root(), ..account }
        })
    }

    /// Whether the tests run as root, and so may mount and change owners.
    pub(crate) fn tests_run_as_root() -> bool {
        rustix::process::geteuid().is_root()
    }

    /// A command that runs as this account, without supplementary groups, with the environment of the tests.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        if self.switches {
            // setting the user as root also drops the supplementary groups
            command.uid(self.uid).gid(self.gid);
        }
        command
    }

    /// A command as this account that gets `signal` when the thread that starts it ends, however it ends.
    pub(crate) fn command_that_dies_with_us(&self, signal: &str, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("setpriv");
        if self.switches {
            command.arg(format!("--reuid={}", self.uid)).arg(format!("--regid={}", self.gid)).arg("--clear-groups");
        }
        command.args(["--pdeathsig", signal, "--"]).arg(program);
        command
    }

    /// Whether this account can run the program at `path`.
    pub(crate) fn can_execute(&self, path: &std::path::Path) -> bool {
        self.command("test").arg("-x").arg(path).status().is_ok_and(|status| status.success())
    }

    /// Gives `path` to this account.
    pub(crate) fn take_over(&self, path: &std::path::Path) {
        if self.switches {
            std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid))
                .unwrap_or_else(|error| panic!("could not give {path:?} to {}: {error}", self.name));
        }
    }
}

fn find(passwd: &str, matches: impl Fn(&TestAccount) -> bool) -> Option<TestAccount> {
    let account = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let (uid, gid) = (fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?);
        Some(TestAccount { name: fields[0].to_owned(), uid, gid, switches: false })
    };
    passwd.lines().filter_map(account).find(matches)
}
