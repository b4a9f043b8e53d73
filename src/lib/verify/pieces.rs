//! Parts of packs and the files that they belong to, as records that are sorted outside memory.
//!
//! LIMIT: memory. Below [`SORT_RUN_BYTES`](crate::fs::SORT_RUN_BYTES) they stay there; above, 88 bytes for each part of
//! each file of each backup of a family go to a file without a name.

use std::iter::Peekable;

use super::{VerifyError, VerifyOptions};
use crate::codec::ContentDigest;
use crate::fs::{self, Sorted, Sorter, Tree};

/// What tells the files of a family apart: a digest of what a map says of one.
pub(super) type FileId = [u8; 16];

/// What is known of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileFacts {
    pub(super) id: FileId,
    pub(super) bytes: u64,
    pub(super) digest: ContentDigest,
}

/// Part of a pack that belongs to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// Which pack of the family.
    pub(super) pack: u32,
    /// Where it begins in the pack's plain content.
    pub(super) offset: u64,
    pub(super) length: u64,
    /// Where it begins in the file.
    pub(super) at: u64,
    pub(super) file: FileFacts,
}

impl Piece {
    const BYTES: usize = 4 + 3 * 8 + 16 + 8 + 32;

    /// Where it ends in the pack's plain content.
    pub(super) fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }

    /// As a record: ordered by pack and by place in it.
    pub(super) fn encode(&self) -> Vec<u8> {
        let FileFacts { id, bytes, digest } = &self.file;
        let mut record = Vec::with_capacity(Self::BYTES);
        record.extend_from_slice(&self.pack.to_be_bytes());
        for number in [self.offset, self.length, self.at] {
            record.extend_from_slice(&number.to_be_bytes());
        }
        record.extend_from_slice(id);
        record.extend_from_slice(&bytes.to_be_bytes());
        record.extend_from_slice(digest.as_bytes());
        record
    }

    fn decode(record: &[u8]) -> Option<Self> {
        let (pack, rest) = record.split_first_chunk()?;
        let (offset, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (at, rest) = rest.split_first_chunk()?;
        let (id, rest) = rest.split_first_chunk()?;
        let (bytes, rest) = rest.split_first_chunk()?;
        let digest = ContentDigest::from_bytes(*rest.first_chunk()?);
        let [offset, length, at, bytes] = [offset, length, at, bytes].map(|field| u64::from_be_bytes(*field));
        let file = FileFacts { id: *id, bytes, digest };
        Some(Self { pack: u32::from_be_bytes(*pack), offset, length, at, file })
    }
}

/// Where the parts of so many files are sorted: where the repository has room for that, else in the other directory. Room is
/// looked for as if each file had one part; how many it has, only the maps say.
pub(super) fn sorting_place(options: &VerifyOptions, files: u64) -> Result<Tree, VerifyError> {
    let needed = Sorter::spilled_bytes(files, files.saturating_mul(Piece::BYTES as u64));
    // A repository that is full, or may only be read, is verified all the same.
    let is_enough = |tree: &Tree| match needed {
        0 => true,
        _ => fs::available_bytes(tree.path()).is_ok_and(|left| left >= needed) && tree.nameless_file().is_ok(),
    };
    let temporary = &options.temporary;
    if let Some(tree) = options.scratch.as_deref().and_then(|path| Tree::open(path).ok()).filter(is_enough) {
        return Ok(tree);
    }
    let tree = Tree::open_through_links(temporary).map_err(VerifyError::Sort)?;
    let available = fs::available_bytes(temporary).map_err(VerifyError::Sort)?;
    match needed <= available {
        true => Ok(tree),
        false => Err(VerifyError::NoRoom { path: temporary.to_owned(), needed, available }),
    }
}

/// Parts of packs in their order, each once.
pub(super) struct SortedPieces {
    records: Option<Peekable<Sorted>>,
    last: Option<Vec<u8>>,
}

impl SortedPieces {
    pub(super) fn new(records: Sorted) -> Self {
        Self { records: Some(records.peekable()), last: None }
    }

    /// Where nothing is known of files.
    pub(super) fn none() -> Self {
        Self { records: None, last: None }
    }

    /// The next one that begins before that place; what belongs to earlier packs is passed over.
    pub(super) fn next_below(&mut self, pack: u32, end: u64) -> Result<Option<Piece>, VerifyError> {
        let Some(records) = &mut self.records else { return Ok(None) };
        let limit = [&pack.to_be_bytes()[..], &end.to_be_bytes()].concat();
        loop {
            let is_below = |record: &Result<Vec<u8>, _>| match record {
                Ok(record) => record.as_slice() < limit.as_slice(),
                Err(_) => true,
            };
            let Some(record) = records.next_if(is_below) else { return Ok(None) };
            let record = record.map_err(VerifyError::Sort)?;
            // Another backup of the family has the same file.
            if self.last.as_ref() == Some(&record) {
                continue;
            }
            let piece = Piece::decode(&record).ok_or(VerifyError::Internal { what: "a sorted record was changed" })?;
            self.last = Some(record);
            if piece.pack == pack {
                return Ok(Some(piece));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(pack: u32, offset: u64, file: u8) -> Piece {
        let digest = ContentDigest::from_bytes([file; 32]);
        let file = FileFacts { id: [file; 16], bytes: u64::from(file) << 40, digest };
        Piece { pack, offset, length: 700, at: offset / 3, file }
    }

    #[test]
    fn they_come_in_the_order_of_the_packs_and_once() {
        let temp = tempfile::tempdir().unwrap();
        let tree = Tree::open(temp.path()).unwrap();
        for run_bytes in [1, 300, 1 << 20] {
            let mut sorter = Sorter::with_runs_of(&tree, run_bytes);
            for (pack, offset, file) in
                [(2, 0, 1), (1, 9, 3), (0, u64::MAX, 4), (1, 1 << 40, 5), (1, 9, 3), (1, 9, 2), (2, 0, 1), (3, 1, 6)]
            {
                sorter.push(&piece(pack, offset, file).encode()).unwrap();
            }
            let mut sorted = SortedPieces::new(sorter.finish().unwrap());
            // Nobody asked for those of the first pack.
            assert_eq!(sorted.next_below(1, 9).unwrap(), None);
            assert_eq!(sorted.next_below(1, 10).unwrap(), Some(piece(1, 9, 2)));
            assert_eq!(sorted.next_below(1, 10).unwrap(), Some(piece(1, 9, 3)));
            assert_eq!(sorted.next_below(1, 10).unwrap(), None);
            assert_eq!(sorted.next_below(1, u64::MAX).unwrap(), Some(piece(1, 1 << 40, 5)));
            assert_eq!(sorted.next_below(2, 100).unwrap(), Some(piece(2, 0, 1)));
            assert_eq!(sorted.next_below(2, u64::MAX).unwrap(), None);
            assert_eq!(sorted.next_below(3, u64::MAX).unwrap(), Some(piece(3, 1, 6)));
        }
        assert_eq!(SortedPieces::none().next_below(7, 7).unwrap(), None);
    }
}
