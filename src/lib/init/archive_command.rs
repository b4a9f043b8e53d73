//! The `archive_command` that a server shall run.
//!
//! INVARIANT: it needs neither PATH nor HOME nor a working directory of its own: it works under `env -i`. It names the
//! cluster only where nothing else tells which one is meant, for that switches off the check that keeps a clone out of
//! its original's archive.

use std::path::Path;

use super::InitError;
use crate::pg::{CommandWord, PgMajorVersion, command_text, config_lines};
use crate::repository::ClusterName;

/// LIMIT: bytes of the expanded command before PostgreSQL 16, which cuts the rest off without a word
/// (`src/backend/postmaster/shell_archive.c`, contract A1.18).
pub const ARCHIVE_COMMAND_BYTES_MAX: usize = 1023;
/// The longest name of a WAL file: `000000010000000000000001.00000028.backup`.
const NAME_BYTES_MAX: usize = 40;

/// A command for `archive_command`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveCommand(String);

impl ArchiveCommand {
    /// Runs `program` with these files of settings. All paths must be absolute.
    pub fn new(
        program: &Path,
        config: Option<&Path>,
        env_file: Option<&Path>,
        cluster: Option<&ClusterName>,
    ) -> Result<Self, InitError> {
        let mut texts = vec![text("program", program)?];
        for (flag, what, path) in
            [("--config", "configuration file", config), ("--env-file", "file of variables", env_file)]
        {
            if let Some(path) = path {
                texts.extend([flag, text(what, path)?]);
            }
        }
        if let Some(cluster) = cluster {
            texts.extend(["--cluster", cluster.as_str()]);
        }
        let mut words: Vec<CommandWord<'_>> = texts.into_iter().map(CommandWord::Text).collect();
        words.extend([CommandWord::Placeholder('p'), CommandWord::Placeholder('f')]);
        let command = Self(command_text(&words));
        command.line()?;
        Ok(command)
    }

    /// The command, as the setting's value.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The line of a configuration file, without its end.
    pub fn line(&self) -> Result<String, InitError> {
        let line = config_lines(&[("archive_command", &self.0)]).map_err(InitError::Command)?;
        Ok(line.trim_end().to_owned())
    }

    /// How long it can become once PostgreSQL has put in path and name.
    pub fn expanded_bytes(&self) -> usize {
        let path_bytes = "pg_wal/".len() + NAME_BYTES_MAX;
        self.0.len() - "%p".len() - "%f".len() + path_bytes + NAME_BYTES_MAX
    }

    /// Whether a server of that version would cut it.
    pub fn is_too_long_for(&self, version: PgMajorVersion) -> bool {
        version.get() < 16 && self.expanded_bytes() > ARCHIVE_COMMAND_BYTES_MAX
    }
}

fn text<'a>(what: &'static str, path: &'a Path) -> Result<&'a str, InitError> {
    path.to_str().ok_or_else(|| InitError::NotText { what, path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carries_all_it_needs_quoted_for_shell_percent_and_configuration() {
        let command = ArchiveCommand::new(
            Path::new("/opt/100% pgv/pgv-archive"),
            Some(Path::new("/etc/it's/pgv.toml")),
            Some(Path::new("/etc/pgv.env")),
            Some(&ClusterName::parse("copy").unwrap()),
        );
        let command = command.unwrap();
        assert_eq!(
            command.as_str(),
            r"'/opt/100%% pgv/pgv-archive' --config '/etc/it'\''s/pgv.toml' --env-file /etc/pgv.env --cluster copy %p %f"
        );
        assert_eq!(
            command.line().unwrap(),
            r"archive_command = '''/opt/100%% pgv/pgv-archive'' --config ''/etc/it''\\''''s/pgv.toml'' --env-file /etc/pgv.env --cluster copy %p %f'"
        );
        assert!(ArchiveCommand::new(Path::new("/a\nb"), None, None, None).is_err());
    }

    #[test]
    fn knows_when_an_old_server_would_cut_it() {
        let with = |length: usize| {
            let path = format!("/{}", "a".repeat(length - 1));
            ArchiveCommand::new(Path::new(&path), None, None, None).unwrap()
        };
        let version = |number| PgMajorVersion::new(number).unwrap();
        // program, " pg_wal/" and a name, " " and a name
        let (fits, cut) = (with(1023 - 48 - 41), with(1024 - 48 - 41));
        assert_eq!((fits.expanded_bytes(), cut.expanded_bytes()), (1023, 1024));
        assert!(!fits.is_too_long_for(version(15)) && cut.is_too_long_for(version(15)));
        assert!(!cut.is_too_long_for(version(16)));
    }
}
