//! `pgv info` of repositories that nobody backs up into, damaged ones and large ones.

use std::time::Duration;

use crate::host::Host;
use crate::wal_host::WalHost;

/// A host with a registered cluster, and its tree in the repository.
fn host(name: &str) -> (Host, WalHost, std::path::PathBuf) {
    let wal = WalHost::new(name);
    let config = wal.folder.join("pgv.toml");
    let host = Host::new(name).variable("PGV_CONFIG", config.to_str().unwrap());
    let main = wal.repository.join("main");
    let tree = std::fs::read_dir(main).unwrap().map(|entry| entry.unwrap().path());
    let tree = tree.into_iter().find(|path| path.join("identity").exists()).unwrap();
    (host, wal, tree)
}

#[test]
fn an_empty_archive_is_an_answer_and_an_unknown_cluster_a_negative_one() {
    let (host, wal, _) = host("info");
    for command in ["pgv info", "pgv list", "pgv info --cluster main"] {
        let outcome = host.sh(command).success();
        for text in ["No backups.", "No WAL is archived.", "Cluster \"main\"", "Times are UTC.", "pgv.toml"] {
            assert!(outcome.stdout.contains(text), "{text}\n{outcome}");
        }
        assert_eq!(outcome.stderr, "");
    }
    let unknown = host.sh("pgv info --cluster other").expect_code(1);
    assert!(unknown.stdout.contains("Cluster \"other\" is not registered."), "{unknown}");
    let json = host.sh("pgv info --cluster other --output json").expect_code(1);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["clusters"].as_array().unwrap().len(), 0);
    assert_eq!(json["configuration_file"], wal.folder.join("pgv.toml").to_str().unwrap());
}

#[test]
fn a_target_without_any_backup_is_a_negative_answer() {
    let (host, _wal, _) = host("target");
    for options in ["", "--drops", "--around '2026-11-20 14:30:00Z'", "--target-xid 700", "--no-prove"] {
        let outcome = host.sh(&format!("pgv target {options}")).expect_code(1);
        assert_eq!(outcome.stdout, "");
        outcome.expect_stderr("has no backup to restore from").expect_stderr("\"pgv-basebackup\" takes one");
    }
    // Lists are read out of the WAL.
    for list in ["--drops", "--around '2026-11-20 14:30:00Z'"] {
        let refused = host.sh(&format!("pgv target --no-prove {list}")).expect_code(2);
        refused.expect_stderr("cannot be used with").expect_stderr("--no-prove");
    }
    host.sh("pgv target --cluster other").expect_code(2).expect_stderr("is not registered");
    host.sh("pgv target --repo /nowhere").expect_code(4);
}

#[test]
fn damage_is_named_and_the_rest_is_shown() {
    let (host, wal, tree) = host("info");
    let segment = tree.join("wal/00000001/0000000100000000/000000010000000000000003");
    std::fs::create_dir_all(segment.parent().unwrap()).unwrap();
    std::fs::write(&segment, "").unwrap();
    let identity = tree.join("identity");
    let mut bytes = std::fs::read(&identity).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&identity, bytes).unwrap();
    let outcome = host.sh("pgv info").expect_code(5).expect_stderr("could not be read");
    assert!(outcome.stdout.contains("Not readable\n  registration of cluster main"), "{outcome}");
    let json = host.sh("pgv info --output json").expect_code(5);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert!(json["problems"][0]["reason"].as_str().unwrap().contains("is damaged: invalid header"), "{json}");
    assert_eq!(json["clusters"][0]["trees"].as_array().unwrap().len(), 1);
    drop(wal);
}

#[test]
fn a_hundred_thousand_segments_are_shown_fast() {
    let (host, _wal, tree) = host("info");
    for number in (1u32..=100_000).filter(|number| *number != 77_777) {
        let (log, segment) = (number / 4096, number % 4096);
        let folder = tree.join(format!("wal/00000001/00000001{log:08X}"));
        if segment == 0 || number == 1 {
            std::fs::create_dir_all(&folder).unwrap();
        }
        std::fs::File::create(folder.join(format!("00000001{log:08X}{segment:08X}"))).unwrap();
    }
    let outcome = host.sh("pgv info").success();
    assert!(outcome.stdout.contains("HOLE: 1 segment is missing: 000000010000001200000FD1"), "{outcome}");
    // Measured: 0.3 s in a debug build; the bound tells only listing again and again from listing once.
    assert!(outcome.elapsed < Duration::from_secs(20), "{outcome}");
}
