//! The settings of a recovery or a standby, and their place in `postgresql.auto.conf` (PostgreSQL 13 to 18 alike).
//!
//! INVARIANT: what is written stands in marked blocks at the end, where it wins over every earlier line; no target that
//! was there before survives, since a left-over target ends or breaks a later recovery.

use super::config_line::split_lines;
use super::config_text::{
    ConfigEntry, ConfigEntryKind, ConfigValueError, append_lines, config_lines, config_value, parse_config,
    remove_settings,
};
use super::recovery_target::{RecoveryTarget, RecoveryTargetAction, RecoveryTargetTimeline};
use super::replay_needs::written_minimums;
use super::target_time::format_target_time;
use crate::error::{Classified, ErrorClass};

/// Every setting that says where a recovery stops or what follows: none may be left over from another one.
pub const ALL_TARGET_SETTINGS: [&str; 8] = [
    "recovery_target",
    "recovery_target_time",
    "recovery_target_xid",
    "recovery_target_name",
    "recovery_target_lsn",
    "recovery_target_inclusive",
    "recovery_target_timeline",
    "recovery_target_action",
];

/// The one of them that says along which timeline a recovery goes.
pub const TARGET_TIMELINE_SETTING: &str = "recovery_target_timeline";

/// The settings of which at most one may have a value.
pub const EXCLUSIVE_TARGET_SETTINGS: [&str; 5] =
    ["recovery_target", "recovery_target_time", "recovery_target_xid", "recovery_target_name", "recovery_target_lsn"];

/// The comment lines around lines of ours.
struct Marks {
    begin: &'static str,
    end: &'static str,
}

const RECOVERY_MARKS: Marks = Marks {
    begin: "# pgv: begin of recovery settings; \"pgv-recovery-conf --clear\" removes them",
    end: "# pgv: end of recovery settings",
};

const ARCHIVE_MODE: &str = "archive_mode";
const ARCHIVE_CLEANUP: &str = "archive_cleanup_command";
/// COMPAT: since 15.
const READ_AHEAD: &str = "recovery_prefetch";
const READ_AHEAD_OFF: &str = "off";

const ARCHIVING_MARKS: Marks = Marks {
    begin: "# pgv: begin of archiving settings; this is a restored copy, which must not archive as its original",
    end: "# pgv: end of archiving settings",
};

const HARMLESS_MARKS: Marks = Marks {
    begin: "# pgv: begin of what makes a restored copy harmless; \"pgv-recovery-conf --clear --trust-config\" removes it",
    end: "# pgv: end of what makes a restored copy harmless",
};

/// How much of what we wrote is taken out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClearScope {
    /// What recovery needed. A copy that was told not to archive stays so: to be used when recovery ends, since
    /// `archive_mode` would otherwise come back with the next restart, unseen.
    Recovery,
    /// What makes a copy harmless, and nothing else: its configuration is trusted, and it still does not archive.
    Harmlessness,
    /// All of it, and the switched-off archiving.
    Everything,
}

/// What a restored data directory becomes; decides the signal file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecoveryMode {
    /// It recovers to a target or to the end of WAL, then opens: `recovery.signal`.
    Targeted,
    /// It follows a primary or an archive until it is promoted: `standby.signal`.
    Standby,
}

/// Whether the restored server archives its own WAL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoredArchiving {
    /// It does not: a copy must not write into the archive of its original.
    Off,
    /// As its configuration says.
    Unchanged,
}

/// Whether replay reads WAL before it is needed (PostgreSQL 15 and later do).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WalReadAhead {
    /// As the server's configuration says.
    Unchanged,
    /// Not at all: behind the target there is WAL that cannot be had, and asking for it would end the recovery.
    Off,
}

/// The recovery configuration of one data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoverySettings {
    /// What the directory becomes.
    pub mode: RecoveryMode,
    /// The command that fetches a file from the archive; required unless it becomes a standby.
    pub restore_command: Option<String>,
    /// The command that runs once, when recovery ends.
    pub recovery_end_command: Option<String>,
    /// The command that runs at each restart point.
    pub archive_cleanup_command: Option<String>,
    /// Where it stops.
    pub target: RecoveryTarget,
    /// What it does there; without meaning for [`RecoveryTarget::Latest`].
    pub target_action: RecoveryTargetAction,
    /// Which timeline it follows.
    pub target_timeline: RecoveryTargetTimeline,
    /// Names of targets that another configuration file sets, to be unset here: PostgreSQL refuses two targets.
    /// [`foreign_targets`] finds them.
    pub unset_targets: Vec<&'static str>,
    /// How a standby connects to its primary; may hold a password.
    pub primary_conninfo: Option<String>,
    /// The slot that a standby uses there.
    pub primary_slot_name: Option<String>,
    /// Whether the restored server archives.
    pub archiving: RestoredArchiving,
    /// Whether replay reads ahead; other than unchanged for 15 and later alone.
    pub read_ahead: WalReadAhead,
    /// Settings that replay needs at least as high (contract A3.10), where the configuration has them lower.
    pub minimums: Vec<(&'static str, u32)>,
    /// What makes a copy harmless; none leaves what is there.
    pub harmless: Option<Vec<(&'static str, String)>>,
}

/// Why recovery settings cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecoverySettingsError {
    /// PostgreSQL refuses to recover without it, except as a standby.
    #[error("recovery needs a restore_command")]
    NoRestoreCommand,
    /// A value that no configuration file can hold.
    #[error("recovery settings cannot be written")]
    Value(#[from] ConfigValueError),
}

impl Classified for RecoverySettingsError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NoRestoreCommand => ErrorClass::Usage,
            Self::Value(error) => error.class(),
        }
    }
}

impl RecoveryMode {
    /// The name of the empty file in the data directory that starts this mode.
    pub fn signal_file(self) -> &'static str {
        match self {
            Self::Targeted => "recovery.signal",
            Self::Standby => "standby.signal",
        }
    }

    /// The name of the signal file that must not be there; a standby's would win.
    pub fn other_signal_file(self) -> &'static str {
        match self {
            Self::Targeted => Self::Standby.signal_file(),
            Self::Standby => Self::Targeted.signal_file(),
        }
    }
}

impl RecoverySettings {
    /// Keeps what `pgv-restore` has found out of the WAL and of the original and has written into this text: it holds for
    /// a later target, too. A standby goes on behind every target.
    pub fn keep_found_out(&mut self, auto_text: &[u8]) {
        self.minimums = written_minimums(auto_text);
        if self.mode == RecoveryMode::Standby {
            return;
        }
        if written_setting(auto_text, READ_AHEAD).is_some_and(|value| value == READ_AHEAD_OFF.as_bytes()) {
            self.read_ahead = WalReadAhead::Off;
        }
        if written_setting(auto_text, ARCHIVE_CLEANUP).is_some_and(|value| value.is_empty()) {
            self.archive_cleanup_command.get_or_insert_default();
        }
    }

    /// Names and values in the order in which they are written.
    pub fn settings(&self) -> Result<Vec<(&'static str, String)>, RecoverySettingsError> {
        if self.mode == RecoveryMode::Targeted && self.restore_command.is_none() {
            return Err(RecoverySettingsError::NoRestoreCommand);
        }
        let mut settings = Vec::new();
        let mut add_command = |name, command: &Option<String>| {
            settings.extend(command.iter().map(|command| (name, command.clone())));
        };
        add_command("restore_command", &self.restore_command);
        add_command("recovery_end_command", &self.recovery_end_command);
        add_command(ARCHIVE_CLEANUP, &self.archive_cleanup_command);
        add_command("primary_conninfo", &self.primary_conninfo);
        add_command("primary_slot_name", &self.primary_slot_name);
        settings.extend(self.target_settings());
        if self.read_ahead == WalReadAhead::Off {
            settings.push((READ_AHEAD, READ_AHEAD_OFF.to_owned()));
        }
        settings.extend(self.minimums.iter().map(|(name, value)| (*name, value.to_string())));
        settings.extend(self.archiving_setting());
        Ok(settings)
    }

    fn target_settings(&self) -> Vec<(&'static str, String)> {
        let target = target_setting(&self.target);
        // ORDER: a target is unset before another is set; the other way round PostgreSQL sees two.
        let unset = self.unset_targets.iter().filter(|name| target.as_ref().is_none_or(|(own, _)| own != *name));
        let mut settings: Vec<_> = unset.map(|name| (*name, String::new())).collect();
        settings.push(("recovery_target_timeline", self.target_timeline.to_string()));
        let Some(target) = target else { return settings };
        settings.push(target);
        if let Some(bound) = self.target.bound() {
            settings.push(("recovery_target_inclusive", bound.setting().to_owned()));
        }
        settings.push(("recovery_target_action", self.target_action.to_string()));
        if self.target_action == RecoveryTargetAction::Pause {
            // Without it the server would shut down at the target.
            settings.push(("hot_standby", "on".to_owned()));
        }
        settings
    }

    fn archiving_setting(&self) -> Option<(&'static str, String)> {
        (self.archiving == RestoredArchiving::Off).then(|| (ARCHIVE_MODE, "off".to_owned()))
    }

    /// The marked blocks of lines.
    fn blocks(&self) -> Result<String, RecoverySettingsError> {
        let mut settings = self.settings()?;
        settings.retain(|(name, _)| *name != ARCHIVE_MODE);
        let recovery = RECOVERY_MARKS.around(&config_lines(&settings)?);
        let archiving = match self.archiving_setting() {
            Some(setting) => ARCHIVING_MARKS.around(&config_lines(&[setting])?),
            None => String::new(),
        };
        let harmless = match self.harmless.as_deref() {
            None | Some([]) => String::new(),
            Some(settings) => HARMLESS_MARKS.around(&config_lines(settings)?),
        };
        // ORDER: commands that are emptied there are set for the recovery behind it.
        Ok(archiving + &harmless + &recovery)
    }
}

fn target_setting(target: &RecoveryTarget) -> Option<(&'static str, String)> {
    match target {
        RecoveryTarget::Latest => None,
        RecoveryTarget::Immediate => Some(("recovery_target", "immediate".to_owned())),
        RecoveryTarget::Time(time, _) => Some(("recovery_target_time", format_target_time(*time))),
        RecoveryTarget::Lsn(lsn, _) => Some(("recovery_target_lsn", lsn.to_string())),
        RecoveryTarget::TransactionId(xid, _) => Some(("recovery_target_xid", xid.to_string())),
        RecoveryTarget::RestorePoint(name) => Some(("recovery_target_name", name.to_string())),
    }
}

/// The targets that the entries of another configuration file, as `postgresql.conf`, leave set.
pub fn foreign_targets(entries: &[ConfigEntry]) -> Vec<&'static str> {
    let leaves_set = |name: &&str| {
        let own =
            |entry: &&ConfigEntry| entry.kind == ConfigEntryKind::Setting && entry.name.eq_ignore_ascii_case(name);
        entries.iter().rev().find(own).is_some_and(|entry| !entry.value.is_empty())
    };
    EXCLUSIVE_TARGET_SETTINGS.into_iter().filter(leaves_set).collect()
}

/// The text of `postgresql.auto.conf` with these settings and no others of an earlier recovery.
pub fn apply_recovery_settings(text: &[u8], settings: &RecoverySettings) -> Result<Vec<u8>, RecoverySettingsError> {
    let mut cleared = ARCHIVING_MARKS.remove_from(&clear_recovery_settings(text, ClearScope::Recovery));
    if settings.harmless.is_some() {
        cleared = HARMLESS_MARKS.remove_from(&cleared);
    }
    Ok(append_lines(&cleared, &settings.blocks()?))
}

/// The text of `postgresql.auto.conf` without our lines and without left-over targets; all else byte for byte.
///
/// COMPAT: `ALTER SYSTEM` rewrites the file without comments. Of lines that lost their marks only the targets are
/// still known, and go.
pub fn clear_recovery_settings(text: &[u8], scope: ClearScope) -> Vec<u8> {
    let marks: &[Marks] = match scope {
        ClearScope::Harmlessness => return HARMLESS_MARKS.remove_from(text),
        ClearScope::Recovery => &[RECOVERY_MARKS],
        ClearScope::Everything => &[RECOVERY_MARKS, ARCHIVING_MARKS, HARMLESS_MARKS],
    };
    let cleared = marks.iter().fold(text.to_vec(), |text, marks| marks.remove_from(&text));
    remove_settings(&cleared, &ALL_TARGET_SETTINGS)
}

/// Whether the text of `postgresql.auto.conf` has the settings of a recovery between our marks.
pub fn has_recovery_settings(text: &[u8]) -> bool {
    RECOVERY_MARKS.remove_from(text) != text
}

/// The value that lines of ours in the text set for a recovery, unless the other lines set the same.
pub(super) fn written_setting(auto_text: &[u8], name: &str) -> Option<Vec<u8>> {
    let others = parse_config(&clear_recovery_settings(auto_text, ClearScope::Recovery)).unwrap_or_default();
    let all = parse_config(auto_text).unwrap_or_default();
    let value = config_value(&all, name).filter(|value| config_value(&others, name) != Some(*value))?;
    Some(value.to_vec())
}

/// Whether it has, between our marks, what a restore switches off: archiving, or what makes a copy harmful.
pub fn has_switched_off(text: &[u8]) -> bool {
    [ARCHIVING_MARKS, HARMLESS_MARKS].iter().any(|marks| marks.remove_from(text) != text)
}

impl Marks {
    fn around(&self, lines: &str) -> String {
        format!("{}\n{lines}{}\n", self.begin, self.end)
    }

    /// `text` without marked lines and without marks.
    fn remove_from(&self, text: &[u8]) -> Vec<u8> {
        let is = |line: &[u8], mark: &str| line.trim_ascii_end() == mark.as_bytes();
        let mut kept: Vec<&[u8]> = Vec::new();
        let mut block_start = None;
        for line in split_lines(text) {
            if is(line, self.begin) {
                // A beginning without an end marks nothing: the lines after it may be the user's.
                block_start = Some(kept.len());
            } else if is(line, self.end) {
                kept.truncate(block_start.take().unwrap_or(kept.len()));
            } else {
                kept.push(line);
            }
        }
        kept.concat()
    }
}

#[cfg(test)]
#[path = "recovery_settings_tests.rs"]
mod tests;
