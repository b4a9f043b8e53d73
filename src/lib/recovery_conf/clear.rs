//! Taking the recovery configuration out again: what `recovery_end_command` runs.
//!
//! INVARIANT: of `postgresql.auto.conf` only our lines and targets are touched; and `recovery.signal` goes only where a
//! server had opened the directory before it was written, none runs, and our settings go with it.

use std::path::{Path, PathBuf};

use super::RecoveryConfError;
use super::data_directory::DataDirectory;
use super::write::foreign_target_warning;
use crate::clock::Clock;
use crate::fs::{self, PRIVATE_FILE_MODE};
use crate::pg::{
    ClearScope, RecoveryMode, clear_recovery_settings, config_value, foreign_targets, has_recovery_settings,
    parse_config,
};

/// What will be taken out.
#[derive(Debug, Clone)]
pub struct ClearPlan {
    /// The data directory.
    pub data_directory: PathBuf,
    /// The file that loses lines.
    pub file: PathBuf,
    /// What is taken out.
    pub scope: ClearScope,
    /// The settings that lose a line, in order; those of the other configuration files count again.
    pub removed_settings: Vec<String>,
    /// The signal file that was written into a directory that had been opened for writing.
    pub removed_signal_file: Option<PathBuf>,
    /// What the person should know.
    pub warnings: Vec<String>,
    /// The new text, where it differs.
    new_text: Option<Vec<u8>>,
}

impl ClearPlan {
    /// Whether anything is to be done.
    pub fn changes_anything(&self) -> bool {
        self.new_text.is_some() || self.removed_signal_file.is_some()
    }
}

/// Looks what is to be cleared. The server may run: this is how it ends its recovery.
pub fn plan_clear(directory: &Path, scope: ClearScope) -> Result<ClearPlan, RecoveryConfError> {
    let directory = DataDirectory::open(directory)?;
    let text = directory.auto_text()?.unwrap_or_default();
    let removed_signal_file = match scope {
        ClearScope::Harmlessness => None,
        ClearScope::Recovery | ClearScope::Everything => signal_file_to_remove(&directory, &text)?,
    };
    let new_text = clear_recovery_settings(&text, scope);
    // Only for a warning: what cannot be read there must not keep the targets here.
    let entries = directory.main_entries().ok().flatten().unwrap_or_default();
    let mut warnings: Vec<_> = foreign_targets(&entries).into_iter().map(foreign_target_warning).collect();
    let is_off = parse_config(&new_text).is_ok_and(|own| config_value(&own, "archive_mode") == Some(b"off"));
    if scope == ClearScope::Everything && is_off {
        warnings.push(format!(
            "{} still has archive_mode = off, and not between marks of pgv",
            directory.auto_file().display()
        ));
    }
    Ok(ClearPlan {
        data_directory: directory.path().to_owned(),
        scope,
        file: directory.auto_file(),
        removed_settings: removed(&text, &new_text),
        removed_signal_file,
        warnings,
        new_text: (new_text != text).then_some(new_text),
    })
}

/// A signal file keeps its settings until the recovery has ended; but one in a directory that was opened before would
/// begin a recovery that cannot end: there it goes, if we wrote it.
fn signal_file_to_remove(directory: &DataDirectory, text: &[u8]) -> Result<Option<PathBuf>, RecoveryConfError> {
    if let Some(path) = directory.signal_file(RecoveryMode::Standby)? {
        return Err(RecoveryConfError::SignalFile { path });
    }
    let Some(path) = directory.signal_file(RecoveryMode::Targeted)? else { return Ok(None) };
    let was_opened = matches!(directory.opened(), Ok(Some(_)));
    if !was_opened || directory.refuse_running_server().is_err() {
        return Err(RecoveryConfError::SignalFile { path });
    }
    match has_recovery_settings(text) {
        true => Ok(Some(path)),
        false => Err(RecoveryConfError::ForeignSignalFile { path }),
    }
}

/// Does it, durably. Again is the same.
///
/// ORDER: the signal file goes first, so that whatever ends this leaves no recovery without its target.
pub fn clear(plan: &ClearPlan, clock: &dyn Clock) -> Result<(), RecoveryConfError> {
    if let Some(signal_file) = &plan.removed_signal_file {
        fs::remove_file(signal_file)?;
    }
    match &plan.new_text {
        Some(text) => fs::replace_file(&plan.file, text, PRIVATE_FILE_MODE)?,
        // A run before may have been killed between the new name and the sync of its directory.
        None => fs::sync_directory(&plan.data_directory)?,
    }
    DataDirectory::remove_abandoned(&plan.file, clock);
    Ok(())
}

/// The settings of lines that are in `text` and no longer in `new_text`. Lines only ever go.
fn removed(text: &[u8], new_text: &[u8]) -> Vec<String> {
    let names = |text: &[u8]| -> Vec<String> {
        let lines = text.split(|&byte| byte == b'\n');
        let entries = lines.flat_map(|line| parse_config(line).unwrap_or_default());
        entries.map(|entry| entry.name.to_ascii_lowercase()).collect()
    };
    let mut kept = names(new_text);
    let is_removed = |name: &String| match kept.iter().position(|other| other == name) {
        Some(position) => {
            kept.remove(position);
            false
        }
        None => true,
    };
    names(text).into_iter().filter(is_removed).collect()
}
