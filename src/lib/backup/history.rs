//! The history of a server's timeline: the server's own, which must be the archive's where that has one.
//!
//! INVARIANT: the archive gets a history only from a server that is proven to be the one that archives there. One name is
//! taken for ever, and every standby that reads the archive follows what it finds: the history of a copy would stop them.

use super::BackupError;
use super::session::ServerSession;
use crate::codec::CompressionLevel;
use crate::pg::{TimelineHistory, TimelineId, WalFileName};
use crate::repository::{WalArchive, WalFileContent, Writer};

/// What a server says when it cannot find a file (`ERRCODE_UNDEFINED_FILE`).
const UNDEFINED_FILE: &str = "58P01";

/// The history of the timeline that a backup is on.
pub(super) struct ServerHistory {
    pub(super) history: TimelineHistory,
    /// Its file, when the archive lacks it.
    missing: Option<Vec<u8>>,
}

impl ServerHistory {
    /// The server's; refused when the archive has another of that timeline. Nothing is stored.
    pub(super) fn load(
        session: &mut ServerSession<'_>,
        archive: &WalArchive<'_>,
        timeline: TimelineId,
    ) -> Result<Self, BackupError> {
        if timeline == TimelineId::FIRST {
            return Ok(Self { history: TimelineHistory::first(), missing: None });
        }
        let content = session.history_file(timeline).map_err(|error| match error.is_missing_file() {
            true => BackupError::NoHistory { server: session.server_text(), timeline, source: Box::new(error) },
            false => error,
        })?;
        let history =
            TimelineHistory::decode(timeline, &content).map_err(|source| BackupError::History { timeline, source })?;
        let name = WalFileName::TimelineHistory(timeline);
        match archive.load_text(&name)? {
            None => Ok(Self { history, missing: Some(content) }),
            Some(archived) if archived == content => Ok(Self { history, missing: None }),
            Some(archived) => Err(BackupError::OtherServersHistory {
                server: session.server_text(),
                timeline,
                own: String::from_utf8_lossy(&content).trim_end().escape_debug().to_string(),
                archived: String::from_utf8_lossy(&archived).trim_end().escape_debug().to_string(),
                stored_by: archive.stored_by(&name).ok().flatten().map(Box::new),
            }),
        }
    }

    /// Stores it when the archive lacks it: for a server that is proven to be the one that archives there.
    pub(super) fn store_missing(
        &self,
        archive: &WalArchive<'_>,
        level: CompressionLevel,
        writer: &Writer,
    ) -> Result<(), BackupError> {
        if let Some(content) = &self.missing {
            let name = WalFileName::TimelineHistory(self.history.timeline());
            archive.store(&name, WalFileContent::Whole(content), level, writer)?;
        }
        Ok(())
    }
}

impl BackupError {
    /// Whether a file is not there: found out here, or told by the server.
    fn is_missing_file(&self) -> bool {
        match self {
            Self::File(error) => error.is_not_found(),
            Self::Replication(error) => error.server_message().is_some_and(|message| message.has_code(UNDEFINED_FILE)),
            _ => false,
        }
    }
}
