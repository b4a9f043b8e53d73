//! How far a server's recovery is, asked in SQL; and what the lock file of its process says of how to ask.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::postmaster::LockFile;
use super::sql::{ServerError, SqlClient};
use crate::fs::FileError;
use crate::pg::Lsn;

/// The first version that tells a pause that was asked for from one that has begun.
const PAUSE_STATE_SINCE: u32 = 140_000;

/// How far a server's recovery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecoveryState {
    /// Whether it recovers still.
    pub in_recovery: bool,
    /// Whether its recovery is paused.
    pub is_paused: bool,
    /// The end of the last record that was replayed since the server was started.
    pub replayed_lsn: Option<Lsn>,
    /// The time of the last commit or abort among them.
    pub last_ending: Option<Timestamp>,
}

impl SqlClient {
    /// How far recovery is, or was when it ended.
    pub async fn recovery_state(&self) -> Result<RecoveryState, ServerError> {
        const ACTION: &str = "tell how far its recovery is";
        // COMPAT: 13 knows only whether a pause was asked for; at a target that is the same.
        let paused = match self.version_num() {
            Some(version) if version < PAUSE_STATE_SINCE => "pg_is_wal_replay_paused()",
            _ => "pg_get_wal_replay_pause_state() = 'paused'",
        };
        let sql = format!(
            "SELECT pg_is_in_recovery(), CASE WHEN pg_is_in_recovery() THEN {paused} END, pg_last_wal_replay_lsn(), \
             to_char(pg_last_xact_replay_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
        );
        let rows = self.query_text(ACTION, &sql).await?;
        let [row] = rows.as_slice() else {
            return Err(self.invalid(ACTION, format!("{} rows instead of one", rows.len())));
        };
        let text = |column: usize| row.get(column).and_then(Option::as_deref);
        let unreadable = |column: usize| self.invalid(ACTION, format!("\"{}\"", text(column).unwrap_or_default()));
        Ok(RecoveryState {
            in_recovery: text(0) == Some("t"),
            is_paused: text(1) == Some("t"),
            replayed_lsn: text(2).map(str::parse).transpose().map_err(|_| unreadable(2))?,
            last_ending: text(3).map(str::parse).transpose().map_err(|_| unreadable(3))?,
        })
    }
}

/// What a running server has written down of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostmasterFile {
    /// Its process.
    pub pid: i32,
    /// When it began, by its clock, in seconds.
    pub started: Option<i64>,
    /// The port it listens on.
    pub port: Option<u16>,
    /// The first directory of its sockets.
    pub socket_directory: Option<PathBuf>,
    /// The first address it listens on.
    pub address: Option<String>,
    /// How far its start is.
    pub status: PostmasterStatus,
}

/// How far the start of a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostmasterStatus {
    /// It takes no connections yet, or no more.
    Starting,
    /// It takes connections, for reading at least.
    Ready,
    /// It recovers and takes no connections meanwhile: hot standby is off.
    ReplayingOnly,
}

impl PostmasterFile {
    /// Reads it; `None` when there is none, or none that is complete.
    pub fn read(data_directory: &Path) -> Result<Option<Self>, FileError> {
        Ok(LockFile::read(data_directory)?.and_then(|file| Self::parse(&file)))
    }

    /// From the bytes of the file.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn of(text: &[u8]) -> Option<Self> {
        Self::parse(&LockFile::of(text))
    }

    fn parse(file: &LockFile) -> Option<Self> {
        let line = |index: usize| file.line(index);
        Some(Self {
            pid: file.process().filter(|pid| *pid > 0)?,
            started: line(2).and_then(|seconds| seconds.trim().parse().ok()),
            port: line(3).and_then(|port| port.parse().ok()),
            socket_directory: line(4).map(PathBuf::from),
            address: line(5).map(str::to_owned),
            status: match line(7) {
                Some("ready") => PostmasterStatus::Ready,
                Some("standby") => PostmasterStatus::ReplayingOnly,
                _ => PostmasterStatus::Starting,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_a_server_says_how_to_reach_it() {
        let text = "4711\n/srv/data\n1795000000\n5433\n/run/pg\nlocalhost\n  1234  5\nready   \n";
        let file = PostmasterFile::of(text.as_bytes()).unwrap();
        let expected = PostmasterFile {
            pid: 4711,
            started: Some(1_795_000_000),
            port: Some(5433),
            socket_directory: Some("/run/pg".into()),
            address: Some("localhost".to_owned()),
            status: PostmasterStatus::Ready,
        };
        assert_eq!(file, expected);
        let without_socket = PostmasterFile::of(text.replace("/run/pg", "").as_bytes()).unwrap();
        assert_eq!((without_socket.socket_directory, without_socket.port), (None, Some(5433)));
    }

    #[test]
    fn what_is_not_written_yet_is_not_there() {
        for (text, status) in [
            ("4711\n/srv/data\n", PostmasterStatus::Starting),
            ("1\n\n\n\n\n\n\nstandby\n", PostmasterStatus::ReplayingOnly),
        ] {
            assert_eq!(PostmasterFile::of(text.as_bytes()).unwrap().status, status, "{text:?}");
        }
        for text in ["", "\n", "x\n", "-5\n", "0\n"] {
            assert_eq!(PostmasterFile::of(text.as_bytes()), None, "{text:?}");
        }
    }
}
