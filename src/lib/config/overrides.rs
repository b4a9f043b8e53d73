//! What the command line says about settings.

/// Values given by flags, by the key of the setting.
#[derive(Debug, Clone, Default)]
pub struct Overrides(Vec<Override>);

#[derive(Debug, Clone)]
pub(super) struct Override {
    pub(super) key: &'static str,
    pub(super) flag: &'static str,
    pub(super) value: String,
}

impl Overrides {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Remembers that `flag` gave a setting this value; nothing when it was not given.
    pub fn set(&mut self, key: &'static str, flag: &'static str, value: Option<&str>) {
        self.0.extend(value.map(|value| Override { key, flag, value: value.to_owned() }));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Override> {
        self.0.iter()
    }
}
