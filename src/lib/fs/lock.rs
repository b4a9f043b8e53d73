//! Advisory locks on directories: held while the value lives, and gone with the process.
//!
//! A help, never a proof: not every file system has them, and other hosts may not see them.

use std::fs::File;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::FileError;

/// Who else may hold a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockKind {
    /// Others that share it.
    Shared,
    /// Nobody.
    Exclusive,
}

/// What asking for a lock came to.
#[derive(Debug)]
pub enum Lock {
    /// It is held until this value goes.
    Held(DirectoryLock),
    /// Somebody else holds one that does not go with it.
    Taken,
    /// This file system has no such locks.
    Unsupported,
}

/// A lock that is held.
#[derive(Debug)]
pub struct DirectoryLock {
    _directory: File,
}

/// Locks a directory, without waiting.
pub fn lock_directory(path: &Path, kind: LockKind) -> Result<Lock, FileError> {
    let failed = |error| FileError::new("lock", path, error);
    let directory = File::open(path).map_err(failed)?;
    let operation = match kind {
        LockKind::Shared => FlockOperation::NonBlockingLockShared,
        LockKind::Exclusive => FlockOperation::NonBlockingLockExclusive,
    };
    match flock(&directory, operation) {
        Ok(()) => Ok(Lock::Held(DirectoryLock { _directory: directory })),
        Err(Errno::WOULDBLOCK) => Ok(Lock::Taken),
        Err(Errno::BADF | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOLCK | Errno::NOSYS | Errno::ISDIR) => {
            Ok(Lock::Unsupported)
        }
        Err(error) => Err(failed(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exclusive_lock_is_alone_and_ends_with_its_value() {
        let temp = tempfile::tempdir().unwrap();
        let lock = |kind| lock_directory(temp.path(), kind).unwrap();
        let (one, two) = (lock(LockKind::Shared), lock(LockKind::Shared));
        assert!(matches!((&one, &two), (Lock::Held(_), Lock::Held(_))));
        assert!(matches!(lock(LockKind::Exclusive), Lock::Taken));
        drop((one, two));
        let alone = lock(LockKind::Exclusive);
        assert!(matches!(alone, Lock::Held(_)));
        assert!(matches!(lock(LockKind::Shared), Lock::Taken) && matches!(lock(LockKind::Exclusive), Lock::Taken));
        drop(alone);
        assert!(matches!(lock(LockKind::Shared), Lock::Held(_)));
        assert!(lock_directory(&temp.path().join("none"), LockKind::Shared).is_err());
    }
}
