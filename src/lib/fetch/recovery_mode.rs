//! For which kind of recovery a file is asked: what PostgreSQL makes of a failure depends on it.
//!
//! The signal files are those of `readRecoverySignalFile` (`src/backend/access/transam/xlogrecovery.c`): standby.signal
//! wins when both are there.

use std::path::Path;

use super::data_directory;
use crate::fs;

/// What PostgreSQL is doing when it asks for a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecoveryMode {
    /// recovery.signal alone: an exit status up to 125 ends recovery, and the server is promoted.
    Targeted,
    /// standby.signal: an exit status up to 125 makes it ask again, one above stops the server.
    Standby,
    /// Neither: no recovery that asks, or a person.
    None,
}

/// Looks for the signal files beside the pg_wal of `destination`, then in the working directory. Where that cannot be
/// told it is a targeted recovery: a server that stops can be started again, a promotion cannot be taken back.
pub fn recovery_mode(destination: &Path, working_directory: &Path) -> RecoveryMode {
    let beside = data_directory(destination, working_directory);
    let modes = beside.iter().map(|directory| directory.as_path()).chain([working_directory]).map(mode_of);
    modes.into_iter().find(|mode| *mode != RecoveryMode::None).unwrap_or(RecoveryMode::None)
}

fn mode_of(directory: &Path) -> RecoveryMode {
    let is_present = |name| fs::is_present(&directory.join(name));
    match (is_present("standby.signal"), is_present("recovery.signal")) {
        (Ok(true), _) => RecoveryMode::Standby,
        (Ok(false), Ok(false)) => RecoveryMode::None,
        _ => RecoveryMode::Targeted,
    }
}
