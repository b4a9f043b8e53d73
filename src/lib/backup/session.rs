//! The two connections of a backup: SQL for facts and the server's clock, replication for the data.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use jiff::Timestamp;
use tokio::runtime::{Builder, Runtime};

use super::content::StreamedContent;
use super::stream;
use super::streamed::Storage;
use super::whole::Tablespaces;
use super::{BackupError, BackupOptions};
use crate::fs;
use crate::pg::{PgMajorVersion, SystemIdentifier, TimelineId, WalFileName};
use crate::report::{Cancel, Reporter};
use crate::server::conninfo::{HostAddress, ServerHost};
use crate::server::{
    BackupSession, BackupTablespace, BaseBackupOptions, CheckpointMode, ConnectionSettings, LocalDirectory,
    ServerCheckpoint, ServerError, SqlClient, WalPosition, Walsender,
};

/// For how long the runtime is driven at each look at a session.
const LOOK_FOR: Duration = Duration::from_millis(1);
/// How long the checkpoint before a backup may take; a spread one, most of checkpoint_timeout, whose limit is a day.
const CHECKPOINT_LIMIT: Duration = Duration::from_secs(24 * 3600);
/// Where a server keeps WAL and timeline histories.
const WAL_DIRECTORY: &str = "pg_wal";
/// LIMIT: bytes of a timeline history.
const HISTORY_BYTES_MAX: u64 = 16 << 20;

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
    /// Whether it may still be at work on a question that nobody waits for any more.
    is_busy: bool,
    walsender: Option<Walsender>,
    /// Where the server's own timeline histories lie, when its files are read here.
    histories: Option<PathBuf>,
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
        let mut session = Self {
            runtime,
            settings,
            sql: None,
            is_busy: false,
            walsender: None,
            histories: None,
            identified: None,
            cancel,
        };
        let sql = session.wait(SqlClient::connect(settings))??;
        if let Some(problem) = sql.passfile_problem() {
            reporter.warn(&problem.to_string());
        }
        session.sql = Some(sql);
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

    /// The server, where it seems to run on this host.
    pub(super) fn server_here(&self) -> Option<String> {
        let endpoint = self.sql.as_ref()?.endpoint();
        LocalDirectory::is_here(endpoint).then(|| endpoint.host.to_string())
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

    /// Who answered.
    pub(super) fn identify(&mut self) -> Result<ServerIdentity, BackupError> {
        let facts = self.sql(async |sql| sql.server_facts(&[]).await)?;
        self.identified = facts.system_identifier;
        let system_identifier = match facts.system_identifier {
            Some(system_identifier) => system_identifier,
            // A role may be kept from asking that by SQL.
            None => self.open_walsender()?,
        };
        Ok(ServerIdentity {
            system_identifier,
            major_version: PgMajorVersion::from_version_num(facts.version_num)?,
            version_num: facts.version_num,
            is_standby: facts.in_recovery,
        })
    }

    /// Connects for replication, unless that was done; both connections must reach the same cluster.
    pub(super) fn open_walsender(&mut self) -> Result<SystemIdentifier, BackupError> {
        if let (Some(_), Some(identified)) = (&self.walsender, self.identified) {
            return Ok(identified);
        }
        let walsender = self.connect_walsender()?;
        self.walsender = Some(walsender);
        self.identified.ok_or(BackupError::Internal { what: "a walsender did not identify its server" })
    }

    fn connect_walsender(&mut self) -> Result<Walsender, BackupError> {
        let mut walsender = self.wait(Walsender::connect(self.settings))??;
        let replication = self.wait(walsender.identify_system())??.system_identifier;
        if let Some(sql) = self.identified.filter(|sql| *sql != replication) {
            return Err(BackupError::TwoServers { sql, replication });
        }
        self.identified = Some(replication);
        Ok(walsender)
    }

    /// From here on, the server's files are read in this directory.
    pub(super) fn read_files_in(&mut self, data_directory: &Path) {
        self.histories = Some(data_directory.join(WAL_DIRECTORY));
    }

    /// Puts the server into backup mode, by a connection of its own.
    pub(super) fn begin_backup(
        &mut self,
        label: &str,
        checkpoint: CheckpointMode,
    ) -> Result<BackupSession, BackupError> {
        let sql = self.connect_sql()?;
        let begin = BackupSession::begin(sql, label, checkpoint, CHECKPOINT_LIMIT);
        Ok(self.wait(begin)??)
    }

    /// Drives a watch for a moment; it says why it ended, if it did.
    pub(super) fn look<T>(&self, watch: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        self.runtime.block_on(async { tokio::time::timeout(LOOK_FOR, watch).await.ok() })
    }

    /// The server's clock.
    pub(super) fn now(&mut self) -> Result<Timestamp, BackupError> {
        self.sql(async |sql| sql.now().await)
    }

    /// Asks the server by SQL, over a new connection when the old one has ended or is still busy. What is asked may be asked
    /// twice.
    pub(super) fn sql<T>(&mut self, ask: impl AsyncFn(&SqlClient) -> Result<T, ServerError>) -> Result<T, BackupError> {
        if let Some(sql) = self.sql.as_ref().filter(|_| !self.is_busy) {
            match self.wait(ask(sql))? {
                // A server may end a session that waits beside a long stream, and says why or does not.
                Err(error) if error.ends_session() || sql.is_closed() => {}
                answer => {
                    self.is_busy = matches!(answer, Err(ServerError::TimedOut { .. }));
                    return Ok(answer?);
                }
            }
        }
        let sql = self.connect_sql()?;
        let answer = wait(&self.runtime, &self.cancel, ask(&sql))?;
        self.is_busy = matches!(answer, Err(ServerError::TimedOut { .. }));
        self.sql = Some(sql);
        Ok(answer?)
    }

    /// Asks for what a backup can do without; `None` when the server does not tell it, or not in time.
    pub(super) fn sql_if_told<T>(
        &mut self,
        ask: impl AsyncFn(&SqlClient) -> Result<T, ServerError>,
    ) -> Result<Option<T>, BackupError> {
        match self.sql(ask) {
            Err(BackupError::Server(
                ServerError::PermissionDenied { .. } | ServerError::Server { .. } | ServerError::TimedOut { .. },
            )) => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// One more connection for SQL, to the same cluster.
    fn connect_sql(&self) -> Result<SqlClient, BackupError> {
        let sql = self.wait(SqlClient::connect(self.settings))??;
        let answered = self.wait(sql.system_identifier())??;
        if let (Some(sql), Some(replication)) = (answered, self.identified)
            && sql != replication
        {
            return Err(BackupError::TwoServers { sql, replication });
        }
        Ok(sql)
    }

    /// The server that answered, as messages name it.
    pub(super) fn server_text(&self) -> String {
        self.sql.as_ref().map(|sql| sql.endpoint().to_string()).unwrap_or_default()
    }

    /// The last checkpoint in the server's control file; `None` when the role may not see it.
    pub(super) fn last_checkpoint(&mut self) -> Result<Option<ServerCheckpoint>, BackupError> {
        self.sql(async |sql| sql.last_checkpoint().await)
    }

    /// The server's own history of a timeline.
    pub(super) fn history_file(&mut self, timeline: TimelineId) -> Result<Vec<u8>, BackupError> {
        if let Some(directory) = &self.histories {
            let path = directory.join(WalFileName::TimelineHistory(timeline).to_string());
            return Ok(fs::read_at_most(&path, HISTORY_BYTES_MAX)?);
        }
        // The walsender may be in the middle of its backup, so another connection asks.
        let mut walsender = self.connect_walsender()?;
        let file = self.wait(walsender.timeline_history(timeline))??;
        self.wait(walsender.close())?;
        Ok(file.content.to_vec())
    }

    /// Streams a base backup into `storage`. `before_data` runs once the start is known and nothing was read yet.
    pub(super) fn stream<'t>(
        &mut self,
        options: &BackupOptions,
        storage: Storage<'t>,
        data_began: &AtomicBool,
        reporter: &dyn Reporter,
        before_data: &mut dyn FnMut(&mut Self, WalPosition) -> Result<(), BackupError>,
    ) -> Result<(StreamedContent<'t>, WalPosition, WalPosition), BackupError> {
        let request = BaseBackupOptions {
            label: options.label.clone(),
            checkpoint: options.checkpoint,
            max_rate_kib: options.max_rate_kib,
            // What arrives is digested by us in any case: the server's part is to be quick.
            manifest_checksum: super::content::MANIFEST_CHECKSUM,
            ..BaseBackupOptions::default()
        };
        let tablespaces = Tablespaces::of(self)?;
        let mut walsender = self.walsender.take().ok_or(NO_WALSENDER)?;
        let mut base_backup = self.wait(walsender.base_backup(&request))??;
        tablespaces.check_announced(base_backup.tablespaces())?;
        let announced = base_backup.tablespaces().to_vec();
        refuse_nameless(base_backup.tablespaces())?;
        let start = base_backup.start_position();
        reporter.step(&format!("backup starts at {}", super::describe(start.lsn, start.timeline)));
        before_data(self, start)?;
        let streaming = stream::run(&mut base_backup, storage, data_began, &self.cancel, reporter);
        let content = self.runtime.block_on(streaming)?;
        let stop = base_backup.end_position().ok_or(BackupError::Internal { what: "the backup ended nowhere" })?;
        self.wait(walsender.close())?;
        let arrived = &content.storage.arrived;
        arrived.check_parts()?;
        tablespaces.check_came(&Tablespaces::of(self)?, &announced, arrived, reporter)?;
        Ok((content, start, stop))
    }

    /// Says good-bye.
    pub(super) fn close(mut self) {
        if let Some(sql) = self.sql.take() {
            self.runtime.block_on(sql.close());
        }
    }
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
    crate::server::drive(runtime, cancel, future).ok_or(BackupError::Cancelled)
}
