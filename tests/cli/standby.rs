//! `pgv-standby` without any PostgreSQL: which servers it asks, and what servers may do to it that are none.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::host::Host;
use crate::support::wait_until;

const PATIENCE: Duration = Duration::from_secs(30);
/// What the server of the hour says to who may come in.
const WELCOME: &[u8] = b"R\0\0\0\x08\0\0\0\0S\0\0\0\x18server_version\x0015.4\0Z\0\0\0\x05I";

/// A server that does this to everybody who connects; it goes with the test.
fn server(behaviour: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let behaviour = behaviour.clone();
            std::thread::spawn(move || behaviour(connection));
        }
    });
    port
}

/// One that reads a message, says this, and then nothing until the other side has gone.
fn saying(answer: &'static [u8]) -> u16 {
    server(move |mut connection| {
        let mut room = [0; 4096];
        let _ = connection.read(&mut room);
        let _ = connection.write_all(answer);
        while connection.read(&mut room).is_ok_and(|count| count > 0) {}
    })
}

/// Nobody else is asked in place of a cluster that cannot be told: the one of the defaults may be any.
#[test]
fn no_server_is_asked_that_nobody_named() {
    let port = server(drop);
    let two = "[cluster.a]\n[[cluster.a.node]]\nname = \"a1\"\nconninfo = \"host=127.0.0.1 port=1\"\n[cluster.b]\n";
    let host = Host::new("standby").file("two.toml", two).variable("PGHOST", "127.0.0.1");
    let host = host.variable("PGPORT", &port.to_string());
    for verb in ["", "exec -- true"] {
        let (options, command) = verb.split_once(" -- ").map_or((verb, String::new()), |(o, c)| (o, format!("-- {c}")));
        let line = |more: &str| format!("pgv-standby {options} --config two.toml {more} {command}");
        let outcome = host.sh(&line("")).expect_code(2);
        outcome.expect_stderr("several clusters are configured and none was named: a, b");
        let outcome = host.sh(&line("--cluster aa")).expect_code(2);
        outcome.expect_stderr("unknown cluster \"aa\"").expect_stderr("Did you mean \"a\"?");
        // Who names servers needs no cluster.
        host.sh(&line(&format!("-h 127.0.0.1 -p {port}"))).expect_code(4);
        host.sh(&line(&format!("--node 'x=host=127.0.0.1 port={port}'"))).expect_code(4);
        host.sh(&line("--cluster a")).expect_code(4).expect_stderr("\"a1\": could not connect");
    }
}

#[test]
fn hosts_of_one_connection_string_are_nodes_of_their_own() {
    let host = Host::new("standby");
    let outcome = host.sh("pgv-standby -d 'host=127.0.0.1,127.0.0.1,localhost port=1,2,1 user=u'").expect_code(4);
    for name in ["127.0.0.1:1", "127.0.0.1:2", "localhost"] {
        assert!(outcome.stdout.contains(&format!("  {name} ")), "{outcome}");
    }
    let outcome = host.sh("pgv-standby -d 'host=127.0.0.1,127.0.0.1 port=1'").expect_code(2);
    outcome.expect_stderr("two nodes are named \"127.0.0.1:1\"");
    let outcome = host.sh("pgv-standby --node a=host=x --node b=nonsense").expect_code(2);
    outcome.expect_stderr("could not use the connection string of node \"b\": missing \"=\"");
}

/// Whatever answers: each has a line, none makes the others wait, and all is over soon after the deadline.
#[test]
fn what_is_no_server_is_named_and_waited_for_no_longer_than_the_deadline() {
    let trickle = server(|mut connection| {
        while connection.write_all(b"R").is_ok() {
            std::thread::park_timeout(Duration::from_millis(50));
        }
    });
    let refusal = "SFATAL\0VFATAL\0C57P03\0Mthe database system is not accepting connections\0\
                   DHot standby mode is disabled.\0\0";
    let length = u32::try_from(refusal.len() + 4).unwrap().to_be_bytes();
    let refusal: &[u8] = [&b"E"[..], &length, refusal.as_bytes()].concat().leak();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_port = silent.local_addr().unwrap().port();
    let rows: Vec<(&str, u16, &str)> = vec![
        ("silent", silent_port, "no answer within 1s"),
        ("closes", server(drop), " failed: the "),
        ("web", saying(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "a message of type \"H\""),
        ("long", saying(b"R\x7f\xff\xff\xff"), "announced a message of type \"R\" with 2147483647 bytes"),
        ("negative", saying(b"R\xff\xff\xff\xff"), "malformed message of type \"R\""),
        ("half", saying(b"R\0\0"), "no answer within 1s"),
        ("trickle", trickle, "announced a message of type \"R\" with 1381126738 bytes"),
        ("zeros", saying(&[0; 4096]), "malformed message of type"),
        ("welcome", saying(WELCOME), "no answer within 1s"),
        ("refuses", saying(refusal), "not accepting connections: Hot standby mode is disabled"),
        ("later", saying(&LATER), "announced a message of type \"D\" with 2147483647 bytes"),
    ];
    let nodes: String = rows
        .iter()
        .map(|(name, port, _)| format!(" --node '{name}=host=127.0.0.1 port={port} user=u sslmode=disable'"))
        .collect();
    let host = Host::new("standby");
    let begun = Instant::now();
    let outcome = host.sh(&format!("pgv-standby --deadline 1s{nodes}")).expect_code(4);
    let took = begun.elapsed();
    for (name, _, problem) in &rows {
        let line = outcome.stdout.lines().find(|line| line.starts_with(&format!("  {name} ")));
        assert!(line.is_some_and(|line| line.contains(problem)), "{name}: {line:?}\n{outcome}");
    }
    let silent = rows.iter().filter(|(_, _, problem)| *problem == "no answer within 1s").count();
    assert!(took.as_secs_f64() < silent as f64, "one after the other: {took:?}");
}

/// Welcome, and a row of two gigabytes as the answer to the first question.
static LATER: [u8; WELCOME.len() + 5] = {
    let mut bytes = [0; WELCOME.len() + 5];
    let mut at = 0;
    while at < WELCOME.len() {
        bytes[at] = WELCOME[at];
        at += 1;
    }
    bytes[at] = b'D';
    bytes[at + 1] = 0x7f;
    bytes[at + 2] = 0xff;
    bytes[at + 3] = 0xff;
    bytes[at + 4] = 0xff;
    bytes
};

#[test]
fn a_shell_that_is_told_of_no_node_stops() {
    let host = Host::new("standby");
    let outcome = host.sh("eval \"$(pgv-standby -h 127.0.0.1 -p 1 --output env)\" && echo went on").expect_code(1);
    assert_eq!(outcome.stdout, "");
    assert_eq!(host.sh("pgv-standby -h 127.0.0.1 -p 1 --output conninfo").expect_code(4).stdout, "");
}

#[test]
fn a_table_that_nobody_reads_is_not_shown_for_ever() {
    let host = Host::new("standby");
    let mut command = host.command("pgv-standby");
    command.args(["-h", "127.0.0.1", "-p", "1", "--watch", "--interval", "50ms"]);
    let mut running = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut first = [0; 1];
    running.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let mut status = None;
    wait_until("it has ended", PATIENCE, || {
        status = running.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(0));
}

#[test]
fn thresholds_that_cannot_be_meant_are_unknown() {
    let host = Host::new("standby");
    let line = "pgv-standby -h 127.0.0.1 -p 1 --nagios --warn 5min --critical";
    host.sh(&format!("{line} 1min")).expect_code(3).expect_stderr("--warn is above --critical");
    let outcome = host.sh(&format!("{line} 1MB")).expect_code(2);
    assert!(outcome.stdout.starts_with("PGV STANDBY CRITICAL - no node answers; \"127.0.0.1\": "), "{outcome}");
}
