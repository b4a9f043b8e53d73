//! `pgv-standby exec`: what its command is told, what becomes of its status and its signals, and how it is stopped.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, test_kill_process_group};

use crate::standby::{Ended, PATIENCE, Scene};
use crate::support::{PgVersion, TestAccount, run, wait_until};

/// All of it; what is given back takes a while to end.
pub(crate) fn run_all(scene: &Scene) -> Stubborn {
    its_status_is_that_of_the_command(scene);
    it_gets_what_we_are_sent(scene);
    it_ends_with_all_that_it_started(scene);
    it_gets_what_is_typed_once(scene);
    it_reads_what_we_are_given(scene);
    names_are_handed_on_as_they_are(scene);
    let stubborn = Stubborn::start(scene);
    it_is_stopped_when_its_node_is_late(scene, &stubborn);
    stubborn
}

/// The primary and one standby as options: that one is chosen, whatever a record does to its lag that is written now.
fn nodes(scene: &Scene) -> Vec<String> {
    let nodes = scene.nodes();
    ["p", "s1"].iter().map(|name| format!("--node={name}={}", nodes[name])).collect()
}

/// `exec` of a script, not yet started.
fn exec(scene: &Scene, options: &[&str], script: &str) -> Command {
    let nodes = nodes(scene);
    let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
    let arguments = [&["exec"], &nodes[..], options, &["--", "sh", "-c", script]].concat();
    let mut command = scene.site.pgv.command("pgv-standby", &arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// The same in a session without a terminal, as cron and systemd have it.
fn without_terminal(command: &Command) -> Command {
    let mut detached = TestAccount::get().command("setsid");
    detached.arg(command.get_program()).args(command.get_args());
    detached.env_clear().env("PATH", "/usr/bin:/bin").current_dir("/");
    detached.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    detached
}

fn wait_for(file: &Path) {
    wait_until("the command runs", PATIENCE, || file.exists());
}

fn its_status_is_that_of_the_command(scene: &Scene) {
    let nodes = nodes(scene);
    let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
    let exec = |options: &[&str], command: &[&str]| {
        scene.site.pgv.run("pgv-standby", &[&["exec"], &nodes[..], options, &["--"], command].concat())
    };
    let psql = PgVersion::V15.tool("psql");
    let sql = "SELECT pg_is_in_recovery(), current_user, current_setting('port')";
    let asked = exec(&[], &[psql.to_str().unwrap(), "-XAtc", sql]).success();
    assert_eq!(asked.stdout.trim(), format!("t|pgv_monitor|{}", scene.streaming.port));
    for (command, status) in [
        (&["sh", "-c", "exit 7"][..], 7),
        (&["sh", "-c", "exit 255"], 255),
        (&["sh", "-c", "kill -KILL $$"], 137),
        (&["/nonexistent/program"], 127),
        (&["/"], 126),
    ] {
        exec(&[], command).expect_code(status);
    }
    exec(&["--max-lag", "0", "--prefer", "standby-only", "--for", "dump"], &["true"]).expect_code(1);
    let mut shell = TestAccount::get().command("sh");
    shell.args(["-c", "umask"]);
    assert_eq!(exec(&[], &["sh", "-c", "umask"]).stdout, run(shell).stdout);
    // Who named no database gets the one that was asked in, not one that is not there.
    let conninfo = scene.streaming.conninfo().replace(" user=postgres dbname=postgres", " user=pgv_monitor");
    let node = format!("--node=s1={conninfo}");
    let asked = scene.site.pgv.run("pgv-standby", &["exec", &node, "--", psql.to_str().unwrap(), "-XAtc", sql]);
    assert_eq!(asked.success().stdout.trim(), format!("t|pgv_monitor|{}", scene.streaming.port));
}

fn it_gets_what_we_are_sent(scene: &Scene) {
    for (signal, name) in [(Signal::TERM, "TERM"), (Signal::INT, "INT"), (Signal::HUP, "HUP"), (Signal::USR1, "USR1")] {
        let ready = scene.folder.join(format!("ready-{name}"));
        let script = format!("trap 'exit 9' {name}; touch {}; while :; do sleep 0.05; done", ready.display());
        let mut running = Ended(exec(scene, &[], &script).spawn().unwrap());
        wait_for(&ready);
        running.send(signal);
        assert_eq!(running.status(), Some(9), "{name}");
    }
}

/// A shell that is sent SIGTERM goes, and leaves its pipeline behind: so all of its group is sent it.
fn it_ends_with_all_that_it_started(scene: &Scene) {
    let leader = scene.folder.join("leader");
    let script = format!("echo $$ > {0}.new && mv {0}.new {0}; sleep 61 | cat", leader.display());
    let mut running = Ended(without_terminal(&exec(scene, &[], &script)).spawn().unwrap());
    wait_for(&leader);
    running.send(Signal::TERM);
    assert_eq!(running.status(), Some(143));
    wait_until("nothing of it runs", PATIENCE, || !is_group(&leader));
}

/// Whether any process is in the group whose number is in that file.
fn is_group(file: &Path) -> bool {
    let number = std::fs::read_to_string(file).unwrap().trim().parse().unwrap();
    test_kill_process_group(Pid::from_raw(number).unwrap()).is_ok()
}

/// Ctrl-C at a terminal reaches the command once: from the terminal, and not from us as well.
fn it_gets_what_is_typed_once(scene: &Scene) {
    let (ready, came) = (scene.folder.join("ready-typed"), scene.folder.join("typed"));
    let script = format!(
        "trap 'echo came >> {came}' INT; touch {ready}; while test ! -s {came}; do sleep 0.05; done; \
         for i in 1 2 3 4 5 6; do sleep 0.1; done; exit 7",
        came = came.display(),
        ready = ready.display()
    );
    let command = exec(scene, &[], &script);
    let quoted = |word: &std::ffi::OsStr| format!("'{}'", word.to_str().unwrap().replace('\'', "'\\''"));
    let words: Vec<String> = std::iter::once(command.get_program()).chain(command.get_args()).map(quoted).collect();
    // All three lead elsewhere: the terminal is there all the same.
    let line = format!("exec {} </dev/null >/dev/null 2>&1", words.join(" "));
    let mut terminal = TestAccount::get().command("script");
    terminal.env_clear().env("PATH", "/usr/bin:/bin").env("SHELL", "/bin/sh").current_dir("/");
    terminal.args(["-q", "-e", "-c", &line, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut terminal = Ended(terminal.stderr(Stdio::null()).spawn().unwrap());
    wait_for(&ready);
    let mut keyboard = terminal.0.stdin.take().unwrap();
    keyboard.write_all(b"\x03").unwrap();
    assert_eq!(terminal.status(), Some(7));
    assert_eq!(std::fs::read_to_string(came).unwrap(), "came\n");
}

fn it_reads_what_we_are_given(scene: &Scene) {
    let copy = scene.folder.join("copied");
    let mut command = exec(scene, &[], &format!("cat > {}", copy.display()));
    let mut running = Ended(command.stdin(Stdio::piped()).spawn().unwrap());
    let text = "line\n".repeat(50_000);
    running.0.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert_eq!(running.status(), Some(0));
    assert_eq!(std::fs::read_to_string(copy).unwrap(), text);
}

/// Names that a shell, a connection string, a table or JSON could take for something else.
fn names_are_handed_on_as_they_are(scene: &Scene) {
    const NAME: &str = "ein 'böser' \"N%me\" $(touch x) \\ `x`;";
    let sql = format!("DO $$ BEGIN EXECUTE format('CREATE ROLE %I LOGIN', '{}'); END $$", NAME.replace('\'', "''"));
    scene.site.primary.query(&sql.replace("$$", "$body$"));
    scene.settle();
    let quoted = NAME.replace('\\', "\\\\").replace('\'', "\\'");
    let conninfo = scene.streaming.conninfo().replace("user=postgres", &format!("user='{quoted}'"));
    let node = format!("--node=s1={conninfo}");
    let psql = PgVersion::V15.tool("psql");
    let psql = psql.to_str().unwrap();
    let pgv = &scene.site.pgv;
    let by_exec = pgv.run("pgv-standby", &["exec", &node, "--", psql, "-XAtc", "SELECT session_user"]).success();
    assert_eq!(by_exec.stdout.trim_end(), NAME);
    let told = pgv.run("pgv-standby", &[&node, "--output", "conninfo"]).success().stdout;
    let mut by_conninfo = scene.site.primary.tool("psql");
    by_conninfo.args(["-XAtc", "SELECT session_user", "-d", told.trim_end_matches('\n')]);
    assert_eq!(run(by_conninfo).success().stdout.trim_end(), NAME);
    let lines = pgv.run("pgv-standby", &[&node, "--output", "env"]).success().stdout;
    let mut by_shell = TestAccount::get().command("sh");
    by_shell.args(["-c", "eval \"$1\"; exec \"$2\" -XAtc 'SELECT session_user'", "sh", &lines, psql]);
    assert_eq!(run(by_shell).success().stdout.trim_end(), NAME);
}

fn it_is_stopped_when_its_node_is_late(scene: &Scene, other: &Stubborn) {
    let ready = scene.folder.join("ready-abort");
    let log = scene.folder.join("exec.log");
    let mut command = exec(
        scene,
        &["--abort-lag", "100kB", "--interval", "200ms"],
        &format!("touch {}; exec sleep 60", ready.display()),
    );
    let mut running = Ended(command.stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap());
    wait_for(&ready);
    std::thread::sleep(std::time::Duration::from_millis(600));
    assert_eq!(running.0.try_wait().unwrap(), None, "nothing is missing yet");
    scene.streaming.query("SELECT pg_wal_replay_pause()");
    scene.write(300);
    assert_eq!(running.status(), Some(124));
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("\"sh\" was stopped: node \"s1\" lags by"), "{log}");
    let others_log = || std::fs::read_to_string(&other.log).unwrap();
    wait_until("the other one was told, too", PATIENCE, || others_log().contains("the command is told to end"));
    scene.streaming.query("SELECT pg_wal_replay_resume()");
    scene.settle();
}

/// A command that sleeps while its node is watched, and what was said meanwhile.
pub(crate) struct Watched {
    pub(crate) running: Ended,
    log: PathBuf,
}

impl Watched {
    pub(crate) fn start(scene: &Scene, name: &str) -> Self {
        let (ready, log) = (scene.folder.join(format!("ready-{name}")), scene.folder.join(format!("{name}.log")));
        let script = format!("touch {}; exec sleep 60", ready.display());
        let mut command = exec(scene, &["--abort-lag", "1GB", "--interval", "100ms"], &script);
        let running = Ended(command.stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap());
        wait_for(&ready);
        Self { running, log }
    }

    pub(crate) fn says(&self, text: &str) {
        wait_until("it is said", PATIENCE, || std::fs::read_to_string(&self.log).unwrap().contains(text));
    }

    /// It runs until it is told to end.
    pub(crate) fn goes_on(mut self) {
        assert_eq!(self.running.0.try_wait().unwrap(), None);
        self.running.send(Signal::TERM);
        assert_eq!(self.running.status(), Some(143));
    }
}

/// A command that takes no SIGTERM, and is killed ten seconds later.
pub(crate) struct Stubborn {
    running: Ended,
    leader: PathBuf,
    log: PathBuf,
}

impl Stubborn {
    fn start(scene: &Scene) -> Self {
        let (leader, log) = (scene.folder.join("stubborn"), scene.folder.join("stubborn.log"));
        let script = format!("trap '' TERM; echo $$ > {0}.new && mv {0}.new {0}; sleep 61 | cat", leader.display());
        let options = ["--abort-lag", "100kB", "--interval", "200ms"];
        let mut command = without_terminal(&exec(scene, &options, &script));
        let running = Ended(command.stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap());
        wait_for(&leader);
        Self { running, leader, log }
    }

    pub(crate) fn was_killed(mut self) {
        assert_eq!(self.running.status(), Some(124));
        let log = std::fs::read_to_string(&self.log).unwrap();
        assert!(log.contains("did not end within 10 s of SIGTERM, and is killed"), "{log}");
        assert!(log.contains("\"sh\" was stopped: node \"s1\" lags by"), "{log}");
        wait_until("nothing of it runs", PATIENCE, || !is_group(&self.leader));
    }
}
