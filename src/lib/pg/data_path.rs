//! Paths inside a data directory, as an untrusted server or manifest names them.
//!
//! INVARIANT: a [`DataPath`] has at least one component and only normal ones: joined to a directory it stays below
//! it, whatever was sent, as long as no link stands in the way (which `fs` refuses to follow).

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use super::data_file_kind::DataFileKind;
use crate::error::{Classified, ErrorClass};

/// LIMIT: bytes in a whole path; PostgreSQL's `MAXPGPATH` has the terminating zero too.
const PATH_BYTES_MAX: usize = 1023;
/// LIMIT: bytes in a component; what Linux file systems take.
const COMPONENT_BYTES_MAX: usize = 255;

/// A relative path inside a data directory: bytes, since file names need not be UTF-8.
///
/// Cheap to clone. Ordered by its bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DataPath(Arc<[u8]>);

/// Why a path is not one inside a data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DataPathProblem {
    /// No byte at all.
    #[error("it is empty")]
    Empty,
    /// Longer than any path PostgreSQL handles.
    #[error("it has {length} bytes, at most {PATH_BYTES_MAX} are allowed")]
    TooLong {
        /// Its length.
        length: usize,
    },
    /// A leading slash.
    #[error("it is absolute")]
    Absolute,
    /// Two slashes in a row, or one at the end.
    #[error("it has an empty component")]
    EmptyComponent,
    /// A component `.` or `..`.
    #[error("it has a component \".\" or \"..\"")]
    DotComponent,
    /// A component that no file system takes.
    #[error("it has a component of {length} bytes, at most {COMPONENT_BYTES_MAX} are allowed")]
    LongComponent {
        /// The component's length.
        length: usize,
    },
    /// A zero byte.
    #[error("it has a zero byte")]
    ZeroByte,
    /// A backslash, which is a separator elsewhere.
    #[error("it has a backslash")]
    Backslash,
    /// Not pairs of hexadecimal digits, where an encoded path was expected.
    #[error("it is not hexadecimal")]
    NotHex,
}

/// A text that is not a path inside a data directory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unsafe path \"{path}\" in a data directory: {problem}")]
pub struct DataPathError {
    /// What was given, escaped and shortened.
    pub path: String,
    /// What is wrong with it.
    pub problem: DataPathProblem,
}

impl Classified for DataPathError {
    fn class(&self) -> ErrorClass {
        ErrorClass::InvalidInput
    }
}

impl DataPath {
    /// Reads a path; refuses everything that could lead out of the directory it is joined to.
    pub fn parse(path: &[u8]) -> Result<Self, DataPathError> {
        match Self::problem(path) {
            None => Ok(Self(path.into())),
            Some(problem) => Err(DataPathError::new(path, problem)),
        }
    }

    /// Reads the hexadecimal form of a path that is not UTF-8; either case.
    pub fn parse_hex(digits: &str) -> Result<Self, DataPathError> {
        match hex_decode(digits.as_bytes()) {
            Some(path) => Self::parse(&path),
            None => Err(DataPathError::new(digits.as_bytes(), DataPathProblem::NotHex)),
        }
    }

    fn problem(path: &[u8]) -> Option<DataPathProblem> {
        if path.is_empty() {
            return Some(DataPathProblem::Empty);
        }
        if path.len() > PATH_BYTES_MAX {
            return Some(DataPathProblem::TooLong { length: path.len() });
        }
        if path.starts_with(b"/") {
            return Some(DataPathProblem::Absolute);
        }
        if path.contains(&0) {
            return Some(DataPathProblem::ZeroByte);
        }
        if path.contains(&b'\\') {
            return Some(DataPathProblem::Backslash);
        }
        path.split(|&byte| byte == b'/').find_map(|component| match component {
            b"" => Some(DataPathProblem::EmptyComponent),
            b"." | b".." => Some(DataPathProblem::DotComponent),
            _ if component.len() > COMPONENT_BYTES_MAX => {
                Some(DataPathProblem::LongComponent { length: component.len() })
            }
            _ => None,
        })
    }

    /// Its bytes, without a leading or a trailing slash.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As a relative path of the file system.
    pub fn to_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// Its text, when it is UTF-8.
    pub fn to_text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// Its bytes in lower-case hexadecimal digits, for formats that hold text only.
    pub fn to_hex(&self) -> String {
        hex_encode(&self.0)
    }

    /// For messages and tables: control characters and what is not UTF-8 escaped.
    pub fn display(&self) -> impl fmt::Display + '_ {
        Escaped(&self.0)
    }

    /// This path with `below` appended.
    pub fn join(&self, below: &DataPath) -> Result<Self, DataPathError> {
        Self::parse(&[self.as_bytes(), b"/", below.as_bytes()].concat())
    }

    /// Its components, from the data directory down; never empty.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&byte| byte == b'/')
    }

    /// Its last component.
    pub fn file_name(&self) -> &[u8] {
        self.components().next_back().unwrap_or_default()
    }

    /// All but the last component; `None` when there is only one.
    pub fn parent(&self) -> Option<Self> {
        let end = self.0.iter().rposition(|&byte| byte == b'/')?;
        self.0.get(..end).map(|parent| Self(parent.into()))
    }

    /// Whether its first component is `component`, also when it is the only one.
    pub fn starts_with_component(&self, component: &str) -> bool {
        self.components().next() == Some(component.as_bytes())
    }

    /// What PostgreSQL keeps under this path.
    pub fn classify(&self) -> DataFileKind {
        DataFileKind::of(self)
    }
}

impl fmt::Debug for DataPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataPath(\"{}\")", Escaped(&self.0))
    }
}

impl DataPathError {
    fn new(path: &[u8], problem: DataPathProblem) -> Self {
        const SHOWN_BYTES_MAX: usize = 200;
        let mut shown = Escaped(path.get(..SHOWN_BYTES_MAX).unwrap_or(path)).to_string();
        if path.len() > SHOWN_BYTES_MAX {
            shown.push_str("...");
        }
        Self { path: shown, problem }
    }
}

/// Shows bytes as text: control characters and quotes escaped, other bytes than UTF-8 as `\xe9`.
pub(crate) struct Escaped<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                match character {
                    '\'' => f.write_str("'")?,
                    _ => write!(f, "{}", character.escape_debug())?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// Lower-case hexadecimal digits of `bytes`.
pub(crate) fn hex_encode(bytes: &[u8]) -> String {
    use fmt::Write;
    let mut digits = String::with_capacity(bytes.len().saturating_mul(2));
    for byte in bytes {
        // Writing into a String cannot fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

/// The bytes of hexadecimal digits in either case; `None` for an odd number of them or anything else.
pub(crate) fn hex_decode(digits: &[u8]) -> Option<Vec<u8>> {
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|&[high, low]| Some((nibble(high)? << 4) | nibble(low)?)).collect()
}

impl fmt::Display for DataPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Component;

    fn problem_of(path: &[u8]) -> DataPathProblem {
        DataPath::parse(path).unwrap_err().problem
    }

    #[test]
    fn accepts_what_servers_send() {
        for path in ["PG_VERSION", "base/1/1259_fsm", "global/pg_control", "a b/c'd\"\n", "..x/.y", "caf\u{e9}"] {
            let parsed = DataPath::parse(path.as_bytes()).unwrap();
            assert_eq!(parsed.as_bytes(), path.as_bytes());
            assert_eq!(parsed.to_text(), Some(path));
            assert_eq!(parsed.to_path(), Path::new(path));
        }
        assert_eq!(DataPath::parse(b"caf\xe9").unwrap().to_text(), None);
    }

    #[test]
    fn refuses_each_hostile_form() {
        use DataPathProblem as P;
        let long = "x".repeat(256);
        let deep = "abc/".repeat(256) + "d";
        let table: [(&[u8], P); 22] = [
            (b"", P::Empty),
            (b"/", P::Absolute),
            (b"/etc/passwd", P::Absolute),
            (b"//x", P::Absolute),
            (b".", P::DotComponent),
            (b"..", P::DotComponent),
            (b"../x", P::DotComponent),
            (b"./x", P::DotComponent),
            (b"a/..", P::DotComponent),
            (b"a/../b", P::DotComponent),
            (b"a/./b", P::DotComponent),
            (b"base/../../etc/cron.d/x", P::DotComponent),
            (b"a//b", P::EmptyComponent),
            (b"a/", P::EmptyComponent),
            (b"a\0", P::ZeroByte),
            (b"\0", P::ZeroByte),
            (b"a\0/../b", P::ZeroByte),
            (b"a\\b", P::Backslash),
            (b"..\\b", P::Backslash),
            (b"C:\\x", P::Backslash),
            (long.as_bytes(), P::LongComponent { length: 256 }),
            (deep.as_bytes(), P::TooLong { length: 1025 }),
        ];
        for (path, problem) in table {
            assert_eq!(problem_of(path), problem, "{}", Escaped(path));
        }
        assert!(DataPath::parse("x".repeat(255).as_bytes()).is_ok());
        assert!(DataPath::parse("abc/".repeat(256).trim_end_matches('/').as_bytes()).is_ok());
    }

    #[test]
    fn errors_show_the_path_escaped_and_shortened() {
        let error = DataPath::parse(b"/caf\xe9\n\"").unwrap_err();
        assert_eq!(error.to_string(), "unsafe path \"/caf\\xe9\\n\\\"\" in a data directory: it is absolute");
        assert!(DataPath::parse(&[b'x'; 5000]).unwrap_err().path.len() < 210);
        assert_eq!(error.class(), ErrorClass::InvalidInput);
    }

    #[test]
    fn takes_itself_apart() {
        let path = DataPath::parse(b"pg_tblspc/16384/x").unwrap();
        assert_eq!(path.components().collect::<Vec<_>>(), [&b"pg_tblspc"[..], b"16384", b"x"]);
        assert_eq!(path.file_name(), b"x");
        assert_eq!(path.parent(), Some(DataPath::parse(b"pg_tblspc/16384").unwrap()));
        assert_eq!(DataPath::parse(b"x").unwrap().parent(), None);
        assert!(path.starts_with_component("pg_tblspc"));
        assert!(!path.starts_with_component("pg_tbl"));
        assert_eq!(path.join(&DataPath::parse(b"a/b").unwrap()).unwrap().as_bytes(), b"pg_tblspc/16384/x/a/b");
        let long = DataPath::parse("abc/".repeat(200).trim_end_matches('/').as_bytes()).unwrap();
        assert_eq!(long.join(&long).unwrap_err().problem, DataPathProblem::TooLong { length: 1599 });
    }

    #[test]
    fn hexadecimal_digits_are_pairs_and_of_no_hostile_path() {
        assert_eq!(DataPath::parse_hex("2e2e2f78").unwrap_err().problem, DataPathProblem::DotComponent);
        assert_eq!(DataPath::parse_hex("636").unwrap_err().problem, DataPathProblem::NotHex);
        assert_eq!(DataPath::parse_hex("+1").unwrap_err().problem, DataPathProblem::NotHex);
        assert_eq!(DataPath::parse_hex("636166E9").unwrap().as_bytes(), b"caf\xe9");
    }

    proptest! {
        #[test]
        fn stays_below_the_directory_it_is_joined_to(bytes in prop::collection::vec(
            prop_oneof![4 => Just(b'.'), 4 => Just(b'/'), 1 => any::<u8>()], 0..40,
        )) {
            if let Ok(path) = DataPath::parse(&bytes) {
                prop_assert_eq!(path.as_bytes(), &bytes[..]);
                prop_assert!(path.to_path().components().all(|c| matches!(c, Component::Normal(_))));
                prop_assert_eq!(path.to_path().components().count(), path.components().count());
            }
        }

        #[test]
        fn prints_what_it_parses(parts in prop::collection::vec("[^/\\\\\0]{1,20}", 1..6)) {
            if let Ok(path) = DataPath::parse(parts.join("/").as_bytes()) {
                prop_assert_eq!(&DataPath::parse_hex(&path.to_hex()).unwrap(), &path);
            }
        }

        #[test]
        fn hexadecimal_digits_keep_any_bytes(bytes in prop::collection::vec(any::<u8>(), 1..60)) {
            if let Ok(path) = DataPath::parse(&bytes) {
                prop_assert_eq!(&DataPath::parse_hex(&path.to_hex()).unwrap(), &path);
                prop_assert!(!path.display().to_string().contains(char::is_control));
            }
        }
    }
}
