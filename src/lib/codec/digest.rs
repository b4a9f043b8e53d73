//! Digests, all BLAKE3: of plain bytes and of pages (keyed from the writer secret), of stored bytes (without any
//! key), and the MAC of headers.
//!
//! INVARIANT: a digest compares in full; its name says which bytes it covers.

use super::hex_id::{RepositoryId, hex_type};
use super::page_group::digest_pages;
use super::pages::{PageDigest, PageListHasher};

hex_type!(
    /// A 256-bit digest. Which bytes it covers, plain or stored, is said by the field that holds it.
    ContentDigest,
    32,
    "digest"
);

/// Context strings of BLAKE3's derive_key; part of format 1, never to be changed.
mod context {
    pub(super) const UNENCRYPTED_SECRET: &str = "pgv format 1: writer secret of an unencrypted repository";
    pub(super) const PLAIN_DIGEST: &str = "pgv format 1: plain digest";
    pub(super) const PAGE_DIGEST: &str = "pgv format 1: page digest";
    pub(super) const PAGE_LIST: &str = "pgv format 1: page list digest";
    pub(super) const MAC: &str = "pgv format 1: header MAC";
}

/// The secret W from which the keys of plain digests, page hashes and MACs are derived. It opens no data.
#[derive(Clone)]
pub struct WriterSecret([u8; 32]);

impl WriterSecret {
    /// The secret of an unencrypted repository: derived from its id, so it protects against accidents alone.
    pub fn of_unencrypted(repository: &RepositoryId) -> Self {
        Self(blake3::derive_key(context::UNENCRYPTED_SECRET, repository.as_bytes()))
    }
}

/// The keys derived from the writer secret.
#[derive(Clone)]
pub struct DigestKeys {
    plain: [u8; 32],
    page: [u8; 32],
    page_list: [u8; 32],
    mac: [u8; 32],
}

impl DigestKeys {
    /// Derives the keys.
    pub fn of(secret: &WriterSecret) -> Self {
        Self {
            plain: blake3::derive_key(context::PLAIN_DIGEST, &secret.0),
            page: blake3::derive_key(context::PAGE_DIGEST, &secret.0),
            page_list: blake3::derive_key(context::PAGE_LIST, &secret.0),
            mac: blake3::derive_key(context::MAC, &secret.0),
        }
    }

    /// The digest of plain bytes.
    pub fn plain_digest(&self, bytes: &[u8]) -> ContentDigest {
        ContentDigest::from_bytes(*blake3::keyed_hash(&self.plain, bytes).as_bytes())
    }

    /// A hasher for plain bytes that come in pieces.
    pub fn plain_hasher(&self) -> PlainHasher {
        PlainHasher(blake3::Hasher::new_keyed(&self.plain))
    }

    /// The digest of one page of a file that is handled by pages.
    pub fn page_digest(&self, page: &[u8]) -> PageDigest {
        PageDigest::from_bytes(*blake3::keyed_hash(&self.page, page).as_bytes())
    }

    /// The digests of the pages of a part of such a file, of which the last may be shorter.
    pub fn page_digests(&self, bytes: &[u8], page_bytes: usize) -> Vec<PageDigest> {
        let mut digests = Vec::with_capacity(bytes.len().div_ceil(page_bytes.max(1)));
        digest_pages(&self.page, bytes, page_bytes, |digest| digests.push(PageDigest::from_bytes(digest)));
        digests
    }

    /// A hasher for pages, from their digests.
    pub fn page_list_hasher(&self) -> PageListHasher {
        PageListHasher::new(&self.page_list)
    }

    /// The MAC of a header.
    pub fn mac(&self, bytes: &[u8]) -> ContentDigest {
        ContentDigest::from_bytes(*blake3::keyed_hash(&self.mac, bytes).as_bytes())
    }

    /// Whether `mac` is the MAC of these bytes, compared in constant time.
    pub fn mac_matches(&self, bytes: &[u8], mac: &[u8; 32]) -> bool {
        blake3::keyed_hash(&self.mac, bytes) == *mac
    }
}

impl std::fmt::Debug for DigestKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DigestKeys")
    }
}

/// Digests plain bytes that come in pieces.
#[derive(Clone, Debug)]
pub struct PlainHasher(blake3::Hasher);

impl PlainHasher {
    /// Adds a piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of what was added.
    pub fn finish(&self) -> ContentDigest {
        ContentDigest::from_bytes(*self.0.finalize().as_bytes())
    }
}

/// Digests stored bytes, without any key, so that anybody can check them.
#[derive(Clone, Debug, Default)]
pub struct StoredHasher(blake3::Hasher);

impl StoredHasher {
    /// Adds a piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of what was added.
    pub fn finish(&self) -> ContentDigest {
        ContentDigest::from_bytes(*self.0.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::super::pages::FileHasher;
    use super::*;

    #[test]
    fn keys_differ_by_repository_and_by_purpose() {
        let keys = |byte| DigestKeys::of(&WriterSecret::of_unencrypted(&RepositoryId::from_bytes([byte; 16])));
        let (one, two) = (keys(1), keys(2));
        assert_ne!(one.plain_digest(b"x"), two.plain_digest(b"x"));
        assert_ne!(one.plain_digest(b"x"), one.mac(b"x"));
        assert!(one.mac_matches(b"x", one.mac(b"x").as_bytes()));
        assert!(!one.mac_matches(b"y", one.mac(b"x").as_bytes()));
    }

    #[test]
    fn pieces_and_the_whole_agree() {
        let keys = DigestKeys::of(&WriterSecret::of_unencrypted(&RepositoryId::from_bytes([7; 16])));
        let mut hasher = keys.plain_hasher();
        hasher.update(b"one ");
        hasher.update(b"two");
        assert_eq!(hasher.finish(), keys.plain_digest(b"one two"));
    }

    /// The values of format 1 for repository id 0, from an independent implementation (the `blake3` module of Python).
    #[test]
    fn format_1_derivation_never_changes() {
        let keys = DigestKeys::of(&WriterSecret::of_unencrypted(&RepositoryId::from_bytes([0; 16])));
        let plain = "902f10b0e96e8b14e4d20ebf01430354b162856c7a4e7eba3f721e361c8647b8";
        assert_eq!(keys.plain_digest(b"pgv").to_string(), plain);
        assert_eq!(keys.page_digest(b"pgv").hash(), 7318208106582246571);
        let pages = "f0946a566e71c94a84f7ee808c73872d9502b28d650407a84ccc79b71218ca97";
        let mut file = FileHasher::new(&keys, 70_000, 8192);
        file.update(&[7; 70_000]);
        assert_eq!(file.finish().to_string(), pages);
        let mac = "e6b2c5320a8935c9dc4029e3b86ac5fc7977b9c504ad2242e176faf60e610dea";
        assert_eq!(keys.mac(b"pgv").to_string(), mac);
    }
}
