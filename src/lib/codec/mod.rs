//! Bytes to bytes: digests (BLAKE3), compression (zstd) and the envelope around every stored object.
//!
//! Pure: no I/O. Knows nothing of stores or of PostgreSQL's files; `docs/repository-format.md` is the normative text.

mod body;
mod compression;
mod digest;
mod envelope;
mod hex_id;
mod page_group;
mod pages;
mod seek_table;

pub(crate) use body::copy_lead;
pub(crate) use body::fill;
pub use body::{AssembledObject, BodyError, BodyLayout, FramePlace, assemble_object};
pub use compression::{CompressionError, CompressionLevel, FrameCompressor, FrameDecompressor, MAX_FRAME_PLAIN_BYTES};
pub use digest::{ContentDigest, DigestKeys, PlainHasher, StoredHasher, WriterSecret};
pub use envelope::{
    Auxiliary, ENVELOPE_FORMAT, EnvelopeError, HEADER_BYTES, MAX_LOGICAL_NAME_BYTES, ObjectHeader, ObjectKind,
};
pub use hex_id::{HexParseError, RepositoryId, WriterId};
pub use pages::{FileHasher, PAGED_FILE_BYTES, PageDigest, PageListHasher};
pub use seek_table::{FrameEntry, SeekTable, SeekTableError};
