//! The commands that README.md and docs/pitr.md show, run as they stand there on a Debian host with PostgreSQL 15.
//!
//! One story from set-up to the last runbook. Directories, ports, times and the words in capitals are replaced; no
//! block of either document is left out.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::{Outcome, TestAccount, TestFolder, program, run_within, wait_until};

const LIMIT: Duration = Duration::from_secs(120);
const SERVER_PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
/// The blocks of each document in the order of the story.
const README: [&str; 5] = ["build", "setup", "restore", "shell", "by-hand"];
const RUNBOOKS: [&str; 19] = [
    "check",
    "find",
    "moment",
    "look",
    "later",
    "open",
    "start",
    "trust",
    "in-place",
    "take-over",
    "latest",
    "old-wal",
    "standby",
    "old-backup",
    "copy",
    "try",
    "mend",
    "left-over",
    "lines",
];

fn document(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The marks and texts of a document's shell blocks, in order.
fn blocks(text: &str) -> Vec<(String, String)> {
    let parts: Vec<&str> = text.split("\n```").collect();
    let inside = parts.iter().skip(1).step_by(2).filter_map(|part| part.split_once('\n'));
    let shell = inside.filter_map(|(mark, block)| Some((mark.strip_prefix("sh ")?.to_owned(), format!("{block}\n"))));
    shell.collect()
}

/// A host with Debian's cluster 15/main below a test's folder.
struct Host {
    folder: TestFolder,
    port: u16,
    copy_port: u16,
    /// What else to replace, as far as the story has come.
    words: RefCell<Vec<(String, String)>>,
}

impl Host {
    fn new() -> Self {
        // Where there is room, of which "pgv check" would warn.
        let folder = TestFolder::in_memory("documents");
        let ports = free_ports();
        for name in ["etc", "run", "srv", "var", "work", "etc/completions"] {
            folder.make(name);
        }
        if TestAccount::tests_run_as_root() {
            // as the host's own directories are
            std::os::unix::fs::chown(folder.join("srv"), Some(0), Some(0)).unwrap();
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(folder.join("srv"), std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let host = Self { folder, port: ports[0], copy_port: ports[1], words: RefCell::new(Vec::new()) };
        let create = format!(
            "pg_createcluster 15 main -D {} -s {} -l {} -p {} -o external_pid_file={} -- --auth=trust --username=postgres \
             --no-sync",
            host.data().display(),
            host.folder.join("run").display(),
            host.folder.join("log").display(),
            host.port,
            host.folder.join("pid").display(),
        );
        host.as_account(&create).success();
        host.as_account("pg_ctlcluster 15 main start").success();
        host
    }

    fn data(&self) -> PathBuf {
        self.folder.join("var/main")
    }

    /// A shell with the environment of the host: its programs and its server are found without being named.
    fn shell(&self, mut command: Command, script: &str) -> Outcome {
        let programs = program("pgv").parent().unwrap().to_owned();
        let path = format!("{}:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", programs.display());
        command.env_clear().env("PATH", path).env("LC_ALL", "C").env("TZ", "UTC").current_dir(self.folder.join("work"));
        command.env("PGHOST", self.folder.join("run")).env("PGPORT", self.port.to_string()).env("PGUSER", "postgres");
        command.env("PGV_CONFIG", self.folder.join("etc/pgv/pgv.toml"));
        command.env("PG_CLUSTER_CONF_ROOT", self.folder.join("etc"));
        command.args(["-eu", "-o", "pipefail", "-c", script]);
        run_within(LIMIT, command)
    }

    /// Runs it as the account of the server.
    fn as_account(&self, script: &str) -> Outcome {
        self.shell(TestAccount::get().command("bash"), script)
    }

    /// Runs a block of README.md, as root where the tests are; an ordinary user plays root otherwise.
    fn readme(&self, mark: &str) -> Outcome {
        let account = &TestAccount::get().name;
        let (owner, change) = (format!("-o {account} -g postgres"), format!("runuser -u {account} --"));
        let is_root = TestAccount::tests_run_as_root();
        let script = self.block("README.md", mark);
        let script = script.replace("-o postgres -g postgres", if is_root { &owner } else { "" });
        let script = script.replace("runuser -u postgres --", if is_root { &change } else { "" });
        self.shell(Command::new("bash"), &script).success()
    }

    /// Runs a block of the runbooks.
    fn runbook(&self, mark: &str) -> Outcome {
        self.as_account(&self.block("docs/pitr.md", mark)).success()
    }

    fn block(&self, path: &str, mark: &str) -> String {
        let found: Vec<String> =
            blocks(&document(path)).into_iter().filter(|one| one.0 == mark).map(|one| one.1).collect();
        assert!(!found.is_empty(), "{path} has no block {mark:?}");
        let below = |name: &str| self.folder.join(name).display().to_string();
        let places = [
            ("/var/lib/postgresql/15/main", below("var/main")),
            ("/var/run/postgresql", below("run")),
            ("/etc/bash_completion.d", below("etc/completions")),
            ("/etc/pgv", below("etc/pgv")),
            ("/srv", below("srv")),
            ("/usr/local/bin", program("pgv").parent().unwrap().display().to_string()),
            ("/usr/local/share", below("work")),
            ("-p 5433", format!("-p {}", self.copy_port)),
        ];
        let mut text = found.concat();
        for (shown, own) in places.iter().map(|(shown, own)| (*shown, own.clone())) {
            text = text.replace(shown, &own);
        }
        for (shown, own) in self.words.borrow().iter() {
            text = text.replace(shown, own);
        }
        text
    }

    fn learn(&self, shown: &str, own: impl Into<String>) {
        self.words.borrow_mut().insert(0, (shown.to_owned(), own.into()));
    }

    fn query_at(&self, port: u16, sql: &str) -> String {
        self.as_account(&format!("psql -XAtq -p {port} -c \"{sql}\"")).success().stdout.trim_end().to_owned()
    }

    fn query(&self, sql: &str) -> String {
        self.query_at(self.port, sql)
    }

    fn insert(&self, row: u32) {
        self.query(&format!("INSERT INTO rows VALUES ({row})"));
    }

    /// The rows of the copy's server, or of the original's.
    fn rows_at(&self, port: u16) -> String {
        self.query_at(port, "SELECT string_agg(id::text, ' ' ORDER BY id) FROM rows")
    }

    fn now(&self) -> String {
        self.query("SELECT clock_timestamp() AT TIME ZONE 'UTC' || '+00'")
    }

    /// Ends the segment; its name.
    fn switch_wal(&self) -> String {
        self.query("SELECT pg_walfile_name(pg_switch_wal())")
    }

    fn wait_for_mark(&self, segment: &str, mark: &str) {
        let path = self.data().join("pg_wal/archive_status").join(format!("{segment}.{mark}"));
        wait_until(&format!("{path:?} is there"), LIMIT, || path.exists());
    }

    /// Starts a copy by the command that pgv-restore printed, on a port of its own as the document says.
    fn start_copy(&self, restored: &Outcome) {
        let mut lines = restored.stdout.lines().map(str::trim);
        assert!(lines.any(|line| line.starts_with("1. Start it")), "{restored}");
        let start = lines.next().unwrap();
        // As root where the tests are: the command itself names the account then.
        let started = self.shell(Command::new("bash"), &format!("{start} -o '-p {}'", self.copy_port));
        if !started.status.success() {
            let logs = self.as_account(&format!("cat {}/*/main.log", self.folder.join("srv").display()));
            panic!("{started}\n{logs}");
        }
    }

    fn stop_copy(&self, directory: &str) {
        let directory = self.folder.join(directory);
        self.as_account(&format!("{SERVER_PROGRAMS}/pg_ctl -D {} stop", directory.display())).success();
    }

    fn wait_for(&self, port: u16, condition: &str) {
        wait_until(condition, LIMIT, || {
            self.as_account(&format!("psql -XAtq -p {port} -c \"SELECT {condition}\"")).stdout.trim_end() == "t"
        });
    }

    fn wait_for_pause(&self, port: u16) {
        self.wait_for(port, "pg_is_in_recovery() AND pg_get_wal_replay_pause_state() = 'paused'");
    }

    /// The ids of the listed backups, oldest first.
    fn backups(&self) -> Vec<String> {
        let text = self.as_account("pgv info --cluster main --output json").success().stdout;
        let report: serde_json::Value = serde_json::from_str(&text).unwrap();
        let backups = report["clusters"][0]["trees"][0]["backups"].as_array().unwrap();
        backups.iter().map(|backup| backup["id"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for name in ["main", "restored", "latest", "rescued", "standby", "started"] {
            let name = if name == "main" { "var/main".to_owned() } else { format!("srv/{name}/main") };
            let directory = self.folder.join(name);
            if directory.join("postmaster.pid").exists() {
                let mut stop = TestAccount::get().command(format!("{SERVER_PROGRAMS}/pg_ctl"));
                stop.arg("-D").arg(&directory).args(["-m", "immediate", "stop"]).current_dir("/");
                run_within(LIMIT, stop);
            }
        }
    }
}

/// Two ports that nobody listens on; only the names of sockets depend on them, for nothing listens on TCP but the
/// loopback address.
fn free_ports() -> [u16; 2] {
    let listeners = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

#[test]
fn no_shown_block_is_left_out() {
    for (path, known) in [("README.md", README.as_slice()), ("docs/pitr.md", RUNBOOKS.as_slice())] {
        let text = document(path);
        let mut marks: Vec<String> = blocks(&text).into_iter().map(|(mark, _)| mark).collect();
        marks.dedup();
        assert_eq!(marks, known, "{path}");
        assert_eq!(
            text.matches("```").count(),
            2 * blocks(&text).len(),
            "{path} has a block that is not marked \"sh NAME\""
        );
    }
}

#[test]
fn every_shown_command_does_what_the_documents_say() {
    let host = Host::new();
    host.readme("setup");
    assert_eq!(host.query("SHOW archive_mode"), "on");
    host.query("CREATE TABLE rows (id int)");
    host.insert(1);
    let moment = host.now();
    host.insert(2);
    let later = host.now();
    host.insert(3);
    let segment = host.switch_wal();
    host.wait_for_mark(&segment, "done");
    host.learn("2026-11-20 14:30:00+00", moment);
    host.learn("2026-11-20 14:35:00+00", later);
    host.learn("SYSTEM_ID", host.query("SELECT system_identifier FROM pg_control_system()"));

    let restored = host.readme("restore");
    host.start_copy(&restored);
    host.wait_for_pause(host.copy_port);
    assert_eq!(host.rows_at(host.copy_port), "1");
    host.stop_copy("srv/restored/main");
    host.readme("shell");
    assert!(host.folder.join("work/man/man1/pgv-restore.1").exists());
    let first = host.backups();
    host.learn("BACKUP_ID", first[0].clone());
    let by_hand = host.readme("by-hand");
    assert!(by_hand.stdout.contains("\"start_lsn\""), "{by_hand}");
    assert_eq!(std::fs::metadata(host.folder.join("work/segment")).unwrap().len(), 16 << 20);

    another_moment(&host, &segment);
    in_place_and_taking_over(&host);
    the_latest_and_a_standby(&host);
    mending(&host, &first[0]);
    cron(&host);
}

/// The indented line of README.md that begins so, without its indentation.
#[track_caller]
fn indented_line(beginning: &str) -> String {
    let text = document("README.md");
    let line = text.lines().find_map(|line| line.strip_prefix("    ").filter(|line| line.starts_with(beginning)));
    line.unwrap_or_else(|| panic!("README.md has no line {beginning:?}")).to_owned()
}

/// The schedule, account and command of a line for /etc/cron.d.
#[track_caller]
fn cron_line(line: &str) -> (String, String) {
    let mut rest = line;
    let mut next = || {
        let (word, left) = rest.split_once(char::is_whitespace).unwrap_or_else(|| panic!("too short: {line:?}"));
        rest = left.trim_start();
        word.to_owned()
    };
    for (what, low, high) in [("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7)] {
        let field = next();
        let number: Option<u32> = field.parse().ok();
        assert!(field == "*" || number.is_some_and(|number| (low..=high).contains(&number)), "{what}: {field:?}");
    }
    let account = next();
    // cron makes a line break of it, and hands over what follows.
    assert!(!rest.contains('%'), "{line:?}");
    (account, rest.to_owned())
}

/// The line for cron, as cron runs it: as the account, by a shell, with next to nothing in the environment.
fn cron(host: &Host) {
    let (account, command) = cron_line(&indented_line("30 2 "));
    assert_eq!(account, "postgres");
    assert!(command.starts_with("/usr/local/bin/pgv-basebackup "), "{command}");
    let command = command.replace("/usr/local/bin", program("pgv").parent().unwrap().to_str().unwrap());
    // A checkpoint that is spread waits for what is dirty.
    host.query("CHECKPOINT");
    let before = host.backups().len();
    let mut sh = TestAccount::get().command("/bin/sh");
    sh.env_clear().env("PATH", "/usr/bin:/bin").env("SHELL", "/bin/sh").env("LOGNAME", &TestAccount::get().name);
    // For the default place, and the role of the test's server.
    sh.env("PGV_CONFIG", host.folder.join("etc/pgv/pgv.toml")).env("PGUSER", "postgres");
    sh.env("PGHOST", host.folder.join("run")).env("PGPORT", host.port.to_string());
    sh.current_dir("/").args(["-c", &command]);
    let ended = run_within(LIMIT, sh).success();
    assert_eq!(ended.stderr, "", "cron would mail it every time");
    assert_eq!(host.backups().len(), before + 1);
}

/// The commands that build are not run here, since that takes minutes; they must at least be those of the scripts, for
/// the toolchain that the repository names.
#[test]
fn the_build_lines_are_those_of_the_scripts() {
    let readme = document("README.md");
    let build: Vec<String> = blocks(&readme).into_iter().filter(|(mark, _)| mark == "build").map(|one| one.1).collect();
    assert_eq!(build, ["cargo install --locked --path . --root /usr/local\n"]);
    let manifest = document("Cargo.toml");
    let value = |text: &str, key: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(&format!("{key} = "))).map(str::to_owned);
        line.unwrap_or_else(|| panic!("no {key}")).trim_matches('"').to_owned()
    };
    let (channel, least) = (value(&document("rust-toolchain.toml"), "channel"), value(&manifest, "rust-version"));
    assert!(readme.contains(&format!("{channel}; the least that works is {least}")), "{channel}, {least}");
    // All binaries of the package are installed: the seven of src/bin.
    let programs = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin")).unwrap().count();
    assert_eq!(programs, 7);

    let musl = indented_line("cargo build ");
    let target = musl.split_once(" --target ").expect("a target").1.to_owned();
    assert!(indented_line("apt-get install musl-tools").ends_with(&format!("rustup target add {target}")));
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
    let bench = document("scripts/bench");
    let bench = bench.lines().map(str::trim).find(|line| line.starts_with("cargo build")).unwrap();
    let shown = words(musl.split_once(" --target ").unwrap().0);
    assert!(shown.is_subset(&words(bench)), "{shown:?} is not {bench:?}");
}

#[test]
fn a_line_that_cron_would_refuse_is_seen() {
    let parse = |line: &str| std::panic::catch_unwind(|| cron_line(line)).is_ok();
    assert!(parse("30 2 * * 0  postgres  /usr/local/bin/x --y"));
    for line in [
        "60 2 * * 0 postgres x y",
        "30 24 * * 0 postgres x y",
        "30 2 * * 0",
        "30 2 * * 8 postgres x y",
        "0 0 * * 0 postgres date +%s x",
    ] {
        assert!(!parse(line), "{line}");
    }
}

fn another_moment(host: &Host, segment: &str) {
    let checked = host.runbook("check");
    assert!(checked.stdout.contains(segment) && checked.stdout.contains("\"schema_version\": 1"), "{checked}");
    let found = host.runbook("find");
    for words in
        ["to stop before it", "--target-xid ", "nothing was removed", "  stops       before the commit of transaction"]
    {
        assert!(found.stdout.contains(words), "no {words:?}\n{found}");
    }
    std::fs::remove_dir_all(host.folder.join("srv/restored/main")).unwrap();
    let restored = host.runbook("moment");
    host.start_copy(&restored);
    host.wait_for_pause(host.copy_port);
    assert!(host.runbook("look").stdout.contains("paused"));
    assert_eq!(host.rows_at(host.copy_port), "1");
    host.runbook("later");
    host.start_copy(&restored);
    host.wait_for_pause(host.copy_port);
    assert_eq!(host.rows_at(host.copy_port), "1 2");
    host.runbook("open");
    host.query_at(host.copy_port, "INSERT INTO rows VALUES (100)");
    assert_eq!(host.query_at(host.copy_port, "SHOW archive_mode"), "off");
    host.stop_copy("srv/restored/main");
    let started = host.runbook("start");
    assert!(started.stdout.contains("compared: it ended exactly where the proof says"), "{started}");
    host.stop_copy("srv/restored/checked");
}

fn in_place_and_taking_over(host: &Host) {
    host.runbook("in-place");
    host.wait_for_pause(host.port);
    assert_eq!(host.rows_at(host.port), "1");
    host.runbook("take-over");
    assert_eq!(host.query("SHOW archive_mode"), "on");
    assert_eq!(host.backups().len(), 2);
    host.insert(4);
}

fn the_latest_and_a_standby(host: &Host) {
    let command = host.query("SHOW archive_command");
    let set = |command: &str| {
        host.query(&format!("ALTER SYSTEM SET archive_command = '{command}'"));
        host.query("SELECT pg_reload_conf()");
        host.wait_for(host.port, &format!("current_setting('archive_command') = '{command}'"));
    };
    for name in ["srv/latest", "srv/rescued", "srv/standby", "srv/try"] {
        host.folder.make(name);
    }
    let segment = host.switch_wal();
    host.wait_for_mark(&segment, "done");
    let restored = host.runbook("latest");
    host.start_copy(&restored);
    host.wait_for(host.copy_port, "NOT pg_is_in_recovery()");
    assert_eq!(host.rows_at(host.copy_port), "1 4");
    host.stop_copy("srv/latest/main");

    set("false");
    host.insert(5);
    host.as_account("pg_ctlcluster 15 main stop -m immediate").success();
    let again = format!("pgv-restore -D {}", host.folder.join("srv/latest/again").display());
    let refused = host.as_account(&again).expect_code(3);
    assert!(refused.stderr.contains("1 commit after the end of the archive"), "{refused}");
    let restored = host.runbook("old-wal");
    host.start_copy(&restored);
    host.wait_for(host.copy_port, "NOT pg_is_in_recovery()");
    assert_eq!(host.rows_at(host.copy_port), "1 4 5");
    host.stop_copy("srv/rescued/main");

    host.as_account("pg_ctlcluster 15 main start").success();
    set(&command);
    let restored = host.runbook("standby");
    host.start_copy(&restored);
    host.insert(6);
    host.wait_for(host.copy_port, "pg_is_in_recovery() AND EXISTS (SELECT FROM rows WHERE id = 6)");
    host.stop_copy("srv/standby/main");
}

fn mending(host: &Host, first_backup: &str) {
    host.runbook("old-backup");
    let left = host.backups();
    assert!(left.len() == 1 && left[0] != first_backup, "{left:?}");

    assert!(host.runbook("copy").stdout.contains("[cluster.copy]"));

    let segment = host.switch_wal();
    host.wait_for_mark(&segment, "done");
    host.learn("TIMELINE", &segment[..8]);
    host.learn("FOLDER", &segment[..16]);
    host.learn("SEGMENT", segment.clone());
    let (fetched, wal) = (host.folder.join("srv/try").join(&segment), host.data().join("pg_wal").join(&segment));
    host.runbook("try");
    assert!(std::fs::read(&fetched).unwrap() == std::fs::read(&wal).unwrap());
    std::fs::remove_file(&fetched).unwrap();
    let tree = host.folder.join("srv/pgv/main").join(host.query("SELECT system_identifier FROM pg_control_system()"));
    let object = tree.join("wal").join(&segment[..8]).join(&segment[..16]).join(&segment);
    let mut bytes = std::fs::read(&object).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&object, bytes).unwrap();
    host.as_account(&host.block("docs/pitr.md", "try")).expect_code(120);
    host.runbook("mend");
    host.runbook("try");
    assert!(std::fs::read(&fetched).unwrap() == std::fs::read(&wal).unwrap());

    let copy = host.folder.join("srv/restored/main");
    let left_over = format!("echo \"recovery_target = 'immediate'\" >>{}/postgresql.auto.conf", copy.display());
    host.as_account(&left_over).success();
    host.runbook("left-over");
    let auto = std::fs::read_to_string(copy.join("postgresql.auto.conf")).unwrap();
    assert!(!auto.contains("recovery_target"), "{auto}");
    assert!(host.runbook("lines").stdout.contains("recovery_target_time = '"));
}
