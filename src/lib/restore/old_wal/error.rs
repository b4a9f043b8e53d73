//! Why an old pg_wal cannot be used, or must not be passed over.

use std::path::PathBuf;

use super::super::error::RestoreError;
use super::super::refusal::time_text;
use crate::error::{Classified, ErrorClass};
use crate::fs::FileError;
use crate::pg::{
    Lsn, PgMajorVersion, SystemIdentifier, TimelineHistory, TimelineHistoryError, TimelineId, WalSegmentName,
    WalSegmentSize,
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
        /// Where an earlier restore has moved what stood there.
        moved: Option<PathBuf>,
    },
    /// The folder of a data directory is not there: its disk may not be mounted.
    #[error("\"{}\" is no directory", path.display())]
    NoFolder {
        /// Where it should be.
        path: PathBuf,
    },
    /// A segment before it is neither there nor in the archive.
    #[error("WAL segment \"{}\" cannot be reached: \"{missing}\" before it is not there", path.display())]
    Unreached {
        /// The file.
        path: PathBuf,
        /// The first that is missing.
        missing: WalSegmentName,
    },
    /// The log seems to end before what its server had written.
    #[error("\"{}\" names WAL at {lsn}, in segment \"{segment}\", that is not there or cannot be read", path.display())]
    EndsEarly {
        /// The control file.
        path: PathBuf,
        /// The segment.
        segment: WalSegmentName,
        /// Which byte of the log.
        lsn: Lsn,
    },
    /// The same of the pg_wal that was named: what can be read of it may be recovered.
    #[error("{early}; the log can be read up to {end_lsn}")]
    NamedEndsEarly {
        /// What the control file beside it says.
        early: Box<OldWalError>,
        /// Up to where it was read.
        end_lsn: Lsn,
    },
    /// Where its timeline comes from is not known.
    #[error("WAL segment \"{}\" is of timeline {timeline}, whose history is not there", path.display())]
    NoHistory {
        /// The file.
        path: PathBuf,
        /// Its timeline.
        timeline: TimelineId,
    },
    /// The archive has another timeline of that number.
    #[error(
        "\"{}\" is of another timeline {} than the one in the archive: that began {}, this one {}",
        path.display(), found.timeline(), archived.origin(), found.origin()
    )]
    OtherTimeline {
        /// The history there.
        path: PathBuf,
        /// What it says.
        found: Box<TimelineHistory>,
        /// The archived one.
        archived: Box<TimelineHistory>,
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
    /// A killed restore left the directory that holds it, and what else is there goes with that.
    #[error("\"{}\" lies in the directory that a killed restore left, and would be removed with that", path.display())]
    InKilledRestore {
        /// The folder.
        path: PathBuf,
        /// Where that restore, or an earlier one, has moved what stood there.
        moved: Option<PathBuf>,
    },
    /// What is not in the backup is removed from the directory that holds it.
    #[error("\"{}\" lies in the directory that --delta updates, and would be removed", path.display())]
    InUpdated {
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
    #[error("it cannot be told whether \"{}\" holds commits after the end of the archive", path.display())]
    Unjudged {
        /// The folder.
        path: PathBuf,
        /// Whether the restore would delete it.
        is_removed: bool,
        /// Why not.
        source: Box<RestoreError>,
    },
    /// Commits would be lost that the archive has in a file that no recovery asks for.
    #[error(
        "\"{partial}.partial\" in the archive holds {} after its last segment, which ends at {archived_end}, the last at {}",
        commits_text(*commits), time_text(last.time)
    )]
    InPartial {
        /// The segment.
        partial: WalSegmentName,
        /// How many.
        commits: u64,
        /// The last one.
        last: Box<Ending>,
        /// Where the segments end.
        archived_end: Lsn,
    },
    /// Nobody can say whether commits would be lost with such a file.
    #[error("\"{partial}.partial\" in the archive holds WAL after its last segment, and cannot be read")]
    PartialUnjudged {
        /// The segment.
        partial: WalSegmentName,
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
    /// Whether it says that there is no WAL at all.
    pub(super) fn is_nothing(&self) -> bool {
        matches!(self, Self::NoWal { .. } | Self::NoFolder { .. })
    }

    /// Whether it says that a file is none of this cluster's WAL.
    pub(super) fn is_not_ours(&self) -> bool {
        matches!(self, Self::OtherCluster { .. } | Self::OtherVersion { .. } | Self::OtherSegmentSize { .. })
    }
}

impl Classified for OldWalError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::File(error) => error.class(),
            Self::NoWal { .. }
            | Self::NoFolder { .. }
            | Self::Unreached { .. }
            | Self::EndsEarly { .. }
            | Self::NamedEndsEarly { .. }
            | Self::NoHistory { .. }
            | Self::OtherTimeline { .. }
            | Self::ServerRuns { .. }
            | Self::OtherCluster { .. }
            | Self::OtherVersion { .. }
            | Self::OtherSegmentSize { .. }
            | Self::InKilledRestore { .. }
            | Self::InUpdated { .. }
            | Self::Unarchived { .. }
            | Self::InPartial { .. }
            | Self::PartialUnjudged { .. }
            | Self::Unjudged { .. } => ErrorClass::Refused,
            Self::Size { .. } | Self::History { .. } | Self::NextSegment { .. } | Self::Changed { .. } => {
                ErrorClass::Corrupt
            }
            Self::ArchivedMeanwhile { source, .. } | Self::NotStored { source, .. } => source.class(),
        }
    }
}
