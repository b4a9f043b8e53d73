//! Digests of files that are handled by pages: each page is digested once, and frames and files from these digests.
//!
//! So one pass over the bytes serves three purposes: it finds damage in a frame, proves a whole file, and tells which
//! pages changed. That a digest of a file does not depend on how the file lies in frames lets pages of several backups
//! make up one file.

use super::digest::{ContentDigest, DigestKeys, PlainHasher};

/// A file of more bytes is handled by pages.
pub const PAGED_FILE_BYTES: u64 = 64 * 1024;

/// The digest of one page; the last page of a file may be shorter than the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageDigest([u8; 32]);

impl PageDigest {
    pub(super) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 64 bits by which a page is recognised as unchanged: its digest's first eight bytes.
    pub fn hash(&self) -> u64 {
        self.0.first_chunk().copied().map(u64::from_le_bytes).unwrap_or_default()
    }
}

/// Digests a list of pages, from their digests.
#[derive(Debug, Clone)]
pub struct PageListHasher(blake3::Hasher);

impl PageListHasher {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self(blake3::Hasher::new_keyed(key))
    }

    /// Adds the next page.
    pub fn add(&mut self, page: &PageDigest) {
        self.0.update(&page.0);
    }

    /// The digest of the pages that were added.
    pub fn finish(&self) -> ContentDigest {
        ContentDigest::from_bytes(*self.0.finalize().as_bytes())
    }
}

/// Digests a file that comes in pieces, by pages or not as its size demands.
#[derive(Debug, Clone)]
pub struct FileHasher(Method);

#[derive(Debug, Clone)]
enum Method {
    Whole(PlainHasher),
    Pages {
        keys: DigestKeys,
        list: PageListHasher,
        page_bytes: usize,
        /// The begin of a page whose end is still to come; shorter than a page.
        begun: Vec<u8>,
    },
}

impl FileHasher {
    /// For a file of `file_bytes` on a server with pages of `page_bytes`.
    pub fn new(keys: &DigestKeys, file_bytes: u64, page_bytes: u32) -> Self {
        if file_bytes <= PAGED_FILE_BYTES {
            return Self(Method::Whole(keys.plain_hasher()));
        }
        let page_bytes = usize::try_from(page_bytes).unwrap_or(usize::MAX).max(1);
        let list = keys.page_list_hasher();
        Self(Method::Pages { keys: keys.clone(), list, page_bytes, begun: Vec::new() })
    }

    /// Adds a piece of any length.
    pub fn update(&mut self, piece: &[u8]) {
        let (keys, list, page_bytes, begun) = match &mut self.0 {
            Method::Whole(hasher) => return hasher.update(piece),
            Method::Pages { keys, list, page_bytes, begun } => (keys, list, *page_bytes, begun),
        };
        let mut piece = piece;
        if !begun.is_empty() {
            let wanted = page_bytes.saturating_sub(begun.len()).min(piece.len());
            let (now, later) = piece.split_at(wanted);
            begun.extend_from_slice(now);
            piece = later;
            if begun.len() < page_bytes {
                return;
            }
            list.add(&keys.page_digest(begun));
            begun.clear();
        }
        let (pages, rest) = piece.split_at(piece.len() - piece.len() % page_bytes);
        begun.extend_from_slice(rest);
        keys.page_digests(pages, page_bytes).iter().for_each(|page| list.add(page));
    }

    /// Adds pieces of a file that is handled by pages, by the digests of their pages: whole ones, or the last one of the
    /// file. `false`, with nothing added, when it is not handled by pages or what was added before does not end with a page.
    #[must_use]
    pub fn add_pages(&mut self, pages: &[PageDigest]) -> bool {
        match &mut self.0 {
            Method::Pages { list, begun, .. } if begun.is_empty() => {
                pages.iter().for_each(|page| list.add(page));
                true
            }
            Method::Pages { .. } | Method::Whole(_) => false,
        }
    }

    /// The digest of all that was added.
    pub fn finish(mut self) -> ContentDigest {
        match &mut self.0 {
            Method::Whole(hasher) => hasher.finish(),
            Method::Pages { keys, list, begun, .. } => {
                if !begun.is_empty() {
                    list.add(&keys.page_digest(begun));
                }
                list.finish()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::digest::WriterSecret;
    use super::super::hex_id::RepositoryId;
    use super::*;
    use proptest::prelude::*;

    fn keys() -> DigestKeys {
        DigestKeys::of(&WriterSecret::of_unencrypted(&RepositoryId::from_bytes([7; 16])))
    }

    fn digest(content: &[u8], pieces: usize) -> ContentDigest {
        let mut hasher = FileHasher::new(&keys(), content.len() as u64, 8192);
        content.chunks(pieces.max(1)).for_each(|piece| hasher.update(piece));
        hasher.finish()
    }

    proptest! {
        #[test]
        fn pieces_of_any_length_give_the_digest_of_the_pages(
            length in prop_oneof![65_537usize..65_545, 65_530usize..140_000],
            pieces in 1usize..40_000,
            flipped in any::<prop::sample::Index>(),
        ) {
            let mut content: Vec<u8> = (0..length).map(|at| (at * 7 / 3) as u8).collect();
            let keys = keys();
            let expected = if length as u64 > PAGED_FILE_BYTES {
                let mut list = keys.page_list_hasher();
                content.chunks(8192).for_each(|page| list.add(&keys.page_digest(page)));
                list.finish()
            } else {
                keys.plain_digest(&content)
            };
            prop_assert_eq!(digest(&content, pieces), expected);
            content[flipped.index(length)] ^= 1;
            prop_assert_ne!(digest(&content, pieces), expected);
        }
    }

    #[test]
    fn pages_may_be_added_by_their_digests_where_pages_begin() {
        let keys = keys();
        let content: Vec<u8> = (0..100_000u32).map(|at| (at / 5) as u8).collect();
        let pages: Vec<PageDigest> = content.chunks(8192).map(|page| keys.page_digest(page)).collect();
        let mut mixed = FileHasher::new(&keys, content.len() as u64, 8192);
        assert!(mixed.add_pages(&pages[..3]));
        mixed.update(&content[3 * 8192..3 * 8192 + 5]);
        assert!(!mixed.add_pages(&pages[3..]));
        mixed.update(&content[3 * 8192 + 5..5 * 8192]);
        assert!(mixed.add_pages(&pages[5..]));
        assert_eq!(mixed.finish(), digest(&content, 999));
        assert!(!FileHasher::new(&keys, 8192, 8192).add_pages(&pages[..1]));
    }

    #[test]
    fn a_page_too_few_or_in_another_place_is_another_digest() {
        let content: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        let mut swapped = content.clone();
        swapped[..16_384].rotate_left(8192);
        let whole = digest(&content, 10_000);
        assert_ne!(whole, digest(&swapped, 10_000));
        assert_ne!(whole, digest(&content[..content.len() - 8192], 10_000));
        assert_ne!(whole, digest(&content[..content.len() - 1], 10_000));
    }
}
