//! The exit statuses of every program as a table, run through `sh -c` as PostgreSQL does.

use std::fs;

use crate::host::Host;
use crate::wal_host::{WalHost, set_mode};

const SEGMENT: &str = "000000010000000000000001";

#[test]
fn usage_and_configuration_errors_have_the_status_of_their_program() {
    let host = Host::new("status").file("broken.toml", "[archive]\ntimeuot = \"1s\"\n");
    for (line, status) in [
        // pgv-archive: never above 125, and neither clap's 2 nor Rust's 101
        ("pgv-archive", 10),
        ("pgv archive", 10),
        ("pgv-archive --nonsense a b", 10),
        ("pgv-archive a b c", 10),
        ("pgv-archive --config broken.toml a b", 10),
        ("pgv-archive --config none.toml a b", 10),
        ("pgv-archive --timeout 60s a b", 10),
        ("pgv-archive --repo s3://bucket a b", 10),
        // pgv-fetch, no recovery: distinct, and never the 1 of proven absence
        ("pgv-fetch", 110),
        ("pgv fetch", 110),
        ("pgv-fetch --nonsense", 110),
        ("pgv-fetch --config none.toml a b", 110),
        // the others
        ("pgv", 2),
        ("pgv --nonsense", 2),
        ("pgv nonsense", 2),
        ("pgv init --nonsense", 2),
        ("pgv info --config none.toml", 2),
        ("pgv info --config broken.toml", 2),
        ("pgv verify --config none.toml", 2),
        ("pgv verify --sample 0", 2),
        ("pgv verify --sample 101%", 2),
        ("pgv verify --quick --sample 5%", 2),
        ("pgv verify --quick --wal-records", 2),
        ("pgv verify --seed 5", 2),
        ("pgv verify --backup newest", 2),
        ("pgv verify -j 0", 2),
        ("pgv expire --config none.toml", 2),
        ("pgv expire --keep 0", 2),
        ("pgv expire --keep-days x", 2),
        ("pgv expire --grace 0s", 2),
        ("pgv expire --apply --dry-run", 2),
        ("pgv pin", 2),
        ("pgv pin newest", 2),
        ("pgv unpin --config none.toml 20261121T143000Z-1a2b3c4d", 2),
        ("pgv completions tcsh", 2),
        ("pgv target --config none.toml", 2),
        ("pgv target --target-time yesterday", 2),
        ("pgv target --target-time '2026-11-20 14:30:00'", 2),
        ("pgv target --target-exclusive", 2),
        ("pgv target --target-xid 5 --target-lsn 0/1", 2),
        ("pgv target --drops --target-xid 5", 2),
        ("pgv target --drops --around '2026-11-20 14:30:00Z'", 2),
        ("pgv target --around 14:30", 2),
        ("pgv target --count 3", 2),
        ("pgv target --jobs 0", 2),
        ("pgv-basebackup --checkpoint slow", 2),
        ("pgv-basebackup --max-rate 1", 2),
        ("pgv-restore", 2),
        ("pgv restore", 2),
        ("pgv-restore -D d --target-time x --target-lsn 0/1", 2),
        ("pgv-restore -D d --target-lsn x", 2),
        ("pgv-restore -D d --standby --target-xid 5", 2),
        ("pgv-restore -D d --old-primary-is-gone", 2),
        ("pgv-restore -D d -T a=b", 2),
        ("pgv-recovery-conf --write", 2),
        ("pgv-recovery-conf --clear", 2),
        ("pgv-recovery-conf --clear -D d --target-immediate", 2),
        ("pgv-standby --nonsense", 2),
        ("pgv standby --nonsense", 2),
        ("pgv-standby --config none.toml", 2),
        ("pgv-standby --max-lag much", 2),
        ("pgv-standby --deadline 0s", 2),
        ("pgv-standby --node db1", 2),
        ("pgv-standby --node a=host=b,c", 2),
        ("pgv-standby --node a=host=b --node a=host=c", 2),
        ("pgv-standby --node a=host=b -h c", 2),
        ("pgv-standby --warn 1MB", 2),
        ("pgv-standby --abort-lag 1GB", 2),
        ("pgv-standby --watch --wait 5s", 2),
        ("pgv-standby exec --output json -- true", 2),
        ("pgv-standby exec -h /nonexistent", 2),
        ("pgv-standby exec true", 2),
        ("pgv-standby exec -h /nonexistent -- true", 4),
    ] {
        let outcome = host.sh(line).expect_code(status);
        assert_eq!(outcome.stdout, "", "{line}");
        assert!(!outcome.stderr.is_empty(), "{line}");
    }
}

/// What is done to a repository with a registered cluster and nothing else.
type Prepare = fn(&WalHost);
const STATES: [(&str, Prepare); 5] = [
    ("sound", |_| {}),
    ("unmounted", |host| fs::rename(&host.repository, host.folder.join("away")).unwrap()),
    ("of a newer format", |host| fs::write(host.repository.join("repository.json"), r#"{"format": 2}"#).unwrap()),
    ("with a damaged identity", |host| {
        let identity = host.tree().join("identity");
        let mut bytes = fs::read(&identity).unwrap();
        bytes[100] ^= 1;
        fs::write(&identity, bytes).unwrap();
    }),
    ("read by nobody", |host| set_mode(&host.repository, 0o000)),
];

/// The other causes, as far as they need no server that answers: a row for each program, a column for each state of the
/// repository.
#[test]
fn what_stands_in_the_way_has_the_same_status_in_every_program() {
    let rows: [(&str, [i32; 5]); 14] = [
        ("pgv info", [0, 4, 3, 5, 4]),
        ("pgv info --cluster other", [1, 4, 3, 1, 4]),
        ("pgv verify", [0, 4, 3, 5, 4]),
        ("pgv verify --cluster other", [1, 4, 3, 1, 4]),
        ("pgv expire --keep 1", [0, 4, 3, 5, 4]),
        ("pgv pin 20261121T143000Z-1a2b3c4d", [1, 4, 3, 5, 4]),
        ("pgv unpin 20261121T143000Z-1a2b3c4d", [1, 4, 3, 5, 4]),
        ("pgv target", [1, 4, 3, 5, 4]),
        ("pgv-restore -D @/d", [1, 4, 3, 5, 4]),
        ("pgv-restore -D @/d --backup 20261121T143000Z-1a2b3c4d", [1, 4, 3, 5, 4]),
        // a server that is not reached comes first, but for what needs none
        ("pgv-basebackup -h /nonexistent", [4, 4, 3, 4, 4]),
        ("pgv init -h /nonexistent", [4, 4, 4, 4, 4]),
        ("pgv check -h /nonexistent", [1, 1, 1, 1, 1]),
        ("pgv check -h /nonexistent --nagios", [2, 2, 2, 2, 2]),
    ];
    for (column, (state, prepare)) in STATES.into_iter().enumerate() {
        let wal = WalHost::new("status");
        prepare(&wal);
        let host = Host::new("status").variable("PGV_CONFIG", wal.folder.join("pgv.toml").to_str().unwrap());
        for (line, statuses) in &rows {
            let outcome = host.sh(line);
            assert_eq!(outcome.status.code(), Some(statuses[column]), "{state}: {outcome}");
        }
        if wal.repository.exists() {
            set_mode(&wal.repository, 0o700);
        }
    }
}

/// pgv-recovery-conf needs no repository, and the directory that it is told.
#[test]
fn recovery_conf_has_the_status_of_what_it_finds_in_the_directory() {
    let host = Host::new("status");
    host.sh("mkdir -p d/global foreign; echo 15 >d/PG_VERSION; touch d/global/pg_control d/postgresql.conf").success();
    host.sh("cp -r d newer; echo 99 >newer/PG_VERSION").success();
    for (line, status) in [
        ("pgv-recovery-conf --repo /none --target-immediate", 0),
        ("pgv-recovery-conf --repo /none --write -D d --target-immediate", 0),
        ("pgv-recovery-conf --clear -D d", 3), // recovery has not ended
        ("rm d/recovery.signal; pgv-recovery-conf --clear -D d", 0),
        ("pgv-recovery-conf --clear -D none", 3),
        ("pgv-recovery-conf --clear -D foreign", 3),
        ("pgv-recovery-conf --clear -D newer", 3),
        ("chmod 000 d/postgresql.auto.conf; pgv-recovery-conf --clear -D d", 4),
    ] {
        let outcome = host.sh(line);
        assert_eq!(outcome.status.code(), Some(status), "{outcome}");
    }
}

#[test]
fn fetch_stops_a_targeted_recovery_and_not_a_standby() {
    let fetch = |options: &str| format!("pgv-fetch {options} {SEGMENT} pg_wal/RECOVERYXLOG");
    let elsewhere = format!("cd / && pgv-fetch --config none.toml {SEGMENT} @/pg_wal/RECOVERYXLOG");
    let lines = [
        fetch("--config none.toml"),
        fetch("--repo s3://bucket"),
        fetch("--nonsense"),
        fetch("--cluster a/b"),
        fetch("--config none.toml").replace("pgv-fetch", "pgv fetch"),
        elsewhere,
    ];
    for (signals, status) in [
        (&[] as &[_], 110),
        (&["recovery.signal"], 210),
        (&["recovery.signal", "standby.signal"], 110),
        (&["standby.signal"], 110),
    ] {
        let host = Host::new("status");
        host.folder.make("pg_wal");
        for signal in signals {
            host.folder.write(signal, "");
        }
        for line in &lines {
            host.sh(line).expect_code(status);
        }
    }
}

#[test]
fn a_file_of_settings_that_cannot_be_read_is_never_proven_absence() {
    let host = Host::new("status").file("pgv.toml", "").mode("pgv.toml", 0o000).file("recovery.signal", "");
    host.sh(&format!("pgv-fetch --config pgv.toml {SEGMENT} x")).expect_code(218).expect_stderr("ermission denied");
    host.sh(&format!("pgv-archive --config pgv.toml x {SEGMENT}")).expect_code(18);
    host.sh("pgv info --config pgv.toml").expect_code(4);
}
