use std::path::Path;

use super::*;
use crate::codec::CompressionLevel;
use crate::error::ErrorClass;
use crate::pg::{Lsn, PgMajorVersion};
use crate::repository::backup_testing;
use crate::repository::testing::{self, TestRepository};
use crate::repository::{
    BackupBegin, BackupId, BackupMethod, BackupSizes, BackupWriter, NodeDescription, PackOptions, ServerDescription,
    WalFileContent,
};

const SIZE: u64 = 16 << 20;

fn size() -> WalSegmentSize {
    WalSegmentSize::new(SIZE).unwrap()
}

fn register(test: &TestRepository) {
    let identity = ClusterIdentity {
        cluster: test.cluster.name.clone(),
        system_identifier: test.cluster.system_identifier,
        major_version: PgMajorVersion::new(15).unwrap(),
        wal_segment_size: size(),
        since: "2026-11-20T00:00:00Z".parse().unwrap(),
    };
    test.repository.register(&identity, &test.writer).unwrap();
}

fn archive(test: &TestRepository, numbers: impl IntoIterator<Item = u64>) {
    let archive = WalArchive::new(&test.repository, &test.cluster);
    for number in numbers {
        let segment = WalSegmentName::from_number(TimelineId::FIRST, number, size()).unwrap();
        let name = WalFileName::Segment(segment);
        archive.store(&name, WalFileContent::Whole(b"x"), CompressionLevel::DEFAULT, &test.writer).unwrap();
    }
}

fn begin(test: &TestRepository) -> BackupWriter {
    let now = SystemClock.now();
    let id = BackupId::generate(now);
    let begin = BackupBegin { id, host: "host-one".to_owned(), parents: Vec::new(), began: now };
    BackupWriter::begin(&test.repository, &test.cluster, &test.writer, &begin).unwrap()
}

/// A backup that needs the segments from `first` to `last`.
fn back_up(test: &TestRepository, first: u64, last: u64) -> BackupId {
    let mut writer = begin(test);
    let packs = writer.packs(PackOptions::default()).unwrap();
    let content = writer.store_map(Vec::new(), packs).unwrap();
    let time = "2026-11-21T00:00:00Z".parse().unwrap();
    let record = BackupRecord {
        required_features: Vec::new(),
        id: writer.id(),
        sequence: writer.sequence(),
        previous: None,
        parents: Vec::new(),
        cluster: test.cluster.name.clone(),
        system_identifier: test.cluster.system_identifier,
        method: BackupMethod::Stream,
        label: "weekly".to_owned(),
        node: NodeDescription { host: "/tmp".to_owned(), port: 5432, is_standby: false },
        major_version: PgMajorVersion::new(15).unwrap(),
        version_num: 150_020,
        pgv_version: "0".to_owned(),
        start_lsn: Lsn::new(first * SIZE + 0x28).unwrap(),
        start_timeline: TimelineId::FIRST,
        stop_lsn: Lsn::new((last + 1) * SIZE).unwrap(),
        stop_timeline: TimelineId::FIRST,
        start_time: time,
        stop_time: time,
        wal_segment_size: size(),
        block_bytes: 8192,
        data_checksums: true,
        sizes: BackupSizes::default(),
        root_digest: content.root_digest,
        needs_digest: content.needs_digest,
        documents: Vec::new(),
        tablespaces: Vec::new(),
        server: ServerDescription::default(),
        findings: vec!["one page is bad".to_owned()],
    };
    let id = writer.id();
    writer.finish(&record).unwrap();
    id
}

fn info(test: &TestRepository, cluster: Option<&str>) -> InfoReport {
    let options = InfoOptions {
        url: "file:///repo".to_owned(),
        path: "/repo".into(),
        configuration_file: None,
        cluster: cluster.map(|name| ClusterName::parse(name).unwrap()),
    };
    gather(&test.repository, options).unwrap()
}

fn damage(test: &TestRepository, relative: &str) {
    let path = test.temp.path().join("repo").join(relative);
    let mut bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    // In the header, which its MAC covers.
    bytes[100] ^= 1;
    std::fs::write(&path, bytes).unwrap();
}

fn tree_path(test: &TestRepository) -> String {
    format!("{}/{}", test.cluster.name, test.cluster.system_identifier)
}

#[test]
fn an_empty_repository_and_an_unknown_cluster_are_answers() {
    let test = testing::repository();
    let report = info(&test, None);
    assert!(report.clusters.is_empty() && report.incomplete().is_none());
    register(&test);
    assert_eq!(info(&test, None).clusters.len(), 1);
    assert_eq!(info(&test, Some("main")).clusters.len(), 1);
    assert!(info(&test, Some("other")).clusters.is_empty());
}

#[test]
fn backups_wal_holes_and_writers_are_shown_together() {
    let test = testing::repository();
    register(&test);
    archive(&test, [2, 3, 4, 7, 8]);
    let (good, torn, later) = (back_up(&test, 2, 3), back_up(&test, 4, 7), back_up(&test, 7, 8));
    let unfinished = begin(&test).id();
    let report = info(&test, None);
    assert!(report.incomplete().is_none(), "{:?}", report.problems);
    let tree = &report.clusters[0].trees[0];
    assert_eq!(tree.backups.iter().map(|backup| backup.id).collect::<Vec<_>>(), [good, torn, later]);
    let missing: Vec<String> = tree.backups[1].missing_wal.iter().map(ToString::to_string).collect();
    assert_eq!(missing, ["000000010000000000000005", "000000010000000000000006"]);
    assert_eq!(tree.backups[0].wal_until.unwrap().to_string(), "000000010000000000000004");
    assert_eq!((tree.backups[1].wal_until, tree.backups[0].findings.len()), (None, 1));
    assert_eq!(tree.unfinished_backups[0].id, unfinished);
    assert_eq!(tree.unfinished_backups[0].host.as_deref(), Some("host-one"));
    let timeline = &tree.wal[0];
    assert_eq!(timeline.ranges.iter().map(|range| range.count).collect::<Vec<_>>(), [3, 2]);
    assert!(timeline.ranges.iter().all(|range| range.last_archived_at >= range.first_archived_at));
    assert!(timeline.ranges[0].first_archived_at.is_some());
    let hole = &timeline.holes[0];
    assert_eq!((hole.count, &hole.inside_backups, &hole.ends_recovery_of), (2, &vec![torn], &vec![good]));
    assert_eq!(report.clusters[0].writers[0].directory, Path::new("/data/one"));
}

/// Rows: what is damaged, what the problem is about, and that the rest is there.
#[test]
fn what_is_damaged_is_named_and_hides_nothing_else() {
    let test = testing::repository();
    register(&test);
    archive(&test, 2..=9);
    let (bad, good) = (back_up(&test, 2, 3), back_up(&test, 4, 5));
    let tree = tree_path(&test);
    let writer = test.writer.id();
    for (relative, object) in [
        (format!("{tree}/backups/{bad}/record"), format!("backup \"{bad}\"")),
        (format!("{tree}/identity"), format!("registration of cluster {}", test.cluster)),
        (format!("main/writers/{writer}"), format!("writer \"{writer}\" of cluster \"main\"")),
    ] {
        damage(&test, &relative);
        let report = info(&test, None);
        assert_eq!(report.incomplete().unwrap().class(), ErrorClass::Corrupt, "{relative}");
        assert!(report.problems.iter().any(|problem| problem.object == object), "{:?}", report.problems);
        let tree = &report.clusters[0].trees[0];
        assert_eq!(tree.backups.iter().map(|backup| backup.id).collect::<Vec<_>>(), [good]);
        assert_eq!((tree.unreadable_backups[0].id, tree.wal_segment_bytes), (bad, Some(SIZE)));
        assert_eq!(tree.wal[0].ranges[0].count, 8);
    }
    let report = info(&test, None);
    assert_eq!((report.problems.len(), report.clusters[0].writers.len()), (3, 0));
    // What is missing is damage as well.
    std::fs::remove_file(test.root().join(format!("{tree}/identity"))).unwrap();
    let report = info(&test, None);
    assert_eq!(report.incomplete().unwrap().class(), ErrorClass::Corrupt);
    let object = format!("registration of cluster {}", test.cluster);
    assert!(report.problems.iter().any(|problem| problem.object == object), "{:?}", report.problems);
    assert_eq!((report.problems.len(), report.clusters[0].trees[0].backups.len()), (3, 1));
}

/// A backup counts by its begin and its record: when the first is damaged or gone, that is said.
#[test]
fn a_damaged_or_missing_begin_is_named() {
    let test = testing::repository();
    register(&test);
    archive(&test, 2..=9);
    let (bad, headless) = (back_up(&test, 2, 3), back_up(&test, 4, 5));
    let unfinished = begin(&test).id();
    let tree = tree_path(&test);
    assert!(info(&test, None).problems.is_empty());
    damage(&test, &format!("{tree}/backups/{bad}/begin"));
    damage(&test, &format!("{tree}/backups/{unfinished}/begin"));
    std::fs::remove_file(test.root().join(format!("{tree}/backups/{headless}/begin"))).unwrap();
    let report = info(&test, None);
    let problem = |object: String| report.problems.iter().find(|problem| problem.object == object).unwrap();
    for (object, id, says) in [
        (format!("begin of backup \"{bad}\""), bad, "is damaged"),
        (format!("begin of backup \"{headless}\""), headless, "it is missing, while the backup has a record"),
        (format!("unfinished backup \"{unfinished}\""), unfinished, "is damaged"),
    ] {
        let problem = problem(object);
        assert_eq!(problem.class, ErrorClass::Corrupt);
        assert!(
            problem.reason.contains(&format!("/backups/{id}/begin\"")) && problem.reason.contains(says),
            "{problem:?}"
        );
    }
    assert_eq!(report.problems.len(), 3, "{:?}", report.problems);
    let tree = &report.clusters[0].trees[0];
    assert_eq!(tree.backups.iter().map(|backup| backup.id).collect::<Vec<_>>(), [bad]);
    assert_eq!(tree.unfinished_backups[0].id, unfinished);
}

/// A backup may need packs of earlier ones: what is not there of them is said of each that needs it.
#[test]
fn packs_of_a_backup_and_of_its_parents_are_looked_for() {
    let test = testing::repository();
    register(&test);
    let content = || (0..100_000u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>();
    let files = ["base/1/1", "base/1/2"].map(|name| (name.to_owned(), content())).into();
    let small = PackOptions { pack_bytes: 300_000, ..PackOptions::default() };
    let first = backup_testing::backup(&test, &files, small);
    let second = backup_testing::backup_referring_to(&test, &first);
    let other = backup_testing::backup(&test, &files, PackOptions::default());
    let found = || -> Vec<(BackupId, Vec<BackupId>, Vec<String>)> {
        let report = info(&test, None);
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        let backups = report.clusters[0].trees[0].backups.iter();
        backups.map(|backup| (backup.id, backup.parents.clone(), backup.missing_packs.clone())).collect()
    };
    let none = Vec::new;
    let whole =
        [(first.id, none(), Vec::new()), (second.id, vec![first.id], Vec::new()), (other.id, none(), Vec::new())];
    assert_eq!(found(), whole);
    std::fs::remove_file(test.root().join(format!("{}/packs/{}/00000001", tree_path(&test), first.id))).unwrap();
    let lost = vec![format!("{}/00000001", first.id)];
    let expected =
        [(first.id, none(), lost.clone()), (second.id, vec![first.id], lost), (other.id, none(), Vec::new())];
    assert_eq!(found(), expected);
    std::fs::remove_file(test.root().join(format!("{}/backups/{}/needs", tree_path(&test), other.id))).unwrap();
    let report = info(&test, None);
    assert_eq!(report.problems[0].object, format!("table of packs of backup \"{}\"", other.id));
    assert_eq!(report.incomplete().unwrap().class(), ErrorClass::Corrupt);
}

/// A pack that was cut is as good as none, and is told once.
#[test]
fn a_cut_pack_and_a_missing_root_are_told() {
    let test = testing::repository();
    register(&test);
    let files = [("base/1/1".to_owned(), vec![7u8; 100_000])].into();
    let first = backup_testing::backup(&test, &files, PackOptions::default());
    backup_testing::backup_referring_to(&test, &first);
    let pack = format!("{}/00000000", first.id);
    let path = test.root().join(format!("{}/packs/{pack}", tree_path(&test)));
    std::fs::File::options().write(true).open(path).unwrap().set_len(600).unwrap();
    std::fs::remove_file(test.root().join(format!("{}/backups/{}/root", tree_path(&test), first.id))).unwrap();
    let report = info(&test, None);
    let backups = &report.clusters[0].trees[0].backups;
    assert!(backups.iter().all(|backup| backup.missing_packs == [pack.as_str()]), "{backups:?}");
    let told: Vec<&str> = report.problems.iter().map(|problem| problem.object.as_str()).collect();
    assert_eq!(told, [format!("root of backup \"{}\"", first.id), format!("pack \"{pack}\"")]);
    assert!(report.problems[1].reason.starts_with("it has 600 bytes where "), "{:?}", report.problems);
    assert_eq!(report.incomplete().unwrap().class(), ErrorClass::Corrupt);
}

/// A folder of packs that is gone makes no answer of thousands of names.
#[test]
fn of_missing_packs_some_are_named() {
    let test = testing::repository();
    register(&test);
    let files = (0..120u8).map(|number| (format!("base/1/{number}"), vec![number; 70_000])).collect();
    let record = backup_testing::backup(&test, &files, PackOptions { pack_bytes: 1, ..PackOptions::default() });
    let packs = test.root().join(format!("{}/packs/{}", tree_path(&test), record.id));
    assert!(std::fs::read_dir(&packs).unwrap().count() > wal_summary::MISSING_MAX);
    std::fs::remove_dir_all(&packs).unwrap();
    let report = info(&test, None);
    assert_eq!(report.clusters[0].trees[0].backups[0].missing_packs.len(), wal_summary::MISSING_MAX);
}

#[test]
fn a_damaged_history_file_is_a_problem_of_its_own() {
    let test = testing::repository();
    register(&test);
    archive(&test, [2]);
    let timeline = TimelineId::new(2).unwrap();
    let store = |content: &[u8], number: u32| {
        let name = WalFileName::TimelineHistory(TimelineId::new(number).unwrap());
        let archive = WalArchive::new(&test.repository, &test.cluster);
        archive.store(&name, WalFileContent::Whole(content), CompressionLevel::DEFAULT, &test.writer).unwrap();
    };
    store(b"1\t0/3000000\tno recovery target specified\n", 2);
    let report = info(&test, None);
    assert_eq!(report.clusters[0].trees[0].history_files, [timeline]);
    assert!(report.problems.is_empty());
    store(b"nonsense", 3);
    let report = info(&test, None);
    assert_eq!(report.problems[0].object, "\"00000003.history\"");
    assert_eq!(report.clusters[0].trees[0].history_files.len(), 2);
}

/// The names that programs rely on; to change one is to break them.
#[test]
fn the_json_schema_is_stable() {
    let test = testing::repository();
    register(&test);
    archive(&test, [2, 4]);
    back_up(&test, 2, 2);
    let value = serde_json::to_value(info(&test, None)).unwrap();
    let keys = |pointer: &str| -> Vec<String> {
        value.pointer(pointer).unwrap().as_object().unwrap().keys().cloned().collect()
    };
    for (pointer, expected) in [
        ("", "clusters configuration_file problems repository schema_version"),
        ("/repository", "id path url"),
        ("/clusters/0", "name trees writers"),
        ("/clusters/0/writers/0", "directory host id since"),
        (
            "/clusters/0/trees/0",
            "backups being_deleted history_files major_version since system_identifier unfinished_backups unreadable_backups wal \
             wal_segment_bytes",
        ),
        (
            "/clusters/0/trees/0/backups/0",
            "findings id is_expiring label major_version method missing_packs missing_wal node parents pins sizes start_lsn start_time \
             start_timeline stop_lsn stop_time timeline wal_until",
        ),
        ("/clusters/0/trees/0/backups/0/node", "host is_standby port"),
        ("/clusters/0/trees/0/backups/0/sizes", "directories file_bytes files stored_bytes"),
        ("/clusters/0/trees/0/wal/0", "holes ranges timeline"),
        ("/clusters/0/trees/0/wal/0/ranges/0", "count first first_archived_at last last_archived_at"),
        ("/clusters/0/trees/0/wal/0/holes/0", "count ends_recovery_of first inside_backups last"),
    ] {
        let mut found = keys(pointer);
        found.sort();
        assert_eq!(found.join(" "), expected, "{pointer}");
    }
    let backup = value.pointer("/clusters/0/trees/0/backups/0").unwrap();
    assert_eq!(value["schema_version"], 1);
    assert_eq!(backup["start_lsn"], "0/2000028");
    assert_eq!(backup["start_time"], "2026-11-21T00:00:00Z");
    assert_eq!((&backup["timeline"], &backup["method"]), (&1.into(), &"stream".into()));
    assert_eq!(value["clusters"][0]["trees"][0]["system_identifier"], "7000000000000000001");
}

/// All that was stored of a backup was stored a day before.
fn a_day_ago(folder: &Path) {
    let time = std::time::SystemTime::now() - std::time::Duration::from_secs(25 * 3600);
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        std::fs::File::open(entry.unwrap().path()).unwrap().set_modified(time).unwrap();
    }
}

#[test]
fn a_backup_that_lost_its_record_alone_is_damaged_and_not_unfinished() {
    let test = testing::repository();
    register(&test);
    archive(&test, 1..=3);
    let id = back_up(&test, 1, 1);
    let tree = test.root().join(format!("main/{}", test.cluster.system_identifier));
    let folder = tree.join(format!("backups/{id}"));
    std::fs::remove_file(folder.join("record")).unwrap();
    let report = info(&test, None);
    let unfinished = &report.clusters[0].trees[0].unfinished_backups;
    // It may be waiting for its WAL.
    assert!(!unfinished[0].record_missing && report.problems.is_empty(), "{report:?}");
    a_day_ago(&folder);
    a_day_ago(&tree.join(format!("packs/{id}")));
    let report = info(&test, None);
    assert!(report.clusters[0].trees[0].unfinished_backups[0].record_missing, "{report:?}");
    let problem = &report.problems[0];
    assert_eq!(
        (problem.object.as_str(), problem.class),
        (format!("record of backup \"{id}\"").as_str(), ErrorClass::Corrupt)
    );
    // Once another one came behind it, it may have been killed.
    let later = back_up(&test, 1, 1);
    let report = info(&test, None);
    let unfinished = &report.clusters[0].trees[0].unfinished_backups[0];
    assert!(unfinished.record_unclear && !unfinished.record_missing && report.problems.is_empty(), "{report:?}");
    std::fs::remove_dir_all(tree.join(format!("backups/{later}"))).unwrap();
    // One that has begun and stored nothing else is none.
    let other = begin(&test).id();
    a_day_ago(&tree.join(format!("backups/{other}")));
    assert_eq!(info(&test, None).problems.len(), 1);
}
