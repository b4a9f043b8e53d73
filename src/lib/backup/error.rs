//! Why a backup was not taken.

use std::path::PathBuf;
use std::time::Duration;

use super::room::ListedFiles;
use super::whole::IncompleteError;
use crate::error::{Classified, ErrorClass};
use crate::fs::FileError;
use crate::pg::{
    BackupLabelError, DataPath, DataPathError, DatabaseState, Lsn, ManifestError, PgMajorVersion, PgVersionError,
    SystemIdentifier, TablespaceMapError, TarError, TimelineHistoryError, TimelineId, WalSegmentName,
};
use crate::repository::{
    BackupId, BackupWriterError, ClusterName, PackError, RepositoryError, SelectionError, WriterDescription,
};
use crate::server::{BackupSessionError, ConnectError, ControlFileReadError, ReplicationError, ServerError};
use crate::wal_search::WalSearchError;

/// A backup that was not taken. Nothing of it is listed, but where its record is in doubt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The server could not be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// SQL failed.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The replication protocol failed.
    #[error(transparent)]
    Replication(#[from] ReplicationError),
    /// The server's version is not known.
    #[error(transparent)]
    Version(#[from] PgVersionError),
    /// SQL and replication ended up at different servers.
    #[error("the two connections reached different clusters: {sql} by SQL, {replication} by replication")]
    TwoServers {
        /// The system identifier that SQL says.
        sql: SystemIdentifier,
        /// The system identifier that the walsender says.
        replication: SystemIdentifier,
    },
    /// No cluster could be chosen.
    #[error(transparent)]
    Selection(#[from] SelectionError),
    /// The server has another major version than the registered one.
    #[error("the server is PostgreSQL {found} where cluster \"{cluster}\" is registered with {expected}")]
    OtherVersion {
        /// The cluster.
        cluster: ClusterName,
        /// The registered version.
        expected: PgMajorVersion,
        /// The server's version.
        found: PgMajorVersion,
    },
    /// The server does not say how large its pages are, or says what no server has.
    #[error("the server has an unknown block_size: found \"{found}\", expected a power of two from 1024 to 32768")]
    BlockSize {
        /// What it says, empty when nothing.
        found: String,
    },
    /// The repository failed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The backup could not be stored.
    #[error(transparent)]
    Writer(#[from] BackupWriterError),
    /// A pack could not be stored.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// A file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A runtime or thread could not be started.
    #[error("could not start a thread")]
    Thread(#[source] std::io::Error),
    /// Something that cannot be was so: a bug of ours.
    #[error("internal error: {what}")]
    Internal {
        /// What was so.
        what: &'static str,
    },
    /// An archive that PostgreSQL would not have sent.
    #[error("the server sent an invalid archive \"{archive}\"")]
    Archive {
        /// Its name.
        archive: String,
        /// What is wrong with it.
        #[source]
        source: TarError,
    },
    /// An archive that ended too early or names something that it must not.
    #[error("the server sent an invalid archive \"{archive}\": {problem}")]
    ArchiveContent {
        /// Its name.
        archive: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A path that leaves the data directory.
    #[error("the data directory has a file with an invalid name")]
    Path(#[from] DataPathError),
    /// A document that is larger than it can be.
    #[error("the server sent a \"{name}\" of more than {limit} bytes")]
    DocumentTooLarge {
        /// Which one.
        name: &'static str,
        /// How large it may be.
        limit: u64,
    },
    /// A document that every backup has did not come.
    #[error("the server sent no \"{name}\"")]
    DocumentMissing {
        /// Which one.
        name: &'static str,
    },
    /// The manifest cannot be read.
    #[error("the server's backup_manifest is invalid")]
    Manifest(#[from] ManifestError),
    /// A file is not what the manifest says.
    #[error("\"{path}\" is not what the server's backup_manifest says: {problem}")]
    NotAsManifest {
        /// Which file.
        path: DataPath,
        /// In which way.
        problem: String,
    },
    /// The manifest contradicts the protocol.
    #[error("the server's backup_manifest contradicts the server: {problem}")]
    ManifestMismatch {
        /// In which way.
        problem: String,
    },
    /// The server sent a history file that is none.
    #[error("the server sent an invalid history file of timeline {timeline}")]
    History {
        /// Which timeline.
        timeline: TimelineId,
        /// What is wrong with it.
        #[source]
        source: TimelineHistoryError,
    },
    /// WAL that a backup needs does not arrive.
    #[error(
        "WAL segment \"{segment}\" did not arrive in the archive within {} s: {}",
        timeout.as_secs(), without_text(*before_data, *of_standby)
    )]
    NotArchived {
        /// Which segment.
        segment: WalSegmentName,
        /// How long was waited.
        timeout: Duration,
        /// Whether no data had been read yet.
        before_data: bool,
        /// Whether a standby is backed up, whose primary archives.
        of_standby: bool,
    },
    /// The WAL that a standby's backup begins with is not in the archive, and later WAL is.
    #[error(
        "WAL segment \"{segment}\", in which the backup of this standby begins, is not in the archive, where \"{later}\" is: \
         it was deleted or never archived"
    )]
    StartNotArchived {
        /// Which segment.
        segment: WalSegmentName,
        /// The first that is there behind it.
        later: WalSegmentName,
    },
    /// The server lacks the history of the timeline that it is on.
    #[error("server {server} has no history of its timeline {timeline}")]
    NoHistory {
        /// The server.
        server: String,
        /// The timeline.
        timeline: TimelineId,
        /// How that was found out.
        #[source]
        source: Box<BackupError>,
    },
    /// The list of the files, which may be too long for memory, could not be kept on the disk.
    #[error("could not sort the list of the backup's files outside memory")]
    Spill(#[source] FileError),
    /// There is less room for the list of the files than it takes.
    #[error(
        "the list of the backup's files needs about {needed} bytes in \"{}\", where {available} are left: {files}",
        path.display()
    )]
    NoRoom {
        /// Where it is sorted.
        path: PathBuf,
        /// From which files that follows.
        files: ListedFiles,
        /// About how many bytes their list takes.
        needed: u64,
        /// How many there are.
        available: u64,
    },
    /// More files than pgv lists.
    #[error("the server sent more than {limit} files, directories and links")]
    TooManyEntries {
        /// How many there may be.
        limit: usize,
    },
    /// The range of WAL is impossible.
    #[error("the server says that the backup stops at {stop}, before its start at {start}")]
    StopBeforeStart {
        /// Where it starts.
        start: Lsn,
        /// Where it stops.
        stop: Lsn,
    },
    /// Data of the server would be missing.
    #[error(transparent)]
    Incomplete(#[from] IncompleteError),
    /// A tablespace whose location is no text.
    #[error("tablespace {oid} lies at \"{location}\", which is not UTF-8, so the backup could not name it")]
    TablespaceName {
        /// Its OID.
        oid: u32,
        /// Where it lies, with escapes.
        location: String,
    },
    /// The backup_label cannot be read.
    #[error("the server sent an invalid backup_label")]
    Label(#[from] BackupLabelError),
    /// The backup_label contradicts the protocol.
    #[error("the server's backup_label says that the backup starts at {found}, the server itself at {expected}")]
    LabelStart {
        /// By the label.
        found: Lsn,
        /// By the protocol.
        expected: Lsn,
    },
    /// The archive holds WAL of the backup's names that another server wrote, a copy of this one or its original.
    #[error(
        "the archived WAL is not that of server {server}: segment \"{segment}\"{} does not fit at {lsn}: {problem}",
        stored_by_text(stored_by.as_deref())
    )]
    OtherServersWal {
        /// The server of the backup.
        server: String,
        /// The segment that does not fit.
        segment: WalSegmentName,
        /// Where it does not.
        lsn: Lsn,
        /// In which way.
        problem: String,
        /// Who stored it, as far as that is known.
        stored_by: Option<Box<WriterDescription>>,
        /// Why it could not be read on, if it could not.
        #[source]
        source: Option<Box<WalSearchError>>,
    },
    /// The archive holds the history of another timeline of that number.
    #[error(
        "the archived history of timeline {timeline}{} is not that of server {server}: it is {archived}, the server's \
         {own}",
        stored_by_text(stored_by.as_deref())
    )]
    OtherServersHistory {
        /// The server of the backup.
        server: String,
        /// The timeline.
        timeline: TimelineId,
        /// Where the server's timeline comes from.
        own: String,
        /// Where the archived one comes from.
        archived: String,
        /// Who stored it, as far as that is known.
        stored_by: Option<Box<WriterDescription>>,
    },
    /// A data directory without its control file.
    #[error("data directory \"{}\" has no control file", directory.display())]
    NoControlFile {
        /// The directory.
        directory: PathBuf,
    },
    /// The control file cannot be used.
    #[error(transparent)]
    ControlFile(#[from] ControlFileReadError),
    /// The session that keeps the server in backup mode failed.
    #[error(transparent)]
    Session(#[from] BackupSessionError),
    /// The direct method was asked for where it is not possible.
    #[error("a direct backup is not possible: {problem}")]
    NotDirect {
        /// Why.
        problem: String,
    },
    /// The files here are not those of the server that is in backup mode.
    #[error(
        "data directory \"{}\" is not the server's: its last checkpoint begins at {found}, and the backup at {expected}",
        directory.display()
    )]
    OtherDirectory {
        /// The directory.
        directory: PathBuf,
        /// The redo position in its control file.
        found: Lsn,
        /// Where the backup begins.
        expected: Lsn,
    },
    /// A primary's files where a standby answers, or the other way round.
    #[error(
        "data directory \"{}\" is not the server's: its control file says \"{found}\", and the server {}",
        directory.display(),
        if *is_standby { "is a standby" } else { "is none that recovers" }
    )]
    OtherKind {
        /// The directory.
        directory: PathBuf,
        /// What its control file says.
        found: DatabaseState,
        /// Whether the server that answers is a standby.
        is_standby: bool,
    },
    /// A tablespace whose link here leads elsewhere than the server's.
    #[error(
        "the link of tablespace {oid} leads to \"{}\" in the data directory, and to \"{}\" by what the server says",
        found.display(),
        expected.display()
    )]
    OtherTablespace {
        /// Its OID.
        oid: u32,
        /// Where its link leads.
        found: PathBuf,
        /// Where it should.
        expected: PathBuf,
    },
    /// The server's tablespace_map cannot be read.
    #[error("the server sent an invalid tablespace_map")]
    TablespaceMap(#[source] TablespaceMapError),
    /// It failed when it had begun.
    #[error(transparent)]
    Begun(Box<BackupError>),
    /// It failed when its record was being stored, so it may be listed.
    #[error(transparent)]
    Recording(BackupWriterError),
    /// A signal came.
    #[error("the backup was ended by a signal; nothing of it is listed")]
    Cancelled,
}

/// A backup that is complete and listed, and marked: something is wrong with what the server has.
#[derive(Debug, thiserror::Error)]
#[error("backup {id} is stored, and marked: {}{}", findings.first().map_or("", String::as_str), more_text(findings))]
pub struct MarkedBackup {
    /// The backup.
    pub id: BackupId,
    /// What was found.
    pub findings: Vec<String>,
}

impl Classified for MarkedBackup {
    fn class(&self) -> ErrorClass {
        ErrorClass::Corrupt
    }
}

fn more_text(findings: &[String]) -> String {
    match findings.len().saturating_sub(1) {
        0 => String::new(),
        more => format!("; and {more} more findings"),
    }
}

fn without_text(before_data: bool, of_standby: bool) -> &'static str {
    match (before_data, of_standby) {
        (_, true) => "the primary of this standby has to archive it",
        (true, false) => "archiving does not work",
        (false, false) => "the backup cannot be used without it",
    }
}

fn stored_by_text(writer: Option<&WriterDescription>) -> String {
    writer.map(|writer| format!(" (stored by {writer})")).unwrap_or_default()
}
