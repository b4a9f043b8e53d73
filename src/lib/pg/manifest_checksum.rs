//! Checksums of files as a backup manifest states them (`src/common/checksum_helper.c`).
//!
//! CRC-32C stands in a manifest as the four bytes of the server's memory. COMPAT: that is little-endian on every
//! platform with PostgreSQL packages today, and taken to be so here.

use std::fmt;

use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use super::data_path::{hex_decode, hex_encode};

/// The algorithms of `BASE_BACKUP`'s option `MANIFEST_CHECKSUMS`, except none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ManifestChecksumAlgorithm {
    /// CRC-32C, the default: finds accidents, not tampering.
    Crc32c,
    /// SHA-224.
    Sha224,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// A file's checksum. Small where it is CRC-32C, since a manifest has one for each file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ManifestChecksum {
    /// CRC-32C, in the order of a manifest.
    Crc32c([u8; 4]),
    /// SHA-224.
    Sha224(Box<[u8; 28]>),
    /// SHA-256.
    Sha256(Box<[u8; 32]>),
    /// SHA-384.
    Sha384(Box<[u8; 48]>),
    /// SHA-512.
    Sha512(Box<[u8; 64]>),
}

/// Computes a file's checksum while it passes by.
#[derive(Debug, Clone)]
pub struct ManifestHasher(State);

#[derive(Debug, Clone)]
enum State {
    Crc32c(u32),
    Sha224(Sha224),
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl ManifestChecksumAlgorithm {
    /// Every algorithm.
    pub const ALL: [Self; 5] = [Self::Crc32c, Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512];

    /// As it stands in a manifest.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crc32c => "CRC32C",
            Self::Sha224 => "SHA224",
            Self::Sha256 => "SHA256",
            Self::Sha384 => "SHA384",
            Self::Sha512 => "SHA512",
        }
    }

    /// The algorithm of that name, in either case as PostgreSQL reads it.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for ManifestChecksumAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl ManifestChecksum {
    /// Begins a checksum.
    pub fn hasher(algorithm: ManifestChecksumAlgorithm) -> ManifestHasher {
        ManifestHasher(match algorithm {
            ManifestChecksumAlgorithm::Crc32c => State::Crc32c(0),
            ManifestChecksumAlgorithm::Sha224 => State::Sha224(Sha224::new()),
            ManifestChecksumAlgorithm::Sha256 => State::Sha256(Sha256::new()),
            ManifestChecksumAlgorithm::Sha384 => State::Sha384(Sha384::new()),
            ManifestChecksumAlgorithm::Sha512 => State::Sha512(Sha512::new()),
        })
    }

    /// From the hexadecimal digits of a manifest; `None` when they are not digits or not as many as they must be.
    pub fn parse_hex(algorithm: ManifestChecksumAlgorithm, digits: &str) -> Option<Self> {
        let bytes = hex_decode(digits.as_bytes())?;
        Some(match algorithm {
            ManifestChecksumAlgorithm::Crc32c => Self::Crc32c(bytes.try_into().ok()?),
            ManifestChecksumAlgorithm::Sha224 => Self::Sha224(Box::new(bytes.try_into().ok()?)),
            ManifestChecksumAlgorithm::Sha256 => Self::Sha256(Box::new(bytes.try_into().ok()?)),
            ManifestChecksumAlgorithm::Sha384 => Self::Sha384(Box::new(bytes.try_into().ok()?)),
            ManifestChecksumAlgorithm::Sha512 => Self::Sha512(Box::new(bytes.try_into().ok()?)),
        })
    }

    /// Which algorithm it is of.
    pub fn algorithm(&self) -> ManifestChecksumAlgorithm {
        match self {
            Self::Crc32c(_) => ManifestChecksumAlgorithm::Crc32c,
            Self::Sha224(_) => ManifestChecksumAlgorithm::Sha224,
            Self::Sha256(_) => ManifestChecksumAlgorithm::Sha256,
            Self::Sha384(_) => ManifestChecksumAlgorithm::Sha384,
            Self::Sha512(_) => ManifestChecksumAlgorithm::Sha512,
        }
    }

    /// Its bytes, in the order of a manifest.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Crc32c(bytes) => bytes.as_slice(),
            Self::Sha224(bytes) => bytes.as_slice(),
            Self::Sha256(bytes) => bytes.as_slice(),
            Self::Sha384(bytes) => bytes.as_slice(),
            Self::Sha512(bytes) => bytes.as_slice(),
        }
    }
}

impl fmt::Display for ManifestChecksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex_encode(self.as_bytes()))
    }
}

impl ManifestHasher {
    /// Takes the file's next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Crc32c(crc) => *crc = crc32c::crc32c_append(*crc, bytes),
            State::Sha224(sha) => sha.update(bytes),
            State::Sha256(sha) => sha.update(bytes),
            State::Sha384(sha) => sha.update(bytes),
            State::Sha512(sha) => sha.update(bytes),
        }
    }

    /// The checksum of all bytes taken.
    pub fn finish(self) -> ManifestChecksum {
        match self.0 {
            State::Crc32c(crc) => ManifestChecksum::Crc32c(crc.to_le_bytes()),
            State::Sha224(sha) => ManifestChecksum::Sha224(Box::new(sha.finalize().into())),
            State::Sha256(sha) => ManifestChecksum::Sha256(Box::new(sha.finalize().into())),
            State::Sha384(sha) => ManifestChecksum::Sha384(Box::new(sha.finalize().into())),
            State::Sha512(sha) => ManifestChecksum::Sha512(Box::new(sha.finalize().into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Published test vectors: the CRC's check value for "123456789" (bytes reversed), FIPS 180 for "abc".
    #[test]
    fn agrees_with_published_vectors() {
        use ManifestChecksumAlgorithm as A;
        let of = |algorithm, pieces: &[&str]| {
            let mut hasher = ManifestChecksum::hasher(algorithm);
            pieces.iter().for_each(|piece| hasher.update(piece.as_bytes()));
            hasher.finish()
        };
        assert_eq!(of(A::Crc32c, &["1234", "", "56789"]).to_string(), "839206e3");
        assert_eq!(of(A::Crc32c, &[]).to_string(), "00000000");
        assert!(of(A::Sha224, &["a", "bc"]).to_string().starts_with("23097d223405d8228642a477bda255b32aadbce4"));
        assert!(of(A::Sha256, &["a", "bc"]).to_string().starts_with("ba7816bf8f01cfea414140de5dae2223b00361a3"));
        assert!(of(A::Sha384, &["a", "bc"]).to_string().starts_with("cb00753f45a35e8bb5a03d699ac65007272c32ab"));
        assert!(of(A::Sha512, &["a", "bc"]).to_string().starts_with("ddaf35a193617abacc417349ae20413112e6fa4e"));
    }

    #[test]
    fn reads_what_it_prints_and_nothing_shorter_or_longer() {
        for algorithm in ManifestChecksumAlgorithm::ALL {
            assert_eq!(ManifestChecksumAlgorithm::parse(&algorithm.name().to_lowercase()), Some(algorithm));
            let mut hasher = ManifestChecksum::hasher(algorithm);
            hasher.update(b"x");
            let checksum = hasher.finish();
            let digits = checksum.to_string();
            assert_eq!(checksum.algorithm(), algorithm);
            assert_eq!(ManifestChecksum::parse_hex(algorithm, &digits.to_uppercase()), Some(checksum));
            for wrong in
                [&digits[1..], &digits[2..], &format!("{digits}00"), &digits.replacen(&digits[..1], "g", 1), ""]
            {
                assert_eq!(ManifestChecksum::parse_hex(algorithm, wrong), None, "{algorithm} {wrong}");
            }
        }
        for name in ["", "CRC32", "CRC-32C", "MD5", "NONE", "SHA1"] {
            assert_eq!(ManifestChecksumAlgorithm::parse(name), None);
        }
    }
}
