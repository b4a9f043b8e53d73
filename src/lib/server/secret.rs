//! A password that cannot be printed by accident.
//!
//! INVARIANT: neither `Debug` nor `Display` shows the content, and the memory is overwritten when it goes.

use std::fmt;

use zeroize::Zeroizing;

/// A password or another text that must appear in no message, log or dump.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes of a secret.
    pub fn new(content: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(content.into()))
    }

    /// The secret itself, to be handed to an authentication exchange and nowhere else.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(...)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_does_not_show_the_content() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?}"), "Secret(...)");
        assert_eq!(secret.expose(), b"hunter2");
    }
}
