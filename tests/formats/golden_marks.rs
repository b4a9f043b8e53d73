//! A golden repository with what the first one has not: a backup that read the files itself, with findings, and what a server
//! of 18 says of itself; pins; every mark, on a listed backup, on one that was given up, and on one that is being deleted.

use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pgv::clock::SystemClock;
use pgv::codec::ObjectKind;
use pgv::expire::{self, ExpireOptions, Fate, Rules};
use pgv::info::{InfoOptions, gather};
use pgv::repository::{BackupMethod, BackupRecord, ClusterName, Repository};
use serde::Serialize;

use crate::fixture::{self, FIRST, SECOND, backup_id};
use crate::golden::{TABLESPACE, copy_tree, data};
use crate::listing::{listing, open};
use crate::sealing;
use crate::verified::verified;

const DIRECT: &str = "20261123T143000Z-00000003";
const GIVEN_UP: &str = "20261124T143000Z-00000004";
const DELETED: &str = "20261125T143000Z-00000005";

/// Every kind of mark: whose, under which name, and why.
const NOTES: [(&str, &str, ObjectKind, &str); 6] = [
    (FIRST, "pins/00c0ffee", ObjectKind::Pin, "for the auditors: é"),
    (FIRST, "pins/0badcafe", ObjectKind::Pin, ""),
    (SECOND, "doubt", ObjectKind::Doubt, "retention wants it gone"),
    (GIVEN_UP, "suspect", ObjectKind::Suspect, "its writer has ended"),
    (DELETED, "doubt", ObjectKind::Doubt, "retention wants it gone"),
    (DELETED, "gone", ObjectKind::Gone, "retention wants it gone"),
];

#[derive(Serialize)]
struct NoteText {
    id: &'static str,
    host: &'static str,
    set: &'static str,
    reason: &'static str,
}

fn golden() -> PathBuf {
    data().join("format-v1-marks")
}

/// A copy of the repository, with the folder that version control cannot keep empty.
fn copied(to: &Path) -> PathBuf {
    let root = to.join("repository");
    copy_tree(&golden().join("repository"), &root);
    std::fs::create_dir(root.join(".staging")).unwrap();
    root
}

fn direct(record: &mut BackupRecord) {
    let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    record.method = BackupMethod::Direct;
    record.node.is_standby = true;
    record.version_num = 150_021;
    record.server.libraries = pairs(&[
        ("os", "Debian GNU/Linux 12"),
        ("libc", "2.36"),
        ("icu", "72.1"),
        ("libc_collation", "2.36"),
        ("icu_collation", "153.120"),
    ]);
    record.server.settings = pairs(&[("io_method", "worker"), ("wal_level", "logical")]);
    record.findings = vec!["base/5/16384: page 3 has a wrong checksum".to_owned(), "and 12 more".to_owned()];
}

fn write(root: &Path) -> Repository {
    let tablespace = Path::new(TABLESPACE);
    let fixture = fixture::write(root, tablespace);
    fixture.full_backup(DIRECT, tablespace, direct);
    for (backup, parents) in [(GIVEN_UP, &[FIRST][..]), (DELETED, &[])] {
        drop(fixture.begin(backup, parents));
    }
    for (id, object, kind, reason) in NOTES {
        let note = NoteText { id, host: "db1.example.org", set: "2026-11-26T14:30:00.5Z", reason };
        sealing::create_json(&fixture, id, object, kind, &note);
    }
    fixture.repository
}

/// What `pgv info` says of marks and pins.
fn marks(repository: &Repository) -> String {
    let options =
        InfoOptions { url: "/repo".to_owned(), path: "/repo".into(), configuration_file: None, cluster: None };
    let report = gather(repository, options).unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    let mut text = String::new();
    for tree in report.clusters.iter().flat_map(|cluster| &cluster.trees) {
        for backup in &tree.backups {
            let doubt = if backup.is_expiring { ", to go" } else { "" };
            writeln!(text, "marks of {} by {}{doubt}: {:?}", backup.id, backup.method, backup.findings).unwrap();
            for pin in &backup.pins {
                writeln!(text, "  pinned on {} at {}: {}", pin.host, pin.set, pin.reason).unwrap();
            }
        }
        for unfinished in &tree.unfinished_backups {
            let host = unfinished.host.as_deref().unwrap_or_default();
            writeln!(text, "unfinished {} of {host}, {}", unfinished.id, unfinished.began.unwrap()).unwrap();
        }
        for id in &tree.being_deleted {
            writeln!(text, "being deleted {id}").unwrap();
        }
    }
    text
}

#[test]
fn golden_marks_are_read_in_full() {
    let temp = tempfile::tempdir().unwrap();
    let repository = open(&copied(temp.path())).unwrap();
    let expected = std::fs::read_to_string(golden().join("listing.txt")).unwrap();
    assert_eq!(listing(&repository).unwrap() + &marks(&repository), expected);
    for (_, _, _, reason) in &NOTES[..2] {
        assert!(expected.contains(&format!("2026-11-26T14:30:00.5Z: {reason}\n")), "{reason}");
    }
}

/// No object is damaged, and retention keeps what is pinned.
#[test]
fn golden_marks_are_sound_and_hold() {
    let temp = tempfile::tempdir().unwrap();
    let root = copied(temp.path());
    let report = verified(&root);
    let damaged = report.damaged.iter().filter(|finding| !finding.object.starts_with("WAL segments "));
    assert_eq!(damaged.count(), 0, "{:#?}", report.damaged);
    let options = ExpireOptions {
        url: root.display().to_string(),
        path: root.clone(),
        configuration_file: None,
        host: "db1".to_owned(),
        clusters: vec![ClusterName::parse("main").unwrap()],
        rules: Rules {
            keep: NonZeroU32::new(1),
            keep_days: None,
            wal_days: None,
            grace: Duration::ZERO,
            allow_many: true,
        },
    };
    let plan = expire::plan(&open(&root).unwrap(), &options, &SystemClock).unwrap();
    let backups: Vec<_> = plan.trees.iter().flat_map(|tree| &tree.backups).collect();
    assert_eq!(backups.len(), 3);
    let first = backups.iter().find(|backup| backup.id == backup_id(FIRST)).unwrap();
    assert!(matches!(first.fate, Fate::Stays { .. }), "{first:?}");
}

/// What the fixture puts in, with the names and words of today.
#[test]
fn marks_that_were_written_are_read_back() {
    let temp = tempfile::tempdir().unwrap();
    let text = marks(&write(&temp.path().join("repository")));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "marks of 20261121T143000Z-00000001 by stream: []",
            "  pinned on db1.example.org at 2026-11-26T14:30:00.5Z: for the auditors: é",
            "  pinned on db1.example.org at 2026-11-26T14:30:00.5Z: ",
            "marks of 20261122T143000Z-00000002 by stream, to go: []",
            "marks of 20261123T143000Z-00000003 by direct: [\"base/5/16384: page 3 has a wrong checksum\", \"and 12 more\"]",
            "unfinished 20261124T143000Z-00000004 of db1.example.org, 2026-11-21T14:30:00Z",
            "being deleted 20261125T143000Z-00000005",
        ]
    );
}

/// Kept only when PGV_GOLDEN_MARKS names a folder that does not exist: golden repositories are never written again.
#[test]
fn a_golden_repository_with_marks_can_be_written() {
    let temp = tempfile::tempdir().unwrap();
    let folder = std::env::var_os("PGV_GOLDEN_MARKS").map_or_else(|| temp.path().join("golden"), PathBuf::from);
    std::fs::create_dir(&folder).unwrap();
    let repository = write(&folder.join("repository"));
    std::fs::write(folder.join("listing.txt"), listing(&repository).unwrap() + &marks(&repository)).unwrap();
    std::fs::remove_dir(folder.join("repository/.staging")).unwrap();
}
