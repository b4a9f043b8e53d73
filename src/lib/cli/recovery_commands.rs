//! The commands that a restored server runs: absolute paths, and all they need to find the same repository.
//!
//! INVARIANT: they work under `env -i` with umask 077, without HOME and PATH. They name the cluster: one that is
//! configured later, a copy of the same system identifier for one, must not change whose WAL a recovery gets.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::context::Context;
use super::front_door::is_executable;
use super::opening;
use super::program::Program;
use super::usage::UsageError;
use crate::config::Configuration;
use crate::error::Classified;
use crate::pg::{CommandWord, command_text, recovery_end_command};
use crate::repository::{ClusterName, SelectionError};

/// What pgv puts into recovery configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RecoveryCommands {
    /// `restore_command`: pgv-fetch with the settings of this run.
    pub(crate) restore: String,
    /// `recovery_end_command`: pgv-recovery-conf, which takes everything out again.
    pub(crate) recovery_end: String,
}

impl RecoveryCommands {
    /// With the programs that lie beside the running one, and the repository that is configured.
    pub(crate) fn of(context: &Context) -> Result<Self, Box<dyn Classified>> {
        let configuration = context.configuration();
        configuration.repo()?;
        let executable = std::env::current_exe();
        let folder = executable.as_deref().ok().and_then(Path::parent);
        let folder = folder.ok_or_else(|| UsageError::new("it cannot be told where this program lies"))?;
        let mut options: Vec<(&'static str, OsString)> = configuration.command_options().to_vec();
        if let Some(cluster) = cluster_of(configuration)?
            && options.iter().all(|(flag, _)| *flag != "--cluster")
        {
            options.push(("--cluster", cluster.as_str().into()));
        }
        Ok(Self::new(folder, &options)?)
    }

    fn new(folder: &Path, options: &[(&'static str, impl AsRef<OsStr>)]) -> Result<Self, UsageError> {
        let mut words = vec![program_in(folder, Program::Fetch)?];
        for (flag, value) in options {
            words.extend([(*flag).to_owned(), text(value.as_ref())?]);
        }
        let mut words: Vec<_> = words.iter().map(|word| CommandWord::Text(word)).collect();
        words.extend([CommandWord::Placeholder('f'), CommandWord::Placeholder('p')]);
        let recovery_end = recovery_end_command(&program_in(folder, Program::RecoveryConf)?);
        Ok(Self { restore: command_text(&words), recovery_end })
    }
}

/// The cluster that is meant: refused when that is a guess. None where the repository alone knows and cannot be asked;
/// pgv-fetch then asks it, and guesses neither.
fn cluster_of(configuration: &Configuration) -> Result<Option<ClusterName>, Box<dyn Classified>> {
    if configuration.named_cluster().is_some() || !configuration.clusters().is_empty() {
        return Ok(Some(configuration.cluster()?.name));
    }
    let Ok(repository) = opening::open_repository(configuration.repo()?) else { return Ok(None) };
    match repository.select_cluster(&opening::selection(configuration), None) {
        Ok(selected) => Ok(Some(selected.cluster.name)),
        Err(error @ SelectionError::Ambiguous { .. }) => Err(error.into()),
        Err(_) => Ok(None),
    }
}

fn program_in(folder: &Path, program: Program) -> Result<String, UsageError> {
    let path = folder.join(program.name());
    if !is_executable(&path) {
        let error = UsageError::new(format!("there is no program \"{}\"", path.display()));
        return Err(error.with_hint("The server will run it: install all programs of pgv in one directory."));
    }
    text(path.as_os_str())
}

/// A command of PostgreSQL's is text.
fn text(word: &OsStr) -> Result<String, UsageError> {
    let error = || UsageError::new(format!("\"{}\" is not UTF-8 and cannot stand in a command", word.display()));
    word.to_str().map(str::to_owned).ok_or_else(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::PermissionsExt as _;

    fn install(folder: &Path, program: Program) {
        let path = folder.join(program.name());
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn carries_absolute_paths_and_the_options_in_quotes() {
        let temp = tempfile::tempdir().unwrap();
        let options = [("--config", "/etc/it's 100%/pgv.toml"), ("--cluster", "main")];
        let missing = RecoveryCommands::new(temp.path(), &options).unwrap_err();
        assert!(missing.to_string().contains("pgv-fetch"), "{missing}");
        install(temp.path(), Program::Fetch);
        install(temp.path(), Program::RecoveryConf);
        let commands = RecoveryCommands::new(temp.path(), &options).unwrap();
        let folder = temp.path().display();
        let wanted = format!(r"{folder}/pgv-fetch --config '/etc/it'\''s 100%%/pgv.toml' --cluster main %f %p");
        assert_eq!(commands.restore, wanted);
        assert_eq!(commands.recovery_end, format!("{folder}/pgv-recovery-conf --clear -D . || false"));
        let not_text = [("--config", OsStr::from_bytes(b"/etc/\xff"))];
        assert!(RecoveryCommands::new(temp.path(), &not_text).is_err());
    }
}
