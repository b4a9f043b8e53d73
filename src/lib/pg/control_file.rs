//! `global/pg_control`: what a cluster is, where its last checkpoint lies and what recovery of it demands.
//!
//! INVARIANT: nothing of a control file is believed before its CRC-32C matches.
//! COMPAT: 13 to 18. The layout is that of `ControlFileData` (`src/include/catalog/pg_control.h`); every field read
//! here has the same offset in all of them, only the CRC moved in 18. Control version 1300 is shared by 13 to 16,
//! which are told apart by their catalog versions (`src/include/catalog/catversion.h`).

mod fields;

use std::fmt;
use std::num::NonZeroU32;

use jiff::Timestamp;

use self::fields::Fields;
use super::lsn::Lsn;
use super::system_identifier::SystemIdentifier;
use super::timeline::TimelineId;
use super::version::PgMajorVersion;
use super::wal_segment::{WalSegmentSize, WalSegmentSizeError};
use crate::error::{Classified, ErrorClass};

/// A layout of the file and one released server version that writes it.
struct Format {
    control_version: u32,
    catalog_version: u32,
    major: u32,
    crc_offset: usize,
}

const FORMATS: [Format; 6] = [
    Format { control_version: 1300, catalog_version: 202_007_201, major: 13, crc_offset: 288 },
    Format { control_version: 1300, catalog_version: 202_107_181, major: 14, crc_offset: 288 },
    Format { control_version: 1300, catalog_version: 202_209_061, major: 15, crc_offset: 288 },
    Format { control_version: 1300, catalog_version: 202_307_071, major: 16, crc_offset: 288 },
    Format { control_version: 1700, catalog_version: 202_406_281, major: 17, crc_offset: 288 },
    Format { control_version: 1800, catalog_version: 202_506_291, major: 18, crc_offset: 292 },
];

/// The control versions of [`FORMATS`], for messages.
const KNOWN_VERSIONS: &str = "1300 (13 to 16), 1700 (17) or 1800 (18)";
/// Control versions that some PostgreSQL since 9.0 wrote or may come to write.
const CONTROL_VERSIONS_PLAUSIBLE: std::ops::RangeInclusive<u32> = 900..=9999;
/// `MAXIMUM_ALIGNOF` of 64-bit machines.
const MAX_ALIGN: u32 = 8;
/// `FLOATFORMAT_VALUE`.
const FLOAT_FORMAT: f64 = 1_234_567.0;

/// What a cluster was doing when its control file was written: `DBState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DatabaseState {
    /// Being started.
    Startup,
    /// Stopped cleanly.
    ShutDown,
    /// A standby or a recovery, stopped cleanly.
    ShutDownInRecovery,
    /// Being stopped.
    ShuttingDown,
    /// Recovering from a crash.
    InCrashRecovery,
    /// Recovering from an archive, or a standby.
    InArchiveRecovery,
    /// Open for writing, or crashed while it was.
    InProduction,
}

impl DatabaseState {
    const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Startup,
            1 => Self::ShutDown,
            2 => Self::ShutDownInRecovery,
            3 => Self::ShuttingDown,
            4 => Self::InCrashRecovery,
            5 => Self::InArchiveRecovery,
            6 => Self::InProduction,
            _ => return None,
        })
    }
}

impl fmt::Display for DatabaseState {
    /// In the words of pg_controldata.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Startup => "starting up",
            Self::ShutDown => "shut down",
            Self::ShutDownInRecovery => "shut down in recovery",
            Self::ShuttingDown => "shutting down",
            Self::InCrashRecovery => "in crash recovery",
            Self::InArchiveRecovery => "in archive recovery",
            Self::InProduction => "in production",
        })
    }
}

/// How much a cluster writes to its WAL; ordered, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WalLevel {
    /// Too little for archiving: recovery cannot cross it.
    Minimal,
    /// Enough for archiving and standbys.
    Replica,
    /// Enough for logical decoding too.
    Logical,
}

impl WalLevel {
    pub(crate) const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Minimal,
            1 => Self::Replica,
            2 => Self::Logical,
            _ => return None,
        })
    }
}

impl fmt::Display for WalLevel {
    /// As the setting `wal_level` is written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Minimal => "minimal",
            Self::Replica => "replica",
            Self::Logical => "logical",
        })
    }
}

/// The last checkpoint, where recovery without a backup label would begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlCheckpoint {
    /// Where its record lies.
    pub lsn: Lsn,
    /// Where replay from it begins.
    pub redo_lsn: Lsn,
    /// The timeline it was made on.
    pub timeline: TimelineId,
    /// The timeline before that, when the checkpoint began a new one; else the same.
    pub previous_timeline: TimelineId,
    /// Whether `full_page_writes` was on.
    pub full_page_writes: bool,
    /// When it began, by the server's clock.
    pub time: Timestamp,
}

/// A position that must be reached on a timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecoveryPoint {
    /// The position.
    pub lsn: Lsn,
    /// The timeline it lies on.
    pub timeline: TimelineId,
}

/// The settings that a server which recovers from this one's WAL must not set lower (contract A3.10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlSettings {
    /// `wal_level`.
    pub wal_level: WalLevel,
    /// `max_connections`.
    pub max_connections: u32,
    /// `max_worker_processes`.
    pub max_worker_processes: u32,
    /// `max_wal_senders`.
    pub max_wal_senders: u32,
    /// `max_prepared_transactions`.
    pub max_prepared_xacts: u32,
    /// `max_locks_per_transaction`.
    pub max_locks_per_xact: u32,
}

/// A decoded control file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlFile {
    major: PgMajorVersion,
    /// The cluster.
    pub system_identifier: SystemIdentifier,
    /// `pg_control_version`: the version of the file's layout.
    pub control_version: u32,
    /// `catalog_version_no`.
    pub catalog_version: u32,
    /// What the cluster was doing.
    pub state: DatabaseState,
    /// When the file was last written, by the server's clock.
    pub modified: Timestamp,
    /// The last checkpoint.
    pub checkpoint: ControlCheckpoint,
    /// Until where an archive recovery must go before the data is consistent; `None` outside of one.
    pub min_recovery_point: Option<RecoveryPoint>,
    /// Where the backup that is being recovered began; `None` once its end is reached, and outside of a recovery.
    pub backup_start_lsn: Option<Lsn>,
    /// Where the backup, taken from a standby, that is being recovered ends; as above.
    pub backup_end_lsn: Option<Lsn>,
    /// Whether the end of the backup must still be met in the WAL.
    pub backup_end_required: bool,
    /// What a recovering server must not set lower.
    pub settings: ControlSettings,
    /// `BLCKSZ`: bytes of a page of data.
    pub block_bytes: u32,
    /// `RELSEG_SIZE`: pages in one file of a large relation.
    pub relation_segment_blocks: u32,
    /// `XLOG_BLCKSZ`: bytes of a page of WAL.
    pub wal_block_bytes: u32,
    /// The size of WAL segments.
    pub wal_segment_size: WalSegmentSize,
    /// `data_checksum_version`; `None` when data checksums are off.
    pub data_checksum_version: Option<NonZeroU32>,
}

/// Bytes that are no control file, or none that can be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlFileError {
    /// Fewer bytes than the layout has.
    #[error("control file is too short: found {found_bytes} bytes, expected at least {expected_bytes}")]
    TooShort {
        /// How many there were.
        found_bytes: usize,
        /// How many are needed.
        expected_bytes: usize,
    },
    /// Not a control file of any version, as after damage or from a machine of another byte order.
    #[error("not a control file: found version {found}, expected {}", KNOWN_VERSIONS)]
    NotControlFile {
        /// `pg_control_version`.
        found: u32,
    },
    /// A layout that this pgv does not know.
    #[error("control file of an unsupported PostgreSQL version: found version {found}, expected {}", KNOWN_VERSIONS)]
    UnknownControlVersion {
        /// `pg_control_version`.
        found: u32,
    },
    /// A server that this pgv does not know: a preview, a fork, or another version.
    #[error(
        "control file of an unsupported PostgreSQL build: found catalog version {found} with control version \
         {control_version}, expected {}", known_catalogs(*control_version)
    )]
    UnknownCatalogVersion {
        /// `pg_control_version`.
        control_version: u32,
        /// `catalog_version_no`.
        found: u32,
    },
    /// Damaged, or read while the server was writing it: reading again may help.
    #[error("control file is damaged or was being written: found CRC {found:08X}, expected {expected:08X}")]
    Crc {
        /// Computed from the bytes.
        found: u32,
        /// Stored in the file.
        expected: u32,
    },
    /// Written by a machine whose data files this one cannot use.
    #[error(
        "control file of another machine architecture: found alignment {max_align} and floating-point check \
         {float_format}, expected {MAX_ALIGN} and {FLOAT_FORMAT}"
    )]
    Architecture {
        /// `maxAlign`.
        max_align: u32,
        /// `floatFormat` as text.
        float_format: String,
    },
    /// No valid size of WAL segments.
    #[error("control file has no valid WAL segment size")]
    SegmentSize(#[source] WalSegmentSizeError),
    /// A value that no server writes.
    #[error("control file has an invalid {field}: found {found}, expected {expected}")]
    InvalidField {
        /// The field's name in PostgreSQL.
        field: &'static str,
        /// Its value.
        found: i128,
        /// What is valid.
        expected: &'static str,
    },
}

fn known_catalogs(control_version: u32) -> String {
    let known = FORMATS.iter().filter(|format| format.control_version == control_version);
    let texts: Vec<_> = known.map(|format| format!("{} ({})", format.catalog_version, format.major)).collect();
    texts.join(", ")
}

impl Classified for ControlFileError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::UnknownControlVersion { .. } | Self::UnknownCatalogVersion { .. } | Self::Architecture { .. } => {
                ErrorClass::Unsupported
            }
            Self::Crc { .. } | Self::SegmentSize(_) | Self::InvalidField { .. } => ErrorClass::Corrupt,
            Self::TooShort { .. } | Self::NotControlFile { .. } => ErrorClass::InvalidInput,
        }
    }
}

impl ControlFile {
    /// The size of the file, `PG_CONTROL_FILE_SIZE`; all after the first 300 bytes or so is zero.
    pub const FILE_LENGTH: usize = 8192;
    /// Where the file lies in a data directory.
    pub const PATH: &'static str = "global/pg_control";

    /// Reads the bytes of a control file.
    pub fn decode(bytes: &[u8]) -> Result<Self, ControlFileError> {
        let fields = Fields(bytes);
        let (control_version, catalog_version) = (fields.u32(8)?, fields.u32(12)?);
        let same_layout = FORMATS.iter().find(|format| format.control_version == control_version);
        let crc_offset = same_layout.map(|format| format.crc_offset).ok_or({
            if CONTROL_VERSIONS_PLAUSIBLE.contains(&control_version) {
                ControlFileError::UnknownControlVersion { found: control_version }
            } else {
                ControlFileError::NotControlFile { found: control_version }
            }
        })?;
        fields.check_crc(crc_offset)?;
        let same_server = FORMATS
            .iter()
            .find(|format| format.control_version == control_version && format.catalog_version == catalog_version)
            .and_then(|format| PgMajorVersion::new(format.major).ok());
        let major =
            same_server.ok_or(ControlFileError::UnknownCatalogVersion { control_version, found: catalog_version })?;
        fields.check_architecture()?;
        fields.control_file(major)
    }

    /// The server's major version.
    pub const fn major(&self) -> PgMajorVersion {
        self.major
    }
}

#[cfg(test)]
mod tests;
