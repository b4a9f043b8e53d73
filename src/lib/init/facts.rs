//! What a registration needs to know of a cluster: asked of its server, or read from its control file.

use std::path::{Path, PathBuf};

use super::InitError;
use super::server_state::{JUDGED_SETTINGS, ServerState};
use crate::fs;
use crate::pg::{PgMajorVersion, SystemIdentifier, WalSegmentSize};
use crate::server::{ConnectError, ConnectionSettings, LocalDirectory, SqlClient, Walsender, read_control_file};

/// Where facts come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FactSource {
    /// A running server.
    Server,
    /// `global/pg_control` of a data directory.
    ControlFile,
}

/// A cluster, as far as its registration needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterFacts {
    /// Where this comes from.
    pub source: FactSource,
    /// Which cluster it is.
    pub system_identifier: SystemIdentifier,
    /// The size of its WAL segments.
    pub wal_segment_size: WalSegmentSize,
    /// Whether the server is on this host, as far as that can be told.
    pub is_local: bool,
    /// Its data directory, when that is a directory of this host.
    pub local_data_directory: Option<PathBuf>,
    /// What its set-up is judged by.
    pub state: ServerState,
}

impl ClusterFacts {
    /// Reads the control file of a data directory. Its server may run.
    pub fn of_data_directory(pgdata: &Path) -> Result<Self, InitError> {
        let real = match fs::real_path(pgdata) {
            Err(error) if error.is_not_found() => {
                return Err(InitError::NoDataDirectory { path: pgdata.to_owned() });
            }
            real => real?,
        };
        let Some(control) = read_control_file(&real)? else {
            return Err(InitError::NoDataDirectory { path: real });
        };
        Ok(Self {
            source: FactSource::ControlFile,
            is_local: true,
            system_identifier: control.system_identifier,
            wal_segment_size: control.wal_segment_size,
            state: ServerState::of_control_file(&control, &real),
            local_data_directory: Some(real),
        })
    }

    /// Asks a server, and tries whether it lets the role replicate.
    pub async fn of_server(client: &SqlClient, settings: &ConnectionSettings) -> Result<Self, InitError> {
        let server = client.endpoint().to_string();
        let facts = client.server_facts(&JUDGED_SETTINGS).await?;
        let version = PgMajorVersion::from_version_num(facts.version_num)
            .map_err(|source| InitError::Version { server: server.clone(), source })?;
        let untold = |what| InitError::Untold { server: server.clone(), what };
        let system_identifier = facts.system_identifier.ok_or_else(|| untold("system identifier"))?;
        let segment_bytes = facts.wal_segment_bytes.ok_or_else(|| untold("WAL segment size"))?;
        let wal_segment_size = WalSegmentSize::new(segment_bytes)
            .map_err(|source| InitError::SegmentSize { server: server.clone(), source })?;
        let mut state = ServerState::of_server(client, &facts, version).await?;
        if state.rights.as_ref().is_some_and(|rights| rights.replication) {
            state.replication_refused = try_replication(settings).await;
        }
        let is_local = client.endpoint().host.address.is_loopback();
        let told = facts.data_directory.as_deref();
        let local_data_directory = match LocalDirectory::find(client.endpoint(), told, system_identifier) {
            LocalDirectory::Proven(path) | LocalDirectory::Unreadable(path) => Some(path),
            LocalDirectory::Elsewhere => None,
        };
        Ok(Self {
            source: FactSource::Server,
            system_identifier,
            wal_segment_size,
            is_local: is_local && (local_data_directory.is_some() || facts.data_directory.is_none()),
            local_data_directory,
            state,
        })
    }
}

/// Why the server refuses a replication connection; `None` when it does not, or cannot be asked now.
async fn try_replication(settings: &ConnectionSettings) -> Option<String> {
    match Walsender::connect(settings).await {
        Ok(walsender) => {
            walsender.close().await;
            None
        }
        Err(ConnectError::Rejected { source, .. }) => Some(source.to_string()),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Classified as _, ErrorClass};
    use crate::pg::ControlFile;

    fn data_directory(control: &[u8]) -> tempfile::TempDir {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("global")).unwrap();
        std::fs::write(temp.path().join("global/pg_control"), control).unwrap();
        temp
    }

    const CONTROL_15: &[u8] = include_bytes!("../../../tests/data/postgres-15/pg_control");

    #[test]
    fn a_control_file_tells_all_that_a_registration_needs() {
        let temp = data_directory(CONTROL_15);
        let facts = ClusterFacts::of_data_directory(temp.path()).unwrap();
        let control = ControlFile::decode(CONTROL_15).unwrap();
        assert_eq!(facts.system_identifier, control.system_identifier);
        assert_eq!(facts.wal_segment_size, control.wal_segment_size);
        assert_eq!(facts.state.version.get(), 15);
        assert_eq!(facts.local_data_directory, Some(temp.path().canonicalize().unwrap()));
        assert_eq!(facts.state.settings["wal_level"].value, control.settings.wal_level.to_string());
    }

    #[test]
    fn what_is_no_data_directory_is_said_so() {
        let temp = tempfile::tempdir().unwrap();
        for path in [temp.path().to_owned(), temp.path().join("absent")] {
            let error = ClusterFacts::of_data_directory(&path).unwrap_err();
            assert!(matches!(error, InitError::NoDataDirectory { .. }), "{error}");
        }
        let mut damaged = CONTROL_15.to_vec();
        damaged[20] ^= 1;
        let temp = data_directory(&damaged);
        assert_eq!(ClusterFacts::of_data_directory(temp.path()).unwrap_err().class(), ErrorClass::Corrupt);
    }
}
