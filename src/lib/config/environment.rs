//! The environment variables of the process, read once.

use std::collections::BTreeMap;

/// Variables by name.
#[derive(Clone, Default)]
pub struct Environment {
    texts: BTreeMap<String, String>,
    /// Names of variables whose values are not UTF-8.
    not_utf8: Vec<String>,
}

impl Environment {
    /// Those that this process was started with: the only place that asks for them.
    pub fn from_process() -> Self {
        let mut environment = Self::default();
        for (name, value) in std::env::vars_os() {
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) => {
                    environment.texts.insert(name, value);
                }
                Err(_) => environment.not_utf8.push(name),
            }
        }
        environment
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.texts.get(name).map(String::as_str)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(super) fn not_utf8(&self) -> impl Iterator<Item = &str> {
        self.not_utf8.iter().map(String::as_str)
    }

    /// With further variables where it has none of that name.
    pub(super) fn or(mut self, others: impl IntoIterator<Item = (String, String)>) -> Self {
        for (name, value) in others {
            self.texts.entry(name).or_insert(value);
        }
        self
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self { texts: variables.into_iter().collect(), not_utf8: Vec::new() }
    }
}

/// Names alone: values may be secrets.
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.texts.keys()).finish()
    }
}
