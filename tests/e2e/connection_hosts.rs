//! Several servers in one connection string, and servers that do not answer: pgv ends at the same one as psql. And the
//! roots of the system, as a program finds them.

use std::time::{Duration, Instant};

use pgv::server::{ConnectionOptions, ConnectionSettings, ConnectionSources, SqlClient};
use rustix::process::Signal;

use crate::connection_oracle::TlsSite;
use crate::support::{PgVersion, Site, TestCluster, TestFolder, run_within, tool_command};

const LIMIT: Duration = Duration::from_secs(60);
const PORT: &str = "SELECT setting FROM pg_settings WHERE name = 'port'";

/// The port of the server in which psql ends, or nothing.
fn psql(conninfo: &str) -> Option<String> {
    let mut command = tool_command(PgVersion::V17, "psql");
    command.args(["-X", "-A", "-t", "-w", "-c", PORT, "-d", conninfo]);
    let outcome = run_within(LIMIT, command);
    (outcome.code() == 0).then(|| outcome.stdout.trim().to_owned())
}

/// The same of pgv.
fn pgv(conninfo: &str) -> Option<String> {
    let sources = ConnectionSources {
        options: &ConnectionOptions { dbname: Some(conninfo.to_owned()), ..Default::default() },
        conninfo: None,
        variable: &|_| None,
        os_user: Some("postgres"),
        home: None,
        application_name: "pgv-test",
    };
    let settings = ConnectionSettings::resolve(&sources).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = SqlClient::connect(&settings).await.ok()?;
        let rows = client.query_text("ask for the port", PORT).await.ok();
        client.close().await;
        rows?.into_iter().flatten().flatten().next()
    })
}

#[test]
fn of_a_primary_and_a_standby_the_one_that_was_asked_for_answers() {
    let folder = TestFolder::in_memory("hosts");
    let site = Site::of(TestCluster::builder(PgVersion::V17, &folder).initdb("--wal-segsize=1"), &folder);
    site.with_history();
    let data = folder.join("standby");
    site.restore(&data, &["--standby"]).success();
    let mut standby = TestCluster::at(PgVersion::V17, &folder, "standby-server", &data);
    standby.start();
    assert!(standby.is_in_recovery());
    let socket = |server: &TestCluster| server.socket_folder.display().to_string();
    let (primary_port, standby_port) = (site.primary.port.to_string(), standby.port.to_string());
    let (primary, standby_name) = (Some(primary_port.clone()), Some(standby_port.clone()));
    let either_order = [
        (format!("{},{}", socket(&site.primary), socket(&standby)), format!("{primary_port},{standby_port}"), &primary),
        (
            format!("{},{}", socket(&standby), socket(&site.primary)),
            format!("{standby_port},{primary_port}"),
            &standby_name,
        ),
    ];
    let ask = |hosts: &str, ports: &str, wanted: &str, expected: &Option<String>| {
        let conninfo = format!("host={hosts} port={ports} user=postgres dbname=postgres target_session_attrs={wanted}");
        assert_eq!((&psql(&conninfo), &pgv(&conninfo)), (expected, expected), "{conninfo}");
    };
    for (hosts, ports, first) in &either_order {
        for (wanted, expected) in [
            ("any", *first),
            ("primary", &primary),
            ("read-write", &primary),
            ("standby", &standby_name),
            ("read-only", &standby_name),
            ("prefer-standby", &standby_name),
        ] {
            ask(hosts, ports, wanted, expected);
        }
    }
    standby.kill();
    for (hosts, ports, _) in &either_order {
        for (wanted, expected) in [("prefer-standby", &primary), ("primary", &primary), ("standby", &None)] {
            ask(hosts, ports, wanted, expected);
        }
    }
}

/// The kernel takes the connection, and nobody speaks: given up in time, and the next one is asked.
#[test]
fn a_server_that_does_not_speak_is_given_up_and_the_next_one_asked() {
    let folder = TestFolder::in_memory("silent");
    let speaks = TestCluster::builder(PgVersion::V17, &folder).start();
    let silent = TestCluster::builder(PgVersion::V17, &folder).name("silent").start();
    silent.signal(Signal::STOP);
    let alone = format!("{} connect_timeout=2", silent.tcp_conninfo());
    let both = format!(
        "host=127.0.0.1,127.0.0.1 port={},{} user=postgres dbname=postgres connect_timeout=2",
        silent.port, speaks.port
    );
    let mut found = Vec::new();
    for ask in [psql, pgv] {
        let started = Instant::now();
        found.push((ask(&alone), ask(&both)));
        let took = started.elapsed();
        assert!(took > Duration::from_secs(3) && took < Duration::from_secs(30), "{took:?}");
    }
    silent.signal(Signal::CONT);
    let expected = (None, Some(speaks.port.to_string()));
    assert_eq!(found, [expected.clone(), expected]);
}

/// `sslrootcert=system`: psql and pgv take the roots of the system, which `SSL_CERT_FILE` names for both.
#[test]
fn the_roots_of_the_system_let_in_whom_they_know() {
    let folder = TestFolder::new("system-roots");
    let site = TlsSite::new(PgVersion::V17, &folder);
    let tls = site.conninfo("localhost", "verify-full", "root.crt");
    let (before, _) = tls.split_once(" sslrootcert=").unwrap();
    let conninfo = format!("{before} sslrootcert=system");
    let pgv = crate::support::Pgv::new(&folder);
    let repository = pgv.repository.display().to_string();
    for (roots, is_in) in [("other.crt", false), ("root.crt", true)] {
        let mut theirs = tool_command(PgVersion::V17, "psql");
        theirs.args(["-X", "-w", "-c", "SELECT 1", "-d", &conninfo]).env("SSL_CERT_FILE", site.path(roots));
        let theirs = run_within(LIMIT, theirs);
        assert_eq!(theirs.code() == 0, is_in, "{roots}: {theirs}");
        let mut ours = pgv.command("pgv", &["init", "--repo", &repository, "--cluster", "main", "-d", &conninfo]);
        ours.env("SSL_CERT_FILE", site.path(roots));
        let ours = run_within(LIMIT, ours);
        let words = if is_in { "" } else { "certificate" };
        assert_eq!(ours.code() == 0, is_in, "{roots}: {ours}");
        assert!(ours.stderr.contains(words), "{ours}");
    }
}
