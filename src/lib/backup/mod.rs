//! `pgv-basebackup`: takes a base backup of a running server, over the replication protocol (*stream*) or by reading its
//! files on this host (*direct*).
//!
//! INVARIANT: the record is written last, once every file is stored (of a stream: as the server's manifest lists it) and
//! the WAL from start to stop is in the archive and proven to be this server's. Whatever ends the run before, nothing is
//! listed.
//!
//! One plain thread talks to the server and the repository in turn; while data streams, it takes the archives apart,
//! digests the files and cuts them into frames, and the pack writer's threads compress and store them.

mod archived;
mod configuration;
mod content;
mod description;
mod direct;
mod error;
mod error_class;
mod failed;
mod history;
mod listing;
mod manifest_check;
mod method;
mod needed_wal;
mod own_wal;
mod room;
mod session;
mod stream;
mod streamed;
mod taken;
mod whole;

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::clock::{Clock, Deadline, wait};
use crate::codec::CompressionLevel;
use crate::error::{Classified as _, ErrorClass, chain};
use crate::fs::Tree;
use crate::pg::{Lsn, PgMajorVersion, TimelineId};
use crate::report::{Cancel, Reporter};
use crate::repository::{
    BackupBegin, BackupId, BackupNote, BackupRecord, BackupWriter, BackupWriterError, ClusterRef, ClusterSelection,
    Repository, SelectedCluster, Writer, WriterDescription,
};
use crate::server::{CheckpointMode, ConnectionSettings, FileSetting, targets_in_directory};

use description::Description;
use direct::DirectBackup;
pub use error::{BackupError, MarkedBackup};
pub use failed::FailedBackup;
pub use method::MethodChoice;
use needed_wal::NeededWal;
pub use room::ListedFiles;
use session::{ServerIdentity, ServerSession};
pub use whole::IncompleteError;

/// The directory of a writer that takes backups of a server on another host: no path, so nothing is ever restored there.
const UNKNOWN_DIRECTORY: &str = "unknown";
/// A standby cannot end a segment before it is full; its primary does once `archive_timeout` has passed.
const STANDBY_TIMEOUT_MIN: Duration = Duration::from_secs(300);
/// How long after it was ended a segment may take to the archive: the archiver's own patience, and the way to the standby.
const STANDBY_TIMEOUT_MARGIN: Duration = Duration::from_secs(120);

/// How long to wait for "pgv expire", which keeps backups from beginning for some moments at a time.
const WAL_GOES_MAX: Duration = Duration::from_secs(120);
/// How often to look whether it has gone on.
const WAL_GOES_POLL: Duration = Duration::from_millis(50);
/// After how long a person is told what is waited for.
const SAY_AFTER: Duration = Duration::from_secs(3);

/// What to back up, from where, and how.
pub struct BackupOptions {
    /// How to reach the server.
    pub connection: ConnectionSettings,
    /// Where to store the backup.
    pub repository: Repository,
    /// Where what is too much for memory is kept meanwhile, in files without a name.
    pub scratch: Tree,
    /// Which cluster the server must be.
    pub selection: ClusterSelection,
    /// This host's name.
    pub host: String,
    /// The backup's label.
    pub label: String,
    /// How the files are read.
    pub method: MethodChoice,
    /// How the checkpoint at its beginning is made.
    pub checkpoint: CheckpointMode,
    /// Upper bound of the rate at which files are read, by the server or by us, in KiB a second.
    pub max_rate_kib: Option<u32>,
    /// How long to wait for WAL to arrive in the archive, counted from the last that did; for a standby's, longer.
    pub archive_timeout: Duration,
    /// How hard to compress.
    pub level: CompressionLevel,
    /// How many threads compress, and read where files are read here.
    pub workers: usize,
}

/// A backup that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupReport {
    /// The cluster.
    pub cluster: ClusterRef,
    /// What was recorded of it.
    pub record: BackupRecord,
    /// How long it took.
    pub took: Duration,
}

impl BackupReport {
    /// What is said of a backup in whose data something is wrong.
    pub fn failure(&self) -> Option<MarkedBackup> {
        let BackupRecord { id, findings, .. } = &self.record;
        (!findings.is_empty()).then(|| MarkedBackup { id: *id, findings: findings.clone() })
    }
}

/// Takes a backup.
pub fn run(
    options: &BackupOptions,
    clock: &dyn Clock,
    reporter: &dyn Reporter,
    cancel: &Cancel,
) -> Result<BackupReport, Box<FailedBackup>> {
    let data_began = AtomicBool::new(false);
    let taken = take(options, clock, reporter, cancel, &data_began);
    taken.map_err(|error| Box::new(FailedBackup { error, data_began: data_began.into_inner() }))
}

fn take(
    options: &BackupOptions,
    clock: &dyn Clock,
    reporter: &dyn Reporter,
    cancel: &Cancel,
    data_began: &AtomicBool,
) -> Result<BackupReport, BackupError> {
    let watch = crate::clock::Stopwatch::start();
    let mut session = ServerSession::connect(&options.connection, cancel.clone(), reporter)?;
    let server = session.identify()?;
    let selected = options.repository.select_cluster(&options.selection, Some(server.system_identifier))?;
    check_identity(&selected, server.major_version)?;
    let description = Description::gather(&mut session, server.system_identifier, reporter)?;
    if !server.is_standby {
        warn_of_left_over_targets(&mut session, description.local_directory.proven(), reporter)?;
    }
    let identifier = server.system_identifier;
    let data_directory = method::choose(options.method, &mut session, &description, identifier, reporter)?;
    match &data_directory {
        Some(directory) => session.read_files_in(directory),
        None => session.open_walsender().map(drop)?,
    }
    // A restore trusts the directories of this host's writers, so none is named that is not proven to be here.
    let directory = description.local_directory.proven().unwrap_or(Path::new(UNKNOWN_DIRECTORY)).to_owned();
    let now = clock.now();
    let writer = Writer::new(&options.repository, WriterDescription::new(&options.host, &directory, now));
    let begin =
        BackupBegin { id: BackupId::generate(now), host: options.host.clone(), parents: Vec::new(), began: now };
    let mut backup = announce(options, &selected.cluster, &writer, &begin, reporter, cancel)?;
    let run = Run { options, selected: &selected, server: &server, writer: &writer, reporter, data_began };
    let record = match run.take(&mut session, description, data_directory.as_deref(), &mut backup) {
        Ok(record) => record,
        Err(error) => {
            run.give_up(backup, clock, &error);
            return Err(begun(error));
        }
    };
    session.close();
    match backup.finish(&record) {
        Ok(()) => {}
        Err(error @ BackupWriterError::GivenUp { .. }) => return Err(begun(error.into())),
        Err(error) => {
            let error = BackupError::Recording(error);
            // Of other failures nobody knows whether the record is there.
            if error.class() == ErrorClass::NoSpace {
                run.give_up(backup, clock, &error);
            }
            return Err(error);
        }
    }
    Ok(BackupReport { cluster: selected.cluster, record, took: watch.elapsed() })
}

/// A target that no recovery has taken away stays in the files that are backed up, and in every copy.
fn warn_of_left_over_targets(
    session: &mut ServerSession<'_>,
    data_directory: Option<&Path>,
    reporter: &dyn Reporter,
) -> Result<(), BackupError> {
    let told = session.sql(async |sql| sql.targets_in_files().await)?;
    let targets = told.or_else(|| data_directory.map(targets_in_directory)).unwrap_or_default();
    for FileSetting { name, value, file } in targets {
        reporter.warn(&format!(
            "{name} = '{value}' is left over in \"{}\" from a recovery that is over; \"pgv check\" says how to take it out",
            file.display()
        ));
    }
    Ok(())
}

/// Announces the backup, as soon as nobody is deleting WAL.
fn announce(
    options: &BackupOptions,
    cluster: &ClusterRef,
    writer: &Writer,
    begin: &BackupBegin,
    reporter: &dyn Reporter,
    cancel: &Cancel,
) -> Result<BackupWriter, BackupError> {
    let deadline = Deadline::after(WAL_GOES_MAX);
    let mut quiet = Some(Deadline::after(SAY_AFTER));
    loop {
        match BackupWriter::begin(&options.repository, cluster, writer, begin) {
            Err(BackupWriterError::WalGoes) if !deadline.has_passed() => {}
            begun => return Ok(begun?),
        }
        if cancel.is_cancelled() {
            return Err(BackupError::Cancelled);
        }
        if quiet.as_ref().is_some_and(Deadline::has_passed) {
            quiet = None;
            reporter.step("waiting for \"pgv expire\", which is deleting WAL");
        }
        wait(WAL_GOES_POLL);
    }
}

/// Whatever ends a backup that has begun, but for a signal, which says it itself.
fn begun(error: BackupError) -> BackupError {
    match error {
        BackupError::Cancelled => error,
        error => BackupError::Begun(Box::new(error)),
    }
}

/// A backup that has begun.
struct Run<'a> {
    options: &'a BackupOptions,
    selected: &'a SelectedCluster,
    server: &'a ServerIdentity,
    writer: &'a Writer,
    reporter: &'a dyn Reporter,
    data_began: &'a AtomicBool,
}

impl Run<'_> {
    /// Everything but the record is stored; the files are read in `data_directory`, or sent.
    fn take(
        &self,
        session: &mut ServerSession<'_>,
        description: Description,
        data_directory: Option<&Path>,
        backup: &mut BackupWriter,
    ) -> Result<BackupRecord, BackupError> {
        let Self { options, selected, server, writer, reporter, data_began } = *self;
        let archive_timeout = match server.is_standby {
            true => timeout_of_standby(options.archive_timeout, session.archive_timeout()?),
            false => options.archive_timeout,
        };
        let of_standby = server.is_standby;
        let mut needed = NeededWal::new(options, selected, writer, session, of_standby, archive_timeout, data_began);
        needed.before_checkpoint(session, reporter)?;
        say_checkpoint(options.checkpoint, reporter);
        let taken = match data_directory {
            Some(data_directory) => {
                let direct = DirectBackup { options, data_directory, checksums: description.data_checksums };
                direct.take(session, &mut needed, backup, reporter)?
            }
            None => stream::take(options, session, server, &mut needed, backup, &description, reporter)?,
        };
        taken.content.warn_of_cut(description.block_bytes, reporter);
        taken::store(session, selected, server, description, taken, backup, options, reporter)
    }

    /// Leaves word that the backup will not be finished: what it has stored may go at once, and no WAL stays for it. Where
    /// there is no room any more, its packs make some, or archiving would stand still until somebody comes.
    fn give_up(&self, backup: BackupWriter, clock: &dyn Clock, error: &BackupError) {
        let note = BackupNote {
            id: backup.id(),
            host: self.options.host.clone(),
            set: clock.now(),
            reason: format!("it ended without a record: {}", chain(error)),
        };
        if let Err(error) = backup.give_up(&note, error.class() == ErrorClass::NoSpace) {
            let why = chain(&error);
            self.reporter.warn(&format!("for a day it will look as if the backup were running, and keep WAL: {why}"));
        }
    }
}

fn say_checkpoint(checkpoint: CheckpointMode, reporter: &dyn Reporter) {
    let spread = "waiting for the server's checkpoint, which may take minutes; --checkpoint fast hurries it";
    reporter.step(match checkpoint {
        CheckpointMode::Spread => spread,
        CheckpointMode::Fast => "waiting for the server's checkpoint",
    });
}

fn check_identity(selected: &SelectedCluster, found: PgMajorVersion) -> Result<(), BackupError> {
    let expected = selected.identity.major_version;
    if expected == found {
        return Ok(());
    }
    Err(BackupError::OtherVersion { cluster: selected.cluster.name.clone(), expected, found })
}

/// How long the WAL of a standby may take: what was asked for, or what its primary needs to end a segment, if that is
/// longer. The standby's own `archive_timeout` stands for the primary's, which cannot be asked.
fn timeout_of_standby(asked: Duration, archive_timeout: Option<Duration>) -> Duration {
    let of_primary = archive_timeout.unwrap_or_default().saturating_add(STANDBY_TIMEOUT_MARGIN);
    asked.max(of_primary).max(STANDBY_TIMEOUT_MIN)
}

/// Positions as messages show them.
fn describe(lsn: Lsn, timeline: TimelineId) -> String {
    format!("{lsn} on timeline {timeline}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standby_s_wal_is_waited_for_as_long_as_its_primary_may_take() {
        let seconds = Duration::from_secs;
        for (asked, archive_timeout, expected) in
            [(60, None, 300), (60, Some(60), 300), (60, Some(600), 720), (900, Some(60), 900), (60, Some(0), 300)]
        {
            let found = timeout_of_standby(seconds(asked), archive_timeout.map(seconds));
            assert_eq!(found, seconds(expected), "{asked} {archive_timeout:?}");
        }
    }
}
