//! What to ask of `BASE_BACKUP`, and the command for it in both dialects
//! (`src/backend/replication/repl_gram.y`).

use std::time::Duration;

use super::dialect::Dialect;
use crate::pg::ManifestChecksumAlgorithm;
use crate::server::walsender::ReplicationError;

/// LIMIT: bytes of a label, PostgreSQL's `MAXPGPATH` less one.
pub(super) const MAX_LABEL_BYTES: usize = 1023;

/// How soon the checkpoint before a backup should be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CheckpointMode {
    /// As slowly as the server's own checkpoints.
    #[default]
    Spread,
    /// At once.
    Fast,
}

/// What to ask the server for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseBackupOptions {
    /// Stands in `backup_label`; at most 1023 bytes.
    pub label: String,
    /// How soon the checkpoint should be done.
    pub checkpoint: CheckpointMode,
    /// Whether the server estimates the sizes before it begins; costs it one look at every file.
    pub estimate_sizes: bool,
    /// Whether the server waits for its last segment to be archived before it ends; no events arrive meanwhile.
    pub wait_for_archive: bool,
    /// At most so many KiB in a second; PostgreSQL accepts 32 to 1048576.
    pub max_rate_kib: Option<u32>,
    /// Whether the server verifies the checksums of pages; it sends all data whatever it finds.
    pub verify_checksums: bool,
    /// The checksums in the manifest.
    pub manifest_checksum: ManifestChecksumAlgorithm,
    /// How long the server may be silent while it sends data; for ever when absent.
    pub idle_timeout: Option<Duration>,
}

impl Default for BaseBackupOptions {
    fn default() -> Self {
        Self {
            label: "pgv".to_owned(),
            checkpoint: CheckpointMode::default(),
            estimate_sizes: true,
            wait_for_archive: false,
            max_rate_kib: None,
            verify_checksums: true,
            manifest_checksum: ManifestChecksumAlgorithm::Sha256,
            idle_timeout: Some(Duration::from_secs(300)),
        }
    }
}

impl BaseBackupOptions {
    pub(super) fn command(&self, dialect: Dialect) -> Result<String, ReplicationError> {
        if self.label.len() > MAX_LABEL_BYTES || self.label.contains('\0') {
            let problem = format!("expected at most {MAX_LABEL_BYTES} bytes without zero bytes");
            return Err(ReplicationError::InvalidOption { option: "label", problem });
        }
        let label = format!("LABEL '{}'", self.label.replace('\'', "''"));
        let checksums = match self.manifest_checksum {
            ManifestChecksumAlgorithm::Crc32c => "MANIFEST_CHECKSUMS 'CRC32C'",
            ManifestChecksumAlgorithm::Sha224 => "MANIFEST_CHECKSUMS 'SHA224'",
            ManifestChecksumAlgorithm::Sha256 => "MANIFEST_CHECKSUMS 'SHA256'",
            ManifestChecksumAlgorithm::Sha384 => "MANIFEST_CHECKSUMS 'SHA384'",
            ManifestChecksumAlgorithm::Sha512 => "MANIFEST_CHECKSUMS 'SHA512'",
        };
        Ok(match dialect {
            Dialect::Copies => format!("BASE_BACKUP {}", self.words(label, checksums).join(" ")),
            Dialect::Messages => format!("BASE_BACKUP ({})", self.pairs(label, checksums).join(", ")),
        })
    }

    /// COMPAT: up to 14, words without values, there or not.
    fn words(&self, label: String, checksums: &str) -> Vec<String> {
        let words = [
            (self.estimate_sizes, "PROGRESS"),
            (self.checkpoint == CheckpointMode::Fast, "FAST"),
            (!self.wait_for_archive, "NOWAIT"),
            (true, "TABLESPACE_MAP"),
            (!self.verify_checksums, "NOVERIFY_CHECKSUMS"),
            (true, "MANIFEST 'yes'"),
            (true, checksums),
        ];
        let mut parts = vec![label];
        parts.extend(words.iter().filter(|(wanted, _)| *wanted).map(|(_, word)| (*word).to_owned()));
        parts.extend(self.max_rate_kib.map(|rate| format!("MAX_RATE {rate}")));
        parts
    }

    /// From 15 on, names with values.
    fn pairs(&self, label: String, checksums: &str) -> Vec<String> {
        let checkpoint = match self.checkpoint {
            CheckpointMode::Spread => "CHECKPOINT 'spread'",
            CheckpointMode::Fast => "CHECKPOINT 'fast'",
        };
        let mut parts = vec![
            label,
            format!("PROGRESS {}", self.estimate_sizes),
            checkpoint.to_owned(),
            format!("WAIT {}", self.wait_for_archive),
            "TABLESPACE_MAP true".to_owned(),
            "MANIFEST 'yes'".to_owned(),
            checksums.to_owned(),
            format!("VERIFY_CHECKSUMS {}", self.verify_checksums),
        ];
        parts.extend(self.max_rate_kib.map(|rate| format!("MAX_RATE {rate}")));
        parts
    }
}
