//! What a restore wants to know of the server beyond its files: settings, configuration that they lack, libraries.

use std::path::PathBuf;

use super::BackupError;
use super::configuration::{Configuration, DataDirectory, read_by_server};
use super::session::ServerSession;
use crate::pg::SystemIdentifier;
use crate::report::Reporter;
use crate::repository::ServerDescription;
use crate::server::{
    HOST_FILE_BYTES_MAX, LocalDirectory, ServerError, library_versions, local_library_versions, told_libc,
};

/// The settings that are recorded with a backup: what a restored server needs to start, and what explains its data.
const RECORDED_SETTINGS: &[&str] = &[
    "TimeZone",
    "archive_command",
    "archive_library",
    "archive_mode",
    "block_size",
    "cluster_name",
    "config_file",
    "data_checksums",
    "data_directory",
    "data_directory_mode",
    "default_text_search_config",
    "external_pid_file",
    "full_page_writes",
    "hba_file",
    "hot_standby",
    "huge_pages",
    "ident_file",
    "lc_messages",
    "listen_addresses",
    "local_preload_libraries",
    "log_timezone",
    "max_connections",
    "max_locks_per_transaction",
    "max_prepared_transactions",
    "max_wal_senders",
    "max_worker_processes",
    "port",
    "recovery_end_command",
    "restore_command",
    "server_encoding",
    "server_version",
    "session_preload_libraries",
    "shared_buffers",
    "shared_preload_libraries",
    "ssl",
    "ssl_cert_file",
    "ssl_key_file",
    "track_commit_timestamp",
    "unix_socket_directories",
    "wal_level",
    "wal_log_hints",
    "wal_segment_size",
];

/// The settings that name configuration files.
const FILE_SETTINGS: &[&str] = &["config_file", "hba_file", "ident_file"];

/// What was found out.
pub(super) struct Description {
    pub(super) server: ServerDescription,
    pub(super) block_bytes: u32,
    pub(super) data_checksums: bool,
    /// Configuration files that the data directory may lack.
    pub(super) configuration: Configuration,
    /// Where the data directory is, seen from this host.
    pub(super) local_directory: LocalDirectory,
}

impl Description {
    pub(super) fn gather(
        session: &mut ServerSession<'_>,
        system_identifier: SystemIdentifier,
        reporter: &dyn Reporter,
    ) -> Result<Self, BackupError> {
        let settings = session.sql(async |sql| sql.shown_settings(RECORDED_SETTINGS).await)?;
        let libraries = session.sql_if_told(async |sql| sql.collation_versions().await)?.unwrap_or_default();
        let version = session.sql(async |sql| sql.version_words().await)?;
        let included = session.sql(async |sql| sql.configuration_files().await)?;
        let block_bytes = block_bytes(settings.get("block_size").map(String::as_str))?;
        let data_checksums = settings.get("data_checksums").is_some_and(|value| value == "on");
        let mut description = Self {
            server: ServerDescription { version, settings, libraries },
            block_bytes,
            data_checksums,
            configuration: Configuration::default(),
            local_directory: LocalDirectory::Elsewhere,
        };
        let told = description.data_directory();
        description.local_directory = session.local_directory(told.as_deref(), system_identifier);
        description.ask_libraries(session)?;
        description.configuration = description.read_configuration(session, included, reporter)?;
        Ok(description)
    }

    /// Where the server's data directory is, as it calls it; `None` when the role may not see that.
    pub(super) fn data_directory(&self) -> Option<PathBuf> {
        self.server.settings.get("data_directory").map(PathBuf::from)
    }

    /// System and libraries: as the server's process shows them here, else as the server reads them for the role, else
    /// what it tells everybody. What is not told is left out.
    fn ask_libraries(&mut self, session: &mut ServerSession<'_>) -> Result<(), BackupError> {
        let mut found = self.local_directory.proven().map(local_library_versions).unwrap_or_default();
        // A role that may not would leave errors in the server's log.
        if !found.contains_key("libc") && session.sql(async |sql| sql.role_rights().await)?.reads_files() {
            // A version that is too long to find is not worth a backup.
            found.extend(library_versions(&mut |path| match read_by_server(session, path, HOST_FILE_BYTES_MAX) {
                Err(BackupError::Server(ServerError::FileTooLarge { .. })) => Ok(None),
                read => read,
            })?);
        }
        if !found.contains_key("libc") {
            let collation = self.server.libraries.get("libc_collation").map(String::as_str);
            let told = told_libc(self.server.version.as_deref().unwrap_or_default(), collation);
            found.extend(told.map(|libc| ("libc".to_owned(), libc)));
        }
        self.server.libraries.extend(found);
        Ok(())
    }

    fn read_configuration(
        &self,
        session: &mut ServerSession<'_>,
        included: Vec<PathBuf>,
        reporter: &dyn Reporter,
    ) -> Result<Configuration, BackupError> {
        let Some(told) = self.data_directory() else {
            reporter.warn(
                "the role may not see where the server's configuration files lie, so those that the data directory lacks are \
                 not stored; grant it pg_read_all_settings",
            );
            return Ok(Configuration::default());
        };
        let directory = DataDirectory { told: &told, local: self.local_directory.proven() };
        let named = FILE_SETTINGS.iter().filter_map(|name| self.server.settings.get(*name)).map(PathBuf::from);
        Configuration::read(session, &directory, named.chain(included).collect(), reporter)
    }
}

/// The size of the server's pages, by which files are cut: never guessed.
fn block_bytes(told: Option<&str>) -> Result<u32, BackupError> {
    let is_block = |bytes: &u32| bytes.is_power_of_two() && (1024..=32_768).contains(bytes);
    let bytes = told.and_then(|text| text.parse().ok()).filter(is_block);
    bytes.ok_or_else(|| BackupError::BlockSize { found: told.unwrap_or_default().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Classified, ErrorClass};

    #[test]
    fn a_block_size_is_what_the_server_says_or_none() {
        for bytes in [1024, 4096, 8192, 16_384, 32_768] {
            assert_eq!(block_bytes(Some(&bytes.to_string())).unwrap(), bytes);
        }
        for told in [None, Some(""), Some("512"), Some("65536"), Some("8193"), Some("8kB"), Some("-8192")] {
            let error = block_bytes(told).unwrap_err();
            assert_eq!(error.class(), ErrorClass::Unsupported);
            assert!(error.to_string().contains(&format!("found \"{}\"", told.unwrap_or_default())), "{error}");
        }
    }
}
