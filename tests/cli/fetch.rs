//! pgv-fetch as restore_command: exit statuses in each kind of recovery, and what stands at %p afterwards.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{SilentFileSystem, wait_until};
use crate::wal_host::{NEXT, OTHER_CONTROL_FILE, SEGMENT, WalHost, segment, set_mode};

#[test]
fn what_was_archived_comes_back_the_same() {
    let host = WalHost::new("fetch");
    host.archived(SEGMENT);
    fs::write(host.fetched(), b"left over").unwrap();
    for signal in ["", "recovery.signal", "standby.signal"] {
        if !signal.is_empty() {
            host.folder.write(format!("data/{signal}"), "");
        }
        let outcome = host.fetch(SEGMENT).success();
        assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("", ""));
        assert!(fs::read(host.fetched()).unwrap() == segment(SEGMENT, 0));
        assert_eq!(fs::metadata(host.fetched()).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(host.data.join("pg_wal")).unwrap().count(), 1);
        fs::remove_file(host.fetched()).unwrap();
    }
}

/// Rows: what is done to a host with [`SEGMENT`] archived, what is asked for, the number of the cause; none when the
/// file is proven absent, which is 1 in every kind of recovery.
#[test]
fn only_proven_absence_is_1_and_all_else_stops_a_targeted_recovery() {
    type Prepare = fn(&WalHost);
    let rows: [(&str, Prepare, &str, Option<i32>, &str); 16] = [
        ("the end of the archive", |_| {}, NEXT, None, "there is no \"000000010000000000000004\" of cluster main"),
        ("a timeline that never was", |_| {}, "00000002.history", None, "there is no \"00000002.history\""),
        ("a partial segment", |_| {}, "000000010000000000000003.partial", None, "there is no"),
        ("a hole", |_| {}, "000000010000000000000002", Some(10), "is missing in repository"),
        (
            "a hole that is in flight",
            |host| fs::File::open(host.stored(SEGMENT)).unwrap().set_modified(std::time::SystemTime::now()).unwrap(),
            "000000010000000000000002",
            Some(5),
            "has not arrived in repository",
        ),
        (
            "a flipped bit",
            |host| {
                let mut bytes = fs::read(host.stored(SEGMENT)).unwrap();
                // Within the last compressed frame, before the seek table.
                let at = bytes.len() - 50;
                bytes[at] ^= 4;
                fs::write(host.stored(SEGMENT), bytes).unwrap();
            },
            SEGMENT,
            Some(10),
            "is damaged",
        ),
        (
            "unmounted",
            |host| fs::rename(&host.repository, host.folder.join("away")).unwrap(),
            NEXT,
            Some(5),
            "there is no repository at",
        ),
        (
            "an empty mount point",
            |host| {
                fs::rename(&host.repository, host.folder.join("away")).unwrap();
                host.folder.make("repository");
            },
            NEXT,
            Some(5),
            "hint: Is its file system mounted?",
        ),
        (
            "the WAL is a link to what is not mounted",
            |host| {
                let wal = host.tree().join("wal");
                fs::rename(&wal, host.folder.join("elsewhere")).unwrap();
                std::os::unix::fs::symlink(host.folder.join("unmounted"), wal).unwrap();
            },
            NEXT,
            Some(5),
            "could not follow link",
        ),
        (
            "not registered",
            |host| fs::remove_file(host.tree().join("identity")).unwrap(),
            NEXT,
            Some(0),
            "is not registered",
        ),
        (
            "another cluster",
            |host| fs::write(host.data.join("global/pg_control"), OTHER_CONTROL_FILE).unwrap(),
            NEXT,
            Some(3),
            "is registered with system identifier",
        ),
        ("read by nobody", |host| set_mode(host.tree(), 0o000), NEXT, Some(8), "ermission denied"),
        (
            "a newer format",
            |host| fs::write(host.repository.join("repository.json"), r#"{"format": 2}"#).unwrap(),
            NEXT,
            Some(11),
            "hint: Install the version of pgv that wrote it",
        ),
        (
            "a named pipe in place of a segment",
            |host| {
                fs::remove_file(host.stored(SEGMENT)).unwrap();
                host.sh(&format!("/usr/bin/mkfifo {}", host.stored(SEGMENT).display())).success();
            },
            SEGMENT,
            Some(10),
            "is a named pipe where a file should be",
        ),
        (
            "a directory in place of a segment",
            |host| {
                fs::remove_file(host.stored(SEGMENT)).unwrap();
                host.folder.make(host.stored(SEGMENT));
            },
            SEGMENT,
            Some(10),
            "is a directory where a file should be",
        ),
        ("no name of a WAL file", |_| {}, "RECOVERYXLOG", Some(1), "invalid WAL file name"),
    ];
    for (what, prepare, asked, number, says) in rows {
        let host = WalHost::new("fetch");
        host.archived(SEGMENT);
        prepare(&host);
        for (signals, base) in
            [(&[] as &[_], 110), (&["recovery.signal"], 210), (&["recovery.signal", "standby.signal"], 110)]
        {
            for signal in signals {
                host.folder.write(format!("data/{signal}"), "");
            }
            let expected = number.map_or(1, |number| base + number);
            let outcome = host.fetch(asked);
            assert!(outcome.status.code() == Some(expected), "{what} with {signals:?}: expected {expected}\n{outcome}");
            let outcome = outcome.expect_stderr(says);
            assert!(outcome.stderr.lines().all(|line| line.starts_with("pgv-fetch: ")), "{outcome}");
            assert_eq!(outcome.stderr.contains("pgv-fetch: error: "), number.is_some(), "{what}: {outcome}");
            assert!(!host.fetched().exists(), "{what}");
        }
        if host.tree().exists() {
            set_mode(host.tree(), 0o700);
        }
    }
}

#[test]
fn absence_has_its_class_and_status_in_json() {
    let host = WalHost::new("fetch");
    let outcome = host.sh(&format!("FETCH --log-format json {SEGMENT} pg_wal/RECOVERYXLOG")).expect_code(1);
    let line: serde_json::Value = serde_json::from_str(&outcome.stderr).unwrap();
    assert_eq!((line["class"].as_str(), line["exit_status"].as_u64()), (Some("NotFound"), Some(1)));
    assert_eq!(line["level"].as_str(), Some("info"));
}

/// Rows: what hangs, and what is said of it.
#[test]
fn what_hangs_is_given_up_with_a_status_of_its_own() {
    let rows = [
        ("repository/main", "while reading object \"main/"),
        ("repository/.staging", "while opening repository \""),
        ("data/pg_wal", "while writing \"pg_wal/RECOVERYXLOG\""),
        ("data/global", "while reading the control file"),
    ];
    for (place, says) in rows {
        let host = WalHost::new("fetch");
        host.archived(SEGMENT);
        if place == "repository/main" {
            fs::rename(host.repository.join("main"), host.folder.join("away")).unwrap();
        }
        let silent = SilentFileSystem::mount(&host.folder, place);
        for (signals, status) in [(&[] as &[_], 119), (&["recovery.signal"], 219), (&["standby.signal"], 119)] {
            for signal in signals {
                host.folder.write(format!("data/{signal}"), "");
            }
            let line = format!("FETCH --stall-timeout 300ms {SEGMENT} pg_wal/RECOVERYXLOG");
            let outcome = host.sh(&line).expect_code(status).expect_stderr("nothing moved for 300ms");
            let outcome = outcome.expect_stderr(says).expect_stderr("hint: Is the file system");
            let errors = outcome.stderr.lines().filter(|line| line.contains(SEGMENT)).count();
            assert_eq!(errors, 1, "{outcome}");
            assert!(outcome.elapsed < Duration::from_secs(20), "{outcome}");
        }
        drop(silent);
        assert!(!host.fetched().exists());
    }
}

/// The data directory is that of %p, wherever the command runs.
#[test]
fn signal_files_are_looked_for_beside_pg_wal() {
    let host = WalHost::new("fetch");
    let line = format!("cd / && FETCH --timeout 100ms --repo /nonexistent {SEGMENT} {}", host.fetched().display());
    host.sh(&line).expect_code(115);
    host.folder.write("data/recovery.signal", "");
    host.sh(&line).expect_code(215);
    host.folder.write("data/standby.signal", "");
    host.sh(&line).expect_code(115);
}

#[test]
fn what_may_pass_is_tried_again_and_said_once() {
    let host = WalHost::new("fetch");
    host.archived(SEGMENT);
    let away = host.folder.join("away");
    fs::rename(&host.repository, &away).unwrap();
    let mut command = host.shell(&format!("FETCH {SEGMENT} pg_wal/RECOVERYXLOG"));
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut stderr, &mut line).unwrap();
    assert!(line.contains("warning: could not fetch") && line.contains("trying again for up to 29 s"), "{line}");
    fs::rename(&away, &host.repository).unwrap();
    assert!(child.wait().unwrap().success());
    line.clear();
    std::io::BufRead::read_line(&mut stderr, &mut line).unwrap();
    assert_eq!(line, "");
    assert!(fs::read(host.fetched()).unwrap() == segment(SEGMENT, 0));
}

/// A fast shutdown sends SIGTERM to the running command, and takes death by it for its own doing.
#[test]
fn sigterm_ends_the_wait_at_once() {
    let host = WalHost::new("fetch");
    fs::rename(&host.repository, host.folder.join("away")).unwrap();
    let mut command = host.shell(&format!("exec FETCH {SEGMENT} pg_wal/RECOVERYXLOG"));
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap());
    std::io::BufRead::read_line(&mut stderr, &mut String::new()).unwrap();
    let started = Instant::now();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let mut status = None;
    wait_until("pgv-fetch ends", Duration::from_secs(30), || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().signal(), Some(Signal::TERM.as_raw()));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

/// A server and its copy have one system identifier: taken for the other, the end of its archive would end a recovery.
#[test]
fn of_two_clusters_of_one_system_none_is_guessed() {
    let host = WalHost::new("two-of-one-system");
    host.archived(SEGMENT);
    host.register("copy");
    host.configure_both(&host.folder.join("elsewhere"), &host.folder.join("copy"));
    host.folder.write("data/recovery.signal", "");
    host.fetch(SEGMENT).expect_code(210).expect_stderr("which cluster is meant: copy, main?");
    host.sh(&format!("FETCH --cluster main {SEGMENT} pg_wal/RECOVERYXLOG")).success();
    // Also where the directory is that of one of them: a copy recovers its original's WAL first.
    host.configure_both(&host.data, &host.folder.join("copy"));
    host.fetch(SEGMENT).expect_code(210);
    fs::remove_file(host.data.join("recovery.signal")).unwrap();
    host.configure_both(&host.folder.join("elsewhere"), &host.folder.join("copy"));
    host.fetch(SEGMENT).expect_code(110);
}

#[test]
fn the_restore_command_names_the_cluster() {
    let host = WalHost::new("named-cluster");
    let print = "RECOVERY-CONF --target-immediate";
    let printed = host.sh(print).success();
    assert!(printed.stdout.contains(" --cluster main %f %p'"), "{printed}");
    host.configure_both(&host.data, &host.folder.join("copy"));
    host.sh(print).expect_code(2).expect_stderr("several clusters");
    let printed = host.sh(&format!("{print} --cluster copy")).success();
    assert!(printed.stdout.contains(" --cluster copy %f %p'"), "{printed}");
}
