//! Who holds a lock on a directory, as far as this host's kernel tells: for messages alone.

use std::path::Path;
use std::time::Duration;

use super::read::read_at_most;

/// LIMIT: bytes of a file of the kernel's that are read.
const PROC_BYTES_MAX: u64 = 1 << 20;
/// COMPAT: the unit of times that Linux shows, whatever the kernel counts in.
const TICKS_A_SECOND: u64 = 100;
/// Where the time at which a process began stands in its `stat`, behind the name.
const START_FIELD: usize = 19;

/// A process that holds a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockHolder {
    /// Its number.
    pub process: u32,
    /// How it was called: its name, and of "pgv" the verb. Other words may be nobody's business.
    pub program: String,
    /// For how long it has been running.
    pub running: Option<Duration>,
}

/// The processes of this host that hold a lock on a directory. There may be others: on other hosts, or in other
/// containers.
pub fn lock_holders(path: &Path) -> Vec<LockHolder> {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(metadata) = std::fs::metadata(path) else { return Vec::new() };
    let device = metadata.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let locks = read("/proc/locks");
    let mut processes = processes(&locks, &format!("{major:02x}:{minor:02x}:{}", metadata.ino()));
    processes.sort_unstable();
    processes.dedup();
    processes.into_iter().filter_map(holder).collect()
}

/// The processes that hold a lock on the file of that place, in what `/proc/locks` says.
fn processes(locks: &str, place: &str) -> Vec<u32> {
    let lines = locks.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        // Who waits has an arrow here.
        (words.next()? == "FLOCK").then_some(())?;
        let (process, found) = (words.nth(2)?, words.next()?);
        (found == place).then(|| process.parse().ok())?
    });
    lines.collect()
}

fn holder(process: u32) -> Option<LockHolder> {
    let program = program(&read(&format!("/proc/{process}/cmdline")))?;
    let running = running(&read(&format!("/proc/{process}/stat")), &read("/proc/uptime"));
    Some(LockHolder { process, program, running })
}

fn program(command_line: &str) -> Option<String> {
    let mut words = command_line.split('\0').filter(|word| !word.is_empty());
    let name = Path::new(words.next()?).file_name()?.to_string_lossy().into_owned();
    let is_word = |word: &&str| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    let verb = words.next().filter(|word| name == "pgv" && !word.starts_with('-')).filter(is_word);
    Some(verb.map_or(name.clone(), |verb| format!("{name} {verb}")).escape_debug().to_string())
}

fn running(stat: &str, uptime: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let began: u64 = fields.split_whitespace().nth(START_FIELD)?.parse().ok()?;
    let up: u64 = uptime.split('.').next()?.parse().ok()?;
    Some(Duration::from_secs(up.checked_sub(began / TICKS_A_SECOND)?))
}

/// What a file of the kernel's says; nothing where there is none.
fn read(path: &str) -> String {
    let bytes = read_at_most(Path::new(path), PROC_BYTES_MAX).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::{LockKind, lock_directory};

    #[test]
    fn who_holds_a_lock_is_known() {
        let temp = tempfile::tempdir().unwrap();
        assert_eq!(lock_holders(temp.path()), []);
        let lock = lock_directory(temp.path(), LockKind::Shared).unwrap();
        let found = lock_holders(temp.path());
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].process, std::process::id());
        assert!(found[0].running.is_some_and(|running| running < Duration::from_secs(86_400)), "{found:?}");
        drop(lock);
        assert_eq!(lock_holders(temp.path()), []);
    }

    #[test]
    fn what_the_kernel_says_is_read_as_it_is_meant() {
        let locks = "1: FLOCK  ADVISORY  READ  4711 fd:01:99 0 EOF\n1: -> FLOCK  ADVISORY  WRITE 4712 fd:01:99 0 EOF\n\
                     2: POSIX  ADVISORY  WRITE 4713 fd:01:99 0 EOF\n3: FLOCK  ADVISORY  READ  4714 fd:01:990 0 EOF\nx\n";
        assert_eq!(processes(locks, "fd:01:99"), [4711]);
        for (line, shown) in [
            ("/usr/bin/pgv-restore\0-D\0/x\0", "pgv-restore"),
            ("pgv\0verify\0--quick\0", "pgv verify"),
            ("pgv\0--secret\0", "pgv"),
            ("sleep\0verify\0", "sleep"),
            ("a\u{1b}b\0", "a\\u{1b}b"),
        ] {
            assert_eq!(program(line).as_deref(), Some(shown));
        }
        assert_eq!(program(""), None);
        let stat = format!("4711 (a) b) S {}12000 7", "0 ".repeat(18));
        assert_eq!(running(&stat, "150.25 3.1\n"), Some(Duration::from_secs(30)));
        assert_eq!(running(&stat, "100.25 3.1\n"), None);
        assert_eq!(running("", ""), None);
    }
}
