//! What a check finds, as values: measured by `probe`, weighed by `judge`, put into words by whoever shows it.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::report::CheckName;
use crate::pg::{TimelineId, WalSegmentName};
use crate::repository::{BackupId, CostlyHole, Lack};
use crate::server::{FileSetting, SlotFacts};

/// Why something could not be looked at.
pub type Cause = Arc<dyn Error + Send + Sync>;

/// What was found of one thing.
#[derive(Debug, Clone)]
pub(crate) enum Finding {
    /// It was not looked at, because of what the line of another thing tells.
    NotLookedAt(CheckName),
    /// There is nothing to say of it before WAL is archived.
    NothingArchived,
    /// Of the configuration, the repository and its room.
    Storage(StorageFinding),
    /// Of the server, its settings, its slots, and the room for its WAL.
    Server(ServerFinding),
    /// Of the way of WAL into the archive: a trial, what waits, the server's archiver.
    Archiving(ArchivingFinding),
    /// Of the backups, the archived WAL and the histories.
    Tree(TreeFinding),
    /// Of the timelines of server, archive and newest backup.
    Timeline(TimelineFinding),
}

/// Of the configuration, the repository and its room.
#[derive(Debug, Clone)]
pub(crate) enum StorageFinding {
    /// The file in use.
    Configuration(PathBuf),
    /// No configuration file is in use.
    NoConfiguration,
    /// The repository cannot be opened or looked at.
    Unopened(Cause),
    /// What it holds of the cluster cannot be read.
    Unread(Cause),
    /// Its directory belongs to another account than the server's data directory.
    OtherOwner { path: PathBuf, owner: u32, server: u32 },
    /// A folder in it belongs to another account than the repository.
    FolderOwner { path: PathBuf, owner: u32, repository: u32 },
    /// Its owner cannot write to a folder in it, by the folder's mode or all the same.
    FolderClosed { path: PathBuf, mode: u32, is_by_mode: bool },
    /// It is there, or a folder in it, and so many may use that.
    Repository { path: PathBuf, mode: u32, open_to: OpenTo },
    /// Its owner cannot write to it.
    ReadOnly { path: PathBuf },
    /// What its file system has left.
    Room {
        path: PathBuf,
        available_bytes: u64,
        /// When it is full at the present rate.
        lasts: Option<Duration>,
        /// Whether there is none for another backup as large as the last one.
        is_backup_too_large: bool,
    },
}

/// Who may use a repository beside its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpenTo {
    /// Nobody, or readers of its group.
    Few,
    /// Every account may read.
    Readers,
    /// Other accounts may write.
    Writers,
}

/// Of the server, its settings, its slots, and the room for its WAL.
#[derive(Debug, Clone)]
pub(crate) enum ServerFinding {
    /// It does not answer.
    Unreachable(Cause),
    /// It answers.
    Answers { endpoint: String, version: String, in_recovery: bool },
    /// What is wrong with its settings.
    Settings(Vec<SettingFinding>),
    /// Where `pg_wal` is cannot be seen.
    WalDirectoryUnseen,
    /// What the file system of `pg_wal` has left.
    WalRoom {
        path: PathBuf,
        available_bytes: u64,
        /// How long that lasts when nothing leaves it.
        lasts: Option<Duration>,
        /// Whether WAL does not leave it.
        is_piling_up: bool,
    },
    /// All slots.
    Slots(Vec<SlotFacts>),
    /// Those with something wrong, the worst first.
    WrongSlots(Vec<(SlotFacts, SlotFlaw)>),
}

/// What is wrong with a slot; the later the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SlotFlaw {
    /// It keeps much WAL.
    KeepsMuch,
    /// The next checkpoint may take WAL that it should keep.
    MayLose,
    /// It has lost WAL that it should keep.
    Lost,
    /// It keeps more than the file system of `pg_wal` has left.
    KeepsMoreThanRoom,
}

/// What is wrong with a setting.
#[derive(Debug, Clone)]
pub(crate) enum SettingFinding {
    /// Its value breaks something.
    Breaks { name: &'static str, value: String, what: Broken },
    /// It was changed and waits for a restart.
    Waits { name: &'static str },
    /// A restore switched archiving off in this data directory.
    SwitchedOff { directory: PathBuf },
    /// It is the target of a recovery that is over.
    LeftOver {
        setting: FileSetting,
        /// Where the server's data lies, as far as the role may see that.
        data_directory: Option<PathBuf>,
    },
}

/// What the value of a setting breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// Recovery cannot cross WAL like this.
    Recovery,
    /// A crash of the host damages the database and its WAL.
    CrashSafety,
    /// Nothing is archived.
    Archiving,
    /// `archive_command` is not run.
    ArchiveCommand,
    /// WAL goes elsewhere.
    ThisRepository,
    /// No base backup can be streamed.
    StreamedBackups,
    /// Torn pages stay torn; backups of standbys fail.
    TornPages,
    /// What was committed last waits until a segment is full.
    LastCommits,
    /// Pages that the disk changed are not noticed.
    DamageNoticed,
}

/// The last failure of an archiver.
#[derive(Debug, Clone)]
pub(crate) struct ArchiverFailure {
    /// How long ago.
    pub(crate) ago: Duration,
    /// At which file.
    pub(crate) file: Option<String>,
}

/// Of the way of WAL into the archive: a trial, what waits, the server's archiver.
#[derive(Debug, Clone)]
pub(crate) enum ArchivingFinding {
    /// A segment arrived.
    Arrived { segment: WalSegmentName, took: Duration },
    /// A segment did not.
    Missing { segment: WalSegmentName, waited: Duration },
    /// The role may not have the server end a segment.
    Denied { cause: Cause, role: String },
    /// The trial failed.
    Failed(Cause),
    /// There was no trial; how far the archive is behind the server is known without.
    Untried { why: Untried, behind: Behind },
    /// There was no trial: a restore switched archiving off in this data directory.
    SwitchedOff { directory: PathBuf },
    /// This role may not see what waits.
    WaitingUnseen { role: String },
    /// Files that wait to be archived, and for how long the oldest has.
    Waiting { count: u64, oldest: Duration },
    /// Its archiver has archived nothing since it failed.
    ArchiverFails(ArchiverFailure),
    /// When its archiver archived last, and when it failed before that.
    Archived { ago: Duration, failed: Option<ArchiverFailure> },
    /// A standby, whose archiver has nothing to do.
    ArchiverIdle,
    /// Its archiver has archived the segment of the trial alone.
    ArchivedTrial,
    /// Nothing is known of its archiver.
    ArchiverUntried,
}

/// Why the way of a segment was not tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Untried {
    /// It was not asked for, or there is nothing to try it with.
    NotAsked,
    /// A standby ends no segments.
    Standby,
    /// What is ended while nobody archives is recycled: a hole.
    ArchivingOff,
}

/// How far the archive is behind the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behind {
    /// What is archived cannot be read.
    ArchiveUnread,
    /// Nothing is archived.
    NothingArchived,
    /// The server does not say where its WAL ends.
    ServerUnknown,
    /// So many bytes; and how long ago the last segment was stored.
    Bytes { bytes: u64, stored: Option<Duration> },
}

/// Of the backups, the archived WAL and the histories.
#[derive(Debug, Clone)]
pub(crate) enum TreeFinding {
    /// There is no backup.
    NoBackup,
    /// None of so many can be restored to a sound database.
    NoneGood {
        count: usize,
        /// The newest one, and why it is not good.
        newest: (BackupId, Flaw),
    },
    /// The last good one.
    LastGood {
        id: BackupId,
        age: Duration,
        is_old: bool,
        /// The newest one, when that is not good, and why not.
        newest: Option<(BackupId, Flaw)>,
    },
    /// All of so many listed backups can be read.
    Catalog { count: usize },
    /// What cannot be read.
    Unreadable(Vec<Unreadable>),
    /// What the archive lacks, and which backups that concerns.
    Holes { holes: Vec<CostlyHole>, concern: Concern },
    /// Every timeline has its history.
    Histories,
    /// Timelines whose history is not archived.
    MissingHistories(Vec<TimelineId>),
}

/// Why a backup is not good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Packs or its root are not there as they were stored.
    NotWhole(Vec<Lack>),
    /// Its table of packs cannot be read.
    PacksUnknown,
    /// It has damaged pages.
    DamagedPages,
    /// The archive lacks WAL that it needs.
    LacksWal,
}

/// Something of a tree that cannot be read.
#[derive(Debug, Clone)]
pub(crate) enum Unreadable {
    /// A folder that cannot be listed.
    Folder(Cause),
    /// An object of a backup.
    Backup { id: BackupId, cause: Cause },
    /// Objects of a backup that are not there as they were stored.
    NotWhole { id: BackupId, lacks: Vec<Lack> },
    /// The history of a timeline, and why.
    History { timeline: TimelineId, problem: String },
}

/// Which backups are concerned by what the archive lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Concern {
    /// None.
    Nothing,
    /// Older ones, and not the newest.
    OlderBackups,
    /// The newest.
    NewestBackup,
}

/// Of the timelines of server, archive and newest backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimelineFinding {
    /// All is on one.
    One(TimelineId),
    /// The archive is on a later one than the server.
    ArchiveAhead { server: TimelineId, archive: TimelineId },
    /// The server is on a later one than the newest backup, and nothing of it is archived.
    BackupBehindUnarchived { server: TimelineId, backup: TimelineId },
    /// Nothing of the server's is archived.
    Unarchived { server: TimelineId },
    /// The newest backup is of another one than the server and its WAL.
    BackupBehind { server: TimelineId, backup: TimelineId },
    /// The newest backup is of another one than the archived WAL.
    BackupBehindArchive { archive: TimelineId, backup: TimelineId },
    /// That of the server is not known.
    ServerUnknown { archive: TimelineId },
}

macro_rules! one_of {
    ($($part:ident($finding:ty)),+ $(,)?) => {
        $(impl From<$finding> for Finding {
            fn from(finding: $finding) -> Self {
                Self::$part(finding)
            }
        })+
    };
}

one_of! {
    Storage(StorageFinding),
    Server(ServerFinding),
    Archiving(ArchivingFinding),
    Tree(TreeFinding),
    Timeline(TimelineFinding),
}
