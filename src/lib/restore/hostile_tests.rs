//! A repository that an enemy could write to: hostile names and links in the map, the tablespace map, the documents and
//! the record of a backup. Nothing outside the directories of the restore is touched, and no link leads out of them.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::testing;
use super::{BackupChoice, MARKER, RestoreError, RestoreOptions, TablespaceChoice};
use crate::clock::SystemClock;
use crate::hostile::{Decoy, Fate, NAMES};
use crate::pg::{ControlFile, RecoveryTarget};
use crate::report::{Cancel, SilentReporter};
use crate::repository::backup_testing::{HandMade, hand_made};
use crate::repository::testing::TestRepository;
use crate::repository::{BackupRecord, DocumentKind, TablespaceRef};

const OID: u32 = 16_400;

/// One repository, what stands beside it, and one backup after the other.
struct Enemy {
    test: TestRepository,
    decoy: Decoy,
    cases: usize,
}

impl Enemy {
    fn new() -> Self {
        let test = crate::repository::testing::repository_in_memory();
        testing::archive_wal(&test);
        let decoy = Decoy::new(&std::fs::canonicalize(test.temp.path()).unwrap());
        Self { test, decoy, cases: 0 }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.decoy.path().with_file_name(name)
    }

    /// Restores a backup that `change` was done to, and checks that nothing but the directories that were named changed.
    fn restore(&mut self, case: &str, change: impl FnOnce(&mut HandMade)) -> Result<PathBuf, RestoreError> {
        self.cases += 1;
        let mut made = HandMade::default();
        made.file("PG_VERSION", b"15\n");
        made.file("postgresql.conf", b"max_connections = 100\n");
        made.file(ControlFile::PATH, &testing::control_file(self.test.cluster.system_identifier));
        made.file("base/1/1", &[7; 10_000]);
        for folder in ["base", "base/1", "global", "pg_tblspc", "pg_wal"] {
            made.directory(folder);
        }
        made.document(DocumentKind::BackupLabel, "backup_label", None, b"START WAL LOCATION: ...\n");
        change(&mut made);
        let data = self.at("data");
        let _ = (std::fs::remove_dir_all(&data), std::fs::remove_dir_all(self.at("space")));
        let record = hand_made(&self.test, made);
        let outcome = self.run(&data, &record);
        // Hundreds of backups would all be looked at each time.
        let tree = self.at("repo/main").join(self.test.cluster.system_identifier.to_string());
        for part in ["backups", "packs"] {
            std::fs::remove_dir_all(tree.join(part).join(record.id.to_string())).unwrap();
        }
        self.decoy.assert_untouched(&["repo", "data", "space"], &case);
        assert_links_stay_inside(&data, &self.at("space"), case);
        if let Err(error) = &outcome {
            assert!(!data.join(ControlFile::PATH).exists(), "{case}: what was refused cannot start");
            crate::fuzz_check::shown(error);
        }
        outcome.map(|()| data)
    }

    fn run(&self, data: &Path, record: &BackupRecord) -> Result<(), RestoreError> {
        let options = RestoreOptions {
            backup: BackupChoice::Id(record.id),
            tablespaces: TablespaceChoice { mapping: Vec::new(), directory: Some(self.at("space")) },
            target: RecoveryTarget::Immediate,
            ..testing::options(&self.test, data)
        };
        std::fs::create_dir_all(self.at("space")).unwrap();
        let planned = super::plan(&options, &SilentReporter, &Cancel::new())?;
        let report = super::run(&options, planned, &SystemClock, &SilentReporter, &Cancel::new())?;
        // What the server is told to read lies in the directory.
        for (name, value) in report.configuration.command_line.iter().filter(|(name, _)| name.ends_with("_file")) {
            let place = Path::new(value);
            let stays = value.is_empty() || place.components().all(|part| part != std::path::Component::ParentDir);
            assert!(stays && (value.is_empty() || place.starts_with(data)), "{name} is \"{value}\"");
        }
        let main = std::fs::read_to_string(data.join("pgv-config/etc/main.conf")).unwrap_or_default();
        let leaves =
            |line: &str| line.contains("/../") || line.ends_with("/..'") || !line.contains(data.to_str().unwrap());
        assert!(!main.lines().any(leaves), "{main}");
        Ok(())
    }
}

/// Of all links only those of tablespaces lead out, and only to where the person put these. A server that starts makes
/// the links that `tablespace_map` names.
fn assert_links_stay_inside(data: &Path, space: &Path, case: &str) {
    let mut folders = vec![data.to_owned(), space.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let kind = std::fs::symlink_metadata(&path).unwrap().file_type();
            if kind.is_symlink() {
                let target = std::fs::read_link(&path).unwrap();
                let is_of_tablespace = path.parent() == Some(&data.join("pg_tblspc")) && target.starts_with(space);
                assert!(is_of_tablespace, "{case}: \"{}\" leads to \"{}\"", path.display(), target.display());
            }
            if kind.is_dir() {
                folders.push(path);
            }
        }
    }
    // A name cut short by an error is no map that anything starts from.
    let map = std::fs::read(data.join("tablespace_map")).unwrap_or_default();
    for line in map.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let target = line.splitn(2, |byte| *byte == b' ').nth(1).unwrap_or_default();
        assert!(target.starts_with(space.as_os_str().as_bytes()), "{case}: {}", line.escape_ascii());
    }
}

fn text(name: &[u8]) -> Option<String> {
    std::str::from_utf8(name).ok().map(str::to_owned)
}

/// A path in the map as an enemy writes it: as text, or as hexadecimal digits.
fn paths(name: &[u8]) -> Vec<String> {
    let hex: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
    let as_text = text(name).map(|text| format!("\"path\":{}", serde_json::to_string(&text).unwrap()));
    as_text.into_iter().chain([format!("\"path_hex\":\"{hex}\"")]).collect()
}

#[test]
fn an_honest_backup_is_restored() {
    let mut enemy = Enemy::new();
    let data = enemy
        .restore("honest", |made| {
            made.tablespaces.push(TablespaceRef { oid: OID, path: PathBuf::from("/original") });
            made.line(&format!("pg_tblspc/{OID}"), &link(&format!("pg_tblspc/{OID}"), "/original"));
            made.document(DocumentKind::TablespaceMap, "tablespace_map", None, format!("{OID} /original\n").as_bytes());
        })
        .unwrap();
    assert_eq!(std::fs::read(data.join("base/1/1")).unwrap(), [7; 10_000]);
    let (link, space) = (data.join(format!("pg_tblspc/{OID}")), enemy.at("space").join(OID.to_string()));
    assert_eq!(std::fs::read_link(link).unwrap(), space);
    assert_eq!(std::fs::read(data.join("tablespace_map")).unwrap(), format!("{OID} {}\n", space.display()).as_bytes());
}

fn link(path: &str, target: &str) -> String {
    format!(
        "{},\"mode\":511,\"modified\":\"2026-11-21T00:00:00Z\",\"kind\":\"link\",\"target\":{}",
        text_path(path),
        serde_json::to_string(target).unwrap()
    )
}

fn text_path(path: &str) -> String {
    format!("\"path\":{}", serde_json::to_string(path).unwrap())
}

#[test]
fn hostile_paths_in_a_map_are_refused_or_plain_names() {
    let mut enemy = Enemy::new();
    for (name, fate) in NAMES {
        let name = enemy.decoy.name(name);
        for path in paths(&name) {
            let folder = format!("{path},\"mode\":448,\"modified\":\"2026-11-21T00:00:00Z\",\"kind\":\"directory\"");
            let outcome = enemy.restore(&path, |made| made.line_bytes(&name, &folder));
            match (fate, outcome) {
                (Fate::Refused, Err(_)) => {}
                (Fate::Refused, Ok(_)) => panic!("{path} was accepted"),
                (Fate::Harmless, Ok(data)) => {
                    let plain = Path::new(std::ffi::OsStr::from_bytes(&name));
                    assert!(data.join(plain).is_dir(), "{path}");
                }
                (Fate::Harmless, Err(error)) => panic!("{path}: {error}"),
            }
        }
    }
    assert!(enemy.cases >= 100, "{}", enemy.cases);
}

/// Names that are plain and would hit what a restore writes itself, or make a file of a directory.
#[test]
fn names_that_a_restore_needs_itself_are_not_overwritten() {
    let mut enemy = Enemy::new();
    for name in [
        MARKER,
        "backup_label",
        "tablespace_map",
        "backup_manifest",
        "global/pg_control.pgv-staged",
        "PG_VERSION/x",
        "postgresql.auto.conf/x",
        "recovery.signal/x",
        "base/1/1/x",
    ] {
        let folder =
            format!("{},\"mode\":448,\"modified\":\"2026-11-21T00:00:00Z\",\"kind\":\"directory\"", text_path(name));
        let with_map = |made: &mut HandMade| made.document(DocumentKind::TablespaceMap, "tablespace_map", None, b"");
        let with_manifest =
            |made: &mut HandMade| made.document(DocumentKind::BackupManifest, "backup_manifest", None, b"{}");
        let outcome = enemy.restore(name, |made| {
            made.line(name, &folder);
            with_map(made);
            with_manifest(made);
        });
        assert!(outcome.is_err(), "{name} as a directory");
        let outcome = enemy.restore(name, |made| {
            made.file(name, b"planted");
            with_map(made);
            with_manifest(made);
        });
        // One file of that name an honest server sends, too: see below.
        assert!(outcome.is_err() || name == MARKER, "{name} as a file");
    }
}

/// A restore that was killed in its last moment leaves its marker in a cluster that is whole, and every backup of that
/// cluster has it.
#[test]
fn the_marker_of_a_killed_restore_is_passed_over() {
    let mut enemy = Enemy::new();
    for content in [b"" as &[u8], b"{}", &[7; 70_000]] {
        let data = enemy.restore("marker", |made| made.file(MARKER, content)).unwrap();
        assert!(std::fs::symlink_metadata(data.join(MARKER)).is_err());
    }
    // Of that name in another place it is a file as any other.
    let data = enemy.restore("base", |made| made.file(&format!("base/1/{MARKER}"), b"theirs")).unwrap();
    assert_eq!(std::fs::read(data.join("base/1").join(MARKER)).unwrap(), b"theirs");
    let linked = enemy.restore("link", |made| made.line(MARKER, &link(MARKER, "/nowhere")));
    assert!(linked.is_err());
}

#[test]
fn links_in_a_map_lead_where_the_person_put_tablespaces_or_are_refused() {
    let mut enemy = Enemy::new();
    let targets = ["DECOY", "DECOY/planted", "../decoy", "/", ""];
    let places = [
        "pg_wal",
        "base",
        "base/1",
        "global",
        "pg_xact",
        "PG_VERSION",
        "postgresql.auto.conf",
        "postgresql.conf",
        "recovery.signal",
        "backup_label",
        "pgv-config",
        "pg_tblspc/1",
        "pg_tblspc/x",
        "pg_tblspc/016400",
        "pg_tblspc/16400/x",
        "pg_tblspc",
    ];
    for place in places {
        for target in targets {
            let target = text(&enemy.decoy.name(target.as_bytes())).unwrap();
            let case = format!("{place} -> {target}");
            let outcome = enemy.restore(&case, |made| {
                made.tablespaces.push(TablespaceRef { oid: OID, path: PathBuf::from("/original") });
                made.lines.retain(|(path, _)| path != place.as_bytes());
                made.line(place, &link(place, &target));
            });
            assert!(outcome.is_err(), "{case} was accepted");
        }
    }
    // The link of a tablespace leads to its new place, whatever the map says.
    for target in targets {
        let target = text(&enemy.decoy.name(target.as_bytes())).unwrap();
        let place = format!("pg_tblspc/{OID}");
        let outcome = enemy.restore(&target, |made| {
            made.tablespaces.push(TablespaceRef { oid: OID, path: PathBuf::from("/original") });
            made.line(&place, &link(&place, &target));
        });
        outcome.unwrap_or_else(|error| panic!("{target}: {error}"));
    }
    assert!(enemy.cases >= 80, "{}", enemy.cases);
}

#[test]
fn a_tablespace_map_names_the_tablespaces_of_the_backup_alone() {
    let mut enemy = Enemy::new();
    for line in [
        "1 DECOY",
        "16401 DECOY",
        "16401 /etc",
        "16400 /original\n16401 DECOY",
        "0 DECOY",
        "4294967296 DECOY",
        "-1 DECOY",
        "x DECOY",
        "../../decoy DECOY",
        "16400",
        "16400 ",
        " /original",
        "16400 /original\n16400 DECOY",
        "16400 /a\n16401 /a",
        "016400 DECOY",
        "16401 ../../decoy",
        "16401 a\\\nb",
        "16401 \\",
    ] {
        let map = enemy.decoy.name(line.as_bytes());
        let outcome = enemy.restore(line, |made| {
            made.tablespaces.push(TablespaceRef { oid: OID, path: PathBuf::from("/original") });
            made.document(DocumentKind::TablespaceMap, "tablespace_map", None, &[&map[..], b"\n"].concat());
        });
        if let Err(error) = outcome {
            crate::fuzz_check::shown(&error);
        } else {
            panic!("{line:?} was accepted");
        }
    }
}

#[test]
fn documents_stay_in_their_folder() {
    let mut enemy = Enemy::new();
    for (name, fate) in NAMES {
        let name = enemy.decoy.name(name);
        let Some(name) = text(&name) else { continue };
        // A configuration file from outside, under a path of its own.
        for path in [name.clone(), format!("/etc/postgresql/{name}")] {
            if path.contains('\0') && *fate == Fate::Harmless {
                continue;
            }
            let case = format!("configuration {path:?}");
            let outcome = enemy.restore(&case, |made| {
                made.document(
                    DocumentKind::Configuration,
                    "configuration-000",
                    Some(PathBuf::from(&path)),
                    b"port = 1\n",
                );
            });
            if let Ok(data) = outcome {
                // Wherever it went, it went below the one folder; the decoy has been compared.
                assert!(data.join("pgv-config").exists(), "{case}");
            }
        }
        // Its settings say where the configuration lies.
        let outcome = enemy.restore(&format!("configuration at {name:?}"), |made| {
            made.settings.insert("data_directory".to_owned(), "/data".to_owned());
            for setting in ["config_file", "hba_file", "ident_file"] {
                made.settings.insert(setting.to_owned(), format!("/data/{name}"));
            }
        });
        drop(outcome);
    }
    assert!(enemy.cases >= 120, "{}", enemy.cases);
}

/// A file that names another by an absolute path, or upwards, reads the copy in the directory, whatever the path is.
#[test]
fn included_files_are_those_of_the_copy() {
    let mut enemy = Enemy::new();
    for (name, _) in NAMES {
        let Some(name) = text(&enemy.decoy.name(name)).filter(|name| !name.contains(['\0', '\n', '\x1b'])) else {
            continue;
        };
        let line = crate::pg::config_lines(&[("include_if_exists", format!("/etc/{name}"))]).unwrap();
        let inside = crate::pg::config_lines(&[("include_if_exists", format!("/data/{name}"))]).unwrap();
        let outcome = enemy.restore(&format!("include {name:?}"), |made| {
            made.settings.insert("data_directory".to_owned(), "/data".to_owned());
            made.settings.insert("config_file".to_owned(), "/etc/main.conf".to_owned());
            let path = Some(PathBuf::from("/etc/main.conf"));
            let text = format!("{line}{inside}include_dir '../../../../up'\n");
            made.document(DocumentKind::Configuration, "configuration-000", path, text.as_bytes());
        });
        outcome.unwrap_or_else(|error| panic!("{name:?}: {error}"));
    }
    assert!(enemy.cases >= 30);
}
