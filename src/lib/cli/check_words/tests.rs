//! Faults that are hard to plant on a real server, and what bounds them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::check::{
    BackupFacts, CheckFacts, FolderFacts, MetricName, RepositoryFacts, ServerPart, Thresholds, TreeFacts, Trial,
    Untried, WalRate,
};
use crate::cli::usage::UsageError;
use crate::fs::FileSystemRoom;
use crate::pg::{Lsn, SystemIdentifier, TimelineId, WalSegmentName, WalSegmentSize};
use crate::repository::{ClusterName, ClusterRef, CostlyHole, Lack};
use crate::server::{ArchiverFacts, FileSetting, ServerHealth, ServerSetting, SlotFacts, WaitingWal};

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
        lacks: Vec::new(),
        are_packs_known: true,
    }
}

fn folder(path: &str) -> FolderFacts {
    FolderFacts { path: PathBuf::from(path), owner: 100, mode: 0o700, is_read_only: false }
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
        archiver: ArchiverFacts {
            last_archived_at: Some("2026-11-21T11:59:30Z".parse().unwrap()),
            ..ArchiverFacts::default()
        },
        waiting: Some(WaitingWal { count: 0, oldest: None }),
        slots: Vec::new(),
    };
    let segment = WalSegmentName::from_number(timeline(1), 99, size).unwrap();
    CheckFacts {
        now: NOW.parse().unwrap(),
        configuration_file: Some(PathBuf::from("/etc/pgv/pgv.toml")),
        repository: Ok(RepositoryFacts {
            directory: folder("/srv/pgv"),
            below: Ok(vec![folder("/srv/pgv/.staging"), folder("/srv/pgv/main/7/wal")]),
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
            left_over_targets: Vec::new(),
            data_directory: Some(PathBuf::from("/data")),
            wal_directory: Some((PathBuf::from("/data/pg_wal"), room)),
            owner: Some(100),
            switched_off: None,
        }),
        trial: Trial::NotMade(Untried::NotAsked),
        thresholds: Thresholds {
            backup_warning: Duration::from_secs(8 * 86_400),
            backup_critical: Duration::from_secs(15 * 86_400),
        },
    }
}

/// A line of the answer.
#[derive(Debug, Clone)]
struct Line {
    check: CheckName,
    state: CheckState,
    found: String,
    advice: Option<String>,
}

fn judge(facts: &CheckFacts) -> Vec<Line> {
    let line = |item: CheckItem| {
        let Words { found, advice } = words(&item, &Typed::default());
        Line { check: item.check, state: item.state, found, advice }
    };
    crate::check::judge(facts).into_iter().map(line).collect()
}

fn item(facts: &CheckFacts, name: CheckName) -> Line {
    judge(facts).into_iter().find(|item| item.check == name).unwrap()
}

fn problem(text: &str) -> Cause {
    Arc::new(UsageError::new(text))
}

fn tree(facts: &mut CheckFacts) -> &mut TreeFacts {
    facts.tree.as_mut().unwrap().as_mut().unwrap()
}

fn server(facts: &mut CheckFacts) -> &mut ServerPart {
    facts.server.as_mut().unwrap()
}

fn other_timeline() -> WalSegmentName {
    WalSegmentName::from_number(timeline(2), 99, WalSegmentSize::new(16 << 20).unwrap()).unwrap()
}

/// A hole of one segment.
fn hole(inside: &[u32], ends: &[u32]) -> CostlyHole {
    let size = WalSegmentSize::new(16 << 20).unwrap();
    let segment = WalSegmentName::from_number(timeline(1), 50, size).unwrap();
    let ids = |numbers: &[u32]| numbers.iter().map(|number| backup(*number, NOW).id).collect();
    CostlyHole { first: segment, last: segment, count: 1, inside_backups: ids(inside), ends_recovery_of: ids(ends) }
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
            server(facts).health.slots = vec![slot("used", true, GIB), slot("old", false, 2 * GIB)];
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
        (CheckName::LastBackup, CheckState::Critical, "20261120T000000Z-00000002, newer, lacks pack", |facts| {
            let lack = Lack::Pack { backup: tree(facts).backups[1].id, ordinal: 0 };
            tree(facts).backups[1].lacks.push(lack);
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
            facts.trial = Trial::NotMade(Untried::NotAsked);
            facts.tree = Some(Err(problem("no identity")));
        }),
        (
            CheckName::RepositoryRoom,
            CheckState::Warning,
            "full in 2 d 2 h at the present rate, if nothing expires",
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
        (CheckName::WalRoom, CheckState::Warning, "1000.0 MiB free", |facts| {
            // Enough for days at this rate, which may rise.
            tree(facts).rate = Some(WalRate { segments: 1, span: Duration::from_secs(3600), stored_bytes: 4 << 20 });
            server(facts).wal_directory.as_mut().unwrap().1.available_bytes = 1000 << 20;
        }),
        (CheckName::WalRoom, CheckState::Warning, "free at \"/data/pg_wal\": WAL is not leaving it", |facts| {
            tree(facts).rate = None;
            server(facts).health.waiting = Some(WaitingWal { count: 40, oldest: Some(NOW.parse().unwrap()) });
        }),
        (CheckName::WalRoom, CheckState::Warning, "9.0 GiB free", |facts| {
            tree(facts).rate = None;
            let room = FileSystemRoom { available_bytes: 9 * GIB, total_bytes: 200 * GIB };
            server(facts).wal_directory.as_mut().unwrap().1 = room;
        }),
        (CheckName::WalRoom, CheckState::Critical, "15.0 MiB free", |facts| {
            server(facts).wal_directory.as_mut().unwrap().1.available_bytes = 15 << 20;
        }),
        (CheckName::RepositoryRoom, CheckState::Warning, "1000.0 MiB free", |facts| {
            tree(facts).backups.iter_mut().for_each(|backup| backup.stored_bytes = 1 << 20);
            tree(facts).rate = Some(WalRate { segments: 1, span: Duration::from_secs(3600), stored_bytes: 4 << 20 });
            facts.repository.as_mut().unwrap().room.available_bytes = 1000 << 20;
        }),
        (CheckName::WaitingWal, CheckState::Warning, "40 files wait", |facts| {
            server(facts).health.waiting = Some(WaitingWal { count: 40, oldest: Some(NOW.parse().unwrap()) });
        }),
        (CheckName::WaitingWal, CheckState::Warning, "1 file waits, for 10 min", |facts| {
            let oldest = Some("2026-11-21T11:50:00Z".parse().unwrap());
            server(facts).health.waiting = Some(WaitingWal { count: 1, oldest });
        }),
        (CheckName::Archiving, CheckState::Critical, "64.0 MiB behind", |facts| {
            tree(facts).end_lsn = Lsn::new(96 << 24);
            let last = tree(facts).last_segment.as_mut().unwrap();
            last.1 = Some("2026-11-21T11:00:00Z".parse().unwrap());
        }),
        (CheckName::Holes, CheckState::Critical, "missing: 000000010000000000000032", |facts| {
            tree(facts).holes = vec![hole(&[], &[1, 2])];
        }),
        (CheckName::Holes, CheckState::Critical, "missing: 000000010000000000000032", |facts| {
            tree(facts).holes = vec![hole(&[2], &[])];
        }),
        (CheckName::Holes, CheckState::Warning, "missing: 000000010000000000000032", |facts| {
            tree(facts).holes = vec![hole(&[], &[1])];
        }),
        (
            CheckName::Timeline,
            CheckState::Critical,
            "the server is on timeline 1, the archive has timeline 2",
            |facts| {
                tree(facts).last_segment.as_mut().unwrap().0 = other_timeline();
            },
        ),
        (CheckName::Timeline, CheckState::Unknown, "that of the server is not known", |facts| {
            server(facts).health.timeline = None;
        }),
        (CheckName::Timeline, CheckState::Unknown, "no WAL is archived yet", |facts| {
            tree(facts).last_segment = None;
        }),
        (CheckName::Holes, CheckState::Unknown, "no WAL is archived yet", |facts| tree(facts).last_segment = None),
        (CheckName::History, CheckState::Unknown, "no WAL is archived yet", |facts| {
            tree(facts).last_segment = None;
            tree(facts).backups.clear();
        }),
        (CheckName::Archiver, CheckState::Unknown, "archived nothing and failed at nothing", |facts| {
            server(facts).health.archiver = ArchiverFacts::default();
        }),
        (CheckName::Archiving, CheckState::Unknown, "does not say where its WAL ends", |facts| {
            server(facts).health.end_lsn = None;
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

/// Whoever watches a line must not take its silence for health.
#[test]
fn every_thing_has_its_line_and_what_was_not_seen_is_unknown() {
    type Plant = fn(&mut CheckFacts);
    const OF_SERVER: [&str; 6] = ["settings", "archiving", "waiting_wal", "archiver", "pg_wal_room", "slots"];
    const OF_TREE: [&str; 5] = ["last_backup", "catalog", "holes", "history", "timeline"];
    let table: [(Plant, &str, Vec<&str>); 4] = [
        (|facts| facts.server = Err(problem("refused")), "server", [&OF_SERVER[..], &["timeline"]].concat()),
        (|facts| facts.tree = Some(Err(problem("unknown"))), "repository", [&["archiving"][..], &OF_TREE].concat()),
        (
            |facts| (facts.repository, facts.tree) = (Err(problem("nothing there")), None),
            "repository",
            [&["repository_room", "archiving"][..], &OF_TREE].concat(),
        ),
        (|_| {}, "", Vec::new()),
    ];
    let names = |items: &[Line]| items.iter().map(|item| item.check.word()).collect::<Vec<_>>();
    for (plant, critical, unknown) in table {
        let mut facts = sound();
        plant(&mut facts);
        let items = judge(&facts);
        assert_eq!(names(&items), names(&judge(&sound())));
        let in_state = |state| items.iter().filter(|item| item.state == state).cloned().collect::<Vec<_>>();
        assert_eq!(names(&in_state(CheckState::Unknown)), unknown, "{items:#?}");
        assert_eq!(names(&in_state(CheckState::Critical)).concat(), critical, "{items:#?}");
        assert!(in_state(CheckState::Unknown).iter().all(|item| item.advice.is_some()), "{items:#?}");
    }
}

/// The worst of all says how they are; each that is not well is named, with what to do about it.
#[test]
fn each_slot_is_judged() {
    let judged = |slots: &[(&str, bool, u64, &str)]| {
        let mut facts = sound();
        let slots = slots.iter().map(|(name, active, kept, status)| SlotFacts {
            wal_status: Some((*status).to_owned()),
            ..slot(name, *active, *kept)
        });
        server(&mut facts).health.slots = slots.collect();
        let item = item(&facts, CheckName::Slots);
        (item.state, item.found, item.advice.unwrap_or_default())
    };
    let (state, found, advice) = judged(&[("stuck", true, 501 * GIB, "extended")]);
    let words = "\"stuck\" (in use) keeps 501.0 GiB, more than max_wal_size, more than the file system has left";
    assert_eq!((state, found.as_str()), (CheckState::Critical, words));
    assert!(advice.starts_with("Who uses \"stuck\" does not keep up") && !advice.contains("drop"), "{advice}");
    assert_eq!(judged(&[("behind", true, 2 * GIB, "reserved")]).0, CheckState::Warning);
    let (state, found, _) = judged(&[("soon", true, 3 << 20, "unreserved")]);
    assert!(state == CheckState::Warning && found.ends_with("and may lose it at the next checkpoint"), "{found}");
    // Beyond the limits of a small max_wal_size, and far from anything to do.
    assert_eq!(judged(&[("small", true, 64 << 20, "extended")]).0, CheckState::Ok);
    // One that is lost hides no other.
    let of_all = [
        ("gone", false, 0, "lost"),
        ("fine", true, 5, "reserved"),
        ("old", false, 2 * GIB, "extended"),
        ("huge", false, 600 * GIB, "extended"),
    ];
    let (state, found, advice) = judged(&of_all);
    let positions = ["\"huge\"", "\"gone\" has lost", "\"old\""].map(|name| found.find(name).unwrap());
    assert!(state == CheckState::Critical && positions.is_sorted() && !found.contains("fine"), "{found}");
    for name in ["gone", "old", "huge"] {
        assert!(advice.contains(&format!("SELECT pg_drop_replication_slot('{name}');")), "{advice}");
    }
}

/// The archive's own rate is the old one exactly when nothing arrives.
#[test]
fn pg_wal_lasts_as_long_as_what_is_not_archived_says() {
    let at = |bytes: u64, stored: &str| {
        let mut facts = sound();
        // 60 segments of 16 MiB an hour are archived: 500 GiB last for weeks.
        let archived = tree(&mut facts).end_lsn.unwrap();
        server(&mut facts).health.end_lsn = Lsn::new(archived.get() + bytes);
        tree(&mut facts).last_segment.as_mut().unwrap().1 = Some(stored.parse().unwrap());
        server(&mut facts).health.archiver.last_failed_at = Some(NOW.parse().unwrap());
        facts
    };
    let told = |facts: &CheckFacts| {
        let numbers = crate::check::numbers(facts, &crate::check::judge(facts));
        let lasts = numbers.iter().find(|metric| metric.name == MetricName::WalFull).map(|metric| metric.value);
        (item(facts, CheckName::WalRoom).found, lasts)
    };
    let old = 500 * GIB * 3600 / (60 * (16 << 20));
    // 10 GiB in 100 s: 5000 s for 500 GiB.
    let mut facts = at(10 * GIB, "2026-11-21T11:58:20Z");
    let (found, lasts) = told(&facts);
    assert!(found.contains("full in 1 h 23 min at the present rate"), "{found}");
    assert_eq!((lasts, item(&facts, CheckName::WalRoom).state), (Some(5000), CheckState::Critical));
    // It is a rate where the archive has none yet.
    tree(&mut facts).rate = None;
    assert_eq!(told(&facts).1, Some(5000));
    // What came within moments is no rate of an hour: a minute is the least.
    assert_eq!(told(&at(10 * GIB, "2026-11-21T11:59:52Z")).1, Some(3000));
    // The larger of both.
    assert_eq!(told(&at(GIB, "2026-11-20T12:00:00Z")).1.unwrap() / 1000, old / 1000);
    assert_eq!(told(&at(0, "2026-11-20T12:00:00Z")).1.unwrap() / 1000, old / 1000);
}

/// A segment that just began says nothing, nor does an archiver that catches up.
#[test]
fn what_arrives_is_measured_by_what_arrived() {
    let mut facts = sound();
    let archived = tree(&mut facts).end_lsn.unwrap();
    let before = item(&facts, CheckName::WalRoom).found;
    server(&mut facts).health.end_lsn = Lsn::new(archived.get() + 10 * GIB);
    tree(&mut facts).last_segment.as_mut().unwrap().1 = Some("2026-11-21T11:59:58Z".parse().unwrap());
    assert_eq!(item(&facts, CheckName::WalRoom).found, before);
}

/// Where a rate says how long the room lasts, percents say nothing more.
#[test]
fn little_of_much_is_enough() {
    const TIB: u64 = 1 << 40;
    let mut facts = sound();
    let room = FileSystemRoom { available_bytes: TIB - GIB, total_bytes: 100 * TIB };
    facts.repository.as_mut().unwrap().room = room;
    server(&mut facts).wal_directory.as_mut().unwrap().1 = room;
    for name in [CheckName::RepositoryRoom, CheckName::WalRoom] {
        assert_eq!(item(&facts, name).state, CheckState::Ok, "{:#?}", item(&facts, name));
    }
    tree(&mut facts).rate = None;
    assert_eq!(item(&facts, CheckName::RepositoryRoom).state, CheckState::Critical);
    assert_eq!(item(&facts, CheckName::WalRoom).state, CheckState::Warning);
}

/// The words that every program has for an error go before those of the check.
#[test]
fn what_to_do_about_an_error_is_said_as_elsewhere() {
    let hinted = || -> Cause { Arc::new(UsageError::new("it failed").with_hint("Do this.").with_hint("Or that.")) };
    let advice = |facts: &CheckFacts, name| item(facts, name).advice.unwrap();
    let mut facts = sound();
    facts.server = Err(hinted());
    assert_eq!(advice(&facts, CheckName::Server), "Do this. Or that.");
    facts.tree = Some(Err(hinted()));
    assert_eq!(advice(&facts, CheckName::Repository), "Do this. Or that.");
    facts.repository = Err(hinted());
    let repository = advice(&facts, CheckName::Repository);
    assert_eq!(repository, "Nothing in it was looked at. Do this. Or that.");
}

/// pgv init has no line for what is written already, nor for what it does not ask of a server.
#[test]
fn a_setting_has_the_advice_that_mends_it() {
    let advice = |values: &[(&str, &str)]| {
        let mut facts = sound();
        for (name, value) in values {
            let setting = ServerSetting {
                value: (*value).to_owned(),
                unit: None,
                context: "postmaster".to_owned(),
                source: "configuration file".to_owned(),
                source_file: None,
                source_line: None,
                pending_restart: *name == "max_wal_senders",
            };
            server(&mut facts).settings.insert((*name).to_owned(), setting);
        }
        item(&facts, CheckName::Settings).advice.unwrap()
    };
    let restart = "Restart the server when that suits.";
    assert_eq!(advice(&[("max_wal_senders", "10")]), restart);
    assert_eq!(advice(&[("max_wal_senders", "10"), ("data_checksums", "off")]), restart);
    let by_init = advice(&[("max_wal_senders", "0")]);
    assert!(by_init.starts_with("pgv init prints each line"), "{by_init}");
    let fsync = "ALTER SYSTEM SET fsync = on; SELECT pg_reload_conf();";
    assert_eq!(advice(&[("fsync", "off")]), fsync);
    assert_eq!(advice(&[("fsync", "off"), ("max_wal_senders", "0")]), format!("{fsync} {by_init}"));
}

/// The target of a recovery that is over.
#[test]
fn a_left_over_target_is_critical_and_has_its_command() {
    let mut facts = sound();
    let left = |name: &str, value: &str, file: &str| FileSetting {
        name: name.to_owned(),
        value: value.to_owned(),
        file: PathBuf::from(file),
    };
    server(&mut facts).data_directory = Some(PathBuf::from("/it's"));
    server(&mut facts).left_over_targets = vec![
        left("recovery_target_lsn", "0/500", "/it's/postgresql.auto.conf"),
        left("recovery_target_timeline", "2", "/it's/postgresql.auto.conf"),
    ];
    let Line { state, found, advice, .. } = item(&facts, CheckName::Settings);
    assert_eq!(state, CheckState::Critical);
    assert!(found.contains("recovery_target_lsn = '0/500' is left over in \"/it's/postgresql.auto.conf\""), "{found}");
    assert!(found.contains("recovery_target_timeline = '2' is left over"), "{found}");
    assert_eq!(advice.unwrap(), r"Take it out: pgv-recovery-conf --clear -D '/it'\''s'");
    server(&mut facts).left_over_targets = vec![left("recovery_target", "immediate", "/etc/main.conf")];
    assert_eq!(item(&facts, CheckName::Settings).advice.unwrap(), "Take recovery_target out of \"/etc/main.conf\".");
}

#[test]
fn commands_can_be_pasted_whatever_the_path() {
    let mut facts = sound();
    let directory = &mut facts.repository.as_mut().unwrap().directory;
    (directory.path, directory.mode) = (PathBuf::from("/srv/our pgv's"), 0o777);
    let quoted = r"'/srv/our pgv'\''s'";
    assert_eq!(item(&facts, CheckName::Repository).advice.unwrap(), format!("chmod -R go-w,o-rwx {quoted}"));
    server(&mut facts).owner = Some(26);
    let advice = item(&facts, CheckName::Repository).advice.unwrap();
    assert!(advice.ends_with(&format!("chown -R 26 {quoted}")), "{advice}");
}

/// One folder in which nothing can be stored stops archiving, whatever the directory above allows.
#[test]
fn the_folders_of_a_repository_are_looked_at_too() {
    type Plant = fn(&mut FolderFacts);
    let table: [(Plant, &str, &str); 4] = [
        (|wal| wal.mode = 0o777, "has mode 0777: other accounts may write", "chmod -R go-w,o-rwx /srv/pgv/main/7/wal"),
        (|wal| wal.mode = 0o500, "has mode 0500: its owner cannot write", "chmod u+rwx /srv/pgv/main/7/wal"),
        (|wal| wal.is_read_only = true, "has mode 0700: its owner cannot", "Is its file system mounted read-only?"),
        (|wal| wal.owner = 0, "belongs to user 0, the repository to", "As root: chown -R 100 /srv/pgv/main/7/wal"),
    ];
    for (plant, found, advice) in table {
        let mut facts = sound();
        plant(&mut facts.repository.as_mut().unwrap().below.as_mut().unwrap()[1]);
        let line = item(&facts, CheckName::Repository);
        assert!(line.state == CheckState::Critical && line.found.contains(found), "{line:?}");
        assert!(
            line.found.starts_with("\"/srv/pgv/main/7/wal\"") && line.advice.as_deref() == Some(advice),
            "{line:?}"
        );
    }
    // All of it cannot be written to: that is told once, of the whole.
    let mut facts = sound();
    let repository = facts.repository.as_mut().unwrap();
    repository
        .below
        .iter_mut()
        .flatten()
        .chain([&mut repository.directory])
        .for_each(|folder| folder.is_read_only = true);
    assert_eq!(item(&facts, CheckName::Repository).state, CheckState::Ok);
    assert_eq!(item(&facts, CheckName::RepositoryRoom).state, CheckState::Critical);
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
        repository.below = Ok(Vec::new());
        (repository.directory.owner, repository.directory.mode) = (repository_owner, mode);
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

#[test]
fn a_server_of_another_cluster_may_be_the_wrong_one() {
    let error = SelectionError::Repository(RepositoryError::OtherSystem {
        cluster: "main".to_owned(),
        store: "\"/srv/pgv\"".to_owned(),
        registered: Vec::new(),
        found: SystemIdentifier::new(7).unwrap(),
    });
    let hints = hints_of(&error, &Typed::default());
    assert!(hints[0].ends_with("pgv init --cluster main --upgraded"), "{hints:?}");
    assert!(hints[1].contains("-h, -p or -d"), "{hints:?}");
}
