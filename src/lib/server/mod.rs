//! Talking to PostgreSQL: connection settings, SQL and the replication protocol; and what its files say when it
//! cannot be asked.
//!
//! What a server sends, paths and names above all, is untrusted input. Functions are async and need a tokio runtime
//! with its I/O and time drivers; nothing here reads the environment, prints, or creates files.

mod auth;
mod backup_facts;
mod backup_session;
mod basebackup;
mod config_files;
pub mod conninfo;
mod data_directory;
mod drive;
mod error;
mod facts;
#[cfg(test)]
mod fake_server;
mod framing;
#[cfg(any(test, feature = "fuzzing"))]
mod fuzzing;
mod greeting;
mod health;
mod left_over_targets;
mod libraries;
#[cfg(any(test, feature = "fuzzing"))]
mod made_session;
mod message;
mod postmaster;
mod query;
mod recovery_state;
mod replication;
mod role;
mod secret;
mod session;
mod set_up_facts;
mod sql;
mod stream;
mod text_row;
mod tls;
mod walsender;

pub use backup_facts::{ServerCheckpoint, TablespaceFacts};
pub use backup_session::{BackupSession, BackupSessionError, EndedBackup};
pub use basebackup::{BackupTablespace, BaseBackup, BaseBackupEvent, BaseBackupOptions, CheckpointMode};
pub use config_files::{CONFIG_FILE_BYTES_MAX, ConfigFilesError, read_config_file};
pub use conninfo::{ConnectionOptions, ConnectionSettings, ConnectionSources};
pub use data_directory::{ControlFileReadError, LocalDirectory, read_control_file, read_control_file_bytes};
pub use drive::{drive, unless_cancelled};
pub use error::{ConnectError, Endpoint};
pub use facts::{CHECK_FUNCTIONS, RoleRights, ServerFacts, ServerSetting, backup_functions, grant_execute};
pub use framing::ProtocolError;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use fuzzing::{
    base_backup as fuzz_base_backup, certificates as fuzz_certificates, conninfo as fuzz_conninfo,
    messages as fuzz_messages,
};
pub use health::{ArchiverFacts, ServerHealth, SlotFacts, WaitingWal};
pub use left_over_targets::targets_in_directory;
pub use libraries::{
    HOST_FILE_BYTES_MAX, host_library_versions, libc_release, library_versions, local_library_versions, told_libc,
};
pub use message::{ServerMessage, SqlState};
pub use postmaster::{postmaster_of, running_postmaster, unseen_postmaster};
pub use recovery_state::{PostmasterFile, PostmasterStatus, RecoveryState};
pub use replication::{
    ConflictLimit, Follower, PrimaryPosition, ReplayPause, ReplicationFacts, ReplicationRole, ReplicationSettings,
    StandbyFacts, WalReceiver, WalSource,
};
pub use secret::Secret;
pub use set_up_facts::FileSetting;
pub use sql::{DEFAULT_QUERY_TIMEOUT, ServerError, SqlClient};
pub use tls::{CertificateProblem, LockedKeyProblem, TlsSetupError};
pub use walsender::{ReplicationError, SystemIdentification, TimelineHistoryFile, WalPosition, Walsender};
