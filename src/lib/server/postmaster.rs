//! Whether a server runs in a data directory (`src/backend/utils/init/miscinit.c`, `CreateLockFile`).

use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use crate::fs::{self, FileError};
use crate::pg::{ControlFile, DatabaseState};

/// The file in which a server names its process, and where it listens (`src/include/utils/pidfile.h`).
const LOCK_FILE: &str = "postmaster.pid";
/// LIMIT: bytes of that file; it has eight short lines.
const LOCK_FILE_BYTES_MAX: u64 = 64 << 10;

/// The lines of that file.
pub(super) struct LockFile(Vec<String>);

impl LockFile {
    /// `None` when there is none.
    pub(super) fn read(data_directory: &Path) -> Result<Option<Self>, FileError> {
        match fs::read_at_most(&data_directory.join(LOCK_FILE), LOCK_FILE_BYTES_MAX) {
            Ok(text) => Ok(Some(Self::of(&text))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn of(text: &[u8]) -> Self {
        Self(String::from_utf8_lossy(text).lines().map(|line| line.trim_end().to_owned()).collect())
    }

    /// A line, counted from 0, that says something.
    pub(super) fn line(&self, index: usize) -> Option<&str> {
        self.0.get(index).map(String::as_str).filter(|line| !line.is_empty())
    }

    /// The number of the process; negative of a single-user backend.
    pub(super) fn process(&self) -> Option<i32> {
        self.line(0)?.trim().parse().ok().filter(|number| *number != 0)
    }
}

/// The process of the server (or single-user backend) that runs in a data directory of the present account.
///
/// A number alone says little: after a crash another process may have it. A server works in its data directory, so the
/// process counts if it does that too, or if that cannot be told.
pub fn running_postmaster(data_directory: &Path) -> Result<Option<i32>, FileError> {
    let path = data_directory.join(LOCK_FILE);
    let Some(file) = LockFile::read(data_directory)? else { return Ok(None) };
    let pid = file.process().and_then(|number| Pid::from_raw(number.saturating_abs()));
    let Some(pid) = pid else {
        return Err(FileError::new("find a process number in", &path, std::io::ErrorKind::InvalidData));
    };
    let runs = is_alive(pid, &path)? && works_in(pid, data_directory);
    Ok(runs.then(|| pid.as_raw_nonzero().get()))
}

/// The process of a server that a data directory must not be taken from: also one whose number means nothing here,
/// since it runs in a container (another PID namespace) with the directory, or whose `postmaster.pid` was removed.
///
/// Each of these is a proof, since servers that crashed leave all their files: a server answers at the socket whose lock
/// file names this directory; a server's process here works in it.
pub fn postmaster_of(data_directory: &Path) -> Result<Option<i32>, FileError> {
    if let Some(pid) = running_postmaster(data_directory)? {
        return Ok(Some(pid));
    }
    let file = LockFile::read(data_directory)?;
    if let Some(pid) = file.as_ref().filter(|file| answers(file)).and_then(LockFile::process) {
        return Ok(Some(pid.saturating_abs()));
    }
    Ok(process_in(data_directory))
}

/// The process that `postmaster.pid` names although no server is seen and the last one was not shut down.
///
/// A server that crashed leaves the same as one whose processes and sockets cannot be seen from here, as that of another
/// container or host that has the directory, too. Nobody but a person can tell them apart.
pub fn unseen_postmaster(data_directory: &Path) -> Result<Option<i32>, FileError> {
    let Some(process) = LockFile::read(data_directory)?.and_then(|file| file.process()) else { return Ok(None) };
    let state = match fs::read_at_most(&data_directory.join(ControlFile::PATH), ControlFile::FILE_LENGTH as u64) {
        Ok(bytes) => ControlFile::decode(&bytes).ok().map(|control| control.state),
        // Without it no server runs.
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    let was_shut_down = matches!(state, Some(DatabaseState::ShutDown | DatabaseState::ShutDownInRecovery));
    Ok((!was_shut_down).then_some(process.saturating_abs()))
}

/// Whether a server answers at the socket of this file, and that is the socket of the same server.
fn answers(file: &LockFile) -> bool {
    let (Some(pid), Some(port), Some(directory)) = (file.line(0), file.line(3), file.line(4)) else { return false };
    let socket = Path::new(directory).join(format!(".s.PGSQL.{port}"));
    let lock = fs::read_at_most(&socket.with_file_name(format!(".s.PGSQL.{port}.lock")), LOCK_FILE_BYTES_MAX);
    let is_own = lock.is_ok_and(|lock| {
        let lock = LockFile::of(&lock);
        lock.line(0) == Some(pid) && lock.line(1) == file.line(1)
    });
    is_own && UnixStream::connect(&socket).is_ok()
}

/// A server's first process that works in this directory; none where other processes cannot be seen.
fn process_in(data_directory: &Path) -> Option<i32> {
    let pids = fs::sorted_entries(Path::new("/proc")).ok()?.into_iter();
    let pids = pids.filter_map(|entry| entry.name.to_str().and_then(|name| name.parse::<i32>().ok()));
    pids.into_iter().find(|pid| {
        let place = Path::new("/proc").join(pid.to_string());
        matches!(fs::is_same(&place.join("cwd"), data_directory), Ok(true)) && is_server(&place.join("cmdline"))
    })
}

/// Whether this is how a server was called; its children call themselves "postgres: ...".
fn is_server(command_line: &Path) -> bool {
    let Ok(words) = fs::read_at_most(command_line, LOCK_FILE_BYTES_MAX) else { return false };
    let program = words.split(|byte| *byte == 0).next().unwrap_or_default();
    let name = program.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    name == b"postgres" || name == b"postmaster"
}

fn is_alive(pid: Pid, path: &Path) -> Result<bool, FileError> {
    match test_kill_process(pid) {
        Ok(()) => Ok(true),
        // Another account's process is no server of this directory.
        Err(Errno::SRCH | Errno::PERM) => Ok(false),
        Err(error) => Err(FileError::new("ask for the process named in", path, error)),
    }
}

fn works_in(pid: Pid, data_directory: &Path) -> bool {
    let of_process = format!("/proc/{}/cwd", pid.as_raw_nonzero());
    match fs::is_same(Path::new(&of_process), data_directory) {
        Ok(same) => same,
        // A process that just ended, unless nothing can be seen of any process.
        Err(error) if error.is_not_found() => !matches!(fs::is_present(Path::new("/proc/self")), Ok(true)),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn running(directory: &Path, lock: &str) -> Option<i32> {
        std::fs::write(directory.join(LOCK_FILE), lock).unwrap();
        running_postmaster(directory).unwrap()
    }

    #[test]
    fn a_process_counts_that_lives_in_the_directory() {
        let temp = tempfile::tempdir().unwrap();
        assert_eq!(running_postmaster(temp.path()).unwrap(), None);
        let sleep = |directory: &Path| Command::new("sleep").arg("60").current_dir(directory).spawn().unwrap();
        let (mut inside, mut outside) = (sleep(temp.path()), sleep(Path::new("/")));
        let number = i32::try_from(inside.id()).unwrap();
        let found = [
            running(temp.path(), &format!("{number}\n{}\n1795000000\n", temp.path().display())),
            running(temp.path(), &format!("-{number}\n")),
            running(temp.path(), &format!("{}\n", outside.id())),
        ];
        for child in [&mut inside, &mut outside] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert_eq!(found, [Some(number), Some(number), None]);
        assert_eq!(running(temp.path(), &format!("{number}\n")), None);
    }

    #[test]
    fn a_pid_file_counts_where_no_server_was_shut_down() {
        const RUNNING: &[u8] = include_bytes!("../../../tests/data/postgres-15/pg_control");
        const STOPPED: &[u8] = include_bytes!("../../../tests/data/postgres-15/pg_control-standby");
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("global")).unwrap();
        let unseen = |lock: Option<&str>, control: Option<&[u8]>| {
            for (name, content) in [(LOCK_FILE, lock.map(str::as_bytes)), (ControlFile::PATH, control)] {
                let path = temp.path().join(name);
                drop(std::fs::remove_file(&path));
                if let Some(content) = content {
                    std::fs::write(path, content).unwrap();
                }
            }
            unseen_postmaster(temp.path()).unwrap()
        };
        assert_eq!(unseen(Some("4711\n/data\n"), Some(RUNNING)), Some(4711));
        assert_eq!(unseen(Some("-4711\n"), Some(RUNNING)), Some(4711));
        assert_eq!(unseen(Some("4711\n"), Some(b"of another version")), Some(4711));
        for (lock, control) in [(Some("4711\n"), Some(STOPPED)), (None, Some(RUNNING)), (Some("4711\n"), None)] {
            assert_eq!(unseen(lock, control), None);
        }
    }

    #[test]
    fn a_lock_file_without_a_number_is_an_error() {
        let temp = tempfile::tempdir().unwrap();
        for lock in ["", "\n", "x\n", "0\n", "99999999999\n"] {
            std::fs::write(temp.path().join(LOCK_FILE), lock).unwrap();
            assert!(running_postmaster(temp.path()).is_err(), "{lock:?}");
        }
    }
}
