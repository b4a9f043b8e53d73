//! What pgv-recovery-conf answers, for people and for programs.

use std::path::Path;

use serde::Serialize;

use super::args::OutputFormat;
use super::copy_server::CopyServer;
use super::printer::{OutputError, escaped, json_answer};
use super::typed::Typed;
use crate::pg::{ClearScope, RecoveryMode, RecoveryTarget};
use crate::recovery_conf::{ClearPlan, WritePlan};
use crate::restore::ConfigurationPlace;

/// The answer to `--write`, and to a call that only shows.
pub(crate) struct WriteAnswer<'a> {
    pub(crate) plan: &'a WritePlan,
    pub(crate) typed: &'a Typed,
    /// Whether it was carried out.
    pub(crate) written: bool,
    /// Whether it was asked to be carried out, but not in earnest.
    pub(crate) dry_run: bool,
}

/// The answer to `--clear`.
pub(crate) struct ClearAnswer<'a> {
    pub(crate) plan: &'a ClearPlan,
    pub(crate) dry_run: bool,
}

#[derive(Serialize)]
struct WriteJson {
    schema_version: u32,
    action: &'static str,
    dry_run: bool,
    data_directory: Option<String>,
    file: String,
    signal_file: String,
    removed_signal_file: Option<String>,
    mode: &'static str,
    target: String,
    /// `recovery_target_timeline`: a number, `latest` or `current`.
    target_timeline: String,
    settings: Vec<&'static str>,
    /// Without passwords; none once they are written.
    lines: Option<String>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct ClearJson<'a> {
    schema_version: u32,
    action: &'static str,
    dry_run: bool,
    data_directory: String,
    file: String,
    changed: bool,
    removed_settings: &'a [String],
    removed_signal_file: Option<String>,
    warnings: &'a [String],
}

impl WriteAnswer<'_> {
    pub(crate) fn show(&self, format: OutputFormat) -> Result<String, OutputError> {
        match (format, self.written) {
            (OutputFormat::Json, _) => json_answer(&self.json()),
            (OutputFormat::Text, true) => Ok(self.report()),
            (OutputFormat::Text, false) => Ok(self.lines()),
        }
    }

    /// The settings that get a value, without those that are unset.
    fn names(&self) -> Vec<&'static str> {
        let settings = self.plan.settings.settings().unwrap_or_default();
        settings.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, _)| name).collect()
    }

    fn json(&self) -> WriteJson {
        let plan = self.plan;
        let path = |path: &Path| path.to_string_lossy().into_owned();
        WriteJson {
            schema_version: 1,
            action: if self.written || self.dry_run { "write" } else { "print" },
            dry_run: self.dry_run,
            data_directory: plan.data_directory.as_deref().map(path),
            file: path(&plan.file),
            signal_file: path(&plan.signal_file),
            removed_signal_file: plan.removed_signal_file.as_deref().map(path),
            mode: match plan.settings.mode {
                RecoveryMode::Targeted => "recovery",
                RecoveryMode::Standby => "standby",
            },
            target: plan.settings.target.to_string(),
            target_timeline: plan.settings.target_timeline.to_string(),
            settings: self.names(),
            lines: (!self.written).then(|| plan.lines.clone()),
            warnings: plan.warnings.clone(),
        }
    }

    fn report(&self) -> String {
        let plan = self.plan;
        let mut text = format!("wrote to {}: {}\n", shown(&plan.file), self.names().join(", "));
        if let Some(timeline) = plan.kept_timeline {
            text += &format!("it stays on timeline {timeline}; --target-timeline names another\n");
        }
        text += &format!("created {}\n", shown(&plan.signal_file));
        if let Some(removed) = &plan.removed_signal_file {
            text += &format!("removed {}\n", shown(removed));
        }
        let configured = plan
            .data_directory
            .as_ref()
            .and_then(|directory| Some((directory, ConfigurationPlace::in_directory(directory)?)));
        let start = match configured {
            Some((directory, configuration)) => {
                self.typed.other(&CopyServer::of_directory(directory, &configuration).start_command())
            }
            None => "start the server".to_owned(),
        };
        text += &format!("next: {start}  ({})\n", self.what_follows());
        text
    }

    /// What the server does once it is started.
    fn what_follows(&self) -> String {
        let settings = &self.plan.settings;
        match (settings.mode, &settings.target) {
            (RecoveryMode::Standby, _) => "it follows until it is promoted".to_owned(),
            (RecoveryMode::Targeted, RecoveryTarget::Latest) => {
                "it recovers to the end of the archive and opens".to_owned()
            }
            (RecoveryMode::Targeted, target) => format!("it recovers to {target}, then: {}", settings.target_action),
        }
    }

    /// All that is no setting is a comment, so that the answer can stand in a configuration file as it is.
    fn lines(&self) -> String {
        let plan = self.plan;
        let file = shown(&plan.file);
        let whose = if plan.data_directory.is_some() { "" } else { " in the data directory" };
        let mut text = format!("# for {file}{whose}:\n{}", plan.lines);
        text += &format!("# with an empty file {}{whose}\n", shown(&plan.signal_file));
        match &plan.removed_signal_file {
            Some(removed) => text += &format!("# and without {}\n", shown(removed)),
            None if plan.data_directory.is_none() => {
                text += &format!(
                    "# and without {}, recovery.conf and other lines with recovery_target\n",
                    plan.settings.mode.other_signal_file()
                );
            }
            None => {}
        }
        if let Some(timeline) = plan.kept_timeline {
            text += &format!("# timeline {timeline} stays; --target-timeline names another\n");
        }
        if self.dry_run {
            text += "# nothing was written: --dry-run\n";
        }
        text
    }
}

impl ClearAnswer<'_> {
    pub(crate) fn show(&self, format: OutputFormat) -> Result<String, OutputError> {
        match format {
            OutputFormat::Json => json_answer(&self.json()),
            OutputFormat::Text => Ok(self.report()),
        }
    }

    fn json(&self) -> ClearJson<'_> {
        ClearJson {
            schema_version: 1,
            action: "clear",
            dry_run: self.dry_run,
            data_directory: self.plan.data_directory.to_string_lossy().into_owned(),
            file: self.plan.file.to_string_lossy().into_owned(),
            changed: self.plan.changes_anything(),
            removed_settings: &self.plan.removed_settings,
            removed_signal_file: self.plan.removed_signal_file.as_ref().map(|path| path.to_string_lossy().into_owned()),
            warnings: &self.plan.warnings,
        }
    }

    fn report(&self) -> String {
        let file = shown(&self.plan.file);
        let removed = match self.plan.removed_settings.as_slice() {
            [] => "nothing".to_owned(),
            names => names.join(", "),
        };
        let verb = if self.dry_run { "would remove" } else { "removed" };
        let what_counts = match (self.plan.scope, self.plan.removed_settings.is_empty()) {
            (ClearScope::Recovery, _) | (_, true) => "",
            _ => "the values of the configuration count again, from the next start on\n",
        };
        let signal_file = match &self.plan.removed_signal_file {
            Some(path) => format!("{verb} {}: the server starts as it was before it was written\n", shown(path)),
            None => String::new(),
        };
        format!("{verb} from {file}: {removed}\n{signal_file}{what_counts}")
    }
}

/// A path on one line, so that the rest of it can be no line of its own.
fn shown(path: &Path) -> String {
    escaped(&path.display().to_string())
}
