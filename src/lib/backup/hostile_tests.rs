//! Hostile names, types and sizes in what a server sends: refused by name, or kept as the plain names that they are.
//! Nothing is written outside the repository.

use super::tests::{manifest_of, received_in};
use super::*;
use crate::error::{Classified as _, ErrorClass};
use crate::hostile::{Decoy, Fate, NAMES};
use crate::pg::DataPathProblem;
use crate::repository::testing;

const BLOCK: usize = 512;

/// An entry as an enemy writes it: every field by hand, the checksum right.
#[derive(Clone)]
struct Raw {
    name: Vec<u8>,
    kind: u8,
    link: Vec<u8>,
    size: Vec<u8>,
    prefix: Vec<u8>,
    content: Vec<u8>,
}

impl Raw {
    fn new(name: &[u8], kind: u8) -> Self {
        let (link, size, prefix, content) = (Vec::new(), b"00000000000\0".to_vec(), Vec::new(), Vec::new());
        Self { name: name.to_vec(), kind, link, size, prefix, content }
    }

    fn archive(&self) -> Vec<u8> {
        let mut block = [0u8; BLOCK];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.name);
        put(100, b"0000600\0");
        put(108, b"0000000\0");
        put(116, b"0000000\0");
        put(124, &self.size);
        put(136, b"00000000000\0");
        put(148, b"        ");
        put(156, &[self.kind]);
        put(157, &self.link);
        put(257, b"ustar\x0000");
        put(345, &self.prefix);
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let padding = vec![0; self.content.len().next_multiple_of(BLOCK) - self.content.len()];
        [&block[..], &self.content, &padding, &[0; 2 * BLOCK]].concat()
    }
}

/// A repository, what stands beside it, and one archive after the other.
struct Enemy {
    test: testing::TestRepository,
    decoy: Decoy,
    cases: usize,
}

impl Enemy {
    fn new() -> Self {
        let test = testing::repository_in_memory();
        let decoy = Decoy::new(test.temp.path());
        Self { test, decoy, cases: 0 }
    }

    /// Sends an archive and a manifest; the paths that came, or the error.
    fn send(&mut self, archive: &str, tar: Vec<u8>, manifest: &[u8]) -> Result<Vec<DataPath>, BackupError> {
        self.cases += 1;
        let received = received_in(&self.test, &[(archive, tar)], manifest, true, 1 << 20);
        self.decoy.assert_untouched(&["repo"], &archive);
        received.map(|content| content.entries.into_iter().map(|(path, _)| path).collect())
    }

    /// Sends one archive alone: it must be refused as such, before the manifest is looked at.
    fn refused(&mut self, archive: &str, raw: &Raw) -> String {
        let error = self.send(archive, raw.archive(), b"").err();
        let error = error.unwrap_or_else(|| panic!("{} was accepted", raw.name.escape_ascii()));
        assert!(
            matches!(error, BackupError::Archive { .. } | BackupError::ArchiveContent { .. } | BackupError::Path(_)),
            "{}: {error:?}",
            raw.name.escape_ascii()
        );
        assert!(matches!(error.class(), ErrorClass::InvalidInput | ErrorClass::Corrupt), "{error}");
        crate::fuzz_check::seen(&error);
        let levels = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
        levels.map(ToString::to_string).collect::<Vec<_>>().join(": ")
    }
}

#[test]
fn hostile_names_in_archives_are_refused_or_plain_names() {
    let mut enemy = Enemy::new();
    for (name, fate) in NAMES {
        let name = enemy.decoy.name(name);
        if name.len() > 100 {
            continue;
        }
        // A name in a header ends with its first zero byte; what follows must be zero.
        for (archive, kind) in
            [("base.tar", b'0'), ("base.tar", b'\0'), ("base.tar", b'5'), ("16385.tar", b'0'), ("16385.tar", b'5')]
        {
            let raw = Raw::new(&name, kind);
            // COMPAT: directories come with a slash behind, and some with "./" before.
            let plain = name.strip_suffix(b"/").unwrap_or(&name);
            let plain = if kind == b'5' { plain.strip_prefix(b"./").unwrap_or(plain) } else { &name[..] };
            if *fate == Fate::Refused && DataPath::parse(plain).is_err() {
                enemy.refused(archive, &raw);
                continue;
            }
            // It is not in the manifest, so that the backup fails; but not before it was taken as a plain name.
            let error = enemy.send(archive, raw.archive(), b"").err().unwrap();
            assert!(matches!(error, BackupError::DocumentMissing { .. }), "{}: {error:?}", name.escape_ascii());
        }
    }
    assert!(enemy.cases >= 250, "{} cases", enemy.cases);
}

#[test]
fn harmless_names_are_kept_byte_for_byte() {
    let mut enemy = Enemy::new();
    for (name, _) in NAMES.iter().filter(|(_, fate)| *fate == Fate::Harmless) {
        let Ok(text) = std::str::from_utf8(name) else { continue };
        if text.contains(|c: char| c.is_control() || c == '"' || c == '\\') {
            // JSON would have to escape it; the path of the manifest's own reader is tested below.
            continue;
        }
        let files = vec![
            ("backup_label", b"START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\n".to_vec()),
            (text, Vec::new()),
            ("global/pg_control", vec![9; 8192]),
        ];
        let tar = super::tests::tar_of(&files);
        let manifest = manifest_of(&[("base.tar", files)]);
        let paths = enemy.send("base.tar", tar, &manifest).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert!(paths.iter().any(|path| path.as_bytes() == *name), "{text}");
    }
    assert!(enemy.cases >= 12);
}

#[test]
fn types_that_no_server_sends_are_refused_by_their_name() {
    let mut enemy = Enemy::new();
    let target = enemy.decoy.path().join("file").into_os_string().into_encoded_bytes();
    for (kind, word) in [
        (b'1', "hard link"),
        (b'3', "character device"),
        (b'4', "block device"),
        (b'6', "named pipe"),
        (b'7', "contiguous file"),
        (b'x', "PAX extended header"),
        (b'g', "PAX global header"),
        (b'L', "GNU long name"),
        (b'K', "GNU long link"),
        (b'S', "GNU sparse file"),
        (b'D', "unknown type"),
        (b'M', "unknown type"),
        (b'V', "unknown type"),
        (b'A', "unknown type"),
        (0xff, "unknown type"),
    ] {
        for name in ["base/5/1", "pg_tblspc/16385", "././@LongLink", "PaxHeaders/x"] {
            let mut raw = Raw { link: target.clone(), ..Raw::new(name.as_bytes(), kind) };
            let message = enemy.refused("base.tar", &raw);
            assert!(message.contains(word) && message.contains(name), "{message}");
            // With content, as an extended header has.
            raw.content = b"30 path=../../decoy/planted\n26 size=99999999999999999\n".to_vec();
            raw.size = format!("{:011o}\0", raw.content.len()).into_bytes();
            enemy.refused("base.tar", &raw);
        }
    }
    assert!(enemy.cases >= 120);
}

#[test]
fn links_are_refused_wherever_they_are_and_lead() {
    let mut enemy = Enemy::new();
    for place in [
        "base",
        "pg_wal",
        "PG_VERSION",
        "pg_tblspc/16385",
        "pg_tblspc/1",
        "pg_tblspc/x",
        "pg_tblspc/16385/x",
        "postgresql.auto.conf",
    ] {
        for target in ["DECOY/file", "DECOY", "../decoy/file", "/etc/passwd", "/", "..", "", "a\nb"] {
            let link = enemy.decoy.name(target.as_bytes());
            let message = enemy.refused("base.tar", &Raw { link, ..Raw::new(place.as_bytes(), b'2') });
            assert!(message.contains(place), "{message}");
        }
    }
    // A file or a directory with the target of a link is none.
    for kind in [b'0', b'5'] {
        let link = enemy.decoy.name(b"DECOY/file");
        enemy.refused("base.tar", &Raw { link, ..Raw::new(b"base", kind) });
    }
}

#[test]
fn sizes_and_prefixes_that_two_readers_could_read_differently_are_refused() {
    let mut enemy = Enemy::new();
    for size in [
        b"77777777777\0".as_slice(),
        b"-0000000001\0",
        b"+0000000001\0",
        b"0x000000010\0",
        b"00000000008\0",
        b"1          \0",
        b"0000 000001\0",
        b"00\x000000000001",
        b"            ",
        b"\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x80\0\0\0\x80\0\0\0\0\0\0\0",
        b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\x81\0\0\0\0\0\0\0\0\0\0\x01",
    ] {
        // Of a file whose data never comes, or is not meant.
        let raw = Raw { size: size.to_vec(), ..Raw::new(b"base/5/1", b'0') };
        let outcome = enemy.send("base.tar", raw.archive(), b"").err().unwrap();
        assert!(matches!(outcome, BackupError::Archive { .. }), "{}: {outcome:?}", size.escape_ascii());
        for kind in [b'5', b'2'] {
            let link = if kind == b'2' { b"/ts".to_vec() } else { Vec::new() };
            enemy.refused("base.tar", &Raw { size: size.to_vec(), link, ..Raw::new(b"pg_tblspc/16385", kind) });
        }
    }
    for prefix in ["..", "/", "DECOY", "base", " "] {
        let prefix = enemy.decoy.name(prefix.as_bytes());
        let message = enemy.refused("base.tar", &Raw { prefix, ..Raw::new(b"planted", b'0') });
        assert!(message.contains("prefix"), "{message}");
    }
}

#[test]
fn names_of_archives_are_those_of_tablespaces() {
    let mut enemy = Enemy::new();
    let plain = Raw::new(b"x", b'0').archive();
    for (name, _) in NAMES {
        let name = String::from_utf8_lossy(&enemy.decoy.name(name)).into_owned();
        for name in [name.clone(), format!("{name}.tar")] {
            let error = enemy.send(&name, plain.clone(), b"").err().unwrap();
            assert!(matches!(error, BackupError::ArchiveContent { .. }), "{name:?}: {error:?}");
            crate::fuzz_check::seen(&error);
        }
    }
}

/// `pg_verifybackup` refuses such manifests; a backup with one must not be stored.
#[test]
fn hostile_names_in_manifests_are_refused() {
    let mut enemy = Enemy::new();
    for (name, fate) in NAMES {
        let name = enemy.decoy.name(name);
        let hex: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut texts = vec![format!("\"Encoded-Path\": \"{hex}\"")];
        if let Ok(text) = std::str::from_utf8(&name) {
            texts.push(format!("\"Path\": {}", serde_json::to_string(text).unwrap()));
        }
        for path in texts {
            let manifest = with_file(&path);
            let label = super::tests::tar_of(&[("backup_label", b"label".to_vec())]);
            let error = enemy.send("base.tar", label, &manifest);
            let error = error.err().unwrap_or_else(|| panic!("{path} was accepted"));
            match (fate, &error) {
                (Fate::Refused, BackupError::Manifest(_)) | (Fate::Harmless, BackupError::NotAsManifest { .. }) => {}
                _ => panic!("{path}: {error:?}"),
            }
            assert_eq!(error.class(), if *fate == Fate::Refused { error.class() } else { ErrorClass::Corrupt });
        }
    }
    assert!(enemy.cases >= 100);
}

/// A manifest of one file, with a right checksum.
fn with_file(path: &str) -> Vec<u8> {
    use sha2::Digest as _;
    let body = format!(
        "{{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [\n{{ {path}, \"Size\": 0, \"Last-Modified\": \"2026-11-21 \
         00:00:00 GMT\", \"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"00000000\" }}\n],\n\"WAL-Ranges\": [\n{{ \
         \"Timeline\": 1, \"Start-LSN\": \"0/2000028\", \"End-LSN\": \"0/2000100\" }}\n],\n"
    );
    let sum: String = sha2::Sha256::digest(body.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{body}\"Manifest-Checksum\": \"{sum}\"}}\n").into_bytes()
}

#[test]
fn a_refusal_says_why() {
    let error = DataPath::parse(b"base/../x").unwrap_err();
    assert_eq!(error.problem, DataPathProblem::DotComponent);
    let message = Enemy::new().refused("base.tar", &Raw::new(b"base/../x", b'0'));
    assert!(message.contains("base.tar"), "{message}");
}

/// The server that is restored makes a link of every line.
#[test]
fn a_tablespace_map_is_about_the_tablespaces_that_were_announced() {
    let mut enemy = Enemy::new();
    for line in
        ["16385 /other\n", "16386 /ts\n", "16385 /ts\n1 DECOY\n", "1 DECOY\n", "1 pg_tblspc/2\n", "x y\n", "16385 /ts"]
    {
        let map = enemy.decoy.name(line.as_bytes());
        let tar = super::tests::tar_of(&[("backup_label", b"label".to_vec()), ("tablespace_map", map)]);
        let error = enemy.send("base.tar", tar, b"").err().unwrap();
        assert!(matches!(error, BackupError::ArchiveContent { .. }), "{line:?}: {error:?}");
        assert!(error.to_string().contains("tablespace_map"), "{error}");
    }
    for line in ["", "16385 /ts\n", "7 pg_tblspc/7\n"] {
        let tar =
            super::tests::tar_of(&[("backup_label", b"label".to_vec()), ("tablespace_map", line.as_bytes().to_vec())]);
        let error = enemy.send("base.tar", tar, b"").err().unwrap();
        assert!(matches!(error, BackupError::Manifest(_)), "{line:?}: {error:?}");
    }
}
