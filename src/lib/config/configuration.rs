//! The resolved settings.

use super::{LogFormat, LogLevel};

/// Every setting, validated.
#[derive(Debug, Clone, Default)]
pub struct Configuration {
    pub(super) log: LogSettings,
    pub(super) warnings: Vec<String>,
}

/// What is said on stderr, and how.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// The least severe level; the program's own when absent.
    pub level: Option<LogLevel>,
    /// Form of the messages.
    pub format: LogFormat,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { level: None, format: LogFormat::Text }
    }
}

impl Configuration {
    /// What is said on stderr, and how.
    pub fn log(&self) -> &LogSettings {
        &self.log
    }

    /// What should be mended although the settings can be used.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}
