//! The replication protocol's client: a session with a walsender, and its short commands
//! (`src/backend/replication/walsender.c`, grammar in `repl_gram.y`).
//!
//! Used from one task: nothing is spawned, so a current-thread runtime with its I/O and time drivers is enough.

use std::str::FromStr;

use super::basebackup::{BaseBackup, BaseBackupOptions};
use super::conninfo::{ConnectionSettings, PasswordFileProblem};
use super::error::{ConnectError, Endpoint};
use super::framing::ProtocolError;
use super::message::{ServerMessage, SqlState, column_text};
use super::query::{self, QueryError, Row};
use super::session::{Purpose, Session};
use crate::error::{Classified, ErrorClass};
use crate::pg::{Lsn, PgVersionError, SystemIdentifier, TimelineId};

/// A replication command that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplicationError {
    /// The server said no.
    #[error("server {endpoint} could not run {command}")]
    Server {
        /// Which server.
        endpoint: Box<Endpoint>,
        /// Which command.
        command: &'static str,
        /// What it said.
        source: Box<ServerMessage>,
    },
    /// The connection broke, or the server does not follow the protocol.
    #[error("connection to server {endpoint} failed during {command}")]
    Connection {
        /// Which server.
        endpoint: Box<Endpoint>,
        /// Which command.
        command: &'static str,
        /// What is wrong.
        source: ProtocolError,
    },
    /// The server is older or newer than what pgv knows.
    #[error("server {endpoint} has an unsupported version")]
    Version {
        /// Which server.
        endpoint: Box<Endpoint>,
        /// Which version.
        source: PgVersionError,
    },
    /// An option that cannot be sent.
    #[error("invalid value of {option}: {problem}")]
    InvalidOption {
        /// Which option.
        option: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

impl ReplicationError {
    /// What the server said, when that is the reason.
    pub fn server_message(&self) -> Option<&ServerMessage> {
        match self {
            Self::Server { source, .. } => Some(source),
            _ => None,
        }
    }

    /// The server's error code, when there is one.
    pub fn sqlstate(&self) -> Option<&SqlState> {
        self.server_message().and_then(|message| message.sqlstate.as_ref())
    }
}

impl Classified for ReplicationError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Server { source, .. } => source.class(),
            Self::Connection { source, .. } => source.class(),
            Self::Version { .. } => ErrorClass::Unsupported,
            Self::InvalidOption { .. } => ErrorClass::Usage,
        }
    }
}

/// A place in the log and the timeline that it is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalPosition {
    /// The place.
    pub lsn: Lsn,
    /// Its timeline.
    pub timeline: TimelineId,
}

/// What `IDENTIFY_SYSTEM` tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemIdentification {
    /// Which cluster it is.
    pub system_identifier: SystemIdentifier,
    /// Its present timeline.
    pub timeline: TimelineId,
    /// How far the log is flushed.
    pub flush_lsn: Lsn,
}

/// What `TIMELINE_HISTORY` tells. Untrusted: name and content are for the caller to check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelineHistoryFile {
    /// The name of the file, as the server has it.
    pub file_name: String,
    /// Its content.
    pub content: Vec<u8>,
}

/// A session with a walsender.
pub struct Walsender {
    pub(super) session: Session,
}

impl Walsender {
    /// Connects for physical replication.
    pub async fn connect(settings: &ConnectionSettings) -> Result<Self, ConnectError> {
        let session =
            Session::connect(settings, Purpose::Replication).await.map_err(ConnectError::naming_the_pooler)?;
        session.refuse_bouncer_console()?;
        Ok(Self { session })
    }

    /// Which server answered.
    pub fn endpoint(&self) -> &Endpoint {
        &self.session.endpoint
    }

    /// The server's version as `server_version_num` writes it, 150004 for 15.4.
    pub fn version_num(&self) -> Option<u32> {
        self.session.version_num()
    }

    /// The server's version in its own words.
    pub fn version_text(&self) -> Option<&str> {
        self.session.parameters.get("server_version").map(String::as_str)
    }

    /// Why the password file was not used, when there is one.
    pub fn passfile_problem(&self) -> Option<&PasswordFileProblem> {
        self.session.passfile_problem.as_ref()
    }

    /// Warnings and notices that have arrived since the last call.
    pub fn take_notices(&mut self) -> Vec<ServerMessage> {
        self.session.notices.take()
    }

    /// Which cluster this is, and where its log ends.
    pub async fn identify_system(&mut self) -> Result<SystemIdentification, ReplicationError> {
        const COMMAND: &str = "IDENTIFY_SYSTEM";
        let rows = self.run(COMMAND, COMMAND).await?;
        let row = self.only_row(COMMAND, &rows)?;
        Ok(SystemIdentification {
            system_identifier: self.column(COMMAND, row, 0)?,
            timeline: self.timeline_column(COMMAND, row, 1)?,
            flush_lsn: self.column(COMMAND, row, 2)?,
        })
    }

    /// The value of a setting, as `SHOW` prints it.
    pub async fn show(&mut self, name: &str) -> Result<String, ReplicationError> {
        const COMMAND: &str = "SHOW";
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        if name.is_empty() || !name.chars().all(plain) {
            let problem = format!("\"{name}\" is not the name of a setting");
            return Err(ReplicationError::InvalidOption { option: COMMAND, problem });
        }
        let rows = self.run(COMMAND, &format!("SHOW {name}")).await?;
        let row = self.only_row(COMMAND, &rows)?;
        self.column(COMMAND, row, 0)
    }

    /// The history file of a timeline; timeline 1 has none, and asking for it is an error of the server.
    pub async fn timeline_history(&mut self, timeline: TimelineId) -> Result<TimelineHistoryFile, ReplicationError> {
        const COMMAND: &str = "TIMELINE_HISTORY";
        let rows = self.run(COMMAND, &format!("TIMELINE_HISTORY {timeline}")).await?;
        let row = self.only_row(COMMAND, &rows)?;
        let content = match row.get(1) {
            Some(Some(content)) => content.to_vec(),
            _ => return Err(self.invalid(COMMAND, "it has no content".to_owned())),
        };
        Ok(TimelineHistoryFile { file_name: self.column(COMMAND, row, 0)?, content })
    }

    /// Starts a base backup; returns once the server has done its checkpoint, which can take minutes. Who drops the
    /// backup before its end must drop this session too: the server goes on sending.
    pub async fn base_backup(&mut self, options: &BaseBackupOptions) -> Result<BaseBackup<'_>, ReplicationError> {
        BaseBackup::start(self, options).await
    }

    /// Says good-bye; without it the server logs an unexpected end of file.
    pub async fn close(mut self) {
        let goodbye = |buffer: &mut bytes::BytesMut| {
            postgres_protocol::message::frontend::terminate(buffer);
            Ok(())
        };
        // The session is over whether or not the server hears of it.
        let _ = self.session.stream.send(goodbye).await;
    }

    pub(super) async fn run(&mut self, command: &'static str, text: &str) -> Result<Vec<Row>, ReplicationError> {
        let result = query::run(&mut self.session.stream, &mut self.session.notices, text).await;
        result.map_err(|error| self.failed(command, error))
    }

    pub(super) fn failed(&self, command: &'static str, error: QueryError) -> ReplicationError {
        let endpoint = Box::new(self.session.endpoint.clone());
        match error {
            QueryError::Server(source) => ReplicationError::Server { endpoint, command, source },
            QueryError::Protocol(source) => ReplicationError::Connection { endpoint, command, source },
        }
    }

    pub(super) fn invalid(&self, command: &'static str, problem: String) -> ReplicationError {
        self.failed(command, QueryError::Protocol(ProtocolError::InvalidResult { what: command, problem }))
    }

    pub(super) fn only_row<'r>(&self, command: &'static str, rows: &'r [Row]) -> Result<&'r Row, ReplicationError> {
        match rows {
            [row] => Ok(row),
            rows => Err(self.invalid(command, format!("it has {} rows instead of one", rows.len()))),
        }
    }

    pub(super) fn column<T: FromStr>(
        &self,
        command: &'static str,
        row: &Row,
        index: usize,
    ) -> Result<T, ReplicationError> {
        let text = row.get(index).and_then(column_text);
        let value = text.as_deref().and_then(|text| text.parse().ok());
        value.ok_or_else(|| {
            let shown = super::message::clean_text(text.as_deref().unwrap_or(""));
            self.invalid(command, format!("column {} holds \"{shown}\"", index + 1))
        })
    }

    pub(super) fn timeline_column(
        &self,
        command: &'static str,
        row: &Row,
        index: usize,
    ) -> Result<TimelineId, ReplicationError> {
        let text: String = self.column(command, row, index)?;
        TimelineId::parse_decimal(&text).map_err(|error| self.invalid(command, error.to_string()))
    }

    pub(super) fn position(&self, command: &'static str, rows: &[Row]) -> Result<WalPosition, ReplicationError> {
        let row = self.only_row(command, rows)?;
        Ok(WalPosition { lsn: self.column(command, row, 0)?, timeline: self.timeline_column(command, row, 1)? })
    }
}
