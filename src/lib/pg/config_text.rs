//! The text of PostgreSQL's configuration files (`src/backend/utils/misc/guc-file.l`).
//!
//! INVARIANT: lines are independent of each other, since no token spans two of them: a rewrite touches the lines it
//! names and leaves every other one byte for byte, whether it can be read or not.

use std::fmt;

use super::config_line::{parse_line, split_lines};
use super::data_path::Escaped;
use crate::error::{Classified, ErrorClass};

/// One entry of a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Number of its line, from one.
    pub line: usize,
    /// What it is.
    pub kind: ConfigEntryKind,
    /// Name as written, in any case; for an include its keyword.
    pub name: String,
    /// Value with quotes and escapes undone; for an include the path.
    pub value: Vec<u8>,
}

/// What an entry of a configuration file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigEntryKind {
    /// Gives a setting its value.
    Setting,
    /// `include`: another file, which must exist.
    Include,
    /// `include_if_exists`: another file, if it exists.
    IncludeIfExists,
    /// `include_dir`: all files in a directory that end with `.conf`.
    IncludeDirectory,
}

/// A line that PostgreSQL could not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in line {line} of a configuration file: \"{text}\"")]
pub struct ConfigSyntaxError {
    /// Number of the line, from one.
    pub line: usize,
    /// The line, escaped and shortened.
    pub text: String,
}

/// A value that cannot stand in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("value of setting \"{name}\" has {character} and cannot stand in a configuration file")]
pub struct ConfigValueError {
    /// The setting.
    pub name: String,
    /// What is in the way.
    pub character: RefusedCharacter,
}

/// What no value in `postgresql.auto.conf` may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedCharacter {
    /// The grammar could take it as an escape, but `ALTER SYSTEM` writes it back as it is and breaks the file.
    LineBreak,
    /// Ends a value in C.
    ZeroByte,
}

impl fmt::Display for RefusedCharacter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LineBreak => "a line break",
            Self::ZeroByte => "a zero byte",
        })
    }
}

impl Classified for ConfigSyntaxError {
    fn class(&self) -> ErrorClass {
        ErrorClass::InvalidInput
    }
}

impl Classified for ConfigValueError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Usage
    }
}

/// Reads a configuration file; includes are returned, not followed. PostgreSQL does not start on an error.
pub fn parse_config(text: &[u8]) -> Result<Vec<ConfigEntry>, ConfigSyntaxError> {
    let mut entries = Vec::new();
    for (line, number) in split_lines(text).zip(1usize..) {
        if let Some((name, value)) = parse_line(line).map_err(|_| ConfigSyntaxError::new(number, line))? {
            entries.push(ConfigEntry { line: number, kind: ConfigEntryKind::of(&name), name, value });
        }
    }
    Ok(entries)
}

/// The value that a file gives to a setting: the last one counts.
pub fn config_value<'a>(entries: &'a [ConfigEntry], name: &str) -> Option<&'a [u8]> {
    let gives = |entry: &&ConfigEntry| entry.kind == ConfigEntryKind::Setting && entry.name.eq_ignore_ascii_case(name);
    entries.iter().rev().find(gives).map(|entry| entry.value.as_slice())
}

/// `value` in quotes, as it can stand for `name` in `postgresql.auto.conf`.
pub fn quote_config_value(name: &str, value: &str) -> Result<String, ConfigValueError> {
    let refused = |character| Err(ConfigValueError { name: name.to_owned(), character });
    if value.contains('\n') {
        return refused(RefusedCharacter::LineBreak);
    }
    if value.contains('\0') {
        return refused(RefusedCharacter::ZeroByte);
    }
    Ok(format!("'{}'", value.replace('\\', r"\\").replace('\'', "''")))
}

/// The lines for these settings, in their order.
pub fn config_lines<N: AsRef<str>, V: AsRef<str>>(settings: &[(N, V)]) -> Result<String, ConfigValueError> {
    let mut lines = String::new();
    for (name, value) in settings {
        let name = name.as_ref();
        lines.push_str(&format!("{name} = {}\n", quote_config_value(name, value.as_ref())?));
    }
    Ok(lines)
}

/// `text` without the lines that give a value to one of `names`.
pub fn remove_settings(text: &[u8], names: &[&str]) -> Vec<u8> {
    let removed = |line: &[u8]| match parse_line(line) {
        Ok(Some((name, _))) => names.iter().any(|removed| name.eq_ignore_ascii_case(removed)),
        Ok(None) | Err(_) => false,
    };
    split_lines(text).filter(|line| !removed(line)).collect::<Vec<_>>().concat()
}

/// `text`, its last line ended, with `lines` after it.
pub fn append_lines(text: &[u8], lines: &str) -> Vec<u8> {
    let missing: &[u8] = if text.is_empty() || text.ends_with(b"\n") { b"" } else { b"\n" };
    [text, missing, lines.as_bytes()].concat()
}

impl ConfigEntryKind {
    fn of(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "include" => Self::Include,
            "include_if_exists" => Self::IncludeIfExists,
            "include_dir" => Self::IncludeDirectory,
            _ => Self::Setting,
        }
    }
}

impl ConfigSyntaxError {
    fn new(line: usize, text: &[u8]) -> Self {
        const SHOWN_BYTES_MAX: usize = 100;
        let text = text.trim_ascii_end();
        Self { line, text: Escaped(text.get(..SHOWN_BYTES_MAX).unwrap_or(text)).to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SAMPLE: &[u8] = b"# comment\n\nport = 5432\t# why\nSHARED_BUFFERS 128MB\r\n\
        include_dir 'conf.d'\nsearch_path = '\"$user\", public'\nport=5433\ninclude 'a\\'b''c'\n\
        include_if_exists=conf/x.conf\napp.name = 'caf\xe9'\nlast = on";

    #[test]
    fn reads_entries_in_order_with_their_lines() {
        let entries = parse_config(SAMPLE).unwrap();
        let seen: Vec<_> = entries.iter().map(|e| (e.line, e.kind, e.name.as_str(), e.value.as_slice())).collect();
        use ConfigEntryKind as K;
        let wanted: [(usize, K, &str, &[u8]); 9] = [
            (3, K::Setting, "port", b"5432"),
            (4, K::Setting, "SHARED_BUFFERS", b"128MB"),
            (5, K::IncludeDirectory, "include_dir", b"conf.d"),
            (6, K::Setting, "search_path", b"\"$user\", public"),
            (7, K::Setting, "port", b"5433"),
            (8, K::Include, "include", b"a'b'c"),
            (9, K::IncludeIfExists, "include_if_exists", b"conf/x.conf"),
            (10, K::Setting, "app.name", b"caf\xe9"),
            (11, K::Setting, "last", b"on"),
        ];
        assert_eq!(seen, wanted);
        assert_eq!(config_value(&entries, "PORT"), Some(&b"5433"[..]));
        assert_eq!(config_value(&entries, "shared_buffers"), Some(&b"128MB"[..]));
        assert_eq!(config_value(&entries, "include"), None);
        assert_eq!(config_value(&entries, "absent"), None);
    }

    #[test]
    fn names_the_line_that_it_cannot_read() {
        let error = parse_config(b"a = 1\n\nb = 'x\nc = 1\n").unwrap_err();
        assert_eq!(error, ConfigSyntaxError { line: 3, text: "b = 'x".to_owned() });
        assert_eq!(error.class(), ErrorClass::InvalidInput);
        assert!(parse_config(&[b'-'; 4000]).unwrap_err().text.len() <= 100);
    }

    #[test]
    fn removes_lines_and_leaves_all_others_byte_for_byte() {
        let removed = remove_settings(SAMPLE, &["port", "last", "include_dir"]);
        assert_eq!(
            removed,
            b"# comment\n\nSHARED_BUFFERS 128MB\r\nsearch_path = '\"$user\", public'\ninclude 'a\\'b''c'\n\
              include_if_exists=conf/x.conf\napp.name = 'caf\xe9'\n"
        );
        assert_eq!(remove_settings(SAMPLE, &[]), SAMPLE);
        let unreadable = b"port = \nport 1 2\n= port\n#port = 1\nport2 = 1\n 'port' = 1\nPort 'x' # y\n";
        assert_eq!(remove_settings(unreadable, &["port"]), &unreadable[..unreadable.len() - b"Port 'x' # y\n".len()]);
    }

    #[test]
    fn appends_after_a_complete_line() {
        assert_eq!(append_lines(b"", "b\n"), b"b\n");
        assert_eq!(append_lines(b"a\n", "b\n"), b"a\nb\n");
        assert_eq!(append_lines(b"a", "b\n"), b"a\nb\n");
    }

    #[test]
    fn refuses_values_that_would_break_the_file() {
        for (value, character) in [("a\nb", RefusedCharacter::LineBreak), ("a\0", RefusedCharacter::ZeroByte)] {
            let error = quote_config_value("x", value).unwrap_err();
            assert_eq!(error, ConfigValueError { name: "x".to_owned(), character });
            assert_eq!(error.class(), ErrorClass::Usage);
            assert_eq!(config_lines(&[("x", value)]).unwrap_err(), error);
        }
        assert_eq!(quote_config_value("x", "it's \\n").unwrap(), r"'it''s \\n'");
    }

    proptest! {
        #[test]
        fn prints_what_it_parses(settings in prop::collection::vec(("[a-z_]{1,9}(\\.[a-z]{1,3})?", "[^\n\0]{0,30}"), 0..5)) {
            let text = config_lines(&settings).unwrap();
            let entries = parse_config(text.as_bytes()).unwrap();
            let read: Vec<_> =
                entries.into_iter().map(|e| (e.name, String::from_utf8(e.value).unwrap())).collect();
            prop_assert_eq!(read, settings);
        }

        #[test]
        fn removing_twice_is_removing_once(text in "((port|x|#|'|\\\\|=| |1|\r){0,6}\n){0,6}") {
            let once = remove_settings(text.as_bytes(), &["port"]);
            prop_assert_eq!(remove_settings(&once, &["port"]), once.clone());
            if let Ok(entries) = parse_config(&once) {
                prop_assert_eq!(config_value(&entries, "port"), None);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(text in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_config(&text);
            let _ = remove_settings(&text, &["x"]);
        }
    }
}
