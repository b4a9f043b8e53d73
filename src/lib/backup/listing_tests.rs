//! Records are read back as they were written, in the order of their paths.

use proptest::prelude::*;

use super::*;
use crate::fs::Tree;

fn path() -> impl Strategy<Value = DataPath> {
    let component = prop::collection::vec(prop_oneof![Just(b'a'), Just(b'-'), Just(b'~'), Just(0xff)], 1..4);
    prop::collection::vec(component, 1..4).prop_map(|components| DataPath::parse(&components.join(&b'/')).unwrap())
}

fn sums() -> impl Strategy<Value = Sums> {
    let checksum = prop_oneof![Just(0usize), Just(4), Just(64)].prop_flat_map(|length| vec![any::<u8>(); length]);
    (any::<u64>(), checksum).prop_map(|(bytes, checksum)| Sums { bytes, checksum })
}

fn kind() -> impl Strategy<Value = FileKind> {
    let extent = any::<(u32, u64, u64)>().prop_map(Extent::from);
    prop_oneof![
        (any::<u64>(), any::<[u8; 32]>(), prop::collection::vec(extent, 0..4)).prop_map(|(bytes, digest, extents)| {
            FileKind::File { bytes, digest: ContentDigest::from_bytes(digest), extents }
        }),
        Just(FileKind::Directory),
        // As a path, "/a" is the same as "/a/" and "//a".
        "(/[a-z ]{1,5}){1,4}".prop_map(|target| FileKind::Link { target: target.into() }),
    ]
}

fn record() -> impl Strategy<Value = (DataPath, Listed)> {
    let entry = (path(), any::<u32>(), -1_000_000i64..1 << 33, kind()).prop_map(|(path, mode, modified, kind)| {
        let entry = FileEntry::new(&path, mode, Timestamp::from_second(modified).unwrap(), kind);
        (path, entry)
    });
    (entry, sums(), 0..4).prop_map(|((path, entry), sums, choice)| {
        let listed = match choice {
            0 => Listed::Manifest(sums),
            1 => Listed::File(sums, None),
            2 => Listed::File(sums, Some(entry)),
            _ => Listed::Other(entry),
        };
        (path, listed)
    })
}

fn rank(listed: &Listed) -> u8 {
    match listed {
        Listed::Manifest(_) => 0,
        Listed::File(..) => 1,
        Listed::Other(_) => 2,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn records_come_back_sorted_by_path_and_kind(
        records in prop::collection::vec(record(), 0..60),
        run_bytes in 1usize..4000,
    ) {
        let temp = tempfile::tempdir().unwrap();
        let tree = Tree::open(temp.path()).unwrap();
        let mut listing = Listing::new(Sorter::with_runs_of(&tree, run_bytes));
        records.iter().for_each(|(path, listed)| listing.add(path, listed).unwrap());
        let found: Vec<_> = listing.finish().unwrap().map(Result::unwrap).collect();
        let keys: Vec<_> = found.iter().map(|(path, listed)| (path.clone(), rank(listed))).collect();
        prop_assert!(keys.is_sorted());
        prop_assert_eq!(found.len(), records.len());
        let mut left = records;
        for record in &found {
            let at = left.iter().position(|one| one == record);
            prop_assert!(at.is_some(), "{:?}", record);
            left.remove(at.unwrap());
        }
    }

    #[test]
    fn a_record_that_was_cut_is_none_or_another(record in record(), cut in any::<prop::sample::Index>()) {
        let mut bytes = Vec::new();
        record.1.encode(&record.0, &mut bytes);
        prop_assert_eq!(Listed::decode(&bytes), Some(record.clone()));
        prop_assert_ne!(Listed::decode(&bytes[..cut.index(bytes.len())]), Some(record));
    }
}
