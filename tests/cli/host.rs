//! A host with nothing on it: one directory, no variables, the programs in PATH, an ordinary account.

use std::process::Command;

use crate::support::{Outcome, TestAccount, TestFolder, program, run};

/// The directory of one test, from where its commands run.
pub(crate) struct Host {
    pub(crate) folder: TestFolder,
    variables: Vec<(String, String)>,
}

impl Host {
    pub(crate) fn new(name: &str) -> Self {
        Self { folder: TestFolder::new(name), variables: Vec::new() }
    }

    /// Sets a variable for the commands that follow; `@` stands for the directory.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), self.here(value)));
        self
    }

    /// A file in the directory; `@` stands for the directory in its text.
    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        self.folder.write(name, self.here(text));
        self
    }

    pub(crate) fn mode(self, name: &str, mode: u32) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(self.folder.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    fn here(&self, text: &str) -> String {
        text.replace('@', self.folder.path().to_str().unwrap())
    }

    /// A command as the test account: in the directory, its variables and PATH and nothing else.
    pub(crate) fn command(&self, program_name: &str) -> Command {
        self.prepared(TestAccount::get().command(program_name))
    }

    /// The same as the account that runs the tests, root perhaps.
    pub(crate) fn command_as_tester(&self, program_name: &str) -> Command {
        self.prepared(Command::new(program_name))
    }

    fn prepared(&self, mut command: Command) -> Command {
        let programs = program("pgv").parent().unwrap().to_str().unwrap().to_owned();
        command.env_clear().current_dir(self.folder.path());
        command.env("PATH", format!("{programs}:/usr/bin:/bin")).env("HOME", self.folder.path());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a line in a shell, as PostgreSQL does; `@` stands for the directory.
    #[track_caller]
    pub(crate) fn sh(&self, line: &str) -> Outcome {
        let mut command = self.command("sh");
        command.args(["-c", &self.here(line)]);
        run(command)
    }
}
