//! The 512-byte header in front of every stored object: a skippable zstd frame, so that plain tools pass over it.
//!
//! ```text
//! 0    skippable-frame magic 0x184D2A50, length 504
//! 8    "PGVOBJ", format u16
//! 16   kind u16, codec u8, cipher u8, required features u32, optional features u32, flags u32
//! 32   repository id [16]
//! 48   system identifier u64 (0: none)
//! 56   plain size u64 (all ones: not known when written)
//! 64   body size u64 (all ones: not known when written)
//! 72   plain digest [32] (zero: unknown)
//! 104  body digest [32] (zero: unknown)
//! 136  auxiliary part: plain offset u64, length u64, digest [32] (zero: none)
//! 184  writer id [16]
//! 200  created u64, microseconds since 1970 UTC
//! 208  key generation u32, writer-secret generation u32
//! 216  name length u16, logical name up to 198 bytes
//! 416  reserved, zero [64]
//! 480  MAC [32] over bytes 0..480
//! ```
//!
//! All numbers are little-endian. INVARIANT: the logical name, not the key under which an object lies, is
//! authenticated: a renamed cluster stays readable, two swapped objects do not.

use jiff::Timestamp;

use super::digest::{ContentDigest, DigestKeys};
use super::hex_id::{RepositoryId, WriterId};
use crate::error::{Classified, ErrorClass};
use crate::pg::SystemIdentifier;

/// Bytes of a header.
pub const HEADER_BYTES: usize = 512;
/// The envelope's format number.
pub const ENVELOPE_FORMAT: u16 = 1;
/// LIMIT: bytes of a logical name.
pub const MAX_LOGICAL_NAME_BYTES: usize = 198;

pub(crate) const SKIPPABLE_MAGIC: u32 = 0x184D_2A50;
const HEADER_CONTENT_BYTES: u32 = 504;
const MAGIC: &[u8; 6] = b"PGVOBJ";
const CODEC_ZSTD: u8 = 1;
const CIPHER_NONE: u8 = 0;
const RESERVED_BYTES: usize = 64;
const MAC_AT: usize = 480;
/// Required features that this program knows; none exist in format 1.
const KNOWN_REQUIRED_FEATURES: u32 = 0;

/// What an object is. Numbers are part of the format and never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum ObjectKind {
    /// `<cluster>/<system id>/identity`
    Identity = 1,
    /// `<cluster>/writers/<writer id>`
    Writer = 2,
    /// A WAL segment.
    WalSegment = 3,
    /// The last, incomplete segment of a timeline.
    WalPartial = 4,
    /// A backup history file (`.backup`).
    BackupHistory = 5,
    /// A timeline history file.
    TimelineHistory = 6,
    /// The beginning of a backup.
    Begin = 7,
    /// The root of a backup's file map.
    Root = 8,
    /// The table of packs that a backup needs.
    Needs = 9,
    /// A document of the server: label, tablespace map, manifest, configuration file.
    Document = 10,
    /// The record that makes a backup.
    Record = 11,
    /// A pack of file data and map leaves.
    Pack = 12,
    /// The mark of a backup that retention wants gone.
    Doubt = 13,
    /// The mark of a backup that was never finished and is silent.
    Suspect = 14,
    /// The mark of a backup that is being deleted.
    Gone = 15,
    /// Something that keeps a backup from being deleted.
    Pin = 16,
}

impl ObjectKind {
    fn from_number(number: u16) -> Option<Self> {
        Some(match number {
            1 => Self::Identity,
            2 => Self::Writer,
            3 => Self::WalSegment,
            4 => Self::WalPartial,
            5 => Self::BackupHistory,
            6 => Self::TimelineHistory,
            7 => Self::Begin,
            8 => Self::Root,
            9 => Self::Needs,
            10 => Self::Document,
            11 => Self::Record,
            12 => Self::Pack,
            13 => Self::Doubt,
            14 => Self::Suspect,
            15 => Self::Gone,
            16 => Self::Pin,
            _ => return None,
        })
    }
}

/// Where an auxiliary part stands inside the body, and its digest. Reserved: format 1 writes none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Auxiliary {
    /// Offset in the plain body.
    pub offset: u64,
    /// Its length.
    pub length: u64,
    /// Its digest.
    pub digest: ContentDigest,
}

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectHeader {
    /// What the object is.
    pub kind: ObjectKind,
    /// The repository that it was written for.
    pub repository: RepositoryId,
    /// The cluster that it belongs to, when it belongs to one.
    pub system_identifier: Option<SystemIdentifier>,
    /// Bytes that the body holds, when known at its beginning.
    pub plain_bytes: Option<u64>,
    /// Bytes of the body as stored, when known at its beginning.
    pub body_bytes: Option<u64>,
    /// Keyed digest of the plain bytes, when known at its beginning.
    pub plain_digest: Option<ContentDigest>,
    /// Digest of the body as stored, without any key, when known at its beginning.
    pub body_digest: Option<ContentDigest>,
    /// The auxiliary part, if there is one.
    pub auxiliary: Option<Auxiliary>,
    /// Who wrote it.
    pub writer: WriterId,
    /// When the program that wrote it began, by the writer's clock. Shown; of WAL, an upper bound of the times in it, with
    /// room for clocks that differ, by which a restore tells what is certain from what is not.
    pub created: Timestamp,
    /// Generation of the encryption key; 0 in an unencrypted repository.
    pub key_generation: u32,
    /// Generation of the writer secret.
    pub secret_generation: u32,
    /// What it is called, whatever key it lies under: `wal/<file name>`, `pack/<backup id>/<n>`.
    pub name: String,
}

/// A header that cannot be written or believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// Fewer bytes than a header.
    #[error("it has {found} bytes where a header has {HEADER_BYTES}")]
    TooShort {
        /// How many there are.
        found: usize,
    },
    /// Not one of our objects.
    #[error("it does not begin like an object of pgv")]
    NotAnObject,
    /// Written by a newer pgv.
    #[error("it has object format {found}; this pgv knows {ENVELOPE_FORMAT}")]
    NewerFormat {
        /// Its format number.
        found: u16,
    },
    /// Needs something that this pgv does not know.
    #[error("it uses {what} {found} that this pgv does not know")]
    UnknownFeature {
        /// Which field says so.
        what: &'static str,
        /// Its value.
        found: u32,
    },
    /// A field holds what no writer writes.
    #[error("its header has an invalid {field}")]
    InvalidField {
        /// Which one.
        field: &'static str,
    },
    /// The MAC does not match: damaged, forged, or of another repository.
    #[error("its header does not match its MAC: it is damaged or belongs to another repository")]
    BadMac,
    /// A logical name that is too long.
    #[error("the logical name \"{name}\" is longer than {MAX_LOGICAL_NAME_BYTES} bytes")]
    NameTooLong {
        /// The name.
        name: String,
    },
}

impl Classified for EnvelopeError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NewerFormat { .. } | Self::UnknownFeature { .. } => ErrorClass::Unsupported,
            Self::NameTooLong { .. } => ErrorClass::Internal,
            Self::TooShort { .. } | Self::NotAnObject | Self::InvalidField { .. } | Self::BadMac => ErrorClass::Corrupt,
        }
    }
}

impl ObjectHeader {
    /// The header's 512 bytes.
    pub fn encode(&self, keys: &DigestKeys) -> Result<[u8; HEADER_BYTES], EnvelopeError> {
        let mut bytes = self.encode_fields()?;
        let mac = keys.mac(&bytes);
        bytes.extend_from_slice(mac.as_bytes());
        bytes.try_into().map_err(|_| EnvelopeError::InvalidField { field: "length" })
    }

    /// The copy that begins the body: bytes 8 to 480 with body size and body digest zero.
    pub(crate) fn encode_copy(&self) -> Result<Vec<u8>, EnvelopeError> {
        let unsized_header = Self { body_bytes: Some(0), body_digest: None, ..self.clone() };
        let mut fields = unsized_header.encode_fields()?;
        Ok(fields.split_off(8))
    }

    fn encode_fields(&self) -> Result<Vec<u8>, EnvelopeError> {
        let name_bytes = u16::try_from(self.name.len()).ok().filter(|n| usize::from(*n) <= MAX_LOGICAL_NAME_BYTES);
        let name_bytes = name_bytes.ok_or_else(|| EnvelopeError::NameTooLong { name: self.name.clone() })?;
        let digest = |digest: &Option<ContentDigest>| digest.map_or([0; 32], |digest| *digest.as_bytes());
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(&SKIPPABLE_MAGIC.to_le_bytes());
        bytes.extend_from_slice(&HEADER_CONTENT_BYTES.to_le_bytes());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&ENVELOPE_FORMAT.to_le_bytes());
        bytes.extend_from_slice(&(self.kind as u16).to_le_bytes());
        bytes.extend_from_slice(&[CODEC_ZSTD, CIPHER_NONE]);
        bytes.extend_from_slice(&[0; 12]); // required features, optional features, flags
        bytes.extend_from_slice(self.repository.as_bytes());
        bytes.extend_from_slice(&self.system_identifier.map_or(0, SystemIdentifier::get).to_le_bytes());
        bytes.extend_from_slice(&self.plain_bytes.unwrap_or(u64::MAX).to_le_bytes());
        bytes.extend_from_slice(&self.body_bytes.unwrap_or(u64::MAX).to_le_bytes());
        bytes.extend_from_slice(&digest(&self.plain_digest));
        bytes.extend_from_slice(&digest(&self.body_digest));
        bytes.extend_from_slice(&self.auxiliary.map_or(0, |part| part.offset).to_le_bytes());
        bytes.extend_from_slice(&self.auxiliary.map_or(0, |part| part.length).to_le_bytes());
        bytes.extend_from_slice(&digest(&self.auxiliary.map(|part| part.digest)));
        bytes.extend_from_slice(self.writer.as_bytes());
        let created = u64::try_from(self.created.as_microsecond());
        bytes.extend_from_slice(
            &created.map_err(|_| EnvelopeError::InvalidField { field: "creation time" })?.to_le_bytes(),
        );
        bytes.extend_from_slice(&self.key_generation.to_le_bytes());
        bytes.extend_from_slice(&self.secret_generation.to_le_bytes());
        bytes.extend_from_slice(&name_bytes.to_le_bytes());
        bytes.extend_from_slice(self.name.as_bytes());
        bytes.resize(MAC_AT, 0);
        Ok(bytes)
    }

    /// Reads a header and checks its MAC. Format and required features are judged first, so that a newer object is
    /// refused as such and not as damaged.
    pub fn decode(bytes: &[u8], keys: &DigestKeys) -> Result<Self, EnvelopeError> {
        let header: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(EnvelopeError::TooShort { found: bytes.len() })?;
        let mut fields = Fields(header);
        let (magic, length) = (fields.u32(), fields.u32());
        if magic != SKIPPABLE_MAGIC || length != HEADER_CONTENT_BYTES || fields.take::<6>() != *MAGIC {
            return Err(EnvelopeError::NotAnObject);
        }
        match fields.u16() {
            ENVELOPE_FORMAT => {}
            0 => return Err(EnvelopeError::InvalidField { field: "format" }),
            found => return Err(EnvelopeError::NewerFormat { found }),
        }
        let kind = fields.u16();
        let [codec, cipher] = fields.take::<2>();
        let required = fields.u32();
        if required & !KNOWN_REQUIRED_FEATURES != 0 {
            return Err(EnvelopeError::UnknownFeature { what: "required features", found: required });
        }
        let (signed, mac) = header.split_at(MAC_AT);
        let mac = mac.try_into().map_err(|_| EnvelopeError::BadMac)?;
        if !keys.mac_matches(signed, mac) {
            return Err(EnvelopeError::BadMac);
        }
        let unknown = |what, found| EnvelopeError::UnknownFeature { what, found };
        let kind = ObjectKind::from_number(kind).ok_or_else(|| unknown("kind", u32::from(kind)))?;
        if codec != CODEC_ZSTD {
            return Err(unknown("codec", u32::from(codec)));
        }
        if cipher != CIPHER_NONE {
            return Err(unknown("cipher", u32::from(cipher)));
        }
        fields.skip(8); // optional features and flags: unknown ones are ignored
        Self::decode_fields(kind, fields)
    }

    fn decode_fields(kind: ObjectKind, mut fields: Fields<'_>) -> Result<Self, EnvelopeError> {
        let size = |bytes: u64| (bytes != u64::MAX).then_some(bytes);
        let digest = |bytes: [u8; 32]| (bytes != [0; 32]).then_some(ContentDigest::from_bytes(bytes));
        let invalid = |field| EnvelopeError::InvalidField { field };
        let repository = RepositoryId::from_bytes(fields.take());
        let system_identifier = SystemIdentifier::new(fields.u64());
        let (plain_bytes, body_bytes) = (size(fields.u64()), size(fields.u64()));
        let (plain_digest, body_digest) = (digest(fields.take()), digest(fields.take()));
        let (offset, length, auxiliary_digest) = (fields.u64(), fields.u64(), digest(fields.take()));
        let auxiliary = auxiliary_digest.map(|digest| Auxiliary { offset, length, digest });
        let writer = WriterId::from_bytes(fields.take());
        let created = i64::try_from(fields.u64()).ok().and_then(|us| Timestamp::from_microsecond(us).ok());
        let (key_generation, secret_generation) = (fields.u32(), fields.u32());
        let name_bytes = usize::from(fields.u16());
        let name = fields.take::<MAX_LOGICAL_NAME_BYTES>();
        let (name, padding) = name.split_at_checked(name_bytes).ok_or(invalid("name length"))?;
        let reserved = fields.take::<RESERVED_BYTES>();
        if padding.iter().chain(&reserved).any(|byte| *byte != 0) {
            return Err(invalid("reserved part"));
        }
        Ok(Self {
            kind,
            repository,
            system_identifier,
            plain_bytes,
            body_bytes,
            plain_digest,
            body_digest,
            auxiliary,
            writer,
            created: created.ok_or(invalid("creation time"))?,
            key_generation,
            secret_generation,
            name: std::str::from_utf8(name).map_err(|_| invalid("name"))?.to_owned(),
        })
    }
}

/// Reads fields of known length from a header; a read past its end gives zeros, which no caller does.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk::<N>() {
            Some((field, rest)) => {
                self.0 = rest;
                *field
            }
            None => [0; N],
        }
    }

    fn skip(&mut self, bytes: usize) {
        self.0 = self.0.get(bytes..).unwrap_or_default();
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::digest::WriterSecret;
    use proptest::prelude::*;

    fn keys() -> DigestKeys {
        DigestKeys::of(&WriterSecret::of_unencrypted(&RepositoryId::from_bytes([9; 16])))
    }

    fn header() -> ObjectHeader {
        ObjectHeader {
            kind: ObjectKind::WalSegment,
            repository: RepositoryId::from_bytes([9; 16]),
            system_identifier: SystemIdentifier::new(7_000_000_000_000_000_001),
            plain_bytes: Some(16 << 20),
            body_bytes: Some(1234),
            plain_digest: Some(ContentDigest::from_bytes([1; 32])),
            body_digest: Some(ContentDigest::from_bytes([2; 32])),
            auxiliary: None,
            writer: WriterId::from_bytes([3; 16]),
            created: Timestamp::from_microsecond(1_790_000_000_000_001).unwrap(),
            key_generation: 0,
            secret_generation: 0,
            name: "wal/000000010000000000000001".to_owned(),
        }
    }

    /// A header whose MAC is right but whose bytes at `at` were replaced, as another program would write it.
    fn forged(at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut encoded = header().encode(&keys()).unwrap().to_vec();
        encoded[at..at + bytes.len()].copy_from_slice(bytes);
        let mac = keys().mac(&encoded[..MAC_AT]);
        encoded[MAC_AT..].copy_from_slice(mac.as_bytes());
        encoded
    }

    #[test]
    fn fields_stand_where_the_format_says() {
        let bytes = header().encode(&keys()).unwrap();
        assert_eq!(&bytes[..16], b"\x50\x2a\x4d\x18\xf8\x01\0\0PGVOBJ\x01\0");
        assert_eq!(&bytes[16..20], [3, 0, 1, 0]);
        assert_eq!(bytes[56..64], (16u64 << 20).to_le_bytes());
        assert_eq!(bytes[72..104], [1; 32]);
        assert_eq!(bytes[104..136], [2; 32]);
        assert_eq!(bytes[136..184], [0; 48]);
        assert_eq!(bytes[184..200], [3; 16]);
        assert_eq!(bytes[200..208], 1_790_000_000_000_001u64.to_le_bytes());
        assert_eq!(bytes[216..218], 28u16.to_le_bytes());
        assert_eq!(&bytes[218..246], b"wal/000000010000000000000001");
        assert_eq!(bytes[246..480], [0; 234]);
    }

    #[test]
    fn reads_what_it_writes() {
        let unknown = ObjectHeader {
            system_identifier: None,
            plain_bytes: None,
            body_bytes: None,
            plain_digest: None,
            body_digest: None,
            ..header()
        };
        for header in [header(), unknown] {
            assert_eq!(ObjectHeader::decode(&header.encode(&keys()).unwrap(), &keys()).unwrap(), header);
        }
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let bytes = header().encode(&keys()).unwrap();
        for at in 0..HEADER_BYTES * 8 {
            let mut damaged = bytes;
            damaged[at / 8] ^= 1 << (at % 8);
            assert!(ObjectHeader::decode(&damaged, &keys()).is_err(), "bit {at}");
        }
    }

    #[test]
    fn newer_objects_are_refused_as_newer() {
        let error = |bytes: Vec<u8>| ObjectHeader::decode(&bytes, &keys()).unwrap_err();
        assert_eq!(error(forged(14, &[2, 0])), EnvelopeError::NewerFormat { found: 2 });
        for (at, what) in [(20, "required features"), (16, "kind"), (18, "codec"), (19, "cipher")] {
            let error = error(forged(at, &[99]));
            assert!(matches!(&error, EnvelopeError::UnknownFeature { what: w, .. } if *w == what), "{error:?}");
            assert_eq!(error.class(), ErrorClass::Unsupported);
        }
        // Unknown optional features and flags are ignored.
        assert!(ObjectHeader::decode(&forged(24, &[0xFF; 8]), &keys()).is_ok());
    }

    #[test]
    fn invalid_fields_are_refused_even_with_a_right_mac() {
        for (at, bytes) in [(216, &[199u8, 0] as &[u8]), (218, &[0xFF]), (420, &[1]), (470, &[1]), (200, &[0xFF; 8])] {
            let error = ObjectHeader::decode(&forged(at, bytes), &keys()).unwrap_err();
            assert!(matches!(error, EnvelopeError::InvalidField { .. }), "{at}: {error:?}");
        }
        let long = ObjectHeader { name: "n".repeat(199), ..header() };
        assert!(matches!(long.encode(&keys()), Err(EnvelopeError::NameTooLong { .. })));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(ObjectHeader::decode(&bytes, &keys()).is_err());
        }
    }
}
