//! zstd's seekable format: the table of frames at the end of a body, in a skippable frame of its own.
//!
//! All sizes are little-endian; the layout is that of zstd's contrib/seekable_format, without per-frame checksums
//! (every frame carries zstd's own). Skippable frames inside the body stand in the table with plain size 0.

use crate::error::{Classified, ErrorClass};

/// Skippable-frame magic that the seekable format uses.
const SKIPPABLE_MAGIC: u32 = 0x184D_2A5E;
/// Last four bytes of a seek table.
const SEEKABLE_MAGIC: u32 = 0x8F92_EAB1;
/// Frame header: magic and length.
const FRAME_HEADER_BYTES: usize = 8;
/// Footer: number of frames, descriptor, magic.
const FOOTER_BYTES: usize = 9;
/// Stored and plain size of one frame.
const ENTRY_BYTES: usize = 8;
/// LIMIT: frames in one body; 2^22 frames of 256 KiB are a terabyte.
const FRAMES_MAX: u32 = 1 << 22;

/// One frame of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameEntry {
    /// Bytes of the frame as stored.
    pub stored_bytes: u32,
    /// Bytes that it holds; 0 for a skippable frame.
    pub plain_bytes: u32,
}

/// The frames of a body, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeekTable {
    entries: Vec<FrameEntry>,
}

/// A seek table that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid seek table: {problem}")]
pub struct SeekTableError {
    /// What is wrong with it.
    pub problem: &'static str,
}

impl Classified for SeekTableError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Corrupt
    }
}

impl SeekTable {
    /// Bytes at the end of a table that say how long it is.
    pub const FOOTER_BYTES: usize = FOOTER_BYTES;

    /// Adds the next frame.
    pub fn push(&mut self, entry: FrameEntry) {
        self.entries.push(entry);
    }

    /// The frames.
    pub fn entries(&self) -> &[FrameEntry] {
        &self.entries
    }

    /// Bytes of all frames as stored, without the table.
    pub fn stored_bytes(&self) -> u64 {
        self.entries.iter().map(|entry| u64::from(entry.stored_bytes)).sum()
    }

    /// Bytes that all frames hold.
    pub fn plain_bytes(&self) -> u64 {
        self.entries.iter().map(|entry| u64::from(entry.plain_bytes)).sum()
    }

    /// The table as a skippable frame.
    pub fn encode(&self) -> Result<Vec<u8>, SeekTableError> {
        let count = u32::try_from(self.entries.len()).ok().filter(|count| *count <= FRAMES_MAX);
        let count = count.ok_or(SeekTableError { problem: "too many frames" })?;
        let content = self.entries.len() * ENTRY_BYTES + FOOTER_BYTES;
        let content = u32::try_from(content).map_err(|_| SeekTableError { problem: "too many frames" })?;
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&SKIPPABLE_MAGIC.to_le_bytes());
        bytes.extend_from_slice(&content.to_le_bytes());
        for entry in &self.entries {
            bytes.extend_from_slice(&entry.stored_bytes.to_le_bytes());
            bytes.extend_from_slice(&entry.plain_bytes.to_le_bytes());
        }
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes.push(0);
        bytes.extend_from_slice(&SEEKABLE_MAGIC.to_le_bytes());
        Ok(bytes)
    }

    /// How many bytes at the end of a body its table takes, from the last nine of them.
    pub fn encoded_bytes(footer: &[u8]) -> Result<usize, SeekTableError> {
        let footer: &[u8; FOOTER_BYTES] =
            footer.try_into().map_err(|_| SeekTableError { problem: "its footer is cut off" })?;
        let [c0, c1, c2, c3, descriptor, magic @ ..] = footer;
        if u32::from_le_bytes(*magic) != SEEKABLE_MAGIC {
            return Err(SeekTableError { problem: "its footer has another magic number" });
        }
        if *descriptor != 0 {
            return Err(SeekTableError { problem: "its descriptor is not 0" });
        }
        let count = u32::from_le_bytes([*c0, *c1, *c2, *c3]);
        if count > FRAMES_MAX {
            return Err(SeekTableError { problem: "it has too many frames" });
        }
        let entries = usize::try_from(count).map_err(|_| SeekTableError { problem: "it has too many frames" })?;
        Ok(FRAME_HEADER_BYTES + entries * ENTRY_BYTES + FOOTER_BYTES)
    }

    /// Reads a table from the end of `body_end`, which must hold at least the whole table and whose last byte is the
    /// body's last.
    pub fn decode(body_end: &[u8]) -> Result<Self, SeekTableError> {
        let cut = SeekTableError { problem: "it is cut off" };
        let footer_at = body_end.len().checked_sub(FOOTER_BYTES).ok_or(cut.clone())?;
        let footer = body_end.get(footer_at..).ok_or(cut.clone())?;
        let whole = Self::encoded_bytes(footer)?;
        let table_at = body_end.len().checked_sub(whole).ok_or(cut.clone())?;
        let frame = body_end.get(table_at..footer_at).ok_or(cut.clone())?;
        let (header, entries) = frame.split_first_chunk::<8>().ok_or(cut.clone())?;
        let [m0, m1, m2, m3, length @ ..] = header;
        let content = u32::from_le_bytes(*length);
        if u32::from_le_bytes([*m0, *m1, *m2, *m3]) != SKIPPABLE_MAGIC
            || u64::from(content) + FRAME_HEADER_BYTES as u64 != whole as u64
        {
            return Err(SeekTableError { problem: "its frame header does not fit its footer" });
        }
        let read = |bytes: &[u8]| bytes.try_into().map(u32::from_le_bytes).map_err(|_| cut.clone());
        let mut table = Self { entries: Vec::with_capacity(entries.len() / ENTRY_BYTES) };
        for entry in entries.chunks_exact(ENTRY_BYTES) {
            let (stored, plain) = entry.split_at(4);
            table.push(FrameEntry { stored_bytes: read(stored)?, plain_bytes: read(plain)? });
        }
        Ok(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reads_what_it_writes(sizes in prop::collection::vec((any::<u32>(), any::<u32>()), 0..50), lead in 0usize..40) {
            let mut table = SeekTable::default();
            for (stored_bytes, plain_bytes) in sizes {
                table.push(FrameEntry { stored_bytes, plain_bytes });
            }
            let mut bytes = vec![0xAB; lead];
            bytes.extend(table.encode().unwrap());
            prop_assert_eq!(SeekTable::decode(&bytes).unwrap(), table);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), tail: bool) {
            let mut bytes = bytes;
            if tail {
                bytes.push(0);
                bytes.extend(SEEKABLE_MAGIC.to_le_bytes());
            }
            let _ = SeekTable::decode(&bytes);
        }
    }
}
