//! `pgv-standby` with a primary and three standbys: one streams, one is cascaded, one follows the archive alone.
//!
//! One set of servers walks through the situations; each has its expected choice, and a reason for every other node.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::standby_commands::{self, Watched};
use crate::support::{Outcome, PgVersion, Site, TestAccount, TestCluster, TestFolder, program, run, wait_until};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const PASSWORD: &str = "canary-Rk73-password";

/// The servers of one cluster.
pub(crate) struct Scene {
    pub(crate) folder: TestFolder,
    pub(crate) site: Site,
    pub(crate) streaming: TestCluster,
    cascaded: TestCluster,
    archived: TestCluster,
}

impl Scene {
    fn new(name: &str) -> Self {
        let folder = TestFolder::in_memory(name);
        let builder = TestCluster::builder(PgVersion::V15, &folder).initdb("--wal-segsize=1");
        let mut site = Site::of(builder.line("wal_receiver_status_interval = 1s"), &folder);
        site.primary.query("CREATE TABLE written (text text)");
        let role = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/pgv-standby-role.sql");
        site.primary.query(&std::fs::read_to_string(role).unwrap());
        site.primary.query(&format!("CREATE ROLE guarded LOGIN PASSWORD '{PASSWORD}'"));
        site.primary.stop();
        let copy = |name: &str| {
            let data = folder.join(name);
            let mut copy = TestAccount::get().command("cp");
            copy.arg("-a").arg(&site.primary.data).arg(&data);
            run(copy).success();
            folder.write(format!("{name}/standby.signal"), "");
            TestCluster::at(PgVersion::V15, &folder, &format!("{name}-server"), &data)
        };
        let (mut streaming, mut cascaded, mut archived) = (copy("s1"), copy("s2"), copy("s3"));
        let follow = |server: &TestCluster, name: &str| {
            format!("primary_conninfo = '{} application_name={name}'", server.conninfo())
        };
        let patience = "wal_retrieve_retry_interval = 200ms";
        streaming.configure(&[&follow(&site.primary, "s1"), patience]);
        cascaded.configure(&[&follow(&streaming, "s2"), patience]);
        let fetch = format!("{} --config {} %f %p", program("pgv-fetch").display(), site.pgv.config.display());
        archived.configure(&[&format!("restore_command = '{fetch}'"), "archive_mode = off", patience]);
        site.primary.start();
        for server in [&mut streaming, &mut cascaded, &mut archived] {
            server.start();
        }
        let scene = Self { folder, site, streaming, cascaded, archived };
        scene.settle();
        scene
    }

    /// The connection string of each node by its name, in an order that is not that of their names.
    pub(crate) fn nodes(&self) -> BTreeMap<&'static str, String> {
        let of = |server: &TestCluster| server.conninfo().replace("user=postgres", "user=pgv_monitor");
        BTreeMap::from([
            ("s3", of(&self.archived)),
            ("s2", of(&self.cascaded)),
            ("s1", of(&self.streaming)),
            ("p", of(&self.site.primary)),
        ])
    }

    /// `pgv-standby` with these nodes and options.
    fn standby_of(&self, nodes: &BTreeMap<&str, String>, options: &[&str]) -> Outcome {
        let nodes: Vec<String> = nodes.iter().map(|(name, conninfo)| format!("--node={name}={conninfo}")).collect();
        let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
        let outcome = self.site.pgv.run("pgv-standby", &[&nodes, options].concat());
        assert!(!format!("{}{}", outcome.stdout, outcome.stderr).contains(PASSWORD), "{outcome}");
        outcome
    }

    pub(crate) fn standby(&self, options: &[&str]) -> Outcome {
        self.standby_of(&self.nodes(), options)
    }

    fn report_of<'s>(&'s self, nodes: &BTreeMap<&str, String>, options: &[&str], status: i32) -> Report<'s> {
        let nodes: BTreeMap<String, String> =
            nodes.iter().map(|(name, conninfo)| ((*name).to_owned(), conninfo.clone())).collect();
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        Report::of(Box::new(move || {
            let nodes = nodes.iter().map(|(name, conninfo)| (name.as_str(), conninfo.clone())).collect();
            let options: Vec<&str> = options.iter().map(String::as_str).collect();
            let outcome = self.standby_of(&nodes, &[&["--output", "json"], &options[..]].concat()).expect_code(status);
            serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}\n{outcome}"))
        }))
    }

    fn report<'s>(&'s self, options: &[&str], status: i32) -> Report<'s> {
        self.report_of(&self.nodes(), options, status)
    }

    pub(crate) fn write(&self, kilobytes: u32) {
        let sql = "INSERT INTO written SELECT repeat(md5(i::text), 32) FROM generate_series(1, ";
        self.site.primary.query(&format!("{sql}{kilobytes}) AS i"));
    }

    /// Waits until all standbys have replayed what is archived, and those that stream all there is.
    pub(crate) fn settle(&self) {
        self.site.primary.archive_all();
        let target = self.site.primary.query("SELECT pg_current_wal_lsn()");
        // The last segment has begun and nothing archives it.
        let archived = self.site.primary.query(&format!(
            "SELECT '0/0'::pg_lsn + (pg_wal_lsn_diff('{target}', '0/0')::bigint / 1048576 * 1048576)::numeric"
        ));
        for (server, target) in [(&self.streaming, &target), (&self.cascaded, &target), (&self.archived, &archived)] {
            wait_until("a standby has replayed", PATIENCE, || {
                server.query(&format!("SELECT pg_last_wal_replay_lsn() >= '{target}'::pg_lsn")) == "t"
            });
        }
    }
}

/// The answer for programs, and how to ask again.
struct Report<'s>(Value, Box<dyn Fn() -> Value + 's>);

impl<'s> Report<'s> {
    fn of(ask: Box<dyn Fn() -> Value + 's>) -> Self {
        Self(ask(), ask)
    }

    fn node(&self, name: &str) -> &Value {
        let nodes = self.0["nodes"].as_array().unwrap();
        nodes.iter().find(|node| node["name"] == name).unwrap_or_else(|| panic!("no node {name}: {}", self.0))
    }

    fn codes(&self, name: &str) -> Vec<&str> {
        let reasons = self.node(name)["reasons"].as_array().unwrap();
        reasons.iter().map(|reason| reason["code"].as_str().unwrap()).collect()
    }

    /// The choice, and the codes of the others: soon, since the server writes a record of its own now and then.
    #[track_caller]
    fn expect(&mut self, chosen: Option<&str>, reasons: &[(&str, &[&str])]) {
        let begun = Instant::now();
        let fits = |report: &Self| {
            let codes = reasons.iter().all(|(name, codes)| report.codes(name) == *codes);
            report.0["chosen"].as_str() == chosen && codes
        };
        while !fits(self) && begun.elapsed() < Duration::from_secs(10) {
            self.0 = (self.1)();
        }
        assert_eq!(self.0["chosen"].as_str(), chosen, "{:#}", self.0);
        for (name, codes) in reasons {
            assert_eq!(self.codes(name), *codes, "{name}: {:#}", self.0);
        }
    }

    fn lsn(value: &Value) -> Option<u64> {
        let (high, low) = value.as_str()?.split_once('/')?;
        Some((u64::from_str_radix(high, 16).unwrap() << 32) | u64::from_str_radix(low, 16).unwrap())
    }
}

#[test]
fn every_situation_has_its_choice_and_its_reasons() {
    let mut scene = Scene::new("standby");
    idle(&scene);
    under_load(&scene);
    paused_and_delayed(&scene);
    without_receiver(&scene);
    killed_receiver(&scene);
    strangers(&scene);
    passwords(&scene);
    let stubborn = standby_commands::run_all(&scene);
    backups(&scene);
    failing_in_the_middle(&scene);
    silence(&mut scene);
    stubborn.was_killed();
    without_primary(&mut scene);
    promoted(&mut scene);
}

const OUTRANKED: &[&str] = &["outranked"];

fn idle(scene: &Scene) {
    // One that was idle for long is not late: nothing is missing.
    let mut report = scene.report(&["--max-lag", "1MB", "--max-lag-time", "60s"], 0);
    report.expect(Some("s1"), &[("p", OUTRANKED), ("s2", OUTRANKED)]);
    assert_eq!(report.0["reference"]["kind"], "primary");
    wait_until("nothing is missing", PATIENCE, || {
        let report = scene.report(&[], 0);
        report.node("s1")["lag_bytes"] == 0 && report.node("s1")["lag_seconds"] == 0.0
    });
    assert_eq!(report.node("s1")["source"], "streaming");
    assert_eq!(report.node("s1")["followed"]["sync_state"], "async");
    assert_eq!(report.node("s1")["followed"]["by"], "p");
    assert_eq!(report.node("s2")["followed"]["by"], "s1");
    assert_eq!(report.node("s3")["source"], "archive");
    assert_eq!(report.node("p")["role"], "primary");
    assert_eq!(report.node("p")["port"], scene.site.primary.port);
    assert_eq!(report.node("s1")["host"], scene.streaming.socket_folder.to_str().unwrap());

    for (options, chosen) in [
        (&["--prefer", "primary"][..], "p"),
        (&["--prefer", "any", "--max-lag", "0"], "p"),
        (&["--prefer", "standby-only"], "s1"),
    ] {
        scene.report(options, 0).expect(Some(chosen), &[]);
    }
    // Nothing protects a long dump there, and the primary cancels nothing.
    scene.report(&["--for", "dump"], 0).expect(Some("p"), &[("s1", &["cancels_queries"])]);
    scene.report(&["--for", "backup"], 0).expect(Some("s1"), &[]);

    let table = scene.standby(&[]).success().stdout;
    assert!(table.contains("Chosen: s1\n") && table.contains("Lag is measured against the primary \"p\""), "{table}");
    let conninfo = scene.standby(&["--output", "conninfo"]).success().stdout;
    let expected = format!("host={} port={} ", scene.streaming.socket_folder.display(), scene.streaming.port);
    assert!(conninfo.starts_with(&expected) && conninfo.ends_with("user=pgv_monitor dbname=postgres\n"), "{conninfo}");
    let mut shell = TestAccount::get().command("sh");
    let lines = scene.standby(&["--output", "env"]).success().stdout;
    let told = run({
        shell.env("PGHOST", "elsewhere").env("PGSERVICE", "elsewhere");
        shell.args(["-c", &format!("{lines}\necho $PGHOST:$PGPORT:$PGUSER:$PGDATABASE:$PGSERVICE")]);
        shell
    });
    let socket = scene.streaming.socket_folder.display();
    assert_eq!(told.stdout.trim(), format!("{socket}:{}:pgv_monitor:postgres:", scene.streaming.port));
    let line = scene.standby(&["--nagios", "--warn", "1MB", "--critical", "5MB"]).expect_code(0).stdout;
    assert!(line.starts_with("PGV STANDBY OK - \"s1\" is chosen") && line.contains("'lag_bytes_s1'="), "{line}");
    watched(scene);
    from_the_configuration(scene);
}

/// The table again and again, until a signal; a signal is its orderly end.
fn watched(scene: &Scene) {
    let shown = scene.folder.join("watched");
    let node = format!("--node=s1={}", scene.streaming.conninfo());
    let mut command = scene.site.pgv.command("pgv-standby", &[&node, "--watch", "--interval", "100ms"]);
    let mut running = Ended(command.stdout(std::fs::File::create(&shown).unwrap()).spawn().unwrap());
    let tables = || std::fs::read_to_string(&shown).unwrap().matches("Chosen: s1").count();
    wait_until("three tables were shown", PATIENCE, || tables() >= 3);
    running.send(Signal::TERM);
    assert_eq!(running.status(), Some(0));
    assert!(!std::fs::read_to_string(&shown).unwrap().contains('\x1b'), "that is for terminals");
}

/// The same nodes, zones and priorities as pgv.toml has them.
fn from_the_configuration(scene: &Scene) {
    let mut text = std::fs::read_to_string(&scene.site.pgv.config).unwrap();
    for (name, conninfo) in scene.nodes() {
        let (zone, priority) = if name == "s2" { ("here", 5) } else { ("there", 0) };
        text.push_str(&format!(
            "\n[[cluster.main.node]]\nname = \"{name}\"\nconninfo = \"{conninfo}\"\nzone = \"{zone}\"\n\
             priority = {priority}\n"
        ));
    }
    let config = scene.folder.write("nodes.toml", text);
    let configured = |options: &[&str]| {
        let arguments = [&["--config", config.to_str().unwrap(), "--output", "json"], options].concat();
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Report::of(Box::new(move || {
            let mut command = TestAccount::get().command(program("pgv-standby"));
            command.env_clear().args(&arguments);
            serde_json::from_str(&run(command).success().stdout).unwrap()
        }))
    };
    configured(&[]).expect(Some("s2"), &[("s1", OUTRANKED)]);
    nightly_dump(scene, &config);
    configured(&["--prefer-zone", "there"]).expect(Some("s1"), &[]);
    assert_eq!(configured(&["-d", &scene.streaming.conninfo()]).0["nodes"].as_array().unwrap().len(), 1);
}

/// The commands of the unit and the cron line in conf/, with the paths of this test.
fn nightly_dump(scene: &Scene, config: &Path) {
    scene.site.primary.query("CREATE DATABASE app");
    scene.site.primary.query_in("app", "CREATE TABLE kept AS SELECT 'of the app' AS word");
    scene.site.primary.query_in("app", "GRANT SELECT ON kept TO pgv_monitor");
    scene.settle();
    let shipped = |name: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
    let unit = shipped("conf/systemd/pgv-dump.service");
    let unit = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let cron = shipped("conf/pgv.cron");
    let cron = cron.lines().find(|line| line.contains("pg_dump") && !line.starts_with('#')).unwrap();
    let (_, cron) = cron.split_once(" postgres ").unwrap();
    for (line, dump) in [(unit, "app.dump.new"), (cron, "app.dump")] {
        let line = line.replace("/usr/local/bin/pgv-standby", program("pgv-standby").to_str().unwrap());
        let line = line.replace("/usr/bin/pg_dump", PgVersion::V15.tool("pg_dump").to_str().unwrap());
        let line = line.replace("/var/lib/pgv-dump", scene.folder.path().to_str().unwrap());
        let shell = |config: &Path| {
            let mut shell = TestAccount::get().command("sh");
            shell.env_clear().env("PATH", "/usr/bin:/bin").env("PGV_CONFIG", config).args(["-c", &line]);
            run(shell)
        };
        shell(config).success();
        let mut list = scene.site.primary.tool("pg_restore");
        list.args(["--data-only", "-f", "-"]).arg(scene.folder.join(dump));
        assert!(run(list).success().stdout.contains("\nof the app\n"));
        // A dump that could not be taken leaves the last one alone.
        shell(Path::new("/nonexistent/pgv.toml")).expect_code(2);
        assert!(std::fs::metadata(scene.folder.join(dump)).unwrap().len() > 0);
        let mode = std::fs::metadata(scene.folder.join(dump)).unwrap().permissions().mode();
        // As secret as the database: by UMask of the unit, and by the line itself.
        assert_eq!(mode & 0o777, if dump == "app.dump" { 0o600 } else { 0o644 });
        std::fs::remove_file(scene.folder.join(dump)).unwrap();
    }
}

/// No standby is ever further than the primary's position: that was read after all of theirs.
fn under_load(scene: &Scene) {
    let writer = scene.site.primary.client("psql").args(["-X", "-q", "-d", "postgres", "-c"])
        .arg("DO $$ BEGIN FOR i IN 1..150 LOOP INSERT INTO written SELECT repeat('x', 2000) FROM generate_series(1, 100); COMMIT; END LOOP; END $$")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut writer = Ended(writer);
    let mut looks = 0;
    while writer.0.try_wait().unwrap().is_none() || looks == 0 {
        let before = scene.site.primary.query("SELECT pg_current_wal_lsn()");
        let report = scene.report(&["--max-lag", "1GB"], 0);
        let reference = Report::lsn(&report.0["reference"]["lsn"]).unwrap();
        let before = Report::lsn(&Value::String(before)).unwrap();
        assert!(reference >= before);
        for name in ["s1", "s2", "s3"] {
            let node = report.node(name);
            for position in ["received_lsn", "flushed_lsn", "replayed_lsn"] {
                let position = Report::lsn(&node[position]);
                assert!(position.is_none_or(|position| position <= reference), "{name}: {:#}", report.0);
            }
            let replayed = Report::lsn(&node["replayed_lsn"]).unwrap();
            let lag = node["lag_bytes"].as_u64().unwrap();
            assert!((before.saturating_sub(replayed)..=reference - replayed).contains(&lag), "{name}: {:#}", report.0);
        }
        looks += 1;
    }
    // What is in no complete segment yet is not in the archive.
    scene.settle();
    scene.write(600);
    wait_until("those that stream have replayed it", PATIENCE, || scene.report(&[], 0).node("s2")["lag_bytes"] == 0);
    let mut report = scene.report(&["--max-lag", "100kB"], 0);
    report.expect(Some("s1"), &[("s3", &["lag_bytes"])]);
}

fn paused_and_delayed(scene: &Scene) {
    scene.streaming.query("SELECT pg_wal_replay_pause()");
    scene.report(&[], 0).expect(Some("s2"), &[("s1", &["paused"])]);
    scene.streaming.query("SELECT pg_wal_replay_resume()");

    scene.cascaded.configure(&["recovery_min_apply_delay = 1h"]);
    scene.cascaded.reload();
    wait_until("it is delayed", PATIENCE, || scene.cascaded.query("SHOW recovery_min_apply_delay") == "1h");
    scene.report(&[], 0).expect(Some("s1"), &[("s2", &["delayed"])]);
    let line = scene.standby(&["--nagios", "--warn", "8MB"]).stdout;
    assert!(line.starts_with("PGV STANDBY OK"), "one that is delayed on purpose lags on purpose: {line}");
    scene.cascaded.configure(&["recovery_min_apply_delay = 0"]);
    scene.cascaded.reload();
    wait_until("it is not delayed", PATIENCE, || scene.cascaded.query("SHOW recovery_min_apply_delay") == "0");
}

/// Who follows nobody has no row at the primary, and a lag all the same.
fn without_receiver(scene: &Scene) {
    scene.streaming.configure(&["primary_conninfo = ''"]);
    scene.streaming.reload();
    let receiver = "SELECT count(*) FROM pg_stat_wal_receiver";
    wait_until("its receiver has gone", PATIENCE, || scene.streaming.query(receiver) == "0");
    scene.write(300);
    let mut report = scene.report(&["--max-lag", "100kB"], 0);
    report.expect(Some("p"), &[("s1", &["lag_bytes"]), ("s2", &["lag_bytes"]), ("s3", &["lag_bytes"])]);
    assert_eq!(report.node("s1")["source"], "nothing");
    assert_eq!(report.node("s1")["followed"], Value::Null);
    assert!(report.node("s1")["lag_bytes"].as_u64().unwrap() > 100_000);
    let none = ["--max-lag", "100kB", "--prefer", "standby-only"];
    let outcome = scene.standby(&none).expect_code(1);
    assert!(outcome.stdout.contains("No node qualifies."), "{outcome}");
    scene.standby(&[&none[..], &["--output", "conninfo"]].concat()).expect_code(1).expect_stderr("\"s1\": lags by");
    let line = scene.standby(&[&none[..], &["--nagios", "--critical", "100kB"]].concat()).expect_code(2).stdout;
    assert!(line.starts_with("PGV STANDBY CRITICAL - no node qualifies; "), "{line}");

    // It comes back while somebody waits for it.
    let nodes: Vec<String> = scene.nodes().iter().map(|(name, conninfo)| format!("--node={name}={conninfo}")).collect();
    let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
    let mut waiting = scene.site.pgv.command("pgv-standby", &[&nodes, &none[..], &["--wait", "50s"]].concat());
    let mut waiting = Ended(waiting.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let follow = format!("primary_conninfo = '{} application_name=s1'", scene.site.primary.conninfo());
    scene.streaming.configure(&[&follow]);
    scene.streaming.reload();
    assert_eq!(waiting.status(), Some(0));
    scene.settle();
}

/// A receiver that died, while the standby waits before it starts another.
fn killed_receiver(scene: &Scene) {
    let patience = |text: &str| {
        scene.streaming.configure(&[&format!("wal_retrieve_retry_interval = {text}")]);
        scene.streaming.reload();
        wait_until("it has that patience", PATIENCE, || {
            scene.streaming.query("SHOW wal_retrieve_retry_interval") == text
        });
    };
    patience("1h");
    let receiver = scene.streaming.query("SELECT pid FROM pg_stat_wal_receiver").parse().unwrap();
    kill_process(Pid::from_raw(receiver).unwrap(), Signal::TERM).unwrap();
    wait_until("it has gone", PATIENCE, || scene.streaming.query("SELECT count(*) FROM pg_stat_wal_receiver") == "0");
    scene.write(300);
    let mut report = scene.report(&["--max-lag", "100kB"], 0);
    report.expect(Some("p"), &[("s1", &["lag_bytes"]), ("s2", &["lag_bytes"])]);
    assert_eq!(report.node("s1")["source"], "nothing");
    assert_eq!(report.node("s1")["followed"], Value::Null);
    patience("200ms");
    scene.settle();
}

/// A server of another cluster, one that refuses, one of an unknown role.
fn strangers(scene: &Scene) {
    let foreign = TestCluster::builder(PgVersion::V15, &scene.folder).name("foreign").start();
    let mut nodes = scene.nodes();
    nodes.insert("f", foreign.conninfo());
    nodes.insert("gone", "host=127.0.0.1 port=1 user=pgv_monitor".to_owned());
    nodes.insert("nobody", scene.streaming.conninfo().replace("user=postgres", "user=nobody"));
    let mut report = scene.report_of(&nodes, &[], 0);
    report.expect(Some("s1"), &[("f", &["other_cluster"]), ("gone", &["unreachable"]), ("nobody", &["unreachable"])]);
    let message = |name: &str| report.node(name)["reasons"][0]["message"].as_str().unwrap().to_owned();
    assert!(message("gone").contains("onnection refused"), "{}", message("gone"));
    assert!(message("nobody").contains("role \"nobody\" does not exist"), "{}", message("nobody"));
    // One against one: nothing says which is meant.
    let two = BTreeMap::from([("f", foreign.conninfo()), ("p", scene.site.primary.conninfo())]);
    scene.standby_of(&two, &[]).expect_code(3).expect_stderr("the nodes are of several clusters");
    scene.report_of(&two, &["--cluster", "main"], 0).expect(Some("p"), &[("f", &["other_cluster"])]);
    let none = BTreeMap::from([("gone", "host=127.0.0.1 port=1".to_owned())]);
    scene.standby_of(&none, &[]).expect_code(4).expect_stderr("no node answers");
}

/// A password that is rejected, one that is right: in no output and no argument.
fn passwords(scene: &Scene) {
    let hba = scene.streaming.data.join("pg_hba.conf");
    let trusting = std::fs::read_to_string(&hba).unwrap();
    std::fs::write(&hba, format!("host all guarded 127.0.0.1/32 scram-sha-256\n{trusting}")).unwrap();
    scene.streaming.reload();
    let wrong = scene.folder.write("wrong-pass", "*:*:*:guarded:not-it\n");
    let right = scene.folder.write("right-pass", format!("*:*:*:guarded:{PASSWORD}\n"));
    let guarded = |passfile: &Path| {
        let conninfo = scene.streaming.tcp_conninfo().replace("user=postgres", "user=guarded");
        BTreeMap::from([
            ("s1", format!("{conninfo} passfile={}", passfile.display())),
            ("p", scene.site.primary.conninfo()),
        ])
    };
    let refused = || scene.report_of(&guarded(&wrong), &[], 0);
    wait_until("the rule is in force", PATIENCE, || refused().0["chosen"] == "p");
    let mut report = refused();
    report.expect(Some("p"), &[("s1", &["unreachable"])]);
    let message = report.node("s1")["reasons"][0]["message"].as_str().unwrap();
    assert!(message.contains("password authentication failed") && !message.contains("not-it"), "{message}");
    scene.report_of(&guarded(&right), &[], 0).expect(Some("s1"), &[]);

    // From the environment it goes to the command's environment, and into no argument.
    let conninfo = scene.streaming.tcp_conninfo().replace("user=postgres", "user=guarded");
    let node = format!("s1={conninfo}");
    let shown = "test -n \"$PGPASSWORD\" && tr '\\0' ' ' < /proc/$PPID/cmdline";
    let mut command = scene.site.pgv.command("pgv-standby", &["exec", "--node", &node, "--", "sh", "-c", shown]);
    command.env("PGPASSWORD", PASSWORD);
    let outcome = run(command).success();
    assert!(!format!("{}{}", outcome.stdout, outcome.stderr).contains(PASSWORD), "{outcome}");
    assert!(outcome.stdout.contains("--node"), "{outcome}");
    // From pgv.toml it goes to the command alone, and is in no line of the log.
    let text = format!("[[cluster.main.node]]\nname = \"s1\"\nconninfo = \"{conninfo} password={PASSWORD}\"\n");
    let config = scene.folder.write("guarded.toml", text);
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o600)).unwrap();
    TestAccount::get().take_over(&config);
    let script = format!(
        "test \"$PGPASSWORD\" = {PASSWORD} && ! grep -qa PASSWORD /proc/$PPID/environ && cat /proc/[0-9]*/cmdline | tr '\\0' ' '"
    );
    for options in
        [&["exec", "--abort-lag", "1GB", "--interval", "10ms", "--", "sh", "-c", &script][..], &["--output", "json"]]
    {
        let mut command = TestAccount::get().command(program("pgv-standby"));
        command.env_clear().env("PATH", "/usr/bin:/bin").args(["--config", config.to_str().unwrap()]);
        let outcome = run({
            command.args(["--log-level", "trace"]).args(options);
            command
        });
        let shown = outcome.stdout.replace(&script, "");
        assert!(!format!("{shown}{}", outcome.stderr).contains(PASSWORD), "{outcome}");
        outcome.success();
    }
    let told = format!("s1={conninfo} password={PASSWORD}");
    let outcome = scene.site.pgv.run("pgv-standby", &["--node", &told]).expect_code(2);
    assert!(!outcome.stderr.contains(PASSWORD) && outcome.stderr.contains("holds a password"), "{outcome}");
    std::fs::write(&hba, trusting).unwrap();
    scene.streaming.reload();
}

/// `pgv-basebackup --from`: of a standby, of the next node when one fails before any data, of none.
fn backups(scene: &Scene) {
    let backup = |nodes: &[(&str, String)], options: &[&str]| {
        let nodes: Vec<String> = nodes.iter().map(|(name, conninfo)| format!("--node={name}={conninfo}")).collect();
        let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
        scene.site.pgv.command("pgv-basebackup", &[&["--checkpoint", "fast"], options, &nodes].concat())
    };
    let monitor = |server: &TestCluster| server.conninfo().replace("user=postgres", "user=pgv_monitor");
    let (primary, streaming) = (&scene.site.primary, &scene.streaming);

    // The role of the standby's node may not send backups: the next node is asked.
    let nodes = [("s1", monitor(streaming)), ("p", primary.conninfo())];
    let outcome = run(backup(&nodes, &["--from", "auto"])).success();
    let outcome = outcome.expect_stderr("warning: node \"s1\" sends no backup: ");
    outcome.expect_stderr("the backup is taken from node \"p\"");
    assert_eq!(scene.site.backups().len(), 1);
    run(backup(&nodes, &["--from", "s1"])).expect_code(4);
    run(backup(&nodes, &["--from", "nobody"])).expect_code(2).expect_stderr("unknown node \"nobody\"");
    assert_eq!(scene.site.backups().len(), 1);

    streaming.query("SELECT pg_wal_replay_pause()");
    let nodes = [("s1", streaming.conninfo()), ("p", primary.conninfo())];
    let outcome = run(backup(&nodes, &["--from", "standby"])).expect_code(3);
    outcome
        .expect_stderr("\"s1\": replay is paused")
        .expect_stderr("\"p\": is the primary, and only a standby will do");
    streaming.query("SELECT pg_wal_replay_resume()");

    // The primary has to end segments meanwhile.
    let log = scene.folder.join("backup.log");
    let mut command = backup(&nodes, &["--from", "standby", "--max-lag", "64MB"]);
    let mut running =
        Ended(command.stdout(Stdio::null()).stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap());
    while running.0.try_wait().unwrap().is_none() {
        primary.switch_wal();
        std::thread::sleep(Duration::from_millis(100));
    }
    let log = std::fs::read_to_string(log).unwrap();
    assert_eq!(running.status(), Some(0), "{log}");
    assert!(log.contains("the backup is taken from node \"s1\""), "{log}");
    assert_eq!(scene.site.backups().len(), 2);
    scene.settle();
}

/// Where the connection of a backup breaks.
#[derive(Clone, Copy, PartialEq)]
enum Cut {
    /// The server has said where the backup starts, and that data follows.
    BeforeData,
    /// Some of the data has come.
    InData,
}

/// A way to a server that passes everything on, until a backup is there.
fn breaking_way(server: u16, cut: Cut) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = TcpStream::connect(("127.0.0.1", server)).unwrap();
            let is_backup = Arc::new(AtomicBool::new(false));
            let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let asked = Arc::clone(&is_backup);
            std::thread::spawn(move || {
                let mut bytes = [0; 65_536];
                while let Ok(count @ 1..) = from.read(&mut bytes) {
                    let is_command = bytes[..count].windows(11).any(|word| word == b"BASE_BACKUP");
                    asked.fetch_or(is_command, Ordering::SeqCst);
                    let _ = to.write_all(&bytes[..count]);
                }
                let _ = to.shutdown(Shutdown::Both);
            });
            std::thread::spawn(move || answer(server, client, &is_backup, cut));
        }
    });
    port
}

/// A way to a server that is far away: each of its answers takes so long.
fn long_way(server: u16, delay: Duration) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let pass_on = |mut from: TcpStream, mut to: TcpStream, delay: Duration| {
        std::thread::spawn(move || {
            let mut bytes = [0; 65_536];
            while let Ok(count @ 1..) = from.read(&mut bytes) {
                std::thread::sleep(delay);
                let _ = to.write_all(&bytes[..count]);
            }
            let _ = to.shutdown(Shutdown::Both);
        });
    };
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = TcpStream::connect(("127.0.0.1", server)).unwrap();
            pass_on(client.try_clone().unwrap(), server.try_clone().unwrap(), Duration::ZERO);
            pass_on(server, client, delay);
        }
    });
    port
}

fn answer(mut server: TcpStream, mut client: TcpStream, is_backup: &AtomicBool, cut: Cut) {
    let mut head = [0; 5];
    let mut data_bytes = 0;
    while server.peek(&mut head[..1]).is_ok_and(|count| count > 0) {
        if !is_backup.load(Ordering::SeqCst) {
            let mut bytes = [0; 65_536];
            let count = server.read(&mut bytes).unwrap();
            let _ = client.write_all(&bytes[..count]);
            continue;
        }
        if server.read_exact(&mut head).is_err() {
            break;
        }
        let length = u32::from_be_bytes(head[1..].try_into().unwrap()) as usize - 4;
        let mut body = vec![0; length];
        server.read_exact(&mut body).unwrap();
        let _ = client.write_all(&[&head[..], &body].concat());
        data_bytes += if head[0] == b'd' { length } else { 0 };
        if head[0] == b'H' && cut == Cut::BeforeData || data_bytes > 100_000 {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
}

/// The next node is taken as long as no data of a backup was stored, and never after that.
fn failing_in_the_middle(scene: &Scene) {
    let backup = |cut| {
        let way = breaking_way(scene.streaming.port, cut);
        let streaming = format!("--node=s1=host=127.0.0.1 port={way} user=postgres dbname=postgres");
        let primary = format!("--node=p={}", scene.site.primary.conninfo());
        scene.site.pgv.run("pgv-basebackup", &["--checkpoint", "fast", "--from", "auto", &streaming, &primary])
    };
    let before = scene.site.backups().len();
    let outcome = backup(Cut::BeforeData).success().expect_stderr("backup starts at");
    let outcome = outcome.expect_stderr("warning: node \"s1\" sends no backup: ");
    outcome.expect_stderr("the backup is taken from node \"p\"");
    assert_eq!(scene.site.backups().len(), before + 1);
    let outcome = backup(Cut::InData).expect_code(4);
    assert!(!outcome.stderr.contains("from node \"p\""), "{outcome}");
    assert_eq!(scene.site.backups().len(), before + 1);
    scene.settle();
}

/// A server that is stopped takes connections and never answers: its deadline ends the wait.
fn silence(scene: &mut Scene) {
    scene.streaming.signal(Signal::STOP);
    let begun = Instant::now();
    let mut report = scene.report(&["--deadline", "1s"], 0);
    let took = begun.elapsed();
    // A primary that is far away has the time that the silent one takes.
    let way = long_way(scene.site.primary.port, Duration::from_millis(250));
    let mut far = scene.nodes();
    far.insert("p", format!("host=127.0.0.1 port={way} user=pgv_monitor dbname=postgres"));
    let far = scene.report_of(&far, &["--deadline", "2500ms"], 0);
    assert_eq!(far.0["reference"]["kind"], "primary", "{:#}", far.0);
    drop(far);
    // Many of them take no longer than one.
    let listeners: Vec<TcpListener> = (0..4).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let ports = listeners.iter().map(|listener| listener.local_addr().unwrap().port());
    let mut nodes: BTreeMap<String, String> =
        ports.map(|port| (format!("n{port}"), format!("host=127.0.0.1 port={port}"))).collect();
    nodes.insert("p".to_owned(), scene.site.primary.conninfo());
    nodes.extend((0..11).map(|number| (format!("s{number}"), scene.cascaded.conninfo())));
    let nodes = nodes.iter().map(|(name, conninfo)| (name.as_str(), conninfo.clone())).collect();
    let begun = Instant::now();
    let mut many = scene.report_of(&nodes, &["--deadline", "1s"], 0);
    let took_by_many = begun.elapsed();
    scene.streaming.signal(Signal::CONT);
    many.expect(Some("s0"), &[]);
    assert!(took_by_many < Duration::from_secs(3), "one after the other: {took_by_many:?}");
    let slowest = many.0["nodes"].as_array().unwrap().iter().map(|node| node["probe_seconds"].as_f64().unwrap());
    assert!(slowest.fold(0.0, f64::max) < 1.5, "{:#}", many.0);
    report.expect(Some("s2"), &[("s1", &["unreachable"])]);
    let message = report.node("s1")["reasons"][0]["message"].as_str().unwrap();
    assert_eq!(message, "no answer within 1s");
    assert!(took > Duration::from_secs(1) && took < Duration::from_secs(5), "{took:?}");
}

fn without_primary(scene: &mut Scene) {
    let watched = Watched::start(scene, "without-primary");
    watched.says("runs against node \"s1\"");
    scene.site.primary.kill();
    let mut report = scene.report(&["--max-lag", "100kB"], 0);
    report.expect(Some("s1"), &[("p", &["unreachable"])]);
    assert_eq!(report.0["reference"]["kind"], "highest_received");
    drop(report);
    let outcome = scene.standby(&[]).success();
    assert!(outcome.stdout.contains("No primary answers. Lag is measured against"), "{outcome}");
    let refused = scene.standby(&["--require-primary", "--output", "json"]).expect_code(3);
    assert!(refused.stderr.contains("no primary answers"), "{refused}");
    watched.says("no primary answers: what it wrote last is not counted in the lag of node \"s1\"");
    scene.site.primary.start();
    watched.says("it is known again how far node \"s1\" is");
    watched.goes_on();
    scene.settle();
}

/// The heir of the primary: who streams from it follows at once, who reads the archive when it has what the heir wrote
/// and its control file says so. Then the old primary comes back, and then it alone.
fn promoted(scene: &mut Scene) {
    let watched = Watched::start(scene, "promoted");
    watched.says("runs against node \"s1\"");
    scene.site.primary.kill();
    scene.streaming.promote();
    // As a person does it after a failover: the heir archives from now on.
    let config = std::fs::read_to_string(&scene.site.pgv.config).unwrap();
    let [old, new] = [&scene.site.primary, &scene.streaming].map(|server| server.data.display().to_string());
    let [old, new] = [old, new].map(|data| format!("pgdata = \"{data}\""));
    assert!(config.contains(&old), "{config}");
    std::fs::write(&scene.site.pgv.config, config.replace(&old, &new)).unwrap();
    scene.streaming.query("INSERT INTO written VALUES ('of the heir')");
    scene.streaming.archive_all();
    let words = || scene.archived.query("SELECT count(*) FROM written WHERE text = 'of the heir'");
    wait_until("the heir's WAL has come by the archive", PATIENCE, || words() == "1");
    let mut report = scene.report(&[], 0);
    report.expect(Some("s2"), &[("s1", OUTRANKED), ("p", &["unreachable"])]);
    // Its control file may not say so yet.
    assert!([OUTRANKED, &["other_timeline"]].contains(&report.codes("s3").as_slice()), "{:#}", report.0);
    assert_eq!(report.0["timeline"], 2);
    assert_eq!(report.0["reference"]["node"], "s1");
    // A restart point, as there is one every few minutes.
    scene.streaming.query("CHECKPOINT");
    scene.streaming.archive_all();
    for server in [&scene.cascaded, &scene.archived] {
        wait_until("it has replayed the checkpoint", PATIENCE, || {
            server.query("CHECKPOINT");
            server.query("SELECT timeline_id FROM pg_control_checkpoint()") == "2"
        });
    }
    report = scene.report(&[], 0);
    report.expect(Some("s2"), &[("s1", OUTRANKED), ("s3", OUTRANKED), ("p", &["unreachable"])]);
    drop(report);
    watched.goes_on();

    scene.site.primary.start();
    let outcome = scene.standby(&[]).expect_code(3);
    let both = "2 nodes are primaries of one cluster: \"p\" on timeline 1, \"s1\" on timeline 2";
    let outcome = outcome.expect_stderr(both);
    assert!(outcome.stdout.contains(&format!("Nothing chosen: {both}.")), "{outcome}");
    let line = scene.standby(&["--nagios"]).expect_code(2).stdout;
    assert!(line.contains(both), "{line}");
    // A server with two names is one.
    let mut nodes = scene.nodes();
    nodes.insert("alias", scene.streaming.tcp_conninfo());
    nodes.remove("p");
    scene.report_of(&nodes, &["--prefer", "primary"], 0).expect(Some("alias"), &[("s1", OUTRANKED)]);

    scene.streaming.kill();
    let outcome = scene.standby(&[]).expect_code(3);
    outcome.expect_stderr("the only primary that answers, \"p\", is on an earlier timeline than \"s2\", \"s3\"");
    scene.site.primary.kill();
    let mut report = scene.report(&[], 0);
    report.expect(Some("s2"), &[("s3", OUTRANKED), ("s1", &["unreachable"]), ("p", &["unreachable"])]);
    assert_eq!(report.0["reference"]["kind"], "highest_received");
}

/// A program that ends with the test.
pub(crate) struct Ended(pub(crate) Child);

impl Ended {
    pub(crate) fn status(&mut self) -> Option<i32> {
        let mut status = None;
        wait_until("it ends", PATIENCE, || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code()
    }

    pub(crate) fn send(&self, signal: Signal) {
        kill_process(Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap(), signal).unwrap();
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
