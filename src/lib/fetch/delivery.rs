//! From the archive to the destination, every check before the name appears.

use std::path::Path;

use super::FetchError;
use crate::fs::{FileError, PRIVATE_FILE_MODE, StagedFile};
use crate::pg::{WalFileName, WalSegmentHeader};
use crate::repository::{ClusterRef, ObjectReader, SinkError};

/// Puts what `reader` reads at `destination` and says how many bytes that were. What stood there is replaced at once;
/// on failure it is left alone.
pub(super) fn deliver(
    reader: &ObjectReader<'_>,
    store: &str,
    name: &WalFileName,
    cluster: &ClusterRef,
    destination: &Path,
) -> Result<u64, FetchError> {
    let undeliverable = FetchError::Destination;
    let mut staged = StagedFile::create_beside(destination, PRIVATE_FILE_MODE).map_err(undeliverable)?;
    let mut beginning: Vec<u8> = Vec::with_capacity(WalSegmentHeader::LENGTH);
    let read = reader.read_to(&mut |plain: &[u8]| -> Result<(), FileError> {
        let missing = WalSegmentHeader::LENGTH.saturating_sub(beginning.len());
        beginning.extend(plain.iter().take(missing));
        staged.write_all(plain)
    });
    read.map_err(|error| match error {
        SinkError::Repository(source) => FetchError::Repository { name: *name, source },
        SinkError::Sink(source) => undeliverable(source),
    })?;
    let bytes = staged.written_bytes();
    if matches!(name, WalFileName::Segment(_) | WalFileName::Partial(_)) {
        check_segment(&beginning, bytes, store, name, cluster)?;
    }
    // DURABILITY: PostgreSQL renames a restored file durably itself, or asks for it again.
    staged.replace_without_sync(destination).map_err(undeliverable)?;
    Ok(bytes)
}

/// A stored segment was checked when it was archived; a copy or a writer of another kind may have put it there too.
fn check_segment(
    beginning: &[u8],
    bytes: u64,
    store: &str,
    name: &WalFileName,
    cluster: &ClusterRef,
) -> Result<(), FetchError> {
    let invalid = |source| FetchError::Header { name: *name, store: store.to_owned(), source };
    let header = WalSegmentHeader::decode(beginning).map_err(invalid)?;
    if let Some(segment) = name.segment() {
        header.check_name(&segment).map_err(invalid)?;
    }
    if header.system_identifier != cluster.system_identifier {
        return Err(FetchError::OtherSystem {
            name: *name,
            store: store.to_owned(),
            expected: cluster.system_identifier,
            found: header.system_identifier,
        });
    }
    let expected = header.segment_size.bytes();
    if bytes != expected {
        return Err(FetchError::Size { name: *name, store: store.to_owned(), expected, found: bytes });
    }
    Ok(())
}
