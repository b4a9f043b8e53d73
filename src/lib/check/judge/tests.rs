//! Faults that are hard to plant on a real server, and what bounds them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::judge;
use crate::check::facts::{
    BackupFacts, CheckFacts, RepositoryFacts, ServerPart, Thresholds, TreeFacts, Trial, WalRate,
};
use crate::check::report::{CheckItem, CheckName, CheckState};
use crate::fs::FileSystemRoom;
use crate::pg::{Lsn, SystemIdentifier, TimelineId, WalSegmentName, WalSegmentSize};
use crate::repository::{ClusterName, ClusterRef};
use crate::server::{ArchiverFacts, ServerHealth, SlotFacts, WaitingWal};

const NOW: &str = "2026-11-21T12:00:00Z";
const GIB: u64 = 1 << 30;

fn timeline(number: u32) -> TimelineId {
    TimelineId::new(number).unwrap()
}

fn backup(number: u32, ended: &str) -> BackupFacts {
    BackupFacts {
        id: format!("20261120T000000Z-{number:08x}").parse().unwrap(),
        stop_time: ended.parse().unwrap(),
        timeline: timeline(1),
        stored_bytes: 10 * GIB,
        has_findings: false,
        missing_wal: 0,
    }
}

/// A cluster and a repository that lack nothing.
fn sound() -> CheckFacts {
    let size = WalSegmentSize::new(16 << 20).unwrap();
    let room = FileSystemRoom { available_bytes: 500 * GIB, total_bytes: 1000 * GIB };
    let health = ServerHealth {
        now: NOW.parse().unwrap(),
        in_recovery: false,
        timeline: Some(timeline(1)),
        end_lsn: Lsn::new(100 << 24),
        archiver: ArchiverFacts::default(),
        waiting: Some(WaitingWal { count: 0, oldest: None }),
        slots: Vec::new(),
    };
    let segment = WalSegmentName::from_number(timeline(1), 99, size).unwrap();
    CheckFacts {
        now: NOW.parse().unwrap(),
        configuration_file: Some(PathBuf::from("/etc/pgv/pgv.toml")),
        repository: Ok(RepositoryFacts {
            path: PathBuf::from("/srv/pgv"),
            owner: 100,
            mode: 0o700,
            is_read_only: false,
            room,
        }),
        tree: Some(Ok(TreeFacts {
            cluster: ClusterRef {
                name: ClusterName::parse("main").unwrap(),
                system_identifier: SystemIdentifier::new(7_000_000_000_000_000_001).unwrap(),
            },
            segment_size: size,
            backups: vec![backup(1, "2026-11-13T12:30:00Z"), backup(2, "2026-11-20T12:00:00Z")],
            unreadable: Vec::new(),
            last_segment: Some((segment, Some("2026-11-21T11:59:30Z".parse().unwrap()))),
            end_lsn: Lsn::new(100 << 24),
            holes: Vec::new(),
            missing_histories: Vec::new(),
            // 60 segments an hour, 4 MiB each
            rate: Some(WalRate { segments: 60, span: Duration::from_secs(3600), stored_bytes: 4 << 20 }),
        })),
        server: Ok(ServerPart {
            endpoint: "db1:5432".to_owned(),
            version: "15.4".to_owned(),
            role: "pgv".to_owned(),
            health,
            settings: BTreeMap::new(),
            wal_directory: Some((PathBuf::from("/data/pg_wal"), room)),
            owner: Some(100),
        }),
        trial: Trial::NotMade("not tried"),
        thresholds: Thresholds {
            backup_warning: Duration::from_secs(8 * 86_400),
            backup_critical: Duration::from_secs(15 * 86_400),
        },
    }
}

fn item(facts: &CheckFacts, name: CheckName) -> CheckItem {
    judge(facts).into_iter().find(|item| item.check == name).unwrap()
}

fn tree(facts: &mut CheckFacts) -> &mut TreeFacts {
    facts.tree.as_mut().unwrap().as_mut().unwrap()
}

fn server(facts: &mut CheckFacts) -> &mut ServerPart {
    facts.server.as_mut().unwrap()
}

fn slot(name: &str, active: bool, kept_bytes: u64) -> SlotFacts {
    SlotFacts { name: name.to_owned(), active, kept_bytes: Some(kept_bytes), wal_status: Some("reserved".to_owned()) }
}

#[test]
fn what_lacks_nothing_is_ok() {
    let items = judge(&sound());
    assert!(items.iter().all(|item| item.state == CheckState::Ok && item.advice.is_none()), "{items:#?}");
    // 500 GiB, of which an hour takes 240 MiB of WAL and 61 MiB of backups: 70 days.
    assert!(item(&sound(), CheckName::RepositoryRoom).found.contains("full in 7"), "{items:#?}");
}

#[test]
fn each_fault_has_its_line_and_its_weight() {
    type Plant = fn(&mut CheckFacts);
    let table: &[(CheckName, CheckState, &str, Plant)] = &[
        (CheckName::Slots, CheckState::Warning, "keeps 2.0 GiB", |facts| {
            server(facts).health.slots = vec![slot("used", true, 400 * GIB), slot("old", false, 2 * GIB)];
        }),
        (CheckName::Slots, CheckState::Critical, "more than the file system has left", |facts| {
            server(facts).health.slots = vec![slot("old", false, 501 * GIB)];
        }),
        (CheckName::Repository, CheckState::Critical, "belongs to user 100", |facts| server(facts).owner = Some(26)),
        (CheckName::LastBackup, CheckState::Warning, "has damaged pages", |facts| {
            tree(facts).backups[1].has_findings = true;
            facts.thresholds.backup_warning = Duration::from_secs(30 * 86_400);
            facts.thresholds.backup_critical = Duration::from_secs(30 * 86_400);
        }),
        (CheckName::LastBackup, CheckState::Critical, "none of 2 backups is good", |facts| {
            tree(facts).backups.iter_mut().for_each(|backup| backup.missing_wal = 1);
        }),
        (CheckName::Timeline, CheckState::Warning, "of timeline 1, the server is on 2, and nothing of that", |facts| {
            server(facts).health.timeline = Some(timeline(2));
        }),
        (CheckName::WalRoom, CheckState::Unknown, "cannot be seen from here", |facts| {
            server(facts).wal_directory = None;
        }),
        (CheckName::Archiving, CheckState::Unknown, "not tried", |facts| {
            facts.trial = Trial::NotMade("not tried");
            facts.tree = Some(Err("no identity".to_owned()));
        }),
        (
            CheckName::RepositoryRoom,
            CheckState::Warning,
            "full in 2 days at the present rate, if nothing expires",
            |facts| {
                facts.repository.as_mut().unwrap().room =
                    FileSystemRoom { available_bytes: 15 * GIB, total_bytes: 100 * GIB };
            },
        ),
        (CheckName::RepositoryRoom, CheckState::Critical, "does not fit", |facts| {
            tree(facts).rate = None;
            facts.repository.as_mut().unwrap().room =
                FileSystemRoom { available_bytes: 9 * GIB, total_bytes: 20 * GIB };
        }),
        (CheckName::WalRoom, CheckState::Critical, "full in 3 h at the present rate", |facts| {
            // 60 segments of 16 MiB an hour
            let part = server(facts);
            part.wal_directory.as_mut().unwrap().1.available_bytes = (3 * 960) << 20;
            part.health.waiting = Some(WaitingWal { count: 40, oldest: Some(NOW.parse().unwrap()) });
        }),
        (CheckName::WaitingWal, CheckState::Warning, "40 files wait", |facts| {
            server(facts).health.waiting = Some(WaitingWal { count: 40, oldest: Some(NOW.parse().unwrap()) });
        }),
        (CheckName::Archiving, CheckState::Critical, "64.0 MiB behind", |facts| {
            tree(facts).end_lsn = Lsn::new(96 << 24);
            let last = tree(facts).last_segment.as_mut().unwrap();
            last.1 = Some("2026-11-21T11:00:00Z".parse().unwrap());
        }),
        (CheckName::Configuration, CheckState::Warning, "no configuration file", |facts| {
            facts.configuration_file = None;
        }),
    ];
    for (name, state, words, plant) in table {
        let mut facts = sound();
        plant(&mut facts);
        let found = item(&facts, *name);
        assert!(found.state == *state && found.found.contains(words), "{words}: {found:#?}");
        assert!(found.advice.is_some(), "{found:#?}");
    }
}

#[test]
fn clocks_that_differ_and_rates_of_nothing_are_no_faults() {
    let mut facts = sound();
    facts.now = "2026-11-01T00:00:00Z".parse().unwrap();
    tree(&mut facts).rate = Some(WalRate { segments: 0, span: Duration::ZERO, stored_bytes: 0 });
    assert!(judge(&facts).iter().all(|item| item.state == CheckState::Ok), "{:#?}", judge(&facts));
}

/// What is advised must not take a repository from those who use it.
#[test]
fn another_accounts_repository_is_not_taken_from_it() {
    let advice = |repository_owner, mode| {
        let mut facts = sound();
        server(&mut facts).owner = Some(26);
        let repository = facts.repository.as_mut().unwrap();
        (repository.owner, repository.mode) = (repository_owner, mode);
        item(&facts, CheckName::Repository).advice.unwrap()
    };
    assert!(advice(0, 0o700).ends_with("account: chown -R 26 /srv/pgv"), "{}", advice(0, 0o700));
    let of_others = advice(100, 0o700);
    assert!(of_others.contains("unless nothing of user 100 uses this one; then as root: chown"), "{of_others}");
    // Whoever may read it by its group goes on to.
    assert_eq!(
        (advice(26, 0o755), advice(26, 0o770)),
        ("chmod -R o-rwx /srv/pgv".into(), "chmod -R go-w,o-rwx /srv/pgv".into())
    );
}
