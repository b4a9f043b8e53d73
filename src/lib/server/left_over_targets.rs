//! Recovery targets in the configuration files of a server that does not recover.
//!
//! What counts is what the files say: `pg_settings` shows what they said at the last start. Only superusers may ask the
//! server for that; others can look into the file of `ALTER SYSTEM`, where that is on this host and may be read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::config_files::CONFIG_FILE_BYTES_MAX;
use super::set_up_facts::FileSetting;
use super::sql::{ServerError, SqlClient};
use crate::fs;
use crate::pg::{ConfigEntry, EXCLUSIVE_TARGET_SETTINGS, TARGET_TIMELINE_SETTING, config_value, parse_config};

/// The file of `ALTER SYSTEM`, which is read last.
const ALTER_SYSTEM_FILE: &str = "postgresql.auto.conf";
/// What the timeline of a recovery is without a setting.
const LATEST_TIMELINE: &str = "latest";

fn names() -> impl Iterator<Item = &'static str> {
    EXCLUSIVE_TARGET_SETTINGS.into_iter().chain([TARGET_TIMELINE_SETTING])
}

impl SqlClient {
    /// The recovery targets that the configuration files set; `None` when the role may not see them.
    pub async fn targets_in_files(&self) -> Result<Option<Vec<FileSetting>>, ServerError> {
        if !self.may_see_file_settings().await? {
            return Ok(None);
        }
        Ok(Some(targets_of(self.file_settings(&names().collect::<Vec<_>>()).await?)))
    }
}

/// The recovery targets that `ALTER SYSTEM`, or who restored it, has set in a data directory; none where its file cannot
/// be read.
pub fn targets_in_directory(data_directory: &Path) -> Vec<FileSetting> {
    let file = data_directory.join(ALTER_SYSTEM_FILE);
    let text = fs::read_at_most(&file, CONFIG_FILE_BYTES_MAX).unwrap_or_default();
    targets_in(&parse_config(&text).unwrap_or_default(), &file)
}

fn targets_in(entries: &[ConfigEntry], file: &Path) -> Vec<FileSetting> {
    let said = |name: &'static str| {
        let value = String::from_utf8_lossy(config_value(entries, name)?).into_owned();
        Some(FileSetting { name: name.to_owned(), value, file: PathBuf::from(file) })
    };
    targets_of(names().filter_map(said).collect())
}

/// Of each of these settings the last mention, when it is a target.
fn targets_of(mentions: Vec<FileSetting>) -> Vec<FileSetting> {
    let last: BTreeMap<String, FileSetting> = mentions.into_iter().map(|said| (said.name.clone(), said)).collect();
    let is_target = |said: &FileSetting| {
        !said.value.is_empty() && (said.name != TARGET_TIMELINE_SETTING || said.value != LATEST_TIMELINE)
    };
    last.into_values().filter(is_target).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_mention_of_a_target_counts() {
        let temp = tempfile::tempdir().unwrap();
        let found = |text: &str| {
            std::fs::write(temp.path().join(ALTER_SYSTEM_FILE), text).unwrap();
            let targets = targets_in_directory(temp.path()).into_iter();
            targets.map(|said| format!("{}={}", said.name, said.value)).collect::<Vec<_>>()
        };
        let nothing = Vec::<String>::new();
        assert_eq!(found("recovery_target_timeline = 'latest'\nrecovery_target_time = ''\nport = 1\n"), nothing);
        assert_eq!(
            found("recovery_target_timeline = 2\nrecovery_target_timeline = 'latest'\nrecovery_target_xid = '7'\n"),
            ["recovery_target_xid=7"]
        );
        assert_eq!(
            found("recovery_target = ''\nrecovery_target = 'immediate'\nrecovery_target_timeline = 'current'\n"),
            ["recovery_target=immediate", "recovery_target_timeline=current"]
        );
        assert_eq!(found("recovery_target_action = 'promote'\nrecovery_target_inclusive = off\n"), nothing);
        assert_eq!(targets_in_directory(&temp.path().join("absent")), Vec::new());
    }
}
