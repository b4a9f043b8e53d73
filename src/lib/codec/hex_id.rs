//! Identifiers and digests of fixed length that are written as lower-case hexadecimal digits.

/// A text that is not the expected number of lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid {what} \"{text}\": expected {digits} lower-case hexadecimal digits")]
pub struct HexParseError {
    /// What should have been read.
    pub what: &'static str,
    /// What was given.
    pub text: String,
    /// How many digits it has.
    pub digits: usize,
}

/// Writes bytes as lower-case hexadecimal digits.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Reads exactly `N` bytes of lower-case hexadecimal digits.
pub(crate) fn from_hex<const N: usize>(what: &'static str, text: &str) -> Result<[u8; N], HexParseError> {
    let error = || HexParseError { what, text: text.chars().take(80).collect(), digits: N * 2 };
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if text.len() != N * 2 {
        return Err(error());
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let [high, low] = pair else { return Err(error()) };
        *byte = digit(*high).ok_or_else(error)? << 4 | digit(*low).ok_or_else(error)?;
    }
    Ok(bytes)
}

/// Declares a newtype of `N` bytes that is shown, parsed and serialised as hexadecimal digits.
macro_rules! hex_type {
    ($(#[$doc:meta])* $name:ident, $bytes:expr, $what:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// How many bytes it has.
            pub const BYTES: usize = $bytes;

            /// Of these bytes.
            pub const fn from_bytes(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }

            /// Its bytes.
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&$crate::codec::hex_id::to_hex(&self.0))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::codec::hex_id::HexParseError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::codec::hex_id::from_hex($what, text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::codec::hex_id::HexParseError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    };
}
pub(crate) use hex_type;

hex_type!(
    /// The random number that a repository gets when it is created.
    RepositoryId,
    16,
    "repository id"
);

hex_type!(
    /// Who wrote an object: derived from host and data directory, described by `<cluster>/writers/<id>`.
    WriterId,
    16,
    "writer id"
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rejects_wrong_length_and_upper_case() {
        for text in ["", "00", "0123456789abcdef0123456789abcde", "0123456789ABCDEF0123456789ABCDEF", "é"] {
            assert!(text.parse::<RepositoryId>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn prints_what_it_parses(bytes: [u8; 16]) {
            let id = RepositoryId::from_bytes(bytes);
            prop_assert_eq!(id.to_string().parse::<RepositoryId>().unwrap(), id);
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".*") {
            let _ = text.parse::<WriterId>();
        }
    }
}
