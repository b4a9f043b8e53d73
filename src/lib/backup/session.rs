//! The two connections of a backup: SQL for facts and the server's clock, replication for the data.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use jiff::Timestamp;
use tokio::runtime::{Builder, Runtime};

use super::content::StreamedContent;
use super::own_wal::ServerCheckpoint;
use super::stream;
use super::{BackupError, BackupOptions};
use crate::codec::CompressionLevel;
use crate::pg::{PgMajorVersion, SystemIdentifier, TimelineHistory, TimelineId, WalFileName};
use crate::report::{Cancel, Reporter};
use crate::repository::{PackStream, WalArchive, WalFileContent, Writer};
use crate::server::conninfo::{HostAddress, ServerHost};
use crate::server::{
    BackupTablespace, BaseBackupOptions, ConnectionSettings, LocalDirectory, ServerError, SqlClient, WalPosition,
    Walsender,
};

/// How often a wait looks whether a signal came.
const CANCEL_POLL: Duration = Duration::from_millis(200);

/// The walsender is taken once, by the backup.
const NO_WALSENDER: BackupError = BackupError::Internal { what: "the walsender was taken already" };

/// Who answered.
pub(super) struct ServerIdentity {
    pub(super) system_identifier: SystemIdentifier,
    pub(super) major_version: PgMajorVersion,
    pub(super) version_num: u32,
    pub(super) is_standby: bool,
}

/// The connections, and the runtime that drives them.
pub(super) struct ServerSession<'a> {
    runtime: Runtime,
    settings: &'a ConnectionSettings,
    sql: Option<SqlClient>,
    walsender: Option<Walsender>,
    /// The cluster that answered first; every later connection must reach the same.
    identified: Option<SystemIdentifier>,
    cancel: Cancel,
}

impl<'a> ServerSession<'a> {
    pub(super) fn connect(
        settings: &'a ConnectionSettings,
        cancel: Cancel,
        reporter: &dyn Reporter,
    ) -> Result<Self, BackupError> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(BackupError::Thread)?;
        let mut session = Self { runtime, settings, sql: None, walsender: None, identified: None, cancel };
        let sql = session.wait(SqlClient::connect(settings))??;
        if let Some(problem) = sql.passfile_problem() {
            reporter.warn(&problem.to_string());
        }
        session.sql = Some(sql);
        session.walsender = Some(session.wait(Walsender::connect(settings))??);
        Ok(session)
    }

    pub(super) fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    pub(super) fn check_cancel(&self) -> Result<(), BackupError> {
        if self.cancel.is_cancelled() { Err(BackupError::Cancelled) } else { Ok(()) }
    }

    /// The host or socket directory that answered.
    pub(super) fn host(&self) -> String {
        match self.settings_host().map(|host| &host.address) {
            Some(HostAddress::Socket(directory)) => directory.display().to_string(),
            Some(HostAddress::Tcp { name, .. }) => name.clone(),
            None => String::new(),
        }
    }

    /// The port that answered.
    pub(super) fn port(&self) -> u16 {
        self.settings_host().map(|host| host.port).unwrap_or_default()
    }

    /// Where the server's data directory is, seen from this host.
    pub(super) fn local_directory(&self, told: Option<&Path>, system_identifier: SystemIdentifier) -> LocalDirectory {
        let find = |sql: &SqlClient| LocalDirectory::find(sql.endpoint(), told, system_identifier);
        self.sql.as_ref().map_or(LocalDirectory::Elsewhere, find)
    }

    /// The server's `archive_timeout`; `None` when it has none.
    pub(super) fn archive_timeout(&mut self) -> Result<Option<Duration>, BackupError> {
        let settings = self.sql(async |sql| sql.settings(&["archive_timeout"]).await)?;
        // In seconds, whatever it was written in.
        let seconds = settings.get("archive_timeout").and_then(|setting| setting.value.parse().ok());
        Ok(seconds.filter(|seconds| *seconds > 0).map(Duration::from_secs))
    }

    fn settings_host(&self) -> Option<&ServerHost> {
        self.sql.as_ref().map(|sql| &sql.endpoint().host)
    }

    /// Drives a future to its end, unless a signal comes.
    pub(super) fn wait<T>(&self, future: impl Future<Output = T>) -> Result<T, BackupError> {
        wait(&self.runtime, &self.cancel, future)
    }

    /// Who answered; both connections must have reached the same cluster.
    pub(super) fn identify(&mut self) -> Result<ServerIdentity, BackupError> {
        let facts = self.sql(async |sql| sql.server_facts(&[]).await)?;
        let walsender = self.walsender.as_mut().ok_or(NO_WALSENDER)?;
        let identified = wait(&self.runtime, &self.cancel, walsender.identify_system())??;
        let replication = identified.system_identifier;
        if let Some(sql) = facts.system_identifier.filter(|sql| *sql != replication) {
            return Err(BackupError::TwoServers { sql, replication });
        }
        self.identified = Some(replication);
        Ok(ServerIdentity {
            system_identifier: replication,
            major_version: PgMajorVersion::from_version_num(facts.version_num)?,
            version_num: facts.version_num,
            is_standby: facts.in_recovery,
        })
    }

    /// The server's clock.
    pub(super) fn now(&mut self) -> Result<Timestamp, BackupError> {
        self.sql(async |sql| sql.now().await)
    }

    /// Asks the server by SQL, over a new connection when the old one was lost.
    pub(super) fn sql<T>(&mut self, ask: impl AsyncFn(&SqlClient) -> Result<T, ServerError>) -> Result<T, BackupError> {
        if let Some(sql) = &self.sql {
            match self.wait(ask(sql))? {
                Err(ServerError::Lost { .. }) => {}
                answer => return Ok(answer?),
            }
        }
        self.sql = None;
        let sql = wait(&self.runtime, &self.cancel, SqlClient::connect(self.settings))??;
        let answered = self.wait(sql.system_identifier())??;
        if let (Some(sql), Some(replication)) = (answered, self.identified)
            && sql != replication
        {
            return Err(BackupError::TwoServers { sql, replication });
        }
        let sql = self.sql.insert(sql);
        Ok(wait(&self.runtime, &self.cancel, ask(sql))??)
    }

    /// The server that answered, as messages name it.
    pub(super) fn server_text(&self) -> String {
        self.sql.as_ref().map(|sql| sql.endpoint().to_string()).unwrap_or_default()
    }

    /// The last checkpoint in the server's control file; `None` when the role may not see it.
    pub(super) fn last_checkpoint(&mut self) -> Result<Option<ServerCheckpoint>, BackupError> {
        self.sql(async |sql| last_checkpoint(sql).await)
    }

    /// The history of a timeline: the server's, which the archive must have too; stored there first when it is missing.
    pub(super) fn archive_history(
        &mut self,
        archive: &WalArchive<'_>,
        timeline: TimelineId,
        writer: &Writer,
        level: CompressionLevel,
    ) -> Result<TimelineHistory, BackupError> {
        if timeline == TimelineId::FIRST {
            return Ok(TimelineHistory::first());
        }
        // The walsender may be in the middle of its backup, so another connection asks.
        let mut walsender = self.wait(Walsender::connect(self.settings))??;
        let answered = self.wait(walsender.identify_system())??.system_identifier;
        if let Some(sql) = self.identified.filter(|expected| *expected != answered) {
            return Err(BackupError::TwoServers { sql, replication: answered });
        }
        let file = self.wait(walsender.timeline_history(timeline))??;
        self.wait(walsender.close())?;
        let decode = |content: &[u8]| {
            TimelineHistory::decode(timeline, content).map_err(|source| BackupError::History { timeline, source })
        };
        let own = decode(&file.content)?;
        let name = WalFileName::TimelineHistory(timeline);
        let Some(archived) = archive.load_text(&name)? else {
            archive.store(&name, WalFileContent::Whole(&file.content), level, writer)?;
            return Ok(own);
        };
        if archived == file.content {
            return Ok(own);
        }
        Err(BackupError::OtherServersHistory {
            server: self.server_text(),
            timeline,
            own: String::from_utf8_lossy(&file.content).trim_end().escape_debug().to_string(),
            archived: String::from_utf8_lossy(&archived).trim_end().escape_debug().to_string(),
            stored_by: archive.stored_by(&name).ok().flatten().map(Box::new),
        })
    }

    /// Streams a base backup into `packs`. `before_data` runs once the start is known and nothing was read yet.
    pub(super) fn stream(
        &mut self,
        options: &BackupOptions,
        packs: PackStream,
        reporter: &dyn Reporter,
        before_data: &mut dyn FnMut(&mut Self, WalPosition) -> Result<(), BackupError>,
    ) -> Result<(StreamedContent, WalPosition, WalPosition), BackupError> {
        let request = BaseBackupOptions {
            label: options.label.clone(),
            checkpoint: options.checkpoint,
            max_rate_kib: options.max_rate_kib,
            // What arrives is digested by us in any case: the server's part is to be quick.
            manifest_checksum: super::content::MANIFEST_CHECKSUM,
            ..BaseBackupOptions::default()
        };
        let in_place = self.sql(async |sql| in_place_tablespaces(sql).await)?;
        let mut walsender = self.walsender.take().ok_or(NO_WALSENDER)?;
        let mut base_backup = self.wait(walsender.base_backup(&request))??;
        let announced: Vec<u32> = base_backup.tablespaces().iter().filter_map(|tablespace| tablespace.oid).collect();
        if let Some(oid) = in_place.into_iter().find(|oid| !announced.contains(oid)) {
            return Err(BackupError::UnsentTablespace { oid });
        }
        refuse_nameless(base_backup.tablespaces())?;
        let start = base_backup.start_position();
        reporter.step(&format!("backup starts at {}", super::describe(start.lsn, start.timeline)));
        before_data(self, start)?;
        let streaming = stream::run(&mut base_backup, packs, &self.cancel, reporter);
        let content = self.runtime.block_on(streaming)?;
        let stop = base_backup.end_position().ok_or(BackupError::Internal { what: "the backup ended nowhere" })?;
        self.wait(walsender.close())?;
        Ok((content, start, stop))
    }

    /// Says good-bye.
    pub(super) fn close(mut self) {
        if let Some(sql) = self.sql.take() {
            self.runtime.block_on(sql.close());
        }
    }
}

/// Tablespaces whose directory lies in the data directory itself (`allow_in_place_tablespaces`).
///
/// COMPAT: 15 and 16 leave them out of a base backup with a tablespace_map, without a word in the manifest.
async fn in_place_tablespaces(sql: &SqlClient) -> Result<Vec<u32>, ServerError> {
    let query = "SELECT oid FROM pg_tablespace WHERE pg_tablespace_location(oid) LIKE 'pg_tblspc/%'";
    let rows = sql.query_text("list its tablespaces", query).await?;
    Ok(rows.into_iter().flatten().flatten().filter_map(|oid| oid.parse().ok()).collect())
}

async fn last_checkpoint(sql: &SqlClient) -> Result<Option<ServerCheckpoint>, ServerError> {
    let query = "SELECT checkpoint_lsn, redo_lsn, next_xid, extract(epoch FROM checkpoint_time)::bigint \
                 FROM pg_control_checkpoint()";
    let rows = match sql.query_text("tell its last checkpoint", query).await {
        Err(error) if error.is_permission_denied() => return Ok(None),
        rows => rows?,
    };
    Ok(rows.first().and_then(|row| ServerCheckpoint::of_row(row)))
}

/// Refuses locations that the record, which is JSON, cannot hold: at once, not when all data has been sent.
fn refuse_nameless(tablespaces: &[BackupTablespace]) -> Result<(), BackupError> {
    for tablespace in tablespaces {
        if let (Some(oid), Some(location)) = (tablespace.oid, &tablespace.location)
            && std::str::from_utf8(location).is_err()
        {
            return Err(BackupError::TablespaceName { oid, location: location.escape_ascii().to_string() });
        }
    }
    Ok(())
}

/// Drives a future to its end, unless a signal comes.
fn wait<T>(runtime: &Runtime, cancel: &Cancel, future: impl Future<Output = T>) -> Result<T, BackupError> {
    runtime.block_on(async {
        let mut future = pin!(future);
        loop {
            match tokio::time::timeout(CANCEL_POLL, future.as_mut()).await {
                Ok(answer) => return Ok(answer),
                Err(_) if cancel.is_cancelled() => return Err(BackupError::Cancelled),
                Err(_) => {}
            }
        }
    })
}
