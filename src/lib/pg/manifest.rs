//! The server's `backup_manifest` (`src/common/parse_manifest.c`, `src/backend/backup/backup_manifest.c`).
//!
//! INVARIANT: what is returned was covered by the manifest's own checksum, has no field that this code does not
//! know, and no path that leads out of the data directory. One file entry is in memory at a time, unless the caller keeps
//! them.

use std::io::Read;

use serde::{Deserialize, Serialize};

use super::data_path::{DataPath, DataPathError};
use super::manifest_checksum::{ManifestChecksum, ManifestChecksumAlgorithm};
use super::manifest_json::{CHECKSUM, FILES, Parts, SYSTEM_IDENTIFIER, VERSION, WAL_RANGES};
use super::manifest_sum::{ManifestSum, VerifiedManifest};
use super::{Lsn, SystemIdentifier, TimelineId};
use crate::error::{Classified, ErrorClass};

/// What a manifest says beside its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestSummary {
    system_identifier: Option<SystemIdentifier>,
    wal_ranges: Vec<WalRange>,
    checksum: [u8; 32],
}

/// A whole backup manifest in memory, verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupManifest {
    summary: ManifestSummary,
    files: Vec<ManifestFile>,
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
    /// A line that is longer than any that a server writes.
    #[error("backup manifest has a line of more than {limit} bytes")]
    LongLine {
        /// How long one may be.
        limit: usize,
    },
    /// It could not be read.
    #[error("could not read the backup manifest")]
    Read(#[source] std::io::Error),
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
            Self::Read(error) => ErrorClass::of_io(error),
            _ => ErrorClass::InvalidInput,
        }
    }
}

impl VerifiedManifest {
    /// Reads the text whose checksum this is, and hands over its files as they come: a path may come twice.
    pub fn read<E: From<ManifestError>>(
        self,
        text: impl Read,
        each: &mut dyn FnMut(ManifestFile) -> Result<(), E>,
    ) -> Result<ManifestSummary, E> {
        let parts = Parts::read(text, each)?;
        let missing = |field| ManifestError::MissingField { field };
        if parts.checksum.is_none() {
            return Err(missing(CHECKSUM).into());
        }
        if !parts.has_files {
            return Err(missing(FILES).into());
        }
        let wal_ranges = parts.wal_ranges.ok_or_else(|| missing(WAL_RANGES))?;
        if wal_ranges.is_empty() {
            return Err(ManifestError::NoWalRange.into());
        }
        if let Some(&WalRange { start_lsn, end_lsn, .. }) = wal_ranges.iter().find(|r| r.end_lsn < r.start_lsn) {
            return Err(ManifestError::WalRangeOrder { start_lsn, end_lsn }.into());
        }
        let system_identifier = match (parts.version, parts.system_identifier) {
            (1, _) => None,
            (_, None) => return Err(missing(SYSTEM_IDENTIFIER).into()),
            (_, Some(number)) => Some(SystemIdentifier::new(number).ok_or(ManifestError::SystemIdentifier)?),
        };
        Ok(ManifestSummary { system_identifier, wal_ranges, checksum: self.checksum() })
    }
}

impl ManifestSummary {
    /// The cluster it is of. COMPAT: none before version 17.
    pub fn system_identifier(&self) -> Option<SystemIdentifier> {
        self.system_identifier
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

impl BackupManifest {
    /// Verifies and reads a whole manifest, of which no path may come twice.
    pub fn parse(manifest: &[u8]) -> Result<Self, ManifestError> {
        let mut sum = ManifestSum::default();
        sum.update(manifest)?;
        let mut files = Vec::new();
        let summary = sum.finish()?.read(manifest, &mut |file| {
            files.push(file);
            Ok::<(), ManifestError>(())
        })?;
        files.sort_unstable_by(|a: &ManifestFile, b| a.path.cmp(&b.path));
        match files.iter().zip(files.iter().skip(1)).find(|(a, b)| a.path == b.path) {
            Some((file, _)) => Err(ManifestError::duplicate(&file.path)),
            None => Ok(Self { summary, files }),
        }
    }

    /// What it says beside its files.
    pub fn summary(&self) -> &ManifestSummary {
        &self.summary
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
}

impl ManifestError {
    /// That a manifest lists this path twice.
    pub fn duplicate(path: &DataPath) -> Self {
        Self::DuplicatePath { path: path.display().to_string() }
    }
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
