//! The envelope around stored objects, and what lies in it.

use crate::codec::{
    DigestKeys, FileHasher, FrameDecompressor, HEADER_BYTES, MAX_FRAME_PLAIN_BYTES, ObjectHeader, RepositoryId,
    SeekTable, WriterSecret,
};
use crate::fuzz_check::{seen, shown, split_choice};

pub(super) fn keys() -> DigestKeys {
    DigestKeys::of(&WriterSecret::of_unencrypted(&RepositoryId::from_bytes(super::repository::ID)))
}

/// Puts the right MAC over a header.
pub(super) fn mend_mac(header: &mut [u8], keys: &DigestKeys) {
    const MAC_BYTES: usize = 32;
    if let Some((signed, mac)) =
        header.get_mut(..HEADER_BYTES).and_then(|h| h.split_at_mut_checked(HEADER_BYTES - MAC_BYTES))
    {
        mac.copy_from_slice(keys.mac(signed).as_bytes());
    }
}

/// Header, seek table, frames and page lists.
pub(super) fn envelope(data: &[u8]) {
    let (choice, rest) = split_choice(data);
    let keys = keys();
    match choice % 4 {
        0 => {
            let mut bytes = rest.to_vec();
            if choice & 0x80 != 0 {
                mend_mac(&mut bytes, &keys);
            }
            match ObjectHeader::decode(&bytes, &keys) {
                Ok(header) => {
                    let again = header.encode(&keys).expect("what was read can be written");
                    assert_eq!(ObjectHeader::decode(&again, &keys).expect("what was written"), header);
                }
                Err(error) => seen(&error),
            }
        }
        1 => match SeekTable::decode(rest) {
            Ok(table) => {
                let encoded = table.encode().expect("what was read can be written");
                assert!(rest.ends_with(&encoded));
                assert_eq!(table.entries().len() * 8 + 17, encoded.len());
            }
            Err(error) => shown(&error),
        },
        2 => {
            let (size, frame) =
                rest.split_first_chunk::<4>().map_or((0, rest), |(size, frame)| (u32::from_le_bytes(*size), frame));
            let mut plain = Vec::new();
            match FrameDecompressor::new().expect("a decompressor").decompress(frame, u64::from(size), &mut plain) {
                Ok(()) => assert_eq!(plain.len(), size as usize),
                Err(error) => seen(&error),
            }
            assert!(plain.capacity() <= 2 * MAX_FRAME_PLAIN_BYTES);
        }
        _ => {
            // The digest of a file must not depend on how it comes.
            let (page, content) = split_choice(rest);
            let page_bytes = 1024 << (page % 6);
            let mut whole = FileHasher::new(&keys, content.len() as u64, page_bytes);
            whole.update(content);
            let mut pieces = FileHasher::new(&keys, content.len() as u64, page_bytes);
            content.chunks(usize::from(page) + 1).for_each(|piece| pieces.update(piece));
            assert_eq!(whole.finish(), pieces.finish());
        }
    }
}
