//! The direct method from its start to its stop: the server in backup mode, its files, its WAL.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::before::{self, Seen};
use super::{DirectOptions, control_file, run, same_server};
use crate::backup::content::tablespaces_of;
use crate::backup::needed_wal::NeededWal;
use crate::backup::room::{ListedFiles, check_room};
use crate::backup::session::ServerSession;
use crate::backup::taken::{Taken, TakenContent};
use crate::backup::whole::Tablespaces;
use crate::backup::{BackupError, BackupOptions, IncompleteError, describe};
use crate::clock::Stopwatch;
use crate::pg::BackupScope;
use crate::report::Reporter;
use crate::repository::{BackupMethod, BackupWriter};
use crate::server::WalPosition;

/// How often the session is looked at while files are read.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What the direct method wants to know.
pub(in crate::backup) struct DirectBackup<'a> {
    pub(in crate::backup) options: &'a BackupOptions,
    pub(in crate::backup) data_directory: &'a Path,
    pub(in crate::backup) checksums: bool,
}

impl DirectBackup<'_> {
    /// Takes it.
    pub(in crate::backup) fn take(
        &self,
        session: &mut ServerSession<'_>,
        needed: &mut NeededWal<'_>,
        backup: &BackupWriter,
        reporter: &dyn Reporter,
    ) -> Result<Taken, BackupError> {
        let start_time = session.now()?;
        let total_bytes = session.sql_if_told(async |sql| sql.about_bytes().await)?.flatten();
        let Seen { left_over, sorted_bytes } = self.look(session, reporter)?;
        check_room(&self.options.scratch, sorted_bytes, ListedFiles::OfHugeDirectories)?;
        let guard = session.begin_backup(&self.options.label, self.options.checkpoint)?;
        let is_standby = guard.is_standby();
        let start = WalPosition { lsn: guard.start_lsn(), timeline: guard.timeline() };
        reporter.step(&format!("backup starts at {}", describe(start.lsn, start.timeline)));
        self.check_directory(start, is_standby)?;
        needed.before_data(session, start, start_time, reporter)?;
        needed.data_began.store(true, Ordering::SeqCst);
        let cancel = session.cancel().clone();
        let direct = DirectOptions {
            data_directory: self.data_directory,
            repository: &self.options.repository,
            scratch: &self.options.scratch,
            level: self.options.level,
            workers: self.options.workers,
            checksums: self.checksums,
            start_lsn: start.lsn,
            max_rate_bytes: self.options.max_rate_kib.map(|kib| u64::from(kib) * 1024),
            left_over,
            total_bytes,
            cancel: &cancel,
            reporter,
        };
        let (taker, control) = {
            let mut watch = std::pin::pin!(guard.watch());
            let mut looked = Stopwatch::start();
            let mut look = || -> Result<(), BackupError> {
                if looked.elapsed() < LOOK_EVERY {
                    return Ok(());
                }
                looked = Stopwatch::start();
                session.look(watch.as_mut()).map_or(Ok(()), |error| Err(error.into()))
            };
            run(&direct, backup, &mut look)?
        };
        let ended = session.wait(guard.end())??;
        let stop = WalPosition { lsn: ended.stop_lsn, timeline: ended.stop_timeline };
        // After the end, which knows better when a standby was promoted meanwhile.
        same_server::check_kind(&control, is_standby, self.data_directory)?;
        let stop_time = session.now()?;
        needed.at_end(session, (start, stop), &ended.label, reporter)?;
        let map = tablespaces_of(ended.tablespace_map.as_deref())?;
        let tablespaces = same_server::checked_links(map, taker.tablespaces(), || Tablespaces::of(session))?;
        Ok(Taken {
            method: BackupMethod::Direct,
            start,
            stop,
            start_time,
            stop_time,
            backup_label: ended.label,
            tablespace_map: ended.tablespace_map,
            manifest: None,
            tablespaces,
            findings: taker.findings(stop.lsn),
            content: TakenContent::Read(Box::new(taker)),
        })
    }

    /// Whatever is not as it must be is said before the server works for the backup.
    fn look(&self, session: &mut ServerSession<'_>, reporter: &dyn Reporter) -> Result<Seen, BackupError> {
        let scope = BackupScope::of(&control_file(self.data_directory)?.1);
        let mut tablespaces = Tablespaces::of(session)?;
        loop {
            match before::look(self.data_directory, &scope, &tablespaces, reporter) {
                Err(BackupError::Incomplete(IncompleteError::NoTablespace { oid })) => {
                    let later = Tablespaces::of(session)?;
                    if later.contains(oid) {
                        return Err(IncompleteError::NoTablespace { oid }.into());
                    }
                    // It was dropped meanwhile.
                    tablespaces = later;
                }
                looked => return looked,
            }
        }
    }

    /// The checkpoint that the backup begins with is in the control file of the server's own directory, and in no other.
    fn check_directory(&self, start: WalPosition, is_standby: bool) -> Result<(), BackupError> {
        let control = control_file(self.data_directory)?.1;
        let found = control.checkpoint.redo_lsn;
        if found >= start.lsn {
            return same_server::check_kind(&control, is_standby, self.data_directory);
        }
        let directory = self.data_directory.to_owned();
        Err(BackupError::OtherDirectory { directory, found, expected: start.lsn })
    }
}
