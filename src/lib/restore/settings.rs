//! What is written beside the files: recovery settings, signal file, configuration that lay outside the data directory.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use super::error::RestoreError;
use super::plan::RestorePlan;
use crate::fs::{self, Tree};
use crate::pg::{
    ConfigEntryKind, RecoveryMode, RecoverySettings, RecoveryTargetTimeline, RestoredArchiving, WalReadAhead,
    apply_recovery_settings, chained_end_command, config_lines, end_command_of, foreign_targets, parse_config,
};
use crate::repository::{BackupRecord, ClusterRef, DocumentKind, Repository};
use crate::server::{CONFIG_FILE_BYTES_MAX, read_config_file};

/// Where configuration goes that lay outside the data directory.
pub const OUTSIDE_FOLDER: &str = "pgv-config";
const AUTO_FILE: &str = "postgresql.auto.conf";
const MAIN_FILE: &str = "postgresql.conf";
/// The first major version that has `recovery_prefetch`.
const READS_AHEAD_SINCE: u32 = 15;
/// The settings that a server needs at least as high as its primary had them, to replay its WAL (contract A3.10).
const NEEDED_BY_REPLAY: [&str; 5] = [
    "max_connections",
    "max_locks_per_transaction",
    "max_prepared_transactions",
    "max_wal_senders",
    "max_worker_processes",
];
/// Settings that run code in a restored server.
const RUNNING_CODE: [&str; 8] = [
    "archive_cleanup_command",
    "archive_command",
    "archive_library",
    "local_preload_libraries",
    "session_preload_libraries",
    "shared_preload_libraries",
    "ssl_passphrase_command",
    "recovery_end_command",
];

/// The commands and choices that go into the settings.
#[derive(Debug, Clone)]
pub struct PreparedSettings {
    /// `restore_command`
    pub restore_command: String,
    /// What clears the settings when recovery ends.
    pub recovery_end_command: String,
    /// How a standby connects to its primary.
    pub primary_conninfo: Option<String>,
    /// The slot that it uses there.
    pub primary_slot_name: Option<String>,
    /// Whether the restored server archives.
    pub archiving: RestoredArchiving,
}

/// Where the configuration of the restored server lies.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ConfigurationPlace {
    /// Settings for the command line of `postgres`; empty when the data directory has all that it needs.
    pub command_line: Vec<(String, String)>,
}

impl ConfigurationPlace {
    /// Where it will lie, by what the record says.
    pub fn of(plan: &RestorePlan) -> Self {
        let record = &plan.record;
        if !lay_outside(record) {
            return Self { command_line: Vec::new() };
        }
        let directory = |path: &Path| path.display().to_string();
        let mut command_line = Vec::new();
        let mut add = |name: &str, value: String| command_line.push((name.to_owned(), value));
        // On Debian the file itself says where production's data directory is, so everything is said here.
        add("data_directory", directory(&plan.directory));
        for name in ["config_file", "hba_file", "ident_file"] {
            if let Some(path) = record.setting(name).map(Path::new) {
                let stored = record.documents.iter().any(|document| document.path.as_deref() == Some(path));
                let place = if stored { outside(&plan.directory, path) } else { path.to_owned() };
                add(name, directory(&place));
            }
        }
        for name in ["port", "unix_socket_directories"] {
            if let Some(value) = record.setting(name) {
                add(name, value.to_owned());
            }
        }
        add("external_pid_file", String::new());
        Self { command_line }
    }
}

/// Whether the main configuration file lay outside the data directory and is stored with the backup.
fn lay_outside(record: &BackupRecord) -> bool {
    let (Some(file), Some(data)) = (record.setting("config_file"), record.setting("data_directory")) else {
        return false;
    };
    !Path::new(file).starts_with(data)
        && record.documents.iter().any(|one| one.path.as_deref() == Some(Path::new(file)))
}

/// Where a configuration file from outside is put: its whole path below one folder, so that relative includes work.
fn outside(directory: &Path, path: &Path) -> PathBuf {
    directory.join(OUTSIDE_FOLDER).join(path.strip_prefix("/").unwrap_or(path))
}

/// What in a restored configuration runs code, for the person to judge.
pub(super) fn running_code(directory: &Path, archiving: RestoredArchiving) -> Vec<String> {
    let mut found = Vec::new();
    for file in [MAIN_FILE, AUTO_FILE] {
        let Ok(text) = fs::read_at_most(&directory.join(file), CONFIG_FILE_BYTES_MAX) else { continue };
        for entry in parse_config(&text).unwrap_or_default() {
            let is_one = entry.kind == ConfigEntryKind::Setting && RUNNING_CODE.contains(&entry.name.as_str());
            let is_off = archiving == RestoredArchiving::Off && entry.name.starts_with("archive_");
            let value = String::from_utf8_lossy(&entry.value);
            if is_one && !is_off && !value.is_empty() && !value.contains("pgv-recovery-conf") {
                found.push(format!("{} in {file} runs code: {value}", entry.name));
            }
        }
    }
    found
}

/// Writes settings, signal file and configuration from outside into a directory that cannot start yet.
pub(super) fn write(
    data: &Tree,
    repository: &Repository,
    cluster: &ClusterRef,
    plan: &RestorePlan,
    prepared: &PreparedSettings,
) -> Result<Vec<String>, RestoreError> {
    write_outside_files(data, repository, cluster, plan)?;
    let main_file = if lay_outside(&plan.record) {
        plan.record.setting("config_file").map(|path| outside(data.path(), Path::new(path)))
    } else {
        Some(data.path().join(MAIN_FILE))
    };
    let has_main_file = match &main_file {
        Some(path) => fs::is_present(path)?,
        None => false,
    };
    if !has_main_file {
        write_minimal_configuration(data, &plan.record)?;
    }
    // A file that the server would refuse is the server's to name; targets in it are unset when it can be read.
    let entries = main_file.and_then(|path| read_config_file(&path).ok()).unwrap_or_default();
    let auto_file = data.path().join(AUTO_FILE);
    let old = match fs::read_at_most(&auto_file, CONFIG_FILE_BYTES_MAX) {
        Ok(text) => text,
        Err(error) if error.is_not_found() => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let mut warnings = Vec::new();
    let end_command = match end_command_of(&old, &entries) {
        Some(Ok(existing)) => chained_end_command(&prepared.recovery_end_command, Some(&existing)).ok(),
        Some(Err(_)) => None,
        None => Some(prepared.recovery_end_command.clone()),
    };
    let end_command = end_command.unwrap_or_else(|| {
        warnings.push(
            "the recovery_end_command of the original is too long to run beside ours, or no text; it is left out"
                .to_owned(),
        );
        prepared.recovery_end_command.clone()
    });
    let settings = RecoverySettings {
        mode: plan.mode,
        restore_command: Some(prepared.restore_command.clone()),
        recovery_end_command: Some(end_command),
        archive_cleanup_command: None,
        target: plan.target.clone(),
        target_action: plan.action,
        target_timeline: match plan.mode {
            // A number, so that no history that appears later leads elsewhere.
            RecoveryMode::Targeted => RecoveryTargetTimeline::Id(plan.path.timeline()),
            RecoveryMode::Standby => RecoveryTargetTimeline::Latest,
        },
        unset_targets: foreign_targets(&entries),
        primary_conninfo: prepared.primary_conninfo.clone(),
        primary_slot_name: prepared.primary_slot_name.clone(),
        archiving: prepared.archiving,
        read_ahead: match plan.has_hole && plan.record.major_version.get() >= READS_AHEAD_SINCE {
            true => WalReadAhead::Off,
            false => WalReadAhead::Unchanged,
        },
    };
    let text = apply_recovery_settings(&old, &settings)?;
    fs::replace_file(&auto_file, &text, fs::PRIVATE_FILE_MODE)?;
    for stray in [plan.mode.signal_file(), plan.mode.other_signal_file()] {
        data.remove_file_durably(Path::new(stray))?;
    }
    data.create_file_with(Path::new(plan.mode.signal_file()), fs::PRIVATE_FILE_MODE, b"")?;
    Ok(warnings)
}

fn write_outside_files(
    data: &Tree,
    repository: &Repository,
    cluster: &ClusterRef,
    plan: &RestorePlan,
) -> Result<(), RestoreError> {
    for document in plan.record.documents.iter().filter(|one| one.kind == DocumentKind::Configuration) {
        let Some(path) = &document.path else { continue };
        let content = repository.document(cluster, &plan.record.id, document)?;
        let place = below_outside_folder(path);
        create_directories(data, place.parent().unwrap_or(Path::new(OUTSIDE_FOLDER)))?;
        // A backup of a restored cluster has the folder of that restore among its files.
        data.remove_file_durably(&place)?;
        data.create_file_with(&place, fs::PRIVATE_FILE_MODE, &content)?;
        create_included_directories(data, path, &content)?;
    }
    Ok(())
}

/// Creates the directories that a file includes: the server does not start without them, and an empty one (Debian's
/// `conf.d`) has no file that would be stored and bring it along.
fn create_included_directories(data: &Tree, file: &Path, content: &[u8]) -> Result<(), RestoreError> {
    for entry in parse_config(content).unwrap_or_default() {
        if entry.kind != ConfigEntryKind::IncludeDirectory {
            continue;
        }
        let directory = file.parent().unwrap_or(Path::new("/")).join(OsStr::from_bytes(&entry.value));
        // The name comes from a file: it must not lead out.
        if directory.components().all(|component| matches!(component, Component::RootDir | Component::Normal(_))) {
            create_directories(data, &below_outside_folder(&directory))?;
        }
    }
    Ok(())
}

fn below_outside_folder(path: &Path) -> PathBuf {
    Path::new(OUTSIDE_FOLDER).join(path.strip_prefix("/").unwrap_or(path))
}

fn create_directories(data: &Tree, directory: &Path) -> Result<(), RestoreError> {
    let mut made = PathBuf::new();
    for component in directory.components() {
        made.push(component);
        data.create_directory(&made, fs::PRIVATE_DIRECTORY_MODE)?;
    }
    Ok(())
}

/// Enough to start, from what the record says of the server.
fn write_minimal_configuration(data: &Tree, record: &BackupRecord) -> Result<(), RestoreError> {
    let settings: Vec<(&str, String)> = NEEDED_BY_REPLAY
        .iter()
        .chain(&["port", "unix_socket_directories", "TimeZone", "log_timezone", "shared_preload_libraries"])
        .filter_map(|name| record.setting(name).map(|value| (*name, value.to_owned())))
        .collect();
    let lines = config_lines(&settings).map_err(crate::pg::RecoverySettingsError::from)?;
    let head =
        "# Written by pgv-restore: the backup has no postgresql.conf. These are the values that the server had.\n";
    data.create_file_with(Path::new(MAIN_FILE), fs::PRIVATE_FILE_MODE, format!("{head}{lines}").as_bytes())?;
    for (name, content) in [("pg_hba.conf", "local all all peer\n"), ("pg_ident.conf", "")] {
        if !fs::is_present(&data.path().join(name))? {
            data.create_file_with(Path::new(name), fs::PRIVATE_FILE_MODE, content.as_bytes())?;
        }
    }
    Ok(())
}
