//! A backup of the server's files, begun and ended by SQL (`src/backend/access/transam/xlogfuncs.c`): the session that
//! keeps the server in backup mode while somebody reads its data directory.
//!
//! INVARIANT: one connection from start to stop (contract A4.1). It is never made anew: when it is lost, the server has
//! forgotten the backup, and whatever was read is worthless.
//! COMPAT: the functions have other names up to 14, where the mode that survives a lost session must be declined.

use std::time::Duration;

use tokio::time::sleep;

use super::basebackup::CheckpointMode;
use super::error::Endpoint;
use super::sql::{ServerError, SqlClient};
use crate::error::{Classified, ErrorClass};
use crate::pg::{BackupLabel, BackupLabelError, Lsn, TimelineId};

/// The first version with the new names and without the exclusive mode.
const RENAMED_SINCE: u32 = 150_000;
/// How often the connection is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How many looks later the server is asked whether it is still there, so that no firewall thinks nobody is.
const LOOKS_BEFORE_ASKING: u32 = 20;
/// How long it may take to answer, under the load of a backup.
const ANSWER_LIMIT: Duration = Duration::from_secs(300);

const START: &str = "begin a backup";
const STOP: &str = "end a backup";
const ASK: &str = "confirm that its backup goes on";
const CHECKPOINT: &str = "tell its last checkpoint";
const RECOVERY: &str = "tell how far its recovery is";

/// A backup that could not be begun, kept or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupSessionError {
    /// The server refused, or the connection broke.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// It was a standby when the backup began, and is none now.
    #[error("standby {endpoint} was promoted while its backup ran")]
    Promoted {
        /// Which server.
        endpoint: Box<Endpoint>,
    },
    /// A standby followed its primary to another timeline.
    #[error("standby {endpoint} changed from timeline {from} to {to} while its backup ran")]
    TimelineChanged {
        /// Which server.
        endpoint: Box<Endpoint>,
        /// The timeline of the backup's start.
        from: TimelineId,
        /// A later one.
        to: TimelineId,
    },
    /// The server's label is not one.
    #[error("server {endpoint} ended a backup with an invalid label")]
    Label {
        /// Which server.
        endpoint: Box<Endpoint>,
        /// What is wrong with it.
        source: BackupLabelError,
    },
    /// The label is of another backup.
    #[error("server {endpoint} began a backup at {begun}, and its label says {labelled}")]
    OtherStart {
        /// Which server.
        endpoint: Box<Endpoint>,
        /// What it said at the start.
        begun: Lsn,
        /// What its label says.
        labelled: Lsn,
    },
}

impl Classified for BackupSessionError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Server(source) => source.class(),
            Self::Promoted { .. } | Self::TimelineChanged { .. } => ErrorClass::Unavailable,
            Self::Label { .. } | Self::OtherStart { .. } => ErrorClass::Corrupt,
        }
    }
}

/// A backup that runs. Dropping it ends the session, and with it the backup.
pub struct BackupSession {
    client: SqlClient,
    start_lsn: Lsn,
    timeline: TimelineId,
    is_standby: bool,
}

/// A backup that has ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedBackup {
    /// Until where WAL must be replayed.
    pub stop_lsn: Lsn,
    /// The timeline of that position.
    pub stop_timeline: TimelineId,
    /// The content of `backup_label`, byte for byte.
    pub label: Vec<u8>,
    /// The content of `tablespace_map`, byte for byte; `None` when there are no tablespaces.
    pub tablespace_map: Option<Vec<u8>>,
}

impl BackupSession {
    /// Begins a backup; returns when the checkpoint before it is done, for which `limit` is the time.
    pub async fn begin(
        mut client: SqlClient,
        label: &str,
        checkpoint: CheckpointMode,
        limit: Duration,
    ) -> Result<Self, BackupSessionError> {
        let is_standby = in_recovery(&client, START).await?;
        let fast = checkpoint == CheckpointMode::Fast;
        let sql = match is_renamed(&client) {
            true => "SELECT pg_backup_start($1, $2)::text",
            false => "SELECT pg_start_backup($1, $2, false)::text",
        };
        client.set_query_timeout(limit);
        let text: String = client.only_value(START, sql, &[&label, &fast]).await?;
        client.set_query_timeout(ANSWER_LIMIT);
        let start_lsn = text.parse().map_err(|_| client.invalid(START, format!("\"{text}\" is not an LSN")))?;
        // Of a standby it may be a later one; the label decides in the end.
        let sql = "SELECT timeline_id FROM pg_control_checkpoint()";
        let timeline = timeline_of(&client, CHECKPOINT, client.only_value(CHECKPOINT, sql, &[]).await?)?;
        Ok(Self { client, start_lsn, timeline, is_standby })
    }

    /// Where replay must begin: pages with this LSN or a later one have changed since.
    pub fn start_lsn(&self) -> Lsn {
        self.start_lsn
    }

    /// The timeline of that position. A backup that ends well never had another.
    pub fn timeline(&self) -> TimelineId {
        self.timeline
    }

    /// Whether the server is a standby.
    pub fn is_standby(&self) -> bool {
        self.is_standby
    }

    /// Asks the server whether it is still there, and still what it was.
    pub async fn check(&self) -> Result<(), BackupSessionError> {
        if self.is_standby && !in_recovery(&self.client, ASK).await? {
            return Err(BackupSessionError::Promoted { endpoint: self.endpoint() });
        }
        if !self.is_standby {
            self.client.query(ASK, "SELECT 1", &[]).await?;
        }
        Ok(())
    }

    /// Watches the session; returns only when it is lost, within a second, or when the standby was promoted. To be
    /// driven, by the runtime that the client was made on, as long as the files are read.
    pub async fn watch(&self) -> BackupSessionError {
        loop {
            for _ in 0..LOOKS_BEFORE_ASKING {
                sleep(LOOK_EVERY).await;
                if self.client.is_closed() {
                    break;
                }
            }
            // What is wrong with a lost connection is what the next query says.
            if let Err(error) = self.check().await {
                return error;
            }
        }
    }

    /// Ends the backup, without waiting for its WAL to be archived, and the session.
    pub async fn end(self) -> Result<EndedBackup, BackupSessionError> {
        let call = if is_renamed(&self.client) { "pg_backup_stop(false)" } else { "pg_stop_backup(false, false)" };
        // Names of files need not be in the encoding of any database: as bytes, they come unchanged.
        let raw = |column: &str| format!(r"replace({column}, '\', '\\')::bytea");
        let sql = format!("SELECT lsn::text, {}, {} FROM {call}", raw("labelfile"), raw("spcmapfile"));
        let rows = self.client.query(STOP, &sql, &[]).await?;
        let row = self.client.only_row(STOP, &rows)?;
        let (lsn, label): (String, Vec<u8>) = (self.client.value(STOP, row, 0)?, self.client.value(STOP, row, 1)?);
        let map: Option<Vec<u8>> = self.client.value(STOP, row, 2)?;
        let stop_lsn = lsn.parse().map_err(|_| self.client.invalid(STOP, format!("\"{lsn}\" is not an LSN")))?;
        self.check_label(&label)?;
        if self.is_standby {
            self.check_timeline().await?;
        }
        let tablespace_map = map.filter(|map| !map.is_empty());
        let ended = EndedBackup { stop_lsn, stop_timeline: self.timeline, label, tablespace_map };
        self.client.close().await;
        Ok(ended)
    }

    /// Gives the backup up; the server forgets it.
    pub async fn abandon(self) {
        self.client.close().await;
    }

    fn check_label(&self, label: &[u8]) -> Result<(), BackupSessionError> {
        let label = BackupLabel::parse(label)
            .map_err(|source| BackupSessionError::Label { endpoint: self.endpoint(), source })?;
        if label.start_lsn != self.start_lsn {
            let (endpoint, begun, labelled) = (self.endpoint(), self.start_lsn, label.start_lsn);
            return Err(BackupSessionError::OtherStart { endpoint, begun, labelled });
        }
        self.is_of_timeline(label.start_timeline, self.timeline)
    }

    /// The end of a standby's backup is the point that its recovery has reached. Timelines only grow: one that is
    /// still the same now was the same then.
    async fn check_timeline(&self) -> Result<(), BackupSessionError> {
        let sql = "SELECT min_recovery_end_timeline FROM pg_control_recovery()";
        let number = self.client.only_value(RECOVERY, sql, &[]).await?;
        self.is_of_timeline(self.timeline, timeline_of(&self.client, RECOVERY, number)?)
    }

    fn is_of_timeline(&self, from: TimelineId, to: TimelineId) -> Result<(), BackupSessionError> {
        if from == to {
            return Ok(());
        }
        Err(BackupSessionError::TimelineChanged { endpoint: self.endpoint(), from, to })
    }

    fn endpoint(&self) -> Box<Endpoint> {
        Box::new(self.client.endpoint().clone())
    }
}

fn is_renamed(client: &SqlClient) -> bool {
    client.version_num().is_none_or(|version| version >= RENAMED_SINCE)
}

async fn in_recovery(client: &SqlClient, action: &'static str) -> Result<bool, ServerError> {
    client.only_value(action, "SELECT pg_is_in_recovery()", &[]).await
}

/// The catalog's numbers have a sign; a timeline has none.
fn timeline_of(client: &SqlClient, action: &'static str, number: i32) -> Result<TimelineId, ServerError> {
    let timeline = TimelineId::new(u32::from_ne_bytes(number.to_ne_bytes()));
    timeline.ok_or_else(|| client.invalid(action, format!("{number} is not a timeline")))
}
