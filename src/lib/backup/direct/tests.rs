//! A folder as a data directory: what is in it comes back, in order, whatever happens to it meanwhile.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use jiff::Timestamp;
use proptest::prelude::*;

use super::piece::{Piece, PlannedKind};
use super::read::{ReadEntry, ReadKind, ReadPiece};
use super::*;
use crate::fs::Tree;
use crate::report::{CollectingReporter, SilentReporter};
use crate::repository::FRAME_BYTES;
use crate::repository::testing::{self, TestRepository};
use crate::repository::{BackupBegin, BackupId, FileKind, RepositoryError, backup_testing};

const CONTROL_15: &[u8] = include_bytes!("../../../../tests/data/postgres-15/pg_control");

fn scope() -> BackupScope {
    BackupScope::of(&ControlFile::decode(CONTROL_15).unwrap())
}

fn write(root: &Path, name: &str, content: &[u8]) {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

fn data_directory() -> tempfile::TempDir {
    let temp = tempfile::tempdir().unwrap();
    write(temp.path(), ControlFile::PATH, CONTROL_15);
    std::fs::create_dir(temp.path().join("pg_tblspc")).unwrap();
    temp
}

/// Where PostgreSQL 15 has `minRecoveryPoint`, before its timeline, and the CRC (`src/include/catalog/pg_control.h`).
const MIN_RECOVERY_POINT: std::ops::Range<usize> = 136..144;
const CRC_AT: usize = 288;

/// Each frame is a piece.
fn limits() -> PieceLimits {
    PieceLimits { run_bytes: FRAME_BYTES, ..PieceLimits::of(2) }
}

/// The paths that a scan finds, in its order; a larger file at each of its pieces.
fn scanned(root: &Path) -> Vec<String> {
    scanned_with(root, 1 << 20, &SilentReporter)
}

/// With so many bytes of names in memory.
fn scanned_with(root: &Path, run_bytes: usize, reporter: &dyn Reporter) -> Vec<String> {
    let scratch = tempfile::tempdir().unwrap();
    let scratch = Tree::open(scratch.path()).unwrap();
    let mut found = Vec::new();
    let none = BTreeSet::new();
    let sorting = Sorting { scratch: &scratch, run_bytes };
    for piece in Scan::new(root, scope(), limits(), &none, sorting, reporter).unwrap() {
        match piece {
            Piece::Batch(entries) => found.extend(entries.iter().map(|entry| match &entry.kind {
                PlannedKind::Directory => format!("{}/", entry.path),
                PlannedKind::Link { .. } => format!("{}@", entry.path),
                PlannedKind::RelationFile { .. } | PlannedKind::OpenFile(_) => entry.path.to_string(),
            })),
            Piece::Run(run) => found.push(format!("{}+{}", run.file.path, run.length)),
            Piece::ControlFile(path) => found.push(format!("{path}!")),
            Piece::Failed(error) => found.push(format!("failed: {error}")),
        }
    }
    found
}

#[test]
fn entries_come_in_the_order_of_the_map() {
    let temp = data_directory();
    let (root, apart) = (temp.path(), tempfile::tempdir().unwrap());
    for name in ["a/b", "a-b", "a.b/x", "a/b-c/d", "a0", "base/1/1259", "base/1/2_init", "base/1/2", "base/1/2_fsm"] {
        write(root, name, b"x");
    }
    for name in ["pg_wal/000000010000000000000001", "pg_replslot/x/state", "postmaster.pid", "global/z", "backup_label"]
    {
        write(root, name, b"x");
    }
    write(root, "large", &[7; 600_000]);
    for name in ["PG_15_202209061/5/1", "PG_14_202107181/5/1", "other"] {
        write(apart.path(), name, b"x");
        write(root, &format!("inside/{name}"), b"x");
    }
    symlink(apart.path(), root.join("pg_tblspc/16385")).unwrap();
    symlink(root.join("inside"), root.join("pg_tblspc/16386")).unwrap();
    symlink("a0", root.join("link")).unwrap();
    let expected = [
        "a/",
        "a-b",
        "a.b/",
        "a.b/x",
        "a/b",
        "a/b-c/",
        "a/b-c/d",
        "a0",
        "base/",
        "base/1/",
        "base/1/1259",
        "base/1/2_init",
        "global/",
        "global/pg_control!",
        "global/z",
        "inside/",
        "large+262144",
        "large+262144",
        "large+75712",
        "pg_replslot/",
        "pg_tblspc/",
        "pg_tblspc/16385@",
        "pg_tblspc/16385/PG_15_202209061/",
        "pg_tblspc/16385/PG_15_202209061/5/",
        "pg_tblspc/16385/PG_15_202209061/5/1",
        "pg_tblspc/16386@",
        "pg_tblspc/16386/PG_15_202209061/",
        "pg_tblspc/16386/PG_15_202209061/5/",
        "pg_tblspc/16386/PG_15_202209061/5/1",
        "pg_wal/",
        "pg_wal/archive_status/",
    ];
    for run_bytes in [1, 30, 1 << 20] {
        assert_eq!(scanned_with(root, run_bytes, &SilentReporter), expected, "{run_bytes} bytes of names in memory");
    }
    // Elsewhere, with a link in its place, and what is not taken is told.
    std::fs::rename(root.join("pg_wal"), apart.path().join("wal")).unwrap();
    symlink(apart.path().join("wal"), root.join("pg_wal")).unwrap();
    let reporter = CollectingReporter::default();
    assert_eq!(scanned(root), expected);
    assert_eq!(scanned_with(root, 1, &reporter), expected);
    assert_eq!(reporter.lines(), ["warning: \"link\" is a link, so it is left out of the backup"]);
    // A tablespace whose file system is not mounted is no empty one.
    std::fs::remove_file(root.join("pg_tblspc/16385")).unwrap();
    symlink(root.join("unmounted"), root.join("pg_tblspc/16385")).unwrap();
    assert!(scanned(root).last().unwrap().starts_with("failed: "));
    let apart = tempfile::tempdir().unwrap();
    let sorting = Sorting { scratch: &Tree::open(apart.path()).unwrap(), run_bytes: 1 << 20 };
    let left_over = BTreeSet::from([DataPath::parse(b"pg_tblspc/16385").unwrap()]);
    let mut scan = Scan::new(root, scope(), limits(), &left_over, sorting, &SilentReporter).unwrap();
    assert!(!scan.any(|piece| matches!(piece, Piece::Failed(_))));
}

#[test]
fn however_many_threads_there_are_memory_and_open_files_have_a_bound() {
    for threads in [1, 2, 3, 8, 17, 32, THREADS_MAX] {
        let limits = PieceLimits::of(threads);
        // Those that are begun or done, and the one that is waited for.
        let pieces = threads * crate::parallel::AHEAD_PER_THREAD + 2;
        assert!(limits.run_bytes * pieces <= 64 << 20, "{threads}: {limits:?}");
        assert!(limits.run_bytes >= FRAME_BYTES && limits.run_bytes.is_multiple_of(FRAME_BYTES), "{limits:?}");
        assert!(limits.batch_entries * pieces <= 70_000, "{threads}: {limits:?}");
        assert!(limits.batch_open * pieces <= 600 && limits.batch_open > 0, "{threads}: {limits:?}");
    }
    assert_eq!(PieceLimits::of(2).run_bytes, 1 << 20);
}

#[test]
fn few_directories_are_open_at_once() {
    let temp = data_directory();
    for number in 0..400 {
        write(temp.path(), &format!("base/{number:03}/1259"), b"x");
    }
    let apart = tempfile::tempdir().unwrap();
    let sorting = Sorting { scratch: &Tree::open(apart.path()).unwrap(), run_bytes: 1 << 20 };
    let mut pieces = 0;
    for piece in Scan::new(temp.path(), scope(), limits(), &BTreeSet::new(), sorting, &SilentReporter).unwrap() {
        let Piece::Batch(entries) = piece else { continue };
        let mut open: Vec<&Path> = entries
            .iter()
            .filter_map(|entry| match &entry.kind {
                PlannedKind::RelationFile { directory } => Some(directory.path()),
                _ => None,
            })
            .collect();
        open.dedup();
        assert!(open.len() <= 16, "{}", open.len());
        pieces += 1;
    }
    assert!((400 / 16..400 / 8).contains(&pieces), "{pieces} pieces");
}

/// Reads a folder with the whole pipeline, and gives what is in the map that was stored, and the findings.
fn backed_up(
    test: &TestRepository,
    root: &Path,
    checksums: Option<Lsn>,
    meanwhile: &mut dyn FnMut(),
) -> (BTreeMap<String, Option<Vec<u8>>>, Vec<String>) {
    let begin = BackupBegin {
        id: BackupId::generate(Timestamp::UNIX_EPOCH),
        host: "host".to_owned(),
        parents: Vec::new(),
        began: Timestamp::UNIX_EPOCH,
    };
    let mut backup = BackupWriter::begin(&test.repository, &test.cluster, &test.writer, &begin).unwrap();
    let options = DirectOptions {
        data_directory: root,
        repository: &test.repository,
        scratch: &test.scratch(),
        level: CompressionLevel::DEFAULT,
        workers: 3,
        checksums: checksums.is_some(),
        start_lsn: checksums.unwrap_or(Lsn::new(1).unwrap()),
        max_rate_bytes: None,
        left_over: BTreeSet::new(),
        total_bytes: None,
        cancel: &Cancel::new(),
        reporter: &SilentReporter,
    };
    let mut look = || {
        meanwhile();
        Ok(())
    };
    let (taker, _) = run(&options, &backup, &mut look).unwrap();
    let findings = taker.findings(Lsn::new(1000).unwrap());
    let content = taker.finish(&mut backup).unwrap();
    let record = backup_testing::record(test, begin.id, &backup, &content);
    backup.finish(&record).unwrap();
    let map = test.repository.file_map(&test.cluster, &record).unwrap();
    let mut found = BTreeMap::new();
    let keys = test.repository.keys();
    map.for_each(&mut |path, entry| {
        let FileKind::File { bytes, digest, extents } = &entry.kind else {
            found.insert(path.to_string(), None);
            return Ok(());
        };
        let mut content = Vec::new();
        for extent in extents {
            content.extend(
                map.open_pack(extent.pack)?.read_range(extent.offset..extent.offset + extent.length, u64::MAX)?,
            );
        }
        let mut hasher = crate::codec::FileHasher::new(keys, *bytes, 8192);
        hasher.update(&content);
        assert_eq!((hasher.finish(), content.len() as u64), (*digest, *bytes), "{path}");
        found.insert(path.to_string(), Some(content));
        Ok::<(), RepositoryError>(())
    })
    .unwrap();
    assert_eq!(content.sizes.files, found.values().flatten().count() as u64);
    (found, findings)
}

fn content(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|at| ((at / 3) ^ (at >> 9) ^ seed) as u8).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    /// The oracle is the folder itself.
    #[test]
    fn what_is_in_a_folder_comes_back(
        files in prop::collection::btree_map("[a-c.-]{1,2}(/[a-c.-]{1,3}){0,2}", prop_oneof![
            4 => 0usize..300, 2 => 8_000usize..70_000, 1 => 65_530usize..65_542, 1 => 200_000usize..700_000,
        ], 0..60),
    ) {
        let temp = data_directory();
        let mut expected: BTreeMap<String, Option<Vec<u8>>> = BTreeMap::new();
        for name in ["global", "pg_tblspc"] {
            expected.insert(name.to_owned(), None);
        }
        expected.insert(ControlFile::PATH.to_owned(), Some(CONTROL_15.to_vec()));
        for (number, (name, length)) in files.iter().enumerate() {
            let path = temp.path().join(name);
            let is_free = name.split('/').all(|part| part != "." && part != "..") && !path.exists()
                && path.ancestors().skip(1).take_while(|above| *above != temp.path()).all(|above| !above.is_file());
            if is_free {
                write(temp.path(), name, &content(*length, number));
                expected.insert(name.clone(), Some(content(*length, number)));
                for (at, _) in name.match_indices('/') {
                    expected.insert(name[..at].to_owned(), None);
                }
            }
        }
        let (found, findings) = backed_up(&testing::repository(), temp.path(), None, &mut || {});
        prop_assert!(findings.is_empty());
        prop_assert!(found == expected, "{:?}\n{:?}", found.keys(), expected.keys());
    }
}

/// One that the server wrote later: replay must go further.
fn later_control_file() -> Vec<u8> {
    let mut bytes = CONTROL_15.to_vec();
    let reached = bytes[MIN_RECOVERY_POINT].first_chunk().map(|lsn| u64::from_le_bytes(*lsn)).unwrap() + 0x100_0000;
    bytes[MIN_RECOVERY_POINT].copy_from_slice(&reached.to_le_bytes());
    bytes[MIN_RECOVERY_POINT.end..][..4].copy_from_slice(&1u32.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..CRC_AT]);
    bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
    let point = ControlFile::decode(&bytes).unwrap().min_recovery_point.unwrap();
    assert_eq!(point.lsn.get(), reached);
    bytes
}

/// What goes, shrinks or grows after the backup began: left out, ended with zeros, cut.
#[test]
fn a_folder_may_change_while_it_is_read() {
    let test = testing::repository();
    let temp = data_directory();
    let root = temp.path();
    for number in 0..40 {
        write(root, &format!("base/1/{number:02}-small"), &content(20_000, number));
        write(root, &format!("base/2/{number:02}-large"), &content(900_000, number));
    }
    let later = later_control_file();
    let mut looks = 0;
    let (found, _) = backed_up(&test, root, None, &mut || {
        looks += 1;
        if looks == 1 {
            write(root, ControlFile::PATH, &later);
            for number in (0..40).step_by(4) {
                let (small, large) = (format!("base/1/{number:02}-small"), format!("base/2/{number:02}-large"));
                std::fs::remove_file(root.join(small)).unwrap();
                std::fs::remove_file(root.join(large)).unwrap();
                let other = |name: &str, by: usize| {
                    root.join(format!("base/{name}").replace("NN", &format!("{:02}", number + by)))
                };
                for (name, length) in [("1/NN-small", 5_000), ("2/NN-large", 300_000)] {
                    std::fs::File::options().write(true).open(other(name, 1)).unwrap().set_len(length).unwrap();
                    std::fs::File::options().write(true).open(other(name, 2)).unwrap().set_len(2_000_000).unwrap();
                }
            }
        }
    });
    assert!(looks > 40, "{looks}");
    // Replay goes on until it is consistent with all that was read before it.
    assert!(found[ControlFile::PATH].as_ref() == Some(&later), "the control file was read before other files");
    let (mut gone, mut shorter, mut longer) = (0, 0, 0);
    for number in 0..40 {
        for (folder, kind, length) in [(1, "small", 20_000), (2, "large", 900_000)] {
            let name = format!("base/{folder}/{number:02}-{kind}");
            let Some(Some(read)) = found.get(&name) else {
                assert_eq!(number % 4, 0, "{name}");
                gone += 1;
                continue;
            };
            let whole = content(length, number);
            shorter += usize::from(read.len() < length || *read != whole);
            longer += usize::from(read.len() > length);
            // Before or after the change, and every part of it one of both.
            let common = read.len().min(length);
            let is_right = read[..common].iter().zip(&whole).all(|(found, was)| found == was || *found == 0);
            assert!(is_right && read[common..].iter().all(|byte| *byte == 0), "{name}");
        }
    }
    assert!(gone >= 5 && shorter >= 5 && longer >= 5, "{gone} gone, {shorter} shorter, {longer} longer");
}

/// As the server and people replace their files, between the walk and the reading.
#[test]
fn a_file_that_is_replaced_is_whole() {
    let test = testing::repository();
    let temp = data_directory();
    let root = temp.path();
    let (old, longer, shorter) = (content(300, 1), content(5_000, 2), content(20, 3));
    let names = ["postgresql.auto.conf", "pg_logical/replorigin_checkpoint", "pg_hba.conf", "server.crt", "server.key"];
    names.iter().for_each(|name| write(root, name, &old));
    let apart = tempfile::tempdir().unwrap();
    let sorting = Sorting { scratch: &Tree::open(apart.path()).unwrap(), run_bytes: 1 << 20 };
    let pieces: Vec<Piece> =
        Scan::new(root, scope(), limits(), &BTreeSet::new(), sorting, &SilentReporter).unwrap().collect();
    for (name, content) in [(names[0], &longer), (names[1], &longer), (names[2], &shorter)] {
        write(root, "other", content);
        std::fs::rename(root.join("other"), root.join(name)).unwrap();
    }
    write(root, names[3], &longer);
    std::fs::remove_file(root.join(names[4])).unwrap();
    let keys = test.repository.keys();
    let reader = Reader {
        keys: keys.clone(),
        level: CompressionLevel::DEFAULT,
        page_bytes: 8192,
        pages: None,
        rate: None,
        cancel: &Cancel::new(),
        tools: Mutex::default(),
    };
    let mut found = BTreeMap::new();
    for piece in pieces {
        let ReadPiece::Batch(batch) = reader.read(piece, &AtomicBool::new(false)).unwrap() else { continue };
        for ReadEntry { path, kind, .. } in batch.entries {
            if let ReadKind::File(file) = kind {
                found.insert(path.to_string(), (file.bytes, file.digest));
            }
        }
    }
    let whole = |content: &[u8]| (content.len() as u64, keys.plain_digest(content));
    for (name, expected) in names.iter().zip([&old, &old, &old, &longer, &old]) {
        assert_eq!(found[*name], whole(expected), "{name}");
    }
}

/// A page with contents, an LSN and its checksum.
fn page(lsn: u64, block: u32) -> Vec<u8> {
    let mut page = content(8192, 3);
    page[..8].copy_from_slice(&[&((lsn >> 32) as u32).to_le_bytes()[..], &(lsn as u32).to_le_bytes()].concat());
    page[14..16].copy_from_slice(&200u16.to_le_bytes());
    let checksum = crate::pg::page_checksum(&page, block);
    page[8..10].copy_from_slice(&checksum.to_le_bytes());
    page
}

/// What a server was just writing, or cut off, looks bad when it is read and not any more when it is read again.
#[test]
fn a_page_that_looks_bad_is_read_again_before_it_is_called_bad() {
    let temp = data_directory();
    let mut stored: Vec<u8> = (0..4).flat_map(|block| page(100, block)).collect();
    stored[2 * 8192 + 5000] ^= 1;
    write(temp.path(), "base/5/16385", &stored);
    let directory = LiveDirectory::open(&temp.path().join("base/5")).unwrap();
    let file = directory.file("16385".as_ref()).unwrap().unwrap();
    let mut read = [stored.as_slice(), &page(100, 4)].concat();
    for number in [0, 2, 3, 4] {
        read[number * 8192 + 6000..][..2000].fill(7);
    }
    let path = DataPath::parse(b"base/5/16385").unwrap();
    let check = PageCheck { scope: scope(), start_lsn: Lsn::new(200).unwrap(), page_bytes: 8192 };
    let bad = check.check(&path, &file, 0, &mut read).unwrap();
    assert_eq!(bad.iter().map(|page| page.block).collect::<Vec<_>>(), [2]);
    // What is stored is what was found then.
    assert!(read == [stored.as_slice(), &[0; 8192]].concat());
}

#[test]
fn wrong_checksums_are_found_in_files_of_any_size_and_only_there() {
    let temp = data_directory();
    let root = temp.path();
    let pages = |count: u32| (0..count).flat_map(|block| page(100, block)).collect::<Vec<u8>>();
    let damaged = |count: u32, bad: &[usize]| {
        let mut pages = pages(count);
        for number in bad {
            pages[number * 8192 + 5000] ^= 1;
        }
        pages
    };
    write(root, "base/1/10", &damaged(4, &[2]));
    write(root, "base/1/11", &damaged(200, &[0, 31, 32, 199]));
    write(root, "base/1/12", &pages(200));
    write(root, "base/1/13", &[page(200, 7), vec![0; 8192], page(100, 2), vec![1; 100]].concat());
    write(root, "base/1/15", &[page(1000, 7), page(1001, 7), page(1001, 2), vec![255; 8192]].concat());
    write(root, "base/1/14_init", &pages(3));
    write(root, "base/1/PG_VERSION", &damaged(3, &[1]));
    let (found, findings) = backed_up(&testing::repository(), root, Lsn::new(200), &mut || {});
    assert_eq!(
        findings.iter().map(|line| line.split(" (").next().unwrap()).collect::<Vec<_>>(),
        ["\"base/1/10\": page 2", "\"base/1/11\": pages 0", "\"base/1/15\": pages 1"]
    );
    assert!(findings[2].contains("), 3 (found FFFF, expected ") && findings[2].matches("found").count() == 2);
    assert_eq!(findings[1].matches("found").count(), 4);
    assert_eq!(found["base/1/11"].as_ref().unwrap(), &damaged(200, &[0, 31, 32, 199]));
    let (_, findings) = backed_up(&testing::repository(), root, None, &mut || {});
    assert!(findings.is_empty(), "the cluster has no checksums");
}
