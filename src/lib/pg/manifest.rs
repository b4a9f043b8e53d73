//! The server's `backup_manifest` (`src/common/parse_manifest.c`, `src/backend/backup/backup_manifest.c`).
//!
//! INVARIANT: what is returned was covered by the manifest's own checksum, has no field that this code does not
//! know, no path that leads out of the data directory and no path twice. Reads one file entry at a time.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::data_path::{DataPath, DataPathError, Escaped, hex_decode, hex_encode};
use super::manifest_checksum::{ManifestChecksum, ManifestChecksumAlgorithm};
use super::manifest_json::{CHECKSUM, FILES, Parts, SYSTEM_IDENTIFIER, VERSION, WAL_RANGES};
use super::{Lsn, SystemIdentifier, TimelineId};
use crate::error::{Classified, ErrorClass};

/// A backup manifest, verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupManifest {
    system_identifier: Option<SystemIdentifier>,
    files: Vec<ManifestFile>,
    wal_ranges: Vec<WalRange>,
    checksum: [u8; 32],
}

/// One file of a backup as the manifest states it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestFile {
    /// Where it belongs in the data directory; below `pg_tblspc/<oid>` for files of tablespaces.
    pub path: DataPath,
    /// How many bytes were sent.
    pub size_bytes: u64,
    /// Its last modification as the server printed it; shown only.
    pub last_modified: Box<str>,
    /// Its checksum; none when the backup was taken without.
    pub checksum: Option<ManifestChecksum>,
}

/// WAL that must be replayed for the backup to be consistent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WalRange {
    /// On this timeline,
    #[serde(rename = "Timeline")]
    pub timeline: TimelineId,
    /// from this position
    #[serde(rename = "Start-LSN")]
    pub start_lsn: Lsn,
    /// up to this one.
    #[serde(rename = "End-LSN")]
    pub end_lsn: Lsn,
}

/// Why a manifest is not one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// It does not end with a line break: cut short.
    #[error("backup manifest does not end with a line break")]
    Unterminated,
    /// Its last line is not the checksum.
    #[error("last line of backup manifest is \"{found}\", expected its checksum")]
    ChecksumLine {
        /// The line, escaped and shortened.
        found: String,
    },
    /// It was changed after it was written.
    #[error("checksum of backup manifest is {computed}, stated {stated}")]
    ChecksumMismatch {
        /// Over its bytes.
        computed: String,
        /// On its last line.
        stated: String,
    },
    /// No JSON, or other fields or types than a manifest has.
    #[error("malformed backup manifest")]
    Json(#[source] serde_json::Error),
    /// A format that this code does not know.
    #[error("backup manifest has version {version}, this pgv knows 1 and 2")]
    Version {
        /// The stated version.
        version: u64,
    },
    /// The version must come first, for it says how to read the rest.
    #[error("first field of backup manifest is \"{found}\", expected \"{VERSION}\"")]
    VersionNotFirst {
        /// The first field; empty when there is none.
        found: String,
    },
    /// A field that no manifest of its version has.
    #[error("backup manifest of version {version} has an unknown field \"{field}\"")]
    UnknownField {
        /// The manifest's version.
        version: u64,
        /// The field.
        field: String,
    },
    /// A field that comes twice.
    #[error("backup manifest has field \"{field}\" twice")]
    DuplicateField {
        /// The field.
        field: &'static str,
    },
    /// A field that a manifest of its version must have.
    #[error("backup manifest has no field \"{field}\"")]
    MissingField {
        /// The field.
        field: &'static str,
    },
    /// The system identifier is zero.
    #[error("system identifier of backup manifest is zero")]
    SystemIdentifier,
    /// A file without, or with both, "Path" and "Encoded-Path".
    #[error("file {index} of backup manifest has {found}, expected \"Path\" or \"Encoded-Path\"")]
    PathFields {
        /// Which file, from zero.
        index: usize,
        /// What it has instead.
        found: &'static str,
    },
    /// A path that must not be joined to a directory.
    #[error("file {index} of backup manifest has an unsafe path")]
    Path {
        /// Which file, from zero.
        index: usize,
        /// What is wrong with it.
        #[source]
        source: DataPathError,
    },
    /// A path that comes twice.
    #[error("backup manifest lists \"{path}\" twice")]
    DuplicatePath {
        /// The path, escaped.
        path: String,
    },
    /// A checksum algorithm without checksum, or the reverse.
    #[error("file \"{path}\" of backup manifest has a checksum without algorithm or the reverse")]
    HalfChecksum {
        /// The file's path, escaped.
        path: String,
    },
    /// An algorithm that this code does not know.
    #[error("file \"{path}\" of backup manifest has unknown checksum algorithm \"{algorithm}\"")]
    ChecksumAlgorithm {
        /// The file's path, escaped.
        path: String,
        /// The algorithm's name.
        algorithm: String,
    },
    /// A checksum that is not hexadecimal or has the wrong length.
    #[error("file \"{path}\" of backup manifest has invalid {algorithm} checksum \"{checksum}\"")]
    ChecksumDigits {
        /// The file's path, escaped.
        path: String,
        /// The algorithm.
        algorithm: ManifestChecksumAlgorithm,
        /// The stated checksum.
        checksum: String,
    },
    /// A backup always needs WAL.
    #[error("backup manifest names no WAL range")]
    NoWalRange,
    /// A range that ends before it starts.
    #[error("WAL range of backup manifest ends at {end_lsn}, before its start {start_lsn}")]
    WalRangeOrder {
        /// The stated start.
        start_lsn: Lsn,
        /// The stated end.
        end_lsn: Lsn,
    },
}

impl Classified for ManifestError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Version { .. } | Self::UnknownField { .. } | Self::ChecksumAlgorithm { .. } => {
                ErrorClass::Unsupported
            }
            Self::Unterminated | Self::ChecksumLine { .. } | Self::ChecksumMismatch { .. } => ErrorClass::Corrupt,
            _ => ErrorClass::InvalidInput,
        }
    }
}

impl BackupManifest {
    /// Verifies and reads a whole manifest.
    pub fn parse(manifest: &[u8]) -> Result<Self, ManifestError> {
        let checksum = verify_checksum(manifest)?;
        Self::from_parts(Parts::read(manifest)?, checksum)
    }

    fn from_parts(parts: Parts, checksum: [u8; 32]) -> Result<Self, ManifestError> {
        let missing = |field| ManifestError::MissingField { field };
        if parts.checksum.is_none() {
            return Err(missing(CHECKSUM));
        }
        let mut files = parts.files.ok_or_else(|| missing(FILES))?;
        files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let twice = files.iter().zip(files.iter().skip(1)).find(|(a, b)| a.path == b.path);
        if let Some((file, _)) = twice {
            return Err(ManifestError::DuplicatePath { path: file.path.display().to_string() });
        }
        let wal_ranges = parts.wal_ranges.ok_or_else(|| missing(WAL_RANGES))?;
        if wal_ranges.is_empty() {
            return Err(ManifestError::NoWalRange);
        }
        if let Some(&WalRange { start_lsn, end_lsn, .. }) = wal_ranges.iter().find(|r| r.end_lsn < r.start_lsn) {
            return Err(ManifestError::WalRangeOrder { start_lsn, end_lsn });
        }
        let system_identifier = match (parts.version, parts.system_identifier) {
            (1, _) => None,
            (_, None) => return Err(missing(SYSTEM_IDENTIFIER)),
            (_, Some(number)) => Some(SystemIdentifier::new(number).ok_or(ManifestError::SystemIdentifier)?),
        };
        Ok(Self { system_identifier, files, wal_ranges, checksum })
    }

    /// The cluster it is of. COMPAT: none before version 17.
    pub fn system_identifier(&self) -> Option<SystemIdentifier> {
        self.system_identifier
    }

    /// The files, ordered by path.
    pub fn files(&self) -> &[ManifestFile] {
        &self.files
    }

    /// The entry of that path.
    pub fn file(&self, path: &DataPath) -> Option<&ManifestFile> {
        let at = self.files.binary_search_by(|file| file.path.cmp(path)).ok()?;
        self.files.get(at)
    }

    /// The WAL that the backup needs, at least one range.
    pub fn wal_ranges(&self) -> &[WalRange] {
        &self.wal_ranges
    }

    /// The manifest's own checksum, SHA-256 over all but its last line.
    pub fn checksum(&self) -> &[u8; 32] {
        &self.checksum
    }
}

/// Checks the last line, in the one form that servers write, against all lines before it.
fn verify_checksum(manifest: &[u8]) -> Result<[u8; 32], ManifestError> {
    let lines = manifest.strip_suffix(b"\n").ok_or(ManifestError::Unterminated)?;
    let start = lines.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at.saturating_add(1));
    let (covered, last_line) = lines.split_at_checked(start).unwrap_or((lines, &[]));
    let stated: Option<[u8; 32]> = last_line
        .strip_prefix(b"\"Manifest-Checksum\": \"")
        .and_then(|rest| rest.strip_suffix(b"\"}"))
        .and_then(hex_decode)
        .and_then(|bytes| bytes.try_into().ok());
    let stated = stated.ok_or_else(|| ManifestError::ChecksumLine { found: shortened(last_line) })?;
    let computed: [u8; 32] = Sha256::digest(covered).into();
    if computed == stated {
        Ok(computed)
    } else {
        Err(ManifestError::ChecksumMismatch { computed: hex_encode(&computed), stated: hex_encode(&stated) })
    }
}

fn shortened(line: &[u8]) -> String {
    const SHOWN_BYTES_MAX: usize = 100;
    Escaped(line.get(..SHOWN_BYTES_MAX).unwrap_or(line)).to_string()
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
