//! `pgv-restore --start`: the server is started, its recovery watched to the end and compared with the proof.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::restore_places::{debian_site, paste};
use crate::support::{
    Ledger, Outcome, PgVersion, Settled, Site, TestAccount, TestCluster, TestFolder, program, run, wait_until,
};

const VERSION: PgVersion = PgVersion::V15;
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that pgv-restore may have started; ended when this goes.
struct Copy {
    version: PgVersion,
    data: PathBuf,
}

impl Copy {
    fn at(site: &Site, data: PathBuf) -> Self {
        Self { version: site.primary.version, data }
    }

    /// Restores and starts, with the answer as JSON.
    #[track_caller]
    fn restore(&self, site: &Site, options: &[&str]) -> Outcome {
        let folder = self.version.tool("pg_ctl").parent().unwrap().display().to_string();
        let always = ["--start", "--pg-bindir", &folder, "--output", "json"];
        site.restore(&self.data, &[&always, options].concat())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(format!("{}.log", self.data.display())).unwrap_or_default()
    }

    fn runs(&self) -> bool {
        self.data.join("postmaster.pid").exists()
    }

    /// What it answers at the place that the report names.
    #[track_caller]
    fn query(&self, report: &Value, sql: &str) -> String {
        let mut psql = TestAccount::get().command(self.version.tool("psql"));
        psql.env_clear().current_dir("/").args(["-X", "-A", "-t", "-q", "-d", "postgres", "-U", "postgres", "-c", sql]);
        psql.arg("-h").arg(report["start"]["socket_directory"].as_str().unwrap());
        psql.args(["-p", &report["start"]["port"].to_string()]);
        run(psql).success().stdout.trim_end().to_owned()
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let mut stop = TestAccount::get().command(self.version.tool("pg_ctl"));
        stop.env_clear().current_dir("/").arg("-D").arg(&self.data).args(["-m", "immediate", "-w", "stop"]);
        run(stop);
    }
}

#[track_caller]
fn report_of(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}\n{outcome}"))
}

/// The descriptions of the next steps.
fn steps(report: &Value) -> Vec<&str> {
    report["next_steps"].as_array().unwrap().iter().map(|step| step["what"].as_str().unwrap()).collect()
}

#[track_caller]
fn assert_as_proven(report: &Value, settled: &str) {
    let start = &report["start"];
    assert_eq!(start["settled"], settled, "{start}");
    assert_eq!(start["comparison"], "as_proven", "{start}");
    assert_eq!(start["difference_bytes"], 0, "{start}");
    assert_eq!(start["replayed_lsn"], report["proof"]["last_record"]["end_lsn"], "{report}");
}

/// While the original runs, at its port: a copy paused at a time, one opened at the latest.
fn beside_its_original(version: PgVersion) {
    let folder = TestFolder::new("start");
    let site = Site::new(version, &folder);
    let (ledger, middle) = site.with_history();

    let paused = Copy::at(&site, folder.join("it's paused"));
    let restored = paused.restore(&site, &["--target-time", &middle.text]).success();
    let report = report_of(&restored);
    assert_as_proven(&report, "paused");
    let line = restored.stderr.lines().find(|line| line.contains("replaying: ")).unwrap_or_default();
    assert!(line.contains("; at 0/"), "{restored}");
    assert_ne!(report["start"]["port"], Value::from(site.primary.port));
    let count = "SELECT count(*) FROM ledger";
    assert_eq!(paused.query(&report, count), ledger.until(&middle).len().to_string());
    assert_eq!(paused.query(&report, "SELECT pg_is_wal_replay_paused()"), "t");
    assert!(!steps(&report).iter().any(|step| step.starts_with("Start it")), "{report}");
    let open = report["next_steps"]
        .as_array()
        .unwrap()
        .iter()
        .find(|step| step["what"].as_str().unwrap().starts_with("Right?"));
    paste(version, open.unwrap()["command"].as_str().unwrap()).success();
    wait_until("it has opened", PATIENCE, || paused.query(&report, "SELECT pg_is_in_recovery()") == "f");

    let latest = Copy::at(&site, folder.join("latest"));
    let report = report_of(&latest.restore(&site, &[]).success());
    assert_as_proven(&report, "opened");
    assert_eq!(latest.query(&report, count), ledger.all().len().to_string());
    assert_eq!(latest.query(&report, "SELECT pg_is_in_recovery()"), "f");
    assert!(!steps(&report).iter().any(|step| step.starts_with("Wait until")), "{report}");
}

#[test]
fn a_copy_of_postgresql_15_ends_where_the_proof_says() {
    beside_its_original(PgVersion::V15);
}

#[test]
fn a_copy_of_postgresql_17_ends_where_the_proof_says() {
    beside_its_original(PgVersion::V17);
}

#[test]
#[ignore = "slow tier: scripts/test --all"]
fn a_copy_of_every_other_version_ends_where_the_proof_says() {
    [PgVersion::V13, PgVersion::V14, PgVersion::V16, PgVersion::V18].into_iter().for_each(beside_its_original);
}

#[test]
fn the_end_of_the_backup_a_stop_and_a_standby_are_ends_too() {
    let folder = TestFolder::new("start-ends");
    let site = Site::new(VERSION, &folder);
    let (ledger, middle) = site.with_history();
    let count = "SELECT count(*) FROM ledger";

    let immediate = Copy::at(&site, folder.join("immediate"));
    let report = report_of(&immediate.restore(&site, &["--target-immediate"]).success());
    assert_eq!((&report["start"]["settled"], &report["start"]["comparison"]), (&"paused".into(), &"as_proven".into()));
    assert_eq!(report["start"]["replayed_lsn"], report["backup_stop_lsn"]);
    assert_eq!(immediate.query(&report, count), "3");

    let stopped = Copy::at(&site, folder.join("stopped"));
    let options = ["--target-time", &middle.text, "--target-action", "shutdown"];
    let report = report_of(&stopped.restore(&site, &options).success());
    assert_eq!(report["start"]["settled"], "shut_down");
    let comparison = report["start"]["comparison"].as_str().unwrap();
    assert!(["as_proven", "stopped_at_target"].contains(&comparison), "{report}");
    assert!(!stopped.runs() && steps(&report)[0].starts_with("It stops at the target"), "{report}");
    paste(VERSION, report["next_steps"][0]["command"].as_str().unwrap()).success();
    wait_until("it has opened", PATIENCE, || stopped.query(&report, "SELECT pg_is_in_recovery()") == "f");
    assert_eq!(stopped.query(&report, count), ledger.until(&middle).len().to_string());

    let standby = Copy::at(&site, folder.join("standby"));
    let conninfo = site.primary.conninfo();
    let report = report_of(&standby.restore(&site, &["--standby", "--primary-conninfo", &conninfo]).success());
    assert_eq!((&report["start"]["settled"], &report["start"]["comparison"]), (&"follows".into(), &"as_proven".into()));
    wait_until("it has followed", PATIENCE, || standby.query(&report, count) == ledger.all().len().to_string());

    let unproven = Copy::at(&site, folder.join("unproven"));
    let folder = VERSION.tool("pg_ctl").parent().unwrap().display().to_string();
    let restored = site.restore(&unproven.data, &["--start", "--no-prove", "--pg-bindir", &folder]).success();
    assert!(restored.stdout.contains("compared: nothing, since nothing was proven"), "{restored}");
    assert!(restored.stdout.contains("ended at ") && restored.stdout.contains("open for writing"), "{restored}");
}

/// ALTER SYSTEM leads a copy to files of its original as a line of postgresql.conf does.
#[test]
fn a_copy_leaves_the_pid_file_and_the_log_of_its_original_alone() {
    let folder = TestFolder::new("start-system");
    let mut site = Site::new(VERSION, &folder);
    let pid_file = folder.join("external.pid");
    for (name, value) in [("external_pid_file", pid_file.to_str().unwrap()), ("log_directory", "../log")] {
        site.primary.query(&format!("ALTER SYSTEM SET {name} = '{value}'"));
    }
    site.primary.stop();
    site.primary.start();
    let of_original = || std::fs::read_to_string(&pid_file).unwrap_or_default();
    let pid = of_original();
    assert!(!pid.is_empty());
    let (ledger, _) = site.with_history();

    let copy = Copy::at(&site, folder.join("copy"));
    let report = report_of(&copy.restore(&site, &[]).success());
    assert_as_proven(&report, "opened");
    assert_eq!(copy.query(&report, "SELECT count(*) FROM ledger"), ledger.all().len().to_string());
    assert_eq!(of_original(), pid, "{report}");
    assert!(copy.data.join("external.pid").exists());
    assert_eq!(copy.query(&report, "SHOW log_directory"), "log");
    let risky = report["configuration"]["risky"].as_array().unwrap();
    assert!(risky.iter().any(|one| one["name"] == "log_directory" && one["value"] == "../log"), "{report}");
    let data = copy.data.clone();
    drop(copy);
    assert_eq!(of_original(), pid, "it went with the copy");
    // Started by whoever knows nothing of the command that was printed.
    let mut bare = TestCluster::at(VERSION, &folder, "bare", &data);
    bare.start();
    assert_eq!(bare.query("SHOW external_pid_file"), data.join("external.pid").to_str().unwrap());
    bare.kill();
    assert_eq!(of_original(), pid, "a bare start took it");
    let listed = risky.iter().find(|one| one["name"] == "external_pid_file");
    assert_eq!(listed.map(|one| &one["value"]), Some(&pid_file.to_str().unwrap().into()), "{report}");
}

/// `pg_ctl` hands the data directory and the log to a shell in double quotes.
#[test]
fn a_directory_whose_name_a_shell_would_read_is_started_and_restarted() {
    let folder = TestFolder::new("start-name");
    let site = Site::new(VERSION, &folder);
    let (ledger, _) = site.with_history();
    let count = ledger.all().len().to_string();

    let started = Copy::at(&site, folder.join(r#"a $HOME `id` "q" \b"#));
    let report = report_of(&started.restore(&site, &[]).success());
    assert_as_proven(&report, "opened");
    assert_eq!(started.query(&report, "SELECT count(*) FROM ledger"), count);
    assert!(!started.log().is_empty());

    let pasted = Copy::at(&site, folder.join(r#"p $(id) "q" \\b"#));
    let report = report_of(&site.restore(&pasted.data, &["--output", "json"]).success());
    let steps = report["next_steps"].as_array().unwrap();
    let command = |what: &str| {
        let step = steps.iter().find(|step| step["what"].as_str().unwrap().starts_with(what));
        step.unwrap_or_else(|| panic!("{report}"))["command"].as_str().unwrap().to_owned()
    };
    paste(VERSION, &command("Start it")).success();
    assert!(pasted.runs() && !pasted.log().is_empty());
    paste(VERSION, &command("To restart it")).success();
    assert!(pasted.runs());
}

/// A process that lives while this does.
struct Alive(std::process::Child);

impl Drop for Alive {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server that was killed leaves the lock of its socket, and its process number may be somebody else's by now. The copy
/// goes to another port, and ends at the commit whose position is asked for.
#[test]
fn the_lock_of_a_socket_that_was_left_is_a_port_that_is_taken() {
    let folder = TestFolder::new("start-lock");
    let mut site = Site::new(VERSION, &folder);
    let (ledger, middle) = site.with_history();
    site.primary.stop();
    let mut sleep = TestAccount::get().command_that_dies_with_us("KILL", "sleep");
    let other = Alive(sleep.arg("600").spawn().unwrap());
    let lock = site.primary.socket_folder.join(format!(".s.PGSQL.{}.lock", site.primary.port));
    std::fs::write(&lock, format!("{}\n/elsewhere\n", other.0.id())).unwrap();

    let point = site.pgv.run("pgv", &["target", "--target-time", &middle.text, "--output", "json"]).success();
    let point = report_of(&point)["point"].clone();
    let lsn = point["proof"]["commit_before"]["lsn"].as_str().unwrap().to_owned();
    let copy = Copy::at(&site, folder.join("copy"));
    let restored = copy.restore(&site, &["--target-lsn", &lsn]).success();
    let report = report_of(&restored);
    assert_as_proven(&report, "paused");
    assert!(restored.stderr.contains("looking for another one"), "{restored}");
    assert_ne!(report["start"]["port"], Value::from(site.primary.port));
    assert_eq!(copy.query(&report, "SELECT count(*) FROM ledger"), ledger.until(&middle).len().to_string());
    // PostgreSQL does not count the record at an inclusive position among those that were replayed.
    let time = |text: &Value| -> jiff::Timestamp { text.as_str().unwrap().parse().unwrap() };
    let (proven, told) = (&report["proof"]["commit_before"]["time"], &report["start"]["last_transaction_time"]);
    assert_eq!(time(told), time(proven), "{report}");
}

#[test]
fn without_a_server_of_that_version_nothing_is_touched() {
    let folder = TestFolder::new("start-none");
    let site = Site::new(VERSION, &folder);
    site.with_history();
    let (data, empty) = (folder.join("copy"), folder.make("empty"));
    let empty = empty.to_str().unwrap();
    let refused = site.restore(&data, &["--start", "--pg-bindir", empty]).expect_code(3);
    assert!(refused.stderr.contains("no programs of PostgreSQL 15 are found in"), "{refused}");
    assert!(!data.exists());
    let planned = site.restore(&data, &["--start", "--dry-run"]).success();
    assert!(planned.stdout.contains("  start       the server is started at port "), "{planned}");
    assert!(!data.exists());
    site.restore(&data, &["--start-timeout", "5s"]).expect_code(2);
}

/// The programs of a version, whose pg_ctl starts servers with fewer connections than any configuration says.
fn with_few_connections(version: PgVersion, folder: &TestFolder) -> PathBuf {
    let programs = folder.make("programs");
    let real = version.tool("pg_ctl").parent().unwrap().display().to_string();
    std::os::unix::fs::symlink(format!("{real}/postgres"), programs.join("postgres")).unwrap();
    let script = format!("#!/bin/sh\nexec {real}/pg_ctl \"$@\" -o '-c max_connections=30'\n");
    let pg_ctl = folder.write("programs/pg_ctl", script);
    std::fs::set_permissions(&pg_ctl, std::fs::Permissions::from_mode(0o700)).unwrap();
    programs
}

/// The rows that a server with more connections wrote, and a copy with the fewer of the backup: 13 ends, 14 and later
/// pause (contract A3.10).
fn with_too_few_connections(version: PgVersion) {
    let folder = TestFolder::new(&format!("start-few-{}", version.number()));
    let mut site = Site::new(version, &folder);
    let (mut ledger, _) = site.with_history();
    site.primary.configure(&["max_connections = 60"]);
    site.primary.stop();
    site.primary.start();
    ledger.commit_many(&site.primary, 2);
    site.primary.archive_all();
    let copy = Copy::at(&site, folder.join("copy"));
    let programs = with_few_connections(version, &folder);
    let options = ["--start", "--pg-bindir", programs.to_str().unwrap(), "--output", "json"];
    let restored = site.restore(&copy.data, &options);
    let report = report_of(&restored);
    let hint = "hint: Raise the settings that the log names";
    let words: &[&str] = if version == PgVersion::V13 {
        assert_eq!((restored.code(), copy.runs()), (4, false), "{restored}");
        assert!(report["start"]["settled"].is_null(), "{report}");
        assert!(steps(&report)[0].starts_with("Start it"), "{report}");
        &["ended before it had recovered", "max_connections = ", "is a lower setting than on the ", hint]
    } else {
        assert_eq!((restored.code(), copy.runs()), (5, true), "{restored}");
        assert_eq!((&report["start"]["settled"], &report["start"]["comparison"]), (&"paused".into(), &"short".into()));
        &["error: recovery ended at ", "insufficient parameter settings", "do not put it to use", hint]
    };
    for words in words {
        assert!(restored.stderr.contains(words), "{version:?}: no {words:?}\n{restored}");
    }
    drop(copy);

    // What the hint says helps: with the original's value everything is there.
    let helped = Copy::at(&site, folder.join("helped"));
    site.restore(&helped.data, &[]).success();
    let text = std::fs::read_to_string(helped.data.join("postgresql.conf")).unwrap();
    std::fs::write(helped.data.join("postgresql.conf"), text + "\nmax_connections = 60\n").unwrap();
    let mut server = TestCluster::at(version, &folder, "helped-s", &helped.data);
    assert_eq!(server.start_and_settle(), Settled::Open, "log:\n{}", server.log());
    Ledger::assert(&server, &ledger.all());
}

#[test]
fn a_setting_that_is_too_low_ends_13_and_is_told() {
    with_too_few_connections(PgVersion::V13);
}

#[test]
#[ignore = "slow tier: scripts/test --all"]
fn a_setting_that_is_too_low_pauses_later_versions_and_is_told() {
    [PgVersion::V14, PgVersion::V16, PgVersion::V17, PgVersion::V18].into_iter().for_each(with_too_few_connections);
}

/// Makes a German locale below `folder`, for programs that find it by LOCPATH.
fn german(folder: &TestFolder) -> PathBuf {
    let place = folder.make("locales");
    let mut localedef = TestAccount::get().command("localedef");
    run({
        localedef.args(["-i", "de_DE", "-f", "UTF-8"]).arg(place.join("de_DE.UTF-8"));
        localedef
    })
    .success();
    place
}

/// A server with more connections than its backup had: a copy with the configuration of the backup cannot replay that.
/// Its log says so in the language of the configuration, unless --start asks for another.
#[test]
fn recovery_that_ends_short_of_the_proof_is_damage_in_every_language() {
    let folder = TestFolder::new("start-short");
    let mut site = Site::new(VERSION, &folder);
    let locales = german(&folder);
    site.primary.configure(&["lc_messages = 'de_DE.UTF-8'"]);
    let (mut ledger, _) = site.with_history();
    site.primary.configure(&["max_connections = 60", "lc_messages = 'C'"]);
    site.primary.stop();
    site.primary.start();
    ledger.commit_many(&site.primary, 2);
    site.primary.archive_all();

    // Without --start the copy speaks German, so that this would see a change.
    let silent = folder.join("silent");
    site.restore(&silent, &[]).success();
    let mut postgres = TestAccount::get().command(VERSION.tool("postgres"));
    postgres.env_clear().env("LOCPATH", &locales).current_dir("/").arg("-D").arg(&silent);
    postgres.args(["-c", "shared_preload_libraries=none"]);
    run(postgres).expect_stderr("konnte nicht auf Datei");

    let copy = Copy::at(&site, folder.join("copy"));
    let programs = with_few_connections(VERSION, &folder);
    let options = ["--start", "--pg-bindir", programs.to_str().unwrap(), "--output", "json", "-D"];
    let mut command = site.pgv.command("pgv-restore", &options);
    command.arg(&copy.data).env("LOCPATH", &locales);
    let restored = run(command).expect_code(5);
    let report = report_of(&restored);
    assert_eq!((&report["start"]["settled"], &report["start"]["comparison"]), (&"paused".into(), &"short".into()));
    assert!(report["start"]["difference_bytes"].as_u64().unwrap() > 0);
    for words in [
        "error: recovery ended at ",
        " before ",
        "where it must end: the commits after ",
        " are missing",
        "hint: Raise the settings that the log names",
        "do not put it to use",
        "insufficient parameter settings",
    ] {
        assert!(restored.stderr.contains(words), "no {words:?}\n{restored}");
    }
    assert!(copy.runs(), "it was ended\n{}", copy.log());
}

/// Errors on a terminal, by util-linux's script; without one they never are.
#[test]
fn an_error_is_red_on_a_terminal_only() {
    let shown = |variable: &str, redirection: &str| {
        let line = format!("'{}' -D /none --config /none/pgv.toml {redirection}", program("pgv-restore").display());
        let mut script = TestAccount::get().command("script");
        script.env_clear().env("PATH", "/usr/bin:/bin").env("TERM", "xterm").current_dir("/");
        if let Some((name, value)) = variable.split_once('=') {
            script.env(name, value);
        }
        run({
            script.args(["-q", "-e", "-c", &line, "/dev/null"]);
            script
        })
        .stdout
    };
    assert!(shown("", "").contains("\x1b[1;31mpgv-restore: error: "), "{}", shown("", ""));
    for (variable, redirection) in [("NO_COLOR=1", ""), ("TERM=dumb", ""), ("", "2>&1 | cat")] {
        let text = shown(variable, redirection);
        assert!(text.contains("pgv-restore: error: ") && !text.contains('\x1b'), "{variable}: {text:?}");
    }
}

/// A folder with our programs, in which this stands for pgv-fetch; `$1` is the file, `$real` the real pgv-fetch.
fn with_fetch(site: &Site, folder: &TestFolder, name: &str, script: &str) -> PathBuf {
    let programs = folder.make(name);
    for program_name in ["pgv-restore", "pgv-recovery-conf"] {
        std::fs::copy(program(program_name), programs.join(program_name)).unwrap();
    }
    let (real, config) = (program("pgv-fetch"), site.pgv.config.display());
    let text = format!(
        "#!/bin/sh\nfor path; do file=\"$last\"; last=\"$path\"; done\nreal() {{ exec '{}' --config '{config}' \"$file\" \"$last\"; }}\n{script}\nreal\n",
        real.display()
    );
    let fetch = folder.write(format!("{name}/pgv-fetch"), &text);
    std::fs::set_permissions(&fetch, std::fs::Permissions::from_mode(0o755)).unwrap();
    programs
}

impl Copy {
    /// `pgv-restore --start` with the programs in a folder, by way of other words before it.
    #[track_caller]
    fn restore_by(&self, site: &Site, words: &[&str], programs: &std::path::Path, options: &[&str]) -> Outcome {
        let program = programs.join("pgv-restore").display().to_string();
        let words = [words, &[&program]].concat();
        let mut command = TestAccount::get().command(words[0]);
        command.env_clear().env("PATH", "/usr/bin:/bin").current_dir("/").args(&words[1..]);
        command.arg("--config").arg(&site.pgv.config).arg("-D").arg(&self.data).args(["--start", "--output", "json"]);
        command.args(options);
        run(command)
    }
}

#[test]
fn a_fetch_that_fails_on_the_way_is_told() {
    let folder = TestFolder::new("start-fetch");
    let site = Site::new(VERSION, &folder);
    let (mut ledger, _) = site.with_history();
    ledger.commit_many(&site.primary, 2);
    let segment = site.primary.archive_all();
    // What says "no such file" of a segment that was read before, and what cannot say.
    for (name, status, code, words) in [
        ("absent", 1, 5, "recovery ended before configured recovery target was reached"),
        ("failing", 215, 4, "A segment could not be fetched"),
    ] {
        let script = format!("[ \"$file\" != {segment} ] || exit {status}");
        let programs = with_fetch(&site, &folder, &format!("{name}-bin"), &script);
        let copy = Copy::at(&site, folder.join(name));
        let failed = copy.restore_by(&site, &[], &programs, &[]).expect_code(code);
        for words in [words, "ended before it had recovered", "the server's log: "] {
            assert!(failed.stderr.contains(words), "no {words:?}\n{failed}");
        }
        let report = report_of(&failed);
        assert!(report["start"]["settled"].is_null() && report["start"]["error"].is_string(), "{report}");
        assert!(!copy.runs(), "{}", copy.log());
        assert!(steps(&report)[0].starts_with("Start it"), "{report}");
    }
}

#[test]
fn who_stops_waiting_leaves_the_server_running() {
    let folder = TestFolder::new("start-wait");
    let site = Site::new(VERSION, &folder);
    let (mut ledger, _) = site.with_history();
    ledger.commit_many(&site.primary, 2);
    let segment = site.primary.archive_all();
    let script = format!("[ \"$file\" != {segment} ] || [ ! -e {0} ] || exec sleep 60", folder.path().display());
    let programs = with_fetch(&site, &folder, "slow-bin", &script);
    // To all of them, as a terminal does.
    let interrupt = "set -m; \"$@\" & sleep 8; kill -INT -- -$!; wait $!";
    for (name, words, options, code, said) in [
        ("limited", &[] as &[&str], &["--start-timeout", "3s"] as &[&str], 4, "recovery did not end within 3 s"),
        ("interrupted", &["bash", "-c", interrupt, "bash"], &[], 130, "interrupted"),
    ] {
        let copy = Copy::at(&site, folder.join(name));
        let left = copy.restore_by(&site, words, &programs, options).expect_code(code);
        for words in [said, "runs on", "To stop it: "] {
            assert!(left.stderr.contains(words), "no {words:?}\n{left}");
        }
        assert!(copy.runs(), "it was ended\n{}\n{left}", copy.log());
    }
}

#[test]
fn on_debian_the_copy_starts_with_its_own_configuration_beside_its_original() {
    let folder = TestFolder::new("start-debian");
    let (site, _) = debian_site(&folder);
    site.with_history();
    let copy = Copy::at(&site, folder.join("copy"));
    let report = report_of(&copy.restore_by(&site, &[], program("pgv-restore").parent().unwrap(), &[]).success());
    assert_as_proven(&report, "opened");
    let config = copy.query(&report, "SHOW config_file");
    assert!(std::path::Path::new(&config).starts_with(copy.data.join("pgv-config")), "{config}");
    assert_eq!(copy.query(&report, "SHOW data_directory"), copy.data.display().to_string());
    assert_ne!(report["start"]["port"], Value::from(site.primary.port));
}
