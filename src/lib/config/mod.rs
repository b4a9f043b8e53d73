//! Settings: the file pgv.toml, the environment and the command line into one validated value.
//!
//! INVARIANT: the environment is read here, once, and nowhere else; every other layer takes resolved values.

mod account;
mod choices;
mod configuration;
mod env_file;
mod environment;
mod error;
mod file;
#[cfg(any(test, feature = "fuzzing"))]
mod fuzzing;
mod load;
mod overrides;
mod render;
mod repo_url;
mod resolve;
mod secret;
mod settings;
mod value;

#[cfg(test)]
mod tests;

pub use account::Account;
pub(crate) use account::account_name;
pub use choices::{BackupMethodChoice, CheckpointMode, ChoiceError, LogFormat, LogLevel};
pub use configuration::{
    ArchiveSettings, BackupSettings, CheckSettings, ClusterSettings, Configuration, Conninfo, FetchSettings,
    LogSettings, NodeSettings, RepoSettings, RestoreSettings, RetentionSettings,
};
pub use environment::Environment;
pub use error::ConfigError;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use fuzzing::settings as fuzz_settings;
pub use load::{ConfigurationFile, LoadOptions, load};
pub use overrides::Overrides;
pub use render::{NewConfiguration, render_new};
pub use repo_url::RepoUrlError;
pub(crate) use secret::conninfo_holds_password as holds_password;
pub(crate) use settings::meaning_of;
pub use value::{Origin, ValueError};
