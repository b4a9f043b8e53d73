//! `pgv verify` of repositories that nobody backs up into, and of what cannot be read.

use crate::host::Host;
use crate::wal_host::{SEGMENT, WalHost, segment};

/// A host with a registered cluster and one archived segment, which lies at the path.
fn host(name: &str) -> (Host, WalHost, std::path::PathBuf) {
    let wal = WalHost::new(name);
    let config = wal.folder.join("pgv.toml");
    let host = Host::new(name).variable("PGV_CONFIG", config.to_str().unwrap());
    wal.write(SEGMENT, &segment(SEGMENT, 0));
    wal.archive(SEGMENT).success();
    let stored = wal.stored(SEGMENT);
    assert!(stored.exists());
    (host, wal, stored)
}

#[test]
fn a_sound_repository_is_status_0_and_left_overs_are_no_damage() {
    let (host, wal, _) = host("verify");
    std::fs::write(wal.repository.join("main/some notes"), "x").unwrap();
    for command in ["pgv verify", "pgv verify --quick", "pgv verify --sample 5%", "pgv verify --cluster main -j 1"] {
        let outcome = host.sh(command).success();
        assert!(outcome.stdout.contains("There is no backup."), "{outcome}");
    }
    let outcome = host.sh("pgv verify").success();
    for text in ["main/some notes: not a file of pgv", "of 4 objects in 0 s: nothing is damaged."] {
        assert!(outcome.stdout.contains(text), "{text}\n{outcome}");
    }
    let sampled = host.sh("pgv verify --sample 5% --seed 7").success();
    assert!(sampled.stdout.contains("5 % of the content (--seed 7)"), "{sampled}");
    let json = host.sh("pgv verify --output json").success();
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&json["schema_version"], &json["left_overs"][0]["kind"]), (&1.into(), &"stray".into()));
}

#[test]
fn damage_is_status_5_and_what_is_not_there_1() {
    let (host, _wal, stored) = host("verify");
    let mut bytes = std::fs::read(&stored).unwrap();
    bytes[1100] ^= 1;
    std::fs::write(&stored, bytes).unwrap();
    let outcome =
        host.sh("pgv verify").expect_code(5).expect_stderr("an object in the repository is damaged or missing");
    assert!(outcome.stdout.contains(SEGMENT) && outcome.stdout.contains("no backup depends on it"), "{outcome}");
    let json = host.sh("pgv verify --output json").expect_code(5);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["damaged"][0]["costs"][0]["kind"], "nothing", "{json}");
    // Of the content nothing is read, and nothing is promised.
    let quick = host.sh("pgv verify --quick").success();
    assert!(quick.stdout.contains("nothing damaged was found"), "{quick}");
    host.sh("pgv verify --cluster other").expect_code(1).expect_stderr("is not registered");
    host.sh("pgv verify --backup 20261121T143000Z-1a2b3c4d").expect_code(1).expect_stderr("20261121T143000Z-1a2b3c4d");
}

#[test]
fn what_cannot_be_read_is_status_4_and_stops_nothing() {
    use std::os::unix::fs::PermissionsExt as _;
    let (host, wal, stored) = host("verify");
    std::fs::set_permissions(&stored, std::fs::Permissions::from_mode(0o000)).unwrap();
    let outcome = host.sh("pgv verify").expect_code(4).expect_stderr("not readable");
    assert!(outcome.stdout.contains(SEGMENT) && outcome.stdout.contains("ermission denied"), "{outcome}");
    assert!(outcome.stdout.contains("of 4 objects"), "{outcome}");
    // A folder, and the place where writers prepare: the rest is looked at.
    let folder = stored.parent().unwrap();
    for hidden in [folder, &wal.repository.join("main/writers"), &wal.repository.join(".staging")] {
        std::fs::set_permissions(hidden, std::fs::Permissions::from_mode(0o000)).unwrap();
        let outcome = host.sh("pgv verify").expect_code(4).expect_stderr("not readable");
        let name = hidden.strip_prefix(&wal.repository).unwrap().display().to_string();
        let told = format!(
            "  {name}\n    what is in this folder cannot be listed: could not list directory: Permission denied"
        );
        assert!(outcome.stdout.contains(&told) || name == ".staging", "{told}\n{outcome}");
        assert!(outcome.stdout.contains(&name) && outcome.stdout.contains("    -> "), "{outcome}");
        std::fs::set_permissions(hidden, std::fs::Permissions::from_mode(0o700)).unwrap();
    }
    std::fs::remove_dir_all(wal.repository.join(".staging")).unwrap();
    assert_eq!(host.sh("pgv verify").expect_code(4).stdout, "");
}

#[test]
fn a_repository_json_and_an_identity_that_were_lost_are_damage_and_come_back() {
    let (host, wal, _) = host("verify-lost");
    let path = wal.repository.join("repository.json");
    let sound = std::fs::read_to_string(&path).unwrap();
    let id = sound.split('"').find(|text| text.len() == 32).unwrap().to_owned();
    let other = format!("{}{}", &id[1..], &id[..1]);
    let told = |what: &str| {
        let outcome = host.sh("pgv verify").expect_code(5);
        assert!(outcome.to_string().contains("pgv init") && outcome.to_string().contains(what), "{outcome}");
        host.sh("pgv info").expect_code(5);
    };
    for damaged in [sound.replace(&id, &other), sound.replace(':', ";"), String::new()] {
        std::fs::write(&path, damaged).unwrap();
        told("move it out of the repository");
    }
    std::fs::remove_file(&path).unwrap();
    told("it is missing");
    let again = host.sh(&format!("pgv init --pgdata {}", wal.data.display())).success();
    assert!(again.stdout.contains("written anew as its other objects say"), "{again}");
    assert!(again.stdout.contains(&id), "{again}");
    host.sh("pgv verify").success();

    std::fs::remove_file(wal.tree().join("identity")).unwrap();
    told("identity");
    let again = host.sh(&format!("pgv init --pgdata {}", wal.data.display())).success();
    assert!(again.stdout.contains("has its \"identity\" again"), "{again}");
    host.sh("pgv verify").success();
}
