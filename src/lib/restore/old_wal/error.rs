//! Why an old pg_wal cannot be used, or must not be passed over.

use std::path::PathBuf;

use super::super::error::RestoreError;
use super::super::refusal::time_text;
use crate::error::{Classified, ErrorClass};
use crate::fs::FileError;
use crate::pg::{
    Lsn, PgMajorVersion, SystemIdentifier, TimelineHistoryError, TimelineId, WalSegmentName, WalSegmentSize,
};
use crate::wal_search::Ending;

/// The old pg_wal was refused, or is needed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OldWalError {
    /// A file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// Nothing there has the name of a segment.
    #[error("\"{}\" holds no WAL segment", path.display())]
    NoWal {
        /// The folder.
        path: PathBuf,
    },
    /// Its WAL grows, and is archived by its server.
    #[error("a server runs in \"{}\" (process {pid}): its WAL still grows", path.display())]
    ServerRuns {
        /// The data directory.
        path: PathBuf,
        /// The server.
        pid: i32,
    },
    /// WAL of another cluster.
    #[error("WAL segment \"{}\" is of system identifier {found}: expected {expected}", path.display())]
    OtherCluster {
        /// The file.
        path: PathBuf,
        /// That of the backup.
        expected: SystemIdentifier,
        /// That of the file.
        found: SystemIdentifier,
    },
    /// WAL of another version.
    #[error("WAL segment \"{}\" is of PostgreSQL {found}: expected {expected}", path.display())]
    OtherVersion {
        /// The file.
        path: PathBuf,
        /// That of the cluster.
        expected: PgMajorVersion,
        /// That of the file.
        found: PgMajorVersion,
    },
    /// Segments of another size.
    #[error(
        "WAL segment \"{}\" says that segments have {} bytes: expected {}", path.display(), found.bytes(),
        expected.bytes()
    )]
    OtherSegmentSize {
        /// The file.
        path: PathBuf,
        /// That of the cluster.
        expected: WalSegmentSize,
        /// That of the file.
        found: WalSegmentSize,
    },
    /// A file that was cut off.
    #[error("WAL segment \"{}\" has {found} bytes: expected {expected}", path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// The size of a segment.
        expected: u64,
        /// That of the file.
        found: u64,
    },
    /// A history file without a history.
    #[error("\"{}\" is no timeline history", path.display())]
    History {
        /// The file.
        path: PathBuf,
        /// Why.
        source: TimelineHistoryError,
    },
    /// The segment that must come next does not begin as it must, and is none that was recycled.
    #[error(
        "WAL segment \"{}\" is damaged: its first page is not valid, but {valid_pages} later ones are", path.display()
    )]
    NextSegment {
        /// The file.
        path: PathBuf,
        /// How many.
        valid_pages: u64,
    },
    /// Other bytes than were checked.
    #[error("WAL segment \"{}\" has changed since it was checked", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The directory that is emptied holds it.
    #[error("\"{}\" lies in the directory that a killed restore left and that is emptied", path.display())]
    InKilledRestore {
        /// The folder.
        path: PathBuf,
    },
    /// Commits would be lost.
    #[error(
        "\"{}\" holds {}{} after the end of the archive{} at {archived_end}, the last at {}",
        path.display(), commits_text(*commits), timeline_text(*timeline), beside_text(beside.as_ref()), time_text(last.time)
    )]
    Unarchived {
        /// The folder.
        path: PathBuf,
        /// The one that was named, when one was.
        beside: Option<PathBuf>,
        /// How many.
        commits: u64,
        /// Where they are, when it is not the timeline that would be followed.
        timeline: Option<TimelineId>,
        /// The last one.
        last: Box<Ending>,
        /// Where the archive ends, and what was named with it.
        archived_end: Lsn,
        /// Whether the restore would delete the folder.
        is_removed: bool,
    },
    /// Nobody can say whether commits would be lost.
    #[error("\"{}\" holds WAL after the end of the archive that cannot be read to its end", path.display())]
    Unjudged {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: Box<RestoreError>,
    },
    /// The archive got another one meanwhile, which recovery would prefer.
    #[error("the archive got another WAL segment {segment} while the restore was under way")]
    ArchivedMeanwhile {
        /// Which one.
        segment: WalSegmentName,
        /// What the archive says.
        source: crate::repository::RepositoryError,
    },
    /// A hole in the archive could not be filled.
    #[error("WAL segment {segment}, which the archive lacks, could not be stored there")]
    NotStored {
        /// Which one.
        segment: WalSegmentName,
        /// Why not.
        source: crate::repository::RepositoryError,
    },
}

/// `1 commit`, `2 commits`.
fn commits_text(commits: u64) -> String {
    if commits == 1 { "1 commit".to_owned() } else { format!("{commits} commits") }
}

fn timeline_text(timeline: Option<TimelineId>) -> String {
    timeline.map(|timeline| format!(" on timeline {timeline}")).unwrap_or_default()
}

fn beside_text(beside: Option<&PathBuf>) -> String {
    beside.map(|named| format!(" and of \"{}\"", named.display())).unwrap_or_default()
}

impl OldWalError {
    /// Whether it says that what lies there is none of this cluster's WAL.
    pub(super) fn is_not_ours(&self) -> bool {
        matches!(
            self,
            Self::NoWal { .. } | Self::OtherCluster { .. } | Self::OtherVersion { .. } | Self::OtherSegmentSize { .. }
        )
    }
}

impl Classified for OldWalError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::File(error) => error.class(),
            Self::NoWal { .. }
            | Self::ServerRuns { .. }
            | Self::OtherCluster { .. }
            | Self::OtherVersion { .. }
            | Self::OtherSegmentSize { .. }
            | Self::InKilledRestore { .. }
            | Self::Unarchived { .. }
            | Self::Unjudged { .. } => ErrorClass::Refused,
            Self::Size { .. } | Self::History { .. } | Self::NextSegment { .. } | Self::Changed { .. } => {
                ErrorClass::Corrupt
            }
            Self::ArchivedMeanwhile { source, .. } | Self::NotStored { source, .. } => source.class(),
        }
    }
}
