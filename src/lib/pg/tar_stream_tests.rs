//! Against archives of a real server, against the `tar` crate as writer and as reader, and a table of hostile ones.

use proptest::prelude::*;

use super::*;
use crate::pg::DataPathProblem;
use crate::pg::tar_oracle::{SeenInTar, seen_by_tar_crate};

/// What went through a sink: the entry, its data, and whether it was ended.
type Collected = Vec<(TarEntry, Vec<u8>, bool)>;

#[derive(Default)]
struct Collector {
    entries: Collected,
    fail_at: Option<usize>,
}

#[derive(Debug, PartialEq)]
enum CollectError {
    Tar(TarError),
    Own,
}

impl From<TarError> for CollectError {
    fn from(error: TarError) -> Self {
        Self::Tar(error)
    }
}

impl TarSink for Collector {
    type Error = CollectError;

    fn begin(&mut self, entry: TarEntry) -> Result<(), CollectError> {
        assert!(self.entries.last().is_none_or(|last| last.2), "the entry before is ended");
        if self.fail_at == Some(self.entries.len()) {
            return Err(CollectError::Own);
        }
        self.entries.push((entry, Vec::new(), false));
        Ok(())
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), CollectError> {
        assert!(!bytes.is_empty());
        self.entries.last_mut().unwrap().1.extend_from_slice(bytes);
        Ok(())
    }

    fn end(&mut self) -> Result<(), CollectError> {
        self.entries.last_mut().unwrap().2 = true;
        Ok(())
    }
}

fn read_in(chunks: &[usize], archive: &[u8]) -> Result<(Collected, TarEnding), TarError> {
    let (mut reader, mut sink) = (TarReader::new(), Collector::default());
    let mut rest = archive;
    for size in chunks.iter().copied().cycle() {
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at(size.clamp(1, rest.len()));
        if let Err(CollectError::Tar(error)) = reader.push(now, &mut sink) {
            return Err(error);
        }
        rest = later;
    }
    assert_eq!(reader.offset(), archive.len() as u64);
    Ok((sink.entries, reader.finish()?))
}

fn read(archive: &[u8]) -> Result<(Collected, TarEnding), TarError> {
    read_in(&[usize::MAX], archive)
}

fn seen_by_us(entries: Collected) -> SeenInTar {
    let see = |(entry, data, ended): (TarEntry, Vec<u8>, bool)| {
        assert!(ended);
        let name = entry.path.as_bytes().to_vec();
        let (kind, size, link) = match entry.kind {
            TarEntryKind::File { size_bytes } => (b'0', size_bytes, None),
            TarEntryKind::Directory => (b'5', 0, None),
            TarEntryKind::TablespaceLink { target, .. } => (b'2', 0, Some(target.into_vec())),
        };
        (name, kind, size, entry.mode, link, crc32c::crc32c(&data))
    };
    entries.into_iter().map(see).collect()
}

const REAL: &[u8] = include_bytes!("../../../tests/data/postgres-15/base.tar");
const REAL_LINKS: &[u8] = include_bytes!("../../../tests/data/postgres-15/base_links.tar");

#[test]
fn reads_the_archive_of_a_real_server() {
    let (entries, ending) = read(REAL).unwrap();
    assert_eq!(ending, TarEnding::Marked);
    let named = |name: &[u8]| entries.iter().find(|(entry, _, _)| entry.path.as_bytes() == name).unwrap();
    assert!(named(b"backup_label").1.starts_with(b"START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\n"));
    assert_eq!(named(b"PG_VERSION").1, b"15\n");
    assert_eq!(named(b"caf\xe9").1, b"hello");
    assert_eq!(named(b"odd \"name\nx").0.kind, TarEntryKind::File { size_bytes: 0 });
    assert_eq!(named(b"pg_wal/archive_status").0.kind, TarEntryKind::Directory);
    assert_eq!(named(b"pg_wal").0.mode, 0o700);
    assert_eq!(seen_by_tar_crate(REAL).unwrap(), seen_by_us(entries));
}

#[test]
fn reads_the_tablespace_link_of_a_real_server() {
    let (entries, _) = read(REAL_LINKS).unwrap();
    let target = b"/srv/example15/space one".to_vec().into_boxed_slice();
    assert!(entries.iter().any(|(entry, _, _)| entry.path.as_bytes() == b"pg_tblspc/16384"
        && entry.kind == TarEntryKind::TablespaceLink { oid: 16384, target: target.clone() }));
}

#[test]
fn tells_marked_ends_from_unmarked_and_cut_ones() {
    let unmarked = &REAL[..REAL.len() - 1024];
    assert_eq!(read(unmarked).unwrap().1, TarEnding::Unmarked);
    assert_eq!(read(b"").unwrap().1, TarEnding::Unmarked);
    assert_eq!(read(&[0; 1024]).unwrap().1, TarEnding::Marked);
    // The fixture ends with a file of 88 bytes, a directory and the mark: cut inside each, in the padding, and between
    // the file's header and its data.
    for cut in [1, 511, 512, 513, 1023, 1025, 1535, 1537, 1960, 1961, 2047, 2048, 2049] {
        let archive = &REAL[..REAL.len() - cut];
        let wanted = TarError { offset: archive.len() as u64, problem: TarProblem::Truncated };
        assert_eq!(read(archive).err(), Some(wanted), "{cut}");
    }
}

/// A header as PostgreSQL writes it.
fn block(name: &[u8], size: u64, kind: u8, link: &[u8]) -> [u8; 512] {
    let mut block = [0; 512];
    set(&mut block, 0, name);
    set(&mut block, 100, b"0000600 0000145 0000150 ");
    set(&mut block, 124, format!("{size:011o} ").as_bytes());
    set(&mut block, 136, b"15300167025 ");
    set(&mut block, 156, &[kind]);
    set(&mut block, 157, link);
    set(&mut block, 257, b"ustar\x0000postgres");
    set(&mut block, 297, b"postgres");
    set(&mut block, 329, b"0000000 0000000 ");
    sign(&mut block);
    block
}

fn set(block: &mut [u8], at: usize, bytes: &[u8]) {
    block[at..at + bytes.len()].copy_from_slice(bytes);
}

fn sign(block: &mut [u8]) {
    set(block, 148, b"        ");
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    set(block, 148, format!("{sum:07o} ").as_bytes());
}

/// The problem of an archive of this one header, changed and signed anew, without data.
fn problem_after(change: impl Fn(&mut [u8])) -> TarProblem {
    let mut block = block(b"base/5/1259", 0, b'0', b"");
    change(&mut block);
    sign(&mut block);
    problem_of(&block)
}

fn problem_of(archive: &[u8]) -> TarProblem {
    read(archive).unwrap_err().problem
}

#[test]
fn hand_made_headers_are_those_of_the_server() {
    let label = seen_by_tar_crate(REAL).unwrap().remove(0);
    assert_eq!(label.0, b"backup_label");
    let mut made = block(b"backup_label", label.2, b'0', b"");
    // Owner, group and time are the server's.
    set(&mut made, 108, &REAL[108..124]);
    set(&mut made, 136, &REAL[136..148]);
    sign(&mut made);
    assert_eq!(made[..], REAL[..512]);
}

#[test]
fn refuses_unsafe_names() {
    use DataPathProblem as P;
    for (name, kind, problem) in [
        (&b"/etc/passwd"[..], b'0', P::Absolute),
        (b"../x", b'0', P::DotComponent),
        (b"./x", b'0', P::DotComponent),
        (b"././x", b'5', P::DotComponent),
        (b"./../x", b'5', P::DotComponent),
        (b".//x", b'5', P::Absolute),
        (b"./", b'5', P::DotComponent),
        (b"base/../../x", b'5', P::DotComponent),
        (b"a\\b", b'0', P::Backslash),
        (b"", b'0', P::Empty),
        (b"/", b'5', P::Empty),
        (b"a//", b'5', P::EmptyComponent),
        (b"a/", b'0', P::EmptyComponent),
        (b"..", b'2', P::DotComponent),
    ] {
        match problem_of(&block(name, 0, kind, if kind == b'2' { b"/x" } else { b"" })) {
            TarProblem::Path(error) => assert_eq!(error.problem, problem, "{name:?}"),
            other => panic!("{name:?}: {other}"),
        }
    }
}

#[test]
fn refuses_entries_that_servers_never_send() {
    for (kind, words) in [
        (b'1', "a hard link"),
        (b'3', "a character device"),
        (b'4', "a block device"),
        (b'6', "a named pipe"),
        (b'7', "a contiguous file"),
        (b'x', "a PAX extended header"),
        (b'g', "a PAX global header"),
        (b'L', "a GNU long name"),
        (b'K', "a GNU long link"),
        (b'S', "a GNU sparse file"),
        (b'V', "of an unknown type"),
        (b' ', "of an unknown type"),
        (0xff, "of an unknown type"),
    ] {
        match problem_of(&block(b"././@LongLink", 10, kind, b"")) {
            TarProblem::EntryType { kind, .. } => assert_eq!(kind, words),
            other => panic!("{kind}: {other}"),
        }
    }
    let link = |name: &[u8], target: &[u8]| problem_of(&block(name, 0, b'2', target));
    for name in [&b"pg_wal"[..], b"pg_tblspc", b"pg_tblspc/x", b"pg_tblspc/1/2", b"pg_tblspc/01", b"base/1"] {
        assert!(matches!(link(name, b"/x"), TarProblem::LinkPlace { .. }), "{name:?}");
    }
    assert!(matches!(link(b"pg_tblspc/1", b""), TarProblem::LinkTarget { .. }));
    assert!(matches!(link(b"pg_tblspc/1", b"/a\0b"), TarProblem::NotEmpty { field: "link name", .. }));
    for kind in [b'2', b'5'] {
        let problem = problem_of(&block(b"pg_tblspc/1", 1, kind, b""));
        assert!(matches!(problem, TarProblem::SizeOfNoFile { size_bytes: 1, .. }), "{problem}");
    }
}

#[test]
fn refuses_each_field_that_could_mean_two_things() {
    use TarProblem as P;
    let number = |problem: TarProblem, name: &str| matches!(problem, P::Number { field, .. } if field == name);
    let not_empty = |problem: TarProblem, name: &str| matches!(problem, P::NotEmpty { field, .. } if field == name);
    assert!(matches!(problem_after(|b| set(b, 257, b"ustar  \0")), P::Magic { .. }));
    assert!(matches!(problem_after(|b| set(b, 257, &[0; 8])), P::Magic { .. }));
    assert!(not_empty(problem_after(|b| set(b, 345, b"etc")), "prefix"));
    assert!(not_empty(problem_after(|b| set(b, 511, b"x")), "rest"));
    assert!(not_empty(problem_after(|b| set(b, 20, b"x")), "name"));
    assert!(not_empty(problem_after(|b| set(b, 157, b"x")), "link name"));
    assert!(not_empty(problem_after(|b| set(b, 329, b"0000001 ")), "device major"));
    assert!(number(problem_after(|b| set(b, 337, b"x")), "device minor"));
    assert!(number(problem_after(|b| set(b, 100, b"0010000 ")), "mode"));
    assert!(number(problem_after(|b| set(b, 108, &[0; 8])), "owner"));
    assert!(number(problem_after(|b| set(b, 116, b"-")), "group"));
    assert!(number(problem_after(|b| set(b, 136, b"8")), "modified"));
    for size in [
        &b"            "[..],
        &[0; 12],
        b"00000000009 ",
        b"-0000000001 ",
        b"+0000000001 ",
        b" 0000000001 ",
        b"0000001 0001",
        b"0x000000001 ",
        &[0xff; 12],
        &[0x80, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0],
        &[0x80, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0x81, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    ] {
        assert!(number(problem_after(|b| set(b, 124, size)), "size"), "{size:?}");
    }
    let mut unsigned = block(b"x", 0, b'0', b"");
    unsigned[0] = b'y';
    assert!(matches!(problem_of(&unsigned), P::Checksum { .. }));
    set(&mut unsigned, 148, &[0; 8]);
    assert!(number(problem_of(&unsigned), "checksum"));
}

#[test]
fn reads_sizes_in_both_forms() {
    let mut large = block(b"x", 0, b'0', b"");
    set(&mut large, 124, &[0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    set(&mut large, 136, &[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    sign(&mut large);
    let (mut reader, mut sink) = (TarReader::new(), Collector::default());
    reader.push(&large, &mut sink).unwrap();
    let entry = &sink.entries[0].0;
    assert_eq!(entry.kind, TarEntryKind::File { size_bytes: i64::MAX.unsigned_abs() });
    assert_eq!(entry.modified_seconds, -1);
    assert_eq!(reader.finish().unwrap_err().problem, TarProblem::Truncated);

    let mut full = block(&[b'n'; 100], 0, b'0', b"");
    set(&mut full, 124, b"000000000003");
    sign(&mut full);
    let archive = [&full[..], b"abc", &[0; 509]].concat();
    let (entries, _) = read(&archive).unwrap();
    assert_eq!(entries[0].0.path.as_bytes(), [b'n'; 100]);
    assert_eq!(entries[0].1, b"abc");
}

#[test]
fn accounts_for_every_byte_between_and_after_entries() {
    let file = [&block(b"x", 1, b'0', b"")[..], b"a", &[0; 511]].concat();
    let error = |tail: &[u8]| read(&[&file[..], tail].concat()).unwrap_err();
    let mut padded = file.clone();
    padded[1000] = 1;
    assert_eq!(read(&padded).unwrap_err(), TarError { offset: 1000, problem: TarProblem::Padding });
    let lone = [&[0; 512][..], &block(b"y", 0, b'0', b"")].concat();
    assert_eq!(error(&lone), TarError { offset: 1536, problem: TarProblem::LoneZeroBlock });
    assert_eq!(error(&[0; 512]), TarError { offset: 1536, problem: TarProblem::Truncated });
    assert_eq!(error(&[0; 1025]), TarError { offset: 2048, problem: TarProblem::AfterEnd });
    let second = [&[0; 1024][..], &file].concat();
    assert_eq!(error(&second), TarError { offset: 2048, problem: TarProblem::AfterEnd });
}

#[test]
fn goes_no_further_after_a_failure() {
    let archive = [block(b"x", 0, b'0', b""), block(b"y", 0, b'0', b"")].concat();
    let mut reader = TarReader::new();
    let mut sink = Collector { fail_at: Some(1), ..Collector::default() };
    assert_eq!(reader.push(&archive, &mut sink).unwrap_err(), CollectError::Own);
    match reader.push(&archive, &mut sink).unwrap_err() {
        CollectError::Tar(error) => {
            assert_eq!(error.problem, TarProblem::FailedBefore);
            assert_eq!(error.class(), ErrorClass::Internal);
        }
        CollectError::Own => panic!("the sink was called"),
    }
    assert_eq!(sink.entries.len(), 1);
    assert_eq!(reader.finish().unwrap_err().problem, TarProblem::FailedBefore);
}

#[derive(Debug, Clone)]
enum Made {
    File(String, Vec<u8>),
    Directory(String),
    Link(u32, String),
}

fn made() -> impl Strategy<Value = Made> {
    let name = "[a-z0-9 ._]{1,12}(/[a-z0-9_]{1,12}){0,3}";
    prop_oneof![
        3 => (name, prop::collection::vec(any::<u8>(), 0..1600)).prop_map(|(name, data)| Made::File(name, data)),
        1 => name.prop_map(Made::Directory),
        1 => (1u32.., "/[a-z /]{0,80}").prop_map(|(oid, target)| Made::Link(oid, target)),
    ]
}

/// The archive that the `tar` crate writes of these entries.
fn write_by_tar_crate(entries: &[Made]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for made in entries {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o640);
        header.set_uid(70);
        header.set_gid(70);
        header.set_mtime(1_700_000_000);
        let (name, data): (String, &[u8]) = match made {
            Made::File(name, data) => {
                header.set_size(data.len() as u64);
                (name.clone(), data)
            }
            Made::Directory(name) => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_size(0);
                (format!("{name}/"), &[])
            }
            Made::Link(oid, target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_link_name_literal(target).unwrap();
                header.set_size(0);
                (format!("pg_tblspc/{oid}/"), &[])
            }
        };
        set(header.as_mut_bytes(), 0, name.as_bytes());
        header.set_cksum();
        builder.append(&header, data).unwrap();
    }
    builder.into_inner().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn sees_what_the_tar_crate_wrote(entries in prop::collection::vec(made(), 0..6)) {
        let archive = write_by_tar_crate(&entries);
        let wanted = seen_by_tar_crate(&archive).unwrap();
        match read(&archive) {
            Ok((entries, ending)) => {
                prop_assert_eq!(ending, TarEnding::Marked);
                prop_assert_eq!(seen_by_us(entries), wanted);
            }
            // The generated names may be "." or "..", nothing else is wrong with them.
            Err(error) => prop_assert!(matches!(error.problem, TarProblem::Path(_)), "{:?}", error),
        }
    }

    #[test]
    fn pieces_of_any_size_make_no_difference(chunks in prop::collection::vec(1usize..2000, 1..20), cut in 0usize..REAL.len()) {
        prop_assert_eq!(read_in(&chunks, REAL), read(REAL));
        prop_assert_eq!(read_in(&chunks, &REAL[cut..]), read(&REAL[cut..]));
        prop_assert_eq!(read_in(&chunks, &REAL[..cut]), read(&REAL[..cut]));
    }

    /// D9: whatever this reader accepts, another reader understands in the same way.
    #[test]
    fn accepted_archives_read_the_same_elsewhere(
        changes in prop::collection::vec((0usize..16, 0usize..512, any::<u8>()), 1..4),
        resign in any::<bool>(),
    ) {
        // The first twelve entries, whole: unchanged they are accepted.
        let mut archive = REAL[..16 * 512].to_vec();
        prop_assert_eq!(read(&archive).unwrap().0.len(), 12);
        for (block, at, byte) in changes {
            let block = &mut archive[block * 512..][..512];
            block[at] = byte;
            if resign && block.get(257..262) == Some(b"ustar") {
                sign(block);
            }
        }
        let (mut reader, mut sink) = (TarReader::new(), Collector::default());
        if reader.push(&archive, &mut sink).is_ok() && reader.finish().is_ok() {
            let elsewhere = seen_by_tar_crate(&archive).unwrap();
            prop_assert_eq!(seen_by_us(sink.entries), elsewhere);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        let _ = read(&bytes);
        let mut signed = bytes;
        if signed.len() >= 512 {
            set(&mut signed, 257, b"ustar\x0000");
            sign(&mut signed[..512]);
            let _ = read(&signed);
        }
    }
}
