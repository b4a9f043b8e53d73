//! Starting and ending a server of a test, and seeing what became of it.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::wait::{PATIENCE, holds_within};
use crate::support::{PgVersion, TestAccount, TestCluster, run};

/// What a server that was started came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    /// Takes writes: never in recovery, or promoted.
    Open,
    /// Replay is paused at its target; takes reads.
    Paused,
    /// Ended by itself, with this status.
    Ended(ExitStatus),
}

impl TestCluster {
    /// Starts the server and waits until it takes connections (as primary or as hot standby).
    #[track_caller]
    pub(crate) fn start(&mut self) {
        self.start_with(&[]);
    }

    /// Like `start`, with `-c` settings.
    #[track_caller]
    pub(crate) fn start_with(&mut self, settings: &[&str]) {
        self.launch(settings);
        if let Some(status) = self.wait_for_connections() {
            panic!("the server ended with {status}\nlog:\n{}", self.log());
        }
    }

    /// Starts the server and waits until recovery has led to something: it takes writes, is paused, or has ended.
    #[track_caller]
    pub(crate) fn start_and_settle(&mut self) -> Settled {
        self.start_and_settle_with(&[])
    }

    /// Like `start_and_settle`, with `-c` settings.
    #[track_caller]
    pub(crate) fn start_and_settle_with(&mut self, settings: &[&str]) -> Settled {
        self.launch(settings);
        let mut settled = None;
        let in_time = holds_within(PATIENCE, || {
            settled = match self.ended() {
                Some(status) => Some(Settled::Ended(status)),
                None => self.settled_now(),
            };
            settled.is_some()
        });
        assert!(in_time, "recovery came to nothing within {PATIENCE:?}\nlog:\n{}", self.log());
        settled.expect("it has settled")
    }

    /// Runs the postmaster with its own port, socket and log, whatever the configuration says.
    #[track_caller]
    pub(crate) fn launch(&mut self, settings: &[&str]) {
        assert!(self.postmaster.is_none(), "the server runs already");
        let postgres = self.version.tool("postgres");
        let mut command = TestAccount::get().command_that_dies_with_us("QUIT", postgres);
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").current_dir("/");
        command.arg("-D").arg(&self.data).args(["-c", &format!("port={}", self.port)]);
        command.args(["-c", &format!("unix_socket_directories={}", self.socket_folder.display())]);
        for setting in settings {
            command.args(["-c", setting]);
        }
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log_path).expect("a log file");
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.postmaster = Some(command.spawn().expect("setpriv runs"));
    }

    /// Waits until the server takes connections; its exit status when it ended instead.
    #[track_caller]
    pub(crate) fn wait_for_connections(&mut self) -> Option<ExitStatus> {
        let mut ended = None;
        let in_time = holds_within(PATIENCE, || {
            ended = self.ended();
            ended.is_some() || self.takes_connections()
        });
        assert!(in_time, "no connections within {PATIENCE:?}\nlog:\n{}", self.log());
        ended
    }

    /// Whether the postmaster says so in its pid file, which costs less than a connection.
    fn takes_connections(&self) -> bool {
        let text = std::fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        // a killed server leaves its file behind, "ready" included
        let is_own =
            self.postmaster.as_ref().is_some_and(|child| lines.first() == Some(&child.id().to_string().as_str()));
        is_own && lines.get(7) == Some(&"ready")
    }

    fn settled_now(&self) -> Option<Settled> {
        if !self.takes_connections() {
            return None;
        }
        // 13 knows only that it was told to pause, which it is when it reaches its target
        let state = match self.version {
            PgVersion::V13 => "CASE WHEN pg_is_wal_replay_paused() THEN 'paused' END",
            _ => "pg_get_wal_replay_pause_state()",
        };
        let sql = format!("SELECT pg_is_in_recovery(), CASE WHEN pg_is_in_recovery() THEN {state} END");
        let outcome = self.try_query(&sql);
        match outcome.stdout.trim_end() {
            "f|" => Some(Settled::Open),
            "t|paused" => Some(Settled::Paused),
            _ => None,
        }
    }

    /// The exit status when the server that was started has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.postmaster.as_mut()?.try_wait().expect("a child can be waited for");
        if status.is_some() {
            self.postmaster = None;
        }
        status
    }

    /// Waits until the server ends by itself.
    #[track_caller]
    pub(crate) fn wait_for_end(&mut self) -> ExitStatus {
        let mut ended = None;
        let in_time = holds_within(PATIENCE, || {
            ended = self.ended();
            ended.is_some()
        });
        assert!(in_time, "the server still runs after {PATIENCE:?}\nlog:\n{}", self.log());
        ended.expect("it has ended")
    }

    /// A fast shutdown, which waits for the archiver.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::INT);
        let status = self.wait_for_end();
        assert!(status.success(), "the server ended with {status}\nlog:\n{}", self.log());
    }

    /// An immediate shutdown: the next start does crash recovery.
    pub(crate) fn stop_immediately(&mut self) {
        self.signal(Signal::QUIT);
        self.wait_for_end();
    }

    /// Kills the postmaster and all its processes at once, as a failing machine does; nothing when none runs.
    pub(crate) fn kill(&mut self) {
        let Some(mut postmaster) = self.postmaster.take() else { return };
        let family = descendants(postmaster.id());
        let _ = postmaster.kill();
        for process in &family {
            let _ = kill_process(*process, Signal::KILL);
        }
        let _ = postmaster.wait();
        let gone = || family.iter().all(|process| kill_process(*process, Signal::CONT).is_err() || is_zombie(*process));
        holds_within(Duration::from_secs(10), gone);
        // what an orderly end would have removed; without it the next start looks for the old processes
        self.remove_shared_memory();
    }

    /// Sends a signal to the postmaster.
    pub(crate) fn signal(&self, signal: Signal) {
        let postmaster = self.postmaster.as_ref().expect("the server runs");
        kill_process(pid(postmaster.id()).expect("a process has a number"), signal).expect("a child can be signalled");
    }

    /// Frees the small System V segment that a killed postmaster leaves; its id stands in the pid file.
    fn remove_shared_memory(&self) {
        let lines = std::fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
        let id = lines.lines().nth(6).and_then(|line| line.split_whitespace().nth(1)).map(str::to_owned);
        if let Some(id) = id {
            let mut command = TestAccount::get().command("ipcrm");
            command.args(["-m", &id]);
            run(command);
        }
    }
}

fn pid(number: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(number).ok()?)
}

/// The processes below `parent`, deepest last, without itself.
fn descendants(parent: u32) -> Vec<Pid> {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    let mut found = Vec::new();
    for child in children.split_whitespace().filter_map(|number| number.parse().ok()) {
        found.extend(pid(child));
        found.extend(descendants(child));
    }
    found
}

fn is_zombie(process: Pid) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).unwrap_or_default();
    status.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'))
}
