//! Why the settings cannot be used.

use crate::error::{Classified, ErrorClass};

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {}

impl Classified for ConfigError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Usage
    }
}
