//! PostgreSQL's files.

use jiff::tz::TimeZoneDatabase;
use sha2::{Digest as _, Sha256};

use crate::fuzz_check::{seen, shown, split_choice, text};
use crate::pg::tar_oracle::{SeenInTar, seen_by_tar_crate};
use crate::pg::{
    BackupLabel, BackupManifest, ClearScope, CommandWord, ControlFile, DataPath, ManifestChecksum,
    ManifestChecksumAlgorithm, PgMajorVersion, RecoveryTargetAction, RecoveryTargetTimeline, RestorePointName,
    SystemIdentifier, TablespaceMap, TarEntry, TarEntryKind, TarError, TarReader, TarSink, TimelineHistory, TimelineId,
    TransactionId, WalFileName, WalSegmentHeader, WalSegmentName, append_lines, chained_end_command,
    clear_recovery_settings, command_text, config_value, end_command_of, foreign_targets, format_target_time,
    parse_config, parse_target_time, quote_config_value, remove_settings,
};

const BLOCK: usize = 512;

#[derive(Default)]
struct Collector {
    seen: SeenInTar,
    open: Option<u64>,
}

impl TarSink for Collector {
    type Error = TarError;

    fn begin(&mut self, entry: TarEntry) -> Result<(), TarError> {
        assert!(self.open.is_none(), "the entry before is ended");
        assert!(entry.path.to_path().components().all(|part| matches!(part, std::path::Component::Normal(_))));
        let _ = entry.path.classify();
        let (kind, size, link) = match entry.kind {
            TarEntryKind::File { size_bytes } => (b'0', size_bytes, None),
            TarEntryKind::Directory => (b'5', 0, None),
            TarEntryKind::TablespaceLink { oid, target } => {
                assert_eq!(entry.path.as_bytes(), format!("pg_tblspc/{oid}").as_bytes());
                (b'2', 0, Some(target.into_vec()))
            }
        };
        self.open = Some(size);
        self.seen.push((entry.path.as_bytes().to_vec(), kind, size, entry.mode, link, 0));
        Ok(())
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), TarError> {
        let left = self.open.as_mut().expect("an entry has begun");
        *left = left.checked_sub(bytes.len() as u64).filter(|_| !bytes.is_empty()).expect("data within the size");
        let sum = &mut self.seen.last_mut().expect("an entry has begun").5;
        *sum = crc32c::crc32c_append(*sum, bytes);
        Ok(())
    }

    fn end(&mut self) -> Result<(), TarError> {
        assert_eq!(self.open.take(), Some(0), "all data came");
        Ok(())
    }
}

/// The tar stream. The first byte says in which pieces it comes and whether the checksums of headers are made right.
pub(super) fn tar(data: &[u8]) {
    if let Some((archive, seen)) = accepted(data) {
        assert_eq!(seen_by_tar_crate(&archive).expect("the tar crate reads it"), seen);
    }
}

/// The archive and what our reader sees in it, unless it refuses it.
pub(super) fn accepted(data: &[u8]) -> Option<(Vec<u8>, SeenInTar)> {
    let (choice, rest) = split_choice(data);
    let mut archive = rest.to_vec();
    if choice & 0x80 != 0 {
        mend_checksums(&mut archive);
    }
    let piece = match choice & 0x7f {
        0 => usize::MAX,
        choice => usize::from(choice) * 7,
    };
    let (mut reader, mut sink) = (TarReader::new(), Collector::default());
    for part in archive.chunks(piece) {
        if let Err(error) = reader.push(part, &mut sink) {
            seen(&error);
            return None;
        }
    }
    assert_eq!(reader.offset(), archive.len() as u64);
    match reader.finish() {
        Ok(_) => Some((archive, sink.seen)),
        Err(error) => {
            seen(&error);
            None
        }
    }
}

/// Puts right checksums where headers would be, so that what lies behind them is reached.
fn mend_checksums(archive: &mut [u8]) {
    let mut at = 0;
    while let Some(block) = archive.get_mut(at..at + BLOCK) {
        if block.iter().all(|byte| *byte == 0) {
            at += BLOCK;
            continue;
        }
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let digits = block[124..135].iter().take_while(|byte| byte.is_ascii_digit());
        let size = digits.fold(0usize, |size, digit| size.wrapping_mul(8).wrapping_add(usize::from(digit - b'0')));
        at = (at + BLOCK).saturating_add(size.saturating_add(BLOCK - 1) / BLOCK * BLOCK);
    }
}

/// The manifest; the first byte says whether its own checksum is made right.
pub(super) fn manifest(data: &[u8]) {
    let (choice, rest) = split_choice(data);
    let bytes = if choice & 1 == 0 { rest.to_vec() } else { with_checksum(rest) };
    match BackupManifest::parse(&bytes) {
        Ok(manifest) => {
            let mut last = None;
            for file in manifest.files() {
                assert!(last.is_none_or(|last: &DataPath| *last < file.path), "in order, and none twice");
                assert!(manifest.file(&file.path).is_some());
                last = Some(&file.path);
            }
            assert!(manifest.summary().wal_ranges().iter().all(|range| range.start_lsn <= range.end_lsn));
        }
        Err(error) => seen(&error),
    }
}

fn with_checksum(manifest: &[u8]) -> Vec<u8> {
    use std::fmt::Write as _;
    let body = manifest.strip_suffix(b"\n").unwrap_or(manifest);
    let end = body.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let body = &body[..end];
    let mut line = "\"Manifest-Checksum\": \"".to_owned();
    for byte in Sha256::digest(body) {
        let _ = write!(line, "{byte:02x}");
    }
    [body, line.as_bytes(), b"\"}\n"].concat()
}

/// `backup_label`, `tablespace_map` and timeline histories.
pub(super) fn backup_files(data: &[u8]) {
    let (choice, rest) = split_choice(data);
    match choice % 3 {
        0 => {
            if let Err(error) = BackupLabel::parse(rest) {
                seen(&error);
            }
        }
        1 => match TablespaceMap::parse(rest) {
            Ok(map) => assert_eq!(TablespaceMap::parse(&map.to_bytes()).expect("what it prints"), map),
            Err(error) => seen(&error),
        },
        _ => {
            let timeline = TimelineId::new(u32::from(choice) + 1).expect("not zero");
            match TimelineHistory::decode(timeline, rest) {
                Ok(history) => {
                    assert!(history.parents().all(|parent| parent < timeline));
                    for entry in history.entries() {
                        let _ = (history.end_of(timeline), history.timeline_at(entry.switch_lsn));
                    }
                }
                Err(error) => seen(&error),
            }
        }
    }
}

/// Configuration files of a server, read and rewritten.
pub(super) fn config_text(data: &[u8]) {
    let (choice, rest) = split_choice(data);
    let entries = match parse_config(rest) {
        Ok(entries) => entries,
        Err(error) => {
            seen(&error);
            Vec::new()
        }
    };
    let _ = (config_value(&entries, "restore_command"), foreign_targets(&entries));
    let cleared =
        clear_recovery_settings(rest, if choice & 1 == 0 { ClearScope::Recovery } else { ClearScope::Everything });
    assert!(cleared.len() <= rest.len());
    let removed = remove_settings(rest, &["recovery_target_time", "shared_preload_libraries"]);
    if let Ok(left) = parse_config(&removed) {
        assert!(config_value(&left, "shared_preload_libraries").is_none(), "what was removed is gone");
    }
    if let Some(Ok(command)) = end_command_of(rest, &entries)
        && let Err(error) = chained_end_command("ours", Some(&command))
    {
        seen(&error);
    }
    let Ok(value) = std::str::from_utf8(rest) else { return };
    match quote_config_value("cluster_name", value) {
        Ok(quoted) => {
            let line = format!("cluster_name = {quoted}\n");
            let read = parse_config(&append_lines(b"port = 1", &line)).expect("what it writes");
            assert_eq!(config_value(&read, "cluster_name"), Some(value.as_bytes()));
        }
        Err(error) => seen(&error),
    }
    let _ = command_text(&[CommandWord::Text(value)]);
}

/// Names, numbers and times, each as a person, a listing or a server gives it.
pub(super) fn names(data: &[u8]) {
    if let Ok(path) = DataPath::parse(data) {
        assert!(path.to_path().components().all(|part| matches!(part, std::path::Component::Normal(_))));
        assert_eq!(DataPath::parse_hex(&path.to_hex()).expect("its own digits"), path);
        let _ = path.classify();
        text(&path.to_string());
    } else if let Err(error) = DataPath::parse(data) {
        seen(&error);
    }
    let Ok(name) = std::str::from_utf8(data) else { return };
    fn same<T: std::fmt::Display + PartialEq + std::fmt::Debug, E: std::error::Error>(
        name: &str,
        read: impl Fn(&str) -> Result<T, E>,
    ) {
        match read(name) {
            Ok(value) => assert_eq!(read(&value.to_string()).expect("what it prints"), value),
            Err(error) => shown(&error),
        }
    }
    same(name, WalFileName::parse);
    same(name, WalSegmentName::parse);
    same(name, str::parse::<crate::pg::Lsn>);
    same(name, str::parse::<SystemIdentifier>);
    same(name, str::parse::<TransactionId>);
    same(name, str::parse::<RestorePointName>);
    same(name, str::parse::<RecoveryTargetTimeline>);
    same(name, str::parse::<RecoveryTargetAction>);
    same(name, TimelineId::parse_decimal);
    same(name, str::parse::<crate::repository::BackupId>);
    same(name, crate::repository::ClusterName::parse);
    same(name, crate::store::ObjectKey::parse);
    same(name, str::parse::<crate::codec::RepositoryId>);
    same(name, str::parse::<crate::codec::WriterId>);
    if let Ok(key) = crate::store::ObjectKey::parse(name)
        && let Some(object) = crate::repository::StoredObject::of_key(&key)
    {
        assert_eq!(object.key().expect("a key of its own"), key);
        let _ = object.spec();
    }
    if let Ok(checksum) = ManifestChecksum::parse_hex(ManifestChecksumAlgorithm::Crc32c, name).ok_or(()) {
        assert_eq!(checksum.as_bytes().len(), 4);
    }
    match parse_target_time(name, zones()) {
        Ok(time) => {
            assert_eq!(parse_target_time(&format_target_time(time), zones()).expect("what it prints"), time);
        }
        Err(error) => seen(&error),
    }
}

fn zones() -> &'static TimeZoneDatabase {
    static ZONES: std::sync::OnceLock<TimeZoneDatabase> = std::sync::OnceLock::new();
    ZONES.get_or_init(|| TimeZoneDatabase::from_dir("/usr/share/zoneinfo").unwrap_or_else(|_| TimeZoneDatabase::none()))
}

/// The control file and the header of a segment; the first byte says whether the control file's CRC is made right.
pub(super) fn control_file(data: &[u8]) {
    let (choice, rest) = split_choice(data);
    let mut bytes = rest.to_vec();
    // Where 13 to 18 keep it.
    for offset in [288, 292] {
        if choice & 1 != 0
            && let Some((covered, crc)) = bytes.split_at_mut_checked(offset)
            && let Some(crc) = crc.first_chunk_mut::<4>()
        {
            *crc = crc32c::crc32c(covered).to_le_bytes();
        }
        match ControlFile::decode(&bytes) {
            Ok(control) => assert!(PgMajorVersion::new(control.major().get()).is_ok()),
            Err(error) => seen(&error),
        }
    }
    match WalSegmentHeader::decode(rest) {
        Ok(header) => {
            let name = WalSegmentName::parse("000000010000000000000001").expect("a name");
            if let Err(error) = header.check_name(&name) {
                seen(&error);
            }
        }
        Err(error) => seen(&error),
    }
}
