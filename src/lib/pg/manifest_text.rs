//! Writing a `backup_manifest`, a file at a time, as servers write it (`src/backend/backup/backup_manifest.c`).
//!
//! INVARIANT: what comes out is a manifest that `pg_verifybackup` of that major version reads.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::data_path::hex_encode;
use super::{ManifestFile, PgMajorVersion, SystemIdentifier, WalRange};

/// The first major version whose manifests name the system, and have version 2 (`src/include/common/parse_manifest.h`).
const NAMES_SYSTEM_SINCE: u32 = 17;

/// The text of a manifest, of which each part is handed out once.
#[derive(Debug)]
pub struct ManifestText {
    checksum: Sha256,
    has_files: bool,
}

impl ManifestText {
    /// Begins one, with its first part.
    pub fn begin(major: PgMajorVersion, system_identifier: SystemIdentifier) -> (Self, String) {
        let head = match major.get() >= NAMES_SYSTEM_SINCE {
            true => format!(
                "{{ \"PostgreSQL-Backup-Manifest-Version\": 2,\n\"System-Identifier\": {},\n",
                system_identifier.get()
            ),
            false => "{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n".to_owned(),
        };
        let mut text = Self { checksum: Sha256::new(), has_files: false };
        let head = text.covered(head + "\"Files\": [");
        (text, head)
    }

    /// The entry of a file.
    pub fn file(&mut self, file: &ManifestFile) -> String {
        let mut entry = if self.has_files { ",\n{ ".to_owned() } else { "\n{ ".to_owned() };
        self.has_files = true;
        let _ = match file.path.to_text() {
            Some(path) => write!(entry, "\"Path\": {}", quoted(path)),
            None => write!(entry, "\"Encoded-Path\": \"{}\"", file.path.to_hex()),
        };
        let _ = write!(entry, ", \"Size\": {}, \"Last-Modified\": {}", file.size_bytes, quoted(&file.last_modified));
        if let Some(checksum) = &file.checksum {
            let algorithm = checksum.algorithm();
            let _ = write!(entry, ", \"Checksum-Algorithm\": \"{algorithm}\", \"Checksum\": \"{checksum}\"");
        }
        self.covered(entry + " }")
    }

    /// The end, with the WAL that the backup needs.
    pub fn finish(mut self, ranges: &[WalRange]) -> String {
        let of_range = |range: &WalRange| {
            let WalRange { timeline, start_lsn, end_lsn } = range;
            format!(
                "{{ \"Timeline\": {}, \"Start-LSN\": \"{start_lsn}\", \"End-LSN\": \"{end_lsn}\" }}",
                timeline.get()
            )
        };
        let ranges = ranges.iter().map(of_range).collect::<Vec<_>>().join(",\n");
        let end = self.covered(format!("\n],\n\"WAL-Ranges\": [\n{ranges}\n],\n"));
        end + &format!("\"Manifest-Checksum\": \"{}\"}}\n", hex_encode(&self.checksum.finalize()))
    }

    fn covered(&mut self, part: String) -> String {
        self.checksum.update(part.as_bytes());
        part
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::{BackupManifest, DataPath, Lsn, ManifestChecksum, TimelineId};
    use proptest::prelude::*;

    fn written(major: u32, files: &[ManifestFile]) -> String {
        let system = SystemIdentifier::new(7_000_000_000_000_000_001).unwrap();
        let (mut text, mut all) = ManifestText::begin(PgMajorVersion::new(major).unwrap(), system);
        files.iter().for_each(|file| all += &text.file(file));
        let (start_lsn, end_lsn) = (Lsn::new(0x200_0028).unwrap(), Lsn::new(0x1_0200_0100).unwrap());
        all + &text.finish(&[WalRange { timeline: TimelineId::FIRST, start_lsn, end_lsn }])
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            names in prop::collection::btree_set(prop::collection::vec(1u8..=255, 1..20), 0..20),
            major in prop::sample::select(vec![13u32, 16, 17, 18]),
        ) {
            let paths = names.iter().filter_map(|name| DataPath::parse(name).ok());
            let files: Vec<ManifestFile> = paths.enumerate().map(|(number, path)| ManifestFile {
                path,
                size_bytes: number as u64,
                last_modified: "2026-11-20 10:00:00 GMT".into(),
                checksum: Some(ManifestChecksum::Crc32c([1, 2, 3, number as u8])),
            }).collect();
            let manifest = BackupManifest::parse(written(major, &files).as_bytes()).unwrap();
            prop_assert_eq!(manifest.files(), files.as_slice());
            prop_assert_eq!(manifest.summary().system_identifier().is_some(), major >= 17);
            prop_assert_eq!(manifest.summary().wal_ranges()[0].end_lsn.to_string(), "1/2000100");
        }
    }
}
