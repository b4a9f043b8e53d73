//! SQL, through tokio-postgres on a session of ours.
//!
//! INVARIANT: every session runs with `search_path` pinned, in UTC, without the server's own time limits
//! (contract A4.2), and every query has a time limit of ours.

use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls, Row, SimpleQueryMessage};

use super::conninfo::{ConnectionSettings, PasswordFileProblem};
use super::error::{ConnectError, Endpoint};
use super::framing::ProtocolError;
use super::greeting::GreetedTransport;
use super::message::{ServerMessage, SqlState, clean_text};
use super::session::{Purpose, Session, within};
use crate::error::{Classified, ErrorClass};

/// How long a query may take when nobody said.
pub const DEFAULT_QUERY_TIMEOUT: Duration = Duration::from_secs(120);

/// How long a good-bye may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The database that every cluster has, for those who named none.
const MAINTENANCE_DATABASE: &str = "postgres";

/// What a server says when it ends a session: by an administrator, after a crash, with its database, for idleness.
const ENDS_OF_SESSIONS: [&str; 4] = ["57P01", "57P02", "57P04", "57P05"];

/// A query that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The role may not do this.
    #[error("role \"{}\" may not {action} on server {endpoint}", endpoint.user)]
    PermissionDenied {
        /// Which server.
        endpoint: Box<Endpoint>,
        /// What was tried, as a verb phrase.
        action: &'static str,
        /// What the server said.
        source: Box<ServerMessage>,
    },
    /// The server said no.
    #[error("server {endpoint} could not {action}")]
    Server {
        /// Which server.
        endpoint: Box<Endpoint>,
        /// What was tried, as a verb phrase.
        action: &'static str,
        /// What the server said.
        source: Box<ServerMessage>,
    },
    /// The connection broke.
    #[error("connection to server {endpoint} was lost: could not {action}")]
    Lost {
        /// Which server.
        endpoint: Box<Endpoint>,
        /// What was tried, as a verb phrase.
        action: &'static str,
        /// What is wrong.
        source: tokio_postgres::Error,
    },
    /// No answer in time.
    #[error("server {endpoint} did not {action} within {} s", limit.as_secs())]
    TimedOut {
        /// Which server.
        endpoint: Box<Endpoint>,
        /// What was tried, as a verb phrase.
        action: &'static str,
        /// How long it was waited.
        limit: Duration,
    },
    /// An answer that cannot be right.
    #[error("server {endpoint} gave an invalid answer when asked to {action}: {problem}")]
    InvalidAnswer {
        /// Which server.
        endpoint: Box<Endpoint>,
        /// What was tried, as a verb phrase.
        action: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A file on the server that is larger than what is read.
    #[error("file \"{path}\" on server {endpoint} is larger than {limit} bytes")]
    FileTooLarge {
        /// Which server.
        endpoint: Box<Endpoint>,
        /// The file.
        path: String,
        /// The largest size that is read.
        limit: u32,
    },
}

impl ServerError {
    /// What the server said, when that is the reason.
    pub fn server_message(&self) -> Option<&ServerMessage> {
        match self {
            Self::PermissionDenied { source, .. } | Self::Server { source, .. } => Some(source),
            _ => None,
        }
    }

    /// The server's error code, when there is one.
    pub fn sqlstate(&self) -> Option<&SqlState> {
        self.server_message().and_then(|message| message.sqlstate.as_ref())
    }

    /// Whether the session is over, as far as this tells: by a broken connection, or because the server said so.
    pub fn ends_session(&self) -> bool {
        let is_end = |message: &ServerMessage| ENDS_OF_SESSIONS.iter().any(|code| message.has_code(code));
        matches!(self, Self::Lost { .. }) || self.server_message().is_some_and(is_end)
    }

    /// Whether the role lacks the right.
    pub fn is_permission_denied(&self) -> bool {
        matches!(self, Self::PermissionDenied { .. })
    }
}

impl Classified for ServerError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::PermissionDenied { .. } => ErrorClass::PermissionDenied,
            Self::Server { source, .. } => source.class(),
            Self::Lost { .. } => ErrorClass::Unavailable,
            Self::TimedOut { .. } => ErrorClass::TimedOut,
            Self::InvalidAnswer { .. } => ErrorClass::Corrupt,
            Self::FileTooLarge { .. } => ErrorClass::Unsupported,
        }
    }
}

/// A session for SQL. Must be used on the tokio runtime that it was made on: a task there drives the connection.
pub struct SqlClient {
    client: Client,
    driver: JoinHandle<()>,
    /// Why the driver ended, when it did.
    ended: Arc<OnceLock<Box<ServerMessage>>>,
    endpoint: Endpoint,
    version_num: Option<u32>,
    version_text: Option<String>,
    passfile_problem: Option<PasswordFileProblem>,
    timeout: Duration,
}

impl SqlClient {
    /// Connects and prepares the session. Who named no database gets the one named like the role, as with libpq, and
    /// `postgres` when there is none of that name.
    pub async fn connect(settings: &ConnectionSettings) -> Result<Self, ConnectError> {
        match Self::connect_once(settings).await {
            Err(ConnectError::Rejected { source, .. })
                if source.has_code("3D000") && !settings.dbname_given && settings.dbname != MAINTENANCE_DATABASE =>
            {
                let dbname = MAINTENANCE_DATABASE.to_owned();
                Self::connect_once(&ConnectionSettings { dbname, ..settings.clone() }).await
            }
            result => result,
        }
    }

    async fn connect_once(settings: &ConnectionSettings) -> Result<Self, ConnectError> {
        let mut session = Session::connect(settings, Purpose::Sql).await?;
        let endpoint = session.endpoint.clone();
        let setup = session_setup(session.version_num());
        let prepare = async {
            session.refuse_pooler().await?;
            session.execute(&setup).await.map(drop)
        };
        within(settings.connect_timeout, prepare)
            .await
            .map_err(|limit| ConnectError::TimedOut { endpoint: Box::new(endpoint.clone()), limit })??;
        let (version_num, version_text) = (session.version_num(), session.parameters.get("server_version").cloned());
        let passfile_problem = session.passfile_problem.clone();
        let mut config = Config::new();
        config.user(&settings.user);
        let connected = config.connect_raw(GreetedTransport::new(session), NoTls).await;
        let (client, connection) = connected.map_err(|error| ConnectError::Protocol {
            endpoint: Box::new(endpoint.clone()),
            source: ProtocolError::Lost(std::io::Error::other(error)),
        })?;
        let ended = Arc::new(OnceLock::new());
        let reason = Arc::clone(&ended);
        let driver = tokio::spawn(async move {
            let mut connection = pin!(connection);
            // ORDER: the reason is kept before the connection goes, for that is what wakes the waiting queries.
            if let Err(error) = connection.as_mut().await
                && let Some(message) = server_message(&error)
            {
                let _ = reason.set(message);
            }
        });
        let timeout = DEFAULT_QUERY_TIMEOUT;
        Ok(Self { client, driver, ended, endpoint, version_num, version_text, passfile_problem, timeout })
    }

    /// Which server answered.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The server's version as `server_version_num` writes it, 150004 for 15.4.
    pub fn version_num(&self) -> Option<u32> {
        self.version_num
    }

    /// The server's version in its own words.
    pub fn version_text(&self) -> Option<&str> {
        self.version_text.as_deref()
    }

    /// Why the password file was not used, when there is one.
    pub fn passfile_problem(&self) -> Option<&PasswordFileProblem> {
        self.passfile_problem.as_ref()
    }

    /// How long a query may take from now on.
    pub fn set_query_timeout(&mut self, limit: Duration) {
        self.timeout = limit;
    }

    /// Runs commands and returns the rows of all of them, every value as the server prints it. `action` is what they
    /// do, as a verb phrase for messages: "read its settings".
    pub async fn query_text(&self, action: &'static str, sql: &str) -> Result<Vec<Vec<Option<String>>>, ServerError> {
        let messages = self.limited(action, self.client.simple_query(sql)).await?;
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let values = rows
            .map(|row| (0..row.len()).map(|index| row.try_get(index).map(|value| value.map(str::to_owned))).collect());
        values.collect::<Result<_, _>>().map_err(|error| self.failed(action, error))
    }

    /// Whether the connection is known to be gone: without asking, so a server that fell silent is not noticed.
    pub(crate) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Says good-bye, so that the server logs no unexpected end of file.
    pub async fn close(self) {
        drop(self.client);
        // The session is over whether or not the server hears of it.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.driver).await;
    }

    pub(super) async fn query(
        &self,
        action: &'static str,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, ServerError> {
        self.limited(action, self.client.query(sql, parameters)).await
    }

    pub(super) fn failed(&self, action: &'static str, error: tokio_postgres::Error) -> ServerError {
        let endpoint = Box::new(self.endpoint.clone());
        match server_message(&error).or_else(|| self.ended.get().cloned()) {
            Some(source) if source.has_code("42501") => ServerError::PermissionDenied { endpoint, action, source },
            Some(source) => ServerError::Server { endpoint, action, source },
            None if error.is_closed() || self.client.is_closed() => {
                ServerError::Lost { endpoint, action, source: error }
            }
            None => {
                let problem = clean_text(&match std::error::Error::source(&error) {
                    Some(cause) => format!("{error}: {cause}"),
                    None => error.to_string(),
                });
                ServerError::InvalidAnswer { endpoint, action, problem }
            }
        }
    }

    pub(super) fn invalid(&self, action: &'static str, problem: impl Into<String>) -> ServerError {
        let (endpoint, problem) = (Box::new(self.endpoint.clone()), clean_text(&problem.into()));
        ServerError::InvalidAnswer { endpoint, action, problem }
    }

    async fn limited<T>(
        &self,
        action: &'static str,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, ServerError> {
        match tokio::time::timeout(self.timeout, work).await {
            Ok(result) => result.map_err(|error| self.failed(action, error)),
            Err(_) => {
                Err(ServerError::TimedOut { endpoint: Box::new(self.endpoint.clone()), action, limit: self.timeout })
            }
        }
    }
}

/// What every session is set to. A role or database may have settings of its own that would break ours.
fn session_setup(version_num: Option<u32>) -> String {
    let mut settings = vec![
        // Temporary objects come last, or they could stand in for the catalog's own tables.
        "search_path = pg_catalog, pg_temp",
        "statement_timeout = 0",
        "lock_timeout = 0",
        "idle_in_transaction_session_timeout = 0",
        "datestyle = ISO",
        "timezone = 'UTC'",
        "standard_conforming_strings = on",
        "client_min_messages = warning",
    ];
    if version_num >= Some(140_000) {
        settings.push("idle_session_timeout = 0");
    }
    if version_num >= Some(170_000) {
        settings.push("transaction_timeout = 0");
    }
    settings.iter().map(|setting| format!("SET {setting};")).collect()
}

/// The server's own message inside an error of tokio-postgres.
fn server_message(error: &tokio_postgres::Error) -> Option<Box<ServerMessage>> {
    let error = error.as_db_error()?;
    Some(Box::new(ServerMessage {
        severity: clean_text(error.severity()),
        sqlstate: ServerMessage::sqlstate_of(error.code().code()),
        message: clean_text(error.message()),
        detail: error.detail().map(clean_text),
        hint: error.hint().map(clean_text),
        routine: error.routine().map(clean_text),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_set_only_what_their_server_knows() {
        for (version, idle, transaction) in [
            (None, false, false),
            (Some(130_023), false, false),
            (Some(140_000), true, false),
            (Some(160_014), true, false),
            (Some(170_000), true, true),
        ] {
            let setup = session_setup(version);
            assert!(setup.contains("SET search_path = pg_catalog, pg_temp;SET statement_timeout = 0;"), "{setup}");
            assert_eq!(setup.contains("SET idle_session_timeout"), idle, "{version:?}");
            assert_eq!(setup.contains("SET transaction_timeout"), transaction, "{version:?}");
        }
    }
}
