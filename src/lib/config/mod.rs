//! Settings: the file pgv.toml, the environment and the command line into one validated value.
//!
//! INVARIANT: the environment is read here, once, and nowhere else; every other layer takes resolved values.

mod choices;
mod configuration;
#[allow(dead_code, reason = "read in full once the files are")]
mod environment;
mod error;
mod load;
mod nearest;
#[allow(dead_code, reason = "read in full once the files are")]
mod overrides;

pub use choices::{CheckpointMode, ChoiceError, LogFormat, LogLevel};
pub use configuration::{Configuration, LogSettings};
pub use environment::Environment;
pub use error::ConfigError;
pub use load::{ConfigurationFile, LoadOptions, load};
pub(crate) use nearest::nearest;
pub use overrides::Overrides;
