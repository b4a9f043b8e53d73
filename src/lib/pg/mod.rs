//! PostgreSQL's vocabulary as types: one type per idea, one strict parser per type.
//!
//! Pure: no I/O, no clock, no async. Everything here may be fed bytes from a disk, a network or a person.

mod control_file;
mod excerpt;
mod little_endian;
mod lsn;
pub mod setting_value;
mod system_identifier;
mod timeline;
mod timeline_history;
mod version;
mod wal;
mod wal_file_name;
mod wal_header;
mod wal_segment;

pub use control_file::{
    ControlCheckpoint, ControlFile, ControlFileError, ControlSettings, DatabaseState, RecoveryPoint, WalLevel,
};
pub use lsn::{Lsn, LsnParseError};
pub use system_identifier::{SystemIdentifier, SystemIdentifierParseError};
pub use timeline::{TimelineId, TimelineIdParseError};
pub use timeline_history::{SegmentCandidates, TimelineHistory, TimelineHistoryEntry, TimelineHistoryError};
pub use version::{PgMajorVersion, PgVersionError};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use wal::fuzz_wal;
pub use wal::{
    Checkpoint, CheckpointKind, CreatedDatabase, DroppedRelation, ExtentSink, ParameterChange, RestorePointRecord,
    TimelineStart, TransactionEnd, WalContent, WalEnding, WalExtent, WalExtentEnding, WalFault, WalFormat,
    WalJoinError, WalPageScan, WalProgress, WalReader, WalRecord, WalRun, WalSpan, WalStart,
};
pub use wal_file_name::{WalFileName, WalFileNameError};
pub use wal_header::{WalHeaderError, WalSegmentHeader};
pub use wal_segment::{WalSegmentName, WalSegmentSize, WalSegmentSizeError};

mod backup_label;
mod backup_scope;
mod command_text;
mod config_line;
mod config_text;
mod copy_settings;
mod data_file_kind;
mod data_path;
mod manifest;
mod manifest_checksum;
mod manifest_json;
mod manifest_sum;
mod manifest_text;
mod own_data;
mod page_checksum;
mod recovery_end_command;
mod recovery_settings;
mod recovery_target;
mod replay_needs;
mod tablespace_map;
mod tar_header;
mod tar_stream;
mod target_time;

pub use backup_label::{BackupLabel, BackupLabelError, BackupSource, IncrementalFrom};
pub use backup_scope::{BackupScope, EntryKind, EntryScope, RESTORE_MARKER, UnloggedRelations};
pub use command_text::{
    CommandWord, command_text, escape_in_double_quotes, is_touched_in_double_quotes, percent_escape, shell_quote,
};
pub use config_text::{
    ConfigEntry, ConfigEntryKind, ConfigSyntaxError, ConfigValueError, RefusedCharacter, append_lines, config_lines,
    config_value, parse_config, quote_config_value, remove_settings,
};
pub use copy_settings::{CopySettings, EXTERNAL_PID_FILE, RiskySetting, SettingRisk};
#[cfg(test)]
mod hostile_tests;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod tar_oracle;
#[cfg(test)]
pub(crate) mod testing;

pub use data_file_kind::{DataFileKind, RelationFile, RelationFork};
pub use data_path::{DataPath, DataPathError, DataPathProblem};
pub use manifest::{BackupManifest, ManifestError, ManifestFile, ManifestSummary, WalRange};
pub use manifest_checksum::{ManifestChecksum, ManifestChecksumAlgorithm, ManifestHasher};
pub use manifest_sum::{ManifestSum, VerifiedManifest};
pub use manifest_text::ManifestText;
pub use own_data::is_own_data;
pub use page_checksum::{PageVerdict, judge_page, page_checksum};
pub use recovery_end_command::{LongCommandError, chained_end_command, end_command_of, recovery_end_command};
pub use recovery_settings::{
    ALL_TARGET_SETTINGS, ClearScope, EXCLUSIVE_TARGET_SETTINGS, RecoveryMode, RecoverySettings, RecoverySettingsError,
    RestoredArchiving, TARGET_TIMELINE_SETTING, WalReadAhead, apply_recovery_settings, clear_recovery_settings,
    foreign_targets, has_recovery_settings, has_switched_off,
};
pub use recovery_target::{
    RecoveryTarget, RecoveryTargetAction, RecoveryTargetError, RecoveryTargetTimeline, RestorePointName, TargetBound,
    TransactionId,
};
pub use replay_needs::{LowSetting, REPLAY_SETTINGS, ReplayNeeds};
pub use tablespace_map::{TablespaceMap, TablespaceMapEntry, TablespaceMapError};
pub use tar_header::{TarEntry, TarEntryKind, TarProblem};
pub use tar_stream::{TarEnding, TarError, TarReader, TarSink};
pub use target_time::{ClockChange, TargetTimeError, format_target_time, parse_target_time};
