//! What pgv needs to know of a running server, asked in SQL.
//!
//! INVARIANT: what a role may not see is `None`; only a broken connection or answer is an error. Everything here
//! works on PostgreSQL 13 and later.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, ToSql};

use super::sql::{ServerError, SqlClient};
use crate::pg::SystemIdentifier;

/// What a server tells about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFacts {
    /// As `server_version_num` writes it, 150004 for 15.4.
    pub version_num: u32,
    /// Whether it is a standby or still recovering.
    pub in_recovery: bool,
    /// Which cluster it is.
    pub system_identifier: Option<SystemIdentifier>,
    /// Where its data lies.
    pub data_directory: Option<PathBuf>,
    /// Its main configuration file.
    pub config_file: Option<PathBuf>,
    /// Its host-based authentication file.
    pub hba_file: Option<PathBuf>,
    /// Its user name map.
    pub ident_file: Option<PathBuf>,
    /// The port it listens on.
    pub port: Option<u16>,
    /// The directories of its sockets, as the setting lists them.
    pub unix_socket_directories: Option<String>,
    /// Bytes of one WAL segment.
    pub wal_segment_bytes: Option<u64>,
    /// Whether pages carry checksums.
    pub data_checksums: Option<bool>,
    /// The settings that were asked for and that exist and may be seen.
    pub settings: BTreeMap<String, ServerSetting>,
}

/// One setting, from `pg_settings`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSetting {
    /// Its value in `unit`.
    pub value: String,
    /// The unit of the value, as `s`, `kB`, `8kB`.
    pub unit: Option<String>,
    /// What it takes to change it: `postmaster` needs a restart, `sighup` a reload.
    pub context: String,
    /// Where the value comes from: `default`, `configuration file`, `command line`, ...
    pub source: String,
    /// The file that sets it, where the role may see that.
    pub source_file: Option<PathBuf>,
    /// The line in that file.
    pub source_line: Option<u32>,
    /// Whether a changed value waits for a restart.
    pub pending_restart: bool,
}

/// What a role may do, as far as backups need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleRights {
    /// The role.
    pub role: String,
    /// May do everything.
    pub superuser: bool,
    /// May use the replication protocol.
    pub replication: bool,
    /// May see all settings and where they come from.
    pub read_all_settings: bool,
    /// May read files outside the data directory.
    pub read_server_files: bool,
    /// May call `pg_read_binary_file`.
    pub read_binary_file: bool,
    /// May put the server into backup mode, to read its files.
    pub begin_backups: bool,
    /// May list what waits to be archived.
    pub list_waiting_wal: bool,
    /// May end the present WAL segment.
    pub switch_wal: bool,
}

impl RoleRights {
    /// Whether it may read any file that the server can.
    pub fn reads_files(&self) -> bool {
        self.read_server_files && self.read_binary_file
    }
}

/// The functions that put a server of this version (150004 is 15.4) into backup mode and out of it.
///
/// COMPAT: they have other names and arguments up to 14.
pub fn backup_functions(version_num: u32) -> [&'static str; 2] {
    if version_num < 150_000 {
        ["pg_start_backup(text,boolean,boolean)", "pg_stop_backup(boolean,boolean)"]
    } else {
        ["pg_backup_start(text,boolean)", "pg_backup_stop(boolean)"]
    }
}

/// The functions by which a check sees what waits to be archived, and ends a segment to see it arrive.
pub const CHECK_FUNCTIONS: [&str; 2] = ["pg_ls_archive_statusdir()", "pg_switch_wal()"];

/// SQL that lets a role, as SQL names it, call these functions.
pub fn grant_execute(functions: &[&str], role: &str) -> String {
    let functions: Vec<String> = functions.iter().map(|function| format!("pg_catalog.{function}")).collect();
    format!("GRANT EXECUTE ON FUNCTION {} TO {role};", functions.join(", "))
}

const READ_SETTINGS: &str = "show its settings";

/// The settings that [`ServerFacts`] has fields of its own for.
const FACT_SETTINGS: [&str; 8] = [
    "data_directory",
    "config_file",
    "hba_file",
    "ident_file",
    "port",
    "unix_socket_directories",
    "wal_segment_size",
    "data_checksums",
];

impl SqlClient {
    /// Everything that the role may see of the server, with the settings of these names.
    pub async fn server_facts(&self, names: &[&str]) -> Result<ServerFacts, ServerError> {
        const ACTION: &str = "tell its version and role";
        let sql = "SELECT current_setting('server_version_num')::int4, pg_is_in_recovery()";
        let rows = self.query(ACTION, sql, &[]).await?;
        let row = self.only_row(ACTION, &rows)?;
        let version: i32 = self.value(ACTION, row, 0)?;
        let version_num = u32::try_from(version).map_err(|_| self.invalid(ACTION, version.to_string()))?;
        let all: Vec<&str> = names.iter().copied().chain(FACT_SETTINGS).collect();
        let mut settings = self.settings(&all).await?;
        let text = |name: &str| settings.get(name).map(|setting| setting.value.clone());
        let path = |name: &str| text(name).filter(|path| !path.is_empty()).map(PathBuf::from);
        let facts = ServerFacts {
            version_num,
            in_recovery: self.value(ACTION, row, 1)?,
            system_identifier: self.system_identifier().await?,
            data_directory: path("data_directory"),
            config_file: path("config_file"),
            hba_file: path("hba_file"),
            ident_file: path("ident_file"),
            port: text("port").and_then(|port| port.parse().ok()),
            unix_socket_directories: text("unix_socket_directories"),
            wal_segment_bytes: settings.get("wal_segment_size").and_then(ServerSetting::bytes),
            data_checksums: text("data_checksums").map(|value| value == "on"),
            settings: BTreeMap::new(),
        };
        settings.retain(|name, _| names.contains(&name.as_str()));
        Ok(ServerFacts { settings, ..facts })
    }

    /// The settings of these names that exist and that the role may see.
    pub async fn settings(&self, names: &[&str]) -> Result<BTreeMap<String, ServerSetting>, ServerError> {
        let sql = "SELECT name, setting, unit, context, source, sourcefile, sourceline, pending_restart \
                   FROM pg_settings WHERE name = ANY ($1)";
        let rows = self.query(READ_SETTINGS, sql, &[&names]).await?;
        rows.iter()
            .map(|row| {
                let line: Option<i32> = self.value(READ_SETTINGS, row, 6)?;
                let setting = ServerSetting {
                    value: self.value::<Option<String>>(READ_SETTINGS, row, 1)?.unwrap_or_default(),
                    unit: self.value(READ_SETTINGS, row, 2)?,
                    context: self.value(READ_SETTINGS, row, 3)?,
                    source: self.value(READ_SETTINGS, row, 4)?,
                    source_file: self.value::<Option<String>>(READ_SETTINGS, row, 5)?.map(PathBuf::from),
                    source_line: line.and_then(|line| u32::try_from(line).ok()),
                    pending_restart: self.value(READ_SETTINGS, row, 7)?,
                };
                Ok((self.value(READ_SETTINGS, row, 0)?, setting))
            })
            .collect()
    }

    /// Every file that the server's configuration is read from, included ones too; empty when the role may see none.
    pub async fn configuration_files(&self) -> Result<Vec<PathBuf>, ServerError> {
        let view = if self.may_see_file_settings().await? { "pg_file_settings" } else { "pg_settings" };
        let sql = format!("SELECT DISTINCT sourcefile FROM {view} WHERE sourcefile IS NOT NULL ORDER BY sourcefile");
        let rows = self.query(READ_SETTINGS, &sql, &[]).await?;
        rows.iter().map(|row| self.value::<String>(READ_SETTINGS, row, 0).map(PathBuf::from)).collect()
    }

    /// Which cluster this is.
    pub async fn system_identifier(&self) -> Result<Option<SystemIdentifier>, ServerError> {
        const ACTION: &str = "tell its system identifier";
        let sql = "SELECT system_identifier FROM pg_control_system()";
        let rows = match self.query(ACTION, sql, &[]).await {
            Err(error) if error.is_permission_denied() => return Ok(None),
            result => result?,
        };
        let number: i64 = self.value(ACTION, self.only_row(ACTION, &rows)?, 0)?;
        // The catalog has no unsigned numbers: the upper half of them is shown as negative ones.
        Ok(SystemIdentifier::new(u64::from_ne_bytes(number.to_ne_bytes())))
    }

    /// The server's clock.
    pub async fn now(&self) -> Result<Timestamp, ServerError> {
        const ACTION: &str = "tell the time";
        let sql = "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";
        let text: String = self.only_value(ACTION, sql, &[]).await?;
        text.parse().map_err(|_| self.invalid(ACTION, format!("\"{text}\" is not a time")))
    }

    /// What the role of this session may do.
    pub async fn role_rights(&self) -> Result<RoleRights, ServerError> {
        const ACTION: &str = "tell the rights of the role";
        let member = |group: &str| {
            format!(
                "EXISTS (SELECT FROM pg_roles g WHERE g.rolname = '{group}' AND pg_has_role(r.oid, g.oid, 'USAGE'))"
            )
        };
        let may_call = |function: &str| format!("has_function_privilege(r.oid, '{function}', 'EXECUTE')");
        let [start, stop] = backup_functions(self.version_num().unwrap_or(u32::MAX));
        let [list_waiting_wal, switch_wal] = CHECK_FUNCTIONS;
        let columns = [
            "r.rolname::text".to_owned(),
            "r.rolsuper".to_owned(),
            "r.rolreplication".to_owned(),
            member("pg_read_all_settings"),
            member("pg_read_server_files"),
            may_call("pg_read_binary_file(text,bigint,bigint,boolean)"),
            [start, stop, "pg_control_checkpoint()"].map(may_call).join(" AND "),
            may_call(list_waiting_wal),
            may_call(switch_wal),
        ];
        let sql = format!("SELECT {} FROM pg_roles r WHERE r.rolname = current_user", columns.join(", "));
        let rows = self.query(ACTION, &sql, &[]).await?;
        let row = self.only_row(ACTION, &rows)?;
        let right = |index: usize| self.value::<bool>(ACTION, row, index);
        let superuser = right(1)?;
        Ok(RoleRights {
            role: self.value(ACTION, row, 0)?,
            superuser,
            replication: superuser || right(2)?,
            read_all_settings: right(3)?,
            read_server_files: right(4)?,
            read_binary_file: right(5)?,
            begin_backups: right(6)?,
            list_waiting_wal: right(7)?,
            switch_wal: right(8)?,
        })
    }

    /// The content of a file on the server, relative to its data directory or absolute; `None` when there is none.
    /// At most `limit` bytes are read; a longer file is an error.
    pub async fn read_binary_file(&self, path: &str, limit: u32) -> Result<Option<Vec<u8>>, ServerError> {
        const ACTION: &str = "read a file";
        let length = i64::from(limit) + 1;
        let sql = "SELECT pg_read_binary_file($1, 0, $2, true)";
        let rows = self.query(ACTION, sql, &[&path, &length]).await?;
        let content: Option<Vec<u8>> = self.value(ACTION, self.only_row(ACTION, &rows)?, 0)?;
        match content {
            Some(content) if i64::try_from(content.len()).is_ok_and(|found| found >= length) => {
                let endpoint = Box::new(self.endpoint().clone());
                Err(ServerError::FileTooLarge { endpoint, path: path.to_owned(), limit })
            }
            content => Ok(content),
        }
    }

    /// The value of a query that yields one row of one column.
    pub(super) async fn only_value<T: for<'a> FromSql<'a>>(
        &self,
        action: &'static str,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<T, ServerError> {
        let rows = self.query(action, sql, parameters).await?;
        self.value(action, self.only_row(action, &rows)?, 0)
    }

    pub(super) fn only_row<'r>(&self, action: &'static str, rows: &'r [Row]) -> Result<&'r Row, ServerError> {
        match rows {
            [row] => Ok(row),
            rows => Err(self.invalid(action, format!("{} rows instead of one", rows.len()))),
        }
    }

    pub(super) fn value<'r, T: FromSql<'r>>(
        &self,
        action: &'static str,
        row: &'r Row,
        index: usize,
    ) -> Result<T, ServerError> {
        row.try_get(index).map_err(|error| self.failed(action, error))
    }
}

impl ServerSetting {
    /// Its value in bytes, for settings that are amounts of memory or disk.
    pub fn bytes(&self) -> Option<u64> {
        let number: u64 = self.value.parse().ok()?;
        let factor = match self.unit.as_deref() {
            Some("B") => 1,
            Some("kB") => 1024,
            Some("8kB") => 8 * 1024,
            Some("MB") => 1024 * 1024,
            _ => return None,
        };
        number.checked_mul(factor)
    }
}
