//! A manifest's own checksum, on its last line, computed while the text passes by.
//!
//! INVARIANT: one line is in memory at a time, so no text in what was verified is longer than one.

use sha2::{Digest, Sha256};

use super::data_path::{Escaped, hex_decode, hex_encode};
use super::manifest::ManifestError;

/// LIMIT: bytes of a line. A server writes one for each file: its path, twice as long when encoded, and 200 bytes more.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Takes the text in pieces.
#[derive(Debug, Clone, Default)]
pub struct ManifestSum {
    covered: Sha256,
    /// The line that came last; nothing has come behind its break.
    line: Vec<u8>,
}

/// That a text has the checksum that its last line states.
#[derive(Debug)]
pub struct VerifiedManifest([u8; 32]);

impl ManifestSum {
    /// Adds the next piece.
    pub fn update(&mut self, piece: &[u8]) -> Result<(), ManifestError> {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            if self.line.ends_with(b"\n") {
                self.covered.update(&self.line);
                self.line.clear();
            }
            if self.line.len() + part.len() > LINE_BYTES_MAX {
                return Err(ManifestError::LongLine { limit: LINE_BYTES_MAX });
            }
            self.line.extend_from_slice(part);
        }
        Ok(())
    }

    /// Checks the last line, in the one form that servers write, against all lines before it.
    pub fn finish(self) -> Result<VerifiedManifest, ManifestError> {
        let last_line = self.line.strip_suffix(b"\n").ok_or(ManifestError::Unterminated)?;
        let stated: Option<[u8; 32]> = last_line
            .strip_prefix(b"\"Manifest-Checksum\": \"")
            .and_then(|rest| rest.strip_suffix(b"\"}"))
            .and_then(hex_decode)
            .and_then(|bytes| bytes.try_into().ok());
        let stated = stated.ok_or_else(|| ManifestError::ChecksumLine { found: shortened(last_line) })?;
        let computed: [u8; 32] = self.covered.finalize().into();
        if computed == stated {
            return Ok(VerifiedManifest(computed));
        }
        Err(ManifestError::ChecksumMismatch { computed: hex_encode(&computed), stated: hex_encode(&stated) })
    }
}

impl VerifiedManifest {
    pub(super) fn checksum(&self) -> [u8; 32] {
        self.0
    }
}

fn shortened(line: &[u8]) -> String {
    const SHOWN_BYTES_MAX: usize = 100;
    Escaped(line.get(..SHOWN_BYTES_MAX).unwrap_or(line)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL_17: &[u8] = include_bytes!("../../../tests/data/postgres-17/backup_manifest");

    #[test]
    fn pieces_do_not_matter() {
        for length in [1, 7, 100, 4096, REAL_17.len()] {
            let mut sum = ManifestSum::default();
            REAL_17.chunks(length).for_each(|piece| sum.update(piece).unwrap());
            let digits = &REAL_17[REAL_17.len() - 67..REAL_17.len() - 3];
            assert_eq!(hex_encode(&sum.finish().unwrap().checksum()).as_bytes(), digits, "{length}");
        }
    }

    #[test]
    fn a_line_without_an_end_is_refused_before_it_fills_the_memory() {
        let mut sum = ManifestSum::default();
        sum.update(b"{\n").unwrap();
        let refused = (0..2000).find_map(|_| sum.update(&[b' '; 100]).err()).unwrap();
        assert!(matches!(refused, ManifestError::LongLine { .. }), "{refused:?}");
        assert!(sum.line.len() <= LINE_BYTES_MAX);
    }
}
