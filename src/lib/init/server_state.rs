//! What is known of a server whose set-up is to be judged, wherever it was learnt.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::role_check::PROPOSED_ROLE;
use crate::fs;
use crate::pg::{ControlFile, DatabaseState, PgMajorVersion, config_value, parse_config};
use crate::server::{FileSetting, RoleRights, ServerError, ServerFacts, ServerSetting, SqlClient};

/// The settings that are judged.
pub(super) const JUDGED_SETTINGS: [&str; 8] = [
    "wal_level",
    "archive_mode",
    "archive_command",
    "archive_library",
    "archive_timeout",
    "max_wal_senders",
    "full_page_writes",
    "summarize_wal",
];

/// The file that `ALTER SYSTEM` writes; it goes before every other.
pub(super) const AUTO_CONF: &str = "postgresql.auto.conf";
/// LIMIT: bytes of it that are read.
pub(super) const AUTO_CONF_BYTES_MAX: u64 = 1 << 20;

/// What `SHOW archive_command` says instead of its value while `archive_mode` is off.
const HIDDEN_COMMAND: &str = "(disabled)";

/// A value in the server's configuration files, which may be in force or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingSetting {
    /// The value as it is written there.
    pub value: String,
    /// The file.
    pub file: PathBuf,
}

/// What is known of a server. Nothing is known of a setting that is in no map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerState {
    /// Its version.
    pub version: PgMajorVersion,
    /// Whether it is a standby or recovers.
    pub in_recovery: bool,
    /// Its data directory, as it calls it.
    pub data_directory: Option<PathBuf>,
    /// Its main configuration file.
    pub config_file: Option<PathBuf>,
    /// Its host-based authentication file.
    pub hba_file: Option<PathBuf>,
    /// Its user name map.
    pub ident_file: Option<PathBuf>,
    /// Whether pages carry checksums.
    pub data_checksums: Option<bool>,
    /// The settings in force.
    pub settings: BTreeMap<String, ServerSetting>,
    /// What the configuration files say, where the role may see that.
    pub written: BTreeMap<String, PendingSetting>,
    /// What the role may do; absent when the server was not asked.
    pub rights: Option<RoleRights>,
    /// Why the replication protocol did not let us in although the role has the right.
    pub replication_refused: Option<String>,
    /// The address that the server sees us under; none for a socket.
    pub client_address: Option<String>,
    /// Whether a role of the name that is proposed exists.
    pub has_proposed_role: bool,
}

impl ServerState {
    /// Of a server that was not asked: what its control file remembers of its last run.
    pub(super) fn of_control_file(control: &ControlFile, pgdata: &Path) -> Self {
        let remembered = |value: String| ServerSetting {
            value,
            unit: None,
            context: "postmaster".to_owned(),
            source: "control file".to_owned(),
            source_file: None,
            source_line: None,
            pending_restart: false,
        };
        let settings = [
            ("wal_level", control.settings.wal_level.to_string()),
            ("max_wal_senders", control.settings.max_wal_senders.to_string()),
            ("full_page_writes", if control.checkpoint.full_page_writes { "on" } else { "off" }.to_owned()),
        ];
        let recovering = [DatabaseState::ShutDownInRecovery, DatabaseState::InArchiveRecovery];
        let config_file = pgdata.join("postgresql.conf");
        let has_config_file = config_file.metadata().is_ok();
        Self {
            version: control.major(),
            in_recovery: recovering.contains(&control.state),
            data_directory: Some(pgdata.to_owned()),
            config_file: has_config_file.then_some(config_file),
            hba_file: None,
            ident_file: None,
            data_checksums: Some(control.data_checksum_version.is_some()),
            settings: settings.into_iter().map(|(name, value)| (name.to_owned(), remembered(value))).collect(),
            written: written_by_alter_system(pgdata),
            rights: None,
            replication_refused: None,
            client_address: None,
            has_proposed_role: false,
        }
    }

    /// Asks a server.
    pub(super) async fn of_server(
        client: &SqlClient,
        facts: &ServerFacts,
        version: PgMajorVersion,
    ) -> Result<Self, ServerError> {
        let rights = client.role_rights().await?;
        let mut settings = facts.settings.clone();
        for setting in settings.values_mut().filter(|setting| setting.value == HIDDEN_COMMAND) {
            if setting.source == "default" {
                setting.value.clear();
            }
        }
        settings.retain(|_, setting| setting.value != HIDDEN_COMMAND);
        Ok(Self {
            version,
            in_recovery: facts.in_recovery,
            data_directory: facts.data_directory.clone(),
            config_file: facts.config_file.clone(),
            hba_file: facts.hba_file.clone(),
            ident_file: facts.ident_file.clone(),
            data_checksums: facts.data_checksums,
            settings,
            written: written_settings(client).await?,
            rights: Some(rights),
            replication_refused: None,
            client_address: client.client_address().await?,
            has_proposed_role: client.has_role(PROPOSED_ROLE).await?,
        })
    }
}

/// What `postgresql.auto.conf` says of the judged settings: it goes before the file that a person would write to, and
/// that of a restored directory holds what its original and pgv have put there. Empty when it cannot be read.
fn written_by_alter_system(pgdata: &Path) -> BTreeMap<String, PendingSetting> {
    let file = pgdata.join(AUTO_CONF);
    let text = fs::read_at_most(&file, AUTO_CONF_BYTES_MAX).unwrap_or_default();
    let entries = parse_config(&text).unwrap_or_default();
    let setting = |name: &str| {
        let value = String::from_utf8_lossy(config_value(&entries, name)?).into_owned();
        Some((name.to_owned(), PendingSetting { value, file: file.clone() }))
    };
    JUDGED_SETTINGS.into_iter().filter_map(setting).collect()
}

/// What the configuration files say of the judged settings; the last mention counts.
async fn written_settings(client: &SqlClient) -> Result<BTreeMap<String, PendingSetting>, ServerError> {
    let written = client.file_settings(&JUDGED_SETTINGS).await?;
    let pending = |setting: FileSetting| (setting.name, PendingSetting { value: setting.value, file: setting.file });
    Ok(written.into_iter().map(pending).collect())
}
