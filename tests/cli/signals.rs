//! What signals do, shown on programs that hang in the reading of their settings (a pipe that nobody writes).

use std::io::Write as _;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::host::Host;
use crate::support::wait_until;

const PATIENCE: Duration = Duration::from_secs(30);

struct Hanging(Child);

impl Hanging {
    fn start(host: &Host, name: &str, arguments: &[&str]) -> Self {
        // The tests themselves may run with SIGHUP ignored.
        let mut command = host.command("env");
        command.arg("--default-signal=HUP,INT").arg(crate::support::program(name));
        Self(command.args(["--config", "pipe"]).args(arguments).spawn().unwrap())
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
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        text.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned()
    }

    fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the program ends", PATIENCE, || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn host() -> Host {
    let host = Host::new("signals");
    host.sh("mkfifo pipe").success();
    host
}

#[test]
fn archive_ends_at_once_with_a_status_of_its_own() {
    let host = host();
    for signal in [Signal::TERM, Signal::QUIT, Signal::HUP] {
        let mut archive = Hanging::start(&host, "pgv-archive", &["a", "b"]).prepared();
        archive.send(signal);
        assert_eq!(archive.ended().code(), Some(22), "{signal:?}");
    }
}

/// It hangs in writing its help, which comes before everything that it reads.
#[test]
fn archive_is_prepared_before_it_looks_at_its_arguments() {
    let host = host();
    let (_reader, mut writer) = UnixStream::pair().unwrap();
    writer.set_nonblocking(true).unwrap();
    for length in [4096, 1] {
        while writer.write(&[0; 4096][..length]).is_ok() {}
    }
    writer.set_nonblocking(false).unwrap();
    let mut command = host.command(crate::support::program("pgv-archive").to_str().unwrap());
    let mut archive = Hanging(command.arg("--help").stdout(OwnedFd::from(writer)).spawn().unwrap()).prepared();
    archive.send(Signal::TERM);
    assert_eq!(archive.ended().code(), Some(22));
}

#[test]
fn fetch_dies_of_sigterm_itself_which_postgresql_takes_for_its_shutdown() {
    let host = host();
    let mut fetch = Hanging::start(&host, "pgv-fetch", &["a", "b"]);
    fetch.send(Signal::TERM);
    assert_eq!(fetch.ended().signal(), Some(Signal::TERM.as_raw()));
}

#[test]
fn the_others_end_at_once_on_the_second_signal() {
    let host = host();
    for signal in [Signal::TERM, Signal::INT] {
        let mut restore = Hanging::start(&host, "pgv-restore", &["-D", "d"]).prepared();
        restore.send(signal);
        // The first one only asks: it is given time to be handled before the second one comes.
        let pending = || u64::from_str_radix(&restore.status_line("ShdPnd:"), 16).unwrap();
        wait_until("the first signal was handled", PATIENCE, || pending() == 0);
        assert_eq!(restore.0.try_wait().unwrap(), None);
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
        let mut command = host.command("env");
        command.arg("--default-signal=HUP,INT").arg(crate::support::program("pgv"));
        command.args(["check", "--repo", "/nowhere", "-h", "127.0.0.1", "-p", &port]).args(options);
        let mut check = Hanging(command.spawn().unwrap());
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
fn nohup_is_heeded() {
    let host = host();
    let programs: [(&str, &[&str]); 3] =
        [("pgv-restore", &["-D", "d"]), ("pgv-basebackup", &[]), ("pgv-archive", &["a", "b"])];
    for (name, arguments) in programs {
        let mut command = host.command("nohup");
        command.arg(crate::support::program(name)).args(["--config", "pipe"]).args(arguments);
        let mut hanging = Hanging(command.spawn().unwrap()).prepared();
        for _ in 0..2 {
            hanging.send(Signal::HUP);
        }
        let ignored = u64::from_str_radix(&hanging.status_line("SigIgn:"), 16).unwrap();
        assert_eq!(ignored & 1, 1, "{name}");
        assert_eq!(hanging.0.try_wait().unwrap(), None, "{name}");
        hanging.send(Signal::TERM);
        hanging.send(Signal::TERM);
    }
}

/// PostgreSQL takes a status above 125, or death by a signal, of `recovery_end_command` for a reason to stop.
#[test]
fn clear_finishes_whatever_is_sent() {
    let host = host().file("PG_VERSION", "15\n").file("postgresql.auto.conf", "recovery_target_xid = '7'\n");
    host.folder.make("global");
    let host = host.file("global/pg_control", "");
    host.sh("mkfifo postgresql.conf").success();
    let mut clear = Hanging::start(&host, "pgv-recovery-conf", &["--clear", "-D", "."]).prepared();
    for signal in [Signal::TERM, Signal::TERM, Signal::INT, Signal::INT, Signal::HUP, Signal::QUIT] {
        clear.send(signal);
    }
    let pending = || u64::from_str_radix(&clear.status_line("ShdPnd:"), 16).unwrap();
    wait_until("the signals were handled", PATIENCE, || pending() == 0);
    assert_eq!(clear.0.try_wait().unwrap(), None);
    host.sh("echo > postgresql.conf").success();
    assert_eq!(clear.ended().code(), Some(0));
    assert_eq!(std::fs::read_to_string(host.folder.join("postgresql.auto.conf")).unwrap(), "");
}
