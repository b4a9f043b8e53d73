//! Golden repositories before `pgv verify`: by its library and from outside.

use pgv::report::{Cancel, SilentReporter};
use pgv::repository::FORMAT;
use pgv::verify::{Cost, Depth, VerifyOptions, VerifyReport, verify};

use crate::fixture::{FIRST, SECOND, backup_id};
use crate::golden;
use crate::listing::open;

pub(crate) fn verified(root: &std::path::Path) -> VerifyReport {
    let options = VerifyOptions {
        url: root.display().to_string(),
        path: root.to_owned(),
        configuration_file: None,
        cluster: None,
        backup: None,
        depth: Depth::Full,
        wal_records: false,
        threads: 2,
        scratch: None,
        temporary: std::env::temp_dir(),
    };
    verify(&open(root).unwrap(), &options, &SilentReporter, &Cancel::new()).unwrap()
}

/// Every object of the golden repositories is sound. Their WAL is made up: the segments in which the backups begin and
/// end are not among it (0/3000028 is in 000000010000000000000018 where segments have 2 MiB), and verify says so. The one
/// of a real server (`golden_server`) has no hole.
#[test]
fn golden_repositories_have_no_damaged_object() {
    for version in 1..=FORMAT {
        let temp = tempfile::tempdir().unwrap();
        let report = verified(&golden::copy(version, temp.path()));
        let found: Vec<&str> = report.damaged.iter().map(|finding| finding.object.as_str()).collect();
        assert_eq!(found, ["WAL segments 000000010000000000000018 to 0000000100000000000007FF"], "format {version}");
        assert!(report.left_overs.is_empty(), "{:?}", report.left_overs);
        assert_eq!(report.read.whole_objects, report.read.objects);
    }
}

/// The second backup has its pages in the packs of the first.
#[test]
fn a_damaged_pack_is_told_of_both_backups_that_need_it() {
    let temp = tempfile::tempdir().unwrap();
    let root = golden::copy(1, temp.path());
    let packs = root.join("main/7000000000000000001/packs").join(FIRST);
    let pack = packs.join("00000000");
    let mut bytes = std::fs::read(&pack).unwrap();
    // In the first frame, behind header and copy of the header.
    bytes[512 + 480 + 20] ^= 1;
    std::fs::write(&pack, bytes).unwrap();
    let report = verified(&root);
    let finding = report.damaged.iter().find(|finding| finding.object.contains("/packs/")).unwrap();
    for backup in [FIRST, SECOND] {
        let lost = finding.costs.iter().find_map(|cost| match cost {
            Cost::Backup { backup: lost, files: Some(files), named_files } if *lost == backup_id(backup) => {
                Some((*files, named_files.clone()))
            }
            _ => None,
        });
        let (files, names) = lost.unwrap_or_else(|| panic!("{backup}: {finding:?}"));
        assert!(files > 0 && names.len() as u64 <= files, "{finding:?}");
    }
}

/// What an object says is held against the place where it lies, though every digest of it is right.
#[test]
fn what_objects_say_is_held_against_their_places() {
    use crate::{fixture, sealing};
    let other = serde_json::Value::from("7000000000000000009");
    let temp = tempfile::tempdir().unwrap();
    let writers = |fixture: &fixture::Fixture| {
        let folder = fixture.root.join("main/writers");
        std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().file_name().into_string().unwrap()
    };
    type Change = Box<dyn Fn(&fixture::Fixture)>;
    let changes: Vec<(&str, &str, Change)> = vec![
        ("identity", "it is that of system identifier", {
            let key = format!("main/{}/identity", fixture::SYSTEM);
            Box::new(move |fixture| {
                sealing::change_json(fixture, &key, |identity| identity["system_identifier"] = other.clone());
            })
        }),
        (
            "writers/",
            "its id is not that of",
            Box::new(move |fixture| {
                let key = format!("main/writers/{}", writers(fixture));
                sealing::change_json(fixture, &key, |writer| writer["host"] = "db2".into());
            }),
        ),
        (
            "begin",
            "it is that of backup",
            Box::new(|fixture| {
                let key = sealing::backup_key(SECOND, "begin");
                sealing::change_json(fixture, &key, |begin| begin["id"] = FIRST.into());
            }),
        ),
        (
            "needs",
            "what others do not",
            Box::new(|fixture| {
                sealing::change_listed(fixture, SECOND, "needs", |needs| {
                    let bytes = &mut needs["packs"][0]["plain_bytes"];
                    *bytes = (bytes.as_u64().unwrap() + 1).into();
                });
            }),
        ),
        (
            "/packs/",
            "where its header says",
            Box::new(|fixture| {
                sealing::change_listed(fixture, SECOND, "needs", |needs| {
                    let last = needs["packs"].as_array_mut().unwrap().last_mut().unwrap();
                    last["plain_bytes"] = (last["plain_bytes"].as_u64().unwrap() + 1).into();
                });
            }),
        ),
    ];
    for (number, (object, problem, change)) in changes.iter().enumerate() {
        let fixture = fixture::write(&temp.path().join(number.to_string()), std::path::Path::new("/srv/space"));
        change(&fixture);
        let report = verified(&fixture.root);
        let is_it = |finding: &&pgv::verify::Finding| finding.object.contains(object);
        let finding = report.damaged.iter().find(is_it).unwrap_or_else(|| panic!("{object}: {:#?}", report.damaged));
        assert!(finding.problem.contains(problem), "{object}: {finding:?}");
    }
}
