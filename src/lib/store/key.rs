//! Names of objects in a store.

use std::fmt;

/// LIMIT: bytes of a key; object stores allow 1024.
const KEY_BYTES_MAX: usize = 512;

/// A relative name of ASCII components between slashes. No component is empty or begins with a dot, so that no key
/// leaves its store or meets what the store keeps for itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(String);

/// A text that is not a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid object key \"{}\"", text.escape_debug())]
pub struct ObjectKeyError {
    /// What was given, shortened.
    pub text: String,
}

impl ObjectKey {
    /// The key of that text.
    pub fn parse(text: &str) -> Result<Self, ObjectKeyError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        let component = |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(allowed);
        if text.len() <= KEY_BYTES_MAX && text.split('/').all(component) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ObjectKeyError { text: text.chars().take(KEY_BYTES_MAX).collect() })
        }
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part after the last slash.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rejects_what_could_leave_the_store() {
        let long = "k".repeat(KEY_BYTES_MAX + 1);
        for text in ["", "/", "/a", "a/", "a//b", ".", "..", "a/../b", ".staging/x", "a b", "é", "a\0", "a\\b", &long]
        {
            assert!(ObjectKey::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(ObjectKey::parse("main/wal/00000001.history").unwrap().file_name(), "00000001.history");
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in ".*") {
            if let Ok(key) = ObjectKey::parse(&text) {
                prop_assert_eq!(key.as_str(), text);
            }
        }
    }
}
