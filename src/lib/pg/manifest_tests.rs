//! Against manifests of real servers, and a table of malformed ones after `pg_verifybackup`'s own cases.

use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::pg::data_path::hex_encode;
use crate::pg::{DataPathProblem, ManifestHasher, TarEntry, TarEntryKind, TarError, TarReader, TarSink};

const REAL_15: &[u8] = include_bytes!("../../../tests/data/postgres-15/backup_manifest");
const REAL_15_TAR: &[u8] = include_bytes!("../../../tests/data/postgres-15/base.tar");
const REAL_17: &[u8] = include_bytes!("../../../tests/data/postgres-17/backup_manifest");

#[test]
fn reads_a_real_manifest_of_version_1() {
    let manifest = BackupManifest::parse(REAL_15).unwrap();
    assert_eq!(manifest.summary().system_identifier(), None);
    assert_eq!(
        manifest.summary().wal_ranges(),
        [WalRange {
            timeline: TimelineId::FIRST,
            start_lsn: "0/2000028".parse().unwrap(),
            end_lsn: "0/2000100".parse().unwrap(),
        }]
    );
    assert_eq!(manifest.files().len(), REAL_15.split(|&b| b == b'\n').filter(|l| l.starts_with(b"{ \"P")).count());
    let file = |path: &[u8]| manifest.file(&DataPath::parse(path).unwrap()).unwrap();
    let relation = file(b"pg_tblspc/16384/PG_15_202209061/1/16385");
    assert_eq!((relation.size_bytes, &*relation.last_modified), (40960, "2026-11-21 01:09:39 GMT"));
    assert_eq!(relation.checksum.as_ref().unwrap().to_string(), "957570b2");
    assert_eq!(file(b"caf\xe9").size_bytes, 5);
    assert_eq!(file(b"odd \"name\nx").size_bytes, 0);
    assert_eq!(manifest.file(&DataPath::parse(b"absent").unwrap()), None);
    let digits = String::from_utf8_lossy(&REAL_15[REAL_15.len() - 67..REAL_15.len() - 3]);
    assert_eq!(hex_encode(manifest.summary().checksum()), digits);
}

#[test]
fn reads_a_real_manifest_of_version_2() {
    let manifest = BackupManifest::parse(REAL_17).unwrap();
    assert_eq!(manifest.summary().system_identifier(), SystemIdentifier::new(7_710_425_707_166_114_341));
    assert!(manifest.file(&DataPath::parse(b"global/pg_control").unwrap()).is_some());
}

/// Each file of the archive that came with the manifest has the checksum that the server stated.
#[test]
fn computes_the_checksums_of_a_real_server() {
    struct Verifier {
        manifest: BackupManifest,
        current: Option<(DataPath, ManifestHasher)>,
        verified: usize,
    }
    impl TarSink for Verifier {
        type Error = TarError;
        fn begin(&mut self, entry: TarEntry) -> Result<(), TarError> {
            if matches!(entry.kind, TarEntryKind::File { .. }) {
                let hasher = ManifestChecksum::hasher(ManifestChecksumAlgorithm::Crc32c);
                self.current = Some((entry.path, hasher));
            }
            Ok(())
        }
        fn data(&mut self, bytes: &[u8]) -> Result<(), TarError> {
            self.current.as_mut().unwrap().1.update(bytes);
            Ok(())
        }
        fn end(&mut self) -> Result<(), TarError> {
            if let Some((path, hasher)) = self.current.take() {
                assert_eq!(self.manifest.file(&path).unwrap().checksum, Some(hasher.finish()), "{path:?}");
                self.verified += 1;
            }
            Ok(())
        }
    }
    let manifest = BackupManifest::parse(REAL_15).unwrap();
    let mut verifier = Verifier { manifest, current: None, verified: 0 };
    TarReader::new().push(REAL_15_TAR, &mut verifier).unwrap();
    assert!(verifier.verified >= 10, "{}", verifier.verified);
}

/// The lines, with the right checksum line after them.
fn signed(lines: &str) -> Vec<u8> {
    let digest = hex_encode(&Sha256::digest(lines.as_bytes()));
    format!("{lines}\"Manifest-Checksum\": \"{digest}\"}}\n").into_bytes()
}

fn with(files: &str, ranges: &str) -> Vec<u8> {
    signed(&format!("{{\"{VERSION}\": 1,\n\"Files\": [{files}],\n\"WAL-Ranges\": [{ranges}],\n"))
}

const RANGE: &str = r#"{"Timeline": 1, "Start-LSN": "0/1", "End-LSN": "0/2"}"#;
const REST: &str = r#""Size": 1, "Last-Modified": "x""#;

fn of_files(files: &str) -> ManifestError {
    BackupManifest::parse(&with(files, RANGE)).unwrap_err()
}

fn of_ranges(ranges: &str) -> ManifestError {
    BackupManifest::parse(&with("", ranges)).unwrap_err()
}

fn of_lines(lines: &str) -> ManifestError {
    BackupManifest::parse(&signed(lines)).unwrap_err()
}

#[test]
fn accepts_a_minimal_manifest() {
    let manifest = BackupManifest::parse(&with("", RANGE)).unwrap();
    assert_eq!((manifest.files().len(), manifest.summary().wal_ranges().len()), (0, 1));
    let files = format!(
        r#"{{"Path": "b", {REST}}}, {{"Encoded-Path": "61", {REST}, "Checksum-Algorithm": "NONE"}},
        {{"Path": "c", {REST}, "Checksum-Algorithm": "crc32c", "Checksum": "ABCDEF01"}}"#
    );
    let manifest = BackupManifest::parse(&with(&files, RANGE)).unwrap();
    let paths: Vec<_> = manifest.files().iter().map(|file| file.path.as_bytes()).collect();
    assert_eq!(paths, [b"a", b"b", b"c"]);
    assert_eq!(manifest.files()[2].checksum, Some(ManifestChecksum::Crc32c([0xab, 0xcd, 0xef, 0x01])));
    let lines = format!("{{\"{VERSION}\": 2, \"System-Identifier\": 18446744073709551615,\n");
    let manifest = signed(&format!("{lines}\"WAL-Ranges\": [{RANGE}], \"Files\": [],\n"));
    assert_eq!(
        BackupManifest::parse(&manifest).unwrap().summary().system_identifier(),
        SystemIdentifier::new(u64::MAX)
    );
}

#[test]
fn refuses_what_is_cut_or_changed() {
    use ManifestError as E;
    assert!(matches!(BackupManifest::parse(b"").unwrap_err(), E::Unterminated));
    assert!(matches!(BackupManifest::parse(&REAL_15[..REAL_15.len() - 1]).unwrap_err(), E::Unterminated));
    assert!(matches!(BackupManifest::parse(b"{}\n").unwrap_err(), E::ChecksumLine { .. }));
    assert!(matches!(BackupManifest::parse(b"\n").unwrap_err(), E::ChecksumLine { .. }));
    let text = String::from_utf8(with("", RANGE)).unwrap();
    for (from, to) in
        [("\"}\n", "\" }\n"), ("\"}\n", "0\"}\n"), ("\"}\n", "\"}\n\n"), ("\"}\n", "\", \"Files\": []}\n")]
    {
        let changed = text.replace(from, to);
        assert!(matches!(BackupManifest::parse(changed.as_bytes()).unwrap_err(), E::ChecksumLine { .. }), "{changed}");
    }
    let no_line = text.replace("],\n\"Manifest", "], \"Manifest");
    assert!(matches!(BackupManifest::parse(no_line.as_bytes()).unwrap_err(), E::ChecksumLine { .. }));
    let error = BackupManifest::parse(text.replace("\": 1,", "\":  1,").as_bytes()).unwrap_err();
    assert!(matches!(error, E::ChecksumMismatch { .. }));
    assert_eq!(error.class(), ErrorClass::Corrupt);
    for at in [0, 1, 100, 1000, REAL_15.len() - 10] {
        let mut changed = REAL_15.to_vec();
        changed[at] ^= 1;
        assert!(BackupManifest::parse(&changed).is_err(), "{at}");
    }
}

#[test]
fn refuses_malformed_documents() {
    use ManifestError as E;
    let version = format!("{{\"{VERSION}\": 1,\n");
    assert!(matches!(of_lines("{\n"), E::VersionNotFirst { .. }));
    assert!(matches!(of_lines("{\"Files\": [],\n"), E::VersionNotFirst { .. }));
    assert!(matches!(of_lines("[\n"), E::Json(_)));
    assert!(matches!(of_lines("{\"x\": 1}\n"), E::VersionNotFirst { .. }));
    for unknown in ["0", "3", "9876599"] {
        let error = of_lines(&format!("{{\"{VERSION}\": {unknown},\n"));
        assert!(matches!(error, E::Version { .. }), "{unknown}");
        assert_eq!(error.class(), ErrorClass::Unsupported);
    }
    for wrong in ["\"1\"", "-1", "1.5", "{}", "null"] {
        assert!(matches!(of_lines(&format!("{{\"{VERSION}\": {wrong},\n")), E::Json(_)), "{wrong}");
    }
    assert!(matches!(of_lines(&format!("{version}\"x\": 1,\n")), E::UnknownField { version: 1, .. }));
    assert!(matches!(of_lines(&format!("{version}\"System-Identifier\": 1,\n")), E::UnknownField { .. }));
    assert!(matches!(of_lines(&version), E::MissingField { field: "Files" }));
    assert!(matches!(of_lines(&format!("{version}\"Files\": [],\n")), E::MissingField { field: "WAL-Ranges" }));
    assert!(matches!(of_lines(&format!("{version}\"Files\": [],\"Files\": [],\n")), E::DuplicateField { .. }));
    assert!(matches!(of_lines(&format!("{version}\"{VERSION}\": 1,\n")), E::DuplicateField { .. }));
    let ranges = format!("{version}\"WAL-Ranges\": [{RANGE}],");
    assert!(matches!(of_lines(&format!("{ranges}\"WAL-Ranges\": [{RANGE}],\n")), E::DuplicateField { .. }));
    assert!(matches!(of_lines(&format!("{version}\"Manifest-Checksum\": \"x\",\n")), E::DuplicateField { .. }));
    for wrong in ["{}", "1", "null", "\"x\"", "[1]", "[[]]", "[\"x\"]", "[null]"] {
        assert!(matches!(of_lines(&format!("{version}\"Files\": {wrong},\n")), E::Json(_)), "{wrong}");
        assert!(matches!(of_lines(&format!("{version}\"WAL-Ranges\": {wrong},\n")), E::Json(_)), "{wrong}");
    }
    let second = |identifier: &str| {
        let lines = format!("{{\"{VERSION}\": 2,\n{identifier}\"Files\": [],\"WAL-Ranges\": [{RANGE}],\n");
        of_lines(&lines)
    };
    assert!(matches!(second(""), E::MissingField { field: "System-Identifier" }));
    assert!(matches!(second("\"System-Identifier\": 0,"), E::SystemIdentifier));
    assert!(matches!(second("\"System-Identifier\": \"1\","), E::Json(_)));
    assert!(matches!(second("\"System-Identifier\": 1,\"System-Identifier\": 1,"), E::DuplicateField { .. }));
}

#[test]
fn refuses_malformed_files() {
    use ManifestError as E;
    assert!(matches!(of_files("{}"), E::Json(_)));
    assert!(matches!(of_files(&format!("{{{REST}}}")), E::PathFields { index: 0, found: "neither" }));
    let both = format!(r#"{{"Path": "a", "Encoded-Path": "61", {REST}}}"#);
    assert!(matches!(of_files(&both), E::PathFields { index: 0, found: "both" }));
    for (path, problem) in [
        (r#""Path": """#, DataPathProblem::Empty),
        (r#""Path": "/etc/passwd""#, DataPathProblem::Absolute),
        (r#""Path": "a/../../b""#, DataPathProblem::DotComponent),
        (r#""Path": "a\u0000b""#, DataPathProblem::ZeroByte),
        (r#""Encoded-Path": "123""#, DataPathProblem::NotHex),
        (r#""Encoded-Path": "zz""#, DataPathProblem::NotHex),
        (r#""Encoded-Path": "2e2e""#, DataPathProblem::DotComponent),
    ] {
        match of_files(&format!("{{{path}, {REST}}}")) {
            E::Path { index: 0, source } => assert_eq!(source.problem, problem, "{path}"),
            other => panic!("{path}: {other}"),
        }
    }
    for wrong in [
        r#""Path": "a", "Last-Modified": "x""#,
        r#""Path": "a", "Size": "1", "Last-Modified": "x""#,
        r#""Path": "a", "Size": "Oops", "Last-Modified": "x""#,
        r#""Path": "a", "Size": -1, "Last-Modified": "x""#,
        r#""Path": "a", "Size": 1.5, "Last-Modified": "x""#,
        r#""Path": "a", "Size": 18446744073709551616, "Last-Modified": "x""#,
        r#""Path": "a", "Size": 1"#,
        r#""Path": "a", "Size": 1, "Last-Modified": 1"#,
        r#""Path": null, "Size": 1, "Last-Modified": "x""#,
        r#""Path": 1, "Size": 1, "Last-Modified": "x""#,
        r#""Path": "a", "Path": "b", "Size": 1, "Last-Modified": "x""#,
        r#""Path": "a", "Size": 1, "Last-Modified": "x", "Oops": 1"#,
        r#""Path": "a", "Size": 1, "Last-Modified": "x", "Checksum": null"#,
    ] {
        assert!(matches!(of_files(&format!("{{{wrong}}}")), E::Json(_)), "{wrong}");
    }
    let twice = format!(r#"{{"Path": "a/b", {REST}}}, {{"Path": "c", {REST}}}, {{"Encoded-Path": "612f62", {REST}}}"#);
    assert!(matches!(of_files(&twice), E::DuplicatePath { path } if path == "a/b"));
    let checksum = |fields: &str| of_files(&format!(r#"{{"Path": "a", {REST}, {fields}}}"#));
    assert!(matches!(checksum(r#""Checksum": "00000000""#), E::HalfChecksum { .. }));
    assert!(matches!(checksum(r#""Checksum-Algorithm": "CRC32C""#), E::HalfChecksum { .. }));
    let unknown = checksum(r#""Checksum-Algorithm": "MD5", "Checksum": "00""#);
    assert!(matches!(unknown, E::ChecksumAlgorithm { algorithm, .. } if algorithm == "MD5"));
    for digits in ["", "0", "000000", "0000000", "000000000", "0000000g", "0000000000"] {
        let error = checksum(&format!(r#""Checksum-Algorithm": "CRC32C", "Checksum": "{digits}""#));
        assert!(matches!(error, E::ChecksumDigits { .. }), "{digits}");
    }
}

#[test]
fn refuses_malformed_wal_ranges() {
    use ManifestError as E;
    assert!(matches!(of_ranges(""), E::NoWalRange));
    assert!(matches!(of_ranges(r#"{"Timeline": 1, "Start-LSN": "0/2", "End-LSN": "0/1"}"#), E::WalRangeOrder { .. }));
    for wrong in [
        "{}",
        r#"{"Start-LSN": "0/1", "End-LSN": "0/2"}"#,
        r#"{"Timeline": 1, "End-LSN": "0/2"}"#,
        r#"{"Timeline": 1, "Start-LSN": "0/1"}"#,
        r#"{"Timeline": 0, "Start-LSN": "0/1", "End-LSN": "0/2"}"#,
        r#"{"Timeline": "1", "Start-LSN": "0/1", "End-LSN": "0/2"}"#,
        r#"{"Timeline": 1, "Start-LSN": 1, "End-LSN": "0/2"}"#,
        r#"{"Timeline": 1, "Start-LSN": "oops", "End-LSN": "0/2"}"#,
        r#"{"Timeline": 1, "Start-LSN": "0/0", "End-LSN": "0/2"}"#,
        r#"{"Timeline": 1, "Start-LSN": "0/1", "End-LSN": "0/2", "Oops": 1}"#,
        r#"{"Timeline": 1, "Timeline": 1, "Start-LSN": "0/1", "End-LSN": "0/2"}"#,
    ] {
        assert!(matches!(of_ranges(wrong), E::Json(_)), "{wrong}");
    }
    let many = vec![RANGE; (1 << 14) + 1].join(",\n");
    assert!(matches!(of_ranges(&many), E::Json(_)));
}

/// A manifest in the words of the server.
fn written(files: &[ManifestFile], ranges: &[WalRange]) -> Vec<u8> {
    let files: Vec<String> = files
        .iter()
        .map(|file| {
            let path = match file.path.to_text() {
                Some(text) => format!("\"Path\": {}", serde_json::to_string(text).unwrap()),
                None => format!("\"Encoded-Path\": \"{}\"", file.path.to_hex()),
            };
            let checksum = file.checksum.as_ref().map_or(String::new(), |sum| {
                format!(", \"Checksum-Algorithm\": \"{}\", \"Checksum\": \"{sum}\"", sum.algorithm())
            });
            let modified = serde_json::to_string(&file.last_modified).unwrap();
            format!("{{ {path}, \"Size\": {}, \"Last-Modified\": {modified}{checksum} }}", file.size_bytes)
        })
        .collect();
    let ranges: Vec<String> = ranges.iter().map(|range| serde_json::to_string(range).unwrap()).collect();
    with(&files.join(",\n"), &ranges.join(",\n"))
}

fn checksum() -> impl Strategy<Value = Option<ManifestChecksum>> {
    (0usize..6, any::<u64>()).prop_map(|(algorithm, seed)| {
        let mut hasher = ManifestChecksum::hasher(*ManifestChecksumAlgorithm::ALL.get(algorithm)?);
        hasher.update(&seed.to_le_bytes());
        Some(hasher.finish())
    })
}

fn file() -> impl Strategy<Value = ManifestFile> {
    let path = prop::collection::vec(any::<u8>(), 1..30).prop_filter_map("path", |bytes| DataPath::parse(&bytes).ok());
    (path, any::<u64>(), any::<String>(), checksum()).prop_map(|(path, size_bytes, modified, checksum)| ManifestFile {
        path,
        size_bytes,
        last_modified: modified.into(),
        checksum,
    })
}

fn range() -> impl Strategy<Value = WalRange> {
    (1u32.., 1u64..u64::MAX / 2, 0u64..u64::MAX / 2).prop_map(|(timeline, start, length)| WalRange {
        timeline: TimelineId::new(timeline).unwrap(),
        start_lsn: Lsn::new(start).unwrap(),
        end_lsn: Lsn::new(start + length).unwrap(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn reads_what_a_server_would_write(
        files in prop::collection::btree_map(any::<u16>(), file(), 0..8),
        ranges in prop::collection::vec(range(), 1..4),
    ) {
        let mut files: Vec<_> = files.into_values().collect();
        let manifest = written(&files, &ranges);
        files.sort_by(|a, b| a.path.cmp(&b.path));
        if files.windows(2).all(|pair| pair[0].path != pair[1].path) {
            let parsed = BackupManifest::parse(&manifest).unwrap();
            prop_assert_eq!(parsed.files(), &files[..]);
            prop_assert_eq!(parsed.summary().wal_ranges(), &ranges[..]);
            for file in &files {
                prop_assert_eq!(parsed.file(&file.path), Some(file));
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), text in ".{0,200}") {
        let _ = BackupManifest::parse(&bytes);
        let _ = BackupManifest::parse(&signed(&text));
        let _ = BackupManifest::parse(&with(&text, RANGE));
    }
}
