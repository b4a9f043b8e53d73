//! What setting a server up asks of it by SQL beyond its facts: what its files say, and who asks.

use std::path::PathBuf;

use super::sql::{ServerError, SqlClient};

/// A setting as the configuration files have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSetting {
    /// Its name.
    pub name: String,
    /// What the file says.
    pub value: String,
    /// Which file.
    pub file: PathBuf,
}

impl SqlClient {
    /// What the configuration files say of these settings, in the order in which they are read, so that the last mention
    /// counts; nothing when the role may not see it.
    pub async fn file_settings(&self, names: &[&str]) -> Result<Vec<FileSetting>, ServerError> {
        if !self.may_see_file_settings().await? {
            return Ok(Vec::new());
        }
        let names = names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ");
        let sql =
            format!("SELECT name, setting, sourcefile FROM pg_file_settings WHERE name IN ({names}) ORDER BY seqno");
        let rows = self.query_text("show its configuration files", &sql).await?;
        let setting = |row: Vec<Option<String>>| {
            let mut columns = row.into_iter();
            let (name, value, file) = (columns.next()??, columns.next()??, columns.next()??);
            Some(FileSetting { name, value, file: PathBuf::from(file) })
        };
        Ok(rows.into_iter().filter_map(setting).collect())
    }

    /// Whether the role may read `pg_file_settings`. Asked first: a try that is refused stands in the server's log.
    pub(super) async fn may_see_file_settings(&self) -> Result<bool, ServerError> {
        let sql = "SELECT has_table_privilege('pg_file_settings', 'SELECT') \
                   AND has_function_privilege('pg_show_all_file_settings()', 'EXECUTE')";
        self.only_value("tell the rights of the role", sql, &[]).await
    }

    /// The address that this connection comes from; `None` for a socket.
    pub async fn client_address(&self) -> Result<Option<String>, ServerError> {
        let rows = self.query_text("tell who is connected", "SELECT host(inet_client_addr())").await?;
        Ok(rows.into_iter().flatten().next().flatten())
    }

    /// Whether there is a role of that name, which is one of ours.
    pub async fn has_role(&self, name: &'static str) -> Result<bool, ServerError> {
        let sql = format!("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}')");
        let rows = self.query_text("list its roles", &sql).await?;
        Ok(rows.into_iter().flatten().flatten().next().as_deref() == Some("t"))
    }
}
