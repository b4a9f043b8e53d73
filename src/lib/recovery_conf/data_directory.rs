//! The data directory that is worked on: what is asked of it, and its files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::RecoveryConfError;
use crate::clock::Clock;
use crate::fs::{self, FileError};
use crate::pg::{ConfigEntry, ControlFile, DatabaseState, PgMajorVersion, PgVersionError, RecoveryMode};
use crate::server::{
    CONFIG_FILE_BYTES_MAX, ConfigFilesError, ControlFileReadError, read_config_file, read_control_file,
    running_postmaster,
};

const VERSION_FILE: &str = "PG_VERSION";
/// LIMIT: bytes of PG_VERSION; it holds one number.
const VERSION_FILE_BYTES_MAX: u64 = 64;
const MAIN_FILE: &str = "postgresql.conf";
/// What a backup has until a recovery begins from it.
const LABEL_FILE: &str = "backup_label";
/// The file that PostgreSQL reads last and `ALTER SYSTEM` writes.
pub(super) const AUTO_FILE: &str = "postgresql.auto.conf";

/// Staged files that are older than this belong to no run.
const ABANDONED_AFTER: Duration = Duration::from_secs(3600);

/// A directory that holds a cluster of a known version, and that belongs to this account.
#[derive(Debug, Clone)]
pub(super) struct DataDirectory {
    path: PathBuf,
}

impl DataDirectory {
    pub(super) fn open(path: &Path) -> Result<Self, RecoveryConfError> {
        for missing in [VERSION_FILE, ControlFile::PATH] {
            if !fs::is_present(&path.join(missing))? {
                return Err(RecoveryConfError::NoDataDirectory { path: path.to_owned(), missing });
            }
        }
        let path = fs::real_path(path)?;
        version_of(&path)?;
        let owner = fs::look_at(&path)?.map(|facts| facts.owner);
        let account = rustix::process::geteuid();
        match owner {
            // What root writes is given to the owner of the directory.
            Some(owner) if !account.is_root() && account.as_raw() != owner => {
                Err(RecoveryConfError::Owner { path, owner, account: account.as_raw() })
            }
            _ => Ok(Self { path }),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn auto_file(&self) -> PathBuf {
        self.path.join(AUTO_FILE)
    }

    /// The text of `postgresql.auto.conf`; none where there is no such file.
    pub(super) fn auto_text(&self) -> Result<Option<Vec<u8>>, FileError> {
        match fs::read_at_most(&self.auto_file(), CONFIG_FILE_BYTES_MAX) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What `postgresql.conf` and its includes say; none where it lies elsewhere, as it does with Debian's packages.
    pub(super) fn main_entries(&self) -> Result<Option<Vec<ConfigEntry>>, ConfigFilesError> {
        if self.has_main_file()? { read_config_file(&self.path.join(MAIN_FILE)).map(Some) } else { Ok(None) }
    }

    fn has_main_file(&self) -> Result<bool, FileError> {
        fs::is_present(&self.path.join(MAIN_FILE))
    }

    /// Removes what a run left that was killed before this one.
    pub(super) fn remove_abandoned(auto_file: &Path, clock: &dyn Clock) {
        if let Ok(limit) = clock.now().checked_sub(ABANDONED_AFTER) {
            fs::remove_abandoned_beside(auto_file, limit);
        }
    }

    pub(super) fn refuse_running_server(&self) -> Result<(), RecoveryConfError> {
        match running_postmaster(&self.path)? {
            Some(pid) => Err(RecoveryConfError::ServerRuns { path: self.path.clone(), pid }),
            None => Ok(()),
        }
    }

    pub(super) fn refuse_recovery_conf(&self) -> Result<(), RecoveryConfError> {
        let path = self.path.join("recovery.conf");
        if fs::is_present(&path)? { Err(RecoveryConfError::RecoveryConf { path }) } else { Ok(()) }
    }

    /// The control file of a directory that a server had open for writing when it was stopped, crashed or copied: it
    /// goes on from there, and never back. `None` for a backup, and for what recovers or follows.
    pub(super) fn opened(&self) -> Result<Option<ControlFile>, ControlFileReadError> {
        if fs::look_at(&self.path.join(LABEL_FILE))?.is_some() {
            return Ok(None);
        }
        let was_open = |control: &ControlFile| match control.state {
            DatabaseState::ShutDown
            | DatabaseState::ShuttingDown
            | DatabaseState::InCrashRecovery
            | DatabaseState::InProduction => true,
            DatabaseState::Startup | DatabaseState::ShutDownInRecovery | DatabaseState::InArchiveRecovery => false,
        };
        Ok(read_control_file(&self.path)?.filter(was_open))
    }

    /// A signal file. A link counts wherever it leads: the server would follow it.
    pub(super) fn signal_file(&self, mode: RecoveryMode) -> Result<Option<PathBuf>, FileError> {
        let path = self.path.join(mode.signal_file());
        Ok(fs::look_at(&path)?.map(|_| path))
    }
}

/// The version by PG_VERSION, as the server itself compares it.
fn version_of(path: &Path) -> Result<PgMajorVersion, RecoveryConfError> {
    let text = fs::read_at_most(&path.join(VERSION_FILE), VERSION_FILE_BYTES_MAX)?;
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    let unknown = || PgVersionError { version: text.clone() };
    let version = text.parse::<u32>().map_err(|_| unknown()).and_then(PgMajorVersion::new);
    version.map_err(|source| RecoveryConfError::Version { path: path.to_owned(), source })
}
