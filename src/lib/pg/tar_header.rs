//! A tar header block in the one form that PostgreSQL writes: ustar (`src/port/tar.c`, `tarCreateHeader`).
//!
//! INVARIANT: two readers can never see different entries in what this accepts: no extensions, no prefix, every
//! field that carries no meaning is empty, every number has one reading.

use std::ops::Range;

use super::data_file_kind::parse_number;
use super::data_path::{DataPath, DataPathError, Escaped};

/// The unit of a tar archive.
pub(super) const BLOCK_BYTES: usize = 512;

/// What one entry of an archive is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TarEntry {
    /// Where it belongs, below the archive's root.
    pub path: DataPath,
    /// File, directory or link.
    pub kind: TarEntryKind,
    /// Permission bits, without the file type.
    pub mode: u32,
    /// Time of the last modification, in seconds since 1970, by the server's file system; may be negative.
    pub modified_seconds: i64,
}

/// The kinds of entries that PostgreSQL sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TarEntryKind {
    /// A regular file.
    File {
        /// How many bytes of data follow.
        size_bytes: u64,
    },
    /// A directory.
    Directory,
    /// The symbolic link of a tablespace, `pg_tblspc/<oid>`.
    TablespaceLink {
        /// The tablespace's OID.
        oid: u32,
        /// Where the server has it: to be shown and mapped, never followed.
        target: Box<[u8]>,
    },
}

/// What is wrong with an archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TarProblem {
    /// The header's own checksum fails.
    #[error("header checksum is {computed}, stated {stated}")]
    Checksum {
        /// Sum of the header's bytes.
        computed: u64,
        /// What the header says.
        stated: u64,
    },
    /// Another format, or no archive at all.
    #[error("no ustar header: found \"{found}\", expected \"ustar\\000\"")]
    Magic {
        /// The bytes of magic and version, escaped.
        found: String,
    },
    /// A numeric field that is neither octal nor a positive base-256 number in range.
    #[error("field \"{field}\" is no number: \"{found}\"")]
    Number {
        /// Name of the field.
        field: &'static str,
        /// Its bytes, escaped.
        found: String,
    },
    /// A field that PostgreSQL leaves empty, or bytes after a field's terminating zero.
    #[error("field \"{field}\" holds \"{found}\", expected zeros")]
    NotEmpty {
        /// Name of the field.
        field: &'static str,
        /// Its bytes, escaped.
        found: String,
    },
    /// A type of entry that PostgreSQL never sends.
    #[error("entry \"{path}\" is {kind} (type \"{flag}\"), which PostgreSQL never sends")]
    EntryType {
        /// Name of the entry as it stands in the header, escaped.
        path: String,
        /// What it is.
        kind: &'static str,
        /// The type flag, escaped.
        flag: String,
    },
    /// A name that must not be joined to a directory.
    #[error("entry with an unsafe name")]
    Path(#[source] DataPathError),
    /// A directory or link that claims to have data.
    #[error("entry \"{path}\" is no file and has a size of {size_bytes} bytes")]
    SizeOfNoFile {
        /// Its name, escaped.
        path: String,
        /// The stated size.
        size_bytes: u64,
    },
    /// A link anywhere but at `pg_tblspc/<oid>`.
    #[error("symbolic link \"{path}\" is not a tablespace's")]
    LinkPlace {
        /// Its name, escaped.
        path: String,
    },
    /// A link to nowhere.
    #[error("symbolic link \"{path}\" has no target")]
    LinkTarget {
        /// Its name, escaped.
        path: String,
    },
    /// Bytes between a file's end and the next block.
    #[error("padding holds other bytes than zero")]
    Padding,
    /// A header after a zero block.
    #[error("a single zero block, expected two at the end")]
    LoneZeroBlock,
    /// Bytes after the two zero blocks.
    #[error("bytes after the end of the archive")]
    AfterEnd,
    /// The archive stops inside a header, a file, its padding or the end mark.
    #[error("archive is cut short")]
    Truncated,
    /// Used again after a failure.
    #[error("reading had failed before")]
    FailedBefore,
}

/// The fields of a header, in order, with their places.
mod place {
    use super::Range;

    pub(super) const NAME: Range<usize> = 0..100;
    pub(super) const MODE: Range<usize> = 100..108;
    pub(super) const OWNER: Range<usize> = 108..116;
    pub(super) const GROUP: Range<usize> = 116..124;
    pub(super) const SIZE: Range<usize> = 124..136;
    pub(super) const MODIFIED: Range<usize> = 136..148;
    pub(super) const CHECKSUM: Range<usize> = 148..156;
    pub(super) const TYPE: Range<usize> = 156..157;
    pub(super) const LINK: Range<usize> = 157..257;
    pub(super) const MAGIC: Range<usize> = 257..265;
    pub(super) const DEVICE_MAJOR: Range<usize> = 329..337;
    pub(super) const DEVICE_MINOR: Range<usize> = 337..345;
    pub(super) const PREFIX: Range<usize> = 345..500;
    pub(super) const REST: Range<usize> = 500..512;
}

struct Header<'a>(&'a [u8; BLOCK_BYTES]);

/// Reads one header block, which is not the zero block.
pub(super) fn decode_header(block: &[u8; BLOCK_BYTES]) -> Result<TarEntry, TarProblem> {
    let header = Header(block);
    header.check_sum()?;
    if header.bytes(place::MAGIC) != b"ustar\x0000" {
        return Err(TarProblem::Magic { found: escaped(header.bytes(place::MAGIC)) });
    }
    header.check_empty("prefix", place::PREFIX)?;
    header.check_empty("rest", place::REST)?;
    for (field, range) in [("device major", place::DEVICE_MAJOR), ("device minor", place::DEVICE_MINOR)] {
        if !is_zero(header.bytes(range.clone())) && header.number(field, range.clone())? != 0 {
            return Err(TarProblem::NotEmpty { field, found: escaped(header.bytes(range)) });
        }
    }
    // The server's owner and group mean nothing here, but they must be readable.
    header.number("owner", place::OWNER)?;
    header.number("group", place::GROUP)?;
    let name = header.text("name", place::NAME)?;
    let size_bytes = header.size_bytes()?;
    let (path, kind) = header.kind(name, size_bytes)?;
    if !matches!(kind, TarEntryKind::TablespaceLink { .. }) {
        header.check_empty("link name", place::LINK)?;
    }
    // COMPAT: servers print a time before 1970 as the two's complement of 64 bits.
    let modified_seconds = header.number("modified", place::MODIFIED)?.cast_signed();
    Ok(TarEntry { path, kind, mode: header.mode()?, modified_seconds })
}

impl<'a> Header<'a> {
    fn bytes(&self, range: Range<usize>) -> &'a [u8] {
        // INVARIANT: every range of `place` lies inside a block.
        self.0.get(range).unwrap_or_default()
    }

    /// The sum of all bytes, the checksum field itself counted as blanks.
    fn check_sum(&self) -> Result<(), TarProblem> {
        let sum = |bytes: &[u8]| bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>();
        let blanks = 8 * u64::from(b' ');
        let computed = sum(self.0) - sum(self.bytes(place::CHECKSUM)) + blanks;
        let stated = self.number("checksum", place::CHECKSUM)?;
        if computed == stated { Ok(()) } else { Err(TarProblem::Checksum { computed, stated }) }
    }

    fn check_empty(&self, field: &'static str, range: Range<usize>) -> Result<(), TarProblem> {
        let found = self.bytes(range);
        if is_zero(found) { Ok(()) } else { Err(TarProblem::NotEmpty { field, found: escaped(found) }) }
    }

    /// A text up to its terminating zero, or up to the field's end.
    fn text(&self, field: &'static str, range: Range<usize>) -> Result<&'a [u8], TarProblem> {
        let bytes = self.bytes(range);
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        let (text, rest) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
        if is_zero(rest) { Ok(text) } else { Err(TarProblem::NotEmpty { field, found: escaped(rest) }) }
    }

    /// Octal digits, or base-256 behind a byte 0x80, as `print_tar_number` writes it.
    fn number(&self, field: &'static str, range: Range<usize>) -> Result<u64, TarProblem> {
        let bytes = self.bytes(range.clone());
        let value = match bytes.split_first() {
            Some((0x80, number)) => number.iter().try_fold(0u64, |value, &byte| {
                value.checked_mul(256).and_then(|value| value.checked_add(u64::from(byte)))
            }),
            _ => parse_octal(bytes),
        };
        value.ok_or_else(|| self.bad_number(field, range))
    }

    /// The size, at most what a file system can hold.
    fn size_bytes(&self) -> Result<u64, TarProblem> {
        let size_bytes = self.number("size", place::SIZE)?;
        let possible = i64::try_from(size_bytes).is_ok();
        if possible { Ok(size_bytes) } else { Err(self.bad_number("size", place::SIZE)) }
    }

    fn bad_number(&self, field: &'static str, range: Range<usize>) -> TarProblem {
        TarProblem::Number { field, found: escaped(self.bytes(range)) }
    }

    fn mode(&self) -> Result<u32, TarProblem> {
        let mode = self.number("mode", place::MODE)?;
        u32::try_from(mode).ok().filter(|&mode| mode <= 0o7777).ok_or_else(|| self.bad_number("mode", place::MODE))
    }

    fn kind(&self, name: &[u8], size_bytes: u64) -> Result<(DataPath, TarEntryKind), TarProblem> {
        let flag = self.bytes(place::TYPE);
        if let Some(kind) = refused_type(flag) {
            return Err(TarProblem::EntryType { path: escaped(name), kind, flag: escaped(flag) });
        }
        if matches!(flag, b"0" | b"\0") {
            return Ok((DataPath::parse(name).map_err(TarProblem::Path)?, TarEntryKind::File { size_bytes }));
        }
        if size_bytes != 0 {
            return Err(TarProblem::SizeOfNoFile { path: escaped(name), size_bytes });
        }
        // Names of directories, and of links to them, end with one slash.
        let name = name.strip_suffix(b"/").unwrap_or(name);
        if flag == b"5" {
            // COMPAT: all servers send "./pg_wal/archive_status", and 17 "./pg_wal/summaries", with these two bytes.
            let name = name.strip_prefix(b"./").unwrap_or(name);
            return Ok((DataPath::parse(name).map_err(TarProblem::Path)?, TarEntryKind::Directory));
        }
        let path = DataPath::parse(name).map_err(TarProblem::Path)?;
        let kind = self.link(&path)?;
        Ok((path, kind))
    }

    fn link(&self, path: &DataPath) -> Result<TarEntryKind, TarProblem> {
        let oid = tablespace_oid(path).ok_or_else(|| TarProblem::LinkPlace { path: path.display().to_string() })?;
        match self.text("link name", place::LINK)? {
            b"" => Err(TarProblem::LinkTarget { path: path.display().to_string() }),
            target => Ok(TarEntryKind::TablespaceLink { oid, target: target.into() }),
        }
    }
}

/// What an entry of this type is, when PostgreSQL never sends it.
fn refused_type(flag: &[u8]) -> Option<&'static str> {
    match flag {
        b"0" | b"\0" | b"2" | b"5" => None,
        b"1" => Some("a hard link"),
        b"3" => Some("a character device"),
        b"4" => Some("a block device"),
        b"6" => Some("a named pipe"),
        b"7" => Some("a contiguous file"),
        b"x" => Some("a PAX extended header"),
        b"g" => Some("a PAX global header"),
        b"L" => Some("a GNU long name"),
        b"K" => Some("a GNU long link"),
        b"S" => Some("a GNU sparse file"),
        _ => Some("of an unknown type"),
    }
}

/// The OID, when the path is `pg_tblspc/<oid>`.
fn tablespace_oid(path: &DataPath) -> Option<u32> {
    parse_number(path.as_bytes().strip_prefix(b"pg_tblspc/")?)
}

/// Octal digits up to the first blank or zero, after which only these may follow.
fn parse_octal(bytes: &[u8]) -> Option<u64> {
    let end = bytes.iter().position(|byte| matches!(byte, 0 | b' ')).unwrap_or(bytes.len());
    let (digits, rest) = bytes.split_at_checked(end)?;
    if digits.is_empty() || !rest.iter().all(|byte| matches!(byte, 0 | b' ')) {
        return None;
    }
    digits.iter().try_fold(0u64, |value, &digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// Whether all bytes are zero.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

fn escaped(bytes: &[u8]) -> String {
    Escaped(bytes).to_string()
}
