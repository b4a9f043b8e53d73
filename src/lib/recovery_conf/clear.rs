//! Taking the recovery configuration out again: what `recovery_end_command` runs.
//!
//! INVARIANT: only `postgresql.auto.conf` is touched, and of it only our lines and targets.

use std::path::{Path, PathBuf};

use super::RecoveryConfError;
use super::data_directory::DataDirectory;
use super::write::foreign_target_warning;
use crate::clock::Clock;
use crate::fs::{self, PRIVATE_FILE_MODE};
use crate::pg::{ClearScope, clear_recovery_settings, config_value, foreign_targets, parse_config};

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
    /// What the person should know.
    pub warnings: Vec<String>,
    /// The new text, where it differs.
    new_text: Option<Vec<u8>>,
}

impl ClearPlan {
    /// Whether anything is to be done.
    pub fn changes_anything(&self) -> bool {
        self.new_text.is_some()
    }
}

/// Looks what is to be cleared. The server may run: this is how it ends its recovery.
pub fn plan_clear(directory: &Path, scope: ClearScope) -> Result<ClearPlan, RecoveryConfError> {
    let directory = DataDirectory::open(directory)?;
    if scope != ClearScope::Harmlessness {
        directory.refuse_signal_files()?;
    }
    let text = directory.auto_text()?.unwrap_or_default();
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
        warnings,
        new_text: (new_text != text).then_some(new_text),
    })
}

/// Does it, durably. Again is the same.
pub fn clear(plan: &ClearPlan, clock: &dyn Clock) -> Result<(), RecoveryConfError> {
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
