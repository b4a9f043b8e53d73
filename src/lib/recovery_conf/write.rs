//! Recovery configuration for a target or a standby: decided first, then shown or written.

use std::path::{Path, PathBuf};

use super::RecoveryConfError;
use super::data_directory::{AUTO_FILE, DataDirectory};
use crate::clock::Clock;
use crate::error::chain;
use crate::fs::{self, FileError, PRIVATE_FILE_MODE};
use crate::pg::{
    ControlCheckpoint, EXCLUSIVE_TARGET_SETTINGS, RecoveryMode, RecoverySettings, RecoverySettingsError,
    RecoveryTarget, RecoveryTargetTimeline, RestoredArchiving, apply_recovery_settings, chained_end_command,
    config_value, end_command_of, foreign_targets, has_recovery_settings, has_switched_off, parse_config,
};
use crate::server::conninfo::{holds_secret, without_secrets};

/// Whether the server will archive its own WAL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchivingChoice {
    /// It will not: a copy must not write into the archive of its original.
    Off,
    /// As its own configuration says, whatever pgv wrote before.
    Own,
    /// As it is now: off if pgv switched it off before.
    AsItIs,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct RecoveryConfOptions {
    /// The settings. `recovery_end_command` is ours alone; `unset_targets` and `archiving` are filled in here.
    pub settings: RecoverySettings,
    /// Whether the server will archive.
    pub archiving: ArchivingChoice,
    /// Whether the timeline that the directory follows already stays, rather than the one of the settings.
    pub keep_timeline: bool,
}

/// What will be written.
#[derive(Debug, Clone)]
pub struct WritePlan {
    /// The data directory; none when the lines are for any.
    pub data_directory: Option<PathBuf>,
    /// The file that gets the lines.
    pub file: PathBuf,
    /// The settings, complete.
    pub settings: RecoverySettings,
    /// The lines between our marks, without passwords.
    pub lines: String,
    /// The empty file that starts the recovery.
    pub signal_file: PathBuf,
    /// A signal file that goes.
    pub removed_signal_file: Option<PathBuf>,
    /// The timeline that stays as it was.
    pub kept_timeline: Option<RecoveryTargetTimeline>,
    /// What the person should know.
    pub warnings: Vec<String>,
    /// The new text of the file.
    new_text: Vec<u8>,
}

/// The lines for any data directory.
pub fn plan_print(options: &RecoveryConfOptions) -> Result<WritePlan, RecoveryConfError> {
    let mut settings = options.settings.clone();
    if let Some(ours) = &settings.recovery_end_command {
        settings.recovery_end_command = Some(chained_end_command(ours, None)?);
    }
    settings.archiving = archiving(options.archiving, b"");
    let new_text = apply_recovery_settings(b"", &settings)?;
    Ok(WritePlan {
        data_directory: None,
        file: PathBuf::from(AUTO_FILE),
        lines: shown_lines(&settings)?,
        signal_file: PathBuf::from(settings.mode.signal_file()),
        removed_signal_file: None,
        kept_timeline: None,
        warnings: no_target_warning(&settings).into_iter().collect(),
        settings,
        new_text,
    })
}

/// The lines as they are shown: without passwords.
fn shown_lines(settings: &RecoverySettings) -> Result<String, RecoverySettingsError> {
    let primary_conninfo = settings.primary_conninfo.as_deref().map(without_secrets);
    let shown = RecoverySettings { primary_conninfo, ..settings.clone() };
    Ok(String::from_utf8_lossy(&apply_recovery_settings(b"", &shown)?).into_owned())
}

/// Decides what is to be written into a data directory, and refuses where it must not be.
pub fn plan_write(directory: &Path, options: &RecoveryConfOptions) -> Result<WritePlan, RecoveryConfError> {
    let directory = DataDirectory::open(directory)?;
    directory.refuse_running_server()?;
    directory.refuse_recovery_conf()?;
    let text = directory.auto_text()?.unwrap_or_default();
    let mut warnings: Vec<String> = no_target_warning(&options.settings).into_iter().collect();
    if options.settings.mode == RecoveryMode::Targeted {
        warnings.extend(refuse_passed(&directory, &text, &options.settings.target)?);
    }
    let main_entries = match directory.main_entries() {
        Ok(entries) => entries,
        Err(error) => {
            warnings.push(format!("the server's own configuration cannot be read: {}", chain(&error)));
            None
        }
    };
    let mut settings = options.settings.clone();
    // Where the other files are not known, they may set any target.
    settings.unset_targets = main_entries.as_deref().map_or(EXCLUSIVE_TARGET_SETTINGS.to_vec(), foreign_targets);
    if main_entries.is_some() {
        warnings.extend(settings.unset_targets.iter().map(|name| foreign_target_warning(name)));
    }
    if let Some(ours) = &settings.recovery_end_command {
        let existing = match end_command_of(&text, main_entries.as_deref().unwrap_or_default()) {
            Some(Err(error)) => {
                warnings.push(format!("the recovery_end_command that is there will not run: {error}"));
                None
            }
            Some(Ok(command)) => Some(command),
            None => None,
        };
        settings.recovery_end_command = Some(chained_end_command(ours, existing.as_deref())?);
    }
    settings.archiving = archiving(options.archiving, &text);
    settings.keep_found_out(&text);
    let kept_timeline = if options.keep_timeline { timeline_to_keep(&directory, &text, settings.mode)? } else { None };
    settings.target_timeline = kept_timeline.unwrap_or(settings.target_timeline);
    let other_signal_file = directory.path().join(settings.mode.other_signal_file());
    let has_other_signal = fs::look_at(&other_signal_file)?.is_some();
    Ok(WritePlan {
        data_directory: Some(directory.path().to_owned()),
        file: directory.auto_file(),
        lines: shown_lines(&settings)?,
        signal_file: directory.path().join(settings.mode.signal_file()),
        removed_signal_file: has_other_signal.then_some(other_signal_file),
        kept_timeline,
        warnings,
        new_text: apply_recovery_settings(&text, &settings)?,
        settings,
    })
}

/// Writes what was decided for a data directory, durably.
///
/// ORDER: whatever ends this in the middle, a server that is started then does not open too early. A recovery opens at
/// its target, so the target comes first; a standby opens never, so its signal comes first; and the other signal goes
/// last, since without any the server would open at once.
pub fn write(plan: &WritePlan, clock: &dyn Clock) -> Result<(), RecoveryConfError> {
    let is_secret = plan.settings.primary_conninfo.as_deref().is_some_and(holds_secret);
    let write_settings = || match is_secret {
        true => fs::replace_private_file(&plan.file, &plan.new_text),
        false => fs::replace_file(&plan.file, &plan.new_text, PRIVATE_FILE_MODE),
    };
    let create_signal = || fs::replace_file(&plan.signal_file, b"", PRIVATE_FILE_MODE);
    match plan.settings.mode {
        RecoveryMode::Targeted => {
            write_settings()?;
            create_signal()?;
        }
        RecoveryMode::Standby => {
            create_signal()?;
            write_settings()?;
        }
    }
    if let Some(other) = &plan.removed_signal_file {
        fs::remove_file(other)?;
    }
    DataDirectory::remove_abandoned(&plan.file, clock);
    Ok(())
}

fn archiving(choice: ArchivingChoice, text: &[u8]) -> RestoredArchiving {
    match choice {
        ArchivingChoice::Off => RestoredArchiving::Off,
        ArchivingChoice::AsItIs if has_switched_off(text) => RestoredArchiving::Off,
        ArchivingChoice::Own | ArchivingChoice::AsItIs => RestoredArchiving::Unchanged,
    }
}

/// Refuses where a server was open behind the target, or opened what had been restored. Of a snapshot of a primary that
/// is before its target, recovery goes on from there.
fn refuse_passed(
    directory: &DataDirectory,
    auto_text: &[u8],
    target: &RecoveryTarget,
) -> Result<Option<String>, RecoveryConfError> {
    let path = directory.path();
    let control = match directory.opened() {
        Ok(Some(control)) => control,
        Ok(None) => return Ok(None),
        Err(error) => {
            let unknown = "whether a server has opened this directory for writing, and passed the target, is not known";
            return Ok(Some(format!("{unknown}: {}", chain(&error))));
        }
    };
    let ControlCheckpoint { lsn, redo_lsn, timeline, time, .. } = control.checkpoint;
    let is_passed = match target {
        RecoveryTarget::Time(target, _) => *target < time,
        RecoveryTarget::Lsn(target, _) => *target < redo_lsn,
        RecoveryTarget::Latest
        | RecoveryTarget::Immediate
        | RecoveryTarget::TransactionId(..)
        | RecoveryTarget::RestorePoint(_) => false,
    };
    // The end of a recovery takes the signal file and its settings, and leaves what makes a copy harmless.
    let is_ended_copy = has_switched_off(auto_text)
        && !has_recovery_settings(auto_text)
        && directory.signal_file(RecoveryMode::Targeted)?.is_none();
    if is_passed || is_ended_copy {
        let (path, target) = (path.to_owned(), target.clone());
        return Err(RecoveryConfError::Opened { path, state: control.state, lsn, timeline, target });
    }
    Ok(Some(format!(
        "\"{}\" was open for writing (pg_control says \"{}\"): recovery goes on from {redo_lsn} on timeline {timeline}, and \
         reaches nothing before it",
        path.display(),
        control.state
    )))
}

/// The timeline that a recovery or standby which is there already follows, unless it follows the latest: pgv-restore
/// chose it, so that no history that appeared later leads elsewhere. A new standby of a copy follows its primary.
fn timeline_to_keep(
    directory: &DataDirectory,
    auto_text: &[u8],
    mode: RecoveryMode,
) -> Result<Option<RecoveryTargetTimeline>, RecoveryConfError> {
    let is_there =
        |mode: RecoveryMode| Ok::<_, FileError>(fs::look_at(&directory.path().join(mode.signal_file()))?.is_some());
    let was_standby = is_there(RecoveryMode::Standby)?;
    let was_recovery = mode == RecoveryMode::Targeted && is_there(RecoveryMode::Targeted)?;
    if !was_standby && !was_recovery {
        return Ok(None);
    }
    let entries = parse_config(auto_text).unwrap_or_default();
    let value = config_value(&entries, "recovery_target_timeline").and_then(|value| std::str::from_utf8(value).ok());
    let timeline = value.and_then(|value| value.parse().ok());
    Ok(timeline.filter(|timeline| *timeline != RecoveryTargetTimeline::Latest))
}

fn no_target_warning(settings: &RecoverySettings) -> Option<String> {
    let is_without = settings.mode == RecoveryMode::Targeted && settings.target == RecoveryTarget::Latest;
    let warning = "without a target the server recovers to the first WAL file that the repository does not have, \
                   be it the end of the archive or a hole, and opens there";
    is_without.then(|| warning.to_owned())
}

/// What is said of a target that other files set.
pub(super) fn foreign_target_warning(name: &str) -> String {
    format!("postgresql.conf or a file that it includes sets {name}; take it out there, or a later recovery obeys it")
}
