//! What the log of a server that ended says of the reason.
//!
//! COMPAT: the words of English messages, as PostgreSQL 13 to 18 and pgv-fetch write them; the server is started with
//! `lc_messages = C`. Of other words the last lines are shown without an explanation.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use crate::fs;

/// LIMIT: bytes at the end of a log that are looked at.
const TAIL_BYTES: u64 = 64 << 10;
/// LIMIT: lines that are shown.
const SHOWN_LINES: usize = 8;
/// LIMIT: characters of a line that are shown.
const SHOWN_CHARACTERS: usize = 500;
/// What makes a line worth showing.
const TELLING: [&str; 9] = [
    "FATAL:",
    "PANIC:",
    "ERROR:",
    "DETAIL:",
    "HINT:",
    "could not",
    "pgv-fetch: error:",
    "pgv-fetch: hint:",
    "not possible",
];
/// The file in which a server that collects its log names the present files.
const CURRENT_LOGS: &str = "current_logfiles";

/// Why recovery ended, as far as the log tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LoggedCause {
    /// The WAL ended before the target: something said that a segment that was proven does not exist.
    WalEnded,
    /// A segment could not be fetched.
    FetchFailed,
    /// A setting that replay needs is lower than the original's (contract A3.10).
    SettingTooLow,
    /// Somebody else has the port or the socket.
    AddressInUse,
    /// A library that is preloaded is not installed here.
    LibraryMissing,
    /// A library that replay needs is not loaded.
    ResourceManagerMissing,
    /// A file system is full.
    NoSpace,
}

/// The words by which each is known, the surest first.
const CAUSES: [(LoggedCause, &[&str]); 7] = [
    (LoggedCause::NoSpace, &["No space left on device"]),
    (LoggedCause::SettingTooLow, &["insufficient parameter settings", "is a lower setting than on the"]),
    (LoggedCause::FetchFailed, &["from archive: child process", "from archive: command", "pgv-fetch: error:"]),
    (LoggedCause::WalEnded, &["recovery ended before configured recovery target was reached"]),
    (
        LoggedCause::AddressInUse,
        &[
            "Address already in use",
            "could not create any TCP/IP sockets",
            "could not create any Unix-domain sockets",
            "is already in use",
            // That of a socket: the one of a data directory is "postmaster.pid".
            ".lock\" already exists",
        ],
    ),
    (LoggedCause::ResourceManagerMissing, &["resource manager with ID"]),
    (LoggedCause::LibraryMissing, &["could not access file", "could not load library"]),
];

/// A log as it was before the server was started.
#[derive(Debug, Clone)]
pub(super) struct LogMark {
    path: PathBuf,
    offset: u64,
    /// When [`CURRENT_LOGS`] was written: that of a backup names the files of the original.
    current_logs: Option<Timestamp>,
}

/// What a log says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogExcerpt {
    /// The lines that tell most.
    pub lines: Vec<String>,
    /// What they mean, if that is known.
    pub cause: Option<LoggedCause>,
}

impl LogMark {
    pub(super) fn of(path: &Path, data_directory: &Path) -> Self {
        let current_logs = fs::modified(&data_directory.join(CURRENT_LOGS)).ok();
        Self { path: path.to_owned(), offset: fs::file_bytes(path).unwrap_or_default(), current_logs }
    }

    /// What was written since that tells most.
    pub(super) fn excerpt(&self, data_directory: &Path) -> LogExcerpt {
        LogExcerpt::of(&self.text(data_directory))
    }

    /// Whether these words were written since.
    pub(super) fn says(&self, data_directory: &Path, words: &str) -> bool {
        self.text(data_directory).contains(words)
    }

    /// What was written since, there or where the server collects its log. What cannot be read says nothing.
    fn text(&self, data_directory: &Path) -> String {
        let mut text = tail(&self.path, self.offset);
        let current = data_directory.join(CURRENT_LOGS);
        if fs::modified(&current).ok() == self.current_logs {
            return text;
        }
        let current = fs::read_at_most(&current, TAIL_BYTES).unwrap_or_default();
        for line in String::from_utf8_lossy(&current).lines() {
            if let Some((_, file)) = line.split_once(' ') {
                text.push_str(&tail(&data_directory.join(file), 0));
            }
        }
        text
    }
}

fn tail(path: &Path, from: u64) -> String {
    let size = fs::file_bytes(path).unwrap_or_default();
    let from = from.max(size.saturating_sub(TAIL_BYTES));
    let length = usize::try_from(size.saturating_sub(from)).unwrap_or_default();
    String::from_utf8_lossy(&fs::read_range(path, from, length).unwrap_or_default()).into_owned()
}

impl LogExcerpt {
    fn of(text: &str) -> Self {
        let telling: Vec<&str> = text.lines().filter(|line| TELLING.iter().any(|word| line.contains(word))).collect();
        let chosen =
            if telling.is_empty() { text.lines().filter(|line| !line.trim().is_empty()).collect() } else { telling };
        let skipped = chosen.len().saturating_sub(SHOWN_LINES);
        let lines = chosen.iter().skip(skipped).map(|line| line.chars().take(SHOWN_CHARACTERS).collect()).collect();
        let is_said = |words: &&[&str]| words.iter().any(|word| text.contains(word));
        let cause = CAUSES.iter().find(|(_, words)| is_said(words)).map(|(cause, _)| *cause);
        Self { lines, cause }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_telling_lines_and_their_cause_are_found() {
        for (text, cause, first) in [
            (
                "LOG:  starting\npgv-fetch: error: object \"x\" is damaged\n\
                 FATAL:  could not restore file \"0001\" from archive: child process exited with exit code 220\n",
                Some(LoggedCause::FetchFailed),
                "pgv-fetch: error: object",
            ),
            (
                "LOG:  redo done\nFATAL:  recovery ended before configured recovery target was reached\n",
                Some(LoggedCause::WalEnded),
                "FATAL:  recovery ended",
            ),
            (
                "FATAL:  recovery aborted because of insufficient parameter settings\n",
                Some(LoggedCause::SettingTooLow),
                "FATAL:",
            ),
            (
                "FATAL:  hot standby is not possible because max_connections = 5 is a lower setting than on the primary \
                 server (its value was 30)\n",
                Some(LoggedCause::SettingTooLow),
                "FATAL:",
            ),
            // As 13 says it.
            (
                "FATAL:  hot standby is not possible because max_connections = 50 is a lower setting than on the master \
                 server (its value was 60)\n",
                Some(LoggedCause::SettingTooLow),
                "FATAL:",
            ),
            (
                "FATAL:  could not access file \"timescaledb\": No such file\n",
                Some(LoggedCause::LibraryMissing),
                "FATAL:",
            ),
            (
                "FATAL:  lock file \"/run/.s.PGSQL.5432.lock\" already exists\nHINT:  Is another postmaster (PID 7) using \
                 socket file \"/run/.s.PGSQL.5432\"?\n",
                Some(LoggedCause::AddressInUse),
                "FATAL:",
            ),
            (
                "FATAL:  lock file \"postmaster.pid\" already exists\nHINT:  Is another postmaster (PID 7) running in data \
                 directory \"/srv/a.lock\"?\n",
                None,
                "FATAL:",
            ),
            ("LOG:  gestartet\nDIES:  das\n", None, "LOG:  gestartet"),
            ("", None, ""),
        ] {
            let excerpt = LogExcerpt::of(text);
            assert_eq!(excerpt.cause, cause, "{text}");
            assert!(excerpt.lines.first().is_none_or(|line| line.starts_with(first)), "{excerpt:?}");
        }
    }

    #[test]
    fn only_what_was_written_since_counts_and_no_more_than_can_be_read() {
        let temp = tempfile::tempdir().unwrap();
        let log = temp.path().join("copy.log");
        std::fs::write(&log, "FATAL:  an older one\n").unwrap();
        let mark = LogMark::of(&log, temp.path());
        let many: String = (0..20).map(|number| format!("ERROR:  number {number}\n")).collect();
        std::fs::write(&log, format!("FATAL:  an older one\n{many}")).unwrap();
        let excerpt = mark.excerpt(temp.path());
        assert_eq!(excerpt.lines.len(), SHOWN_LINES);
        assert_eq!(excerpt.lines.last().unwrap(), "ERROR:  number 19");
        std::fs::create_dir(temp.path().join("log")).unwrap();
        std::fs::write(temp.path().join("log/a.log"), "FATAL:  No space left on device\n").unwrap();
        std::fs::write(temp.path().join(CURRENT_LOGS), "stderr log/a.log\n").unwrap();
        assert_eq!(mark.excerpt(temp.path()).cause, Some(LoggedCause::NoSpace));
        // What was there before the start is that of the original, as it was backed up.
        let mark = LogMark::of(&log, temp.path());
        assert_eq!(mark.excerpt(temp.path()), LogExcerpt::default());
        let file = std::fs::File::open(temp.path().join(CURRENT_LOGS)).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
        assert_eq!(mark.excerpt(temp.path()).cause, Some(LoggedCause::NoSpace));
    }
}
