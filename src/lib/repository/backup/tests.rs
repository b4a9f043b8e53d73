//! What was backed up comes back, whatever the sizes of files, frames and packs; damage is told.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::testing::{backup, backup_referring_to};
use super::{BackupRecord, FileKind};
use crate::error::{Classified, ErrorClass};
use crate::repository::RepositoryError;
use crate::repository::pack::PackOptions;
use crate::repository::testing::{self, TestRepository};

/// Reads every file of a backup through its map.
fn read_back(test: &TestRepository, record: &BackupRecord) -> Result<BTreeMap<String, Vec<u8>>, RepositoryError> {
    let map = test.repository.file_map(&test.cluster, record)?;
    let mut files = BTreeMap::new();
    map.for_each(&mut |path, entry| {
        let mut content = Vec::new();
        if let FileKind::File { extents, .. } = &entry.kind {
            for extent in extents {
                let range = extent.offset..extent.offset + extent.length;
                content.extend(map.open_pack(extent.pack)?.read_range(range, u64::MAX)?);
            }
        }
        files.insert(path.to_string(), content);
        Ok::<(), RepositoryError>(())
    })?;
    Ok(files)
}

fn content(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|at| (at / 3) as u8 ^ (at >> 9) as u8 ^ seed).collect()
}

fn sample() -> BTreeMap<String, Vec<u8>> {
    let sizes = [0, 1, 100, 65_536, 65_537, 262_144, 262_145, 700_000, 3, 1_000_000];
    sizes.iter().enumerate().map(|(n, size)| (format!("base/1/{n}"), content(*size, n as u8))).collect()
}

#[test]
fn files_come_back_from_several_packs() {
    let test = testing::repository();
    for pack_bytes in [1, 300_000, 1 << 30] {
        let options = PackOptions { pack_bytes, ..PackOptions::default() };
        let record = backup(&test, &sample(), options);
        assert!(read_back(&test, &record).unwrap() == sample(), "packs of {pack_bytes} bytes");
    }
    let listed = test.repository.backups(&test.cluster).unwrap();
    assert_eq!(listed.iter().map(|entry| entry.record.as_ref().unwrap().sequence).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn extents_are_followed_into_packs_of_earlier_backups() {
    let test = testing::repository();
    let first = backup(&test, &sample(), PackOptions { pack_bytes: 300_000, ..PackOptions::default() });
    let second = backup_referring_to(&test, &first);
    assert!(read_back(&test, &second).unwrap() == sample());
}

#[test]
fn pages_of_larger_files_are_hashed_one_by_one() {
    let test = testing::repository();
    let files = BTreeMap::from([("a".to_owned(), content(100_000, 1)), ("b".to_owned(), content(10, 2))]);
    let record = backup(&test, &files, PackOptions::default());
    let map = test.repository.file_map(&test.cluster, &record).unwrap();
    let pack = map.open_pack(0).unwrap();
    let frames = &pack.index().frames;
    let pages: Vec<u64> = files["a"].chunks(8192).map(|page| test.repository.keys().page_digest(page).hash()).collect();
    assert_eq!(frames[0].page_hashes, pages);
    assert!(frames[1..].iter().all(|frame| frame.page_hashes.is_empty()));
}

#[test]
fn a_backup_without_record_is_not_listed() {
    let test = testing::repository();
    let record = backup(&test, &sample(), PackOptions::default());
    let path =
        test.temp.path().join(format!("repo/main/{}/backups/{}/record", test.cluster.system_identifier, record.id));
    std::fs::remove_file(&path).unwrap();
    assert!(test.repository.backups(&test.cluster).unwrap().is_empty());
    assert_eq!(test.repository.unfinished_backups(&test.cluster).unwrap()[0].id, record.id);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    /// One flipped bit anywhere in any object of a backup: what is read is right, or the damage is told.
    #[test]
    fn damage_is_told(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), bit in 0..8) {
        let test = testing::repository();
        let record = backup(&test, &sample(), PackOptions { pack_bytes: 600_000, ..PackOptions::default() });
        let prefix = format!("main/{}/", test.cluster.system_identifier);
        let keys = test.repository.list(&prefix).unwrap();
        let path = test.temp.path().join("repo").join(keys[which.index(keys.len())].as_str());
        let mut bytes = std::fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1u8 << bit;
        std::fs::write(&path, bytes).unwrap();
        let listed = test.repository.backups(&test.cluster).unwrap();
        prop_assert_eq!(listed.len(), 1);
        let read = match &listed[0].record {
            Ok(found) => {
                prop_assert_eq!(found, &record);
                read_back(&test, found)
            }
            Err(_) => return Ok(()),
        };
        match read {
            Ok(files) => prop_assert!(files == sample()),
            Err(error) => prop_assert!(matches!(error.class(), ErrorClass::Corrupt | ErrorClass::Unsupported), "{error:?}"),
        }
    }
}
