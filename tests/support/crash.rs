//! Kills a program at each of its steps, or at any moment.
//!
//! A step is a system call that changes or syncs something, writes a message, or ends the program. strace kills
//! the program just before one of them; that is just after the one before, since between two steps nothing changes.
//!
//! strace counts the calls of each kind in each thread. Every program of pgv changes things from one thread, so all
//! numbers of all kinds are all steps. (Another thread may come to the same number of opened files first: that is before
//! anything was changed.)

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{Outcome, Random, TestAccount, TestFolder, run};

const KINDS: &str = "/^(open|openat|creat|mkdir|mkdirat|link|linkat|symlink|symlinkat|rename|renameat|renameat2|unlink\
                     |unlinkat|rmdir|write|writev|pwrite64|pwritev|truncate|ftruncate|fallocate|fsync|fdatasync|sync\
                     |syncfs|sync_file_range|chmod|fchmod|fchmodat|chown|fchown|fchownat|utimensat|copy_file_range\
                     |sendfile|flock|exit_group)$";

/// The Nth call of a kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Step {
    pub(crate) call: String,
    pub(crate) number: usize,
    /// What strace shows of it.
    pub(crate) line: String,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "at {} number {}: {}", self.call, self.number, self.line)
    }
}

/// Runs `command` to its end, which must be a good one; its steps in their order.
#[track_caller]
pub(crate) fn steps_of(folder: &TestFolder, command: &Command) -> Vec<Step> {
    let trace = folder.write("strace.txt", "");
    run(traced(command, &["-o", &trace.display().to_string(), "-e", &format!("trace={KINDS}")])).success();
    let text = std::fs::read(&trace).expect("strace wrote it");
    // What is only read changes nothing; how often is a matter of the memory allocator, too.
    let is_read = |call: &str, line: &str| call.starts_with("open") && line.contains("O_RDONLY");
    let steps = parsed(&String::from_utf8_lossy(&text), |call, line| !is_read(call, line));
    assert!(steps.len() > 1 && steps.iter().any(|step| step.call == "exit_group"), "strace saw {steps:?}");
    steps
}

/// Runs `command` and kills it before that step; `None` when it did not come there, with how it ended.
#[track_caller]
pub(crate) fn kill_before(step: &Step, command: &Command) -> Option<Outcome> {
    let (call, number) = (&step.call, step.number);
    let inject = format!("inject={call}:signal=KILL:when={number}");
    let outcome = run(traced(command, &["-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject]));
    (outcome.status.signal() != Some(9)).then_some(outcome)
}

/// Kills something that takes its time at random moments of it: one in each of `shares` equal parts, then so once more.
pub(crate) struct Moments {
    random: Random,
    shares: u32,
    given: u32,
    /// How long it takes, as far as that is known: a machine is not always as fast.
    lasts: Duration,
}

impl Moments {
    /// Of something that has taken so long.
    pub(crate) fn new(seed: u64, shares: u32, lasts: Duration) -> Self {
        Self { random: Random::of(seed), shares, given: 0, lasts }
    }

    /// Starts `command` and kills it at the next moment; whether it had not ended by then.
    #[track_caller]
    pub(crate) fn kill(&mut self, mut command: Command) -> bool {
        let share = self.given % self.shares;
        self.given += 1;
        let within = u32::try_from(self.random.below(1000)).unwrap();
        let moment = self.lasts * share / self.shares + self.lasts * within / (1000 * self.shares);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(moment);
        child.kill().expect("a child can be killed");
        let status = child.wait().expect("a child can be waited for");
        let was_running = status.signal() == Some(9);
        assert!(was_running || status.success(), "it ended by itself: {status}");
        if !was_running {
            self.lasts = moment;
        } else if moment > self.lasts * 9 / 10 {
            self.lasts = self.lasts * 3 / 2;
        }
        was_running
    }
}

/// Runs `command` to its end, which must be a good one; its calls of these kinds, with the paths of their files, in the
/// order in which they were begun.
#[track_caller]
pub(crate) fn calls_of(folder: &TestFolder, command: &Command, kinds: &str) -> Vec<String> {
    let trace = folder.write("calls.txt", "");
    let kinds = format!("trace={kinds}");
    run(traced(command, &["--seccomp-bpf", "-y", "-e", &kinds, "-o", &trace.display().to_string()])).success();
    let text = std::fs::read(&trace).expect("strace wrote it");
    // "1234  fsync(4</path>) = 0"; the second half of a call that was interrupted begins with "<..."
    let of_line = |line: &str| line.split_once(' ').map(|(_, call)| call.trim_start().to_owned());
    let calls = String::from_utf8_lossy(&text).lines().filter_map(of_line).collect::<Vec<_>>();
    calls.into_iter().filter(|call| call.contains('(') && !call.starts_with('<')).collect()
}

/// Every call of `command` that has to do with files and may fail, reading ones included.
#[track_caller]
pub(crate) fn file_calls_of(folder: &TestFolder, command: &Command) -> Vec<Step> {
    let trace = folder.write("strace.txt", "");
    run(traced(command, &["-o", &trace.display().to_string(), "-e", "trace=%file,%desc"])).success();
    let text = std::fs::read(&trace).expect("strace wrote it");
    let mut calls = parsed(&String::from_utf8_lossy(&text), |_, _| true);
    // The program is not there yet, or its language's runtime looks at descriptors; memory is no file; closing cannot be
    // heeded.
    calls.retain(|step| !["execve", "poll", "mmap", "close", "exit_group"].contains(&step.call.as_str()));
    assert!(calls.len() > 10, "strace saw {calls:?}");
    calls
}

/// Runs `command` to its end while that one call fails with this error.
#[track_caller]
pub(crate) fn fail_at(step: &Step, error: &str, command: &Command) -> Outcome {
    let (call, number) = (&step.call, step.number);
    let inject = format!("inject={call}:error={error}:when={number}");
    run(traced(command, &["-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject]))
}

/// The same command under strace, as the test account, with its own variables alone.
fn traced(command: &Command, options: &[&str]) -> Command {
    let mut traced = TestAccount::get().command(strace());
    traced.env_clear().args(["-f", "-qq"]).args(options).arg("--");
    traced.arg(command.get_program()).args(command.get_args());
    traced.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    traced.current_dir(command.get_current_dir().unwrap_or(Path::new("/")));
    traced
}

fn strace() -> PathBuf {
    let path = Path::new("/usr/bin/strace");
    assert!(path.exists(), "{path:?} is missing: run scripts/install");
    path.to_owned()
}

fn parsed(trace: &str, is_wanted: impl Fn(&str, &str) -> bool) -> Vec<Step> {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut steps = Vec::new();
    for line in trace.lines() {
        // "1234  fsync(4) = 0"; the second half of a call that was interrupted begins with "<..."
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((call, _)) = rest.trim_start().split_once('(') else { continue };
        if !call.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_') {
            continue;
        }
        let number = counts.entry((thread, call)).or_default();
        *number += 1;
        if is_wanted(call, rest) && seen.insert((call, *number)) {
            let line = rest.trim_start().chars().take(500).collect();
            steps.push(Step { call: call.to_owned(), number: *number, line });
        }
    }
    steps
}

/// Some of the steps, evenly spread, the first and the last included.
pub(crate) fn spread(steps: &[Step], count: usize) -> Vec<Step> {
    let last = steps.len().saturating_sub(1);
    let chosen: BTreeSet<usize> = (0..count).map(|number| number * last / count.saturating_sub(1).max(1)).collect();
    chosen.into_iter().filter_map(|number| steps.get(number).cloned()).collect()
}

/// Every file, link and directory below `root`, with its mode and its content.
pub(crate) fn tree_of(root: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::PermissionsExt as _;
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}")) {
            let path = entry.expect("a directory can be read").path();
            let metadata = std::fs::symlink_metadata(&path).expect("it is there");
            if std::os::unix::fs::FileTypeExt::is_socket(&metadata.file_type()) {
                continue;
            }
            let content = if metadata.is_symlink() {
                std::fs::read_link(&path).expect("a link can be read").as_os_str().as_bytes().to_owned()
            } else if metadata.is_dir() {
                folders.push(path.clone());
                Vec::new()
            } else {
                std::fs::read(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
            };
            let name = path.strip_prefix(root).expect("it lies below").to_owned();
            found.insert(name, (metadata.permissions().mode() & 0o7777, content));
        }
    }
    found
}

/// Puts a copy of the directory `from` in the place of `to`, owners and modes included.
#[track_caller]
pub(crate) fn put_back(from: &Path, to: &Path) {
    if to.exists() {
        std::fs::remove_dir_all(to).unwrap_or_else(|error| panic!("{to:?}: {error}"));
    }
    let mut command = TestAccount::get().command("cp");
    command.arg("-a").arg(from).arg(to);
    run(command).success();
}

/// Runs `command` to its end; how every process that it started was called: arguments and variables, a line for each,
/// without its own.
#[track_caller]
pub(crate) fn processes_started_by(folder: &TestFolder, command: &Command) -> (Outcome, String) {
    let trace = folder.write("execve.txt", "");
    let options = ["--seccomp-bpf", "-v", "-s", "100000", "-e", "trace=execve", "-o", &trace.display().to_string()];
    let outcome = run(traced(command, &options));
    let text = std::fs::read(&trace).expect("strace wrote it");
    std::fs::remove_file(&trace).expect("it can go");
    let text = String::from_utf8_lossy(&text).into_owned();
    let calls: Vec<&str> = text.lines().filter(|line| line.contains("execve(")).collect();
    assert!(!calls.is_empty(), "strace saw nothing: {outcome}");
    (outcome, calls[1..].join("\n"))
}
