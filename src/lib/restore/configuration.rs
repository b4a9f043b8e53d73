//! The configuration of the restored server: what goes into `postgresql.auto.conf`, which files it needs beside, and
//! the command that starts it.
//!
//! INVARIANT: the copy never reads or writes a file of its original: data directory, hba file and the like are named
//! on the command line when the configuration does not lie in the data directory itself.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::error::RestoreError;
use crate::pg::{
    CommandWord, ConfigEntry, ConfigEntryKind, RecoverySettings, apply_recovery_settings, command_text, config_lines,
    config_value, foreign_targets, parse_config, remove_settings, shell_quote,
};
use crate::repository::BackupRecord;

/// Where configuration goes that was outside the original's data directory.
pub(super) const STORED_FOLDER: &str = "pgv-config";
/// What [`RecoverySettings`] does not know: what makes the copy a copy.
const COPY_MARK: &str = "# pgv: settings of a restored copy; remove them with ALTER SYSTEM RESET";
/// Settings below the primary's stop recovery (contract.md A3.10).
const MINIMUM_SETTINGS: [&str; 5] = [
    "max_connections",
    "max_worker_processes",
    "max_wal_senders",
    "max_prepared_transactions",
    "max_locks_per_transaction",
];
/// Settings by which a configuration makes the server run code or archive (failures.md D11).
const CODE_SETTINGS: [&str; 11] = [
    "archive_command",
    "archive_library",
    "archive_cleanup_command",
    "restore_command",
    "recovery_end_command",
    "shared_preload_libraries",
    "local_preload_libraries",
    "session_preload_libraries",
    "ssl_passphrase_command",
    "dynamic_library_path",
    "jit_provider",
];

/// What the backup has of its server's configuration.
#[derive(Debug, Clone, Default)]
pub(super) struct StoredConfiguration {
    pub(super) auto_conf: Vec<u8>,
    pub(super) postgresql_conf: Option<Vec<u8>>,
    pub(super) has_hba: bool,
    /// Files from outside the data directory, by where they were.
    pub(super) outside: Vec<(PathBuf, Vec<u8>)>,
}

/// Where the configuration is that the restored server starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfigurationSource {
    /// In the data directory, as it was backed up.
    DataDirectory,
    /// It was outside; what was stored of it is in `pgv-config`.
    Stored,
    /// Nothing was stored: a minimal one was written.
    Minimal,
}

/// A setting in the restored configuration that runs code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CodeSetting {
    /// The file.
    pub file: PathBuf,
    /// The line in it.
    pub line: usize,
    /// The setting.
    pub name: String,
}

/// Everything about the configuration of the restored server.
#[derive(Debug, Clone)]
pub(super) struct ConfigurationPlan {
    pub(super) source: ConfigurationSource,
    /// The new `postgresql.auto.conf`.
    pub(super) auto_conf: Vec<u8>,
    /// What was added to it, for the person to see.
    pub(super) settings: Vec<(String, String)>,
    /// Folders and files to be created below the data directory.
    pub(super) folders: Vec<PathBuf>,
    pub(super) files: Vec<(PathBuf, Vec<u8>)>,
    /// The command that starts the server.
    pub(super) start_command: String,
    pub(super) code_settings: Vec<CodeSetting>,
}

/// Beside what was stored.
pub(super) struct ConfigurationRequest<'a> {
    pub(super) record: &'a BackupRecord,
    pub(super) directory: &'a Path,
    pub(super) recovery: RecoverySettings,
    /// The command that runs at the end of recovery, before the one that was there.
    pub(super) end_command: Option<String>,
    pub(super) archiving_off: bool,
    pub(super) pg_ctl: &'a Path,
    /// Another port than the original's, which runs on this machine.
    pub(super) port: Option<u16>,
}

/// Plans the configuration.
pub(super) fn plan(
    stored: &StoredConfiguration,
    request: ConfigurationRequest<'_>,
) -> Result<ConfigurationPlan, RestoreError> {
    let ConfigurationRequest { record, directory, mut recovery, end_command, archiving_off, pg_ctl, port } = request;
    let auto_entries = parse_config(&stored.auto_conf).unwrap_or_default();
    let files = Files::of(stored, record, directory)?;
    let main_entries = parse_config(&files.main).unwrap_or_default();
    let value = |name: &str| {
        let found = config_value(&auto_entries, name).or_else(|| config_value(&main_entries, name));
        found.map(|value| String::from_utf8_lossy(value).into_owned())
    };
    recovery.unset_targets = foreign_targets(&main_entries);
    let recorded_end = || record.setting("recovery_end_command").map(str::to_owned);
    recovery.recovery_end_command =
        end_command.map(|ours| with_existing(&ours, value("recovery_end_command").or_else(recorded_end)));

    let mut copy: Vec<(String, String)> = Vec::new();
    for name in MINIMUM_SETTINGS {
        let recorded = record.setting(name).filter(|recorded| value(name).as_deref() != Some(recorded));
        copy.extend(recorded.map(|recorded| (name.to_owned(), recorded.to_owned())));
    }
    if archiving_off {
        copy.push(("archive_mode".to_owned(), "off".to_owned()));
        copy.push(("archive_command".to_owned(), String::new()));
        // COMPAT: since 15.
        if record.major_version.get() >= 15 {
            copy.push(("archive_library".to_owned(), String::new()));
        }
    }
    let mut settings = copy.clone();
    settings.extend(recovery.settings()?.into_iter().map(|(name, value)| (name.to_owned(), value)));
    let auto_conf = apply_recovery_settings(&with_copy_settings(&stored.auto_conf, &copy)?, &recovery)?;
    let code_settings = code_settings(directory, &auto_entries, &main_entries, &files.main_path);
    let start_command = files.start_command(record, directory, &main_entries, pg_ctl, port);
    Ok(ConfigurationPlan {
        source: files.source,
        auto_conf,
        settings,
        folders: files.folders,
        files: files.files,
        start_command,
        code_settings,
    })
}

/// `archive_mode` and the like stand outside the block of the recovery: `pgv-recovery-conf --clear` must leave them.
fn with_copy_settings(auto_conf: &[u8], copy: &[(String, String)]) -> Result<Vec<u8>, RestoreError> {
    if copy.is_empty() {
        return Ok(auto_conf.to_vec());
    }
    let names: Vec<&str> = copy.iter().map(|(name, _)| name.as_str()).collect();
    let without = remove_settings(auto_conf, &names);
    let mark = format!("{COPY_MARK}\n");
    let kept: Vec<u8> = without
        .split_inclusive(|byte| *byte == b'\n')
        .filter(|line| *line != mark.as_bytes())
        .flatten()
        .copied()
        .collect();
    let lines = config_lines(copy).map_err(crate::pg::RecoverySettingsError::from)?;
    Ok(crate::pg::append_lines(&kept, &format!("{mark}{lines}")))
}

/// Our command, and after it the one that was there, unless it is ours from an earlier restore.
fn with_existing(ours: &str, existing: Option<String>) -> String {
    const SEPARATOR: &str = " ; ";
    let existing = existing.unwrap_or_default();
    let theirs = match existing.split_once(SEPARATOR) {
        Some((first, rest)) if is_ours(first) => rest,
        None if is_ours(&existing) => "",
        _ => existing.as_str(),
    };
    if theirs.trim().is_empty() { ours.to_owned() } else { format!("{ours}{SEPARATOR}{theirs}") }
}

fn is_ours(command: &str) -> bool {
    command.contains("pgv-recovery-conf") && command.contains("--clear")
}

/// The command that clears our settings when recovery ends, as the server runs it: in its data directory.
pub(super) fn clearing_command(program: &str) -> String {
    let words = ["--clear", "-D", "."].map(CommandWord::Text);
    command_text(&[&[CommandWord::Text(program)], &words[..]].concat())
}

fn code_settings(
    directory: &Path,
    auto_entries: &[ConfigEntry],
    main_entries: &[ConfigEntry],
    main_path: &Path,
) -> Vec<CodeSetting> {
    let of_file = |entries: &[ConfigEntry], file: &Path| -> Vec<CodeSetting> {
        let runs_code = |entry: &&ConfigEntry| {
            let known = CODE_SETTINGS.iter().any(|name| entry.name.eq_ignore_ascii_case(name));
            entry.kind == ConfigEntryKind::Setting && known && !entry.value.is_empty()
        };
        let setting = |entry: &ConfigEntry| CodeSetting {
            file: directory.join(file),
            line: entry.line,
            name: entry.name.to_ascii_lowercase(),
        };
        entries.iter().filter(runs_code).map(setting).collect()
    };
    let mut found = of_file(main_entries, main_path);
    found.extend(of_file(auto_entries, Path::new("postgresql.auto.conf")));
    found
}

/// The configuration files of the restored server, relative to its data directory.
struct Files {
    source: ConfigurationSource,
    main: Vec<u8>,
    main_path: PathBuf,
    hba: Option<PathBuf>,
    ident: Option<PathBuf>,
    folders: Vec<PathBuf>,
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl Files {
    fn of(stored: &StoredConfiguration, record: &BackupRecord, directory: &Path) -> Result<Self, RestoreError> {
        let mut files = Self {
            source: ConfigurationSource::DataDirectory,
            main: stored.postgresql_conf.clone().unwrap_or_default(),
            main_path: PathBuf::from("postgresql.conf"),
            hba: None,
            ident: None,
            folders: Vec::new(),
            files: Vec::new(),
        };
        let recorded = |name: &str| record.setting(name).map(PathBuf::from);
        let base = recorded("config_file").and_then(|file| file.parent().map(Path::to_owned));
        for (path, content) in &stored.outside {
            let place = files.place(path, base.as_deref());
            for (setting, slot) in [("hba_file", &mut files.hba), ("ident_file", &mut files.ident)] {
                if recorded(setting).as_ref() == Some(path) {
                    *slot = Some(place.clone());
                }
            }
            if stored.postgresql_conf.is_none() && recorded("config_file").as_ref() == Some(path) {
                files.source = ConfigurationSource::Stored;
                files.main = content.clone();
                files.main_path = place.clone();
            }
            files.files.push((place, content.clone()));
        }
        if stored.postgresql_conf.is_none() && files.source == ConfigurationSource::DataDirectory {
            files.source = ConfigurationSource::Minimal;
            files.main = minimal_configuration(record)?;
            files.files.push((files.main_path.clone(), files.main.clone()));
        }
        if files.hba.is_none() && !stored.has_hba {
            let place = PathBuf::from("pg_hba.conf");
            files.files.push((place.clone(), b"local all all peer\n".to_vec()));
            files.hba = Some(place);
        }
        files.add_folders(directory);
        Ok(files)
    }

    /// A file below the folder of the main one keeps its place relative to it, since includes name it so.
    fn place(&self, path: &Path, base: Option<&Path>) -> PathBuf {
        let relative = base.and_then(|base| path.strip_prefix(base).ok());
        let name = || Path::new(path.file_name().unwrap_or_default());
        let place = Path::new(STORED_FOLDER).join(relative.unwrap_or_else(name));
        let is_taken = self.files.iter().any(|(taken, _)| *taken == place);
        let numbered = || Path::new(STORED_FOLDER).join(format!("{}-{}", self.files.len(), name().display()));
        if is_taken { numbered() } else { place }
    }

    fn add_folders(&mut self, _directory: &Path) {
        let mut folders: Vec<PathBuf> = Vec::new();
        for (path, _) in &self.files {
            let parents = path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty());
            folders.extend(parents.map(Path::to_owned));
        }
        if self.source == ConfigurationSource::Stored {
            // A folder that is included must be there, also when it was empty.
            let entries = parse_config(&self.main).unwrap_or_default();
            for entry in entries.iter().filter(|entry| entry.kind == ConfigEntryKind::IncludeDirectory) {
                let relative = std::str::from_utf8(&entry.value).ok().map(Path::new).filter(|path| is_plain(path));
                folders.extend(relative.map(|path| self.main_path.with_file_name("").join(path)));
            }
        }
        folders.sort();
        folders.dedup();
        self.folders = folders;
    }

    fn start_command(
        &self,
        record: &BackupRecord,
        directory: &Path,
        main_entries: &[ConfigEntry],
        pg_ctl: &Path,
        port: Option<u16>,
    ) -> String {
        let mut overrides: Vec<(&str, String)> = Vec::new();
        let own = |relative: &Path| directory.join(relative).display().to_string();
        let names_elsewhere = |name: &str| config_value(main_entries, name).is_some();
        if self.source == ConfigurationSource::Stored {
            overrides.push(("config_file", own(&self.main_path)));
        }
        if self.source == ConfigurationSource::Stored || names_elsewhere("data_directory") {
            overrides.push(("data_directory", directory.display().to_string()));
        }
        for (name, place, usual) in
            [("hba_file", &self.hba, "pg_hba.conf"), ("ident_file", &self.ident, "pg_ident.conf")]
        {
            let is_elsewhere = self.source == ConfigurationSource::Stored || names_elsewhere(name);
            let place = place.as_deref().unwrap_or(Path::new(usual));
            if is_elsewhere || place != Path::new(usual) {
                overrides.push((name, own(place)));
            }
        }
        if self.source == ConfigurationSource::Stored || names_elsewhere("external_pid_file") {
            overrides.push(("external_pid_file", String::new()));
        }
        let recorded = |name: &str| record.setting(name).map(str::to_owned);
        if self.source != ConfigurationSource::DataDirectory {
            let sockets = recorded("unix_socket_directories");
            overrides.extend(sockets.map(|sockets| ("unix_socket_directories", sockets)));
        }
        let port = port.map(|port| port.to_string());
        let recorded_port = || recorded("port").filter(|_| self.source != ConfigurationSource::DataDirectory);
        overrides.extend(port.or_else(recorded_port).map(|port| ("port", port)));
        let options: Vec<String> =
            overrides.iter().map(|(name, value)| format!("-c {}", shell_quote(&format!("{name}={value}")))).collect();
        let mut words = vec![pg_ctl.display().to_string(), "-D".to_owned(), directory.display().to_string()];
        words.extend(["-l".to_owned(), own(Path::new("pgv-start.log"))]);
        if !options.is_empty() {
            words.extend(["-o".to_owned(), options.join(" ")]);
        }
        words.push("start".to_owned());
        words.iter().map(|word| shell_quote(word)).collect::<Vec<_>>().join(" ")
    }
}

fn is_plain(path: &Path) -> bool {
    path.components().all(|component| matches!(component, std::path::Component::Normal(_)))
}

/// What a server needs to start at all.
fn minimal_configuration(record: &BackupRecord) -> Result<Vec<u8>, RestoreError> {
    const KEPT: [&str; 9] = [
        "TimeZone",
        "log_timezone",
        "max_connections",
        "max_locks_per_transaction",
        "max_prepared_transactions",
        "max_wal_senders",
        "max_worker_processes",
        "port",
        "wal_level",
    ];
    let settings: Vec<(&str, &str)> =
        KEPT.into_iter().filter_map(|name| record.setting(name).map(|value| (name, value))).collect();
    let lines = config_lines(&settings).map_err(crate::pg::RecoverySettingsError::from)?;
    let comment = "# The original configuration was not stored with the backup; these values are the original's.\n";
    Ok(format!("{comment}{lines}").into_bytes())
}
