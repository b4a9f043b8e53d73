//! Staged files whose writers are gone, and how that is known.
//!
//! A writer holds a lock on its staged file, which ends with the writer however it ends. A lock can be trusted where it
//! is kept by the same kernel for the same mounted file system, so the file's name says which those are. INVARIANT:
//! what may have a writer is never removed before its age says that it has none.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

use super::directory::parent_of;
use super::read::modified;

/// Prefix of staged files.
const STAGED_PREFIX: &str = ".pgv-staged-";
/// Hexadecimal digits that come after it: those of the place, and random ones.
const DIGITS: usize = 32;
/// Says which run of the kernel this is.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const BOOT_DIGITS: usize = 12;

/// A name for a staged file whose writer can be asked for, if there is a way to do so in `directory`.
pub(super) fn name_of_locked(directory: &Path) -> Option<String> {
    Some(with_random(&place(directory)?))
}

/// A random name among those of staged files in `directory`: one that stays behind is removed as they are, at once where
/// locks are known, since nobody holds one.
pub fn staged_name(directory: &Path) -> String {
    name_of_locked(directory).unwrap_or_else(name_of_unlocked)
}

/// A name for a staged file that is not locked.
pub(super) fn name_of_unlocked() -> String {
    with_random("")
}

/// Locks a new staged file. `false` when it was taken for an abandoned one meanwhile; `None` when there are no locks.
pub(super) fn lock_staged(file: &File) -> Option<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Some(file.metadata().is_ok_and(|metadata| metadata.nlink() > 0)),
        Err(Errno::WOULDBLOCK) => Some(false),
        Err(_) => None,
    }
}

/// Removes staged files beside `target` that nobody writes: at once where that is known, else when they were last
/// written before `limit`. Best effort, not durable; says how many went.
pub fn remove_abandoned_beside(target: &Path, limit: Timestamp) -> usize {
    let directory = parent_of(target);
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    let is_staged = |path: &PathBuf| digits_of(path).is_some();
    let staged: Vec<PathBuf> =
        entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).filter(is_staged).collect();
    if staged.is_empty() {
        return 0;
    }
    let here = place(directory);
    staged.iter().filter(|path| remove_if_abandoned(path, here.as_deref(), limit)).count()
}

fn remove_if_abandoned(path: &Path, here: Option<&str>, limit: Timestamp) -> bool {
    let is_of_here = digits_of(path).zip(here).is_some_and(|(digits, here)| digits.starts_with(here.as_bytes()));
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOFOLLOW).bits()).unwrap_or_default();
    let open = || OpenOptions::new().read(true).write(true).custom_flags(flags).open(path);
    let file = is_of_here.then(open).and_then(Result::ok);
    // ORDER: our own lock is held until the file is gone, so that a writer who has just created it and has not locked
    // it yet finds out.
    let is_abandoned = match file.as_ref().map(|file| rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive))
    {
        Some(Ok(())) => true,
        Some(Err(Errno::WOULDBLOCK)) => false,
        Some(Err(_)) | None => modified(path).is_ok_and(|time| time < limit),
    };
    is_abandoned && std::fs::remove_file(path).is_ok()
}

/// The digits in the name of a staged file; `None` when it is another file.
fn digits_of(path: &Path) -> Option<&[u8]> {
    path.file_name().map(OsStr::as_encoded_bytes)?.strip_prefix(STAGED_PREFIX.as_bytes())
}

/// Which run of which kernel, and which mounted file system: who has the same sees the same locks.
fn place(directory: &Path) -> Option<String> {
    let device = std::fs::metadata(directory).ok()?.dev();
    let mut place: String =
        std::fs::read_to_string(BOOT_ID).ok()?.chars().filter(char::is_ascii_hexdigit).take(BOOT_DIGITS).collect();
    if place.len() < BOOT_DIGITS {
        return None;
    }
    place.push_str(&format!("{:08x}", device & 0xFFFF_FFFF));
    Some(place)
}

fn with_random(place: &str) -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    let missing = DIGITS.saturating_sub(place.len());
    let random: String = random.chars().rev().take(missing).collect();
    format!("{STAGED_PREFIX}{place}{random}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::StagedFile;

    /// A file of that name that was last written long ago.
    fn old(path: PathBuf) -> PathBuf {
        let file = File::create(&path).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000)).unwrap();
        path
    }

    #[test]
    fn what_has_a_writer_or_may_have_one_is_spared() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        let living = StagedFile::create_in(temp.path()).unwrap();
        let living_and_idle = StagedFile::create_in(temp.path()).unwrap();
        old(living_and_idle.path().to_owned());
        let dead = at(&name_of_locked(temp.path()).unwrap());
        File::create(&dead).unwrap();
        let elsewhere = at(&name_of_unlocked());
        File::create(&elsewhere).unwrap();
        let (old_elsewhere, foreign) = (old(at(&name_of_unlocked())), old(at("pgv-staged-foreign")));
        let limit = modified(living.path()).unwrap() - jiff::SignedDuration::from_secs(60);
        assert_eq!(remove_abandoned_beside(&at("target"), limit), 2);
        assert_eq!(remove_abandoned_beside(&at("absent/target"), limit), 0);
        assert!(!dead.exists() && !old_elsewhere.exists());
        assert!(living.path().exists() && living_and_idle.path().exists() && elsewhere.exists() && foreign.exists());
    }

    #[test]
    fn a_file_that_was_removed_before_it_was_locked_is_not_used() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        let file = File::create(&path).unwrap();
        assert_eq!(lock_staged(&file), Some(true));
        assert_eq!(lock_staged(&File::open(&path).unwrap()), Some(false));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(lock_staged(&file), Some(false));
    }

    #[test]
    fn a_writer_never_loses_its_file_to_those_who_tidy_up() {
        let temp = tempfile::tempdir().unwrap();
        let target = temp.path().join("target");
        let is_over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let tidy = || {
                while !is_over.load(std::sync::atomic::Ordering::SeqCst) {
                    remove_abandoned_beside(&target, Timestamp::UNIX_EPOCH);
                }
            };
            scope.spawn(tidy);
            scope.spawn(tidy);
            let lost = (0..2000).filter(|_| {
                let staged = StagedFile::create_in(temp.path()).unwrap();
                !staged.path().exists()
            });
            let lost = lost.count();
            is_over.store(true, std::sync::atomic::Ordering::SeqCst);
            assert_eq!(lost, 0);
        });
    }

    #[test]
    fn names_have_digits_of_one_number() {
        let temp = tempfile::tempdir().unwrap();
        for name in [name_of_locked(temp.path()).unwrap(), name_of_unlocked()] {
            let digits = name.strip_prefix(STAGED_PREFIX).unwrap();
            assert!(digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");
        }
        let place = place(temp.path()).unwrap();
        assert!(name_of_locked(temp.path()).unwrap().contains(&place));
        assert_ne!(name_of_locked(temp.path()), name_of_locked(temp.path()));
        assert_eq!(super::place(&temp.path().join("absent")), None);
    }
}
