//! `BASE_BACKUP` in both of its dialects: one stream of typed messages from PostgreSQL 15 on
//! (`src/backend/backup/basebackup.c`, `basebackup_copy.c`), a copy for each archive before
//! (`src/backend/replication/basebackup.c` of 13 and 14). Both come out as the same events.
//!
//! INVARIANT: a backup without its final position is no backup: [`BaseBackup::next_event`] never returns `None`
//! before the server has sent it. Names and paths in the events come from the server and are untrusted.

use bytes::Bytes;
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;

use super::framing::{Body, ProtocolError, Received};
use super::message::ServerMessage;
use super::query::{self, QueryError, Row};
use super::walsender::{ReplicationError, WalPosition, Walsender};
use crate::pg::{PgMajorVersion, PgVersionError};

mod dialect;
mod options;

use dialect::Dialect;
pub use options::{BaseBackupOptions, CheckpointMode};

const COMMAND: &str = "BASE_BACKUP";

/// What a server says of pages with wrong checksums when it has sent all (`ERRCODE_DATA_CORRUPTED`).
const DATA_CORRUPTED: &str = "XX001";

/// One directory that the backup holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupTablespace {
    /// Its object id; none for the data directory itself.
    pub oid: Option<u32>,
    /// Where it lies on the server, in the bytes of its file system; none for the data directory itself.
    pub location: Option<Bytes>,
    /// The server's estimate of its size in KiB.
    pub estimated_kib: Option<u64>,
}

/// What comes out of a backup's stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseBackupEvent {
    /// A tar archive begins; the one before, if any, has ended.
    ArchiveBegin {
        /// Its name, as `base.tar` or `16384.tar`.
        name: Bytes,
        /// The location of its tablespace; empty for the data directory.
        tablespace_path: Bytes,
    },
    /// The manifest begins; the last archive has ended.
    ManifestBegin,
    /// The next bytes of what began last.
    Data(Bytes),
    /// So many bytes of the present tablespace have been read by the server.
    Progress(u64),
    /// The server has something to say, as that a page has a wrong checksum.
    Notice(Box<ServerMessage>),
}

/// A backup that is being sent.
pub struct BaseBackup<'w> {
    walsender: &'w mut Walsender,
    start: WalPosition,
    tablespaces: Vec<BackupTablespace>,
    dialect: Dialect,
    /// How many archives have begun.
    archives: usize,
    state: State,
    bad_pages: Option<Box<ServerMessage>>,
}

/// Where the stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The stream, or in the older dialect a copy, is open and nothing has begun in it: data has nowhere to go.
    Opened,
    InArchive,
    /// COMPAT: up to 14 each archive is a copy of its own; the last one has ended.
    AfterArchive,
    InManifest,
    Ended(WalPosition),
    Failed,
}

impl<'w> BaseBackup<'w> {
    pub(super) async fn start(
        walsender: &'w mut Walsender,
        options: &BaseBackupOptions,
    ) -> Result<Self, ReplicationError> {
        let dialect = dialect_of(walsender)?;
        let command = options.command(dialect)?;
        let (start, tablespaces) = match walsender.begin(&command).await {
            Ok((start, tablespaces)) => (walsender.position(COMMAND, &start)?, tablespaces),
            Err(error) => return Err(walsender.recover(error).await),
        };
        let tablespaces =
            tablespaces.iter().map(|row| decode_tablespace(walsender, row)).collect::<Result<Vec<_>, _>>()?;
        if dialect == Dialect::Copies {
            dialect::check_order(&tablespaces)
                .map_err(|problem| walsender.invalid(COMMAND, format!("of its tablespaces, {problem}")))?;
        }
        walsender.session.stream.set_idle_timeout(options.idle_timeout);
        Ok(Self { walsender, start, tablespaces, dialect, archives: 0, state: State::Opened, bad_pages: None })
    }

    /// Where the log must be replayed from.
    pub fn start_position(&self) -> WalPosition {
        self.start
    }

    /// The directories that the backup holds, in the order of their archives.
    pub fn tablespaces(&self) -> &[BackupTablespace] {
        &self.tablespaces
    }

    /// Whether the server ends its archives with the mark of two zero blocks.
    ///
    /// COMPAT: up to 14 it leaves the mark to its client.
    pub fn marks_ends_of_archives(&self) -> bool {
        self.dialect == Dialect::Messages
    }

    /// Where the log must be replayed to; known once [`Self::next_event`] has returned `None`.
    pub fn end_position(&self) -> Option<WalPosition> {
        match self.state {
            State::Ended(position) => Some(position),
            _ => None,
        }
    }

    /// What the server says at the end of a complete backup in which pages have wrong checksums; its notices have named them.
    pub fn bad_pages(&self) -> Option<&ServerMessage> {
        self.bad_pages.as_deref()
    }

    /// The next event; `None` once the backup is complete and its end position is known.
    ///
    /// Dropping the future before it is ready loses nothing while data is sent. After an error the backup is void.
    pub async fn next_event(&mut self) -> Result<Option<BaseBackupEvent>, ReplicationError> {
        match self.state {
            State::Ended(_) => return Ok(None),
            State::Failed => return Err(self.walsender.invalid(COMMAND, "the backup has failed already".to_owned())),
            State::Opened | State::InArchive | State::AfterArchive | State::InManifest => {}
        }
        let result = self.step().await;
        if result.is_err() {
            self.state = State::Failed;
            self.walsender.session.stream.set_idle_timeout(None);
        }
        result
    }

    async fn step(&mut self) -> Result<Option<BaseBackupEvent>, ReplicationError> {
        if let Some(notice) = self.walsender.session.notices.pop() {
            return Ok(Some(BaseBackupEvent::Notice(notice)));
        }
        if let (Dialect::Copies, State::Opened) = (self.dialect, self.state) {
            return Ok(Some(self.begin_copy()));
        }
        loop {
            let received = self.receive().await?;
            match (received.body, self.state) {
                (Body::CopyData(body), _) if self.dialect == Dialect::Messages => {
                    return self.decode_event(body).map(Some);
                }
                (Body::CopyData(body), State::InArchive | State::InManifest) => {
                    return Ok(Some(BaseBackupEvent::Data(body)));
                }
                (Body::Parsed(Message::NoticeResponse(body)), _) => {
                    let notice = ServerMessage::decode(body.fields())
                        .map_err(|source| self.protocol(ProtocolError::Malformed { tag: 'N', source }))?;
                    return Ok(Some(BaseBackupEvent::Notice(notice)));
                }
                (Body::Parsed(Message::CopyDone), State::InManifest) => return self.finish().await.map(|()| None),
                (Body::Parsed(Message::CopyDone), State::InArchive) if self.dialect == Dialect::Copies => {
                    self.state = State::AfterArchive;
                }
                (Body::Parsed(Message::CopyOutResponse(_)), State::AfterArchive) => return Ok(Some(self.begin_copy())),
                (body, _) => {
                    let received = Received { tag: received.tag, body };
                    return Err(self.protocol(received.unexpected("the data of a base backup")));
                }
            }
        }
    }

    /// COMPAT: up to 14 copies come in the order of the tablespaces, that of the manifest after them.
    fn begin_copy(&mut self) -> BaseBackupEvent {
        match self.tablespaces.get(self.archives) {
            Some(tablespace) => {
                self.archives += 1;
                self.state = State::InArchive;
                dialect::archive_begin(tablespace)
            }
            None => {
                self.state = State::InManifest;
                BaseBackupEvent::ManifestBegin
            }
        }
    }

    async fn receive(&mut self) -> Result<Received, ReplicationError> {
        loop {
            let received = self.walsender.session.stream.receive().await.map_err(|error| self.protocol(error))?;
            match &received.body {
                Body::Parsed(Message::ParameterStatus(_) | Message::NotificationResponse(_)) => {}
                Body::Parsed(Message::ErrorResponse(body)) => {
                    let error = match ServerMessage::decode(body.fields()) {
                        Ok(message) => QueryError::Server(message),
                        Err(source) => QueryError::Protocol(ProtocolError::Malformed { tag: 'E', source }),
                    };
                    return Err(self.walsender.recover(error).await);
                }
                _ => return Ok(received),
            }
        }
    }

    fn decode_event(&mut self, mut body: Bytes) -> Result<BaseBackupEvent, ReplicationError> {
        let malformed = |problem: &str| ProtocolError::InvalidResult { what: COMMAND, problem: problem.to_owned() };
        let Some(kind) = body.first().copied() else { return Err(self.protocol(malformed("an empty message"))) };
        let _ = body.split_to(1);
        match (kind, self.state) {
            (b'd', State::InArchive | State::InManifest) => Ok(BaseBackupEvent::Data(body)),
            (b'n', State::Opened | State::InArchive) => {
                let name = split_text(&mut body);
                let tablespace_path = split_text(&mut body);
                match (name, tablespace_path) {
                    (Some(name), Some(tablespace_path)) if body.is_empty() => {
                        self.state = State::InArchive;
                        Ok(BaseBackupEvent::ArchiveBegin { name, tablespace_path })
                    }
                    _ => Err(self.protocol(malformed("a broken archive header"))),
                }
            }
            (b'm', State::Opened | State::InArchive) if body.is_empty() => {
                self.state = State::InManifest;
                Ok(BaseBackupEvent::ManifestBegin)
            }
            (b'p', _) => match <[u8; 8]>::try_from(body.as_ref()).map(i64::from_be_bytes).map(u64::try_from) {
                Ok(Ok(done)) => Ok(BaseBackupEvent::Progress(done)),
                _ => Err(self.protocol(malformed("a broken progress report"))),
            },
            _ => Err(self.protocol(malformed("a message of unknown kind or out of order"))),
        }
    }

    /// Reads the final position and waits until the server is ready for the next command.
    async fn finish(&mut self) -> Result<(), ReplicationError> {
        self.walsender.session.stream.set_idle_timeout(None);
        let rows = match self.walsender.rows().await {
            Ok(rows) => rows,
            Err(error) => return Err(self.walsender.recover(error).await),
        };
        let end = self.walsender.position(COMMAND, &rows)?;
        let session = &mut self.walsender.session;
        let mut ready = query::await_ready(&mut session.stream, &mut session.notices).await;
        // All was sent by then, and the server's own backup has ended well (`perform_base_backup`).
        if let Err(QueryError::Server(message)) = &mut ready
            && message.has_code(DATA_CORRUPTED)
        {
            self.bad_pages = Some(message.clone());
            ready = query::await_ready(&mut session.stream, &mut session.notices).await;
        }
        match ready {
            Ok(()) => {
                self.state = State::Ended(end);
                Ok(())
            }
            Err(error) => Err(self.walsender.failed(COMMAND, error)),
        }
    }

    fn protocol(&self, source: ProtocolError) -> ReplicationError {
        self.walsender.failed(COMMAND, QueryError::Protocol(source))
    }
}

impl Walsender {
    /// Sends the command and takes the two results that come before the data.
    async fn begin(&mut self, command: &str) -> Result<(Vec<Row>, Vec<Row>), QueryError> {
        self.session.stream.send(|buffer| frontend::query(command, buffer)).await?;
        let start = self.rows().await?;
        let tablespaces = self.rows().await?;
        let received = query::next(&mut self.session.stream, &mut self.session.notices).await?;
        match received.body {
            Body::Parsed(Message::CopyOutResponse(_)) => Ok((start, tablespaces)),
            body => Err(Received { tag: received.tag, body }.unexpected("the start of a base backup").into()),
        }
    }

    async fn rows(&mut self) -> Result<Vec<Row>, QueryError> {
        query::rows(&mut self.session.stream, &mut self.session.notices).await
    }

    /// Makes the session ready again after an error of the server, where it still is one.
    async fn recover(&mut self, error: QueryError) -> ReplicationError {
        if matches!(error, QueryError::Server(_)) {
            // What the server said matters more than that it hung up afterwards.
            let _ = query::await_ready(&mut self.session.stream, &mut self.session.notices).await;
        }
        self.failed(COMMAND, error)
    }
}

fn dialect_of(walsender: &Walsender) -> Result<Dialect, ReplicationError> {
    let unknown = || PgVersionError { version: walsender.version_text().unwrap_or("unknown").to_owned() };
    let version = walsender.version_num().ok_or_else(unknown).and_then(PgMajorVersion::from_version_num);
    version
        .map(Dialect::of)
        .map_err(|source| ReplicationError::Version { endpoint: Box::new(walsender.session.endpoint.clone()), source })
}

fn decode_tablespace(walsender: &Walsender, row: &Row) -> Result<BackupTablespace, ReplicationError> {
    let optional = |index: usize| matches!(row.get(index), Some(Some(_)));
    let oid = if optional(0) { Some(walsender.column(COMMAND, row, 0)?) } else { None };
    let estimated_kib = if optional(2) { Some(walsender.column(COMMAND, row, 2)?) } else { None };
    Ok(BackupTablespace { oid, location: row.get(1).cloned().flatten(), estimated_kib })
}

/// Splits a text off that ends with a zero byte.
fn split_text(body: &mut Bytes) -> Option<Bytes> {
    let end = body.iter().position(|byte| *byte == 0)?;
    let text = body.split_to(end);
    let _ = body.split_to(1);
    Some(text)
}

#[cfg(test)]
mod tests;
