//! What is written beside the files: configuration that they lack, recovery settings and signal file.

use std::path::Path;

use super::configuration::{
    AUTO_FILE, FILES, HBA_FILE, MAIN_FILE, create_file_and_folders, entries_of, external_pid_file, main_file, place_of,
    write_stored_files,
};
use super::error::RestoreError;
use super::harmless::CopyConfiguration;
use super::plan::RestorePlan;
use crate::fs::{self, Tree};
use crate::pg::{
    ClearScope, ConfigEntry, EXTERNAL_PID_FILE, REPLAY_SETTINGS, RecoveryMode, RecoverySettings, RestoredArchiving,
    WalReadAhead, apply_recovery_settings, chained_end_command, clear_recovery_settings, config_lines, end_command_of,
    foreign_targets, parse_config,
};
use crate::repository::{BackupRecord, ClusterRef, Repository};
use crate::server::CONFIG_FILE_BYTES_MAX;
use crate::server::conninfo::holds_secret;

/// The first major version that has `recovery_prefetch`.
const READS_AHEAD_SINCE: u32 = 15;
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

/// What was written.
pub(super) struct Written {
    /// What the person should know.
    pub(super) warnings: Vec<String>,
    /// The settings of the copy that matter.
    pub(super) settings: CopyConfiguration,
}

/// Writes settings, signal file and the configuration that the files lack into a directory that cannot start yet.
pub(super) fn write(
    data: &Tree,
    repository: &Repository,
    cluster: &ClusterRef,
    plan: &RestorePlan,
    prepared: &PreparedSettings,
) -> Result<Written, RestoreError> {
    write_stored_files(data, repository, cluster, plan)?;
    let mut warnings = write_missing_files(data, plan)?;
    // A file that the server would refuse is the server's to name; targets in it are unset when it can be read.
    let main_entries = entries_of(&main_file(plan));
    let entries = main_entries.as_deref().unwrap_or_default();
    let auto_file = data.path().join(AUTO_FILE);
    let old = match fs::read_at_most(&auto_file, CONFIG_FILE_BYTES_MAX) {
        Ok(text) => text,
        Err(error) if error.is_not_found() => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let configuration = configuration_of(plan, &old, main_entries.as_deref());
    let is_trusted = plan.copy.trust.is_kept();
    let end_command = match end_command_of(&old, entries).filter(|_| is_trusted) {
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
        // The original's would remove what it does not need itself.
        archive_cleanup_command: (plan.mode == RecoveryMode::Targeted && cleans_up(&old, entries)).then(String::new),
        target: plan.written_target(),
        target_action: plan.action,
        target_timeline: plan.target_timeline,
        unset_targets: foreign_targets(entries),
        primary_conninfo: prepared.primary_conninfo.clone(),
        primary_slot_name: prepared.primary_slot_name.clone(),
        archiving: prepared.archiving,
        read_ahead: match plan.has_hole && plan.record.major_version.get() >= READS_AHEAD_SINCE {
            true => WalReadAhead::Off,
            false => WalReadAhead::Unchanged,
        },
        minimums: configuration.minimums(),
        harmless: (!is_trusted).then(|| harmless_lines(plan, &configuration)),
    };
    let text = apply_recovery_settings(&old, &settings)?;
    // In a cluster that gives access to a group, too.
    match settings.primary_conninfo.as_deref().is_some_and(holds_secret) {
        true => fs::replace_private_file(&auto_file, &text)?,
        false => fs::replace_file(&auto_file, &text, fs::PRIVATE_FILE_MODE)?,
    }
    for stray in [plan.mode.signal_file(), plan.mode.other_signal_file()] {
        data.remove_file_durably(Path::new(stray))?;
    }
    data.create_file_with(Path::new(plan.mode.signal_file()), fs::PRIVATE_FILE_MODE, b"")?;
    Ok(Written { warnings, settings: configuration })
}

/// The lines that make a copy harmless.
fn harmless_lines(plan: &RestorePlan, configuration: &CopyConfiguration) -> Vec<(&'static str, String)> {
    let value = |name: &str, harmless: &str| match name {
        EXTERNAL_PID_FILE => external_pid_file(&plan.directory),
        _ => harmless.to_owned(),
    };
    configuration.harmless.iter().map(|(name, harmless)| (*name, value(name, harmless))).collect()
}

/// The settings that matter, by the files that the server will read.
fn configuration_of(plan: &RestorePlan, auto_text: &[u8], main: Option<&[ConfigEntry]>) -> CopyConfiguration {
    // What pgv wrote there for another recovery goes.
    let own = parse_config(&clear_recovery_settings(auto_text, ClearScope::Everything)).ok();
    let entries = main.zip(own).map(|(main, own)| [main, own.as_slice()].concat());
    CopyConfiguration::of(entries.as_deref(), plan.record.major_version, plan.copy.needs)
}

/// Whether something is left that removes files of an archive.
fn cleans_up(auto_text: &[u8], entries: &[ConfigEntry]) -> bool {
    let auto = parse_config(auto_text).unwrap_or_default();
    let is_cleanup = |entry: &&ConfigEntry| entry.name.eq_ignore_ascii_case("archive_cleanup_command");
    auto.iter().chain(entries).any(|entry| is_cleanup(&entry) && !entry.value.is_empty())
}

/// Writes the configuration files that the backup does not have, and says so.
fn write_missing_files(data: &Tree, plan: &RestorePlan) -> Result<Vec<String>, RestoreError> {
    let mut warnings = Vec::new();
    if !fs::is_present(&main_file(plan))? {
        write_minimal_configuration(data, &plan.record)?;
        warnings.push(format!(
            "the backup has no postgresql.conf: \"{}\" has the few settings that replay needs; all else is as PostgreSQL's \
             own defaults have it",
            data.path().join(MAIN_FILE).display()
        ));
    }
    for (name, usual) in FILES.iter().filter(|(name, _)| *name != "config_file") {
        let place = place_of(plan, name, usual);
        if write_if_missing(data, &place, usual)? && *usual == HBA_FILE {
            let place = place.display();
            warnings.push(format!(
                "the backup has no {HBA_FILE}: \"{place}\" lets in nobody but the account of the server, by its socket"
            ));
        }
    }
    Ok(warnings)
}

/// Enough to start, from what the record says of the server.
fn write_minimal_configuration(data: &Tree, record: &BackupRecord) -> Result<(), RestoreError> {
    let lines = minimal_settings(record)?;
    let head =
        "# Written by pgv-restore: the backup has no postgresql.conf. These are the values that the server had.\n";
    data.create_file_with(Path::new(MAIN_FILE), fs::PRIVATE_FILE_MODE, format!("{head}{lines}").as_bytes())?;
    Ok(())
}

/// The lines of it.
pub(super) fn minimal_settings(record: &BackupRecord) -> Result<String, RestoreError> {
    let settings: Vec<(&str, String)> = REPLAY_SETTINGS
        .iter()
        .chain(&["port", "unix_socket_directories", "TimeZone", "log_timezone", "shared_preload_libraries"])
        .filter_map(|name| record.setting(name).map(|value| (*name, value.to_owned())))
        .collect();
    Ok(config_lines(&settings).map_err(crate::pg::RecoverySettingsError::from)?)
}

/// Writes a file of access rules that the backup does not have, if so: nobody but the account itself gets in.
fn write_if_missing(data: &Tree, place: &Path, usual: &str) -> Result<bool, RestoreError> {
    if fs::is_present(place)? {
        return Ok(false);
    }
    let content = if usual == HBA_FILE { "local all all peer\n" } else { "" };
    let relative = place.strip_prefix(data.path()).unwrap_or(Path::new(usual));
    create_file_and_folders(data, relative, content.as_bytes())?;
    Ok(true)
}
