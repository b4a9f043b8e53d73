//! Calls of pgv's programs: as the test account, in a cleared environment, with a configuration of the test's own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::{Outcome, TestAccount, TestFolder, program, run_within};

const LIMIT: Duration = Duration::from_secs(120);

/// A configuration file and a repository for one test.
#[derive(Debug, Clone)]
pub(crate) struct Pgv {
    pub(crate) config: PathBuf,
    pub(crate) repository: PathBuf,
}

impl Pgv {
    /// Names `pgv.toml` and `repository` below `folder`; `pgv init` creates both.
    pub(crate) fn new(folder: &TestFolder) -> Self {
        Self { config: folder.join("pgv.toml"), repository: folder.join("repository") }
    }

    /// `NAME --config FILE ARGUMENTS` (for `pgv`: `pgv VERB --config FILE ...`, the verb being the first argument), not
    /// yet run: no HOME, no PG variable, of PGV's the method of backups alone, umask of the tests, in `/`.
    pub(crate) fn command(&self, name: &str, arguments: &[&str]) -> Command {
        let (verb, options) = arguments.split_at(usize::from(name == "pgv"));
        let mut command = TestAccount::get().command(program(name));
        // A test that names no method is about backups that the server sends: they have its manifest.
        command
            .env_clear()
            .env("PGV_BACKUP_METHOD", "stream")
            .current_dir("/")
            .args(verb)
            .arg("--config")
            .arg(&self.config)
            .args(options);
        command
    }

    /// Runs one of the programs to its end.
    #[track_caller]
    pub(crate) fn run(&self, name: &str, arguments: &[&str]) -> Outcome {
        run_within(LIMIT, self.command(name, arguments))
    }

    /// Runs one of the programs in `folder`, as the server does with archive_command.
    #[track_caller]
    pub(crate) fn run_in(&self, folder: &Path, name: &str, arguments: &[&str]) -> Outcome {
        let mut command = self.command(name, arguments);
        command.current_dir(folder);
        run_within(LIMIT, command)
    }
}
