//! What signals do, shown on programs that hang in the writing of their help (to a socket that nobody reads), which comes
//! before everything that they read.

use std::io::Write as _;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::host::Host;
use crate::support::{SilentFileSystem, wait_until};
use crate::wal_host::WalHost;

const PATIENCE: Duration = Duration::from_secs(30);

struct Hanging {
    child: Child,
    /// Reads nothing of what it writes.
    _reader: Option<UnixStream>,
}

impl Hanging {
    fn start(host: &Host, name: &str) -> Self {
        let mut command = command(host, name);
        command.arg("--help");
        Self::of(command)
    }

    /// A command whose output finds no room.
    fn of(mut command: Command) -> Self {
        let (reader, mut writer) = UnixStream::pair().unwrap();
        writer.set_nonblocking(true).unwrap();
        for length in [4096, 1] {
            while writer.write(&[0; 4096][..length]).is_ok() {}
        }
        writer.set_nonblocking(false).unwrap();
        Self { child: command.stdout(OwnedFd::from(writer)).spawn().unwrap(), _reader: Some(reader) }
    }

    /// Waits until it has set its handler for SIGTERM.
    fn prepared(self) -> Self {
        wait_until("the program has set its handlers", PATIENCE, || {
            let caught = u64::from_str_radix(&self.status_line("SigCgt:"), 16).unwrap();
            caught & (1 << (Signal::TERM.as_raw() - 1)) != 0
        });
        self
    }

    fn status_line(&self, name: &str) -> String {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        text.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned()
    }

    fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the program ends", PATIENCE, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

/// The tests themselves may run with SIGHUP ignored.
fn command(host: &Host, name: &str) -> Command {
    let mut command = host.command("env");
    command.arg("--default-signal=HUP,INT").arg(crate::support::program(name));
    command
}

impl Drop for Hanging {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// It is prepared before it looks at its arguments.
#[test]
fn archive_ends_at_once_with_a_status_of_its_own() {
    let host = Host::new("signals");
    for signal in [Signal::TERM, Signal::QUIT, Signal::HUP] {
        let mut archive = Hanging::start(&host, "pgv-archive").prepared();
        archive.send(signal);
        assert_eq!(archive.ended().code(), Some(22), "{signal:?}");
    }
}

#[test]
fn fetch_dies_of_sigterm_itself_which_postgresql_takes_for_its_shutdown() {
    let host = Host::new("signals");
    let mut fetch = Hanging::start(&host, "pgv-fetch");
    fetch.send(Signal::TERM);
    assert_eq!(fetch.ended().signal(), Some(Signal::TERM.as_raw()));
}

#[test]
fn the_others_end_at_once_on_the_second_signal() {
    let host = Host::new("signals");
    for signal in [Signal::TERM, Signal::INT] {
        let mut restore = Hanging::start(&host, "pgv-restore").prepared();
        restore.send(signal);
        // The first one only asks: it is given time to be handled before the second one comes.
        let pending = || u64::from_str_radix(&restore.status_line("ShdPnd:"), 16).unwrap();
        wait_until("the first signal was handled", PATIENCE, || pending() == 0);
        assert_eq!(restore.child.try_wait().unwrap(), None);
        restore.send(signal);
        assert_eq!(restore.ended().code(), Some(130), "{signal:?}");
    }
}

/// Of a server that takes the connection and says nothing.
#[test]
fn check_ends_on_the_first_signal_while_a_server_keeps_it_waiting() {
    let host = Host::new("signals");
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let port = server.local_addr().unwrap().port().to_string();
    for (options, status) in [(&[][..], 130), (&["--nagios"], 3)] {
        let mut command = command(&host, "pgv");
        command.args(["check", "--repo", "/nowhere", "-h", "127.0.0.1", "-p", &port]).args(options);
        let mut check = Hanging { child: command.spawn().unwrap(), _reader: None };
        let mut connection = None;
        wait_until("it connects", PATIENCE, || {
            connection = server.accept().ok();
            connection.is_some()
        });
        check.send(Signal::TERM);
        assert_eq!(check.ended().code(), Some(status), "{options:?}");
    }
}

#[test]
fn check_ends_on_the_first_signal_while_a_repository_keeps_it_waiting() {
    let (host, registered) = (Host::new("signals"), WalHost::new("signals"));
    let _silent = SilentFileSystem::mount(&registered.folder, "repository/.staging");
    for (options, status) in [(&[][..], 130), (&["--nagios"], 3)] {
        let mut command = command(&host, "pgv");
        command.args(["check", "-h", "/none", "--repo"]).arg(&registered.repository).args(options);
        let mut check = Hanging { child: command.spawn().unwrap(), _reader: None };
        let tasks = format!("/proc/{}/task", check.child.id());
        wait_until("it asks the repository", PATIENCE, || {
            let names = std::fs::read_dir(&tasks).unwrap().map(|task| task.unwrap().path().join("comm"));
            names.filter_map(|name| std::fs::read_to_string(name).ok()).any(|name| name == "repository\n")
        });
        check.send(Signal::TERM);
        assert_eq!(check.ended().code(), Some(status), "{options:?}");
    }
}

#[test]
fn nohup_is_heeded() {
    let host = Host::new("signals");
    for name in ["pgv-restore", "pgv-basebackup", "pgv-archive"] {
        let mut command = host.command("nohup");
        command.arg(crate::support::program(name)).arg("--help");
        let mut hanging = Hanging::of(command).prepared();
        for _ in 0..2 {
            hanging.send(Signal::HUP);
        }
        let ignored = u64::from_str_radix(&hanging.status_line("SigIgn:"), 16).unwrap();
        assert_eq!(ignored & 1, 1, "{name}");
        assert_eq!(hanging.child.try_wait().unwrap(), None, "{name}");
        hanging.send(Signal::TERM);
        hanging.send(Signal::TERM);
    }
}

/// PostgreSQL takes a status above 125, or death by a signal, of `recovery_end_command` for a reason to stop.
#[test]
fn clear_finishes_whatever_is_sent() {
    let host =
        Host::new("signals").file("PG_VERSION", "15\n").file("postgresql.auto.conf", "recovery_target_xid = '7'\n");
    host.folder.make("global");
    let host = host.file("global/pg_control", "");
    host.sh("mkfifo postgresql.conf").success();
    let mut command = command(&host, "pgv-recovery-conf");
    command.args(["--clear", "-D", "."]);
    let mut clear = Hanging { child: command.spawn().unwrap(), _reader: None }.prepared();
    for signal in [Signal::TERM, Signal::TERM, Signal::INT, Signal::INT, Signal::HUP, Signal::QUIT] {
        clear.send(signal);
    }
    let pending = || u64::from_str_radix(&clear.status_line("ShdPnd:"), 16).unwrap();
    wait_until("the signals were handled", PATIENCE, || pending() == 0);
    assert_eq!(clear.child.try_wait().unwrap(), None);
    host.sh("echo > postgresql.conf").success();
    assert_eq!(clear.ended().code(), Some(0));
    assert_eq!(std::fs::read_to_string(host.folder.join("postgresql.auto.conf")).unwrap(), "");
}
