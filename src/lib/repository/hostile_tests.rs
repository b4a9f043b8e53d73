//! A repository folder into which somebody else put names, links and loops: listings pass them over or name them, and
//! nothing is read through a link.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::testing::TestRepository;
use super::{ArchiveFacts, BackupId, ClusterName, WalArchive, WalFileContent, backup_testing, testing};
use crate::codec::CompressionLevel;
use crate::hostile::{Decoy, NAMES};
use crate::pg::{TimelineId, WalFileName, WalSegmentSize};

/// Everything that listings say of a repository.
fn listed(test: &TestRepository) -> Result<String, super::RepositoryError> {
    let (repository, cluster) = (&test.repository, &test.cluster);
    let archive = WalArchive::new(repository, cluster);
    let backups = repository.backups(cluster)?;
    let readable: Vec<_> = backups.iter().map(|entry| (entry.id, entry.record.is_ok())).collect();
    let unfinished: Vec<_> = repository.unfinished_backups(cluster)?.into_iter().map(|one| one.id).collect();
    let facts = ArchiveFacts::gather(&archive, WalSegmentSize::new(1 << 24).unwrap())?;
    Ok(format!(
        "{:?} {:?} {:?} {readable:?} {unfinished:?} {:?} {:?} {:?} {:?} {:?}",
        repository.cluster_names()?,
        repository.system_identifiers(&cluster.name)?,
        repository.identities(&cluster.name)?,
        repository.writer_ids(&cluster.name)?,
        archive.timelines()?,
        archive.histories()?,
        archive.segments(TimelineId::FIRST)?,
        facts.timelines(),
    ))
}

/// A repository with a backup, a decoy beside it, and the folders in which names are looked at.
fn scene() -> (TestRepository, Decoy, Vec<PathBuf>) {
    let mut test = testing::repository_in_memory();
    test.cluster = testing::with_real_cluster().cluster;
    let made = backup_testing::HandMade::default();
    backup_testing::hand_made(&test, made);
    test.repository.introduce(&test.cluster.name, &test.writer).unwrap();
    let segment = WalFileName::parse("000000010000000000000001").unwrap();
    let archive = WalArchive::new(&test.repository, &test.cluster);
    archive.store(&segment, WalFileContent::Whole(b"x"), CompressionLevel::DEFAULT, &test.writer).unwrap();
    let decoy = Decoy::new(&std::fs::canonicalize(test.temp.path()).unwrap());
    let root = test.root();
    let tree = root.join("main").join(test.cluster.system_identifier.to_string());
    let backup = std::fs::read_dir(tree.join("backups")).unwrap().next().unwrap().unwrap().path();
    let mut folders = vec![root.clone(), root.join("main"), root.join("main/writers"), tree.clone()];
    folders.extend([tree.join("backups"), backup, tree.join("wal/00000001/0000000100000000"), tree.join("history")]);
    for folder in &folders {
        std::fs::create_dir_all(folder).unwrap();
    }
    (test, decoy, folders)
}

#[test]
fn names_that_pgv_did_not_write_change_no_listing() {
    let (test, decoy, folders) = scene();
    let before = listed(&test).unwrap();
    let mut cases = 0;
    for (name, _) in NAMES {
        let name = decoy.name(name);
        // What a file system can hold in one folder.
        if name.is_empty() || name.contains(&0) || name.contains(&b'/') || name == b"." || name == b".." {
            continue;
        }
        for folder in &folders {
            let place = folder.join(Path::new(std::ffi::OsStr::from_bytes(&name)));
            let ways: [fn(&Path, &Path); 4] = [
                |place, _| std::fs::write(place, "planted").unwrap(),
                |place, _| std::fs::create_dir_all(place.join("backups/x")).unwrap(),
                |place, decoy| symlink(decoy, place).unwrap(),
                |place, decoy| symlink(decoy.join("file"), place).unwrap(),
            ];
            for plant in ways {
                plant(&place, &decoy.path());
                cases += 1;
                match listed(&test) {
                    // A name that is a key elsewhere ("con") is a cluster here; nothing else changed.
                    Ok(now) => assert_eq!(now.replace("ClusterName(\"con\"), ", ""), before, "{}", place.display()),
                    Err(error) => crate::fuzz_check::seen(&error),
                }
                let _ = std::fs::remove_file(&place).or_else(|_| std::fs::remove_dir_all(&place));
            }
        }
    }
    decoy.assert_untouched(&["repo"], &"all");
    assert!(cases >= 400, "{cases}");
}

#[test]
fn loops_and_deep_folders_end() {
    let (test, decoy, folders) = scene();
    for folder in &folders {
        symlink("..", folder.join("up")).unwrap();
        symlink(".", folder.join("here")).unwrap();
        symlink(test.root(), folder.join("all")).unwrap();
        let mut deep = folder.clone();
        for level in 0..200 {
            deep.push("deeper");
            std::fs::create_dir(&deep).unwrap_or_else(|error| panic!("{level} {}: {error}", folder.display()));
        }
    }
    match listed(&test) {
        Ok(_) => {}
        Err(error) => crate::fuzz_check::seen(&error),
    }
    decoy.assert_untouched(&["repo"], &"loops");
}

#[test]
fn names_of_clusters_backups_and_files_are_strict() {
    for (name, _) in NAMES {
        let Ok(name) = std::str::from_utf8(name) else { continue };
        assert!(name.parse::<BackupId>().is_err(), "{name:?}");
        assert!(WalFileName::parse(name).is_err(), "{name:?}");
        if name != "con" {
            assert!(ClusterName::parse(name).is_err(), "{name:?}");
        }
        // A good name with a bad one behind or before it is none either.
        for text in [format!("main{name}"), format!("{name}main"), format!("main/{name}"), format!("../main{name}")] {
            let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
            assert!(plain || ClusterName::parse(&text).is_err(), "{text:?}");
        }
        for good in ["20261121T143000Z-00000001", "000000010000000000000001", "00000002.history"] {
            for text in [format!("{good}{name}"), format!("{name}{good}"), format!("{good}/{name}")] {
                let changed = !name.is_empty();
                assert!(!changed || text.parse::<BackupId>().is_err(), "{text:?}");
                assert!(!changed || WalFileName::parse(&text).is_err(), "{text:?}");
            }
        }
    }
}
