//! Parts of packs and where they belong, as records that can be sorted outside memory.

use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use crate::codec::ContentDigest;
use crate::pg::DataPath;

/// What stands where a file belongs, before its content is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing: it is created with its only piece.
    Nothing,
    /// An empty file, created for content that comes in several pieces.
    Created,
    /// A file that was there before, of the right length; what is right in it stays.
    Old,
}

/// A file of the map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// Its place among the files of the map.
    pub(super) number: u64,
    pub(super) path: DataPath,
    pub(super) bytes: u64,
    pub(super) digest: ContentDigest,
    pub(super) mode: u32,
    /// When it was last modified, in seconds since 1970.
    pub(super) modified: i64,
    pub(super) standing: Standing,
}

/// Part of a pack's content and where it belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) pack: u32,
    pub(super) from: Range<u64>,
    pub(super) target: Arc<Target>,
    /// Where it begins in the file.
    pub(super) offset: u64,
}

impl Piece {
    /// As a record: ordered by pack and by place in it.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut record = Vec::new();
        record.extend_from_slice(&self.pack.to_be_bytes());
        record.extend_from_slice(&self.from.start.to_be_bytes());
        record.extend_from_slice(&self.from.end.to_be_bytes());
        record.extend_from_slice(&self.offset.to_be_bytes());
        self.target.encode(&mut record);
        record
    }

    /// From a record.
    pub(super) fn decode(record: &[u8]) -> Option<Self> {
        let mut fields = Fields(record);
        let pack = u32::from_be_bytes(fields.take()?);
        let from = fields.number()?..fields.number()?;
        let offset = fields.number()?;
        Some(Self { pack, from, offset, target: Arc::new(Target::decode(fields)?) })
    }
}

impl Target {
    /// As a record, or the end of one: ordered by number.
    pub(super) fn encode(&self, record: &mut Vec<u8>) {
        record.extend_from_slice(&self.number.to_be_bytes());
        record.extend_from_slice(&self.bytes.to_be_bytes());
        record.extend_from_slice(self.digest.as_bytes());
        record.extend_from_slice(&self.mode.to_be_bytes());
        record.extend_from_slice(&self.modified.to_be_bytes());
        record.push(match self.standing {
            Standing::Nothing => 0,
            Standing::Created => 1,
            Standing::Old => 2,
        });
        record.extend_from_slice(self.path.to_path().as_os_str().as_bytes());
    }

    /// From a record.
    pub(super) fn from_record(record: &[u8]) -> Option<Self> {
        Self::decode(Fields(record))
    }

    fn decode(mut fields: Fields<'_>) -> Option<Self> {
        let number = fields.number()?;
        let bytes = fields.number()?;
        let digest = ContentDigest::from_bytes(fields.take()?);
        let mode = u32::from_be_bytes(fields.take()?);
        let modified = i64::from_be_bytes(fields.take()?);
        let standing = match fields.take::<1>()? {
            [0] => Standing::Nothing,
            [1] => Standing::Created,
            [2] => Standing::Old,
            _ => return None,
        };
        let path = DataPath::parse(fields.0).ok()?;
        Some(Self { number, path, bytes, digest, mode, modified, standing })
    }

    /// Bytes of the record of a piece of a file with that path.
    pub(in super::super) fn piece_bytes(path: &DataPath) -> u64 {
        const FIXED_BYTES: u64 = 4 + 3 * 8 + 2 * 8 + 32 + 4 + 8 + 1;
        FIXED_BYTES + path.as_bytes().len() as u64
    }
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn piece(pack: u32, start: u64, offset: u64, path: &[u8]) -> Piece {
        let digest = ContentDigest::from_bytes([7; 32]);
        let path = DataPath::parse(path).unwrap();
        let target = Target {
            number: start / 3,
            path,
            bytes: !offset,
            digest,
            mode: 0o640,
            modified: -7,
            standing: Standing::Created,
        };
        Piece { pack, from: start..start.saturating_add(offset), target: Arc::new(target), offset }
    }

    proptest! {
        #[test]
        fn records_are_read_back_and_ordered_by_place(
            one in (any::<u32>(), any::<u64>(), any::<u64>()), other in (any::<u32>(), any::<u64>(), any::<u64>()),
            cut in any::<prop::sample::Index>(),
        ) {
            let [a, b] = [one, other].map(|(pack, start, offset)| piece(pack % 3, start, offset, b"base/1/\xff\xfe"));
            prop_assert_eq!(Piece::decode(&a.encode()), Some(a.clone()));
            prop_assert_eq!(a.encode().len() as u64, Target::piece_bytes(&a.target.path));
            let place = |piece: &Piece| (piece.pack, piece.from.start, piece.from.end);
            if place(&a) != place(&b) {
                prop_assert_eq!(place(&a) < place(&b), a.encode() < b.encode());
            }
            let _ = Piece::decode(&a.encode()[..cut.index(a.encode().len())]);
        }
    }
}
