//! The server's `tablespace_map` (`do_pg_backup_start` in `xlog.c`, `read_tablespace_map` in `xlogrecovery.c`).
//!
//! INVARIANT: printing what was parsed gives the same bytes; each tablespace stands in it once. The paths are the
//! server's: shown and mapped, never followed without being asked.

use std::collections::HashSet;

use super::data_file_kind::parse_number;
use super::data_path::Escaped;
use crate::error::{Classified, ErrorClass};

/// Which tablespaces a backup has, and where the server kept them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TablespaceMap {
    entries: Vec<TablespaceMapEntry>,
}

/// One tablespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TablespaceMapEntry {
    /// Its OID, the name of its link below `pg_tblspc`.
    pub oid: u32,
    /// Its directory; relative, `pg_tblspc/<oid>`, when it lies in the data directory itself.
    pub path: Vec<u8>,
}

/// Why a text is no tablespace map.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TablespaceMapError {
    /// An entry that is not an OID, a blank and a path.
    #[error("entry {number} of tablespace_map is \"{found}\", expected an OID, a blank and a path")]
    Entry {
        /// Which entry, from one.
        number: usize,
        /// It, escaped and shortened.
        found: String,
    },
    /// A path that no server has.
    #[error(
        "entry {number} of tablespace_map has a path of {length} bytes or with a zero byte, at most {PATH_BYTES_MAX}"
    )]
    Path {
        /// Which entry, from one.
        number: usize,
        /// How long it is.
        length: usize,
    },
    /// A tablespace that comes twice.
    #[error("tablespace_map names tablespace {oid} twice")]
    DuplicateOid {
        /// The tablespace.
        oid: u32,
    },
    /// A carriage return that servers would have escaped.
    #[error("entry {number} of tablespace_map has a bare carriage return")]
    CarriageReturn {
        /// Which entry, from one.
        number: usize,
    },
    /// It does not end with a line break: cut short.
    #[error("tablespace_map does not end with a line break")]
    Unterminated,
}

impl Classified for TablespaceMapError {
    fn class(&self) -> ErrorClass {
        ErrorClass::InvalidInput
    }
}

/// LIMIT: PostgreSQL's `MAXPGPATH` without the terminating zero.
const PATH_BYTES_MAX: usize = 1023;

impl TablespaceMap {
    /// A map of these tablespaces, which must differ in their OIDs.
    pub fn new(entries: Vec<TablespaceMapEntry>) -> Result<Self, TablespaceMapError> {
        let mut seen = HashSet::new();
        for (entry, number) in entries.iter().zip(1usize..) {
            let length = entry.path.len();
            if !(1..=PATH_BYTES_MAX).contains(&length) || entry.path.contains(&0) {
                return Err(TablespaceMapError::Path { number, length });
            }
            if !seen.insert(entry.oid) {
                return Err(TablespaceMapError::DuplicateOid { oid: entry.oid });
            }
        }
        Ok(Self { entries })
    }

    /// Reads a map; an empty file is a map of no tablespace.
    pub fn parse(text: &[u8]) -> Result<Self, TablespaceMapError> {
        let mut entries = Vec::new();
        let mut entry = Vec::new();
        let mut escaped = false;
        for &byte in text {
            let number = entries.len().saturating_add(1);
            match byte {
                b'\n' if !escaped => entries.push(TablespaceMapEntry::parse(number, &std::mem::take(&mut entry))?),
                b'\r' if !escaped => return Err(TablespaceMapError::CarriageReturn { number }),
                b'\\' if !escaped => escaped = true,
                _ => {
                    entry.push(byte);
                    escaped = false;
                }
            }
        }
        if escaped || !entry.is_empty() {
            return Err(TablespaceMapError::Unterminated);
        }
        Self::new(entries)
    }

    /// The tablespaces, in the order of the file.
    pub fn entries(&self) -> &[TablespaceMapEntry] {
        &self.entries
    }

    /// The file's bytes, as the server that recovers from them reads them.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for TablespaceMapEntry { oid, path } in &self.entries {
            text.extend_from_slice(format!("{oid} ").as_bytes());
            for &byte in path {
                if matches!(byte, b'\n' | b'\r' | b'\\') {
                    text.push(b'\\');
                }
                text.push(byte);
            }
            text.push(b'\n');
        }
        text
    }
}

impl TablespaceMapEntry {
    /// Whether it lies in the data directory itself, where its link would be.
    pub fn is_in_place(&self) -> bool {
        self.path == format!("pg_tblspc/{}", self.oid).as_bytes()
    }

    /// From a line with escapes undone. The path may begin with blanks of its own.
    fn parse(number: usize, line: &[u8]) -> Result<Self, TablespaceMapError> {
        let parse = || {
            let blank = line.iter().position(|&byte| byte == b' ')?;
            let (oid, path) = line.split_at_checked(blank)?;
            Some(Self { oid: parse_number(oid)?, path: path.strip_prefix(b" ")?.to_vec() })
        };
        const SHOWN_BYTES_MAX: usize = 100;
        let found = || Escaped(line.get(..SHOWN_BYTES_MAX).unwrap_or(line)).to_string();
        parse()
            .filter(|entry| !entry.path.is_empty())
            .ok_or_else(|| TablespaceMapError::Entry { number, found: found() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(oid: u32, path: &[u8]) -> TablespaceMapEntry {
        TablespaceMapEntry { oid, path: path.to_vec() }
    }

    #[test]
    fn reads_and_prints_the_map_of_a_real_server() {
        // The second file of the archive that a server of version 15 sent.
        let archive = include_bytes!("../../../tests/data/postgres-15/base.tar");
        let map = &archive[1536..1536 + 31];
        let parsed = TablespaceMap::parse(map).unwrap();
        assert_eq!(parsed.entries(), [entry(16384, b"/srv/example15/space one")]);
        assert_eq!(parsed.to_bytes(), map);
    }

    #[test]
    fn undoes_escapes() {
        let map = b"1 /a\\\nb\\\\c\\\rd\n2   /blanks \n3 pg_tblspc/3\n4 /caf\xe9\\x\n";
        let parsed = TablespaceMap::parse(map).unwrap();
        let wanted =
            [entry(1, b"/a\nb\\c\rd"), entry(2, b"  /blanks "), entry(3, b"pg_tblspc/3"), entry(4, b"/caf\xe9x")];
        assert_eq!(parsed.entries(), wanted);
        assert_eq!(TablespaceMap::parse(b"").unwrap(), TablespaceMap::default());
    }

    #[test]
    fn refuses_each_malformed_map() {
        use TablespaceMapError as E;
        let error = |text: &[u8]| TablespaceMap::parse(text).unwrap_err();
        for text in [&b"\n"[..], b"1\n", b"1 \n", b" /a\n", b"x /a\n", b"01 /a\n", b"0 /a\n", b"4294967296 /a\n"] {
            assert!(matches!(error(text), E::Entry { number: 1, .. }), "{text:?}");
        }
        assert!(matches!(error(b"1 /a\n\n2 /b\n"), E::Entry { number: 2, .. }));
        assert_eq!(error(b"1 /a\n2 /b\n1 /c\n"), E::DuplicateOid { oid: 1 });
        assert_eq!(error(b"1 /a\r\n"), E::CarriageReturn { number: 1 });
        for text in [&b"1 /a"[..], b"1 /a\n2", b"1 /a\\\n", b"1 /a\n\\"] {
            assert_eq!(error(text), E::Unterminated, "{text:?}");
        }
        assert_eq!(error(b"1 /a\0\n"), E::Path { number: 1, length: 3 });
        let long = [b"1 ".as_slice(), &[b'x'; 1024], b"\n"].concat();
        assert_eq!(error(&long), E::Path { number: 1, length: 1024 });
        assert_eq!(error(&long).class(), ErrorClass::InvalidInput);
        assert_eq!(TablespaceMap::new(vec![entry(1, b"")]).unwrap_err(), E::Path { number: 1, length: 0 });
    }

    proptest! {
        #[test]
        fn prints_what_it_parses(paths in prop::collection::btree_map(1u32.., "[ \n\r\\\\a-c/]{1,12}", 0..6)) {
            let entries = paths.iter().map(|(oid, path)| entry(*oid, path.as_bytes())).collect();
            let map = TablespaceMap::new(entries).unwrap();
            prop_assert_eq!(TablespaceMap::parse(&map.to_bytes()).unwrap(), map);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = TablespaceMap::parse(&bytes);
        }
    }
}
